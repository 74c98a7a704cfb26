"""Counterexamples: places where a statement about a loss fails, found with floats, settled by ball arithmetic."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import isfinite
from typing import Any

import mpmath
import numpy as np
import sympy

from lossproof.formula import Interval, Refuted
from lossproof.formula.functions import derivative, maximum, minimum, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.trace_check import evaluate
from lossproof.prove.ball import amount, ball, sign_at
from lossproof.prove.clock import Clock
from lossproof.prove.continuity import claim
from lossproof.prove.problem import Problem

Expr = Any
TARGETS = tuple(
    Fraction(t)
    for t in ("1/2", "1/10", "1/5", "3/10", "7/10", "9/10", "1/100", "99/100", "1/3", "1/1000", "17/20")
)

#: targets close to black and white, where a small term can outweigh the loss
BORDER = tuple(
    t for k in (*range(3, 13), 14, 17, 20, 25, 30) for t in (Fraction(1, 10**k), 1 - Fraction(1, 10**k))
)


def sample_parameters(problem: Problem) -> list[dict[Expr, Expr]]:
    """Values of the free parameters at which counterexamples are sought: the default, and others in the range."""
    if not problem.free:
        return [{}]
    chosen: list[dict[Expr, Expr]] = [
        {
            s: sympy.Rational(Fraction(repr(float(problem.loss.values[p.name]))))
            for p, s in zip(problem.free, problem.parameters, strict=True)
        }
    ]
    for t in ("1/10", "3", "-2", "9/10"):
        value = sympy.Rational(t)
        point = {
            s: value if float(value) in p.interval else v
            for (s, v), p in zip(chosen[0].items(), problem.free, strict=True)
        }
        if point not in chosen:
            chosen.append(point)
    for s, p in zip(problem.parameters, problem.free, strict=True):
        chosen += [
            point for value in _towards_ends(p.interval) if (point := {**chosen[0], s: value}) not in chosen
        ]
    return chosen


def _towards_ends(span: Interval) -> list[Expr]:
    """Values of a parameter beside the finite ends of its range, on the other side of 0 where the range goes beyond it."""
    low, high = span.low, span.high
    wide = Fraction(high) - Fraction(low) if isfinite(low) and isfinite(high) else Fraction(1)
    found = []
    for end, step, beyond in ((low, 1, low < 0 < high), (high, -1, low < 0 < high)):
        if isfinite(end):
            at = Fraction(end) / 2 if beyond else Fraction(end) + step * min(Fraction(1), wide) / 64
            if float(at) in span:
                found.append(sympy.Rational(at.numerator, at.denominator))
    return found


def lower_than_at_target(problem: Problem, clock: Clock) -> Refuted | None:
    """A pair (y, p) with loss(y, p) < loss(y, y), verified; None if the search finds none."""
    for values in sample_parameters(problem):
        loss = problem.expr.xreplace(values)
        for y, p in _candidates(problem, loss, clock):
            clock.check()
            found = settle(problem, loss, {Y: y, P: p}, values)
            if found is not None:
                return found
    return None


def settle(
    problem: Problem, loss: Expr, at: Mapping[Expr, Fraction], values: Mapping[Expr, Expr]
) -> Refuted | None:
    """The refutation at one point, if balls show that the loss there is below that at p = y."""
    y, p = at[Y], at[P]
    if y == p or not _inside(problem, y, p):
        return None
    gap = loss - loss.xreplace({P: Y})
    if gap.has(sympy.nan, sympy.zoo, sympy.oo, sympy.I) or sign_at(gap, at) != -1:
        return None
    if not (ball(loss, at).is_finite() and ball(loss, {**at, P: y}).is_finite()):
        return None  # a pole is no value that a calculator confirms
    witness = (("y", str(y)), ("p", str(p)), *((str(k), str(v)) for k, v in values.items()))
    difference = to_elementary(problem.expr) - to_elementary(problem.expr.xreplace({P: Y}))
    said = claim(difference, "<", sympy.S.Zero, witness)
    return None if said is None else Refuted(witness, said, amount(gap, at))


def _inside(problem: Problem, y: Fraction, p: Fraction) -> bool:
    low, high = problem.prediction.low, problem.prediction.high
    return float(y) in problem.target and low < p < high and low < y < high


def _candidates(problem: Problem, loss: Expr, clock: Clock) -> Iterator[tuple[Fraction, Fraction]]:
    """Promising pairs: a step down the slope at p = y, then places where a scan in floats finds less."""
    slope = to_elementary(derivative(loss, P))
    curvature = to_elementary(derivative(derivative(loss, P), P))
    special = special_places(loss)
    own = _own_targets(loss, special)
    for y in (*TARGETS, *own, *BORDER):
        clock.check()
        if not _inside(problem, y, y):
            continue
        at = {Y: y, P: y}
        s = sign_at(slope, at) if not slope.has(sympy.nan) else None
        if s:
            bend = abs(float(ball(curvature, at).mid())) if ball(curvature, at).is_finite() else 1.0
            steep = abs(float(ball(slope, at, bits=256).mid()))
            step = min(steep / max(bend, 1e-3), 0.1)
            for _ in range(8):
                if step > 0:
                    yield y, y - s * Fraction(step)
                step /= 4
    crossing = _crossings(loss)
    for y in (*crossing, *TARGETS, *own, *BORDER):  # places where a branch changes, exact and beside
        yield from ((y, p) for p in _beside(special, y))
    for y in (*TARGETS, *own, *crossing[::4], *BORDER[::3]):
        clock.check()
        if _inside(problem, y, y):
            yield from ((y, p) for p in _scan(problem, loss, y))


def _own_targets(loss: Expr, special: Sequence[Expr]) -> list[Fraction]:
    """Targets between the constants at which the formula changes: inside each window that it may open."""
    marks = {Fraction(int(e.p), int(e.q)) for e in special if e.is_Rational}
    for condition in loss.atoms(sympy.core.relational.Relational):
        marks |= _marks(condition.lhs - condition.rhs)
    for kink in loss.atoms(sympy.Abs, sympy.sign, maximum, minimum):
        marks |= _marks(kink.args[0] - (kink.args[1] if len(kink.args) > 1 else 0))
    inside = sorted(m for m in marks if 0 < m < 1)[:12]
    between = [(a + b) / 2 for a, b in pairwise(inside)]
    around = [m + s / 10**k for k in (4, 12, 25, 45) for m in inside for s in (Fraction(-1), Fraction(1))]
    return [t for t in dict.fromkeys([*inside, *between, *around]) if 0 < t < 1]


def _marks(u: Expr) -> set[Fraction]:
    """Rational y at which one reading of an expression in y alone is zero."""
    found = set()
    for reading in {u, u.replace(sympy.Abs, lambda a: a), u.replace(sympy.Abs, lambda a: -a)}:
        try:
            poly = sympy.Poly(reading, Y)
        except sympy.PolynomialError:
            continue
        if poly.degree() == 1 and all(c.is_Rational for c in poly.all_coeffs()):
            a, b = poly.all_coeffs()
            found.add(Fraction(int((-b / a).p), int((-b / a).q)))
    return found


def special_places(loss: Expr) -> list[Expr]:
    """p where a branch changes, as expressions in y."""
    places: list[Expr] = []
    for condition in loss.atoms(sympy.core.relational.Relational):
        g = condition.lhs - condition.rhs
        for u in [g, *(g.replace(sympy.Abs, lambda a: a), g.replace(sympy.Abs, lambda a: -a))]:
            places += _linear_roots(u)
    for kink in loss.atoms(sympy.Abs, sympy.sign):
        places += _linear_roots(kink.args[0])
    for kink in loss.atoms(maximum, minimum, sympy.Max, sympy.Min):
        places += _linear_roots(kink.args[0] - kink.args[1])
    for power in loss.atoms(sympy.Pow):  # the centre of a bump such as exp(-(p - c)**2/w)
        if power.exp.is_Integer and power.exp % 2 == 0:
            places += _linear_roots(power.base)
    return list(dict.fromkeys(places))[:20]


def _linear_roots(u: Expr) -> list[Expr]:
    """Zeros in p of the factors that are linear in p."""
    try:
        poly = sympy.Poly(u, P)
        if not 1 <= poly.degree() <= 8:
            return []
        factors = [poly] if poly.degree() == 1 else [f for f, _ in poly.factor_list()[1]]
    except sympy.PolynomialError:
        return []
    return [-b / a for a, b in (f.all_coeffs() for f in factors if f.degree() == 1)]


def grid(problem: Problem, y: float) -> np.ndarray[Any, Any]:
    """Predictions that are looked at for a target: even, crowded at the ends and around the target."""
    low, high = max(problem.prediction.low, -8.0), min(problem.prediction.high, 8.0)
    even = np.linspace(low, high, 1502)[1:-1]
    fine = np.logspace(-12, -0.35, 80)
    near = np.concatenate(
        [y - fine, y + fine, y * 2.0 ** np.arange(-8, 9), 1 - (1 - y) * 2.0 ** np.arange(-8, 9)]
    )
    ends = np.concatenate([low + fine * (high - low), high - fine[fine > 1e-12] * (high - low)])
    p = np.unique(np.concatenate([even, near, ends]))
    return p[(p > low) & (p < high)]


def _scan(problem: Problem, loss: Expr, y: Fraction) -> Iterator[Fraction]:
    at_y = float(y)
    p = grid(problem, at_y)
    with np.errstate(all="ignore"):
        value = np.broadcast_to(evaluate(loss, {Y: np.full_like(p, at_y), P: p}), p.shape) - float(
            np.asarray(evaluate(loss, {Y: np.array(at_y), P: np.array(at_y)}))
        )
    order = np.argsort(np.where(np.isnan(value), np.inf, value), kind="stable")
    for i in order[:3]:
        yield Fraction(float(p[i]))
    # wells between the grid points show as local minima: follow the deepest few down
    local = [
        i
        for i in range(1, len(p) - 1)
        if value[i] < value[i - 1] and value[i] <= value[i + 1] and abs(p[i] - at_y) > 1e-9
    ]
    for i in sorted(local, key=lambda i: value[i])[:3]:
        yield Fraction(_descend(loss, at_y, float(p[i - 1]), float(p[i + 1])))


def _beside(special: Sequence[Expr], y: Fraction) -> Iterator[Fraction]:
    for place in special:
        where = place.xreplace({Y: sympy.Rational(y)})
        if where.is_Rational:
            exact = Fraction(int(where.p), int(where.q))
            yield exact
            for k in (20, 40, 80, 130):
                yield exact + Fraction(1, 2**k)
                yield exact - Fraction(1, 2**k)


def _crossings(loss: Expr) -> list[Fraction]:
    """Targets just beside those at which a branch changes at p = y: a jump there tempts p to the other side."""
    found = []
    for condition in sorted(loss.atoms(sympy.core.relational.Relational), key=str)[:8]:
        g = (condition.lhs - condition.rhs).xreplace({P: Y})
        try:
            # without its repeated roots, at which the iteration would not end
            roots = sympy.Poly(g, Y).sqf_part().nroots(n=60, maxsteps=60) if g.has(Y) else []
        except (
            sympy.PolynomialError,
            sympy.polys.polyerrors.BasePolynomialError,
            mpmath.libmp.NoConvergence,
            ValueError,
            ArithmeticError,
        ):
            continue
        for root in roots:
            if root.is_real and 0 < root < 1:
                exact = Fraction(str(root))
                found += [exact + s * Fraction(1, 10**k) for k in (3, 8, 14, 20, 26) for s in (-1, 1)]
    return [y for y in found if 0 < y < 1]


def _descend(loss: Expr, y: float, low: float, high: float) -> float:
    for _ in range(6):
        p = np.linspace(low, high, 33)
        with np.errstate(all="ignore"):
            value = np.broadcast_to(evaluate(loss, {Y: np.full_like(p, y), P: p}), p.shape)
        i = int(np.nanargmin(value)) if not np.isnan(value).all() else 16
        low, high = float(p[max(i - 1, 0)]), float(p[min(i + 1, 32)])
    return (low + high) / 2
