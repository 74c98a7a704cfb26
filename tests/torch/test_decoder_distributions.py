"""The laws on grey levels as torch distributions: shapes, constraints, values, gradients."""

import pytest
import scipy.stats as st
import torch
from torch.distributions import Independent, kl_divergence

from lossproof.formula import LossproofError
from lossproof.torch.decoders.distributions import BetaBinomial, DiscretisedGaussian, DiscretisedLogistic

CASES = [(DiscretisedLogistic, 0.3, 0.07), (DiscretisedGaussian, 0.9, 0.2), (BetaBinomial, 0.6, 2.5)]
EACH = pytest.mark.parametrize(("kind", "a", "b"), CASES, ids=lambda x: getattr(x, "__name__", ""))


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@EACH
def test_shapes_follow_torchs_rules(kind, a, b):
    law = kind(torch.full((3, 1), a), torch.full((4,), b), levels=8)
    assert law.batch_shape == (3, 4)
    assert law.event_shape == ()
    assert law.sample((2,)).shape == (2, 3, 4)
    assert law.log_prob(torch.tensor(1.0)).shape == (3, 4)
    assert law.log_prob(torch.zeros(5, 1, 1)).shape == (5, 3, 4)
    wide = law.expand((2, 3, 4))
    assert isinstance(wide, kind)
    assert wide.batch_shape == (2, 3, 4)
    torch.testing.assert_close(wide.log_prob(torch.tensor(1.0))[1], law.log_prob(torch.tensor(1.0)))
    assert Independent(law, 2).log_prob(torch.zeros(3, 4)).shape == ()
    assert kind(a, b).batch_shape == ()
    assert law.enumerate_support().shape == (8, 3, 4)
    assert law.enumerate_support(expand=False).shape == (8, 1, 1)


@EACH
def test_mass_moments_and_distribution_function_belong_together(kind, a, b):
    law = kind(double(a, a / 2), double(b, 3 * b), levels=11)
    values = law.enumerate_support()
    mass = law.log_prob(values).exp()
    torch.testing.assert_close(mass.sum(0), torch.ones(2, dtype=torch.float64), rtol=1e-9, atol=0)
    torch.testing.assert_close(law.mean, (mass * values).sum(0), rtol=1e-9, atol=0)
    torch.testing.assert_close(law.variance, (mass * values**2).sum(0) - law.mean**2, rtol=1e-8, atol=0)
    torch.testing.assert_close(law.cdf(values), mass.cumsum(0), rtol=1e-9, atol=0)
    torch.manual_seed(0)
    drawn = law.sample((20000,))
    assert law.support.check(drawn).all()
    torch.testing.assert_close(drawn.mean(0), law.mean, rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.var(0), law.variance, rtol=0.05, atol=0)


def test_values_against_scipy():
    k = torch.arange(256)
    found = BetaBinomial(double(0.6), double(2.5)).log_prob(k / 255)
    torch.testing.assert_close(
        found, torch.tensor(st.betabinom(255, 0.6, 2.5).logpmf(k.numpy())), rtol=1e-9, atol=1e-9
    )
    for kind, theirs in ((DiscretisedLogistic, st.logistic), (DiscretisedGaussian, st.norm)):
        expected = theirs.cdf(100.5 / 255, 0.4, 0.1) - theirs.cdf(99.5 / 255, 0.4, 0.1)
        assert kind(double(0.4), double(0.1)).log_prob(double(100 / 255)).exp().item() == pytest.approx(
            expected, rel=1e-8
        )


@EACH
def test_gradients_against_finite_differences(kind, a, b):
    value = double(0, 0.2, 0.8, 1).reshape(4, 1)
    first, second = double(a, a / 2).requires_grad_(), double(b).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y: kind(x, y, levels=6).log_prob(value), (first, second), atol=1e-6
    )


@EACH
def test_bad_parameters_and_values_are_refused(kind, a, b):
    with pytest.raises(ValueError, match="Expected parameter"):
        kind(torch.tensor(a), torch.tensor(-b), validate_args=True)  # Lightning switches the default off
    law = kind(torch.tensor(a), torch.tensor(b), levels=3, validate_args=True)
    with pytest.raises(ValueError, match="Expected value argument"):
        law.log_prob(torch.tensor(0.3))
    with pytest.raises(ValueError, match="Expected value argument"):
        law.cdf(torch.tensor(0.3))
    with pytest.raises(LossproofError, match="expected a count from 2"):
        kind(torch.tensor(a), torch.tensor(b), levels=1)
    with pytest.raises(NotImplementedError):
        kl_divergence(law, law)
