"""The covariance's eigenvalues from one pass: exact for small images, by a random sketch for large ones."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
EXACT = 1024  # values of an image up to which the whole covariance is kept
SKETCH = 64  # columns of the sketch, fewer where images are very large
_BUDGET = 1 << 23  # values of the sketch


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Leading eigenvalues of the images' covariance, in the units of the scaled values squared, descending.

    ``total`` is the trace (sum of all variances); ``exact`` is False for a sketch, whose values are lower bounds that
    are close for the leading ones.
    """

    values: Floats
    total: float
    exact: bool

    def above(self, variance: float) -> int:
        """How many of the known directions vary more than this: what a linear VAE of that noise keeps (arXiv 1911.02469)."""
        return int((self.values > variance).sum())


class SpectrumPass:
    """Second moments of flattened images, or their products with random vectors.

    The sketch is Tropp, Yurtsever, Udell and Cevher's fixed-rank Nystroem approximation (arXiv 1706.05736): it needs
    C Omega alone, which a single pass gives.
    """

    def __init__(self, pixels: int, seed: int = 0) -> None:
        self.pixels = pixels
        self.exact = pixels <= EXACT
        width = min(SKETCH, max(16, _BUDGET // pixels))
        rng = np.random.default_rng(seed)
        self.omega = np.linalg.qr(rng.standard_normal((pixels, width)))[0] if not self.exact else None
        self.second: Floats = np.zeros((pixels, pixels if self.omega is None else width))
        self.squares: Floats = np.zeros(pixels)
        self.sums: Floats = np.zeros(pixels)
        self.count = 0
        self.shift: Floats | None = None

    def feed(self, flat: Floats) -> None:
        """Take images (n, pixels), finite."""
        if self.shift is None:
            self.shift = flat.mean(axis=0)  # near the mean: sums of squares then keep their digits
        x = flat - self.shift
        self.second += x.T @ (x if self.omega is None else x @ self.omega)
        self.squares += (x**2).sum(axis=0)
        self.sums += x.sum(axis=0)
        self.count += len(x)

    def variances(self) -> Floats:
        """Each pixel's variance."""
        mean = self.sums / self.count
        return np.maximum(self.squares / self.count - mean**2, 0.0)

    def mean(self) -> Floats:
        """The mean image."""
        return self.sums / self.count + (0.0 if self.shift is None else self.shift)

    def result(self, scale: Floats) -> Spectrum:
        """The spectrum after each pixel is multiplied by ``scale`` (pixels,)."""
        mean = self.sums / self.count
        total = float((self.variances() * scale**2).sum())
        if self.omega is None:
            covariance = (self.second / self.count - np.outer(mean, mean)) * np.outer(scale, scale)
            values = np.linalg.eigvalsh(covariance)[::-1]
            return Spectrum(np.maximum(values, 0.0), total, exact=True)
        y = self.second / self.count - np.outer(mean, mean @ self.omega)
        # Nystroem with a small shift for stability (the paper's algorithm 3)
        nu = np.finfo(np.float64).eps * float(np.linalg.norm(y)) * np.sqrt(self.pixels)
        y = y + nu * self.omega
        core = self.omega.T @ y
        factor = np.linalg.cholesky((core + core.T) / 2 + 1e-14 * np.trace(core) * np.eye(len(core)))
        half = np.linalg.solve(factor, y.T).T * scale[:, None]
        values = np.linalg.svd(half, compute_uv=False) ** 2 - nu
        return Spectrum(np.maximum(values, 0.0), total, exact=False)
