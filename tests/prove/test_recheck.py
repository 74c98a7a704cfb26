"""The checker: what is true passes, what was changed fails and says what."""

import ast
import copy
import json
import math
import random
import re
from fractions import Fraction
from pathlib import Path

import flint
import mpmath
import pytest

import lossproof
from lossproof.formula import Certified, Claim, LossproofError, Piece, Proved, Refuted, Step, Unknown
from lossproof.prove import Certificate
from lossproof.prove.problem import Line
from lossproof.recheck import SENTENCES, recheck
from lossproof.rechecking import values
from lossproof.rechecking.claims import Said, check_claim
from lossproof.rechecking.cover import gap, holds_on
from lossproof.rechecking.points import points, read_range
from lossproof.rechecking.sentences import sentence
from lossproof.rechecking.spans import enclose, meets
from lossproof.rechecking.values import Broken, Formula

SRC = Path(lossproof.__file__).parent
INNER = (("y", "(0, 1)"), ("p", "(0, 1)"))
P = (("p", "(0, 1)"),)
DOMAIN = "y in [0, 1], p in (0, 1)"
SLOPE = "(1 - y)/(1 - p) - y/p"
BCE = "-(xlogy(y, p) + xlogy(1 - y, 1 - p))"


def steps(slope=SLOPE, low="1/(1 - p)", high="-1/p"):
    return (
        Step("dl/dp", Claim(slope, "=", "(p - y)/(p*(1 - p))", INNER)),
        Step("grows above", Claim(slope, ">", "0", INNER, ("p > y",))),
        Step("falls below", Claim(slope, "<", "0", INNER, ("p < y",))),
        Step("y = 0", Claim(low, ">", "0", P)),
        Step("y = 1", Claim(high, "<", "0", P)),
    )


def piece(y0, y1, p0, p1, left="p - y", relation=">"):
    return Piece((("y", y0, y1), ("p", p0, p1)), left, relation)


#: (p - y)^2 by boxes: two off the diagonal by the sign of the derivative, two across it by convexity
BOXES = (
    piece(0.0, 0.5, 0.75, 1.0, "-2*(y - p)"),
    piece(0.5, 1.0, 0.0, 0.25, "-2*(y - p)", "<"),
    piece(0.0, 0.5, 0.0, 0.75, "2"),
    piece(0.5, 1.0, 0.25, 1.0, "2"),
)
STATIONARY = Step("dl/dp = 0 at p = y", Claim("2*(y - y)", "=", "0", (("y", "(0, 1)"),)))


def made(formula, *, params=None, free=None, constants="binary", target="[0, 1]", details=None, **verdicts):
    lines = {
        key: Line(key, SENTENCES.get(key) or _said(key, verdict, own) or key, verdict, own)
        for key, verdict in verdicts.items()
        for own in ((details or {}).get(key, {}),)
    }
    return Certificate(
        "x", formula, params or {}, free or {}, target, "(0, 1)", constants, lines, {"sympy": "1"}
    )


def _said(key, verdict, details):
    return sentence(key, type(verdict).__name__, details)


def bce(**changes):
    proof = Proved("sign of the derivative", DOMAIN, steps())
    return made(BCE, **{"minimum": proof, "unique": proof, **changes})


def mse(pieces=BOXES, proof=(STATIONARY,)):
    return made("(y - p)**2", minimum=Certified("enclosures", DOMAIN, proof, pieces))


def weighted():
    where = (("y", "1/2"), ("p", "3/5"))
    claim = Claim("-3*y*log(p) + 3*y*log(y) - (1 - y)*log(1 - p) + (1 - y)*log(1 - y)", "<", "0", where)
    return made(
        "-(w3*xlogy(y, p) + xlogy(1 - y, 1 - p))",
        params={"w3": 3.0},
        minimum=Refuted(where, claim, "-0.161911"),
    )


@pytest.mark.parametrize("certificate", [bce(), mse(), weighted()], ids=["bce", "mse", "weighted"])
def test_what_is_true_passes(certificate):
    report = certificate.check()
    assert report.ok, str(report)
    assert report.counts["claims"] + report.counts["boxes"] > 0


