"""The distinct pixel values with their counts, so that a floor costs one evaluation a value."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST = 1 << 16  # distinct values kept; beyond it values share bins
BINS = 1 << 12
INNER = BINS + 2  # bins of values in [0, 1]: 0 and 1 have one each


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
        low, high = float(self.values[0]), float(self.values[-1])
        if low >= 0 and high <= 1:
            index = place(self.values)
        else:
            index = np.minimum((self.values - low) / (high - low) * BINS, BINS - 1).astype(np.int64)
            index[self.values == 0], index[self.values == 1] = BINS, BINS + 1
        counts = np.bincount(index, weights=self.counts, minlength=INNER).astype(np.int64)
        sums = np.bincount(index, weights=self.values * self.counts, minlength=INNER)
        present = np.flatnonzero(counts)
        values = np.clip(sums[present] / counts[present], low, high)  # a mean may round beyond the ends
        order = np.argsort(values)
        return Levels(values[order], counts[present][order], self.total, exact=False)

    def mean(self, of_values: npt.NDArray[np.float64]) -> float:
        """Average a function of the level over all finite values."""
        return float(np.dot(self.counts, of_values) / self.counts.sum())


def place(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The bins of values in [0, 1]: ``BINS`` equal ones in arcsin(sqrt(x)), then one for 0 and one for 1.

    An entropy is then off by about (pi / 2 / BINS)**2 / 6 nats a value at most (2.5e-8), also next to 0 and 1, where it
    is steep.
    """
    index = np.minimum(np.arcsin(np.sqrt(values)) * (2 / np.pi * BINS), BINS - 1).astype(np.int64)
    index[values == 0] = BINS
    index[values == 1] = BINS + 1
    return index
