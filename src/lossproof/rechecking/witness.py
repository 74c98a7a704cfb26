"""Counterexamples: each one put into the certificate's own formula, by balls."""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from lossproof.rechecking.claims import relation_at, show
from lossproof.rechecking.statements import Law, Pair, Stated, expected
from lossproof.rechecking.values import Broken, Value

Witness = Mapping[str, Fraction]
Sides = Callable[[], Pair]


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

    if key in ("minimum", "unique") and {"y", "p"} <= w.keys():
        return ("<" if key == "minimum" else "<="), lambda: (loss(w["y"], w["p"]), loss(w["y"], w["y"]))
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


def check_contradiction(key: str, s: Stated, w: Witness) -> bool:
    """Check a counterexample against the formula; whether there was something to check. Raises ``Broken``."""
    for name, span in {"y": s.y, "p": s.p, "p1": s.p, "p2": s.p, **s.free}.items():
        if name in w and w[name] not in span:
            raise Broken(f"the witness {name} = {w[name]} lies outside the domain")
    if key in ("minimum", "unique") and w.get("y") == w.get("p"):
        raise Broken("the witness has p = y")
    found = contradiction(key, s, w)
    if found is None:
        return False
    missing = [name for name in s.free if name not in w]
    if missing:
        raise Broken(f"expected a value for {', '.join(missing)} in the witness")
    relation, sides = found
    answer = relation_at(relation, sides)
    if answer != "true":
        raise Broken(f"the formula does not contradict the statement at {show(w)} ({answer})")
    return True


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
