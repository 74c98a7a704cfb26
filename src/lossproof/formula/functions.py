"""The functions a formula may use, as SymPy atoms that keep numpy's and scipy's names and conventions.

They stay unexpanded (``xlogy``, ``softplus``, ``logcosh``...) because the name carries what the elementary
form loses: 0 log 0 = 0, and a way to compute it that neither overflows nor cancels. ``elementary`` gives the
textbook form back, for proofs and for the oracle.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sympy
from sympy.core.function import Function

from lossproof.formula.errors import LossproofError

Expr = Any  # sympy is untyped


class RealFunction(Function):
    """A real function of real arguments; subclasses state derivative and textbook form."""

    def _eval_is_extended_real(self) -> bool:
        return True

    def elementary(self) -> Expr:
        """Textbook form in log, exp and powers."""
        raise NotImplementedError(type(self).__name__)


class xlogy(RealFunction):
    """x log(y), and 0 where x = 0."""

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, y: Expr) -> Expr:
        if x.is_Number:
            return x * sympy.log(y) if x != 0 else x
        return sympy.S.Zero if y == 1 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return sympy.log(y) if argindex == 1 else xdivy(x, y)

    def elementary(self) -> Expr:
        return self.args[0] * sympy.log(self.args[1])


class xlog1py(RealFunction):
    """x log(1 + y), and 0 where x = 0."""

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, y: Expr) -> Expr:
        if x.is_Number:
            return x * log1p(y) if x != 0 else x
        return sympy.S.Zero if y == 0 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return log1p(y) if argindex == 1 else xdivy(x, 1 + y)

    def elementary(self) -> Expr:
        return self.args[0] * sympy.log(1 + self.args[1])


class xdivy(RealFunction):
    """x / y, and 0 where x = 0: the derivative of xlogy."""

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, y: Expr) -> Expr:
        if x.is_Number:
            return x / y if x != 0 else x
        if y.is_Number and y != 0:
            return x / y
        ratio = x / y
        return None if ratio.free_symbols & x.free_symbols else ratio

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return 1 / y if argindex == 1 else -xdivy(x, y**2)

    def elementary(self) -> Expr:
        return self.args[0] / self.args[1]


class xtimes(RealFunction):
    """x w, and 0 where x = 0 even if w is infinite."""

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, w: Expr) -> Expr:
        return x * w if x.is_Number or w.is_Number else None

    def fdiff(self, argindex: int = 1) -> Expr:
        x, w = self.args
        return w if argindex == 1 else x

    def elementary(self) -> Expr:
        return self.args[0] * self.args[1]


class log1p(RealFunction):
    """log(1 + x)."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        return sympy.S.Zero if x == 0 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return 1 / (1 + self.args[0])

    def elementary(self) -> Expr:
        return sympy.log(1 + self.args[0])


class expm1(RealFunction):
    """exp(x) - 1."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        return sympy.S.Zero if x == 0 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.exp(self.args[0])

    def elementary(self) -> Expr:
        return sympy.exp(self.args[0]) - 1


class sigmoid(RealFunction):
    """1 / (1 + exp(-x))."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        return sympy.Rational(1, 2) if x == 0 else None

    def _eval_is_extended_positive(self) -> bool:
        return True

    def _eval_is_finite(self) -> bool:
        return True

    def fdiff(self, argindex: int = 1) -> Expr:
        x = self.args[0]
        return sigmoid(x) * sigmoid(-x)

    def elementary(self) -> Expr:
        return 1 / (1 + sympy.exp(-self.args[0]))


class softplus(RealFunction):
    """log(1 + exp(x))."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        return sympy.log(2) if x == 0 else None

    def _eval_is_extended_positive(self) -> bool:
        return True

    def fdiff(self, argindex: int = 1) -> Expr:
        return sigmoid(self.args[0])

    def elementary(self) -> Expr:
        return sympy.log(1 + sympy.exp(self.args[0]))


class logaddexp(RealFunction):
    """log(exp(a) + exp(b))."""

    nargs = 2

    def fdiff(self, argindex: int = 1) -> Expr:
        a, b = self.args
        return sigmoid(a - b) if argindex == 1 else sigmoid(b - a)

    def elementary(self) -> Expr:
        a, b = self.args
        return sympy.log(sympy.exp(a) + sympy.exp(b))


class logcosh(RealFunction):
    """log(cosh(x))."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        if x == 0:
            return sympy.S.Zero
        return logcosh(-x) if x.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.tanh(self.args[0])

    def elementary(self) -> Expr:
        return sympy.log(sympy.cosh(self.args[0]))


