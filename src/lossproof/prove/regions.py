"""The domain cut along the diagonal: p above y and p below y, each written in symbols that are just positive.

Inside (0, 1) every y < p is y = u/(u + v + w), p = (u + v)/(u + v + w) for some positive u, v, w, and every such
choice gives a pair y < p: a statement about all pairs becomes one about the sign of an expression in positive
symbols. The ends of the domain are separate regions, so that conventions such as 0 log 0 = 0 apply there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from math import inf
from typing import Any

import sympy

from lossproof.formula import Interval, LossproofError
from lossproof.formula.functions import logcosh, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove.problem import Problem, undefined_at

Expr = Any
A, B, C = sympy.symbols("u v w", positive=True)  # no parameter that is left symbolic may be called so
R = sympy.Symbol("r", real=True)


@dataclass(frozen=True)
class Region:
    """Part of the domain where p is on one side of y.

    ``y`` and ``p`` are expressions in positive symbols that run through exactly this region; ``side`` is ">" for
    p > y, "<" for p < y; ``end`` is the target's value where the region holds one end of the domain only.
    ``parameters`` maps free parameters to such expressions. ``ranges`` are those of y, p and the parameters.
    """

    side: str
    y: Expr
    p: Expr
    ranges: tuple[tuple[str, str], ...]
    end: Expr | None = None
    parameters: tuple[tuple[Expr, Expr], ...] = ()

    def __str__(self) -> str:
        place = f"y = {self.end}" if self.end is not None else "y inside"
        return f"{place}, p {self.side} y" + "".join(
            f", {k} = {v}" for k, v in self.parameters if v.is_number
        )

    @property
    def given(self) -> tuple[str, ...]:
        """The condition between y and p, for claims."""
        return () if self.end is not None else (f"p {self.side} y",)

    @property
    def fixed(self) -> dict[Expr, Expr]:
        """What has one value here: the target at an end, and parameters at exceptional values."""
        end = {} if self.end is None else {Y: self.end}
        return end | {k: v for k, v in self.parameters if v.is_number}

    def fix(self, expr: Expr) -> Expr:
        """The expression on this region, in y and p (y replaced where it is an end), in textbook form."""
        return to_elementary(expr.xreplace(self.fixed))

    def put(self, expr: Expr) -> Expr:
        """The same expression in the region's positive symbols, every rational part over one denominator."""
        # the sign calculus knows log-cosh by name: quicker than log(cosh(x))
        names = {
            n: sympy.Dummy(f"f{i}", real=True) for i, n in enumerate(sorted(expr.atoms(logcosh), key=str))
        }
        back = {v: n.func(self.fix(n.args[0])) for n, v in names.items()}
        plain = self.fix(expr.xreplace(names)).xreplace(back)
        return together(plain.xreplace({Y: self.y, P: self.p, **dict(self.parameters)}))


@lru_cache(maxsize=4096)  # every section asks for the same expressions
def together(expr: Expr) -> Expr:
    """Every sum of rational functions inside an expression as one cancelled fraction, innermost first.

    >>> print(together(sympy.log(1 - A/(A + B))))
    log(v/(u + v))
    """
    if not expr.args:
        return expr
    made = expr.func(*(together(a) for a in expr.args))
    if made.is_Add and _is_rational(made):
        return sympy.factor_terms(sympy.cancel(sympy.together(made)), fraction=False)
    return made


def _is_rational(e: Expr) -> bool:
    return e.count_ops() < 200 and all(
        n.is_Number or n.is_Symbol or n.is_Add or n.is_Mul or (n.is_Pow and n.args[1].is_Integer)
        for n in sympy.preorder_traversal(e)
    )


def regions(problem: Problem, *, ends: bool = True) -> Iterator[Region]:
    """All regions of a problem: inside above and below the diagonal, then the closed ends of the target."""
    target, prediction = problem.target, problem.prediction
    inside = Interval(target.low, target.high, low_open=True, high_open=True)
    inner_p = Interval(prediction.low, prediction.high, low_open=True, high_open=True)
    for values in parameter_cases(problem):
        names = tuple((p.name, str(p.interval)) for p in problem.free)
        ranges = (("y", str(inside)), ("p", str(inner_p)), *names)
        for side, (y, p) in _pairs(target):
            yield Region(side, y, p, ranges, None, values)
        if not ends:
            continue
        for end, side, p in _edges(target):
            yield Region(side, end, p, ranges[1:], end, values)


