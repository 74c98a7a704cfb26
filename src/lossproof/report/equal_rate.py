"""Losses at equal rate: each loss's rate-distortion curve over its betas, interpolated within each seed.

A point is a (loss, beta, seed): its rate on one axis, its distortion on the other. Curves are interpolated per seed,
monotone between neighbours (Fritsch and Butland, SIAM J. Sci. Stat. Comput. 5, 1984, https://doi.org/10.1137/0905021),
in the logarithm of the distortion where that is a positive error; never extrapolated. Differences are paired by seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lossproof.formula.errors import LossproofError
from lossproof.report import paired
from lossproof.report.measures import Measure, describe
from lossproof.report.readable import listing, number, span

BETA = "beta"
DISTORTIONS = ("mse", "mae", "ssim", "bits_per_pixel")
LOGARITHMIC = frozenset({"mse", "mae"})  # errors above 0 that fall over orders of magnitude
POINT = ("loss", "beta", "seed", "rate", "value")
DIFFERENCE = (
    *("first", "second", "measure", "rate", "seeds", "first_value", "second_value"),
    *("difference", "low", "high", "separated", "reason"),
)
TICKS = 5
SAME = 1e-9  # of the largest rate: two betas that give the same rate are one point
CURVE_POINTS = 60

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One loss, one seed: rates ascending, with the distortion at each; interpolated between, nowhere else."""

    rates: Array
    values: Array
    logarithmic: bool

    def at(self, rates: npt.ArrayLike) -> Array:
        """Distortion at these rates, NaN outside the curve's own.

        >>> Curve(np.array([1.0, 3.0]), np.array([0.01, 0.0001]), True).at([2.0, 4.0]).round(6).tolist()
        [0.001, nan]
        """
        wanted = np.asarray(rates, dtype=np.float64)
        if self.rates.size < 2:
            return np.full(wanted.shape, np.nan)
        from scipy.interpolate import PchipInterpolator  # a slow import, of use to sweeps alone

        heights = np.log(self.values) if self.logarithmic else self.values
        found = np.asarray(PchipInterpolator(self.rates, heights, extrapolate=False)(wanted))
        return np.exp(found) if self.logarithmic else found


def has_sweep(table: pd.DataFrame) -> bool:
    """Whether some loss was trained at several betas and has a rate there."""
    if BETA not in table.columns:
        return False
    rates = table[(table["measure"] == "rate") & (table["split"] == "test") & (table["value"] > 0)]
    return bool((rates.groupby("loss")[BETA].nunique() > 1).any())


def measures(table: pd.DataFrame) -> list[Measure]:
    """The distortions of the table, in the reader's order."""
    present = set(table.loc[np.isfinite(table["value"]) & (table["split"] == "test"), "measure"])
    return [describe(name) for name in DISTORTIONS if name in present]


def points(table: pd.DataFrame, measure: str, epoch: int | None = None) -> pd.DataFrame:
    """Columns loss, beta, seed, rate, value: every member's end on the test images, where both are finite.

    Raises `LossproofError` for a table without betas, or one that lacks the measure or the rate.
    """
    paired.check_table(table)
    if BETA not in table.columns:
        raise LossproofError(
            "equal rate: expected the column beta, got a table without. Compare with several: --beta 0.5,1,2."
        )
    when = paired.last_epoch(table) if epoch is None else epoch
    rows = table[(table["split"] == "test") & (table["epoch"] == when)]
    sides = []
    for name in ("rate", measure):
        side = rows[rows["measure"] == name]
        if side.empty:
            known = ", ".join(map(str, rows["measure"].drop_duplicates()))
            raise LossproofError(f"equal rate: expected the measure {name} in the table, got only {known}.")
        sides.append(side.drop_duplicates("member", keep="last").set_index("member"))
    rate, value = sides
    joined = rate[["loss", BETA, "seed"]].assign(rate=rate["value"], value=value["value"]).dropna()
    finite = joined[np.isfinite(joined["rate"]) & np.isfinite(joined["value"])]
    return finite.loc[:, list(POINT)].astype({"loss": str, "seed": int}).reset_index(drop=True)


