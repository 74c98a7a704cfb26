"""What is measured of a member after each epoch, on the test images and on as many training images.

Every member sees the same images and the same noise, so that differences between members are paired.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from lossproof.lower import function
from lossproof.lower.watch import largest_slope
from lossproof.torch import kernel
from lossproof.torch.calibrated import CalibratedCriterion
from lossproof.torch.criterion import Criterion, LossCriterion
from lossproof.train.arm import Arm
from lossproof.train.loop import forward, rate_per_image
from lossproof.train.member import Member, Row
from lossproof.train.randomness import generator
from lossproof.train.settings import Evaluation, Settings
from lossproof.train.table import EXCESS_UNDER, SPLITS, describe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lossproof.data import Images
    from lossproof.formula.loss import Loss

CHUNK = 500  # images at a time: keeps the pixels of one loss in the cache
KNOTS = 4097
NO_FLOOR = "a decoder's law has no floor known beforehand"
NO_LOGIT = "a decoder's law has no single logit a pixel"
NOISE = 1e-12  # of the mean image's loss: a floor below it is what is left of a search for 0


@dataclass(frozen=True)
class Split:
    """The images of one split that are measured, and the noise that codes are drawn with."""

    images: Tensor  # (n, c, h, w) on the device
    noise: Tensor  # (n, latent)


@dataclass(frozen=True)
class Baseline:
    """What the data alone says of a loss, nats per image: floors of each split, and the mean image's loss."""

    floors: dict[str, float]
    mean_image: float


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
        mean = mean_image(images.train)
        losses = {arm.loss.label: arm.loss for arm in arms if arm.loss is not None}
        self.baselines = {label: baseline(loss, arrays, mean) for label, loss in losses.items()}
        self.kernels = {label: kernel(loss) for label, loss in losses.items()}
        self.dead_below = {
            label: settings.evaluation.dead_gradient * largest_slope(loss) for label, loss in losses.items()
        }
        self.ssim = ssim_function(settings.evaluation)

    def __call__(self, member: Member) -> list[Row]:
        """The rows of a member's present state, and at epoch 0 those of the mean image too."""
        epoch, label = member.epoch + 1, member.label if member.loss is None else member.loss.label
        rows: list[Row] = []
        member.model.eval()
        for split in SPLITS:
            for name, value in self.measure(member, split).items():
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
        floor = self.baselines[loss].floors[split] if loss in self.baselines else 0.0
        if ("floor" in name or "excess" in name) and not math.isfinite(floor):
            return Row(epoch, split, name, math.nan, f"the floor of {loss} on these images is {floor:g}")
        of = "" if name.startswith(EXCESS_UNDER) else f" ({loss})"
        return Row(epoch, split, name, math.nan, f"{describe(name).title}{of} is {value:g} on these images")

    def measure(self, member: Member, split: str) -> dict[str, float | str]:
        """Every measure of one split, by name; infinite or NaN where it is, a reason where there is none."""
        data, evaluation, trained = self.splits[split], self.settings.evaluation, member.criterion
        label = None if member.loss is None else member.loss.label
        plain = isinstance(trained, LossCriterion)
        count, pixels = len(data.images), data.images[0].numel()
        sums: list[list[float]] = []
        means: list[Tensor] = []
        ssim = 0.0
        with torch.inference_mode():
            for start in range(0, count, CHUNK):
                target = data.images[start : start + CHUNK]
                raw, mean, logvar = member.model(target, data.noise[start : start + CHUNK])
                prediction = trained.picture(raw)
                error = (prediction - target).abs()
                if label is None:  # a law's head is no logit: no pixel of it is called dead
                    totals = [k.value(target, prediction).sum() for k in self.kernels.values()]
                    flat = torch.zeros_like(error, dtype=torch.bool)
                else:
                    totals = [k.value_logits(target, raw).sum() for k in self.kernels.values()]
                    flat = trained.loss_slopes(target, raw).abs() < self.dead_below[label]
                totals += [
                    mean.new_zeros(()) if plain else trained.values(target, raw).sum(),
                    log_temperature(trained) * len(target),
                    mean.new_zeros(()) if logvar is None else rate_per_image(mean, logvar).sum(),
                    error.square().sum(),
                    error.sum(),
                    peak_signal_noise_ratio(
                        prediction, target, data_range=1.0, dim=(1, 2, 3), reduction="sum"
                    ),
                    (flat & (error > evaluation.dead_error)).sum().float(),
                ]
                sums.append(torch.stack(totals).tolist())  # added up in float64, on the host
                means.append(mean.cpu())
                pictures = min(evaluation.ssim_images - start, len(target))
                if pictures > 0:
                    ssim += pictures * float(self.ssim(prediction[:pictures], target[:pictures]))
        *losses, trained_on, log_t, rate, square, absolute, psnr, dead = (
            math.fsum(column) / count for column in zip(*sums, strict=True)
        )
        excesses = {
            name: value - self.baselines[name].floors[split]
            for name, value in zip(self.kernels, losses, strict=True)
        }
        own = trained_on if label is None else losses[list(self.kernels).index(label)]
        spread = torch.cat(means).double().var(0, correction=0)
        return {
            "loss": own,
            "floor": NO_FLOOR if label is None else self.baselines[label].floors[split],
            "excess": NO_FLOOR if label is None else excesses[label],
            **({} if trained.unit is None else {"nats": trained_on}),
            **({"temperature": math.exp(log_t)} if isinstance(trained, CalibratedCriterion) else {}),
            "rate": rate,
            "objective": (own if plain else trained_on) + member.beta * rate,
            **{EXCESS_UNDER + name: value for name, value in excesses.items()},
            "mse": square / pixels,
            "mae": absolute / pixels,
            "psnr": psnr,
            "ssim": ssim / evaluation.ssim_images,
            "dead_pixels": NO_LOGIT if label is None else dead / pixels,
            "gradient_norm": self.gradient_norm(member, data),
            "active_units": float((spread > evaluation.active_variance).sum()),
        }

    def gradient_norm(self, member: Member, data: Split) -> float:
        """Euclidean norm of the objective's gradient with respect to all weights, on the first images."""
        first = self.settings.evaluation.gradient_images
        passed = forward(member, data.images[:first], data.noise[:first])
        roots, known = passed.slopes_of_objective(member.beta)
        slopes = torch.autograd.grad(roots, list(member.model.parameters()), known)
        return float(torch.stack([slope.norm() for slope in slopes]).norm())


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
    clipped: NDArray[np.float64] = np.clip(train.mean(0, dtype=np.float64), edge, 1 - edge)
    return clipped


