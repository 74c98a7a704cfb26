"""Where p -> loss(y, p) is least, for losses that are not least at p = y: a formula if there is one, else enclosures.

A formula q(y) is put into the derivative, which must vanish; an enclosure is a bracket at whose ends balls show a
falling and a rising loss. That it is the global minimum follows from dl/dp = h(p) (F(p) - y) with h > 0 and F
increasing, from convexity in p, or from the sign of dl/dp on either side of the bracket.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import sympy

from lossproof.formula import Certified, LossproofError, Piece, Proved, Refuted, Step, Unknown, Verdict
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.formula.unparse import unparse
from lossproof.prove.axis import Cell, alone, positive, targets, tidy
from lossproof.prove.ball import ball, sign_at
from lossproof.prove.boxes import sign_cover
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import collapse
from lossproof.prove.consistency import Found, functional, generic
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate, slope_of
from lossproof.prove.identity import vanishes
from lossproof.prove.problem import Line, Problem
from lossproof.prove.refute import grid
from lossproof.prove.regions import Region, regions
from lossproof.prove.sign import sign

Expr = Any
WHERE = "where p -> loss(y, p) is least"
_TENTHS = tuple(Fraction(k, 10) for k in range(1, 10))
_WIDTH = Fraction(1, 10**13)
_BAD = (sympy.zoo, sympy.oo, sympy.nan, sympy.I)


@dataclass(frozen=True)
class Global:
    """Why a place where the derivative vanishes is the only minimum, on which domain."""

    method: str
    domain: str
    steps: tuple[Step, ...]
    pieces: tuple[Piece, ...] = ()


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The line "minimiser", if the minimum is known not to be at p = y."""
    minimum = known.get("minimum")
    if minimum is None or not isinstance(minimum.verdict, Refuted):
        return
    start = time.monotonic()
    statement, verdict, details = locate(problem, known, clock)
    yield Line("minimiser", statement, verdict, details, time.monotonic() - start)


def locate(problem: Problem, known: Mapping[str, Line], clock: Clock) -> tuple[str, Verdict, dict[str, Any]]:
    """Statement, verdict and details of the place of the minimum."""
    why, inverted = _from_link(problem, known, clock)
    if why is None:
        why = _convex(problem, clock)
    reason = "no formula for it was found"
    for q in _candidates(problem, inverted):
        clock.check()
        proof = _formula(problem, q, why, clock)
        if isinstance(proof, Proved | Certified):
            details = {"formula": unparse(q), "points": _values(problem, q)}
            return f"p = {unparse(q)} is the only minimiser of p -> loss(y, p)", proof, details
        reason = proof.reason
    if problem.free:
        return WHERE, Unknown(reason), {"formula": None, "points": []}
    points, verdict = _enclosed(problem, why, clock)
    return (
        "the only minimiser of p -> loss(y, p) lies between the bounds given for each y",
        verdict,
        {"formula": None, "points": [[float(y), float(low), float(high)] for y, low, high in points]},
    )


# --- why a stationary point is the global minimum ----------------------------------------------------------------


def _from_link(
    problem: Problem, known: Mapping[str, Line], clock: Clock
) -> tuple[Global | None, Expr | None]:
    """dl/dp = h(p) (F(p) - y): of the section on consistency if it is there, else worked out."""
    line = known.get("consistency")
    if line is None:
        found: Found = functional(problem, clock)
        name, verdict, inverted = found.functional, found.verdict, found.inverse
    else:
        name, verdict = str(line.details.get("functional")), line.verdict
        text = line.details.get("inverse")
        m = sympy.Symbol("m", real=True)
        names: dict[str, Expr] = {s.name: s for s in problem.parameters} | {"m": m}
        inverted = (
            parse(text, params=names).xreplace({m: Y}) if text and name == "mean through a link" else None
        )
    if name != "mean through a link" or not isinstance(verdict, Proved | Certified):
        return None, None
    pieces = verdict.pieces if isinstance(verdict, Certified) else ()
    last = Step(
        "so dl/dp has the sign of F(p) - y, and F increases: the loss is least where F(p) = y, only there"
    )
    return Global(verdict.method, verdict.domain, (*verdict.steps[:-1], last), pieces), inverted


