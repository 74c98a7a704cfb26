"""Facts of a data set from one pass over it in constant memory: everything that advice rests on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.data.facts_counts import Counter, PixelHistograms
from lossproof.data.facts_history import History, history_of
from lossproof.data.facts_noise import Noise, Reference, linear_reference, noise_of
from lossproof.data.facts_order import Order, OrderPass
from lossproof.data.facts_spectrum import Spectrum, SpectrumPass
from lossproof.data.images import Array, Labels
from lossproof.data.levels import Levels
from lossproof.data.scale import lattice
from lossproof.data.stream import Stream
from lossproof.formula.errors import LossproofError

Floats = npt.NDArray[np.float64]
SAMPLE_VALUES = 1 << 24  # values of the sample that is kept
SAMPLE_IMAGES = 8192
NOISE_IMAGES = 1024
SPREAD = (
    100_000  # images, of all evenly, that the spectrum and the pixels' histograms are of where there are more
)
REFERENCE_VALUES = 1 << 21
HISTOGRAM = 64


@dataclass(frozen=True)
class Facts:
    """What one pass over the images shows; values are scaled to [0, 1] where ``problem`` is empty.

    ``divisor``, ``means`` and ``stds`` bring stored values there: x / divisor * std + mean, one std and mean a channel or
    one for all; ``fix`` is that step as a line of Python for data that must be mended first. ``low``, ``high``: smallest
    and largest value; ``levels``: the distinct ones with their counts; ``grid``: grey levels k/(grid - 1), None if there
    is no such lattice; shares of all values at 0, at 1, between, outside and not finite. ``constant_pixels``: share of
    pixels that are the same in all images. ``histogram``: counts in 64 bins from low to high. ``histogram_bits``: bits a
    value of these images under their own global and per-pixel histograms, None for values without levels. Spectrum and
    per-pixel histograms are of every k-th image where there are more than 200,000.
    ``sample``: images as float32 (n, c, h, w), scaled, drawn at random, with ``sample_numbers`` and ``sample_labels``.
    """

    name: str
    source: str
    dtype: str
    shape: tuple[int, int, int]
    count: int
    expected: int
    skipped: tuple[tuple[str, str], ...]
    skipped_count: int
    dropped: int
    dropped_numbers: tuple[int, ...]
    notes: tuple[str, ...]
    scaling: str
    divisor: float
    history: History
    problem: str
    fix: str
    low: float
    high: float
    levels: Levels
    grid: int | None
    at_zero: float
    at_one: float
    between: float
    outside: float
    not_finite: float
    constant_pixels: float
    constant_images: bool
    equal_channels: bool
    histogram: tuple[int, ...]
    histogram_bits: tuple[float, float] | None
    mean: float
    std: float
    spectrum: Spectrum
    noise: Noise
    reference: Reference
    order: Order
    sample: npt.NDArray[np.float32]
    sample_numbers: npt.NDArray[np.int64]
    sample_labels: Labels | None

    @property
    def pixels(self) -> int:
        """Values of an image: channels x height x width."""
        return math.prod(self.shape)

    @property
    def one_bit(self) -> bool:
        """Whether the images hold 0 and 1 alone."""
        return bool(self.levels.exact and np.isin(self.levels.values, (0.0, 1.0)).all())

    @property
    def noisy(self) -> bool:
        """Whether pixel noise was found: single pixels stand out, or what a linear model leaves is white and as large as
        the noise measured in each image. (Image content as fine as a pixel passes one of these tests, not both.)"""
        noise, left = self.noise, self.reference
        if self.one_bit:
            return False
        white = abs(left.neighbours) < 0.12 and left.scale > 1.5 / 255
        return noise.impulsive or bool(white and 0.6 < noise.sigma / left.scale < 1.6)

    @property
    def undone(self) -> bool:
        """Whether the step that the values betray is undone in all that is told; not where black's place is a guess."""
        return bool(self.problem) and _undone(self.history)

    @property
    def scale_unknown(self) -> bool:
        """Whether the values lie beyond [0, 1] by a step of which no more than a guess is known."""
        return bool(self.problem and self.history.stds and not self.undone)

    @property
    def unit(self) -> bool:
        """Whether all values lie in [0, 1] after scaling."""
        return self.outside == 0

    @property
    def size(self) -> int:
        """Distinct values, 0 for more than can be counted."""
        return int(self.levels.values.size) if self.levels.exact else 0


