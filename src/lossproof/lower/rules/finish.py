"""Rules that help numbers, not algebra: mostly applied last, when derivatives have been taken."""

import sympy

from lossproof.formula.functions import (
    expm1,
    log1p,
    maximum,
    minimum,
    sigmoid,
    softplus,
    xdivy,
    xlog1py,
    xlogy,
    xtimes,
)
from lossproof.formula.symbols import P, Y, Z
from lossproof.lower.rules.engine import HALF, Expr, cancelled, rule, written_out


@rule(
    "sqrt(1 + u) - 1 and (1 + u)**k - 1 cancel for small u; u/(1 + sqrt(1 + u)) and expm1(k log1p(u)) do not",
    last=True,
)
def power_minus_one(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    for term in e.args:
        c, power = term.as_coeff_Mul()
        if -c not in e.args or not power.is_Pow or isinstance(power, sympy.exp):
            continue
        base, k = power.args
        if (
            base.is_Add
            and base.as_coeff_Add()[0] == 1
            and base.free_symbols
            and (k == HALF or k.free_symbols)
        ):
            u = base - 1
            small = u / (1 + sympy.sqrt(base)) if k == HALF else expm1(k * log1p(u))
            return e - term + c + c * small
    return None


@rule("log(1 + u) loses u where it is small; log1p does not", last=True)
def log1p_from_log(e: Expr) -> Expr | None:
    if isinstance(e, sympy.log):
        weight, argument = None, e.args[0]
    elif isinstance(e, xlogy):
        weight, argument = e.args
    else:
        return None
    if argument.is_number or not (argument.is_Add and argument.as_coeff_Add()[0] == 1):
        return None
    return log1p(argument - 1) if weight is None else xlog1py(weight, argument - 1)


@rule(
    "a/2 + b/2 is 0 where the halves underflow, and its log infinite; log(a + b) - log(2) is not", last=True
)
def log_of_half_sum(e: Expr) -> Expr | None:
    if not isinstance(e, xlogy) or not e.args[1].is_Add:
        return None
    weight, argument = e.args
    if all(t.free_symbols and t.as_coeff_Mul()[0] == HALF for t in argument.args):
        return xlogy(weight, written_out(2 * argument)) - weight * sympy.log(2)
    return None


@rule("log(a) - log(b) cancels where both are large; log(a/b) does not", last=True)
def difference_of_logs(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    found = {}
    for term in e.args:
        factors = [
            f for f in sympy.Mul.make_args(term) if isinstance(f, sympy.log) and f.free_symbols & {Y, P}
        ]
        if len(factors) == 1 and not term.has(sigmoid):
            found[term] = (term / factors[0], factors[0].args[0])
    for one, (k, a) in found.items():
        for other, (minus, b) in found.items():
            if k == -minus and not k.could_extract_minus_sign() and k.is_number:
                return e - one - other + k * sympy.log(a / b)
    return None


@rule("0 log 0 and 0/0 arise where a factor underflows; xlogy and xdivy give 0 there", last=True)
def guard_zero_times_log(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    for factor in e.args:
        rest = e / factor
        if rest.is_number or not rest.free_symbols:
            continue
        if isinstance(factor, sympy.log) and not factor.is_number and not factor.args[0].is_number:
            guarded = xlogy
        elif isinstance(factor, log1p) and rest.has(Y) and factor.args[0].could_extract_minus_sign():
            guarded = xlog1py
        else:
            continue
        sign, rest = rest.as_coeff_Mul()
        return sign * guarded(rest, factor.args[0])
    return None


@rule("0 times a factor that overflowed is not a number; a target of exactly 0 or 1 asks for 0", last=True)
def guard_zero_times_overflow(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    large = [f for f in e.args if _may_overflow(f)]
    small = [f for f in e.args if f not in large and f.free_symbols & {Y, P, Z}]
    if not large or not small or not any(f.has(Y) or f.has(sigmoid) for f in small):
        return None
    rest = [f for f in e.args if f not in large and f not in small]
    return sympy.Mul(*rest, xtimes(sympy.Mul(*small), sympy.Mul(*large)))


@rule("(a - b)/a is 0/0 at a = b = 0; 1 - b/a with 0/a = 0 is not", last=True)
def cancel_quotient(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    for factor in e.args:
        base, power = factor.as_base_exp()
        if not (power.is_number and power.is_negative and base.free_symbols) or isinstance(factor, sympy.exp):
            continue
        divisor = base**-power
        for other in e.args:
            if other.is_Add and len(other.args) == 2:
                for a, b in (other.args, other.args[::-1]):
                    ratio = a / divisor
                    if ratio.is_number:
                        rest = sympy.Mul(*(f for f in e.args if f is not factor and f is not other))
                        sign, numerator = b.as_coeff_Mul()
                        return rest * ratio + rest * sign * xdivy(numerator, divisor)
    return None


@rule("sign(r)/|r|**a is 0/0 at the kink; our convention there is 0, the mean of both sides", last=True)
def guard_kink_quotient(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    signs = [f for f in e.args if isinstance(f, sympy.sign)]
    for factor in e.args:
        base, power = factor.as_base_exp()
        if signs and isinstance(base, sympy.Abs) and power.is_number and power.is_negative:
            return e / signs[0] / factor * xdivy(signs[0], base**-power)
    return None


@rule("xdivy(a, b) with b never 0 is a plain quotient")
def plain_quotient(e: Expr) -> Expr | None:
    return e.args[0] / e.args[1] if isinstance(e, xdivy) and e.args[1].is_positive else None


def _may_overflow(f: Expr) -> bool:
    if isinstance(f, sympy.exp):
        # what is bounded, or only ever negative, cannot make it overflow
        argument = f.args[0].replace(
            lambda e: isinstance(e, sigmoid | sympy.tanh | sympy.sign), lambda e: HALF
        )
        return bool(argument.has(Z)) and not isinstance(-argument, softplus | sympy.Abs | sympy.Pow)
    base, power = f.as_base_exp()
    return isinstance(base, sigmoid) and bool(power.is_number and power.is_negative)


def _bounded_residual(e: Expr) -> tuple[Expr, Expr, Expr, Expr] | None:
    """(inner, outer, r, d) of a where that asks whether |r| <= d."""
    if not (isinstance(e, sympy.Piecewise) and len(e.args) == 2 and e.args[0][1].is_Relational):
        return None
    (inner, condition), (outer, _) = e.args
    large, small = (
        (condition.lhs, condition.rhs) if condition.rel_op in (">=", ">") else (condition.rhs, condition.lhs)
    )
    if not isinstance(small, sympy.Abs) or large.free_symbols & {Y, P, Z} or large.is_negative:
        return None
    return inner, outer, small.args[0], large


@rule("r where |r| <= d, else d sign(r), is a clip: no branch to predict wrongly", last=True)
def clip_from_where(e: Expr) -> Expr | None:
    found = _bounded_residual(e)
    if found is None:
        return None
    inner, outer, r, d = found
    ratio = inner / r
    if written_out(outer / (d * sympy.sign(r)) - ratio) != 0 or ratio.has(sympy.Abs):
        return None
    return ratio * minimum(maximum(r, -d), d)


@rule("r**2 where |r| <= d, else d (2|r| - d), is 2c (r - c/2) with c the clipped r", last=True)
def huber_from_where(e: Expr) -> Expr | None:
    found = _bounded_residual(e)
    if found is None:
        return None
    inner, outer, r, d = found
    k = cancelled(inner / r**2)
    if k.free_symbols & {Y, P, Z} or written_out(outer - k * d * (2 * sympy.Abs(r) - d)) != 0:
        return None
    c = minimum(maximum(r, -d), d)
    return 2 * k * c * (r - c / 2)
