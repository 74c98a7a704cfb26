"""Layers of several models at once: matrix products over a leading member axis, with their way back by hand.

Each layer takes activations (members, n, ...) and keeps its results in buffers that every step uses again:
a fresh large tensor costs as much as filling it. The way back writes the weights' gradients where they belong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lossproof.train.routines import routine

THIN = 16  # columns of a product below which the CPU's routine is slow: the transposed product is then taken


class Buffers:
    """Uninitialised tensors by name and shape, made once.

    >>> buffers = Buffers(torch.device("cpu"))
    >>> buffers("x", 2, 3) is buffers("x", 2, 3)
    True
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.made: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, name: object, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        key = (name, *shape)
        found = self.made.get(key)
        if found is None:
            # zeros: the border of what is padded is never written again
            found = self.made[key] = torch.zeros(shape, dtype=dtype, device=self.device)
        return found


class Products:
    """The members' matrix products: of float32 numbers, or of their bfloat16 roundings, with float32 results."""

    def __init__(self, buffers: Buffers, *, rounded: bool = False) -> None:
        self.buffers, self.rounded = buffers, rounded
        self.dtype = torch.bfloat16 if rounded else torch.float32

    def factor(self, name: object, a: Tensor) -> Tensor:
        """A tensor as it goes into products: itself, or its rounding in a buffer."""
        if not self.rounded or a.dtype is self.dtype:
            return a
        return self.buffers((name, "rounded"), *a.shape, dtype=self.dtype).copy_(a)

    def __call__(self, a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> Tensor:
        """a @ b of each member (+ bias), into `out`.

        >>> products = Products(Buffers(torch.device("cpu")))
        >>> products(torch.ones(2, 3, 4), torch.ones(2, 4, 1), torch.empty(2, 3, 1)).flatten().tolist()
        [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
        """
        if self.rounded:
            out.copy_(torch.bmm(a, b))
        elif thin(out):
            if out.mT.is_contiguous():
                torch.bmm(b.mT, a.mT, out=out.mT)
            else:
                out.copy_(torch.bmm(b.mT, a.mT).mT)
        elif (product := routine(a, b)) is not None:
            for i, mine in enumerate(out):
                mine.copy_(product(a[i], b[i], None if bias is None else bias[i, 0]))
            return out
        elif bias is not None:
            return torch.baddbmm(bias, a, b, out=out)
        else:
            return torch.bmm(a, b, out=out)
        return out if bias is None else out.add_(bias)

    def add(self, a: Tensor, b: Tensor, into: Tensor) -> None:
        """Add a @ b of each member to what is there."""
        if self.rounded:
            into.add_(torch.bmm(a, b))
        elif thin(into):
            into.add_(torch.bmm(b.mT, a.mT).mT)
        elif (product := routine(a, b)) is not None:
            for i, mine in enumerate(into):
                mine.add_(product(a[i], b[i], None))
        else:
            torch.baddbmm(into, a, b, out=into)


def thin(out: Tensor) -> bool:
    """Whether a product is quicker as the transposed one."""
    return out.is_cpu and out.shape[2] < THIN <= out.shape[1]


class Layer(ABC):
    """A step of the stacked network; `backward` follows a `forward` of the same batch."""

    @abstractmethod
    def forward(self, a: Tensor) -> Tensor:
        """Activations (members, n, ...) -> the layer's result; may write over its input."""

    @abstractmethod
    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        """Derivative by the result -> that by the input (where `wanted`); may write over `g`."""


class Linear(Layer):
    """`nn.Linear` of every member: weight (members, out, in), bias (members, out), and where their gradients go."""

    def __init__(self, weights: Sequence[Tensor], gradients: Sequence[Tensor], products: Products) -> None:
        self.weight, bias = weights
        self.bias = bias.unsqueeze(1)
        self.weight_gradient, self.bias_gradient = gradients
        self.products, self.buffers = products, products.buffers

    def forward(self, a: Tensor) -> Tensor:
        self.a = self.products.factor((self, "a"), a)
        self.w = self.products.factor((self, "w"), self.weight)
        out = self.buffers((self, "out"), *a.shape[:2], self.weight.shape[1])
        return self.products(self.a, self.w.mT, out, self.bias)

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        torch.sum(g, 1, out=self.bias_gradient)
        factor = self.products.factor((self, "g"), g)
        self.products(factor.mT, self.a, self.weight_gradient)
        if not wanted:
            return g
        return self.products(factor, self.w, self.buffers((self, "in"), *self.a.shape))


class Relu(Layer):
    """`nn.ReLU`, in place both ways."""

    def forward(self, a: Tensor) -> Tensor:
        self.a = a.relu_()
        return self.a

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        return torch.ops.aten.threshold_backward.grad_input(g, self.a, 0, grad_input=g)


#: the stacked parameters of a module and their gradients, in the module's order
Named = Callable[[nn.Module], tuple[Sequence[Tensor], Sequence[Tensor]]]
#: makes a layer of a module, given `named` and the products; None where it has none for it
Maker = Callable[[nn.Module, Named, Products], Layer | None]


def dense_layer(module: nn.Module, named: Named, products: Products) -> Layer | None:
    """The stacked layer of a dense model's module."""
    if isinstance(module, nn.Linear) and module.bias is not None:
        return Linear(*named(module), products)
    return Relu() if isinstance(module, nn.ReLU) else None


def layers(
    modules: Sequence[nn.Module], named: Named, products: Products, make: Maker = dense_layer
) -> list[Layer] | None:
    """The stacked layers of these modules; None where one of them has none."""
    made: list[Any] = [make(module, named, products) for module in modules]
    return None if None in made else made
