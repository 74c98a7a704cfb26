"""Signs against values that the calculus has no part in: mpmath at 40 digits, at random points."""

import random
import time

import mpmath
import pytest
import sympy
from tests.prove.values import OK, value

from lossproof.formula import functions as F
from lossproof.formula.functions import derivative
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y, parameter
from lossproof.prove import sign as sign_module
from lossproof.prove import sign_poly, sign_rules
from lossproof.prove.sign import sign

a, b, c, c0, delta, k, s, t = sympy.symbols("a b c c0 delta k s t", positive=True)
r = sympy.Symbol("r", real=True)
H, ONE, ZERO = sympy.Rational(1, 2), sympy.S.One, sympy.S.Zero
TINY = sympy.Rational(1, 10**30)
PARAMS = {n: parameter(n) for n in ("tau", "alpha", "delta", "c", "k")}
REGIONS = {
    "unit": ((a / (a + b + c), (a + b) / (a + b + c)), ((a + b) / (a + b + c), a / (a + b + c)), (ZERO, b / (b + c)), (ONE, b / (b + c))),
    "half": ((a, a + b), (a + b, a), (ZERO, b)),
    "real": ((r, r + b), (r + b, r)),
}  # fmt: skip
BARRON = "abs(alpha - 2)/alpha*((((y - p)/c)**2/abs(alpha - 2) + 1)**(alpha/2) - 1)"
JS = (
    "(xlogy(y, y) - xlogy(y, (y + p)/2) + xlogy(1 - y, 1 - y) - xlogy(1 - y, 1 - (y + p)/2)"
    " + xlogy(p, p) - xlogy(p, (y + p)/2) + xlogy(1 - p, 1 - p) - xlogy(1 - p, 1 - (y + p)/2))/2"
)
#: name: formula, region, parameters, signs of dl/dp and of d2l/dp2 at p > y, p < y, y = 0, y = 1
LOSSES = {
    "bce": ("-(xlogy(y, p) + xlogy(1 - y, 1 - p))", "unit", {}, "+ - + -", "+ + + +"),
    "mse": ("(y - p)**2", "real", {}, "+ -", "+ +"),
    "mae": ("abs(y - p)", "real", {}, "+ -", "0 0"),
    "logcosh": ("logcosh(k*(y - p))/k", "real", {"k": k}, "+ -", "+ +"),
    "huber": ("where(abs(y - p) <= delta, (y - p)**2/2, delta*(abs(y - p) - delta/2))", "real", {"delta": delta}, "+ -", ">= >="),
    "charbonnier": ("delta**2*(sqrt(1 + ((y - p)/delta)**2) - 1)", "real", {"delta": delta}, "+ -", "+ +"),
    "pinball": ("tau*maximum(y - p, 0) + (1 - tau)*maximum(p - y, 0)", "real", {"tau": s / (s + t)}, "+ -", "0 0"),
    "poisson": ("xlogy(y, y) - xlogy(y, p) - y + p", "half", {}, "+ - +", "+ + 0"),
    "msle": ("(log1p(y) - log1p(p))**2", "unit", {}, "+ - + -", "+ + + +"),
    "kl": ("xlogy(y,y) - xlogy(y,p) + xlogy(1-y,1-y) - xlogy(1-y,1-p)", "unit", {}, "+ - + -", "+ + + +"),
    "reverse kl": ("p*(log(p)-log(y)) + (1-p)*(log(1-p)-log(1-y))", "unit", {}, "+ - ? ?", "+ + + +"),
    "jensen-shannon": (JS, "unit", {}, "+ - + -", "+ + + +"),
    "sqrt": ("(sqrt(p) - sqrt(y))**2", "unit", {}, "+ - + -", "+ + 0 +"),
    "hellinger": ("((sqrt(p)-sqrt(y))**2 + (sqrt(1-p)-sqrt(1-y))**2)/2", "unit", {}, "+ - + -", "+ + + +"),
    "beta": ("p**(k+1)/(k+1) - y*p**k/k", "half", {"k": k}, "+ - +", "+ ? +"),
    "beta 3/2": ("p**1.5/1.5 - y*p**0.5/0.5", "half", {}, "+ - +", "+ + +"),
    "chi2": ("(y-p)**2/(p*(1-p))", "unit", {}, "+ - + -", "+ + + +"),
    "itakura-saito": ("y/p - log(y/p) - 1", "half", {}, "+ - +", "? + -"),
    "barron -2": (BARRON, "real", {"alpha": -2 * ONE, "c": c0}, "+ -", "? ?"),
    "barron 0": ("log1p(((y - p)/c)**2/2)", "real", {"c": c0}, "+ -", "? ?"),
    "barron 1": (BARRON, "real", {"alpha": ONE, "c": c0}, "+ -", "+ +"),
    "barron (0, 1)": (BARRON, "real", {"alpha": 1 / (1 + k), "c": c0}, "+ -", "? ?"),
    "barron < 0": (BARRON, "real", {"alpha": -k, "c": c0}, "+ -", "? ?"),
    "barron (1, 2)": (BARRON, "real", {"alpha": 2 - 1 / (1 + k), "c": c0}, "+ -", "+ +"),
    "welsch": ("1 - exp(-(y-p)**2/(2*c**2))", "real", {"c": c0}, "+ -", "? ?"),
    "geman-mcclure": ("(y-p)**2/((y-p)**2 + c**2)", "real", {"c": c0}, "+ -", "? ?"),
    "spherical": ("-(y*p + (1-y)*(1-p))/sqrt(p**2 + (1-p)**2)", "unit", {}, "+ - + -", "? ? ? ?"),
    "fourth power": ("(p-y)**4", "real", {}, "+ -", "+ +"),
    "focal": ("-(xlogy(y*(1 - p)**2, p) + xlogy((1 - y)*p**2, 1 - p))", "unit", {}, "? ? + -", "+ + + +"),
    "weighted bce": ("-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))", "unit", {}, "? - + -", "+ + + +"),
}  # fmt: skip


