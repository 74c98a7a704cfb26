"""Interval arithmetic that never loses a point: pairs of floats in the extended reals, rounded outward.

A span encloses every value that a formula takes, in the extended reals, on the spans it is given: 1/[0, h] is
[1/h, inf], and 0 times infinity is 0, the limit that losses mean by 0 log 0. Sums and products that are exact in
floating point stay exact, because one ulp decides: 1 - p on [0, 1] must not reach below 0. Outside the domain of
a function the answer is ``UNDEFINED``, which poisons everything computed from it and satisfies no comparison.
Ref: Hickey, Ju, van Emden, J. ACM 48, 2001, doi:10.1145/502102.502106 (division and the extended reals).
"""

import math
from fractions import Fraction
from typing import TypeAlias

Span: TypeAlias = tuple[float, float]

_INF = math.inf
UNDEFINED: Span = (math.nan, math.nan)
WHOLE: Span = (-_INF, _INF)
ZERO: Span = (0.0, 0.0)
ONE: Span = (1.0, 1.0)
_SPLIT = 134217729.0  # 2**27 + 1: Veltkamp's constant


def down(x: float) -> float:
    """The next float below."""
    return math.nextafter(x, -_INF)


def up(x: float) -> float:
    """The next float above."""
    return math.nextafter(x, _INF)


def span(value: Fraction | int | float) -> Span:
    """The narrowest span around an exact number.

    >>> span(Fraction(1, 4)), span(Fraction(1, 3))[0] < 1 / 3 < span(Fraction(1, 3))[1]
    ((0.25, 0.25), False)
    """
    try:
        nearest = float(value)
    except OverflowError:  # an integer beyond the floats
        largest = math.nextafter(_INF, 0)
        return (largest, _INF) if value > 0 else (-_INF, -largest)
    if math.isinf(nearest) or nearest == value:
        return (nearest, nearest)
    return (down(nearest), nearest) if value < nearest else (nearest, up(nearest))


def defined(a: Span) -> bool:
    """Tell whether a span says anything: ``UNDEFINED`` does not."""
    return a[0] <= a[1]


def _sum_error(a: float, b: float, s: float) -> float:
    # Knuth's 2Sum: a + b = s + error exactly, unless something overflows (then not a number)
    t = s - a
    return (a - (s - t)) + (b - t)


def _add_low(a: float, b: float) -> float:
    s = a + b
    e = _sum_error(a, b, s)
    if 0.0 <= e < _INF:
        return s
    if s - s == 0.0:
        return down(s)
    # infinite: exact if a term is; else an overflow, which may stand for a finite sum; inf - inf is anything
    if math.isnan(s):
        return -_INF
    return s if math.isinf(a) or math.isinf(b) else down(s)


def _add_high(a: float, b: float) -> float:
    return 0.0 - _add_low(-a, -b)


def add(a: Span, b: Span) -> Span:
    """a + b.

    >>> add((0.0, 0.5), (0.25, 0.5)), add((0.0, math.inf), (-math.inf, 0.0))
    ((0.25, 1.0), (-inf, inf))
    """
    if not (a[0] <= a[1] and b[0] <= b[1]):
        return UNDEFINED
    return _add_low(a[0], b[0]), _add_high(a[1], b[1])


def neg(a: Span) -> Span:
    """-a."""
    return 0.0 - a[1], 0.0 - a[0]


def sub(a: Span, b: Span) -> Span:
    """a - b.

    >>> sub(ONE, (0.0, 1.0))
    (0.0, 1.0)
    """
    return add(a, (-b[1], -b[0]))


def _exact_product(a: float, b: float, p: float) -> bool:
    # Dekker's TwoProduct says whether a b = p, away from overflow and underflow
    if not (1e-280 < abs(p) < 1e280 and abs(a) < 1e290 and abs(b) < 1e290):
        return False
    t = _SPLIT * a
    a1 = t - (t - a)
    a2 = a - a1
    t = _SPLIT * b
    b1 = t - (t - b)
    b2 = b - b1
    return ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2 == 0.0


def _times_low(a: float, b: float) -> float:
    if a == 0.0 or b == 0.0:
        return 0.0
    p = a * b
    if _exact_product(a, b, p):
        return p
    if p - p == 0.0:
        # a product that underflows keeps its sign
        return 0.0 if p >= 0.0 and (a > 0.0) == (b > 0.0) and down(p) < 0.0 else down(p)
    return p if math.isinf(a) or math.isinf(b) else down(p)


def _times_high(a: float, b: float) -> float:
    return 0.0 - _times_low(-a, b)


def mul(a: Span, b: Span) -> Span:
    """a b, with 0 times infinity = 0.

    >>> mul((-1.0, 2.0), (0.0, math.inf)), mul((0.0, 0.0), (0.0, math.inf)), mul((-1.0, -1.0), (0.1, 0.3))
    ((-inf, inf), (0.0, 0.0), (-0.3, -0.1))
    """
    a0, a1 = a
    b0, b1 = b
    if not (a0 <= a1 and b0 <= b1):
        return UNDEFINED
    if a0 >= 0.0:
        if b0 >= 0.0:
            return _times_low(a0, b0), _times_high(a1, b1)
        if b1 <= 0.0:
            return _times_low(a1, b0), _times_high(a0, b1)
        return _times_low(a1, b0), _times_high(a1, b1)
    if a1 <= 0.0:
        if b0 >= 0.0:
            return _times_low(a0, b1), _times_high(a1, b0)
        if b1 <= 0.0:
            return _times_low(a1, b1), _times_high(a0, b0)
        return _times_low(a0, b1), _times_high(a0, b0)
    if b0 >= 0.0:
        return _times_low(a0, b1), _times_high(a1, b1)
    if b1 <= 0.0:
        return _times_low(a1, b0), _times_high(a0, b0)
    return (
        min(_times_low(a0, b1), _times_low(a1, b0)),
        max(_times_high(a0, b0), _times_high(a1, b1)),
    )


