"""check: facts, floors and baselines against SciPy and known values; legality; data that load refuses."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import entr, xlogy
from sklearn.datasets import load_digits

from lossproof.catalogue import CATALOGUE
from lossproof.data import check, load
from lossproof.data.levels import BINS
from lossproof.data.scan import levels_of
from lossproof.formula.errors import LossproofError


def entropy(y: np.ndarray) -> float:
    """BCE's floor by SciPy, nats per image."""
    y = np.asarray(y, np.float64)
    return float((entr(y) + entr(1 - y)).sum() / len(y))


def verdict(report, loss: str):
    return next(v for v in report.losses if v.loss == loss)


def test_digits_floor_is_the_entropy_of_its_pixels():
    report = check("digits", losses=["bce"])
    train, test = report.parts
    together = (train.bce_floor * train.count + test.bce_floor * test.count) / (train.count + test.count)
    assert together == pytest.approx(entropy(load_digits().data / 16), rel=1e-12)
    assert together == pytest.approx(13.6577412, abs=1e-6)
    images = load("digits")
    assert train.bce_floor == pytest.approx(entropy(images.train), rel=1e-6)
    assert test.bce_floor == pytest.approx(entropy(images.test), rel=1e-6)
    assert report.losses[0].test_floor == pytest.approx(test.bce_floor, rel=1e-9)


def test_digits_facts():
    report = check("digits")
    pixels = load_digits().data
    assert report.legal
    assert (report.image_shape, report.pixels, report.dtype, report.grid) == ((1, 8, 8), 64, "float64", 17)
    train, test = report.parts
    zero = (train.at_zero * train.count + test.at_zero * test.count) / 1797
    one = (train.at_one * train.count + test.at_one * test.count) / 1797
    assert zero == pytest.approx((pixels == 0).mean())
    assert one == pytest.approx((pixels == 16).mean())
    for part in report.parts:
        assert part.at_zero + part.at_one + part.between == pytest.approx(1)
        assert (part.outside, part.not_finite, part.levels, part.low, part.high) == (0, 0, 17, 0, 1)


def test_mean_image_baseline_against_scipy():
    images = load("digits")
    edge = 1 / (2 * len(images.train))
    p = np.clip(images.train.astype(np.float64).mean(axis=0), edge, 1 - edge)
    for part, array in zip(check("digits").parts, (images.train, images.test), strict=True):
        y = array.astype(np.float64)
        assert part.mean_image == pytest.approx(-(xlogy(y, p) + xlogy(1 - y, 1 - p)).sum() / len(y), rel=1e-6)
        assert part.mean_image > part.bce_floor


def test_mnist_known_values(shared: Path):
    report = check(shared / "mnist", losses=["bce"])
    train, test = report.parts
    assert (train.count, test.count, report.pixels) == (60000, 10000, 784)
    assert test.bce_floor == pytest.approx(45.534, abs=5e-4)
    assert test.bce_floor / report.pixels == pytest.approx(0.058080, abs=5e-7)
    assert train.bce_floor == pytest.approx(45.757, abs=5e-4)
    assert train.at_zero == pytest.approx(0.81, abs=0.005)
    assert report.losses[0].test_floor == pytest.approx(45.534, abs=5e-4)
    assert round(test.mean_image) == 206


def test_fashion_mnist_is_half_grey(shared: Path):
    part = check(shared / "fashion-mnist", losses=["mse"]).part("train")
    assert part.between == pytest.approx(0.49, abs=0.005)


def test_frey_faces_touch_neither_end(shared: Path):
    report = check(shared / "frey-faces" / "freyfaces-uint8.npy")
    assert report.grid == 256
    for part in report.parts:
        assert (part.at_zero, part.at_one, part.between) == (0, 0, 1)
    y = np.load(shared / "frey-faces" / "freyfaces-uint8.npy") / 255
    total = sum(part.bce_floor * part.count for part in report.parts) / len(y)
    assert total == pytest.approx(entropy(y), rel=1e-12)


def test_every_legal_loss_has_a_floor_or_a_reason():
    report = check("digits")
    assert [v.loss for v in report.losses] == list(CATALOGUE)
    for v in report.losses:
        assert v.legal == (not v.reason)
        finite = v.test_floor is not None and math.isfinite(v.test_floor)
        assert finite != bool(v.floor_reason), v
    for name in ("mse", "mae", "logcosh", "huber", "hellinger"):
        assert verdict(report, name).test_floor == pytest.approx(0, abs=1e-9)
    bernoulli = verdict(report, "continuous_bernoulli")
    assert bernoulli.test_floor == -math.inf
    assert "minus infinity at targets 0" in bernoulli.floor_reason


