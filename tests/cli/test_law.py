"""lossproof law, called as the program calls it."""

import re

import pytest
from typer.testing import CliRunner

from lossproof.cli import app
from lossproof.formula import LossproofError


def run(*arguments: str):
    return CliRunner().invoke(app, ["law", *arguments], env={"COLUMNS": "100"})


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\|\s*[\d-]", line)
    ]


def test_bce_on_the_interval_is_most_likely_far_from_p_equal_y():
    text = run("bce", "--measure", "interval", "--at", "0.1,0.9").stdout
    assert "exp(-loss/T)/Z of bce, T = 1, on the interval [0, 1]" in text
    assert "nats of density on [0, 1]" in text
    low, high, likely, mirrored = rows(text)
    assert low[:3] == ["0.1", "0.33012", "0"]  # 1/(1 - exp(-eta)) - 1/eta; the mode is never inside
    assert high[2] == "1"
    assert likely == ["0.1", "4.561e-05", "1.3026", "0.68526"]
    assert mirrored[1] == "1 - 4.561e-05"


def test_levels_take_the_nearest_level_and_the_excess_is_said():
    text = run("bce", "--excess", "--measure", "17", "--at", "0.1").stdout
    assert "of the excess over the floor of bce, T = 1, on 17 grey levels" in text
    assert rows(text)[0][2] == "0.125"  # the mode of the excess's law is the level next to p
    assert rows(text)[1][0] == "0.125"


def test_parameters_and_temperature_are_taken():
    text = run(
        "huber", "--param", "delta=0.1", "--temperature", "0.5", "--at", "0.25", "--measure", "line"
    ).stdout
    assert "huber(delta=0.1), T = 0.5, on the real line" in text
    assert rows(text)[1][:2] == ["0.25", "0.25"]


def test_a_law_without_a_mean_has_the_rest():
    text = run("log(1 + (y - p)**2)", "--measure", "line", "--at", "0.25").stdout  # Cauchy's
    assert rows(text)[0] == ["0.25", "-", "0.25", "0.25", "-"]
    assert "-: none, the tails are too thick" in text
    assert rows(text)[1][:2] == ["0.25", "0.25"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bce", "--at", "0,1.5"], "--at: expected numbers from 0 to 1, as in --at 0.1,0.5, got '0,1.5'"),
        (["bce", "--at", "half"], "got 'half'"),
        (["bce", "--temperature", "0"], "expected a finite temperature T > 0, got 0.0"),
        (["bce", "--measure", "circle"], "circle"),
        (["p*y", "--measure", "line"], "does not grow without bound"),
        (["bec"], "did you mean bce"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    error = run(*arguments).exception
    assert isinstance(error, LossproofError)
    assert message in str(error)
