"""hub: read local data sets of the kinds the Hugging Face hub holds; no network is touched."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lossproof.data import load, read
from lossproof.formula.errors import LossproofError

datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
IMAGES = np.random.default_rng(2).integers(0, 256, (10, 6, 5), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def parquet(folder: Path, split: str, columns: dict, features: dict) -> None:
    folder.mkdir(exist_ok=True)
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def pictures(folder: Path, split: str, images: np.ndarray, name: str = "image") -> None:
    labels = [i % 2 for i in range(len(images))]
    parquet(
        folder,
        split,
        {name: [Image.fromarray(x) for x in images], "label": labels},
        {name: datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])},
    )


def test_parquet_pictures_with_their_own_split(tmp_path: Path):
    pictures(tmp_path / "set", "train", IMAGES[:7])
    pictures(tmp_path / "set", "test", IMAGES[7:])
    images = load(f"hub:{tmp_path / 'set'}")
    assert np.array_equal(images.train[:, 0], (IMAGES[:7] / 255).astype(np.float32))
    assert np.array_equal(images.test[:, 0], (IMAGES[7:] / 255).astype(np.float32))
    assert images.train_labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert images.test_labels.tolist() == [0, 1, 0]
    assert images.scaling == "uint8 / 255"


def test_a_set_without_test_is_split_and_validation_stands_for_test(tmp_path: Path):
    pictures(tmp_path / "one", "train", IMAGES)
    assert (len(load(f"hub:{tmp_path / 'one'}").train), len(load(f"hub:{tmp_path / 'one'}").test)) == (8, 2)
    pictures(tmp_path / "two", "train", IMAGES[:6])
    pictures(tmp_path / "two", "validation", IMAGES[6:])
    assert len(load(f"hub:{tmp_path / 'two'}").test) == 4


def test_rgb_pictures_of_mixed_sizes(tmp_path: Path):
    folder = tmp_path / "set"
    colour = [Image.fromarray(np.full((6 + i % 2, 8, 3), 20 * i, np.uint8)) for i in range(4)]
    parquet(folder, "train", {"photo": colour}, {"photo": datasets.Image()})
    with pytest.raises(LossproofError, match=r"got 2 sizes: 6x8 \(hub:.*\[0\]\), 7x8 \(hub:.*\[1\]\)"):
        load(f"hub:{folder}")
    raw = read(f"hub:{folder}", size=4)
    assert raw.train.shape == (4, 3, 4, 4)
    assert raw.train[:, 0, 0, 0].tolist() == [0, 20, 40, 60]
    assert read(f"hub:{folder}", size=4, grey=True).train.shape == (4, 1, 4, 4)


def test_arrays_in_columns(tmp_path: Path):
    folder = tmp_path / "set"
    parquet(folder, "train", {"x": IMAGES.tolist()}, {"x": datasets.Array2D((6, 5), "uint8")})
    raw = read(f"hub:{folder}")
    assert raw.train.dtype == np.uint8
    assert np.array_equal(raw.train[:, 0], IMAGES)
    flat = {"pixels": IMAGES[:, :5].reshape(10, 25).tolist()}
    parquet(tmp_path / "flat", "train", flat, {"pixels": datasets.List(datasets.Value("int64"))})
    raw = read(f"hub:{tmp_path / 'flat'}")
    assert np.array_equal(raw.train[:, 0], IMAGES[:, :5])
    assert any("taken as uint8" in note for note in raw.notes)


def test_image_folder_on_disk(tmp_path: Path):
    for i, x in enumerate(IMAGES):
        folder = tmp_path / "set" / ("train" if i < 8 else "test") / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(folder / f"{i}.png")
    raw = read(f"hub:{tmp_path / 'set'}")
    assert (len(raw.train), len(raw.test)) == (8, 2)
    assert sorted(x.tobytes() for x in raw.train[:, 0]) == sorted(x.tobytes() for x in IMAGES[:8])


def test_key_names_the_column(tmp_path: Path):
    folder = tmp_path / "set"
    two = [Image.fromarray(x) for x in IMAGES]
    parquet(
        folder,
        "train",
        {"image": two, "mask": two[::-1]},
        {"image": datasets.Image(), "mask": datasets.Image()},
    )
    assert np.array_equal(read(f"hub:{folder}", key="mask").train[:, 0], IMAGES[::-1])
    with pytest.raises(LossproofError, match="expected a column 'masc', got image, mask: did you mean mask"):
        load(f"hub:{folder}", key="masc")


def test_refusals(tmp_path: Path):
    parquet(tmp_path / "text", "train", {"text": ["a", "b"]}, {"text": datasets.Value("string")})
    with pytest.raises(LossproofError, match="expected a column of images, got text"):
        load(f"hub:{tmp_path / 'text'}")
    ragged = {"x": [[[1, 2]], [[1, 2], [3, 4]]]}
    parquet(
        tmp_path / "ragged", "train", ragged, {"x": datasets.List(datasets.List(datasets.Value("int64")))}
    )
    with pytest.raises(LossproofError, match="expected rows of one shape in column 'x'"):
        load(f"hub:{tmp_path / 'ragged'}")
    holes = [Image.fromarray(IMAGES[0]), None]
    parquet(tmp_path / "holes", "train", {"image": holes}, {"image": datasets.Image()})
    with pytest.raises(LossproofError, match=r"\[1\]: expected a picture, got an empty cell"):
        load(f"hub:{tmp_path / 'holes'}")
    pictures(tmp_path / "empty", "train", IMAGES[:0])
    with pytest.raises(LossproofError, match=r"hub:.*empty.*expected (images|a data set)"):
        load(f"hub:{tmp_path / 'empty'}")
    with pytest.raises(LossproofError, match="expected a data set on the Hugging Face hub or a local folder"):
        load(f"hub:{tmp_path / 'nothing'}")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(LossproofError, match=r"pip install 'lossproof\[hub\]'"):
        load("hub:mnist")


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(LossproofError, match=r"pip install 'lossproof\[torch\]'"):
        load("digits")
