"""What was probably done to the values before they came here, and the line that undoes it.

Values that came from bytes lie on a lattice. An affine step (z-scoring, [-1, 1]) keeps its steps equal, so the constants
in common use can be told apart by which of them brings every value back to k/255; a power (gamma) leaves gaps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.data.images import Array
from lossproof.data.levels import Levels

Floats = npt.NDArray[np.float64]

#: constants in common use: name -> (means, standard deviations), one a channel
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "MNIST": ((0.1307,), (0.3081,)),
    "Fashion-MNIST": ((0.2860,), (0.3530,)),
    "ImageNet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "CIFAR-10 (0.2023)": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "CIFAR-100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "SVHN": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "CLIP": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
GAMMAS = (1 / 2.4, 1 / 2.2, 1 / 1.8, 0.5, 1.8, 2.0, 2.2, 2.4)
FEW = 63  # steps up to which values are levels of their own rather than a part of bytes
BYTES = 128  # largest value from which floats that are not whole numbers may be bytes
_ON = 0.02  # of a grey level: how far from the lattice a value may lie, besides its rounding


@dataclass(frozen=True, slots=True)
class History:
    """What was probably done: in words, the evidence, and how to undo it.

    ``means`` and ``stds`` undo an affine step, x -> x * std + mean, one a channel; empty where nothing or nothing
    affine was done. ``undo`` is the line of Python on ``x`` as (n, c, h, w). ``sure``: the values themselves show it.
    """

    text: str
    evidence: str
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()
    undo: str = ""
    sure: bool = True


def history_of(sample: Array, levels: Levels, lows: Floats, highs: Floats) -> History:
    """Guess from a sample (n, c, h, w) of floats, all levels, and each channel's smallest and largest value.

    >>> x = (np.arange(256).reshape(1, 1, 16, 16) / 255 - 0.1307) / 0.3081
    >>> history_of(x, Levels(x.ravel(), np.ones(256, np.int64), 256), x.min((0, 2, 3)), x.max((0, 2, 3))).text
    'z-scored with mean 0.1307 and std 0.3081 (MNIST)'
    """
    low, high = float(lows.min()), float(highs.max())
    if low >= 0 and high <= 1:
        return _inside(sample, levels)
    symmetric = _symmetric(sample, low, high)
    shown = _named(sample, lows, highs) or (symmetric if symmetric and symmetric.sure else None)
    if shown:  # values on k/255 once it is undone leave no room for another guess
        return shown
    middle = np.quantile(sample, (0.05, 0.95))
    outside = levels.share((levels.values < 0) | (levels.values > 1))
    if (middle[0] > -0.1 and middle[1] < 1.1 and outside < 0.1) or (outside < 0.55 and _around_black(sample)):
        return _overshoot(low, high, middle)
    if low >= 0 and high <= 255 and (high > BYTES or bool((sample == np.rint(sample)).all())):
        return _too_large(sample, high)
    return symmetric or _standardised(sample, lows, highs)


def _around_black(sample: Array) -> bool:
    """Whether the values below 0 are what noise of a black background leaves: near, with a normal law's tail, below images.

    >>> rng = np.random.default_rng(0)
    >>> x = np.where(rng.random(9999) < 0.7, 0.0, rng.random(9999))
    >>> _around_black(x + 0.1 * rng.standard_normal(9999)), _around_black(2 * x - 1), _around_black((x - 0.2) / 0.3)
    (True, False, False)
    """
    below = -sample[sample < 0]
    if below.size < 100:
        return False
    half, far = np.quantile(below, (0.5, 0.9))
    bright = float(np.quantile(sample, 0.995))
    as_many = float(((sample > 0) & (sample < half)).sum()) / max(1.0, float((below < half).sum()))
    return bool(half < 0.2 and 1.8 < far / half < 3.6 and 0.3 < bright < 1 + 6 * half and 0.7 < as_many < 3)


def _off(values: Array, steps: int) -> float:
    """How far values lie from k/steps, as a share of a step, less what float32 rounds."""
    scaled = values.astype(np.float64) * steps
    slack = 4e-7 * np.abs(scaled) + (4e-7 * steps if values.dtype == np.float32 else 0.0)
    return float(np.maximum(np.abs(scaled - np.rint(scaled)) - slack, 0).max())


def _undone(sample: Array, means: tuple[float, ...], stds: tuple[float, ...]) -> Array:
    shape = (1, -1, 1, 1)
    undone: Array = sample * np.reshape(np.array(stds), shape).astype(sample.dtype) + np.reshape(
        np.array(means), shape
    ).astype(sample.dtype)
    return undone


def _inside_again(means: tuple[float, ...], stds: tuple[float, ...]) -> str:
    """The line that undoes an affine step; its constants are rounded, so that it may end just beyond [0, 1]."""
    if len(means) == 1:
        return f"x = (x * {stds[0]:g}{f' + {means[0]:g}' if means[0] else ''}).clip(0, 1)"
    m, s = (f"np.reshape([{', '.join(f'{v:g}' for v in a)}], (1, -1, 1, 1))" for a in (means, stds))
    return f"x = (x * {s} + {m}).clip(0, 1)"


def _overshoot(low: float, high: float, middle: Floats) -> History:
    return History(
        "noise or resizing beyond black and white",
        f"nine values in ten lie in {middle[0]:.3g}..{middle[1]:.3g}, the ends at {low:.4g} and {high:.4g}",
        undo="x = np.clip(x, 0, 1)",
        sure=False,
    )


def _named(sample: Array, lows: Floats, highs: Floats) -> History | None:
    for name, (means, stds) in NORMALISATIONS.items():
        if len(means) not in (1, len(lows)):
            continue
        m, s = np.array(means), np.array(stds)
        # outside of what these constants make of [0, 1], they were not used
        if ((lows * s + m) < -2e-3).any() or ((highs * s + m) > 1 + 2e-3).any():
            continue
        if _off(_undone(sample, means, stds), 255) < _ON * 5:  # constants are printed with four digits
            shown = [", ".join(f"{v:g}" for v in part) for part in (means, stds)]
            return History(
                f"z-scored with mean {shown[0]} and std {shown[1]} ({name})",
                "x*std + mean brings every value looked at to k/255",
                means,
                stds,
                _inside_again(means, stds),
            )
    return None


def _symmetric(sample: Array, low: float, high: float) -> History | None:
    if not (low >= -1.001 and high <= 1.001 and low < 0):
        return None
    half = low >= -0.5 - 1e-3 and high <= 0.5 + 1e-3
    ways = [(1.0, "[-0.5, 0.5]", "x = x + 0.5")] if half else []
    ways.append((0.5, "[-1, 1]", "x = (x + 1) / 2"))  # images of little contrast stay within a half
    for scale, text, undo in ways:
        if _off(sample * sample.dtype.type(scale) + sample.dtype.type(0.5), 255) < _ON:
            evidence = f"values lie in {low:.4g}..{high:.4g}, on k/255 after undoing it"
            return History(f"scaled to {text}", evidence, (0.5,), (scale,), undo, sure=True)
    scale, text, undo = ways[0]
    if low >= (-0.3 if half else -0.6):
        return None
    evidence = f"values lie in {low:.4g}..{high:.4g}"
    return History(f"scaled to {text}", evidence, (0.5,), (scale,), undo, sure=False)


def _standardised(sample: Array, lows: Floats, highs: Floats) -> History:
    """An unknown z-scoring: equal steps betray the standard deviation, and black (if it is there) the mean."""
    c = sample.shape[1]
    stds, count = [], []
    for channel in range(c):
        step = _step(sample[:, channel])
        span = float(highs[channel] - lows[channel]) or 1.0
        steps = round(span / step) if step > 0 else 0
        count.append(steps if steps <= 255 else 0)
        # so few steps are all there are, more are a part of bytes
        stds.append((count[-1] / 255 if count[-1] > FEW else 1) / span)
    shown = all(count)
    means = [-float(lows[k]) * stds[k] or 0.0 for k in range(c)]  # not -0.0
    mean, std = float(sample.mean(dtype=np.float64)), float(sample.std(dtype=np.float64))
    scored = abs(mean) < 0.25 and 0.5 < std < 2
    if len({round(s, 3) for s in stds}) == 1 and len({round(m, 3) for m in means}) == 1:
        stds, means = stds[:1], means[:1]
    m, s = (tuple(float(f"{v:.6g}") for v in part) for part in (means, stds))
    what = "z-scored" if scored else "shifted and scaled"
    made = "as bytes leave them" if max(count) > FEW else f"{max(count) + 1} levels"
    told = f"steps are equal, {made}" if shown else "no equal steps are left"
    return History(
        f"{what}, with mean {', '.join(f'{v:g}' for v in m)} and std {', '.join(f'{v:g}' for v in s)} "
        "if black and white were there",
        f"mean {mean:.3g}, standard deviation {std:.3g}, {told}",
        m,
        s,
        _inside_again(m, s),
        sure=shown and scored,
    )


def _step(channel: Array) -> float:
    """The common step of a channel's distinct values; 0 if they have none."""
    values = np.unique(channel)
    if not 2 <= values.size <= 256:
        return 0.0
    gaps = np.diff(values.astype(np.float64))
    step = float(gaps.min())
    ratio = gaps / step
    return step if float(np.abs(ratio - np.rint(ratio)).max()) < 0.05 else 0.0


