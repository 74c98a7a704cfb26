"""What a line names beside its sentence, held against the formula: generators, links, weak places, ends, borders."""

import random
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from flint import arb

from lossproof.rechecking.claims import show
from lossproof.rechecking.figures import approaches, held, near, slope, weight
from lossproof.rechecking.points import Point, read_range
from lossproof.rechecking.statements import Stated, rational
from lossproof.rechecking.values import Broken, Undecided, ball, precision, value

_CLOSE = arb("1e-30")
_BITS = 1200
_FAR = (64, 512, 4096)  # distances 2**-k from an end: a logarithm grows slowly


def _at(s: Stated, text: str, at: Point, **names: Fraction) -> arb:
    """A formula string of the details at a point; nan where it has no value."""
    try:
        return ball(value(text, {**s.formula.values, **at, **names}))
    except Undecided:
        return arb("nan")


def _same(found: arb, wanted: arb, what: str, at: Point) -> None:
    if found.is_finite() and wanted.is_finite() and not abs(found - wanted) < _CLOSE * (1 + abs(wanted)):
        raise Broken(f"the formula contradicts it at {show(at)}: {what}")


# ---- consistency


def consistency(s: Stated) -> None:
    """The slope is made of the functions that are named: generator, weight and link, level, psi."""
    made = _PARTS.get(str(s.details.get("functional")))
    if made is None:
        return
    for at in s.points(12, far=False):
        found = slope(s, at["y"], at["p"], at)
        with precision(_BITS):
            wanted = made(s, at)
            if found is not None and wanted is not None:
                _same(found, wanted, "dl/dp is not made of the functions in the details", at)
            _convex_function(s, at)
            _inverse(s, at)


def _text(s: Stated, key: str) -> str | None:
    found = s.details.get(key)
    return found if isinstance(found, str) else None


def _mean(s: Stated, at: Point) -> arb | None:
    g = _text(s, "generator")
    return None if g is None else _at(s, g, at) * weight(at["p"] - at["y"])


def _through(s: Stated, at: Point) -> arb | None:
    h, link, transform = (_text(s, key) for key in ("weight", "link", "transform"))
    if h is None or (link is None and transform is None):
        return None
    of_target = weight(at["y"]) if transform is None else _at(s, transform, at)
    # without a link the prediction goes through the targets' own function
    of_p = _at(s, link, at) if link is not None else _at(s, str(transform), at, y=at["p"])
    return _at(s, h, at) * (of_p - of_target)


def _level(s: Stated, at: Point) -> arb | None:
    h, level = _text(s, "weight"), _text(s, "level")
    if h is None or level is None:
        return None
    return _at(s, h, at) * ((1 if at["p"] > at["y"] else 0) - _at(s, level, at))


def _shifted(s: Stated, at: Point) -> arb | None:
    psi = _text(s, "psi")
    if psi is None:
        return None
    r = at["p"] - at["y"]
    found = _at(s, psi, at, r=r)
    if s.details.get("odd") is True:
        _same(_at(s, psi, at, r=-r), -found, "psi is not odd", at)
    return found


_PARTS: Mapping[str, Callable[[Stated, Point], arb | None]] = {
    "mean": _mean, "mean through a link": _through, "transformed mean": _through, "median": _level,
    "quantile": _level, "location M-estimator": _shifted,
}  # fmt: skip


def _convex_function(s: Stated, at: Point) -> None:
    phi, generator = _text(s, "phi"), _text(s, "generator")
    if phi is None or generator is None:
        return
    h = Fraction(1, 2**150)
    above, middle, below = (_at(s, phi, at, p=at["p"] + d) for d in (h, Fraction(0), -h))
    bend = (above - 2 * middle + below) * arb(2) ** 300
    _same(bend, _at(s, generator, at), "the second derivative of phi is not the generator", at)


def _inverse(s: Stated, at: Point) -> None:
    inverse, link, transform = (_text(s, key) for key in ("inverse", "link", "transform"))
    if inverse is None or "max" in inverse or "min" in inverse:
        return
    m = weight(at["y"]) if transform is None else _at(s, transform, at)
    exact_m = rational(m)
    if exact_m is None:
        return
    exact = rational(_at(s, inverse, at, m=exact_m))
    if exact is not None:  # beyond the predictions, too: there the link's formula goes on
        back = _at(s, link, at, p=exact) if link is not None else _at(s, str(transform), at, y=exact)
        _same(back, m, "the inverse in the details is not one", at)


# ---- saturation


def saturation(s: Stated) -> None:
    """The largest |dl/dz|, and the places where it is weak although the answer is wrong."""
    largest = s.details.get("largest")
    if isinstance(largest, list):
        held(s, [str(x) for x in largest], logits=True)
    weak = s.details.get("weak")
    if isinstance(weak, Mapping) and not s.free:
        _weak(s, weak)


