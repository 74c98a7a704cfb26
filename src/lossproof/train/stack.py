"""Members trained side by side: the models of one architecture as one model with a leading member axis.

The weights of all members lie in one tensor, as do their gradients and Adam's averages; each member's own model
and optimiser hold views of it, so that measuring, pictures and checkpoints work as they do for a member alone.
A step is a handful of batched matrix products and one call of Adam. Batches and noise are drawn once a seed.

Every member keeps its slot for the whole run, also one that stopped or that is ahead after a resume: what it
computes there is thrown away. So no member's numbers depend on how another one fares, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from lossproof.train.loop import Course, clock, descend, forward, sample, train_epoch
from lossproof.train.member import Member
from lossproof.train.stack_grade import Grader
from lossproof.train.stack_layers import Buffers
from lossproof.train.stack_network import Network, network

ALIGNED = 16  # float32 numbers: each block of the one tensor starts at a multiple of 64 bytes


class Rows(NamedTuple):
    """All numbers of a kind, by the parameter's name: (members, *shape of the parameter), views of one tensor."""

    weights: dict[str, Tensor]
    gradients: dict[str, Tensor]
    exp_avg: dict[str, Tensor]
    exp_avg_sq: dict[str, Tensor]


class Stack:
    """Members of one architecture, learning rate and set of seeds; those of an arm and beta next to each other.

    `by_slices` replaces the batched products by the members' own passes on their slices of the same storage, one
    after the other: the same bits as without a stack, and no gain. It is what tests hold the bookkeeping against.
    """

    def __init__(self, members: Sequence[Member], *, by_slices: bool = False) -> None:
        self.members, self.by_slices = list(members), by_slices
        self.seeds = list(dict.fromkeys(member.seed for member in members))
        assert [member.seed for member in members] == self.seeds * (len(members) // len(self.seeds))
        model = members[0].model
        self.device = next(model.parameters()).device
        self.shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        count = len(members)
        blocks = [-(-count * math.prod(shape) // ALIGNED) * ALIGNED for shape in self.shapes.values()]
        self.numbers = torch.zeros(4, sum(blocks), device=self.device)
        self.rows = Rows(*(self.named(row, blocks) for row in self.numbers))
        self.buffers = Buffers(self.device)
        self.network = network(model, self.stacked, self.buffers)
        self.step = torch.zeros((), device=self.device)  # Adam's count, of the members that move
        self.trained: set[str] = set()  # in the epoch last asked for
        self.steps = torch.zeros(
            count, len(self.shapes), device=self.device
        )  # and as each member's optimiser has it
        for slot in range(count):
            self.take(slot)
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
        """A parameter's share of Adam's state, under the names that `torch.optim.Adam` has for it."""
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
        before = [member.state() for member in self.members]
        self.begin(epoch, courses, moving)
        healthy = self.run(courses, moving)
        passed = clock(self.device) - started
        for slot, member in enumerate(self.members):
            if slot in moving and healthy[slot]:
                member.seconds += passed / len(moving)
                continue
            member.restore(before[slot])
            if slot in moving:
                train_epoch(member, epoch, course(member.seed))
            self.take(slot)
        return self.trained

    def begin(self, epoch: int, courses: Sequence[Course], moving: Sequence[int]) -> None:
        """Let the criteria look at their members before an epoch."""
        for slot in moving:
            member = self.members[slot]
            member.model.train()
            member.criterion.begin(epoch, partial(sample, member, courses[slot % len(self.seeds)]))

    def run(self, courses: Sequence[Course], moving: Sequence[int], steps: int | None = None) -> list[bool]:
        """Take the moving members through the courses of the seeds, or their first steps; whether each stayed finite."""
        if self.by_slices or self.network is None:
            return self.run_slices(courses, moving, steps)
        count = math.ceil(len(courses[0].order) / courses[0].settings.batch_size)
        losses, rates = torch.zeros(2, count, len(self.members), device=self.device)
        sizes = []
        self.start(moving)
        with torch.no_grad():
            for (indices, noise), loss, rate in zip(
                islice(batches(courses), steps), losses, rates, strict=False
            ):
                sizes.append(indices.shape[1])
                self.pass_batch(self.network, courses[0].images, indices, noise, moving, loss, rate)
                self.adam(moving)
        done = len(sizes)
        objectives = losses[:done] + 0.5 * self.beta * rates[:done]
        objectives /= torch.tensor(sizes, device=self.device).unsqueeze(1)
        healthy = objectives.isfinite().all(0)
        for weights in self.rows.weights.values():
            healthy &= weights.flatten(1).isfinite().all(1)
        self.give(moving)
        found: list[bool] = healthy.tolist()  # the one wait
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
                    self.members[slot].optimiser.state[own] = {
                        "step": torch.zeros((), device=self.device),
                        "exp_avg": torch.zeros_like(own, requires_grad=False),
                        "exp_avg_sq": torch.zeros_like(own, requires_grad=False),
                    }

    def pass_batch(
        self,
        net: Network,
        images: Tensor,
        indices: Tensor,
        noise: Tensor,
        moving: Sequence[int],
        losses: Tensor,
        rates: Tensor,
    ) -> None:
        """All gradients of a batch, `indices` (seeds, n) and `noise` (seeds, n, latent); sums of losses and rates."""
        seeds, size = indices.shape
        repeat = len(self.members) // seeds
        shape = tuple(images.shape[1:])
        seen = self.buffers("seen", seeds * size, math.prod(shape))
        torch.index_select(images.flatten(1), 0, indices.flatten(), out=seen)
        x = self.spread("x", seen.view(seeds, size, -1), repeat)
        raw = net.forward(x, self.spread("noise", noise, repeat))
        slopes = self.buffers("slopes", *raw.shape)
        self.grader.grade(x, raw, slopes, losses, moving, shape)
        net.rates(rates)
        net.backward(slopes, (self.beta / size).view(-1, 1, 1))

    def gradient_norms(self, images: Tensor, noise: Tensor) -> dict[str, float]:
        """Of each member, the Euclidean norm of its objective's gradient by all weights, on these images."""
        assert self.network is not None
        count, seeds = len(self.members), len(self.seeds)
        indices = torch.arange(len(images), device=self.device).expand(seeds, -1)
        unused = torch.empty(2, count, device=self.device)
        with torch.no_grad():
            self.pass_batch(
                self.network, images, indices, noise.expand(seeds, *noise.shape), range(count), *unused
            )
            parts = [row.flatten(1).norm(dim=1) for row in self.rows.gradients.values()]
            norms = torch.stack(parts).norm(dim=0).tolist()
        return {member.name: norm for member, norm in zip(self.members, norms, strict=True)}

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
        call(settings, [weights], [gradients], [averages[0]], [averages[1]], [self.step])
        rated: dict[float, list[tuple[Tensor, ...]]] = {}
        for slot in moving:
            member = self.members[slot]
            for parameter, slope in zip(member.criterion.parameters.values(), self.own[slot], strict=True):
                state = member.optimiser.state[parameter]
                rated.setdefault(member.optimiser.param_groups[-1]["lr"], []).append(
                    (parameter.detach(), slope, state["exp_avg"], state["exp_avg_sq"], state["step"])
                )
        for lr, found in rated.items():
            call(settings | {"lr": lr}, *map(list, zip(*found, strict=True)))
        self.grader.project(moving)

    def run_slices(
        self, courses: Sequence[Course], moving: Sequence[int], steps: int | None = None
    ) -> list[bool]:
        """The same with each member's own pass and optimiser, on its slices."""
        healthy = torch.ones(len(self.members), dtype=torch.bool, device=self.device)
        for indices, noise in islice(batches(courses), steps):
            for slot in moving:
                member, seed = self.members[slot], slot % len(self.seeds)
                passed = forward(member, courses[seed].images.index_select(0, indices[seed]), noise[seed])
                healthy[slot] &= passed.objective(member.beta).isfinite()
                descend(member, passed)
        for slot in moving:
            for _, parameter in self.members[slot].learned():
                healthy[slot] &= parameter.isfinite().all()
        return healthy.tolist()


def batches(courses: Sequence[Course]) -> Iterator[tuple[Tensor, Tensor]]:
    """Image numbers (seeds, n) and noise (seeds, n, latent) of each batch, as `Course.batches` has them."""
    size = courses[0].settings.batch_size
    order = torch.stack([course.order for course in courses]).split(size, 1)
    noise = torch.stack([course.noise for course in courses]).split(size, 1)
    return zip(order, noise, strict=True)


def call(
    group: dict[str, Any],
    parameters: list[Tensor],
    gradients: list[Tensor],
    averages: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    """Adam's fused step with the settings of a parameter group, on these tensors."""
    beta1, beta2 = group["betas"]
    adam(
        parameters, gradients, averages, squares, [], steps,
        fused=True, amsgrad=False, maximize=False, beta1=beta1, beta2=beta2,
        lr=group["lr"], weight_decay=group["weight_decay"], eps=group["eps"],
    )  # fmt: skip


__all__ = ["Stack"]
