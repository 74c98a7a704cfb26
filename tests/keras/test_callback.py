"""The Keras callback on three backends, each in a process of its own; numbers against scipy and the torch Monitor."""

import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, xlogy

pytest.importorskip("keras")

BIAS = np.array([-20.0, -9.0, -1.0, 0.0, 9.0, 20.0])
IMAGES = np.random.default_rng(0).random((10, 6)).astype("float32")


BACKENDS = ("tensorflow", "jax", "torch")


def run(backend: str, folder: Path) -> dict:
    script = Path(__file__).parent / "fit_with_monitor.py"
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """All backends, two at a time: most of their time goes into imports."""
    with ThreadPoolExecutor(2) as pool:
        yield {
            backend: pool.submit(run, backend, tmp_path_factory.mktemp(backend))
            for backend in BACKENDS
            if importlib.util.find_spec(backend) is not None
        }


@pytest.fixture(params=BACKENDS)
def answer(request, answers):
    if request.param not in answers:
        pytest.skip(f"{request.param} is not installed")
    found = answers[request.param].result()
    assert found["backend"] == request.param
    return found


def test_the_epochs_logs_carry_the_four_numbers(answer):
    p = expit(BIAS)
    squares = float(((IMAGES - p) ** 2).sum() / 10)
    slope = 2 * (p - IMAGES) * p * (1 - p)
    dead = float(((np.abs(slope) < 1e-3 * 8 / 27) & (np.abs(p - IMAGES) > 0.1)).mean())
    assert 0.3 < dead < 0.7
    history = answer["history"]
    assert history["excess"] == pytest.approx([squares] * 2, rel=1e-5)
    assert history["floor"] == [0.0, 0.0]
    assert history["dead_pixels"] == pytest.approx([dead] * 2)
    assert history["non_finite"] == [0.0, 0.0]
    assert history["loss"] == pytest.approx([squares] * 2, rel=1e-5)  # Keras's own, not ours
    assert answer["measure"]["loss"] == pytest.approx(squares, rel=1e-5)
    assert answer["measure"]["images"] == 10


def test_loggers_that_come_after_it_see_them(answer):
    rows = answer["csv"]
    assert [float(row["excess"]) for row in rows] == pytest.approx(answer["history"]["excess"], rel=1e-6)
    assert {"excess", "floor", "dead_pixels", "non_finite"} <= rows[0].keys()
    if answer["backend"] == "tensorflow" and importlib.util.find_spec("tensorboard"):
        assert {"epoch_excess", "epoch_floor", "epoch_dead_pixels"} <= set(answer["board"])


def test_the_weights_are_those_of_the_epochs_end(answer):
    start = -np.log(0.5) * 6 + (xlogy(IMAGES, IMAGES) + xlogy(1 - IMAGES, 1 - IMAGES)).sum(dtype=float) / 10
    falls = answer["falls"]
    assert start > falls[0] > falls[1] > falls[2] > 0
    assert falls[2] == pytest.approx(answer["now"], rel=1e-6)


def test_predictions_and_every(answer):
    assert len(answer["sigmoid"]["loss"]) == 3
    assert len(answer["sigmoid"]["excess"]) == 2
    assert answer["sigmoid"]["excess"][0] == pytest.approx(answer["history"]["excess"][0], rel=1e-5)
    assert answer["sigmoid"]["dead_pixels"][0] == pytest.approx(answer["history"]["dead_pixels"][0])


def test_the_first_epoch_that_is_not_finite_is_named_once(answer):
    assert len(answer["messages"]) == 1
    assert "mse: not finite first after epoch 1: the logit is nan" in answer["messages"][0]
    assert answer["non_finite"] == [10.0, 10.0]
