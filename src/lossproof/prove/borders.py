"""What the loss and its derivative tend to as p -> 0 and p -> 1: finite values, infinities, and the targets at fault."""

import time
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

import sympy

from lossproof.formula import Proved, Step, Unknown, Verdict
from lossproof.formula.symbols import Y
from lossproof.prove.clock import Clock
from lossproof.prove.limits import HIGH, LOW, End, Free, Limit, by_target, cuts, limit
from lossproof.prove.problem import Line, Problem

Expr = Any
_METHOD = "leading terms at the end of the interval"


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The line "borders": limits of the loss and of dl/dp as p -> 0 and p -> 1, for y = 0, y inside and y = 1."""
    start = time.monotonic()
    reason = unsuitable(problem)
    if reason:
        yield Line("borders", "values and slopes as p -> 0 and p -> 1", Unknown(reason))
        return
    free = Free.of(problem)
    details: dict[str, Any] = {}
    steps: list[Step] = []
    missing: list[str] = []
    for end in (LOW, HIGH):
        cases: dict[str, Any] = {}
        for name, pair in by_target(problem).items():
            for case, found in _cases(name, pair, end, clock, free):
                cases[case] = {"value": found[0] and found[0].text, "slope": found[1] and found[1].text}
                for what, at_end in zip(("l", "dl/dp"), found, strict=True):
                    if at_end is not None and at_end.proved:
                        steps.append(Step(f"{case}: {what} -> {at_end.text} as {end}", at_end.claim))
                    else:
                        missing.append(f"{what} for {case} as {end}")
        details[_side(end)] = cases
    verdict: Verdict = Proved(_METHOD, _domain(problem), tuple(steps))
    if missing or not steps:
        verdict = Unknown(
            "no limit is shown of " + ", ".join(missing) if missing else "not defined at any target"
        )
    yield Line("borders", _statement(details), verdict, details, time.monotonic() - start)


def unsuitable(problem: Problem) -> str:
    """Why limits at the ends of [0, 1] say nothing of this problem; empty where they do."""
    if (problem.prediction.low, problem.prediction.high) != (0, 1):
        return f"predictions lie in {problem.prediction}: only 0 and 1 are looked at"
    if not (problem.target.low >= 0 and problem.target.high <= 1):
        return f"targets lie in {problem.target}: only those in [0, 1] are looked at"
    return ""


def symbolic(problem: Problem) -> str:
    """The same where parameters must have values, too."""
    return unsuitable(problem) or ("not attempted with symbolic parameters" if problem.free else "")


def _side(end: End) -> str:
    return f"p -> {end.at}"


def _cases(
    name: str, pair: tuple[Expr, Expr], end: End, clock: Clock, free: Free
) -> Iterator[tuple[str, list[Limit | None]]]:
    """Limits of loss and slope for the targets of a name; y inside in parts where a kink asks for it."""
    clock.check()
    found = [limit(e, end, clock, free=free) for e in pair]
    if name == "y inside" and None in found:
        places = cuts(pair[0], end)[:4]
        if places:
            edges = [Fraction(0), *places, Fraction(1)]
            for part in pairwise(edges):
                yield f"y in ({part[0]}, {part[1]})", [limit(e, end, clock, part, free) for e in pair]
            for y in places:
                at = {Y: sympy.Rational(y.numerator, y.denominator)}
                yield f"y = {y}", [limit(e.xreplace(at), end, clock, free=free) for e in pair]
            return
    yield name, found


def _domain(problem: Problem) -> str:
    cases = by_target(problem)
    out = [name[4:] for name in ("y = 0", "y = 1") if name not in cases]
    return f"y in {problem.target}" + "".join(f", y != {end}" for end in out)


def _statement(details: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """One sentence an end: where the loss and its slope are infinite; else that they are finite."""
    said = []
    for side, cases in details.items():
        words = []
        for what, name in (("value", "the loss"), ("slope", "its slope")):
            infinite = [f"{y} ({e[what]})" for y, e in cases.items() if e[what] in ("oo", "-oo")]
            unknown = [y for y, e in cases.items() if e[what] is None]
            if infinite:
                words.append(f"{name} is infinite for {' and '.join(infinite)}")
            elif not unknown:
                words.append(f"{name} stays finite")
            else:
                words.append(f"{name} has no limit shown for {' and '.join(unknown)}")
        said.append(f"as {side} " + ", ".join(words))
    return "; ".join(said)
