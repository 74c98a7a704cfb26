"""Points at which the emitted code is judged, and the exact answers there from the 50-digit oracle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import sympy

from lossproof.catalogue import CATALOGUE
from lossproof.formula import SIGMOID
from lossproof.formula.functions import maximum
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y, Z
from lossproof.lower import oracle

Array = npt.NDArray[np.float64]
#: distance from 1 to the next number, smallest normal number, largest number
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
TINY = {"float64": 2.0**-1022, "float32": 2.0**-126, "bfloat16": 2.0**-126, "float16": 2.0**-14}
LARGEST = {
    "float64": float(np.finfo(np.float64).max),
    "float32": float(np.finfo(np.float32).max),
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
    "float16": 65504.0,
}
LOGITS = (1e-8, 1.0, 16.0, 17.0, 88.0, 89.0, 104.0)
FAR = 1e4  # the oracle needs thousands of digits there, so fewer targets
KINDS = ("value", "gradient")


@dataclass(frozen=True)
class Points:
    """Targets y and logits (or predictions) x, exactly as a dtype holds them."""

    y: Array
    x: Array


def rounded(values: Iterable[float], dtype: str) -> Array:
    """The nearest numbers of a dtype, as float64.

    >>> rounded([0.3], "bfloat16").tolist()
    [0.30078125]
    """
    a = np.asarray(list(values), np.float64)
    if dtype == "float64":
        return a
    if dtype == "bfloat16":
        bits = a.astype(np.float32).view(np.uint32)
        bits = bits + 0x7FFF + ((bits >> 16) & 1) & np.uint32(0xFFFF0000)
        return bits.view(np.float32).astype(np.float64)
    return a.astype(dtype).astype(np.float64)


def targets(dtype: str) -> list[float]:
    """The corners of y: 0, smallest normal, eps, 1/255, 1/2 and its neighbours, 1 - eps, 1."""
    eps = EPS[dtype]
    grey = rounded([1 / 255], dtype)[0]
    return [0.0, TINY[dtype], eps, float(grey), 0.5 - eps / 4, 0.5, 0.5 + eps / 2, 1 - eps, 1.0]


def corner_points(dtype: str, *, far: bool = True) -> Points:
    """Every corner of y with every corner of z that the oracle can answer."""
    logits = [0.0, *(s * z for z in rounded(LOGITS, dtype) for s in (1.0, -1.0))]
    pairs = [(y, z) for y in targets(dtype) for z in logits]
    if far:
        place = float(rounded([FAR], dtype)[0])
        pairs += [(y, s * place) for y in (0.0, targets(dtype)[3], 0.5, 1.0) for s in (1.0, -1.0)]
    return Points(np.array([y for y, _ in pairs]), np.array([z for _, z in pairs]))


def end_points(dtype: str) -> Points:
    """The largest logits of a dtype: there an answer must not be NaN and a gradient must be finite."""
    pairs = [
        (y, s * z) for y in targets(dtype) for z in (LARGEST[dtype], LARGEST[dtype] / 4) for s in (1.0, -1.0)
    ]
    return Points(np.array([y for y, _ in pairs]), np.array([z for _, z in pairs]))


def drawn_points(dtype: str, n: int, *, seed: int = 0) -> Points:
    """Grey levels and heavy-tailed logits; a point is the same number in every dtype that gets it.

    The half types get points that bfloat16 and float16 both hold, the others as many again of float32's.
    """
    rng = np.random.default_rng(seed)
    y = rng.choice(np.arange(256), n) / 255
    z = np.clip(rng.standard_t(1.5, n) * 4, -200, 200)
    z = np.where(np.abs(z) < 2.0**-13, 0.0, z)  # below, float16 has not bfloat16's digits
    y = np.where(y * (y < 1) * 255 < 1, np.round(y), y)
    both = Points(rounded(rounded(y, "bfloat16"), "float16"), rounded(rounded(z, "bfloat16"), "float16"))
    if dtype in ("bfloat16", "float16"):
        return both
    single = Points(
        rounded(rng.uniform(0, 1, n), "float32"),
        rounded(np.clip(rng.standard_t(1.5, n) * 4, -200, 200), "float32"),
    )
    return join(both, single)


def prediction_points(dtype: str, n: int, *, seed: int = 1) -> Points:
    """Targets and predictions inside (0, 1): corners of p, and drawn ones."""
    rng = np.random.default_rng(seed)
    inside = [p for p in targets(dtype) if TINY[dtype] < p < 1]
    pairs = [(y, p) for y in targets(dtype) for p in inside]
    pairs += list(zip(rng.choice(np.arange(256), n) / 255, rng.uniform(1e-3, 1 - 1e-3, n), strict=True))
    y, p = (rounded((pair[i] for pair in pairs), dtype) for i in (0, 1))
    return Points(y, p)


def join(a: Points, b: Points) -> Points:
    """Both, one after the other."""
    return Points(np.concatenate([a.y, b.y]), np.concatenate([a.x, b.x]))


def kinked(name: str) -> bool:
    """Whether a loss has an absolute value or a maximum, so that its slope may jump at p = y."""
    return bool(CATALOGUE[name].expression().atoms(sympy.Abs, maximum))


class Exact:
    """Exact answers, kept on disk: they depend on the definition and the point alone.

    A number is kept as the sum of two float64, which is 32 digits of it.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.known: dict[str, tuple[float, float]] = {}
        if path is not None and path.exists():
            self.known = {k: (v[0], v[1]) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}

    def get(
        self, name: str, kind: str, points: Points, *, logits: bool = True, processes: int = 1
    ) -> tuple[Array, Array]:
        """High and low parts of the exact answers at the points."""
        keys = [_key(name, kind, y, x, logits) for y, x in zip(points.y, points.x, strict=True)]
        missing = {
            k: (name, kind, float(y), float(x), logits)
            for k, y, x in zip(keys, points.y, points.x, strict=True)
            if k not in self.known
        }
        if processes > 1 and len(missing) > 64:
            with get_context("spawn").Pool(processes) as pool:
                found = pool.starmap(_answer, missing.values(), chunksize=32)
        else:
            found = [_answer(*task) for task in missing.values()]
        self.known.update(zip(missing, found, strict=True))
        pairs = np.array([self.known[k] for k in keys]).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def save(self) -> None:
        """Write the answers, whole or not at all."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.known), encoding="utf-8")
        os.replace(temporary, self.path)


def _key(name: str, kind: str, y: float, x: float, logits: bool) -> str:
    space = "z" if logits else "p"
    return f"{CATALOGUE[name].hash[:16]} {kind} {float(y).hex()} {space}={float(x).hex()}"


def _answer(name: str, kind: str, y: float, x: float, logits: bool) -> tuple[float, float]:
    loss = CATALOGUE[name]
    if not logits:
        value = (oracle.loss_at if kind == "value" else oracle.slope_at)(loss, y, x)
    elif kind == "value":
        value = oracle.loss_at_logits(loss, y, x)
    elif abs(x) <= 200:
        value = oracle.slope_at_logits(loss, y, x)
    else:
        value = _far_slope(name, y, x)
    with mpmath.workdps(60):
        high = float(value)
        return high, float(value - high)


def _far_slope(name: str, y: float, z: float) -> Any:
    """As the oracle's, with a wider step: at |z| = 1e4 its own takes 26 000 digits."""
    expression, forward = CATALOGUE[name].expression(), parse(SIGMOID.forward, symbols=("z",))
    with mpmath.workdps(200 + int(abs(z) / 2.302585) * 2):
        h = mpmath.mpf(10) ** -40

        def at(point: Any) -> Any:
            p = oracle.evaluate(forward, {Z: point})
            return oracle.evaluate(expression, {Y: mpmath.mpf(y), P: p})

        return (at(z + h) - at(z - h)) / (2 * h)
