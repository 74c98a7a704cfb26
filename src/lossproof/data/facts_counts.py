"""Counting values as they stream by: exact while there are few, in bins beyond."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.data.images import Array
from lossproof.data.levels import INNER, MOST, Levels, place

_SHIFT = 12  # bits of a float32 that a bin leaves out: bins are 2^-11 wide, relative to the value
_KEYS = 1 << (32 - _SHIFT)
#: pixels whose values are counted one by one, and bins for values that are no small integers
PLACES = 4096
_BINS = 64


class Counter:
    """Distinct values and how often each occurs; at most 65,536 of them, then bins, each stood for by its values' mean.

    In [0, 1] the bins are those of ``levels.place`` (an entropy is off by some 1e-8 nats a value), with 0 and 1 apart;
    beyond they are float32's leading bits, 2^-11 wide relative to the value.
    """

    def __init__(self, dtype: "np.dtype[Any]") -> None:
        self.small = dtype.kind == "b" or (dtype.kind == "u" and dtype.itemsize <= 2)
        top = 1 if dtype.kind == "b" else int(np.iinfo(dtype).max) if self.small else 0
        self.table = np.zeros(top + 1 if self.small else 0, np.int64)
        self.values: npt.NDArray[np.float64] = np.empty(0)
        self.counts: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self.bins: npt.NDArray[np.int64] | None = None
        self.sums: npt.NDArray[np.float64] = np.empty(0)

    def feed(self, values: Array) -> None:
        """Count finite values (flat)."""
        if self.small:
            self.table += np.bincount(values, minlength=self.table.size)
            return
        if self.bins is None:
            found, times = np.unique(values, return_counts=True)
            merged, where = np.unique(
                np.concatenate([self.values, found.astype(np.float64)]), return_inverse=True
            )
            together = np.zeros(merged.size, np.int64)
            np.add.at(together, where, np.concatenate([self.counts, times]))
            self.values, self.counts = merged, together
            if merged.size > MOST:
                self.bins, self.sums = np.zeros(_KEYS + INNER, np.int64), np.zeros(_KEYS + INNER)
                self._bin(merged, together)
                self.values, self.counts = np.empty(0), np.empty(0, np.int64)
            return
        self._bin(values.astype(np.float64), None)

    def _bin(self, values: npt.NDArray[np.float64], times: npt.NDArray[np.int64] | None) -> None:
        assert self.bins is not None
        inner = (values >= 0) & (values <= 1)
        keys = (values.astype(np.float32).view(np.uint32) >> _SHIFT).astype(np.int64) + INNER
        keys[inner] = place(values[inner])
        size = self.bins.size
        self.bins += np.bincount(keys, weights=times, minlength=size).astype(np.int64)
        self.sums += np.bincount(keys, weights=values if times is None else values * times, minlength=size)

    def levels(self, total: int, scale: float = 1.0, shift: float = 0.0) -> Levels:
        """The levels after x -> x * scale + shift, ascending; ``total`` counts all values, finite or not."""
        if self.small:
            present = np.flatnonzero(self.table)
            values, counts, exact = present.astype(np.float64), self.table[present], True
        elif self.bins is None:
            values, counts, exact = self.values, self.counts, True
        else:
            present = np.flatnonzero(self.bins)
            counts, exact = self.bins[present], False
            values = self.sums[present] / counts
            inner = present < INNER
            values[inner] = np.clip(values[inner], 0.0, 1.0)  # a mean may round beyond the ends
            order = np.argsort(values)
            values, counts = values[order], counts[order]
        return Levels(values * scale + shift, counts, total, exact=exact)


class PixelHistograms:
    """How often each value occurs at each pixel, at no more than 4,096 pixels spread over the image.

    8-bit and Boolean values are counted as they are; others in 64 bins between the first block's ends, values
    outside in the outer bins.
    """

    def __init__(self, dtype: "np.dtype[Any]", pixels: int) -> None:
        self.places = np.unique(np.linspace(0, pixels - 1, min(pixels, PLACES)).round().astype(np.int64))
        self.whole = dtype.kind == "b" or (dtype.kind == "u" and dtype.itemsize == 1)
        self.size = (2 if dtype.kind == "b" else 256) if self.whole else _BINS
        self.counts = np.zeros((self.places.size, self.size), np.int64)
        self.ends: tuple[float, float] | None = None

    def feed(self, flat: Array) -> None:
        """Count images (n, pixels), all finite."""
        chosen = flat[:, self.places]
        if self.whole:
            index = chosen.astype(np.int64)
        else:
            if self.ends is None:
                self.ends = float(flat.min()), float(flat.max())
            low, high = self.ends
            place = (chosen.astype(np.float64) - low) / ((high - low) or 1.0) * self.size
            index = np.clip(place, 0, self.size - 1).astype(np.int64)
        index += self.size * np.arange(self.places.size)
        self.counts += np.bincount(index.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    def separates(self, levels: npt.NDArray[np.float64]) -> bool:
        """Whether each of these stored values, ascending, has a bin of its own."""
        if self.whole or self.ends is None:
            return self.whole
        low, high = self.ends
        inside = levels.size > 1 and levels[0] >= low and levels[-1] <= high
        return bool(inside and np.diff(levels).min() > (high - low) / self.size)

    def bits(self, levels: int) -> tuple[float, float]:
        """Bits per value of the images under the global histogram and under each pixel's, both of these very images.

        1/2 is added to each of ``levels`` counts (Krichevsky and Trofimov, IEEE Trans. Inf. Theory 27, 1981).
        """

        def cost(count: npt.NDArray[np.int64]) -> float:
            mass = (count + 0.5) / (count.sum(axis=-1, keepdims=True) + 0.5 * levels)
            return float(-(count * np.log2(mass)).sum() / count.sum())

        return cost(self.counts.sum(axis=0)), cost(self.counts)
