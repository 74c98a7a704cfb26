"""Where the real images are, and files made on the spot."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets: $LOSSPROOF_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("LOSSPROOF_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no real data sets at {folder}: set LOSSPROOF_DATA")
    return folder


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    """Write an array as IDX, from the format's description and not from the reader under test."""
    head = struct.pack(">BBBB", 0, 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def pixels() -> np.ndarray:
    """Twelve 6x5 images of bytes with 0 and 255 among them."""
    images = np.random.default_rng(1).integers(0, 256, (12, 6, 5), dtype=np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    return images


@pytest.fixture
def mnist_like(tmp_path: Path, pixels: np.ndarray) -> Path:
    """An MNIST-format folder: 8 train images (gzipped) and 4 test images (plain), with labels."""
    folder = tmp_path / "digits-like"
    folder.mkdir()
    labels = np.arange(12, dtype=np.uint8) % 10
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(pixels[:8])))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels[:8])))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(pixels[8:]))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels[8:]))
    return folder
