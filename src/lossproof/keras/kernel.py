"""From a Loss to its Keras functions: the committed kernel where there is one, else written on the spot."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from lossproof.catalogue import resolve
from lossproof.lower.kernels import Kernel
from lossproof.lower.kernels import kernel_of as _kernel

Tensor = Any  # whatever the backend's is
_WITHOUT_GRADIENTS = ("numpy", "openvino")


def kernel(spec: object, **params: float) -> Kernel:
    """The Keras functions of a loss.

    >>> kernel("bce").loss.label
    'bce'
    """
    return _kernel(resolve(spec, **params), "keras")


def apply(k: Kernel, y: Tensor, x: Tensor, *, from_logits: bool = True) -> Tensor:
    """Element-wise loss of targets y and logits (or predictions) x, of one dtype, with the derived gradient in x."""
    value, gradient = (k.value_logits, k.gradient_logits) if from_logits else (k.value, k.gradient)
    backend = keras.backend.backend()
    if backend in _WITHOUT_GRADIENTS:
        return value(y, x)

    @ops.custom_gradient
    def core(x: Tensor, y: Tensor) -> tuple[Tensor, Callable[..., Any]]:
        def grad(*args: Tensor, upstream: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
            # torch hands over the saved inputs (those that a second derivative sees) and names upstream
            (at, target), up = (args, upstream) if upstream is not None else ((x, y), args[0])
            # JAX wants a gradient for every argument; the others take None for "none"
            return up * gradient(target, at), ops.zeros_like(target) if backend == "jax" else None

        return value(y, x), grad

    return core(x, y)


def elementwise(
    spec: object, *, from_logits: bool = True, **params: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """f(y_true, y_pred) -> element-wise loss in nats, with the derived gradient in y_pred and none in y_true.

    No checks; half precision is computed in float32 and gives float32.

    >>> import keras
    >>> elementwise("mse")(keras.ops.ones(2), keras.ops.zeros(2)).shape[0]
    2
    """
    k = kernel(spec, **params)

    def f(y_true: Tensor, y_pred: Tensor) -> Tensor:
        x = ops.convert_to_tensor(y_pred)
        wide = at_least_float32(x.dtype)
        return apply(k, ops.cast(y_true, wide), ops.cast(x, wide), from_logits=from_logits)

    return f


def logit_gradient(spec: object, **params: float) -> Callable[[Tensor, Tensor], Tensor]:
    """f(y_true, logits) -> derivative of the loss with respect to the logits, element-wise. No checks.

    >>> import keras
    >>> [float(g) for g in logit_gradient("bce")(keras.ops.array([0.5, 1.0]), keras.ops.zeros(2))]
    [0.0, -0.5]
    """
    k = kernel(spec, **params)
    return lambda y, z: k.gradient_logits(ops.convert_to_tensor(y), ops.convert_to_tensor(z))


def at_least_float32(dtype: object) -> str:
    """Name of the dtype that a loss of inputs of this dtype is computed in."""
    return "float64" if keras.backend.standardize_dtype(dtype) == "float64" else "float32"


def is_concrete(x: Tensor) -> bool:
    """Whether the values can be looked at: neither a symbol nor inside a traced function."""
    if isinstance(x, keras.KerasTensor):
        return False
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return not tf.is_symbolic_tensor(x)
    if backend == "jax":
        import jax

        return not isinstance(x, jax.core.Tracer)
    if backend == "torch":
        import torch

        return not (torch.compiler.is_compiling() or x.is_meta)
    return True


def to_numpy(x: Tensor) -> np.ndarray[Any, Any]:
    """The values of a tensor that ``is_concrete``."""
    if keras.backend.backend() == "torch":  # Keras goes through __array__, which NumPy 2 warns of
        return np.asarray(x.detach().cpu().numpy())
    return np.asarray(ops.convert_to_numpy(x))
