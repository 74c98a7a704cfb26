"""The advice as one self-contained HTML page, without scripts."""

from __future__ import annotations

import base64
import io
import math
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from lossproof.advise.advice import Advice
from lossproof.advise.criteria import COLUMNS
from lossproof.advise.words import fact_rows, floors
from lossproof.data.facts_stream import Facts
from lossproof.formula import LossproofError

SHOWN = 8  # images of the sample
FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras", "jax": "JAX"}


def write(advice: Advice, path: str | Path) -> Path:
    """Write the page and return its path; the write is atomic. Raises ``LossproofError`` where it cannot be written."""
    target = Path(path)
    text = render(advice)
    try:
        handle, name = tempfile.mkstemp(prefix=".advice-", suffix=".html", dir=target.parent)
    except OSError as error:
        raise LossproofError(
            f"{target}: expected a file that can be written, got {error.strerror}."
        ) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def render(advice: Advice) -> str:
    """The page as one string."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("lossproof.advise", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("advice.html.j2").render(
        advice=advice,
        facts=advice.facts,
        css=Markup(_css()),
        fact_rows=fact_rows(advice.facts),
        columns=COLUMNS,
        code=[(FRAMEWORKS[name], text) for name, text in advice.code.items()],
        histogram=histogram(advice),
        floors=floors(advice.floors),
        looks=looks(advice.facts),
        spectrum=spectrum(advice),
        dots=dots(advice),
        number=number,
    )


def _css() -> str:
    """The style of the reports: their style sheet is read as a file, this room imports nothing of theirs."""
    return (
        resources.files("lossproof").joinpath("report", "templates", "report.css").read_text(encoding="utf-8")
    )


def number(value: float | None) -> str:
    """Three figures; a dash for none.

    >>> number(0.31731), number(None)
    ('0.317', '–')
    """
    return "–" if value is None or not math.isfinite(value) else f"{value:.3g}"


def looks(facts: Facts) -> str:
    """Eight images of the sample, then its mean and its standard deviation, side by side, as a data URI.

    They show at once whether the right values were read, in the right layout. The deviation is brought to its largest.
    """
    from PIL import Image

    chosen = facts.sample[np.linspace(0, len(facts.sample) - 1, min(SHOWN, len(facts.sample))).astype(int)]
    spread = facts.sample.std(axis=0, dtype=np.float64)
    row = [*chosen, facts.sample.mean(axis=0, dtype=np.float64), spread / (spread.max() or 1.0)]
    c, h, w = facts.shape
    pixels = np.zeros((h, len(row) * (w + 1) - 1, 4), np.uint8)  # gaps are transparent
    for place, image in enumerate(row):
        at = slice(place * (w + 1), place * (w + 1) + w)
        whole = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
        pixels[:, at, :3] = np.moveaxis(whole if c == 3 else np.repeat(whole[:1], 3, axis=0), 0, -1)
        pixels[:, at, 3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def histogram(advice: Advice) -> list[dict[str, float]]:
    """Bars of the values' histogram: x and width in 0..640, height in 0..100 on a square-root scale."""
    counts = advice.facts.histogram
    top = math.sqrt(max(counts)) or 1.0
    width = 640 / len(counts)
    return [
        {"x": i * width, "width": width - 1, "height": 100 * math.sqrt(n) / top} for i, n in enumerate(counts)
    ]


def spectrum(advice: Advice) -> dict[str, Any] | None:
    """Points of the covariance's eigenvalues on a logarithmic scale, with the advised law's variance as a line."""
    values = [float(v) for v in advice.facts.spectrum.values[:64] if v > 1e-9]
    if len(values) < 2:
        return None
    deviation = advice.table[advice.loss]["active"].value
    low, high = math.log10(values[-1]), math.log10(values[0])
    span = (high - low) or 1.0
    points = [
        {"x": 8 + 624 * i / (len(values) - 1), "y": 8 + 104 * (high - math.log10(v)) / span}
        for i, v in enumerate(values)
    ]
    return {
        "points": points,
        "first": f"{values[0]:.3g}",
        "last": f"{values[-1]:.3g}",
        "kept": None if deviation is None else int(deviation),
        "count": len(values),
    }


def dots(advice: Advice) -> list[dict[str, Any]]:
    """Rows of the pilot: each seed's value beside the best loss's, in 0..600, and the interval of the mean difference."""
    pilot = advice.pilot
    if pilot is None:
        return []
    rows = [row for row in pilot.rows if not row.reason and all(map(math.isfinite, row.values))]
    if not rows:
        return []
    best = rows[0].values
    gaps = {row.label: [v - b for v, b in zip(row.values, best, strict=True)] for row in rows}
    ends = [g for gap in gaps.values() for g in gap] + [
        v for row in rows for v in (row.low, row.high) if math.isfinite(v)
    ]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return 10 + 580 * (value - low) / span

    return [
        {
            "label": row.label,
            "chosen": row.label == pilot.chosen,
            "zero": place(0.0),
            "points": [place(gap) for gap in gaps[row.label]],
            "low": place(row.low if math.isfinite(row.low) else 0.0),
            "high": place(row.high if math.isfinite(row.high) else 0.0),
            "text": f"{row.mean:.4g}"
            + (f", {row.behind:+.2g} [{row.low:.2g}, {row.high:.2g}]" if row.behind else ", the best")
            + (f"; told from {row.beaten_by}" if row.beaten_by else ""),
        }
        for row in rows
    ]
