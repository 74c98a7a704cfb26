"""What is shown of a loss, by its certificate: the committed one, or one proved on the spot; never assumed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from lossproof.formula import Loss
from lossproof.prove import Certificate, certify
from lossproof.prove.committed import committed as committed_text

LINES = ("minimum", "mean", "median", "convex_logits", "lipschitz", "lipschitz_logits", "saturation")
SECONDS = 10.0  # for a certificate made on the spot


@dataclass(frozen=True, slots=True)
class Trait:
    """An answer - "holds", "refuted" or "unknown" -, the sentence behind it, and where that comes from."""

    answer: str
    why: str
    source: str


def committed(loss: Loss) -> Certificate | None:
    """The committed certificate of exactly this formula at these parameter values; None where there is none."""
    found = _stored(loss.id)
    if found is None or found.formula != loss.formula or dict(found.params) != dict(loss.values):
        return None
    return found


@cache
def _stored(name: str) -> Certificate | None:
    text = committed_text(name)
    return None if text is None else Certificate.from_json(text)


@cache
def _proved(loss: Loss) -> Certificate:
    return certify(loss, only=LINES, budget=SECONDS)


class Traits:
    """The traits of one loss. ``prove``: where no certificate is committed, make one (seconds of work)."""

    def __init__(self, loss: Loss, *, prove: bool = False) -> None:
        self.loss = loss
        self.certificate = committed(loss)
        self.source = f"certificates/{loss.id}.json"
        if self.certificate is None and prove:
            self.certificate = _proved(loss)
            self.source = f"lossproof certify {loss.label!r}"

    def of(self, requirement: str) -> Trait:
        """A requirement as in ``lossproof certify --require``: minimum, mean, median, convex-logits, alive.

        >>> from lossproof.catalogue import resolve
        >>> Traits(resolve("bce")).of("alive").answer, Traits(resolve("mse")).of("alive").answer
        ('holds', 'refuted')
        >>> Traits(resolve("huber(delta=0.1)")).of("mean").answer
        'unknown'
        """
        if self.certificate is None:
            return Trait("unknown", f"no certificate of {self.loss.label} at these values", "")
        return Trait(self.certificate.holds(requirement), self.certificate.why(requirement), self.source)

    def bound(self, line: str) -> tuple[float | None, str]:
        """The upper end of a bound on the slope ("lipschitz", "lipschitz_logits"); inf, or None where it is not known."""
        found = None if self.certificate is None else self.certificate.lines.get(line)
        value = None if found is None else found.details.get("bound")
        if value is None:
            return None, ""
        return (math.inf if value == "inf" else float(value[1])), self.source

    def functional(self) -> str:
        """What the minimiser of the expected loss is, by name: "mean", "median", "location M-estimator"; "" if unknown."""
        line = None if self.certificate is None else self.certificate.lines.get("consistency")
        details: Mapping[str, Any] = {} if line is None else line.details
        name = str(details.get("functional") or "")
        if name in ("", "other") and self.of("mean").answer == "holds":
            return "mean"
        return name
