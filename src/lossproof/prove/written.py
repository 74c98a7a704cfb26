"""The formula as it is written: a place inside the domain where it has no real value, before anything cancels."""

import ast
import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import inf
from typing import Any

import sympy

from lossproof.formula import Interval, LossproofError
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Y
from lossproof.formula.syntax import syntax
from lossproof.prove.collapse import branches_of
from lossproof.prove.problem import Problem
from lossproof.rechecking.values import Broken, NoValue, Undecided, ball, precision, value

Expr = Any  # sympy is untyped
_POINTS = 60
_TARGETS = 4  # at which the zeros of divisors are looked for
_DEGREE = 6  # of a divisor whose zeros are looked for
_LARGE = 200  # operations in an expression that is cancelled to see what is left
_ZERO = 1e-20  # of thirty digits
_LONGEST = 2000  # characters of a formula whose divisors are looked at


def without_value(problem: Problem) -> str | None:
    """Why nothing is said of a formula that is no number at some targets and predictions inside; None if it is.

    SymPy takes sqrt(p - 1/2)**2 for p - 1/2, and so gives it a value for p < 1/2 that the code of a user has not;
    and (y - p)**4/(y - p)**2 for (y - p)**2, which has a value at p = y. Random exact points are looked at, and the
    zeros of what is divided by, raised to a power, or has its logarithm taken, where it is a polynomial in p.

    >>> from lossproof.catalogue import CATALOGUE, resolve
    >>> without_value(Problem(CATALOGUE["bce"])) is None
    True
    >>> without_value(Problem(resolve("(y - p)**2 + sqrt(p - 1/2)**2")))[:47]
    'the formula as written has no real value at y ='
    >>> without_value(Problem(resolve("(y - p)**2*(p - 1/2)/(p - 1/2)")))[:61]
    'the formula as written has no real value at y = 0, p = 1/2; l'
    """
    rng = random.Random(0)
    given = {n: Fraction(repr(v)) if problem.decimal else Fraction(v) for n, v in problem.loss.values.items()}
    free = {p.name: p.interval for p in problem.free}
    for _ in range(_POINTS):
        at = {**given, **{n: _draw(i, rng) for n, i in free.items()}}
        at |= {"y": _draw(problem.target, rng), "p": _draw(problem.prediction, rng)}
        if _is_nan(problem, at):
            return _said(at)
    at = {**given, **{n: _draw(i, rng) for n, i in free.items()}}
    for y, p in _zeros(problem, at, rng):
        place = {**at, "y": y, "p": p}
        # what is divided by is 0 there: a where is evaluated, and may see to it
        lost = _is_nan(problem, place) if _rational(y, p) else "where" not in problem.loss.formula
        if lost and _has_value(problem, place):
            return _said(place)
    return None


def _rational(*numbers: Any) -> bool:
    return all(isinstance(x, Fraction) for x in numbers)


def _is_nan(problem: Problem, at: Mapping[str, Fraction]) -> bool:
    try:
        with precision(128):
            return bool(ball(value(problem.loss.formula, at, decimal=problem.decimal)).is_nan())
    except NoValue:
        return True
    except (Undecided, Broken, LossproofError, RecursionError):  # the last: a thousand terms and more
        return False


def _said(at: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{n} = {at[n]}" for n in ("y", "p"))
    return f"the formula as written has no real value at {shown}; look at its logs, roots and divisions"


def _has_value(problem: Problem, at: Mapping[str, Any]) -> bool:
    """Whether what the prover works with is a number there: only then has something cancelled."""
    exact = {s: _exact(at[s.name]) for s in problem.expr.free_symbols}
    pinned = problem.at_target(exact[Y]) if Y in exact else problem.plain
    for branch in branches_of(pinned):
        cancelled = sympy.cancel(branch) if branch.count_ops() < _LARGE else branch
        for form in (branch, cancelled):  # the prover cancels, too
            found = form.xreplace(exact)
            if found.is_number and not found.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
                return True
    return False


def _exact(x: Any) -> Expr:
    return sympy.Rational(x.numerator, x.denominator) if isinstance(x, Fraction) else x


def _zeros(problem: Problem, at: Mapping[str, Fraction], rng: random.Random) -> Iterator[tuple[Any, Any]]:
    """Targets and predictions at which a divisor, or the argument of a logarithm, is 0."""
    formula = problem.loss.formula
    if len(formula) > _LONGEST:
        return
    names = sorted(at.keys() - {"y", "p"})
    values = {name: sympy.Rational(at[name].numerator, at[name].denominator) for name in names}
    ends = [Fraction(e) for e in (problem.target.low, problem.target.high) if e in problem.target]
    targets = [*ends, *(_draw(problem.target, rng) for _ in range(_TARGETS))]
    for text, divides in dict.fromkeys(_divisors(formula)):
        try:
            part = parse(text, params={n: sympy.Symbol(n) for n in names}, decimal=problem.decimal)
        except (LossproofError, TypeError, ValueError):
            continue
        part = part.xreplace({sympy.Symbol(n): v for n, v in values.items()})
        written, part = part, part.replace(sympy.Abs, lambda u: u)
        if not part.has(P):
            low, high = problem.target.low, problem.target.high
            found = ((y, _draw(problem.prediction, rng)) for y in _roots(part, Y) if low <= y <= high)
            yield from ((y, p) for y, p in found if divides or _rational(y))
            continue
        for y in targets:
            fixed = part.xreplace({Y: sympy.Rational(y.numerator, y.denominator)})
            inside = [
                p for p in _roots(fixed, P)
                if problem.prediction.low < p < problem.prediction.high and _is_zero(written, y, p)
            ]  # fmt: skip
            yield from ((y, p) for p in inside if divides or _rational(p))


def _is_zero(written: Expr, y: Fraction, p: Any) -> bool:
    """Whether a root of the part without its absolute values is one of the part itself."""
    return bool(abs(sympy.N(written.xreplace({Y: _exact(y), P: _exact(p)}), 30)) < _ZERO)


def _divisors(formula: str) -> Iterator[tuple[str, bool]]:
    """Parts of a formula that must not be 0, and those that need not (bases of other powers) with False."""
    for node in ast.walk(syntax(formula)):
        match node:
            case ast.BinOp(op=ast.Div(), right=part):
                yield ast.unparse(part), True
            case ast.BinOp(left=part, op=ast.Pow(), right=power):
                yield ast.unparse(part), isinstance(power, ast.UnaryOp)
            case ast.Call(func=ast.Name(id="log"), args=[part]):
                yield ast.unparse(part), True


def _roots(part: Expr, symbol: Expr) -> list[Any]:
    """Real zeros of a polynomial, as fractions where they are rational; none of what is no polynomial."""
    try:
        poly = sympy.Poly(sympy.numer(sympy.together(part)), symbol, domain="QQ")
    except (sympy.PolynomialError, sympy.CoercionFailed):
        return []
    if poly.degree() > _DEGREE or poly.is_zero:
        return []
    return [Fraction(int(r.p), int(r.q)) if r.is_Rational else r for r in set(poly.real_roots())]


def _draw(interval: Interval, rng: random.Random) -> Fraction:
    """An exact point inside an interval."""
    share = Fraction(rng.randrange(1, 997), 997)
    low, high = interval.low, interval.high
    if low == -inf and high == inf:
        return 8 * share - 4
    if high == inf:
        return Fraction(low) + 8 * share
    if low == -inf:
        return Fraction(high) - 8 * share
    return Fraction(low) + (Fraction(high) - Fraction(low)) * share
