"""lossproof advise, called as the program calls it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lossproof.cli import app
from lossproof.formula import LossproofError

FEW = ("--loss", "bce", "--loss", "mse")


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["advise", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["advise", *map(str, arguments)])
    assert isinstance(result.exception, LossproofError), result.output
    return str(result.exception)


def test_the_answer_in_plain_text(tmp_path):
    text = run("digits", *FEW, "--budget", 0, "--html", tmp_path / "a.html")
    for words in (
        "loss",
        "bce",
        "Why",
        "What would change this",
        "Facts",
        "17 grey levels",
        "ReconstructionLoss",
    ):
        assert words in text
    assert text.isascii()
    assert "\x1b" not in text
    assert "Train with" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_json_is_all_that_is_printed(tmp_path):
    found = json.loads(
        run("digits", *FEW, "--budget", 0, "--goal", "sample", "--json", "--html", tmp_path / "a.html")
    )
    assert found["goal"] == "sample"
    assert found["loss"] in ("bce", "mse")
    assert set(found["snippets"]) == {"torch", "keras", "jax"}
    assert (tmp_path / "a.html").is_file()


def test_strict_and_key_reach_the_data(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", a=rng.random((20, 6, 6)), b=rng.random((30, 6, 6)))
    found = json.loads(run(tmp_path / "x.npz", *FEW, "--key", "b", "--budget", 0, "--json"))
    assert found["facts"]["images"] == 30
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"nothing")
    assert "a.png: expected a picture" in refused(folder, "--strict", "--budget", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("digits", "--goal", "paint"), "goal: expected one of reconstruct"),
        (("digitz",), "expected a data set or a path"),
        (("digits", "--loss", "focal", "--budget", 0), "at least one loss that is legal"),
    ],
)
def test_errors_are_the_library_s(arguments, said):
    assert said in refused(*arguments)
