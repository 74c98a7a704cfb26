"""Laws on grey levels that torch has not, as torch distributions: beta-binomial, discretised logistic and Gaussian."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all

from lossproof.likelihood.measures import Levels
from lossproof.torch.decoders import criterion_for
from lossproof.torch.decoders.base import Law
from lossproof.torch.distribution import _OnLevels


class _OnGreyLevels(Distribution):
    """What the three have in common: a law of the heads, on the levels 0, 1/n, ..., 1; each value is one event."""

    has_rsample = False
    #: the decoder whose law it is
    decoder: ClassVar[str]
    #: the two parameters
    names: ClassVar[tuple[str, str]]

    def __init__(
        self, first: Tensor | float, second: Tensor | float, levels: int, validate_args: bool | None
    ) -> None:
        for name, value in zip(self.names, broadcast_all(first, second), strict=True):
            setattr(self, name, value)
        self.law: Law = criterion_for(self.decoder, (1, 1, 1), levels)
        self.levels = levels
        super().__init__(self._parameters()[0].shape, validate_args=validate_args)

    def _parameters(self) -> tuple[Tensor, Tensor]:
        first, second = (getattr(self, name) for name in self.names)
        return first, second

    def _heads(self) -> tuple[Tensor, Tensor]:
        """The law's heads, in the declaration's order."""
        raise NotImplementedError

    def _named(self, heads: tuple[Tensor, ...]) -> dict[str, Tensor]:
        return {head.name: value for head, value in zip(self.law.decoder.heads, heads, strict=True)}

    @property
    def support(self) -> constraints.Constraint:
        """The levels."""
        assert isinstance(self.law.measure, Levels)
        return _OnLevels(self.law.measure)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _OnGreyLevels:
        """The same law with its parameters expanded to a larger batch shape."""
        new: _OnGreyLevels = self._get_checked_instance(type(self), _instance)
        for name, value in zip(self.names, self._parameters(), strict=True):
            setattr(new, name, value.expand(batch_shape))
        new.law, new.levels = self.law, self.levels
        super(_OnGreyLevels, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-mass of each value, nats; differentiable in both parameters by the derived slopes."""
        if self._validate_args:
            self._validate_sample(value)
        y, *heads = torch.broadcast_tensors(value.to(self._parameters()[0]), *self._heads())
        nats: Tensor = _OfHeads.apply(self, y, *heads)
        return -nats

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values by inversion, from torch's own generator."""
        with torch.no_grad():
            share = torch.rand(self._extended_shape(torch.Size(sample_shape))).to(self._parameters()[0])
            return self.law.quantile(share, self._named(tuple(h.expand(share.shape) for h in self._heads())))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All levels along a new first dimension."""
        assert isinstance(self.law.measure, Levels)
        values = torch.as_tensor(self.law.measure.values).to(self._parameters()[0])
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    def cdf(self, value: Tensor) -> Tensor:
        """Mass at or below the value; no gradient."""
        with torch.no_grad():
            if self._validate_args:
                self._validate_sample(value)
            y, *heads = torch.broadcast_tensors(value.to(self._parameters()[0]), *self._heads())
            below = torch.zeros_like(y)
            for level, mass in zip(
                self.enumerate_support(expand=False).flatten(),
                self.law._masses(self._named(tuple(heads)), y),
                strict=True,
            ):
                below += mass * (level <= y + 1e-6)
            return below.clamp(max=1)

    @property
    def mean(self) -> Tensor:
        """Expected value of the mass; no gradient."""
        return self._moments()[0]

    @property
    def variance(self) -> Tensor:
        """Variance of the mass; no gradient."""
        return self._moments()[1]

    def _moments(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            values = self.enumerate_support()
            mass = self.log_prob(values).exp()
            mean = (mass * values).sum(0)
            return mean, (mass * (values - mean) ** 2).sum(0)


class DiscretisedLogistic(_OnGreyLevels):
    """A logistic law on ``levels`` grey levels, tails in the first and last: Salimans et al., arXiv 1701.05517.

    ``loc`` and ``scale`` are in units of the grey values, which run from 0 to 1 (PixelCNN++'s run from -1 to 1).

    >>> law = DiscretisedLogistic(torch.tensor([0.2, 0.5]), torch.tensor(0.05))
    >>> law.log_prob(law.enumerate_support()).exp().sum(0)
    tensor([1.0000, 1.0000])
    """

    decoder = "discretised_logistic"
    names = ("loc", "scale")
    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012 - torch's own form
    loc: Tensor
    scale: Tensor

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, levels: int = 256, validate_args: bool | None = None
    ) -> None:
        super().__init__(loc, scale, levels, validate_args)

    def _heads(self) -> tuple[Tensor, Tensor]:
        return self.loc, self.scale.log()


class DiscretisedGaussian(DiscretisedLogistic):
    """A normal law on ``levels`` grey levels, tails in the first and last.

    >>> DiscretisedGaussian(torch.tensor(0.5), torch.tensor(0.1), levels=2).log_prob(torch.tensor(1.0)).exp()
    tensor(0.5000)
    """

    decoder = "discretised_gaussian"


class BetaBinomial(_OnGreyLevels):
    """The beta-binomial law on ``levels`` grey levels k/n, without the cancellation of log-gammas.

    ``concentration1`` (alpha) draws towards 1, ``concentration0`` (beta) towards 0, as in ``torch.distributions.Beta``.

    >>> BetaBinomial(torch.tensor(1.0), torch.tensor(1.0), levels=4).log_prob(torch.tensor(1.0)).exp()
    tensor(0.2500)
    """

    decoder = "beta_binomial"
    names = ("concentration1", "concentration0")
    arg_constraints = {  # noqa: RUF012 - torch's own form
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    concentration1: Tensor
    concentration0: Tensor

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        levels: int = 256,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(concentration1, concentration0, levels, validate_args)

    def _heads(self) -> tuple[Tensor, Tensor]:
        return self.concentration1.log(), self.concentration0.log()

    @property
    def mean(self) -> Tensor:
        """alpha/(alpha + beta)."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        """mean (1 - mean) (alpha + beta + n)/(n (alpha + beta + 1))."""
        total, n = self.concentration1 + self.concentration0, self.levels - 1
        return self.mean * (1 - self.mean) * (total + n) / (n * (total + 1))


class _OfHeads(torch.autograd.Function):
    """Nats of a law given its heads, with its derived slopes on the way back."""

    @staticmethod
    def forward(ctx: Any, made: _OnGreyLevels, value: Tensor, *heads: Tensor) -> Tensor:
        nats, slopes = made.law.law(value, made._named(heads), slopes=True)
        ctx.save_for_backward(*(slopes[head.name] for head in made.law.decoder.heads))
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(grad * slope for slope in ctx.saved_tensors)


__all__ = ["BetaBinomial", "DiscretisedGaussian", "DiscretisedLogistic"]
