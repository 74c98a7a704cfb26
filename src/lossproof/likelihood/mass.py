"""Likelihoods on levels: exact sums, a block of predictions at a time."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError
from lossproof.likelihood.closed import log_exprel, mean_exp
from lossproof.likelihood.integrand import Array, Integrand, Point
from lossproof.likelihood.measures import Levels

LARGE = 1e15  # exponents from which on one level has all the mass
_BLOCK = 1 << 20  # numbers held at a time: no tensor of predictions times levels


class Mass:
    """exp(-loss/T) on levels: its sum, moments, distribution function and quantiles, for flat predictions."""

    def __init__(self, integrand: Integrand, temperature: float, levels: Levels) -> None:
        self.integrand, self.temperature, self.levels = integrand, temperature, levels
        # a geometric sum needs equal steps
        self.geometric = integrand.form.kind == "affine" and levels.regular
        self.method = "geometric sum" if self.geometric else f"sum over {levels.count} levels"

    def log_total(self, at: Point) -> Array:
        """log of the sum of exp(-value/T) over the levels."""
        if not self.geometric:
            return np.concatenate([_log_sum(v) for _, v in self._blocks(at)] or [np.empty(0)])
        return self.anchored(at)[2]

    def anchored(self, at: Point) -> tuple[Array, Array, Array]:
        """Of a loss affine in y: the end with most mass, u, and the log of the sum of exp((y - end) u), at most log n."""
        slope = self.integrand.slope(at)
        top = self.integrand.top(slope)
        with np.errstate(over="ignore"):
            u = -slope / self.temperature
        down = np.abs(u)
        if not self.geometric:
            with np.errstate(invalid="ignore", over="ignore"):
                away = np.abs(self.levels.values - top[:, None])
                return top, u, np.log(np.where(away == 0, 1.0, np.exp(-away * down[:, None])).sum(axis=1))
        # sum of exp(-k s): (1 - exp(-n s))/(1 - exp(-s)); at an infinite s one level has all the mass
        step, n = self._lattice()
        with np.errstate(invalid="ignore", over="ignore"):
            inner = log_exprel(-n * step * down) - log_exprel(-step * down) + np.log(n)
        return top, u, np.where(n * step * down < LARGE, np.maximum(inner, 0.0), 0.0)

    def slope(self, at: Point) -> Array:
        """Derivative of ``log_total`` with respect to the prediction, or the logit."""
        if self.geometric:
            step, n = self._lattice()
            _, u, _ = self.anchored(at)
            down = -step * np.abs(u)
            away = step * (n * mean_exp(n * down) - mean_exp(down))  # of the mean from the end with most mass
            return np.sign(u) * away * self.integrand.turn(at) / self.temperature
        return -self.expectations(at, ("gradient",))[0] / self.temperature

    def expectations(self, at: Point, of: tuple[str, ...]) -> list[Array]:
        """Means of "value", "gradient", "target", "target2" (its square) or "value2" under each prediction's law."""
        out: list[list[Array]] = [[] for _ in of]
        y = self.levels.values[None, :]
        for part, v in self._blocks(at):
            q = np.exp(v - _log_sum(v)[:, None])
            for found, name in zip(out, of, strict=True):
                if name in ("target", "target2"):
                    found.append(q @ (self.levels.values ** (2 if name == "target2" else 1)))
                    continue
                values = self.integrand.gradient(y, part) if name == "gradient" else -v * self.temperature
                values = values**2 if name == "value2" else values
                found.append((q * np.where(q > 0, values, 0.0)).sum(axis=1))
        return [np.concatenate(found or [np.empty(0)]) for found in out]

    def variance(self, at: Point) -> Array:
        """Variance of the target, around its mean: no difference of squares."""
        found = []
        for _, v in self._blocks(at):
            q = np.exp(v - _log_sum(v)[:, None])
            away = self.levels.values - (q @ self.levels.values)[:, None]
            found.append((q * away**2).sum(axis=1))
        return np.concatenate(found or [np.empty(0)])

    def cdf(self, y: Array, at: Point) -> Array:
        """Mass at or below y."""
        below = np.searchsorted(self.levels.values, y * (1 + 1e-12) + 1e-15, side="right")
        out = []
        for start, (_, v) in zip(self._starts(at), self._blocks(at), strict=True):
            q = np.cumsum(np.exp(v - _log_sum(v)[:, None]), axis=1)
            k = below[start : start + v.shape[0]]
            out.append(
                np.where(k > 0, np.take_along_axis(q, np.maximum(k - 1, 0)[:, None], axis=1)[:, 0], 0.0)
            )
        return np.minimum(np.concatenate(out or [np.empty(0)]), 1.0)

    def quantile(self, share: Array, at: Point, index: npt.NDArray[np.int64]) -> Array:
        """The lowest level with at least that share of the mass at or below it; ``index`` names each draw's row."""
        out = np.empty(share.size)
        for start, (_, v) in zip(self._starts(at), self._blocks(at), strict=True):
            q = np.cumsum(np.exp(v - _log_sum(v)[:, None]), axis=1)
            q /= q[:, -1:]
            mine = np.flatnonzero((index >= start) & (index < start + v.shape[0]))
            for draws in np.array_split(mine, max(1, mine.size * self.levels.count // _BLOCK)):
                rows = q[index[draws] - start]
                out[draws] = self.levels.values[(rows < share[draws, None]).sum(axis=1)]
        return out

    def mode(self, at: Point) -> Array:
        """The level with most mass; the lowest of several."""
        found = [self.levels.values[v.argmax(axis=1)] for _, v in self._blocks(at)]
        return np.concatenate(found or [np.empty(0)])

    def _lattice(self) -> tuple[float, int]:
        values = self.levels.values
        return float((values[-1] - values[0]) / (values.size - 1)), int(values.size)

    def _starts(self, at: Point) -> range:
        return range(0, at.x.size, max(1, _BLOCK // self.levels.count))

    def _blocks(self, at: Point) -> Iterator[tuple[Point, Array]]:
        step = max(1, _BLOCK // self.levels.count)
        for start in self._starts(at):
            part = at.take(slice(start, start + step))
            with np.errstate(invalid="ignore", over="ignore"):
                v = -self.integrand.value(self.levels.values[None, :], part) / self.temperature
            bad = np.isnan(v).any(axis=1) | np.isposinf(v).any(axis=1) | ~np.isfinite(v).any(axis=1)
            if bad.any():
                row = int(np.argmax(bad))
                kind = "infinite at every level" if np.isneginf(v[row]).all() else "-inf or NaN at a level"
                name = "logit" if at.logits else "p"
                raise LossproofError(
                    f"{self.integrand.loss.label}: expected a loss that is finite at a level and nowhere -inf, at "
                    f"{name} = {part.x[row]:g} it is {kind}. Keep predictions inside the domain."
                )
            yield part, v


def _log_sum(v: Array) -> Array:
    top = v.max(axis=1)
    return np.asarray(top + np.log(np.exp(v - top[:, None]).sum(axis=1)))
