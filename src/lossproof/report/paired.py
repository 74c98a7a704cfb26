"""Means and paired differences over seeds, with Student's t intervals.

Members of one seed share initial weights, batches and noise, so a difference is taken within each seed first;
what the seeds have in common drops out of it. `table` is the long results table (`results.parquet`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import special  # not stats, whose import takes as long as a small report

from lossproof.formula.errors import LossproofError
from lossproof.report.lookup import lookup, spread

NEEDED = ("member", "loss", "seed", "epoch", "split", "measure", "value", "reason")
ONE_SEED = "no interval: one seed"
INTERVAL = ("loss", "measure", "epoch", "seeds", "mean", "low", "high", "reason")
DIFFERENCE = (
    *("first", "second", "measure", "epoch", "seeds"),
    *("difference", "low", "high", "separated", "reason"),
)


def check_table(table: pd.DataFrame, where: str = "results table") -> None:
    """Raise `LossproofError` unless `table` has the long results table's columns and at least one row."""
    missing = [column for column in NEEDED if column not in table.columns]
    if missing:
        raise LossproofError(
            f"{where}: expected the columns {', '.join(NEEDED)}, got none named {', '.join(missing)} "
            f"(it has {', '.join(map(str, table.columns)) or 'no column'}). Was it written by "
            "`lossproof compare`?"
        )
    if table.empty:
        raise LossproofError(f"{where}: expected at least one row, got 0. Train at least one epoch.")


def losses(table: pd.DataFrame) -> list[str]:
    """Loss labels in order of appearance."""
    return list(lookup(table).losses)


def last_epoch(table: pd.DataFrame, split: str = "test") -> int:
    """The last epoch at which every loss that still runs has a finite value of its own loss.

    A loss counts as stopped when every one of its members carries a reason on some row of `loss`. An
    interrupted run is thus read at the last epoch that all of its losses reached.
    """
    check_table(table)
    known = lookup(table).known
    if ("last", split) not in known:
        known["last", split] = _last_epoch(table, split)
    found: int = known["last", split]
    return found


def _last_epoch(table: pd.DataFrame, split: str) -> int:
    rows = lookup(table).rows("loss", split)
    if rows.empty:
        return int(table["epoch"].max())
    stopped_members = set(rows.loc[rows["reason"].fillna("") != "", "member"])
    members = rows.groupby("loss", sort=False)["member"].unique()
    live = {label for label, names in members.items() if not set(names) <= stopped_members}
    finite = rows[np.isfinite(rows["value"])]
    reached = finite[finite["loss"].isin(live)].groupby("epoch")["loss"].nunique()
    complete = reached[reached == len(live)] if live else reached
    if complete.empty:
        return int(finite["epoch"].max()) if len(finite) else int(rows["epoch"].max())
    return int(complete.index.max())


def at(table: pd.DataFrame, measure: str, *, split: str = "test", epoch: int | None = None) -> pd.DataFrame:
    """One measure at one epoch (the last by default): a row a seed, a column a loss, NaN where empty."""
    check_table(table)
    found = lookup(table)
    if found.betas > 1:
        raise LossproofError(
            f"paired: expected the rows of one beta, got {found.betas} betas, whose members would be mixed. "
            "Use lossproof.train.table.at_base(table, config), or table[table.beta == 1]."
        )
    when = last_epoch(table, split) if epoch is None else epoch
    return spread(found.rows(measure, split, when), "seed", "loss", found.losses)


def t_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and its two-sided Student's t interval; NaN ends with fewer than two values.

    >>> mean, low, high = t_interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    """
    if not 0 < level < 1:
        raise LossproofError(
            f"t_interval: expected level in (0, 1), got {level!r}. Use 0.95 for a 95 % interval."
        )
    sample = np.asarray(values, dtype="float64")
    if sample.size == 0:
        return float("nan"), float("nan"), float("nan")
    with np.errstate(invalid="ignore"):  # inf - inf has no mean: NaN is the answer
        mean = float(sample.mean())
    if sample.size == 1 or not np.isfinite(sample).all():
        return mean, float("nan"), float("nan")
    half = quantile(level, sample.size - 1) * float(sample.std(ddof=1)) / math.sqrt(sample.size)
    return mean, mean - half, mean + half


@cache
def quantile(level: float, freedom: int) -> float:
    """Student's t quantile that leaves half of 1 - level above it."""
    return float(special.stdtrit(freedom, (1 + level) / 2))


