"""The losses that come into question: legal on the data, with their scale fitted to what a linear model leaves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.advise import decoders
from lossproof.advise.law import Law
from lossproof.catalogue import CATALOGUE
from lossproof.catalogue.decoder import Decoder
from lossproof.catalogue.decoders import DECODERS, find
from lossproof.data.facts_stream import Facts
from lossproof.formula import REALS, Loss, LossproofError
from lossproof.likelihood import Levels, fit_temperature, likelihood
from lossproof.likelihood.integrand import Of
from lossproof.lower import function

Floats = npt.NDArray[np.float64]
IMAGES = 120  # of the held-out ones, that laws are fitted to and judged on
VALUES = 80  # of each
COLDEST = 1e-7  # temperature that is tried
EDGE = 1 / 510  # predictions of the linear model are kept half a byte away from 0 and 1
SCALES = (0.5, 1.0, 2.0, 4.0)  # of the residuals' standard deviation, that scale parameters are tried at
SHAPES = (0.0, 1.0, 2.0)  # that other parameters are tried at, where they may be
_PROBE = np.array([0.03, 0.07, 0.2, 0.45, 0.9])


@dataclass(frozen=True)
class Candidate:
    """A loss or a decoder with the facts that concern it on this data: its law, and its floor in nats per image.

    ``outputs``: numbers that a model gives for each value; ``floor`` is None where there is none. ``likelihood``: exp(-loss)
    has mass 1 on the data's measure as it is.
    """

    loss: Loss | Decoder
    law: Law
    floor: float | None
    floor_reason: str = ""
    outputs: int = 1
    likelihood: bool = False

    @property
    def label(self) -> str:
        """The label."""
        return self.loss.label

    @property
    def decoder(self) -> bool:
        """Whether it is a decoder's law rather than a loss."""
        return isinstance(self.loss, Decoder)

    @property
    def weight(self) -> float:
        """What to multiply the KL term with: T for a loss; 1 for a likelihood as it is, and for a decoder."""
        return 1.0 if self.likelihood else self.law.temperature

    @property
    def to_set(self) -> tuple[int, int]:
        """What makes it less simple: further outputs of the model or a scale beside it, then parameters to set."""
        return self.outputs - 1 + self.decoder, len(self.loss.params) if isinstance(self.loss, Loss) else 0

    @property
    def simplicity(self) -> tuple[int, int, int, str]:
        """Order of simplicity: fewer outputs, fewer parameters, then a shorter formula."""
        return *self.to_set, len(self.loss.formula), self.loss.label


@dataclass(frozen=True)
class Excluded:
    """A loss of the catalogue that does not come into question, and why."""

    label: str
    reason: str


