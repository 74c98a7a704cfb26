"""The VAE of pytorch/examples: 784-400-20 under BCE."""

from __future__ import annotations

from collections.abc import Mapping

from lossproof.reproduce.bench import Bench
from lossproof.reproduce.fit import Plan, fit, floor, measure
from lossproof.reproduce.record import Experiment, Figure, Goal
from lossproof.torch.criterion import criterion

FULL = Plan("vae", 20, (400,), 10, 128)
QUICK = Plan("vae", 8, (64,), 15, 32)


def run(bench: Bench) -> dict[str, float]:
    """Train as the example does; the loss of the test images and what no net can go below."""
    member = fit(bench, bench.images.train, criterion("bce"), QUICK if bench.quick else FULL)
    found = measure(member, bench.images.test)
    lowest, mean = floor(bench, "bce")
    return {"loss": found.objective, "rate": found.rate, "floor": lowest, "mean_image": mean}


def remark(figures: Mapping[str, float]) -> str:
    """Where the loss goes."""
    excess = figures["loss"] - figures["floor"] - figures["rate"]
    return (
        f"Of the {figures['loss']:.2f} nats, {figures['floor']:.2f} are the floor, which a perfect reconstruction pays "
        f"too, {figures['rate']:.2f} are the rate and {excess:.2f} are what the pictures are off."
    )


EXPERIMENT = Experiment(
    name="pytorch-vae",
    title="VAE of pytorch/examples: 784-400-20 under BCE",
    source="[pytorch/examples, vae](https://github.com/pytorch/examples/tree/main/vae); test loss after epoch 7 as "
    "printed in [pull request 1416](https://github.com/pytorch/examples/pull/1416).",
    setting=f"pixels b/255, BCE summed over pixels + KL, Adam {FULL.lr:g}, batch {FULL.batch}, {FULL.epochs} epochs.",
    differs="nothing but the random numbers and three more epochs.",
    figures=(
        Figure(
            "loss",
            "BCE + KL, nats per image",
            "106.66",
            (Goal("at most", 106.66), Goal("at least", "floor"), Goal("at most", "mean_image")),
        ),
        Figure("rate", "KL, nats per image"),
        Figure("floor", "floor of BCE, nats per image", "", (Goal("within", 45.534, 1e-3),), 3),
        Figure("mean_image", "BCE of the mean training image, nats per image"),
    ),
    run=run,
    remark=remark,
)
