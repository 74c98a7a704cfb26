"""Limits at the ends of (0, 1): against values that mpmath computes close to the end, and known traps."""

from fractions import Fraction

import mpmath
import pytest
import sympy

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.expansion import Expansion, Undecided
from lossproof.prove.limits import HIGH, LOW, agrees, by_target, coefficient_sign, cuts, limit
from lossproof.prove.problem import Problem

CLOCK = Clock.for_ever()


def near(expr, end, *, k=800, y=None):
    """The value at distance 2**-k by mpmath, another arithmetic than the prover's."""
    with mpmath.workdps(700):
        f = sympy.lambdify((Y, P), expr, modules=["mpmath", {"digamma": mpmath.digamma}])
        distance = mpmath.mpf(2) ** -k
        p = distance if end is LOW else 1 - distance
        return f(mpmath.mpf(y.numerator) / y.denominator if y is not None else None, p)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("end", [LOW, HIGH], ids=str)
def test_catalogue_against_mpmath(name, end):
    for target, pair in by_target(Problem(CATALOGUE[name])).items():
        for expr in pair:
            found = limit(expr, end, CLOCK)
            assert found is not None
            assert found.proved
            for y in (Fraction(1, 7), Fraction(5, 6)) if target == "y inside" else (None,):
                value = near(expr, end, y=y)
                if found.infinite:
                    assert mpmath.sign(value) == (1 if found.value == sympy.oo else -1)
                    assert abs(value) > 1.3 * abs(near(expr, end, k=100, y=y)) or abs(value) > 6
                else:
                    want = found.value.xreplace({Y: sympy.Rational(y.numerator, y.denominator)} if y else {})
                    with mpmath.workdps(60):
                        assert abs(value - mpmath.mpf(sympy.N(want, 60))) < 1e-30


@pytest.mark.parametrize(
    ("text", "end", "value"),
    [
        ("p*log(p)", LOW, "0"),
        ("p**p", LOW, "1"),
        ("log(p)*log(1 - p)", LOW, "0"),
        ("(1 - exp(-p))/p", LOW, "1"),
        ("(log(1 + p) - p)/p**2", LOW, "-1/2"),
        ("(sqrt(1 + p) - 1 - p/2)/p**2", LOW, "-1/8"),
        ("exp(-1/p)/p**9", LOW, "0"),
        ("tanh(1/p)", LOW, "1"),
        ("arctan(log(p))", LOW, "-pi/2"),
        ("p*sin(1/p)", LOW, "0"),
        ("log(p)/log(p/2)", LOW, "1"),
        ("p**0.5*log(p)**4", LOW, "0"),
        ("digamma(p)*p", LOW, "-1"),
        ("gammaln(p) + log(p)", LOW, "0"),
        ("arctanh(p) + log(1 - p)/2", HIGH, "log(2)/2"),
        ("maximum(p, 1 - p)", HIGH, "1"),
        ("where(p < 0.5, 7, 3)", HIGH, "3"),
        ("(p - 1)/abs(p - 1)", HIGH, "-1"),
        ("-log(-log(p))", LOW, "-oo"),
        ("(sin(p) - p + p**3/6)/p**5", LOW, "1/120"),
    ],
)
def test_indeterminate_forms(text, end, value):
    found = limit(parse(text), end, CLOCK)
    want = {"-oo": -sympy.oo}.get(value) or parse(value)
    assert found is not None
    assert found.proved
    assert found.value == want or sympy.simplify(found.value - want) == 0
    if found.claim is not None:
        assert found.claim.given == (str(end),)
        assert found.claim.relation == "->"


@pytest.mark.parametrize(
    "text", ["sin(1/p)", "sin(log(p))/p", "where(sin(1/p) > 0, 1, 2)", "log(p - 1/2)", "sqrt(log(p))"]
)
def test_no_limit_is_made_up(text):
    assert limit(parse(text), LOW, CLOCK) is None


@pytest.mark.parametrize("bad", [sympy.nan, sympy.zoo, sympy.oo, sympy.nan * P, sympy.sqrt(-1) * P])
def test_what_is_no_number_has_no_limit(bad):
    assert limit(sympy.sympify(bad), LOW, CLOCK) is None


