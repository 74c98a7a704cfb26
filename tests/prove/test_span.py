import importlib.util
import math
from fractions import Fraction
from pathlib import Path

import flint
import mpmath
import pytest

from lossproof.prove import span as spans
from lossproof.prove import span_functions as functions
from lossproof.prove.span import UNDEFINED, WHOLE, ZERO, add, div, inverse, meets, mul, span, sub, xdivy
from lossproof.prove.special import precision as set_precision


def _load():
    path = Path(__file__).with_name("containment.py")
    spec = importlib.util.spec_from_file_location("containment", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INF = math.inf
containment = _load().containment


def test_every_primitive_contains_its_values():
    before = mpmath.mp.dps, flint.ctx.prec
    assert containment(100_000, 7) == []
    assert (mpmath.mp.dps, flint.ctx.prec) == before


def test_without_outward_rounding_points_are_lost(monkeypatch):
    monkeypatch.setattr(spans, "down", lambda x: x)
    monkeypatch.setattr(spans, "up", lambda x: x)
    with set_precision(64):  # balls finer than floats: their ends have to be rounded
        lost = {name for name, *_ in containment(5_000, 7)}
    assert {"exp", "log", "add", "mul", "softplus"} <= lost


@pytest.mark.parametrize("precision", [2, 20, 300])
def test_low_ambient_precision_is_sound(precision):
    with set_precision(precision):
        assert containment(1_000, 3) == []


def test_exact_results_stay_exact():
    assert sub((1.0, 1.0), (0.0, 1.0)) == (0.0, 1.0)
    assert add((0.5, 0.5), (0.25, 1.5)) == (0.75, 2.0)
    assert mul((-1.0, -1.0), (0.1, 0.3)) == (-0.3, -0.1)
    assert mul((3.0, 3.0), (0.25, 5.0)) == (0.75, 15.0)
    assert div((3.0, 3.0), (4.0, 4.0)) == (0.75, 0.75)
    assert functions.powers(Fraction(3))((-2.0, 3.0)) == (-8.0, 27.0)
    assert functions.sqrt((4.0, 9.0)) == (2.0, 3.0)
    assert span(Fraction(3, 8)) == (0.375, 0.375)


def test_inexact_results_are_one_ulp_wide():
    third = div((1.0, 1.0), (3.0, 3.0))
    assert Fraction(third[0]) < Fraction(1, 3) < Fraction(third[1])
    tenth = span(Fraction(1, 10))
    assert Fraction(tenth[0]) < Fraction(1, 10) <= Fraction(tenth[1])
    assert tenth[1] == math.nextafter(tenth[0], 1)
    huge = span(10**400)
    assert huge[0] == math.nextafter(INF, 0)
    assert huge[1] == INF


def test_extended_reals():
    assert inverse((0.0, 4.0)) == (0.25, INF)
    assert inverse((-4.0, 0.0)) == (-INF, -0.25)
    assert inverse((-1.0, 1.0)) == inverse(ZERO) == WHOLE
    assert mul(ZERO, WHOLE) == ZERO
    assert add((INF, INF), (-INF, -INF)) == WHOLE
    assert functions.log((0.0, INF)) == WHOLE
    assert functions.exp((-INF, INF)) == (0.0, INF)
    assert xdivy(ZERO, ZERO) == ZERO
    assert xdivy((0.0, 1.0), ZERO) == WHOLE
    assert xdivy((0.5, 1.0), (0.0, 2.0)) == (0.25, INF)
    assert xdivy((0.0, 1.0), (1.0, 2.0))[0] == 0.0


@pytest.mark.parametrize(
    ("f", "a"),
    [
        (functions.log, (-1e-300, 1.0)),
        (functions.log1p, (-1.5, 0.0)),
        (functions.sqrt, (-0.1, 1.0)),
        (functions.atanh, (-0.5, 1.0000000000000002)),
        (functions.loggamma, (-0.5, 1.0)),
        (functions.digammas(0), (-0.5, 1.0)),
        (functions.powers(Fraction(1, 3)), (-1.0, 1.0)),
    ],
)
def test_outside_the_domain_is_poison(f, a):
    out = f(a)
    assert not spans.defined(out)
    # and stays it, through functions whose values are bounded
    for g in (
        functions.tanh,
        functions.exp,
        functions.sin,
        spans.absolute,
        spans.sign,
        spans.neg,
        spans.square,
    ):
        assert not spans.defined(g(out))
    for h in (add, sub, mul, div, spans.hull, spans.largest, spans.smallest, functions.logaddexp):
        assert not spans.defined(h(out, (1.0, 2.0)))
        assert not spans.defined(h((1.0, 2.0), out))
    assert meets(">", out, (-5.0, -5.0)) is None


def test_waves_meet_their_crests():
    assert functions.sin((1.0, 2.0))[1] == 1.0
    assert functions.sin((4.0, 5.0))[0] == -1.0
    assert functions.cos((-0.1, 0.1))[1] == 1.0
    assert functions.cos((3.0, 3.3))[0] == -1.0
    assert functions.sin((0.1, 0.2))[1] < 0.2
    assert functions.sin((-INF, INF)) == (-1.0, 1.0)
    assert functions.tan((1.5, 1.6)) == WHOLE
    assert functions.tan((-1.5, 1.5))[1] < 15


def test_loggamma_has_its_minimum_inside():
    low, high = functions.loggamma((1.0, 2.0))
    assert low <= float(mpmath.loggamma(mpmath.mpf("1.4616321449683623"))) <= high == 0.0
    assert low > -0.1215


@pytest.mark.parametrize("x", [1e-3, 1e-9, 1e-30, 1e-80])
def test_no_digits_are_lost_near_zero(x):
    with mpmath.workdps(250):
        m = mpmath.mpf(x)
        exact = {
            functions.langevin: mpmath.coth(m) - 1 / m,
            functions.logsinhc: mpmath.log(mpmath.sinh(m) / m),
            functions.logexprel: mpmath.log(mpmath.expm1(m) / m),
            functions.logcosh: mpmath.log(mpmath.cosh(m)),
        }
        for f, value in exact.items():
            low, high = f((x, x))
            assert low <= value <= high
            assert high - low <= 1e-14 * value


def test_meets_decides_only_what_is_decided():
    assert meets("<=", (0.0, 1.0), (1.0, 2.0)) is True
    assert meets("<", (0.0, 1.0), (1.0, 2.0)) is None
    assert meets(">=", (0.0, 1.0), (1.0, 2.0)) is None
    assert meets(">", (0.0, 1.0), (1.0, 2.0)) is False
    assert meets("==", (1.0, 1.0), (1.0, 1.0)) is True
    assert meets("!=", (1.0, 1.0), (2.0, 2.0)) is True
    assert meets("==", (0.0, 1.0), (0.0, 1.0)) is None
    assert meets("<", UNDEFINED, (1.0, 1.0)) is None
