"""The images an experiment runs on: the paper's own, others by path, or the small cut that comes with scikit-learn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lossproof.data import Images, load
from lossproof.formula.errors import LossproofError

DEFAULT = Path("data") / "mnist"
#: SHA-256 of all training and then all test pixels, as bytes in the source's order
KNOWN = {
    "5b92582eb909c82a9bfefcd44acbe9233be3eb5b419a44cf211022ad2bf4bf96": "mnist",
    "0fbbfcb392782b3b702472ead3688778e1509e8cf40f5c24d9d3303618b193ab": "fashion-mnist",
}
PAPERS = "mnist"


@dataclass(frozen=True)
class Bench:
    """Images, what they are called, and whether this is the quick cut. `say` takes a line on how far a run is."""

    images: Images
    name: str
    quick: bool
    say: Callable[[str], None]

    @property
    def published(self) -> bool:
        """Whether the papers' numbers are about these images."""
        return self.name == PAPERS and not self.quick

    @property
    def pixels(self) -> int:
        """Values in an image."""
        return int(np.prod(self.images.image_shape))

    @property
    def levels(self) -> int:
        """Number of grey levels; `LossproofError` where the images lie on no lattice."""
        if self.images.levels is None:
            raise LossproofError(
                f"{self.name}: expected grey levels (8-bit images), got values on no lattice ({self.images.scaling}). "
                "Give the images as integers."
            )
        return self.images.levels

    def bytes(self, split: str) -> npt.NDArray[np.int64]:
        """The images of "train" or "test" as whole numbers 0 .. levels - 1."""
        part = self.images.train if split == "train" else self.images.test
        return np.rint(part * np.float32(self.levels - 1)).astype(np.int64)

    def dequantised(self, split: str, seed: int = 0) -> npt.NDArray[np.float32]:
        """(b + u)/levels, u uniform on [0, 1), drawn once: values of a density on [0, 1]."""
        whole = self.bytes(split)
        u = np.random.default_rng([seed, split == "train"]).random(whole.shape)
        # float32 rounds the largest values up to 1, which the density allows
        return ((whole + u) / self.levels).astype(np.float32)


def digest(images: Images) -> str:
    """SHA-256 of the pixels as bytes, or "" where they are no 8-bit images."""
    if images.levels != 256:
        return ""
    found = hashlib.sha256()
    for part in (images.train, images.test):
        found.update(np.rint(part * np.float32(255)).astype(np.uint8).tobytes())
    return found.hexdigest()


def prepare(
    data: str | Path | None = None, *, quick: bool = False, say: Callable[[str], None] = lambda line: None
) -> Bench:
    """The images of an experiment: `data` (a path or name for `load`), else ./data/mnist, else digits when quick.

    Raises `LossproofError` where there are none.

    >>> prepare(quick=True).name
    'digits'
    """
    if data is None and quick:
        data = "digits"
    if data is None:
        if not DEFAULT.is_dir():
            raise LossproofError(
                f"mnist: expected MNIST's images in {DEFAULT} below this folder, or --data FOLDER, got neither. Give the "
                "folder with train-images-idx3-ubyte and t10k-images-idx3-ubyte (gzipped or not), or --quick for "
                "scikit-learn's digits."
            )
        data = DEFAULT
    images = load(data)
    called = f"{images.name} (other images)" if images.name in KNOWN.values() else images.name
    return Bench(images, KNOWN.get(digest(images), called), quick, say)
