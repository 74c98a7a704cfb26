"""Reconstruction losses for torch: generated kernels, derived gradients, checked inputs."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:  # pragma: no cover - needs an environment without torch
    raise ModuleNotFoundError('lossproof.torch needs torch: pip install "lossproof[torch]"') from error

from lossproof.torch.kernel import Kernel, elementwise, kernel, logit_gradient
from lossproof.torch.loss import ReconstructionLoss
from lossproof.torch.monitor import Monitor

if _TYPE_CHECKING:
    from lossproof.torch.distribution import LossDistribution as LossDistribution

__all__ = [
    "Kernel",
    "LossDistribution",
    "Monitor",
    "ReconstructionLoss",
    "elementwise",
    "kernel",
    "logit_gradient",
]


def __getattr__(name: str) -> object:
    if name != "LossDistribution":
        raise AttributeError(
            f"module 'lossproof.torch' has no attribute {name!r}; it has: {', '.join(__all__)}"
        )
    from lossproof.torch.distribution import LossDistribution  # brings SciPy along: on first use

    return LossDistribution
