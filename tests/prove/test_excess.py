"""Minima shown by the value of the excess: products, sums, bumps; and the checker's view of such proofs."""

import json

import pytest

from lossproof.formula import Proved, Refuted, Unknown
from lossproof.prove import certify
from lossproof.recheck import recheck

BUMP = "(p - y)**2*(1 - 9/10*exp(-((p - 1/3)/(1/200))**2))"


@pytest.mark.parametrize(
    "formula",
    [
        "(p - y)**4*(1 + sin(37*p)/2)",
        "logcosh(p - y)*(2 - p**8)",
        "(1 - exp(-(p - y)**2))*(1 - log(p)/238)",  # no value at p = y = 0: the limit counts
        "(p - y)**2/(p*(1 - p)) + (p - y)**2*(1 - 9/10*exp(-(100*p - 90)**2))",
        "maximum(0, 1 - abs(y - 1/3)/(1/10))*(p - y)**2 + (p - y)**2",
        "where(p > y, 8, 0) + (p - y)**4",
        BUMP,
    ],
)
def test_a_positive_excess_is_a_minimum_and_the_checker_agrees(formula):
    certificate = certify(formula, budget=40, only=("minimum", "unique"))
    assert isinstance(certificate.lines["minimum"].verdict, Proved)
    report = certificate.check()
    assert report.ok, report.problems


@pytest.mark.parametrize(
    "formula",
    [
        "(p - y)**4*(1 + 3/2*sin(37*p))",  # the factor changes its sign
        BUMP.replace("9/10", "11/10"),
        "(p - y)**2*p - (p - y)**2/1000",
        "where(p > y, -8, 0) + (p - y)**4",
    ],
)
def test_and_a_bump_too_deep_is_refuted(formula):
    assert isinstance(certify(formula, budget=40, only=("minimum",)).lines["minimum"].verdict, Refuted)


def test_an_excess_that_is_about_another_formula_does_not_pass_the_checker():
    record = json.loads(certify(BUMP, budget=40, only=("minimum", "unique")).to_json())
    assert recheck(record).ok
    record["formula"] = BUMP.replace("9/10", "8/10")
    assert not recheck(record).ok


def test_without_the_value_rule_a_wavy_product_stays_unknown(monkeypatch):
    from lossproof.prove.sign import Signed

    monkeypatch.setattr("lossproof.prove.minimum.excess_sign", lambda *_: Signed("?", ()))
    verdict = (
        certify("(p - y)**4*(1 + sin(37*p)/2)", budget=20, only=("minimum",), in_process=True)
        .lines["minimum"]
        .verdict
    )
    assert isinstance(verdict, Unknown)


def test_an_exponential_of_a_huge_multiple_is_not_written_out_as_a_power():
    """exp(10**9 p) is a polynomial of that degree in exp(p): SymPy would list its coefficients."""
    well = "(p - y)**2/(p*(1 - p)) - 1/1000000*exp(-((p - 1/2)/(3/100000))**2)"
    lines = certify(well, only=("minimum",), budget=60.0).lines
    assert isinstance(lines["minimum"].verdict, Refuted)


def test_a_root_of_a_divisor_without_its_absolute_values_is_no_root_of_it():
    divided = "(y - p)**2/(abs(y - p) + p**2 - y + 1)"
    assert isinstance(certify(divided, only=("minimum",), budget=60.0).lines["minimum"].verdict, Proved)
    cancels = "(y - p)**2*(p**2 - 1/2)/(p**2 - 1/2)"
    verdict = certify(cancels, only=("minimum",), budget=60.0).lines["minimum"].verdict
    assert isinstance(verdict, Unknown)
    assert "no real value at y = 0, p = sqrt(2)/2" in verdict.reason
