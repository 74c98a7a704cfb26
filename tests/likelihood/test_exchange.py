"""Exchange rates and effective sigmas against curvatures taken by hand, sympy and numpy's own covariance."""

import json
import math

import numpy as np
import pytest
import sympy

from lossproof.catalogue import CATALOGUE
from lossproof.formula import LossproofError
from lossproof.likelihood.exchange import (
    Spectrum,
    Weight,
    effective,
    exchange,
    record,
    restore,
    spectrum,
    weight,
)

INNER = [0.02, 0.2, 0.5, 0.7, 0.9]
# d2 loss/dp2 at p = y, by hand
BY_HAND = {
    "mse": lambda y: 2.0,
    "logcosh": lambda y: 1.0,
    "logcosh(a=3)": lambda y: 3.0,
    "huber": lambda y: 1.0,
    "charbonnier(delta=0.1)": lambda y: 1.0,
    "bce": lambda y: 1 / (y * (1 - y)),
    "hellinger": lambda y: 1 / (4 * y * (1 - y)),
    "jensen_shannon": lambda y: 1 / (4 * y * (1 - y)),
    "poisson": lambda y: 1 / y,
    "msle": lambda y: 2 / (1 + y) ** 2,
    "barron(c=0.5)": lambda y: 4.0,
}


@pytest.mark.parametrize("loss", BY_HAND)
def test_curvatures_are_those_taken_by_hand(loss):
    found = weight(loss, INNER)
    assert found.kind == "curvature"
    assert found.curvature == pytest.approx(np.mean([BY_HAND[loss](y) for y in INNER]), rel=1e-6)


def test_curvature_of_a_formula_is_sympys_second_derivative():
    y, p = sympy.symbols("y p")
    formula = "exp(y - p) + p + (y - p)**4 + log1p(p)*(y - p)**2"
    expr = sympy.exp(y - p) + p + (y - p) ** 4 + sympy.log(1 + p) * (y - p) ** 2
    wanted = np.mean([float(sympy.diff(expr, p, 2).subs(p, y).subs(y, v)) for v in INNER])
    assert weight(formula, INNER).curvature == pytest.approx(wanted, rel=1e-7)


def test_values_are_averaged_by_their_counts():
    found = weight("bce", [0.5, 0.2], [3, 1])
    assert found.curvature == pytest.approx((3 * 4 + 6.25) / 4, rel=1e-7)


@pytest.mark.parametrize(
    ("loss", "values", "kind", "share"),
    [
        ("mae", INNER, "first order", 1.0),
        ("pinball(tau=0.9)", INNER, "first order", 1.0),
        ("bce", [0.0, 0.5, 0.5, 1.0], "first order", 0.5),
        ("abs(y - p)**1.5", INNER, "unsteady", 1.0),
        ("where(y > p, 1, 3)*(y - p)**2", INNER, "unsteady", 1.0),
        ("(y - p)**4", INNER, "flat", 1.0),
        ("focal", INNER, "elsewhere", 0.8),
        ("weighted_bce", [0.0, 0.5], "elsewhere", 0.5),
        ("continuous_bernoulli", INNER, "elsewhere", 0.8),
    ],
)
def test_losses_without_a_curvature_say_why(loss, values, kind, share):
    found = weight(loss, values)
    assert (found.kind, found.share) == (kind, pytest.approx(share))
    assert (kind == "flat") == (found.curvature == 0)
    assert kind == "flat" or not math.isfinite(found.curvature)


def test_excess_is_that_of_both_sides_at_the_stated_error():
    y, e = 0.3, 0.05

    def kl(p):
        return y * math.log(y / p) + (1 - y) * math.log((1 - y) / (1 - p))

    assert weight("bce", [y], error=e).excess == pytest.approx((kl(y - e) + kl(y + e)) / 2, rel=1e-12)
    # a black pixel can be wrong on one side only
    assert weight("bce", [0.0], error=e).excess == pytest.approx(-math.log(1 - e), rel=1e-12)
    # p = 0 is left out: it would cost infinitely much
    assert weight("bce", [0.1], error=0.1).excess == pytest.approx(
        0.1 * math.log(0.5) + 0.9 * math.log(0.9 / 0.8), rel=1e-9
    )
    assert weight("mse", INNER, error=e).at_error == pytest.approx(2.0)


def test_rates_of_smooth_losses_are_ratios_of_curvatures():
    found = exchange(["mse", "logcosh", "bce"], [0.5, 0.2])
    assert np.diag(found.rates).tolist() == [1, 1, 1]
    assert found.rate("mse", "logcosh") == pytest.approx(2.0)
    assert found.rate("bce", "mse") == pytest.approx((4 + 6.25) / 2 / 2, rel=1e-6)
    assert np.allclose(found.rates * found.rates.T, 1)
    assert {by for row in found.by for by in row} == {"curvature"}


def test_a_kink_is_exchanged_at_the_stated_error():
    found = exchange(["mse", "mae"], INNER, error=0.04)
    assert found.rate("mse", "mae") == pytest.approx(0.04)  # e^2 against e
    assert found.by[0][1] == "excess"
    assert found.by[0][0] == "curvature"


