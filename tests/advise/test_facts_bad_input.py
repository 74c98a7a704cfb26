"""Bad input to the stream and the facts: what is skipped and counted, what is refused, with which words."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lossproof.advise import advise
from lossproof.advise.words import fact_rows
from lossproof.data.facts_stream import gather
from lossproof.data.stream import open_stream
from lossproof.formula import LossproofError


def pictures(folder: Path, count: int = 12, side: int = 8, mode: str = "L") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side, *channels)).astype(np.uint8), mode or None).save(
            folder / f"{i:03}.png"
        )
    return folder


@pytest.fixture(autouse=True)
def _no_pillow_deprecation(monkeypatch):
    def fromarray(array, mode=None):
        return ORIGINAL(array)

    ORIGINAL = Image.fromarray
    monkeypatch.setattr(Image, "fromarray", fromarray)


def test_a_corrupt_picture_in_the_middle_is_skipped_counted_and_named(tmp_path):
    folder = pictures(tmp_path / "p")
    good = (folder / "005.png").read_bytes()
    (folder / "005.png").write_bytes(b"no picture at all")
    (folder / "007.png").write_bytes(good[: len(good) - 30])  # its header is whole, its pixels are not
    stream = open_stream(folder)
    facts = gather(stream)
    assert (facts.count, facts.expected, facts.skipped_count) == (10, 12, 2)
    assert sorted(Path(name).name for name, _ in facts.skipped) == ["005.png", "007.png"]
    said = advise(folder, budget=0, losses=["bce", "mse"]).warnings
    assert any("2 of 12 pictures could not be read" in text and "005.png" in text for text in said)


@pytest.mark.parametrize("broken", [b"no picture at all", None])
def test_strict_stops_at_a_corrupt_picture(tmp_path, broken):
    folder = pictures(tmp_path / "p")
    whole = (folder / "005.png").read_bytes()
    (folder / "005.png").write_bytes(broken if broken is not None else whole[:-30])
    with pytest.raises(LossproofError, match=r"005\.png: expected a picture, got damaged or unknown data"):
        gather(open_stream(folder, strict=True))


def test_a_folder_of_broken_pictures_names_the_last(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"nothing")
    with pytest.raises(LossproofError, match=r"a\.png: expected a picture"):
        open_stream(tmp_path / "p")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(
        LossproofError, match=r"expected pictures \(png, jpeg, ...\) or MNIST-format IDX files, got none"
    ):
        open_stream(tmp_path)


def test_mixed_sizes_need_a_size(tmp_path):
    folder = pictures(tmp_path / "p")
    Image.fromarray(np.zeros((9, 11), np.uint8)).save(folder / "x.png")
    with pytest.raises(LossproofError, match=r"expected pictures of one size, got 2 sizes: 8x8 .* --size 8"):
        open_stream(folder)
    facts = gather(open_stream(folder, size=8))
    assert (facts.count, facts.shape) == (13, (1, 8, 8))
    assert any("scaled to 8 pixels" in note for note in facts.notes)
    with pytest.raises(LossproofError, match="expected a size of at least 1 pixel, got 0"):
        open_stream(folder, size=0)


def test_alpha_colour_and_grey(tmp_path):
    facts = gather(open_stream(pictures(tmp_path / "a", mode="RGBA")))
    assert facts.shape == (3, 8, 8)
    assert any("12 of 12 pictures have an alpha channel" in note for note in facts.notes)
    assert "12 of 12 pictures have an alpha channel: laid on white" in dict(fact_rows(facts))["read"]
    grey = gather(open_stream(tmp_path / "a", grey=True))
    assert grey.shape == (1, 8, 8)
    equal = np.repeat(np.random.default_rng(0).integers(0, 256, (20, 1, 6, 6)), 3, axis=1).astype(np.uint8)
    assert gather(open_stream(equal)).equal_channels


def test_train_and_test_folders_are_told_apart(tmp_path):
    pictures(tmp_path / "train" / "cat", 5)
    pictures(tmp_path / "train" / "dog", 4)
    pictures(tmp_path / "test" / "cat", 3)
    pictures(tmp_path / "test" / "dog", 2)
    stream = open_stream(tmp_path)
    parts = {block.part: len(block.images) for block in stream.blocks()}
    assert parts == {"train": 9, "test": 5}
    assert stream.labels is not None
    assert stream.labels.tolist() == [0] * 5 + [1] * 4 + [0] * 3 + [1] * 2
    assert gather(stream).order.across == 5  # the same numbers were drawn for every folder


def test_sixteen_bits_and_booleans():
    x = np.random.default_rng(0).integers(0, 65536, (30, 6, 6)).astype(np.uint16)
    facts = gather(open_stream(x))
    assert facts.scaling == "uint16 / 65535"
    assert facts.high == pytest.approx(x.max() / 65535)
    bits = gather(open_stream(x > 30000))
    assert bits.one_bit
    assert bits.scaling == "bool as 0/1"
    bytes_of_bits = gather(open_stream((x > 30000).astype(np.uint8)))
    assert bytes_of_bits.one_bit
    assert bytes_of_bits.grid == 2


def test_rows_of_nan_are_dropped_counted_and_numbered():
    x = np.random.default_rng(0).random((40, 5, 5)).astype(np.float32)
    x[7], x[20, 1, 1] = np.nan, np.inf
    facts = gather(open_stream(x))
    assert (facts.count, facts.dropped, facts.dropped_numbers) == (38, 2, (7, 20))
    assert facts.not_finite == pytest.approx(26 / 1000)
    assert np.isfinite(facts.sample).all()
    said = advise(x, budget=0, losses=["bce", "mse"]).warnings
    assert any("2 images with NaN or infinity left out: number 7, 20" in text for text in said)
    with pytest.raises(
        LossproofError, match=r"expected images of finite values, got 3 images of which none is"
    ):
        gather(open_stream(np.full((3, 4, 4), np.nan)))


def test_one_pixel_images():
    x = np.random.default_rng(0).random((50, 1, 1)).astype(np.float32)
    advice = advise(x, budget=0, losses=["bce", "mse"])
    assert advice.loss in ("bce", "mse")
    assert np.isnan(advice.facts.noise.impulses)
    # a linear model predicts one pixel exactly, and no temperature follows from that
    assert np.isnan(advice.temperature)
    assert np.isnan(advise(x, "sample", budget=0, losses=["mse"]).temperature)


def test_a_single_image_and_equal_images_get_no_advice():
    with pytest.raises(LossproofError, match="expected at least two images, got 1: one image tells nothing"):
        advise(np.random.default_rng(0).random((1, 6, 6)), budget=0)
    with pytest.raises(
        LossproofError, match="expected images that differ, got 9 images of which every pixel is the same"
    ):
        advise(np.full((9, 6, 6), 0.3), budget=0)


def test_bad_arrays_say_what_to_do(tmp_path):
    with pytest.raises(LossproofError, match="expected at least two images, got an empty array"):
        open_stream(np.zeros((0, 4, 4)))
    with pytest.raises(LossproofError, match=r"expected numbers .* got dtype <U1"):
        open_stream(np.full((3, 4, 4), "a"))
    with pytest.raises(LossproofError, match="arrays are not resized"):
        open_stream(np.zeros((3, 4, 4)), size=8)
    np.save(tmp_path / "o.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(LossproofError, match=r"array of Python objects .*refused"):
        open_stream(tmp_path / "o.npy")
    (tmp_path / "short.npy").write_bytes((tmp_path / "o.npy").read_bytes()[:20])
    with pytest.raises(LossproofError, match="expected a whole NumPy file, got damaged data"):
        open_stream(tmp_path / "short.npy")
    (tmp_path / "text.npy").write_bytes(b"hello there")
    with pytest.raises(LossproofError, match=r"expected a .npy file, got first bytes 0x68656c6c6f20"):
        open_stream(tmp_path / "text.npy")
    np.savez(tmp_path / "two.npz", x_train=np.zeros((3, 4, 4)), x_test=np.zeros((3, 5, 5)))
    with pytest.raises(LossproofError, match="expected train and test images of one shape and dtype"):
        open_stream(tmp_path / "two.npz")


def test_idx_files_cut_short_are_refused(tmp_path):
    head = struct.pack(">BBBB3I", 0, 0, 8, 3, 10, 4, 4)
    path = tmp_path / "x-images-idx3-ubyte"
    path.write_bytes(head + bytes(100))
    with pytest.raises(LossproofError, match="expected 10 images, got data for 6: the file is cut short"):
        gather(open_stream(path))
    path.write_bytes(head + bytes(161))
    with pytest.raises(LossproofError, match="longer than it says"):
        gather(open_stream(path))
    zipped = tmp_path / "t10k-images-idx3-ubyte.gz"
    zipped.write_bytes(gzip.compress(head + np.random.default_rng(0).bytes(160))[:-40])
    with pytest.raises(LossproofError, match="expected a whole gzip file"):
        gather(open_stream(zipped))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 2) + b"ab")
    with pytest.raises(LossproofError, match="the labels file"):
        open_stream(tmp_path / "train-labels-idx1-ubyte")


def test_a_name_that_is_nothing_gets_the_loader_s_words():
    with pytest.raises(LossproofError, match="expected a data set or a path, got an unknown name"):
        open_stream("digitz")