def _weak(s: Stated, weak: Mapping[str, Any]) -> None:
    eps, gap, spans = float(weak["eps"]), float(weak["gap"]), weak["intervals"]
    if not (eps > 0 and gap > 0):
        raise Broken(f"expected eps and gap above 0, got {eps} and {gap}")
    named = [f"{name}, p in ({_place(a)}, {_place(b)})" for name, found in spans.items() for a, b in found]
    rest = "nowhere at y in {0, 1/4, 1/2, 3/4, 1}" if weak["settled"] else "not settled"
    wanted = f"|p - y| > {gap:g} and |dl/dz| < {eps:g}: {'; '.join(named) or rest}"
    if weak["description"] != wanted:
        raise Broken(f"expected the description {wanted!r}, got {weak['description']!r}")
    for name, found in spans.items():
        y = Fraction(str(name).removeprefix("y = "))
        at = next(iter(s.points(1, far=False)))
        for a, b in found:
            if not all(abs(x - float(y)) >= gap - 1e-9 for x in (a, b)) or not 0 <= a < b <= 1:
                raise Broken(f"expected places with |p - y| > {gap:g}, got {name}, p in ({a}, {b})")
            for p in _inside(a, b):
                _is_weak(s, y, p, at, eps, True)
        if weak["settled"]:
            for k in range(1, 200):
                p = Fraction(k, 200)
                outside = all(not a - 1e-3 < float(p) < b + 1e-3 for a, b in found)
                if outside and abs(p - y) > Fraction(gap) + Fraction(1, 1000):
                    _is_weak(s, y, p, at, 0.9 * eps, False)


def _inside(a: float, b: float) -> Iterator[Fraction]:
    low, high = Fraction(a), Fraction(b)
    yield from (low + (high - low) * Fraction(k, 16) for k in range(1, 16))


def _is_weak(s: Stated, y: Fraction, p: Fraction, at: Point, eps: float, wanted: bool) -> None:
    found = slope(s, y, p, at, 40)
    if found is None:
        return
    size = abs(found) * weight(p * (1 - p))
    if (size > eps) if wanted else (size < eps):
        verb = "is not" if wanted else "is"
        raise Broken(
            f"the formula contradicts it: at y = {y}, p = {float(p):.6g} |dl/dz| {verb} below {eps:g}"
        )


def _place(x: float) -> str:
    return f"1 - {1 - x:.3g}" if 0.99 < x < 1 else f"{x:.4g}"


# ---- ends


def attained(s: Stated) -> None:
    """Where loss(y, y) is said to be no number at an end of the targets, it is none; and a number where it is said to be."""
    for text, said in (s.details.get("attained") or {}).items():
        end = Fraction(str(text))
        if end not in s.y:
            continue
        for at in s.points(1, far=False):
            with precision(256):
                try:
                    found = ball(s.formula(end, end, at))
                except Undecided:
                    continue
            infinite = not found.is_finite() and not found.is_nan()
            # whether 0 log 0 written as a product is a number is a convention
            plain = found.is_finite() and "log" not in s.formula.text
            if (plain and said is not True) or (infinite and said is not False):
                raise Broken(f"loss({end}, {end}) is {found.str(6)}, and attained there says {said}")


def floor(s: Stated) -> None:
    """The loss at p = y where that is not the least one; and whether the floor is finite."""
    text = _text(s, "at_target")
    for at in s.points(12, far=False) if text is not None else ():
        with precision(_BITS):
            try:
                found = ball(s.formula(at["y"], at["y"], at))
            except Undecided:
                continue
            _same(found, _at(s, str(text), at), f"loss(y, y) = {text}", at)
    ends = [s.details.get(key) for key in ("minimum", "maximum")]
    known = [e.get("value") for e in ends if isinstance(e, Mapping)]
    if len(known) == 2 and None not in known:
        finite = not {"oo", "-oo"} & {str(x) for x in known}
        if s.details.get("finite") not in (None, finite):
            raise Broken(f"the floor lies between {known[0]} and {known[1]}, and finite says {not finite}")


def borders(s: Stated) -> None:
    """Limits of the loss and of its slope at the ends of the predictions, along p = end -+ 2**-k."""
    for name, low in (("p -> 0", True), ("p -> 1", False)):
        for target, entry in (s.details.get(name) or {}).items():
            if not isinstance(entry, Mapping):
                continue
            for y, at in _targets(s, str(target)):
                for what, text in entry.items():
                    if isinstance(text, str) and what in ("value", "slope"):
                        _border(s, f"{name}, {target}", what, text, y, low, at)


def _targets(s: Stated, text: str) -> Iterator[tuple[Fraction, Point]]:
    """Targets that words such as "y = 0", "y inside" and "y in (0, 1/4)" speak of."""
    if text.startswith("y = "):
        for at in s.points(1, far=False):
            yield Fraction(text.removeprefix("y = ")), at
        return
    span = s.y if text == "y inside" else read_range(text.removeprefix("y in "))
    rng = random.Random(text)
    for at in s.points(2, far=False):
        yield span.draw(rng, far=False), at


def _border(s: Stated, place: str, what: str, text: str, y: Fraction, low: bool, at: Point) -> None:
    seen = []
    for k in _FAR:
        p = near(s, k, low=low)
        if p is None:
            return
        if what == "slope":
            found = slope(s, y, p, at, k)
        else:
            with precision(2 * k + 1024):
                try:
                    found = ball(s.formula(y, p, at))
                except Undecided:
                    return
        if found is None or not found.is_finite():
            return
        seen.append(found)
    with precision(2048):
        first, middle, last = seen
        if text in ("oo", "-oo"):
            way = 1 if text == "oo" else -1
            grown, before = (last - middle) * way, (middle - first) * way
            good = bool(last * way > 0 and grown > abs(before) / 2)
        else:
            good = approaches(first, last, _at(s, text, at, y=y))
    if not good:
        shown = ", ".join(x.str(6, radius=False) for x in seen)
        raise Broken(f"{place}: the {what} is {shown} at 2**-{_FAR} from the end, not {text}")


DETAILS: Mapping[str, Callable[[Stated], None]] = {
    "consistency": consistency, "saturation": saturation, "minimum": attained, "floor": floor, "borders": borders,
}  # fmt: skip
