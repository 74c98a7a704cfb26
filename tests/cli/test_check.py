"""lossproof check, called as the program calls it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lossproof.catalogue import CATALOGUE
from lossproof.cli import app, main
from lossproof.formula import Interval, LossproofError


def run(*arguments: object, status: int) -> str:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert isinstance(result.exception, LossproofError), result.output
    return str(result.exception)


def test_digits_in_80_plain_columns():
    text = run("digits", status=0)
    assert "-0.000" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert "\x1b" not in text
    for words in (
        "scaling: 0..16 / 16",
        "17 grey levels",
        "BCE floor, nats per image",
        "13.674",
        "BCE of the clipped mean image",
        "clipped mean image: mean of the train images, pixels kept in [1/2876, 1 -",
        "continuous_bernoulli",
    ):
        assert words in text


def test_json_holds_the_report():
    report = json.loads(run("digits", "--json", "--loss", "bce", "--loss", "huber(delta=0.1)", status=0))
    assert [v["loss"] for v in report["losses"]] == ["bce", "huber(delta=0.1)"]
    assert report["parts"][0]["count"] == 1438


def test_z_scored_data_are_described_and_the_status_is_1(tmp_path: Path):
    x = np.random.default_rng(0).random((30, 8, 8))
    x[:, 0, 0], x[:, 0, 1] = 0, 1
    np.save(tmp_path / "z.npy", (x - 0.1307) / 0.3081)
    text = run(tmp_path / "z.npy", status=1)
    assert "-0.4242 .. 2.821" in text
    assert "pixels outside [0, 1]" in text
    flat = " ".join(text.split())
    assert "Not ready for training." in flat
    assert "\nFix: x = x * 0.3081 + 0.1307\n" in text
    assert json.loads(run(tmp_path / "z.npy", "--json", status=1))["fix"] == "x = x * 0.3081 + 0.1307"


def test_an_illegal_loss_that_was_asked_for_gives_status_1(monkeypatch: pytest.MonkeyPatch):
    strict = replace(CATALOGUE["mse"], id="strict", target=Interval(0, 1, low_open=True))
    monkeypatch.setitem(CATALOGUE, "strict", strict)
    text = " ".join(run("digits", "--loss", "strict", "--loss", "mse", status=1).split())
    assert "lie at 0" in text
    verdict = json.loads(run("digits", "--loss", "strict", "--json", status=1))["losses"][0]
    assert verdict["fix"] == "x = np.clip(x, 0.001, 1)"
    run("digits", "--loss", "mse", status=0)


def test_unreadable_data_give_status_2_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["lossproof", "check", str(tmp_path / "nothing.npy")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(
        f"Error: {tmp_path / 'nothing.npy'}: expected a file or a folder"
    )
    assert "did you mean bce" in refused("digits", "--loss", "bec")


def test_size_grey_and_key(tmp_path: Path):
    for i in range(3):
        Image.fromarray(np.full((8 + i, 8, 3), 80 * i, np.uint8)).save(tmp_path / f"{i}.png")
    assert "--size 8" in refused(tmp_path)
    assert "3 x 4 x 4 = 48 values" in run(tmp_path, "--size", 4, "--loss", "mse", status=0)
    assert "1 x 4 x 4 = 16 values" in run(tmp_path, "--size", 4, "--grey", "--loss", "mse", status=0)
    np.savez(tmp_path / "x.npz", a=np.zeros((4, 5, 5), bool), b=np.ones((6, 7, 7), bool))
    assert "1 x 7 x 7" in run(tmp_path / "x.npz", "--key", "b", "--loss", "mse", status=0)


def test_a_path_with_markup_is_printed_as_it_is(tmp_path: Path):
    folder = tmp_path / "[red]x"
    folder.mkdir()
    np.save(folder / "[b]y.npy", np.zeros((4, 5, 5), bool))
    assert "[b]y.npy" in run(folder / "[b]y.npy", "--loss", "mse", status=0)
