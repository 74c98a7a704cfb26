"""Is p = y the global minimiser of p -> loss(y, p), and the only one?

Refuted first, by a pair (y, p) that anyone can check. Else proved through the sign of the derivative on either
side of the diagonal (or stationarity and convexity), after the gate of continuity; else by enclosures on boxes.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy

from lossproof.formula import Certified, LossproofError, Proved, Refuted, Step, Unknown, Verdict
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove.ball import sign_at
from lossproof.prove.boxes import Cover, minimum_cover
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.collapse import branches_of, collapse, sign_on
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate, slope_of, variants
from lossproof.prove.defined import defined
from lossproof.prove.diagonal import has_value
from lossproof.prove.excess import continuous_at_end, excess_sign
from lossproof.prove.identity import vanishes
from lossproof.prove.problem import Line, Problem, undefined_at
from lossproof.prove.refute import TARGETS, grid, lower_than_at_target, sample_parameters, settle
from lossproof.prove.regions import Region, regions
from lossproof.prove.sign import Signed

Expr = Any
MINIMUM = "p = y is a global minimiser of p -> loss(y, p)"
UNIQUE = "p = y is the only global minimiser of p -> loss(y, p)"


@dataclass(frozen=True)
class Side:
    """What is known on one region: strictly monotone ("+"), weakly (">="), or not shown ("?")."""

    region: Region
    loss: Expr
    known: str
    steps: tuple[Step, ...]
    reason: str = ""


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The lines "minimum" and "unique"."""
    start = time.monotonic()
    found = lower_than_at_target(problem, clock)
    if found is not None:
        yield Line("minimum", MINIMUM, found, {}, time.monotonic() - start)
        yield Line("unique", UNIQUE, found)
        return
    verdict, unique = _prove(problem, clock)
    middle = time.monotonic()
    yield Line("minimum", MINIMUM, verdict, {"attained": _attained(problem)}, middle - start)
    yield Line("unique", UNIQUE, unique, {}, time.monotonic() - middle)


def _prove(problem: Problem, clock: Clock) -> tuple[Verdict, Verdict]:
    sides = [side_of(problem, region, clock) for region in regions(problem)]
    finite = [s for s in sides if s.known != "empty"]
    if not finite:
        reason = Unknown("the loss is finite nowhere in the domain")
        return reason, reason
    domain = domain_of(problem, sides)
    steps = tuple(step for s in finite for step in s.steps)
    if all(s.known == "+" for s in finite):
        proof = Proved("sign of the derivative", domain, steps)
        return proof, proof
    if all(s.known in ("+", ">=") for s in finite):
        tie = _tie(problem, clock)
        reason = Unknown("the derivative is shown to be of one sign, but not to differ from 0")
        return Proved("sign of the derivative (weak)", domain, steps), reason if tie is None else tie
    convex = _convex(problem, sides, clock)
    if convex is not None:
        proof = Proved("convexity and stationarity", domain, convex)
        return proof, proof
    if problem.free:
        stuck = next(s for s in finite if s.known == "?")
        reason = Unknown(stuck.reason or f"the sign of the derivative is not shown for {stuck.region}")
        return reason, reason
    try:
        enclosed = _enclosed(problem, sides, clock)
    except LossproofError as error:  # no enclosure of a function
        enclosed = Unknown(f"{error}")
    return enclosed, enclosed


def side_of(problem: Problem, region: Region, clock: Clock) -> Side:
    """Whether the loss grows away from p = y on a region, with the steps that show it."""
    base = pin(problem.expr, region)
    if undefined_at(problem.expr, region.fixed):
        if nowhere_finite(base):
            return Side(region, base, "empty", ())
        return Side(region, base, "?", (), f"a part of the formula has no value at {region}")
    loss = collapse(base, region, clock)
    product = loss.is_Mul and sum(f.has(P) for f in loss.args) > 1  # shows its sign by its factors
    quick = _by_value(problem, region, loss, clock) if product else None
    if quick is not None and quick.known == "+":
        return quick
    try:
        checked = gate(problem, region, loss, clock, steps_up=True)
    except Stuck as stuck:
        return _by_value(problem, region, loss, clock) or Side(region, loss, "?", (), f"{stuck}")
    pieces = as_pieces(loss)
    slope = slope_of(loss if pieces == loss else pieces, region)
    found = _within(slope, region, clock)
    wanted = "+" if region.side == ">" else "-"
    weak = ">=" if region.side == ">" else "<="
    strength = "+" if found.sign == wanted else ">=" if found.sign in (weak, "0") else "?"
    flat = strength == ">=" and sympy.S.Zero in branches_of(slope)  # then no value will be strict either
    if strength != "+" and not flat:
        direct = _by_value(problem, region, loss, clock)
        if direct is not None and (strength == "?" or direct.known == "+"):
            return direct
    where, nice = region.ranges, _tidy(slope)
    step = Step(f"for {region}: dl/dp = {nice}", claim(slope, "=", nice, where, region.given))
    direction = "grows" if strength == "+" else "does not fall"
    end = Step(f"so the loss {direction} as p moves away from y ({region})",
               claim(slope, ({"+": ">", ">=": ">="}[strength] if region.side == ">" else {"+": "<", ">=": "<="}[strength]),
                     sympy.S.Zero, where, region.given) if strength != "?" else None)  # fmt: skip
    return Side(region, loss, strength, (step, *found.steps, *checked, end),
                "" if strength != "?" else f"the sign of the derivative is not shown for {region}")  # fmt: skip