def test_at_least_fifty_points_a_claim():
    report = bce().check()
    assert report.counts["claims"] == 5
    assert report.counts["points"] >= 250


def _edit(certificate, edit):
    """The record after an edit; the tamperer renews the digest too."""
    record = json.loads(certificate.to_json())
    edit(record)
    record.pop("sha256", None)
    return record


def _set(*path, to):
    def edit(record):
        node = record
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = to

    return edit


def _drop(*path):
    def edit(record):
        node = record
        for step in path[:-1]:
            node = node[step]
        del node[path[-1]]

    return edit


M = ("lines", "minimum", "verdict")
TAMPERED = {
    "formula": (bce(), _set("formula", to="-(2*xlogy(y, p) + xlogy(1 - y, 1 - p))"), "derivative|slope of this formula"),
    "formula, a little": (bce(), _set("formula", to=BCE + " + 1e-12*p"), "slope of this formula"),
    "formula, refuted": (weighted(), _set("formula", to="-(xlogy(y, p) + xlogy(1 - y, 1 - p)) + 0*w3"), "does not contradict"),
    "parameter": (weighted(), _set("params", "w3", to=1.0), "does not contradict"),
    "constants": (mse(), _set("constants", to="hex"), "expected the layout"),
    "schema": (mse(), _set("schema", to="x"), "expected schema"),
    "statement": (bce(), _set("lines", "minimum", "statement", to="p = 2*y is best"), "expected the statement"),
    "step deleted, above": (bce(), _drop(*M, "steps", 1), "no claim about the slope of this formula for p > y"),
    "step deleted, end": (bce(), _drop(*M, "steps", 4), "no claim about the slope of this formula at y = 1"),
    "all steps deleted": (bce(), _set(*M, "steps", to=[]), "without one claim"),
    "claims emptied": (bce(), _set(*M, "steps", 1, "claim", to=None), "no claim about the slope"),
    "claim turned": (bce(), _set(*M, "steps", 1, "claim", "relation", to="<"), "claim contradicted at"),
    "claim widened": (bce(), _set(*M, "steps", 1, "claim", "given", to=[]), "claim contradicted at"),
    "claim narrowed": (bce(), _set(*M, "steps", 1, "claim", "where", 0, to=["y", "(0, 1/2)"]), "no claim about the slope"),
    "claim of another function": (bce(), _set(*M, "steps", 1, "claim", "left", to="2*(p - y)"), "slope of this formula for p > y"),
    "claim unreadable": (bce(), _set(*M, "steps", 1, "claim", "left", to="p -"), "expected a formula"),
    "claim with code": (bce(), _set(*M, "steps", 1, "claim", "left", to="__import__('os')"), "known names"),
    "claim without a range": (bce(), _set(*M, "steps", 1, "claim", "where", to=[["p", "(0, 1)"]]), "a range for y"),
    "kind raised": (
        made(BCE, minimum=Unknown("x")),
        _set(*M, to={"kind": "Proved", "method": "m", "domain": DOMAIN, "steps": []}), "without one claim"),
    "kind raised, fields left": (made(BCE, minimum=Unknown("x")), _set(*M, "kind", to="Proved"), "a verdict with its fields"),
    "kind invented": (bce(), _set(*M, "kind", to="Sure"), "a verdict with its fields"),
    "strict from weak": (
        made("(y - p)**2 + 0*y", unique=Proved("sign of the derivative (weak)", DOMAIN, (
            Step("", Claim("2*(p - y)", ">=", "0", INNER, ("p > y",))),
            Step("", Claim("2*(p - y)", "<=", "0", INNER, ("p < y",)))))), lambda r: None, "no claim about the slope"),
    "box moved": (mse(), _set(*M, "pieces", 0, "boxes", 0, to=[0.0, 0.5, 0.75, 0.9]), "leave a gap: .*0.9"),
    "box deleted": (mse(), _drop(*M, "pieces", 2), "leave a gap"),
    "box across the diagonal": (mse(), _set(*M, "pieces", 0, "boxes", 0, to=[0.0, 0.8, 0.75, 1.0]), "says nothing for this line"),
    "box that does not hold": (
        mse((*BOXES[:2], *(piece(*b, "2 - 4*(y - p)") for b in ((0.0, 0.5, 0.0, 0.5), (0.5, 1.0, 0.5, 1.0))))),
        lambda r: None, "which is not slope or bend"),
    "box of another function": (mse(), _set(*M, "pieces", 0, "left", to="p + 1"), "which is not slope"),
    "box upside down": (mse(), _set(*M, "pieces", 0, "boxes", 0, to=[0.5, 0.0, 0.75, 1.0]), "low <= high"),
    "box with nan": (mse(), _set(*M, "pieces", 0, "boxes", 0, to=["nan", 0.5, 0.5, 1.0]), "low <= high"),
    "stationarity deleted": (mse(), _set(*M, "steps", to=[]), "without the claim that dl/dp = 0"),
    "witness": (weighted(), _set(*M, "witness", 1, to=["p", "1/5"]), "the witness has 1/5"),
    "witness and claim": (
        weighted(),
        lambda r: (_set(*M, "witness", 1, to=["p", "1/5"])(r), _set(*M, "claim", "where", 1, to=["p", "1/5"])(r)),
        "contradicted at"),
    "witness on the diagonal": (
        weighted(),
        lambda r: (_set(*M, "witness", 1, to=["p", "1/2"])(r), _set(*M, "claim", "where", 1, to=["p", "1/2"])(r),
                   _set(*M, "claim", "relation", to="<=")(r)), "p = y"),
    "witness outside": (
        weighted(),
        lambda r: (_set(*M, "witness", 1, to=["p", "1"])(r), _set(*M, "claim", to={
            "left": "0", "relation": "=", "right": "0", "where": [["p", "1"]], "given": []})(r)), "outside the domain"),
    "witness not rational": (weighted(), _set(*M, "witness", 1, to=["p", "pi"]), "exact rationals"),
    "witness emptied": (weighted(), _set(*M, "witness", to=[]), "expected a witness, got none"),
    "claim true but beside the point": (
        made(BCE, minimum=Refuted((("y", "1/2"), ("p", "3/5")), Claim("p - y", ">", "0", (("y", "1/2"), ("p", "3/5"))), "1")),
        lambda r: None, "does not contradict"),
    "domain emptied": (bce(), _set(*M, "domain", to="nowhere"), "expected a domain"),
    "domain without an end": (
        bce(), lambda r: (_drop(*M, "steps", 3)(r), _set(*M, "domain", to=DOMAIN + ", y != 0")(r)), "left out though"),
    "target widened": (mse(), _set("target", to="[0, 2]"), r"shown for y in \[0, 1\] only"),
    "lines deleted": (bce(), _set("lines", to={}), "lines, got none"),
    "line of a wrong type": (bce(), _set("lines", "minimum", to=3), "expected the layout"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_changed_fails_and_says_what(name):
    certificate, edit, message = TAMPERED[name]
    report = recheck(_edit(certificate, edit))
    assert not report.ok
    assert any(re.search(message, text) for _, text in report.problems), report.problems


def test_accidental_damage_is_seen_by_the_digest(tmp_path):
    path = tmp_path / "bce.json"
    bce().save(path)
    assert recheck(path).ok
    assert recheck(str(path)).ok
    path.write_text(path.read_text().replace('"sympy": "1"', '"sympy": "2"'))
    assert "sha256" in str(recheck(path))
    path.write_text(path.read_text()[:-40])
    assert "expected JSON" in str(recheck(path))
    with pytest.raises(LossproofError, match="expected a certificate's JSON file"):
        recheck(tmp_path / "missing.json")


def test_a_report_has_no_truth_value():
    with pytest.raises(TypeError, match=r"report\.ok"):
        bool(bce().check())


#: statements that the formula itself contradicts, though every claim is true
TRUE = Proved("by hand", DOMAIN, (Step("", Claim("1", ">", "0", P)),))
FALSE = [
    ("median", BCE, {}),
    ("mean", "abs(y - p)", {}),
    ("proper", "abs(y - p)", {}),
    ("consistency", "abs(y - p)", {"functional": "mean"}),
    ("consistency", "abs(y - p)", {"functional": "quantile", "level": "3/10"}),
    ("consistency", "(y - p)**2", {"functional": "median"}),
    ("convex", "sqrt(abs(y - p))", {}),
    ("strictly_convex", "abs(y - p)", {}),
    ("convex_logits", "(y - p)**2", {}),
    ("floor", BCE, {"formula": "0"}),
    ("minimiser", "-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))", {"formula": "3*y/(1 + 3*y)"}),
    ("minimiser", "-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))", {"points": [[0.5, 0.7, 0.71]]}),
    ("curvature", "(y - p)**2", {"formula": "1"}),
    ("lipschitz", "(y - p)**2", {"bound": [1.0, 1.9]}),
    ("lipschitz_logits", BCE, {"bound": [0.8, 0.9]}),
]
KEPT = [
    ("mean", BCE, {}),
    ("median", "abs(y - p)", {}),
    ("proper", "(y - p)**2", {}),
    ("consistency", "where(y > p, 3*(y - p), 7*(p - y))", {"functional": "quantile", "level": "3/10"}),
    ("convex_logits", BCE, {}),
    ("floor", BCE, {"formula": "-y*log(y) - (1 - y)*log(1 - y)"}),
    ("minimiser", "-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))", {"formula": "3*y/(1 + 2*y)", "points": [[0.5, 0.7499, 0.7501]]}),
    ("curvature", BCE, {"formula": "1/(y*(1 - y))"}),
    ("lipschitz_logits", BCE, {"bound": [0.9, 1.0]}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "formula", "details"), FALSE, ids=lambda x: str(x)[:20])
def test_a_false_statement_is_contradicted_by_the_formula(key, formula, details):
    report = made(formula, details={key: details}, **{key: TRUE}).check()
    assert "the formula contradicts it at" in str(report)


@pytest.mark.parametrize(("key", "formula", "details"), KEPT, ids=lambda x: str(x)[:20])
def test_a_true_statement_is_kept(key, formula, details):
    report = made(formula, details={key: details}, **{key: TRUE}).check()
    assert report.ok, str(report)


# ---- the parts


@pytest.mark.parametrize(
    ("left", "right", "given", "good"),
    [
        ("-log(p)", "oo", "p -> 0+", True),
        ("log(p)", "-oo", "p -> 0+", True),
        ("log(p)", "oo", "p -> 0+", False),
        ("p*log(p)", "0", "p -> 0+", True),
        ("p*log(p)", "1/100", "p -> 0+", False),
        ("1/log(p)", "0", "p -> 0+", True),
        ("tanh(z)", "1", "z -> oo", True),
        ("tanh(z)", "1", "z -> -oo", False),
        ("sign(p - 1/2)", "1", "p -> (1/2)+", True),
        ("sign(p - 1/2)", "1", "p -> (1/2)-", False),
        ("p", "oo", "p -> 1-", False),
    ],
)
def test_limits(left, right, given, good):
    said = Said(left, "->", right, (), (given,))
    if good:
        assert check_claim(said) == 1
    else:
        with pytest.raises(Broken):
            check_claim(said)


def test_values_agree_with_mpmath():
    texts = {
        "xlogy(y, p) + log1p(p)*expm1(y)": lambda y, p: y * mpmath.log(p) + mpmath.log1p(p) * mpmath.expm1(y),
        "logcosh(3*(y - p)) - softplus(y)*sigmoid(p)": lambda y, p: (
            mpmath.log(mpmath.cosh(3 * (y - p))) - mpmath.log1p(mpmath.exp(y)) / (1 + mpmath.exp(-p))
        ),
        "gammaln(y + 1) + digamma(p) - erf(y)*arctan(p)": lambda y, p: (
            mpmath.loggamma(y + 1) + mpmath.digamma(p) - mpmath.erf(y) * mpmath.atan(p)
        ),
        "polygamma(0, y) + polygamma(1, p) - polygamma(2, y + p)": lambda y, p: (
            mpmath.psi(0, y) + mpmath.psi(1, p) - mpmath.psi(2, y + p)
        ),
        "p**(3/2)/y**2 + sqrt(y)**3 - logaddexp(y, p)": lambda y, p: (
            p ** mpmath.mpf(1.5) / y**2 + y ** mpmath.mpf(1.5) - mpmath.log(mpmath.exp(y) + mpmath.exp(p))
        ),
        "where(y > p, maximum(y, 2*p), clip(p, 1/4, y + 1/3))": lambda y, p: (
            max(y, 2 * p) if y > p else min(max(p, mpmath.mpf(1) / 4), y + mpmath.mpf(1) / 3)
        ),
    }
    rng = random.Random(1)
    with mpmath.workdps(40):
        for text, reference in texts.items():
            for _ in range(20):
                y, p = (Fraction(rng.randrange(1, 1000), 1000) for _ in range(2))
                with values.precision(200):
                    found = values.ball(values.value(text, {"y": y, "p": p}))
                    exact = reference(*(mpmath.mpf(x.numerator) / x.denominator for x in (y, p)))
                    assert mpmath.almosteq(mpmath.mpf(found.str(45, radius=False)), exact, 1e-35), text


FUNCTIONS = [
    "y*log(p)", "p*log(p)*(1 - y)", "(y - p)**2/(p*(1 - p))", "log1p(y) - expm1(p)", "exp(y - 3*p)", "sqrt(p) - sqrt(y)",
    "abs(y - p)", "sign(y - p)", "sin(9*y)*cos(5*p)", "arctan(y - p)", "sinh(y - p)", "cosh(y - p)", "tanh(3*(y - p))",
    "arcsinh(y - p)", "arctanh(y/2 - p/3)", "maximum(y, p) - minimum(y, 1/3)", "clip(p, 1/4, 3/4)",
    "where(y > p, y**3, -p**3)", "where(p == 1/2, 1, p)", "xlogy(y, p)", "xlog1py(y, -p)", "sigmoid(y - p)",
    "softplus(5*(y - p))", "logaddexp(y, p)", "logcosh(y - p)", "gammaln(1 + y - p/2)", "digamma(1/2 + y)",
    "polygamma(0, 1/2 + y)", "polygamma(1, 1/2 + y)", "polygamma(2, 1/2 + p)", "erf(y - p)",
    "(y + 1/10)**(1/3)*p**3", "2**(y - p)", "(1/2 + y)**(-2)", "log2(1 + p)", "y/y + p", "pi*y - 1/3", "(y - p)*(y - p)",
]  # fmt: skip


@pytest.mark.parametrize("text", FUNCTIONS)
def test_enclosures_hold_the_values(text):
    rng = random.Random(text)
    for _ in range(150):
        box = {}
        for name in "yp":
            a, b = sorted(rng.choice((0.0, 1.0, 0.5, rng.random(), rng.random() ** 12)) for _ in range(2))
            box[name] = (a, b)
        low, high = enclose(text, box)
        for t, u in [(0, 0), (1, 1), (0, 1), (1, 0), *((rng.random(), rng.random()) for _ in range(4))]:
            y, p = (
                min(max(Fraction(a) + (Fraction(b) - Fraction(a)) * Fraction(s), Fraction(a)), Fraction(b))
                for (a, b), s in zip(box.values(), (t, u), strict=True)
            )
            with values.precision(120):
                try:
                    found = values.ball(values.value(text, {"y": y, "p": p}))
                except values.Undecided:
                    continue
                if found.is_finite() and not math.isnan(low):
                    assert flint.arb(low) <= found.upper(), (text, box, y, p)
                    assert flint.arb(high) >= found.lower(), (text, box, y, p)


def test_enclosures_are_narrow_where_it_matters():
    assert enclose("1 - p", {"p": (0.0, 1.0)}) == (0.0, 1.0)
    assert enclose("1/(1 - p)", {"p": (0.0, 1.0)}) == (1.0, float("inf"))
    assert enclose("p*log(p)", {"p": (0.0, 1.0)})[1] == 0.0
    assert meets(">", enclose("log(p)", {"p": (-0.1, 1.0)}), (-9.0, -9.0)) is None
    assert holds_on("p*(1 - p)", "<=", "1/4", {"p": (0.0, 1.0)})
    assert not holds_on("p*(1 - p)", "<=", "1/4 - 1/10**6", {"p": (0.0, 1.0)})
    assert not holds_on("p*(1 - p)", ">", "0", {"p": (0.0, 1.0)})


def test_gaps_are_found_exactly():
    root = ((0.0, 1.0), (0.0, 1.0))
    halves = [((0.0, 0.5), (0.0, 1.0)), ((0.5, 1.0), (0.0, 1.0))]
    assert gap(root, halves) is None
    sliver = ((0.5 + 2**-52, 1.0), (0.0, 1.0))
    assert gap(root, [halves[0], sliver]) == ((0.5, 0.5 + 2**-52), (0.0, 1.0))
    assert gap(root, []) == root
    rng = random.Random(3)
    boxes = [root]
    for _ in range(300):
        sides = list(boxes.pop(rng.randrange(len(boxes))))
        axis = rng.randrange(2)
        a, b = sides[axis]
        m = a + (b - a) * rng.random()
        for part in ((a, m), (m, b)):
            sides[axis] = part
            boxes.append(tuple(sides))
    assert gap(root, boxes) is None
    for _ in range(20):
        i = rng.randrange(len(boxes))
        assert gap(root, boxes[:i] + boxes[i + 1 :]) is not None


def test_points_obey_and_reach_the_ends():
    rng = random.Random(2)
    ranges = {"y": read_range("[0, 1]"), "p": read_range("(0, 1)"), "c": read_range("(0, inf)")}
    found = list(points(ranges, ("p > y",), 200, rng))
    assert len(found) == 200
    assert all(at["p"] > at["y"] and 0 < at["p"] < 1 and at["c"] > 0 for at in found)
    assert any(at["y"] == 0 for at in found)
    assert any(at["p"] - at["y"] < 1e-9 for at in found)
    assert any(1 - at["p"] < 1e-5 for at in found)
    assert max(at["c"] for at in found) > 1000


def test_difference_quotients_are_derivatives():
    formula = Formula(BCE, {}, decimal=False)
    with values.precision(1200):
        third, half = Fraction(1, 3), Fraction(1, 2)
        assert abs(formula.slope(third, half, {}) - flint.arb(2) / 3) < flint.arb("1e-60")
        assert abs(formula.bend(third, half, {}) - 4) < flint.arb("1e-60")


def test_decimal_constants_are_read_as_recorded():
    turned = (Step("", Claim("(p - y)/5", ">", "0", INNER, ("p > y",))),
              Step("", Claim("(p - y)/5", "<", "0", INNER, ("p < y",))),
              Step("", Claim("p/5", ">", "0", P)), Step("", Claim("(p - 1)/5", "<", "0", P)))  # fmt: skip
    proof = Proved("sign of the derivative", DOMAIN, turned)
    assert made("0.1*(y - p)**2", constants="decimal", minimum=proof).check().ok
    assert "slope of this formula" in str(made("0.1*(y - p)**2", minimum=proof).check())


def test_the_checker_shares_nothing_with_the_prover_and_no_state():
    for path in [SRC / "recheck.py", *sorted((SRC / "rechecking").glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            named = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in named:
                room = name.split(".")[1] if name.startswith("lossproof.") else ""
                assert room in ("", "formula", "catalogue", "rechecking"), f"{path.name} imports {name}"
    before = mpmath.mp.dps, flint.ctx.prec
    bce().check()
    assert (mpmath.mp.dps, flint.ctx.prec) == before


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("bce", {}),
        ("mae", {}),
        ("huber(delta=0.25)", {}),
        ("smoothed_bce", {}),
        ("charbonnier", {"symbolic": True}),
        ("pinball", {"symbolic": True}),
        ("weighted_bce", {"symbolic": {"pos_weight": "[1, 4]"}}),
        ("mse", {"target": (0, 255), "prediction": (0, 255)}),
        ("0.3*abs(y - p) + 0.1*(y - p)**2", {"decimal": True}),
    ],
)
def test_what_the_prover_says_passes(loss, options):
    found = lossproof.certify(loss, budget=30, **options)
    report = found.check()
    assert report.ok, str(report)
    record = json.loads(found.to_json())
    other = copy.deepcopy(record)
    other["formula"] = f"({other['formula']}) + 1e-9*p*y"
    other.pop("sha256")
    assert not recheck(other).ok
