"""LossDistribution: against torch's own laws, the NumPy law, finite differences and the rules of torch.distributions."""

import numpy as np
import pytest
import torch
from torch.distributions import ContinuousBernoulli, Independent, Laplace, Normal, constraints, kl_divergence

from lossproof.catalogue import CATALOGUE
from lossproof.formula import LossproofError
from lossproof.likelihood import Levels, likelihood
from lossproof.torch.distribution import LossDistribution

P = torch.tensor([0.03, 0.2, 0.5, 0.77, 0.98], dtype=torch.float64)
Y = torch.tensor([0.0, 51 / 255, 128 / 255, 1.0, 200 / 255], dtype=torch.float64)
NO_EXCESS = {"continuous_bernoulli"}  # unbounded below at 0 and 1


def test_torchs_own_laws():
    for sigma in (0.05, 3.0):
        ours = LossDistribution("mse", p=P, temperature=2 * sigma**2, measure="line")
        assert torch.allclose(ours.log_prob(Y), Normal(P, sigma).log_prob(Y), atol=1e-12)
        assert torch.allclose(ours.entropy(), Normal(P, sigma).entropy(), atol=1e-7)
        assert torch.allclose(ours.cdf(Y), Normal(P, sigma).cdf(Y), atol=1e-12)
        laplace = LossDistribution("mae", p=P, temperature=sigma, measure="line")
        assert torch.allclose(laplace.log_prob(Y), Laplace(P, sigma).log_prob(Y), atol=1e-12)
    ours, theirs = LossDistribution("bce", p=P, measure="interval"), ContinuousBernoulli(probs=P)
    assert torch.allclose(ours.log_prob(Y), theirs.log_prob(Y), atol=1e-9)
    assert torch.allclose(ours.mean, theirs.mean, atol=1e-8)
    assert torch.allclose(ours.variance, theirs.variance, atol=1e-8)


def test_far_logits_where_torchs_continuous_bernoulli_loses_mass():
    """pytorch issue 72525: mass .159 at logit -100; the exact log-density at 0 is log(100)."""
    z = torch.tensor([-100.0, -20.0, 0.0, 100.0], dtype=torch.float64)
    ours = LossDistribution("bce", logits=z, measure="interval")
    at = torch.tensor([0.0, 0.0, 0.3, 1.0], dtype=torch.float64)
    exact = [np.log(100), np.log(20 / -np.expm1(-20)), 0.0, np.log(100)]
    assert ours.log_prob(at).tolist() == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("measure", ["levels", "interval"])
@pytest.mark.parametrize("of", ["loss", "excess"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_log_prob_is_the_numpy_laws_within_the_tables_promise(name, of, measure):
    if of == "excess" and (name in NO_EXCESS or (name == "focal" and measure == "interval")):
        pytest.skip("no excess, or one whose floor is searched at every quadrature point: slow")
    for t in (0.05, 1.0, 20.0):
        law = likelihood(name, t, measure, of)
        y = Y[:3] if of == "excess" else Y
        y, p = y if measure == "levels" else y * 0.98 + 0.01, P[: len(y)]
        ours = LossDistribution(name, p=p, temperature=t, measure=measure, of=of)
        assert np.abs(ours.log_prob(y).numpy() - law.log_prob(y, p.numpy())).max() < 1e-4
        behind = LossDistribution(name, logits=torch.logit(p), temperature=t, measure=measure, of=of)
        assert np.abs(behind.log_prob(y).numpy() - law.log_prob(y, p.numpy())).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "measure", "of"),
    [("bce", "levels", "loss"), ("bce", "interval", "loss"), ("bce", "levels", "excess"), ("mse", "levels", "loss"),
     ("mae", "levels", "loss"), ("huber", "interval", "loss"), ("logcosh", "line", "loss"), ("hellinger", "levels", "loss")],
)  # fmt: skip
def test_gradients_in_predictions_logits_and_temperature(name, measure, of):
    h = 1e-5
    for kind in ("p", "logits"):
        # away from the levels, where MAE has kinks
        x = (P[1:4] + 0.00123 if kind == "p" else torch.logit(P[1:4] + 0.00123)).requires_grad_()
        t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

        def total(x, t, kind=kind):
            law = LossDistribution(name, temperature=t, measure=measure, of=of, **{kind: x})
            return law.log_prob(Y[1:4])

        by_x, by_t = torch.autograd.grad(total(x, t).sum(), (x, t))
        with torch.no_grad():
            exact = [likelihood(name, 0.3 + s * h, measure, of) for s in (1, -1)]
            at = {kind: x.numpy()}
            slope_t = (
                exact[0].log_prob(Y[1:4].numpy(), **at).sum() - exact[1].log_prob(Y[1:4].numpy(), **at).sum()
            ) / (2 * h)
            law = likelihood(name, 0.3, measure, of)
            up, down = ({kind: x.numpy() + s * h} for s in (1, -1))
            slope_x = (law.log_prob(Y[1:4].numpy(), **up) - law.log_prob(Y[1:4].numpy(), **down)) / (2 * h)
        assert by_x.numpy() == pytest.approx(slope_x, rel=2e-3, abs=2e-3)
        assert by_t.item() == pytest.approx(slope_t, rel=1e-3, abs=1e-3)


