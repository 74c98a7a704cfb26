"""SymPy expression -> formula string: the way back from ``parse``."""

from typing import Any

import sympy
from sympy.printing.str import StrPrinter

from lossproof.formula.errors import LossproofError
from lossproof.formula.functions import NAMES

_SYMPY_NAMES = {
    "Abs": "abs", "asinh": "arcsinh", "atanh": "arctanh", "atan": "arctan", "loggamma": "gammaln", "Max": "maximum",
    "Min": "minimum",
}  # fmt: skip


class _FormulaPrinter(StrPrinter):
    def _print_Rational(self, expr: Any) -> str:
        # a binary fraction that came from a float goes back as that float: 0.1, not 3602879701896397/36028797018963968
        if expr.q > 10_000 and expr.q & (expr.q - 1) == 0 and sympy.Rational(float(expr)) == expr:
            return repr(float(expr))
        return str(super()._print_Rational(expr))

    def _print_Piecewise(self, expr: Any) -> str:
        *branches, (last, _) = expr.args
        text = self._print(last)
        for value, condition in reversed(branches):
            text = f"where({self._condition(condition)}, {self._print(value)}, {text})"
        return str(text)

    def _condition(self, c: Any) -> str:
        if isinstance(c, sympy.And | sympy.Or | sympy.Not):
            raise LossproofError(f"formula: expected a simple comparison, got {c}. Nest the wheres instead.")
        return f"{self._print(c.lhs)} {c.rel_op} {self._print(c.rhs)}"

    def _print_EulerGamma(self, expr: Any) -> str:
        return "(-digamma(1))"  # formulas have no name of their own for it

    def _print_Exp1(self, expr: Any) -> str:
        return "exp(1)"

    def _print_polygamma(self, expr: Any) -> str:
        if expr.args[0] == 0:
            return f"digamma({self._print(expr.args[1])})"
        return f"polygamma({expr.args[0]}, {self._print(expr.args[1])})"

    def _print_zeta(self, expr: Any) -> str:
        n, *shift = expr.args
        if shift or not (n.is_Integer and n > 1):
            raise LossproofError(f"formula: expected a function that has a name in formulas, got {expr}.")
        return f"(polygamma({n - 1}, 1)/({sympy.polygamma(n - 1, 1) / expr}))"

    def _print_Function(self, expr: Any) -> str:
        name = type(expr).__name__
        name = _SYMPY_NAMES.get(name, name)
        if name not in NAMES and name != "xdivy":
            raise LossproofError(f"formula: expected a function that has a name in formulas, got {name}.")
        args = [self._print(a) for a in expr.args]
        while len(args) > 2 and name in ("maximum", "minimum"):  # SymPy's Max takes many
            args[:2] = [f"{name}({args[0]}, {args[1]})"]
        return f"{name}({', '.join(args)})"

    _print_Max = _print_Min = _print_Abs = _print_Function
    _print_ExpBase = _print_Function


def unparse(expr: Any) -> str:
    """Write an expression as a formula string that ``parse`` reads back to the same expression.

    >>> from lossproof.formula.parse import parse
    >>> unparse(parse("where(abs(y-p) < 0.1, (y-p)**2, abs(y-p)/5)"))
    'where(abs(p - y) < 0.1, (-p + y)**2, abs(p - y)/5)'
    """
    return str(_FormulaPrinter({"order": None}).doprint(expr))
