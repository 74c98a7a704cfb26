"""Certificates as data: JSON that comes back exactly, requirements, and what is refused."""

import json

import pytest

import lossproof
from lossproof.formula import Certified, Claim, LossproofError, Piece, Proved, Refuted, Step, Unknown
from lossproof.prove import REQUIREMENTS, Certificate
from lossproof.prove.problem import Line
from lossproof.prove.record import (
    dumps,
    line_of,
    line_record,
    loss_of,
    loss_record,
    span_of,
    span_text,
    verdict_of,
    verdict_record,
)

CLAIM = Claim("(p - y)/(p*(1 - p))", ">", "0", (("y", "(0, 1)"), ("p", "(0, 1)")), ("p > y",))
VERDICTS = [
    Proved(
        "sign of the derivative", "y in [0, 1], p in (0, 1)", (Step("dl/dp > 0", CLAIM), Step("so it grows"))
    ),
    Certified(
        "enclosures",
        "y in [0, 1]",
        (Step("x"),),
        (
            Piece((("y", 0.0, 0.1), ("p", 0.1, float("inf"))), "p - y", ">"),
            Piece((("y", 0.1, 1 / 3), ("p", 0.1, 0.5)), "p - y", ">"),
            Piece((("p", 0.1, 0.5),), "p", ">=", "1e-30"),
            Piece((("y", 5e-324, 0.1), ("p", 0.1, 0.5)), "p - y", ">"),
        ),
    ),
    Refuted((("y", "1/3"), ("p", "1/7")), CLAIM, "[-1 +/- 1e-9]", (Step("by a scan"),)),
    Unknown("time limit of 10 s", (("y", 0.0, 0.5),)),
]


def certificate(**verdicts):
    lines = {key: Line(key, key, verdict, {}, 0.25) for key, verdict in verdicts.items()}
    return Certificate(
        "bce", "y*p", {"q": 1.5}, {"c": "(0, inf)"}, "[0, 1]", "(0, 1)", "binary", lines, {"sympy": "1"}
    )


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda v: type(v).__name__)
def test_verdicts_come_back_exactly(verdict):
    record = json.loads(json.dumps(verdict_record(verdict), allow_nan=False))
    assert verdict_of(record) == verdict


def test_a_certificate_comes_back_exactly():
    made = certificate(minimum=VERDICTS[0], unique=VERDICTS[2], convex=VERDICTS[1], proper=VERDICTS[3])
    again = Certificate.from_json(made.to_json(seconds=True))
    assert again == made
    assert Certificate.from_json(made.to_json()).to_json() == made.to_json()
    assert "seconds" not in made.to_json()


def test_details_are_plain_values():
    line = Line("x", "x", Unknown("y"), {"a": float("inf"), 3: (1, None), "c": {"e": frozenset("ab")}})
    record = line_record(line)["details"]
    assert record == {"a": "inf", "3": [1, None], "c": {"e": ["a", "b"]}}
    assert dict(line_of("x", line_record(line)).details) == record


def test_losses_and_ranges_come_back_exactly():
    for loss in lossproof.CATALOGUE.values():
        again = loss_of(json.loads(json.dumps(loss_record(loss))))
        assert (again.formula, again.params, dict(again.values), again.target, again.prediction) == (
            loss.formula, loss.params, dict(loss.values), loss.target, loss.prediction,
        )  # fmt: skip
    for x in (1e-7, 1 / 3, 1 - 2**-40, 12345678.0, -2.5):
        span = lossproof.Interval(x, 1e30, low_open=True)
        assert span_of(span_text(span)) == span
    for text in ("", "[0, 1", "0, 1", "[0; 1]", "[1, 2, 3]", "[a, b]", "[nan, 1]", 7):
        with pytest.raises(LossproofError, match="text such as"):
            span_of(text)


def test_text_is_laid_out_for_diffs():
    text = dumps(
        {"boxes": [[0.0, 0.5]] * 40, "steps": [{"text": "x" * 100, "claim": {"where": [["y", "(0, 1)"]]}}]}
    )
    assert max(map(len, text.splitlines())) < 160
    assert text.count("[0.0, 0.5]") == 40
    assert json.loads(text)["boxes"][39] == [0.0, 0.5]