def test_predictions_beyond_the_targets_are_summed_directly():
    p = torch.tensor([-0.7, 0.4, 1.3], dtype=torch.float64, requires_grad=True)
    y = Y[1].expand(3)
    for measure in ("levels", "interval"):
        ours = LossDistribution("huber(delta=0.1)", p=p, temperature=0.05, measure=measure)
        exact = likelihood("huber(delta=0.1)", 0.05, measure).log_prob(y.numpy(), p.detach().numpy())
        assert np.abs(ours.log_prob(y).detach().numpy() - exact).max() < 1e-4
        assert torch.isfinite(torch.autograd.grad(ours.log_prob(y).sum(), p)[0]).all()


def test_shapes_broadcast_and_expand_as_in_torch():
    law = LossDistribution("mse", p=torch.rand(3, 1), temperature=0.1)
    assert law.batch_shape == (3, 1)
    assert law.event_shape == ()
    assert law.log_prob(torch.tensor(1.0)).shape == (3, 1)
    assert law.log_prob(torch.zeros(2, 1, 4)).shape == (2, 3, 4)
    wide = law.expand((5, 3, 4))
    assert wide.batch_shape == (5, 3, 4)
    assert torch.equal(wide.log_prob(torch.zeros(5, 3, 4))[1, :, 2], law.log_prob(torch.zeros(3, 1))[:, 0])
    assert law.sample((6,)).shape == (6, 3, 1)
    assert law.mean.shape == (3, 1)
    image = Independent(wide, 2)
    assert image.log_prob(torch.zeros(5, 3, 4)).shape == (5,)
    assert image.sample().shape == (5, 3, 4)


def test_constraints_are_checked():
    law = LossDistribution("bce", p=torch.tensor([0.2]))
    assert law.support.check(torch.tensor([51 / 255, 0.3001])).tolist() == [True, False]
    assert law.support.is_discrete
    with pytest.raises(ValueError, match="expected targets on 256 grey levels"):
        law.log_prob(torch.tensor([0.3001]))
    assert (
        LossDistribution("bce", p=torch.tensor([0.2]), measure="interval").support
        is constraints.unit_interval
    )
    assert LossDistribution("mse", p=torch.tensor([2.0]), measure="line").support is constraints.real
    with pytest.raises(ValueError, match=r"parameter p|1\.5"):
        LossDistribution("bce", p=torch.tensor([1.5]))
    with pytest.raises(ValueError, match="logits"):
        LossDistribution("bce", logits=torch.tensor([float("nan")]))
    assert (
        LossDistribution("bce", p=torch.tensor([0.2]), validate_args=False)
        .log_prob(torch.tensor([0.3001]))
        .isfinite()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"p": torch.tensor([0.5]), "temperature": 0.0}, "temperature T > 0"),
     ({"p": torch.tensor([0.5]), "temperature": torch.ones(2)}, "a number or a scalar tensor"),
     ({}, "one floating tensor"), ({"p": torch.tensor([1])}, "one floating tensor"),
     ({"p": torch.tensor([0.0]), "measure": "interval"}, "expected p inside .0, 1., got 0 or 1"),
     ({"p": torch.tensor([0.5]), "measure": "line"}, "inside the loss's targets")],
)  # fmt: skip
def test_guards(options, message):
    with pytest.raises(LossproofError, match=message):
        LossDistribution("bce", **options)


def test_a_law_on_the_line_that_is_no_shift_is_left_to_numpy():
    with pytest.raises(LossproofError, match="log Z changes with p"):
        LossDistribution("(y - p)**2/(p*(1 - p))", p=torch.tensor([0.5]), measure="line")


