"""Pure functions f(input, target): element-wise, or reduced to one number."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from lossproof.formula import LossproofError
from lossproof.formula.errors import nearest
from lossproof.jax.kernel import Kernel, kernel

Reduction = Literal["nats_per_image", "mean", "sum", "none"]
ElementWise = Callable[[ArrayLike, ArrayLike], Array]


def loss(spec: object, *, from_logits: bool = True, excess: bool = False, **params: float) -> ElementWise:
    """f(input, target) -> element-wise loss in nats: a pure function for jit, grad, jvp and vmap.

    ``spec`` is a catalogue id, ``"id(param=...)"``, a formula in y and p, ``"module:function"``, a function or
    a ``Loss``. ``input`` holds logits, or predictions with ``from_logits=False``; both arguments are floating
    and of equal shape. The same spec gives the same function object, so that ``jax.jit`` compiles once.

    The derivative in the input is the derived one (at a kink, the mean of both sides'); higher derivatives
    differentiate that. The derivative in the target is left to JAX. Half-precision inputs are computed in
    float32 and give float32; their gradients have the input's dtype.

    ``excess=True`` subtracts the floor. A floor without a closed form is searched for on the host
    (``jax.pure_callback``), and cannot be differentiated in the target; where it is -inf the excess is inf.

    Values are not looked at, so that the function stays pure: targets outside the loss's domain give what the
    formula gives there. ``lossproof.loss(spec).value`` and ``lossproof.check`` look.

    Raises ``LossproofError`` for unequal shapes and integer arrays, while tracing too.
    Formula and source of each loss: ``lossproof.CATALOGUE[id]``.

    >>> import jax, jax.numpy as jnp
    >>> f = loss("bce", excess=True)
    >>> y = jnp.array([0.0, 0.25])
    >>> jax.jit(f)(jnp.array([-1e4, 0.0]), y).round(4)
    Array([0.    , 0.1308], dtype=float32)
    >>> jax.grad(lambda z: f(z, y).sum())(jnp.array([1e4, 0.0]))
    Array([1.  , 0.25], dtype=float32)
    """
    return _loss(kernel(spec, **params), from_logits, excess)


def logit_gradient(spec: object, **params: float) -> ElementWise:
    """f(logits, target) -> derivative of the loss with respect to the logits, element-wise. No checks.

    >>> import jax.numpy as jnp
    >>> logit_gradient("bce")(jnp.zeros(2), jnp.array([0.5, 1.0]))
    Array([ 0. , -0.5], dtype=float32)
    """
    k = kernel(spec, **params)
    return lambda z, y: k.gradient_logits(jnp.asarray(y), jnp.asarray(z))


def reconstruction_loss(
    spec: object,
    *,
    from_logits: bool = True,
    reduction: Reduction = "nats_per_image",
    excess: bool = False,
    **params: float,
) -> Callable[..., Array]:
    """f(input, target, weight=None) -> scalar loss in nats, to be given to ``jax.value_and_grad``.

    ``"nats_per_image"`` sums over an image and averages over the batch (the first axis), ``"mean"`` averages
    over elements, ``"sum"`` sums; ``"none"`` keeps the shape. ``weight`` has the shape of one image or of the
    whole batch. Everything else is as in ``loss``.

    >>> import jax, jax.numpy as jnp
    >>> f = reconstruction_loss("mse")
    >>> f(jnp.zeros((2, 4)), jnp.ones((2, 4))).item()
    1.0
    """
    element_wise = loss(spec, from_logits=from_logits, excess=excess, **params)
    label = kernel(spec, **params).loss.label
    known = get_args(Reduction)
    if reduction not in known:
        raise LossproofError(
            f"{label}: expected reduction one of {', '.join(known)}, got {reduction!r}; {nearest(str(reduction), known)}"
        )

    def reduced(input: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None) -> Array:
        values = element_wise(input, target)
        if weight is not None:
            values = values * _weight(weight, values, label)
        if reduction == "none":
            return values
        if reduction == "mean":
            return values.mean()
        if reduction == "sum" or values.ndim == 0:
            return values.sum()
        return values.sum() / values.shape[0]

    reduced.__doc__ = f"{label}: f(input, target, weight=None), {reduction}."
    return reduced


@lru_cache(maxsize=256)
def _loss(k: Kernel, from_logits: bool, excess: bool) -> ElementWise:
    value, gradient = (k.value_logits, k.gradient_logits) if from_logits else (k.value, k.gradient)

    @jax.custom_jvp
    def core(x: Array, y: Array) -> Array:
        return value(y, x)

    @partial(core.defjvp, symbolic_zeros=True)
    def tangent(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
        (x, y), (dx, dy) = primals, tangents
        result = core(x, y)
        change = jnp.zeros_like(result)
        if not isinstance(dx, SymbolicZero):
            change = gradient(y, x) * dx
        if not isinstance(dy, SymbolicZero):
            change = change + jax.jvp(lambda t: value(t, x), (y,), (dy,))[1]
        return result, change

    def f(input: ArrayLike, target: ArrayLike) -> Array:
        x, y = _arrays(input, target, k.loss.label)
        values: Array = core(x, y)
        return values - _floor(k, y) if excess else values

    f.__name__ = f.__qualname__ = "".join(c if c.isalnum() else "_" for c in k.loss.label)
    f.__doc__ = (
        f"{k.loss.label}: f({'logits' if from_logits else 'prediction'}, target), element-wise, in nats."
    )
    return f


def _floor(k: Kernel, y: Array) -> Array:
    if k.floor is not None:
        return k.floor(y)

    def host(target: Any) -> Any:
        from lossproof.lower import function

        return np.asarray(function(k.loss).floor(np.asarray(target, np.float64)), target.dtype)

    shape = jax.ShapeDtypeStruct(y.shape, y.dtype)
    found: Array = jax.pure_callback(host, shape, y, vmap_method="expand_dims")
    return found


def _arrays(input: ArrayLike, target: ArrayLike, label: str) -> tuple[Array, Array]:
    pair = []
    for name, given in (("input", input), ("target", target)):
        x = jnp.asarray(given)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            advice = " Scale images to [0, 1], as in target.astype(float) / 255." if name == "target" else ""
            raise LossproofError(
                f"{label}: expected {name} of a floating dtype, got shape {x.shape}, {x.dtype}.{advice}"
            )
        pair.append(x)
    x, y = pair
    if x.shape != y.shape:
        raise LossproofError(
            f"{label}: expected input and target of equal shape, got {x.shape} and {y.shape}. "
            "Nothing broadcasts here: reshape one of them."
        )
    if x.size == 0:
        raise LossproofError(f"{label}: expected at least one element, got shape {x.shape}.")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    # times 1: JAX cannot bring a NumPy array that vmap took in under jit through a custom derivative
    return tuple(v * 1 if isinstance(v, jax.core.Tracer) else v for v in (x.astype(wide), y.astype(wide)))


def _weight(weight: ArrayLike, values: Array, label: str) -> Array:
    w = jnp.asarray(weight)
    if w.shape not in (values.shape, values.shape[1:]):
        raise LossproofError(
            f"{label}: expected weight of shape {values.shape[1:]} or {values.shape}, got {w.shape}."
        )
    return w.astype(values.dtype)
