"""Losses as likelihoods on six sets of images: bits per pixel of an AE and a VAE; writes docs/likelihoods.md.

    python benchmarks/likelihoods.py --data FOLDER                      every set and both models
    python benchmarks/likelihoods.py --data FOLDER --sets mnist,frey    those alone; the page keeps the others
    python benchmarks/likelihoods.py --page                             the page from what is kept, nothing trained

Each set and model is one `compare` in a folder of its own below --out, and goes on where it was stopped. What it
measured is kept as JSON (--records); the page is written anew from it after each. FOLDER holds mnist/,
fashion-mnist/ (IDX files), frey-faces/freyfaces-uint8.npy, olivetti-faces/olivettifaces.mat and
omniglot/images_background_small1.zip.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from advice import olivetti, omniglot
from lossproof.data import Images, load
from lossproof.report import paired
from lossproof.report.measures import describe
from lossproof.report.readable import fixed, listing, span, with_margin
from lossproof.report.words import rivals
from lossproof.train import compare
from lossproof.train.store import CONFIG, write_bytes, write_json
from lossproof.train.table import final

PAGE = Path(__file__).parent.parent / "docs" / "likelihoods.md"
OUT = Path("lossproof-runs") / "likelihoods"
LOSSES = ("bce", "hellinger", "mse", "logcosh", "huber(delta=0.1)", "mae")
DECODERS = ("discretised_logistic", "beta_binomial")
MODELS = ("ae", "vae")
KEPT = (
    *("bits_per_pixel", "temperature", "nll", "likelihood_rate", "iw_bound", "pit_deviation", "mse"),
    *("zeros_expected", "zeros_observed", "ones_expected", "ones_observed"),
)
TRAIN, TEST, SEEDS, BATCH, SAMPLES, RATE = 1000, 200, 3, 25, 8, 2e-3
STEPS = 400  # of each member at least, and ten epochs
HIDDEN, LATENT, SMALL = (200,), 20, 8  # codes of 20; of 8 where an image has fewer than SMALL_IMAGE pixels
SMALL_IMAGE = 400
BITS = "bits_per_pixel"
SAME, NOTABLE = "≈", 0.01  # shares of zeros and ones worth a sentence
HEADS = {"ae": "Autoencoder: bits given the code", "vae": "VAE: bits of the ELBO"}
NOTES = {
    "ae": "An autoencoder's bits are given the code: what the code itself costs is not counted. They compare losses with "
    "each other, not with the histograms, which are given nothing, nor with the VAE.",
    "vae": "Bits of the ELBO: the reconstruction under the law and the rate of the code, one number of bits that a coder "
    "could reach. They compare with the histograms.",
}


@dataclass(frozen=True)
class Source:
    """A set: its name on the page, how it is read from the folder, and what was done to it."""

    title: str
    read: Callable[[Path], Images]
    words: str


SETS: dict[str, Source] = {
    "digits": Source(
        "digits", lambda folder: load("digits"), "scikit-learn's digits, split at random with seed 0"
    ),
    "mnist": Source("MNIST", lambda folder: load(folder / "mnist"), "its own split"),
    "fashion": Source("Fashion-MNIST", lambda folder: load(folder / "fashion-mnist"), "its own split"),
    "frey": Source(
        "Frey",
        lambda folder: load(folder / "frey-faces" / "freyfaces-uint8.npy", split="tail"),
        "frames of one film: the last fifth is the test, since neighbouring frames are alike",
    ),
    "olivetti": Source(
        "Olivetti",
        lambda folder: load(olivetti(folder / "olivetti-faces" / "olivettifaces.mat")[:, ::2, ::2]),
        "every second row and column of 64x64, split at random with seed 0: the same people in both parts",
    ),
    "omniglot": Source(
        "Omniglot",
        lambda folder: load(omniglot(folder / "omniglot" / "images_background_small1.zip")),
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


def long_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """A record's rows as the long results table that `lossproof.report.paired` reads."""
    rows = [
        (
            f"{loss}-s{seed}",
            loss,
            seed,
            found["epochs"],
            "test",
            name,
            math.nan if value is None else value,
            why,
        )
        for loss, seed, name, value, why in found["rows"]
    ]
    return pd.DataFrame(rows, columns=list(paired.NEEDED))


@dataclass(frozen=True)
class Standing:
    """Who has the fewest bits on one set with one model: of the losses alone; decoders stand beside."""

    best: str
    near: list[str]  # whose paired interval does not separate them from the best
    order: list[tuple[str, float]]  # losses and their bits, fewest first
    gaps: dict[tuple[str, str], tuple[float, float, float]]  # bits of the first less those of the second
    means: dict[str, tuple[float, float]]  # bits and half of the interval, decoders too

    def separated(self, first: str, second: str) -> bool:
        """Whether the first has measurably fewer bits than the second."""
        return self.gaps.get((first, second), (0, 0, math.nan))[2] < 0


