"""lossproof explain, called as the program calls it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lossproof.cli import app
from lossproof.formula import LossproofError


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)])
    assert isinstance(result.exception, LossproofError), result.output
    return str(result.exception)


def test_a_value_on_data_in_80_plain_columns():
    text = run("--loss", "bce", "--value", "0.30", "--data", "digits")
    assert "1. the floor: a perfect reconstruction does not reach 0 [shown, nothing is" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()


def test_a_number_as_programs_print_it():
    found = json.loads(run("--value", "-5,299,324", "--loss", "bce", "--shape", "3x64x64", "--json"))
    assert found["value"] == -5299324
    assert found["causes"][0]["id"] == "outside"
    assert "8-bit images hold" in " ".join(found["causes"][0]["arithmetic"])


def test_nan_alone_has_no_cause_and_status_1():
    assert "No cause found" in run("--value", "0.2", status=1)
    assert json.loads(run("--value", "nan", "--loss", "bce", "--json"))["value"] == "nan"


def test_every_option_reaches_the_explanation(tmp_path):
    y = np.random.default_rng(0).random((6, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", pictures=y, other=y)
    np.savez(tmp_path / "dump.npz", targets=y, predictions=y.clip(0.01, 0.99))
    (tmp_path / "curve.csv").write_text("loss\n0.9\n0.6\n")
    found = json.loads(run("--loss", "bce", "--curve", tmp_path / "curve.csv", "--data", tmp_path / "data.npz", "--key",
                           "pictures", "--grey", "--rate", 3, "--kl-weight", 2, "--reduction", "mean", "--batch-size", 4,
                           "--dump", tmp_path / "dump.npz", "--json"))  # fmt: skip
    assert found["value"] == 0.6
    assert any("1 x 8 x 8" in fact for fact in found["facts"])
    assert any("beta = 128" in line for cause in found["causes"] for line in cause["arithmetic"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a value, a curve or a dump"),
        (("--value", "ten"), "--value: expected a number"),
        (("--value", "1", "--shape", "3x"), "--shape: expected sides"),
        (("--value", "1", "--reduction", "average"), "reduction: expected one of"),
        (("--value", "1", "--data", "nowhere.npy"), "nowhere.npy"),
    ],
)
def test_wrong_input_says_what_to_do(arguments, message):
    assert message in refused(*arguments)
