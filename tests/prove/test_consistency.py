"""What minimises the expected loss: against brute-force minima of expected losses, hand values and known traps."""

import json
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove.clock import Clock
from lossproof.prove.consistency import lines
from lossproof.prove.problem import Problem

KL = "xlogy(y, y/p) + xlogy(1-y, (1-y)/(1-p))"
REVERSE_KL = "p*log(p/y) + (1-p)*log((1-p)/(1-y))"
BETA = "p**1.5/1.5 - 2*y*p**0.5 + y**1.5/0.75"
SPHERICAL = "-(y*p + (1-y)*(1-p))/sqrt(p**2 + (1-p)**2)"
FLAT = "maximum(abs(y-p) - 0.01, 0)"
HINGE = "maximum(0, 1 - (2*y-1)*(2*p-1))"
CLIPPED = "-(y*log(clip(p,0.01,0.99)) + (1-y)*log(1-clip(p,0.01,0.99)))"
YES = (Proved, Certified)


@cache
def certify(loss, free=(), **params):
    record = CATALOGUE[loss] if loss in CATALOGUE else resolve(loss)
    record = record.bind(**params)
    problem = Problem(record, free=tuple(p for p in record.params if p.name in free), decimal=True)
    return {line.key: line for line in lines(problem, {}, Clock(30))}


def expected_loss(loss, values, weights, params=()):
    """E loss(Y, p) as a Python function of p, from the formula in floats."""
    expr = (CATALOGUE[loss] if loss in CATALOGUE else resolve(loss)).bind(**dict(params)).expression()
    return lambda p: sum(
        w * float(np.asarray(evaluate(expr, {Y: np.array(v), P: np.array(p)})))
        for v, w in zip(values, weights, strict=True)
    )


@pytest.mark.parametrize(
    ("loss", "functional"),
    [
        ("bce", "mean"),
        ("mse", "mean"),
        ("poisson", "mean"),
        ("huber", "mean"),  # delta = 1: the square alone on [0, 1]
        (KL, "mean"),
        (BETA, "mean"),
        ("y/p - log(y/p) - 1", "mean"),
        (SPHERICAL, "mean"),
        (CLIPPED, "mean"),
        ("mae", "median"),
        ("pinball", "median"),
        ("pinball(tau=0.3)", "quantile"),
        ("logcosh", "location M-estimator"),
        ("charbonnier", "location M-estimator"),
        ("barron", "location M-estimator"),
        ("huber(delta=0.25)", "location M-estimator"),
        ("(y - p)**4", "location M-estimator"),
        (FLAT, "location M-estimator"),  # not a quantile
        ("msle", "transformed mean"),
        (REVERSE_KL, "transformed mean"),
        ("(sqrt(p) - sqrt(y))**2", "transformed mean"),
        ("weighted_bce", "mean through a link"),
        ("smoothed_bce", "mean through a link"),
        ("focal", "mean through a link"),
        ("continuous_bernoulli", "mean through a link"),
        ("bce_with_slope", "mean through a link"),
        ("hellinger", "other"),
        ("jensen_shannon", "other"),
        ("(y-p)**2/(p*(1-p))", "other"),
        (HINGE, "other"),
    ],
)
def test_functional_of_each_loss(loss, functional):
    loss = {"bce_with_slope": "-(xlogy(y, p) + xlogy(1 - y, 1 - p)) + 1e-30*p"}.get(loss, loss)
    found = certify(loss)
    assert found["consistency"].details["functional"] == functional
    assert isinstance(found["consistency"].verdict, (*YES, Unknown) if functional == "other" else YES)
    assert isinstance(found["mean"].verdict, YES if functional == "mean" else Refuted)
    assert isinstance(found["median"].verdict, YES if functional == "median" else Refuted)
    json.dumps([dict(line.details) for line in found.values()])


@pytest.mark.parametrize("loss", ["bce", "mse", "poisson", KL, BETA, SPHERICAL, "y/p - log(y/p) - 1"])
def test_generator_is_that_of_the_bregman_divergence(loss):
    bend = parse(certify(loss)["consistency"].details["generator"])
    expr = resolve(loss).expression()
    for y, p in ((0.2, 0.7), (0.6, 0.3), (0.45, 0.5)):

        def slope(q, y=y):
            return float(np.asarray(evaluate(expr, {Y: np.array(y), P: np.array(float(q))})))

        by_difference = (slope(p + 1e-6) - slope(p - 1e-6)) / 2e-6
        weight = float(np.asarray(evaluate(bend, {P: np.array(p)})))
        assert by_difference == pytest.approx(weight * (p - y), rel=1e-6, abs=1e-9)


