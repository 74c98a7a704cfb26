"""Engines: whichever trains the members, and whatever becomes of its workers, the table is the same, bit for bit."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lossproof.catalogue import CATALOGUE
from lossproof.catalogue.decoders import DECODERS
from lossproof.formula.errors import LossproofError
from lossproof.train import compare, comparison, engines, interrupt
from lossproof.train.arm import plain as plain_arm
from lossproof.train.comparison import make_members, resolve_all
from lossproof.train.engines import coordinator
from lossproof.train.engines.coordinator import Coordinator, Crew, Hand
from lossproof.train.engines.groups import Group, divide
from lossproof.train.engines.local import Processes
from lossproof.train.engines.order import Order, decoder_from, loss_from, make_order, plain
from lossproof.train.engines.trainer import Trainer
from lossproof.train.settings import settle
from lossproof.train.stack import Stack
from lossproof.train.table import read

# the last one stops at some moment; a decoder has parameters and buffers of its own
LOSSES = ("bce", "mae", "discretised_logistic", "(y - p)**2 + 0.001*log(p - 0.05)")


def same_runs(one, two):
    a, b = (read(run).query("measure != 'seconds'").reset_index(drop=True) for run in (one, two))
    assert a.equals(b), "the tables differ"
    assert not a.duplicated(["member", "epoch", "split", "measure"]).any()
    for path in sorted((one / "checkpoints").iterdir()):
        left, right = load_file(path), load_file(two / "checkpoints" / path.name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), path.name
    for path in sorted((one / "images").rglob("*.png")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path.name
    assert (one / "events.json").read_bytes() == (two / "events.json").read_bytes()


@pytest.fixture
def options(small):
    return small | {"epochs": 8, "lr": 0.03, "checkpoint_seconds": 0.0}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("in-process") / "run"


@pytest.fixture
def whole(tiny, options, kept):
    """The run of this process, trained once for all tests."""
    if not kept.exists():
        assert compare(tiny, LOSSES, out=kept, **options).events, (
            "no member stopped: the test should have one"
        )
    return kept


class Threads(Crew):
    """Workers that are threads of the test, and do all that others do, except dying by themselves."""

    def __init__(self, order, images, checkpoints, workers=2, accident=lambda hand, message: None):
        told = Order.from_json(json.loads(json.dumps(order.to_json())))
        self.trainer = Trainer(told, told.with_pixels(images.train, images.test))
        self.checkpoints, self.workers, self.accident = checkpoints, workers, accident
        self.said = queue.Queue()
        self.hired = []

    def hire(self):
        self.hired.append(Thread(self, f"worker {len(self.hired) + 1}"))
        return self.hired[-1]

    def hear(self, seconds):
        try:
            return [self.said.get(timeout=seconds)]
        except queue.Empty:
            return []


class Thread(Hand):
    def __init__(self, crew, name):
        self.crew, self.name, self.thread = crew, name, None
        self.asked, self.dead = threading.Event(), threading.Event()
        self.say({"kind": "ready", "cpu": 0.0})

    def say(self, message):
        if self.dead.is_set():
            raise SystemExit  # of the thread: whoever is dead neither says nor writes any more
        if reason := self.crew.accident(self, message):
            self.dead.set()
            message = {"kind": "lost", "error": reason}
        self.crew.said.put((self, message))

    def begin(self, roster):
        arguments = (roster, self.crew.checkpoints, self.say, self.asked.is_set)
        self.thread = threading.Thread(target=self.work, args=arguments)
        self.thread.start()

    def work(self, *arguments):
        with suppress(SystemExit):
            self.crew.trainer.train(*arguments)

    def stop(self):
        self.asked.set()

    def dismiss(self):
        self.dead.set()
        if self.thread:
            self.thread.join()


def with_crew(monkeypatch, make):
    """Let engines take their workers from `make`; the crews made."""
    made = []

    def crew_of(engine, order, images, checkpoints):
        made.append(make(order, images, checkpoints))
        return made[-1]

    monkeypatch.setattr(engines, "crew_of", crew_of)
    return made


class Killing(Processes):
    """Kills the first worker that says it wrote a checkpoint after epoch 1, with SIGKILL."""

    killed = None

    def hear(self, seconds):
        found = super().hear(seconds)
        for hand, message in found:
            if self.killed is None and message["kind"] == "saved" and message["epoch"] >= 1:
                self.killed = (hand, message)
                os.kill(hand.process.pid, signal.SIGKILL)
        return found


def test_a_killed_process_leaves_no_trace_in_the_table(tiny, options, tmp_path, monkeypatch, whole, capfd):
    crews = with_crew(monkeypatch, lambda *given: Killing(*given, workers=1))
    result = compare(tiny, LOSSES, out=tmp_path / "run", engine="local", workers=2, **options)
    (crew,) = crews
    assert crew.killed[1]["epoch"] < 8
    assert crew.hired == 2
    assert f"{crew.killed[0].name} was lost (signal SIGKILL)" in capfd.readouterr().err
    assert not result.interrupted
    same_runs(whole, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["engine"] == {
        "name": "local",
        "workers": 2,
    }
    assert not list((tmp_path / "run").rglob(".writing-*"))


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_gives_the_same_table_though_a_worker_is_killed(
    tiny, options, tmp_path, monkeypatch, whole, capfd
):
    pytest.importorskip("ray")
    from lossproof.train.engines.cluster import Actors

    class KillingActors(Actors):
        killed = None

        def hear(self, seconds):
            found = super().hear(seconds)
            for hand, message in found:
                if self.killed is None and message["kind"] == "saved" and message["epoch"] >= 1:
                    self.killed = (hand, message)
                    os.kill(self.ray.get(hand.handle.process.remote()), signal.SIGKILL)
            return found

    crews = with_crew(monkeypatch, lambda *given: KillingActors(*given, address=None, workers=1))
    assert not compare(tiny, LOSSES, out=tmp_path / "run", engine="ray", workers=1, **options).interrupted
    assert crews[0].killed
    assert crews[0].hired == 2
    assert f"{crews[0].killed[0].name} was lost" in capfd.readouterr().err
    assert not crews[0].ray.is_initialized()
    same_runs(whole, tmp_path / "run")


def test_an_exception_in_a_worker_names_the_member(tiny, options, tmp_path, monkeypatch, whole):
    sound = Stack.train

    def train_epoch(stack, epoch, course):
        if ([member.name for member in stack.members], epoch) == (["mae-s1"], 2):
            raise MemoryError("no room for the slopes")
        return sound(stack, epoch, course)

    with_crew(monkeypatch, Threads)
    message = (
        r"expected mae-s1 to be trained, its worker failed in epoch 2: MemoryError: no room for the slopes "
        r"\(test_engines.py:\d+\)\. .*--resume goes on"
    )
    with monkeypatch.context() as patch:
        patch.setattr(Stack, "train", train_epoch)
        with pytest.raises(LossproofError, match=message):
            compare(tiny, LOSSES, out=tmp_path / "run", workers=2, **options)
    assert not compare(tiny, LOSSES, out=tmp_path / "run", resume=True, **options).interrupted
    same_runs(whole, tmp_path / "run")


def test_an_exception_in_a_stack_names_one_of_its_members(tiny, options, tmp_path, monkeypatch):
    def run(stack, *given):
        raise RuntimeError("shapes")

    with_crew(monkeypatch, Threads)
    monkeypatch.setattr(Stack, "run", run)
    message = (
        r"expected bce-s[01] \(or one of 1 beside it\) to be trained, .* in epoch 1: RuntimeError: shapes"
    )
    with pytest.raises(LossproofError, match=message):
        compare(tiny, ("bce", "mae"), out=tmp_path / "run", workers=1, engine="ray", stack="on", **options)


def test_ctrl_c_ends_the_workers_and_leaves_checkpoints_of_every_member_begun(tiny, small, tmp_path):
    data, out = tmp_path / "pixels.npy", tmp_path / "run"
    np.save(data, (np.concatenate([tiny.train, tiny.test]) * 255).astype(np.uint8))
    program = (
        "from lossproof.train import compare\n"
        f"run = compare({str(data)!r}, ('bce',), hidden=(9,), latent=3, epochs=100000, seeds=1, workers=2, "
        f"out={str(out)!r}, checkpoint_seconds=0.0, progress=False, report=lambda folder: 1 / 0)\n"
        "print(run.interrupted, run.report, len(run.table), run.summary[-1])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        process_group=0,
    )
    while not list((out / "checkpoints").glob("*.safetensors")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    workers = children(process.pid)
    assert workers
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "every worker finishes its epoch" in errors
    assert not children(process.pid)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    interrupted, page, rows, summary = said.split(maxsplit=3)
    assert (interrupted, page, rows) == ("True", "None", "0")
    assert summary.startswith("bce-s0: excess ")
    (last,) = json.loads((out / "events.json").read_text())
    assert 0 <= last["epoch"] < last["epochs"] == 100000
    for path in (out / "checkpoints").iterdir():
        assert load_file(path)
    assert not (out / "results.parquet").exists()


def children(pid):
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = (line.split() for line in listed.stdout.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]


def test_a_run_goes_on_under_another_engine(tiny, options, tmp_path, monkeypatch, whole):
    enough = threading.Event()

    class Interrupt(interrupt.Interrupt):
        requested = property(lambda self: enough.is_set(), lambda self, value: None)

    def accident(hand, message):
        if message["kind"] == "saved" and message["epoch"] == 4:
            enough.set()

    with_crew(monkeypatch, lambda *given: Threads(*given, accident=accident))
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "Interrupt", Interrupt)
        first = compare(tiny, LOSSES, out=run, workers=2, **options)
        assert first.interrupted
        assert first.table.empty
        assert not (run / "results.parquet").exists()
        enough.clear()
        rounds = iter([False, False, True])
        Interrupt.requested = property(lambda self: next(rounds), lambda self, value: None)
        part = compare(tiny, LOSSES, out=run, resume=True, **options)  # in this process
        assert part.interrupted
        assert part.table.epoch.max() == 2
    rest = compare(tiny, LOSSES, out=run, resume=True, workers=3, **options)
    assert not rest.interrupted
    same_runs(whole, run)
    made = with_crew(monkeypatch, Threads)
    compare(tiny, LOSSES, out=run, resume=True, workers=2, **options)
    assert not made, "a finished run needs no workers"


def test_workers_may_be_lost_as_often_as_checkpoints_come_between(
    tiny, options, tmp_path, monkeypatch, whole
):
    said = {}

    def accident(hand, message):
        said[hand.name] = said.get(hand.name, 0) + 1
        return "a thunderstorm" if said[hand.name] == 9 else None

    crews = with_crew(monkeypatch, lambda *given: Threads(*given, workers=1, accident=accident))
    compare(tiny, LOSSES, out=tmp_path / "run", workers=2, **options)
    assert len(crews[0].hired) > 6
    same_runs(whole, tmp_path / "run")


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (
            "saved",
            r"to train bce-s0, 3 were lost without a new checkpoint, the last by: no power\. .*--resume",
        ),
        ("ready", r"expected a worker to start, 3 were lost before they could \(no power\)"),
    ],
)
def test_workers_lost_again_and_again(tiny, options, tmp_path, monkeypatch, lost, message):
    def accident(hand, said):
        return "no power" if said["kind"] == lost else None

    crews = with_crew(monkeypatch, lambda *given: Threads(*given, workers=1, accident=accident))
    with pytest.raises(LossproofError, match=message):
        compare(tiny, ("bce",), out=tmp_path / "run", workers=2, **options)
    assert len(crews[0].hired) == 3


def test_what_a_worker_says_after_its_dismissal_is_not_listened_to(tiny, options, tmp_path):
    members, order = prepared(tiny, options, ("bce",))
    crew = Threads(order, tiny, tmp_path)
    at_the_end = Coordinator(crew, members, 8)
    late = crew.hire()
    at_the_end.handle(late, {"kind": "saved", "member": "bce-s0", "epoch": 5})
    at_the_end.handle(late, {"kind": "lost", "error": "old age"})
    assert at_the_end.account.lost == []


def prepared(images, options, losses):
    """Members and the order of a run."""
    kept = {key: value for key, value in options.items() if key not in ("progress", "checkpoint_seconds")}
    rest = {"model": "vae", "beta": 1.0, "device": "cpu", "threads": 1}
    settings = settle(images, **{"lr": 1e-3} | rest | kept)
    arms = resolve_all(losses, images, settings)
    order = make_order(images, losses, arms, settings, threads=1, checkpoint_seconds=0.0)
    return make_members(arms, images, settings), order


def test_a_worker_with_other_definitions_is_refused(tiny, options):
    _, order = prepared(tiny, options, ("bce",))
    other = replace(order, described=[order.described[0] | {"hash": "0"}])
    with pytest.raises(LossproofError, match="got other definitions on this machine"):
        Trainer(other, tiny)
    told = order.to_json() | {"version": "0.0.1"}
    with pytest.raises(LossproofError, match=r"expected lossproof 0\.0\.1 on every machine"):
        Order.from_json(told)


def test_an_order_is_the_same_after_its_journey(tiny, options):
    _, order = prepared(tiny, options | {"beta": (0.5, 1.0)}, LOSSES)
    assert Order.from_json(json.loads(json.dumps(order.to_json()))) == order
    there = order.with_pixels(tiny.train, tiny.test)
    assert replace(there, train_labels=tiny.train_labels, test_labels=tiny.test_labels) == tiny


@pytest.mark.parametrize("loss", CATALOGUE.values(), ids=lambda loss: loss.id)
def test_losses_travel_as_text(loss):
    arrived = loss_from(json.loads(json.dumps(plain(loss))))
    assert (arrived, arrived.hash, arrived.label) == (loss, loss.hash, loss.label)


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=lambda decoder: decoder.id)
def test_decoders_travel_as_text(decoder):
    arrived = decoder_from(json.loads(json.dumps(plain(decoder))))
    assert (arrived, arrived.hash) == (decoder, decoder.hash)


def test_betas_and_calibrated_losses_go_to_workers_too(tiny, small, tmp_path, monkeypatch):
    with_crew(monkeypatch, Threads)
    more = small | {"beta": (0.5, 2.0), "calibrate": "learned", "likelihood": True, "samples": 3}
    compare(tiny, ("bce", "mse"), out=tmp_path / "whole", **more)
    compare(tiny, ("bce", "mse"), out=tmp_path / "run", workers=2, **more)
    same_runs(tmp_path / "whole", tmp_path / "run")


def test_an_arm_of_the_callers_own_cannot_be_sent(tiny, small, tmp_path):
    arm = plain_arm(CATALOGUE["bce"])
    with pytest.raises(LossproofError, match=r"got the arm 'bce', which is a Python object"):
        compare(tiny, (arm,), out=tmp_path / "run", workers=2, **small)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "spark"}, r"engine: expected local, ray or ray:ADDRESS, got 'spark'"),
        ({"engine": "local:2"}, r"engine: expected local, ray or ray:ADDRESS, got 'local:2'"),
        ({"engine": "ray:"}, r"engine: expected local, ray or ray:ADDRESS, got 'ray:'"),
        ({"workers": 0}, r"workers: expected at least 1, got 0"),
    ],
)
def test_engines_that_are_none(tiny, given, message):
    with pytest.raises(LossproofError, match=message):
        compare(tiny, **given)


@pytest.mark.parametrize(
    ("engine", "place", "times"), [("ray:head:6379", "head:6379", 1), ("ray", "this machine", 3)]
)
def test_a_cluster_that_cannot_be_reached(tiny, small, tmp_path, monkeypatch, engine, place, times):
    calls = []

    def init(**given):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        calls.append(given.get("address"))
        raise ConnectionError("no route")

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    ray = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    message = rf"expected a Ray cluster at {place}, got none \(ConnectionError: no route\)"
    with pytest.raises(LossproofError, match=message):
        compare(tiny, ("bce",), out=tmp_path / "run", engine=engine, **small)
    assert calls == [engine.partition(":")[2] or None] * times
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ


def test_no_room_for_the_pixels(tiny, options, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    _, order = prepared(tiny, options, ("bce",))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(LossproofError, match=r"expected room for 0 MiB of pixels in .*No space left.*TMPDIR"):
        Processes(order, tiny, tmp_path, workers=1)


def test_waiting_for_room_is_said(tiny, options, tmp_path, monkeypatch):
    monkeypatch.setattr(coordinator, "PATIENCE", 0.0)
    members, order = prepared(tiny, options | {"epochs": 1}, ("bce",))
    for member in members:
        member.checkpoint = tmp_path / member.checkpoint.name
    crew, said = Threads(order, tiny, tmp_path), []
    monkeypatch.setattr(Thread, "say", delayed(Thread.say))
    Coordinator(crew, members, 1, notify=said.append).run()
    assert said == ["Still waiting for a first worker: is there room for a process?"]


def delayed(say):
    """A worker that gets ready only after a while."""

    def later(hand, message):
        if message["kind"] == "ready":
            threading.Timer(0.3, say, (hand, message)).start()
        else:
            say(hand, message)

    return later


def test_ray_that_is_not_installed(tiny, small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LossproofError, match=r"expected Ray for engine ray, it is not installed"):
        compare(tiny, ("bce",), out=tmp_path / "run", engine="ray", **small)


@pytest.mark.parametrize(("workers", "full"), [(1, 64), (2, 64), (3, 4), (40, 64), (500, 64), (2, 1)])
def test_groups_are_blocks_that_hold_each_member_once(tiny, small, workers, full):
    members, _ = prepared(tiny, small | {"seeds": 5, "beta": (0.5, 1.0)}, ("bce", "mse", "mae"))
    groups = divide(members, workers, full=full)
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(member.name for member in members)
    assert len(groups) >= min(len(members), 3 * workers)
    known = {member.name: member for member in members}
    for group in groups:
        mine = [known[name] for name in group.names]
        kinds, seeds = {(m.label, m.beta) for m in mine}, list(dict.fromkeys(m.seed for m in mine))
        assert len(mine) == len(kinds) * len(seeds)
        assert [m.seed for m in mine] == seeds * len(kinds)  # as in the run: losses, and in each all seeds
    assert max(len(group.names) for group in groups) <= full
    assert str(Group(["a", "b", "c", "d"])) == "a, b, c and 1 more"