def standing(found: Mapping[str, Any]) -> Standing:
    """Means, paired differences and the winner of a record."""
    table, epoch = long_table(found), int(found["epochs"])
    means = {
        row["loss"]: (float(row["mean"]), (float(row["high"]) - float(row["low"])) / 2)
        for row in paired.intervals(table, BITS, epoch=epoch).to_dict("records")
        if math.isfinite(row["mean"])
    }
    gaps = {}
    for row in paired.differences(table, BITS, epoch=epoch).to_dict("records"):
        one = (float(row["difference"]), float(row["low"]), float(row["high"]))
        gaps[row["first"], row["second"]] = one
        gaps[row["second"], row["first"]] = (-one[0], -one[2], -one[1])
    losses = table[~table["loss"].isin(found["decoders"])]
    best, near = rivals(losses, describe(BITS), epoch)
    order = sorted(((k, v[0]) for k, v in means.items() if k not in found["decoders"]), key=lambda kv: kv[1])
    return Standing(best, [name for name, _ in order if name in near], order, gaps, means)


def verdict(stands: Mapping[str, Standing]) -> str:
    """Whether the winner differs between sets: only if two sets put two losses in opposite order beyond chance."""
    winners = {title: s.best for title, s in stands.items() if s.best}
    if len(winners) < 2:
        return "Fewer than two sets are measured: nothing is said of the winner."
    for one, a in winners.items():
        for other, b in winners.items():
            if a != b and stands[one].separated(a, b) and stands[other].separated(b, a):
                return (
                    f"The winner differs between data sets: on {one} {a} has the fewest bits, {b} has "
                    f"{span(*stands[one].gaps[b, a])} more; on {other} {b} has the fewest, {a} "
                    f"{span(*stands[other].gaps[a, b])} more."
                )
    if len(set(winners.values())) == 1:
        return f"The winner does not differ between data sets: it is {next(iter(winners.values()))} on all of them."
    return (
        "The winner cannot be said to differ between data sets: the fewest bits are those of different losses "
        f"({listing([f'{b} on {t}' for t, b in winners.items()])}), but no two sets put two of these in opposite order "
        "with both intervals away from 0."
    )


def alike(stands: Sequence[Standing]) -> list[str]:
    """Pairs of losses that no set and no model separates."""
    labels = [name for name, _ in stands[0].order] if stands else []
    return [
        f"{a} and {b}"
        for i, a in enumerate(labels)
        for b in labels[i + 1 :]
        if not any(s.separated(a, b) or s.separated(b, a) for s in stands)
    ]


def mean_of(found: Mapping[str, Any], loss: str, name: str) -> tuple[float, float]:
    """Mean over seeds of a measure of one loss, and half of its interval."""
    values = [
        value for label, _, m, value, _ in found["rows"] if (label, m) == (loss, name) and value is not None
    ]
    mean, low, high = paired.t_interval(values)
    return mean, (high - low) / 2


def model_words(found: Mapping[str, Any], s: Standing) -> str:
    """What one model's bits say: the winner, the last, zeros and ones, the decoders, the histograms."""
    if not s.best:
        return f"{found['model'].upper()}: no loss has a value."
    given = " given the code" if found["model"] == "ae" else ""
    close = f"not separated from {listing(s.near)}" if s.near else "separated from all other losses"
    last = s.order[-1][0]
    apart = "" if s.separated(s.best, last) else ", which is not separated"
    lines = [
        f"{found['model'].upper()}: of the losses {s.best} has the fewest bits per pixel{given}, "
        f"{with_margin(*s.means[s.best])}, {close}; the last, {last}, has "
        f"{span(*s.gaps[last, s.best])} more{apart}."
    ]
    for what in ("zeros", "ones"):
        seen = mean_of(found, s.best, f"{what}_observed")[0]
        shares = [mean_of(found, name, f"{what}_expected")[0] for name in (s.best, last)]
        if max(seen, *shares) >= NOTABLE:
            lines.append(
                f"Exact {what} are {seen:.0%} of the values of the first test images; {s.best}'s law expects "
                f"{shares[0]:.0%}, {last}'s {shares[1]:.0%}."
            )
    beside = [name for name in found["decoders"] if name in s.means]
    if beside:
        first = min(beside, key=lambda name: s.means[name][0])
        below = s.separated(first, s.best)
        how = "below" if below else "above" if s.separated(s.best, first) else "not separated from"
        lines.append(
            f"Of the decoders the better, {first}, is {how} it: {span(*s.gaps[first, s.best])} bits."
        )
    each, bits = found["yardsticks"]["each_pixel"], s.means[s.best][0]
    if found["model"] == "vae":
        side = "fewer" if bits < each else "more"
        lines.append(f"The winner has {side} bits than a histogram for each pixel ({fixed(each, 3)}).")
    return " ".join(lines)


