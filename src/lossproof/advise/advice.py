"""``advise``: facts, candidates, criteria, pilot, and the answer for one goal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lossproof.advise.answer import changes, reasons, warnings
from lossproof.advise.candidates import COLDEST, Bench, Candidate, Excluded, gather_candidates, lattice_of
from lossproof.advise.criteria import COLUMNS, Cell, criteria
from lossproof.advise.decoders import not_for
from lossproof.advise.goals import Goal, goal_of
from lossproof.advise.pilot import Pilot, run_pilot
from lossproof.advise.ranking import Need, Ranked, rank
from lossproof.advise.snippets import Law, Recipe, snippets
from lossproof.advise.traits import Traits
from lossproof.advise.traits import prove as make_certificates
from lossproof.advise.tried import tried
from lossproof.advise.words import percent
from lossproof.catalogue.decoder import Decoder
from lossproof.data.facts_stream import Facts, describe, gather
from lossproof.data.stream import open_stream
from lossproof.formula import Loss, LossproofError

HEAVY = 0.01  # nats a value by which a law of bounded slope must fit better for the noise to count as heavy-tailed


@dataclass(frozen=True)
class Advice:
    """The answer for one goal on one data set, with everything it rests on.

    ``loss`` is the advised loss's label; ``ranking`` all candidates from best to worst; ``activation``, ``reduction``,
    ``temperature`` and ``beta`` (weight of the KL term when losses are summed over an image; None without one) say how
    to use it; ``reasons``, ``changes`` ("what would change this") and ``warnings`` are sentences; ``table`` has a row a
    candidate and a cell a criterion.
    """

    goal: Goal
    facts: Facts
    loss: str
    ranking: tuple[str, ...]
    activation: str
    reduction: str
    temperature: float
    beta: float | None
    reasons: tuple[str, ...]
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    needs: tuple[Need, ...]
    table: dict[str, dict[str, Cell]]
    excluded: tuple[Excluded, ...]
    pilot: Pilot | None
    code: dict[str, str]

    @property
    def floors(self) -> dict[str, float | None]:
        """Floor of each legal loss on the data, nats per image; None where it is unbounded below."""
        cells = {label: row["floor"] for label, row in self.table.items()}
        return {label: cell.value for label, cell in cells.items() if cell.source}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; NaN and infinities become None."""
        return {
            key: _plain(value)
            for key, value in {
                "schema": "lossproof advice 1",
                "goal": self.goal.name, "loss": self.loss, "ranking": list(self.ranking),
                "activation": self.activation, "reduction": self.reduction, "temperature": self.temperature,
                "beta": self.beta, "reasons": list(self.reasons), "changes": list(self.changes),
                "warnings": list(self.warnings), "needs": [asdict(need) for need in self.needs],
                "criteria": [asdict(column) for column in COLUMNS],
                "table": {label: {key: asdict(cell) for key, cell in row.items()} for label, row in self.table.items()},
                "excluded": [asdict(entry) for entry in self.excluded],
                "pilot": None if self.pilot is None else asdict(self.pilot),
                "snippets": self.code, "facts": describe(self.facts),
            }.items()
        }  # fmt: skip


