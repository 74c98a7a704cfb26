"""The formula as it is written: a place inside the domain where it has no real value, before anything cancels."""

import random
from fractions import Fraction
from math import inf

from lossproof.formula import Interval, LossproofError
from lossproof.prove.problem import Problem
from lossproof.rechecking.values import Broken, Undecided, ball, precision, value

_POINTS = 60


def without_value(problem: Problem) -> str | None:
    """Why nothing is said of a formula that is no number at some targets and predictions inside; None if it is.

    SymPy takes sqrt(p - 1/2)**2 for p - 1/2, and so gives it a value for p < 1/2 that the code of a user has not.
    Only random exact points are looked at: single points such as (p - 1/2)/(p - 1/2) at 1/2 are passed over.

    >>> from lossproof.catalogue import CATALOGUE, resolve
    >>> without_value(Problem(CATALOGUE["bce"])) is None
    True
    >>> without_value(Problem(resolve("(y - p)**2 + sqrt(p - 1/2)**2")))[:47]
    'the formula as written has no real value at y ='
    """
    rng = random.Random(0)
    given = {n: Fraction(repr(v)) if problem.decimal else Fraction(v) for n, v in problem.loss.values.items()}
    free = {p.name: p.interval for p in problem.free}
    for _ in range(_POINTS):
        at = {**given, **{n: _draw(i, rng) for n, i in free.items()}}
        at |= {"y": _draw(problem.target, rng), "p": _draw(problem.prediction, rng)}
        try:
            with precision(128):
                found = ball(value(problem.loss.formula, at, decimal=problem.decimal))
        except (Undecided, Broken, LossproofError, RecursionError):  # the last: a thousand terms and more
            continue
        if found.is_nan():
            shown = ", ".join(f"{n} = {at[n]}" for n in ("y", "p"))
            return (
                f"the formula as written has no real value at {shown}; look at its logs, roots and divisions"
            )
    return None


def _draw(interval: Interval, rng: random.Random) -> Fraction:
    """An exact point inside an interval."""
    share = Fraction(rng.randrange(1, 997), 997)
    low, high = interval.low, interval.high
    if low == -inf and high == inf:
        return 8 * share - 4
    if high == inf:
        return Fraction(low) + 8 * share
    if low == -inf:
        return Fraction(high) - 8 * share
    return Fraction(low) + (Fraction(high) - Fraction(low)) * share
