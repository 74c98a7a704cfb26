"""Is an expression zero everywhere? Symbolic answer, cross-checked at exact points."""

import random
from fractions import Fraction
from typing import Any

import sympy

from lossproof.formula.functions import to_elementary
from lossproof.prove.ball import ball
from lossproof.prove.clock import Clock

Expr = Any


def vanishes(expr: Expr, clock: Clock) -> bool:
    """Tell whether an expression in y, p and parameters is shown to be zero wherever it is defined.

    SymPy's word alone is not taken: at exact random points the value must be enclosed by balls around zero.
    False means "not shown".

    >>> from lossproof.formula.symbols import P, Y
    >>> vanishes((Y - P)**2 - Y**2 + 2*Y*P - P**2, Clock.for_ever()), vanishes(Y - P, Clock.for_ever())
    (True, False)
    """
    expr = to_elementary(expr)
    if expr == 0:
        return True
    if not zero_at_points(expr):
        return False
    clock.check()
    size = expr.count_ops() * (20 if expr.has(sympy.Piecewise) else 1)  # simplify is slow on branches
    return any(attempt(expr) == 0 for most, attempt in _ATTEMPTS if size < most)


def zero_at_points(expr: Expr, points: int = 6, *, bits: int = 200) -> bool:
    """Tell whether no exact point in the unit square (parameters in (0, 1)) shows that the expression is not zero."""
    rng = random.Random(0)
    symbols = sorted(expr.free_symbols, key=str)
    seen = 0
    for _ in range(4 * points):
        at = {s: Fraction(rng.randrange(1, 997), 997) for s in symbols}
        value = ball(expr, at, bits=bits)
        if not value.is_finite():
            continue
        if not value.contains(0):
            return False
        seen += 1
        if seen == points:
            return True
    return seen > 0


def _logs(expr: Expr) -> Expr:
    return sympy.expand(sympy.expand_log(expr, force=False))


def _roots(expr: Expr) -> Expr:
    return sympy.cancel(sympy.radsimp(expr))


# how large an expression may be for each
_ATTEMPTS = (
    (2000, sympy.expand), (300, lambda e: sympy.cancel(sympy.together(e))), (400, _logs), (80, _roots),
    (150, sympy.simplify),
)  # fmt: skip
