"""A loss as a likelihood: q(y | p) = exp(-loss(y, p)/T)/Z(p, T) on grey levels, on [0, 1] or on the real line."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError
from lossproof.likelihood.integrand import Array, Of, Point, sigmoid
from lossproof.likelihood.measures import Levels, Measure, need_mass
from lossproof.likelihood.normaliser import Normaliser, unique
from lossproof.lower.function import inside


class Likelihood:
    """The law that a loss, or its excess, gives targets y for a prediction p; made by ``likelihood``.

    Every method takes predictions ``p``, or ``logits=z`` for p = sigmoid(z), which keeps digits at black and white;
    shapes of y and p must be equal. On levels ``log_prob`` is a log-mass, elsewhere a log-density; ``unit`` says which.

    >>> law = likelihood("mse", 2 * 0.1**2, "line")  # a Gaussian with sigma = 0.1
    >>> law.log_prob(0.5, 0.5).round(4), law.unit
    (np.float64(1.3836), 'nats of density on the real line')
    """

    def __init__(self, normaliser: Normaliser) -> None:
        self.normaliser = normaliser
        self.loss, self.temperature = normaliser.loss, normaliser.temperature
        self.measure, self.of = normaliser.measure, normaliser.of
        self.unit = self.measure.unit

    def __repr__(self) -> str:
        return f"<likelihood exp(-{self.of}/T) of {self.loss.label}, T = {self.temperature:g}, on {self.measure}>"

    def at(self, temperature: float) -> "Likelihood":
        """The same at another temperature."""
        n = self.normaliser
        return Likelihood(Normaliser(n.loss, temperature, n.measure, n.of))

    def log_prob(
        self, y: npt.ArrayLike, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None
    ) -> Array:
        """log q(y | p), nats, shape as y's. Raises ``LossproofError`` for targets off the levels or the interval."""
        targets, at, shape = self._pair(y, p, logits)
        if self.normaliser.integrand.form.kind == "affine":  # y u and log Z alone may be huge, and cancel
            top, u, rest = self.normaliser.engine.anchored(at)
            with np.errstate(invalid="ignore", over="ignore"):
                exponent = np.where(targets == top, 0.0, (targets - top) * u)
            return np.asarray((exponent - rest + 0.0).reshape(shape))[()]
        with np.errstate(invalid="ignore"):
            value = self.normaliser.integrand.value(targets[:, None], at)[:, 0]
        return np.asarray((-value / self.temperature - self.normaliser.total(at)).reshape(shape))[()]

    def bits_per_pixel(
        self, y: npt.ArrayLike, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None
    ) -> float:
        """Mean of -log2 q(y | p) over all values: levels only. Raises ``LossproofError`` for a density.

        >>> round(likelihood("mae", 1e6).bits_per_pixel([0.0, 1.0], [0.5, 0.5]), 6)  # a flat law on 256 levels
        8.0
        """
        need_mass(self.measure, self.loss.label)
        return float(-np.mean(self.log_prob(y, p, logits=logits)) / math.log(2))

    def cdf(
        self, y: npt.ArrayLike, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None
    ) -> Array:
        """Mass at or below y, for any real y; shape as y's."""
        at, shape = self.normaliser.point(p, logits)
        targets = np.asarray(y, dtype=np.float64)
        self._equal(targets.shape, shape)
        return np.asarray(self.normaliser.engine.cdf(targets.ravel(), at).reshape(shape))[()]

    def mean(self, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None) -> Array:
        """Expected target, shape as the predictions'. Raises ``LossproofError`` where tails are too thick to have one."""
        return self._expected("target", p, logits)

    def variance(self, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None) -> Array:
        """Variance of the target, shape as the predictions'."""
        at, shape = self.normaliser.point(p, logits)
        first, back = unique(at)
        return np.asarray(self.normaliser.engine.variance(first)[back].reshape(shape))[()]

    def mode(self, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None) -> Array:
        """The most likely target, shape as the predictions'; the lowest where several tie."""
        at, shape = self.normaliser.point(p, logits)
        first, back = unique(at)
        return np.asarray(self.normaliser.engine.mode(first)[back].reshape(shape))[()]

    def median(self, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None) -> Array:
        """The median target (the lowest on levels), shape as the predictions'."""
        _, shape = self.normaliser.point(p, logits)
        return self.quantile(np.full(shape, 0.5), p, logits=logits)

    def quantile(
        self, share: npt.ArrayLike, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None
    ) -> Array:
        """Target with that share of the mass at or below it, 0 < share < 1; shape as the predictions'."""
        at, shape = self.normaliser.point(p, logits)
        wanted = np.asarray(share, dtype=np.float64)
        self._equal(wanted.shape, shape)
        if not ((wanted > 0) & (wanted < 1)).all():
            raise LossproofError(f"{self.loss.label}: expected shares between 0 and 1, got others.")
        first, back = unique(at)
        return np.asarray(self.normaliser.engine.quantile(wanted.ravel(), first, back).reshape(shape))[()]

    def sample(
        self,
        p: npt.ArrayLike | None = None,
        rng: np.random.Generator | int | None = None,
        *,
        logits: npt.ArrayLike | None = None,
        size: int | None = None,
    ) -> Array:
        """Draw targets by inversion: shape as the predictions', or (size, *shape)."""
        at, shape = self.normaliser.point(p, logits)
        generator = rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
        first, back = unique(at)
        index = back if size is None else np.tile(back, size)
        # a share of exactly 0 would ask for the end of the line
        share = np.maximum(generator.random(index.size), 2.0**-54)
        drawn = self.normaliser.engine.quantile(share, first, index)
        return np.asarray(drawn.reshape(shape if size is None else (size, *shape)))[()]

    def expected_loss(self, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None) -> Array:
        """Mean, under the law, of what is normalised: the loss, or its excess; nats, shape as the predictions'.

        >>> likelihood("mse", 0.02, "line").expected_loss(0.3).round(6)  # sigma^2 = T/2
        np.float64(0.01)
        """
        at, shape = self.normaliser.point(p, logits)
        value = self._expected("value", p, logits)
        return np.asarray(value + self.normaliser.integrand.rest(at).reshape(shape))[()]

    def observed_loss(
        self, y: npt.ArrayLike, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None
    ) -> Array:
        """The loss, or its excess, of these targets: what ``expected_loss`` is to be held against; shape as y's."""
        targets, at, shape = self._pair(y, p, logits)
        integrand = self.normaliser.integrand
        value = integrand.value(targets[:, None], at)[:, 0] + integrand.rest(at)
        return np.asarray(value.reshape(shape))[()]

    def most_likely_p(self, y: npt.ArrayLike) -> Array:
        """The prediction in [0, 1] under which each target is most likely; on the real line, any prediction.

        Normalising moves the minimum: it need not be p = y. 0 or 1 where the likelihood still rises at that end.

        >>> likelihood("bce", 1.0, "interval").most_likely_p(0.1).round(7)  # BCE itself is least at p = 0.1
        np.float64(4.56e-05)
        """
        targets = self._targets(np.asarray(y))
        distinct, back = np.unique(targets, return_inverse=True)
        engine = self.normaliser.engine
        centred = getattr(engine, "centred", False)  # then q(y | p) is a function of y - p
        best = distinct - engine.mode(Point(np.zeros(1)))[0] if centred else self._search(distinct)
        return np.asarray(best[back].reshape(targets.shape))[()]

    def _search(self, y: Array) -> Array:
        inner, outer = np.linspace(-40, 40, 641), np.logspace(np.log10(41), 4, 12)
        grid = Point(np.concatenate([-outer[::-1], inner, outer]), logits=True)
        try:
            total = self.normaliser.engine.log_total(grid)
        except LossproofError:
            # a law that narrows to a point at black and white: beyond 1e-13 of them floats cannot follow
            grid = Point(inner[np.abs(inner) <= 30], logits=True)
            total = self.normaliser.engine.log_total(grid)

        def cost(z: Array, log_z: Array, targets: Array) -> Array:
            value = self.normaliser.integrand.value(targets, Point(z, logits=True))
            found = value / self.temperature + log_z[:, None]
            return np.where(np.isnan(found), np.inf, found)

        table = cost(grid.x, total, y[None, :])
        best = table.argmin(axis=0)
        low = grid.x[np.maximum(best - 1, 0)]
        high = grid.x[np.minimum(best + 1, grid.x.size - 1)]
        golden = (math.sqrt(5) - 1) / 2
        for _ in range(45):
            a, b = high - golden * (high - low), low + golden * (high - low)
            costs = [
                cost(z, self.normaliser.engine.log_total(Point(z, logits=True)), y[:, None])[:, 0]
                for z in (a, b)
            ]
            left = costs[0] < costs[1]
            low, high = np.where(left, low, a), np.where(left, b, high)
        z = (low + high) / 2
        log_z = self.normaliser.engine.log_total(Point(z, logits=True))
        least = cost(z, log_z, y[:, None])[:, 0]
        least = least + 1e-13 + 1e-14 * np.abs(least)  # far out the likelihood is flat to the last digit
        return np.where(table[0] <= least, 0.0, np.where(table[-1] <= least, 1.0, sigmoid(z)))

    def _expected(self, name: str, p: npt.ArrayLike | None, logits: npt.ArrayLike | None) -> Array:
        at, shape = self.normaliser.point(p, logits)
        first, back = unique(at)
        return np.asarray(self.normaliser.engine.expectations(first, (name,))[0][back].reshape(shape))[()]

    def _pair(
        self, y: npt.ArrayLike, p: npt.ArrayLike | None, logits: npt.ArrayLike | None
    ) -> tuple[Array, Point, tuple[int, ...]]:
        at, shape = self.normaliser.point(p, logits)
        given = np.asarray(y)
        self._equal(given.shape, shape)
        return self._targets(given).ravel(), at, shape

    def _targets(self, y: npt.NDArray[Any]) -> Array:
        return targets_on(self.measure, y, self.loss.label)

    def _equal(self, a: tuple[int, ...], b: tuple[int, ...]) -> None:
        if a != b:
            raise LossproofError(
                f"{self.loss.label}: expected targets and predictions of equal shape, got {a} and {b}. "
                "Nothing broadcasts here: reshape one of them."
            )


def targets_on(measure: Measure, y: npt.NDArray[Any], label: str) -> Array:
    """Targets as float64, on their levels. Raises ``LossproofError`` for those off the levels or the interval."""
    if isinstance(measure, Levels):
        return measure.values[measure.index(y, label)]
    return inside(y.astype(np.float64), measure.domain, "target", label)


def likelihood(
    loss: object, temperature: float = 1.0, measure: object = "levels", of: Of = "loss"
) -> Likelihood:
    """The likelihood exp(-loss/T)/Z of a loss on a reference measure.

    ``measure``: "levels" (256 grey levels), "interval" ([0, 1]), "line", a number of levels or ``Levels.of(data)``.
    ``of``: "loss", or "excess" (loss minus floor); BCE as it is gives the continuous Bernoulli, whose mode is 0 or 1,
    its excess a law that peaks at p. Raises ``LossproofError`` for T <= 0 and for what cannot be normalised.

    >>> raw, excess = likelihood("bce"), likelihood("bce", of="excess")
    >>> float(raw.mode(0.4)), float(excess.mode(0.4))
    (0.0, 0.4)
    """
    return Likelihood(Normaliser(loss, temperature, measure, of))
