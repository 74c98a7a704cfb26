"""Small expression trees for the soundness fuzz: printed as a formula for the prover, evaluated here for the oracle.

Rational operations on rational points are exact (Fraction); everything else is an enclosure of 500 bits by
mpmath's intervals. Nothing of lossproof is imported: the oracle must not share a mistake with the prover.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
from mpmath.ctx_iv import MPIntervalContext

BITS = 500
IV = MPIntervalContext()  # a context of its own: the global one is not touched
IV.prec = BITS

Number = Any  # Fraction (exact) or an interval of IV


@contextlib.contextmanager
def precision(bits: int) -> Iterator[None]:
    """Work with enclosures of so many bits."""
    before, IV.prec = IV.prec, bits
    try:
        yield
    finally:
        IV.prec = before


class Undefined(ArithmeticError):
    """The expression has no finite value there, or a comparison that 500 bits cannot decide."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operation and its arguments; a constant's argument is its Fraction, a variable's its name."""

    op: str
    args: tuple[Any, ...]

    def __add__(self, other: Any) -> Node:
        return Node("+", (self, node(other)))

    def __radd__(self, other: Any) -> Node:
        return Node("+", (node(other), self))

    def __sub__(self, other: Any) -> Node:
        return Node("-", (self, node(other)))

    def __rsub__(self, other: Any) -> Node:
        return Node("-", (node(other), self))

    def __mul__(self, other: Any) -> Node:
        return Node("*", (self, node(other)))

    def __rmul__(self, other: Any) -> Node:
        return Node("*", (node(other), self))

    def __truediv__(self, other: Any) -> Node:
        return Node("/", (self, node(other)))

    def __rtruediv__(self, other: Any) -> Node:
        return Node("/", (node(other), self))

    def __pow__(self, other: Any) -> Node:
        return Node("**", (self, node(other)))

    def __neg__(self) -> Node:
        return Node("neg", (self,))

    def __str__(self) -> str:
        match self.op, self.args:
            case "const", (value,):
                return str(value) if value.denominator == 1 and value >= 0 else f"({value})"
            case "var", (name,):
                return str(name)
            case "neg", (a,):
                return f"(-{a})"
            case ("+" | "-" | "*" | "/" | "**") as op, (a, b):
                return f"({a} {op} {b})"
            case "where", (relation, a, b, yes, no):
                return f"where({a} {relation} {b}, {yes}, {no})"
            case name, args:
                return f"{name}({', '.join(map(str, args))})"

    @property
    def size(self) -> int:
        """Number of operations, variables and constants."""
        return 1 + sum(a.size for a in self.args if isinstance(a, Node))

    def put(self, **nodes: Any) -> Node:
        """The tree with variables replaced."""
        if self.op == "var":
            return node(nodes.get(self.args[0], self))
        return Node(self.op, tuple(a.put(**nodes) if isinstance(a, Node) else a for a in self.args))


def node(value: Any) -> Node:
    """A Node as it is; a number as a constant (a float is the binary number it stands for)."""
    return value if isinstance(value, Node) else Node("const", (Fraction(value),))


Y, P = Node("var", ("y",)), Node("var", ("p",))


def call(name: str, *args: Any) -> Node:
    """A function of the formula language: log, xlogy, maximum, ..."""
    return Node(name, tuple(node(a) for a in args))


def where(relation: str, a: Any, b: Any, yes: Any, no: Any) -> Node:
    """``yes`` where ``a relation b`` holds, else ``no``."""
    return Node("where", (relation, *(node(x) for x in (a, b, yes, no))))


def parsed(formula: str) -> Node:
    """The tree of a formula, by Python itself; NameError or TypeError for what the trees do not have."""
    known = {name: (lambda *a, name=name: call(name, *a)) for name in _ARRAYS if name.isidentifier()}
    exact = ast.parse(formula, mode="eval")
    for found in ast.walk(exact):  # 1/3 is a third, not the float nearest to it
        if isinstance(found, ast.BinOp) and isinstance(found.left, ast.Constant):
            found.left = ast.copy_location(
                ast.Call(ast.Name("node", ast.Load()), [ast.Constant(found.left.value)], []), found.left
            )
    names = {"__builtins__": {}, "node": node, "y": Y, "p": P, **known}
    return node(eval(compile(ast.fix_missing_locations(exact), "formula", "eval"), names))