def set_words(records: Mapping[str, Mapping[str, Any]], stands: Mapping[str, Standing]) -> str:
    """One set's paragraph, from its records by model."""
    one = next(iter(records.values()))
    _, height, width = one["shape"]
    facts = (
        f"{height}x{width} pixels, {one['levels']} grey levels (k/{one['levels'] - 1}), {one['distinct']} of which "
        f"occur; {one['train']:,} training and {one['test']:,} test images ({one['words']}). Of the test pixels "
        f"{one['shares']['zero']:.1%} are 0, {one['shares']['one']:.1%} are 1, {one['shares']['between']:.1%} lie between."
    )
    return " ".join([facts, *(model_words(found, stands[model]) for model, found in records.items())])


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, numbers to the right."""
    return [
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def bits_table(records: Sequence[Mapping[str, Any]], stands: Sequence[Standing]) -> list[str]:
    """Losses, decoders and yardsticks by set, bits per pixel; the fewest of the losses bold, its equals marked."""
    labels = list(dict.fromkeys(row[0] for found in records for row in found["rows"]))
    decoders = {name for found in records for name in found["decoders"]}

    def cell(label: str, found: Mapping[str, Any], s: Standing) -> str:
        if label not in s.means:
            whys = [why for name, _, m, _, why in found["rows"] if (name, m) == (label, BITS) and why]
            return whys[0] if whys else "not run"
        text = with_margin(*s.means[label])
        return f"**{text}**" if label == s.best else f"{text} {SAME}" if label in s.near else text

    rows = [
        [f"`{label}`" + (" (decoder)" if label in decoders else ""),
         *(cell(label, found, s) for found, s in zip(records, stands, strict=True))]
        for label in sorted(labels, key=lambda name: name in decoders)
    ]  # fmt: skip
    for key, title in (("everywhere", "histogram of all values"), ("each_pixel", "histogram for each pixel")):
        rows.append([title, *(fixed(found["yardsticks"][key], 3) for found in records)])
    return grid(["bits per pixel", *(found["title"] for found in records)], rows)


def temperature_table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The learned temperatures; a decoder has none."""
    labels = list(dict.fromkeys(row[0] for found in records for row in found["rows"]))
    rows = [
        [f"`{label}`", *(with_margin(*mean_of(found, label, "temperature")) for found in records)]
        for label in labels
        if not any(label in found["decoders"] for found in records)
    ]
    return grid(["T", *(found["title"] for found in records)], rows)


