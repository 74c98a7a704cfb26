"""The derivation that a certificate holds, arranged for a reader; nothing is said that its steps do not say.

Steps in the prover's own positive symbols (u, v, w) are kept as the reason of the step that they serve; the steps in
y and p are the derivation. ``proof_text`` and ``proof_latex`` print it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lossproof.formula import REALS, Certified, Claim, Loss, Proved, Refuted, Step, Unknown
from lossproof.report.certificate_answers import QUESTIONS, answer

if TYPE_CHECKING:
    from lossproof.prove.certificate import Certificate
    from lossproof.prove.problem import Line
    from lossproof.prove.regions import Region

Expr = Any
_PRIMES = {
    "u": "2/3",
    "v": "5/7",
    "w": "11/13",
    "r": "1/17",
}  # a point where chance agreement is not to be feared
#: what a student asks first comes first
_ORDER = ("minimum", "unique", "curvature", "floor", "minimiser", "consistency", "proper", *QUESTIONS)
_WITH_RESULT = (
    "curvature",
    "floor",
    "minimiser",
    "consistency",
    "lipschitz",
    "lipschitz_logits",
    "saturation",
)
_HEAD = re.compile(
    r"for (?P<place>.+?), p (?P<side>[<>]) y(?P<rest>.*?): "
    r"(?P<what>d\w*/d\w+)(?P<verb> = | has the sign of )(?P<formula>.+?)(?:, which has one sign)?"
)


@dataclass(frozen=True)
class Sentence:
    """One sentence of a derivation, the claim in it that was checked, and the sign rules that give it.

    ``reason`` is the one of them that is this very claim in positive symbols; None where none is.
    """

    text: str
    claim: Claim | None = None
    because: tuple[Step, ...] = ()
    reason: Step | None = None


@dataclass
class Block:
    """What holds on one part of the domain: a displayed formula, and sentences about it.

    ``what`` is the left side of the display ("dl/dp"), ``verb`` "=" or "has the sign of", ``formula`` its right side.
    """

    place: str = ""
    what: str = ""
    verb: str = "="
    formula: str = ""
    sentences: list[Sentence] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """The derivation of one line of the certificate."""

    key: str
    statement: str
    verdict: str
    method: str
    blocks: tuple[Block, ...]
    closing: str = ""


def derivation(certificate: Certificate) -> list[Part]:
    """The derivation of every line that is Proved or Certified, in the order in which one would write it."""
    order = {key: place for place, key in reversed(list(enumerate(_ORDER)))}
    parts: list[Part] = []
    seen: dict[Any, int] = {}
    for key in sorted(certificate.lines, key=lambda k: order.get(k, len(order))):
        line = certificate.lines[key]
        verdict = line.verdict
        if isinstance(verdict, Refuted | Unknown) or not (verdict.steps or isinstance(verdict, Certified)):
            continue
        same = seen.get(verdict)
        if same is not None:  # one proof of two statements is printed once
            parts[same] = _joined(parts[same], line)
            continue
        seen[verdict] = len(parts)
        parts.append(_part(line, certificate.domain))
    known = _regions(certificate)
    for part in parts:
        for block in part.blocks:
            block.sentences = [_reasoned(sentence, known) for sentence in block.sentences]
    return parts


def _reasoned(sentence: Sentence, known: list[Region]) -> Sentence:
    """The sentence with the sign rule that is its claim in positive symbols: equal at a point with 30 digits."""
    claim = sentence.claim
    if claim is None or not sentence.because or claim.right != "0":
        return sentence
    names = {name for name, _ in claim.where}
    for region in known:
        if ("y" in names) != (region.end is None) or (claim.given and claim.given != region.given):
            continue
        wanted = _number(
            claim.left, {"y": _number(str(region.y), _point()), "p": _number(str(region.p), _point())}
        )
        for step in reversed(sentence.because):
            if step.claim is None or step.claim.relation != claim.relation or wanted is None:
                continue
            found = _number(step.claim.left, _point())
            if found is not None and abs(found - wanted) < 1e-30 * (1 + abs(wanted)):
                return Sentence(sentence.text, claim, sentence.because, step)
    return sentence


def _number(formula: str, at: Mapping[str, Expr]) -> Expr | None:
    """A formula's value at numbers, to 40 digits; None where that is no real number."""
    import sympy

    from lossproof.formula.functions import to_elementary

    expr = expression(formula)
    found = sympy.N(
        to_elementary(expr.xreplace({s: at[str(s)] for s in expr.free_symbols if str(s) in at})), 40
    )
    return found if found.is_Float or found.is_Rational else None


