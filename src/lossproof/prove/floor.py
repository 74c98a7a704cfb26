"""The floor: the least loss at each target, its formula, and how low and high it gets over all targets."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import sympy

from lossproof.formula import Certified, Claim, LossproofError, Proved, Refuted, Step, Unknown, Verdict
from lossproof.formula.functions import derivative, maximum, minimum, to_elementary
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.prove.ball import ball
from lossproof.prove.borders import symbolic
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.diagonal import has_value
from lossproof.prove.ends import left_out
from lossproof.prove.identity import vanishes
from lossproof.prove.limits import HIGH, LOW, by_target, coefficient_sign, limit, written
from lossproof.prove.peak import peak
from lossproof.prove.problem import Line, Problem
from lossproof.prove.regions import together

Expr = Any
STATEMENT = "for every y the least loss is loss(y, y)"
_SHORT = 60  # operations up to which a formula is simplified


@dataclass(frozen=True)
class Extremes:
    """Least and largest value of the floor over the targets, as details show them, with the steps if proved."""

    minimum: dict[str, Any]
    maximum: dict[str, Any]
    finite: bool | None
    steps: tuple[Step, ...] = ()


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The line "floor"; it rests on the line "minimum"."""
    start = time.monotonic()
    line = known.get("minimum")
    verdict = line.verdict if line is not None else Unknown("whether p = y is a minimum was not asked")
    if isinstance(verdict, Refuted):
        yield _elsewhere(problem, verdict, known.get("minimiser"), clock, start)
        return
    floor, formula, step = tidy(problem.floor, clock, _at(problem, "y"))
    statement = f"{STATEMENT} = {formula}" if formula is not None else STATEMENT
    details: dict[str, Any] = {"formula": formula}
    steps = [step] if step is not None else []
    reason = symbolic(problem) if floor.free_symbols else ""
    if not reason:
        found = extremes(floor, clock)
        details |= {"minimum": found.minimum, "maximum": found.maximum, "finite": found.finite}
        steps += found.steps
    steps.append(Step("p = y is a global minimiser: the line minimum"))
    made: Verdict
    match verdict:
        case Proved() | Certified() if not has_value(problem, clock):
            made = Unknown("loss(y, y) is not shown to have a value for every y")
        case Proved() | Certified():
            domain = verdict.domain + left_out(
                problem, "least loss", floor, problem.floor, lambda loss: loss, clock
            )
            made = type(verdict)("substitution of p = y", domain, tuple(steps))
        case _:
            made = Unknown(f"whether p = y is a minimum is not settled: {verdict.reason}")
    yield Line("floor", statement, made, details, time.monotonic() - start)


def _elsewhere(
    problem: Problem, refuted: Refuted, minimiser: Line | None, clock: Clock, start: float
) -> Line:
    """p = y is not best: the floor through the minimiser's closed form if one is proved, else no formula."""
    _, at_target, _ = tidy(problem.floor, clock)
    details: dict[str, Any] = {
        "formula": None,
        "at_target": at_target,
        "unbounded": _unbounded(problem, clock),
    }
    where = minimiser.details.get("formula") if minimiser is not None else None
    if minimiser is not None and isinstance(where, str) and isinstance(minimiser.verdict, Proved | Certified):
        try:
            best = parse(where, params={s.name: s for s in problem.parameters})
        except LossproofError:
            best = None
        if best is not None:
            floor, formula, step = tidy(problem.expr.xreplace({P: best}), clock, _at(problem, where))
            details |= {"formula": formula, "where": where}
            if not symbolic(problem):
                found = extremes(floor, clock)
                details |= {"minimum": found.minimum, "maximum": found.maximum, "finite": found.finite}
            if formula is not None and step is not None:
                statement = f"for every y the least loss is {formula}, at p = {where}, not loss(y, y)"
                same = Proved if isinstance(minimiser.verdict, Proved) else Certified
                steps = (step, Step(f"p = {where} is the minimiser: the line minimiser"))
                made = same("substitution of the minimiser", minimiser.verdict.domain, steps)
                return Line("floor", statement, made, details, time.monotonic() - start)
    return Line("floor", STATEMENT, refuted, details, time.monotonic() - start)


def _unbounded(problem: Problem, clock: Clock) -> list[str]:
    """Targets at which the loss falls to -oo as p comes to an end of [0, 1]."""
    found = []
    if not symbolic(problem):
        for name, (loss, _) in by_target(problem).items():
            for end in (LOW, HIGH):
                at_end = limit(loss, end, clock)
                if at_end is not None and at_end.proved and at_end.value == -sympy.oo:
                    found.append(f"{name}, {end}")
    return found


