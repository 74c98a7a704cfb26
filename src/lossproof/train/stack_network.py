"""The models of a stack as one network: encoder, drawn code, decoder, and the way back by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossproof.models.base import AutoEncoder
from lossproof.models.conv import Conv
from lossproof.models.dense import Dense
from lossproof.train.stack_convolutions import ChannelsLast, Flat, conv_layer
from lossproof.train.stack_layers import Buffers, Layer, Named, Products, layers


class Network:
    """Stacked layers of one architecture; activations are (members, n, ...)."""

    mean: Tensor  # (members, n, latent), of the last batch
    logvar: Tensor | None

    def __init__(
        self,
        encoder: Sequence[Layer],
        decoder: Sequence[Layer],
        *,
        variational: bool,
        buffers: Buffers,
        image: Layer | None = None,
    ) -> None:
        self.encoder, self.decoder, self.image = encoder, decoder, image
        self.variational, self.buffers = variational, buffers

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Images (members, n, c * h * w) and noise (members, n, latent) -> raw numbers (members, n, outputs * c * h * w).

        The reparametrisation is that of `AutoEncoder.forward`.
        """
        code = run(self.encoder, x if self.image is None else self.image.forward(x))
        self.mean, self.logvar = code, None
        if self.variational:
            self.mean, self.logvar = code.chunk(2, dim=2)
            moved = torch.mul(self.logvar, 0.5, out=self.buffers("moved", *noise.shape)).exp_().mul_(noise)
            self.moved = moved
            self.variance_less_1 = torch.expm1(self.logvar, out=self.buffers("variance_less_1", *noise.shape))
            code = torch.add(self.mean, moved, out=self.buffers("code", *noise.shape))
        return run(self.decoder, code).flatten(2)

    def rates(self, out: Tensor) -> None:
        """Twice the summed KL divergence of the last batch's codes, of each member, into `out` (members,)."""
        if self.logvar is None:
            out.zero_()
            return
        terms = torch.mul(self.mean, self.mean, out=self.buffers("rates", *self.mean.shape))
        torch.sum(terms.add_(self.variance_less_1).sub_(self.logvar), (1, 2), out=out)

    def backward(self, slopes: Tensor, weight: Tensor) -> None:
        """Write all gradients, from the objective's derivative by the raw output and the rates' weights (members, 1, 1)."""
        g = back(self.decoder, slopes, wanted=True)
        if self.variational:
            both = self.buffers("code slopes", *g.shape[:2], 2 * g.shape[2])
            mean, logvar = both.chunk(2, dim=2)
            torch.addcmul(g, self.mean, weight, out=mean)
            torch.mul(g, self.moved, out=logvar).addcmul_(self.variance_less_1, weight).mul_(0.5)
            g = both
        back(self.encoder, g, wanted=False)


def run(chain: Sequence[Layer], a: Tensor) -> Tensor:
    for layer in chain:
        a = layer.forward(a)
    return a


def back(chain: Sequence[Layer], g: Tensor, *, wanted: bool) -> Tensor:
    """The way back through a chain; the first layer's input has a derivative only where `wanted`."""
    for layer in reversed(chain):
        g = layer.backward(g, wanted=wanted or layer is not chain[0])
    return g


def network(
    model: AutoEncoder, named: Named, buffers: Buffers, *, precision: str = "float32"
) -> Network | None:
    """The stacked network of models built like `model`; None for a kind of model that has none."""
    products = Products(buffers, rounded=precision == "bfloat16")
    encoder: list[Layer] | None
    decoder: list[Layer] | None
    image: Layer | None = None
    if isinstance(model, Dense):
        encoder, decoder = (layers(list(part), named, products) for part in (model.encoder, model.decoder))
    elif isinstance(model, Conv):
        encoder = layers(list(model.encoder), named, products, conv_layer)
        decoder = layers([model.decoder_input, *model.decoder], named, products, conv_layer)
        if encoder is not None and decoder is not None:
            decoder[1:] = [ChannelsLast(model.smallest, buffers), *decoder[1:], Flat(buffers)]
            image = ChannelsLast(model.image_shape, buffers)
    else:
        return None
    if encoder is None or decoder is None:
        return None
    return Network(encoder, decoder, variational=model.variational, buffers=buffers, image=image)
