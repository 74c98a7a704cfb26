"""What a comparison is: its settings, the defaults that follow from the data, whether two are the same."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lossproof.formula.errors import LossproofError, nearest
from lossproof.lower.watch import DEAD_ERROR, DEAD_GRADIENT
from lossproof.models import MODELS

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.likelihood.integrand import Of
    from lossproof.likelihood.temperature import Per
    from lossproof.torch.calibrated import How

#: of a loss's entry in config.json, what decides its numbers
DEFINES = ("hash", "values", "law")
BETWEEN = 2000  # images of a curve's inner points: all of them would take as long as a third of the training
DEFAULT_LOSSES = ("bce", "mse", "mae", "logcosh")


@dataclass(frozen=True)
class Evaluation:
    """How members are measured. Written into config.json, so that a table can be read without the code."""

    images: int  # at most this many of the test set, and as many of the training set: before training and at its end
    ssim_images: int  # SSIM is the dearest measure
    ssim_window: (
        str  # "gaussian 11x11, sigma 1.5" (Wang et al. 2004) or "uniform KxK" where that would not fit
    )
    gradient_images: int
    between: int = 0  # of these images, spread over them, as many after all other epochs; 0: all of them
    dead_error: float = DEAD_ERROR
    dead_gradient: float = DEAD_GRADIENT  # of the loss's largest |dl/dz| before the sigmoid saturates
    active_variance: float = 1e-2  # Burda et al., arXiv 1509.00519, section 5
    mean_image_clip: str = "[1/(2n), 1 - 1/(2n)], n training images"


@dataclass(frozen=True)
class Settings:
    """All that decides the numbers of a comparison, besides the data and the losses."""

    model: str
    latent: int
    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float
    beta: float  # of the tables that show one: 1 if several are trained and it is among them, else the first
    seeds: tuple[int, ...]
    device: str
    threads: int
    evaluation: Evaluation
    betas: tuple[float, ...] = ()  # all that are trained, where it is not `beta` alone
    calibrate: How | None = None  # how the losses' temperatures come about; None: losses as they are
    measure: str = "levels"  # that likelihoods are spread over, or "interval"
    of: Of = "loss"  # what is normalised, or "excess"
    per: Per = "all"  # values that share a temperature
    samples: int = 0  # of the importance-weighted bound; 0: no likelihood columns
    stack: str = "off"  # "on": members are trained side by side; config.json says why
    lanes: int = 1  # threads that each train a part of the members side by side
    precision: str = "float32"  # of matrix products and convolutions in training, or "bfloat16"

    def to_dict(self) -> dict[str, Any]:
        found = asdict(self) | {"hidden": list(self.hidden), "seeds": list(self.seeds)}
        betas, calibrate, samples = (found.pop(key) for key in ("betas", "calibrate", "samples"))
        if self.precision == "float32":  # as in the configurations of runs before there was another one
            del found["precision"]
        del found["stack"], found["lanes"]  # config.json has an entry of its own for them
        law = {key: found.pop(key) for key in ("measure", "of", "per")}
        found |= {"betas": list(betas)} if betas else {}
        if calibrate is not None:
            found |= {"calibrate": calibrate}
        if samples:
            found |= {"samples": samples}
        return found | (law if samples or calibrate is not None else {})


def settle(
    images: Images,
    *,
    model: str,
    latent: int | None,
    hidden: Sequence[int] | None,
    epochs: int | None,
    batch_size: int | None,
    lr: float,
    beta: float | Sequence[float],
    seeds: int | Sequence[int],
    device: str,
    threads: int,
    calibrate: How | None = None,
    measure: str = "levels",
    of: Of = "loss",
    per: Per = "all",
    samples: int = 0,
    precision: str = "float32",
) -> Settings:
    """Fill in what was left open from the size of the data, and check what was given.

    Large sets get the pytorch example's VAE (784-400-20, batch 128, 10 epochs); small ones a smaller model
    and more epochs, so that each member sees some 1,500 batches. Raises `LossproofError`, naming the option.
    """
    if model not in MODELS:
        raise LossproofError(
            f"model: expected one of {', '.join(MODELS)}, got {model!r}; {nearest(model, MODELS)}"
        )
    convolutional, _ = MODELS[model]
    count, channels, height, width = images.train.shape
    pixels = channels * height * width
    large = pixels >= 400
    latent = latent if latent is not None else (20 if large else 8)
    if hidden is None:
        hidden = (32, 64) if convolutional else ((400,) if large else (128,))
    batch_size = (
        batch_size if batch_size is not None else (128 if count >= 10_000 else 64 if count >= 500 else 16)
    )
    steps = math.ceil(count / max(1, batch_size))
    epochs = epochs if epochs is not None else min(60, max(10, round(1500 / steps)))
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)

    _at_least("latent", latent, 1)
    for layer in hidden:
        _at_least("hidden", layer, 1)
    _at_least("epochs", epochs, 1)
    _at_least("batch-size", batch_size, 1)
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise LossproofError(
            f"seeds: expected at least one, all different and none negative, got {list(seeds)}."
        )
    if not (math.isfinite(lr) and lr > 0):
        raise LossproofError(f"lr: expected a positive number, got {lr}.")
    betas = (float(beta),) if isinstance(beta, int | float) else tuple(float(one) for one in beta)
    for one in betas:
        if not (math.isfinite(one) and one >= 0):
            raise LossproofError(f"beta: expected a number of at least 0, got {one}.")
    if not betas or len(set(betas)) != len(betas):
        raise LossproofError(f"beta: expected at least one, all different, got {list(betas)}.")
    if len(betas) > 1 and not MODELS[model][1]:
        raise LossproofError(
            f"beta: expected one, got {len(betas)}: {model} has no rate for beta to weigh. Use vae or conv-vae."
        )

    for option, value, known in (
        ("calibrate", calibrate, (None, "learned", "solved")),
        ("measure", measure, ("levels", "interval")),
        ("of", of, ("loss", "excess")),
        ("per", per, ("all", "channel", "image", "pixel")),
        ("precision", precision, ("float32", "bfloat16")),
    ):
        if value not in known:
            *first, last = [word for word in known if word]
            raise LossproofError(f"{option}: expected {', '.join(first)} or {last}, got {value!r}.")
    if (calibrate, per) == ("learned", "image"):
        raise LossproofError(
            "per: expected all, channel or pixel with calibrate learned, got image: an image's own T cannot be learned, as "
            "the next image has another. Use calibrate solved."
        )
    if samples < 0:
        raise LossproofError(f"samples: expected at least 1, got {samples}.")

    measured = min(10_000, len(images.test), count)
    evaluation = Evaluation(
        images=measured,
        ssim_images=min(500 if pixels <= 1024 else 100, measured),
        ssim_window=ssim_window(height, width),
        gradient_images=min(256, measured),
        between=min(BETWEEN, measured),
    )
    return Settings(
        model=model,
        latent=latent,
        hidden=tuple(hidden),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        beta=1.0 if 1.0 in betas else betas[0],
        seeds=seeds,
        device=device,
        threads=threads,
        evaluation=evaluation,
        betas=betas if len(betas) > 1 else (),
        calibrate=calibrate,
        measure=measure,
        of=of,
        per=per,
        samples=samples,
        precision=precision,
    )


def ssim_window(height: int, width: int) -> str:
    """The window SSIM is taken over: the usual Gaussian one where it fits, else a smaller uniform square.

    >>> ssim_window(28, 28), ssim_window(8, 8), ssim_window(2, 9)
    ('gaussian 11x11, sigma 1.5', 'uniform 5x5', 'uniform 1x1')
    """
    side = min(height, width)
    if side >= 11:
        return "gaussian 11x11, sigma 1.5"
    odd = (side // 2) + 1 - (side // 2) % 2 if side > 3 else 2 * ((side - 1) // 2) + 1
    return f"uniform {odd}x{odd}"


def slug(label: str) -> str:
    """A loss's label as a file name.

    >>> slug("bce"), slug("huber(delta=0.1)")
    ('bce', 'huber-delta-0.1')
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", label).strip("-.")[:60] or "loss"


