"""Formula strings evaluated at exact points: rationals stay exact, everything else is a ball that holds the value.

Straight from Python's ``ast``, without SymPy, so that nothing is simplified on the way.
"""

import ast
import contextlib
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from flint import arb, ctx, fmpq

from lossproof.formula import LossproofError

Value = Any  # fmpq where the value is rational, else arb
Point = Mapping[str, Fraction]


class Undecided(Exception):
    """The precision does not tell which branch holds."""


class NoValue(Undecided):
    """A comparison of what is no number."""


class Broken(Exception):
    """The certificate says something that cannot be read or is not true."""


@contextlib.contextmanager
def precision(bits: int) -> Iterator[None]:
    """FLINT's working precision inside the block; the caller's is put back."""
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


@lru_cache(maxsize=4096)
def tree(text: str) -> ast.expr:
    """The syntax tree of a formula string. Raises ``Broken`` where it is none."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, AttributeError):
        raise Broken(f"expected a formula, got {str(text)[:80]!r}") from None


def names(text: str) -> set[str]:
    """The variables of a formula string."""
    node = tree(text)
    called = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in called} - {"pi", "oo"}


def constant(value: int | float, *, decimal: bool) -> Fraction:
    """The exact number that a literal of a formula stands for."""
    return Fraction(repr(value)) if decimal and isinstance(value, float) else Fraction(value)


def value(text: str, at: Point, *, decimal: bool = False) -> Value:
    """The value of a formula at an exact point, in the precision that is set; a ball that is nan where undefined."""
    env = {name: fmpq(x.numerator, x.denominator) for name, x in at.items()}
    return _value(tree(text), env, decimal)


def _value(node: ast.expr, env: Mapping[str, Value], decimal: bool) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            exact = constant(number, decimal=decimal)
            return fmpq(exact.numerator, exact.denominator)
        case ast.Name(id="pi"):
            return arb.pi()
        case ast.Name(id=name) if name in env:
            return env[name]
        case ast.UnaryOp(op=ast.USub(), operand=a):
            return -_value(a, env, decimal)
        case ast.UnaryOp(op=ast.UAdd(), operand=a):
            return _value(a, env, decimal)
        case ast.BinOp(left=a, op=op, right=b):
            sides = _value(a, env, decimal), _value(b, env, decimal)
            if isinstance(op, ast.Mult) and 0 in sides:
                zero, other = (a, b) if sides[0] == 0 else (b, a)
                if names(ast.unparse(zero)) & {"y", "p"} and _log_of_zero(other, env, decimal):
                    return fmpq(0)
            return _binary(op, *sides)
        case ast.Call(func=ast.Name(id="where"), args=[ast.Compare() as condition, a, b]):
            return _value(a if _holds(condition, env, decimal) else b, env, decimal)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(a, env, decimal) for a in args))
    raise Broken(f"expected a formula of known names, got {ast.unparse(node)[:60]!r}")


def _log_of_zero(node: ast.expr, env: Mapping[str, Value], decimal: bool) -> bool:
    """Whether a factor has no value for a log of 0, or of what is divided by 0: 0 log 0 counts as 0."""
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Name(id="log" | "log2" | "log1p" as name), args=[inside]):
                found = _value(inside, env, decimal)
                if found == (-1 if name == "log1p" else 0) or (isinstance(found, arb) and found.is_nan()):
                    return True
    return False


def _holds(node: ast.Compare, env: Mapping[str, Value], decimal: bool) -> bool:
    sides = [_value(n, env, decimal) for n in (node.left, *node.comparators)]
    return all(compare(_SIGNS[type(op)], a, b) for op, a, b in zip(node.ops, sides, sides[1:], strict=False))


_SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=", ast.NotEq: "!=",
}  # fmt: skip


def compare(relation: str, a: Value, b: Value) -> bool:
    """Whether a relation of two values holds. Raises ``Undecided`` where their balls overlap, ``NoValue`` for nan."""
    difference = a - b
    if isinstance(difference, arb):
        if difference.is_nan():
            raise NoValue
        if difference.is_exact() and difference.is_finite():
            difference = difference.mid()
        elif not (difference > 0 or difference < 0):
            raise Undecided
    holds: dict[str, bool] = {"<": difference < 0, "<=": difference <= 0, ">": difference > 0, ">=": difference >= 0,
            "=": difference == 0, "!=": difference != 0}  # fmt: skip
    return holds[relation]


def ball(x: Value) -> arb:
    """The value as a ball."""
    return x if isinstance(x, arb) else arb(x)


def nothing() -> arb:
    """No value: what log(-1) and 1/0 give."""
    return arb("nan")


def _binary(op: ast.operator, a: Value, b: Value) -> Value:
    match op:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Div():
            return nothing() if b == 0 else a / b
        case ast.Pow():
            return _power(a, b)
    raise Broken(f"expected one of + - * / **, got {type(op).__name__}")


def _power(a: Value, b: Value) -> Value:
    if isinstance(b, fmpq) and b.q == 1 and abs(b.p) <= 4096:
        n = int(b.p)
        if a == 0:
            return nothing() if n < 0 else fmpq(int(n == 0))
        if isinstance(a, fmpq):
            return a**n
        made: Value = arb(1)
        for bit in bin(abs(n))[2:]:  # repeated products: a power of a ball around 0 would be nan
            made = made * made * (a if bit == "1" else 1)
        return made if n >= 0 else 1 / made
    if a == 0:
        return fmpq(0) if b > 0 else nothing()
    if isinstance(b, fmpq) and b.q == 2:
        return _power(ball(a).sqrt(), fmpq(b.p))
    return (ball(b) * ball(a).log()).exp() if ball(a) > 0 else nothing()


def _sign(x: Value) -> Value:
    if isinstance(x, fmpq):
        return fmpq((x > 0) - (x < 0))
    if compare("=", x, fmpq(0)):
        return fmpq(0)
    return fmpq(1 if x > 0 else -1)


def _larger(a: Value, b: Value) -> Value:
    return max(a, b) if isinstance(a, fmpq) and isinstance(b, fmpq) else ball(a).max(ball(b))


def _smaller(a: Value, b: Value) -> Value:
    return min(a, b) if isinstance(a, fmpq) and isinstance(b, fmpq) else ball(a).min(ball(b))


def _of(method: str) -> Callable[[Value], Value]:
    return lambda x: getattr(ball(x), method)()


def _log(x: Value) -> Value:
    return fmpq(0) if x == 1 else ball(x).log() if ball(x) > 0 else nothing()


def _times(x: Value, other: Callable[[], Value]) -> Value:
    return fmpq(0) if x == 0 else x * other()


def _sqrt(x: Value) -> Value:
    return _power(x, fmpq(1, 2))


def _softplus(x: Value) -> Value:
    return ball(x).exp().log1p() if not ball(x) > 0 else ball(x) + (-ball(x)).exp().log1p()


def _logcosh(x: Value) -> Value:
    a = abs(ball(x))
    return a + (-2 * a).exp().log1p() - arb(2).log()


def _polygamma(n: Value, x: Value) -> Value:
    if n == 0:
        return ball(x).digamma()
    # (-1)**(n + 1) n! zeta(n + 1, x), for x > 0
    return (
        (-1) ** (int(n.p) + 1) * ball(n + 1).gamma() * ball(n + 1).zeta(ball(x)) if ball(x) > 0 else nothing()
    )


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "log": _log, "log1p": lambda x: _log(1 + x), "log2": lambda x: _log(x) / arb(2).log(),
    "exp": lambda x: fmpq(1) if x == 0 else ball(x).exp(), "expm1": _of("expm1"), "sqrt": _sqrt, "abs": abs,
    "sign": _sign, "sin": _of("sin"), "cos": _of("cos"), "tan": _of("tan"), "arctan": _of("atan"), "sinh": _of("sinh"),
    "cosh": _of("cosh"), "tanh": _of("tanh"), "arcsinh": _of("asinh"), "arctanh": _of("atanh"), "maximum": _larger,
    "minimum": _smaller, "clip": lambda x, a, b: _smaller(_larger(x, a), b),
    "xlogy": lambda x, y: _times(x, lambda: _log(y)), "xlog1py": lambda x, y: _times(x, lambda: _log(1 + y)),
    "xdivy": lambda x, y: _times(x, lambda: nothing() if y == 0 else 1 / y),
    "sigmoid": lambda x: 1 / (1 + (-ball(x)).exp()), "softplus": _softplus,
    "logaddexp": lambda a, b: ball(b) + _softplus(a - b), "logcosh": _logcosh, "gammaln": _of("lgamma"),
    "digamma": _of("digamma"), "polygamma": _polygamma, "erf": _of("erf"),
}  # fmt: skip


class Formula:
    """The formula of a certificate with its parameters' values put in: loss(y, p) at exact points, and its slopes."""

    def __init__(self, text: str, values: Mapping[str, int | float], *, decimal: bool) -> None:
        self.text, self.decimal = text, decimal
        self.values = {name: constant(number, decimal=decimal) for name, number in values.items()}

    def __call__(self, y: Fraction, p: Fraction, at: Point) -> Value:
        return value(self.text, {**self.values, **at, "y": y, "p": p}, decimal=self.decimal)

    def slope(self, y: Fraction, p: Fraction, at: Point, *, step: int = 200) -> arb:
        """dl/dp by a central difference of width 2**-step: right to about 2 step bits where the loss is smooth."""
        h = Fraction(1, 2**step)
        return ball(self(y, p + h, at) - self(y, p - h, at)) * arb(2) ** (step - 1)

    def bend(self, y: Fraction, p: Fraction, at: Point, *, step: int = 150) -> arb:
        """d2l/dp2 by a central difference."""
        h = Fraction(1, 2**step)
        return ball(self(y, p + h, at) + self(y, p - h, at) - 2 * self(y, p, at)) * arb(2) ** (2 * step)


def decided(test: Callable[[], bool], *, bits: tuple[int, ...] = (64, 256, 1024)) -> bool:
    """Ask again with more bits until the balls decide. Raises ``Undecided`` at the last."""
    for b in bits:
        with contextlib.suppress(Undecided), precision(b):
            return test()
    raise Undecided


__all__ = ["Broken", "Formula", "LossproofError", "Point", "Undecided", "Value", "ball", "compare", "decided"]
