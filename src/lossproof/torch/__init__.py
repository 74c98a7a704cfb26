"""Reconstruction losses for torch: generated kernels, derived gradients, checked inputs."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:  # pragma: no cover - needs an environment without torch
    raise ModuleNotFoundError('lossproof.torch needs torch: pip install "lossproof[torch]"') from error

from lossproof.torch.kernel import Kernel, elementwise, kernel, logit_gradient
from lossproof.torch.loss import ReconstructionLoss
from lossproof.torch.monitor import Monitor

__all__ = ["Kernel", "Monitor", "ReconstructionLoss", "elementwise", "kernel", "logit_gradient"]
