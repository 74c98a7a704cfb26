"""A cut of every experiment on scikit-learn's digits."""

import math

import pytest

from lossproof.formula.errors import LossproofError
from lossproof.reproduce import EXPERIMENTS, prepare, reproduce
from lossproof.reproduce.record import passed


@pytest.fixture(scope="module")
def bench():
    return prepare(quick=True)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_its_cut_measures_every_figure_and_meets_the_goals_that_its_own_bounds_set(bench, name):
    made = reproduce(name, bench)
    assert (made.data, made.published, made.quick) == ("digits", False, True)
    assert set(made.figures) == {figure.name for figure in EXPERIMENTS[name].figures}
    assert all(math.isfinite(value) for value in made.figures.values())
    assert passed(EXPERIMENTS[name], made) is True
    for remark in filter(None, [EXPERIMENTS[name].remark]):
        assert "nan" not in remark(made.figures)


def test_every_experiment_has_a_source_a_goal_against_a_number_and_one_against_a_figure():
    for name, experiment in EXPERIMENTS.items():
        goals = [goal for figure in experiment.figures for goal in figure.goals]
        assert experiment.name == name
        assert "https://" in experiment.source
        assert any(isinstance(goal.of, float | int) for goal in goals)
        assert any(isinstance(goal.of, str) for goal in goals)
        assert any(figure.printed for figure in experiment.figures)


def test_an_unknown_name_lists_the_known_ones(bench):
    with pytest.raises(
        LossproofError, match="expected one of linear-vae, .*got 'keras'; did you mean keras-ae"
    ):
        reproduce("keras", bench)
