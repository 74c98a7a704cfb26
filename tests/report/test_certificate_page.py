"""A certificate's page: in a browser, plots draw, nothing is fetched, the console is clean, nothing overflows."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, LossproofError, Proved, Step
from lossproof.report import certificate_figures as figures
from lossproof.report.certificate_page import render, signs, write

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
spec = spec_from_file_location("hand_certificates_of_pages", Path(__file__).parent / "certificates.py")
assert spec is not None
assert spec.loader is not None
hand = sys.modules[spec.name] = module_from_spec(spec)
spec.loader.exec_module(hand)

OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
MARKS = "() => [...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('.trace path').length)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "bce.html"
    points = [[0.1, 0.25, 0.25], [0.5, 0.75, 0.75], [0.9, 0.96, 0.97]]
    found = hand.every_verdict()
    away = hand.line("minimiser", Certified("bisection", hand.DOMAIN), formula=None, points=points)
    borders = hand.line(
        "borders", Proved("limits", hand.DOMAIN, (Step("as it says"),)),
        **{"p -> 0": {"y = 1": {"value": "oo", "slope": "-oo"}}},
    )  # fmt: skip
    made = hand.certificate(*found.lines.values(), away, borders, loss="<script>alert(1)</script>")
    return write(made, target, loss=CATALOGUE["bce"], beside=CATALOGUE["mse"], checked="Checked: <b>all</b>.")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if EXECUTABLE is None:
        pytest.skip("no chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=EXECUTABLE, args=FLAGS)
        yield launched
        launched.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_it_stands_alone_in_a_browser(browser: Any, page: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab = context.new_page()
    requests: list[str] = []
    said: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-drawn]", timeout=60_000)
    counts = tab.evaluate(MARKS)
    assert len(counts) == 5
    assert min(counts) > 0
    assert tab.evaluate(OVERFLOW) <= 0
    assert "<script>alert(1)</script>" in tab.inner_text("h1")
    assert "Checked: <b>all</b>." in tab.inner_text("#derivation")
    # the browser draws the fraction: dl/dp stands above, its denominator below the line
    fraction = "[...document.querySelectorAll('#derivation math mfrac')][1]"
    top, bottom = (
        tab.evaluate(f"() => {fraction}.children[{i}].getBoundingClientRect().top") for i in (0, 1)
    )
    assert bottom > top
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    assert said == []
    context.close()


def test_answers_counterexamples_and_derivation_are_in_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in (
        'class="verdict proved"><b>Proved</b>', 'class="verdict refuted"><b>Refuted</b>',
        'class="verdict unknown"><b>Unknown</b>', 'class="verdict certified"><b>Certified</b>',
        "the budget of 10 s was used up", "product of factors of known sign", "As p → 0", "−∞", "0 log 0 counts as 0",
    ):  # fmt: skip
        assert words in text, words
    assert f"exact: y = 1/2, p = {hand.EXACT_P}; difference [-0.161910559534" in text
    assert text.count("<script>alert") == 0


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LossproofError, match="expected a file that can be written"):
        write(hand.every_verdict(), tmp_path / "nowhere" / "x.html", loss=CATALOGUE["bce"])


def test_the_least_value_of_each_curve_is_marked() -> None:
    plots = {plot.key: plot for plot in figures.figures(hand.every_verdict(), CATALOGUE["weighted_bce"])}
    marks = [t for t in plots["loss"].data if t["mode"] == "markers"]
    places = [t["x"][0] for t in marks]
    # 3y/(2y + 1), by hand for y = 0, 0.1, 0.5, 0.9, 1
    assert np.allclose(places, [0, 0.25, 0.75, 2.7 / 2.8, 1], atol=2e-3)
    assert [t["name"] for t in plots["floor"].data] == ["loss(y, y)", "least over all p"]
    assert len(figures.figures(hand.every_verdict(), CATALOGUE["bce"])[2].data) == 1


def test_gradients_are_those_of_the_loss() -> None:
    plots = figures.figures(hand.every_verdict(), CATALOGUE["bce"], CATALOGUE["mse"])
    curves = {t["name"]: t for t in plots[-1].data}
    z = np.array(curves["bce, y = 1"]["x"])
    p = 1 / (1 + np.exp(-z))
    assert np.allclose(curves["bce, y = 1"]["y"], p - 1, atol=1e-12)
    assert np.allclose(curves["mse, y = 0"]["y"], 2 * p * p * (1 - p), atol=1e-12)


def test_other_domains_are_drawn_in_their_own_range() -> None:
    wide = hand.certificate(target="(-inf, inf)", prediction="(-inf, inf)", formula="(y - p)**2")
    plots = figures.figures(wide, CATALOGUE["mse"])
    xs = plots[0].data[0]["x"]
    assert (round(min(xs)), round(max(xs))) == (-2, 2)
    rates = hand.certificate(
        target="[0, inf)", prediction="(0, inf)", formula="xlogy(y, y) - xlogy(y, p) - y + p"
    )
    assert max(figures.figures(rates, CATALOGUE["poisson"])[2].data[0]["x"]) == 4
    assert figures.targets(hand.certificate(target="(0, 1)"), (0.0, 1.0)) == [0.02, 0.98]


def test_a_formula_of_ones_own_and_a_long_one_are_drawn() -> None:
    long = " + ".join(f"(y - p)**{k}" for k in range(2, 60))
    made = hand.certificate(formula=long)
    text = render(made, loss=resolve("(y - p)**2 + 1"))
    assert "<pre><code>loss(y, p) =" in text


def test_signs_leave_words_alone() -> None:
    assert signs("good -> bad, z -> oo, infinity of food") == "good → bad, z → ∞, ∞ of food"
