"""What a claim is, and what its decision holds: verdict, reasons, numbers, evidence, picture."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy.typing as npt

from lossproof.formula import LossproofError
from lossproof.formula.errors import nearest

Verdict = Literal["true", "false", "true under a condition"]


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers computed at run time: one head, rows of cells."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a picture; values that are not finite are gaps."""

    name: str
    x: npt.ArrayLike
    y: npt.ArrayLike


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture of curves, with an axis title each and marked points (x, y)."""

    x: str
    y: str
    lines: tuple[Line, ...]
    alt: str
    marks: tuple[tuple[float, float], ...] = ()
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was found: the verdict, its condition where it has one, reasons, numbers, what is proved, a picture."""

    verdict: Verdict
    because: tuple[str, ...]
    table: Table
    plot: Plot
    evidence: tuple[str, ...] = ()
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that is often read, and the function that decides it by computation."""

    id: str
    text: str
    decide: Callable[[], Decision]
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A claim with its decision."""

    id: str
    text: str
    seen: tuple[str, ...]
    decision: Decision

    def to_dict(self) -> dict[str, Any]:
        """Give everything but the picture as plain values for JSON."""
        plain = asdict(self.decision)
        del plain["plot"]
        return {"id": self.id, "claim": self.text, "seen": list(self.seen), **plain}


def decided(*, holds: bool, fails: bool, condition: str = "") -> tuple[Verdict, str]:
    """The verdict of a claim that was found to hold somewhere, and to fail somewhere, with its condition.

    Raises ``LossproofError`` where neither was found: then nothing was decided.

    >>> decided(holds=True, fails=True, condition="y != 1/2")
    ('true under a condition', 'y != 1/2')
    >>> decided(holds=False, fails=True)
    ('false', '')
    """
    if holds and fails:
        return "true under a condition", condition
    if not (holds or fails):
        raise LossproofError(
            "claims: expected a case for or against, got neither. This is a fault of lossproof."
        )
    return ("true" if holds else "false"), ""


def chosen(claims: Sequence[Claim], ids: Sequence[str]) -> list[Claim]:
    """The claims of these ids in their own order, all of them without ids. Raises ``LossproofError`` for others."""
    known = {claim.id: claim for claim in claims}
    for id in ids:
        if id not in known:
            raise LossproofError(f"claims: expected a claim's id, got {id!r}; {nearest(id, known)}")
    return [known[id] for id in ids] if ids else list(claims)
