"""benchmarks/advice.py: its draws are what they say, its verdicts follow from formulas, its page counts right."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "advice.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("advice_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("Bernoulli pixels", ["bce"], ["mse", "mae", "hellinger", "poisson"]),
        ("Gaussian noise", ["mse", "barron(alpha=2)"], ["mae", "huber(delta=0.1)", "logcosh(a=9)", "bce"]),
        (
            "Laplace noise",
            ["mae", "pinball"],
            ["mse", "logcosh(a=9)", "huber(delta=0.1)", "pinball(tau=0.9)"],
        ),
        ("heavy tails", ["mae", "barron(alpha=0, c=0.02)", "huber(delta=0.02)"], ["mse", "bce", "huber"]),
        ("salt and pepper", ["mae", "charbonnier(delta=0.01)"], ["mse", "poisson", "logcosh"]),
    ],
)
def test_what_counts_as_right_follows_from_the_formula(bench, kind, good, bad):
    assert [bench.right(kind, loss) for loss in good] == [True] * len(good)
    assert [bench.right(kind, loss) for loss in bad] == [False] * len(bad)


def test_draws_have_the_noise_they_name(bench):
    for kind in bench.KINDS:
        images, known = bench.draw(kind, 7)
        again, _ = bench.draw(kind, 7)
        assert np.array_equal(images, again)
        assert images.shape == (known["images"], known["side"], known["side"])
    flat = bench.smooth(np.random.default_rng(0), 50, 16)
    assert 0.15 < flat.min() < flat.max() < 0.85
    bits, _ = bench.draw("Bernoulli pixels", 0)
    assert set(np.unique(bits)) == {0, 255}
    salted, known = bench.draw("salt and pepper", 1)
    assert np.isin(salted, (0, 255)).mean() == pytest.approx(known["share"], rel=0.1)


def test_the_page_counts_misses_too(bench, tmp_path):
    for seed, right in enumerate((True, False)):
        row = {"kind": "Gaussian noise", "seed": seed, "known": {"sigma": 0.05}, "noisy": True, "seconds": 1.0,
               "advised": dict.fromkeys(bench.LAW_GOALS, "mse" if right else "mae"),
               "right": dict.fromkeys(bench.LAW_GOALS, right)}  # fmt: skip
        (tmp_path / f"synthetic-1-{seed}.json").write_text(json.dumps(row))
    fate = {"loss": "mse", "value": 0.02, "regret": 0.001, "low": 0.0005, "high": 0.0015, "within": False}
    row = {"set": "digits", "goal": "reconstruct", "measure": "error", "best": "bce", "best_value": 0.019, "advised": fate,
           "without_pilot": fate | {"loss": "bce", "regret": 0.0, "within": True}, "conclusive": True, "all": {},
           "laps": 20, "train": 900, "seeds": 3, "seconds": 1.0}  # fmt: skip
    (tmp_path / "real-0-reconstruct.json").write_text(json.dumps(row))
    text = bench.page(tmp_path)
    assert "1 of 2 draws are right for every goal: 50.0 %" in text
    assert "- Gaussian noise, draw 1, sample: mae (sigma 0.05)" in text
    assert "| mse | 0.001 [0.0005, 0.0015] | **no** | bce | 0 | yes |" in text
    assert "within the seeds' interval on 0 of 1 sets with the pilot, 1 without" in text
