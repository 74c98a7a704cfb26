"""Pictures of a certificate: loss, derivative, floor, minimiser and the gradient through the sigmoid.

Curves are computed in floating point from the same definition; the certificate's statements do not rest on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from lossproof.report.figures import Figure, Trace, dash, safe, tone

if TYPE_CHECKING:
    from lossproof.formula import Loss
    from lossproof.lower import LossFunction
    from lossproof.prove.certificate import Certificate

TARGETS = (0.0, 0.1, 0.5, 0.9, 1.0)
LOGIT_TARGETS = (0.0, 0.5, 1.0)
_POINTS = 401
_LOGITS = 8.0


def figures(certificate: Certificate, loss: Loss, beside: Loss | None = None) -> list[Figure]:
    """The pictures that can be drawn for a loss in the domain of its certificate; values that are infinite are gaps."""
    from lossproof.lower import function

    known = function(loss)
    ys = targets(certificate, TARGETS)
    made = [_curves(known, ys), _slopes(known, ys), _floor(certificate, known)]
    points = minimisers(certificate)
    if points:
        made.append(_minimiser(certificate, points))
    if _unit(certificate):
        made.append(
            _gradients(
                known, targets(certificate, LOGIT_TARGETS), None if beside is None else function(beside)
            )
        )
    return made


def span_drawn(certificate: Certificate, *, of: str = "target") -> tuple[float, float]:
    """The part of a range that is drawn: all of it, or 4 beside the finite end of an infinite one."""
    from lossproof.prove.record import span_of

    span = span_of(certificate.target if of == "target" else certificate.prediction)
    low, high = span.low, span.high
    if math.isinf(low) and math.isinf(high):
        return -2.0, 2.0
    return (high - 4 if math.isinf(low) else low), (low + 4 if math.isinf(high) else high)


def targets(certificate: Certificate, shares: tuple[float, ...]) -> list[float]:
    """Targets at these shares of the target's range; ends that are left out of it are moved in."""
    from lossproof.prove.record import span_of

    low, high = span_drawn(certificate)
    chosen = [low + share * (high - low) for share in shares]
    inside = span_of(certificate.target)
    step = 0.02 * (high - low)
    return [y if y in inside else y + step if y <= low else y - step for y in chosen]


def _unit(certificate: Certificate) -> bool:
    from lossproof.formula import UNIT
    from lossproof.prove.record import span_of

    return span_of(certificate.prediction).covers(UNIT) or span_drawn(certificate, of="prediction") == (
        0.0,
        1.0,
    )


def _grid(low: float, high: float) -> np.ndarray[Any, Any]:
    """Even points, crowded towards both ends, which themselves are left out."""
    t = (1 - np.cos(np.linspace(0, np.pi, _POINTS + 2)[1:-1])) / 2
    return low + (high - low) * t


def _values(at: Callable[..., Any], *arrays: Any) -> np.ndarray[Any, Any]:
    from lossproof.formula import LossproofError

    with np.errstate(all="ignore"):
        try:
            return np.asarray(at(*arrays), dtype=float)
        except LossproofError:  # outside the loss's own domain
            return np.full(np.shape(arrays[-1]), np.nan)


def _line(name: str, x: Any, y: Any, index: int, **more: Any) -> Trace:
    return {
        "type": "scatter", "mode": "lines", "name": safe(name), "x": _clean(x), "y": _clean(y),
        "line": {"width": 2.2, "dash": dash(index)}, "meta": {"tone": tone(index)}, **more,
    }  # fmt: skip


def _clean(values: Any) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in np.asarray(values, dtype=float)]


