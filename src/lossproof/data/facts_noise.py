"""How noisy the images are, told from the images alone: pixel noise, single pixels that stand out, and its tails."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: how far an impulse stands above or below all its neighbours, as a share of the range of all but the outer hundredths
IMPULSE = 0.25
#: of eight neighbours at an end of the range (noise leaves half there): from how many on a pixel is there but for noise,
#: and from how many on it is taken for one that is
DEEP, SURROUNDED = 5, 2
FEW = 100  # values from which nothing is estimated
MEAN = 1.183  # of a half-normal law, in medians
TAILS = 3.6  # its last tenth in medians, at most: 2.4 of a half-normal law, 3.3 of an exponential
HALVED = 0.2  # how far from a half the share of values at an end may lie there, for noise that is cut off
OUTLYING = 6.0  # standard deviations, by the median, beyond which a residual counts as an outlier
_HALF = 0.6744897501960817  # the normal law's third quartile


@dataclass(frozen=True, slots=True)
class Noise:
    """Noise of the scaled images.

    ``sigma``: standard deviation of the pixel noise, from the median of a second difference that smooth image content
    does not reach (0 where more than half of the images is flat; too high where structure is as fine as a pixel).
    ``impulses``: share of pixels that stand out from all their neighbours by a quarter of the range (NaN for images
    below 3 x 3). ``looked_at``: images.
    """

    sigma: float
    impulses: float
    looked_at: int

    @property
    def impulsive(self) -> bool:
        """Whether single pixels stand out: salt and pepper, dead or hot pixels, heavy tails."""
        return bool(self.impulses > 0.003)


def noise_of(images: Floats) -> Noise:
    """Measure scaled images (n, c, h, w).

    The mask is Immerkaer's (Fast noise variance estimation, CVIU 64, 1996, DOI 10.1006/cviu.1996.0060), with the median
    in place of the mean (Donoho and Johnstone, Biometrika 81, 1994): edges then count little.

    >>> rng = np.random.default_rng(0)
    >>> found = noise_of(0.5 + 0.05 * rng.standard_normal((20, 1, 32, 32)))
    >>> round(found.sigma, 3), found.impulsive
    (0.05, False)
    """
    n, _, h, w = images.shape
    if h < 3 or w < 3:
        return Noise(0.0, float("nan"), n)
    mask = np.array([1.0, -2.0, 1.0])
    rows = sum(mask[k] * images[:, :, k : h - 2 + k] for k in range(3))
    both = sum(mask[k] * rows[..., k : w - 2 + k] for k in range(3))
    sigma = float(np.median(np.abs(both))) / _HALF / 6
    centre = images[:, :, 1:-1, 1:-1]
    lowest, highest = _around(images)
    low, high = np.quantile(images, (0.01, 0.99))
    # in images of little contrast Gaussian noise itself stands out by a quarter of the range
    reach = max(IMPULSE * (float(high - low) or 1.0), 3 * sigma)
    stands = (centre > highest + reach) | (centre < lowest - reach)
    return Noise(sigma, float(stands.mean()), n)


def impulse_rates(images: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Shares of pixels (n, c, h, w) in [0, 1] that are black and white by chance: salt-and-pepper noise.

    Each is the share of black (white) pixels among those whose eight neighbours are all lighter (darker) by ``IMPULSE``:
    counted only where one would be seen. What no place shows counts as 0.

    >>> rng = np.random.default_rng(0)
    >>> u = rng.random((40, 1, 32, 32))
    >>> salted = np.where(u < 0.02, 0.0, np.where(u > 0.9, 1.0, 0.4))
    >>> [round(share, 2) for share in impulse_rates(salted)]
    [0.02, 0.1]
    """
    if min(images.shape[2:]) < 3:
        return 0.0, 0.0
    centre, (lowest, highest) = images[:, :, 1:-1, 1:-1], _around(images)
    bright, dark = lowest >= IMPULSE, highest <= 1 - IMPULSE
    black, white = (
        float(shown[asked].mean()) if asked.any() else 0.0
        for shown, asked in ((centre <= 0, bright), (centre >= 1, dark))
    )
    return black, white


