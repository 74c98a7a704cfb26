"""Read the IDX format of MNIST and its relatives, gzipped or not, one file or the usual folder of four."""

import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from lossproof.data.images import Array
from lossproof.formula.errors import LossproofError

GZIP = b"\x1f\x8b"
DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)[-_.](?P<what>images|labels)[-_.]idx\d-ubyte(\.gz)?$", re.I
)


def looks_like_idx(path: Path) -> bool:
    """Tell from the name or the first bytes whether a file is in IDX format."""
    if NAME.search(path.name):
        return True
    try:
        with path.open("rb") as f:
            head = f.read(4)
        if head[:2] == GZIP:
            with gzip.open(path) as f:
                head = f.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in DTYPES and 1 <= head[3] <= 4


def read_idx(path: Path) -> Array:
    """Read one IDX file (http://yann.lecun.com/exdb/mnist: magic, sizes, then big-endian values).

    Returns an array of the file's shape and dtype, in native byte order. Raises ``LossproofError`` for a
    truncated or damaged gzip stream, a wrong magic number, and a length that is not the one the header says.
    """
    data = _bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES or data[3] == 0:
        raise LossproofError(
            f"{path}: expected an IDX file (magic number 0x00000803 = 2051 for images, 2049 for labels), "
            f"got first bytes 0x{data[:4].hex() or ' (empty)'}. Is it another format, or damaged?"
        )
    dtype, axes = np.dtype(DTYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise LossproofError(
            f"{path}: expected an IDX header of {start} bytes for {axes} axes, got a file of {len(data)} "
            "bytes. Download it again."
        )
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    expected, got = start + dtype.itemsize * int(np.prod(shape, dtype=object)), len(data)
    if got != expected:
        short = "cut short" if got < expected else "longer than it says"
        raise LossproofError(
            f"{path}: expected {expected} bytes for shape {shape}, got {got}: the file is {short}. "
            "Download it again."
        )
    values: Array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as f:
            zipped = f.read(2) == GZIP
        if not zipped:
            return path.read_bytes()
        with gzip.open(path) as f:
            return f.read()
    except EOFError as e:
        raise LossproofError(
            f"{path}: expected a whole gzip file, got {path.stat().st_size} bytes that end too early. "
            "Download it again."
        ) from e
    except (zlib.error, gzip.BadGzipFile) as e:
        raise LossproofError(
            f"{path}: expected a gzip file, got damaged data ({e}). Download it again."
        ) from e
    except OSError as e:
        raise LossproofError(
            f"{path}: expected a readable file, got {e.strerror or e}. Check its permissions."
        ) from e


def find_folder(folder: Path) -> dict[tuple[str, str], Path]:
    """Find the files of an MNIST-like folder: keys are ("train" | "test", "images" | "labels").

    A plain file is preferred to its gzipped twin; a sub-folder ``raw`` (as torchvision makes it) is looked
    into. Raises ``LossproofError`` when the folder holds several data sets. Empty when it holds no IDX
    images.
    """
    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):
        if not place.is_dir():
            continue
        found: dict[tuple[str, str], Path] = {}
        prefixes: set[str] = set()
        for path in sorted(place.iterdir()):  # "x" sorts before "x.gz", so the plain file comes first
            if match := NAME.fullmatch(path.name):
                prefixes.add(match["prefix"])
                part = "train" if match["part"].lower() == "train" else "test"
                found.setdefault((part, match["what"].lower()), path)
        if len(prefixes) > 1:
            raise LossproofError(
                f"{place}: expected the files of one data set, got {len(prefixes)}: "
                f"{', '.join(sorted(p or '(none)' for p in prefixes))}. Give the path of one images file."
            )
        if any(what == "images" for _, what in found):
            return found
    return {}


def labels_beside(images: Path) -> Path | None:
    """Find the labels file that belongs to an images file, by name."""
    match = NAME.fullmatch(images.name)
    if match is None:
        return None
    stem = f"{match['prefix']}{match['part']}"
    for path in sorted(images.parent.iterdir()):
        other = NAME.fullmatch(path.name)
        if other and other["what"].lower() == "labels" and f"{other['prefix']}{other['part']}" == stem:
            return path
    return None
