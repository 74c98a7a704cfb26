"""Tracing: formulas against hand-written ones, values against numpy, scipy and torch, refusals by their words."""

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import scipy.special
import sympy
import torch
import torch.nn.functional as F

from lossproof.formula import functions as fn
from lossproof.formula.errors import LossproofError
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y, parameter
from lossproof.formula.trace import TOLERANCE, agreement, trace
from lossproof.formula.trace_check import evaluate
from lossproof.formula.unparse import unparse

torch.set_num_threads(1)
CENTRE = (np.array([0.2, 0.7, 0.5]), np.array([0.6, 0.1, 0.5]))


def clipped_bce(y, p):
    p = np.clip(p, 1e-7, 1 - 1e-7)
    return -(y * np.log(p) + (1 - y) * np.log1p(-p))


def chain(y, p):
    return (y - p).abs().clamp(min=0.125).pow(2).mul(3).sqrt()


def barron(y, p, alpha=1.0, c=0.5):
    return abs(alpha - 2) / alpha * ((((y - p) / c) ** 2 / abs(alpha - 2) + 1) ** (alpha / 2) - 1)


def huber(y, p, delta=0.1):
    error = np.abs(y - p)
    return np.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))


def indicator(y, p):
    return ((y > p) | (y == p)) * (y - p) + (~(y > p)).astype(float) * 2 * (p - y)


def selected(y, p):
    return np.select([p < 0.25, p < 0.5], [p, y * p], default=y)


def smoothed(y, p):
    t = y * 0.9 + torch.full_like(y, 0.05)
    return -torch.xlogy(t, p) - torch.special.xlog1py(1 - t, -p) + torch.tensor(2.0) * torch.ones_like(p)


def torch_where(y, p):
    return torch.where(y > p, torch.tensor(2.0) * (y - p), (p - y).square()).where(p > 0.1, y)


NUMPY = [
    clipped_bce, huber, indicator, selected, barron,
    lambda y, p: scipy.special.xlogy(y, y / p) + scipy.special.rel_entr(1 - y, 1 - p),
    lambda y, p: scipy.special.kl_div(y, p) + scipy.special.entr(p),
    lambda y, p: scipy.special.huber(0.3, y - p) + scipy.special.pseudo_huber(0.3, y - p),
    lambda y, p: scipy.special.expit(p) - scipy.special.log_expit(y) + scipy.special.softplus(p),
    lambda y, p: scipy.special.gammaln(y + 1) + scipy.special.digamma(p + 2) + scipy.special.erf(p - y),
    lambda y, p: np.logaddexp(y, p) - math.log(2) + np.exp2(p) + np.log2(1 + y) + np.log10(2 + p),
    lambda y, p: np.log(np.cosh(y - p)) + np.tanh(p) + np.arctan(y) + np.arcsinh(p) + np.sinh(y),
    lambda y, p: np.maximum(y, p) - np.minimum(y, p) + np.sign(y - p) * np.square(p) + np.hypot(y, p),
    lambda y, p: np.sqrt((y - p) ** 2 + np.float32(0.1)) + np.float64(2) ** p + np.array(3.0) * p,
    lambda y, p: np.power(2.0, y) - 2 ** -p + (+p) / (1 + y) + np.reciprocal(1 + p) + np.cbrt(p - y),
    lambda y, p: np.heaviside(y - p, 0.5) + np.clip(p, 0.25, None) + p.clip(max=0.5) + np.expm1(y),
    lambda y, p: (y - p) @ 1 if False else sum([(y - p) ** 2, p.copy(), np.zeros_like(p)]),
    lambda y, p: np.where((y > 0.2) & ~(p > 0.7) ^ (y < p), y, np.where(np.logical_or(y > p, p > 0.9), p, 0)),
    lambda y, p: np.log1p(p, dtype=np.float64) + np.emath.sqrt(y - p + 5) + np.full_like(p, 2, dtype=float),
    lambda y, p: scipy.special.boxcox(p + 1, 0.5) + scipy.special.logit(0.25 + p / 2) + np.sin(p) * np.cos(y),
]  # fmt: skip
TORCH = [
    chain, smoothed, torch_where,
    lambda y, p: F.binary_cross_entropy(p, y, reduction="none"),
    lambda y, p: torch.nn.BCELoss(reduction="none")(p, y),
    lambda y, p: F.binary_cross_entropy(p, y, weight=torch.tensor(2.0), reduction="none"),
    lambda y, p: F.binary_cross_entropy_with_logits(p, y, reduction="none"),
    lambda y, p: F.binary_cross_entropy_with_logits(p, y, pos_weight=torch.tensor(3.0), reduction="none"),
    lambda y, p: torch.nn.BCEWithLogitsLoss(reduction="none")(torch.logit(p), y),
    lambda y, p: F.mse_loss(p, y, reduction="none") + F.l1_loss(p, y, reduction="none"),
    lambda y, p: F.huber_loss(p, y, reduction="none", delta=0.25) + torch.nn.HuberLoss(reduction="none")(p, y),
    lambda y, p: F.smooth_l1_loss(p, y, reduction="none", beta=0.25) + F.smooth_l1_loss(p, y, reduction="none", beta=0.0),
    lambda y, p: F.kl_div(torch.log(p), y, reduction="none") + F.kl_div(p, y, reduction="none", log_target=True),
    lambda y, p: F.poisson_nll_loss(p, y + 1, reduction="none", full=True) + F.poisson_nll_loss(
        p, y, log_input=False, reduction="none"),
    lambda y, p: F.soft_margin_loss(p, 2 * y - 1, reduction="none") + F.softsign(p) + F.hardtanh(p, 0.1, 0.5),
    lambda y, p: F.softplus(p) + F.softplus(p, beta=2) + F.softplus(p, beta=3, threshold=1) - F.logsigmoid(y),
    lambda y, p: F.relu(p - y) + F.leaky_relu(p - y) + F.elu(p - y) + F.silu(p) + F.gelu(y) + F.relu6(8 * p),
    lambda y, p: torch.clamp(p, 0.1, 0.9).log().neg() + torch.max(p, y) - p.minimum(y) + p.sigmoid() + y.tanh(),
    lambda y, p: torch.sub(y, p, alpha=2) + p.double().clone().exp() + torch.rsqrt(1 + p) + torch.lerp(y, p, 0.3),
    lambda y, p: (2 ** p).lgamma() + torch.digamma(1 + p) + torch.special.expit(p).log1p() + p.ge(y).float(),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(NUMPY)))
