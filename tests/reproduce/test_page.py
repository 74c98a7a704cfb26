"""The page and its store."""

import dataclasses
import json
from pathlib import Path

import pytest

from lossproof.formula.errors import LossproofError
from lossproof.reproduce import EXPERIMENTS
from lossproof.reproduce.page import PAGE, STORE, read_store, render, rows, table, write
from lossproof.reproduce.record import Experiment, Figure, Goal, Outcome, passed

DOCS = Path(__file__).parent.parent.parent / "docs"


def experiment(name):
    figures = (
        Figure("loss", "loss, nats", "1.50", (Goal("at most", 1.5),)),
        Figure("floor", "floor, nats", "", (Goal("at most", "loss", 0.5),)),
    )
    return Experiment(name, f"Title of {name}", "a source", "a setting", "a difference", figures, run=lambda b: {},
                      remark=lambda f: f"It is {f['loss']:.1f}.")  # fmt: skip


TWO = {name: experiment(name) for name in ("first", "second")}


def outcome(name="first", data="mnist", loss=1.25, quick=False):
    return Outcome(
        name,
        data,
        data == "mnist",
        quick,
        "a setting",
        {"loss": loss, "floor": 1.0},
        60.0,
        41.0,
        "2025-01-01",
        "2 cores",
    )


def test_each_outcome_is_kept_as_it_is_done_and_replaces_its_own_kind_only(tmp_path):
    write(tmp_path, outcome("second"), TWO)
    write(tmp_path, outcome("first", loss=9.0), TWO)
    write(tmp_path, outcome("first", data="fashion-mnist", loss=7.0), TWO)
    write(tmp_path, outcome("first"), TWO)
    stored = read_store(tmp_path)
    assert [(one.experiment, one.data, one.figures["loss"]) for one in stored] == [
        ("first", "mnist", 1.25), ("second", "mnist", 1.25), ("first", "fashion-mnist", 7.0)
    ]  # fmt: skip
    assert (tmp_path / PAGE).read_text() == render(stored, TWO)


def test_a_row_says_what_was_printed_what_came_out_and_whether_that_is_enough():
    assert rows(TWO["first"], outcome(loss=1.6)) == [
        ("loss, nats", "1.50", "1.60", "at most 1.50", "**no**"),
        ("floor, nats", "-", "1.00", "at most 2.10 (loss + 0.5)", "yes"),
    ]


def test_on_other_images_nothing_was_printed_and_only_bounds_are_judged():
    assert rows(TWO["first"], outcome(data="frey")) == [
        ("loss, nats", "-", "1.25", "-", "-"),
        ("floor, nats", "-", "1.00", "at most 1.75 (loss + 0.5)", "yes"),
    ]


def test_the_page_names_source_setting_difference_time_and_remark():
    page = render([outcome(), outcome("second", loss=1.6), outcome(data="frey")], TWO)
    for part in (
        "a source",
        "a setting",
        "a difference",
        "It is 1.2.",
        "`first`",
        "41 of processor time",
        "### frey",
    ):
        assert part in page
    assert "`lossproof reproduce first`: met" in page
    assert "`lossproof reproduce second`: **not met**" in page
    assert page.index("## Title of first") < page.index("## Other images")


def test_images_of_which_nothing_was_printed_have_no_column_for_it():
    published, ours = (table([outcome(data=data)], TWO) for data in ("mnist", "frey"))
    assert published[0] == "| experiment | figure | printed | here | goal | met | CPU s |"
    assert published[2] == "| `first` | loss, nats | 1.50 | 1.25 | at most 1.50 | yes | 41 |"
    assert ours[:4] == [
        "| experiment | figure | here | goal | met | CPU s |",
        "| --- | --- | ---: | --- | --- | ---: |",
        "| `first` | loss, nats | 1.25 | - | - | 41 |",
        "|  | floor, nats | 1.00 | at most 1.75 (loss + 0.5) | yes |  |",
    ]


def test_what_was_not_run_on_other_images_is_named():
    assert "Not run on these images: `second`." in render([outcome(data="frey")], TWO)
    assert "Not run" not in render([outcome(data="frey"), outcome("second", data="frey")], TWO)


def test_a_quick_cut_is_no_reproduction(tmp_path):
    with pytest.raises(LossproofError, match="expected a full run for reproductions.md, got a quick cut"):
        write(tmp_path, outcome(quick=True), TWO)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1]"])
def test_a_broken_store_is_named(tmp_path, text):
    (tmp_path / STORE).write_text(text)
    with pytest.raises(LossproofError, match="reproductions: expected"):
        read_store(tmp_path)


def test_the_committed_page_is_the_one_its_store_gives():
    stored = read_store(DOCS)
    assert (DOCS / PAGE).read_text(encoding="utf-8") == render(stored, EXPERIMENTS)
    assert json.loads((DOCS / STORE).read_text()) == [dataclasses.asdict(one) for one in stored]


def test_what_is_stored_was_run_as_it_is_declared():
    for one in read_store(DOCS):
        experiment = EXPERIMENTS[one.experiment]
        assert one.setting == experiment.setting, f"{one.experiment}: declared anew, not run anew"
        assert list(one.figures) == [figure.name for figure in experiment.figures]
        if one.published:
            assert passed(experiment, one) is True
