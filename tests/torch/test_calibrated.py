"""CalibratedCriterion against the NumPy law, finite differences and the exact fit; bounds, guards, guards' words."""

import math

import numpy as np
import pytest
import torch

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import LossproofError
from lossproof.likelihood import Levels, fit_temperature, likelihood
from lossproof.likelihood.grid import grid_for
from lossproof.torch.calibrated import CalibratedCriterion

LEVELS = Levels(17)


def batch(seed=0, shape=(3, 2, 5, 4), spread=3.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 17, shape) / 16
    return torch.from_numpy(y).float(), torch.from_numpy(rng.normal(0, spread, shape)).float()


CASES = [("bce", LEVELS, "loss", 0.3), ("bce", LEVELS, "excess", 0.05), ("mse", LEVELS, "loss", 0.02),
         ("mae", LEVELS, "loss", 0.07), ("huber(delta=0.1)", "interval", "loss", 0.004), ("bce", "interval", "loss", 0.4),
         ("poisson", LEVELS, "excess", 0.2), ("hellinger", LEVELS, "loss", 0.05), ("focal", LEVELS, "excess", 0.1),
         ("mse", Levels.of([0.0, 0.1, 0.25, 0.5, 1.0]), "loss", 0.05)]  # fmt: skip


@pytest.mark.parametrize(("name", "measure", "of", "t"), CASES)
def test_values_and_derivatives_are_the_laws(name, measure, of, t):
    y, z = batch()
    if isinstance(measure, Levels) and not measure.regular:
        y = torch.from_numpy(measure.values[np.random.default_rng(1).integers(0, 5, y.shape)]).float()
    made = CalibratedCriterion(name, measure=measure, of=of, temperature=t)
    graded = made.grade(y, z)
    targets, at = y.double().numpy(), z.double().numpy()
    if isinstance(measure, Levels):
        targets = measure.values[measure.index(targets)]

    def exact(t, z):
        return -likelihood(name, t, measure, of).log_prob(targets, logits=z)

    t = made.temperature.item()  # as float32 keeps log T
    assert np.abs(graded.values.numpy() - exact(t, at)).max() < 2e-4
    assert torch.allclose(made.values(y, z), graded.values, atol=1e-5)
    assert torch.equal(made.log_prob(y, z), -made.values(y, z))
    h = 1e-5
    slope = (exact(t, at + h) - exact(t, at - h)) / (2 * h)
    # at a kink the difference quotient is that of neither side
    smooth = np.abs(exact(t, at + 10 * h) + exact(t, at - 10 * h) - 2 * exact(t, at)) / h < 1e-2 / t
    assert smooth.mean() > 0.9
    assert graded.slopes.numpy()[smooth] == pytest.approx(slope[smooth], rel=5e-3, abs=5e-3)
    by_t = (exact(t * math.exp(h), at).sum() - exact(t * math.exp(-h), at).sum()) / (2 * h)
    assert graded.own[0].item() == pytest.approx(by_t, rel=1e-3, abs=1e-2)


def test_corners_are_finite():
    y = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0])
    z = torch.tensor([-1e3, 1e3, 80.0, -700.0, 700.0])
    for name in ("bce", "mse", "hellinger"):
        for t in (1e-3, 1.0, 500.0):
            graded = CalibratedCriterion(name, measure=17, temperature=t).grade(
                y.view(1, 1, 1, 5), z.view(1, 1, 1, 5)
            )
            assert all(torch.isfinite(part).all() for part in (graded.values, graded.slopes, graded.own[0]))


def test_learned_temperature_goes_where_it_is_solved():
    y, z = batch(shape=(40, 1, 5, 4))
    z = torch.logit(0.05 + 0.9 * (0.8 * y + 0.2 * z.sigmoid()))  # predictions that know something
    for of in ("loss", "excess"):
        made = CalibratedCriterion("bce", measure=LEVELS, of=of, temperature=1.0)
        t = made.parameters["log_temperature"]
        steps = torch.optim.Adam([t], lr=0.05)
        for _ in range(250):
            t.grad = made.grade(y, z).own[0] / y.numel()
            steps.step()
        fit = fit_temperature("bce", y.numpy(), logits=z.numpy(), measure=LEVELS, of=of)
        assert made.temperature.item() == pytest.approx(float(fit.temperature), rel=3e-3)


