"""A loss as NumPy functions in float64: value, gradients, floor and excess, all from the one definition."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.catalogue import resolve
from lossproof.formula import Interval, Loss, LossproofError

Array = npt.NDArray[np.float64]


class LossFunction:
    """A reconstruction loss on NumPy arrays, element-wise, in float64.

    Made by ``lossproof.loss(spec)``. Arguments of a call must have equal shapes; nothing broadcasts but
    Python scalars. Errors: ``LossproofError`` for unequal shapes, NaN, or values outside the loss's domain.

    >>> import lossproof
    >>> bce = lossproof.loss("bce")
    >>> bce.value(0.2, 0.2).round(4), bce.floor(0.2).round(4), bce.excess(0.2, 0.2).round(4)
    (np.float64(0.5004), np.float64(0.5004), np.float64(0.0))
    >>> bce.gradient_logits([0.2, 1.0], [0.0, 0.0]).tolist()
    [0.3, -0.5]
    """

    def __init__(self, definition: Loss) -> None:
        self.definition = definition
        self._compiled: dict[str, Callable[..., Any]] | None = None

    def __repr__(self) -> str:
        return f"<loss {self.definition.label}: {self.definition.formula}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (LossFunction, (self.definition,))

    @property
    def _functions(self) -> dict[str, Callable[..., Any]]:
        if self._compiled is None:
            self._compiled = compile_numpy(self.definition)
        return self._compiled

    def value(self, y: npt.ArrayLike, p: npt.ArrayLike) -> Array:
        """loss(y, p) element-wise. Target y and prediction p: equal shapes, inside the loss's domain."""
        return self._call("value", self._target(y), self._prediction(p))

    def gradient(self, y: npt.ArrayLike, p: npt.ArrayLike) -> Array:
        """Derivative of the loss with respect to p, element-wise; at a kink, the mean of both sides'."""
        return self._call("gradient", self._target(y), self._prediction(p))

    def value_logits(self, y: npt.ArrayLike, z: npt.ArrayLike) -> Array:
        """loss(y, sigmoid(z)) element-wise, stable for every finite logit z."""
        return self._call("value_logits", self._target(y), _array(z, "logits", self.definition))

    def gradient_logits(self, y: npt.ArrayLike, z: npt.ArrayLike) -> Array:
        """Derivative of loss(y, sigmoid(z)) with respect to z, element-wise."""
        return self._call("gradient_logits", self._target(y), _array(z, "logits", self.definition))

    def floor(self, y: npt.ArrayLike) -> Array:
        """Least loss over predictions, element-wise: what no model can get below. May be -inf.

        From the formula where the place of the minimum is known, else by search behind the sigmoid.
        """
        target = self._target(y)
        if "floor" in self._functions:
            return self._call("floor", target)
        from lossproof.lower.search import least_value

        levels, back = np.unique(target, return_inverse=True)
        found = least_value(self._functions["value_logits"], levels)
        # a search ends beside the minimum; where p = y is as good, its loss is the exact one
        exact = np.full_like(found, np.inf)
        inside = np.asarray(self.definition.prediction.contains(levels))
        exact[inside] = self._call("value", levels[inside], levels[inside])
        known = np.isfinite(exact)
        known[known] = exact[known] <= found[known] + 1e-12 * np.abs(exact[known])
        found = np.where(known, exact, found)
        return np.asarray(found[back].reshape(target.shape))[()]

    def excess(self, y: npt.ArrayLike, p: npt.ArrayLike) -> Array:
        """loss(y, p) - floor(y): zero exactly where no prediction is better."""
        return np.asarray(self.value(y, p) - self.floor(y))[()]

    def _call(self, name: str, *arrays: Array) -> Array:
        shapes = {a.shape for a in arrays if a.ndim}
        if len(shapes) > 1:
            raise LossproofError(
                f"{self.definition.label}: expected equal shapes, got {' and '.join(str(a.shape) for a in arrays)}. "
                "Nothing broadcasts here: reshape one of them."
            )
        with np.errstate(all="ignore"):  # infinities at the border of the domain are answers, not accidents
            # adding 0.0 turns the -0.0 of a sign rule into 0.0
            return np.asarray(self._functions[name](*arrays) + 0.0, dtype=np.float64)[()]

    def _target(self, y: npt.ArrayLike) -> Array:
        return inside(
            _array(y, "target", self.definition), self.definition.target, "target", self.definition.label
        )

    def _prediction(self, p: npt.ArrayLike) -> Array:
        a = _array(p, "prediction", self.definition)
        return inside(a, self.definition.prediction, "prediction", self.definition.label)


