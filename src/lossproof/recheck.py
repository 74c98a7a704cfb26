"""Check a stored certificate again, without the prover: every claim, every box, every witness.

Claims are tried at exact rational points by balls, boxes by intervals and for gaps, witnesses exactly; and each line
is held against the certificate's own formula. That finds what is wrong or was tampered with; it is no second proof:
a step that is a named theorem, and what holds between the points, rest on the prover.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from lossproof.formula import LossproofError
from lossproof.rechecking.claims import Said, check_claim, read_claim
from lossproof.rechecking.cover import Box, Boxes, gap, holds_on, read_pieces
from lossproof.rechecking.derivatives import KINDS, is_bend_above, is_kind, need_derivative
from lossproof.rechecking.details import DETAILS
from lossproof.rechecking.domain import narrowed
from lossproof.rechecking.figures import FIGURES
from lossproof.rechecking.points import read_range
from lossproof.rechecking.sentences import check_sentence
from lossproof.rechecking.statements import STATEMENTS, Stated
from lossproof.rechecking.values import Broken, Formula, Undecided, names
from lossproof.rechecking.witness import check_contradiction, check_gap, read_witness

SCHEMA = "lossproof certificate 1"
#: lines whose sentence is always the same
SENTENCES = {
    "minimum": "p = y is a global minimiser of p -> loss(y, p)",
    "unique": "p = y is the only global minimiser of p -> loss(y, p)",
    "mean": "the mean of Y minimises E[loss(Y, p)]",
    "median": "every median of Y minimises E[loss(Y, p)]",
    "proper": "for labels Y in {0, 1}, p = P(Y = 1) minimises E[loss(Y, p)]",
    "convex": "p -> loss(y, p) is convex for every y",
    "strictly_convex": "p -> loss(y, p) is strictly convex for every y",
    "convex_logits": "z -> loss(y, sigmoid(z)) is convex for every y",
    "twice_differentiable": "p -> loss(y, p) has a continuous second derivative",
    "strongly_convex": "d2l/dp2 >= m for some m > 0",
}
#: the lines that there are
LINES = frozenset(
    {
        *SENTENCES,
        "minimiser",
        "floor",
        "consistency",
        "curvature",
        "lipschitz",
        "lipschitz_logits",
        "saturation",
    }
    | {"borders"}
)
_TRIED = "ranges only tried at points"
UNTIED = "refutations not tied to the formula"
#: methods whose proof is the sign of a derivative: that derivative must be this formula's
_BY_DERIVATIVE = re.compile(
    r"(weak )?sign of the derivative.*|convexity and stationarity|second derivative and kinks"
)
_KIND_ON_BOXES = {
    "minimum": ("slope", "bend", "excess"), "unique": ("slope", "bend", "excess"), "convex": ("bend",),
    "strictly_convex": ("bend",), "convex_logits": ("bend in logits",),
}  # fmt: skip
#: lines whose every inequality is to hold on the whole domain
_EACH = ("lipschitz", "lipschitz_logits", "strongly_convex")
#: lines that state an identity, which is itself tried at points
_BY_FORMULA = ("floor", "curvature")
#: lines that are certified by signs at the ends of brackets, and need no boxes
_BY_POINTS = ("minimiser",)


@dataclass(frozen=True)
class Report:
    """What a check found: ``problems`` as (line, what), and how much was looked at."""

    loss: str
    problems: tuple[tuple[str, str], ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        raise TypeError("recheck: expected a question, got a truth test. Write report.ok.")

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.problems

    def __str__(self) -> str:
        looked = ", ".join(
            f"{n} {what}" for what, n in self.counts.items() if n or what not in (_TRIED, UNTIED)
        )
        if self.ok:
            return f"{self.loss}: nothing wrong in {looked}"
        return "\n".join(
            [f"{self.loss}: {len(self.problems)} wrong in {looked}"]
            + [f"  {k}: {t}" for k, t in self.problems]
        )


def recheck(source: "str | Path | Mapping[str, Any]") -> Report:
    """Check a certificate: a file, its JSON text, or the read JSON. Raises ``LossproofError`` for a file that is missing.

    >>> report = recheck('{"schema": "lossproof certificate 0"}')
    >>> report.ok, report.problems[0][1]
    (False, "expected schema 'lossproof certificate 1', got 'lossproof certificate 0'")
    """
    return _Checker().run(_read(source))


def _read(source: "str | Path | Mapping[str, Any]") -> Any:
    if isinstance(source, Mapping):
        return source
    text = str(source)
    if isinstance(source, Path) or not text.lstrip().startswith("{"):
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise LossproofError(f"recheck: expected a certificate's JSON file, got {error}.") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"expected JSON, got {error}"


class _Checker:
    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.counts = {
            "lines": 0,
            "claims": 0,
            "points": 0,
            "boxes": 0,
            "witnesses": 0,
            _TRIED: 0,
            UNTIED: 0,
        }
        self.done: dict[
            str, str | None
        ] = {}  # claims that came before, such as those of "minimum" in "unique"

    def run(self, record: Any) -> Report:
        label = "certificate"
        try:
            self.base = self._head(record)
            label = record["loss"]
            for key, line in record["lines"].items():
                self._guarded(key, line)
        except Broken as broken:
            self.problems.append(("certificate", str(broken)))
        return Report(label, tuple(self.problems), self.counts)

    def _head(self, record: Any) -> Stated:
        if not isinstance(record, Mapping):
            raise Broken(
                record if isinstance(record, str) else f"expected an object, got {type(record).__name__}"
            )
        if record.get("schema") != SCHEMA:
            raise Broken(f"expected schema {SCHEMA!r}, got {record.get('schema')!r}")
        if "sha256" in record:
            rest = {k: v for k, v in record.items() if k != "sha256"}
            if hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest() != record["sha256"]:
                self.problems.append(("certificate", "the text was changed after it was written (sha256)"))
        try:
            values, free = dict(record["params"]), {n: read_range(r) for n, r in record["free"].items()}
            formula = Formula(
                record["formula"], values, decimal={"binary": False, "decimal": True}[record["constants"]]
            )
            stated = Stated(formula, read_range(record["target"]), read_range(record["prediction"]), free)
            if (
                not isinstance(record["loss"], str)
                or not isinstance(record["lines"], Mapping)
                or not record["lines"]
            ):
                raise Broken("expected a loss's name and lines, got none")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Broken(f"expected the layout of {SCHEMA!r}, got {error!r}") from None
        _same_as_catalogue(record["loss"], formula.text)
        unknown = names(formula.text) - {"y", "p", *values, *free}
        if unknown or not {"y", "p"} <= names(formula.text) or values.keys() & free.keys():
            raise Broken(f"expected a formula in y, p and the parameters, got {formula.text!r}")
        return stated

    def _guarded(self, key: str, line: Any) -> None:
        self.counts["lines"] += 1
        try:
            self._line(key, line)
        except Broken as broken:
            self.problems.append((key, str(broken)))
        except Undecided:
            self.problems.append((key, "not decided: no precision tells which branch of a formula holds"))
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, ZeroDivisionError) as error:
            self.problems.append((key, f"expected the layout of {SCHEMA!r}, got {error!r}"))

    def _line(self, key: str, line: Mapping[str, Any]) -> None:
        if key not in LINES:
            raise Broken(f"expected one of the lines of a certificate, got {key!r}")
        verdict = line["verdict"]
        kind = verdict["kind"]
        if key in SENTENCES and kind != "Unknown" and line["statement"] != SENTENCES[key]:
            raise Broken(f"expected the statement {SENTENCES[key]!r}, got {line['statement']!r}")
        fields = {
            "Proved": {"kind", "method", "domain", "steps"}, "Unknown": {"kind", "reason", "worst"},
            "Certified": {"kind", "method", "domain", "steps", "pieces"},
            "Refuted": {"kind", "witness", "claim", "gap", "steps"},
        }.get(kind)  # fmt: skip
        if fields is None or set(verdict) != fields:
            raise Broken(f"expected a verdict with its fields, got {kind!r} with {', '.join(verdict)}")
        if kind == "Unknown":
            return
        claims = [c for step in verdict["steps"] for c in self._step(step)]
        if kind == "Refuted":
            stated = replace(self.base, details=line["details"])
            self._refuted(key, verdict, stated)
            if key in ("minimum", "floor"):
                DETAILS[key](stated)
            check_sentence(key, kind, line["statement"], line["details"])
            return
        stated = narrowed(key, self.base, verdict["domain"], line["details"])
        if kind == "Certified":
            self._pieces(key, verdict, stated, claims)
        elif not claims and not (key in _BY_FORMULA and isinstance(line["details"].get("formula"), str)):
            raise Broken("proved without one claim that can be checked")
        elif key in _KIND_ON_BOXES and (
            key in ("minimum", "unique") or _BY_DERIVATIVE.fullmatch(verdict["method"])
        ):
            need_derivative(stated, claims, verdict["domain"], key)
        for check in (STATEMENTS.get(key), FIGURES.get(key), DETAILS.get(key)):
            if check is not None:
                check(stated)
        check_sentence(key, kind, line["statement"], line["details"])

    def _step(self, step: Mapping[str, Any]) -> list[Said]:
        if not isinstance(step["text"], str) or set(step) != {"text", "claim"}:
            raise Broken(f"expected a step with text and claim, got {step!r}")
        if step["claim"] is None:
            return []
        said = read_claim(step["claim"])
        self._claim(said)
        return [said]

    def _claim(self, said: Said) -> None:
        text = str(said)
        if text not in self.done:
            self.counts["claims"] += 1
            self.done[text] = None
            try:
                self.counts["points"] += check_claim(said, free=self.base.free)
            except Broken as broken:
                self.done[text] = str(broken)
        if self.done[text] is not None:
            raise Broken(f"claim {self.done[text]}")

    def _refuted(self, key: str, verdict: Mapping[str, Any], stated: Stated) -> None:
        witness = read_witness(verdict["witness"])
        said = read_claim(verdict["claim"])
        for name, span in said.ranges.items():
            fixed = witness.get(name, witness.get({"y": "pi"}.get(name, name)))
            if span.low == span.high and fixed is not None and fixed != span.low:
                raise Broken(f"the claim is about {name} = {span.low}, the witness has {fixed}")
        self._claim(said)
        self.counts["witnesses"] += 1
        if not check_contradiction(key, stated, witness, said):
            self.counts[UNTIED] += 1
        check_gap(verdict["gap"], stated, witness, said)

    def _pieces(self, key: str, verdict: Mapping[str, Any], stated: Stated, claims: list[Said]) -> None:
        groups = read_pieces(verdict["pieces"])
        if not groups and claims and key in _BY_POINTS:
            return
        lefts = {g[0] for g in groups}
        ranges = [_as_box(c) for c in claims if not groups or c.left in lefts] if key in _EACH else []
        ranges = [g for g in ranges if g[4]]
        if not groups and not ranges:
            raise Broken("certified without one box")
        ats = list(stated.points(8, far=False))
        kinds = {left: self._kind(key, left, stated, ats) for left, *_ in (*groups, *ranges)}
        variables = (*groups, *ranges)[0][3]
        covers: dict[tuple[str, ...], list[Box]] = {}
        for left, relation, right, own, boxes in (*groups, *ranges):
            if own != variables:
                raise Broken(f"expected boxes of {', '.join(variables)}, got {', '.join(own)}")
            for box in boxes:
                _right_side(key, kinds[left], relation, right, dict(zip(own, box, strict=True)))
            # bounds of a derivative each need the whole domain; signs share it
            covers.setdefault((left, relation, right) if key in _EACH else (), []).extend(boxes)
        if "bend" in kinds.values() and key in ("minimum", "unique") and not claims:
            raise Broken("convex boxes without the claim that dl/dp = 0 at p = y")
        root: Box = tuple(_span_of(stated, name) for name in variables)
        for what, boxes in covers.items():
            hole = gap(root, boxes)
            if hole is not None:
                place = dict(zip(variables, hole, strict=True))
                raise Broken(f"the boxes leave a gap: {' '.join((*what, str(place)))}")
        self._enclosures(groups, ranges)

    def _enclosures(self, groups: list[Boxes], ranges: list[Boxes]) -> None:
        """Every box by intervals; a claim on a range, tried at points already, where intervals are narrow enough."""
        for left, relation, right, own, boxes in groups:
            for box in boxes:
                self.counts["boxes"] += 1
                at = dict(zip(own, box, strict=True))
                if not holds_on(left, relation, right, at):
                    raise Broken(f"not shown on the box {at}: {left} {relation} {right}")
        for left, relation, right, own, boxes in ranges:
            for box in boxes:
                shown = holds_on(left, relation, right, dict(zip(own, box, strict=True)), most=200)
                self.counts["boxes" if shown else _TRIED] += 1

    def _kind(self, key: str, left: str, stated: Stated, ats: list[Any]) -> str:
        wanted = _KIND_ON_BOXES.get(key)
        if key == "strongly_convex":
            if not is_bend_above(stated, left, Fraction(stated.details["modulus"]), ats):
                raise Broken(
                    f"boxes about {left[:80]}, which is not d2l/dp2 of this formula minus the modulus"
                )
            return "bend"
        if wanted is None:
            return ""
        found = next((k for k in wanted if k in KINDS and is_kind(stated, left, k, ats)), None)
        if found is None:
            raise Broken(f"boxes about {left[:80]}, which is not {' or '.join(wanted)} of this formula")
        return found


def _same_as_catalogue(label: str, formula: str) -> None:
    """A certificate that bears the name of a loss of the catalogue is about that loss's formula."""
    from lossproof.catalogue import CATALOGUE

    # a formula may begin like a loss: logcosh(p - y)*2 is none
    named = re.fullmatch(r"(\w+)(\((\s*\w+\s*=[^()]*)\))?", label.strip())
    loss = CATALOGUE.get(named[1]) if named else None
    if loss is not None and "".join(loss.formula.split()) != "".join(formula.split()):
        raise Broken(f"expected the formula of {loss.id} in the catalogue, {loss.formula}, got {formula}")


