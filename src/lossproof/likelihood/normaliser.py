"""The normaliser log Z(p, T) of exp(-loss/T), or of exp(-excess/T), on a reference measure, and its derivative in p."""

import numpy as np
import numpy.typing as npt

from lossproof.catalogue import resolve
from lossproof.formula import LossproofError
from lossproof.likelihood.density import Density
from lossproof.likelihood.integrand import Array, Integrand, Of, Point
from lossproof.likelihood.mass import Mass
from lossproof.likelihood.measures import Levels, Measure, measure_of, positive_temperature


class Normaliser:
    """log Z(p, T) = log of the sum or integral of exp(-loss(y, p)/T) over targets y.

    ``of`` says what is normalised: "loss", or "excess" (the loss minus its floor at y). The two give different
    likelihoods unless the floor is constant. ``method`` says how Z is computed. Raises ``LossproofError`` for a
    temperature that is not above 0, and for what cannot be normalised, with the reason.

    >>> normaliser = Normaliser("mse", 2.0, "line")
    >>> normaliser.method, normaliser.log_z(0.3).round(6)  # log(sqrt(2 pi)): variance T/2 = 1
    ('closed form: Gaussian, on the line', np.float64(0.918939))
    """

    def __init__(
        self, loss: object, temperature: float = 1.0, measure: object = "levels", of: Of = "loss"
    ) -> None:
        self.loss = resolve(loss)
        self.temperature = positive_temperature(temperature, self.loss.label)
        self.measure: Measure = measure_of(measure)
        self.of: Of = of
        self.integrand = Integrand(self.loss, of, self.measure)
        self.engine: Mass | Density = (
            Mass(self.integrand, self.temperature, self.measure)
            if isinstance(self.measure, Levels)
            else Density(self.integrand, self.temperature, self.measure)
        )

    @property
    def method(self) -> str:
        """How log Z is computed: a closed form by name, a sum, or quadrature."""
        return self.engine.method

    def __repr__(self) -> str:
        of = f"{self.of} of {self.loss.label}"
        return f"<normaliser of the {of} at T = {self.temperature:g} on {self.measure}: {self.method}>"

    def point(self, p: npt.ArrayLike | None, logits: npt.ArrayLike | None) -> tuple[Point, tuple[int, ...]]:
        """Predictions or logits, flat and checked, and their shape."""
        if (p is None) == (logits is None):
            raise LossproofError(f"{self.loss.label}: expected either p or logits=, got both or neither.")
        given = np.asarray(p if logits is None else logits)
        x = given.astype(np.float64)
        name = "p" if logits is None else "logits"
        if not np.isfinite(x).all():
            raise LossproofError(
                f"{self.loss.label}: expected finite {name}, got {int((~np.isfinite(x)).sum())} of {x.size} values "
                "that are not."
            )
        if logits is None:
            from lossproof.lower.function import inside

            inside(x, self.loss.prediction, "prediction", self.loss.label)
        return Point(x.ravel(), logits is not None), x.shape

    def log_z(self, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None) -> Array:
        """log Z, shape as the predictions'; nats. Infinite where a part of the loss free of y is."""
        at, shape = self.point(p, logits)
        with np.errstate(invalid="ignore"):
            found = self.total(at) - self.integrand.rest(at) / self.temperature
        return np.asarray(found.reshape(shape))[()]

    def slope(self, p: npt.ArrayLike | None = None, *, logits: npt.ArrayLike | None = None) -> Array:
        """d log Z/dp (or /dz for logits), shape as the predictions'; it is -E[d loss/dp]/T under the law.

        >>> Normaliser("bce", 1.0, "interval").slope(logits=[0.0]).tolist()  # log Z = log((e^z - 1)/z) - softplus(z)
        [0.0]
        """
        at, shape = self.point(p, logits)
        first, back = unique(at)
        found = self.engine.slope(first)[back] - self.integrand.rest_gradient(at) / self.temperature
        return np.asarray(found.reshape(shape))[()]

    def total(self, at: Point) -> Array:
        """log Z without the part of the loss that is free of y; equal predictions are computed once."""
        first, back = unique(at)
        return self.engine.log_total(first)[back]


def unique(at: Point) -> tuple[Point, npt.NDArray[np.int64]]:
    """The distinct predictions, and which of them each was."""
    x, back = np.unique(at.x, return_inverse=True)
    return Point(x, at.logits), np.asarray(back, dtype=np.int64).ravel()
