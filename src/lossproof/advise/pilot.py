"""A pilot: the candidates trained side by side on a sample, from the same weights, batches and noise, in a time budget.

Successive halving (Jamieson and Talwalkar, arXiv 1502.07943): at a half and at three quarters of the budget the half that
is on the way to do worse ends, unless the seeds do not tell it from the best.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lossproof.advise.candidates import Candidate, lattice_of
from lossproof.advise.goals import MEASURES, Goal
from lossproof.data import Images
from lossproof.data.facts_stream import Facts
from lossproof.data.split import split_indices
from lossproof.formula import LossproofError

if TYPE_CHECKING:
    from lossproof.advise.pilot_measure import Judge
    from lossproof.advise.pilot_train import Arena

Floats = npt.NDArray[np.float64]
SEEDS = 4
FEWEST = 15  # epochs that the budget should allow, else fewer losses are tried
#: shares of the budget at which is measured, and at which the worse half ends: losses that begin slowly may end ahead
LOOKS, CUTS = (0.25, 0.5, 0.75), (0.5, 0.75)
TWICE = 2.0  # as large on average, and behind with every seed: worse, however the seeds scatter
LEARNT = 0.5  # of the mean image's squared error: a pilot whose best loss stays above it says nothing
#: measures that the mean image stands beside
PICTURES = ("squared", "absolute", "hidden_squared", "hidden_absolute")
TRAIN, TEST = 2000, 400  # images at most: many epochs of few say more than few of many
VALUES = 1 << 22  # of the training images
T975 = {
    2: 12.706,
    3: 4.303,
    4: 3.182,
    5: 2.776,
    6: 2.571,
    7: 2.447,
    8: 2.365,
}  # Student's t, by number of seeds


@dataclass(frozen=True)
class Row:
    """One loss in the pilot: a value of the deciding measure for each seed (lower is better) and how long it was trained.

    ``seconds_for_loss``: what value and slope of a batch take, of the ``seconds_per_step`` of a member. ``behind``: mean
    difference to the best, with its 95 % interval over seeds; ``separated``: it does not reach 0, or the interval to
    another better one, ``beaten_by``, does not.
    """

    label: str
    values: tuple[float, ...]
    epochs: int
    seconds_per_step: float
    seconds_for_loss: float
    mean: float
    behind: float
    low: float
    high: float
    separated: bool
    other: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    beaten_by: str = ""


@dataclass(frozen=True)
class Pilot:
    """A finished pilot: what decided, its rows from best to worst, and the preferred one of those not told from the best.

    ``conclusive`` is False where the models had not learnt enough to tell; then the first candidate stands, unless pictures
    decide and its own are no better than the mean image, while the best one's are. ``skipped`` are losses that ended after
    an epoch, for the budget would not have taught so many anything.
    """

    measure: str
    title: str
    rows: tuple[Row, ...]
    chosen: str
    words: str
    conclusive: bool
    model: str
    train: int
    test: int
    seeds: int
    seconds: float
    skipped: tuple[str, ...] = ()


def run_pilot(
    candidates: Sequence[Candidate],
    facts: Facts,
    goal: Goal,
    *,
    heavy: bool = False,
    budget: float = 60.0,
    laps: int | None = None,
    seeds: int = SEEDS,
    halve: bool = True,
    preference: Mapping[str, tuple[object, ...]] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Pilot:
    """Train the candidates for ``budget`` seconds (or exactly ``laps`` epochs, for a result that can be repeated).

    ``halve``: end the worse half on the way. ``heavy``: the noise found has heavy tails, so pictures are judged by their
    absolute error. ``preference``: of several that do as well the one with the least of these
    is chosen (default: the least to set), then the one that did best. The kept sample is split at random, or at its end
    where the images are in film-like order. Raises ``LossproofError`` for fewer than 8 images or 2 seeds.
    """
    import torch

    from lossproof.advise.pilot_measure import Judge
    from lossproof.advise.pilot_train import Arena
    from lossproof.train.comparison import intra_op_threads
    from lossproof.train.lanes import LANES, at_once

    if seeds < 2 or seeds > max(T975):
        raise LossproofError(f"pilot: expected 2 to {max(T975)} seeds, got {seeds}.")
    images = images_of(facts)
    measure = measure_of(goal, heavy=heavy, bounded=facts.unit, labels=shared_labels(images))
    by_label = {candidate.label: candidate for candidate in candidates}
    started, looks = time.monotonic(), 0
    seen: dict[str, list[tuple[float, Floats]]] = {label: [] for label in by_label}
    found: dict[str, dict[str, Floats]] = {}
    skipped: tuple[str, ...] = ()
    lanes = min(LANES, torch.get_num_threads())
    with intra_op_threads(1):
        arena = Arena(candidates, images, goal.model, range(seeds), lanes=lanes)
        judge = Judge(images, facts, (measure,))
        while True:
            arena.lap()
            lap = arena.epoch
            share = (time.monotonic() - started) / budget if laps is None else lap / laps
            if progress is not None:
                progress(min(1.0, share))
            if halve and lap == 1 and share * FEWEST > 1 and laps is None:
                # better a few losses that learn something than many that do not
                fewer = max(3, int(len(arena.alive) / (share * FEWEST)))
                skipped, arena.alive = tuple(arena.alive[fewer:]), arena.alive[:fewer]
            over = share >= 1 if laps is not None else share * (lap + 1) / lap > 1
            if over or (halve and looks < len(LOOKS) and share >= LOOKS[looks]):
                asked = [partial(judge.measures, arena.members[label]) for label in arena.alive]
                found |= zip(arena.alive, at_once(asked, lanes), strict=True)
                for label in arena.alive:
                    seen[label].append((lap, found[label][measure]))
                if over:
                    break
                if LOOKS[looks] in CUTS:
                    far = {label: projected(seen[label], lap / share) for label in arena.alive}
                    arena.alive = survivors(arena.alive, far)
                looks += 1
        for label in by_label.keys() - found.keys():
            found[label] = judge.measures(arena.members[label])
        rows = _rows(arena, found, measure, skipped)
    chosen, words = decide(rows, preference or {c.label: c.to_set for c in candidates}, skipped)
    chosen, words, conclusive = _settled(rows, judge, measure, candidates[0].label, chosen, words)
    return Pilot(
        measure, MEASURES[measure], tuple(rows), chosen, words, conclusive, goal.model, len(images.train), len(images.test),
        seeds, time.monotonic() - started, skipped,
    )  # fmt: skip


def _settled(
    rows: Sequence[Row],
    judge: Judge,
    measure: str,
    asked: str,
    chosen: str,
    words: str,
) -> tuple[str, str, bool]:
    """What is chosen in the end, in words, and whether the pilot was long enough to tell; ``asked`` by the facts."""
    mean_image = max(0.0, judge.mean_image - judge.of_noise)
    reached = {row.label: max(0.0, judge.squared(row, measure) - judge.of_noise) for row in rows}
    best = rows[0].label
    beyond = measure == "bound" and rows[0].mean < judge.histograms
    conclusive = reached[best] < LEARNT * mean_image or beyond
    if not conclusive:
        less = " without the noise" if judge.of_noise else ""
        words = (
            f"too short to tell: after epoch {rows[0].epochs} the squared error{less} is {reached[best]:.3g}, the mean "
            f"image's {mean_image:.3g}; "
        )
        if measure in PICTURES and reached[best] < mean_image <= reached[asked]:
            words += (
                f"{asked}, which the facts ask for, had learnt nothing ({reached[asked]:.3g}), {chosen} had"
            )
        else:
            chosen, words = asked, words + "the facts decide"
    return chosen, words, conclusive


def measure_of(goal: Goal, *, heavy: bool, bounded: bool, labels: bool) -> str:
    """Which measure decides: that of the goal, as far as the data has what it takes."""
    if goal.decides == "picture":
        return "absolute" if heavy else "squared"
    if goal.decides == "hidden":
        # squares of bounded noise average out; those of a Cauchy law would not
        return "hidden_absolute" if heavy and not bounded else "hidden_squared"
    if goal.decides == "neighbours" and not labels:
        return "moved"
    return goal.decides


def shared_labels(images: Images) -> bool:
    """Whether most test images have a label that training images have: of data in the order of their labels few do."""
    known, asked = images.train_labels, images.test_labels
    return known is not None and asked is not None and bool(np.isin(asked, known).mean() > 0.5)


def images_of(facts: Facts) -> Images:
    """The kept sample as training and test images in [0, 1]; values beyond are clipped."""
    sample = facts.sample
    if len(sample) < 8:
        raise LossproofError(
            f"pilot: expected at least 8 images, got {len(sample)}. Give more images, or a budget of 0 for none."
        )
    most = max(8, min(TRAIN, VALUES // facts.pixels))
    test_share = min(0.25, TEST / len(sample)) if len(sample) > 40 else 0.25
    how = "tail" if facts.order.film or facts.order.sorted else "random"
    train, test = split_indices(len(sample), test_share, how, 0, facts.name)
    train = np.sort(np.random.default_rng(0).permutation(train)[:most])
    unit = np.clip(sample, 0.0, 1.0)
    labels = facts.sample_labels
    return Images(
        facts.name, np.ascontiguousarray(unit[train]), np.ascontiguousarray(unit[test]),
        None if labels is None else labels[train], None if labels is None else labels[test],
        facts.source, facts.scaling, lattice_of(facts),
    )  # fmt: skip


def gap(values: Floats, best: Floats) -> tuple[float, float, float, bool]:
    """Mean paired difference over seeds, its 95 % interval, and whether that leaves out 0."""
    difference = values - best
    if not np.isfinite(difference).all():
        return float("inf"), float("nan"), float("nan"), True
    mean = float(difference.mean())
    half = T975[len(difference)] * float(difference.std(ddof=1)) / np.sqrt(len(difference))
    return mean, mean - half, mean + half, bool(mean - half > 0)


def worse(values: Floats, best: Floats) -> bool:
    """Whether the seeds tell values from lower ones: by the interval of their difference or, where all are positive, ratio.

    A loss that one seed went astray with, and that is behind with every other one, has a wide interval of differences.
    Behind with every seed it is worse, too, if twice as large on average; or, of values below 0, by more than the best one
    varies.

    >>> mae, charbonnier = np.array([0.113, 0.042, 0.040, 0.039]), np.array([0.0167, 0.0167, 0.0171, 0.0167])
    >>> gap(mae, charbonnier)[3], worse(mae, charbonnier)
    (False, True)
    """
    if gap(values, best)[3]:
        return True
    behind = bool((values > best).all())
    if min(values.min(), best.min()) > 0:
        return gap(np.log(values), np.log(best))[3] or (behind and values.mean() > TWICE * best.mean())
    return behind and bool((values - best).min() > np.ptp(best))


def projected(seen: Sequence[tuple[float, Floats]], end: float) -> Floats:
    """Where values are at the end if they go on as between the last two looks: by a power of the number of epochs.

    >>> values = [(10.0, np.array([0.4])), (20.0, np.array([0.2]))]
    >>> projected(values, 40.0)
    array([0.1])
    """
    (_, last) = seen[-1]
    if len(seen) < 2:
        return last
    (before, earlier), (now, _) = seen[-2:]
    with np.errstate(all="ignore"):
        power = np.log(last / earlier) / np.log(now / before)
        ahead = last * (end / now) ** np.minimum(power, 0.0)  # what gets worse is not expected to
    return np.where(np.isfinite(ahead) & (last > 0) & (earlier > 0), ahead, last)


def survivors(alive: Sequence[str], values: dict[str, Floats]) -> list[str]:
    """The better half, and whatever the seeds do not tell from the best."""
    order = sorted(alive, key=lambda label: _mean(values[label]))
    best = values[order[0]]
    kept = max(2, -(-len(order) // 2))
    return [label for place, label in enumerate(order) if place < kept or not worse(values[label], best)]


def _mean(values: Floats) -> float:
    mean = float(values.mean())
    return mean if np.isfinite(mean) else float("inf")


def _rows(
    arena: Arena, found: dict[str, dict[str, Floats]], measure: str, skipped: Collection[str] = ()
) -> list[Row]:
    # only what was trained equally long is compared: who ended early keeps its place behind
    epochs = {label: max(m.epoch for m in arena.members[label]) for label in found}
    last = max(epochs.values())
    order = sorted(
        found, key=lambda label: (epochs[label] != last, -epochs[label], _mean(found[label][measure]))
    )
    best = found[order[0]][measure]
    rows = []
    for label in order:
        values = found[label][measure]
        stopped = next((str(m.event["message"]) for m in arena.members[label] if m.event is not None), "")
        equal = epochs[label] == last
        why = "the budget is short" if label in skipped else "worse than the best"
        nowhere = (float("nan"), float("nan"), float("nan"), True)
        mean, low, high, separated = gap(values, best) if equal else nowhere
        better = [] if separated else order[: order.index(label)]
        beaten_by = next((b for b in better if worse(values, found[b][measure])), "")
        rows.append(
            Row(
                label, tuple(float(v) for v in values), epochs[label], arena.step_seconds(label), arena.graded(label),
                _mean(values), mean, low, high, separated or beaten_by != "",
                {name: float(v.mean()) for name, v in found[label].items() if name != measure},
                stopped or ("" if equal else f"ended after epoch {epochs[label]}: {why}"),
                beaten_by,
            )
        )  # fmt: skip
    return rows


def decide(
    rows: Sequence[Row], preference: Mapping[str, tuple[object, ...]], skipped: Sequence[str] = ()
) -> tuple[str, str]:
    """The most preferred of the losses that the seeds do not tell from the best, then the best of these; in words.

    Of those ``skipped`` it says no more than that the budget had no time for them.
    """
    alike = [row.label for row in rows if not row.separated and np.isfinite(row.mean)]
    if not alike:
        return rows[0].label, "no loss gave a finite value"
    chosen = min(alike, key=lambda label: preference[label])
    left = f"; there was no time to train {', '.join(skipped)}" if skipped else ""
    if len(alike) == 1:
        return chosen, f"{chosen} is better than every other loss tried, beyond the spread of the seeds{left}"
    others = ", ".join(label for label in alike if label != chosen)
    return chosen, (
        f"no measurable difference on your data between {chosen} and {others}; {chosen} is preferred as the simplest "
        f"(least to set; among those alike, what the facts ask for, then what did best){left}"
    )


__all__ = ["Pilot", "Row", "run_pilot"]
