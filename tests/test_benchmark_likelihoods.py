"""The page of losses as likelihoods says what its records say. Nothing is trained here."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lossproof.data import Images

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """benchmarks/likelihoods.py as a module; its folder on the path, as when it is run."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module("likelihoods")


@pytest.fixture
def pages(benchmark):
    """benchmarks/likelihoods_page.py, which the other imports."""
    return importlib.import_module("likelihoods_page")


def record(title, bits, model="vae", decoders=("beta_binomial",)):
    """A record with these bits by loss and seed."""
    rows = [
        [loss, seed, "bits_per_pixel", value, "" if value is not None else "it stopped"]
        for loss, values in bits.items()
        for seed, value in enumerate(values)
    ]
    rows += [[loss, 0, "temperature", 0.25, ""] for loss in bits if loss not in decoders]
    for what, share in (("zeros", 0.8), ("ones", 0.001)):
        rows += [[loss, 0, f"{what}_{how}", share, ""] for loss in bits for how in ("expected", "observed")]
    return {
        "title": title, "words": "its own split", "shares": {"zero": 0.8, "one": 0.01, "between": 0.19}, "distinct": 9,
        "shape": [1, 4, 5], "train": 1000, "test": 200, "levels": 17, "scaling": "", "model": model, "epochs": 3,
        "batch_size": 25, "lr": 1e-3, "latent": 8, "hidden": [200], "seeds": [0, 1, 2], "samples": 8, "of": "loss",
        "calibrate": "learned", "versions": {"torch": "0"}, "parameters": 1, "created": "", "cpu_seconds": 60,
        "yardsticks": {"everywhere": 4.0, "each_pixel": 1.5}, "decoders": list(decoders), "rows": rows,
    }  # fmt: skip


LOW, HIGH, NOISY = [1.0, 1.1, 1.2], [2.0, 2.11, 2.19], [1.0, 1.3, 1.1]


def test_the_difference_is_that_of_the_paired_t_test(pages):
    s = pages.standing(record("A", {"a": LOW, "b": HIGH, "c": NOISY}))
    for first, second in (("a", LOW), ("b", HIGH)):
        test = stats.ttest_rel(second, NOISY)
        low, high = test.confidence_interval(0.95)
        assert s.gaps[first, "c"] == pytest.approx((np.mean(second) - np.mean(NOISY), low, high))
        assert s.gaps["c", first] == pytest.approx((np.mean(NOISY) - np.mean(second), -high, -low))
    assert (s.best, s.near) == ("a", ["c"])
    assert s.separated("a", "b")
    assert not s.separated("b", "a")
    assert not s.separated("a", "c")


def test_a_decoder_never_wins(pages):
    s = pages.standing(record("A", {"a": LOW, "b": HIGH, "beta_binomial": [0.1, 0.1, 0.2]}))
    assert s.best == "a"
    assert [name for name, _ in s.order] == ["a", "b"]
    assert "beta_binomial" in s.means


def test_a_loss_that_stopped_has_its_reason_in_its_cell(pages):
    found = record("A", {"a": LOW, "b": [None] * 3})
    s = pages.standing(found)
    assert (s.best, "b" in s.means) == ("a", False)
    assert any("it stopped" in line for line in pages.bits_table([found], [s]))


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"a": LOW, "b": HIGH}, {"a": HIGH, "b": LOW}, "The winner differs between data sets: on A a has"),
        (
            {"a": LOW, "b": HIGH},
            {"a": LOW, "b": HIGH},
            "The winner does not differ between data sets: it is a",
        ),
        # b leads on the second set, and the seeds do not tell it from a
        ({"a": LOW, "b": HIGH}, {"a": NOISY, "b": LOW}, "The winner cannot be said to differ"),
    ],
)
def test_the_winner_differs_only_where_both_orders_are_beyond_chance(pages, one, other, said):
    stands = {t: pages.standing(record(t, bits)) for t, bits in (("A", one), ("B", other))}
    assert pages.verdict(stands).startswith(said)


