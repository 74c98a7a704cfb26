"""Members trained side by side: the models of one architecture as one model with a leading member axis.

The weights of all members lie in one tensor, as do their gradients and Adam's averages; each member's own model
and optimiser hold views of it, so that measuring, pictures and checkpoints work as they do for a member alone.
A step is a handful of batched matrix products and one call of Adam. Batches and noise are drawn once a seed.

Every member keeps its slot for the whole run, also one that stopped or that is ahead after a resume: what it
computes there is thrown away. So no member's numbers depend on how another one fares, bit for bit.

A member that is trained by itself is a stack of one: the same layers by hand, without a graph and its cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lossproof.train.adam import fused_step
from lossproof.train.feed import shown
from lossproof.train.loop import Course, clock, descend, forward, sample, train_epoch
from lossproof.train.member import Member
from lossproof.train.stack_grade import Grader
from lossproof.train.stack_layers import Buffers
from lossproof.train.stack_network import Network, network

ALIGNED = 16  # float32 numbers: each block of the one tensor starts at a multiple of 64 bytes
WEIGHTS, AVERAGES = 0, (2, 3)  # of `Rows`


class Rows(NamedTuple):
    """All numbers of a kind, by the parameter's name: (members, *shape of the parameter), views of one tensor."""

    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]


class Kept(NamedTuple):
    """A member's state beside its rows: Adam's counts, and its criterion's parameters and buffers with their own."""

    steps: Tensor
    own: dict[str, Tensor]


