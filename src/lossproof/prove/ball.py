"""The value of a formula at an exact point: exact rational arithmetic as far as it goes, balls from there.

Conventions are the formula's own: xlogy, xlog1py, xdivy and xtimes are 0 where their first argument is 0. Any other
0 times infinity, infinity minus infinity, 1/0 and value outside a domain is not a number, and so is a ``where`` whose
condition cannot be decided; log(0) = -inf and even poles = inf are values.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from math import isqrt
from typing import Any

import flint
import sympy

from lossproof.formula import LossproofError
from lossproof.prove import special
from lossproof.prove.special import of_ball, precision

Expr = Any  # sympy is untyped
Ball = Any  # flint.arb
Value = Any  # flint.fmpq while exact, else flint.arb

_Q, _arb = flint.fmpq, flint.arb
_ZERO, _ONE = _Q(0), _Q(1)
_NAN, _PLUS, _MINUS = _arb("nan"), _arb.pos_inf(), _arb.neg_inf()
_LARGEST = 20_000  # bits of an exact value before it becomes a ball
_FACTORED = 10**12
_PRECISIONS = (64, 128, 256, 512, 1024)


def ball(expr: Expr, at: Mapping[Expr, Any] | None = None, *, bits: int = 64) -> Ball:
    """Enclose an expression at an exact rational point by a ball of ``bits`` bits; nan where it has no value.

    Raises ``LossproofError`` for a symbol without a value and for a function that formulas do not have.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P, Y
    >>> print(ball(parse("-xlogy(y, p)"), {Y: Fraction(1, 2), P: Fraction(1, 4)}).str(6, radius=False))
    0.693147
    """
    with precision(bits):
        return _arb(value(expr, at or {}))


def value(expr: Expr, at: Mapping[Expr, Any]) -> Value:
    """The exact rational value (``flint.fmpq``) where arithmetic gives one, else a ball of the current precision."""
    return _Point(at)(expr)


def amount(expr: Expr, at: Mapping[Expr, Any] | None = None) -> str:
    """An expression at an exact point as text, with as many bits as it takes to tell it from 0.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P
    >>> amount(parse("log(1 + p) - p"), {P: Fraction(1, 10**90)})
    '[-5.00000000000e-181 +/- 3e-197]'
    """
    found = ball(expr, at, bits=256)
    for bits in _PRECISIONS:
        if bits > 256 and found.contains(0) and not found.is_exact():
            found = ball(expr, at, bits=bits)
    return str(found.str(12))


def sign_at(
    expr: Expr, at: Mapping[Expr, Any] | None = None, *, bits: tuple[int, ...] = _PRECISIONS
) -> int | None:
    """Sign at an exact rational point: 1, -1, 0 only where it is exactly zero, None where balls cannot tell.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P
    >>> sign_at(parse("log(1 + p) - p"), {P: Fraction(1, 10**30)}), sign_at(parse("p*p - 1/4"), {P: Fraction(1, 2)})
    (-1, 0)
    """
    at = at or {}
    for i, count in enumerate(bits):
        with precision(count):
            found = value(expr, at)
            if isinstance(found, _Q):
                return int(found > 0) - int(found < 0)
            if found > 0:
                return 1
            if found < 0:
                return -1
            if found.is_nan() and count >= 256:  # not a matter of precision
                break
        if i == 0 and _vanishes(expr, at):
            return 0
    return None


def _vanishes(expr: Expr, at: Mapping[Expr, Any]) -> bool:
    # SymPy's automatic evaluation collects identical terms: log(1/3) - log(1/3); it also tries to write out (1/3)**q
    exponents = [n.exp for n in expr.atoms(sympy.Pow) if n.exp.is_Rational]
    if any(max(abs(e.p), e.q) > 1000 for e in exponents):
        return False
    point = {s: _ratio(v) for s, v in at.items()}
    if any(e.q > 1 for e in exponents) and any(max(abs(a), b) > _FACTORED for a, b in point.values()):
        return False  # it factors what stands under a root: slowly, and SymPy 1.14 fails on some
    put = expr.xreplace({s: sympy.Rational(*ratio) for s, ratio in point.items()})
    return bool(put == 0)


def _ratio(number: Any) -> tuple[int, int]:
    if isinstance(number, int):
        return number, 1
    if isinstance(number, Fraction):
        return number.numerator, number.denominator
    if getattr(number, "is_Rational", False):
        return int(number.p), int(number.q)
    raise LossproofError(f"ball: expected an exact rational (Fraction, Rational, int), got {number!r}.")


class _Point:
    """One evaluation; every subexpression once."""

    def __init__(self, at: Mapping[Expr, Any]) -> None:
        self.values: dict[Expr, Value] = {s: _Q(*_ratio(v)) for s, v in at.items()}

    def __call__(self, expr: Expr) -> Value:
        found = self.values.get(expr)
        if found is None:
            found = self.compute(expr)
            if isinstance(found, _Q) and _size(found) > _LARGEST:
                found = _arb(found)
            self.values[expr] = found
        return found

    def compute(self, expr: Expr) -> Value:
        if expr.is_Rational:
            return _Q(int(expr.p), int(expr.q))
        if expr.is_Add:
            return sum((self(a) for a in expr.args), _ZERO)
        if expr.is_Mul:
            return _product([self(a) for a in expr.args])
        name = type(expr).__name__
        if name in _UNARY:
            return _UNARY[name](self(expr.args[0]))
        if name in _BINARY:
            return _BINARY[name](*(self(a) for a in expr.args))
        if name == "Pow":
            return self.power(*expr.args)
        if name in ("Max", "Min"):
            pick = _larger if name == "Max" else _smaller
            first, *others = [self(a) for a in expr.args]
            for other in others:
                first = pick(first, other)
            return first
        if name == "Piecewise":
            for branch, condition in expr.args:
                holds = self.holds(condition)
                if holds is None:
                    return _NAN
                if holds:
                    return self(branch)
            return _NAN
        if name == "polygamma" and expr.args[0].is_Integer:
            return _polygamma(int(expr.args[0]), self(expr.args[1]))
        return _constant(expr)

    def power(self, base: Expr, exponent: Expr) -> Value:
        if exponent.is_Integer:
            return _integer_power(self(base), int(exponent))
        b, e = self(base), self(exponent)
        if isinstance(e, _Q) and e.q == 2 and abs(e.p) < 64:
            return _integer_power(_sqrt(b), int(e.p))
        if isinstance(e, _Q) and e.q == 1 and abs(e.p) < 10_000:
            return _integer_power(b, int(e.p))
        if isinstance(b, _Q) and b == 0:
            return _ZERO if e > 0 else _PLUS if e < 0 else _NAN
        if b == 1:
            return _ONE
        return _arb(b) ** _arb(e) if b > 0 and _arb(b).is_finite() else _NAN

    def holds(self, condition: Expr) -> bool | None:
        """Whether a condition holds at the point; None where it cannot be told."""
        if condition in (sympy.true, sympy.false):
            return bool(condition)
        name = type(condition).__name__
        if name in ("And", "Or"):
            parts = [self.holds(c) for c in condition.args]
            decisive = name == "Or"
            return decisive if decisive in parts else None if None in parts else not decisive
        if name == "Not":
            inner = self.holds(condition.args[0])
            return None if inner is None else not inner
        if not condition.is_Relational:
            raise LossproofError(f"ball: expected a comparison, got {condition}.")
        return _compare(condition.rel_op, self(condition.lhs), self(condition.rhs))


def _size(q: Any) -> int:
    return int(q.p).bit_length() + int(q.q).bit_length()


def _compare(relation: str, a: Value, b: Value) -> bool | None:
    if isinstance(a, _Q) and isinstance(b, _Q):
        less, equal = a < b, a == b
    else:
        a, b = _arb(a), _arb(b)
        less, equal = bool(a < b), bool(a.is_exact() and b.is_exact() and a == b)
        if not (less or equal or a > b):
            ruled_out = {"<=": a > b, "<": a >= b, ">": a <= b, ">=": a < b}
            implied = {"<=": a <= b, ">=": a >= b}
            return False if ruled_out.get(relation) else True if implied.get(relation) else None
    holds: dict[str, bool] = {
        "<": less, "<=": less or equal, ">": not (less or equal), ">=": not less, "==": equal, "!=": not equal,
    }  # fmt: skip
    return holds[relation]


def _product(factors: list[Value]) -> Value:
    exact, balls = _ONE, []
    for f in factors:
        if isinstance(f, _Q):
            exact *= f
        else:
            balls.append(f)
    if not balls:
        return exact
    if exact == 0:
        return _ZERO if all(b.is_finite() for b in balls) else _NAN
    out = _arb(exact)
    for b in balls:
        out = out * b
    return out


def _integer_power(b: Value, n: int) -> Value:
    if n == 0:
        return _ONE
    if isinstance(b, _Q):
        if b == 0:
            return _ZERO if n > 0 else _PLUS if n % 2 == 0 else _NAN
        if _size(b) * abs(n) <= _LARGEST:
            return b**n
        b = _arb(b)
    if n < 0:
        return _integer_power(1 / b, -n)  # 1/inf = 0; 1/(a ball around 0) is nan
    # repeated products: arb's own power of a ball around 0 is nan (python-flint issue 8)
    out = None
    while n:
        if n & 1:
            out = b if out is None else out * b
        b, n = b * b, n >> 1
    return out


def _sqrt(a: Value) -> Value:
    if isinstance(a, _Q):
        if a < 0:
            return _NAN
        p, q = isqrt(int(a.p)), isqrt(int(a.q))
        return _Q(p, q) if p * p == a.p and q * q == a.q else _arb(a).sqrt()
    return a if a == _PLUS else a.sqrt()


def _larger(a: Value, b: Value) -> Value:
    if isinstance(a, _Q) and isinstance(b, _Q):
        return a if a >= b else b
    order = _compare(">=", a, b)
    return (a if order else b) if order is not None else _arb(a).max(_arb(b))


def _smaller(a: Value, b: Value) -> Value:
    return -_larger(-a, -b)


def _sign(a: Value) -> Value:
    if a > 0 or a < 0:
        return _ONE if a > 0 else -_ONE
    return _ZERO if isinstance(a, _Q) else _NAN if a.is_nan() else _arb(0, 1)


def _log(a: Value) -> Value:
    if isinstance(a, _Q):
        return _ZERO if a == 1 else _MINUS if a == 0 else _arb(a).log() if a > 0 else _NAN
    return a if a == _PLUS else a.log()


def _function(
    f: Callable[[Ball], Ball],
    at_zero: Value = None,
    ends: tuple[Any, Any] = (_NAN, _NAN),
    inside: Callable[[Value], bool] | None = None,
) -> Callable[[Value], Value]:
    def of(a: Value) -> Value:
        if isinstance(a, _Q):
            if a == 0 and at_zero is not None:
                return at_zero
            a = _arb(a)
        if not a.is_finite() and not a.is_nan() and a.is_exact():
            return ends[0] if a == _MINUS else ends[1]
        return f(a) if inside is None or inside(a) else _NAN

    return of


def _even(f: Callable[[Ball], Ball]) -> Callable[[Ball], Ball]:
    def of(a: Ball) -> Ball:
        if a.is_exact():
            return f(a)
        out = f(a.lower()).union(f(a.upper()))
        return out.union(f(_arb(0))) if a.contains(0) else out

    return of


def _gamma(a: Value) -> Value:
    return (_PLUS if a == 0 else _NAN) if not a > 0 else _arb(a).lgamma()


def _polygamma(n: int, a: Value) -> Value:
    if isinstance(a, _Q) and a == 0:
        return _PLUS if n % 2 else _MINUS
    return special.polygamma(n, _arb(a)) if a > 0 and _arb(a).is_finite() else _NAN


def _atanh(a: Value) -> Value:
    if isinstance(a, _Q) and abs(a) == 1:
        return _PLUS if a > 0 else _MINUS
    return _function(lambda x: x.atanh(), _ZERO)(a)


def _log1p(a: Value) -> Value:
    if isinstance(a, _Q):
        return _ZERO if a == 0 else _MINUS if a == -1 else _arb(a).log1p() if a > -1 else _NAN
    return a if a == _PLUS else a.log1p()


def _logaddexp(a: Value, b: Value) -> Value:
    a, b = _arb(a), _arb(b)
    if _PLUS in (a, b) or _MINUS in (a, b):
        return a.max(b)
    top = a.max(b)
    return top + (-abs(a - b)).exp().log1p()


def _or_zero(f: Callable[[Value, Value], Value]) -> Callable[[Value, Value], Value]:
    return lambda x, y: _ZERO if isinstance(x, _Q) and x == 0 else f(x, y)


def _rising(f: Callable[[Ball], Ball]) -> Callable[[Ball], Ball]:
    return lambda a: of_ball(f, a)


_HALF = _Q(1, 2)
_UNARY: dict[str, Callable[[Value], Value]] = {
    "exp": _function(lambda x: x.exp(), _ONE, (_ZERO, _PLUS)),
    "expm1": _function(lambda x: x.expm1(), _ZERO, (-_ONE, _PLUS)),
    "log": _log,
    "log1p": _log1p,
    "sin": _function(lambda x: x.sin(), _ZERO),
    "cos": _function(lambda x: x.cos(), _ONE),
    "tan": _function(lambda x: x.tan(), _ZERO),
    "atan": _function(lambda x: x.atan(), _ZERO),
    "sinh": _function(lambda x: x.sinh(), _ZERO, (_MINUS, _PLUS)),
    "cosh": _function(lambda x: x.cosh(), _ONE, (_PLUS, _PLUS)),
    "tanh": _function(lambda x: x.tanh(), _ZERO, (-_ONE, _ONE)),
    "asinh": _function(lambda x: x.asinh(), _ZERO, (_MINUS, _PLUS)),
    "atanh": _atanh,
    "erf": _function(lambda x: x.erf(), _ZERO, (-_ONE, _ONE)),
    "Abs": abs,
    "sign": _sign,
    "loggamma": _gamma,
    "sigmoid": _function(_rising(special.sigmoid), _HALF, (_ZERO, _ONE)),
    "softplus": _function(_rising(special.softplus), None, (_ZERO, _PLUS)),
    "logcosh": _function(_even(special.logcosh), _ZERO, (_PLUS, _PLUS)),
    "logsinhc": _function(_even(special.logsinhc), _ZERO, (_PLUS, _PLUS)),
    "langevin": _function(_rising(special.langevin), _ZERO, (-_ONE, _ONE)),
    "logexprel": _function(_rising(special.logexprel), _ZERO, (_MINUS, _PLUS)),
    "meanexp": _function(_rising(special.meanexp), _HALF, (_ZERO, _ONE)),
}
_BINARY: dict[str, Callable[[Value, Value], Value]] = {
    "xlogy": _or_zero(lambda x, y: _product([x, _log(y)])),
    "xlog1py": _or_zero(lambda x, y: _product([x, _log1p(y)])),
    "xdivy": _or_zero(lambda x, y: _product([x, _integer_power(y, -1)])),
    "xtimes": _or_zero(lambda x, w: _product([x, w])),
    "maximum": _larger,
    "minimum": _smaller,
    "logaddexp": _logaddexp,
}


def _constant(expr: Expr) -> Value:
    if expr is sympy.pi:
        return _arb.pi()
    if expr is sympy.E:
        return _arb.const_e()
    if expr is sympy.EulerGamma:
        return _arb.const_euler()
    if isinstance(expr, sympy.zeta) and len(expr.args) == 1 and expr.args[0].is_Integer:  # polygamma(2, 1)
        return _arb(int(expr.args[0])).zeta()
    if expr is sympy.oo or expr == -sympy.oo:
        return _PLUS if expr is sympy.oo else _MINUS
    if expr is sympy.nan or expr is sympy.zoo:
        return _NAN
    if expr.is_Float:
        return _constant_float(expr)
    if expr.is_Symbol:
        raise LossproofError(f"ball: expected a value for {expr}, got none. Give it in at={{...}}.")
    raise LossproofError(
        f"ball: expected a function that formulas have, got {type(expr).__name__} in {expr}."
    )


def _constant_float(expr: Expr) -> Value:
    exact = sympy.Rational(expr)
    return _Q(int(exact.p), int(exact.q))
