"""`lossproof why` as a user meets it."""

import sys

import numpy as np
import pytest

from lossproof import cli

QUICK = ["--hidden", "6", "--latent", "2", "--epochs", "1", "--seeds", "1", "--batch-size", "16"]


@pytest.fixture
def pixels(tmp_path):
    path = tmp_path / "pixels.npy"
    np.save(path, np.random.default_rng(0).integers(0, 4, (30, 5, 5), dtype=np.uint8) * 85)
    return str(path)


@pytest.fixture
def lossproof(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lossproof", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


def test_the_command_says_what_it_found_and_where_the_page_is(lossproof, pixels, tmp_path):
    out = tmp_path / "run"
    status, said, _ = lossproof("why", pixels, "--losses", "mae,mse", "--weight", "2", *QUICK, "--out", out)
    assert status == 0
    assert "As they are, mae ends at a mean squared error of" in said
    assert "mse is counted 2.00-fold, as asked for" in said
    assert said.splitlines()[-1] == f"report: {out / 'why.html'}"
    html = (out / "why.html").read_text(encoding="utf-8")
    assert f"lossproof why {pixels} --losses mae,mse --weight 2" in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--losses", "bce"], "Error: why: expected two losses, got ['bce']. Try --losses bce,mse."),
        (
            ["--weight", "much"],
            "Error: why: expected weight as rate, exchange or a number above 0, got 'much'.",
        ),
        (["--error", "0.7", "--weight", "1"], "Error: exchange: expected an error between 0 and 1/2"),
        (
            ["--start", "0", "--weight", "1", "--error", "0.1"],
            "Error: start: expected a logit above 0, got 0.",
        ),
    ],
)
def test_wrong_options_end_with_one_message(lossproof, pixels, options, message):
    status, _, error = lossproof("why", pixels, *options, *QUICK)
    assert status == 2
    assert error.startswith(message)
