"""Formulas and sentences of a derivation as LaTeX and MathML, through SymPy's printers."""

from __future__ import annotations

import re
from typing import Any

from lossproof.report.proof import expression

Expr = Any
RELATIONS = {"->": r"\to", ">=": r"\ge", "<=": r"\le", "!=": r"\ne", "=": "=", "<": "<", ">": ">"}
_SPECIAL = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
            "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"\textless{}", ">": r"\textgreater{}",
            "|": r"\textbar{}", '"': "''"}  # fmt: skip
_VALUE = r"(?:[pyz](?![\w(])|-?\d+(?:[./]\d+)?[+-]?(?![\w(*])|-?oo\b|-?inf\b)"
#: what in a sentence is mathematics; all else is words
_MATHS = re.compile(
    rf"(?P<expected>E\[loss\(Y, p\)\])|(?P<map>\b[pz]) -> (?=loss)|(?P<loss>\b(?:loss|l)\([^()]*(?:\([^()]*\))?\))"
    rf"|(?P<bend>\bd2l/d(?P<bv>[pz])2)|(?P<slope>\bdl/d(?P<sv>[pz]))"
    rf"|(?P<name>\b[a-z]\w*) in (?P<span>[\[(][^\[\]()]*[\])])"
    rf"|(?P<formula>(?<![\w.])-?[\w(](?:[\w().*/]| [-+*/] )*[*/](?:[\w().*/]| [-+*/] )*(?<=[\w)]))"
    rf"|(?P<left>(?<![\w.]){_VALUE}) (?P<relation>->|>=|<=|!=|=|<|>) (?P<right>{_VALUE})"
    rf"|(?P<sign>[<>]=?) (?P<than>{_VALUE})"
    r"|(?P<variable>(?<![\w'])[pyzuvw](?![\w']))"
)


def slope_latex(what: str) -> str:
    r"""The name of a derivative as LaTeX.

    >>> print(slope_latex("dl/dp"), slope_latex("d2l/dz2"))
    \frac{\partial \ell}{\partial p} \frac{\partial^{2} \ell}{\partial z^{2}}
    """
    found = re.fullmatch(r"d(\d?)l/d([a-z])\d?", what)
    if not found:
        return what.replace("loss(", r"\ell(")
    order = f"^{{{found[1]}}}" if found[1] else ""
    return rf"\frac{{\partial{order} \ell}}{{\partial {found[2]}{order}}}"


def formula_latex(formula: str) -> str:
    r"""A formula string as LaTeX, in textbook functions.

    >>> print(formula_latex("(p - y)/(p*(1 - p))"), formula_latex("oo"))
    \frac{p - y}{p \left(1 - p\right)} \infty
    """
    import sympy

    if formula in ("oo", "-oo"):
        return formula.replace("oo", r"\infty")
    return str(sympy.latex(_plain(formula)))


def formula_mathml(formula: str) -> str:
    """A formula string as presentation MathML, which browsers draw themselves.

    >>> "mfrac" in formula_mathml("1/p")
    True
    """
    from sympy.printing.mathml import MathMLPresentationPrinter

    printer = MathMLPresentationPrinter({"fold_short_frac": False})
    return (
        str(printer.doprint(_plain(formula)))
        .replace("&InvisibleTimes;", "&#8290;")
        .replace("&ApplyFunction;", "&#8289;")
        .replace("<mo>-</mo>", "<mo>−</mo>")
    )


def _plain(formula: str) -> Expr:
    from lossproof.formula.functions import to_elementary
    from lossproof.report.proof import readable

    return readable(to_elementary(expression(formula)))


def sentence_latex(text: str) -> str:
    r"""A sentence as LaTeX: variables, relations and derivatives as mathematics, all else escaped.

    >>> print(sentence_latex("p = y is a minimiser of p -> loss(y, p)"))
    $p = y$ is a minimiser of $p \mapsto {}$$\ell(y, p)$
    """
    made, place = [], 0
    for match in _MATHS.finditer(text):
        shown = _maths(match)
        made += [escape_latex(text[place : match.start()]), f"${shown}$" if shown else escape_latex(match[0])]
        place = match.end()
    return "".join([*made, escape_latex(text[place:])])


def _maths(match: re.Match[str]) -> str:
    """LaTeX of what was found; empty where it is no formula after all."""
    if match["formula"]:
        return _inline(match["formula"])
    if match["name"]:
        span = match["span"].replace("inf", r"\infty")
        return rf"{escape_latex(match['name'])} \in {span}"
    if match["sign"]:
        return f"{RELATIONS[match['sign']]} {_symbol(match['than'])}"
    if match["expected"]:
        return r"\mathbb{E}[\ell(Y, p)]"
    if match["map"]:
        return rf"{match['map']} \mapsto {{}}"
    if match["loss"]:
        inner = match["loss"].partition("(")[2][:-1].replace("sigmoid(z)", r"\sigma(z)")
        return rf"\ell({inner})"
    if match["bend"] or match["slope"]:
        return slope_latex(match["bend"] or match["slope"])
    if match["relation"]:
        return f"{_symbol(match['left'])} {RELATIONS[match['relation']]} {_symbol(match['right'])}"
    return str(match["variable"])


def _inline(formula: str) -> str:
    from lossproof.formula import LossproofError

    try:
        return formula_latex(formula)
    except LossproofError:
        return ""


def _symbol(text: str) -> str:
    text = text.replace("oo", r"\infty").replace("inf", r"\infty")
    return f"{text[:-1]}^{text[-1]}" if text[-1] in "+-" else text


def escape_latex(text: str) -> str:
    r"""Text with LaTeX's own characters escaped.

    >>> print(escape_latex("50 % of a_b"))
    50 \% of a\_b
    """
    return "".join(_SPECIAL.get(character, character) for character in text)


def slope_mathml(what: str) -> str:
    """The name of a derivative as MathML.

    >>> slope_mathml("dl/dp").count("mi")
    4
    """
    found = re.fullmatch(r"d(\d?)l/d([a-z])\d?", what)
    if not found:
        return f"<mi>{what}</mi>"
    order, name = found[1], f"<mi>{found[2]}</mi>"
    partial = f"<msup><mo>∂</mo><mn>{order}</mn></msup>" if order else "<mo>∂</mo>"
    below = f"<msup>{name}<mn>{order}</mn></msup>" if order else name
    return f"<mfrac><mrow>{partial}<mi>ℓ</mi></mrow><mrow><mo>∂</mo>{below}</mrow></mfrac>"
