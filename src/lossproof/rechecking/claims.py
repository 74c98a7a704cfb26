"""One claim of a certificate, checked by balls at exact points of its ranges; limits along sequences."""

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb

from lossproof.rechecking.points import Point, Range, points, read_range, variables
from lossproof.rechecking.values import Broken, Undecided, Value, ball, precision, value

POINTS = 60
RELATIONS = ("=", "<", "<=", ">", ">=", "!=", "->")
_BITS = (64, 256, 1024)
_SHOWN = 12


@dataclass(frozen=True)
class Said:
    """A claim as it stands in a certificate."""

    left: str
    relation: str
    right: str
    where: tuple[tuple[str, str], ...]
    given: tuple[str, ...]

    def __str__(self) -> str:
        domain = ", ".join([f"{n} in {s}" for n, s in self.where] + list(self.given))
        return f"{self.left} {self.relation} {self.right}" + (f" for {domain}" if domain else "")

    @property
    def ranges(self) -> dict[str, Range]:
        return {name: read_range(text) for name, text in self.where}

    def rng(self, salt: str = "") -> random.Random:
        """The same points every time, others for every claim."""
        return random.Random(zlib.crc32(f"{self}{salt}".encode()))


def read_claim(record: Any) -> Said:
    """The claim that a record says. Raises ``Broken`` where it is none."""
    try:
        said = Said(
            record["left"], record["relation"], record["right"],
            tuple((n, s) for n, s in record["where"]), tuple(record["given"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise Broken(f"expected a claim with left, relation, right, where, given, got {error}") from None
    texts = (said.left, said.relation, said.right, *said.given, *(x for pair in said.where for x in pair))
    if not all(isinstance(t, str) for t in texts) or said.relation not in RELATIONS:
        raise Broken(f"expected a claim in formula strings with one of {' '.join(RELATIONS)}, got {said}")
    return said


def check_claim(said: Said, count: int = POINTS, free: Mapping[str, Range] | None = None) -> int:
    """Check a claim at exact points, and return at how many. Raises ``Broken`` at the first that contradicts it.

    A claim that names no range for a parameter that was left symbolic (``free``) is one for all its values.
    """
    unnamed = {
        n: r
        for n, r in (free or {}).items()
        if n in variables(said.left, said.right) and n not in said.ranges
    }
    arrows = [g for g in said.given if "->" in g]
    if said.relation == "->":
        return _check_limit(said, arrows, unnamed)
    if arrows:
        raise Broken(f"expected a limit, got {said.relation!r} in {said}")
    ranges = said.ranges | unnamed
    missing = variables(said.left, said.right) - set(ranges)
    if missing:
        raise Broken(f"expected a range for {', '.join(sorted(missing))} in {said}")
    checked = 0
    single = all(r.low == r.high and r.low is not None for r in ranges.values())
    for at in points(ranges, said.given, 1 if single else count, said.rng()):
        checked += _check_at(said, at, ranges)
    if checked < (1 if single else count // 3):
        raise Broken(f"expected values at {count} points, got {checked}: {said}")
    return checked


def _check_at(said: Said, at: Point, ranges: Mapping[str, Range]) -> int:
    found = relation_at(said.relation, lambda: (value(said.left, at), value(said.right, at)))
    if found == "undefined":
        if any(at[n] in r.ends and r.low != r.high for n, r in ranges.items()):
            return 0  # a closed end, where the textbook form has no value
        raise Broken(f"no value at {show(at)}: {said}")
    if found == "false":
        raise Broken(f"contradicted at {show(at)}: {said}")
    # too close to call is no contradiction; a third of the points must be decided
    return int(found == "true")


def relation_at(relation: str, sides: Callable[[], tuple[Value, Value]], bits: Sequence[int] = _BITS) -> str:
    """ "true", "false", "undefined" or "undecided" for a relation of two values, with ever more bits.

    An equation holds where the difference is 0 to 9 of 10 of the bits that are carried, in the last precision.
    """
    answer = "undecided"
    for b in bits:
        with precision(b):
            try:
                left, right = sides()
            except Undecided:
                continue
            difference = ball(left - right)
            if not difference.is_finite():
                answer = "undefined"
                continue
            if difference > 0 or difference < 0:
                truth = {"=": False, "!=": True}.get(relation, (difference > 0) == (relation[0] == ">"))
                return "true" if truth else "false"
            if difference.is_exact():  # exactly 0
                return "true" if relation in ("=", "<=", ">=") else "false"
            size = 1 + abs(ball(left)).upper()
            answer = "undecided"
            if abs(difference).upper() < size * arb(2) ** (-(b * 9) // 20):
                answer = "true" if relation in ("=", "<=", ">=") else "undecided"
    return answer


# ---- limits


def _check_limit(said: Said, arrows: Sequence[str], unnamed: Mapping[str, Range]) -> int:
    if len(arrows) != 1:
        raise Broken(f"expected one arrow such as 'p -> 0+' beside a limit, got {said}")
    name, _, to = (part.strip() for part in arrows[0].partition("->"))
    ranges = {n: r for n, r in (said.ranges | dict(unnamed)).items() if n != name}
    rest = tuple(g for g in said.given if "->" not in g)
    missing = variables(said.left) - {name} - set(ranges)
    if missing:
        raise Broken(f"expected a range for {', '.join(sorted(missing))} in {said}")
    checked = 0
    for at in points(ranges, rest, 6 if ranges else 1, said.rng(), far=False):
        _check_sequence(said, name, to, at)
        checked += 1
    if not checked:
        raise Broken(f"expected points that obey {', '.join(said.given)}, found none: {said}")
    return checked


def _sequence(to: str, at: Point) -> list[tuple[Fraction, int]]:
    """Points that approach, with the bits that they need."""
    if to in ("oo", "-oo", "inf", "-inf"):
        sign = -1 if to.startswith("-") else 1
        return [(Fraction(sign * 2**k), 2**k * 4 + 512) for k in (4, 8, 12)]
    side = 1 if to.endswith("+") else -1 if to.endswith("-") else 0
    end = value(to.rstrip("+-") if side else to, at)
    if isinstance(end, arb):
        raise Broken(f"expected a limit at a rational place, got {to!r}")
    exact = Fraction(int(end.p), int(end.q))
    return [(exact + (side or 1) * Fraction(1, 2**k), 4 * k + 512) for k in (16, 256, 4096)]


def _check_sequence(said: Said, name: str, to: str, at: Point) -> None:
    infinite = {"oo": 1, "-oo": -1, "inf": 1, "-inf": -1}.get(said.right.strip())
    seen: list[arb] = []
    for x, bits in _sequence(to, at):
        with precision(bits):
            place = {**at, name: x}
            try:
                got = ball(value(said.left, place))
                wanted = arb(0) if infinite else ball(value(said.right, place))
            except Undecided:
                raise Broken(f"not decided at {name} = {float(x):.6g}: {said}") from None
            if not got.is_finite() or not wanted.is_finite():
                raise Broken(f"no value at {name} = {float(x):.6g}: {said}")
            seen.append(got * infinite if infinite else abs(got - wanted))
    first, middle, last = (s.mid() for s in seen)
    if infinite:
        good = last > middle and last * 5 > middle * 6 and middle > first and last > 1
    else:
        good = last < arb("0.01") and (last * 100 < 99 * middle or last < arb(2) ** -200) and last <= first
    if not good:
        shown = ", ".join(s.str(6, radius=False) for s in seen)
        what = "values" if infinite else "distances"
        raise Broken(f"{what} {shown} along a sequence do not show it: {said}")


def show(at: Mapping[str, Fraction]) -> str:
    """A point in few characters."""
    return ", ".join(f"{n} = {x if len(str(x)) <= _SHOWN else f'{float(x):.9g}'}" for n, x in at.items())
