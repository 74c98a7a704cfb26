"""Student's t on grey levels: masses between levels from its tail, tabulated for the degrees of freedom as they are."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lossproof.torch.decoders.base import Heads
from lossproof.torch.decoders.location import OnLevels
from lossproof.torch.decoders.special import wide

CELLS, FURTHEST = 512, 20.0  # of the table, which is in asinh(z): beyond z = 2e8 the tail is a power of z
MOST_NU = 1e3  # beyond, the law is the normal one within 2e-4, and a cell of the table too steep
NARROW = 4e-3  # standard units, below which a level's mass is its middle's density times its width
_STEP = FURTHEST / CELLS
_KNOTS = np.linspace(0, FURTHEST, CELLS + 1)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_INNER = _KNOTS[:-1, None] + _STEP * (_NODES + 1) / 2
_AT_KNOTS, _AT_INNER = np.sinh(_KNOTS), np.sinh(_INNER)
_CHAIN_KNOTS, _CHAIN_INNER = np.log(np.cosh(_KNOTS)), np.log(np.cosh(_INNER))


class Tails:
    """Q(z) = P(Z > z), z >= 0, of Student's t with nu degrees of freedom: log Q and its derivative in log nu.

    Polynomials in asinh(z) through exact values, slopes and curvatures. Q(0) is 1/2 to the last digit, so that masses
    taken from it sum to 1, whatever the error between knots.

    >>> float(Tails(1.0).log_q(torch.tensor([1.0], dtype=torch.float64))[0].exp())  # Cauchy
    0.25...
    """

    def __init__(self, nu: float) -> None:
        from scipy.special import digamma, gammaln

        self.nu = nu
        self.log_c = float(gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * math.log(math.pi * nu))
        self.by_log_c = float(nu * (digamma((nu + 1) / 2) - digamma(nu / 2)) / 2 - 0.5)
        log_f, change = self._density(_AT_INNER)
        log_f += _CHAIN_INNER
        top = log_f.max(axis=1, keepdims=True)
        parts = _WEIGHTS * np.exp(log_f - top)
        mass = parts.sum(axis=1)
        log_mass, own = top[:, 0] + np.log(mass * _STEP / 2), (parts * change).sum(axis=1) / mass
        # from the far end, where Q is C nu^((nu - 1)/2) z^-nu, inwards
        log_at, change_at = self._density(_AT_KNOTS)
        far = float(log_at[-1]) + FURTHEST - math.log(2 * nu)
        q = np.logaddexp.accumulate(np.append(log_mass, far)[::-1])[::-1]
        by_nu = [float(change_at[-1]) - 1.0]
        for share, mean in zip(np.exp(log_mass - q[:-1])[::-1].tolist(), own[::-1].tolist(), strict=True):
            by_nu.append(share * mean + (1 - share) * by_nu[-1])
        d = np.array(by_nu[::-1])
        # what the sums are off at 0, where Q is 1/2 for every nu, comes off all of them
        q, d = q - (q[0] + math.log(2)), d - d[0]
        hazard = np.exp(log_at + _CHAIN_KNOTS - q) * _STEP
        steep = -(nu + 1) * _AT_KNOTS / (nu + _AT_KNOTS**2) * np.exp(_CHAIN_KNOTS) + np.tanh(_KNOTS)
        columns = (
            quintics(q, -hazard, -hazard * (steep * _STEP + hazard)),
            cubics(d, hazard * (d - change_at)),
        )
        self.columns = torch.from_numpy(np.concatenate(columns))

    def _density(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log f at z and its derivative in log nu."""
        ratio = z * z / self.nu
        bend = np.log1p(ratio)
        pull = ratio / (1 + ratio)
        return self.log_c - (self.nu + 1) / 2 * bend, self.by_log_c - self.nu / 2 * bend + (
            self.nu + 1
        ) / 2 * pull

    def density(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log f at z and its derivative in log nu."""
        ratio = z * z / self.nu
        bend = torch.log1p(ratio)
        pull = ratio / (1 + ratio)
        return self.log_c - (self.nu + 1) / 2 * bend, self.by_log_c - self.nu / 2 * bend + (
            self.nu + 1
        ) / 2 * pull

    def log_q(self, z: Tensor, *, slope: bool = True) -> tuple[Tensor, Tensor]:
        """log Q(z) for z >= 0, and its derivative in log nu (empty without ``slope``)."""
        # asinh(z), which torch does not vectorise
        square = z * z
        place = torch.log1p(z + square / (1 + torch.sqrt(1 + square))).div_(_STEP).view(-1)
        cell = place.clamp(max=CELLS).to(torch.int32)
        u = place.sub_(cell)

        def at(columns: Tensor) -> Tensor:
            total = columns[-1].index_select(0, cell)
            for column in columns[:-1].flip(0):
                total = total.mul_(u).add_(column.index_select(0, cell))
            return total.view_as(z)

        value, by_nu = self.columns.to(z).split((6, 4))
        return at(value), at(by_nu) if slope else z.new_empty(0)


def cubics(values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Coefficients of each cell's cubic, (4, cells + 1); beyond the last knot a straight line.

    >>> cubics(np.array([0.0, 1.0]), np.array([1.0, 1.0])).tolist()
    [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    """
    rise, m0, m1 = np.diff(values), slopes[:-1], slopes[1:]
    bent = np.stack([values[:-1], m0, 3 * rise - 2 * m0 - m1, m0 + m1 - 2 * rise])
    return np.concatenate([bent, [[values[-1]], [slopes[-1]], [0.0], [0.0]]], 1)


def quintics(values: np.ndarray, slopes: np.ndarray, bends: np.ndarray) -> np.ndarray:
    """The same of polynomials that have second derivatives too, (6, cells + 1).

    >>> quintics(np.array([0.0, 1.0]), np.array([0.0, 2.0]), np.array([2.0, 2.0]))[:, 0].tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    rise, m0, m1, k0, k1 = np.diff(values), slopes[:-1], slopes[1:], bends[:-1] / 2, bends[1:] / 2
    bent = np.stack([
        values[:-1], m0, k0, 10 * rise - 6 * m0 - 4 * m1 - 3 * k0 + k1,
        -15 * rise + 8 * m0 + 7 * m1 + 3 * k0 - 2 * k1, 6 * rise - 3 * (m0 + m1) - k0 + k1,
    ])  # fmt: skip
    return np.concatenate([bent, [[values[-1]], [slopes[-1]], *[[0.0]] * 4]], 1)


class DiscretisedStudentT(OnLevels):
    """A Student's t law on grey levels, its degrees of freedom shared by all pixels or given."""

    id = "discretised_student_t"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._tails: Tails | None = None

    def tails(self, heads: Heads) -> Tails:
        """The table for nu as it is now; off the CPU each call waits for nu."""
        nu = min(math.exp(min(float(heads["log_nu"].detach()), 50.0)), MOST_NU)
        if self._tails is None or self._tails.nu != nu:
            self._tails = Tails(nu)
        return self._tails

    def standard(
        self, target: Tensor, m: Tensor, inverse: Tensor, heads: Heads, slopes: bool
    ) -> tuple[Tensor, Tensor, Tensor, Heads]:
        """Nats of the level around y; in float64, as differences of tails lose digits."""
        k, tails = self.level(target), self.tails(heads)
        low, high = k == 0, k == self.n
        a, b, width, log_width = (wide(part) for part in self.edges(k, m, inverse, heads))
        # the mass of (a, b) is that of (-b, -a): the middle is made to lie above 0, or the tail
        turned = torch.where(low | high, low, a + b < 0)
        lower, upper = torch.where(turned, -b, a), torch.where(turned, -a, b)
        log_lower, d_lower = tails.log_q(lower.abs(), slope=slopes)
        log_upper, d_upper = tails.log_q(upper.clamp(min=0), slope=slopes)
        log_upper = torch.where(low | high, -math.inf, log_upper)
        around = lower < 0
        value = torch.where(
            around,
            -torch.log1p(-torch.exp(log_lower) - torch.exp(log_upper)),
            -log_lower - torch.log(-torch.expm1(log_upper - log_lower)),
        )
        middle = (a + b) / 2
        # further out than nu the tail is a power of z, and a level's width counts against z
        narrow = (width < NARROW * (1 + middle.abs() / (1 + tails.nu))) & ~(low | high)
        log_f, d_middle = tails.density(middle)
        square = middle * middle
        pull = (tails.nu + 1) / (tails.nu + square)
        bend = pull * (pull * square - (tails.nu - square) / (tails.nu + square))  # of f''/f
        value = torch.where(narrow, -log_f - log_width - width * width * bend / 24, value)
        if not slopes:
            return value.to(target.dtype), value, value, {}
        end = low | high
        at_lower = torch.exp(tails.density(lower)[0] + value)
        at_upper = torch.where(end, 0.0, torch.exp(tails.density(upper)[0] + value))
        shift = torch.where(turned, at_lower - at_upper, at_upper - at_lower)
        spread = torch.where(end, 0.0, upper * at_upper) - lower * at_lower
        q_lower, q_upper = torch.exp(log_lower + value), torch.exp(log_upper + value)
        by_nu = torch.where(around, q_lower, -q_lower) * d_lower + torch.where(end, 0.0, q_upper * d_upper)
        free = heads["log_nu"] < math.log(MOST_NU)
        found = (
            value,
            torch.where(narrow, -middle * pull, shift),
            torch.where(narrow, 1 - square * pull, spread),
            torch.where(narrow, -d_middle, by_nu) * free,
        )
        value, shift, spread, by_nu = (part.to(target.dtype) for part in found)
        return value, shift, spread, {"log_nu": by_nu}

    def standard_cdf(self, z: Tensor, heads: Heads) -> Tensor:
        """1 - Q(z), or Q(-z)."""
        q = self.tails(heads).log_q(wide(z).abs(), slope=False)[0].exp()
        return torch.where(z > 0, 1 - q, q).to(z.dtype)

    def spread_mean(self, u: Tensor, d: Tensor, heads: Heads) -> Tensor:
        """The integral of F is x F(x) less that of x f(x); over a short way its middle value."""
        asked, u, d = u.dtype, wide(u), wide(d)
        tails = self.tails(heads)

        def integral(x: Tensor) -> Tensor:
            if abs(tails.nu - 1) < 1e-6:  # Cauchy
                rest = torch.log1p(x * x) / (-2 * math.pi)
            else:
                rest = (tails.nu + x * x) * torch.exp(tails.density(x)[0]) / (tails.nu - 1)
            return x * self.standard_cdf(x, heads) + rest

        short = d < 0.01
        middle = u - d / 2
        log_f, _ = tails.density(middle)
        bend = -(tails.nu + 1) * middle / (tails.nu + middle * middle) * torch.exp(log_f)
        near = self.standard_cdf(middle, heads) + d * d / 24 * bend
        return torch.where(short, near, (integral(u) - integral(u - d)) / torch.where(short, 1.0, d)).to(
            asked
        )


__all__ = ["DiscretisedStudentT", "Tails"]
