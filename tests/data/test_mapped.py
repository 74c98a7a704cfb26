"""Images that stay on disk are those that are loaded, value for value, whatever they are stored as."""

import gc
import json

import numpy as np
import pytest
from PIL import Image

from lossproof.data import load, mapped, scan
from lossproof.data.mapped import Mapped, counted, memory
from lossproof.data.scan import blocks
from lossproof.formula.errors import LossproofError

RNG = np.random.default_rng(5)
BYTES = RNG.integers(0, 256, (40, 1, 6, 5), dtype=np.uint8)


def npy(folder, array):
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


def npz(folder, array):
    np.savez(
        folder / "x.npz",
        x_train=array[:30],
        x_test=array[30:],
        y_train=np.arange(30) % 3,
        y_test=np.arange(10) % 3,
    )
    return folder / "x.npz"


def pictures(folder, array):
    for i, image in enumerate(array):
        place = folder / "set" / ("train" if i < 30 else "test") / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{i:03}.png")
    return folder / "set"


def idx(folder, array):
    for role, part in (("train", array[:30]), ("t10k", array[30:])):
        head = b"\0\0\x08\x03" + np.array(part[:, 0].shape, ">u4").tobytes()
        (folder / f"{role}-images-idx3-ubyte").write_bytes(head + part.tobytes())
        labels = (np.arange(len(part)) % 4).astype(np.uint8)
        (folder / f"{role}-labels-idx1-ubyte").write_bytes(
            b"\0\0\x08\x01" + np.array(len(part), ">u4").tobytes() + labels.tobytes()
        )
    return folder


SOURCES = {
    "bytes": lambda folder: npy(folder, BYTES),
    "floats": lambda folder: npy(folder, (BYTES / 255).astype(np.float32)),
    "doubles off the levels": lambda folder: npy(folder, RNG.random((40, 6, 5))),
    "16 bits": lambda folder: npy(folder, RNG.integers(0, 65536, (40, 6, 5), dtype=np.uint16)),
    "bool": lambda folder: npy(folder, BYTES[:, 0] > 99),
    "channels last": lambda folder: npy(folder, RNG.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)),
    "rows": lambda folder: npy(folder, BYTES.reshape(-1, 30)[:, :25]),
    "npz": lambda folder: npz(folder, BYTES),
    "pictures": lambda folder: pictures(folder, BYTES),
    "idx": lambda folder: idx(folder, BYTES),
    "digits": lambda folder: "digits",
}


def same(one, two):
    for part in ("train", "test"):
        there, here = getattr(one, part), getattr(two, part)
        assert isinstance(here, Mapped)
        assert here.shape == there.shape
        assert (len(here), here.size, here.nbytes) == (len(there), there.size, there.nbytes)
        places = RNG.integers(0, len(there), 9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scan, "BLOCK", 70)
            pieces = [block for block, _ in blocks(here)]
        assert len(pieces) > 1
        for found, expected in (
            (here[:], there),
            (here[places], there[places]),
            (here[3], there[3]),
            (here[2:7], there[2:7]),
            (np.asarray(here), there),
            (np.concatenate(pieces), there),
        ):
            assert found.dtype == np.float32
            assert np.array_equal(found, expected)
        labels = [getattr(images, f"{part}_labels") for images in (one, two)]
        assert (labels[0] is None) == (labels[1] is None)
        assert labels[0] is None or np.array_equal(*labels)
    assert (one.name, one.scaling, one.levels, one.source) == (two.name, two.scaling, two.levels, two.source)
    assert set(two.notes[:-1]) == set(one.notes)
    assert two.notes[-1].startswith("streamed: ")


@pytest.mark.parametrize("kind", SOURCES)
def test_what_stays_on_disk_is_what_is_loaded(kind, tmp_path):
    data = SOURCES[kind](tmp_path)
    same(load(data), load(data, stream="on"))
    if kind not in ("npz", "pictures", "idx"):
        same(
            load(data, split="tail", test_fraction=0.3),
            load(data, split="tail", test_fraction=0.3, stream="on"),
        )


@pytest.mark.parametrize("grey", [True, False])
def test_channels_are_made_when_it_is_unpacked(tmp_path, grey):
    data = npy(tmp_path, RNG.integers(0, 256, (20, 4, 5, 3 if grey else 1), dtype=np.uint8))
    same(load(data, grey=grey), load(data, grey=grey, stream="on"))


@pytest.mark.parametrize("kind", ["pictures", "sets of numbers", "whole numbers"])
def test_hub_sets_stay_in_their_files(tmp_path, monkeypatch, kind):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    values, feature = {
        "pictures": ([Image.fromarray(x[0]) for x in BYTES], datasets.Image()),
        "sets of numbers": (BYTES[:, 0].tolist(), datasets.Array2D((6, 5), "uint8")),
        "whole numbers": (BYTES[:, 0, :5].reshape(40, 25).tolist(), datasets.List(datasets.Value("int64"))),
    }[kind]
    folder = tmp_path / "set"
    folder.mkdir()
    for role, part in (("train", slice(0, 30)), ("test", slice(30, 40))):
        rows = {"x": values[part], "label": [i % 3 for i in range(40)][part]}
        features = datasets.Features({"x": feature, "label": datasets.Value("int64")})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{role}.parquet")
    same(load(f"hub:{folder}"), load(f"hub:{folder}", stream="on"))


