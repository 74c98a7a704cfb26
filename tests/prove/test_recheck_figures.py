"""The checker against certificates of the project that were forged: fake refutations, figures, labels, lines."""

import copy
import json
import re
from pathlib import Path

import pytest

from lossproof.prove import Certificate
from lossproof.recheck import LINES, recheck
from lossproof.rechecking.figures import jump, sizes
from lossproof.rechecking.points import read_range
from lossproof.rechecking.statements import Stated
from lossproof.rechecking.values import Formula

STORED = Path(__file__).parent.parent.parent / "certificates"
FAKE = {
    "kind": "Refuted",
    "witness": [["y", "1/2"], ["p", "1/4"]],
    "claim": {"left": "1", "relation": ">", "right": "0", "where": [], "given": []},
    "gap": "5",
    "steps": [],
}


def stored(name):
    record = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    record.pop("sha256")
    return record


def stated(formula, **params):
    return Stated(Formula(formula, params, decimal=False), read_range("[0, 1]"), read_range("(0, 1)"), {})


def wrong(record, key, message):
    report = recheck(record)
    found = [text for line, text in report.problems if line == key]
    assert any(re.search(message, text) for text in found), report.problems


@pytest.mark.parametrize("key", sorted(LINES))
def test_a_refutation_that_the_formula_does_not_bear_out(key):
    record = stored("mse")
    line = record["lines"].setdefault(key, {"statement": "?", "details": {}})
    line["verdict"] = copy.deepcopy(FAKE)
    wrong(record, key, "expected a witness|says nothing|not contradict|not about|expected a witness at p = y")


@pytest.mark.parametrize(
    "key", ["minimum", "convex", "mean", "median", "proper", "strictly_convex", "convex_logits"]
)
def test_a_witness_of_other_names(key):
    record = stored("mse")
    fake = copy.deepcopy(FAKE) | {"witness": [["q", "1/2"]]}
    record["lines"][key]["verdict"] = fake
    wrong(record, key, "expected a witness with .* got none for")


def test_a_law_with_targets_outside_the_domain():
    record = stored("mae")
    witness = record["lines"]["mean"]["verdict"]["witness"]
    assert witness[0][0] == "y_1"
    witness[0][1] = "-3"
    wrong(record, "mean", "y_1 = -3 lies outside the domain")


def test_a_claim_beside_the_formula_is_counted():
    record = stored("mse")
    where = [["y", "1/2"], ["p", "3/4"]]
    fake = FAKE | {"witness": where, "claim": FAKE["claim"] | {"left": "p - y", "where": where}}
    record["lines"]["borders"]["verdict"] = fake
    report = recheck(record)
    assert report.counts["refutations not tied to the formula"] == 1
    assert "1 refutations not tied to the formula" in str(report)
    assert "not tied" not in str(recheck(stored("mse")))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("mse", "sigmoid", {"kind": "alive", "limit": "1"}),
        ("mse", "sigmoid", {"kind": "alive", "limit": "0"}),
        ("mse", "sigmoid", {"kind": "explodes", "limit": "-oo"}),
        ("bce", "sigmoid", {"kind": "plateau", "limit": "0"}),
        ("bce", "sigmoid", {"kind": "alive", "limit": "-2"}),
        ("bce", "tanh", {"kind": "alive", "limit": "-1"}),
        ("hellinger", "sigmoid", {"kind": "alive", "limit": "-1/2"}),
        ("mse", "clamp", {"kind": "alive", "limit": "1"}),
    ],
)
def test_what_reaches_the_logits(name, path, value):
    record = stored(name)
    ends = record["lines"]["saturation"]["details"][path]
    ends["y = 1, z -> -oo"] = value
    wrong(record, "saturation", "y = 1, z -> -oo")


def test_a_forged_alive_would_have_been_believed():
    record = stored("mse")
    for end in record["lines"]["saturation"]["details"]["sigmoid"].values():
        end.update(kind="alive", limit="1")
    assert Certificate.from_json(json.dumps(record)).holds("alive") == "holds"
    assert not recheck(record).ok


