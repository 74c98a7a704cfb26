"""What a written formula asks for - divisors that are not 0, roots and logarithms of what has one - and SymPy drops.

A part that is still in the prover's expression is its own business: it must show it to be defined. One that has
cancelled, as sin(p - 1/2)/sin(p - 1/2) does, would be forgotten; here it must be shown to have a value everywhere.
"""

import ast
from collections.abc import Iterator
from typing import Any

import sympy

from lossproof.formula import LossproofError
from lossproof.formula.functions import to_elementary
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.syntax import syntax
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.problem import Problem
from lossproof.prove.regions import regions
from lossproof.prove.sign import sign

Expr = Any  # sympy is untyped
_LARGE = 200  # operations in an expression that is cancelled to see what is left
_DEGREE = 1000  # of a power that is factored as a polynomial's
_PARTS = 200  # of a formula that are looked at
_SECONDS = 3.0
#: what the signs of a part may be, inside the domain and on its diagonal
_ALLOWED = {"divisor": ("+", "-"), "log": ("+",), "gamma": ("+",), "tan": ("+",), "root": ("+", ">=", "0")}


def forgotten(problem: Problem) -> str | None:
    """Why nothing is said of a formula with a part that may lack a value somewhere, and cancels; None if none does.

    >>> from lossproof.catalogue import CATALOGUE, resolve
    >>> [loss.id for loss in CATALOGUE.values() if forgotten(Problem(loss)) is not None]
    []
    >>> forgotten(Problem(resolve("(y - p)**2*sin(p - 1/2)/sin(p - 1/2)")))
    'sin(p - 1 / 2) is divided by and cancels, and is not shown to differ from 0; write the formula without it'
    """
    symbols = {s.name: s for s in problem.expr.free_symbols - {Y, P}}
    values = {n: v for n, v in problem.loss.values.items() if n not in symbols}
    left: set[tuple[str, Expr]] | None = None
    clock = Clock(_SECONDS)
    for kind, text, *to in list(dict.fromkeys(_demands(problem.loss.formula)))[:_PARTS]:
        try:
            part, *powers = (
                to_elementary(parse(t, params=symbols, values=values, decimal=problem.decimal))
                for t in (text, *to)
            )
            asked = _of_power(problem, powers[0], clock) if powers else kind
        except (LossproofError, TypeError, ValueError):
            continue
        for factor in _factors(part) if asked == "divisor" else [_reduced(part)]:
            if factor.is_number or not asked:
                continue
            if left is None:
                left = set(_kept(problem.plain))
            if (asked, factor) in left:
                continue
            parts = [sympy.pi / 2 - factor, sympy.pi / 2 + factor] if asked == "tan" else [factor]
            try:
                if all(_shown(problem, one, _ALLOWED[asked], clock) for one in parts):
                    continue
            except OutOfTime:
                pass
            return f"{text} {_WORDS[asked]}; write the formula without it"
    return None


_WORDS = {
    "divisor": "is divided by and cancels, and is not shown to differ from 0",
    "log": "has its logarithm taken, which cancels, and is not shown to be positive",
    "gamma": "has its gamma function taken, which cancels, and is not shown to be positive",
    "tan": "has its tangent taken, which cancels, and is not shown to lie between -pi/2 and pi/2",
    "root": "has its root taken, which cancels, and is not shown to be at least 0",
}


def _demands(formula: str) -> Iterator[tuple[str, ...]]:
    """What a part must be, and the part; of a power what is raised, and to what."""
    for node in ast.walk(syntax(formula)):
        match node:
            case ast.BinOp(op=ast.Div(), right=part) if not isinstance(part, ast.Constant):
                yield "divisor", ast.unparse(part)
            case ast.BinOp(left=part, op=ast.Pow(), right=power) if not _whole(power):
                yield "power", ast.unparse(part), ast.unparse(power)
            case ast.Call(func=ast.Name(id="log" | "log2"), args=[part]):
                yield "log", ast.unparse(part)
            case ast.Call(func=ast.Name(id="log1p"), args=[part]):
                yield "log", f"1 + ({ast.unparse(part)})"
            case ast.Call(func=ast.Name(id="xlogy" | "xlog1py" as name), args=[times, part]):
                text = ast.unparse(part) if name == "xlogy" else f"1 + ({ast.unparse(part)})"
                # x log x is 0 at 0: there a root will do
                yield ("root" if _contains(times, text) else "log"), text
            case ast.Call(func=ast.Name(id="sqrt"), args=[part]):
                yield "root", ast.unparse(part)
            case ast.Call(func=ast.Name(id="tan"), args=[part]):
                yield "tan", ast.unparse(part)
            case ast.Call(func=ast.Name(id="arctanh"), args=[part]):
                yield from (("log", f"1 {side} ({ast.unparse(part)})") for side in "+-")
            case ast.Call(func=ast.Name(id="gammaln" | "digamma" | "polygamma"), args=[*_, part]):
                yield "gamma", ast.unparse(part)


