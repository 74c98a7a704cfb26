"""T log Z over predictions and temperatures at once: what a training step looks up when each value may have its own T.

A patch belongs to a cell of the grid over predictions and to a rung of the ladder of temperatures, and reaches half a
rung up and down. It is a polynomial of degree two in both together, so that a value costs six look-ups.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from lossproof.formula import Loss, LossproofError
from lossproof.likelihood.grid import MOST_CELLS, START, Grid, grid_for, quadratics
from lossproof.likelihood.integrand import Array, Of
from lossproof.likelihood.mass import Mass
from lossproof.likelihood.measures import Measure
from lossproof.likelihood.normaliser import Normaliser
from lossproof.likelihood.table import TOLERANCE

RUNGS = 12  # temperatures per factor of e


class Surface:
    """Patches of T log Z of exp(-loss/T) (or of the excess) behind the sigmoid, checked to 1e-4 nats of log Z.

    >>> from lossproof.catalogue import CATALOGUE
    >>> from lossproof.likelihood.measures import Levels
    >>> surface = Surface(grid_for(CATALOGUE["mse"], Levels(256), "loss"))
    >>> surface.patches(-47).shape, round(math.exp(-47 / RUNGS), 3)  # of this rung, T = 0.02: 510 cells
    ((6, 510), 0.02)
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._made: dict[int, Array] = {}
        self._energies: dict[tuple[int, int], Array] = {}

    def patches(self, rung: int) -> Array:
        """Coefficients of a rung's patches, (6, cells): of 1, u, u^2, w, u w, w^2.

        u runs from 0 to 1 through a cell, w from -1/2 to 1/2 through a rung. Raises ``LossproofError`` where 16384 cells
        do not serve.
        """
        if rung not in self._made:
            cells = START
            while True:
                below, centre, above = (
                    self.free_energy(half, cells) for half in (2 * rung - 1, 2 * rung, 2 * rung + 1)
                )
                rise, bend = above - below, 2 * (above + below - 2 * centre)
                made = np.stack([*quadratics(centre), rise[:-1:2], rise[2::2] - rise[:-1:2], bend[1::2]])
                if (off := self._error(rung, made, [below, above])) < TOLERANCE:
                    break
                if cells >= MOST_CELLS:
                    raise LossproofError(
                        f"{self.grid.loss.label}: expected a table of log Z right to {TOLERANCE:g} nats at T = "
                        f"{math.exp(rung / RUNGS):.3g} on {self.grid.measure}, got {off:.2g} with {made.shape[1]} cells. "
                        "Raise the least temperature."
                    )
                cells *= 2
            self._made[rung] = made
        return self._made[rung]

    def free_energy(self, half: int, cells: int = START) -> Array:
        """T log Z at T of that many half rungs, at the ends and the middles of about so many cells."""
        if (half, cells) not in self._energies:
            mesh, t = self.grid.mesh(cells), math.exp(half / 2 / RUNGS)
            engine = Normaliser(self.grid.loss, t, self.grid.measure, self.grid.of).engine
            if isinstance(engine, Mass) and engine.geometric:
                found = t * engine.log_total(mesh.at) - mesh.rest
            else:
                found = mesh.free_energy(t)[0]
            self._energies[half, cells] = found
        return self._energies[half, cells]

    def _error(self, rung: int, made: Array, energies: list[Array]) -> float:
        """Largest error of log Z in nats at places inside the cells: on the rung, and at the ends of its reach."""
        cell, u, at = self.grid.probes(made.shape[-1], energies)
        rest = self.grid.integrand.rest(at)
        worst = 0.0
        for w in (-0.5, -0.25, 0.0, 0.5):
            t = math.exp((rung + w) / RUNGS)
            c = made[:, cell]
            found = c[0] + u * (c[1] + u * c[2]) + w * (c[3] + u * c[4] + w * c[5])
            engine = Normaliser(self.grid.loss, t, self.grid.measure, self.grid.of).engine
            worst = max(worst, float(np.abs((found + rest) / t - engine.log_total(at)).max()))
        return worst


def ladder(low: float, high: float) -> range:
    """The rungs whose temperatures exp(rung/12) lie in [low, high].

    >>> len(ladder(1e-4, 1e3))
    193
    """
    return range(math.ceil(math.log(low) * RUNGS - 1e-4), math.floor(math.log(high) * RUNGS + 1e-4) + 1)


@lru_cache(maxsize=32)
def surface_for(loss: Loss, measure: Measure, of: Of) -> Surface:
    """The surface of a loss on a measure, made once: the members of a comparison share it."""
    return Surface(grid_for(loss, measure, of))


__all__ = ["RUNGS", "Surface", "ladder", "surface_for"]
