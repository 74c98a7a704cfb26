"""Logarithms of integrals that have a closed form: exponential and Gaussian pieces, log-cosh and its kin."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError

Array = npt.NDArray[np.float64]


def special() -> Any:
    """``scipy.special``, which comes with the extra "torch"."""
    try:
        from scipy import special as module
    except ModuleNotFoundError as error:  # pragma: no cover - needs an environment without scipy
        raise LossproofError(
            'likelihood: expected scipy, which is not installed. Run: pip install "lossproof[torch]"'
        ) from error
    return module


def log_exprel(x: npt.ArrayLike) -> Array:
    """log((exp(x) - 1)/x), 0 at 0, without overflow: log of the integral of exp(x y) over y in [0, 1].

    >>> log_exprel([0.0, -1e4, 1e4]).round(4).tolist()
    [0.0, -9.2103, 9990.7897]
    """
    x = np.asarray(x, dtype=np.float64)
    a = np.where(x == 0, 1.0, np.abs(x))
    with np.errstate(all="ignore"):
        inner = np.log(-np.expm1(-a) / a)
    return np.where(x == 0, 0.0, np.maximum(x, 0) + inner)


def mean_exp(x: npt.ArrayLike) -> Array:
    """1/(1 - exp(-x)) - 1/x, 1/2 at 0: the derivative of ``log_exprel``.

    >>> mean_exp([0.0, 1e-3, -50.0]).round(6).tolist()
    [0.5, 0.500083, 0.02]
    """
    x = np.asarray(x, dtype=np.float64)
    near = np.abs(x) < 0.5
    s = np.where(near, x, 0.0) ** 2
    # Taylor series of coth(x/2)/2 - 1/x: Bernoulli numbers over factorials
    series = x * (
        1 / 12 - s * (1 / 720 - s * (1 / 30240 - s * (1 / 1209600 - s * (1 / 47900160 - s * 5.284e-10))))
    )
    with np.errstate(all="ignore"):
        b = np.where(near, 1.0, x)
        far = -1 / np.expm1(-b) - 1 / b
    return np.where(near, 0.5 + series, far)


def spread_exp(x: npt.ArrayLike) -> Array:
    """1/x^2 - 1/(4 sinh^2(x/2)), 1/12 at 0: the derivative of ``mean_exp``, the variance of that law.

    >>> spread_exp([0.0, 0.3, -50.0]).round(6).tolist()
    [0.083333, 0.08296, 0.0004]
    """
    x = np.abs(np.asarray(x, dtype=np.float64))
    near = x < 0.5
    s = np.where(near, x, 0.0) ** 2
    # Taylor series, the derivative of that of mean_exp
    series = 1 / 12 - s * (
        3 / 720 - s * (5 / 30240 - s * (7 / 1209600 - s * (9 / 47900160 - s * 11 * 5.284e-10)))
    )
    with np.errstate(all="ignore"):
        b = np.where(near, 1.0, x)
        far = 1 / b**2 - np.exp(-b) / np.expm1(-b) ** 2
    return np.where(near, series, far)


def log_exponential(b: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> Array:
    """log of the integral of exp(-b y) over [low, high]; an infinite end needs the sign of b that makes it finite.

    +inf where the integral diverges.

    >>> float(log_exponential(2.0, 0.0, np.inf).round(6))
    -0.693147
    """
    b, low, high = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (b, low, high)))
    with np.errstate(all="ignore"):
        finite = -b * low + np.log(high - low) + log_exprel(-b * (high - low))
        right = np.where(b > 0, -b * low - np.log(np.abs(b)), np.inf)
        left = np.where(b < 0, -b * high - np.log(np.abs(b)), np.inf)
    result = np.where(np.isposinf(high), right, np.where(np.isneginf(low), left, finite))
    result = np.where(np.isposinf(high) & np.isneginf(low), np.inf, result)
    return np.where(high <= low, -np.inf, result)


def log_gaussian(a: npt.ArrayLike, b: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> Array:
    """log of the integral of exp(-a y^2 - b y) over [low, high], for a > 0; the ends may be infinite.

    >>> float(log_gaussian(0.5, 0.0, -np.inf, np.inf).round(6))  # log(sqrt(2 pi))
    0.918939
    """
    log_ndtr = special().log_ndtr
    a, b, low, high = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (a, b, low, high)))
    spread = 1 / np.sqrt(2 * a)
    centre = -b / (2 * a)
    with np.errstate(all="ignore"):
        u, v = (low - centre) / spread, (high - centre) / spread
        u, v = np.where(u > 0, -v, u), np.where(u > 0, -u, v)  # to the left tail, where digits are
        tails = log_ndtr(v) + np.log1p(-np.exp(np.minimum(log_ndtr(u) - log_ndtr(v), 0.0)))
        # a narrow slice of the bell: differences of its tails would cancel
        width, middle = v - u, (u + v) / 2
        narrow = width * (1 + np.abs(middle)) < 1e-2
        w2, m2 = np.where(narrow, width, 0.0) ** 2, np.where(narrow, middle, 0.0) ** 2
        bend = 1 + (m2 - 1) * w2 / 24 + (m2 * m2 - 6 * m2 + 3) * w2 * w2 / 1920
        slice_ = -m2 / 2 - 0.5 * math.log(2 * math.pi) + np.log(width) + np.log(bend)
        mass = np.where(narrow, slice_, tails)
        result = b * b / (4 * a) + 0.5 * np.log(2 * math.pi) + np.log(spread) + mass
    return np.where(high <= low, -np.inf, result)


def log_line(kind: str, numbers: tuple[float, ...], temperature: float) -> float | None:
    """log Z on the real line of a log cosh(b r) + c, a sqrt(b + r^2) + c or a log(b + r^2) + c; None if it diverges.

    The first: (1/b) B(1/2, a/(2T)); the second: 2 sqrt(b) K_1(a sqrt(b)/T); the third, a Student t:
    b^(1/2 - a/T) B(1/2, a/T - 1/2), for T < 2a.
    """
    sp = special()
    a, b, c = numbers
    nu = a / temperature
    if kind == "log-cosh":
        return float(sp.betaln(0.5, nu / 2) - math.log(b) - c / temperature)
    if kind == "hyperbola":
        root = math.sqrt(b)
        x = nu * root
        # kve is K_1 without its exponential decay; SciPy has none far out, where its asymptotic series serves
        known = (
            math.log(sp.kve(1, x)) if x < 1e6 else 0.5 * math.log(math.pi / (2 * x)) + math.log1p(3 / (8 * x))
        )
        return float(math.log(2 * root) + known - x - c / temperature)
    if nu <= 0.5:
        return None
    return float((0.5 - nu) * math.log(b) + sp.betaln(0.5, nu - 0.5) - c / temperature)


_DIGITS = 1e-6  # of the larger tail, below which the difference of two has too few left


def log_slice(
    kind: str, numbers: tuple[float, ...], temperature: float, low: npt.ArrayLike, high: npt.ArrayLike
) -> Array:
    """log of the integral over low < r < high of exp(-loss/T), for a log cosh(b r) + c and a log(b + r^2) + c.

    Truncated log-cosh: (1/b) B(1/2, nu/2) times a difference of I_s(nu/2, nu/2), the regularised incomplete beta
    function (DLMF 8.17), s = sigmoid(2 b r), nu = a/T. Truncated Student t: differences of its distribution function.
    NaN where too few digits are left of such a difference, and where T is not below 2 a.

    >>> log_slice("log-cosh", (1.0, 1.0, 0.0), 0.5, -0.5, [0.5, np.inf]).round(6)  # sech^2: log(2 tanh(0.5)), ...
    array([-0.07879 ,  0.379885])
    """
    sp = special()
    a, b, _ = numbers
    nu = a / temperature
    low, high = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (low, high)))
    whole = log_line(kind, numbers, temperature)
    if whole is None:
        return np.full(low.shape, np.nan)
    low, high = (
        np.where(low > 0, -high, low),
        np.where(low > 0, -low, high),
    )  # to the left tail, where digits are

    def share(r: Array) -> Array:
        if kind == "log-cosh":
            tail = sp.betainc(nu / 2, nu / 2, sp.expit(-2 * b * np.abs(r)))  # where s is small, not next to 1
            return np.where(r > 0, 1 - tail, tail)
        freedom = 2 * nu - 1
        return np.asarray(sp.stdtr(freedom, r * math.sqrt(freedom / b)))

    below, upto = share(low), share(high)
    with np.errstate(all="ignore"):
        found = whole + np.log(upto) + np.log1p(-below / upto)
    found = np.where(upto - below > _DIGITS * upto, found, np.nan)
    return np.where(high <= low, -np.inf, found)