def test_illegal_losses_say_why_and_how_to_repair():
    report = check(np.random.default_rng(0).normal(size=(40, 6, 6)))
    assert not report.legal
    v = verdict(report, "bce")
    assert not v.legal
    assert "% of the values lie outside [0, 1]" in v.reason
    assert v.fix == report.fix
    assert verdict(report, "mse").legal
    assert not verdict(report, "poisson").legal
    lowest = min(part.low for part in report.parts)
    assert verdict(report, "poisson").reason.endswith(f"lie outside [0, inf) (smallest {lowest:.4g})")


def test_an_open_end_is_named():
    from lossproof.formula import Interval

    loss = replace(CATALOGUE["mse"], id="open", target=Interval(0, 1, low_open=True))
    v = check("digits", losses=[loss]).losses[0]
    assert not v.legal
    assert v.reason.endswith("% of the values lie at 0, and the target must lie in (0, 1]")
    assert v.fix == "x = np.clip(x, 0.001, 1)"


ROWS = np.random.default_rng(5).integers(0, 256, (60, 7, 7)).astype(np.uint8)
UNIT = (ROWS / 255).astype(np.float32)
MEAN, STD = 0.1307, 0.3081


@pytest.mark.parametrize(
    ("data", "cause", "undo"),
    [
        (UNIT * 255, "Divide by 255?", lambda x: x / 255),
        (UNIT[:, :4, :4] * 200.5, "Divide by 255?", None),
        (np.rint(UNIT * 16), "Whole numbers 0..16? Divide by the largest", lambda x: x / 16),
        (np.rint(UNIT * 4095), "12 bits", lambda x: x / 4095),
        (np.rint(UNIT.astype(np.float64) * 65535), "16 bits", lambda x: x / 65535),
        (UNIT * 3e6, "Divide by the largest value", None),
        (UNIT * 2 - 1, "[-1, 1]? Use (x + 1)/2", lambda x: (x + 1) / 2),
        (UNIT - 0.5, "[-0.5, 0.5]?", lambda x: x + 0.5),
        ((UNIT - MEAN) / STD, "z-scored", lambda x: x * STD + MEAN),
        (UNIT * 1.0005, "np.clip(x, 0, 1)", None),
        ((UNIT - UNIT.mean(0)) / UNIT.std(0), "StandardScaler", None),
        ((UNIT - UNIT.mean(0)) * 9, "z-scored", None),
    ],
)
def test_values_outside_are_refused_with_the_cause_and_the_undoing_line(data, cause, undo):
    data = data.astype(data.dtype if data.dtype == np.float64 else np.float32)
    with pytest.raises(LossproofError) as error:
        load(data)
    assert "expected values in [0, 1], got" in str(error.value)
    assert cause in str(error.value)
    report = check(data, losses=["bce", "mse"])
    assert not report.legal
    assert report.problem == str(error.value)
    assert report.parts[0].bce_floor is None
    assert report.parts[0].outside > 0
    assert [v.legal for v in report.losses] == [False, True]
    if undo is not None:  # the printed line, run, gives back what there was
        scope = {"x": data, "np": np}
        exec(report.fix, scope)
        assert np.allclose(scope["x"], undo(data), atol=2e-3)
        clean = np.clip(scope["x"], 0, 1)
        assert np.abs(scope["x"] - clean).max() < 1e-3


