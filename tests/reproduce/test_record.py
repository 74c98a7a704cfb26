"""Goals, verdicts, and what is stored."""

import dataclasses
import math

import pytest

from lossproof.formula.errors import LossproofError
from lossproof.reproduce.record import Experiment, Figure, Goal, Outcome, passed, verdict

MADE = Outcome(
    "one", "mnist", True, False, "setting", {"a": 1.0, "b": 2.0}, 3.0, 2.5, "2025-01-01", "2 cores"
)


def experiment(*figures):
    return Experiment("one", "One", "source", "setting", "nothing", figures, run=lambda bench: {})


@pytest.mark.parametrize(
    ("goal", "yes", "no"),
    [
        (Goal("at most", 1.5), 1.5, 1.5001),
        (Goal("at least", 1.5), 1.5, 1.4999),
        (Goal("within", 1.5, 0.25), 1.75, 1.76),
        (Goal("within", 1.5, 0.25), 1.25, 1.24),
        (Goal("at most", "b"), 2.0, 2.1),
        (Goal("at most", "b", 0.5), 2.5, 2.6),
        (Goal("at least", "b", 0.5), 1.5, 1.4),
    ],
)
def test_a_goal_holds_up_to_its_limit_and_no_further(goal, yes, no):
    assert goal.holds(yes, MADE.figures)
    assert not goal.holds(no, MADE.figures)
    assert not goal.holds(math.nan, MADE.figures)


def test_a_goal_against_a_figure_that_was_not_measured_says_so():
    with pytest.raises(LossproofError, match="expected the figure 'c', got a, b"):
        Goal("at most", "c").holds(1.0, MADE.figures)


def test_published_goals_are_judged_on_the_papers_images_only():
    missed = Figure("a", "A", goals=(Goal("at least", 5.0), Goal("at most", "b")))
    ours = dataclasses.replace(MADE, data="fashion-mnist", published=False)
    assert verdict(missed, MADE) is False
    assert verdict(missed, ours) is True
    assert verdict(Figure("a", "A", goals=(Goal("at least", 5.0),)), ours) is None
    assert verdict(Figure("a", "A"), MADE) is None


def test_an_experiment_passes_when_all_that_is_judged_is_met():
    met, missed, free = (
        Figure("a", "A", goals=goals) for goals in ((Goal("at most", 1.0),), (Goal("at most", 0.9),), ())
    )
    assert passed(experiment(met, free), MADE) is True
    assert passed(experiment(met, missed), MADE) is False
    assert passed(experiment(free), MADE) is None


def test_an_outcome_survives_its_stored_form_and_a_broken_one_is_named():
    assert Outcome.read(dataclasses.asdict(MADE)) == MADE
    stored = dataclasses.asdict(MADE) | {"quick": "no"}
    with pytest.raises(LossproofError, match="wrong or missing: quick"):
        Outcome.read(stored)
    del stored["figures"]
    with pytest.raises(LossproofError, match="wrong or missing: quick, figures"):
        Outcome.read(stored)
