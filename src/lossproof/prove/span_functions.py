"""Elementary functions of spans: values at the ends (every function here is monotone in pieces), rounded outward.

Wide balls are never used: exp of one may be negative, log of one that touches 0 is not a number.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import flint

from lossproof.prove import span as spans
from lossproof.prove import special
from lossproof.prove.span import ONE, UNDEFINED, WHOLE, ZERO, Span, absolute, inverse, largest, mul

_INF = math.inf
_arb: Any = flint.arb
Function = Callable[[Span], Span]


def low(a: Any) -> float:
    """A float below a ball, the same number where it is one."""
    if a.is_exact():
        value = float(a)
        if _arb(value) == a:
            return value
    else:
        value = float(a.lower())
    return -_INF if math.isnan(value) else spans.down(value)


def high(a: Any) -> float:
    """A float above a ball, the same number where it is one."""
    return 0.0 - low(-a)


def rising(
    f: Callable[[Any], Any],
    ends: tuple[Span, Span],
    domain: Span = (-_INF, _INF),
    values: Span = (-_INF, _INF),
) -> Function:
    """The span function of an increasing f on a closed domain; ``ends`` enclose its limits there."""
    d0, d1 = domain
    (e0, _), (_, e1) = ends
    v0, v1 = values

    def of(a: Span) -> Span:
        a0, a1 = a
        if not d0 <= a0 <= a1 <= d1:
            return UNDEFINED
        if a0 == a1 and d0 < a0 < d1:
            ball = f(_arb(a0))
            bottom, top = low(ball), high(ball)
        else:
            bottom = e0 if a0 == d0 else ends[1][0] if a0 == d1 else low(f(_arb(a0)))
            top = e1 if a1 == d1 else ends[0][1] if a1 == d0 else high(f(_arb(a1)))
        return (bottom if bottom > v0 else v0), (top if top < v1 else v1)

    return of


def even(f: Function) -> Function:
    """The span function of an even f that rises in |x|."""
    return lambda a: f(absolute(a))


def _constant(f: Callable[[], Any]) -> Span:
    with special.precision(64):
        return low(f()), high(f())


PI, E, EULER = _constant(_arb.pi), _constant(_arb.const_e), _constant(_arb.const_euler)


@cache
def zeta(n: int) -> Span:
    """Riemann's zeta at a whole number above 1."""
    return _constant(lambda: _arb(n).zeta())


def _point(x: float) -> Span:
    return x, x


def _pair(a: float, b: float) -> tuple[Span, Span]:
    return _point(a), _point(b)


_HALF_PI = (PI[0] / 2, PI[1] / 2)
_POSITIVE = (0.0, _INF)

exp = rising(lambda x: x.exp(), _pair(0.0, _INF), values=_POSITIVE)
expm1 = rising(lambda x: x.expm1(), _pair(-1.0, _INF), values=(-1.0, _INF))
log = rising(lambda x: x.log(), _pair(-_INF, _INF), _POSITIVE)
log1p = rising(lambda x: x.log1p(), _pair(-_INF, _INF), (-1.0, _INF))
sqrt = rising(lambda x: x.sqrt(), _pair(0.0, _INF), _POSITIVE, _POSITIVE)
atan = rising(lambda x: x.atan(), ((-_HALF_PI[1], -_HALF_PI[0]), _HALF_PI))
sinh = rising(lambda x: x.sinh(), _pair(-_INF, _INF))
tanh = rising(lambda x: x.tanh(), _pair(-1.0, 1.0), values=(-1.0, 1.0))
asinh = rising(lambda x: x.asinh(), _pair(-_INF, _INF))
atanh = rising(lambda x: x.atanh(), _pair(-_INF, _INF), (-1.0, 1.0))
erf = rising(lambda x: x.erf(), _pair(-1.0, 1.0), values=(-1.0, 1.0))
sigmoid = rising(special.sigmoid, _pair(0.0, 1.0), values=(0.0, 1.0))
softplus = rising(special.softplus, _pair(0.0, _INF), values=_POSITIVE)
langevin = rising(special.langevin, _pair(-1.0, 1.0), values=(-1.0, 1.0))
logexprel = rising(special.logexprel, _pair(-_INF, _INF))
meanexp = rising(special.meanexp, _pair(0.0, 1.0), values=(0.0, 1.0))
cosh = even(rising(lambda x: x.cosh(), _pair(1.0, _INF), values=(1.0, _INF)))
logcosh = even(rising(special.logcosh, _pair(0.0, _INF), values=_POSITIVE))
logsinhc = even(rising(special.logsinhc, _pair(0.0, _INF), values=_POSITIVE))
atanhc = even(rising(special.atanhc, _pair(1.0, _INF), (-1.0, 1.0), (1.0, _INF)))
_falling_slope = even(
    rising(
        lambda x: -special.langevin_slope(x),
        ((-0.3333333333333334, -0.3333333333333333), ZERO),
        values=(-_INF, 0.0),
    )
)
_rising_digamma = rising(lambda x: x.digamma(), _pair(-_INF, _INF), _POSITIVE)
# the least value of loggamma, -0.12148629053584960809..., lies at x = 1.4616321449683623412...
_TURN = (1.461632144968362, 1.461632144968363)
_LEAST = -0.12148629053584961 - 1e-16


def langevin_slope(a: Span) -> Span:
    """The derivative of langevin: even, at most 1/3, falling in |x|."""
    return spans.neg(_falling_slope(a))


