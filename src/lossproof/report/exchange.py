"""The report's section on exchange rates: which beta makes two losses weigh small errors alike, and which collapse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lossproof.formula.errors import LossproofError
from lossproof.report.readable import listing, number
from lossproof.report.run import Run
from lossproof.report.tables import Cell, Row
from lossproof.report.words import percent
from lossproof.train.table import base_beta

if TYPE_CHECKING:
    from lossproof.likelihood.exchange import Effective, Exchange, Spectrum, Weight


AS_THEY_ARE = (
    "This run trained each loss over a temperature of its own plus log Z, in nats. What follows is of the losses as they "
    "are, without T and log Z: how beta would weigh them uncalibrated."
)


@dataclass(frozen=True)
class Section:
    """Words, the losses' weights with what they amount to, and the matrix of rates."""

    words: list[str]
    warnings: list[str]
    error: str
    labels: list[str]
    weights: list[Row]
    rates: list[Row]
    excess_used: bool
    trained: bool  # under the losses as they are; a calibrated run has other weights than these


def section(run: Run) -> Section | None:
    """The section from a run's record; None for a run without one, or without a rate (a plain autoencoder)."""
    if not run.exchange or "vae" not in str(run.config.get("model", "")):
        return None
    from lossproof.likelihood.exchange import restore  # brings SymPy along

    rates, data = restore(run.exchange)
    beta = base_beta(run.config)
    kept = [weight for weight in rates.weights if weight.label in run.labels]
    if not kept or not beta > 0:
        return None
    calibrated = bool(run.config.get("calibrate"))
    # log Z(p) curves too, so under loss/T + log Z no sigma follows from the loss's curvature alone
    found = {weight.label: None if calibrated else amounts(weight, data, beta) for weight in kept}
    words = sentences(kept, found, data, beta)
    return Section(
        words=[AS_THEY_ARE, *words] if calibrated else words,
        warnings=warnings([pair for pair in found.values() if pair], data),
        error=f"{rates.error:g}",
        labels=[weight.label for weight in kept],
        weights=[
            Row(weight.label, cells(weight, found[weight.label], data)[: 2 if calibrated else None])
            for weight in kept
        ],
        rates=matrix(rates, kept),
        excess_used=any(by == "excess" for row in rates.by for by in row),
        trained=not calibrated,
    )


def amounts(weight: Weight, data: Spectrum, beta: float) -> tuple[Effective, Effective] | None:
    """What loss + beta KL amounts to, summed and averaged over the pixels; None for a loss without a weight."""
    from lossproof.likelihood.exchange import effective

    try:
        return (
            effective(weight, data, beta=beta),
            effective(weight, data, beta=beta, reduction="mean"),
        )
    except LossproofError:
        return None


def sentences(
    weights: Sequence[Weight],
    found: dict[str, tuple[Effective, Effective] | None],
    data: Spectrum,
    beta: float,
) -> list[str]:
    """What the numbers say: the data's spectrum, each loss's sigma, and which losses have none."""
    top = [number(float(v)) for v in data.eigenvalues[:3]]
    lines = [
        f"The training images' covariance ({data.images:,} images, {data.pixels} values each) has the largest eigenvalues "
        f"{listing(top)}; all variances add up to {number(data.total)}."
    ]
    shown = [
        f"{label} {number(pair[0].variance)} ({pair[0].active} of {data.pixels} eigenvalues exceed it)"
        for label, pair in found.items()
        if pair
    ]
    if shown:
        lines.append(
            f"For small errors, loss + {beta:g} × rate is a Gaussian decoder with sigma² = beta/curvature: "
            f"{listing(shown)}. "
            "A linear VAE keeps exactly the directions whose variance exceeds sigma² (Lucas et al. 2019)."
        )
    lines += [why_not(weight) for weight in weights if weight.kind != "curvature"]
    return lines


def why_not(weight: Weight) -> str:
    """Why a loss has no curvature at p = y on these values."""
    some = "any value" if weight.share > 1 - 1e-9 else f"{percent(weight.share)} of the values"
    at = "" if weight.share > 1 - 1e-9 else f" (first: y = {weight.example:g})"
    instead = f"it is weighed by its mean excess at an error of {weight.error:g}"
    return {
        "first order": f"{weight.label} has no curvature at {some}{at}: a small error costs in proportion to its "
        f"size, not to its square; {instead}.",
        "unsteady": f"{weight.label} has no finite curvature, or two different ones, at {some}{at}; {instead}.",
        "flat": f"{weight.label} is flatter than a parabola at p = y; {instead}.",
        "elsewhere": f"{weight.label} is not least at p = y at {some}{at}: small errors have no weight of their own, and it "
        "has no rate here.",
    }.get(weight.kind, f"{weight.label} is not defined at p = y at {some}{at}, and has no rate here.")


def warnings(found: Sequence[tuple[Effective, Effective]], data: Spectrum) -> list[str]:
    """Which losses collapse as they are trained, and which would if they were averaged over the pixels."""
    lines = []
    largest = number(float(data.eigenvalues[0]))
    for total, _ in found:
        if total.collapsed:
            lines.append(
                f"{total.label} + {total.beta:g} × rate amounts to sigma² = {number(total.variance)}, above the data's "
                f"largest eigenvalue {largest}: a linear VAE collapses totally. Lower beta below {number(limit(total))}."
            )
    averaged = [mean for total, mean in found if mean.collapsed and not total.collapsed]
    if averaged:
        each = listing(
            [f"{number(mean.variance)} (sigma {number(mean.sigma)}) for {mean.label}" for mean in averaged]
        )
        lines.append(
            f"Averaged over the {data.pixels} values of an image instead of summed, with {averaged[0].beta:g} × rate still "
            f"summed over the code, there would be total collapse: sigma² would be {each}, above the data's largest "
            f"eigenvalue {largest}."
        )
    return lines


def limit(found: Effective) -> float:
    """The beta below which the first direction survives."""
    return found.beta * found.largest / found.variance


def cells(weight: Weight, pair: tuple[Effective, Effective] | None, data: Spectrum) -> list[Cell]:
    """Curvature, the same at the stated error, then sigma² and survivors, summed and averaged."""
    none = {
        "flat": "0: flatter than a parabola",
        "elsewhere": "not least at p = y",
        "undefined": "not defined at p = y",
    }
    curvature = (
        Cell(number(weight.curvature))
        if weight.kind == "curvature"
        else Cell("", reason=none.get(weight.kind, "infinite"))
    )
    at_error = Cell(number(weight.at_error)) if math.isfinite(weight.at_error) else Cell("", reason="none")
    if pair is None:
        return [curvature, at_error, *[Cell("", reason="no weight")] * 4]
    return [
        curvature,
        at_error,
        *(
            cell
            for one in pair
            for cell in (Cell(number(one.variance)), Cell(f"{one.active} of {data.pixels}"))
        ),
    ]


def matrix(rates: Exchange, kept: Sequence[Weight]) -> list[Row]:
    """Row by row: the beta at which the row's loss weighs small errors as the column's does at beta = 1."""
    places = [rates.labels.index(weight.label) for weight in kept]
    rows = []
    for i in places:
        line = []
        for j in places:
            value = float(rates.rates[i, j])
            mark = " *" if rates.by[i][j] == "excess" and i != j else ""
            line.append(Cell(number(value) + mark) if math.isfinite(value) else Cell("", reason="no rate"))
        rows.append(Row(rates.labels[i], line))
    return rows
