"""The targets a loss is computed against: from a data set or from a dump, as levels, a sample and a mean image."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lossproof.data import Images, read
from lossproof.data.facts import mean_of
from lossproof.data.images import Array, Raw
from lossproof.data.levels import Levels, levels_of
from lossproof.data.scale import Scaling, diagnose, scaling_of

SAMPLED = 2_000_000  # values of images that are looked at one by one; levels and the mean image use all
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets as the loss should see them: after the scaling that their dtype asks for.

    ``stored`` are the levels before it. ``cause`` and ``fix`` say what was probably done to values outside
    [0, 1]. ``sample`` holds some images (n, ...), ``mean_image`` and ``median_image`` one image each, all scaled.
    """

    name: str
    shape: tuple[int, ...]
    count: int
    levels: Levels
    stored: Levels
    scaling: str
    cause: str
    fix: str
    sample: Floats
    mean_image: Floats
    median_image: Floats

    @property
    def pixels(self) -> int:
        """Values of an image."""
        return math.prod(self.shape)

    @property
    def not_finite(self) -> int:
        """How many values are NaN or infinite."""
        return self.stored.total - int(self.stored.counts.sum())

    @property
    def low(self) -> float:
        """Smallest finite value, scaled."""
        return float(self.levels.values[0])

    @property
    def high(self) -> float:
        """Largest finite value, scaled."""
        return float(self.levels.values[-1])

    @property
    def mean(self) -> float:
        """Mean over all finite values, scaled."""
        return self.levels.mean(self.levels.values)

    @property
    def std(self) -> float:
        """Standard deviation over all finite values, scaled."""
        return math.sqrt(self.levels.mean((self.levels.values - self.mean) ** 2))


def of_data(
    data: "str | Path | Array | Images",
    *,
    size: int | None = None,
    grey: bool | None = None,
    key: str | None = None,
) -> Targets:
    """Read a data set's train images (all images where it has no split). Raises ``LossproofError`` as ``read`` does.

    >>> found = of_data("digits")
    >>> found.shape, round(found.mean, 3), found.stored.values.max()
    ((1, 8, 8), 0.305, np.float64(16.0))
    """
    if isinstance(data, Images):
        return of_array(data.train, data.name, Scaling(1, data.scaling))
    raw = read(data, size=size, grey=grey, key=key)
    return of_array(raw.train, raw.name, scaling_of(Raw(raw.name, raw.train, raw.source, top=raw.top)))


def of_array(array: Array, name: str, scaling: Scaling | None = None) -> Targets:
    """Look at images (n, ...); without ``scaling`` they are taken as they are."""
    divisor = 1.0 if scaling is None else scaling.divisor
    stored = levels_of(array)
    levels = Levels(stored.values / divisor, stored.counts, stored.total, stored.exact)
    cause, fix = _cause(array, stored, divisor)
    step = max(1, math.ceil(array.size / SAMPLED))
    sample = np.asarray(array[::step], np.float64) / divisor
    mean = median = np.full(array.shape[1:], np.nan)
    if int(stored.counts.sum()) == stored.total:
        mean = mean_of(array, Scaling(divisor, ""))
        median = np.median(sample, axis=0)
    return Targets(
        name=name,
        shape=tuple(array.shape[1:]),
        count=len(array),
        levels=levels,
        stored=stored,
        scaling="as given" if scaling is None else scaling.text,
        cause=cause,
        fix=fix,
        sample=sample,
        mean_image=mean,
        median_image=median,
    )


def _cause(array: Array, stored: Levels, divisor: float) -> tuple[str, str]:
    """What was probably done to values that lie outside [0, 1] after scaling, and the line that undoes it."""
    if not stored.values.size or (stored.values[0] >= 0 and stored.values[-1] <= divisor):
        return "", ""
    part = array.reshape(len(array), 1, 1, -1) if array.ndim != 4 else array
    if not np.isfinite(part).all():
        part = part[np.isfinite(part).all(axis=(1, 2, 3))]
    return diagnose([part]) if len(part) else ("", "")