def test_losses_that_no_set_separates_are_named(pages):
    stands = [
        pages.standing(record("A", {"a": LOW, "b": HIGH, "c": NOISY})),
        pages.standing(record("B", {"a": LOW, "b": NOISY, "c": NOISY})),
    ]
    assert pages.alike(stands) == ["a and c"]


def with_halves(found, at_half, at_end):
    """The record with bits half-way and at the end, by loss and seed."""
    for name, bits in (("bits_at_half", at_half), ("bits_at_end", at_end)):
        found["rows"] += [
            [loss, seed, name, v, ""] for loss, values in bits.items() for seed, v in enumerate(values)
        ]
    return found


@pytest.mark.parametrize(
    ("at_half", "at_end", "pairs"),
    [
        ({"a": HIGH, "b": LOW}, {"a": LOW, "b": HIGH}, [("a", "b")]),
        ({"a": LOW, "b": HIGH}, {"a": HIGH, "b": LOW}, [("b", "a")]),
        ({"a": LOW, "b": HIGH}, {"a": LOW, "b": HIGH}, []),
        ({"a": NOISY, "b": LOW}, {"a": LOW, "b": HIGH}, []),  # in the order of chance at half
        ({"a": HIGH, "b": LOW}, {"a": LOW, "b": NOISY}, []),  # and at the end
    ],
)
def test_losses_change_places_only_where_both_orders_are_beyond_chance(pages, at_half, at_end, pairs):
    found = with_halves(record("A", at_end), at_half, at_end)
    assert pages.moved(found) == pairs
    (words,) = pages.budget({"a/vae": found})
    assert ("no two losses changed places" in words) == (not pairs)
    for one, other in pairs:
        assert f"VAE on A ({one} passed {other})" in words
    fell = np.mean(min(at_end.values(), key=np.mean)) - np.mean(
        at_half[min(at_end, key=lambda k: np.mean(at_end[k]))]
    )
    assert f"changed by {fell:+.3f} to {fell:+.3f}".replace("-", "−") in words
    assert pages.moved(record("A", at_end)) == []  # without halves nothing is said
    assert pages.budget({"a/vae": record("A", at_end)}) == []


def test_the_excess_is_set_against_its_loss_set_by_set(pages):
    kept = {
        f"{title}/vae": record(title, {"a": raw, "a (excess)": excess, "b": NOISY})
        for title, raw, excess in (("A", LOW, HIGH), ("B", HIGH, LOW), ("C", LOW, NOISY), ("D", LOW, LOW))
    }
    (line,) = pages.normalised(
        {"vae": kept, "ae": {}}, {key: pages.standing(found) for key, found in kept.items()}
    )
    assert line.startswith("VAE, a and its excess, two laws: the excess has fewer bits than it on B (−1")
    assert ", more on A (1" in line
    assert line.endswith("no measurable difference on C and the same bits on D.")


def test_a_tiny_set_is_trained_measured_and_gone_on_with(benchmark, tmp_path, capsys):
    """Nothing but digits needs no folder; a second run finds all checkpoints and the same figures."""
    options = ["--sets", "digits", "--models", "vae", "--losses", "bce+mse", "--train", "60", "--test", "16"]
    options += ["--epochs", "2", "--out", str(tmp_path / "runs"), "--to", str(tmp_path / "page.md")]
    assert benchmark.main(options) == 0
    first = benchmark.recorded(tmp_path / "page.json")["digits/vae"]
    cells = {(loss, seed, name): value for loss, seed, name, value, _ in first["rows"]}
    labels = ["bce", "mse", "bce (excess)", "discretised_logistic", "beta_binomial"]  # mse has no floor but 0
    assert list(dict.fromkeys(loss for loss, *_ in first["rows"])) == labels
    assert (first["train"], first["test"], first["levels"], first["epochs"]) == (60, 16, 17, 2)
    for label in labels:
        for seed in range(3):
            bits = cells[label, seed, "bits_per_pixel"]
            # of one draw and of the mean of four draws, the same model and images
            assert cells[label, seed, "bits_at_end"] == pytest.approx(bits, rel=0.05)
            assert cells[label, seed, "bits_at_half"] != cells[label, seed, "bits_at_end"]
            assert ((label, seed, "zeros_expected") in cells) == (label not in first["decoders"])
    assert cells["bce", 0, "bits_per_pixel"] != cells["bce (excess)", 0, "bits_per_pixel"]
    assert first["cpu_seconds"] is not None
    assert benchmark.main(options) == 0
    second = benchmark.recorded(tmp_path / "page.json")["digits/vae"]
    assert second["rows"] == first["rows"]
    assert second["cpu_seconds"] is None  # what was not spent here is not stated


