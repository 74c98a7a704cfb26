"""Each guard of the prover is needed: with it off, an unsound yes comes out, and the fuzz's oracle sees it.

The search for a counterexample is off as well in these tests: it would answer first, and hide what a proof says.
"""

import importlib
import math
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import mpmath
import pytest

from lossproof.formula import Certified, Claim, Proved, Refuted
from lossproof.prove import certify, minimum, span

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"
YES = (Proved, Certified)


def rounded_too_high():
    """sqrt(a) + sqrt(b) - c < 0, where the same in floats, rounded to nearest, is > 0: found, not remembered."""
    with mpmath.workprec(300):
        for a in range(2, 60):
            for b in range(a + 1, 60):
                true, in_floats = mpmath.sqrt(a) + mpmath.sqrt(b), math.sqrt(a) + math.sqrt(b)
                halfway = (mpmath.mpf(math.nextafter(in_floats, 0)) + mpmath.mpf(in_floats)) / 2
                c = (true + halfway) / 2
                if halfway - true > mpmath.mpf(2) ** -52:
                    return a, b, Fraction(int(mpmath.floor(c * 2**80)), 2**80)
    raise AssertionError("none found")


A, B, C = rounded_too_high()

#: without the ends of the targets, which enclosures alone do not settle
OPEN = {"target": "(0, 1)", "prediction": "(0, 1)"}
NEVER = {
    "gate": ["(p - y)**2 + where(p > 9/10, -1, 0)", "(p - y)**2 + where(p > 9/10, 1, 0)",
             "(p - y)**2 + where(p < 1/3, 0, 1) - where(p < 2/3, 0, 1)",
             "where(p == 1/3, (p - y)**2 - 1, (p - y)**2)"],
    "identity": ["-(y*log(p + 1/10) + (1 - y)*log(1 - p + 1/10))", "-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))",
                 "(p - y)**2 + p/10**6", "-(xlogy(y, p) + xlogy(1 - y, 1 - p)) + p/10**30"],
    "rounding": [f"(p - y)**2*(sqrt({A} + y/10**30) + sqrt({B} + y/10**30) - {C.numerator}/{C.denominator})"],
}  # fmt: skip


def mutate(monkeypatch, guard):
    """Switch a guard off."""
    if guard == "gate":
        monkeypatch.setattr(minimum, "gate", lambda *a, **k: [])
    elif guard == "identity":
        monkeypatch.setattr(minimum, "vanishes", lambda *a, **k: True)
    else:
        monkeypatch.setattr(span, "down", lambda x: x)
        monkeypatch.setattr(span, "up", lambda x: x)


@pytest.fixture
def _no_search(monkeypatch):
    monkeypatch.setattr(minimum, "lower_than_at_target", lambda *a, **k: None)


def unsound(formulas):
    """Those of the formulas that get a yes."""
    found = [
        (f, certify(f, only="minimum", in_process=True, budget=5.0, **OPEN).lines["minimum"].verdict)
        for f in formulas
    ]
    return [f for f, verdict in found if isinstance(verdict, YES)]


@pytest.mark.usefixtures("_no_search")
@pytest.mark.parametrize("guard", NEVER)
def test_the_proof_alone_says_no_wrong_yes(guard):
    assert not unsound(NEVER[guard])


@pytest.mark.usefixtures("_no_search")
@pytest.mark.parametrize("guard", NEVER)
def test_without_the_guard_a_wrong_yes_comes_out(guard, monkeypatch):
    mutate(monkeypatch, guard)
    assert unsound(NEVER[guard])


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module("soundness")


@pytest.mark.usefixtures("_no_search")
@pytest.mark.parametrize(
    ("guard", "family", "kind"), [("gate", "jumps", "far"), ("identity", "disturbed", "near")]
)
def test_the_fuzz_sees_it(guard, family, kind, fuzz, monkeypatch):
    """Random losses of one family, made to be false."""
    chosen = [i for i in range(900) if (c := fuzz.case(1, i)).family == family and c.kind == kind][:10]
    mutate(monkeypatch, guard)
    rows = [fuzz.one(1, i, certify, budget=2.0) for i in chosen]
    assert any(r.violated for r in rows)


@pytest.mark.usefixtures("_no_search")
def test_the_oracle_sees_the_rounding(fuzz, monkeypatch):
    tree = sys.modules["soundness_tree"]
    small = tree.Y / 10**30
    wrong = (tree.P - tree.Y) ** 2 * (tree.call("sqrt", A + small) + tree.call("sqrt", B + small) - C)
    case = fuzz.Case("own", "near", wrong, None)
    mutate(monkeypatch, "rounding")
    verdicts, crash, seconds = fuzz.ask(case, ("minimum",), partial(certify, **OPEN), 5.0)
    assert fuzz.judge(case, 1, verdicts, crash, seconds, thorough=False).violated


def test_the_fuzz_sees_an_invented_witness(fuzz, monkeypatch):
    """A search that takes any pair for a counterexample."""
    invented = Refuted((("y", "1/2"), ("p", "1/3")), Claim("y", "=", "y"), "-1")
    monkeypatch.setattr(minimum, "lower_than_at_target", lambda *a, **k: invented)
    assert fuzz.one(1, 0, certify, budget=2.0).unverified
