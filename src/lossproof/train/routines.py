"""Which routine multiplies large matrices on this CPU: torch's BLAS, or oneDNN where that is clearly faster.

MKL, the BLAS of torch's builds, takes a slow path on CPUs of other makers: of 128 x 784 times 784 x 400 numbers, on an
AMD EPYC with AVX-512, it does 112 GFLOP/s where oneDNN does 240.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

LARGE = 1 << 22  # multiplications of a product from which on it is worth the call
CLEAR = 1.3  # times as fast as the BLAS: noise does not reach so far, so that every process of a machine decides alike
TURNS = 7
Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@cache
def faster() -> Product | None:
    """oneDNN's a @ b (+ bias) of two matrices where it is clearly faster than the BLAS, measured once; else None."""
    pointwise: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if pointwise is None or not torch.backends.mkldnn.is_available():
        return None

    def product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        made: Tensor = pointwise(a, b.mT, bias, "none", [], "")
        return made

    a, b = torch.ones(128, 512), torch.ones(512, 256)
    try:
        product(a, b, None)
    except (RuntimeError, TypeError, NotImplementedError):
        return None
    taken: dict[bool, float] = {}
    for turn in range(2 * TURNS):
        ours = turn % 2 == 0
        began = time.perf_counter()
        product(a, b, None) if ours else torch.mm(a, b)
        taken[ours] = min(taken.get(ours, 1.0), time.perf_counter() - began)
    return product if taken[True] * CLEAR < taken[False] else None


def routine(a: Tensor, b: Tensor) -> Product | None:
    """The routine for the members' float32 products a @ b, (members, m, k) and (members, k, n); None for torch's own."""
    if not a.is_cpu or a.shape[1] * a.shape[2] * b.shape[2] < LARGE:
        return None
    return faster()


__all__ = ["faster", "routine"]
