"""Images larger than the memory: kept on disk as they are stored, turned into float32 when they are asked for."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossproof.data.arrays import open_npy
from lossproof.data.images import Array, Images, Raw
from lossproof.data.scale import Scaling, scaling_of
from lossproof.data.scan import blocks
from lossproof.data.split import Indices, Split, how_split, split_indices
from lossproof.formula.errors import LossproofError

if TYPE_CHECKING:
    from lossproof.data.stream import Stream

SHARE = 0.5  # of the memory that is free: what would take more as float32 is left on disk
STREAM = ("auto", "on", "off")


class Mapped:
    """Images (n, c, h, w) as float32 in [0, 1], read from a memory-mapped array when they are indexed.

    It has the parts of an array that the training and its measures use: `shape`, `dtype`, `len`, and indexing by a
    number, a slice or numbers along the first axis, which reads and scales these images. `rows` are the images' places
    in the array, where they are not all of it. The values are those that `load` gives for the same data, bit for bit.

    >>> made = Mapped(np.arange(8, dtype=np.uint8).reshape(4, 1, 1, 2), Scaling(255, "uint8 / 255"), rows=np.array([1, 3]))
    >>> made.shape, (made[1:] * 255).ravel().tolist()
    ((2, 1, 1, 2), [6.0, 7.0])
    """

    dtype = np.dtype(np.float32)
    ndim = 4

    def __init__(
        self, stored: Array, scaling: Scaling, rows: Indices | None = None, keep: object = None
    ) -> None:
        self.stored, self.scaling, self.rows = stored, scaling, rows
        self.keep = keep  # the folder that the array lies in, which lives as long as this does
        count = len(stored) if rows is None else len(rows)
        self.shape = (count, *(int(n) for n in stored.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """How many values there are."""
        return int(np.prod(self.shape, dtype=object))

    @property
    def nbytes(self) -> int:
        """What they would take in memory."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, key: Any) -> Array:
        if isinstance(key, slice) and self.rows is None:
            return self.scaling.apply(self.stored[key])
        places = np.arange(len(self))[key] if self.rows is None else self.rows[key]
        if np.ndim(places) == 0:
            return self.scaling.apply(self.stored[places])
        return self.scaling.apply(np.take(self.stored, places, axis=0))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self[:] if dtype is None else self[:].astype(dtype)

    def to_json(self, folder: Path, name: str) -> dict[str, Any]:
        """Where another process on this machine finds them; numbers of rows go into a file in `folder`."""
        base = self.stored
        while not isinstance(base, np.memmap):
            base = base.base  # type: ignore[assignment]
        start = self.stored.__array_interface__["data"][0] - base.__array_interface__["data"][0]
        rows = None
        if self.rows is not None:
            rows = str(folder / f"{name}-rows.npy")
            np.save(rows, self.rows)
        return {
            "path": str(Path(str(base.filename)).resolve()),
            "offset": int(base.offset) + int(start),
            "dtype": self.stored.dtype.str,
            "shape": [int(n) for n in self.stored.shape],
            "strides": [int(n) for n in self.stored.strides],
            "bytes": Path(str(base.filename)).stat().st_size,
            "divisor": self.scaling.divisor,
            "rows": rows,
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Mapped:
        """The images that `to_json` told of. Raises `LossproofError` where their file is not there, or another one."""
        path = Path(told["path"])
        try:
            size = path.stat().st_size
            whole = np.memmap(path, dtype=np.uint8, mode="r")
        except OSError as error:
            raise LossproofError(
                f"engine: expected {path} on every machine, cannot read it here ({error}). Data that are streamed stay "
                "in their file: put it where all workers see it."
            ) from error
        if size != told["bytes"]:
            raise LossproofError(
                f"engine: expected {path} with {told['bytes']} bytes as where the run was started, got {size}. "
                "Is it the same file?"
            )
        stored = np.ndarray(
            tuple(told["shape"]), np.dtype(told["dtype"]), whole, told["offset"], tuple(told["strides"])
        )
        rows = None if told["rows"] is None else np.load(told["rows"])
        return cls(stored, Scaling(told["divisor"], ""), rows)


def counted(images: Array | Mapped, levels: int | None) -> tuple[Array, Array]:
    """The distinct values of images in [0, 1], ascending, and how often each occurs.

    On `levels` grey levels they are counted level by level, else sorted: in one piece in memory, and where images are
    read from disk with more than 65,536 distinct values, the ends and a sample of the values between.

    >>> [part.tolist() for part in counted(np.float32([[0, 1], [1, 0.5]]), 3)]
    [[0.0, 0.5, 1.0], [1, 1, 2]]
    """
    if levels is not None:
        table = np.arange(levels, dtype=np.float32) / np.float32(levels - 1)
        counts = np.zeros(levels, np.int64)
        others: list[Array] = []  # stored as floats, and rounded another way than here
        for block, _ in blocks(images):
            # what is no number, or outside, is on no level
            near = np.fmin(np.fmax(np.rint(block * np.float32(levels - 1)), 0), levels - 1)
            place = near.astype(np.int64)
            exact = table[place] == block
            counts += np.bincount(place[exact], minlength=levels)
            others += [] if exact.all() else [block[~exact]]
        odd, times = np.unique(np.concatenate([*others, np.empty(0, np.float32)]), return_counts=True)
        values = np.concatenate([table[counts > 0], odd])
        order = np.argsort(values)
        return values[order], np.concatenate([counts[counts > 0], times])[order]
    if not isinstance(images, Mapped):
        return np.unique(images, return_counts=True)
    return _counted_on_disk(images)


def _counted_on_disk(images: Mapped) -> tuple[Array, Array]:
    values, counts = np.empty(0, np.float32), np.empty(0, np.int64)
    for block, _ in blocks(images):
        found, times = np.unique(block, return_counts=True)
        merged, where = np.unique(np.concatenate([values, found]), return_inverse=True)
        together = np.zeros(merged.size, np.int64)
        np.add.at(together, where, np.concatenate([counts, times]))
        if merged.size > MOST:  # every second one goes to its neighbour, the ends stay
            into = np.minimum(np.arange(merged.size) // 2 * 2, merged.size - 1)
            into[-1] = merged.size - 1
            kept, where = np.unique(into, return_inverse=True)
            shared = np.zeros(kept.size, np.int64)
            np.add.at(shared, where, together)
            merged, together = merged[kept], shared
        values, counts = merged, together
    return values, counts


MOST = 1 << 16


def memory() -> int:
    """Bytes of memory that are free on this machine, or in the container that this process is in."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        limit, used = (
            int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current")
        )
        free.append(limit - used)
    except (OSError, ValueError):  # no Linux, or no limit
        pass
    if not free and hasattr(os, "sysconf"):
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(free)) if free else 1 << 62


def streamed(stream: str, data: object, *, size: int | None, grey: bool | None, key: str | None) -> bool:
    """Whether data are to stay on disk: as asked for, or (auto) where they would take more than half of the memory."""
    if stream not in STREAM:
        raise LossproofError(f"stream: expected one of {', '.join(STREAM)}, got {stream!r}.")
    if stream != "auto":
        return stream == "on"
    values = _values(data, size=size, key=key)
    return values is not None and 4 * values > SHARE * memory()


def _values(data: object, *, size: int | None, key: str | None) -> int | None:
    """How many values a source holds, by its headers; None where that takes reading it, or it is in memory already."""
    from lossproof.data.folder import SUFFIXES
    from lossproof.data.stream import open_stream

    path = Path(str(data)).expanduser()
    if isinstance(data, np.ndarray) or not path.exists():
        return None
    if path.suffix.lower() in (".npy", ".npz"):
        parts = open_stream(path, key=key).parts
        return sum(int(np.prod(part.shape, dtype=object)) for part in parts)
    if path.is_dir():
        # a file a picture: as many, and as large as the first one
        first, count = None, 0
        for place in path.rglob("*"):
            if place.suffix.lower() in SUFFIXES:
                first, count = first or place, count + 1
        if first is not None:
            return count * 3 * (size or _side(first)) ** 2
    return None


def _side(path: Path) -> int:
    from lossproof.data.pictures import Source, header

    try:
        height, width = Source(str(path), path).read(header).size
    except LossproofError:
        return 0
    return max(height, width)


def load_mapped(
    data: object,
    *,
    size: int | None,
    grey: bool | None,
    key: str | None,
    test_fraction: float,
    split: Split,
    seed: int,
) -> Images:
    """What `load` gives, with images that stay on disk."""
    raw, keep = _opened(data, size=size, grey=grey, key=key)
    scaling = scaling_of(raw)
    if scaling.problem is not None:
        raise LossproofError(scaling.problem.message)
    train, test, labels, notes = raw.train, raw.test, [raw.train_labels, raw.test_labels], raw.notes
    rows: tuple[Indices | None, Indices | None] = (None, None)
    if test is None:
        test, rows = train, split_indices(len(train), test_fraction, split, seed, raw.name)
        labels = [None if raw.train_labels is None else raw.train_labels[part] for part in rows]
        notes = (*notes, how_split(len(rows[1]), len(train), split, seed))
    mapped: list[Any] = [
        Mapped(array, scaling, part, keep) for array, part in zip((train, test), rows, strict=True)
    ]
    return Images(
        raw.name,
        mapped[0],
        mapped[1],
        labels[0],
        labels[1],
        raw.source,
        scaling.text,
        scaling.levels,
        (*notes, *scaling.notes, "streamed: images stay on disk and are read when they are needed"),
    )


def _opened(data: object, *, size: int | None, grey: bool | None, key: str | None) -> tuple[Raw, object]:
    """A .npy file as it lies there; all else unpacked, block by block, into files of the same kind, and their folder."""
    from lossproof.data.loading import finish
    from lossproof.data.stream import open_stream
    from lossproof.data.stream_hub import open_hub

    path = Path(str(data)).expanduser()
    if path.is_file() and path.suffix.lower() == ".npy" and grey is None:
        return finish(Raw(path.name, open_npy(path), str(path)), size=size, grey=None), None
    if str(data).startswith("hub:"):
        return _unpacked(open_hub(str(data).removeprefix("hub:"), key=key, size=size, grey=grey))
    return _unpacked(open_stream(data, size=size, grey=grey, key=key, strict=True))


class Folder:
    """A temporary folder that is removed with the last one who knows of it, or when the program ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="lossproof-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _unpacked(stream: Stream) -> tuple[Raw, object]:
    keep = Folder()
    try:
        files = [_written(stream, number, keep.path) for number in range(len(stream.parts))]
    except OSError as error:
        size = stream.count * stream.pixels * stream.dtype.itemsize / 2**20
        raise LossproofError(
            f"stream: expected room for {size:.0f} MiB of pixels in {keep.path.parent}, cannot write there "
            f"({error}). Set TMPDIR to a folder with more."
        ) from error
    train = files[0]
    test = files[1] if len(files) > 1 else None
    labels = stream.labels
    raw = Raw(stream.name, train, stream.source, test, top=stream.top, notes=tuple(stream.notes))
    if labels is not None:
        count = len(train)
        raw = replace(raw, train_labels=labels[:count], test_labels=None if test is None else labels[count:])
    return raw, keep


def _written(stream: Stream, number: int, folder: Path) -> Array:
    """One part of a stream in a file of its own, memory-mapped."""
    part = stream.parts[number]
    alone = replace(stream, parts=(part,))
    path = folder / f"{number}.npy"
    out = np.lib.format.open_memmap(path, "w+", stream.dtype, (part.count, *stream.shape))
    done = 0
    for block in alone.blocks():
        out[done : done + len(block.images)] = block.images
        done += len(block.images)
    out.flush()
    del out
    return open_npy(path)


__all__ = ["STREAM", "Mapped", "counted", "load_mapped", "memory", "streamed"]
