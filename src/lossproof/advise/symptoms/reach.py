"""What a loss can be on given targets: its floor, its least value under a bounded output, and for fixed predictions."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lossproof.data.levels import Levels
from lossproof.formula import REALS, Loss
from lossproof.lower import LossFunction, function

GRID = 257  # logits looked at between two bounds, ends included


@dataclass(frozen=True, slots=True)
class Clip:
    """How a framework bounds a prediction before its logarithm: the logit beyond which nothing changes."""

    name: str
    logit: float
    source: str


#: from the source of each framework: keras.config.epsilon() is 1e-7; torch's binary_cross_entropy holds log >= -100
CLIPS = (
    Clip("Keras, p in [1e-7, 1 - 1e-7]", math.log((1 - 1e-7) / 1e-7), "keras.ops.binary_crossentropy"),
    Clip("PyTorch, log p >= -100", 100.0, "torch.nn.functional.binary_cross_entropy"),
)
_HALF = np.array([0.5])


@lru_cache(maxsize=64)
def anywhere(loss: Loss) -> LossFunction:
    """The same formula for targets of any size, to see what it does where it has no business."""
    return function(replace(loss, target=REALS))


def floor(loss: LossFunction, levels: Levels) -> float:
    """Least mean loss per value over all predictions. The levels must lie in the loss's domain."""
    few = levels.coarse()
    return few.mean(np.asarray(loss.floor(few.values), np.float64))


def at(loss: LossFunction, levels: Levels, logit: float) -> float:
    """Mean loss per value where every prediction is sigmoid(logit), at targets of any size.

    >>> two = Levels(np.array([0.0, 1.0]), np.array([3, 1]), 4)
    >>> round(at(function("bce"), two, 0.0), 6), round(at(function("bce"), two, -100.0), 6)
    (0.693147, 25.0)
    """
    few = levels.coarse()
    return few.mean(anywhere(loss.definition).value_logits(few.values, np.full(few.values.shape, logit)))


def least(loss: LossFunction, levels: Levels, low: float, high: float) -> float:
    """Least mean loss per value where each logit may be chosen in [low, high], at targets of any size.

    >>> two = Levels(np.array([0.0, 1.0]), np.array([3, 1]), 4)
    >>> round(least(function("bce"), two, 0.0, 1.0), 6)  # (3 log 2 + log(1 + 1/e))/4
    0.598176
    """
    few = levels.coarse()
    y = few.values
    with np.errstate(all="ignore"):
        own = np.clip(np.log(y / (1 - y)), low, high)
    own = np.where(np.isfinite(own), own, np.where(y > 0.5, high, low))
    grid = np.linspace(low, high, GRID)
    z = np.concatenate([np.broadcast_to(grid, (len(y), GRID)), own[:, None]], axis=1)
    values = anywhere(loss.definition).value_logits(np.broadcast_to(y[:, None], z.shape), z)
    return few.mean(np.fmin.reduce(values, axis=1))


def picture(
    loss: LossFunction, sample: npt.NDArray[np.float64], image: npt.NDArray[np.float64], count: int
) -> float:
    """Mean loss per value of predicting one image for all; kept in [1/(2n), 1 - 1/(2n)] for n images, as in ``check``."""
    edge = 1 / (2 * count)
    p = np.clip(image, edge, 1 - edge)
    return float(np.mean(loss.value(sample, np.broadcast_to(p, sample.shape))))


def bottom(loss: LossFunction) -> float:
    """Lowest floor over the targets of the loss's domain that lie in [0, 1]; minus infinity where there is none.

    >>> bottom(function("bce")), bottom(function("continuous_bernoulli"))
    (0.0, -inf)
    """
    y = np.linspace(0, 1, 101)
    y = y[loss.definition.target.contains(y)]
    return float(np.min(loss.floor(y))) + 0.0


def top_floor(loss: LossFunction) -> float:
    """Highest floor over targets in [0, 1]: what the least loss may be at most."""
    y = np.linspace(0, 1, 101)
    y = y[loss.definition.target.contains(y)]
    return float(np.max(loss.floor(y)))


def even(loss: LossFunction) -> float:
    """Highest loss of predicting 1/2 over targets in [0, 1]."""
    y = np.linspace(0, 1, 101)
    y = y[loss.definition.target.contains(y)]
    return float(np.max(loss.value(y, np.broadcast_to(_HALF, y.shape))))
