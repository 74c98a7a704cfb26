"""Laws with a location and a scale: Gaussian and Student-t densities, Gaussian and logistic masses on grey levels."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import softplus

from lossproof.torch.decoders.base import Heads, Law
from lossproof.torch.decoders.special import HALF_LOG_2PI, log1mexp, log_rising, normal_mass, wide

#: beyond it a scale, or degrees of freedom, are as good as infinite, and exp would overflow
_LARGE = 30.0


class LocationScale(Law):
    """A law of (y - m)/s: m = link(first head), log s the second head."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.location, self.log_scale = (head.name for head in self.decoder.heads[:2])
        self.linked = self.decoder.values["link"] != "identity"

    def law(self, target: Tensor, heads: Heads, *, slopes: bool) -> tuple[Tensor, Heads]:
        """Nats of each value, with slopes in the location head (through the link), the log-scale and any others."""
        m = self.centre(heads)
        inverse = torch.exp(-heads[self.log_scale])
        value, by_m, by_log_s, others = self.standard(target, m, inverse, heads, slopes)
        if not slopes:
            return value, {}
        by_m = by_m * inverse
        return value, {
            self.location: by_m * (m * (1 - m)) if self.linked else by_m,
            self.log_scale: by_log_s,
            **others,
        }

    def centre(self, heads: Heads) -> Tensor:
        """m: the location head behind its link."""
        return torch.sigmoid(heads[self.location]) if self.linked else heads[self.location]

    @abstractmethod
    def standard(
        self, target: Tensor, m: Tensor, inverse: Tensor, heads: Heads, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor, Heads]:
        """Nats of y; slopes in m/s (s held fixed) and in log s; those in other heads. ``inverse`` is 1/s."""

    def mean_of(self, heads: Heads) -> Tensor:
        """The location."""
        return self.centre(heads)

    def _drawn(self, raw: Tensor, standard: Tensor) -> Tensor:
        heads = self.heads(raw)
        return self.centre(heads) + torch.exp(heads[self.log_scale].clamp(max=_LARGE)) * standard


