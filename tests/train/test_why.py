"""The experiment: each arm changes the one thing it says, and the steps add up to the whole difference."""

import json
import math

import numpy as np
import pytest
import torch

from lossproof.catalogue import CATALOGUE
from lossproof.formula import LossproofError
from lossproof.likelihood import Levels, likelihood
from lossproof.report import why as effects_of
from lossproof.torch.criterion import criterion
from lossproof.train import why as why_module
from lossproof.train.why import Design, Pilot, match, secant, weigh, why
from lossproof.train.why_arms import (
    Normalised,
    Offset,
    StraightThrough,
    Tangent,
    Weighted,
    saturates,
    unsaturated,
    wrong_end,
)

MSE, BCE, MAE = (CATALOGUE[name] for name in ("mse", "bce", "mae"))
LEVELS = Levels(17)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 17, (5, 1, 3, 2), generator=generator).double() / 16
    return target, 2 * torch.randn(5, 1, 3, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    "made",
    [
        Weighted(MSE, 3.5),
        Weighted(BCE, 0.2),
        Tangent(MSE, 3.5),
        Tangent(CATALOGUE["logcosh"], 2.0),
        Normalised(BCE, 1.0, LEVELS),
        Normalised(MSE, 3.5, LEVELS, scale=2.0),
        Offset(Weighted(MSE, 2.0), torch.full((1, 3, 2), 1.5, dtype=torch.float64)),
    ],
    ids=lambda c: type(c).__name__,
)
def test_slopes_are_those_of_the_values(made, batch):
    target, raw = batch
    graded = made.grade(target, raw)
    assert torch.allclose(graded.values, made.values(target, raw))
    step = 1e-4
    slope = (made.values(target, raw + step) - made.values(target, raw - step)) / (2 * step)
    assert torch.allclose(graded.slopes, slope, rtol=1e-4, atol=1e-5)
    assert torch.allclose(made.slopes(target, raw), graded.slopes)


def test_a_weight_multiplies_and_the_picture_stays(batch):
    target, raw = batch
    plain, twice = criterion(MSE), Weighted(MSE, 2.0)
    assert torch.equal(twice.values(target, raw), 2 * plain.values(target, raw))
    assert torch.equal(twice.picture(raw), raw.sigmoid())
    assert torch.allclose(twice.loss_slopes(target, raw), plain.slopes(target, raw))


def test_the_tangent_link_starts_as_the_sigmoid_does_and_does_not_saturate():
    target, zero, far = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), -40.0)
    tangent, plain = Tangent(MSE, 1.0), criterion(MSE)
    assert torch.equal(tangent.grade(target, zero).slopes, plain.slopes(target, zero))
    assert tangent.grade(target, far).slopes.item() == pytest.approx(2 * (0.5 - 10 - 1) / 4)
    assert plain.slopes(target, far).abs().item() < 1e-15
    assert tangent.picture(far).item() == 0.0


def test_straight_through_replaces_the_factor_and_nothing_else(batch):
    target, raw = batch
    made, p = StraightThrough(MSE, 3.0), raw.sigmoid()
    graded = made.grade(target, raw)
    assert torch.allclose(graded.slopes, 3.0 * 2 * (p - target) / 4)
    assert torch.allclose(graded.values, 3.0 * (p - target) ** 2)
    # of mse it is bce's gradient times a constant: the factor p(1 - p) is all that tells them apart
    assert torch.allclose(graded.slopes, 1.5 * criterion(BCE).slopes(target, raw))


def test_the_normaliser_is_that_of_the_likelihood(batch):
    target, raw = batch
    made = Normalised(MSE, 4.0, LEVELS, scale=2.0)
    law = likelihood("mse", 0.5, LEVELS)
    assert made.temperature == 0.5
    known = law.log_prob(target.numpy(), logits=raw.numpy())
    assert np.allclose(made.log_prob(target, raw).numpy(), known, atol=1e-4)
    assert np.allclose(made.values(target, raw).numpy(), -2 * known, atol=2e-4)
    assert np.allclose(made.picture(raw).numpy(), law.mean(logits=raw.numpy()), atol=1e-5)
    # less the normaliser, the values are the weighted loss
    rest = made.values(target, raw).numpy() - 2 * law.normaliser.log_z(logits=raw.numpy())
    assert np.allclose(rest, Weighted(MSE, 4.0).values(target, raw).numpy(), atol=2e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mse", True), ("mae", True), ("huber", True), ("hellinger", True), ("bce", False), ("poisson", True)],
)
def test_saturation_is_seen_at_the_wrong_end(name, expected):
    assert saturates(CATALOGUE[name], np.array([0.0, 0.5, 1.0])) is expected


def test_a_loss_that_takes_no_real_prediction_gets_the_straight_through_gradient():
    assert isinstance(unsaturated(MAE, 1.0)[0], Tangent)
    made, how = unsaturated(CATALOGUE["hellinger"], 2.0)
    assert isinstance(made, StraightThrough)
    assert how == "with the gradient dl/dp × 1/4 in place of dl/dp × p(1 − p)"


def test_a_saturated_start_is_an_output_bias_at_the_wrong_end():
    mean = np.array([[[0.1, 0.9]]])
    offset = wrong_end(mean, 6.0)
    assert offset.tolist() == [[[6.0, -6.0]]]
    made = Offset(Weighted(BCE, 1.0), offset)
    assert made.picture(torch.zeros(1, 1, 1, 2)).flatten().tolist() == pytest.approx(
        [0.99753, 0.00247], abs=1e-5
    )
    with pytest.raises(LossproofError, match="expected a logit above 0, got -1"):
        wrong_end(mean, -1.0)