def tidy(floor: Expr, clock: Clock, source: str | None = None) -> tuple[Expr, str | None, Step | None]:
    """A floor in textbook form, as short as bounded work makes it; shown to be equal, and how it is written.

    ``source`` is the text of what it is the value of, for the claim.

    >>> from lossproof.formula.functions import xlogy
    >>> tidy(xlogy(Y, Y) - xlogy(Y, Y/2), Clock.for_ever())[1]
    'y*log(2)'
    """
    plain = to_elementary(floor)
    forms = [floor, plain] if floor.has(maximum, minimum) else [plain]
    if plain.count_ops() < _SHORT and not plain.has(sympy.Piecewise, sympy.Abs, sympy.sign):
        clock.check()
        positive = sympy.Dummy("y", positive=True)  # logs of products come apart; checked below
        inside = plain.xreplace({Y: positive})
        joined = together(inside)
        for form in (joined, sympy.expand_log(joined), sympy.factor(inside), sympy.simplify(inside)):
            forms.append(form.xreplace({positive: Y}))
    forms.sort(key=lambda e: (e.count_ops(), len(str(e))))
    best = next(
        (f for f in forms if f == plain or (written(f) is not None and vanishes(f - plain, clock))), plain
    )
    left, right = source or written(plain), written(best)
    if left is None or right is None:
        return plain, None, None
    names = sorted(str(x) for x in plain.free_symbols - {Y})
    said = None if names else Claim(left, "=", right, (("y", "(0, 1)"),))
    return best, right, Step(f"{'loss(y, y)' if source is None else left} = {right}", said)


def _at(problem: Problem, best: str) -> str | None:
    """The loss as text with a prediction put in, not evaluated."""
    text = written(problem.expr)
    return None if text is None else re.sub(r"\bp\b", best if best == "y" else f"({best})", text)


def extremes(floor: Expr, clock: Clock) -> Extremes:
    """Least and largest value over 0 < y < 1 and the limits at its ends: exact where the floor's slope has known signs.

    >>> entropy = -Y*sympy.log(Y) - (1 - Y)*sympy.log(1 - Y)
    >>> found = extremes(entropy, Clock.for_ever())
    >>> found.maximum, found.minimum
    ({'value': 'log(2)', 'at': ['1/2']}, {'value': '0', 'at': ['0', '1']})
    """
    if not floor.free_symbols:
        value = {"value": written(floor), "at": ["every y"]}
        return Extremes(value, value, floor.is_finite)
    f = floor.xreplace({Y: P})
    ends = [limit(f, end, clock) for end in (LOW, HIGH)]
    finite = None if None in ends else not any(e is not None and e.infinite for e in ends)
    values: dict[Fraction, Expr] = {}
    if None not in ends:
        values = {Fraction(i): e.value for i, e in enumerate(ends) if e is not None}
        steps = [Step(f"loss(y, y) -> {e.text} as y -> {e.end.at}", None) for e in ends if e is not None]
        shown = _monotone(floor, clock)
        if shown is not None:
            turns, monotone = shown
            values |= {t: to_elementary(floor.xreplace({Y: _rational(t)})) for t in turns}
            return Extremes(_best(values, -1), _best(values, 1), finite, (*steps, *monotone))
    return Extremes(_enclosed(f, clock, -1), _enclosed(f, clock, 1), finite)


def _rational(x: Fraction) -> Expr:
    return sympy.Rational(x.numerator, x.denominator)


def _monotone(floor: Expr, clock: Clock) -> tuple[list[Fraction], list[Step]] | None:
    """Rational places that cut (0, 1) into pieces on which the slope has one sign, with the steps."""
    if floor.has(sympy.Piecewise, sympy.Abs, sympy.sign):
        return None
    slope = to_elementary(derivative(floor, Y))
    half = Fraction(1, 2)
    turns = [half] if vanishes(slope.xreplace({Y: _rational(half)}), clock) else []
    cuts = [Fraction(0), *turns, Fraction(1)]
    steps = []
    for low, high in pairwise(cuts):
        direction = coefficient_sign(slope, clock, (low, high))
        text = written(slope)
        if not direction or text is None:
            return None
        relation = ">" if direction > 0 else "<"
        said = Claim(text, relation, "0", (("y", f"({low}, {high})".replace("1/2", "0.5")),))
        steps.append(
            Step(f"loss(y, y) {'grows' if direction > 0 else 'falls'} for y in ({low}, {high})", said)
        )
    return turns, steps


def _best(values: Mapping[Fraction, Expr], way: int) -> dict[str, Any]:
    """The largest (way 1) or least (way -1) of exact values; ties within a ball of 256 bits count as equal."""
    infinite = [y for y, v in values.items() if v == way * sympy.oo]
    if infinite:
        return {"value": str(way * sympy.oo), "at": [str(y) for y in infinite]}
    finite = {y: v for y, v in values.items() if v not in (sympy.oo, -sympy.oo)}
    balls = {y: way * ball(v, {}, bits=256) for y, v in finite.items()}
    top = max(balls, key=lambda y: float(balls[y].mid()))
    at = [y for y in balls if not balls[y] < balls[top]]
    return {"value": written(finite[top]), "at": [str(y) for y in sorted(at)]}


def _enclosed(f: Expr, clock: Clock, way: int) -> dict[str, Any]:
    # p log p is bounded where it stands by itself
    positive = sympy.Dummy("p", positive=True)
    inside = together(f.xreplace({P: positive})) if f.count_ops() < 4 * _SHORT else f.xreplace({P: positive})
    # where log(a b) is defined and log(a) is not, the enclosure is undefined and shows nothing
    apart = sympy.expand_log(inside, force=True).xreplace({positive: P})
    try:
        found = peak(way * apart, clock.part(0.3), of=lambda v: v)
    except (LossproofError, OutOfTime):
        return {"value": None, "at": None}
    if found.high == float("inf"):
        return {"value": None, "at": None}
    return {"value": sorted([way * found.low, way * found.high]), "at": [repr(float(found.at))]}
