"""Autoencoders and variational autoencoders, dense and convolutional. They know no loss: raw numbers come out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from lossproof.models.base import AutoEncoder

__all__ = ["MODELS", "build"]

#: name -> (convolutional, variational)
MODELS: dict[str, tuple[bool, bool]] = {
    "ae": (False, False),
    "vae": (False, True),
    "conv-ae": (True, False),
    "conv-vae": (True, True),
}


def build(
    name: str,
    image_shape: tuple[int, int, int],
    *,
    hidden: tuple[int, ...],
    latent: int,
    generator: torch.Generator,
    outputs: int = 1,
) -> AutoEncoder:
    """Build a model by name, its weights drawn from the given generator alone.

    `image_shape` is (channels, height, width). `hidden` holds layer widths (dense) or channel counts of the
    stride-2 convolutions (conv); `()` gives a dense model with one layer each way, and is refused by a conv
    model. `latent` is the code's width. `decode` gives `outputs` raw numbers for each value of an image, as
    (n, outputs * channels, height, width), all channels of the first output before those of the second.
    Weights are float32 on the CPU.

    Raises `LossproofError` for an unknown name, a shape below 4 x 4 (conv) or a width or number of outputs below 1.

    >>> import torch
    >>> model = build("vae", (1, 8, 8), hidden=(32,), latent=2, generator=torch.Generator().manual_seed(0))
    >>> mean, logvar = model.encode(torch.zeros(5, 1, 8, 8))
    >>> model.decode(mean).shape
    torch.Size([5, 1, 8, 8])
    """
    from lossproof.formula.errors import LossproofError
    from lossproof.models.conv import Conv
    from lossproof.models.dense import Dense

    if name not in MODELS:
        raise LossproofError(f"model: expected one of {', '.join(MODELS)}, got {name!r}.")
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise LossproofError(
            f"{name}: expected an image shape (channels, height, width), each at least 1, "
            f"got {tuple(image_shape)}."
        )
    if latent < 1 or outputs < 1 or any(width < 1 for width in hidden):
        raise LossproofError(
            f"{name}: expected widths of at least 1, got latent {latent} and hidden {tuple(hidden)}"
            + (f", outputs {outputs}." if outputs < 1 else ".")
        )
    convolutional, variational = MODELS[name]
    kind = Conv if convolutional else Dense
    return kind(
        image_shape,
        hidden=tuple(hidden),
        latent=latent,
        variational=variational,
        generator=generator,
        outputs=outputs,
    )
