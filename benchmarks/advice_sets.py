"""The real sets of benchmarks/advice.py, each cut to what a user has and what is kept back to judge the advice by."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.advise.candidates import lattice_of
from lossproof.data import Images, idx
from lossproof.data.facts_stream import Facts, gather
from lossproof.data.stream import open_stream

Array = npt.NDArray[Any]
SETS = ("digits", "MNIST", "Fashion-MNIST", "Frey", "Olivetti", "Omniglot")
MOST, KEPT = 2000, 500  # images that the user has, and that are kept back
#: how pixels of the sets for denoising are spoilt: name -> (values in [0, 1], draws) -> values
NOISES: dict[str, Callable[[npt.NDArray[np.float64], np.random.Generator], npt.NDArray[np.float64]]] = {
    "Gaussian": lambda x, rng: x + 0.1 * rng.standard_normal(x.shape),
    "salt and pepper": lambda x, rng: _salted(x, rng.random(x.shape), 0.1),
}


@dataclass(frozen=True)
class Cut:
    """A set: images (n, h, w) that the user has and images kept back, as bytes or Boolean, with labels where there are."""

    has: Array
    kept: Array
    has_labels: Array | None = None
    kept_labels: Array | None = None


def _salted(x: npt.NDArray[np.float64], u: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    return np.where(u < share / 2, 0.0, np.where(u > 1 - share / 2, 1.0, x))


def _drawn(images: Array, labels: Array | None, kept: int, most: int = MOST) -> Cut:
    """Images kept back at random, the same for every run."""
    order = np.random.default_rng(0).permutation(len(images))
    back, has = np.sort(order[:kept]), np.sort(order[kept : kept + most])
    found = (None, None) if labels is None else (labels[has], labels[back])
    return Cut(images[has], images[back], *found)


def digits() -> Cut:
    from sklearn.datasets import load_digits

    found = load_digits()
    return _drawn((found.images / 16).astype(np.float32), found.target, 360)


def mnist(folder: Path) -> Cut:
    train, test = (
        [idx.read_idx(folder / f"{part}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1")]
        for part in ("train", "t10k")
    )
    return Cut(train[0][:MOST], test[0][:KEPT], train[1][:MOST], test[1][:KEPT])


def frey(path: Path) -> Cut:
    frames = np.load(path)  # in the order of the film: what is kept back is its end
    return Cut(frames[:-393], frames[-393:])


def faces_of(path: Path) -> Array:
    """Olivetti's faces, every second row and column, (400, 32, 32) bytes: ten of each person, one after another."""
    from scipy.io import loadmat

    return np.asarray(loadmat(path)["faces"].T.reshape(400, 64, 64).transpose(0, 2, 1)[:, ::2, ::2])


def olivetti(path: Path) -> Cut:
    """Two pictures of each person are kept back."""
    faces = faces_of(path)
    back = np.arange(400) % 10 >= 8
    person = np.arange(400) // 10
    return Cut(faces[~back], faces[back], person[~back], person[back])


def characters_of(path: Path, side: int = 35) -> tuple[Array, list[str]]:
    """Omniglot's ink (n, side, side), each 3 x 3 pixels one: ink if any of them is; and which character each is."""
    from PIL import Image

    images, names = [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith(".png")):
            with archive.open(name) as file, Image.open(file) as picture:
                ink = ~np.asarray(picture.convert("1"))
            images.append(ink.reshape(side, 3, side, 3).any(axis=(1, 3)))
            names.append(str(Path(name).parent))
    return np.stack(images), names


def omniglot(path: Path) -> Cut:
    """The first small set; labels are characters."""
    images, names = characters_of(path)
    return _drawn(images, np.unique(names, return_inverse=True)[1], KEPT)


def sets(folder: Path) -> dict[str, Callable[[], Cut]]:
    """How each real set is read."""
    return {
        "digits": digits,
        "MNIST": lambda: mnist(folder / "mnist"),
        "Fashion-MNIST": lambda: mnist(folder / "fashion-mnist"),
        "Frey": lambda: frey(folder / "frey-faces" / "freyfaces-uint8.npy"),
        "Olivetti": lambda: olivetti(folder / "olivetti-faces" / "olivettifaces.mat"),
        "Omniglot": lambda: omniglot(folder / "omniglot" / "images_background_small1.zip"),
    }


def unit(images: Array) -> npt.NDArray[np.float64]:
    """Stored values in [0, 1]."""
    return images.astype(np.float64) / (255 if images.dtype == np.uint8 else 1)


def spoilt(images: Array, noise: str, seed: int) -> Array:
    """The images with noise, stored as they were, as a sensor does: values beyond are cut off, levels are kept."""
    levels = {"u": 255, "b": 1, "f": 16}[images.dtype.kind]
    # images of one bit get grey levels where noise has them
    steps = 255 if levels == 1 and noise == "Gaussian" else levels
    values = np.clip(NOISES[noise](unit(images), np.random.default_rng(seed)), 0, 1)
    whole = np.rint(values * steps)
    return (
        (whole / 16).astype(np.float32) if levels == 16 else whole.astype(np.uint8 if steps == 255 else bool)
    )


def facts_of(cut: Cut, name: str) -> Facts:
    """The facts of what the user has, all of it in the sample."""
    found = gather(open_stream(cut.has))
    labels = None if cut.has_labels is None else cut.has_labels[found.sample_numbers]
    return replace(found, name=name, sample_labels=labels)


def images_of(cut: Cut, facts: Facts) -> Images:
    """Training on all that the user has, judged on what was kept back."""
    return Images(
        facts.name, facts.sample, unit(cut.kept)[:, None].astype(np.float32), cut.has_labels, cut.kept_labels,
        "", facts.scaling, lattice_of(facts),
    )  # fmt: skip
