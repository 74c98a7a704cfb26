"""The excess loss(y, p) - loss(y, y) shown to be positive as it stands: directly, by its parts, or by its derivative."""

from typing import Any

import sympy

from lossproof.formula import Step
from lossproof.formula.functions import maximum, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove.clock import Clock, OutOfTime
from lossproof.prove.collapse import collapse, sign_on
from lossproof.prove.continuity import Stuck, as_pieces, claim, gate, slope_of, variants
from lossproof.prove.defined import defined
from lossproof.prove.identity import vanishes
from lossproof.prove.limits import HIGH, LOW, limit
from lossproof.prove.problem import Problem
from lossproof.prove.regions import Region
from lossproof.prove.sign import Signed

Expr = Any
NOTHING = Signed("?", ())


def excess_sign(problem: Problem, region: Region, loss: Expr, clock: Clock) -> Signed:
    """The sign of loss(y, p) - loss(y, y) on a region, "+", ">=" or "?", looked for in a share of the time.

    Needs neither a derivative nor continuity of the loss. At an end of the domain loss(y, y) is a limit.
    """
    at_target = region.fix(problem.floor) if region.end is None else value_at_end(loss, region, clock)
    if at_target is None:
        return NOTHING
    floor = collapse(at_target, region, clock)
    excess = loss - floor  # maximum keeps its name: it bounds bumps
    if floor.has(sympy.nan, sympy.zoo, sympy.oo) or excess.count_ops() > 150:
        return NOTHING
    try:
        found = _positive(problem, excess, region, clock.within(min(4.0, clock.left() / 4)), 3)
    except (OutOfTime, Stuck):
        clock.check()
        return NOTHING
    if found.sign == "?":
        return NOTHING
    relation = ">" if found.sign == "+" else ">="
    said = claim(to_elementary(excess), relation, sympy.S.Zero, region.ranges, region.given)
    end = Step(f"so loss(y, p) {relation} loss(y, y) ({region})", said)
    return Signed("+" if found.sign == "+" else ">=", (*found.steps, end))


def _positive(problem: Problem, expr: Expr, region: Region, clock: Clock, depth: int) -> Signed:
    """The sign of an expression that is zero at p = y: itself, by factors, by terms, or rising from zero."""
    forms = list(dict.fromkeys((expr, sympy.factor_terms(expr), _factored(expr), sympy.expand_mul(expr))))
    products = [form for form in forms if form.is_Mul and depth]
    for form in products:  # the sign of a product is that of its factors: quicker than of the whole
        found = _factors(problem, form, region, clock, depth)
        if found.sign != "?":
            return found
    direct = _itself(expr, region, clock)
    if direct.sign != "?" or depth == 0:
        return direct
    for form in forms:
        if form.is_Add:
            found = _terms(problem, form, region, clock, depth)
            if found.sign != "?":
                return found
    return _rising(problem, expr, region, clock)


def _factored(expr: Expr) -> Expr:
    """Factored as a polynomial in y, p and whatever functions of them occur, which are taken as they are."""
    functions = sorted(
        (f for f in expr.atoms(sympy.Function, sympy.exp, sympy.Piecewise) if f.has(P)), key=str
    )
    names = {f: sympy.Dummy(f"f{i}") for i, f in enumerate(functions)}
    plain = expr.xreplace(names)
    if plain.count_ops() > 60 or not plain.is_rational_function(*plain.free_symbols):
        return expr
    return sympy.factor(plain).xreplace({v: k for k, v in names.items()})


def _itself(expr: Expr, region: Region, clock: Clock) -> Signed:
    found = _try(expr, region, clock)
    if found.sign == "?" and expr.is_Add:
        lower = sympy.Add(*(_below(term, region, clock) for term in expr.args))
        if lower != expr:
            by_bound = _try(lower, region, clock)
            bound = Step(f"bumps with a negative factor are at most 1: {expr} >= {lower}",
                         claim(expr, ">=", lower, region.ranges, region.given))  # fmt: skip
            found = Signed(by_bound.sign if by_bound.sign != "0" else ">=", (bound, *by_bound.steps))
    if found.sign not in ("+", ">=", "0"):
        return NOTHING
    shown = [defined(region.put(v), clock=clock) for v in variants(as_pieces(expr))]
    if None in shown:
        return NOTHING
    relation = {"+": ">", ">=": ">=", "0": "="}[found.sign]
    said = claim(expr, relation, sympy.S.Zero, region.ranges, region.given)
    return Signed(found.sign, (*found.steps, Step(f"{expr} {relation} 0 ({region})", said)))


def _try(expr: Expr, region: Region, clock: Clock) -> Signed:
    try:
        return sign_on(expr, region, clock.within(1.2))
    except OutOfTime:
        clock.check()
        return NOTHING


def _below(term: Expr, region: Region, clock: Clock) -> Expr:
    """A lower bound of a term: a bump (exp of something negative, max(0, 1 - |u|)) with a negative factor at its top."""
    number, rest = term.as_coeff_Mul()
    if not number.is_negative:
        return term
    for bump in sympy.Mul.make_args(rest):
        top = _top(bump, region, clock)
        others = rest / bump
        if top is not None and (others == 1 or _try(others, region, clock).sign in ("+", ">=")):
            return number * top * others
    return term