def cut_off(images: npt.NDArray[np.floating]) -> Floats:
    """Images (n, c, h, w) in [0, 1] with what noise lost where it was cut off at black and white put back in the mean.

    Noise around black leaves about half of its values at 0; those stand for as much below as the others show above. How
    much that is, is measured where five of eight neighbours are at 0; values at 0 that have two such neighbours are set to
    minus that. Likewise at white. Nothing changes where values at the ends are fewer or more than noise would leave.

    >>> rng = np.random.default_rng(0)
    >>> noisy = np.clip(0.1 * rng.standard_normal((40, 1, 32, 32)), 0, 1)
    >>> restored = cut_off(noisy)
    >>> round(float(noisy.mean()), 3), abs(float(restored.mean())) < 0.01, round(float(restored.min()), 2)
    (0.04, True, -0.08)
    >>> float(restored.max()) == float(noisy.max())
    True
    """
    out = images.astype(np.float64)
    if min(images.shape[2:]) < 3:
        return out
    for way, depth in ((-1, images), (1, 1.0 - images)):  # how far from the end
        at_end = depth <= 0
        # beyond the border lies what lies before it
        beyond = np.pad(at_end, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
        near = np.sum(_neighbours_of(beyond), axis=0, dtype=np.int8)
        inner = depth[near >= DEEP]
        share = float((inner <= 0).mean()) if inner.size >= FEW else 0.0
        if abs(share - 0.5) > HALVED:
            continue
        middle, far = np.quantile(inner[inner > 0], (0.5, 0.9))
        if middle < IMPULSE / 2 and far < TAILS * middle:  # else it is what the pictures show
            out[at_end & (near >= SURROUNDED)] += way * float(middle) * MEAN * (1 - share) / share
    return out


def _around(images: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """The least and the largest of the eight neighbours of each inner pixel."""
    around = _neighbours_of(images)
    return np.minimum.reduce(around), np.maximum.reduce(around)


def _neighbours_of(images: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    h, w = images.shape[2:]
    return [
        images[:, :, i : h - 2 + i, j : w - 2 + j] for i in range(3) for j in range(3) if (i, j) != (1, 1)
    ]


@dataclass(frozen=True, slots=True)
class Reference:
    """A linear model of the images and what it leaves of held-out ones: a stand-in for a trained autoencoder.

    ``targets``, ``predictions``: (n, pixels), scaled, of images the model was not fitted to. ``rank``: its code's width.
    ``scale``: the residuals' standard deviation by their median. ``outliers``: share of residuals beyond six of it.
    ``kurtosis``: the residuals' excess kurtosis (0 for a normal law). ``neighbours``: correlation of the residuals of
    neighbouring pixels (near 0 for noise, above where image content is left; NaN without neighbours). ``robust``:
    outlying values were left out of it.
    """

    targets: Floats
    predictions: Floats
    rank: int
    scale: float
    outliers: float
    kurtosis: float
    neighbours: float
    robust: bool


def linear_reference(
    flat: Floats, shape: tuple[int, int, int], *, robust: bool, most: int = 64, seed: int = 0
) -> Reference:
    """Fit principal components to half of the images (n, pixels) and predict the other half.

    The rank is the number of singular values above Gavish and Donoho's threshold for an unknown noise level (arXiv
    1305.5870), at most ``most``, a quarter of the pixels and a quarter of the images. ``robust``: values beyond three
    standard deviations are put back onto the model and it is fitted again, three times.
    """
    n = len(flat)
    order = np.random.default_rng(seed).permutation(n)
    half = max(1, n // 2)
    fitted, held = flat[np.sort(order[:half])], flat[np.sort(order[half:])]
    if not len(held):
        held = fitted
    if robust:  # what no model would explain is not to choose the components either
        middle = np.median(fitted, axis=0)
        reach = 4 * np.median(np.abs(fitted - middle), axis=0) / _HALF
        cleaned, asked = (np.clip(x, middle - reach, middle + reach) for x in (fitted, held))
    else:
        cleaned, asked = fitted, held
    mean, basis, rank = _components(cleaned, most)
    predictions = _project(asked, mean, basis)
    for _ in range(3 if robust else 0):
        cleaned = _put_back(fitted, _project(cleaned, mean, basis))
        mean, basis, rank = _components(cleaned, rank)
        predictions = _project(_put_back(held, predictions), mean, basis)
    residual = held - predictions
    scale = float(np.median(np.abs(residual))) / _HALF
    spread = float(residual.std())
    centred = residual - residual.mean()
    kurtosis = float((centred**4).mean() / spread**4 - 3) if spread > 1e-9 else 0.0
    outliers = float((np.abs(residual) > OUTLYING * scale).mean()) if scale > 1e-9 else 0.0
    beside = (
        _neighbours(np.clip(residual, -3 * scale, 3 * scale).reshape(-1, *shape)) if scale > 1e-9 else np.nan
    )
    return Reference(held, predictions, rank, scale, outliers, kurtosis, beside, robust)


def _neighbours(residual: Floats) -> float:
    """Correlation of a pixel's residual with those of its right and its lower neighbour."""
    square = float((residual**2).mean())
    products = [
        float((residual[..., 1:, :] * residual[..., :-1, :]).mean()) if residual.shape[2] > 1 else np.nan,
        float((residual[..., 1:] * residual[..., :-1]).mean()) if residual.shape[3] > 1 else np.nan,
    ]
    known = [p for p in products if np.isfinite(p)]
    return sum(known) / len(known) / square if known and square > 0 else float("nan")


def _components(x: Floats, most: int) -> tuple[Floats, Floats, int]:
    mean = x.mean(axis=0)
    n, pixels = x.shape
    # the smaller of the two Gram matrices has the same singular values
    if n <= pixels:
        values, vectors = np.linalg.eigh((x - mean) @ (x - mean).T)
        singular = np.sqrt(np.maximum(values[::-1], 0.0))
        left = vectors[:, ::-1]
        basis = (x - mean).T @ left / np.maximum(singular, 1e-12)
    else:
        values, basis = np.linalg.eigh((x - mean).T @ (x - mean))
        singular, basis = np.sqrt(np.maximum(values[::-1], 0.0)), basis[:, ::-1]
    shape = min(n, pixels) / max(n, pixels)
    omega = 0.56 * shape**3 - 0.95 * shape**2 + 1.82 * shape + 1.43
    above = int((singular > omega * np.median(singular) + 1e-9 * singular[0]).sum())
    rank = min(above, most, max(1, pixels // 4), max(1, n // 4), singular.size)
    rank = max(rank, 1) if singular[0] > 1e-12 else 0
    return mean, basis[:, :rank], rank


def _project(x: Floats, mean: Floats, basis: Floats) -> Floats:
    return mean + (x - mean) @ basis @ basis.T


def _put_back(x: Floats, predictions: Floats) -> Floats:
    residual = x - predictions
    scale = float(np.median(np.abs(residual))) / _HALF
    return np.where(np.abs(residual) > 3 * scale, predictions, x)
