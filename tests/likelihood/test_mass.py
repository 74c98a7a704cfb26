"""Mass sums to 1 for every loss, temperature and prediction, corners included; by means other than our own."""

import math
from itertools import pairwise

import flint
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from lossproof.catalogue import CATALOGUE
from lossproof.formula import LossproofError
from lossproof.likelihood import Levels, Normaliser, likelihood
from lossproof.lower.oracle import loss_at

TEMPERATURES = (0.01, 0.1, 1.0, 10.0, 100.0)
INSIDE = (1e-3, 0.02, 0.3, 0.5, 0.9, 0.999)
# unbounded below at targets 0 and 1: there is no floor there, so no excess; its own test is below
NO_EXCESS = "continuous_bernoulli"
# infinite at p = 0 and p = 1 for every target, as its formula has log(p) with a weight that is never 0
NOWHERE_AT_CORNERS = "smoothed_bce"


@pytest.mark.parametrize("of", ["loss", "excess"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_mass_on_levels_sums_to_one_also_at_the_corners(name, of):
    if (name, of) == (NO_EXCESS, "excess"):
        pytest.skip("has no excess")
    for temperature in TEMPERATURES:
        law = likelihood(name, temperature, "levels", of)
        for p in (*INSIDE, *(() if (name, of) == (NOWHERE_AT_CORNERS, "excess") else (0.0, 1.0))):
            y = law.measure.values
            assert abs(math.fsum(np.exp(law.log_prob(y, np.full(y.shape, p)))) - 1) < 1e-6, (temperature, p)


@given(
    name=st.sampled_from(sorted(set(CATALOGUE) - {NOWHERE_AT_CORNERS, NO_EXCESS})),
    of=st.sampled_from(["loss", "excess"]),
    log_t=st.floats(math.log(1e-3), math.log(1e3)),
    p=st.one_of(
        st.floats(0, 1), st.floats(-14, -1).map(lambda e: 1 - 10**e), st.floats(-14, -1).map(lambda e: 10**e)
    ),
    count=st.sampled_from([2, 3, 17, 256]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_mass_sums_to_one_whatever_the_loss_temperature_prediction_and_levels(name, of, log_t, p, count):
    law = likelihood(name, math.exp(log_t), count, of)
    values = law.measure.values
    mass = np.exp(law.log_prob(values, np.full(count, p)))
    assert (mass >= 0).all()
    assert abs(math.fsum(mass) - 1) < 1e-6


@pytest.mark.parametrize("name", CATALOGUE)
def test_mass_on_the_datas_own_levels(name):
    levels = Levels.of([0.0, 0.1, 0.15, 0.8, 1.0])
    law = likelihood(name, 0.3, levels)
    for p in (0.02, 0.6):
        assert abs(np.exp(law.log_prob(levels.values, np.full(5, p))).sum() - 1) < 1e-12


def mass_by_tanh_sinh(law, **at):
    """An independent integral of the density over [0, 1], cut where the loss may have kinks."""
    p = at.get("p", 0.5)
    cuts = np.unique(np.clip([0, p - 1, p, p + 1, 1], 0, 1))
    total = 0.0
    for a, b in pairwise(cuts):
        total += integrate.tanhsinh(
            lambda y: np.exp(law.log_prob(y, **{k: np.full(y.shape, v) for k, v in at.items()})), a, b
        ).integral
    return float(total)


@pytest.mark.parametrize("name", CATALOGUE)
def test_density_on_the_interval_integrates_to_one(name):
    for temperature in TEMPERATURES:
        law = likelihood(name, temperature, "interval")
        for p in (0.02, 0.5, 0.97):
            assert abs(mass_by_tanh_sinh(law, p=p) - 1) < 1e-6, (temperature, p)


@pytest.mark.parametrize("name", ["bce", "hellinger", "poisson", "msle", "weighted_bce"])
def test_density_of_the_excess_integrates_to_one(name):
    for temperature in (0.01, 1.0, 100.0):
        law = likelihood(name, temperature, "interval", "excess")
        for p in (0.02, 0.5, 0.97):
            assert abs(mass_by_tanh_sinh(law, p=p) - 1) < 1e-6, (temperature, p)


def test_logits_far_out_keep_their_mass():
    for z in (-30.0, -5.0, 0.0, 5.0, 30.0):
        assert abs(mass_by_tanh_sinh(likelihood("bce", 1.0, "interval"), logits=z) - 1) < 1e-6
    # the trap of torch.distributions.ContinuousBernoulli(logits=): mass .159 at -100
    law = likelihood("bce", 1.0, "interval")
    y = np.linspace(0, 0.5, 200_001)
    assert abs(integrate.trapezoid(np.exp(law.log_prob(y, logits=np.full(y.shape, -100.0))), y) - 1) < 1e-6


@pytest.mark.parametrize(
    "name", ["mse", "mae", "logcosh", "huber", "charbonnier", "pinball", "barron(alpha=1.5)"]
)
def test_density_on_the_line_integrates_to_one(name):
    for temperature in TEMPERATURES:
        law = likelihood(name, temperature, "line")

        def density(y, law=law):
            return np.exp(law.log_prob(y, np.full(y.shape, 0.3)))

        total = sum(
            integrate.tanhsinh(density, a, b).integral
            for a, b in ((-np.inf, -0.7), (-0.7, 0.3), (0.3, 1.3), (1.3, np.inf))
        )
        assert abs(total - 1) < 1e-6, temperature


RIGOROUS = {  # the formulas written out once more, in ball arithmetic
    # a is True where the integrator asks whether the function is analytic on a box
    ("logcosh", "loss"): lambda y, p, a: (y - p).cosh().log(analytic=a),
    ("charbonnier", "loss"): lambda y, p, a: (1 + (y - p) ** 2).sqrt(analytic=a) - 1,
    ("msle", "loss"): lambda y, p, a: ((1 + y).log(analytic=a) - (1 + p).log()) ** 2,
    ("bce", "loss"): lambda y, p, a: -(y * p.log() + (1 - y) * (1 - p).log()),
}


@pytest.mark.parametrize(("name", "of"), RIGOROUS)
def test_log_z_agrees_with_a_rigorous_integral(name, of):
    formula = RIGOROUS[name, of]
    for temperature in (0.02, 1.0, 30.0):
        for p in (0.1, 0.75):
            exact = flint.acb.integral(
                lambda y, a, p=p, t=temperature: (-formula(y, flint.acb(p), a) / t).exp(), 0, 1
            )
            expected = float(exact.real.log().mid())
            assert float(exact.real.rad()) < 1e-9 * float(exact.real.mid())
            assert Normaliser(name, temperature, "interval", of).log_z(p) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", CATALOGUE)
def test_log_prob_differs_between_targets_as_the_loss_does(name):
    """The law is exp(-loss/T) up to a constant: checked against the 50-digit oracle."""
    law = likelihood(name, 0.7)
    y, p = np.array([51 / 255, 204 / 255]), 0.3
    got = law.log_prob(y, np.full(2, p))
    exact = (loss_at(CATALOGUE[name], y[1], p) - loss_at(CATALOGUE[name], y[0], p)) / 0.7
    assert got[0] - got[1] == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize("measure", ["levels", "interval"])
@pytest.mark.parametrize("name", CATALOGUE)
def test_slope_is_the_derivative_of_log_z(name, measure):
    normaliser = Normaliser(name, 0.2, measure)
    h = 1e-5
    for p in (0.2137, 0.7311):
        central = (normaliser.log_z(p + h) - normaliser.log_z(p - h)) / (2 * h)
        assert normaliser.slope(p) == pytest.approx(float(central), abs=2e-4, rel=1e-4)
    for z in (-2.31, 1.17):
        central = (normaliser.log_z(logits=z + h) - normaliser.log_z(logits=z - h)) / (2 * h)
        assert normaliser.slope(logits=z) == pytest.approx(float(central), abs=2e-4, rel=1e-4)


def test_many_predictions_are_summed_in_blocks():
    rng = np.random.default_rng(0)
    p = rng.random(10_000)
    whole = Normaliser("hellinger", 0.1).log_z(p)
    assert whole[7] == pytest.approx(float(Normaliser("hellinger", 0.1).log_z(p[7])), abs=1e-13)
    assert whole.shape == p.shape


def test_the_method_says_how():
    methods = {
        ("bce", "interval"): "continuous Bernoulli", ("mse", "line"): "Gaussian, on the line", ("mse", "interval"): "truncated",
        ("mae", "line"): "Laplace", ("mae", "interval"): "Laplace, truncated", ("logcosh", "interval"): "incomplete beta",
        ("barron(alpha=0)", "interval"): "Student t, truncated", ("charbonnier", "interval"): "quadrature",
        ("huber", "line"): "Gaussian and Laplace", ("logcosh", "line"): "beta function",
        ("hellinger", "interval"): "quadrature", ("bce", "levels"): "geometric", ("mse", "levels"): "256 levels",
        ("(y - p)**2/(p*(1 - p))", "interval"): "Gaussian", ("0.5*log(1 + (y - p)**2)*7", "line"): "Student t",
    }  # fmt: skip
    for (name, measure), text in methods.items():
        assert text in Normaliser(name, 0.5, measure).method


def test_an_excess_without_a_floor_is_refused():
    with pytest.raises(LossproofError, match="unbounded below there and has no excess"):
        likelihood(NO_EXCESS, 1.0, "levels", "excess").log_prob(0.2, 0.2)
