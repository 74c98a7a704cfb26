"""The figures of a line, held against the formula: limits at the wrong end, jumps at p = y, bounds, extremes of a floor.

All by difference quotients with steps far smaller than the distance to the place in question.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from flint import arb

from lossproof.rechecking.claims import show
from lossproof.rechecking.points import Point
from lossproof.rechecking.statements import Stated
from lossproof.rechecking.values import Broken, Undecided, ball, precision, value

_FINE = arb(2) ** -100
_AT = (40, 80, 160)  # distances 2**-k from an end


def weight(x: Fraction) -> arb:
    """A rational as a ball."""
    return arb(x.numerator) / x.denominator


def near(s: Stated, k: int, *, low: bool) -> Fraction | None:
    """The prediction at distance 2**-k from an end; None for an infinite one."""
    end = s.p.low if low else s.p.high
    return None if end is None else end + Fraction(1 if low else -1, 2**k)


def slope(s: Stated, y: Fraction, p: Fraction, at: Point, bits: int = 0) -> arb | None:
    """dl/dp at a prediction at least 2**-bits away from the ends of the domain; None without a value."""
    step = bits + 100
    with precision(6 * step + 400):
        try:
            found = s.formula.slope(y, p, at, step=step)
        except Undecided:
            return None
        return found if found.is_finite() else None


# ---- what reaches the logits

_WRONG = (("y = 1", Fraction(1), True), ("y = 0", Fraction(0), False))
_WAYS = {True: ("z -> -oo", "p -> 0+"), False: ("z -> oo", "p -> 1-")}


def saturation(s: Stated) -> None:
    """Kinds and limits of dl/dz (sigmoid, tanh) and of dl/dp (identity) at the wrong end."""
    if s.p.low != 0 or s.p.high != 1:
        raise Broken(f"expected predictions in (0, 1), got {s.p.low} to {s.p.high}")
    for link, factor in (("sigmoid", 1), ("tanh", 2), ("identity", 0), ("clamp", None)):
        said = dict(s.details[link])
        for target, y, low in _WRONG:
            key = f"{target}, {_WAYS[low][factor == 0]}"
            entry = said.pop(key, None)
            if factor is None:
                if entry is not None and (entry["kind"], entry["limit"]) != ("plateau", "0"):
                    raise Broken(f"clamp, {key}: outside the clamp the gradient is 0, got {entry}")
                continue
            if y not in s.y:
                continue
            if entry is None:
                if slope(s, y, Fraction(1, 2), next(iter(s.points(1)))) is not None:
                    raise Broken(f"no limit for {link}, {key}, where the loss is finite")
                continue
            if entry["limit"] is None and factor == 0:
                continue  # of dl/dp nothing is said; the line is about dl/dz
            for at in s.points(3 if s.free else 1, far=False):
                _wrong_end(s, f"{link}, {key}", entry, factor, y, low, at)
        if said:
            raise Broken(f"expected limits at the wrong ends, got {', '.join(said)}")
    if s.details.get("canonical") is not None:
        _canonical(s, str(s.details["canonical"]))


def approaches(first: arb, last: arb, limit: arb) -> bool:
    """Whether the last of some values towards an end is the limit, or clearly nearer to it than the first."""
    a, b = abs(first - limit), abs(last - limit)
    return bool(b < arb(2) ** -60 * (1 + abs(limit)) or b * 10 < a * 6)


def _wrong_end(
    s: Stated, what: str, entry: Mapping[str, Any], factor: int, y: Fraction, low: bool, at: Point
) -> None:
    kind, text = entry["kind"], entry["limit"]
    wanted = "explodes" if text in ("oo", "-oo") else "plateau" if text == "0" else "alive"
    if kind != wanted:
        raise Broken(f"{what}: {kind!r} with the limit {text}")
    seen: list[arb] = []
    for k in _AT:
        p = near(s, k, low=low)
        found = None if p is None else slope(s, y, p, at, k)
        if p is None or found is None:
            raise Broken(f"{what}: no slope of the formula at distance 2**-{k}")
        with precision(2048):
            seen.append(found * weight(factor * p * (1 - p)) if factor else found)
    first, _, last = seen
    with precision(2048):
        if kind == "explodes":
            good = abs(last) > abs(first) * arb("1.5") and (last > 0) == (text == "oo")
        else:
            limit = ball(value(text, {**s.formula.values, **at, "y": y}))
            good = approaches(first, last, limit)
            good = good and (kind == "plateau" or not abs(limit) < _FINE)
    if not good:
        shown = ", ".join(x.str(6, radius=False) for x in seen)
        raise Broken(f"{what}: the formula gives {shown} at 2**-{_AT} from the end, not {kind} with {text}")


def _canonical(s: Stated, text: str) -> None:
    for at in s.points(20, far=False):
        found = slope(s, at["y"], at["p"], at)
        with precision(2048):
            if found is None:
                continue
            gap = found * weight(at["p"] * (1 - at["p"])) - ball(value(text, {**s.formula.values, **at})) * (
                weight(at["p"] - at["y"])
            )
            if not abs(gap) < arb("1e-30"):
                raise Broken(f"the formula contradicts it at {show(at)}: dl/dz = {text}*(p - y)")


# ---- kinks


def _second(s: Stated, y: Fraction, at: Point, k: int, side: int) -> arb:
    h = Fraction(side, 2**k)
    return ball(s.formula(y, y + 2 * h, at) - 2 * s.formula(y, y + h, at) + s.formula(y, y, at)) * 4**k


def jump(s: Stated, y: Fraction, at: Point) -> str | None:
    """What is not continuous at p = y: the slope or the second derivative, by one-sided quotients; None if nothing is."""
    with precision(4096):
        try:
            h = Fraction(1, 2**400)
            up, middle, down = (ball(s.formula(y, y + d, at)) for d in (h, Fraction(0), -h))
            kink = (up - 2 * middle + down) * arb(2) ** 400
            sides = {side: [_second(s, y, at, k, side) for k in (100, 200, 400)] for side in (1, -1)}
        except Undecided:
            return None
        if not kink.is_finite() or not all(x.is_finite() for xs in sides.values() for x in xs):
            return None
        if abs(kink) > _FINE:
            return f"the slope jumps by {kink.str(6, radius=False)}"
        if any(abs(b) > 1 and abs(b) > abs(a) * arb("1.5") for a, _, b in sides.values()):
            return "the second derivative grows without end"
        first, last = (abs(sides[1][i] - sides[-1][i]) for i in (0, 2))
        if last > _FINE and last > first * arb("0.9"):
            return f"the second derivative jumps by {last.str(6, radius=False)}"
    return None


def twice_differentiable(s: Stated) -> None:
    """No jump of slope or second derivative at p = y."""
    for at in s.points(20, far=False):
        if at["y"] in s.p and at["y"] not in (s.p.low, s.p.high):
            found = jump(s, at["y"], at)
            if found is not None:
                raise Broken(f"the formula contradicts it at y = {at['y']}: {found} at p = y")


def least_bend(s: Stated, y: Fraction, p: Fraction, at: Point) -> arb | None:
    """The smaller of the two one-sided second derivatives at a prediction."""
    with precision(2048):
        try:
            found = []
            for side in (1, -1):
                h = Fraction(side, 2**200)
                f0, f1, f2 = (ball(s.formula(y, p + i * h, at)) for i in range(3))
                found.append((f2 - 2 * f1 + f0) * arb(2) ** 400)
        except Undecided:
            return None
        finite = [x for x in found if x.is_finite()]
        return min(finite, key=lambda x: float(x.mid())) if finite else None


def curvature(s: Stated) -> None:
    """A curvature that was shown has a formula."""
    if not isinstance(s.details.get("formula"), str):
        raise Broken("shown without a formula for d2l/dp2 at p = y")


# ---- bounds of a slope


def sizes(s: Stated, *, logits: bool) -> float:
    """The largest |slope| that a search on a grid finds, with three refinements around the best place."""
    low, high = s.p.low, s.p.high
    if low is None or high is None:
        return 0.0
    at = next(iter(s.points(1, far=False)))
    wide = high - low

    def size(y: Fraction, t: Fraction) -> float:
        p = low + t * wide
        with precision(512):
            try:
                found = s.formula.slope(y, p, at, step=100)
            except Undecided:
                return 0.0
            return (
                float(abs(found).mid()) * (float(p * (1 - p)) if logits else 1.0)
                if found.is_finite()
                else 0.0
            )

    ys = _targets(s)
    grid = [Fraction(2 * i + 1, 128) for i in range(64)]
    grid += [x for k in (12, 24, 45) for x in (Fraction(1, 2**k), 1 - Fraction(1, 2**k))]
    best, y, t = max((size(y, t), y, t) for y in ys for t in grid)
    step = Fraction(1, 64)
    for _ in range(3):
        around = [x for i in range(-8, 9) if 0 < (x := t + i * step / 8) < 1 and step < 1]
        best, y, t = max((best, y, t), *((size(y, x), y, x) for x in around))
        step /= 8
    return best


def _targets(s: Stated) -> list[Fraction]:
    if s.y.low is None or s.y.high is None:
        return [at["y"] for at in s.points(6, far=False)]
    wide = s.y.high - s.y.low
    return [y for i in range(9) if (y := s.y.low + wide * Fraction(i, 8)) in s.y]


#: how near the search comes to the largest slope, as a share of it
_REACHED = 1e-2


def held(s: Stated, bound: list[Any], *, logits: bool) -> float:
    """The largest |slope| that is found, which must lie between two bounds of it."""
    low, high = (float(x) for x in bound)
    most = sizes(s, logits=logits)
    if most > high * (1 + 1e-9) + 1e-300:
        raise Broken(f"the formula contradicts it: slope at most {high}, but {most:.9g} is reached")
    if not s.free and None not in (s.p.low, s.p.high) and most < low * (1 - 1e-3):
        raise Broken(f"the formula contradicts it: {low} is said to be reached, {most:.6g} is")
    return most


def _bounds(s: Stated, *, logits: bool) -> None:
    bound = s.details.get("bound")
    if not isinstance(bound, list) or len(bound) != 2:
        raise Broken(f"a bound is shown, but the details say {bound!r}")
    low, high = (float(x) for x in bound)
    if not (0 <= low <= high < math.inf):
        raise Broken(f"expected a bound [low, high] with 0 <= low <= high, got {bound}")
    most = held(s, bound, logits=logits)
    exact = s.details.get("exact")
    if exact is not None and not s.free:
        with precision(256):
            found = float(ball(value(str(exact), s.formula.values)).mid())
        slack = 1e-9 * (1 + abs(high))
        if not low - slack <= found <= high + slack:
            raise Broken(f"exact is {exact}, outside the bound {bound}")
        if most < max(found, high) * (1 - _REACHED):
            raise Broken(
                f"no smaller bound than {exact} in {bound} is said to hold, but {most:.6g} is the largest"
            )


# ---- extremes of the floor


def floor(s: Stated) -> None:
    """The least and largest floor: none of the sampled ones lies beyond, and they are reached where it says so."""
    text = s.details.get("formula")
    if not isinstance(text, str):
        return
    for key, way in (("minimum", 1), ("maximum", -1)):
        entry = s.details.get(key)
        said = entry.get("value") if isinstance(entry, Mapping) else None
        if said is None or said in ("oo", "-oo"):
            if said is not None and s.details.get("finite") is True:
                raise Broken(f"the floor is said to be finite, and its {key} {said}")
            continue
        for at in s.points(40, far=False):
            with precision(512):
                low, high = _ends(s, said, at)
                found = _floor(s, text, at)
                slack = arb("1e-12") * (1 + abs(low) + abs(high))
                if found is not None and (found < low - slack if way > 0 else found > high + slack):
                    raise Broken(f"the formula contradicts it at {show(at)}: the floor's {key} is {said}")
        _reached(s, text, key, said, (entry or {}).get("at") or ())


def _reached(s: Stated, text: str, key: str, said: Any, places: Any) -> None:
    for at in s.points(1, far=False):
        for beside in _places(places, s):
            with precision(512):
                low, high = _ends(s, said, at)
                slack = arb("1e-6") * (1 + abs(low) + abs(high))
                found = [f for y in beside if (f := _floor(s, text, {**at, "y": y})) is not None]
                if found and all(f < low - slack or f > high + slack for f in found):
                    raise Broken(
                        f"the formula contradicts it: the floor's {key} {said} is not taken at y = {beside[0]}"
                    )


def _places(places: Any, s: Stated) -> Iterator[tuple[Fraction, ...]]:
    """Targets that are named; an end of the domain with a target close to it, for a limit."""
    for text in places:
        if text == "every y":
            yield from ((at["y"],) for at in s.points(3, far=False))
            continue
        try:
            y = Fraction(str(text))
        except ValueError:
            raise Broken(f"expected a target, or every y, where the floor is extreme, got {text!r}") from None
        tiny = Fraction(1, 2**60)
        yield (y, y + tiny) if y == s.y.low else (y, y - tiny) if y == s.y.high else (y,)


def _ends(s: Stated, said: Any, at: Point) -> tuple[arb, arb]:
    if isinstance(said, list):
        low, high = (weight(Fraction(x)) for x in said)
        return low, high
    found = ball(value(str(said), {**s.formula.values, **at}))
    return found, found


def _floor(s: Stated, text: str, at: Point) -> arb | None:
    try:
        found = ball(value(text, {**s.formula.values, **at}))
    except Undecided:
        return None
    return found if found.is_finite() else None


FIGURES: Mapping[str, Callable[[Stated], None]] = {
    "saturation": saturation, "twice_differentiable": twice_differentiable, "curvature": curvature, "floor": floor,
    "lipschitz": lambda s: _bounds(s, logits=False), "lipschitz_logits": lambda s: _bounds(s, logits=True),
}  # fmt: skip
