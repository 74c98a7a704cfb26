"""The least value of a loss over predictions, by search: for losses whose minimum has no closed form."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_GOLDEN = (np.sqrt(5.0) - 1) / 2


def least_value(value_logits: Callable[[Array, Array], Any], y: Array, *, points: int = 801) -> Array:
    """Least loss(y, sigmoid(z)) over logits z for each target y (1-D): grid, then golden section.

    -inf where the loss still falls at logits of +-1e13. A minimum narrower than the grid's step (0.1 in z)
    may be missed; a loss for which that matters should declare its minimiser.

    >>> import numpy as np
    >>> least_value(lambda y, z: np.logaddexp(0, z) - y * z, np.array([0.2, 1.0])).round(6)
    array([0.500402, 0.      ])
    """
    inner = np.linspace(-40, 40, points)
    grid = np.concatenate([-np.logspace(6, np.log10(41), 12), inner, np.logspace(np.log10(41), 6, 12)])
    with np.errstate(all="ignore"):
        values = _table(value_logits, y, grid)
        best = np.nanargmin(values, axis=1)
        low = grid[np.maximum(best - 1, 0)]
        high = grid[np.minimum(best + 1, len(grid) - 1)]
        for _ in range(80):
            a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
            left = np.asarray(value_logits(y, a)) < np.asarray(value_logits(y, b))
            low, high = np.where(left, low, a), np.where(left, b, high)
        least = np.minimum(np.asarray(value_logits(y, (low + high) / 2)), np.nanmin(values, axis=1))
        for side in (-1.0, 1.0):
            far = _table(value_logits, y, side * np.array([1e7, 1e10, 1e13]))
            falling = (far[:, 0] < least) & (far[:, 1] < far[:, 0] - 1) & (far[:, 2] < far[:, 1] - 1)
            least = np.where(falling, -np.inf, least)
    return np.asarray(least)


def _table(value_logits: Callable[[Array, Array], Any], y: Array, z: Array) -> Array:
    targets, logits = (np.ascontiguousarray(a) for a in np.broadcast_arrays(y[:, None], z[None, :]))
    values = np.broadcast_to(np.asarray(value_logits(targets, logits), dtype=np.float64), targets.shape)
    return np.where(np.isnan(values), np.inf, values)
