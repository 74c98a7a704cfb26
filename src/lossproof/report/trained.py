"""What each loss was trained under, and in which unit it is a likelihood: read from the configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lossproof.report.measures import Measure
from lossproof.train.table import MEASURES

MASS = "nats of mass"
HOW = {"learned": "learned beside the weights", "solved": "solved before each epoch"}


def entry_of(config: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What the configuration says of a loss; empty where it says nothing."""
    return next((dict(e) for e in config.get("losses", []) if e.get("label") == label), {})


def as_likelihood(config: Mapping[str, Any], label: str) -> bool:
    """Whether -log likelihood is what was trained under: of a calibrated loss, and of a decoder's law."""
    return bool(config.get("calibrate") or entry_of(config, label).get("decoder"))


def unit_of(config: Mapping[str, Any], label: str) -> str:
    """The unit of a loss's or decoder's log-likelihood: stated with it, else that of the run's likelihoods."""
    stated = entry_of(config, label).get("unit")
    return str(stated or (config.get("likelihood") or {}).get("unit", ""))


def dense(unit: str) -> bool:
    """Whether a unit is that of a density, which can be negative and changes with the unit of y."""
    return bool(unit) and unit != MASS


def term(config: Mapping[str, Any]) -> str:
    """What stands beside the rate in the objective.

    >>> term({}), term({"calibrate": "learned"}), term({"calibrate": "solved", "of": "excess"})
    ('loss', 'loss/T + log Z', 'excess/T + log Z')
    """
    decoders = [bool(entry.get("decoder")) for entry in config.get("losses", [])]
    if decoders and all(decoders):
        return "−log likelihood"
    what = "excess" if config.get("of") == "excess" else "loss"
    plain = f"{what}/T + log Z" if config.get("calibrate") else "loss"
    return f"{plain} (of a decoder: −log likelihood)" if any(decoders) else plain


def temperatures(config: Mapping[str, Any]) -> str:
    """How the temperatures of a calibrated run come about; "" of another run."""
    if not config.get("calibrate"):
        return ""
    per = str(config.get("per", "all"))
    if per == "image":
        return "T one for each image, solved as it comes and paid for"
    how = HOW.get(str(config["calibrate"]), str(config["calibrate"]))
    return f"T {how}" if per == "all" else f"T one for each {per}, {how}"


def named(measure: Measure, config: Mapping[str, Any], labels: list[str]) -> Measure:
    """A measure under a title that is true of how these losses were trained."""
    laws = [as_likelihood(config, label) for label in labels]
    if measure.name == "objective" and any(laws):
        law = MEASURES["nats"].title
        title = f"objective ({law} + beta rate)"
        if not all(laws):
            title = f"objective (loss, or {law}, + beta rate)"
        return replace(measure, title=title)
    if measure.name == "loss" and config.get("calibrate"):
        return replace(measure, title=f"{measure.title} (as it is, without T and log Z)")
    return measure


def in_unit(measure: Measure, unit: str) -> Measure:
    """A likelihood's measure in the unit it has: nats of a density say so.

    >>> in_unit(Measure("nll", "reconstruction", "nats per image"), "nats of density on [0, 1]").suffix
    ' nats of density on [0, 1] per image'
    """
    known = MEASURES.get(measure.name)
    if known is None or known.kind != "likelihood" or not dense(unit):
        return measure
    return replace(measure, unit=measure.unit.replace("nats per image", f"{unit} per image"))
