"""Read a folder of pictures; sub-folders are classes, and train/ and test/ above them are a split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lossproof.data.images import Array, Labels, Raw
from lossproof.data.pictures import Source, stack
from lossproof.formula.errors import LossproofError

_ENDINGS = (
    "png",
    "jpg",
    "jpeg",
    "bmp",
    "gif",
    "webp",
    "tif",
    "tiff",
    "ppm",
    "pgm",
    "pbm",
    "pnm",
    "jp2",
    "tga",
)
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS)
TESTS = ("test", "val", "valid", "validation")


def picture_files(folder: Path) -> list[Path]:
    """List the pictures below a folder, sorted by path; hidden files and folders are left out."""
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if (
            path.suffix.lower() in SUFFIXES
            and not any(p.startswith((".", "__MACOSX")) for p in parts)
            and path.is_file()
        ):
            found.append(path)
    return sorted(found)


def read_folder(folder: Path, *, size: int | None, grey: bool | None) -> Raw:
    """Read the pictures of a folder.

    Raises ``LossproofError`` when there are none, and for mixed sizes without ``size``.
    """
    parts = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    test_folder = next((parts[t] for t in TESTS if t in parts), None)
    own_split = "train" in parts and test_folder is not None
    roots = [parts["train"], test_folder] if own_split and test_folder is not None else [folder]
    files = [picture_files(root) for root in roots]
    for root, found in zip(roots, files, strict=True):
        if not found:
            others = sorted({p.suffix.lower() or p.name for p in root.iterdir() if p.is_file()})[:5]
            seen = (
                f"a folder with {', '.join(others)}" if others else "an empty folder or one of folders only"
            )
            raise LossproofError(
                f"{root}: expected pictures (png, jpeg, ...) or MNIST-format IDX files, got {seen}. "
                "Is the path right?"
            )
    sources = [Source(str(path), path) for found in files for path in found]
    images, notes = stack(sources, size=size, grey=grey, where=str(folder))
    classes = [_class_of(path, root) for root, found in zip(roots, files, strict=True) for path in found]
    labels = _numbers(classes)
    if labels is not None:
        notes += (labels_note(classes),)
    n = len(files[0])
    if ignored := left_out(folder, len(roots) == 2):
        notes += (ignored,)
    if len(roots) == 1:
        return Raw(
            folder.name or str(folder), images, f"image folder {folder}", None, labels, None, notes=notes
        )
    test: Array = images[n:]
    return Raw(
        folder.name or str(folder),
        images[:n],
        f"image folder {folder}",
        test,
        None if labels is None else labels[:n],
        None if labels is None else labels[n:],
        notes=notes,
    )


def labels_note(classes: Sequence[str | None]) -> str:
    """Which classes the labels number."""
    names = sorted({str(c) for c in classes})
    return f"labels are {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def left_out(folder: Path, own_split: bool) -> str:
    """Which folders beside train/ and the one taken for test/ are not read; "" for none."""
    there = {p.name.lower() for p in folder.iterdir() if p.is_dir()}
    others = [name for name in TESTS if name in there][1:] if own_split else []
    return f"folders left out: {', '.join(others)}" if others else ""


def _class_of(path: Path, root: Path) -> str | None:
    inner = path.relative_to(root).parts
    return inner[0] if len(inner) > 1 else None


def _numbers(classes: list[str | None]) -> Labels | None:
    names = sorted({c for c in classes if c is not None})
    if len(names) < 2 or any(c is None for c in classes):
        return None
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[c] for c in classes if c is not None], np.int64)
