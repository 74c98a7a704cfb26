"""A linear VAE with a learned variance against the closed form of its optimum (probabilistic PCA)."""

from __future__ import annotations

from lossproof.reproduce.bench import Bench
from lossproof.reproduce.closed import linear_optimum, projection_error, spectrum
from lossproof.reproduce.fit import Plan, fit, measure
from lossproof.reproduce.record import Experiment, Figure, Goal
from lossproof.torch.decoders import criterion_for

FULL = Plan("vae", 20, (), 40, 128, lr=1e-2, last=1e-5)
QUICK = Plan("vae", 4, (), 40, 64, lr=3e-2, last=1e-4)
COMPONENTS = 30


def run(bench: Bench) -> dict[str, float]:
    """Closed forms first, then the training that should arrive there."""
    plan = QUICK if bench.quick else FULL
    train, test = bench.images.train, bench.images.test
    found = spectrum(train)
    best = linear_optimum(found, plan.latent)
    member = fit(bench, train, criterion_for("gaussian(sigma=shared)", bench.images.image_shape), plan)
    return {
        "closed_train": best.log_likelihood(train),
        "closed_test": best.log_likelihood(test),
        "variance": best.variance,
        "elbo_train": -measure(member, train).objective,
        "elbo_test": -measure(member, test).objective,
        "pca": projection_error(found, test, COMPONENTS),
    }


EXPERIMENT = Experiment(
    name="linear-vae",
    title="Linear VAE with a learned variance: the closed-form optimum",
    source="Lucas, Tucker, Grosse and Norouzi, NeurIPS 2019, [arXiv 1911.02469](https://arxiv.org/abs/1911.02469), "
    "Theorem 1: the ELBO of a linear VAE has no other maximum than probabilistic PCA (Tipping and Bishop 1999, "
    "[DOI 10.1111/1467-9868.00196](https://doi.org/10.1111/1467-9868.00196)), whose likelihood is a closed form. PCA's "
    "error: Hinton and Salakhutdinov, Science 2006, [DOI 10.1126/science.1127647]"
    "(https://doi.org/10.1126/science.1127647).",
    setting="pixels b/255, 20 codes, encoder and decoder one linear layer each, Gaussian decoder with one learned "
    f"variance; Adam, batch {FULL.batch}, {FULL.epochs} epochs, learning rate {FULL.lr:g} falling along a cosine to "
    f"{FULL.last:g}; codes drawn, not averaged out.",
    differs="the encoder's variances are a linear function of the image, which contains the paper's constant ones. "
    "The paper states the theorem and no figure for MNIST; the printed numbers are its closed form, worked out "
    "beforehand by another program.",
    figures=(
        Figure(
            "closed_train",
            "closed form, training images, nats per image",
            "299.758",
            (Goal("within", 299.758, 1e-3),),
            3,
        ),
        Figure("elbo_train", "trained, training images, ELBO", "", (Goal("within", "closed_train", 0.5),), 3),
        Figure("closed_test", "closed form, test images", "306.549", (Goal("within", 306.549, 1e-3),), 3),
        Figure("elbo_test", "trained, test images, ELBO", "", (Goal("within", "closed_test", 0.5),), 3),
        Figure("variance", "closed form, variance", "0.0245971", (Goal("within", 0.0245971, 1e-7),), 7),
        Figure(
            "pca",
            f"{COMPONENTS} principal components, squared error per image",
            "13.87",
            (Goal("within", 13.866, 1e-3),),
            3,
        ),
    ),
    run=run,
)
