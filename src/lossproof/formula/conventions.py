"""0 log 0 = 0 for formulas as people write them: y*log(y/p) is read as xlogy(y, y/p)."""

import sympy

from lossproof.formula.functions import Expr, log1p, xlog1py, xlogy
from lossproof.formula.symbols import P, Y

#: what is 0 at an end of [0, 1]
_ENDS = (Y, 1 - Y, P, 1 - P)


def zero_log_zero(expr: Expr) -> Expr:
    """The same expression, with 0 where a factor y, 1 - y, p or 1 - p is 0 that its log holds too.

    >>> zero_log_zero(Y*sympy.log(Y/P) + (1 - Y)*sympy.log((1 - Y)/(1 - P)))
    xlogy(y, y/p) + xlogy(1 - y, (1 - y)/(1 - p))
    >>> zero_log_zero(Y*(sympy.log(Y) - sympy.log(P)))
    -y*log(p) + xlogy(y, y)
    """
    if not expr.args or not expr.has(sympy.log, log1p):
        return expr
    parts = tuple(zero_log_zero(a) for a in expr.args)
    made = expr if parts == expr.args else expr.func(*parts)  # what was kept unevaluated stays so
    return _product(made) if made.is_Mul else made


def _product(e: Expr) -> Expr:
    for end in _ENDS:
        weight = next((f for f in e.args if f in (end, -end)), None)
        if weight is None:
            continue
        sign, rest = weight / end, sympy.Mul(*(f for f in e.args if f is not weight))
        for factor in rest.args if rest.is_Mul else (rest,):
            if not any(_vanishes(term, end) for term in sympy.Add.make_args(factor)):
                continue
            others = sign * rest / factor
            return sympy.Add(*(_guarded(others, end, term) for term in sympy.Add.make_args(factor)))
    return e


def _vanishes(term: Expr, end: Expr) -> bool:
    """Whether a term has a log, as a factor, of something that is a power of the end, times whatever."""
    return any(_is_log_of(end, f) for f in sympy.Mul.make_args(term))


def _is_log_of(end: Expr, factor: Expr) -> bool:
    if not isinstance(factor, sympy.log | log1p):
        return False
    inside = factor.args[0] if isinstance(factor, sympy.log) else 1 + factor.args[0]
    return not {end, -end}.isdisjoint(f.as_base_exp()[0] for f in sympy.Mul.make_args(inside))


def _guarded(others: Expr, end: Expr, term: Expr) -> Expr:
    for factor in sympy.Mul.make_args(term):
        if _is_log_of(end, factor):
            more = others * term / factor
            name = xlogy if isinstance(factor, sympy.log) else xlog1py
            return more * name(end, factor.args[0])
    return others * end * term


__all__ = ["zero_log_zero"]
