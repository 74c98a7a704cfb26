"""The largest |dl/dp| and the largest |dl/dz| behind a sigmoid: bounded or not, and how large at least and at most.

A derivative that falls as the target grows is largest in size at y = 0 or y = 1; there one variable is left.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from lossproof.formula import Certified, Claim, LossproofError, Piece, Proved, Refuted, Step, Unknown, Verdict
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove.ball import ball
from lossproof.prove.borders import symbolic
from lossproof.prove.boxes import bounds, sign_cover
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.collapse import collapse
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate, slope_of, switches, variants
from lossproof.prove.identity import vanishes
from lossproof.prove.limits import HIGH, LOW, SAMPLES, End, Limit, by_target, limit, written
from lossproof.prove.minimum import pin
from lossproof.prove.peak import Peak, peak
from lossproof.prove.problem import Line, Problem
from lossproof.prove.regions import A, B, Region, regions, together
from lossproof.prove.sign import sign

Expr = Any


@dataclass(frozen=True)
class Scale:
    """The variable of the derivative: p itself or the logit z."""

    key: str
    slope: str
    logits: bool

    def of(self, slope: Expr) -> Expr:
        """The derivative in this variable, given dl/dp; products are taken term by term."""
        factor = P * (1 - P) if self.logits else sympy.S.One
        terms = [factor * t for t in _terms(_split_logs(slope))]
        rational = sympy.Add(*(t for t in terms if t.is_rational_function(P, Y)))
        others = sympy.Add(*(t for t in terms if not t.is_rational_function(P, Y)))
        return (sympy.factor(rational) if rational.count_ops() < 150 else rational) + others


SCALES = (Scale("lipschitz", "dl/dp", False), Scale("lipschitz_logits", "dl/dz", True))


@dataclass(frozen=True)
class Largest:
    """sup |derivative|: within [low, high], or infinite; ``exact`` if proved to be that value."""

    low: float
    high: float
    verdict: Verdict
    exact: Expr | None = None

    @property
    def bound(self) -> Any:
        """The bound as details show it: [low, high], "inf", or None where nothing is shown."""
        if isinstance(self.verdict, Refuted):
            return "inf"
        return None if self.high == float("inf") else [self.low, self.high]


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The lines "lipschitz" (in p) and "lipschitz_logits" (in z, p = sigmoid(z))."""
    for scale in SCALES:
        start = time.monotonic()
        reason = symbolic(problem)
        statement = f"|{scale.slope}| is bounded"
        if reason:
            yield Line(scale.key, statement, Unknown(reason), {"bound": None})
            continue
        try:
            found = largest(problem, scale, clock.part(0.5))
        except OutOfTime:
            clock.check()
            yield Line(
                scale.key, statement, Unknown("out of time"), {"bound": None}, time.monotonic() - start
            )
            continue
        details: dict[str, Any] = {"bound": found.bound}
        if found.exact is not None:
            details["exact"] = written(found.exact)
            statement = f"|{scale.slope}| <= {details['exact']}, and no smaller bound holds"
        elif isinstance(found.bound, list):
            statement = f"|{scale.slope}| <= {found.high:.6g}; {found.low:.6g} is reached"
        elif found.bound is None:
            details["at least"] = found.low
        yield Line(scale.key, statement, found.verdict, details, time.monotonic() - start)


def largest(problem: Problem, scale: Scale, clock: Clock) -> Largest:
    """Enclose the largest size of the derivative in p or z over all targets and all predictions."""
    slopes = {name: scale.of(pair[1]) for name, pair in by_target(problem).items()}
    endless = _unbounded(slopes, scale, clock)
    if endless is not None:
        return Largest(0.0, float("inf"), endless)
    steps, reason = _reduction(problem, clock)
    if reason:
        return _over_square(problem, slopes, scale, reason, clock)
    return _along_ends(problem, slopes, scale, list(steps), clock)


def _reduction(problem: Problem, clock: Clock) -> tuple[tuple[Step, ...], str]:
    """``ends_suffice``, asked once a problem: its steps, or the reason why it is not shown."""
    kept: dict[str, tuple[tuple[Step, ...], str]] = problem.__dict__.setdefault("_ends_suffice", {})
    if "found" not in kept:
        try:
            kept["found"] = tuple(ends_suffice(problem, clock)), ""
        except Stuck as stuck:
            kept["found"] = (), f"{stuck}"
    return kept["found"]