def test_a_loss_that_is_least_elsewhere_has_no_rate():
    found = exchange(["mse", "continuous_bernoulli"], INNER)
    assert math.isnan(found.rate("mse", "continuous_bernoulli"))
    assert found.by[0][1] == ""
    assert math.isnan(found.weights[1].usable)


def test_every_catalogued_loss_has_a_weight_or_a_kind():
    for loss in CATALOGUE:
        found = weight(loss, [0.0, 0.25, 1.0])
        assert math.isfinite(found.usable) == (found.kind in ("curvature", "flat", "first order", "unsteady"))


def test_many_values_are_merged_without_losing_the_ends():
    values = np.random.default_rng(0).random(60_000)
    values[:20_000] = 0.0
    thin = weight("bce", values)
    assert thin.kind == "first order"
    assert thin.share == pytest.approx(1 / 3, abs=1e-6)
    fine = [weight("bce", part).excess for part in np.split(values, 20)]
    assert thin.excess == pytest.approx(np.mean(fine), rel=1e-3)


def test_the_spectrum_is_that_of_numpys_covariance():
    rng = np.random.default_rng(1)
    wide, tall = rng.random((7, 1, 3, 4)), rng.random((40, 1, 3, 2))
    for images in (wide, tall):
        flat = images.reshape(len(images), -1)
        known = np.sort(np.linalg.eigvalsh(np.cov(flat.T, bias=True)))[::-1]
        found = spectrum(images.astype(np.float32))
        assert found.eigenvalues == pytest.approx(known, abs=1e-7)
        assert found.total == pytest.approx(flat.var(axis=0).sum(), rel=1e-6)
        middle = float(known[1] + known[2]) / 2
        assert found.active(middle) == 2


def test_mean_reduced_mse_with_summed_kl_is_a_sigma_squared_of_392():
    data = Spectrum(np.array([5.1168, 3.7413, 3.2527, *([0.05] * 781)]), 60_000, 784)
    w = weight("mse", [0.0, 1.0])
    mean, total = effective(w, data, reduction="mean"), effective(w, data)
    assert (mean.variance, mean.collapsed, mean.by) == (pytest.approx(392), True, "curvature")
    assert mean.sigma == pytest.approx(math.sqrt(392))
    assert (total.variance, total.active) == (pytest.approx(0.5), 3)
    assert effective(w, data, beta=8.0).active == 1  # sigma^2 = beta/2 = 4
    # a Gaussian decoder of that variance: SSE/(2 sigma^2) is SSE/784
    assert 1 / (2 * mean.variance) == pytest.approx(1 / 784)


def test_a_kink_has_an_effective_sigma_at_the_stated_error():
    data = Spectrum(np.array([1.0, 0.01]), 10, 2)
    found = effective(weight("mae", [0.0, 1.0], error=0.1), data)
    assert (found.by, found.variance) == ("excess", pytest.approx(0.1 / 2))  # e = k e^2/2 at e = 0.1: k = 20
    assert found.active == 1


def test_a_record_is_strict_json_and_comes_back():
    images = np.random.default_rng(2).integers(0, 5, (12, 1, 3, 3)) / 4
    losses = ["bce", "mse", "mae", "continuous_bernoulli"]
    stored = json.loads(json.dumps(record(losses, images), allow_nan=False))
    rates, data = restore(stored)
    direct = exchange(losses, images)
    assert np.array_equal(rates.rates, direct.rates, equal_nan=True)
    assert [w.kind for w in rates.weights] == [w.kind for w in direct.weights]
    assert rates.by == direct.by
    assert data.eigenvalues == pytest.approx(spectrum(images).eigenvalues, rel=1e-5)
    with pytest.raises(LossproofError, match="expected the record of a comparison, cannot read it"):
        restore({"error": 0.1})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: weight("mse", []), "expected at least one target value, got none"),
        (lambda: weight("mse", [0.5, 7.0]), r"got 1 of 2 outside, first 7\. Divide by 255\?"),
        (lambda: weight("mse", [0.5, math.nan]), r"got 1 of 2 outside, first nan"),
        (lambda: weight("mse", [0.5], error=0.5), "expected an error between 0 and 1/2"),
        (lambda: weight("mse", [0.5, 0.2], [1]), "expected one count of at least 0 for each of 2 values"),
        (lambda: exchange(["mse"], [0.5]).rate("mse", "mae"), "expected two of mse, got 'mse' and 'mae'"),
        (lambda: spectrum([[0.0, 1.0]]), r"expected at least 2 images .*, got \(1, 2\)"),
        (lambda: spectrum([[0.0], [math.inf]]), "expected finite values"),
        (lambda: effective(weight("mse", [0.5]), spectrum(np.eye(2)), beta=0.0), "expected a beta above 0"),
        (
            lambda: effective(weight("mse", [0.5]), spectrum(np.eye(2)), reduction="max"),
            "expected reduction sum or mean, got 'max'",
        ),
        (
            lambda: effective(weight("focal", [0.3]), spectrum(np.eye(2))),
            r"expected a loss that weighs small errors, got one with weight nan \(elsewhere\)",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(LossproofError, match=message):
        call()


def test_weights_are_plain_records():
    w = Weight("a", "curvature", 2.0, 1.0, 0.5, 0.01, 0.1)
    assert w.usable == 2.0
    assert w.at_error == pytest.approx(2.0)
