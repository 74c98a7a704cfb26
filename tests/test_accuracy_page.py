"""The accuracy program measures what it says it measures, and its page names every loss."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from lossproof.catalogue import CATALOGUE
from lossproof.lower.kernels import run
from lossproof.lower.source import source

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "accuracy.md"


@pytest.fixture
def programs(monkeypatch):
    """accuracy, accuracy_exact and accuracy_targets as modules, their folder on the path."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return [importlib.import_module(name) for name in ("accuracy", "accuracy_exact", "accuracy_targets")]


def cells_of(programs, names, title="numpy float64", compute=None):
    accuracy, exact, target = programs
    group, own, dtype, inside = target.OURS[title]
    columns = {title: (group, compute or own, dtype, inside)}
    answers = target.in_process(columns, names, accuracy.given_points([dtype], 8))
    return accuracy.measure(columns, names, exact.Exact(), 8, answers)


def test_two_losses_at_few_points_are_within_the_goal(programs, monkeypatch):
    monkeypatch.setattr(programs[1], "FAR", 300.0)  # at 1e4 the oracle takes seconds
    accuracy = programs[0]
    for title in ("numpy float64", "torch float32"):
        cells = cells_of(programs, ["mse", "huber"], title)
        assert [(c.loss, c.kind) for c in cells] == [
            (n, k) for n in ("mse", "huber") for k in ("value", "gradient")
        ]
        assert all(0 < c.ulp <= accuracy.GOAL and c.at_ends == 0 for c in cells)


def test_a_wrong_answer_is_seen_with_its_place(programs, monkeypatch):
    monkeypatch.setattr(programs[1], "FAR", 300.0)
    accuracy, _, target = programs

    def off(name, y, z, dtype):
        value, gradient = target.numpy_ours(name, y, z, dtype)
        return value + np.where(z == 17.0, 1e-12, 0.0), np.where(np.abs(z) > 1e300, np.nan, gradient)

    value, gradient = cells_of(programs, ["mse"], compute=off)
    assert value.ulp == pytest.approx(1e-12 / 2**-52, rel=1e-2)
    assert value.x == 17.0
    assert gradient.at_ends > 0
    lines = accuracy.failures([value, gradient], "z")
    assert lines[0].startswith("- `mse` value, numpy float64: 4.5e3 ulp at y = ")
    assert "z = 17.0" in lines[0]
    assert "not finite at the largest logits" in lines[1]
    assert "**4.5e3** / " in accuracy.table([value, gradient], ["mse"], ["numpy float64"])


def test_points_are_numbers_of_their_dtype(programs):
    import torch

    _, exact, _ = programs
    for dtype in exact.EPS:
        for points in (
            exact.corner_points(dtype),
            exact.drawn_points(dtype, 50),
            exact.end_points(dtype),
            exact.prediction_points(dtype, 20),
        ):
            for a in (points.y, points.x):
                held = torch.tensor(a).to(getattr(torch, dtype)).double().numpy()
                np.testing.assert_array_equal(held, a)
    both = exact.drawn_points("float16", 50)
    np.testing.assert_array_equal(both.x, exact.drawn_points("float32", 50).x[:50])


def test_exact_answers_are_kept(programs, tmp_path):
    _, exact, _ = programs
    points = exact.Points(np.array([0.25]), np.array([0.0]))
    store = exact.Exact(tmp_path / "exact.json")
    high, low = store.get("mse", "value", points)
    assert (high[0], low[0]) == (0.0625, 0.0)
    store.save()
    again = exact.Exact(tmp_path / "exact.json")
    assert again.known == store.known


def test_the_wide_step_far_out_agrees_with_the_oracles(programs):
    from lossproof.lower import oracle

    near = programs[1]._far_slope("focal", 0.5, 20.0)
    assert float(near) == float(oracle.slope_at_logits(CATALOGUE["focal"], 0.5, 20.0))


def test_mass_of_a_density_that_is_known(programs):
    accuracy = programs[0]
    assert accuracy.mass(lambda y, z: np.zeros_like(y), 1.0) == pytest.approx(1.0, abs=1e-12)
    assert accuracy.mass(lambda y, z: np.log(2.0) + 0 * y, -1.0) == pytest.approx(0.5, abs=1e-12)
    for logit in (-100.0, 50.0, 1e4):
        value = lambda y, z: programs[2].numpy_ours("continuous_bernoulli", y, z, "float64")[0]  # noqa: E731
        assert accuracy.mass(value, logit) == pytest.approx(1.0, abs=1e-6)


LOGITS = (0.0, *(s * z for z in (1e-8, 1.0, 50.0, 100.0, 1e3, 1e4) for s in (1.0, -1.0)))


def emitted_numpy(name, y, z, dtype):
    functions = run(source(CATALOGUE[name], "numpy").text(), "<numpy for mass>")
    value = functions["value_logits"](y.astype(dtype), z.astype(dtype))
    assert value.dtype == dtype
    return value.astype(float), None


@pytest.mark.parametrize("title", ["torch float32", "numpy float32", "torch float64", "numpy float64"])
def test_the_continuous_bernoulli_has_mass_one_at_every_logit(programs, title):
    accuracy, _, target = programs
    library, dtype = title.split()
    compute = target.torch_ours if library == "torch" else emitted_numpy
    for logit in LOGITS:
        total = accuracy.mass(lambda y, z: compute("continuous_bernoulli", y, z, dtype)[0], logit)
        assert total == pytest.approx(1.0, abs=1e-6), logit


def test_the_continuous_bernoulli_has_mass_one_at_every_logit_in_jax(programs):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    rows = programs[0].group_masses("jax", ["jax float32"], LOGITS)
    assert rows["jax float32"] == pytest.approx([1.0] * len(LOGITS), abs=1e-6)


def test_a_difference_of_large_terms_loses_the_mass(programs):
    # what the rule is for: the same loss before it, in float32
    def before(y, z):
        y, z = y.astype("float32"), z.astype("float32")
        return (z + np.log(-np.expm1(-z) / z) - y * z).astype(float)

    assert abs(programs[0].mass(before, 1e4) - 1) > 1e-4


def beyond_the_goal():
    """(part, loss, kind, title, whole line) of every line of the page that admits a miss."""
    part, found = "", []
    heads = {
        "## Behind": "ours",
        "### The emitted functions": "raw",
        "## On predictions": "predictions",
        "## The same": "",
    }
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        part = next((name for head, name in heads.items() if line.startswith(head)), part)
        miss = re.match(r"- `(\w+)` (\w+), ([^:]+): .* ulp at ", line)
        if miss and part:
            found.append((part, *miss.groups(), line))
    return found


def test_every_miss_has_its_reason_and_every_reason_its_miss(programs):
    reasons = importlib.import_module("accuracy_reasons")
    found = beyond_the_goal()
    for *cell, line in found:
        assert reasons.reason(*cell), line
        assert f"Why: {reasons.reason(*cell)}." in line
    assert reasons.unused([tuple(cell) for *cell, _ in found]) == []
    assert reasons.unused([]) != []
    assert reasons.reason("ours", "bce", "value", "numpy float64") == ""
    bold = (
        PAGE.read_text(encoding="utf-8").split("## The same")[0].count("**") // 2 - 1
    )  # one in the introduction
    assert bold == len(found)


def test_the_page_names_every_loss_and_target(programs):
    text = PAGE.read_text(encoding="utf-8")
    for name in CATALOGUE:
        assert f"| `{name}` |" in text
    for title in programs[2].OURS:
        assert title in text