def test_other_forged_figures_of_saturation():
    record = stored("bce")
    del record["lines"]["saturation"]["details"]["sigmoid"]["y = 1, z -> -oo"]
    wrong(record, "saturation", "no limit for sigmoid, y = 1")
    record = stored("bce")
    record["lines"]["saturation"]["details"]["sigmoid"]["y = 2"] = {"kind": "alive", "limit": "1"}
    wrong(record, "saturation", "expected limits at the wrong ends, got y = 2")
    record = stored("bce")
    record["lines"]["saturation"]["details"]["canonical"] = "2"
    wrong(record, "saturation", r"dl/dz = 2\*\(p - y\)")
    record = stored("hellinger")
    record["lines"]["saturation"]["details"]["identity"]["y = 1, p -> 0+"]["limit"] = "oo"
    wrong(record, "saturation", "not explodes with oo")


@pytest.mark.parametrize(
    ("key", "details", "message"),
    [
        ("lipschitz", {"bound": "inf"}, "a bound is shown, but the details say 'inf'"),
        ("lipschitz", {"bound": [3.0, 2.0], "exact": "2"}, "0 <= low <= high"),
        ("lipschitz", {"bound": [3.0, 4.0]}, "3.0 is said to be reached, 2 is"),
        ("lipschitz", {"bound": [1.0, 1.99]}, "slope at most 1.99"),
        ("lipschitz", {"bound": [1.9, 2.1], "exact": "3"}, "exact is 3, outside the bound"),
        ("lipschitz_logits", {"bound": [0.3, 0.4]}, "0.3 is said to be reached, 0.296"),
        ("lipschitz_logits", {"bound": [0.2, 0.296]}, "slope at most 0.296"),
        ("curvature", {"formula": None}, "without a formula"),
        ("floor", {"formula": "0", "minimum": {"value": "1/8", "at": []}}, "the floor's minimum is 1/8"),
        ("floor", {"formula": "0", "maximum": {"value": [-2.0, -1.0], "at": []}}, "the floor's maximum is"),
        ("floor", {"formula": "0", "minimum": {"value": "-1", "at": ["1/2"]}}, "not taken at y = 1/2"),
        ("floor", {"formula": "0", "minimum": {"value": "-oo", "at": ["0"]}, "finite": True}, "said to be finite"),
    ],
)  # fmt: skip
def test_figures_that_the_formula_contradicts(key, details, message):
    record = stored("mse")
    record["lines"][key]["details"] = details
    wrong(record, key, message)


@pytest.mark.parametrize("key", ["twice_differentiable", "curvature"])
def test_a_kink_that_is_called_smooth(key):
    record = stored("mae")
    record["lines"][key]["verdict"] = copy.deepcopy(record["lines"]["minimum"]["verdict"])
    wrong(record, key, "the slope jumps by 2|without a formula")


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("(y - p)**2", None),
        ("-(xlogy(y, p) + xlogy(1 - y, 1 - p))", None),
        ("(y - p)**4", None),
        ("1e-9*abs(y - p)", "slope jumps"),
        ("abs(y - p)**(3/2)", "grows without end"),
        ("where(p > y, 2*(y - p)**2, (y - p)**2)", "second derivative jumps by 2"),
    ],
)
def test_jumps_at_the_target(formula, said):
    from fractions import Fraction

    found = jump(stated(formula), Fraction(1, 3), {})
    assert found is None if said is None else said in found


@pytest.mark.parametrize(
    ("formula", "logits", "largest"),
    [("(y - p)**2", False, 2.0), ("(y - p)**2", True, 8 / 27), ("3*abs(y - p)", True, 0.75)],
)
def test_the_search_finds_the_largest_slope(formula, logits, largest):
    assert sizes(stated(formula), logits=logits) == pytest.approx(largest, rel=1e-6)


def test_a_line_that_does_not_exist():
    record = stored("mse")
    record["lines"]["my_line"] = copy.deepcopy(record["lines"]["minimum"])
    wrong(record, "my_line", "expected one of the lines of a certificate, got 'my_line'")


def test_a_label_of_the_catalogue_over_another_formula():
    record = stored("mse")
    record["loss"] = "bce"
    wrong(record, "certificate", "expected the formula of bce in the catalogue")
    record["loss"] = "my own"
    assert recheck(record).ok
    record = stored("huber")
    record["loss"] = "mse(delta=1)"
    wrong(record, "certificate", "expected the formula of mse")
