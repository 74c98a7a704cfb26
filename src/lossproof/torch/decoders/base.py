"""A decoder's law as a criterion: heads out of the model's output, bounds, chain rule; the laws fill in the rest."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lossproof.catalogue.decoder import Decoder, Head
from lossproof.formula import LossproofError
from lossproof.likelihood.measures import Levels, Measure, measure_of
from lossproof.torch.criterion import Criterion, Graded

Heads = dict[str, Tensor]


class Law(Criterion):
    """The criterion of a decoder: nats of each value, with derived slopes; also its mean, samples and distribution.

    ``values`` and ``log_prob`` are differentiable in ``raw`` and in ``parameters`` by the derived slopes (once), so
    that they serve in any training script. Raises ``LossproofError`` for levels that the decoder cannot take, and for
    an output of another shape than ``outputs`` times the channels.
    """

    #: the decoder's id
    id: ClassVar[str]
    #: whether levels must be k/n
    even: ClassVar[bool] = True

    def __init__(self, decoder: Decoder, image_shape: tuple[int, int, int], levels: object = None) -> None:
        super().__init__()
        self.decoder, self.label, self.channels = decoder, decoder.label, image_shape[0]
        self.measure = self._measure(levels)
        self.unit = self.measure.unit
        count = self.measure.count if isinstance(self.measure, Levels) else None
        self.outputs = decoder.outputs(count)
        #: the number of levels less 1
        self.n = (count or 1) - 1
        for head in decoder.heads:
            if decoder.place(head) == "shared":
                self.parameters[head.name] = torch.tensor(float(head.initial), requires_grad=True)

    def _measure(self, levels: object) -> Measure:
        if self.decoder.measure != "levels":
            return measure_of(self.decoder.measure)
        if levels is None:
            raise LossproofError(
                f"{self.label}: expected the data's levels, got none. It is a mass on levels: give 256 for bytes, or "
                "Levels.of(data); for images without levels take a density."
            )
        measure = measure_of(levels)
        if not isinstance(measure, Levels):
            raise LossproofError(f"{self.label}: expected levels, got {measure}. It is a mass on levels.")
        ends = measure.values[0] == 0 and measure.values[-1] == 1
        if self.even and not (measure.regular and ends):
            raise LossproofError(
                f"{self.label}: expected levels 0, 1/n, ..., 1 in equal steps, got {measure}. "
                "Give the lattice that the data lie on, such as 256 for bytes."
            )
        return measure

    # what a law fills in

    @abstractmethod
    def law(self, target: Tensor, heads: Heads, *, slopes: bool) -> tuple[Tensor, Heads]:
        """Nats of each value, and, if wanted, their derivatives in the heads, by name."""

    @abstractmethod
    def mean_of(self, heads: Heads) -> Tensor:
        """The mean of the law; for the discretised laws that before rounding to levels."""

    # the criterion

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """Nats of each value, slopes in the output, and slopes in the shared parameters."""
        with torch.no_grad():
            values, slopes, own = self._derived(target, raw.detach())
            shared = self.parameters.values()
            sums = tuple(part.sum().to(p.dtype) for part, p in zip(own, shared, strict=True))
            return Graded(values, slopes, sums)

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """Nats of each value. Raises ``LossproofError`` for targets off the levels, or outside [0, 1] on the interval."""
        self._check(target)
        shared = tuple(self.parameters.values())
        if torch.is_grad_enabled() and (raw.requires_grad or any(p.requires_grad for p in shared)):
            found: Tensor = _Nats.apply(self, target, raw, *shared)
            return found
        return self.law(target, self.heads(raw), slopes=False)[0]

    def mean(self, raw: Tensor) -> Tensor:
        """The law's mean, (n, c, h, w); for the discretised laws before rounding, so within half a level of it."""
        return self.mean_of(self.heads(raw))

    def picture(self, raw: Tensor) -> Tensor:
        """The law's mean, kept inside [0, 1]."""
        return self.mean(raw).clamp(0, 1)

    def heads(self, raw: Tensor) -> Heads:
        """The heads by name, each (n, c, h, w) or a scalar, (n, levels, c, h, w) for one with an output a level."""
        return {name: value for name, (value, _) in self._bounded(raw).items()}

    def _bounded(self, raw: Tensor) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Each head with its derivative in what is learned; None for 1."""
        if raw.ndim != 4 or raw.shape[1] != self.outputs * self.channels:
            raise LossproofError(
                f"{self.label}: expected an output of shape (n, {self.outputs * self.channels}, h, w), "
                f"{self.outputs} for each of {self.channels} channels, got {tuple(raw.shape)}."
            )
        parts = raw.unflatten(1, (self.outputs, self.channels))
        found: dict[str, tuple[Tensor, Tensor | None]] = {}
        at = 0
        for head in self.decoder.heads:
            place = self.decoder.place(head)
            if isinstance(place, float | int):
                found[head.name] = (raw.new_tensor(math.log(place)), None)
            elif place == "shared":
                found[head.name] = self._bound(head, self.parameters[head.name].to(raw.dtype))
            elif head.count == "levels":
                found[head.name] = (parts[:, at : at + self.n + 1], None)
                at += self.n + 1
            else:
                part = parts[:, at]
                found[head.name] = self._bound(head, part + head.initial if head.initial else part)
                at += 1
        return found

    def _bound(self, head: Head, value: Tensor) -> tuple[Tensor, Tensor | None]:
        if not head.lowest:
            return value, None
        over = value - self.decoder.number(head.lowest)
        return self.decoder.number(head.lowest) + functional.softplus(over), torch.sigmoid(over)

    def _derived(self, target: Tensor, raw: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Values, slopes in raw, and the slopes of each value in each shared parameter."""
        bounded = self._bounded(raw)
        values, by = self.law(target, {name: value for name, (value, _) in bounded.items()}, slopes=True)
        slopes = torch.empty_like(raw, memory_format=torch.contiguous_format)
        parts = slopes.unflatten(1, (self.outputs, self.channels))
        own: dict[str, Tensor] = {}
        at = 0
        for head in self.decoder.heads:
            place, (_, chain) = self.decoder.place(head), bounded[head.name]
            if place == "shared":
                own[head.name] = by[head.name] if chain is None else by[head.name] * chain
            elif place == "pixel":
                count = self.n + 1 if head.count == "levels" else 1
                room = parts[:, at : at + count] if head.count == "levels" else parts[:, at]
                if chain is None:
                    room.copy_(by[head.name])
                else:
                    torch.mul(by[head.name], chain, out=room)
                at += count
        return values, slopes, [own[name] for name in self.parameters]

    # targets

    def level(self, target: Tensor) -> Tensor:
        """The number k of each target's level, as a float; for levels k/n."""
        return (target * self.n).round()

    def _check(self, target: Tensor) -> None:
        if isinstance(self.measure, Levels):
            off = (target * self.n - self.level(target)).abs() if self.even else None
            if off is None or not bool((off <= 1e-3).all()) or bool(((target < 0) | (target > 1)).any()):
                self.measure.index(target.detach().cpu().numpy(), self.label)  # says where it fails
        elif self.decoder.measure == "interval" and bool((bad := ~((target >= 0) & (target <= 1))).any()):
            first = [int(i) for i in bad.nonzero()[0]]
            raise LossproofError(
                f"{self.label}: expected target in [0, 1], got {int(bad.sum())} of {target.numel()} values outside, "
                f"first {target[tuple(first)].item():g} at {first} (shape {tuple(target.shape)}, "
                f"{str(target.dtype).removeprefix('torch.')}). Divide by 255?"
            )

    # draws, and the distribution function: on levels by sums, one level at a time

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw targets, (n, c, h, w); no gradient."""
        with torch.no_grad():
            return self.quantile(self._uniform(raw, generator), self.heads(raw))

    def quantile(self, share: Tensor, heads: Heads) -> Tensor:
        """The lowest level with more than that share of the mass at or below it, for a law on levels."""
        below, index = torch.zeros_like(share), torch.zeros_like(share)
        for k, mass in enumerate(self._masses(heads, share)):
            if k == self.n:
                break
            below += mass
            index += below <= share
        return self._levels(share)[index.long()]

    def cdf(self, target: Tensor, raw: Tensor) -> Tensor:
        """Mass at or below each target; no gradient."""
        with torch.no_grad():
            self._check(target)
            below = torch.zeros_like(target, dtype=raw.dtype)
            for value, mass in zip(self._levels(raw), self._masses(self.heads(raw), below), strict=True):
                below += mass * (value <= target + 1e-6)
            return below.clamp(max=1)

    def entropy(self, raw: Tensor) -> Tensor:
        """Expected nats of each value, (n, c, h, w); no gradient."""
        with torch.no_grad():
            like = raw.unflatten(1, (self.outputs, self.channels))[:, 0]
            return -sum((mass * torch.log(mass.clamp(min=torch.finfo(mass.dtype).tiny))
                         for mass in self._masses(self.heads(raw), like)), torch.zeros_like(like))  # fmt: skip

    def mass(self, raw: Tensor) -> Tensor:
        """The mass of every level, (n, c, h, w, levels): as many numbers as that, for a few images only."""
        with torch.no_grad():
            like = raw.unflatten(1, (self.outputs, self.channels))[:, 0]
            return torch.stack(list(self._masses(self.heads(raw), like)), dim=-1)

    def _masses(self, heads: Heads, like: Tensor) -> Any:
        for value in self._levels(like):
            yield torch.exp(-self.law(value.expand_as(like), heads, slopes=False)[0])

    def _levels(self, like: Tensor) -> Tensor:
        if not isinstance(self.measure, Levels):
            raise LossproofError(f"{self.label}: expected a law on levels, got one on {self.measure}.")
        return torch.as_tensor(self.measure.values).to(like)

    def _uniform(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        shape = (raw.shape[0], self.channels, *raw.shape[2:])
        return torch.rand(shape, dtype=raw.dtype, device=raw.device, generator=generator)


class _Nats(torch.autograd.Function):
    """A law's values, with its derived slopes on the way back."""

    @staticmethod
    def forward(ctx: Any, law: Law, target: Tensor, raw: Tensor, *shared: Tensor) -> Tensor:
        values, slopes, own = law._derived(target, raw)
        ctx.shape, ctx.dtypes = (law.outputs, law.channels), [p.dtype for p in shared]
        ctx.save_for_backward(slopes, *own)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slopes, *own = ctx.saved_tensors
        by_raw = (slopes.unflatten(1, ctx.shape) * grad.unsqueeze(1)).flatten(1, 2)
        sums = ((part * grad).sum().to(dtype) for part, dtype in zip(own, ctx.dtypes, strict=True))
        return None, None, by_raw, *sums


__all__ = ["Heads", "Law"]
