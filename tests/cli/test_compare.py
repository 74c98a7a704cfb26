"""`lossproof compare` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lossproof import cli
from lossproof.cli.compare import parse_hidden, split_losses, with_parameters
from lossproof.formula.errors import LossproofError
from lossproof.train.table import read

QUICK = ["--hidden", "6", "--latent", "2", "--epochs", "2", "--seeds", "1", "--batch-size", "16"]


@pytest.fixture
def pixels(tmp_path):
    path = tmp_path / "pixels.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8))
    return str(path)


def members(out):
    names = read(out).member.unique()
    return [out / "checkpoints" / f"{name}.safetensors" for name in names]


def test_resume_of_nothing_says_that_it_is_a_new_run(lossproof, pixels, tmp_path):
    out = tmp_path / "run"
    options = ["compare", pixels, "--losses", "bce", *QUICK, "--out", out]
    note = f"note: nothing to resume in {out}: this is a new run"
    status, said, _ = lossproof(*options, "--resume")
    assert (status, note in said.splitlines()) == (0, True)
    status, said, _ = lossproof(*options, "--resume")
    assert (status, "nothing to resume" in said) == (0, False)


@pytest.fixture
def lossproof(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lossproof", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


def test_it_ends_with_the_report(lossproof, pixels, tmp_path):
    out = tmp_path / "run"
    status, said, complained = lossproof(
        "compare",
        pixels,
        "--losses",
        "bce,huber(delta=0.1),where(y > p, y - p, 2*(p - y))",
        *QUICK,
        "--out",
        out,
    )
    assert (status, complained) == (0, "")
    lines = said.strip().splitlines()
    assert lines[-1] == f"report: {out / 'report.html'}"
    assert lines[0] == (
        "pixels.npy: 32 training and 8 test images, 6 x 5 pixels, 1 channel; scaling: uint8 / 255"
    )
    assert [line.partition(": excess ")[0] for line in lines[-4:-1]] == [path.stem for path in members(out)]
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!")
    assert set(read(out).loss) == {"bce", "huber(delta=0.1)", "where(y > p, y - p, 2*(p - y))"}
    config = json.loads((out / "config.json").read_text())
    assert config["command"].startswith("lossproof compare ")
    assert "'bce,huber(delta=0.1),where" in config["command"]
    assert config["hidden"] == [6]


def test_every_option_arrives(lossproof, pixels, tmp_path):
    out = tmp_path / "run"
    status, _, complained = lossproof(
        "compare", pixels, "--loss", "mse", "--loss", "huber", "--param", "delta=0.25", "--model", "ae",
        "--latent", 3, "--hidden", "", "--epochs", 1, "--batch-size", 10, "--lr", 0.02, "--beta", 0.5,
        "--seeds", 2, "--device", "cpu", "--out", out, "--resume",
    )  # fmt: skip
    assert (status, complained) == (0, "")
    config = json.loads((out / "config.json").read_text())
    expected = {
        "model": "ae", "latent": 3, "hidden": [], "epochs": 1, "batch_size": 10, "lr": 0.02, "beta": 0.5,
        "seeds": [0, 1], "device": "cpu",
    }  # fmt: skip
    assert {key: config[key] for key in expected} == expected
    assert [loss["label"] for loss in config["losses"]] == ["mse", "huber(delta=0.25)"]


def test_likelihood_options_arrive(lossproof, pixels, tmp_path):
    out = tmp_path / "run"
    status, _, complained = lossproof(
        "compare", pixels, "--losses", "mse,gaussian", "--param", "sigma=0.25", "--model", "vae", *QUICK,
        "--calibrate", "solved", "--measure", "interval", "--of", "excess", "--per", "channel", "--likelihood",
        "--samples", 3, "--beta", "0.5,2", "--out", out,
    )  # fmt: skip
    assert (status, complained) == (0, "")
    config = json.loads((out / "config.json").read_text())
    expected = {"calibrate": "solved", "measure": "interval", "of": "excess", "per": "channel", "samples": 3,
                "beta": 0.5, "betas": [0.5, 2.0]}  # fmt: skip
    assert {key: config[key] for key in expected} == expected
    assert [loss["label"] for loss in config["losses"]] == ["mse", "gaussian(sigma=0.25)"]
    t = read(out)
    assert set(t.member) == {
        "mse-b0.5-s0",
        "mse-b2-s0",
        "gaussian-sigma-0.25-b0.5-s0",
        "gaussian-sigma-0.25-b2-s0",
    }
    assert t.loc[(t.measure == "iw_bound") & (t.loss == "mse"), "value"].notna().all()


def test_images_of_a_folder_are_resized(lossproof, tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (9 + i, 8, 3), dtype=np.uint8)).save(
            tmp_path / "in" / f"{i}.png"
        )
    options = [*QUICK, "--losses", "bce", "--out", tmp_path / "run"]
    status, _, complained = lossproof("compare", tmp_path / "in", "--size", 6, "--grey", *options)
    assert (status, complained) == (0, "")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["shape"] == [1, 6, 6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--losses", "bec"], "did you mean bce"),
        (["digits", "--losses", "bce,,mse"], "losses: expected losses separated by commas, got 'bce,,mse'"),
        (["digits", "--hidden", "4x4"], "hidden: expected whole numbers separated by commas"),
        (
            ["digits", "--losses", "bce,mse", "--loss", "mae"],
            "losses: expected --losses or --loss, got both (--losses bce,mse and --loss mae). Put them all",
        ),
        (["digits", "--losses", "bce,mse,mae,logcosh", "--loss", "mae"], "got both"),
        (["digits", "--beta", "1;2"], "beta: expected numbers separated by commas, got '1;2'"),
        (["digits", "--calibrate", "tuned"], "calibrate: expected learned or solved, got 'tuned'"),
        (["digits", "--losses", "gausian"], "did you mean gaussian"),
        (
            ["digits", "--losses", "gaussian", "--param", "nu=2"],
            "param: expected parameters of gaussian, got nu",
        ),
        (["digits", "--resume"], "resume: expected --out with the run directory"),
        (["digits", "--param", "delta"], "param: expected NAME=NUMBER, got 'delta'"),
        (["digits", "--losses", "bce", "--param", "delta=2"], "param: expected parameters of bce, got delta"),
        (["digits", "--device", "tpu"], "device: expected one that is here"),
        (["digits", "--model", "gan"], "model: expected one of ae"),
        (["nowhere"], "nowhere"),
    ],
)
def test_errors_are_one_message(lossproof, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, complained = lossproof("compare", *arguments)
    assert status == 2
    assert message in complained
    assert "Traceback" not in complained
    assert not list(tmp_path.iterdir())


def test_an_interrupt_ends_with_a_partial_report(pixels, tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", "from lossproof.cli import main; main()", "compare", pixels, "--losses", "bce,mse",
         *QUICK, "--epochs", "100000", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    end = time.monotonic() + 120
    while not list(Path(out).glob("checkpoints/*")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 130, complained
    assert "interrupted: the report is partial" in said
    assert said.strip().endswith(f"report: {out / 'report.html'}")
    assert "Traceback" not in complained
    assert (out / "report.html").is_file()
    assert json.loads((out / "events.json").read_text())[-1]["interrupted"] is True


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bce", ["bce"]),
        ("bce, mse ,mae", ["bce", "mse", "mae"]),
        ("huber(delta=0.1),barron(alpha=1, c=0.2)", ["huber(delta=0.1)", "barron(alpha=1, c=0.2)"]),
        ("maximum(y-p, 0.1*(p-y)),bce", ["maximum(y-p, 0.1*(p-y))", "bce"]),
    ],
)
def test_losses_are_split_outside_parentheses(text, parts):
    assert split_losses(text) == parts


def test_parameters_go_to_the_losses_that_have_them():
    one, two, three = with_parameters(["bce", "huber", "abs(y - p)**q"], ["delta=0.5", "q=1.5"])
    assert one.label == "bce"
    assert two.label == "huber(delta=0.5)"
    assert three.values["q"] == 1.5


def test_hidden():
    assert parse_hidden(" ") == ()
    assert parse_hidden("512,256") == (512, 256)
    with pytest.raises(LossproofError, match="got 'a'"):
        parse_hidden("a")
