"""Every way to compute a loss that docs/accuracy.md compares: ours in each framework, and the frameworks' own.

Run as a program, `accuracy_targets.py GROUP POINTS.npz ANSWERS.npz`, it computes one group in a process of its
own: a framework that is not installed, or a backend chosen at import, then concerns nobody else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.catalogue import CATALOGUE

Array = npt.NDArray[np.float64]
Both = tuple[Array, Array]
#: (loss, y, x, dtype) -> value and gradient, or None where the target does not have the loss
Compute = Callable[[str, Array, Array, str], "Both | None"]

#: group -> what it needs, and its environment
GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "jax": ("jax", {}),
    "jax64": ("jax", {"JAX_ENABLE_X64": "1"}),
    "optax": ("optax", {}),
    "keras-jax": ("keras", {"KERAS_BACKEND": "jax"}),
    "keras-torch": ("keras", {"KERAS_BACKEND": "torch"}),
    "keras-tensorflow": ("tensorflow", {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}),
}


def numpy_ours(name: str, y: Array, z: Array, dtype: str) -> Both:
    """lossproof's NumPy functions."""
    from lossproof.lower import function

    f = function(name)
    return f.value_logits(y, z), f.gradient_logits(y, z)


def numpy_prediction(name: str, y: Array, p: Array, dtype: str) -> Both:
    """The same on predictions."""
    from lossproof.lower import function

    f = function(name)
    return f.value(y, p), f.gradient(y, p)


def javascript_ours(name: str, y: Array, z: Array, dtype: str) -> Both | None:
    """The emitted JavaScript, in node."""
    from lossproof.lower.source import source

    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        return None
    text = source(CATALOGUE[name], "javascript", bound=True).text()
    numbers = ",".join(f"[{float(a)!r},{float(b)!r}]" for a, b in zip(y, z, strict=True))
    program = (
        f"{text}\nfor (const [y, z] of [{numbers}])"
        " console.log(String(value_logits(y, z)) + ' ' + String(gradient_logits(y, z)));"
    )
    done = subprocess.run([node, "-"], input=program, capture_output=True, text=True, check=True)
    rows = np.array([[float(v) for v in line.split()] for line in done.stdout.splitlines()])
    return rows[:, 0], rows[:, 1]


def _torch_run(f: Callable[[Any, Any], Any], y: Array, x: Array, dtype: str) -> Both:
    import torch

    to = getattr(torch, dtype)
    x_, y_ = torch.tensor(x, dtype=to, requires_grad=True), torch.tensor(y, dtype=to)
    value = f(x_, y_)
    value.sum().backward()
    assert x_.grad is not None
    return value.detach().double().numpy(), x_.grad.double().numpy()


def torch_ours(name: str, y: Array, z: Array, dtype: str) -> Both:
    """lossproof.torch as it is used: half types go through float32."""
    from lossproof.torch import elementwise

    return _torch_run(elementwise(name), y, z, dtype)


def torch_prediction(name: str, y: Array, p: Array, dtype: str) -> Both:
    """The same on predictions."""
    from lossproof.torch import elementwise

    return _torch_run(elementwise(name, from_logits=False), y, p, dtype)


def torch_raw(name: str, y: Array, z: Array, dtype: str) -> Both:
    """The emitted functions in the half type itself, every intermediate rounded."""
    import torch

    from lossproof.torch import kernel

    k, to = kernel(name), getattr(torch, dtype)
    y_, z_ = torch.tensor(y, dtype=to), torch.tensor(z, dtype=to)
    return k.value_logits(y_, z_).double().numpy(), k.gradient_logits(y_, z_).double().numpy()


