"""Real threads, each reproduced in a few lines of our own: the cause must be found.

A fixture is (thread, what is given to explain, the cause that must come first, causes that must be ruled out).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lossproof.advise.symptoms import explain

EPS = 1e-7


@cache
def digits() -> np.ndarray:
    return (load_digits().images / 16).astype(np.float32)[:400]


@cache
def colour() -> np.ndarray:
    """Soft colour pictures (n, 3, 12, 12): blobs of two hues, values strictly inside [0, 1]."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:12, 0:12] / 12
    at = rng.random((300, 2, 1, 1))
    blob = np.exp(-8 * ((x - at[:, :1]) ** 2 + (y - at[:, 1:]) ** 2))
    return (0.1 + 0.8 * blob * rng.random((300, 3, 1, 1))).astype(np.float32)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def bce(y: np.ndarray, p: np.ndarray, eps: float = EPS) -> np.ndarray:
    p = np.clip(p, eps, 1 - eps)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def blurred(y: np.ndarray, share: float = 0.6) -> np.ndarray:
    """What a half-trained model draws: between each image and the mean image."""
    return share * y + (1 - share) * y.mean(axis=0)


@dataclass
class Thread:
    """Where it was asked, our reproduction, and what must be found."""

    where: str
    given: Callable[[], dict[str, Any]]
    first: str
    ruled_out: tuple[str, ...] = ()
    normal: bool = False
    also: tuple[str, ...] = field(default=())


def entropy_of_four() -> dict[str, Any]:
    y = np.array([[0.5, 0.3, 0.5, 0.9]])
    return {"loss": "bce", "dump": (y, y)}


def same_images() -> dict[str, Any]:
    y = np.full((20, 6, 6), 0.2) + 0.01 * np.arange(20)[:, None, None]
    return {"loss": "bce", "value": float(bce(y, y).mean()), "data": y.astype(np.float32)}


def good_autoencoder() -> dict[str, Any]:
    y = digits()
    return {"loss": "bce", "value": float(bce(y, blurred(y, 0.9)).mean()), "data": y}


def negative_colour() -> dict[str, Any]:
    curve = [1193603.8, 170094.7, -948598.2, -2179357.6, -3293897.9]
    return {"loss": "bce", "curve": curve, "shape": (3, 64, 64)}


def not_divided() -> dict[str, Any]:
    y = (digits() * 255).round()
    return {"loss": "bce", "value": float(bce(y, sigmoid((y - 100) / 10)).mean()), "data": y}


def z_scored() -> dict[str, Any]:
    y = (digits() - 0.3) / 0.37
    return {"loss": "bce", "value": float(bce(y, sigmoid(3 * y)).mean()), "data": y.astype(np.float32)}


def nan_unscaled() -> dict[str, Any]:
    return {"loss": "bce", "value": float("nan"), "data": (digits() * 255).round()}


def dropped_factor() -> dict[str, Any]:
    y = digits()
    mean = np.broadcast_to(y.mean(axis=0), y.shape)
    return {
        "loss": "bce",
        "value": float(bce(y, mean, 1e-3).mean()),
        "data": y,
        "reduction": "mean",
        "rate": 0.004,
    }


def one_digit_for_all() -> dict[str, Any]:
    y = digits()
    return {"loss": "mse", "value": float(((y - y.mean(axis=0)) ** 2).mean()), "data": y, "reduction": "mean",
            "rate": 1e-4}  # fmt: skip


def world_models() -> dict[str, Any]:
    return {"loss": "mse", "value": 0.1416, "rate": 3.8347e-07, "reduction": "mean", "shape": (3, 64, 64)}


def train_and_validation() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    train = 0.1 - 0.005 * np.arange(8)
    return {"loss": "mse", "curve": {"loss": train, "val_loss": 250 * train * rng.uniform(0.95, 1.05, 8)}}


def huge_sum() -> dict[str, Any]:
    return {"loss": "bce", "value": 3196517, "shape": (3, 80, 160)}


def keras_channels() -> dict[str, Any]:
    y = colour()
    per_image = bce(y, blurred(y)).mean(axis=1).sum(axis=(1, 2)).mean()
    return {"loss": "bce", "value": float(per_image), "data": y, "reduction": "nats_per_image"}


def no_sigmoid_clipped() -> dict[str, Any]:
    y = digits()
    raw = 8 * (blurred(y, 0.8) - 0.5)
    return {"loss": "bce", "dump": {"targets": y, "predictions": raw}, "value": float(bce(y, raw).mean())}


def logits_drawn() -> dict[str, Any]:
    y = digits()
    return {"loss": "mse", "dump": {"targets": y, "predictions": np.log((y + 0.05) / (1.05 - y))}}


def twice() -> dict[str, Any]:
    y = digits()
    return {"loss": "bce", "dump": {"targets": y, "predictions": sigmoid(blurred(y, 0.9))}}


def twice_as_logits() -> dict[str, Any]:
    y = digits()
    return {"loss": "bce", "dump": {"targets": y, "logits": np.clip(blurred(y, 0.9), 0, 1)}}


def shifted_data() -> dict[str, Any]:
    y = digits() - 0.5
    return {"loss": "mse", "dump": {"targets": y, "predictions": np.clip(blurred(y), 0.01, 0.99)}}


def stuck_pixels() -> dict[str, Any]:
    y = digits()
    z = np.full(y.shape, -14.0) + 0.1 * y
    return {"loss": "mse", "dump": {"targets": y, "logits": z}}


