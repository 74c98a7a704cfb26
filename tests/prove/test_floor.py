"""Floors: against scipy's entropy, scans in floats and hand values."""

import numpy as np
import pytest
import scipy.special
import sympy

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.formula.functions import to_elementary
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove import minimum
from lossproof.prove.clock import Clock
from lossproof.prove.floor import extremes, lines, tidy
from lossproof.prove.problem import Line, Problem

CLOCK = Clock.for_ever()
GRID = np.linspace(0.001, 0.999, 999)


def line(text, verdict, **details):
    return Line(text, text, verdict, details)


def floor(spec, **known):
    (found,) = lines(Problem(resolve(spec)), known, Clock(60))
    return found


HOLDS = {"minimum": line("minimum", Proved("by hand", "y in [0, 1], p in (0, 1)"))}


def value(text, y):
    return np.broadcast_to(evaluate(to_elementary(parse(text)), {Y: y, P: y}), y.shape)


def test_bce_has_the_entropy_as_its_floor():
    found = floor("bce", **HOLDS)
    assert isinstance(found.verdict, Proved)
    want = scipy.special.entr(GRID) + scipy.special.entr(1 - GRID)
    np.testing.assert_allclose(value(found.details["formula"], GRID), want, rtol=1e-12)
    assert found.details["maximum"] == {"value": "log(2)", "at": ["1/2"]}
    assert found.details["minimum"] == {"value": "0", "at": ["0", "1"]}
    assert found.details["finite"] is True
    assert found.statement == f"for every y the least loss is loss(y, y) = {found.details['formula']}"


@pytest.mark.parametrize(
    "name", [n for n, loss in CATALOGUE.items() if loss.minimum == "target" and n != "bce"]
)
def test_other_catalogue_losses_are_zero_there(name):
    found = floor(name, **HOLDS)
    assert found.details["formula"] == "0"
    assert found.details["minimum"] == found.details["maximum"] == {"value": "0", "at": ["every y"]}


def test_catalogue_is_covered():
    assert len([loss for loss in CATALOGUE.values() if loss.minimum == "target"]) == 12


def test_spherical_score():
    found = floor("-(y*p + (1 - y)*(1 - p))/sqrt(p**2 + (1 - p)**2)", **HOLDS)
    np.testing.assert_allclose(value(found.details["formula"], GRID), -np.hypot(GRID, 1 - GRID), rtol=1e-12)
    assert found.details["minimum"] == {"value": "-1", "at": ["0", "1"]}
    assert parse(found.details["maximum"]["value"]) == -sympy.sqrt(2) / 2


def test_refuted_minimum_means_no_formula():
    known = {"minimum": next(iter(minimum.lines(Problem(CATALOGUE["focal"]), {}, Clock(60))))}
    found = floor("focal", **known)
    assert isinstance(found.verdict, Refuted)
    assert found.verdict == known["minimum"].verdict
    assert found.details["formula"] is None
    assert found.details["at_target"] is not None
    assert found.details["unbounded"] == []


def test_unbounded_below():
    refuted = Refuted((("y", "1/2"),), None, "1")
    details = floor("continuous_bernoulli", minimum=line("minimum", refuted)).details
    assert details["unbounded"] == ["y = 0, p -> 0+", "y = 1, p -> 1-"]


def test_a_proved_minimiser_gives_the_floor_by_substitution():
    known = {
        "minimum": line("minimum", Refuted((("y", "1/2"),), None, "1")),
        "minimiser": line("minimiser", Proved("by hand", "y in [0, 1]"), formula="3*y/(2*y + 1)"),
    }
    found = floor("weighted_bce", **known)
    assert isinstance(found.verdict, Proved)
    q = 3 * GRID / (2 * GRID + 1)
    want = -3 * GRID * np.log(q) - (1 - GRID) * np.log1p(-q)
    np.testing.assert_allclose(value(found.details["formula"], GRID), want, rtol=1e-12)
    low, high = found.details["maximum"]["value"]
    assert low <= want.max() <= high
    assert high - low < 2e-3
    assert "not loss(y, y)" in found.statement


def test_unsettled_minimum():
    found = floor("bce", minimum=line("minimum", Unknown("too hard")))
    assert isinstance(found.verdict, Unknown)
    assert "too hard" in found.verdict.reason
    assert "not asked" in floor("bce").verdict.reason
    certified = line("minimum", Certified("boxes", "y in [0, 1]"))
    assert isinstance(floor("bce", minimum=certified).verdict, Certified)


@pytest.mark.parametrize(
    "text", ["y*(1 - y)**2", "y**2*log(y)", "abs(y - 0.3)", "y*(1 - y) + sin(9*y)/9", "-log(y)", "y"]
)
def test_extremes_against_a_scan(text):
    found = extremes(parse(text), CLOCK)
    scan = value(text, np.linspace(1e-9, 1 - 1e-9, 200_001))
    for got, want in ((found.minimum, scan.min()), (found.maximum, scan.max())):
        if got["value"] == "oo" or got["value"] is None:
            assert want > 10
        elif isinstance(got["value"], list):
            assert got["value"][0] - 1e-6 <= want <= got["value"][1] + 1e-6
            assert got["value"][1] - got["value"][0] < 2e-3
        else:
            assert float(sympy.N(parse(got["value"]))) == pytest.approx(want, abs=1e-6)


def test_floor_that_is_infinite():
    found = extremes(-sympy.log(Y), CLOCK)
    assert found.finite is False
    assert found.maximum == {"value": "oo", "at": ["0"]}
    assert found.minimum == {"value": "0", "at": ["1"]}


def test_simplification_is_checked(monkeypatch):
    monkeypatch.setattr(sympy, "simplify", lambda e, **k: sympy.S.Zero)  # a wrong short form
    expr = Y * sympy.log(Y) + sympy.exp(Y)
    assert tidy(expr, CLOCK)[0] == expr


def test_maximum_is_written_as_such():
    found = floor("maximum(0, 1 - (2*y - 1)*(2*p - 1))", **HOLDS)
    assert found.details["formula"] == "maximum(0, 1 - (2*y - 1)**2)"
    assert found.details["maximum"] == {"value": "1", "at": ["1/2"]}
