"""Two yardsticks that use no network: the histogram of all values, and one histogram for each pixel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError
from lossproof.likelihood.measures import Levels, measure_of

_BLOCK = 1 << 22  # values counted at a time


@dataclass(frozen=True)
class Yardsticks:
    """Bits per pixel of test images under histograms of the training images: a model above them knows less than none."""

    everywhere: float
    each_pixel: float


def histogram_bits(
    train: npt.ArrayLike, test: npt.ArrayLike, levels: object = 256, *, smoothing: float = 0.5
) -> Yardsticks:
    """Bits per pixel of ``test`` under the global and the per-pixel histogram of ``train``.

    Images of shape (images, ...) on the levels. ``smoothing`` is added to each count (1/2: Krichevsky and Trofimov,
    IEEE Trans. Inf. Theory 27, 1981), so that a level not seen in training has some mass. Raises ``LossproofError`` for
    values off the levels, images of unequal shapes, no images, or a smoothing that is not above 0.

    >>> histogram_bits([[0.0, 1.0]] * 50, [[0.0, 1.0]], 2)
    Yardsticks(everywhere=1.0, each_pixel=0.0142...)
    """
    lattice = measure_of(levels)
    if not isinstance(lattice, Levels):
        raise LossproofError(f"histogram: expected levels, got {lattice}: a density has no bits.")
    if not (smoothing > 0 and np.isfinite(smoothing)):
        raise LossproofError(
            f"histogram: expected a smoothing above 0, got {smoothing:g}: a level not seen in training would cost inf bits."
        )
    seen, asked = _indexed(train), _indexed(test)
    if seen.ndim < 2 or asked.ndim < 2 or seen.shape[1:] != asked.shape[1:] or not (seen.size and asked.size):
        raise LossproofError(
            "histogram: expected images of shape (images, ...) with equal pixels, at least one each, got "
            f"{seen.shape} and {asked.shape}."
        )
    counts, wanted = _counts(seen, lattice), _counts(asked, lattice)

    def bits(count: npt.NDArray[np.int64], want: npt.NDArray[np.int64]) -> float:
        mass = (count + smoothing) / (count.sum(axis=-1, keepdims=True) + smoothing * lattice.count)
        return float(-(want * np.log2(mass)).sum() / want.sum())

    return Yardsticks(bits(counts.sum(axis=0), wanted.sum(axis=0)), bits(counts, wanted))


def _indexed(images: Any) -> Any:
    """Images as something that is indexed like an array; what is one already, on disk, is not read whole."""
    return images if hasattr(images, "shape") else np.asarray(images)


def _counts(images: Any, levels: Levels) -> npt.NDArray[np.int64]:
    """How often each level occurs at each pixel, shape (pixels, levels)."""
    pixels = int(np.prod(images.shape[1:]))
    counts = np.zeros(pixels * levels.count, dtype=np.int64)
    step = max(1, _BLOCK // pixels)
    for start in range(0, len(images), step):
        index = levels.index(np.asarray(images[start : start + step]).reshape(-1, pixels), "histogram")
        places = index + levels.count * np.arange(pixels)
        counts += np.bincount(places.ravel(), minlength=counts.size)
    return counts.reshape(pixels, levels.count)
