"""Which members stack, which way is taken, and what a run says of it."""

import json
from dataclasses import replace

import pytest
import torch

from lossproof.formula.errors import LossproofError
from lossproof.train import compare, stack_choose
from lossproof.train.comparison import make_members, resolve_all
from lossproof.train.lanes import LANES
from lossproof.train.loop import draw, train_epoch
from lossproof.train.settings import settle
from lossproof.train.stack_choose import Way, by_hand, choose, make_stacks, together


def members_of(images, small, losses=("bce", "mse"), **options):
    given = {"model": "vae", "lr": 1e-3, "beta": 1.0, "device": "cpu", "threads": 1} | small | options
    given.pop("progress")
    settings = settle(images, **given)
    pixels = torch.from_numpy(images.train)
    return make_members(resolve_all(list(losses), images), images, settings), pixels, settings


def test_members_of_other_sizes_or_rates_stack_among_themselves(tiny, small):
    members, _, _ = members_of(tiny, small)
    others, _, _ = members_of(tiny, small | {"hidden": (5,)})
    faster, _, _ = members_of(tiny, small | {"lr": 0.1})
    stacks = together([*members, *others, *faster])
    assert [stack.members for stack in stacks] == [members, others, faster]


@pytest.mark.parametrize(
    ("seconds", "fastest"),
    [
        ((3e-3, 2e-3, 4e-3, 5e-3, 5e-3), ("on", 1, 1)),
        ((3e-3, 2e-3, 1e-3, 5e-3, 5e-3), ("on", 2, 1)),
        ((1e-3, 2e-3, 4e-3, 5e-3, 5e-3), ("off", 1, 1)),
        ((3e-3, 2e-3, 4e-3, 1e-3, 5e-3), ("off", 2, 2)),
        ((3e-3, 2e-3, 4e-3, 5e-3, 1e-3), ("on", 2, 2)),
    ],
)
def test_auto_takes_the_fastest(tiny, small, monkeypatch, seconds, fastest):
    members, pixels, settings = members_of(tiny, small | {"epochs": 200})
    ways = [Way("off", 1), Way("on", 1), Way("on", 2), Way("off", 2, 2), Way("on", 2, 2)]
    monkeypatch.setattr(stack_choose, "measure", lambda *given: dict(zip(ways, seconds, strict=True)))
    told, chosen = choose("auto", members, pixels, settings, threads=[1, 2], lanes=2)
    assert (told["asked"], told["used"], chosen, told["lanes"]) == ("auto", fastest[0], *fastest[1:])
    assert told["milliseconds_a_step"] == [
        {"stack": way.stack, "threads": way.threads, "lanes": way.lanes, "all_members": 1e3 * spent}
        for way, spent in zip(ways, seconds, strict=True)
    ]


def test_measuring_leaves_no_trace(tiny, small, monkeypatch):
    members, pixels, settings = members_of(tiny, small | {"epochs": 200})
    others, _, _ = members_of(tiny, small | {"epochs": 200})
    moved, measure = [], stack_choose.measure

    def measured(given, *more):
        found = measure(given, *more)
        moved.extend(float(member.state()["adam.encoder.0.weight.step"]) for member in given)
        return found

    monkeypatch.setattr(stack_choose, "measure", measured)
    before = torch.get_num_threads()
    told, _ = choose("auto", members, pixels, settings, threads=[before, before + 1], lanes=2)
    assert torch.get_num_threads() == before
    assert min(moved) > 0, "nothing was trained"
    assert all(way["all_members"] > 0 for way in told["milliseconds_a_step"])
    assert [way["stack"] for way in told["milliseconds_a_step"]] == ["off", "on", "on", "off", "on"]
    for member, other in zip(members, others, strict=True):
        train_epoch(member, 1, draw(pixels, settings, 1, member.seed))
        train_epoch(other, 1, draw(pixels, settings, 1, other.seed))
        left, right = member.state(), other.state()
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), member.name


