"""The distinct pixel values with their counts, so that a floor costs one evaluation a value."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lossproof.data.images import Array
from lossproof.data.scale import BLOCK

MOST = 1 << 16  # distinct values kept; beyond it values share bins


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
    low = min((float(b[np.isfinite(b)].min(initial=np.inf)) for b in _blocks(array)), default=0.0)
    high = max((float(b[np.isfinite(b)].max(initial=-np.inf)) for b in _blocks(array)), default=1.0)
    counts, sums = np.zeros(MOST + 2, np.int64), np.zeros(MOST + 2)
    for block in _blocks(array):
        x = block[np.isfinite(block)].astype(np.float64)
        index = np.minimum((x - low) * (MOST / (high - low)), MOST - 1).astype(np.int64)
        index[x == 0] = MOST
        index[x == divisor] = MOST + 1
        counts += np.bincount(index, minlength=MOST + 2)
        sums += np.bincount(index, weights=x, minlength=MOST + 2)
    present = np.flatnonzero(counts)
    values = sums[present] / counts[present] / divisor
    order = np.argsort(values)
    return Levels(values[order], counts[present][order], array.size, exact=False)
