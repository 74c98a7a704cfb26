"""What reaches the logits when the prediction is at the wrong end: does the link kill the gradient, or the loss undo it?

Limits are taken in p, never in z: with p = sigmoid(z), dl/dz = p (1 - p) dl/dp, and z -> -oo is p -> 0+.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from lossproof.formula import Claim, Proved, Step, Unknown, Verdict
from lossproof.formula.functions import to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove import span as spans
from lossproof.prove.borders import unsuitable
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.identity import vanishes, zero_at_points
from lossproof.prove.limits import HIGH, LOW, End, Free, Limit, by_target, limit, written
from lossproof.prove.lipschitz import SCALES, largest
from lossproof.prove.peak import Tame
from lossproof.prove.problem import Line, Problem
from lossproof.prove.special import precision

Expr = Any
_LOGITS = SCALES[1]
_WRONG: tuple[tuple[str, End, str], ...] = (("y = 1", LOW, "z -> -oo"), ("y = 0", HIGH, "z -> oo"))
_TARGETS = (Fraction(0), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(1))
EPS = 1e-3  # |dl/dz| below this counts as weak
GAP = 0.1  # |p - y| above this counts as far
_NARROW = 1e-6  # slivers at the rims of the intervals that are left open
_NARROWEST = 2.0**-45  # the same at p = 0 and p = 1


@dataclass(frozen=True)
class Wrong:
    """One wrong end: y = 1 with p -> 0, or y = 0 with p -> 1; limits of dl/dp and of dl/dz behind a sigmoid."""

    target: str
    end: End
    way: str
    slope: Limit | None
    logit: Limit | None

    @property
    def key(self) -> str:
        """As details name it: y = 1, z -> -oo."""
        return f"{self.target}, {self.way}"


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The line "saturation"."""
    start = time.monotonic()
    reason = unsuitable(problem)
    if reason:
        yield Line("saturation", "what dl/dz tends to at the wrong end", Unknown(reason))
        return
    cases, free = by_target(problem), Free.of(problem)
    ends = [
        Wrong(t, e, way, *(_limit(g, e, clock, free) for g in (cases[t][1], _LOGITS.of(cases[t][1]))))
        for t, e, way in _WRONG
        if t in cases
    ]
    steps = [_step(w) for w in ends if w.logit is not None and w.logit.proved]
    details: dict[str, Any] = {
        "sigmoid": {w.key: _entry(w.logit, 1) for w in ends},
        "tanh": {w.key: _entry(w.logit, 2) for w in ends},
        "identity": {f"{w.target}, {w.end}": _entry(w.slope, 1) for w in ends},
        "clamp": {w.key: {"limit": "0", "kind": "plateau"} for w in ends},
        "largest": None if problem.free else _largest(problem, known, clock),
        "canonical": None,
    }
    canonical = None if problem.free else _canonical(cases, clock)
    if canonical is not None:
        details["canonical"], step = canonical
        steps.append(step)
    details["weak"], shown = (None, []) if problem.free else _weak(cases, clock)
    statement = _statement(ends, details["canonical"])
    missing = [w.key for w in ends if w.logit is None or not w.logit.proved]
    verdict: Verdict
    if not ends:
        verdict = Unknown("the loss is finite at neither y = 0 nor y = 1")
    elif missing:
        verdict = Unknown(f"no limit is shown for {' and '.join(missing)}")
    else:
        absent = "".join(f", y != {t[4:]}" for t, _, _ in _WRONG if t not in cases)
        verdict = Proved("limits of p (1 - p) dl/dp", f"y in {problem.target}{absent}", (*steps, *shown))
    yield Line("saturation", statement, verdict, details, time.monotonic() - start)


def _limit(g: Expr, end: End, clock: Clock, free: Free) -> Limit | None:
    """A limit that is 0, infinite, or another number for all values of the parameters."""
    found = limit(g, end, clock, free=free)
    if found is None or found.infinite or not found.value.free_symbols:
        return found
    return found if free.sign(found.value, clock) in (1, -1) else None


def kind(value: Expr) -> str:
    """What a limit of a derivative means for training: plateau (0), alive (a nonzero number), explodes (infinite)."""
    return "explodes" if value in (sympy.oo, -sympy.oo) else "plateau" if value == 0 else "alive"


def _entry(found: Limit | None, factor: int) -> dict[str, str | None]:
    if found is None:
        return {"limit": None, "kind": None}
    value = found.value if found.infinite else factor * found.value
    return {"limit": written(value), "kind": kind(value)}


def _step(w: Wrong) -> Step:
    said = w.logit.text if w.logit else ""
    text = f"{w.target}: dl/dz = p (1 - p) dl/dp -> {said} as {w.end}, that is {w.way}"
    return Step(text, w.logit.claim if w.logit else None)