def relu_output() -> dict[str, Any]:
    y = digits()
    raw = 1.4 * (blurred(y) - 0.35)
    return {"loss": "mse", "dump": {"targets": y, "predictions": np.maximum(raw, 0)}}


def all_white() -> dict[str, Any]:
    y = digits()
    return {"loss": "bce", "value": float(100 * (1 - y).mean()), "data": y}


def log_of_zero() -> dict[str, Any]:
    y = digits()
    p = sigmoid(np.where(y > 0.5, 40.0, -8.0)).astype(np.float32)
    return {"loss": "bce", "dump": {"targets": y, "predictions": p}, "value": float("nan")}


def exploding() -> dict[str, Any]:
    return {"loss": "mse", "curve": [0.09, 0.08, 0.08, 0.2, 40.0, 9e4, float("nan")]}


def overflow() -> dict[str, Any]:
    return {"loss": "logcosh", "value": float("inf"), "data": (digits() * 255).round()}


def density() -> dict[str, Any]:
    return {"loss": "continuous_bernoulli", "value": -3.2, "data": digits()}


def lost_mass() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    z = np.full((3, 20, 20), -20.0)
    y = rng.exponential(1 / 20, z.shape).clip(0, 1)
    law = torch.distributions.ContinuousBernoulli(logits=torch.from_numpy(z).float())
    value = -law.log_prob(torch.from_numpy(y).float()).mean().item()
    return {
        "loss": "continuous_bernoulli",
        "dump": {"targets": y, "logits": z},
        "value": value,
        "reduction": "mean",
    }


def black_scores_zero() -> dict[str, Any]:
    y = np.concatenate([np.zeros((4, 8, 8)), np.full((4, 8, 8), 0.45)])
    return {"loss": "bce", "dump": (y, y), "value": float(bce(y, y).sum(axis=(1, 2)).mean())}


THREADS = [
    Thread("datascience.stackexchange 97200", entropy_of_four, "floor", normal=True),
    Thread("stats.stackexchange 262972", same_images, "floor", ("outside",), normal=True),
    Thread(
        "stats.stackexchange 479349", good_autoencoder, "floor", ("collapse", "double_sigmoid"), normal=True
    ),
    Thread("datascience.stackexchange 25875", black_scores_zero, "floor", normal=True),
    Thread("Lasagne/Recipes 54", negative_colour, "outside"),
    Thread("keras-team/keras 2841", z_scored, "outside"),
    Thread("pytorch/pytorch 36647", not_divided, "outside"),
    Thread("wohlert/semi-supervised-pytorch 9", nan_unscaled, "outside", ("nan_targets",)),
    Thread(
        "stats.stackexchange 485488",
        dropped_factor,
        "effective_beta",
        ("double_sigmoid",),
        also=("collapse",),
    ),
    Thread("keras-team/keras 3373", one_digit_for_all, "effective_beta", also=("collapse",)),
    Thread("AppliedDataSciencePartners/WorldModels 12", world_models, "effective_beta", also=("collapse",)),
    Thread("AntixK/PyTorch-VAE 7", train_and_validation, "reduction"),
    Thread("masato-ka/airc-rl-agent 28", huge_sum, "reduction"),
    Thread("stats.stackexchange 443237", keras_channels, "channel_mean"),
    Thread("keras-team/keras 4744", no_sigmoid_clipped, "missing_sigmoid"),
    Thread("FluxML/model-zoo 289", logits_drawn, "missing_sigmoid"),
    Thread("yudi-mars/daisyRec 15", twice, "double_sigmoid"),
    Thread("AntixK/PyTorch-VAE 48", twice_as_logits, "double_sigmoid"),
    Thread("awei669/VQ-Font 7", shifted_data, "unreachable"),
    Thread("stats.stackexchange 208918", stuck_pixels, "saturation"),
    Thread("ethanluoyc/pytorch-vae 3", relu_output, "dead_relu", ("double_sigmoid",)),
    Thread("L1aoXingyu/pytorch-beginner 38", all_white, "saturation"),
    Thread("hwalsuklee/tensorflow-mnist-VAE 4", log_of_zero, "log_of_zero", ("nan_targets",)),
    Thread("clementchadebec/benchmark_VAE 102", exploding, "divergence"),
    Thread("keras-team/keras 8524", overflow, "overflow", ("log_of_zero",)),
    Thread("orybkin/sigma-vae-pytorch 4", density, "density", normal=True),
    Thread("pytorch/pytorch 72525", lost_mass, "lost_mass"),
]


@pytest.mark.parametrize("thread", THREADS, ids=lambda thread: thread.where)
def test_a_thread_is_diagnosed(thread):
    found = explain(**thread.given())
    assert found.causes, found
    assert found.causes[0].id == thread.first, f"\n{found}"
    assert found.causes[0].normal == thread.normal
    assert {*thread.also} <= {cause.id for cause in found.causes}
    assert {*thread.ruled_out} <= {one.id for one in found.ruled_out}, f"\n{found}"
    for cause in found.causes:
        assert cause.arithmetic
        assert all((cause.fix, cause.check))


def test_the_gallery_meets_every_kind_of_cause():
    assert {thread.first for thread in THREADS} >= {
        "floor", "outside", "double_sigmoid", "missing_sigmoid", "reduction", "effective_beta", "channel_mean",
        "saturation", "log_of_zero", "overflow", "divergence", "density", "lost_mass", "unreachable",
    }  # fmt: skip
    assert "collapse" in {name for thread in THREADS for name in thread.also}