def _golden():
    for name, (text, region, values, first, second) in LOSSES.items():
        loss = parse(text, params=PARAMS).xreplace({PARAMS[n]: v for n, v in values.items()})
        l1 = derivative(loss, P)
        for label, expr, signs in (("dl/dp", l1, first), ("d2l/dp2", derivative(l1, P), second)):
            for i, ((y, p), expected) in enumerate(zip(REGIONS[region], signs.split(), strict=True)):
                yield pytest.param(expr.xreplace({Y: y, P: p}), expected, id=f"{name} {label} {i}")


#: expression, sign; the rules of the calculus one by one
EXPRESSIONS = [
    (a - b, "?"), (a * b - a * b, "0"), ((a - b) ** 2, ">="), (a**2 - 2 * a + 1, ">="), ((a - b) ** 2 + TINY * a, "+"),
    (a**2 - 2 * a * b + (1 - sympy.Rational(1, 10**20)) * b**2, "?"), (a**2 - 2 * a + 2, "+"),
    (a**2 - 2 * a * b + (1 + sympy.Rational(1, 10**20)) * b**2, "+"), (a**3 + b**3 + 1 - 3 * a * b, ">="),
    (sympy.log(4) - 2 * sympy.log(2), "0"), (sympy.log(2) - H, "+"), (sympy.pi - 4, "-"),
    (a * (sympy.log(2) - sympy.Rational(7, 10)), "-"), (a**2 - 2 * sympy.sqrt(2) * a * b + 2 * b**2 + a, "+"),
    (sympy.log(a), "?"), (sympy.log(1 + a), "+"), (sympy.log(a + b) - sympy.log(a), "+"),
    (2 * sympy.log(a + b) - sympy.log(a) - sympy.log(b), "+"), (sympy.log(1 + a) - a, "-"), (a - 1 - sympy.log(a), ">="),
    (a * sympy.log(a / b) - a + b, ">="), (sympy.exp(a) - 1, "+"), (sympy.exp(a) - 1 - a - a**2 / 2, "+"),
    (sympy.exp(r) - 1 - r, ">="), (sympy.exp(-((r - a) ** 2)), "+"), (1 - sympy.exp(-a * b), "+"),
    (sympy.tanh(a) - a, "-"), (sympy.sinh(a) - a, "+"), (1 - sympy.tanh(r) ** 2, "+"), (sympy.atan(a) - a, "-"),
    (sympy.asinh(a) - a, "-"), (sympy.erf(a + b) - sympy.erf(a), "+"), (1 - sympy.erf(a), "+"),
    (sympy.atanh(a / (a + b)), "+"), (sympy.digamma(a + b) - sympy.digamma(a), "+"), (sympy.polygamma(1, a), "+"),
    (sympy.sqrt(a + b) - sympy.sqrt(a), "+"), (sympy.sqrt(1 + a**2) - a, "+"), (sympy.sqrt(a**2 + b**2) - a - b, "-"),
    ((a + b) ** k - a**k, "+"), ((a + b) ** (-k) - a ** (-k), "-"), (2**k - 1, "+"), (a ** (k + 1) - b * a**k, "?"),
    (sympy.sin(a) + 2, "+"), (1 + sympy.cos(r), ">="), (sympy.sin(a) + 1 - TINY, "?"), (sympy.sin(r) + sympy.cos(r) + 3, "+"),
    (F.maximum(b - delta, 0), ">="), (F.maximum(b - delta, 0) + b, "+"), (F.minimum(b - delta, 0), "<="), (sympy.Abs(a - b), ">="),
    (sympy.Abs(a - b) + a, "+"), (sympy.sign(a + b), "+"), (sympy.sign(a - b) + 2, "+"), (sympy.Heaviside(b), "+"),
    (F.where(b <= delta, b, delta), "+"), (F.where(b <= delta, delta - b, 0), ">="), (F.where(b <= delta, delta - b + 1, 1), "+"),
    (F.where(a + b > a, b, -b), "+"), (F.where(b <= delta, 1, -1), "?"), (F.sigmoid(r + b) - F.sigmoid(r), "+"),
    (F.where(a < 1, 1, 0) - F.where(b < 1, 1, 0), "?"), (F.softplus(r), "+"), (F.softplus(r + b) - F.softplus(r), "+"),
    (F.logcosh(a), "+"), (F.logcosh(r), ">="), (F.logcosh(a + b) - F.logcosh(a), "+"), (F.langevin(a), "+"), (F.langevin(-a), "-"),
    (F.meanexp(r), "+"), (F.meanexp(r + b) - F.meanexp(r), "+"), (derivative(F.langevin(r), r), "+"),
    (derivative(F.meanexp(r), r), "+"), (F.logexprel(a), "+"), (F.xlogy(a, 1 + b), "+"), (F.logaddexp(a, b), "+"),
    (sympy.loggamma(a), "?"), (sympy.tan(a), "?"), (sympy.sqrt(sympy.Abs(a - b)), ">="), (1 / (a - b) ** 2, "+"),
    (F.expm1(a) - F.log1p(a), "+"), (sympy.cosh(a) - 1, "+"), (a**r, "+"),
]  # fmt: skip
ALL = [*_golden(), *(pytest.param(e, x, id=str(e)[:60]) for e, x in EXPRESSIONS)]


