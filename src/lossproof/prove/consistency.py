"""What minimises E[loss(Y, p)] when the target Y is noisy: the mean, a quantile, a transformed mean, or something else.

If dl/dp = h(p) (F(p) - G(y)) with h > 0 and F increasing, then E[loss(Y, p)] is least at F(p) = E G(Y) for every law
of Y: loss(y, p) - loss(y, q) is the integral of h (F - G(y)) from q to p, and expectation is linear. The two sides
separate exactly where l_py l_pyyp = l_pyy l_pyp; h, F and G then follow without integration and are put back.
Osband's principle, see Gneiting, JASA 106, 2011, https://doi.org/10.1198/jasa.2011.r10138.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import sympy

from lossproof.formula import Certified, LossproofError, Piece, Proved, Step, Unknown, Verdict
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.unparse import unparse
from lossproof.formula.verdict import Ranges
from lossproof.prove.axis import (
    Cell,
    Shown,
    alone,
    generator,
    inverse,
    meets,
    odd,
    positive,
    split_logs,
    tidy,
)
from lossproof.prove.ball import ball, sign_at
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import collapse
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate
from lossproof.prove.identity import vanishes
from lossproof.prove.laws import mean_beaten, median_beaten
from lossproof.prove.minimum import pin
from lossproof.prove.problem import Line, Problem
from lossproof.prove.regions import R, Region, regions

Expr = Any
WHAT = "what minimises E[loss(Y, p)]"
MEAN = "the mean of Y minimises E[loss(Y, p)]"
NO_MEAN = "dl/dp is not h(p)*(F(p) - G(y)): a transformed mean E[G(Y)] does not say where E[loss(Y, p)] is stationary"
MEDIAN = "every median of Y minimises E[loss(Y, p)]"
_BAD = (sympy.zoo, sympy.nan, sympy.oo)
_SHORT = 12  # operations of F up to which the sign of F' is sought first
_ANCHORS = tuple(sympy.Rational(t) for t in ("1/2", "1/3", "2/3", "1/4", "3/5"))


@dataclass(frozen=True)
class Found:
    """What minimises the expected loss in one case of the free parameters."""

    functional: str
    statement: str
    verdict: Verdict
    details: Mapping[str, Any] = field(default_factory=dict)
    inverse: Expr | None = None  # p as a function of the mean, in y


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The lines "consistency", "mean" and "median"."""
    start = time.monotonic()
    found = functional(problem, clock)
    details = {"functional": found.functional, **found.details}
    yield Line("consistency", found.statement, found.verdict, details, time.monotonic() - start)
    start = time.monotonic()
    yes = isinstance(found.verdict, Proved | Certified)
    is_mean = yes and found.functional == "mean"
    mean = found.verdict if is_mean else mean_beaten(problem, clock)
    reason = (
        found.verdict.reason
        if isinstance(found.verdict, Unknown)
        else "no law of Y was found that shows otherwise"
    )
    yield Line("mean", MEAN, Unknown(reason) if mean is None else mean, {}, time.monotonic() - start)
    start = time.monotonic()
    is_median = yes and found.functional == "median"
    level = found.details.get("level")
    median = found.verdict if is_median else median_beaten(problem, clock, level)
    yield Line("median", MEDIAN, Unknown(reason) if median is None else median, {}, time.monotonic() - start)


