"""The beta-binomial VAE of bits-back coding: bits per pixel of 8-bit images."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lossproof.likelihood.histogram import histogram_bits
from lossproof.reproduce.bench import Bench
from lossproof.reproduce.fit import Plan, fit, measure
from lossproof.reproduce.record import Experiment, Figure, Goal
from lossproof.torch.decoders import criterion_for

FULL = Plan("vae", 50, (200,), 20, 100, lr=1e-3, last=1e-5)
QUICK = Plan("vae", 8, (64,), 12, 32, lr=3e-3)


def run(bench: Bench) -> dict[str, float]:
    """Train on bytes; bits per pixel beside the yardsticks that use no network."""
    law = criterion_for("beta_binomial", bench.images.image_shape, bench.levels)
    member = fit(bench, bench.images.train, law, QUICK if bench.quick else FULL)
    found = measure(member, bench.images.test)
    nats = bench.pixels * math.log(2)
    yardstick = histogram_bits(bench.images.train, bench.images.test, bench.levels)
    own = histogram_bits(bench.images.train, bench.images.train, bench.levels)
    return {
        "bits": found.objective / nats,
        "rate": found.rate / nats,
        "each_pixel": yardstick.each_pixel,
        "everywhere": yardstick.everywhere,
        "everywhere_own": own.everywhere,
    }


def remark(figures: Mapping[str, float]) -> str:
    """What the number stands beside."""
    return (
        f"One histogram for each pixel, with no network at all, costs {figures['each_pixel']:.3f} bits per pixel and one "
        f"for all pixels {figures['everywhere']:.3f} on the test images (the training images under their own histogram: "
        f"{figures['everywhere_own']:.3f}). Of the net's {figures['bits']:.3f} bits, {figures['rate']:.3f} are the code."
    )


EXPERIMENT = Experiment(
    name="beta-binomial-vae",
    title="Beta-binomial VAE 784-200-50: bits per pixel",
    source="Townsend, Bird and Barber, ICLR 2019, [arXiv 1901.04866](https://arxiv.org/abs/1901.04866): test ELBO 1.39 "
    "bits per pixel; their [code](https://github.com/bits-back/bits-back).",
    setting=f"bytes, beta-binomial on 0 to 255, Adam, batch {FULL.batch}, {FULL.epochs} epochs, learning rate "
    f"{FULL.lr:g} falling along a cosine to {FULL.last:g}.",
    differs="no batch normalisation; the learning rate falls from 1e-3, where theirs stays at 5e-4; codes are drawn in "
    "the test, where their code takes the mean, which is no ELBO.",
    figures=(
        Figure("bits", "bits per pixel", "1.39", (Goal("at most", 1.40), Goal("at most", "each_pixel")), 4),
        Figure("rate", "of which the code, bits per pixel", "", (), 4),
        Figure(
            "each_pixel", "a histogram for each pixel, bits per pixel", "", (Goal("within", 1.689, 1e-3),), 4
        ),
        Figure("everywhere", "one histogram, bits per pixel", "", (Goal("within", 1.967, 1e-3),), 4),
        Figure(
            "everywhere_own",
            "one histogram, training images, bits per pixel",
            "",
            (Goal("within", 1.966, 1e-3),),
            4,
        ),
    ),
    run=run,
    remark=remark,
)
