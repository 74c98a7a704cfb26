"""Rigorous values of expressions at exact rational points, by ball arithmetic: signs of constants, and counterexamples."""

from collections.abc import Mapping
from typing import Any

import flint
import sympy
from flint import arb, fmpq

from lossproof.formula.functions import RealFunction

Expr = Any  # sympy is untyped
Ball = Any

_NAN = arb.nan()
_PRECISIONS = (64, 256, 1024, 4096)  # bits
_UNARY = {
    sympy.log: "log", sympy.exp: "exp", sympy.sin: "sin", sympy.cos: "cos", sympy.tan: "tan", sympy.atan: "atan",
    sympy.sinh: "sinh", sympy.cosh: "cosh", sympy.tanh: "tanh", sympy.asinh: "asinh", sympy.atanh: "atanh",
    sympy.erf: "erf", sympy.loggamma: "lgamma",
}  # fmt: skip


def rational_ball(q: Expr) -> Ball:
    """A SymPy rational as a ball of the current precision."""
    return arb(fmpq(int(q.p), int(q.q)))


def sign_of_ball(x: Ball) -> str:
    """The sign that an enclosure shows: + - 0, or ? when it contains zero and more, or is not finite."""
    if not x.is_finite():
        return "?"
    return "+" if x > 0 else "-" if x < 0 else "0" if x == 0 else "?"


def enclose(expr: Expr, at: Mapping[Expr, Ball], cache: dict[Expr, Ball]) -> Ball:
    """A ball that contains the value of an expression, NaN where it is undefined or not supported."""
    if expr in cache:
        return cache[expr]
    cache[expr] = value = _enclose(expr, at, cache)
    return value


def _enclose(expr: Expr, at: Mapping[Expr, Ball], cache: dict[Expr, Ball]) -> Ball:
    if expr.is_Rational:
        return rational_ball(expr)
    if expr.is_Symbol:
        return at.get(expr, _NAN)
    if expr is sympy.pi:
        return arb.pi()
    if expr is sympy.E:
        return arb.const_e()
    if isinstance(expr, sympy.Piecewise):
        for value, condition in expr.args:
            holds = _holds(condition, at, cache)
            if holds is None:
                return _NAN
            if holds:
                return enclose(value, at, cache)
        return _NAN
    args = [enclose(a, at, cache) for a in expr.args]
    if not args:
        return _NAN
    if expr.is_Add:
        return sum(args[1:], args[0])
    if expr.is_Mul:
        product = args[0]
        for a in args[1:]:
            product *= a
        return product
    if isinstance(expr, sympy.Pow):
        return _power(args[0], args[1], expr.args[1])
    return _function(expr, args, at, cache)


def _power(base: Ball, power: Ball, exact: Expr) -> Ball:
    if exact.is_Integer and abs(int(exact)) < 1000:
        n, result = abs(int(exact)), arb(1)  # arb's own power of a ball around 0 may be NaN
        for _ in range(n):
            result *= base
        return result if exact >= 0 else _divide(arb(1), result)
    if base > 0:
        return base**power
    return arb(0) if base == 0 and power > 0 else _NAN


def _divide(a: Ball, b: Ball) -> Ball:
    return a / b if b > 0 or b < 0 else _NAN


def _function(expr: Expr, args: list[Ball], at: Mapping[Expr, Ball], cache: dict[Expr, Ball]) -> Ball:
    x, kind = args[0], type(expr)
    if kind in _UNARY:
        if kind is sympy.loggamma and not x > 0:
            return _NAN
        return getattr(x, _UNARY[kind])()
    name = kind.__name__
    if name == "Abs":
        return abs(x)
    if name in ("sign", "Heaviside"):
        s = sign_of_ball(x)
        table = {"+": 1, "-": -1, "0": 0} if name == "sign" else {"+": 1, "-": 0}
        return arb(table[s]) if s in table else _NAN
    if name in ("maximum", "Max", "minimum", "Min"):
        best = x
        for a in args[1:]:
            if best.is_finite() and a.is_finite():
                best = best.max(a) if name[:2].lower() == "ma" else best.min(a)
            else:
                return _NAN
        return best
    if name == "polygamma" and args[1] > 0 and expr.args[0].is_Integer:
        n = int(expr.args[0])
        if n == 0:
            return args[1].digamma()
        # (-1)^(n+1) n! zeta(n + 1, x)
        return arb(n + 1).zeta(args[1]) * arb(n).fac() * (-1) ** (n + 1)
    if name in ("xlogy", "xlog1py", "xdivy", "xtimes") and x == 0:
        return arb(0)
    if isinstance(expr, RealFunction):
        return enclose(expr.elementary(), at, cache)
    return _NAN


def _holds(condition: Expr, at: Mapping[Expr, Ball], cache: dict[Expr, Ball]) -> bool | None:
    if condition in (sympy.true, sympy.false):
        return bool(condition)
    if isinstance(condition, sympy.And | sympy.Or):
        parts = [_holds(c, at, cache) for c in condition.args]
        absorbing = isinstance(condition, sympy.Or)
        return absorbing if absorbing in parts else None if None in parts else not absorbing
    if isinstance(condition, sympy.Not):
        inner = _holds(condition.args[0], at, cache)
        return None if inner is None else not inner
    if not hasattr(condition, "rel_op"):
        return None
    s = sign_of_ball(enclose(condition.lhs, at, cache) - enclose(condition.rhs, at, cache))
    return holds_by_sign(condition.rel_op, s)


def holds_by_sign(relation: str, s: str) -> bool | None:
    """Whether ``left relation right`` holds when left - right has the sign s; None when s leaves it open.

    >>> holds_by_sign("<", "-"), holds_by_sign("<=", ">=")
    (True, None)
    """
    known = {
        "+": {">", ">=", "!="},
        "-": {"<", "<=", "!="},
        "0": {"==", "<=", ">="},
        ">=": {">="},
        "<=": {"<="},
    }
    false = {"+": {"<", "<=", "=="}, "-": {">", ">=", "=="}, "0": {"!=", "<", ">"}, ">=": {"<"}, "<=": {">"}}
    if relation in known.get(s, ()):
        return True
    return False if relation in false.get(s, ()) else None


def sign_at(expr: Expr, point: Mapping[Expr, Expr], *, bits: tuple[int, ...] = _PRECISIONS) -> str:
    """Sign of an expression at an exact rational point, proved by an enclosure, or ?.

    >>> sign_at(sympy.log(2) - sympy.Rational(1, 2), {})
    '+'
    """
    for precision in bits:
        with flint.ctx.workprec(precision):
            at = {s: rational_ball(q) for s, q in point.items()}
            x = enclose(expr, at, {})
            s = sign_of_ball(x)
            if s != "?":
                return s
            if not x.is_finite() and precision > 64:
                return "?"
    return "?"