def intervals(
    table: pd.DataFrame, measure: str, *, split: str = "test", epoch: int | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Mean of `measure` over seeds for every loss, with its t interval.

    Columns: loss, measure, epoch, seeds (how many have a value), mean, low, high, reason (why there is no
    mean or no interval, else "").
    """
    when = last_epoch(table, split) if epoch is None else epoch
    known, key = lookup(table).known, ("intervals", measure, split, when, level)
    if key not in known:
        known[key] = list(_means(table, measure, split, when, level))
    return pd.DataFrame(known[key], columns=list(INTERVAL))


def _means(
    table: pd.DataFrame, measure: str, split: str, when: int, level: float
) -> Iterator[tuple[object, ...]]:
    wide = at(table, measure, split=split, epoch=when)
    for label, column in zip(wide.columns, wide.to_numpy().T, strict=True):
        sample = column[~np.isnan(column)]
        mean, low, high = t_interval(sample, level)
        reason = (
            why_empty(table, label, measure, split)
            if sample.size == 0
            else ONE_SEED
            if sample.size == 1
            else ""
        )
        yield (label, measure, when, int(sample.size), mean, low, high, reason)


def why_empty(table: pd.DataFrame, label: str, measure: str, split: str = "test") -> str:
    """The last reason the table states for a loss's missing values: of this measure, else of any."""
    rows = table[(table["loss"] == label) & (table["reason"].fillna("") != "")]
    own = rows[(rows["measure"] == measure) & (rows["split"] == split)]
    chosen = own if len(own) else rows
    return str(chosen["reason"].iloc[-1]) if len(chosen) else "not measured"


def differences(
    table: pd.DataFrame,
    measures: str | Sequence[str],
    *,
    split: str = "test",
    epoch: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Paired differences `first - second` of every two losses, over the seeds that both have.

    Columns: first, second, measure, epoch, seeds, difference, low, high, separated (True when the interval
    does not hold 0), reason ("no interval: one seed", or why there is no difference). The interval is that
    of the paired t test (Student, Biometrika 1908, https://doi.org/10.1093/biomet/6.1.1). Raises
    `LossproofError` on a table without the needed columns or an unknown measure.

    >>> values = {"a": (1.0, 2.0, 4.0), "b": (2.0, 4.0, 5.0)}
    >>> rows = [(f"{k}-s{s}", k, s, 1, "test", m, v, "") for k in values for s, v in enumerate(values[k])
    ...         for m in ("loss", "mse")]
    >>> one = differences(pd.DataFrame(rows, columns=NEEDED), "mse").iloc[0]
    >>> print(round(one.difference, 3), round(one.low, 3), round(one.high, 3), one.separated)
    -1.333 -2.768 0.101 False
    """
    check_table(table)
    names = [measures] if isinstance(measures, str) else list(measures)
    found = lookup(table)
    when = last_epoch(table, split) if epoch is None else epoch
    rows = []
    for measure in names:
        key = ("differences", measure, split, when, level)
        if key not in found.known:
            known = dict.fromkeys(name for name, _ in found.parts)
            if measure not in known:
                raise LossproofError(
                    f"differences: expected a measure of the table ({', '.join(map(str, known))}), got "
                    f"{measure!r}."
                )
            found.known[key] = list(_pairs(table, measure, split, when, level))
        rows += found.known[key]
    return pd.DataFrame(rows, columns=list(DIFFERENCE))


def _pairs(
    table: pd.DataFrame, measure: str, split: str, when: int, level: float
) -> Iterator[tuple[object, ...]]:
    wide = at(table, measure, split=split, epoch=when)
    columns = list(zip(wide.columns, wide.to_numpy().T, strict=True))
    for (first, one), (second, other) in combinations(columns, 2):
        with np.errstate(invalid="ignore"):
            delta = (one - other)[~(np.isnan(one) | np.isnan(other))]
        mean, low, high = t_interval(delta, level)
        reason = ONE_SEED if len(delta) == 1 else ""
        if len(delta) == 0:
            reason = why_empty(table, first if np.isnan(one).all() else second, measure, split)
        apart = bool(low > 0 or high < 0)
        yield (first, second, measure, when, len(delta), mean, low, high, apart, reason)
