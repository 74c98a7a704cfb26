"""Whether loss(y, y) has a value for every target inside: what cancels when p = y is put in may be 0/0 at a single y."""

from collections.abc import Iterator
from typing import Any

import sympy

from lossproof.formula.symbols import P, Y
from lossproof.prove.clock import Clock
from lossproof.prove.collapse import sign_on
from lossproof.prove.problem import Problem
from lossproof.prove.regions import Region, regions

Expr = Any


def has_value(problem: Problem, clock: Clock) -> bool:
    """Whether no denominator of the formula is 0, and no argument of a log either, at p = y for any y inside.

    (y - p)**2/((y - 1/2)**2 + (p - 1/2)**2) is 0 at p = y, but at y = 1/2, where it has no value, it is 1 for every p.

    >>> from lossproof.catalogue import resolve
    >>> spot = "(y - p)**2/((y - 1/2)**2 + (p - 1/2)**2)"
    >>> [has_value(Problem(resolve(loss)), Clock.for_ever()) for loss in ("bce", spot)]
    [True, False]
    """
    if has_value not in problem.gates:  # asked for each side of p = y, and for the floor
        problem.gates[has_value] = all(
            _defined(node, region, clock)
            for region in regions(problem, ends=False)
            if region.side == ">"  # y runs through the same targets on the other side
            for node in dict.fromkeys(_taken(problem.plain))
        )
    found: bool = problem.gates[has_value]
    return found


def _taken(expr: Expr) -> Iterator[Expr]:
    """The parts of an expression that are evaluated at p = y: branches whose condition is false there are not."""
    if isinstance(expr, sympy.Piecewise):
        for value, condition in expr.args:
            holds = condition.xreplace({P: Y})
            if holds != sympy.false:
                yield from _taken(value)
            if holds == sympy.true:
                return
        return
    yield expr
    for part in expr.args:
        yield from _taken(part)


def _defined(node: Expr, region: Region, clock: Clock) -> bool:
    if isinstance(node, sympy.log):
        return _sign(node.args[0], region, clock) == "+"
    if isinstance(node, sympy.Pow) and node.base.has(P) and _sign(node.exp, region, clock) != "+":
        return _sign(node.base, region, clock) in ("+", "-")
    return True


def _sign(expr: Expr, region: Region, clock: Clock) -> str:
    at_target = expr.xreplace({P: Y})
    return "+" if at_target.is_positive else sign_on(at_target, region, clock).sign


__all__ = ["has_value"]