def test_black_and_white_predictions_have_finite_log_probs_and_gradients_on_levels():
    for name in ("bce", "mse", "hellinger"):
        z = torch.tensor([-200.0, 0.0, 200.0], requires_grad=True)
        law = LossDistribution(name, logits=z, temperature=0.5)
        value = law.log_prob(torch.tensor([0.0, 1.0, 1.0]))
        (slope,) = torch.autograd.grad(value.sum(), z)
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()
    assert LossDistribution("bce", p=torch.tensor([0.0, 1.0])).log_prob(
        torch.tensor([0.0, 1.0])
    ).tolist() == [0.0, 0.0]


def test_samples_follow_the_law_and_torchs_seed():
    law = LossDistribution("bce", p=torch.tensor([0.1, 0.6]), temperature=0.1, of="excess")
    torch.manual_seed(3)
    drawn = law.sample((20_000,))
    torch.manual_seed(3)
    assert torch.equal(drawn, law.sample((20_000,)))
    error = 4.5 * drawn.std(0) / 20_000**0.5
    assert ((drawn.mean(0) - law.mean).abs() < error).all()
    # the mean of -log q over samples is the entropy
    surprise = -law.log_prob(drawn)
    assert ((surprise.mean(0) - law.entropy()).abs() < 4.5 * surprise.std(0) / 20_000**0.5).all()
    assert law.mode.tolist() == pytest.approx([0.1, 0.6], abs=0.005)


def test_learning_p_and_t_finds_what_fitting_finds():
    """Maximum likelihood by gradient: T ends where moment matching puts it."""
    from lossproof.likelihood.temperature import fit_temperature

    p = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.as_tensor(likelihood("mae", 0.08).sample(p.numpy(), 1))
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    step = torch.optim.LBFGS([log_t], line_search_fn="strong_wolfe", max_iter=40)

    def closure():
        step.zero_grad()
        cost = -LossDistribution("mae", p=p, temperature=log_t.exp()).log_prob(y).mean()
        cost.backward()
        return cost

    step.step(closure)
    assert log_t.exp().item() == pytest.approx(
        float(fit_temperature("mae", y.numpy(), p.numpy()).temperature), rel=1e-3
    )


def test_the_datas_own_levels():
    levels = Levels.of([0.0, 0.3, 1.0])
    law = LossDistribution("bce", p=torch.tensor([0.2], dtype=torch.float64), measure=levels)
    mass = law.log_prob(torch.as_tensor(levels.values)).exp().sum()
    assert mass.item() == pytest.approx(1.0, abs=1e-4)


def test_monte_carlo_kl_of_two_laws_falls_back_as_torch_says():
    a, b = (LossDistribution("mse", p=torch.tensor([v]), temperature=0.1) for v in (0.2, 0.3))
    with pytest.raises(NotImplementedError):
        kl_divergence(a, b)


@pytest.mark.parametrize("temperature", [1e-3, 0.01, 1.0, 3.0])
@pytest.mark.parametrize(
    "at",
    [{"p": 0.0}, {"p": 1.0}, {"p": 0.5}, {"logits": 0.0}, {"logits": 20.0}, {"logits": -20.0}, {"logits": 800.0},
     {"logits": 1e4}, {"logits": 1e30}, {"logits": -1e30}],
)  # fmt: skip
def test_the_mass_of_bce_in_float32_is_1_up_to_the_ends(at, temperature):
    y = torch.linspace(0, 1, 256, dtype=torch.float64).float()
    ((name, value),) = at.items()
    x = torch.tensor(value, requires_grad=True)
    law = LossDistribution("bce", **{name: x}, temperature=temperature)
    log_mass = law.log_prob(y)
    assert log_mass.double().exp().sum().item() == pytest.approx(1, abs=2e-6)
    assert log_mass.max() <= 1e-6
    if name == "logits":
        (slope,) = torch.autograd.grad(log_mass[0] + log_mass[-1], x)
        assert slope.isfinite()


def test_the_slope_at_logit_0_is_that_of_the_closed_form():
    z = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    for measure in ("levels", "interval"):
        law = LossDistribution("bce", logits=z, temperature=0.5, measure=measure)
        (slope,) = torch.autograd.grad(law.log_prob(torch.tensor(0.2, dtype=torch.float64)), z)
        assert slope.item() == pytest.approx((0.2 - 0.5) / 0.5)  # (y - mean) d(z/T)/dz
