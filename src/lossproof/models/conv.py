"""Convolutional autoencoders for any image of at least 4 x 4 pixels, grey or colour."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from lossproof.formula.errors import LossproofError
from lossproof.models.base import AutoEncoder, draw_weights

SMALLEST = 4


class Conv(AutoEncoder):
    """Stride-2 3x3 convolutions, one a channel count in `hidden`, a linear code, and their mirror image.

    A convolution maps a side s to ceil(s / 2). Its transpose maps that back to s exactly, with one row of
    output padding where s is even, so any size comes out as it went in.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        hidden: tuple[int, ...],
        latent: int,
        variational: bool,
        generator: torch.Generator,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < SMALLEST:
            raise LossproofError(
                f"conv: expected images of at least {SMALLEST} x {SMALLEST} pixels, got {height} x {width}. "
                "Use the dense model (ae, vae)."
            )
        if not hidden:
            raise LossproofError(
                "conv: expected a channel count for at least one convolution in hidden, got none. "
                'Give for example --hidden "32,64".'
            )
        self.image_shape, self.latent, self.variational = image_shape, latent, variational
        counts = (channels, *hidden)
        sides = [(height, width)]
        for _ in hidden:
            sides.append((-(-sides[-1][0] // 2), -(-sides[-1][1] // 2)))
        self.smallest = (counts[-1], *sides[-1])
        features = counts[-1] * sides[-1][0] * sides[-1][1]

        down: list[nn.Module] = []
        for before, after in pairwise(counts):
            down += [skip_init(nn.Conv2d, before, after, 3, stride=2, padding=1), nn.ReLU()]
        codes = 2 * latent if variational else latent
        self.encoder = nn.Sequential(*down, nn.Flatten(), skip_init(nn.Linear, features, codes))

        up: list[nn.Module] = []
        for (after, before), (rows, columns) in zip(
            reversed(list(pairwise((outputs * channels, *hidden)))), reversed(sides[:-1]), strict=True
        ):
            padding = (1 - rows % 2, 1 - columns % 2)
            up += [
                nn.ReLU(),
                skip_init(nn.ConvTranspose2d, before, after, 3, stride=2, padding=1, output_padding=padding),
            ]
        self.decoder_input = skip_init(nn.Linear, latent, features)
        self.decoder = nn.Sequential(*up)
        draw_weights(self, generator)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.split(self.encoder(x))

    def decode(self, code: Tensor) -> Tensor:
        raw: Tensor = self.decoder(self.decoder_input(code).unflatten(1, self.smallest))
        return raw
