"""One arm of a comparison: what its members are trained under, and what is known of it beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lossproof.catalogue.decoder import Decoder
from lossproof.catalogue.decoders import find
from lossproof.data.scan import STEPS, blocks, on_lattice
from lossproof.formula.errors import LossproofError
from lossproof.likelihood import Levels, UnitInterval
from lossproof.torch.criterion import Criterion, criterion

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.formula.loss import Loss
    from lossproof.train.settings import Settings


Distinct = dict[str, NDArray[np.float32]]
FEW = 1024  # distinct values: of more, none is looked for that alone is off the levels


@dataclass(frozen=True)
class Arm:
    """A label, how a fresh criterion is made (each member has its own), and the loss behind it, if there is one.

    `entry` is what config.json says of it; two runs with different entries are not the same run.
    """

    label: str
    make: Callable[[], Criterion] = field(repr=False)
    loss: Loss | None = None
    entry: dict[str, Any] = field(default_factory=dict, repr=False)

    def describe(self) -> dict[str, Any]:
        """The arm's entry in config.json."""
        loss = self.loss
        known = (
            {}
            if loss is None
            else {
                "label": self.label,
                "id": loss.id,
                "title": loss.title,
                "formula": loss.formula,
                "values": dict(loss.values),
                "hash": loss.hash,
                "minimum": loss.minimum,
                "minimiser": loss.minimiser,
                "note": loss.note,
            }
        )
        return {"label": self.label} | known | self.entry


def plain(loss: Loss) -> Arm:
    """The arm of a loss as it is, behind the sigmoid."""
    return Arm(loss.label, lambda: criterion(loss), loss)


def calibrated(loss: Loss, images: Images, settings: Settings, distinct: Distinct) -> Arm:
    """The arm of a loss over its temperature plus log Z, as the settings say."""
    from lossproof.torch.calibrated import CalibratedCriterion

    measure = reference(images, settings.measure, distinct)

    def make() -> CalibratedCriterion:
        return CalibratedCriterion(
            loss,
            measure=measure,
            of=settings.of,
            how=settings.calibrate or "learned",
            per=settings.per,
            image_shape=images.image_shape,
        )

    make()  # what cannot be normalised is refused before anything is written
    return Arm(loss.label, make, loss, {"unit": measure.unit})


def decoded(decoder: Decoder, images: Images, distinct: Distinct) -> Arm:
    """The arm of a decoder's law; a law on levels takes the lattice that the data lie on."""
    from lossproof.torch.decoders import criterion_for

    _, channels, height, width = images.train.shape

    def make() -> Criterion:
        return criterion_for(decoder, (channels, height, width), images.levels)

    if decoder.measure == "levels":
        reference(images, "levels", distinct)
    made = make()
    entry = {
        "id": decoder.id,
        "title": decoder.title,
        "formula": decoder.formula,
        "values": dict(decoder.values),
        "hash": decoder.hash,
        "minimum": "undeclared",
        "minimiser": None,
        "note": decoder.note,
        "decoder": True,
        "unit": made.unit,
    }
    return Arm(decoder.label, make, None, entry)


def arm_of(spec: object, images: Images, settings: Settings | None, distinct: Distinct) -> Arm:
    """The arm that a loss, a decoder, or what a user writes for one stands for; `distinct` values of each split."""
    if isinstance(spec, Arm):
        return spec
    found = find(spec)
    if isinstance(found, Decoder):
        return decoded(found, images, distinct)
    if settings is None or settings.calibrate is None:
        return plain(found)
    return calibrated(found, images, settings, distinct)


def off_lattice(images: Images, distinct: Distinct) -> str:
    """Where images leave the smallest lattice that holds at least half of their distinct values; "" if none does."""
    values = np.unique(np.concatenate([*distinct.values(), np.empty(0, np.float32)]))
    for steps in STEPS if values.size <= FEW else ():
        strays = values[[not on_lattice(value, (steps,)) for value in values]]
        if not 0 < len(strays) <= values.size / 2:
            continue
        for split, part in (("train", images.train), ("test", images.test)):
            for block, numbers in blocks(part):
                if (found := np.argwhere(np.isin(block, strays))).size:
                    first = tuple(int(i) for i in found[0])
                    at = [int(numbers[first[0]]), *first[1:]]
                    return f", the first off the {steps + 1} levels k/{steps} being {block[first]:g} at {at} ({split})"
    return ""


def reference(images: Images, measure: str, distinct: Distinct | None = None) -> Levels | UnitInterval:
    """What likelihoods of these images are spread over: their grey levels, or the interval [0, 1].

    Raises `LossproofError` for images that lie on no lattice, or whose `distinct` values are off the one they state.
    """
    if measure == "interval":
        return UnitInterval()
    if images.levels is None:
        count = f" ({len(distinct['train'])} distinct ones in training)" if distinct else ""
        raise LossproofError(
            f"measure: expected images on grey levels, got {images.name}, whose values lie on no lattice "
            f"k/(L - 1){count}{off_lattice(images, distinct or {})}. Use --measure interval: densities, in nats."
        )
    levels = Levels(images.levels)
    for split, values in (distinct or {}).items():
        levels.index(values, f"{images.name} ({split})")
    return levels
