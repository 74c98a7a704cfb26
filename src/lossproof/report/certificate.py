"""How a certificate reads: one row for each line, and the numbers of a refutation for a calculator."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lossproof.recheck import UNTIED
from lossproof.report.certificate_answers import QUESTIONS, answer
from lossproof.report.counterexample import calculation
from lossproof.report.decimals import is_rounded

if TYPE_CHECKING:
    from lossproof.prove.certificate import Certificate
    from lossproof.recheck import Report

#: what each verdict means, in one sentence
MEANING = {
    "Proved": "by symbolic steps, for every point of the domain that the row names",
    "Certified": "by rigorous enclosures on boxes that cover the domain that the row names",
    "Refuted": "by a counterexample that a calculator confirms",
    "Unknown": "neither shown nor refuted; the reason is given",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: what is asked, the answer in a sentence, and how it is known."""

    key: str
    question: str
    answer: str
    verdict: str


def rows(certificate: Certificate) -> list[Row]:
    """The lines of a certificate in the order in which they are asked."""
    order = {key: place for place, key in enumerate(QUESTIONS)}
    keys = sorted(certificate.lines, key=lambda key: order.get(key, len(order)))
    made = []
    for key in keys:
        line = certificate.lines[key]
        asked = QUESTIONS.get(key, key.replace("_", " "))
        made.append(Row(key, asked, answer(line, certificate.domain), type(line.verdict).__name__))
    return made


def facts(certificate: Certificate) -> list[tuple[str, str]]:
    """What the statements are about: formula, domain, parameters, how constants were read."""
    found = [("loss(y, p)", certificate.formula), ("for every", certificate.domain)]
    if certificate.params:
        found.append(("with", ", ".join(f"{name} = {value!r}" for name, value in certificate.params.items())))
    if certificate.constants == "decimal":
        found.append(("constants", "decimals as written (0.1 is 1/10)"))
    elif _has_point(certificate):
        found.append(("constants", "exact binary (0.1 is 3602879701896397/2^55); --decimal reads 1/10"))
    if certificate.agreement:
        said = ", ".join(f"{name}: {_plain(value)}" for name, value in certificate.agreement.items())
        found.append(("traced", said))
    return found


def _has_point(certificate: Certificate) -> bool:
    """Whether a number was given that is not what its decimals say."""
    given = [Fraction(repr(v)) != Fraction(v) for v in certificate.params.values() if isinstance(v, float)]
    return any(given) or is_rounded(certificate.formula)


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Witness:
    """A counterexample in decimals: where, what is compared, and the exact numbers it stands for."""

    key: str
    question: str
    text: str
    exact: str
    gap: str


def witnesses(certificate: Certificate) -> list[Witness]:
    """Every refuted line's counterexample, with decimal numbers that anyone can check with a calculator."""
    from lossproof.formula import Refuted

    found = []
    for row in rows(certificate):
        verdict = certificate.lines[row.key].verdict
        if isinstance(verdict, Refuted):
            exact = ", ".join(f"{name} = {value}" for name, value in verdict.witness)
            text = calculation(certificate, row.key, verdict)
            found.append(Witness(row.key, row.question, text, exact, verdict.gap))
    return found


def summary_of(report: Report) -> str:
    """What the independent checker found, in a sentence; with its list of what is wrong if there is any."""
    counts = report.counts
    each = f"{counts.get('claims', 0)} claims at {counts.get('points', 0)} points"
    rest = "".join(f", {counts[name]} {name}" for name in ("boxes", "witnesses", UNTIED) if counts.get(name))
    head = f"Checked again by code that shares nothing with the prover: {each}{rest}"
    if report.ok and not counts.get("claims") and not rest:
        return "Nothing was shown or refuted, so there was nothing to check again."
    if report.ok:
        return f"{head}; nothing wrong."
    return "\n".join(
        [f"{head}; {len(report.problems)} wrong:", *(f"  {key}: {what}" for key, what in report.problems)]
    )
