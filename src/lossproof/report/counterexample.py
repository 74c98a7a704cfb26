"""A refutation as an inequality between decimals, for a calculator.

The prover's witness is exact and may be long. Where one number of it (p) can be shortened so that the inequality
stays true and keeps half of its amount, the short one is printed: it is a counterexample by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lossproof.report.decimals import DIGITS, WORKING, exact_text, tidy_decimal, value_of

if TYPE_CHECKING:
    from lossproof.formula import Refuted
    from lossproof.prove.certificate import Certificate

Expr = Any
Number = Fraction
_NOTHING = 1e-100  # two values that agree this far are equal: exact ties are verified by the prover
_NAMES = {"lipschitz": "|dl/dp|", "lipschitz_logits": "|dl/dz|"}
_MOST = 80  # digits of a comparison whose two sides nearly agree


def calculation(certificate: Certificate, key: str, verdict: Refuted) -> str:
    """The counterexample in decimals, or as fractions where those are short.

    What is compared follows from what the witness names: p against y; p against P(Y = 1) or the mean of a law of Y;
    or a point against a chord.
    """
    at = {name: Fraction(value) for name, value in verdict.witness}
    loss = _Loss(certificate, at)
    found = None
    if {"p1", "p2"} <= at.keys():
        found = _chord(loss, at, verdict)
    elif "pi" in at:
        law = {Fraction(1): at["pi"], Fraction(0): 1 - at["pi"]}
        found = _expected(loss, law, at["p"], at["pi"], f"P(Y = 1) = {exact_text(at['pi'])}")
    elif "y_1" in at:
        found = _two_point(loss, at)
    elif key in ("minimum", "unique") and at.keys() >= {"y", "p"}:
        found = _pair(loss, at)
    if found is None:
        return general(verdict, _NAMES.get(key))
    strict = verdict.gap.startswith("[") and verdict.claim.relation in ("<", ">")
    strict = strict and f" {verdict.claim.relation} " not in found
    return (
        f"{found}; what the digits hide: the left side minus the right one is {verdict.gap}"
        if strict
        else found
    )


def general(verdict: Refuted, name: str | None = None) -> str:
    """A claim at its witness, both sides as decimals; ``name`` is what its left side is called."""
    claim = verdict.claim
    points = {name: span for name, span in claim.where if _is_number(span)} or dict(verdict.witness)
    at = ", ".join(f"{name} = {exact_text(value)}" for name, value in points.items())
    left = value_of(claim.left, points.items())
    shown = name or claim.left if name or len(claim.left) <= 80 else "the left side of the claim"
    if claim.right == "0":
        return f"at {at}: {shown} = {left} {claim.relation} 0"
    if claim.right in ("oo", "-oo"):
        exact = {name: Fraction(value) for name, value in verdict.witness}
        beside = f"y + {float(exact['p'] - exact['y']):.3g}" if exact.keys() >= {"y", "p"} else ""
        near = ", ".join(
            f"{n} = {beside if n == 'p' and beside else exact_text(value)}" for n, value in exact.items()
        )
        along = ", ".join(given for given in claim.given if "->" in given)
        left = value_of(claim.left, verdict.witness)
        return f"at {near}: {shown} = {left}, without end as {along}"
    right = value_of(claim.right, points.items())
    other = "" if _is_number(claim.right) else f" = {claim.right}"
    return f"at {at}: {shown} = {left} {claim.relation} {right}{other}"


def _is_number(text: str) -> bool:
    try:
        Fraction(text)
    except ValueError:
        return False
    return True


def _pair(loss: _Loss, at: Mapping[str, Number]) -> str | None:
    y, p = at["y"], at["p"]
    reference = loss(y, y)
    p = _short(p, lambda q: loss(y, q), reference, avoid=y)
    value = loss(y, p)
    if value is None or reference is None:
        return None
    left, sign, right = _compared(value, reference)
    text = f"loss({exact_text(y)}, {exact_text(p)}) = {left} {sign} {right} = loss({exact_text(y)}, {exact_text(y)})"
    return text + loss.given


def _expected(loss: _Loss, law: Mapping[Number, Number], p: Number, best: Number, words: str) -> str | None:
    """The expected loss at p against that at the value which was to be best."""

    def mean(q: Number) -> Expr | None:
        values = [(weight, loss(y, q)) for y, weight in law.items() if weight]
        if any(value is None for _, value in values):
            return None
        import sympy

        return sympy.N(sum(_rational(weight) * value for weight, value in values), WORKING)

    reference = mean(best)
    p = _short(p, mean, reference, avoid=best)
    value = mean(p)
    if value is None or reference is None:
        return None
    left, sign, right = _compared(value, reference)
    return f"{words}: expected loss {left} at p = {exact_text(p)} {sign} {right} at p = {exact_text(best)}{loss.given}"


def _two_point(loss: _Loss, at: Mapping[str, Number]) -> str | None:
    """Y with two values; the witness names the statistic of Y that was to be best."""
    name = next((name for name in at if name.startswith("the ")), None)
    wanted = ("p", "y_2", "P(Y = y_1)", "P(Y = y_2)")
    if name is None or any(one not in at for one in wanted):
        return None
    law = {at["y_1"]: at["P(Y = y_1)"], at["y_2"]: at["P(Y = y_2)"]}
    said = " or ".join(f"{exact_text(y)} with probability {exact_text(w)}" for y, w in law.items())
    return _expected(loss, law, at["p"], at[name], f"Y is {said}, {name} {exact_text(at[name])}")


def _chord(loss: _Loss, at: Mapping[str, Number], verdict: Refuted) -> str | None:
    """A point of the curve against the middle of a chord."""
    y, p, first, second = (at[name] for name in ("y", "p", "p1", "p2"))
    value, one, other = (loss(y, q) for q in (p, first, second))
    if value is None or one is None or other is None:
        return None
    left, sign, right = _compared(value, (one + other) / 2)
    if sign != verdict.claim.relation:
        return None  # the witness is of another kind than this text says
    said = [f"loss({exact_text(y)}, {exact_text(q)})" for q in (p, first, second)]
    middle = "halfway in p" if 2 * p == first + second else "halfway in z"
    if middle == "halfway in z" and (p / (1 - p)) ** 2 != first / (1 - first) * second / (1 - second):
        return None
    return f"{said[0]} = {left} {sign} {right} = ({said[1]} + {said[2]})/2, {middle}{loss.given}"


def _short(
    p: Number, value: Callable[[Number], Expr | None], reference: Expr | None, *, avoid: Number
) -> Number:
    """The shortest decimal near p that keeps the sign and half of the difference to the reference."""
    whole = value(p)
    if whole is None or reference is None:
        return p
    wanted = whole - reference
    for digits in range(1, 18):
        short = Fraction(f"{float(p):.{digits}g}")
        found = value(short) if short != avoid and 0 < abs(short - p) < Fraction(1, 10) else None
        if short == p:
            break
        if found is None:
            continue
        gap = found - reference
        if abs(wanted) < _NOTHING:
            if abs(gap) < _NOTHING:
                return short
        elif gap * wanted > 0 and abs(gap) >= abs(wanted) / 2:
            return short
    return p


def _compared(value: Expr, reference: Expr) -> tuple[str, str, str]:
    """Both as decimals, with as many digits as show which is larger, and the sign between them."""
    import sympy

    gap = abs(value - reference)
    digits, sign = DIGITS, "="
    if gap > _NOTHING:
        ratio = max(abs(value), abs(reference)) / gap
        digits = min(_MOST, max(DIGITS, 3 + math.ceil(float(sympy.log(ratio, 10)))))
        sign = "<" if value < reference else ">"
    left, right = (
        tidy_decimal(str(sympy.Float(x if gap > _NOTHING else value, digits))) for x in (value, reference)
    )
    return left, sign, right


def _rational(value: Number) -> Expr:
    import sympy

    return sympy.Rational(value.numerator, value.denominator)


class _Loss:
    """The certificate's formula as a function of exact y and p, to many digits; None where it is no real number."""

    def __init__(self, certificate: Certificate, at: Mapping[str, Number]) -> None:
        import sympy

        from lossproof.formula.conventions import zero_log_zero
        from lossproof.formula.parse import parse

        free = {name: at[name] for name in certificate.free if name in at}
        own = {name: sympy.Symbol(name) for name in {**certificate.params, **certificate.free}}
        decimals = certificate.constants == "decimal"
        read = parse(certificate.formula, params=own, values=certificate.params, decimal=decimals)
        self.expr = zero_log_zero(read)
        self.expr = self.expr.xreplace({own[name]: _rational(value) for name, value in free.items()})
        self.given = f" with {', '.join(f'{n} = {exact_text(v)}' for n, v in free.items())}" if free else ""

    def __call__(self, y: Number, p: Number) -> Expr | None:
        import sympy

        from lossproof.formula.functions import to_elementary
        from lossproof.formula.symbols import P, Y

        found = sympy.N(to_elementary(self.expr.xreplace({Y: _rational(y), P: _rational(p)})), WORKING)
        if found.is_zero:
            return sympy.Float(0, WORKING)
        return (
            sympy.Float(found, WORKING) if (found.is_Float or found.is_Rational) and found.is_finite else None
        )
