"""Functions that decoders need and torch has not, or not without cancellation: with their derivatives."""

import math

import torch
from torch import Tensor

#: log(sqrt(2 pi)), sqrt(2/pi)
HALF_LOG_2PI, ROOT_2_PI = 0.5 * math.log(2 * math.pi), math.sqrt(2 / math.pi)
#: below this width in standard deviations, an interval's normal mass is that of a tilted rectangle; see normal_mass
_NARROW = 0.05


def log1mexp(d: Tensor, log_d: Tensor) -> Tensor:
    """log(1 - exp(-d)) for d > 0, from d and its logarithm, which outlives the underflow of d.

    >>> log1mexp(torch.tensor([0.0, 1.0]), torch.tensor([-1000.0, 0.0]))
    tensor([-1.0000e+03, -4.5868e-01])
    """
    near = d < 1e-3
    far = torch.log(-torch.expm1(-torch.where(near, 1.0, d)))
    return torch.where(near, log_d - d / 2 + d * d / 24, far)


def _rest(t: Tensor) -> Tensor:
    """What Stirling's formula leaves of log Gamma(t), t >= 8: below 1e-12 after these terms."""
    u = 1 / (t * t)
    return (
        1 / 12 - u * (1 / 360 - u * (1 / 1260 - u * (1 / 1680 - u * (1 / 1188 - u * (691 / 360360)))))
    ) / t


def _rest_slope(t: Tensor) -> Tensor:
    """Minus the derivative of _rest."""
    u = 1 / (t * t)
    return u * (1 / 12 - u * (1 / 120 - u * (1 / 252 - u * (1 / 240 - u * (1 / 132 - u * (691 / 32760))))))


def log_rising(x: Tensor, log_x: Tensor, k: Tensor, *, slope: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """log Gamma(x + k) - log Gamma(x) without cancellation, x > 0 and k >= 0, in three parts (a, b, c).

    The value is a + k log(b): callers join the logarithms of several such values before these lose their digits.
    ``b`` is x + k + 8; ``c`` is the derivative of the value in log x (empty without ``slope``). ``x`` may
    have underflowed to 0 where ``log_x`` has not. Stirling's formula eight steps up, DLMF 5.11.1 and 5.5.1.

    >>> a, b, c = log_rising(torch.tensor([1e12]), torch.tensor([27.631]), torch.tensor([3.0]))
    >>> round((a + 3 * torch.log(b)).item() / 3, 3), round(c.item(), 3)
    (27.631, 3.0)
    """
    y = x + k
    t, up = x + 8, y + 8
    some = k > 0
    # the eight factors x + j of Gamma(x + 8)/Gamma(x): that of j = 0 in logarithms, j and 7 - j in pairs
    qx, qy = x * (x + 7), y * (y + 7)
    pairs = [(qx + c, qy + c) for c in (6, 10, 12)]
    ratio = (x + 7) / (y + 7)
    for below, above in pairs:
        ratio = ratio * (below / above)
    first = torch.where(some, log_x - torch.log(torch.where(some, y, 1.0)), 0.0)
    step = torch.log1p(k / t)
    a = first + torch.log(ratio) + (t - 0.5) * step - k + _rest(up) - _rest(t)
    if not slope:
        return a, up, a.new_empty(0)
    reciprocal = k / ((x + 7) * (y + 7))
    for below, above in pairs:
        reciprocal = reciprocal + ((2 * x + 7) / below - (2 * y + 7) / above)
    digamma = step + k / (2 * t * up) + _rest_slope(t) - _rest_slope(up)
    c = torch.where(some, k / torch.where(some, y, 1.0), 0.0) + x * (reciprocal + digamma)
    return a, up, c


def normal_mass(
    middle: Tensor, width: Tensor, log_width: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """log of a standard normal's mass between middle -+ width/2, with its derivatives.

    Where ``low`` is true the interval goes down to -inf, where ``high`` is true up to inf. Returns the log-mass, its
    derivative in a shift of the mean, and that in the log of the standard deviation (both ends move by -1 and by
    -end). Digits are kept in the tails (through erfcx) and for narrow intervals (a rectangle under exp(-middle t),
    with the mean of t^2 as its correction: error below width^4).

    >>> no = torch.tensor(False)
    >>> width = torch.tensor(2.0)
    >>> normal_mass(torch.tensor(0.0), width, width.log(), no, no)[0].exp()  # one standard deviation about the mean
    tensor(0.6827)
    """
    turned = torch.where(low | high, high, middle > 0)  # the mass of (a, b) is that of (-b, -a)
    m = torch.where(turned, -middle, middle)
    tail = low | high
    b = m + width / 2
    a = torch.where(tail, 0.0, m - width / 2)
    root = math.sqrt(0.5)
    below = b <= 0
    # both ends in the lower tail: erfcx has what is left after exp(-b^2/2)
    scaled_b = torch.special.erfcx(torch.where(below, -root * b, 0.0))
    gap = torch.where(tail, 0.0, torch.exp((width * m).clamp(max=0)))
    q = scaled_b - gap * torch.special.erfcx(torch.where(tail | ~below, 0.0, -root * a))
    q = torch.where(below & (q > 0), q, 1.0)
    # the mean inside
    reach = torch.where(tail, -1.0, torch.erf(root * a))
    p = torch.where(below, 1.0, (torch.erf(root * b) - reach) / 2)
    at_b = torch.where(below, ROOT_2_PI / q, _density(b) / p)
    at_a = torch.where(tail, 0.0, torch.where(below, gap * ROOT_2_PI / q, _density(a) / p))
    value = torch.where(below, torch.log(q / 2) - b * b / 2, torch.log(p))
    shift = at_a - at_b
    spread = a * at_a - b * at_b

    narrow = (width < _NARROW) & ~tail
    u = width * m  # never positive there
    h, c2, log_sinhc = _tilted(u)
    half = width * width * c2 / 2
    factor = torch.exp(half - width * width / 8)
    value = torch.where(narrow, -m * m / 2 - HALF_LOG_2PI + log_width + log_sinhc - half, value)
    shift = torch.where(narrow, m * factor, shift)
    spread = torch.where(narrow, factor * (m * m - h), spread)
    return value, torch.where(turned, -shift, shift), spread


def _density(x: Tensor) -> Tensor:
    return torch.exp(-x * x / 2 - HALF_LOG_2PI)


def _tilted(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(u/2) coth(u/2); the mean of t^2 under exp(-u t) on [-1/2, 1/2]; log(sinh(u/2)/(u/2))."""
    a = u.abs()
    near = a < 0.5
    s = torch.where(near, a * a, 0.0)
    far = torch.where(near, 1.0, a)
    series = 1 / 12 - s * (1 / 720 - s * (1 / 30240 - s / 1209600))  # of (h - 1)/u^2
    h = torch.where(near, 1 + s * series, far / 2 - far / torch.expm1(-far) * torch.exp(-far))
    part = torch.where(near, series, (h - 1) / (far * far))
    tiny = a.clamp(min=torch.finfo(a.dtype).tiny)
    return h, 0.25 - 2 * part, a / 2 + torch.log(-torch.expm1(-tiny) / tiny)


__all__ = ["HALF_LOG_2PI", "log1mexp", "log_rising", "normal_mass"]
