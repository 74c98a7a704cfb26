"""Kinks and branches that are decided on a region, replaced by what they are there."""

from typing import Any

import sympy

from lossproof.formula.functions import maximum, minimum
from lossproof.prove.clock import Clock
from lossproof.prove.regions import Region
from lossproof.prove.sign import Signed, sign

Expr = Any
_KINKED = (sympy.Abs, sympy.sign, maximum, minimum, sympy.Max, sympy.Min, sympy.Piecewise)


def collapse(expr: Expr, region: Region, clock: Clock) -> Expr:
    """The expression with every |u|, sign(u), max, min and where that is decided on the region replaced.

    What is undecided stays as it is. ``expr`` is in y and p; the result equals it on the whole region.

    >>> from lossproof.catalogue import CATALOGUE
    >>> from lossproof.prove.problem import Problem
    >>> from lossproof.prove.regions import regions
    >>> problem = Problem(CATALOGUE["mae"])
    >>> print([collapse(problem.expr, region, Clock.for_ever()) for region in regions(problem, ends=False)])
    [p - y, -p + y]
    """
    clock.check()
    if not expr.args or not expr.has(*_KINKED):
        return expr
    if isinstance(expr, sympy.Piecewise):
        return _piecewise(expr, region, clock)
    made = expr.func(*(collapse(a, region, clock) for a in expr.args))
    if isinstance(made, sympy.Abs | sympy.sign):
        found = _sign(made.args[0], region, clock)
        if isinstance(made, sympy.Abs):
            known = {"+": made.args[0], ">=": made.args[0], "-": -made.args[0], "<=": -made.args[0]}
        else:
            known = {"+": sympy.S.One, "-": sympy.S.NegativeOne}
        return sympy.S.Zero if found == "0" else known.get(found, made)
    if isinstance(made, maximum | minimum | sympy.Max | sympy.Min) and len(made.args) == 2:
        larger, smaller = made.args
        found = _sign(larger - smaller, region, clock)
        if found in ("-", "<="):
            larger, smaller = smaller, larger
        if found != "?":
            return larger if isinstance(made, maximum | sympy.Max) else smaller
    return made


def _piecewise(expr: Expr, region: Region, clock: Clock) -> Expr:
    kept = []
    for value, condition in expr.args:
        holds = decided(condition, region, clock)
        if holds is False:
            continue
        kept.append((collapse(value, region, clock), _condition(condition, region, clock)))
        if holds is True:
            kept[-1] = (kept[-1][0], sympy.true)
            break
    return sympy.Piecewise(*kept)


def _condition(condition: Expr, region: Region, clock: Clock) -> Expr:
    """A condition with the kinks of its sides collapsed: abs(p - y) <= 1 becomes p - y <= 1 above the diagonal."""
    if isinstance(condition, sympy.And):
        return sympy.And(*(_condition(c, region, clock) for c in condition.args))
    if not isinstance(condition, sympy.core.relational.Relational):
        return condition
    left, right = (collapse(side, region, clock) for side in condition.args)
    return condition.func(left, right)


def decided(condition: Expr, region: Region, clock: Clock) -> bool | None:
    """Tell whether a condition holds on all of a region (True), nowhere (False), or neither is known (None)."""
    if condition in (True, sympy.true):
        return True
    if condition in (False, sympy.false):
        return False
    if isinstance(condition, sympy.And):
        parts = [decided(c, region, clock) for c in condition.args]
        return False if False in parts else (True if all(p is True for p in parts) else None)
    if not isinstance(condition, sympy.core.relational.Relational):
        return None
    left, right = (collapse(side, region, clock) for side in condition.args)
    found = _sign(left - right, region, clock)
    never, always = {
        sympy.Gt: (("-", "0", "<="), ("+",)),
        sympy.Ge: (("-",), ("+", "0", ">=")),
        sympy.Lt: (("+", "0", ">="), ("-",)),
        sympy.Le: (("+",), ("-", "0", "<=")),
        sympy.Eq: (("+", "-"), ("0",)),
        sympy.Ne: (("0",), ("+", "-")),
    }[type(condition)]
    return False if found in never else True if found in always else None


def sign_on(expr: Expr, region: Region, clock: Clock) -> Signed:
    """The sign of an expression in y and p on a region, also looked for after multiplying it out.

    >>> from lossproof.catalogue import CATALOGUE
    >>> from lossproof.prove.problem import Problem
    >>> from lossproof.prove.regions import regions
    >>> problem = Problem(CATALOGUE["bce"])
    >>> [sign_on(problem.slope, region, Clock.for_ever()).sign for region in regions(problem)]
    ['+', '-', '+', '-']
    """
    if expr.has(sympy.Piecewise):  # first the quick way: every branch has the sign, wherever it holds
        together = _common([sign(region.put(b), clock=clock) for b in branches_of(expr)])
        if together is not None:
            return together
    put = region.put(expr)
    found = sign(put, clock=clock)
    if found.sign != "?" or put.count_ops() > 200:
        return found
    # multiplied out, or with tanh written in exp, terms may cancel
    by_exp = put.replace(sympy.tanh, lambda u: 1 - 2 / (1 + sympy.exp(2 * u)))
    for form in dict.fromkeys((sympy.expand(put), sympy.expand(by_exp))):
        if found.sign == "?" and form != put:
            found = sign(form, clock=clock)
    return found


def branches_of(expr: Expr, most: int = 32) -> list[Expr]:
    """The expression with every where replaced by each of its branches in turn; empty if there are too many.

    >>> branches_of(sympy.Piecewise((1, sympy.Symbol("x") > 0), (2, True)) + 1)
    [3, 2]
    """
    todo, done = [expr], []
    while todo:
        e = todo.pop()
        nodes = [n for n in e.atoms(sympy.Piecewise) if not any(v.has(sympy.Piecewise) for v, _ in n.args)]
        if nodes:
            node = min(nodes, key=str)
            todo += [e.xreplace({node: value}) for value, _ in node.args]
        else:
            done.append(e)
        if len(todo) + len(done) > most:
            return []
    return done


def _common(found: list[Signed]) -> Signed | None:
    """The sign that all have, weak if one is weak; None where they have none in common."""
    signs = {f.sign for f in found}
    steps = tuple(dict.fromkeys(step for f in found for step in f.steps))
    for strict, weak in (("+", ">="), ("-", "<=")):
        if signs == {strict}:
            return Signed(strict, steps)  # type: ignore[arg-type]
        if signs and signs <= {strict, weak, "0"}:
            return Signed(weak, steps)  # type: ignore[arg-type]
    return None


def _sign(expr: Expr, region: Region, clock: Clock) -> str:
    return sign(region.put(expr), clock=clock).sign
