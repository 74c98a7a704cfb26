"""Which members stack, and whether stacking pays on this machine: measured on the run's own batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lossproof.formula.errors import LossproofError, nearest
from lossproof.models.dense import Dense
from lossproof.train.feed import Pixels, Streamed
from lossproof.train.lanes import at_once, shares
from lossproof.train.loop import Course, clock, descend, draw, forward, sample
from lossproof.train.member import Member
from lossproof.train.settings import Settings
from lossproof.train.stack import Stack
from lossproof.train.stack_layers import Buffers
from lossproof.train.stack_network import network

STACK = ("auto", "on", "off")
STEPS, ROUNDS = 4, 3  # steps in a turn of each, and turns; the fastest turn counts
WORTH = 20  # a run of fewer times as many steps as measuring takes is trained one by one
PATIENCE = 3.0  # seconds after which no further turn is begun


class Way(NamedTuple):
    """A way to train: stacked or not ("on", "off"), with how many threads, and how many lanes they are split into."""

    stack: str
    threads: int
    lanes: int = 1


def make_stacks(members: Sequence[Member], settings: Settings) -> list[Stack]:
    """The stacks to train in. They hold their members' weights from now on.

    Where the settings say so, of the members that can be stacked (same layers, same settings of Adam); else, and of
    all others, each by itself where its layers are known by hand and faster so.
    """
    lanes = settings.lanes
    stacks = together(members, settings.precision, lanes) if settings.stack == "on" else []
    taken = {id(member) for stack in stacks for member in stack.members}
    rest = [member for member in members if id(member) not in taken and by_hand(member)]
    stacks += [Stack([member], precision=settings.precision) for member in rest]
    for stack in stacks:
        stack.beside = min(lanes, len(stacks))
    return stacks


def by_hand(member: Member) -> bool:
    """Whether a member by itself trains faster in a stack of one: not where a GPU's own convolutions do the work."""
    model = member.model
    if network(model, shapes_alone, Buffers(torch.device("meta"))) is None:
        return False
    return isinstance(model, Dense) or next(model.parameters()).is_cpu


