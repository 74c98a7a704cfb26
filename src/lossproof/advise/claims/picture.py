"""A plot as inline SVG: no script, colours from the page's style sheet."""

import html
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from lossproof.advise.claims.records import Plot

WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 38
POINTS = 161  # of a curve; more cannot be seen
Floats = npt.NDArray[np.float64]
TONES = 6  # --loss-0 .. --loss-5 of the page
DASHES = ("", "6 3", "2 3", "9 3 2 3")


def svg(plot: Plot, key: str = "plot") -> str:
    """Draw the plot; curves leave gaps where they are not finite, and are cut at the window. ``key`` is unique in a page.

    >>> from lossproof.advise.claims.records import Line
    >>> drawn = svg(Plot("p", "loss", (Line("a", [0.0, 1.0], [1.0, 0.0]),), "a falling line"))
    >>> drawn.startswith("<svg"), drawn.count("<path")
    (True, 1)
    """
    x_low, x_high = _span([value for line in plot.lines for value in np.ravel(line.x).tolist()])
    y_low, y_high = plot.window or _padded(
        _span([v for line in plot.lines for v in np.ravel(line.y).tolist()] + [y for _, y in plot.marks])
    )

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1)
        up = (y - y_low) / ((y_high - y_low) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    frame = f"frame-{html.escape(key)}"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(plot.alt)}">',
        f'<clipPath id="{frame}"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
    ]
    for value in ticks(x_low, x_high):
        x, _ = place(value, y_low)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{value:g}</text>'
        )
    for value in ticks(y_low, y_high):
        _, y = place(x_low, value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{value:g}</text>'
        )
    for index, line in enumerate(plot.lines):
        path = _path(*_thin(line.x, line.y), place, y_high - y_low)
        dash = f' stroke-dasharray="{DASHES[index % len(DASHES)]}"' if index else ""
        parts.append(f'<path class="tone-{index % TONES}" clip-path="url(#{frame})" d="{path}"{dash}/>')
    for mark in plot.marks:
        x, y = place(*mark)
        parts.append(f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts += [
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 5}" text-anchor="middle">'
        f"{html.escape(plot.x)}</text>",
        f'<text class="axis" x="11" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 11 {middle:.0f})">'
        f"{html.escape(plot.y)}</text>",
        "</svg>",
    ]
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers in a range.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 12) + 0.0 for i in range(count)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    finite = [float(v) for v in values if math.isfinite(v)]
    return (min(finite), max(finite)) if finite else (0.0, 1.0)


def _padded(span: tuple[float, float]) -> tuple[float, float]:
    low, high = span
    pad = 0.05 * ((high - low) or 1)
    return low - pad, high + pad


def _thin(xs: npt.ArrayLike, ys: npt.ArrayLike) -> tuple[Floats, Floats]:
    """At most ``POINTS`` points of a curve, both ends among them."""
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).round().astype(int))
    return x[keep], y[keep]


def _path(xs: Floats, ys: Floats, place: Callable[[float, float], tuple[float, float]], height: float) -> str:
    """Path data; a point that is not finite, or very far outside the window, lifts the pen."""
    drawn, pen = [], "M"
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
        if not (math.isfinite(x) and math.isfinite(y)) or abs(y) > 1e3 * (height or 1):
            pen = "M"
            continue
        across, down = place(x, y)
        drawn.append(f"{pen}{across:.1f} {down:.1f}")
        pen = "L"
    return "".join(drawn)
