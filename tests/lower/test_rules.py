"""The rewriting rules: each fires, keeps the value, and is needed."""

import mpmath
import pytest
import sympy

from lossproof.catalogue import CATALOGUE
from lossproof.formula.functions import (
    log1p,
    logaddexp,
    logcosh,
    logexprel,
    logsinhc,
    maximum,
    minimum,
    sigmoid,
    softplus,
    xdivy,
    xlog1py,
    xlogy,
    xtimes,
)
from lossproof.formula.symbols import P, Y, Z
from lossproof.lower.oracle import evaluate
from lossproof.lower.rules import RULES, rewrite
from lossproof.lower.source import readable
from lossproof.lower.stable import lower

HALF = sympy.Rational(1, 2)
G = sympy.Symbol("g", real=True, positive=True)

# rule -> an expression on which it alone fires, and what must come out
CASES = {
    "softplus_from_exp": (sympy.log(1 + sympy.exp(Z)), softplus(Z)),
    "sigmoid_from_exp": (1 / (1 + sympy.exp(-Z)), sigmoid(Z)),
    "complement": (1 - sigmoid(Z), sigmoid(-Z)),
    "tanh_from_sigmoid": (1 - 2 * sigmoid(Z), -sympy.tanh(Z / 2)),
    "logcosh_from_log": (sympy.log(sympy.cosh(Z)), logcosh(Z)),
    "artanh_of_tanh": (sympy.atanh(sympy.tanh(Z), evaluate=False), Z),
    "log_of_sigmoid": (xlogy(Y, sigmoid(Z)), -Y * softplus(-Z)),
    "softplus_pair": (Y * softplus(-Z) + (1 - Y) * softplus(Z), softplus(Z) - Y * Z),
    "softplus_minus_logcosh": (softplus(Z) - logcosh(Z / 2), Z / 2 + sympy.log(2)),
    "logexprel_from_logsinhc": (Z / 2 + logsinhc(Z / 2), None),
    "logexprel_minus_part": (
        2 * logexprel(Z) - 2 * Y * Z,
        2 * logexprel(-sympy.Abs(Z)) + 2 * maximum(Z, 0) * (1 - Y) + 2 * maximum(-Z, 0) * Y,
    ),
    "log_of_u_over_tanh": (sympy.log(Z / sympy.tanh(Z / 2)), sympy.log(2) - logsinhc(Z / 2) + logcosh(Z / 2)),
    "removable_point": (sympy.Piecewise((0, sympy.Eq(Z, 0)), (logsinhc(Z), True)), logsinhc(Z)),
    "power_minus_one": (sympy.sqrt(1 + Z**2) - 1, Z**2 / (1 + sympy.sqrt(1 + Z**2))),
    "log1p_from_log": (xlogy(Y, 1 - P), xlog1py(Y, -P)),
    "combine_powers": (sympy.Mul(sigmoid(Z), sigmoid(Z) ** (G - 1), evaluate=False), sigmoid(Z) ** G),
    "quotient_sum": (xdivy(P, (P + Y) / 2) + xdivy(Y, (P + Y) / 2), sympy.Integer(2)),
    "content": (P * (2 * Y - 2 * P), 2 * P * (Y - P)),
    "guard_zero_times_log": (Y * sympy.log(P), xlogy(Y, P)),
    "cancel_quotient": (
        (sympy.sqrt(P) - sympy.sqrt(Y)) / sympy.sqrt(P),
        1 - xdivy(sympy.sqrt(Y), sympy.sqrt(P)),
    ),
    "clip_from_where": (
        sympy.Piecewise((Y * (P - Y), sympy.Abs(P - Y) <= G), (Y * G * sympy.sign(P - Y), True)),
        Y * minimum(maximum(P - Y, -G), G),
    ),
    "huber_from_where": (
        sympy.Piecewise(((P - Y) ** 2 / 2, sympy.Abs(P - Y) <= G), (G * (sympy.Abs(P - Y) - G / 2), True)),
        minimum(maximum(P - Y, -G), G) * ((P - Y) - minimum(maximum(P - Y, -G), G) / 2),
    ),
    "sigmoid_quotient": (sigmoid(Z) / sigmoid(-Z) ** 2, sympy.exp(Z) / sigmoid(-Z)),
    "residual_over_powers": (
        (Y - sigmoid(Z)) ** 2 / sigmoid(Z) / sigmoid(-Z),
        (Y * sympy.exp(-Z / 2) - (1 - Y) * sympy.exp(Z / 2)) ** 2,
    ),
    "one_minus_residual": (1 - sympy.Abs(Y - sigmoid(Z)), minimum(1 - Y + sigmoid(Z), Y + sigmoid(-Z))),
    "one_minus_square": (1 - (Y - sigmoid(Z)) ** 2, (1 - Y + sigmoid(Z)) * (Y + sigmoid(-Z))),
    "log_of_sigmoid_sum": (
        sympy.log(Y * sigmoid(Z) + (1 - Y) * sigmoid(-Z)),
        logaddexp(sympy.log(Y) - softplus(-Z), sympy.log(1 - Y) - softplus(Z)),
    ),
    "same_denominator": (1 / sigmoid(Z) - Y / sigmoid(Z) + Y, (1 - Y) / sigmoid(Z) + Y),
    "log_of_minimum": (sympy.log(minimum(Y, P)), minimum(sympy.log(Y), sympy.log(P))),
    "target_power_of_sigmoid": (sigmoid(Z) ** Y, sympy.exp(-Y * softplus(-Z))),
    "exp_product": (sympy.exp(Y * Z) * sympy.exp(-softplus(Z)), sympy.exp(Y * Z - softplus(Z))),
    "share_power": (
        (sympy.sqrt(Y) - sympy.sqrt(sigmoid(Z))) ** 2 / sigmoid(Z),
        (sympy.sqrt(Y / sigmoid(Z)) - 1) ** 2,
    ),
    "residual_below_root": (
        sympy.sqrt(sympy.Abs(Y - sigmoid(Z))),
        sympy.sqrt(sympy.Abs(Y * sigmoid(-Z) - (1 - Y) * sigmoid(Z))),
    ),
    "guard_zero_times_overflow": (Y * sympy.exp(-Z), xtimes(Y, sympy.exp(-Z))),
    "guard_kink_quotient": (
        sympy.sign(Y - P) / sympy.sqrt(sympy.Abs(Y - P)),
        xdivy(sympy.sign(Y - P), sympy.sqrt(sympy.Abs(Y - P))),
    ),
    "log_of_half_sum": (xlogy(Y, Y / 2 + P / 2), xlogy(Y, Y + P) - Y * sympy.log(2)),
    "difference_of_logs": (sympy.log(P) / 2 - sympy.log(Y + P) / 2, sympy.log(P / (Y + P)) / 2),
    "plain_quotient": (xdivy(Y, 1 + sigmoid(Z)), Y / (1 + sigmoid(Z))),
}


