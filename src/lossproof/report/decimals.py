"""Exact numbers of a certificate as decimals for a calculator, short where the statement allows it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.formula import Refuted
    from lossproof.prove.certificate import Certificate

Expr = Any
DIGITS = 12
_MOST = 80  # digits of a comparison whose two sides nearly agree
_WORKING = 120


def decimal(value: str | Fraction, digits: int = DIGITS) -> str:
    """An exact rational as a decimal: in full where it is short, else rounded.

    >>> decimal("1/10"), decimal("1/3"), decimal("-7/2"), decimal("1/1000000000000000")
    ('0.1', '0.333333333333', '-3.5', '1e-15')
    """
    exact = Fraction(value)
    return _tidy(f"{exact.numerator / exact.denominator:.{min(digits, 17)}g}")


def _tidy(text: str) -> str:
    mantissa, _, exponent = text.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def is_rounded(text: str) -> bool:
    """Whether a formula holds a decimal number that the binary number it is read as does not equal.

    >>> is_rounded("0.1*(y - p)**2"), is_rounded("0.5*(y - p)**2"), is_rounded("(y - p)**2")
    (True, False, False)
    """
    numbers = re.findall(r"(?<![\w.])(?:\d+\.\d*|\.\d+|\d+(?=e))(?:e[+-]?\d+)?", text, flags=re.I)
    return any(Fraction(n) != Fraction(float(n)) for n in numbers if math.isfinite(float(n)))


def value_of(formula: str, at: Iterable[tuple[str, str]], digits: int = DIGITS) -> str:
    """A formula's value at exact rational numbers, to some digits; the formula itself where it has none.

    >>> value_of("log(p) - y", (("p", "1/2"), ("y", "0")))
    '-0.69314718056'
    """
    import sympy

    from lossproof.formula.functions import to_elementary
    from lossproof.formula.parse import parse

    numbers = dict(at)
    own = {name: sympy.Symbol(name) for name in numbers if name not in ("y", "p", "z")}
    expr = parse(formula, params=own, symbols=("y", "p", "z"))
    symbols = {str(s): s for s in expr.free_symbols}
    exact = {symbols[n]: sympy.Rational(v) for n, v in numbers.items() if n in symbols}
    return _digits(to_elementary(expr.xreplace(exact)), digits)


def _digits(number: Expr, digits: int) -> str:
    import sympy

    found = sympy.N(number, _WORKING)
    return _tidy(str(sympy.Float(found, digits))) if found.is_Float else str(found)


@dataclass(frozen=True)
class Compared:
    """Two values of a loss: at ``at`` (decimals that are exact as written), and with p = y."""

    at: Mapping[str, str]
    left: str
    right: str
    lower: Expr
    upper: Expr


def compare(certificate: Certificate, verdict: Refuted) -> Compared | None:
    """loss(y, p) against loss(y, y) near a witness, at the shortest decimals that keep half of the difference."""
    loss = _Loss(certificate)
    exact = {name: Fraction(value) for name, value in verdict.witness}
    first = loss.difference(exact)
    if first is None:
        return None
    for digits in range(1, 18):
        short = {name: Fraction(f"{float(value):.{digits}g}") for name, value in exact.items()}
        if short["p"] == short["y"] or float(short["y"]) <= 0:
            continue
        found = loss.difference(short)
        if found is not None and _as_good(found[0] - found[1], first[0] - first[1]):
            return _compared(short, digits, *found)
    return _compared(exact, 17, *first)


def _as_good(gap: Expr, wanted: Expr) -> bool:
    if abs(wanted) < 1e-100:
        return bool(abs(gap) < 1e-100)
    return bool(gap * wanted > 0 and abs(gap) >= abs(wanted) / 2)


def _compared(at: Mapping[str, Fraction], digits: int, left: Expr, right: Expr) -> Compared:
    import sympy

    gap = abs(left - right)
    shown = DIGITS
    if gap > 1e-100:
        shown = min(_MOST, max(DIGITS, 3 + math.ceil(float(sympy.log(max(abs(left), abs(right)) / gap, 10)))))
    text = {name: decimal(value, digits) for name, value in at.items()}
    lower, upper = (left, right) if gap > 1e-100 else (left, left)
    return Compared(
        text, _tidy(str(sympy.Float(left, shown))), _tidy(str(sympy.Float(right, shown))), lower, upper
    )


class _Loss:
    """The certificate's formula as a function of exact numbers, to many digits."""

    def __init__(self, certificate: Certificate) -> None:
        import sympy

        from lossproof.formula.parse import parse

        own = {name: sympy.Symbol(name) for name in {**certificate.params, **certificate.free}}
        self.decimal = certificate.constants == "decimal"
        self.expr = parse(certificate.formula, params=own, values=certificate.params, decimal=self.decimal)
        self.symbols = {str(s): s for s in self.expr.free_symbols}

    def difference(self, at: Mapping[str, Fraction]) -> tuple[Expr, Expr] | None:
        """loss(y, p) and loss(y, y) as many-digit numbers; None where one is not a real number."""
        left, right = self._at(at), self._at({**at, "p": at["y"]})
        return None if left is None or right is None else (left, right)

    def _at(self, at: Mapping[str, Fraction]) -> Expr | None:
        import sympy

        from lossproof.formula.functions import to_elementary

        exact = {
            self.symbols[n]: sympy.Rational(v.numerator, v.denominator)
            for n, v in at.items()
            if n in self.symbols
        }
        found = sympy.N(to_elementary(self.expr.xreplace(exact)), _WORKING)
        if found.is_Float and found.is_finite:
            return found
        return sympy.Float(0, _WORKING) if found.is_zero else None
