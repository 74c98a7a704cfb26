"""Lanes: members trained at the same time on threads of their own."""

import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.train.test_stack_choose import members_of

from lossproof.train import compare
from lossproof.train.comparison import intra_op_threads
from lossproof.train.lanes import at_once, shares
from lossproof.train.loop import draw, train_epoch
from lossproof.train.stack_choose import make_stacks


def test_tasks_run_at_the_same_time_with_a_share_of_the_threads():
    meeting = threading.Barrier(2, timeout=20)  # passed by none if one lane waits for the other

    def task(name):
        meeting.wait()
        return name, torch.get_num_threads()

    with intra_op_threads(4):
        assert at_once([partial(task, "a"), partial(task, "b")], 2) == [("a", 2), ("b", 2)]
        assert torch.get_num_threads() == 4


def test_one_lane_is_the_caller_itself():
    here = threading.get_ident()
    assert at_once([threading.get_ident] * 3, 1) == [here] * 3


def test_an_error_is_raised_when_all_are_over():
    over = threading.Event()

    def slow():
        over.wait(0.2)
        over.set()

    def wrong():
        raise ValueError("lane")

    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="lane"):
        at_once([wrong, slow], 2)
    assert over.is_set()
    assert torch.get_num_threads() == before


def test_each_member_is_in_one_share():
    for kinds in range(1, 6):
        for seeds in range(1, 6):
            for lanes in range(1, 5):
                dealt = shares([f"k{i}" for i in range(kinds)], list(range(seeds)), lanes)
                pairs = [(kind, seed) for some, ours in dealt for kind in some for seed in ours]
                assert sorted(pairs) == sorted((f"k{i}", seed) for i in range(kinds) for seed in range(seeds))
                assert len(dealt) <= lanes
                assert all(some and ours for some, ours in dealt)


@pytest.mark.parametrize("stack", ["on", "off"])
def test_lanes_train_as_each_member_by_itself(tiny, small, stack):
    """In lanes or one after the other: the same numbers up to rounding, those of `train_epoch`."""
    members, pixels, settings = members_of(tiny, small)
    others, _, _ = members_of(tiny, small)
    stacks = make_stacks(members, replace(settings, stack=stack, lanes=2))
    assert len(stacks) == (2 if stack == "on" else len(members))
    courses = {seed: draw(pixels, settings, 1, seed) for seed in settings.seeds}
    trained = at_once([partial(s.train, 1, courses.__getitem__) for s in stacks], 2)
    assert set().union(*trained) == {member.name for member in members}
    for member, other in zip(members, others, strict=True):
        train_epoch(other, 1, courses[other.seed])
        mine, theirs = member.state(), other.state()
        for key in theirs:
            torch.testing.assert_close(
                mine[key], theirs[key], rtol=2e-4, atol=2e-6, msg=f"{member.name} {key}"
            )


def test_seconds_of_lanes_add_up_to_the_wall(tiny, small):
    import time

    members, pixels, settings = members_of(tiny, small)
    stacks = make_stacks(members, replace(settings, stack="on", lanes=2))
    started = time.perf_counter()
    at_once([partial(s.train, 1, partial(draw, pixels, settings, 1)) for s in stacks], 2)
    assert sum(member.seconds for member in members) <= time.perf_counter() - started


@pytest.mark.parametrize("stack", ["on", "off"])
def test_a_comparison_in_lanes_is_resumed_in_lanes(tiny, small, tmp_path, monkeypatch, stack):
    """The table of a run that went on after its first epoch is that of a whole run, bit for bit."""
    from lossproof.train import comparison, stack_choose

    def two_lanes(asked, *given, **more):
        return {"asked": asked, "used": stack, "lanes": 2}, 2

    monkeypatch.setattr(comparison, "choose", two_lanes)
    options = small | {"seeds": 2, "progress": False, "checkpoint_seconds": 0}
    whole = compare(tiny, ["bce", "mse"], out=tmp_path / "whole", **options)
    stopped = _stopped_after_an_epoch(tiny, tmp_path / "parts", options, monkeypatch)
    assert stopped.interrupted
    used = []
    make = stack_choose.make_stacks

    def seen(members, settings):
        used.append((settings.stack, settings.lanes))
        return make(members, settings)

    monkeypatch.setattr(stack_choose, "make_stacks", seen)
    resumed = compare(tiny, ["bce", "mse"], out=tmp_path / "parts", resume=True, **options)
    assert used == [(stack, 2)]
    left, right = (
        run.table[run.table.measure != "seconds"].reset_index(drop=True) for run in (whole, resumed)
    )
    assert left.equals(right)


def _stopped_after_an_epoch(images, out, options, monkeypatch):
    from lossproof.train import comparison

    train = comparison.train
    with monkeypatch.context() as patch:
        patch.setattr(
            comparison, "train", lambda *given, **more: train(*given, **more | {"stop": lambda: True})
        )
        return compare(images, ["bce", "mse"], out=out, **options)
