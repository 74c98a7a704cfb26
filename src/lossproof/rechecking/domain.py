"""The domain that a verdict names: all of it is read, and it is that of the certificate, or openly a part of it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from lossproof.rechecking.points import Range, read_range
from lossproof.rechecking.statements import Stated, finite_inside
from lossproof.rechecking.values import Broken

#: the share of the predictions at the ends that a verdict may openly leave out
_MARGIN = Fraction(1, 10**6)
_LABELS = "P(Y = 1)"
_PART = re.compile(
    r"(?:(?P<name>P\(Y = 1\)|\w+) (?:in (?:(?P<range>[\[(][^][(),{}]+, [^][(),{}]+[])])|\{(?P<set>[^{}]*)\})"
    r"|!= (?P<out>[^\s,()]+)(?: \((?P<why>[^()]*)\))?))(?:, (?=\S)|$)"
)
_NOT_FINITE = re.compile(r"infinite|no finite value")
#: lines whose domain leaves out, without a reason, only targets at which the loss is infinite
_BARE_IS_INFINITE = ("saturation", "borders")
#: lines that are about a prediction which may be a limit
_OF_A_LIMIT = ("minimiser", "floor")
#: lines that may be shown for single targets only
_BY_TARGET = ("minimiser",)


def narrowed(key: str, base: Stated, domain: str, details: Mapping[str, Any]) -> Stated:
    """What a verdict states, on the domain that it names. Raises ``Broken`` for a domain that is not the certificate's."""
    p, y = base.p, base.y
    seen = set()
    for part in _parts(domain):
        name, text = part["name"], part["range"]
        seen.add(name)
        if part["out"] is not None:
            end = _left_out(key, base, name, part["out"], part["why"])
            y = replace(y, low_open=y.low_open or end == y.low, high_open=y.high_open or end == y.high)
        elif part["set"] is not None:
            _targets(key, base, name, part["set"], details)
        else:
            span = read_range(_ends(text))
            if name == "p":
                p = _predictions(p, span, text)
            else:
                _whole(key, base, name, span, text)
    if not seen & {"y", _LABELS}:
        raise Broken(f"expected a domain of y and p, got {domain!r}")
    return replace(base, y=y, p=p, details=details)


def _parts(domain: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(domain):
        part = _PART.match(domain, at)
        if part is None:
            raise Broken(f"expected a domain of y and p, got {domain!r}")
        at = part.end()
        yield part


def _whole(key: str, base: Stated, name: str, span: Range, text: str) -> None:
    """Targets and free parameters: exactly the range of the certificate."""
    wanted = {"y": base.y, **base.free}.get(name)
    if name == _LABELS and key == "proper":
        wanted = base.y if span == base.y else Range(Fraction(0), Fraction(1), False, False)
    if wanted is None:
        raise Broken(f"expected a domain of y, p and the free parameters, got {name} in {text}")
    if span == wanted:
        return
    if wanted.covers(span):
        raise Broken(f"shown for {name} in {text} only")
    raise Broken(f"shown for {name} in {text}, which is not the range of this certificate")


def _predictions(p: Range, span: Range, text: str) -> Range:
    """The predictions of the certificate, their ends perhaps left out; ``p`` may be narrowed twice."""
    if not p.covers(span) or any(end not in p for end in span.ends):
        raise Broken(f"shown for p in {text}, which is not in the range of this certificate")
    if _loss_of_range(p, span) > _MARGIN:
        raise Broken(f"shown for p in {text} only")
    return span


def _targets(key: str, base: Stated, name: str, text: str, details: Mapping[str, Any]) -> None:
    if key not in _BY_TARGET or name != "y":
        raise Broken(f"shown for {name} in {{{text}}} only")
    named = {float(Fraction(x)) for x in text.split(",")}
    given = {float(entry[0]) for entry in details["points"]}
    outside = [x for x in text.split(",") if Fraction(x) not in base.y]
    if outside or named != given:
        raise Broken(f"shown for y in {{{text}}}, but the points are {sorted(given)} in {base.y}")


def _left_out(key: str, base: Stated, name: str, text: str, why: str | None) -> Fraction:
    """The end that is left out: a closed one of the targets; where no finite loss is the reason, it is looked at."""
    end = Fraction(text)
    if name not in ("y", _LABELS) or end not in base.y.ends or (name == _LABELS and key != "proper"):
        raise Broken(f"{name} = {text} is left out")
    reason = why or ""
    bare = not reason and key in _BARE_IS_INFINITE
    if (bare or _NOT_FINITE.search(reason)) and finite_inside(base, end):
        raise Broken(f"{name} = {text} is left out though the loss is finite there")
    if "a limit there" in reason and key not in _OF_A_LIMIT:
        raise Broken(f"{name} = {text} is left out as a limit, though this line is about every target")
    return end


def _loss_of_range(whole: Range, part: Range) -> Fraction:
    if None in (whole.low, whole.high, part.low, part.high):
        return Fraction((whole.low, whole.high) != (part.low, part.high))
    return 1 - (part.high - part.low) / (whole.high - whole.low)  # type: ignore[operator]


def _ends(text: str) -> str:
    low, high = text[1:-1].split(", ")
    return f"{text[0]}{_end(low)}, {_end(high)}{text[-1]}"


def _end(text: str) -> str:
    one, minus, rest = text.strip().partition("1 - ")
    return str(1 - Fraction(rest)) if minus and not one else text


__all__ = ["narrowed"]
