"""What leaves the minimum where it is leaves the verdict as it is: + c(y), * c > 0, and y -> 1 - y with p -> 1 - p."""

import re
import sys
from pathlib import Path

import pytest

from lossproof.catalogue import CATALOGUE
from lossproof.formula import Certified, Proved, Refuted, Unknown
from lossproof.prove import certify

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


def mirrored(formula):
    """The formula at 1 - y, 1 - p."""
    return re.sub(r"\b([yp])\b", r"(1 - \1)", formula)


CHANGES = {
    "plus a function of y": lambda f: f"{f} + y**3 - 2*y + exp(-y)",
    "plus a constant": lambda f: f"{f} - 17/3",
    "times 7/3": lambda f: f"7/3*({f})",
    "times 1e-12": lambda f: f"({f})/10**12",
    "mirrored": mirrored,
}

FORMULAS = {
    name: loss.formula
    for name, loss in CATALOGUE.items()
    if not loss.params  # their formulas are in y and p alone
} | {
    "pinball": "3/10*maximum(y - p, 0) + 7/10*maximum(p - y, 0)",
    "huber": "where(abs(p - y) <= 1/4, (p - y)**2/2, abs(p - y)/4 - 1/32)",
    "logcosh": "logcosh(3*(p - y))/3",
    "quartic": "(p - y)**4",
    "weight": "-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))",
    "smoothed": "-(y*log(p + 1/10**6) + (1 - y)*log(1 - p + 1/10**6))",
    "tilted": "-(xlogy(y, p) + xlogy(1 - y, 1 - p)) + p/10**12",
    "jump": "(p - y)**2 + where(p > 3/4, -1/100, 0)",
    "spherical": "-(y*p + (1 - y)*(1 - p))/sqrt(p**2 + (1 - p)**2)",
}


def answer(formula, budget=20.0):
    """yes, no or unknown."""
    match certify(formula, only="minimum", budget=budget, in_process=True).lines["minimum"].verdict:
        case Proved() | Certified():
            return "yes"
        case Refuted():
            return "no"
        case Unknown():
            return "unknown"


@pytest.fixture(scope="module")
def answers():
    return {name: answer(formula) for name, formula in FORMULAS.items()}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FORMULAS)
def test_the_verdict_stays(answers, name, change):
    assert answer(CHANGES[change](FORMULAS[name])) == answers[name]


def test_both_answers_occur(answers):
    assert answers["quartic"] == "yes"
    assert answers["weight"] == "no"


def test_the_verdict_does_not_stay_where_it_must_not():
    """What does move the minimum: a function of p; a negative factor; mirroring only one of the two."""
    assert answer("(p - y)**2 + p/10**9") == "no"
    assert answer("-7/3*(p - y)**2") == "no"
    assert answer("(1 - p - y)**2") == "no"


@pytest.mark.parametrize("index", range(0, 66, 4))
def test_no_contradiction_among_random_losses(index, monkeypatch):
    """Random losses may be too hard in one form and not in the other; yes and no may not both be said."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    from soundness_losses import case
    from soundness_tree import P, Y

    tree = case(21, index).tree
    said = {answer(str(t), budget=2.0) for t in (tree, tree.put(y=1 - Y, p=1 - P), 3 * tree + Y**2)}
    assert not {"yes", "no"} <= said