def _too_large(sample: Array, high: float) -> History:
    whole = bool((sample == np.rint(sample)).all())
    if whole and high <= FEW:
        return History(
            f"whole numbers 0..{high:g} stored as floats", "no value has a fraction", (0.0,), (1 / high,),
            f"x = x / {high:g}", sure=True,
        )  # fmt: skip
    evidence = "whole numbers up to " if whole else "values up to "
    return History(
        f"bytes stored as {sample.dtype}, not divided by 255",
        f"{evidence}{high:g}",
        (0.0,),
        (1 / 255,),
        "x = x / 255",
        sure=whole,
    )


def _inside(sample: Array, levels: Levels) -> History:
    values = levels.values
    if values.size <= 2 or not levels.exact:
        return History(
            "nothing, or a division by the largest value", f"values lie in {values[0]:.4g}..{values[-1]:.4g}"
        )
    if sample.dtype.kind == "f" and _off(values, 255) < _ON:
        gamma = gamma_of(np.rint(values * 255).astype(np.int64))
        if gamma:
            return gamma
        return History("bytes divided by 255", "every value lies on k/255")
    if sample.dtype.kind != "f":
        gamma = gamma_of(np.rint(values * 255).astype(np.int64)) if levels.values.size <= 256 else None
        return gamma or History(f"nothing: stored as {sample.dtype}", f"{values.size} levels")
    for power in GAMMAS:
        back = np.maximum(values, 0.0) ** (1 / power)
        if _off(back, 255) < 0.05 and values.size > 16:
            return History(
                f"bytes divided by 255, then raised to {power:.4g} (gamma)",
                f"every value to the power {1 / power:.4g} lies on k/255",
                undo=f"x = x ** {1 / power:.6g}",
            )
    return History(
        "nothing that shows", f"{values.size} distinct values in {values[0]:.4g}..{values[-1]:.4g}"
    )


