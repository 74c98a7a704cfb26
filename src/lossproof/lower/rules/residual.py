"""Rules for the residual y - p over powers of p, below roots and in differences, and for sums of quotients."""

import sympy

from lossproof.formula.functions import minimum, sigmoid, xdivy
from lossproof.formula.symbols import Y, Z
from lossproof.lower.rules.engine import Expr, cancelled, rule, sigmoid_powers, sigmoid_terms, written_out


@rule("y - p = y (1 - p) - (1 - y) p: over powers of p or 1 - p the residual neither cancels nor is 0/0")
def residual_over_powers(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    powers = sigmoid_powers(e)
    for factor in e.args:
        base, n = factor.as_base_exp()
        outer = sympy.Abs if isinstance(base, sympy.Abs) else None
        residual = base.args[0] if outer else base
        if not (residual.is_Add and n.is_number and n.is_positive):
            continue
        for term, k, u in sigmoid_terms(residual):
            a, b = powers.get(u, sympy.S.Zero), powers.get(-u, sympy.S.Zero)
            rest = written_out((residual - term) / -k)
            if k not in (1, -1) or rest.has(Z) or not (a.is_negative or b.is_negative):
                continue
            alpha, beta = a / n, b / n  # each factor of the power takes its share
            s, q = sigmoid(u), sigmoid(-u)
            spread = rest * _exp_or_powers(u, alpha, beta + 1) - (1 - rest) * _exp_or_powers(
                u, alpha + 1, beta
            )
            if not outer and not n.is_integer:
                continue
            spread = outer(spread) if outer else -k * spread
            return e / factor / s**a / q**b * spread**n
    return None


@rule("below a root, y - p loses what it has of p near 1; y (1 - p) - (1 - y) p does not")
def residual_below_root(e: Expr) -> Expr | None:
    if not (e.is_Pow and e.args[1].is_number and abs(e.args[1]) < 1 and isinstance(e.args[0], sympy.Abs)):
        return None
    residual = e.args[0].args[0]
    if residual in (Y - sigmoid(Z), sigmoid(Z) - Y):
        return sympy.Abs(Y * sigmoid(-Z) - (1 - Y) * sigmoid(Z)) ** e.args[1]
    return None


@rule(
    "1 - r**2 = (1 - r)(1 + r), for r = p = sigmoid(u) and for r = y - p: products of sums of small numbers"
)
def one_minus_square(e: Expr) -> Expr | None:
    if not e.is_Add or e.as_coeff_Add()[0] != 1 or len(e.args) != 2:
        return None
    base, n = (1 - e).as_base_exp()
    if n != 2:
        return None
    if isinstance(base, sigmoid):
        return sigmoid(-base.args[0]) * (1 + base)
    for _, k, u in sigmoid_terms(base) if base.is_Add else []:
        if k in (1, -1) and written_out((base - k * sigmoid(u)) / -k) == Y:
            return (1 - Y + sigmoid(u)) * (Y + sigmoid(-u))
    return None


@rule("1 - |y - p| = min(1 - y + p, y + 1 - p): sums of small numbers, no difference of large ones")
def one_minus_residual(e: Expr) -> Expr | None:
    if not e.is_Add or e.as_coeff_Add()[0] != 1 or len(e.args) != 2:
        return None
    other = e - 1
    if not isinstance(-other, sympy.Abs):
        return None
    residual = (-other).args[0]
    for _, k, u in sigmoid_terms(residual) if residual.is_Add else []:
        rest = written_out((residual - k * sigmoid(u)) / -k)
        if k in (1, -1) and rest == Y:
            return minimum((1 - Y) + sigmoid(u), Y + sigmoid(-u))
    return None


@rule("(a - p)/p is 0/0 where both underflow; a/p - 1 is not")
def share_power(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    powers = sigmoid_powers(e)
    for factor in e.args:
        base, n = factor.as_base_exp()
        if not (base.is_Add and n.is_integer and n.is_positive):
            continue
        for u, a in powers.items():
            if not (a.is_number and a.is_negative):
                continue
            held = [sigmoid_powers(t).get(u, sympy.S.Zero) for t in base.args]
            if any(h.is_number and h >= -a / n for h in held):
                shared = sympy.Add(*(t * sigmoid(u) ** (a / n) for t in base.args))
                return e / factor / sigmoid(u) ** a * shared**n
    return None


@rule("a/c + b/c = (a + b)/c, where that is a constant: two quotients that cancel become none")
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
        ratio = cancelled(sympy.Add(*(n for _, n in terms)) / denominator) if len(terms) > 1 else None
        if ratio is not None and ratio.has(sigmoid):
            ratio = cancelled(ratio.replace(sigmoid, lambda u: 1 - sigmoid(-u) if u.could_extract_minus_sign() else
                                               sigmoid(u)))  # fmt: skip
        if ratio is not None and ratio.is_number:
            return e - sympy.Add(*(t for t, _ in terms)) + k * ratio
    return None


@rule("2*(2*a - 2*b) = 4*(a - b): fewer operations, and the signs in reading order")
def content(e: Expr) -> Expr | None:
    if not e.is_Mul:
        return None
    for factor in e.args:
        if factor.is_Add:
            c, primitive = factor.primitive()
            others = [f for f in e.args if f is not factor]
            if sympy.Mul(*others).is_number:
                continue
            if c != 1 and c.is_Integer:
                return sympy.Mul(c, *others, primitive)
            flipped = sympy.Mul(-1, *others, -factor)
            if _minus_signs(flipped) < _minus_signs(e):
                return flipped
    return None


def _minus_signs(e: Expr) -> int:
    coefficient, rest = e.as_coeff_Mul()
    factors = [f for f in sympy.Mul.make_args(rest) if f.is_Add]
    return int(coefficient.is_negative) + sum(bool(f.could_extract_minus_sign()) for f in factors)


def _exp_or_powers(u: Expr, a: Expr, b: Expr) -> Expr:
    """sigmoid(u)**a * sigmoid(-u)**b, with what cancels between them as an exponential."""
    if a.is_positive and b.is_negative:
        shared = min(a, -b)
        return sympy.exp(shared * u) * sigmoid(u) ** (a - shared) * sigmoid(-u) ** (b + shared)
    if a.is_negative and b.is_positive:
        shared = min(-a, b)
        return sympy.exp(-shared * u) * sigmoid(u) ** (a + shared) * sigmoid(-u) ** (b - shared)
    return sigmoid(u) ** a * sigmoid(-u) ** b
