"""A certificate as one self-contained HTML page: table, counterexamples, pictures, derivation."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lossproof.formula import LossproofError
from lossproof.report.certificate import MEANING, facts, rows, witnesses
from lossproof.report.certificate_answers import QUESTIONS, figure
from lossproof.report.certificate_figures import figures
from lossproof.report.page import _plotly, _policy, _script, _text, embed
from lossproof.report.proof import Block, Sentence, derivation, substitution, textbook
from lossproof.report.proof_text import holds_formula, sentence_reason
from lossproof.report.typeset import formula_mathml, slope_mathml
from lossproof.train.store import write_bytes

if TYPE_CHECKING:
    from lossproof.formula import Claim, Loss
    from lossproof.prove.certificate import Certificate

_LONG = 160  # characters of a formula that is shown as text, because drawn it would run off the page
_OPEN = ("minimum", "unique", "curvature", "floor")
_RELATIONS = {"->": "→", ">=": "≥", "<=": "≤", "!=": "≠", "=": "=", "<": "&lt;", ">": "&gt;"}


def write(
    certificate: Certificate, path: str | Path, *, loss: Loss, beside: Loss | None = None, checked: str = ""
) -> Path:
    """Write the page and return its path; nothing is fetched when it is opened, and the write is atomic.

    ``loss`` is drawn (its parameters' values where the certificate leaves them open), ``beside`` in the picture of
    gradients too; ``checked`` is what the independent checker said. Raises ``LossproofError`` where the file cannot
    be written.
    """
    target = Path(path)
    text = render(certificate, loss=loss, beside=beside, checked=checked)
    try:
        write_bytes(target, text.encode())
    except OSError as error:
        raise LossproofError(
            f"{target}: expected a file that can be written, got {error.strerror}."
        ) from None
    return target


def render(certificate: Certificate, *, loss: Loss, beside: Loss | None = None, checked: str = "") -> str:
    """The page as one string."""
    environment = Environment(
        loader=PackageLoader("lossproof.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plots = figures(certificate, loss, beside)
    drawn = {plot.key: {"data": plot.data, "layout": plot.layout} for plot in plots}
    scripts = [_script(_plotly()), _script(_text("report.js"))]
    open_values = [f"{name} = {loss.values[name]:g}" for name in certificate.free if name in loss.values]
    environment.filters["signs"] = signs
    return environment.get_template("certificate.html.j2").render(
        csp=_policy(scripts),
        scripts=scripts,
        css=Markup(_text("report.css") + _text("certificate.css")),
        loss=certificate.loss,
        title=loss.title if loss.title not in ("formula", certificate.loss) else "",
        formula=display("loss(y, p)", "=", textbook(certificate)),
        convention="xlog" in certificate.formula,
        facts=facts(certificate),
        references=loss.references,
        rows=rows(certificate),
        meaning=MEANING,
        witnesses=_by_text(certificate),
        plots=plots,
        drawn_at=", ".join(open_values),
        parts=[
            (part, [(block, *_block(block)) for block in part.blocks], part.key in _OPEN)
            for part in derivation(certificate)
        ],
        borders=_grid(certificate, "borders"),
        saturation=_grid(certificate, "saturation"),
        questions=QUESTIONS,
        note=substitution(certificate),
        checked=checked,
        versions=", ".join(f"{name} {version}" for name, version in certificate.versions.items()),
        payload=embed({"figures": drawn, "chooser": {}}),
    )


def signs(text: str) -> str:
    """A sentence with the signs of mathematics in place of what a keyboard has.

    >>> signs("p -> 0: slope >= -oo")
    'p → 0: slope ≥ −∞'
    """
    for plain, sign in (("->", "→"), (">=", "≥"), ("<=", "≤"), ("!=", "≠")):
        text = text.replace(plain, sign)
    return re.sub(r"-(?:oo|infinity)\b", "−∞", re.sub(r"(?<![-\w])(?:oo|infinity)\b", "∞", text))


def _by_text(certificate: Certificate) -> list[tuple[list[str], Any]]:
    """Counterexamples, each with all questions that it answers."""
    made: dict[str, tuple[list[str], Any]] = {}
    for witness in witnesses(certificate):
        made.setdefault(witness.text, ([], witness))[0].append(witness.question)
    return list(made.values())


def display(what: str, verb: str, formula: str) -> Markup:
    """A displayed formula: MathML, or text in a box that scrolls where it is long."""
    if len(formula) > _LONG:
        return Markup("<pre><code>{} {} {}</code></pre>").format(what, verb, formula)
    left = (
        "<mi>ℓ</mi><mo>(</mo><mi>y</mi><mo>,</mo><mi>p</mi><mo>)</mo>"
        if what == "loss(y, p)"
        else slope_mathml(what)
    )
    sign = "<mo>=</mo>" if verb == "=" else f"<mtext>&#160;{html.escape(verb)}&#160;</mtext>"
    return Markup(f'<math display="block"><mrow>{left}{sign}{_mathml(formula)}</mrow></math>')


def _mathml(formula: str) -> str:
    if formula in ("oo", "-oo"):
        return formula.replace("-oo", "<mo>-</mo><mi>∞</mi>").replace("oo", "<mi>∞</mi>")
    return formula_mathml(formula)


def _claim(claim: Claim) -> Markup:
    """A claim's formula; its domain stands in the sentence or in the block."""
    if len(claim.left) + len(claim.right) > _LONG:
        return Markup("<code>{} {} {}</code>").format(claim.left, claim.relation, claim.right)
    sign = f"<mo>{_RELATIONS[claim.relation]}</mo>"
    return Markup(
        f'<math displaystyle="true"><mrow>{_mathml(claim.left)}{sign}{_mathml(claim.right)}</mrow></math>'
    )


def _block(block: Block) -> tuple[Markup, list[Markup]]:
    head = display(block.what, block.verb, block.formula) if block.formula else Markup("")
    return head, [_sentence(sentence) for sentence in block.sentences]


def _sentence(sentence: Sentence) -> Markup:
    said = Markup("{}").format(signs(sentence.text))
    if sentence.claim is not None and not sentence.text:
        said = _claim(sentence.claim)
    elif sentence.claim is not None and not holds_formula(sentence):
        domain = ", ".join(
            [f"{name} in {span}" for name, span in sentence.claim.where] + list(sentence.claim.given)
        )
        said += Markup(": {} <small>{}</small>").format(_claim(sentence.claim), domain and f"for {domain}")
    reason = sentence.reason
    if reason is not None and reason.claim is not None and len(reason.claim.left) < _LONG:
        more = len(sentence.because) - 1
        rest = f" (with {more} more step{'s' if more > 1 else ''})" if more else ""
        said += Markup(' <span class="reason">because {}: {}{}</span>').format(
            _claim(reason.claim), reason.text, rest
        )
    elif sentence.because:
        said += Markup(' <span class="reason">{}</span>').format(sentence_reason(sentence))
    return said


def _grid(certificate: Certificate, key: str) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """A line's figures by place: head, then rows of a name and its values; only those of lines that stand."""
    line = certificate.lines.get(key)
    if line is None or type(line.verdict).__name__ not in ("Proved", "Certified"):
        return []
    return [
        (head, [(name, [figure(value) for value in cell.values()]) for name, cell in inner.items()])
        for head, inner in line.details.items()
        if isinstance(inner, Mapping) and inner and all(isinstance(cell, Mapping) for cell in inner.values())
    ]