def test_the_z_score_of_each_channel_is_guessed():
    x = np.random.default_rng(0).random((50, 3, 8, 8))
    x[0, :, 0, 0], x[0, :, 0, 1] = 0, 1
    mean, std = (
        np.reshape([0.485, 0.456, 0.406], (1, 3, 1, 1)),
        np.reshape([0.229, 0.224, 0.225], (1, 3, 1, 1)),
    )
    report = check((x - mean) / std, losses=["mse"])
    scope = {"x": (x - mean) / std, "np": np}
    exec(report.fix, scope)
    assert np.allclose(scope["x"], x, atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(bad: float):
    x = UNIT.copy()
    x[4, 2, 1] = bad
    with pytest.raises(LossproofError, match=r"expected finite values, got .* first .* at \[4, 0, 2, 1\]"):
        load(x)
    report = check(x, losses=["bce"], split="tail")
    assert not report.legal
    assert report.parts[0].not_finite == pytest.approx(1 / (48 * 49))
    assert report.parts[1].not_finite == 0
    assert report.losses[0].reason == "1 of 2940 values are NaN or infinite"
    scope = {"x": x, "np": np}
    exec(report.fix, scope)
    assert len(scope["x"]) == 59


def test_all_nan():
    report = check(np.full((3, 4, 4), np.nan), losses=["bce"])
    assert report.parts[0].not_finite == 1
    assert math.isnan(report.parts[0].low)
    assert not report.legal


@pytest.mark.parametrize(
    ("dtype", "top", "fix"), [(np.int64, 255, "uint8"), (np.int32, 999, "uint16"), (np.int16, 1, "bool")]
)
def test_wide_integers_name_the_right_type(dtype, top, fix):
    x = np.tile(np.array([[0, top]], dtype), (6, 8)).reshape(6, 4, 4)
    with pytest.raises(
        LossproofError, match=rf"got int\d+ with values 0..{top}. Convert: x = x.astype\(.*{fix}\)"
    ):
        load(x)
    assert not check(x, losses=["mse"]).legal


def test_negative_integers_and_text():
    x = np.arange(-8, 8, dtype=np.int8).reshape(1, 4, 4).repeat(3, axis=0)
    with pytest.raises(LossproofError, match=r"values -8..7. Convert: x = \(\(x - -8\) / 15\)"):
        load(x)
    with pytest.raises(LossproofError, match="expected numbers"):
        check(np.full((3, 4, 4), "a"))


def test_one_image_is_described_and_not_ready():
    report = check(UNIT[:1], losses=["bce"])
    assert not report.legal
    assert "one image cannot be split" in report.problem
    assert report.parts[0].bce_floor == pytest.approx(entropy(UNIT[:1]), rel=1e-6)


def test_images_can_be_checked():
    images = load("digits")
    report = check(images, losses=["bce"])
    assert report.scaling == "0..16 / 16"
    assert report.part("test").bce_floor == pytest.approx(
        check("digits", losses=["bce"]).part("test").bce_floor
    )


def test_levels_of_floats_and_bytes_agree():
    raw = np.random.default_rng(0).integers(0, 256, (300, 1, 9, 9), dtype=np.uint8)
    one, two = levels_of(raw, 255), levels_of((raw / 255).astype(np.float32))
    assert np.array_equal(one.counts, two.counts)
    assert np.allclose(one.values, two.values, atol=1e-7)
    values, counts = np.unique(raw, return_counts=True)
    assert np.array_equal(one.values * 255, values)
    assert np.array_equal(one.counts, counts)


def test_continuous_values_share_bins_and_keep_the_ends():
    x = np.random.default_rng(0).random((40, 1, 64, 64))
    x[0, 0, 0], x[0, 0, 1, :9] = 0, 1
    x[0, 0, 2, :9] = 1 - 1e-9
    x[0, 0, 3, :9] = 1e-9
    found = levels_of(x)
    assert not found.exact
    assert found.values.size <= BINS + 2
    assert found.share(found.values == 0) == pytest.approx(64 / x.size)
    assert found.share(found.values == 1) == pytest.approx(9 / x.size)
    report = check(x, losses=["bce"], split="tail")
    assert report.parts[0].levels is None
    assert report.parts[0].bce_floor == pytest.approx(entropy(x[:32]), rel=1e-7)


def test_report_is_plain_json():
    for report in (check("digits"), check(UNIT * 3 - 1), check(np.full((3, 4, 4), np.nan), losses=["bce"])):
        again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert again["legal"] == report.legal
        assert [p["name"] for p in again["parts"]] == ["train", "test"]
    plain = check("digits", losses=["bce", "continuous_bernoulli"]).to_dict()
    assert plain["losses"][1]["test_floor"] == "-inf"
    assert plain["parts"][1]["bce_floor_per_pixel"] == pytest.approx(plain["parts"][1]["bce_floor"] / 64)


@pytest.mark.parametrize("power", [1, 6, 20])
def test_bins_keep_the_entropy_also_of_values_next_to_zero_and_one(power: int):
    x = np.random.default_rng(power).random((20, 1, 64, 64)) ** power
    x[10:] = 1 - x[10:]
    found = levels_of(x)
    assert not found.exact
    exact = (entr(x) + entr(1 - x)).mean()
    assert found.mean(entr(found.values) + entr(1 - found.values)) == pytest.approx(exact, abs=5e-8)


def test_sixteen_bit_levels_are_merged_for_dear_floors_only():
    x = np.arange(65536, dtype=np.uint16).reshape(16, 1, 64, 64)
    found = levels_of(x, 65535)
    assert (found.values.size, found.exact) == (65536, True)
    coarse = found.coarse()
    assert coarse.values.size <= BINS + 2
    assert (coarse.counts.sum(), coarse.counts[0], coarse.counts[-1]) == (65536, 1, 1)
    assert np.dot(coarse.values, coarse.counts) == pytest.approx(
        np.dot(found.values, found.counts), rel=1e-12
    )
    assert coarse.mean(coarse.values * (1 - coarse.values)) == pytest.approx(1 / 6, rel=1e-4)
    report = check(x, losses=["bce"], split="tail")
    assert report.losses[0].train_floor == pytest.approx(report.parts[0].bce_floor, rel=1e-6)
    assert report.parts[0].levels == 13 * 4096
