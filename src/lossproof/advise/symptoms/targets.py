"""The targets a loss is computed against: from a data set or from a dump, as levels, a sample and a mean image."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.data import Images
from lossproof.data.images import Array
from lossproof.data.levels import Levels
from lossproof.data.scale import Scaling, diagnose, scaling_from
from lossproof.data.scan import Numbers, Range, Tally, blocks
from lossproof.data.stream import open_stream
from lossproof.formula import LossproofError

SAMPLED = 2_000_000  # values of images that are looked at one by one; levels and the mean image use all
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets as the loss should see them: after the scaling that their dtype asks for.

    ``stored`` are the levels before it. ``cause`` and ``fix`` say what was probably done to values outside
    [0, 1]; ``note`` which pictures could not be read. ``sample`` holds some images (n, ...), ``mean_image`` and
    ``median_image`` one image each, all scaled.
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
    note: str = ""

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
    progress: Callable[[int, int], None] | None = None,
) -> Targets:
    """Read a data set's train images (all images where it has no split) once, in constant memory.

    Raises ``LossproofError`` as ``read`` does.

    >>> found = of_data("digits")
    >>> found.shape, round(found.mean, 3), found.stored.values.max()
    ((1, 8, 8), 0.305, np.float64(16.0))
    """
    if isinstance(data, Images):
        return of_array(data.train, data.name, Scaling(1, data.scaling))
    stream = open_stream(data, size=size, grey=grey, key=key)
    stream.parts = stream.parts[:1]
    top = stream.top if stream.top is not None else 1.0 if stream.dtype.kind == "f" else np.inf
    collected = _Collected(stream.shape, stream.dtype, stream.count, top)
    for block in stream.blocks():
        collected.feed(block.images, block.numbers)
        if progress is not None:
            progress(collected.range.count, stream.count)
    if not collected.range.count:
        raise LossproofError(
            f"{stream.name}: expected pictures, got none that can be read ({stream.skipped_count} damaged)."
        )
    found = collected.targets(stream.name, scaling_from(stream.name, [collected.range], stream.top))
    return replace(found, note=stream.skipped_note()) if stream.skipped_count else found


def of_array(array: Array, name: str, scaling: Scaling | None = None) -> Targets:
    """Look at images (n, ...); without ``scaling`` they are taken as they are."""
    shape = tuple(array.shape[1:])
    images = array if array.ndim == 4 else array.reshape(len(array), 1, 1, -1)
    collected = _Collected(
        images.shape[1:], array.dtype, len(array), 1.0 if scaling is None else scaling.divisor
    )
    for block, numbers in blocks(images):
        collected.feed(block, numbers)
    return collected.targets(name, scaling, shape)


class _Collected:
    """What one pass gathers: the range, the levels and the mean image, and some images."""

    def __init__(self, shape: tuple[int, int, int], dtype: "np.dtype[Any]", count: int, top: float) -> None:
        self.range, self.tally = Range(shape, dtype, top), Tally(shape, dtype)
        self.step = max(1, math.ceil(count * math.prod(shape) / SAMPLED))
        self.sample: list[Array] = []

    def feed(self, images: Array, numbers: Numbers) -> None:
        self.range.feed(images, numbers)
        self.tally.feed(images)
        self.sample.append(images[numbers % self.step == 0])

    def targets(self, name: str, scaling: Scaling | None, shape: tuple[int, ...] | None = None) -> Targets:
        shape = shape or self.range.images
        divisor = 1.0 if scaling is None else scaling.divisor
        stored = self.tally.levels()
        levels = Levels(stored.values / divisor, stored.counts, stored.total, stored.exact)
        outside = stored.values.size and (stored.values[0] < 0 or stored.values[-1] > divisor)
        cause, fix = diagnose([self.range]) if outside else ("", "")
        sample = np.asarray(np.concatenate(self.sample), np.float64).reshape(-1, *shape) / divisor
        mean = median = np.full(shape, np.nan)
        if not self.range.lost:
            mean, median = self.tally.mean(divisor).reshape(shape), np.median(sample, axis=0)
        return Targets(
            name=name,
            shape=shape,
            count=self.range.count,
            levels=levels,
            stored=stored,
            scaling="as given" if scaling is None else scaling.text,
            cause=cause,
            fix=fix,
            sample=sample,
            mean_image=mean,
            median_image=median,
        )
