"""How a certificate reads: answers, counterexamples for a calculator, the derivation as text and LaTeX."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import mpmath
import pytest

from lossproof.catalogue import CATALOGUE
from lossproof.formula import Claim, Proved, Refuted, Step, Unknown
from lossproof.report import certificate as words
from lossproof.report import standing
from lossproof.report.counterexample import calculation
from lossproof.report.proof import derivation, expression, textbook, written
from lossproof.report.proof_latex import proof_latex
from lossproof.report.proof_text import proof_text


def _hand() -> ModuleType:
    spec = spec_from_file_location("hand_certificates", Path(__file__).parent / "certificates.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hand = _hand()
DECIMAL = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


def bce(y: str, p: str, weight: int = 1) -> mpmath.mpf:
    with mpmath.workdps(40):
        one, two = mpmath.mpf(y), mpmath.mpf(p)
        return -(weight * one * mpmath.log(two) + (1 - one) * mpmath.log(1 - two))


def test_rows_say_what_is_known_and_how():
    rows = {row.key: row for row in words.rows(hand.every_verdict())}
    assert rows["minimum"].answer == "yes, for every y; a limit, not attained, at y = 1"
    assert (rows["convex"].answer, rows["convex"].verdict) == ("yes, for every y (for y != 0)", "Certified")
    assert (rows["strictly_convex"].answer, rows["strictly_convex"].verdict) == ("no", "Refuted")
    assert rows["convex_logits"].answer == "not settled: the budget of 10 s was used up"
    assert rows["consistency"].answer == "the mean of Y (Bregman, phi'' = 1/(p*(1 - p)))"
    assert [*rows][:2] == ["minimum", "unique"]


@pytest.mark.parametrize(
    ("key", "details", "answer"),
    [
        ("minimiser", {"formula": "3*y/(2*y + 1)"}, "p* = 3*y/(2*y + 1)"),
        (
            "minimiser",
            {"formula": None, "points": [["1/10", 0.30578719490, 0.30578719492], ["1/5", 0.373385, 0.3733852]]},
            "p*(0.1) = 0.305787, p*(0.2) = 0.373385",
        ),
        (
            "floor",
            {"formula": "(y - 1)*log(1 - y) - y*log(y)", "minimum": {"value": 0.0, "at": 0.0},
             "maximum": {"value": math.log(2), "at": 0.5}},
            "loss(y, y) = -y*log(y) - (1 - y)*log(1 - y), from 0 (y = 0) to 0.693147 (y = 0.5)",
        ),
        ("consistency", {"functional": "quantile", "level": "3/10"}, "the 3/10-quantile of Y"),
        ("lipschitz_logits", {"bound": [0.99, 1.0]}, "|dl/dz| is at most 1"),
        (
            "saturation",
            {"sigmoid": {"y=1, z -> -oo": {"limit": "-1", "kind": "alive"}}, "canonical": "1"},
            "alive: keeps a gradient, dl/dz -> -1 (y=1, z -> -oo); dl/dz = p - y",
        ),
        (
            "borders",
            {"p -> 0": {"y = 1": {"value": "oo", "slope": "-oo"}}, "p -> 1": {"y = 0": {"value": "1", "slope": "2"}}},
            "y = 1, p -> 0: loss -> infinity, slope -> -infinity; y = 0, p -> 1: loss -> 1, slope -> 2",
        ),
        ("floor", {}, "statement of floor"),
        ("a_line_to_come", {}, "statement of a_line_to_come"),
    ],
)  # fmt: skip
def test_answers_come_from_the_figures(key, details, answer):
    [row] = words.rows(hand.certificate(hand.line(key, Proved("m", hand.DOMAIN), **details)))
    assert row.answer == answer


def test_a_witness_is_a_true_inequality_between_decimals():
    found = hand.certificate(hand.line("minimum", hand.LOWER), formula=hand.WEIGHTED)
    [witness] = words.witnesses(found)
    said = re.fullmatch(
        rf"loss\(({DECIMAL}), ({DECIMAL})\) = ({DECIMAL}) < ({DECIMAL}) = loss\(({DECIMAL}), ({DECIMAL})\)",
        witness.text,
    )
    assert said, witness.text
    y, p, left, right, y_again, at_y = said.groups()
    assert (y, p, y_again, at_y) == ("0.5", "0.6", "0.5", "0.5")
    assert abs(bce(y, p, 3) - mpmath.mpf(left)) < 1e-11
    assert abs(bce(y, y, 3) - mpmath.mpf(right)) < 1e-11
    assert hand.EXACT_P in witness.exact
    assert "0.161910559534" in witness.gap


def test_a_tiny_difference_is_printed_with_the_digits_that_show_it():
    formula = f"{hand.BCE} + p/10**30"
    exact = "1/2", str(mpmath.mpf(0))
    p = "2305843009213693951/4611686018427387904"
    claim = Claim(formula, "<", "0", (("y", "1/2"), ("p", p)))
    text = calculation(
        hand.certificate(formula=formula), "minimum", Refuted((("y", exact[0]), ("p", p)), claim, "-1e-37")
    )
    said = re.search(rf"\) = ({DECIMAL}) ([<>]) ({DECIMAL}) = loss", text)
    assert said, text
    assert said[1] != said[3]
    with mpmath.workdps(90):
        assert (mpmath.mpf(said[1]) < mpmath.mpf(said[3])) == (said[2] == "<")


def test_a_tie_an_expected_loss_and_a_chord_read_as_what_they_are():
    mae = hand.certificate(formula="abs(y - p)")
    anything = Claim("abs(p - y)", ">", "0")
    flat = hand.certificate(formula="maximum(abs(y - p) - 1/4, 0)")
    tie = Refuted((("y", "1/2"), ("p", "3/5")), Claim("0", "=", "0"), "0")
    assert calculation(flat, "unique", tie) == "loss(0.5, 0.6) = 0 = 0 = loss(0.5, 0.5)"
    # numbers that do not show what the claim says are not dressed up as if they did
    wrong = Refuted((("y", "1/2"), ("p", "1/2"), ("p1", "1/4"), ("p2", "3/4")), anything, "0")
    assert "halfway" not in calculation(mae, "convex", wrong)
    law = Refuted((("pi", "1/10"), ("p", "3/40")), anything, "")
    # 0.1*0.9375 + 0.9*0.0625 and 0.1*0.9 + 0.9*0.1, by hand for p = 0.07
    assert calculation(mae, "proper", law) == (
        "P(Y = 1) = 0.1: expected loss 0.156 at p = 0.07 < 0.18 at p = 0.1"
    )
    two = Refuted(
        (("y_1", "1/10"), ("y_2", "1/2"), ("P(Y = y_1)", "1/4"), ("P(Y = y_2)", "3/4"), ("the mean", "2/5"), ("p", "7/16")),
        anything, "",
    )  # fmt: skip
    assert calculation(mae, "mean", two) == (
        "Y is 0.1 with probability 0.25 or 0.5 with probability 0.75, the mean 0.4: "
        "expected loss 0.13 at p = 0.44 < 0.15 at p = 0.4"
    )
    square = hand.certificate(formula="-(y - p)**2")
    chord = Refuted((("y", "1/2"), ("p", "1/2"), ("p1", "1/4"), ("p2", "3/4")), anything, "")
    assert calculation(square, "convex", chord) == (
        "loss(0.5, 0.5) = 0 > -0.0625 = (loss(0.5, 0.25) + loss(0.5, 0.75))/2, halfway in p"
    )


def test_a_claim_of_another_kind_is_evaluated_as_it_stands():
    verdict = Refuted(
        (("y", "1"), ("p", "1/16777216")),
        Claim("1/abs(p)", ">", "1000000", (("y", "1"), ("p", "1/16777216"))),
        "",
    )
    text = calculation(hand.certificate(), "lipschitz", verdict)
    assert text == "at y = 1, p = 1/16777216: |dl/dp| = 16777216 > 1000000"


def test_constants_that_are_not_what_they_seem_are_named():
    said = dict(words.facts(hand.certificate(formula="0.1*(y - p)**2")))
    assert "3602879701896397" in said["constants"]
    assert "decimals as written" in dict(words.facts(hand.certificate(constants="decimal")))["constants"]
    assert "constants" not in dict(words.facts(hand.certificate(formula="0.5*(y - p)**2")))
    assert dict(words.facts(hand.certificate(params={"delta": 0.1})))["with"] == "delta = 0.1"


def test_the_derivation_is_made_of_the_steps():
    parts = derivation(hand.every_verdict())
    first = parts[0]
    assert first.statement.count("; ") == 1  # one proof of two statements is printed once
    assert [p.key for p in parts] == ["minimum", "consistency", "convex"]
    [block] = first.blocks  # both sides share the derivative
    assert (block.what, block.verb) == ("dl/dp", "=")
    assert [s.text for s in block.sentences] == [
        "p > y: it is > 0, so the loss grows as p moves away from y",
        "p < y: it is < 0, so the loss grows as p moves away from y",
    ]
    # the reason is the step that equals the claim on the region, not merely the last
    assert [s.reason.claim.left for s in block.sentences] == [
        "v*(u + v + w)/(w*(u + v))",
        "-v*(u + v + w)/(u*(v + w))",
    ]


def test_a_reason_that_is_not_the_claim_is_not_given_as_one():
    steps = list(hand.side(">"))
    steps[2] = Step(steps[2].text, Claim("v*(u + v + w)/(w*(u + 2*v))", ">", "0", hand.POSITIVE))
    made = hand.certificate(hand.line("minimum", Proved("m", hand.DOMAIN, tuple(steps))))
    [sentence] = derivation(made)[0].blocks[0].sentences
    assert sentence.reason is None
    assert "by 2 sign rules" in proof_text(made)


def test_the_text_of_the_derivation():
    text = proof_text(hand.every_verdict())
    assert "loss(y, p) = -y*log(p) - (1 - y)*log(1 - p)" in text
    assert "                 p - y\n       dl/dp = ---------\n               p*(1 - p)\n" in text
    assert "because v*(u + v + w)/(w*(u + v)) > 0: product of factors of known sign" in text
    assert "enclosures on 1 boxes" in text
    assert "y = u/(u + v + w)" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert "─" in proof_text(hand.every_verdict(), unicode=True)


def test_nothing_is_derived_for_what_is_not_shown():
    text = proof_text(hand.certificate(hand.line("minimum", Unknown("no")), hand.line("unique", hand.LOWER)))
    assert "minimiser" not in text
    assert "1." not in text


def test_arranging_a_formula_keeps_its_value():
    for formula in (
        "(-p + y)/(p*(p - 1))",
        "(y - 1)*log(1 - y) - y*log(y)",
        "-1/(p - 1)**3",
        "(p - 2)**2*(y - p)",
    ):
        made, stated = (
            mpmath.mpf(str(e.subs({"y": 0.3, "p": 0.2}))) for e in _symbols(written(formula), formula)
        )
        assert abs(made - stated) < 1e-12, formula
    assert textbook(hand.every_verdict()) == "-y*log(p) - (1 - y)*log(1 - p)"


def _symbols(*formulas: str):
    import sympy

    plain = {"y": sympy.Symbol("y"), "p": sympy.Symbol("p")}
    for formula in formulas:
        expr = expression(formula)
        yield expr.xreplace({s: plain[s.name] for s in expr.free_symbols})


def test_the_latex_document_is_well_formed():
    for made in (
        hand.every_verdict(),
        hand.certificate(hand.line("minimum", Proved("50 % & more_", hand.DOMAIN, (Step("a_b"),)))),
    ):
        text = proof_latex(made)
        assert text.startswith("\\documentclass")
        assert text.rstrip().endswith("\\end{document}")
        well_formed(text)
        assert "documentclass" not in proof_latex(made, document=False)
    text = proof_latex(hand.every_verdict())
    assert r"\frac{\partial \ell}{\partial p} = \frac{p - y}{p \left(1 - p\right)}" in text
    assert r"50 \% \& more\_" in proof_latex(made)


def well_formed(text: str) -> None:
    """Braces, environments, displays and dollars match; nothing that starts mathematics stands outside."""
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", text):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    assert text.count("\\[") == text.count("\\]")
    plain = re.sub(r"\\\$", "", text)
    assert plain.count("$") % 2 == 0
    outside = re.sub(r"\\\[.*?\\\]|\$[^$]*\$", "", plain, flags=re.S).replace("\\_", "").replace("\\^", "")
    assert not re.search(r"[_^]|\\frac|\\ell|\\log", outside)


def test_the_structural_test_sees_broken_latex():
    for broken in (r"\begin{a}\end{b}", r"{", r"\[ x", r"$x", r"\frac{1}{2}", "a_b"):
        with pytest.raises((AssertionError, IndexError)):
            well_formed(broken)


def test_without_a_certificate_a_minimum_is_claimed():
    loss = CATALOGUE["bce"]
    assert standing.least_at("nothing", loss.formula, {}, "target") == "p = y (claimed, not proved)"
    assert (
        standing.least_at("nothing", "", {}, "elsewhere", "y/2")
        == "not at p = y, but at p = y/2 (claimed, not proved)"
    )
    assert standing.least_at("nothing", "", {}, "undeclared") == "not stated"


def test_a_committed_certificate_is_quoted_for_its_own_formula_and_values_only(
    monkeypatch: pytest.MonkeyPatch,
):
    records = {
        "bce": hand.certificate(hand.line("minimum", hand.PROVED)).record(),
        "open": hand.certificate(
            hand.line("minimum", hand.PROVED), formula="F", free={"k": "(0, 1)"}
        ).record(),
        "away": hand.certificate(
            hand.line("minimum", hand.LOWER),
            hand.line("minimiser", hand.PROVED, formula="y/2"),
            formula="G",
            params={"k": 3.0},
        ).record(),
        "perhaps": hand.certificate(
            hand.line("minimum", hand.LOWER), formula="H", free={"k": "(0, 1)"}
        ).record(),
    }
    monkeypatch.setattr(standing, "_stored", lambda name: json.loads(json.dumps(records.get(name, {}))))
    assert standing.of_loss(CATALOGUE["bce"]) == "p = y (proved)"
    assert standing.least_at("bce", "another formula", {}, "target") == "p = y (claimed, not proved)"
    assert standing.least_at("open", "F", {"k": 0.5}, "target") == "p = y (proved)"
    assert standing.least_at("open", "F", {"k": 1.0}, "target") == "p = y (claimed, not proved)"
    assert (
        standing.least_at("away", "G", {"k": 3}, "elsewhere")
        == "not at p = y (refuted), but at p = y/2 (proved)"
    )
    assert standing.least_at("away", "G", {"k": 2}, "elsewhere") == "not at p = y (claimed, not proved)"
    # refuted for some k is not refuted for this one
    assert standing.least_at("perhaps", "H", {"k": 0.5}, "elsewhere") == "not at p = y (claimed, not proved)"


def test_reading_a_certificate_needs_no_extra():
    code = (
        "import sys; import lossproof.report.certificate, lossproof.report.proof_text, lossproof.report.proof_latex;"
        "print([m for m in ('torch', 'sympy', 'pandas', 'jinja2', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
