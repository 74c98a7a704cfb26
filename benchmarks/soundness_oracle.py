"""The judge of the soundness fuzz: exact rational points, 500 bits, and nothing of the prover.

``violation`` looks hard for points that contradict a yes; ``confirm`` evaluates a refutation's witness again.
A finding counts only if the enclosures of both sides are apart.
"""

import contextlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from soundness_losses import Case
from soundness_tree import BITS, IV, Node, Number, Undefined, floats, iv, parsed, precision, value

F = Fraction
HALF = F(1, 2)
Point = dict[str, Fraction]
LINES = ("minimum", "unique", "convex", "strictly_convex", "convex_logits", "proper")
#: fine distances of a quick and of a thorough search
QUICK, THOROUGH = (1, 2, 3, 5, 8, 13, 20, 31, 40), tuple(range(1, 41))
TARGETS = (
    F(0),
    F(1, 10**12),
    F(1, 1000),
    F(1, 20),
    F(3, 10),
    HALF,
    F(2, 3),
    F(9, 10),
    F(999999, 10**6),
    F(1),
)
MORE_TARGETS = (
    F(1, 10**40),
    F(1, 10**6),
    F(1, 100),
    F(1, 5),
    F(1, 3),
    F(2, 5),
    F(7, 10),
    F(4, 5),
    F(19, 20),
    1 - F(1, 10**12),
)
#: of a witness: a gap may be far below 2**-500
PRECISIONS = (BITS, 4 * BITS, 16 * BITS)
#: where the limit p -> y is read when y is 0 or 1
LIMIT = (30, 60, 90, 120, 1200, 6000)


@dataclass(frozen=True)
class Finding:
    """A point that contradicts a line, and the amount."""

    line: str
    at: Point
    gap: str

    def __str__(self) -> str:
        return f"{self.line}: {', '.join(f'{k}={v}' for k, v in self.at.items())}: {self.gap}"


def half(a: Number, b: Number) -> Number:
    """The mean of two values, exact where both are."""
    return (a + b) / 2 if isinstance(a, Fraction) and isinstance(b, Fraction) else (iv(a) + iv(b)) / 2


def below(a: Number, b: Number) -> bool:
    """Is a < b, enclosures apart?"""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a < b
    return bool(iv(a).b < iv(b).a)


def gap(a: Number, b: Number) -> str:
    """a - b for a reader."""
    difference = iv(a) - iv(b)
    return IV.nstr(difference.mid, 6)


def attained(tree: Node, y: Fraction) -> Number:
    """loss(y, y); at y in {0, 1}, and where p = y has no value, a lower bound of what is read on the way to the limit."""
    if 0 < y < 1:
        with contextlib.suppress(Undefined):
            return value(tree, y, y)
        sides = [_limit(tree, y, inward) for inward in (1, -1)]
        return sides[1] if below(sides[1], sides[0]) else sides[0]
    return _limit(tree, y, 1 if y == 0 else -1)


def _limit(tree: Node, y: Fraction, inward: int) -> Number:
    seen = [value(tree, y, y + inward * F(1, 10**k)) for k in LIMIT]
    with contextlib.suppress(Undefined):
        seen.append(value(tree, y, y))  # the limit itself for a continuous loss; lower only helps the prover
    least = seen[0]
    for other in seen[1:]:  # exact where both are: 1 + 10**-240 is below 1 + 10**-60
        if below(other, least) or not below(least, other):
            least = other
    # still on its way: what it may yet fall by is taken off
    way, last = (value(tree, y, y + inward * F(1, 10**k)) for k in LIMIT[-2:])
    rest = _distance(way, last)
    return (
        least - rest if isinstance(least, Fraction) and isinstance(rest, Fraction) else iv(least) - iv(rest)
    )


def _distance(a: Number, b: Number) -> Number:
    return abs(a - b) if isinstance(a, Fraction) and isinstance(b, Fraction) else abs(iv(a) - iv(b))


def at_point(tree: Node, y: Fraction, p: Fraction) -> Number | None:
    try:
        return value(tree, y, p)
    except Undefined:
        return None


