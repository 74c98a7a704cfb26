"""False statements that a reviewer once got a yes for: each must never be Proved or Certified again."""

import pytest

from lossproof.formula import Certified, LossproofError, Proved, Refuted, Unknown
from lossproof.prove import certify

ENDS = [
    "where(y == 0, 1 - p, (y - p)**2)",
    "where(y == 1, p, -(xlogy(y, p) + xlogy(1 - y, 1 - p)))",
    "where(y <= 0, (p - 1/2)**2, (y - p)**2)",
    "where(y*(1 - y) == 0, 0 - (y - p)**2, (y - p)**2)",
    "where(y == 0, sign(1/2 - p), (y - p)**2)",
    "where(y > 0, (y - p)**2 + log(y), 0 - p)",
    "(y - p)**2 + where(y < 1, log(1 - y), p)",
]


@pytest.mark.parametrize("formula", ENDS)
def test_another_formula_at_an_end_of_the_targets(formula):
    lines = certify(formula, budget=30, only=("minimum", "unique")).lines
    for key in ("minimum", "unique"):
        assert not isinstance(lines[key].verdict, Proved | Certified), key


def test_a_concave_branch_at_an_end_is_not_left_out_silently():
    formula = "where(y > 0, (y - p)**2, where(p < 1/2, 0 - (y - p)**2/10**9, log(y)))"
    lines = certify(formula, budget=30, only=("convex", "strictly_convex", "strongly_convex")).lines
    assert not any(isinstance(line.verdict, Proved | Certified) for line in lines.values())


@pytest.mark.parametrize(
    ("target", "prediction"), [("[0, 1]", "[0, 5000]"), ("[0, 1]", "[0.5, 1]"), ("[0, 1]", "[0, inf)")]
)
def test_target_and_prediction_must_share_their_interval(target, prediction):
    with pytest.raises(LossproofError, match="expected target and prediction in the same interval"):
        certify("abs(y - p)*(1 - p/1000)", target=target, prediction=prediction, only=("minimum",))


def test_a_parameter_value_without_a_loss_is_refused():
    with pytest.raises(LossproofError, match="expected a range of d in which the loss exists"):
        certify("(y - p)**2/d", symbolic={"d": "[0, 1]"}, only=("minimum",), in_process=True)
    lines = certify("(y - p)**2/d", symbolic={"d": "(0, 1]"}, only=("minimum",)).lines
    assert isinstance(lines["minimum"].verdict, Proved)


@pytest.mark.parametrize(
    "formula",
    ["(y - p)**2 + sqrt(p - 1/2)**2 - p", "(y - p)**2 + exp(log(p - 1/2)) - p", "sqrt(y - p)**4", "log(y - 5)*p", "sqrt(p - 2)*y",
     "(y - p)**2 + log(p - 1/2) - log(p - 1/2)"],
)  # fmt: skip
def test_a_formula_that_is_no_number_on_half_the_domain(formula):
    verdict = certify(formula, budget=20, only=("minimum",)).lines["minimum"].verdict
    assert isinstance(verdict, Unknown)
    assert "no real value" in verdict.reason


def test_no_warning_reaches_the_caller():
    certify(
        "where(p > 1/2, 1/(p - 1/2), 0) + y", only=("convex",), in_process=True
    )  # warnings are errors here


@pytest.mark.parametrize(
    "formula",
    [
        "(y - p)**4/(y - p)**2",  # 0/0 at p = y, of all places
        "(y - p)**2*(p - 1/2)/(p - 1/2)",
        "abs(y - p)**3/abs(y - p)",
        "(y - p)**2 + 0*log(abs(p - 1/4))",
        "(y - p)**2*(2*p - 1)/(p - 1/2)",
        "(y - p)**2*(p**2 - 1/2)/(p**2 - 1/2)",
        "where(y > p, (y - p)**2/(p - 1/2)**2, abs(y - p))*(p - 1/2)**2",
        "(y - p)**2*y/y",
        "(y - p)**2*(y - 1/3)/(y - 1/3)",
    ],
)
def test_a_place_without_a_value_that_cancels_is_seen(formula):
    lines = certify(formula, only=("minimum", "unique", "convex"), in_process=True).lines
    assert all(
        isinstance(line.verdict, Unknown) and "no real value" in line.verdict.reason
        for line in lines.values()
    )


@pytest.mark.parametrize(
    "formula",
    [
        "where(p == y, 0, (y - p)**4/where(p == y, 1, y - p)**2)",
        "(y - p)**2/(p*(1 - p))",
        "(y - p)**2/(p + 1)",
    ],
)
def test_a_divisor_that_is_guarded_or_no_zero_is_no_hindrance(formula):
    verdict = certify(formula, only=("minimum",), in_process=True).lines["minimum"].verdict
    assert isinstance(verdict, Proved), verdict


@pytest.mark.parametrize(
    "formula",
    [
        "where(0*log(p - 1/2) == 0, (y - p)**2, -1)",
        "where(sqrt(p - 1/2)**2 >= p - 1/2, (y - p)**2, -1)",
        "where((p - 3/10)/(p - 3/10) > 0, (y - p)**2, (y - p)**2 - 1)",
        "where(y/y == 1, (y - p)**2, -(y - p)**2)",
        "(y - p)**2*sin(p - 1/2)/sin(p - 1/2)",
        "(y - p)**2*((y - 1/3)**2 + (p - 1/2)**2)/((y - 1/3)**2 + (p - 1/2)**2)",
        "(y - p)**2*log(y + 2/3)/log(y + 2/3)",
        "(y - p)**2 + sqrt(p - 1/10**9)**2 - p",
        "(y - p)**2 + exp(log((p - 1/3)*(p - 1/3 - 1/10**9)))/10**30",
        "(y - p)**2*(p**7 - 1/2)/(p**7 - 1/2)",
    ],
)
def test_conditions_and_parts_that_cancel_must_have_a_value(formula):
    lines = certify(formula, only=("minimum", "unique", "convex"), in_process=True).lines
    assert all(isinstance(line.verdict, Unknown) for line in lines.values())
    assert any(word in lines["minimum"].verdict.reason for word in ("no real value", "cancels"))


@pytest.mark.parametrize("formula", ["(y - p)**2 + 1/(y - 1/3)**2", "(y - p)**2 + log(abs(y - 1/3))"])
def test_a_target_with_an_infinite_loss_is_not_one_of_every_y(formula):
    lines = certify(formula, only=("minimum", "unique", "floor"), in_process=True).lines
    assert not any(
        isinstance(lines[key].verdict, Proved | Certified) for key in ("minimum", "unique", "floor")
    )


@pytest.mark.parametrize("place", ["1/3", "2/7", "y/3 + 1/5"])
def test_a_single_point_below_the_rest_is_found(place):
    """Where the branch changes at a double root: of no width, so no scan meets it."""
    verdict = (
        certify(f"where((p - ({place}))**2 <= 0, -1, (y - p)**2)", budget=30, only=("minimum",))
        .lines["minimum"]
        .verdict
    )
    assert isinstance(verdict, Refuted)
