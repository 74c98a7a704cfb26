"""Reconstruction losses for JAX: pure functions with derived gradients, under jit, grad, jvp and vmap."""

try:
    import jax as _jax  # noqa: F401
except ModuleNotFoundError as error:  # pragma: no cover - needs an environment without jax
    raise ModuleNotFoundError('lossproof.jax needs jax: pip install "lossproof[jax]"') from error

from lossproof.jax.functions import logit_gradient, loss, reconstruction_loss
from lossproof.jax.kernel import Kernel, kernel

__all__ = ["Kernel", "kernel", "logit_gradient", "loss", "reconstruction_loss"]
