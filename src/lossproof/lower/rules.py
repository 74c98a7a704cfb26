"""The rewriting rules that make a loss stable: each has a name, a reason and a test.

A rule looks at one node of an expression and returns an equal node, or None. ``rewrite`` applies all rules
bottom-up until nothing changes and records what it did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy

from lossproof.formula.functions import (
    expm1,
    log1p,
    logaddexp,
    logcosh,
    logexprel,
    logsinhc,
    sigmoid,
    softplus,
    xdivy,
    xlog1py,
    xlogy,
)

Expr = Any
HALF = sympy.Rational(1, 2)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewriting rule: one node in, an equal and more stable node out (or None)."""

    name: str
    reason: str
    apply: Callable[[Expr], Expr | None]
    last: bool = False  # only after derivatives are taken: it helps numbers, not algebra


@dataclass(frozen=True, slots=True)
class Step:
    """One application of a rule, kept for people to read."""

    rule: str
    before: str
    after: str


RULES: list[Rule] = []


def _rule(reason: str, *, last: bool = False) -> Callable[[Callable[[Expr], Expr | None]], Callable[[Expr], Expr | None]]:
    def register(apply: Callable[[Expr], Expr | None]) -> Callable[[Expr], Expr | None]:
        RULES.append(Rule(apply.__name__, reason, apply, last))
        return apply

    return register


def _sigmoid_terms(add: Expr) -> list[tuple[Expr, Expr, Expr]]:
    """Terms k*sigmoid(u) of a sum as (term, k, u)."""
    found = []
    for term in add.args:
        factors = [f for f in sympy.Mul.make_args(term) if isinstance(f, sigmoid)]
        if len(factors) == 1:
            found.append((term, term / factors[0], factors[0].args[0]))
    return found


@_rule("log(1 + exp(u)) overflows; softplus does not")
def softplus_from_exp(e: Expr) -> Expr | None:
    u = None
    if isinstance(e, log1p) and isinstance(e.args[0], sympy.exp):
        u = e.args[0].args[0]
    elif isinstance(e, sympy.log) and e.args[0].is_Add and len(e.args[0].args) == 2:
        a, b = e.args[0].args
        if isinstance(a, sympy.exp) and isinstance(b, sympy.exp):
            return logaddexp(a.args[0], b.args[0])
        if a == 1 and isinstance(b, sympy.exp):
            u = b.args[0]
    return None if u is None else softplus(u)


@_rule("1/(1 + exp(u)) and exp(u)/(1 + exp(u)) overflow; sigmoid does not")
def sigmoid_from_exp(e: Expr) -> Expr | None:
    if not (e.is_Pow or e.is_Mul):
        return None
    for factor in sympy.Mul.make_args(e):
        if not (factor.is_Pow and factor.args[1] == -1 and factor.args[0].is_Add and len(factor.args[0].args) == 2):
            continue
        one, ex = factor.args[0].args
        if one != 1 or not isinstance(ex, sympy.exp):
            continue
        rest = e / factor
        if rest.has(ex):
            return rest / ex * sigmoid(ex.args[0])
        return rest * sigmoid(-ex.args[0])
    return None


