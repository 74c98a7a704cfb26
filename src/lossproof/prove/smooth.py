"""Smoothness: curvature at p = y, twice differentiable or not, strong convexity."""

import math
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import sympy

from lossproof.formula import Certified, Interval, LossproofError, Proved, Refuted, Step, Unknown, Verdict
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.unparse import unparse
from lossproof.prove.ball import ball, sign_at
from lossproof.prove.boxes import bounds, sign_cover
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import collapse
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate
from lossproof.prove.defined import defined
from lossproof.prove.ends import left_out
from lossproof.prove.identity import vanishes
from lossproof.prove.minimum import ends_follow
from lossproof.prove.problem import Line, Problem
from lossproof.prove.refute import TARGETS
from lossproof.prove.regions import Region, regions

Expr = Any
TWICE = "p -> loss(y, p) has a continuous second derivative"
STRONG = "d2l/dp2 >= m for some m > 0"


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The lines "twice_differentiable", "curvature" and "strongly_convex"."""
    start = time.monotonic()
    above, below = regions_of(problem)
    sides = [(r, collapse(problem.expr, r, clock)) for r in (above, below)]
    verdict = _twice(problem, sides, clock)
    yield Line("twice_differentiable", TWICE, verdict, {}, time.monotonic() - start)
    start = time.monotonic()
    bend = _twice_derived(sides[0][1])
    yield _curvature(problem, bend, verdict, above, clock, start)
    start = time.monotonic()
    strong, details = _strongly(problem, bend, verdict, known, clock)
    yield Line("strongly_convex", STRONG, strong, details, time.monotonic() - start)


def regions_of(problem: Problem) -> tuple[Region, Region]:
    """The regions above and below the diagonal (of the last case of the free parameters: the generic one)."""
    above, below = list(regions(problem, ends=False))[-2:]
    return above, below


def _twice(problem: Problem, sides: list[tuple[Region, Expr]], clock: Clock) -> Verdict:
    if not ends_follow(problem, sides[0][1], sides[1][1], clock):
        return Unknown("at an end of the targets the formula is another one")
    steps: list[Step] = []
    bends = []
    for region, loss in sides:
        if as_pieces(loss).has(sympy.Piecewise):
            return Unknown(f"the formula has branches for {region}")
        try:
            steps += gate(problem, region, loss, clock)
        except Stuck as stuck:
            return Unknown(f"{stuck}")
        slope = to_elementary(derivative(loss, P))
        bend = _twice_derived(loss)
        shown = defined(region.put(bend), clock=clock)
        if shown is None:
            return Unknown(f"the second derivative is not shown to be finite for {region}")
        steps += shown
        bends.append((slope.xreplace({P: Y}), bend.xreplace({P: Y})))
    region = sides[0][0]
    for name, (above, below) in zip(("slope", "second derivative"), zip(*bends, strict=True), strict=True):
        if any(e.has(sympy.zoo, sympy.oo, sympy.nan) for e in (above, below)):
            bend_limit = next(e for e in (above, below) if e.has(sympy.zoo, sympy.oo, sympy.nan))
            endless = _endless(sides[0][1], clock)
            return Unknown(f"the {name} has no value at p = y: {bend_limit}") if endless is None else endless
        if vanishes(above - below, clock):
            continue
        for y in () if (above - below).free_symbols - {Y} else TARGETS:
            gap = ball(above - below, {Y: y}, bits=128)
            if sign_at(above - below, {Y: y}) and gap.is_finite():  # else it has no value, not even a jump
                said = claim(above - below, "!=", sympy.S.Zero, (("y", str(y)),))
                if said is not None:
                    return Refuted(
                        (("y", str(y)), ("p", str(y))), said, f"jump of the {name} at p = y: {gap.str(12)}"
                    )
        return Unknown(f"the {name} is not shown to be continuous at p = y")
    if any(defined(region.put(e), clock=clock) is None for pair in bends for e in pair):
        return Unknown("the second derivative at p = y is not shown to be finite")
    return Proved("second derivative on both sides of p = y", problem.domain, tuple(dict.fromkeys(steps)))


def _endless(loss: Expr, clock: Clock) -> Refuted | None:
    """The second derivative grows past every bound as p -> y: shown at p = y + 2**-k."""
    bend = _twice_derived(loss)
    if bend.free_symbols - {Y, P}:
        return None
    half = sympy.Rational(1, 2)
    along = [bend.xreplace({Y: half, P: half + sympy.Rational(1, 2**k)}) for k in (40, 80, 160, 320)]
    clock.check()
    sizes = [abs(ball(e, {}, bits=512)) for e in along]
    if not all(s.is_finite() for s in sizes) or not all(a * 2 < b for a, b in pairwise(sizes)):
        return None
    said = claim(sympy.Abs(bend), "->", sympy.oo, (("y", "1/2"),), ("p -> (1/2)+",))
    return (
        None
        if said is None
        else Refuted((("y", "1/2"), ("p", str(half + sympy.Rational(1, 2**320)))), said, sizes[-1].str(12))
    )


def _curvature(
    problem: Problem, bend: Expr, twice: Verdict, region: Region, clock: Clock, start: float
) -> Line:
    at_y = bend.xreplace({P: Y})
    tidy = at_y
    if isinstance(twice, Proved) and at_y.count_ops() < 200:
        short = sympy.simplify(at_y)
        tidy = short if vanishes(short - at_y, clock) else at_y
    said = claim(at_y, "=", tidy, region.ranges[:1])
    finite = not tidy.has(sympy.Piecewise, sympy.nan, sympy.zoo, sympy.oo)
    if not isinstance(twice, Proved) or said is None or not finite:
        kink = (
            "the loss has a kink or a branch at p = y"
            if not isinstance(twice, Proved)
            else "no formula in known functions"
        )
        return Line(
            "curvature", "d2l/dp2 at p = y", Unknown(kink), {"formula": None}, time.monotonic() - start
        )
    text = unparse(tidy)
    domain = problem.domain + left_out(problem, "second derivative", tidy, tidy, _twice_derived, clock)
    verdict = Proved("substitution", domain, (Step(f"d2l/dp2 at p = y is {text}", said),))
    return Line(
        "curvature", f"d2l/dp2 at p = y is {text}", verdict, {"formula": text}, time.monotonic() - start
    )


def _twice_derived(loss: Expr) -> Expr:
    return to_elementary(derivative(derivative(loss, P), P))


def _strongly(
    problem: Problem, bend: Expr, twice: Verdict, known: Mapping[str, Line], clock: Clock
) -> tuple[Verdict, dict[str, Any]]:
    for y in TARGETS[:4]:
        at = {Y: y, P: y}
        value = bend.xreplace({Y: sympy.Rational(y), P: sympy.Rational(y)})
        if (
            not bend.free_symbols - {Y, P}
            and not value.has(sympy.nan, sympy.zoo, sympy.oo)
            and sign_at(bend, at) in (0, -1)
        ):
            said = claim(bend, "<=", sympy.S.Zero, (("y", str(y)), ("p", str(y))))
            if said is not None and not bend.has(sympy.Piecewise):
                return Refuted(
                    (("y", str(y)), ("p", str(y))), said, "the second derivative is not above 0 there"
                ), {}
    for key in ("convex", "strictly_convex"):  # what is straight somewhere is not strongly convex
        if key in known and isinstance(known[key].verdict, Refuted):
            return known[key].verdict, {}
    if problem.free or bend.has(sympy.Piecewise) or not isinstance(twice, Proved):
        return Unknown("only tried for smooth losses with all parameters given"), {}
    if math.inf in (problem.prediction.high, problem.target.high):
        return _flattens(problem, bend, clock), {}
    try:
        return _modulus(problem, bend, clock)
    except LossproofError as error:  # no enclosure of a function
        return Unknown(f"{error}"), {}


def _modulus(problem: Problem, bend: Expr, clock: Clock) -> tuple[Verdict, dict[str, Any]]:
    span = _pair(problem.target), _pair(problem.prediction)
    least, _, *_ = bounds(bend, (Y, P), span, clock=clock.part(0.2), most=3000)
    if least[0] > 0:
        modulus = sympy.Rational(least[0])
        cover = sign_cover([bend - modulus], ">=", (Y, P), span, clock=clock.part(0.5))
        if not cover.left:
            verdict = Certified(
                "enclosures of the second derivative", problem.domain, (), tuple(cover.pieces)
            )
            return verdict, {"modulus": f"{float(modulus):.6g}"}
    return Unknown(f"the least second derivative lies in [{least[0]:.3g}, {least[1]:.3g}]"), {
        "least": list(least)
    }


def _flattens(problem: Problem, bend: Expr, clock: Clock) -> Verdict:
    """On an unbounded domain: the second derivative tends to 0 as p grows."""
    at = bend.xreplace({Y: sympy.S.Half})
    clock.check()
    values = [ball(at, {P: 2**k}, bits=4096) for k in (3, 5, 7, 9)]
    falls = all(v.is_finite() for v in values) and all(abs(b) * 2 < abs(a) for a, b in pairwise(values))
    if falls and sympy.limit(at, P, sympy.oo) == 0:
        said = claim(at, "->", sympy.S.Zero, (("y", "1/2"),), ("p -> oo",))
        if said is not None:
            return Refuted(
                (("y", "1/2"), ("p", "512")), said, f"second derivative {values[-1].str(12)}, and ever less"
            )
    return Unknown("enclosures need a bounded domain")


def _pair(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high
