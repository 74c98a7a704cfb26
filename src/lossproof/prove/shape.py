"""Convexity in p and in the logits, strict or not: second derivative, kinks, and three-point counterexamples."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from lossproof.formula import Certified, LossproofError, Proved, Refuted, Step, Unknown, Verdict
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove.ball import amount, sign_at
from lossproof.prove.boxes import sign_cover
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import branches_of, collapse, sign_on
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate, slope_of, switches
from lossproof.prove.defined import defined
from lossproof.prove.identity import vanishes
from lossproof.prove.logits import convex_by_composition
from lossproof.prove.minimum import ends_follow, nowhere_finite, pin, without_ends
from lossproof.prove.problem import Line, Problem, undefined_at
from lossproof.prove.refute import TARGETS, grid, sample_parameters, special_places
from lossproof.prove.regions import Region, regions

Expr = Any
CONVEX = "p -> loss(y, p) is convex for every y"
STRICT = "p -> loss(y, p) is strictly convex for every y"
CONVEX_LOGITS = "z -> loss(y, sigmoid(z)) is convex for every y"


@dataclass(frozen=True)
class Scale:
    """The variable in which convexity is asked: its bend of l(p), and how three equally spaced points are made."""

    key: str
    statement: str
    logits: bool

    def bend(self, slope: Expr) -> Expr:
        """A function of the sign of the second derivative in this variable."""
        curve = derivative(slope, P)
        return P * (1 - P) * curve + (1 - 2 * P) * slope if self.logits else curve

    def triple(self, p: Fraction, step: Fraction) -> tuple[Fraction, Fraction]:
        """The two points at equal distance from p in this variable; rational for rational input."""
        if not self.logits:
            return p - step, p + step
        odds, factor = p / (1 - p), 1 + 4 * step
        low, high = odds / factor, odds * factor
        return low / (1 + low), high / (1 + high)


_BEND = ", which has one sign"
SCALES = (Scale("convex", CONVEX, False), Scale("convex_logits", CONVEX_LOGITS, True))


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The lines "convex", "convex_logits" and "strictly_convex"."""
    for scale in SCALES:
        start = time.monotonic()
        verdict = convexity(problem, scale, clock)
        yield Line(scale.key, scale.statement, verdict, {}, time.monotonic() - start)
        if not scale.logits:
            yield Line("strictly_convex", STRICT, _strict(problem, verdict, clock))


def convexity(problem: Problem, scale: Scale, clock: Clock) -> Verdict:
    """Whether the loss is convex in p, or in the logits."""
    if scale.logits and (problem.prediction.low, problem.prediction.high) != (0, 1):
        return Unknown("behind a sigmoid predictions lie in (0, 1), another domain was asked for")
    found = _bulge(problem, scale, clock)
    if found is not None:
        return found
    try:
        return Proved(
            "second derivative and kinks", without_ends(problem), tuple(_shown(problem, scale, clock))
        )
    except Stuck as stuck:
        reason = f"{stuck}"
    composed = convex_by_composition(problem, clock) if scale.logits else None
    if composed is not None:
        return Proved("sum of convex functions of affine arguments", without_ends(problem), composed)
    if problem.free:
        return Unknown(reason)
    try:
        return _enclosed(problem, scale, clock, reason)
    except LossproofError as error:  # no enclosure of a function
        return Unknown(f"{error}")