@_rule("1 - sigmoid(u) cancels for large u; sigmoid(-u) is exact")
def complement(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    constant = e.as_coeff_Add()[0]
    for term, k, u in _sigmoid_terms(e):
        if k.is_number and k.is_negative and constant + k >= 0:
            return e - term + k - k * sigmoid(-u)
        if not k.is_number and -k in e.args:
            return e - term + k - k * sigmoid(-u)
    return None


@_rule("c - 2 c sigmoid(u) cancels at u = 0; tanh does not")
def tanh_from_sigmoid(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    constant = e.as_coeff_Add()[0]
    for term, k, u in _sigmoid_terms(e):
        if constant != 0 and k == -2 * constant:
            return e - term - constant - constant * sympy.tanh(u / 2)
    return None


@_rule("log(cosh(u)) overflows; logcosh does not")
def logcosh_from_log(e: Expr) -> Expr | None:
    return logcosh(e.args[0].args[0]) if isinstance(e, sympy.log) and isinstance(e.args[0], sympy.cosh) else None


@_rule("artanh undoes tanh exactly; computed, it is infinite once tanh rounds to 1")
def artanh_of_tanh(e: Expr) -> Expr | None:
    return e.args[0].args[0] if isinstance(e, sympy.atanh) and isinstance(e.args[0], sympy.tanh) else None


@_rule("the log undoes the exponential in the sigmoid: log(sigmoid(u)) = -softplus(-u), finite for every u")
def log_of_sigmoid(e: Expr) -> Expr | None:
    if isinstance(e, sympy.log | log1p):
        weight, argument = sympy.S.One, e.args[0]
    elif isinstance(e, xlogy | xlog1py):
        weight, argument = e.args
    else:
        return None
    if isinstance(e, log1p | xlog1py):
        return -weight * softplus((-argument).args[0]) if isinstance(-argument, sigmoid) else None
    logs, rest = [], []
    for factor in sympy.Mul.make_args(argument):
        base, power = factor.as_base_exp()
        if isinstance(base, sigmoid):
            logs.append(-power * softplus(-base.args[0]))
        else:
            rest.append(factor)
    if not logs:
        return None
    remainder = sympy.Mul(*rest)
    kept = sympy.S.Zero if remainder == 1 else (sympy.log(remainder) if weight == 1 else xlogy(weight, remainder))
    return sympy.Add(kept, *(weight * term for term in logs))


@_rule("softplus(-u) = softplus(u) - u: one softplus instead of two where their weights add up to a constant")
def softplus_pair(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    weights: dict[Expr, list[Expr]] = {}
    for term in e.args:
        factors = [f for f in sympy.Mul.make_args(term) if isinstance(f, softplus)]
        if len(factors) == 1:
            weights.setdefault(factors[0].args[0], []).append(term)
    for u, plus in weights.items():
        minus = weights.get(-u)
        if minus is None or u.could_extract_minus_sign():
            continue
        a, b = sympy.Add(*plus) / softplus(u), sympy.Add(*minus) / softplus(-u)
        total = sympy.expand(a + b)
        if total.is_number:
            return e - sympy.Add(*plus) - sympy.Add(*minus) + total * softplus(u) - sympy.expand(b) * u
    return None


@_rule("softplus(u) - logcosh(u/2) = u/2 + log 2: two large terms become none")
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


@_rule("u/2 + logsinhc(u/2) cancels for large negative u; log((exp(u) - 1)/u) does not")
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


@_rule("log(u/tanh(u/2)) is 0/0 at u = 0; log 2 + logcosh - logsinhc is finite everywhere")
def log_of_u_over_tanh(e: Expr) -> Expr | None:
    if not isinstance(e, sympy.log):
        return None
    for factor in sympy.Mul.make_args(e.args[0]):
        base, power = factor.as_base_exp()
        if power == -1 and isinstance(base, sympy.tanh):
            half = base.args[0]
            rest = sympy.cancel(e.args[0] * base / half)
            if rest.is_positive and rest.is_number:
                return sympy.log(rest) - logsinhc(half) + logcosh(half)
    return None


@_rule("a value patched in at one point of a formula that already has it there")
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


@_rule("log(1 + u) loses u where it is small; log1p does not", last=True)
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


@_rule("0 log 0 and 0/0 arise where a factor underflows; xlogy and xdivy give 0 there", last=True)
def guard_zero_times_log(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    for factor in e.args:
        rest = e / factor
        if rest.is_number or not rest.free_symbols:
            continue
        if isinstance(factor, sympy.log) and not factor.is_number and not factor.args[0].is_number:
            sign, rest = rest.as_coeff_Mul()
            return sign * xlogy(rest, factor.args[0])
    return None


@_rule("(a - b)/a is 0/0 at a = b = 0; 1 - b/a with 0/a = 0 is not", last=True)
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


@_rule("xdivy(a, b) with b never 0 is a plain quotient")
def plain_quotient(e: Expr) -> Expr | None:
    return e.args[0] / e.args[1] if isinstance(e, xdivy) and e.args[1].is_positive else None


@_rule("sqrt(1 + u) - 1 and (1 + u)**k - 1 cancel for small u; u/(1 + sqrt(1 + u)) and expm1(k log1p(u)) do not", last=True)
def power_minus_one(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    for term in e.args:
        c, power = term.as_coeff_Mul()
        if -c not in e.args or not power.is_Pow or isinstance(power, sympy.exp):
            continue
        base, k = power.args
        if base.is_Add and base.as_coeff_Add()[0] == 1 and base.free_symbols and (k == HALF or k.free_symbols):
            u = base - 1
            small = u / (1 + sympy.sqrt(base)) if k == HALF else expm1(k * log1p(u))
            return e - term + c + c * small
    return None


@_rule("0**(g - 1) * 0 is infinite times 0; 0**g is not")
def combine_powers(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    powers: dict[Expr, list[Expr]] = {}
    for factor in e.args:
        base, power = factor.as_base_exp()
        if isinstance(base, sigmoid):
            powers.setdefault(base, []).append(power)
    doubled = {base: sympy.Add(*found) for base, found in powers.items() if len(found) > 1}
    if not doubled:
        return None
    rest = [f for f in e.args if f.as_base_exp()[0] not in doubled]
    return sympy.Mul(*rest, *(base**power for base, power in doubled.items()))


@_rule("a/c + b/c = (a + b)/c, where that is a constant: two quotients that cancel become none")
def quotient_sum(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    found: dict[tuple[Expr, Expr], list[tuple[Expr, Expr]]] = {}
    for term in e.args:
        factors = [f for f in sympy.Mul.make_args(term) if isinstance(f, xdivy)]
        if len(factors) == 1:
            numerator, denominator = factors[0].args
            found.setdefault((term / factors[0], denominator), []).append((term, numerator))
    for (k, denominator), terms in found.items():
        ratio = sympy.cancel(sympy.Add(*(n for _, n in terms)) / denominator) if len(terms) > 1 else None
        if ratio is not None and ratio.has(sigmoid):
            ratio = sympy.cancel(ratio.replace(sigmoid, lambda u: 1 - sigmoid(-u) if u.could_extract_minus_sign() else
                                               sigmoid(u)))  # fmt: skip
        if ratio is not None and ratio.is_number:
            return e - sympy.Add(*(t for t, _ in terms)) + k * ratio
    return None


@_rule("2*(2*a - 2*b) = 4*(a - b): fewer operations, and the signs in reading order")
def content(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    for factor in e.args:
        if factor.is_Add:
            c, primitive = factor.primitive()
            rest = e / factor
            if rest.is_number:
                continue
            if c != 1:
                return c * rest * primitive
            if rest.as_coeff_Mul()[0].is_negative and factor.could_extract_minus_sign():
                return sympy.Mul(-rest, -factor, evaluate=True)
    return None


STRUCTURE = [rule for rule in RULES if not rule.last]


def rewrite(expr: Expr, *, rules: list[Rule] | None = None, limit: int = 400) -> tuple[Expr, list[Step]]:
    """Apply rules (all by default) bottom-up until none applies; returns the expression and the steps taken.

    >>> from lossproof.formula.symbols import Y, Z
    >>> rewrite(Y * softplus(-Z) + (1 - Y) * softplus(Z))[0]
    -y*z + softplus(z)
    """
    active = RULES if rules is None else rules
    steps: list[Step] = []

    def visit(node: Expr) -> Expr:
        if node.args and not node.is_Relational:
            args = [visit(a) for a in node.args]
            if any(new is not old for new, old in zip(args, node.args, strict=True)):
                node = node.func(*args)
        for rule in active:
            new = rule.apply(node) if len(steps) < limit else None
            if new is not None and new != node:
                steps.append(Step(rule.name, str(node), str(new)))
                return visit(new)
        return node

    while True:
        count = len(steps)
        new = visit(expr)
        if new == expr or len(steps) == count or len(steps) >= limit:
            return new, steps
        expr = new