def targets(case: Case, thorough: bool) -> list[Fraction]:
    """y worth a look: a grid, the case's own, and beside these."""
    fine = (3, 8, 12, 25) if thorough else (3, 12, 25)
    beside = [y + s * F(1, 10**k) for y in dict.fromkeys((*case.ys, *case.ps)) for k in fine for s in (1, -1)]
    own = [*case.ys, *case.ps, *(y for y in beside if 0 < y < 1)]
    grid = TARGETS + (MORE_TARGETS if thorough else ())
    return list(dict.fromkeys([*case.ys, *grid, *own[: 60 if thorough else 18]]))


def predictions(case: Case, y: Fraction, thorough: bool) -> Iterator[Fraction]:
    """p worth a look: beside y at 1e-1 .. 1e-40, the case's own places, the best of a float scan, both ends."""
    for k in THOROUGH if thorough else QUICK:
        for s in (1, -1, 3, -3) if thorough else (1, -1):
            yield y + s * F(1, 10**k)
    for p in case.ps:
        yield p
        for k in (1, 2, 3, 6, 9, 12, 16, 21, 30, 40) if thorough else (3, 9, 21, 40):
            yield p + F(1, 10**k)
            yield p - F(1, 10**k)
    yield from scan(case.tree, y, 4095 if thorough else 511)
    for k in (2, 4, 8, 16, 25) if thorough else (4, 16):
        yield F(1, 10**k)
        yield 1 - F(1, 10**k)
    yield from newton(case.tree, y)


def scan(tree: Node, y: Fraction, n: int) -> list[Fraction]:
    """The lowest points of a float scan, exact; and the lowest away from y."""
    p = (np.arange(n) + 0.5) / n
    found = floats(tree, float(y), p)
    found = np.where(np.isfinite(found), found, np.inf)
    away = np.where(np.abs(p - float(y)) > 2.0 / n, found, np.inf)
    places = {int(np.argmin(found)), int(np.argmin(away)), *np.argsort(away)[:2].tolist()}
    return [F(float(p[i])) for i in places]


def newton(tree: Node, y: Fraction) -> list[Fraction]:
    """A step of Newton's method from y, by differences at 1e-50, rounded to 80 digits: where a disturbed minimum goes."""
    h = F(1, 10**50)
    if not h < y < 1 - h:
        return []
    try:
        low, mid, high = (iv(value(tree, y, y + s * h)) for s in (-1, 0, 1))
        slope, bend = (high - low) / (2 * iv(h)), (high - 2 * mid + low) / (iv(h) * iv(h))
        if bend.a <= 0:
            return []
        step = slope / bend
        size = F(int(step.mid.a * 10**80), 10**80)
    except (Undefined, ZeroDivisionError, ValueError, OverflowError):
        return []
    return [y - size, y - size / 2, y - size / 10] if abs(size) < 1 else []


def minimum(case: Case, thorough: bool) -> Finding | None:
    """A p with loss(y, p) < loss(y, y)."""
    return next(_minimum(case, thorough), None)


def _minimum(case: Case, thorough: bool) -> Iterator[Finding]:
    for y in targets(case, thorough):
        try:
            floor = attained(case.tree, y)
        except Undefined:
            continue
        for p in predictions(case, y, thorough):
            if not 0 < p < 1 or p == y or (y in (0, 1) and abs(p - y) < F(1, 10**20)):
                continue
            found = at_point(case.tree, y, p)
            if found is not None and below(found, floor):
                yield Finding("minimum", {"y": y, "p": p}, gap(found, floor))


def unique(case: Case, thorough: bool) -> Finding | None:
    """A p other than y with loss(y, p) <= loss(y, y): exactly, or equal as far as the enclosures tell."""
    for y in targets(case, thorough):
        try:
            floor = attained(case.tree, y)
        except Undefined:
            continue
        for p in predictions(case, y, thorough):
            found = at_point(case.tree, y, p) if 0 < p < 1 and p != y else None
            if found is not None and abs(p - y) > F(1, 100) and (below(found, floor) or same(found, floor)):
                return Finding("unique", {"y": y, "p": p}, gap(found, floor))
    return None


