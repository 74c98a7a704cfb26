"""Integrals of exp(v) over an interval or the line, row by row: Gauss-Legendre on graded panels, checked.

Each panel is integrated with 16 and with 10 points; rows where they differ have every panel halved, until they agree.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError

Array = npt.NDArray[np.float64]
#: (y of shape (rows, n), indices of the rows) -> log-density, unnormalised, of that shape
LogDensity = Callable[[Array, npt.NDArray[np.int64]], Array]

TOLERANCE = 1e-9  # relative, of the whole integral
_HALVINGS = 7
_FINE = np.polynomial.legendre.leggauss(16)
_COARSE = np.polynomial.legendre.leggauss(10)
_BLOCK = 1 << 20  # points evaluated at a time


@dataclass
class Row:
    """The panels of one row: edges, and the log of each panel's mass."""

    edges: Array
    log_masses: Array = field(default_factory=lambda: np.empty(0))


@dataclass
class Result:
    """Per row: log of the integral, expectations of the given functions, and the panels where they were kept."""

    log_total: Array
    expectations: list[Array]
    rows: list[Row]


def integrate(
    log_density: LogDensity,
    edges: Array,
    functions: tuple[LogDensity, ...] = (),
    *,
    keep: bool = False,
    label: str = "likelihood",
) -> Result:
    """Integrate exp(log_density) over each row's panels; edges have shape (rows, panels + 1).

    ``functions`` of (y, rows) are averaged under the normalised density. Raises ``LossproofError`` where the check
    still fails after halving 7 times, or where the density is infinite or NaN.
    """
    rows = edges.shape[0]
    out = Result(np.full(rows, -np.inf), [np.zeros(rows) for _ in functions],
                 [Row(edges[i]) for i in range(rows)] if keep else [])  # fmt: skip
    todo = np.arange(rows)
    current = edges
    for halving in range(_HALVINGS + 1):
        failed = np.zeros(todo.size, dtype=bool)
        step = max(1, _BLOCK // (16 * (current.shape[1] - 1)))
        for start in range(0, todo.size, step):
            part = slice(start, start + step)
            failed[part] = _block(log_density, current[part], todo[part], functions, out, keep, label)
        if not failed.any():
            return out
        todo, current = todo[failed], _halved(current[failed])
        if halving == _HALVINGS:
            break
    raise LossproofError(
        f"{label}: expected an integral that settles to {TOLERANCE:g}, it does not for {todo.size} of {rows} predictions "
        f"after {_HALVINGS} halvings. The density is too narrow or jumps: raise T, or use a measure of levels."
    )


def _halved(edges: Array) -> Array:
    middle = (edges[:, 1:] + edges[:, :-1]) / 2
    both = np.empty((edges.shape[0], 2 * edges.shape[1] - 1))
    both[:, ::2], both[:, 1::2] = edges, middle
    return both


def _block(
    log_density: LogDensity, edges: Array, index: npt.NDArray[np.int64], functions: tuple[LogDensity, ...], out: Result,
    keep: bool, label: str,
) -> Any:  # fmt: skip
    """Fill in the rows of a block; True for those whose two orders differ."""
    half = (edges[:, 1:] - edges[:, :-1])[:, :, None] / 2
    middle = (edges[:, 1:] + edges[:, :-1])[:, :, None] / 2
    totals: list[Array] = []
    averages: list[list[Array]] = []
    peak: Array | None = None
    for x, w in (_FINE, _COARSE):
        y = middle + half * x
        shape = y.shape
        v = log_density(y.reshape(shape[0], -1), index).reshape(shape)
        if np.isnan(v).any() or np.isposinf(v).any():
            bad = np.argwhere(np.isnan(v) | np.isposinf(v))[0]
            raise LossproofError(
                f"{label}: expected a loss that is a number above -inf, got {-v[tuple(bad)]:g} at target "
                f"{y[tuple(bad)]:g}. Keep the prediction inside the domain, or give logits."
            )
        if peak is None:
            peak = v.max(axis=(1, 2), keepdims=True)
            peak = np.where(np.isfinite(peak), peak, 0.0)
        mass = w * half * np.exp(v - peak)
        panels = mass.sum(axis=2)
        total = panels.sum(axis=1)
        totals.append(total)
        weighted = []
        for f in functions:
            values = f(y.reshape(shape[0], -1), index).reshape(shape)
            # where there is no mass, an infinite loss has no say
            product = np.where(mass > 0, mass * np.where(mass > 0, values, 0.0), 0.0)
            weighted.append(product.sum(axis=(1, 2)))
        averages.append(weighted)
        if x is _FINE[0]:
            fine_panels = panels
    assert peak is not None
    fine, coarse = totals
    safe = np.where(fine > 0, fine, 1.0)
    failed = np.abs(fine - coarse) > TOLERANCE * fine
    for k, _ in enumerate(functions):
        a, b = averages[0][k] / safe, averages[1][k] / safe
        failed |= np.abs(a - b) > 1e-7 * (np.abs(a) + 1e-3)
        out.expectations[k][index] = np.where(fine > 0, a, np.nan)
    with np.errstate(divide="ignore"):
        out.log_total[index] = np.log(fine) + peak[:, 0, 0]
        if keep:
            for i, row in enumerate(index):
                out.rows[row] = Row(edges[i], np.log(fine_panels[i]) + peak[i, 0, 0])
    return failed


def edges_between(breaks: Array, *, ends: int = 28, outer: int = 40) -> Array:
    """Edges for each row of breakpoints (ascending, shape (rows, k)): graded towards each of them.

    Where two breakpoints coincide the panels between them have no width, and add nothing.
    """
    parts = []
    last = breaks.shape[1] - 2
    for k in range(breaks.shape[1] - 1):
        low, span = breaks[:, k : k + 1], (breaks[:, k + 1] - breaks[:, k])[:, None]
        left = 2.0 ** -np.arange(outer if k == 0 else ends, 0, -1.0)
        right = 1 - 2.0 ** -np.arange(2, (outer if k == last else ends) + 1.0)
        fractions = np.concatenate([[0.0], left, right])
        parts.append(low + span * fractions)
    return np.concatenate([*parts, breaks[:, -1:]], axis=1)


def quantile(log_density: LogDensity, kept: list[Row], index: npt.NDArray[np.int64], share: Array) -> Array:
    """Where the share of each draw's row lies below: the panel from the kept masses, then bisection inside it."""
    low, high, want = (np.empty(index.size) for _ in range(3))
    order = np.argsort(index, kind="stable")
    for row in np.unique(index):
        mine = order[np.searchsorted(index[order], row) : np.searchsorted(index[order], row, side="right")]
        logs = kept[row].log_masses
        cumulative = np.cumsum(np.exp(logs - logs.max()))
        target = share[mine] * cumulative[-1]
        at = np.minimum(np.searchsorted(cumulative, target), logs.size - 1)
        below = np.where(at > 0, cumulative[at - 1], 0.0)
        inside = np.exp(logs - logs.max())[at]
        low[mine], high[mine] = kept[row].edges[at], kept[row].edges[at + 1]
        want[mine] = np.where(inside > 0, (target - below) / np.where(inside > 0, inside, 1.0), 0.5)
    want = np.clip(want, 0.0, 1.0)
    x, w = _FINE

    def mass(a: Array, b: Array, reference: Array | None) -> tuple[Array, Array]:
        y = (a + b)[:, None] / 2 + (b - a)[:, None] / 2 * x
        v = log_density(y, index)
        top = v.max(axis=1) if reference is None else reference
        return (w * np.exp(v - top[:, None])).sum(axis=1) * (b - a) / 2, top

    whole, top = mass(low, high, None)
    start, a, b = low, low.copy(), high.copy()
    for _ in range(45):
        middle = (a + b) / 2
        less = mass(start, middle, top)[0] < want * whole
        a, b = np.where(less, middle, a), np.where(less, b, middle)
    return (a + b) / 2