def test_numpy_code_agrees_with_its_formula(number):
    function = NUMPY[number]
    expr = trace(function, check=False)
    assert expr.free_symbols <= {Y, P}
    assert agreement(function, expr) < 1e-12
    np.testing.assert_allclose(evaluate(expr, {Y: CENTRE[0], P: CENTRE[1]}), function(*CENTRE), rtol=1e-13)


@pytest.mark.parametrize("number", range(len(TORCH)))
def test_torch_code_agrees_with_its_formula(number):
    function = TORCH[number]
    expr = trace(function, check=False)
    assert expr.free_symbols <= {Y, P}
    # torch's softplus is linear above its threshold of 20: 1e-10 of the value
    assert agreement(function, expr) < 1e-9
    there = function(torch.tensor(CENTRE[0]), torch.tensor(CENTRE[1])).numpy()
    np.testing.assert_allclose(evaluate(expr, {Y: CENTRE[0], P: CENTRE[1]}), there, rtol=1e-12)


def test_formulas_by_hand():
    assert trace(lambda y, p: F.mse_loss(p, y, reduction="none")) == (Y - P) ** 2
    assert (
        trace(lambda y, p: F.binary_cross_entropy_with_logits(p, y, reduction="none"))
        == fn.softplus(P) - Y * P
    )
    assert trace(lambda y, p: -(scipy.special.xlogy(y, p) + scipy.special.xlogy(1 - y, 1 - p))) == -(
        fn.xlogy(Y, P) + fn.xlogy(1 - Y, 1 - P)
    )
    assert trace(lambda y, p: np.where(p > y, 2 * (p - y), y - p)) == sympy.Piecewise(
        (2 * (P - Y), P > Y), (Y - P, True)
    )
    assert trace(lambda y, p: (y - p).abs().clamp(min=0.25)) == fn.maximum(
        sympy.Abs(Y - P), sympy.Rational(1, 4)
    )