def iv(x: Number) -> Any:
    """An enclosure of a Fraction; an interval as it is."""
    if isinstance(x, Fraction):
        return IV.mpf(x.numerator) / x.denominator
    return x


def sign(x: Number) -> int | None:
    """-1, 0, 1; None if 500 bits do not tell."""
    if isinstance(x, Fraction):
        return (x > 0) - (x < 0)
    if x.a > 0:
        return 1
    if x.b < 0:
        return -1
    return 0 if x.a == x.b == 0 else None


def value(tree: Node, y: Number, p: Number) -> Number:
    """The exact value or a 500-bit enclosure. Raises ``Undefined`` at a pole, outside a logarithm and the like."""
    try:
        found = _value(tree, {"y": y, "p": p})
    except (ZeroDivisionError, OverflowError, ValueError, mpmath.libmp.ComplexResult) as error:
        raise Undefined(str(error)) from None
    if not isinstance(found, Fraction) and not (mpmath.isfinite(found.a) and mpmath.isfinite(found.b)):
        raise Undefined("infinite")
    return found


def _value(tree: Node, at: dict[str, Number]) -> Number:
    op = tree.op
    if op == "const":
        return tree.args[0]
    if op == "var":
        return at[tree.args[0]]
    if op == "where":
        relation, left, right, yes, no = tree.args
        return _value(yes if _holds(relation, _minus(_value(left, at), _value(right, at))) else no, at)
    if op in ("xlogy", "xlog1py"):
        x = _value(tree.args[0], at)
        if isinstance(x, Fraction) and x == 0:
            return x
        return _times(x, _log(_value(tree.args[1], at) + (1 if op == "xlog1py" else 0)))
    a, *rest = (_value(arg, at) for arg in tree.args)
    return _BINARY[op](a, *rest) if rest else _UNARY[op](a)


def _holds(relation: str, difference: Number) -> bool:
    s = sign(difference)
    if s is None:
        raise Undefined("comparison closer than 500 bits")
    return {"<": s < 0, "<=": s <= 0, ">": s > 0, ">=": s >= 0, "==": s == 0, "!=": s != 0}[relation]


def _both(a: Number, b: Number) -> tuple[Number, Number]:
    return (a, b) if isinstance(a, Fraction) and isinstance(b, Fraction) else (iv(a), iv(b))


def _plus(a: Number, b: Number) -> Number:
    a, b = _both(a, b)
    return a + b


def _minus(a: Number, b: Number) -> Number:
    a, b = _both(a, b)
    return a - b


def _times(a: Number, b: Number) -> Number:
    a, b = _both(a, b)
    return a * b


def _over(a: Number, b: Number) -> Number:
    if sign(b) in (0, None):
        raise Undefined("division by zero")
    a, b = _both(a, b)
    return a / b


def _power(a: Number, b: Number) -> Number:
    if isinstance(b, Fraction) and b.denominator == 1 and abs(b) < 100:
        if b < 0 and sign(a) in (0, None):
            raise Undefined("pole")
        return a ** int(b)
    s = sign(a)
    if s == 0 and sign(b) == 1:
        return Fraction(0)
    if s != 1:
        raise Undefined("power of a negative number")
    return _exp(_times(b, _log(a)))


def _log(a: Number) -> Any:
    if sign(a) != 1:
        raise Undefined("log of zero or less")
    return Fraction(0) if isinstance(a, Fraction) and a == 1 else IV.log(iv(a))


def _exp(a: Number) -> Any:
    if isinstance(a, Fraction) and a == 0:
        return Fraction(1)
    if a > 10**6:
        raise Undefined("overflow")
    if a < -(10**6):  # mpmath would take the exponent's exact value; an enclosure is enough
        return IV.mpf([0, mpmath.mpf(2) ** -1000000])
    return IV.exp(iv(a))


