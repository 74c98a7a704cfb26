"""Reductions: what a logged number may be a sum or a mean of."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lossproof.formula import LossproofError
from lossproof.formula.errors import nearest

#: reduction -> what it does, in words; names as in lossproof.torch.ReconstructionLoss, and two by the channels
REDUCTIONS: Mapping[str, str] = MappingProxyType({
    "mean": "mean over all values",
    "nats_per_image": "sum over an image, mean over the batch",
    "sum": "sum over images and batch",
    "channel_mean": "mean over the channels, sum over the pixels",
    "channel_sum": "sum over the channels, mean over the pixels",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """A reduction on these images: a logged number is ``factor`` times the mean loss per value."""

    id: str
    words: str
    factor: float


def readings(shape: tuple[int, ...] | None, batch: int | None) -> list[Reading]:
    """The reductions that are different numbers for images of this shape and batches of this size.

    >>> [(r.id, r.factor) for r in readings((3, 4, 4), 8)]
    [('mean', 1.0), ('nats_per_image', 48.0), ('sum', 384.0), ('channel_mean', 16.0), ('channel_sum', 3.0)]
    """
    factors = {"mean": 1.0}
    if shape is not None:
        pixels = 1
        for side in shape:
            pixels *= side
        factors["nats_per_image"] = float(pixels)
        if batch is not None:
            factors["sum"] = float(pixels * batch)
        channels = channels_of(shape)
        if channels > 1:
            factors |= {"channel_mean": pixels / channels, "channel_sum": float(channels)}
    made: list[Reading] = []
    for id, factor in factors.items():
        if all(factor != other.factor for other in made):
            made.append(Reading(id, REDUCTIONS[id], factor))
    return made


def channels_of(shape: tuple[int, ...]) -> int:
    """Channels of one image (c, h, w) or (h, w, c); 1 where none of both ends is 3.

    >>> channels_of((3, 64, 64)), channels_of((64, 64, 3)), channels_of((28, 28)), channels_of((1, 28, 28))
    (3, 3, 1, 1)
    """
    return 3 if len(shape) == 3 and 3 in (shape[0], shape[-1]) else 1


def check_reduction(name: str | None) -> str | None:
    """Refuse an unknown reduction, naming the nearest."""
    if name is not None and name not in REDUCTIONS:
        raise LossproofError(
            f"reduction: expected one of {', '.join(REDUCTIONS)}, got {name!r}; {nearest(name, REDUCTIONS)}"
        )
    return name
