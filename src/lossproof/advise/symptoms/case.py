"""A case: everything that was given, and the few numbers that every question needs, computed once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lossproof.advise.symptoms import reach
from lossproof.advise.symptoms.files import Curve, Tensors, last_finite
from lossproof.advise.symptoms.readings import REDUCTIONS, Reading, readings
from lossproof.advise.symptoms.records import percent, short
from lossproof.advise.symptoms.targets import Targets
from lossproof.lower import LossFunction

NEAR = 0.01  # two losses that differ by less than this share are the same symptom


@dataclass(frozen=True)
class Case:
    """What was given. ``value`` is the last logged loss, taken from the curve where only that is given."""

    loss: LossFunction | None = None
    value: float | None = None
    curve: Curve | None = None
    reduction: str | None = None
    rate: float | None = None
    kl_weight: float | None = None
    batch: int | None = None
    targets: Targets | None = None
    tensors: Tensors | None = None
    shape: tuple[int, ...] | None = None
    computed: bool = False  # the value is the dump's own loss, not a logged one

    @cached_property
    def outside(self) -> int:
        """Target values outside the loss's domain; 0 without a loss or targets."""
        if self.loss is None or self.targets is None:
            return 0
        levels = self.targets.levels
        return int(levels.counts[~self.loss.definition.target.contains(levels.values)].sum())

    @property
    def legal(self) -> bool:
        """Whether the targets are there, finite, and in the loss's domain."""
        return (
            self.loss is not None
            and self.targets is not None
            and not self.outside
            and not self.targets.not_finite
        )

    @cached_property
    def floor(self) -> float | None:
        """Least mean loss per value on the targets; None where the targets are unknown or illegal."""
        if self.loss is None or self.targets is None or not self.legal:
            return None
        found = reach.floor(self.loss, self.targets.levels)
        return 0.0 if 0 < found < 1e-12 else found

    @cached_property
    def flat(self) -> tuple[float, str] | None:
        """The mean loss per value of the better of two fixed pictures, and which it is: mean or median image."""
        if self.loss is None or self.targets is None or not self.legal or self.targets.count < 2:
            return None
        if self.targets.low < 0 or self.targets.high > 1:
            return None
        found = self.targets
        made = [
            (reach.picture(self.loss, found.sample, image, found.count), name)
            for image, name in ((found.mean_image, "mean image"), (found.median_image, "median image"))
        ]
        return min(made)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """What a mean loss per value can be: the floor, and the loss of predicting 1/2 (or the flat picture's).

        Without targets: the lowest floor and the highest loss of 1/2 over targets in [0, 1].
        """
        assert self.loss is not None
        if self.targets is not None and self.floor is not None:
            even = reach.at(self.loss, self.targets.levels, 0.0)
            return self.floor, max(even, self.flat[0] if self.flat else even)
        return reach.bottom(self.loss), reach.even(self.loss)

    @cached_property
    def readings(self) -> list[Reading]:
        """The reductions that may have made the value: the stated one, else all."""
        every = readings(self.image_shape, self.batch)
        stated = [reading for reading in every if reading.id == self.reduction]
        if self.reduction is not None and not stated:
            same = {"channel_mean": "nats_per_image", "channel_sum": "mean"}.get(self.reduction)
            stated = [reading for reading in every if reading.id == same]
        return stated or every

    @cached_property
    def image_shape(self) -> tuple[int, ...] | None:
        """Shape of one image, from whatever was given."""
        if self.shape is not None:
            return self.shape
        return None if self.targets is None else self.targets.shape

    @property
    def pixels(self) -> int | None:
        """Values of one image."""
        return None if self.image_shape is None else math.prod(self.image_shape)

    def per_value(self, reading: Reading) -> float:
        """The logged value as a mean loss per value."""
        assert self.value is not None
        return self.value / reading.factor

    def same(self, per: float, expected: float, share: float) -> bool:
        """Whether two losses per value differ by less than a share of what the expected one lies above the floor."""
        floor = self.floor if self.floor is not None and math.isfinite(self.floor) else 0.0
        return abs(per - expected) < share * abs(expected - floor)

    @cached_property
    def plausible(self) -> list[Reading]:
        """The readings under which the value lies between floor and the loss of predicting 1/2 everywhere."""
        if self.loss is None or self.value is None or not math.isfinite(self.value):
            return []
        low, high = self.bounds
        slack = 1e-6 + NEAR * abs(high) if self.targets is None else 1e-6 + 1e-3 * abs(low)
        return [
            reading
            for reading in self.readings
            if low - slack <= self.per_value(reading) <= high * (1 + NEAR) + 1e-9
        ]

    @cached_property
    def reading(self) -> Reading | None:
        """The one reading that is left, if one is."""
        if self.reduction is not None and len(self.readings) == 1:
            return self.readings[0]
        return self.plausible[0] if len(self.plausible) == 1 else None

    @property
    def finite(self) -> bool:
        """Whether there is a logged value that is a number."""
        return self.value is not None and math.isfinite(self.value)

    def facts(self) -> tuple[str, ...]:
        """What was given and what follows at once, in sentences."""
        said: list[str] = []
        if self.loss is not None:
            said.append(f"loss: {self.loss.definition.label}, {self.loss.definition.formula}")
        if self.value is not None:
            how = f" ({REDUCTIONS[self.reduction]})" if self.reduction else ""
            said.append(
                f"{'computed from the dump' if self.computed else 'logged'}: {short(self.value)}{how}"
            )
        if self.rate is not None:
            said.append(f"rate (KL): {short(self.rate)} nats per image")
        if self.targets is not None:
            said += self._targets_said()
        if self.floor is not None and self.targets is not None:
            said.append(self._floor_said())
        if self.tensors is not None:
            said += [f"dump: {name} {array.shape} in {spread(array)}" for name, array in self._arrays()]
        return tuple(said)

    def _arrays(self) -> Sequence[tuple[str, np.ndarray]]:
        assert self.tensors is not None
        named = (("predictions", self.tensors.predictions), ("logits", self.tensors.logits))
        return [(name, array) for name, array in named if array is not None]

    def _targets_said(self) -> list[str]:
        t = self.targets
        assert t is not None
        size = " x ".join(map(str, t.shape))
        if not t.levels.values.size:
            return [f"targets: {t.name}, {t.count} images of {size}, no finite value"]
        inside = (t.levels.values > 0) & (t.levels.values < 1)
        return [
            f"targets: {t.name}, {t.count} images of {size} = {t.pixels} values; {t.scaling}; "
            f"{short(t.low)} .. {short(t.high)}, mean {short(t.mean)}; {percent(t.levels.share(inside))} strictly "
            "between 0 and 1"
        ] + ([t.note] if t.note else [])

    def _floor_said(self) -> str:
        assert self.floor is not None
        assert self.targets is not None
        pixels = self.targets.pixels
        said = f"floor: {short(self.floor)} per value, {short(self.floor * pixels)} nats per image"
        if self.flat is not None:
            said += f"; {self.flat[1]} for every image: {short(self.flat[0])} per value, {short(self.flat[0] * pixels)}"
        return said


def spread(array: np.ndarray) -> str:
    """The range of an array's finite values, as text."""
    finite = array[np.isfinite(array)]
    return (
        f"[{short(float(finite.min()))}, {short(float(finite.max()))}]" if finite.size else "no finite value"
    )


def value_of(value: float | None, curve: Curve | None) -> float | None:
    """The value to explain: the one given, else the curve's last, or NaN where the curve ends in NaN."""
    if value is not None or curve is None or not curve.train.size:
        return value
    return last_finite(curve.train) if np.isfinite(curve.train[-1]) else float(curve.train[-1])