def _curves(known: LossFunction, ys: list[float]) -> Figure:
    data, seen = [], []
    low, high = _prediction(known, ys)
    p = _grid(low, high)
    for index, y in enumerate(ys):
        value = _values(known.value, np.full_like(p, y), p)
        data.append(_line(f"y = {y:.3g}", p, value, index, legendgroup=f"y{index}"))
        seen.append(value)
        if np.isfinite(value).any():
            place = int(np.nanargmin(np.where(np.isfinite(value), value, np.nan)))
            at, least = _refined(known, y, p, place, value)
            data.append({
                "type": "scatter", "mode": "markers", "x": [at], "y": [least], "showlegend": False, "cliponaxis": False,
                "legendgroup": f"y{index}", "marker": {"size": 9, "symbol": "circle"}, "meta": {"tone": tone(index)},
                "hovertemplate": f"least for y = {y:.3g}: %{{y:.4g}} at p = %{{x:.4g}}<extra></extra>",
            })  # fmt: skip
    return Figure(
        "loss", "Loss over the prediction",
        f"Line plot of loss(y, p) over p for y = {', '.join(f'{y:.3g}' for y in ys)}, with each curve's least value marked.",
        data, _layout("p", "loss(y, p)", _window(p, seen), across=(low, high)),
        "A dot marks where each curve is least; where the curve falls to the end of the range, it is a limit.",
    )  # fmt: skip


def _refined(known: LossFunction, y: float, p: Any, place: int, value: Any) -> tuple[float, float]:
    """The least value beside a grid point, at y itself if that is as good."""
    low, high = p[max(place - 1, 0)], p[min(place + 1, len(p) - 1)]
    fine = np.linspace(low, high, 201)
    found = _values(known.value, np.full_like(fine, y), fine)
    best = int(np.nanargmin(np.where(np.isfinite(found), found, np.nan)))
    at_y = float(_values(known.value, np.array([y]), np.array([y]))[0])
    if math.isfinite(at_y) and at_y <= found[best]:
        return y, at_y
    return float(fine[best]), float(min(found[best], value[place]))


def _slopes(known: LossFunction, ys: list[float]) -> Figure:
    p = _grid(*_prediction(known, ys))
    curves = [_values(known.gradient, np.full_like(p, y), p) for y in ys]
    data = [
        _line(f"y = {y:.3g}", p, value, index)
        for index, (y, value) in enumerate(zip(ys, curves, strict=True))
    ]
    return Figure(
        "slope", "Derivative in p",
        f"Line plot of the derivative of loss(y, p) in p for y = {', '.join(f'{y:.3g}' for y in ys)}.",
        data, _layout("p", "dl/dp", _window(p, curves, share=0.06), zero=True),
        "A minimum is where a curve crosses 0 from below.",
    )  # fmt: skip


def _floor(certificate: Certificate, known: LossFunction) -> Figure:
    low, high = span_drawn(certificate)
    inside = np.linspace(low, high, _POINTS)
    loss = known.definition
    y = inside[np.asarray(loss.target.contains(inside)) & np.asarray(loss.prediction.contains(inside))]
    at_y, least = _values(known.value, y, y), _values(known.floor, y)
    data = [_line("loss(y, y)", y, at_y, 0)]
    both = at_y - least
    apart = bool(np.isfinite(both).any() and np.nanmax(np.where(np.isfinite(both), both, 0)) > 1e-9)
    if apart:
        data.append(_line("least over all p", y, least, 1))
    return Figure(
        "floor", "Floor: the loss of a perfect prediction",
        "Line plot of loss(y, y) over the target y" + (", and of the least loss over all predictions." if apart else "."),
        data, _layout("y", "loss", _window(y, [at_y, least])),
        "Both curves differ: predicting the target is not best." if apart else "No prediction has a lower loss than p = y.",
    )  # fmt: skip


def minimisers(certificate: Certificate) -> list[tuple[float, float, float]]:
    """Enclosures y, low, high of the minimiser, where the certificate holds some."""
    line = certificate.lines.get("minimiser")
    if line is None or type(line.verdict).__name__ not in ("Proved", "Certified"):
        return []
    numbers = [tuple(float(Fraction(str(x))) for x in point) for point in line.details.get("points") or []]
    return [(y, low, high) for y, low, high in numbers]


