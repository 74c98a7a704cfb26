"""From a Loss to its JAX functions: the committed kernel where there is one, else written on the spot."""

from lossproof.catalogue import resolve
from lossproof.lower.kernels import Kernel
from lossproof.lower.kernels import kernel_of as _kernel


def kernel(spec: object, **params: float) -> Kernel:
    """The JAX functions of a loss.

    >>> import jax.numpy as jnp
    >>> kernel("bce").value_logits(jnp.ones(1), jnp.zeros(1)).round(4)
    Array([0.6931], dtype=float32)
    """
    return _kernel(resolve(spec, **params), "jax")
