"""Printed source: every target runs by itself, says the same numbers, and turns back into its formula."""

import json
import math
import shutil
import subprocess
import time

import mpmath
import numpy as np
import pytest
import sympy
import torch
from typer.testing import CliRunner

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.cli import app
from lossproof.formula import LossproofError
from lossproof.formula.functions import NAMES
from lossproof.formula.symbols import P, Y, Z
from lossproof.formula.trace import trace
from lossproof.lower import function, oracle
from lossproof.lower.kernels import run
from lossproof.lower.latex import latex_source
from lossproof.lower.source import source
from lossproof.lower.stable import lower, lower_naive
from lossproof.torch import kernel

IDS = sorted(CATALOGUE)
OWN = [
    "(y-p)**2/(p*(1-p))", "abs(y-p)/sqrt(p*(1-p))", "-log(1-abs(y-p))", "-log(y*p+(1-y)*(1-p))", "sqrt(abs(y-p))",
    "(sqrt(y)-sqrt(p))**2/p", "p**y*(1-p)**(1-y)", "(y-p)**4/(p**3*(1-p))", "tanh(3*(y-p))**2", "exp(-3*p)*(y-p)**2",
    "where(p > y, 2*(p-y), y-p)", "maximum(abs(y-p)-0.1, 0)", "1 - sin(y)*sin(p) - cos(y)*cos(p)", "y/p+(1-y)/(1-p)",
    "softplus(p-y) + softplus(y-p)", "logaddexp(y, p) - log(2)*y", "arctan(y-p)**2", "expm1((y-p)**2)",
]  # fmt: skip
POINTS = [(0.0, -1.5), (0.25, 0.75), (0.5, 2.0), (1.0, -0.5), (0.75, -3.0)]


@pytest.mark.parametrize("name", IDS + OWN)
def test_numpy_source_traced_again_is_the_expression_it_came_from(name):
    loss = resolve(name)
    made = source(loss, "numpy", bound=True)
    functions = run(made.text(), f"<test {name}>")
    # meanexp's continued fraction is truncated, and constants such as log 2 or 1 - 0.1 are floats in the text
    rounded = any(getattr(made.lowered, kind).has(sympy.log(2)) for kind in ("value", "value_logits"))
    digits = 1e-14 if rounded or name in ("continuous_bernoulli", "smoothed_bce") else 1e-30
    for kind, symbol in (("value", P), ("gradient", P), ("value_logits", Z), ("gradient_logits", Z)):
        traced = trace(functions[kind], check=False) if kind in functions else None
        if traced is None:
            continue
        expected = getattr(lower(loss, bound=True), kind)
        for y, x in ((0.3125, 0.6875), (0.875, 0.25), (0.4375, 0.5625)):
            with mpmath.workdps(60):
                got = oracle.evaluate(traced, {Y: mpmath.mpf(y), P: mpmath.mpf(x), Z: mpmath.mpf(x)})
                want = oracle.evaluate(expected, {Y: mpmath.mpf(y), symbol: mpmath.mpf(x)})
                assert abs(got - want) <= digits * (1 + abs(want)), (kind, y, x)


@pytest.mark.parametrize("name", IDS)
def test_mpmath_source_agrees_with_the_oracle(name):
    loss = CATALOGUE[name]
    functions = run(source(loss, "mpmath", bound=True, naive=True).text(), f"<mp {name}>")
    with mpmath.workdps(50):
        for y, z in POINTS[1:3]:  # naive: 0 log 0 is not a number
            want = oracle.loss_at_logits(loss, y, z)
            assert abs(functions["value_logits"](mpmath.mpf(y), mpmath.mpf(z)) - want) < mpmath.mpf(10) ** -40


@pytest.mark.skipif(shutil.which("node") is None, reason="JavaScript is run by node")
def test_javascript_source_runs_and_agrees():
    parts = []
    for name in IDS + OWN:
        text = source(resolve(name), "javascript", bound=True).text()
        calls = ", ".join(
            f"[value_logits({y}, {z}), gradient_logits({y}, {z})]" for y, z in [*POINTS, (1, -200), (0, 700)]
        )
        parts.append(f"(function () {{\n{text}\nreturn [{calls}];\n}})()")
    script = f"console.log(JSON.stringify([{','.join(parts)}], (k, v) => typeof v === 'number' && !isFinite(v) ? String(v) : v));"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    for name, results in zip(IDS + OWN, json.loads(done.stdout), strict=True):
        loss = function(name)
        for (y, z), (value, gradient) in zip([*POINTS, (1, -200), (0, 700)], results, strict=True):
            assert float(value) == pytest.approx(loss.value_logits(y, z), rel=1e-12, abs=1e-13), (name, y, z)
            assert float(gradient) == pytest.approx(loss.gradient_logits(y, z), rel=1e-12, abs=1e-13), (
                name,
                y,
                z,
            )


