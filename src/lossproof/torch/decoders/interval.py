"""Densities on [0, 1]: the continuous Bernoulli in its natural parameter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lossproof.torch.decoders.base import Heads, Law
from lossproof.torch.kernel import kernel


class ContinuousBernoulli(Law):
    """exp(eta y)/Z(eta): Loaiza-Ganem and Cunningham, arXiv 1907.06845; clipped as their code does where asked to."""

    id = "continuous_bernoulli_density"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        clip = self.decoder.number("clip")
        self.furthest = math.log1p(-clip) - math.log(clip) if clip else math.inf
        self.kernel = kernel("continuous_bernoulli")  # the same as a loss of the logit

    def law(self, target: Tensor, heads: Heads, *, slopes: bool) -> tuple[Tensor, Heads]:
        """log((exp(eta) - 1)/eta) - eta y; no slope beyond the clip."""
        eta = self.clipped(heads)
        if not slopes:
            return self.kernel.value_logits(target, eta), {}
        value, slope = self.kernel.both_logits(target, eta)
        if math.isfinite(self.furthest):
            slope = slope * (heads["eta"].abs() <= self.furthest)
        return value, {"eta": slope}

    def clipped(self, heads: Heads) -> Tensor:
        """eta, inside the clip."""
        eta = heads["eta"]
        return eta.clamp(-self.furthest, self.furthest) if math.isfinite(self.furthest) else eta

    def mean_of(self, heads: Heads) -> Tensor:
        """1/(1 - exp(-eta)) - 1/eta."""
        eta = self.clipped(heads)
        mean: Tensor = self.kernel.gradient_logits(torch.zeros_like(eta), eta)
        return mean

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw targets by inversion; no gradient."""
        with torch.no_grad():
            eta = self.clipped(self.heads(raw))
            a, share = eta.abs(), self._uniform(raw, generator)
            steep = a.clamp(min=1e-6)
            short = torch.where(a > 1e-6, -torch.log1p(share * torch.expm1(-steep)) / steep, share)
            return torch.where(eta > 0, 1 - short, short).clamp(0, 1)

    def cdf(self, target: Tensor, raw: Tensor) -> Tensor:
        """Mass at or below each target; no gradient."""
        with torch.no_grad():
            self._check(target)
            eta = self.clipped(self.heads(raw))
            steep = eta.abs().clamp(min=1e-6)
            way = torch.where(eta > 0, 1 - target, target)  # from the end where the mass is
            share = torch.where(eta.abs() > 1e-6, torch.expm1(-steep * way) / torch.expm1(-steep), way)
            return torch.where(eta > 0, 1 - share, share)

    def entropy(self, raw: Tensor) -> Tensor:
        """Expected nats of each value: the loss is affine in y, so that of the mean; no gradient."""
        with torch.no_grad():
            heads = self.heads(raw)
            found: Tensor = self.kernel.value_logits(self.mean_of(heads), self.clipped(heads))
            return found


__all__ = ["ContinuousBernoulli"]
