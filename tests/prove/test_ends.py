"""The ends of the targets and single targets inside, where p = y is a limit or 0/0: no formula is stated for them."""

import json

import pytest

from lossproof.catalogue import resolve
from lossproof.formula import Proved, Unknown
from lossproof.prove import certify
from lossproof.prove.clock import Clock
from lossproof.prove.diagonal import has_value
from lossproof.prove.problem import Problem
from lossproof.recheck import recheck

LEAST = {
    "abs(y - p)/(y + p)": ", y != 0 (the least loss is 1 there)",
    "(y - p)**2/(y + p)**2": ", y != 0 (the least loss is 1 there)",
    "1 - 2*y*p/(y**2 + p**2)": ", y != 0 (the least loss is 1 there)",
    "abs(y - p)/(2 - y - p)": ", y != 1 (the least loss is 1 there)",
    "where(p == y, -1, (y - p)**2)": ", y != 0 (the least loss is 0 there), y != 1 (the least loss is 0 there)",
    "where(p < y, 0.1, 0) + (y - p)**2": ", y != 1 (the least loss is 0.1 there)",
    "abs(y - p)": "",
    "bce": "",
}


def floor_of(formula):
    return certify(resolve(formula), only=("minimum", "unique", "floor"), budget=60).lines["floor"]


@pytest.mark.parametrize("formula", LEAST)
def test_a_floor_leaves_out_the_end_at_which_the_least_loss_is_another(formula):
    assert floor_of(formula).verdict.domain == "y in [0, 1], p in (0, 1)" + LEAST[formula]


def test_a_curvature_leaves_out_the_end_at_which_the_loss_is_flat():
    certificate = certify(resolve("(y - p)**2/(y + p)**2"), only=("curvature",), budget=60)
    verdict = certificate.lines["curvature"].verdict
    assert isinstance(verdict, Proved)
    assert verdict.domain.endswith(", y != 0")
    assert certificate.holds("curvature") == "holds"  # no p is 0: of p = y nothing is left out


SPOTS = ("(y - p)**2/((y - 1/2)**2 + (p - 1/2)**2)", "(y - p)**2/((y - 1/2)**2 + (y - p)**2)")


@pytest.mark.parametrize("formula", SPOTS)
def test_what_is_0_over_0_at_one_target_inside_is_not_stated_for_all(formula):
    # at y = 1/2 every p has the loss 1
    assert not has_value(Problem(resolve(formula)), Clock.for_ever())
    lines = certify(resolve(formula), only=("unique", "floor"), budget=60).lines
    assert isinstance(lines["unique"].verdict, Unknown)
    assert isinstance(lines["floor"].verdict, Unknown)


def test_recheck_finds_a_floor_that_is_another_at_an_end():
    certificate = certify(resolve("abs(y - p)/(y + p)"), only=("floor",), budget=60)
    text = certificate.to_json()
    assert "y != 0 (the least loss is 1 there)" in text
    assert recheck(text).ok
    forged = json.loads(text.replace(", y != 0 (the least loss is 1 there)", ""))
    del forged["sha256"]  # a forger renews it
    assert "the least loss at y = 0 is another one than 0" in str(recheck(forged))


@pytest.mark.parametrize(
    "formula",
    [
        "where(y >= 1, 2, (y - p)**2)",
        "tanh(abs(y - p)/(y*p))",
        "y*log(y/p) + (1 - y)*log((1 - y)/(1 - p))",
        "y*(log2(y) - log2(p)) - (y - p)/log(2)",
    ],
)
def test_recheck_calls_no_honest_certificate_wrong(formula):
    report = certify(resolve(formula), budget=60).check()
    assert report.ok, str(report)


KL = "y*log(y/p) + (1 - y)*log((1 - y)/(1 - p))"


def test_bernoullis_kl_has_the_certificate_of_bce_with_the_floor_0():
    found, bce = (certify(resolve(loss), budget=60).lines for loss in (KL, "bce"))
    for key in ("minimum", "unique", "mean", "proper", "convex_logits", "saturation", "borders"):
        assert type(found[key].verdict) is type(bce[key].verdict) is Proved, key
        assert found[key].verdict.domain == bce[key].verdict.domain
    assert (found["floor"].details["formula"], found["floor"].verdict.domain) == (
        "0",
        "y in [0, 1], p in (0, 1)",
    )
