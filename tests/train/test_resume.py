"""Stopped at any moment and resumed, a run ends with the very numbers of one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lossproof.formula.errors import LossproofError
from lossproof.train import compare, interrupt
from lossproof.train.table import read
from runs import StopAfter, same_runs

PROGRAM = Path(__file__).with_name("killed.py")


@pytest.mark.parametrize("rounds", [0, 2])
def test_resume_in_process(tiny, small, tmp_path, monkeypatch, rounds):
    from lossproof.train import comparison

    options = small | {"epochs": 5}
    compare(tiny, ("bce", "mse"), out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(StopAfter, "rounds", rounds)
        patch.setattr(StopAfter, "asked", 0)
        patch.setattr(comparison, "Interrupt", StopAfter)
        part = compare(tiny, ("bce", "mse"), out=tmp_path / "parts", **options)
    assert part.interrupted
    assert part.table.epoch.max() == rounds
    assert (part.table.groupby("member").epoch.max() == rounds).all()
    stored = json.loads((tmp_path / "parts" / "events.json").read_text())
    assert stored == [{"interrupted": True, "epoch": rounds, "epochs": 5}]
    rest = compare(tiny, ("bce", "mse"), out=tmp_path / "parts", resume=True, **options)
    assert not rest.interrupted
    same_runs(tmp_path / "whole", tmp_path / "parts")
    seconds = rest.table.loc[(rest.table.measure == "seconds") & (rest.table.member == "bce-s0"), "value"]
    assert (np.diff(seconds) > 0).all()


def test_resume_of_a_finished_run_only_writes_the_report_again(tiny, small, tmp_path):
    out = tmp_path / "run"
    first = compare(tiny, ("bce",), out=out, **small)
    before = {p.name: p.stat().st_mtime_ns for p in (out / "checkpoints").iterdir()}
    written = []

    def report(directory):
        written.append(directory)
        return directory / "report.html"

    again = compare(tiny, ("bce",), out=out, resume=True, report=report, **small)
    assert written == [out]
    assert again.report == out / "report.html"
    assert again.table.equals(first.table)
    assert {p.name: p.stat().st_mtime_ns for p in (out / "checkpoints").iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 4}, r"epochs 3 -> 4\. Give the same options"),
        ({"hidden": (8,), "lr": 0.5}, r"hidden \[9\] -> \[8\]; lr 0.001 -> 0.5"),
        ({"losses": ("bce", "mae")}, r"losses bce,mse -> bce,mae"),
        ({"losses": ("mse", "bce")}, r"losses bce,mse -> mse,bce"),
        ({"seeds": (0, 2)}, r"seeds \[0, 1\] -> \[0, 2\]"),
        ({"model": "ae"}, r"model vae -> ae"),
    ],
)
def test_resume_with_another_configuration(tiny, small, tmp_path, change, message):
    compare(tiny, ("bce", "mse"), out=tmp_path / "run", **small)
    with pytest.raises(LossproofError, match=message):
        compare(tiny, **{"losses": ("bce", "mse"), "out": tmp_path / "run", "resume": True} | small | change)


def test_resume_with_other_data(tiny, small, tmp_path):
    from dataclasses import replace

    compare(tiny, ("bce",), out=tmp_path / "run", **small)
    other = tiny.train.copy()
    other[3, 0, 2, 2] = 1 - other[3, 0, 2, 2] / 2
    with pytest.raises(LossproofError, match=r"data tiny \w{8} -> tiny \w{8}"):
        compare(replace(tiny, train=other), ("bce",), out=tmp_path / "run", resume=True, **small)


def test_resume_with_a_damaged_checkpoint(tiny, small, tmp_path):
    compare(tiny, ("bce",), out=tmp_path / "run", **small)
    path = tmp_path / "run" / "checkpoints" / "bce-s1.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        LossproofError, match=r"expected bce-s1's checkpoint in .*cannot read it .*Delete that file"
    ):
        compare(tiny, ("bce",), out=tmp_path / "run", resume=True, **small)
    path.unlink()
    compare(tiny, ("bce",), out=tmp_path / "run", resume=True, **small)
    compare(tiny, ("bce",), out=tmp_path / "whole", **small)
    same_runs(tmp_path / "whole", tmp_path / "run")


@pytest.fixture
def data_file(tiny, tmp_path):
    path = tmp_path / "pixels.npy"
    np.save(path, (np.concatenate([tiny.train, tiny.test]) * 255).astype(np.uint8))
    return path


@pytest.fixture
def start():
    """Begin a run in a process; whatever a failed test leaves running is stopped."""
    processes = []

    def begin(data_file, out, epochs):
        processes.append(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), str(data_file), str(out), str(epochs)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        )
        return processes[-1]

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for(condition, process, limit=120):
    end = time.monotonic() + limit
    while not condition() and process.poll() != 0:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "the run did not start"
        time.sleep(0.005)


def test_killed_several_times_at_random_moments(start, data_file, tmp_path):
    epochs, chance = 100, random.Random()
    whole = start(data_file, tmp_path / "whole", epochs)
    assert whole.communicate(timeout=300)[0].split() == ["finished"]
    out = tmp_path / "killed"
    kills, delays = 0, []
    for _ in range(3):
        process = start(data_file, out, epochs)
        before = newest(out / "checkpoints")
        wait_for(lambda at=before: newest(out / "checkpoints") > at, process)
        delays.append(chance.uniform(0, 0.4))
        time.sleep(delays[-1])
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 2, "the run is too short to be killed"
    last = start(data_file, out, epochs)
    stdout, stderr = last.communicate(timeout=300)
    assert stdout.split() == ["finished"], stderr
    same_runs(tmp_path / "whole", out)
    assert json.loads((out / "events.json").read_text()), "no member stopped: the test should have one"
    assert not list(out.rglob(".writing-*")), delays


def newest(folder):
    """When a checkpoint was last written; 0 before the first. One still being written has no name of its own."""
    return max((path.stat().st_mtime_ns for path in folder.glob("[!.]*.safetensors")), default=0)


def test_interrupted_by_a_signal(start, data_file, tmp_path):
    out = tmp_path / "run"
    process = start(data_file, out, 2000)
    wait_for(lambda: newest(out / "checkpoints") > 0, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stdout.split() == ["interrupted"]
    assert "finishing this epoch" in stderr
    t = read(out)
    last = t.groupby("member").epoch.max()
    assert last.nunique() == 1, "members are compared at different epochs"
    assert json.loads((out / "events.json").read_text())[-1]["epoch"] == last.iloc[0] < 2000
    assert (out / "images" / "originals.png").is_file()


def test_a_second_signal_stops_at_once():
    said = []
    before = signal.getsignal(signal.SIGINT)
    with interrupt.Interrupt(said.append) as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.requested
        assert len(said) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_left_alone_outside_the_main_thread(tiny, small, tmp_path):
    import threading

    before = signal.getsignal(signal.SIGINT)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(compare(tiny, ("bce",), out=tmp_path / "run", **small))
    )
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert not results[0].interrupted


def test_checkpoints_take_little_of_the_time():
    from types import SimpleNamespace

    from lossproof.train.loop import due

    quick = SimpleNamespace(saved=time.monotonic() - 1000.0, saving=0.02)
    assert due(quick, 40, 5.0)
    assert not due(quick, 40, 1e6)
    assert not due(quick, 1_000_000, 5.0)  # all of them would take 20,000 seconds: once in 400,000
    assert due(quick, 1_000_000, 0.0)
