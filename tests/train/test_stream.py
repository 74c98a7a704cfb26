"""Data on disk: the same batches in the same order, and the same run as in memory, bit for bit."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from lossproof.data import load
from lossproof.data.mapped import Mapped
from lossproof.data.scale import Scaling
from lossproof.formula.errors import LossproofError
from lossproof.train import compare, comparison, feed
from lossproof.train.comparison import make_members, resolve_all
from lossproof.train.feed import Streamed, pixels_of, shown
from lossproof.train.loop import draw, train_epoch
from lossproof.train.settings import settle
from lossproof.train.stack import Stack
from runs import StopAfter, same_runs

LATER = "(y - p)**2 + 0.001*log(p - 0.2)"  # stops at some moment


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(3)
    grid = np.clip(rng.normal(0.4, 0.5, (80, 6, 5)), 0, 1)
    np.save(tmp_path / "x.npy", np.round(grid * 255).astype(np.uint8))
    return tmp_path / "x.npy"


def test_batches_are_those_of_memory_in_the_same_order(data):
    there, here = load(data), load(data, stream="on")
    settings = settle(
        there, model="vae", latent=2, hidden=(4,), epochs=2, batch_size=7, lr=1e-3, beta=1.0, seeds=2,
        device="cpu", threads=1,
    )  # fmt: skip
    for seed in settings.seeds:
        for epoch in (1, 2):
            one, two = (draw(pixels_of(i.train, "cpu"), settings, epoch, seed) for i in (there, here))
            assert isinstance(two.images, Streamed)
            batches = zip(one.targets(), two.targets(), strict=True)
            assert all(torch.equal(left, right) for left, right in batches)
            assert torch.equal(one.order, two.order)
            first = two.order[:5]
            assert torch.equal(one.images.index_select(0, first), two.images.index_select(0, first))


@pytest.mark.parametrize(
    "options",
    [
        {"stack": "off"},
        {"stack": "on"},
        {"stack": "off", "model": "conv-vae", "hidden": (3,)},
        {"stack": "off", "calibrate": "learned", "likelihood": True, "samples": 2},
        {"stack": "off", "workers": 2},
    ],
    ids=["alone", "stacked", "convolutions", "likelihoods", "in other processes"],
)
def test_a_streamed_run_is_the_run_in_memory(data, small, tmp_path, options):
    losses = ("bce", "mae") if "calibrate" in options else ("bce", LATER, "mae")
    given = small | {"lr": 0.05, "epochs": 6} | options
    elsewhere = {"workers": None} if "workers" in options else {}
    compare(str(data), losses, out=tmp_path / "memory", load_options={"stream": "off"}, **given | elsewhere)
    run = compare(str(data), losses, out=tmp_path / "disk", load_options={"stream": "on"}, **given)
    assert bool(run.events) == (LATER in losses), "the test should have a member that stops"
    same_runs(tmp_path / "memory", tmp_path / "disk")


def test_a_run_goes_on_from_disk_or_from_memory(data, small, tmp_path, monkeypatch):
    given = small | {"epochs": 4}
    compare(str(data), ("bce",), out=tmp_path / "whole", load_options={"stream": "off"}, **given)
    with monkeypatch.context() as patch:
        patch.setattr(StopAfter, "rounds", 2)
        patch.setattr(StopAfter, "asked", 0)
        patch.setattr(comparison, "Interrupt", StopAfter)
        part = compare(str(data), ("bce",), out=tmp_path / "parts", load_options={"stream": "on"}, **given)
    assert part.interrupted
    rest = compare(
        str(data), ("bce",), out=tmp_path / "parts", resume=True, load_options={"stream": "off"}, **given
    )
    assert not rest.interrupted
    same_runs(tmp_path / "whole", tmp_path / "parts")


def test_each_batch_is_read_once_for_all_members_of_a_seed(data, small, tmp_path, monkeypatch):
    read, numbers = Streamed.read, []
    monkeypatch.setattr(Streamed, "read", lambda self, which: numbers.append(len(which)) or read(self, which))
    compare(str(data), ("bce", "mse", "mae"), out=tmp_path / "run", stack="off",
            load_options={"stream": "on"}, **small)  # fmt: skip
    assert sum(numbers) == 3 * 2 * 64  # epochs, seeds, images


def test_reading_is_ahead_and_ends_with_who_asked(data):
    images = load(data, stream="on").train
    streamed = Streamed(images, "cpu")
    parts = torch.arange(64).split(2)
    asked = []
    walk = shown(streamed, (asked.append(int(part[0])) or part for part in parts))
    assert torch.equal(next(walk), torch.from_numpy(images[:2]))
    assert len(asked) == 1 + feed.AHEAD
    walk.close()
    assert len(asked) == 1 + feed.AHEAD
    assert not [t for t in threading.enumerate() if t.name.startswith("lossproof-reader")]


def test_what_cannot_be_read_is_raised_where_it_is_used(data, small):
    class Broken(Mapped):
        def __getitem__(self, key):
            raise OSError("the disk is gone")

    there = load(data)
    settings = settle(there, model="vae", lr=1e-3, beta=1.0, device="cpu", threads=1,
                      **{key: value for key, value in small.items() if key != "progress"})  # fmt: skip
    members = make_members(resolve_all(["bce"], there), there, settings)
    broken = Streamed(Broken(np.zeros((64, 1, 6, 5), np.uint8), Scaling(255, "")), "cpu")
    course = draw(broken, settings, 1, 0)
    with pytest.raises(OSError, match="the disk is gone"):
        train_epoch(members[0], 1, course)
    with pytest.raises(OSError, match="the disk is gone"):
        Stack(members[:1]).run([course], [0])


def test_ray_workers_map_the_same_file(data, tmp_path):
    from lossproof.train.engines.cluster import Actors

    images = load(data, stream="on")
    crew = Actors.__new__(Actors)
    crew.folder = type("Folder", (), {"name": str(tmp_path)})()
    told = crew.sent(images.train, "train")
    assert isinstance(told, str)
    assert crew.sent(images.train[:], "train") is not None
    import json

    assert np.array_equal(Mapped.from_json(json.loads(told))[:], images.train[:])
    with pytest.raises(LossproofError, match="put it where all workers see it"):
        Mapped.from_json(json.loads(told) | {"path": "/nowhere/x.npy"})
    assert replace(images, train=images.train).train is images.train
