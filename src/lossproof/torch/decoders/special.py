"""Functions that decoders need and torch has not, or not without cancellation: with their derivatives."""

import math

import torch
from torch import Tensor

#: log(sqrt(2 pi)), sqrt(2/pi), sqrt(1/2)
HALF_LOG_2PI, _ROOT_2_PI, _ROOT_HALF = 0.5 * math.log(2 * math.pi), math.sqrt(2 / math.pi), math.sqrt(0.5)
#: below this width in standard deviations, an interval's normal mass is that of a tilted rectangle; see normal_mass
_NARROW = 0.05


def wide(x: Tensor) -> Tensor:
    """The tensor in float64, for what float32 cannot sum; as it is on Apple's devices, which have no float64."""
    return x if x.device.type == "mps" else x.double()


def log1mexp(d: Tensor, log_d: Tensor) -> Tensor:
    """log(1 - exp(-d)) for d > 0, from d and its logarithm, which outlives the underflow of d.

    >>> log1mexp(torch.tensor([0.0, 1.0]), torch.tensor([-1000.0, 0.0]))
    tensor([-1.0000e+03, -4.5868e-01])
    """
    near = d < 1e-3
    far = torch.log(-torch.expm1(-torch.where(near, 1.0, d)))
    return torch.where(near, log_d - d / 2 + d * d / 24, far)


#: what Stirling's formula leaves of log Gamma(t), as a series in t^-2 over t; in float32 three terms do at t >= 8
_REST = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def _rest(t: Tensor, *, slope: bool) -> tuple[Tensor, Tensor]:
    """That rest, t >= 8, and minus its derivative (empty without ``slope``): within 1e-12."""
    terms = _REST if t.dtype is torch.float64 else _REST[:3]
    one = 1 / t
    u = one * one

    def series(factors: list[float]) -> Tensor:
        total = u * factors[-1]
        for factor in factors[-2:0:-1]:
            total = total.add_(factor).mul_(u)
        return total.add_(factors[0])

    value = series(list(terms)).mul_(one)
    return value, series([(2 * i + 1) * f for i, f in enumerate(terms)]).mul_(
        u
    ) if slope else value.new_empty(0)


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
    # the eight factors x + j of Gamma(x + 8)/Gamma(x): that of j = 0 in logarithms, j and 7 - j in pairs
    x7, y7 = x + 7, y + 7
    qx, qy = x * x7, y * y7
    pairs = [(qx + c, qy + c) for c in (6, 10, 12)]
    ratio = x7 / y7
    for below, above in pairs:
        ratio.mul_(below / above)
    y = y.clamp(min=torch.finfo(y.dtype).tiny)
    step = torch.log1p(k / t)
    (rest, digamma), (rest_up, digamma_up) = _rest(t, slope=slope), _rest(up, slope=slope)
    a = ratio.log_() + (log_x - torch.log(y)) * (k > 0)
    a += (t - 0.5) * step - k
    a += rest_up - rest
    if not slope:
        return a, up, a.new_empty(0)
    change = step + k / (2 * t * up) + (digamma - digamma_up) + k / (x7 * y7)
    twice_x, twice_y = x + x7, y + y7
    for below, above in pairs:
        change += twice_x / below - twice_y / above
    return a, up, k / y + x * change


def normal_mass(
    a: Tensor, b: Tensor, width: Tensor, log_width: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """log of a standard normal's mass between a and b = a + width, with its derivatives.

    Where ``low`` is true the interval goes down to -inf, where ``high`` is true up to inf. Returns the log-mass, its
    derivative in a shift of the mean, and that in the log of the standard deviation (both ends move by -1 and by
    -end). Digits are kept in the tails (through erfcx) and for narrow intervals (a rectangle under exp(-middle t),
    with the mean of t^2 as its correction: error below width^4).

    >>> no = torch.tensor(False)
    >>> one, width = torch.tensor(1.0), torch.tensor(2.0)
    >>> normal_mass(-one, one, width, width.log(), no, no)[0].exp()  # one standard deviation about the mean
    tensor(0.6827)
    """
    a, b, width, log_width, low, high = torch.broadcast_tensors(a, b, width, log_width, low, high)
    tail = low | high
    # the mass of (a, b) is that of (-b, -a): the mean is made to lie above the middle, or the tail below
    turned = torch.where(tail, high, a + b > 0)
    lower, upper = torch.where(turned, -b, a), torch.where(turned, -a, b)
    narrow = (width < _NARROW) & ~tail
    found = [torch.empty_like(a, memory_format=torch.contiguous_format).view(-1) for _ in range(3)]
    flat = [part.reshape(-1) for part in (lower, upper, width, log_width)]
    for mask, law in ((tail, _lower_tail), (narrow, _narrow), (~(tail | narrow), _between)):
        index = mask.reshape(-1).nonzero().view(-1)
        if index.numel():
            for out, part in zip(found, law(*(f[index] for f in flat)), strict=True):
                out[index] = part
    value, shift, spread = (part.view(a.shape) for part in found)
    return value, torch.where(turned, -shift, shift), spread


def _lower_tail(_a: Tensor, b: Tensor, _width: Tensor, _log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log Phi at the interval's upper end."""
    below = b <= 0
    scaled = torch.special.erfcx(b * -_ROOT_HALF)  # infinite where Phi is 1, and its slope 0
    value = torch.where(
        below, torch.log(scaled / 2) - b * b / 2, torch.log1p(torch.erfc(b * _ROOT_HALF) / -2)
    )
    at_b = torch.where(below, _ROOT_2_PI / scaled, _density(b) / value.exp())
    return value, -at_b, -b * at_b


def _between(a: Tensor, b: Tensor, width: Tensor, _log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differences of erfcx where both ends are in the lower tail, of erf where 0 lies between them."""
    below = b <= 0
    gap = torch.exp(width * (a + b) / 2)
    q = torch.special.erfcx(b * -_ROOT_HALF) - gap * torch.special.erfcx(a * -_ROOT_HALF)
    p = (torch.erf(b * _ROOT_HALF) - torch.erf(a * _ROOT_HALF)) / 2
    at_b = torch.where(below, _ROOT_2_PI / q, _density(b) / p)
    at_a = torch.where(below, gap * at_b, _density(a) / p)
    value = torch.where(below, torch.log(q / 2) - b * b / 2, torch.log(p))
    return value, at_a - at_b, a * at_a - b * at_b


def _narrow(a: Tensor, b: Tensor, width: Tensor, log_width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A rectangle under exp(-m t), m the middle, with the mean of t^2 there as its correction."""
    m = (a + b) / 2
    h, square, log_sinhc = _tilted(width * m)
    half = width * width * square / 2
    factor = torch.exp(half - width * width / 8)
    value = -m * m / 2 - HALF_LOG_2PI + log_width + log_sinhc - half
    return value, m * factor, factor * (m * m - h)


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


__all__ = ["HALF_LOG_2PI", "log1mexp", "log_rising", "normal_mass", "wide"]
