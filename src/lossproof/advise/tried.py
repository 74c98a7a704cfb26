"""Which candidates a pilot trains: the facts' own, the best law, two for the mean, then whatever trains least like these.

A model sees a loss by its slope alone. Losses whose slopes point the same way on the data - Huber, log-cosh and MAE where
residuals are large - train alike, so one of them is enough, and the budget goes to those that differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lossproof.advise.candidates import EDGE, Candidate
from lossproof.advise.ranking import Ranked, distinct
from lossproof.advise.traits import Traits
from lossproof.data.facts_stream import Facts
from lossproof.formula import Loss
from lossproof.lower import function

Floats = npt.NDArray[np.float64]
MOST = 12  # that a pilot begins with
VALUES = 20_000  # on which slopes are compared


def tried(
    ranked: Sequence[Ranked], facts: Facts, most: int = MOST, *, means: bool = True, prove: bool = False
) -> list[Candidate]:
    """At most so many candidates, the most wanted first, so that a short budget drops those at the end.

    First the leading one, then the best law, even if its certificate speaks against it; with ``means`` the two simplest
    for the mean, as losses for the median may not have learnt much by the end of a pilot; then, one by one, the candidate
    least alike to all that were taken (Gonzalez 1985, DOI 10.1016/0304-3975(85)90224-5).
    """
    every = distinct(ranked)
    if not every:
        return []
    wanted = [0, min(range(len(every)), key=lambda i: every[i].law.nats)]
    if means:
        mean = [i for i, c in enumerate(every) if Traits(c.loss, prove=prove).of("mean").answer == "holds"]
        wanted += sorted(mean, key=lambda i: every[i].simplicity)[:2]
    taken = list(dict.fromkeys(wanted))[:most]
    alike = likeness(every, facts)
    while len(taken) < min(most, len(every)):
        left = [i for i in range(len(every)) if i not in taken]
        taken.append(min(left, key=lambda i: alike[i, taken].max()))
    return [every[i] for i in taken]


def likeness(candidates: Sequence[Candidate], facts: Facts) -> Floats:
    """Cosines between the slopes that a linear model of the data gets from each loss, behind its output; (n, n).

    A decoder is alike to nothing but itself: its slope in the picture depends on the scale that it learns.
    """
    y, p = (a.ravel()[:VALUES] for a in (facts.reference.targets, facts.reference.predictions))
    if facts.unit:
        p = np.clip(p, EDGE, 1 - EDGE)
    behind = p * (1 - p) if facts.unit else 1.0  # the sigmoid's own slope
    unit = np.zeros((len(candidates), y.size))
    for row, candidate in zip(unit, candidates, strict=True):
        if isinstance(candidate.loss, Loss):
            slope = np.nan_to_num(np.asarray(function(candidate.loss).gradient(y, p)) * behind)
            row[:] = slope / (np.linalg.norm(slope) or 1.0)
    cosines = np.asarray(unit @ unit.T)
    np.fill_diagonal(cosines, 1.0)
    return cosines


__all__ = ["MOST", "likeness", "tried"]
