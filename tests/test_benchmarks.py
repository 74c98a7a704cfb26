"""The benchmarks run and show what they say they show. No time is asserted: the machine may be busy."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"
TINY = ["--pairs", "2", "--epochs", "1", "--images", "130", "--threads", "1"]  # two or three steps an epoch


@pytest.fixture
def benchmark(monkeypatch):
    """benchmarks/training.py as a module; its folder on the path, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("training", FOLDER / "training.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "training", module)
    spec.loader.exec_module(module)
    return module


def test_every_loss_and_model_has_a_line_and_both_loops_did_the_same(benchmark, tmp_path, capsys):
    written = tmp_path / "figures.json"
    assert benchmark.main([*TINY, "--json", str(written)]) == 0
    result = json.loads(written.read_text())
    assert {"cpu", "cores", "torch", "threads", "device"} <= result["machine"].keys()
    assert result["peers"] == []
    expected = [(m, loss) for m in ("784-400-20", "64-128-8") for loss in ("bce", "mse", "mae", "logcosh")]
    assert [(row["model"], row["name"]) for row in result["members"]] == expected
    for row in result["members"]:
        assert len(row["seconds"]) == len(row["bare_seconds"]) == 2
        ratios = [a / b for a, b in zip(row["seconds"], row["bare_seconds"], strict=True)]
        assert (
            row["ratio"]["min"] == min(ratios) <= row["ratio"]["median"] <= row["ratio"]["max"] == max(ratios)
        )
        # the same weights after an epoch, up to float32's rounding: the bare loop is the member's equal
        assert 0 <= row["weights_apart"] < 1e-4, row
    lines = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("model"))
    assert lines[head].split("  ")[0] == "model"
    assert [tuple(line.split()[:2]) for line in lines[head + 1 :]] == expected


def test_the_weights_tell_a_loop_that_does_something_else(benchmark, monkeypatch):
    plan = benchmark.plans(benchmark.arguments([*TINY, "--model", "64-128-8"]))[0]
    monkeypatch.setitem(benchmark.FUNCTIONALS, "bce", benchmark.FUNCTIONALS["mse"])
    assert benchmark.measure(plan, "bce")["weights_apart"] > 1e-3


def test_peers_are_measured_or_named_as_absent(benchmark, monkeypatch, capsys):
    import peers

    monkeypatch.setattr(peers, "PEERS", {
        "DataLoader loop": peers.PEERS["DataLoader loop"],
        "nobody": (peers.keras, ("no_such_library",), "no-such-library", ""),
    })  # fmt: skip
    assert benchmark.main([*TINY, "--model", "64-128-8", "--losses", "bce", "--peers"]) == 0
    printed = capsys.readouterr().out
    assert f"torch {torch.__version__} DataLoader loop" in printed
    assert "nobody: not installed; python -m pip install no-such-library" in printed


def test_a_peer_that_fails_says_why(benchmark, monkeypatch, tmp_path):
    import peers

    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('keras: no such layer')")
    monkeypatch.setattr(peers, "__file__", str(broken))
    assert peers.in_its_own_process("Keras on JAX", [], "jax") == {"missing": "failed: keras: no such layer"}


def test_own_data_decide_the_model(benchmark, tmp_path):
    import numpy as np

    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8))
    (plan,) = benchmark.plans(benchmark.arguments(["--data", str(path), "--images", "20"]))
    assert str(plan.sizes) == "64-128-8"
    assert plan.images.train.shape == (20, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "784-400"], "expected PIXELS-HIDDEN-LATENT as 784-400-20, got '784-400'"),
        (["--model", "65-4-2"], "expected a square number of pixels of at least 16, got 65"),
        (["--data", "digits", "--model", "784-400-20"], "expected 64 pixels as in digits, got 784"),
    ],
)
def test_wrong_sizes_are_refused(benchmark, capsys, options, message):
    assert benchmark.main(options) == 2
    assert message in capsys.readouterr().err


def test_wrong_options_are_refused(benchmark, capsys):
    for options, message in (
        (["--losses", "bce,huber"], "got huber"),
        (["--pairs", "0"], "expected at least 1"),
    ):
        with pytest.raises(SystemExit):
            benchmark.main(options)
        assert message in capsys.readouterr().err
