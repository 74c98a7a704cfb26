"""The page in a real browser: plots draw, nothing is fetched, the console is clean, nothing overflows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lossproof import report

MakeRun = Callable[..., Path]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no chromium on this machine")
SPLIT = "() => [...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('.trace path, .trace .point').length)"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Visit:
    """A page opened in the browser, with all that it asked for and said."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-drawn]", timeout=60_000)
        self.path = path

    def close(self) -> None:
        """Check what must hold of every visit, then leave."""
        assert [url for url in self.requests if not url.startswith("data:")] == [self.path.as_uri()]
        assert self.said == []
        self.context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        yield launched
        launched.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_every_plot_draws_and_nothing_overflows(
    browser: Any, make_run: MakeRun, width: int, scheme: str
) -> None:
    path = report.write(
        make_run(labels=("bce", "mse", "(y-p)**2/(p*(1-p))+0.001*abs(y-p)**1.5"), stopped="mse")
    )
    visit = Visit(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    counts = visit.page.evaluate(SPLIT)
    assert len(counts) == 1 + 6 + 1 + 3 + 1
    assert min(counts) > 0
    assert visit.page.evaluate(OVERFLOW) <= 0
    widest = visit.page.evaluate(
        "() => Math.max(...[...document.querySelectorAll('.plot svg')].map(s => s.getBoundingClientRect().right))"
    )
    assert widest <= width
    loaded = visit.page.evaluate("() => [...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert loaded
    dark = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 27)"
    assert dark == (scheme == "dark")
    visit.close()


def paper(visit: Visit) -> str:
    found = visit.page.evaluate(
        "() => getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor"
    )
    return str(found)


def test_plots_follow_the_colour_scheme_and_paper_is_light(browser: Any, make_run: MakeRun) -> None:
    path = report.write(make_run(labels=("bce", "mse"), seeds=1))
    visit = Visit(browser, path, color_scheme="light")
    assert paper(visit) == "rgb(255, 255, 255)"
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor == 'rgb(18, 22, 27)'"
    )
    visit.page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    visit.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor == 'rgb(255, 255, 255)'"
    )
    visit.page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    visit.page.wait_for_function(
        "() => getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor == 'rgb(18, 22, 27)'"
    )
    visit.close()


def test_the_chosen_measure_is_drawn(browser: Any, make_run: MakeRun) -> None:
    visit = Visit(browser, report.write(make_run(labels=("bce", "mse"), seeds=1)))
    curve = "() => document.querySelector('#plot-chooser .trace path.js-line').getAttribute('d')"
    before = visit.page.evaluate(curve)
    visit.page.select_option("#measure", "psnr|test")
    visit.page.wait_for_function(f"before => ({curve})() !== before", arg=before)
    title = visit.page.evaluate("() => document.querySelector('#plot-chooser .ytitle').textContent")
    assert title.startswith("dB")
    visit.close()


def test_hostile_names_stay_text(browser: Any, make_run: MakeRun) -> None:
    loss = "<img src=x onerror=alert('loss')>"
    run = make_run(
        labels=("bce", loss), data="</script><script>alert('data')</script>", classes=("a", "<b onclick=alert(1)>b</b>"),
        stopped=loss, message="<svg onload=alert('message')>", seeds=1,
    )  # fmt: skip
    visit = Visit(browser, report.write(run))
    assert (
        visit.page.evaluate("() => document.querySelectorAll('[onerror], [onload], [onclick], b b').length")
        == 0
    )
    assert "<script>alert('data')" in visit.page.inner_text("h1")
    legend = visit.page.evaluate(
        "() => [...document.querySelectorAll('#plot-progress .legendtext')].map(t => t.textContent)"
    )
    assert legend == ["bce", loss]
    notes = visit.page.evaluate(
        "() => [...document.querySelectorAll('#plot-latent-0 .annotation-text')].map(t => t.textContent)"
    )
    assert notes == ["<b onclick=alert(1)>b</b>", "a"] or notes == ["a", "<b onclick=alert(1)>b</b>"]
    visit.close()


def test_foreign_scripts_cannot_run(browser: Any, make_run: MakeRun) -> None:
    """The policy stops what escaping would have let through."""
    visit = Visit(browser, report.write(make_run(labels=("bce",), seeds=1)))
    ran = visit.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); return window.ran }"
    )
    assert ran is None
    assert len(visit.said) == 1
    assert "Content Security Policy" in visit.said.pop()
    visit.close()


def test_it_prints(browser: Any, make_run: MakeRun) -> None:
    visit = Visit(browser, report.write(make_run(labels=("bce", "mse"), seeds=2)), color_scheme="dark")
    assert visit.page.pdf(format="A4").startswith(b"%PDF")
    visit.close()
