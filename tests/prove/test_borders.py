"""Borders: hand values, and claims that mpmath confirms."""

import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import Interval, Proved, Unknown
from lossproof.formula.interval import REALS
from lossproof.prove.borders import lines
from lossproof.prove.clock import Clock
from lossproof.prove.problem import Problem


def borders(spec, **options):
    (line,) = lines(Problem(resolve(spec), **options), {}, Clock(60))
    return line


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_catalogue_loss_is_proved(name):
    line = borders(name)
    assert isinstance(line.verdict, Proved)
    assert len(line.verdict.steps) == 12
    assert all(step.claim is not None for step in line.verdict.steps)
    assert line.seconds < 5


def test_bce_by_hand():
    details = borders("bce").details
    assert details["p -> 0"] == {
        "y = 0": {"value": "0", "slope": "1"},
        "y inside": {"value": "oo", "slope": "-oo"},
        "y = 1": {"value": "oo", "slope": "-oo"},
    }
    assert details["p -> 1"]["y = 1"] == {"value": "0", "slope": "-1"}


def test_mse_by_hand():
    line = borders("mse")
    assert line.details["p -> 0"]["y inside"] == {"value": "y**2", "slope": "-2*y"}
    assert line.statement == (
        "as p -> 0 the loss stays finite, its slope stays finite; as p -> 1 the loss stays finite, its slope stays finite"
    )


def test_continuous_bernoulli_is_unbounded_below():
    details = borders("continuous_bernoulli").details
    assert details["p -> 0"]["y = 0"]["value"] == details["p -> 1"]["y = 1"]["value"] == "-oo"


def test_kinks_at_the_border_split_the_targets():
    line = borders("huber(delta=0.25)")
    assert isinstance(line.verdict, Proved)
    low = line.details["p -> 0"]
    assert low["y in (0, 1/4)"] == {"value": "y**2/2", "slope": "-y"}
    assert low["y in (1/4, 1)"] == {"value": "y/4 - 1/32", "slope": "-1/4"}
    assert low["y = 1/4"] == {"value": "1/32", "slope": "-1/4"}


def test_targets_without_a_loss_are_named_in_the_domain():
    line = borders("y/p - log(y/p) - 1")
    assert line.verdict.domain == "y in [0, 1], y != 0"
    assert "y = 0" not in line.details["p -> 0"]


def test_open_targets_leave_the_ends_out():
    line = borders("bce", target=Interval(0, 1, low_open=True))
    assert "y = 0" not in line.details["p -> 0"]


def test_what_has_no_limit_is_unknown():
    line = borders("(y - p)**2*(2 + sin(1/p))")
    assert isinstance(line.verdict, Unknown)
    assert "dl/dp for y = 0 as p -> 0+" in line.verdict.reason
    assert "no limit shown" in line.statement


def test_other_domains_are_unknown():
    assert "predictions" in borders("mse", target=REALS, prediction=REALS).verdict.reason


def test_a_branch_that_hangs_on_a_symbolic_parameter_is_not_settled():
    loss = resolve("huber")
    assert "no limit is shown" in borders("huber", free=loss.params).verdict.reason