def functional(problem: Problem, clock: Clock) -> Found:
    """What minimises the expected loss, for all values of the free parameters."""
    cases: dict[tuple[tuple[Expr, Expr], ...], list[Region]] = {}
    for region in regions(problem):
        cases.setdefault(region.parameters, []).append(region)
    found = []
    for part in cases.values():
        clock.check()
        found.append(_case(problem, part, clock))
    names = {f.functional for f in found}
    if len(names) > 1 or (len(found) > 1 and len({f.statement for f in found}) > 1):
        same = _location(problem, problem.expr, clock)
        if same is not None:
            return same
        names_text = "; ".join(dict.fromkeys(f.statement for f in found))
        return Found("other", WHAT, Unknown(f"it differs with the parameters: {names_text}"))
    unsure = next((f for f in found if isinstance(f.verdict, Unknown)), None)
    if unsure is not None or len(found) == 1:
        return unsure or found[0]
    steps = tuple(dict.fromkeys(s for f in found for s in getattr(f.verdict, "steps", ())))
    pieces = tuple(p for f in found for p in getattr(f.verdict, "pieces", ()))
    last = found[-1]
    verdict = (
        Certified(last.verdict.method, last.verdict.domain, steps, pieces)
        if pieces
        else replace(last.verdict, steps=steps)
    )
    return replace(last, verdict=verdict)


def _case(problem: Problem, part: list[Region], clock: Clock) -> Found:
    inner = [r for r in part if r.end is None]
    losses = [collapse(pin(problem.expr, r), r, clock) for r in inner]
    above, below = losses
    kinked = any(as_pieces(loss).has(sympy.Piecewise) for loss in losses)
    location = lambda: _location(problem, pin(problem.expr, inner[0]), clock)  # noqa: E731
    if kinked and not _only_in_p(losses):
        return location() or _other("a kink or branch away from p = y that depends on y")
    try:
        gated = (
            []
            if kinked
            else [s for r, loss in zip(inner, losses, strict=True) for s in gate(problem, r, loss, clock)]
        )
    except Stuck as stuck:
        return _other(f"{stuck}")
    if kinked:
        return (
            _separated(problem, part, above, [], clock) or location() or _other("the pieces do not separate")
        )
    if to_elementary(above) != to_elementary(below) and not vanishes(above - below, clock):
        return (
            _quantile(problem, inner, losses, gated, clock)
            or location()
            or _other("both sides of p = y differ")
        )
    if not to_elementary(above).has(P):
        return _other("the loss does not depend on p")
    found = _separated(problem, part, above, gated, clock)
    if found is None or isinstance(found.verdict, Unknown):
        return location() or found or _not_separable(problem, inner[0], above)
    return found


def _other(reason: str) -> Found:
    return Found("other", WHAT, Unknown(reason))


def _only_in_p(losses: list[Expr]) -> bool:
    """Branches that the prediction alone decides, the same on both sides of the diagonal."""
    first, second = (as_pieces(loss) for loss in losses)
    conditions = [c for loss in (first, second) for node in loss.atoms(sympy.Piecewise) for _, c in node.args]
    return first == second and not any(c.has(Y) for c in conditions)


# --- dl/dp = h(p) (F(p) - G(y)) ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """dl/dp = h(p) (F(p) - G(y)); ``kind`` is "mean", "link" (G(y) = y), "transform" (F = G) or "both"."""

    h: Expr
    f: Expr
    g: Expr
    kind: str
    affine: tuple[Expr, Expr] | None = None  # dl/dp = s0(p) + y s1(p), of a link


def separate(slope: Expr, clock: Clock, region: Region | None = None) -> Parts | None:
    """Write a slope in y and p as h(p) (F(p) - G(y)), put back and shown; None where that is not shown.

    Logs of products are split where ``region`` shows their factors to be positive.

    >>> parts = separate((P - Y)/(P*(1 - P)), Clock.for_ever())
    >>> print(parts.kind, sympy.factor(parts.h - 1/(P*(1 - P))))
    mean 0
    """
    slope = split_logs(slope, region, clock)
    by_y = to_elementary(derivative(slope, Y))
    clock.check()
    by_yy = sympy.expand(derivative(by_y, Y)) if by_y.count_ops() < 200 else derivative(by_y, Y)
    if by_y == 0:
        return None
    if by_yy == 0:
        return _affine(sympy.expand(by_y), slope, clock)
    by_yp = derivative(by_y, P)
    if not vanishes(by_y * derivative(by_yy, P) - by_yy * by_yp, clock):
        return None
    for y0 in _ANCHORS:
        for p0 in _ANCHORS[1:]:
            clock.check()
            h = tidy(-by_y.xreplace({Y: y0}))
            at_p0 = h.xreplace({P: p0})
            if h.has(*_BAD) or at_p0.has(*_BAD) or at_p0 == 0:
                continue
            if not at_p0.free_symbols and not sign_at(at_p0):
                continue
            g = tidy(-slope.xreplace({P: p0}) / at_p0)
            f = tidy(slope.xreplace({Y: y0}) / h + g.xreplace({Y: y0}))
            if any(e.has(*_BAD) for e in (f, g)):
                continue
            f, g = (split_logs(e, region, clock) for e in (f, g))
            parts = _standard(h, f, g, clock)
            return parts if vanishes(slope - parts.h * (parts.f - parts.g), clock) else None
    return None


