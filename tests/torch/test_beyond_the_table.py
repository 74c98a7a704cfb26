"""Logits beyond the tables of log Z: the law is still a law there, with its derivatives."""

import math

import numpy as np
import pytest
import torch

from lossproof.catalogue import CATALOGUE
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


@pytest.mark.parametrize("temperature", [1e-10, 1e-3, 1.0, 1e12])
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


SCANNED = [("bce", "loss", 256, 1e-3), ("bce", "loss", 16, 1e-4), ("weighted_bce", "loss", 256, 3e-4), ("focal", "loss", 17, 1e-3),
           ("bce", "excess", 256, 1e-3), ("bce", "excess", 16, 1e-2), ("mae", "loss", 16, 3e-4), ("hellinger", "loss", 16, 1e-3),
           ("continuous_bernoulli", "loss", 17, 0.01), ("smoothed_bce", "excess", 256, 1e-3)]  # fmt: skip


@pytest.mark.parametrize(("loss", "of", "count", "temperature"), SCANNED)
@pytest.mark.parametrize("per", ["all", "pixel"])
def test_nats_are_right_where_log_z_bends(loss, of, count, temperature, per):
    """Next to logit 0, half-way between levels and at random: log Z bends within a millionth of its range there."""
    rng = np.random.default_rng(0)
    between = (np.arange(count - 1) + 0.5 + rng.normal(0, 1e-3, count - 1)) / (count - 1)
    z = np.concatenate(
        [
            rng.normal(0, 3, 800),
            rng.normal(size=400) * 10 ** rng.uniform(-6, 0, 400),
            np.log(between / (1 - between)),
        ]
    )
    y = rng.integers(0, count, z.size) / (count - 1)
    made = CalibratedCriterion(
        loss, measure=count, of=of, temperature=temperature, per=per, image_shape=(1, 1, 1)
    )
    t = float(made.temperature.reshape(-1)[0])
    graded = made.grade(*(torch.from_numpy(a).view(-1, 1, 1, 1) for a in (y, z)))
    law = likelihood(loss, t, count, of)
    assert np.abs(graded.values.numpy().ravel() + law.log_prob(y, logits=z)).max() < 1.5e-4
    if made.exponential is not None:
        h = 1e-4 * t
        slope = -(law.log_prob(y, logits=z + h) - law.log_prob(y, logits=z - h)) / (2 * h)
        assert graded.slopes.numpy().ravel() == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_a_bend_between_the_even_places_is_checked():
    from lossproof.likelihood.table import table_for

    with pytest.raises(LossproofError, match="expected a table of log Z right to 0.0001 nats"):
        table_for(CATALOGUE["bce"], 1e-5, Levels(16), "excess")
    with pytest.raises(LossproofError, match="expected a table of log Z right to 0.0001 nats"):
        CalibratedCriterion("mae", measure=16, temperature=1e-4)


@pytest.mark.parametrize(
    ("loss", "of", "temperature"),
    [("bce", "excess", 1e-5), ("mae", "loss", 1e-5), ("hellinger", "loss", 1e-6)],
)
def test_a_distribution_that_no_table_serves_is_summed(loss, of, temperature):
    p = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    law = LossDistribution(loss, p=p, temperature=temperature, measure=16, of=of)
    assert law._table is None
    mass = law.log_prob(torch.arange(16) / 15)
    assert mass.exp().sum().item() == pytest.approx(1, abs=1e-6)
    (slope,) = torch.autograd.grad(mass[11], p)
    h = 1e-9
    exact = likelihood(loss, temperature, 16, of)
    wanted = (exact.log_prob(11 / 15, 0.7 + h) - exact.log_prob(11 / 15, 0.7 - h)) / (2 * h)
    assert slope.item() == pytest.approx(wanted, rel=1e-3)


def test_a_temperature_that_moves_in_place_moves_the_whole_law():
    t = torch.tensor(1.0)
    law = LossDistribution("bce", logits=torch.zeros(2000), temperature=t, of="excess")
    t.fill_(0.01)
    fresh = LossDistribution("bce", logits=torch.zeros(2000), temperature=0.01, of="excess")
    y = torch.full((2000,), 0.6)
    y = (y * 255).round() / 255
    assert torch.allclose(law.log_prob(y), fresh.log_prob(y))
    assert torch.allclose(law.variance, fresh.variance)
    assert law.sample().var().item() == pytest.approx(fresh.variance[0].item(), rel=0.2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_samples_at_half_precision_lie_on_the_levels(dtype):
    law = LossDistribution("mse", logits=torch.tensor([0.3, 0.6], dtype=dtype), temperature=0.05)
    drawn = law.sample((100,))
    assert drawn.dtype == torch.float32
    assert law.log_prob(drawn).isfinite().all()


@pytest.mark.parametrize("loss", ["bce", "weighted_bce", "focal", "smoothed_bce"])
def test_moments_of_a_density_of_any_steepness(loss):
    law = likelihood(loss, 1e-8, "interval")
    p = 1 - 1e-9
    mean, variance = float(law.mean(p)), float(law.variance(p))
    assert 0.5 < mean <= 1
    assert law.median(p) == pytest.approx(mean, abs=1e-8)
    assert 0 <= variance < 1e-12
    far = likelihood("bce", 1.0, "interval")
    assert 1 - far.mean(logits=6e8) == pytest.approx(1 / 6e8, rel=1e-6)  # 1 - y is exponential
    assert far.expected_loss(logits=6e8) == pytest.approx(1.0, rel=1e-6)
    made = CalibratedCriterion("bce", measure="interval", temperature=1e-4, of="excess")
    assert made.values(torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[6e4, 0.3]]]])).isfinite().all()


