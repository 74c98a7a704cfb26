"""Which part of a formula is not a number: the smallest failing sub-term, in words."""

from typing import Any

import numpy as np

from lossproof.catalogue import resolve


def autopsy(spec: object, y: float, p: float) -> str:
    """Name the smallest sub-term of a loss's formula that is NaN or infinite at (y, p), or "" if none is.

    >>> autopsy("log(p - 1/2) + y", 1.0, 0.25)
    'log(p - 1/2) is nan (p - 1/2 = -0.25)'
    """
    from lossproof.formula.parse import number
    from lossproof.formula.symbols import P, Y
    from lossproof.formula.unparse import unparse

    loss = resolve(spec)
    at = {}
    if np.isfinite(y) and np.isfinite(p):
        at = {Y: number(float(y)), P: number(float(p))}
    else:
        name, value = ("y", y) if not np.isfinite(y) else ("p", p)
        return f"{name} is {value:g}"
    seen: set[Any] = set()

    def visit(e: Any) -> str:
        if e in seen or e.is_Relational or e.is_Boolean:
            return ""
        seen.add(e)
        if e.is_Piecewise:
            taken = next((v for v, c in e.args if c.subs(at) == True), None)  # noqa: E712 - a SymPy truth
            return visit(taken) if taken is not None else ""
        for a in e.args:
            if found := visit(a):
                return found
        value = _value(e, float(y), float(p))
        if np.isfinite(value):
            return ""
        inner = [
            f"{unparse(a)} = {_value(a, float(y), float(p)):g}" for a in e.args if a.free_symbols & {Y, P}
        ]
        return f"{unparse(e)} is {value:g}" + (f" ({', '.join(inner)})" if inner else "")

    return visit(loss.expression())


def _value(e: Any, y: float, p: float) -> float:
    from lossproof.formula.symbols import P, Y
    from lossproof.formula.trace_check import evaluate

    with np.errstate(all="ignore"):
        return float(evaluate(e, {Y: np.array([y]), P: np.array([p])})[0])