def _unbounded(slopes: Mapping[str, Expr], scale: Scale, clock: Clock) -> Refuted | None:
    """A target at which the derivative grows past every bound at an end, with a point where it is large."""
    half = sympy.Rational(1, 2)
    for name in ("y = 1", "y = 0", "y inside"):
        if name not in slopes:
            continue
        y = None if name != "y inside" else half
        g = slopes[name] if y is None else slopes[name].xreplace({Y: y})
        for end in (LOW, HIGH):
            found = limit(g, end, clock)
            if found is None or not found.infinite or not found.proved:
                continue
            beyond = _beyond(g, end)
            left = written(sympy.Abs(to_elementary(g)))
            if beyond is None or left is None:
                continue
            witness, size = beyond
            target = str(y) if y is not None else name[4:]
            where = (("y", target), ("p", str(witness)))
            step = Step(f"y = {target}: {scale.slope} -> {found.text} as {end}", found.claim)
            value = ball(g, {P: witness}, bits=2048)
            return Refuted(where, Claim(left, ">", str(size), where), str(abs(value).str(8)), (step,))
    return None


def _beyond(g: Expr, end: End) -> tuple[Any, int] | None:
    for size in (10**6, 100):  # what grows like a logarithm comes to hundreds only
        for k in (8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024):
            p = end.near(k)
            if abs(ball(g, {P: p}, bits=max(256, 2 * k))) > size:
                return p, size
    return None


def ends_suffice(problem: Problem, clock: Clock) -> list[Step]:
    """Show that dl/dp does not grow with y, so that it lies between its values at y = 1 and y = 0.

    Raises Stuck with the reason where that is not shown.
    """
    cases = by_target(problem)
    if not {"y = 0", "y = 1"} <= set(cases):
        raise Stuck("the loss is not finite at both y = 0 and y = 1")
    steps: list[Step] = []
    slopes: list[tuple[Region, Expr]] = []
    for region in regions(problem, ends=False):
        loss = collapse(problem.expr, region, clock)
        gate(problem, region, loss, clock)
        slope = slope_of(as_pieces(loss), region)
        _branches_along_p(as_pieces(loss), slope)
        slopes.append((region, slope))
        for variant in variants(slope):
            mixed = to_elementary(derivative(variant, Y))
            found = sign(region.put(mixed), clock=clock)
            if found.sign not in ("-", "<=", "0"):
                raise Stuck(f"dl/dp is not shown to fall as y grows for {region}")
            steps.append(
                Step(
                    f"for {region}: d2l/(dp dy) <= 0",
                    claim(mixed, "<=", sympy.S.Zero, region.ranges, region.given),
                )
            )
        for switch in switches(slope, region, clock):
            if not switch.p0.has(Y):
                continue  # for a fixed p the branch stays the same
            jump = to_elementary((switch.after - switch.before).xreplace({P: switch.p0}))
            up = sign(region.put(collapse(jump, region, clock)), clock=clock).sign
            rising = sign(region.put(derivative(switch.p0, Y)), clock=clock).sign
            if up != "0" and not (up in ("+", ">=") and rising in ("+", ">=")) and not vanishes(jump, clock):
                raise Stuck(f"dl/dp may rise with y where the branch changes, at p = {switch.p0}")
    (region, above), (_, below) = slopes[0], slopes[-1]
    jump = together(to_elementary((above - below).xreplace({P: Y})))
    if not vanishes(jump, clock) and sign(region.put(jump), clock=clock).sign not in ("+", ">="):
        raise Stuck("dl/dp may rise with y at p = y")
    # from y inside to the ends of the targets: the same formula, with a value there
    inside = {sympy.S.Zero: above, sympy.S.One: below}
    for region in regions(problem):
        if region.end is None:
            continue
        there = collapse(inside[region.end].xreplace({Y: region.end}), region, clock)
        loss = collapse(pin(problem.expr, region), region, clock)
        gate(problem, region, loss, clock)
        at_end = slope_of(as_pieces(loss), region)
        _branches_along_p(as_pieces(loss), at_end)
        number = not there.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)
        if not number or not vanishes(there - at_end, clock):
            raise Stuck(f"dl/dp is not shown to be continuous as y -> {region.end}")
    steps.append(Step("so for every p, dl/dp lies between its values at y = 1 and at y = 0"))
    return steps