def test_the_expected_loss_at_a_corner_is_that_of_its_one_target():
    for p in (0.0, 1.0):
        for loss in ("bce", "focal", "weighted_bce"):
            assert likelihood(loss, 1.0).expected_loss(p) == 0
            assert likelihood(loss, 1.0).observed_loss(p, p) == 0


def test_every_question_is_answered_at_logits_that_overflow_over_t():
    law = likelihood("bce", 1e-10, 256)
    for logit, end in ((1e300, 1.0), (-1e300, 0.0)):
        for name in ("mean", "mode", "median"):
            assert getattr(law, name)(logits=logit) == end, name
        assert law.variance(logits=logit) == 0
        assert law.expected_loss(logits=logit) == 0
        assert law.sample(rng=0, logits=logit) == end
        assert law.cdf(0.5, logits=logit) == 1 - end


def test_a_narrow_charbonnier_law_on_the_line():
    # next to p = y it is r^2/2: a Gaussian of variance T
    law = likelihood("charbonnier(delta=0.5)", 3e-10, "line")
    assert law.log_prob(0.3, 0.3) == pytest.approx(-0.5 * math.log(2 * math.pi * 3e-10), abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 2), (3, 1), (2, 2, 2)])
def test_what_is_summed_keeps_its_shape(shape):
    p = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    law = LossDistribution("mae", p=p, temperature=1e-5, measure=16)
    assert law._table is None
    assert law.log_z().shape == shape
    nats = law.log_prob(torch.zeros(shape))
    exact = likelihood("mae", 1e-5, 16).log_prob(np.zeros(shape), p.detach().numpy())
    assert nats.detach().numpy() == pytest.approx(exact, rel=1e-6)
    assert torch.autograd.grad(nats.sum(), p)[0].shape == shape
    assert law.log_prob(law.sample((4,))).shape == (4, *shape)


@pytest.mark.parametrize("loss", ["bce", "focal", "weighted_bce"])
@pytest.mark.parametrize(("count", "temperature"), [(2, 1e-3), (17, 1e-6), (16, 0.01), (256, 1e-4)])
def test_white_is_most_likely_under_white(loss, count, temperature):
    assert likelihood(loss, temperature, count).most_likely_p([0.0, 1.0]).tolist() == [0, 1]


@pytest.mark.parametrize(("temperature", "logit"), [(1e-10, 800.0), (1e-8, 1e5), (1e-8, -1e5)])
def test_a_steep_density_is_no_pole(temperature, logit):
    with pytest.raises(LossproofError, match="The density is too narrow or jumps: raise T"):
        likelihood("bce", temperature, "interval", "excess").log_prob(0.5, logits=logit)
    with pytest.raises(LossproofError, match=r"grows like \|y - 0\|\^-1.5"):
        likelihood("1.5*log(y) + (y - p)**2", 1.0, "interval").log_prob(0.5, 0.5)


@pytest.mark.parametrize("logit", [0.3, 3.0, 1e3])
@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1.0])
def test_variances_keep_their_digits_at_both_ends(logit, temperature):
    law = likelihood("bce", temperature, "interval")
    u = logit / temperature
    exact = 1 / u**2 - math.exp(-u) / math.expm1(-u) ** 2
    for z in (logit, -logit):
        assert law.variance(logits=z) == pytest.approx(exact, rel=1e-9 if u > 1 else 1e-7)
    q = math.exp(-37.0)
    assert likelihood("bce", 1.0, 2).variance(logits=37.0) == pytest.approx(q * (1 - q), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("loss", "per"), [("bce", "all"), ("focal", "pixel"), ("mse", "all")])
def test_logits_of_half_precision_are_graded_in_float32(dtype, loss, per):
    made = CalibratedCriterion(loss, measure=17, temperature=0.1, per=per, image_shape=(1, 1, 2))
    y, z = torch.tensor([[[[0.25, 1.0]]]]), torch.tensor([[[[0.5, -2.0]]]])
    graded, same = made.grade(y.to(dtype), z.to(dtype)), made.grade(y, z)
    assert graded.values.dtype == torch.float32
    for got, wanted in zip(
        (graded.values, graded.slopes, *graded.own), (same.values, same.slopes, *same.own), strict=True
    ):
        assert torch.allclose(got, wanted)


def test_what_is_not_finite_comes_back_as_nan():
    y, z = torch.tensor([[[[1.0, 0.0, 1.0]]]]), torch.tensor([[[[math.inf, -math.inf, math.nan]]]])
    assert CalibratedCriterion("bce", measure=2, temperature=0.1).values(y, z).isnan().all()
    law = LossDistribution("mse", p=torch.tensor([math.nan, 0.5]), temperature=0.1, validate_args=False)
    assert law.log_prob(torch.tensor([0.0, 0.0])).isnan().tolist() == [True, False]
