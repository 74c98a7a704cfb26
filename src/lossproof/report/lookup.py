"""Looking things up in the long results table: it is taken apart once, and not searched for every number of a page."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd


class Lookup:
    """A table's rows by (measure, split), its losses, and what has been worked out of it so far.

    The table is taken to be what it was when it was first looked up.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        groups = table.groupby(["measure", "split"], sort=False, dropna=False)
        self.parts = {(str(key[0]), str(key[1])): part for key, part in groups}
        self.none = table.iloc[:0]
        self.losses = [str(label) for label in table["loss"].drop_duplicates()]
        self.betas = int(table["beta"].nunique()) if "beta" in table.columns else 1
        self.known: dict[Hashable, Any] = {}

    def rows(self, measure: str, split: str, epoch: int | None = None) -> pd.DataFrame:
        """The rows of a measure on a split, in the table's order."""
        part = self.parts.get((measure, split), self.none)
        return part if epoch is None else part[part["epoch"].to_numpy() == epoch]


_LOOKUPS: dict[int, tuple[weakref.ref[pd.DataFrame], Lookup]] = {}
_MOST = 8


def lookup(table: pd.DataFrame) -> Lookup:
    """The table's lookup, made once as long as the table is in use.

    >>> t = pd.DataFrame({"measure": ["mse"], "split": ["test"], "loss": ["bce"], "epoch": [1]})
    >>> lookup(t) is lookup(t), lookup(t) is lookup(t.copy())
    (True, False)
    """
    kept = _LOOKUPS.get(id(table))
    if kept is not None and kept[0]() is table:
        return kept[1]
    while len(_LOOKUPS) >= _MOST:
        del _LOOKUPS[next(iter(_LOOKUPS))]
    made = Lookup(table)
    _LOOKUPS[id(table)] = (weakref.ref(table), made)
    return made


def spread(rows: pd.DataFrame, down: str, across: str, columns: Sequence[Any] | None = None) -> pd.DataFrame:
    """Values by two columns, sorted; NaN where there is none, the last one where there are several.

    >>> t = pd.DataFrame({"seed": [1, 0, 1], "loss": ["a", "a", "b"], "value": [1.0, 2.0, 3.0]})
    >>> spread(t, "seed", "loss").to_numpy().tolist()
    [[2.0, nan], [1.0, 3.0]]
    """
    lines = np.unique(rows[down].to_numpy())
    heads = list(columns) if columns is not None else sorted(rows[across].unique().tolist())
    at = {head: place for place, head in enumerate(heads)}
    values = np.full((len(lines), len(heads)), np.nan)
    found = rows["value"].to_numpy(dtype="float64", na_value=np.nan)
    across_at = np.array([at.get(head, -1) for head in rows[across].tolist()], dtype=np.int64)
    shown = ~np.isnan(found) & (across_at >= 0)
    values[np.searchsorted(lines, rows[down].to_numpy())[shown], across_at[shown]] = found[shown]
    return pd.DataFrame(values, index=pd.Index(lines, name=down), columns=pd.Index(heads, name=across))


__all__ = ["Lookup", "lookup", "spread"]
