"""The largest |g(p)| for p in (0, 1): enclosed from both sides, also where g is 0 times infinity at an end."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import Any

import sympy

from lossproof.formula.symbols import P
from lossproof.prove import span as spans
from lossproof.prove.ball import ball
from lossproof.prove.clock import Clock
from lossproof.prove.enclose import Enclosure, MeanValue
from lossproof.prove.span import Span, hull
from lossproof.prove.special import precision

Expr = Any
_Q = sympy.Dummy("q", real=True)  # 1 - p
_TINY = 1e-6  # below this a peak is only told to within this times rel
_SMALLEST = 2.0**-60


@dataclass(frozen=True)
class Peak:
    """sup |g| lies in [low, high]; |g| is at least low at ``at``; on every cell |g| <= high by an enclosure."""

    low: float
    high: float
    at: Fraction
    cells: tuple[Span, ...]


class Tame:
    """Enclosures of a function of p in which p**a log(p)**b, a > 0, counts as one function, bounded at 0.

    The same for (1 - p)**a log(1 - p)**b at 1. Terms are taken as they stand: nothing is multiplied out.

    >>> Tame(P*sympy.log(P)).over((0.0, 2.0**-10))[0] > -0.007
    True
    """

    def __init__(self, expr: Expr) -> None:
        self.parts: list[tuple[Expr, Fraction, int]] = []  # x, a, b of x**a log(x)**b
        self.symbols = [P, _Q]
        tamed = sympy.Add(*(self._term(t) for s in sympy.Add.make_args(expr) for t in _apart(_mirror(s))))
        self.tamed = Enclosure(tamed, self.symbols)
        self.plain = MeanValue(expr, [P])

    def _term(self, term: Expr) -> Expr:
        for x in (P, _Q):
            powers = term.as_powers_dict()
            a, b = powers.get(x, sympy.S.Zero), powers.get(sympy.log(x), sympy.S.Zero)
            if a.is_Rational and a > 0 and b.is_Integer and b > 0:
                key = (x, Fraction(int(a.p), int(a.q)), int(b))
                if key not in self.parts:
                    self.parts.append(key)
                    self.symbols.append(sympy.Dummy(real=True))
                term = term / (x**a * sympy.log(x) ** b) * self.symbols[2 + self.parts.index(key)]
        return term

    def over(self, p: Span) -> Span:
        """Enclose the values on a span of p inside [0, 1]."""
        plain = self.plain.over((p,))
        if not self.parts or -math.inf < plain[0] <= plain[1] < math.inf:
            return plain
        q = spans.sub(spans.ONE, p)
        box = [p, q]
        for x, a, b in self.parts:
            box.append(_power_log(p if x == P else q, a, b))
        tamed = self.tamed.over(box)
        low, high = max(plain[0], tamed[0]), min(plain[1], tamed[1])
        return (low, high) if plain[0] <= plain[1] else tamed


def _apart(term: Expr) -> tuple[Expr, ...]:
    # a product with log(c) + log(x) as two terms
    for factor in term.args if term.is_Mul else ():
        if factor.is_Add and any(isinstance(a, sympy.log) for a in factor.args):
            return tuple(t for a in factor.args for t in _apart(term / factor * a))
    return (term,)


def _mirror(term: Expr) -> Expr:
    """A term with q for 1 - p, also in its multiples, and log(c q) as log(c) + log(q)."""
    found = {}
    for part in term.atoms(sympy.Add):
        c = part.subs(P, 0)
        if c.is_Rational and part.free_symbols == {P} and sympy.expand(part - c * (1 - P)) == 0:
            found[part] = c * _Q
    term = term.xreplace(found)
    logs = {}
    for log in term.atoms(sympy.log):
        c, x = log.args[0].as_coeff_Mul()
        if x in (P, _Q) and c.is_positive and c != 1:
            logs[log] = sympy.log(c) + sympy.log(x)
    return term.xreplace(logs)


def _power_log(x: Span, a: Fraction, b: int) -> Span:
    # x**a |log x|**b rises up to exp(-b/a) and falls from there to 1
    def at(value: float) -> Span:
        if value <= 0.0:
            return spans.ZERO
        exact = {P: Fraction(value)}
        found = ball(P ** sympy.Rational(a.numerator, a.denominator) * sympy.log(P) ** b, exact, bits=64)
        low, high = float(abs(found).lower()), float(abs(found).upper())
        return spans.down(low), spans.up(high)

    turn = math.exp(-b / float(a))
    made = hull(at(x[0]), at(min(x[1], 1.0)))
    if x[0] <= turn * (1 + 1e-9) and x[1] >= turn * (1 - 1e-9):
        top = (b / float(a) / math.e) ** b
        made = (made[0], spans.up(max(made[1], top * (1 + 1e-12))))
    return made if b % 2 == 0 else spans.neg(made)


def peak(
    g: Expr, clock: Clock, *, rel: float = 1e-3, most: int = 2000, of: Callable[[Span], Span] = spans.absolute
) -> Peak:
    """Enclose sup |g(p)| over 0 < p < 1, or sup of(g(p)); ``high`` is inf where boundedness is not shown.

    Raises ``OutOfTime``.

    >>> found = peak(P*(1 - P)**2, Clock.for_ever())
    >>> found.low <= 4 / 27 <= found.high < 4 / 27 + 2e-4
    True
    """
    tame = Tame(g)
    order = count()
    with precision(64):
        best, where = -math.inf, Fraction(1, 2)
        heap: list[tuple[float, int, Span]] = []

        def look(p: float) -> None:
            nonlocal best, where
            value = of(tame.over((p, p)))[0]
            if value > best and value < math.inf:
                best, where = value, Fraction(p)

        def add(cell: Span) -> None:
            bound = of(tame.over(cell))[1]
            heapq.heappush(heap, (-(math.inf if math.isnan(bound) else bound), next(order), cell))

        for k in (1, 2, 3, 5, 10, 20, 40):
            look(2.0**-k)
            look(1 - 2.0**-k)
        add((0.0, 1.0))
        for _ in range(most):
            clock.check()
            high, _, (a, b) = heap[0]
            if -high - best <= rel * max(abs(best), _TINY) or b - a < _SMALLEST:
                break
            heapq.heappop(heap)
            middle = (
                a + (b - a) / 16
                if a == 0.0 and b < 1.0
                else b - (b - a) / 16
                if b == 1.0 and a > 0
                else (a + b) / 2
            )
            look(middle)
            add((a, middle))
            add((middle, b))
    cells = tuple(sorted(cell for _, _, cell in heap))
    return Peak(best, -heap[0][0], where, cells)