@pytest.mark.parametrize(("expr", "expected"), ALL)
def test_signs_agree_with_the_table_and_with_values(expr, expected):
    began = time.perf_counter()
    found = sign(expr)
    assert time.perf_counter() - began < 60  # ends
    assert found.sign == expected or (expected == "?" and expr.has(r) and found.sign == "?")
    if found.sign == "?":
        assert found.steps == ()
    else:
        assert check(expr, found.sign, random.Random(str(expr)), 200) > 0 or not expr.free_symbols
        for step in found.steps:
            assert step.text
            assert step.claim is None or claim_holds(step.claim), step


def check(expr, found, rng, points):
    """Assert a sign at random points; returns how many of them were inside the domain."""
    inside = 0
    names = sorted(expr.free_symbols, key=str)
    for i in range(points):
        q = [
            sympy.Rational(rng.randint(1, 400), rng.randint(1, 100)) ** rng.choice([1, 1, 2, -2])
            for _ in names
        ]
        at = {n: v if n.is_positive or rng.random() < 0.5 else -v for n, v in zip(names, q, strict=True)}
        for digits in (40, 160, 600):
            with mpmath.workdps(digits):
                x = value(expr, {n: mpmath.mpf(v.p) / v.q for n, v in at.items()})
                if x is None:
                    break
                inside += 1
                if OK[found](x):
                    break
                assert abs(x) < mpmath.mpf(10) ** (25 - digits), (i, at, x)
                # too close to call: with more digits, or an identity
    return inside


