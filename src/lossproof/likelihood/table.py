"""log Z as a table over predictions: losses at nodes, from which any temperature's log Z and slope follow.

A training step then interpolates one number a pixel, where the sum itself would hold 256.
"""

from functools import lru_cache

import numpy as np

from lossproof.formula import Loss, LossproofError
from lossproof.likelihood.density import Density
from lossproof.likelihood.integrand import Array, Of, Point
from lossproof.likelihood.measures import Levels, Measure
from lossproof.likelihood.normaliser import Normaliser

TOLERANCE = 1e-4  # nats, between the table and log Z itself
FURTHEST = 700.0  # logits: beyond, sigmoid(-z) is no normal float64
_MOST = 1 << 13  # cells
_PROBES, _BENT = 150, 48  # cells that are checked: over the whole range, and where log Z bends most
_POINTS = np.polynomial.legendre.leggauss(6)


class Table:
    """Nodes over p in [0, 1], or over logits, with the losses at every level (or quadrature point) there.

    ``behind``: nodes are equally spaced in arcsinh(logit), for losses that change with log p near 0; else in p.
    ``losses`` and the slopes at both ends of each cell have shapes (nodes, n), (cells, n); ``log_weights`` (nodes, n)
    are zero on levels.
    """

    def __init__(self, normaliser: Normaliser, cells: int) -> None:
        integrand = normaliser.integrand
        self.behind = not integrand.form.of_residual
        measure = normaliser.measure
        if not self.behind and isinstance(measure, Levels) and measure.regular and len(integrand.form.kinks):
            steps = measure.count - 1  # kinks of log Z lie at the levels: at nodes, then
            cells = max(1, round(cells / steps)) * steps
        self.cells = cells
        self._cubics: tuple[float, Array] | None = None  # of the temperature last asked for
        span = float(np.arcsinh(FURTHEST))
        self.low, self.high = (-span, span) if self.behind else (0.0, 1.0)
        self.spots = np.linspace(self.low, self.high, cells + 1)
        at = self.point(self.spots)
        targets, self.log_weights = mesh(normaliser, at)
        self.losses = integrand.value(targets, at)
        chain = np.cosh(self.spots)[:, None] if self.behind else np.ones((cells + 1, 1))
        # log Z may have kinks at the nodes: each cell takes the slopes from inside
        nudge = 1e-9 if integrand.form.kinks and not self.behind else 0.0
        sides = [
            integrand.gradient(targets, self.point(self.spots + side)) * chain for side in (nudge, -nudge)
        ]
        self.slopes_low, self.slopes_high = sides[0][:-1], sides[1][1:]
        self.width = (self.high - self.low) / cells

    def point(self, spots: Array) -> Point:
        """Predictions at coordinates of the table."""
        return Point(np.sinh(spots), logits=True) if self.behind else Point(spots)

    def at(self, temperature: float) -> tuple[Array, Array, Array]:
        """log Z at the nodes, and its derivative in the coordinate at both ends of each cell."""
        v = -self.losses / temperature + self.log_weights
        top = v.max(axis=1, keepdims=True)
        q = np.exp(v - top)
        total = q.sum(axis=1, keepdims=True)
        q /= total

        def slope(weights: Array, slopes: Array) -> Array:
            product = np.where(weights > 0, weights * np.where(weights > 0, slopes, 0.0), 0.0)
            return np.asarray(-product.sum(axis=1) / temperature)

        return (top + np.log(total))[:, 0], slope(q[:-1], self.slopes_low), slope(q[1:], self.slopes_high)

    def cubics(self, temperature: float) -> Array:
        """For each cell the cubic's coefficients in u, then d log Z/dT at its low end and its step; shape (cells, 6)."""
        if self._cubics is None or self._cubics[0] != temperature:
            y, low, high = self.at(temperature)
            m0, m1, d = low * self.width, high * self.width, y[1:] - y[:-1]
            v = -self.losses / temperature + self.log_weights
            q = np.exp(v - v.max(axis=1, keepdims=True))
            q /= q.sum(axis=1, keepdims=True)
            by_t = (q * np.where(q > 0, self.losses, 0.0)).sum(axis=1) / temperature**2
            made = np.stack(
                [y[:-1], m0, 3 * d - 2 * m0 - m1, m0 + m1 - 2 * d, by_t[:-1], by_t[1:] - by_t[:-1]], axis=1
            )
            self._cubics = (temperature, made)
        return self._cubics[1]

    def worst(self, normaliser: Normaliser) -> float:
        """Largest difference from log Z itself, in nats: at places in cells everywhere, and in those where it bends most."""
        everywhere = np.unique(np.linspace(0, self.cells - 1, _PROBES).astype(np.int64))
        values, low, high = self.at(normaliser.temperature)
        m0, m1, d = low * self.width, high * self.width, np.diff(values)
        bent = np.concatenate(
            [np.argsort(-np.nan_to_num(np.abs(off)))[:_BENT] for off in (m1 - m0, d - (m0 + m1) / 2)]
        )
        cell = np.concatenate([everywhere, bent, bent, bent])
        u = np.concatenate(
            [np.where(everywhere % 2 == 0, 0.5, 0.27), *(np.full(bent.size, u) for u in (0.2, 0.5, 0.8))]
        )
        got = hermite(u, values[cell], values[cell + 1], m0[cell], m1[cell])
        at = self.point(self.spots[cell] + u * self.width)
        return float(np.abs(got - normaliser.engine.log_total(at)).max())


