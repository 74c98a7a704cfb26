"""Value and gradient for a compiler: what comes of the sigmoid in them, made of one exponential.

A compiler fuses element-wise operations into one loop but does not know that sigmoid(z), sigmoid(-z) and softplus(z)
share exp(-|z|), which is most of that loop's work. In an eager step, where each operation is a pass of its own, the
plain functions are quicker.
"""

from typing import Any

import sympy

from lossproof.formula.functions import log1p, maximum, sigmoid, softplus
from lossproof.formula.symbols import Z
from lossproof.lower.emit import Named
from lossproof.lower.rules.engine import sigmoid_powers

Expr = Any

_e, _larger, _smaller, _p, _q, _pq, _log = sympy.symbols("_e _larger _smaller _p _q _pq _log", real=True)
_NAMED = [
    (_e, sympy.exp(-sympy.Abs(Z))),
    (_larger, 1 / (1 + _e)),
    (_smaller, _e * _larger),
    (_p, sympy.Piecewise((_larger, Z >= 0), (_smaller, True))),
    (_q, sympy.Piecewise((_smaller, Z >= 0), (_larger, True))),
    (_pq, _larger * _smaller),
    (_log, log1p(_e)),
]
_MADE_OF_IT = {
    sigmoid(Z): _p,
    sigmoid(-Z): _q,
    softplus(Z): maximum(Z, 0) + _log,
    softplus(-Z): maximum(-Z, 0) + _log,
}


def one_exponential(value: Expr, gradient: Expr) -> tuple[Expr, list[Named]]:
    """Both expressions as a tuple, and what their new symbols stand for: nothing where there is nothing to share.

    >>> from lossproof.formula.symbols import Y
    >>> str(one_exponential(softplus(Z) - Y * Z, sigmoid(Z) - Y)[1][0])
    '(_e, exp(-Abs(z)))'
    """
    pair = sympy.Tuple(value, gradient)
    if sum(pair.has(part) for part in _MADE_OF_IT) < 2:
        return pair, []
    made = _with_product(pair).xreplace(_MADE_OF_IT)
    needed = set(made.free_symbols)
    for symbol, meaning in reversed(_NAMED):
        needed |= meaning.free_symbols if symbol in needed else set()
    return made, [(symbol, meaning) for symbol, meaning in _NAMED if symbol in needed]


def _with_product(e: Expr) -> Expr:
    """Name the product of sigmoid(z) and sigmoid(-z), which is the same for z and -z: no choice of a side."""
    if not e.args or e.is_Relational:
        return e
    e = e.func(*(_with_product(a) for a in e.args))
    if e.is_Mul:
        powers = sigmoid_powers(e)
        a, b = (powers.get(u, sympy.S.Zero) for u in (Z, -Z))
        if a.is_number and b.is_number and min(a, b) > 0:
            shared = min(a, b)
            return e * (sigmoid(Z) * sigmoid(-Z)) ** -shared * _pq**shared
    return e
