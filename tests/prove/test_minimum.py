"""Where the minimum lies: golden verdicts, families, counterexamples settled by other means than the prover's."""

from fractions import Fraction

import mpmath
import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.prove.clock import Clock
from lossproof.prove.minimum import lines
from lossproof.prove.problem import Problem

KL = "xlogy(y, y) - xlogy(y, p) + xlogy(1 - y, 1 - y) - xlogy(1 - y, 1 - p)"
MORE = {
    "kl": KL,
    "reverse_kl": "p*log(p/y) + (1 - p)*log((1 - p)/(1 - y))",
    "chi2": "(y - p)**2/(p*(1 - p))",
    "itakura_saito": "y/p - log(y/p) - 1",
    "spherical": "-(y*p + (1 - y)*(1 - p))/sqrt(p**2 + (1 - p)**2)",
    "welsch": "1 - exp(-8*(y - p)**2)",
    "quartic": "(p - y)**4",
    "beta divergence 3/2": "4/3*(y**1.5 + p**1.5/2 - 1.5*y*p**0.5)",
    "clipped bce": "-(xlogy(y, clip(p, 1/10000000, 9999999/10000000)) + xlogy(1 - y, 1 - clip(p, 1/10000000, 9999999/10000000)))",
    "flat band": "maximum(abs(y - p) - 1/100, 0)",
    "deep well that does not reach": "(p - y)**2*(1 - 0.9*exp(-((p - 0.7)/0.005)**2))",
}


def found(spec, *, free=(), budget=60.0, **options):
    loss = resolve(spec)
    problem = Problem(loss, free=tuple(p for p in loss.params if p.name in free), **options)
    return {line.key: line.verdict for line in lines(problem, {}, Clock(budget))}


@pytest.mark.parametrize("name", [k for k, v in CATALOGUE.items() if v.minimum == "target"])
def test_every_loss_that_declares_its_minimum_at_the_target_has_a_proof(name):
    assert isinstance(found(name)["minimum"], Proved)


@pytest.mark.parametrize("name", [k for k, v in CATALOGUE.items() if v.minimum == "elsewhere"])
def test_every_loss_that_declares_its_minimum_elsewhere_is_refuted_by_a_pair(name):
    check_witness(CATALOGUE[name], found(name)["minimum"])


def check_witness(loss, verdict):
    assert isinstance(verdict, Refuted)
    witness = {k: Fraction(v) for k, v in verdict.witness}
    with mpmath.workdps(120):
        y, p = (mpmath.mpf(witness[k].numerator) / witness[k].denominator for k in "yp")
        names = {"log": mpmath.log, "xlogy": lambda a, b: a * mpmath.log(b) if a else 0, "sqrt": mpmath.sqrt,
                 "sin": mpmath.sin, "exp": mpmath.exp, "abs": abs, "arctanh": mpmath.atanh, "mpf": mpmath.mpf,
                 "maximum": max, "where": lambda c, a, b: a if c else b, **{k: mpmath.mpf(v) for k, v in loss.values.items()}}  # fmt: skip
        at = lambda p: eval(loss.formula, {**names, "y": y, "p": p})  # noqa: E731
        assert at(p) < at(y)


@pytest.mark.parametrize("name", list(MORE))
def test_losses_outside_the_catalogue(name):
    verdicts = found(MORE[name])
    assert isinstance(verdicts["minimum"], Proved | Certified), verdicts["minimum"]


def test_a_flat_band_has_a_minimum_at_the_target_but_not_only_there():
    verdicts = found(MORE["flat band"])
    assert isinstance(verdicts["unique"], Refuted)
    y, p = (Fraction(v) for _, v in verdicts["unique"].witness)
    assert 0 < abs(y - p) <= Fraction(1, 100)


@pytest.mark.parametrize(
    ("formula", "free"),
    [
        ("bce", ()), ("charbonnier", ("delta",)), ("pinball", ("tau",)), ("huber", ("delta",)), ("logcosh", ("a",)),
        ("barron", ("alpha", "c")), ("weighted_bce", ()),
    ],
)  # fmt: skip
def test_families_are_proved_with_symbolic_parameters(formula, free):
    verdict = found(formula, free=free)["minimum"]
    assert isinstance(verdict, Refuted if formula == "weighted_bce" else Proved), verdict
    if free:
        assert all(f"{name} in " in verdict.domain for name in free)


NEVER = [
    *(f"-(xlogy(y, p) + xlogy(1 - y, 1 - p)) + {a}*sin(40*p)" for a in ("1e-3", "1e-6", "1e-12", "1e-20", "1e-30")),
    "-(xlogy(y, p) + xlogy(1 - y, 1 - p)) + 1e-30*p",
    "smoothed_bce(eps=1e-12)", "weighted_bce(pos_weight=1.000000001)", "focal(gamma=1e-6)",
    "where(p > 0.9, (y - p)**2 - 1, (y - p)**2)",
    "where(p == y, 5, (y - p)**2)",
    "where(p > y, p - y - 1, y - p)",
    "(p - y)**2*(1 - 1.1*exp(-((p - 0.7)/0.005)**2))",
    "abs(y - p) - 1/(p - 1/2)**2",
    "-(y - p)**2", "y*p", "abs(y - p)*(p - 1/2)",
]  # fmt: skip


@pytest.mark.parametrize("formula", NEVER)
def test_never_a_yes_for_a_loss_with_its_minimum_elsewhere(formula):
    verdict = found(formula)["minimum"]
    assert isinstance(verdict, Refuted), verdict


def test_without_the_gate_of_continuity_a_jump_would_pass(monkeypatch):
    # this loss rises everywhere on p > y where it is smooth, but falls by 1 at p = 1/2 when y < 1/2
    jump = "where(p > 1/2, (y - p)**2 - 1/10**9, (y - p)**2)"
    monkeypatch.setattr("lossproof.prove.minimum.lower_than_at_target", lambda *_: None)
    assert isinstance(found(jump)["minimum"], Unknown)
    monkeypatch.setattr("lossproof.prove.minimum.gate", lambda *_, **__: [])
    assert isinstance(found(jump)["minimum"], Proved)


def test_the_real_line_and_the_half_line():
    from lossproof.formula import NON_NEGATIVE, REALS

    for name in ("mse", "mae", "huber", "charbonnier", "logcosh", "pinball"):
        verdict = found(name, target=REALS, prediction=REALS)["minimum"]
        assert isinstance(verdict, Proved), name
        assert "y in (-inf, inf)" in verdict.domain
    assert isinstance(found("poisson", target=NON_NEGATIVE, prediction=NON_NEGATIVE)["minimum"], Proved)


def test_an_infinite_end_is_taken_out_of_the_domain():
    verdict = found(MORE["reverse_kl"])["minimum"]
    assert "y != 0" in verdict.domain
    assert "y != 1" in verdict.domain