def _affine(by_y: Expr, slope: Expr, clock: Clock) -> Parts | None:
    """dl/dp = s0(p) + y s1(p): h = -s1, F = s0/h, G(y) = y."""
    rest = sympy.expand(slope - Y * by_y)
    if by_y.has(Y) or rest.has(Y):
        by_y, rest = tidy(by_y), tidy(rest)
    if by_y.has(Y) or rest.has(Y) or by_y == 0:
        return None
    if vanishes(rest + P * by_y, clock):
        return Parts(tidy(-by_y), P, Y, "mean")
    return Parts(tidy(-by_y), tidy(-rest / by_y), Y, "link", (rest, by_y))


def _standard(h: Expr, f: Expr, g: Expr, clock: Clock) -> Parts:
    """Without needless constants: G(y) = y where it is affine, h and F alike where F = G."""
    if vanishes(derivative(derivative(g, Y), Y), clock):
        scale = tidy(derivative(g, Y))
        shift = tidy(g - scale * Y)
        h, f, g = tidy(h * scale), tidy((f - shift) / scale), Y
        return Parts(h, P, Y, "mean") if vanishes(f - P, clock) else Parts(h, f, Y, "link")
    g = sympy.expand(sympy.expand_log(g)) if not g.has(sympy.exp) else sympy.expand(g)
    shift, rest = g.as_independent(Y, as_Add=True)
    scale, rest = rest.as_independent(Y, as_Add=False)
    content, rest = rest.as_content_primitive()
    scale *= content
    if scale.could_extract_minus_sign():
        scale, rest = -scale, -rest
    h, f, g = tidy(h * scale), tidy((f - shift) / scale), rest
    if vanishes(f - g.xreplace({Y: P}), clock):
        return Parts(h, g.xreplace({Y: P}), g, "transform")
    return Parts(h, f, g, "both")


def _separated(
    problem: Problem, part: list[Region], loss: Expr, gated: list[Step], clock: Clock
) -> Found | None:
    """The functional of a loss that has one formula on both sides of p = y; branches may hang on p alone."""
    pieces = as_pieces(loss)
    cells, steps = alone(problem, part[0].parameters), list(gated)
    if pieces.has(sympy.Piecewise):
        try:
            pieces, cells, joins = meets(pieces, cells, clock)
        except Stuck as stuck:
            return _other(f"{stuck}")
        steps += joins
    slope = part[0].fix(derivative(pieces, P))
    parts = separate(slope, clock, part[0])
    if parts is None:
        return None
    ranges = part[0].ranges
    rest = ranges[2:]
    identity = claim(slope, "=", parts.h * (parts.f - parts.g), ranges)
    steps = [
        Step(f"dl/dp = h(p)*(F(p) - G(y)) with h = {parts.h}, F = {parts.f}, G = {parts.g}", identity),
        *steps,
    ]
    boxes: list[Piece] = []
    for cell in cells:
        shown = _increasing(parts, problem, cell, rest, clock)
        if isinstance(shown, str):
            rises = to_elementary(derivative(parts.f, P))
            return _border(parts) if vanishes(rises, clock) else _other(shown)
        steps += shown.steps
        boxes += shown.pieces
    closed, more = _ends(problem, part, parts, clock)
    steps += more
    statement, details, inv = _named(parts, cells, clock)
    steps.append(Step(
        "loss(y, p) - loss(y, q) is the integral of h*(F - G(y)) from q to p; its expectation is not negative where "
        "F(q) = E G(Y), because F increases and h > 0"
    ))  # fmt: skip
    domain = problem.domain + closed
    method = "separation of dl/dp"
    verdict: Verdict = (
        Certified(method, domain, tuple(steps), tuple(boxes))
        if boxes
        else Proved(method, domain, tuple(steps))
    )
    return Found(details.pop("functional"), statement, verdict, details, inv)


