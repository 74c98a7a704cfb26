"""The report's section on likelihoods: masses against the histograms' bits, densities apart and without bits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossproof.report import paired
from lossproof.report.figures import Figure, Trace, dash, layout, safe, tone
from lossproof.report.measures import Measure, describe
from lossproof.report.readable import fixed, listing, number, span
from lossproof.report.run import Run
from lossproof.report.tables import BEST, NEAR, Cell, Row, cells
from lossproof.report.trained import HOW, MASS, unit_of
from lossproof.report.words import rivals
from lossproof.train.table import OF_LAW, TRANSFORM

BITS = "bits_per_pixel"
COLUMNS = (BITS, "nll", "likelihood_rate", "elbo", "iw_bound", "temperature")
OF_CODE = ("likelihood_rate", "elbo", "iw_bound")
CALIBRATION = (
    *("nll_expected", "nll_observed", "pit_deviation"),
    *("zeros_expected", "zeros_observed", "ones_expected", "ones_observed"),
)
NATS = ("nll_expected", "nll_observed")  # of a density in another unit than the run's
BESIDE = "density_"  # before the name of a measure: in another unit than the run's likelihoods
NO_BITS = "no bits: a density"
YARDSTICKS = (
    ("everywhere", "histogram of all values"),
    ("each_pixel", "histogram of each pixel"),
)


@dataclass(frozen=True)
class Group:
    """Likelihoods with one unit: a table, and below it, for masses, the yardsticks' bits."""

    unit: str
    mass: bool
    columns: list[Measure]
    rows: list[Row]
    yardsticks: list[tuple[str, str]]
    calibration: tuple[list[Measure], list[Row]]
    moved: tuple[list[Measure], list[Row]]
    transform: Figure | None


@dataclass(frozen=True)
class Section:
    """Words and a group a unit; never two units in one table."""

    words: list[str]
    groups: list[Group]


def section(run: Run, epoch: int) -> Section | None:
    """The section from the run's table; None where no likelihood was measured."""
    if not (run.table["measure"] == "nll").any() or not run.config.get("likelihood"):
        return None
    by_unit: dict[str, list[str]] = {}
    for label in run.labels:
        by_unit.setdefault(unit_of(run.config, label), []).append(label)
    order = sorted(by_unit, key=lambda unit: unit != MASS)
    groups = [group(run, unit, by_unit[unit], epoch) for unit in order]
    plain = [e for e in run.config.get("losses", []) if not e.get("decoder")]
    return Section([stated(run)] * bool(plain) + sentences(run, by_unit, epoch), groups)


def yardsticks(config: Mapping[str, Any]) -> dict[str, float]:
    """Bits per pixel of the test images under the training images' histograms, as the run states them."""
    stored = config["likelihood"].get("yardsticks") or {}
    found = {name: stored.get(name) for name, _ in YARDSTICKS}
    return {name: float(v) for name, v in found.items() if isinstance(v, int | float) and math.isfinite(v)}


def group(run: Run, unit: str, labels: list[str], epoch: int) -> Group:
    """One table: a row a loss; of a density the bits' column says that there are none."""
    mass = unit == MASS
    before = "" if unit == run.config["likelihood"].get("unit") else BESIDE
    names = [
        n if n in (BITS, "temperature") else before + n for n in COLUMNS if rated(run) or n not in OF_CODE
    ]
    columns, rows = filled(run, names, labels, epoch, mass=mass)
    known = yardsticks(run.config) if mass else {}
    return Group(
        unit,
        mass,
        columns,
        rows,
        [(title, fixed(known[n], 3)) for n, title in YARDSTICKS if n in known],
        filled(run, [before + n if n in NATS else n for n in CALIBRATION], labels, epoch, mass=True),
        moved(run, labels, epoch),
        transform(run, labels, epoch, unit),
    )


def moved(run: Run, labels: list[str], epoch: int) -> tuple[list[Measure], list[Row]]:
    """Where each law's best predictions lie, and its mean, mode and median; of losses only, decoders have no p."""
    mine = run.table[run.table["loss"].isin(labels) & (run.table["epoch"] == epoch)]
    names = dict.fromkeys(m for m in mine["measure"] if m.startswith(OF_LAW))
    columns, rows = filled(run, list(names), labels, epoch, mass=True)
    return columns, [row for row in rows if any(cell.text for cell in row.cells)]


def transform(run: Run, labels: list[str], epoch: int, unit: str) -> Figure | None:
    """The histogram of the probability integral transform of each law, mean over seeds; 1 where the law is right."""
    mine = run.table[run.table["measure"].str.startswith(TRANSFORM) & (run.table["epoch"] == epoch)]
    shares = mine.groupby(["loss", "measure"])["value"].mean()
    names = list(dict.fromkeys(mine["measure"]))
    data: list[Trace] = []
    for index, label in enumerate(run.labels):
        if label not in labels or label not in shares or not np.isfinite(shares[label]).all():
            continue
        heights = [len(names) * float(shares[label, name]) for name in names]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": safe(label),
                "x": [k / len(names) for k in range(len(names) + 1)],
                "y": [*heights, heights[-1]],
                "line": {"width": 2.2, "dash": dash(index), "shape": "hv"},
                "meta": {"tone": tone(index)},
                "hovertemplate": "from %{x:g}: %{y:.3g}",
            }
        )
    if not data:
        return None
    data.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "uniform",
            "x": [0, 1],
            "y": [1, 1],
            "line": {"width": 1.4, "dash": "dot"},
            "meta": {"tone": "muted"},
            "hoverinfo": "skip",
        }
    )
    look = layout("density of values")
    look["xaxis"] |= {"title": {"text": "probability integral transform"}, "range": [0, 1]}
    look["yaxis"]["rangemode"] = "tozero"
    kind = "masses" if unit == MASS else unit.removeprefix("nats of ")
    return Figure(
        f"transform-{re.sub('[^a-z]+', '-', unit.lower()).strip('-')}",
        f"Probability integral transform, {kind}",
        "Histogram of where the pixels of the test images lie in their laws, one stepped line a loss: flat at 1 where "
        "the law is right, high at both ends where it is too narrow, high in the middle where it is too wide.",
        data,
        look,
    )


