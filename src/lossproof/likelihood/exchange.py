"""Exchange rates: at which beta (or T) two losses weigh small errors alike, and which sigma a loss amounts to.

Near p = y a loss is k e^2/2, with e = p - y and k its curvature there; loss + beta KL is then a Gaussian decoder with
sigma^2 = beta/k. A loss that grows otherwise (a kink, an end of its predictions) is weighed by its mean excess at one
stated error instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from lossproof.formula import Loss, LossproofError
from lossproof.lower import LossFunction, function

Array: TypeAlias = npt.NDArray[np.float64]
Kind = Literal["curvature", "flat", "first order", "unsteady", "elsewhere", "undefined"]

ERROR = 0.1  # |p - y| at which losses without a curvature are weighed: what a trained model's error comes to
_STEP = 1e-4  # of the differences; also the most of the way to the end of the predictions
_FLAT = 1e-9  # a curvature below is what rounding leaves of 0
_MOST_VALUES = 4096  # distinct targets looked at; more are thinned out
_WIDE = 2048  # values an image: beyond, a covariance matrix is dear, and fewer images stand for all
_MOST_IMAGES, _FEW_IMAGES, _BLOCK = 65536, 4096, 4096


@dataclass(frozen=True)
class Weight:
    """How much a loss weighs small errors on some data; all numbers are means over the data's values.

    ``curvature`` is d2 loss/dp2 at p = y where that is finite at every value, else nan or inf and ``kind`` says why:
    "first order" (a kink at p = y, or an end of the predictions, where the loss starts off as a line), "unsteady"
    (infinite, or different on the two sides), "elsewhere" (its minimum is not at p = y), "undefined"; "flat" is a
    curvature of 0. ``share`` is the share of values where that is so, ``example`` the first of them. ``excess`` is the
    mean excess at |p - y| = error.
    """

    label: str
    kind: Kind
    curvature: float
    share: float
    example: float
    excess: float
    error: float

    @property
    def at_error(self) -> float:
        """The curvature of the parabola with the same mean excess at the stated error."""
        return 2 * self.excess / self.error**2

    @property
    def usable(self) -> float:
        """The curvature where there is one, else that of the parabola through the excess; nan where neither is."""
        return self.curvature if self.kind == "curvature" else self.at_error


@dataclass(frozen=True)
class Exchange:
    """Losses against each other on one set of data.

    ``rates[i, j]``: the beta at which loss i weighs small errors as loss j does at beta = 1. ``by[i][j]`` says by what:
    "curvature" or "excess" (at the stated error); "" where there is no rate.
    """

    weights: tuple[Weight, ...]
    error: float
    rates: Array
    by: tuple[tuple[str, ...], ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The losses, in the order of rows and columns."""
        return tuple(weight.label for weight in self.weights)

    def __str__(self) -> str:
        """The matrix as text: a star where a rate is by excess, a dash where there is none.

        >>> print(exchange(["mse", "mae", "focal"], [0.3]))
                 mse   mae  focal
          mse      1  0.1*      -
          mae    10*     1      -
        focal      -     -      -
        *: equal mean excess at an error of 0.1; else by curvature at p = y
        """
        rows = [["", *self.labels]]
        for label, line, by in zip(self.labels, self.rates, self.by, strict=True):
            marks = [
                "*" if how == "excess" and first != label else ""
                for how, first in zip(by, self.labels, strict=True)
            ]
            found = [f"{v:.4g}{m}" if how else "-" for v, m, how in zip(line, marks, by, strict=True)]
            rows.append([label, *found])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows))]
        lines = ["  ".join(text.rjust(w) for text, w in zip(row, widths, strict=True)) for row in rows]
        used = any(how == "excess" for by in self.by for how in by)
        note = f"*: equal mean excess at an error of {self.error:g}; else by curvature at p = y"
        return "\n".join([*lines, note] if used else lines)

    def rate(self, first: str, second: str) -> float:
        """The beta at which the first weighs small errors as the second does at beta = 1."""
        try:
            i, j = self.labels.index(first), self.labels.index(second)
        except ValueError:
            raise LossproofError(
                f"exchange: expected two of {', '.join(self.labels)}, got {first!r} and {second!r}."
            ) from None
        return float(self.rates[i, j])


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of the covariance of some images, descending, and how many images and values they come from."""

    eigenvalues: Array
    images: int
    pixels: int

    @property
    def total(self) -> float:
        """The sum of all variances."""
        return float(self.eigenvalues.sum())

    def active(self, variance: float) -> int:
        """How many eigenvalues exceed this noise variance: what a linear VAE with that decoder keeps.

        Lucas, Tucker, Grosse, Norouzi, NeurIPS 2019, https://arxiv.org/abs/1911.02469.
        """
        return int((self.eigenvalues > variance).sum())


@dataclass(frozen=True)
class Effective:
    """The Gaussian decoder that loss + beta KL amounts to for small errors, and what of the data survives it."""

    label: str
    beta: float
    reduction: str
    by: str
    variance: float
    active: int
    largest: float

    @property
    def sigma(self) -> float:
        """Square root of the variance."""
        return math.sqrt(self.variance)

    @property
    def collapsed(self) -> bool:
        """True where no direction of the data has a variance above the decoder's."""
        return self.active == 0


