"""Where a loss is least, and how that is known: from a committed certificate, else "claimed, not proved"."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from lossproof.prove.committed import committed

if TYPE_CHECKING:
    from lossproof.formula import Loss

CLAIMED = "claimed, not proved"
_HELD = {"Proved": "proved", "Certified": "certified"}


def of_loss(loss: Loss) -> str:
    """Where p -> loss(y, p) is least, and how that is known.

    >>> from lossproof.formula import Loss
    >>> of_loss(Loss(id="mine", title="", formula="(y - p)**2"))
    'p = y (claimed, not proved)'
    """
    return least_at(loss.id, loss.formula, loss.values, loss.minimum, loss.minimiser or "")


def least_at(name: str, formula: str, values: Mapping[str, Any], minimum: str, minimiser: str = "") -> str:
    """The same from what is stored of a loss: id, formula, parameters, what is declared.

    A certificate counts if it is of this formula and covers these parameter values.
    """
    if minimum not in ("target", "elsewhere"):
        return "not stated"
    lines = lines_of(name, formula, values)
    kinds = {key: line["verdict"]["kind"] for key, line in lines.items()}
    known = _HELD.get(kinds.get("minimum", ""))
    if known:
        return f"p = y ({known})"
    if kinds.get("minimum") == "Refuted":
        found = lines.get("minimiser", {}).get("details", {}).get("formula")
        held = _HELD.get(kinds.get("minimiser", ""))
        if found and re.search(r"\d{13}", found):
            from lossproof.report.certificate_answers import tidy

            found = tidy(found)
        place = (
            f"p = {found} ({held})" if found and held else f"p = {minimiser} ({CLAIMED})" if minimiser else ""
        )
        return "not at p = y (refuted)" + (f", but at {place}" if place else "")
    if minimum == "target":
        return f"p = y ({CLAIMED})"
    return f"not at p = y{f', but at p = {minimiser}' if minimiser else ''} ({CLAIMED})"


def lines_of(name: str, formula: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lines of the committed certificate of a loss at these parameter values; empty where there is none."""
    record = _stored(name)
    if record.get("formula") != formula:
        return {}
    free, fixed = record.get("free", {}), record.get("params", {})
    if {*free, *fixed} != set(values):
        return {}
    if any(float(values[n]) != float(v) for n, v in fixed.items()) or any(
        not _inside(float(values[n]), span) for n, span in free.items()
    ):
        return {}
    lines: Mapping[str, Any] = record["lines"]
    # what is refuted for some value of an open parameter may hold at this one
    return {key: line for key, line in lines.items() if not free or line["verdict"]["kind"] != "Refuted"}


@cache
def _stored(name: str) -> dict[str, Any]:
    text = committed(name)
    record: dict[str, Any] = {} if text is None else json.loads(text)
    return record


def _inside(value: float, span: str) -> bool:
    """Whether a number lies in a range such as "(0, inf)" or "[0, 1]".

    >>> _inside(0.0, "(0, inf)"), _inside(1.0, "[0, 1]")
    (False, True)
    """
    low, high = (float(end) for end in span[1:-1].split(","))
    above = value > low if span[0] == "(" else value >= low
    below = value < high if span[-1] == ")" else value <= high
    return bool(above and below and math.isfinite(value))
