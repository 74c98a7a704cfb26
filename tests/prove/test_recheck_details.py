"""What a line names beside its sentence is checked too: each figure and function, forged, is found."""

import json
import re
from pathlib import Path

import pytest

from lossproof.formula import Unknown
from lossproof.prove import certify
from lossproof.recheck import recheck

STORED = Path(__file__).parent.parent.parent / "certificates"
FORGED = [
    ("mse", "consistency", ("details", "phi"), "p**3", "second derivative of phi"),
    ("bce", "consistency", ("details", "phi"), "p", "second derivative of phi"),
    ("mse", "consistency", ("details", "generator"), "3*p", "not made of the functions"),
    ("bce", "consistency", ("details", "generator"), "7", "not made of the functions"),
    ("focal", "consistency", ("details", "weight"), "p**3/(1 - p)", "not made of the functions"),
    ("weighted_bce", "consistency", ("details", "link"), "p", "not made of the functions"),
    ("weighted_bce", "consistency", ("details", "inverse"), "2*m/(2*m + 1)", "inverse|expected the statement"),
    ("msle", "consistency", ("details", "transform"), "log(y + 2)", "not made|expected the statement"),
    ("msle", "consistency", ("details", "inverse"), "exp(m) - 2", "inverse"),
    ("mae", "consistency", ("details", "weight"), "3", "not made of the functions"),
    ("logcosh", "consistency", ("details", "psi"), "tanh(r)/2", "not made of the functions"),
    ("charbonnier", "consistency", ("details", "psi"), "r", "not made of the functions"),
    ("bce", "saturation", ("details", "largest"), [5.0, 6.0], "is said to be reached"),
    ("bce", "saturation", ("details", "largest"), [0.1, 0.2], "is reached"),
    ("mse", "saturation", ("details", "weak", "intervals", "y = 0"), [[0.5, 0.6]], "expected the description"),
    ("mse", "saturation", ("details", "weak", "description"), "nowhere", "expected the description"),
    ("mse", "saturation", ("details", "weak", "eps"), 0.01, "expected the description"),
    ("mse", "minimum", ("details", "attained", "1"), False, "attained there says False"),
    ("mse", "floor", ("details", "finite"), False, "finite says"),
    ("mse", "floor", ("details", "maximum", "value"), "1", "is not taken at"),
    ("mse", "floor", ("details", "maximum", "at"), ["most y"], "expected a target, or every y"),
    ("focal", "floor", ("details", "at_target"), "y*(y - 1)", "loss\\(y, y\\) ="),
    ("mse", "borders", ("details", "p -> 1", "y = 0", "value"), "17", "the value is"),
    ("bce", "borders", ("details", "p -> 0", "y inside", "slope"), "oo", "the slope is"),
    ("bce", "borders", ("details", "p -> 0", "y = 1", "value"), "1", "the value is"),
    ("mse", "median", ("verdict", "gap"), "[-5 +/- 1e-9]", "the certificate says"),
    ("mse", "median", ("verdict", "gap"), "[+/- 1e-9]", "the certificate says"),
    ("focal", "minimum", ("verdict", "gap"), "[-0.08 +/- 1e-9]", "the certificate says"),
    ("bce", "lipschitz", ("verdict", "gap"), "5", "the certificate says"),
    ("mae", "twice_differentiable", ("verdict", "gap"), "jump of the slope at p = y: 3", "the certificate says"),
    ("focal", "minimum", ("verdict", "claim", "left"), "-p**3", "the claim (is about|comes to)"),
    ("focal", "proper", ("verdict", "claim", "left"), "-p**3", "the claim (is about|comes to)"),
    ("focal", "floor", ("verdict", "claim", "right"), "1", "with < or <= or = 0"),
    ("mse", "convex_logits", ("verdict", "claim", "right"), "-1", "with = or > 0"),
]  # fmt: skip


def stored(name):
    record = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    record.pop("sha256")
    return record


@pytest.mark.parametrize(("name", "key", "path", "value", "message"), FORGED)
def test_a_forged_detail_is_found(name, key, path, value, message):
    record = stored(name)
    place = record["lines"][key]
    for step in path[:-1]:
        place = place[step]
    assert path[-1] in place
    assert place[path[-1]] != value
    place[path[-1]] = value
    problems = [text for line, text in recheck(record).problems if line == key]
    assert any(re.search(message, text) for text in problems), problems


def test_weak_places_both_ways():
    """An interval with its description is forged: too wide, and left out."""
    for forged, message in (([[0.9, 1.0]], "is not below"), ([], "is below")):
        record = stored("mse")
        weak = record["lines"]["saturation"]["details"]["weak"]
        weak["eps"] = 0.05  # of which a grid of 200 sees something
        weak["intervals"] = {"y = 0": forged}
        said = "y = 0, p in (0.9, 1)" if forged else "nowhere at y in {0, 1/4, 1/2, 3/4, 1}"
        weak["description"] = f"|p - y| > 0.1 and |dl/dz| < 0.05: {said}"
        problems = [text for line, text in recheck(record).problems if line == "saturation"]
        assert any(message in text for text in problems), problems


def test_a_place_close_to_the_target_is_not_wrong_enough():
    record = stored("mse")
    weak = record["lines"]["saturation"]["details"]["weak"]
    weak["intervals"] = {"y = 0": [[0.01, 0.02]]}
    weak["description"] = "|p - y| > 0.1 and |dl/dz| < 0.001: y = 0, p in (0.01, 0.02)"
    problems = [text for line, text in recheck(record).problems if line == "saturation"]
    assert any("expected places with |p - y| > 0.1" in text for text in problems), problems
    weak["eps"] = 0.0
    problems = [text for line, text in recheck(record).problems if line == "saturation"]
    assert any("expected eps and gap above 0" in text for text in problems), problems


@pytest.mark.parametrize(
    ("formula", "only", "options"),
    [
        ("a*p/(p+1) - y*p", "saturation", {"symbolic": {"a": "(-1, 1)"}}),
        ("a*(p-y)**2 + p*b", ("consistency", "saturation"), {"symbolic": {"a": "(0, 1)", "b": "(-1, 1)"}}),
        (
            "(p - y**2)**2",
            ("floor", "minimum", "consistency"),
            {"target": "[-1, 1]", "prediction": "(-1, 1)"},
        ),
        ("(p - y**3)**2", ("floor", "minimum", "minimiser"), {}),
        ("digamma(p+1)*(p-y)**2", ("consistency", "borders", "minimum"), {}),
        ("gammaln(p+1) - digamma(y+1)*p", ("minimum", "consistency", "median"), {}),
        ("abs(p-y)**a", ("twice_differentiable", "minimum"), {"symbolic": {"a": "(1, 2)"}}),
        ("huber(delta=0.25)", "borders", {}),
    ],
)
def test_what_the_prover_says_is_no_false_alarm(formula, only, options):
    found = certify(formula, only=only, in_process=True, **options)
    assert not any("the prover ended" in str(line.verdict) for line in found.lines.values())
    assert any(not isinstance(line.verdict, Unknown) for line in found.lines.values())
    report = recheck(found.to_json())
    assert report.ok, report.problems


def test_odd():
    record = stored("charbonnier")
    record["lines"]["consistency"]["details"]["psi"] = "r/sqrt(r**2 + 1) + 1/100"
    problems = [text for line, text in recheck(record).problems if line == "consistency"]
    assert any("psi is not odd" in text for text in problems), problems
