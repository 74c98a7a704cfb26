"""The answer to each question of a certificate as one short sentence, from its verdict and figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from lossproof.report.decimals import decimal

if TYPE_CHECKING:
    from lossproof.prove.problem import Line

#: key -> what is asked, in the order of the table
QUESTIONS: Mapping[str, str] = {
    "minimum": "is p = y a minimum?",
    "unique": "the only one?",
    "minimiser": "where is the minimum?",
    "floor": "how low can it get?",
    "consistency": "noisy targets: estimates",
    "mean": "estimates the mean?",
    "median": "estimates the median?",
    "proper": "proper for 0/1 labels?",
    "convex": "convex in p?",
    "convex_logits": "convex in z?",
    "strictly_convex": "strictly convex in p?",
    "twice_differentiable": "twice differentiable?",
    "strongly_convex": "strongly convex in p?",
    "curvature": "bend at p = y",
    "lipschitz": "steepest slope in p",
    "lipschitz_logits": "steepest slope in z",
    "saturation": "gradient when wrong",
    "borders": "at p -> 0 and p -> 1",
}

Details = Mapping[str, Any]


def answer(line: Line, domain: str) -> str:
    """One sentence: yes, no, a formula or a bound; why not, where nothing is shown; where it holds, if not everywhere."""
    verdict = line.verdict
    kind = type(verdict).__name__
    if kind == "Unknown":
        return f"not settled: {_short(verdict.reason)}"  # type: ignore[union-attr]
    if kind == "Refuted":
        return _NO.get(line.key, lambda _: f"no: false that {line.statement}")(line.details)
    said = _YES.get(line.key, lambda _: None)(line.details) or line.statement
    rest = _left_out(verdict.domain, domain)  # type: ignore[union-attr]
    return f"{said} (for {rest})" if rest else said


def _short(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " ..."


def _left_out(held: str, domain: str) -> str:
    """Where a verdict's domain is not the certificate's: part of the answer.

    >>> _left_out("y in [0, 1], P(Y = 1) in [0, 1]", "y in [0, 1], p in (0, 1)")
    ''
    >>> _left_out("y in [0, 1], p in [0.1, 0.9], y != 0", "y in [0, 1], p in (0, 1)")
    'p in [0.1, 0.9], y != 0'
    """
    ranges = r"([^,]+) in [\[(][^\])]*[\])]"
    known = {m[1].strip(): m[0].strip() for m in re.finditer(ranges, domain)}
    kept = [
        m[0].strip()
        for m in re.finditer(ranges, held)
        if known.get(m[1].strip(), m[0].strip()) != m[0].strip()
    ]
    rest = re.sub(ranges + r"|\w+ in \{[^}]*\}", "", held)  # single targets are named in the answer
    return ", ".join([*kept, *(part.strip() for part in rest.split(",") if part.strip())])


def tidy(formula: object) -> str:
    """A formula arranged for reading: 1/(p*(1 - p)) rather than -1/(p*(p - 1)).

    >>> tidy("-1/(p*(p - 1))"), tidy("(y - 1)*log(1 - y) - y*log(y)")
    ('1/(p*(1 - p))', '-y*log(y) - (1 - y)*log(1 - y)')
    """
    from lossproof.formula import LossproofError
    from lossproof.report.proof import rounded, written

    text = str(formula)
    try:
        # binary constants make fractions of 17 digits, which nobody reads
        return f"{rounded(text)} (constants rounded)" if re.search(r"\d{13}", text) else written(text)
    except LossproofError:  # a name that is not in formulas: as the prover wrote it
        return text


def figure(value: object) -> str:
    """A number from the details as text: decimals to six digits, formulas and infinities as they are.

    >>> figure(0.6931471805599453), figure("1/3"), figure("inf"), figure("log(2)"), figure("[1.14671, 1.1472]")
    ('0.693147', '1/3', 'infinity', 'log(2)', '1.147')
    """
    if isinstance(value, bool) or value is None:
        return str(value)
    text = str(value)
    if text in ("inf", "oo", "-inf", "-oo"):
        return ("-" if text[0] == "-" else "") + "infinity"
    if text.startswith("[") and text.count(",") == 1:
        low, high = (float(end) for end in text.strip("[]").split(","))
        return "0 (within 1e-6)" if max(abs(low), abs(high)) < 1e-6 else _enclosed(low, high)
    return f"{value:.6g}" if isinstance(value, int | float) else text


def bound(ends: object) -> str:
    """The upper end of an enclosure [low, high], or infinity.

    >>> bound([0.9990, 1.0]), bound("inf"), bound([1, 1])
    ('at most 1', 'unbounded', '1')
    """
    if ends in ("inf", "oo"):
        return "unbounded"
    if isinstance(ends, list | tuple) and len(ends) == 2:
        low, high = ends
        return figure(high) if low == high else f"at most {figure(high)}"
    return figure(ends)


# ---- what a line that stands says


def _minimum(details: Details) -> str:
    attained = details.get("attained")
    limits = (
        [f"y = {end}" for end, reached in attained.items() if not reached]
        if isinstance(attained, Mapping)
        else []
    )
    return "yes, for every y" + (f"; a limit, not attained, at {' and '.join(limits)}" if limits else "")


def _minimiser(details: Details) -> str | None:
    if details.get("formula"):
        return f"p* = {tidy(details['formula'])}"
    points = details.get("points") or []
    if not points:
        return None
    shown = [f"p*({_at(y)}) = {_enclosed(low, high)}" for y, low, high in _some(points, 3)]
    return ", ".join(shown) + (", ..." if len(points) > 3 else "")


def _some(points: list[Any], count: int) -> list[Any]:
    step = max(1, (len(points) - 1) // (count - 1)) if len(points) > count else 1
    return points[::step][:count]


def _at(y: object) -> str:
    try:
        return decimal(Fraction(str(y)), 6)
    except ValueError:
        return str(y)


def _enclosed(low: Any, high: Any) -> str:
    """The digits that both ends of an enclosure share.

    >>> _enclosed(0.30578719490, 0.30578719492)
    '0.305787'
    """
    a, b = float(Fraction(str(low))), float(Fraction(str(high)))
    for digits in range(6, 0, -1):
        if f"{a:.{digits}g}" == f"{b:.{digits}g}":
            return f"{a:.{digits}g}"
    return f"in [{a:.6g}, {b:.6g}]"


def _floor(details: Details) -> str | None:
    where = "y" if details.get("where") is None else tidy(details["where"])
    said = f"loss(y, {where}) = {tidy(details['formula'])}" if details.get("formula") else ""
    ends = [_extreme(details.get(name)) for name in ("minimum", "maximum")]
    if all(ends) and details.get("formula") not in ("0", 0):
        said += f"{', ' if said else ''}from {ends[0]} to {ends[1]}"
    return said or None


def _extreme(found: object) -> str:
    if not isinstance(found, Mapping) or found.get("value") is None:
        return ""
    at = found.get("at")
    where = " and ".join(_at(v) for v in at) if isinstance(at, list) else _at(at)
    return figure(found["value"]) + (f" (y = {where})" if at not in (None, []) else "")


def _consistency(details: Details) -> str | None:
    functional = details.get("functional")
    if not functional:
        return None
    said = f"the {functional} of Y"
    match functional:
        case "quantile":
            said = f"the {details.get('level')}-quantile of Y"
        case "mean through a link":
            said = "a function of the mean: p* = g(E Y)"
            said += f", g(m) = {tidy(details['inverse'])}" if details.get("inverse") else ""
        case "transformed mean":
            said = "the mean of a transform G: p* = G^-1(E G(Y))"
            said += f", G = {tidy(details['link'])}" if details.get("link") else ""
        case "location M-estimator":
            said = "a location M-estimate of Y"
        case "other":
            said = "neither mean nor quantile nor a function of them"
    return said + (f" (Bregman, phi'' = {tidy(details['generator'])})" if details.get("generator") else "")


def _curvature(details: Details) -> str | None:
    return f"d2l/dp2 = {tidy(details['formula'])}" if details.get("formula") else None


def _slope(letter: str) -> Callable[[Details], str | None]:
    def said(details: Details) -> str | None:
        if "bound" not in details:
            return None
        exact = details.get("exact")
        found = tidy(exact) if exact is not None else bound(details["bound"])
        return f"|dl/d{letter}| is at most {found.removeprefix('at most ')}"

    return said


_KINDS = {
    "plateau": "plateau: no gradient although the answer is wrong",
    "alive": "alive: keeps a gradient",
    "explodes": "explodes: the gradient grows without bound",
}


def _saturation(details: Details) -> str | None:
    ends = details.get("sigmoid")
    if not isinstance(ends, Mapping) or not ends:
        return None
    kinds = {end["kind"] for end in ends.values()}
    limits = ", ".join(f"dl/dz -> {figure(end['limit'])} ({place})" for place, end in ends.items())
    said = f"{_KINDS.get(next(iter(kinds)), next(iter(kinds)))}: {limits}" if len(kinds) == 1 else limits
    said = (
        said.replace("wrong: ", "wrong, ", 1)
        .replace("gradient: ", "gradient, ", 1)
        .replace("bound: ", "bound, ", 1)
    )
    factor = details.get("canonical")
    if factor is not None:
        said += (
            f"; dl/dz = {'' if str(factor) == '1' else f'{factor}*('}p - y{'' if str(factor) == '1' else ')'}"
        )
    return said


def _borders(details: Details) -> str | None:
    """Loss and slope where the answer is wrong at the border: y = 1 at p -> 0, y = 0 at p -> 1."""
    parts = []
    for place, y in (("p -> 0", "y = 1"), ("p -> 1", "y = 0")):
        corner = details.get(place, {}).get(y) if isinstance(details.get(place), Mapping) else None
        if isinstance(corner, Mapping):
            value, slope = (figure(corner[name]) for name in ("value", "slope"))
            parts.append(f"{y}, {place}: loss -> {value}, slope -> {slope}")
    return "; ".join(parts) or None


_YES: Mapping[str, Callable[[Details], str | None]] = {
    "minimum": _minimum,
    "unique": lambda _: "yes",
    "minimiser": _minimiser,
    "floor": _floor,
    "consistency": _consistency,
    "mean": lambda _: "yes",
    "median": lambda _: "yes",
    "proper": lambda _: "yes: p = P(Y = 1) is best",
    "convex": lambda _: "yes, for every y",
    "convex_logits": lambda _: "yes: z -> loss(y, sigmoid(z)) is convex",
    "strictly_convex": lambda _: "yes, for every y",
    "strongly_convex": lambda d: (
        "yes" + (f", modulus {figure(d['modulus'])}" if d.get("modulus") is not None else "")
    ),
    "twice_differentiable": lambda _: "yes, in p",
    "curvature": _curvature,
    "lipschitz": _slope("p"),
    "lipschitz_logits": _slope("z"),
    "saturation": _saturation,
    "borders": _borders,
}
_NO: Mapping[str, Callable[[Details], str]] = {
    "minimum": lambda _: "no: another p has a lower loss",
    "unique": lambda _: "no: another p is as good or better",
    "mean": lambda _: "no",
    "median": lambda _: "no",
    "proper": lambda _: "no: for some P(Y = 1) another p is better",
    "convex": lambda _: "no",
    "convex_logits": lambda _: "no",
    "strictly_convex": lambda _: "no",
    "strongly_convex": lambda _: "no",
    "twice_differentiable": lambda _: "no",
    "lipschitz": lambda _: "unbounded",
    "lipschitz_logits": lambda _: "unbounded",
}
