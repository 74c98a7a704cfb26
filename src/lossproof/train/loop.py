"""The training loop, from top to bottom.

Every epoch, every member is trained once through the same images in the same order with the same noise. A
step never waits for the device: objective values are kept there and looked at once an epoch. When one is not
finite the epoch is played again from its start, slowly, up to the step where it happened, and that member
stops.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lossproof.formula.errors import LossproofError
from lossproof.formula.unparse import unparse
from lossproof.lower import autopsy, function
from lossproof.train.feed import Pixels, Streamed, shown
from lossproof.train.member import Member, Row
from lossproof.train.randomness import batch_order, training_noise
from lossproof.train.settings import Settings

if TYPE_CHECKING:
    from lossproof.formula.loss import Loss


SAMPLE = 512  # images that a criterion may look at before an epoch
SAVING = 0.05  # of the time, that checkpoints may take


def train(
    members: Sequence[Member],
    images: Pixels,
    settings: Settings,
    *,
    measure: Callable[[Member], list[Row]],
    checkpoint_seconds: float,
    after_member: Callable[[Member, int], None],
    stop: Callable[[], bool],
) -> int:
    """Train all members to the last epoch and return the last epoch that all of them finished.

    `images` (n, c, h, w) is on the device. `measure` gives the rows of a member's present state; a checkpoint
    is written after an epoch when `due` says so, and at the end. `stop` is asked
    after each round, so that an interrupted comparison still compares equal epochs. Where the settings say so,
    members that can be stacked are trained side by side; `train_epoch` is the plain way that all others come down to.
    """
    # built on this module, and so not known above
    from lossproof.train.lanes import train_at_once
    from lossproof.train.stack import walk_together
    from lossproof.train.stack_choose import make_stacks
    from lossproof.train.stack_measure import with_stacks

    stacks = make_stacks(members, settings)
    measure = with_stacks(measure, stacks)
    side_by_side = [stack for stack in stacks if len(stack.members) > 1]
    alone = {stack.members[0].name: stack for stack in stacks if len(stack.members) == 1}
    done = min(member.epoch for member in members)
    for epoch in range(max(done, 0), settings.epochs + 1):
        # drawn once, used by every member of the seed: that is what makes their differences paired
        course = cache(partial(draw, images, settings, epoch))
        trained: set[str] = set()
        if epoch > 0:
            now = stacks if settings.lanes > 1 and not isinstance(images, Streamed) else side_by_side
            trained = train_at_once(now, epoch, course, settings.seeds, settings.lanes)
        for seed in settings.seeds:
            waiting = [member for member in members if member.seed == seed and member.epoch < epoch]
            if not waiting:
                continue
            if epoch > 0 and isinstance(
                images, Streamed
            ):  # each batch is read once, for all members of the seed
                some = [alone[member.name] for member in waiting if member.name in alone]
                walk_together(some, epoch, course(seed))
                trained |= {member.name for stack in some for member in stack.members}
            for member in waiting:
                if epoch == 0:
                    prepare(member, epoch, course(seed))
                elif member.event is None and member.name not in trained:
                    if member.name in alone:
                        alone[member.name].train(epoch, course)
                    else:
                        train_epoch(member, epoch, course(seed))
                rows = measure(member) if member.event is None else stopped_rows(member, epoch)
                member.rows += rows
                member.epoch = epoch
                if epoch == settings.epochs or due(member, len(members), checkpoint_seconds):
                    member.save()
                after_member(member, epoch)
        done = epoch
        if stop():
            break
    for member in members:
        if member.epoch < settings.epochs:
            member.save()
    return done


def due(member: Member, count: int, least: float) -> bool:
    """Whether a member's last checkpoint is old: `least` seconds, and more where `count` such ones would take long.

    With 0 it always is.
    """
    wait = max(least, count * member.saving / SAVING) if least > 0 else 0.0
    return time.monotonic() - member.saved >= wait


class Course(NamedTuple):
    """One epoch's way through the images: the same object serves every member of a seed."""

    images: Pixels  # (n, c, h, w)
    order: Tensor  # (n,) int64
    noise: Tensor  # (n, latent), a row for each place in the order
    settings: Settings

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Image numbers and noise of each batch; the last one is as large as what is left."""
        size = self.settings.batch_size
        return zip(torch.split(self.order, size), torch.split(self.noise, size), strict=True)

    def targets(self) -> Iterator[Tensor]:
        """The images of each batch, (n, c, h, w)."""
        return shown(self.images, (indices for indices, _ in self.batches()))


def draw(images: Pixels, settings: Settings, epoch: int, seed: int) -> Course:
    """A seed's way through the images in an epoch."""
    count = len(images)
    return Course(
        images,
        batch_order(seed, epoch, count).to(images.device),
        training_noise(seed, epoch, count, settings.latent).to(images.device),
        settings,
    )


