"""The matrix products of a training step alone: what it would take on this machine if nothing else had to be done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lossproof.train.feed import shown
from lossproof.train.loop import Course
from lossproof.train.routines import routine
from lossproof.train.stack import Stack, Walk
from lossproof.train.stack_layers import THIN, Products

Call = tuple[Tensor, Tensor, Tensor]


class Recorder(Products):
    """The products of a network, which are noted down as they are called."""

    def __init__(self, plain: Products, calls: list[Call]) -> None:
        super().__init__(plain.buffers, rounded=plain.rounded)
        self.calls = calls

    def __call__(self, a: Tensor, b: Tensor, out: Tensor, bias: Tensor | None = None) -> Tensor:
        self.calls.append((a, b, out))
        return super().__call__(a, b, out, bias)

    def add(self, a: Tensor, b: Tensor, into: Tensor) -> None:
        self.calls.append((a, b, into))
        super().add(a, b, into)


class Bound:
    """The products of a stack's step, forward and back, on the very tensors of that step; nothing else.

    Each by the routine that the step takes. Of a convolution they are those of its windows laid out as a matrix with the
    weights. A product with few columns is taken transposed, as the layers take it, but without their copy.
    """

    def __init__(self, stack: Stack, courses: list[Course]) -> None:
        calls: list[Call] = []
        kept = [(layer, layer.products) for layer in layers_of(stack)]
        with recorded(kept, calls):
            numbers = torch.cat([course.order[: course.settings.batch_size] for course in courses])
            walk = Walk(stack, courses, range(len(stack.members)), 1)
            walk.step(next(shown(courses[0].images, [numbers])))
        self.calls = [
            (b.mT, a.mT, out.new_empty(out.mT.shape)) if thin(out) else (a, b, out) for a, b, out in calls
        ]

    @property
    def flops(self) -> int:
        """Multiplications and additions of a step."""
        return sum(2 * a.shape[0] * a.shape[1] * a.shape[2] * b.shape[2] for a, b, _ in self.calls)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            for a, b, out in self.calls:
                product = routine(a, b) if a.dtype is torch.float32 else None
                if product is None:
                    torch.bmm(a, b, out=out)
                    continue
                for mine, other in zip(a, b, strict=True):
                    product(mine, other, None)


def thin(out: Tensor) -> bool:
    return out.shape[2] < THIN <= out.shape[1]


def layers_of(stack: Stack) -> list[object]:
    """The layers that have products."""
    assert stack.network is not None
    return [layer for layer in (*stack.network.encoder, *stack.network.decoder) if hasattr(layer, "products")]


@contextmanager
def recorded(kept: list[tuple[object, Products]], calls: list[Call]) -> Iterator[None]:
    for layer, plain in kept:
        layer.products = Recorder(plain, calls)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for layer, plain in kept:
            layer.products = plain  # type: ignore[attr-defined]
