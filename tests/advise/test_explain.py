"""explain: every number in an explanation against something that does not share its code."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from lossproof.advise.symptoms import explain, reach
from lossproof.advise.symptoms.causes_dump import best_grey
from lossproof.advise.symptoms.causes_flat import top_eigenvalue
from lossproof.advise.symptoms.causes_nan import breaks_at
from lossproof.advise.symptoms.records import short
from lossproof.advise.symptoms.targets import of_array, of_data
from lossproof.catalogue import resolve
from lossproof.lower import function

Y = (load_digits().images / 16).astype(np.float32)[:300]
MEAN = Y.mean(axis=0)
ENTROPY = stats.entropy(np.stack([Y, 1 - Y]).astype(np.float64), axis=0)


def bce(y, p, eps=1e-9):
    p = np.clip(p, eps, 1 - eps)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def near(share=0.8):
    return share * Y + (1 - share) * MEAN


def said(found, id):
    return " ".join(found.cause(id).arithmetic)


def ruled(found):
    return {one.id for one in found.ruled_out}


def test_the_floor_is_the_entropy_and_the_baseline_the_mean_image():
    value = 0.3
    found = explain(value, loss="bce", data=Y)
    text = said(found, "floor")
    floor, edge = float(ENTROPY.mean()), 1 / 600
    flat = float(bce(Y, np.clip(MEAN, edge, 1 - edge)).mean())
    assert short(floor) in text
    assert short(value - floor) in text
    assert short(flat) in text
    assert short(1 - (value - floor) / (flat - floor)) in text
    assert found.cause("floor").normal
    assert {"outside", "collapse", "double_sigmoid", "reduction"} <= ruled(found)


def test_a_loss_without_a_floor_is_told_so():
    found = explain(0.02, loss="mse", data=Y, reduction="mean")
    assert found.cause("floor") is None
    assert "floor" in ruled(found)


def test_without_data_the_floor_is_only_bounded():
    cause = explain(0.10, loss="bce").cause("floor")
    assert cause.standing == "possible"
    assert f"between 0 and {short(math.log(2))}" in " ".join(cause.arithmetic)


def test_the_value_is_the_same_under_every_true_reduction():
    mean = float(bce(Y, near()).mean())
    for reduction, factor in (("mean", 1), ("nats_per_image", 64), ("sum", 64 * 32)):
        found = explain(mean * factor, loss="bce", data=Y, reduction=reduction, batch_size=32)
        assert found.causes[0].id == "floor", found
        assert short(mean) in said(found, "floor")


@pytest.mark.parametrize(
    ("stated", "factor", "words"),
    [
        ("nats_per_image", 1, "mean over all values"),
        ("mean", 64, "sum over an image"),
        ("mean", 64 * 32, "and batch"),
    ],
)
def test_a_wrong_reduction_is_found(stated, factor, words):
    value = float(bce(Y, near()).mean()) * factor
    found = explain(value, loss="bce", data=Y, reduction=stated, batch_size=32)
    assert found.causes[0].id == "reduction"
    assert words in said(found, "reduction")


@pytest.mark.parametrize("loss", ["bce", "mse", "logcosh", "hellinger"])
@pytest.mark.parametrize("share", [0.3, 0.95])
@pytest.mark.parametrize("reduction", ["mean", "nats_per_image"])
def test_a_good_model_raises_no_alarm(loss, share, reduction):
    p = np.clip(near(share), 1e-3, 1 - 1e-3)
    value = float(function(loss).value(Y, p).mean()) * (1 if reduction == "mean" else 64)
    for given in ({"data": Y}, {"data": Y, "reduction": reduction}, {"dump": (Y, p), "reduction": reduction}):
        found = explain(value, loss=loss, **given)
        assert not [c for c in found.causes if not c.normal and c.standing != "possible"], found


def test_a_loss_that_is_too_good_for_its_reduction_is_doubted():
    value = float(function("mse").value(Y, near().astype(np.float64)).mean())
    cause = explain(value, loss="mse", data=Y, reduction="nats_per_image").cause("reduction")
    assert cause.standing == "possible"
    assert "as mean over all values: 0.96" in " ".join(cause.arithmetic)
    assert explain(value, loss="mse", data=Y, reduction="mean").cause("reduction") is None


def test_two_sigmoids_are_seen_on_bright_pictures_too():
    y = (0.6 + 0.3 * Y).astype(np.float64)
    p = special.expit(0.9 * y + 0.1 * y.mean(axis=0))
    cause = explain(loss="bce", dump=(y, p)).cause("double_sigmoid")
    assert cause.standing == "shown"
    assert cause.arithmetic[0].endswith("0 % of the targets are below 1/2")


def test_the_sum_over_channels_and_their_mean_are_told_apart_or_not():
    y = np.random.default_rng(1).uniform(0.2, 0.8, (50, 3, 6, 6))
    p = 0.9 * y + 0.1 * y.mean(axis=0)
    squares = float(((y - p) ** 2).sum(axis=(1, 2, 3)).mean())
    assert any(
        "channels" in line for line in explain(squares, loss="mse", data=y, reduction="nats_per_image").apart
    )
    entropy = float(bce(y, p).mean(axis=1).sum(axis=(1, 2)).mean())
    assert explain(entropy, loss="bce", data=y, reduction="nats_per_image").causes[0].id == "channel_mean"
    assert "reduction" not in {
        c.id for c in explain(entropy, loss="bce", data=y, reduction="nats_per_image").causes
    }
    assert explain(entropy, loss="bce", data=y).cause("channel_mean").standing == "shown"


def test_a_sum_over_an_unknown_batch_gives_the_sizes_that_fit():
    value = float(bce(Y, near()).sum())  # 300 images
    text = said(explain(value, loss="bce", data=Y), "reduction")
    low = math.ceil(value / (64 * math.log(2)))
    high = value / (64 * float(ENTROPY.mean()))
    assert f"at least {low:,} and at most {high:,.0f} images" in text
    assert low <= 300 <= high


def test_reductions_that_cannot_be_told_apart_are_said_to_be_so():
    found = explain(0.05, loss="mse", data=Y)
    assert any("reduction" in line and "--reduction" in line for line in found.apart)
    assert all(cause.standing != "shown" for cause in found.causes)


def test_above_the_mean_image_nothing_is_called_normal():
    found = explain(0.6, loss="bce", data=Y, reduction="mean")
    assert found.cause("floor") is None
    assert found.cause("above_flat").standing == "shown"
    assert not any(cause.normal for cause in found.causes)


def test_a_number_that_may_hold_the_kl_is_said_to_be_open():
    value = float(bce(Y, near()).sum(axis=(1, 2)).mean()) + 3.0
    found = explain(value, loss="bce", data=Y, reduction="nats_per_image", rate=3.0)
    assert any(f"the reconstruction is {short(value - 3.0)}" in line for line in found.apart)
    assert not explain(value, loss="bce", data=Y, reduction="nats_per_image", rate=0.0).apart


def test_targets_outside_are_counted_and_named():
    x = (Y - 0.3) / 0.4
    found = explain(-12.0, loss="bce", data=x)
    outside = int(((x < 0) | (x > 1)).sum())
    assert f"{outside:,} of {x.size:,}" in said(found, "outside")
    assert found.causes[0].fix.startswith("x = x * 0.4000 + 0.3000")
    assert "no lower bound" in said(found, "outside")


def test_a_negative_value_names_the_size_of_target_that_it_needs():
    text = said(explain(-500.0, loss="bce"), "outside")
    keras, pytorch = 1 + 500 / math.log((1 - 1e-7) / 1e-7), 1 + 500 / 100
    assert f"{short(keras)} (Keras" in text
    assert f"{short(pytorch)} (PyTorch" in text


def test_a_negative_value_on_legal_data_tries_the_usual_transforms():
    images = (Y * 255).round().astype(np.uint8)
    found = explain(-20.0, loss="bce", data=images)
    text = said(found, "outside")
    assert "not divided by 255" in text
    assert "scaled to [-1, 1]" in text
    assert "z-scored" in text
    y = 2 * images.astype(np.float64) / 255 - 1
    inside = stats.entropy(np.stack([np.clip(y, 0, 1), 1 - np.clip(y, 0, 1)]), axis=0)
    assert (
        f"scaled to [-1, 1]: the loss can fall to {short(float(np.where(y < 0, 100 * y, inside).mean()))} "
        in text
    )
    huge = said(explain(-2000.0, loss="bce", data=images, reduction="mean"), "outside")
    assert "not enough: scaled to [-1, 1]" in huge
    assert "not enough: not divided" not in huge


def test_a_negative_value_of_an_unnamed_loss_leaves_two_causes():
    found = explain(-5299324)
    assert {cause.id for cause in found.causes} == {"outside", "density"}
    assert "continuous_bernoulli" in said(found, "density")
    assert "mse" in said(found, "outside").split("none of these")[1]
    assert any("--loss" in line for line in found.apart)


def test_a_squared_error_below_0_is_no_squared_error():
    found = explain(-1.0, loss="mse", data=Y)
    assert (found.causes[0].id, found.causes[0].standing) == ("quantity", "shown")
    assert found.cause("outside") is None


def test_effective_beta_and_the_variance_it_means():
    found = explain(0.06, loss="mse", shape=(28, 28), reduction="mean", rate=0.0)
    assert "effective beta 784" in found.cause("effective_beta").title
    assert "392 per value" in said(found, "effective_beta")
    assert found.cause("collapse").standing == "shown"
    assert "effective_beta" in ruled(
        explain(90.0, loss="bce", shape=(28, 28), reduction="nats_per_image", rate=25.0)
    )
    weighted = explain(0.02, loss="mse", data=Y, reduction="mean", rate=9.0, kl_weight=1 / 64)
    assert "effective_beta" in ruled(weighted)
    assert "collapse" in ruled(weighted)
    small = explain(0.02, loss="mse", data=Y, reduction="mean", kl_weight=0.001).cause("effective_beta")
    assert "weighs less" in small.title


def test_the_largest_eigenvalue_is_that_of_a_pca():
    pca = PCA(1).fit(Y.reshape(len(Y), -1).astype(np.float64))
    expected = pca.explained_variance_[0] * (len(Y) - 1) / len(Y)
    assert top_eigenvalue(Y.astype(np.float64)) == pytest.approx(expected, rel=1e-6)
    text = said(explain(0.06, loss="mse", data=Y, reduction="mean", rate=0.01), "effective_beta")
    assert short(float(expected))[:4] in text
    assert "the best linear VAE has rate 0" in text


def test_collapse_is_the_mean_image_or_the_median_image():
    for loss, image in (("mse", MEAN), ("mae", np.median(Y, axis=0))):
        value = float(function(loss).value(Y, np.broadcast_to(image, Y.shape)).mean())
        found = explain(value, loss=loss, data=Y, reduction="mean")
        assert found.causes[0].id == "collapse"
        assert found.causes[0].standing == "fits"
        assert any("--rate" in line for line in found.apart)
        assert "collapse" in ruled(explain(value * 0.8, loss=loss, data=Y, reduction="mean"))
        assert "collapse" in ruled(explain(value, loss=loss, data=Y, reduction="mean", rate=20.0))


@pytest.mark.parametrize(("p", "id", "word"), [(0.5, "constant", "1/2"), (1e-7, "saturation", "black"),
                                              (1 - 1e-7, "saturation", "white")])  # fmt: skip
def test_one_grey_for_all_pixels_is_recognised(p, id, word):
    value = float(bce(Y.astype(np.float64), np.full(Y.shape, p), 0).mean())
    cause = explain(value, loss="bce", data=Y, reduction="mean").cause(id)
    assert word in cause.title


def test_the_least_loss_behind_two_sigmoids_is_an_optimum():
    levels = of_array(Y, "digits").levels
    found = reach.least(function("bce"), levels, 0.0, 1.0)
    total = 0.0
    for y, n in zip(levels.values, levels.counts, strict=True):
        one = optimize.minimize_scalar(
            lambda z, y=y: np.logaddexp(0, z) - y * z, bounds=(0, 1), method="bounded"
        )
        total += n * min(one.fun, math.log(2), np.logaddexp(0, 1) - y)
    assert found == pytest.approx(total / levels.total, abs=1e-5)
    assert (
        explain(found * 1.02, loss="bce", data=Y, reduction="mean").cause("double_sigmoid").standing == "fits"
    )


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_sigmoid_rounds_where_torch_rounds(dtype):
    logit, text = breaks_at(resolve("bce"), np.array([0.5]), dtype)
    z = torch.tensor([logit, logit - 0.5], dtype=getattr(torch, dtype))
    assert torch.sigmoid(z).tolist()[0] == 1.0
    assert torch.sigmoid(z).tolist()[1] < 1.0
    assert "rounds to 1" in text
    assert breaks_at(resolve("mse"), np.array([0.5]), dtype)[0] is None


def test_nan_in_the_data_comes_first():
    x = Y.copy()
    x[3, 2, 1] = np.nan
    found = explain(float("nan"), loss="bce", data=x)
    assert (found.causes[0].id, found.causes[0].standing) == ("nan_targets", "shown")
    assert f"1 of {x.size:,}" in said(found, "nan_targets")


def test_data_of_nothing_but_nan_are_said_to_be_so():
    found = explain(0.3, loss="bce", data=np.full((4, 5, 5), np.nan))
    assert found.causes[0].id == "nan_targets"
    assert "no finite value" in " ".join(found.facts)


def test_images_that_are_all_the_same_need_no_special_case():
    for grey in (0.0, 0.3, 1.0):
        y = np.full((5, 4, 4), grey, np.float32)
        assert explain(0.62, loss="bce", data=y).causes is not None
        assert explain(0.0, loss="mse", data=y).causes is not None
    assert explain(0.3, loss="bce", data=Y[:1]).cause("floor").standing == "shown"


def test_nan_in_the_outputs_is_located():
    p = near().astype(np.float64)
    p[5, 1, 2] = np.inf
    found = explain(float("nan"), loss="bce", dump=(Y, p))
    assert found.causes[0].id == "nan_outputs"
    assert "1 of 300 images" in said(found, "nan_outputs").replace("in 1 of", "1 of")
    assert "[5, 1, 2]" in said(found, "nan_outputs")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_without_anything_else_has_possible_causes_alone(value):
    found = explain(value)
    assert [cause.id for cause in found.causes] == ["log_of_zero", "overflow", "divergence"]
    assert {cause.standing for cause in found.causes} == {"possible"}
    assert any("--loss" in line for line in found.apart)
    with_log, without = said(found, "log_of_zero").split("finite there, so it is not this with:")
    assert "bce" in with_log
    assert "mse" in without
    # float32's sigmoid, and cosh in float32 and float16, by NumPy itself
    with np.errstate(over="ignore"):
        z = np.arange(0, 40, 0.25, dtype=np.float32)
        first = z[1 / (1 + np.exp(-z)) == 1][0]
        assert f"from |z| = {short(float(first))} on" in with_log
        assert np.isinf(np.cosh(np.float32(91.6)))
        assert np.isfinite(np.cosh(np.float32(89)))
    limit = float(said(found, "overflow").split("logcosh (float32 ")[1].split(",")[0])
    assert 88 < limit < 93


def test_a_value_below_the_floor_says_that_these_were_not_the_targets():
    value = 0.5 * float(ENTROPY.mean())
    found = explain(value, loss="bce", data=Y)
    assert (found.causes[0].id, found.causes[0].standing) == ("below_floor", "shown")
    text = said(found, "below_floor")
    assert short(float(ENTROPY.mean())) in text
    assert "binarised" in text
    bits = (Y > 0.5).astype(np.float32)
    assert explain(value, loss="bce", data=bits).cause("below_floor") is None
    # a loss without a floor cannot be below it, and a reduction that fits comes first
    assert explain(1e-6, loss="mse", data=Y).cause("below_floor") is None
    assert explain(0.3, loss="bce", data=Y, reduction="nats_per_image").cause("below_floor") is None


def test_a_nan_after_steady_values_was_no_divergence():
    found = explain(curve=[0.3, 0.25, 0.22, 0.21, float("nan")], loss="bce")
    assert "divergence" in ruled(found)
    assert found.cause("log_of_zero").standing == "fits"


def test_a_good_model_shows_nothing_but_its_floor():
    z = special.logit(np.clip(near(0.97), 1e-4, 1 - 1e-4))
    value = float(function("bce").value_logits(Y, z).sum(axis=(1, 2)).mean())
    found = explain(value, loss="bce", dump={"targets": Y, "logits": z}, reduction="nats_per_image")
    assert [cause.id for cause in found.causes] == ["floor"], found
    assert {"saturation", "brightness", "collapse", "quantity"} <= ruled(found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mean: mean / math.log(10), "base 10"),
        (lambda mean: mean / math.log(2), "bits"),
        (lambda mean: mean - float(ENTROPY.mean()), "excess"),
        (lambda mean: mean * 64 + 12.5, "plus 1 x rate"),
    ],
)
def test_another_quantity_than_the_loss_is_recognised(change, words):
    p = near().clip(1e-4, 1 - 1e-4)
    value = change(float(bce(Y.astype(np.float64), p).mean()))
    found = explain(value, loss="bce", dump=(Y, p), rate=12.5)
    assert (found.causes[0].id, found.causes[0].standing) == ("quantity", "shown"), found
    assert words in said(found, "quantity")


def test_a_value_of_another_batch_is_not_explained_away():
    p = near().clip(1e-4, 1 - 1e-4)
    found = explain(0.777, loss="bce", dump=(Y, p))
    assert found.cause("quantity").standing == "fits"
    assert "no reduction of it" in said(found, "quantity")


def test_a_dump_tells_the_reduction():
    p = near().clip(1e-4, 1 - 1e-4)
    value = float(bce(Y.astype(np.float64), p).sum(axis=(1, 2)).mean())
    found = explain(value, loss="bce", dump=(Y, p), reduction="mean")
    assert found.cause("reduction").standing == "shown"


def test_dead_pixels_are_those_of_the_monitor():
    from lossproof.torch import Monitor

    z = np.where(Y > 0.4, -12.0, special.logit(np.clip(Y, 0.01, 0.99)))
    monitor = Monitor("mse")
    monitor(torch.from_numpy(z), torch.from_numpy(Y.astype(np.float64)))
    share = monitor.compute()["dead_pixels"]
    assert share > 0.1
    text = said(explain(loss="mse", dump={"targets": Y, "logits": z}), "saturation")
    assert text.startswith(f"{100 * share:.3g} % of the pixels")


def test_a_median_picture_is_darker_and_the_loss_is_the_reason():
    noisy = (np.random.default_rng(0).random(Y.shape) < 0.3 * Y).astype(np.float32)
    p = np.full(noisy.shape, 0.02)
    found = explain(loss="mae", dump=(noisy, p))
    text = said(found, "brightness")
    assert short(float(p.mean() / noisy.mean())) in text
    assert "does not estimate the mean" in text
    assert "this is training" in said(explain(loss="mse", dump=(noisy, p)), "brightness")


def test_the_best_grey_is_mean_or_median():
    from lossproof.advise.symptoms.case import Case

    targets = of_array(Y, "digits")
    assert best_grey(Case(function("mse"), targets=targets)) == pytest.approx(float(Y.mean()), abs=0.01)
    assert best_grey(Case(function("mae"), targets=targets)) == pytest.approx(float(np.median(Y)), abs=0.01)


def test_training_that_diverges_from_validation_by_overfitting_is_left_alone():
    curve = {"loss": np.linspace(0.3, 0.1, 9), "val_loss": np.linspace(0.3, 0.9, 9)}
    assert explain(loss="mse", curve=curve).cause("reduction") is None


def test_data_sets_are_read_as_check_reads_them():
    from lossproof.data import check

    found = of_data("digits")
    report = check("digits", losses=["bce"])
    counts = [part.count for part in report.parts]
    expected = sum(part.bce_floor * part.count for part in report.parts) / sum(counts)
    assert found.count == sum(counts)
    assert reach.floor(function("bce"), found.levels) * 64 == pytest.approx(expected, rel=1e-9)
