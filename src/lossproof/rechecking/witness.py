"""Counterexamples: each one put into the certificate's own formula, by balls."""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from flint import arb

from lossproof.rechecking.claims import Said, relation_at, show
from lossproof.rechecking.figures import jump, least_bend, near, slope, weight
from lossproof.rechecking.points import variables
from lossproof.rechecking.statements import Law, Pair, Stated, expected
from lossproof.rechecking.values import Broken, Undecided, Value, ball, precision, value

Witness = Mapping[str, Fraction]
Sides = Callable[[], Pair]
_CHORD = ("y", "p", "p1", "p2")
#: lines whose contradiction follows from the formula alone, and the names that their witness needs
NEEDED: Mapping[str, tuple[str, ...]] = {
    "minimum": ("y", "p"), "unique": ("y", "p"), "floor": ("y", "p"), "proper": ("pi", "p"),
    "convex": _CHORD, "strictly_convex": _CHORD, "convex_logits": _CHORD, "strongly_convex": ("y", "p"),
    "mean": ("the mean", "p"), "median": ("the median", "p"), "twice_differentiable": ("y", "p"),
    "lipschitz": ("y", "p"), "lipschitz_logits": ("y", "p"),
}  # fmt: skip


def read_witness(record: object) -> dict[str, Fraction]:
    """Exact rationals by name. Raises ``Broken``."""
    try:
        found = {str(name): Fraction(text) for name, text in record}  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        raise Broken(f"expected a witness of exact rationals, got {record!r}") from None
    if not found:
        raise Broken("expected a witness, got none")
    return found


def contradiction(key: str, s: Stated, w: Witness) -> tuple[str, Sides] | None:
    """The relation at the witness that contradicts a line, from the formula; None where only the claim says it."""
    free = {name: w[name] for name in s.free if name in w}

    def loss(y: Fraction, p: Fraction) -> Value:
        return s.formula(y, p, free)

    if key in ("minimum", "unique", "floor") and {"y", "p"} <= w.keys():
        return ("<=" if key == "unique" else "<"), lambda: (loss(w["y"], w["p"]), loss(w["y"], w["y"]))
    if (
        key in ("convex", "strictly_convex", "convex_logits", "strongly_convex")
        and {"y", "p", "p1", "p2"} <= w.keys()
    ):
        _middle(w, logits=key == "convex_logits")
        relation = ">" if key in ("convex", "convex_logits") else ">="
        return relation, lambda: (2 * loss(w["y"], w["p"]), loss(w["y"], w["p1"]) + loss(w["y"], w["p2"]))
    if key == "proper" and {"pi", "p"} <= w.keys():
        law = [(w["pi"], Fraction(1)), (1 - w["pi"], Fraction(0))]
        return "<", lambda: (expected(s, law, w["p"], free), expected(s, law, w["pi"], free))
    if key in ("mean", "median") and f"the {key}" in w:
        law = _law(w)
        best = w[f"the {key}"]
        _is_best(key, law, best)
        return "<", lambda: (expected(s, law, w["p"], free), expected(s, law, best, free))
    return None


def check_contradiction(key: str, s: Stated, w: Witness, said: Said) -> bool:
    """Check a counterexample against the formula; False where only its claim says it. Raises ``Broken``."""
    spans = {"y": s.y, "p": s.p, "p1": s.p, "p2": s.p, **s.free}
    for name, number in w.items():
        span = s.y if re.fullmatch(r"y_(\d+)", name) else spans.get(name)
        if span is not None and number not in span:
            raise Broken(f"the witness {name} = {number} lies outside the domain")
    lacking = [name for name in NEEDED.get(key, ()) if name not in w]
    if lacking:
        raise Broken(f"expected a witness with {', '.join(NEEDED[key])}, got none for {', '.join(lacking)}")
    if key in ("minimum", "unique", "floor") and w["y"] == w["p"]:
        raise Broken("the witness has p = y")
    if key in _ANALYTIC and not (key == "strongly_convex" and {"p1", "p2"} <= w.keys()):
        for at in _completed(s, w):
            _ANALYTIC[key](key, s, at, said)
        return True
    missing = [name for name in s.free if name not in w]
    if key in NEEDED and missing:
        raise Broken(f"expected a value for {', '.join(missing)} in the witness")
    found = contradiction(key, s, w)
    if found is None:
        if not variables(said.left, said.right) & {"y", "p", "p1", "p2", "pi"}:
            raise Broken(f"the claim says nothing about this formula: {said}")
        return False
    relation, sides = found
    answer = relation_at(relation, sides)
    if answer != "true":
        raise Broken(f"the formula does not contradict the statement at {show(w)} ({answer})")
    _same_amount(key, s, w, said, sides)
    return True


def _same_amount(key: str, s: Stated, w: Witness, said: Said, sides: Sides) -> None:
    """The claim beside a witness is about the difference that refutes the line, with its relation to 0."""
    relations = ("=", ">") if "p1" in w else ("<", "<=", "=")
    if said.right.strip() != "0" or said.relation not in relations:
        raise Broken(f"expected a claim about the witness with {' or '.join(relations)} 0, got {said}")
    for bits in (256, 1024):
        with precision(bits):
            left, right = sides()
            wanted = ball(left - right) / (2 if "p1" in w else 1)
            try:
                found = ball(value(said.left, _place(s, w, said)))
            except (Undecided, KeyError):
                raise Broken(f"the claim has no value at {show(w)}: {said}") from None
            if not abs(found - wanted) > arb("1e-9") * abs(wanted):
                return
    raise Broken(f"the claim is about {found.str(6)}, the witness of {key} gives {wanted.str(6)}")


