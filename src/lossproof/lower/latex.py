r"""LaTeX of a loss: SymPy's printer, with our function names and :math:`0 \log 0 = 0` left to the reader."""

from typing import Any

import sympy
from sympy.printing.latex import LatexPrinter

from lossproof.formula import SIGMOID, Link, Loss
from lossproof.lower.stable import Lowered, lower

_OPERATORS = {
    "sigmoid": r"\sigma", "softplus": r"\operatorname{softplus}", "logcosh": r"\log\cosh",
    "logaddexp": r"\operatorname{logaddexp}", "maximum": r"\max", "minimum": r"\min",
    "logexprel": r"\operatorname{logexprel}", "meanexp": r"\operatorname{meanexp}",
    "logsinhc": r"\operatorname{logsinhc}", "langevin": r"\operatorname{L}",
}  # fmt: skip


class _Printer(LatexPrinter):
    def _print_polygamma(self, expr: Any, exp: Any = None) -> str:
        order, x = expr.args
        text = rf"\psi{f'^{{({order})}}' if order else ''}\left({self._print(x)}\right)"
        return rf"\left({text}\right)^{{{exp}}}" if exp is not None else text

    def _print_Function(self, expr: Any, exp: Any = None) -> str:
        name = type(expr).__name__
        args = [self._print(a) for a in expr.args]
        power = f"^{{{exp}}}" if exp is not None else ""
        if name in ("xlogy", "xlog1py", "xdivy", "xtimes"):
            x, y = expr.args
            plain = {"xlogy": x * sympy.Function("log")(y), "xlog1py": x * sympy.Function("log")(1 + y),
                     "xdivy": x / y, "xtimes": x * y}[name]  # fmt: skip
            text = super()._print(plain)
            return rf"\left({text}\right){power}" if power else str(text)
        if name in ("log1p", "expm1"):
            inner = 1 + expr.args[0] if name == "log1p" else expr.args[0]
            text = (
                rf"\log\left({self._print(inner)}\right)"
                if name == "log1p"
                else rf"e^{{{self._print(inner)}}} - 1"
            )
            return rf"\left({text}\right){power}" if power or name == "expm1" else text
        if name in _OPERATORS:
            return rf"{_OPERATORS[name]}{power}\left({', '.join(args)}\right)"
        return str(super()._print_Function(expr, exp))


def latex(expr: Any) -> str:
    r"""One expression as LaTeX.

    >>> from lossproof.formula.functions import softplus
    >>> from lossproof.formula.symbols import Y, Z
    >>> print(latex(softplus(Z) - Y * Z))
    - y z + \operatorname{softplus}\left(z\right)
    """
    return str(_Printer({"ln_notation": False, "order": "none"}).doprint(expr))


def latex_source(loss: Loss, *, link: Link = SIGMOID, bound: bool = False) -> str:
    """A loss's formula, its form behind the link, both gradients and the floor, as an ``align*`` environment."""
    made: Lowered = lower(loss, link, bound=bound)
    rows = [
        (r"\ell(y, p)", loss.expression(bound=bound)),
        (r"\frac{\partial \ell}{\partial p}", made.gradient),
        (r"\ell(y, \sigma(z))" if link is SIGMOID else r"\ell(y, z)", made.value_logits),
        (r"\frac{\partial \ell}{\partial z}", made.gradient_logits),
    ]
    if made.floor is not None:
        rows.append((r"\min_p \ell(y, p)", made.floor))
    body = " \\\\\n".join(rf"  {left} &= {latex(right)}" for left, right in rows)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}\n"
