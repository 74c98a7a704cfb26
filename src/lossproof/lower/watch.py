"""What every monitor reports, whatever the framework: when a pixel is dead, and words for what is not finite."""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lossproof.formula import Loss, LossproofError

DEAD_ERROR = 0.1  # a pixel is dead if |p - y| is above this
DEAD_GRADIENT = 1e-3  # and |dl/dz| below this part of the loss's largest
Alarm = Literal["raise", "warn", "off"]
ALARMS = ("raise", "warn", "off")


def largest_slope(loss: Loss, gradient_logits: Callable[..., Any] | None = None) -> float:
    """The largest |dl/dz| over targets in [0, 1] and logits in [-4, 4]: a loss's own scale of gradients.

    Beyond, the sigmoid saturates, and some losses explode there. Losses differ in scale (a squared error may
    carry a half or a hundred), and Adam undoes such factors; what makes a pixel dead is a gradient that is small
    beside those of the same loss elsewhere. ``gradient_logits``
    is the loss's dl/dz(y, z) on float64 arrays, for who has it already; else it is made from the definition.

    >>> from lossproof.catalogue import resolve
    >>> round(largest_slope(resolve("bce")), 4), round(largest_slope(resolve("mse")), 4)
    (0.982, 0.2963)
    """
    if gradient_logits is None:
        from lossproof.lower.function import function

        gradient_logits = function(loss).gradient_logits
    targets = np.linspace(0.0, 1.0, 21)
    y, z = np.meshgrid(targets[loss.target.contains(targets)], np.linspace(-4.0, 4.0, 161), indexing="ij")
    slopes = np.abs(np.asarray(gradient_logits(y, z), dtype=np.float64))
    finite = slopes[np.isfinite(slopes)]
    return float(finite.max()) if finite.size else math.nan


def summary(sums: npt.ArrayLike, images: float, pixels: float) -> dict[str, float]:
    """Sums of (loss, floor, dead pixels, elements that are not finite) as a monitor reports them.

    ``loss``, ``floor`` and ``excess`` in nats per image, ``dead_pixels`` a share in [0, 1], ``non_finite`` and
    ``images`` counts. Without images the means are NaN.

    >>> summary([30.0, 20.0, 5.0, 0.0], images=10, pixels=50)["excess"]
    1.0
    """
    loss, floor, dead, wrong = (float(s) for s in np.asarray(sums, dtype=np.float64))
    per_image = [s / images if images else math.nan for s in (loss, floor)]
    return {
        "loss": per_image[0],
        "floor": per_image[1],
        "excess": per_image[0] - per_image[1],
        "dead_pixels": dead / pixels if pixels else math.nan,
        "non_finite": wrong,
        "images": float(images),
    }


def describe(
    loss: Loss, target: float, input: float, value: float, gradient: float, from_logits: bool
) -> str:
    """Say which term is not finite at one element: input, target, loss (and which part of it) or gradient.

    >>> from lossproof.catalogue import resolve
    >>> describe(resolve("mse"), 0.5, float("nan"), float("nan"), float("nan"), True)
    'the logit is nan (target 0.5)'
    """
    kind = "logit" if from_logits else "prediction"
    if not math.isfinite(input):
        return f"the {kind} is {input:g} (target {target:g})"
    if not math.isfinite(target):
        return f"the target is {target:g} ({kind} {input:g})"
    where = f"target {target:g}, {kind} {input:g}"
    if math.isfinite(value):
        return f"the gradient {'dl/dz' if from_logits else 'dl/dp'} is {gradient:g} at {where}"
    from lossproof.lower.autopsy import autopsy

    p = 1 / (1 + math.exp(-max(-700.0, min(700.0, input)))) if from_logits else input
    cause = autopsy(loss, target, p) or "in float64 it is a number: the dtype's range is the cause"
    return f"the loss is {value:g} at {where}; {cause}"


def sound(alarm: Alarm, message: str) -> None:
    """Raise the message as ``LossproofError``, warn with it, or keep still."""
    if alarm == "raise":
        raise LossproofError(message)
    if alarm == "warn":
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def check_options(label: str, every: int, alarm: str) -> None:
    """Refuse a sampling interval below 1 and an unknown alarm."""
    if not isinstance(every, int) or every < 1:
        raise LossproofError(f"{label}: expected every as a whole number of at least 1, got {every!r}.")
    if alarm not in ALARMS:
        raise LossproofError(f"{label}: expected alarm one of {', '.join(ALARMS)}, got {alarm!r}.")
