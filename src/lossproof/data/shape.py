"""Bring an array of images, in any of the usual layouts, into the shape (n, c, h, w)."""

import math

import numpy as np

from lossproof.data.images import Array, Labels
from lossproof.formula.errors import LossproofError

CHANNELS = (1, 3)
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's convert("L")


def as_nchw(array: Array, where: str) -> tuple[Array, tuple[str, ...]]:
    """View images of shape (n, h, w), (n, c, h, w), (n, h, w, c) or (n, d) with a square d as (n, c, h, w).

    Returns the view and what had to be assumed. Raises ``LossproofError`` for empty arrays and other shapes.

    >>> import numpy as np
    >>> as_nchw(np.zeros((5, 28, 28)), "x")[0].shape, as_nchw(np.zeros((5, 32, 32, 3)), "x")[0].shape
    ((5, 1, 28, 28), (5, 3, 32, 32))
    >>> as_nchw(np.zeros((5, 64)), "x")
    (array(...), ('each row of 64 values was taken as one 8x8 image',))
    """
    shape = tuple(array.shape)
    if array.size == 0:
        raise LossproofError(
            f"{where}: expected at least two images, got an empty array of shape {shape}. "
            "Is the path, the key or the filter right?"
        )
    match shape:
        case (_, d):
            return _square(array, d, where)
        case (h, w, 1 | 3 | 4) if min(h, w) >= 8:
            # (n, h, 3) would be images three pixels wide: this is one colour image without its batch axis.
            raise LossproofError(
                f"{where}: expected images (n, h, w), (n, c, h, w) or (n, h, w, c), got shape {shape}: "
                f"one image of {h}x{w}? One image cannot be split; stack several: np.stack([...])."
            )
        case (_, _, _):
            return array[:, None], ()
        case (_, c, h, w):
            if c in CHANNELS:
                if w in CHANNELS and h == c:
                    return array, (f"shape {shape} was taken as (n, c, h, w)",)
                return array, ()
            if w in CHANNELS:
                return np.moveaxis(array, -1, 1), ()
            alpha = (
                " Four channels: flatten the alpha first: x[..., :3] * a + (1 - a)." if 4 in (c, w) else ""
            )
            raise LossproofError(
                f"{where}: expected 1 or 3 channels in (n, c, h, w) or (n, h, w, c), "
                f"got shape {shape}.{alpha or ' Reshape to one of the two.'}"
            )
    raise LossproofError(
        f"{where}: expected images (n, h, w), (n, c, h, w), (n, h, w, c) or flat rows (n, d), "
        f"got {len(shape)} axes, shape {shape}. Reshape it: x.reshape(n, h, w)."
    )


def _square(array: Array, d: int, where: str) -> tuple[Array, tuple[str, ...]]:
    n, side = array.shape[0], math.isqrt(d)
    if side * side == d:
        return array.reshape(n, 1, side, side), (
            f"each row of {d} values was taken as one {side}x{side} image",
        )
    third = math.isqrt(d // 3)
    if 3 * third * third == d:
        hint = (
            f"Colour? x.reshape(-1, 3, {third}, {third}); channels last: x.reshape(-1, {third}, {third}, 3)."
        )
    else:
        h = max(k for k in range(1, side + 1) if d % k == 0)
        hint = f"Save it with its height and width, for example x.reshape(-1, {d // h}, {h})."
        if n == d or h == 1:
            hint += " One single image? One image cannot be split; stack several."
    raise LossproofError(
        f"{where}: expected flat rows whose length is a square, got {d} values a row, "
        f"shape {array.shape}. {hint}"
    )


def as_channels(array: Array, grey: bool | None) -> Array:
    """Turn (n, 3, h, w) into grey (ITU-R BT.601 weights) or (n, 1, h, w) into three equal channels, if asked.

    >>> import numpy as np
    >>> as_channels(np.full((1, 3, 1, 1), 200, np.uint8), grey=True).ravel()
    array([200], dtype=uint8)
    >>> as_channels(np.zeros((2, 1, 4, 4)), grey=False).shape
    (2, 3, 4, 4)
    """
    channels = array.shape[1]
    if grey is True and channels == 3:
        mixed: Array = np.tensordot(array, np.array(LUMA), axes=(1, 0))[:, None]
        if array.dtype.kind in "ui":
            mixed = np.rint(mixed)
        return mixed.astype(np.float32 if array.dtype.kind == "b" else array.dtype)
    if grey is False and channels == 1:
        return np.repeat(array, 3, axis=1)
    return array


def as_labels(labels: Array | None, count: int, where: str) -> tuple[Labels | None, tuple[str, ...]]:
    """Turn class labels (n,), (n, 1), one-hot (n, k) or strings into int64 of shape (n,).

    Labels that are no classes (say, regression targets) are dropped with a note. Raises ``LossproofError``
    when there is not one label an image.

    >>> import numpy as np
    >>> as_labels(np.array(["cat", "ant", "cat"]), 3, "y")
    (array([1, 0, 1]), ('labels are ant, cat',))
    """
    if labels is None:
        return None, ()
    if len(labels.shape) == 0 or labels.shape[0] != count:
        raise LossproofError(
            f"{where}: expected one label an image, got {count} images and labels of shape "
            f"{labels.shape}. Are the two from the same file?"
        )
    flat = labels.reshape(count, -1)
    if flat.shape[1] > 1:
        one_hot = labels.dtype.kind in "biuf" and bool(
            (flat.sum(axis=1) == 1).all() and np.isin(flat, (0, 1)).all()
        )
        if not one_hot:
            return None, (f"labels of shape {labels.shape} were dropped: they are not classes",)
        return flat.argmax(axis=1).astype(np.int64), ()
    flat = flat[:, 0]
    if flat.dtype.kind in "US":
        names, numbers = np.unique(flat, return_inverse=True)
        return numbers.astype(np.int64), (f"labels are {', '.join(map(str, names))}",)
    if flat.dtype.kind in "biu" or (flat.dtype.kind == "f" and bool((flat == np.rint(flat)).all())):
        return flat.astype(np.int64), ()
    return None, (f"labels of dtype {flat.dtype} were dropped: they are not classes",)
