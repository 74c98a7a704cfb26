"""Functions of the prediction alone: their sign on the domain, antiderivatives, inverses."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from lossproof.formula import Interval, LossproofError, Piece, Step
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove.ball import ball, sign_at
from lossproof.prove.boxes import sign_cover
from lossproof.prove.climb import Cell, cell, climb, sign_within
from lossproof.prove.clock import Clock
from lossproof.prove.continuity import Stuck, claim
from lossproof.prove.identity import vanishes
from lossproof.prove.problem import Problem
from lossproof.prove.regions import A, B, R, Region, together
from lossproof.prove.sign import sign

Expr = Any
_BAD = (sympy.zoo, sympy.nan, sympy.oo, sympy.I)
_SHORT = 30  # operations up to which the sign of a whole expression is tried first
_LONG = 150  # operations above which an expression is not rearranged


@dataclass(frozen=True)
class Shown:
    """How a sign was shown: steps, and boxes where enclosures were used."""

    steps: tuple[Step, ...] = ()
    pieces: tuple[Piece, ...] = ()


def alone(problem: Problem, parameters: tuple[tuple[Expr, Expr], ...]) -> list[Cell]:
    """The predictions inside the domain, as one cell."""
    return [cell(_exact(problem.prediction.low), _exact(problem.prediction.high), parameters)]


def targets(problem: Problem, parameters: tuple[tuple[Expr, Expr], ...]) -> Cell:
    """The targets inside the domain, as a cell of a function written in p."""
    span: Interval = problem.target
    return cell(_exact(span.low), _exact(span.high), parameters)


def both(expr: Expr, target: Cell, prediction: Cell) -> Expr:
    """An expression in y and p, each running through a cell of its own, in positive symbols."""
    other = {s: sympy.Symbol(f"{s.name}_y", positive=True) for s in (A, B)}
    y = target.p.xreplace(other)
    return together(to_elementary(expr).xreplace({Y: y, P: prediction.p, **dict(prediction.parameters)}))


def _exact(x: float) -> Expr:
    return sympy.oo if x == math.inf else -sympy.oo if x == -math.inf else sympy.Rational(x)


def positive(expr: Expr, where: Cell, clock: Clock, *, relation: str = ">") -> Shown | None:
    """Show that an expression in p is positive (or stands in another relation to 0) on a cell; None if not shown."""
    expr = to_elementary(expr)
    if expr.has(*_BAD):
        return None
    wanted = {">": ("+",), "<": ("-",), ">=": ("+", ">=", "0"), "<=": ("-", "<=", "0")}[relation]
    long = expr.count_ops() > _SHORT and expr.has(sympy.Function)
    if long:  # by its factors first: the sign of the whole may take long
        climbed, steps = climb(expr, where, clock)
        if climbed in wanted:
            return Shown(steps)
    found = sign_within(where.put(expr), clock, 1.0)
    if found.sign in wanted:
        return Shown(found.steps)
    if found.sign == "?" and not long:
        climbed, steps = climb(expr, where, clock)
        if climbed in wanted:
            return Shown(steps)
    if found.sign != "?" or expr.free_symbols - {P} or not (where.low.is_finite and where.high.is_finite):
        return None
    box = (float(where.low), float(where.high))
    if (sympy.Rational(box[0]), sympy.Rational(box[1])) != (where.low, where.high):
        return None
    try:
        cover = sign_cover([expr, *_stripped(expr, where)], relation, (P,), (box,), clock=clock, most=3_000)
    except LossproofError:
        return None  # a function without an enclosure
    return Shown((), tuple(cover.pieces)) if cover.complete else None


def _stripped(expr: Expr, where: Cell) -> list[Expr]:
    """Forms of equal sign, poles at the ends of the cell multiplied away."""
    forms = []
    for i, j in ((1, 0), (0, 1), (1, 1), (2, 2)):
        factor = (P - where.low) ** i * (where.high - P) ** j
        terms = expr.args if expr.is_Add else (expr,)
        forms.append(sympy.Add(*(sympy.powsimp(t * factor) for t in terms)))
    return forms


def tidy(expr: Expr) -> Expr:
    """An expression as one factored fraction where that is short work.

    >>> print(tidy(1/P + 1/(1 - P)))
    -1/(p*(p - 1))
    """
    if expr.has(sympy.Piecewise, sympy.Abs, sympy.sign, sympy.exp, *_BAD) or expr.count_ops() > _LONG:
        return expr
    made = sympy.factor(sympy.together(expr))
    return made if made.count_ops() <= expr.count_ops() else expr


def split_logs(expr: Expr, region: Region | None, clock: Clock) -> Expr:
    """Logs of products and quotients as sums of logs, where the factors are shown to be of one sign on a region."""
    if region is None:
        return expr
    made = {}
    for node in expr.atoms(sympy.log):
        inner = node.args[0]
        if not inner.has(P, Y) or inner.count_ops() > 60 or inner.has(sympy.exp, sympy.Piecewise):
            continue
        factors = sympy.Mul.make_args(sympy.factor(sympy.together(inner)))
        parts = [f.as_base_exp() for f in factors]
        signs = [sign(region.put(b), clock=clock).sign for b, _ in parts]
        odd_powers = sum(s == "-" and e.is_odd is True for s, (_, e) in zip(signs, parts, strict=True))
        if len(parts) > 1 and all(s in "+-" for s in signs) and odd_powers % 2 == 0 and all(
            s == "+" or e.is_Integer for s, (_, e) in zip(signs, parts, strict=True)
        ):  # fmt: skip
            made[node] = sympy.Add(
                *(
                    e * sympy.log(b if s == "+" else sympy.expand(-b))
                    for s, (b, e) in zip(signs, parts, strict=True)
                )
            )
    return expr.xreplace(made)


def odd(psi: Expr, clock: Clock) -> bool | None:
    """Tell whether psi(-r) = -psi(r): True if shown, False if a point shows otherwise.

    >>> odd(R**3, Clock.for_ever()), odd(R + R**2, Clock.for_ever())
    (True, False)
    """
    turned = psi.xreplace({R: -R})
    if turned == -psi or vanishes(turned + psi, clock):
        return True
    known = psi.free_symbols <= {R}
    points = [Fraction(1, 3), Fraction(1, 50), Fraction(4, 5)]
    signs = [sign_at(psi + turned, {R: r}) for r in points] if known else []
    return False if any(signs) else None


def meets(expr: Expr, cells: list[Cell], clock: Clock) -> tuple[Expr, list[Cell], list[Step]]:
    """Take single points p = c out of a formula: its generic branch, the cells between, and why it is continuous.

    Raises Stuck where a branch is more than one point, or the limit there is not shown to be the value.
    """
    steps: list[Step] = []
    for node in sorted(expr.atoms(sympy.Piecewise), key=str):
        if not expr.has(node):
            continue
        condition = node.args[0][1]
        equal = isinstance(condition, sympy.Eq)
        if len(node.args) != 2 or not isinstance(condition, sympy.Eq | sympy.Ne):
            raise Stuck("the formula has branches in p")
        point, generic = (node.args[0][0], node.args[1][0]) if equal else (node.args[1][0], node.args[0][0])
        roots = sympy.roots(sympy.Poly(condition.lhs - condition.rhs, P)) if condition.has(P) else {}
        if not roots or not all(c.is_Rational for c in roots):
            raise Stuck(f"where {condition} holds is not found")
        for c in roots:
            if not any(k.low < c < k.high for k in cells):
                continue
            at, smooth = to_elementary(point), to_elementary(generic)
            if at.has(P) or not _tends(smooth, c, at, clock):
                raise Stuck(f"the loss may jump at p = {c}")
            for side in "-+":
                said = claim(smooth, "->", at, (), (f"p -> {c}{side}",))
                steps.append(Step(f"as p -> {c}{side} the other branch tends to {at}", said))
            cells = [part for k in cells for part in _halves(k, c)]
        expr = expr.xreplace({node: generic})
    return expr, cells, steps


def branches(expr: Expr, cells: list[Cell]) -> list[tuple[Cell, Expr]] | None:
    """The formula on each interval of p between the places where a branch changes; None where those are not found."""
    cuts: set[Expr] = set()
    conditions = []
    for node in expr.atoms(sympy.Piecewise):
        conditions += [c for _, c in node.args if c != sympy.true]
    for condition in conditions:
        for part in condition.args if isinstance(condition, sympy.And) else (condition,):
            g = part.lhs - part.rhs if isinstance(part, sympy.core.relational.Relational) else sympy.nan
            while nested := g.atoms(
                sympy.Piecewise
            ):  # a condition on a clipped value: cuts of all its branches
                node = min(nested, key=lambda n: n.count_ops())
                g = sympy.Mul(*(g.xreplace({node: value}) for value, _ in node.args))
            try:
                factors = [sympy.Poly(f, P) for f in sympy.Mul.make_args(g) if f.has(P)]
            except sympy.PolynomialError:
                return None
            if g.has(sympy.nan) or g.free_symbols - {P} or any(f.degree() != 1 for f in factors):
                return None
            cuts |= {c for f in factors for c in sympy.roots(f)}
    if not all(c.is_Rational for c in cuts):
        return None
    for c in cuts:
        cells = [part for k in cells for part in _halves(k, c)]
    return [(k, _chosen(expr, _inner_point(k))) for k in cells]


def _chosen(expr: Expr, at: Expr) -> Expr:
    """The branches that hold at a prediction."""
    if not expr.args or not expr.has(sympy.Piecewise):
        return expr
    if isinstance(expr, sympy.Piecewise):
        for value, condition in expr.args:
            if condition.xreplace({P: at}) == sympy.true:
                return _chosen(value, at)
        return sympy.nan
    return expr.func(*(_chosen(a, at) for a in expr.args))


def _inner_point(k: Cell) -> Expr:
    if k.low.is_finite and k.high.is_finite:
        return (k.low + k.high) / 2
    return k.low + 1 if k.low.is_finite else k.high - 1 if k.high.is_finite else sympy.S.Zero


def _halves(k: Cell, c: Expr) -> list[Cell]:
    return [cell(k.low, c, k.parameters), cell(c, k.high, k.parameters)] if k.low < c < k.high else [k]


def _tends(expr: Expr, c: Expr, value: Expr, clock: Clock) -> bool:
    """Limit of an expression of p at c from both sides, SymPy's answer cross-checked by balls close by."""
    if expr.has(Y) or expr.free_symbols - {P} or expr.count_ops() > _LONG:
        return False
    exact = Fraction(int(c.p), int(c.q))
    for side in (1, -1):
        for k in (20, 40):
            gap = ball(expr - value, {P: exact + Fraction(side, 2**k)}, bits=512)
            if not (gap.is_finite() and abs(gap) < 2.0 ** (8 - k)):
                return False
    clock.check()
    try:
        limits = {sympy.limit(expr, P, c, d) for d in "+-"}
    except (NotImplementedError, ValueError, TypeError):
        return False
    return all(sympy.simplify(found - value) == 0 for found in limits)


