"""Containment fuzz of every span primitive, judged by mpmath at 50 digits and by exact fractions.

The suite takes 100,000 points (7 s).
"""

import math
import random
from collections.abc import Callable
from fractions import Fraction

import mpmath

from lossproof.prove import span as spans
from lossproof.prove import span_functions as functions

_INF = math.inf
_EDGES = (0.0, 1.0, -1.0, 0.5, 2.0, -0.5, 1e-300, 5e-324, 1e300, -1e300, 1e-16, 1 - 2**-53, 1 + 2**-52)
REAL, POSITIVE, UNIT, ABOVE = (-_INF, _INF), (0.0, _INF), (-1.0, 1.0), (-1.0, _INF)


def _langevin(x):
    return mpmath.mpf(0) if x == 0 else mpmath.coth(x) - 1 / x


def _logexprel(x):
    if x == 0:
        return mpmath.mpf(0)
    return x + mpmath.log(-mpmath.expm1(-x) / x) if x > 0 else mpmath.log(mpmath.expm1(x) / x)


def _logcosh(x):
    return abs(x) + mpmath.log1p(mpmath.exp(-2 * abs(x))) - mpmath.log(2)


def _logsinhc(x):
    x = abs(x)
    return mpmath.mpf(0) if x == 0 else x + mpmath.log(-mpmath.expm1(-2 * x) / (2 * x))


# name -> (span function, oracle, domain)
UNARY: dict[str, tuple[Callable, Callable, tuple[float, float]]] = {
    "exp": (functions.exp, mpmath.exp, (-800.0, 800.0)),
    "expm1": (functions.expm1, mpmath.expm1, (-800.0, 800.0)),
    "log": (functions.log, mpmath.log, POSITIVE),
    "log1p": (functions.log1p, mpmath.log1p, ABOVE),
    "sqrt": (functions.sqrt, mpmath.sqrt, POSITIVE),
    "atan": (functions.atan, mpmath.atan, REAL),
    "sinh": (functions.sinh, mpmath.sinh, (-700.0, 700.0)),
    "cosh": (functions.cosh, mpmath.cosh, (-700.0, 700.0)),
    "tanh": (functions.tanh, mpmath.tanh, (-50.0, 50.0)),
    "asinh": (functions.asinh, mpmath.asinh, REAL),
    "atanh": (functions.atanh, mpmath.atanh, UNIT),
    "erf": (functions.erf, mpmath.erf, (-10.0, 10.0)),
    "sin": (functions.sin, mpmath.sin, (-1e6, 1e6)),
    "cos": (functions.cos, mpmath.cos, (-1e6, 1e6)),
    "tan": (functions.tan, mpmath.tan, (-1e6, 1e6)),
    "sigmoid": (functions.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), (-700.0, 700.0)),
    "softplus": (functions.softplus, lambda x: mpmath.log1p(mpmath.exp(x)), (-700.0, 700.0)),
    "logcosh": (functions.logcosh, _logcosh, (-1e6, 1e6)),
    "logsinhc": (functions.logsinhc, _logsinhc, (-1e6, 1e6)),
    "langevin": (functions.langevin, _langevin, (-1e6, 1e6)),
    "langevin_slope": (
        functions.langevin_slope,
        lambda x: mpmath.mpf(1) / 3 if x == 0 else 1 / x**2 - mpmath.csch(x) ** 2,
        (-1e4, 1e4),
    ),
    "logexprel": (functions.logexprel, _logexprel, (-1e6, 1e6)),
    "meanexp": (functions.meanexp, lambda x: (1 + _langevin(x / 2)) / 2, (-1e6, 1e6)),
    "atanhc": (functions.atanhc, lambda x: mpmath.mpf(1) if x == 0 else mpmath.atanh(x) / x, UNIT),
    "loggamma": (functions.loggamma, mpmath.loggamma, (0.0, 1e6)),
    "digamma": (functions.digammas(0), mpmath.digamma, (0.0, 1e6)),
    "trigamma": (functions.digammas(1), lambda x: mpmath.psi(1, x), (0.0, 1e4)),
    "tetragamma": (functions.digammas(2), lambda x: mpmath.psi(2, x), (0.0, 1e4)),
    "abs": (spans.absolute, abs, REAL),
    "sign": (spans.sign, mpmath.sign, REAL),
    "neg": (spans.neg, lambda x: -x, REAL),
    "inverse": (spans.inverse, lambda x: 1 / x, REAL),
    "square": (spans.square, lambda x: x * x, REAL),
    "cube": (functions.powers(Fraction(3)), lambda x: x**3, REAL),
    "power 4": (functions.powers(Fraction(4)), lambda x: x**4, REAL),
    "power -2": (functions.powers(Fraction(-2)), lambda x: x**-2, REAL),
    "power -3": (functions.powers(Fraction(-3)), lambda x: x**-3, REAL),
    "power 2/3": (functions.powers(Fraction(2, 3)), lambda x: x ** (mpmath.mpf(2) / 3), POSITIVE),
    "power -5/2": (functions.powers(Fraction(-5, 2)), lambda x: x ** mpmath.mpf(-2.5), POSITIVE),
}


