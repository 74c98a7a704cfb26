"""Hard labels: which losses are proper, against brute-force minima of the expected loss."""

from fractions import Fraction

import numpy as np
import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove import consistency, proper
from lossproof.prove.clock import Clock
from lossproof.prove.problem import Problem

PROPER = [
    "bce",
    "mse",
    "poisson",
    "huber",  # delta = 1: the square alone on [0, 1]
    "xlogy(y, y/p) + xlogy(1-y, (1-y)/(1-p))",
    "p**1.5/1.5 - 2*y*p**0.5 + y**1.5/0.75",
    "-(y*p + (1-y)*(1-p))/sqrt(p**2 + (1-p)**2)",
]
NOT_PROPER = [
    "mae", "logcosh", "huber(delta=0.25)", "charbonnier", "pinball", "barron", "msle", "jensen_shannon", "hellinger",
    "focal", "weighted_bce", "smoothed_bce", "continuous_bernoulli", "(y-p)**2/(p*(1-p))", "(sqrt(p) - sqrt(y))**2",
    "maximum(0, 1 - (2*y-1)*(2*p-1))", "maximum(abs(y-p) - 0.01, 0)",
]  # fmt: skip


def problem_of(loss, free=()):
    record = CATALOGUE[loss] if loss in CATALOGUE else resolve(loss)
    return Problem(record, free=tuple(p for p in record.params if p.name in free), decimal=True)


def certify(loss, known=None):
    (line,) = proper.lines(problem_of(loss), known or {}, Clock(30))
    assert line.key == "proper"
    return line.verdict


def expected(loss, label_share, p):
    expr = (CATALOGUE[loss] if loss in CATALOGUE else resolve(loss)).expression()
    at = [np.broadcast_to(evaluate(expr, {Y: np.full_like(p, y), P: p}), p.shape) for y in (0.0, 1.0)]
    return (1 - label_share) * at[0] + label_share * at[1]


@pytest.mark.parametrize("loss", PROPER)
def test_proper_losses_are_shown_to_be(loss):
    assert isinstance(certify(loss), Proved | Certified)
    grid = np.linspace(1e-4, 1 - 1e-4, 9999)
    for share in (0.13, 0.5, 0.82):
        assert grid[np.argmin(expected(loss, share, grid))] == pytest.approx(share, abs=2e-4)


@pytest.mark.parametrize("loss", NOT_PROPER)
def test_others_are_refuted_by_numbers(loss):
    verdict = certify(loss)
    assert isinstance(verdict, Refuted)
    witness = {k: float(Fraction(v)) for k, v in verdict.witness}
    low, at = expected(loss, witness["pi"], np.array([witness["p"], witness["pi"]]))
    assert low < at


def test_tiny_slope_is_not_overlooked():
    assert isinstance(certify("(y - p)**2 + 1e-30*p"), Refuted)


@pytest.mark.parametrize("loss", ["y/p - log(y/p) - 1", "p*log(p/y) + (1-p)*log((1-p)/(1-y))"])
def test_infinite_at_labels_is_said(loss):
    verdict = certify(loss)
    assert isinstance(verdict, Unknown)
    assert verdict.reason == "infinite at y = 0"


def test_a_domain_without_labels_is_said():
    from lossproof.formula import OPEN_UNIT

    (line,) = proper.lines(Problem(CATALOGUE["bce"], target=OPEN_UNIT), {}, Clock(30))
    assert "outside the targets (0, 1)" in line.verdict.reason


def test_consistency_for_the_mean_is_used_only_where_the_labels_are_in_its_domain():
    bce, divergence = problem_of("bce"), problem_of("y/p - log(y/p) - 1")
    known = {line.key: line for line in consistency.lines(bce, {}, Clock(30))}
    (line,) = proper.lines(bce, known, Clock(30))
    assert line.verdict.steps[-1].text == "the mean of labels in {0, 1} is P(Y = 1)"
    known = {line.key: line for line in consistency.lines(divergence, {}, Clock(30))}
    assert isinstance(known["mean"].verdict, Proved)
    (line,) = proper.lines(divergence, known, Clock(30))
    assert isinstance(line.verdict, Unknown)


def test_weights_that_are_free_are_refuted_at_a_value():
    (line,) = proper.lines(problem_of("weighted_bce", ("pos_weight",)), {}, Clock(30))
    assert isinstance(line.verdict, Refuted)
    assert "pos_weight" in dict(line.verdict.witness)
