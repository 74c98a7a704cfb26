"""Certificates of the project, changed in one place as a forger would: the checker says what is wrong."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pytest

from lossproof.recheck import recheck
from lossproof.rechecking.points import read_range
from lossproof.rechecking.switches import places, special, switches

STORED = Path(__file__).parent.parent.parent / "certificates"
TRIVIAL = {"text": "1 = 1", "claim": {"left": "1", "relation": "=", "right": "1", "where": [], "given": []}}
PROVED = {"kind": "Proved", "method": "by hand", "domain": "y in [0, 1], p in (0, 1)", "steps": [TRIVIAL]}
SQUARE = "(y-p)**2"


def stored(name, *keys):
    """A committed certificate, its digest left out; with ``keys`` only those lines, which is faster."""
    record = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    record.pop("sha256")
    if keys:
        record["lines"] = {key: record["lines"][key] for key in keys}
    return record


def wrong(record, key, message):
    found = [text for line, text in recheck(record).problems if line == key]
    assert found, f"{key} was accepted"
    assert any(re.search(message, text) for text in found), found


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ("y in [0, 2], p in (0, 1)", r"y in \[0, 2\], which is not the range of this certificate"),
        ("y in [0, 1], p in (0, 2)", r"p in \(0, 2\), which is not in the range"),
        ("y in [-5, 5], p in (-5, 5)", "which is not the range"),
        ("y in (0, 1), p in (0, 1)", r"shown for y in \(0, 1\) only"),
        ("y in [0, 1], p in [0, 1]", "which is not in the range"),
        ("y in [0, 1], p in (0, 1), delta in (0, inf)", "got delta in"),
        ("y in [0, 1], p in (1/4, 1)", r"shown for p in \(1/4, 1\) only"),
        ("y in {1/2}, p in (0, 1)", "shown for y in {1/2} only"),
        ("y in [0, 1], p in (0, 1), y != 1/2", "y = 1/2 is left out"),
        ("y in [0, 1], p in (0, 1), y != 1", "y = 1 is left out though"),
        ("y in [0, 1], p in (0, 1), y != 1 (the loss has no finite value there)", "y = 1 is left out though"),
        ("y in [0, 1], p in (0, 1), y != 1 (a limit there, p -> 1)", "y = 1 is left out as a limit"),
        ("y in [0, 1], p in (0, 1) and mostly", "expected a domain of y and p"),
    ],
)
def test_a_domain_that_is_not_the_certificates(domain, message):
    record = stored("bce", "minimum")
    record["lines"]["minimum"]["verdict"]["domain"] = domain
    wrong(record, "minimum", message)


def test_a_domain_of_single_targets_names_those_of_the_points():
    record = stored("focal", "minimiser")
    assert recheck(record).ok
    verdict = record["lines"]["minimiser"]["verdict"]
    verdict["domain"] = verdict["domain"].replace("1/10, ", "")
    wrong(record, "minimiser", "but the points are")


def test_a_free_parameter_on_a_part_of_its_range():
    record = stored("charbonnier", "curvature")
    record["params"], record["free"] = {}, {"delta": "(0, inf)"}
    domain = "y in [0, 1], p in (0, 1), delta in (0, inf)"
    record["lines"]["curvature"]["verdict"]["domain"] = domain
    assert recheck(record).ok
    record["lines"]["curvature"]["verdict"]["domain"] = domain.replace("(0, inf)", "[1, 2]")
    wrong(record, "curvature", r"shown for delta in \[1, 2\] only")


def test_a_branch_that_is_never_decided_is_a_problem_of_its_line():
    record = stored("mse", "curvature", "minimum")
    line = record["lines"]["curvature"]
    line["details"]["formula"] = "where(log(2) + log(3) > log(6), 3, 2)"
    wrong(record, "curvature", "not decided")
    assert [key for key, _ in recheck(record).problems] == ["curvature"]


def test_a_strong_convexity_that_the_formula_does_not_have():
    box = stored("mse", "strongly_convex")["lines"]["strongly_convex"]
    record = stored("focal", "strongly_convex")
    line = record["lines"]["strongly_convex"]
    line["verdict"] = PROVED
    wrong(record, "strongly_convex", "expected a modulus above 0")
    line["details"] = {"modulus": "0"}
    wrong(record, "strongly_convex", "expected a modulus above 0")
    line["details"] = {"modulus": "0.1"}
    wrong(record, "strongly_convex", "d2l/dp2 >= 0.1")
    line.update(verdict=box["verdict"], details=box["details"])  # d2l/dp2 > 2 except near the ends
    wrong(record, "strongly_convex", "the formula contradicts it at y = 0, p = 1/1000000000: d2l/dp2 >= 2")


def test_a_modulus_that_is_too_large():
    record = stored("bce", "strongly_convex")
    record["lines"]["strongly_convex"]["details"]["modulus"] = "1.001"
    wrong(record, "strongly_convex", "which is not d2l/dp2 of this formula minus the modulus")
    record["lines"]["strongly_convex"]["verdict"] = PROVED
    wrong(
        record, "strongly_convex", "the formula contradicts it at y = 0, p = 1/1000000000: d2l/dp2 >= 1.001"
    )


def test_a_floor_without_its_formula_and_one_that_is_too_high():
    record = stored("focal", "floor")
    record["lines"]["floor"]["verdict"] = PROVED
    wrong(record, "floor", "without a formula for the floor")
    details = record["lines"]["floor"]["details"]
    details["formula"] = details["at_target"]
    wrong(record, "floor", "the formula contradicts it at .*: loss >= ")
    record = stored("mse", "floor")
    del record["lines"]["floor"]["details"]["formula"]
    wrong(record, "floor", "without a formula for the floor")


@pytest.mark.parametrize("key", ["minimum", "unique", "convex", "strictly_convex", "floor", "lipschitz"])
@pytest.mark.parametrize(
    "formula",
    [
        f"{SQUARE} - where(abs(p-1/3) < 1/10**9, 1, 0)",
        f"{SQUARE} - where((p - 1/3)*(p - 1/3 - 1/10**9) < 0, 1, 0)",
        f"{SQUARE} - where(p == 2/7, 1, 0)",
        f"{SQUARE} - sign(maximum(0, 1/10**9 - abs(p - 1/3)))",
    ],
)
def test_a_narrow_dip_in_the_formula(formula, key):
    record = stored("mse", key)
    record.update(formula=formula, loss="mine")
    wrong(record, key, "the formula contradicts it at")


@pytest.mark.parametrize("key", ["minimum", "unique", "convex", "strictly_convex", "mean", "strongly_convex"])
def test_one_target_with_another_loss(key):
    record = stored("mse", key)
    record.update(formula=f"{SQUARE} + where(y == 1/3, -2*(y-p)**2, 0)", loss="mine")
    wrong(record, key, "the formula contradicts it at")


def test_places_are_the_zeros_of_what_chooses_a_branch():
    text = "where(abs(p - 1/3) < 1/10**9, 1, 0) + maximum(2*p, 1 - y) + sign(p**2 - 1/2)"
    assert [s.replace(" ", "") for s in switches(text)] == [
        "p-1/3",
        "abs(p-1/3)-1/10**9",
        "2*p-(1-y)",
        "p**2-1/2",
    ]
    third, tiny = Fraction(1, 3), Fraction(1, 10**9)
    found = places(text, "p", read_range("(0, 1)"), {"y": Fraction(1, 5)}, decimal=False)
    assert {third, third - tiny, third + tiny, Fraction(2, 5)} <= set(found)
    assert any(abs(float(x) - 0.5**0.5) < 1e-12 for x in found)
    at = {"y": Fraction(1, 5), "p": Fraction(1, 7)}
    y, p = read_range("[0, 1]"), read_range("(0, 1)")
    tried = list(special(text, {}, y, p, at, decimal=False))
    assert all(x["y"] in y and x["p"] in p for x in tried)
    assert {"y": Fraction(1, 5), "p": third} in tried
    assert not list(special("(y - p)**2", {}, y, p, at, decimal=False))


def test_a_bound_that_is_said_to_be_the_smallest_and_is_not():
    record = stored("mse", "lipschitz")
    record["lines"]["lipschitz"]["details"]["bound"] = [0.1, 50.0]
    wrong(record, "lipschitz", "no smaller bound than 2 in .* is said to hold, but 2 is the largest")
    record = stored("mse", "lipschitz")
    line = record["lines"]["lipschitz"]
    line["details"] = {"bound": [0.1, 50.0]}
    wrong(record, "lipschitz", r"expected the statement '\|dl/dp\| <= 50; 0.1 is reached'")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("mse", "lipschitz"), ("poisson", "lipschitz"), ("mae", "lipschitz_logits"), ("bce", "floor"), ("focal", "floor"),
        ("weighted_bce", "floor"), ("bce", "curvature"), ("weighted_bce", "minimiser"), ("focal", "minimiser"),
        ("mse", "consistency"), ("mae", "consistency"), ("weighted_bce", "consistency"), ("msle", "consistency"),
        ("focal", "consistency"), ("huber", "consistency"),
    ],
)  # fmt: skip
def test_a_sentence_that_its_details_do_not_make(name, key):
    record = stored(name, key)
    record["lines"][key]["statement"] += " and always"
    wrong(record, key, "expected the statement")
