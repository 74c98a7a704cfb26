"""What a step of twelve members side by side costs, in steps of one member; writes a section of docs/performance.md.

    python benchmarks/stack.py                     both models, one thread and all of them
    python benchmarks/stack.py --model 64-128-8 --threads 1 --pairs 5 --out /tmp/page.md

Twelve members are four losses times three seeds. Three things are timed in turns, in one process: an epoch of the
stack (`Stack.train`), an epoch of one member of each loss by itself (`train_epoch`; their mean is "one member"), and
the matrix products of the twelve members' steps alone, on tensors of the same sizes. `compare` calls the first two.
The ratio is taken turn by turn; its median stands in the page. On a busy machine wall time says little: a thread
waits for its turn. CPU time leaves the waiting out, though not the caches that others have emptied meanwhile.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossproof.train.comparison import intra_op_threads, make_members, resolve_all
from lossproof.train.loop import Course, draw, train_epoch
from lossproof.train.member import Member
from lossproof.train.settings import DEFAULT_LOSSES, settle
from lossproof.train.stack import Stack
from training import MODELS, Sizes, flat_weights, machine, synthetic

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
START, END = "<!-- stack -->", "<!-- /stack -->"
GOALS = {"784-400-20": 10.0, "64-128-8": 3.0}  # steps of one member that a step of twelve may cost
SEEDS = 3
STEPS = {"784-400-20": 25, "64-128-8": 100}  # of an epoch; MNIST has 469, digits 23


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a step."""

    wall: float
    cpu: float

    def __truediv__(self, other: Cost) -> Cost:
        return Cost(self.wall / other.wall, self.cpu / other.cpu)


@dataclass
class Row:
    """One model with one number of threads: what each turn cost."""

    model: str
    batch: int
    threads: int
    apart: (
        float  # |weights stacked - weights one by one| / |weights|, of the first seed after the first epoch
    )
    one: list[Cost] = field(default_factory=list)
    stacked: list[Cost] = field(default_factory=list)
    products: list[Cost] = field(default_factory=list)

    @property
    def ratio(self) -> Cost:
        """Steps of one member that a step of the stack costs: median over the turns."""
        return middle([a / b for a, b in zip(self.stacked, self.one, strict=True)])


def middle(costs: Sequence[Cost]) -> Cost:
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


def timed(work: Callable[[], object], steps: int) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(1e3 * (time.perf_counter() - wall) / steps, 1e3 * (time.process_time() - cpu) / steps)


class Products:
    """The matrix products of a step of all members, forward and back; nothing else."""

    def __init__(self, sizes: Sizes, members: int) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []
        n, hidden, latent = sizes.batch, sizes.hidden, sizes.latent
        chain = [sizes.pixels, hidden, 2 * latent], [latent, hidden, sizes.pixels]
        for place, (into, out) in enumerate(pair for widths in chain for pair in pairwise(widths)):
            a, w, g = (torch.rand(members, *shape) for shape in ((n, into), (out, into), (n, out)))
            self.calls += [(a, w.mT, torch.empty_like(g)), (g.mT, a, torch.empty_like(w))]
            if place > 0:  # the images need no gradient
                self.calls.append((g, w, torch.empty_like(a)))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            for a, b, out in self.calls:
                torch.bmm(a, b, out=out)


