"""Expression -> rigorous enclosure over boxes, compiled once into a list of span operations."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import sympy

from lossproof.formula import LossproofError
from lossproof.formula.functions import derivative, langevin
from lossproof.prove import span as spans
from lossproof.prove import span_functions as functions
from lossproof.prove.span import UNDEFINED, Span

Expr = Any  # sympy is untyped
Box: TypeAlias = tuple[Span, ...]
Operation: TypeAlias = tuple[Callable[..., Any], int, int]

_JUMPS = ("sign", "Piecewise")


class Enclosure:
    """An expression compiled into span operations; every common subexpression is computed once.

    ``over`` encloses all values that the expression takes on a box, in the extended reals, with 0 times
    infinity = 0; it is ``UNDEFINED`` where the box reaches outside the domain of a function. Raises
    ``LossproofError`` for symbols without a place in ``symbols`` and for functions that formulas do not have.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P, Y
    >>> Enclosure(parse("(y - p)**2"), [Y, P]).over(((0.0, 0.5), (0.5, 1.0)))
    (0.0, 1.0)
    """

    def __init__(self, expr: Expr, symbols: Sequence[Expr]) -> None:
        self.expr = expr
        self.symbols = tuple(symbols)
        self._width = len(self.symbols)
        self._start: list[Any] = []  # constants, after the symbols
        self._tape: list[Operation] = []
        self._jumps: list[int] = []  # operations that jump where their value is not decided
        place = _Compiler(self)(expr)
        # operations come after the constants, whose number is known only now
        shift = self._width + len(self._start)
        self._tape = [(f, _settle(i, shift), _settle(j, shift)) for f, i, j in self._tape]
        self._jumps = [k + shift for k in self._jumps]
        self._out = _settle(place, shift)

    def _run(self, box: Sequence[Span]) -> list[Any]:
        values: list[Any] = [*box, *self._start]
        push = values.append
        for f, i, j in self._tape:
            if j >= 0:
                push(f(values[i], values[j]))
            elif j == _UNARY:
                push(f(values[i]))
            else:
                push(f(values))
        return values

    def over(self, box: Sequence[Span]) -> Span:
        """Enclose the values on a box, one span per symbol."""
        out: Span = self._run(box)[self._out]
        return out

    def steady(self, box: Sequence[Span], below: float = math.inf) -> tuple[Span, bool]:
        """Enclose, and tell whether the expression is surely defined, finite and continuous on the box.

        With ``below`` every part of it must be smaller than that in size, too.
        """
        values = self._run(box)
        for value in values:
            if type(value) is tuple and not (-below < value[0] and value[1] < below):
                return values[self._out], False
        for k in self._jumps:
            value = values[k]
            if value is None or (type(value) is tuple and value[0] != value[1]):
                return values[self._out], False
        return values[self._out], True

    def defined(self, box: Sequence[Span]) -> bool:
        """Whether the expression surely has a value, finite or infinite, at every point of the box.

        Limits count where the extended reals have one (log 0 = -inf, 1/0 = inf where 0 is an end of the
        divisor); infinity minus infinity and 0 times infinity do not, except in xlogy and its kin.
        """
        values = self._run(box)
        for value in values:
            if type(value) is tuple and not value[0] <= value[1]:
                return False
        return not any(_ambiguous(f, values, i, j) for f, i, j in self._tape)


_UNARY = -1
_MANY = -2
_OFFSET = 1_000_000_000  # marks the place of an operation before the number of constants is known


def _settle(place: int, shift: int) -> int:
    return place - _OFFSET + shift if place >= _OFFSET else place


def _ambiguous(f: Callable[..., Any], values: list[Any], i: int, j: int) -> bool:
    if f is spans.inverse or j == _UNARY:
        a = values[i]
        return f in _INVERSES and a[0] <= 0.0 <= a[1] and (a[0] < 0.0 < a[1] or a[0] == a[1])
    if j < 0:
        return False
    a, b = values[i], values[j]
    if f is spans.add or f is spans.sub:
        if f is spans.sub:
            b = spans.neg(b)
        return bool((a[1] == math.inf and b[0] == -math.inf) or (a[0] == -math.inf and b[1] == math.inf))
    if f is spans.div:
        pole = b[0] <= 0.0 <= b[1]
        return bool(
            (pole and (b[0] < 0.0 < b[1] or b[0] == b[1] or a[0] <= 0.0 <= a[1])) or (_far(a) and _far(b))
        )
    if f is spans.mul:
        return bool((a[0] <= 0.0 <= a[1] and _far(b)) or (b[0] <= 0.0 <= b[1] and _far(a)))
    return False


_INVERSES = {spans.inverse}


def _far(a: Span) -> bool:
    return math.isinf(a[0]) or math.isinf(a[1])


class _Compiler:
    """One walk over an expression, writing an Enclosure's tape."""

    def __init__(self, out: Enclosure) -> None:
        self.out = out
        self.places: dict[Any, int] = {s: i for i, s in enumerate(out.symbols)}

    def __call__(self, expr: Expr) -> int:
        place = self.places.get(expr)
        if place is None:
            place = self.places[expr] = self.compile(expr)
        return place

    def constant(self, value: Any) -> int:
        key = ("constant", value)
        if key not in self.places:
            self.out._start.append(value)
            self.places[key] = self.out._width + len(self.out._start) - 1
        return self.places[key]

    def emit(self, f: Callable[..., Any], i: int, j: int = _UNARY, *, jump: bool = False) -> int:
        if j >= 0 or j == _UNARY:
            key = (f, i, j)
            if key in self.places:
                return self.places[key]
        self.out._tape.append((f, i, j))
        place = len(self.out._tape) - 1
        if jump:
            self.out._jumps.append(place)
        if j >= 0 or j == _UNARY:
            self.places[key] = place + _OFFSET
        return place + _OFFSET

    def compile(self, expr: Expr) -> int:
        if expr.is_Rational:
            return self.constant(spans.span(Fraction(int(expr.p), int(expr.q))))
        if expr.is_Add:
            return self.sum(expr)
        if expr.is_Mul:
            return self.product(expr)
        name = type(expr).__name__
        if name in functions.UNARY:
            return self.emit(functions.UNARY[name], self(expr.args[0]), jump=name in _JUMPS)
        if name in functions.BINARY:
            return self.emit(functions.BINARY[name], self(expr.args[0]), self(expr.args[1]))
        if name == "Pow":
            return self.power(*expr.args)
        if name in ("Max", "Min"):
            f = spans.largest if name == "Max" else spans.smallest
            first, *rest = (self(a) for a in expr.args)
            for other in rest:
                first = self.emit(f, first, other)
            return first
        if name == "polygamma" and expr.args[0].is_Integer:
            return self.emit(functions.digammas(int(expr.args[0])), self(expr.args[1]))
        if name == "Piecewise":
            return self.piecewise(expr)
        return self.special(expr)

    def special(self, expr: Expr) -> int:
        if expr is sympy.pi:
            return self.constant(functions.PI)
        if expr is sympy.E:
            return self.constant(functions.E)
        if expr is sympy.EulerGamma:
            return self.constant(functions.EULER)
        if isinstance(expr, sympy.zeta) and len(expr.args) == 1 and expr.args[0].is_Integer:
            return self.constant(functions.zeta(int(expr.args[0])))
        if expr is sympy.oo or expr is sympy.S.NegativeInfinity:
            return self.constant((math.inf, math.inf) if expr is sympy.oo else (-math.inf, -math.inf))
        if expr is sympy.nan or expr is sympy.zoo:
            return self.constant(UNDEFINED)
        if expr.is_Float:
            return self(sympy.Rational(expr))
        if expr.is_Symbol:
            known = ", ".join(map(str, self.out.symbols))
            raise LossproofError(
                f"enclose: expected a formula in {known}, got {expr} too. Add it to symbols."
            )
        raise LossproofError(f"enclose: expected a function that formulas have, got {type(expr).__name__}.")

    def sum(self, expr: Expr) -> int:
        first, *rest = sorted(expr.args, key=_negative)
        place = self(first)
        for term in rest:
            f, other = (spans.sub, -term) if _negative(term) else (spans.add, term)
            place = self.emit(f, place, self(other))
        return place

    def product(self, expr: Expr) -> int:
        number, factors = expr.as_coeff_mul()
        above, below = [], []
        for factor in _paired(factors):
            if factor.is_Pow and factor.exp.is_Rational and factor.exp < 0:
                below.append(1 / factor)
            else:
                above.append(factor)
        top = self.chain(above)
        if below:
            bottom = self.chain(below)
            top = self.emit(spans.inverse, bottom) if top is None else self.emit(spans.div, top, bottom)
        if number == 1:
            assert isinstance(top, int)
            return top
        if number == -1:
            return self.emit(spans.neg, top) if top is not None else self(number)
        return self.emit(spans.mul, top, self(number)) if top is not None else self(number)

    def chain(self, factors: Sequence[Expr]) -> Any:
        if not factors:
            return None
        place = self(factors[0])
        for factor in factors[1:]:
            place = self.emit(spans.mul, place, self(factor))
        return place

    def power(self, base: Expr, exponent: Expr) -> int:
        if exponent.is_Rational:
            if exponent.is_Integer and exponent < 0:
                return self.emit(spans.inverse, self.power(base, -exponent))
            if exponent == 1:
                return self(base)
            return self.emit(functions.powers(Fraction(int(exponent.p), int(exponent.q))), self(base))
        return self.emit(functions.real_power, self(base), self(exponent))

    def piecewise(self, expr: Expr) -> int:
        slope = _slope_of_langevin(expr)
        if slope is not None:
            return self.emit(functions.langevin_slope, self(slope))
        cases = [(self.condition(c), self(e)) for e, c in expr.args]
        return self.emit(self.late(cases), 0, _MANY)

    def late(self, cases: list[tuple[int, int]]) -> Callable[[list[Any]], Span]:
        out = self.out
        settled: list[tuple[int, int]] = []

        def choose(values: list[Any]) -> Span:
            if not settled:
                shift = out._width + len(out._start)
                settled.extend((_settle(c, shift), _settle(e, shift)) for c, e in cases)
            found: Span | None = None
            for c, e in settled:
                holds = values[c]
                if holds is False:
                    continue
                found = values[e] if found is None else spans.hull(found, values[e])
                if holds:
                    return found
            return UNDEFINED  # some point of the box may fall through every condition

        return choose

    def condition(self, condition: Expr) -> int:
        if condition in (sympy.true, sympy.false):
            return self.constant(bool(condition))
        name = type(condition).__name__
        if name in ("And", "Or"):
            f = _both if name == "And" else _either
            first, *rest = (self.condition(c) for c in condition.args)
            for other in rest:
                first = self.emit(f, first, other)
            return first
        if name == "Not":
            return self.emit(_not, self.condition(condition.args[0]))
        if not condition.is_Relational:
            raise LossproofError(f"enclose: expected a comparison, got {condition}.")
        compare = _COMPARE[condition.rel_op]
        return self.emit(compare, self(condition.lhs), self(condition.rhs), jump=True)