def _sqrt(a: Number) -> Any:
    s = sign(a)
    if s == 0:
        return Fraction(0)
    if s is None and a.a >= 0:  # a square of what may be 0
        return IV.sqrt(a)
    if s != 1:
        raise Undefined("root of a negative number")
    return IV.sqrt(iv(a))


def _larger(a: Number, b: Number) -> Number:
    s = sign(_minus(a, b))
    if s is not None:
        return a if s >= 0 else b
    a, b = iv(a), iv(b)
    return IV.mpf([max(a.a, b.a), max(a.b, b.b)])


def _cosh(a: Number) -> Number:
    return (_exp(a) + _exp(-a)) / 2


def _tanh(a: Number) -> Number:
    if abs(a) > 10**5:  # 1 - tanh(a) < 2**-100000
        near = IV.mpf([1 - mpmath.mpf(2) ** -100000, 1])
        return near if a > 0 else -near
    return _minus(Fraction(1), 2 / _plus(_exp(2 * a), Fraction(1)))


def _periodic(name: str) -> Any:
    def function(a: Number) -> Number:
        if isinstance(a, Fraction) and a == 0:
            return Fraction(int(name == "cos"))
        if abs(a) > 10**9:
            raise Undefined("argument too large for a sharp enclosure")
        return getattr(IV, name)(iv(a))

    return function


_UNARY: dict[str, Any] = {
    "neg": lambda a: -a, "log": _log, "log1p": lambda a: _log(a + 1), "exp": _exp,
    "expm1": lambda a: _minus(_exp(a), Fraction(1)), "sqrt": _sqrt, "abs": abs,
    "sin": _periodic("sin"), "cos": _periodic("cos"), "tanh": _tanh, "cosh": _cosh,
    "logcosh": lambda a: _log(_cosh(a)), "softplus": lambda a: _log(_plus(_exp(a), Fraction(1))),
}  # fmt: skip
_BINARY: dict[str, Any] = {
    "+": _plus, "-": _minus, "*": _times, "/": _over, "**": _power, "maximum": _larger,
    "minimum": lambda a, b: -_larger(-a, -b), "clip": lambda a, low, high: -_larger(-_larger(a, low), -high),
}  # fmt: skip


def floats(tree: Node, y: Any, p: Any) -> np.ndarray:
    """The same in float64 over arrays: only to find places worth an exact look."""
    with np.errstate(all="ignore"):
        return np.broadcast_to(
            _floats(tree, {"y": np.asarray(y, float), "p": np.asarray(p, float)}), np.shape(p)
        )


def _floats(tree: Node, at: dict[str, np.ndarray]) -> Any:
    if tree.op == "const":
        return np.float64(tree.args[0])
    if tree.op == "var":
        return at[tree.args[0]]
    if tree.op == "where":
        relation, *parts = tree.args
        a, b, yes, no = (_floats(x, at) for x in parts)
        return np.where(_RELATIONS[relation](a, b), yes, no)
    return _ARRAYS[tree.op](*(_floats(x, at) for x in tree.args))


def _xlog(shift: float) -> Any:
    return lambda x, y: np.where(x == 0, 0.0, x * np.log(y + shift))


_RELATIONS: dict[str, Any] = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
                              "==": np.equal, "!=": np.not_equal}  # fmt: skip
_ARRAYS: dict[str, Any] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power, "neg": np.negative, "log": np.log,
    "log1p": np.log1p, "exp": np.exp, "expm1": np.expm1, "sqrt": np.sqrt, "abs": np.abs, "sin": np.sin, "cos": np.cos,
    "tanh": np.tanh, "cosh": np.cosh, "logcosh": lambda a: np.logaddexp(a, -a) - np.log(2),
    "softplus": lambda a: np.logaddexp(a, 0),
    "maximum": np.maximum, "minimum": np.minimum, "clip": lambda a, low, high: np.minimum(np.maximum(a, low), high),
    "xlogy": _xlog(0.0), "xlog1py": _xlog(1.0),
}  # fmt: skip
