"""The two records of this room: images as they were stored, and images ready for training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Raw:
    """Images as stored, not scaled and perhaps not split: what a reader returns.

    ``train`` and ``test`` have the shape (n, c, h, w) and the dtype of the source; ``test`` is None where the
    source has no split of its own. ``top`` is the data set's own largest value, where that is known and is
    not the largest value of the dtype.
    """

    name: str
    train: Array
    source: str
    test: Array | None = None
    train_labels: Labels | None = None
    test_labels: Labels | None = None
    top: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Images:
    """Images ready for training: float32 arrays of shape (n, c, h, w) with values in [0, 1].

    ``scaling`` says what was done to the stored values, ``levels`` is the number of grey levels k / (levels -
    1) that the values lie on (256 for 8-bit images) or None where they lie on no such lattice, ``notes``
    holds whatever a reader of the results should know.

    >>> from lossproof.data import load
    >>> digits = load("digits")
    >>> digits.image_shape, len(digits.train), len(digits.test), digits.levels
    ((1, 8, 8), 1438, 359, 17)
    """

    name: str
    train: npt.NDArray[np.float32]
    test: npt.NDArray[np.float32]
    train_labels: Labels | None
    test_labels: Labels | None
    source: str
    scaling: str
    levels: int | None
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Give (channels, height, width) of one image."""
        _, c, h, w = self.train.shape
        return (c, h, w)
