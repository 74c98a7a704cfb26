"""What a member of a comparison costs beside a bare torch loop, and beside its matrix products alone.

    python benchmarks/training.py                        writes the section of docs/performance.md
    python benchmarks/training.py --model 64-128-8 --losses bce --threads 1 --data PATH

A, the member, is trained as `compare` trains it by itself: batch order, noise, all steps, the look at whether all stayed
finite and the copy of the state to go back to if not. B, the bare loop, is below in `Bare` and `bare_epoch`: torch tensors,
autograd and fused Adam, as one writes it. C are the matrix products of A's steps and nothing else. A and B start from the
same weights and see the same batches and noise in one process, in turns, after an epoch each that is not counted; their
weights after that epoch say whether they did the same work.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import pages
from lossproof.data import Images, load
from lossproof.formula.errors import LossproofError
from lossproof.train.comparison import intra_op_threads, make_members, resolve_all, useful_threads
from lossproof.train.loop import Course, draw
from lossproof.train.settings import DEFAULT_LOSSES, settle
from lossproof.train.stack import Stack
from lossproof.train.stack_choose import make_stacks
from products import Bound

NAME = "training"
WAYS = ("bare loop", "products")  # what a member is held against
GOALS = {
    ("784-400-20", "products"): 1.3,
    ("conv-784-32-64-128-20", "products"): 1.3,
}  # what it may cost in them
MODELS = ("784-400-20", "64-128-8", "conv-784-32-64-128-20")
STEPS = {"784-400-20": 100, "64-128-8": 230, "conv-784-32-64-128-20": 8}  # of a turn


def log_cosh(z: Tensor, y: Tensor) -> Tensor:
    """As one writes it by hand, torch having no such functional; |p - y| <= 1 cannot overflow."""
    return (z.sigmoid() - y).cosh().log().sum()


# what somebody without lossproof would call on (logits, images), summed over everything
FUNCTIONALS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="sum"),
    "mse": lambda z, y: F.mse_loss(z.sigmoid(), y, reduction="sum"),
    "mae": lambda z, y: F.l1_loss(z.sigmoid(), y, reduction="sum"),
    "logcosh": log_cosh,
}


@dataclass(frozen=True)
class Sizes:
    """A VAE pixels-hidden-...-latent, dense or convolutional, and its batches."""

    pixels: int
    hidden: tuple[int, ...]
    latent: int
    batch: int
    conv: bool = False

    @classmethod
    def parse(cls, text: str) -> Sizes:
        """From "784-400-20" or "conv-784-32-64-20"; batches of 128, of 64 below 400 pixels, as `compare` has them."""
        conv = text.startswith("conv-")
        try:
            pixels, *hidden, latent = (int(part) for part in text.removeprefix("conv-").split("-"))
        except ValueError:
            hidden = []
        if not hidden:
            raise LossproofError(
                f"--model: expected PIXELS-HIDDEN-LATENT as 784-400-20 or conv-784-32-64-20, got {text!r}."
            ) from None
        return cls(pixels, tuple(hidden), latent, 128 if pixels >= 400 else 64, conv)

    @property
    def side(self) -> int:
        """Rows and columns of an image."""
        return math.isqrt(self.pixels)

    @property
    def model(self) -> str:
        """What `compare` calls it."""
        return "conv-vae" if self.conv else "vae"

    def __str__(self) -> str:
        numbers = "-".join(str(n) for n in (self.pixels, *self.hidden, self.latent))
        return f"conv-{numbers}" if self.conv else numbers


class Bare(nn.Module):
    """The VAE as one writes it in twenty lines: images in, logits and the code's law out."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        widths = (sizes.pixels, *sizes.hidden)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        if sizes.conv:
            channels, sides = (1, *sizes.hidden), [sizes.side]
            for a, b in pairwise(channels):
                down += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()]
                sides.append(-(-sides[-1] // 2))
            features = channels[-1] * sides[-1] ** 2
            back = zip(channels[:0:-1], channels[-2::-1], sides[-2::-1], strict=True)
            for a, b, side in back:
                up += [nn.ReLU(), nn.ConvTranspose2d(a, b, 3, 2, padding=1, output_padding=1 - side % 2)]
            self.shape: tuple[int, ...] = (channels[-1], sides[-1], sides[-1])
            self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(features, 2 * sizes.latent))
            self.decoder = nn.Sequential(nn.Linear(sizes.latent, features), nn.Unflatten(1, self.shape), *up)
            return
        for a, b in pairwise(widths):
            down += [nn.Linear(a, b), nn.ReLU()]
            up = [nn.ReLU(), nn.Linear(b, a), *up]
        self.encoder = nn.Sequential(*down, nn.Linear(widths[-1], 2 * sizes.latent))
        self.decoder = nn.Sequential(nn.Linear(sizes.latent, widths[-1]), *up)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encoder(x).chunk(2, dim=1)
        code = mean + noise * torch.exp(0.5 * logvar)
        return self.decoder(code), mean, logvar


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar - mean.pow(2) - logvar.exp()).sum()


