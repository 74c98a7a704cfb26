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
from lossproof.prove.axis import (
    Cell,
    alone,
    both,
    branches,
    generator,
    inverse,
    meets,
    odd,
    positive,
    targets,
    tidy,
)
from lossproof.prove.ball import ball, sign_at
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import collapse
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate
from lossproof.prove.defined import defined
from lossproof.prove.identity import vanishes
from lossproof.prove.laws import mean_beaten, median_beaten
from lossproof.prove.minimum import pin
from lossproof.prove.problem import Line, Problem, undefined_at
from lossproof.prove.regions import R, Region, regions
from lossproof.prove.separation import Parts, increasing, separate

Expr = Any
WHAT = "what minimises E[loss(Y, p)]"
MEAN = "the mean of Y minimises E[loss(Y, p)]"
NO_MEAN = "dl/dp is not h(p)*(F(p) - G(y)): a transformed mean E[G(Y)] does not say where E[loss(Y, p)] is stationary"
MEDIAN = "every median of Y minimises E[loss(Y, p)]"


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
    if not isinstance(last.verdict, Proved | Certified):
        return last
    method, domain = last.verdict.method, last.verdict.domain
    verdict = Certified(method, domain, steps, pieces) if pieces else Proved(method, domain, steps)
    return replace(last, verdict=verdict)


def _case(problem: Problem, part: list[Region], clock: Clock) -> Found:
    inner = [r for r in part if r.end is None]
    losses = [collapse(pin(problem.expr, r), r, clock) for r in inner]
    above, below = losses
    kinked = any(as_pieces(loss).has(sympy.Piecewise) for loss in losses)

    def location() -> Found | None:
        return _location(problem, pin(problem.expr, inner[0]), clock)

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
        found = _separated(problem, part, above, [], clock)
        if found is None or isinstance(found.verdict, Unknown):
            found = _mean_on_cells(problem, part, above, clock) or found
        return found or _other("the branches do not separate")
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
        for cell in cells:
            finite = _finite(problem, pieces, cell, clock)
            if finite is None:
                return _other(f"the loss is not shown to be finite and continuous for p in {cell}")
            steps += finite
    slope = part[0].fix(derivative(pieces, P))
    parts = separate(slope, clock, part[0])
    if parts is None:
        return None
    ranges = part[0].ranges
    rest = ranges[2:]
    spans = [tuple((n, str(k)) if n == "p" else (n, w) for n, w in ranges) for k in cells]
    identities = [claim(slope, "=", parts.h * (parts.f - parts.g), span) for span in spans]
    text = f"dl/dp = h(p)*(F(p) - G(y)) with h = {parts.h}, F = {parts.f}, G = {parts.g}"
    steps = [*(Step(text, said) for said in identities), *steps]
    boxes: list[Piece] = []
    for cell in cells:
        shown = increasing(parts, problem, cell, rest, clock)
        if isinstance(shown, str):
            rises = to_elementary(derivative(parts.f, P))
            return _border(parts) if vanishes(rises, clock) else _other(shown)
        steps += shown.steps
        boxes += shown.pieces
    closed, more = _ends(problem, part, parts, cells, clock)
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


def _finite(problem: Problem, loss: Expr, cell: Cell, clock: Clock) -> list[Step] | None:
    """Steps that show a loss real, finite and continuous for p in a cell; None if that is not shown."""
    plain = to_elementary(loss)
    if plain.is_polynomial(Y):
        parts = [cell.put(c) for c in sympy.Poly(plain, Y).all_coeffs()]
    else:
        parts = [both(plain, targets(problem, cell.parameters), cell)]
    steps: list[Step] = []
    for part in parts:
        found = defined(part, clock=clock)
        if found is None:
            return None
        steps += found
    return steps


