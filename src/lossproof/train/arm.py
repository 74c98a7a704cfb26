"""One arm of a comparison: what its members are trained under, and what is known of it beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lossproof.torch.criterion import Criterion, criterion

if TYPE_CHECKING:
    from lossproof.formula.loss import Loss


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