class Known(Pilot):
    """A pilot whose rates follow a law, so that the right weight is known."""

    def __init__(self, images, law, first=BCE, second=MSE, variational=True):
        super().__init__(images, first, second, [0], {"model": "vae" if variational else "ae"})
        self.law, self.asked = law, 0

    def __call__(self, arm):
        self.asked += 1
        entry = arm.entry.get("weight", 1.0)
        return {"rate": self.law(entry) if arm.loss is not BCE else 12.0, "mse": 0.0144}


def test_the_weight_of_equal_rate_is_found_by_secants(tiny):
    pilot = Known(tiny, lambda w: 5.0 * w**0.3 + 1)
    design = weigh(pilot, "rate", None)
    assert design.by == "rate"
    assert design.error == 0.12  # the root mean squared error that the first loss reached
    assert 5.0 * design.weight**0.3 + 1 == pytest.approx(12.0, rel=0.05)
    assert pilot.asked <= 1 + why_module.TRIES


def test_the_exchange_rate_is_that_of_equal_mean_excess(tiny):
    design = weigh(Known(tiny, lambda w: 1.0), "exchange", 0.2)
    levels, counts = np.unique(tiny.train.astype(np.float64), return_counts=True)
    total = 0.0
    for y, n in zip(levels, counts, strict=True):
        sides = [p for p in (y - 0.2, y + 0.2) if 0 < p < 1]
        kl = [sum(a * math.log(a / b) for a, b in ((y, p), (1 - y, 1 - p)) if a > 0) for p in sides]
        total += n * np.mean(kl)
    assert design.weight == pytest.approx(total / counts.sum() / 0.04, rel=1e-6)
    assert (design.by, design.exchanged) == ("exchange", design.weight)


def test_a_collapsed_first_loss_leaves_the_exchange_rate(tiny):
    design = Design("bce", "mse", 1.0, "", 0.1, 4.0)
    match(Known(tiny, lambda w: 1.0), design, 0.01)
    assert (design.weight, design.by) == (4.0, "exchange")
    assert "there is no rate to match" in design.skipped[0]["reason"]
    assert weigh(Known(tiny, lambda w: 1.0), 3, 0.1).weight == 3
    assert weigh(Known(tiny, lambda w: 1.0, variational=False), "rate", None).weight == 1


def test_secants_stay_near_and_take_two_points_into_account():
    assert secant([(0.0, 1.0)], 1.5) == pytest.approx(1.0)
    assert secant([(0.0, 1.0), (2.0, 2.0)], 1.25) == pytest.approx(0.5)
    assert secant([(0.0, 1.0)], 100.0) == 3.0


def test_the_steps_add_up_and_the_arms_are_paired(tiny, tmp_path):
    options = {"hidden": (9,), "latent": 3, "epochs": 3, "batch_size": 16}
    done = why(
        tiny,
        ["bce", "mse"],
        weight="exchange",
        error=0.2,
        seeds=2,
        out=tmp_path / "run",
        progress=False,
        **options,
    )
    stored = json.loads((tmp_path / "run" / "why.json").read_text())
    assert [arm["label"] for arm in stored["arms"]] == list(dict.fromkeys(done.table["loss"]))
    assert len(stored["arms"]) == 9
    design = effects_of.read_design(tmp_path / "run")
    frame = effects_of.effects(done.table, design)
    assert effects_of.adds_up(frame)
    assert set(frame["measure"]) == {"mse", "ssim", "rate"}
    parts = frame[frame["part"] & (frame["measure"] == "mse")]
    assert parts["key"].tolist() == ["weight", "gradient", "shape"]
    assert (parts["effect"] != 0).all()
    # arms of a seed start alike: before training the plain and the weighted arms give the same pictures
    start = done.table.query("epoch == 0 and split == 'test' and measure == 'mse'").pivot(
        index="seed", columns="loss"
    )
    first = start["value"]
    weighted = next(c for c in first.columns if c.startswith("mse × ") and "," not in c)
    assert (first["bce"] == first["mse"]).all()
    assert (first["bce"] == first[weighted]).all()
    assert (first[f"{weighted}, saturated start"] > first["bce"] + 0.1).all()


def test_an_autoencoder_has_no_weight_step(tiny, tmp_path):
    options = {"hidden": (9,), "latent": 3, "epochs": 1, "batch_size": 16, "model": "ae"}
    done = why(tiny, ["mae", "mse"], seeds=1, out=tmp_path / "run", progress=False, **options)
    frame = effects_of.effects(done.table, effects_of.read_design(tmp_path / "run"))
    mine = frame[frame["measure"] == "mse"].set_index("key")
    assert mine.loc["weight", "by_construction"]
    assert "rate" not in set(frame["measure"])
    assert effects_of.adds_up(frame)


@pytest.mark.parametrize(
    ("losses", "options", "message"),
    [
        (["bce"], {}, r"expected two losses, got \['bce'\]"),
        (["bce", "mse", "mae"], {}, "expected two losses"),
        (["bce", "bce"], {}, "expected two different losses, got bce twice"),
        (
            ["bce", "mse"],
            {"weight": "beta"},
            "expected weight as rate, exchange or a number above 0, got 'beta'",
        ),
        (["bce", "mse"], {"weight": -1.0}, "expected weight as rate, exchange or a number above 0, got -1"),
        (["bce", "mse"], {"beta": 0.0}, "expected a beta above 0, got 0"),
        (["bce", "continuous_bernoulli"], {"weight": "exchange", "error": 0.1}, "one is not least at p = y"),
    ],
)
def test_wrong_options_are_named(tiny, losses, options, message):
    with pytest.raises(LossproofError, match=message):
        why(tiny, losses, seeds=1, **options)
