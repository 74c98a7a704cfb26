"""The report's picture strips: originals, reconstructions, samples, as data: addresses with alt texts."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from lossproof.report.readable import number
from lossproof.report.run import Run
from lossproof.report.tables import member_reason


@dataclass(frozen=True)
class Strip:
    """One strip of images side by side; `source` is empty when there is none and `reason` says why."""

    head: str
    source: str
    alt: str
    caption: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Gallery:
    """Strips of the first seed, and those of the other seeds, by seed."""

    first: list[Strip]
    others: list[tuple[int, list[Strip]]] = field(default_factory=list)


def reconstructions(run: Run, epoch: int) -> Gallery | None:
    """Originals above every loss's reconstructions of the same test images."""
    original = run.picture("originals.png")
    if original is None:
        return None
    count = int(run.pictures.get("count", 0))
    name = str(run.config.get("data", {}).get("name", "the data"))
    top = Strip(
        "original", clear_gaps(original, run), f"{count or 'Several'} test images of {name}, side by side"
    )
    groups = _by_seed(run, "reconstructions.png", "reconstructions", epoch)
    seeds = sorted(groups)
    return Gallery([top, *groups[seeds[0]]], [(seed, [top, *groups[seed]]) for seed in seeds[1:]])


def samples(run: Run, epoch: int) -> Gallery | None:
    """What the decoder makes of codes from the prior, the same for every loss; None without samples."""
    groups = _by_seed(run, "samples.png", "samples", epoch)
    if not any(strip.source for strips in groups.values() for strip in strips):
        return None
    seeds = sorted(groups)
    return Gallery(groups[seeds[0]], [(seed, groups[seed]) for seed in seeds[1:]])


def _by_seed(run: Run, file: str, kind: str, epoch: int) -> dict[int, list[Strip]]:
    errors = run.table[
        (run.table["measure"] == "mse") & (run.table["split"] == "test") & (run.table["epoch"] == epoch)
    ]
    mse = dict(zip(errors["member"], errors["value"], strict=True))
    halted = {str(event["member"]): event.get("epoch") for event in run.events if event.get("member")}
    groups: dict[int, list[Strip]] = {}
    for label in run.labels:
        for member, seed in run.members(label):
            source = clear_gaps(run.picture(member, file) or "", run)
            value = mse.get(member, float("nan"))
            caption = ""
            if member in halted:
                caption = f"stopped in epoch {halted[member]}; this is its state before that"
            elif kind == "reconstructions" and np.isfinite(value):
                caption = f"whole test set: mean squared error {number(value)} per pixel"
            what = (
                "the same test images, reconstructed by the model"
                if kind == "reconstructions"
                else "samples of the model"
            )
            alt = f"{label}, seed {seed}: {what} trained under {label}" + (f"; {caption}" if caption else "")
            reason = "" if source else member_reason(run, member)
            groups.setdefault(seed, []).append(Strip(label, source, alt, caption, reason))
    return groups


def clear_gaps(source: str, run: Run) -> str:
    """The strip with its white gap columns made transparent, so that they take the page's colour in dark
    mode too.

    A strip that does not have the stated count and width is returned as it is.
    """
    count = int(run.pictures.get("count", 0))
    shape: list[int] = run.pictures.get("shape") or []
    if not source or len(shape) != 3 or count < 2:
        return source
    width = int(shape[-1])
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        pixels = np.asarray(image.convert("RGBA")).copy()
    if pixels.shape[1] != count * (width + 1) - 1:
        return source
    pixels[:, width :: width + 1, 3] = 0
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
