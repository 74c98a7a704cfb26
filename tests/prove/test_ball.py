import math
import random
from fractions import Fraction

import flint
import mpmath
import pytest
import sympy

from lossproof.formula import LossproofError
from lossproof.formula.functions import derivative, langevin, logexprel, logsinhc, meanexp
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.prove.ball import ball, sign_at, value
from lossproof.prove.special import precision

FORMULAS = {
    "-(xlogy(y, p) + xlogy(1 - y, 1 - p))": lambda y, p: -(y * mpmath.log(p) + (1 - y) * mpmath.log(1 - p)),
    "logcosh(3*(y - p))/3": lambda y, p: mpmath.log(mpmath.cosh(3 * (y - p))) / 3,
    "abs(y - p)**(3/2)": lambda y, p: abs(y - p) ** mpmath.mpf(1.5),
    "where(abs(y - p) <= 1/4, (y - p)**2/2, abs(y - p)/4 - 1/32)": lambda y, p: (
        (y - p) ** 2 / 2 if abs(y - p) <= 0.25 else abs(y - p) / 4 - mpmath.mpf(1) / 32
    ),
    "gammaln(p) + digamma(y)": lambda y, p: mpmath.loggamma(p) + mpmath.digamma(y),
    "polygamma(1, p) - polygamma(2, y) + y*polygamma(2, 1) - polygamma(4, 1)": lambda y, p: (  # zeta(3), zeta(5)
        mpmath.psi(1, p) - mpmath.psi(2, y) - 2 * y * mpmath.zeta(3) + 24 * mpmath.zeta(5)
    ),
    "maximum(y, p)*minimum(y, 1 - p)": lambda y, p: max(y, p) * min(y, 1 - p),
    "softplus(p) + sigmoid(y) + logaddexp(y, p)": lambda y, p: (
        mpmath.log1p(mpmath.exp(p)) + 1 / (1 + mpmath.exp(-y)) + mpmath.log(mpmath.exp(y) + mpmath.exp(p))
    ),
    "erf(y)*arctan(p) + arcsinh(y) - arctanh(p)*tanh(y)": lambda y, p: (
        mpmath.erf(y) * mpmath.atan(p) + mpmath.asinh(y) - mpmath.atanh(p) * mpmath.tanh(y)
    ),
    "p**y + exp(sin(p))*cos(y) - pi*expm1(y)": lambda y, p: (
        p**y + mpmath.exp(mpmath.sin(p)) * mpmath.cos(y) - mpmath.pi * mpmath.expm1(y)
    ),
}


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("bits", [64, 200])
def test_balls_contain_what_mpmath_computes(text, bits):
    expr, oracle = parse(text), FORMULAS[text]
    rng = random.Random(text)
    for _ in range(50):
        y, p = (Fraction(rng.randint(1, 999), 1000) for _ in range(2))
        out = ball(expr, {Y: y, P: p}, bits=bits)
        with mpmath.workdps(100):
            exact = oracle(*(mpmath.mpf(q.numerator) / q.denominator for q in (y, p)))
            digits = mpmath.nstr(exact, 95)
        with precision(400):
            with_digits = flint.arb(digits)
            assert abs(out - with_digits) < (1 + abs(with_digits)) * flint.arb(2) ** -(bits - 14)
            assert out.overlaps(with_digits + flint.arb(0, 1e-90))


@pytest.mark.parametrize(
    ("text", "y", "p", "expected"),
    [
        ("xlogy(y, p)", 0, 0, 0),
        ("xlog1py(y, -p)", 0, 1, 0),
        ("log(p)*y", 1, 0, -math.inf),
        ("-xlogy(y, p)", 1, 0, math.inf),
        ("gammaln(p)", 1, 0, math.inf),
        ("1/p**2", 1, 0, math.inf),
        ("arctanh(p)", 1, 1, math.inf),
        ("exp(log(p))", 1, 0, 0),
        ("logcosh(y - p)", 1, 1, 0),
        ("sqrt(p)", 1, Fraction(4, 9), Fraction(2, 3)),
        ("where(p == 1/2, y, log(-1))", 3, Fraction(1, 2), 3),
    ],
)
def test_conventions_and_exact_values(text, y, p, expected):
    found = ball(parse(text), {Y: y, P: p})
    if math.isfinite(expected):
        assert value(parse(text), {Y: y, P: p}) == flint.fmpq(*Fraction(expected).as_integer_ratio())
    assert float(found) == float(expected)