def _array(x: npt.ArrayLike, name: str, loss: Loss) -> Array:
    try:
        a = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise LossproofError(f"{loss.label}: expected {name} as numbers, got {type(x).__name__}.") from None
    if np.isnan(a).any():
        first = tuple(int(i) for i in np.argwhere(np.isnan(a))[0]) if a.ndim else ()
        raise LossproofError(
            f"{loss.label}: expected {name} without NaN, got {int(np.isnan(a).sum())} of {a.size} NaN, "
            f"first at {list(first)}. Look where they come from before you average."
        )
    return a


def inside(a: Array, domain: Interval, name: str, label: str) -> Array:
    """Return the array if it lies in the domain; else raise, naming the first value outside and the likely cause."""
    ok = domain.contains(a)
    if ok.all():
        return a
    bad = np.argwhere(~np.atleast_1d(ok))
    first = tuple(int(i) for i in bad[0])
    raise LossproofError(
        outside_message(label, name, domain, len(bad), np.atleast_1d(a)[first], first, np.shape(a), a.dtype,
                        float(np.nanmin(a)), float(np.nanmax(a)))
    )  # fmt: skip


def outside_message(
    label: str, name: str, domain: Interval, count: int, value: Any, index: tuple[int, ...], shape: tuple[int, ...],
    dtype: object, low: float, high: float,
) -> str:  # fmt: skip
    """The one message for values outside a domain, with a guess at the cause."""
    size = int(np.prod(shape)) if shape else 1
    kind = str(dtype).removeprefix("torch.")
    return (
        f"{label}: expected {name} in {domain}, got {count} of {size} values outside, first {float(value):g} at "
        f"{list(index)} (shape {shape}, {kind}).{advice(low, high)}"
    )


def advice(low: float, high: float) -> str:
    """What was probably done to image data that should lie in [0, 1] but ranges from low to high.

    >>> advice(0, 255), advice(-1, 1)
    (' Divide by 255?', ' Scaled to [-1, 1]? Use (x + 1)/2.')
    """
    if low >= 0 and 1 < high <= 255:
        return " Divide by 255?"
    if low >= 0 and 255 < high <= 65535:
        return " Divide by 65535?"
    if -1 <= low < 0 and high <= 1:
        return " Scaled to [-1, 1]? Use (x + 1)/2."
    if low < 0 and high < 20:
        return " Standardised? Undo it: x*std + mean."
    return ""


def compile_numpy(loss: Loss) -> dict[str, Callable[..., Any]]:
    """Compile the emitted NumPy source of a loss at its parameter values."""
    from lossproof.lower.kernels import run
    from lossproof.lower.source import source

    text = source(loss, "numpy", bound=True).text()
    return run(text, f"<lossproof numpy {loss.label}>")


@lru_cache(maxsize=256)
def _function(definition: Loss) -> LossFunction:
    return LossFunction(definition)


def function(spec: object, **params: float) -> LossFunction:
    """The NumPy functions of a loss: a catalogue id, ``"id(param=...)"``, a formula, ``"module:function"`` or a Loss.

    Raises ``LossproofError`` for an unknown name (with the nearest) or a bad formula (with the column).

    >>> function("(y - p)**2/(p*(1 - p))").value(0.5, 0.25)
    np.float64(0.3333333333333333)
    """
    return spec if isinstance(spec, LossFunction) and not params else _function(resolve(spec, **params))