def _minimiser(certificate: Certificate, points: list[tuple[float, float, float]]) -> Figure:
    low, high = span_drawn(certificate)
    middle = [(a + b) / 2 for _, a, b in points]
    data = [
        {**_line("p = y", [low, high], [low, high], 1), "meta": {"tone": "muted"}},
        {
            **_line("minimiser p*(y), certified", [y for y, _, _ in points], middle, 0),
            "mode": "lines+markers",
        },
    ]
    return Figure(
        "minimiser", "Where the minimum is",
        "Line plot of the prediction with the least loss over the target, beside the diagonal p = y.",
        data, _layout("y", "p*", None), "Points are certified enclosures; the lines between them only guide the eye.",
    )  # fmt: skip


def _gradients(known: LossFunction, ys: list[float], beside: LossFunction | None) -> Figure:
    z = np.linspace(-_LOGITS, _LOGITS, _POINTS)
    data, seen = [], []
    for place, one in enumerate([known] if beside is None else [known, beside]):
        for index, y in enumerate(ys):
            value = _values(one.gradient_logits, np.full_like(z, y), z)
            seen.append(value)
            name = f"y = {y:.3g}" if beside is None else f"{one.definition.label}, y = {y:.3g}"
            line = {"width": 2.2 if place == 0 else 1.6, "dash": "solid" if place == 0 else "dash"}
            data.append(_line(name, z, value, index) | {"line": line})
    what = known.definition.label + (
        "" if beside is None else f" (solid) and {beside.definition.label} (dashed)"
    )
    return Figure(
        "gradient", f"Gradient through the sigmoid: {what}",
        f"Line plot of the derivative of loss(y, sigmoid(z)) in the logit z for {what}.",
        data, _layout("z, with p = sigmoid(z)", "dl/dz", _window(z, seen), zero=True),
        "Left, a target of 1 is predicted as 0; right, a target of 0 as 1. A curve that goes to 0 there has a plateau: "
        "a prediction that is wrong and gets no gradient.",
    )  # fmt: skip


def _prediction(known: LossFunction, ys: list[float]) -> tuple[float, float]:
    low, high = min(ys), max(ys)
    span = known.definition.prediction
    return max(low, span.low), min(high, span.high)


def _window(x: Any, curves: list[Any], *, share: float = 0.01) -> tuple[float, float] | None:
    """The range of values worth drawing: all of them, or where curves run off to infinity what lies off the ends."""
    every = np.concatenate([np.asarray(c) for c in curves])
    low_x, high_x = float(np.min(x)), float(np.max(x))
    margin = share * (high_x - low_x)
    inside = (x >= low_x + margin) & (x <= high_x - margin)
    inner = np.concatenate([np.asarray(c)[inside] for c in curves])
    every, inner = every[np.isfinite(every)], inner[np.isfinite(inner)]
    if not inner.size:
        return None
    low, high = float(inner.min()), float(inner.max())
    if every.max() - every.min() < 1.5 * (high - low) or high == low:
        low, high = float(every.min()), float(every.max())
    pad = 0.06 * (high - low or 1.0)
    return low - pad, high + pad


def _layout(
    x: str,
    y: str,
    window: tuple[float, float] | None,
    *,
    zero: bool = False,
    across: tuple[float, float] | None = None,
) -> dict[str, Any]:
    x_axis: dict[str, Any] = {"title": {"text": x}, "automargin": True}
    y_axis: dict[str, Any] = {"title": {"text": y}, "automargin": True}
    if across is not None:
        edge = 0.02 * (across[1] - across[0])
        x_axis["range"] = [across[0] - edge, across[1] + edge]
    if window is not None:
        y_axis["range"] = list(window)
    if zero:
        y_axis["zeroline"] = True
    return {"xaxis": x_axis, "yaxis": y_axis, "showlegend": True, "hovermode": "closest"}
