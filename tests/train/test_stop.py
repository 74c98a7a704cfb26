"""A loss that stops being finite stops its member alone: which term, image, pixel, values and step."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lossproof.catalogue import resolve
from lossproof.train import compare, loop
from lossproof.train.table import read

# finite while p > 1/10, which the black pixels leave after a while
LATER = "(y - p)**2 + 0.001*log(p - 0.1)"


def cells(table, label):
    return table.loc[(table.loss == label) & ~table.measure.str.startswith("mean_image")]


def test_the_member_stops_alone_and_says_why(tiny, small, tmp_path):
    options = small | {"epochs": 12, "lr": 0.05, "seeds": 1}
    whole = compare(tiny, ("bce", LATER), out=tmp_path / "run", **options)
    (event,) = whole.events
    assert (event["loss"], event["seed"], event["term"]) == (LATER, 0, "reconstruction")
    stopped = event["epoch"]
    assert 1 < stopped < 12
    assert 1 <= event["step"] <= 3
    place = (event["image"], *event["index"])
    assert tiny.train[place] == event["target"]
    assert event["prediction"] < 0.1
    assert event["prediction"] == pytest.approx(1 / (1 + np.exp(-event["logit"])), rel=1e-5)
    message = event["message"]
    assert message.startswith(f"{LATER} stopped in epoch {stopped}, step {event['step']}: ")
    assert f"nan at training image {event['image']}, pixel {tuple(event['index'])}: target" in message
    assert re.search(r"log\(.*\) is nan", message)
    assert message.endswith(f"Its state after epoch {stopped - 1} is kept.")
    assert json.loads((tmp_path / "run" / "events.json").read_text()) == whole.events

    t = read(tmp_path / "run")
    mine = cells(t, LATER)
    empty = mine.loc[mine.epoch >= stopped]
    assert empty.value.isna().all()
    assert set(empty.reason) == {message}
    for epoch in range(stopped, 13):
        assert set(mine.loc[mine.epoch == epoch, "measure"]) == set(mine.loc[mine.epoch == 0, "measure"])
    assert mine.loc[(mine.epoch < stopped) & (mine.measure == "mse"), "value"].notna().all()

    alone = compare(tiny, ("bce",), out=tmp_path / "alone", **options)
    other = cells(t, "bce").query("measure != 'seconds'")
    other = other.loc[~other.measure.str.startswith("excess:(")].reset_index(drop=True)
    assert other.equals(cells(alone.table, "bce").query("measure != 'seconds'").reset_index(drop=True))

    # the state of the last good epoch is what was kept
    fewer = compare(tiny, (LATER,), out=tmp_path / "fewer", **options | {"epochs": stopped - 1})
    assert not fewer.events
    (kept,) = (tmp_path / "run" / "checkpoints").glob("y-p*")
    (expected,) = (tmp_path / "fewer" / "checkpoints").glob("*")
    one, two = load_file(kept), load_file(expected)
    assert all(torch.equal(one[key], two[key]) for key in two)


def test_all_members_may_stop(tiny, small, tmp_path):
    result = compare(tiny, ("(y - p)**2 + log(p - 0.5)",), out=tmp_path / "run", **small)
    assert [(e["epoch"], e["step"]) for e in result.events] == [(1, 1), (1, 1)]
    assert all("stopped in epoch 1, step 1" in line for line in result.summary)
    # before any step, too, a cell that is not finite is empty and says so
    first = result.table.loc[(result.table.epoch == 0) & (result.table.measure == "loss")]
    assert first.value.isna().all()
    assert first.reason.str.contains("is nan on these images").all()


def test_a_lost_code_is_named_as_the_rate(tiny, small, tmp_path):
    result = compare(tiny, ("bce",), out=tmp_path / "run", **small | {"lr": 1e4, "seeds": 1})
    (event,) = result.events
    assert event["term"] == "rate"
    assert re.search(
        r"the rate \(KL\) is (inf|nan) at training image \d+ \(largest \|mean\|", event["message"]
    )


def test_lost_weights_are_named(tiny, small, tmp_path, monkeypatch):
    # everything is finite until Adam squares this slope
    spoil(monkeypatch, 1e25)
    result = compare(tiny, ("mse",), out=tmp_path / "run", **small | {"seeds": 1, "model": "ae", "lr": 1e30})
    (event,) = result.events
    assert (event["term"], event["step"], event["epoch"]) == ("weights", 1, 1)
    assert re.search(r"the weights \S+ became -?(inf|nan) though the objective was finite", event["message"])


def test_a_gradient_that_is_not_finite_is_named_with_its_pixel(tiny, small, tmp_path, monkeypatch):
    spoil(monkeypatch, torch.inf)
    result = compare(tiny, ("mse",), out=tmp_path / "run", **small | {"seeds": 1})
    (event,) = result.events
    assert event["term"] == "weights"
    assert re.search(r"the gradient dl/dz is inf at training image \d+, pixel \(0, 0, 0\)", event["message"])


def test_a_sum_beyond_float32_names_the_largest_pixel(tiny, small, tmp_path, monkeypatch):
    spoil(monkeypatch, 1e38, what="value_logits")
    result = compare(tiny, ("mse",), out=tmp_path / "run", **small | {"seeds": 1})
    (event,) = result.events
    assert event["term"] == "reconstruction"
    assert re.search(r"the reconstruction loss is 1e\+38 at training image \d+, pixel", event["message"])
    assert "; each pixel is a number, their sum is beyond the dtype's range." in event["message"]


@pytest.mark.filterwarnings("ignore:.*Keep logits between:UserWarning")
def test_a_loss_beyond_float32_names_its_largest_term(tiny, small, tmp_path):
    result = compare(
        tiny, ("(y - p)**2 + exp(1000*(y - p))", "mse"), out=tmp_path / "run", **small | {"seeds": 1}
    )
    (event,) = result.events
    found = re.search(
        r"the reconstruction loss is inf at training image \d+, .*; in float64 it is a number "
        r"\((exp\(.*\)) = (\S+)\): the dtype's range is the cause\. Its state",
        event["message"],
    )
    assert found, event["message"]
    expected = np.exp(1000 * (event["target"] - 1 / (1 + np.exp(-event["logit"]))))
    assert 1e38 < float(found[2]) == pytest.approx(expected, rel=0.01)
    assert "y" in found[1]
    assert "p" in found[1].removeprefix("exp")


def test_a_term_that_cannot_be_named_alone_is_not_replaced_by_another():
    found = {"term": "reconstruction", "target": 0.5, "logit": 0.0}
    said = loop.beyond_range(resolve("(y - p)**2 + exp(1000*p)"), found, 0.5)
    assert said == "in float64 it is a number: the dtype's range is the cause"


def test_a_gradient_beyond_float32_says_that_it_is_the_range(tiny, small, tmp_path, monkeypatch):
    spoil(monkeypatch, torch.inf)
    result = compare(tiny, ("mse",), out=tmp_path / "run", **small | {"seeds": 1})
    words = "; in float64 it is a number: the dtype's range is the cause."
    assert words in result.events[0]["message"]
    # infinite in float64 too: then nothing is said of a range
    found = {"term": "weights", "target": 0.5, "logit": 0.0}
    assert loop.beyond_range(resolve("y + log(p - 0.5)"), found, 0.5) == ""


def test_what_does_not_happen_again_is_said_so(tiny, small, tmp_path, monkeypatch):
    spoil(monkeypatch, torch.inf)
    monkeypatch.setattr(loop, "replay", lambda member, epoch, course: {"term": "unknown", "step": None})
    result = compare(tiny, ("mse",), out=tmp_path / "run", **small | {"seeds": 1})
    assert (
        "stopped in epoch 1: the objective was not finite, but playing the epoch again did not show where"
        in (result.events[0]["message"])
    )


def spoil(monkeypatch, value, what="gradient_logits"):
    """Give every pixel this derivative, or this loss; no call gives both, so that there is one place of them."""
    from lossproof.torch import criterion

    original = criterion.kernel
    monkeypatch.setattr(
        criterion,
        "kernel",
        lambda loss: replace(
            original(loss), both_logits=None, **{what: lambda y, z: torch.full_like(z, value)}
        ),
    )


def test_an_unbounded_floor_leaves_the_cell_empty(tiny, small, tmp_path):
    t = compare(tiny, ("bce", "continuous_bernoulli"), out=tmp_path / "run", **small).table
    mine = t.loc[t.loss == "continuous_bernoulli"]
    for measure in ("floor", "excess", "excess:continuous_bernoulli", "mean_image_excess"):
        rows = mine.loc[mine.measure == measure]
        assert len(rows)
        assert rows.value.isna().all()
        assert set(rows.reason) == {"the floor of continuous_bernoulli on these images is -inf"}
    assert mine.loc[mine.measure == "loss", "value"].notna().all()
    assert t.loc[(t.loss == "bce") & (t.measure == "excess"), "value"].notna().all()
