"""The certificate of a loss: its lines, what they say of a requirement, and its JSON."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from lossproof.formula import Certified, LossproofError, Proved, Refuted, Unknown
from lossproof.formula.errors import nearest
from lossproof.prove.problem import Line
from lossproof.prove.record import SCHEMA, dumps, line_of, line_record
from lossproof.prove.sections import STATEMENTS

if TYPE_CHECKING:
    from lossproof.recheck import Report

Answer = Literal["holds", "refuted", "unknown"]
#: requirement -> the line that answers it
REQUIREMENTS: Mapping[str, str] = MappingProxyType(
    {key.replace("_", "-"): key for key in STATEMENTS} | {"alive": "saturation"}
)


def requirement_line(requirement: str) -> str:
    """The key of the line that answers a requirement. Raises ``LossproofError`` with the nearest names."""
    name = requirement.strip().replace("_", "-") if isinstance(requirement, str) else ""
    if name not in REQUIREMENTS:
        advice = nearest(str(requirement), REQUIREMENTS)
        raise LossproofError(f"certificate: expected a requirement, got {requirement!r}; {advice}")
    return REQUIREMENTS[name]


@dataclass(frozen=True)
class Certificate:
    """What holds of a loss. ``lines`` maps "minimum", "unique", "floor", ... to their ``Line``.

    ``params`` are the values of the parameters that have one, ``free`` the ranges of those left symbolic;
    ``target`` and ``prediction`` the ranges of y and p; ``constants`` how numbers with a point were read, "binary"
    or "decimal". ``agreement`` says, for a traced function, how far the formula was from it at random points.
    """

    loss: str
    formula: str
    params: Mapping[str, float]
    free: Mapping[str, str]
    target: str
    prediction: str
    constants: str
    lines: Mapping[str, Line]
    versions: Mapping[str, str] = field(default_factory=dict)
    agreement: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        raise TypeError(
            "certificate: expected a question, got a truth test. Write certificate.holds('minimum') == 'holds'."
        )

    def __repr__(self) -> str:
        said = ", ".join(f"{k}: {type(v.verdict).__name__}" for k, v in self.lines.items())
        return f"<certificate of {self.loss}: {said}>"

    @property
    def domain(self) -> str:
        """The domain in words: y in [0, 1], p in (0, 1), delta in (0, inf)."""
        return ", ".join(
            f"{n} in {s}" for n, s in {"y": self.target, "p": self.prediction, **self.free}.items()
        )

    def holds(self, requirement: str) -> Answer:
        """Whether a requirement "holds", is "refuted" or is "unknown"; a name as in ``lossproof certify --require``.

        What is shown for a part of the targets only is "unknown"; targets without a finite loss may be left out.
        Raises ``LossproofError`` for an unknown name.
        """
        line = self.lines.get(requirement_line(requirement))
        if line is None or isinstance(line.verdict, Unknown):
            return "unknown"
        if isinstance(line.verdict, Refuted):
            return "refuted"
        if not isinstance(line.verdict, Proved | Certified) or _leaves_out(line):
            return "unknown"
        return _by_details(requirement.strip().replace("_", "-"), line.details)

    def why(self, requirement: str) -> str:
        """The line behind an answer, in one sentence: its verdict, and its reason or witness."""
        key = requirement_line(requirement)
        line = self.lines.get(key)
        if line is None:
            return f"{key}: not in this certificate"
        match line.verdict:
            case Unknown(reason):
                said = f"unknown: {reason}"
            case Refuted(witness, claim, gap):
                at = ", ".join(f"{n} = {v}" for n, v in witness)
                said = f"refuted at {at}: {claim}, by {gap}"
            case verdict:
                said = f"{type(verdict).__name__.lower()} for {verdict.domain} ({verdict.method})"
                said += "; not shown for every target" if _leaves_out(line) else ""
        found = line.details.get("functional") if key == "consistency" else None
        return f"{line.statement}: {said}" + (f"; consistent for: {found}" if found else "")

    def to_json(self, *, seconds: bool = False) -> str:
        """The certificate as JSON text, the same for the same content; ``seconds`` adds how long each line took."""
        return dumps(self.record(seconds=seconds))

    def record(self, *, seconds: bool = False) -> dict[str, Any]:
        """The certificate as plain JSON values; "sha256" tells accidental damage, ``recheck`` everything else."""
        content = {
            "schema": SCHEMA,
            "loss": self.loss,
            "formula": self.formula,
            "params": dict(self.params),
            "free": dict(self.free),
            "target": self.target,
            "prediction": self.prediction,
            "constants": self.constants,
            "agreement": None if self.agreement is None else dict(self.agreement),
            "versions": dict(self.versions),
            "lines": {key: line_record(line, seconds=seconds) for key, line in self.lines.items()},
        }
        return content | {"sha256": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}

    @classmethod
    def from_json(cls, text: str) -> "Certificate":
        """Read ``to_json``'s text. Raises ``LossproofError`` where it is not a certificate; checks no proof."""
        try:
            record = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise LossproofError(f"certificate: expected JSON text, got {error}.") from None
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            found = record.get("schema") if isinstance(record, dict) else type(record).__name__
            raise LossproofError(f"certificate: expected schema {SCHEMA!r}, got {found!r}.")
        names = (
            "loss",
            "formula",
            "params",
            "free",
            "target",
            "prediction",
            "constants",
            "versions",
            "agreement",
        )
        try:
            lines = {key: line_of(key, line) for key, line in record["lines"].items()}
            return cls(lines=lines, **{name: record[name] for name in names})
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            if isinstance(error, LossproofError):
                raise
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise LossproofError(f"certificate: expected the layout of {SCHEMA!r}, got {what}.") from None

    def save(self, path: "str | Path") -> None:
        """Write the JSON text to a file."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    def check(self) -> "Report":
        """Verify every claim, box and witness again, by code that shares nothing with the prover."""
        from lossproof.recheck import recheck

        return recheck(self.to_json())


_LEFT_OUT = re.compile(r"\by != [^\s,]+(?: \(([^)]*)\))?")
#: why a target may be left out: the loss has no finite value there, or what is said is a limit there
_RIGHTLY = re.compile(r"infinite|no finite value|a limit there")


def _leaves_out(line: Line) -> bool:
    """Whether a verdict leaves out targets for which nothing is shown, though the loss may be finite there."""
    # these name only targets without a finite loss, or, for the curvature at p = y, without such a prediction
    bare_is_infinite = line.key in ("saturation", "borders", "curvature")
    return any(
        not (_RIGHTLY.search(reason) if reason else bare_is_infinite)
        for reason in _LEFT_OUT.findall(getattr(line.verdict, "domain", ""))
    )


def _by_details(requirement: str, details: Mapping[str, Any]) -> Answer:
    """A requirement that the line's figures answer, when its verdict stands."""
    if requirement in ("lipschitz", "lipschitz-logits"):
        bound = details.get("bound")
        return "unknown" if bound is None else "refuted" if bound == "inf" else "holds"
    if requirement == "alive":
        ends = details.get("sigmoid")
        kinds = [end.get("kind") for end in ends.values()] if isinstance(ends, Mapping) else []
        if "plateau" in kinds:
            return "refuted"
        return "holds" if kinds and all(k in ("alive", "explodes") for k in kinds) else "unknown"
    return "holds"
