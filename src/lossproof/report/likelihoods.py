"""The report's section on likelihoods: masses against the histograms' bits, densities apart and without bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossproof.report import paired
from lossproof.report.measures import Measure, describe
from lossproof.report.readable import fixed, listing, number, span
from lossproof.report.run import Run
from lossproof.report.tables import BEST, NEAR, Cell, Row, cells
from lossproof.report.words import rivals

BITS = "bits_per_pixel"
COLUMNS = ("nll", "likelihood_rate", "elbo", "iw_bound", BITS, "temperature")
OF_CODE = ("likelihood_rate", "elbo", "iw_bound")
CALIBRATION = (
    *("nll_expected", "nll_observed", "pit_deviation"),
    *("zeros_expected", "zeros_observed", "ones_expected", "ones_observed"),
)
BESIDE = "density_"  # before the name of a measure: in another unit than the run's likelihoods
MASS = "nats of mass"
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
    return Section(sentences(run, by_unit, epoch), groups)


def unit_of(config: Mapping[str, Any], label: str) -> str:
    """The unit of a loss's or decoder's log-likelihood: stated with it, else that of the run's likelihoods."""
    entries: list[dict[str, Any]] = [e for e in config.get("losses", []) if e.get("label") == label]
    stated = entries[0].get("unit") if entries else None
    return str(stated or config["likelihood"].get("unit", ""))


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
        filled(run, list(CALIBRATION), labels, epoch, mass=mass) if mass else ([], []),
    )


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
