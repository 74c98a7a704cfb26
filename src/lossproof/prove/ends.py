"""The closed ends of the targets, where p = y is a limit: what a formula for all y says there, and what is true."""

from collections.abc import Callable
from typing import Any

import sympy

from lossproof.formula.functions import to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove.clock import Clock
from lossproof.prove.excess import value_at_end
from lossproof.prove.identity import vanishes
from lossproof.prove.limits import written
from lossproof.prove.minimum import finite_ends
from lossproof.prove.problem import Problem

Expr = Any


def left_out(
    problem: Problem, named: str, stated: Expr, at_target: Expr, of: Callable[[Expr], Expr], clock: Clock
) -> str:
    """Words for a domain: the ends at which ``stated``, in y, is not or is not shown to be what ``of`` the loss tends to.

    ``at_target`` is the same with conventions by name, for its value at an end; ``named`` is what it is called.

    >>> from lossproof.catalogue import resolve
    >>> smape = Problem(resolve("abs(y - p)/(y + p)"))
    >>> left_out(smape, "least loss", sympy.S.Zero, smape.floor, lambda loss: loss, Clock.for_ever())
    ', y != 0 (the least loss is 1 there)'
    """
    words: dict[str, None] = {}
    for region, loss in finite_ends(problem, clock):
        true = value_at_end(of(loss), region, clock)
        said = to_elementary(at_target.xreplace(region.fixed))
        if said.has(sympy.nan, sympy.zoo, sympy.oo):  # no value there: what it tends to
            said = value_at_end(region.fix(stated.xreplace({Y: P})), region, clock)
        if said is None:  # infinite, as 1/(y*(1 - y)): nothing is said of the end
            words[f", y != {region.end}"] = None
        elif true is None:
            words[f", y != {region.end} (not shown there)"] = None
        elif not vanishes(true - said, clock):
            text = written(true)
            value = text if text and "(" not in text else "another one"
            words[f", y != {region.end} (the {named} is {value} there)"] = None
    return "".join(words)


__all__ = ["left_out"]
