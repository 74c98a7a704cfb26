"""Load images by name or path: find the reader, bring the shape in order, scale, split."""

import difflib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lossproof.data import idx
from lossproof.data.arrays import read_npy, read_npz, refuse_pickle
from lossproof.data.folder import SUFFIXES, read_folder
from lossproof.data.hub import read_hub
from lossproof.data.images import Array, Images, Raw
from lossproof.data.mapped import load_mapped, streamed
from lossproof.data.scale import scaling_of
from lossproof.data.shape import as_channels, as_labels, as_nchw
from lossproof.data.split import Split, how_split, split_indices
from lossproof.formula.errors import LossproofError, nearest

NAMES = ("digits",)
PICKLED = frozenset((".pkl", ".pickle", ".p", ".pt", ".pth", ".joblib", ".dill"))
OTHER = {
    ".zip": "Unpack it and give the folder.",
    ".tar": "Unpack it and give the folder.",
    ".tgz": "Unpack it and give the folder.",
    ".mat": "Save its array once: np.save('x.npy', scipy.io.loadmat(path)['name']).",
    ".h5": "Save its array once: np.save('x.npy', h5py.File(path)['name'][:]).",
    ".hdf5": "Save its array once: np.save('x.npy', h5py.File(path)['name'][:]).",
    ".csv": "Save its pixels once: np.save('x.npy', pandas.read_csv(path).to_numpy(np.uint8)).",
    ".parquet": "Give its folder: hub:FOLDER.",
    ".safetensors": "Save its array once: np.save('x.npy', safetensors.numpy.load_file(path)['name']).",
}


def load(
    name_or_path: "str | Path | Array | Images",
    *,
    size: int | None = None,
    grey: bool | None = None,
    test_fraction: float = 0.2,
    split: Split = "random",
    seed: int = 0,
    key: str | None = None,
    stream: str = "off",
) -> Images:
    """Load images as float32 (n, c, h, w) in [0, 1], split into train and test.

    ``name_or_path`` is ``digits`` (scikit-learn's 8x8 digits, 0..16), an MNIST-format IDX file or folder, a
    ``.npy`` or ``.npz`` file, a folder of pictures, ``hub:NAME`` (Hugging Face ``datasets``), or an array.
    ``size`` resizes pictures to size x size, ``grey`` forces one or three channels, ``key`` names the array
    of a ``.npz`` file or the column of a hub data set. The source's own split is used where it has one; else
    ``test_fraction`` of the images, drawn with ``seed`` or taken from the end (``split="tail"``).

    ``stream`` "on" leaves the images on disk: ``Images.train`` and ``test`` are then indexed like arrays, and read what is
    asked for (``lossproof.data.mapped``). A ``.npy`` file is mapped as it is, all else unpacked once into a temporary one.
    "auto" does so with data that would take more than half of the free memory.

    Integers are divided by their dtype's largest value or the data set's own; ``Images.scaling`` says so.
    Floats are never rescaled. Raises ``LossproofError`` for values outside [0, 1], NaN, empty or single
    images, mixed sizes, damaged files, pickled data and unknown names.

    >>> load("digits").scaling
    '0..16 / 16'
    >>> import numpy as np
    >>> load(np.zeros((10, 4, 4)) + 255.0)
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: array: expected values in [0, 1], got 160 of 160 values ...
    """
    if isinstance(name_or_path, Images):
        return name_or_path
    if streamed(stream, name_or_path, size=size, grey=grey, key=key):
        return load_mapped(
            name_or_path, size=size, grey=grey, key=key, test_fraction=test_fraction, split=split, seed=seed
        )
    raw = read(name_or_path, size=size, grey=grey, key=key)
    scaling = scaling_of(raw)
    if scaling.problem is not None:
        raise LossproofError(scaling.problem.message)
    raw = divide(raw, test_fraction=test_fraction, split=split, seed=seed)
    assert raw.test is not None
    return Images(
        raw.name,
        scaling.apply(raw.train),
        scaling.apply(raw.test),
        raw.train_labels,
        raw.test_labels,
        raw.source,
        scaling.text,
        scaling.levels,
        raw.notes + scaling.notes,
    )


def divide(raw: Raw, *, test_fraction: float, split: Split, seed: int) -> Raw:
    """Split images into train and test, unless the source has done so."""
    if raw.test is not None:
        return raw
    train, test = split_indices(len(raw.train), test_fraction, split, seed, raw.name)
    labels = raw.train_labels
    return replace(
        raw,
        train=raw.train[train],
        test=raw.train[test],
        train_labels=None if labels is None else labels[train],
        test_labels=None if labels is None else labels[test],
        notes=(*raw.notes, how_split(len(test), len(train) + len(test), split, seed)),
    )


def read(
    data: "str | Path | Array", *, size: int | None = None, grey: bool | None = None, key: str | None = None
) -> Raw:
    """Read images as they are stored, as (n, c, h, w): not scaled, and split only by the source itself."""
    return finish(_open(data, size=size, grey=grey, key=key), size=size, grey=grey)


