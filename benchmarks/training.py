"""What a member of a comparison costs beside a bare torch loop, and beside other libraries.

    python benchmarks/training.py                        a member against the bare loop, on images made here
    python benchmarks/training.py --data PATH            the same on real images
    python benchmarks/training.py --peers                also pythae, Keras 3 and a DataLoader loop

A, the member, is trained by `train_epoch`, which `compare` calls for every epoch: batch order, noise, the
objective, the backward pass, fused Adam, the look at whether all stayed finite and the copy of the state to go
back to if not. B, the bare loop, is below in `Bare` and `bare_epoch`. Both start from the same weights and see
the same batches and noise in one process, in turns: A B A B ... after an epoch each that is not counted; their
weights after that epoch say whether they did the same work. Times on a shared machine drift; the ratio of a
turn of A to the turn of B right after it drifts less, the more so the shorter the turns.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lossproof.data import Images, load
from lossproof.formula.errors import LossproofError
from lossproof.train.comparison import (
    choose_device,
    intra_op_threads,
    make_members,
    resolve_all,
    useful_threads,
)
from lossproof.train.loop import Course, clock, train_epoch
from lossproof.train.randomness import batch_order, training_noise
from lossproof.train.settings import DEFAULT_LOSSES, settle

LIMIT = 1.25  # what a member may cost, in bare loops
MODELS = ("784-400-20", "64-128-8")


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
    """A dense VAE pixels-hidden-latent and its batches."""

    pixels: int
    hidden: int
    latent: int
    batch: int

    @classmethod
    def parse(cls, text: str) -> Sizes:
        """From "784-400-20"; batches of 128, of 64 for images below 400 pixels, as `compare` has them."""
        try:
            pixels, hidden, latent = (int(part) for part in text.split("-"))
        except ValueError:
            raise LossproofError(
                f"--model: expected PIXELS-HIDDEN-LATENT as 784-400-20, got {text!r}."
            ) from None
        return cls(pixels, hidden, latent, 128 if pixels >= 400 else 64)

    def __str__(self) -> str:
        return f"{self.pixels}-{self.hidden}-{self.latent}"


class Bare(nn.Module):
    """The VAE as one writes it in twenty lines: flat images in, logits and the code's law out."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.pixels, sizes.hidden)
        self.fc2 = nn.Linear(sizes.hidden, 2 * sizes.latent)
        self.fc3 = nn.Linear(sizes.latent, sizes.hidden)
        self.fc4 = nn.Linear(sizes.hidden, sizes.pixels)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.fc2(F.relu(self.fc1(x))).chunk(2, dim=1)
        code = mean + noise * torch.exp(0.5 * logvar)
        return self.fc4(F.relu(self.fc3(code))), mean, logvar


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar - mean.pow(2) - logvar.exp()).sum()


def bare_epoch(loop: Loop, order: Tensor, noise: Tensor) -> None:
    """One epoch over flat in-memory images (n, pixels), shuffled by indexing."""
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
    """One measurement: which data and sizes, how many turns, how long a turn."""

    images: Images
    sizes: Sizes
    epochs: int  # a turn
    pairs: int
    device: str
    threads: int | None

    def settings(self) -> Any:
        return settle(
            self.images,
            model="vae",
            latent=self.sizes.latent,
            hidden=(self.sizes.hidden,),
            epochs=1 + self.epochs * self.pairs,
            batch_size=self.sizes.batch,
            lr=1e-3,
            beta=1.0,
            seeds=1,
            device=self.device,
            threads=torch.get_num_threads(),
        )


class Member:
    """A: a member as `compare` makes and trains it, without the measuring between epochs."""

    def __init__(self, plan: Plan, loss: str) -> None:
        self.settings = plan.settings()
        (self.member,) = make_members(resolve_all([loss], plan.images), plan.images, self.settings)
        self.images = torch.from_numpy(np.ascontiguousarray(plan.images.train)).to(plan.device)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.member.model.parameters())

    def epoch(self, number: int) -> None:
        count, device = len(self.images), self.images.device
        course = Course(
            self.images,
            batch_order(0, number, count).to(device),
            training_noise(0, number, count, self.settings.latent).to(device),
            self.settings,
        )
        train_epoch(self.member, number, course)
        if self.member.event is not None:
            raise LossproofError(self.member.event["message"])


