"""Where a formula changes its branch, and whether it is continuous there: the gate before any use of a derivative."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sympy

from lossproof.formula import Claim, LossproofError, Step
from lossproof.formula.functions import derivative, maximum, minimum, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.unparse import unparse
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import branches_of, collapse, sign_on
from lossproof.prove.defined import defined
from lossproof.prove.identity import vanishes
from lossproof.prove.problem import Problem
from lossproof.prove.regions import A, B, Region, together
from lossproof.prove.sign import sign

Expr = Any
_KINKS = (sympy.Abs, maximum, minimum, sympy.Max, sympy.Min)
_MOST = 64  # choices of branches that are looked at


class Stuck(Exception):
    """A step that could not be shown, with the reason."""


@dataclass(frozen=True)
class Switch:
    """A place p0(y) where the loss changes its branch; ``before`` holds for p below it, ``after`` above it."""

    p0: Expr
    before: Expr
    after: Expr
    point: bool = False  # another value at p0 alone


def as_pieces(expr: Expr) -> Expr:
    """Every abs, maximum and minimum that is left as a where around the whole expression: a tree of smooth branches.

    >>> from lossproof.formula.functions import clip
    >>> print(as_pieces(clip(P, 0, 1)**2))
    Piecewise((Piecewise((p**2, p <= 1), (1, True)), p >= 0), (0, True))
    """
    kinks = [k for k in expr.atoms(*_KINKS) if not any(a.has(*_KINKS) for a in k.args)]
    if not kinks:
        return expr
    kink = min(kinks, key=lambda k: (k.count_ops(), str(k)))
    value, condition, other = _two_sides(kink)
    return sympy.Piecewise(
        (as_pieces(expr.xreplace({kink: value})), condition), (as_pieces(expr.xreplace({kink: other})), True)
    )


def _two_sides(kink: Expr) -> tuple[Expr, Expr, Expr]:
    """One branch of a kink, when it holds, and the other branch."""
    if isinstance(kink, sympy.Abs):
        u = kink.args[0]
        return u, u >= 0, -u
    first, *rest = kink.args
    second = rest[0] if len(rest) == 1 else kink.func(*rest)
    larger = isinstance(kink, maximum | sympy.Max)
    return first, first >= second if larger else first <= second, second


def plain_conditions(expr: Expr) -> Expr:
    """Kinks in the conditions of wheres resolved, all others left: they are continuous whatever their arguments do."""
    if not expr.args or not expr.has(sympy.Piecewise):
        return expr
    if isinstance(expr, sympy.Piecewise):
        made = sympy.Piecewise(*((plain_conditions(e), c) for e, c in expr.args))
        kinks = [k for _, c in expr.args for k in c.atoms(*_KINKS) if not any(a.has(*_KINKS) for a in k.args)]
        if not kinks or not isinstance(made, sympy.Piecewise):
            return made
        value, condition, other = _two_sides(kinks[0])
        sides = [plain_conditions(_in_conditions(made, kinks[0], v)) for v in (value, other)]
        return sympy.Piecewise((sides[0], condition), (sides[1], True))
    return expr.func(*(plain_conditions(a) for a in expr.args))


def _in_conditions(expr: Expr, kink: Expr, value: Expr) -> Expr:
    return sympy.Piecewise(*((e, c.xreplace({kink: value})) for e, c in expr.args))


def variants(expr: Expr) -> list[Expr]:
    """The expression with every where replaced by each of its branches in turn."""
    found = branches_of(expr, _MOST)
    if not found:
        raise Stuck(f"the formula has more than {_MOST} combinations of branches")
    return found


def switches(expr: Expr, region: Region, clock: Clock) -> Iterator[Switch]:
    """All places where an expression's wheres, with plain conditions, change. Raises Stuck where one is not found."""
    if isinstance(expr, sympy.Piecewise):  # a tree of branches: each switch lies between two of its subtrees
        yield from _switches_of(expr, expr.args, region, clock, lambda value: value)
        for value, _ in expr.args:
            yield from switches(value, region, clock)
        return
    nodes = expr.atoms(sympy.Piecewise)
    inner = {n for node in nodes for v, _ in node.args for n in v.atoms(sympy.Piecewise)}
    for node in sorted(nodes - inner, key=str):
        for sub in (node, *sorted(node.atoms(sympy.Piecewise) - {node}, key=str)):
            yield from _switches_of(sub, sub.args, region, clock, partial(_with, expr, sub))


