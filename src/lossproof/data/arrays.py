"""Read NumPy files: one array (.npy) or several (.npz). Nothing is ever unpickled."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from lossproof.data.images import Array
from lossproof.formula.errors import LossproofError, nearest

MAGIC = b"\x93NUMPY"
TRAIN = ("x_train", "train", "train_x", "train_images", "x_tr")
TEST = ("x_test", "test", "test_x", "test_images", "x_te")
TRAIN_LABELS = ("y_train", "train_labels", "train_y", "labels_train")
TEST_LABELS = ("y_test", "test_labels", "test_y", "labels_test")
LABELS = ("y", "labels", "label", "targets", "target")
UNPICKLE = (
    "Pickled data can run any code when opened, so it is refused. In a place you trust, once: "
    "np.save('images.npy', np.stack(images))"
)


def refuse_pickle(path: Path, what: str) -> LossproofError:
    """Make the error for pickled input."""
    return LossproofError(f"{path}: expected plain arrays, got {what}. {UNPICKLE}")


def read_npy(path: Path) -> Array:
    """Read a ``.npy`` file. Raises ``LossproofError`` for pickled (object) arrays and damaged files."""
    return open_npy(path, mapped=False)


def open_npy(path: Path, *, mapped: bool = True) -> Array:
    """Open a ``.npy`` file memory-mapped, or read it. Raises ``LossproofError`` as ``read_npy`` does."""
    try:
        with path.open("rb") as f:
            magic = f.read(len(MAGIC))
        if magic[:1] == b"\x80":
            raise refuse_pickle(path, "a pickle with the name of an array")
        if magic != MAGIC:
            raise LossproofError(
                f"{path}: expected a .npy file, got first bytes 0x{magic.hex() or ' (empty)'}. "
                "Save it with np.save."
            )
        array: Array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except LossproofError:
        raise
    except (OSError, ValueError, EOFError) as e:
        raise _damaged(path, e) from e
    return array


def _damaged(path: Path, error: Exception) -> LossproofError:
    if "pickle" in str(error).lower() or "Python objects" in str(error):
        return refuse_pickle(path, "an array of Python objects (pickled inside the file)")
    return LossproofError(
        f"{path}: expected a whole NumPy file, got damaged data ({error}). Save or download it again."
    )


def read_npz(path: Path, key: str | None) -> dict[str, Array]:
    """Read a ``.npz`` file into "train" and, where there, "test", "train_labels" and "test_labels".

    Names understood: x_train/x_test/y_train/y_test, train/test, train_images/..., or one array of images
    (with y/labels beside it). ``key`` picks one array of images by name. Raises ``LossproofError`` when that
    is unclear.
    """
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as archive:
            names = list(archive.files)
            chosen = _choose(path, names, key)
            return {role: archive[name] for role, name in chosen.items()}
    except LossproofError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as e:
        raise _damaged(path, e) from e


def _choose(path: Path, names: list[str], key: str | None) -> dict[str, str]:
    if key is not None:
        if key not in names:
            raise LossproofError(
                f"{path}: expected an array named {key!r}, got {', '.join(names)}: {nearest(key, names)}"
            )
        return {"train": key}
    lower = {name.lower(): name for name in names}

    def pick(wanted: tuple[str, ...]) -> str | None:
        return next((lower[w] for w in wanted if w in lower), None)

    roles = {
        "train": pick(TRAIN),
        "test": pick(TEST),
        "train_labels": pick(TRAIN_LABELS),
        "test_labels": pick(TEST_LABELS),
    }
    if roles["train"] is None:
        rest = [name for name in names if name.lower() not in LABELS]
        if len(rest) != 1:
            first = (rest or ["name"])[0]
            raise LossproofError(
                f"{path}: expected x_train and x_test, train and test, or one array of images, "
                f"got {', '.join(names) or 'no array'}. Pick one: --key {first}, in Python key={first!r}."
            )
        roles = {"train": rest[0], "train_labels": pick(LABELS)}
    return {role: name for role, name in roles.items() if name is not None}