def _shown(problem: Problem, scale: Scale, clock: Clock) -> Iterator[Step]:
    """The steps of a symbolic proof: no jump, no kink that bends down, and a second derivative of one sign."""
    slopes: dict[tuple[Any, ...], dict[str, tuple[Region, Expr]]] = {}
    for region in regions(problem):
        base = pin(problem.expr, region)
        if undefined_at(problem.expr, region.fixed):
            if nowhere_finite(base):
                continue
            raise Stuck(f"a part of the formula has no value at {region}")
        loss = as_pieces(collapse(base, region, clock))
        yield from gate(problem, region, collapse(base, region, clock), clock)
        slope = slope_of(loss, region)
        bend = region.fix(scale.bend(slope))
        found = sign_on(bend, region, clock)
        if found.sign not in ("+", ">=", "0"):
            raise Stuck(f"the sign of the second derivative is not shown for {region}")
        relation = ">" if found.sign == "+" else ">="
        name = "d2l/dz2 has the sign of" if scale.logits else "d2l/dp2 ="
        yield Step(
            f"for {region}: {name} {bend}{_BEND}",
            claim(bend, relation, sympy.S.Zero, region.ranges, region.given),
        )
        yield from found.steps
        for switch in switches(loss, region, clock):
            jump = (slope_of(switch.after, region) - slope_of(switch.before, region)).xreplace({P: switch.p0})
            rise = sign_on(collapse(jump, region, clock), region, clock)
            if rise.sign not in ("+", ">=", "0"):
                raise Stuck(f"the kink at p = {switch.p0} may bend down")
            yield Step(f"at the kink p = {switch.p0} the slope does not fall")
        if region.end is None:
            slopes.setdefault(region.parameters, {})[region.side] = (region, slope)
    for pair in slopes.values():
        (region, above), (_, below) = pair[">"], pair["<"]
        # where the slope is 0/0 at p = y there may be a kink without a branch, as that of sqrt(log1p((p - y)**2))
        for slope in (above, below):
            at = collapse(slope.xreplace({P: Y}), region, clock)
            branches = branches_of(at)  # none where there are too many
            if not branches or any(defined(region.put(b), clock=clock) is None for b in branches):
                raise Stuck("the slope is not shown to have a value at p = y")
        jump = collapse((above - below).xreplace({P: Y}), region, clock)
        if vanishes(jump, clock):
            continue
        if sign_on(jump, region, clock).sign not in ("+", ">=", "0"):
            raise Stuck("the kink at p = y may bend down")
        yield Step("at the kink p = y the slope rises", claim(jump, ">=", sympy.S.Zero, region.ranges[:1]))


def _bulge(problem: Problem, scale: Scale, clock: Clock) -> Refuted | None:
    """Three points where the loss in the middle exceeds the mean of the outer two, verified."""
    for values in sample_parameters(problem):
        loss = problem.expr.xreplace(values)
        for y in (*TARGETS[:6], Fraction(0), Fraction(1)):
            clock.check()
            if float(y) not in problem.target:
                continue
            for middle, step in _suspects(problem, loss, y, scale):
                found = _settle(problem, loss, y, middle, step, scale, values)
                if found is not None:
                    return found
    return None


def _suspects(problem: Problem, loss: Expr, y: Fraction, scale: Scale) -> list[tuple[Fraction, Fraction]]:
    p = grid(problem, float(y))
    found: list[tuple[float, Fraction, Fraction]] = []
    for width in (0.2, 0.05, 0.01, 0.001):
        low, high = (p - width, p + width) if not scale.logits else _around(p, width)
        inside = (low > problem.prediction.low) & (high < problem.prediction.high)
        q, a, b = p[inside], low[inside], high[inside]
        if not len(q):
            continue
        with np.errstate(all="ignore"):
            middle, left, right = (_values(loss, y, x) for x in (q, a, b))
            excess = middle - (left + right) / 2
            noise = 1e-14 * (np.abs(middle) + np.abs(left) + np.abs(right))
            excess = np.where(np.isfinite(excess), excess - 8 * noise, -np.inf)
        i = int(np.argmax(excess))
        if excess[i] > 0:
            found.append((float(excess[i]), Fraction(float(q[i])).limit_denominator(10**6), Fraction(width)))
            found.append((float(excess[i]) / 2, Fraction(float(q[i])), Fraction(width)))
    suspects = [(m, s.limit_denominator(10**6)) for _, m, s in sorted(found, key=lambda f: -f[0])]
    for place in special_places(loss):  # kinks that a grid steps over
        exact = place.xreplace({Y: sympy.Rational(y)})
        if exact.is_Rational and 0 < exact < 1:
            kink = Fraction(int(exact.p), int(exact.q))
            room = min(kink, 1 - kink) / 8
            suspects += [(kink, room), (kink, room / 1000)]
    return suspects