def generator(bend: Expr, clock: Clock) -> Expr | None:
    """A function of p with a given second derivative, by the rules for powers and logs; None if they do not do.

    >>> print(generator(1/(P*(1 - P)), Clock.for_ever()))
    p*log(p) + (1 - p)*log(1 - p)
    """
    first = _integral(bend)
    second = None if first is None else _integral(first)
    if second is None:
        return None
    terms = [
        t
        for t in sympy.Add.make_args(sympy.expand(second))
        if not (t.is_polynomial(P) and sympy.degree(t, P) < 2)
    ]
    second = sympy.Add(*(_collected(terms)))
    return second if vanishes(derivative(derivative(second, P), P) - bend, clock) else None


def _collected(terms: list[Expr]) -> list[Expr]:
    """Terms grouped by their logs: (1 - p)*log(1 - p), not log(1 - p) - p*log(1 - p)."""
    groups: dict[Expr, list[Expr]] = {}
    for t in terms:
        logs = [f for f in sympy.Mul.make_args(t) if f.has(sympy.log) and f.has(P)]
        key = sympy.Mul(*logs)
        groups.setdefault(key, []).append(t / key)
    return [
        sympy.factor(sympy.Add(*parts)) * key if key == 1 else sympy.Add(*parts) * key
        for key, parts in groups.items()
    ]


