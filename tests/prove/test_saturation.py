"""Saturation behind links: the limits of certify.md, and weak sets against a scan in floats."""

import json

import numpy as np
import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Proved, Unknown
from lossproof.formula.interval import REALS
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove import certify
from lossproof.prove.clock import Clock
from lossproof.prove.limits import HIGH, LOW
from lossproof.prove.problem import Line, Problem
from lossproof.prove.saturation import lines
from lossproof.recheck import recheck

KL = "xlogy(y, y) - xlogy(y, p) + xlogy(1 - y, 1 - y) - xlogy(1 - y, 1 - p)"
# (y = 1, z -> -oo), (y = 0, z -> oo)
LIMITS = {
    "bce": ("-1", "1"), "mse": ("0", "0"), "mae": ("0", "0"), "logcosh": ("0", "0"), "huber(delta=0.25)": ("0", "0"),
    "charbonnier": ("0", "0"), "pinball(tau=0.3)": ("0", "0"), "continuous_bernoulli": ("-1", "1"),
    "focal": ("-1", "1"), "weighted_bce": ("-3", "1"), "msle": ("0", "0"), "poisson": ("-1", "0"),
    "jensen_shannon": ("0", "0"), "hellinger": ("0", "0"), "barron(alpha=-2)": ("0", "0"), KL: ("-1", "1"),
    "(y - p)**2/(p*(1 - p))": ("-oo", "oo"), "y/p - log(y/p) - 1": ("-oo", None),
    "-(y*p + (1 - y)*(1 - p))/sqrt(p**2 + (1 - p)**2)": ("0", "0"), "maximum(abs(y - p) - 0.01, 0)": ("0", "0"),
    "-(xlogy(y, clip(p, 1e-7, 1 - 1e-7)) + xlogy(1 - y, 1 - clip(p, 1e-7, 1 - 1e-7)))": ("0", "0"),
}  # fmt: skip
KINDS = {"0": "plateau", "oo": "explodes", "-oo": "explodes"}
NO_BOUND = {"lipschitz_logits": Line("lipschitz_logits", "", Unknown("not asked"), {"bound": None})}


def saturation(spec, known=NO_BOUND, **options):
    (line,) = lines(Problem(resolve(spec), **options), known, Clock(60))
    return line


@pytest.mark.parametrize("spec", LIMITS)
def test_limits_behind_a_sigmoid(spec):
    line = saturation(spec)
    assert isinstance(line.verdict, Proved)
    want = dict(zip(("y = 1, z -> -oo", "y = 0, z -> oo"), LIMITS[spec], strict=True))
    found = line.details["sigmoid"]
    assert {k: v["limit"] for k, v in found.items()} == {k: v for k, v in want.items() if v is not None}
    assert all(v["kind"] == KINDS.get(v["limit"], "alive") for v in found.values())
    assert {k: v["kind"] for k, v in line.details["tanh"].items()} == {k: v["kind"] for k, v in found.items()}


def test_other_links():
    line = saturation("weighted_bce")
    assert line.details["tanh"]["y = 1, z -> -oo"] == {"limit": "-6", "kind": "alive"}
    assert line.details["clamp"]["y = 1, z -> -oo"] == {"limit": "0", "kind": "plateau"}
    assert saturation("mse").details["identity"][f"y = 1, {LOW}"] == {"limit": "-2", "kind": "alive"}
    assert saturation("mse").details["identity"][f"y = 0, {HIGH}"] == {"limit": "2", "kind": "alive"}


def test_the_statement_answers_the_question():
    assert saturation("bce").statement == (
        "dl/dz -> -1 (y = 1, z -> -oo) and -> 1 (y = 0, z -> oo): the gradient stays alive: dl/dp grows as fast as the"
        " sigmoid's factor p (1 - p) falls to 0; dl/dz = p - y everywhere"
    )
    assert "the sigmoid kills the gradient: dl/dp stays finite" in saturation("mse").statement
    assert "grows too slowly" in saturation("hellinger").statement
    assert "explodes" in saturation("(y - p)**2/(p*(1 - p))").statement


@pytest.mark.parametrize(
    ("spec", "c"),
    [("bce", "1"), (KL, "1"), ("3*(-xlogy(y, p) - xlogy(1 - y, 1 - p))", "3"), ("weighted_bce", None), ("mse", None),
     ("focal", None), ("-xlogy(y, p) - xlogy(1 - y, 1 - p) + 1e-30*p", None)],
)  # fmt: skip
def test_canonical_pairs(spec, c):
    line = saturation(spec)
    assert line.details["canonical"] == c
    assert any("for all y and p" in s.text for s in line.verdict.steps) == (c is not None)