def test_every_rule_has_a_case_and_a_reason():
    assert {rule.name for rule in RULES} == set(CASES)
    assert all(len(rule.reason) > 20 for rule in RULES)


@pytest.mark.parametrize("name", CASES)
def test_a_rule_fires_and_keeps_the_value(name):
    before, expected = CASES[name]
    after, steps = rewrite(before, rules=[rule for rule in RULES if rule.name == name])
    assert [step.rule for step in steps][:1] == [name]
    if expected is not None:
        assert after == expected or sympy.simplify(after - expected) == 0
    for y, p, z, g in ((0.3, 0.6, 0.7, 2.0), (0.8, 0.25, -1.3, 0.5), (0.5, 0.5, 3.0, 1.0)):
        at = {Y: mpmath.mpf(y), P: mpmath.mpf(p + 1e-3), Z: mpmath.mpf(z), G: mpmath.mpf(g)}
        with mpmath.workdps(40):
            assert abs(evaluate(before, at) - evaluate(after, at)) < mpmath.mpf(10) ** -30


def test_bce_comes_out_by_rewriting():
    made = lower(CATALOGUE["bce"])
    assert made.value_logits == softplus(Z) - Y * Z
    assert made.gradient_logits == sigmoid(Z) - Y
    assert readable(made.value_logits) == "softplus(z) - y*z"
    assert [step.rule for step in made.steps][:3] == ["log_of_sigmoid", "complement", "log_of_sigmoid"]
    assert "softplus_pair" in [step.rule for step in made.steps]


@pytest.mark.parametrize("missing", ["log_of_sigmoid", "softplus_pair"])
def test_without_one_of_its_rules_bce_does_not_come_out(missing):
    behind = CATALOGUE["bce"].expression().xreplace({P: sigmoid(Z)})
    after, _ = rewrite(behind, rules=[rule for rule in RULES if rule.name != missing])
    assert after != softplus(Z) - Y * Z


def test_the_continuous_bernoulli_has_no_branch_at_one_half():
    made = lower(CATALOGUE["continuous_bernoulli"])
    assert not made.value_logits.atoms(sympy.Piecewise)
    assert readable(made.value_logits) == "(1 - y)*maximum(z, 0) + logexprel(-abs(z)) + y*maximum(-z, 0)"
    assert readable(made.gradient_logits) == "meanexp(z) - y"


def test_a_logexprel_alone_or_beside_other_terms_is_left():
    for e in (logexprel(Z), logexprel(Z) - Y * Z**2, logexprel(-sympy.Abs(Z)) + Y * maximum(Z, 0)):
        assert rewrite(e)[0] == e
    with_half = rewrite(logexprel(Z) - Y * Z + Z / 2)[0]  # all parts of u together make the weight
    assert with_half == (
        logexprel(-sympy.Abs(Z)) + maximum(Z, 0) * (sympy.Rational(3, 2) - Y) + maximum(-Z, 0) * (Y - HALF)
    )


@pytest.mark.parametrize("loss", CATALOGUE.values(), ids=lambda loss: loss.id)
def test_rewriting_settles(loss):
    made = lower(loss)
    for expr in (made.value, made.value_logits, made.gradient_logits):
        assert rewrite(expr)[0] == expr


def test_a_log_of_a_product_is_split_by_its_weight():
    after, _ = rewrite(xlogy(Y, P * sigmoid(Z)))
    assert after == xlogy(Y, P) - Y * softplus(-Z)
    assert rewrite(log1p(-sigmoid(Z)))[0] == -softplus(Z)


def test_rewriting_stops_after_its_limit():
    from lossproof.lower.rules import TooSlow

    with pytest.raises(TooSlow):
        rewrite(CATALOGUE["bce"].expression().xreplace({P: sigmoid(Z)}), limit=1)