def baseline(loss: Loss, arrays: dict[str, NDArray[np.float32]], mean: NDArray[np.float64]) -> Baseline:
    """Floors and the mean image's loss, in nats per image, each pixel computed in float64."""
    lowered = function(loss)
    floors = {}
    for split, array in arrays.items():
        values, counts = np.unique(array, return_counts=True)
        lowest = lowest_losses(loss, values.astype(np.float64))
        floors[split] = float((lowest * counts).sum() / len(array))
    test = arrays["test"]
    total = 0.0
    for start in range(0, len(test), CHUNK):
        target = test[start : start + CHUNK].astype(np.float64)
        total += float(np.sum(lowered.value(target, np.broadcast_to(mean, target.shape).copy())))
    mean_loss = total / len(test)
    # mean_loss may be inf or NaN: then every floor stays as it is
    scale = NOISE * abs(mean_loss) if math.isfinite(mean_loss) else 0.0
    return Baseline({s: 0.0 if abs(f) < scale else f for s, f in floors.items()}, mean_loss)


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


def ssim_function(evaluation: Evaluation) -> Callable[[Tensor, Tensor], Tensor]:
    """Mean SSIM over images (Wang et al. 2004, DOI 10.1109/TIP.2003.819861), over the given window."""
    uniform = re.fullmatch(r"uniform (\d+)x\1", evaluation.ssim_window)
    size = int(uniform.group(1)) if uniform else 11

    def ssim(prediction: Tensor, target: Tensor) -> Tensor:
        value = structural_similarity_index_measure(
            prediction, target, gaussian_kernel=uniform is None, sigma=1.5, kernel_size=size, data_range=1.0
        )
        assert isinstance(value, Tensor)
        return value

    return ssim