def weight(
    loss: object, values: npt.ArrayLike, counts: npt.ArrayLike | None = None, *, error: float = ERROR
) -> Weight:
    """How a loss weighs small errors at these target values (each counted ``counts`` times), 0 < error < 1/2.

    Values in [0, 1], any shape. The excess is averaged over p = y - error and p = y + error, as far as inside (0, 1).
    Raises ``LossproofError`` for an error out of range, no values, or values outside the loss's targets or [0, 1].

    >>> weight("mse", [0.2, 0.9]).curvature.__round__(6), weight("bce", [0.2, 0.5]).curvature.__round__(6)
    (2.0, 5.125)
    """
    return _weigh(function(loss), *_levels(values, counts), _checked(error))


def exchange(
    losses: Sequence[object],
    values: npt.ArrayLike,
    counts: npt.ArrayLike | None = None,
    *,
    error: float = ERROR,
) -> Exchange:
    """The matrix of exchange rates between losses on data's values: by curvature where both have one, else by excess.

    The temperature of exp(-loss/T)/Z plays the part of beta, so the same matrix holds for T. Raises what ``weight``
    raises.

    >>> exchange(["mse", "logcosh"], [0.0, 0.5]).rates.round(6).tolist()  # (y - p)^2 has no factor 1/2
    [[1.0, 2.0], [0.5, 1.0]]
    """
    error = _checked(error)
    levels = _levels(values, counts)
    found = tuple(_weigh(function(loss), *levels, error) for loss in losses)
    size = len(found)
    rates = np.full((size, size), math.nan)
    by = [[""] * size for _ in range(size)]
    for i, first in enumerate(found):
        for j, second in enumerate(found):
            smooth = first.kind == second.kind == "curvature"
            a, b = (w.curvature if smooth else w.at_error for w in (first, second))
            if math.isfinite(a) and math.isfinite(b) and a > 0 and b > 0:
                rates[i, j] = 1.0 if i == j else a / b
                by[i][j] = "curvature" if smooth else "excess"
    return Exchange(found, error, rates, tuple(map(tuple, by)))