def _values(loss: Expr, y: Fraction, p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.broadcast_to(evaluate(loss, {Y: np.full_like(p, float(y)), P: p}), p.shape)


def _around(p: np.ndarray[Any, Any], width: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    odds, factor = p / (1 - p), 1 + 4 * width
    return odds / factor / (1 + odds / factor), odds * factor / (1 + odds * factor)


def _above_chord(loss: Expr, low: Expr, high: Expr) -> Expr:
    """The loss at p less the mean of the losses at two places around it."""
    return loss - (loss.xreplace({P: low}) + loss.xreplace({P: high})) / 2


def _settle(
    problem: Problem,
    loss: Expr,
    y: Fraction,
    middle: Fraction,
    step: Fraction,
    scale: Scale,
    values: Mapping[Expr, Expr],
    *,
    straight: bool = False,
) -> Refuted | None:
    if not 0 < middle < 1 and scale.logits:
        return None
    low, high = scale.triple(middle, step)
    if not problem.prediction.low < low < middle < high < problem.prediction.high:
        return None
    low_p, high_p = sympy.symbols("p1 p2", real=True)
    fixed = {Y: sympy.Rational(y)} if y in (0, 1) else {}
    at = {Y: y, P: middle, low_p: low, high_p: high}
    gap = _above_chord(loss.xreplace(fixed), low_p, high_p)
    if gap.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I) or sign_at(gap, at) != (0 if straight else 1):
        return None
    statement = _above_chord(to_elementary(problem.expr.xreplace(fixed)), low_p, high_p)
    where = (("y", str(y)), ("p", str(middle)), ("p1", str(low)), ("p2", str(high)),
             *((str(k), str(v)) for k, v in values.items()))  # fmt: skip
    said = claim(statement, "=" if straight else ">", sympy.S.Zero, where)
    return None if said is None else Refuted(where, said, amount(gap, at))


def _enclosed(problem: Problem, scale: Scale, clock: Clock, reason: str, relation: str = ">=") -> Verdict:
    """Enclosures of the second derivative on boxes, for losses without branches."""
    inner = list(regions(problem, ends=False))
    losses = [collapse(problem.expr, r, clock) for r in inner]
    if any(as_pieces(loss).has(sympy.Piecewise) for loss in losses) or not vanishes(
        losses[0] - losses[1], clock
    ):
        return Unknown(reason)
    if not ends_follow(problem, losses[0], losses[1], clock):
        return Unknown(reason)
    try:
        for region, loss in zip(inner, losses, strict=True):
            gate(problem, region, loss, clock)
    except Stuck as stuck:
        return Unknown(f"{stuck}")
    bend = to_elementary(scale.bend(derivative(losses[0], P)))
    span = (problem.target.low, problem.target.high), (problem.prediction.low, problem.prediction.high)
    if any(abs(x) == float("inf") for pair in span for x in pair):
        return Unknown("enclosures need a bounded domain")
    margin = 2.0**-40
    count = 0
    worst: tuple[tuple[str, float, float], ...] = ()
    for domain, low, high in (
        (problem.domain, *span[1]),
        (
            f"{problem.domain}, p in [{margin:.3g}, 1 - {margin:.3g}]",
            span[1][0] + margin,
            span[1][1] - margin,
        ),
    ):
        cover = sign_cover(
            [bend, sympy.together(bend)], relation, (Y, P), (span[0], (low, high)), clock=clock.part(0.4)
        )
        if not cover.left:
            return Certified("enclosures of the second derivative", domain, (), tuple(cover.pieces))
        count += cover.count
        worst = tuple((n, float(a), float(b)) for n, (a, b) in zip("yp", cover.left[0], strict=True))
    return Unknown(f"{reason}; {count} boxes did not settle it", worst)


def _strict(problem: Problem, convex: Verdict, clock: Clock) -> Verdict:
    """Strict convexity, given what is known of convexity."""
    if isinstance(convex, Refuted | Unknown):
        return convex
    if isinstance(convex, Proved):
        bends = [s.claim for s in convex.steps if s.claim and s.text.endswith(_BEND)]
        if bends and all(c.relation == ">" for c in bends):
            return convex
    elif isinstance(above := _enclosed(problem, SCALES[0], clock, "", ">"), Certified):
        return above
    for values in sample_parameters(problem):
        loss = problem.expr.xreplace(values)
        for y in (*TARGETS[:6], Fraction(0), Fraction(1)):
            for middle in (y, y + Fraction(1, 20), y - Fraction(1, 20), Fraction(1, 3)):
                for step in (Fraction(1, 200), Fraction(1, 5000)):
                    clock.check()
                    found = _settle(problem, loss, y, middle, step, SCALES[0], values, straight=True)
                    if found is not None:
                        return found
    return Unknown(
        "convex; the second derivative is not shown to differ from 0, and no straight piece was found"
    )