@pytest.mark.parametrize("name", OWN)
def test_a_formula_nobody_prepared_is_stable(name):
    loss = function(name)
    for y in (0.0, 2.0**-1022, 1 / 255, 0.3, 0.5, 1 - 2.0**-53, 1.0):
        for z in (0.0, 0.4, -1.0, 3.0, -17.0, 17.5, 40.0, -89.0, 104.0, -700.0, 700.0, 1e4, -1e4):
            exact = oracle.loss_at_logits(loss.definition, y, z)
            value = loss.value_logits(y, z)
            assert not np.isnan(value), (y, z)
            if abs(exact) < 1e308:
                assert abs(value - float(exact)) <= 8 * 2.0**-52 * max(abs(float(exact)), 1, abs(y * z)), (
                    y,
                    z,
                )
            if abs(z) > 1000:
                assert not np.isnan(loss.gradient_logits(y, z)), (y, z)
                continue
            exact = oracle.slope_at_logits(loss.definition, y, z)
            near_kink = loss.definition.expression().has(sympy.Abs, sympy.Piecewise) or "maximum" in name
            if abs(exact) < 1e308 and not (near_kink and abs(1 / (1 + math.exp(-z)) - y) < 1e-12):
                gradient = loss.gradient_logits(y, z)
                assert abs(gradient - float(exact)) <= 16 * 2.0**-52 * max(abs(float(exact)), 1), (y, z)


@pytest.mark.parametrize("name", IDS)
def test_the_naive_form_is_the_formula_and_the_second_derivative_is_one(name):
    loss = CATALOGUE[name]
    naive, made = lower_naive(loss, bound=True), lower(loss, bound=True)
    for y, z in ((0.25, 0.7), (0.6, -1.2)):
        with mpmath.workdps(40):
            at = {Y: mpmath.mpf(y), Z: mpmath.mpf(z)}
            assert (
                abs(oracle.evaluate(naive.value_logits, at) - oracle.evaluate(made.value_logits, at)) < 1e-25
            )
            h = mpmath.mpf(10) ** -15
            up, down = ({Y: at[Y], Z: at[Z] + s * h} for s in (1, -1))
            numeric = (
                oracle.evaluate(made.gradient_logits, up) - oracle.evaluate(made.gradient_logits, down)
            ) / (2 * h)
            assert abs(oracle.evaluate(made.curvature_logits(), at) - numeric) < 1e-12


def test_latex_has_every_line():
    text = latex_source(CATALOGUE["bce"])
    assert r"\begin{align*}" in text
    assert r"\operatorname{softplus}\left(z\right)" in text
    assert text.count("&=") == 5
    for loss in CATALOGUE.values():
        assert latex_source(loss).count("{") == latex_source(loss).count("}")


def test_a_function_that_a_target_lacks_is_named():
    with pytest.raises(
        LossproofError, match="expected functions that Keras 3 has, got gammaln. Choose another target"
    ):
        source(resolve("gammaln(y+1) - gammaln(p+1)"), "keras")


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"where"}))
def test_every_name_of_the_grammar_has_values_gradients_and_a_floor(name):
    call = {1: f"{name}((y - p)/4 + 1/2)", 2: f"{name}((y - p)/4 + 1/2, 2)", 3: f"{name}((y - p)/4, 0, 1/3)"}
    text = "polygamma(2, (y - p)/4 + 1/2)" if name == "polygamma" else call[NAMES[name][1]]
    loss = function(f"(y - p)**2 + {text}/100")
    y, z = np.array([0.0, 0.3, 1.0]), np.array([0.5, -2.0, 1.0])
    exact = [float(oracle.loss_at_logits(loss.definition, a, b)) for a, b in zip(y, z, strict=True)]
    np.testing.assert_allclose(loss.value_logits(y, z), exact, rtol=1e-13)
    slopes = [float(oracle.slope_at_logits(loss.definition, a, b)) for a, b in zip(y, z, strict=True)]
    np.testing.assert_allclose(loss.gradient_logits(y, z), slopes, rtol=1e-11, atol=1e-14)
    assert np.isfinite(loss.floor(y)).all()
    k = kernel(loss.definition)
    np.testing.assert_allclose(k.value_logits(torch.tensor(y), torch.tensor(z)).numpy(), exact, rtol=1e-12)