def bare_epoch(loop: Loop, order: Tensor, noise: Tensor) -> None:
    """One epoch over in-memory images, (n, pixels) or (n, 1, h, w), shuffled by indexing."""
    for start in range(0, len(order), loop.size):
        x = loop.images[order[start : start + loop.size]]
        logits, mean, logvar = loop.model(x, noise[start : start + loop.size])
        objective = (loop.functional(logits, x) + kl(mean, logvar)) / len(x)
        loop.optimiser.zero_grad()
        objective.backward()
        loop.optimiser.step()


def synthetic(pixels: int, count: int, seed: int = 0) -> Images:
    """Square images like MNIST's: smooth bright patches on black, some 20 % of the pixels lit, 256 levels."""
    side = math.isqrt(pixels)
    if side * side != pixels or side < 4:
        raise LossproofError(f"--model: expected a square number of pixels of at least 16, got {pixels}.")
    draw = np.random.default_rng(seed)
    coarse = torch.from_numpy(draw.standard_normal((count, 1, 4, 4), dtype=np.float32))
    smooth = F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True)
    grey = ((smooth - 0.5).clamp(0, 1) * 255).round() / 255
    array = grey.numpy()
    return Images(
        name=f"synthetic-{side}x{side}",
        train=array,
        test=array[: max(2, count // 10)],
        train_labels=None,
        test_labels=None,
        source=f"benchmarks/training.py, seed {seed}",
        scaling="drawn in [0, 1]",
        levels=256,
        notes=(),
    )


@dataclass(frozen=True)
class Plan:
    """One measurement: which data and sizes, how many turns, with how many threads (None: as `compare` has them)."""

    images: Images
    sizes: Sizes
    rounds: int
    threads: int | None = None
    seeds: int = 1

    def settings(self, epochs: int | None = None) -> Any:
        return settle(
            self.images,
            model=self.sizes.model,
            latent=self.sizes.latent,
            hidden=self.sizes.hidden,
            epochs=epochs or 2 + self.rounds,
            batch_size=self.sizes.batch,
            lr=1e-3,
            beta=1.0,
            seeds=self.seeds,
            device="cpu",
            threads=torch.get_num_threads(),
        )

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return math.ceil(len(self.images.train) / self.sizes.batch)


class Member:
    """A: a member as `compare` makes and trains it by itself, without the measuring between epochs."""

    def __init__(self, plan: Plan, loss: str) -> None:
        self.settings = replace(plan.settings(), seeds=(0,))
        (self.member,) = make_members(resolve_all([loss], plan.images), plan.images, self.settings)
        self.images = torch.from_numpy(np.ascontiguousarray(plan.images.train))
        self.stack: Stack
        (self.stack,) = make_stacks([self.member], self.settings)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.member.model.parameters())

    def course(self, number: int, seed: int = 0) -> Course:
        return draw(self.images, self.settings, number, seed)

    def epoch(self, number: int) -> None:
        self.member.epoch = number - 1
        self.stack.train(number, lambda seed: self.course(number))
        if self.member.event is not None:
            raise LossproofError(self.member.event["message"])


class Loop:
    """B: the bare loop, from the weights of a member that is not trained yet."""

    def __init__(self, plan: Plan, loss: str, member: Member) -> None:
        self.images = member.images if plan.sizes.conv else member.images.flatten(1)
        self.size, self.functional = plan.sizes.batch, FUNCTIONALS[loss]
        self.member, self.model = member, Bare(plan.sizes)
        # the same layers in the same order, under other names
        values = member.member.model.state_dict().values()
        self.model.load_state_dict(dict(zip(self.model.state_dict(), values, strict=True)))
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def epoch(self, number: int) -> None:
        course = self.member.course(number)
        bare_epoch(self, course.order, course.noise)


def flat_weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def measure_one(plan: Plan, loss: str) -> dict[str, Any]:
    """Member, bare loop and products in turns, and how far apart the weights of the first two are after an epoch."""
    member = Member(plan, loss)
    threads = plan.threads or useful_threads(member.parameters, plan.sizes.batch)
    with intra_op_threads(threads):
        loop = Loop(plan, loss, member)
        member.epoch(1)
        loop.epoch(1)
        ours, theirs = (flat_weights(model) for model in (member.member.model, loop.model))
        again = Member(plan, loss)
        bound = Bound(again.stack, [again.course(1)])
        ways = {
            "member": member.epoch,
            "bare loop": loop.epoch,
            "products": lambda number: bound.run(plan.steps),
        }
        costs = pages.in_turns(ways, plan.rounds, first=2)
    return {
        "model": str(plan.sizes),
        "loss": loss,
        "batch": plan.sizes.batch,
        "steps": plan.steps,
        "data": plan.images.name,
        "threads": threads,
        "flops": bound.flops,
        "weights_apart": float((ours - theirs).norm() / theirs.norm()),
        "costs": costs,
    }


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Every model, loss and number of threads."""
    losses = given.losses.split(",")
    if unknown := [loss for loss in losses if loss not in FUNCTIONALS]:
        raise LossproofError(f"--losses: expected some of {','.join(FUNCTIONALS)}, got {','.join(unknown)}.")
    found = []
    for model in given.model or MODELS:
        sizes = Sizes.parse(model)
        steps = 2 if given.quick else given.steps or STEPS.get(model, 50)
        images = images_of(sizes, sizes.batch * steps, given.data)
        threads = [int(n) for n in given.threads.split(",")] if given.threads else [None]
        for count in threads:
            for loss in losses:
                plan = Plan(images, sizes, 2 if given.quick else given.rounds, count)
                found.append(measure_one(plan, loss))
                one = pages.ratio(found[-1]["costs"]["member"], found[-1]["costs"]["products"])
                print(
                    f"{model} {loss}: {one.wall:.2f} products (cpu {one.cpu:.2f})",
                    file=sys.stderr,
                    flush=True,
                )
    return {"rows": found}


def images_of(sizes: Sizes, count: int, data: str | None) -> Images:
    """So many images: those that were asked for, or made here."""
    images = load(data) if data else synthetic(sizes.pixels, count)
    if (pixels := math.prod(images.train.shape[1:])) != sizes.pixels:
        raise LossproofError(f"--model: expected {pixels} pixels as in {images.name}, got {sizes.pixels}.")
    return replace(images, train=images.train[:count], train_labels=None)


def section(found: dict[str, Any]) -> str:
    """The text between the markers."""
    rows = []
    for row in found["rows"]:
        costs = {name: pages.median(costs) for name, costs in row["costs"].items()}
        ratios = {name: pages.ratio(row["costs"]["member"], row["costs"][name]) for name in WAYS}
        cells = [f"{1e3 * costs[name].wall / row['steps']:.2f}" for name in costs]
        rows.append(
            [
                f"{row['model']}, {row['batch']}",
                row["loss"],
                row["threads"],
                *cells,
                *(f"{r.wall:.2f} ({r.cpu:.2f})" for r in ratios.values()),
                " ".join(
                    pages.met(pages.judged(ratios[name], found), GOALS[row["model"], name])
                    for name in WAYS
                    if (row["model"], name) in GOALS
                ),
            ]
        )
    head = ["model, batch", "loss", "threads", "member", "bare loop", "products alone", "in bare loops"]
    head += ["in products", "goal"]
    apart: dict[str, float] = {}
    for row in found["rows"]:
        apart[row["loss"]] = max(apart.get(row["loss"], 0.0), row["weights_apart"])
    distances = ", ".join(f"{loss} {distance:.1e}" for loss, distance in apart.items())
    rates: dict[int, list[float]] = {row["threads"]: [] for row in found["rows"]}
    for row in found["rows"]:
        rates[row["threads"]].append(
            row["flops"] * row["steps"] / pages.median(row["costs"]["products"]).wall / 1e9
        )
    speed = "; ".join(
        f"{min(part):.0f} to {max(part):.0f} GFLOP/s with {count} thread{'s' * (count > 1)}"
        for count, part in rates.items()
    )
    return "\n".join(
        [
            "## One member beside a bare torch loop, and beside its matrix products",
            "",
            INTRODUCTION,
            "",
            pages.words(found),
            "",
            *pages.table(head, rows, left=2),
            "",
            f"Products: {speed}. Largest relative distance of the weights of member and bare loop after an epoch: "
            f"{distances}. (Log-cosh by hand loses its gradient's digits where the sigmoid saturates; Adam divides by the "
            "gradient's own size.)",
        ]
    )


INTRODUCTION = """Written by `benchmarks/training.py` (`make bench`). Milliseconds of a training step on the wall,
medians of rounds in which each takes its turn in one process; ratios are taken within a round, in brackets those of
CPU time. The member is trained as `compare` trains it by itself; the bare loop is torch tensors, autograd and fused
Adam; the products are the member's matrix products and nothing else (of a convolution: its windows laid out, times
the weights)."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", help="data for lossproof.load; images made here when left out")
    made.add_argument("--model", action="append", help=f"default {', '.join(MODELS)}")
    made.add_argument("--losses", default=",".join(DEFAULT_LOSSES), help="of " + ",".join(FUNCTIONALS))
    made.add_argument("--rounds", type=int, default=9, help="turns of each that count (9)")
    made.add_argument("--steps", type=int, help="of a turn; a tenth of a second or more by default")
    made.add_argument("--threads", help="torch threads, as 1,2; as compare chooses them when left out")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    return pages.run(NAME, measure, section, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
