"""What one pass over images shows of their values: ends, what is not finite or outside, levels, the mean image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lossproof.data.facts_counts import Counter
from lossproof.data.images import Array
from lossproof.data.levels import Levels

if TYPE_CHECKING:
    from lossproof.data.mapped import Mapped

BLOCK = 1 << 20  # values looked at in one go, so that a big data set needs no second copy
HEAD = 4096  # images that a guess is made from
HEAD_VALUES = 1 << 24  # and their values, at most
STEPS: tuple[int, ...] = (1, 16, 255, 65535)  # of the lattices k / steps that are looked for
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Place = tuple[list[int], float]


def blocks(array: Array | Mapped) -> Iterator[tuple[Array, Numbers]]:
    """An array of images (n, ...) in blocks, with the numbers of the images; views, no copies."""
    step = max(1, BLOCK // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), step):
        block = array[start : start + step]
        yield block, np.arange(start, start + len(block))


class Range:
    """Ends of the values of each channel, and whatever is wrong with them; blocks of images (n, c, h, w) are fed in order.

    ``top`` is the largest value allowed. ``lows`` and ``highs`` are of finite values; ``lost`` and ``outside`` count
    values that are not finite, and finite ones outside [0, top], each with the first of them: its index and value.
    ``steps``: the lattices k / steps that hold all values, of floats alone. ``head``: the first images, to guess from.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any], top: float = 1.0) -> None:
        self.images, self.dtype, self.top, self.count = shape, dtype, top, 0
        self.lows, self.highs = np.full(shape[0], np.inf), np.full(shape[0], -np.inf)
        self.nan = self.infinite = self.outside = 0
        self.first_lost: Place | None = None
        self.first_outside: Place | None = None
        self.steps = STEPS if dtype.kind == "f" else ()
        self._head: list[Array] = []
        self._room = max(1, min(HEAD, HEAD_VALUES // max(1, math.prod(shape))))

    def feed(self, images: Array, numbers: Numbers) -> None:
        """Take images with their numbers."""
        if not images.size:
            return
        if self._room:
            self._head.append(images[: self._room].copy())
            self._room -= len(self._head[-1])
        self.count += len(images)
        if images.dtype.kind != "f":
            low, high = images.min(), images.max()
            self.lows, self.highs = np.minimum(self.lows, low), np.maximum(self.highs, high)
        else:
            # NaN is contagious: a number for each channel tells whether any value is lost, without a mask
            lows, highs = images.min(axis=(0, 2, 3)), images.max(axis=(0, 2, 3))
            if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
                bad = ~np.isfinite(images)
                nan = int(np.isnan(images).sum())
                self.nan, self.infinite = self.nan + nan, self.infinite + int(bad.sum()) - nan
                self.first_lost = self.first_lost or _first(images, bad, numbers)
                lows = np.where(bad, np.inf, images).min(axis=(0, 2, 3))
                highs = np.where(bad, -np.inf, images).max(axis=(0, 2, 3))
            self.lows, self.highs = np.minimum(self.lows, lows), np.maximum(self.highs, highs)
            low, high = lows.min(), highs.max()
            if self.steps:
                self.steps = on_lattice(images, self.steps)
        if low < 0 or high > self.top:
            with np.errstate(invalid="ignore"):
                bad = ((images < 0) | (images > self.top)) & np.isfinite(images)
            self.outside += int(bad.sum())
            if bad.any():
                self.first_outside = self.first_outside or _first(images, bad, numbers)

    @property
    def low(self) -> float:
        """The smallest finite value."""
        return float(self.lows.min())

    @property
    def high(self) -> float:
        """The largest finite value."""
        return float(self.highs.max())

    @property
    def lost(self) -> int:
        """How many values are not finite."""
        return self.nan + self.infinite

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of all images."""
        return (self.count, *self.images)

    @property
    def size(self) -> int:
        """How many values there are."""
        return math.prod(self.shape)

    @property
    def head(self) -> Array:
        """The first images that are finite."""
        found = np.concatenate(self._head)
        return found[np.isfinite(found).all(axis=(1, 2, 3))] if self.lost else found


class Tally:
    """How often each value occurs and the mean image, of images (n, c, h, w) fed in blocks."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.counter = Counter(dtype)
        self.sums: Floats = np.zeros(shape)
        self.count = self.values = 0
        self.equal_channels = shape[0] == 3

    def feed(self, images: Array) -> None:
        """Take images; values that are not finite are left out of the counts, and spoil the mean image."""
        self.count, self.values = self.count + len(images), self.values + images.size
        flat = np.ascontiguousarray(images).reshape(-1)
        finite = np.isfinite(flat) if images.dtype.kind == "f" else None
        self.counter.feed(flat if finite is None or finite.all() else flat[finite])
        self.sums += images.sum(axis=0, dtype=np.float64)
        if self.equal_channels:
            self.equal_channels = bool((images[:, :1] == images).all())

    def levels(self, divisor: float = 1.0) -> Levels:
        """The distinct values over ``divisor``."""
        found = self.counter.levels(self.values)
        # divided, not multiplied by 1/divisor: 255/255 is 1
        return Levels(found.values / divisor, found.counts, found.total, exact=found.exact)

    def mean(self, divisor: float = 1.0) -> Floats:
        """The mean image over ``divisor``, (c, h, w)."""
        mean: Floats = self.sums / max(1, self.count) / divisor
        return mean


def on_lattice(values: Array, steps: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the lattices k / steps that hold all of the values, up to what float32 rounds."""
    wide = values.astype(np.float64)
    kept = []
    for k in steps:
        with np.errstate(invalid="ignore"):
            off = float(np.abs(wide * k - np.rint(wide * k)).max())
        if off <= 1e-6 + k * 1.2e-7:
            kept.append(k)
    return tuple(kept)


def levels_of(array: Array, divisor: float = 1.0) -> Levels:
    """Count the distinct values of an array (n, ...), divided by ``divisor``; NaN and infinite ones are left out.

    >>> found = levels_of(np.array([[0, 51], [51, 255]], np.uint8), 255)
    >>> found.values.tolist(), found.counts.tolist()
    ([0.0, 0.2, 1.0], [1, 2, 1])
    """
    return tally_of(array.reshape(len(array), 1, 1, -1)).levels(divisor)


def tally_of(array: Array) -> Tally:
    """The tally of an array (n, c, h, w)."""
    found = Tally(array.shape[1:], array.dtype)
    for block, _ in blocks(array):
        found.feed(block)
    return found


def range_of(array: Array, top: float = 1.0) -> Range:
    """The range of an array (n, c, h, w)."""
    found = Range(array.shape[1:], array.dtype, top)
    for block, numbers in blocks(array):
        found.feed(block, numbers)
    return found


def _first(images: Array, mask: npt.NDArray[np.bool_], numbers: Numbers) -> Place:
    place = [int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape)]
    return [int(numbers[place[0]]), *place[1:]], float(images[tuple(place)])


__all__ = ["BLOCK", "HEAD", "Range", "Tally", "blocks", "levels_of", "on_lattice", "range_of", "tally_of"]