def _largest(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Any:
    line = known.get("lipschitz_logits")
    if line is not None:
        return line.details.get("bound")
    try:
        return largest(problem, _LOGITS, clock.part(0.4)).bound
    except OutOfTime:
        return None


def _canonical(cases: Mapping[str, tuple[Expr, Expr]], clock: Clock) -> tuple[str, Step] | None:
    """The constant c with dl/dz = c (p - y) everywhere, or None."""
    if "y inside" not in cases:
        return None
    g = _LOGITS.of(cases["y inside"][1])
    if g.has(sympy.Piecewise, sympy.Abs, sympy.sign):
        return None  # p - y has neither kinks nor branches
    quarter = sympy.Rational(1, 4)
    c = to_elementary(2 * g.xreplace({Y: quarter, P: 3 * quarter}))
    gap = g - c * (P - Y)
    text = written(c)
    if text is None or c == 0 or not zero_at_points(gap) or not vanishes(gap, clock):
        return None
    left, right = written(to_elementary(g)), written(c * (P - Y))
    if left is None or right is None:
        return None
    where = (("y", "(0, 1)"), ("p", "(0, 1)"))
    return text, Step(f"dl/dz = {right} for all y and p", Claim(left, "=", right, where))


def _weak(cases: Mapping[str, tuple[Expr, Expr]], clock: Clock) -> tuple[dict[str, Any], list[Step]]:
    """Where |p - y| > 0.1 and yet |dl/dz| < 0.001: intervals of p for a few targets, each enclosed."""
    intervals: dict[str, list[list[float]]] = {}
    steps: list[Step] = []
    settled = True
    for y in _TARGETS:
        exact = sympy.Rational(y.numerator, y.denominator)
        name = f"y = {y}"
        pair = cases.get(name) if y in (0, 1) else cases.get("y inside")
        if pair is None:
            continue
        g = _LOGITS.of(pair[1] if y in (0, 1) else pair[1].xreplace({Y: exact}))
        found, clear = _where_weak(g, float(y), clock.part(0.2))
        settled = settled and clear
        intervals[name] = [[a, b] for a, b in found]
        left = written(sympy.Abs(to_elementary(g)))
        if left is not None:
            steps += [
                Step(
                    f"{name}: weak for p in ({_place(a)}, {_place(b)})",
                    Claim(left, "<", repr(EPS), (("p", f"({a!r}, {b!r})"),)),
                )
                for a, b in found
            ]
    some = [f"{n}, p in ({_place(a)}, {_place(b)})" for n, spans_ in intervals.items() for a, b in spans_]
    said = "; ".join(some) if some else "nowhere at y in {0, 1/4, 1/2, 3/4, 1}" if settled else "not settled"
    details = {"eps": EPS, "gap": GAP, "intervals": intervals, "settled": settled}
    return {**details, "description": f"|p - y| > {GAP:g} and |dl/dz| < {EPS:g}: {said}"}, steps


def _place(x: float) -> str:
    return f"1 - {1 - x:.3g}" if 0.99 < x < 1 else f"{x:.4g}"


def _where_weak(g: Expr, y: float, clock: Clock) -> tuple[list[tuple[float, float]], bool]:
    """Intervals on which |g| < EPS surely; and whether outside them (up to slivers) it surely is not."""
    tame = Tame(g)
    weak: list[tuple[float, float]] = []
    clear = True
    todo = [cell for cell in ((y + GAP, 1.0), (0.0, y - GAP)) if cell[0] < cell[1]]
    with precision(64):
        for _ in range(1500):
            if not todo:
                break
            if clock.left() < 0:
                break
            a, b = todo.pop()
            low, high = spans.absolute(tame.over((a, b)))
            if high < EPS:
                if weak and weak[-1][1] == a:
                    weak[-1] = (weak[-1][0], b)
                else:
                    weak.append((a, b))
            elif not low >= EPS:
                at_end = a == 0.0 or b == 1.0
                if b - a > (_NARROWEST if at_end else _NARROW * min(1.0, 1000 * min(b, 1.0 - a))):
                    middle = a + (b - a) / 16 if a == 0.0 else b - (b - a) / 16 if b == 1.0 else (a + b) / 2
                    todo += [(middle, b), (a, middle)]
                elif math.isinf(high) or not low <= high:
                    clear = False
    return weak, clear and not todo


def _statement(ends: list[Wrong], canonical: str | None) -> str:
    """An answer to: does the sigmoid kill the gradient of this loss, and if not, why not?"""
    if not ends:
        return "dl/dz at the wrong end is not looked at: the loss is finite at neither y = 0 nor y = 1"
    groups: dict[str, list[str]] = {}
    for w in ends:
        where = f"-> {w.logit.text} ({w.key})" if w.logit is not None else w.key
        groups.setdefault(_why(w), []).append(where)
    said = [f"dl/dz {' and '.join(where)}: {why}" for why, where in groups.items()]
    if canonical is not None:
        said.append(
            "dl/dz = p - y everywhere" if canonical == "1" else f"dl/dz = {canonical} (p - y) everywhere"
        )
    return "; ".join(said)


def _why(w: Wrong) -> str:
    if w.logit is None:
        return "no limit is shown"
    infinite = w.slope is not None and w.slope.infinite
    match kind(w.logit.value):
        case "plateau" if infinite:
            return "the gradient dies: dl/dp is infinite there, but grows too slowly for the sigmoid's factor p (1 - p) -> 0"
        case "plateau":
            return "the sigmoid kills the gradient: dl/dp stays finite, and its factor p (1 - p) -> 0"
        case "alive":
            return (
                "the gradient stays alive: dl/dp grows as fast as the sigmoid's factor p (1 - p) falls to 0"
            )
    return "the gradient explodes: dl/dp grows faster than the sigmoid's factor p (1 - p) falls to 0"