def _point() -> dict[str, Expr]:
    import sympy

    return {name: sympy.Rational(value) for name, value in _PRIMES.items()}


def _regions(certificate: Certificate) -> list[Region]:
    """The parts of the domain along the diagonal, as the prover cuts it."""
    from lossproof.prove.problem import Problem
    from lossproof.prove.record import span_of
    from lossproof.prove.regions import regions

    plain = Loss(id="any", title="", formula="(y - p)**2", target=REALS, prediction=REALS)
    where = Problem(plain, target=span_of(certificate.target), prediction=span_of(certificate.prediction))
    return list(regions(where))


def _joined(part: Part, line: Line) -> Part:
    if line.statement in part.statement.split("; "):
        return part
    return replace(part, statement=f"{part.statement}; {line.statement}")


def _part(line: Line, domain: str) -> Part:
    verdict = line.verdict
    assert isinstance(verdict, Proved | Certified)
    closing = ""
    if isinstance(verdict, Certified) and verdict.pieces:
        closing = f"The rest is shown by enclosures on {len(verdict.pieces)} boxes that cover the domain ({verdict.domain})."
    elif line.key in _WITH_RESULT:
        closing = f"Result: {answer(line, domain)}."
    blocks = _blocks(verdict.steps)
    for block in blocks:  # what the heading says is not said again
        block.sentences = [
            replace(s, text="") if s.text == line.statement and s.claim else s for s in block.sentences
        ]
    return Part(
        line.key,
        line.statement,
        type(verdict).__name__,
        verdict.method,
        tuple(blocks),
        closing,
    )


def _blocks(steps: Iterable[Step]) -> list[Block]:
    blocks: list[Block] = []
    reasons: list[Step] = []
    relation = ""
    for step in steps:
        if step.claim is not None and is_auxiliary(step.claim):
            reasons.append(step)
            continue
        head = _HEAD.fullmatch(step.text) if step.claim is not None else None
        if head is None:
            if not blocks:
                blocks.append(Block())
            blocks[-1].sentences.append(Sentence(_prefixed(relation, step), step.claim, tuple(reasons)))
            reasons = []
            continue
        assert step.claim is not None
        if reasons and blocks:
            _give_reason(blocks[-1], reasons)
            reasons = []
        block = _opened(head, step.claim)
        relation = f"p {head['side']} y"
        if not (blocks and _same(blocks[-1], block)):
            blocks.append(block)
        if step.claim.relation != "=":
            said = f"{relation}: {block.what} {step.claim.relation} 0"
            blocks[-1].sentences.append(Sentence(said, step.claim))
    if reasons and blocks:
        _give_reason(blocks[-1], reasons)
    return [block for block in blocks if block.formula or block.sentences]


def _give_reason(block: Block, reasons: list[Step]) -> None:
    """Sign rules that come after their statement belong to the last sentence."""
    if block.sentences:
        last = block.sentences[-1]
        block.sentences[-1] = Sentence(last.text, last.claim, (*last.because, *reasons))
    else:
        block.sentences.extend(Sentence(step.text, step.claim) for step in reasons)


def _opened(head: re.Match[str], claim: Claim) -> Block:
    formula = claim.right if claim.relation == "=" else claim.left
    ranges = [f"{name} in {span}" for name, span in claim.where]
    fixed = [head["place"]] if "=" in head["place"] else []
    rest = [head["rest"].lstrip(", ")] if head["rest"] else []
    return Block(", ".join([*fixed, *ranges, *rest]), head["what"], head["verb"].strip(), formula)


def _same(one: Block, other: Block) -> bool:
    return (one.place, one.what, one.verb, one.formula) == (
        other.place,
        other.what,
        other.verb,
        other.formula,
    )


