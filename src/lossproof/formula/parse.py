"""Formula strings: text -> SymPy expression through Python's ``ast`` and a whitelist, never ``eval``."""

import ast
import math
from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

import sympy

from lossproof.formula.errors import LossproofError, nearest
from lossproof.formula.functions import NAMES, Expr
from lossproof.formula.symbols import P, Y, Z, parameter
from lossproof.formula.syntax import syntax

_MAX_LENGTH = 20_000
_MAX_DEPTH = 200
_MAX_BITS = 4_096  # of a constant power such as 2**1000; 9**9**9 would run for ever
_RESERVED = {"y": Y, "p": P, "z": Z, "pi": sympy.pi}
_RELATIONS: dict[type[ast.cmpop], Any] = {
    ast.Lt: sympy.Lt, ast.LtE: sympy.Le, ast.Gt: sympy.Gt, ast.GtE: sympy.Ge, ast.Eq: sympy.Eq, ast.NotEq: sympy.Ne,
}  # fmt: skip
_HOW = "Use y, p, parameters, numbers, + - * / **, comparisons inside where, and: " + " ".join(NAMES)


def parse(
    text: str,
    *,
    params: Collection[str] | Mapping[str, Expr] = (),
    values: Mapping[str, float] | None = None,
    symbols: Collection[str] = ("y", "p"),
    decimal: bool = False,
) -> Expr:
    """Read a formula string into a SymPy expression.

    ``params`` are the names that may occur beside y and p, or a mapping to their symbols; those in
    ``values`` are replaced by their exact number, so that constant branches of ``where`` vanish. A number with a
    point is the binary number it stands for, or with ``decimal`` the decimal as written (0.1 is then 1/10). Raises
    ``LossproofError`` with the place.

    >>> parse("where(abs(y - p) <= delta, (y - p)**2/2, delta*abs(y - p) - delta**2/2)", params=["delta"])
    Piecewise(((-p + y)**2/2, delta >= Abs(p - y)), (-delta**2/2 + delta*Abs(p - y), True))
    >>> parse("__import__('os')")
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: formula: expected a known function, got '__import__' at column 1 of
    "__import__('os')"; ...
    """
    if not isinstance(text, str) or not text.strip():
        raise LossproofError(f"formula: expected a formula in y and p, got {text!r}. {_HOW}")
    if len(text) > _MAX_LENGTH:
        raise LossproofError(f"formula: expected at most {_MAX_LENGTH} characters, got {len(text)}.")
    text = text.strip()
    try:
        tree = syntax(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = getattr(error, "offset", None)
        where = f" at column {at}" if at else ""
        reason = getattr(error, "msg", None) or "too long or too deeply nested for Python's parser; split it"
        raise LossproofError(
            f"formula: expected one expression, got {_short(text)!r}: {reason}{where}. {_HOW}"
        ) from None
    exact = {} if values is None else {name: number(value, decimal=decimal) for name, value in values.items()}
    names = {name: _RESERVED[name] for name in (*symbols, "pi")}
    for name in params:
        if name in NAMES:
            raise LossproofError(
                f"formula: expected a parameter name that is no function's, got {name!r}. Rename it in the formula."
            )
    own = params if isinstance(params, Mapping) else {name: parameter(name) for name in params}
    names |= {name: exact.get(name, symbol) for name, symbol in own.items()}
    return _Reader(text, names, decimal)(tree.body, 0)


def number(value: float, *, decimal: bool = False) -> Expr:
    """The exact rational of a float: the binary number it stands for, or the shortest decimal that it prints as.

    >>> number(0.5), number(0.1, decimal=True)
    (1/2, 1/10)
    """
    if isinstance(value, int):
        return sympy.Integer(value)
    if not math.isfinite(value):
        raise LossproofError(f"formula: expected a finite number, got {value}.")
    fraction = Fraction(repr(value)) if decimal else Fraction(value)
    return sympy.Rational(fraction.numerator, fraction.denominator)


def free_names(text: str) -> list[str]:
    """Names in a formula string that are neither y, p, pi nor functions: its parameters, in order.

    >>> free_names("abs(y - p)**q + pi*q")
    ['q']
    """
    try:
        tree = syntax(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called]
    return sorted({n for n in names if n not in ("y", "p", "pi") and n not in NAMES})


_KINDS = {
    "Attribute": "an attribute", "BinOp": "arithmetic", "BoolOp": "and/or", "Call": "a call", "Constant": "a number",
    "Dict": "a dictionary", "GeneratorExp": "a comprehension", "IfExp": "if ... else (write where(...))",
    "JoinedStr": "an f-string", "Lambda": "a lambda", "List": "a list", "ListComp": "a comprehension", "Name": "a name",
    "NamedExpr": ":=", "Set": "a set", "Starred": "a star", "Subscript": "an index", "Tuple": "a tuple",
    "UnaryOp": "a sign or not",
}  # fmt: skip


def _kind(node: ast.AST) -> str:
    return _KINDS.get(type(node).__name__, f"Python syntax ({type(node).__name__})")


def _short(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[:limit] + "..."


class _Reader:
    """One walk over the syntax tree of a formula."""

    def __init__(self, text: str, names: Mapping[str, Expr], decimal: bool) -> None:
        self.text = text
        self.names = names
        self.decimal = decimal

    def fail(self, node: ast.AST, expected: str, got: str, advice: str = _HOW) -> LossproofError:
        column = getattr(node, "col_offset", 0) + 1
        return LossproofError(
            f"formula: expected {expected}, got {got} at column {column} of {_short(self.text)!r}; {advice}"
            if "'" not in self.text
            else f'formula: expected {expected}, got {got} at column {column} of "{_short(self.text)}"; {advice}'
        )

    def __call__(self, node: ast.AST, depth: int) -> Expr:
        if depth > _MAX_DEPTH:
            raise self.fail(node, f"at most {_MAX_DEPTH} nested operations", "more", "Split the formula.")
        match node:
            case ast.Constant(value=bool() | complex() | str() | bytes() | None):
                raise self.fail(node, "a real number", repr(node.value))
            case ast.Constant(value=int() | float() as value):
                return number(value, decimal=self.decimal)
            case ast.Name(id=name):
                return self.name(node, name)
            case ast.UnaryOp(op=ast.USub(), operand=a):
                return -self(a, depth + 1)
            case ast.UnaryOp(op=ast.UAdd(), operand=a):
                return self(a, depth + 1)
            case ast.BinOp():
                return self.chain(node, depth)
            case ast.Call():
                return self.call(node, depth)
            case ast.Compare():
                raise self.fail(node, "a comparison only as the first argument of where", "one outside")
        raise self.fail(node, "arithmetic", _kind(node))

    def name(self, node: ast.AST, name: str) -> Expr:
        if name in self.names:
            return self.names[name]
        if name in NAMES:
            raise self.fail(node, f"{name}(...)", "the bare name")
        known = [n for n in self.names if n != "pi"]
        raise self.fail(
            node,
            f"one of {', '.join(known)}",
            repr(name),
            "Give a parameter a value, as in --param delta=0.1. " + _HOW,
        )

    def chain(self, node: ast.BinOp, depth: int) -> Expr:
        # a + b + c ... nests to the left: walked, not recursed into, and each run of terms is added at once
        spine = [node]
        while isinstance(spine[-1].left, ast.BinOp):
            spine.append(spine[-1].left)
        terms = [self(spine[-1].left, depth + 1)]
        for part in reversed(spine):
            right = self(part.right, depth + 1)
            if isinstance(part.op, ast.Add | ast.Sub):
                terms.append(right if isinstance(part.op, ast.Add) else -right)
            else:
                terms = [self.binary(part, part.op, sympy.Add(*terms), right)]
        return sympy.Add(*terms)

    def binary(self, node: ast.AST, op: ast.operator, a: Expr, b: Expr) -> Expr:
        match op:
            case ast.Mult():
                return a * b
            case ast.Div():
                if b == 0:
                    raise self.fail(node, "a divisor other than 0", "0")
                return a / b
            case ast.Pow():
                if (
                    a.is_Rational
                    and b.is_Rational
                    and abs(b) * max(a.p.bit_length(), a.q.bit_length()) > _MAX_BITS
                ):
                    raise self.fail(node, f"a constant below 2**{_MAX_BITS}", "a larger power")
                return a**b
        raise self.fail(node, "one of + - * / **", type(op).__name__)

    def call(self, node: ast.Call, depth: int) -> Expr:
        if not isinstance(node.func, ast.Name):
            raise self.fail(node, "a known function", f"a call of {_kind(node.func)}")
        name = node.func.id
        if name not in NAMES:
            raise self.fail(node, "a known function", repr(name), f"{nearest(name, NAMES)} {_HOW}")
        function, arity = NAMES[name]
        if node.keywords or any(isinstance(a, ast.Starred) for a in node.args) or len(node.args) != arity:
            raise self.fail(node, f"{arity} positional argument(s) for {name}", f"{len(node.args)} and keywords"
                            if node.keywords else str(len(node.args)))  # fmt: skip
        if name == "where":
            condition = self.condition(node.args[0], depth + 1)
            # a constant condition must not even read the other branch: it may divide by zero
            if condition == sympy.true:
                return self(node.args[1], depth + 1)
            if condition == sympy.false:
                return self(node.args[2], depth + 1)
            return function(condition, self(node.args[1], depth + 1), self(node.args[2], depth + 1))
        return function(*(self(a, depth + 1) for a in node.args))

    def condition(self, node: ast.AST, depth: int) -> Expr:
        if not isinstance(node, ast.Compare):
            raise self.fail(node, "a comparison as the first argument of where", _kind(node))
        sides = [self(n, depth + 1) for n in (node.left, *node.comparators)]
        parts = []
        for op, a, b in zip(node.ops, sides, sides[1:], strict=False):
            if type(op) not in _RELATIONS:
                raise self.fail(node, "one of < <= > >= == !=", type(op).__name__)
            parts.append(_RELATIONS[type(op)](a, b))
        return sympy.And(*parts)
