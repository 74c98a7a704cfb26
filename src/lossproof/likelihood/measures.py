"""Reference measures: what the mass of a likelihood is spread over - grey levels, the interval [0, 1], the real line."""

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lossproof.formula import REALS, UNIT, Interval, LossproofError

Array: TypeAlias = npt.NDArray[np.float64]
_MOST = 1 << 16  # levels; beyond that data are not levels but real numbers


class Levels:
    """Finitely many values, each with weight 1: ``Levels(256)`` is k/255, ``Levels.of(data)`` the data's own values.

    ``values`` are ascending float64. A likelihood on levels is a mass, in nats or bits per pixel. Raises
    ``LossproofError`` for fewer than 2 levels.

    >>> Levels(3).values.tolist(), str(Levels(256))
    ([0.0, 0.5, 1.0], '256 grey levels k/255')
    """

    unit = "nats of mass"

    def __init__(self, count: int = 256) -> None:
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or not 2 <= count <= _MOST:
            raise LossproofError(f"levels: expected a count from 2 to {_MOST}, got {count!r}.")
        self.values: Array = np.arange(count) / (count - 1)
        self.regular = True

    @classmethod
    def of(cls, data: npt.ArrayLike) -> "Levels":
        """The distinct values of the data, as levels. Raises ``LossproofError`` for over 65536 of them or for NaN.

        >>> Levels.of([[0.0, 1.0], [1.0, 0.25]]).values.tolist()
        [0.0, 0.25, 1.0]
        """
        values = np.unique(np.asarray(data, dtype=np.float64))
        if not np.isfinite(values).all():
            raise LossproofError(
                "levels: expected finite data, got NaN or infinity. Look where they come from."
            )
        if not 2 <= values.size <= _MOST:
            raise LossproofError(
                f"levels: expected data of 2 to {_MOST} distinct values, got {values.size}. "
                "For values without a lattice use measure='interval'."
            )
        made = cls(2)
        made.values = values
        made.regular = bool(
            values.size == 2 or np.allclose(np.diff(values), values[1] - values[0], rtol=1e-9)
        )
        return made

    @property
    def domain(self) -> Interval:
        """The closed interval from the first level to the last."""
        return Interval(float(self.values[0]), float(self.values[-1]))

    @property
    def count(self) -> int:
        """How many levels there are."""
        return int(self.values.size)

    def nearest(self, values: npt.ArrayLike) -> Array:
        """The level nearest to each value, the lower of two as near.

        >>> Levels(3).nearest([0.1, 0.4]).tolist()
        [0.0, 0.5]
        """
        wanted = np.asarray(values, dtype=np.float64)
        return np.asarray(self.values[np.abs(self.values - wanted[..., None]).argmin(axis=-1)])

    def index(self, y: npt.ArrayLike, label: str = "levels") -> npt.NDArray[np.int64]:
        """Which level each value is, shape as the input's. Values a thousandth of a step off count as the level.

        Raises ``LossproofError`` for values between levels, naming the first and its neighbours.

        >>> Levels(256).index([0.0, 51 / 255]).tolist()
        [0, 51]
        >>> Levels(2).index(0.3)
        Traceback (most recent call last):
            ...
        lossproof.formula.errors.LossproofError: levels: expected targets on 2 grey levels k/1, got 1 of 1 values between
        levels, first 0.3 at [] (between 0 and 1). Use Levels.of(data) for the data's own levels, or measure='interval'.
        """
        a = np.asarray(y)
        wide = a.astype(np.float64)
        right = np.clip(np.searchsorted(self.values, wide), 1, self.count - 1)
        below, above = self.values[right - 1], self.values[right]
        nearest = np.where(wide - below <= above - wide, right - 1, right)
        off = np.abs(wide - self.values[nearest])
        bad = ~(off <= 1e-3 * (above - below))
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0]) if a.ndim else ()
            value = float(wide[first])
            if np.issubdtype(a.dtype, np.integer) or (
                np.nanmax(wide, initial=-np.inf) > 1 and self.values[-1] <= 1
            ):
                advice = "Divide by 255?"
            elif a.dtype == np.float16:
                advice = "float16 cannot hold 256 levels apart safely: convert the bytes to float32."
            else:
                advice = "Use Levels.of(data) for the data's own levels, or measure='interval'."
            near = f" (between {below[first]:g} and {above[first]:g})" if value in self.domain else ""
            raise LossproofError(
                f"{label}: expected targets on {self}, got {int(bad.sum())} of {a.size} values between levels, "
                f"first {value:g} at {list(first)}{near}. {advice}"
            )
        return np.asarray(nearest, dtype=np.int64)

    def __str__(self) -> str:
        grey = self.values[0] == 0 and self.values[-1] == 1 and self.regular
        return f"{self.count} grey levels k/{self.count - 1}" if grey else f"{self.count} levels of the data"

    def __repr__(self) -> str:
        return f"<{self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Levels) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.values.tobytes())


