import math
import random
from fractions import Fraction

import flint
import pytest
import sympy

from lossproof.formula import LossproofError
from lossproof.formula.functions import derivative, langevin, logsinhc
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.prove import enclose
from lossproof.prove.ball import ball
from lossproof.prove.enclose import Enclosure, mean_value
from lossproof.prove.span import WHOLE, defined

LOSSES = {
    "bce": "-(xlogy(y, p) + xlogy(1 - y, 1 - p))",
    "mse": "(y - p)**2",
    "mae": "abs(y - p)",
    "logcosh": "logcosh(y - p)",
    "huber": "where(abs(y - p) <= 1/4, (y - p)**2/2, (abs(y - p) - 1/8)/4)",
    "cb": "-(xlogy(y, p) + xlogy(1 - y, 1 - p)) - where(p == 1/2, log(2), log(2*arctanh(1 - 2*p)/(1 - 2*p)))",
    "js": "(xlogy(y, y) - xlogy(y, (y + p)/2) + xlogy(p, p) - xlogy(p, (y + p)/2))/2",
    "spherical": "1 - (y*p + (1 - y)*(1 - p))/sqrt(p**2 + (1 - p)**2)",
    "pinball": "3/10*maximum(y - p, 0) + 7/10*maximum(p - y, 0)",
    "gamma": "gammaln(10*p) + gammaln(10 - 10*p) - digamma(1 + y)",
    "zeta": "polygamma(1, 1 + p) + y*polygamma(2, 1) - polygamma(2, 1 + y)",
    "waves": "sin(7*p)*cos(y) + tan(p/2) + p**y",
    "barron": "((16*(y - p)**2/3 + 1)**(-1/2) - 1)*(-3)",
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("order", [0, 1, 2])
def test_enclosures_contain_exact_points(name, order):
    expr = parse(LOSSES[name])
    for _ in range(order):
        expr = derivative(expr, P)
    plain, mean = Enclosure(expr, [Y, P]), mean_value(expr, [Y, P])
    rng = random.Random(name)
    for _ in range(25):
        box, point = [], {}
        for s in (Y, P):
            a, b = sorted(rng.choice((0.0, 1.0, 0.5, rng.random(), rng.random())) for _ in range(2))
            if rng.random() < 0.5:
                b = min(1.0, a + 2.0 ** -rng.randint(1, 30))
            t = Fraction(rng.randint(0, 8), 8)
            point[s] = Fraction(a) + t * (Fraction(b) - Fraction(a))
            box.append((a, b))
        exact = ball(expr, point, bits=300)
        if exact.is_nan():
            continue
        first, second = plain.over(box), mean.over(box)
        for low, high in (first, second):
            if low <= high:
                assert flint.arb(low) <= exact
                assert exact <= flint.arb(high)
        if defined(first):
            assert first[0] <= second[0] <= second[1] <= first[1]


def test_xdivy_at_zero_over_zero():
    e = Enclosure(derivative(parse("xlogy(y, p)"), P), [Y, P])
    assert e.over([(0.0, 0.0), (0.0, 1.0)]) == (0.0, 0.0)
    assert e.over([(0.5, 1.0), (0.0, 2.0)]) == (0.25, math.inf)


def test_a_decided_condition_takes_its_branch_only():
    e = Enclosure(parse("where(y < p, log(p - y), 5)"), [Y, P])
    assert e.over([(0.5, 1.0), (0.0, 0.5)]) == (5.0, 5.0)
    assert e.over([(0.0, 0.25), (1.25, 1.25)])[1] < 0.23
    assert not defined(e.over([(0.0, 1.0), (0.0, 1.0)]))  # log might be asked for a negative number
    both = Enclosure(parse("where(y < p, 1, 5)"), [Y, P])
    assert both.over([(0.0, 1.0), (0.5, 0.75)]) == (1.0, 5.0)


def test_conditions_with_and_or_not():
    between = sympy.Piecewise((1, sympy.And(Y > 0, sympy.Or(P < 1, sympy.Ne(P, 2)))), (0, True))
    e = Enclosure(between, [Y, P])
    assert e.over([(0.5, 1.0), (0.0, 0.5)]) == (1.0, 1.0)
    assert e.over([(-1.0, 0.0), (0.0, 0.5)]) == (0.0, 0.0)
    assert e.over([(0.0, 1.0), (0.0, 0.5)]) == (0.0, 1.0)


def test_a_where_that_may_fall_through_says_nothing():
    e = Enclosure(sympy.Piecewise((1, Y > 0)), [Y])
    assert not defined(e.over([(-1.0, 1.0)]))


def test_defined():
    assert Enclosure(parse("-log(p)"), [P]).defined([(0.0, 1.0)])
    assert not Enclosure(parse("-log(p - 1/2)"), [P]).defined([(0.0, 1.0)])
    assert not Enclosure(parse("log(p) - log(y)"), [Y, P]).defined([(0.0, 1.0), (0.0, 1.0)])
    assert not Enclosure(parse("y*log(p)"), [Y, P]).defined([(0.0, 1.0), (0.0, 1.0)])
    assert Enclosure(parse("xlogy(y, p)"), [Y, P]).defined([(0.0, 1.0), (0.0, 1.0)])
    assert not Enclosure(parse("1/p"), [P]).defined([(-1.0, 1.0)])
    assert not Enclosure(parse("p/y"), [Y, P]).defined([(0.0, 1.0), (0.0, 1.0)])
    # bounded functions do not hide what lies outside a domain
    assert not defined(Enclosure(parse("tanh(log(p - 1/2)) + 2"), [P]).over([(0.0, 1.0)]))


def test_mean_value_keeps_away_from_jumps_and_poles():
    jump = mean_value(parse("where(p < 1/2, 0, 1) + p**2"), [P])
    low, high = jump.over([(0.25, 0.75)])
    assert low <= 0.0625
    assert high >= 1.5625
    assert mean_value(sympy.sign(P), [P]).over([(-1.0, 1.0)]) == (-1.0, 1.0)
    pole = mean_value(parse("arctan(1/p)"), [P]).over([(-1.0, 1.0)])
    assert pole[0] < -1.57
    assert pole[1] > 1.57


def test_mean_value_is_tighter():
    expr = parse("p - p**2*sin(p)")
    box = [(0.5, 0.53125)]
    plain, better = Enclosure(expr, [P]).over(box), mean_value(expr, [P]).over(box)
    assert better[1] - better[0] < (plain[1] - plain[0]) / 2


def test_removable_singularities_of_the_continuous_bernoulli():
    low, high = Enclosure(derivative(langevin(P), P), [P]).over([(-1.0, 1.0)])
    assert 0.27 < low < high < 0.34
    assert Enclosure(derivative(derivative(logsinhc(P), P), P), [P]).over([(-1.0, 1.0)]) == (low, high)
    ratio = Enclosure(parse("where(p == 1/2, log(2), log(2*arctanh(1 - 2*p)/(1 - 2*p)))"), [P])
    low, high = ratio.over([(0.25, 0.75)])
    assert 0.69 < low < high < 0.79


def test_common_subexpressions_are_computed_once():
    once = Enclosure(parse("exp(y*p)"), [Y, P])
    twice = Enclosure(parse("exp(y*p) + exp(y*p)**2 + 1/exp(y*p)"), [Y, P])
    assert len([f for f, *_ in twice._tape if f is enclose.functions.exp]) <= 3
    assert len([f for f, *_ in once._tape if f is enclose.functions.exp]) == 1


def test_refusals():
    with pytest.raises(LossproofError, match="expected a formula in p, got y too"):
        Enclosure(parse("y*p"), [P])
    with pytest.raises(LossproofError, match="expected a function that formulas have, got gamma"):
        Enclosure(sympy.gamma(P), [P])
    with pytest.raises(LossproofError, match="expected a comparison, got b"):
        Enclosure(sympy.Piecewise((P, sympy.Symbol("b")), (1, True)), [P])


def test_constants_and_infinities():
    assert Enclosure(sympy.oo + 0 * P, [P]).over([(0.0, 1.0)]) == (math.inf, math.inf)
    low, high = Enclosure(sympy.pi * sympy.E * sympy.EulerGamma, [P]).over([WHOLE])
    assert low < math.pi * math.e * 0.5772156649015329 < high < low + 1e-13
    assert not defined(Enclosure(sympy.nan, [P]).over([(0.0, 1.0)]))
