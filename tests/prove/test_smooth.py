"""Smoothness, curvature at p = y and strong convexity, with the claims that LossFunctions.jl gets wrong."""

import mpmath
import pytest

from lossproof.catalogue import resolve
from lossproof.formula import REALS, UNIT, Certified, Proved, Refuted, Unknown
from lossproof.prove.clock import Clock
from lossproof.prove.problem import Problem
from lossproof.prove.smooth import lines


def found(spec, *, span=UNIT, known=None):
    problem = Problem(resolve(spec), target=span, prediction=span)
    return {line.key: line for line in lines(problem, known or {}, Clock(60))}


@pytest.mark.parametrize(
    ("spec", "formula"),
    [("bce", "1/(y*(1 - y))"), ("mse", "2"), ("poisson", "1/y"), ("logcosh", "1"), ("(y - p)**2/(p*(1 - p))", "2/(y*(1 - y))"),
     ("jensen_shannon", "1/(4*y*(1 - y))")],
)  # fmt: skip
def test_curvature_at_the_target(spec, formula):
    line = found(spec)["curvature"]
    assert isinstance(line.verdict, Proved)
    for y in (0.1, 0.37, 0.5, 0.92):
        assert eval(line.details["formula"], {"y": y}) == pytest.approx(eval(formula, {"y": y}), rel=1e-12)


def test_curvature_agrees_with_finite_differences():
    line = found("hellinger")["curvature"]
    with mpmath.workdps(40):

        def loss(p, y):
            return (
                (mpmath.sqrt(p) - mpmath.sqrt(y)) ** 2 + (mpmath.sqrt(1 - p) - mpmath.sqrt(1 - y)) ** 2
            ) / 2

        y = mpmath.mpf("0.3")
        assert abs(mpmath.diff(lambda p: loss(p, y), y, 2) - eval(line.details["formula"], {"y": y})) < 1e-10


def test_strong_convexity_of_log_cosh_is_false_on_the_line_and_true_on_the_unit_square():
    assert isinstance(found("logcosh", span=REALS)["strongly_convex"].verdict, Refuted)
    line = found("logcosh")["strongly_convex"]
    assert isinstance(line.verdict, Certified)
    assert float(line.details["modulus"]) <= 1 / float(mpmath.cosh(1)) ** 2


@pytest.mark.parametrize("spec", ["abs(y - p)**3", "(p - y)**4", "maximum(abs(y - p) - 1/100, 0)**2", "mae"])
def test_not_strongly_convex(spec):
    assert isinstance(found(spec)["strongly_convex"].verdict, Refuted)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [("mae", Refuted), ("abs(y - p)**(3/2)", Refuted), ("abs(y - p)**3", Proved), ("bce", Proved), ("pinball", Refuted),
     ("maximum(p - y, 0)**2 + 3*maximum(y - p, 0)**2", Refuted)],
)  # fmt: skip
def test_twice_differentiable(spec, wanted):
    assert isinstance(found(spec)["twice_differentiable"].verdict, wanted)


def test_a_kink_at_the_target_has_no_curvature():
    assert isinstance(found("mae")["curvature"].verdict, Unknown)
