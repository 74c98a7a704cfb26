"""CalibratedCriterion: a loss divided by its temperature, plus log Z, with the temperature learned or solved."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lossproof.catalogue import resolve
from lossproof.formula import Loss, LossproofError
from lossproof.formula.errors import nearest
from lossproof.likelihood import Levels, fit_temperature
from lossproof.likelihood.grid import RUNGS, SOFT, grid_for, weights
from lossproof.likelihood.integrand import Of
from lossproof.likelihood.measures import measure_of, positive_temperature
from lossproof.torch.criterion import Criterion, Graded, Sample
from lossproof.torch.kernel import kernel

How = Literal["learned", "solved"]
LOW, HIGH = 1e-4, 1e3  # bounds of T
FITTED = (
    1 << 16
)  # values that T is fitted to: some hundredths of an epoch's time on 60,000 images of 784 pixels


class CalibratedCriterion(Criterion):
    """-log q(y | p) = (loss(y, p) + T log Z(p, T))/T behind the sigmoid, on levels (nats of mass) or on [0, 1] (density).

    ``how``: "learned", log T being a parameter beside the weights, with ten times their learning rate; or "solved",
    before each epoch, so that the mean loss of its first images equals its expectation. Both start from such a fit with
    the mean of these images as the prediction, and at no more than twice its mean loss: an untrained model would ask for
    a T at which no pixel counts.
    ``per_channel`` gives each of so many channels a temperature of its own. T is kept in [``low``, ``high``]: as
    predictions get perfect the likelihood grows without bound while T falls. ``of``: "loss" or "excess", two different
    laws. log Z is looked up, within 1e-4 nats. Raises ``LossproofError`` for what cannot be normalised.

    >>> made = CalibratedCriterion("mse", measure=256, temperature=0.02)
    >>> y, z = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[-1.0, 2.0]]]])
    >>> from lossproof.torch.distribution import LossDistribution
    >>> law = LossDistribution("mse", logits=z, temperature=0.02)
    >>> made.unit, torch.allclose(made.log_prob(y, z), law.log_prob(y), atol=1e-4)
    ('nats of mass', True)
    """

    pace = 10.0

    def __init__(
        self,
        loss: object,
        *,
        measure: object = "levels",
        of: Of = "loss",
        how: How = "learned",
        temperature: float = 1.0,
        per_channel: int | None = None,
        low: float = LOW,
        high: float = HIGH,
    ) -> None:
        super().__init__()
        self.loss: Loss = resolve(loss)
        self.label = self.loss.label
        if how not in get_args(How):
            raise LossproofError(
                f"calibrate: expected learned or solved, got {how!r}; {nearest(str(how), get_args(How))}"
            )
        low, high = positive_temperature(low, self.label), positive_temperature(high, self.label)
        start = positive_temperature(temperature, self.label)
        if not low <= start <= high:
            raise LossproofError(
                f"{self.label}: expected a temperature in [{low:g}, {high:g}], got {start:g}. Move the bounds."
            )
        self.how: How = how
        self.measure, self.of, self.high = measure_of(measure), of, high
        self.unit = self.measure.unit
        self.kernel = kernel(self.loss)
        self.grid = grid_for(self.loss, self.measure, of)
        self.grid.pair(start)  # refuse at once what cannot be normalised
        self.per_channel = per_channel
        shape = () if per_channel is None else (per_channel,)
        log_t = torch.full(shape, math.log(start))
        if how == "learned":
            self.parameters["log_temperature"] = log_t.requires_grad_()
        else:
            self.buffers["log_temperature"] = log_t
        self.buffers["low"] = torch.tensor(low)
        self._floors = _Floors(self.loss, self.measure) if self.grid.integrand.shifts else None
        self._tables: dict[float, _Table] = {}

    @property
    def log_temperature(self) -> Tensor:
        """log T, shape () or (channels,)."""
        found = self.parameters if self.how == "learned" else self.buffers
        return found["log_temperature"]

    @property
    def temperature(self) -> Tensor:
        """T as it is now, shape () or (channels,), float64 on the CPU."""
        return self.log_temperature.detach().double().exp().cpu()

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """Values with their derivatives in the logit and in log T. Off the CPU each call waits for T."""
        parts = [self._one(y, z, t, True) for y, z, t in self._groups(target, raw)]
        values, slopes = (_together([part[i] for part in parts]) for i in (0, 1))
        if self.how != "learned":
            return Graded(values, slopes)
        return Graded(
            values, slopes, (torch.stack([p[2] for p in parts]).reshape(self.log_temperature.shape),)
        )

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """-log q of each value, nats."""
        return _together([self._one(y, z, t, False)[0] for y, z, t in self._groups(target, raw)])

    def loss_slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """The slopes times T: on the scale of the plain loss."""
        t = self.temperature.to(raw.device, raw.dtype)
        return self.slopes(target, raw) * (t if t.dim() == 0 else t[:, None, None])

    def picture(self, raw: Tensor) -> Tensor:
        """The prediction p = sigmoid(logit); the law's mean is another number."""
        return raw.sigmoid()

    def begin(self, epoch: int, sample: Sample) -> None:
        """Fit T to the first images of the epoch: before the first measuring, and if T is solved before each epoch."""
        if epoch > 0 and (self.how == "learned" or epoch == 1):
            return
        target, raw = sample()
        if epoch == 0:
            edge = 0.5 / len(target)
            raw = target.double().mean(0).clamp(edge, 1 - edge).logit().to(raw).expand_as(raw)
        few = max(1, FITTED // target[0].numel())
        target, raw = target[:few], raw[:few]
        if not bool(torch.isfinite(self.kernel.value_logits(target, raw)).all()):
            return  # the loop will say where; T stays as it is
        fitted = fit_temperature(
            self.loss,
            target.double().cpu().numpy(),
            logits=raw.double().cpu().numpy(),
            measure=self.measure,
            of=self.of,
            per="all" if self.per_channel is None else "channel",
            low=float(self.buffers["low"]),
            high=self.high,
        )
        t = fitted.temperature
        if epoch == 0:
            # where the mean image does worse than a flat law T would have no end, and no pixel would count: twice the
            # mean loss is what squared errors ask for on the line
            t = np.where(fitted.observed > 0, np.minimum(t, 2 * fitted.observed), t)
        with torch.no_grad():
            self.log_temperature.copy_(torch.as_tensor(np.log(t)))
        self.project()

    def project(self) -> None:
        """Keep log T inside its bounds, and NaN as it is."""
        with torch.no_grad():
            self.log_temperature.clamp_(float(self.buffers["low"].log()), math.log(self.high))

    def _groups(self, target: Tensor, raw: Tensor) -> list[tuple[Tensor, Tensor, float]]:
        numbers = self.log_temperature.detach().reshape(-1).tolist()
        if self.per_channel is None:
            return [(target, raw, numbers[0])]
        if raw.shape[1] != len(numbers):
            raise LossproofError(
                f"{self.label}: expected {len(numbers)} channels, one a temperature, got shape {tuple(raw.shape)}."
            )
        pairs = zip(target.split(1, 1), raw.split(1, 1), numbers, strict=True)
        return [(y.contiguous(), z.contiguous(), t) for y, z, t in pairs]

    def _one(self, target: Tensor, raw: Tensor, log_t: float, slopes: bool) -> tuple[Tensor, ...]:
        """Values, and if asked for slopes and the derivative of their sum in log T, at one temperature."""
        if not math.isfinite(log_t):  # a lost T loses all: the loop will say so
            lost = torch.full_like(raw, math.nan)
            return lost, lost, lost.sum()
        table = self._table(log_t, raw)
        scale = 1 / table.temperature
        cell, u, chain = table.place(raw, slopes)
        t = table.bend.index_select(0, cell)
        bend = t.clone() if slopes else t
        t = t.mul_(u).add_(table.rise.index_select(0, cell))
        values = table.energy.index_select(0, cell).addcmul_(u, t).view_as(raw)
        if not slopes:
            values.add_(self._less_floor(self.kernel.value_logits(target, raw), target), alpha=scale)
            return (values,)
        loss, slope = self._both(target, raw, scale)
        values.add_(self._less_floor(loss, target), alpha=scale)
        slope.addcmul_(t.addcmul_(u, bend).view_as(raw), chain)
        if self.how != "learned":
            return values, slope
        own = table.moment.index_select(0, cell).sum() + torch.dot(table.drift.index_select(0, cell), u)
        return values, slope, own - values.sum()

    def _both(self, target: Tensor, raw: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """The loss, and scale times its derivative in the logit."""
        if self.kernel.both_logits is not None:
            loss, slope = self.kernel.both_logits(target, raw, scale=scale)
            return loss, slope
        return self.kernel.value_logits(target, raw), self.kernel.gradient_logits(target, raw) * scale

    def _less_floor(self, loss: Tensor, target: Tensor) -> Tensor:
        if self._floors is None:
            return loss
        return loss.sub_(self._floors(target)).clamp_(min=0)  # an excess is never negative

    def _table(self, log_t: float, like: Tensor) -> _Table:
        if (found := self._tables.get(log_t)) is not None and found.energy.device == like.device:
            return found
        t = math.exp(log_t)
        while True:
            try:
                u, pair = self.grid.pair(t)
                break
            except LossproofError:
                # no grid is fine enough down there: T is bounded higher up from now on
                t *= 2
                if t > self.high:
                    raise
                self.buffers["low"].fill_(t)
        self.project()
        made = _Table(self, t, u, pair, like)
        self._tables = {
            k: v for k, v in self._tables.items() if len(self._tables) < max(2, self.per_channel or 0)
        }
        self._tables[log_t] = made
        return made


class _Table:
    """The quadratics at one temperature, divided by it, as tensors; energy + u (rise + u bend) in each cell."""

    def __init__(self, made: CalibratedCriterion, t: float, u: float, pair: np.ndarray, like: Tensor) -> None:
        self.temperature, self.behind = t, made.grid.behind
        self.cells = pair.shape[-1]
        self.factor = self.cells / (made.grid.high - made.grid.low)
        (c0, c1, c2), (d0, d1, d2) = np.tensordot(weights(u), pair, 1) / t
        columns = np.stack([c0, c1, c2, d0 * RUNGS, (d1 + d2) * RUNGS])
        tensor = torch.from_numpy(columns.astype(np.float32 if like.dtype != torch.float64 else np.float64))
        self.energy, self.rise, self.bend, self.moment, self.drift = tensor.to(like.device).unbind(0)

    def place(self, raw: Tensor, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Each logit's cell and place in it, flat, and the derivative of the place in the logit."""
        if self.behind:
            root = raw.abs().add_(SOFT).rsqrt_()
            spot = torch.mul(raw, root).mul_(self.factor).add_(self.cells / 2)
            chain = root.mul_(root.square().mul_(SOFT / 2).add_(0.5)).mul_(self.factor) if slopes else root
        else:
            p = raw.sigmoid()
            spot = p * self.cells
            chain = torch.addcmul(p, p, p, value=-1).mul_(self.cells) if slopes else p
        cell = spot.to(torch.int32).clamp_(0, self.cells - 1)
        return cell.view(-1), spot.sub_(cell).view(-1), chain


class _Floors:
    """The loss's floor at targets: looked up by level, or computed where targets may be anything."""

    def __init__(self, loss: Loss, measure: object) -> None:
        from lossproof.lower import function

        self.floor = function(loss).floor
        self.values: Tensor | None = None
        self.regular = False
        self.edges: Tensor | None = None
        if isinstance(measure, Levels):
            self.values = torch.from_numpy(np.asarray(self.floor(measure.values), dtype=np.float64))
            self.low = float(measure.values[0])
            self.step = float(measure.values[-1] - measure.values[0]) / (measure.count - 1)
            self.regular = measure.regular
            self.edges = torch.from_numpy((measure.values[1:] + measure.values[:-1]) / 2)
        self.cast: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __call__(self, target: Tensor) -> Tensor:
        if self.values is None:  # a floor may be a search, so each distinct target is looked at once
            distinct, back = torch.unique(target, return_inverse=True)
            found = np.asarray(self.floor(distinct.double().cpu().numpy()))
            return torch.from_numpy(found).to(target)[back]
        key = (target.device, target.dtype)
        if key not in self.cast:
            self.cast[key] = self.values.to(target)
        values = self.cast[key]
        if self.regular:
            level = ((target - self.low) / self.step).round_().to(torch.int32).clamp_(0, len(values) - 1)
        else:
            assert self.edges is not None
            level = torch.bucketize(target, self.edges.to(target), out_int32=True)
        return values.index_select(0, level.view(-1)).view_as(target)


def _together(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


__all__ = ["HIGH", "LOW", "CalibratedCriterion", "How"]
