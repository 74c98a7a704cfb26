"""Values of expressions in mpmath, from the definitions: an oracle that shares nothing with the sign calculus."""

import mpmath
import sympy

OK = {
    "+": lambda x: x > 0, "-": lambda x: x < 0, "0": lambda x: x == 0, ">=": lambda x: x >= 0, "<=": lambda x: x <= 0,
}  # fmt: skip


class Outside(Exception):
    """The point lies outside the domain of the expression."""


def value(expr, at):
    """The value at a point, or None where the expression is not a finite real number."""
    try:
        x = _value(expr, at)
    except (Outside, ZeroDivisionError, OverflowError, ValueError):
        return None
    return x if mpmath.isfinite(x) else None


def _log(x):
    if x <= 0:
        raise Outside
    return mpmath.log(x)


def _inside(f, low, high):
    def inner(x):
        if not low < x < high:
            raise Outside
        return f(x)

    return inner


_FUNCTIONS = {
    "log": _log, "exp": mpmath.exp, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "atan": mpmath.atan,
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "asinh": mpmath.asinh, "erf": mpmath.erf, "Abs": abs,
    "sign": mpmath.sign, "atanh": _inside(mpmath.atanh, -1, 1), "loggamma": _inside(mpmath.loggamma, 0, mpmath.inf),
    "log1p": lambda x: _log(1 + x), "expm1": mpmath.expm1, "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(-abs(x))) + max(x, 0),
    "logcosh": lambda x: abs(x) + mpmath.log1p(mpmath.exp(-2 * abs(x))) - mpmath.log(2),
    "langevin": lambda x: mpmath.coth(x) - 1 / x if x else mpmath.mpf(0),
    "meanexp": lambda x: -1 / mpmath.expm1(-x) - 1 / x if x else mpmath.mpf(1) / 2,
    "logexprel": lambda x: mpmath.log(mpmath.expm1(x) / x) if x else mpmath.mpf(0),
    "logsinhc": lambda x: mpmath.log(mpmath.sinh(x) / x) if x else mpmath.mpf(0),
    "maximum": max, "Max": max, "minimum": min, "Min": min, "Heaviside": lambda x, _=0: mpmath.mpf(x > 0),
    "xlogy": lambda x, y: x * _log(y) if x else mpmath.mpf(0), "xlog1py": lambda x, y: x * _log(1 + y) if x else mpmath.mpf(0),
    "xdivy": lambda x, y: x / y if x else mpmath.mpf(0), "xtimes": lambda x, y: x * y,
    "logaddexp": lambda x, y: max(x, y) + mpmath.log1p(mpmath.exp(-abs(x - y))),
    "polygamma": lambda n, x: _inside(lambda u: mpmath.polygamma(int(n), u), 0, mpmath.inf)(x),
}  # fmt: skip
_RELATIONS = {
    "<": lambda x, y: x < y, "<=": lambda x, y: x <= y, ">": lambda x, y: x > y, ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y, "!=": lambda x, y: x != y,
}  # fmt: skip


def _value(expr, at):
    if expr.is_Rational:
        return mpmath.mpf(expr.p) / expr.q
    if expr.is_Symbol:
        return at[expr]
    if expr.is_NumberSymbol:
        return +{"Pi": mpmath.pi, "Exp1": mpmath.e}[type(expr).__name__]
    if isinstance(expr, sympy.Piecewise):
        for branch, condition in expr.args:
            if condition == sympy.true or (condition != sympy.false and _holds(condition, at)):
                return _value(branch, at)
        raise Outside
    args = [_value(x, at) for x in expr.args]
    if expr.is_Add:
        return mpmath.fsum(args)
    if expr.is_Mul:
        return mpmath.fprod(args)
    if isinstance(expr, sympy.Pow):
        base, power = args
        if (base == 0 and power <= 0) or (base < 0 and not expr.args[1].is_Integer):
            raise Outside
        return base**power
    return _FUNCTIONS[type(expr).__name__](*args)


def _holds(condition, at):
    return _RELATIONS[condition.rel_op](_value(condition.lhs, at), _value(condition.rhs, at))
