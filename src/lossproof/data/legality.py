"""Which losses may be used on the data: each loss's target interval against the values found."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lossproof.data.facts import Part, Verdict
from lossproof.data.levels import Levels
from lossproof.formula.errors import LossproofError


def judge(loss: Any, levels: Sequence[Levels], parts: Sequence[Part], pixels: int, fix: str) -> Verdict:
    """Judge one loss. ``fix`` is the line that brings the data to [0, 1], empty if they lie there."""
    reason, line = _why_not(loss.target, levels, parts, fix)
    floors: list[float | None] = [None, None]
    floor_reason = "not legal on this data" if reason else ""
    if not reason:
        floors, floor_reason = _floors(loss, levels, pixels)
    return Verdict(
        loss.label,
        loss.title,
        str(loss.target),
        loss.minimum,
        not reason,
        reason,
        line,
        floors[0],
        floors[1] if len(floors) > 1 else None,
        floor_reason,
    )


def _why_not(target: Any, levels: Sequence[Levels], parts: Sequence[Part], fix: str) -> tuple[str, str]:
    total = sum(found.total for found in levels)
    lost = total - sum(int(found.counts.sum()) for found in levels)
    if lost:
        return (
            f"{lost} of {total} values are NaN or infinite",
            fix or "x = x[np.isfinite(x).all(axis=(1, 2, 3))]",
        )
    outside = sum(int(found.counts[~target.contains(found.values)].sum()) for found in levels)
    if not outside:
        return "", ""
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    below = any(bool((found.values < target.low).any()) for found in levels)
    above = any(bool((found.values > target.high).any()) for found in levels)
    share = f"{100 * outside / total:.3g} % of the values"
    if not (below or above):  # only an open end is touched
        ends = [
            f"{e:g}"
            for e, is_open in ((target.low, target.low_open), (target.high, target.high_open))
            if is_open and low <= e <= high
        ]
        return (
            f"{share} lie at {' or '.join(ends)}, and the target must lie in {target}",
            _inside(target, fix),
        )
    found = (
        f"smallest {low:.4g}"
        if below and not above
        else f"largest {high:.4g}"
        if above and not below
        else f"{low:.4g}..{high:.4g}"
    )
    return (
        f"{share} lie outside {target} ({found})",
        fix or f"x = np.clip(x, {target.low:g}, {target.high:g})",
    )


def _inside(target: Any, fix: str) -> str:
    low = (
        f"{target.low + 1e-3:g}"
        if target.low_open and np.isfinite(target.low)
        else f"{target.low:g}"
        if np.isfinite(target.low)
        else "None"
    )
    high = (
        f"{target.high - 1e-3:g}"
        if target.high_open and np.isfinite(target.high)
        else f"{target.high:g}"
        if np.isfinite(target.high)
        else "None"
    )
    return fix or f"x = np.clip(x, {low}, {high})"


def _floors(loss: Any, levels: Sequence[Levels], pixels: int) -> tuple[list[float | None], str]:
    from lossproof.lower import function

    known = function(loss)
    floors: list[float | None] = []
    for found in (part.coarse() for part in levels):
        try:
            with np.errstate(all="ignore"):
                per_value = np.asarray(known.floor(found.values), np.float64)
        except LossproofError as e:
            return [None] * len(levels), str(e)
        lowest = np.isneginf(per_value)
        if np.isnan(per_value).any():
            return [None] * len(levels), f"no floor at target {found.values[np.isnan(per_value)][0]:g}"
        if lowest.any():
            at = found.values[lowest]
            where = " and ".join(f"{v:g}" for v in at[:2]) + (", ..." if at.size > 2 else "")
            return [-np.inf] * len(
                levels
            ), f"minus infinity at targets {where} ({100 * found.share(lowest):.3g} % of the values)"
        floors.append(found.mean(per_value) * pixels)
    return floors, ""