@pytest.mark.parametrize(
    "text", ["log(p)*y", "1/p", "log(p) - log(p**2)", "log(p - 1)", "sqrt(p - 1)", "gammaln(p - 1/2)"]
)
def test_no_value_is_nan(text):
    at = {Y: 0, P: 0}
    assert ball(parse(text), at).is_nan()
    assert sign_at(parse(text), at) is None


def test_a_condition_that_cannot_be_told_gives_no_value():
    parsed = parse("where(sigmoid(p) < 1/(1 + exp(-p)), 1, 2)")
    at = {Y: Fraction(1, 3), P: Fraction(1, 7)}
    assert ball(parsed, at).is_nan()
    assert sign_at(parsed, at) is None


def test_signs_of_tiny_gaps_and_exact_zeros():
    tiny = parse("log(1 + p) - p + p**2/2 - p**3/3")
    assert sign_at(tiny, {P: Fraction(1, 10**20)}) == -1
    assert sign_at(parse("(p - y)*(p + y) - p**2 + y**2"), {P: Fraction(1, 3), Y: Fraction(2, 7)}) == 0
    gap = parse("xlogy(y, p) - log(y)*y")  # the same terms once y = p
    assert sign_at(gap, {P: Fraction(1, 3), Y: Fraction(1, 3)}) == 0
    # zero in truth, but no arithmetic shows it: undecided, never 0
    assert sign_at(parse("sigmoid(p) - 1/(1 + exp(-p))"), {P: Fraction(1, 3)}) is None


def test_nothing_large_is_factored_under_a_root():
    # SymPy 1.14 takes a composite factor of 2025*10**90 + 1 for a prime, and raises
    root = parse("sqrt(1 + ((p - y)/45)**2) - sqrt(1 + ((p - y)/45)**2 + 0*p)")
    at = {P: Fraction(1, 3), Y: Fraction(1, 3) - Fraction(1, 10**45)}
    assert sign_at(parse("sqrt(1 + ((p - y)/45)**2) - 1"), at) in (1, None)
    assert sign_at(root, at) in (0, None)


def test_bits_limit_what_is_told():
    tiny = parse("log(1 + p) - p + p**2/2 - p**3/3")
    assert sign_at(tiny, {P: Fraction(1, 10**20)}, bits=(64,)) is None


def test_derivatives_of_the_library_functions():
    for f in (logsinhc, logexprel, meanexp, langevin):
        first = derivative(f(P), P)
        for p in (Fraction(1, 7), Fraction(-5, 2), Fraction(1, 1000), 0):
            h = Fraction(1, 10**12)
            with precision(300):
                slope = (ball(f(P), {P: p + h}, bits=300) - ball(f(P), {P: p - h}, bits=300)) * 10**12 / 2
            assert float(ball(first, {P: p})) == pytest.approx(float(slope), rel=1e-9, abs=1e-12)


def test_the_callers_precision_is_kept():
    before = flint.ctx.prec
    with pytest.raises(LossproofError, match="expected a value for y"):
        ball(parse("log(y) + p"), {P: 1}, bits=777)
    with pytest.raises(LossproofError, match="exact rational"):
        ball(parse("log(y) + p"), {P: 0.5, Y: 1})
    sign_at(parse("sigmoid(p) - 1/(1 + exp(-p))"), {P: Fraction(1, 3)})
    assert flint.ctx.prec == before
    assert mpmath.mp.dps == 15


def test_unknown_functions_are_refused():
    with pytest.raises(LossproofError, match="expected a function that formulas have, got gamma"):
        ball(sympy.gamma(P), {P: 1})
    with pytest.raises(LossproofError, match="expected a comparison"):
        ball(sympy.Piecewise((1, sympy.Symbol("b")), (2, True)), {sympy.Symbol("b"): 1})


def test_large_exact_values_become_balls():
    expr = (P + 1) ** 9999
    found = value(expr, {P: Fraction(1, 3)})
    assert not isinstance(found, flint.fmpq)
    assert found > 0
