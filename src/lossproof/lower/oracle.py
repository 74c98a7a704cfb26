"""The oracle: a loss as its formula says, in 50 digits, with no rewriting - what everything is tested against."""

from collections.abc import Callable
from typing import Any

import mpmath
import sympy

from lossproof.formula import SIGMOID, Link, Loss, LossproofError
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y, Z

_DIGITS = 50


def _zero_times(x: Any, f: Callable[[], Any]) -> Any:
    return mpmath.mpf(0) if x == 0 else x * f()


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "log": lambda x: mpmath.ninf if x == 0 else mpmath.log(x),
    "log1p": lambda x: mpmath.log(1 + x), "exp": mpmath.exp, "expm1": lambda x: mpmath.exp(x) - 1,
    "Abs": abs, "sign": mpmath.sign, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "atan": mpmath.atan,
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "asinh": mpmath.asinh, "atanh": mpmath.atanh,
    "maximum": max, "minimum": min, "erf": mpmath.erf, "loggamma": mpmath.loggamma,
    "polygamma": lambda n, x: mpmath.psi(int(n), x),
    "xlogy": lambda x, y: _zero_times(x, lambda: mpmath.log(y)),
    "xlog1py": lambda x, y: _zero_times(x, lambda: mpmath.log(1 + y)),
    "xtimes": lambda x, w: _zero_times(x, lambda: w),
    "xdivy": lambda x, y: _zero_times(x, lambda: 1 / y),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "logaddexp": lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)),
    "logcosh": lambda x: mpmath.log(mpmath.cosh(x)),
    "logsinhc": lambda x: mpmath.log(mpmath.sinh(x) / x) if x else mpmath.mpf(0),
    "logexprel": lambda x: mpmath.log((mpmath.exp(x) - 1) / x) if x else mpmath.mpf(0),
    "meanexp": lambda x: 1 / (1 - mpmath.exp(-x)) - 1 / x if x else mpmath.mpf(0.5),
    "langevin": lambda x: mpmath.coth(x) - 1 / x if x else mpmath.mpf(0),
}  # fmt: skip


def evaluate(e: Any, at: dict[Any, Any]) -> Any:
    """Value of an expression at exact numbers, in mpmath's current precision."""
    if e.is_Symbol:
        return at[e]
    if e.is_Rational:
        return mpmath.mpf(e.p) / e.q
    if e.is_Add:
        return mpmath.fsum(evaluate(a, at) for a in e.args)
    if e.is_Mul:
        return mpmath.fprod(evaluate(a, at) for a in e.args)
    if e.is_Pow and not isinstance(e, sympy.exp):
        return evaluate(e.args[0], at) ** evaluate(e.args[1], at)
    if isinstance(e, sympy.Piecewise):
        return next(evaluate(value, at) for value, condition in e.args if holds(condition, at))
    if e.is_NumberSymbol or not e.args:
        return mpmath.mpf(sympy.N(e, mpmath.mp.dps + 5))
    name = type(e).__name__
    if name not in _FUNCTIONS:
        raise LossproofError(f"oracle: expected a known function, got {name}.")
    return _FUNCTIONS[name](*(evaluate(a, at) for a in e.args))


def holds(c: Any, at: dict[Any, Any]) -> bool:
    """Truth of a comparison at exact numbers."""
    if c in (sympy.true, sympy.false):
        return bool(c)
    if isinstance(c, sympy.And | sympy.Or):
        return (all if isinstance(c, sympy.And) else any)(holds(part, at) for part in c.args)
    if isinstance(c, sympy.Not):
        return not holds(c.args[0], at)
    if isinstance(c, sympy.ITE):
        return holds(c.args[1] if holds(c.args[0], at) else c.args[2], at)
    a, b = evaluate(c.lhs, at), evaluate(c.rhs, at)
    return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": a == b, "!=": a != b}[c.rel_op])


def loss_at(loss: Loss, y: float, p: float, *, digits: int = _DIGITS) -> Any:
    """loss(y, p) of two floats taken as the exact numbers they are, as an mpmath number of ``digits`` digits.

    >>> from lossproof.catalogue import CATALOGUE
    >>> mpmath.nstr(loss_at(CATALOGUE["bce"], 0.5, 0.5), 15)
    '0.693147180559945'
    """
    with mpmath.workdps(digits + 20):
        return evaluate(loss.expression(), {Y: mpmath.mpf(y), P: mpmath.mpf(p)})


def loss_at_logits(loss: Loss, y: float, z: float, *, link: Link = SIGMOID, digits: int = _DIGITS) -> Any:
    """loss(y, link(z)), naive, with as many digits as the logit asks for."""
    with mpmath.workdps(_enough(z, digits)):
        p = evaluate(parse(link.forward, symbols=("z",)), {Z: mpmath.mpf(z)})
        return evaluate(loss.expression(), {Y: mpmath.mpf(y), P: p})


def slope_at(loss: Loss, y: float, p: float, *, digits: int = _DIGITS) -> Any:
    """Derivative with respect to p by a central difference; at a kink the mean of both sides, as we define it."""
    return _central(loss, y, p, None, _enough(0.0, digits))


def slope_at_logits(loss: Loss, y: float, z: float, *, link: Link = SIGMOID, digits: int = _DIGITS) -> Any:
    """Derivative with respect to the logit z, by a central difference in high precision."""
    return _central(loss, y, z, link, _enough(z, digits))


def _central(loss: Loss, y: float, x: float, link: Link | None, digits: int) -> Any:
    with mpmath.workdps(3 * digits):
        h = mpmath.mpf(10) ** -digits

        def at(point: Any) -> Any:
            p = point if link is None else evaluate(parse(link.forward, symbols=("z",)), {Z: point})
            return evaluate(loss.expression(), {Y: mpmath.mpf(y), P: p})

        return (at(mpmath.mpf(x) + h) - at(mpmath.mpf(x) - h)) / (2 * h)


def _enough(z: float, digits: int) -> int:
    # 1 - sigmoid(z) has its first digit at place |z|/log(10)
    return digits + 20 + int(abs(z) / 2.302585) * 2
