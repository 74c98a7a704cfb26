"""The sentence of a line, made again from its details, for lines whose sentence is made of them."""

from collections.abc import Mapping
from typing import Any

from lossproof.rechecking.values import Broken

_SLOPES = {"lipschitz": "dl/dp", "lipschitz_logits": "dl/dz"}
_FLOOR = "for every y the least loss is"
_LEAST = "minimises E[loss(Y, p)]"


def sentence(key: str, kind: str, details: Mapping[str, Any]) -> str | None:
    """What a line with these details says; None where its sentence is not made of them.

    >>> sentence("lipschitz", "Proved", {"bound": [1.9, 2.0], "exact": "2"})
    '|dl/dp| <= 2, and no smaller bound holds'
    """
    formula = details.get("formula")
    match key:
        case "lipschitz" | "lipschitz_logits":
            return _bound(_SLOPES[key], details)
        case "floor" if kind == "Refuted":
            return f"{_FLOOR} loss(y, y)"
        case "floor" if "where" in details:
            return f"{_FLOOR} {formula}, at p = {details['where']}, not loss(y, y)"
        case "floor":
            return f"{_FLOOR} loss(y, y) = {formula}"
        case "curvature" if kind != "Refuted":
            return f"d2l/dp2 at p = y is {formula}"
        case "minimiser" if kind != "Refuted":
            if formula is None:
                return "the only minimiser of p -> loss(y, p) lies between the bounds given for each y"
            return f"p = {formula} is the only minimiser of p -> loss(y, p)"
        case "consistency" if kind != "Refuted":
            return _functional(details)
    return None


def _bound(slope: str, details: Mapping[str, Any]) -> str:
    bound = details.get("bound")
    if details.get("exact") is not None:
        return f"|{slope}| <= {details['exact']}, and no smaller bound holds"
    if isinstance(bound, list):
        low, high = (float(x) for x in bound)
        return f"|{slope}| <= {high:.6g}; {low:.6g} is reached"
    return f"|{slope}| is bounded"


def _functional(details: Mapping[str, Any]) -> str | None:
    inverse, link, transform = (details.get(name) for name in ("inverse", "link", "transform"))
    match details.get("functional"):
        case "mean":
            return f"the mean of Y {_LEAST}"
        case "median":
            return f"every median of Y {_LEAST}"
        case "quantile":
            return f"every {details['level']}-quantile of Y {_LEAST}"
        case "mean through a link":
            if not inverse:
                return f"p = F^-1(E[Y]) {_LEAST}, F(p) = {link}"
            which = "F^-1(E[Y])" if "max" in inverse else inverse.replace("m", "E[Y]")
            return f"p = {which} {_LEAST}"
        case "transformed mean" if link is None:
            return f"p = G^-1(E[G(Y)]) {_LEAST}, G(y) = {transform}"
        case "transformed mean":
            return f"p = F^-1(E[G(Y)]) {_LEAST}, G(y) = {transform}, F(p) = {link}"
        case "location M-estimator":
            return f"loss(y, p) is a function of p - y up to c(y): a location M-estimate of Y {_LEAST}"
    return None


def check_sentence(key: str, kind: str, said: Any, details: Mapping[str, Any]) -> None:
    """Raise ``Broken`` where a line's sentence is not the one that its details make."""
    wanted = sentence(key, kind, details)
    if wanted is not None and said != wanted:
        raise Broken(f"expected the statement {wanted!r}, got {said!r}")


__all__ = ["check_sentence", "sentence"]
