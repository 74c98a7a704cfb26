"""What a step of twelve members side by side costs, in steps of one member; writes a section of docs/performance.md.

    python benchmarks/stack.py                     all models, as many threads as `compare` takes
    python benchmarks/stack.py --model 64-128-8 --threads 1 --rounds 5 --out page.md

Twelve members are four losses times three seeds. Three things take turns in one process: an epoch of the stack, an epoch
of one member of each loss by itself (a quarter of that is "one member"), and the matrix products of the stack's steps
alone, on its own tensors. `compare` calls the first two.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

import pages
from lossproof.train.comparison import intra_op_threads, make_members, resolve_all, useful_threads
from lossproof.train.lanes import at_once
from lossproof.train.loop import Course
from lossproof.train.settings import DEFAULT_LOSSES
from lossproof.train.stack import Stack
from lossproof.train.stack_choose import together
from products import Bound
from training import MODELS, Member, Plan, Sizes, flat_weights, images_of

NAME = "stack"
WAYS = ("whole", "stacked", "singles")
#: steps of one member that a step of twelve may cost
GOALS = {"784-400-20": 10.0, "64-128-8": 3.0, "conv-784-32-64-128-20": 10.0}
SEEDS = 3
STEPS = {"784-400-20": 25, "64-128-8": 100, "conv-784-32-64-128-20": 2}  # of an epoch


def measure_one(plan: Plan) -> dict[str, Any]:
    """Twelve members both ways, members by themselves and bare products in turns, after a turn that is not counted."""
    settings = plan.settings()
    ones = [Member(plan, loss) for loss in DEFAULT_LOSSES]
    threads = plan.threads or useful_threads(ones[0].parameters, plan.sizes.batch)

    def twelve() -> list[Any]:
        return make_members(resolve_all(list(DEFAULT_LOSSES), plan.images), plan.images, settings)

    beside, apart = twelve(), twelve()
    stacks, singles = together(beside, lanes=threads), [Stack([member]) for member in apart]
    whole = together(twelve())

    def courses(number: int) -> dict[int, Course]:
        return {seed: ones[0].course(number, seed) for seed in settings.seeds}

    def trained(some: list[Stack], number: int) -> None:
        drawn = courses(number)
        at_once([partial(stack.train, number, drawn.__getitem__) for stack in some], threads)
        for member in (member for stack in some for member in stack.members):
            assert member.event is None, member.event
            member.epoch = number

    def alone(number: int) -> None:
        for one in ones:
            one.epoch(number)

    with intra_op_threads(threads):
        for some in (stacks, singles, whole):
            trained(some, 1)
        alone(1)
        first = [m for m in beside if m.seed == settings.seeds[0]]
        ours = torch.cat([flat_weights(m.model) for m in first])
        theirs = torch.cat([flat_weights(one.member.model) for one in ones])
        drawn = courses(1)
        bounds = [Bound(stack, [drawn[seed] for seed in stack.seeds]) for stack in stacks]
        ways = {
            "whole": partial(trained, whole),
            "stacked": partial(trained, stacks),
            "singles": partial(trained, singles),
            "4 alone": alone,
            "products": lambda number: at_once([partial(bound.run, plan.steps) for bound in bounds], threads),
        }
        costs = pages.in_turns(ways, plan.rounds, first=2)
    return {
        "model": str(plan.sizes),
        "batch": plan.sizes.batch,
        "threads": threads,
        "steps": plan.steps,
        "weights_apart": float((ours - theirs).norm() / theirs.norm()),
        "costs": costs,
    }


def faster(row: dict[str, Any]) -> str:
    """The way that `compare` chooses, by its median on the wall."""
    return min(WAYS, key=lambda way: pages.median(row["costs"][way]).wall)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Every model and number of threads."""
    rows = []
    for model in given.model or MODELS:
        sizes = Sizes.parse(model)
        steps = 2 if given.quick else given.steps or STEPS.get(model, 25)
        images = images_of(sizes, sizes.batch * steps, None)
        for threads in [int(n) for n in given.threads.split(",")] if given.threads else [None]:
            plan = Plan(images, sizes, 2 if given.quick else given.rounds, threads, seeds=SEEDS)
            rows.append(measure_one(plan))
            print(
                f"{model}: {in_ones(rows[-1])} steps of one member (wall, CPU)", file=sys.stderr, flush=True
            )
    return {"rows": rows}


