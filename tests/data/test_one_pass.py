"""One pass in constant memory: what check, explain and advise hold does not grow with the data; folders and own splits."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lossproof.advise.symptoms.targets import of_array, of_data
from lossproof.data import check, load
from lossproof.data.facts_stream import gather
from lossproof.data.scan import Range, levels_of, range_of, tally_of
from lossproof.data.stream import open_stream
from lossproof.data.stream_arrays import _forgetter
from lossproof.formula import LossproofError

CAPS = {
    "lossproof.data.facts_stream.SAMPLE_IMAGES": 64,
    "lossproof.data.scan.HEAD": 64,
    "lossproof.data.facts_order.KEPT": 300,
    "lossproof.advise.symptoms.targets.SAMPLED": 1 << 14,
    "lossproof.data.stream.BLOCK": 1 << 16,
}


def saved(path: Path, count: int, dtype: str) -> Path:
    x = np.random.default_rng(0).integers(0, 256, (count, 16, 16), dtype=np.uint8)
    np.save(path, x if dtype == "uint8" else (x / 255).astype(dtype))
    return path


def peak(work: Callable[[], object]) -> int:
    """Most bytes that Python and NumPy held at once, above what they held before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    "work",
    [
        lambda path: gather(open_stream(path)),
        lambda path: check(path, losses=["bce"]),
        lambda path: of_data(path),
    ],
    ids=["advise", "check", "explain"],
)
def test_memory_does_not_grow_with_the_data(tmp_path, monkeypatch, work, dtype):
    for name, value in CAPS.items():
        monkeypatch.setattr(name, value)
    monkeypatch.setattr("lossproof.data.stream.Stream.blocks.__defaults__", (1 << 16,))
    few, many = (saved(tmp_path / f"{n}.npy", n, dtype) for n in (1500, 12_000))
    work(few)  # what is loaded once is not counted
    small, large = peak(lambda: work(few)), peak(lambda: work(many))
    # a mark and a number for each image (8 + 1 bytes) may grow; the data grow by 2.7 or 10.8 MB
    assert large < small + 20 * 12_000
    assert large < many.stat().st_size + 3_000_000


def test_the_memory_test_sees_a_whole_array(tmp_path):
    path = saved(tmp_path / "x.npy", 12_000, "uint8")
    assert peak(lambda: np.load(path).astype(np.float32)) > 12_000 * 256 * 4


def test_a_mapped_file_gives_its_pages_back(tmp_path):
    path = saved(tmp_path / "x.npy", 50, "uint8")
    for mode in ("r", "r+"):
        mapped = np.load(path, mmap_mode=mode)
        first = mapped[:3].copy()
        _forgetter(mapped[5:])()  # also of a view
        assert np.array_equal(mapped[:3], first)
    private = np.load(path, mmap_mode="c")
    private[0] = 7
    _forgetter(private)()
    assert (private[0] == 7).all()  # changes that no file holds stay
    assert _forgetter(np.zeros(3))() is None


def test_pages_of_a_mapped_file_are_let_go(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("lossproof.data.stream_arrays._forgetter", lambda array: lambda: calls.append(1))
    stream = open_stream(saved(tmp_path / "x.npy", 50, "uint8"))
    list(stream.blocks(values=10 * 256))
    assert len(calls) == 5


def test_a_range_is_that_of_the_whole_array():
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 0.3, (40, 3, 5, 4)).astype(np.float32)
    x[13, 1, 2, 3], x[20, 0, 0, 0], x[21, 2, 4, 3] = np.nan, np.inf, -np.inf
    found = Range((3, 5, 4), x.dtype, 1.0)
    for start in range(0, 40, 7):
        found.feed(x[start : start + 7], np.arange(start, min(start + 7, 40)))
    good = np.isfinite(x)
    assert (found.nan, found.infinite, found.lost) == (1, 2, 3)
    place, value = found.first_lost
    assert (place, np.isnan(value)) == ([13, 1, 2, 3], True)
    bad = good & ((x < 0) | (x > 1))
    assert found.outside == bad.sum()
    assert found.first_outside == (list(np.argwhere(bad)[0]), float(x[bad][0]))
    for channel in range(3):
        mine = x[:, channel][good[:, channel]]
        assert (found.lows[channel], found.highs[channel]) == (mine.min(), mine.max())
    assert (found.shape, found.size, len(found.head)) == ((40, 3, 5, 4), x.size, 37)
    assert found.steps == ()


def test_a_lattice_is_one_of_all_blocks(monkeypatch):
    monkeypatch.setattr("lossproof.data.scan.BLOCK", 64)
    x = np.random.default_rng(0).integers(0, 17, (60, 1, 4, 4)) / 16
    assert range_of(x).steps == (16,)
    x[-1, 0, 3, 3] = 0.5001  # in the last block alone
    assert range_of(x).steps == ()
    assert range_of((x > 0.5).astype(float)).steps[0] == 1


def test_a_tally_in_blocks_is_that_of_the_whole_array(monkeypatch):
    monkeypatch.setattr("lossproof.data.scan.BLOCK", 100)
    x = np.random.default_rng(0).integers(0, 9, (50, 2, 3, 4)).astype(np.uint8)
    found = tally_of(x)
    assert np.allclose(found.mean(255), (x / 255).mean(axis=0))
    values, counts = np.unique(x, return_counts=True)
    assert np.array_equal(found.levels(255).values, values / 255)
    assert np.array_equal(levels_of(x, 255).counts, counts)


def test_check_splits_as_load_does(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (53, 6, 6)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    for split in ("random", "tail"):
        report, images = (
            check(tmp_path / "x.npy", losses=["mse"], split=split, seed=3),
            load(x, split=split, seed=3),
        )
        for name in ("train", "test"):
            part, array = report.part(name), getattr(images, name)
            assert part.count == len(array)
            assert part.low == pytest.approx(array.min())
            assert part.at_zero == pytest.approx((array == 0).mean())
        assert images.notes[-1] in report.notes


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / f"{i:03}.png")
    return folder


def test_damaged_pictures_are_left_out_counted_and_named(tmp_path):
    folder = pictures(tmp_path / "p", 12)
    (folder / "005.png").write_bytes(b"no picture")
    report = check(folder, losses=["bce"])
    assert sum(part.count for part in report.parts) == 11
    assert any("1 of 12 pictures could not be read, left out" in n and "005.png" in n for n in report.notes)
    targets = of_data(folder)
    assert targets.count == 11
    assert "005.png" in targets.note
    with pytest.raises(LossproofError, match=r"005\.png: expected a picture"):
        check(folder, strict=True)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:45] if path.stat().st_size > 45 else b"")  # headers alone
    for work in (check, of_data):
        with pytest.raises(LossproofError, match="expected pictures, got none that can be read"):
            work(folder)


def test_progress_is_told_to_the_end():
    told: list[tuple[int, int]] = []
    check("digits", losses=["bce"], progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1797, 1797)
    of_data("digits", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1797, 1797)


def test_targets_of_a_dump_and_of_a_stream_agree():
    x = np.random.default_rng(0).random((30, 5, 5)).astype(np.float32)
    one, two = of_array(x, "dump"), of_data(x)
    assert one.shape == (5, 5)
    assert two.shape == (1, 5, 5)
    assert one.mean == pytest.approx(two.mean)
    assert np.allclose(one.mean_image, two.mean_image[0])
    assert np.allclose(one.median_image, np.median(x, axis=0))
