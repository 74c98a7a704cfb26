"""What docs/likelihoods.md says: tables and sentences, from the records that benchmarks/likelihoods.py keeps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lossproof.report import paired
from lossproof.report.measures import describe
from lossproof.report.readable import fixed, listing, span, with_margin
from lossproof.report.words import rivals

TITLES = {
    "digits": "digits", "mnist": "MNIST", "fashion": "Fashion-MNIST", "frey": "Frey", "olivetti": "Olivetti",
    "omniglot": "Omniglot",
}  # fmt: skip
MODELS = ("ae", "vae")
BITS = "bits_per_pixel"
HALF, END = "bits_at_half", "bits_at_end"  # of one draw of the code, half-way through training and at its end
EXCESS = " (excess)"  # after the label of a loss whose excess is normalised
SAME, NOTABLE = "≈", 0.01  # shares of zeros and ones worth a sentence
SAME_LAW = 1e-5  # bits: what rounding may make of one law trained twice
HEADS = {"ae": "Autoencoder: bits given the code", "vae": "VAE: bits of the ELBO"}
NOTES = {
    "ae": "An autoencoder's bits are given the code: what the code itself costs is not counted. They compare losses with "
    "each other, not with the histograms, which are given nothing, nor with the VAE.",
    "vae": "Bits of the ELBO: the reconstruction under the law and the rate of the code, one number of bits that a coder "
    "could reach. They compare with the histograms.",
}


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


def moved(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of losses, and decoders, whose order half-way through training is beyond chance another than at the end."""
    table, epoch = long_table(found), int(found["epochs"])
    if not {HALF, END} <= set(table["measure"]):
        return []
    pairs = paired.differences(table, [HALF, END], epoch=epoch).to_dict("records")
    sure = {
        (row["first"], row["second"], row["measure"]): row["difference"] for row in pairs if row["separated"]
    }
    return [
        (a, b) if sure[a, b, END] < 0 else (b, a)
        for a, b, name in sure
        if name == HALF and sure.get((a, b, END), 0.0) * sure[a, b, HALF] < 0
    ]


def budget(kept: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Whether the order of losses still depended on how long they were trained."""
    known = {key: f for key, f in kept.items() if any(row[2] == HALF for row in f["rows"])}
    if not known:
        return []
    swaps = [
        f"{f['model'].upper()} on {f['title']} ({listing([f'{a} passed {b}' for a, b in moved(f)])})"
        for f in known.values()
        if moved(f)
    ]
    falls = [
        mean_of(f, s.best, HALF)[0] - mean_of(f, s.best, END)[0]
        for f in known.values()
        if (s := standing(f)).best
    ]
    text = (
        f"Does the order depend on the budget? From half of the training to its end the winners' bits still changed by "
        f"{0.0 - max(falls):+.3f} to {0.0 - min(falls):+.3f}. "
    ).replace("-", "−")
    if not swaps:
        return [
            text + "In that half no two losses changed places beyond chance, on any set with either model."
        ]
    return [text + f"In that half losses changed places beyond chance: {'; '.join(swaps)}. Nowhere else."]


def normalised(
    by_model: Mapping[str, Mapping[str, Mapping[str, Any]]], stands: Mapping[str, Standing]
) -> list[str]:
    """Where the excess of a loss has more or fewer bits than the loss itself."""
    lines = []
    for model, found in by_model.items():
        labels = dict.fromkeys(row[0] for f in found.values() for row in f["rows"] if row[0].endswith(EXCESS))
        for label in labels:
            raw, by = label.removesuffix(EXCESS), {True: [], False: [], None: [], "same": []}
            for key, f in found.items():
                s = stands[key]
                if label in s.means and raw in s.means:
                    side = True if s.separated(label, raw) else False if s.separated(raw, label) else None
                    if abs(s.gaps[label, raw][0]) < SAME_LAW:
                        side = (
                            "same"  # where the floor is 0 at all of the set's levels the excess is the loss
                        )
                    by[side].append(
                        f["title"] + (f" ({span(*s.gaps[label, raw])})" if side in (True, False) else "")
                    )
            ways = {
                True: "fewer bits than it on", False: "more on", None: "no measurable difference on",
                "same": "the same bits on",
            }  # fmt: skip
            parts = [f"{words} {listing(by[side])}" for side, words in ways.items() if by[side]]
            if parts:
                lines.append(
                    f"{model.upper()}, {raw} and its excess, two laws: the excess has {listing(parts)}."
                )
    return lines


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
    lines += [f"- {line}" for line in (*normalised(by_model, stands), *budget(kept))]
    if missing := [f"{m.upper()} on {TITLES[n]}" for m in MODELS for n in TITLES if f"{n}/{m}" not in kept]:
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
        f"{f['title']} {f['train']:,}/{f['test']:,}, {f['epochs']} epochs of "
        f"{math.ceil(f['train'] / f['batch_size'])} steps, code of {f['latent']}"
        for f in {f["title"]: f for f in kept.values()}.values()
    ]
    one = next(iter(kept.values()))
    costs = [f["cpu_seconds"] for f in kept.values()]
    cost = f" CPU minutes on one thread: {sum(costs) / 60:.0f}." if None not in costs else ""
    versions = sorted({", ".join(f"{k} {v}" for k, v in f["versions"].items()) for f in kept.values()})
    hidden = "-".join(str(n) for n in one["hidden"])
    batches = listing(sorted({str(f["batch_size"]) for f in kept.values()}))
    run = (
        f"Written by `python benchmarks/likelihoods.py --data FOLDER`. Images (training/test): {'; '.join(sizes)}. "
        f"A hidden layer of {hidden}, batches of {batches}, Adam with learning rate {one['lr']:g}, beta 1, seeds "
        f"{listing([str(n) for n in one['seeds']])}. The figures compare losses under that budget; a larger net trained "
        f"for longer reaches lower ones. Versions: {'; '.join(versions)}.{cost}"
    )
    return [
        *textwrap.wrap(run, 120, break_on_hyphens=False),
        "",
        "Each loss is a law on the set's own grey levels, q(y | p) = exp(-loss(y, p)/T)/Z(p, T), one T for all pixels",
        "being learned beside the weights. What is normalised is the **raw** loss; where its floor depends on the",
        "target, its **excess** over the floor makes another law, with a row of its own. So every figure is of",
        "mass on the same levels, and figures in one column compare. Columns do not: sets differ in levels and",
        "pixels. A cell is the mean over the seeds and half of its 95 % interval (Student's t). **Bold**: the fewest",
        f"bits of the losses; {SAME}: not separated from it, the paired interval of the difference over the seeds",
        "holding 0. Each interval is of 95 % by itself, with no allowance for their number. Decoders give two",
        "numbers for each pixel, a loss one: they are yardsticks, and no winners. The histograms are those of the",
        "training images, each count plus 1/2.",
    ]
