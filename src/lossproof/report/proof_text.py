"""A derivation as plain text: numbered parts, displayed formulas, and why each sign is what it is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lossproof.report.proof import (
    Block,
    Part,
    Sentence,
    derivation,
    expression,
    substitution,
    textbook,
    written,
)

if TYPE_CHECKING:
    from lossproof.prove.certificate import Certificate

WIDTH = 80
_TALLEST = 6


def proof_text(certificate: Certificate, *, width: int = WIDTH, unicode: bool = False) -> str:
    """The derivation of all that is Proved or Certified, as text of at most ``width`` columns where formulas allow."""
    lines = [_display("loss(y, p)", "=", textbook(certificate), 0, width, unicode)]
    if "xlogy" in certificate.formula or "xlog1py" in certificate.formula:
        lines.append("(0*log(0) counts as 0.)")
    for place, part in enumerate(derivation(certificate), 1):
        lines += ["", *_part(place, part, width, unicode)]
    note = substitution(certificate)
    if note:
        lines += ["", *textwrap.wrap(note, width)]
    return "\n".join(lines)


def _part(place: int, part: Part, width: int, unicode: bool) -> Iterator[str]:
    head = f"{place}. {part.statement}"
    yield from textwrap.wrap(head, width, subsequent_indent="   ")
    yield from textwrap.wrap(
        f"{part.verdict}: {part.method}", width, initial_indent="   ", subsequent_indent="   "
    )
    for block in part.blocks:
        yield from _block(block, width, unicode)
    if part.closing:
        yield from textwrap.wrap(
            part.closing, width, initial_indent="   ", subsequent_indent="   ", break_long_words=False
        )


def _block(block: Block, width: int, unicode: bool) -> Iterator[str]:
    if block.formula:
        yield f"   For {block.place}:" if block.place else ""
        yield ""
        yield _display(block.what, block.verb, block.formula, 7, width, unicode)
        yield ""
    for sentence in block.sentences:
        yield from _sentence(sentence, width)


def _sentence(sentence: Sentence, width: int) -> Iterator[str]:
    yield from _wrapped(_said(sentence), width, "   - ", "     ")
    if sentence.because:
        yield from _wrapped(sentence_reason(sentence), width, "     ", "     ")


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False)


def _said(sentence: Sentence) -> str:
    """The sentence, with its claim where the words do not hold it."""
    claim = sentence.claim
    if claim is None or holds_formula(sentence):
        return sentence.text
    return f"{sentence.text}: {claim}" if sentence.text else str(claim)


def holds_formula(sentence: Sentence) -> bool:
    """Whether a sentence's words say what its claim says, so that the claim need not be printed beside it."""
    claim = sentence.claim
    if not sentence.text:
        return False
    if claim is None or " 0" in sentence.text:
        return True
    return claim.right in sentence.text and claim.relation in sentence.text


def sentence_reason(sentence: Sentence) -> str:
    """The sign rule that gives the sentence's sign; the others are its parts, or say that the loss is defined."""
    count = len(sentence.because)
    last = sentence.reason
    if last is None or last.claim is None:
        return f"by {count} sign rule{'s' if count > 1 else ''}, listed in the certificate's JSON"
    shown = f"{last.claim.left} {last.claim.relation} {last.claim.right}"
    if len(shown) > 3 * WIDTH:
        shown = (
            f"an expression of {len(last.claim.left)} characters is {last.claim.relation} {last.claim.right}"
        )
    more = f" (with {count - 1} more step{'s' if count > 2 else ''})" if count > 1 else ""
    return f"because {shown}: {last.text}{more}"


def _display(what: str, verb: str, formula: str, indent: int, width: int, unicode: bool) -> str:
    """A formula on its own: a drawn fraction where it fits, else as lines that can be copied."""
    import sympy

    expr = expression(formula)
    flat = f"{what} {verb} {written(formula)}"
    if verb == "=" and any(power.exp.could_extract_minus_sign() for power in expr.atoms(sympy.Pow)):
        both = sympy.Eq(sympy.Symbol(what), expr, evaluate=False)
        rows = sympy.pretty(both, use_unicode=unicode, wrap_line=False).splitlines()
        if len(rows) <= _TALLEST and max(map(len, rows)) <= width - indent and not expr.has(sympy.Piecewise):
            return textwrap.indent("\n".join(row.rstrip() for row in rows), " " * indent)
    return "\n".join(_wrapped(flat, width, " " * indent, " " * (indent + 4)))
