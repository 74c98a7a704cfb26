"""What a loss is as a function of its target: affine, quadratic, pieces of the residual - read off its formula.

A closed form of the normaliser follows from this, for any loss that has the form, whatever it is called.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import sympy

from lossproof.formula import Loss, LossproofError
from lossproof.formula.functions import maximum, minimum, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.unparse import unparse

Expr = Any
_R = sympy.Symbol("r", real=True)
_MOST_OPERATIONS = 400  # of a formula that is multiplied out; beyond it, quadrature serves
Kind = Literal["affine", "quadratic", "pieces", "log-cosh", "hyperbola", "logsquare", "residual", "general"]


@dataclass(frozen=True)
class Piece:
    """On low < r < high the loss is a r^2 + b r + c, r = y - p."""

    low: float
    high: float
    a: float
    b: float
    c: float


@dataclass(frozen=True)
class Structure:
    """What was read off: the form, and the parts that its closed form needs.

    affine: loss = y slope(p) + rest(p), both as losses of their own. quadratic: loss = y^2 square(p) + y slope(p) +
    rest(p). pieces: of the residual r = y - p, each at most quadratic. logcosh: a log cosh(b r) + c. hyperbola:
    a sqrt(b + r^2) + c. logsquare: a log(b + r^2) + c. residual: some other function of r. ``kinks`` are where, as
    functions of p, the loss may not be smooth in y.
    """

    kind: Kind
    slope: Loss | None = None
    square: Loss | None = None
    rest: Loss | None = None
    pieces: tuple[Piece, ...] = ()
    numbers: tuple[float, ...] = ()
    kinks: tuple[Loss, ...] = ()

    @property
    def of_residual(self) -> bool:
        """True where the loss depends on y - p alone."""
        return self.kind in ("pieces", "log-cosh", "hyperbola", "logsquare", "residual")


@lru_cache(maxsize=256)
def structure(loss: Loss) -> Structure:
    """Read the form of a loss off its formula, at its parameter values.

    >>> from lossproof.catalogue import CATALOGUE
    >>> [structure(CATALOGUE[name]).kind for name in ("bce", "huber", "logcosh", "hellinger")]
    ['affine', 'pieces', 'log-cosh', 'general']
    """
    expr = loss.expression()
    of_r = _residual(expr)
    if of_r is not None:
        found = _residual_form(of_r)
        return found if _agrees(loss, of_r) else Structure("general", kinks=_kinks(loss, expr))
    read = _polynomial(loss, expr)
    return read if read is not None else Structure("general", kinks=_kinks(loss, expr))


def _residual(expr: Expr) -> Expr | None:
    shifted = expr.xreplace({Y: P + _R})
    if shifted.has(P) and sympy.count_ops(shifted) < _MOST_OPERATIONS:
        shifted = sympy.expand(shifted, log=False, power_base=False, power_exp=False)
    return None if shifted.has(P) or shifted.has(sympy.nan) else shifted


def _agrees(loss: Loss, of_r: Expr) -> bool:
    """A second look at numbers: the rewriting of a formula is not taken on trust."""
    from lossproof.formula.trace_check import evaluate

    y, p = (a.ravel() for a in np.meshgrid(np.linspace(0.03, 0.96, 9), np.linspace(0.02, 0.97, 11)))
    direct, again = evaluate(loss.expression(), {Y: y, P: p}), evaluate(of_r, {_R: y - p})
    return bool(np.allclose(direct, again, rtol=1e-9, atol=1e-12, equal_nan=True))


def _residual_form(f: Expr) -> Structure:
    cuts = _cuts(f, _R)
    numbers = [c for c in cuts if c.is_number]
    kinks = tuple(_place(P + c) for c in numbers)
    if all(c.is_number for c in cuts):
        pieces = _pieces(f, sorted(numbers, key=float))
        if pieces is not None:
            return Structure("pieces", pieces=pieces, kinks=kinks)
    named = _named(to_elementary(f))
    return Structure(named[0], numbers=named[1]) if named else Structure("residual", kinks=kinks)


def _pieces(f: Expr, cuts: list[Expr]) -> tuple[Piece, ...] | None:
    edges = [-sympy.oo, *cuts, sympy.oo]
    found = []
    for low, high in pairwise(edges):
        at = _between(low, high)
        plain = sympy.expand(_resolve(f, at), log=False)
        poly = plain.as_poly(_R) if plain.has(_R) else sympy.Poly(plain, _R)
        if poly is None or poly.degree() > 2 or any(not c.is_number for c in poly.all_coeffs()):
            return None
        a, b, c = (float(poly.coeff_monomial(_R**k)) for k in (2, 1, 0))
        found.append(Piece(float(low), float(high), a, b, c))
    return tuple(found)


def _between(low: Expr, high: Expr) -> Expr:
    if low == -sympy.oo:
        return sympy.S.Zero if high == sympy.oo else high - 1
    return low + 1 if high == sympy.oo else (low + high) / 2


def _resolve(e: Expr, at: Expr) -> Expr:
    """The smooth expression that ``e`` is around r = at."""
    if not e.args or not e.has(_R):
        return e

    def sign_at(u: Expr) -> float:
        return float(u.xreplace({_R: at}))

    if isinstance(e, sympy.Piecewise):
        for value, condition in e.args:
            if condition.xreplace({_R: at}) == sympy.true:
                return _resolve(value, at)
        return sympy.nan
    args = [_resolve(a, at) for a in e.args]
    if isinstance(e, sympy.Abs):
        return args[0] if sign_at(args[0]) >= 0 else -args[0]
    if isinstance(e, sympy.sign):
        return sympy.Integer(1 if sign_at(args[0]) >= 0 else -1)
    if isinstance(e, maximum | minimum):
        first = sign_at(args[0] - args[1]) >= 0
        return args[0] if first == isinstance(e, maximum) else args[1]
    return e.func(*args)


def _edges(e: Expr) -> Iterator[Expr]:
    """Expressions whose zeros are where ``e`` may have a kink."""
    for node in sympy.preorder_traversal(e):
        if isinstance(node, sympy.Abs | sympy.sign):
            yield node.args[0]
        elif isinstance(node, maximum | minimum):
            yield node.args[0] - node.args[1]
        elif node.is_Relational:
            yield node.lhs - node.rhs


def _signs(e: Expr, depth: int = 0) -> Iterator[Expr]:
    """The smooth expressions that one with absolute values may be."""
    inner = next(iter(sorted(e.atoms(sympy.Abs), key=str)), None)
    if inner is None or depth > 3:
        yield e
        return
    for way in (inner.args[0], -inner.args[0]):
        yield from _signs(e.xreplace({inner: way}), depth + 1)


def _cuts(e: Expr, x: Expr) -> list[Expr]:
    """Where ``e`` may have a kink in x: the roots of what is linear in x (nan stands for what could not be solved)."""
    found: set[Expr] = set()
    for edge in _edges(e):
        for smooth in _signs(edge):
            if not smooth.has(x):
                continue
            linear = sympy.expand(smooth).as_poly(x)
            if linear is None or linear.degree() != 1:
                found.add(sympy.Symbol("unsolved"))
                continue
            slope, offset = linear.all_coeffs()
            found.add(sympy.expand(-offset / slope))
    return sorted(found, key=str)


def _kinks(loss: Loss, expr: Expr) -> tuple[Loss, ...]:
    return tuple(_place(c) for c in _cuts(expr, Y) if c.free_symbols <= {P})


def _place(expr: Expr) -> Loss:
    return Loss(id="kink", title="place of a kink", formula=unparse(expr))


def _terms(expr: Expr, x: Expr) -> dict[Expr, Expr]:
    """Coefficients by what depends on x, of an expression multiplied out."""
    found: dict[Expr, Expr] = {}
    for term in sympy.Add.make_args(expr):
        factor, rest = term.as_independent(x, as_Add=False)
        found[rest] = found.get(rest, sympy.S.Zero) + factor
    return found


def _polynomial(loss: Loss, expr: Expr) -> Structure | None:
    """A loss that is at most quadratic in the target, its coefficients functions of the prediction."""
    if sympy.count_ops(expr) > _MOST_OPERATIONS:
        return None
    plain = to_elementary(expr).expand(
        mul=True, multinomial=True, log=False, power_base=False, power_exp=False
    )
    terms = _terms(plain, Y)
    if not set(terms) <= {sympy.S.One, Y, Y**2}:
        return None
    square, slope, rest = (terms.get(k, sympy.S.Zero) for k in (Y**2, Y, sympy.S.One))
    try:
        made = [_part(loss, e) for e in (square, slope, rest)]
    except LossproofError:
        return None
    kind: Kind = "affine" if made[0] is None else "quadratic"
    return Structure(kind, square=made[0], slope=made[1], rest=made[2])


def _part(loss: Loss, coefficient: Expr) -> Loss | None:
    """y times a coefficient, as a loss of its own: so it is lowered, and stable behind a sigmoid, like any other."""
    if coefficient == 0:
        return None
    return Loss(id=f"part of {loss.label}", title="coefficient in the target", formula=f"y*({unparse(coefficient)})",
                prediction=loss.prediction)  # fmt: skip


def _named(f: Expr) -> tuple[Kind, tuple[float, ...]] | None:
    """a g(u) + c of the residual, for the g whose normaliser on the line is a known function."""
    terms = _terms(sympy.expand_mul(f), _R)
    constant = terms.pop(sympy.S.One, sympy.S.Zero)
    if len(terms) != 1:
        return None
    ((core, factor),) = terms.items()
    if not (factor.is_number and factor.is_positive and constant.is_number):
        return None
    readers: tuple[Callable[[Expr, Expr], tuple[Kind, tuple[Expr, ...]] | None], ...] = (
        _read_logcosh, _read_hyperbola, _read_logsquare,
    )  # fmt: skip
    for reader in readers:
        read = reader(core, factor)
        if read is not None:
            kind, (a, b, shift) = read
            return kind, (float(a), float(b), float(constant + shift))
    return None


def _read_logcosh(core: Expr, factor: Expr) -> tuple[Kind, tuple[Expr, ...]] | None:
    if isinstance(core, sympy.log) and isinstance(core.args[0], sympy.cosh):
        scale = core.args[0].args[0] / _R
        if scale.is_number:
            return "log-cosh", (factor, abs(scale), sympy.S.Zero)
    return None


def _centred(e: Expr) -> tuple[Expr, Expr] | None:
    """(s, t) of s + t r^2 with both positive, else None."""
    poly = e.as_poly(_R)
    if poly is None or poly.degree() != 2:
        return None
    t, middle, s = poly.all_coeffs()
    return (s, t) if middle == 0 and s.is_positive and t.is_positive else None


def _read_hyperbola(core: Expr, factor: Expr) -> tuple[Kind, tuple[Expr, ...]] | None:
    if core.is_Pow and core.args[1] == sympy.Rational(1, 2) and (st := _centred(core.args[0])):
        return "hyperbola", (factor * sympy.sqrt(st[1]), st[0] / st[1], sympy.S.Zero)
    return None


def _read_logsquare(core: Expr, factor: Expr) -> tuple[Kind, tuple[Expr, ...]] | None:
    if isinstance(core, sympy.log) and (st := _centred(core.args[0])):
        return "logsquare", (factor, st[0] / st[1], factor * sympy.log(st[1]))
    return None


__all__ = ["Piece", "Structure", "structure"]