def _compare(relation: str) -> Callable[[Span, Span], bool | None]:
    return lambda a, b: spans.meets(relation, a, b)


_COMPARE = {relation: _compare(relation) for relation in ("<", "<=", ">", ">=", "==", "!=")}


def _both(a: bool | None, b: bool | None) -> bool | None:
    return False if a is False or b is False else None if a is None or b is None else True


def _either(a: bool | None, b: bool | None) -> bool | None:
    return True if a is True or b is True else None if a is None or b is None else False


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


def _negative(term: Expr) -> bool:
    return bool(term.as_coeff_Mul()[0] < 0)


def _paired(factors: Sequence[Expr]) -> list[Expr]:
    # atanh(u)/u, bounded where each factor alone is not
    rest = list(factors)
    for factor in factors:
        if isinstance(factor, sympy.atanh):
            u = factor.args[0]
            for sign, divisor in ((1, 1 / u), (-1, 1 / (-u).expand())):
                if divisor in rest and factor in rest:
                    rest.remove(factor)
                    rest.remove(divisor)
                    rest += [sympy.Integer(sign), _Atanhc(u)]
    return rest


class _Atanhc(sympy.Function):
    """atanh(u)/u, 1 at 0; lives only inside a compiler."""

    nargs = 1


functions.UNARY["_Atanhc"] = functions.atanhc


