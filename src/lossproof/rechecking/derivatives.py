"""Which derivative of a certificate's formula a formula string is, and whether claims show its sign where it is needed."""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

from flint import arb

from lossproof.rechecking.claims import Said
from lossproof.rechecking.points import Point
from lossproof.rechecking.statements import NEAR, ROUNDED, Stated, finite_inside, weight
from lossproof.rechecking.values import Broken, Undecided, ball, precision, value


def _slope(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return s.formula.slope(y, p, at)


def _bend(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return s.formula.bend(y, p, at)


def _bend_logits(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return weight(p * (1 - p)) * _bend(s, y, p, at) + weight(1 - 2 * p) * _slope(s, y, p, at)


def _excess(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return ball(s.formula(y, p, at) - s.formula(y, y, at))


Kind = Callable[[Stated, Fraction, Fraction, Point], arb]
KINDS: dict[str, Kind] = {"slope": _slope, "bend": _bend, "bend in logits": _bend_logits, "excess": _excess}
_FACTORS: tuple[Callable[[Fraction], Fraction], ...] = (
    lambda p: Fraction(1), lambda p: p * (1 - p), lambda p: p, lambda p: 1 - p,
)  # fmt: skip


def is_bend_above(s: Stated, text: str, modulus: Fraction, ats: Sequence[Point]) -> bool:
    """Whether a formula string is d2l/dp2 minus the modulus, or less than that, at all points."""
    for at in ats:
        with precision(1200):
            try:
                gap = _bend(s, at["y"], at["p"], at) - ball(value(text, {**s.formula.values, **at}))
            except (Undecided, Broken, KeyError):
                return False
            if gap.is_finite() and gap < weight(modulus * (1 - ROUNDED)):
                return False
    return bool(ats)


def is_kind(s: Stated, text: str, kind: str, ats: Sequence[Point], end: Fraction | None = None) -> bool:
    """Whether a formula string is this derivative of the formula, or it times p, 1 - p or both, at all points."""
    left = list(_FACTORS)
    compared = 0
    for at in ats:
        y = at["y"] if end is None else end
        with precision(1200):
            try:
                wanted, said = KINDS[kind](s, y, at["p"], at), ball(value(text, {**s.formula.values, **at}))
            except (Undecided, Broken, KeyError):
                return False
            if not wanted.is_finite() or not said.is_finite():
                continue
            compared += 1
            left = [
                f for f in left
                if abs(said - wanted * weight(f(at["p"]))) < NEAR * (1 + abs(wanted))
            ]  # fmt: skip
        if not left:
            return False
    return compared > 0


def need_derivative(s: Stated, claims: Sequence[Said], domain: str, key: str) -> None:
    """Raise ``Broken`` unless the claims show the sign of the derivative wherever the line needs it."""
    for side, given in ((">", {"p > y", "y < p"}), ("<", {"p < y", "y > p"})):
        if not any(
            _shows(s, c, key, side, given, None) or _above(s, c, key, side, given, None) for c in claims
        ):
            if key in ("minimum", "unique") and _stationary(s, claims) and any(
                _shows(s, c, "strictly_convex", side, given, None) for c in claims
            ):  # fmt: skip
                continue
            raise Broken(f"no claim about the {_WANTED[key][0]} of this formula for p {side} y")
    for end, side in ((s.y.low, ">"), (s.y.high, "<")):
        if end is None:
            continue
        if re.search(rf"\by != {re.escape(str(end))}(?![\w./])", domain):
            if finite_inside(s, end):
                raise Broken(f"y = {end} is left out though the loss is finite there")
        elif end in s.y.ends and not any(
            _shows(s, c, key, side, set(), end) or _above(s, c, key, side, set(), end) for c in claims
        ):
            raise Broken(f"no claim about the {_WANTED[key][0]} of this formula at y = {end}")


#: key -> kind of derivative, and the relations to 0 that say it for p > y and for p < y
_WANTED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "minimum": ("slope", (">", ">="), ("<", "<=")),
    "unique": ("slope", (">",), ("<",)),
    "convex": ("bend", (">", ">="), (">", ">=")),
    "strictly_convex": ("bend", (">",), (">",)),
    "convex_logits": ("bend in logits", (">", ">="), (">", ">=")),
}


def _shows(s: Stated, said: Said, key: str, side: str, given: set[str], end: Fraction | None) -> bool:
    kind, above, below = _WANTED[key]
    wanted = above if side == ">" else below
    if said.relation not in wanted or said.right.strip() != "0" or not set(said.given) <= given:
        return False
    ranges = said.ranges
    if "p" not in ranges or ("y" in ranges) != (end is None):
        return False
    if not all(n in ranges and ranges[n].covers(r) for n, r in {"p": s.p, **s.free}.items()):
        return False
    if end is None and not ranges["y"].covers(s.y):
        return False
    ats = list(s.points(6, f"p {side} y", far=False))
    return is_kind(s, said.left, kind, ats, end)


def _above(s: Stated, said: Said, key: str, side: str, given: set[str], end: Fraction | None) -> bool:
    """Whether a claim says that this formula's loss(y, p) - loss(y, y), a limit at an end, is positive on a side."""
    ranges = said.ranges
    if key not in ("minimum", "unique") or said.right.strip() != "0" or not set(said.given) <= given:
        return False
    if said.relation != ">" and (key == "unique" or said.relation != ">="):
        return False
    if "p" not in ranges or not ranges["p"].covers(s.p) or ("y" in ranges) != (end is None):
        return False
    if end is None and not ranges["y"].covers(s.y):
        return False
    ats = list(s.points(8, f"p {side} y", far=False))
    if end is None:
        return is_kind(s, said.left, "excess", ats)
    return all(_same_step(s, said.left, end, a, b) for a, b in pairwise(ats)) and _falls_to_zero(
        s, said.left, end, ats[0]
    )


def _same_step(s: Stated, text: str, y: Fraction, a: Point, b: Point) -> bool:
    """Whether a formula string changes from one prediction to another as the loss does."""
    with precision(1200):
        try:
            said = ball(value(text, {**s.formula.values, **a})) - ball(value(text, {**s.formula.values, **b}))
            wanted = ball(s.formula(y, a["p"], a) - s.formula(y, b["p"], b))
        except (Undecided, Broken, KeyError):
            return False
        return bool(abs(said - wanted) < NEAR * (1 + abs(wanted)))


def _falls_to_zero(s: Stated, text: str, end: Fraction, at: Point) -> bool:
    """Whether a formula string tends to 0 as p tends to the end: ever smaller at p = end -+ 2**-k."""
    sizes = []
    for k in (60, 240, 960):
        p = end + (1 if end == s.p.low else -1) * Fraction(1, 2**k)
        with precision(4096):
            try:
                sizes.append(abs(ball(value(text, {**s.formula.values, **at, "p": p}))))
            except (Undecided, Broken, KeyError):
                return False
    return all(b.is_finite() and (b < a or b == 0 or b < arb(2) ** -60) for a, b in pairwise(sizes))


def _stationary(s: Stated, claims: Sequence[Said]) -> bool:
    """Whether a claim says that the derivative at p = y is 0, and it is."""
    for at in s.points(6, far=False):
        with precision(1200):
            try:
                slope = s.formula.slope(at["y"], at["y"], at)
            except Undecided:
                return False
            if not abs(slope) < NEAR:
                return False
    return any(c.relation == "=" and c.right.strip() == "0" and "p" not in c.ranges for c in claims)
