"""Logits beyond the tables of log Z: the law is still a law there, with its derivatives."""

import math

import numpy as np
import pytest
import torch

from lossproof.formula import LossproofError
from lossproof.likelihood import Levels, likelihood
from lossproof.torch import LossDistribution
from lossproof.torch.calibrated import CalibratedCriterion

FAR = [720.0, -2000.0, 1e4, -1e5]
LAWS = [("bce", "loss", 1.0), ("bce", "loss", 1000.0), ("bce", "excess", 300.0), ("poisson", "excess", 1.0)]


def criterion_mass(made, y, z):
    raw = torch.full((len(y), 1, 1, 1), z)
    return made.log_prob(y.view(-1, 1, 1, 1), raw).double().exp().sum().item()


@pytest.mark.parametrize(("loss", "of", "temperature"), LAWS)
@pytest.mark.parametrize("per", ["all", "pixel", "image"])
def test_the_mass_is_1(loss, of, temperature, per):
    y = torch.linspace(0, 1, 17)
    how = "solved" if per == "image" else "learned"
    made = CalibratedCriterion(
        loss, measure=17, of=of, temperature=temperature, per=per, image_shape=(1, 1, 1), how=how
    )
    for z in FAR:
        if per != "image":
            assert criterion_mass(made, y, z) == pytest.approx(1, abs=2e-4)
            continue
        first = made.given(y[:1].view(1, 1, 1, 1), torch.full((1, 1, 1, 1), z))  # all 17 at the first one's T
        total = sum(
            first.log_prob(one.view(1, 1, 1, 1), torch.full((1, 1, 1, 1), z)).double().exp().item()
            for one in y
        )
        assert total == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(("loss", "of", "temperature"), LAWS)
@pytest.mark.parametrize("per", ["all", "pixel"])
def test_a_step_there_is_that_of_the_law(loss, of, temperature, per):
    rng = np.random.default_rng(0)
    z = np.array([*FAR, 0.3, -12.0])
    y = rng.integers(0, 17, z.size) / 16
    shape = (1, 1, 1, z.size)
    made = CalibratedCriterion(
        loss, measure=17, of=of, temperature=temperature, per=per, image_shape=shape[1:]
    )
    graded = made.grade(*(torch.from_numpy(a).float().view(shape) for a in (y, z)))

    def nats(t, z):
        return -likelihood(loss, t, 17, of).log_prob(y, logits=z)

    t, h = float(made.temperature.reshape(-1)[0]), 1e-3
    assert graded.values.flatten().numpy() == pytest.approx(nats(t, z), rel=1e-5, abs=2e-4)
    slope = (nats(t, z + h) - nats(t, z - h)) / (2 * h)
    assert graded.slopes.flatten().numpy() == pytest.approx(slope, rel=5e-3, abs=1e-4)
    by_t = (nats(t * math.exp(h), z) - nats(t * math.exp(-h), z)) / (2 * h)
    own = graded.own[0].numpy()
    wanted = by_t.sum() if per == "all" else by_t.reshape(own.shape)
    assert own == pytest.approx(wanted, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("of", ["loss", "excess"])
@pytest.mark.parametrize("temperature", [1.0, 1000.0])
@pytest.mark.parametrize(
    "at", [{"logits": 720.0}, {"logits": -2000.0}, {"logits": 1e4}, {"p": 0.0}, {"p": 1.0}]
)
def test_a_distribution_that_looks_log_z_up(of, temperature, at):
    levels = Levels.of([0.0, 0.1, 0.25, 0.5, 1.0])
    ((name, value),) = at.items()
    x, t = torch.tensor(value, requires_grad=True), torch.tensor(temperature, requires_grad=True)
    law = LossDistribution("bce", **{name: x}, temperature=t, measure=levels, of=of)
    mass = law.log_prob(torch.from_numpy(levels.values).float())
    assert mass.double().exp().sum().item() == pytest.approx(1, abs=1e-6)
    if name == "logits":
        by_x, by_t = torch.autograd.grad(mass[1], (x, t))
        h = 1e-3

        def exact(z, t):
            return float(likelihood("bce", t, levels, of).log_prob(0.1, logits=z))

        assert by_x.item() == pytest.approx(
            (exact(value + h, temperature) - exact(value - h, temperature)) / 2 / h, rel=1e-4, abs=1e-7
        )
        assert by_t.item() == pytest.approx(
            (exact(value, temperature + h) - exact(value, temperature - h)) / 2 / h, rel=1e-4, abs=1e-7
        )


@pytest.mark.parametrize("temperature", [1e-12, 1e-3, 1.0, 1e12])
@pytest.mark.parametrize("logit", [0.0, 37.0, -800.0, 1e10, -1e300])
@pytest.mark.parametrize("measure", [Levels(256), Levels.of([0.0, 0.1, 0.5, 1.0])], ids=str)
def test_the_numpy_law_of_bce_has_mass_1_at_any_logit(temperature, logit, measure):
    law = likelihood("bce", temperature, measure)
    log_mass = law.log_prob(measure.values, logits=np.full(measure.count, logit))
    assert np.exp(log_mass).sum() == pytest.approx(1, abs=1e-12)
    assert log_mass.max() <= 0


def test_the_density_of_bce_keeps_its_digits_far_out():
    law = likelihood("bce", 1.0, "interval")
    # towards y = 1 the density is z exp(-z (1 - y))
    assert law.log_prob(1.0, logits=1e12) == pytest.approx(math.log(1e12), abs=1e-12)
    assert law.log_prob(1 - 1e-12, logits=1e12) == pytest.approx(math.log(1e12) - 1, abs=1e-4)


@pytest.mark.parametrize(("measure", "message"), [
    (2, r"mse: expected targets on 2 grey levels k/1, got 1 of 2 values between levels, first 0.3 at \[0, 0, 0, 1\]"),
    ("interval", r"mse: expected target in \[0, 1\], got 1 of 2 values outside"),
])  # fmt: skip
def test_targets_off_the_measure_are_refused(measure, message):
    made = CalibratedCriterion("mse", measure=measure, temperature=0.1)
    good, bad = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.0, 0.3 if measure == 2 else 1.3]]]])
    raw = torch.zeros(1, 1, 1, 2)
    with pytest.raises(LossproofError, match=message):
        made.grade(bad, raw)
    made.grade(good, raw)
    made.grade(bad, raw)  # in training only the first ones are looked at
    with pytest.raises(LossproofError, match=message):
        made.log_prob(bad, raw)


def test_float32_masses_at_low_temperatures_sum_to_1():
    for loss in ("mse", "mae"):
        law = LossDistribution(loss, p=torch.tensor([0.3, 0.3]), temperature=1e-6, measure=2)
        assert law.log_prob(torch.tensor([0.0, 1.0])).dtype == torch.float32
        assert law.log_prob(torch.tensor([0.0, 1.0])).double().exp().sum().item() == pytest.approx(
            1, abs=1e-7
        )


def test_bits_per_pixel_of_a_distribution():
    law = LossDistribution("mse", p=torch.tensor([0.2, 0.7]), temperature=0.02)
    y = torch.tensor([51 / 255, 1.0])
    wanted = likelihood("mse", 0.02).bits_per_pixel(y.numpy(), np.array([0.2, 0.7]))
    assert law.bits_per_pixel(y).item() == pytest.approx(wanted, abs=2e-4)
    with pytest.raises(LossproofError, match="a density is no mass, and its bits depend on the unit of y"):
        LossDistribution("mse", p=torch.tensor(0.2), measure="interval").bits_per_pixel(torch.tensor(0.2))