def finish(raw: Raw, *, size: int | None, grey: bool | None) -> Raw:
    """What a reader found, checked and as (n, c, h, w)."""
    for part in (raw.train, raw.test):
        if part is not None and part.dtype.kind not in "buif":
            raise LossproofError(
                f"{raw.name}: expected numbers (uint8, uint16, bool or float), got dtype {part.dtype}, shape "
                f"{part.shape}. Convert them: x = x.astype(np.float32)."
            )
    train, notes = as_nchw(raw.train, raw.name)
    test, test_notes = as_nchw(raw.test, f"{raw.name} (test)") if raw.test is not None else (None, ())
    if test is not None and test.shape[1:] != train.shape[1:]:
        raise LossproofError(
            f"{raw.name}: expected train and test images of one shape, got {train.shape} and {test.shape}."
        )
    labels, label_notes = as_labels(raw.train_labels, len(train), f"{raw.name} (train labels)")
    test_labels = (
        as_labels(raw.test_labels, len(test), f"{raw.name} (test labels)")[0] if test is not None else None
    )
    if size is not None and train.shape[2:] != (size, size):
        raise LossproofError(
            f"{raw.name}: expected images of {size}x{size}, got {train.shape[2]}x{train.shape[3]}: arrays "
            "are not resized. Leave the size out, or give a folder of pictures."
        )
    return replace(
        raw,
        train=as_channels(train, grey),
        test=None if test is None else as_channels(test, grey),
        train_labels=labels,
        test_labels=test_labels,
        notes=tuple(dict.fromkeys((*raw.notes, *notes, *test_notes, *label_notes))),
    )


def _open(data: "str | Path | Array", *, size: int | None, grey: bool | None, key: str | None) -> Raw:
    if isinstance(data, np.ndarray):
        return Raw("array", data, "an array in memory")
    if not isinstance(data, str | Path):
        raise LossproofError(
            f"data: expected a name, a path or a NumPy array, got {type(data).__name__}. "
            "A tensor: x.detach().cpu().numpy()."
        )
    name = str(data)
    if name == "digits":
        return _digits()
    if name.startswith("hub:"):
        return read_hub(name.removeprefix("hub:"), key=key, size=size, grey=grey)
    path = Path(name).expanduser()
    if not path.exists():
        raise _missing(name, path)
    if path.is_dir():
        files = idx.find_folder(path)
        return _idx_folder(path, files) if files else read_folder(path, size=size, grey=grey)
    return _file(path, key)


def _file(path: Path, key: str | None) -> Raw:
    suffix, source = path.suffix.lower(), str(path)
    if suffix in PICKLED:
        raise refuse_pickle(path, f"a {suffix} file (pickled)")
    if suffix == ".npy":
        return Raw(path.name, read_npy(path), source)
    if suffix == ".npz":
        found = read_npz(path, key)
        return Raw(
            path.name,
            found["train"],
            source,
            found.get("test"),
            found.get("train_labels"),
            found.get("test_labels"),
        )
    if suffix in SUFFIXES:
        raise LossproofError(
            f"{path}: expected at least two images, got one picture: one image cannot be split into train "
            "and test. Give the folder of pictures."
        )
    if suffix in OTHER:
        raise LossproofError(
            f"{path}: expected IDX, .npy, .npz or a folder of pictures, got a {suffix} file. {OTHER[suffix]}"
        )
    if idx.looks_like_idx(path):
        beside = idx.labels_beside(path)
        return Raw(
            path.name, _image_axes(path), source, None, None if beside is None else idx.read_idx(beside)
        )
    with path.open("rb") as f:
        if f.read(1) == b"\x80":
            raise refuse_pickle(path, "what looks like a pickle")
    raise LossproofError(
        f"{path}: expected IDX, .npy, .npz or a folder of pictures, got an unknown kind of file. "
        "Save the images once: np.save('images.npy', images)."
    )


def _image_axes(path: Path) -> Array:
    array = idx.read_idx(path)
    if array.ndim < 2:
        raise LossproofError(
            f"{path}: expected images (magic number 2051), got {array.ndim} axis, shape {array.shape}: "
            "the labels file? Give the images file."
        )
    return array


def _idx_folder(folder: Path, files: dict[tuple[str, str], Path]) -> Raw:
    parts = {
        role: _image_axes(path) if role[1] == "images" else idx.read_idx(path) for role, path in files.items()
    }
    train, test = parts.get(("train", "images")), parts.get(("test", "images"))
    source = f"MNIST-format files in {folder}"
    if train is None:
        assert test is not None
        notes = ("the folder has no train images: the test images were split",)
        return Raw(folder.name or str(folder), test, source, None, parts.get(("test", "labels")), notes=notes)
    return Raw(
        folder.name or str(folder),
        train,
        source,
        test,
        parts.get(("train", "labels")),
        parts.get(("test", "labels")) if test is not None else None,
    )


def _digits() -> Raw:
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise LossproofError(
            "digits: expected scikit-learn, which holds this data set, got none installed. "
            "Install it: pip install 'lossproof[torch]'."
        )
    stored = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if stored.is_file():  # what load_digits reads; importing scikit-learn for it would take two seconds
        rows = np.loadtxt(stored, delimiter=",")
        images, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
    else:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images = images.reshape(-1, 8, 8)
    return Raw(
        "digits",
        images,
        "scikit-learn load_digits (UCI optical recognition of handwritten digits)",
        train_labels=labels,
        top=16,
    )


def _missing(name: str, path: Path) -> LossproofError:
    bare = not any(sign in name for sign in "/\\.")
    parent = path.parent
    while not parent.is_dir():
        path, parent = parent, parent.parent
    near = difflib.get_close_matches(path.name, sorted(p.name for p in parent.iterdir()), n=3, cutoff=0.5)
    if bare:
        close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
        there = [f"the path {n!r}" for n in near] + close
        hint = (
            f"Did you mean {' or '.join(there)}?"
            if there
            else "Give a path, or hub:" + name + " for the Hugging Face hub."
        )
        return LossproofError(
            f"{name}: expected a data set or a path, got an unknown name ({nearest(name, NAMES)}). {hint}"
            if not there
            else f"{name}: expected a data set or a path, got an unknown name. {hint}"
        )
    where = f"there is no {path.name!r} in {parent}"
    hint = f"Did you mean {', '.join(str(parent / n) for n in near)}?" if near else "Check the path."
    return LossproofError(f"{name}: expected a file or a folder, got nothing: {where}. {hint}")