def test_it_starts_at_the_mean_image_and_solved_ones_follow_the_model():
    y, z = batch(shape=(60, 1, 5, 4), spread=0.1)
    y = ((0.25 + 0.5 * y) * 16).round() / 16  # better predicted by their mean than by a flat law
    mean = y.double().mean(0).expand_as(y).numpy()
    for how in ("learned", "solved"):
        made = CalibratedCriterion("mse", measure=17, how=how)
        made.begin(0, lambda: (y, z))
        fit = fit_temperature("mse", y.numpy(), mean, measure=17)
        start = min(float(fit.temperature), 2 * float(fit.observed))
        assert made.temperature.item() == pytest.approx(start, rel=1e-5)
        made.begin(1, lambda: (y, z))
        assert made.temperature.item() == pytest.approx(start, rel=1e-5)
        made.begin(2, lambda: (y, z))
        then = float(fit_temperature("mse", y.numpy(), logits=z.numpy(), measure=17).temperature)
        assert then != pytest.approx(start, rel=1e-2)
        assert made.temperature.item() == pytest.approx(start if how == "learned" else then, rel=1e-5)
    far = (
        batch(1, shape=(60, 1, 5, 4))[0] > 0.5
    ).float()  # all black or white: a flat law does better than the mean image
    made.begin(0, lambda: (far, far))
    assert made.temperature.item() == pytest.approx(2 * far.var(0, correction=0).mean().item(), rel=1e-5)
    lost = made.temperature.item()
    made.begin(3, lambda: (y, z * math.nan))
    assert made.temperature.item() == lost


def test_one_temperature_a_channel():
    y, z = batch(shape=(30, 3, 4, 4))
    made = CalibratedCriterion("mse", measure=17, how="learned", per="channel", image_shape=(3, 4, 4))
    with torch.no_grad():
        made.parameters["log_temperature"].copy_(torch.tensor([-4.0, -2.0, 0.0]))
    graded = made.grade(y, z)
    for channel, log_t in enumerate((-4.0, -2.0, 0.0)):
        alone = CalibratedCriterion("mse", measure=17, temperature=math.exp(log_t))
        part = alone.grade(y[:, channel : channel + 1], z[:, channel : channel + 1])
        assert torch.allclose(graded.values[:, channel : channel + 1], part.values, rtol=1e-5, atol=1e-4)
        assert torch.allclose(graded.slopes[:, channel : channel + 1], part.slopes, rtol=1e-3, atol=1e-2)
        assert graded.own[0][channel].item() == pytest.approx(part.own[0].item(), rel=2e-3, abs=0.5)
    scaled = made.loss_slopes(y, z) / made.slopes(y, z)
    assert scaled[:, 1].mean().item() == pytest.approx(math.exp(-2))
    made.begin(0, lambda: (y, z))
    assert made.temperature.shape == (3,)
    with pytest.raises(LossproofError, match="expected 3 channels, one temperature each"):
        made.grade(y[:, :2], z[:, :2])


PER = [("channel", (2,)), ("pixel", (2, 5, 4))]


