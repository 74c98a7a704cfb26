"""The order of the candidates: by what the facts ask for, then by the fit of their laws, ties to the simpler."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lossproof.advise.candidates import Candidate, is_likelihood, measure_of
from lossproof.advise.goals import Goal
from lossproof.advise.traits import Trait, Traits
from lossproof.catalogue.decoder import Decoder
from lossproof.data.facts_stream import Facts
from lossproof.formula import Loss
from lossproof.lower import function

AT_ENDS = 0.05  # share of values at 0 and 1 from which on a plateau behind the sigmoid counts
LIKELIHOOD = "likelihood"  # a need that is computed, where the others are certificates' requirements
#: nats a value that make no difference: the linear model's own error blurs the peak of the noise's law by about as much
MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Need:
    """Something the facts ask of a loss: a certificate's requirement, or a likelihood, with the fact behind it in words."""

    requirement: str
    reason: str


@dataclass(frozen=True)
class Ranked:
    """A candidate in its place. ``met``: the answer to each need. ``tied``: it fits as well as the first."""

    candidate: Candidate
    met: tuple[str, ...]
    tied: bool

    @property
    def wanted(self) -> tuple[object, ...]:
        """Which of several that do as well in a pilot is preferred: less to set, then what the facts ask for."""
        return self.candidate.to_set, sum(answer != "holds" for answer in self.met)

    @property
    def preference(self) -> tuple[object, ...]:
        """Which of several is preferred where nothing was measured: the same, then a short formula."""
        return *self.wanted, self.candidate.simplicity


def needs(facts: Facts, goal: Goal) -> tuple[Need, ...]:
    """What the facts ask for, most important first; the fit of the law comes after all of these."""
    if facts.one_bit:
        bits = "the values are 0 and 1"
        return (
            Need("proper", bits),
            Need(LIKELIHOOD, bits),
            Need("alive", "all values are 0 or 1, where the sigmoid saturates"),
        )
    asked: list[Need] = []
    if facts.noisy:
        return ()
    if not goal.law_first:
        asked.append(Need("mean", "no pixel noise was found"))
    ends = facts.at_zero + facts.at_one
    if ends > AT_ENDS and facts.unit:  # else the output is linear, and nothing saturates
        asked.append(
            Need("alive", f"{100 * ends:.3g} % of the values are 0 or 1, where the sigmoid saturates")
        )
    return tuple(asked)


def answer_to(need: Need, traits: Traits, facts: Facts) -> Trait:
    """Whether a loss has what a need asks: by its certificate, or by the sum of exp(-loss) over the data's levels."""
    if need.requirement != LIKELIHOOD:
        return traits.of(need.requirement)
    measure = measure_of(facts)
    held = is_likelihood(traits.loss, measure)
    verb = "is" if held else "is not"
    return Trait(
        "holds" if held else "refuted",
        f"the mass of exp(-loss) over {measure} {verb} 1 for every p",
        "likelihood",
    )


def rank(
    candidates: Sequence[Candidate], facts: Facts, goal: Goal, *, prove: bool = False
) -> tuple[tuple[Need, ...], list[Ranked]]:
    """The needs, and the candidates in order: needs met, fit of the law; among equals of the first the simplest leads.

    ``prove``: make the certificates that are not committed.
    """
    asked = needs(facts, goal)
    rows = []
    for candidate in candidates:
        traits = Traits(candidate.loss, prove=prove)
        met = tuple(answer_to(need, traits, facts).answer for need in asked)
        # a picture that is best predicted by another one is for nobody but who draws from the law
        loss = candidate.loss
        astray = isinstance(loss, Loss) and loss.minimum == "elsewhere" and not goal.law_first
        rows.append(((astray, *(answer != "holds" for answer in met)), Ranked(candidate, met, tied=False)))
    rows.sort(key=lambda row: (row[0], row[1].candidate.law.nats, row[1].candidate.simplicity))
    first, best = rows[0]
    tied = [
        entry for key, entry in rows
        if key == first and same(entry.candidate.law.by_image, best.candidate.law.by_image)
    ]  # fmt: skip
    lead = min(tied, key=lambda entry: entry.preference) if tied else best
    alike = {entry.candidate.label for entry in tied}
    every = [lead, *(entry for _, entry in rows if entry is not lead)]
    return asked, [replace(entry, tied=entry.candidate.label in alike) for entry in every]


def same(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    """Whether two laws fit alike, image by image: their mean difference is below a margin, or within its 95 % interval."""
    if a.size != b.size or a.size == 0:
        return False
    gap = a - b
    mean = abs(float(gap.mean()))
    if mean < MARGIN:
        return True
    if a.size < 3:
        return False
    return bool(mean < 1.96 * float(gap.std(ddof=1)) / np.sqrt(a.size))


def distinct(ranked: Sequence[Ranked]) -> list[Candidate]:
    """The candidates in order; of those that are another times a constant, the simplest in the place of the first."""
    chosen: list[Candidate] = []
    for entry in ranked:
        twin = next((c for c in chosen if proportional(c.loss, entry.candidate.loss)), None)
        if twin is None:
            chosen.append(entry.candidate)
        elif entry.candidate.simplicity < twin.simplicity:
            chosen[chosen.index(twin)] = entry.candidate
    return chosen


def proportional(a: Loss | Decoder, b: Loss | Decoder) -> bool:
    """Whether two losses are each other times a constant, up to a term in y alone: then they train alike.

    >>> from lossproof.catalogue import CATALOGUE, resolve
    >>> proportional(CATALOGUE["mae"], CATALOGUE["pinball"]), proportional(CATALOGUE["mae"], CATALOGUE["mse"])
    (True, False)
    >>> proportional(resolve("charbonnier(delta=0.1)"), resolve("barron(alpha=1, c=0.1)"))
    True
    """
    if not (isinstance(a, Loss) and isinstance(b, Loss)):
        return a == b
    slopes = [np.asarray(function(loss).gradient(_Y, _P)) for loss in (a, b)]
    with np.errstate(all="ignore"):
        ratio = slopes[0] / slopes[1]
    return bool(np.isfinite(ratio).all() and np.ptp(ratio) <= 1e-6 * np.abs(ratio).max())


_Y, _P = (g.ravel() for g in np.meshgrid([0.13, 0.4, 0.77], [0.03, 0.21, 0.55, 0.96]))