def train_epoch(member: Member, epoch: int, course: Course) -> None:
    """Train one member through all images once; if it goes wrong, set its `event` and its state back."""
    device, beta = course.images.device, member.beta
    started = clock(device)
    before = member.state()
    objectives = torch.empty(math.ceil(len(course.order) / course.settings.batch_size), device=device)
    member.model.train()
    prepare(member, epoch, course)
    for step, ((_, noise), target) in enumerate(zip(course.batches(), course.targets(), strict=True)):
        passed = forward(member, target, noise, course.settings.precision)
        objectives[step] = passed.objective(beta)
        descend(member, passed)
    looked_at = (objectives, *(parameter for _, parameter in member.learned()))
    healthy = bool(torch.stack([values.isfinite().all() for values in looked_at]).all())  # the one wait
    member.seconds += clock(device) - started
    if not healthy:
        member.restore(before)
        event = replay(member, epoch, course)
        member.restore(before)
        member.event = describe_event(member, epoch, event)


def descend(member: Member, passed: Passed) -> None:
    """One step of the optimiser, from the derivatives of the objective."""
    member.optimiser.zero_grad()
    torch.autograd.backward(*passed.slopes_of_objective(member.beta))
    for parameter, slope in zip(member.criterion.parameters.values(), passed.own, strict=True):
        parameter.grad = slope / len(passed.raw)
    member.optimiser.step()
    if passed.own:
        member.criterion.project()


def prepare(member: Member, epoch: int, course: Course) -> None:
    """Let the criterion look at the first images of an epoch, as the model is now."""
    member.criterion.begin(epoch, lambda: sample(member, course))


def sample(member: Member, course: Course) -> tuple[Tensor, Tensor]:
    """Targets and raw outputs of an epoch's first images, as the model is now."""
    indices, noise = course.order[:SAMPLE], course.noise[:SAMPLE]
    target = course.images.index_select(0, indices)
    with torch.no_grad():
        raw, _, _ = member.model(target, noise)
    return target, raw


class Passed(NamedTuple):
    """A batch that went through a model: its raw output and what criterion and rate say of it."""

    raw: Tensor  # (n, outputs * c, h, w); the logits where there is one output
    mean: Tensor  # (n, latent)
    logvar: Tensor | None  # None for an autoencoder
    pixels: Tensor  # (n, c, h, w), the nats of each value
    slopes: Tensor  # their derivative with respect to the raw output
    own: tuple[Tensor, ...]  # and with respect to the criterion's own parameters
    rates: Tensor | None  # (n,), the KL divergence of each image's code

    def objective(self, beta: float) -> Tensor:
        """Loss + beta rate, each summed per image and averaged over the batch; a number without a graph."""
        loss = self.pixels.sum() / len(self.raw)
        return loss if self.rates is None else loss + beta * self.rates.detach().mean()

    def slopes_of_objective(self, beta: float) -> tuple[list[Tensor], list[Tensor]]:
        """Where the objective enters the graph, and its derivatives there."""
        count = len(self.raw)
        if self.rates is None:
            return [self.raw], [self.slopes / count]
        return [self.raw, self.rates], [self.slopes / count, torch.full_like(self.rates, beta / count)]


def forward(member: Member, target: Tensor, noise: Tensor, precision: str = "float32") -> Passed:
    """Take a batch through the model, its products in this precision, and through the criterion in float32.

    The criterion's derivative is derived, not traced: the way back starts at the raw output and costs no graph.
    """
    with rounded(target.device, precision):
        raw, mean, logvar = member.model(target, noise)
    graded = member.criterion.grade(target, raw.detach())
    return Passed(raw, mean, logvar, *graded, None if logvar is None else rate_per_image(mean, logvar))


@contextmanager
def rounded(device: torch.device, precision: str) -> Iterator[None]:
    """Matrix products and convolutions in bfloat16 where that is the precision; what goes in and comes out is float32."""
    if precision == "float32":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16):
        yield


def rate_per_image(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) in nats, summed over the code: (n, latent) -> (n,).

    Kingma and Welling, arXiv 1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + logvar.expm1() - logvar).sum(1)


