"""What is shown to be defined and continuous, and what must not be."""

import pytest
import sympy

from lossproof.formula import functions as F
from lossproof.prove.defined import defined

a, b, c, k = sympy.symbols("a b c k", positive=True)
w = sympy.Symbol("w", nonnegative=True)
r = sympy.Symbol("r", real=True)
H = sympy.Rational(1, 2)

YES = [
    a, sympy.pi * r, 1 / (a + b), 1 / (1 + r**2), sympy.log(a / (a + b)), sympy.log(1 + r**2), sympy.sqrt(a), sympy.sqrt(w),
    sympy.sqrt((a - b) ** 2), w**k, a**r, a**-k, (1 + r**2) ** (-H), sympy.atanh(a / (a + b)), F.log1p(-a / (a + b)), sympy.loggamma(a + b),
    sympy.digamma(1 + r**2), F.xlogy(w, w), F.xlogy(r, a), F.xlog1py(r, a), F.xlog1py(1 + w, w), F.xdivy(w, 1 + w), sympy.Abs(r),
    F.maximum(r, a), sympy.sign(b), sympy.sign(-a * b), F.where(a + b > a, 1 / a, 1 / r), F.softplus(r), F.logcosh(r), F.langevin(r),
    F.meanexp(r), sympy.exp(-(r**2)), sympy.tanh(r), sympy.sin(1 / a),
]  # fmt: skip
NO = [
    1 / (a - b), 1 / r, sympy.log(r), sympy.log(a - b), sympy.log(w), sympy.sqrt(a - b), sympy.sqrt(r), 1 / sympy.sqrt(w), w**r,
    w**-k, sympy.atanh(a), sympy.atanh(r), F.log1p(-a), F.log1p(r), sympy.loggamma(r), sympy.loggamma(w), sympy.digamma(a - b), F.xlogy(a, w),
    F.xlogy(r, r), F.xlogy(w, b - a), F.xlog1py(a, -b), F.xdivy(w, r), sympy.sign(r), sympy.sign(w), sympy.Heaviside(r), sympy.floor(a), sympy.tan(a),
    F.where(a < b, 1, 2), F.where(r > 0, 1, 0), sympy.Symbol("x"), sympy.nan, sympy.zoo, sympy.I * a, 0 * a + sympy.oo,
    sympy.log(sympy.log(1 + w)), a / (sympy.exp(r) - 1), F.where(1 / r > a, 1, 1 + a), sympy.Function("f")(a),
]  # fmt: skip


@pytest.mark.parametrize("expr", YES, ids=str)
def test_shown(expr):
    steps = defined(expr)
    assert steps is not None
    assert all(step.text for step in steps)


@pytest.mark.parametrize("expr", NO, ids=str)
def test_not_shown(expr):
    assert defined(expr) is None


@pytest.mark.parametrize("expr", NO, ids=str)
def test_a_part_that_is_not_shown_spoils_the_whole(expr):
    whole = (1 + b) * expr + sympy.exp(a)
    assert defined(sympy.exp(whole) if not whole.has(sympy.nan, sympy.zoo, sympy.oo) else whole) is None


def test_the_steps_name_what_was_needed():
    texts = [step.text for step in defined(sympy.log(1 - a / (a + b)))]
    assert "the denominator a + b is not 0" in texts
    assert any("of log is positive" in text for text in texts)


def test_the_clock_ends_it():
    class Over:
        def check(self):
            raise TimeoutError("time is over")

    with pytest.raises(TimeoutError):
        defined(sympy.log(a + b), clock=Over())
