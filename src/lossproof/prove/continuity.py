"""Where a formula changes its branch, and whether it is continuous there: the gate before any use of a derivative."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sympy

from lossproof.formula import Claim, LossproofError, Step
from lossproof.formula.functions import derivative, maximum, minimum, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.unparse import unparse
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import collapse
from lossproof.prove.defined import defined
from lossproof.prove.identity import vanishes
from lossproof.prove.problem import Problem
from lossproof.prove.regions import Region
from lossproof.prove.sign import sign

Expr = Any
_MOST = 64  # choices of branches that are looked at


class Stuck(Exception):
    """A step that could not be shown, with the reason."""


@dataclass(frozen=True)
class Switch:
    """A place p0(y) where the loss changes its branch; ``before`` holds for p below it, ``after`` above it."""

    p0: Expr
    before: Expr
    after: Expr


def as_pieces(expr: Expr) -> Expr:
    """Write every abs, maximum and minimum that is left as a where, wheres inside their arguments drawn out."""
    if not expr.args or not expr.has(sympy.Abs, maximum, minimum, sympy.Max, sympy.Min):
        return expr
    made = expr.func(*(as_pieces(a) for a in expr.args))
    if isinstance(made, sympy.Abs | maximum | minimum | sympy.Max | sympy.Min):
        return _branches(made)
    return made


def _branches(kink: Expr) -> Expr:
    for i, argument in enumerate(kink.args):
        if isinstance(argument, sympy.Piecewise):
            with_branch = ((kink.func(*kink.args[:i], e, *kink.args[i + 1 :]), c) for e, c in argument.args)
            return sympy.Piecewise(*((_branches(k) if k.args else k, c) for k, c in with_branch))
    if isinstance(kink, sympy.Abs):
        u = kink.args[0]
        return sympy.Piecewise((u, u >= 0), (-u, True))
    if not isinstance(kink, maximum | minimum | sympy.Max | sympy.Min):
        return as_pieces(kink)  # the function collapsed to something simpler on this branch
    first, *rest = kink.args
    for second in rest:
        wants = first >= second if isinstance(kink, maximum | sympy.Max) else first <= second
        first = sympy.Piecewise((first, wants), (second, True))
    return first


def variants(expr: Expr) -> list[Expr]:
    """The expression with every where replaced by each of its branches in turn."""
    todo, done = [expr], []
    while todo:
        e = todo.pop()
        nodes = [n for n in e.atoms(sympy.Piecewise) if not any(v.has(sympy.Piecewise) for v, _ in n.args)]
        if not nodes:
            done.append(e)
        else:
            todo += [e.xreplace({nodes[0]: value}) for value, _ in nodes[0].args]
        if len(todo) + len(done) > _MOST:
            raise Stuck(f"the formula has more than {_MOST} combinations of branches")
    return done


def switches(expr: Expr, region: Region, clock: Clock) -> Iterator[Switch]:
    """All places where an expression made by ``as_pieces`` changes its branch. Raises Stuck where one is not found."""
    for node in expr.atoms(sympy.Piecewise):
        branches = list(node.args)
        if branches[-1][1] != sympy.true:
            raise Stuck("a where without a last branch")
        for i, (here, condition) in enumerate(branches[:-1]):
            there = sympy.Piecewise(*branches[i + 1 :])
            parts = condition.args if isinstance(condition, sympy.And) else (condition,)
            for part in parts:
                if not isinstance(part, sympy.core.relational.Relational):
                    raise Stuck(f"a condition that is no comparison: {part}")
                g = part.lhs - part.rhs
                if not g.has(P):
                    continue  # for a fixed target the branch is fixed
                for p0, rising in _roots(g, region, clock):
                    inner, outer = expr.xreplace({node: here}), expr.xreplace({node: there})
                    if isinstance(part, sympy.Eq | sympy.Ne):
                        point, generic = (inner, outer) if isinstance(part, sympy.Eq) else (outer, inner)
                        yield Switch(p0, generic, point)
                        yield Switch(p0, point, generic)
                    elif (isinstance(part, sympy.Lt | sympy.Le)) == rising:
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


def gate(problem: Problem, region: Region, loss: Expr, clock: Clock) -> list[Step]:
    """Show that the loss (collapsed on the region) is real, finite and continuous in p there, up to p = y.

    Raises Stuck with the reason where that is not shown. At an end of the domain p = y is a limit that is not
    reached, so nothing is asked there.
    """
    steps: list[Step] = []
    pieces = as_pieces(loss)
    for variant in variants(pieces):
        found = defined(region.put(to_elementary(variant)), clock=clock)
        if found is None:
            raise Stuck(f"not shown to be finite and continuous for {region}")
        steps += [s for s in found if s not in steps]
    for switch in switches(pieces, region, clock):
        difference = to_elementary((switch.after - switch.before).xreplace({P: switch.p0}))
        if not vanishes(collapse(difference, region, clock), clock):
            raise Stuck(f"the loss may jump at p = {switch.p0}")
        steps.append(_meets(switch, region))
    if region.end is None:
        at_diagonal = collapse(to_elementary(loss.xreplace({P: Y})), region, clock)
        floor = collapse(region.fix(problem.floor), region, clock)
        if any(defined(region.put(v), clock=clock) is None for v in variants(as_pieces(at_diagonal))):
            raise Stuck(f"not shown to be continuous at p = y for {region}")
        if not vanishes(at_diagonal - floor, clock):
            raise Stuck("the loss may jump at p = y")
    return steps


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
    except LossproofError:
        return None


def slope_of(loss: Expr, region: Region) -> Expr:
    """Derivative in p of a collapsed loss, in textbook form."""
    return region.fix(derivative(loss, P))
