"""Bring stored values into [0, 1], or say what is wrong with them and which line undoes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lossproof.data.images import Array, Raw
from lossproof.data.scan import STEPS, Range, blocks, on_lattice, range_of


@dataclass(frozen=True, slots=True)
class Problem:
    """Why images cannot be used as they are: the cause, and the line of Python (on ``x``) that undoes it."""

    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Scaling:
    """What brings the stored values to [0, 1], also in words; or the problem that prevents it."""

    divisor: float
    text: str
    levels: int | None = None
    notes: tuple[str, ...] = ()
    problem: Problem | None = None

    def apply(self, array: Array) -> npt.NDArray[np.float32]:
        """Divide, into a new float32 array (no copy where there is nothing to do)."""
        if self.divisor == 1:
            return np.ascontiguousarray(array, dtype=np.float32)
        out = np.empty(array.shape, np.float32)
        np.divide(array, np.float32(self.divisor), out=out, casting="same_kind", dtype=np.float32)
        return out


def scaling_of(raw: Raw) -> Scaling:
    """Choose the scaling from the dtype, the data set's known range and the values; look for problems."""
    parts = [part for part in (raw.train, raw.test) if part is not None]
    top = raw.top if raw.top is not None else 1.0 if raw.train.dtype.kind == "f" else np.inf
    return scaling_from(raw.name, [range_of(part, top) for part in parts], raw.top)


def scaling_from(name: str, parts: Sequence[Range], top: float | None = None) -> Scaling:
    """The same from the ranges of the parts, train and perhaps test.

    bool is 0/1; unsigned 8- and 16-bit integers are divided by their dtype's largest value (unless only 0 and
    1 occur); floats and a known range must come to lie in [0, 1] by themselves.
    """
    dtype = parts[0].dtype
    if any(part.dtype != dtype for part in parts):
        text = f"{name}: expected train and test of one dtype, got {dtype} and {parts[1].dtype}."
        return Scaling(
            1, "none", problem=Problem(f"{text} Convert one of them.", f"x = x.astype(np.{dtype})")
        )
    if dtype.kind == "b":
        return Scaling(1, "bool as 0/1", levels=2)
    if top is not None:
        problem = _outside(name, parts, high=top, text="the data set's own range")
        return Scaling(top, f"0..{top:g} / {top:g}", int(top) + 1, problem=problem)
    if dtype.kind in "ui":
        return _integers(name, parts)
    return _floats(name, parts)


def _integers(name: str, parts: Sequence[Range]) -> Scaling:
    dtype = parts[0].dtype
    low, high = min(int(p.low) for p in parts), max(int(p.high) for p in parts)
    top = int(np.iinfo(dtype).max)
    if dtype.kind == "i" or dtype.itemsize > 2:
        text = (
            f"{name}: expected images stored as uint8, uint16, bool or floats in [0, 1], "
            f"got {dtype} with values {low}..{high}."
        )
        for small in (np.uint8, np.uint16):
            if low >= 0 and high <= np.iinfo(small).max:
                fix = f"x = x.astype(np.{small.__name__})" if high > 1 else "x = x.astype(bool)"
                break
        else:
            fix = f"x = ((x - {low}) / {high - low}).astype(np.float32)"
        return Scaling(1, "none", problem=Problem(f"{text} Convert: {fix}", fix))
    if low == high:
        return Scaling(top, f"{dtype} / {top}", top + 1, (f"every value is {low}: all images are the same",))
    if high == 1:
        # Binary images kept as 0/1 bytes: dividing by 255 would leave two levels that are both black.
        return Scaling(1, f"{dtype} holding only 0 and 1, taken as 0/1", 2)
    notes: tuple[str, ...] = ()
    if high <= top // 4:
        notes = (
            f"the largest value is {high} of {dtype}'s {top}: if {high} is white, save x / {high} as float32",
        )
    return Scaling(top, f"{dtype} / {top}", top + 1, notes)


def _floats(name: str, parts: Sequence[Range]) -> Scaling:
    problem = _not_finite(name, parts) or _outside(name, parts, high=1.0, text="")
    if problem is not None:
        return Scaling(1, "none", problem=problem)
    steps = parts[0].steps
    return Scaling(1, f"none: {parts[0].dtype} already in [0, 1]", steps[0] + 1 if steps else None)


def lattice(values: Array) -> int | None:
    """Find 2, 17, 256 or 65536 levels if all floats lie on the lattice k / (levels - 1); else None.

    >>> import numpy as np
    >>> lattice(np.arange(256, dtype=np.float32) / np.float32(255)), lattice(np.array([0.1, 0.7345]))
    (256, None)
    """
    steps = STEPS
    for block, _ in blocks(values):
        steps = on_lattice(block, steps)
    return steps[0] + 1 if steps else None


