"""Bounds of logarithms, exponentials, powers, sines, ... as rational functions with a free positive t."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy

if TYPE_CHECKING:
    from lossproof.prove.sign_atoms import Atom
    from lossproof.prove.sign_prover import Prover

Expr = Any  # sympy is untyped


@dataclass(frozen=True)
class Option:
    """All values that an atom can take: one of several expressions in positive symbols; and the lemma that says so."""

    values: tuple[Expr, ...]
    text: str = ""


#: kind -> (family, argument, + or - or the expression whose sign says whether it rises or falls in that argument)
FAMILIES: dict[str, Callable[["Atom"], tuple[Any, Expr, Any]]] = {
    "log": lambda a: ("log", a.args[0], "+"),
    "exp": lambda a: ("exp", a.args[0], "+"),
    "pow": lambda a: (("pow", a.args[1]), a.args[0], a.args[1]),
    "atan": lambda a: ("atan", a.args[0], "+"),
    "asinh": lambda a: ("asinh", a.args[0], "+"),
    "erf": lambda a: ("erf", a.args[0], "+"),
    "langevin": lambda a: ("langevin", a.args[0], "+"),
    "meanexp": lambda a: ("meanexp", a.args[0], "+"),
    "logexprel": lambda a: ("logexprel", a.args[0], "+"),
    "logcosh": lambda a: ("logcosh", a.args[0], a.args[0]),
    "logsinhc": lambda a: ("logsinhc", a.args[0], a.args[0]),
    "polygamma": lambda a: (("polygamma", a.args[0]), a.args[1], "-" if a.args[0] % 2 else "+"),
}


def _t() -> Expr:
    return sympy.Dummy("t", positive=True)


def between(low: Expr, high: Expr) -> Expr:
    """A value strictly between two bounds: each such value is reached by one t > 0."""
    t = _t()
    return (low + high * t) / (1 + t)


def options(prover: "Prover", symbol: Expr) -> list[Option]:
    """What is known of an atom's value, the simplest first; empty when nothing is."""
    known = prover.canon.atoms[symbol]
    key = ("options", symbol)
    cache = prover.canon._interned
    if key not in cache:
        rule = _RULES.get(known.kind.split(":")[0])
        cache[key] = rule(prover, symbol, known) if rule else [_by_sign(prover, symbol)]
    return list(cache[key])


def _by_sign(prover: "Prover", symbol: Expr) -> Option:
    t = _t()
    return Option({"+": (t,), "-": (-t,), ">=": (t, sympy.S.Zero), "<=": (-t, sympy.S.Zero), "0": (sympy.S.Zero,)}
                  .get(prover.sign_canonical(symbol), (t, sympy.S.Zero, -t)))  # fmt: skip


def _log(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    x = atom.args[0]
    s = prover.sign_canonical(x - 1)
    found = [_by_sign(prover, symbol)]
    if s in ("+", "-"):
        found.append(Option((between(1 - 1 / x, x - 1),), "1 - 1/x < log x < x - 1 for x != 1, used for {}"))
        inner, outer = 2 * (x - 1) / (x + 1), (x**2 - 1) / (2 * x)
        found.append(Option((between(inner, outer),),
                            "log x lies between 2 (x - 1)/(x + 1) and (x - 1/x)/2, used for {}"))  # fmt: skip
    else:
        low, high = 1 - 1 / x, x - 1
        found.append(Option((between(low, high), low, high), "1 - 1/x <= log x <= x - 1, used for {}"))
    return found


def _exp(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    m, t = atom.args[0], _t()
    s = prover.sign_canonical(m)
    found = [Option((t,), "")]
    if s == "+":
        found.append(Option((1 + t,), "{} > 1, for the exponent is positive"))
        found.append(Option((1 + m + t,), "exp(x) > 1 + x for x > 0, used for {}"))
        found.append(Option((1 + m + m**2 / 2 + t,), "exp(x) > 1 + x + x^2/2 for x > 0, used for {}"))
    elif s == ">=":
        found.append(Option((1 + m + t, 1 + m), "exp(x) >= 1 + x, used for {}"))
    else:
        found.append(Option((1 + m + t, 1 + m), "exp(x) >= 1 + x, used for {}"))
    return found


def _pow(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    base, power = atom.args
    found = [Option((_t(),), "")]
    if prover.sign_canonical(power) == "+":
        s = prover.sign_canonical(base - 1)
        if s == "+":
            found.append(Option((1 + _t(),), "{} > 1, for its base is above 1 and its exponent positive"))
        if s == "-":
            found.append(
                Option((1 / (1 + _t()),), "{} < 1, for its base is below 1 and its exponent positive")
            )
        if s == "+" and power.is_Rational and power < 1:
            bounds = between(sympy.S.One, 1 + power * (base - 1))
            found.append(Option((bounds,), "1 < x^q < 1 + q (x - 1) for x > 1 and q < 1, used for {}"))
    return found


def _bounded(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    t = _t()
    return [Option(((t - 1) / (t + 1), sympy.S.One, -sympy.S.One), "-1 <= {} <= 1")]


def _atan(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    u = atom.args[0]
    found = [_by_sign(prover, symbol)]
    if prover.sign_canonical(u) == "+":
        found.append(
            Option((between(u / (1 + u**2), u),), "x/(1 + x^2) < arctan(x) < x for x > 0, used for {}")
        )
    return found


def _asinh(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    u = atom.args[0]
    found = [_by_sign(prover, symbol)]
    if prover.sign_canonical(u) == "+":
        found.append(Option((between(u / (1 + u), u),), "x/(1 + x) < arcsinh(x) < x for x > 0, used for {}"))
    return found


def _erf(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    t = _t()
    s = prover.sign_canonical(atom.args[0])
    if s in ("+", "-"):
        return [Option((t / (1 + t) * (1 if s == "+" else -1),), "|{}| < 1")]
    return [Option(((t - 1) / (t + 1),), "-1 < {} < 1")]


def _inside(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    t = _t()
    return [Option(((t - 1) / (t + 1),), "-1 < {} < 1")]


def _unit(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    t = _t()
    return [Option((t / (1 + t),), "0 < {} < 1")]


def _cases(prover: "Prover", symbol: Expr, atom: "Atom") -> list[Option]:
    return [Option(atom.args, "each case of {} by itself")]


_RULES: dict[str, Callable[["Prover", Expr, "Atom"], list[Option]]] = {
    "log": _log, "exp": _exp, "pow": _pow, "sin": _bounded, "cos": _bounded, "atan": _atan, "asinh": _asinh,
    "erf": _erf, "langevin": _inside,
    "meanexp": _unit, "cases": _cases,
}  # fmt: skip
