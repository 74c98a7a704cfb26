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
        (
            "Gaussian noise",
            ["mse", "barron(alpha=2)", "discretised_gaussian", "gaussian"],
            ["mae", "huber(delta=0.1)", "logcosh(a=9)", "bce", "discretised_logistic"],
        ),
        (
            "Laplace noise",
            ["mae", "pinball"],
            ["mse", "logcosh(a=9)", "huber(delta=0.1)", "pinball(tau=0.9)", "discretised_student_t"],
        ),
        (
            "heavy tails",
            ["mae", "barron(alpha=0, c=0.02)", "huber(delta=0.02)", "student_t"],
            ["mse", "bce", "huber", "gaussian"],
        ),
        (
            "salt and pepper",
            ["mae", "charbonnier(delta=0.01)", "discretised_student_t"],
            ["mse", "poisson", "logcosh", "discretised_gaussian"],
        ),
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
    values = {"bce": [0.020, 0.021, 0.019], "mse": [0.030, 0.031, 0.029], "law": [0.001, 0.001, 0.001]}
    for label, squared in values.items():
        row = {"set": "digits", "kind": "ae", "label": label, "decoder": label == "law", "train": 900, "test": 300,
               "laps": 20, "seconds": 60.0, "measures": {"squared": squared, "moved": squared}}  # fmt: skip
        (tmp_path / f"truth-digits-ae-{label}.json").write_text(json.dumps(row))
    for goal, advised in (("reconstruct", "mse"), ("represent", "law"), ("anomaly", "mse")):
        row = {"set": "digits", "noise": "", "goal": goal, "advised": advised, "without_pilot": "bce",
               "conclusive": True, "seconds": 30.0, "pilot_seconds": 20.0, "candidates": ["bce", "mse", *(["gone"] if goal == "anomaly" else [])]}  # fmt: skip
        (tmp_path / f"advice-digits-{goal}.json").write_text(json.dumps(row))
        row |= {"advised": "bce", "seconds": 15.0}
        (tmp_path / f"short-digits-{goal}.json").write_text(json.dumps(row))
    text = bench.page(tmp_path)
    assert "1 of 2 draws are right for every goal: 50.0 %" in text
    assert "- Gaussian noise, draw 1, sample: mae (sigma 0.05)" in text
    # a decoder is no candidate for pictures, however good, and is one for representing
    assert "| digits | bce (0.02) | mse | 0.01 [0.01, 0.01] | **no** | bce | 0 | yes |" in text
    assert "| digits | law (0.001) | law | 0 | yes | bce | 0.019 [0.017, 0.021] | **no** |" in text
    assert "advised 0 of 1, from facts alone 1 of 1 (goal: 5 of 6), by the pilot half as long 1 of 1" in text
    assert "20 to 20 s" in text
    assert "Not measured yet: MNIST" in text
    assert "Goals not measured on real images yet: sample, denoise, anomaly." in text
    # three trainings of a minute, three pilots of half a minute, three of a quarter
    assert "5.25 CPU minutes" in text
    assert "gone" not in text  # nothing is known of it: no row


def test_a_regret_is_a_paired_interval(bench):
    from scipy import stats

    from advice_page import outcome

    rows = {"a": [1.0, 1.2, 1.4, 1.1], "b": [1.1, 1.25, 1.55, 1.13]}
    found = outcome(rows, "b", ["a", "b"])
    known = stats.ttest_rel(rows["b"], rows["a"]).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((known.low, known.high), abs=1e-4)
    assert (found["best"], found["within"]) == ("a", known.low <= 0)
    assert outcome(rows, "a", ["a", "b"])["within"]


def test_a_whole_tiny_run(bench, tmp_path, monkeypatch):
    few = bench.gather_candidates
    monkeypatch.setattr(
        bench, "gather_candidates", lambda facts, bench: few(facts, ["bce", "mse"], bench=bench)
    )
    monkeypatch.setattr(bench, "FULL_STEPS", 20)
    monkeypatch.setattr(bench, "PILOT_STEPS", 20)
    monkeypatch.setattr(bench, "SHORT_STEPS", 10)
    monkeypatch.setattr(bench, "REAL_SEEDS", 2)
    times = []
    for _ in range(2):  # the second time nothing is measured again
        bench.real_sets(tmp_path, ["reconstruct", "denoise"], ["digits"], tmp_path, only="both")
        times.append({path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")})
    assert times[0] == times[1]
    made = sorted(path.name for path in tmp_path.glob("*.json"))
    assert len(made) == 2 * 3 + 2 * 3
    monkeypatch.setattr(bench, "FULL_STEPS", 40)  # another budget is another measurement
    bench.real_sets(tmp_path, ["reconstruct"], ["digits"], tmp_path, only="truth")
    again = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    changed = {name for name in again if again[name] != times[1][name]}
    assert changed == {"truth-digits-ae-bce.json", "truth-digits-ae-mse.json"}
    text = bench.page(tmp_path)
    assert "### reconstruct" in text
    assert "### denoise, Gaussian noise" in text
    assert "### denoise, salt and pepper noise" in text


def test_sets_with_noise_keep_their_levels_and_their_clean_half(bench):
    from advice_sets import spoilt, unit

    x = np.random.default_rng(0).integers(40, 200, (30, 6, 6)).astype(np.uint8)
    salted = spoilt(x, "salt and pepper", 1)
    assert salted.dtype == np.uint8
    hit = np.isin(salted, (0, 255))
    assert hit.mean() == pytest.approx(0.1, abs=0.03)
    assert np.array_equal(salted[~hit], x[~hit])
    noisy = spoilt(x, "Gaussian", 1)
    assert (unit(noisy) - unit(x)).std() == pytest.approx(0.1, rel=0.05)
    bits = x > 120
    assert spoilt(bits, "salt and pepper", 1).dtype == bool
    assert spoilt(bits, "Gaussian", 1).dtype == np.uint8
    sixteenths = (np.random.default_rng(0).integers(0, 17, (30, 4, 4)) / 16).astype(np.float32)
    assert set(np.unique(spoilt(sixteenths, "Gaussian", 1) * 16)) <= set(range(17))
