"""What is measured of a member after each epoch, on the test images and on as many training images.

Every member sees the same images and the same noise, so that differences between members are paired. Before training
and after its last epoch all of the images are measured, after the other epochs a part of them, for the curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lossproof.data.mapped import counted
from lossproof.data.scan import blocks
from lossproof.lower import function
from lossproof.lower.watch import largest_slope
from lossproof.torch import kernel
from lossproof.torch.calibrated import CalibratedCriterion
from lossproof.torch.criterion import Criterion, LossCriterion
from lossproof.train.arm import Arm
from lossproof.train.loop import forward, rate_per_image
from lossproof.train.member import Member, Row
from lossproof.train.randomness import generator
from lossproof.train.settings import Settings
from lossproof.train.similarity import Similarity
from lossproof.train.table import EXCESS_UNDER, SPLITS, describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lossproof.data import Images
    from lossproof.formula.loss import Loss

CHUNK = 1000  # images at a time
RAW = 1 << 23  # values of all members' raw outputs at a time
SEEN = 1 << 15  # and of a piece of the images when pictures are measured,
VALUES = 1 << 18  # of as many members as make so many values: a CPU's caches hold them
KNOTS = 4097
NO_FLOOR = "a decoder's law has no floor known beforehand"
NO_LOGIT = "a decoder's law has no single logit a pixel"
NOISE = 1e-12  # of the mean image's loss: a floor below it is what is left of a search for 0

#: of images and noise: raw outputs (members, n, outputs * c, h, w), means and log-variances (members, n, latent)
Outputs: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor | None]]
#: of a split: each member's gradient norm
Norms: TypeAlias = Callable[["Split"], list[float]]


@dataclass(frozen=True)
class Split:
    """The images of one split that are measured, and the noise that codes are drawn with."""

    images: Tensor  # (n, c, h, w) on the device
    noise: Tensor  # (n, latent)

    def part(self, count: int) -> Split:
        """So many of them, spread over all."""
        if count >= len(self.images):
            return self
        places = torch.from_numpy(train_subset(len(self.images), count)).to(self.images.device)
        return Split(self.images[places], self.noise[places])


@dataclass(frozen=True)
class Baseline:
    """What the data alone says of a loss, nats per image: floors of each split, and the mean image's loss.

    `between` are the floors of the part of each split that is measured between the first epoch and the last.
    """

    floors: dict[str, float]
    mean_image: float
    between: dict[str, float] = field(default_factory=dict)


class Measurer:
    """Measures members. Everything that depends on the data alone is computed once, in float64."""

    def __init__(self, images: Images, arms: Sequence[Arm], settings: Settings) -> None:
        self.settings = settings
        count = settings.evaluation.images
        device = torch.device(settings.device)
        chosen = {"train": train_subset(len(images.train), count), "test": np.arange(count)}
        arrays = {"train": images.train[chosen["train"]], "test": images.test[chosen["test"]]}
        self.splits = {
            split: Split(
                torch.from_numpy(np.ascontiguousarray(arrays[split])).to(device),
                torch.randn(count, settings.latent, generator=generator(0, f"measure {split}")).to(device),
            )
            for split in SPLITS
        }
        few = settings.evaluation.between or count
        self.parts = {split: data.part(few) for split, data in self.splits.items()}
        seen = {split: data.images.cpu().numpy() for split, data in self.parts.items()}
        mean = mean_image(images.train)
        losses = {arm.loss.label: arm.loss for arm in arms if arm.loss is not None}
        self.baselines = {
            label: baseline(loss, arrays, mean, between=seen, levels=images.levels)
            for label, loss in losses.items()
        }
        self.kernels = {label: kernel(loss) for label, loss in losses.items()}
        self.dead_below = {
            label: settings.evaluation.dead_gradient * largest_slope(loss) for label, loss in losses.items()
        }
        self.ssim = Similarity(settings.evaluation.ssim_window, *images.test.shape[2:])

    def __call__(self, member: Member) -> list[Row]:
        """The rows of a member's present state, and at epoch 0 those of the mean image too."""
        member.model.eval()
        return self.rows(member, {split: self.measure(member, split) for split in SPLITS})

    def whole(self, epoch: int) -> bool:
        """Whether all images are measured after this epoch."""
        return epoch in (0, self.settings.epochs)

    def data(self, split: str, epoch: int) -> Split:
        """What is measured of a split after an epoch."""
        return (self.splits if self.whole(epoch) else self.parts)[split]

    def floor(self, label: str, split: str, epoch: int) -> float:
        """The floor of a loss on what is measured of a split after an epoch."""
        base = self.baselines[label]
        return (base.floors if self.whole(epoch) else base.between)[split]

    def rows(self, member: Member, found: dict[str, dict[str, float | str]]) -> list[Row]:
        """The rows of what was measured of a member on each split."""
        epoch, label = member.epoch + 1, member.label if member.loss is None else member.loss.label
        rows: list[Row] = []
        for split, measures in found.items():
            for name, value in measures.items():
                if isinstance(value, str):
                    rows.append(Row(epoch, split, name, math.nan, value))
                else:
                    rows.append(self.row(epoch, split, name, value, label))
        rows.append(Row(epoch, "train", "seconds", member.seconds))
        if epoch == 0 and label in self.baselines:
            base = self.baselines[label]
            rows.append(self.row(epoch, "test", "mean_image_loss", base.mean_image, label))
            rows.append(
                self.row(epoch, "test", "mean_image_excess", base.mean_image - base.floors["test"], label)
            )
        return rows

    def row(self, epoch: int, split: str, name: str, value: float, label: str) -> Row:
        """A cell; one that is not finite is left empty and says why."""
        if math.isfinite(value):
            return Row(epoch, split, name, value)
        under = name.removeprefix(EXCESS_UNDER)
        loss = under if under in self.baselines else label
        floor = self.floor(loss, split, epoch) if loss in self.baselines else 0.0
        if ("floor" in name or "excess" in name) and not math.isfinite(floor):
            return Row(epoch, split, name, math.nan, f"the floor of {loss} on these images is {floor:g}")
        of = "" if name.startswith(EXCESS_UNDER) else f" ({loss})"
        return Row(epoch, split, name, math.nan, f"{describe(name).title}{of} is {value:g} on these images")

    def measure(self, member: Member, split: str) -> dict[str, float | str]:
        """Every measure of one split, by name; infinite or NaN where it is, a reason where there is none."""

        def outputs(images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
            raw, mean, logvar = member.model(images, noise)
            return raw.unsqueeze(0), mean.unsqueeze(0), None if logvar is None else logvar.unsqueeze(0)

        norms = partial(self.own_norm, member)
        return self.measure_all([member], split, member.epoch + 1, outputs, norms)[0]

    def own_norm(self, member: Member, data: Split) -> list[float]:
        """A member's gradient norm, by autograd."""
        return [self.gradient_norm(member, data)]

    def measure_all(
        self, members: Sequence[Member], split: str, epoch: int, outputs: Outputs, norms: Norms
    ) -> list[dict[str, float | str]]:
        """Every measure of one split of members whose outputs come together. One wait for the device a split."""
        data, evaluation = self.data(split, epoch), self.settings.evaluation
        count, pixels = len(data.images), data.images[0].numel()
        seen = min(evaluation.ssim_images, count)
        sums: list[Tensor] = []
        rates: list[Tensor] = []
        means: list[Tensor] = []
        step = max(1, min(CHUNK, RAW // (len(members) * pixels)))
        with torch.no_grad():
            for start in range(0, count, step):
                target = data.images[start : start + step]
                raw, mean, logvar = outputs(target, data.noise[start : start + step])
                means.append(mean.clone())
                for part in pieces(len(target), pixels):
                    shown, left = target[part], seen - start - part.start
                    together = groups(members, max(1, VALUES // shown.numel()))
                    rows = [
                        self.pictures(members[at], shown, raw[at, part], max(0, min(left, len(shown))))
                        for at in together
                    ]
                    sums.append(torch.cat(rows))
                rates.append(
                    mean.new_zeros(len(members))
                    if logvar is None
                    else rate_per_image(mean.flatten(0, 1), logvar.flatten(0, 1)).view(mean.shape[:2]).sum(1)
                )
            # summed up in float64
            found = [torch.stack(parts).cpu().double().sum(0) for parts in (sums, rates)]
            spread = torch.cat(means, 1).cpu().double().var(1, correction=0)
        totals = torch.cat([found[0], found[1].unsqueeze(1)], 1)
        active = (spread > evaluation.active_variance).sum(1).tolist()
        return [
            self.named(member, split, epoch, count, pixels, seen, total, units, norm)
            for member, total, units, norm in zip(members, totals.tolist(), active, norms(data), strict=True)
        ]

    def pictures(self, members: Sequence[Member], target: Tensor, raw: Tensor, seen: int) -> Tensor:
        """Sums over a chunk's images of what is measured of pictures: (members, columns), as `named` has them.

        All members under plain losses, or one.
        """
        evaluation, pixels = self.settings.evaluation, target[0].numel()
        trained = members[0].criterion
        plain = isinstance(trained, LossCriterion)
        prediction = raw.sigmoid() if plain else trained.picture(raw[0]).unsqueeze(0)
        # broadcast, not expanded: what a loss computes of the target alone is computed once for all members
        y = target.unsqueeze(0)
        error = (prediction - y).abs_()
        columns = []
        if members[0].loss is None:  # a law's head is no logit: no pixel of it is called dead
            columns += [total(k.value(y, prediction).expand_as(error)) for k in self.kernels.values()]
            dead = error.new_zeros(len(members))
        else:
            columns += [total(k.value_logits(y, raw).expand_as(error)) for k in self.kernels.values()]
            wrong, dead = error > evaluation.dead_error, error.new_empty(len(members))
            for at in runs(members):
                one = members[at.start]
                slopes = (
                    one.criterion.loss_slopes(y, raw[at])
                    if plain
                    else one.criterion.loss_slopes(target, raw[0]).unsqueeze(0)
                )
                flat = slopes.abs() < self.dead_below[one.loss.label if one.loss else one.label]
                dead[at] = total(flat.logical_and_(wrong[at]))
        none = error.new_zeros(len(members))
        columns.append(none if plain else trained.values(target, raw[0]).sum().unsqueeze(0))
        columns.append(none if plain else (log_temperature(trained) * len(target)).unsqueeze(0))
        square = error.square().flatten(2).sum(2)
        columns += [square.sum(1), total(error), (square / pixels).log10_().sum(1).mul_(-10), dead]
        alike = self.ssim(prediction[:, :seen], target[:seen]).sum(1) if seen else error.new_zeros(len(error))
        return torch.stack([*columns, alike], 1)

    def named(
        self,
        member: Member,
        split: str,
        epoch: int,
        count: int,
        pixels: int,
        seen: int,
        totals: Sequence[float],
        active: int,
        norm: float,
    ) -> dict[str, float | str]:
        """A member's measures by name, from its sums over the images."""
        *losses, trained_on, log_t, square, absolute, psnr, dead, ssim, rate = (
            value / count for value in totals
        )
        trained, label = member.criterion, None if member.loss is None else member.loss.label
        excesses = {
            name: value - self.floor(name, split, epoch)
            for name, value in zip(self.kernels, losses, strict=True)
        }
        own = trained_on if label is None else losses[list(self.kernels).index(label)]
        plain = isinstance(trained, LossCriterion)
        return {
            "loss": own,
            "floor": NO_FLOOR if label is None else self.floor(label, split, epoch),
            "excess": NO_FLOOR if label is None else excesses[label],
            **({} if trained.unit is None else {"nats": trained_on}),
            **({"temperature": math.exp(log_t)} if isinstance(trained, CalibratedCriterion) else {}),
            "rate": rate,
            "objective": (own if plain else trained_on) + member.beta * rate,
            **{EXCESS_UNDER + name: value for name, value in excesses.items()},
            "mse": square / pixels,
            "mae": absolute / pixels,
            "psnr": psnr,
            "ssim": ssim * count / seen,
            "dead_pixels": NO_LOGIT if label is None else dead / pixels,
            "gradient_norm": norm,
            "active_units": float(active),
        }

    def gradient_norm(self, member: Member, data: Split) -> float:
        """Euclidean norm of the objective's gradient with respect to all weights, on the first images."""
        first = self.settings.evaluation.gradient_images
        passed = forward(member, data.images[:first], data.noise[:first])
        roots, known = passed.slopes_of_objective(member.beta)
        slopes = torch.autograd.grad(roots, list(member.model.parameters()), known)
        return float(torch.stack([slope.norm() for slope in slopes]).norm())


def total(values: Tensor) -> Tensor:
    """Sums of each member's numbers."""
    return values.flatten(1).sum(1, dtype=torch.float32)


def pieces(count: int, pixels: int) -> list[slice]:
    """Images whose pictures are measured together: as few pieces of some SEEN values as there can be, of a size.

    They do not hang on the members, so that a member's sums do not hang on who else is measured.

    >>> pieces(1000, 64)
    [slice(0, 500, None), slice(500, 1000, None)]
    """
    step = -(-count // -(-count * pixels // SEEN))
    return [slice(start, min(count, start + step)) for start in range(0, count, step)]


def groups(members: Sequence[Member], most: int) -> Iterator[slice]:
    """Members whose pictures are measured together: neighbours under plain losses, `most` of them; else one."""
    start = 0
    while start < len(members):
        stop = start + 1
        while stop < min(len(members), start + most) and all(
            isinstance(member.criterion, LossCriterion) for member in (members[start], members[stop])
        ):
            stop += 1
        yield slice(start, stop)
        start = stop


def runs(members: Sequence[Member]) -> Iterator[slice]:
    """Neighbours of one arm."""
    start = 0
    for stop in range(1, len(members) + 1):
        if stop == len(members) or members[stop].arm is not members[start].arm:
            yield slice(start, stop)
            start = stop


def log_temperature(law: Criterion) -> Tensor:
    """The mean of log T over all that have one, of the images last seen where each has its own; 0 for other laws."""
    return law.log_temperature.detach().mean() if isinstance(law, CalibratedCriterion) else torch.zeros(())


def train_subset(available: int, count: int) -> NDArray[np.int64]:
    """Which training images are measured: the same every time, spread over the whole set."""
    return np.linspace(0, available - 1, count).round().astype(np.int64)


def mean_image(train: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean training image (c, h, w), kept off 0 and 1 by half an image's weight.

    A pixel that is 0 in every training image would otherwise cost an infinite BCE when one test image has it.
    """
    edge = 0.5 / len(train)
    summed = np.zeros(train.shape[1:])
    for block, _ in blocks(train):
        summed += block.sum(0, dtype=np.float64)
    clipped: NDArray[np.float64] = np.clip(summed / len(train), edge, 1 - edge)
    return clipped


def baseline(
    loss: Loss,
    arrays: dict[str, NDArray[np.float32]],
    mean: NDArray[np.float64],
    *,
    between: dict[str, NDArray[np.float32]] | None = None,
    levels: int | None = None,
) -> Baseline:
    """Floors and the mean image's loss, in nats per image, each pixel computed in float64."""
    lowered = function(loss)
    test = arrays["test"]
    summed = 0.0
    for start in range(0, len(test), CHUNK):
        target = test[start : start + CHUNK].astype(np.float64)
        summed += float(np.sum(lowered.value(target, np.broadcast_to(mean, target.shape).copy())))
    mean_loss = summed / len(test)
    # mean_loss may be inf or NaN: then every floor stays as it is
    scale = NOISE * abs(mean_loss) if math.isfinite(mean_loss) else 0.0

    def floors(some: dict[str, NDArray[np.float32]]) -> dict[str, float]:
        found = {}
        for split, array in some.items():
            values, counts = counted(array, levels)
            lowest = lowest_losses(loss, values.astype(np.float64))
            floor = float((lowest * counts).sum() / len(array))
            found[split] = 0.0 if abs(floor) < scale else floor
        return found

    return Baseline(floors(arrays), mean_loss, floors(between or {}))


def lowest_losses(loss: Loss, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The floor at each of these sorted target values.

    Where it has no closed form each value is a search of its own. Beyond KNOTS values, as images stored as floats
    may have, it is searched at KNOTS places and interpolated between them; they lie closer together towards both
    ends, where floors such as -y log(y) are steepest.
    """
    searched = kernel(loss).floor is None
    if not searched or len(values) <= KNOTS:
        return np.asarray(function(loss).floor(values), dtype=np.float64)
    place = np.sin(np.linspace(0.0, np.pi / 2, KNOTS)) ** 2
    at = values[0] + (values[-1] - values[0]) * place
    lowest = np.asarray(function(loss).floor(at), dtype=np.float64)
    if not np.isfinite(lowest).all():
        return np.full_like(values, lowest.min())
    between: NDArray[np.float64] = np.interp(values, at, lowest)
    return between