def _with(expr: Expr, node: Expr, value: Expr) -> Expr:
    return expr.xreplace({node: value})


def _switches_of(
    node: Expr, branches: Sequence[Any], region: Region, clock: Clock, put: Callable[[Expr], Expr]
) -> Iterator[Switch]:
    if branches[-1][1] != sympy.true:
        raise Stuck("a where without a last branch")
    for i, (here, condition) in enumerate(branches[:-1]):
        inner, outer = put(here), put(sympy.Piecewise(*branches[i + 1 :]))
        simple = isinstance(condition, sympy.And | sympy.core.relational.Relational)
        for part in sorted(condition.atoms(sympy.core.relational.Relational), key=str):
            g = part.lhs - part.rhs
            if not g.has(P):
                continue  # for a fixed target the branch is fixed
            for p0, rising in _roots(g, region, clock):
                if isinstance(part, sympy.Eq | sympy.Ne):
                    point, generic = (inner, outer) if isinstance(part, sympy.Eq) else (outer, inner)
                    yield Switch(p0, generic, point, True)
                    yield Switch(p0, point, generic, True)
                elif not simple:  # or, if-then-else: which side is which is not asked
                    yield Switch(p0, inner, outer)
                    yield Switch(p0, outer, inner)
                elif isinstance(part, sympy.Lt | sympy.Le) == rising:
                    yield Switch(p0, inner, outer)
                else:
                    yield Switch(p0, outer, inner)


def _roots(g: Expr, region: Region, clock: Clock) -> Iterator[tuple[Expr, bool]]:
    """Places where g(y, p) = 0, with whether g rises there as p grows."""
    clock.check()
    g = sympy.numer(sympy.together(g)) if g.count_ops() < 100 else g
    try:
        poly = sympy.Poly(g, P)
    except sympy.PolynomialError:
        raise Stuck(f"a branch that changes where {g} = 0, which is no polynomial in p") from None
    if any(c.has(P) for c in poly.all_coeffs()):
        raise Stuck(f"a branch that changes where {g} = 0, which is no polynomial in p")
    if poly.degree() == 1:
        slope, shift = poly.all_coeffs()
        direction = sign(region.put(slope), clock=clock).sign
        if direction not in ("+", "-"):
            raise Stuck(f"a branch that changes where {g} = 0, which may rise or fall in p")
        yield sympy.cancel(-shift / slope), direction == "+"
        return
    roots = list(sympy.roots(poly)) if poly.degree() == 2 else []
    if len(roots) == 2 and all(r.is_real is not False for r in roots):
        upper_minus_lower = sympy.simplify(roots[0] - roots[1])
        order = sign(region.put(upper_minus_lower), clock=clock).sign
        lead = sign(region.put(poly.LC()), clock=clock).sign
        if order in ("+", "-") and lead in ("+", "-"):
            first, second = roots
            upper, lower = (first, second) if order == "+" else (second, first)
            yield upper, lead == "+"
            yield lower, lead == "-"
            return
    raise Stuck(f"a branch that changes where {g} = 0, whose places are not found")


