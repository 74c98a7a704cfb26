"""Likelihoods on [0, 1] and on the real line: closed forms where the loss has one, checked quadrature elsewhere."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError
from lossproof.likelihood.closed import (
    log_exponential,
    log_exprel,
    log_gaussian,
    log_line,
    log_slice,
    mean_exp,
    spread_exp,
)
from lossproof.likelihood.integrand import Array, Integrand, Point
from lossproof.likelihood.measures import RealLine, UnitInterval
from lossproof.likelihood.quadrature import LogDensity, edges_between, integrate, quantile

_NEAR = 0.07  # tails |y|^-(1 + this) or thicker are refused: their last digits lie beyond 2^500
_FAR = 500
_LINE = {"log-cosh": "beta function", "hyperbola": "Bessel function K1", "logsquare": "Student t"}
_CUT = {"log-cosh": "incomplete beta function, truncated", "logsquare": "Student t, truncated"}


class Density:
    """exp(-loss/T) on an interval or the line: its integral, moments, distribution function and quantiles."""

    def __init__(self, integrand: Integrand, temperature: float, measure: UnitInterval | RealLine) -> None:
        self.integrand, self.temperature, self.measure = integrand, temperature, measure
        self.label = integrand.loss.label
        self.line = isinstance(measure, RealLine)
        self.centred = (
            self.line and integrand.form.of_residual
        )  # then one law serves every prediction, shifted
        self.form = integrand.form.kind
        self.constant: float | None = None
        self._reach: tuple[float, int] | None = None
        self.method = self._method()
        if self.centred:  # refuse at once what cannot be normalised
            self.constant = float(self.log_total(Point(np.zeros(1)))[0])

    def _method(self) -> str:
        where = "on the line" if self.line else "truncated"
        if self.form == "affine":
            return "closed form: truncated exponential (continuous Bernoulli)"
        if self.form == "quadratic":
            return f"closed form: Gaussian, {where}"
        if self.form == "pieces" and all(piece.a >= 0 for piece in self.integrand.form.pieces):
            curved = {piece.a > 0 for piece in self.integrand.form.pieces}
            kind = (
                "Gaussian"
                if curved == {True}
                else "Laplace"
                if curved == {False}
                else "Gaussian and Laplace pieces"
            )
            return f"closed form: {kind}, {where}"
        if self.line and self.form in _LINE:
            return f"closed form: {_LINE[self.form]}"
        if self.cut:
            return f"closed form: {_CUT[self.form]}"
        return "quadrature (Gauss-Legendre, two orders agree to 1e-9)"

    @property
    def cut(self) -> bool:
        """True for the laws on the interval that are a slice of a known one on the line."""
        if self.line or self.form not in _CUT:
            return False
        return log_line(self.form, self.integrand.form.numbers, self.temperature) is not None

    @property
    def closed(self) -> bool:
        """True where integrals up to any y have a closed form."""
        return (
            self.form in ("affine", "quadratic")
            or self.cut
            or (self.form == "pieces" and self.method.startswith("closed"))
        )

    def log_total(self, at: Point) -> Array:
        """log of the integral of exp(-value/T)."""
        if self.centred and self.constant is not None:
            return np.full(at.x.shape, self.constant)
        low, high = self.measure.domain.low, self.measure.domain.high
        if self.closed:
            total = self._closed(np.full(at.x.shape, low), np.full(at.x.shape, high), at)
        elif self.centred and self.form in _LINE:
            known = log_line(self.form, self.integrand.form.numbers, self.temperature)
            total = np.full(at.x.shape, np.inf if known is None else known)
        else:
            total = self._integrate(at).log_total
        return self._checked(total, at)

    def anchored(self, at: Point) -> tuple[Array, Array, Array]:
        """Of a loss affine in y: the end with most mass, u, and the log of the integral of exp((y - end) u)."""
        if self.line:
            self._checked(np.full(at.x.shape, np.inf), at)  # refused, with the reason
        slope = self.integrand.slope(at)
        with np.errstate(over="ignore"):
            u = -slope / self.temperature
        return self.integrand.top(slope), u, self.log_total(at)

    def _checked(self, total: Array, at: Point) -> Array:
        bad = ~np.isfinite(total)
        if bad.any():
            row = int(np.argmax(bad))
            name, value = ("logit", at.x[row]) if at.logits else ("p", at.x[row])
            if np.isneginf(total[row]) or not self.line:
                raise LossproofError(
                    f"{self.label}: expected a density at {name} = {value:g}, there is none: the loss is infinite for "
                    f"almost every target, and all mass sits at one point. Keep p inside (0, 1), give logits, or use levels."
                )
            power = 0.0 if self.form == "affine" else self._tail(at.take(slice(row, row + 1)))[0]
            if power >= 1 + _NEAR:
                raise LossproofError(
                    f"{self.label}: expected a prediction whose law has a width, got {name} = {value:g}: there the law is "
                    "narrower than float64 can tell. Keep p inside (0, 1)."
                )
            self._refuse_tail(power)
        return total

    def slope(self, at: Point) -> Array:
        """Derivative of ``log_total`` with respect to the prediction, or the logit."""
        if self.centred:
            return np.zeros(at.x.shape)
        if self.form == "affine":
            away, _, _ = self._from_top(at)
            return -away * self.integrand.turn(at) / self.temperature
        return -self.expectations(at, ("gradient",))[0] / self.temperature

    def expectations(self, at: Point, of: tuple[str, ...]) -> list[Array]:
        """Means of "value", "value2" (its square), "gradient", "target" or "target2" under each prediction's law."""
        base = Point(np.zeros(1)) if self.centred else at
        if self.form == "affine":
            return self._affine(at, of)
        if self.line and any(name.startswith("target") for name in of):
            self._need_moment(base, 2 if "target2" in of else 1)
        table: dict[str, LogDensity] = {
            "value": lambda y, i: self.integrand.value(y, base.take(i)),
            "value2": lambda y, i: self.integrand.value(y, base.take(i)) ** 2,
            "gradient": lambda y, i: self.integrand.gradient(y, base.take(i)),
            "target": lambda y, i: y,
            "target2": lambda y, i: y * y,
        }
        found = self._integrate(base, tuple(table[name] for name in of)).expectations
        if not self.centred:
            return found
        p, residual = at.p, dict(zip(of, found, strict=True))
        out = []
        for name in of:
            mean = np.broadcast_to(residual[name], p.shape)
            if name == "target":
                mean = p + mean
            elif name == "target2":
                first = (
                    residual["target"] if "target" in residual else self.expectations(base, ("target",))[0]
                )
                mean = p * p + 2 * p * first + mean
            out.append(np.array(mean))
        return out

    def _from_top(self, at: Point) -> tuple[Array, Array, Array]:
        """Mean of y - end, of its square, and the end with most mass: of an exponential law cut off."""
        top, u, _ = self.anchored(at)
        x = -np.abs(u)
        mean = mean_exp(x)
        return np.where(u > 0, -mean, mean), spread_exp(x) + mean**2, top

    def _affine(self, at: Point, of: tuple[str, ...]) -> list[Array]:
        away, square, top = self._from_top(at)
        slope = self.integrand.slope(at)
        found = {
            "value": slope * away,
            "value2": slope**2 * square,
            "gradient": self.integrand.turn(at) * away,
            "target": top + away,
            "target2": top**2 + 2 * top * away + square,
        }
        return [found[name] for name in of]

    def variance(self, at: Point) -> Array:
        """Variance of the target."""
        if self.form == "affine":
            return spread_exp(self.anchored(at)[1])
        mean, square = self.expectations(at, ("target", "target2"))
        return np.maximum(square - mean**2, 0.0)

    def cdf(self, y: Array, at: Point) -> Array:
        """Mass at or below y."""
        if self.centred:
            y, at = y - at.p, Point(np.zeros(y.size))
        domain = self.measure.domain
        y = np.clip(y, domain.low, domain.high)
        start = np.full(y.shape, domain.low)
        below = self._closed(start, y, at) if self.closed else self._integrate(at, upto=y).log_total
        return np.minimum(np.exp(below - self.log_total(at)), 1.0)

    def quantile(self, share: Array, at: Point, index: npt.NDArray[np.int64]) -> Array:
        """Where that share of the mass lies below; ``index`` names each draw's row."""
        if self.centred:
            return at.p[index] + self._quantile(share, Point(np.zeros(1)), np.zeros_like(index))
        return self._quantile(share, at, index)

    def _quantile(self, share: Array, at: Point, index: npt.NDArray[np.int64]) -> Array:
        if not self.closed:
            rows = self._integrate(at, keep=True).rows
            return quantile(
                lambda y, i: -self.integrand.value(y, at.take(i)) / self.temperature, rows, index, share
            )
        at = at.take(index)
        low = np.full(share.shape, self.measure.domain.low)
        start, log_total = low.copy(), self.log_total(at)
        high = np.full(share.shape, self.measure.domain.high)
        if self.line:  # a bracket around the prediction, doubled until it holds the share
            centre = at.p

            def beyond(side: float) -> Array:
                width = np.full(share.shape, math.sqrt(self.temperature))
                for _ in range(_FAR):
                    reached = np.exp(self._closed(start, centre + side * width, at) - log_total)
                    short = reached < share if side > 0 else reached > share
                    if not short.any():
                        break
                    width = np.where(short, 2 * width, width)
                return np.asarray(centre + side * width)

            low, high = beyond(-1.0), beyond(1.0)
        for _ in range(60):
            middle = (low + high) / 2
            less = np.exp(self._closed(start, middle, at) - log_total) < share
            low, high = np.where(less, middle, low), np.where(less, high, middle)
        return (low + high) / 2

    def mode(self, at: Point) -> Array:
        """Where the density is largest: grid, then golden section; an end of [0, 1] where it still rises there."""
        if self.centred:
            return at.p + self._mode(Point(np.zeros(1)))
        if self.line:
            self.log_total(at)  # what is no law has no mode
        return self._mode(at)

    def _mode(self, at: Point) -> Array:
        if self.line:
            steps = 2.0 ** np.arange(-30.0, 30.0)
            grid = at.p[:, None] + np.concatenate([-steps[::-1], [0.0], steps])
        else:
            inner = np.linspace(0, 1, 257)[None, :].repeat(at.x.size, axis=0)
            grid = np.concatenate(
                [inner, np.clip(at.p, 0, 1)[:, None], np.clip(self.integrand.kinks(at), 0, 1)], axis=1
            )
        grid = np.sort(grid, axis=1)

        def height(y: Array) -> Array:
            with np.errstate(invalid="ignore"):
                v = -self.integrand.value(y, at)
            return np.where(np.isnan(v), -np.inf, v)

        values = height(grid)
        best = values.argmax(axis=1)
        rows = np.arange(at.x.size)
        top, where = values[rows, best], grid[rows, best]
        low = grid[rows, np.maximum(best - 1, 0)]
        high = grid[rows, np.minimum(best + 1, grid.shape[1] - 1)]
        golden = (math.sqrt(5) - 1) / 2
        for _ in range(60):
            a, b = high - golden * (high - low), low + golden * (high - low)
            left = height(a[:, None])[:, 0] > height(b[:, None])[:, 0]
            low, high = np.where(left, low, a), np.where(left, b, high)
        middle = (low + high) / 2
        better = height(middle[:, None])[:, 0] > top
        return np.where(better, middle, where)

    # closed forms

    def _closed(self, low: Array, high: Array, at: Point) -> Array:
        """log of the integral of exp(-value/T) over [low, high]."""
        t = self.temperature
        if self.form == "affine":
            if self.line:
                return np.full(at.x.shape, np.inf)
            slope = self.integrand.slope(at)
            with np.errstate(all="ignore"):
                u, top = -slope / t, self.integrand.top(slope)
                away = np.where(u > 0, high, low) - top  # of the end with most mass, of what is asked for
                found = (
                    np.where(away == 0, 0.0, away * u)
                    + np.log(high - low)
                    + log_exprel(-np.abs(u) * (high - low))
                )
            return np.where(high > low, found, -np.inf)
        if self.form == "quadratic":
            return self._quadratic(low, high, at)
        p = at.p
        if self.cut:
            found = log_slice(self.form, self.integrand.form.numbers, t, low - p, high - p)
            if (few := np.isnan(found)).any():
                found[few] = self._integrate(at.take(few), upto=high[few]).log_total
            return found
        total = np.full(p.shape, -np.inf)
        for piece in self.integrand.form.pieces:
            a, b = np.clip(low - p, piece.low, piece.high), np.clip(high - p, piece.low, piece.high)
            part = (
                log_gaussian(piece.a / t, piece.b / t, a, b)
                if piece.a > 0
                else log_exponential(piece.b / t, a, b)
            )
            total = np.logaddexp(total, part - piece.c / t)
        return total

    def _quadratic(self, low: Array, high: Array, at: Point) -> Array:
        t, square, slope = self.temperature, self.integrand.square(at), self.integrand.slope(at)
        rest = self.integrand._part("value", self.integrand.form.rest, at)
        bell = square > 0
        with np.errstate(all="ignore"):
            # completed around the vertex, so that a far one does not cancel
            centre = np.where(bell, -slope / (2 * np.where(bell, square, 1.0)), 0.0)
            bottom = rest - square * centre**2
            found = (
                log_gaussian(np.where(bell, square, 1.0) / t, 0.0, low - centre, high - centre) - bottom / t
            )
        if not bell.all():
            self._refuse_if_line(at.take(~bell))
            found[~bell] = self._integrate(at.take(~bell), upto=high[~bell]).log_total
        return found

    def _refuse_if_line(self, at: Point) -> None:
        if self.line:
            raise LossproofError(
                f"{self.label}: expected exp(-loss/T) to be integrable on the real line, it is not at p = {at.p[0]:g}: "
                "the loss does not grow with the square of the target there. Use levels or the interval."
            )

    # quadrature

    def _integrate(
        self,
        at: Point,
        functions: tuple[Callable[[Array, npt.NDArray[np.int64]], Array], ...] = (),
        *,
        upto: Array | None = None,
        keep: bool = False,
    ) -> Any:
        def log_density(y: Array, index: npt.NDArray[np.int64]) -> Array:
            with np.errstate(invalid="ignore"):
                return -self.integrand.value(y, at.take(index)) / self.temperature

        edges = self._line_edges(at) if self.line else self._interval_edges(at)
        if upto is not None:
            edges = np.minimum(edges, upto[:, None])
        return integrate(log_density, edges, functions, keep=keep, label=self.label)

    def _interval_edges(self, at: Point) -> Array:
        low, high = self.measure.domain.low, self.measure.domain.high
        ends = np.tile([low, high], (at.x.size, 1))
        # a floor found by search is dear: then all rows share their points
        inner = (
            np.full((at.x.size, 1), 0.5)
            if self.integrand.searched
            else np.concatenate([at.p[:, None], self.integrand.kinks(at)], axis=1)
        )
        inner = np.where(np.isfinite(inner), np.clip(inner, low, high), low)
        self._refuse_ends(at)
        return edges_between(np.sort(np.concatenate([ends, inner], axis=1), axis=1))

    def _refuse_ends(self, at: Point) -> None:
        """A density that grows like 1/distance towards an end of the interval has no finite integral."""
        for end, inward in ((0.0, 1.0), (1.0, -1.0)):
            y = end + inward * np.array([[2.0**-25, 2.0**-38, 2.0**-50]])
            with np.errstate(invalid="ignore"):
                v = -self.integrand.value(np.repeat(y, at.x.size, axis=0), at) / self.temperature
                rise = np.diff(v, axis=1) / (np.array([13, 12]) * math.log(2))
                # a pole rises by the same power on both stretches, a steep slope by 8192 times as much on the first
                power = np.where(rise[:, 1] > rise[:, 0] / 2, rise[:, 1], 0.0)
            if (power > 0.95).any():
                row = int(np.nanargmax(power))
                raise LossproofError(
                    f"{self.label}: expected exp(-loss/T) to be integrable on [0, 1], it is not at p = {at.p[row]:g}: "
                    f"it grows like |y - {end:g}|^-{power[row]:.3g} towards y = {end:g} at T = {self.temperature:g}. "
                    "Raise T, or use levels."
                )

    def _line_edges(self, at: Point) -> Array:
        power, reach = self._tail(at)
        if power < 1 + _NEAR:
            self._refuse_tail(power)
        steps = 2.0 ** np.arange(-40.0, reach + 1)
        base = np.concatenate([-steps[::-1], [0.0], steps])
        p = at.p[:, None]
        kinks = self.integrand.kinks(at)
        kinks = np.where(np.isfinite(kinks), kinks, p)
        return np.sort(np.concatenate([p + base, kinks], axis=1), axis=1)

    def _tail(self, at: Point) -> tuple[float, int]:
        """The power with which the slower tail falls (inf if faster), and the exponent of two where it is negligible."""
        far = 2.0 ** np.arange(-40.0, _FAR + 1)
        p = at.p[:, None]
        with np.errstate(all="ignore"):
            right = -self.integrand.value(p + far, at) / self.temperature
            left = -self.integrand.value(p - far, at) / self.temperature
            sides = np.maximum(right, left)
            fall = (sides[:, 100] - sides[:, 160]) / (60 * math.log(2))
            gone = np.all(sides < np.nanmax(sides[:, :100]) - 745, axis=0)
        power = float(np.min(np.where(np.isnan(fall), np.inf, fall)))
        negligible = np.flatnonzero(gone)
        return power, int(negligible[0]) - 40 if negligible.size else _FAR

    def _need_moment(self, at: Point, order: int) -> None:
        power, _ = self._tail(at)
        if power < 1 + _NEAR:
            self._refuse_tail(power)
        if power < order + 1 + _NEAR:
            raise LossproofError(
                f"{self.label}: expected a finite {'mean' if order == 1 else 'variance'}, the tails fall only like "
                f"|y|^-{power:.3g} at T = {self.temperature:g}. Lower T, or use the median."
            )

    def _refuse_tail(self, power: float) -> None:
        if power < 1e-3:
            reason = "the loss does not grow without bound on both sides as the target runs off"
            advice = "Use levels or the interval [0, 1]"
        else:
            reason = f"it falls only like |y|^-{power:.4g}, and needs more than |y|^-{1 + _NEAR:g}"
            advice = f"Take T below {self.temperature * power / (1 + _NEAR):.3g}, or use levels or the interval [0, 1]"
        raise LossproofError(
            f"{self.label}: expected exp(-loss/T) to be integrable on the real line at T = {self.temperature:g}, it is not: "
            f"{reason}. {advice}."
        )
