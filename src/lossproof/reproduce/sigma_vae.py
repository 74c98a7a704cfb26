"""sigma-VAE: the Gaussian decoder with unit variance, which collapses, and with one learned sigma."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lossproof.reproduce.bench import Bench
from lossproof.reproduce.closed import linear_optimum, spectrum
from lossproof.reproduce.fit import Plan, fit, measure
from lossproof.reproduce.record import Experiment, Figure, Goal
from lossproof.torch.decoders import criterion_for

UNIT = Plan("vae", 20, (400,), 5, 128)
FULL = Plan("vae", 50, (400,), 20, 128, lr=1e-3, last=1e-5)
QUICK = Plan("vae", 8, (64,), 12, 32, lr=2e-3)


def run(bench: Bench) -> dict[str, float]:
    """Both decoders on b/255, and what the covariance alone says of unit variance."""
    train, test = bench.images.train, bench.images.test
    shape = bench.images.image_shape
    found = spectrum(train)
    fixed = criterion_for("gaussian(sigma=1.0, link=sigmoid)", shape)
    shared = criterion_for("gaussian(sigma=shared, link=sigmoid)", shape)
    unit = fit(bench, train, fixed, QUICK if bench.quick else UNIT)
    learned = fit(bench, train, shared, QUICK if bench.quick else FULL)
    measured = measure(learned, test)
    return {
        "unit": measure(unit, test).objective,
        "linear": -linear_optimum(found, UNIT.latent, 1.0).log_likelihood(test),
        "collapsed": -linear_optimum(found, 0, 1.0).log_likelihood(test),
        "active": float((found.values > 1).sum()),
        "learned": measured.objective,
        "rate": measured.rate,
        "sigma": float(shared.heads(torch.zeros(1, *shape))["log_sigma"].detach().exp()),
    }


def remark(figures: Mapping[str, float]) -> str:
    """Why unit variance gives that number."""
    return (
        "Unit variance is the mean squared error without a weight. The number follows from the images' covariance "
        f"alone: {figures['active']:.0f} of its eigenvalues are above 1, and only along these does a code pay for "
        f"itself. No code at all costs {figures['collapsed']:.1f} nats, the best linear VAE {figures['linear']:.1f}. "
        f"Learned, sigma falls to {figures['sigma']:.3f} and the code carries {figures['rate']:.0f} nats. These are "
        "densities of bytes that were not dequantised: they may be compared with each other, not with masses or bits."
    )


EXPERIMENT = Experiment(
    name="sigma-vae",
    title="sigma-VAE: unit variance against one learned sigma",
    source="Rybkin, Daniilidis and Levine, ICML 2021, [arXiv 2006.13202](https://arxiv.org/abs/2006.13202), Table 3 "
    "(MNIST): -log p < 740.5 with unit variance, < -896.1 with one learned sigma.",
    setting=f"pixels b/255; unit variance: 784-400-20, {UNIT.epochs} epochs, Adam {UNIT.lr:g}, batch {UNIT.batch}; learned "
    f"sigma: 784-400-50, {FULL.epochs} epochs, learning rate {FULL.lr:g} falling along a cosine to {FULL.last:g}.",
    differs="dense nets where the paper's are convolutional (32-64-128, 20 codes); the bound of log sigma at -6 is theirs.",
    figures=(
        Figure(
            "unit",
            "unit variance, -ELBO, nats per image",
            "740.5",
            (Goal("within", 740.5, 7.5), Goal("at most", "collapsed", 1.0)),
            1,
        ),
        Figure("linear", "closed form: best linear VAE, unit variance", "", (Goal("within", 743.1, 0.1),), 1),
        Figure("collapsed", "closed form: no code, unit variance", "", (Goal("within", 746.9, 0.1),), 1),
        Figure("active", "eigenvalues of the covariance above 1", "", (Goal("within", 12, 0),), 0),
        Figure(
            "learned",
            "learned sigma, -ELBO, nats per image",
            "-896.1",
            (Goal("at most", -880), Goal("at most", "linear")),
            1,
        ),
        Figure("rate", "learned sigma, KL, nats per image", "", (), 1),
        Figure("sigma", "learned sigma", "", (), 4),
    ),
    run=run,
    remark=remark,
)
