"""What an experiment declares before it runs, and what a run of it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lossproof.formula.errors import LossproofError

if TYPE_CHECKING:
    from lossproof.reproduce.bench import Bench

Kind = Literal["at least", "at most", "within"]


@dataclass(frozen=True)
class Goal:
    """What a figure has to be, measured against a number or against another figure of the same run.

    A goal against a number is a published one and is judged on the paper's data only; a goal against another figure
    (a closed form, a bound, the same net trained otherwise) is judged on any data.

    >>> Goal("at most", 106.66).holds(105.7, {}), Goal("within", "exact", 0.5).holds(299.0, {"exact": 299.758})
    (True, False)
    """

    kind: Kind
    of: float | str
    by: float = 0.0  # how far beyond the limit still counts

    def limit(self, figures: Mapping[str, float]) -> float:
        """The number that is compared with; `LossproofError` if the run has no such figure."""
        if not isinstance(self.of, str):
            return self.of
        if self.of not in figures:
            raise LossproofError(
                f"goal: expected the figure {self.of!r}, got {', '.join(figures) or 'none'}."
            )
        return figures[self.of]

    def holds(self, value: float, figures: Mapping[str, float]) -> bool:
        """Whether `value` meets the goal; a NaN meets none."""
        limit = self.limit(figures)
        if self.kind == "within":
            return abs(value - limit) <= self.by
        return value >= limit - self.by if self.kind == "at least" else value <= limit + self.by


@dataclass(frozen=True)
class Figure:
    """A number that an experiment measures: what it is, what the source printed, what it has to be."""

    name: str
    title: str  # with its unit
    printed: str = ""  # as the source has it; empty where it has none
    goals: tuple[Goal, ...] = ()
    digits: int = 2


@dataclass(frozen=True)
class Experiment:
    """One published number and how it is got here. `run` measures every figure, in the order they are declared."""

    name: str
    title: str
    source: str  # a line of Markdown with the address
    setting: str
    differs: str
    figures: tuple[Figure, ...]
    run: Callable[[Bench], dict[str, float]] = field(repr=False)
    #: a paragraph whose sentences follow from the figures
    remark: Callable[[Mapping[str, float]], str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Outcome:
    """One run of one experiment on one data set, as it is stored."""

    experiment: str
    data: str
    #: whether the images are the paper's own, so that published numbers are judged
    published: bool
    #: a cut on small data: figures say that the program works, not what the net can do
    quick: bool
    #: as it was declared when it ran
    setting: str
    figures: dict[str, float]
    #: by the clock, and of this process's processor time: on a busy machine they differ
    seconds: float
    cpu_seconds: float
    date: str
    machine: str

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Outcome:
        """From its JSON form; `LossproofError` if a field is missing or not of its kind."""
        kinds = {
            "experiment": str,
            "data": str,
            "published": bool,
            "quick": bool,
            "setting": str,
            "figures": dict,
            "seconds": float,
            "cpu_seconds": float,
            "date": str,
            "machine": str,
        }
        wrong = [name for name, kind in kinds.items() if not isinstance(stored.get(name), kind)]
        if wrong or len(stored) != len(kinds):
            raise LossproofError(
                f"reproductions: expected the fields {', '.join(kinds)}, got {', '.join(map(str, stored))}; "
                f"wrong or missing: {', '.join(wrong) or 'none'}. Delete the file to start anew."
            )
        return cls(**stored)


def verdict(figure: Figure, outcome: Outcome) -> bool | None:
    """Whether a figure meets its goals: None where none of them applies to these images.

    >>> figure = Figure("elbo", "ELBO, nats", goals=(Goal("at least", 3.0),))
    >>> made = Outcome("x", "mnist", True, False, "one layer", {"elbo": 3.1}, 1.0, 1.0, "2025-01-01", "2 cores")
    >>> verdict(figure, made)
    True
    """
    goals = [goal for goal in figure.goals if outcome.published or isinstance(goal.of, str)]
    if not goals:
        return None
    return all(goal.holds(outcome.figures[figure.name], outcome.figures) for goal in goals)


def passed(experiment: Experiment, outcome: Outcome) -> bool | None:
    """Whether every figure that is judged meets its goals; None where none is judged."""
    verdicts = [verdict(figure, outcome) for figure in experiment.figures]
    judged = [found for found in verdicts if found is not None]
    return all(judged) if judged else None