def _zero_first(f):
    return lambda x, y: mpmath.mpf(0) if x == 0 else f(x, y)


def _logaddexp(a, b):
    return max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b)))


BINARY: dict[str, tuple[Callable, Callable, tuple[float, float], tuple[float, float]]] = {
    "add": (spans.add, lambda a, b: a + b, REAL, REAL),
    "sub": (spans.sub, lambda a, b: a - b, REAL, REAL),
    "mul": (spans.mul, lambda a, b: a * b, REAL, REAL),
    "div": (spans.div, lambda a, b: a / b, REAL, REAL),
    "maximum": (spans.largest, max, REAL, REAL),
    "minimum": (spans.smallest, min, REAL, REAL),
    "logaddexp": (functions.logaddexp, _logaddexp, (-700.0, 700.0), (-700.0, 700.0)),
    "real_power": (functions.real_power, lambda a, b: a**b, (0.0, 1e3), (-50.0, 50.0)),
    "xlogy": (functions.BINARY["xlogy"], _zero_first(lambda x, y: x * mpmath.log(y)), REAL, POSITIVE),
    "xlog1py": (functions.BINARY["xlog1py"], _zero_first(lambda x, y: x * mpmath.log1p(y)), REAL, ABOVE),
    "xdivy": (spans.xdivy, _zero_first(lambda x, y: x / y), REAL, REAL),
    "xtimes": (spans.xlogy_times, _zero_first(lambda x, y: x * y), REAL, REAL),
}


def _number(rng: random.Random, domain: tuple[float, float]) -> float:
    low, high = domain
    kind = rng.random()
    if kind < 0.15:
        x = rng.choice(_EDGES)
    elif kind < 0.3:
        x = rng.choice((low, high))
    elif kind < 0.5:
        x = rng.randint(-8, 8) / 4  # ties and exact results
    elif kind < 0.75:
        x = rng.choice((-1, 1)) * 10 ** rng.uniform(-20, 6)
    else:
        x = rng.uniform(-3, 3)
    return min(max(x, low), high)


def _span(rng: random.Random, domain: tuple[float, float]) -> tuple[float, float]:
    a = _number(rng, domain)
    if rng.random() < 0.25 and math.isfinite(a):
        return a, a
    b = _number(rng, domain) if rng.random() < 0.7 else min(a + abs(a) * 10 ** rng.uniform(-16, 0), domain[1])
    a, b = min(a, b), max(a, b)
    return (a, b) if a < _INF and b > -_INF else (0.25, 0.5)


def _inside(rng: random.Random, a: tuple[float, float]) -> float | None:
    low, high = a
    x = rng.choice((low, high, low, high, 0.0, None))
    if x is None or not low <= x <= high:
        bottom, top = max(low, -1e6), min(high, 1e6)
        x = bottom + (top - bottom) * rng.random() if bottom <= top else low
        x = min(max(x, low), high)
    return x if math.isfinite(x) else None


def _holds(out: tuple[float, float], value) -> bool:
    if isinstance(value, mpmath.mpc):
        return True  # outside the real domain: nothing is claimed
    if mpmath.isnan(value):
        return True
    return bool(mpmath.mpf(out[0]) <= value <= mpmath.mpf(out[1]))


def _slack(value, out: tuple[float, float]) -> bool:
    # the oracle itself is right to about 45 digits: only a larger escape counts
    nearest = mpmath.mpf(out[0]) if value < out[0] else mpmath.mpf(out[1])
    return bool(abs(value - nearest) <= mpmath.mpf(10) ** -45 * abs(value))


def containment(n: int, seed: int = 0) -> list[tuple]:
    """Draw n primitives, spans and points in them; return the failures (none, if all is well)."""
    rng = random.Random(seed)
    names = [*UNARY, *BINARY]
    failures = []
    with mpmath.workdps(50):
        for i in range(n):
            name = names[i % len(names)]
            if name in UNARY:
                f, oracle, domain = UNARY[name]
                args = [_span(rng, domain)]
            else:
                f, oracle, *domains = BINARY[name]
                args = [_span(rng, domain) for domain in domains]
            out = f(*args)
            point = [_inside(rng, a) for a in args]
            if None in point:
                continue
            with mpmath.workdps(_digits(point)):
                try:
                    value = oracle(*(mpmath.mpf(x) for x in point))
                except (ZeroDivisionError, ValueError):
                    continue  # a pole: no value in the reals
                if not (_holds(out, value) or (out[0] <= out[1] and _slack(value, out))):
                    failures.append((name, args, point, out, mpmath.nstr(value, 30)))
    return failures


def _digits(point: list) -> int:
    # coth(x) - 1/x and its kin cancel 2 log10(1/x) digits near 0; sums of far magnitudes need the distance
    sizes = [abs(x) for x in point if x]
    smallest = min(sizes, default=1.0)
    largest = max(sizes, default=1.0)
    return 50 + min(1300, int(2 * max(0.0, -math.log10(smallest)) + max(0.0, math.log10(largest))))
