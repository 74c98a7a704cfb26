"""Layers of several models at once: matrix products over a leading member axis, with their way back by hand.

Each layer takes activations (members, n, features) and keeps its results in buffers that every step uses again:
a fresh large tensor costs as much as filling it. The way back writes the weights' gradients where they belong.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

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

    def __call__(self, name: object, *shape: int) -> Tensor:
        key = (name, *shape)
        if key not in self.made:
            self.made[key] = torch.empty(shape, device=self.device)
        return self.made[key]


def product(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """The members' matrix products a @ b, into `out`.

    >>> product(torch.ones(2, 3, 4), torch.ones(2, 4, 1), torch.empty(2, 3, 1)).flatten().tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    """
    if out.is_cpu and out.shape[2] < THIN <= out.shape[1]:
        return out.copy_(torch.bmm(b.mT, a.mT).mT)
    return torch.bmm(a, b, out=out)


class Layer(ABC):
    """A step of the stacked network; `backward` follows a `forward` of the same batch."""

    buffers: Buffers

    @abstractmethod
    def forward(self, a: Tensor) -> Tensor:
        """Activations (members, n, ...) -> the layer's result; may write over its input."""

    @abstractmethod
    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        """Derivative by the result -> that by the input (where `wanted`); may write over `g`."""


class Linear(Layer):
    """`nn.Linear` of every member: weight (members, out, in), bias (members, out), and where their gradients go."""

    def __init__(self, weights: Sequence[Tensor], gradients: Sequence[Tensor], buffers: Buffers) -> None:
        self.weight, self.bias = weights
        self.weight_gradient, self.bias_gradient = gradients
        self.buffers = buffers

    def forward(self, a: Tensor) -> Tensor:
        self.a = a
        out = self.buffers((self, "out"), *a.shape[:2], self.weight.shape[1])
        return product(a, self.weight.mT, out).add_(self.bias.unsqueeze(1))

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        product(g.mT, self.a, self.weight_gradient)
        torch.sum(g, 1, out=self.bias_gradient)
        return product(g, self.weight, self.buffers((self, "in"), *self.a.shape)) if wanted else g


class Relu(Layer):
    """`nn.ReLU`, in place both ways."""

    def forward(self, a: Tensor) -> Tensor:
        self.a = a.relu_()
        return self.a

    def backward(self, g: Tensor, *, wanted: bool = True) -> Tensor:
        return torch.ops.aten.threshold_backward.grad_input(g, self.a, 0, grad_input=g)


Named = Callable[[nn.Module], tuple[Sequence[Tensor], Sequence[Tensor]]]


def layers(modules: Sequence[nn.Module], named: Named, buffers: Buffers) -> list[Layer] | None:
    """The stacked layers of these modules; None where one of them has none.

    `named` gives a module's stacked parameters and their gradients, in the module's order.
    """
    made: list[Layer] = []
    for module in modules:
        if isinstance(module, nn.Linear) and module.bias is not None:
            made.append(Linear(*named(module), buffers))
        elif isinstance(module, nn.ReLU):
            made.append(Relu())
        else:
            return None
    return made
