"""`lossproof reproduce` as a user meets it."""

import sys

import pytest

from lossproof import cli
from lossproof.reproduce import EXPERIMENTS
from lossproof.reproduce.page import read_store


@pytest.fixture
def lossproof(monkeypatch, capsys, tmp_path):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lossproof", "reproduce", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def instant(monkeypatch):
    """Every experiment without its training: figures that meet every goal, or none."""

    def made(value):
        for experiment in EXPERIMENTS.values():
            figures = {figure.name: value for figure in experiment.figures}
            monkeypatch.setitem(vars(experiment), "run", lambda bench, figures=figures: dict(figures))

    return made


def test_all_of_them_say_what_was_measured_and_end_well(lossproof, instant):
    instant(1.0)  # every figure equal: what is asked of one against another holds
    status, said, _ = lossproof("--all", "--quick")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines() if " on digits, quick cut: " in line] == list(
        EXPERIMENTS
    )
    assert "NOT MET" not in said


def test_a_goal_that_is_missed_ends_with_status_1(lossproof, instant):
    instant(float("nan"))
    status, said, _ = lossproof("keras-ae", "--quick")
    assert (status, "NOT MET" in said) == (1, True)


def test_a_full_run_is_written_as_each_one_is_done(lossproof, instant, tmp_path):
    instant(1.0)
    status, said, _ = lossproof("keras-ae", "--data", "digits", "--write", "--out", tmp_path / "pages")
    assert (status, "page: " in said) == (0, True)
    assert [(one.experiment, one.data) for one in read_store(tmp_path / "pages")] == [("keras-ae", "digits")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a NAME or --all, got neither"),
        (("keras-ae", "--all"), "expected a NAME or --all, got both"),
        (("keras-ae", "--quick", "--write"), "expected a full run for reproductions.md, got a quick cut"),
        (("keras-ae",), "expected MNIST's images in data/mnist"),
        (("nothing", "--quick"), "expected one of linear-vae"),
    ],
)
def test_wrong_use_is_explained(lossproof, arguments, message):
    status, _, complained = lossproof(*arguments)
    assert status == 2
    assert message in complained


def test_a_broken_store_is_known_before_the_training(lossproof, monkeypatch, tmp_path):
    monkeypatch.setitem(vars(EXPERIMENTS["keras-ae"]), "run", lambda bench: pytest.fail("trained"))
    (tmp_path / "reproductions.json").write_text("{")
    status, _, complained = lossproof("keras-ae", "--data", "digits", "--write", "--out", tmp_path)
    assert status == 2
    assert "expected a list of outcomes" in complained
