"""A small run directory with synthetic but consistent numbers, as the training room would have written it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lossproof import report

COLUMNS = ["member", "loss", "seed", "epoch", "split", "measure", "value", "reason"]
# label -> (floor, mean-image loss, excess at the end, excess before training)
SHAPES = {
    "bce": (22.4, 31.6, 3.9, 22.0),
    "mse": (0.0, 4.6, 1.31, 12.0),
    "mae": (0.0, 12.9, 4.4, 26.0),
    "logcosh": (0.0, 2.05, 0.62, 5.1),
}
TITLES = {
    "bce": "binary cross-entropy",
    "mse": "squared error",
    "mae": "absolute error",
    "logcosh": "log-cosh",
}
FORMULAS = {
    "bce": "-(xlogy(y, p) + xlogy(1 - y, 1 - p))",
    "mse": "(y - p)**2",
    "mae": "abs(y - p)",
    "logcosh": "log(cosh(y - p))",
}
QUALITY = {"bce": 1.0, "mse": 1.06, "mae": 1.35, "logcosh": 1.07}

MakeRun = Callable[..., Path]


def shape_of(label: str) -> tuple[float, float, float, float]:
    return SHAPES.get(label, (1.5, 9.0, 2.0, 14.0))


def curve(start: float, end: float, epochs: int) -> np.ndarray:
    return end + (start - end) * np.exp(-4.0 * np.arange(epochs + 1) / max(epochs, 1))


def rows_of(
    label: str, member: str, seed: int, epochs: int, labels: Sequence[str], variational: bool
) -> list[tuple[Any, ...]]:
    noise = np.random.default_rng([seed, len(label)])
    floor, mean_image, end, start = shape_of(label)
    quality = QUALITY.get(label, 1.2) * (1 + 0.01 * noise.standard_normal())
    shared = 1 + 0.02 * np.random.default_rng(seed).standard_normal()
    rows: list[tuple[Any, ...]] = []

    def put(split: str, measure: str, values: np.ndarray) -> None:
        rows.extend(
            (member, label, seed, epoch, split, measure, float(v), "") for epoch, v in enumerate(values)
        )

    for split, gap in (("test", 1.0), ("train", 0.96)):
        excess = curve(start, end * quality * shared * gap, epochs)
        mse = curve(0.19, 0.0205 * quality * shared * gap, epochs)
        rate = curve(0.01, 9.0 / quality, epochs) if variational else np.zeros(epochs + 1)
        put(split, "excess", excess)
        put(split, "floor", np.full(epochs + 1, floor))
        put(split, "loss", excess + floor)
        put(split, "rate", rate)
        put(split, "objective", excess + floor + rate)
        put(split, "mse", mse)
        put(split, "mae", np.sqrt(mse) * 0.55)
        put(split, "psnr", -10 * np.log10(mse))
        put(split, "ssim", 1 - 3 * mse)
        put(
            split,
            "dead_pixels",
            curve(0.0, {"bce": 0.0, "mse": 0.021, "mae": 0.034}.get(label, 0.02) * gap, epochs),
        )
        put(split, "gradient_norm", curve(9.0, 1.2 * quality, epochs))
        put(split, "active_units", np.minimum(np.arange(epochs + 1), 2.0))
        for other in labels:
            _, _, other_end, other_start = shape_of(other)
            penalty = 1.0 if other == label else 1.15
            put(
                split,
                f"excess:{other}",
                curve(other_start, other_end * quality * shared * gap * penalty, epochs),
            )
    put("train", "seconds", np.linspace(0, 4.0 * quality, epochs + 1))
    for measure, value in (("mean_image_loss", mean_image), ("mean_image_excess", mean_image - floor)):
        rows.append((member, label, seed, 0, "test", measure, value, ""))
    return rows


def strip(path: Path, count: int, side: int, blur: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / (side - 1)
    canvas = np.ones((side, count * side + count - 1))
    for index in range(count):
        centre = 0.3 + 0.4 * np.random.default_rng(index).random(2)
        image = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (0.03 + blur)) + blur * rng.random(
            (side, side)
        )
        canvas[:, index * (side + 1) : index * (side + 1) + side] = np.clip(image, 0, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * canvas).astype("uint8")).save(path)


def build(
    directory: Path,
    labels: Sequence[str] = ("bce", "mse", "mae", "logcosh"),
    *,
    seeds: int = 3,
    epochs: int = 20,
    model: str = "vae",
    data: str = "digits",
    classes: Sequence[object] | None = tuple(range(10)),
    stopped: str | None = None,
    interrupted: bool = False,
    elsewhere: Sequence[str] = (),
    message: str = "log(p): p = 0 at image 3, pixel [0, 2, 5], step 41",
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    variational = "vae" in model
    rows: list[tuple[Any, ...]] = []
    codes: list[pd.DataFrame] = []
    events: list[dict[str, Any]] = []
    members: dict[str, Any] = {}
    strip(directory / "images" / "originals.png", 10, 8, 0.0, 0)
    for place, label in enumerate(labels):
        for seed in range(seeds):
            member = f"m{place}-s{seed}"
            part = rows_of(label, member, seed, epochs, labels, variational)
            if label == stopped:
                part = [(*r[:6], float("nan"), message) if r[3] > 2 else r for r in part]
                events.append(
                    {
                        "member": member,
                        "loss": label,
                        "seed": seed,
                        "epoch": 3,
                        "step": 41,
                        "term": "log(p)",
                        "image": 3,
                        "index": [0, 2, 5],
                        "message": message,
                    }
                )
            else:
                strip(directory / "images" / member / "reconstructions.png", 10, 8, 0.01 * (place + 1), seed)
                if variational:
                    strip(directory / "images" / member / "samples.png", 10, 8, 0.02 * (place + 1), seed + 9)
                members[member] = {"reconstructions": f"{member}/reconstructions.png"}
            rows += part
            rng = np.random.default_rng([seed, place])
            index = np.arange(360)
            group = index % (len(classes) if classes else 7)
            codes.append(
                pd.DataFrame(
                    {
                        "member": member,
                        "loss": label,
                        "seed": seed,
                        "index": index,
                        "label": [classes[g] for g in group] if classes else None,
                        "x": np.cos(group) * 2 + 0.35 * rng.standard_normal(360),
                        "y": np.sin(group) * 2 + 0.35 * rng.standard_normal(360),
                    }
                )
            )
    if interrupted:
        events.append({"interrupted": True, "epoch": epochs, "epochs": epochs + 10})
    config = {
        "data": {
            "name": data,
            "source": "scikit-learn, embedded",
            "scaling": "0..16 / 16",
            "notes": [],
            "shape": [1, 8, 8],
            "train": 1437,
            "test": 360,
            "levels": 17,
            "labels": classes is not None,
            "sha256": "0" * 64,
        },
        "losses": [
            {
                "label": label,
                "title": TITLES.get(label, "a loss of one's own"),
                "formula": FORMULAS.get(label, label),
                "hash": "0" * 64,
                "minimum": "elsewhere" if label in elsewhere else "target",
                "minimiser": None,
                "note": "",
                "values": {},
            }
            for label in labels
        ],
        "model": model,
        "latent": 2,
        "hidden": [128, 64],
        "epochs": epochs + 10 * interrupted,
        "batch_size": 64,
        "lr": 1e-3,
        "beta": 1.0,
        "seeds": list(range(seeds)),
        "device": "cpu",
        "versions": {"lossproof": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "command": f"lossproof compare {data} --losses {','.join(labels)} --seeds {seeds}",
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "events.json").write_text(json.dumps(events), encoding="utf-8")
    index = {"count": 10, "shape": [1, 8, 8], "members": members}
    (directory / "images" / "index.json").write_text(json.dumps(index), encoding="utf-8")
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(directory / "results.parquet")
    pd.concat(codes).to_parquet(directory / "latent.parquet")
    return directory


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Build a run directory below this test's own folder; keywords as in `build`."""

    def make(**options: Any) -> Path:
        return build(tmp_path / "run", **options)

    return make


@pytest.fixture(scope="session")
def plain_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the default run: four losses, three seeds, nothing wrong. Only to be read."""
    return report.write(build(tmp_path_factory.mktemp("plain") / "run"))


@pytest.fixture(scope="session")
def odd_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with a stopped loss, a long formula and one seed. Only to be read."""
    labels = ("bce", "mse", "(y-p)**2/(p*(1-p))+0.001*abs(y-p)**1.5")
    return report.write(build(tmp_path_factory.mktemp("odd") / "run", labels=labels, stopped="mse", seeds=1))
