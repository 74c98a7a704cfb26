"""Leading terms of an expression at an end of the domain: exact sums of powers, logs and log-logs of the distance.

With t -> 0+ the distance of p from the end, L = log(1/t) and M = log L, every expression is written as
c1 K1 + c2 K2 + ... + O(K) with K = t^a L^b M^c (a Hardy field, ordered by growth). Sums, products, powers and
the elementary functions act on such germs exactly; whatever is not decided raises ``Undecided``, never a guess.
Limits are read off the leading term (Hardy, Orders of Infinity, 1910, https://doi.org/10.1017/CBO9780511707049).
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy

from lossproof.prove.ball import ball

Expr = Any
#: (a, -b, -c) of t^a L^b M^c: smaller is larger near the end
Key = tuple[Fraction, Fraction, Fraction]

_0 = Fraction(0)
ONE: Key = (_0, _0, _0)
_L: Key = (_0, Fraction(-1), _0)
_M: Key = (_0, _0, Fraction(-1))
_FLAT: Key = (Fraction(1000), _0, _0)  # exp(-1/t) and the like: smaller than this power
_X = sympy.Dummy("x", real=True)
_SAMPLE = Fraction(377, 997)  # of every symbol in a coefficient, to see that it is not zero


class Undecided(Exception):
    """The expansion does not settle the question."""


@dataclass(frozen=True, slots=True)
class Germ:
    """Terms (key, coefficient) from the largest on, and the key of the remainder (None: exact)."""

    terms: tuple[tuple[Key, Expr], ...]
    rest: Key | None = None

    @property
    def order(self) -> Key | None:
        """Key of what may be the leading term; None for exact zero."""
        return self.terms[0][0] if self.terms else self.rest


ZERO = Germ(())


class Expansion:
    """Expansions of expressions in one symbol at one end, with coefficients of decidable sign.

    ``decide`` tells the sign of a coefficient: 1, -1, 0 or None; ``size`` is how many terms are kept.

    >>> from lossproof.formula.symbols import P
    >>> near = Expansion(P, sympy.S.One, -1, lambda c: int(sympy.sign(c)))
    >>> near.limit(sympy.log(1 - P)), near.limit((1 - P)*sympy.log(1 - P) + P)
    (-oo, 1)
    """

    def __init__(
        self, x: Expr, at: Expr, side: int, decide: Callable[[Expr], int | None], size: int = 4
    ) -> None:
        self.x = x
        self.size = size
        self._decide = decide
        self._signs: dict[Expr, int | None] = {}
        self._zeros: dict[Expr, bool] = {}
        step = (Fraction(1), _0, _0)
        if at in (sympy.oo, -sympy.oo):
            base = Germ((((Fraction(-1), _0, _0), sympy.S.One if at == sympy.oo else sympy.S.NegativeOne),))
        else:
            base = self._make([(ONE, at), (step, sympy.Integer(side))], None)
        self._known: dict[Expr, Germ] = {x: base}

    def limit(self, expr: Expr) -> Expr:
        """The limit: an exact value, oo or -oo. Raises ``Undecided``."""
        return self.value(self(expr))

    def value(self, germ: Germ) -> Expr:
        """Limit of a germ. Raises ``Undecided``."""
        for key, c in germ.terms:
            if key > ONE:
                break
            if key == ONE:
                if germ.rest is not None and germ.rest <= ONE:
                    raise Undecided("remainder too large")
                return c
            sign = self.sign(c)
            if sign is None:
                raise Undecided(f"sign of {c}")
            if sign:
                return sympy.oo if sign > 0 else -sympy.oo
        if germ.rest is not None and germ.rest <= ONE:
            raise Undecided("remainder too large")
        return sympy.S.Zero

    def sign(self, c: Expr) -> int | None:
        """Sign of a coefficient, remembered."""
        if c.is_Rational:
            return int(c.p > 0) - int(c.p < 0)
        if c not in self._signs:
            self._signs[c] = self._decide(c)
        return self._signs[c]

    def side(self, germ: Germ) -> int:
        """Sign of a germ near the end. Raises ``Undecided``."""
        return self._lead(germ)[2] if germ.order is not None else 0

    def __call__(self, expr: Expr) -> Germ:
        """The germ of an expression. Raises ``Undecided``."""
        if expr not in self._known:
            self._known[expr] = self._expand(expr)
        return self._known[expr]

    def _expand(self, e: Expr) -> Germ:
        if not e.has(self.x):
            if e.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo, sympy.I):
                raise Undecided(f"{e} is no real number")
            return self._make([(ONE, e)], None)
        if e.is_Add:
            return self.add(*(self(a) for a in e.args))
        if e.is_Mul:
            made = self(e.args[0])
            for a in e.args[1:]:
                made = self.times(made, self(a))
            return made
        if isinstance(e, sympy.exp):
            return self.exp(self(e.args[0]))
        if e.is_Pow:
            base, power = e.args
            if power.is_Rational:
                return self.power(self(base), Fraction(power.p, power.q))
            return self.exp(self.times(self(power), self.log(self(base))))
        if isinstance(e, sympy.Piecewise):
            for value, condition in e.args:
                if self.holds(condition):
                    return self(value)
            raise Undecided("no branch holds")
        if isinstance(e, sympy.Max | sympy.Min):
            best = self(e.args[0])
            for a in e.args[1:]:
                other = self(a)
                more = self.side(self.add(other, self.scale(best, -1)))
                best = other if (more > 0) == isinstance(e, sympy.Max) and more else best
            return best
        if len(e.args) == 1 or isinstance(e, sympy.polygamma):
            return self._function(e, self(e.args[-1]))
        raise Undecided(f"no rule for {type(e).__name__}")

    def holds(self, condition: Expr) -> bool:
        """Whether a condition holds on a neighbourhood of the end. Raises ``Undecided``."""
        if condition in (sympy.true, sympy.false):
            return bool(condition)
        if isinstance(condition, sympy.And):
            return all(self.holds(a) for a in condition.args)
        if isinstance(condition, sympy.Or):
            return any(self.holds(a) for a in condition.args)
        if isinstance(condition, sympy.Not):
            return not self.holds(condition.args[0])
        sign = self.side(self.add(self(condition.lhs), self.scale(self(condition.rhs), -1)))
        return bool(condition.func(sympy.Integer(sign), 0))

    # arithmetic ------------------------------------------------------------------------------------------------

    def _make(self, terms: list[tuple[Key, Expr]], rest: Key | None) -> Germ:
        total: dict[Key, Expr] = {}
        for key, c in terms:
            if rest is None or key < rest:
                total[key] = total[key] + c if key in total else c
        kept: list[tuple[Key, Expr]] = []
        for key in sorted(total):
            c = total[key]
            if c == 0 or (not c.is_Rational and self._vanishes(c)):
                continue
            if len(kept) == self.size:
                return Germ(tuple(kept), key)
            kept.append((key, c))
        return Germ(tuple(kept), rest)

    def _vanishes(self, c: Expr) -> bool:
        # a lone product or function is zero only if written so; sums may cancel
        if not c.has(sympy.Add):
            return False
        if c not in self._zeros:
            value = ball(c, dict.fromkeys(c.free_symbols, _SAMPLE), bits=128)
            self._zeros[c] = bool(value.contains(0)) and self.sign(c) == 0
        return self._zeros[c]

    def add(self, *germs: Germ) -> Germ:
        """Sum."""
        rests = [g.rest for g in germs if g.rest is not None]
        return self._make([t for g in germs for t in g.terms], min(rests) if rests else None)

    def scale(self, g: Germ, c: Expr) -> Germ:
        """Product with a constant."""
        return Germ(tuple((k, c * d) for k, d in g.terms), g.rest) if c != 0 else ZERO

    def times(self, g: Germ, h: Germ) -> Germ:
        """Product."""
        if g.order is None or h.order is None:
            return ZERO
        rests = []
        if g.rest is not None:
            rests.append(_plus(g.rest, h.order))
        if h.rest is not None:
            rests.append(_plus(h.rest, g.order))
        rest = min(rests) if rests else None
        return self._make([(_plus(j, k), c * d) for j, c in g.terms for k, d in h.terms], rest)

    def _lead(self, g: Germ) -> tuple[Key, Expr, int]:
        if not g.terms:
            raise Undecided("zero up to the remainder" if g.rest else "zero")
        key, c = g.terms[0]
        sign = self.sign(c)
        if not sign:
            raise Undecided(f"sign of {c}")
        return key, c, sign

    def _relative(self, g: Germ, key: Key, c: Expr) -> Germ:
        # g = c K (1 + e): e
        terms = [(_plus(k, key, -1), d / c) for k, d in g.terms[1:]]
        return self._make(terms, None if g.rest is None else _plus(g.rest, key, -1))

    def series(self, coefficients: Callable[[int], Expr], e: Germ) -> Germ:
        """Sum of c_n e^n for a vanishing germ: a convergent or asymptotic power series."""
        if e.order is not None and e.order <= ONE:
            raise Undecided("series of what does not vanish")
        total, power = self._make([(ONE, coefficients(0))], None), self._make([(ONE, sympy.S.One)], None)
        if e.order is None:
            return total
        for n in range(1, self.size + 1):
            power = self.times(power, e)
            total = self.add(total, self.scale(power, coefficients(n)))
        return self.add(total, Germ((), _times(e.order, self.size + 1)))

    def power(self, g: Germ, r: Fraction) -> Germ:
        """Power with a rational exponent."""
        if g.order is None:
            if r > 0:
                return ZERO
            raise Undecided("0 to a power that is not positive")
        if r.denominator == 1 and 0 <= r <= 4:
            made = self._make([(ONE, sympy.S.One)], None)
            for _ in range(int(r)):
                made = self.times(made, g)
            return made
        key, c, sign = self._lead(g)
        if sign < 0 and r.denominator != 1:
            raise Undecided("root of a negative number")
        exponent = sympy.Rational(r.numerator, r.denominator)
        made = self.series(lambda n: sympy.binomial(exponent, n), self._relative(g, key, c))
        return self.times(Germ(((_times(key, r), c**exponent),)), made)

    def log(self, g: Germ) -> Germ:
        """Natural logarithm."""
        key, c, sign = self._lead(g)
        if sign < 0 or key[2] != 0:
            raise Undecided("logarithm of a negative number or of log log")
        small = self.series(
            lambda n: sympy.Rational((-1) ** (n + 1), n) if n else sympy.S.Zero, self._relative(g, key, c)
        )
        big = [(_L, -_number(key[0])), (_M, -_number(key[1])), (ONE, sympy.log(c))]
        return self.add(self._make(big, None), small)

    def exp(self, g: Germ) -> Germ:
        """Exponential: of a bounded germ, of multiples of L and M, and of what sinks faster."""
        shift, constant, small = list(ONE), sympy.S.Zero, []
        for key, c in g.terms:
            if key > ONE:
                small.append((key, c))
            elif key == ONE:
                constant = c
            elif key in (_L, _M) and c.is_Rational:
                shift[0 if key == _L else 1] = -Fraction(c.p, c.q)
            elif key < _L and self._lead(g)[2] < 0:
                return Germ((), _FLAT)
            else:
                raise Undecided("exponential of a large term")
        if g.rest is not None and g.rest <= ONE:
            raise Undecided("remainder too large")
        made = self.series(lambda n: 1 / sympy.factorial(n), Germ(tuple(small), g.rest))
        return self.times(Germ((((shift[0], shift[1], _0), sympy.exp(constant)),)), made)

    # functions -------------------------------------------------------------------------------------------------

    def _function(self, e: Expr, g: Germ) -> Germ:
        f = e.func
        if f is sympy.log:
            return self.log(g)
        if f is sympy.Abs:
            return self._absolute(g)
        if f is sympy.sign:
            return self._make([(ONE, sympy.Integer(self.side(g)))], None)
        one = self._make([(ONE, sympy.S.One)], None)
        if f is sympy.atanh:
            ratio = self.times(self.add(one, g), self.power(self.add(one, self.scale(g, -1)), Fraction(-1)))
            return self.scale(self.log(ratio), sympy.Rational(1, 2))
        if f is sympy.asinh:
            root = self.power(self.add(self.times(g, g), one), Fraction(1, 2))
            side = self.side(g)
            return self.scale(self.log(self.add(self.scale(g, side), root)), side) if side else ZERO
        value = self.value(g)
        if value in (sympy.oo, -sympy.oo):
            return self._at_infinity(e, g, value == sympy.oo)
        gamma = f in (sympy.polygamma, sympy.loggamma)
        if gamma and value == 0 and self.side(g) > 0:
            # f(x) = f(x + 1) minus what the recurrence adds
            above = self._function(e, self.add(g, one))
            if f is sympy.loggamma:
                return self.add(above, self.scale(self.log(g), -1))
            n = int(e.args[0])
            pole = self.power(g, Fraction(-n - 1))
            return self.add(above, self.scale(pole, (-1) ** (n + 1) * sympy.factorial(n)))
        if (gamma and self.sign(value) != 1) or f not in _ANALYTIC:
            raise Undecided(f"no rule for {f.__name__} at {value}")
        order = e.args[0] if f is sympy.polygamma else None
        small = self.add(g, self._make([(ONE, -value)], None))
        return self.series(lambda n: _taylor(f, order, n).xreplace({_X: value}), small)

    def _absolute(self, g: Germ) -> Germ:
        try:
            return self.scale(g, self.side(g)) if g.order is not None else ZERO
        except Undecided:
            value = self.value(g)
            if value in (sympy.oo, -sympy.oo):
                return self.scale(g, 1 if value == sympy.oo else -1)
            # | |g| - |c| | <= |g - c|
            away = self.add(g, self._make([(ONE, -value)], None)).order
            return self._make([(ONE, sympy.Abs(value))], away)

    def _at_infinity(self, e: Expr, g: Germ, up: bool) -> Germ:
        f = e.func
        one = self._make([(ONE, sympy.S.One)], None)
        if f in (sympy.sin, sympy.cos):
            return Germ((), ONE)  # bounded
        if f in (sympy.cosh, sympy.sinh):
            down = self.scale(self.exp(self.scale(g, -1)), 1 if f is sympy.cosh else -1)
            return self.scale(self.add(self.exp(g), down), sympy.Rational(1, 2))
        if f is sympy.tanh:
            decay = self.exp(self.scale(g, -2 if up else 2))
            ratio = self.times(
                self.add(one, self.scale(decay, -1)), self.power(self.add(one, decay), Fraction(-1))
            )
            return self.scale(ratio, 1 if up else -1)
        if f is sympy.atan:
            inverse = self.power(g, Fraction(-1))
            made = self._function(sympy.atan(_X), inverse)
            half = self._make([(ONE, sympy.pi / 2 if up else -sympy.pi / 2)], None)
            return self.add(half, self.scale(made, -1))
        if f is sympy.erf:
            tail = self.exp(self.scale(self.times(g, g), -1))  # erfc(x) < exp(-x^2)
            return self._make([(ONE, sympy.S.One if up else sympy.S.NegativeOne)], tail.order)
        if up and f is sympy.loggamma:
            inverse = self.power(g, Fraction(-1))
            half = self._make([(ONE, sympy.Rational(1, 2))], None)
            stirling = self.times(self.add(g, self.scale(half, -1)), self.log(g))
            constant = self._make([(ONE, sympy.log(2 * sympy.pi) / 2)], inverse.order)
            return self.add(stirling, self.scale(g, -1), constant)
        if up and f is sympy.polygamma and e.args[0] == 0:
            inverse = self.power(g, Fraction(-1))
            tail = Germ((), _times(inverse.order or ONE, 2))
            return self.add(self.log(g), self.scale(inverse, -sympy.Rational(1, 2)), tail)
        raise Undecided(f"no rule for {f.__name__} at infinity")


_ANALYTIC = (
    sympy.tanh,
    sympy.cosh,
    sympy.sinh,
    sympy.sin,
    sympy.cos,
    sympy.tan,
    sympy.atan,
    sympy.erf,
    sympy.polygamma,
    sympy.loggamma,
)


@lru_cache(maxsize=256)
def _taylor(f: Any, order: Expr | None, n: int) -> Expr:
    function = f(_X) if order is None else f(order, _X)
    return sympy.diff(function, _X, n) / sympy.factorial(n)


def _plus(a: Key, b: Key, times: int = 1) -> Key:
    return (a[0] + times * b[0], a[1] + times * b[1], a[2] + times * b[2])


def _times(a: Key, r: Fraction | int) -> Key:
    return (a[0] * r, a[1] * r, a[2] * r)


def _number(x: Fraction) -> Expr:
    return sympy.Rational(x.numerator, x.denominator)


__all__ = ["ONE", "Expansion", "Germ", "Key", "Undecided"]