def gamma_of(bytes_seen: npt.NDArray[Any]) -> History | None:
    """A power applied to bytes and rounded to bytes again: its gaps, and no others, are in the values seen.

    >>> gamma_of(np.unique(np.rint(255 * (np.arange(256) / 255) ** (1 / 2.2)))).text
    'bytes raised to 0.4545 (gamma) and rounded to bytes again'
    """
    seen = np.zeros(256, bool)
    seen[np.asarray(bytes_seen, np.int64)] = True
    places = np.flatnonzero(seen)
    inside = np.arange(256)
    inside = inside[(inside >= places[0]) & (inside <= places[-1])]
    gaps = int((~seen[inside]).sum())
    if gaps < 8 or places.size < 64:
        return None
    for gamma in GAMMAS:
        reached = np.zeros(256, bool)
        reached[np.rint(255 * (np.arange(256) / 255) ** gamma).astype(int)] = True
        holes = int((~reached[inside]).sum())
        agree = int((~reached[inside] & ~seen[inside]).sum())
        if holes >= 8 and agree == holes and gaps <= 1.25 * holes + 2:
            return History(
                f"bytes raised to {gamma:.4g} (gamma) and rounded to bytes again",
                f"{gaps} bytes between the smallest and the largest never occur, {holes} of them where this power "
                "leaves gaps",
                undo=f"x = x ** {1 / gamma:.6g}",
            )
    return None
