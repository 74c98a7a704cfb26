"""What is to be certified: the exact formula, its domain, and the lines that a certificate is made of.

SymPy is imported where an expression is asked for: the prover's process needs it, who reads its answer does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lossproof.formula import Interval, Loss, LossproofError, Param, Verdict
from lossproof.formula.interval import UNIT

Expr = Any


@dataclass(frozen=True)
class Line:
    """One line of a certificate: a statement, what is known of it, and its figures.

    ``statement`` is what holds if the verdict is Proved or Certified; ``details`` are plain JSON values.
    """

    key: str
    statement: str
    verdict: Verdict
    details: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Problem:
    """A loss to be certified for targets and predictions in a domain.

    ``free`` are the parameters left symbolic (proved for their whole ranges); the others have their values,
    read as the exact binary numbers they are, or as the decimals that were written if ``decimal``.
    """

    loss: Loss
    target: Interval = UNIT
    prediction: Interval = UNIT
    free: tuple[Param, ...] = ()
    decimal: bool = False

    def __post_init__(self) -> None:
        ends = [(i.low, i.high) for i in (self.target, self.prediction)]
        if ends[0] != ends[1]:
            raise LossproofError(
                f"certify: expected target and prediction in the same interval, got {self.target} and {self.prediction}. "
                "A perfect prediction must be allowed, and every prediction is compared with it: give both."
            )
        taken = {p.name for p in self.free} & {"u", "v", "w", "r"}
        if taken:
            raise LossproofError(
                f"certify: expected free parameters not called u, v, w or r, got {', '.join(sorted(taken))}. Rename."
            )

    @cached_property
    def expr(self) -> Expr:
        """loss(y, p), exact; 0 log 0 and the like still by convention."""
        from lossproof.formula.conventions import zero_log_zero
        from lossproof.formula.parse import parse
        from lossproof.formula.symbols import parameter

        free = {p.name for p in self.free}
        symbols = {
            p.name: parameter(p.name, positive=_positive(p.interval), nonnegative=p.interval.low >= 0 or None)
            for p in self.loss.params
        }
        values = {name: value for name, value in self.loss.values.items() if name not in free}
        return zero_log_zero(parse(self.loss.formula, params=symbols, values=values, decimal=self.decimal))

    @cached_property
    def parameters(self) -> tuple[Expr, ...]:
        """The symbols of the free parameters."""
        from lossproof.formula.symbols import parameter

        return tuple(
            parameter(p.name, positive=_positive(p.interval), nonnegative=p.interval.low >= 0 or None)
            for p in self.free
        )

    @cached_property
    def plain(self) -> Expr:
        """loss(y, p) in textbook form: right for y and p inside the domain."""
        from lossproof.formula.functions import to_elementary

        return to_elementary(self.expr)

    @cached_property
    def slope(self) -> Expr:
        """Derivative with respect to p, in textbook form (at a kink: the mean of both sides)."""
        from lossproof.formula.functions import derivative, to_elementary
        from lossproof.formula.symbols import P

        return to_elementary(derivative(self.expr, P))

    @cached_property
    def curvature(self) -> Expr:
        """Second derivative with respect to p where it exists."""
        from lossproof.formula.functions import derivative, to_elementary
        from lossproof.formula.symbols import P

        return to_elementary(derivative(derivative(self.expr, P), P))

    @cached_property
    def floor(self) -> Expr:
        """loss(y, y)."""
        from lossproof.formula.symbols import P, Y

        return self.expr.xreplace({P: Y})

    def at_target(self, value: Expr) -> Expr:
        """loss(value, p) for a fixed target, conventions such as 0 log 0 = 0 applied, in textbook form.

        >>> from lossproof.catalogue import CATALOGUE
        >>> Problem(CATALOGUE["bce"]).at_target(0)
        -log(1 - p)
        """
        import sympy

        from lossproof.formula.functions import to_elementary
        from lossproof.formula.symbols import Y

        return to_elementary(self.expr.xreplace({Y: sympy.sympify(value)}))

    @cached_property
    def gates(self) -> dict[Any, Any]:
        """What was found out about continuity, by question: most sections of a certificate ask the same."""
        return {}

    @property
    def domain(self) -> str:
        """The domain in words for a verdict: y in [0, 1], p in (0, 1), delta in (0, inf)."""
        inside = Interval(self.prediction.low, self.prediction.high, low_open=True, high_open=True)
        parts = [f"y in {self.target}", f"p in {inside}"]
        return ", ".join(parts + [f"{p.name} in {p.interval}" for p in self.free])


def undefined_at(expr: Expr, fixed: Mapping[Expr, Expr]) -> bool:
    """Whether a formula with some symbols fixed is infinite or no number whatever the others are, in any part.

    1/(1 - log(y)) at y = 0 is such a one: SymPy would take 1/(1 + oo) for 0.

    >>> import sympy
    >>> from lossproof.formula.symbols import P, Y
    >>> undefined_at(1/(1 - sympy.log(Y)) + P, {Y: sympy.S.Zero}), undefined_at(Y*P, {Y: sympy.S.Zero})
    (True, False)
    """
    import sympy

    from lossproof.formula.functions import to_elementary

    endless = (sympy.zoo, sympy.oo, sympy.nan)
    parts = {
        n
        for n in sympy.preorder_traversal(expr)
        if isinstance(n, sympy.Function | sympy.Pow | sympy.Mul | sympy.Add)
    }
    inside_where = {n for w in expr.atoms(sympy.Piecewise) for n in sympy.preorder_traversal(w) if n is not w}
    return any(to_elementary(n.xreplace(dict(fixed))).has(*endless) for n in (parts - inside_where) | {expr})


def _positive(interval: Interval) -> bool | None:
    return interval.low > 0 or (interval.low == 0 and interval.low_open) or None