class Loop:
    """B: the bare loop, from the weights of a member that is not trained yet."""

    def __init__(self, plan: Plan, loss: str, member: Member) -> None:
        self.images = member.images.flatten(1)
        self.size, self.latent, self.functional = plan.sizes.batch, plan.sizes.latent, FUNCTIONALS[loss]
        self.model = Bare(plan.sizes).to(plan.device)
        # the same four layers in the same order, under other names
        values = member.member.model.state_dict().values()
        self.model.load_state_dict(dict(zip(self.model.state_dict(), values, strict=True)))
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def epoch(self, number: int) -> None:
        count, device = len(self.images), self.images.device
        order = batch_order(0, number, count).to(device)
        noise = training_noise(0, number, count, self.latent).to(device)
        bare_epoch(self, order, noise)


def in_turns(
    a: Callable[[int], None], b: Callable[[int], None], plan: Plan
) -> tuple[list[float], list[float]]:
    """Seconds of an epoch, turn by turn: A B A B ..., each turn `epochs` long, from epoch 2 on."""
    device = torch.device(plan.device)
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(plan.pairs):
        for run, kept in zip((a, b), seconds, strict=True):
            started = clock(device)
            for epoch in range(plan.epochs):
                run(2 + turn * plan.epochs + epoch)
            kept.append((clock(device) - started) / plan.epochs)
    return seconds


def spread(numbers: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)}


def against_bare(name: str, seconds: Sequence[float], bare: Sequence[float]) -> dict[str, Any]:
    """A row of the result: both times and the ratio, pair by pair."""
    return {
        "name": name,
        "seconds": list(seconds),
        "bare_seconds": list(bare),
        "ratio": spread([one / other for one, other in zip(seconds, bare, strict=True)]),
    }


def measure(plan: Plan, loss: str) -> dict[str, Any]:
    """Train member and bare loop in turns, and see how far apart their weights are after the first epoch."""
    member = Member(plan, loss)
    threads = plan.threads or useful_threads(member.parameters, plan.sizes.batch)
    with intra_op_threads(threads):
        loop = Loop(plan, loss, member)
        member.epoch(1)
        loop.epoch(1)
        ours, theirs = (flat_weights(model) for model in (member.member.model, loop.model))
        seconds, bare = in_turns(member.epoch, loop.epoch, plan)
    return against_bare(loss, seconds, bare) | {
        "model": str(plan.sizes),
        "batch": plan.sizes.batch,
        "images": len(plan.images.train),
        "data": plan.images.name,
        "epochs": plan.epochs,
        "threads": threads,
        "weights_apart": float((ours - theirs).norm() / theirs.norm()),
    }