def test_a_short_run_is_not_measured(tiny, small):
    members, pixels, settings = members_of(tiny, small)
    told, _ = choose("auto", members, pixels, settings, threads=[1])
    assert told == {"asked": "auto", "used": "off", "reason": "9 steps are too few to measure"}


def test_each_member_is_in_one_stack(tiny, small):
    members, _, settings = members_of(tiny, small)
    alone = make_stacks(members, settings)
    assert [stack.members for stack in alone] == [[member] for member in members]
    more, _, _ = members_of(tiny, small | {"hidden": (5,)})
    odd = make_stacks(
        [*members, *more[:3]], replace(settings, stack="on")
    )  # bce-s0, bce-s1, mse-s0: no block
    assert [stack.members for stack in odd] == [members, *([member] for member in more[:3])]
    more[1].model.encoder[1] = torch.nn.Tanh()
    assert not by_hand(more[1])
    assert by_hand(more[0])
    assert [stack.members[0] for stack in make_stacks(more[:2], settings)] == more[:1]


def test_what_cannot_be_stacked_or_read_is_said(tiny, small):
    members, pixels, settings = members_of(tiny, small | {"epochs": 200}, model="conv-vae", hidden=(4,))
    for member in members:
        member.model.encoder[1] = torch.nn.Tanh()
    told, _ = choose("auto", members, pixels, settings, threads=[1])
    assert told == {"asked": "auto", "used": "off", "reason": "no stacked layers for Conv"}
    with pytest.raises(LossproofError, match=r"stack: expected a model whose members .*conv-vae \(Conv\)"):
        choose("on", members, pixels, settings, threads=[1])
    with pytest.raises(LossproofError, match=r"stack: expected one of auto, on, off, got 'onn'"):
        choose("onn", members, pixels, settings, threads=[1])


def cells(table):
    return table.loc[table.measure != "seconds"].reset_index(drop=True)


def test_compare_says_which_way_it_went_and_the_tables_agree(tiny, small, tmp_path):
    losses, options = ("bce", "logcosh"), small | {"beta": (0.5, 2.0)}
    on = compare(tiny, losses, out=tmp_path / "on", stack="on", **options)
    off = compare(tiny, losses, out=tmp_path / "off", stack="off", **options)
    for folder, used in (("on", "on"), ("off", "off")):
        config = json.loads((tmp_path / folder / "config.json").read_text())
        lanes = {"lanes": min(LANES, config["threads"])} if used == "on" else {}
        assert config["stack"] == {"asked": used, "used": used} | lanes
    left, right = cells(on.table), cells(off.table)
    keys = ["member", "epoch", "split", "measure", "reason"]
    assert left[keys].equals(right[keys])
    counted = left.measure.isin(["active_units", "dead_pixels"])  # a rounding may turn one over
    torch.testing.assert_close(
        torch.tensor(left.value[~counted].to_numpy()),
        torch.tensor(right.value[~counted].to_numpy()),
        rtol=1e-3, atol=1e-4, equal_nan=True,
    )  # fmt: skip
    assert not left.value.equals(right.value), "both ways took the same one"


def test_a_stacked_run_is_resumed_bit_for_bit_and_keeps_its_way(tiny, small, tmp_path, monkeypatch):
    from lossproof.train import comparison, interrupt

    class Stop(interrupt.Interrupt):
        requested = True

        def __init__(self, notify):
            self.notify, self._previous, self._installed = notify, None, False

    options = small | {"epochs": 4}
    whole = compare(tiny, ("bce", "mae"), out=tmp_path / "whole", stack="on", **options)
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "Interrupt", Stop)
        assert compare(tiny, ("bce", "mae"), out=tmp_path / "parts", stack="on", **options).interrupted
    with pytest.raises(
        LossproofError, match=r"resume: expected stack auto or on, as the run was begun, got 'off'"
    ):
        compare(tiny, ("bce", "mae"), out=tmp_path / "parts", resume=True, stack="off", **options)
    rest = compare(tiny, ("bce", "mae"), out=tmp_path / "parts", resume=True, **options)
    assert cells(whole.table).equals(cells(rest.table))