def mesh(normaliser: Normaliser, at: Point) -> tuple[Array, Array]:
    """Targets and log-weights that stand for the levels, or the interval, at each prediction; one row may serve all."""
    if isinstance(normaliser.measure, Levels):
        return normaliser.measure.values[None, :], np.zeros((1, 1))
    assert isinstance(normaliser.engine, Density)
    edges = normaliser.engine._interval_edges(at)
    half = (edges[:, 1:] - edges[:, :-1])[:, :, None] / 2
    targets = (edges[:, 1:] + edges[:, :-1])[:, :, None] / 2 + half * _POINTS[0]
    with np.errstate(divide="ignore"):
        return targets.reshape(at.x.size, -1), np.log(half * _POINTS[1]).reshape(at.x.size, -1)


def hermite(u: Array, y0: Array, y1: Array, m0: Array, m1: Array) -> Array:
    """The cubic through two values with two slopes, u in [0, 1]."""
    d = y1 - y0
    return y0 + u * (m0 + u * (3 * d - 2 * m0 - m1 + u * (m0 + m1 - 2 * d)))


@lru_cache(maxsize=32)
def _made(loss: Loss, measure: Measure, of: Of, cells: int) -> Table:
    return Table(Normaliser(loss, 1.0, measure, of), cells)


@lru_cache(maxsize=256)
def table_for(loss: Loss, temperature: float, measure: Measure, of: Of, cells: int = 512) -> Table:
    """A table checked at this temperature to 1e-4 nats; cells are doubled until it is.

    Raises ``LossproofError`` where 8192 cells do not serve.

    >>> from lossproof.catalogue import CATALOGUE
    >>> table = table_for(CATALOGUE["mse"], 0.02, Levels(256), "loss")
    >>> table.worst(Normaliser("mse", 0.02)) < TOLERANCE
    True
    """
    normaliser = Normaliser(loss, temperature, measure, of)
    while cells <= _MOST:
        table = _made(loss, measure, of, cells)
        if table.worst(normaliser) < TOLERANCE:
            return table
        cells *= 2
    raise LossproofError(
        f"{loss.label}: expected a table of log Z right to {TOLERANCE:g} nats at T = {temperature:g} on {measure}, got "
        f"{table.worst(normaliser):.2g} with {table.cells} cells. Raise T."
    )


__all__ = ["FURTHEST", "TOLERANCE", "Table", "hermite", "mesh", "table_for"]