def _place(s: Stated, w: Witness, said: Said) -> dict[str, Fraction]:
    """Where a claim beside a witness is looked at: parameters, the witness, and what the claim fixes itself."""
    fixed = {n: r.low for n, r in said.ranges.items() if r.low == r.high and r.low is not None}
    return {**s.formula.values, **w, **fixed}


def check_gap(gap: object, s: Stated, w: Witness, said: Said) -> None:
    """The amount beside a refutation is that of its claim at the witness. Raises ``Broken``."""
    text = str(gap).rsplit(": ", 1)[-1].strip()
    try:
        amount = arb(text)
    except ValueError:
        return  # in words
    place = _place(s, w, said)
    if not variables(said.left) <= place.keys():
        return
    with precision(4096):
        try:
            found = ball(value(said.left, place))
        except Undecided:
            return
        if found.is_finite() and abs(amount - found) > arb("1e-4") * abs(found):
            raise Broken(f"the claim comes to {found.str(8)}, the certificate says {text}")
        if said.relation in ("<", ">", "!=") and said.right.strip() == "0" and amount.contains(0):
            raise Broken(f"expected an amount that is not 0, got {text}")


def _completed(s: Stated, w: Witness) -> list[Witness]:
    """The witness; with several values for parameters that it leaves open, for it speaks of all of them."""
    if s.free.keys() <= w.keys():
        return [w]
    return [{**{name: at[name] for name in s.free}, **w} for at in s.points(4, far=False)]


def _free(s: Stated, w: Witness) -> dict[str, Fraction]:
    return {name: w[name] for name in s.free}


def _unbounded(key: str, s: Stated, w: Witness, said: Said) -> None:
    """The claim is about the slope, and the slope grows without end towards the end that is near to the witness."""
    y, p, free = w["y"], w["p"], _free(s, w)
    if s.p.low is None or s.p.high is None:
        raise Broken("expected a bounded domain of predictions")
    low = p - s.p.low < s.p.high - p
    logits = key == "lipschitz_logits"
    bits = max(1, (1 / min(p - s.p.low, s.p.high - p)).__ceil__().bit_length())
    found = slope(s, y, p, free, bits)
    with precision(6 * bits + 1000):
        try:
            left = ball(value(said.left, {**s.formula.values, **w}))
        except Undecided:
            left = arb("nan")
        if found is None or not abs(left - _scaled(abs(found), p, logits)) < arb("1e-20") * (1 + abs(left)):
            raise Broken(f"the claim is not about the slope of this formula at {show(w)}")
    sizes = []
    for k in (64, 256, 1024):
        place = near(s, k, low=low)
        there = None if place is None else slope(s, y, place, free, k)
        if place is None or there is None:
            raise Broken(f"the formula has no slope at distance 2**-{k} from the end")
        with precision(4096):
            sizes.append(_scaled(abs(there), place, logits))
    if said.relation not in (">", ">=") or not (sizes[1] > sizes[0] * 1.5 and sizes[2] > sizes[1] * 1.5):
        raise Broken(f"the formula does not contradict the statement at {show(w)}: its slope stays bounded")


def _scaled(size: arb, p: Fraction, logits: bool) -> arb:
    return size * weight(p * (1 - p)) if logits else size


def _not_smooth(_key: str, s: Stated, w: Witness, _said: Said) -> None:
    y = w["y"]
    if abs(w["p"] - y) > Fraction(1, 2**100):
        raise Broken(f"expected a witness at p = y, got {show(w)}")
    if jump(s, y, _free(s, w)) is None:
        raise Broken(f"the formula does not contradict the statement at {show(w)}: smooth at p = y")


def _flat(_key: str, s: Stated, w: Witness, _said: Said) -> None:
    """The second derivative is not above 0 at the witness, or it falls to 0 as p grows without end."""
    free = _free(s, w)
    here = least_bend(s, w["y"], w["p"], free)
    if here is not None and here < arb(2) ** -100:
        return
    if here is not None and s.p.high is None:
        far = least_bend(s, w["y"], w["p"] * 2**20, free)
        if far is not None and far * 2 < here:
            return
    raise Broken(
        f"the formula does not contradict the statement at {show(w)}: its second derivative is positive"
    )


_ANALYTIC: Mapping[str, Callable[[str, Stated, Witness, Said], None]] = {
    "lipschitz": _unbounded, "lipschitz_logits": _unbounded, "twice_differentiable": _not_smooth,
    "strongly_convex": _flat,
}  # fmt: skip


def _middle(w: Witness, *, logits: bool) -> None:
    p, low, high = w["p"], w["p1"], w["p2"]
    even = (p / (1 - p)) ** 2 == low / (1 - low) * high / (1 - high) if logits else 2 * p == low + high
    fits = bool(even)
    if not fits or w["p1"] == w["p2"]:
        raise Broken("p does not lie halfway between p1 and p2")


def _law(w: Witness) -> list[tuple[Fraction, Fraction]]:
    """Probabilities and targets."""
    targets = {m[1]: v for name, v in w.items() if (m := re.fullmatch(r"y_(\d+)", name))}
    law = [(w.get(f"P(Y = y_{k})", Fraction(-1)), y) for k, y in targets.items()]
    if not law or any(weight < 0 for weight, _ in law) or sum(weight for weight, _ in law) != 1:
        raise Broken("expected probabilities that add up to 1")
    return law


def _is_best(key: str, law: Law, best: Fraction) -> None:
    if key == "mean":
        fits = sum(weight * y for weight, y in law) == best
    else:
        half = Fraction(1, 2)
        fits = sum(a for a, y in law if y <= best) >= half and sum(a for a, y in law if y >= best) >= half
    if not fits:
        raise Broken(f"{best} is not the {key} of these targets")
