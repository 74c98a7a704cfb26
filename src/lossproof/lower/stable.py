"""From a loss's formula to the expressions that are computed: behind a link, rewritten, with derived gradients."""

import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

from lossproof.formula import SIGMOID, Link, Loss
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Z
from lossproof.lower.rules import STRUCTURE, Step, TooSlow, rewrite

Expr = Any
BUDGET = 10.0  # seconds that rewriting a formula may take


@dataclass(frozen=True)
class Lowered:
    """A loss as stable expressions: in (y, p), in (y, z) behind a link, their gradients, and the floor in y.

    ``floor`` is None where the place of the minimum has no closed form.
    """

    value: Expr
    gradient: Expr
    value_logits: Expr
    gradient_logits: Expr
    floor: Expr | None
    steps: tuple[Step, ...]
    plain: bool = False  # no rule was applied

    def curvature_logits(self, deadline: float | None = None) -> Expr:
        """Second derivative with respect to the logits; rewritten, where the others are."""
        second = derivative(self.gradient_logits, Z)
        return second if self.plain else rewrite(second, deadline=deadline)[0]


def lower(loss: Loss, link: Link = SIGMOID, *, bound: bool = False) -> Lowered:
    """Derive the stable expressions of a loss; parameters stay symbols unless ``bound``.

    >>> from lossproof.catalogue import CATALOGUE
    >>> lower(CATALOGUE["bce"]).value_logits, lower(CATALOGUE["bce"]).gradient_logits
    (-y*z + softplus(z), -y + sigmoid(z))
    """
    made = _in_time(loss, link, bound)
    if made is not None:
        return made
    warn_of_time(loss)
    return lower_naive(loss, link, bound=bound)


def warn_of_time(loss: Loss) -> None:
    """Say that the plain form stands in."""
    warnings.warn(
        f"{loss.label[:60]}: expected to rewrite and print the formula within {BUDGET:g} s, it takes longer. Its plain "
        "form is used, which may overflow for large logits. Simplify the formula.",
        stacklevel=3,
    )


@lru_cache(maxsize=256)
def _in_time(loss: Loss, link: Link, bound: bool) -> Lowered | None:
    try:
        return _rewritten(loss, link, bound, time.thread_time() + BUDGET)
    except (TooSlow, MemoryError, RecursionError):
        return None


def _rewritten(loss: Loss, link: Link, bound: bool, deadline: float) -> Lowered:
    formula = loss.expression(bound=bound)
    forward = parse(link.forward, symbols=("z",))
    behind, steps = rewrite(formula.xreplace({P: forward}), rules=STRUCTURE, deadline=deadline)
    value_logits, more = rewrite(behind, deadline=deadline)
    gradient_logits, last = rewrite(derivative(behind, Z), deadline=deadline)
    value, _ = rewrite(formula, deadline=deadline)
    if any(isinstance(c, sympy.Eq) and c.has(P) for pw in formula.atoms(sympy.Piecewise) for _, c in pw.args):
        # a formula patched at a point cancels around it: there the way through the logits is the stable one
        inverse = parse(link.inverse, symbols=("p",))
        slope = sympy.factor(derivative(inverse, P))
        gradient = gradient_logits.xreplace({Z: rewrite(sympy.expand_log(inverse, force=True))[0]}) * slope
    else:
        gradient, _ = rewrite(derivative(formula, P), deadline=deadline)
    floor = floor_of(loss, bound=bound, deadline=deadline)
    return Lowered(value, gradient, value_logits, gradient_logits, floor, (*steps, *more, *last))


@lru_cache(maxsize=256)
def lower_naive(loss: Loss, link: Link = SIGMOID, *, bound: bool = False) -> Lowered:
    """The same expressions with no rule applied: a baseline for tests, and what people write first.

    >>> from lossproof.catalogue import CATALOGUE
    >>> lower_naive(CATALOGUE["mae"]).value_logits
    Abs(y - 1/(1 + exp(-z)))
    """
    formula = to_elementary(loss.expression(bound=bound))
    behind = formula.xreplace({P: to_elementary(parse(link.forward, symbols=("z",)))})
    floor = floor_of(loss, bound=bound)
    return Lowered(formula, derivative(formula, P), behind, derivative(behind, Z), floor, (), plain=True)


def floor_of(loss: Loss, *, bound: bool = False, deadline: float | None = None) -> Expr | None:
    """The least value over p as a function of y, where the place of the minimum has a closed form.

    >>> from lossproof.catalogue import CATALOGUE
    >>> floor_of(CATALOGUE["mse"]), floor_of(CATALOGUE["bce"])
    (0, -xlog1py(1 - y, -y) - xlogy(y, y))
    """
    at = loss.minimiser_expression(bound=bound)
    if loss.minimum == "undeclared" or at is None:
        return None
    return rewrite(loss.expression(bound=bound).xreplace({P: at}), deadline=deadline)[0]


__all__ = ["Lowered", "floor_of", "lower"]
