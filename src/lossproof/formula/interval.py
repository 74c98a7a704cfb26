"""Intervals of the real line with open or closed ends: the domains of targets, predictions and parameters."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.formula.errors import LossproofError


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval of the extended real line.

    Raises ``LossproofError`` for ends that are NaN, in the wrong order, or infinite and closed.

    >>> unit = Interval(0, 1)
    >>> str(unit), 0.5 in unit, 1.5 in unit
    ('[0, 1]', True, False)
    >>> str(Interval(0, math.inf, low_open=True, high_open=True))
    '(0, inf)'
    """

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise LossproofError(f"interval: expected low <= high, got low = {self.low}, high = {self.high}.")
        if (math.isinf(self.low) and not self.low_open) or (math.isinf(self.high) and not self.high_open):
            raise LossproofError(f"interval: expected an infinite end to be open, got {self}.")

    def __str__(self) -> str:
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"

    def __contains__(self, x: float) -> bool:
        return bool(self.contains(x))

    def contains(self, x: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Tell element-wise whether values lie inside; NaN lies nowhere. Shape as the input's.

        >>> Interval(0, 1).contains([0.0, 1.5, float("nan")]).tolist()
        [True, False, False]
        """
        a = np.asarray(x)
        above = a > self.low if self.low_open else a >= self.low
        below = a < self.high if self.high_open else a <= self.high
        return np.asarray(above & below)

    def covers(self, other: "Interval") -> bool:
        """Tell whether another interval lies inside this one.

        >>> REALS.covers(UNIT), UNIT.covers(REALS)
        (True, False)
        """
        low = self.low < other.low or (self.low == other.low and (not self.low_open or other.low_open))
        high = self.high > other.high or (self.high == other.high and (not self.high_open or other.high_open))
        return low and high

    def sample(self, rng: np.random.Generator, n: int) -> npt.NDArray[np.float64]:
        """Draw points that lie inside, the closed ends among them; far tails where an end is infinite.

        >>> bool(UNIT.contains(UNIT.sample(np.random.default_rng(0), 50)).all())
        True
        """
        if math.isinf(self.low) and math.isinf(self.high):
            x = rng.standard_cauchy(n)
        elif math.isinf(self.high):
            x = self.low + rng.exponential(2.0, n)
        elif math.isinf(self.low):
            x = self.high - rng.exponential(2.0, n)
        else:
            x = rng.uniform(self.low, self.high, n)
        ends: list[float] = [
            e for e, is_open in ((self.low, self.low_open), (self.high, self.high_open)) if not is_open
        ]
        x[: len(ends)] = ends[: len(x)]
        kept: npt.NDArray[Any] = x[self.contains(x)]
        return kept


UNIT = Interval(0, 1)
OPEN_UNIT = Interval(0, 1, low_open=True, high_open=True)
REALS = Interval(-math.inf, math.inf, low_open=True, high_open=True)
NON_NEGATIVE = Interval(0, math.inf, high_open=True)
POSITIVE = Interval(0, math.inf, low_open=True, high_open=True)