def _top(bump: Expr, region: Region, clock: Clock) -> Expr | None:
    """An upper bound of exp(u) with u <= 0, or of max(0, k - u) with u >= 0 and k a positive number."""
    if isinstance(bump, sympy.exp) and _try(bump.args[0], region, clock).sign in ("-", "<=", "0"):
        return sympy.S.One
    if isinstance(bump, maximum) and sympy.S.Zero in bump.args:
        (height,) = set(bump.args) - {sympy.S.Zero}
        constant, rest = height.as_coeff_Add()
        if constant.is_positive and _try(rest, region, clock).sign in ("-", "<=", "0"):
            return constant
    return None


def _factors(problem: Problem, expr: Expr, region: Region, clock: Clock, depth: int) -> Signed:
    signs: list[str] = []
    steps: tuple[Step, ...] = ()
    for factor in expr.args:
        found = _itself(factor, region, clock)
        if found.sign == "?" and vanishes_at_target(factor, region, clock):
            found = _positive(problem, factor, region, clock, depth - 1)
        if found.sign == "?":
            return NOTHING
        signs.append(found.sign)
        steps += found.steps
    weak = ">=" in signs or "0" in signs
    return Signed(">=" if weak else "+", (*steps, Step("so the product has the sign of its factors")))


def _terms(problem: Problem, expr: Expr, region: Region, clock: Clock, depth: int) -> Signed:
    """Terms that vanish at p = y each for itself, and all the others together."""
    zero = [t for t in expr.args if vanishes_at_target(t, region, clock)]
    others = [t for t in expr.args if t not in zero]
    groups = [sympy.Add(*zero)] if not others else [sympy.Add(*others), sympy.Add(*zero)]
    if len(groups) == 1:
        groups = zero
    if len(groups) < 2 or 0 in groups:
        return NOTHING
    signs: list[str] = []
    steps: tuple[Step, ...] = ()
    for group in groups:
        found = _positive(problem, sympy.factor_terms(group), region, clock, depth - 1)
        if found.sign == "?":
            return NOTHING
        signs.append(found.sign)
        steps += found.steps
    return Signed("+" if "+" in signs else ">=", (*steps, Step("so their sum has this sign too")))


def _rising(problem: Problem, expr: Expr, region: Region, clock: Clock) -> Signed:
    """Zero at p = y, continuous, and growing on the way from there."""
    if not vanishes_at_target(expr, region, clock):
        return NOTHING
    try:
        steps = gate(problem, region, expr, clock, steps_up=True, floor=sympy.S.Zero)
    except Stuck:
        return NOTHING
    slope = slope_of(as_pieces(expr), region)
    found = _try(slope, region, clock)
    strict, weak = ("+", ">=") if region.side == ">" else ("-", "<=")
    if found.sign not in (strict, weak, "0"):
        return NOTHING
    relation = (">" if strict == "+" else "<") + ("" if found.sign == strict else "=")
    said = claim(slope, relation, sympy.S.Zero, region.ranges, region.given)
    end = Step(
        f"{expr} is 0 at p = y and grows on the way from there: its derivative is {slope} ({region})", said
    )
    return Signed("+" if found.sign == strict else ">=", (*found.steps, *steps, end))


def value_at_end(loss: Expr, region: Region, clock: Clock) -> Expr | None:
    """The limit of the loss as p tends to the target, an end of the domain; None where it is not shown."""
    if continuous_at_end(loss, region.end):
        return loss.xreplace({P: region.end})
    if region.end not in (0, 1) or region.parameters:
        return None
    found = limit(loss, LOW if region.end == 0 else HIGH, clock)
    return found.value if found is not None and found.proved and not found.infinite else None


def vanishes_at_target(expr: Expr, region: Region, clock: Clock) -> bool:
    """Whether an expression is shown to be zero at p = y (at an end: with the limit as its value there)."""
    if not expr.has(P):
        return False
    if region.end is None:
        at = expr.xreplace({P: Y})
        return not at.has(sympy.nan, sympy.zoo, sympy.oo) and vanishes(collapse(at, region, clock), clock)
    return continuous_at_end(expr, region.end) and vanishes(expr.xreplace({P: region.end}), clock)


def continuous_at_end(loss: Expr, end: Expr) -> bool:
    """Whether the formula at p = y, an end of the domain, gives the limit: every part of it is continuous there."""
    near = to_elementary(loss)
    for node in sorted(near.atoms(sympy.Piecewise), key=lambda n: -n.count_ops()):
        at = [(value, c, c.xreplace({P: end})) for value, c in node.args]
        if any(c.has(P) and _on_border(c, end) for _, c, _ in at):
            return False
        near = near.xreplace({node: next((value for value, _, holds in at if holds == sympy.true), node)})
    if near.has(sympy.Piecewise, sympy.sign):
        return False
    ends = [n.xreplace({P: end}) for n in sympy.preorder_traversal(near) if n.has(P)]
    return not any(e.has(sympy.zoo, sympy.oo, sympy.nan) for e in ends)


def _on_border(condition: Expr, end: Expr) -> bool:
    """Whether a condition changes right at the end."""
    parts = condition.args if isinstance(condition, sympy.And) else (condition,)
    known = [c for c in parts if isinstance(c, sympy.core.relational.Relational)]
    return len(known) < len(parts) or not all((c.lhs - c.rhs).xreplace({P: end}).is_nonzero for c in known)
