"""Losses as likelihoods on six sets of images: bits per pixel of an AE and a VAE; writes docs/likelihoods.md.

    python benchmarks/likelihoods.py --data FOLDER                      every set and both models
    python benchmarks/likelihoods.py --data FOLDER --sets mnist,frey    those alone; the page keeps the others
    python benchmarks/likelihoods.py --page                             the page from what is kept, nothing trained

Members of a set and a model are trained side by side, from checkpoints in a folder of their own below --out, and go on
where they were stopped. What was measured is kept as JSON (--records); the page is written anew from it after each.
FOLDER holds mnist/, fashion-mnist/ (IDX files), frey-faces/freyfaces-uint8.npy, olivetti-faces/olivettifaces.mat and
omniglot/images_background_small1.zip.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from advice_sets import characters_of, faces_of
from likelihoods_page import BITS, END, EXCESS, HALF, MODELS, TITLES, page
from lossproof.catalogue import resolve
from lossproof.data import Images, load
from lossproof.formula import LossproofError
from lossproof.likelihood import Normaliser
from lossproof.train.arm import Arm, calibrated
from lossproof.train.comparison import intra_op_threads, make_members, resolve_all, versions
from lossproof.train.likelihood import describe, likelihood_rows
from lossproof.train.loop import rate_per_image, train
from lossproof.train.measure import Measurer
from lossproof.train.member import Member, Row
from lossproof.train.settings import Settings, settle
from lossproof.train.store import CHECKPOINTS, write_bytes, write_json

PAGE = Path(__file__).parent.parent / "docs" / "likelihoods.md"
OUT = Path("lossproof-runs") / "likelihoods"
LOSSES = ("bce", "hellinger", "mse", "logcosh", "huber(delta=0.1)", "mae")
DECODERS = ("discretised_logistic", "beta_binomial")
KEPT = (
    *(BITS, "temperature", "nll", "likelihood_rate", "iw_bound", "pit_deviation"),
    *("zeros_expected", "zeros_observed", "ones_expected", "ones_observed"),
)
TRAIN, TEST, SEEDS, SAMPLES, RATE = 5000, 1000, 3, 4, 2e-3
STEPS = 600  # of each member, about; of the smallest set less, see EPOCHS
LARGE, BATCHES = 5000, (25, 50)  # images of a batch: below LARGE training images, and from there
EPOCHS = 50  # at most: the smallest set is learned by heart later
HIDDEN, LATENT, SMALL = (200,), 20, 8  # codes of 20; of 8 where an image has fewer than SMALL_IMAGE pixels
SMALL_IMAGE = 400
DRAWN = "bits_of_a_draw"  # half-way and at the end, of one draw of the code; given the code of an autoencoder


@dataclass(frozen=True)
class Source:
    """A set: how it is read from the folder, and what was done to it."""

    read: Callable[[Path], Images]
    words: str


SETS: dict[str, Source] = {
    "digits": Source(lambda folder: load("digits"), "scikit-learn's digits, split at random with seed 0"),
    "mnist": Source(lambda folder: load(folder / "mnist"), "its own split"),
    "fashion": Source(lambda folder: load(folder / "fashion-mnist"), "its own split"),
    "frey": Source(
        lambda folder: load(folder / "frey-faces" / "freyfaces-uint8.npy", split="tail"),
        "frames of one film: the last fifth is the test, since neighbouring frames are alike",
    ),
    "olivetti": Source(
        lambda folder: load(faces_of(folder / "olivetti-faces" / "olivettifaces.mat")),
        "every second row and column of 64x64, split at random with seed 0: the same people in both parts",
    ),
    "omniglot": Source(
        lambda folder: load(characters_of(folder / "omniglot" / "images_background_small1.zip")[0]),
        "binary as it is stored, 105x105 made 35x35 (ink where any of 3x3 pixels is ink), ink 1, split at random "
        "with seed 0",
    ),
}


def cut(images: Images, train: int, test: int) -> Images:
    """At most this many images of each part, evenly spaced: a part in the order of classes keeps all of them."""

    def some(part: np.ndarray, most: int) -> np.ndarray:
        return np.ascontiguousarray(
            part[np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(int)]
        )

    return replace(
        images,
        train=some(images.train, train),
        test=some(images.test, test),
        train_labels=None,
        test_labels=None,
    )


def measure(name: str, model: str, images: Images, out: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one set with one model; the record that the page is made of."""
    started = time.process_time()
    few = len(images.train) < LARGE
    batch = BATCHES[0] if few else BATCHES[1]
    steps = math.ceil(len(images.train) / batch)
    settings = settle(
        images,
        model=model,
        latent=LATENT if math.prod(images.image_shape) >= SMALL_IMAGE else SMALL,
        hidden=HIDDEN,
        epochs=given.epochs or min(EPOCHS, round(STEPS / steps)),
        batch_size=batch,
        lr=RATE,
        beta=1.0,
        seeds=SEEDS,
        device="cpu",
        threads=1,
        calibrate="learned",
        samples=SAMPLES,
    )
    settings = replace(settings, stack="on")
    arms = arms_of(given.losses, images, settings)
    members = make_members(arms, images, settings)
    folder = out / f"{name}-{model}" / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    for member in members:
        member.checkpoint = folder / member.checkpoint.name
    loaded = [member.load() for member in members]
    measurer = Measurer(images, arms, settings)
    with intra_op_threads(1):
        train(
            members,
            torch.from_numpy(np.ascontiguousarray(images.train)),
            settings,
            measure=lambda member: (
                drawn(member, measurer) if member.epoch + 1 in (half(settings), settings.epochs) else []
            ),
            checkpoint_seconds=60.0,
            after_member=lambda member, epoch: None,
            stop=lambda: False,
        )
        rows = [row for member in members for row in rows_of(member, measurer, images, settings)]
    return record(name, images, settings, arms, rows) | {
        "cpu_seconds": None if any(loaded) else round(time.process_time() - started)
    }


