"""Read a data set through Hugging Face ``datasets``: a name on the hub, or a local folder in its formats."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lossproof.data.images import Array, Raw
from lossproof.data.pictures import Source, stack
from lossproof.formula.errors import LossproofError, nearest

TESTS = ("test", "validation", "valid", "val")
CONNECT_SECONDS = 10.0
NO_CONNECTION = ("ConnectError", "ConnectTimeout", "ProxyError", "ConnectionError")
IMAGE_NAMES = ("image", "img", "images", "pixel_values", "pixels", "x", "data")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "y", "target")


def read_hub(name: str, *, key: str | None, size: int | None, grey: bool | None) -> Raw:
    """Read ``NAME``, ``NAME:CONFIG`` or a local folder (parquet, imagefolder, ...).

    ``key`` names the column of images. Only data files are read; no loading script of a data
    set is run. Raises ``LossproofError`` when ``datasets`` is not installed, the data set is not found
    or no column holds images.
    """
    datasets, (train, test), column, notes, labels = open_sets(name, key)
    with quiet(datasets):
        parts = [part for part in (train, test) if part is not None]
        images, more = _images(name, parts, column, datasets, size=size, grey=grey)
    n = len(train)
    return Raw(
        f"hub:{name}",
        images[:n],
        f"Hugging Face data set {name}, column {column!r}",
        images[n:] if test is not None else None,
        labels[0],
        labels[1] if test is not None else None,
        notes=more + notes,
    )


def open_sets(
    name: str, key: str | None
) -> tuple[Any, tuple[Any, Any], str, tuple[str, ...], list[Array | None]]:
    """The library, train and test parts (None where there is none), the column of images, notes and labels."""
    try:
        import datasets
    except ImportError as e:
        raise LossproofError(
            f"hub:{name}: expected the package datasets, got none: pip install 'lossproof[hub]'."
        ) from e
    path, config = name, None
    if not Path(name).exists() and ":" in name:
        path, config = name.rsplit(":", 1)
    with quiet(datasets):
        cut_off = not Path(path).exists() and _unreachable(path)
        try:
            with _cache_alone(datasets) if cut_off else contextlib.nullcontext():
                splits = datasets.load_dataset(path, config)
        except Exception as e:  # the library raises some twenty types of its own and of its back ends
            if cut_off:
                raise LossproofError(
                    f"hub:{name}: expected a connection to the Hugging Face hub, or a copy of the data set in its "
                    "cache, got neither. Check the connection, or give a local folder of the data set."
                ) from e
            first = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            raise LossproofError(
                f"hub:{name}: expected a data set on the Hugging Face hub or a local folder of one, "
                f"got {type(e).__name__}: {first} Check the name and the connection, or give a folder."
            ) from e
        train = next(splits[s] for s in ("train", *splits) if s in splits)
        test = next((splits[s] for s in TESTS if s in splits and splits[s] is not train), None)
        column = _image_column(name, train, datasets, key)
        labels = [_labels(part, column) for part in (train, test) if part is not None]
    unused = [s for s in splits if splits[s] is not train and splits[s] is not test]
    notes = (f"splits left out: {', '.join(unused)}",) if unused else ()
    return datasets, (train, test), column, notes, labels


def _unreachable(name: str) -> bool:
    """Ask the hub once, without the half minute of retries its library spends where there is no network."""
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(name, timeout=CONNECT_SECONDS)
    except Exception as e:  # of requests, httpx or its successor, by version: known by name alone
        return any(kind.__name__ in NO_CONNECTION for kind in type(e).__mro__)
    return False


@contextlib.contextmanager
def _cache_alone(datasets: Any) -> Iterator[None]:
    """Let the libraries look into their caches only; leave their settings as they were."""
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def quiet(datasets: Any) -> Iterator[None]:
    """Switch progress bars off for a while; leave the setting as it was."""
    on = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if on:
            datasets.enable_progress_bars()


def _image_column(name: str, part: Any, datasets: Any, key: str | None) -> str:
    features = part.features
    if key is not None:
        if key not in features:
            raise LossproofError(
                f"hub:{name}: expected a column {key!r}, got {', '.join(features)}: {nearest(key, features)}"
            )
        return key
    pictures = [c for c, f in features.items() if isinstance(f, datasets.Image)]
    arrays = [c for c in IMAGE_NAMES if c in features and _is_array(features[c], datasets)]
    found: list[str] = [c for c in IMAGE_NAMES if c in pictures][:1] or pictures[:1] or arrays[:1]
    if not found:
        raise LossproofError(
            f"hub:{name}: expected a column of images, got {', '.join(features)}. Name it: --key NAME, in Python key='NAME'."
        )
    return found[0]


def _is_array(feature: Any, datasets: Any) -> bool:
    return not isinstance(feature, datasets.Value | datasets.ClassLabel | dict)


def _images(
    name: str, parts: list[Any], column: str, datasets: Any, *, size: int | None, grey: bool | None
) -> tuple[Array, tuple[str, ...]]:
    if sum(map(len, parts)) == 0:
        raise LossproofError(
            f"hub:{name}: expected images, got an empty data set. Check the split and its files."
        )
    if isinstance(parts[0].features[column], datasets.Image):
        sources = []
        for part in parts:
            for i, cell in enumerate(part.cast_column(column, datasets.Image(decode=False))[column]):
                where = f"hub:{name}[{i}]"
                sources.append(Source(where, content(cell, where)))
        return stack(sources, size=size, grey=grey, where=f"hub:{name}")
    images = np.concatenate([rows(name, part, column, slice(None)) for part in parts])
    if images.dtype.kind == "i" and images.min() >= 0 and images.max() <= 255:
        # The library hands out every whole number as int64, also where the files hold bytes.
        return images.astype(np.uint8), (as_bytes(column, int(images.max())),)
    return images, ()


def content(cell: dict[str, Any] | None, where: str) -> bytes | Path:
    """The bytes or the path of one picture. Raises ``LossproofError`` for an empty cell."""
    if not cell or (cell["bytes"] is None and cell["path"] is None):
        raise LossproofError(f"{where}: expected a picture, got an empty cell. Filter the data set first.")
    found: bytes | Path = cell["bytes"] if cell["bytes"] is not None else Path(cell["path"])
    return found


def rows(name: str, part: Any, column: str, which: slice) -> Array:
    """Arrays of a column. Raises ``LossproofError`` where they differ in shape."""
    try:
        values = np.asarray(part.with_format("numpy")[which][column])
    except ValueError as e:
        raise LossproofError(
            f"hub:{name}: expected rows of one shape in column {column!r}, got several ({e})."
        ) from e
    if values.dtype == object:
        raise LossproofError(
            f"hub:{name}: expected rows of one shape in column {column!r}, got several. Resize them."
        )
    return values


def as_bytes(column: str, top: int) -> str:
    """The note on whole numbers that are taken as bytes."""
    return f"column {column!r} holds whole numbers 0..{top}: taken as uint8"


def _labels(part: Any, image_column: str) -> Array | None:
    column = next((c for c in LABEL_NAMES if c in part.features and c != image_column), None)
    return None if column is None else np.asarray(part.with_format("numpy")[column][:])
