"""Plots as plain plotly dictionaries, functions of the run. Colours are left to the page, which knows light
from dark.

A trace carries `meta.tone`: the name of a colour of the style sheet ("loss-0", "floor", ...), put in by the
page's script. Text that came from outside is escaped here, because plotly reads tags inside its texts.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lossproof.report.lookup import lookup, spread
from lossproof.report.paired import why_empty
from lossproof.report.readable import number
from lossproof.report.run import Run, brief
from lossproof.report.tables import measured

TONES = 6
DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot", "12px,3px,2px,3px,2px,3px")

Trace = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One plot: its id in the page, plotly's data and layout, and a text for who cannot see it."""

    key: str
    title: str
    alt: str
    data: list[Trace]
    layout: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def tone(index: int) -> str:
    """Colour name of the loss at that place."""
    return f"loss-{index % TONES}"


def dash(index: int) -> str:
    """Dash of the loss at that place; with more losses than colours, colour and dash part company.

    >>> dash(0), dash(1), dash(6)
    ('solid', 'dash', 'dash')
    """
    return DASHES[(index + index // TONES) % len(DASHES)]


def safe(text: object) -> str:
    """Text for plotly: tags and entities shown as they are written.

    >>> safe("<b>a</b>")
    '&lt;b&gt;a&lt;/b&gt;'
    """
    return html.escape(str(text), quote=False)


def series(table: pd.DataFrame, measure: str, split: str = "test") -> dict[str, pd.DataFrame]:
    """Per loss: one row an epoch, one column a seed."""
    rows = lookup(table).rows(measure, split)
    return {str(label): spread(part, "epoch", "seed") for label, part in rows.groupby("loss", sort=False)}


def curve(
    frame: pd.DataFrame, label: str, index: int, *, unit: str, scale: float = 1.0, legend: bool = True
) -> list[Trace]:
    """Seeds as thin lines and their mean (over the seeds that have a value) as a thick one."""
    epochs = [int(epoch) for epoch in frame.index]
    values = frame.to_numpy(dtype="float64") * scale
    traces: list[Trace] = []
    common = {"type": "scatter", "mode": "lines", "name": safe(label), "legendgroup": f"g{index}"}
    if frame.shape[1] > 1:
        for column in values.T:
            traces.append(
                {
                    **common,
                    "x": epochs,
                    "y": clean(column),
                    "showlegend": False,
                    "opacity": 0.45,
                    "hoverinfo": "skip",
                    "line": {"width": 1, "dash": "solid"},
                    "meta": {"tone": tone(index)},
                }
            )
    shown = np.isfinite(values)
    with np.errstate(invalid="ignore"):  # an epoch at which no seed has a value: a gap
        mean = np.where(shown, values, 0.0).sum(1) / shown.sum(1)
    traces.append(
        {
            **common,
            "x": epochs,
            "y": clean(mean),
            "showlegend": legend,
            "mode": "lines+markers" if len(epochs) < 3 else "lines",
            "line": {"width": 2.6, "dash": dash(index)},
            "meta": {"tone": tone(index)},
            "hovertemplate": "epoch %{x}: %{y:.4g} " + unit,
        }
    )
    return traces


def clean(values: npt.ArrayLike) -> list[float | None]:
    """Values for JSON: what is not finite becomes a gap."""
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return [number if math.isfinite(number) else None for number in numbers]


def progress(run: Run) -> Figure | None:
    """Excess left, in percent of the mean image's: one scale for the training of all losses."""
    frames = series(run.table, "excess")
    base = series(run.table, "mean_image_excess")
    data: list[Trace] = []
    for index, label in enumerate(run.labels):
        if label not in frames or label not in base:
            continue
        start = base[label].to_numpy(dtype="float64")
        start = start[np.isfinite(start) & (start > 0)]
        if start.size:
            data += curve(frames[label], label, index, unit="%", scale=100 / float(start.mean()))
    if not data:
        return None
    return Figure(
        "progress",
        "How much of the mean image's excess is left",
        "Line plot over epochs: for every loss, its excess on the test images as a percentage of the "
        "excess of always "
        "predicting the mean image, on a logarithmic scale.",
        data,
        layout("excess left (%)", log=True),
        "100 % is what always predicting the mean image would leave; 0 % is a perfect "
        "reconstruction. Each loss is "
        "measured on its own scale, so this shows how far each got by its own lights, not which "
        "pictures are closer.",
    )


@dataclass(frozen=True)
class Panel:
    """The plots of one loss; where one is None there is nothing to draw, and `why` says so."""

    label: str
    whole: Figure | None
    excess: Figure | None
    why: str = ""


def loss_panels(run: Run) -> list[Panel]:
    """For every loss: its curve with floor and mean image, and its excess on its own."""
    tables = {name: series(run.table, name) for name in ("loss", "floor", "excess", "mean_image_loss")}
    panels = []
    for index, label in enumerate(run.labels):
        if label not in tables["loss"]:
            continue
        frame = tables["loss"][label]
        floor = _level(tables["floor"].get(label))
        mean_image = _level(tables["mean_image_loss"].get(label))
        shown = frame[frame.index >= 1] if (frame.index >= 1).any() else frame
        data = curve(shown, label, index, unit="nats", legend=False)
        xs = [int(shown.index.min()), int(shown.index.max())]
        notes = []
        for level, name, style in ((floor, "floor", "dot"), (mean_image, "mean image", "3px,6px")):
            if level is None:
                continue
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": xs,
                    "y": [level, level],
                    "name": name,
                    "showlegend": False,
                    "line": {"width": 1.6, "dash": style},
                    "meta": {"tone": "floor" if name == "floor" else "muted"},
                    "hovertemplate": name + ": %{y:.4g} nats",
                }
            )
            notes.append(
                {
                    "x": 1,
                    "xref": "paper",
                    "xanchor": "right",
                    "y": level,
                    "yanchor": "bottom",
                    "boxed": True,
                    "showarrow": False,
                    "text": f"{name} {number(level)}",
                }
            )
        ys = [v for v in (floor, mean_image, *clean(pd.Series(shown.to_numpy().ravel()))) if v is not None]
        low, high = (min(ys), max(ys)) if ys else (0.0, 1.0)
        pad = 0.08 * (high - low or 1.0)
        look = layout("nats per image", legend=False)
        look["annotations"] = notes
        look["yaxis"]["range"] = [
            min(0.0, low - pad) if low <= 0 or low < 0.5 * high else low - pad,
            high + 1.6 * pad,
        ]
        whole = Figure(
            f"loss-{index}",
            f"{label}: loss and floor",
            f"Line plot over epochs: loss {label} on the test images, with its floor "
            f"({'none' if floor is None else number(floor)}) and the loss of the mean image "
            f"({'not measured' if mean_image is None else number(mean_image)}), in nats per image.",
            data,
            look,
        )
        over = tables["excess"].get(label, frame.iloc[0:0])
        excess = Figure(
            f"excess-{index}",
            f"{label}: excess",
            f"Line plot over epochs: excess of {label} over its floor on the test images, nats per "
            "image, logarithmic.",
            curve(over, label, index, unit="nats", legend=False),
            layout("nats per image", log=True, legend=False),
        )
        drawn = _epochs(shown) > 0, _epochs(over) > 1
        why = "" if all(drawn) else brief(run, why_empty(run.table, label, "excess" if drawn[0] else "loss"))
        panels.append(Panel(label, whole if drawn[0] else None, excess if drawn[1] else None, why))
    return panels