def _convex(problem: Problem, clock: Clock) -> Global | None:
    """Strictly convex in p for every target inside the domain."""
    steps: list[Step] = []
    losses = []
    for region in regions(problem, ends=False):
        try:
            loss, checked = _continuous(problem, region, clock)
        except Stuck:
            return None
        bend = region.fix(derivative(derivative(loss, P), P))
        if bend.has(sympy.Piecewise, sympy.Abs, sympy.sign):
            return None
        found = sign(region.put(bend), clock=clock)
        if found.sign != "+":
            return None
        losses.append(loss)
        shown = claim(bend, ">", sympy.S.Zero, region.ranges, region.given)
        steps += [*checked, Step(f"for {region}: d2l/dp2 > 0", shown), *found.steps]
    if any(not vanishes(a - b, clock) for a, b in zip(losses[::2], losses[1::2], strict=True)):
        return None  # a kink at p = y
    steps.append(Step("a strictly convex loss has its only minimum where dl/dp = 0"))
    inside = ", ".join(
        f"y != {e:g}" for e in (problem.target.low, problem.target.high) if e in problem.target
    )
    return Global(
        "convexity and stationarity", problem.domain + (f", {inside}" if inside else ""), tuple(steps)
    )


def _continuous(problem: Problem, region: Region, clock: Clock) -> tuple[Expr, list[Step]]:
    """The loss on a region with its kinks collapsed, and the steps that show it continuous. Raises Stuck."""
    loss = collapse(problem.expr, region, clock)
    if as_pieces(loss).has(sympy.Piecewise):
        raise Stuck(f"the loss has branches for {region}")
    return loss, gate(problem, region, loss, clock)


# --- a formula ---------------------------------------------------------------------------------------------------


def _candidates(problem: Problem, inverted: Expr | None) -> Iterator[Expr]:
    if problem.loss.minimiser is not None:
        names = {p.name: None for p in problem.loss.params} | {s.name: s for s in problem.parameters}
        values = {k: v for k, v in problem.loss.values.items() if names.get(k) is None}
        symbols = {k: s if s is not None else sympy.Symbol(k, real=True) for k, s in names.items()}
        yield tidy(parse(problem.loss.minimiser, params=symbols, values=values, decimal=problem.decimal))
    if inverted is not None:
        yield inverted
        return
    slope = problem.slope
    if slope.is_rational_function(P, Y) and slope.count_ops() < 60:
        top = sympy.numer(sympy.together(slope))
        if sympy.degree(top, P) in (1, 2):
            yield from (tidy(q) for q in sympy.solve(top, P) if q != Y)


def _formula(problem: Problem, q: Expr, why: Global | None, clock: Clock) -> Proved | Certified | Unknown:
    """Show that dl/dp vanishes at p = q(y) inside the domain, and conclude."""
    slope = to_elementary(derivative(problem.expr, P))
    if slope.has(sympy.Piecewise, sympy.Abs, sympy.sign):
        return Unknown("the loss has kinks or branches")
    at_q = slope.xreplace({P: q})
    if at_q.has(*_BAD) or not vanishes(at_q, clock):
        return Unknown(f"dl/dp is not shown to vanish at p = {q}")
    if why is None:
        return Unknown(f"dl/dp = 0 at p = {q}, not shown to be the only minimum")
    rest = tuple((s.name, str(p.interval)) for s, p in zip(problem.parameters, problem.free, strict=True))
    inside = (("y", f"({problem.target.low:g}, {problem.target.high:g})"), *rest)
    steps = [Step(f"dl/dp = 0 at p = {unparse(q)}", claim(at_q, "=", sympy.S.Zero, inside))]
    prediction = alone(problem, ())[0]
    for values in dict.fromkeys(r.parameters for r in regions(problem, ends=False)):
        cell: Cell = targets(problem, values)
        for end, gap in ((prediction.low, q - prediction.low), (prediction.high, prediction.high - q)):
            if not end.is_finite:
                continue
            shown = positive(gap.xreplace({Y: P}), cell, clock)
            if shown is None:
                return Unknown(f"{q} is not shown to lie inside the domain of p")
            steps += [Step(f"{unparse(gap)} > 0", claim(gap, ">", sympy.S.Zero, inside)), *shown.steps]
    steps += why.steps
    domain = why.domain
    for end in (problem.target.low, problem.target.high):
        at_end = q.xreplace({Y: sympy.Rational(end)}) if end in problem.target else None
        if at_end in (prediction.low, prediction.high) and f"y != {end:g}" not in domain:
            domain += f", y != {end:g} (a limit there, p -> {at_end})"
    if why.pieces:
        return Certified(why.method, domain, tuple(steps), why.pieces)
    return Proved(why.method, domain, tuple(steps))


