"""Largest slopes: against hand values and dense scans in floats."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.formula.interval import REALS
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.continuity import Stuck
from lossproof.prove.lipschitz import ends_suffice, lines
from lossproof.prove.peak import Tame, peak
from lossproof.prove.problem import Problem


def both(spec, **options):
    return tuple(lines(Problem(resolve(spec), **options), {}, Clock(60)))


def scan(problem, *, logits):
    """sup of the difference quotient over a grid in p and y, by floats: never above the true bound by more than rounding."""
    y = np.linspace(0, 1, 41)[:, None]
    z = np.linspace(-16, 16, 3201)[None, :]
    p = 1 / (1 + np.exp(-z))
    with np.errstate(all="ignore"):
        loss = evaluate(problem.expr, {Y: y + 0 * p, P: p + 0 * y})
        step = np.diff(z if logits else p)
        slope = np.abs(np.diff(loss, axis=1) / step)
    return float(np.nanmax(slope[:, 100:-100]))


EXPECTED = {
    "bce": ("inf", "1"),
    "mse": ("2", "8/27"),
    "mae": ("1", None),
    "poisson": ("inf", "1"),
    "weighted_bce": ("inf", "3"),
    "charbonnier": ("sqrt(2)/2", None),
    "msle": ("2*log(2)", None),
    "logcosh": ("tanh(1)", None),
    "pinball(tau=0.25)": ("3/4", None),
    "maximum(0, 1 - (2*y - 1)*(2*p - 1))": ("2", None),
}


@pytest.mark.parametrize("spec", EXPECTED)
def test_exact_bounds(spec):
    for line, want in zip(both(spec), EXPECTED[spec], strict=True):
        if want == "inf":
            assert line.details["bound"] == "inf"
        elif want is not None:
            assert isinstance(line.verdict, Proved)
            assert line.details["exact"] == want
            low, high = line.details["bound"]
            assert low <= float(parse(want)) * (1 + 1e-15)
            assert float(parse(want)) <= high * (1 + 1e-15)


@pytest.mark.parametrize("name", CATALOGUE)
def test_bounds_hold_on_a_grid_and_are_nearly_reached(name):
    problem = Problem(CATALOGUE[name])
    for line, logits in zip(lines(problem, {}, Clock(60)), (False, True), strict=True):
        if isinstance(line.verdict, Proved | Certified):
            low, high = line.details["bound"]
            found = scan(problem, logits=logits)
            assert found <= high * (1 + 1e-6)
            assert found >= low * 0.99
            assert high <= low * 1.002
        else:
            assert isinstance(line.verdict, Refuted) or name == "continuous_bernoulli"


def test_unbounded_slopes_have_a_witness_that_a_calculator_confirms():
    for spec in ("bce", "hellinger", "jensen_shannon", "(y - p)**2/(p*(1 - p))"):
        line = both(spec)[0]
        assert isinstance(line.verdict, Refuted)
        at = dict(line.verdict.witness)
        assert line.verdict.claim.relation == ">"
        with mpmath.workdps(500):
            values = {
                n: mpmath.mpf(int(sympy.Rational(v).p)) / int(sympy.Rational(v).q) for n, v in at.items()
            }
            loss = sympy.lambdify(P, Problem(resolve(spec)).at_target(sympy.Rational(at["y"])), "mpmath")
            slope = mpmath.diff(loss, values["p"], h=values["p"] * mpmath.mpf(10) ** -60)
            assert abs(slope) > int(line.verdict.claim.right)
        assert line.verdict.steps[0].claim.right in ("oo", "-oo")


def test_chi_squared_explodes_in_the_logits_too():
    assert [line.details["bound"] for line in both("(y - p)**2/(p*(1 - p))")] == ["inf", "inf"]


def test_reduction_to_the_ends_is_refused_where_it_is_false():
    # cos(20 (y - p)): the slope rises and falls with y
    with pytest.raises(Stuck, match="fall as y grows"):
        ends_suffice(Problem(resolve("1 - cos(20*(y - p))")), Clock(60))
    for line, want in zip(both("1 - cos(20*(y - p))"), (20, 5), strict=True):
        low, high = line.details["bound"]
        assert low <= want * 1.01
        assert high >= want * 0.99


def test_targets_without_a_loss():
    p, z = both("xlogy(p, p/y) + xlogy(1 - p, (1 - p)/(1 - y))")
    assert isinstance(p.verdict, Refuted)
    assert isinstance(z.verdict, Unknown)
    assert "y = 0 and y = 1" in z.verdict.reason


def test_peak_of_products_with_logarithms():
    for text, want in (
        ("p*log(p)", 1 / np.e),
        ("(1-p)*log(1-p)", 1 / np.e),
        ("p**2*log(p)**3", (1.5 / np.e) ** 3),
    ):
        found = peak(parse(text), Clock(60))
        assert found.low <= want <= found.high
        assert found.high - found.low < 2e-3 * want
        assert found.cells[0][0] == 0.0
        assert found.cells[-1][1] == 1.0
        assert all(a[1] == b[0] for a, b in zip(found.cells, found.cells[1:], strict=False))


def test_unbounded_peak():
    assert peak(parse("1/p"), Clock(60)).high == float("inf")
    assert peak(parse("log(p)"), Clock(60)).high == float("inf")


@pytest.mark.parametrize(
    "text", ["p*log(p)", "3*p**0.5*log(p)**2 - p*log(p)", "(1 - p)*log(1/2 - p/2)", "p*(1-p)*log(p)*log(1-p)"]
)
def test_tame_enclosures_contain(text):
    rng = np.random.default_rng(0)
    expr = parse(text)
    tame = Tame(expr)
    f = sympy.lambdify(P, expr, "mpmath")
    for a in [0.0, 0.0, 0.0, *rng.random(40)]:
        b = min(1.0, a + float(10 ** rng.uniform(-12, 0)))
        low, high = tame.over((a, b))
        for t in rng.random(8):
            x = a + (b - a) * t
            if 0 < x < 1 and a <= x <= b:
                assert low <= f(mpmath.mpf(x)) <= high


def test_certified_pieces_cover_up_to_the_ends():
    line = both("mae")[1]
    assert isinstance(line.verdict, Certified)
    spans = sorted({piece.box[0][1:] for piece in line.verdict.pieces})
    near = [
        step.claim.where[0][1] for step in line.verdict.steps if step.claim and "near the end" in step.text
    ]
    assert spans
    assert near
    reach = line.verdict.steps[-1].claim
    assert reach.relation == ">="
    assert Fraction(dict(reach.where)["p"]) == Fraction(1, 2)


def test_other_domains_and_symbols():
    assert all(isinstance(line.verdict, Unknown) for line in both("mse", target=REALS, prediction=REALS))
    assert all(isinstance(line.verdict, Unknown) for line in both("huber", free=resolve("huber").params))
    with pytest.raises(OutOfTime):
        list(lines(Problem(resolve("mse")), {}, Clock(-1)))


JUMPS = (
    "where(p > 1/3, (y - p)**2, (y - p)**2 + 1)",
    "where(p == 1/3, 5, (y - p)**2)",
    "where(y == 0, where(p > 1/3, (y - p)**2 + 1, (y - p)**2), (y - p)**2)",
    "where(y == 1, where(p > 1/3, 1 - cos(20*(y - p)), 2 - cos(20*(y - p))), 1 - cos(20*(y - p)))",
    "where(p > y, 1 - cos(20*(y - p)), 2 - cos(20*(y - p)))",
)


@pytest.mark.parametrize("text", JUMPS)
def test_no_bound_for_a_loss_that_jumps(text):
    for line in both(text):
        assert isinstance(line.verdict, Unknown | Refuted), line
        assert "jump" in line.verdict.reason


# formula, a target, and its slope in p there (at p = 1/2; in the logits at least a quarter of it)
NARROW = (
    ("where(y == 1/3, 100*p, abs(y - p))", 100),
    ("where(y == 0.7123, 100*p, (p - y)**2)", 100),
    ("where(y == 0.7123456789, 10*abs(y - p) + 1, abs(y - p))", 10),
    ("where(abs(y - 1/3) < 1e-6, 100*(y - p)**2, (y - p)**2)", 200 / 6),
    ("where(y < 1e-6, abs(y - p), where(y < 2e-6, 100*abs(y - p), abs(y - p)))", 100),
    ("where(y == 1/3, 100, 1)*(y - p)**2", 200 / 6),
    ("(1 + 99*(1 - sign(y - 1/3)**2))*(y - p)**2", 200 / 6),
    ("where(y == 0, 100*p, abs(y - p))", 100),
    ("where(y == 1, 100*(1 - p), (y - p)**2)", 100),
    ("where(y == 0, 1 - cos(300*p), 1 - cos(20*(y - p)))", 200),
    ("where(y == 0, 100*p + 1 - cos(20*(y - p)), 1 - cos(20*(y - p)))", 100),
    ("where(y == 1/3, 100*p + 1 - cos(20*(y - p)), 1 - cos(20*(y - p)))", 90),
    ("0**y*100*p + abs(y - p)", 99),
    ("0**y*100*p + 1 - cos(20*(y - p))", 90),
    ("0**abs(y - 1/3)*100*p + abs(y - p)", 99),
)


@pytest.mark.parametrize(("text", "slope"), NARROW)
def test_branches_for_few_targets_count(text, slope):
    for line, least in zip(both(text), (slope, slope / 4), strict=True):
        if isinstance(line.verdict, Proved | Certified):
            assert line.details["bound"][1] >= least * 0.999
        else:
            assert isinstance(line.verdict, Unknown)
            assert line.details["bound"] is None


def test_a_formula_for_one_prediction_is_no_slope():
    # continuous in p; the branch at p = 1/3 alone is steep, the loss is not
    line = both("where(p == 1/3, 100*(p - 1/3) + (y - 1/3)**2, (y - p)**2)")[0]
    assert isinstance(line.verdict, Unknown)
    assert "p == 1/3" in line.verdict.reason
