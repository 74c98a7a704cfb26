"""The yardsticks without a network: hand values, published ones, guards."""

import gzip

import numpy as np
import pytest

from lossproof.formula import LossproofError
from lossproof.likelihood.histogram import histogram_bits


def test_a_hand_value():
    train = np.array([[0.0, 0.5], [0.0, 1.0], [0.0, 1.0]])
    got = histogram_bits(train, np.array([[0.0, 1.0]]), 3, smoothing=1.0)
    # all: counts 3, 1, 2 of 6; first pixel 3, 0, 0; second 0, 1, 2
    assert got.everywhere == pytest.approx(-(np.log2(4 / 9) + np.log2(3 / 9)) / 2)
    assert got.each_pixel == pytest.approx(-(np.log2(4 / 6) + np.log2(3 / 6)) / 2)


def read(path):
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)


def test_mnist(real_data):
    """Bits of the test images under the training images' histograms: 1.967 and the published 1.689.

    The 1.966 printed for the global histogram is what the training images cost under their own (1.9658).
    """
    train, test = (read(real_data / "mnist" / f"{n}-images-idx3-ubyte.gz") for n in ("train", "t10k"))
    train, test = train / np.float32(255), test / np.float32(255)
    got = histogram_bits(train, test)
    assert histogram_bits(train, train).everywhere == pytest.approx(1.966, abs=5e-4)
    assert got.everywhere == pytest.approx(1.9673, abs=5e-4)
    assert got.each_pixel == pytest.approx(1.689, abs=5e-4)


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [(np.zeros((2, 3)), np.zeros((2, 4)), {}, "equal pixels"), (np.zeros((0, 3)), np.zeros((1, 3)), {}, "at least one each"),
     (np.zeros((2, 3)), np.full((1, 3), 0.3001), {}, "expected targets on 256 grey levels"),
     (np.zeros((2, 3)), np.zeros((1, 3)), {"smoothing": 0.0}, "smoothing above 0"),
     (np.zeros((2, 3)), np.zeros((1, 3)), {"levels": "line"}, "a density has no bits")],
)  # fmt: skip
def test_guards(train, test, options, message):
    with pytest.raises(LossproofError, match=message):
        histogram_bits(train, test, **options)