def slugs(labels: Sequence[str]) -> list[str]:
    """One file name a label, all different: formulas that would share one get a digest of their own."""
    names = [slug(label) for label in labels]
    folded = [name.lower() for name in names]  # not every file system tells case apart
    return [
        f"{name}-{hashlib.sha256(label.encode()).hexdigest()[:8]}" if folded.count(name.lower()) > 1 else name
        for name, label in zip(names, labels, strict=True)
    ]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two configurations in what decides the numbers, as "epochs 10 -> 20".

    >>> differences({"epochs": 10, "beta": 1.0}, {"epochs": 20, "beta": 1.0})
    ['epochs 10 -> 20']
    """
    found = [
        f"{key} {old.get(key)} -> {new.get(key)}"
        for key in (
            "model",
            "latent",
            "hidden",
            "epochs",
            "batch_size",
            "lr",
            "beta",
            "betas",
            "calibrate",
            "measure",
            "of",
            "per",
            "samples",
            "precision",
            "seeds",
            "device",
            "evaluation",
        )
        if old.get(key) != new.get(key)
    ]
    before, after = (
        {entry["label"]: [entry.get(key) for key in DEFINES] for entry in config.get("losses", [])}
        for config in (old, new)
    )
    if list(before) != list(after):
        found.append(f"losses {','.join(before)} -> {','.join(after)}")
    found += [
        f"definition of {label}" for label in before if label in after and before[label] != after[label]
    ]
    data_before, data_after = old.get("data", {}), new.get("data", {})
    if data_before.get("sha256") != data_after.get("sha256"):
        names = [f"{data.get('name')} {str(data.get('sha256'))[:8]}" for data in (data_before, data_after)]
        found.append(f"data {names[0]} -> {names[1]}")
    return found


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise LossproofError(f"{option}: expected at least {least}, got {value}.")
