"""From a Loss to its torch functions: the committed kernel where there is one, else written on the spot."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lossproof.catalogue import resolve
from lossproof.formula import Loss
from lossproof.lower.kernels import NAMES, load


@dataclass(frozen=True)
class Kernel:
    """Torch functions of a loss at its parameter values; all take the target first. ``floor`` may be None.

    ``source`` is the text the functions were made from.
    """

    loss: Loss
    value: Callable[..., Tensor]
    gradient: Callable[..., Tensor]
    value_logits: Callable[..., Tensor]
    gradient_logits: Callable[..., Tensor]
    floor: Callable[..., Tensor] | None
    source: str

    def __reduce__(self) -> tuple[Any, ...]:
        return (kernel, (self.loss,))

    def __deepcopy__(self, memo: object) -> "Kernel":
        return self


def kernel(spec: object, **params: float) -> Kernel:
    """The torch functions of a loss.

    >>> import torch
    >>> kernel("bce").value_logits(torch.tensor([1.0]), torch.tensor([0.0]))
    tensor([0.6931])
    """
    return _kernel(resolve(getattr(spec, "definition", spec), **params))


@lru_cache(maxsize=256)
def _kernel(loss: Loss) -> Kernel:
    functions, source = load(loss, "torch", "lossproof.torch.kernels")
    return Kernel(loss, **{name: functions.get(name) for name in NAMES}, source=source)  # type: ignore[arg-type]


class Elementwise(torch.autograd.Function):
    """Value of a loss with its derived gradient; keeps only the two inputs for the way back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, y: Tensor, value: Callable[..., Tensor], gradient: Callable[..., Tensor]
    ) -> Tensor:
        return value(y, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, y, _, ctx.gradient = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        x, y = ctx.saved_tensors
        return grad * ctx.gradient(y, x), None, None, None


def apply(k: Kernel, x: Tensor, y: Tensor, *, from_logits: bool = True) -> Tensor:
    """Element-wise loss of logits (or predictions) x and targets y: inside at least float32, result likewise."""
    value, gradient = (k.value_logits, k.gradient_logits) if from_logits else (k.value, k.gradient)
    wide = torch.promote_types(x.dtype, torch.float32)
    x, y = x.to(wide), y.to(wide)
    if y.requires_grad:  # the derived gradient is that of the prediction alone: let autograd do both
        return value(y, x)
    result: Tensor = Elementwise.apply(x, y, value, gradient)
    return result


def elementwise(spec: object, *, from_logits: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
    """f(input, target) -> element-wise loss, differentiable in the input by the derived gradient. No checks.

    >>> import torch
    >>> elementwise("mse")(torch.zeros(2), torch.tensor([0.5, 1.0]))
    tensor([0.0000, 0.2500])
    """
    k = kernel(spec)
    return lambda x, y: apply(k, x, y, from_logits=from_logits)


def logit_gradient(spec: object) -> Callable[[Tensor, Tensor], Tensor]:
    """f(logits, target) -> derivative of the loss with respect to the logits, element-wise. No checks.

    >>> import torch
    >>> logit_gradient("bce")(torch.zeros(2), torch.tensor([0.5, 1.0]))
    tensor([ 0.0000, -0.5000])
    """
    k = kernel(spec)
    return lambda z, y: k.gradient_logits(y, z)