def _branches_along_p(*exprs: Expr) -> None:
    """Raise Stuck unless all branches change along p: one for some targets alone has slopes of its own there.

    A branch for one prediction alone has a formula whose derivative is not the loss's.
    """
    for expr in exprs:
        for node in expr.atoms(sympy.Piecewise):
            for _, condition in node.args:
                for part in condition.atoms(sympy.core.relational.Relational):
                    place = f"{part.lhs} {part.rel_op} {part.rhs}"
                    if not part.has(P):
                        raise Stuck(f"the loss has a branch of its own for the targets with {place}")
                    if isinstance(part, sympy.Eq | sympy.Ne):
                        raise Stuck(f"the loss has a branch of its own for the predictions with {place}")


def _along_ends(
    problem: Problem, slopes: Mapping[str, Expr], scale: Scale, steps: list[Step], clock: Clock
) -> Largest:
    """One variable is left: enclose |g| at y = 0 and at y = 1, then ask for the exact bound."""
    ends = {name: slopes[name] for name in ("y = 0", "y = 1")}
    peaks = {name: peak(g, clock.part(0.4)) for name, g in ends.items()}
    high = max(k.high for k in peaks.values())
    low = max(k.low for k in peaks.values())
    if high == float("inf"):
        return Largest(
            low, high, Unknown(f"|{scale.slope}| is not shown to be bounded; it reaches {low:.6g}")
        )
    exact, proof = _exact(ends, low, high, clock)
    if exact is not None:
        domain = problem.domain
        return Largest(low, high, Proved("bound at the ends of the targets", domain, (*steps, *proof)), exact)
    return Largest(low, high, _certified(problem, scale, ends, peaks, low, high, steps))


def _certified(
    problem: Problem,
    scale: Scale,
    ends: Mapping[str, Expr],
    peaks: Mapping[str, Peak],
    low: float,
    high: float,
    steps: list[Step],
) -> Verdict:
    pieces: list[Piece] = []
    shown = list(steps)
    for name, g in ends.items():
        text = written(to_elementary(g))
        if text is None:
            continue
        shown.append(Step(f"{name}: {scale.slope} = {text}"))
        for a, b in peaks[name].cells:
            for relation, side in (("<=", high), (">=", -high)):
                said = Claim(text, relation, repr(side), (("p", f"({a!r}, {b!r})"),))
                if a == 0.0 or b == 1.0:  # there the products with logarithms are enclosed as one function
                    shown.append(Step(f"{name}: near the end {said}", said))
                else:
                    pieces.append(Piece((("p", a, b),), text, relation, repr(side)))
    best = max(ends, key=lambda name: peaks[name].low)
    witness = (("p", str(peaks[best].at)),)
    reach = written(sympy.Abs(to_elementary(ends[best])))
    if reach is not None:
        shown.append(Step(f"{low:.6g} is reached", Claim(reach, ">=", repr(low), witness)))
    return Certified(
        f"enclosures of {scale.slope} at y = 0 and y = 1", problem.domain, tuple(shown), tuple(pieces)
    )


def _exact(ends: Mapping[str, Expr], low: float, high: float, clock: Clock) -> tuple[Expr | None, list[Step]]:
    """A closed form that |g| stays below and comes up to: limits at the ends, or values where g' = 0."""
    candidates: dict[Expr, Step] = {}
    for name, g in ends.items():
        for end in (LOW, HIGH):
            found: Limit | None = limit(g, end, clock)
            if found is not None and found.proved and not found.infinite:
                step = Step(f"{name}: the derivative -> {found.text} as {end}", found.claim)
                candidates.setdefault(_size(found.value), step)
        for p in _stationary(g):
            value = _size(to_elementary(g.xreplace({P: p})))
            said = claim(sympy.Abs(g.xreplace({P: p})), "=", value, ())
            candidates.setdefault(value, Step(f"{name}: at p = {p} the size is {written(value)}", said))
    for value, step in candidates.items():
        if value == 0:
            continue
        size = float(ball(value, {}).mid())
        if not low * (1 - 1e-12) <= size <= high * (1 + 1e-12):
            continue
        steps = [step]
        for name, g in ends.items():
            for turn in (1, -1):
                clock.check()
                gap = to_elementary(value - turn * g)
                signed = sign(together(gap.xreplace({P: A / (A + B)})), clock=clock)
                if signed.sign not in ("+", ">=", "0"):
                    break
                side = f"at most {written(value)}" if turn > 0 else f"at least -({written(value)})"
                said = claim(gap, ">=", sympy.S.Zero, (("p", "(0, 1)"),))
                steps += [Step(f"{name}: the derivative is {side}", said), *signed.steps]
            else:
                continue
            break
        else:
            return value, steps
    return None, []