def test_binary_cross_entropy_keeps_torchs_clamp_at_minus_100():
    expr = trace(lambda y, p: F.binary_cross_entropy(p, y, reduction="none"))
    y, p = np.array([1.0, 1.0, 0.0, 0.25, 0.5]), np.array([0.0, 1e-60, 1.0, 0.0, 1e-40])
    there = F.binary_cross_entropy(torch.tensor(p), torch.tensor(y), reduction="none").numpy()
    assert there[0] == 100.0
    np.testing.assert_allclose(evaluate(expr, {Y: y, P: p}), there, rtol=1e-14)


def test_floats_are_binary_unless_decimal():
    assert trace(lambda y, p: p * 0.1) == P * sympy.Rational(3602879701896397, 36028797018963968)
    assert trace(lambda y, p: p * 0.1, decimal=True) == P / 10
    assert trace(lambda y, p: p * np.float32(0.1), decimal=True, check=False) == P / 10
    assert trace(lambda y, p: p * np.float32(0.1)) == P * sympy.Rational(*np.float32(0.1).as_integer_ratio())
    assert trace(lambda y, p: p * Fraction(1, 3)) == P / 3
    assert trace(lambda y, p, c=0.1: p * c, decimal=True) == P / 10


def test_parameters_are_numbers_or_symbols():
    delta, alpha, c = map(parameter, ("delta", "alpha", "c"))
    assert trace(huber).free_symbols == {Y, P}
    assert trace(huber, ["delta"]).free_symbols == {Y, P, delta}
    assert trace(huber, {"delta": Fraction(1, 8)}) == trace(huber, ["delta"]).subs(
        delta, sympy.Rational(1, 8)
    )
    assert trace(barron, {"alpha": None, "c": 1}).free_symbols == {Y, P, alpha}
    assert trace(barron, ["alpha", "c"]).free_symbols == {Y, P, alpha, c}

    def required(y, p, q, *, name="power", flag=True):
        if q > 1 and flag and name == "power":
            return np.abs(y - p) ** q
        return y

    assert trace(required, {"q": 3}) == sympy.Abs(Y - P) ** 3
    with pytest.raises(LossproofError, match="required: expected a value for parameter 'q', got none"):
        trace(required)
    with pytest.raises(LossproofError, match=r"expected known parameters, got 'dleta'. did you mean delta"):
        trace(huber, ["dleta"])
    with pytest.raises(LossproofError, match=r"expected known parameters, got 'q'. clipped_bce has none"):
        trace(clipped_bce, {"q": 1})
    with pytest.raises(LossproofError, match="expected a number for parameter 'delta', got 'big'"):
        trace(huber, {"delta": "big"})
    with pytest.raises(LossproofError, match="expected a finite number for parameter 'delta', got inf"):
        trace(huber, {"delta": math.inf})
    with pytest.raises(LossproofError, match="names other than y, p and z, got the symbol 'p'"):
        trace(lambda t, q, p=2: (t - q) ** p, ["p"])
    with pytest.raises(LossproofError, match=r"truth test of \(q > 1\)"):
        trace(required, ["q"])


def branch(y, p):
    if p > y:
        return p
    return y


def in_place(y, p):
    p += 1
    return p


def item(y, p):
    p[p > 0.5] = 0
    return p


def nothing(y, p):
    p - y


def endless(y, p):
    while True:
        p = -p


def out(y, p):
    return np.log(p, out=y)


def reductive(y, p):
    error = np.square(y - p)
    return error.mean()


def recursive(y, p):
    return recursive(y, p)


def deep(y, p):
    for _ in range(2000):
        p = np.sin(p)
    return p


def doubling(y, p):
    for _ in range(60):
        p = np.sin(p) + np.cos(p)
    return p