def _slope_of_langevin(expr: Expr) -> Expr | None:
    # the derivative that langevin states of itself: 1/x in one branch alone would be unbounded around 0
    for atom in expr.args[0][0].atoms(langevin):
        if expr == atom.fdiff():
            return atom.args[0]
    return None


class MeanValue:
    """A second enclosure: monotone variables at their ends, the others as centre + slope times width.

    ``over`` never gives more than the plain enclosure. It falls back to it wherever the expression is not surely
    continuous or a slope is not bounded on the box.
    Ref: Moore, Kearfott, Cloud, Introduction to Interval Analysis, 2009, chapter 6.
    """

    def __init__(self, expr: Expr, symbols: Sequence[Expr]) -> None:
        self.plain = Enclosure(expr, symbols)
        self.slopes = [Enclosure(derivative(expr, s), symbols) for s in symbols]

    def over(self, box: Sequence[Span]) -> Span:
        """Enclose the values on a box."""
        plain, steady = self.plain.steady(box)
        if not steady:
            return plain
        slopes = [s.over(box) for s in self.slopes]
        if any(not (-math.inf < s[0] <= s[1] < math.inf) for s in slopes):
            return plain
        low = self._end(box, slopes, 0)
        high = self._end(box, slopes, 1)
        return max(plain[0], low), min(plain[1], high)

    def _end(self, box: Sequence[Span], slopes: list[Span], which: int) -> float:
        at: list[Span] = []
        drift = spans.ZERO
        for (a, b), slope in zip(box, slopes, strict=True):
            if slope[0] >= 0.0 or slope[1] <= 0.0:
                rises = slope[0] >= 0.0
                x = b if rises == bool(which) else a
            else:
                x = a + (b - a) / 2
                drift = spans.add(drift, spans.mul(slope, spans.sub((a, b), (x, x))))
            at.append((x, x))
        return spans.add(self.plain.over(at), drift)[which]


def mean_value(expr: Expr, symbols: Sequence[Expr]) -> MeanValue:
    """The mean-value enclosure of an expression; it is differentiated by ``derivative``.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P
    >>> mean_value(parse("p - p**2"), [P]).over(((0.0, 0.25),))
    (0.0, 0.1875)
    """
    return MeanValue(expr, symbols)
