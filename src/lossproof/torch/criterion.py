"""What a model is trained under: a plain loss, a calibrated loss, or a decoder's law, behind one interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lossproof.formula import LossproofError
from lossproof.torch.kernel import Kernel, kernel

#: targets and raw outputs of the model, of the first images of an epoch: (n, c, h, w) and (n, outputs*c, h, w)
Sample = Callable[[], tuple[Tensor, Tensor]]


class Graded(NamedTuple):
    """A batch as a criterion sees it; nothing here has a graph."""

    values: Tensor  # (n, c, h, w): nats of each value (pixel and channel)
    slopes: Tensor  # d values.sum() / d raw, shape of raw
    own: tuple[Tensor, ...] = ()  # d values.sum() / d each of the criterion's own parameters, in order


class Criterion(ABC):
    """Nats of each value of an image, given what the model put out, with derivatives that are derived and not traced.

    ``raw`` is (n, outputs*c, h, w), outputs first: ``raw.unflatten(1, (outputs, c))``; ``target`` is (n, c, h, w).
    ``parameters`` are learned beside the model's weights: float32 leaves; ``buffers`` are kept with them, not learned.
    ``unit`` is None for a loss that is no likelihood, else that of the likelihood ("nats of mass", ...).
    """

    label: str
    outputs: int = 1
    unit: str | None = None
    #: how many times the weights' learning rate its own parameters get
    pace: float = 1.0

    def __init__(self) -> None:
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}

    @abstractmethod
    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """Values with their derivatives in ``raw`` (which is detached) and in the parameters; no graph is kept."""

    @abstractmethod
    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """The values alone, for evaluation: (n, c, h, w)."""

    @abstractmethod
    def picture(self, raw: Tensor) -> Tensor:
        """What is shown, and measured as a picture: the prediction, or the law's mean, (n, c, h, w) in [0, 1]."""

    def slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """The derivative in ``raw`` alone."""
        return self.grade(target, raw).slopes

    def loss_slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """The derivative in ``raw`` on the scale of the plain loss behind it: where a pixel sends no gradient back."""
        return self.slopes(target, raw)

    def log_prob(self, target: Tensor, raw: Tensor) -> Tensor:
        """Log-mass or log-density of each value, nats. Raises ``LossproofError`` for a loss that is no likelihood."""
        if self.unit is None:
            raise LossproofError(
                f"{self.label}: expected a likelihood, got a loss without a normaliser: its values are no "
                "log-probabilities. Calibrate it, or use lossproof.likelihood."
            )
        return -self.values(target, raw)

    def given(self, target: Tensor, raw: Tensor) -> Criterion:
        """The law that any values of these images have: itself, unless it first looks at an image's own values."""
        return self

    def begin(self, epoch: int, sample: Sample) -> None:
        """Called before each epoch of training; ``sample`` runs the model when asked. Does nothing unless overridden."""
        return

    def project(self) -> None:
        """Called after each step of the optimiser: bring the parameters back inside their bounds."""
        return

    def to(self, device: torch.device | str) -> Criterion:
        """Move parameters and buffers to a device, before training; returns itself."""
        for name, value in self.parameters.items():
            self.parameters[name] = value.detach().to(device).requires_grad_()
        for name, value in self.buffers.items():
            self.buffers[name] = value.to(device)
        return self


class LossCriterion(Criterion):
    """A plain loss behind the sigmoid: the raw output is the logit.

    >>> LossCriterion(kernel("bce")).grade(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)).slopes.item()
    -0.5
    """

    def __init__(self, made: Kernel) -> None:
        super().__init__()
        self.kernel = made
        self.label = made.loss.label

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """Loss and its derivative in the logit."""
        return Graded(self.kernel.value_logits(target, raw), self.kernel.gradient_logits(target, raw))

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """The loss of each value."""
        value: Tensor = self.kernel.value_logits(target, raw)
        return value

    def slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """Its derivative in the logit."""
        slope: Tensor = self.kernel.gradient_logits(target, raw)
        return slope

    def picture(self, raw: Tensor) -> Tensor:
        """The prediction p = sigmoid(logit)."""
        return raw.sigmoid()


def criterion(subject: object, **params: float) -> Criterion:
    """A fresh criterion of a loss (what ``lossproof.loss`` takes); a criterion is given back as it is.

    >>> criterion("huber", delta=0.1).label
    'huber(delta=0.1)'
    """
    if isinstance(subject, Criterion):
        return subject
    return LossCriterion(kernel(subject, **params))


__all__ = ["Criterion", "Graded", "LossCriterion", "Sample", "criterion"]