def torch_theirs(name: str, y: Array, z: Array, dtype: str) -> Both | None:
    """torch.nn.functional and torch.distributions."""
    import torch
    import torch.nn.functional as F

    def sigmoid_then(f: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        return lambda a, b: f(torch.sigmoid(a), b, reduction="none")

    def weighted(a: Any, b: Any) -> Any:
        weight = torch.tensor(CATALOGUE["weighted_bce"].values["pos_weight"], dtype=a.dtype)
        return F.binary_cross_entropy_with_logits(a, b, pos_weight=weight, reduction="none")

    def continuous(a: Any, b: Any) -> Any:
        return -torch.distributions.ContinuousBernoulli(logits=a, validate_args=False).log_prob(b)

    known: dict[str, Callable[[Any, Any], Any]] = {
        "bce": lambda a, b: F.binary_cross_entropy_with_logits(a, b, reduction="none"),
        "weighted_bce": weighted,
        "mse": sigmoid_then(F.mse_loss),
        "mae": sigmoid_then(F.l1_loss),
        "huber": sigmoid_then(F.huber_loss),
        "continuous_bernoulli": continuous,
    }
    return _torch_run(known[name], y, z, dtype) if name in known else None


def _jax_run(f: Callable[[Any, Any], Any], y: Array, x: Array, dtype: str) -> Both:
    import jax
    import jax.numpy as jnp

    x_, y_ = jnp.asarray(x, dtype=dtype), jnp.asarray(y, dtype=dtype)
    value, back = jax.vjp(lambda a: f(a, y_), x_)
    (gradient,) = back(jnp.ones_like(value))
    return np.asarray(value, np.float64), np.asarray(gradient, np.float64)


def jax_ours(name: str, y: Array, z: Array, dtype: str) -> Both:
    """lossproof.jax as it is used."""
    from lossproof.jax import loss

    return _jax_run(loss(name), y, z, dtype)


def optax_theirs(name: str, y: Array, z: Array, dtype: str) -> Both | None:
    """optax, behind jax.nn.sigmoid where it takes predictions."""
    import jax
    import optax

    def sigmoid_then(f: Callable[..., Any]) -> Callable[[Any, Any], Any]:
        return lambda a, b: f(jax.nn.sigmoid(a), b)

    known: dict[str, Callable[[Any, Any], Any]] = {
        "bce": optax.sigmoid_binary_cross_entropy,
        "mse": sigmoid_then(optax.squared_error),
        "logcosh": sigmoid_then(optax.log_cosh),
        "huber": sigmoid_then(optax.huber_loss),
    }
    return _jax_run(known[name], y, z, dtype) if name in known else None


def _keras_run(f: Callable[[Any, Any], Any], y: Array, x: Array, dtype: str) -> Both:
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        return _torch_run(lambda a, b: f(b, a), y, x, dtype)
    if backend == "jax":
        return _jax_run(lambda a, b: f(b, a), y, x, dtype)
    import tensorflow as tf

    x_, y_ = tf.constant(x, dtype), tf.constant(y, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x_)
        value = f(y_, x_)
        total = tf.reduce_sum(value)
    gradient = tape.gradient(total, x_)
    return np.asarray(value, np.float64), np.asarray(gradient, np.float64)


def keras_ours(name: str, y: Array, z: Array, dtype: str) -> Both:
    """lossproof.keras as it is used."""
    from lossproof.keras import elementwise

    return _keras_run(elementwise(name), y, z, dtype)


def keras_theirs(name: str, y: Array, z: Array, dtype: str) -> Both | None:
    """Keras's own losses, one element a sample."""
    import keras
    from keras import ops

    def mean_of_one(f: Callable[..., Any], activate: bool = True) -> Callable[[Any, Any], Any]:
        def compute(b: Any, a: Any) -> Any:
            return f(ops.expand_dims(b, -1), ops.expand_dims(ops.sigmoid(a) if activate else a, -1))

        return compute

    def cross_entropy(smoothing: float = 0.0) -> Callable[[Any, Any], Any]:
        own = keras.losses.binary_crossentropy
        return mean_of_one(
            lambda b, a: own(b, a, from_logits=True, label_smoothing=smoothing), activate=False
        )

    known = {
        "bce": cross_entropy(),
        "smoothed_bce": cross_entropy(CATALOGUE["smoothed_bce"].values["eps"]),
        "mse": mean_of_one(keras.losses.mean_squared_error),
        "mae": mean_of_one(keras.losses.mean_absolute_error),
        "logcosh": mean_of_one(keras.losses.log_cosh),
        "huber": mean_of_one(keras.losses.huber),
        "msle": mean_of_one(keras.losses.mean_squared_logarithmic_error),
    }
    return _keras_run(known[name], y, z, dtype) if name in known else None


#: column title -> (group, or None for this process; function; dtype of the points; dtype computed in)
OURS: dict[str, tuple[str | None, Compute, str, str]] = {
    "numpy float64": (None, numpy_ours, "float64", "float64"),
    "javascript": (None, javascript_ours, "float64", "float64"),
    "torch float64": (None, torch_ours, "float64", "float64"),
    "torch float32": (None, torch_ours, "float32", "float32"),
    "torch bfloat16": (None, torch_ours, "bfloat16", "float32"),
    "torch float16": (None, torch_ours, "float16", "float32"),
    "jax float64": ("jax64", jax_ours, "float64", "float64"),
    "jax float32": ("jax", jax_ours, "float32", "float32"),
    "jax bfloat16": ("jax", jax_ours, "bfloat16", "float32"),
    "jax float16": ("jax", jax_ours, "float16", "float32"),
    "keras float32 (jax)": ("keras-jax", keras_ours, "float32", "float32"),
    "keras float32 (torch)": ("keras-torch", keras_ours, "float32", "float32"),
    "keras float32 (tensorflow)": ("keras-tensorflow", keras_ours, "float32", "float32"),
}
RAW: dict[str, tuple[str | None, Compute, str, str]] = {
    "torch bfloat16": (None, torch_raw, "bfloat16", "bfloat16"),
    "torch float16": (None, torch_raw, "float16", "float16"),
}
PREDICTIONS: dict[str, tuple[str | None, Compute, str, str]] = {
    "numpy float64": (None, numpy_prediction, "float64", "float64"),
    "torch float64": (None, torch_prediction, "float64", "float64"),
    "torch float32": (None, torch_prediction, "float32", "float32"),
}
THEIRS: dict[str, tuple[str | None, Compute, str, str]] = {
    "torch float64": (None, torch_theirs, "float64", "float64"),
    "torch float32": (None, torch_theirs, "float32", "float32"),
    "torch bfloat16": (None, torch_theirs, "bfloat16", "bfloat16"),
    "keras float32 (jax)": ("keras-jax", keras_theirs, "float32", "float32"),
    "keras float32 (torch)": ("keras-torch", keras_theirs, "float32", "float32"),
    "keras float32 (tensorflow)": ("keras-tensorflow", keras_theirs, "float32", "float32"),
    "optax float32": ("optax", optax_theirs, "float32", "float32"),
}
TABLES: dict[str, dict[str, tuple[str | None, Compute, str, str]]] = {"ours": OURS, "theirs": THEIRS}


def in_process(
    table: Mapping[str, tuple[str | None, Compute, str, str]],
    losses: list[str],
    points: Mapping[str, tuple[Array, Array]],
    group: str | None = None,
) -> dict[str, Both]:
    """ "title|loss" -> value and gradient, of the columns that belong to a group and have points."""
    answers = {}
    for title, (of, compute, dtype, _) in table.items():
        if of != group or dtype not in points:
            continue
        for name in losses:
            found = compute(name, *points[dtype], dtype)
            if found is not None:
                answers[f"{title}|{name}"] = found
    return answers


def in_group(
    group: str, losses: list[str], points: Mapping[str, tuple[Array, Array]], folder: Path
) -> dict[str, Both]:
    """The answers of a group from a process of its own, keyed "table|title|loss"; empty if it is not installed."""
    needs, environment = GROUPS[group]
    import importlib.util

    if importlib.util.find_spec(needs) is None:
        return {}
    given, got = folder / f"{group}-points.npz", folder / f"{group}.npz"
    arrays = {f"{d}-{name}": a for d, pair in points.items() for name, a in zip("yx", pair, strict=True)}
    np.savez(given, losses=np.array(losses), **arrays)
    done = subprocess.run(
        [sys.executable, __file__, group, str(given), str(got)],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"accuracy: expected answers of {group}, got\n{done.stderr[-2000:]}")
    with np.load(got) as file:
        return {key: (file[key][0], file[key][1]) for key in file.files}


def main(arguments: list[str]) -> int:
    """Compute one group's answers."""
    group, given, got = arguments
    with np.load(given) as file:
        losses = [str(name) for name in file["losses"]]
        dtypes = sorted({key.split("-")[0] for key in file.files if "-" in key})
        points = {d: (file[f"{d}-y"], file[f"{d}-x"]) for d in dtypes}
    answers = {
        f"{table}|{key}": np.stack(both)
        for table, columns in TABLES.items()
        for key, both in in_process(columns, losses, points, group).items()
    }
    np.savez(got, **answers)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
