"""Every example runs as its reader would run it; its numbers are finite and the excess falls."""

import importlib.util
import math
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS = {"keras_vae": ("keras", "torch"), "lightning_autoencoder": ("torch", "lightning")}
NUMBER = re.compile(r"-?\b(?:\d+\.\d+(?:e[+-]?\d+)?|inf|nan)\b")


RUNS = {
    "pytorch_vae": ["--loss", "bce", "--epochs", "1"],
    "keras_vae": ["--loss", "bce", "--epochs", "1"],
    "lightning_autoencoder": ["--loss", "mse", "--epochs", "2"],
    "own_formula": ["--epochs", "1"],
}


def run(name: str, *options: str) -> str:
    environment = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *options],
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def missing(name: str) -> list[str]:
    return [module for module in NEEDS.get(name, ("torch",)) if importlib.util.find_spec(module) is None]


@pytest.fixture(scope="module")
def runs():
    """All examples, two at a time: most of their time goes into imports."""
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run, name, *options) for name, options in RUNS.items() if not missing(name)}


def excesses(output: str, split: str) -> list[float]:
    lines = re.findall(rf"^epoch \d+ {split}: .*", output, flags=re.M)
    for line in lines:
        assert all(math.isfinite(float(number)) for number in NUMBER.findall(line)), line
    return [float(re.search(r"excess (\S+)", line)[1]) for line in lines]


@pytest.mark.parametrize("name", RUNS)
def test_runs_and_the_excess_falls(name, runs):
    if absent := missing(name):
        pytest.skip(f"{' and '.join(absent)}: not installed")
    output = runs[name].result()
    found = excesses(output, "val" if name == "lightning_autoencoder" else "test")
    assert len(found) == 2
    assert 0 < found[1] < 0.97 * found[0]
    if name == "own_formula":
        assert "def value_logits(y, z):" in output
        assert re.findall(r"floor at y = \S+: (\S+)", output)[-1] == "0"


def test_no_example_is_left_out():
    assert sorted(RUNS) == [path.stem for path in EXAMPLES]


def test_a_readers_own_images_and_another_loss(tmp_path):
    if absent := missing("pytorch_vae"):
        pytest.skip(f"{absent} is not installed")
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (60, 12, 8), dtype=np.uint8))
    output = run("pytorch_vae", "--data", str(path), "--loss", "huber(delta=0.1)", "--epochs", "1")
    assert len(excesses(output, "train")) == 1


def test_the_page_lists_every_example_with_a_command_that_exists():
    page = (ROOT / "examples" / "README.md").read_text()
    commands = [shlex.split(c) for c in re.findall(r"`([^`]*python examples/[^`]*)`", page)]
    listed = {Path(word).name: command for command in commands for word in command if word.endswith(".py")}
    assert sorted(listed) == [path.name for path in EXAMPLES]
    for name, command in listed.items():
        source = (ROOT / "examples" / name).read_text()
        for word in command:
            assert not word.startswith("--") or f'"{word}"' in source
