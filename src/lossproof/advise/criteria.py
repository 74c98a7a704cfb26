"""The criteria, a column each, with the source of every entry."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lossproof.advise.candidates import Candidate, measure_of
from lossproof.advise.pilot import Pilot, Row
from lossproof.advise.traits import Traits
from lossproof.catalogue.decoder import Decoder
from lossproof.data.facts_stream import Facts
from lossproof.likelihood import Levels
from lossproof.lower import function


@dataclass(frozen=True, slots=True)
class Column:
    """A criterion: its key, its head, what it says, and where entries come from."""

    key: str
    title: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Cell:
    """An entry: short text, the number behind it (None if there is none), a sentence on it, and its source."""

    text: str
    value: float | None
    why: str
    source: str


COLUMNS = (
    Column("minimum", "least at p = y", "a perfect reconstruction is the best one (certificate)"),
    Column("functional", "consistent for", "what it predicts where the code leaves doubt (certificate; Gneiting, "
           "DOI 10.1198/jasa.2011.r10138)"),
    Column("floor", "floor, nats per image", "what no model can get below on this data (formula of the floor)"),
    Column("alive", "sigmoid", "whether the gradient stays where a saturated pixel is wrong (certificate)"),
    Column("convex", "convex in the logit", "no plateau or second valley behind the sigmoid (certificate)"),
    Column("slope", "largest slope in p", "bounded: a far-off value pulls no harder than others (certificate)"),
    Column("likelihood", "likelihood", "exp(-loss) as it is has mass 1 on the data's measure (computed)"),
    Column("law", "law's nats a value", "exp(-loss/T)/Z on held-out values around a linear model, T fitted (likelihood)"),
    Column("outliers", "pull of an outlier", "slope at ten times the usual residual over the slope at the usual one"),
    Column("temperature", "T", "what to divide the loss by: with sums over an image the KL's weight is T, or 1 for a "
           "likelihood (moment matching, arXiv 2006.13202)"),
    Column("active", "directions kept", "covariance eigenvalues above the law's variance at T; in brackets at T = 1 "
           "(arXiv 1911.02469)"),
    Column("pilot", "pilot", "the deciding measure after the pilot, mean over seeds (measured)"),
    Column("bits", "bits a value in the pilot", "calibrated on held-out images (measured); histograms are the yardstick"),
    Column("cost", "microseconds", "of value and slope of a batch, of a whole training step of the pilot; without a pilot "
           "of 10,000 values in NumPy (measured)"),
)  # fmt: skip


def criteria(
    candidates: Sequence[Candidate], facts: Facts, pilot: Pilot | None, *, prove: bool = False
) -> dict[str, dict[str, Cell]]:
    """The table: label -> key -> entry. ``prove``: certificates are made on the spot where none is committed."""
    return {c.label: _row(c, facts, pilot, Traits(c.loss, prove=prove)) for c in candidates}


def _row(candidate: Candidate, facts: Facts, pilot: Pilot | None, traits: Traits) -> dict[str, Cell]:
    law, row = (
        candidate.law,
        None if pilot is None else next((r for r in pilot.rows if r.label == candidate.label), None),
    )
    bits = "bits" if isinstance(measure_of(facts), Levels) else "nats of density"
    nats = (
        None if row is None else row.other.get("law", row.mean if pilot and pilot.measure == "law" else None)
    )
    return {
        "minimum": _answer(traits, "minimum", {"holds": "yes", "refuted": "no"}),
        "functional": _functional(traits),
        "floor": Cell("" if candidate.decoder else "none" if candidate.floor is None else f"{candidate.floor:.4g}",
                      candidate.floor, candidate.floor_reason,
                      "" if candidate.decoder else "floor of every value, by its formula"),
        "alive": _answer(traits, "alive", {"holds": "alive", "refuted": "plateau"}),
        "convex": _answer(traits, "convex-logits", {"holds": "yes", "refuted": "no"}),
        "slope": _slope(traits),
        "likelihood": _likelihood(candidate, facts),
        "law": Cell("none" if law.reason else f"{law.nats:.4f}", _finite(law.nats), law.reason,
                    "likelihood, linear reference model"),
        "outliers": _pull(candidate, facts),
        "temperature": Cell("" if law.reason else f"{law.temperature:.3g}", _finite(law.temperature), law.reason,
                            "fit_temperature"),
        "active": _active(candidate, facts),
        "pilot": _pilot(candidate, pilot),
        "bits": Cell("" if nats is None else f"{nats / math.log(2):.4f}" if bits == "bits" else f"{nats:.4f} nats",
                     None if nats is None else nats / (math.log(2) if bits == "bits" else 1.0),
                     "" if nats is None else f"{bits} a value", "pilot, held-out images"),
        "cost": _cost(candidate, row),
    }  # fmt: skip


def _functional(traits: Traits) -> Cell:
    trait = traits.of("mean")
    found = traits.functional()
    return Cell(found or _unknown(traits), None, trait.why, traits.source if found else trait.source)


def _unknown(traits: Traits) -> str:
    """What stands where nothing is known: a decoder has no certificate to be asked."""
    return "" if isinstance(traits.loss, Decoder) else "not shown"


def _likelihood(candidate: Candidate, facts: Facts) -> Cell:
    held = candidate.decoder or candidate.likelihood
    why = "with a temperature and a normaliser every loss is; the column asks for the loss as it is"
    return Cell("yes" if held else "no", None, why, f"sum of exp(-loss) over {measure_of(facts)}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _answer(traits: Traits, requirement: str, words: dict[str, str]) -> Cell:
    trait = traits.of(requirement)
    return Cell(words.get(trait.answer, _unknown(traits)), None, trait.why, trait.source)


def _slope(traits: Traits) -> Cell:
    bound, source = traits.bound("lipschitz")
    if bound is None:
        return Cell(_unknown(traits), None, traits.of("lipschitz").why, "certificate")
    return Cell(
        "unbounded" if math.isinf(bound) else f"{bound:.3g}",
        _finite(bound),
        traits.of("lipschitz").why,
        source,
    )


def _pull(candidate: Candidate, facts: Facts) -> Cell:
    if isinstance(candidate.loss, Decoder):
        return Cell("", None, "it has no slope of p alone: the scale it puts out changes it", "")
    scale = facts.reference.scale
    usual = min(max(scale, 1e-4), 0.04)
    try:
        slopes = np.abs(
            function(candidate.loss).gradient(np.array([0.5 + usual, 0.5 + 10 * usual]), np.array([0.5, 0.5]))
        )
    except ValueError as error:
        return Cell("", None, str(error), "")
    ratio = float(slopes[1] / slopes[0])
    return Cell(
        f"{ratio:.3g}",
        ratio,
        f"residuals of {usual:.3g} and {10 * usual:.3g} at p = 1/2",
        "formula of the slope",
    )


def _active(candidate: Candidate, facts: Facts) -> Cell:
    deviation = candidate.law.deviation
    if not math.isfinite(deviation):
        return Cell("", None, candidate.law.reason, "")
    kept, known = facts.spectrum.above(deviation**2), len(facts.spectrum.values)
    at_one = facts.spectrum.above(candidate.law.deviation_at_one**2)
    text = f"{kept} of {known} ({at_one})"
    said = f"the law's standard deviation is {deviation:.3g} at T = {candidate.law.temperature:.3g}; in brackets at T = 1"
    return Cell(text, float(kept), said, "covariance spectrum")


def _pilot(candidate: Candidate, pilot: Pilot | None) -> Cell:
    row = None if pilot is None else next((r for r in pilot.rows if r.label == candidate.label), None)
    if pilot is None or row is None:
        return Cell("", None, "not in the pilot", "")
    if row.reason:
        return Cell("ended", _finite(row.mean), row.reason, "pilot")
    spread = (
        f"{row.behind:+.3g} [{row.low:.3g}, {row.high:.3g}] beside the best" if row.behind else "the best"
    )
    spread += f"; the seeds tell it from {row.beaten_by}" if row.beaten_by else ""
    return Cell(f"{row.mean:.4g}", _finite(row.mean), spread, f"pilot, {pilot.title}")


def _cost(candidate: Candidate, row: Row | None) -> Cell:
    if row is not None:
        loss, step = 1e6 * row.seconds_for_loss, 1e6 * row.seconds_per_step
        return Cell(
            f"{loss:.0f} of {step:.0f}",
            loss,
            "a member's step in the pilot, trained beside the others",
            "measured here",
        )
    if isinstance(candidate.loss, Decoder):
        return Cell("", None, "measured in a pilot", "")
    rng = np.random.default_rng(0)
    y, z = rng.random(10_000), rng.standard_normal(10_000)
    known = function(candidate.loss)
    best = math.inf
    for _ in range(3):
        started = time.perf_counter()
        known.value_logits(y, z)
        known.gradient_logits(y, z)
        best = min(best, time.perf_counter() - started)
    return Cell(
        f"{1e6 * best:.0f}", 1e6 * best, "of 10,000 values in NumPy, without a pilot", "measured here"
    )