@pytest.mark.parametrize(("per", "shape"), PER)
@pytest.mark.parametrize(("name", "measure", "of", "t"), CASES[:-1])
def test_each_value_at_its_own_temperature_is_the_laws(name, measure, of, t, per, shape):
    """Values, slopes and derivatives in every log T against the exact law at that T, value by value."""
    y, z = batch(shape=(3, 2, 5, 4))
    made = CalibratedCriterion(name, measure=measure, of=of, per=per, image_shape=(2, 5, 4))
    spread = torch.linspace(math.log(t / 3), math.log(3 * t), math.prod(shape)).view(shape)
    with torch.no_grad():
        made.parameters["log_temperature"].copy_(spread)
    graded = made.grade(y, z)
    assert torch.allclose(made.temperature.log().float(), spread, atol=1e-6)
    assert graded.own[0].shape == shape
    each = spread.double().view(-1, 1, 1).expand(2, 5, 4) if per == "channel" else spread.double()
    targets, at = y.double().numpy(), z.double().numpy()
    targets = measure.values[measure.index(targets)] if isinstance(measure, Levels) else targets
    h, by_t = 1e-5, torch.zeros(2, 5, 4, dtype=torch.float64)
    for place in np.ndindex(2, 5, 4):
        own, where = math.exp(each[place]), (slice(None), *place)

        def exact(t, z, where=where):
            return -likelihood(name, t, measure, of).log_prob(targets[where], logits=z)

        assert np.abs(graded.values[where].numpy() - exact(own, at[where])).max() < 2e-4
        slope = (exact(own, at[where] + h) - exact(own, at[where] - h)) / (2 * h)
        bent = np.abs(
            exact(own, at[where] + 10 * h) + exact(own, at[where] - 10 * h) - 2 * exact(own, at[where])
        )
        smooth = bent / h < 1e-2 / own  # at a kink the difference quotient is that of neither side
        assert graded.slopes[where].numpy()[smooth] == pytest.approx(slope[smooth], rel=5e-3, abs=2e-2)
        by_t[place] = exact(own * math.exp(h), at[where]).sum() - exact(own * math.exp(-h), at[where]).sum()
    expected = by_t.sum((1, 2)) if per == "channel" else by_t
    assert graded.own[0].double().numpy() == pytest.approx(expected.numpy() / (2 * h), rel=2e-3, abs=3e-2)
    assert torch.allclose(made.values(y, z), graded.values, atol=1e-5)
    assert torch.allclose(made.loss_slopes(y, z), graded.slopes * each.exp().float(), rtol=1e-4, atol=1e-6)


def test_a_pixel_learns_the_temperature_that_solves_it():
    y, z = batch(shape=(300, 1, 2, 3))
    noise = torch.tensor([0.02, 0.1, 0.3, 0.05, 0.8, 0.5]).view(1, 2, 3)
    z = torch.logit(0.05 + 0.9 * ((1 - noise) * y + noise * z.sigmoid()))
    made = CalibratedCriterion("mse", measure=17, per="pixel", image_shape=(1, 2, 3))
    t = made.parameters["log_temperature"]
    steps = torch.optim.Adam([t], lr=0.05)
    for _ in range(300):
        t.grad = made.grade(y, z).own[0] / len(y)
        steps.step()
    fit = fit_temperature("mse", y.numpy(), logits=z.numpy(), measure=17, per="pixel").temperature
    assert made.temperature.numpy() == pytest.approx(fit, rel=2e-2)
    assert fit.max() > 10 * fit.min()


def test_a_pixel_that_is_black_so_far_is_not_taken_for_black_for_ever():
    y, _ = batch(shape=(40, 1, 2, 2))
    y[:, :, 0, 0] = 0
    for how in ("learned", "solved"):
        made = CalibratedCriterion("mse", measure=17, how=how, per="pixel", image_shape=(1, 2, 2))
        made.begin(0, lambda: (y, torch.zeros_like(y)))
        assert made.temperature.min() == made.temperature[0, 0, 0] > 5 * 1e-4
        raw = torch.full_like(y, -6.0)
        made.begin(2, lambda raw=raw: (y, raw))
        mean = (y - raw.sigmoid()).square().double()
        shared = (mean.sum(0)[0, 0, 0] + mean.mean()) / 41
        if how == "solved":  # the law's own mean loss at that T is the shared one
            t = float(made.temperature[0, 0, 0])
            law = likelihood("mse", t, 17).expected_loss(logits=-6.0)
            assert float(law) == pytest.approx(float(shared), rel=2e-2)


