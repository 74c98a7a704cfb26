"""What is normalised: the loss, or its excess over the floor, as a function of targets for many predictions."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lossproof.formula import Loss, LossproofError
from lossproof.likelihood.measures import Measure, RealLine
from lossproof.likelihood.structure import Structure, structure
from lossproof.lower import LossFunction, function
from lossproof.lower.stable import floor_of

Array = npt.NDArray[np.float64]
Of = Literal["loss", "excess"]


@dataclass(frozen=True)
class Point:
    """Predictions, flat: ``x`` holds p, or logits z where ``logits`` is set (p = sigmoid(z))."""

    x: Array
    logits: bool = False

    @property
    def p(self) -> Array:
        """The predictions as such; logits beyond 37 round to 1."""
        return sigmoid(self.x) if self.logits else self.x

    def take(self, index: Any) -> "Point":
        """The same for some of the rows."""
        return Point(self.x[index], self.logits)


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)) without overflow."""
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1 + small)


class Integrand:
    """loss(y, p), or loss(y, p) - floor(y), for targets of shape (rows, n) and one prediction a row.

    Of a loss affine in the target, its value at the end where it is least is left out (``rest`` has it): it cancels in the
    likelihood, in which y slope(p) and log Z alone may be huge. Raises ``LossproofError`` where the loss is not
    defined on the measure, or its excess does not exist.
    """

    def __init__(self, loss: Loss, of: Of, measure: Measure) -> None:
        if of not in ("loss", "excess"):
            raise LossproofError(f"{loss.label}: expected of='loss' or of='excess', got {of!r}.")
        if not loss.target.covers(measure.domain):
            advice = (
                "Use levels or the interval [0, 1]." if isinstance(measure, RealLine) else "Scale the levels."
            )
            raise LossproofError(
                f"{loss.label}: expected a measure inside the loss's targets {loss.target}, got {measure}. {advice}"
            )
        self.loss, self.of, self.measure = loss, of, measure
        self.functions: LossFunction = function(loss)
        floor = floor_of(loss, bound=True) if of == "excess" else 0
        self.searched = floor is None
        # an excess over a constant floor has the form of the loss
        self.shifts = of == "excess" and not (floor is not None and floor == 0)
        self.form: Structure = Structure("general") if self.shifts else structure(loss)

    def value(self, y: Array, at: Point) -> Array:
        """Loss or excess, less ``rest``; y of shape (rows, n) or (1, n), one prediction a row."""
        x = at.x[:, None]
        if self.form.kind == "affine":
            slope = self.slope(at)
            away = y - self.top(slope)[:, None]
            with np.errstate(invalid="ignore", over="ignore"):
                return np.where(away == 0, 0.0, away * slope[:, None])
        value = self._raw("value", y, x, at.logits)
        # an excess is never negative; a floor rounded next to 0 or 1 may say so
        return np.maximum(value - self._floor(y), 0.0) if self.shifts else value

    def gradient(self, y: Array, at: Point) -> Array:
        """Derivative of ``value`` with respect to the prediction, or the logit."""
        if self.form.kind == "affine":
            return (y - self.top(self.slope(at))[:, None]) * self.turn(at)[:, None]
        return self._raw("gradient", y, at.x[:, None], at.logits)

    def slope(self, at: Point) -> Array:
        """Of a loss affine or quadratic in the target: the factor of y."""
        return self._part("value", self.form.slope, at)

    def square(self, at: Point) -> Array:
        """Of a loss quadratic in the target: the factor of y^2."""
        return self._part("value", self.form.square, at)

    def turn(self, at: Point) -> Array:
        """Derivative of ``slope``."""
        return self._part("gradient", self.form.slope, at)

    def top(self, slope: Array) -> Array:
        """Of a loss affine in the target: the end of the targets at which it is least."""
        return np.where(slope < 0, self.measure.domain.high, self.measure.domain.low)

    def rest(self, at: Point) -> Array:
        """What ``value`` leaves out: of a loss affine in the target, the loss at its best end."""
        if self.form.kind != "affine":
            return np.zeros(at.x.shape)
        return self._raw("value", self.top(self.slope(at)), at.x, at.logits)

    def rest_gradient(self, at: Point) -> Array:
        """Derivative of ``rest``."""
        if self.form.kind != "affine":
            return np.zeros(at.x.shape)
        return self._raw("gradient", self.top(self.slope(at)), at.x, at.logits)

    def kinks(self, at: Point) -> Array:
        """Targets where the loss may not be smooth, shape (rows, k)."""
        p = at.p
        with np.errstate(all="ignore"):
            found = [np.broadcast_to(_place(k, p), p.shape) for k in self.form.kinks]
        return np.stack(found, axis=1) if found else np.empty((p.size, 0))

    def _part(self, name: str, part: Loss | None, at: Point) -> Array:
        if part is None:
            return np.zeros(at.x.shape)
        found = function(part)
        called = getattr(found, f"{name}_logits" if at.logits else name)
        return np.asarray(called(np.ones_like(at.x), at.x))

    def _raw(self, name: str, y: Array, x: Array, logits: bool) -> Array:
        targets, points = np.broadcast_arrays(y, x)
        called = getattr(self.functions, f"{name}_logits" if logits else name)
        return np.asarray(called(targets, points))

    def _floor(self, y: Array) -> Array:
        if not self.searched:
            return np.asarray(self.functions.floor(y))
        if y.shape[0] > 1 and (y == y[:1]).all():
            y = y[:1]
        floor = _searched_floor(self.loss, y.tobytes(), y.shape)
        if not np.isfinite(floor).all():
            bad = float(y[np.isneginf(floor)][0])
            raise LossproofError(
                f"{self.loss.label}: expected a finite floor, got -inf at target {bad:g}: the loss is unbounded below "
                "there and has no excess. Use of='loss'."
            )
        return floor


@lru_cache(maxsize=64)
def _searched_floor(loss: Loss, targets: bytes, shape: tuple[int, ...]) -> Array:
    """A floor found by search is dear; the same targets come back for every prediction and temperature."""
    return np.asarray(function(loss).floor(np.frombuffer(targets).reshape(shape)))


def _place(kink: Loss, p: Array) -> Array:
    from lossproof.formula.symbols import P
    from lossproof.formula.trace_check import evaluate

    return evaluate(kink.expression(), {P: p})