@dataclass(frozen=True)
class UnitInterval:
    """The interval [0, 1] with its length: a likelihood on it is a density, in nats; never in bits per pixel."""

    domain: Interval = field(default=UNIT, init=False)
    unit: str = field(default="nats of density on [0, 1]", init=False)

    def __str__(self) -> str:
        return "the interval [0, 1]"


@dataclass(frozen=True)
class RealLine:
    """The real line with its length: a likelihood on it is a density, in nats; never in bits per pixel."""

    domain: Interval = field(default=REALS, init=False)
    unit: str = field(default="nats of density on the real line", init=False)

    def __str__(self) -> str:
        return "the real line"


Measure: TypeAlias = Levels | UnitInterval | RealLine
_NAMED: dict[str, Any] = {"levels": Levels, "interval": UnitInterval, "line": RealLine}


def measure_of(spec: object) -> Measure:
    """A reference measure from "levels" (256 of them), "interval", "line", a number of levels, or itself.

    >>> str(measure_of("line")), str(measure_of(16))
    ('the real line', '16 grey levels k/15')
    """
    if isinstance(spec, Levels | UnitInterval | RealLine):
        return spec
    if isinstance(spec, str) and spec in _NAMED:
        made: Measure = _NAMED[spec]()
        return made
    if isinstance(spec, int) and not isinstance(spec, bool):
        return Levels(spec)
    raise LossproofError(
        f"measure: expected levels, interval, line, a number of levels or Levels.of(data), got {spec!r}."
    )


def need_mass(measure: Measure, label: str) -> None:
    """Refuse bits per pixel where there is a density, and no mass."""
    if not isinstance(measure, Levels):
        raise LossproofError(
            f"{label}: expected a likelihood on levels for bits per pixel, got one on {measure}: a density is no mass, and "
            "its bits depend on the unit of y. Use measure='levels', or log_prob in nats."
        )


def positive_temperature(value: object, label: str = "likelihood") -> float:
    """The temperature as a float, if it is finite and from 1e-10 to 1e12: beyond, loss/T or the law has no digits left.

    >>> positive_temperature(0)
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: likelihood: expected a finite temperature T > 0, got 0. T is what the
    loss is divided by: exp(-loss/T).
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not (number > 0 and math.isfinite(number)):
        raise LossproofError(
            f"{label}: expected a finite temperature T > 0, got {value}. T is what the loss is divided by: exp(-loss/T)."
        )
    if number < SMALLEST:
        raise LossproofError(
            f"{label}: expected a temperature T of at least {SMALLEST:g}, got {number:g}: loss/T loses all digits there. "
            "The likelihood of perfect predictions grows without bound as T falls: bound T from below."
        )
    if number > LARGEST:
        raise LossproofError(
            f"{label}: expected a temperature T of at most {LARGEST:g}, got {number:g}: exp(-loss/T) is flat there, and on "
            "the real line wider than float64 can tell one target from another. Lower T."
        )
    return number


SMALLEST, LARGEST = 1e-10, 1e12

__all__ = ["Levels", "Measure", "RealLine", "UnitInterval", "measure_of", "need_mass", "positive_temperature"]
