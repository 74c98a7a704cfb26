"""Ranges and conditions as a certificate writes them, and exact points that obey them."""

import ast
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lossproof.rechecking.values import Broken, Undecided, compare, names, tree, value

Point = dict[str, Fraction]
_TINY = (3, 6, 9, 12, 20)  # negative powers of ten: how near to an end or to the diagonal


@dataclass(frozen=True)
class Range:
    """low to high with open or closed ends; None for an infinite end; low == high for a single value."""

    low: Fraction | None
    high: Fraction | None
    low_open: bool
    high_open: bool

    def __contains__(self, x: Fraction) -> bool:
        above = self.low is None or x > self.low or (x == self.low and not self.low_open)
        return above and (self.high is None or x < self.high or (x == self.high and not self.high_open))

    def covers(self, other: "Range") -> bool:
        """Whether another range, its ends left aside, lies in this one."""
        low = self.low is None or (other.low is not None and other.low >= self.low)
        return low and (self.high is None or (other.high is not None and other.high <= self.high))

    @property
    def ends(self) -> list[Fraction]:
        """The finite ends that belong to it."""
        pairs = ((self.low, self.low_open), (self.high, self.high_open))
        return [e for e, is_open in pairs if e is not None and not is_open]

    def draw(self, rng: random.Random, *, far: bool = True) -> Fraction:
        """A rational inside: anywhere, or (``far``) close to an end or far out."""
        u = Fraction(rng.randrange(1, 99991), 99991)
        if self.low is not None and self.high is not None:
            if far and rng.random() < 0.4:
                u = Fraction(1, 10 ** rng.choice(_TINY)) * Fraction(rng.randrange(1, 9), 9)
                u = u if rng.random() < 0.5 else 1 - u
            return self.low + (self.high - self.low) * u
        out = u / (1 - u) if not far else u * Fraction(10) ** rng.randrange(-6, 7)
        if self.low is not None:
            return self.low + out
        if self.high is not None:
            return self.high - out
        return out if rng.random() < 0.5 else -out


def read_range(text: str) -> Range:
    """Read "[0, 1)", "(0, inf)" or a single exact value such as "1/3". Raises ``Broken``."""
    body = text.strip() if isinstance(text, str) else ""
    try:
        if body[:1] not in ("[", "("):
            exact = Fraction(body)
            return Range(exact, exact, False, False)
        low, high = (None if "inf" in part else Fraction(part.strip()) for part in body[1:-1].split(","))
    except (ValueError, ZeroDivisionError):
        raise Broken(f"expected a range such as (0, 1), got {text!r}") from None
    if body[-1:] not in ("]", ")") or (low is not None and high is not None and low >= high):
        raise Broken(f"expected a range such as (0, 1), got {text!r}")
    return Range(low, high, body[0] == "(" or low is None, body[-1] == ")" or high is None)


def obeys(given: Sequence[str], at: Point) -> bool:
    """Whether a point obeys conditions such as "p > y"."""
    for text in given:
        node = tree(text)
        if not isinstance(node, ast.Compare):
            raise Broken(f"expected a condition such as 'p > y', got {text!r}")
        sides = [value(ast.unparse(n), at) for n in (node.left, *node.comparators)]
        signs = {"Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Eq": "=", "NotEq": "!="}
        for op, a, b in zip(node.ops, sides, sides[1:], strict=False):
            try:
                if not compare(signs[type(op).__name__], a, b):
                    return False
            except (KeyError, Undecided):
                return False
    return True


def points(
    where: Mapping[str, Range], given: Sequence[str], count: int, rng: random.Random, *, far: bool = True
) -> Iterator[Point]:
    """Exact points in the ranges that obey the conditions; also at closed ends, near the ends and the diagonal.

    Fewer than ``count`` where hardly any drawn point obeys.
    """
    made = 0
    for attempt in range(60 * count):
        if made >= count:
            return
        at = {name: span.draw(rng, far=far) for name, span in where.items()}
        if far and attempt % 7 == 0:
            for name, span in where.items():
                if span.ends and rng.random() < 0.5:
                    at[name] = rng.choice(span.ends)
        if {"y", "p"} <= at.keys() and attempt % 2:
            at["p"] = _beside(at["y"], where["p"], given, rng) if far else at["p"]
        if all(at[n] in span for n, span in where.items()) and obeys(given, at):
            made += 1
            yield at


def _beside(y: Fraction, span: Range, given: Sequence[str], rng: random.Random) -> Fraction:
    """A p near to y, on the side that the conditions ask for."""
    up = {"p > y", "y < p"} & set(given)
    down = {"p < y", "y > p"} & set(given)
    side = 1 if up else -1 if down else rng.choice((1, -1))
    room = (span.high if side > 0 else span.low) if span is not None else None
    distance = Fraction(1) if room is None else abs(room - y)
    shrink: int = 10 ** rng.choice((0, 0, 1, *_TINY))
    return y + side * distance * Fraction(rng.randrange(1, 99), 99) / shrink


def variables(*texts: str) -> set[str]:
    """All variables of some formula strings."""
    return set().union(*(names(text) for text in texts))
