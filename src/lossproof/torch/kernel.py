"""From a Loss to its torch functions: the committed kernel where there is one, else written on the spot."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lossproof.catalogue import resolve
from lossproof.lower.kernels import Kernel
from lossproof.lower.kernels import kernel_of as _kernel

Both = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def kernel(spec: object, **params: float) -> Kernel:
    """The torch functions of a loss.

    >>> import torch
    >>> kernel("bce").value_logits(torch.tensor([1.0]), torch.tensor([0.0]))
    tensor([0.6931])
    """
    return _kernel(resolve(spec, **params), "torch")


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


class ElementwiseBothModes(Elementwise):
    """The same with a forward-mode derivative, which torch.compile does not take."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        Elementwise.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_others: object) -> Tensor:
        x, y = ctx.saved_tensors
        return tangent * ctx.gradient(y, x)


# torch looks the signature up at every call of a function with setup_context
Elementwise.forward.__signature__ = inspect.signature(Elementwise.forward)  # type: ignore[attr-defined]


class Total(torch.autograd.Function):
    """Scaled sum of a loss behind the sigmoid; the way there already computes the gradient, in cache-sized pieces.

    Only the two inputs and the gradient are kept; the gradient is handed out by the first way back.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, y: Tensor, k: Kernel, scale: float, wanted: bool, both: Both | None
    ) -> Tensor:
        ctx.k, ctx.scale, ctx.grad = k, scale, None
        ctx.save_for_backward(z, y)
        if not wanted:
            wide = torch.promote_types(z.dtype, torch.float32)
            return k.value_logits(y.to(wide), z.to(wide)).sum() * scale
        if both is not None:
            total, ctx.grad = both(z, y, scale)
            return total.mul_(scale)
        total, ctx.grad = _in_pieces(k, z, y, scale)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ready, ctx.grad = ctx.grad, None
        if ready is None or torch.is_grad_enabled():  # a second way back, or one to be differentiated itself
            z, y = ctx.saved_tensors
            wide = torch.promote_types(z.dtype, torch.float32)
            slope = ctx.k.gradient_logits(y.to(wide), z.to(wide))
            ready = (grad * ctx.scale * slope).to(z.dtype)
        elif not ready.is_cpu:
            ready.mul_(grad)
        elif (factor := grad.item()) != 1:
            ready.mul_(factor)
        return ready, None, None, None, None, None


# what Function.apply comes to outside of torch.func, which is seen to before
_apply = super(torch.autograd.Function, Total).apply

#: elements of a piece: its temporaries stay in the caches of a CPU, and add little to the memory
PIECE = 1 << 17


def _in_pieces(k: Kernel, z: Tensor, y: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Scaled sum and scaled gradient; on a CPU in pieces that fit into its caches."""
    dtype = z.dtype
    wide = dtype if dtype is torch.float32 or dtype is torch.float64 else torch.float32
    if k.both_logits is None:  # a formula that was left in its plain form
        y, z = y.to(wide), z.to(wide)
        return k.value_logits(y, z).sum().mul_(scale), (k.gradient_logits(y, z) * scale).to(dtype)
    if z.is_cpu and z.numel() > PIECE and z.is_contiguous() and y.is_contiguous():
        gradient = torch.empty_like(z)
        sums = []
        step = PIECE if dtype is wide else PIECE // 2  # as many bytes
        for a, b, part in zip(*(t.view(-1).split(step) for t in (z, y, gradient)), strict=True):
            if dtype is wide:
                sums.append(k.both_logits(b.to(wide), a, scale=scale, out=part, summed=True)[0])
            else:
                sums.append(_copied(part, *k.both_logits(b.to(wide), a.to(wide), scale=scale, summed=True)))
        return torch.scalar_tensor(math.fsum(sums) * scale, dtype=wide, device=z.device), gradient
    y, z = (y, z) if dtype is wide and y.dtype is wide else (y.to(wide), z.to(wide))
    if z.is_cpu:
        value, gradient = k.both_logits(y, z, scale=scale, summed=True)
        result = torch.scalar_tensor(value * scale, dtype=wide, device=z.device)
    else:  # where a number would be waited for
        value, gradient = k.both_logits(y, z, scale=scale)
        result = value.sum().mul_(scale)
    return result, gradient if dtype is wide else gradient.to(dtype)


def _copied(part: Tensor, value: float, gradient: Tensor) -> float:
    part.copy_(gradient)  # here, for nothing of a piece may have a name that lives on into the next one
    return value


def total(k: Kernel, z: Tensor, y: Tensor, scale: float, both: Both | None = None) -> Tensor:
    """Scaled sum over all elements of the loss of logits z; differentiable in z. ``both`` may be a compiled pair."""
    if y.requires_grad or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return apply(k, z, y).sum() * scale
    result: Tensor = _apply(z, y, k, scale, z.requires_grad and torch.is_grad_enabled(), both)
    return result


def compiled_pair(k: Kernel) -> Both:
    """Sum, and gradient times a scale, of a loss behind the sigmoid, as one compiled pass over the data."""

    def pair(z: Tensor, y: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(z.dtype, torch.float32)
        a, b = z.to(wide), y.to(wide)
        if k.fused_logits is not None:
            value, gradient = k.fused_logits(b, a)
            return value.sum(), (gradient * scale).to(z.dtype)
        return k.value_logits(b, a).sum(), (k.gradient_logits(b, a) * scale).to(z.dtype)

    return torch.compile(pair, fullgraph=True)


def apply(k: Kernel, x: Tensor, y: Tensor, *, from_logits: bool = True) -> Tensor:
    """Element-wise loss of logits (or predictions) x and targets y: inside at least float32, result likewise."""
    value, gradient = (k.value_logits, k.gradient_logits) if from_logits else (k.value, k.gradient)
    wide = torch.promote_types(x.dtype, torch.float32)
    x, y = x.to(wide), y.to(wide)
    if y.requires_grad:  # the derived gradient is that of the prediction alone: let autograd do both
        return value(y, x)
    function = Elementwise if torch.compiler.is_compiling() else ElementwiseBothModes
    result: Tensor = function.apply(x, y, value, gradient)
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
