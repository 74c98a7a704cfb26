"""Images as a stream of blocks: a folder of 100,000 pictures or an array larger than the memory, once from end to end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lossproof.data import idx
from lossproof.data.folder import labels_note, left_out, picture_files
from lossproof.data.images import Array, Images, Labels, Raw
from lossproof.data.loading import NAMES, read
from lossproof.data.pictures import Header, Source
from lossproof.data.shape import as_channels, as_labels, as_nchw
from lossproof.data.stream_arrays import Part, array_part, idx_part, npy_part, npz_parts
from lossproof.data.stream_folder import folder_roots, numbered, open_folder
from lossproof.formula.errors import LossproofError

BLOCK = 1 << 20  # values of a block, unless one image has more
NAMED = 20  # skipped files that are kept by name


@dataclass(frozen=True, slots=True)
class Block:
    """Images as stored, (n, c, h, w); ``numbers`` are their places in the source, ``part`` is "train" or "test"."""

    images: Array
    numbers: "np.ndarray[Any, np.dtype[np.int64]]"
    part: str


@dataclass
class Stream:
    """A source of images that is read block by block. ``skipped`` and ``skipped_count`` fill while it is read.

    ``shape`` is (channels, height, width), ``count`` how many images the source should hold, ``top`` the data set's
    own largest value where that is known.
    """

    name: str
    source: str
    shape: tuple[int, int, int]
    dtype: "np.dtype[Any]"
    parts: tuple[Part, ...]
    top: float | None = None
    labels: Labels | None = None
    notes: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    skipped_count: int = 0
    grey: bool | None = None
    streamed: bool = True

    @property
    def count(self) -> int:
        """How many images the source should hold."""
        return sum(part.count for part in self.parts)

    @property
    def pixels(self) -> int:
        """Values of an image: channels x height x width."""
        c, h, w = self.shape
        return c * h * w

    def blocks(self, values: int = BLOCK) -> Iterator[Block]:
        """Give the images in the source's order, about ``values`` values at a time; damaged pictures are left out."""
        step = max(1, values // self.pixels)
        start = 0
        for part in self.parts:
            for images, numbers in part.read(step):
                shaped = as_channels(as_nchw(images, self.name)[0], self.grey)
                yield Block(shaped, numbers + start, part.name)
            start += part.count

    def start(self, part: str) -> int:
        """The number of a part's first image."""
        names = [one.name for one in self.parts]
        return sum(one.count for one in self.parts[: names.index(part)])

    def skipped_note(self) -> str:
        """How many pictures were left out, and which, in a sentence without its end."""
        names = ", ".join(name for name, _ in self.skipped[:3])
        more = ", ..." if self.skipped_count > 3 else ""
        return f"{self.skipped_count} of {self.count} pictures could not be read, left out: {names}{more}"

    def skip(self, name: str, reason: str) -> None:
        """Count a picture that cannot be read, and keep its name."""
        self.skipped_count += 1
        if len(self.skipped) < NAMED:
            self.skipped.append((name, reason))


def open_stream(
    data: object,
    *,
    size: int | None = None,
    grey: bool | None = None,
    key: str | None = None,
    strict: bool = False,
) -> Stream:
    """Open a data set to be read once, in constant memory.

    ``data`` is what ``load`` takes: a folder of pictures, ``.npy`` (memory-mapped), ``.npz`` and IDX (unpacked block by
    block), an array, ``digits``; ``hub:NAME`` is loaded whole. A picture that cannot be read is skipped, counted and
    named, unless ``strict``. Raises ``LossproofError`` for what ``load`` refuses, and for mixed sizes without ``size``.

    >>> stream = open_stream("digits")
    >>> stream.count, stream.shape, sum(len(block.images) for block in stream.blocks())
    (1797, (1, 8, 8), 1797)
    """
    if isinstance(data, np.ndarray):
        return of_parts("array", "an array in memory", [array_part("train", data)], None, grey, size)
    if isinstance(data, Raw):
        return _of_raw(data)
    if not isinstance(data, str | Path):
        raise LossproofError(
            f"data: expected a name, a path or a NumPy array, got {type(data).__name__}. "
            "A tensor: x.detach().cpu().numpy()."
        )
    path = Path(str(data)).expanduser()
    if str(data) in NAMES or str(data).startswith("hub:") or not path.exists():
        return _of_raw(read(data, size=size, grey=grey, key=key))  # or its message for a wrong name
    if path.is_dir():
        files = idx.find_folder(path)
        if files:
            return _of_idx(path, files, grey, size)
        return _of_folder(path, size=size, grey=grey, strict=strict)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return of_parts(path.name, str(path), [npy_part(path)], None, grey, size)
    if suffix == ".npz":
        parts, labels = npz_parts(path, key)
        return of_parts(path.name, str(path), parts, labels, grey, size)
    if idx.looks_like_idx(path):
        beside = idx.labels_beside(path)
        found = None if beside is None else idx.read_idx(beside)
        return of_parts(path.name, str(path), [idx_part("train", path)], found, grey, size)
    return _of_raw(read(path, size=size, grey=grey, key=key))  # its message says what to do instead


def of_images(images: Images) -> Stream:
    """The stream of images that were loaded before."""
    return _of_raw(
        Raw(images.name, images.train, images.source, images.test, images.train_labels, images.test_labels,
            None, images.notes)
    )  # fmt: skip


def _of_raw(raw: Raw) -> Stream:
    arrays = [("train", raw.train)] + ([("test", raw.test)] if raw.test is not None else [])
    labels = raw.train_labels
    if raw.test is not None:
        both = [part for part in (raw.train_labels, raw.test_labels) if part is not None]
        labels = np.concatenate(both) if len(both) == 2 else None
    shape = (int(raw.train.shape[1]), int(raw.train.shape[2]), int(raw.train.shape[3]))
    parts = tuple(array_part(name, array) for name, array in arrays)
    return Stream(
        raw.name, raw.source, shape, raw.train.dtype, parts, raw.top, labels, list(raw.notes), streamed=False
    )


def of_parts(
    name: str,
    source: str,
    parts: Sequence[Part],
    labels: Array | None,
    grey: bool | None,
    size: int | None,
) -> Stream:
    """A stream of arrays, its shape known from their headers. Raises ``LossproofError`` for other shapes and dtypes."""
    shapes = []
    notes: list[str] = []
    for part in parts:
        if part.dtype.kind not in "buif":
            raise LossproofError(
                f"{name}: expected numbers (uint8, uint16, bool or float), got dtype {part.dtype}, shape "
                f"{part.shape}. Convert them: x = x.astype(np.float32)."
            )
        # an array without memory of its own, to learn the layout from the whole shape
        whole = np.broadcast_to(np.zeros((), part.dtype), part.shape)
        view, said = as_nchw(whole, name)
        shapes.append(tuple(int(n) for n in view.shape[1:]))
        notes += [note for note in said if note not in notes]
    if len(set(shapes)) > 1 or len({part.dtype for part in parts}) > 1:
        raise LossproofError(
            f"{name}: expected train and test images of one shape and dtype, got "
            f"{' and '.join(f'{part.shape} {part.dtype}' for part in parts)}."
        )
    c, h, w = shapes[0]
    if size is not None and (h, w) != (size, size):
        raise LossproofError(
            f"{name}: expected images of {size}x{size}, got {h}x{w}: arrays are not resized. "
            "Leave the size out, or give a folder of pictures."
        )
    if grey is not None:
        c = 1 if grey else max(c, 3)
    known, more = as_labels(labels, sum(part.count for part in parts), f"{name} (labels)")
    dtype = parts[0].dtype
    if grey and shapes[0][0] == 3 and dtype.kind == "b":
        dtype = np.dtype(np.float32)
    return Stream(name, source, (c, h, w), dtype, tuple(parts), None, known, [*notes, *more], grey=grey)


def _of_idx(folder: Path, files: dict[tuple[str, str], Path], grey: bool | None, size: int | None) -> Stream:
    parts = [idx_part(part, files[part, "images"]) for part in ("train", "test") if (part, "images") in files]
    found = [files.get((part.name, "labels")) for part in parts]
    labels = None
    if all(path is not None for path in found):
        labels = np.concatenate([idx.read_idx(path) for path in found if path is not None])
    name = folder.name or str(folder)
    stream = of_parts(name, f"MNIST-format files in {folder}", parts, labels, grey, size)
    if [part.name for part in parts] == ["test"]:
        stream.parts = (replace(parts[0], name="train"),)
        stream.notes.append("the folder has no train images: the test images were split")
    return stream


def _of_folder(folder: Path, *, size: int | None, grey: bool | None, strict: bool) -> Stream:
    roots = folder_roots(folder)
    sources: list[Source] = []
    classes: list[str | None] = []
    counts: dict[str, int] = {}
    for name, root in roots:
        paths = picture_files(root)
        counts[name] = len(paths)
        sources += [Source(str(path), path) for path in paths]
        inner = [path.relative_to(root).parts for path in paths]
        classes += [parts[0] if len(parts) > 1 else None for parts in inner]
    stream = Stream(
        folder.name or str(folder),
        f"image folder {folder}",
        (1, 1, 1),
        np.dtype(np.uint8),
        (),
        labels=numbered(classes),
    )
    refuse: Callable[[str, LossproofError], None] = _raiser() if strict else _skipper(stream)
    opened = open_folder(sources, counts, size=size, grey=grey, where=str(folder), refuse=refuse)
    stream.shape, stream.dtype, stream.parts = opened.shape, opened.dtype, opened.parts
    stream.notes += [*opened.notes, *_folder_notes(folder, [name for name, _ in roots], classes)]
    return stream


def _folder_notes(folder: Path, roots: Sequence[str], classes: Sequence[str | None]) -> list[str]:
    notes = []
    if numbered(classes) is not None:
        notes.append(labels_note(classes))
    if left := left_out(folder, len(roots) == 2):
        notes.append(left)
    return notes


def _raiser() -> Callable[[str, LossproofError], None]:
    def refuse(_: str, error: LossproofError) -> None:
        raise error

    return refuse


def _skipper(stream: Stream) -> Callable[[str, LossproofError], None]:
    def refuse(name: str, error: LossproofError) -> None:
        stream.skip(name, str(error))

    return refuse


__all__ = ["BLOCK", "Block", "Header", "Stream", "open_stream"]
