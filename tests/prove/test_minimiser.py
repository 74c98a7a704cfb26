"""Where the minimum lies: published values, the minimum found by a search, and refusals."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove import consistency, minimiser
from lossproof.prove.clock import Clock
from lossproof.prove.problem import Line, Problem

NOT_AT_Y = {"minimum": Line("minimum", "", Refuted((), None, ""))}


def certify(loss, free=(), known=None, **params):
    record = (CATALOGUE[loss] if loss in CATALOGUE else resolve(loss)).bind(**params)
    problem = Problem(record, free=tuple(p for p in record.params if p.name in free), decimal=True)
    return next(iter(minimiser.lines(problem, NOT_AT_Y | (known or {}), Clock(60))))


def points(line):
    return {round(y, 3): (low, high) for y, low, high in line.details["points"]}


@pytest.mark.parametrize(
    ("loss", "values"),
    [
        (
            "continuous_bernoulli",
            {0.1: 4.56052945264e-5, 0.2: 0.00815441812837, 0.3: 0.0646396500751, 0.7: 0.935360349925},
        ),
        ("focal", {0.1: 0.305787194910, 0.2: 0.373385172733}),
    ],
)
def test_enclosures_hold_the_known_values(loss, values):
    line = certify(loss)
    assert isinstance(line.verdict, Certified)
    assert line.details["formula"] is None
    found = points(line)
    assert len(found) == 9
    for y, value in values.items():
        low, high = found[y]
        assert high - low <= 1e-12
        digits = 10 ** (np.floor(np.log10(value)) - 11)  # the values are printed with twelve digits
        assert low - digits <= value <= high + digits


@pytest.mark.parametrize("loss", ["focal", "(y - p)**2 + 1e-6*sin(40*p)", "exp(p)*(1 - y) + y*exp(1 - p)"])
def test_enclosures_agree_with_a_search(loss):
    line = certify(loss)
    expr = (CATALOGUE[loss] if loss in CATALOGUE else resolve(loss)).expression()
    for y, low, high in line.details["points"]:
        found = minimize_scalar(lambda p, y=y: float(np.asarray(evaluate(expr, {Y: np.array(y), P: np.array(p)}))),
                                bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-12})  # fmt: skip
        assert found.x == pytest.approx((low + high) / 2, abs=1e-6)


def test_weighted_bce_in_closed_form():
    line = certify("weighted_bce")
    assert isinstance(line.verdict, Proved)
    assert line.details["formula"] == "3*y/(2*y + 1)"
    assert "a limit there, p -> 0" in line.verdict.domain
    low, high = points(line)[0.5]
    assert low <= 0.75 <= high


def test_smoothed_bce_in_closed_form():
    line = certify("smoothed_bce", eps=1e-3)
    assert isinstance(line.verdict, Proved)
    low, high = points(line)[0.1]
    assert Fraction(low) <= Fraction("0.1004") <= Fraction(high)
    assert high - low < 1e-12
    assert "y !=" not in line.verdict.domain  # eps/2 is inside the domain


def test_formula_with_a_symbolic_weight():
    line = certify("weighted_bce", ("pos_weight",))
    assert isinstance(line.verdict, Proved)
    formula = parse(line.details["formula"], params=("pos_weight",))
    for y, w in ((0.3, 5.0), (0.6, 0.2)):
        at = {s: (y if s.name == "y" else w) for s in formula.free_symbols}
        assert float(formula.xreplace(at)) == pytest.approx(w * y / (1 + (w - 1) * y))
    assert "pos_weight in (0, inf)" in line.verdict.domain


def test_formula_is_found_where_none_is_declared():
    line = certify("(p - y**2)**2")
    assert isinstance(line.verdict, Proved)
    assert parse(line.details["formula"]) == Y**2


def test_a_false_declaration_is_not_believed():
    from dataclasses import replace

    loss = replace(CATALOGUE["weighted_bce"], minimiser="y**2")
    (line,) = minimiser.lines(Problem(loss, decimal=True), NOT_AT_Y, Clock(60))
    assert line.details["formula"] == "3*y/(2*y + 1)"


def test_minimum_at_an_end():
    line = certify("maximum(0, 1 - (2*y-1)*(2*p-1))")
    found = points(line)
    assert found[0.2] == (0.0, 0.0)
    assert found[0.7] == (1.0, 1.0)
    assert 0.5 not in found
    assert "1/2" not in line.verdict.domain


def test_two_wells_are_not_called_the_only_minimum():
    line = certify("((p - 1/4)*(p - 3/4))**2 + y*p/1000")
    assert isinstance(line.verdict, Unknown)
    assert not line.details["points"]


def test_a_jump_is_not_overlooked():
    # the slope changes its sign once, at y + 1/10, but the loss falls by a jump at 9/10
    line = certify("(p - y - 1/10)**2 - where(p > 9/10, 1, 0)")
    assert isinstance(line.verdict, Unknown)


def test_no_line_where_the_minimum_is_at_the_target():
    problem = Problem(CATALOGUE["bce"])
    known = {"minimum": Line("minimum", "", Proved("", ""))}
    assert list(minimiser.lines(problem, known, Clock(60))) == []
    assert list(minimiser.lines(problem, {}, Clock(60))) == []


def test_the_consistency_line_is_used_if_it_is_there():
    problem = Problem(CATALOGUE["weighted_bce"], decimal=True)
    known = {line.key: line for line in consistency.lines(problem, {}, Clock(60))}
    (line,) = minimiser.lines(problem, NOT_AT_Y | known, Clock(60))
    assert line.details["formula"] == "3*y/(2*y + 1)"
    assert isinstance(line.verdict, Proved)


def test_signs_at_the_ends_of_brackets_hold_in_forty_digits():
    line = certify("focal")
    checked = 0
    for step in line.verdict.steps:
        if not step.text.startswith("at y =") or step.claim is None:
            continue
        ((name, value),) = step.claim.where
        slope = parse(step.claim.left)
        with mpmath.workdps(40):
            found = slope.xreplace({P: parse(value)}).evalf(40)
        assert name == "p"
        assert found < 0 if step.claim.relation == "<" else found > 0
        checked += 1
    assert checked >= 16
