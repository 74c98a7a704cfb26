"""What the arms of the experiment "why they differ" are trained under: one loss, each time with one thing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lossproof.formula import LossproofError
from lossproof.formula.interval import REALS
from lossproof.lower import function
from lossproof.lower.watch import largest_slope
from lossproof.torch.calibrated import CalibratedCriterion
from lossproof.torch.criterion import Criterion, Graded
from lossproof.torch.kernel import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lossproof.formula.loss import Loss
    from lossproof.likelihood.measures import Measure

FAR = 30.0  # a logit far out: there a loss shows whether its gradient vanishes behind the sigmoid
VANISHES = 1e-3  # of the loss's largest slope
STEEPEST = 0.25  # the sigmoid's largest slope, at 0
NODES = 4097  # of the table of a law's mean


class Weighted(Criterion):
    """A loss behind the sigmoid, times a constant.

    >>> from lossproof.catalogue import CATALOGUE
    >>> Weighted(CATALOGUE["mse"], 4.0).grade(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)).values.item()
    1.0
    """

    def __init__(self, loss: Loss, times: float) -> None:
        super().__init__()
        self.kernel, self.label, self.times = kernel(loss), loss.label, times

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """The loss and its derivative in the logit, both times the constant."""
        return Graded(self.values(target, raw), self.slopes(target, raw))

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """The loss of each value times the constant."""
        value: Tensor = self.kernel.value_logits(target, raw)
        return value * self.times

    def slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """Its derivative in the logit, times the constant."""
        slope: Tensor = self.kernel.gradient_logits(target, raw)
        return slope * self.times

    def loss_slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """The same without the constant."""
        return self.slopes(target, raw) / self.times

    def picture(self, raw: Tensor) -> Tensor:
        """The prediction p = sigmoid(logit)."""
        return raw.sigmoid()


class StraightThrough(Weighted):
    """The same values; the gradient handed back is dl/dp times the sigmoid's largest slope 1/4, not times p(1 - p).

    Bengio, Leonard, Courville 2013, https://arxiv.org/abs/1308.3432, section 4. It is not the gradient of the values.
    """

    def slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """dl/dp at p = sigmoid(raw), times 1/4 and the constant."""
        slope: Tensor = self.kernel.gradient(target, raw.sigmoid())
        return slope * (STEEPEST * self.times)


class Tangent(Criterion):
    """A loss times a constant on the link p = 1/2 + raw/4, the sigmoid's tangent at 0, which does not saturate.

    At raw = 0 prediction and slope are the sigmoid's. Pictures are clipped to [0, 1], the loss is not.
    """

    def __init__(self, loss: Loss, times: float) -> None:
        super().__init__()
        self.kernel, self.label, self.times = kernel(loss), loss.label, times

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """The loss and its derivative in the raw output."""
        p = 0.5 + STEEPEST * raw
        return Graded(
            self.kernel.value(target, p) * self.times,
            self.kernel.gradient(target, p) * (STEEPEST * self.times),
        )

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """The loss of each value times the constant."""
        value: Tensor = self.kernel.value(target, 0.5 + STEEPEST * raw)
        return value * self.times

    def picture(self, raw: Tensor) -> Tensor:
        """The prediction, clipped to [0, 1]."""
        return (0.5 + STEEPEST * raw).clamp(0, 1)


class Offset(Criterion):
    """Another criterion with a constant added to the raw output: the same as output biases that start there."""

    def __init__(self, inner: Criterion, offset: Tensor) -> None:
        super().__init__()
        self.inner, self.label = inner, inner.label
        self.buffers["offset"] = offset

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """What the inner criterion says of the moved output; the derivative is the same."""
        return self.inner.grade(target, raw + self.buffers["offset"])

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """The inner criterion's values of the moved output."""
        return self.inner.values(target, raw + self.buffers["offset"])

    def picture(self, raw: Tensor) -> Tensor:
        """The inner criterion's picture of the moved output."""
        return self.inner.picture(raw + self.buffers["offset"])


class Normalised(Criterion):
    """A loss times a constant, plus T log Z(p, T): T times the negative log-likelihood of exp(-loss/T)/Z, T held fixed.

    `scale` is T times the constant (beta of the objective). Pictures show the law's mean.
    """

    def __init__(self, loss: Loss, times: float, measure: Measure, scale: float = 1.0) -> None:
        from lossproof.likelihood import likelihood

        super().__init__()
        self.label, self.scale, self.temperature = loss.label, scale, scale / times
        # its `begin`, which would solve for T, is never called
        self.law = CalibratedCriterion(loss, measure=measure, how="solved", temperature=self.temperature)
        self.unit = self.law.unit
        self.span = float(np.arcsinh(700.0))
        nodes = np.sinh(np.linspace(-self.span, self.span, NODES))
        means = likelihood(loss, self.temperature, measure).mean(logits=nodes)
        self.buffers["means"] = torch.from_numpy(np.asarray(means, dtype=np.float32))

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """The values and their derivative in the logit."""
        found = self.law.grade(target, raw)
        return Graded(found.values * self.scale, found.slopes * self.scale)

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """-T log q(target), times the constant."""
        return self.law.values(target, raw) * self.scale

    def log_prob(self, target: Tensor, raw: Tensor) -> Tensor:
        """log q(target), nats."""
        return self.law.log_prob(target, raw)

    def to(self, device: torch.device | str) -> Criterion:
        """Move the law along."""
        self.law.to(device)
        return super().to(device)

    def picture(self, raw: Tensor) -> Tensor:
        """The law's mean, from a table over asinh(logit)."""
        means = self.buffers["means"].to(raw.dtype)
        place = ((torch.asinh(raw) + self.span) * ((NODES - 1) / (2 * self.span))).clamp(0, NODES - 1.001)
        cell = place.floor().long()
        low = means[cell]
        return torch.lerp(low, means[cell + 1], place - cell).clamp(0, 1)


def saturates(loss: Loss, values: NDArray[np.float64]) -> bool:
    """Whether the gradient in the logit vanishes at the wrong end: the brightest target at p = 0, the darkest at p = 1.

    >>> from lossproof.catalogue import CATALOGUE
    >>> [saturates(CATALOGUE[name], np.array([0.0, 1.0])) for name in ("mse", "bce")]
    [True, False]
    """
    targets = np.array([values.max(), values.min()])
    slopes = np.abs(np.asarray(function(loss).gradient_logits(targets, np.array([-FAR, FAR]))))
    return bool((slopes < VANISHES * largest_slope(loss)).any())


def unsaturated(loss: Loss, times: float) -> tuple[Criterion, str]:
    """The loss where its gradient does not saturate, and how: on the tangent link where it takes any real p.

    Else with the straight-through gradient.
    """
    if loss.prediction.covers(REALS):
        return Tangent(loss, times), "on the link p = 1/2 + z/4, the sigmoid's tangent at 0"
    return StraightThrough(loss, times), "with the gradient dl/dp × 1/4 in place of dl/dp × p(1 − p)"


def wrong_end(mean: NDArray[np.float64], size: float) -> Tensor:
    """Logits (c, h, w) at the end opposite to each pixel's mean: white where it is dark, black where it is bright."""
    if not (np.isfinite(size) and size > 0):
        raise LossproofError(f"start: expected a logit above 0, got {size:g}.")
    return torch.from_numpy(np.where(mean < 0.5, size, -size).astype(np.float32))