def claim_holds(claim):
    """A claim read back from its strings and evaluated at a few points."""
    names = {
        n: sympy.Symbol(n, positive=True) if span == "(0, inf)" else sympy.Symbol(n, real=True)
        for n, span in claim.where
    }
    left = parse(claim.left, params=names, symbols=()) - parse(claim.right, params=names, symbols=())
    found = {">": "+", "<": "-", "=": "0", ">=": ">=", "<=": "<="}[claim.relation]
    check(left, found, random.Random(claim.left), 5)
    return True


@pytest.mark.parametrize("expr", [
    sympy.nan, sympy.zoo, sympy.oo, sympy.I * a, a + sympy.nan, sympy.log(-a), sympy.sqrt(-a), sympy.Symbol("w") ** 2,
    sympy.Function("f")(a), sympy.Heaviside(a - a), (a + b + c + 1) ** 500 - a, sympy.Add(*(sympy.Symbol(f"x{i}", positive=True) for i in range(5000))),
    F.xlogy(r, r), sympy.digamma(F.maximum(sympy.asinh(F.logsinhc(sympy.log(2))), b)), F.where(F.meanexp(ONE / 3) < a, a, b),
])  # fmt: skip
def test_what_it_cannot_judge_is_unknown(expr):
    began = time.perf_counter()
    # log(-a) and sqrt(-a) are real nowhere; no sign is claimed
    assert sign(expr).sign == "?" or expr == sympy.Heaviside(0)
    assert time.perf_counter() - began < 60  # ends


#: rule -> an expression whose sign needs it
NEEDS = {
    "by_polynomial": (a**2 - 2 * a + 2, "+"), "by_logs": (2 * sympy.log(a + b) - sympy.log(a) - sympy.log(b), "+"),
    "by_order": (sympy.erf(a + b) - sympy.erf(a) + c, "+"), "by_squares": (sympy.sqrt(a**2 + b**2) - a - b, "-"),
    "by_bounds": (sympy.atan(a) - a, "-"), "by_inverse": (sympy.tanh(a) - a, "-"),
}  # fmt: skip


def test_every_rule_has_its_example():
    assert {rule.__name__ for rule in sign_rules.RULES} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_without_a_rule_its_example_is_unknown(name, monkeypatch):
    expr, expected = NEEDS[name]
    assert sign(expr).sign == expected
    monkeypatch.setattr(sign_rules, "RULES", [rule for rule in sign_rules.RULES if rule.__name__ != name])
    if name in ("by_polynomial", "by_bounds"):  # by_logs calls them as well
        monkeypatch.setattr(sign_rules, name, lambda prover, f: "?")
    assert sign(expr).sign == "?"


