"""Certificates as JSON: one layout, read back exactly, the same text for the same content."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from lossproof.formula import (
    Certified,
    Claim,
    Interval,
    Loss,
    LossproofError,
    Param,
    Piece,
    Proved,
    Refuted,
    Step,
    Unknown,
    Verdict,
)
from lossproof.prove.problem import Line

SCHEMA = "lossproof certificate 1"
_WIDTH = 140


def plain(value: Any) -> Any:
    """A details value as JSON: keys are strings, infinities and exact numbers are strings."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def span_text(span: Interval) -> str:
    """An interval with its ends to the last bit, unlike ``str``, which rounds to six digits."""
    left, right = "(" if span.low_open else "[", ")" if span.high_open else "]"
    return f"{left}{_end(span.low)}, {_end(span.high)}{right}"


def _end(x: float) -> str:
    return str(int(x)) if math.isfinite(x) and x == int(x) and abs(x) < 1e15 else repr(float(x))


def span_of(text: str) -> Interval:
    """Read "[0, 1)" and the like. Raises ``LossproofError`` for anything else.

    >>> span_of("(0, inf)")
    Interval(low=0.0, high=inf, low_open=True, high_open=True)
    """
    body = text.strip() if isinstance(text, str) else ""
    parts = body[1:-1].split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        low = high = math.nan
    if len(body) < 5 or body[0] not in "[(" or body[-1] not in ")]" or math.isnan(low):
        raise LossproofError(f"interval: expected text such as '[0, 1]' or '(0, inf)', got {text!r}.")
    return Interval(low, high, low_open=body[0] == "(", high_open=body[-1] == ")")


# ---- verdicts


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON values."""
    kind: dict[str, Any] = {"kind": type(verdict).__name__}
    match verdict:
        case Proved(method, domain, steps):
            return kind | {"method": method, "domain": domain, "steps": [_step_record(s) for s in steps]}
        case Certified(method, domain, steps, pieces):
            rest = {"steps": [_step_record(s) for s in steps], "pieces": _pieces_record(pieces)}
            return kind | {"method": method, "domain": domain} | rest
        case Refuted(witness, claim, gap, steps):
            record = {"witness": [list(w) for w in witness], "claim": _claim_record(claim), "gap": gap}
            return kind | record | {"steps": [_step_record(s) for s in steps]}
        case Unknown(reason, worst):
            return kind | {"reason": reason, "worst": [[n, _number(a), _number(b)] for n, a, b in worst]}
    raise LossproofError(f"certificate: expected a verdict, got {verdict!r}.")


def _step_record(step: Step) -> dict[str, Any]:
    return {"text": step.text, "claim": None if step.claim is None else _claim_record(step.claim)}


def _claim_record(claim: Claim) -> dict[str, Any]:
    sides = {"left": claim.left, "relation": claim.relation, "right": claim.right}
    return sides | {"where": [list(w) for w in claim.where], "given": list(claim.given)}


def _pieces_record(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Neighbours with one statement share it; each box is low, high of every variable in turn."""
    groups = groupby(pieces, key=lambda q: (tuple(v for v, _, _ in q.box), q.left, q.relation, q.right))
    return [
        {"left": left, "relation": relation, "right": right, "variables": list(names),
         "boxes": [[_number(x) for _, *ends in q.box for x in ends] for q in group]}
        for (names, left, relation, right), group in groups
    ]  # fmt: skip


def _number(x: float) -> float | str:
    return float(x) if math.isfinite(x) else str(float(x))


def verdict_of(record: Mapping[str, Any]) -> Verdict:
    """The verdict that a record says."""
    match record["kind"]:
        case "Proved":
            return Proved(record["method"], record["domain"], _steps(record))
        case "Certified":
            return Certified(record["method"], record["domain"], _steps(record), _pieces(record["pieces"]))
        case "Refuted":
            witness = tuple((str(n), str(v)) for n, v in record["witness"])
            return Refuted(witness, _claim(record["claim"]), record["gap"], _steps(record))
        case "Unknown":
            return Unknown(record["reason"], tuple((n, float(a), float(b)) for n, a, b in record["worst"]))
    raise LossproofError(
        f"certificate: expected a verdict Proved, Certified, Refuted or Unknown, got {record['kind']!r}."
    )


def _steps(record: Mapping[str, Any]) -> tuple[Step, ...]:
    return tuple(Step(s["text"], None if s["claim"] is None else _claim(s["claim"])) for s in record["steps"])


def _claim(record: Mapping[str, Any]) -> Claim:
    where = tuple((str(n), str(v)) for n, v in record["where"])
    return Claim(record["left"], record["relation"], record["right"], where, tuple(record["given"]))


def _pieces(records: Sequence[Mapping[str, Any]]) -> tuple[Piece, ...]:
    made = []
    for group in records:
        names = group["variables"]
        for ends in group["boxes"]:
            box = tuple((n, float(ends[2 * i]), float(ends[2 * i + 1])) for i, n in enumerate(names))
            made.append(Piece(box, group["left"], group["relation"], group["right"]))
    return tuple(made)


# ---- lines and losses


def line_record(line: Line, *, seconds: bool = False) -> dict[str, Any]:
    """A line as plain JSON values; how long it took only if asked, so that the same proof is the same text."""
    record = {
        "statement": line.statement,
        "verdict": verdict_record(line.verdict),
        "details": plain(line.details),
    }
    return record | ({"seconds": round(line.seconds, 3)} if seconds else {})


def line_of(key: str, record: Mapping[str, Any]) -> Line:
    """The line that a record says."""
    verdict = verdict_of(record["verdict"])
    return Line(key, record["statement"], verdict, dict(record["details"]), float(record.get("seconds", 0.0)))


def loss_record(loss: Loss) -> dict[str, Any]:
    """What of a loss the prover needs, for another process."""
    return {
        "id": loss.id, "title": loss.title, "formula": loss.formula, "target": span_text(loss.target),
        "prediction": span_text(loss.prediction), "minimum": loss.minimum, "minimiser": loss.minimiser,
        "params": [[p.name, span_text(p.interval), p.default, p.title] for p in loss.params],
        "values": dict(loss.values),
    }  # fmt: skip


def loss_of(record: Mapping[str, Any]) -> Loss:
    """The loss that such a record says."""
    params = tuple(
        Param(name, span_of(span), default, title) for name, span, default, title in record["params"]
    )
    names = ("id", "title", "formula", "minimum", "minimiser", "values")
    same: dict[str, Any] = {name: record[name] for name in names}
    return Loss(
        **same, params=params, target=span_of(record["target"]), prediction=span_of(record["prediction"])
    )


# ---- text


def dumps(value: Any) -> str:
    """JSON for people and for diffs: short lists of numbers and strings stay on one line."""
    return _layout(value, 0) + "\n"


def _layout(value: Any, depth: int) -> str:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    nested = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(v, dict | list) and v for v in value)
    )
    if not value or not nested or (len(flat) + depth < _WIDTH and _depth(value) <= 2):
        return flat
    pad = " " * (depth + 1)
    if isinstance(value, dict):
        rows = [
            f"{pad}{json.dumps(k, ensure_ascii=False)}: {_layout(v, depth + 1)}" for k, v in value.items()
        ]
        return "{\n" + ",\n".join(rows) + "\n" + " " * depth + "}"
    return "[\n" + ",\n".join(pad + _layout(v, depth + 1) for v in value) + "\n" + " " * depth + "]"


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
