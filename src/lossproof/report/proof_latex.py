"""A derivation as LaTeX: a complete document, or what goes between its preamble and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossproof.report.proof import Block, Part, Sentence, derivation, substitution, textbook
from lossproof.report.proof_text import holds_formula, sentence_reason
from lossproof.report.typeset import RELATIONS, escape_latex, formula_latex, sentence_latex, slope_latex

if TYPE_CHECKING:
    from lossproof.formula import Claim
    from lossproof.prove.certificate import Certificate

_PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{amsmath,amssymb}
\usepackage[margin=25mm]{geometry}
\allowdisplaybreaks
\sloppy
\begin{document}
"""


def proof_latex(certificate: Certificate, *, document: bool = True) -> str:
    """The derivation of all that is Proved or Certified as LaTeX; ``document`` adds the preamble and the end."""
    note = substitution(certificate)
    convention = " Here $0 \\log 0 = 0$." if "xlog" in certificate.formula else ""
    body = [
        rf"\section*{{The loss \texttt{{{escape_latex(certificate.loss)}}}}}",
        _display(rf"\ell(y, p) = {formula_latex(textbook(certificate))}"),
        f"for {sentence_latex(certificate.domain)}.{convention}",
        *(_part(part) for part in derivation(certificate)),
        *([rf"\paragraph{{Symbols.}} {sentence_latex(note)}"] if note else []),
    ]
    text = "\n\n".join(body) + "\n"
    return f"{_PREAMBLE}{text}\\end{{document}}\n" if document else text


def _part(part: Part) -> str:
    rows = [
        rf"\subsection*{{{sentence_latex(part.statement)}}}",
        rf"\emph{{{part.verdict}: {sentence_latex(part.method)}.}}",
    ]
    rows += [_block(block) for block in part.blocks]
    if part.closing:
        rows.append(sentence_latex(part.closing))
    return "\n\n".join(rows)


def _block(block: Block) -> str:
    rows = []
    if block.formula:
        verb = "=" if block.verb == "=" else r"\quad\text{has the sign of}\quad"
        rows.append(f"For {sentence_latex(block.place)}:" if block.place else "")
        rows.append(_display(f"{slope_latex(block.what)} {verb} {formula_latex(block.formula)}"))
    if block.sentences:
        items = "\n".join(rf"\item {_sentence(sentence)}" for sentence in block.sentences)
        rows.append(f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
    return "\n".join(row for row in rows if row)


def _sentence(sentence: Sentence) -> str:
    text = sentence_latex(sentence.text)
    if sentence.claim is not None and not holds_formula(sentence):
        text += (":\n" if text else "") + _display(claim_latex(sentence.claim))
    reason = sentence.reason
    if reason is not None and reason.claim is not None and len(reason.claim.left) < 240:
        text += (
            "; because\n"
            + _display(claim_latex(reason.claim, domain=False))
            + f"\n({sentence_latex(reason.text)})"
        )
    elif sentence.because:
        text += f" ({sentence_latex(sentence_reason(sentence))})"
    return text


def claim_latex(claim: Claim, *, domain: bool = True) -> str:
    """A claim as LaTeX mathematics, with its domain if wanted."""
    text = f"{formula_latex(claim.left)} {RELATIONS[claim.relation]} {formula_latex(claim.right)}"
    where = [rf"{name} \in {span.replace('inf', chr(92) + 'infty')}" for name, span in claim.where]
    given = [sentence_latex(condition).replace("$", "") for condition in claim.given]
    rest = ",\\; ".join([*where, *given]) if domain else ""
    return text + (rf" \qquad {rest}" if rest else "")


def _display(mathematics: str) -> str:
    return f"\\[\n{mathematics}\n\\]"