@pytest.mark.parametrize(
    ("name", "of"), [("mse", "loss"), ("bce", "excess"), ("mae", "loss"), ("bce", "loss")]
)
def test_an_image_has_the_temperature_that_solves_it_and_pays_for_it(name, of):
    y, z = batch(shape=(12, 1, 12, 11))
    blur = torch.linspace(0.02, 0.6, 12).view(-1, 1, 1, 1)
    z = torch.logit(0.03 + 0.94 * ((1 - blur) * y + blur * z.sigmoid()))
    made = CalibratedCriterion(name, measure=LEVELS, of=of, how="solved", per="image")
    nats = made.values(y, z).double().sum((1, 2, 3)).numpy()
    fit = fit_temperature(name, y.numpy(), logits=z.numpy(), measure=LEVELS, of=of, per="image").temperature
    assert np.abs(np.log(made.temperature.numpy() / fit)).max() < 0.6 / 12  # half a rung
    assert len(made.ladder) == 193
    for i, t in enumerate(made.temperature.tolist()):
        law = likelihood(name, t, LEVELS, of)
        own = -law.log_prob(LEVELS.values[LEVELS.index(y[i].numpy())], logits=z[i].double().numpy()).sum()
        assert nats[i] == pytest.approx(own + math.log(193), abs=0.02)
    graded = made.grade(y, z)
    assert graded.own == ()
    assert torch.allclose(graded.values, made.values(y, z), atol=1e-4)
    if name == "mae":  # its slopes jump
        return
    h = 1e-3  # the minimum over T: what T does with a logit has no first-order effect
    moved = [made.given(y, z).values(y, z + s * h).double() for s in (1, -1)]
    assert graded.slopes.double().numpy() == pytest.approx(
        ((moved[0] - moved[1]) / (2 * h)).numpy(), rel=2e-2, abs=0.2
    )


def test_images_with_their_own_temperature_are_a_code_that_exists():
    """The masses of all images of two pixels on three levels sum to at most 1; without the cost of T they would not."""
    values = torch.tensor([0.0, 0.5, 1.0])
    y = torch.cartesian_prod(values, values).view(9, 1, 1, 2)
    z = torch.tensor([-2.0, 0.7]).view(1, 1, 1, 2).expand(9, 1, 1, 2).contiguous()
    made = CalibratedCriterion("mse", measure=3, how="solved", per="image")
    mass = (-made.values(y, z).double().sum((1, 2, 3))).exp().sum()
    assert mass < 1
    assert mass * len(made.ladder) > 1.2
    given = made.given(y, z)
    each = torch.stack([given.log_prob(torch.full_like(y, float(v)), z).double().exp() for v in values])
    assert each.sum(0).numpy() == pytest.approx(1, abs=1e-4)  # at a T that is known, no cost
    assert made.given(y, z) is not made
    alike = CalibratedCriterion("mse", measure=3)
    assert alike.given(y, z) is alike


def test_an_image_may_not_flee_into_a_flat_law_while_the_model_learns():
    y = (batch(1, shape=(6, 1, 8, 8))[0] > 0.5).float()
    wrong, vague = 4 * (0.5 - y), torch.full_like(y, 0.3)
    made = CalibratedCriterion("mse", measure=2, how="solved", per="image")
    made.grade(y, wrong)
    assert (made.temperature > 900).all()  # a flat law is the best that it can have
    made.begin(0, lambda: (y, wrong))
    start = made.buffers["start"].item()
    assert start == pytest.approx(2 * y.var(0, correction=0).mean().item(), rel=1e-2)
    for raw in (wrong, vague):
        made.grade(y, raw)
        most = (y - raw.sigmoid()).square().flatten(1).mean(1).double().mul(2).clamp(min=start)
        assert (made.temperature <= most * 1.0001).all()
        assert (made.temperature > most * math.exp(-1.01 / 12)).all()
        made.values(y, raw)
        assert (made.temperature > 1.3 * most).all()  # what is measured has the best
    near = torch.logit(0.9 * y + 0.05)
    made.grade(y, near)
    bounded = made.temperature
    made.values(y, near)
    assert torch.equal(bounded, made.temperature)
    made.begin(1, lambda: (y, near))
    assert made.buffers["start"].item() == start


@pytest.mark.parametrize("per", ["pixel", "image"])
def test_where_no_patch_serves_the_bound_moves_up(monkeypatch, per):
    how = "solved" if per == "image" else "learned"
    made = CalibratedCriterion("charbonnier", measure=17, how=how, per=per, image_shape=(2, 5, 4))
    surface = made._patches_like(torch.zeros(1)).surface
    original = surface.patches

    def patches(rung):
        if rung < math.log(0.003) * 12:
            raise LossproofError("no table")
        return original(rung)

    monkeypatch.setattr(surface, "patches", patches)
    y, z = batch()
    if per == "pixel":
        with torch.no_grad():
            made.parameters["log_temperature"].fill_(math.log(0.002))
    else:
        z = torch.logit(0.98 * y + 0.01)
    assert torch.isfinite(made.grade(y, z).values).all()
    assert 0.003 <= made.temperature.min() < 0.008
    assert made.buffers["low"].item() >= 0.003
    assert len(made.ladder) < 193