@pytest.mark.parametrize("name", [n for n in CATALOGUE if n != "continuous_bernoulli"])
def test_weak_sets_against_a_scan(name):
    problem = Problem(CATALOGUE[name])
    weak = saturation(name).details["weak"]
    assert weak["settled"]
    slope = problem.slope
    p = np.unique(
        np.concatenate(
            [np.linspace(0, 1, 4001)[1:-1], np.logspace(-9, -2, 300), 1 - np.logspace(-9, -2, 300)]
        )
    )
    for key, spans in weak["intervals"].items():
        y = float(eval(key[4:]))
        with np.errstate(all="ignore"):
            g = np.abs(p * (1 - p) * evaluate(slope, {Y: np.full_like(p, y), P: p}))
        far = np.abs(p - y) > 0.1
        inside = np.zeros(len(p), bool)
        rim = np.zeros(len(p), bool)
        for a, b in spans:
            inside |= (p > a) & (p < b)
            rim |= (np.abs(p - a) < 3e-6) | (np.abs(p - b) < 3e-6)
        assert (g[inside] < 1e-3 * (1 + 1e-9)).all()
        assert far[inside].all()
        assert (g[far & ~inside & ~rim] >= 1e-3 * (1 - 1e-9)).all()


def test_mse_is_weak_below_p_of_5e_4():
    (span,) = saturation("mse").details["weak"]["intervals"]["y = 1"]
    assert span[0] == 0
    assert span[1] == pytest.approx(5.005e-4, abs=2e-6)  # 2 p (1 - p)**2 = 1e-3


def test_clipping_leaves_a_narrow_weak_set():
    spec = "-(xlogy(y, clip(p, 1e-7, 1 - 1e-7)) + xlogy(1 - y, 1 - clip(p, 1e-7, 1 - 1e-7)))"
    (span,) = saturation(spec).details["weak"]["intervals"]["y = 1"]
    assert span == [0.0, pytest.approx(1e-7, rel=0.01)]
    assert saturation("bce").details["weak"]["intervals"]["y = 1"] == []


def test_largest_is_taken_from_what_is_known():
    known = {"lipschitz_logits": Line("lipschitz_logits", "", Unknown(""), {"bound": [1.0, 2.0]})}
    assert saturation("mse", known).details["largest"] == [1.0, 2.0]
    low, high = saturation("mse", {}).details["largest"]
    assert low <= 8 / 27 <= high


def test_nan_at_an_end_is_no_plateau():
    # KL with quotients is nan at y = 0 if read literally; its derivative must not come out as 0
    line = saturation("y*log(y/p) + (1 - y)*log((1 - y)/(1 - p))")
    assert not any(v["kind"] == "plateau" for v in line.details["sigmoid"].values())


def test_what_is_not_looked_at():
    assert isinstance(saturation("mse", target=REALS, prediction=REALS).verdict, Unknown)
    free = resolve("huber").params  # whose branch at p = 0 hangs on delta
    assert "no limit is shown" in saturation("huber", free=free).verdict.reason
    reverse = saturation("xlogy(p, p/y) + xlogy(1 - p, (1 - p)/(1 - y))")
    assert "neither" in reverse.verdict.reason
    odd = saturation("(y - p)**2/p*(2 + sin(1/p))")
    assert "no limit is shown for y = 1, z -> -oo" in odd.verdict.reason


@pytest.mark.parametrize(
    ("formula", "ranges", "kinds"),
    [
        ("c*(y-p)**2", {"c": "(0, inf)"}, [("plateau", "0"), ("plateau", "0")]),
        ("-a*xlogy(y, p) - xlogy(1 - y, 1 - p)", {"a": "(0, inf)"}, [("alive", "-a"), ("alive", "1")]),
        ("maximum(t*(y-p), (t-1)*(y-p))", {"t": "(0, 1)"}, [("plateau", "0"), ("plateau", "0")]),
        ("c*(y-p)**2/(p*(1-p))", {"c": "(0, inf)"}, [("explodes", "-oo"), ("explodes", "oo")]),
    ],
)
def test_parameters_may_stay_symbolic(formula, ranges, kinds):
    found = certify(formula, symbolic=ranges, only=("saturation", "borders"), in_process=True)
    line = found.lines["saturation"]
    assert isinstance(line.verdict, Proved)
    assert [(e["kind"], e["limit"]) for e in line.details["sigmoid"].values()] == kinds
    assert recheck(found.to_json()).ok
    forged = json.loads(found.to_json())
    forged.pop("sha256", None)
    entry = next(iter(forged["lines"]["saturation"]["details"]["sigmoid"].values()))
    entry["kind"], entry["limit"] = ("alive", "-2*a" if "a" in ranges else "-2")
    assert not recheck(forged).ok


def test_a_limit_that_changes_its_kind_with_the_parameter_is_not_settled():
    found = certify(
        "-a*xlogy(y, p) - xlogy(1 - y, 1 - p)",
        symbolic={"a": "(-1, inf)"},
        only="saturation",
        in_process=True,
    )
    assert isinstance(found.lines["saturation"].verdict, Unknown)
