"""Train one net under one criterion with the project's own loop, and measure it: what all experiments share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lossproof.catalogue import resolve
from lossproof.formula.errors import LossproofError
from lossproof.models import build
from lossproof.models.base import AutoEncoder
from lossproof.reproduce.bench import Bench
from lossproof.torch.criterion import Criterion
from lossproof.train.adam import Adam
from lossproof.train.arm import Arm
from lossproof.train.comparison import intra_op_threads, useful_threads
from lossproof.train.loop import Course, rate_per_image, train_epoch
from lossproof.train.measure import baseline, mean_image
from lossproof.train.member import Member
from lossproof.train.randomness import batch_order, generator, training_noise
from lossproof.train.settings import settle

CHUNK = 500  # images measured at a time


@dataclass(frozen=True)
class Plan:
    """A net of `lossproof.models` and how it is trained: Adam, learning rate `lr` or falling along a cosine to `last`."""

    model: str
    latent: int
    hidden: tuple[int, ...]
    epochs: int
    batch: int
    lr: float = 1e-3
    last: float | None = None  # the learning rate of the last epoch; None keeps it as it is

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1.

        >>> plan = Plan("vae", 2, (), 3, 16, lr=1e-2, last=1e-4)
        >>> [round(plan.rate(epoch), 6) for epoch in (1, 2, 3)]
        [0.01, 0.00505, 0.0001]
        """
        if self.last is None or self.epochs == 1:
            return self.lr
        done = (epoch - 1) / (self.epochs - 1)
        return self.last + (self.lr - self.last) * 0.5 * (1 + math.cos(math.pi * done))


class Measured(NamedTuple):
    """What a net makes of images, nats per image: reconstruction, rate (0 for an autoencoder) and their sum."""

    reconstruction: float
    rate: float

    @property
    def objective(self) -> float:
        """Reconstruction and rate together: the negative ELBO of a likelihood."""
        return self.reconstruction + self.rate


def fit(
    bench: Bench,
    train: npt.NDArray[np.float32],
    criterion: Criterion,
    plan: Plan,
    *,
    network: AutoEncoder | None = None,
    seed: int = 0,
) -> Member:
    """Train the plan's net, or a `network` given in its place, on images (n, c, h, w) and return it as a member.

    Raises `LossproofError` when a value stops being finite, with the place where it did.
    """
    shape = bench.images.image_shape
    if network is None:
        network = build(
            plan.model,
            shape,
            hidden=plan.hidden,
            latent=plan.latent,
            generator=generator(seed, "weights"),
            outputs=criterion.outputs,
        )
    learned = [*network.parameters(), *criterion.parameters.values()]
    member = Member(
        name=criterion.label,
        arm=Arm(criterion.label, lambda: criterion),
        seed=seed,
        beta=1.0,
        model=network,
        optimiser=Adam([{"params": learned}], plan.lr),
        criterion=criterion,
        checkpoint=Path(),  # never written
    )
    settings = settle(
        bench.images,
        model=plan.model,
        latent=plan.latent,
        hidden=plan.hidden,
        epochs=plan.epochs,
        batch_size=plan.batch,
        lr=plan.lr,
        beta=1.0,
        seeds=(seed,),
        device="cpu",
        threads=1,
    )
    images = torch.from_numpy(np.ascontiguousarray(train))
    with intra_op_threads(useful_threads(sum(one.numel() for one in learned), plan.batch)):
        for epoch in range(1, plan.epochs + 1):
            for group in member.optimiser.param_groups:
                group["lr"] = plan.rate(epoch)
            order = batch_order(seed, epoch, len(images))
            noise = training_noise(seed, epoch, len(images), plan.latent)
            train_epoch(member, epoch, Course(images, order, noise, settings))
            if member.event is not None:
                raise LossproofError(str(member.event["message"]))
            member.epoch = epoch
            bench.say(f"{criterion.label}: epoch {epoch} of {plan.epochs}, {member.seconds:.0f} s")
    return member


def measure(member: Member, images: npt.NDArray[np.float32], criterion: Criterion | None = None) -> Measured:
    """Mean reconstruction and rate over images (n, c, h, w), one code drawn for each; under another criterion if given.

    The draws depend on nothing but the number of images, so that two nets are measured with the same ones.
    """
    asked = member.criterion if criterion is None else criterion
    drawn = generator(0, "reproduce")
    totals = torch.zeros(2, dtype=torch.float64)
    member.model.eval()
    with torch.inference_mode():
        for part in torch.split(torch.from_numpy(np.ascontiguousarray(images)), CHUNK):
            raw, mean, logvar = member.model(
                part, torch.randn(len(part), member.model.latent, generator=drawn)
            )
            totals[0] += asked.values(part, raw).double().sum()
            if logvar is not None:
                totals[1] += rate_per_image(mean, logvar).double().sum()
    member.model.train()
    return Measured(*(totals / len(images)).tolist())


def floor(bench: Bench, loss: str) -> tuple[float, float]:
    """What a loss cannot go below on the test images, and what the mean training image costs: nats per image."""
    found = baseline(resolve(loss), {"test": bench.images.test}, mean_image(bench.images.train))
    return found.floors["test"], found.mean_image
