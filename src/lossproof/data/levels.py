"""The distinct pixel values with their counts, so that a floor costs one evaluation a value."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lossproof.data.images import Array
from lossproof.data.scale import BLOCK

MOST = 1 << 16  # distinct values kept; beyond it values share bins
BINS = 1 << 12


@dataclass(frozen=True, slots=True)
class Levels:
    """Distinct finite pixel values (ascending, float64), how often each occurs, how many values there were.

    Where more than ``MOST`` distinct values occur, ``exact`` is False: neighbours then share a bin and are
    stood for by the bin's mean; 0 and 1 keep bins of their own.
    """

    values: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    total: int
    exact: bool = True

    def share(self, inside: npt.NDArray[np.bool_]) -> float:
        """Give the share of all values whose level is marked."""
        return float(self.counts[inside].sum()) / self.total

    def coarse(self) -> "Levels":
        """Give at most ``BINS`` + 2 levels, for what is dear to compute: neighbours are merged in bins."""
        if self.values.size <= BINS + 2:
            return self
        return _merge([(self.values, self.counts)], float(self.values[0]), float(self.values[-1]), self.total)

    def mean(self, of_values: npt.NDArray[np.float64]) -> float:
        """Average a function of the level over all finite values."""
        return float(np.dot(self.counts, of_values) / self.counts.sum())


def levels_of(array: Array, divisor: float = 1.0) -> Levels:
    """Count the distinct values of an array, divided by ``divisor``; NaN and infinite ones are left out.

    >>> import numpy as np
    >>> found = levels_of(np.array([[0, 51], [51, 255]], np.uint8), 255)
    >>> found.values.tolist(), found.counts.tolist()
    ([0.0, 0.2, 1.0], [1, 2, 1])
    """
    if array.dtype.kind == "b" or (array.dtype.kind == "u" and array.dtype.itemsize <= 2):
        top = 1 if array.dtype.kind == "b" else int(np.iinfo(array.dtype).max)
        counts = np.zeros(top + 1, np.int64)
        for block in _blocks(array):
            counts += np.bincount(block, minlength=top + 1)
        present = np.flatnonzero(counts)
        return Levels(present / divisor, counts[present], array.size)
    values, counts = np.empty(0), np.empty(0, np.int64)
    for block in _blocks(array):
        found, times = np.unique(block[np.isfinite(block)], return_counts=True)
        merged, where = np.unique(np.concatenate([values, found.astype(np.float64)]), return_inverse=True)
        together = np.zeros(merged.size, np.int64)
        np.add.at(together, where, np.concatenate([counts, times]))
        values, counts = merged, together
        if values.size > MOST:
            return _binned(array, divisor)
    return Levels(values / divisor, counts, array.size)


def _blocks(array: Array) -> Iterator[Array]:
    """Walk through an array in one-dimensional blocks, without copying more than a block."""
    step = max(1, BLOCK // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        yield array[start : start + step].reshape(-1)


def _binned(array: Array, divisor: float) -> Levels:
    def finite() -> Iterator[Array]:
        for block in _blocks(array):
            yield block[np.isfinite(block)] / divisor

    low = min(float(block.min(initial=np.inf)) for block in finite())
    high = max(float(block.max(initial=-np.inf)) for block in finite())
    return _merge(((block, None) for block in finite()), low, high, array.size)


def _merge(blocks: Iterable[tuple[Array, Array | None]], low: float, high: float, total: int) -> Levels:
    """Put values with their counts into bins, each stood for by its mean; 0 and 1 have bins of their own.

    Inside [0, 1] the bins are equal in arcsin(sqrt(x)). An entropy is then off by about
    (pi / 2 / BINS)**2 / 6 nats a pixel at most (2.5e-8), also next to 0 and 1, where it is steep.
    """
    counts, sums = np.zeros(BINS + 2, np.int64), np.zeros(BINS + 2)
    for block, times in blocks:
        x = block.astype(np.float64, copy=False)
        place = np.arcsin(np.sqrt(x)) * (2 / np.pi) if low >= 0 and high <= 1 else (x - low) / (high - low)
        index = np.minimum(place * BINS, BINS - 1).astype(np.int64)
        index[x == 0] = BINS
        index[x == 1] = BINS + 1
        counts += np.bincount(index, weights=times, minlength=BINS + 2).astype(np.int64)
        sums += np.bincount(index, weights=x if times is None else x * times, minlength=BINS + 2)
    present = np.flatnonzero(counts)
    values = np.clip(sums[present] / counts[present], low, high)  # a mean may round beyond the ends
    order = np.argsort(values)
    return Levels(values[order], counts[present][order], total, exact=False)
