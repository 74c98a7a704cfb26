"""Where the code of a formula is wrong in float32: its values at corners of (y, z) beside the 50-digit oracle."""

import math
import time
import warnings
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy

from lossproof.formula import Loss, LossproofError
from lossproof.formula.functions import maximum, minimum
from lossproof.lower import oracle

BUDGET = 0.4  # seconds of work for one formula; what looks wrong comes first
GROSS = 1e-3  # of the result, of 1 or of y z, whichever is largest: far beyond rounding
_LARGEST = 1e30  # beyond, float32 ends soon, and training did before
_DEAR = 1000  # logits from which the oracle takes thousands of digits: looked at where the code is not finite
_TARGETS = (0.0, 1.0, 1 / 255, 0.75)
_LOGITS = tuple(sign * m for m in (89.0, 104.0, 1e3, 40.0, 17.0, 1.0) for sign in (-1.0, 1.0))
_NAMES = {"value_logits": "loss", "gradient_logits": "dl/dz"}


def warn_of_corners(loss: Loss) -> None:
    """Warn, once for a formula, if its code is wrong at a corner where the loss itself is a number."""
    message = wrong_corner(loss)
    if message is not None:
        warnings.warn(message, stacklevel=4)


@lru_cache(maxsize=256)
def wrong_corner(loss: Loss) -> str | None:
    """What is wrong with the emitted code in float32, where, and what to do; None if nothing was found.

    Looks at targets of the loss's domain and logits up to 1000, in the order of suspicion, for at most ``BUDGET`` seconds.

    >>> from lossproof.catalogue import resolve
    >>> wrong_corner(resolve("(y-p)**2/(p*(1-p))")) is None
    True
    """
    end = time.thread_time() + BUDGET
    broken = bool(loss.expression().atoms(sympy.Abs, sympy.sign, sympy.Piecewise, maximum, minimum))
    for finite, _, kind, y, z, got in _computed(loss):
        if time.thread_time() > end or (finite and abs(z) > _DEAR):
            return None
        if finite and broken and _at_target(y, z):
            continue  # either side of a kink or jump is right there
        exact = _exact(loss, kind, y, z)
        if exact is not None and not _close(got, exact, abs(y * z)):
            return (
                f"{loss.label[:60]}: expected {_NAMES[kind]} = {float(exact):.4g} at target y = {y:g}, logit z = {z:g} in "
                f"float32, got {got:.4g}. Keep logits between -{abs(z):g} and {abs(z):g}, or write the formula so that no "
                "part of it overflows or cancels."
            )
    return None


def _at_target(y: float, z: float) -> bool:
    """True where the prediction in float32 may be the target itself."""
    return abs(1 / (1 + math.exp(-max(z, -700.0))) - y) < 1e-6


def _computed(loss: Loss) -> list[tuple[bool, bool, str, float, float, float]]:
    """(finite?, dear?, kind, y, z, what float32 code makes of it): first what is not finite, last what is dear."""
    from lossproof.lower.function import compile_numpy

    functions = compile_numpy(loss)
    points = [(np.float32(y), np.float32(z)) for z in _LOGITS for y in _TARGETS if y in loss.target]
    if not points:
        return []
    y, z = (np.array(column, dtype=np.float32) for column in zip(*points, strict=True))
    found = []
    for kind in _NAMES:
        with np.errstate(all="ignore"):
            got = np.broadcast_to(np.asarray(functions[kind](y, z), dtype=np.float32), y.shape)
        found += [
            (math.isfinite(g), abs(b) > _DEAR, kind, float(a), float(b), float(g))
            for a, b, g in zip(y, z, got, strict=True)
        ]
    return sorted(found, key=lambda point: point[:2])


def _exact(loss: Loss, kind: str, y: float, z: float) -> Any | None:
    """The oracle's number; None where there is none, or none that float32 could hold."""
    f = oracle.loss_at_logits if kind == "value_logits" else oracle.slope_at_logits
    try:
        value = f(loss, y, z)
    except (ArithmeticError, ValueError, TypeError, StopIteration, LossproofError):
        return None
    if not isinstance(value, mpmath.mpf | int | float) or not mpmath.isfinite(value):
        return None
    return value if abs(value) < _LARGEST else None


def _close(got: float, exact: Any, term: float) -> bool:
    return math.isfinite(got) and abs(got - exact) <= GROSS * max(abs(exact), 1, term)
