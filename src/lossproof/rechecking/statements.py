"""What a line states, tested against the certificate's own formula: claims may be true and about something else.

Every statement is tried at random exact points. What was proved through derivatives must have claims about the
derivatives of this formula (compared with difference quotients) on both sides of p = y and at the ends.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from flint import arb

from lossproof.rechecking.claims import relation_at, show
from lossproof.rechecking.points import Point, Range, points
from lossproof.rechecking.switches import special
from lossproof.rechecking.values import Broken, Formula, Undecided, Value, ball, precision, value

Pair = tuple[Value, Value]
NEAR = arb("1e-40")


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

    def tried(self, count: int = 60, *, far: bool = True) -> Iterator[Point]:
        """Points of the domain, and those where the formula may change its branch."""
        yield from self.points(count, far=far)
        yield from self.special()

    def special(self) -> Iterator[Point]:
        """Targets and predictions at and beside the places where the formula may change its branch."""
        f = self.formula
        for at in self.points(1, far=False):
            yield from special(f.text, f.values, self.y, self.p, at, decimal=f.decimal)

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
    for at in s.tried():
        expect(">=", _losses(s, at["y"], at["p"], at["y"], at), at, "loss >= loss(y, y)")


def unique(s: Stated) -> None:
    for at in s.tried():
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


def _triples(s: Stated, *, logits: bool) -> Iterator[tuple[Point, tuple[Fraction, Fraction, Fraction]]]:
    """Points, and three predictions for each: at random, and around and beside places of the formula."""
    rng = random.Random(s.formula.text)
    for at in s.points():
        yield at, _between(s, at, rng, logits)
    for at in s.special():
        p = at["p"]
        if logits:
            odds, step = p / (1 - p), Fraction(rng.randrange(101, 300), 100)
            for o in (odds / step, odds, odds * step):
                yield at, (o / step / (1 + o / step), o / (1 + o), o * step / (1 + o * step))
        else:
            for step in (Fraction(1, 10**9), Fraction(1, 10 ** rng.randrange(1, 6))):
                for middle in (p - step, p, p + step):
                    yield at, (middle - step, middle, middle + step)


def _convex(s: Stated, *, logits: bool, strict: bool = False) -> None:
    for at, (a, middle, b) in _triples(s, logits=logits):
        if a != b and all(x in s.p for x in (a, middle, b)):
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
    terms = [weight(w) * ball(s.formula(y, p, at)) for w, y in law if w]
    return sum(terms[1:], start=terms[0])


def _law(s: Stated, laws: Iterator[tuple[Law, Fraction, Point]]) -> None:
    """Laws of the target, and the prediction that is to be best for each."""
    for law, best, at in laws:
        shown = {**at, "best": best} | {f"y{i}": y for i, (_, y) in enumerate(law)}
        expect(">=", _expectations(s, law, best, at), shown, "the expected loss is least there")


def _expectations(s: Stated, law: Law, best: Fraction, at: Point) -> Callable[[], Pair]:
    return lambda: (expected(s, law, at["p"], at), expected(s, law, best, at))


def weight(x: Fraction) -> arb:
    return arb(x.numerator) / x.denominator


def _mean_laws(s: Stated) -> Iterator[tuple[Law, Fraction, Point]]:
    rng = random.Random(7)
    for at in s.tried(40):
        w, other = Fraction(rng.randrange(1, 99), 99), s.y.draw(rng, far=False)
        best = w * at["y"] + (1 - w) * other
        if best in s.p:
            yield [(w, at["y"]), (1 - w, other)], best, at


def _level_laws(s: Stated, level: Fraction) -> Iterator[tuple[Law, Fraction, Point]]:
    rng = random.Random(8)
    for at in s.tried(40):
        a, b, c = sorted((at["y"], s.y.draw(rng, far=False), s.y.draw(rng, far=False)))
        if b in s.p:  # P(Y < b) <= level <= P(Y <= b)
            below = level * Fraction(rng.randrange(1, 99), 99)
            above = (1 - level) * Fraction(rng.randrange(1, 99), 99)
            yield [(below, a), (1 - below - above, b), (above, c)], b, at


def _proper_laws(s: Stated) -> Iterator[tuple[Law, Fraction, Point]]:
    for at in s.tried(40):
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
    """A floor that is shown has a formula: it is taken at p = y, or at the minimiser, and no loss lies below it."""
    text = s.details.get("formula")
    if not isinstance(text, str):
        raise Broken("shown without a formula for the floor")
    for at in s.tried(40):
        if at["y"] in s.p:
            _least(s, text, at)
        if at["y"] not in s.y.ends:  # there the formula may be a limit
            expect(">=", _above_floor(s, text, at), at, f"loss >= {text}")
    if s.details.get("where") is None:
        _floor_at_ends(s, text)


def _floor_at_ends(s: Stated, text: str) -> None:
    """At an end of the targets p = y may be a limit: along it the loss comes to what the formula comes to."""
    for at in s.points(1, far=False):
        for end in (e for e in s.y.ends if e not in s.p and e in (s.p.low, s.p.high)):
            side = 1 if end == s.p.low else -1
            gaps = [_gap(s, text, end, end + side * Fraction(1, 2**k), at) for k in (16, 256, 4096)]
            known = [g for g in gaps if g is not None]
            if known and not (known[-1] < arb("0.01") and known[-1] <= known[0]):
                raise Broken(f"the least loss at y = {end} is another one than {text}")


def _gap(s: Stated, text: str, end: Fraction, near: Fraction, at: Point) -> arb | None:
    """How far the loss of the end as a target is from the formula: at the end, or where it has no value, beside it."""
    with precision(10_000):
        for y in (end, near):
            try:
                gap = abs(ball(s.formula(end, near, at)) - ball(_detail(s, text, {**at, "y": y})))
            except Undecided:
                continue
            if gap.is_finite():
                return gap.mid()
    return None


def _above_floor(s: Stated, text: str, at: Point) -> Callable[[], Pair]:
    return lambda: (s.formula(at["y"], at["p"], at), _detail(s, text, at))


def _least(s: Stated, text: str, at: Point) -> None:
    """The loss at p = y, or at the minimiser that is named, is the floor."""
    where = s.details.get("where")
    if where is None:
        expect(
            "=", lambda: (s.formula(at["y"], at["y"], at), _detail(s, text, at)), at, f"loss(y, y) = {text}"
        )
        return
    with precision(1024):
        best = rational(ball(_detail(s, str(where), at)))
        if best is None or best not in s.p:
            raise Broken(f"no least loss at p = {where} for {show(at)}")
        try:  # the minimiser to 1024 bits
            found, said = ball(s.formula(at["y"], best, at)), ball(_detail(s, text, at))
        except Undecided:
            return
    if found.is_finite() and said.is_finite() and abs(found - said) > NEAR * (1 + abs(said)):
        raise Broken(f"the formula contradicts it at {show(at)}: loss at p = {where} is {text}")


def _detail(s: Stated, text: str, at: Point) -> Value:
    return value(text, {**s.formula.values, **at})


def minimiser(s: Stated) -> None:
    text = s.details.get("formula")
    for at in s.points(40) if isinstance(text, str) else ():
        with precision(1024):
            middle = rational(ball(_detail(s, str(text), at)))
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


def rational(x: arb) -> Fraction | None:
    if not x.is_finite():
        return None
    man, exp = x.mid().man_exp()
    return Fraction(int(man)) * Fraction(2) ** int(exp)


def _lipschitz(s: Stated, *, logits: bool) -> None:
    bound = s.details.get("bound")
    if not isinstance(bound, list):
        return
    most = Fraction(str(bound[1])) * (1 + Fraction(1, 10**12))
    for at in (*s.points(60, far=False), *s.corners(), *s.special()):
        with precision(1024):
            try:
                size = abs(s.formula.slope(at["y"], at["p"], at))
            except Undecided:
                continue
            if logits:
                size *= weight(at["p"] * (1 - at["p"]))
            if size > weight(most):
                raise Broken(f"the formula contradicts it at {show(at)}: slope at most {bound[1]}")
    step = Fraction(1, 10**30)  # a jump: no slope, but a quotient that grows without end
    for at in s.special():
        p = at["p"]
        for q in (p - step, p + step):
            scale = min(p * (1 - p), q * (1 - q)) * (1 - Fraction(1, 10**9)) if logits else Fraction(1)
            if q in s.p:
                told = f"loss changes by at most {bound[1]} |p - q|"
                expect("<=", _change(s, p, q, scale, most * step, at), at, told)


def _change(
    s: Stated, p: Fraction, q: Fraction, scale: Fraction, most: Fraction, at: Point
) -> Callable[[], Pair]:
    y = at["y"]
    return lambda: (abs(ball(s.formula(y, p, at) - s.formula(y, q, at))) * weight(scale), weight(most))


def curvature(s: Stated) -> None:
    text = s.details.get("formula")
    if isinstance(text, str):
        for at in s.tried(20, far=False):
            if at["y"] not in s.p or at["y"] in (s.p.low, s.p.high):
                continue
            with precision(1200):
                found, said = s.formula.bend(at["y"], at["y"], at), ball(_detail(s, text, at))
                if found.is_finite() and said.is_finite() and abs(found - said) > NEAR * (1 + abs(said)):
                    raise Broken(f"the formula contradicts it at {show(at)}: d2l/dp2 at p = y is {text}")


def strongly_convex(s: Stated) -> None:
    """The second derivative is at least the modulus, which is positive: at random points, at corners, by chords."""
    modulus = s.details.get("modulus")
    if not isinstance(modulus, str) or not Fraction(modulus) > 0:
        raise Broken(f"expected a modulus above 0, got {modulus!r}")
    least = Fraction(modulus) * (1 - ROUNDED)
    for at in (*s.points(60, far=False), *s.corners(), *s.special()):
        with precision(2048):
            try:
                found = s.formula.bend(at["y"], at["p"], at)
            except Undecided:
                continue
            if found < weight(least):
                raise Broken(f"the formula contradicts it at {show(at)}: d2l/dp2 >= {modulus}")
    _convex(s, logits=False, strict=True)


#: a modulus is written with 6 digits
ROUNDED = Fraction(1, 10**5)


STATEMENTS: dict[str, Callable[[Stated], None]] = {
    "minimum": minimum, "unique": unique, "mean": mean, "median": median, "proper": proper,
    "consistency": consistency, "floor": floor, "minimiser": minimiser, "curvature": curvature,
    "convex": lambda s: _convex(s, logits=False), "strictly_convex": lambda s: _convex(s, logits=False, strict=True),
    "convex_logits": lambda s: _convex(s, logits=True), "strongly_convex": strongly_convex,
    "lipschitz": lambda s: _lipschitz(s, logits=False), "lipschitz_logits": lambda s: _lipschitz(s, logits=True),
}  # fmt: skip