def _increasing(parts: Parts, problem: Problem, cell: Cell, rest: Ranges, clock: Clock) -> Shown | str:
    """Show h > 0 and F' > 0 on a cell; the reason where that is not shown."""
    where = (("p", str(cell)), *rest)
    wanted = [("h", ">", parts.h)]
    if parts.f != P:
        wanted.append(("F'", ">", tidy(to_elementary(derivative(parts.f, P)))))
    if parts.affine is not None and parts.f.count_ops() > _SHORT:
        # s0 + y s1 < 0 at the upper end of the targets, > 0 at the lower one, both growing: so does F, their quotient
        s0, s1 = parts.affine
        ends = [sympy.Rational(t) for t in (problem.target.low, problem.target.high) if abs(t) < float("inf")]
        if len(ends) == 2:
            low, high = (to_elementary(s0 + t * s1) for t in ends)
            pairs = [(f"dl/dp at y = {ends[0]}", ">", low), (f"dl/dp at y = {ends[1]}", "<", high)]
            pairs += [
                (f"d2l/dp2 at y = {t}", ">", derivative(e, P)) for t, e in zip(ends, (low, high), strict=True)
            ]
            shown = _all(pairs, cell, where, clock)
            if isinstance(shown, Shown):
                last = Step(f"so h > 0 and F, between {ends[0]} and {ends[1]}, increases for p in {cell}")
                return Shown((*shown.steps, last), shown.pieces)
    return _all(wanted, cell, where, clock)


def _all(wanted: list[tuple[str, str, Expr]], cell: Cell, where: Ranges, clock: Clock) -> Shown | str:
    steps: list[Step] = []
    boxes: list[Piece] = []
    for name, relation, expr in wanted:
        shown = positive(expr, cell, clock, relation=relation)
        if shown is None:
            return f"dl/dp = h(p)*(F(p) - G(y)), but {name} {relation} 0 is not shown for p in {cell}: {name} = {expr}"
        steps += [
            Step(f"{name} {relation} 0 for p in {cell}", claim(expr, relation, sympy.S.Zero, where)),
            *shown.steps,
        ]
        boxes += shown.pieces
    return Shown(tuple(steps), tuple(boxes))


def _border(parts: Parts) -> Found:
    text = "E[loss(Y, p)] grows or falls throughout, as E Y lies on one side of a constant: least at an end"
    return Found("other", WHAT, Unknown(f"{text} (dl/dp = h*({parts.f} - {parts.g}))"))


def _ends(problem: Problem, part: list[Region], parts: Parts, clock: Clock) -> tuple[str, list[Step]]:
    """Targets at the closed ends: the same h, F and G there, or left out of the domain."""
    words, steps = "", []
    for region in part:
        if region.end is None:
            continue
        base = pin(problem.expr, region)
        if to_elementary(base).has(sympy.zoo, sympy.oo, sympy.nan):
            words += f", y != {region.end} (the loss is infinite there)"
            continue
        slope = region.fix(derivative(as_pieces(collapse(base, region, clock)), P))
        if slope.has(sympy.Piecewise):
            slope = region.fix(derivative(_generic(as_pieces(collapse(base, region, clock))), P))
        at_end = parts.g.xreplace({Y: region.end})
        there = parts.h * (parts.f - at_end)
        if there.has(sympy.zoo, sympy.oo, sympy.nan) or not vanishes(slope - there, clock):
            words += f", y != {region.end} (not shown there)"
            continue
        steps.append(
            Step(f"dl/dp = h*(F - G) at y = {region.end} too", claim(slope, "=", there, region.ranges))
        )
    return words, steps


