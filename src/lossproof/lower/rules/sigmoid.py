"""Rules for what stands behind a sigmoid: its logs, complements, quotients and powers."""

import sympy

from lossproof.formula.functions import log1p, logaddexp, maximum, minimum, sigmoid, softplus, xlog1py, xlogy
from lossproof.formula.symbols import Y
from lossproof.lower.rules.engine import Expr, rule, sigmoid_powers, sigmoid_terms, written_out


@rule("log(1 + exp(u)) overflows; softplus does not")
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


@rule("1/(1 + exp(u)) and exp(u)/(1 + exp(u)) overflow; sigmoid does not")
def sigmoid_from_exp(e: Expr) -> Expr | None:
    if not (e.is_Pow or e.is_Mul):
        return None
    for factor in sympy.Mul.make_args(e):
        if not (
            factor.is_Pow and factor.args[1] == -1 and factor.args[0].is_Add and len(factor.args[0].args) == 2
        ):
            continue
        one, ex = factor.args[0].args
        if one != 1 or not isinstance(ex, sympy.exp):
            continue
        rest = e / factor
        if rest.has(ex):
            return rest / ex * sigmoid(ex.args[0])
        return rest * sigmoid(-ex.args[0])
    return None


@rule("1 - sigmoid(u) cancels for large u; sigmoid(-u) is exact")
def complement(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    constant = e.as_coeff_Add()[0]
    for term, k, u in sigmoid_terms(e):
        if k.is_number and k.is_negative and constant + k >= 0:
            return e - term + k - k * sigmoid(-u)
        if not k.is_number and -k in e.args:
            return e - term + k - k * sigmoid(-u)
    return None


@rule("c - 2 c sigmoid(u) cancels at u = 0; tanh does not")
def tanh_from_sigmoid(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    constant = e.as_coeff_Add()[0]
    for term, k, u in sigmoid_terms(e):
        if constant != 0 and k == -2 * constant:
            return e - term - constant - constant * sympy.tanh(u / 2)
    return None


@rule("artanh undoes tanh exactly; computed, it is infinite once tanh rounds to 1")
def artanh_of_tanh(e: Expr) -> Expr | None:
    return e.args[0].args[0] if isinstance(e, sympy.atanh) and isinstance(e.args[0], sympy.tanh) else None


@rule("the log undoes the exponential in the sigmoid: log(sigmoid(u)) = -softplus(-u), finite for every u")
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
    kept = (
        sympy.S.Zero
        if remainder == 1
        else (sympy.log(remainder) if weight == 1 else xlogy(weight, remainder))
    )
    return sympy.Add(kept, *(weight * term for term in logs))


@rule("softplus(-u) = softplus(u) - u: one softplus instead of two where their weights add up to a constant")
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
        total = written_out(a + b)
        if total.is_number:
            return e - sympy.Add(*plus) - sympy.Add(*minus) + total * softplus(u) - written_out(b) * u
    return None


@rule("sigmoid(u)/sigmoid(-u) = exp(u): a quotient of two numbers that underflow becomes one that does not")
def sigmoid_quotient(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    powers = sigmoid_powers(e)
    for u, a in powers.items():
        b = powers.get(-u)
        if b is None or not (a.is_number and b.is_number and a.is_positive and b.is_negative):
            continue
        shared = min(a, -b)
        return e * sigmoid(u) ** -shared * sigmoid(-u) ** shared * sympy.exp(shared * u)
    return None


@rule("a/p + b/p is infinity less infinity where p underflows; (a + b)/p is 0 where a + b is")
def same_denominator(e: Expr) -> Expr | None:
    if not e.is_Add:
        return None
    found: dict[Expr, list[Expr]] = {}
    for term in e.args:
        powers = sigmoid_powers(term)
        below = {u: a for u, a in powers.items() if a.is_number and a.is_negative}
        if below and not any(isinstance(f, sympy.Add) for f in sympy.Mul.make_args(term)):
            found.setdefault(sympy.Mul(*(sigmoid(u) ** a for u, a in below.items())), []).append(term)
    for shared, terms in found.items():
        if len(terms) > 1:
            return e - sympy.Add(*terms) + shared * sympy.Add(*(t / shared for t in terms))
    return None


@rule("0**(g - 1) * 0 is infinite times 0; 0**g is not")
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


@rule("sigmoid(u)**y is 0**0 once the sigmoid underflows; exp(-y softplus(-u)) is not")
def target_power_of_sigmoid(e: Expr) -> Expr | None:
    if not e.is_Pow or isinstance(e, sympy.exp) or not isinstance(e.args[0], sigmoid) or not e.args[1].has(Y):
        return None
    return sympy.exp(-e.args[1] * softplus(-e.args[0].args[0]))


@rule("log(a sigmoid(u) + b sigmoid(-u)) is log 0 once a sigmoid underflows; logaddexp of their logs is not")
def log_of_sigmoid_sum(e: Expr) -> Expr | None:
    if not isinstance(e, sympy.log) or not e.args[0].is_Add:
        return None
    plain = sympy.Add(*(t for t in e.args[0].args if not t.has(sigmoid)))
    terms = [t for t in e.args[0].args if t.has(sigmoid)] + ([plain] if plain != 0 else [])
    if len(terms) != 2:
        return None
    logs = []
    for term in terms:
        powers = sigmoid_powers(term)
        coefficient = term / sympy.Mul(*(sigmoid(u) ** a for u, a in powers.items()))
        if not all(a.is_positive for a in powers.values()) or coefficient.has(sigmoid):
            return None
        bases = [f.as_base_exp() for f in sympy.Mul.make_args(coefficient)]
        if not (coefficient.is_positive or all(b in (Y, 1 - Y) and n.is_positive for b, n in bases)):
            return None
        logs.append(sympy.log(coefficient) - sympy.Add(*(a * softplus(-u) for u, a in powers.items())))
    return logaddexp(*logs)


@rule("the log of the smaller of two numbers is the smaller of their logs, each of which can be rewritten")
def log_of_minimum(e: Expr) -> Expr | None:
    if isinstance(e, sympy.log) and isinstance(e.args[0], minimum | maximum):
        return type(e.args[0])(*(sympy.log(a) for a in e.args[0].args))
    return None


@rule("exp(a) exp(b) may be infinite times 0; exp(a + b) is neither")
def exp_product(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    powers = [f for f in e.args if isinstance(f, sympy.exp)]
    if len(powers) < 2:
        return None
    return sympy.Mul(
        *(f for f in e.args if f not in powers), sympy.exp(sympy.Add(*(f.args[0] for f in powers)))
    )