class Gaussian(LocationScale):
    """The normal density."""

    id = "gaussian"

    def standard(
        self, target: Tensor, m: Tensor, inverse: Tensor, heads: Heads, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor, Heads]:
        """z^2/2 + log s + log(sqrt(2 pi)), z = (y - m)/s."""
        z = (target - m) * inverse
        square = z * z
        return 0.5 * square + (heads[self.log_scale] + HALF_LOG_2PI), -z, 1 - square, {}

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw targets from the normal law; no gradient."""
        with torch.no_grad():
            shape = (raw.shape[0], self.channels, *raw.shape[2:])
            noise = torch.randn(shape, dtype=raw.dtype, device=raw.device, generator=generator)
            return self._drawn(raw, noise)

    def cdf(self, target: Tensor, raw: Tensor) -> Tensor:
        """Mass at or below each target; no gradient."""
        with torch.no_grad():
            heads = self.heads(raw)
            z = (target - self.centre(heads)) * torch.exp(-heads[self.log_scale])
            return torch.special.ndtr(z)

    def entropy(self, raw: Tensor) -> Tensor:
        """Expected nats of each value: log(sigma sqrt(2 pi e)); no gradient."""
        with torch.no_grad():
            heads = self.heads(raw)
            return (heads[self.log_scale] + (HALF_LOG_2PI + 0.5)).expand_as(self.centre(heads))


class StudentT(LocationScale):
    """Student's t density; its mean is the location where nu > 1."""

    id = "student_t"

    def standard(
        self, target: Tensor, m: Tensor, inverse: Tensor, heads: Heads, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor, Heads]:
        """The logarithm of Gamma(nu/2)/Gamma((nu + 1)/2) keeps its digits for large nu, where the law is normal."""
        z = (target - m) * inverse
        log_nu = heads["log_nu"].clamp(max=_LARGE)
        nu = torch.exp(log_nu)
        half, log_half = nu / 2, log_nu - math.log(2)
        a, _, c = log_rising(half, log_half, half.new_tensor(0.5), slope=slopes)
        # log(half + 8.5)/2 and -log(half)/2, joined
        joined = torch.logaddexp(torch.zeros_like(log_half), math.log(8.5) - log_half) / 2
        square = z * z
        ratio = square / nu
        bend = torch.log1p(ratio)
        value = (half + 0.5) * bend + (heads[self.log_scale] + HALF_LOG_2PI - a - joined)
        if not slopes:
            return value, value, value, {}
        pull = (nu + 1) / (nu + square)
        by_nu = half * bend - 0.5 * pull * square - (c - 0.5)
        free = heads["log_nu"] < _LARGE
        return value, -z * pull, 1 - pull * square, {"log_nu": by_nu * free}

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw targets: a normal number over the root of a chi-squared one; no gradient."""
        with torch.no_grad():
            shape = (raw.shape[0], self.channels, *raw.shape[2:])
            noise = torch.randn(shape, dtype=raw.dtype, device=raw.device, generator=generator)
            half = torch.exp(self.heads(raw)["log_nu"].clamp(-_LARGE, _LARGE)).expand(shape) / 2
            chi = torch._standard_gamma(half.contiguous(), generator=generator) / half
            return self._drawn(raw, noise * torch.rsqrt(chi.clamp(min=torch.finfo(raw.dtype).tiny)))

    def cdf(self, target: Tensor, raw: Tensor) -> Tensor:
        """Mass at or below each target, by SciPy's ``stdtr``; no gradient."""
        from scipy.special import stdtr

        with torch.no_grad():
            heads = self.heads(raw)
            z = (target - self.centre(heads)) * torch.exp(-heads[self.log_scale])
            nu = torch.exp(heads["log_nu"].clamp(max=_LARGE)).expand_as(z)
            return torch.as_tensor(stdtr(nu.double().cpu().numpy(), z.double().cpu().numpy())).to(z)

    def entropy(self, raw: Tensor) -> Tensor:
        """Expected nats of each value; no gradient."""
        with torch.no_grad():
            heads = self.heads(raw)
            nu = wide(torch.exp(heads["log_nu"].clamp(max=_LARGE)))
            half, more = nu / 2, (nu + 1) / 2
            own = more * (torch.digamma(more) - torch.digamma(half)) + 0.5 * torch.log(nu * math.pi)
            own += torch.lgamma(half) - torch.lgamma(more)
            return (own + heads[self.log_scale]).to(raw.dtype).expand_as(self.centre(heads))