def _size(value: Expr) -> Expr:
    return -value if ball(value, {}) < 0 else value


def _stationary(g: Expr) -> list[Expr]:
    """Rational p in (0, 1) with g'(p) = 0, for rational g."""
    if not g.is_rational_function(P) or g.count_ops() > 60:
        return []
    top = sympy.numer(sympy.together(sympy.diff(g, P)))
    try:
        roots = sympy.Poly(top, P).ground_roots()
    except sympy.PolynomialError:
        return []
    return [r for r in roots if r.is_Rational and 0 < r < 1]


def _over_square(
    problem: Problem, slopes: Mapping[str, Expr], scale: Scale, reason: str, clock: Clock
) -> Largest:
    """Both variables at once: no more than a rough enclosure, and only for continuous losses without branches."""
    low = 0.0
    for y in SAMPLES:
        for k in range(1, 64):
            g = slopes.get("y inside")
            if g is None:
                break
            value = abs(ball(g, {Y: y, P: Fraction(k, 64)}))
            if value.is_finite():
                low = max(low, float(value.lower()))
    g = slopes.get("y inside")
    if g is None or g.has(sympy.Piecewise, sympy.sign, sympy.Abs):
        return Largest(low, float("inf"), Unknown(reason))
    try:
        _one_formula(problem, slopes, clock)
    except Stuck as stuck:
        return Largest(low, float("inf"), Unknown(f"{reason}; {stuck}" if str(stuck) != reason else reason))
    try:
        found = bounds(g, (Y, P), ((0.0, 1.0), (0.0, 1.0)), clock=clock.part(0.3), rel=0.02, most=400)
    except LossproofError as error:
        return Largest(low, float("inf"), Unknown(f"{error}"))
    high = max(-found.infimum[0], found.supremum[1])
    low = max(low, -found.infimum[1], found.supremum[0])
    if not high < float("inf"):
        return Largest(low, float("inf"), Unknown(f"{reason}; {scale.slope} is not shown to be bounded"))
    pieces: list[Piece] = []
    top = sympy.Rational(high * 1.01)
    for gap in (top - g, top + g):
        cover = sign_cover([gap], ">=", (Y, P), ((0.0, 1.0), (0.0, 1.0)), clock=clock.part(0.3), most=4000)
        if not cover.complete:
            return Largest(low, float("inf"), Unknown(f"{reason}; {cover.count} boxes did not settle it"))
        pieces += cover.pieces
    verdict = Certified(f"enclosures of {scale.slope}", problem.domain, (), tuple(pieces))
    return Largest(low, float(top), verdict)


def _one_formula(problem: Problem, slopes: Mapping[str, Expr], clock: Clock) -> None:
    """Show that the loss is continuous in p for every target, with one formula of the derivative. Else raises Stuck."""
    for region in regions(problem):
        loss = collapse(pin(problem.expr, region), region, clock)
        gate(problem, region, loss, clock)
        _branches_along_p(as_pieces(loss))
        if region.end is None:
            continue
        there = to_elementary(slopes["y inside"].xreplace({Y: region.end}))
        at_end = slopes.get(f"y = {region.end}")
        number = not there.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)
        if at_end is None or not number or not vanishes(there - at_end, clock):
            raise Stuck(f"the derivative is not shown to be continuous as y -> {region.end}")


def _terms(expr: Expr) -> list[Expr]:
    """The terms of a sum; what stands in front of a sum of logarithms is multiplied in."""
    if expr.is_Add:
        return [t for a in expr.args for t in _terms(a)]
    for factor in expr.args if expr.is_Mul else ():
        alone = len(expr.args) == 2 and expr.args[0].is_Number
        if factor.is_Add and (alone or any(isinstance(a, sympy.log) for a in factor.args)):
            return [t for a in factor.args for t in _terms(expr / factor * a)]
    return [expr]


def _split_logs(expr: Expr) -> Expr:
    """Write log(c x) as log(c) + log(x) for numbers c > 0: equal logarithms can then cancel."""
    found = {}
    for log in expr.atoms(sympy.log):
        if log.args[0].is_Add or log.args[0].is_Mul:
            c, x = log.args[0].as_content_primitive()
            if c.is_Rational and c > 0 and c != 1:
                found[log] = sympy.log(c) + sympy.log(x)
    return expr.xreplace(found)


__all__ = ["SCALES", "Largest", "Scale", "ends_suffice", "largest", "lines"]
