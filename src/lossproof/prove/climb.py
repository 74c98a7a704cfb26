"""Signs of functions of the prediction on an interval, by factors and by derivatives from an end where they vanish."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sympy

from lossproof.formula import Step
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P
from lossproof.prove.ball import ball
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.continuity import claim
from lossproof.prove.regions import A, B, R, together
from lossproof.prove.sign import Signed, sign

Expr = Any
_BAD = (sympy.zoo, sympy.nan, sympy.oo, sympy.I)
_LONG = 300  # operations above which an expression is not rearranged
_DEPTH = 4  # derivatives that are taken to show a sign


@dataclass(frozen=True)
class Cell:
    """An open interval of predictions; ``p`` runs through it as its positive symbols do."""

    low: Expr
    high: Expr
    p: Expr
    parameters: tuple[tuple[Expr, Expr], ...] = ()

    def __str__(self) -> str:
        return f"({self.low}, {self.high})".replace("oo", "inf")

    def put(self, expr: Expr) -> Expr:
        """An expression in p and parameters, in positive symbols."""
        return together(to_elementary(expr).xreplace({P: self.p, **dict(self.parameters)}))


def cell(low: Expr, high: Expr, parameters: tuple[tuple[Expr, Expr], ...] = ()) -> Cell:
    """The open interval between two ends.

    >>> print(cell(sympy.S.Zero, sympy.S.One).p)
    u/(u + v)
    """
    if low == -sympy.oo and high == sympy.oo:
        return Cell(low, high, R, parameters)
    if high == sympy.oo:
        return Cell(low, high, low + A, parameters)
    if low == -sympy.oo:
        return Cell(low, high, high - A, parameters)
    return Cell(low, high, sympy.cancel(low + (high - low) * A / (A + B)), parameters)


def sign_within(expr: Expr, clock: Clock, seconds: float) -> Signed:
    """The sign that is found within some seconds, else "?"; raises OutOfTime only where the clock itself is out."""
    try:
        return sign(expr, clock=clock.within(seconds))
    except OutOfTime:
        clock.check()
        return Signed("?")


def climb(expr: Expr, where: Cell, clock: Clock, depth: int = _DEPTH) -> tuple[str, tuple[Step, ...]]:
    """Sign of a product by its factors; a factor that is 0 at an end of the cell has the sign of its derivative."""
    if expr.has(sympy.Piecewise, sympy.Abs, sympy.sign, sympy.exp) or expr.count_ops() > _LONG:
        return "?", ()
    clock.check()
    total = 1
    steps: list[Step] = []
    for base, power in (
        f.as_base_exp() for f in sympy.Mul.make_args(sympy.factor(sympy.cancel(sympy.together(expr))))
    ):
        if not power.is_Integer:
            return "?", ()
        found, shown = _factor_sign(base, where, clock, depth)
        if found not in ("+", "-"):
            return "?", ()
        total *= -1 if found == "-" and power % 2 else 1
        steps += shown
    return ("+" if total > 0 else "-"), tuple(steps)


def _factor_sign(f: Expr, where: Cell, clock: Clock, depth: int) -> tuple[str, tuple[Step, ...]]:
    found = sign_within(where.put(f), clock, 0.3)
    if found.sign in ("+", "-"):
        return found.sign, found.steps
    for parts in _splits(f):
        signs = [climb(part, where, clock, 0) for part in parts]
        if signs[0][0] in ("+", "-") and signs[0][0] == signs[1][0]:
            text = f"{f} = {parts[0]} + ({parts[1]}), of one sign for p in {where}"
            return signs[0][0], (
                *signs[0][1],
                *signs[1][1],
                Step(text, claim(f, "=", parts[0] + parts[1], (("p", str(where)),))),
            )
    for end, rising in ((where.low, True), (where.high, False)):
        if depth == 0 or not f.has(P) or not end.is_finite or not _zero_at(f, end):
            continue
        slope = to_elementary(derivative(f, P))
        inner, steps = climb(slope, where, clock, depth - 1)
        if inner == "?":
            return "?", ()
        out = inner if rising else {"+": "-", "-": "+"}[inner]
        words = {"+": "positive", "-": "negative"}
        text = f"{f} is 0 at p = {end} and its derivative {words[inner]} for p in {where}, so it is {words[out]} there"
        step = Step(text, claim(f, ">" if out == "+" else "<", sympy.S.Zero, (("p", str(where)),)))
        start = Step(f"{f} = 0 at p = {end}", claim(f, "=", sympy.S.Zero, (("p", str(end)),)))
        return out, (*steps, start, step)
    return "?", ()


def _splits(f: Expr) -> Iterator[tuple[Expr, Expr]]:
    """A polynomial in a log (or the like) cut in two, each part factored: higher powers and lower ones."""
    if f.count_ops() > 60:
        return
    for atom in sorted((a for a in f.atoms(sympy.Function) if a.has(P)), key=str)[:2]:
        try:
            poly = sympy.Poly(f, atom)
        except sympy.PolynomialError:
            continue
        terms = [(n, c) for (n,), c in poly.terms()]
        for i in range(1, len(terms)):
            yield tuple(
                sympy.factor(sympy.Add(*(c * atom**n for n, c in part))) for part in (terms[:i], terms[i:])
            )


def _zero_at(f: Expr, end: Expr) -> bool:
    """Whether f is 0 at an end and continuous there: every part of it has a finite value."""
    if f.free_symbols != {P}:
        return False
    value = f.xreplace({P: end})
    if value.has(*_BAD) or value != 0:
        return False
    return all(ball(part, {P: end}).is_finite() for part in sympy.preorder_traversal(f))


__all__ = ["Cell", "cell", "climb", "sign_within"]