def test_a_cut_is_spread_over_all_images_and_keeps_small_sets_whole(benchmark):
    part = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1) / 9
    images = Images("x", part, part[:3], None, None, "", "", 10)
    small = benchmark.cut(images, 4, 5)
    np.testing.assert_array_equal((small.train * 9).ravel().round(), [0, 3, 6, 9])
    np.testing.assert_array_equal(small.test, part[:3])


def test_records_are_kept_beside_each_other_and_the_page_is_written_from_them(benchmark, tmp_path, capsys):
    path, page = tmp_path / "records.json", tmp_path / "page.md"
    benchmark.keep(path, "frey/vae", record("Frey", {"a": HIGH, "b": LOW, "beta_binomial": LOW}))
    benchmark.keep(path, "digits/ae", record("digits", {"a": LOW, "b": HIGH}, model="ae"))
    benchmark.keep(path, "digits/vae", record("digits", {"a": LOW, "b": HIGH, "beta_binomial": LOW}))
    assert list(benchmark.recorded(path)) == ["digits/ae", "digits/vae", "frey/vae"]
    assert benchmark.main(["--page", "--records", str(path), "--to", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "VAE: The winner differs between data sets: on digits a has the fewest bits" in text
    assert "AE: Fewer than two sets are measured" in text
    assert "Not measured yet, and so left out of what is said here: AE on MNIST, " in text
    assert "VAE on Olivetti and VAE on Omniglot." in text
    half = stats.t.ppf(0.975, 2) * np.std(LOW, ddof=1) / math.sqrt(3)
    assert f"**{np.mean(LOW):.2f} ± {half:.2f}**" in text
    assert "given the code" in text
    assert "| histogram for each pixel | 1.500 | 1.500 |" in text
    assert "| `a` | 0.250 | 0.250 |" in text  # temperatures
    assert "Exact zeros are 80% of the values" in text
    assert "Exact ones" not in text  # too few to speak of


def test_unknown_sets_and_missing_data_are_refused(benchmark, capsys):
    for arguments, said in (
        (["--sets", "cifar"], "expected one of digits, mnist"),
        (["--models", "gan"], "expected one of ae, vae"),
        (["--sets", "mnist"], "expected --data FOLDER"),
    ):
        with pytest.raises(SystemExit):
            benchmark.main(arguments)
        assert said in capsys.readouterr().err


def test_what_calibrating_costs_is_shown_for_each_loss_and_model(benchmark, capsys):
    calibrate = importlib.import_module("calibrate")
    assert calibrate.main(["--images", "40", "--hidden", "8", "--turns", "2"]) == 0
    rows = [
        line.strip("| ").split(" | ")
        for line in capsys.readouterr().out.splitlines()
        if "ms a step" not in line
    ]
    rows = [row for row in rows if len(row) == 5 and row[0] in ("ae", "vae")]
    assert [row[:2] for row in rows] == [[m, loss] for m in ("vae", "ae") for loss in ("bce", "mse", "mae")]
    for _, _, plain, *ratios in rows:
        assert float(plain) > 0
        assert all(float(ratio.split("x")[0]) > 0 for ratio in ratios)
