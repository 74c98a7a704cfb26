"""dl/dp = h(p) (F(p) - G(y)): finding h, F and G without integration, and showing h > 0 and F increasing."""

from dataclasses import dataclass
from typing import Any

import sympy

from lossproof.formula import Piece, Step
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.verdict import Ranges
from lossproof.prove.axis import Cell, Shown, positive, split_logs, tidy
from lossproof.prove.ball import sign_at
from lossproof.prove.clock import Clock
from lossproof.prove.continuity import claim
from lossproof.prove.identity import vanishes
from lossproof.prove.problem import Problem
from lossproof.prove.regions import Region

Expr = Any
_BAD = (sympy.zoo, sympy.nan, sympy.oo)
_SHORT = 12  # operations of F up to which the sign of F' is sought first
_ANCHORS = tuple(sympy.Rational(t) for t in ("1/2", "1/3", "2/3", "1/4", "3/5"))


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


def increasing(parts: Parts, problem: Problem, cell: Cell, rest: Ranges, clock: Clock) -> Shown | str:
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


__all__ = ["Parts", "increasing", "separate"]