def shapes_alone(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """A module's parameters as a stack has them, for asking whether there is one."""
    made = [parameter.detach().unsqueeze(0) for parameter in module.parameters()]
    return made, made


def together(members: Sequence[Member], precision: str = "float32", lanes: int = 1) -> list[Stack]:
    """Stacks of the members that can be stacked, of each kind of model one a lane. They hold their weights from now on."""
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
        kinds = [group[i : i + len(seeds)] for i in range(0, len(group), len(seeds))]
        for some, ours in shares(kinds, seeds, lanes):
            stack = Stack([m for kind in some for m in kind if m.seed in ours], precision=precision)
            if stack.network is None:
                stack.release()
            else:
                stacks.append(stack)
    return stacks


def choose(
    asked: str,
    members: Sequence[Member],
    images: Pixels,
    settings: Settings,
    *,
    threads: Sequence[int],
    lanes: int = 1,
) -> tuple[dict[str, Any], int]:
    """What config.json says of the stack, and the number of threads to train with.

    `asked` is auto, on or off. auto takes a few steps of the run both ways, the stacked ones with each of the numbers
    of `threads` (the others with the first) and with all of the settings' threads as so many `lanes`, and keeps the
    fastest; the members are as they were afterwards. A short run is not worth measuring: it is trained one by one.
    Where stacking was asked for, it is in lanes.
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
    lanes = min(lanes, len(members)) if images.device.type == "cpu" else 1
    kept = [member.state() for member in members]
    stacks = {many: together(members, settings.precision, many) for many in dict.fromkeys((1, lanes))}
    try:
        if not stacks[1]:
            kind = type(members[0].model).__name__
            if asked == "on":
                raise LossproofError(
                    f"stack: expected a model whose members can be stacked, got {settings.model} ({kind}). "
                    "Use --stack auto or off."
                )
            return {"asked": asked, "used": "off", "reason": f"no stacked layers for {kind}"}, threads[0]
        if asked == "on":
            count = settings.threads if lanes > 1 else threads[-1]
            return {"asked": asked, "used": "on", "lanes": lanes}, count
        seconds = measure(members, stacks, images, settings, threads)
    finally:
        for stack in (stack for some in stacks.values() for stack in some):
            stack.release()
        for member, state in zip(members, kept, strict=True):
            member.restore(state)
    fastest = min(seconds, key=lambda way: seconds[way])
    told = {
        "asked": asked,
        "used": fastest.stack,
        "lanes": fastest.lanes,
        "milliseconds_a_step": [
            way._asdict() | {"all_members": round(1e3 * spent, 3)} for way, spent in seconds.items()
        ],
    }
    return told, fastest.threads


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
    stacks: Mapping[int, Sequence[Stack]],
    images: Pixels,
    settings: Settings,
    threads: Sequence[int],
) -> dict[Way, float]:
    """Seconds of a step of all members by each way, in turns; the members go on from turn to turn.

    `stacks`: by the number of lanes, 1 among them. More lanes than one take all of the settings' threads.
    """
    courses = {seed: draw(images, settings, 1, seed) for seed in settings.seeds}
    for member in members:
        member.criterion.begin(1, partial(sample, member, courses[member.seed]))
    labels = [member.label for member in members]
    # what differs in cost from member to member is the criterion
    some = [labels.index(label) for label in dict.fromkeys(labels)]
    some += [i for i in range(len(members)) if i not in some][: -len(some) % max(stacks)]
    steps = min(STEPS, math.ceil(len(images) / settings.batch_size))

    def run_of(stack: Stack) -> Callable[[], object]:
        mine = [courses[seed] for seed in stack.seeds]
        return partial(stack.run, mine, range(len(stack.members)), steps)

    def run_alone(member: Member) -> Callable[[], object]:
        if by_hand(member):
            return run_of(Stack([member], precision=settings.precision))
        return partial(alone, member, courses[member.seed], steps)

    singles = [run_alone(members[i]) for i in some]
    stacked = {lanes: [run_of(stack) for stack in laned] for lanes, laned in stacks.items()}

    def time_of(runs: Sequence[Callable[[], object]], lanes: int) -> float:
        """Seconds of these runs; the longest lane's."""

        def lane(mine: Sequence[Callable[[], object]]) -> float:
            started = clock(images.device)
            for run in mine:
                run()
            return clock(images.device) - started

        return max(at_once([partial(lane, runs[i::lanes]) for i in range(lanes)], lanes))

    def off(lanes: int) -> float:
        return time_of(singles, lanes) * len(members) / len(some)

    def on(lanes: int) -> float:
        return time_of(stacked[lanes], lanes)

    ways: dict[Way, Callable[[], float]] = {Way("off", threads[0]): partial(off, 1)}
    ways |= {Way("on", count): partial(on, 1) for count in dict.fromkeys(threads)}
    for lanes in stacks:
        if lanes > 1 and not isinstance(images, Streamed):  # that each member would read for itself
            ways |= {Way("off", settings.threads, lanes): partial(off, lanes)}
        if lanes > 1:
            ways |= {Way("on", settings.threads, lanes): partial(on, lanes)}
    before, found = torch.get_num_threads(), dict.fromkeys(ways, math.inf)
    ends = time.monotonic() + PATIENCE
    try:
        for turn in range(1 + ROUNDS):
            for way, work in ways.items():
                torch.set_num_threads(way.threads)
                passed = work() / steps
                if turn > 0:  # the first one fills caches and buffers
                    found[way] = min(found[way], passed)
            if turn > 0 and time.monotonic() > ends:
                break
    finally:
        torch.set_num_threads(before)
    return found


def alone(member: Member, course: Course, steps: int) -> None:
    """The first steps of an epoch as a member takes them by itself, by autograd."""
    for _, (_, noise), target in zip(range(steps), course.batches(), course.targets(), strict=False):
        descend(member, forward(member, target, noise, course.settings.precision))


__all__ = ["STACK", "choose", "make_stacks", "resumed"]