class logsinhc(RealFunction):
    """log(sinh(x)/x), 0 at 0: the normaliser of the continuous Bernoulli in its natural parameter."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        if x == 0:
            return sympy.S.Zero
        return logsinhc(-x) if x.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return langevin(self.args[0])

    def elementary(self) -> Expr:
        x = self.args[0]
        return sympy.Piecewise((sympy.log(sympy.sinh(x) / x), sympy.Ne(x, 0)), (0, True))


class langevin(RealFunction):
    """coth(x) - 1/x, 0 at 0: the derivative of logsinhc."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        return sympy.S.Zero if x == 0 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        x = self.args[0]
        # L' = 1 - L^2 - 2 L/x, and 1/3 at 0
        return sympy.Piecewise(
            (1 - langevin(x) ** 2 - 2 * langevin(x) / x, sympy.Ne(x, 0)), (sympy.Rational(1, 3), True)
        )

    def elementary(self) -> Expr:
        x = self.args[0]
        return sympy.Piecewise((sympy.cosh(x) / sympy.sinh(x) - 1 / x, sympy.Ne(x, 0)), (0, True))


class logexprel(RealFunction):
    """log((exp(x) - 1)/x), 0 at 0: what softplus is to the Bernoulli, to the continuous Bernoulli."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        return sympy.S.Zero if x == 0 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return meanexp(self.args[0])

    def elementary(self) -> Expr:
        x = self.args[0]
        return sympy.Piecewise((sympy.log((sympy.exp(x) - 1) / x), sympy.Ne(x, 0)), (0, True))


class meanexp(RealFunction):
    """1/(1 - exp(-x)) - 1/x, 1/2 at 0: the mean of the continuous Bernoulli with logit x."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr:
        return sympy.Rational(1, 2) if x == 0 else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return langevin(self.args[0] / 2).fdiff() / 4

    def elementary(self) -> Expr:
        x = self.args[0]
        return sympy.Piecewise(
            (1 / (1 - sympy.exp(-x)) - 1 / x, sympy.Ne(x, 0)), (sympy.Rational(1, 2), True)
        )


class maximum(RealFunction):
    """The larger of two values; at a tie its derivative is the mean of both sides'."""

    nargs = 2

    @classmethod
    def eval(cls, a: Expr, b: Expr) -> Expr:
        if a.is_number and b.is_number:
            return sympy.Max(a, b) if a.is_comparable and b.is_comparable else sympy.nan
        return a if a == b else None

    def fdiff(self, argindex: int = 1) -> Expr:
        a, b = self.args
        return (1 + sympy.sign(a - b if argindex == 1 else b - a)) / 2

    def elementary(self) -> Expr:
        a, b = self.args
        return (a + b + sympy.Abs(a - b)) / 2


class minimum(RealFunction):
    """The smaller of two values; at a tie its derivative is the mean of both sides'."""

    nargs = 2

    @classmethod
    def eval(cls, a: Expr, b: Expr) -> Expr:
        if a.is_number and b.is_number:
            return sympy.Min(a, b) if a.is_comparable and b.is_comparable else sympy.nan
        return a if a == b else None

    def fdiff(self, argindex: int = 1) -> Expr:
        a, b = self.args
        return (1 + sympy.sign(b - a if argindex == 1 else a - b)) / 2

    def elementary(self) -> Expr:
        a, b = self.args
        return (a + b - sympy.Abs(a - b)) / 2


def where(condition: Expr, a: Expr, b: Expr) -> Expr:
    """``a`` where the condition holds, else ``b``; a constant condition picks its branch."""
    if condition in (True, sympy.true):
        return a
    if condition in (False, sympy.false):
        return b
    return sympy.Piecewise((a, condition), (b, True))


def clip(x: Expr, low: Expr, high: Expr) -> Expr:
    """x limited to [low, high]."""
    return minimum(maximum(x, low), high)


def log2(x: Expr) -> Expr:
    """Logarithm to base 2."""
    return sympy.log(x) / sympy.log(2)


