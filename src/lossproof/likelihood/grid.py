"""T log Z over predictions and temperatures, as piecewise polynomials: what a training step with a moving T looks up.

Predictions lie on a grid of cells, temperatures on a ladder of rungs; a cell holds a quadratic in the prediction, and
between two rungs a cubic in log T goes through values and derivatives. T log Z is smooth in log T also where log Z
grows like 1/T. A pixel then costs a look-up, where the sum over levels would hold 256 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from lossproof.formula import Loss, LossproofError
from lossproof.likelihood.integrand import Array, Of, Point
from lossproof.likelihood.measures import Levels, Measure, RealLine
from lossproof.likelihood.normaliser import Normaliser
from lossproof.likelihood.table import FURTHEST, TOLERANCE, mesh

SOFT = 0.25  # of the coordinate z / sqrt(SOFT + |z|): near 0 it is 2 z, far out the root of |z|
RUNGS = 8  # temperatures per factor of e
START, MOST_CELLS = 512, 1 << 14
_BLOCK = 1 << 21  # losses held at a time
_PROBES, _BENT = 96, 48  # places checked: over the whole range, and at each temperature where it bends most


class Grid:
    """T log Z of exp(-loss/T) (or of the excess) behind the sigmoid, checked to 1e-4 nats of log Z at every rung used.

    ``behind``: cells are equal in z / sqrt(SOFT + |z|); else, for losses of y - p, in p, with kinks at their ends.
    Raises ``LossproofError`` for the real line, where log Z does not depend on p, and where no grid serves.

    >>> from lossproof.catalogue import CATALOGUE
    >>> grid = Grid(CATALOGUE["mse"], Levels(256), "loss")
    >>> grid.pair(0.02)[1].shape  # 510 cells: two between any two levels
    (4, 3, 510)
    """

    def __init__(self, loss: Loss, measure: Measure, of: Of) -> None:
        if isinstance(measure, RealLine):
            raise LossproofError(
                f"{loss.label}: expected levels or the interval [0, 1] to calibrate on, got the real line. "
                "Use measure='levels' or 'interval'."
            )
        self.loss, self.measure, self.of = loss, measure, of
        self.integrand = Normaliser(loss, 1.0, measure, of).integrand
        self.behind = not self.integrand.form.of_residual
        reach = FURTHEST / math.sqrt(SOFT + FURTHEST)
        self.low, self.high = (-reach, reach) if self.behind else (0.0, 1.0)
        self._meshes: dict[int, Mesh] = {}
        self._energies: dict[tuple[int, int], tuple[Array, Array]] = {}
        self._pairs: dict[int, Array] = {}

    def pair(self, temperature: float) -> tuple[float, Array]:
        """Where log T lies between two rungs, in [0, 1), and the quadratics of both: values and derivatives.

        Shape (4, 3, cells): T log Z below, its derivative in log T times the step, both above; each as three
        coefficients in u, which runs from 0 to 1 through a cell.
        """
        place = math.log(temperature) * RUNGS
        rung = math.floor(place)
        if rung not in self._pairs:
            self._pairs[rung] = self._made(rung)
        return place - rung, self._pairs[rung]

    def _made(self, rung: int) -> Array:
        cells = START
        while True:
            mesh = self.mesh(cells)
            made = np.concatenate([self._rung(mesh, rung), self._rung(mesh, rung + 1)])
            energies = [self._energies[mesh.cells, r][0] for r in (rung, rung + 1)]
            if (off := self._error(rung, made, energies)) < TOLERANCE:
                return made
            if cells >= MOST_CELLS:
                raise LossproofError(
                    f"{self.loss.label}: expected a table of log Z right to {TOLERANCE:g} nats at T = "
                    f"{math.exp(rung / RUNGS):.3g} on {self.measure}, got {off:.2g} with {mesh.cells} cells. "
                    "Raise the least temperature."
                )
            cells *= 2

    def mesh(self, cells: int) -> Mesh:
        """The losses at about so many cells, made once."""
        if cells not in self._meshes:
            if not self.behind and isinstance(self.measure, Levels) and self.measure.regular:
                steps = self.measure.count - 1  # kinks of log Z lie at the levels: at ends of cells, then
                rounded = max(1, round(cells / steps)) * steps
            else:
                rounded = cells
            self._meshes[cells] = Mesh(self, rounded)
        return self._meshes[cells]

    def _rung(self, mesh: Mesh, rung: int) -> Array:
        key = (mesh.cells, rung)
        if key not in self._energies:
            self._energies[key] = mesh.free_energy(math.exp(rung / RUNGS))
        value, derivative = self._energies[key]
        return np.stack([quadratics(value), quadratics(derivative) / RUNGS])

    def point(self, spots: Array) -> Point:
        """Predictions at coordinates of the grid."""
        if not self.behind:
            return Point(spots)
        square = spots**2
        return Point(np.sign(spots) * (square + np.sqrt(square * (square + 4 * SOFT))) / 2, logits=True)

    def probes(self, cells: int, energies: Sequence[Array]) -> tuple[npt.NDArray[np.int64], Array, Point]:
        """Places to check at: cells, where in each, and the predictions there.

        Some everywhere; and both sides of the cells where the energies' third difference is largest, as the error of a
        parabola goes with it: at low T, log Z bends within a small part of the range.
        """
        everywhere = np.unique(np.linspace(0, cells - 1, _PROBES).astype(np.int64))
        bent = np.unique(np.concatenate([most_bent(energy) for energy in energies]))
        cell = np.concatenate([everywhere, bent, bent])
        low, high = np.full(bent.size, 0.25), np.full(bent.size, 0.77)
        u = np.concatenate([np.where(everywhere % 2 == 0, 0.25, 0.77), low, high])
        return cell, u, self.point(self.low + (cell + u) * (self.high - self.low) / cells)

    def _error(self, rung: int, made: Array, energies: Sequence[Array]) -> float:
        """Largest error of log Z in nats: inside the cells at both rungs, and half-way between the rungs."""
        cell, u, at = self.probes(made.shape[-1], energies)
        rest = self.integrand.rest(at)

        def off(coefficients: Array, log_t: float) -> float:
            t = math.exp(log_t)
            engine = Normaliser(self.loss, t, self.measure, self.of).engine
            c0, c1, c2 = coefficients[:, cell]
            return float(np.abs((c0 + u * (c1 + u * c2) + rest) / t - engine.log_total(at)).max())

        halfway = np.tensordot(weights(0.5)[0], made, 1)
        return max(
            off(made[0], rung / RUNGS), off(made[2], (rung + 1) / RUNGS), off(halfway, (rung + 0.5) / RUNGS)
        )


class Mesh:
    """The losses at every level (or quadrature point), for predictions at the ends and the middle of each cell."""

    def __init__(self, grid: Grid, cells: int) -> None:
        self.grid, self.cells = grid, cells
        self.at = grid.point(np.linspace(grid.low, grid.high, 2 * cells + 1))
        self.rest = grid.integrand.rest(self.at)

    @cached_property
    def parts(self) -> list[tuple[Array, Array]]:
        """Losses and log-weights, a block of predictions at a time."""
        normaliser = Normaliser(self.grid.loss, 1.0, self.grid.measure, self.grid.of)
        first, _ = mesh(normaliser, self.at.take(slice(0, 1)))
        step = max(1, _BLOCK // first.shape[1])
        found = []
        for start in range(0, self.at.x.size, step):
            part = self.at.take(slice(start, start + step))
            targets, log_weights = mesh(normaliser, part)
            found.append((self.grid.integrand.value(targets, part), log_weights))
        return found

    def free_energy(self, temperature: float) -> tuple[Array, Array]:
        """T log Z at the predictions, and its derivative in log T, which is T log Z plus the expected loss."""
        totals, expected = [], []
        for losses, log_weights in self.parts:
            v = losses / -temperature
            v += log_weights
            top = v.max(axis=1, keepdims=True)
            v -= top
            q = np.exp(v, out=v)
            total = q.sum(axis=1)
            with np.errstate(invalid="ignore"):
                weighed = q * losses
            if not np.isfinite(losses).all():
                weighed = np.where(q > 0, weighed, 0.0)
            totals.append(top[:, 0] + np.log(total))
            expected.append(weighed.sum(axis=1) / total)
        free = temperature * np.concatenate(totals)
        return free - self.rest, free + np.concatenate(expected)


def most_bent(values: Array, count: int = _BENT) -> npt.NDArray[np.int64]:
    """The cells, of two steps each, in which parabolas through 2 cells + 1 values are likely to be furthest off.

    >>> most_bent(np.abs(np.arange(101) - 40.5), 2).tolist()  # a kink in cell 20, seen from its neighbour too
    [19, 20]
    """
    third = np.abs(np.diff(values, 3))
    third = np.where(np.isfinite(third), third, 0.0)
    ends = np.concatenate([[0.0], third, [0.0]])  # at 2 k + 1 starts the difference that a cell k begins
    rough = np.maximum(ends[:-1:2], ends[1::2])
    return np.sort(np.argsort(-rough, kind="stable")[:count])


def quadratics(values: Array) -> Array:
    """Through the ends and the middle of each cell: coefficients in u, shape (3, cells), of 2 cells + 1 values."""
    low, middle, high = values[:-1:2], values[1::2], values[2::2]
    return np.stack([low, 4 * middle - 3 * low - high, 2 * (low + high) - 4 * middle])


def weights(u: float) -> Array:
    """The cubic through two values with two slopes, at u: what values and slopes count, and the same of its derivative.

    >>> weights(0.5)[0].tolist()  # of value and slope below, value and slope above
    [0.5, 0.125, 0.5, -0.125]
    """
    return np.array(
        [
            [(1 + 2 * u) * (1 - u) ** 2, u * (1 - u) ** 2, u * u * (3 - 2 * u), u * u * (u - 1)],
            [6 * u * (u - 1), (1 - u) * (1 - 3 * u), 6 * u * (1 - u), u * (3 * u - 2)],
        ]
    )


@lru_cache(maxsize=32)
def grid_for(loss: Loss, measure: Measure, of: Of) -> Grid:
    """The grid of a loss on a measure, made once: the members of a comparison share it."""
    return Grid(loss, measure, of)


__all__ = ["MOST_CELLS", "SOFT", "START", "Grid", "grid_for", "most_bent", "quadratics", "weights"]