def test_phi_of_bce_is_the_negative_entropy():
    details = certify("bce")["consistency"].details
    phi = parse(details["phi"])
    at = [float(np.asarray(evaluate(phi, {P: np.array(p)}))) for p in (0.2, 0.5, 0.9)]
    assert at == pytest.approx([p * np.log(p) + (1 - p) * np.log(1 - p) for p in (0.2, 0.5, 0.9)])


@pytest.mark.parametrize(
    ("loss", "minimiser"),
    [
        ("weighted_bce", lambda v, w: 3 * np.dot(v, w) / (1 + 2 * np.dot(v, w))),
        ("smoothed_bce", lambda v, w: 0.9 * np.dot(v, w) + 0.05),
        ("msle", lambda v, w: np.exp(np.dot(np.log1p(v), w)) - 1),
        (REVERSE_KL, lambda v, w: 1 / (1 + np.exp(-np.dot(np.log(v) - np.log1p(-np.asarray(v)), w)))),
        ("bce", lambda v, w: np.dot(v, w)),
    ],
)
def test_stated_minimiser_is_where_a_search_finds_it(loss, minimiser):
    for values, weights in (([0.1, 0.6], [0.3, 0.7]), ([0.2, 0.5, 0.9], [0.2, 0.2, 0.6])):
        found = minimize_scalar(expected_loss(loss, values, weights), bounds=(1e-6, 1 - 1e-6), method="bounded",
                                options={"xatol": 1e-10})  # fmt: skip
        assert found.x == pytest.approx(minimiser(values, weights), abs=1e-5)
        details = certify(loss)["consistency"].details
        if details["functional"] == "mean through a link":
            inverse = parse(details["inverse"], params=("m",))
            (m,) = inverse.free_symbols
            assert float(inverse.xreplace({m: float(np.dot(values, weights))})) == pytest.approx(
                found.x, abs=1e-5
            )


def test_link_of_continuous_bernoulli_is_its_mean():
    link = certify("continuous_bernoulli")["consistency"].details["link"]
    for p in (0.01, 0.3, 0.9):
        constant = 2 * mpmath.atanh(1 - 2 * p) / (1 - 2 * p)
        mean = mpmath.quad(lambda x, p=p, c=constant: x * c * p**x * (1 - p) ** (1 - x), [0, 1])
        assert float(np.asarray(evaluate(parse(link), {P: np.array(p)}))) == pytest.approx(
            float(mean), rel=1e-9
        )


@pytest.mark.parametrize(
    "loss", ["logcosh", "hellinger", "weighted_bce", "mae", "bce", "pinball(tau=0.3)", FLAT, HINGE]
)
def test_witnesses_beat_mean_and_median_in_floats(loss):
    found = certify(loss)
    refuted = [(k, found[k].verdict) for k in ("mean", "median") if isinstance(found[k].verdict, Refuted)]
    assert refuted
    for key, verdict in refuted:
        witness = dict(verdict.witness)
        values = [Fraction(witness["y_1"]), Fraction(witness["y_2"])]
        weights = [Fraction(witness["P(Y = y_1)"]), Fraction(witness["P(Y = y_2)"])]
        assert sum(weights) == 1
        at = Fraction(witness[f"the {key}"])
        if key == "mean":
            assert at == sum(v * w for v, w in zip(values, weights, strict=True))
        else:
            assert at == values[weights.index(max(weights))]
            assert max(weights) > Fraction(1, 2)
        cost = expected_loss(loss, [float(v) for v in values], [float(w) for w in weights])
        gap = cost(float(Fraction(witness["p"]))) - cost(float(at))
        assert gap < 0
        claimed = parse(verdict.claim.left).xreplace({P: parse(witness["p"])})
        assert float(claimed) == pytest.approx(gap, rel=1e-6)


def test_a_slope_of_ten_to_the_minus_thirty_refutes_the_mean():
    assert isinstance(certify("(y - p)**2 + 1e-30*p")["mean"].verdict, Refuted)


def test_level_of_a_quantile_is_exact():
    assert certify("pinball(tau=0.3)")["consistency"].details["level"] == "3/10"
    assert certify("3*maximum(y - p, 0) + 5*maximum(p - y, 0)")["consistency"].details["level"] == "3/8"


def test_median_through_a_log_scale():
    found = certify("abs(log(1 + y) - log(1 + p))")
    assert found["consistency"].details["functional"] == "median"
    assert isinstance(found["mean"].verdict, Refuted)


