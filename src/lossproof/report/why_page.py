"""One self-contained HTML file from the run directory of `lossproof why`."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lossproof.report import facts, paired, pictures, tables, why
from lossproof.report.figures import Figure, Trace, layout, safe, tone
from lossproof.report.measures import Measure
from lossproof.report.page import _plotly, _policy, _script, _text, embed
from lossproof.report.readable import MINUS, number, span
from lossproof.report.run import Run, brief, read
from lossproof.report.tables import BEST, Cell
from lossproof.train.store import write_bytes

NAME = "why.html"
NARROW = 20  # characters of a line beside a plot: a telephone is to show both


@dataclass(frozen=True)
class Line:
    """One row of a table: its head, what it is, whether it is a part of the whole, and a cell a measure."""

    title: str
    what: str
    cells: list[Cell]
    part: bool = False


def write(directory: str | Path) -> Path:
    """Write why.html into a run directory of `lossproof why`, from its files alone, and return its path.

    Raises `LossproofError` when a needed file is missing or broken.
    """
    run, design = read(directory), why.read_design(directory)
    target = run.directory / NAME
    write_bytes(target, render(run, design).encode())
    return target


def render(run: Run, design: why.Design) -> str:
    """The page as one string."""
    environment = Environment(
        loader=PackageLoader("lossproof.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    epoch = paired.last_epoch(run.table)
    frame = why.effects(run.table, design)
    measures = [m for m in why.measures(run.table) if m.name in set(frame["measure"])]
    figures = [figure(frame[frame["measure"] == m.name], m, place) for place, m in enumerate(measures)]
    scripts = [_script(_plotly()), _script(_text("report.js"))]
    payload = {"figures": {f.key: {"data": f.data, "layout": f.layout} for f in figures}, "chooser": {}}
    pilot = [(number(float(p["weight"])), number(float(p["rate"]))) for p in design.stored.get("pilot", [])]
    target = design.stored.get("target_rate")
    return environment.get_template("why.html.j2").render(
        csp=_policy(scripts),
        scripts=scripts,
        css=Markup(_text("report.css")),
        title=f"Why {design['first']} and {design['second']} differ on "
        f"{facts.data_of(run.config).get('name', 'unnamed data')}",
        first=design["first"],
        second=design["second"],
        notices=notices(run, frame, epoch),
        headline=[fact for fact in facts.headline(run, epoch) if fact.name != "Losses"],
        words=why.paragraph(frame, run.table, design),
        figures=figures,
        payload=embed(payload),
        measures=measures,
        rows=effect_lines(run, frame, measures),
        arms=arm_lines(run, design, measures, epoch),
        pilot=pilot,
        target=number(float(target)) if target is not None else "",
        reconstructions=pictures.reconstructions(run, epoch),
        width=facts.strip_width(run),
        stops=facts.stops(run),
        seeds=int(run.table["seed"].nunique()),
        epoch=epoch,
        command=facts.reproduce(run)["command"],
        design=json.dumps(design.stored, indent=2, ensure_ascii=False),
    )


def notices(run: Run, frame: pd.DataFrame, epoch: int) -> list[str]:
    """The run's own notices, and that the parts do not add up where an arm lacks seeds that others have."""
    lines = facts.notices(run, epoch)
    if not why.adds_up(frame):
        lines.append(
            "Arms lack different seeds, so the parts are means over different ones and do not add up."
        )
    return lines


def effect_lines(run: Run, frame: pd.DataFrame, measures: list[Measure]) -> list[Line]:
    """One row a step, one cell a measure."""
    lines = []
    for (title, what, part), rows in frame.groupby(["title", "what", "part"], sort=False):
        by_measure = {row["measure"]: row for row in rows.to_dict("records")}
        lines.append(
            Line(str(title), str(what), [_effect(run, by_measure[m.name]) for m in measures], bool(part))
        )
    return lines


def _effect(run: Run, row: dict[Any, Any]) -> Cell:
    if row["by_construction"]:
        return Cell("0", reason="by construction")
    if not row["seeds"]:
        return Cell("", reason=brief(run, str(row["reason"])))
    return Cell(
        span(row["effect"], row["low"], row["high"]), BEST if row["separated"] else "", reason=row["reason"]
    )


def arm_lines(run: Run, design: why.Design, measures: list[Measure], epoch: int) -> list[Line]:
    """One row an arm: its mean over seeds under every measure."""
    by_measure = [tables.cells(run, measure, epoch, marks=False) for measure in measures]
    places = {label: place for place, label in enumerate(run.labels)}
    return [
        Line(label, what, [cells[places[label]] for cells in by_measure])
        for label, what in design.arms
        if label in places
    ]


def figure(frame: pd.DataFrame, measure: Measure, place: int) -> Figure:
    """Effects as points with their intervals, one line each, the whole difference on top."""
    rows = frame[frame["seeds"] > 0].iloc[::-1]
    heads = [
        "<br>".join(map(safe, textwrap.wrap(("of it: " if part else "") + title, NARROW)))
        for title, part in zip(rows["title"], rows["part"], strict=True)
    ]
    half = (rows["high"] - rows["effect"]).to_numpy(dtype="float64")
    kinds = (("the whole and its parts", (rows["key"] == "total") | rows["part"]), ("beside it", None))
    data: list[Trace] = []
    for index, (name, chosen) in enumerate(kinds):
        keep = chosen if chosen is not None else ~((rows["key"] == "total") | rows["part"])
        at = np.flatnonzero(keep.to_numpy(dtype=bool))
        if not at.size:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [float(rows["effect"].iloc[i]) for i in at],
                "y": [heads[i] for i in at],
                "error_x": {
                    "type": "data",
                    "array": [float(half[i]) if np.isfinite(half[i]) else 0.0 for i in at],
                    "thickness": 1.6,
                    "width": 4,
                },
                "marker": {"size": 8, "symbol": ("circle", "square")[index]},
                "meta": {"tone": tone(index)},
                "hovertemplate": "%{y}: %{x:.4g}",
            }
        )
    look = layout("", legend=False)
    look["xaxis"] = {
        "title": {"text": "difference" + safe(measure.suffix and f",{measure.suffix}")},
        "zeroline": True,
        "automargin": True,
        "nticks": 5,
    }
    look["yaxis"] = {"automargin": True, "categoryorder": "array", "categoryarray": heads}
    look["hovermode"] = "closest"
    spoken = zip(rows["title"][::-1], rows["effect"][::-1], strict=True)
    said = "; ".join(f"{title} {number(float(effect)).replace(MINUS, 'minus ')}" for title, effect in spoken)
    return Figure(
        f"why-{place}",
        f"{measure.title[0].upper()}{measure.title[1:]}",
        f"Dot plot: the whole difference in {measure.title}, its parts and the effects beside it, each with its "
        f"interval. {said}.",
        data,
        look,
    )