def advise(
    data: object,
    goal: str = "reconstruct",
    *,
    losses: Sequence[object] | None = None,
    budget: float = 60.0,
    laps: int | None = None,
    seeds: int = 4,
    size: int | None = None,
    grey: bool | None = None,
    key: str | None = None,
    strict: bool = False,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> Advice:
    """Which loss for this data and goal (reconstruct, sample, denoise, anomaly, represent), with the reasons.

    ``data`` is what ``lossproof.load`` takes, read once in constant memory. ``budget``: seconds for the pilot, 0 for none;
    ``laps`` epochs in place of seconds make it repeatable. ``losses`` (default: the catalogue) are ids, formulas or
    ``Loss`` records. ``strict``: stop at a damaged picture rather than skip it. ``progress`` is told a stage and a share.
    Raises ``LossproofError`` for a wrong goal, data that cannot be read, fewer than two images, images that are all the
    same, and when no loss is legal on the data.

    >>> advice = advise("digits", "reconstruct", losses=["bce", "mse", "mae"], budget=0)
    >>> advice.loss, advice.activation, advice.beta
    ('bce', 'sigmoid, inside the loss: the decoder puts out logits', None)
    """
    chosen = goal_of(goal)
    if not (math.isfinite(budget) and budget >= 0):
        raise LossproofError(f"budget: expected seconds, at least 0, got {budget}. 0 leaves the pilot out.")
    say = progress or (lambda stage, share: None)
    stream = open_stream(data, size=size, grey=grey, key=key, strict=strict)
    facts = gather(stream, seed=seed, progress=lambda done, total: say("reading", done / max(1, total)))
    return advise_facts(
        facts,
        goal,
        losses=losses,
        budget=budget if chosen else 0,
        laps=laps,
        seeds=seeds,
        seed=seed,
        progress=say,
    )


def advise_facts(
    facts: Facts,
    goal: str = "reconstruct",
    *,
    losses: Sequence[object] | None = None,
    budget: float = 60.0,
    laps: int | None = None,
    seeds: int = 4,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
    judged: tuple[list[Candidate], list[Excluded]] | None = None,
    prove: bool = True,
) -> Advice:
    """The same from facts that were gathered before, as for several goals on one data set; ``judged`` likewise.

    ``prove``: certify on the spot what has no committed certificate (some seconds).
    """
    wanted = goal_of(goal)
    say = progress or (lambda stage, share: None)
    _usable(facts)
    say("judging losses", 0.0)
    candidates, excluded = judged or gather_candidates(facts, losses, bench=Bench(facts, seed))
    if losses is None and not wanted.decoders:  # a decoder that was asked for by name stays
        excluded = [*excluded, *(Excluded(c.label, not_for(wanted)) for c in candidates if c.decoder)]
        candidates = [c for c in candidates if not c.decoder]
    if not candidates:
        told = "; ".join(f"{entry.label}: {entry.reason}" for entry in excluded[:3])
        raise LossproofError(
            f"{facts.name}: expected at least one loss that is legal on the data, got none: {told}."
        )
    if prove:
        say("certificates", 0.0)
        make_certificates([c.loss for c in candidates], lambda share: say("certificates", share))
    asked, ranked = rank(candidates, facts, wanted, prove=prove)
    heavy = heavy_tailed(ranked, facts)
    pilot = None
    none = why_no_pilot(facts, len(candidates), asked=budget > 0 or laps is not None)
    if not none:
        say("pilot", 0.0)
        chosen = tried(ranked, facts, means=not wanted.law_first, prove=prove)  # laws are judged as they are
        pilot = run_pilot(
            chosen, facts, wanted, heavy=heavy, budget=budget, laps=laps, seeds=seeds,
            preference={entry.candidate.label: entry.wanted for entry in ranked},
            progress=lambda share: say("pilot", share),
        )  # fmt: skip
    order = _order(ranked, pilot)
    first = order[0]
    traits = Traits(first.candidate.loss, prove=prove)
    temperature = _temperature(first.candidate, pilot)
    beta = temperature if wanted.model == "vae" and math.isfinite(temperature) else None
    table = criteria([entry.candidate for entry in order], facts, pilot, prove=prove)
    return Advice(
        goal=wanted,
        facts=facts,
        loss=first.candidate.label,
        ranking=tuple(entry.candidate.label for entry in order),
        activation=_activation(first.candidate, facts),
        reduction="sum over an image, mean over the batch (nats per image)",
        temperature=temperature,
        beta=beta,
        reasons=tuple(reasons(first, order, asked, facts, pilot, traits, wanted)),
        changes=tuple(changes(first, order, facts, pilot, wanted, none)),
        warnings=tuple(warnings(facts, first, beta, wanted)),
        needs=asked,
        table=table,
        excluded=tuple(excluded),
        pilot=pilot,
        code=snippets(_recipe(order, facts, beta)),
    )


def why_no_pilot(facts: Facts, candidates: int, *, asked: bool) -> str:
    """Why there is no pilot, as the end of a sentence; "" where there is one."""
    if not asked:
        return "a pilot (--budget 60) measures what the facts only suggest"
    if candidates < 2:
        return "there is one loss to choose from, so a pilot would decide nothing"
    if len(facts.sample) < 8:
        return f"{len(facts.sample)} images are too few for a pilot, which needs 8"
    if facts.scale_unknown:
        return (
            f"{percent(facts.outside)} of the values lie beyond [0, 1], where a pilot's pictures do not reach: undo the "
            "scaling first"
        )
    return ""


def _activation(candidate: Candidate, facts: Facts) -> str:
    if isinstance(candidate.loss, Decoder):
        names = ", ".join(head.name for head in candidate.loss.heads if candidate.loss.place(head) == "pixel")
        outputs = "1 output" if candidate.outputs == 1 else f"{candidate.outputs} outputs"
        return f"none: {outputs} a value ({names}), as they are"
    if facts.unit:
        return "sigmoid, inside the loss: the decoder puts out logits"
    return "none: values lie beyond [0, 1], so the decoder puts them out as they are"


def _recipe(order: Sequence[Ranked], facts: Facts, beta: float | None) -> Recipe:
    first = order[0].candidate
    fix = facts.fix if facts.undone else ""
    if not isinstance(first.loss, Decoder):
        return Recipe(first.label, facts.unit, beta, fix)
    instead = next((entry.candidate for entry in order if isinstance(entry.candidate.loss, Loss)), None)
    levels = lattice_of(facts) if first.loss.measure == "levels" else None
    other = None
    if instead is not None:
        weight = instead.weight if beta is not None and math.isfinite(instead.weight) else None
        other = Recipe(instead.label, facts.unit, weight, fix)
    return Recipe(first.label, facts.unit, beta, fix, Law(facts.shape, levels), other)


def heavy_tailed(ranked: Sequence[Ranked], facts: Facts) -> bool:
    """Whether noise was found and a loss other than one for the mean fits it clearly better."""
    if not facts.noisy:
        return False
    losses = [e.candidate for e in ranked if isinstance(e.candidate.loss, Loss)]
    mean = [c.law.nats for c in losses if Traits(c.loss).of("mean").answer == "holds"]
    other = [c.law.nats for c in losses if Traits(c.loss).of("mean").answer != "holds"]
    return bool(other and (not mean or min(other) < min(mean) - HEAVY))


def _usable(facts: Facts) -> None:
    if facts.count < 2:
        raise LossproofError(
            f"{facts.name}: expected at least two images, got {facts.count}: one image tells nothing of what a model "
            "will meet. Add images."
        )
    if facts.constant_images:
        raise LossproofError(
            f"{facts.name}: expected images that differ, got {facts.count} images of which every pixel is the same in "
            "all: any loss is least at the mean image. Is it the right file or key?"
        )


def _order(ranked: Sequence[Ranked], pilot: Pilot | None) -> list[Ranked]:
    """The pilot's order where there was one, the chosen loss first; then the rest as the facts have it."""
    if pilot is None:
        return list(ranked)
    places = {row.label: i for i, row in enumerate(pilot.rows)} if pilot.conclusive else {}
    places[pilot.chosen] = -1
    return sorted(ranked, key=lambda entry: places.get(entry.candidate.label, len(places) + 1))


def _temperature(candidate: Candidate, pilot: Pilot | None) -> float:
    if candidate.likelihood:  # any other T would weigh a bound on something else
        return 1.0
    row = None if pilot is None else next((r for r in pilot.rows if r.label == candidate.label), None)
    found = math.nan if row is None else row.other.get("temperature", math.nan)
    # a law as narrow as can be tried was fitted to predictions that leave nothing over: that is no temperature
    known = [t for t in (found, candidate.law.temperature) if math.isfinite(t) and t > 1.01 * COLDEST]
    # a pilot is short: a model that does worse than a linear one is not yet what T is wanted for
    return min(known, default=math.nan)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


__all__ = ["Advice", "advise", "advise_facts"]