def test_a_lost_temperature_of_one_pixel_loses_the_values():
    made = CalibratedCriterion("mse", measure=17, per="pixel", image_shape=(2, 5, 4))
    with torch.no_grad():
        made.parameters["log_temperature"][0, 1, 2] = math.nan
    graded = made.grade(*batch())
    assert torch.isnan(graded.values).all()
    assert graded.own[0].shape == (2, 5, 4)


def test_bounds_hold_after_a_step_and_a_lost_temperature_stays_lost():
    made = CalibratedCriterion("mse", measure=17, temperature=0.02, low=0.01, high=0.5)
    t = made.parameters["log_temperature"]
    for given, kept in ((-99.0, 0.01), (99.0, 0.5)):
        with torch.no_grad():
            t.fill_(given)
        made.project()
        assert made.temperature.item() == pytest.approx(kept)
    with torch.no_grad():
        t.fill_(math.nan)
    made.project()
    assert torch.isnan(made.grade(*batch()).values).all()


def test_where_no_table_serves_the_bound_moves_up(monkeypatch):
    made = CalibratedCriterion("mse", measure=17, temperature=0.02)
    original = made.grid.pair

    def pair(t):
        if t < 0.003:
            raise LossproofError("no table")
        return original(t)

    monkeypatch.setattr(made.grid, "pair", pair)
    with torch.no_grad():
        made.parameters["log_temperature"].fill_(math.log(0.002))
    assert torch.isfinite(made.grade(*batch()).values).all()
    assert made.buffers["low"].item() == pytest.approx(0.004)
    assert made.temperature.item() == pytest.approx(0.004)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "tuned"}, "calibrate: expected learned or solved, got 'tuned'"),
        ({"temperature": 1e-5}, r"mse: expected a temperature in \[0.0001, 1000\], got 1e-05"),
        ({"low": 0.0}, "mse: expected a finite temperature T > 0"),
        ({"per": "row"}, "per: expected all, image, channel or pixel, got 'row'"),
        (
            {"per": "pixel"},
            r"mse: expected image_shape \(channels, height, width\) for one T a pixel, got none",
        ),
        (
            {"per": "image"},
            "mse: expected calibrate solved for one T an image, got learned: the next image has another",
        ),
        ({"measure": "line"}, "mse: expected levels or the interval .* to calibrate on, got the real line"),
    ],
)
def test_guards(options, message):
    with pytest.raises(LossproofError, match=message):
        CalibratedCriterion("mse", **{"measure": 17} | options)


@pytest.mark.parametrize("of", ["loss", "excess"])
@pytest.mark.parametrize("name", ["bce", "mse", "mae", "logcosh", "poisson", "focal"])
def test_the_grid_keeps_its_promise_between_its_own_probes(name, of):
    grid = grid_for(resolve(name), Levels(64), of)
    rng = np.random.default_rng(3)
    at = grid.point(np.sort(rng.uniform(grid.low, grid.high, 300)))
    for t in np.exp(rng.uniform(np.log(5e-3), np.log(5.0), 4)):
        u, pair = grid.pair(float(t))
        from lossproof.likelihood.grid import weights

        c0, c1, c2 = np.tensordot(weights(u)[0], pair, 1)
        spot = at.x if not at.logits else at.x / np.sqrt(0.25 + np.abs(at.x))
        place = (spot - grid.low) / (grid.high - grid.low) * c0.size
        cell = np.minimum(place.astype(int), c0.size - 1)
        v = place - cell
        got = (c0[cell] + v * (c1[cell] + v * c2[cell])) / t
        law = likelihood(name, float(t), Levels(64), of)
        exact = law.normaliser.engine.log_total(at) - grid.integrand.rest(at) / t
        assert np.abs(got - exact).max() < 1e-4


def test_the_catalogue_can_be_calibrated_or_says_why_not():
    for loss in CATALOGUE.values():
        made = CalibratedCriterion(loss, measure=17, temperature=0.1)
        y, z = batch(shape=(1, 1, 2, 2))
        assert torch.isfinite(made.grade(y, z).values).all()
    with pytest.raises(LossproofError, match="unbounded below"):
        CalibratedCriterion("continuous_bernoulli", measure=17, of="excess")
