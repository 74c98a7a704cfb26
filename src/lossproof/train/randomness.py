"""Every random draw of a comparison, each from a generator of its own, never from torch's global one."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A CPU generator that depends on nothing but these three: whoever asks again draws the same numbers.

    >>> one, two = generator(0, "noise", 3), generator(0, "noise", 3)
    >>> bool((torch.randn(4, generator=one) == torch.randn(4, generator=two)).all())
    True
    """
    digest = hashlib.sha256(f"lossproof/{seed}/{purpose}/{epoch}".encode()).digest()
    # 63 bits: torch takes a signed 64-bit seed
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def batch_order(seed: int, epoch: int, count: int) -> Tensor:
    """The order in which the training images are shown in this epoch: int64, (count,), on the CPU."""
    return torch.randperm(count, generator=generator(seed, "order", epoch))


def training_noise(seed: int, epoch: int, count: int, latent: int) -> Tensor:
    """The reparametrisation noise of this epoch, one row for each place in the order: float32, on the CPU."""
    return torch.randn(count, latent, generator=generator(seed, "noise", epoch))