REFUSED = [
    (branch, r"branch: expected a formula without branches, got a truth test of \(p > y\) at line \d+ of test_trace.py: "
     r"if p > y: -- Write np.where"),
    (in_place, "a function|element-wise formulas of y and p, got an in-place operation at line .*: p \\+= 1 -- Write x = x"),
    (item, "got an assignment to items .*Use where"),
    (nothing, "expected the element-wise loss as the result, got None. Does a return statement miss"),
    (endless, "expected at most 20000 operations, got more"),
    (out, r"expected a function without side effects, got log\(..., out=...\)"),
    (reductive, r"got mean\(...\), which reduces .* Return the element-wise loss"),
    (lambda y, p: np.mean((y - p) ** 2), r"got mean\(...\), which reduces"),
    (lambda y, p: torch.sum((y - p) ** 2), r"got sum\(...\), which reduces"),
    (lambda y, p: np.add.reduce(y - p), r"got add.reduce\(...\), which reduces"),
    (lambda y, p: torch.max(p), r"got max\(...\), which reduces"),
    (lambda y, p: p.max(), r"got max\(...\), which reduces"),
    (lambda y, p: F.mse_loss(p, y), "expected the element-wise loss, reduction='none', got reduction='mean'"),
    (lambda y, p: F.l1_loss(p, y, reduction="sum"), "got reduction='sum'"),
    (lambda y, p: torch.nn.BCELoss()(p, y), "got reduction='mean'"),
    (lambda y, p: F.relu(p, inplace=True), "got inplace=True"),
    (lambda y, p: F.gelu(p, approximate="tanh"), "approximate='none'"),
    (lambda y, p: float(p), r"got float\(...\) of a traced value"),
    (lambda y, p: -y * math.log(p), r"got float\(...\) of a traced value .*math.log\(p\).* use numpy's"),
    (lambda y, p: int(p), r"got int\(...\) of a traced value"),
    (lambda y, p: complex(p), r"got complex"),
    (lambda y, p: range(p), "got an integer of a traced value"),
    (lambda y, p: max(p, 0), "np.minimum/np.maximum instead of min/max"),
    (lambda y, p: p if 0 < p < 1 else y, "chains such as"),
    (lambda y, p: p or y, "got a truth test of a traced value"),
    (lambda y, p: p in [1, 2], "got a truth test"),
    (lambda y, p: 1 in p, "got a membership test"),
    (lambda y, p: p[0], "got indexing"),
    (lambda y, p: len(p), "got a loop over elements or their count"),
    (lambda y, p: [x for x in p], "got a loop over elements"),
    (lambda y, p: round(p), "got rounding"),
    (lambda y, p: p.add_(1), r"got .add_\(...\) .*Write x = x \+"),
    (lambda y, p: p.clamp_(0, 1), r"got .clamp_\(...\)"),
    (lambda y, p: (y - p) / p.shape[0], "got .shape .*may not depend on shapes"),
    (lambda y, p: p.detach() - y, r"expected a differentiable formula, got .detach\(\)"),
    (lambda y, p: p.flatten() - y, "expected element-wise functions only, got flatten"),
    (lambda y, p: y @ p, "expected element-wise functions only, got matmul"),
    (lambda y, p: np.dot(y, p), "got dot"),
    (lambda y, p: torch.cumsum(p, 0), "got cumsum"),
    (lambda y, p: np.sort(p), "got sort"),
    (lambda y, p: p.softmaxed(), "methods that a formula may use, got .softmaxed .*did you mean"),
    (lambda y, p: scipy.special.erfinv(p), "a function that a formula may use, from numpy, got 'erfinv' .*did you mean erf"),
    (lambda y, p: np.log4p(p), "AttributeError: module 'numpy' has no attribute 'log4p'"),
    (lambda y, p: torch.special.i0(p), "from torch, got 'i0'"),
    (lambda y, p: np.frompyfunc(abs, 1, 1)(p), "ufuncs of numpy or scipy.special, got the ufunc"),
    (lambda y, p: p // 2, "got 'floor_divide'"),
    (lambda y, p: p % 2, "got 'remainder'"),
    (lambda y, p: torch.div(p, y, rounding_mode="floor"), "expected a true division"),
    (lambda y, p: p.astype(int), "expected a cast to a floating type"),
    (lambda y, p: np.asarray(p) + y, "got np.asarray or np.array"),
    (lambda y, p: p * np.arange(3), r"an array constant \(ndarray of shape \(3,\)\)"),
    (lambda y, p: p * torch.ones(3), r"an array constant \(Tensor of shape \(3,\)\)"),
    (lambda y, p: np.where(p > y, [1, 2], p), r"an array constant \(list\)"),
    (lambda y, p: np.where(p > y), "got where with one argument"),
    (lambda y, p: np.where(p, y, p), "expected a comparison as the first argument of where, got the value p"),
    (lambda y, p: np.select([p > y], [p, y]), "as many conditions as choices, got 1 and 2"),
    (lambda y, p: (p > y) + (y > p), "got add of comparisons"),
    (lambda y, p: (p > y) & p, "on each side of & | ^ ~, got the value p".replace("|", r"\|").replace("^", r"\^")),
    (lambda y, p: p > y, "got a comparison. Write where"),
    (lambda y, p: (y, p), "got a tuple of 2. Return one value"),
    (lambda y, p: {"loss": p}, "got a dict of 1"),
    (lambda y, p: "bce", "as the result, got str"),
    (lambda y, p: 0.5, "got the constant 0.5, which depends on neither"),
    (lambda y, p: p + "a", "expected numbers, got add with str"),
    (lambda y, p: p * 1j, "expected real numbers, got 1j of type complex"),
    (lambda y, p: p + math.nan, "got the constant NaN"),
    (lambda y, p: p / 0, "expected a divisor other than 0, got 0"),
    (lambda y, p: np.where(p > 0, y, math.inf), "expected finite constants"),
    (lambda y, p: p + np.log(np.full_like(p, -2.0)), "expected a real formula"),
    (lambda y, p: p + np.log(np.zeros_like(p)), r"expected a finite value, got log\(...\)"),
    (lambda y, p: p ** 1e9, "expected an exponent of at most 1000 in size"),
    (lambda y, p: np.log(p, where=p > 0), "expected arguments of log that a formula has, got an unexpected keyword"),
    (lambda y, p: undefined(p), "NameError: name 'undefined' is not defined at line"),  # noqa: F821
    (lambda y, p: p + np.random.default_rng().uniform(), "formula to agree with the function"),
    (lambda y, p: np.log(p, dtype=int), "expected a cast to a floating type"),
    (lambda y, p: torch.log(other=p), "got a missing argument"),
    (lambda y, p: p + scipy.special.gammaln(np.full_like(p, 10**9)), "whole constants up to 1000 in gammaln"),
    (doubling, "doubling: expected a formula of at most 100000 terms when written out, got 1"),
    (lambda y, p: np.minimum.outer(y, p), "expected element-wise functions only, got minimum.outer"),
    (lambda y, p: torch.where(p > y, y, torch.ones(2)), r"an array constant \(Tensor of shape \(2,\)\)"),
    (lambda y, p: torch.equal(y, p) * p, r"got equal\(...\), which reduces"),
    (lambda y, p: np.allclose(y, p) * p, r"got allclose\(...\), which reduces"),
    (recursive, "recursive: expected a formula of moderate depth, got RecursionError at line"),
    (deep, "deep: expected a formula of moderate depth, got RecursionError"),
    (lambda y, p: F.mse_loss(p, y, size_average=False), "got size_average or reduce"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_refusals(number):
    function, message = REFUSED[number]
    with pytest.raises(LossproofError, match=message):
        trace(function)


def test_what_is_not_a_loss_of_target_and_prediction():
    with pytest.raises(LossproofError, match=r"expected a function loss\(y, p\), got str"):
        trace("bce")
    with pytest.raises(LossproofError, match="got the class BCELoss"):
        trace(torch.nn.BCELoss)
    with pytest.raises(LossproofError, match=r"expected a function of target and prediction"):
        trace(lambda p: p)
    with pytest.raises(
        LossproofError,
        match=r"mse_loss: expected the target first, .* def loss\(y, p\): return mse_loss\(p, y\)",
    ):
        trace(F.mse_loss)
    with pytest.raises(
        LossproofError, match=r"expected the target first, loss\(y, p\), got BCELoss\(input, target\)"
    ):
        trace(torch.nn.BCELoss(reduction="none"))


def test_whole_parameters_count_turns():
    def taylor(y, p, terms=3):
        return sum((y - p) ** n / math.factorial(n) for n in range(terms))

    assert trace(taylor) == 1 + (Y - P) + (Y - P) ** 2 / 2
    assert trace(taylor, {"terms": 2}) == 1 + Y - P


def test_conditions_unfold_into_comparisons_that_a_formula_string_has():
    x, y = np.meshgrid([0.1, 0.4, 0.6, 0.9], [0.1, 0.4, 0.6, 0.9])

    def loss(y, p):
        inside = (p > 0.25) & (p < y) & (y > 0.5)
        return np.where(~inside | (p > 0.5) ^ (y > 0.5) ^ (p > y), y, np.where(inside, p, 3.0)) + 2 * ~inside

    expr = trace(loss)
    assert not expr.atoms(sympy.And, sympy.Or, sympy.Xor, sympy.Not)
    np.testing.assert_array_equal(evaluate(expr, {Y: y, P: x}), loss(y, x))
    assert parse(unparse(expr)) == expr


def test_functions_without_python_code_are_traced_too():
    assert trace(scipy.special.rel_entr) == fn.xlogy(Y, Y / P)
    assert trace(np.subtract) == Y - P


def test_attributes_that_are_missing_answer_hasattr():
    def loss(y, p):
        return p.abs() if hasattr(p, "shape") else p

    # the traced value has no shape, the array has: the comparison finds it out
    with pytest.raises(LossproofError, match="agree with the function within 1e-09, got"):
        trace(loss)
    assert trace(loss, check=False) == P


def test_agreement_measures():
    assert agreement(clipped_bce, trace(clipped_bce)) < 1e-13
    bce = -(Y * sympy.log(P) + (1 - Y) * sympy.log(1 - P))
    assert agreement(
        lambda y, p: (y - p) ** 2, (Y - P) ** 2 * (1 + sympy.Rational(1, 10**6))
    ) == pytest.approx(1e-6, rel=1e-3)
    assert agreement(clipped_bce, bce) < 1e-9
    assert agreement(lambda y, p: (y - p) ** 2, sympy.log(Y - P)) == math.inf
    # small losses are not lost beside 1
    assert agreement(lambda y, p: 1e-12 * (y - p) ** 2, sympy.Integer(0) * Y) == pytest.approx(1.0)
    assert agreement(huber, trace(huber, ["delta"])) < 1e-12
    assert agreement(huber, trace(huber, ["delta"]), params={"delta": 0.4}) < 1e-12
    assert agreement(huber, trace(huber), params={"delta": 0.4}) > TOLERANCE
    assert agreement(lambda y, p: np.abs(y - p), sympy.Abs(Y - P), n=10, seed=3) == 0.0


def test_agreement_refuses_what_it_cannot_compare():
    with pytest.raises(
        LossproofError, match=r"expected the element-wise loss, an array of shape \(1000,\), got shape \(\)"
    ):
        agreement(lambda y, p: np.mean(y - p), Y - P)
    with pytest.raises(
        LossproofError, match="expected a function that runs on float64 arrays, got ZeroDivisionError"
    ):
        agreement(lambda y, p: 1 / 0, Y - P)
    with pytest.raises(LossproofError, match="expected finite values at some points, got none"):
        agreement(lambda y, p: np.log(-np.exp(p)), sympy.log(-sympy.exp(P)))


def test_polygamma_is_traced():
    def loss(y, p):
        return torch.polygamma(1, p) - torch.special.polygamma(2, 1 + y)

    expr = trace(loss, check=False)
    assert expr == fn.polygamma(sympy.S.One, P) - fn.polygamma(sympy.Integer(2), 1 + Y)
    assert agreement(loss, expr) < 1e-8  # torch's own is right to about 5e-10


def test_evaluate_knows_every_formula_function():
    x = np.array([0.3, 0.8])
    wanted = {
        "sigmoid": scipy.special.expit, "xlogy": scipy.special.xlogy, "xlog1py": scipy.special.xlog1py,
        "softplus": lambda a: np.logaddexp(0, a), "logcosh": lambda a: np.log(np.cosh(a)),
        "gammaln": scipy.special.gammaln, "digamma": scipy.special.digamma, "erf": scipy.special.erf,
    }  # fmt: skip
    for name, (function, arity) in fn.NAMES.items():
        if name in ("where", "polygamma"):  # the second is traced above: its order is a constant
            continue
        args = [x, x / 2, x * 2][:arity]
        symbols = [Y, P, parameter("a")][:arity]
        reference = wanted.get(name) or getattr(np, name)
        got = evaluate(function(*symbols), dict(zip(symbols, args, strict=True)))
        np.testing.assert_allclose(got, reference(*args), rtol=1e-13, err_msg=name)
    with pytest.raises(LossproofError, match="expected a value for p, got none"):
        evaluate(Y + P, {Y: x})
    with pytest.raises(LossproofError, match="functions that a formula has, got besselj"):
        evaluate(sympy.besselj(0, Y), {Y: x})


def test_tracing_needs_no_torch_and_leaves_no_sympy_in_the_package():
    code = (
        "import sys, lossproof, lossproof.formula\n"
        "assert 'sympy' not in sys.modules\n"
        "import numpy as np\n"
        "from lossproof.formula.trace import trace\n"
        "print(trace(lambda y, p: np.abs(y - p).clip(min=1)))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "maximum(Abs(p - y), 1)\n"