def in_ones(row: dict[str, Any]) -> pages.Cost:
    """Steps of one member that a step of the stack costs."""
    found = pages.ratio(row["costs"][faster(row)], row["costs"]["4 alone"])
    return pages.Cost(found.wall * len(DEFAULT_LOSSES), found.cpu * len(DEFAULT_LOSSES))


def section(found: dict[str, Any]) -> str:
    """The text between the markers."""
    rows = []
    for row in found["rows"]:
        costs = {name: pages.median(costs) for name, costs in row["costs"].items()}
        steps, one = row["steps"], len(DEFAULT_LOSSES) * row["steps"]
        ratio, over = in_ones(row), pages.ratio(row["costs"][faster(row)], row["costs"]["products"])
        least = pages.ratio(row["costs"]["products"], row["costs"]["4 alone"])
        goal = GOALS.get(row["model"])
        rows.append(
            [
                f"{row['model']}, {row['batch']}",
                row["threads"],
                f"{1e3 * costs['4 alone'].wall / one:.2f} ({1e3 * costs['4 alone'].cpu / one:.2f})",
                *(
                    f"{1e3 * costs[way].wall / steps:.2f} ({1e3 * costs[way].cpu / steps:.2f})"
                    for way in WAYS
                ),
                f"{ratio.wall:.2f} ({ratio.cpu:.2f})",
                "" if goal is None else pages.met(pages.judged(ratio, found), goal),
                f"{1e3 * costs['products'].wall / steps:.2f} ({1e3 * costs['products'].cpu / steps:.2f})",
                f"{over.wall:.2f} ({over.cpu:.2f})",
                f"{len(DEFAULT_LOSSES) * least.wall:.2f} ({len(DEFAULT_LOSSES) * least.cpu:.2f})",
            ]
        )
    head = ["model, batch", "threads", "one member, ms", "12 as one stack, ms", "stacked in lanes, ms"]
    head += [
        "singly in lanes, ms",
        "fastest, in steps of one",
        "goal",
        "products alone, ms",
        "fastest over products",
    ]
    head += ["products in steps of one"]
    apart = ", ".join(f"{row['model']} {row['weights_apart']:.1e}" for row in found["rows"])
    return "\n".join(
        [
            "## Members side by side",
            "",
            INTRODUCTION,
            "",
            pages.words(found),
            "",
            *pages.table(head, rows),
            "",
            f"Relative distance of the weights after the first epoch: {apart}.",
        ]
    )


INTRODUCTION = """Written by `benchmarks/stack.py` (`make bench-stack`). A training step on the wall (in brackets: CPU
time), medians of turns in one process: an epoch of one member of each loss by itself, with all threads, as `compare`
trains one (their mean); an epoch of 12 members (4 losses x 3 seeds) as one stack, all threads inside each operation;
of 12 in as many lanes as threads, each of which takes its part of them through all operations, stacked, or one after
the other; and their matrix products alone, in lanes. `compare` takes what is fastest after a few steps of each.
Ratios are taken turn by turn. A small member by itself has hand-written layers too, and takes about half the time of
a bare torch loop (see "One member"): the goal is in steps of that faster one. The last column is what no way can go
below: the nearer one member is to its own products, the nearer it comes to 12."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", action="append", help=f"default {', '.join(MODELS)}")
    made.add_argument("--threads", help="torch threads, as 1,2; as compare chooses them when left out")
    made.add_argument("--rounds", type=int, default=9, help="turns of each that count (9)")
    made.add_argument("--steps", type=int, help="steps of an epoch; by default 25, 100 for small models")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    return pages.run(NAME, measure, section, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
