"""From a Loss to its JAX functions: the committed kernel where there is one, else written on the spot."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jax import Array

from lossproof.catalogue import resolve
from lossproof.formula import Loss
from lossproof.lower.kernels import load


@dataclass(frozen=True)
class Kernel:
    """JAX functions of a loss at its parameter values; all take the target first. ``floor`` may be None.

    ``source`` is the text the functions were made from, or the module they were committed in.
    """

    loss: Loss
    value: Callable[..., Array]
    gradient: Callable[..., Array]
    value_logits: Callable[..., Array]
    gradient_logits: Callable[..., Array]
    floor: Callable[..., Array] | None
    source: str

    def __reduce__(self) -> tuple[Any, ...]:
        return (kernel, (self.loss,))


def kernel(spec: object, **params: float) -> Kernel:
    """The JAX functions of a loss.

    >>> import jax.numpy as jnp
    >>> kernel("bce").value_logits(jnp.ones(1), jnp.zeros(1)).round(4)
    Array([0.6931], dtype=float32)
    """
    return _kernel(resolve(getattr(spec, "definition", spec), **params))


@lru_cache(maxsize=256)
def _kernel(loss: Loss) -> Kernel:
    functions, source = load(loss, "jax", "lossproof.jax.kernels")
    names = ("value", "gradient", "value_logits", "gradient_logits", "floor")
    return Kernel(loss, *(functions.get(name) for name in names), source)  # type: ignore[arg-type, call-arg]