def page(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """The page, from the records alone."""
    by_model = {
        model: {key: found for key, found in kept.items() if found["model"] == model} for model in MODELS
    }
    stands = {key: standing(found) for key, found in kept.items()}
    lines = ["# Which loss wins where: bits per pixel", "", *settings_words(kept), "", "## In short", ""]
    for model, found in by_model.items():
        lines.append(f"- {model.upper()}: {verdict({f['title']: stands[key] for key, f in found.items()})}")
    if missing := [f"{m.upper()} on {SETS[n].title}" for m in MODELS for n in SETS if f"{n}/{m}" not in kept]:
        lines.append(f"- Not measured yet, and so left out of what is said here: {listing(missing)}.")
    if pairs := alike(list(stands.values())):
        lines.append(f"- No set and neither model separates {listing(pairs)}.")
    titles = list(dict.fromkeys(found["title"] for found in kept.values()))
    where = []
    for title in titles:
        row = [title]
        for found in by_model.values():
            one = [stands[key] for key, f in found.items() if f["title"] == title]
            row.append(
                f"{one[0].best}{' (not separated: ' + listing(one[0].near) + ')' if one[0].near else ''}"
                if one else "not run"
            )  # fmt: skip
        where.append(row)
    lines += ["", *grid(["fewest bits of the losses", *(m.upper() for m in by_model)], where)]
    for model, found in by_model.items():
        if not found:
            continue
        lines += ["", f"## {HEADS[model]}", "", NOTES[model], ""]
        lines += bits_table(list(found.values()), [stands[key] for key in found])
        lines += [
            "",
            f"Learned temperatures T, {model.upper()}:",
            "",
            *temperature_table(list(found.values())),
        ]
    lines += ["", "## Set by set"]
    for title in titles:
        mine = {f["model"]: (f, stands[key]) for key, f in kept.items() if f["title"] == title}
        text = set_words({m: f for m, (f, _) in mine.items()}, {m: s for m, (_, s) in mine.items()})
        lines += ["", f"### {title}", "", text]
    return "\n".join(lines) + "\n"


def settings_words(kept: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What was run, and how to read it."""
    if not kept:
        return ["Nothing is measured yet."]
    sizes = [
        f"{f['title']} {f['train']:,}/{f['test']:,}, {f['epochs']} epochs, code of {f['latent']}"
        for f in {f["title"]: f for f in kept.values()}.values()
    ]
    one = next(iter(kept.values()))
    costs = [f["cpu_seconds"] for f in kept.values()]
    cost = f" CPU minutes on one thread: {sum(costs) / 60:.0f}." if None not in costs else ""
    versions = sorted({", ".join(f"{k} {v}" for k, v in f["versions"].items()) for f in kept.values()})
    hidden = "-".join(str(n) for n in one["hidden"])
    return [
        "Written by `python benchmarks/likelihoods.py --data FOLDER`.",
        f"Each set was cut to few images (training/test: {'; '.join(sizes)}) and trained for a short time: a hidden",
        f"layer of {hidden}, batches of {one['batch_size']}, Adam with learning rate {one['lr']:g}, beta 1, seeds "
        f"{listing([str(n) for n in one['seeds']])}.",
        "The figures compare losses under that budget; they are not what full training reaches.",
        f"Versions: {'; '.join(versions)}.{cost}",
        "",
        "Each loss is a law on the set's own grey levels, q(y | p) = exp(-loss(y, p)/T)/Z(p, T): the **raw** loss is",
        "normalised, not its excess, and one T for all pixels is learned beside the weights. So every figure is of",
        "mass on the same levels, and figures in one column compare. Columns do not: sets differ in levels and",
        "pixels. A cell is the mean over the seeds and half of its 95 % interval (Student's t). **Bold**: the fewest",
        f"bits of the losses; {SAME}: not separated from it, the paired interval of the difference over the seeds",
        "holding 0. Each interval is of 95 % by itself, with no allowance for their number. Decoders give two",
        "numbers for each pixel, a loss one: they are yardsticks, and no winners. The histograms are those of the",
        "training images, each count plus 1/2.",
    ]


def measure(name: str, model: str, images: Images, out: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one set with one model; the record that the page is made of."""
    directory = out / f"{name}-{model}"
    resumed = (directory / CONFIG).exists()
    started = time.process_time()
    pixels = math.prod(images.image_shape)
    run = compare(
        images,
        [*given.losses, *DECODERS],
        model=model,
        latent=LATENT if pixels >= SMALL_IMAGE else SMALL,
        hidden=HIDDEN,
        epochs=given.epochs or max(10, round(STEPS / math.ceil(len(images.train) / BATCH))),
        batch_size=BATCH,
        lr=RATE,
        seeds=SEEDS,
        device="cpu",
        out=directory,
        resume=resumed,
        calibrate="learned",
        likelihood=True,
        samples=SAMPLES,
        progress=False,
        checkpoint_seconds=60.0,
    )
    if run.interrupted:
        raise KeyboardInterrupt
    config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    return record(config, final(run.table), images, SETS[name]) | {
        "cpu_seconds": None if resumed else round(time.process_time() - started)
    }


def record(config: dict[str, Any], table: Any, images: Images, source: Source) -> dict[str, Any]:
    """What is kept of a run: what it was, and the last epoch's measures of the test images, one row a member."""
    kept = table[table["measure"].isin(KEPT)]
    test = images.test
    shares = {"zero": test == 0, "one": test == 1, "between": (test > 0) & (test < 1)}
    return {
        "title": source.title,
        "words": source.words,
        "shares": {key: float(mask.mean()) for key, mask in shares.items()},
        "distinct": len(np.unique(images.train)),
        "shape": config["data"]["shape"],
        **{key: config["data"][key] for key in ("train", "test", "levels", "scaling")},
        **{key: config[key] for key in ("model", "epochs", "batch_size", "lr", "latent", "hidden", "seeds")},
        **{key: config[key] for key in ("samples", "of", "calibrate", "versions", "parameters", "created")},
        "yardsticks": config["likelihood"]["yardsticks"],
        "decoders": [entry["label"] for entry in config["losses"] if entry.get("decoder")],
        "rows": [
            [
                row.loss,
                int(row.seed),
                row.measure,
                row.value if math.isfinite(row.value) else None,
                row.reason,
            ]
            for row in kept.itertuples()
        ],
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
    parser.add_argument("--epochs", type=int, default=None, help=f"10, or what makes {STEPS} steps")
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