def gate(
    problem: Problem,
    region: Region,
    loss: Expr,
    clock: Clock,
    *,
    steps_up: bool = False,
    floor: Expr | None = None,
) -> list[Step]:
    """Show that the loss (collapsed on the region) is real, finite and continuous in p there, up to p = y.

    With ``steps_up`` it may jump, but only to larger values on the way from y. Raises Stuck with the reason where
    that is not shown. ``floor`` is the value at p = y (default: the loss's).
    At an end of the domain p = y is a limit that is not reached, so nothing is asked there.
    """
    key = (region, loss, steps_up, floor)
    if key not in problem.gates:
        try:
            problem.gates[key] = _gate(problem, region, loss, clock, steps_up, floor)
        except Stuck as stuck:
            problem.gates[key] = stuck
    found = problem.gates[key]
    if isinstance(found, Stuck):
        raise Stuck(str(found))
    return list(found)


def _gate(
    problem: Problem, region: Region, loss: Expr, clock: Clock, steps_up: bool, floor: Expr | None
) -> list[Step]:
    steps: list[Step] = []
    pieces = as_pieces(loss)
    for variant in variants(pieces):
        found = defined(region.put(to_elementary(variant)), clock=clock)
        if found is None:
            raise Stuck(f"not shown to be finite and continuous for {region}")
        steps += [s for s in found if s not in steps]
    for switch in switches(plain_conditions(loss), region, clock):
        difference = to_elementary((switch.after - switch.before).xreplace({P: switch.p0}))
        if vanishes(collapse(difference, region, clock), clock):
            steps.append(_meets(switch, region))
        elif steps_up and not switch.point and _rises(difference, switch.p0, region, clock):
            steps.append(Step(f"at p = {switch.p0} the loss jumps up on the way from y"))
        else:
            raise Stuck(f"the loss may jump at p = {switch.p0}")
    if region.end is None:
        at_diagonal = collapse(to_elementary(loss.xreplace({P: Y})), region, clock)
        floor = collapse(region.fix(problem.floor if floor is None else floor), region, clock)
        if any(defined(region.put(v), clock=clock) is None for v in variants(as_pieces(at_diagonal))):
            raise Stuck(f"not shown to be continuous at p = y for {region}")
        if vanishes(at_diagonal - floor, clock):
            pass
        elif steps_up and sign_on(at_diagonal - floor, region, clock).sign in ("+", ">="):
            steps.append(Step("at p = y the loss jumps up on the way from y"))
        else:
            raise Stuck("the loss may jump at p = y")
    return steps


def _rises(difference: Expr, p0: Expr, region: Region, clock: Clock) -> bool:
    """Whether after - before, at a switch, is not negative on the way from y: for all y that see the switch."""
    if region.side == "<":
        difference = -difference
    found = sign_on(difference, region, clock).sign
    if found == "?" and p0.is_Rational and 0 < p0 < 1 and region.end is None:
        near = p0 if region.side == ">" else 1 - p0  # y between its end of [0, 1] and the switch
        y = near * A / (A + B)
        put = together(difference.xreplace({Y: y if region.side == ">" else 1 - y}))
        found = sign(put, clock=clock).sign if put.free_symbols <= {A, B} else "?"
    return found in ("+", ">=", "0")


def _meets(switch: Switch, region: Region) -> Step:
    before, after = (to_elementary(e.xreplace({P: switch.p0})) for e in (switch.before, switch.after))
    text = f"where the branch changes, at p = {switch.p0}, both branches have the same value"
    where = tuple(r for r in region.ranges if r[0] != "p")
    return Step(
        text,
        claim(before, "=", after, where, (f"{switch.p0} {region.side} y",) if region.end is None else ()),
    )


def claim(
    left: Expr, relation: str, right: Expr, where: tuple[tuple[str, str], ...], given: tuple[str, ...] = ()
) -> Claim | None:
    """A claim in formula strings; None where a function has no name in formulas."""
    try:
        return Claim(unparse(left), relation, unparse(sympy.sympify(right)), where, given)
    except (LossproofError, AttributeError):  # AttributeError: SymPy's if-then-else inside a condition
        return None


def slope_of(loss: Expr, region: Region) -> Expr:
    """Derivative in p of a collapsed loss, in textbook form."""
    return region.fix(derivative(loss, P))
