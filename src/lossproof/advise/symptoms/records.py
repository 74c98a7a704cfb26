"""What an explanation is made of: causes with their arithmetic, what is ruled out, what cannot be told apart."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Standing = Literal["shown", "fits", "possible"]
#: how sure a cause is, best first, in words
MEANING: dict[str, str] = {
    "shown": "follows from the facts given",
    "fits": "predicts the facts given; nothing given contradicts it",
    "possible": "not excluded by the facts given",
}
_ORDER = {standing: place for place, standing in enumerate(MEANING)}


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause of a logged value: how sure it is, the arithmetic that shows it, the fix, and how to check it.

    ``normal`` marks what is no fault. ``weight`` ranks causes of one standing, largest first.
    """

    id: str
    title: str
    standing: Standing
    arithmetic: tuple[str, ...]
    fix: str
    check: str
    normal: bool = False
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A cause that the facts contradict, and how."""

    id: str
    title: str
    reason: str


Finding = Cause | RuledOut


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a loss reads as it does: facts, causes from the surest on, what is ruled out, what is not separable.

    ``apart`` says which causes the facts given cannot tell apart, and what would.
    """

    loss: str | None
    value: float | None
    facts: tuple[str, ...]
    causes: tuple[Cause, ...]
    ruled_out: tuple[RuledOut, ...]
    apart: tuple[str, ...]

    def cause(self, id: str) -> Cause | None:
        """Give the cause of that id, None where it was not found."""
        return next((cause for cause in self.causes if cause.id == id), None)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain values for JSON; a value that is not finite becomes a string."""
        plain = asdict(self)
        plain["value"] = (
            str(self.value) if self.value is not None and not math.isfinite(self.value) else self.value
        )
        for cause in plain["causes"]:
            del cause["weight"]
        return plain

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, width: int = 80) -> list[str]:
        """Give the explanation as lines of plain text."""
        said = [*(f"  {line}" for fact in self.facts for line in _wrap(fact, width - 2)), ""]
        for place, cause in enumerate(self.causes, 1):
            mark = f"{cause.standing}, nothing is wrong" if cause.normal else cause.standing
            said += _wrap(f"{place}. {cause.title} [{mark}]", width)
            said += [f"     {line}" for item in cause.arithmetic for line in _hang(item, width - 5)]
            said += [f"   {line}" for line in _hang(f"fix: {cause.fix}", width - 3)]
            said += [*(f"   {line}" for line in _hang(f"check: {cause.check}", width - 3)), ""]
        if not self.causes:
            said += ["No cause found in these facts.", ""]
        if self.apart:
            said += ["Not told apart:", *_items(self.apart, width), ""]
        if self.ruled_out:
            said += [
                "Ruled out:",
                *_items([f"{one.title}: {one.reason}" for one in self.ruled_out], width),
                "",
            ]
        used = [name for name in MEANING if any(cause.standing == name for cause in self.causes)]
        said += [f"{name}: {MEANING[name]}" for name in used]
        return said


def ranked(findings: Sequence[Finding]) -> tuple[tuple[Cause, ...], tuple[RuledOut, ...]]:
    """Sort findings: faults before what is normal, the surest first, mere possibilities last; then what is ruled out."""
    causes = [one for one in findings if isinstance(one, Cause)]
    causes.sort(key=lambda c: (c.standing == "possible", c.normal, _ORDER[c.standing], -c.weight))
    return tuple(causes), tuple(one for one in findings if isinstance(one, RuledOut))


def _items(texts: Sequence[str], width: int) -> list[str]:
    return [f"  {line}" for text in texts for line in _hang(f"- {text}", width - 2)]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _hang(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    ) or [""]


def short(value: float) -> str:
    """Write a number with five significant digits, large ones with separators.

    >>> short(0.0580803), short(-5299324.0), short(float("nan")), short(392.0)
    ('0.05808', '-5,299,324', 'nan', '392')
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1e4:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4e}"
    return f"{value:.5g}"


def percent(share: float) -> str:
    """Write a share as a percentage with three digits.

    >>> percent(0.5), percent(0.00012)
    ('50 %', '0.012 %')
    """
    return f"{100 * share:.3g} %"
