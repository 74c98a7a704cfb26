"""Exact numbers of a certificate as decimals for a calculator, short where the statement allows it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

Expr = Any
DIGITS = 12
WORKING = 120


def decimal(value: str | Fraction, digits: int = DIGITS) -> str:
    """An exact rational as a decimal: in full where it is short, else rounded.

    >>> decimal("1/10"), decimal("1/3"), decimal("-7/2"), decimal("1/1000000000000000")
    ('0.1', '0.333333333333', '-3.5', '1e-15')
    """
    exact = Fraction(value)
    return tidy_decimal(f"{exact.numerator / exact.denominator:.{min(digits, 17)}g}")


def exact_text(value: str | Fraction) -> str:
    """An exact rational as it can be typed: a decimal where one of 12 digits is it, else a fraction if that is short.

    >>> exact_text("1/8"), exact_text("1/3"), exact_text("21617278211378381/36028797018963968")
    ('0.125', '1/3', '0.59999999999999998')
    """
    exact = Fraction(value)
    text = decimal(exact)
    if Fraction(text) == exact:
        return text
    return str(exact) if exact.denominator <= 10**8 else decimal(exact, 17)


def tidy_decimal(text: str) -> str:
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
    """A formula's value at exact rational numbers, to some digits.

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

    found = sympy.N(number, WORKING)
    if found.is_Float or found.is_Rational:
        return tidy_decimal(str(sympy.Float(found, digits)))
    return "no number"