def _within(slope: Expr, region: Region, clock: Clock) -> Signed:
    """The sign of the derivative, looked for in a share of the time."""
    try:
        return sign_on(slope, region, clock.within(min(3.0, clock.left() / 5)))
    except OutOfTime:
        clock.check()
        return Signed("?", ())


def _by_value(problem: Problem, region: Region, loss: Expr, clock: Clock) -> Side | None:
    """The side from the sign of loss(y, p) - loss(y, y)."""
    found = excess_sign(problem, region, loss, clock)
    if found.sign == "?" or not _has_floor(problem, region, clock):
        return None
    return Side(region, loss, found.sign, found.steps, _DIRECT)


_DIRECT = "by value"


def _has_floor(problem: Problem, region: Region, clock: Clock) -> bool:
    """Whether loss(y, y) is shown to be finite for every y: what is infinite at a y drops out of the difference."""
    if region.end is not None:
        return True
    try:
        floors = variants(as_pieces(collapse(region.fix(problem.floor), region, clock)))
    except Stuck:
        return False
    shown = all(defined(region.put(floor), clock=clock) is not None for floor in floors)
    return shown and has_value(problem, clock)


def nowhere_finite(pinned: Expr) -> bool:
    """Whether a formula with its target put in has no finite value, whatever is predicted."""
    return not pinned.has(sympy.Piecewise) and to_elementary(pinned).has(sympy.zoo, sympy.oo, sympy.nan)


def ends_follow(problem: Problem, above: Expr, below: Expr, clock: Clock) -> bool:
    """Whether the formula at the ends of the targets is that inside, above and below y: a closed box may be used."""
    for region, at_end in finite_ends(problem, clock):
        inside = (above if region.side == ">" else below).xreplace(region.fixed)
        if not vanishes(to_elementary(at_end) - to_elementary(inside), clock):
            return False
    return True


def finite_ends(problem: Problem, clock: Clock) -> Iterator[tuple[Region, Expr]]:
    """The closed ends of the targets at which the loss has finite values, with the formula there."""
    for region in regions(problem):
        base = pin(problem.expr, region)
        if region.end is not None and not nowhere_finite(base):
            yield region, collapse(base, region, clock)


def pin(expr: Expr, region: Region) -> Expr:
    """The expression with the target's end and constant parameters of a region put in, conventions still by name."""
    return expr.xreplace(region.fixed)


def _tidy(slope: Expr) -> Expr:
    """The derivative as one factored fraction where that is short work."""
    if slope.has(sympy.Piecewise, sympy.Abs, sympy.sign) or slope.count_ops() > 150 or slope.has(sympy.exp):
        return slope
    tidy = sympy.factor(sympy.together(slope))
    return tidy if tidy.count_ops() < slope.count_ops() else slope


def without_ends(problem: Problem) -> str:
    """The domain in words, without the targets at which the loss is finite nowhere."""
    ends = [r for r in regions(problem) if r.end is not None]
    return _words(problem, {r.end for r in ends if nowhere_finite(pin(problem.expr, r))})


def domain_of(problem: Problem, sides: list[Side]) -> str:
    """The domain in words, without the targets at which the loss is finite nowhere."""
    return _words(problem, {s.region.end for s in sides if s.known == "empty" and s.region.end is not None})


def _words(problem: Problem, empty: set[Expr]) -> str:
    words = problem.domain
    for end in sorted(empty, key=float):
        words += f", y != {end} (the loss has no finite value there)"
    return words


def _convex(problem: Problem, sides: list[Side], clock: Clock) -> tuple[Step, ...] | None:
    """Stationary at p = y and strictly convex in p: the other sufficient condition. Ends need their own sign."""
    inner = [s for s in sides if s.region.end is None]
    if any(s.known != "+" for s in sides if s.region.end is not None and s.known != "empty"):
        return None
    steps: list[Step] = []
    for side in inner:
        if side.reason and "sign of the derivative" not in side.reason:
            return None  # the gate of continuity is not passed
        if as_pieces(side.loss).has(sympy.Piecewise):
            return None
        slope = slope_of(side.loss, side.region)
        at_y = slope.xreplace({P: Y})
        if not vanishes(at_y, clock):
            return None
        bend = side.region.fix(derivative(derivative(side.loss, P), P))
        found = sign_on(bend, side.region, clock)
        if found.sign != "+":
            return None
        where = side.region.ranges
        steps += [
            *side.steps[:1],
            Step(
                "dl/dp = 0 at p = y", claim(at_y, "=", sympy.S.Zero, tuple(r for r in where if r[0] != "p"))
            ),
            Step(f"for {side.region}: d2l/dp2 > 0", claim(bend, ">", sympy.S.Zero, where, side.region.given)),
            *found.steps,
        ]
    steps.append(Step("so dl/dp has the sign of p - y, and the loss grows as p moves away from y"))
    return (*steps, *(step for s in sides if s.region.end is not None and s.known == "+" for step in s.steps))


