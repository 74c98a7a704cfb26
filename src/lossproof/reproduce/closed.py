"""What data alone says of a model: closed forms that no training enters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lossproof.formula.errors import LossproofError

Floats = npt.NDArray[np.float64]

BLOCK = 4096  # images taken to float64 at a time
SEARCH = 60  # bisections: the last bit of an argument below 64
KNOTS = 1 << 15


@dataclass(frozen=True)
class Spectrum:
    """Mean (d,), eigenvalues (d,), largest first, and eigenvectors (columns) of the images' covariance (divisor n)."""

    mean: Floats
    values: Floats
    vectors: Floats


def spectrum(images: npt.NDArray[np.float32]) -> Spectrum:
    """Principal components of images (n, ...), in float64.

    >>> made = spectrum(np.array([[0, 0], [2, 0], [0, 0], [2, 0]], dtype=np.float32))
    >>> made.mean.tolist(), made.values.tolist()
    ([1.0, 0.0], [1.0, 0.0])
    """
    flat = images.reshape(len(images), -1)
    mean = flat.mean(0, dtype=np.float64)
    covariance = np.zeros((flat.shape[1], flat.shape[1]))
    for start in range(0, len(flat), BLOCK):
        centred = flat[start : start + BLOCK] - mean
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / len(flat))
    return Spectrum(mean, np.maximum(values[::-1], 0.0), vectors[:, ::-1])


@dataclass(frozen=True)
class LinearLaw:
    """N(mean, W W' + variance I): the law of a linear VAE's decoder, by the eigenvalues of its covariance."""

    spectrum: Spectrum
    values: Floats  # the eigenvalues along the first k components
    variance: float  # along all others

    def log_likelihood(self, images: npt.NDArray[np.float32]) -> float:
        """Mean log-density of images (n, ...), nats per image."""
        basis = self.spectrum.vectors[:, : len(self.values)]
        total = 0.0
        for start in range(0, len(images), BLOCK):
            part = images[start : start + BLOCK].reshape(-1, len(self.spectrum.mean)) - self.spectrum.mean
            codes = part @ basis
            inside = np.square(codes)
            outside = np.square(part).sum(1) - inside.sum(1)
            total += float((inside / self.values).sum() + outside.sum() / self.variance)
        d, k = len(self.spectrum.mean), len(self.values)
        log_det = float(np.log(self.values).sum()) + (d - k) * math.log(self.variance)
        return -0.5 * (d * math.log(2 * math.pi) + log_det + total / len(images))


def linear_optimum(found: Spectrum, latent: int, variance: float | None = None) -> LinearLaw:
    """The best linear VAE with `latent` codes there is: probabilistic PCA, with the decoder's variance learned or given.

    Learned, it is the mean of the eigenvalues left over (Tipping and Bishop 1999, DOI 10.1111/1467-9868.00196; that
    the ELBO of a linear VAE adds no other maximum: Lucas et al., arXiv 1911.02469). Given, only eigenvalues above it
    are in use. Raises `LossproofError` for more codes than components that vary.

    >>> made = spectrum(np.array([[3, 0], [-3, 0], [0, 1], [0, -1]], dtype=np.float32))
    >>> linear_optimum(made, 1).variance, linear_optimum(made, 1, 9.0).values.tolist()
    (0.5, [])
    """
    rest = found.values[latent:]
    if variance is None:
        if not len(rest) or not rest.sum() > 0:
            raise LossproofError(
                f"linear_optimum: expected fewer codes than components that vary, got {latent} codes and "
                f"{int((found.values > 0).sum())} components: the likelihood has no upper bound."
            )
        return LinearLaw(found, found.values[:latent], float(rest.mean()))
    kept = found.values[:latent]
    return LinearLaw(found, kept[kept > variance], variance)


def projection_error(found: Spectrum, images: npt.NDArray[np.float32], components: int) -> float:
    """Squared error of images (n, ...) projected onto the first components: summed over an image, mean over images.

    >>> made = spectrum(np.array([[3, 0], [-3, 0], [0, 1], [0, -1]], dtype=np.float32))
    >>> projection_error(made, np.array([[1, 2]], dtype=np.float32), 1)
    4.0
    """
    basis, total = found.vectors[:, :components], 0.0
    for start in range(0, len(images), BLOCK):
        part = images[start : start + BLOCK].reshape(-1, len(found.mean)) - found.mean
        total += float(np.square(part).sum() - np.square(part @ basis).sum())
    return total / len(images)


def continuous_bernoulli_mean(eta: Floats) -> Floats:
    """Mean of the continuous Bernoulli with natural parameter eta: 1/(1 - exp(-eta)) - 1/eta.

    Loaiza-Ganem and Cunningham, arXiv 1907.06845, with eta = logit(lambda).
    """
    near = np.abs(eta) < 1e-3
    safe = np.where(near, 1.0, eta)
    with np.errstate(over="ignore"):  # exp of a large number is inf, and its quotient the right 0
        mean: Floats = np.where(near, 0.5 + eta / 12 - eta**3 / 720, -1 / np.expm1(-safe) - 1 / safe)
    return mean


def continuous_bernoulli_log_density(eta: Floats, x: Floats) -> Floats:
    """log p(x) = eta x - A(eta) of the continuous Bernoulli, A(eta) = log((exp(eta) - 1)/eta), with no branch at 1/2."""
    size = np.abs(eta)
    # A(eta) = max(eta, 0) + log((1 - exp(-|eta|))/|eta|)
    safe = np.where(size < 1e-8, 1.0, size)
    log_ratio = np.where(size < 1e-8, -0.5 * size, np.log(-np.expm1(-safe) / safe))
    density: Floats = eta * x - np.maximum(eta, 0.0) - log_ratio
    return density


def clip_ceiling(images: npt.NDArray[np.float32], clip: float) -> float:
    """The largest mean log-density, nats per image, that any decoder reaches with lambda clipped to [clip, 1 - clip].

    Images (n, ...) in [0, 1], each pixel given its own best lambda and no code paid for. The log-density is concave in
    eta, so the best one is where the mean is the pixel's value, or the clip if that lies beyond. Interpolated between
    2^15 values of x, to 1e-7 nats a pixel. Raises `LossproofError` for a clip outside (0, 1/2).

    >>> round(clip_ceiling(np.full((1, 1), 0.5, dtype=np.float32), 1e-4), 6)  # uniform: log-density 0
    0.0
    """
    if not 0 < clip < 0.5:
        raise LossproofError(f"clip_ceiling: expected a clip in (0, 0.5), got {clip}.")
    knots = np.linspace(0.0, 1.0, KNOTS + 1)
    far = math.log1p(-clip) - math.log(clip)
    low, high = np.full_like(knots, -far), np.full_like(knots, far)
    for _ in range(SEARCH):
        middle = 0.5 * (low + high)
        short = continuous_bernoulli_mean(middle) < knots
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    best = continuous_bernoulli_log_density(0.5 * (low + high), knots)
    total = sum(
        float(np.interp(images[start : start + BLOCK], knots, best).sum())
        for start in range(0, len(images), BLOCK)
    )
    return total / len(images)