def _not_finite(name: str, parts: Sequence[Range]) -> Problem | None:
    for part, where in zip(parts, _names(name, parts), strict=True):
        if part.first_lost is None:
            continue
        at, value = part.first_lost
        fix = "x = x[np.isfinite(x).all(axis=tuple(range(1, x.ndim)))]"
        return Problem(
            f"{where}: expected finite values, got {part.nan} NaN and {part.infinite} infinite of {part.size} values, "
            f"first {value} at {at} (shape {part.shape}, {part.dtype}). Drop those images: {fix}",
            fix,
        )
    return None


def _names(name: str, parts: Sequence[Range]) -> list[str]:
    return [name] if len(parts) == 1 else [f"{name} (train)", f"{name} (test)"]


def _outside(name: str, parts: Sequence[Range], *, high: float, text: str) -> Problem | None:
    if not any(part.outside for part in parts):
        return None
    cause, fix = diagnose(parts)
    for part, where in zip(parts, _names(name, parts), strict=True):
        if part.first_outside is None:
            continue
        at, value = part.first_outside
        expected = f"values in [0, {high:g}]" + (f" ({text})" if text else "")
        return Problem(
            f"{where}: expected {expected}, got {part.outside} of {part.size} values outside (smallest "
            f"{part.low:.6g}, largest {part.high:.6g}), first {value:.6g} at "
            f"{at} (shape {part.shape}, {part.dtype}). {cause} {fix}",
            fix,
        )
    return None


def diagnose(parts: Sequence[Range]) -> tuple[str, str]:
    """Guess from ranges of values outside [0, 1] how they came about, and the line that undoes it.

    >>> import numpy as np
    >>> diagnose([range_of(np.array([0.0, 255.0, 7.0]).reshape(1, 1, 1, 3))])
    ('uint8 stored as float? Divide by 255?', 'x = x / 255')
    >>> diagnose([range_of(np.array([-1.0, 1.0, 0.25]).reshape(1, 1, 1, 3))])
    ('Scaled to [-1, 1]? Use (x + 1)/2:', 'x = (x + 1) / 2')
    """
    low, high = min(p.low for p in parts), max(p.high for p in parts)
    if low >= -1e-3 and high <= 1 + 1e-3:
        return "Overshoot from rounding or resizing? Clip:", "x = np.clip(x, 0, 1)"
    if low >= 0:
        return _too_large(parts, high)
    if low >= -1.001 and high <= 1.001 and low < -0.6:
        return "Scaled to [-1, 1]? Use (x + 1)/2:", "x = (x + 1) / 2"
    if low >= -0.501 and high <= 0.501:
        return "Scaled to [-0.5, 0.5]? Use x + 0.5:", "x = x + 0.5"
    if any(_standardised_pixels(p.head) for p in parts):
        return (
            "Every pixel standardised by itself (StandardScaler)? Undo it:",
            "x = scaler.inverse_transform(x)",
        )
    return _z_scored(parts)


def _too_large(parts: Sequence[Range], high: float) -> tuple[str, str]:
    whole = all(bool((p.head == np.rint(p.head)).all()) for p in parts)
    if high <= 255 and (high > 63 or not whole):
        return "uint8 stored as float? Divide by 255?", "x = x / 255"
    if high <= 255:
        return f"Whole numbers 0..{high:g}? Divide by the largest:", f"x = x / {high:g}"
    if high <= 65535 and whole:
        top = next(t for t in (1023, 4095, 16383, 65535) if high <= t)
        return f"uint16 stored as float ({top.bit_length()} bits)? Divide by {top}?", f"x = x / {top}"
    return "Divide by the largest value:", f"x = x / {high:.6g}"


def _standardised_pixels(part: Array) -> bool:
    if len(part) < 8:
        return False
    mean, std = part.mean(axis=0, dtype=np.float64), part.std(axis=0, dtype=np.float64)
    moving = std > 1e-6
    return bool(moving.any() and np.abs(mean[moving]).max() < 0.2 and np.abs(std[moving] - 1).max() < 0.2)


def _z_scored(parts: Sequence[Range]) -> tuple[str, str]:
    """If x = (y - mean) / std and y reached 0 and 1, then std = 1 / (max - min) and mean = -min * std."""
    lows = np.min([p.lows for p in parts], axis=0)
    highs = np.max([p.highs for p in parts], axis=0)
    std = 1 / np.where(highs > lows, highs - lows, 1)
    mean = -lows * std
    if len(set(std.round(3))) == 1 and len(set(mean.round(3))) == 1:
        undo = f"x = x * {std[0]:.4f} + {mean[0]:.4f}"
        return "z-scored (if black and white were there)? Undo: x*std + mean:", undo
    s, m = (f"np.reshape([{', '.join(f'{v:.4f}' for v in a)}], (1, -1, 1, 1))" for a in (std, mean))
    cause = "z-scored by channel (if each reached 0 and 1)? Undo: x*std + mean, with x as (n, c, h, w):"
    return cause, f"x = x * {s} + {m}"
