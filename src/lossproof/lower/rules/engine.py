"""The engine of rewriting: rules with a name and a reason, applied bottom-up until nothing changes.

A rule looks at one node of an expression and returns an equal node, or None. ``rewrite`` applies all rules
bottom-up until nothing changes and records what it did.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy

from lossproof.formula.functions import sigmoid

Expr = Any
HALF = sympy.Rational(1, 2)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewriting rule: one node in, an equal and more stable node out (or None)."""

    name: str
    reason: str
    apply: Callable[[Expr], Expr | None]
    last: bool = False  # only after derivatives are taken: it helps numbers, not algebra


@dataclass(frozen=True, slots=True)
class Step:
    """One application of a rule, kept for people to read."""

    rule: str
    before: str
    after: str


RULES: list[Rule] = []


def rule(
    reason: str, *, last: bool = False
) -> Callable[[Callable[[Expr], Expr | None]], Callable[[Expr], Expr | None]]:
    def register(apply: Callable[[Expr], Expr | None]) -> Callable[[Expr], Expr | None]:
        RULES.append(Rule(apply.__name__, reason, apply, last))
        return apply

    return register


def written_out(e: Expr, limit: int = 500) -> Expr:
    """The expression multiplied out, or as it is where that would be over ``limit`` terms."""
    return sympy.expand(e) if _terms(e) <= limit else e


def cancelled(e: Expr, limit: int = 200) -> Expr:
    """Common factors of numerator and denominator cancelled, where the expression is small enough for that."""
    return sympy.cancel(e) if _terms(e) <= limit and e.count_ops() <= limit else e


def _terms(e: Expr) -> float:
    if e.is_Add:
        return float(sum(_terms(a) for a in e.args))
    if e.is_Mul:
        return math.prod(_terms(a) for a in e.args)
    if e.is_Pow and e.args[1].is_Integer:
        inner = _terms(e.args[0])
        return 1.0 if inner == 1 else float(min(inner ** min(abs(float(e.args[1])), 40.0), 1e300))
    return 1.0


def sigmoid_powers(e: Expr) -> dict[Expr, Expr]:
    """u -> power, for the factors sigmoid(u)**power of a product."""
    powers: dict[Expr, Expr] = {}
    for factor in sympy.Mul.make_args(e):
        base, power = factor.as_base_exp()
        if isinstance(base, sigmoid):
            powers[base.args[0]] = powers.get(base.args[0], 0) + power
    return powers


def sigmoid_terms(add: Expr) -> list[tuple[Expr, Expr, Expr]]:
    """Terms k*sigmoid(u) of a sum as (term, k, u)."""
    found = []
    for term in add.args:
        factors = [f for f in sympy.Mul.make_args(term) if isinstance(f, sigmoid)]
        if len(factors) == 1:
            found.append((term, term / factors[0], factors[0].args[0]))
    return found


class TooSlow(Exception):
    """Rewriting took longer than it may."""


def rewrite(
    expr: Expr, *, rules: list[Rule] | None = None, limit: int = 2_000, deadline: float | None = None
) -> tuple[Expr, list[Step]]:
    """Apply rules (all by default) bottom-up until none applies; returns the expression and the steps taken.

    Raises ``TooSlow`` past ``deadline`` (of ``time.thread_time()``), or after more than ``limit`` steps.

    >>> from lossproof.formula.functions import softplus
    >>> from lossproof.formula.symbols import Y, Z
    >>> rewrite(Y * softplus(-Z) + (1 - Y) * softplus(Z))[0]
    -y*z + softplus(z)
    """
    active = RULES if rules is None else rules
    steps: list[Step] = []
    settled: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if node in settled:
            return settled[node]
        before = node
        if node.args and not node.is_Relational:
            args = [visit(a) for a in node.args]
            if any(new is not old for new, old in zip(args, node.args, strict=True)):
                node = node.func(*args)
        for one in active:
            if deadline is not None and time.thread_time() > deadline:
                raise TooSlow
            new = one.apply(node)
            if new is not None and new != node:
                steps.append(Step(one.name, str(node), str(new)))
                if len(steps) > limit:
                    raise TooSlow
                node = visit(new)
                break
        settled[before] = node
        return node

    while True:
        settled.clear()
        new = visit(expr)
        if new == expr:
            return new, steps
        expr = new