class _Pass:
    """Everything that feeds on the blocks, in stored units."""

    def __init__(self, stream: Stream, seed: int) -> None:
        d = stream.pixels
        self.stream = stream
        self.counter = Counter(stream.dtype)
        self.pixels = PixelHistograms(stream.dtype, d)
        self.spectrum = SpectrumPass(d, seed)
        self.order = OrderPass(stream.shape)
        self.every = max(1, stream.count // SPREAD)
        self.rng = np.random.default_rng(seed)
        self.room = max(2, min(SAMPLE_IMAGES, SAMPLE_VALUES // d))
        self.sample: list[Array] = []
        self.numbers: list[int] = []
        self.lowest = np.full(d, np.inf)
        self.highest = np.full(d, -np.inf)
        self.count = self.values = self.bad_values = 0
        self.dropped = 0
        self.dropped_numbers: list[int] = []
        self.equal_channels = stream.shape[0] == 3

    def feed(self, images: Array, numbers: npt.NDArray[np.int64], part: str) -> None:
        self.values += images.size
        flat = images.reshape(len(images), -1)
        if images.dtype.kind == "f":
            finite: npt.NDArray[np.bool_] = np.isfinite(flat)
            good = np.asarray(finite.all(axis=1))
            if not good.all():
                self.bad_values += int((~finite).sum())
                self.dropped += int((~good).sum())
                self.dropped_numbers += [
                    int(k) for k in numbers[~good][: max(0, 20 - len(self.dropped_numbers))]
                ]
                self.counter.feed(flat[finite & ~good[:, None]])
                images, flat, numbers = images[good], flat[good], numbers[good]
                if not len(flat):
                    return
        self.counter.feed(np.ascontiguousarray(flat).reshape(-1))
        chosen = flat[-self.count % self.every :: self.every]
        if len(chosen):
            self.pixels.feed(chosen)
            self.spectrum.feed(chosen.astype(np.float64))
        self.order.feed(images, part)
        self.lowest = np.minimum(self.lowest, flat.min(axis=0))
        self.highest = np.maximum(self.highest, flat.max(axis=0))
        if self.equal_channels:
            self.equal_channels = bool((images[:, :1] == images).all())
        self._draw(images, numbers)
        self.count += len(flat)

    def _draw(self, images: Array, numbers: npt.NDArray[np.int64]) -> None:
        """Reservoir sampling (Vitter 1985, DOI 10.1145/3147.3165): every image with the same chance."""
        seen = np.arange(self.count + 1, self.count + len(images) + 1)
        place = np.where(seen <= self.room, seen - 1, self.rng.integers(0, seen))
        for i in np.flatnonzero(place < self.room):
            if place[i] == len(self.sample):
                self.sample.append(images[i].copy())
                self.numbers.append(int(numbers[i]))
            else:
                self.sample[place[i]] = images[i].copy()
                self.numbers[place[i]] = int(numbers[i])


def gather(stream: Stream, *, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Facts:
    """Read the stream once and state the facts. ``progress`` is told (images read, images expected) after each block.

    Images with NaN or infinite values are left out, counted and numbered. Raises ``LossproofError`` when no image is left.

    >>> from lossproof.data.stream import open_stream
    >>> facts = gather(open_stream("digits"))
    >>> facts.count, facts.grid, round(facts.at_zero, 3), facts.unit
    (1797, 17, 0.489, True)
    """
    passing = _Pass(stream, seed)
    read = 0
    for block in stream.blocks():
        passing.feed(block.images, block.numbers, block.part)
        read += len(block.images)
        if progress is not None:
            progress(read, stream.count)
    if not passing.count:
        raise LossproofError(
            f"{stream.name}: expected images of finite values, got {read} images of which none is "
            f"({passing.dropped} with NaN or infinity, {stream.skipped_count} unreadable)."
        )
    return _facts(stream, passing)


def _facts(stream: Stream, passing: _Pass) -> Facts:
    c, h, w = stream.shape
    order = np.argsort(passing.numbers)
    raw = np.stack(passing.sample)[order]
    numbers = np.array(passing.numbers)[order]
    divisor, scaling = _divisor(stream, passing)
    counted = passing.counter.levels(passing.values, 1 / divisor, 0.0)
    by_channel = (c, h * w)
    lows = passing.lowest.reshape(by_channel).min(axis=1) / divisor
    highs = passing.highest.reshape(by_channel).max(axis=1) / divisor
    sample = raw.astype(np.float64) / divisor if raw.dtype.kind != "f" or divisor != 1 else raw
    history = history_of(sample if raw.dtype.kind == "f" else raw, counted, lows, highs)
    mean, std = np.zeros(c), np.ones(c)
    problem = fix = ""
    if lows.min() < 0 or highs.max() > 1:
        problem, fix = _problem(stream, history, counted), history.undo
        if _undone(history):
            mean, std = np.broadcast_to(history.means, c).copy(), np.broadcast_to(history.stds, c).copy()
    if (std != 1).any() or (mean != 0).any():
        scaled = np.clip(raw / divisor * std[:, None, None] + mean[:, None, None], 0.0, 1.0)
        if counted.exact:
            scaled = _snapped(scaled)
        levels = (
            _levels_of_sample(scaled, counted)
            if len(set(std)) + len(set(mean)) > 2
            else _moved(counted, float(std[0]), float(mean[0]))
        )
    else:
        scaled, levels = raw.astype(np.float64) / divisor, counted
    scaled32 = scaled.astype(np.float32)
    grid = _grid(levels, scaled32)
    finite = int(levels.counts.sum())
    v = levels.values
    inside = (v >= 0) & (v <= 1)
    scale = np.repeat(std, h * w) / divisor
    labels = None if stream.labels is None else stream.labels[numbers]
    chosen = scaled[:: max(1, len(scaled) // NOISE_IMAGES)]
    noise = noise_of(chosen)
    one_bit = bool(levels.exact and np.isin(v, (0.0, 1.0)).all())
    some = scaled[:: max(1, math.ceil(scaled.size / REFERENCE_VALUES))].reshape(-1, c * h * w)
    weights = levels.counts / finite
    average = float(v @ weights)
    levelled = levels.exact and passing.pixels.separates(passing.counter.levels(passing.values).values)
    return Facts(
        name=stream.name,
        source=stream.source,
        dtype=str(stream.dtype),
        shape=stream.shape,
        count=passing.count,
        expected=stream.count,
        skipped=tuple(stream.skipped),
        skipped_count=stream.skipped_count,
        dropped=passing.dropped,
        dropped_numbers=tuple(passing.dropped_numbers),
        notes=tuple(stream.notes),
        scaling=scaling,
        divisor=divisor,
        history=history,
        problem=problem,
        fix=fix,
        low=float(v[0]),
        high=float(v[-1]),
        levels=levels,
        grid=grid,
        at_zero=levels.share(v == 0),
        at_one=levels.share(v == 1),
        between=levels.share((v > 0) & (v < 1)),
        outside=levels.share(~inside),
        not_finite=passing.bad_values / passing.values,
        constant_pixels=float((passing.lowest == passing.highest).mean()),
        constant_images=bool((passing.lowest == passing.highest).all()),
        equal_channels=passing.equal_channels,
        histogram=tuple(int(n) for n in np.histogram(v, HISTOGRAM, weights=levels.counts)[0]),
        histogram_bits=passing.pixels.bits(levels.values.size) if levelled else None,
        mean=average,
        std=float(np.sqrt(max(0.0, float((v - average) ** 2 @ weights)))),
        spectrum=passing.spectrum.result(scale),
        noise=noise,
        reference=linear_reference(some, (c, h, w), robust=noise.impulsive and not one_bit),
        order=passing.order.result(),
        sample=scaled32,
        sample_numbers=numbers,
        sample_labels=labels,
    )


def _divisor(stream: Stream, passing: _Pass) -> tuple[float, str]:
    dtype = stream.dtype
    if stream.top is not None:
        return stream.top, f"0..{stream.top:g} / {stream.top:g}"
    if dtype.kind == "b":
        return 1.0, "bool as 0/1"
    if dtype.kind == "u" and dtype.itemsize <= 2:
        top = int(np.iinfo(dtype).max)
        if passing.highest.max() <= 1 and passing.lowest.min() < passing.highest.max():
            return 1.0, f"{dtype} holding only 0 and 1, taken as 0/1"
        return float(top), f"{dtype} / {top}"
    return 1.0, f"none: {dtype}"


def _problem(stream: Stream, history: History, levels: Levels) -> str:
    outside = levels.share((levels.values < 0) | (levels.values > 1))
    return (
        f"{stream.name}: expected values in [0, 1], got {100 * outside:.3g} % outside ({levels.values[0]:.4g} to "
        f"{levels.values[-1]:.4g}, {stream.dtype}). Probably {history.text}: {history.evidence}."
    )


def _undone(history: History) -> bool:
    """Whether an affine step is undone: the values show it, or undoing it needs no guess of where black was."""
    return bool(history.stds) and (history.sure or not any(m != 0 for m in history.means))


def _moved(levels: Levels, std: float, mean: float) -> Levels:
    values = np.clip(levels.values * std + mean, 0.0, 1.0)
    if levels.exact and values.size <= 256:
        values = _snapped(values)
    return Levels(values, levels.counts, levels.total, exact=levels.exact)


def _snapped(values: Floats) -> Floats:
    """Values that undoing a step brought close to the levels of bits, of 17 grey levels or of bytes, on these levels."""
    for steps in (1, 16, 255):
        on = np.rint(values * steps) / steps
        if float(np.abs(values - on).max()) < 0.1 / 255:
            return on
    return values


def _levels_of_sample(scaled: Floats, counted: Levels) -> Levels:
    """Channels were scaled apart, so the levels are those of the sample, in parts of the whole."""
    values, counts = np.unique(scaled, return_counts=True)
    return Levels(values, counts, int(counts.sum()), exact=counted.exact and values.size <= 65536)


def _grid(levels: Levels, sample: npt.NDArray[np.float32]) -> int | None:
    v = levels.values
    if v[0] < 0 or v[-1] > 1:
        return None
    return lattice(v if levels.exact else sample)


def describe(facts: Facts) -> dict[str, Any]:
    """The facts as plain values for JSON, without the sample."""
    noise, order, history, reference = facts.noise, facts.order, facts.history, facts.reference
    return {
        "name": facts.name, "source": facts.source, "dtype": facts.dtype, "shape": list(facts.shape),
        "images": facts.count, "expected_images": facts.expected,
        "skipped": facts.skipped_count, "skipped_names": [list(pair) for pair in facts.skipped],
        "dropped_not_finite": facts.dropped, "dropped_numbers": list(facts.dropped_numbers),
        "notes": list(facts.notes), "scaling": facts.scaling, "problem": facts.problem, "fix": facts.fix,
        "history": {"text": history.text, "evidence": history.evidence, "means": list(history.means),
                    "stds": list(history.stds), "undo": history.undo, "sure": history.sure},
        "low": facts.low, "high": facts.high, "mean": facts.mean, "std": facts.std,
        "distinct_values": facts.size or None, "grey_levels": facts.grid, "one_bit": facts.one_bit,
        "at_zero": facts.at_zero, "at_one": facts.at_one, "between": facts.between, "outside": facts.outside,
        "not_finite": facts.not_finite, "constant_pixels": facts.constant_pixels,
        "constant_images": facts.constant_images, "equal_channels": facts.equal_channels,
        "histogram": list(facts.histogram),
        "histogram_bits": None if facts.histogram_bits is None else list(facts.histogram_bits),
        "spectrum": {"values": [float(x) for x in facts.spectrum.values[:64]], "total": facts.spectrum.total,
                     "exact": facts.spectrum.exact},
        "noise": {"sigma": noise.sigma, "impulses": None if math.isnan(noise.impulses) else noise.impulses,
                  "found": facts.noisy, "images": noise.looked_at},
        "reference": {"rank": reference.rank, "scale": reference.scale, "outliers": reference.outliers,
                      "excess_kurtosis": reference.kurtosis, "robust": reference.robust,
                      "neighbours": None if math.isnan(reference.neighbours) else reference.neighbours},
        "order": {"distances": {str(k): v for k, v in order.distances.items()}, "film": order.film,
                  "sorted": order.sorted, "equal": order.equal, "near": order.near,
                  "across_train_and_test": order.across, "looked_at": order.looked_at},
    }  # fmt: skip
