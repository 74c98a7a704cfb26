"""CalibratedCriterion: a loss divided by its temperature, plus log Z, with the temperature learned or solved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lossproof.catalogue import resolve
from lossproof.formula import Loss, LossproofError
from lossproof.formula.errors import nearest
from lossproof.likelihood import Likelihood, fit_temperature, likelihood
from lossproof.likelihood.grid import grid_for
from lossproof.likelihood.integrand import Of
from lossproof.likelihood.law import targets_on
from lossproof.likelihood.measures import measure_of, positive_temperature
from lossproof.likelihood.surface import RUNGS, ladder, surface_for
from lossproof.likelihood.temperature import Per
from lossproof.torch.affine import Exponential
from lossproof.torch.criterion import Criterion, Graded, Sample
from lossproof.torch.kernel import kernel
from lossproof.torch.lookups import Floors, Found, Patches, Table, summed, within

How = Literal["learned", "solved"]
LOW, HIGH = 1e-4, 1e3  # bounds of T
#: values that one T is fitted to: some hundredths of an epoch's time on 60,000 images of 784 pixels
FITTED = 1 << 16
ONE = 1.0  # images that the mean of all pixels counts as, where each pixel's own T is fitted


class CalibratedCriterion(Criterion):
    """-log q(y | p) = (loss(y, p) + T log Z(p, T))/T behind the sigmoid, on levels (nats of mass) or on [0, 1] (density).

    ``per``: what shares a T. "all" values; each "channel"; each "pixel" (of each channel), the same for every image; or
    each "image" has its own, solved as the image comes: of a ladder of ``rungs`` temperatures that under which the image
    is most likely. To decode it one has to be told which: each value carries its part of log(rungs) nats, so that an
    image's sum is that of a code that exists. "channel" and "pixel" need ``image_shape`` (c, h, w).

    ``how``: "learned", log T being a parameter beside the weights, with ten times their learning rate; or "solved",
    before each epoch, so that the mean loss of its first images equals its expectation. Both start from such a fit with
    the mean of these images as the prediction, and at no more than twice its mean loss: an untrained model would ask for
    a T at which no pixel counts. An image's own T is always solved; in training it stays below such a start, or twice the
    image's mean loss.

    T is kept in [``low``, ``high``]: as predictions get perfect the likelihood grows without bound while T falls. ``of``:
    "loss" or "excess", two different laws. log Z is a closed form for a loss that is affine in the target, as BCE is, on
    equal steps; else it is looked up, within 1e-4 nats. Raises ``LossproofError`` for what cannot be normalised, an image's
    T that is to be learned, and targets off the measure (in training: the first ones).

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
        per: Per = "all",
        image_shape: tuple[int, int, int] | None = None,
        low: float = LOW,
        high: float = HIGH,
    ) -> None:
        super().__init__()
        self.loss: Loss = resolve(loss)
        self.label = self.loss.label
        for name, value, known in (("calibrate", how, get_args(How)), ("per", per, get_args(Per))):
            if value not in known:
                raise LossproofError(
                    f"{name}: expected {', '.join(known[:-1])} or {known[-1]}, got {value!r}; {nearest(str(value), known)}"
                )
        low, high = positive_temperature(low, self.label), positive_temperature(high, self.label)
        start = positive_temperature(temperature, self.label)
        if not low <= start <= high:
            raise LossproofError(
                f"{self.label}: expected a temperature in [{low:g}, {high:g}], got {start:g}. Move the bounds."
            )
        self.how: How = how
        self.measure, self.of, self.high, self.per = measure_of(measure), of, high, per
        self.unit = self.measure.unit
        self.kernel = kernel(self.loss)
        self.grid = grid_for(self.loss, self.measure, of)
        self.exponential = Exponential.of(self.grid.integrand)
        if self.exponential is None:
            self.grid.pair(start)  # refuse at once what cannot be normalised
        self.shape = _shape_of(per, image_shape, self.label)
        log_t = torch.full(self.shape, math.log(start))
        if per == "image":
            if how == "learned":
                raise LossproofError(
                    f"{self.label}: expected calibrate solved for one T an image, got learned: the next image has another "
                    "T, which no training can know. Use solved, or per pixel."
                )
            self.buffers["start"] = torch.tensor(high)
        elif how == "learned":
            self.parameters["log_temperature"] = log_t.requires_grad_()
        else:
            self.buffers["log_temperature"] = log_t
        self.buffers["low"] = torch.tensor(low)
        self._floors = Floors(self.loss, self.measure) if self.grid.integrand.shifts else None
        self._tables: dict[float, Table] = {}
        self._patches: Patches | None = None
        self._seen = torch.empty(0)  # log T of the images last seen
        self._given: Tensor | None = None  # log T of images that are seen again
        self._unchecked = True  # whether the targets lie on the measure; the first ones are looked at

    @property
    def log_temperature(self) -> Tensor:
        """log T, shape () or (channels,) or (c, h, w); of each image last seen (n,), where each has its own."""
        if self.per == "image":
            return self._seen
        found = self.parameters if self.how == "learned" else self.buffers
        return found["log_temperature"]

    @property
    def temperature(self) -> Tensor:
        """T as it is now, shape as that of ``log_temperature``, float64 on the CPU."""
        return self.log_temperature.detach().double().exp().cpu()

    @property
    def ladder(self) -> range:
        """The temperatures that an image may have, as rungs: exp(rung/12)."""
        return ladder(float(self.buffers["low"]), self.high)

    def grade(self, target: Tensor, raw: Tensor) -> Graded:
        """Values with their derivatives in the logit and in log T. Off the CPU each call waits for T."""
        values, slopes, *own = self._found(target, raw, True)
        return Graded(values, slopes, tuple(own))

    def values(self, target: Tensor, raw: Tensor) -> Tensor:
        """-log q of each value, nats."""
        return self._found(target, raw, False)[0]

    def log_prob(self, target: Tensor, raw: Tensor) -> Tensor:
        """Log-mass or log-density of each value, nats. Raises ``LossproofError`` for targets off the measure."""
        self._unchecked = True
        return super().log_prob(target, raw)

    def loss_slopes(self, target: Tensor, raw: Tensor) -> Tensor:
        """The slopes times T: on the scale of the plain loss."""
        slopes = self.slopes(target, raw)
        return slopes * self._spread(self.log_temperature.detach()).exp().to(slopes)

    def given(self, target: Tensor, raw: Tensor) -> Criterion:
        """The law of other values of these images: at their own T, which then is known, where each image has one."""
        if self.per != "image":
            return self
        self.values(target, raw)
        made = copy(self)
        made._given = self._seen
        return made

    def exact(self, target: Tensor, raw: Tensor) -> Iterator[tuple[Tensor, Likelihood]]:
        """Which values have which T, as masks of the target's shape, and the exact law at each."""
        self.values(target, raw)
        every = self._spread(self.temperature).expand_as(target)
        for t in every.unique().tolist():
            yield every == t, likelihood(self.loss, t, self.measure, self.of)

    def picture(self, raw: Tensor) -> Tensor:
        """The prediction p = sigmoid(logit); the law's mean is another number."""
        return raw.sigmoid()

    def begin(self, epoch: int, sample: Sample) -> None:
        """Fit T to the first images of the epoch: before the first measuring, and if T is solved before each epoch."""
        if epoch > 0 and (self.how == "learned" or epoch == 1 or self.per == "image"):
            return
        target, raw = sample()
        if self.per != "pixel":
            few = max(1, FITTED // target[0].numel())
            target, raw = target[:few], raw[:few]
        if epoch == 0:
            edge = 0.5 / len(target)
            raw = target.double().mean(0).clamp(edge, 1 - edge).logit().to(raw).expand_as(raw)
        # where the mean image does worse than a flat law T would have no end, and no pixel would count: twice the
        # mean loss is what squared errors ask for on the line
        self.fit(target, raw, most=2.0 if epoch == 0 else math.inf)

    def fit(self, target: Tensor, raw: Tensor, *, most: float = math.inf) -> None:
        """Solve for T on these images; no more than ``most`` times their mean loss. An image's own T is not kept."""
        if not bool(torch.isfinite(self.kernel.value_logits(target, raw)).all()):
            return  # the loop will say where; T stays as it is
        fitted = fit_temperature(
            self.loss,
            target.double().cpu().numpy(),
            logits=raw.double().cpu().numpy(),
            measure=self.measure,
            of=self.of,
            per="all" if self.per == "image" else self.per,
            low=float(self.buffers["low"]),
            high=self.high,
            shrink=ONE if self.per == "pixel" else 0.0,
        )
        t, observed = fitted.temperature, fitted.observed
        found = torch.as_tensor(np.where(observed > 0, np.minimum(t, most * observed), t))
        if self.per == "image":
            self.buffers["start"].copy_(found)
            return
        with torch.no_grad():
            self.log_temperature.copy_(found.log())
        self.project()

    def project(self) -> None:
        """Keep log T inside its bounds, and NaN as it is."""
        if self.per == "image":
            return
        with torch.no_grad():
            self.log_temperature.clamp_(float(self.buffers["low"].log()), math.log(self.high))

    def _found(self, target: Tensor, raw: Tensor, slopes: bool) -> tuple[Tensor, ...]:
        """Values, and if asked for slopes and the derivative of their sum in log T."""
        wide = torch.promote_types(
            raw.dtype, torch.float32
        )  # of half precision, a law has too few digits left
        target, raw = target.to(wide), raw.to(wide)
        if self._unchecked:
            targets_on(self.measure, target.detach().cpu().numpy(), self.label)
            self._unchecked = False
        if self.per == "all":
            return self._one(target, raw, float(self.log_temperature.detach()), slopes)
        if self.shape and raw.shape[1 : 1 + len(self.shape)] != self.shape:
            what = f"{self.shape[0]} channels" if len(self.shape) == 1 else f"images of {self.shape}"
            raise LossproofError(
                f"{self.label}: expected {what}, one temperature each, got shape {tuple(raw.shape)}."
            )
        return self._many(target, raw, slopes)

    def _many(self, target: Tensor, raw: Tensor, slopes: bool) -> tuple[Tensor, ...]:
        """The same at temperatures that differ from value to value."""
        share, far = 0.0, None
        choose = self.per == "image" and self._given is None
        if self.exponential is None or choose:
            loss, slope = (
                self._both(target, raw, 1.0) if slopes else (self.kernel.value_logits(target, raw), raw)
            )
            loss = self._less_floor(loss, target)
            table = self._patches_like(raw)
            inside, far = within(raw, self.grid)
            at = table.place(inside, slopes)
        if choose:
            share = self._choose(at[0], loss, table, training=slopes) / raw[0].numel()
        elif self._given is not None:
            self._seen = self._given.to(raw)
        log_t = self._spread(self.log_temperature.detach())
        if not bool(log_t.isfinite().all()):  # a lost T loses all: the loop will say so
            lost = torch.full_like(raw, math.nan)
            return lost, lost, *(torch.full_like(part, math.nan) for part in self.parameters.values())
        if self.exponential is not None:
            values, *rest = self.exponential.grade(target, raw, _inverse(log_t, raw), slopes)
        else:
            found = self._looked_up(table, inside, at, slopes)
            log_t = self._spread(self.log_temperature.detach())  # it may have been raised
            inverse = _inverse(log_t, raw)
            values = found.energy.add_(loss).mul_(inverse)
            rest = []
            if slopes:
                by_log_t = found.by_log_t.mul_(inverse).sub_(values) if self.parameters else values
                rest = [slope.add_(found.by_logit).mul_(inverse), by_log_t]
            if far is not None:
                right = summed(self.grid, target[far], raw[far], log_t.double().expand_as(raw)[far])
                for got, one in zip((values, *rest), right, strict=False):
                    got[far] = one
        values = values.add_(share) if share else values
        if not slopes:
            return (values,)
        if not self.parameters:
            return values, rest[0]
        return values, rest[0], rest[1].sum(0) if self.per == "pixel" else rest[1].sum((0, 2, 3))

    def _spread(self, log_t: Tensor) -> Tensor:
        """log T in a shape that broadcasts to (n, c, h, w)."""
        if self.per == "image":
            return log_t.view(-1, 1, 1, 1)
        return log_t.view(-1, 1, 1) if self.per == "channel" else log_t

    def _choose(self, at: Tensor, loss: Tensor, table: Patches, *, training: bool) -> float:
        """Find each image's T, and return the nats that telling it costs an image: none where it is known.

        In training T stays below what it started with, or twice the image's mean loss: else the model, while it is worse
        than a flat law, would have a flat law, and no reason to learn.
        """
        most = torch.maximum(2 * loss.flatten(1).mean(1), self.buffers["start"].to(at)) if training else None
        while True:
            rungs = self.ladder
            self._seen = table.best(at, loss, rungs, most).to(at)
            if self.exponential is not None:
                return math.log(len(rungs))
            try:
                table.need((self._seen * RUNGS).round().long().unique().tolist())
                return math.log(len(rungs))
            except LossproofError:
                self._raise_low(math.exp(float(self._seen.min())))

    def _looked_up(self, table: Patches, raw: Tensor, at: tuple[Tensor, Tensor], slopes: bool) -> Found:
        while True:
            log_t = self._spread(self.log_temperature.detach())
            try:
                return table.look_up(raw, at, log_t, slopes=slopes, exact=self.per == "image")
            except LossproofError:
                self._raise_low(float(self.temperature.min()))

    def _raise_low(self, t: float) -> None:
        """No table is fine enough down there: T is bounded higher up from now on."""
        if 2 * t > self.high:
            raise LossproofError(
                f"{self.label}: expected a temperature at which log Z can be tabulated, found none up to {self.high:g}."
            )
        self.buffers["low"].fill_(2 * t)
        self.project()

    def _patches_like(self, raw: Tensor) -> Patches:
        found = self._patches
        if found is None or not found.serves(raw):
            found = self._patches = Patches(surface_for(self.loss, self.measure, self.of), raw)
        return found

    def _one(self, target: Tensor, raw: Tensor, log_t: float, slopes: bool) -> tuple[Tensor, ...]:
        """Values, and if asked for slopes and the derivative of their sum in log T, at one temperature."""
        if not math.isfinite(log_t):  # a lost T loses all: the loop will say so
            lost = torch.full_like(raw, math.nan)
            return lost, lost, *(lost.sum() for _ in self.parameters)
        if self.exponential is not None:
            values, *rest = self.exponential.grade(target, raw, math.exp(-log_t), slopes)
            if not slopes:
                return (values,)
            return values, rest[0], *(rest[1].sum() for _ in self.parameters)
        table = self._table(log_t, raw)
        scale = 1 / table.temperature
        inside, far = within(raw, self.grid)
        cell, u, chain = table.place(inside, slopes)
        t = table.bend.index_select(0, cell)
        bend = t.clone() if slopes else t
        t = t.mul_(u).add_(table.rise.index_select(0, cell))
        values = table.energy.index_select(0, cell).addcmul_(u, t).view_as(raw)
        right = None
        if far is not None:
            at = torch.full_like(raw[far], math.log(table.temperature), dtype=torch.float64)
            right = summed(self.grid, target[far], raw[far], at)
        if not slopes:
            values.add_(self._less_floor(self.kernel.value_logits(target, raw), target), alpha=scale)
            if right is not None:
                values[far] = right[0]
            return (values,)
        loss, slope = self._both(target, raw, scale)
        values.add_(self._less_floor(loss, target), alpha=scale)
        slope.addcmul_(t.addcmul_(u, bend).view_as(raw), chain)
        if right is not None:
            values[far], slope[far] = right[:2]
        if self.how != "learned":
            return values, slope
        own, drift = table.moment.index_select(0, cell), table.drift.index_select(0, cell)
        if right is not None:
            own.view_as(raw)[far], drift.view_as(raw)[far] = right[0] + right[2], 0.0
        return values, slope, own.sum() + torch.dot(drift, u) - values.sum()

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

    def _table(self, log_t: float, like: Tensor) -> Table:
        if (found := self._tables.get(log_t)) is not None and found.energy.device == like.device:
            return found
        t = math.exp(log_t)
        while True:
            try:
                u, pair = self.grid.pair(t)
                break
            except LossproofError:
                self._raise_low(t)
                t *= 2
        made = Table(self.grid, t, u, pair, like)
        self._tables = {k: v for k, v in self._tables.items() if len(self._tables) < 2}
        self._tables[log_t] = made
        return made


def _inverse(log_t: Tensor, raw: Tensor) -> Tensor:
    """1/T in the dtype of the logits."""
    return (-log_t.to(torch.promote_types(log_t.dtype, raw.dtype))).exp().to(raw)


def _shape_of(per: Per, image_shape: tuple[int, int, int] | None, label: str) -> tuple[int, ...]:
    """The shape of the temperatures that are kept: those of images are not."""
    if per in ("all", "image"):
        return ()
    if image_shape is None:
        raise LossproofError(
            f"{label}: expected image_shape (channels, height, width) for one T a {per}, got none."
        )
    return image_shape[:1] if per == "channel" else image_shape


__all__ = ["HIGH", "LOW", "CalibratedCriterion", "How"]