@pytest.mark.parametrize(
    ("loss", "free", "functional"),
    [
        ("pinball", ("tau",), "quantile"),
        ("weighted_bce", ("pos_weight",), "mean through a link"),
        ("smoothed_bce", ("eps",), "mean through a link"),
        ("charbonnier", ("delta",), "location M-estimator"),
        ("barron", ("alpha", "c"), "location M-estimator"),
    ],
)
def test_families_with_symbolic_parameters(loss, free, functional):
    found = certify(loss, free)
    assert found["consistency"].details["functional"] == functional
    assert isinstance(found["consistency"].verdict, YES)
    assert isinstance(found["mean"].verdict, Refuted)


def test_undecided_kinks_poison_and_do_not_give_a_quantile():
    # slopes +1 and -1 except in a band whose place hangs on y: no functional may be read off the outer parts
    found = certify("maximum(abs(y - p) - y/10, 0)")
    assert isinstance(found["consistency"].verdict, Unknown)
    assert found["consistency"].details["functional"] == "other"
    assert isinstance(found["mean"].verdict, Refuted)


def test_negative_weight_is_no_mean():
    # dl/dp = h(p) (p - y) with h < 0 for p > 1/2
    found = certify("(p**2/4 - p**3/3) - y*(p/2 - p**2/2)")
    assert isinstance(found["consistency"].verdict, Unknown)
    assert "positive" in found["consistency"].verdict.reason or "> 0" in found["consistency"].verdict.reason
    assert isinstance(found["mean"].verdict, Refuted)


def test_a_jump_is_no_mean():
    found = certify("(y - p)**2 - where(p > 9/10, 1/10, 0)")
    assert not isinstance(found["consistency"].verdict, YES)
    assert not isinstance(found["mean"].verdict, YES)


def test_a_wrong_value_at_one_point_is_no_mean():
    found = certify("(y - p)**2 - where(p == 1/2, 1/10, 0)")
    assert not isinstance(found["mean"].verdict, YES)


def test_ends_where_the_loss_is_infinite_are_left_out():
    assert "y != 0" in certify("y/p - log(y/p) - 1")["mean"].verdict.domain
    assert "y !=" not in certify("bce")["mean"].verdict.domain


def test_a_loss_without_p_is_unknown():
    problem = Problem(CATALOGUE["mse"])
    problem.__dict__["expr"] = Y**2  # what a formula such as y**2 + 0*p comes to
    found = {line.key: line for line in lines(problem, {}, Clock(30))}
    assert "does not depend on p" in found["consistency"].verdict.reason


@pytest.mark.parametrize(
    "loss", ["bce", "msle", "focal", "continuous_bernoulli", "pinball(tau=0.3)", CLIPPED, "logcosh"]
)
def test_claims_of_a_proof_hold_at_random_points(loss):
    rng = np.random.default_rng(1)
    checked = 0
    for step in certify(loss)["consistency"].verdict.steps:
        claim = step.claim
        if claim is None or claim.relation in ("->", "!="):
            continue
        names = [n for n, _ in claim.where]
        left, right = (parse(t, symbols=tuple(n for n in ("y", "p") if n in names),
                             params=[n for n in names if n not in ("y", "p")]) for t in (claim.left, claim.right))  # fmt: skip
        for _ in range(20):
            at = {n: _inside(span, rng) for n, span in claim.where}
            if any(not _holds(g, at) for g in claim.given):
                continue
            symbols = {s: at[s.name] for s in (left - right).free_symbols}
            gap = mpmath.mpf(
                str(
                    (left - right)
                    .xreplace({s: parse(str(Fraction(v))) for s, v in symbols.items()})
                    .evalf(40)
                )
            )
            assert {"=": abs(gap) < 1e-25, "<": gap < 0, "<=": gap <= 0, ">": gap > 0, ">=": gap >= 0}[
                claim.relation
            ], step
            checked += 1
    assert checked >= 20


def _inside(span, rng):
    if not span.startswith(("(", "[")):
        return Fraction(span)
    low, high = span[1:-1].split(", ")
    if high == "inf":
        return Fraction(int(rng.integers(1, 400)), 100)
    low, high = Fraction(low), Fraction(high)
    return low + (high - low) * Fraction(int(rng.integers(1, 100)), 100)


def _holds(condition, at):
    a, relation, b = condition.split(" ")
    return at[a] > at[b] if relation == ">" else at[a] < at[b]
