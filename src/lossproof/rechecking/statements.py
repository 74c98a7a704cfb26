"""What a line states, tested against the certificate's own formula: claims may be true and about something else.

Every statement is tried at random exact points. What was proved through derivatives must have claims about the
derivatives of this formula (compared with difference quotients) on both sides of p = y and at the ends.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from flint import arb

from lossproof.rechecking.claims import Said, relation_at, show
from lossproof.rechecking.points import Point, Range, points
from lossproof.rechecking.values import Broken, Formula, Undecided, Value, ball, precision, value

Pair = tuple[Value, Value]
_NEAR = arb("1e-40")


@dataclass(frozen=True)
class Stated:
    """The formula, the domain that a verdict names, and what the line says beside its proof."""

    formula: Formula
    y: Range
    p: Range
    free: Mapping[str, Range]
    details: Mapping[str, Any] = field(default_factory=dict)

    def points(self, count: int = 60, *given: str, far: bool = True) -> Iterator[Point]:
        """Points of the domain."""
        rng = random.Random(repr((self.formula.text, count, given, far)))
        return points({"y": self.y, "p": self.p, **self.free}, given, count, rng, far=far)

    def corners(self) -> Iterator[Point]:
        """Targets at the ends of the domain with predictions close to its ends, and in the middle."""
        if self.p.low is not None and self.p.high is not None:
            for at in self.points(3, far=False):
                for y in self.y.ends:
                    for t in (Fraction(1, 10**9), Fraction(1, 10**3), Fraction(1, 2), 1 - Fraction(1, 10**9)):
                        yield {**at, "y": y, "p": self.p.low + t * (self.p.high - self.p.low)}


def expect(relation: str, sides: Callable[[], Pair], at: Mapping[str, Any], what: str) -> None:
    """Raise ``Broken`` where a relation is false; one without value, or beyond 1024 bits, says nothing."""
    if relation_at(relation, sides) == "false":
        raise Broken(f"the formula contradicts it at {show(at)}: {what}")


# ---- statements at random points


def _losses(s: Stated, y: Fraction, p: Fraction, q: Fraction, at: Point) -> Callable[[], Pair]:
    """The losses of two predictions for one target."""
    return lambda: (s.formula(y, p, at), s.formula(y, q, at))


def minimum(s: Stated) -> None:
    for at in s.points():
        expect(">=", _losses(s, at["y"], at["p"], at["y"], at), at, "loss >= loss(y, y)")


def unique(s: Stated) -> None:
    for at in s.points():
        y, p = at["y"], at["p"]
        if y != p and _finite(s, y, p, at):
            expect(">", _losses(s, y, p, y, at), at, "loss > loss(y, y)")


def finite_inside(s: Stated, y: Fraction) -> bool:
    """Whether the loss of a target is finite at predictions inside the domain."""
    with precision(256):
        try:
            return any(ball(s.formula(y, at["p"], at)).is_finite() for at in s.points(3, far=False))
        except Undecided:
            return False


def _finite(s: Stated, y: Fraction, p: Fraction, at: Point) -> bool:
    with precision(256):
        try:
            return bool(ball(s.formula(y, p, at)).is_finite() and ball(s.formula(y, y, at)).is_finite())
        except Undecided:
            return False


def _between(s: Stated, at: Point, rng: random.Random, logits: bool) -> tuple[Fraction, Fraction, Fraction]:
    """Three predictions, the middle one halfway in p or in the logits."""
    a, b = at["p"], s.p.draw(rng)
    if not logits:
        return a, (a + b) / 2, b
    step = 1 + Fraction(rng.randrange(1, 400), 100)
    odds = a / (1 - a)
    high, far = odds * step, odds * step * step
    return a, high / (1 + high), far / (1 + far)


def _convex(s: Stated, *, logits: bool, strict: bool = False) -> None:
    rng = random.Random(s.formula.text)
    for at in s.points():
        a, middle, b = _between(s, at, rng, logits)
        if a != b and middle in s.p and b in s.p:
            shown = {**at, "p1": a, "p2": b, "p": middle}
            expect(
                ">" if strict else ">=", _chord(s, a, middle, b, at), shown, "the middle lies below the chord"
            )


def _chord(s: Stated, a: Fraction, middle: Fraction, b: Fraction, at: Point) -> Callable[[], Pair]:
    y = at["y"]
    return lambda: (s.formula(y, a, at) + s.formula(y, b, at), 2 * s.formula(y, middle, at))


Law = Sequence[tuple[Fraction, Fraction]]  # probabilities and targets


def expected(s: Stated, law: Law, p: Fraction, at: Point) -> Value:
    """The expected loss of a prediction."""
    terms = [_weight(w) * ball(s.formula(y, p, at)) for w, y in law if w]
    return sum(terms[1:], start=terms[0])


def _law(s: Stated, laws: Iterator[tuple[Law, Fraction, Point]]) -> None:
    """Laws of the target, and the prediction that is to be best for each."""
    for law, best, at in laws:
        shown = {**at, "best": best} | {f"y{i}": y for i, (_, y) in enumerate(law)}
        expect(">=", _expectations(s, law, best, at), shown, "the expected loss is least there")


def _expectations(s: Stated, law: Law, best: Fraction, at: Point) -> Callable[[], Pair]:
    return lambda: (expected(s, law, at["p"], at), expected(s, law, best, at))


def _weight(x: Fraction) -> arb:
    return arb(x.numerator) / x.denominator


def _mean_laws(s: Stated) -> Iterator[tuple[Law, Fraction, Point]]:
    rng = random.Random(7)
    for at in s.points(40):
        w, other = Fraction(rng.randrange(1, 99), 99), s.y.draw(rng, far=False)
        best = w * at["y"] + (1 - w) * other
        if best in s.p:
            yield [(w, at["y"]), (1 - w, other)], best, at


def _level_laws(s: Stated, level: Fraction) -> Iterator[tuple[Law, Fraction, Point]]:
    rng = random.Random(8)
    for at in s.points(40):
        a, b, c = sorted((at["y"], s.y.draw(rng, far=False), s.y.draw(rng, far=False)))
        if b in s.p:  # P(Y < b) <= level <= P(Y <= b)
            below = level * Fraction(rng.randrange(1, 99), 99)
            above = (1 - level) * Fraction(rng.randrange(1, 99), 99)
            yield [(below, a), (1 - below - above, b), (above, c)], b, at


def _proper_laws(s: Stated) -> Iterator[tuple[Law, Fraction, Point]]:
    for at in s.points(40):
        pi = at["y"]
        if pi in s.p:
            yield [(pi, Fraction(1)), (1 - pi, Fraction(0))], pi, at


def mean(s: Stated) -> None:
    _law(s, _mean_laws(s))


def median(s: Stated) -> None:
    _law(s, _level_laws(s, Fraction(1, 2)))


def proper(s: Stated) -> None:
    _law(s, _proper_laws(s))


def consistency(s: Stated) -> None:
    match s.details.get("functional"):
        case "mean":
            mean(s)
        case "median":
            median(s)
        case "quantile":
            try:
                level = Fraction(str(s.details.get("level")))
            except ValueError:
                return  # a formula in the free parameters
            _law(s, _level_laws(s, level))


def floor(s: Stated) -> None:
    text = s.details.get("formula")
    for at in s.points(40) if isinstance(text, str) else ():
        if at["y"] in s.p:
            expect("=", _floors(s, str(text), at), at, f"loss(y, y) = {text}")


def _floors(s: Stated, text: str, at: Point) -> Callable[[], Pair]:
    where = s.details.get("where")  # the minimiser, where that is not y itself
    with precision(1024):
        best = at["y"] if where is None else _rational(ball(_detail(s, str(where), at)))
    if best is None or best not in s.p:
        raise Broken(f"no least loss at p = {where} for {show(at)}")
    return lambda: (s.formula(at["y"], best, at), _detail(s, text, at))


def _detail(s: Stated, text: str, at: Point) -> Value:
    return value(text, {**s.formula.values, **at})


def minimiser(s: Stated) -> None:
    text = s.details.get("formula")
    for at in s.points(40) if isinstance(text, str) else ():
        with precision(1024):
            middle = _rational(ball(_detail(s, str(text), at)))
        if middle is not None and middle in s.p and abs(at["p"] - middle) > Fraction(1, 2**60):
            expect(">=", _losses(s, at["y"], at["p"], middle, at), at, f"the least is at p = {text}")
    for entry in s.details.get("points") or ():
        y, low, high = (Fraction(str(x)) for x in entry)
        middle, width = (low + high) / 2, max(high - low, Fraction(1, 2**50))
        for at in s.points(20):
            for p in (at["p"], low - width, high + width):
                if p in s.p and not low - width < p < high + width:
                    shown = {**at, "y": y, "p": p}
                    expect(">=", _losses(s, y, p, middle, at), shown, f"the least lies in {entry[1:]}")


def _rational(x: arb) -> Fraction | None:
    if not x.is_finite():
        return None
    man, exp = x.mid().man_exp()
    return Fraction(int(man)) * Fraction(2) ** int(exp)


def _lipschitz(s: Stated, *, logits: bool) -> None:
    bound = s.details.get("bound")
    if not isinstance(bound, list):
        return
    most = Fraction(str(bound[1])) * (1 + Fraction(1, 10**12))
    for at in (*s.points(60, far=False), *s.corners()):
        with precision(1024):
            try:
                size = abs(s.formula.slope(at["y"], at["p"], at))
            except Undecided:
                continue
            if logits:
                size *= _weight(at["p"] * (1 - at["p"]))
            if size > _weight(most):
                raise Broken(f"the formula contradicts it at {show(at)}: slope at most {bound[1]}")


def curvature(s: Stated) -> None:
    text = s.details.get("formula")
    if isinstance(text, str):
        for at in s.points(20, far=False):
            with precision(1200):
                found, said = s.formula.bend(at["y"], at["y"], at), ball(_detail(s, text, at))
                if found.is_finite() and said.is_finite() and abs(found - said) > _NEAR * (1 + abs(said)):
                    raise Broken(f"the formula contradicts it at {show(at)}: d2l/dp2 at p = y is {text}")


def strongly_convex(s: Stated) -> None:
    _convex(s, logits=False, strict=True)


STATEMENTS: dict[str, Callable[[Stated], None]] = {
    "minimum": minimum, "unique": unique, "mean": mean, "median": median, "proper": proper,
    "consistency": consistency, "floor": floor, "minimiser": minimiser, "curvature": curvature,
    "convex": lambda s: _convex(s, logits=False), "strictly_convex": lambda s: _convex(s, logits=False, strict=True),
    "convex_logits": lambda s: _convex(s, logits=True), "strongly_convex": strongly_convex,
    "lipschitz": lambda s: _lipschitz(s, logits=False), "lipschitz_logits": lambda s: _lipschitz(s, logits=True),
}  # fmt: skip


# ---- which derivative a formula string is


def _slope(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return s.formula.slope(y, p, at)


def _bend(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return s.formula.bend(y, p, at)


def _bend_logits(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return _weight(p * (1 - p)) * _bend(s, y, p, at) + _weight(1 - 2 * p) * _slope(s, y, p, at)


def _excess(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb:
    return ball(s.formula(y, p, at) - s.formula(y, y, at))


Kind = Callable[[Stated, Fraction, Fraction, Point], arb]
KINDS: dict[str, Kind] = {"slope": _slope, "bend": _bend, "bend in logits": _bend_logits, "excess": _excess}
_FACTORS: tuple[Callable[[Fraction], Fraction], ...] = (
    lambda p: Fraction(1), lambda p: p * (1 - p), lambda p: p, lambda p: 1 - p,
)  # fmt: skip


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
                if abs(said - wanted * _weight(f(at["p"]))) < _NEAR * (1 + abs(wanted))
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
        if end is None or end not in s.y.ends:
            continue
        if re.search(rf"\by != {re.escape(str(end))}(?![\w./])", domain):
            if finite_inside(s, end):
                raise Broken(f"y = {end} is left out though the loss is finite there")
        elif not any(
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
        return bool(abs(said - wanted) < _NEAR * (1 + abs(wanted)))


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
            if not abs(slope) < _NEAR:
                return False
    return any(c.relation == "=" and c.right.strip() == "0" and "p" not in c.ranges for c in claims)
