"""Intervals, links and verdicts."""

import math

import numpy as np
import pytest

from lossproof.formula import (
    LINKS,
    POSITIVE,
    REALS,
    UNIT,
    Certified,
    Claim,
    Interval,
    LossproofError,
    Proved,
    Refuted,
    Unknown,
    get_link,
)
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Z
from lossproof.lower.oracle import evaluate


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (UNIT, [0, 0.5, 1], [-1e-300, 1.0000001, math.nan, math.inf]),
        (Interval(0, 1, True, True), [1e-300, 0.5], [0, 1]),
        (Interval(0, 1, high_open=True), [0, 0.5], [1, -1]),
        (POSITIVE, [1e-300, 1e300], [0, -1, math.inf, math.nan]),
        (REALS, [-1e300, 0], [math.nan, math.inf, -math.inf]),
    ],
)
def test_contains_knows_open_ends_and_nan(interval, inside, outside):
    assert interval.contains(inside).all()
    assert not interval.contains(outside).any()


@pytest.mark.parametrize(
    "interval", [UNIT, POSITIVE, REALS, Interval(-3, -1), Interval(-math.inf, 2, low_open=True)]
)
def test_samples_lie_inside_and_meet_the_closed_ends(interval):
    x = interval.sample(np.random.default_rng(0), 200)
    assert len(x) > 150
    assert interval.contains(x).all()
    for end, is_open in ((interval.low, interval.low_open), (interval.high, interval.high_open)):
        assert is_open or end in x


def test_covers():
    assert REALS.covers(UNIT)
    assert UNIT.covers(Interval(0, 1, True, True))
    assert not Interval(0, 1, True, True).covers(UNIT)
    assert not UNIT.covers(REALS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 0), "expected low <= high"),
        ((math.nan, 1), "expected low <= high"),
        ((0, math.inf), "infinite end to be open"),
    ],
)
def test_impossible_intervals_are_refused(arguments, message):
    with pytest.raises(LossproofError, match=message):
        Interval(*arguments)


@pytest.mark.parametrize("link", LINKS.values(), ids=lambda link: link.id)
def test_a_link_and_its_inverse_undo_each_other(link):
    for z in (-2.5, 0.0, 0.75):
        p = evaluate(parse(link.forward, symbols=("z",)), {Z: z})
        assert float(evaluate(parse(link.inverse, symbols=("p",)), {P: p})) == pytest.approx(z, abs=1e-12)
        assert float(p) in link.range


def test_an_unknown_link_says_what_there_is():
    with pytest.raises(LossproofError, match="did you mean sigmoid"):
        get_link("sigmiod")


@pytest.mark.parametrize(
    "verdict",
    [
        Proved("m", "[0, 1]"),
        Certified("m", "[0, 1]"),
        Refuted((("y", "1/2"),), Claim("y", "<", "1"), "gap"),
        Unknown("time"),
    ],
)
def test_a_verdict_has_no_truth_value(verdict):
    with pytest.raises(TypeError, match="expected a comparison with a class"):
        bool(verdict)