def _epochs(frame: pd.DataFrame) -> int:
    return int(np.isfinite(frame.to_numpy(dtype="float64")).any(axis=1).sum())


def _level(frame: pd.DataFrame | None) -> float | None:
    if frame is None:
        return None
    values = frame.to_numpy(dtype="float64")
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None


def dead_pixels(run: Run) -> Figure | None:
    """Share of dead pixels over epochs, in percent."""
    frames = series(run.table, "dead_pixels")
    data: list[Trace] = []
    for index, label in enumerate(run.labels):
        if label in frames and np.isfinite(frames[label].to_numpy(dtype="float64")).any():
            data += curve(frames[label], label, index, unit="%", scale=100.0)
    if not data:
        return None
    look = layout("% of test pixels")
    look["yaxis"]["rangemode"] = "tozero"
    return Figure(
        "dead",
        "Dead pixels over training",
        "Line plot over epochs: for every loss, the percentage of test pixels that are wrong and yet "
        "nearly without "
        "gradient.",
        data,
        look,
    )


def chooser(run: Run) -> dict[str, Any] | None:
    """All curves of the table for the page's "any measure" plot: options, and curves by key."""
    options, values = [], {}
    for measure in measured(run):
        for split in ("test", "train"):
            frames = series(run.table, measure.name, split)
            entry = []
            for index, label in enumerate(run.labels):
                frame = frames.get(label)
                if frame is None or not np.isfinite(frame.to_numpy(dtype="float64")).any() or len(frame) < 2:
                    continue
                entry += curve(frame, label, index, unit=safe(measure.unit))
            if entry:
                key = f"{measure.name}|{split}"
                values[key] = {"data": entry, "layout": layout(safe(measure.unit))}
                scale = (
                    ""
                    if measure.common or measure.name in {"rate", "active_units"}
                    else ", each on its own scale"
                )
                options.append((key, f"{measure.head}, {split}{scale}"))
    return {"options": options, "values": values} if options else None


def layout(y_title: str, *, log: bool = False, legend: bool = True) -> dict[str, Any]:
    """Axes and legend, without colours."""
    y_axis: dict[str, Any] = {"title": {"text": y_title}, "automargin": True}
    if log:
        y_axis |= {"type": "log", "exponentformat": "none", "nticks": 7}
    return {
        "xaxis": {"title": {"text": "epoch"}, "automargin": True},
        "yaxis": y_axis,
        "showlegend": legend,
        "hovermode": "x unified",
    }