def loggamma(a: Span) -> Span:
    """log(gamma(x)) for x >= 0, infinite at both ends."""
    a0, a1 = a
    if not 0.0 <= a0 <= a1:
        return UNDEFINED
    values = [(_INF, _INF) if x in (0.0, _INF) else _at_gamma(x) for x in a]
    bottom = min(values[0][0], values[1][0])
    return (_LEAST if a0 < _TURN[1] and a1 > _TURN[0] else bottom), max(values[0][1], values[1][1])


def _at_gamma(x: float) -> Span:
    ball = _arb(x).lgamma()
    return low(ball), high(ball)


def polygamma(n: int) -> Function:
    """psi^(n) for x >= 0: digamma rises; the others fall in absolute value, with the sign of (-1)**(n + 1)."""
    if n == 0:
        return _rising_digamma
    # n odd: falls from inf to 0; n even: rises from -inf to 0
    rise = rising(lambda x: special.polygamma(n, x) * (-1) ** n, _pair(-_INF, 0.0), _POSITIVE, (-_INF, 0.0))
    return rise if n % 2 == 0 else lambda a: spans.neg(rise(a))


def power(n: int) -> Function:
    """x**n for an integer n, even powers never below 0."""
    if n < 0:
        rise = power(-n)
        return lambda a: inverse(rise(a))
    if n == 0:
        return lambda a: ONE if a[0] <= a[1] else UNDEFINED
    if n == 1:
        return lambda a: a
    if n == 2:
        return spans.square
    if n % 2 == 0:
        half = rising(lambda x: x**n, _pair(0.0, _INF), _POSITIVE, _POSITIVE)
        return even(half)
    return rising(lambda x: x**n, _pair(-_INF, _INF))


def rational_power(q: Fraction) -> Function:
    """x**q for x >= 0."""
    if q.denominator == 1:
        return power(q.numerator)
    if q == Fraction(1, 2):
        return sqrt
    if q < 0:
        rise = rational_power(-q)
        return lambda a: inverse(rise(a))
    exponent = flint.fmpq(q.numerator, q.denominator)
    return rising(lambda x: x ** _arb(exponent), _pair(0.0, _INF), _POSITIVE, _POSITIVE)


@cache
def powers(q: Fraction) -> Function:
    """One function object per exponent, so that equal powers are computed once."""
    return rational_power(q)


@cache
def digammas(n: int) -> Function:
    """One function object per polygamma."""
    return polygamma(n)


def real_power(a: Span, b: Span) -> Span:
    """a**b for a >= 0, with 0**0 = 1."""
    return exp(mul(b, log(a)))


def logaddexp(a: Span, b: Span) -> Span:
    """log(exp(a) + exp(b)), which rises in both."""
    if not (a[0] <= a[1] and b[0] <= b[1]):
        return UNDEFINED
    return _at_logaddexp(a[0], b[0])[0], _at_logaddexp(a[1], b[1])[1]


def _at_logaddexp(a: float, b: float) -> Span:
    if math.isinf(a) or math.isinf(b):
        top = max(a, b)
        return top, top
    x, y = _arb(max(a, b)), _arb(min(a, b))
    ball = x + (y - x).exp().log1p()
    return low(ball), high(ball)


def _turns(a: Span, offset: int, period: int) -> bool:
    # may [a0, a1] hold a point pi*(offset/2 + period*k)? True when it cannot be told
    pi = _arb.pi()
    first = (_arb(a[0]) / pi - _arb(offset) / 2) / period
    last = (_arb(a[1]) / pi - _arb(offset) / 2) / period
    return bool(first.lower().ceil().mid() <= last.upper().floor().mid())


def _wave(f: Callable[[Any], Any], top: int, bottom: int) -> Function:
    def of(a: Span) -> Span:
        a0, a1 = a
        if not a0 <= a1:
            return UNDEFINED
        if a1 - a0 > 6.4 or max(-a0, a1) > 1e12:
            return -1.0, 1.0
        left, right = f(_arb(a0)), f(_arb(a1))
        least = -1.0 if _turns(a, bottom, 2) else max(-1.0, min(low(left), low(right)))
        most = 1.0 if _turns(a, top, 2) else min(1.0, max(high(left), high(right)))
        return least, most

    return of


sin = _wave(lambda x: x.sin(), 1, -1)
cos = _wave(lambda x: x.cos(), 0, 2)


def tan(a: Span) -> Span:
    """tan(x), the whole line where a pole may lie inside."""
    a0, a1 = a
    if not a0 <= a1:
        return UNDEFINED
    if a1 - a0 > 3.2 or max(-a0, a1) > 1e12 or _turns(a, 1, 1):
        return WHOLE
    return low(_arb(a0).tan()), high(_arb(a1).tan())


#: names of SymPy and RealFunction classes with one argument
UNARY: dict[str, Function] = {
    "exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "atan": atan, "sinh": sinh, "cosh": cosh, "tanh": tanh,
    "asinh": asinh, "atanh": atanh, "erf": erf, "sigmoid": sigmoid, "softplus": softplus, "langevin": langevin,
    "logexprel": logexprel, "meanexp": meanexp, "logcosh": logcosh, "logsinhc": logsinhc, "loggamma": loggamma,
    "sin": sin, "cos": cos, "tan": tan, "Abs": absolute, "sign": spans.sign,
}  # fmt: skip
#: and with two
BINARY: dict[str, Callable[[Span, Span], Span]] = {
    "xlogy": lambda x, y: ZERO if x == ZERO else mul(x, log(y)),
    "xlog1py": lambda x, y: ZERO if x == ZERO else mul(x, log1p(y)),
    "xdivy": spans.xdivy, "xtimes": spans.xlogy_times, "maximum": largest, "minimum": spans.smallest,
    "logaddexp": logaddexp,
}  # fmt: skip
