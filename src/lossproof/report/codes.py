"""Plots of the code: rate against distortion, and where the test images lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lossproof.report.figures import Figure, Trace, clean, layout, safe, series, tone
from lossproof.report.run import Run

SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "x",
    "star",
    "triangle-down",
    "pentagon",
    "hexagram",
)
LATENT_POINTS = 1200
MANY_LABELS = 10


def rate_distortion(run: Run, epoch: int) -> Figure | None:
    """For a VAE: how much each member's code carries against how far its pictures are off, at one epoch."""
    data: list[Trace] = []
    rates, errors = series(run.table, "rate"), series(run.table, "mse")
    for index, label in enumerate(run.labels):
        if label not in rates or label not in errors or epoch not in rates[label].index:
            continue
        x, y = pd.Series(rates[label].loc[epoch]), pd.Series(errors[label].loc[epoch])
        if not (x[np.isfinite(x)] > 0).any():
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": safe(label),
                "x": clean(x),
                "y": clean(y),
                "marker": {"size": 11, "symbol": SYMBOLS[index % len(SYMBOLS)], "opacity": 0.85},
                "meta": {"tone": tone(index)},
                "cliponaxis": False,
                "hovertemplate": "rate %{x:.4g} nats, mean squared error %{y:.4g}",
            }
        )
    if not data:
        return None
    look = layout("mean squared error (per pixel)")
    look["xaxis"] |= {"title": {"text": "rate (nats per image)"}, "rangemode": "tozero"}
    look["hovermode"] = "closest"
    return Figure(
        "rate",
        "Rate and distortion",
        "Scatter plot, one point a member: rate of the code against mean squared error on the test images, "
        "one symbol a loss.",
        data,
        look,
        "One point a member. Further right the code carries more, further down the pictures are closer. "
        "Losses along one falling line differ in how they weigh the rate, not in the trade they offer.",
    )


def latent_maps(run: Run) -> list[Figure]:
    """Where the test images lie in the code, a map a loss (first seed), coloured by label."""
    if run.latent is None or run.latent.empty:
        return []
    axes = (
        ("code 1", "code 2")
        if run.config.get("latent") == 2
        else ("principal component 1", "principal component 2")
    )
    maps = []
    for index, label in enumerate(run.labels):
        rows = run.latent[run.latent["loss"].astype(str) == label]
        rows = rows[np.isfinite(rows["x"]) & np.isfinite(rows["y"])]
        if rows.empty:
            continue
        seed = int(rows["seed"].min())
        rows = rows[rows["seed"] == seed]
        total = len(rows)
        rows = rows.iloc[np.linspace(0, total - 1, min(total, LATENT_POINTS)).astype(int)]
        data, notes = _points(rows)
        look = layout(axes[1], legend=False)
        look["xaxis"]["title"] = {"text": axes[0]}
        look["annotations"] = notes
        look["hovermode"] = "closest"
        coloured = bool(notes)
        maps.append(
            Figure(
                f"latent-{index}",
                f"{label}, seed {seed}",
                f"Scatter plot of the codes of {len(rows)} test images, trained under {label}, seed {seed}"
                + (
                    ", coloured and marked by label; each label is written at its median."
                    if coloured
                    else "."
                ),
                data,
                look,
                f"{len(rows)} of {total} test images" if total > len(rows) else f"{total} test images",
            )
        )
    return maps


def _points(rows: pd.DataFrame) -> tuple[list[Trace], list[dict[str, Any]]]:
    base = {"type": "scatter", "mode": "markers", "showlegend": False}
    labels = rows["label"]
    if labels.isna().all():
        plain = {**base, "x": clean(rows["x"]), "y": clean(rows["y"]), "name": "", "meta": {"tone": "loss-0"}}
        return [{**plain, "marker": {"size": 5, "opacity": 0.7}, "hoverinfo": "skip"}], []
    data, notes = [], []
    for place, (value, part) in enumerate(rows[labels.notna()].groupby("label")):
        name = f"{value:g}" if isinstance(value, float) else str(value)
        data.append(
            {
                **base,
                "x": clean(part["x"]),
                "y": clean(part["y"]),
                "name": safe(name),
                "hovertemplate": "label " + "%{fullData.name}",
                "marker": {"size": 5, "opacity": 0.75, "symbol": SYMBOLS[place % len(SYMBOLS)]},
                "meta": {"tone": f"label-{place % MANY_LABELS}"},
            }
        )
        notes.append(
            {
                "x": float(part["x"].median()),
                "y": float(part["y"].median()),
                "text": f"<b>{safe(name)}</b>",
                "showarrow": False,
                "boxed": True,
            }
        )
    return data, notes