def _right_side(
    key: str, kind: str, relation: str, right: str, box: Mapping[str, tuple[float, float]]
) -> None:
    """Whether a box's relation is the one that the line needs there."""
    if not kind:
        return
    (y0, y1), (p0, p1) = box["y"], box["p"]
    if right.strip() != "0":
        raise Broken(f"expected a comparison with 0 on a box, got {right!r}")
    if key in ("minimum", "unique") and kind == "slope":
        good = (relation == ">" and p0 >= y1) or (relation == "<" and p1 <= y0)
    elif key in ("minimum", "unique"):  # l is convex between y and p, or above its floor away from p = y
        inside = p0 <= y0 and y1 <= p1 if kind == "bend" else p0 > y1 or p1 < y0
        good = relation == ">" and inside
    else:
        good = relation == ">" or (relation == ">=" and key != "strictly_convex")
    if not good:
        raise Broken(f"{kind} {relation} 0 on the box {dict(box)} says nothing for this line")


def _span_of(stated: Stated, name: str) -> tuple[float, float]:
    span = {"y": stated.y, "p": stated.p, **stated.free}.get(name)
    if span is None:
        raise Broken(f"expected boxes of y, p and the free parameters, got {name!r}")
    low = -float("inf") if span.low is None else float(span.low)
    return low, float("inf") if span.high is None else float(span.high)


def _as_box(said: Said) -> Boxes:
    """A claim on a range of p, as the box it speaks of; none for other claims."""
    spans = said.ranges
    p = spans.get("p")
    if (
        set(spans) != {"p"}
        or p is None
        or p.low is None
        or p.high is None
        or said.given
        or said.relation == "="
    ):
        return said.left, said.relation, said.right, (), []
    box = ((float(p.low), float(p.high)),)
    return said.left, said.relation, said.right, ("p",), [box] if p.low < p.high else []


__all__ = ["Report", "recheck"]
