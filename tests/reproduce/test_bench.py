"""Where the images come from, and what they are taken for."""

import numpy as np
import pytest

from lossproof.data import load
from lossproof.formula.errors import LossproofError
from lossproof.reproduce.bench import digest, prepare


def test_without_mnist_the_error_says_how_to_give_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        LossproofError, match="expected MNIST's images in data/mnist .*--data FOLDER.*--quick"
    ):
        prepare()


def test_data_mnist_below_the_folder_is_found_but_only_the_pixels_make_it_mnist(monkeypatch, tmp_path):
    from PIL import Image

    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for index in range(5):
        Image.fromarray(np.full((4, 4), 40 * index, dtype=np.uint8)).save(folder / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    bench = prepare()
    assert bench.images.image_shape == (1, 4, 4)
    assert (bench.name, bench.published) == ("mnist (other images)", False)


def test_a_file_called_mnist_with_other_images_is_not_taken_for_it(tmp_path):
    np.save(tmp_path / "mnist.npy", np.random.default_rng(0).integers(0, 256, (10, 4, 4), dtype=np.uint8))
    bench = prepare(tmp_path / "mnist.npy")
    assert bench.name != "mnist"
    assert not bench.published


def test_the_digest_is_that_of_the_bytes():
    whole = np.random.default_rng(0).integers(0, 256, (10, 4, 4), dtype=np.uint8)
    first, same = load(whole), load(whole.copy())
    whole[0, 0, 0] ^= 1
    assert digest(first) == digest(same) != digest(load(whole))
    assert digest(load("digits")) == ""  # 17 levels


def test_bytes_and_dequantised_values_lie_in_the_same_bins():
    bench = prepare(quick=True)
    whole, values = bench.bytes("test"), bench.dequantised("test")
    assert (whole.min(), whole.max(), bench.levels) == (0, 16, 17)
    np.testing.assert_array_equal(whole, np.rint(bench.images.test * 16))
    assert np.all((values >= whole / 17 - 1e-6) & (values <= (whole + 1) / 17 + 1e-6))
    inside = values * 17 - whole
    assert abs(inside.mean() - 0.5) < 0.01
    np.testing.assert_array_equal(values, bench.dequantised("test"))  # drawn once
    assert not np.array_equal(bench.dequantised("test", seed=1), values)


def test_images_on_no_lattice_have_no_levels():
    bench = prepare(np.random.default_rng(0).random((10, 4, 4)))
    with pytest.raises(LossproofError, match="expected grey levels .*Give the images as integers"):
        bench.bytes("train")
