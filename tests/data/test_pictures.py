"""Image folders: every kind of picture PIL writes, against the arrays that were written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lossproof.data import load, read
from lossproof.formula.errors import LossproofError

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (4, 9, 6), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (4, 9, 6, 3), dtype=np.uint8)


def save(folder: Path, images, mode: str | None = None, suffix: str = "png", **options: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        (picture.convert(mode) if mode else picture).save(folder / f"{i:03}.{suffix}", **options)
    return folder


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_rgb_pictures_are_read_exactly(tmp_path: Path, suffix: str):
    options = {"lossless": True} if suffix == "webp" else {}
    images = load(save(tmp_path / "x", COLOUR, suffix=suffix, **options), split="tail", test_fraction=0.25)
    assert images.image_shape == (3, 9, 6)
    assert images.scaling == "uint8 / 255"
    expected = (COLOUR / 255).astype(np.float32).transpose(0, 3, 1, 2)
    assert np.array_equal(images.train, expected[:3])
    assert np.array_equal(images.test, expected[3:])


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif", "pgm"])
def test_grey_pictures_are_read_exactly(tmp_path: Path, suffix: str):
    assert np.array_equal(read(save(tmp_path / "x", GREY, suffix=suffix)).train[:, 0], GREY)


def test_jpeg_is_read_as_pil_decodes_it(tmp_path: Path):
    folder = save(tmp_path / "x", COLOUR, suffix="jpg")
    expected = np.stack([np.asarray(Image.open(p)) for p in sorted(folder.iterdir())])
    assert np.array_equal(read(folder).train, expected.transpose(0, 3, 1, 2))


def test_one_bit_pictures_are_bool(tmp_path: Path):
    folder = save(tmp_path / "x", [Image.fromarray(g > 128) for g in GREY])
    images = load(folder, split="tail", test_fraction=0.25)
    assert (images.scaling, images.levels) == ("bool as 0/1", 2)
    assert np.array_equal(images.train[:, 0], (GREY[:3] > 128).astype(np.float32))


def test_sixteen_bit_pictures_keep_all_bits(tmp_path: Path):
    deep = RNG.integers(0, 65536, (3, 5, 5), dtype=np.uint16)
    deep[0, 0, 0], deep[0, 0, 1] = 65535, 257
    for suffix in ("png", "tif"):
        folder = save(tmp_path / suffix, deep, suffix=suffix)
        assert np.array_equal(read(folder).train[:, 0], deep)
        images = load(folder, split="tail", test_fraction=0.3)
        assert images.scaling == "uint16 / 65535"
        assert np.array_equal(images.train[:, 0], (deep[:2] / 65535).astype(np.float32))


def test_eight_bit_pictures_among_sixteen_bit_ones_keep_their_brightness(tmp_path: Path):
    folder = save(tmp_path / "x", [GREY[0].astype(np.uint16) * 257, GREY[1]])
    raw = read(folder)
    assert raw.train.dtype == np.uint16
    assert np.array_equal(raw.train[:, 0], GREY[:2].astype(np.uint16) * 257)
    assert read(folder, grey=False).train.shape == (2, 3, 9, 6)


def test_sixteen_bit_colour_is_read_with_eight_and_said_so(tmp_path: Path):
    # PIL writes no 16-bit colour: this PNG is put together by hand.
    import struct
    import zlib

    pixels = RNG.integers(0, 65536, (2, 2, 3)).astype(">u2")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", body)
    )
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(data + chunk(b"IEND", b""))
    raw = read(tmp_path)
    assert raw.train.dtype == np.uint8
    assert np.abs(raw.train[0].transpose(1, 2, 0).astype(int) - (pixels >> 8)).max() <= 1
    assert "2 of 2 pictures have 16 bits a channel in colour: read with 8 bits" in raw.notes


def test_float_pictures_are_not_rescaled(tmp_path: Path):
    folder = save(tmp_path / "x", [Image.fromarray((g / 255).astype(np.float32)) for g in GREY], suffix="tif")
    assert np.array_equal(read(folder).train[:, 0], (GREY / 255).astype(np.float32))
    save(tmp_path / "x", [Image.fromarray(g.astype(np.float32)) for g in GREY], suffix="tif")
    with pytest.raises(LossproofError, match="Divide by 255"):
        load(folder)
    Image.fromarray(GREY[0]).save(folder / "grey.png")
    with pytest.raises(LossproofError, match="all as floats"):
        load(folder)


def test_alpha_is_laid_on_white(tmp_path: Path):
    rgba = np.concatenate([COLOUR, RNG.integers(0, 256, (4, 9, 6, 1), dtype=np.uint8)], axis=-1)
    rgba[0, 0, 0] = (9, 9, 9, 0)
    raw = read(save(tmp_path / "x", rgba))
    a = rgba[..., 3:].astype(float) / 255
    expected = COLOUR * a + 255 * (1 - a)
    expected[0, 0, 0] = 255
    assert np.abs(raw.train.transpose(0, 2, 3, 1) - expected).max() <= 1
    assert raw.train[0, :, 0, 0].tolist() == [255, 255, 255]
    assert "4 of 4 pictures have an alpha channel: laid on white" in raw.notes


def test_grey_with_alpha_stays_grey(tmp_path: Path):
    raw = read(
        save(
            tmp_path / "x",
            [Image.merge("LA", (Image.fromarray(g), Image.fromarray(np.full_like(g, 128)))) for g in GREY],
        )
    )
    assert raw.train.shape == (4, 1, 9, 6)
    assert np.abs(raw.train[:, 0] - (GREY * (128 / 255) + 255 * (127 / 255))).max() <= 1


def test_palette_pictures(tmp_path: Path):
    few = RNG.integers(0, 4, (4, 9, 6), dtype=np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]], np.uint8)
    pictures = []
    for x in few:
        picture = Image.fromarray(x).convert("P")
        picture.putdata(x.ravel().tolist())
        picture.putpalette(colours.ravel().tolist())
        pictures.append(picture)
    assert np.array_equal(read(save(tmp_path / "x", pictures)).train.transpose(0, 2, 3, 1), colours[few])
    for picture in pictures:
        picture.putpalette(np.repeat([0, 80, 160, 240], 3).tolist())
    raw = read(save(tmp_path / "y", pictures))
    assert np.array_equal(raw.train[:, 0], few * 80)
    raw = read(save(tmp_path / "z", pictures, transparency=3))
    assert np.array_equal(raw.train[:, 0], np.where(few == 3, 255, few * 80))


def test_the_first_frame_of_a_film_is_taken(tmp_path: Path):
    for i in range(2):
        frames = [Image.fromarray(g) for g in GREY[2 * i : 2 * i + 2]]
        frames[0].save(tmp_path / f"{i}.gif", save_all=True, append_images=frames[1:])
    raw = read(tmp_path)
    assert np.array_equal(raw.train[:, 0], GREY[::2])
    assert "2 of 2 pictures have several frames: the first was taken" in raw.notes


def test_a_turned_photograph_is_turned_back(tmp_path: Path):
    for i in range(2):
        picture = Image.fromarray(GREY[i])
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(tmp_path / f"{i}.png", exif=exif)
    assert np.array_equal(read(tmp_path).train[:, 0], np.rot90(GREY[:2], -1, (1, 2)))


def test_grey_and_rgb_can_be_forced(tmp_path: Path):
    folder = save(tmp_path / "x", COLOUR)
    raw = read(folder, grey=True)
    expected = np.stack([np.asarray(Image.fromarray(c).convert("L")) for c in COLOUR])
    assert np.array_equal(raw.train[:, 0], expected)
    assert "colour was turned into grey (ITU-R BT.601 weights)" in raw.notes
    raw = read(save(tmp_path / "y", GREY), grey=False)
    assert np.array_equal(raw.train, np.repeat(GREY[:, None], 3, axis=1))
    assert any("three channels are equal" in note for note in raw.notes)
    mixed = save(tmp_path / "z", [GREY[0], COLOUR[1]])
    assert read(mixed).train.shape == (2, 3, 9, 6)


def test_mixed_sizes_need_a_size(tmp_path: Path):
    folder = save(tmp_path / "x", [GREY[0], GREY[1], GREY[2][:8], np.tile(GREY[3], (3, 2))])
    with pytest.raises(LossproofError, match=r"of one size, got 3 sizes: 9x6 .*8x6 .*27x12 .* --size 6"):
        load(folder)
    raw = read(folder, size=5)
    assert raw.train.shape == (4, 1, 5, 5)
    expected = ImageOps.fit(Image.fromarray(GREY[0]), (5, 5), Image.Resampling.BILINEAR)
    assert np.array_equal(raw.train[0, 0], np.asarray(expected))
    assert any("scaled to 5 pixels" in note for note in raw.notes)
    with pytest.raises(LossproofError, match="size of at least 1 pixel, got 0"):
        load(folder, size=0)


def test_resizing_keeps_deep_and_one_bit_pictures_in_range(tmp_path: Path):
    deep = np.full((2, 10, 12), 65535, np.uint16)
    deep[:, :, 6:] = 0
    raw = read(save(tmp_path / "deep", deep), size=4)
    assert raw.train.dtype == np.uint16
    assert raw.train.max() == 65535
    assert raw.train[0, 0, :, 0].tolist() == [65535] * 4
    ramp = np.random.default_rng(3).integers(0, 50, (40, 24, 24)).astype(np.uint16)
    small = read(save(tmp_path / "ramp", ramp), size=8).train
    assert abs(small.mean() - ramp.mean()) < 0.25  # rounding down would lose half a level
    raw = read(save(tmp_path / "bits", [Image.fromarray(d > 0) for d in deep]), size=4)
    assert raw.train.dtype == np.uint8
    assert raw.train[0, 0, :, 0].tolist() == [255] * 4


def test_sub_folders_are_classes(tmp_path: Path):
    save(tmp_path / "x" / "cat", GREY[:2])
    save(tmp_path / "x" / "ant" / "small", GREY[2:])
    (tmp_path / "x" / ".hidden").mkdir()
    Image.fromarray(GREY[0]).save(tmp_path / "x" / ".hidden" / "no.png")
    (tmp_path / "x" / "readme.txt").write_text("no picture")
    raw = read(tmp_path / "x")
    assert raw.train_labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(raw.train[:, 0], GREY[[2, 3, 0, 1]])
    assert "labels are ant, cat" in raw.notes


def test_train_and_test_folders_are_a_split(tmp_path: Path):
    for part, images in (("train", GREY[:3]), ("val", GREY[3:]), ("test", GREY[:2])):
        for i, image in enumerate(images):
            save(tmp_path / part / "ab"[i % 2], [image])
    raw = read(tmp_path)
    assert (len(raw.train), len(raw.test)) == (2, 2)
    assert "folders left out: val" in raw.notes
    assert raw.test_labels.tolist() == [0, 1]
    assert np.array_equal(raw.test[:, 0], GREY[:2])


def test_folders_without_pictures(tmp_path: Path):
    with pytest.raises(LossproofError, match="an empty folder"):
        load(tmp_path)
    (tmp_path / "x.csv").write_text("1")
    with pytest.raises(LossproofError, match=r"expected pictures .* got a folder with .csv"):
        load(tmp_path)
    Image.fromarray(GREY[0]).save(tmp_path / "one.png")
    with pytest.raises(LossproofError, match="one image cannot be split"):
        load(tmp_path)


def test_damaged_pictures_are_named(tmp_path: Path):
    folder = save(tmp_path, GREY)
    whole = (folder / "002.png").read_bytes()
    (folder / "002.png").write_bytes(b"not a picture")
    with pytest.raises(LossproofError, match=r"002\.png: expected a picture, got damaged"):
        load(folder)
    (folder / "002.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LossproofError, match=r"002\.png: expected a picture, got damaged"):
        load(folder)


def test_huge_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = save(tmp_path, GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(LossproofError, match="expected a small picture, got a huge one"):
        load(folder)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(LossproofError, match="expected a small picture, got a huge one"):
        load(folder)


def test_omniglot_is_one_bit(shared: Path, tmp_path: Path):
    import zipfile

    with zipfile.ZipFile(shared / "omniglot" / "images_background_small1.zip") as archive:
        names = [n for n in archive.namelist() if "Greek/character01" in n or "Greek/character02" in n]
        archive.extractall(tmp_path, names)
    images = load(tmp_path / "images_background_small1" / "Greek")
    assert images.image_shape == (1, 105, 105)
    assert images.levels == 2
    assert len(images.train) + len(images.test) == 40
    assert set(images.train_labels.tolist()) == {0, 1}