def test_damaged_and_wrong_data_are_refused_as_ever(tmp_path):
    (tmp_path / "short.npy").write_bytes(b"\x93NUMPY\x01\x00")
    for data, message in (
        (npy(tmp_path, BYTES.astype(np.float32)), r"expected values in \[0, 1\], got .* Divide by 255"),
        (tmp_path / "short.npy", "expected a whole NumPy file"),
        (tmp_path / "none", "there is no 'none'"),
    ):
        with pytest.raises(LossproofError, match=message):
            load(data, stream="on")
    folder = pictures(tmp_path, BYTES)
    next(iter(sorted((folder / "train").rglob("*.png")))).write_bytes(b"no picture")
    with pytest.raises(LossproofError, match="expected a picture, got damaged"):
        load(folder, stream="on")
    with pytest.raises(LossproofError, match=r"stream: expected one of auto, on, off, got 'yes'"):
        load(folder, stream="yes")


@pytest.mark.parametrize("kind", ["bytes", "npz", "pictures", "idx", "digits"])
def test_auto_streams_what_would_take_half_of_the_memory(tmp_path, monkeypatch, kind):
    data = SOURCES[kind](tmp_path)
    needed = 4 * BYTES.size
    for free, expected in ((2 * needed - 1, True), (20 * needed, False)):
        monkeypatch.setattr(mapped, "memory", lambda free=free: free)
        # gzipped or not, an IDX folder is read at once, as digits are; a folder of pictures is reckoned by its largest side
        streamed = expected and kind in ("bytes", "npz", "pictures")
        assert isinstance(load(data, stream="auto").train, Mapped) == streamed
    assert memory() > 1 << 20


def test_no_room_to_unpack(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "open_memmap", full)
    with pytest.raises(
        LossproofError, match=r"stream: expected room for 0 MiB of pixels in .*No space left.*TMPDIR"
    ):
        load(npz(tmp_path, BYTES), stream="on")


def test_what_was_unpacked_is_removed_when_nobody_needs_it(tmp_path):
    images = load(npz(tmp_path, BYTES), stream="on")
    folder = images.train.keep.path
    kept = images.test
    assert len(list(folder.iterdir())) == 2
    del images
    assert folder.exists()
    del kept
    gc.collect()
    assert not folder.exists()


def test_another_process_finds_them(tmp_path):
    for kind in ("channels last", "npz", "floats"):
        folder = tmp_path / kind
        folder.mkdir()
        images = load(SOURCES[kind](folder), stream="on")
        told = json.loads(
            json.dumps([getattr(images, part).to_json(tmp_path, part) for part in ("train", "test")])
        )
        for part, there in zip((images.train, images.test), told, strict=True):
            assert np.array_equal(Mapped.from_json(there)[:], part[:])
    other = told[0] | {"bytes": told[0]["bytes"] + 1}
    with pytest.raises(LossproofError, match=r"with \d+ bytes as where the run was started, got \d+"):
        Mapped.from_json(other)
    with pytest.raises(LossproofError, match=r"expected .*nowhere on every machine, cannot read it here"):
        Mapped.from_json(told[0] | {"path": str(tmp_path / "nowhere")})


@pytest.mark.parametrize(
    ("kind", "levels"), [("bytes", 256), ("doubles off the levels", None), ("digits", 17), ("bool", 2)]
)
def test_distinct_values_and_their_counts(tmp_path, kind, levels):
    data = SOURCES[kind](tmp_path)
    for images in (load(data), load(data, stream="on")):
        assert images.levels == levels
        values, counts = counted(images.train, levels)
        expected = np.unique(images.train[:], return_counts=True)
        assert values.dtype == np.float32
        assert np.array_equal(values, expected[0])
        assert np.array_equal(counts, expected[1])


def test_floats_next_to_a_level_are_counted_by_themselves():
    level = np.float32(1) / np.float32(3)
    x = np.array([[level, np.nextafter(level, np.float32(1)), 0, level]], np.float32)
    values, counts = counted(x, 4)
    assert values.tolist() == sorted(set(x.ravel().tolist()))
    assert counts.tolist() == [1, 2, 1]
    values, counts = counted(np.array([[-1.0, 0, 1, 300, 1]], np.float32), 2)
    assert (values.tolist(), counts.tolist()) == ([-1, 0, 1, 300], [1, 1, 2, 1])
    values, counts = counted(np.array([[np.nan, 0]], np.float32), 2)
    assert (values[0], np.isnan(values[1]), counts.tolist()) == (0, True, [1, 1])


def test_more_distinct_values_than_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "MOST", 100)
    x = RNG.random((400, 1, 2, 2)).astype(np.float32)
    made = load(npy(tmp_path, x), stream="on", test_fraction=0.5)
    monkeypatch.setattr(scan, "BLOCK", 64)
    values, counts = counted(made.train, None)
    assert 20 <= len(values) <= 100
    assert counts.sum() == made.train.size
    assert (values[0], values[-1]) == (made.train[:].min(), made.train[:].max())
    assert np.isin(values, made.train[:]).all()
