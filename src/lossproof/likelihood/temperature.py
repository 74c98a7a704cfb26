"""The temperature that fits the data: mean loss = expected loss under q_T; for all values, or per image, channel, pixel.

Moment matching and maximum likelihood give the same T: d/dT of mean(loss)/T + mean(log Z(p, T)) is
(E_T[loss] - mean loss)/T^2, and E_T[loss] rises with T (its derivative is Var_T[loss]/T^2), so there is one root.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError
from lossproof.formula.errors import nearest
from lossproof.likelihood.integrand import Array, Of, Point
from lossproof.likelihood.law import Likelihood, likelihood
from lossproof.likelihood.measures import SMALLEST, RealLine, positive_temperature
from lossproof.likelihood.table import mesh

Per = Literal["all", "image", "channel", "pixel"]
_NODES = 513  # of the table over predictions
_STEPS = 4  # temperatures per factor of e in the table, at most
_MOST = 1 << 24  # weights of nodes in groups held at a time


@dataclass(frozen=True)
class Fitted:
    """Fitted temperatures and how they came out.

    ``temperature`` has one entry a group (shape () for all); ``observed`` is the mean loss (or excess) that each was
    matched to; ``bounded`` marks groups whose T was held at ``low`` (perfect predictions: the likelihood has no
    maximum) or at ``high`` (predictions worse than a flat law).
    """

    temperature: Array
    observed: Array
    bounded: npt.NDArray[np.bool_]
    low: float
    high: float


def fit_temperature(
    loss: object,
    y: npt.ArrayLike,
    p: npt.ArrayLike | None = None,
    *,
    logits: npt.ArrayLike | None = None,
    measure: object = "levels",
    of: Of = "loss",
    per: Per = "all",
    low: float = 1e-4,
    high: float = 1e4,
    shrink: float = 0.0,
) -> Fitted:
    """Solve for T in [low, high]: the mean loss equals its expectation under exp(-loss/T)/Z, per group.

    y and p (or logits) have equal shapes; the first axis counts images; "channel" needs (images, channels, height,
    width). A lower bound is needed: as predictions get perfect T falls to 0 and the density grows without bound.
    ``shrink`` counts the mean loss of all groups as that many values of each: a pixel that is black in few images is
    not black in all. Raises ``LossproofError`` for bounds out of order, a wrong ``per``, and what ``likelihood`` refuses.

    >>> rng = np.random.default_rng(0)
    >>> p = rng.random((50, 100)); y = p + 0.1 * rng.standard_normal(p.shape)
    >>> fit = fit_temperature("mse", y, p, measure="line")  # T = 2 sigma^2, sigma^2 = MSE
    >>> bool(np.isclose(fit.temperature, 2 * np.mean((y - p) ** 2), rtol=1e-9))
    True
    """
    if per not in get_args(Per):
        raise LossproofError(
            f"temperature: expected per one of all, image, channel, pixel, got {per!r}; {nearest(str(per), get_args(Per))}"
        )
    low, high = positive_temperature(low, "temperature"), positive_temperature(high, "temperature")
    if low >= high:
        raise LossproofError(f"temperature: expected low < high, got {low:g} and {high:g}.")
    law = likelihood(loss, low, measure, of)
    observed = np.asarray(law.observed_loss(y, p, logits=logits))
    if observed.size == 0:
        raise LossproofError(f"temperature: expected at least one value, got shape {observed.shape}.")
    groups, shape = _groups(observed.shape, per)
    count = np.bincount(groups)
    if not (shrink >= 0 and np.isfinite(shrink)):
        raise LossproofError(f"temperature: expected shrink as a number of at least 0, got {shrink}.")
    total = np.bincount(groups, weights=observed.ravel())
    mean = (total + shrink * observed.mean()) / (count + shrink) if shrink else total / count
    if not np.isfinite(mean).all():
        raise LossproofError(
            f"{law.loss.label}: expected finite losses, got {float(mean[~np.isfinite(mean)][0]):g} in the mean. "
            "Predictions of exactly 0 or 1: give logits."
        )
    at, _ = law.normaliser.point(p, logits)
    step = max(1, _MOST // _NODES)
    solved = []
    for start in range(0, count.size, step):
        part = slice(start, start + step)
        mine = slice(None) if count.size <= step else (groups >= start) & (groups < start + step)
        solved.append(
            _Table(law, at.take(mine), groups[mine] - start, count[part]).solve(mean[part], low, high)
        )
    temperature, bounded = (np.concatenate(found) for found in zip(*solved, strict=True))
    return Fitted(
        temperature.reshape(shape)[()], mean.reshape(shape)[()], bounded.reshape(shape)[()], low, high
    )


class _Table:
    """Expected loss and its slope in log T, at nodes over the predictions, averaged over each group."""

    def __init__(
        self, law: Likelihood, at: Point, groups: npt.NDArray[np.int64], count: npt.NDArray[np.int64]
    ) -> None:
        self.law = law
        distinct = np.unique(at.x)
        if getattr(law.normaliser.engine, "centred", False):
            distinct = distinct[:1]
        if distinct.size <= _NODES:
            self.nodes = Point(distinct, at.logits)
            place = (
                np.searchsorted(distinct, at.x) if distinct.size > 1 else np.zeros(at.x.size, dtype=np.int64)
            )
            left, share = place, np.zeros(at.x.size)
        else:
            coordinate = _stretch(at)
            ends = coordinate.min(), coordinate.max()
            spots = np.linspace(*ends, _NODES)
            self.nodes = _unstretch(spots, at, law)
            where = (coordinate - ends[0]) / (ends[1] - ends[0]) * (_NODES - 1)
            left = np.minimum(where.astype(np.int64), _NODES - 2)
            share = where - left
        size = self.nodes.x.size
        flat = groups * size + left
        weights = np.bincount(flat, weights=1 - share, minlength=count.size * size)
        if share.any():
            weights += np.bincount(flat + 1, weights=share, minlength=count.size * size)
        self.weights = weights.reshape(count.size, size) / count[:, None]
        self.losses: Array | None = None
        if not isinstance(law.measure, RealLine):  # the losses themselves do not change with T
            targets, self.log_weights = mesh(law.normaliser, self.nodes)
            self.losses = law.normaliser.integrand.value(targets, self.nodes)

    def expected(self, temperature: float) -> tuple[Array, Array]:
        """Per group: the expected loss at T, and its derivative in log T (the variance over T)."""
        if self.losses is None:
            engine = self.law.at(temperature).normaliser.engine
            first, second = engine.expectations(self.nodes, ("value", "value2"))
        else:
            v = -self.losses / temperature + self.log_weights
            q = np.exp(v - v.max(axis=1, keepdims=True))
            q /= q.sum(axis=1, keepdims=True)
            losses = np.where(q > 0, self.losses, 0.0)
            first, second = (q * losses).sum(axis=1), (q * losses**2).sum(axis=1)
        slope = np.maximum(second - first**2, 0.0) / temperature
        # the part free of y goes into the table too: alone it is large where logits are, and so would errors be
        return self.weights @ (first + self.law.normaliser.integrand.rest(self.nodes)), self.weights @ slope

    def solve(self, mean: Array, low: float, high: float) -> tuple[Array, npt.NDArray[np.bool_]]:
        """T for each group: a scan in log T, cubic interpolation, and for a single group Newton to the end."""
        logs = np.linspace(np.log(low), np.log(high), 2 + int(_STEPS * np.log(high / low)))
        if mean.size == 1:
            return self._bisect(float(mean[0]), low, high)
        known: dict[int, tuple[Array, Array]] = {}

        def at(cells: npt.NDArray[np.int64]) -> tuple[Array, Array]:
            """Expectation and slope of each group at its own temperature of the scan."""
            height, slope = np.empty(mean.size), np.empty(mean.size)
            for cell in np.unique(cells):
                if int(cell) not in known:
                    known[int(cell)] = self.expected(float(np.exp(logs[cell])))
                mine = cells == cell
                height[mine], slope[mine] = (part[mine] for part in known[int(cell)])
            return height, slope

        first, last = np.zeros(mean.size, dtype=np.int64), np.full(mean.size, logs.size - 1)
        below, above = mean <= at(first)[0], mean >= at(last)[0]
        while (last - first > 1).any():  # groups are much alike: few temperatures are looked at
            middle = (first + last) // 2
            less = at(middle)[0] < mean
            first, last = np.where(less, middle, first), np.where(less, last, np.maximum(middle, first + 1))
        h = logs[1] - logs[0]
        (y0, m0), (y1, m1) = at(first), at(last)
        m0, m1 = m0 * h, m1 * h
        a, b = np.zeros(mean.size), np.ones(mean.size)
        for _ in range(50):
            u = (a + b) / 2
            cubic = (
                (1 + 2 * u) * (1 - u) ** 2 * y0
                + u * (1 - u) ** 2 * m0
                + u * u * (3 - 2 * u) * y1
                + u * u * (u - 1) * m1
            )
            a, b = np.where(cubic < mean, u, a), np.where(cubic < mean, b, u)
        found = np.exp(logs[first] + h * (a + b) / 2)
        found = np.where(below, low, np.where(above, high, found))
        return found, below | above

    def _bisect(self, mean: float, low: float, high: float) -> tuple[Array, npt.NDArray[np.bool_]]:
        bounded = np.array([True])
        if mean <= self.expected(low)[0][0]:
            return np.array([low]), bounded
        try:
            if mean >= self.expected(high)[0][0]:
                return np.array([high]), bounded
        except LossproofError:  # heavy tails: at this T there is no law, so the expectation passes every mean
            pass
        a, b = np.log(low), np.log(high)
        t = (a + b) / 2
        for _ in range(200):
            try:
                value, slope = (float(v[0]) for v in self.expected(float(np.exp(t))))
            except LossproofError:
                value, slope = np.inf, 0.0
            a, b = (t, b) if value < mean else (a, t)
            step = t - (value - mean) / slope if slope > 0 else np.nan
            following = step if a < step < b else (a + b) / 2
            if abs(following - t) < 1e-13 * max(1.0, abs(t)):
                break
            t = following
        return np.array([np.exp(t)]), np.array([False])


def _groups(shape: tuple[int, ...], per: Per) -> tuple[npt.NDArray[np.int64], tuple[int, ...]]:
    """Each value's group, flat, and the shape of the groups."""
    size = int(np.prod(shape))
    if per == "all" or not shape:
        return np.zeros(size, dtype=np.int64), ()
    flat = np.arange(size)
    inner = size // shape[0]
    if per == "image":
        return flat // inner, (shape[0],)
    if per == "pixel":
        return flat % inner, shape[1:]
    if len(shape) != 4:
        raise LossproofError(
            f"temperature: expected images of shape (images, channels, height, width) for per='channel', got {shape}. "
            "Reshape them."
        )
    pixels = shape[2] * shape[3]
    return flat // pixels % shape[1], (shape[1],)


def _stretch(at: Point) -> Array:
    """A coordinate in which laws change slowly, also where p runs into 0 or 1."""
    if at.logits:
        return np.arcsinh(at.x)
    inside = (at.x >= 0).all() and (at.x <= 1).all()
    if not inside:
        return at.x
    with np.errstate(divide="ignore"):
        z = np.clip(np.log(at.x) - np.log1p(-at.x), -700, 700)
    return np.arcsinh(z)


def _unstretch(coordinate: Array, at: Point, law: Likelihood) -> Point:
    if not at.logits and not ((at.x >= 0).all() and (at.x <= 1).all()):
        return Point(coordinate)
    return Point(np.sinh(coordinate), logits=True)


__all__ = ["SMALLEST", "Fitted", "Per", "fit_temperature"]
