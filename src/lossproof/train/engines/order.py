"""What a worker is told before it starts, as plain JSON: settings, losses and what the images are called.

Text and arrays alone travel between processes, never pickled objects: a worker builds everything from the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from lossproof.catalogue.decoder import Decoder, Head, Setting
from lossproof.catalogue.decoders import find
from lossproof.data import Images
from lossproof.formula import Interval, Loss, LossproofError, Reference
from lossproof.formula.loss import Param
from lossproof.train.arm import Arm
from lossproof.train.settings import Evaluation, Settings

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Order:
    """All that a worker needs beside the pixels."""

    losses: tuple[Loss | Decoder, ...]
    described: list[dict[str, Any]]  # how the coordinator describes them: a worker has to arrive at the same
    settings: Settings
    threads: int
    checkpoint_seconds: float
    images: dict[
        str, Any
    ]  # the fields of `Images` that are no pixels, and where pixels are that stay on disk
    version: str

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dictionaries, numbers and text."""
        losses = [{type(loss).__name__.lower(): plain(loss)} for loss in self.losses]
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("losses", "settings")}
        return rest | {"losses": losses, "settings": asdict(self.settings)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Order:
        """The order that `to_json` wrote. Raises `LossproofError` where another version of lossproof did."""
        if found.get("version") != (here := installed()):
            raise LossproofError(
                f"engine: expected lossproof {found.get('version')} on every machine, got {here} on this one. "
                "Install the same version everywhere."
            )
        settings: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in found["settings"].items()
        }
        settings["evaluation"] = Evaluation(**found["settings"]["evaluation"])
        losses = tuple(
            loss_from(one["loss"]) if "loss" in one else decoder_from(one["decoder"])
            for one in found["losses"]
        )
        return cls(**{**found, "losses": losses, "settings": Settings(**settings)})

    def with_pixels(self, train: Any, test: Any) -> Images:
        """The images, given their pixels; labels are the coordinator's business."""
        notes = tuple(self.images["notes"])
        return Images(
            **{**self.images, "notes": notes}, train=train, test=test, train_labels=None, test_labels=None
        )


def make_order(
    images: Images,
    losses: Sequence[object],
    arms: Sequence[Arm],
    settings: Settings,
    *,
    threads: int,
    checkpoint_seconds: float,
) -> Order:
    """The order for these losses. Raises `LossproofError` for an `Arm` of a caller's own, which cannot be sent."""
    if isinstance(losses, str):
        losses = [losses]
    for loss in losses:
        if isinstance(loss, Arm):
            raise LossproofError(
                f"engine: expected losses and decoders, got the arm {loss.label!r}, which is a Python object that "
                "cannot be sent to another process. Train it in this one: engine local, without workers."
            )
    named = ("name", "source", "scaling", "levels")
    return Order(
        losses=tuple(find(loss) for loss in losses),
        described=[arm.describe() for arm in arms],
        settings=settings,
        threads=threads,
        checkpoint_seconds=checkpoint_seconds,
        images={name: getattr(images, name) for name in named} | {"notes": list(images.notes)},
        version=installed(),
    )


def installed() -> str:
    """The version of lossproof on this machine."""
    try:
        return version("lossproof")
    except PackageNotFoundError:
        return "not installed"


def plain(value: Any) -> Any:
    """A record, and the records in it, as dictionaries.

    >>> plain(Interval(0, 1))
    {'low': 0, 'high': 1, 'low_open': False, 'high_open': False}
    """
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value


def loss_from(found: Mapping[str, Any]) -> Loss:
    """The loss that `plain` wrote.

    >>> from lossproof.catalogue import resolve
    >>> loss_from(plain(resolve("huber(delta=0.1)"))) == resolve("huber(delta=0.1)")
    True
    """
    params = tuple(Param(**{**one, "interval": Interval(**one["interval"])}) for one in found["params"])
    domains = {name: Interval(**found[name]) for name in ("target", "prediction")}
    references = tuple(Reference(**one) for one in found["references"])
    return Loss(**{**found, **domains, "params": params, "references": references})


def decoder_from(found: Mapping[str, Any]) -> Decoder:
    """The decoder that `plain` wrote."""
    settings = tuple(
        Setting(
            **{
                **one,
                "words": tuple(one["words"]),
                "interval": None if one["interval"] is None else Interval(**one["interval"]),
            }
        )
        for one in found["settings"]
    )
    heads = tuple(Head(**one) for one in found["heads"])
    references = tuple(Reference(**one) for one in found["references"])
    return Decoder(**{**found, "settings": settings, "heads": heads, "references": references})


__all__ = ["Order", "decoder_from", "installed", "loss_from", "make_order", "plain"]
