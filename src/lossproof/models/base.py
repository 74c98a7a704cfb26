"""What every model offers to the training loop, and how its weights are drawn."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class AutoEncoder(nn.Module, ABC):
    """An encoder and a decoder. `encode(x)` gives (mean, logvar), logvar being None unless `variational`."""

    image_shape: tuple[int, int, int]
    latent: int
    variational: bool

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (n, c, h, w) -> codes (n, latent): mean and log-variance; no log-variance for an AE."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """Codes (n, latent) -> raw numbers (n, outputs * c, h, w), before any activation: logits where there is one."""

    def forward(self, x: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Raw output, mean and log-variance; the code is mean + noise exp(logvar / 2), or the mean without noise.

        The reparametrisation is that of Kingma and Welling, arXiv 1312.6114, section 2.4.
        """
        mean, logvar = self.encode(x)
        if mean.dtype is torch.bfloat16:  # under autocast: a code and its law are float32
            mean, logvar = mean.float(), None if logvar is None else logvar.float()
        code = mean if logvar is None or noise is None else mean + noise * (0.5 * logvar).exp()
        raw = self.decode(code)
        return raw.float() if raw.dtype is torch.bfloat16 else raw, mean, logvar

    def split(self, code: Tensor) -> tuple[Tensor, Tensor | None]:
        """The encoder's last layer, (n, latent) or (n, 2 latent), as mean and log-variance."""
        if not self.variational:
            return code, None
        mean, logvar = code.chunk(2, dim=1)
        return mean, logvar


def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Draw every layer's weights by torch's default laws, from `generator` alone.

    torch's default for `Linear`, `Conv2d` and `ConvTranspose2d` is He et al.'s uniform law with a = sqrt(5)
    (arXiv 1502.01852), which is U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for the weight and for the bias.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            # torch counts a transposed convolution's fan-in along dimension 1, as it does for all others
            bound = 1.0 / math.sqrt(layer.weight[0].numel())
            with torch.no_grad():
                layer.weight.uniform_(-bound, bound, generator=generator)
                if layer.bias is not None:
                    layer.bias.uniform_(-bound, bound, generator=generator)
