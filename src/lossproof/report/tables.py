"""Rows for the report's tables: losses and members under every measure, cross matrix, differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lossproof.report import paired, trained
from lossproof.report.measures import Measure, ordered, split_of
from lossproof.report.readable import MINUS, number, span, with_margin
from lossproof.report.run import Run, brief
from lossproof.report.words import rivals
from lossproof.train.table import EXCESS_UNDER, MEASURES, OF_LAW, TRANSFORM

BEST = "best"
NEAR = "near"
IN_ITS_UNIT = ("loss", "objective", "nats")  # measures in the unit of what a member is trained under
APART = ("likelihood", "density", "calibration")  # kinds of measures


@dataclass(frozen=True)
class Cell:
    """Text of a cell; `mark`: "best", "near" (not separated from the best) or ""; `reason` if empty."""

    text: str
    mark: str = ""
    reason: str = ""
    own: bool = False


@dataclass(frozen=True)
class Row:
    """One row: its head and cells; `measure` when the row belongs to one."""

    head: str
    cells: list[Cell]
    measure: Measure | None = None


def measured(run: Run) -> list[Measure]:
    """Measures that have a finite value somewhere, in the reader's order.

    Without a rate (a plain autoencoder) the objective is the loss, and neither rate nor objective is listed.
    Likelihoods have tables of their own: here a density would stand beside a mass.
    """
    finite = run.table[np.isfinite(run.table["value"]) | (run.table["measure"].isin(["floor"]))]
    rated = bool((finite.loc[finite["measure"] == "rate", "value"] != 0).any())
    names = finite["measure"].drop_duplicates()
    names = names[~names.map(kind_of).isin(APART)]
    found = ordered(names if rated else names[~names.isin(["rate", "objective"])])
    return [trained.named(measure, run.config, run.labels) for measure in found]


def kind_of(name: str) -> str:
    """The kind of a measure; "" of one that is not known."""
    if name.startswith((TRANSFORM, OF_LAW)):
        return "calibration"
    return MEASURES[name].kind if name in MEASURES else ""


def by_loss(run: Run, epoch: int) -> list[Row]:
    """One row a measure, one cell a loss: mean over seeds ± half of the 95 % interval."""
    rows = []
    for measure in measured(run):
        if not measure.name.startswith(EXCESS_UNDER):
            rows.append(
                Row(
                    measure.title,
                    [noted(run, measure, c, at) for at, c in enumerate(cells(run, measure, epoch))],
                    measure,
                )
            )
    return rows


def noted(run: Run, measure: Measure, cell: Cell, place: int) -> Cell:
    """A value of a loss's own scale, marked where it is a density: it stands beside masses and losses here."""
    if kind_of(measure.name) != "own loss" or measure.name not in IN_ITS_UNIT or not cell.text:
        return cell
    entry = trained.entry_of(run.config, run.labels[place])
    if measure.name == "loss" and not entry.get("decoder"):
        return cell  # of a calibrated loss too it is the loss itself
    if not trained.dense(str(entry.get("unit") or "")):
        return cell
    return Cell(f"{cell.text} (density)", cell.mark, cell.reason, cell.own)


def cross(run: Run, epoch: int) -> tuple[list[Measure], list[Row]]:
    """Rows: losses trained under; columns: excess under each loss. Marks are per column."""
    columns = [measure for measure in measured(run) if measure.name.startswith(EXCESS_UNDER)]
    by_column = [cells(run, measure, epoch) for measure in columns]
    rows = []
    for index, label in enumerate(run.labels):
        line = [
            Cell(
                column[index].text,
                column[index].mark,
                column[index].reason,
                measure.name == EXCESS_UNDER + label,
            )
            for measure, column in zip(columns, by_column, strict=True)
        ]
        rows.append(Row(label, line))
    return columns, rows


def cells(run: Run, measure: Measure, epoch: int, *, marks: bool = True) -> list[Cell]:
    """One cell a loss: mean over seeds ± half of the 95 % interval; the best marked where `marks`."""
    split = split_of(measure.name)
    when = 0 if measure.name.startswith("mean_image") else epoch
    frame = (
        paired.intervals(run.table, measure.name, split=split, epoch=when)
        .set_index("loss")
        .reindex(run.labels)
    )
    best, near = rivals(run.table, measure, epoch) if marks and measure.common else ("", set())
    if len(frame) < 2:
        best, near = "", set()
    every = int(run.table["seed"].nunique())
    found = []
    for label, row in frame.iterrows():
        count = int(row["seeds"]) if np.isfinite(row["seeds"]) else 0
        if count == 0:
            found.append(Cell("", reason=brief(run, str(row["reason"]))))
            continue
        text = with_margin(float(row["mean"]), float(row["high"] - row["mean"]))
        if count < every:
            text += f" ({count} of {every} seeds)"
        tied = bool(best) and bool(row["mean"] == frame["mean"].get(best))
        found.append(Cell(text, BEST if tied else NEAR if label in near else ""))
    return found


def by_member(run: Run, epoch: int) -> tuple[list[Measure], list[Row]]:
    """One row a member, one column a measure; single values, no interval."""
    columns = measured(run)
    wide = {
        (measure.name): run.table[
            (run.table["measure"] == measure.name)
            & (run.table["split"] == split_of(measure.name))
            & (run.table["epoch"] == (0 if measure.name.startswith("mean_image") else epoch))
        ]
        .drop_duplicates("member", keep="last")
        .set_index("member")
        for measure in columns
    }
    rows = []
    for label in run.labels:
        for member, _ in run.members(label):
            cells = []
            for measure in columns:
                part = wide[measure.name]
                value = float(part["value"].get(member, np.nan))
                if np.isnan(value):
                    stated = str(part["reason"].get(member, ""))
                    cells.append(Cell("", reason=brief(run, stated or member_reason(run, member))))
                else:
                    cells.append(Cell(number(value, 4)))
            rows.append(Row(member, cells))
    return columns, rows


def member_reason(run: Run, member: str) -> str:
    """Why a member has no value: its last stated reason in the table, else its event."""
    rows = run.table[(run.table["member"] == member) & (run.table["reason"] != "")]
    if len(rows):
        return str(rows["reason"].iloc[-1])
    for event in run.events:
        if event.get("member") == member:
            return str(event.get("message", "stopped"))
    return "not measured"


def pairs(run: Run, epoch: int) -> tuple[list[Measure], list[Row]]:
    """One row for every two losses, one column a measure on a common scale: difference with its interval.

    Two losses that share no value, because one of them stopped, have no row.
    """
    columns = [measure for measure in measured(run) if measure.common]
    frames = [
        paired.differences(run.table, measure.name, split=split_of(measure.name), epoch=epoch)
        for measure in columns
    ]
    if not frames or frames[0].empty:
        return columns, []
    rows = []
    for index in range(len(frames[0])):
        head = f"{frames[0]['first'].iloc[index]} {MINUS} {frames[0]['second'].iloc[index]}"
        cells = [_difference(run, frame.iloc[index]) for frame in frames]
        if any(cell.text for cell in cells):
            rows.append(Row(head, cells))
    return columns, rows


def _difference(run: Run, row: pd.Series) -> Cell:
    if int(row["seeds"]) == 0 or np.isnan(row["difference"]):
        return Cell("", reason=brief(run, str(row["reason"])))
    text = span(float(row["difference"]), float(row["low"]), float(row["high"]))
    return Cell(text, BEST if row["separated"] else "", reason=str(row["reason"]))