def test_rewriting_that_takes_too_long_falls_back_with_a_warning(monkeypatch):
    from lossproof.lower import stable

    monkeypatch.setattr(stable, "BUDGET", 0.0)
    stable._in_time.cache_clear()
    with pytest.warns(
        UserWarning, match="expected to rewrite and print the formula within 0 s.*Simplify the formula"
    ):
        made = lower(resolve("(y-p)**6/(1+p)"))
    assert made.steps == ()
    stable._in_time.cache_clear()


@pytest.mark.parametrize("name", ["value_logits", "both_logits", "fused_logits", "curvature_logits"])
def test_printing_that_takes_too_long_falls_back_with_a_warning(monkeypatch, name):
    from lossproof.lower import stable

    loss = resolve("(y-p)**4/(1+p) + (y-p)**2*exp(-2*p)")
    made = lower(loss, bound=True)
    monkeypatch.setattr(stable, "lower", lambda *_args, **_options: made)  # in time
    late = iter([*[0.0] * 2, *[1e9] * 10**6])
    monkeypatch.setattr("time.thread_time", lambda: next(late))
    with pytest.warns(
        UserWarning, match="expected to rewrite and print the formula within 10 s.*Simplify the formula"
    ):
        printed = source(loss, "torch", bound=True, names=(name,))
    assert printed.lowered.plain
    assert printed.functions.keys() <= {"value_logits", "curvature_logits"}
    if name != "value_logits":
        return
    assert "t1 = " not in printed.text()  # a look for common parts may take long
    value = run(printed.text(), "<test late>")["value_logits"]
    y, z = torch.tensor([0.25, 1.0]), torch.tensor([-1.0, 2.0])
    p = torch.sigmoid(z)
    torch.testing.assert_close(value(y, z), (y - p) ** 4 / (1 + p) + (y - p) ** 2 * torch.exp(-2 * p))


def test_looking_for_shared_sums_ends_in_time():
    from lossproof.lower.inplace import share_sums
    from lossproof.lower.rules import TooSlow

    with pytest.raises(TooSlow):
        share_sums([Z - Y, (Z - Y) ** 2], deadline=-1.0)


def test_a_loss_in_its_plain_form_still_trains(monkeypatch):
    from lossproof.lower import stable
    from lossproof.torch import ReconstructionLoss

    monkeypatch.setattr(stable, "BUDGET", 0.0)
    stable._in_time.cache_clear()
    far = pytest.warns(UserWarning, match="Keep logits between -89 and 89")  # what the plain form cannot do
    with far, pytest.warns(UserWarning, match="Its plain form is used"):
        loss = ReconstructionLoss("(y-p)**2*(2 + p)")
    stable._in_time.cache_clear()
    z, y = torch.tensor([[0.5, -1.0]], requires_grad=True), torch.tensor([[0.25, 1.0]])
    value = loss(z, y)
    p = torch.sigmoid(z)
    plain = ((y - p) ** 2 * (2 + p)).sum()
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(torch.autograd.grad(value, z), torch.autograd.grad(plain, z))


@pytest.mark.parametrize(
    "target", ["torch", "keras", "jax", "numpy", "javascript", "mpmath", "latex", "formula"]
)
@pytest.mark.parametrize("options", [[], ["--naive"], ["--gradient"], ["--steps"]])
def test_show_prints_every_target(target, options):
    result = CliRunner().invoke(app, ["show", "huber(delta=0.25)", "--as", target, *options])
    assert result.exit_code == 0, result.output
    assert "0.25" in result.output or target == "latex"
    if target in ("numpy", "torch"):
        namespace: dict = {}
        exec(result.output, namespace)
        assert ("gradient_logits" in namespace) or options == []
        assert ("value" in namespace) == ("--gradient" not in options)