def _of_power(problem: Problem, power: Expr, clock: Clock) -> str:
    """What the base of a power must be: not 0 ("divisor"), positive ("log"), not negative ("root"), or anything ("")."""
    if power.is_Integer:
        return "divisor" if power < 0 else ""
    try:
        rises = power.is_positive if power.is_number else _shown(problem, power, ("+",), clock)
    except OutOfTime:
        rises = False
    return "root" if rises else "log"


def _contains(times: ast.expr, text: str) -> bool:
    """Whether a product has this factor."""
    if ast.unparse(times) == text or f"1 + ({ast.unparse(times)})" == text:
        return True
    match times:
        case ast.BinOp(left=a, op=ast.Mult(), right=b):
            return _contains(a, text) or _contains(b, text)
    return False


def _whole(power: ast.expr) -> bool:
    match power:
        case ast.Constant(value=int() | float() as number):
            return float(number).is_integer()
    return False


def _kept(expr: Expr) -> Iterator[tuple[str, Expr]]:
    """Divisors, arguments of logarithms and bases of roots in what the prover works with, once it has cancelled."""
    for node in sympy.preorder_traversal(_reduced(expr)):
        if isinstance(node, sympy.log):
            yield "log", node.args[0]
        elif isinstance(node, sympy.tan):
            yield "tan", node.args[0]
        elif isinstance(node, sympy.loggamma | sympy.polygamma):
            yield "gamma", node.args[-1]
        elif isinstance(node, sympy.Pow):
            base, power = node.args
            if not power.is_Integer:
                yield "root", base
                yield "log", base
            if power.could_extract_minus_sign():
                yield from (("divisor", f) for f in _factors(base))


def _reduced(expr: Expr) -> Expr:
    """Every rational part over one denominator, common factors gone, innermost first."""
    if not getattr(expr, "args", ()) or not isinstance(expr, sympy.Expr):
        return expr
    if isinstance(expr, sympy.Piecewise):
        return sympy.Piecewise(
            *((_reduced(value), condition) for value, condition in expr.args), evaluate=False
        )
    made = expr.func(*(_reduced(a) for a in expr.args))
    if not isinstance(made, sympy.Add | sympy.Mul) or made.count_ops() > _LARGE or made.has(sympy.Piecewise):
        return made
    names = _steep(made)
    try:
        return sympy.cancel(made.xreplace(names)).xreplace({v: k for k, v in names.items()})
    except sympy.PolynomialError:
        return made


def _steep(expr: Expr) -> dict[Expr, Expr]:
    """Names for exponentials that SymPy would read as powers of a degree too high to be written out.

    >>> len(_steep(sympy.exp(10**9*P) + sympy.exp(3*P)))
    1
    """
    steep = [f for f in expr.atoms(sympy.exp) if any(abs(c) > _DEGREE for c in f.atoms(sympy.Rational))]
    return {f: sympy.Dummy(f"e{i}", real=True) for i, f in enumerate(sorted(steep, key=str))}


def _factors(expr: Expr) -> list[Expr]:
    """Irreducible factors, each up to a constant."""
    reduced = _reduced(expr)
    names = _steep(reduced)
    back = {v: k for k, v in names.items()}
    try:
        found = [f.xreplace(back) for f, _ in sympy.factor_list(reduced.xreplace(names))[1]]
    except sympy.PolynomialError:
        found = list(sympy.Mul.make_args(expr))
    return [-f if f.could_extract_minus_sign() else f for f in found]


def _shown(problem: Problem, part: Expr, allowed: tuple[str, ...], clock: Clock) -> bool:
    for region in regions(problem, ends=False):
        for at in (part, part.xreplace({P: Y})):
            put = region.put(at)
            if region.fixed and put.has(sympy.zoo, sympy.nan):
                continue  # a divisor of its own, of this part, is 0 at this parameter: it is looked at by itself
            if sign(put, clock=clock).sign not in allowed:
                return False
    return True