class Bench:
    """The values that laws are judged on: targets and a linear model's predictions, (images, values), and the measure."""

    def __init__(self, facts: Facts, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        held = facts.reference
        rows = np.sort(rng.permutation(len(held.targets))[:IMAGES])
        pixels = held.targets.shape[1]
        columns = np.sort(rng.permutation(pixels)[:VALUES])
        self.y = held.targets[np.ix_(rows, columns)]
        p = held.predictions[np.ix_(rows, columns)]
        self.p = np.clip(p, EDGE, 1 - EDGE) if facts.unit else p
        self.measure = measure_of(facts)
        self.scale = max(float(np.std(self.y - self.p)), 1e-6)
        self.middle = float(np.median(np.abs(self.y - self.p))) * 1.4826 or self.scale

    def law(self, loss: Loss) -> Law:
        """Fit the temperature on every other image and judge the law on the rest."""
        of = normalised(loss)
        fitted, judged = slice(0, None, 2), slice(1, None, 2)
        if len(self.y) < 4:
            judged = fitted
        try:
            found = fit_temperature(
                loss, self.y[fitted], self.p[fitted], measure=self.measure, of=of, low=COLDEST
            )
            law = likelihood(loss, float(found.temperature), self.measure, of)
            values = -np.asarray(law.log_prob(self.y[judged], self.p[judged]))
            centre = float(np.mean(self.p))
            deviation, plain = _deviation(law, centre), _deviation(law.at(1.0), centre)
        except LossproofError as error:
            return Law(math.nan, math.inf, np.empty(0), math.nan, str(error))
        by_image = values.mean(axis=1)
        return Law(float(found.temperature), float(by_image.mean()), by_image, deviation, "", plain)


def normalised(loss: Loss) -> Of:
    """What of a loss is made a law: its excess where it is least at p = y, so that the law peaks there; else the loss."""
    return "excess" if loss.minimum == "target" else "loss"


def _deviation(law: Any, centre: float) -> float:
    try:
        return float(np.sqrt(law.variance(centre)))
    except LossproofError:  # tails too thick to have a variance: half the distance of the quartiles instead
        return float(law.quantile(0.75, centre) - law.quantile(0.25, centre)) / 1.349


def measure_of(facts: Facts) -> object:
    """The reference measure of the data's laws: its grey levels, else [0, 1], else the real line."""
    if not facts.unit:
        return "line"
    if facts.grid and facts.grid <= 256:
        return Levels(facts.grid)
    if 2 <= facts.size <= 256:
        return Levels.of(facts.levels.values)
    return "interval"


def lattice_of(facts: Facts) -> int | None:
    """Number of grey levels in equal steps from 0 to 1 that laws and decoders of the data are spread over; None without."""
    measure = measure_of(facts)
    if isinstance(measure, Levels) and measure.regular and (measure.values[0], measure.values[-1]) == (0, 1):
        return measure.count
    return facts.grid


def scale_parameter(loss: Loss) -> str | None:
    """The parameter that sets the size of residual at which the loss bends; None if there is none.

    Found by trying: residual and parameter (or its inverse) doubled must give the same loss times a constant.

    >>> [scale_parameter(CATALOGUE[name]) for name in ("huber", "logcosh", "pinball", "mse")]
    ['delta', 'a', None, None]
    """
    if not loss.target.covers(REALS):
        return None
    zero = np.zeros_like(_PROBE)
    before = np.asarray(function(loss).value(_PROBE, zero))
    for parameter in loss.params:
        for factor in (2.0, 0.5):
            value = loss.values[parameter.name] * factor
            if value not in parameter.interval:
                continue
            after = np.asarray(function(loss.bind(**{parameter.name: value})).value(2 * _PROBE, zero))
            ratio = after / before
            plain = np.asarray(function(loss).value(2 * _PROBE, zero)) / before
            # a pure power needs no scale: doubling the residual alone does the same to it
            if np.allclose(ratio, ratio[0], rtol=1e-9) and not np.allclose(plain, plain[0], rtol=1e-9):
                return parameter.name
    return None


def variants(loss: Loss, bench: Bench) -> list[Loss]:
    """The loss as it is, and with its scale at multiples of the residuals'; where it has one, other shapes too."""
    name = scale_parameter(loss)
    if name is None:
        return [loss]
    parameter = next(p for p in loss.params if p.name == name)
    grown = function(loss.bind(**{name: loss.values[name] * 2})).value(2 * _PROBE, np.zeros_like(_PROBE))
    base = function(loss).value(_PROBE, np.zeros_like(_PROBE))
    direct = bool(np.allclose(grown / base, (grown / base)[0], rtol=1e-9))
    others = [p for p in loss.params if p.name != name]
    shaped = [loss]
    for p in others:
        shaped += [loss.bind(**{p.name: s}) for s in SHAPES if s in p.interval and s != loss.values[p.name]]
    made = [loss]
    for shape in shaped:
        for size in dict.fromkeys(two_digits(bench.middle * factor) for factor in SCALES):
            value = size if direct else two_digits(1 / size)
            if value in parameter.interval:
                made.append(shape.bind(**{name: value}))
    return list(dict.fromkeys(made))


def two_digits(value: float) -> float:
    """A positive number with two digits.

    >>> two_digits(0.012345), two_digits(7.77)
    (0.012, 7.8)
    """
    return float(f"{value:.2g}")


def is_likelihood(loss: Loss | Decoder, measure: object) -> bool:
    """Whether exp(-loss) itself has mass 1 on the measure, for every prediction; so has a decoder's.

    >>> is_likelihood(CATALOGUE["continuous_bernoulli"], "interval"), is_likelihood(CATALOGUE["bce"], "interval")
    (True, False)
    """
    if isinstance(loss, Decoder):
        return True
    try:
        totals = np.asarray(likelihood(loss, 1.0, measure).normaliser.log_z(np.linspace(0.1, 0.9, 5)))
    except LossproofError:
        return False
    return bool(np.abs(totals).max() < 1e-6)


def gather_candidates(
    facts: Facts, losses: Sequence[object] | None = None, *, bench: Bench | None = None
) -> tuple[list[Candidate], list[Excluded]]:
    """Judge losses and decoders (default: the catalogue) on the data: candidates, simplest first, and what is left out.

    Of each family with a scale, the variant whose law fits best stands for it; what the caller names is taken as it is.
    """
    bench = bench or Bench(facts)
    every: list[Loss | Decoder] = [*CATALOGUE.values(), *DECODERS.values()]
    given = [find(spec) for spec in losses] if losses is not None else every
    kept: list[Candidate] = []
    left: list[Excluded] = []
    for loss in given:
        named = losses is not None
        if isinstance(loss, Decoder):
            reason = decoders.why_not(loss, facts, bench.measure, named=named)
        else:
            reason = _why_not(loss, facts, bench.measure)
        if reason:
            left.append(Excluded(loss.label, reason))
            continue
        if isinstance(loss, Decoder):
            kept.append(_of_decoder(loss, bench))
            continue
        best = Candidate(loss, bench.law(loss), None) if named else _best(loss, bench)
        assert isinstance(best.loss, Loss)
        floor, why = floor_of(best.loss, facts)
        own = is_likelihood(best.loss, bench.measure)
        kept.append(replace(best, floor=floor, floor_reason=why, likelihood=own))
    return sorted(kept, key=lambda c: c.simplicity), left


def _of_decoder(decoder: Decoder, bench: Bench) -> Candidate:
    count = bench.measure.count if isinstance(bench.measure, Levels) else None
    return Candidate(
        decoder,
        decoders.decoder_law(decoder, bench),
        None,
        "a law has no floor to subtract: its best mass for a value depends on its scale",
        decoder.outputs(count),
    )


def _best(loss: Loss, bench: Bench) -> Candidate:
    laws = [(variant, bench.law(variant)) for variant in variants(loss, bench)]
    variant, law = min(laws, key=lambda pair: pair[1].nats)
    if laws[0][1].nats <= law.nats + 1e-3:  # the loss as it is does as well
        variant, law = laws[0]
    return Candidate(variant, law, None)


def _why_not(loss: Loss, facts: Facts, measure: object) -> str:
    v = facts.levels
    outside = ~np.asarray(loss.target.contains(v.values))
    if outside.any():
        first = float(v.values[outside][0])
        return (
            f"its targets must lie in {loss.target}; {100 * v.share(outside):.3g} % of the values do not, "
            f"the first {first:.4g}"
        )
    if loss.minimum == "elsewhere" and not is_likelihood(loss, measure):
        return "its minimum is not at p = y, and on this data's measure it is no likelihood"
    return ""


def floor_of(loss: Loss, facts: Facts) -> tuple[float | None, str]:
    """The least loss that any model can reach on the data, nats per image; None with the reason where there is none."""
    levels = facts.levels.coarse()
    try:
        with np.errstate(all="ignore"):
            per_value = np.asarray(function(loss).floor(levels.values), np.float64)
    except LossproofError as error:
        return None, str(error)
    if not np.isfinite(per_value).all():
        at = float(levels.values[~np.isfinite(per_value)][0])
        return None, f"minus infinity at targets such as {at:g}: unbounded below"
    return levels.mean(per_value) * facts.pixels, ""
