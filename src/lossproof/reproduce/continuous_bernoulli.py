"""The continuous-Bernoulli VAE, with the paper's clip and without it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from lossproof.reproduce.bench import Bench
from lossproof.reproduce.closed import clip_ceiling
from lossproof.reproduce.fit import Plan, fit, measure
from lossproof.reproduce.record import Experiment, Figure, Goal
from lossproof.torch.decoders import criterion_for

CLIP = 1e-4
CLIPPED = Plan("vae", 20, (500, 500), 12, 100, lr=1e-3, last=1e-5)
NATURAL = replace(CLIPPED, epochs=18)
QUICK = Plan("vae", 8, (64,), 8, 32, lr=2e-3)


def run(bench: Bench) -> dict[str, float]:
    """The same net twice on (b + u)/256, and the most that any decoder reaches under the clip."""
    train, test = bench.dequantised("train"), bench.dequantised("test")
    shape = bench.images.image_shape
    clipped = criterion_for(f"continuous_bernoulli_density(clip={CLIP})", shape)
    natural = criterion_for("continuous_bernoulli_density", shape)
    found = {
        name: -measure(fit(bench, train, law, QUICK if bench.quick else plan), test).objective
        for name, law, plan in (("clipped", clipped, CLIPPED), ("natural", natural, NATURAL))
    }
    return found | {
        "ceiling": clip_ceiling(test, CLIP),
        "bits": math.log2(bench.levels) - found["natural"] / bench.pixels / math.log(2),
        "bits_clipped": math.log2(bench.levels) - found["clipped"] / bench.pixels / math.log(2),
    }


def remark(figures: Mapping[str, float]) -> str:
    """Why the two differ."""
    at_clip = math.log((math.log1p(-CLIP) - math.log(CLIP)) / (1 - 2 * CLIP)) + math.log1p(-CLIP)
    return (
        f"Why they differ: at lambda = {CLIP:g} the density of a black pixel is {math.exp(at_clip):.2f}, so no decoder "
        f"gains more than {at_clip:.2f} nats there, however sure it is. Summed over the test images, "
        f"{figures['ceiling']:.1f} nats per image is the most that any decoder whatever reaches under the clip, and "
        f"the clipped net stands {figures['ceiling'] - figures['clipped']:.1f} below it: the clip sets that number. "
        "The same net in the natural parameter eta = logit(lambda), which needs no clip, gains "
        f"{figures['natural'] - figures['clipped']:.0f} nats: {figures['bits']:.2f} against "
        f"{figures['bits_clipped']:.2f} bits per pixel (an upper bound on the bits of the bytes, as b + u is a density)."
    )


EXPERIMENT = Experiment(
    name="continuous-bernoulli-vae",
    title="Continuous-Bernoulli VAE 784-500-500-20, with the paper's clip and without",
    source="Loaiza-Ganem and Cunningham, NeurIPS 2019, [arXiv 1907.06845](https://arxiv.org/abs/1907.06845): test ELBO "
    "1470 on the authors' poster; clip of lambda to [1e-4, 1 - 1e-4] in their "
    "[code](https://github.com/cunningham-lab/cb).",
    setting=f"(b + u)/256 with u drawn once, Adam, batch {CLIPPED.batch}, {CLIPPED.epochs} epochs with the clip and "
    f"{NATURAL.epochs} without, learning rate {CLIPPED.lr:g} falling along a cosine to {CLIPPED.last:g}.",
    differs="no dropout, no clip of the gradient, batch 100 for 50, log-variances for softplus deviations.",
    figures=(
        Figure(
            "clipped",
            "ELBO with the clip, nats per image",
            "1470",
            (Goal("within", 1470, 15), Goal("at most", "ceiling")),
            1,
        ),
        Figure(
            "ceiling",
            "ceiling of any decoder with the clip, nats per image",
            "",
            (Goal("within", 1590.1, 0.1),),
            1,
        ),
        Figure(
            "natural",
            "ELBO in natural parameters, nats per image",
            "",
            (Goal("at least", 3150), Goal("at least", "clipped")),
            1,
        ),
        Figure("bits_clipped", "with the clip, bits per pixel at most"),
        Figure("bits", "in natural parameters, bits per pixel at most"),
    ),
    run=run,
    remark=remark,
)
