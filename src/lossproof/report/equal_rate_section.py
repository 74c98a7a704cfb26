"""The report's section on losses at equal rate: a plot and a table a distortion, and a paragraph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lossproof.report import equal_rate, paired
from lossproof.report.figures import Figure, Trace, clean, dash, layout, safe, tone
from lossproof.report.measures import Measure
from lossproof.report.readable import MINUS, number, span, with_margin
from lossproof.report.run import Run
from lossproof.report.tables import BEST, Cell, Row
from lossproof.report.trained import as_likelihood


@dataclass(frozen=True)
class Table:
    """One distortion at a few rates: what each loss reaches, then the paired differences."""

    measure: Measure
    rates: list[str]
    losses: list[Row]
    pairs: list[Row]


@dataclass(frozen=True)
class Section:
    """What the page shows of a run with several betas."""

    words: list[str]
    betas: str
    alike: bool  # one beta weighs all losses alike: all were trained in nats
    figures: list[Figure]
    tables: list[Table]


def section(run: Run, epoch: int) -> Section | None:
    """Plots, tables and words at equal rate; None where the run has one beta, or no rate."""
    table = run.sweep
    if not equal_rate.has_sweep(table):
        return None
    names = equal_rate.measures(table)
    frame = equal_rate.at_equal_rate(table, [m.name for m in names], epoch=epoch)
    made = {
        m.name: equal_rate.curves(equal_rate.points(table, m.name, epoch), m.name, run.labels) for m in names
    }
    betas = sorted(float(b) for b in table[equal_rate.BETA].dropna().unique())
    return Section(
        words=equal_rate.words(frame) if len(run.labels) > 1 else [],
        betas=", ".join(f"{beta:g}" for beta in betas),
        alike=all(as_likelihood(run.config, label) for label in run.labels),
        figures=[
            figure(run, measure, equal_rate.points(table, measure.name, epoch), made[measure.name])
            for measure in names
        ],
        tables=[values(frame[frame["measure"] == m.name], made[m.name], m) for m in names],
    )


def figure(
    run: Run, measure: Measure, points: pd.DataFrame, made: dict[str, dict[int, equal_rate.Curve]]
) -> Figure:
    """Every member as a point, each loss's mean curve with its interval as a band."""
    data: list[Trace] = []
    for index, label in enumerate(run.labels):
        if label not in made:
            continue
        shape = equal_rate.band(made[label])
        common = {
            "type": "scatter",
            "name": safe(label),
            "legendgroup": f"g{index}",
            "meta": {"tone": tone(index)},
        }
        whole = shape[np.isfinite(shape["low"]) & np.isfinite(shape["high"])]
        if len(whole) > 1:
            data.append(
                {
                    **common,
                    "mode": "lines",
                    "x": [*clean(whole["rate"]), *clean(whole["rate"][::-1])],
                    "y": [*clean(whole["low"]), *clean(whole["high"][::-1])],
                    "fill": "toself",
                    "line": {"width": 0},
                    "showlegend": False,
                    "hoverinfo": "skip",
                }
            )
        mine = points[points["loss"] == label]
        data.append(
            {
                **common,
                "mode": "markers",
                "x": clean(mine["rate"]),
                "y": clean(mine["value"]),
                "customdata": [[float(b), int(s)] for b, s in zip(mine["beta"], mine["seed"], strict=True)],
                "marker": {"size": 6, "opacity": 0.7},
                "showlegend": not len(shape),
                "hovertemplate": "beta %{customdata[0]:g}, seed %{customdata[1]}: rate %{x:.4g}, %{y:.4g}",
            }
        )
        if len(shape):
            data.append(
                {
                    **common,
                    "mode": "lines",
                    "x": clean(shape["rate"]),
                    "y": clean(shape["mean"]),
                    "line": {"width": 2.4, "dash": dash(index)},
                    "hovertemplate": "rate %{x:.4g} nats: %{y:.4g}",
                }
            )
    # the plot's title names the measure: with it, the axis' would be longer than a small plot is high
    look = layout(safe(measure.unit), log=measure.name in equal_rate.LOGARITHMIC)
    look["xaxis"] |= {"title": {"text": "rate (nats per image)"}, "rangemode": "tozero"}
    look["hovermode"] = "closest"
    return Figure(
        f"equal-{measure.name}",
        equal_rate.short(measure),
        f"Rate against {equal_rate.short(measure)} on the test images: one point a member, one curve a loss over its betas"
        f"{', with the 95 % interval over seeds as a band' if points['seed'].nunique() > 1 else ''}.",
        data,
        look,
    )


def values(frame: pd.DataFrame, made: dict[str, dict[int, equal_rate.Curve]], measure: Measure) -> Table:
    """Rows of one distortion: each loss's mean at the rates, then `first - second`."""
    rates = sorted(float(r) for r in frame["rate"].dropna().unique())
    losses = [Row(label, [_reached(curves, rate) for rate in rates]) for label, curves in made.items()]
    pairs = []
    for (first, second), part in frame.groupby(["first", "second"], sort=False):
        by_rate = {row["rate"]: row for row in part.to_dict("records")}
        whole = part["reason"].iloc[0]
        cells = [_difference(by_rate[r]) if r in by_rate else Cell("", reason=str(whole)) for r in rates]
        pairs.append(Row(f"{first} {MINUS} {second}", cells))
    return Table(measure, [f"{rate:.4g}" for rate in rates], losses, pairs)


def _reached(curves: dict[int, equal_rate.Curve], rate: float) -> Cell:
    found = [value for c in curves.values() if np.isfinite(value := float(c.at(rate)))]
    if not found:
        low, high = equal_rate.reach(curves)
        known = low < high
        return Cell(
            "", reason=f"its rates: {number(low)} to {number(high)}" if known else "fewer than two rates"
        )
    mean, low, _ = paired.t_interval(found)
    text = with_margin(mean, mean - low)
    return Cell(text + (f" ({len(found)} of {len(curves)} seeds)" if len(found) < len(curves) else ""))


def _difference(row: dict[Any, Any]) -> Cell:
    if not row["seeds"]:
        return Cell("", reason=str(row["reason"]))
    text = span(*(float(row[key]) for key in ("difference", "low", "high")))
    return Cell(text, BEST if row["separated"] else "", reason=str(row["reason"]))