class Stack:
    """Members of one architecture, learning rate and set of seeds; those of an arm and beta next to each other.

    `precision` is that of the products in training: "float32", or "bfloat16" with float32 results. `by_slices`
    replaces the batched products by the members' own passes on their slices of the same storage, one after the
    other: the same bits as `train_epoch`, and no gain. It is what tests hold the bookkeeping against.
    """

    def __init__(
        self, members: Sequence[Member], *, precision: str = "float32", by_slices: bool = False
    ) -> None:
        self.members, self.precision, self.by_slices = list(members), precision, by_slices
        self.seeds = list(dict.fromkeys(member.seed for member in members))
        assert [member.seed for member in members] == self.seeds * (len(members) // len(self.seeds))
        model = members[0].model
        self.device = next(model.parameters()).device
        self.shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        count = len(members)
        self.blocks = [-(-count * math.prod(shape) // ALIGNED) * ALIGNED for shape in self.shapes.values()]
        self.numbers = torch.zeros(4, sum(self.blocks), device=self.device)
        self.rows = Rows(*(self.named(row, self.blocks) for row in self.numbers))
        self.buffers = Buffers(self.device)
        self.network = network(model, self.stacked, self.buffers, precision=precision)
        # what is measured is the model that the float32 weights are
        self.exact = (
            self.network if precision == "float32" else network(model, self.stacked, Buffers(self.device))
        )
        self.step = torch.zeros((), device=self.device)  # Adam's count, of the members that move
        self.trained: set[str] = set()  # in the epoch last asked for
        self.steps = torch.zeros(
            count, len(self.shapes), device=self.device
        )  # and as each member's optimiser has it
        for slot in range(count):
            self.take(slot)
        self.beside = 1  # stacks that are trained at the same time, this one among them
        self.before = torch.empty(3, self.numbers.shape[1], device=self.device)
        self.kept: list[Kept] = []
        self.beta = torch.tensor([member.beta for member in members], device=self.device)
        #: of each member, the gradients of its criterion's own parameters
        self.own = [[torch.zeros_like(p.detach()) for p in m.criterion.parameters.values()] for m in members]
        self.grader = Grader(members, self.own)

    def named(self, row: Tensor, blocks: Sequence[int]) -> dict[str, Tensor]:
        """One row of the storage as tensors (members, *shape) by name."""
        count = len(self.members)
        return {
            name: block[: count * math.prod(shape)].view(count, *shape)
            for (name, shape), block in zip(self.shapes.items(), row.split(list(blocks)), strict=True)
        }

    def stacked(self, module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
        """The stacked parameters of one of the first member's modules, and their gradients."""
        names = {id(parameter): name for name, parameter in self.members[0].model.named_parameters()}
        mine = [names[id(parameter)] for parameter in module.parameters()]
        return [self.rows.weights[name] for name in mine], [self.rows.gradients[name] for name in mine]

    def take(self, slot: int) -> None:
        """Copy a member's weights and Adam's state into its slot, and let it hold views of the slot from now on."""
        member = self.members[slot]
        for place, (name, parameter) in enumerate(member.model.named_parameters()):
            weight = self.rows.weights[name][slot]
            weight.copy_(parameter.detach())
            parameter.data, parameter.grad = weight, None
            state = member.optimiser.state.get(parameter)
            for key, row in self.adam_rows(slot, place, name).items():
                if state:
                    row.copy_(state[key])
                    state[key] = row
                else:
                    row.zero_()

    def adam_rows(self, slot: int, place: int, name: str) -> dict[str, Tensor]:
        """A parameter's share of Adam's state, under the names that `Adam` has for it."""
        averages = {"exp_avg": self.rows.exp_avg[name][slot], "exp_avg_sq": self.rows.exp_avg_sq[name][slot]}
        return {"step": self.steps[slot, place], **averages}

    def give(self, moving: Sequence[int]) -> None:
        """Let the optimisers of these members hold what the stack's Adam has learned."""
        self.steps[list(moving)] = self.step
        for slot in moving:
            member = self.members[slot]
            for place, (name, parameter) in enumerate(member.model.named_parameters()):
                if not member.optimiser.state.get(parameter):
                    member.optimiser.state[parameter] = self.adam_rows(slot, place, name)

    def release(self) -> None:
        """Give every member tensors of its own again."""
        for member in self.members:
            for parameter in member.model.parameters():
                parameter.data = parameter.detach().clone()
                for key, value in member.optimiser.state.get(parameter, {}).items():
                    member.optimiser.state[parameter][key] = value.clone()

    def moving(self, epoch: int) -> list[int]:
        """The slots to be trained in this epoch; none where fewer than half of all slots have work in it.

        What is left of such a stack is trained one by one. The rule asks what happened in the run, not who is
        ahead of whom, so that a resumed run goes the same way.
        """
        alive = [m.event is None or m.event["epoch"] >= epoch for m in self.members]
        if 2 * sum(alive) < len(alive):
            return []
        return [slot for slot, m in enumerate(self.members) if m.event is None and m.epoch < epoch]

    def train(self, epoch: int, course: Callable[[int], Course]) -> set[str]:
        """Train the stack through one epoch; the names of the members trained. `course` gives a seed's course.

        A member in which something was not finite is set back and trained alone through the same epoch, by
        `train_epoch`: its event is found there. If it goes well alone, it goes on from that state.
        """
        moving = self.moving(epoch)
        self.trained = {self.members[slot].name for slot in moving}
        if not moving:
            return self.trained
        started = clock(self.device)
        courses = [course(seed) for seed in self.seeds]
        self.prepare(epoch, courses, moving)
        healthy = self.run(courses, moving)
        self.settle(epoch, courses, moving, healthy, clock(self.device) - started)
        return self.trained

    def prepare(self, epoch: int, courses: Sequence[Course], moving: Sequence[int]) -> None:
        """Keep the state of all members, and let the criteria of the moving ones look at them, before an epoch."""
        self.remember()
        for slot in moving:
            member = self.members[slot]
            member.model.train()
            member.criterion.begin(epoch, partial(sample, member, courses[slot % len(self.seeds)]))

    def settle(
        self,
        epoch: int,
        courses: Sequence[Course],
        moving: Sequence[int],
        healthy: Sequence[bool],
        seconds: float,
    ) -> None:
        """After an epoch: set those back that were not to move, or that something went wrong in."""
        for slot, member in enumerate(self.members):
            if slot in moving and healthy[slot]:
                member.seconds += seconds / len(moving) / self.beside
                continue
            self.recall(slot)
            if slot in moving:
                train_epoch(member, epoch, courses[slot % len(self.seeds)])
                self.take(slot)

    def remember(self) -> None:
        """Keep the state of all members, to go back to."""
        for place, row in zip(self.before, (WEIGHTS, *AVERAGES), strict=True):
            place.copy_(self.numbers[row])
        self.kept = [
            Kept(steps.clone(), member.state(own=True))
            for steps, member in zip(self.steps, self.members, strict=True)
        ]

    def recall(self, slot: int) -> None:
        """Let a member be as it was."""
        for row, place in enumerate((WEIGHTS, *AVERAGES)):
            then, now = self.named(self.before[row], self.blocks), self.rows[place]
            for name, value in now.items():
                value[slot].copy_(then[name][slot])
        member, kept = self.members[slot], self.kept[slot]
        self.steps[slot].copy_(kept.steps)
        member.restore(kept.own, own=True)
        for place, (_, parameter) in enumerate(member.model.named_parameters()):
            if kept.steps[place] == 0:
                member.optimiser.state.pop(parameter, None)

    def run(self, courses: Sequence[Course], moving: Sequence[int], steps: int | None = None) -> list[bool]:
        """Take the moving members through the courses of the seeds, or their first steps; whether each stayed finite."""
        if self.by_slices or self.network is None:
            return self.run_slices(courses, moving, steps)
        size = courses[0].settings.batch_size
        order = torch.stack([course.order for course in courses]).split(size, 1)[:steps]
        walk = Walk(self, courses, moving, len(order))
        for target in shown(courses[0].images, (part.flatten() for part in order), self.seen):
            walk.step(target)
        return walk.end()

    def seen(self, *shape: int) -> Tensor:
        """Where a batch of images goes."""
        return self.buffers("seen", *shape)

    def healthy(self, moving: Sequence[int], objectives: Tensor) -> list[bool]:
        """Whether each member's objectives, (steps, members), and all that it learned are finite."""
        fine = objectives.isfinite().all(0)
        for weights in self.rows.weights.values():
            # a sum takes a thirtieth of looking at each; where it alone is not finite, the plain way settles it
            fine &= weights.flatten(1).sum(1).isfinite()
        found: list[bool] = fine.tolist()  # the one wait
        for slot in moving:
            own = self.members[slot].criterion.parameters.values()
            found[slot] = found[slot] and all(bool(value.isfinite().all()) for value in own)
        return found

    def start(self, moving: Sequence[int]) -> None:
        """Take Adam's count of steps from the moving members, who are all at the same epoch."""
        self.step.copy_(self.steps[moving[0], 0])
        for slot in moving:
            for own in self.members[slot].criterion.parameters.values():
                if not self.members[slot].optimiser.state.get(own):
                    self.members[slot].optimiser.begin(own)

    def pass_batch(
        self,
        net: Network,
        target: Tensor,
        noise: Tensor,
        moving: Sequence[int],
        losses: Tensor,
        rates: Tensor,
    ) -> None:
        """All gradients of a batch; sums of losses and rates, (members,).

        `target` (seeds * n, c, h, w) and `noise` (seeds, n, latent).
        """
        seeds, size = noise.shape[:2]
        repeat = len(self.members) // seeds
        x = self.spread("x", target.view(seeds, size, -1), repeat)
        raw = net.forward(x, self.spread("noise", noise, repeat))
        slopes = self.buffers("slopes", *raw.shape)
        self.grader.grade(x, raw, slopes, losses, moving, tuple(target.shape[1:]))
        net.rates(rates)
        net.backward(slopes, (self.beta / size).view(-1, 1, 1))

    def outputs(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Raw output (members, n, outputs * c, h, w), mean and log-variance (members, n, latent) of the same images.

        They lie in buffers that the next call writes over.
        """
        assert self.exact is not None
        count, n = len(self.members), len(images)
        x = self.spread("x", images.view(1, n, -1), count)
        with torch.no_grad():
            raw = self.exact.forward(x, self.spread("noise", noise.unsqueeze(0), count))
        return raw.view(count, n, -1, *images.shape[2:]), self.exact.mean, self.exact.logvar

    def gradient_norms(self, images: Tensor, noise: Tensor) -> list[float]:
        """Of each member, the Euclidean norm of its objective's gradient by all weights, on these images."""
        assert self.exact is not None
        count = len(self.members)
        target = images.expand(len(self.seeds), *images.shape).reshape(-1, *images.shape[1:])
        unused = torch.empty(2, count, device=self.device)
        with torch.no_grad():
            self.pass_batch(
                self.exact, target, noise.expand(len(self.seeds), *noise.shape), range(count), *unused
            )
            parts = [row.flatten(1).norm(dim=1) for row in self.rows.gradients.values()]
            norms: list[float] = torch.stack(parts).norm(dim=0).tolist()
        return norms

    def spread(self, name: str, values: Tensor, repeat: int) -> Tensor:
        """What the seeds share, (seeds, ...), as each member's own: (members, ...)."""
        if repeat == 1:
            return values
        wide = self.buffers(name, len(self.members), *values.shape[1:])
        wide.view(repeat, *values.shape).copy_(values.expand(repeat, *values.shape))
        return wide

    def adam(self, moving: Sequence[int]) -> None:
        """One step of Adam over all weights, and one over the criteria's own parameters of each learning rate."""
        weights, gradients, *averages = self.numbers
        settings = self.members[0].optimiser.param_groups[0]
        fused_step(settings, [weights], [gradients], [averages[0]], [averages[1]], [self.step])
        rated: dict[float, list[tuple[Tensor, ...]]] = {}
        for slot in moving:
            member = self.members[slot]
            for parameter, slope in zip(member.criterion.parameters.values(), self.own[slot], strict=True):
                state = member.optimiser.state[parameter]
                rated.setdefault(member.optimiser.param_groups[-1]["lr"], []).append(
                    (parameter.detach(), slope, state["exp_avg"], state["exp_avg_sq"], state["step"])
                )
        for lr, found in rated.items():
            fused_step(settings | {"lr": lr}, *map(list, zip(*found, strict=True)))
        self.grader.project(moving)

    def run_slices(
        self, courses: Sequence[Course], moving: Sequence[int], steps: int | None = None
    ) -> list[bool]:
        """The same with each member's own pass and optimiser, on its slices."""
        objectives = torch.zeros(1, len(self.members), device=self.device)
        batches = [zip(course.batches(), course.targets(), strict=True) for course in courses]
        for parts in islice(zip(*batches, strict=True), steps):
            for slot in moving:
                member, ((_, noise), target) = self.members[slot], parts[slot % len(self.seeds)]
                passed = forward(member, target, noise, self.precision)
                objectives[0, slot] += passed.objective(member.beta)
                descend(member, passed)
        return self.healthy(moving, objectives)


class Walk:
    """A stack on its way through an epoch: takes one batch of images after the other, whoever reads them."""

    def __init__(self, stack: Stack, courses: Sequence[Course], moving: Sequence[int], steps: int) -> None:
        self.stack, self.moving = stack, moving
        self.noise = iter(torch.stack([c.noise for c in courses]).split(courses[0].settings.batch_size, 1))
        self.sums = torch.zeros(steps, 2, len(stack.members), device=stack.device)
        self.sizes: list[int] = []
        stack.start(moving)

    def step(self, target: Tensor) -> None:
        """One step of the moving members, on images (seeds * n, c, h, w)."""
        assert self.stack.network is not None
        noise = next(self.noise)
        losses, rates = self.sums[len(self.sizes)]
        with torch.no_grad():
            self.stack.pass_batch(self.stack.network, target, noise, self.moving, losses, rates)
            self.stack.adam(self.moving)
        self.sizes.append(noise.shape[1])

    def end(self) -> list[bool]:
        """Whether each member stayed finite; the optimisers then hold what was learned."""
        sums = self.sums / torch.tensor(self.sizes, device=self.stack.device).view(-1, 1, 1)
        self.stack.give(self.moving)
        return self.stack.healthy(self.moving, sums[:, 0] + 0.5 * self.stack.beta * sums[:, 1])


def walk_together(stacks: Sequence[Stack], epoch: int, course: Course) -> None:
    """Train stacks of one seed through an epoch side by side: each batch is read once, for all of them."""
    started, courses = clock(course.images.device), [course]
    moved = [(stack, moving) for stack in stacks if (moving := stack.moving(epoch))]
    for stack, moving in moved:
        stack.trained = {stack.members[slot].name for slot in moving}
        stack.prepare(epoch, courses, moving)
    parts = course.order.split(course.settings.batch_size)
    walks = [Walk(stack, courses, moving, len(parts)) for stack, moving in moved]
    for target in shown(course.images, parts):
        for walk in walks:
            walk.step(target)
    healthy = [walk.end() for walk in walks]
    seconds = (clock(course.images.device) - started) / max(1, len(moved))
    for (stack, moving), fine in zip(moved, healthy, strict=True):
        stack.settle(epoch, courses, moving, fine, seconds)


__all__ = ["Stack", "walk_together"]