def _values(problem: Problem, q: Expr) -> list[list[float]]:
    """Enclosures of a formula at tenths, for pictures; none with free parameters."""
    if q.free_symbols - {Y}:
        return []
    out = []
    for y in _TENTHS:
        found = ball(q, {Y: y}, bits=512)
        if float(y) in problem.target and found.is_finite():
            low, high = float(found.lower()), float(found.upper())
            out.append([float(y), float(np.nextafter(low, -np.inf)), float(np.nextafter(high, np.inf))])
    return out


# --- enclosures --------------------------------------------------------------------------------------------------


def _enclosed(
    problem: Problem, why: Global | None, clock: Clock
) -> tuple[list[tuple[Fraction, Fraction, Fraction]], Verdict]:
    points: list[tuple[Fraction, Fraction, Fraction]] = []
    steps: list[Step] = []
    pieces: list[Piece] = []
    trouble, left_out = "", []
    sides: dict[str, tuple[Region, Expr]] = {}
    try:
        for region in regions(problem, ends=False):
            if why is None:
                loss, checked = _continuous(problem, region, clock)
                steps += checked
            else:
                loss = collapse(problem.expr, region, clock)
            sides[region.side] = (region, slope_of(generic(loss), region))
    except Stuck as stuck:
        return [], Unknown(f"{stuck}")
    for y in _TENTHS:
        clock.check()
        if float(y) not in problem.target or not problem.prediction.low < y < problem.prediction.high:
            continue
        slopes = {s: slope.xreplace({Y: sympy.Rational(y)}) for s, (_, slope) in sides.items()}
        found = _bracket(problem, y, slopes, clock)
        if found is None:
            left_out.append(str(y))
            continue
        low, high = found
        points.append((y, low, high))
        steps += _signs(y, low, high, slopes, problem)
        if why is None:
            shown = _apart(problem, y, low, high, slopes, clock)
            if shown is None:
                trouble = trouble or f"dl/dp is not shown to keep its sign outside the bracket at y = {y}"
            else:
                pieces += shown
    if trouble or not points:
        return points, Unknown(
            trouble or "no single change of sign of dl/dp was found at y = " + ", ".join(left_out)
        )
    span = problem.prediction
    domain = f"y in {{{', '.join(str(y) for y, _, _ in points)}}}, p in ({span.low:g}, {span.high:g})"
    if why is not None:
        steps, pieces = [*why.steps, *steps], list(why.pieces)
    method = "signs of dl/dp at the ends of brackets" + (
        f", {why.method}" if why else ", and outside by enclosures"
    )
    return points, Certified(method, domain, tuple(dict.fromkeys(steps)), tuple(pieces))


def _at(slopes: Mapping[str, Expr], y: Fraction, p: Fraction) -> int | None:
    """Sign of the slope at a prediction."""
    if p == y:
        signs = {sign_at(e, {P: p}) for e in slopes.values()}
        return signs.pop() if len(signs) == 1 else 0 if signs == {-1, 1} else None
    return sign_at(slopes[">" if p > y else "<"], {P: p})


