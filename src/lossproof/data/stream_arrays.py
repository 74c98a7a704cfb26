"""Parts of a stream that lie in files of arrays: memory-mapped .npy, .npz and IDX unpacked block by block."""

import gzip
import mmap
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lossproof.data.arrays import _choose, _damaged, open_npy, refuse_pickle
from lossproof.data.idx import DTYPES, GZIP
from lossproof.data.images import Array
from lossproof.formula.errors import LossproofError

Numbers = npt.NDArray[np.int64]
Reader = Callable[[int], Iterator[tuple[Array, Numbers]]]


@dataclass(frozen=True, slots=True)
class Part:
    """One run of images of a stream: "train" or "test", its whole shape as stored, and how to read it.

    ``read(step)`` gives arrays of at most ``step`` images with their places in the part.
    """

    name: str
    shape: tuple[int, ...]
    dtype: "np.dtype[Any]"
    read: Reader

    @property
    def count(self) -> int:
        """How many images the part should hold."""
        return self.shape[0] if self.shape else 0


def array_part(name: str, array: Array) -> Part:
    """A part of an array, which may be memory-mapped."""

    def read(step: int) -> Iterator[tuple[Array, Numbers]]:
        forget = _forgetter(array)
        for start in range(0, len(array), step):
            block = np.asarray(array[start : start + step])
            yield block, np.arange(start, start + len(block))
            forget()

    return Part(name, tuple(int(n) for n in array.shape), array.dtype, read)


def _forgetter(array: Array) -> Callable[[], None]:
    """What lets the pages of a memory-mapped file go that were read; else they count as the program's until memory is short.

    Not for a mapping that keeps changes to itself (mode "c"): they would be lost.
    """
    found: Any = array
    while found is not None and not isinstance(found, np.memmap):
        found = getattr(found, "base", None)
    mapped = getattr(found, "_mmap", None)
    if mapped is None or getattr(found, "mode", "c") == "c" or not hasattr(mmap, "MADV_DONTNEED"):
        return lambda: None
    return lambda: mapped.madvise(mmap.MADV_DONTNEED)


def npy_part(path: Path) -> Part:
    """A ``.npy`` file, read block by block. Raises ``LossproofError`` for pickled arrays and damaged files."""
    return array_part("train", open_npy(path))  # memory-mapped; its pages are let go as it is read


def npz_parts(path: Path, key: str | None) -> tuple[list[Part], Array | None]:
    """Train and test images of a ``.npz`` file, unpacked block by block, and the labels of all of them."""
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as archive:
            chosen = _choose(path, list(archive.files), key)
            labels = [archive[chosen[r]] for r in ("train_labels", "test_labels") if r in chosen]
        parts = [_member(path, role, f"{chosen[role]}.npy") for role in ("train", "test") if role in chosen]
    except LossproofError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as e:
        raise _damaged(path, e) from e
    whole = len(labels) == len(parts)
    return parts, np.concatenate(labels) if whole and labels else None


def _member(path: Path, role: str, member: str) -> Part:
    with zipfile.ZipFile(path) as archive, archive.open(member) as f:
        shape, fortran, dtype = _header(f, path)
    if dtype.hasobject:
        raise refuse_pickle(path, "an array of Python objects (pickled inside the file)")
    if fortran and len(shape) > 1:  # stored column by column: its images are nowhere in one piece
        with np.load(path, allow_pickle=False) as loaded:
            return array_part(role, loaded[member.removesuffix(".npy")])

    def read(step: int) -> Iterator[tuple[Array, Numbers]]:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as f:
                _header(f, path)
                yield from _blocks(f, shape, dtype, step, path)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as e:
            raise _damaged(path, e) from e

    return Part(role, shape, dtype, read)


def _header(f: Any, path: Path) -> tuple[tuple[int, ...], bool, "np.dtype[Any]"]:
    version = np.lib.format.read_magic(f)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(f)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(f)
    raise LossproofError(f"{path}: expected an array of numbers, got one of NumPy's format {version}.")


def idx_part(name: str, path: Path) -> Part:
    """An IDX file of images, gzipped or not. Raises ``LossproofError`` for a wrong header or a file cut short."""
    head, start = _idx_header(path)
    dtype, shape = head
    if len(shape) < 2:
        raise LossproofError(
            f"{path}: expected images (magic number 2051), got {len(shape)} axis, shape {shape}: "
            "the labels file? Give the images file."
        )
    native = dtype.newbyteorder("=")

    def read(step: int) -> Iterator[tuple[Array, Numbers]]:
        try:
            with _open(path) as f:
                f.read(start)
                for block, numbers in _blocks(f, shape, dtype, step, path):
                    yield block.astype(native, copy=False), numbers
                if f.read(1):
                    raise LossproofError(
                        f"{path}: expected {shape[0]} images, got a file that is longer than it says. "
                        "Download it again."
                    )
        except (EOFError, zlib.error, gzip.BadGzipFile) as e:
            raise LossproofError(
                f"{path}: expected a whole gzip file, got one that is cut short or damaged ({e}). "
                "Download it again."
            ) from e

    return Part(name, shape, native, read)


def _idx_header(path: Path) -> "tuple[tuple[np.dtype[Any], tuple[int, ...]], int]":
    try:
        with _open(path) as f:
            magic = f.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] == 0:
                raise LossproofError(
                    f"{path}: expected an IDX file (magic number 0x00000803 = 2051 for images), got first bytes "
                    f"0x{magic.hex() or ' (empty)'}. Is it another format, or damaged?"
                )
            axes = magic[3]
            sizes = f.read(4 * axes)
    except (OSError, EOFError, zlib.error) as e:
        if isinstance(e, LossproofError):
            raise
        raise LossproofError(f"{path}: expected a readable IDX file, got {e}. Download it again.") from e
    if len(sizes) < 4 * axes:
        raise LossproofError(
            f"{path}: expected an IDX header for {axes} axes, got a file cut short. Download it again."
        )
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    return (np.dtype(DTYPES[magic[2]]), shape), 4 + 4 * axes


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as f:
        zipped = f.read(2) == GZIP
    return gzip.open(path) if zipped else path.open("rb")  # type: ignore[return-value]


def _blocks(
    f: IO[bytes], shape: tuple[int, ...], dtype: "np.dtype[Any]", step: int, path: Path
) -> Iterator[tuple[Array, Numbers]]:
    each = dtype.itemsize * int(np.prod(shape[1:], dtype=object))
    for start in range(0, shape[0], step):
        count = min(step, shape[0] - start)
        content = f.read(count * each)
        if len(content) < count * each:
            raise LossproofError(
                f"{path}: expected {shape[0]} images, got data for {start + len(content) // max(each, 1)}: "
                "the file is cut short. Download it again."
            )
        yield np.frombuffer(content, dtype).reshape(count, *shape[1:]), np.arange(start, start + count)
