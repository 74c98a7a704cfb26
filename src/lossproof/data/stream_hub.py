"""A Hugging Face data set as a stream: rows come out of its memory-mapped Arrow files block by block."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lossproof.data.hub import as_bytes, content, open_sets, quiet, rows
from lossproof.data.images import Array
from lossproof.data.pictures import Source
from lossproof.data.shape import as_labels
from lossproof.data.stream import BLOCK, Stream, of_parts
from lossproof.data.stream_arrays import Numbers, Part
from lossproof.data.stream_folder import open_folder
from lossproof.formula.errors import LossproofError


def open_hub(name: str, *, key: str | None, size: int | None, grey: bool | None) -> Stream:
    """What ``read_hub`` reads, as a stream. Raises ``LossproofError`` for the same reasons, and for damaged pictures."""
    datasets, sets, column, notes, labels = open_sets(name, key)
    parts = {role: part for role, part in zip(("train", "test"), sets, strict=True) if part is not None}
    count = sum(map(len, parts.values()))
    if count == 0:
        raise LossproofError(
            f"hub:{name}: expected images, got an empty data set. Check the split and its files."
        )
    known = [part for part in labels if part is not None]
    both = np.concatenate(known) if len(known) == len(parts) else None
    title, source = f"hub:{name}", f"Hugging Face data set {name}, column {column!r}"
    if not isinstance(sets[0].features[column], datasets.Image):
        found = [_arrays(name, role, part, column) for role, part in parts.items()]
        if all(part.dtype.kind == "i" for part in found):
            ends = [_ends(part) for part in found]
            if min(low for low, _ in ends) >= 0 and (top := max(high for _, high in ends)) <= 255:
                found = [_bytes_of(part) for part in found]
                notes = (as_bytes(column, top), *notes)
        made = of_parts(title, source, found, both, grey, size)
        made.notes += notes
        return made
    sources = [
        Source(f"{title}[{i}]", partial(_cell, cells, column, i, f"{title}[{i}]"))
        for part in parts.values()
        for cells in [part.cast_column(column, datasets.Image(decode=False))]
        for i in range(len(part))
    ]
    counts = {role: len(part) for role, part in parts.items()}
    with quiet(datasets):
        opened = open_folder(sources, counts, size=size, grey=grey, where=title, refuse=_refuse)
    known_labels, more = as_labels(both, count, f"{title} (labels)")
    return Stream(
        title, source, opened.shape, opened.dtype, opened.parts, labels=known_labels,
        notes=[*opened.notes, *notes, *more],
    )  # fmt: skip


def _cell(cells: Any, column: str, place: int, where: str) -> bytes | Path:
    return content(cells[place][column], where)


def _refuse(name: str, error: LossproofError) -> None:
    raise error


def _arrays(name: str, role: str, part: Any, column: str) -> Part:
    first = rows(name, part, column, slice(0, 1))

    def read(step: int) -> Iterator[tuple[Array, Numbers]]:
        for start in range(0, len(part), step):
            block = rows(name, part, column, slice(start, start + step))
            if block.shape[1:] != first.shape[1:]:
                raise LossproofError(
                    f"hub:{name}: expected rows of one shape in column {column!r}, got {first.shape[1:]} and "
                    f"{block.shape[1:]}. Resize them."
                )
            yield block, np.arange(start, start + len(block))

    return Part(role, (len(part), *first.shape[1:]), first.dtype, read)


def _ends(part: Part) -> tuple[int, int]:
    step = max(1, BLOCK // max(1, int(np.prod(part.shape[1:]))))
    ends = [(int(block.min()), int(block.max())) for block, _ in part.read(step)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def _bytes_of(part: Part) -> Part:
    def read(step: int) -> Iterator[tuple[Array, Numbers]]:
        for block, numbers in part.read(step):
            yield block.astype(np.uint8), numbers

    return Part(part.name, part.shape, np.dtype(np.uint8), read)


__all__ = ["open_hub"]