def test_requirements():
    made = certificate(minimum=VERDICTS[0], unique=VERDICTS[2], convex=VERDICTS[1], proper=VERDICTS[3])
    answers = [made.holds(n) for n in ("minimum", "unique", "convex", "proper", "floor", " convex_logits ")]
    assert answers == ["holds", "refuted", "holds", "unknown", "unknown", "unknown"]
    assert "refuted at y = 1/3, p = 1/7: (p - y)" in made.why("unique")
    assert made.why("proper") == "proper: unknown: time limit of 10 s"
    assert set(lossproof.prove.sections.STATEMENTS) <= set(REQUIREMENTS.values())
    with pytest.raises(LossproofError, match="got 'convexx'; did you mean convex"):
        made.holds("convexx")
    with pytest.raises(LossproofError, match="expected a requirement, got 7"):
        made.holds(7)
    with pytest.raises(TypeError, match="certificate.holds"):
        bool(made)


@pytest.mark.parametrize(
    ("key", "details", "requirement", "answer"),
    [
        ("lipschitz", {"bound": [1.0, 1.1]}, "lipschitz", "holds"),
        ("lipschitz", {"bound": "inf"}, "lipschitz", "refuted"),
        ("lipschitz", {}, "lipschitz", "unknown"),
        ("saturation", {"sigmoid": {"a": {"kind": "alive"}, "b": {"kind": "explodes"}}}, "alive", "holds"),
        ("saturation", {"sigmoid": {"a": {"kind": "alive"}, "b": {"kind": "plateau"}}}, "alive", "refuted"),
        ("saturation", {"sigmoid": {"a": {"kind": "alive"}, "b": {"kind": None}}}, "alive", "unknown"),
        ("saturation", {}, "alive", "unknown"),
        ("saturation", {}, "saturation", "holds"),
    ],
)
def test_requirements_that_figures_answer(key, details, requirement, answer):
    lines = {key: Line(key, key, VERDICTS[0], details)}
    made = Certificate("x", "y*p", {}, {}, "[0, 1]", "(0, 1)", "binary", lines)
    assert made.holds(requirement) == answer
    unknown = {key: Line(key, key, VERDICTS[3], details)}
    assert (
        Certificate("x", "y*p", {}, {}, "[0, 1]", "(0, 1)", "binary", unknown).holds(requirement) == "unknown"
    )


@pytest.mark.parametrize(
    ("key", "left_out", "answer"),
    [
        ("minimum", "", "holds"),
        ("mean", ", y != 0 (not shown there)", "unknown"),
        ("mean", ", y != 0 (the loss is infinite there), y != 1 (not shown there)", "unknown"),
        ("mean", ", y != 0 (the loss is infinite there), y != 1 (the loss is infinite there)", "holds"),
        ("minimum", ", y != 0 (the loss has no finite value there)", "holds"),
        ("minimiser", ", y != 0 (a limit there, p -> 0)", "holds"),
        ("minimiser", ", y != 0, y != 1", "unknown"),
        ("borders", ", y != 0", "holds"),
    ],
)
def test_a_verdict_for_a_part_of_the_targets_is_no_yes(key, left_out, answer):
    verdict = Proved("m", "y in [0, 1], p in (0, 1)" + left_out, ())
    made = Certificate("x", "y*p", {}, {}, "[0, 1]", "(0, 1)", "binary", {key: Line(key, key, verdict, {})})
    assert made.holds(key) == answer
    assert ("not shown for every target" in made.why(key)) == (answer == "unknown")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON text"),
        ("[]", "expected schema .*got 'list'"),
        ('{"schema": "other"}', "got 'other'"),
        ('{"schema": "lossproof certificate 1"}', "got no 'lines'"),
        (
            '{"schema": "lossproof certificate 1", "lines": {"minimum": {"verdict": {"kind": "Sure"}}}}',
            "got 'Sure'",
        ),
        ('{"schema": "lossproof certificate 1", "lines": 3}', "expected the layout"),
    ],
)
def test_what_is_no_certificate_is_refused(text, message):
    with pytest.raises(LossproofError, match=message):
        Certificate.from_json(text)


def test_the_domain_in_words():
    assert certificate().domain == "y in [0, 1], p in (0, 1), c in (0, inf)"