def replay(member: Member, epoch: int, course: Course) -> dict[str, Any]:
    """Train the same epoch again, looking at everything at every step; the first thing that is not finite."""
    prepare(member, epoch, course)
    batches = zip(course.batches(), course.targets(), strict=True)
    for step, ((indices, batch_noise), target) in enumerate(batches, start=1):
        passed = forward(member, target, batch_noise, course.settings.precision)
        # the code comes before the pixels: a lost code loses all of them
        if passed.rates is not None and passed.logvar is not None and not finite(passed.rates):
            (row,) = first(~passed.rates.isfinite())
            return {
                "term": "rate",
                "step": step,
                "image": int(indices[row]),
                "value": float(passed.rates.detach()[row]),
                "mean": float(passed.mean.detach()[row].abs().max()),
                "logvar": float(passed.logvar.detach()[row].max()),
            }
        if not finite(passed.pixels):
            place = first(~passed.pixels.isfinite())
            return pixel_event(member, "reconstruction", step, indices, place, target, passed)
        if not finite(passed.objective(member.beta)):
            # each pixel is finite, their sum is not: float32 ends at 3.4e38
            place = first(passed.pixels == passed.pixels.max())
            return pixel_event(member, "reconstruction", step, indices, place, target, passed)
        if not finite(passed.slopes):
            place = first(~passed.slopes.isfinite())
            event = pixel_event(member, "weights", step, indices, place, target, passed)
            return event | {"parameter": "dl/dz"}
        descend(member, passed)
        for name, parameter in member.learned():
            if not finite(parameter):
                lost = parameter.detach()[first(~parameter.isfinite())]
                return {"term": "weights", "step": step, "parameter": name, "value": float(lost)}
    return {"term": "unknown", "step": None}


def finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def first(bad: Tensor) -> tuple[int, ...]:
    """Where the first true entry is."""
    return tuple(int(i) for i in bad.nonzero()[0])


def pixel_event(
    member: Member,
    term: str,
    step: int,
    indices: Tensor,
    place: tuple[int, ...],
    target: Tensor,
    passed: Passed,
) -> dict[str, Any]:
    """What is known of one pixel of a batch.

    `place` is its (image, channel, row, column) there; for a slope the channel is that of the raw output.
    """
    lost = passed.pixels if term == "reconstruction" else passed.slopes
    outputs, channels = member.criterion.outputs, target.shape[1]
    image, channel, row, column = place[0], place[1] % channels, *place[2:]
    pixel = (image, channel, row, column)
    raw = passed.raw.detach()[image, :, row, column].view(1, -1, 1, 1)
    one = raw.view(outputs, channels)[:, channel]
    event = {
        "term": term,
        "step": step,
        "image": int(indices[place[0]]),
        "index": [channel, row, column],
        "target": float(target[pixel]),
        "prediction": float(member.criterion.picture(raw)[0, channel]),
        "value": float(lost[place]),
    }
    return event | ({"logit": float(one)} if outputs == 1 else {"raw": [f"{float(n):g}" for n in one]})


def describe_event(member: Member, epoch: int, found: dict[str, Any]) -> dict[str, Any]:
    """The event as it is stored: strict JSON, with a message that says what happened, where and how."""
    label, step, term = member.label, found["step"], found["term"]
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
            f"{name} is {found['value']:g} at training image {found['image']}, "
            f"pixel {tuple(found['index'])}: target {found['target']:g}, "
            f"prediction {found['prediction']:g}, {numbers(found)}"
        )
        if math.isfinite(found["value"]):
            what += "; each pixel is a number, their sum is beyond the dtype's range"
        elif member.loss is not None and math.isfinite(found.get("logit", math.nan)):
            # the prediction again in float64: in float32 it may have been rounded to 0 or 1
            exact = 1 / (1 + math.exp(-max(-700.0, min(700.0, found["logit"]))))
            cause = autopsy(member.loss, found["target"], exact) or beyond_range(member.loss, found, exact)
            what += f"; {cause}" if cause else ""
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


def numbers(found: dict[str, Any]) -> str:
    """The model's output at a pixel, in words: a logit, or as many raw numbers as there are."""
    if "logit" in found:
        return f"logit {found['logit']:g}"
    return "raw output " + ", ".join(f"{float(number):g}" for number in found["raw"])


def beyond_range(loss: Loss, found: dict[str, Any], prediction: float) -> str:
    """Words for a pixel that float64 gives a number, "" if it does not: of a loss, with its largest term."""
    target, largest = found["target"], ""
    if found["term"] != "reconstruction":
        if not np.isfinite(function(loss).gradient_logits(target, found["logit"])):
            return ""
    else:
        sizes = {}
        for term in loss.expression().as_ordered_terms():
            with suppress(LossproofError):  # a term of p or y alone is no loss: it goes without a name
                text = unparse(term)
                sizes[text] = float(function(text).value(target, prediction))
        name = max(sizes, key=lambda text: abs(sizes[text]), default="")
        if name and abs(sizes[name]) > torch.finfo(torch.float32).max:
            largest = f" ({name} = {sizes[name]:.3g})"
    return f"in float64 it is a number{largest}: the dtype's range is the cause"


def stopped_rows(member: Member, epoch: int) -> list[Row]:
    """Empty cells, with the reason, for an epoch that a stopped member did not see: those of its epoch 0."""
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