def _prefixed(relation: str, step: Step) -> str:
    """A conclusion of the prover without its region, which the block has; the side of the diagonal in front."""
    text = re.sub(r" \([^()]*p [<>] y[^()]*\)$", "", step.text)
    if text == step.text or not relation:
        return step.text
    sign = ""
    if step.claim is not None and step.claim.right == "0" and step.claim.relation in ("<", ">", "<=", ">="):
        sign = f"it is {step.claim.relation} 0, "
    return f"{relation}: {sign}{text}"


def is_auxiliary(claim: Claim) -> bool:
    """Whether a claim is about the prover's positive symbols, or numbers alone, rather than about y and p."""
    names = {name for name, _ in claim.where}
    return claim.relation != "->" and not names & {"y", "p", "z"}


# ---- formulas for printing


def expression(formula: str) -> Expr:
    """A claim's side as a SymPy expression, arranged for reading; its value is untouched, and that is checked."""
    import sympy

    from lossproof.formula.parse import free_names, parse

    names = {name: sympy.Symbol(name) for name in free_names(formula) if name != "z"}
    expr = parse(formula, params=names, symbols=("y", "p", "z"))
    return readable(expr)


def readable(expr: Expr) -> Expr:
    """Factors such as p - 1 turned into 1 - p, in products and in the terms of a sum; the value stays the same.

    >>> readable(expression("(-p + y)/(p*(p - 1))"))
    (p - y)/(p*(1 - p))
    """
    import sympy

    from lossproof.formula.symbols import P, Y

    if isinstance(expr, sympy.Add):
        return expr.func(*(readable(term) for term in expr.args))
    if not isinstance(expr, sympy.Mul):
        return expr
    inside = {P: sympy.Rational(1, 2), Y: sympy.Rational(1, 3)}
    flipped, sign = [], 1
    for factor in expr.args:
        base, power = factor.as_base_exp()
        if isinstance(base, sympy.Add) and power.is_Integer and base.subs(inside).is_negative:
            flipped.append((-base) ** power)
            sign = -sign if power % 2 else sign
        else:
            flipped.append(factor)
    made = sympy.Mul(sign, *flipped)
    return made if sympy.expand(made - expr) == 0 or sympy.cancel(made - expr) == 0 else expr


def written(formula: str) -> str:
    """A formula string arranged for reading, in the same grammar."""
    from lossproof.formula.unparse import unparse

    return unparse(expression(formula))


def rounded(formula: str) -> str:
    """A formula multiplied out, with its constants as decimals of 12 digits.

    >>> rounded("(64851834634135142*y + 3602879701896397)/72057594037927936")
    '0.05 + 0.9*y'
    """
    import sympy

    from lossproof.report.decimals import decimal

    expr = sympy.expand(expression(formula))
    names = {}
    for number in expr.atoms(sympy.Rational):
        if number.q > 10**6 or abs(number.p) > 10**6:
            text = decimal(f"{number.p}/{number.q}")
            names[number] = sympy.Symbol(text if number > 0 else f"({text})")
    return str(expr.xreplace(names))


def textbook(certificate: Certificate) -> str:
    """The loss without the names that carry conventions: y*log(p), with 0*log(0) = 0, for xlogy(y, p)."""
    from lossproof.formula.functions import to_elementary
    from lossproof.formula.unparse import unparse

    return unparse(readable(to_elementary(expression(certificate.formula))))


def substitution(certificate: Certificate) -> str:
    """What the positive symbols of the sign rules stand for; empty where no step has them."""
    used = {name for line in certificate.lines.values() if isinstance(line.verdict, Proved | Certified)
            for step in line.verdict.steps if step.claim is not None and is_auxiliary(step.claim)
            for name, _ in step.claim.where}  # fmt: skip
    if not used & {"u", "v", "w"}:
        return ""
    above = next(region for region in _regions(certificate) if region.side == ">" and region.end is None)
    return (
        f"In the reasons, u, v and w are any positive numbers: every y < p is y = {above.y}, p = {above.p} for some of "
        "them; for p < y the two are exchanged."
    )