def measure(model: str, threads: int, pairs: int, steps: int) -> Row:
    """Stack, members by themselves and bare products in turns, after a turn that is not counted."""
    sizes = Sizes.parse(model)
    images = synthetic(sizes.pixels, sizes.batch * steps)
    settings = settle(
        images,
        model="vae",
        latent=sizes.latent,
        hidden=(sizes.hidden,),
        epochs=1 + pairs,
        batch_size=sizes.batch,
        lr=1e-3,
        beta=1.0,
        seeds=SEEDS,
        device="cpu",
        threads=threads,
    )  # fmt: skip
    arms = resolve_all(list(DEFAULT_LOSSES), images)
    pixels = torch.from_numpy(np.ascontiguousarray(images.train))
    stack = Stack(make_members(arms, images, settings))
    ones = [member for member in make_members(arms, images, settings) if member.seed == settings.seeds[0]]
    beside = [member for member in stack.members if member.seed == settings.seeds[0]]
    products = Products(sizes, len(stack.members))
    with intra_op_threads(threads):
        row = Row(model, sizes.batch, threads, 0.0)
        for epoch in range(1, 2 + pairs):
            courses = {seed: draw(pixels, settings, epoch, seed) for seed in settings.seeds}
            row.stacked.append(timed(lambda: side_by_side(stack, epoch, courses), steps))  # noqa: B023 - called at once
            alone = [timed(lambda: by_itself(one, epoch, courses), steps) for one in ones]  # noqa: B023
            row.one.append(
                Cost(
                    *(statistics.fmean(part) for part in zip(*((c.wall, c.cpu) for c in alone), strict=True))
                )
            )
            few = max(1, steps // 5)
            row.products.append(timed(lambda: products.run(few), few))  # noqa: B023
            if epoch == 1:
                ours, theirs = (torch.cat([flat_weights(m.model) for m in group]) for group in (beside, ones))
                row.apart = float((ours - theirs).norm() / theirs.norm())
    for costs in (row.stacked, row.one, row.products):
        del costs[0]
    return row


def side_by_side(stack: Stack, epoch: int, courses: dict[int, Course]) -> None:
    stack.train(epoch, courses.__getitem__)
    for member in stack.members:
        after(member, epoch)


def by_itself(member: Member, epoch: int, courses: dict[int, Course]) -> None:
    train_epoch(member, epoch, courses[member.seed])
    after(member, epoch)


def after(member: Member, epoch: int) -> None:
    if member.event is not None:
        raise SystemExit(member.event["message"])
    member.epoch = epoch


def section(rows: Sequence[Row], pairs: int, before: float) -> str:
    """The text between the markers."""
    head = (
        "| model, batch | threads | | one member | 12 stacked | in steps of one | goal "
        "| products alone | stacked over products |"
    )
    lines = [
        START,
        "## Members side by side",
        "",
        INTRODUCTION.format(pairs=pairs, machine=words(before)),
        "",
        head,
    ]
    lines.append("|---|---:|---|---:|---:|---:|---|---:|---:|")
    for row in rows:
        one, stacked, products = middle(row.one), middle(row.stacked), middle(row.products)
        over = middle([a / b for a, b in zip(row.stacked, row.products, strict=True)])
        goal = GOALS.get(row.model)
        for kind in ("cpu", "wall"):
            value = getattr(row.ratio, kind)
            met = "" if goal is None else f"<= {goal:g}: {'yes' if value <= goal else 'no'}"
            lines.append(
                f"| {row.model}, {row.batch} | {row.threads} | {kind} | {getattr(one, kind):.2f} | "
                f"{getattr(stacked, kind):.2f} | {value:.2f} | {met} | {getattr(products, kind):.2f} | "
                f"{getattr(over, kind):.2f} |"
            )
    apart = ", ".join(f"{row.model} {row.apart:.1e}" for row in {row.model: row for row in rows}.values())
    return "\n".join(
        [*lines, "", f"Relative distance of the weights after the first epoch: {apart}.", END, ""]
    )


INTRODUCTION = """Written by `benchmarks/stack.py` (`make bench-stack`). Milliseconds of a training step, medians of {pairs}
turns in one process: an epoch of 12 members (4 losses x 3 seeds) as one stack, an epoch of one member of each loss by
itself (their mean), and the 12 members' matrix products alone. The ratios are taken turn by turn. CPU time is that
of all threads; wall time includes waiting for other processes.

Machine: {machine}."""


def words(before: float) -> str:
    """The processor, and how busy it was."""
    found: dict[str, Any] = machine("cpu")
    return (
        f"{found['cpu']}, {found['cores']} cores, torch {found['torch']}, Python {found['python']}; "
        f"load {before:.1f} before, {found.get('load', float('nan')):.1f} at the end"
    )


def write_section(text: str, path: Path, start: str = START, end: str = END) -> None:
    """Put the section between its markers, whatever else is in the file."""
    old = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    if start in old and end in old:
        before, rest = old.split(start, 1)
        later = rest.split(end, 1)[1].lstrip("\n")
        new = before + text + ("\n" + later if later else "")
    else:
        new = old.rstrip("\n") + "\n\n" + text
    temporary = path.with_suffix(".tmp")
    temporary.write_text(new, encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", help=f"pixels-hidden-latent; default {' and '.join(MODELS)}"
    )
    parser.add_argument("--threads", help="numbers of threads, as 1,2; default 1 and all", default="")
    parser.add_argument("--pairs", type=int, default=9, help="turns that count (9)")
    parser.add_argument("--steps", type=int, help="steps of an epoch; default 25, 100 for small models")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    threads = [int(n) for n in given.threads.split(",") if n] or sorted({1, torch.get_num_threads()})
    before = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    rows = []
    for model in given.model or MODELS:
        for count in threads:
            row = measure(model, count, given.pairs, given.steps or STEPS.get(model, 50))
            print(
                f"{model}, {count} threads: a step of 12 stacked costs {row.ratio.cpu:.2f} steps of one in CPU "
                f"time, {row.ratio.wall:.2f} in wall time",
                flush=True,
            )
            rows.append(row)
    write_section(section(rows, given.pairs, before), given.out)
    print(f"stack: wrote {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
