"""A loss or a decoder as a law of the data: how well it fits."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """A loss as the law exp(-loss/T)/Z of the data, fitted to one half of the held-out values and judged on the other.

    ``nats``: mean negative log-likelihood of a value, ``by_image`` the same for each image; in the unit of ``measure``.
    ``deviation``: the law's standard deviation at the mean prediction, ``deviation_at_one`` the same at T = 1.
    ``reason``: why there is no law, then ``nats`` is inf.
    """

    temperature: float
    nats: float
    by_image: Floats
    deviation: float
    reason: str = ""
    deviation_at_one: float = math.nan


__all__ = ["Law"]