def _pairs(span: Interval) -> Iterator[tuple[str, tuple[Expr, Expr]]]:
    low, high = map(_exact, (span.low, span.high))
    if span.low == -inf and span.high == inf:
        yield ">", (R, R + B)
        yield "<", (R, R - B)
        return
    if span.high == inf:
        yield ">", (low + A, low + A + B)
        yield "<", (low + A + B, low + A)
        return
    if span.low == -inf:
        yield ">", (high - A - B, high - A)
        yield "<", (high - A, high - A - B)
        return
    near, far = A / (A + B + C), (A + B) / (A + B + C)
    scale = [sympy.together(low + (high - low) * t) for t in (near, far)]
    yield ">", (scale[0], scale[1])
    yield "<", (scale[1], scale[0])


def _edges(span: Interval) -> Iterator[tuple[Expr, str, Expr]]:
    low, high = map(_exact, (span.low, span.high))
    bounded = span.high < inf and span.low > -inf
    part = B / (B + C)
    if span.low > -inf and not span.low_open:
        yield low, ">", sympy.together(low + (high - low) * part) if bounded else low + B
    if span.high < inf and not span.high_open:
        yield high, "<", sympy.together(high - (high - low) * part) if bounded else high - B


def parameter_cases(problem: Problem) -> list[tuple[tuple[Expr, Expr], ...]]:
    """Each free parameter in positive symbols over its range; closed ends and exceptional values as cases."""
    options = []
    for param, symbol in zip(problem.free, problem.parameters, strict=True):
        cases = _range_cases(param.interval, symbol, _special(problem, symbol))
        for value in cases:
            if value.is_number and undefined_at(problem.expr, {symbol: value}):
                raise LossproofError(
                    f"certify: expected a range of {param.name} in which the loss exists, got {param.interval}: at "
                    f"{param.name} = {value} it has no value. Leave that value out, as in (0, 1]."
                )
        options.append([(symbol, value) for value in cases])
    return [tuple(choice) for choice in product(*options)]


def _special(problem: Problem, symbol: Expr) -> list[Expr]:
    """Values of a parameter at which a where or a division of the formula has an exception."""
    found = set()
    for condition in problem.expr.atoms(sympy.Eq, sympy.Ne):
        if condition.free_symbols == {symbol}:
            found |= set(sympy.solve(condition.lhs - condition.rhs, symbol))
    return sorted((v for v in found if v.is_Rational), key=float)


def _range_cases(interval: Interval, symbol: Expr, special: list[Expr]) -> list[Expr]:
    cuts = [v for v in special if float(v) in interval]
    ends = [
        _exact(interval.low),
        *[v for v in cuts if interval.low < v < interval.high],
        _exact(interval.high),
    ]
    cases: list[Expr] = list(ends[1:-1])
    if not interval.low_open and interval.low > -inf:
        cases.append(ends[0])
    if not interval.high_open and interval.high < inf:
        cases.append(ends[-1])
    s = sympy.Symbol(f"{symbol.name}_1", positive=True)
    t = sympy.Symbol(f"{symbol.name}_2", positive=True)
    for low, high in pairwise(ends):
        if low == -sympy.oo and high == sympy.oo:
            cases.append(symbol)
        elif high == sympy.oo:
            cases.append(symbol if low == 0 and symbol.is_positive else low + s)
        elif low == -sympy.oo:
            cases.append(high - s)
        else:
            cases.append(sympy.together(low + (high - low) * s / (s + t)))
    return cases


def _exact(x: float) -> Expr:
    return sympy.oo if x == inf else -sympy.oo if x == -inf else sympy.Rational(x)


__all__ = ["A", "B", "C", "R", "Region", "parameter_cases", "regions", "together"]
