"""Logged curves and dumped tensors, from files or from memory."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.data.arrays import read_npy
from lossproof.formula import LossproofError

Floats = npt.NDArray[np.float64]
#: names of columns, the reconstruction's own before a total that may hold the KL
TRAIN = (
    "recon",
    "reconstruction",
    "recon_loss",
    "reconstruction_loss",
    "bce",
    "loss",
    "train_loss",
    "train",
    "value",
)
VALID = (
    "val_recon_loss",
    "val_reconstruction_loss",
    "val_loss",
    "valid_loss",
    "validation_loss",
    "validation",
    "val",
    "test_loss",
    "test",
)
RATE = ("rate", "kl", "kld", "kl_loss", "kld_loss")
TARGETS = ("targets", "target", "y_true", "y", "x", "images")
PREDICTIONS = (
    "predictions",
    "prediction",
    "y_pred",
    "p",
    "recon",
    "reconstruction",
    "reconstructions",
    "outputs",
)
LOGITS = ("logits", "logit", "z")


@dataclass(frozen=True, slots=True)
class Curve:
    """Logged losses in their order; ``valid`` beside ``train`` where it was logged; ``rate`` the last logged KL."""

    train: Floats
    valid: Floats | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Tensors:
    """Targets with what the network put out for them, equal shapes (n, ...): predictions, logits, or both."""

    targets: Floats
    predictions: Floats | None = None
    logits: Floats | None = None


def read_curve(given: "str | Path | Iterable[float] | Mapping[str, Any]") -> Curve:
    """Read a curve: a list of numbers, a mapping such as Keras' ``history.history``, or a .csv or .json file of one.

    Columns are found by their usual names (loss, val_loss, kl, ...); else the last column of numbers is the loss.
    Raises ``LossproofError`` where there is no number.

    >>> read_curve({"loss": [0.3, 0.2], "val_loss": [0.4, 0.3], "kl": [3.0, 4.0]}).rate
    4.0
    """
    name = str(given) if isinstance(given, str | Path) else "curve"
    if isinstance(given, str | Path):
        path = _there(Path(given))
        if path.suffix.lower() == ".json":
            given = _json(path)
        elif path.suffix.lower() == ".csv":
            given = _csv(path)
        else:
            raise LossproofError(
                f"{name}: expected a curve as .csv or .json, got {path.suffix or 'no suffix'}."
            )
    columns = given if isinstance(given, Mapping) else {"loss": given}
    numbers = {str(key).strip().lower(): _floats(value, name) for key, value in columns.items()}
    numbers = {key: value for key, value in numbers.items() if value.size}
    train = _pick(numbers, TRAIN)
    if train is None:
        rest = [value for key, value in numbers.items() if key not in (*VALID, *RATE, "epoch", "step", "lr")]
        train = rest[-1] if rest else None
    if train is None:
        raise LossproofError(f"{name}: expected a column of losses, got {', '.join(columns) or 'nothing'}.")
    rate = _pick(numbers, RATE)
    return Curve(train, _pick(numbers, VALID), None if rate is None else float(rate[-1]))


def read_tensors(given: "str | Path | tuple[Any, Any] | Mapping[str, Any]") -> Tensors:
    """Read a dump: a .npz with targets and predictions (or logits), a .npy of both stacked, a pair, or a mapping.

    Raises ``LossproofError`` for unequal shapes, missing names and anything that is not numbers.
    """
    name = str(given) if isinstance(given, str | Path) else "dump"
    if isinstance(given, str | Path):
        given = _arrays(_there(Path(given)))
    if isinstance(given, tuple):
        given = {"targets": given[0], "predictions": given[1]}
    arrays = {str(key).strip().lower(): _array(value, f"{name}: {key}") for key, value in given.items()}
    found = [_pick(arrays, names) for names in (TARGETS, PREDICTIONS, LOGITS)]
    targets, predictions, logits = found
    if targets is None or (predictions is None and logits is None):
        raise LossproofError(
            f"{name}: expected arrays named targets and predictions (or logits), got {', '.join(arrays) or 'none'}. "
            "Save them: np.savez('dump.npz', targets=x, predictions=p)."
        )
    for what, array in (("predictions", predictions), ("logits", logits)):
        if array is not None and array.shape != targets.shape:
            raise LossproofError(
                f"{name}: expected targets and {what} of one shape, got {targets.shape} and {array.shape}. "
                "Reshape one of them."
            )
    if targets.size == 0:
        raise LossproofError(f"{name}: expected targets, got an empty array of shape {targets.shape}.")
    return Tensors(targets, predictions, logits)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise LossproofError(f"{path}: expected a file, got nothing. Check the path.")
    return path


def _json(path: Path) -> Any:
    try:
        # a log that was written by Python has NaN and Infinity in it
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise LossproofError(f"{path}: expected JSON, got {error}.") from None
    if isinstance(found, list) and found and all(isinstance(row, dict) for row in found):
        return {key: [row.get(key) for row in found] for key in found[0]}
    if not isinstance(found, list | dict):
        raise LossproofError(f"{path}: expected a list of numbers or an object of lists, got {found!r:.40}.")
    return found


def _csv(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise LossproofError(f"{path}: expected a table of numbers, got an empty file.")
    head = (
        rows[0]
        if any(_number(cell) is None for cell in rows[0])
        else [f"column {i}" for i in range(len(rows[0]))]
    )
    body = rows[1:] if head is rows[0] else rows
    return {name: [row[i] if i < len(row) else "" for row in body] for i, name in enumerate(head)}


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _floats(values: Any, name: str) -> Floats:
    if isinstance(values, str) or not isinstance(values, Iterable):
        values = [values]
    found = [_number(value) for value in values if value not in ("", None)]
    if any(value is None for value in found):
        return np.empty(0)  # a column of words
    return np.array(found, np.float64)


def _pick(found: Mapping[str, Floats], names: tuple[str, ...]) -> Floats | None:
    return next((found[name] for name in names if name in found), None)


def _arrays(path: Path) -> dict[str, Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        both = read_npy(path)
        if both.ndim < 2 or len(both) != 2:
            raise LossproofError(
                f"{path}: expected targets and predictions stacked, shape (2, n, ...), got {both.shape}. "
                "Or save both by name: np.savez('dump.npz', targets=x, predictions=p)."
            )
        return {"targets": both[0], "predictions": both[1]}
    if suffix != ".npz":
        raise LossproofError(f"{path}: expected a dump as .npz or .npy, got {suffix or 'no suffix'}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise LossproofError(
            f"{path}: expected a .npz of plain arrays, got damaged data ({error})."
        ) from None


def _array(value: Any, name: str) -> Floats:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "buif":
        raise LossproofError(f"{name}: expected numbers, got dtype {array.dtype}.")
    array = array.astype(np.float64)
    return array[None] if array.ndim < 2 else array


def last_finite(values: Floats) -> float:
    """The last number of a curve that is finite; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else math.nan
