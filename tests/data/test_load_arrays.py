"""Loading digits, IDX, .npy and .npz: values against scikit-learn and struct, and every refusal."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lossproof.data import Images, check, load, read
from lossproof.formula.errors import LossproofError

from .conftest import idx_bytes

FLAT_NOTE = "each row of 49 values was taken as one 7x7 image"


def refused(data: object, *words: str, **options: object) -> str:
    """Load, expect the refusal, and look for each of the words in it."""
    with pytest.raises(LossproofError) as error:
        load(data, **options)
    for word in words:
        assert word in str(error.value), f"{word!r} not in {error.value}"
    return str(error.value)


def rows(images: np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


def test_digits_are_scikit_learns_divided_by_16():
    images = load("digits")
    bunch = load_digits()
    assert images.train.dtype == images.test.dtype == np.float32
    assert images.image_shape == (1, 8, 8)
    assert (len(images.train), len(images.test)) == (1438, 359)
    together = np.concatenate([images.train, images.test])
    assert rows(together) == rows((bunch.data / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    assert images.scaling == "0..16 / 16"
    assert images.levels == 17
    assert together.max() == 1


def test_digits_of_a_scikit_learn_that_keeps_them_elsewhere_are_the_same(tmp_path, monkeypatch):
    from importlib.machinery import ModuleSpec

    from lossproof.data import loading

    stored = load("digits")
    moved = ModuleSpec("sklearn", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(loading, "find_spec", lambda name: moved)
    asked = load("digits")
    for name in ("train", "test", "train_labels", "test_labels"):
        np.testing.assert_array_equal(getattr(asked, name), getattr(stored, name))


def test_labels_follow_their_images_through_the_split():
    images = load("digits", seed=3)
    bunch = load_digits()
    known = {
        (row / 16).astype(np.float32).tobytes(): label
        for row, label in zip(bunch.data, bunch.target, strict=True)
    }
    for part, labels in ((images.train, images.train_labels), (images.test, images.test_labels)):
        assert labels is not None
        assert labels.dtype == np.int64
        assert [known[image.tobytes()] for image in part] == labels.tolist()


def test_the_random_split_is_fixed_by_the_seed_and_parts_do_not_overlap():
    x = np.arange(100, dtype=np.float32).reshape(100, 1, 1, 1) / 100 * np.ones((1, 1, 4, 4), np.float32)
    one, again, other = load(x), load(x), load(x, seed=1)
    assert np.array_equal(one.test, again.test)
    assert not np.array_equal(one.test, other.test)
    assert sorted([*one.train[:, 0, 0, 0].tolist(), *one.test[:, 0, 0, 0].tolist()]) == x[:, 0, 0, 0].tolist()
    tail = load(x, split="tail", test_fraction=0.1)
    assert np.array_equal(tail.test, x[90:])
    assert np.array_equal(tail.train, x[:90])


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_no_part_of_a_split_is_empty(n: int, fraction: float):
    images = load(np.zeros((n, 4, 4), bool), test_fraction=fraction)
    assert len(images.train) >= 1
    assert len(images.test) >= 1
    assert len(images.train) + len(images.test) == n


def test_idx_folder_keeps_its_own_split_and_scales_bytes(mnist_like: Path, pixels: np.ndarray):
    images = load(mnist_like)
    assert np.array_equal(images.train[:, 0], (pixels[:8] / 255).astype(np.float32))
    assert np.array_equal(images.test[:, 0], (pixels[8:] / 255).astype(np.float32))
    assert images.train_labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert images.test_labels.tolist() == [8, 9, 0, 1]
    assert images.scaling == "uint8 / 255"
    assert images.levels == 256


def test_single_idx_file_finds_its_labels_and_is_split(mnist_like: Path):
    images = load(mnist_like / "train-images-idx3-ubyte.gz", split="tail", test_fraction=0.25)
    assert images.train_labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert images.test_labels.tolist() == [6, 7]


def test_idx_without_labels_and_under_any_name(tmp_path: Path, pixels: np.ndarray):
    path = tmp_path / "pictures.bin.gz"
    path.write_bytes(gzip.compress(idx_bytes(pixels)))
    images = load(path)
    assert images.train_labels is None
    assert rows(np.concatenate([images.train, images.test])) == rows((pixels / 255).astype(np.float32))


def test_idx_of_big_endian_floats(tmp_path: Path):
    values = np.random.default_rng(0).random((4, 3, 3)).astype(np.float32)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(values, 0x0D))
    images = load(tmp_path, split="tail", test_fraction=0.5)
    assert np.array_equal(images.train[:, 0], values[:2])
    assert read(tmp_path).train.dtype.isnative


def test_folder_of_two_idx_data_sets_is_unclear(mnist_like: Path, pixels: np.ndarray):
    (mnist_like / "letters-train-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
    refused(mnist_like, "expected the files of one data set, got 2", "letters-")


def test_truncated_gzip(mnist_like: Path):
    path = mnist_like / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    refused(mnist_like, str(path), "end too early", "Download it again.")


def test_damaged_gzip(mnist_like: Path):
    path = mnist_like / "train-images-idx3-ubyte.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(path, "damaged data", "Download it again.")


@pytest.mark.parametrize(
    ("cut", "words"), [(-7, "cut short"), (9, "header of 16 bytes"), (2, "magic number")]
)
def test_short_idx(mnist_like: Path, cut: int, words: str):
    path = mnist_like / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:cut])
    refused(mnist_like, str(path), words)


def test_idx_that_is_too_long(mnist_like: Path):
    path = mnist_like / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes() + b"more")
    refused(mnist_like, "longer than it says")


def test_wrong_magic_number(mnist_like: Path):
    path = mnist_like / "t10k-images-idx3-ubyte"
    path.write_bytes(b"\x12\x34\x56\x78" + path.read_bytes()[4:])
    refused(mnist_like, "magic number 0x00000803 = 2051", "0x12345678")


def test_labels_given_as_images(mnist_like: Path):
    refused(
        mnist_like / "t10k-labels-idx1-ubyte",
        "expected images (magic number 2051), got 1 axis",
        "labels file?",
    )


def test_labels_of_another_count(mnist_like: Path):
    (mnist_like / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    refused(mnist_like, "expected one label an image, got 4 images and labels of shape (3,)")


def test_npy_of_bytes_bools_and_16_bits(tmp_path: Path, pixels: np.ndarray):
    deep = (pixels.astype(np.uint16) * 257)[:, :5]
    for array, divisor, scaling, levels in (
        (pixels, 255, "uint8 / 255", 256),
        (deep, 65535, "uint16 / 65535", 65536),
        (pixels > 99, 1, "bool as 0/1", 2),
        ((pixels > 99).astype(np.uint8), 1, "uint8 holding only 0 and 1, taken as 0/1", 2),
    ):
        np.save(tmp_path / "x.npy", array)
        images = load(tmp_path / "x.npy", split="tail")
        assert np.array_equal(
            np.concatenate([images.train, images.test])[:, 0], (array / divisor).astype(np.float32)
        )
        assert (images.scaling, images.levels) == (scaling, levels)


def test_bytes_that_reach_only_16_are_noted():
    images = load(np.arange(17, dtype=np.uint8).repeat(16).reshape(17, 4, 4))
    assert any("the largest value is 16 of uint8's 255" in note for note in images.notes)


def test_floats_in_range_are_kept_bit_for_bit_and_their_lattice_is_found(pixels: np.ndarray):
    x = (pixels / 255).astype(np.float32)
    images = load(x, split="tail")
    assert np.array_equal(np.concatenate([images.train, images.test])[:, 0], x)
    assert images.scaling == "none: float32 already in [0, 1]"
    assert images.levels == 256
    assert load(np.random.default_rng(0).random((9, 4, 4))).levels is None


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 4, 5), (1, 4, 5)),
        ((6, 1, 4, 5), (1, 4, 5)),
        ((6, 3, 4, 5), (3, 4, 5)),
        ((6, 4, 5, 3), (3, 4, 5)),
        ((6, 4, 5, 1), (1, 4, 5)),
        ((6, 49), (1, 7, 7)),
    ],
)
def test_layouts(shape: tuple[int, ...], expected: tuple[int, int, int]):
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    images = load(x, split="tail")
    assert images.image_shape == expected
    together = np.concatenate([images.train, images.test])
    last = len(shape) == 4 and shape[1] == 4
    assert np.array_equal(together, np.transpose(x, (0, 3, 1, 2)) if last else x.reshape(6, *expected))
    assert [n for n in images.notes if "taken as" in n] == ([] if len(shape) > 2 else [FLAT_NOTE])


def test_an_unclear_layout_is_taken_channels_first_and_noted():
    images = load(np.zeros((6, 3, 3, 3)))
    assert "shape (6, 3, 3, 3) was taken as (n, c, h, w)" in images.notes


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 50), "x.reshape(-1, 10, 5)"),
        ((4, 3072), "x.reshape(-1, 3, 32, 32)"),
        ((28, 28), "One single image?"),
        ((28, 28, 3), "one image of 28x28?"),
        ((6, 8, 8, 4), "flatten the alpha"),
        ((6, 8, 8, 5), "1 or 3 channels"),
        ((64,), "got 1 axes"),
        ((2, 2, 2, 2, 2), "got 5 axes"),
        ((0, 28, 28), "empty array of shape (0, 28, 28)"),
        ((5, 0, 28), "empty array"),
        ((1, 28, 28), "one image cannot be split"),
    ],
)
def test_shapes_that_are_refused(shape: tuple[int, ...], words: str):
    refused(np.zeros(shape, np.float32), words)


def test_grey_and_rgb_arrays_as_pil_converts_them():
    from PIL import Image

    colour = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(c).convert("L")) for c in colour])
    images = load(colour, grey=True, split="tail")
    got = np.rint(np.concatenate([images.train, images.test])[:, 0] * 255)
    assert np.abs(got - expected).max() <= 1  # PIL rounds its weights to 16 bits
    assert (got == expected).mean() > 0.97
    assert load(colour[..., 0], grey=False).image_shape == (3, 6, 7)


def test_npz_names(tmp_path: Path, pixels: np.ndarray):
    path = tmp_path / "data.npz"
    y = np.arange(12) % 3
    np.savez(path, x_train=pixels[:9], y_train=y[:9], x_test=pixels[9:], y_test=y[9:])
    images = load(path)
    assert (len(images.train), images.test_labels.tolist()) == (9, [0, 1, 2])
    np.savez(path, train=pixels[:9], test=pixels[9:])
    assert np.array_equal(load(path).test[:, 0], (pixels[9:] / 255).astype(np.float32))
    np.savez_compressed(path, faces=pixels, labels=y[:, None])
    assert load(path, split="tail").train_labels.tolist() == y[:10].tolist()
    np.savez(path, a=pixels, b=pixels[:4])
    assert len(load(path, key="b").train) + len(load(path, key="b").test) == 4
    refused(path, "got a, b", "Pick one: --key a, in Python key='a'")
    refused(path, "expected an array named 'c'", key="c")
    np.savez(path, train=pixels, test=pixels[:, :4])
    refused(path, "train and test images of one shape")
    np.savez(path, train=pixels, test=pixels / 255)
    refused(path, "one dtype, got uint8 and float64")


def test_one_hot_and_text_labels(tmp_path: Path, pixels: np.ndarray):
    path = tmp_path / "data.npz"
    np.savez(path, x=pixels, y=np.eye(3)[np.arange(12) % 3])
    assert load(path, split="tail").test_labels.tolist() == [1, 2]
    np.savez(path, x=pixels, y=np.array(["b", "a"] * 6))
    images = load(path, split="tail")
    assert images.test_labels.tolist() == [1, 0]
    assert "labels are a, b" in images.notes
    np.savez(path, x=pixels, y=np.linspace(0, 1, 12))
    assert load(path).train_labels is None


def test_pickled_npy_is_refused_and_never_opened(tmp_path: Path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    path = tmp_path / "objects.npy"
    np.save(path, np.array([Bomb(), None], object), allow_pickle=True)
    refused(path, "pickled inside the file", "np.save('images.npy', np.stack(images))")
    np.savez(tmp_path / "objects.npz", x=np.array([Bomb(), None], object))
    refused(tmp_path / "objects.npz", "pickled inside the file")
    for name in ("x.pkl", "x.pickle", "x.pt", "x.npy", "x.data"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        refused(tmp_path / name, "Pickled data can run any code when opened, so it is refused.")
    assert not (tmp_path / "exploded").exists()


def test_damaged_numpy_files(tmp_path: Path, pixels: np.ndarray):
    path = tmp_path / "x.npy"
    np.save(path, pixels)
    path.write_bytes(path.read_bytes()[:-30])
    refused(path, "damaged data")
    path.write_bytes(b"GIF89a, not an array")
    refused(path, "expected a .npy file, got first bytes 0x474946383961")
    path = tmp_path / "x.npz"
    np.savez(path, pixels)
    path.write_bytes(path.read_bytes()[:100])
    refused(path, "damaged data")


def test_missing_paths_and_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mnist").mkdir()
    refused(tmp_path / "minst", "there is no 'minst'", f"Did you mean {tmp_path / 'mnist'}?")
    refused(tmp_path / "minst" / "train.npy", "there is no 'minst'")
    monkeypatch.chdir(tmp_path)
    refused("digit", "unknown name", "Did you mean digits?")
    refused("minst", "the path 'mnist'")
    refused("cifar10", "known: digits", "hub:cifar10")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x.zip", "Unpack it"),
        ("x.mat", "scipy.io.loadmat"),
        ("x.txt", "unknown kind of file"),
        ("x.png", "cannot be split"),
    ],
)
def test_other_kinds_of_files_say_what_to_do(tmp_path: Path, name: str, words: str):
    (tmp_path / name).write_bytes(b"1, 2, 3")
    refused(tmp_path / name, words)


def test_values_in_memory_that_are_no_arrays():
    refused([[1, 2], [3, 4]], "expected a name, a path or a NumPy array, got list")


def test_options_out_of_range():
    refused("digits", "0 < test_fraction < 1, got 1.5", test_fraction=1.5)
    refused("digits", "'random' or 'tail', got 'head'", split="head")
    refused("digits", "expected images of 28x28, got 8x8: arrays are not resized", size=28)


def test_images_pass_through():
    images = load("digits")
    assert isinstance(images, Images)
    assert load(images) is images


def test_the_message_follows_the_template():
    x = np.full((8, 1, 28, 28), 0.5, np.float32)
    x[3, 0, 2, 7] = 1.5
    message = refused(x)
    assert message == (
        "array: expected values in [0, 1], got 1 of 6272 values outside (smallest 0.5, largest 1.5), "
        "first 1.5 at [3, 0, 2, 7] (shape (8, 1, 28, 28), float32). "
        "uint8 stored as float? Divide by 255? x = x / 255"
    )


@pytest.mark.parametrize("array", [np.array(["a", "b"]), np.zeros((4, 6, 6), complex), np.zeros(3, "M8[s]")])
def test_what_is_no_number_is_named_by_its_dtype(tmp_path, array):
    path = tmp_path / "str.npy"
    np.save(path, array)
    for call in (load, check):
        with pytest.raises(LossproofError) as error:
            call(path)
        assert str(error.value) == (
            f"str.npy: expected numbers (uint8, uint16, bool or float), got dtype {array.dtype}, shape "
            f"{array.shape}. Convert them: x = x.astype(np.float32)."
        )
