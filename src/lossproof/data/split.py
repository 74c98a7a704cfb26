"""Split images into train and test where the source has no split of its own."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from lossproof.formula.errors import LossproofError

Split = Literal["random", "tail"]
Indices = npt.NDArray[np.intp]


def split_indices(
    count: int, test_fraction: float, split: str, seed: int, where: str
) -> tuple[Indices, Indices]:
    """Give the indices of train and test images: a random share with a fixed seed, or the last ones ("tail").

    Each part holds at least one image and keeps the source's order. Raises ``LossproofError`` for fewer than
    two images, a share outside (0, 1) and an unknown way to split.

    >>> [part.tolist() for part in split_indices(5, 0.4, "tail", 0, "x")]
    [[0, 1, 2], [3, 4]]
    """
    if split not in ("random", "tail"):
        raise LossproofError(
            f"{where}: expected split 'random' or 'tail', got {split!r}. Frames of a film: use 'tail'."
        )
    if not 0 < test_fraction < 1:
        raise LossproofError(f"{where}: expected 0 < test_fraction < 1, got {test_fraction}. Try 0.2.")
    if count < 2:
        raise LossproofError(
            f"{where}: expected at least two images, got {count}: one image cannot be split into train "
            "and test. Add images."
        )
    tests = min(max(1, round(count * test_fraction)), count - 1)
    order = np.arange(count) if split == "tail" else np.random.default_rng(seed).permutation(count)
    return np.sort(order[: count - tests]), np.sort(order[count - tests :])


def how_split(tests: int, count: int, split: str, seed: int) -> str:
    """How images were split, for whoever reads the results.

    >>> how_split(2, 10, "random", 0)
    'split: 2 of 10 images for the test, drawn with seed 0'
    """
    how = f"drawn with seed {seed}" if split == "random" else "taken from the end"
    return f"split: {tests} of {count} images for the test, {how}"