def _enclosed(problem: Problem, sides: list[Side], clock: Clock) -> Verdict:
    """Enclosures on boxes; allowed to use derivatives only if the gate of continuity is passed."""
    inner = [s for s in sides if s.region.end is None]
    ends = next((s for s in sides if s.region.end is not None and s.known not in ("+", "empty")), None)
    if ends is not None:
        return Unknown(ends.reason or f"not shown for {ends.region}")
    gated = not any(s.reason and "sign of the derivative" not in s.reason for s in inner)
    above, below = (s.loss for s in inner[:2])
    if not gated or as_pieces(above).has(sympy.Piecewise) or as_pieces(below).has(sympy.Piecewise):
        reason = next((s.reason for s in sides if s.known == "?"), "")
        return Unknown(reason or "enclosures are not tried on a formula with branches")
    if not vanishes(above - below, clock):
        return Unknown("enclosures are not tried on a loss with a kink at p = y")
    slope = to_elementary(derivative(above, P))
    stationary = vanishes(slope.xreplace({P: Y}), clock)
    bend = to_elementary(derivative(derivative(above, P), P))
    span = (problem.target.low, problem.target.high), (problem.prediction.low, problem.prediction.high)
    if any(abs(x) == float("inf") for pair in span for x in pair):
        return Unknown("enclosures need a bounded domain")
    margin = 2.0**-40
    for domain, low, high in (
        (problem.domain, *span[1]),
        (
            problem.domain + f", p in [{margin:.3g}, 1 - {margin:.3g}]",
            span[1][0] + margin,
            span[1][1] - margin,
        ),
    ):
        cover: Cover = minimum_cover(
            to_elementary(above), slope, bend, Y, P, (span[0], (low, high)), stationary=stationary,
            floor=to_elementary(above).xreplace({P: Y}), clock=clock.part(0.5), dp_forms=_stripped(slope),
        )  # fmt: skip
        if not cover.left:
            identity = Step(
                "dl/dp = 0 at p = y", claim(slope.xreplace({P: Y}), "=", sympy.S.Zero, (("y", "(0, 1)"),))
            )
            return Certified(
                f"enclosures, {cover.mode}", domain, (identity,) if stationary else (), tuple(cover.pieces)
            )
    worst = cover.left[0]
    return Unknown(
        f"{cover.count} boxes did not settle it",
        tuple((n, float(a), float(b)) for n, (a, b) in zip("yp", worst, strict=True)),
    )


def _stripped(slope: Expr) -> tuple[Expr, ...]:
    """Forms of equal sign with the poles at p = 0 and p = 1 multiplied away."""
    forms = []
    for factor in (P * (1 - P), P, 1 - P):
        form = sympy.expand(slope * factor) if slope.count_ops() < 60 else slope * factor
        forms.append(
            form
            if slope.count_ops() >= 60
            else sympy.cancel(sympy.together(form))
            if not slope.has(sympy.log)
            else form
        )
    return tuple(forms)


def _tie(problem: Problem, clock: Clock) -> Refuted | None:
    """A pair p != y with the same loss as at p = y, verified exactly."""
    from fractions import Fraction

    for values in sample_parameters(problem):
        loss = problem.expr.xreplace(values)
        tiny = Fraction(1, 2**40)
        near = [y + Fraction(s) for y in TARGETS for s in ("1/1000", "-1/1000", "1/10", "-1/10", "1/100000")]
        pairs = [
            (Fraction(0), Fraction(1, 2)),
            (Fraction(1), Fraction(1, 2)),
            (tiny, tiny / 2),
            (1 - tiny, 1 - tiny / 2),
            *zip((y for y in TARGETS for _ in range(5)), near, strict=True),
        ]
        for y, p in pairs:
            clock.check()
            if not 0 < p < 1:
                continue
            gap = loss - loss.xreplace({P: Y})
            if y in (0, 1):  # at an end the formula must give the limit
                gap = gap.xreplace({Y: sympy.Rational(y)})
                if not continuous_at_end(gap, sympy.Rational(y)):
                    continue
            if sign_at(gap, {Y: y, P: p}) == 0:
                where = (("y", str(y)), ("p", str(p)), *((str(k), str(v)) for k, v in values.items()))
                difference = problem.plain - problem.plain.xreplace({P: Y})
                said = claim(difference, "=", sympy.S.Zero, where)
                if said is not None:
                    return Refuted(where, said, "0")
    return None


def _attained(problem: Problem) -> dict[str, bool]:
    """Whether loss(y, y) is a finite number at the ends of the target's domain, rather than a limit."""
    out = {}
    for end in (problem.target.low, problem.target.high):
        if abs(end) < float("inf"):
            value = to_elementary(problem.expr.xreplace({Y: sympy.Rational(end), P: sympy.Rational(end)}))
            out[f"{end:g}"] = bool(value.is_number and value.is_finite)
    return out


__all__ = ["grid", "lines", "pin", "settle", "side_of"]