@pytest.mark.parametrize(("name", "expr", "expected"), [
    ("by_discriminant", sympy.expand((a - sympy.Rational(233, 144) * b) ** 2) + TINY * b**2, "+"), ("by_order", a**6 - a**5 * b + b**6, "+"),
])  # fmt: skip
def test_without_a_rule_of_polynomials_its_example_is_unknown(name, expr, expected, monkeypatch):
    assert sign(expr).sign == expected
    monkeypatch.setattr(sign_poly, name, lambda ring, p, depth: "?")
    assert sign(expr).sign == "?"


@pytest.mark.parametrize(("name", "value_", "expr"), [
    ("monotone", lambda *_: ("?", []), F.meanexp(r + b) - F.meanexp(r)), ("border", lambda *_: [], F.where(b <= delta, delta - b + 1, 1)),
])  # fmt: skip
def test_without_a_case_distinction_its_example_is_unknown(name, value_, expr, monkeypatch):
    assert sign(expr).sign == "+"
    monkeypatch.setattr(sign_module, name, value_)
    assert sign(expr).sign == "?"


def test_the_clock_ends_it():
    class Over:
        def check(self):
            raise TimeoutError("time is over")

    with pytest.raises(TimeoutError):
        sign(sympy.log(a + b) - sympy.log(a) + c, clock=Over())


def test_nothing_global_changes():
    import flint

    before = (flint.ctx.prec, mpmath.mp.dps)
    sign(sympy.log(2) * a - a * H)
    assert (flint.ctx.prec, mpmath.mp.dps) == before


ATOMS = (a, b, c)
UNARY = [sympy.log, sympy.exp, sympy.sqrt, sympy.Abs, sympy.sign, sympy.sin, sympy.atan, sympy.sinh, sympy.tanh, sympy.asinh,
         sympy.erf, F.log1p, F.expm1, F.sigmoid, F.softplus, F.logcosh, F.langevin, F.meanexp, sympy.digamma,
         lambda x: x**2, lambda x: 1 / x, lambda x: x ** sympy.Rational(3, 2), lambda x: -x]  # fmt: skip
BINARY = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / y,
    F.maximum,
    F.minimum,
    F.xlogy,
]


def _random(rng, depth):
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([*ATOMS, *ATOMS, ONE, H, sympy.Integer(3)])
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(UNARY)(_random(rng, depth - 1))
    x, y = _random(rng, depth - 1), _random(rng, depth - 1)
    return rng.choice(BINARY)(x, y) if kind < 0.95 else F.where(rng.choice(ATOMS) < rng.choice(ATOMS), x, y)


def _difference(rng):
    f, x, y = rng.choice(UNARY[:19]), _random(rng, 1), _random(rng, 1)
    kind = rng.random()
    if kind < 0.4:
        return f(x + y) - f(x) + rng.choice([0, 0, x, -y])
    if kind < 0.7:
        return (x - y) ** 2 + sympy.Rational(rng.choice([-1, 1]), 10 ** rng.randint(1, 20)) * _random(rng, 2)
    return f(x) - f(y) + sympy.Rational(rng.randint(-3, 3), 2) * (x - y)


class Clock:
    def __init__(self, seconds):
        self.end = time.perf_counter() + seconds

    def check(self):
        if time.perf_counter() > self.end:
            raise TimeoutError


def test_random_expressions_never_get_a_wrong_sign(monkeypatch):
    # the sampling at the start would hide a wrong rule: switched off
    monkeypatch.setattr(sign_module, "takes_both_signs", lambda expr: False)
    decided = 0
    for seed in range(200):
        rng = random.Random(seed)
        try:
            expr = _difference(rng) if seed % 2 else _random(rng, 3)
        except ValueError:  # SymPy cannot compare two constants
            continue
        if expr.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I):
            continue
        try:
            found = sign(expr, clock=Clock(1)).sign
        except TimeoutError:
            continue
        if found != "?":
            decided += 1
            check(expr, found, rng, 12)
    assert decided > 60