class OnLevels(LocationScale):
    """The mass of a location-scale law between the middles of neighbouring levels, the tails in the first and last.

    Both neighbours compute the edge between them from the same numbers, so that it is the same bit for bit: what one
    level gains by rounding the other loses, and in float32 too the mass sums to 1 within 1e-6.
    """

    def standard(
        self, target: Tensor, m: Tensor, inverse: Tensor, heads: Heads, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor, Heads]:
        """Nats of the level around y, one step of 1/n wide."""
        k = self.level(target)
        a, b, width, log_width = self.edges(k, m, inverse, heads)
        return *self.between(a, b, width, log_width, k == 0, k == self.n, slopes), {}

    def edges(
        self, k: Tensor, m: Tensor, inverse: Tensor, heads: Heads
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In standard units, the edges of level k, their distance and its logarithm."""
        centre, width = m * self.n, inverse / self.n
        log_width = -heads[self.log_scale] - math.log(self.n)
        return (k - 0.5 - centre) * width, (k + 0.5 - centre) * width, width, log_width

    def between(
        self, a: Tensor, b: Tensor, width: Tensor, log_width: Tensor, low: Tensor, high: Tensor, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Nats of the standard law between a and b = a + width, with slopes in a shift of the mean and in log s."""
        raise NotImplementedError

    @abstractmethod
    def standard_cdf(self, z: Tensor, heads: Heads) -> Tensor:
        """The distribution function of the standard law."""

    @abstractmethod
    def spread_mean(self, u: Tensor, d: Tensor, heads: Heads) -> Tensor:
        """The standard law's distribution function, integrated from u - d to u, over d."""

    def cdf(self, target: Tensor, raw: Tensor) -> Tensor:
        """Mass at or below each target; no gradient."""
        with torch.no_grad():
            self._check(target)
            heads, k = self.heads(raw), self.level(target)
            edge = (k + 0.5) / self.n
            z = (edge - self.centre(heads)) * torch.exp(-heads[self.log_scale])
            below = self.standard_cdf(z, heads)
            return torch.where(k == self.n, 1.0, below)

    def mean_of(self, heads: Heads) -> Tensor:
        """The mean of the law kept inside [0, 1], before rounding to levels: within half a level of the mass's mean."""
        inverse = torch.exp(-heads[self.log_scale].clamp(max=_LARGE))
        return self.spread_mean(self.centre(heads) * inverse, inverse, heads)


class DiscretisedGaussian(OnLevels):
    """A normal law on grey levels."""

    id = "discretised_gaussian"

    def between(
        self, a: Tensor, b: Tensor, width: Tensor, log_width: Tensor, low: Tensor, high: Tensor, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See ``normal_mass``."""
        value, shift, spread = normal_mass(a, b, width, log_width, low, high)
        return -value, -shift, -spread

    def standard_cdf(self, z: Tensor, heads: Heads) -> Tensor:
        """Phi."""
        return torch.special.ndtr(z)

    def spread_mean(self, u: Tensor, d: Tensor, heads: Heads) -> Tensor:
        """The integral of Phi is x Phi(x) + phi(x); over a short way its middle value, and a second difference."""

        def integral(x: Tensor) -> Tensor:
            return x * torch.special.ndtr(x) + torch.exp(-x * x / 2 - HALF_LOG_2PI)

        short = d < 0.1
        middle = u - d / 2
        bend = -middle * torch.exp(-middle * middle / 2 - HALF_LOG_2PI)
        near = torch.special.ndtr(middle) + d * d / 24 * bend
        return torch.where(short, near, (integral(u) - integral(u - d)) / torch.where(short, 1.0, d))


class DiscretisedLogistic(OnLevels):
    """A logistic law on grey levels, with its tails: Salimans et al., arXiv 1701.05517."""

    id = "discretised_logistic"

    def between(
        self, a: Tensor, b: Tensor, width: Tensor, log_width: Tensor, low: Tensor, high: Tensor, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log(sigmoid(b) - sigmoid(a)) = log(1 - exp(a - b)) - softplus(-b) - softplus(a); the ends lack some terms."""
        inside = ~(low | high)
        value = torch.where(high, 0.0, softplus(-b)) + torch.where(low, 0.0, softplus(a))
        value -= torch.where(inside, log1mexp(width, log_width), 0.0)
        if not slopes:
            return value, value, value
        at_b = torch.where(high, 0.0, torch.sigmoid(-b))
        at_a = torch.where(low, 0.0, torch.sigmoid(a))
        tiny = width.clamp(min=torch.finfo(width.dtype).tiny)
        return value, at_b - at_a, at_b * b - at_a * a + torch.where(inside, tiny / torch.expm1(tiny), 0.0)

    def standard_cdf(self, z: Tensor, heads: Heads) -> Tensor:
        """The logistic function."""
        return torch.sigmoid(z)

    def spread_mean(self, u: Tensor, d: Tensor, heads: Heads) -> Tensor:
        """The integral of the logistic function is softplus; its difference over a short way by log1p."""
        short = d < 15
        near = torch.log1p(torch.expm1(torch.where(short, d, 1.0)) * torch.sigmoid(u - d))
        return torch.where(short, near, softplus(u) - softplus(u - d)) / d


__all__ = ["DiscretisedGaussian", "DiscretisedLogistic", "Gaussian", "StudentT"]