def test_sympys_wrong_branch_is_not_repeated():
    # sympy.limit gives y/4 - 1/32 for every y
    huber = resolve("huber(delta=0.25)")
    loss = by_target(Problem(huber))["y inside"][0]
    assert limit(loss, LOW, CLOCK) is None
    assert cuts(loss, LOW) == [Fraction(1, 4)]
    low = limit(loss, LOW, CLOCK, (Fraction(0), Fraction(1, 4)))
    high = limit(loss, LOW, CLOCK, (Fraction(1, 4), Fraction(1)))
    assert (low.text, high.text) == ("y**2/2", "y/4 - 1/32")
    assert low.claim.where == (("y", "(0, 0.25)"),)


def test_coefficients_that_change_sign_give_no_infinity():
    assert limit((Y - sympy.Rational(1, 2)) / P, LOW, CLOCK) is None
    assert limit(Y / P, LOW, CLOCK).value == sympy.oo
    assert limit((Y - sympy.Rational(1, 2)) * P, LOW, CLOCK).value == 0


def test_cancelled_leading_terms_are_seen_through():
    # log(2) + log(3) - log(6) is zero although no rule writes it so
    c = sympy.log(2) + sympy.log(3) - sympy.log(6)
    assert limit(c / P + 1, LOW, CLOCK).value == 1
    tiny = sympy.Rational(1, 10**12)
    assert limit((c + tiny) / P, LOW, CLOCK).value == sympy.oo


def test_the_second_look_refuses_a_wrong_value():
    x = P * sympy.log(P)
    assert agrees(x, sympy.S.Zero, LOW, {})
    assert not agrees(x, sympy.Rational(1, 10**6), LOW, {})
    assert not agrees(x, -sympy.oo, LOW, {})
    assert not agrees(sympy.log(-P), sympy.oo, LOW, {})  # not a number there


def test_a_wrong_expansion_is_caught(monkeypatch):
    monkeypatch.setattr(Expansion, "limit", lambda self, expr: sympy.S.Zero)
    assert limit(sympy.cos(P), LOW, CLOCK) is None


def test_gruntz_where_the_expansion_has_no_rule():
    found = limit(parse("p**sqrt(2)*log(p)"), LOW, CLOCK)
    assert found.value == 0
    assert not found.proved


def test_signs_of_coefficients():
    assert coefficient_sign(sympy.sqrt(2) - sympy.Rational(3, 2), CLOCK) == -1
    assert coefficient_sign(sympy.sqrt(2) * sympy.sqrt(3) - sympy.sqrt(6), CLOCK) == 0
    assert coefficient_sign(1 - Y**2, CLOCK) == 1
    assert coefficient_sign(1 - 2 * Y, CLOCK) is None
    assert coefficient_sign(1 - 2 * Y, CLOCK, (Fraction(0), Fraction(1, 2))) == 1


def test_targets_at_which_the_loss_is_no_number_are_left_out():
    # 0/p - log(0/p) is infinite at y = 0; its derivative must not read 0
    assert set(by_target(Problem(resolve("y/p - log(y/p) - 1")))) == {"y inside", "y = 1"}
    kl = by_target(Problem(resolve("xlogy(y, y/p) + xlogy(1 - y, (1 - y)/(1 - p))")))
    assert kl["y = 0"][1] == 1 / (1 - P)


def test_too_few_terms_are_undecided_not_zero():
    few = Expansion(P, sympy.S.Zero, 1, lambda c: int(sympy.sign(c)), 3)
    with pytest.raises(Undecided):
        few.limit(parse("(sin(p) - p + p**3/6)/p**5"))


def test_expansion_at_infinity():
    def sign(c):
        return int(sympy.sign(c))

    far = Expansion(P, sympy.oo, 1, sign)
    assert far.limit(sympy.sqrt(P**2 + P) - P) == sympy.Rational(1, 2)
    assert (
        far.limit(sympy.loggamma(P) - (P - sympy.Rational(1, 2)) * sympy.log(P) + P)
        == sympy.log(2 * sympy.pi) / 2
    )
    assert far.limit(sympy.erf(P)) == 1
    with pytest.raises(Undecided):
        far.limit(sympy.sin(P))


def test_time_is_looked_at():
    with pytest.raises(OutOfTime):
        limit(P, LOW, Clock(-1))


def test_precision_of_the_caller_stays():
    import flint

    before = mpmath.mp.dps, flint.ctx.prec
    limit(P * sympy.log(P), LOW, CLOCK)
    assert (mpmath.mp.dps, flint.ctx.prec) == before


def test_what_no_formula_string_says_has_no_claim():
    found = limit(sympy.Piecewise((1 + P, sympy.And(P > -1, P < 2)), (0, True)), LOW, CLOCK)
    assert found.claim is None
    assert found.value == 1
