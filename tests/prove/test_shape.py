"""Convexity in p and in the logits: golden verdicts, kinks, jumps, and counterexamples checked with mpmath."""

from fractions import Fraction

import mpmath
import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.prove import certify
from lossproof.prove.clock import Clock
from lossproof.prove.logits import logit_form
from lossproof.prove.problem import Problem
from lossproof.prove.shape import lines

# convex in p, convex in the logits; the references are in certify.md's table and in LossFunctions.jl's tests
YES, NO = Proved, Refuted
GOLDEN = {
    "bce": (YES, YES), "mse": (YES, NO), "mae": (YES, NO), "logcosh": (YES, NO), "huber": (YES, NO),
    "charbonnier": (YES, NO), "pinball": (YES, NO), "barron": (YES, NO), "barron(alpha=-2, c=0.25)": (NO, NO),
    "barron(alpha=0, c=0.25)": (NO, NO), "poisson": (YES, NO), "msle": (YES, NO), "hellinger": (YES, NO),
    "jensen_shannon": (YES, NO), "continuous_bernoulli": (NO, YES), "focal": (YES, NO), "weighted_bce": (YES, YES),
    "smoothed_bce": (YES, YES), "1 - exp(-8*(y - p)**2)": (NO, NO), "maximum(0, 1 - (2*y - 1)*(2*p - 1))": (YES, None),
    "maximum(abs(y - p) - 1/100, 0)": (YES, NO), "minimum(abs(y - p), 1/10)": (NO, NO),
    "where(p < 1/2, 0, 1) + y": (NO, NO), "where(p < 0.3, -p, p) + y": (NO, NO),
}  # fmt: skip


def found(spec, budget=60.0):
    return {line.key: line.verdict for line in lines(Problem(resolve(spec)), {}, Clock(budget))}


@pytest.mark.parametrize("spec", GOLDEN)
def test_convexity(spec):
    verdicts = found(spec)
    for key, wanted in zip(("convex", "convex_logits"), GOLDEN[spec], strict=True):
        if wanted is not None:
            assert isinstance(verdicts[key], wanted), (key, verdicts[key])


def test_no_catalogue_loss_is_undecided():
    for name in CATALOGUE:
        verdicts = found(name)
        assert not any(isinstance(v, Unknown) for v in verdicts.values()), name


@pytest.mark.parametrize(("spec", "logits"), [("1 - exp(-8*(y - p)**2)", False), ("(y - p)**2", True)])
def test_a_counterexample_holds_in_independent_arithmetic(spec, logits):
    verdict = found(spec)["convex_logits" if logits else "convex"]
    at = {k: Fraction(v) for k, v in verdict.witness}
    low, middle, high = at["p1"], at["p"], at["p2"]
    if logits:  # equally spaced in z = log(p/(1 - p)): the odds are in geometric progression
        odds = [p / (1 - p) for p in (low, middle, high)]
        assert odds[1] ** 2 == odds[0] * odds[2]
    else:
        assert 2 * middle == low + high
    with mpmath.workdps(60):
        value = lambda p: eval(  # noqa: E731
            spec,
            {"exp": mpmath.exp},
            {k: mpmath.mpf(v.numerator) / v.denominator for k, v in (("y", at["y"]), ("p", p))},
        )
        assert value(middle) > (value(low) + value(high)) / 2


def test_strict_convexity_is_refuted_on_a_straight_piece_and_proved_where_the_bend_is_positive():
    assert isinstance(found("bce")["strictly_convex"], Proved)
    flat = found("maximum(abs(y - p) - 1/100, 0)")["strictly_convex"]
    assert isinstance(flat, Refuted)
    assert flat.claim.relation == "="


def test_the_logit_forms_of_bce_and_the_continuous_bernoulli():
    assert str(logit_form(Problem(CATALOGUE["bce"]).plain)) == "-y*z + z/2 + logcosh(z/2) + log(2)"
    assert str(logit_form(Problem(CATALOGUE["continuous_bernoulli"]).plain)) == "-y*z + z/2 + logsinhc(z/2)"


def test_a_concave_kink_is_seen_where_the_gate_of_continuity_passes():
    # every smooth piece is straight, so only the kink decides (the trap of sympy's is_convex)
    assert isinstance(found("where(p < 1/2, p, 1 - p) + y")["convex"], Refuted)


def test_without_the_kink_rule_a_concave_kink_would_pass(monkeypatch):
    monkeypatch.setattr("lossproof.prove.shape._bulge", lambda *_: None)
    spec = "where(p < 1/2, p, 1 - p) + y"
    assert isinstance(found(spec)["convex"], Unknown)
    monkeypatch.setattr("lossproof.prove.shape.switches", lambda *_: iter(()))
    assert isinstance(found(spec)["convex"], Proved)


def test_strict_convexity_follows_where_enclosures_show_the_second_derivative_above_0():
    certificate = certify("logcosh(y - p)*exp(p*y/9)", only=("convex", "strongly_convex"), budget=30.0)
    for key in ("convex", "strictly_convex", "strongly_convex"):
        assert isinstance(certificate.lines[key].verdict, Certified), key
    assert certificate.check().ok


def test_what_is_straight_somewhere_is_not_strongly_convex():
    lines = certify("poisson", only=("convex", "strongly_convex"), budget=30.0).lines
    assert isinstance(lines["strictly_convex"].verdict, Refuted)
    assert lines["strongly_convex"].verdict.witness == lines["strictly_convex"].verdict.witness


@pytest.mark.parametrize("spec", [
    "log1p(((p - y)/(29/3))**2) - 1/100000000*sqrt(log1p(((p - y)/(29/3))**2))", "(p - y)**2 - sqrt(log1p((p - y)**2))/10**9",
    "(p - y)**2 - sqrt(1 - exp(-(p - y)**2))/10000000",
])  # fmt: skip
def test_a_kink_at_p_y_without_a_branch_is_not_overlooked(spec):
    """Found by the fuzz: sqrt(log1p(r**2)) is |r| next to p = y, where its slope is 0/0."""
    lines = found(spec)
    for key in ("convex", "strictly_convex"):
        assert not isinstance(lines[key], Proved | Certified), key
