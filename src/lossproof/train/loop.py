"""The training loop, from top to bottom.

Every epoch, every member is trained once through the same images in the same order with the same noise. A step
never waits for the device: objective values are kept there and looked at once an epoch. When one is not finite the
epoch is played again from its start, slowly, up to the step where it happened, and that member stops.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lossproof.lower import autopsy
from lossproof.torch import logit_gradient
from lossproof.train.member import Member, Row
from lossproof.train.randomness import batch_order, training_noise
from lossproof.train.settings import Settings


def train(
    members: Sequence[Member],
    images: Tensor,
    settings: Settings,
    *,
    measure: Callable[[Member], list[Row]],
    checkpoint_seconds: float,
    after_member: Callable[[Member, int], None],
    stop: Callable[[], bool],
) -> int:
    """Train all members to the last epoch and return the last epoch that all of them finished.

    `images` (n, c, h, w) is on the device. `measure` gives the rows of a member's present state; a checkpoint is
    written after an epoch when the last one is `checkpoint_seconds` old, and at the end. `stop` is asked after
    each round, so that an interrupted comparison still compares equal epochs.
    """
    count = len(images)
    done = min(member.epoch for member in members)
    for epoch in range(max(done, 0), settings.epochs + 1):
        for seed in settings.seeds:
            waiting = [member for member in members if member.seed == seed and member.epoch < epoch]
            if not waiting:
                continue
            # drawn once, used by every member of the seed: that is what makes their differences paired
            order = batch_order(seed, epoch, count).to(images.device)
            noise = training_noise(seed, epoch, count, settings.latent).to(images.device)
            for member in waiting:
                if epoch > 0 and member.event is None:
                    train_epoch(member, epoch, images, order, noise, settings)
                rows = measure(member) if member.event is None else stopped_rows(member, epoch)
                member.rows += rows
                member.epoch = epoch
                if epoch == settings.epochs or time.monotonic() - member.saved >= checkpoint_seconds:
                    member.save()
                after_member(member, epoch)
        done = epoch
        if stop():
            break
    for member in members:
        if member.epoch < settings.epochs:
            member.save()
    return done


def train_epoch(
    member: Member, epoch: int, images: Tensor, order: Tensor, noise: Tensor, settings: Settings
) -> None:
    """Train one member through all images once. Sets `member.event`, and keeps the old state, if it went wrong."""
    started = clock(images.device)
    before = member.state()
    objectives = torch.empty(math.ceil(len(order) / settings.batch_size), device=images.device)
    member.model.train()
    for step, (indices, batch_noise) in enumerate(batches(order, noise, settings.batch_size)):
        target = images.index_select(0, indices)
        loss, rate = terms(member, target, batch_noise)
        objective = loss if rate is None else loss + settings.beta * rate
        member.optimiser.zero_grad(set_to_none=True)
        objective.backward()
        member.optimiser.step()
        objectives[step] = objective.detach()
    finite = torch.stack([objectives.isfinite().all(), *(p.isfinite().all() for p in member.model.parameters())])
    healthy = bool(finite.all())  # the one wait for the device
    member.seconds += clock(images.device) - started
    if not healthy:
        member.restore(before)
        event = replay(member, images, order, noise, settings)
        member.restore(before)
        member.event = describe_event(member, epoch, event)


def batches(order: Tensor, noise: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Image numbers and noise of each batch; the last one is as large as what is left."""
    return zip(order.split(size), noise.split(size), strict=True)