def _mean_on_cells(problem: Problem, part: list[Region], loss: Expr, clock: Clock) -> Found | None:
    """Branches in p alone, on each of which dl/dp = h(p) (p - y) with h >= 0: least at the mean, maybe elsewhere too."""
    pieces = as_pieces(loss)
    made = branches(pieces, alone(problem, part[0].parameters))
    if made is None:
        return None
    steps: list[Step] = []
    boxes: list[Piece] = []
    try:
        for region in (r for r in part if r.end is None):
            steps += gate(problem, region, loss, clock)
    except Stuck:
        return None
    for cell, form in made:
        clock.check()
        slopes = [(part[0], part[0].fix(derivative(form, P)))]
        parts = separate(slopes[0][1], clock, part[0]) if slopes[0][1] != 0 else None
        h = (
            sympy.S.Zero
            if slopes[0][1] == 0
            else parts.h
            if parts is not None and parts.kind == "mean"
            else None
        )
        if h is None:
            return None
        for region in part:
            if region.end is not None:
                ending = branches(as_pieces(pin(problem.expr, region)), [cell])
                if ending is None or len(ending) != 1:
                    return None
                slopes.append((region, region.fix(derivative(ending[0][1], P))))
        for region, slope in slopes:
            wanted = h * (P - (Y if region.end is None else region.end))
            if not vanishes(slope - wanted, clock):
                return None
            where = (*(r for r in region.ranges if r[0] not in "yp"), ("p", str(cell)))
            where = (("y", "(0, 1)"), *where) if region.end is None else where
            steps.append(
                Step(f"for {region}, p in {cell}: dl/dp = {wanted}", claim(slope, "=", wanted, where))
            )
        shown = positive(h, cell, clock, relation=">=")
        if shown is None:
            return None
        steps += [
            Step(f"{h} >= 0 for p in {cell}", claim(h, ">=", sympy.S.Zero, (("p", str(cell)),))),
            *shown.steps,
        ]
        boxes += shown.pieces
    steps.append(Step("so E dl/dp is not positive below the mean of Y and not negative above it"))
    method = "separation of dl/dp on each branch"
    verdict: Verdict = Proved(method, problem.domain, tuple(steps))
    if boxes:
        verdict = Certified(method, problem.domain, tuple(steps), tuple(boxes))
    return Found("mean", MEAN, verdict, {"generator": None, "phi": None}, Y)


def _border(parts: Parts) -> Found:
    text = "E[loss(Y, p)] grows or falls throughout, as E Y lies on one side of a constant: least at an end"
    return Found("other", WHAT, Unknown(f"{text} (dl/dp = h*({parts.f} - {parts.g}))"))


def _ends(
    problem: Problem, part: list[Region], parts: Parts, cells: list[Cell], clock: Clock
) -> tuple[str, list[Step]]:
    """Targets at the closed ends: the same h, F and G there, or left out of the domain."""
    words, steps = "", []
    for region in part:
        if region.end is None:
            continue
        base = pin(problem.expr, region)
        if undefined_at(problem.expr, region.fixed):
            words += f", y != {region.end} (the loss is infinite there)"
            continue
        slope = region.fix(derivative(as_pieces(collapse(base, region, clock)), P))
        if slope.has(sympy.Piecewise):
            slope = region.fix(derivative(generic(as_pieces(collapse(base, region, clock))), P))
        at_end = parts.g.xreplace({Y: region.end})
        there = parts.h * (parts.f - at_end)
        if there.has(sympy.zoo, sympy.oo, sympy.nan) or not vanishes(slope - there, clock):
            words += f", y != {region.end} (not shown there)"
            continue
        text = f"dl/dp = h*(F - G) at y = {region.end} too"
        for cell in cells:
            span = tuple((n, str(cell)) if n == "p" else (n, w) for n, w in region.ranges)
            steps.append(Step(text, claim(slope, "=", there, span)))
    return words, steps


def generic(expr: Expr) -> Expr:
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
        f"E dl/dp is h(p)*(P(Y < p) - {level}) up to P(Y = p): it changes its sign at the {level}-quantiles",
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
        if undefined_at(problem.expr, region.fixed):
            words += f", y != {region.end} (the loss is infinite there)"
            continue
        slope = region.fix(derivative(collapse(base, region, clock), P))
        if not vanishes(slope - (up if region.side == ">" else down), clock):
            words += f", y != {region.end} (not shown there)"
    return words


def _location(problem: Problem, expr: Expr, clock: Clock) -> Found | None:
    """loss(y, p) = rho(p - y) + c(y)."""
    shifted = expr.xreplace({P: Y + R})
    ranges = next(regions(problem, ends=False)).ranges
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
        identity = claim(to_elementary(slope), "=", psi.xreplace({R: P - Y}), ranges)
        step = Step(f"dl/dp depends on r = p - y only: psi(r) = {psi}", identity)
    else:
        rho, psi = shifted, to_elementary(derivative(shifted, R))
        step = Step(f"loss(y, p) = rho(p - y) with rho(r) = {to_elementary(shifted)}",
                    claim(to_elementary(expr), "=", to_elementary(shifted).xreplace({R: P - Y}),
                          ranges))  # fmt: skip
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