def curves(
    found: pd.DataFrame, measure: str, labels: Sequence[str] | None = None
) -> dict[str, dict[int, Curve]]:
    """Curves by loss and seed from `points`, for these losses (default: those with a point)."""
    order = list(found["loss"].drop_duplicates()) if labels is None else labels
    made: dict[str, dict[int, Curve]] = {label: {} for label in order}
    logarithmic = measure in LOGARITHMIC
    for (label, seed), part in found.groupby(["loss", "seed"], sort=False):
        usable = part[part["value"] > 0] if logarithmic else part
        ordered = usable.sort_values("rate")
        rates = ordered["rate"].to_numpy(dtype="float64")
        values = ordered["value"].to_numpy(dtype="float64")
        # betas that all collapse give one rate: their mean is one point
        starts = np.flatnonzero(
            np.diff(rates, prepend=-np.inf) > SAME * max(1e-300, float(np.max(rates, initial=0)))
        )
        if starts.size:
            sizes = np.diff(np.append(starts, rates.size))
            rates, values = (np.add.reduceat(a, starts) / sizes for a in (rates, values))
        made[str(label)][int(seed)] = Curve(rates, values, logarithmic)  # type: ignore[call-overload]
    return made


def reach(of_loss: dict[int, Curve], seeds: Sequence[int] | None = None) -> tuple[float, float]:
    """The rates that every one of these seeds' curves covers; (nan, nan) where there is no curve."""
    chosen = [c for s, c in of_loss.items() if c.rates.size > 1 and (seeds is None or s in seeds)]
    if not chosen:
        return math.nan, math.nan
    return max(float(c.rates[0]) for c in chosen), min(float(c.rates[-1]) for c in chosen)


def shared(first: dict[int, Curve], second: dict[int, Curve]) -> tuple[list[int], float, float]:
    """Seeds that have a curve under both losses, and the rates that all of those curves cover (low < high, or none)."""
    seeds = [s for s, c in first.items() if c.rates.size > 1 and s in second and second[s].rates.size > 1]
    low, high = (
        f(pair)
        for f, pair in zip(
            (max, min), zip(reach(first, seeds), reach(second, seeds), strict=True), strict=True
        )
    )
    return seeds, low, high


def common_rates(made: dict[str, dict[int, Curve]]) -> list[float]:
    """A few round rates inside the overlaps, at least one in each overlap.

    >>> line = lambda a, b: {0: Curve(np.array([a, b]), np.array([1.0, 2.0]), False)}
    >>> common_rates({"one": line(0.0, 40.0), "two": line(11.0, 60.0)})
    [15.0, 20.0, 25.0, 30.0, 35.0, 40.0]
    """
    labels = list(made)
    overlaps = [
        (low, high)
        for i, first in enumerate(labels)
        for second in labels[i + 1 :]
        for seeds, low, high in [shared(made[first], made[second])]
        if seeds and low < high
    ]
    if not overlaps:
        return []
    low, high = min(o[0] for o in overlaps), max(o[1] for o in overlaps)
    step = round_step((high - low) / TICKS)
    ticks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    chosen = {float(f"{t:.6g}") for t in ticks if any(a <= t <= b for a, b in overlaps)}
    for a, b in overlaps:
        if not any(a <= t <= b for t in chosen):
            middle = (a + b) / 2
            rounded = float(f"{middle:.3g}")
            chosen.add(rounded if a <= rounded <= b else middle)
    return sorted(chosen)


def round_step(width: float) -> float:
    """The largest of 1, 2, 2.5 and 5 times a power of ten that is at most this wide.

    >>> round_step(5.8), round_step(0.24), round_step(30)
    (5.0, 0.2, 25.0)
    """
    power = 10.0 ** math.floor(math.log10(width))
    return max(f * power for f in (1, 2, 2.5, 5) if f * power <= width * (1 + 1e-9))


