"""Parts of a stream that lie in a folder of pictures, decoded block by block; damaged ones are handed to the caller."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lossproof.data.folder import TESTS
from lossproof.data.images import Array, Labels
from lossproof.data.pictures import Header, Source, _decode, _dtype, _header_notes, header
from lossproof.data.stream_arrays import Numbers, Part
from lossproof.formula.errors import LossproofError

Refuse = Callable[[str, LossproofError], None]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose headers were read: the shape and dtype of its images, its parts, and what was assumed."""

    shape: tuple[int, int, int]
    dtype: "np.dtype[Any]"
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


def folder_roots(folder: Path) -> list[tuple[str, Path]]:
    """The folders of train and test pictures: train/ and test/ (or val/ ...) if both are there, else all as train."""
    inner = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    test = next((inner[t] for t in TESTS if t in inner), None)
    if "train" in inner and test is not None:
        return [("train", inner["train"]), ("test", test)]
    return [("train", folder)]


def numbered(classes: Sequence[str | None]) -> Labels | None:
    """Class names as numbers in alphabetical order; None unless every picture has one of at least two.

    >>> numbered(["b", "a", "b"]).tolist(), numbered(["a", None])
    ([1, 0, 1], None)
    """
    names = sorted({c for c in classes if c is not None})
    if len(names) < 2 or any(c is None for c in classes):
        return None
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[c] for c in classes if c is not None], np.int64)


def open_folder(
    sources: Sequence[Source],
    counts: dict[str, int],
    *,
    size: int | None,
    grey: bool | None,
    where: str,
    refuse: Refuse,
) -> Folder:
    """Read the headers of all pictures and make the parts; ``refuse`` is told of each that cannot be read.

    ``counts`` gives the number of pictures of each part, in order. Raises ``LossproofError`` when none can be read and
    for mixed sizes without ``size``.
    """
    if size is not None and size < 1:
        raise LossproofError(f"{where}: expected a size of at least 1 pixel, got {size}. Try 32.")
    headers: dict[int, Header] = {}
    sizes: dict[tuple[int, int], str] = {}
    last: LossproofError | None = None
    for place, source in enumerate(sources):
        try:
            headers[place] = source.read(header)
        except LossproofError as error:
            last = error
            refuse(source.name, error)
            continue
        sizes.setdefault(headers[place].size, source.name)
    if not headers:
        if last is not None:
            raise last
        raise LossproofError(
            f"{where}: expected pictures (png, jpeg, ...) or MNIST-format IDX files, got none. Is the path right?"
        )
    if len(sizes) > 1 and size is None:
        some = ", ".join(f"{h}x{w} ({name})" for (h, w), name in list(sizes.items())[:3])
        shortest = min(min(s) for s in sizes)
        raise LossproofError(
            f"{where}: expected pictures of one size, got {len(sizes)} sizes: {some}. "
            f"Give a size: --size {shortest} (or size={shortest})."
        )
    known = list(headers.values())
    is_grey = all(h.grey for h in known) if grey is None else grey
    resized = size is not None and set(sizes) != {(size, size)}
    dtype = _dtype({h.kind for h in known}, resized, where)
    height, width = (size, size) if size is not None else next(iter(sizes))
    decode = partial(_decode, grey=is_grey, dtype=dtype, size=(height, width), resize=size is not None)
    shape = (1 if is_grey else 3, height, width)
    parts, start = [], 0
    for name, count in counts.items():
        places = [p for p in range(start, start + count) if p in headers]
        read = partial(_read, sources, places, start, shape, dtype, decode, refuse)
        parts.append(Part(name, (count, *shape), dtype, read))
        start += count
    return Folder(shape, dtype, tuple(parts), _header_notes(known, is_grey, size if resized else None))


def _read(
    sources: Sequence[Source],
    places: Sequence[int],
    first: int,
    shape: tuple[int, int, int],
    dtype: "np.dtype[Any]",
    decode: Callable[..., Array],
    refuse: Refuse,
    step: int,
) -> Iterator[tuple[Array, Numbers]]:
    for start in range(0, len(places), step):
        chosen = places[start : start + step]
        out = np.empty((len(chosen), *shape), dtype)
        kept: list[int] = []
        for place in chosen:
            source = sources[place]
            try:
                out[len(kept)] = source.read(partial(decode, name=source.name))
            except LossproofError as error:
                refuse(source.name, error)
                continue
            kept.append(place - first)
        if kept:
            yield out[: len(kept)], np.array(kept, np.int64)
