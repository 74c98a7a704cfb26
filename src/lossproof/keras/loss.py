"""ReconstructionLoss: a loss as a keras.losses.Loss, checked, serialisable, with a named reduction."""

from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from lossproof.formula import Interval, LossproofError
from lossproof.formula.errors import nearest
from lossproof.keras.config import from_config, to_config
from lossproof.keras.kernel import Kernel, Tensor, apply, at_least_float32, is_concrete, kernel, to_numpy

Reduction = Literal["nats_per_image", "mean", "sum", "none", "sum_over_batch_size", "mean_with_sample_weight"]
Check = Literal["always", "first", "never"]


@keras.saving.register_keras_serializable(package="lossproof")
class ReconstructionLoss(keras.losses.Loss):
    """A reconstruction loss of a decoder's output ``y_pred`` against the images ``y_true``.

    ``loss`` is a catalogue id, ``"id(param=...)"``, a formula in y and p, ``"module:function"``, a function or
    a ``Loss``. ``y_pred`` holds logits, or predictions with ``from_logits=False``; shapes (batch, ...) equal.
    A saved model holds the loss's formula, so that a user's own comes back too; ``load_model`` needs
    ``import lossproof.keras`` before.

    ``reduction``, in nats: ``"nats_per_image"`` (default) sums over an image and averages over the batch;
    ``"mean"`` averages over elements, ``"sum"`` sums, ``"none"`` or None keeps the shape. Keras's names keep
    their meaning for element-wise values: ``"sum_over_batch_size"`` is ``"mean"``, and
    ``"mean_with_sample_weight"`` divides by the sum of the weights.

    ``sample_weight`` is a number, one a sample ((batch,) or (batch, 1)), or one an element (the shape of
    ``y_true``, or with lengths 1, or without its last axis). Weights multiply values; as in Keras, the
    averages still divide by the number of images or elements, not by the sum of the weights.

    ``excess=True`` subtracts the floor, so that a perfect reconstruction gives 0. A floor without a closed form is
    searched for on the host at every call; in TensorFlow's ``fit`` this takes ``run_eagerly=True``. Values are
    computed in ``dtype`` (default ``keras.config.floatx()``), at least float32 under every policy. The gradient in
    ``y_pred`` is the derived one; none flows to ``y_true``.

    The range of the target is looked at on the ``"first"`` eager call by default (``check="always"``,
    ``"never"``), never in a traced function, such as the steps of ``fit`` (on torch these are eager, on JAX
    always traced): call the loss once by hand before training, or ``lossproof.check`` the data.

    Raises ``LossproofError`` for unequal shapes, predictions with a Keras mask, NaN or values outside the
    loss's domain. Formula and source of each loss: ``lossproof.CATALOGUE[id]``.

    >>> import keras
    >>> loss = ReconstructionLoss("bce", excess=True)
    >>> y = keras.ops.array([[0.0, 0.5]])
    >>> round(float(loss(y, keras.ops.array([[-1e4, 0.0]]))), 6)
    0.0
    >>> loss.from_config(loss.get_config()).label
    'bce'
    >>> loss = ReconstructionLoss("bce")
    >>> loss(y * 255, y)
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: bce: expected y_true in [0, 1], got 1 of 2 values outside, first 127.5
    at [0, 1] (shape (1, 2), float32). Divide by 255?
    """

    def __init__(
        self,
        loss: object,
        *,
        from_logits: bool = True,
        reduction: Reduction | None = "nats_per_image",
        excess: bool = False,
        check: Check = "first",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.kernel: Kernel = kernel(loss)
        self.label = self.kernel.loss.label
        self.unit: Reduction = _one_of(reduction or "none", Reduction, "reduction", self.label)
        self.check: Check = _one_of(check, Check, "check", self.label)
        self.from_logits = from_logits
        self.excess = excess
        self._checked = False
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        keras_reduction = "sum_over_batch_size" if self.unit == "nats_per_image" else self.unit
        super().__init__(name=name, reduction=keras_reduction, dtype=at_least_float32(policy.compute_dtype))

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Loss of ``y_pred`` (logits, or predictions) against ``y_true``; see the class for ``sample_weight``."""
        y_true, y_pred = self._tensor(y_true, "y_true"), self._tensor(y_pred, "y_pred")
        self._check_form(y_true, y_pred)
        if self.check == "always" or (self.check == "first" and not self._checked):
            self._check_range(y_true, y_pred)
        if sample_weight is None:
            return super().__call__(y_true, y_pred)
        weight, per_sample = self._weight(ops.convert_to_tensor(sample_weight, dtype=self.dtype), y_pred)
        if self.unit == "nats_per_image" and not per_sample:
            return super().__call__((y_true, weight), y_pred)  # before the sum over an image
        return super().__call__(y_true, y_pred, sample_weight=weight)

    def call(self, y_true: Tensor | tuple[Tensor, Tensor], y_pred: Tensor) -> Tensor:
        """Nats of each sample, shape (batch,), for ``"nats_per_image"``; else nats of each element."""
        y_true, weight = y_true if isinstance(y_true, tuple | list) else (y_true, None)
        wide = at_least_float32(y_pred.dtype)
        y_true, y_pred = ops.cast(y_true, wide), ops.cast(y_pred, wide)
        values = apply(self.kernel, y_true, y_pred, from_logits=self.from_logits)
        if self.excess:
            values = values - ops.stop_gradient(self._floor(y_true))
        if weight is not None:
            values = values * weight
        if self.unit == "nats_per_image" and len(values.shape) > 1:
            return ops.sum(values, axis=tuple(range(1, len(values.shape))))
        return values

    def _floor(self, y_true: Tensor) -> Tensor:
        """Least possible loss of each element: a closed form, or a search on the host."""
        if self.kernel.floor is not None:
            return self.kernel.floor(y_true)
        if keras.backend.backend() == "jax" and not is_concrete(y_true):
            import jax

            shape = jax.ShapeDtypeStruct(y_true.shape, y_true.dtype)
            return jax.pure_callback(self._searched, shape, y_true, vmap_method="expand_dims")
        if not is_concrete(y_true):
            raise LossproofError(
                f"{self.label}: expected values of y_true for excess=True, got a traced tensor: this loss's floor has "
                "no closed form and is searched for. Use model.compile(..., run_eagerly=True), or excess=False."
            )
        return ops.convert_to_tensor(self._searched(to_numpy(y_true)), dtype=y_true.dtype)

    def _searched(self, y_true: Any) -> Any:
        from lossproof.lower import function

        target = np.asarray(y_true, np.float64)
        found = function(self.kernel.loss).floor(target)
        if not np.isfinite(found).all():
            at = target[~np.isfinite(found)].flat[0]
            raise LossproofError(
                f"{self.label}: expected a finite floor, got {np.min(found):g} at target {at:g}: the loss is "
                "unbounded below there. Use excess=False."
            )
        return np.asarray(found, y_true.dtype)

    def get_config(self) -> dict[str, Any]:
        """Everything that makes the loss again, its formula included."""
        return {
            "loss": to_config(self.kernel.loss),
            "from_logits": self.from_logits,
            "reduction": self.unit,
            "excess": self.excess,
            "check": self.check,
            "name": self.name,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ReconstructionLoss":
        """The loss that ``get_config`` describes."""
        given = dict(config)
        return cls(from_config(given.pop("loss")), **given)

    def _tensor(self, x: Any, name: str) -> Tensor:
        if isinstance(x, dict | list | tuple) and not (x and all(isinstance(v, float | int) for v in x)):
            raise LossproofError(
                f"{self.label}: expected {name} as one tensor, got a {type(x).__name__}. Give each output its own loss."
            )
        if getattr(x, "_keras_mask", None) is not None:
            raise LossproofError(
                f"{self.label}: expected {name} without a Keras mask, got one of shape {tuple(x._keras_mask.shape)}. "
                "Give it as sample_weight."
            )
        return ops.convert_to_tensor(x, dtype=self.dtype)

    def _check_form(self, y_true: Tensor, y_pred: Tensor) -> None:
        a, b = tuple(y_true.shape), tuple(y_pred.shape)
        if len(a) != len(b) or any(i != j for i, j in zip(a, b, strict=True) if None not in (i, j)):
            raise LossproofError(
                f"{self.label}: expected y_true and y_pred of equal shape, got {a} and {b}. "
                "Nothing broadcasts here: reshape one of them."
            )
        if 0 in b:
            raise LossproofError(f"{self.label}: expected at least one element, got shape {b}.")

    def _weight(self, weight: Tensor, like: Tensor) -> tuple[Tensor, bool]:
        """The weight in a shape that multiplies what ``call`` returns, and whether it is one a sample."""
        shape, full = tuple(weight.shape), tuple(like.shape)
        batch = full[0] if full else None
        one_each = len(shape) >= 1 and all(n == 1 for n in shape[1:]) and _fits(shape[0], batch)
        if not shape or not full or (one_each and len(shape) <= len(full)):
            if self.unit == "nats_per_image":
                return (ops.reshape(weight, (-1,)) if shape else weight), True
            weight = ops.reshape(weight, (-1, *(1 for _ in full[1:]))) if full else weight
            return weight * ops.ones_like(like), False
        if len(shape) == len(full) - 1 and all(map(_fits, shape, full[:-1])):
            weight, shape = ops.expand_dims(weight, -1), (*shape, 1)
        if len(shape) == len(full) and all(map(_fits, shape, full)):
            return weight * ops.ones_like(like), False
        raise LossproofError(
            f"{self.label}: expected sample_weight of shape ({batch},), {full[:-1]} or {full}, got {shape}."
        )

    def _check_range(self, y_true: Tensor, y_pred: Tensor) -> None:
        if not (is_concrete(y_true) and is_concrete(y_pred)):
            return
        self._inside(y_true, self.kernel.loss.target, "y_true")
        if not self.from_logits:
            self._inside(y_pred, self.kernel.loss.prediction, "y_pred")
        self._checked = True

    def _inside(self, x: Tensor, domain: Interval, name: str) -> None:
        values = to_numpy(x)
        inside = domain.contains(values)
        if inside.all():
            return
        from lossproof.lower.function import outside_message

        nan = np.isnan(values)
        if nan.any():
            raise LossproofError(
                f"{self.label}: expected {name} without NaN, got {int(nan.sum())} of {values.size} NaN, first at "
                f"{np.argwhere(nan)[0].tolist()} (shape {values.shape}, {values.dtype})."
            )
        index = tuple(int(i[0]) for i in (~inside).nonzero())
        advice_for_logits = " Logits? Leave from_logits=True." if name == "y_pred" else ""
        raise LossproofError(
            outside_message(self.label, name, domain, int((~inside).sum()), values[index], index, values.shape,
                            values.dtype, float(values.min()), float(values.max())) + advice_for_logits
        )  # fmt: skip


def _fits(n: int | None, whole: int | None) -> bool:
    return n in (1, whole) or None in (n, whole)


def _one_of(value: Any, options: Any, name: str, label: str) -> Any:
    known = get_args(options)
    if value not in known:
        raise LossproofError(f"{label}: expected {name} one of {', '.join(known)}, got {value!r}; "
                             f"{nearest(str(value), known)}")  # fmt: skip
    return value
