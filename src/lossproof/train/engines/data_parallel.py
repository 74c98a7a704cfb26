"""One large member in several processes: each takes its share of every batch, gradients are summed between them.

The processes are started by `torchrun`, or by hand, and have a process group of torch.distributed. All of them build
the same members from the same seeds and draw the same batches and noise; the first one measures and writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from lossproof.formula.errors import LossproofError
from lossproof.train.loop import (
    Course,
    clock,
    describe_event,
    due,
    prepare,
    rate_per_image,
    replay,
    rounded,
    stopped_rows,
)
from lossproof.train.randomness import batch_order, training_noise

if TYPE_CHECKING:
    from lossproof.train.member import Member, Row
    from lossproof.train.settings import Settings


def train_data_parallel(
    members: Sequence[Member],
    images: Tensor,
    settings: Settings,
    *,
    measure: Callable[[Member], list[Row]],
    checkpoint_seconds: float,
    after_member: Callable[[Member, int], None] = lambda member, epoch: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Train all members to the last epoch, as `train` does, in all processes of the group; the last common epoch.

    A batch has `settings.batch_size` images over all processes, whatever their number, so that the numbers are those
    of one process up to rounding: sums are taken in another order. `images` (n, c, h, w) are all images, in every
    process. `measure`, `after_member` and checkpoints are the first process's alone, and `stop` is asked there.

    Raises `LossproofError` where there is no process group, or where the processes' members stand at different epochs.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        raise LossproofError(
            "data parallel: expected a process group, got none. Start with torchrun, and call "
            "torch.distributed.init_process_group first."
        )
    first = distributed.get_rank() == 0
    agree(members, images.device)
    course_of = courses(images, settings)
    models = {
        member.name: DistributedDataParallel(member.model) for member in members if member.event is None
    }
    done = min(member.epoch for member in members)
    for epoch in range(max(done, 0), settings.epochs + 1):
        for member in (m for seed in settings.seeds for m in members if m.seed == seed and m.epoch < epoch):
            course = course_of(member.seed, epoch)
            if epoch == 0:
                prepare(member, epoch, course)
            elif member.event is None:
                train_share(member, models[member.name], epoch, course)
            if first:
                member.rows += measure(member) if member.event is None else stopped_rows(member, epoch)
            member.epoch = epoch
            if first and (epoch == settings.epochs or due(member, len(members), checkpoint_seconds)):
                member.save()
            if first:
                after_member(member, epoch)
        done = epoch
        if told(stop() if first else False, images.device):
            break
    for member in members:
        if first and member.epoch < settings.epochs:
            member.save()
    distributed.barrier()  # nobody leaves before everything is written
    return done


def courses(images: Tensor, settings: Settings) -> Callable[[int, int], Course]:
    """What a seed draws for an epoch, drawn once for all its members."""
    drawn: dict[tuple[int, int], Course] = {}

    def course_of(seed: int, epoch: int) -> Course:
        if (seed, epoch) not in drawn:
            drawn.clear()
            order = batch_order(seed, epoch, len(images)).to(images.device)
            noise = training_noise(seed, epoch, len(images), settings.latent).to(images.device)
            drawn[seed, epoch] = Course(images, order, noise, settings)
        return drawn[seed, epoch]

    return course_of


def train_share(member: Member, model: DistributedDataParallel, epoch: int, course: Course) -> None:
    """Train a member through all images once, this process with its share of each batch.

    As in `train_epoch`, an epoch in which something is not finite is played again and the member stops: in every
    process alike, since sums and weights are the same in all of them.
    """
    device = course.images.device
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    started = clock(device)
    before = member.state()
    objectives = torch.zeros(math.ceil(len(course.order) / course.settings.batch_size), device=device)
    member.model.train()
    prepare(member, epoch, course)
    for step, (indices, noise) in enumerate(course.batches()):
        count, mine = len(indices), indices.tensor_split(ranks)[rank]
        target = course.images.index_select(0, mine)
        with rounded(device, course.settings.precision):
            raw, mean, logvar = model(target, noise.tensor_split(ranks)[rank])
        graded = member.criterion.grade(target, raw.detach())
        objectives[step] = graded.values.sum() / count
        # torch averages over processes what is to be summed: each share counts `ranks` times
        roots, slopes = [raw], [graded.slopes * (ranks / count)]
        if logvar is not None:
            rates = rate_per_image(mean, logvar)
            objectives[step] += member.beta * rates.detach().sum() / count
            roots.append(rates)
            slopes.append(torch.full_like(rates, member.beta * ranks / count))
        member.optimiser.zero_grad()
        torch.autograd.backward(roots, slopes)
        for parameter, slope in zip(member.criterion.parameters.values(), graded.own, strict=True):
            parameter.grad = slope / count
            distributed.all_reduce(parameter.grad)
        member.optimiser.step()
        if graded.own:
            member.criterion.project()
    distributed.all_reduce(objectives)
    looked_at = (objectives, *(parameter for _, parameter in member.learned()))
    healthy = bool(torch.stack([values.isfinite().all() for values in looked_at]).all())
    member.seconds += clock(device) - started
    if not healthy:
        member.restore(before)
        event = replay(member, epoch, course)
        member.restore(before)
        member.event = describe_event(member, epoch, event)


def agree(members: Sequence[Member], device: torch.device) -> None:
    """Make sure that all processes go on from the same epochs."""
    mine = torch.tensor([member.epoch for member in members], device=device)
    all_of_them = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(all_of_them, mine)
    for member, *epochs in zip(members, *(one.tolist() for one in all_of_them), strict=True):
        if len(set(epochs)) > 1:
            raise LossproofError(
                f"data parallel: expected {member.name} at the same epoch in all processes, got epochs {epochs}. "
                "Let all of them load the same checkpoints."
            )


def told(asked: bool, device: torch.device) -> bool:
    """What the first process says, in all of them."""
    flag = torch.tensor([asked], device=device, dtype=torch.uint8)
    distributed.broadcast(flag, 0)
    return bool(flag.item())


__all__ = ["train_data_parallel"]