def at_equal_rate(
    table: pd.DataFrame,
    names: Sequence[str] | None = None,
    *,
    rates: Sequence[float] | None = None,
    epoch: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Paired differences `first - second` of every two losses at equal rate, with t intervals over seeds.

    `names`: distortions (default: all the table has); `rates`: nats per image (default: a few round ones that the
    curves share). Columns: first, second, measure, rate, seeds, first_value, second_value, difference, low, high,
    separated, reason (why there is no number, or no interval). Raises `LossproofError` as `points` does.
    """
    rows: list[tuple[Any, ...]] = []
    for name in names if names is not None else [m.name for m in measures(table)]:
        labels = paired.losses(table)
        made = curves(points(table, name, epoch), name, labels)
        places = list(rates) if rates is not None else common_rates(made)
        for i, first in enumerate(labels):
            for second in labels[i + 1 :]:
                rows += _pair(made, first, second, name, places, level)
    return pd.DataFrame(rows, columns=list(DIFFERENCE))


def _pair(
    made: dict[str, dict[int, Curve]], first: str, second: str, name: str, places: list[float], level: float
) -> list[tuple[Any, ...]]:
    seeds, low, high = shared(made[first], made[second])
    empty = (math.nan, math.nan, math.nan, math.nan, math.nan, False)
    if not seeds:
        lone = first if not any(c.rates.size > 1 for c in made[first].values()) else second
        why = f"{lone} has fewer than two rates"
        return [(first, second, name, math.nan, 0, *empty, why)]
    if low >= high:
        return [(first, second, name, math.nan, 0, *empty, apart(made, first, second))]
    rows = []
    for rate in places:
        if not low <= rate <= high:
            reach_text = f"outside the shared rates, {number(low)} to {number(high)}"
            rows.append((first, second, name, rate, 0, *empty, reach_text))
            continue
        a, b = (np.array([float(made[label][s].at(rate)) for s in seeds]) for label in (first, second))
        mean, down, up = paired.t_interval(a - b, level)
        reason = paired.ONE_SEED if len(seeds) == 1 else ""
        apart_from_0 = bool(down > 0 or up < 0)
        rows.append(
            (first, second, name, rate, len(seeds), float(a.mean()), float(b.mean()), mean, down, up, apart_from_0, reason)
        )  # fmt: skip
    return rows


def apart(made: dict[str, dict[int, Curve]], first: str, second: str) -> str:
    """That no rate lies on all curves of two losses, with the rates that the seeds of each share."""
    parts = []
    for label in (first, second):
        low, high = reach(made[label])
        shared = f"{number(low)} to {number(high)} nats" if low < high else "no rate"
        parts.append(f"those of {label} share {shared}")
    return f"no rate is reached by all seeds of both ({listing(parts)})"


def band(of_loss: dict[int, Curve], level: float = 0.95) -> pd.DataFrame:
    """Columns rate, mean, low, high: a loss's curve averaged over seeds where all of them have it, with t intervals."""
    low, high = reach(of_loss)
    if not low < high:
        return pd.DataFrame({"rate": [], "mean": [], "low": [], "high": []})
    grid = np.linspace(low, high, CURVE_POINTS)
    values = np.stack([c.at(grid) for c in of_loss.values() if c.rates.size > 1])
    found = [paired.t_interval(column, level) for column in values.T]
    return pd.DataFrame(
        [(r, *f) for r, f in zip(grid, found, strict=True)], columns=["rate", "mean", "low", "high"]
    )


def words(frame: pd.DataFrame, level: float = 0.95) -> list[str]:
    """Sentences from `at_equal_rate`: one for every two losses, at the middle of their shared rates."""
    lines = []
    for (first, second), part in frame.groupby(["first", "second"], sort=False):
        held = part[part["seeds"] > 0]
        if held.empty:
            lines.append(f"{first} and {second}: {part['reason'].iloc[0]}; nothing is said about equal rate.")
            continue
        rates = sorted(held["rate"].unique())
        middle = rates[(len(rates) - 1) // 2]
        differing, equal = [], []
        for row in held[held["rate"] == middle].to_dict("records"):
            measure = describe(str(row["measure"]))
            text = f"{short(measure)} {'lower' if row['difference'] < 0 else 'higher'} by {_size(row)}{measure.suffix}"
            if row["separated"] or row["seeds"] == 1:
                differing.append(text + _turns(held, str(row["measure"]), middle, float(row["difference"])))
            else:
                equal.append(short(measure))
        text = f"At a rate of {middle:.4g} nats per image, {first} against {second}: "
        text += listing(differing) if differing else "no measurable difference"
        if equal:
            text += f"; not separated: {listing(equal)}" if differing else f" in {listing(equal)}"
        seeds = int(held["seeds"].max())
        about = (
            f"paired {100 * level:g} % intervals over {seeds} seeds"
            if seeds > 1
            else "one seed, may be chance"
        )
        lines.append(f"{text} ({about}).")
    return lines


def short(measure: Measure) -> str:
    """A measure's title without what stands in parentheses."""
    return measure.title.partition(" (")[0]


def _size(row: dict[Any, Any]) -> str:
    """How large a difference is, without its sign; its interval where there is one."""
    sign = -1.0 if row["difference"] < 0 else 1.0
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return span(abs(row["difference"]), low, high)


def _turns(held: pd.DataFrame, name: str, middle: float, difference: float) -> str:
    """That the order is the other way round, or not separated, at other rates; "" where it is the same at all."""
    others = held[(held["measure"] == name) & (held["rate"] != middle) & (held["seeds"] > 1)]
    turned = others[others["separated"] & (np.sign(others["difference"]) != np.sign(difference))]
    unclear = others[~others["separated"].astype(bool)]
    parts = []
    if len(turned):
        parts.append(f"the other way round at {listing([f'{r:.4g}' for r in turned['rate']])}")
    if len(unclear):
        parts.append(f"not separated at {listing([f'{r:.4g}' for r in unclear['rate']])}")
    return "".join(f", {part} nats" for part in parts)
