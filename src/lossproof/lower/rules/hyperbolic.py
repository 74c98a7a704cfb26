"""Rules for cosh, tanh and the normaliser of the continuous Bernoulli."""

import sympy

from lossproof.formula.functions import logcosh, logexprel, logsinhc, maximum, sigmoid, softplus
from lossproof.lower.rules.engine import HALF, Expr, cancelled, rule, written_out


@rule("log(cosh(u)) overflows; logcosh does not")
def logcosh_from_log(e: Expr) -> Expr | None:
    return (
        logcosh(e.args[0].args[0]) if isinstance(e, sympy.log) and isinstance(e.args[0], sympy.cosh) else None
    )


@rule("softplus(u) - logcosh(u/2) = u/2 + log 2: two large terms become none")
def softplus_minus_logcosh(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    for term in e.args:
        factors = [f for f in sympy.Mul.make_args(term) if isinstance(f, softplus)]
        if len(factors) != 1:
            continue
        k, u = term / factors[0], factors[0].args[0]
        partner = -k * logcosh(u / 2)
        if partner in e.args:
            return e - term - partner + k * (u / 2 + sympy.log(2))
    return None


@rule("u/2 + logsinhc(u/2) cancels for large negative u; log((exp(u) - 1)/u) does not")
def logexprel_from_logsinhc(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    for term in e.args:
        factors = [f for f in sympy.Mul.make_args(term) if isinstance(f, logsinhc)]
        if len(factors) == 1:
            k, half = term / factors[0], factors[0].args[0]
            if k * half in e.args:
                return e - term - k * half + k * logexprel(2 * half)
    return None


@rule(
    "logexprel(u) - w u cancels for large u and w near 1; what is over, u (1 - w), is exact where 1 - w is",
    last=True,
)
def logexprel_minus_part(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    for term in e.args:
        factors = [f for f in sympy.Mul.make_args(term) if isinstance(f, logexprel)]
        if len(factors) != 1:
            continue
        k, u = term / factors[0], factors[0].args[0]
        parts = [t for t in e.args if t is not term and u.free_symbols and not (t / u).has(*u.free_symbols)]
        if not parts:
            continue
        w = -sympy.Add(*(t / (k * u) for t in parts))
        split = logexprel(-sympy.Abs(u)) + maximum(u, 0) * written_out(1 - w) + maximum(-u, 0) * w
        return e - term - sympy.Add(*parts) + sympy.Add(*(k * t for t in split.args))
    return None


@rule("log(u/tanh(u/2)) is 0/0 at u = 0; log 2 + logcosh - logsinhc is finite everywhere")
def log_of_u_over_tanh(e: Expr) -> Expr | None:
    if not isinstance(e, sympy.log):
        return None
    for factor in sympy.Mul.make_args(e.args[0]):
        base, power = factor.as_base_exp()
        if power == -1 and isinstance(base, sympy.tanh):
            half = base.args[0]
            rest = cancelled(e.args[0] * base / half)
            if rest.is_positive and rest.is_number:
                return sympy.log(rest) - logsinhc(half) + logcosh(half)
    return None


@rule("a value patched in at one point of a formula that already has it there")
def removable_point(e: Expr) -> Expr | None:
    if not (isinstance(e, sympy.Piecewise) and len(e.args) == 2 and isinstance(e.args[0][1], sympy.Eq)):
        return None
    (point_value, condition), (general, _) = e.args
    x, at = condition.args
    if isinstance(x, sigmoid) and at == HALF:
        return sympy.Piecewise((point_value, sympy.Eq(x.args[0], 0)), (general, True))
    if x.is_Symbol and at.is_number and not general.has(sympy.Pow):
        try:
            if sympy.expand_log(general.subs(x, at) - point_value, force=True) == 0:
                return general
        except (TypeError, ValueError):
            return None
    return None
