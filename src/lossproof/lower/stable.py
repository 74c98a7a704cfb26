"""From a loss's formula to the expressions that are computed: behind a link, rewritten, with derived gradients."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy

from lossproof.formula import SIGMOID, Link, Loss
from lossproof.formula.functions import derivative
from lossproof.formula.parse import parse
from lossproof.formula.symbols import P, Z
from lossproof.lower.rules import STRUCTURE, Step, rewrite

Expr = Any


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


@lru_cache(maxsize=256)
def lower(loss: Loss, link: Link = SIGMOID, *, bound: bool = False) -> Lowered:
    """Derive the stable expressions of a loss; parameters stay symbols unless ``bound``.

    >>> from lossproof.catalogue import CATALOGUE
    >>> lower(CATALOGUE["bce"]).value_logits, lower(CATALOGUE["bce"]).gradient_logits
    (-y*z + softplus(z), -y + sigmoid(z))
    """
    formula = loss.expression(bound=bound)
    forward = parse(link.forward, symbols=("z",))
    behind, steps = rewrite(formula.xreplace({P: forward}), rules=STRUCTURE)
    value_logits, more = rewrite(behind)
    gradient_logits, last = rewrite(derivative(behind, Z))
    value, _ = rewrite(formula)
    if any(isinstance(c, sympy.Eq) and c.has(P) for pw in formula.atoms(sympy.Piecewise) for _, c in pw.args):
        # a formula patched at a point cancels around it: there the way through the logits is the stable one
        inverse = parse(link.inverse, symbols=("p",))
        slope = sympy.factor(derivative(inverse, P))
        gradient = gradient_logits.xreplace({Z: rewrite(sympy.expand_log(inverse, force=True))[0]}) * slope
    else:
        gradient, _ = rewrite(derivative(formula, P))
    steps = [*steps, *more, *last]
    return Lowered(value, gradient, value_logits, gradient_logits, floor_of(loss, bound=bound), tuple(steps))


def floor_of(loss: Loss, *, bound: bool = False) -> Expr | None:
    """The least value over p as a function of y, where the place of the minimum has a closed form.

    >>> from lossproof.catalogue import CATALOGUE
    >>> floor_of(CATALOGUE["mse"]), floor_of(CATALOGUE["bce"])
    (0, -xlog1py(1 - y, -y) - xlogy(y, y))
    """
    at = loss.minimiser_expression(bound=bound)
    if loss.minimum == "undeclared" or at is None:
        return None
    return rewrite(loss.expression(bound=bound).xreplace({P: at}))[0]


__all__ = ["Lowered", "floor_of", "lower"]
