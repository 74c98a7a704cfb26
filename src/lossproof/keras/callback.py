"""A Keras callback that adds excess, floor, dead pixels and non-finite values to an epoch's logs."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import ops

from lossproof.formula import Loss, LossproofError
from lossproof.keras.kernel import Kernel, kernel
from lossproof.keras.loss import ReconstructionLoss
from lossproof.lower.function import function
from lossproof.lower.watch import (
    DEAD_ERROR,
    DEAD_GRADIENT,
    Alarm,
    check_options,
    describe,
    largest_slope,
    sound,
    summary,
)

NAMES = ("excess", "floor", "dead_pixels", "non_finite")


class MonitorCallback(keras.callbacks.Callback):
    """At the end of each epoch, runs the model on a validation sample and adds four numbers to ``logs``.

    ``loss`` is a ``lossproof.keras.ReconstructionLoss`` or whatever names a loss. ``x`` is what the model takes,
    ``y`` the targets (images, ...), by default ``x`` itself; a thousand images are plenty. ``output(model, x)``
    returns what the loss takes (logits, or predictions with ``from_logits=False``), of the targets' shape; by
    default ``model(x, training=False)``. Put it before ``CSVLogger``, ``TensorBoard`` or ``EarlyStopping`` in
    ``callbacks``: they then see ``excess`` = loss - floor and ``floor`` in nats per image, ``dead_pixels``, the share
    of pixels with |p - y| > 0.1 whose |dl/dz| is below 1e-3 of the loss's largest, and ``non_finite``, the number
    of elements where output, loss or gradient was not finite. ``every=N`` looks at one epoch in N. The first
    epoch with anything not finite is named in a warning, or in a ``LossproofError`` with ``alarm="raise"``.
    ``prefix`` goes before each name. Works on the TensorFlow, JAX and torch backends.

    Raises ``LossproofError`` where the output's shape is not the target's, or a target lies outside the domain.

    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    >>> model.compile("sgd", "mse")
    >>> images = np.array([[0.0, 1.0, 0.5, 0.2]] * 8, "float32")
    >>> history = model.fit(images, images, callbacks=[MonitorCallback("bce", images)], verbose=0)
    >>> round(history.history["floor"][0], 4)
    1.1935
    """

    def __init__(
        self,
        loss: object,
        x: Any,
        y: Any = None,
        *,
        output: Callable[[Any, Any], Any] | None = None,
        from_logits: bool | None = None,
        batch_size: int = 128,
        every: int = 1,
        alarm: Alarm = "warn",
        prefix: str = "",
    ) -> None:
        super().__init__()
        self.kernel: Kernel = loss.kernel if isinstance(loss, ReconstructionLoss) else kernel(loss)
        self.loss: Loss = self.kernel.loss
        default = loss.from_logits if isinstance(loss, ReconstructionLoss) else True
        self.from_logits = default if from_logits is None else from_logits
        check_options(self.loss.label, every, alarm)
        self.x, self.y = x, np.asarray(x if y is None else y)
        self.output = output or _call
        self.batch_size, self.every, self.alarm, self.prefix = batch_size, every, alarm, prefix
        self._floor = float(np.sum(function(self.loss).floor(self.y)))  # depends on the targets alone
        self._dead_below = DEAD_GRADIENT * largest_slope(self.loss)
        self._sounded = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, and add to ``logs``."""
        if epoch % self.every or logs is None:
            return
        found, wrong = self._measure(self.model)
        logs.update({self.prefix + name: found[name] for name in NAMES})
        if wrong and not self._sounded:
            self._sounded = True
            sound(
                self.alarm,
                f"{self.loss.label}: not finite first after epoch {epoch + 1}: {wrong}; "
                f"{found['non_finite']:.0f} of {self.y.size} elements of the sample.",
            )

    def measure(self, model: Any) -> dict[str, float]:
        """The numbers of a model's present state: what goes into ``logs``, and ``loss`` and ``images``."""
        return self._measure(model)[0]

    def _measure(self, model: Any) -> tuple[dict[str, float], str]:
        """The numbers, and what is not finite first, "" if all is."""
        sums, wrong = np.array([0.0, self._floor, 0.0, 0.0]), ""
        for start in range(0, len(self.y), self.batch_size):
            part = slice(start, start + self.batch_size)
            target = self.y[part].astype("float32")
            x = keras.tree.map_structure(lambda a, part=part: a[part], self.x)
            x, value, gradient = self._look(model, x, target)
            with np.errstate(all="ignore"):
                p = 1 / (1 + np.exp(-x)) if self.from_logits else x
                slope = gradient if self.from_logits else gradient * (p * (1 - p))
                dead = (np.abs(slope) < self._dead_below) & (np.abs(p - target) > DEAD_ERROR)
                bad = ~(np.isfinite(x) & np.isfinite(value) & np.isfinite(gradient))
                sums += [value.sum(dtype=np.float64), 0.0, dead.sum(), bad.sum()]
            if bad.any() and not wrong:
                at = tuple(np.argwhere(bad)[0])
                y, z, v, g = (float(a[at]) for a in (target, x, value, gradient))
                wrong = describe(self.loss, y, z, v, g, self.from_logits)
        return summary(sums, images=len(self.y), pixels=self.y.size), wrong

    def _look(self, model: Any, x: Any, target: Any) -> list[Any]:
        """Output, element-wise loss and gradient of a batch as float32 arrays, by the kernels of training."""
        k = self.kernel
        value, gradient = (k.value_logits, k.gradient_logits) if self.from_logits else (k.value, k.gradient)
        with _no_gradient():
            z = ops.cast(self.output(model, x), "float32")
            if tuple(z.shape) != target.shape:
                raise LossproofError(
                    f"{self.loss.label}: expected the model's output in the target's shape {target.shape}, got "
                    f"{tuple(z.shape)}. Give output=lambda model, x: ... that returns the logits."
                )
            y = ops.convert_to_tensor(target)
            arrays = [z, *(ops.broadcast_to(f(y, z), z.shape) for f in (value, gradient))]
            return [_numpy(a) for a in arrays]


def _call(model: Any, x: Any) -> Any:
    return model(x, training=False)


def _no_gradient() -> AbstractContextManager[Any]:
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


def _numpy(x: Any) -> Any:
    # Keras's own conversion of a torch tensor draws a DeprecationWarning from NumPy 2
    return x.cpu().numpy() if keras.backend.backend() == "torch" else ops.convert_to_numpy(x)