def _bracket(
    problem: Problem, y: Fraction, slopes: Mapping[str, Expr], clock: Clock
) -> tuple[Fraction, Fraction] | None:
    """The place where the slope turns from negative to positive: bisected with balls; an end if it never does."""
    p = grid(problem, float(y))
    with np.errstate(all="ignore"):
        above, below = (np.broadcast_to(evaluate(slopes[s], {P: p}), p.shape) for s in "><")
    value = np.where(p > float(y), above, below)
    p, value = p[np.isfinite(value) & (value != 0)], value[np.isfinite(value) & (value != 0)]
    turns = np.nonzero((value[:-1] < 0) & (value[1:] > 0))[0]
    if 1 < len(turns) < 50:  # rounding near the root: ask balls
        for i in range(max(turns[0] - 2, 0), min(turns[-1] + 3, len(p))):
            value[i] = _at(slopes, y, Fraction(float(p[i]))) or np.nan
        p, value = p[~np.isnan(value)], value[~np.isnan(value)]
        turns = np.nonzero((value[:-1] < 0) & (value[1:] > 0))[0]
    if len(value) and not len(turns) and (np.all(value > 0) or np.all(value < 0)):
        end = problem.prediction.low if value[0] > 0 else problem.prediction.high
        return (Fraction(end), Fraction(end)) if np.isfinite(end) else None
    if len(turns) != 1:
        return None
    low, high = Fraction(float(p[turns[0]])), Fraction(float(p[turns[0] + 1]))
    ends = _at(slopes, y, low), _at(slopes, y, high)
    if ends in ((0, 1), (-1, 0)):
        return (low, low) if ends[0] == 0 else (high, high)
    if ends != (-1, 1):
        return None
    while high - low > _WIDTH:
        clock.check()
        middle = Fraction(float((low + high) / 2))
        if not low < middle < high:
            break
        found = _at(slopes, y, middle)
        if found is None:  # a single point without a value
            middle = Fraction(float(low + (high - low) * Fraction(3, 8)))
            found = _at(slopes, y, middle)
        if found == 0:
            return middle, middle
        if found is None:
            break
        low, high = (middle, high) if found < 0 else (low, middle)
    return (low, high) if high - low <= 10 * _WIDTH else None


def _signs(
    y: Fraction, low: Fraction, high: Fraction, slopes: Mapping[str, Expr], problem: Problem
) -> list[Step]:
    """What balls show at the ends of a bracket."""
    steps = []
    for p, relation in ((low, "<"), (high, ">")):
        if low == high or not problem.prediction.low < p < problem.prediction.high or p == y:
            continue
        said = claim(slopes[">" if p > y else "<"], relation, sympy.S.Zero, (("p", str(p)),))
        steps.append(Step(f"at y = {y}: dl/dp {relation} 0 at p = {float(p):.17g}", said))
    if low == high:
        steps.append(Step(f"at y = {y}: dl/dp changes its sign at p = {low}"))
    return steps


def _apart(
    problem: Problem, y: Fraction, low: Fraction, high: Fraction, slopes: Mapping[str, Expr], clock: Clock
) -> list[Piece] | None:
    """Boxes that show a falling loss left of a bracket and a rising one right of it."""
    pieces: list[Piece] = []
    start, end = Fraction(problem.prediction.low), Fraction(problem.prediction.high)
    for relation, a, b in (("<", start, low), (">", high, end)):
        cuts = sorted({a, b} | ({y} if a < y < b else set()))
        for left, right in pairwise(cuts):
            slope = slopes[">" if left >= y else "<"]
            box = (float(left), float(right))
            if Fraction(box[0]) != left or Fraction(box[1]) != right:
                box = (float(np.nextafter(box[0], 0)), float(np.nextafter(box[1], 1)))
            forms = [slope, *(_times(slope, f) for f in (P, 1 - P, P * (1 - P)))]
            try:
                cover = sign_cover(forms, relation, (P,), (box,), clock=clock, most=2_000)
            except LossproofError:
                return None
            if not cover.complete:
                return None
            pieces += cover.pieces
    return pieces


def _times(slope: Expr, factor: Expr) -> Expr:
    terms = slope.args if slope.is_Add else (slope,)
    return sympy.Add(*(sympy.powsimp(t * factor) for t in terms))


__all__ = ["Global", "lines", "locate"]
