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

MARKS = "() => [...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('.trace path').length)"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
RIGHT = (
    "() => Math.max(...[...document.querySelectorAll('.plot svg')].map(s => s.getBoundingClientRect().right))"
)
LOADED = "() => [...document.images].every(i => i.complete && i.naturalWidth > 0)"
PAPER = "() => getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor"
TEXTS = "query => [...document.querySelectorAll(query)].map(element => element.textContent)"
WHITE, BLACK = "rgb(255, 255, 255)", "rgb(18, 22, 27)"


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


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_every_plot_draws_and_nothing_overflows(
    browser: Any, odd_page: Path, width: int, scheme: str
) -> None:
    visit = Visit(browser, odd_page, viewport={"width": width, "height": 800}, color_scheme=scheme)
    counts = visit.page.evaluate(MARKS)
    assert len(counts) == 2 + 2 * 3 + 1 + 3 + 1
    assert min(counts) > 0
    assert visit.page.evaluate(OVERFLOW) <= 0
    assert visit.page.evaluate(RIGHT) <= width
    assert visit.page.evaluate(LOADED)
    ground = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert ground == (BLACK if scheme == "dark" else WHITE)
    assert visit.page.evaluate(PAPER) == ground
    visit.close()


def test_colours_follow_the_scheme_paper_is_light_and_it_prints(browser: Any, odd_page: Path) -> None:
    visit = Visit(browser, odd_page, color_scheme="light")
    turned = f"colour => ({PAPER})() === colour"
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_function(turned, arg=BLACK)
    visit.page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    visit.page.wait_for_function(turned, arg=WHITE)
    visit.page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    visit.page.wait_for_function(turned, arg=BLACK)
    assert visit.page.pdf(format="A4").startswith(b"%PDF")
    visit.close()


def test_the_chosen_measure_is_drawn(browser: Any, plain_page: Path) -> None:
    visit = Visit(browser, plain_page)
    line = "() => document.querySelector('#plot-chooser .trace path.js-line').getAttribute('d')"
    before = visit.page.evaluate(line)
    visit.page.select_option("#measure", "psnr|test")
    visit.page.wait_for_function(f"before => ({line})() !== before", arg=before)
    assert visit.page.evaluate(TEXTS, "#plot-chooser .ytitle")[0].startswith("dB")
    visit.close()


def test_hostile_names_stay_text_and_foreign_scripts_do_not_run(browser: Any, make_run: MakeRun) -> None:
    loss, label = "<img src=x onerror=alert('loss')>", "<b onclick=alert(1)>b</b>"
    data = "</script><script>alert('data')</script>"
    message = "<svg onload=alert('message')>"
    run = make_run(
        labels=("bce", loss), data=data, classes=("a", label), stopped=loss, message=message, seeds=1
    )
    visit = Visit(browser, report.write(run))
    assert visit.page.evaluate(TEXTS, "[onerror], [onload], [onclick], b b") == []
    assert data in visit.page.inner_text("h1")
    assert visit.page.evaluate(TEXTS, "#plot-progress .legendtext") == ["bce", loss]
    assert set(visit.page.evaluate(TEXTS, "#plot-latent-0 .annotation-text")) == {"a", label}
    assert message in visit.page.inner_text("#stopped")
    # the policy stops what escaping would have let through
    ran = visit.page.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'window.ran = 1';
        document.body.append(script);
        return window.ran;
    }""")
    assert ran is None
    assert len(visit.said) == 1
    assert "Content Security Policy" in visit.said.pop()
    visit.close()
