"""Laws of a noisy target - two values with exact weights - at which the expected loss is not least at the mean or median."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from lossproof.formula import Refuted
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove.ball import amount, ball, sign_at
from lossproof.prove.clock import Clock
from lossproof.prove.continuity import claim
from lossproof.prove.problem import Problem
from lossproof.prove.refute import grid, sample_parameters

Expr = Any
Law = tuple[tuple[Fraction, Fraction], ...]  # (value, weight)
_BAD = (sympy.nan, sympy.zoo, sympy.oo, sympy.I)
_PAIRS = tuple(
    (Fraction(a), Fraction(b))
    for a, b in (
        ("1/10", "1/2"),
        ("1/5", "9/10"),
        ("1/2", "99/100"),
        ("1/100", "7/10"),
        ("0", "1"),
        ("0", "1/2"),
        ("1/2", "1"),
    )
)


def mean_beaten(problem: Problem, clock: Clock) -> Refuted | None:
    """A law and a prediction with a smaller expected loss than at the law's mean, verified; None if none is found."""
    weights = [Fraction(w) for w in ("1/2", "1/4", "9/10")]
    laws = [((a, w), (b, 1 - w)) for a, b in _PAIRS for w in weights]
    return _beaten(problem, [(law, a_mean(law)) for law in laws], "the mean", clock)


def median_beaten(problem: Problem, clock: Clock, level: str | None = None) -> Refuted | None:
    """The same for the median, which is unique in the laws that are tried; ``level`` is that of a quantile."""
    weights = [Fraction(w) for w in ("2/3", "1/3", "51/100", "49/100")]
    with suppress(ValueError):  # a level with a parameter in it
        weights += [(Fraction(str(level)) + Fraction(1, 2)) / 2] if level else []
    laws = [((a, w), (b, 1 - w)) for a, b in _PAIRS for w in weights if w != Fraction(1, 2)]
    return _beaten(
        problem,
        [(law, law[0][0] if law[0][1] > law[1][1] else law[1][0]) for law in laws],
        "the median",
        clock,
    )


def a_mean(law: Law) -> Fraction:
    """The mean of a law.

    >>> a_mean(((Fraction(0), Fraction(1, 4)), (Fraction(1), Fraction(3, 4))))
    Fraction(3, 4)
    """
    return sum((v * w for v, w in law), Fraction(0))


def _beaten(
    problem: Problem, laws: Sequence[tuple[Law, Fraction]], name: str, clock: Clock
) -> Refuted | None:
    for values in sample_parameters(problem):
        loss = problem.expr.xreplace(values)
        made = [(law, at, expected(loss, law)) for law, at in laws if _allowed(problem, law, at)]
        made = [m for m in made if not to_elementary(m[2]).has(*_BAD)]
        # exact steps down the slope are cheap and find the faintest; a scan in floats finds far ones
        for search in (_down, _scan):
            for law, at, mean_loss in made:
                clock.check()
                for p in search(problem, mean_loss, at):
                    found = _settle(problem, law, at, p, mean_loss, values, name)
                    if found is not None:
                        return found
    return None


def expected(loss: Expr, law: Law) -> Expr:
    """E loss(Y, p) as an expression in p; conventions such as 0 log 0 = 0 applied."""
    return sympy.Add(*(sympy.Rational(w) * loss.xreplace({Y: sympy.Rational(v)}) for v, w in law))


def _allowed(problem: Problem, law: Law, at: Fraction) -> bool:
    inside = problem.prediction.low < at < problem.prediction.high
    return inside and all(float(v) in problem.target for v, _ in law)


def _down(problem: Problem, loss: Expr, at: Fraction) -> Iterator[Fraction]:
    """Points a Newton step, and parts of it, down the slope."""
    slope = to_elementary(derivative(loss, P))
    if slope.has(*_BAD):
        return
    s = sign_at(slope, {P: at})
    if not s:
        return
    bend = ball(to_elementary(derivative(derivative(loss, P), P)), {P: at})
    steep = abs(Fraction(float(ball(slope, {P: at}, bits=256).mid())))
    curved = abs(float(bend.mid())) if bend.is_finite() else 1.0
    room = min(abs(at - Fraction(problem.prediction.low if s > 0 else problem.prediction.high)), Fraction(1)) \
        if np.isfinite(problem.prediction.low if s > 0 else problem.prediction.high) else Fraction(1)  # fmt: skip
    step = min(steep / Fraction(max(curved, 1e-3)), room / 4)
    for _ in range(6):
        yield _short(at - s * step, step)
        step /= 4


def _short(x: Fraction, step: Fraction) -> Fraction:
    """The same number with few digits, well within the step: people will type it."""
    return x.limit_denominator(max(10, int(16 / step))) if step > 0 else x


def _scan(problem: Problem, loss: Expr, at: Fraction) -> Iterator[Fraction]:
    p = np.concatenate([grid(problem, float(at))])
    with np.errstate(all="ignore"):
        value = np.broadcast_to(evaluate(loss, {P: p}), p.shape)
    if np.isfinite(value).any():
        best = float(p[int(np.nanargmin(np.where(np.isfinite(value), value, np.inf)))])
        yield Fraction(best).limit_denominator(1000)
        yield Fraction(best)


def _settle(
    problem: Problem, law: Law, at: Fraction, p: Fraction, loss: Expr, values: dict[Expr, Expr], name: str
) -> Refuted | None:
    if p == at or not problem.prediction.low < p < problem.prediction.high:
        return None
    gap = loss.xreplace({P: sympy.Rational(p)}) - loss.xreplace({P: sympy.Rational(at)})
    if gap.has(*_BAD) or sign_at(gap) != -1:
        return None
    whole = expected(problem.expr, law)
    difference = to_elementary(whole) - to_elementary(whole.xreplace({P: sympy.Rational(at)}))
    parameters = tuple((str(k), str(v)) for k, v in values.items())
    said = claim(difference, "<", sympy.S.Zero, (("p", str(p)), *parameters))
    if said is None:
        return None
    places = tuple((f"y_{i}", str(v)) for i, (v, _) in enumerate(law, start=1))
    weights = tuple((f"P(Y = y_{i})", str(w)) for i, (_, w) in enumerate(law, start=1))
    witness = (*places, *weights, (name, str(at)), ("p", str(p)), *parameters)
    return Refuted(witness, said, amount(gap))


__all__ = ["a_mean", "expected", "mean_beaten", "median_beaten"]