def same(a: Number, b: Number) -> bool:
    """Equal: exactly, or in all but the last fifth of the bits."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    if below(a, b) or below(b, a) or (isinstance(b, Fraction) and b == 0 and iv(a).a >= 0):
        return False  # the last: an enclosure [0, tiny] of something positive is no zero
    return bool(abs(iv(a) - iv(b)).b < IV.mpf(2) ** -(IV.prec * 4 // 5) * (1 + abs(iv(a)).b))


def convex(case: Case, thorough: bool, *, strict: bool = False) -> Finding | None:
    """A midpoint above the mean of its ends; ``strict``: or exactly at it."""
    rng = random.Random(case.formula)
    ends = [F(1, 1000), F(1, 20), F(1, 4), F(1, 3), HALF, F(3, 4), F(19, 20), F(999, 1000), *case.ps]
    for y in targets(case, thorough)[: 20 if thorough else 10]:
        pairs = [(a, b) for i, a in enumerate(ends[:9]) for b in ends[:i]]
        for c in (*case.ps[:3], y, F(rng.randint(1, 999), 1000)):
            pairs += [
                (c + F(1, 10**k), c - F(1, 10**k))
                for k in ((1, 2, 3, 5, 8, 12, 20) if thorough else (1, 3, 8))
            ]
        for a, b in pairs:
            finding = _midpoint(case.tree, y, a, b, strict)
            if finding is not None:
                return finding
    return None


def _midpoint(tree: Node, y: Fraction, a: Fraction, b: Fraction, strict: bool) -> Finding | None:
    if not (0 < a < 1 and 0 < b < 1) or a == b:
        return None
    middle, left, right = (at_point(tree, y, p) for p in ((a + b) / 2, a, b))
    if middle is None or left is None or right is None:
        return None
    mean = half(left, right)
    if below(mean, middle) or (strict and abs(a - b) > F(1, 100) and same(mean, middle)):
        return Finding(
            "strictly_convex" if strict else "convex", {"y": y, "p1": a, "p2": b}, gap(middle, mean)
        )
    return None


def strictly_convex(case: Case, thorough: bool) -> Finding | None:
    """A chord on the curve, or below it."""
    return convex(case, thorough, strict=True)


def sigmoid(z: Fraction) -> Number:
    return 1 / (1 + IV.exp(-iv(z)))


def convex_logits(case: Case, thorough: bool) -> Finding | None:
    """The same over z, p = sigmoid(z)."""
    ends = (
        [F(z) for z in (-30, -8, -4, -2, -1, 0, 1, 2, 4, 8, 30)]
        if thorough
        else [F(z) for z in (-20, -4, -1, 1, 4, 20)]
    )
    near = [(c + d, c - d) for c in (F(-3), F(-1), F(0), HALF, F(2)) for d in (F(1, 3), F(1, 100))]
    pairs = [(a, b) for i, a in enumerate(ends) for b in ends[:i]] + near
    for y in targets(case, thorough)[: 16 if thorough else 6]:
        for a, b in pairs:
            try:
                middle, left, right = (value(case.tree, y, sigmoid(z)) for z in ((a + b) / 2, a, b))
            except Undefined:
                continue
            mean = (iv(left) + iv(right)) / 2
            if below(mean, middle):
                return Finding("convex_logits", {"y": y, "z1": a, "z2": b}, gap(middle, mean))
    return None


def expected(tree: Node, pi: Fraction, p: Fraction) -> Number | None:
    """pi loss(1, p) + (1 - pi) loss(0, p)."""
    one, zero = at_point(tree, F(1), p), at_point(tree, F(0), p)
    return None if one is None or zero is None else iv(pi) * iv(one) + iv(1 - pi) * iv(zero)


def proper(case: Case, thorough: bool) -> Finding | None:
    """A p whose expected loss under hard labels with chance pi is below that of p = pi."""
    for pi in [y for y in targets(case, thorough) if 0 < y < 1][: 20 if thorough else 8]:
        floor = expected(case.tree, pi, pi)
        if floor is None:
            continue
        grid = [F(k, 40) for k in range(1, 40)] if thorough else [F(k, 10) for k in range(1, 10)]
        for p in (*grid, *(pi + s * F(1, 10**k) for k in (1, 3, 6, 10, 20, 35) for s in (1, -1)), *case.ps):
            found = expected(case.tree, pi, p) if 0 < p < 1 and p != pi else None
            if found is not None and below(found, floor):
                return Finding("proper", {"pi": pi, "p": p}, gap(found, floor))
    return None


def floor(case: Case, formula: str, domain: str, at_target: bool, thorough: bool) -> Finding | None:
    """A p below what is said to be the least loss; ``at_target``: or a loss(y, y) that differs from it by 1e-9."""
    try:
        said = parsed(formula)
    except (SyntaxError, NameError, TypeError):
        return None
    left_out = {F(text) for text in re.findall(r"y != ([\d/]+)", domain)}
    for y in targets(case, thorough):
        if y in left_out:
            continue
        try:
            least = iv(value(said, y, HALF))
            own = iv(attained(case.tree, y)) if at_target else least
        except Undefined:
            continue
        slack = IV.mpf(10) ** -9 * (1 + abs(least))
        if not abs(own - least).a <= slack.b:
            return Finding("floor", {"y": y, "p": y}, gap(own, least))
        for p in predictions(case, y, thorough):
            found = at_point(case.tree, y, p) if 0 < p < 1 and p != y else None
            if found is not None and below(iv(found) + slack, least):
                return Finding("floor", {"y": y, "p": p}, gap(found, least))
    return None


_SEARCH = {
    "minimum": minimum,
    "unique": unique,
    "convex": convex,
    "strictly_convex": strictly_convex,
    "convex_logits": convex_logits,
    "proper": proper,
}


def violation(case: Case, line: str, *, thorough: bool = False) -> Finding | None:
    """A point that contradicts a yes to ``line``, or None if none was found."""
    return _SEARCH[line](case, thorough)


def confirm(case: Case, line: str, witness: Mapping[str, str]) -> str | None:
    """Evaluate a refutation's witness anew: None if it holds, else what is wrong with it."""
    try:
        at = {name: Fraction(text) for name, text in witness.items()}
    except (ValueError, ZeroDivisionError):
        return f"not exact rationals: {dict(witness)}"
    why = ""
    for bits in PRECISIONS:
        try:
            with precision(bits):
                if _holds(case.tree, line, at):
                    return None
        except Undefined as error:
            why = f": {error}"
        except KeyError as error:
            return f"the witness lacks {error}: {show(at)}"
    return f"does not hold at {show(at)}{why}"


