"""A member in two processes has the losses of one process at the same batches, up to the order of sums.

The test is the first process; the second one runs this file: `test_ddp.py RANK STORE OUT`.
"""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from lossproof.data import Images
from lossproof.formula.errors import LossproofError
from lossproof.train import loop
from lossproof.train.comparison import intra_op_threads, make_members, resolve_all
from lossproof.train.engines.data_parallel import train_data_parallel
from lossproof.train.measure import Measurer
from lossproof.train.settings import settle

RANKS = 2
# the second has a parameter of its own; the third stops
LOSSES = ("bce", "discretised_gaussian", "(y - p)**2 + 0.001*log(p - 0.2)")


def images():
    """42 training images: batches of 15, 15 and 12, so shares of 8 and 7 images, and of 6."""
    rng = np.random.default_rng(7)
    pixels = (np.round(np.clip(rng.normal(0.4, 0.5, (60, 1, 6, 5)), 0, 1) * 16) / 16).astype(np.float32)
    return Images("tiny", pixels[:42], pixels[42:], None, None, "numpy's generator", "sixteenths", 17)


def prepared(out, epochs=4):
    """Members, settings and what they are measured with."""
    data = images()
    settings = settle(
        data, model="vae", latent=3, hidden=(9,), epochs=epochs, batch_size=15, lr=0.03, beta=0.5, seeds=1,
        device="cpu", threads=1,
    )  # fmt: skip
    arms = resolve_all(LOSSES, data, settings)
    members = make_members(arms, data, settings)
    for member in members:
        member.checkpoint = Path(out) / member.checkpoint.name
    return members, torch.from_numpy(data.train), settings, Measurer(data, arms, settings)


def join(rank, store):
    """Enter the group of both processes."""
    distributed.init_process_group(
        "gloo",
        init_method=Path(store).as_uri(),
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(minutes=10),
    )


def second(rank, store, out):
    """The process that is not the test's."""
    join(int(rank), store)
    members, pixels, settings, measure = prepared(out)
    with intra_op_threads(1):
        train_data_parallel(members, pixels, settings, measure=measure, checkpoint_seconds=0.0)
    members[0].epoch = 1  # this process alone
    try:
        train_data_parallel(members, pixels, settings, measure=measure, checkpoint_seconds=0.0)
    except ValueError as error:
        print(error)
    distributed.destroy_process_group()


def alone(out, monkeypatch=None, **options):
    """The same members in one process; with `monkeypatch`, the images of each batch in reverse order."""
    members, pixels, settings, measure = prepared(out, **options)
    if monkeypatch:

        def draw(*given, sound=loop.draw):
            course = sound(*given)
            places = torch.arange(len(course.order)).split(settings.batch_size)
            turned = torch.cat([part.flip(0) for part in places])
            return course._replace(order=course.order[turned], noise=course.noise[turned])

        monkeypatch.setattr(loop, "draw", draw)
    with intra_op_threads(1):
        loop.train(
            members, pixels, settings, measure=measure, checkpoint_seconds=99.0,
            after_member=lambda member, epoch: None, stop=lambda: False,
        )  # fmt: skip
    return members


def values(members):
    """All that was measured, (cells,), seconds apart; cells of a member that stopped are NaN."""
    return np.array([row.value for member in members for row in member.rows if row.measure != "seconds"])


def stopped(members):
    """Which members stopped, and where; not the values there, which are rounded."""
    found = enumerate(member.event for member in members)
    return [
        (at, *(event[key] for key in ("epoch", "step", "image", "index"))) for at, event in found if event
    ]


def test_two_processes_train_as_one(tmp_path, monkeypatch):
    store, out = tmp_path / "store", tmp_path / "out"
    out.mkdir()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    other = subprocess.Popen(
        [sys.executable, __file__, "1", str(store), str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        join(0, store)
        members, pixels, settings, measure = prepared(out)
        with intra_op_threads(1):
            done = train_data_parallel(members, pixels, settings, measure=measure, checkpoint_seconds=0.0)
        message = r"expected bce-s0 at the same epoch in all processes, got epochs \[4, 1\]"
        with pytest.raises(LossproofError, match=message):
            train_data_parallel(members, pixels, settings, measure=measure, checkpoint_seconds=0.0)
    finally:
        said, errors = other.communicate()
        distributed.destroy_process_group()
    assert other.returncode == 0, errors
    assert "got epochs [4, 1]" in said
    assert done == 4

    single = alone(tmp_path)
    assert [member.epoch for member in members] == [4, 4, 4]
    assert stopped(members) == stopped(single)
    assert stopped(members)[0][0] == 2, "the third member should have stopped"
    one, two = values(single), values(members)
    # what another order of sums does within one process is the measure of what it may do between two
    moved = values(alone(tmp_path, monkeypatch))
    np.testing.assert_array_equal(np.isnan(one), np.isnan(two))
    rounding = np.nanmax(abs(moved - one) / np.maximum(abs(one), 1e-3))
    assert 0 < rounding < 1e-4
    assert np.nanmax(abs(two - one) / np.maximum(abs(one), 1e-3)) < 10 * rounding

    # the checkpoints are those of the members
    for member, again in zip(members, prepared(out)[0], strict=True):
        assert again.load()
        assert again.epoch == 4
        assert repr(again.rows) == repr(member.rows)
        assert all(torch.equal(tensor, member.state()[name]) for name, tensor in again.state().items())


def test_without_a_process_group(tmp_path):
    members, pixels, settings, measure = prepared(tmp_path)
    with pytest.raises(
        LossproofError, match=r"data parallel: expected a process group, got none\. .*torchrun"
    ):
        train_data_parallel(members, pixels, settings, measure=measure, checkpoint_seconds=0.0)


if __name__ == "__main__":
    second(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # gloo's threads at the interpreter's end abort one run in many