def arms_of(losses: Sequence[str], images: Images, settings: Settings) -> list[Arm]:
    """The losses, the excess of those that have another law under it, and the decoders."""
    excess = replace(settings, of="excess")
    distinct = {"train": np.unique(images.train), "test": np.unique(images.test)}
    more = []
    for loss in map(resolve, losses):
        try:
            if Normaliser(loss, 1.0, images.levels, "excess").integrand.shifts:
                more.append(
                    replace(calibrated(loss, images, excess, distinct), label=f"{loss.label}{EXCESS}")
                )
        except LossproofError:
            pass  # no floor, and so no excess
    return resolve_all([*losses, *more, *DECODERS], images, settings)


def half(settings: Settings) -> int:
    """The epoch half-way through training; the first where there is but one."""
    return max(1, settings.epochs // 2)


def drawn(member: Member, measurer: Measurer) -> list[Row]:
    """Bits per pixel of the test images as the member is now, of one draw of each code."""
    data, epoch = measurer.splits["test"], member.epoch + 1
    member.model.eval()
    with torch.inference_mode():
        raw, mean, logvar = member.model(data.images, data.noise)
        nats = float(member.criterion.values(data.images, raw).double().sum())
        nats += 0.0 if logvar is None else float(rate_per_image(mean, logvar).double().sum())
    return [Row(epoch, "test", DRAWN, nats / data.images.numel() / math.log(2))]


def rows_of(member: Member, measurer: Measurer, images: Images, settings: Settings) -> list[list[Any]]:
    """What is kept of a trained member: loss, seed, measure, value, reason.

    Zeros and ones are those of the losses: of a decoder's law each level would cost as much as its bits.
    """
    found = {
        row.measure: (row.value, row.reason)
        for row in likelihood_rows(member, measurer, images, settings, calibrated=member.loss is not None)
    }
    if member.loss is not None and member.event is None:
        found["temperature"] = (float(member.criterion.temperature), "")  # type: ignore[attr-defined]
    by_epoch = {row.epoch: (row.value, row.reason) for row in member.rows if row.measure == DRAWN}
    stopped = (math.nan, "" if member.event is None else member.event["message"])
    found |= {HALF: by_epoch.get(half(settings), stopped), END: by_epoch.get(settings.epochs, stopped)}
    return [
        [member.label, member.seed, key, value if math.isfinite(value) else None, reason]
        for key, (value, reason) in found.items()
        if key in (*KEPT, HALF, END)
    ]


def record(
    name: str, images: Images, settings: Settings, arms: Sequence[Arm], rows: list[list[Any]]
) -> dict[str, Any]:
    """What is kept of a set with a model: what it was, and the measures of the test images, one row a member."""
    test, stated = images.test, settings.to_dict()
    shares = {"zero": test == 0, "one": test == 1, "between": (test > 0) & (test < 1)}
    return {
        "title": TITLES[name],
        "words": SETS[name].words,
        "shares": {key: float(mask.mean()) for key, mask in shares.items()},
        "distinct": len(np.unique(images.train)),
        "shape": list(images.image_shape),
        "train": len(images.train),
        "test": len(test),
        "levels": images.levels,
        "scaling": images.scaling,
        **{key: stated[key] for key in ("model", "epochs", "batch_size", "lr", "latent", "hidden", "seeds")},
        **{key: stated[key] for key in ("samples", "of", "calibrate")},
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "yardsticks": describe(images, settings)["yardsticks"],
        "decoders": [arm.label for arm in arms if arm.loss is None],
        "rows": rows,
    }


def keep(path: Path, key: str, found: dict[str, Any]) -> dict[str, Any]:
    """Put one record beside those that are kept already, and give all of them."""
    kept = recorded(path)
    kept[key] = found
    order = [f"{name}/{model}" for model in MODELS for name in SETS]
    kept = {
        key: kept[key] for key in sorted(kept, key=lambda k: order.index(k) if k in order else len(order))
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, kept)
    return kept


def recorded(path: Path) -> dict[str, Any]:
    """The records kept so far, by "set/model"; none where there is no file."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=None, help="the folder of the sets; digits need none")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument(
        "--losses", type=lambda text: text.split("+"), default=list(LOSSES), help="joined by +"
    )
    parser.add_argument("--train", type=int, default=TRAIN, help="training images of a set, at most")
    parser.add_argument("--test", type=int, default=TEST, help="test images of a set, at most")
    parser.add_argument("--epochs", type=int, default=None, help=f"about {STEPS} steps, or {EPOCHS}")
    parser.add_argument("--out", type=Path, default=OUT, help="run folders")
    parser.add_argument("--records", type=Path, default=None, help="what is kept; beside the page, as .json")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--to", type=Path, default=PAGE, help="the page")
    given = parser.parse_args(arguments)
    sets, models = given.sets.split(","), given.models.split(",")
    for word, known in [*((s, SETS) for s in sets), *((m, MODELS) for m in models)]:
        if word not in known:
            parser.error(f"expected one of {', '.join(known)}, got {word!r}")
    if given.data is None and not given.page and set(sets) != {"digits"}:
        parser.error("expected --data FOLDER for sets other than digits")
    records = given.records or given.to.with_suffix(".json")
    for name in [] if given.page else sets:
        images = cut(SETS[name].read(given.data), given.train, given.test)
        for model in models:
            started = time.process_time()
            kept = keep(records, f"{name}/{model}", measure(name, model, images, given.out, given))
            write_bytes(given.to, page(kept).encode())
            print(f"{name} {model}: {time.process_time() - started:.0f} CPU s, wrote {given.to}", flush=True)
    if given.page:
        write_bytes(given.to, page(recorded(records)).encode())
        print(f"wrote {given.to}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