def _integral(expr: Expr) -> Expr | None:
    if expr.is_rational_function(P) and not (expr.free_symbols - {P}) and expr.count_ops() < _LONG:
        expr = sympy.apart(expr, P)
    total = sympy.S.Zero
    for term in (
        sympy.Add.make_args(sympy.expand(expr))
        if not expr.is_rational_function(P)
        else sympy.Add.make_args(expr)
    ):
        scale, rest = term.as_independent(P, as_Add=False)
        part = _integral_of_factor(rest)
        if part is None:
            return None
        total += scale * part
    return total


def _integral_of_factor(rest: Expr) -> Expr | None:
    if rest == 1:
        return P
    if isinstance(rest, sympy.log):
        base = rest.args[0]
        slope = sympy.diff(base, P)
        return None if slope.has(P) or slope == 0 else (base * rest - base) / slope
    base, power = rest.as_base_exp()
    slope = sympy.diff(base, P)
    if slope.has(P) or power.has(P) or slope == 0:
        return None
    if power == -1:
        at = base.xreplace({P: sympy.Rational(1, 2)})
        known = at.is_positive if at.free_symbols else bool(at > 0)
        return None if known is None else sympy.log(base if known else -base) / slope
    return base ** (power + 1) / ((power + 1) * slope)


def inverse(f: Expr, cells: list[Cell], clock: Clock) -> Expr | None:
    """q(y) with F(q(y)) = y, q(y) inside the domain where y is; None if no such formula is found.

    >>> print(inverse(P/(3 - 2*P), [cell(sympy.S.Zero, sympy.S.One)], Clock.for_ever()))
    3*y/(2*y + 1)
    """
    if f == P:
        return Y
    if f.count_ops() > 40 or f.has(sympy.Piecewise, sympy.Abs, sympy.sign):
        return None
    rational = f.is_rational_function(P)
    if rational and sympy.degree(sympy.numer(sympy.together(f - Y)), P) > 2:
        return None
    if not rational and f.count_ops() > 10:
        return None
    clock.check()
    try:
        roots = sympy.solve(f - Y, P)
    except (NotImplementedError, TypeError, ValueError):
        return None
    inside = [r for r in roots if _fits(r, f, cells)]
    if len(inside) != 1:
        return None
    root = tidy(inside[0])
    return root if vanishes(f.xreplace({P: root}) - Y, clock) else None


def _fits(root: Expr, f: Expr, cells: list[Cell]) -> bool:
    """Whether q(F(p)) = p at a few exact points of the domain (parameters at exact points too)."""
    low, high = max(cells[0].low, -5), min(cells[-1].high, 5)
    symbols = f.free_symbols - {P}
    seen = 0
    for k in (1, 3, 4, 6):
        at = {
            P: sympy.Rational(low + (high - low) * sympy.Rational(k, 7)),
            **{s: sympy.Rational(k, 11) for s in symbols},
        }
        gap = root.xreplace({Y: f}) - P
        found = ball(gap, at, bits=200)
        if not found.is_finite():
            continue
        if not found.contains(0):
            return False
        seen += 1
    return seen > 0


__all__ = [
    "Cell",
    "Shown",
    "alone",
    "both",
    "branches",
    "cell",
    "generator",
    "inverse",
    "meets",
    "odd",
    "positive",
    "targets",
    "tidy",
]
