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


class ConnectError(Exception):
    """As httpx names it."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    """What the hub is asked; the answer is what the test puts in."""
    questions: list = []
    answer: list = [ConnectError("Name or service not known")]

    def info(self, name, *, timeout):
        questions.append((name, timeout))
        if answer[0] is not None:
            raise answer[0]

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", info)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return questions, answer


def settings() -> tuple[bool, bool]:
    from huggingface_hub import constants

    return datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE


def test_without_a_connection_the_cache_is_asked_and_nothing_is_tried_again(
    asked, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
):
    seen = []

    def load_dataset(path, config):
        seen.append((path, config, settings()))
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(LossproofError, match="expected a connection to the Hugging Face hub, or a copy"):
        load("hub:some/set:plain")
    assert asked[0] == [("some/set", 10.0)]
    assert seen == [("some/set", "plain", (True, True))]
    assert settings() == (False, False)
    assert capfd.readouterr() == ("", "")


def test_without_a_connection_the_real_library_ends_at_once(asked, capfd: pytest.CaptureFixture):
    import time

    began = time.monotonic()
    with pytest.raises(LossproofError, match="got neither"):
        load("hub:some/set")
    assert time.monotonic() - began < 10  # with the library's own retries: 24 s
    assert capfd.readouterr() == ("", "")


def test_a_copy_in_the_cache_is_used_without_a_connection(asked, monkeypatch: pytest.MonkeyPatch):
    cells = datasets.Dataset.from_dict(
        {"x": IMAGES.tolist()}, features=datasets.Features({"x": datasets.Array2D((6, 5), "uint8")})
    )
    monkeypatch.setattr(datasets, "load_dataset", lambda path, config: {"train": cells})
    assert np.array_equal(read("hub:some/set").train[:, 0], IMAGES)


@pytest.mark.parametrize("answer", [None, PermissionError("gated"), TimeoutError("slow to answer")])
def test_with_a_connection_the_library_does_its_own_work(asked, monkeypatch: pytest.MonkeyPatch, answer):
    asked[1][0] = answer
    seen = []

    def load_dataset(path, config):
        seen.append(settings())
        raise RuntimeError("no such set")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(LossproofError, match=r"got RuntimeError: no such set Check the name"):
        load("hub:some/set")
    assert seen == [(False, False)]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(LossproofError, match=r"pip install 'lossproof\[hub\]'"):
        load("hub:mnist")


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    from lossproof.data import loading

    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(LossproofError, match=r"pip install 'lossproof\[torch\]'"):
        load("digits")
