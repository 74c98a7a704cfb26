"""Reconstruction losses for Keras 3, on TensorFlow, JAX and torch, with derived gradients."""

try:
    import keras as _keras  # noqa: F401
except ModuleNotFoundError as error:  # pragma: no cover - needs an environment without keras
    if error.name != "keras":  # keras is here, its backend is not: its own message says which
        raise
    raise ModuleNotFoundError(
        'lossproof.keras needs keras and a backend of it: pip install "lossproof[keras]"'
    ) from error

from lossproof.keras.kernel import Kernel, elementwise, kernel, logit_gradient
from lossproof.keras.loss import ReconstructionLoss

__all__ = ["Kernel", "ReconstructionLoss", "elementwise", "kernel", "logit_gradient"]
