"""A formula whose float32 code is wrong where the loss is a number says so; good formulas and the catalogue keep still."""

import warnings

import pytest
from typer.testing import CliRunner

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.cli import app
from lossproof.lower import corners
from lossproof.lower.corners import wrong_corner
from lossproof.lower.kernels import kernel_of
from lossproof.torch import ReconstructionLoss

GOOD = [
    "(y-p)**2/(p*(1-p))", "abs(y-p)/sqrt(p*(1-p))", "-log(1-abs(y-p))", "p**y*(1-p)**(1-y)", "tanh(3*(y-p))**2",
    "where(p > y, 2*(p-y), y-p)", "y/p+(1-y)/(1-p)", "(sqrt(y)-sqrt(p))**2/p", "where(p < y, -1, 3.14)",
]  # fmt: skip


def test_the_warning_says_what_where_and_what_to_do():
    loss = resolve("log1p((y-p)**2/(p*(1-p)))")
    kernel_of.cache_clear()
    with pytest.warns(UserWarning, match="Keep logits between") as caught:
        ReconstructionLoss(loss)
    assert [str(w.message) for w in caught] == [
        "log1p((y-p)**2/(p*(1-p))): expected loss = 89 at target y = 1, logit z = -89 in float32, got inf. Keep logits "
        "between -89 and 89, or write the formula so that no part of it overflows or cancels."
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ReconstructionLoss(loss)  # once for a formula


@pytest.mark.parametrize(
    ("formula", "what"),
    [
        ("-log(1 - (y - p)**2)", "expected loss = 103.3 at target y = 1, logit z = -104 in float32, got inf"),
        ("erf((y-p)/sqrt(p*(1-p)))**2", "expected dl/dz = "),
        ("y*log(2*y/(y+p))+p*log(2*p/(y+p))", "at target y = 0, logit z = -89 in float32, got inf"),
        ("sin(1e9*(y - p))**2", "expected loss = "),  # finite, and wrong
    ],
)
def test_wrong_corners_are_found(formula, what):
    assert what in str(wrong_corner(resolve(formula)))


@pytest.mark.parametrize("loss", [*CATALOGUE, *GOOD])
def test_good_formulas_have_none(loss, monkeypatch):
    monkeypatch.setattr(corners, "BUDGET", 1.0)  # most corners of all of them
    assert wrong_corner.__wrapped__(resolve(loss)) is None


def test_the_catalogue_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(corners, "wrong_corner", None)  # would fail if it were called
    kernel_of.cache_clear()
    for target in ("torch", "jax"):
        kernel_of(resolve("huber(delta=0.3)"), target)


def test_the_look_ends_in_time(monkeypatch):
    monkeypatch.setattr(corners, "BUDGET", -1.0)
    assert wrong_corner.__wrapped__(resolve("log1p((y-p)**2/(p*(1-p)))")) is None


def test_targets_outside_the_domain_are_not_looked_at():
    from dataclasses import replace

    from lossproof.formula import Interval

    loss = replace(resolve("y*log(2*y/(y+p))+p*log(2*p/(y+p))"), target=Interval(5.0, 6.0))
    assert wrong_corner(loss) is None


def test_show_says_it():
    text = CliRunner().invoke(app, ["show", "log1p((y-p)**2/(p*(1-p)))", "--as", "numpy"]).output
    assert (
        "# Warning: log1p((y-p)**2/(p*(1-p))): expected loss = 89 at target y = 1, logit z = -89 in float32"
        in text
    )
    for good in ("bce", "huber(delta=0.3)", "(y-p)**2/(p*(1-p))"):
        assert "Warning" not in CliRunner().invoke(app, ["show", good, "--as", "numpy"]).output
