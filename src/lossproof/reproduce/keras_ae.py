"""The Keras blog's first autoencoder: 784-32-784 under BCE, with its ReLU on the code and Keras's initial weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lossproof.models.dense import Dense
from lossproof.reproduce.bench import Bench
from lossproof.reproduce.fit import Plan, fit, floor, measure
from lossproof.reproduce.record import Experiment, Figure, Goal
from lossproof.torch.criterion import criterion
from lossproof.train.randomness import generator

FULL = Plan("ae", 32, (), 50, 256)
QUICK = Plan("ae", 8, (), 40, 32, lr=3e-3)


class BlogNet(Dense):
    """One layer each way with a ReLU on the code; weights as Keras draws them (Glorot and Bengio 2010), no bias."""

    def __init__(self, image_shape: tuple[int, int, int], latent: int, drawn: torch.Generator) -> None:
        super().__init__(image_shape, hidden=(), latent=latent, variational=False, generator=drawn)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                bound = math.sqrt(6 / (layer.in_features + layer.out_features))
                nn.init.uniform_(layer.weight, -bound, bound, generator=drawn)
                nn.init.zeros_(layer.bias)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (n, c, h, w) -> codes (n, latent), none below 0."""
        return super().encode(x)[0].relu(), None


def run(bench: Bench) -> dict[str, float]:
    """Train as the blog does; BCE per pixel of the test images, as Keras prints it, and its floor."""
    plan = QUICK if bench.quick else FULL
    net = BlogNet(bench.images.image_shape, plan.latent, generator(0, "weights"))
    member = fit(bench, bench.images.train, criterion("bce"), plan, network=net)
    lowest, mean = floor(bench, "bce")
    found = measure(member, bench.images.test).objective
    return {"bce": found / bench.pixels, "floor": lowest / bench.pixels, "mean_image": mean / bench.pixels}


def remark(figures: Mapping[str, float]) -> str:
    """What the number consists of."""
    excess = figures["bce"] - figures["floor"]
    return (
        f"{figures['floor']:.5f} of it is the floor: a perfect reconstruction would print that. The net is "
        f"{excess:.5f} above it."
    )


EXPERIMENT = Experiment(
    name="keras-ae",
    title="Autoencoder of the Keras blog: 784-32-784 under BCE",
    source='F. Chollet, ["Building autoencoders in Keras"](https://blog.keras.io/building-autoencoders-in-keras.html) '
    '(2016): "a stable train/validation loss value of about 0.09".',
    setting=f"pixels b/255, mean BCE, ReLU on the code, Keras's initial weights, batch {FULL.batch}, {FULL.epochs} "
    f"epochs, Adam {FULL.lr:g}.",
    differs="Adam's epsilon is torch's 1e-8, not Keras's 1e-7; the gradient is that of the loss summed over an image, "
    "not averaged, which Adam all but divides out.",
    figures=(
        Figure(
            "bce",
            "BCE, nats per pixel",
            "about 0.09",
            (Goal("at most", 0.0925), Goal("at least", "floor"), Goal("at most", "mean_image")),
            5,
        ),
        Figure("floor", "floor of BCE, nats per pixel", "", (Goal("within", 0.058080, 1e-6),), 6),
        Figure("mean_image", "BCE of the mean training image, nats per pixel", "", (), 5),
    ),
    run=run,
    remark=remark,
)