def spectrum(images: npt.ArrayLike) -> Spectrum:
    """Eigenvalues of the covariance (divided by n) of images (n, ...).

    At most 65536 images are used (4096 where they have over 2048 values each), evenly spread. Raises
    ``LossproofError`` for fewer than 2 images or values that are not finite.

    >>> spectrum([[0.0, 0.0], [2.0, 0.0]]).eigenvalues.tolist()
    [1.0, 0.0]
    """
    given = np.asarray(images)
    if given.ndim < 2 or len(given) < 2 or given.size == 0:
        raise LossproofError(
            f"spectrum: expected at least 2 images of shape (images, ...), got {given.shape}."
        )
    pixels = given[0].size
    given = given[thinned(len(given), pixels)]
    flat, count = given.reshape(len(given), -1), len(given)
    mean = flat.mean(axis=0, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise LossproofError("spectrum: expected finite values, got NaN or infinity. See `lossproof check`.")
    if count < pixels:  # the smaller of the two products has the same eigenvalues, but for zeros
        centred = flat - mean
        product = centred @ centred.T
    else:
        product = np.zeros((pixels, pixels))
        for start in range(0, count, _BLOCK):
            centred = flat[start : start + _BLOCK] - mean
            product += centred.T @ centred
    found = np.maximum(np.linalg.eigvalsh(product)[::-1] / count, 0.0)
    return Spectrum(np.concatenate([found, np.zeros(max(0, pixels - found.size))])[:pixels], count, pixels)


def thinned(count: int, pixels: int) -> npt.NDArray[np.int64] | slice:
    """Which of so many images, of so many values each, ``spectrum`` looks at.

    >>> thinned(3, 4), len(thinned(70_000, 784)), len(thinned(70_000, 3072))
    (slice(None, None, None), 65536, 4096)
    """
    most = _MOST_IMAGES if pixels <= _WIDE else _FEW_IMAGES
    if count <= most:
        return slice(None)
    places: npt.NDArray[np.int64] = np.linspace(0, count - 1, most).round().astype(np.int64)
    return places


def effective(
    weight: Weight, data: Spectrum, *, beta: float = 1.0, reduction: Literal["sum", "mean"] = "sum"
) -> Effective:
    """The decoder's variance that a loss with this weight amounts to next to beta times the summed KL.

    Summed over pixels: sigma^2 = beta/k, k being the curvature (or the parabola's at the stated error); averaged
    ("mean"): pixels times that. MSE (k = 2) averaged over 784 pixels gives 392. Raises ``LossproofError`` for a beta that
    is not above 0, another reduction, or a loss without a weight.

    >>> from lossproof.likelihood.exchange import weight
    >>> data = Spectrum(np.array([5.1, 3.7] + [0.0] * 782), 60000, 784)
    >>> found = effective(weight("mse", [0.0, 1.0]), data, reduction="mean")
    >>> found.variance.__round__(6), found.active
    (392.0, 0)
    """
    if not (math.isfinite(beta) and beta > 0):
        raise LossproofError(f"exchange: expected a beta above 0, got {beta:g}.")
    if reduction not in ("sum", "mean"):
        raise LossproofError(f"exchange: expected reduction sum or mean, got {reduction!r}.")
    k = weight.usable
    if not (math.isfinite(k) and k > 0):
        raise LossproofError(
            f"{weight.label}: expected a loss that weighs small errors, got one with weight {k:g} ({weight.kind}). "
            "Compare it by its rate instead."
        )
    variance = beta / k * (data.pixels if reduction == "mean" else 1)
    return Effective(
        weight.label,
        beta,
        reduction,
        "curvature" if weight.kind == "curvature" else "excess",
        variance,
        data.active(variance),
        float(data.eigenvalues[0]),
    )


def record(
    losses: Sequence[object],
    images: npt.ArrayLike,
    *,
    error: float = ERROR,
    levels: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> dict[str, Any]:
    """Weights, rates and spectrum on these images (n, ...) as plain values for a run's files; ``restore`` reads them.

    ``levels`` are the distinct values of all images and their counts, where they are known already or ``images`` are
    those that ``thinned`` chose of more. Numbers that are not finite become strings.

    >>> made = record(["mse", "mae"], [[0.0, 0.5], [1.0, 0.5]])
    >>> round(restore(made)[0].rate("mse", "mae"), 9), made["weights"][1]["curvature"]
    (0.1, 'inf')
    """
    given = np.asarray(images)
    values, counts = np.unique(given, return_counts=True) if levels is None else levels
    rates, data = exchange(losses, values, counts, error=error), spectrum(given)
    plain = [{key: _plain(value) for key, value in vars(weight).items()} for weight in rates.weights]
    return {
        "error": rates.error,
        "weights": plain,
        "rates": [[_plain(float(v)) for v in row] for row in rates.rates],
        "by": [list(row) for row in rates.by],
        "spectrum": {
            "images": data.images,
            "pixels": data.pixels,
            "eigenvalues": [float(f"{v:.6g}") for v in data.eigenvalues],
        },
    }


def restore(record: Mapping[str, Any]) -> tuple[Exchange, Spectrum]:
    """What ``record`` wrote. Raises ``LossproofError`` where a part is missing."""
    try:
        numbers = ("curvature", "share", "example", "excess", "error")
        weights = tuple(
            Weight(str(entry["label"]), entry["kind"], *(float(entry[name]) for name in numbers))
            for entry in record["weights"]
        )
        rates = np.array([[float(v) for v in row] for row in record["rates"]]).reshape(len(weights), -1)
        by = tuple(tuple(str(v) for v in row) for row in record["by"])
        stored = record["spectrum"]
        values = np.asarray(stored["eigenvalues"], dtype=np.float64)
        data = Spectrum(values, int(stored["images"]), int(stored["pixels"]))
        return Exchange(weights, float(record["error"]), rates, by), data
    except (KeyError, TypeError, ValueError) as error:
        raise LossproofError(
            f"exchange: expected the record of a comparison, cannot read it ({error!r}). Run it again."
        ) from error


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _checked(error: float) -> float:
    if not (isinstance(error, int | float) and 0 < error < 0.5):
        raise LossproofError(
            f"exchange: expected an error between 0 and 1/2 (grey values lie in [0, 1]), got {error!r}."
        )
    return float(error)


def _levels(values: npt.ArrayLike, counts: npt.ArrayLike | None) -> tuple[Array, Array]:
    """Distinct values with their shares, at most so many: neighbours beyond that are merged."""
    given = np.asarray(values, dtype=np.float64).ravel()
    if given.size == 0:
        raise LossproofError("exchange: expected at least one target value, got none.")
    times = np.ones(given.size) if counts is None else np.asarray(counts, dtype=np.float64).ravel()
    if times.shape != given.shape or not (
        np.isfinite(times).all() and (times >= 0).all() and times.sum() > 0
    ):
        raise LossproofError(
            f"exchange: expected one count of at least 0 for each of {given.size} values, got shape {times.shape}."
        )
    bad = ~((given >= 0) & (given <= 1))
    if bad.any():
        raise LossproofError(
            f"exchange: expected target values in [0, 1], got {int(bad.sum())} of {given.size} outside, first "
            f"{given[bad][0]:g}. Divide by 255?"
        )
    levels, back = np.unique(given, return_inverse=True)
    share = np.bincount(back, weights=times)
    if levels.size > _MOST_VALUES:
        # the ends stay by themselves: losses differ most there
        groups = 1 + (np.arange(levels.size - 2) * (_MOST_VALUES - 2)) // (levels.size - 2)
        groups = np.concatenate([[0], groups, [groups[-1] + 1]])
        first = np.flatnonzero(np.diff(groups, prepend=-1))
        levels, share = levels[(first + np.append(first[1:], levels.size)) // 2], np.bincount(groups, share)
    kept = share > 0
    return levels[kept], share[kept] / share.sum()


def _weigh(loss: LossFunction, y: Array, share: Array, error: float) -> Weight:
    definition: Loss = loss.definition
    curvature, kinds = _curvatures(loss, y)
    at_p: list[Array] = []
    for p in (y - error, y + error):
        inside = (p > 0) & (p < 1)
        at_p.append(np.full(y.size, math.nan))
        with np.errstate(all="ignore"):
            at_p[-1][inside] = loss.value(y[inside], p[inside])
    floor = np.asarray(loss.floor(y))
    with np.errstate(all="ignore"):
        both = np.stack(at_p)
        there = np.isfinite(both)
        mean = np.where(there, both, 0.0).sum(axis=0) / there.sum(axis=0)  # nan where neither is inside
        excess = float(((mean - floor) * share).sum())
    kind: Kind
    for kind in ("undefined", "elsewhere", "first order", "unsteady"):
        odd = kinds == kind
        if odd.any():
            found = math.nan if kind in ("undefined", "elsewhere") else math.inf
            lost = math.nan if found != math.inf else excess
            return Weight(
                definition.label, kind, found, float(share[odd].sum()), float(y[odd][0]), lost, error
            )
    mean = float((curvature * share).sum())
    kind = "curvature" if mean > _FLAT else "flat"
    return Weight(definition.label, kind, mean if mean > _FLAT else 0.0, 1.0, float(y[0]), excess, error)


def _curvatures(loss: LossFunction, y: Array) -> tuple[Array, npt.NDArray[np.str_]]:
    """d2 loss/dp2 at p = y, by differences of the derived slope extrapolated to step 0, and how each value stands."""
    low, high = loss.definition.prediction.low, loss.definition.prediction.high
    room = np.minimum(y - low, high - y)
    step = np.minimum(_STEP, np.where(room > 0, room, 1.0) * 1e-2)

    def slope(p: Array) -> Array:
        known = np.asarray(loss.definition.prediction.contains(p))
        found = np.full(y.size, math.nan)
        with np.errstate(all="ignore"):
            found[known] = loss.gradient(y[known], p[known])
        return found

    sides = [(slope(y + s), slope(y - s)) for s in (step, step / 2, step / 4)]
    kinds = np.full(y.size, "curvature", dtype="<U11")
    with np.errstate(all="ignore"):
        # at an end of the predictions there is one side, and a minimum has slope 0 there or is none
        up = [np.where(np.isnan(a), -b, a) / s for (a, b), s in zip(sides, _steps(step), strict=True)]
        down = [np.where(np.isnan(b), a, -b) / s for (a, b), s in zip(sides, _steps(step), strict=True)]
        both = [(u + d) / 2 for u, d in zip(up, down, strict=True)]
        found = (64 * both[2] - 20 * both[1] + both[0]) / 45  # Richardson: errors in s^2 and s^4 cancel
        growth = both[2] / both[0]
        one_sided = np.isnan(sides[0][0]) | np.isnan(sides[0][1])
        found = np.where(one_sided, (8 * both[2] - 6 * both[1] + both[0]) / 3, found)
        # a slope that stays as the step shrinks is a kink: its quotient grows as 1/step
        kinds[(growth > 1.05) & np.isfinite(growth)] = "unsteady"
        kinds[growth > 3.8] = "first order"
        uneven = np.abs(up[2] - down[2]) > 0.05 * np.abs(both[2]) + 1e-9
        kinds[uneven & (kinds == "curvature")] = "unsteady"
        kinds[(up[2] < 0) | (down[2] < 0)] = "elsewhere"
        kinds[np.isnan(both[2])] = "undefined"
    return found, kinds


def _steps(step: Array) -> tuple[Array, Array, Array]:
    return step, step / 2, step / 4
