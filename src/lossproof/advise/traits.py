"""What is shown of a loss, by its certificate: the committed one, or one proved on the spot; never assumed."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

from lossproof.catalogue.decoder import Decoder
from lossproof.formula import Loss
from lossproof.prove import Certificate, certify
from lossproof.prove.committed import certificate_of

LINES = ("minimum", "mean", "proper", "convex_logits", "lipschitz", "saturation")
SECONDS = 30.0  # for a certificate made on the spot; it takes three or so
_FUNCTIONALS = {"location M-estimator": "M-estimate"}
PROVERS = 2  # at a time, each in a process of its own


@dataclass(frozen=True, slots=True)
class Trait:
    """An answer - "holds", "refuted" or "unknown" -, the sentence behind it, and where that comes from."""

    answer: str
    why: str
    source: str


@cache
def _proved(loss: Loss) -> Certificate:
    return certify(loss, only=LINES, budget=SECONDS)


def prove(losses: Sequence[Loss | Decoder], progress: Callable[[float], None] | None = None) -> None:
    """Make the certificates that are not committed, some at a time; ``Traits(..., prove=True)`` then has them at once."""
    missing = [loss for loss in losses if isinstance(loss, Loss) and certificate_of(loss) is None]
    with ThreadPoolExecutor(PROVERS) as pool:
        for done, _ in enumerate(pool.map(_proved, missing), 1):
            if progress is not None:
                progress(done / len(missing))


class Traits:
    """The traits of one loss. ``prove``: where no certificate is committed, make one (seconds of work)."""

    def __init__(self, loss: Loss | Decoder, *, prove: bool = False) -> None:
        self.loss = loss
        self.certificate = certificate_of(loss) if isinstance(loss, Loss) else None
        self.source = f"certificates/{loss.id}.json"
        if self.certificate is None and prove and isinstance(loss, Loss):
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
        if isinstance(self.loss, Decoder):
            return _of_decoder(self.loss, requirement)
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
        """What the minimiser of the expected loss is: "mean", "median", "M-estimate", ...; "" if unknown."""
        line = None if self.certificate is None else self.certificate.lines.get("consistency")
        details: Mapping[str, Any] = {} if line is None else line.details
        name = str(details.get("functional") or "")
        if name in ("", "other"):
            answers = self.of("mean").answer, self.of("median").answer
            return "mean" if answers[0] == "holds" else "neither mean nor median" if name else ""
        return _FUNCTIONALS.get(name, name)


def _of_decoder(decoder: Decoder, requirement: str) -> Trait:
    """Certificates are of losses in y and p; of a decoder its declaration says whether a sigmoid can flatten its slope."""
    if requirement != "alive":
        return Trait("unknown", "a law with outputs of its own: certificates are of losses in y and p", "")
    linked = decoder.values.get("link", "identity")
    if linked == "identity":
        return Trait("holds", "its outputs pass through no sigmoid", f"lossproof.catalogue: {decoder.id}")
    return Trait("unknown", f"its location passes through {linked}", f"lossproof.catalogue: {decoder.id}")