def _generic(expr: Expr) -> Expr:
    """A where that singles out one point p = c, without that point."""
    for node in expr.atoms(sympy.Piecewise):
        if len(node.args) == 2 and isinstance(node.args[0][1], sympy.Eq | sympy.Ne):
            expr = expr.xreplace({node: node.args[isinstance(node.args[0][1], sympy.Eq)][0]})
    return expr


def _named(parts: Parts, cells: list[Cell], clock: Clock) -> tuple[str, dict[str, Any], Expr | None]:
    h, f, g = (_formula(e) for e in (parts.h, parts.f, parts.g))
    if parts.kind == "mean":
        details = {"functional": "mean", "generator": h, "phi": _formula(generator(parts.h, clock))}
        return MEAN, details, Y
    inv = inverse(parts.f, cells, clock)
    shown = _formula(inv.xreplace({Y: sympy.Symbol("m", real=True)})) if inv is not None else None
    if parts.kind == "link":
        which = shown.replace("m", "E[Y]") if shown and "max" not in shown else "F^-1(E[Y])"
        details = {"functional": "mean through a link", "link": f, "inverse": shown, "weight": h}
        return f"p = {which} minimises E[loss(Y, p)]" + (f", F(p) = {f}" if not shown else ""), details, inv
    if parts.kind == "transform":
        details = {"functional": "transformed mean", "transform": g, "inverse": shown, "weight": h}
        return f"p = G^-1(E[G(Y)]) minimises E[loss(Y, p)], G(y) = {g}", details, None
    details = {"functional": "transformed mean", "transform": g, "link": f, "inverse": shown, "weight": h}
    return f"p = F^-1(E[G(Y)]) minimises E[loss(Y, p)], G(y) = {g}, F(p) = {f}", details, None


def _formula(expr: Expr | None) -> str | None:
    try:
        return None if expr is None else unparse(expr)
    except LossproofError:
        return None


# --- kinks at p = y, functions of p - y -------------------------------------------------------------------------


def _quantile(
    problem: Problem, inner: list[Region], losses: list[Expr], gated: list[Step], clock: Clock
) -> Found | None:
    """Slopes (1 - tau) h(p) above and -tau h(p) below the target, h > 0."""
    slopes = {r.side: r.fix(derivative(loss, P)) for r, loss in zip(inner, losses, strict=True)}
    up, down = slopes[">"], slopes["<"]
    if up.has(Y) or down.has(Y):
        up, down = tidy(up), tidy(down)
    if up.has(Y) or down.has(Y):
        return None
    level = tidy(-down / (up - down)) if up != down else sympy.nan
    if level.has(P, sympy.nan, sympy.zoo) or not vanishes(level * (up - down) + down, clock):
        return None
    steps = [*gated]
    for region in inner:
        steps.append(Step(f"for {region}: dl/dp = {slopes[region.side]}",
                          claim(slopes[region.side], ">" if region.side == ">" else "<", sympy.S.Zero,
                                region.ranges, region.given)))  # fmt: skip
    for expr in (up, -down):
        for cell in alone(problem, inner[0].parameters):
            shown = positive(expr, cell, clock)
            if shown is None or shown.pieces:
                return None
            steps += shown.steps
    half = level == sympy.Rational(1, 2)
    name = "median" if half else "quantile"
    text = MEDIAN if half else f"every {unparse(level)}-quantile of Y minimises E[loss(Y, p)]"
    steps.append(Step(
        f"dl/dp has the same expectation as h(p)*(P(Y < p) - {level}) up to P(Y = p): it changes sign at the {level}-quantiles",
        claim(level, "=", -down / (up - down), inner[0].ranges[1:]),
    ))  # fmt: skip
    details = {"functional": name, "level": unparse(level), "weight": unparse(tidy(up - down))}
    words = _ends_of_kink(problem, inner, up, down, clock)
    return Found(name, text, Proved("one-sided slopes", problem.domain + words, tuple(steps)), details)


