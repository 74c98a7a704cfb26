"""Functions of one real ball that lose no digits where their textbook forms do: at 0 and at infinity.

Arguments are exact (radius 0) and finite; ``of_ball`` carries a function that rises over to balls.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flint

Ball = Any  # flint.arb: python-flint's stubs name it, its methods are untyped


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Compute with balls of this many bits; the caller's precision comes back on every way out."""
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def of_ball(f: Callable[[Ball], Ball], x: Ball) -> Ball:
    """f on a ball, for an f that rises: its values at both ends, and all between."""
    return f(x) if x.is_exact() else f(x.lower()).union(f(x.upper()))


def _lost(x: Ball) -> int:
    # bits that a difference of O(1) terms loses when its value is of the size of x**2
    bits = int(-2 * min(0, _exponent(x)))
    return min(bits, 2048)


def _exponent(x: Ball) -> int:
    # a guess serves: it only chooses the working precision and the formula, both of which are rigorous anywhere
    middle = float(x.mid())
    return math.frexp(middle)[1] if middle else -1100


def sigmoid(x: Ball) -> Ball:
    """1/(1 + exp(-x))."""
    if x >= 0:
        return 1 / (1 + (-x).exp())
    e = x.exp()
    return e / (1 + e)


def softplus(x: Ball) -> Ball:
    """log(1 + exp(x))."""
    return x + (-x).exp().log1p() if x > 0 else x.exp().log1p()


def logcosh(x: Ball) -> Ball:
    """log(cosh(x)): through sinh near 0, through exp(-2|x|) far out."""
    x = abs(x)
    if x < 1:
        s = x.sinh()
        return (s * s).log1p() / 2
    return x - flint.arb(2).log() + (-2 * x).exp().log1p()


def logsinhc(x: Ball) -> Ball:
    """log(sinh(x)/x): x**2/6 - x**4/180 + ... near 0."""
    x = abs(x)
    if x == 0:
        return x
    if _exponent(x) < -200:
        square = x * x
        return (square / 6).union(square / 6 - square * square / 180)
    if x < 1:
        with precision(flint.ctx.prec + 16 + _lost(x)):
            return (x.sinh() / x).log()
    return x - (2 * x).log() + (-(-2 * x).exp()).log1p()


def langevin(x: Ball) -> Ball:
    """coth(x) - 1/x, between x/3 - x**3/45 and x/3 for x > 0."""
    if x < 0:
        return -langevin(-x)
    if x == 0:
        return x
    if _exponent(x) < -200:
        return (x / 3).union(x / 3 - x * x * x / 45)
    if x < 1:
        with precision(flint.ctx.prec + 16 + _lost(x)):
            return x.coth() - 1 / x
    e = (-2 * x).exp()
    return 1 + 2 * e / (1 - e) - 1 / x


def langevin_slope(x: Ball) -> Ball:
    """1/x**2 - 1/sinh(x)**2, the derivative of langevin, between 1/3 - x**2/15 and 1/3."""
    x = abs(x)
    if x == 0:
        return flint.arb(1) / 3
    if _exponent(x) < -200:
        return (flint.arb(1) / 3).union(flint.arb(1) / 3 - x * x / 15)
    if x < 1:
        with precision(flint.ctx.prec + 16 + 2 * _lost(x)):
            s = x.sinh()
            return 1 / (x * x) - 1 / (s * s)
    e = (-2 * x).exp()
    return 1 / (x * x) - 4 * e / (1 - e) ** 2


def logexprel(x: Ball) -> Ball:
    """log((exp(x) - 1)/x), between x/2 and x/2 + x**2/24."""
    if x == 0:
        return x
    if _exponent(x) < -200:
        return (x / 2).union(x / 2 + x * x / 24)
    if abs(x) < 1:
        with precision(flint.ctx.prec + 16 + _lost(x)):
            return (x.expm1() / x).log()
    if x < 0:
        return (x.expm1() / x).log()
    return x - x.log() + (-(-x).exp()).log1p()


def meanexp(x: Ball) -> Ball:
    """1/(1 - exp(-x)) - 1/x = 1/2 + langevin(x/2)/2."""
    if abs(x) < 2:
        return (1 + langevin(x / 2)) / 2
    e = (-abs(x)).exp()
    return 1 + e / (1 - e) - 1 / x if x > 0 else -e / (1 - e) - 1 / x


def atanhc(x: Ball) -> Ball:
    """atanh(x)/x, 1 at 0, between 1 + x**2/3 and 1 + x**2/2 near 0."""
    x = abs(x)
    if x == 0:
        return flint.arb(1)
    if _exponent(x) < -200:
        return (1 + x * x / 3).union(1 + x * x / 2)
    return x.atanh() / x


def polygamma(n: int, x: Ball) -> Ball:
    """psi^(n)(x) for x > 0."""
    if n == 0:
        return x.digamma()
    value = flint.arb(n + 1).zeta(x) * flint.arb(n).gamma() * n
    return value if n % 2 else -value