def flat_weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    found = {
        "cpu": name,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
    }
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)  # others at work on the machine show here
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text, first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for first, *others in (head, *rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def ratio(row: dict[str, Any]) -> str:
    return "{median:.3f} ({min:.3f} to {max:.3f})".format(**row["ratio"])


def milliseconds(numbers: Sequence[float]) -> str:
    return f"{1000 * statistics.median(numbers):.1f}"


def text(result: dict[str, Any]) -> str:
    """The result as it is printed."""
    here = result["machine"]
    lines = [
        f"{here['cpu']}, {here['cores']} cores, torch {here['torch']}, {here['threads']} threads by default, "
        f"Python {here['python']}, {here['device']}, load {here.get('load', 'unknown')}",
        "milliseconds of an epoch, medians; ratio to the bare loop pair by pair, median (least to largest)",
        "",
        table(
            ("model", "loss", "batch", "images", "threads", "member", "bare loop", "ratio", f"<= {LIMIT}"),
            [
                (
                    row["model"],
                    row["name"],
                    str(row["batch"]),
                    str(row["images"]),
                    str(row["threads"]),
                    milliseconds(row["seconds"]),
                    milliseconds(row["bare_seconds"]),
                    ratio(row),
                    "yes" if row["ratio"]["median"] <= LIMIT else "NO",
                )
                for row in result["members"]
            ],
        ),
    ]
    if result["peers"]:
        lines += ["", f"the same VAE, bce, {result['peers'][0]['model']}, in other libraries", ""]
        lines.append(
            table(
                ("library", "epoch", "bare loop", "ratio"),
                [
                    (row["name"], milliseconds(row["seconds"]), milliseconds(row["bare_seconds"]), ratio(row))
                    for row in result["peers"]
                    if "seconds" in row
                ],
            )
        )
        lines += [f"{row['name']}: {row['missing']}" for row in result["peers"] if "missing" in row]
    return "\n".join(lines)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The cost of a lossproof member beside a bare torch loop.")
    parser.add_argument("--data", default="synthetic", help="synthetic (default), or data for lossproof.load")
    parser.add_argument("--model", help=f"pixels-hidden-latent; default {' and '.join(MODELS)}")
    parser.add_argument("--losses", default=",".join(DEFAULT_LOSSES), help="of " + ",".join(FUNCTIONALS))
    parser.add_argument("--pairs", type=int, default=15, help="turns of each that count (15)")
    parser.add_argument("--epochs", type=int, help="epochs of a turn; default 1, 10 for small models")
    parser.add_argument(
        "--images", type=int, help="at most this many; default 6400 synthetic, 1437 small, all real ones"
    )
    parser.add_argument("--threads", type=int, help="torch threads of both; default as compare chooses them")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, mps or auto")
    parser.add_argument("--peers", action="store_true", help="also other libraries, where installed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    options = parser.parse_args(argv)
    options.losses = options.losses.split(",")
    if unknown := sorted(set(options.losses) - set(FUNCTIONALS)):
        parser.error(f"--losses: expected some of {','.join(FUNCTIONALS)}, got {','.join(unknown)}")
    if (
        min(n for n in (options.pairs, options.epochs, options.images, options.threads, 1) if n is not None)
        < 1
    ):
        parser.error("--pairs, --epochs, --images and --threads: expected at least 1")
    return options


def plans(options: argparse.Namespace) -> list[Plan]:
    """What is measured: the models asked for, on images of their size."""
    device = choose_device(options.device)
    real = None if options.data == "synthetic" else load(options.data)
    names = [options.model] if options.model else list(MODELS)
    if real is not None and not options.model:
        pixels = math.prod(real.train.shape[1:])
        names = [f"{pixels}-400-20" if pixels >= 400 else f"{pixels}-128-8"]
    found = []
    for sizes in map(Sizes.parse, names):
        images = real or synthetic(sizes.pixels, options.images or (6_400 if sizes.pixels >= 400 else 1_437))
        if (pixels := math.prod(images.train.shape[1:])) != sizes.pixels:
            raise LossproofError(
                f"--model: expected {pixels} pixels as in {images.name}, got {sizes.pixels}."
            )
        if options.images and options.images < len(images.train):
            images = replace(images, train=images.train[: options.images], train_labels=None)
        epochs = options.epochs or (1 if sizes.pixels >= 400 else 10)
        found.append(Plan(images, sizes, epochs, options.pairs, device, options.threads))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    try:
        planned = plans(options)
        result: dict[str, Any] = {
            "machine": machine(planned[0].device),
            "limit": LIMIT,
            "members": [measure(plan, loss) for plan in planned for loss in options.losses],
            "peers": [],
        }
        if options.peers:
            import peers

            result["peers"] = peers.measure_all(planned[0], sys.argv[1:] if argv is None else argv)
    except LossproofError as error:
        print(error, file=sys.stderr)
        return 2
    print(text(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