def _ends_of_kink(problem: Problem, inner: list[Region], up: Expr, down: Expr, clock: Clock) -> str:
    words = ""
    for region in regions(problem):
        if region.end is None or region.parameters != inner[0].parameters:
            continue
        base = pin(problem.expr, region)
        if to_elementary(base).has(sympy.zoo, sympy.oo, sympy.nan):
            words += f", y != {region.end} (the loss is infinite there)"
            continue
        slope = region.fix(derivative(collapse(base, region, clock), P))
        if not vanishes(slope - (up if region.side == ">" else down), clock):
            words += f", y != {region.end} (not shown there)"
    return words


def _location(problem: Problem, expr: Expr, clock: Clock) -> Found | None:
    """loss(y, p) = rho(p - y) + c(y)."""
    shifted = expr.xreplace({P: Y + R})
    if shifted.has(Y):
        if as_pieces(expr).has(sympy.Piecewise):
            return None
        slope = derivative(expr, P)
        if not vanishes(derivative(slope, Y) + derivative(slope, P), clock):
            return None
        rho, psi = (
            None,
            tidy(to_elementary(slope.xreplace({P: sympy.Rational(1, 2) + R, Y: sympy.Rational(1, 2)}))),
        )
        identity = claim(
            to_elementary(slope), "=", psi.xreplace({R: P - Y}), (("y", "(0, 1)"), ("p", "(0, 1)"))
        )
        step = Step(f"dl/dp depends on r = p - y only: psi(r) = {psi}", identity)
    else:
        rho, psi = shifted, to_elementary(derivative(shifted, R))
        step = Step(f"loss(y, p) = rho(p - y) with rho(r) = {to_elementary(shifted)}",
                    claim(to_elementary(expr), "=", to_elementary(shifted).xreplace({R: P - Y}),
                          (("y", "(0, 1)"), ("p", "(0, 1)"))))  # fmt: skip
    if psi.has(sympy.nan, sympy.zoo):
        return None
    text = "loss(y, p) is a function of p - y up to c(y): a location M-estimate of Y minimises E[loss(Y, p)]"
    details = {
        "functional": "location M-estimator",
        "psi": _formula(psi),
        "odd": True if rho is not None and rho.xreplace({R: -R}) == rho else odd(psi, clock),
    }
    return Found("location M-estimator", text, Proved("function of p - y", problem.domain, (step,)), details)


def _not_separable(problem: Problem, region: Region, loss: Expr) -> Found:
    """A point at which dl/dp = h(p) (F(p) - G(y)) is impossible: no transformed mean, whatever the transformation."""
    slope = region.fix(derivative(loss, P))
    by_y = derivative(slope, Y)
    by_yy, by_yp = derivative(by_y, Y), derivative(by_y, P)
    test = by_y * derivative(by_yy, P) - by_yy * by_yp
    if problem.free:
        return _other("dl/dp is not shown to be h(p)*(F(p) - G(y))")
    for y, p in (
        (Fraction(1, 3), Fraction(3, 5)),
        (Fraction(3, 4), Fraction(1, 5)),
        (Fraction(1, 2), Fraction(2, 5)),
    ):
        if sign_at(test, {Y: y, P: p}):
            said = claim(test, "!=", sympy.S.Zero, (("y", str(y)), ("p", str(p))))
            step = Step(
                f"at y = {y}, p = {p}: l_py*l_pyyp - l_pyy*l_pyp = {ball(test, {Y: y, P: p}).str(8)}, not 0",
                said,
            )
            end = Step("were dl/dp = h(p)*(F(p) - G(y)), the difference would be 0 everywhere")
            return Found("other", NO_MEAN, Proved("one point", problem.domain, (step, end)))
    return _other("dl/dp is not shown to be h(p)*(F(p) - G(y))")
