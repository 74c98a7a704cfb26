"""Which members stack, and whether stacking pays on this machine: measured on the run's own batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lossproof.formula.errors import LossproofError, nearest
from lossproof.train.loop import Course, clock, descend, draw, forward, sample
from lossproof.train.member import Member
from lossproof.train.settings import Settings
from lossproof.train.stack import Stack

STACK = ("auto", "on", "off")
STEPS, ROUNDS = 4, 3  # steps in a turn of each, and turns; the fastest turn counts
WORTH = 20  # a run of fewer times as many steps as measuring takes is trained one by one
PATIENCE = 3.0  # seconds after which no further turn is begun


def make_stacks(members: Sequence[Member]) -> list[Stack]:
    """Stacks of the members that can be stacked: same layers, same settings of Adam. They hold their weights from now on."""
    groups: dict[tuple[Any, ...], list[Member]] = {}
    for member in members:
        layers = tuple((name, tuple(value.shape)) for name, value in member.model.named_parameters())
        settings = member.optimiser.param_groups[0]
        adam = tuple(settings[key] for key in ("lr", "betas", "eps", "weight_decay"))
        groups.setdefault((type(member.model), layers, adam), []).append(member)
    stacks = []
    for group in groups.values():
        seeds = list(dict.fromkeys(member.seed for member in group))
        if [member.seed for member in group] != seeds * (len(group) // len(seeds)):
            continue  # not every kind with every seed: their batches cannot be laid out side by side
        stack = Stack(group)
        if stack.network is None:
            stack.release()
        else:
            stacks.append(stack)
    return stacks


def choose(
    asked: str,
    members: Sequence[Member],
    images: Tensor,
    settings: Settings,
    *,
    threads: Sequence[int],
) -> tuple[dict[str, Any], int]:
    """What config.json says of the stack, and the number of threads to train with.

    `asked` is auto, on or off. auto takes a few steps of the run both ways, the stacked ones with each of the numbers
    of `threads` (the others with the first), and keeps the fastest; the members are as they were afterwards. A short
    run is not worth measuring: it is trained one by one.
    Raises `LossproofError` for another word, and where nothing can be stacked though it was asked for.
    """
    if asked not in STACK:
        raise LossproofError(
            f"stack: expected one of {', '.join(STACK)}, got {asked!r}; {nearest(asked, STACK)}"
        )
    if asked == "off":
        return {"asked": asked, "used": "off"}, threads[0]
    steps = settings.epochs * math.ceil(len(images) / settings.batch_size)
    if asked == "auto" and steps < WORTH * STEPS * (1 + ROUNDS):
        return {"asked": asked, "used": "off", "reason": f"{steps} steps are too few to measure"}, threads[0]
    kept = [member.state() for member in members]
    stacks = make_stacks(members)
    try:
        if not stacks:
            kind = type(members[0].model).__name__
            if asked == "on":
                raise LossproofError(
                    f"stack: expected a model whose members can be stacked, got {settings.model} ({kind}). "
                    "Use --stack auto or off."
                )
            return {"asked": asked, "used": "off", "reason": f"no stacked layers for {kind}"}, threads[0]
        if asked == "on":
            return {"asked": asked, "used": "on"}, threads[-1]
        seconds = measure(members, stacks, images, settings, threads)
    finally:
        for stack in stacks:
            stack.release()
        for member, state in zip(members, kept, strict=True):
            member.restore(state)
    fastest = min(seconds, key=lambda way: seconds[way])
    told = {
        "asked": asked,
        "used": fastest[0],
        "milliseconds_a_step": [
            {"stack": way, "threads": count, "all_members": round(1e3 * spent, 3)}
            for (way, count), spent in seconds.items()
        ],
    }
    return told, fastest[1]


def resumed(asked: str, config: dict[str, Any]) -> str:
    """Whether a run that is gone on with is stacked: as it was begun. Raises `LossproofError` where the other is asked for.

    >>> resumed("auto", {"stack": {"asked": "auto", "used": "on"}}), resumed("off", {})
    ('on', 'off')
    """
    used = str(config.get("stack", {}).get("used", "off"))
    if asked not in ("auto", used):
        raise LossproofError(
            f"resume: expected stack auto or {used}, as the run was begun, got {asked!r}. "
            "Give one of them, or a new --out."
        )
    return used


def measure(
    members: Sequence[Member],
    stacks: Sequence[Stack],
    images: Tensor,
    settings: Settings,
    threads: Sequence[int],
) -> dict[tuple[str, int], float]:
    """Seconds of a step of all members, by ("off" or "on", threads), in turns; the members go on from turn to turn."""
    courses = {seed: draw(images, settings, 1, seed) for seed in settings.seeds}
    for member in members:
        member.criterion.begin(1, partial(sample, member, courses[member.seed]))
    labels = [member.label for member in members]
    # what differs in cost from member to member is the criterion
    some = [members[labels.index(label)] for label in dict.fromkeys(labels)]
    steps = min(STEPS, math.ceil(len(images) / settings.batch_size))

    def off() -> float:
        started = clock(images.device)
        for member in some:
            alone(member, courses[member.seed], steps)
        return (clock(images.device) - started) * len(members) / len(some)

    def on() -> float:
        started = clock(images.device)
        for stack in stacks:
            stack.run([courses[seed] for seed in stack.seeds], range(len(stack.members)), steps)
        return clock(images.device) - started

    ways: dict[tuple[str, int], Callable[[], float]] = {("off", threads[0]): off}
    ways |= {("on", count): on for count in dict.fromkeys(threads)}
    before, found = torch.get_num_threads(), dict.fromkeys(ways, math.inf)
    ends = time.monotonic() + PATIENCE
    try:
        for turn in range(1 + ROUNDS):
            for way, work in ways.items():
                torch.set_num_threads(way[1])
                passed = work() / steps
                if turn > 0:  # the first one fills caches and buffers
                    found[way] = min(found[way], passed)
            if turn > 0 and time.monotonic() > ends:
                break
    finally:
        torch.set_num_threads(before)
    return found


def alone(member: Member, course: Course, steps: int) -> None:
    """The first steps of an epoch as a member takes them by itself."""
    for _, (indices, noise) in zip(range(steps), course.batches(), strict=False):
        descend(member, forward(member, course.images.index_select(0, indices), noise))


__all__ = ["STACK", "choose", "make_stacks", "resumed"]