@pytest.mark.parametrize(
    "formula",
    [
        "((((y-p)**2+1)**7+y)**7+p)**7*sin(y*p)*exp(p*y)", "((((y-p)**2+1)**7+y)**7+p)**7",
        "(y*(y+1)**90*(y+2)**90*(y+sin(y)+1)**50-p)**2", "((y+1)**300*(y+sin(y))**300-p)**2",
        "(y*(1+y+y*y)**2000-p)**2",
    ],
)  # fmt: skip
def test_formulas_that_would_explode_when_multiplied_out_are_not(formula):
    began = time.monotonic()
    assert np.isfinite(function(formula).value_logits(0.01, 0.2))
    assert time.monotonic() - began < 90


@pytest.mark.parametrize("formula", ["(y-p)**2", "abs(y-p)**1.5", "log(cosh(3*(y-p)))", "(y-p)**2/(p*(1-p))"])
def test_a_searched_floor_is_exact_where_it_is_the_loss_at_the_target(formula):
    assert function(formula).floor(np.linspace(0.1, 0.9, 9)).tolist() == [0.0] * 9


def test_show_takes_formulas_with_parameters():
    result = CliRunner().invoke(app, ["show", "abs(y-p)**q", "--param", "q=1.5", "--as", "numpy"])
    assert result.exit_code == 0
    namespace: dict = {}
    exec(result.output, namespace)
    assert namespace["value"](0.0, 0.25) == pytest.approx(0.125)
    with pytest.raises(LossproofError, match="--param: expected NAME=NUMBER, got 'q=x'"):
        CliRunner().invoke(app, ["show", "abs(y-p)**q", "--param", "q=x"], catch_exceptions=False)


@pytest.mark.parametrize("name", ["smoothed_bce", "-(0.05+0.9*(1-y))*log(1-p)", "y/(51/50-p)"])
@pytest.mark.parametrize("target", ["numpy", "torch"])
def test_a_weight_that_is_small_at_one_keeps_its_digits(name, target):
    loss = resolve(name)
    functions = run(source(loss, target, bound=True).text(), f"<{target} {name}>")
    make = np.asarray if target == "numpy" else torch.DoubleTensor
    for y, p in ((1.0, 1 - 2.0**-52), (1 - 2.0**-53, 0.97), (254 / 255, 0.999), (1.0, 0.25), (0.0, 0.5)):
        largest = max(1, y / p, (1 - y) / (1 - p))
        for kind, exact in (("value", oracle.loss_at(loss, y, p)), ("gradient", oracle.slope_at(loss, y, p))):
            got = float(functions[kind](make([y]), make([p]))[0])
            assert abs(got - float(exact)) <= 4 * 2.0**-52 * max(abs(float(exact)), largest), (kind, y, p)


def test_only_a_difference_that_cancels_is_written_with_one_minus_y():
    for formula, written in (("(19/20-9/10*y)*p", "(0.05 + 9 * t1 / 10)"), ("(2-y)*p", "(2 - y)"), ("(1-y)*p", "(1 - y)"),
                             ("(1/2-y)*p", "(0.5 - y)"), ("(1.125-y)*p", "(1.125 - y)")):  # fmt: skip
        text = source(resolve(formula), "numpy", bound=True).functions["value"]
        assert written in text, text
        assert ("t1 = 1 - y" in text) == ("t1" in written)


def test_a_parameter_put_in_is_printed_as_the_number_it_is():
    text = source(CATALOGUE["smoothed_bce"], "numpy", bound=True).text()
    assert "0.9 * y" in text
    assert "e+16" not in text
    assert "9 / 10" not in text
    # the 50-digit target keeps the exact fraction
    assert "0.9" not in source(CATALOGUE["smoothed_bce"], "mpmath", bound=True).functions["value"]


@pytest.mark.parametrize(("formula", "message"), [
    ("(y - p)**2/10**400", r"got one of about 10\*\*-400. Scale the formula"),
    ("(y - p)**2 + 10**400*(y - p)**2", "for want of a float64 that holds its numbers"),
])  # fmt: skip
def test_numbers_beyond_float64_are_refused(formula, message):
    with pytest.raises(LossproofError, match=message):
        function(resolve(formula)).value(0.5, 0.25)