def terms(member: Member, target: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
    """Reconstruction loss and rate, each summed per image and averaged over the batch; no rate for an autoencoder."""
    logits, mean, logvar = member.model(target, noise)
    loss = member.elementwise(logits, target).sum() / len(target)
    return loss, None if logvar is None else rate_per_image(mean, logvar).mean()


def rate_per_image(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) in nats, summed over the code: (n, latent) -> (n,).

    Kingma and Welling, arXiv 1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(1)


def replay(
    member: Member, images: Tensor, order: Tensor, noise: Tensor, settings: Settings
) -> dict[str, Any]:
    """Train the same epoch again, looking at everything at every step; the first thing that is not finite."""
    for step, (indices, batch_noise) in enumerate(batches(order, noise, settings.batch_size), start=1):
        target = images.index_select(0, indices)
        logits, mean, logvar = member.model(target, batch_noise)
        # the code comes before the pixels: a lost code loses all of them
        if logvar is not None:
            rates = rate_per_image(mean, logvar)
            if not bool(rates.isfinite().all()):
                place = first(~rates.isfinite())[0]
                return {
                    "term": "rate",
                    "step": step,
                    "image": int(indices[place]),
                    "value": float(rates[place]),
                    "mean": float(mean[place].abs().max()),
                    "logvar": float(logvar[place].max()),
                }
        pixels = member.elementwise(logits, target)
        if not bool(pixels.isfinite().all()):
            place = first(~pixels.isfinite())
            return pixel_event("reconstruction", step, indices, target, logits, place, float(pixels[place]))
        objective = pixels.sum() / len(target)
        if logvar is not None:
            objective = objective + settings.beta * rate_per_image(mean, logvar).mean()
        if not bool(objective.isfinite()):
            # each pixel is finite, their sum is not: float32 ends at 3.4e38
            place = first(pixels == pixels.max())
            return pixel_event("reconstruction", step, indices, target, logits, place, float(pixels[place]))
        member.optimiser.zero_grad(set_to_none=True)
        objective.backward()
        slopes = logit_gradient(member.loss)(logits.detach(), target)
        if not bool(slopes.isfinite().all()):
            place = first(~slopes.isfinite())
            event = pixel_event("weights", step, indices, target, logits, place, float(slopes[place]))
            return event | {"parameter": "dl/dz"}
        member.optimiser.step()
        for name, parameter in member.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                lost = parameter.detach()[first(~parameter.isfinite())]
                return {"term": "weights", "step": step, "parameter": name, "value": float(lost)}
    return {"term": "unknown", "step": None}


def first(bad: Tensor) -> tuple[int, ...]:
    """Where the first true entry is."""
    return tuple(int(i) for i in bad.nonzero()[0])


def pixel_event(
    term: str, step: int, indices: Tensor, target: Tensor, logits: Tensor, place: tuple[int, ...], value: float
) -> dict[str, Any]:
    logit = logits.detach()[place]
    return {
        "term": term,
        "step": step,
        "image": int(indices[place[0]]),
        "index": list(place[1:]),
        "target": float(target[place]),
        "prediction": float(logit.sigmoid()),
        "logit": float(logit),
        "value": value,
    }


def describe_event(member: Member, epoch: int, found: dict[str, Any]) -> dict[str, Any]:
    """The event as it is stored: strict JSON, with a message that says what happened, where and with which values."""
    label, step, term = member.loss.label, found["step"], found["term"]
    where = f"{label} stopped in epoch {epoch}, step {step}: "
    if term == "rate":
        what = (
            f"the rate (KL) is {found['value']:g} at training image {found['image']} "
            f"(largest |mean| {found['mean']:g}, largest log-variance {found['logvar']:g})"
        )
    elif term == "unknown":
        where = f"{label} stopped in epoch {epoch}: "
        what = "the objective was not finite, but playing the epoch again did not show where"
    elif "index" in found:
        name = "the reconstruction loss" if term == "reconstruction" else "the gradient dl/dz"
        what = (
            f"{name} is {found['value']:g} at training image {found['image']}, pixel {tuple(found['index'])}: "
            f"target {found['target']:g}, prediction {found['prediction']:g}, logit {found['logit']:g}"
        )
        cause = autopsy(member.loss, found["target"], found["prediction"]) if math.isfinite(found["logit"]) else ""
        if cause and not math.isfinite(found["value"]):
            what += f"; {cause}"
    else:
        what = f"the weights {found['parameter']} became {found['value']:g} though the objective was finite"
    message = f"{where}{what}. Its state after epoch {epoch - 1} is kept."
    event = {
        "member": member.name,
        "loss": label,
        "seed": member.seed,
        "epoch": epoch,
        "step": step,
        "term": term,
        "image": found.get("image"),
        "index": found.get("index"),
        "message": message,
    }
    details = {key: found[key] for key in found.keys() - event.keys()}
    return event | {
        key: value if not isinstance(value, float) or math.isfinite(value) else str(value)
        for key, value in sorted(details.items())
    }


def stopped_rows(member: Member, epoch: int) -> list[Row]:
    """Empty cells, with the reason, for an epoch that a stopped member did not see: as many as it had at its start."""
    assert member.event is not None
    return [
        Row(epoch, row.split, row.measure, math.nan, member.event["message"])
        for row in member.rows
        if row.epoch == 0 and not row.measure.startswith("mean_image")
    ]


def clock(device: torch.device) -> float:
    """Seconds, after all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()