def polygamma(order: Expr, x: Expr) -> Expr:
    """The derivative of digamma of this order, a whole number of at most 50."""
    if not (order.is_Integer and 0 <= order <= 50):
        raise LossproofError(
            f"formula: expected a whole number from 0 to 50 as polygamma's order, got {order}."
        )
    return sympy.polygamma(order, x)


#: name in a formula string -> (callable on SymPy expressions, number of arguments)
NAMES: dict[str, tuple[Callable[..., Expr], int]] = {
    "log": (sympy.log, 1),
    "log1p": (log1p, 1),
    "log2": (log2, 1),
    "exp": (sympy.exp, 1),
    "expm1": (expm1, 1),
    "sqrt": (sympy.sqrt, 1),
    "abs": (sympy.Abs, 1),
    "sign": (sympy.sign, 1),
    "sin": (sympy.sin, 1),
    "cos": (sympy.cos, 1),
    "tan": (sympy.tan, 1),
    "arctan": (sympy.atan, 1),
    "sinh": (sympy.sinh, 1),
    "cosh": (sympy.cosh, 1),
    "tanh": (sympy.tanh, 1),
    "arcsinh": (sympy.asinh, 1),
    "arctanh": (sympy.atanh, 1),
    "maximum": (maximum, 2),
    "minimum": (minimum, 2),
    "clip": (clip, 3),
    "where": (where, 3),
    "xlogy": (xlogy, 2),
    "xlog1py": (xlog1py, 2),
    "sigmoid": (sigmoid, 1),
    "softplus": (softplus, 1),
    "logaddexp": (logaddexp, 2),
    "logcosh": (logcosh, 1),
    "gammaln": (sympy.loggamma, 1),
    "digamma": (sympy.digamma, 1),
    "polygamma": (polygamma, 2),
    "erf": (sympy.erf, 1),
}


@lru_cache(maxsize=4096)  # asked for the same expressions again and again
def to_elementary(expr: Expr) -> Expr:
    """Replace every function of this module by its textbook form.

    >>> from lossproof.formula.symbols import P, Y
    >>> to_elementary(xlogy(Y, P))
    y*log(p)
    """
    while atoms := expr.atoms(RealFunction):
        # innermost first, so that each pass meets elementary arguments
        inner = [
            a
            for a in atoms
            if not any(isinstance(arg, RealFunction) or arg.atoms(RealFunction) for arg in a.args)
        ]
        expr = expr.xreplace({a: a.elementary() for a in inner})
    return expr


def derivative(expr: Expr, x: Expr) -> Expr:
    """Derivative of an expression of this module's functions with respect to a symbol.

    At a kink it is the mean of the two one-sided derivatives (sign(0) = 0); a ``where`` is differentiated
    branch by branch, with its border in the branch that its condition names; sign has derivative 0.
    SymPy's own ``diff`` would bring Dirac deltas and complex parts.

    >>> from lossproof.formula.symbols import P, Y
    >>> derivative(sympy.Abs(Y - P), P)
    sign(p - y)
    """
    if not expr.has(x):
        return sympy.S.Zero
    if expr == x:
        return sympy.S.One
    if expr.is_Add:
        return sympy.Add(*(derivative(a, x) for a in expr.args))
    if expr.is_Mul:
        parts = []
        for i, factor in enumerate(expr.args):
            d = derivative(factor, x)
            if d != 0:
                parts.append(sympy.Mul(*expr.args[:i], d, *expr.args[i + 1 :]))
        return sympy.Add(*parts)
    if expr.is_Pow and not isinstance(expr, sympy.exp):
        base, power = expr.args
        by_base = power * base ** (power - 1) * derivative(base, x)
        return by_base if not power.has(x) else by_base + expr * sympy.log(base) * derivative(power, x)
    if isinstance(expr, sympy.Piecewise):
        return sympy.Piecewise(*((derivative(e, x), c) for e, c in expr.args))
    if isinstance(expr, sympy.Abs):
        return sympy.sign(expr.args[0]) * derivative(expr.args[0], x)
    if isinstance(expr, sympy.sign):
        return sympy.S.Zero
    if isinstance(expr, Function):
        terms = ((i, derivative(a, x)) for i, a in enumerate(expr.args, start=1))
        return sympy.Add(*(expr.fdiff(i) * d for i, d in terms if d != 0))
    raise LossproofError(f"formula: expected an expression that can be differentiated, got {expr}.")