def stated(run: Run) -> str:
    """What is normalised, on which measure, and how the temperatures came about."""
    config, laws = run.config, run.config["likelihood"]
    of = (
        "the excess over its floor"
        if laws.get("of") == "excess"
        else "the loss itself, not its excess over its floor"
    )
    how = HOW.get(str(config.get("calibrate")), "fitted on the training images after training")
    per = str(config.get("per", "all"))
    if per == "image":
        rungs = int(laws.get("rungs", 0))
        how = (
            f"one for each image, solved as it comes: of {rungs} temperatures that under which it is most likely, and "
            f"log({rungs}) = {math.log(rungs):.1f} nats an image are added for telling which"
        )
    elif per != "all":
        how = f"one for each {per}, {how}"
    return f"What is normalised is {of}, on {laws.get('measure', 'a reference measure')}; T is {how}."


def filled(
    run: Run, names: list[str], labels: list[str], epoch: int, *, mass: bool
) -> tuple[list[Measure], list[Row]]:
    """Those of the measures that some of these losses have, and a row of cells for each loss."""
    mine = run.table[run.table["loss"].isin(labels) & (run.table["split"] == "test")]
    present = set(mine.loc[np.isfinite(mine["value"]), "measure"])
    columns = [describe(name) for name in names if name in present or (name == BITS and not mass)]
    places = {label: place for place, label in enumerate(run.labels)}
    rows: list[Row] = [Row(label, []) for label in labels]
    for measure in columns:
        if measure.name == BITS and not mass:
            for row in rows:
                row.cells.append(Cell("", reason=NO_BITS))
            continue
        column = cells(run, measure, epoch, marks=False)
        best, near = ranked(run, measure, labels, epoch)
        for row in rows:
            cell = column[places[row.head]]
            mark = BEST if row.head == best else NEAR if row.head in near else ""
            row.cells.append(Cell(cell.text, mark if cell.text else "", cell.reason))
    return columns, rows


def ranked(run: Run, measure: Measure, labels: list[str], epoch: int) -> tuple[str, set[str]]:
    """The best of these losses, and those not separated from it; only losses of one unit are ever ranked."""
    if len(labels) < 2 or measure.name not in (BITS, "elbo", "iw_bound") or not measure.better:
        return "", set()
    return rivals(run.table[run.table["loss"].isin(labels)], measure, epoch)


def rated(run: Run) -> bool:
    """Whether the model has a code with a rate; a plain autoencoder's bound would leave its code uncounted."""
    rates = run.table.loc[run.table["measure"] == "rate", "value"]
    return bool((rates.fillna(0.0) != 0).any())


def sentences(run: Run, by_unit: Mapping[str, list[str]], epoch: int) -> list[str]:
    """What the bits say of each mass against the histograms, which is least, and what densities do not say."""
    lines = []
    masses = by_unit.get(MASS, [])
    table = run.table[run.table["loss"].isin(masses)]
    known = yardsticks(run.config)
    if masses and (table["measure"] == BITS).any():
        found = paired.intervals(table, BITS, epoch=epoch).set_index("loss")
        known_bits = found[np.isfinite(found["mean"])]
        for label in [m for m in masses if m in known_bits.index]:
            row = known_bits.loc[label]
            lines.append(against(label, float(row["mean"]), float(row["low"]), float(row["high"]), known))
        best, near = ranked(run, describe(BITS), masses, epoch)
        if best:
            close = f", not separated from {listing(sorted(near))}" if near else ""
            lines.append(f"Fewest bits: {best}{close}.")
    if masses and not rated(run):
        lines.append(
            "An autoencoder's code is not counted: these are the bits of an image given its code, not of an image."
        )
    densities = {unit: labels for unit, labels in by_unit.items() if unit != MASS}
    for unit, labels in densities.items():
        lines.append(
            f"{listing(labels)}: {NO_BITS}. {unit[0].upper()}{unit[1:]} can be negative without bound and change with the "
            "unit of y"
            + (", so they stand in a table of their own, not beside the masses." if masses else ".")
        )
    return lines


def against(label: str, mean: float, low: float, high: float, known: Mapping[str, float]) -> str:
    """One mass against the yardsticks; the interval decides where it has one."""
    text = f"{label} needs {span(mean, low, high)} bits per pixel"
    judged = []
    for name, title in YARDSTICKS:
        if name not in known:
            continue
        bits = known[name]
        ends = (low, high) if math.isfinite(low) and math.isfinite(high) else (mean, mean)
        place = "below" if ends[1] < bits else "above" if ends[0] > bits else "not separated from"
        judged.append((place, f"{place} the {title} ({number(bits, 4)})"))
    if not judged:
        return text + "."
    knows_less = any(place == "above" for place, _ in judged)
    ending = ": it knows less of the images than a histogram does" if knows_less else ""
    return f"{text}, {listing([words for _, words in judged])}{ending}."