def _one_over(x: float) -> tuple[float, float]:
    # x is neither 0 nor infinite
    q = 1.0 / x
    if abs(q) < _INF and abs(math.frexp(x)[0]) == 0.5:
        return q, q
    low, high = down(q), up(q)
    return (max(low, 0.0), high) if x > 0 else (low, min(high, 0.0))


def inverse(a: Span) -> Span:
    """1/a; a pole at an end belongs to the side from which the span comes to it.

    >>> inverse((0.0, 4.0)), inverse((-1.0, 4.0)), inverse((-2.0, 0.0))
    ((0.25, inf), (-inf, inf), (-inf, -0.5))
    """
    a0, a1 = a
    if not a0 <= a1:
        return UNDEFINED
    if a0 < 0.0 < a1 or a0 == a1 == 0.0:
        return WHOLE
    low = (-_INF if a1 == 0.0 else 0.0) if math.isinf(a1) or a1 == 0.0 else _one_over(a1)[0]
    high = (_INF if a0 == 0.0 else 0.0) if math.isinf(a0) or a0 == 0.0 else _one_over(a0)[1]
    return low, high


def div(a: Span, b: Span) -> Span:
    """a / b, narrower than a times 1/b by one rounding.

    >>> div((1.0, 2.0), (0.0, 4.0)), div((3.0, 3.0), (3.0, 3.0))
    ((0.25, inf), (1.0, 1.0))
    """
    b0, b1 = b
    if b0 == b1 and b0 != 0.0 and a[0] == a[1] and a[0] - a[0] == 0.0 == b0 - b0:
        q = a[0] / b0
        if _exact_product(q, b0, a[0]):
            return q, q
    return mul(a, inverse(b))


def hull(a: Span, b: Span) -> Span:
    """The narrowest span around both."""
    if not (a[0] <= a[1] and b[0] <= b[1]):
        return UNDEFINED
    return (a[0] if a[0] <= b[0] else b[0]), (a[1] if a[1] >= b[1] else b[1])


def absolute(a: Span) -> Span:
    """|a|."""
    a0, a1 = a
    if a0 >= 0.0:
        return a
    if a1 <= 0.0:
        return 0.0 - a1, 0.0 - a0
    return (0.0, max(-a0, a1)) if a0 <= a1 else UNDEFINED


def sign(a: Span) -> Span:
    """-1, 0 or 1, or the span between."""
    a0, a1 = a
    if not a0 <= a1:
        return UNDEFINED
    return (1.0 if a0 > 0.0 else 0.0 if a0 == 0.0 else -1.0), (
        -1.0 if a1 < 0.0 else 0.0 if a1 == 0.0 else 1.0
    )


def largest(a: Span, b: Span) -> Span:
    """max(a, b)."""
    if not (a[0] <= a[1] and b[0] <= b[1]):
        return UNDEFINED
    return (a[0] if a[0] >= b[0] else b[0]), (a[1] if a[1] >= b[1] else b[1])


def smallest(a: Span, b: Span) -> Span:
    """min(a, b)."""
    return neg(largest(neg(a), neg(b)))


def xlogy_times(x: Span, w: Span) -> Span:
    """x w where the function is 0 by definition at x = 0, whatever w is."""
    return ZERO if x == ZERO else mul(x, w)


def xdivy(x: Span, y: Span) -> Span:
    """x / y, and 0 where x = 0."""
    if x == ZERO:
        return ZERO
    q = div(x, y)
    return hull(q, ZERO) if x[0] <= 0.0 <= x[1] else q


def square(a: Span) -> Span:
    """a**2, never below 0."""
    m = absolute(a)
    return mul(m, m)


def meets(relation: str, a: Span, b: Span) -> bool | None:
    """Whether a relation holds for all pairs of values, for none (False), or cannot be told (None).

    >>> meets("<", (0.0, 1.0), (2.0, 3.0)), meets("<=", (0.0, 1.0), (-2.0, -1.0)), meets("==", ZERO, (0.0, 1.0))
    (True, False, None)
    """
    if not (a[0] <= a[1] and b[0] <= b[1]):
        return None
    if relation in (">", ">="):
        a, b, relation = b, a, "<" if relation == ">" else "<="
    if relation == "<":
        return True if a[1] < b[0] else False if a[0] >= b[1] else None
    if relation == "<=":
        return True if a[1] <= b[0] else False if a[0] > b[1] else None
    apart = a[1] < b[0] or b[1] < a[0]
    same = a[0] == a[1] == b[0] == b[1]
    if not (apart or same):
        return None
    return same if relation == "==" else apart