def equal(a: Number, b: Number) -> bool:
    """Equality is believed at the last precision alone: a small difference may be a difference."""
    return IV.prec == PRECISIONS[-1] and same(a, b)


def show(at: Mapping[str, Fraction]) -> str:
    return ", ".join(f"{k}={v}" for k, v in at.items())


def _holds(tree: Node, line: str, at: Point) -> bool:
    if line == "proper":
        pi = at["pi"] if "pi" in at else at["y"]
        found, floor = expected(tree, pi, at["p"]), expected(tree, pi, pi)
        return found is not None and floor is not None and 0 < at["p"] < 1 and below(found, floor)
    y = at["y"]
    if not 0 <= y <= 1:
        return False
    if line in ("minimum", "unique"):
        p = at["p"]
        found, floor = value(tree, y, p), attained(tree, y)
        return 0 < p < 1 and p != y and (below(found, floor) or (line == "unique" and equal(found, floor)))
    if "p1" in at:
        return _chord(tree, at, line)
    return bends_down(tree, y, at["p"], logits=line == "convex_logits")


def _chord(tree: Node, at: Point, line: str) -> bool:
    """The curve above the middle of a chord; the middle in logits is where the odds are the geometric mean."""
    a, p, b = at["p1"], at["p"], at["p2"]
    if not (0 < a < 1 and 0 < b < 1) or a == b:
        return False
    odds = [x / (1 - x) for x in (a, p, b)]
    if odds[1] ** 2 != odds[0] * odds[2] if line == "convex_logits" else 2 * p != a + b:
        return False
    left, middle, right = (value(tree, at["y"], x) for x in (a, p, b))
    mean = half(left, right)
    return below(mean, middle) or (line == "strictly_convex" and equal(mean, middle))


def bends_down(tree: Node, y: Fraction, p: Fraction, *, logits: bool) -> bool:
    """A negative second difference over 1e-30 (in the logit of p, if asked): the chord lies below the curve."""
    h = F(1, 10**30)
    if not h < p < 1 - h:
        return False
    if not logits:
        left, mid, right = (iv(value(tree, y, x)) for x in (p - h, p, p + h))
    else:
        odds = iv(p / (1 - p))
        places = [1 / (1 + 1 / (odds * IV.exp(iv(s * h)))) for s in (-1, 0, 1)]
        left, mid, right = (iv(value(tree, y, x)) for x in places)
    return below((left + right) / 2, mid)
