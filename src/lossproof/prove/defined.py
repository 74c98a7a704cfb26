"""Proofs that an expression is real, finite and continuous for all values of its symbols."""

from collections.abc import Callable
from typing import Any

import sympy

from lossproof.formula import Step
from lossproof.prove.sign import Signed, sign
from lossproof.prove.sign_atoms import BAD
from lossproof.prove.sign_points import holds_by_sign

Expr = Any  # sympy is untyped

#: continuous on the whole line
_EVERYWHERE = {
    "exp", "sin", "cos", "atan", "sinh", "cosh", "tanh", "asinh", "erf", "Abs", "maximum", "minimum", "Max", "Min",
    "expm1", "sigmoid", "softplus", "logaddexp", "logcosh", "logsinhc", "langevin", "logexprel", "meanexp",
}  # fmt: skip
_MAX_NODES = 4_000


class _NotShown(Exception):
    """Some part is not shown to be defined."""


def defined(expr: Expr, *, clock: Any = None) -> tuple[Step, ...] | None:
    """Steps that show an expression real, finite and continuous for all values of its symbols, or None.

    Every denominator is shown to be nonzero, every argument of log positive, and so on; a jump counts as a
    failure unless the sign of its argument is one everywhere.

    >>> a, b = sympy.symbols("a b", positive=True)
    >>> [step.text for step in defined(sympy.log(a/(a + b)))]
    ['the denominator a + b is not 0', 'all terms are positive', 'the argument a/(a + b) of log is positive']
    >>> defined(sympy.log(a - b)) is None
    True
    """
    expr = sympy.sympify(expr)
    if not isinstance(expr, sympy.Expr) or expr.has(*BAD):
        return None
    checker = _Checker(clock)
    try:
        checker(expr)
    except _NotShown:
        return None
    return tuple(dict.fromkeys(checker.steps))


class _Checker:
    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.steps: list[Step] = []
        self.seen: set[Expr] = set()

    def sign(self, expr: Expr, allowed: tuple[str, ...], text: str) -> Signed:
        """The sign of a part, which must be one of those allowed; leaves the steps."""
        found = sign(expr, clock=self.clock)
        if found.sign not in allowed:
            raise _NotShown
        if not (expr.is_Rational or (expr.is_Symbol and expr.is_positive)):
            *inner, last = found.steps
            self.steps += [*inner, Step(text, last.claim)]
        return found

    def __call__(self, expr: Expr) -> None:
        if expr in self.seen:
            return
        self.seen.add(expr)
        if self.clock is not None:
            self.clock.check()
        if len(self.seen) > _MAX_NODES:
            raise _NotShown
        if expr.is_Symbol:
            if not expr.is_real:
                raise _NotShown
            return
        if expr.is_Number or expr in (sympy.pi, sympy.E):
            return
        if isinstance(expr, sympy.Piecewise):
            self.piecewise(expr)
            return
        for a in expr.args:
            self(a)
        if expr.is_Add or expr.is_Mul:
            return
        if isinstance(expr, sympy.Pow) and not isinstance(expr, sympy.exp):
            self.power(*expr.args)
            return
        name = type(expr).__name__
        if name in _EVERYWHERE:
            return
        rule = _RULES.get(name)
        if rule is None:
            raise _NotShown
        rule(self, expr)

    def power(self, base: Expr, power: Expr) -> None:
        if base is sympy.E:
            return
        if power.is_Integer:
            if power < 0:
                self.sign(base, ("+", "-"), f"the denominator {base} is not 0")
            return
        allowed: tuple[str, ...] = ("+",)
        # x^q is continuous at 0 for q > 0; a q that varies must stay positive, and 0^q = 0 joins on continuously
        if sign(power, clock=self.clock).sign == "+":
            allowed = ("+", ">=", "0")
        self.sign(
            base,
            allowed,
            f"the base {base} of a power is {'positive' if allowed == ('+',) else 'not negative'}",
        )

    def piecewise(self, expr: Expr) -> None:
        """Only when one branch holds everywhere: continuity across a border is another proof."""
        for value, condition in expr.args:
            holds = self.condition(condition)
            if holds is None:
                raise _NotShown
            if holds:
                self(value)
                return
        raise _NotShown

    def condition(self, condition: Expr) -> bool | None:
        """Whether a comparison holds everywhere (True), nowhere (False), or neither is shown."""

        if condition in (sympy.true, sympy.false):
            return bool(condition)
        if isinstance(condition, sympy.And | sympy.Or):
            parts = [self.condition(c) for c in condition.args]
            absorbing = isinstance(condition, sympy.Or)
            return absorbing if absorbing in parts else None if None in parts else not absorbing
        if not hasattr(condition, "rel_op"):
            return None
        self(condition.lhs)
        self(condition.rhs)
        found = sign(condition.lhs - condition.rhs, clock=self.clock)
        holds = holds_by_sign(condition.rel_op, found.sign)
        if holds is not None:
            self.steps += found.steps
            self.steps.append(
                Step(f"so the condition {condition} holds {'everywhere' if holds else 'nowhere'}")
            )
        return holds


def _positive(checker: _Checker, expr: Expr) -> None:
    u = expr.args[-1]
    checker.sign(u, ("+",), f"the argument {u} of {type(expr).__name__} is positive")


def _above_minus_one(checker: _Checker, expr: Expr) -> None:
    u = expr.args[0]
    checker.sign(1 + u, ("+",), f"the argument {u} of log1p is above -1")


def _inside_one(checker: _Checker, expr: Expr) -> None:
    u = expr.args[0]
    checker.sign(1 + u, ("+",), f"the argument {u} of arctanh is above -1")
    checker.sign(1 - u, ("+",), f"the argument {u} of arctanh is below 1")


def _step(checker: _Checker, expr: Expr) -> None:
    u = expr.args[0]
    checker.sign(u, ("+", "-"), f"{u} does not change its sign, so its sign function is constant")


def _with_zero(checker: _Checker, expr: Expr) -> None:
    """x log y: continuous where y > 0, and where x and y are the same thing that may vanish (x log x -> 0)."""
    x, y = expr.args
    name = type(expr).__name__
    second = 1 + y if name == "xlog1py" else y
    if name == "xdivy":
        checker.sign(y, ("+", "-"), f"the denominator {y} is not 0")
        return
    if name == "xtimes":
        return
    if x == second:
        checker.sign(x, ("+", ">=", "0"), f"{x} log({x}) is continuous for {x} >= 0, with 0 at 0")
        return
    checker.sign(second, ("+",), f"the argument {second} of log is positive")


def _polygamma(checker: _Checker, expr: Expr) -> None:
    if not (expr.args[0].is_Integer and expr.args[0] >= 0):
        raise _NotShown
    _positive(checker, expr)


_RULES: dict[str, Callable[[_Checker, Expr], None]] = {
    "log": _positive, "loggamma": _positive, "polygamma": _polygamma, "log1p": _above_minus_one, "atanh": _inside_one,
    "sign": _step, "Heaviside": _step, "xlogy": _with_zero, "xlog1py": _with_zero, "xdivy": _with_zero,
    "xtimes": _with_zero,
}  # fmt: skip
