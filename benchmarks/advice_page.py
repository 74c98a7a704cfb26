"""docs/advice.md from the measurements of benchmarks/advice.py: known answers, and regret per set and goal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advice_sets import KEPT, MOST, SETS
from lossproof.advise.goals import GOALS, MEASURES
from lossproof.advise.pilot import gap
from lossproof.advise.pilot_train import HIDDEN, LARGE, LR
from lossproof.catalogue.decoders import find

KINDS = ("Bernoulli pixels", "Gaussian noise", "salt and pepper", "Laplace noise", "heavy tails")
LAW_GOALS = ("reconstruct", "denoise", "sample")
FULL_STEPS, PILOT_STEPS, SHORT_STEPS = 1200, 1200, 600  # of training
REAL_SEEDS, FIRST_SEED = 5, 200  # of the whole run; the pilot's are others
MEASURED = {
    "reconstruct": "squared",
    "sample": "bound",
    "denoise": "clean",
    "anomaly": "anomaly",
    "represent": "neighbours",
}
TOLD = MEASURES | {"clean": "squared error to the images without the noise, per value"}
FIXED = ("bce", "mse", "mae")


def outcome(rows: dict[str, list[float]], label: str, allowed: Sequence[str]) -> dict[str, Any]:
    """A loss's regret: its mean over seeds minus the best allowed one's, the paired difference's 95 % interval.

    >>> outcome({"a": [1.0, 1.2, 1.1], "b": [1.0, 1.1, 1.2]}, "b", ["a", "b"])["within"]
    True
    """
    best = min(allowed, key=lambda name: np.mean(rows[name]))
    mean, low, high, separated = gap(np.array(rows[label]), np.array(rows[best]))
    return {"loss": label, "best": best, "value": float(np.mean(rows[best])), "regret": mean, "low": low, "high": high,
            "within": not separated or label == best}  # fmt: skip


def results(out: Path) -> list[dict[str, Any]]:
    """A row for each set and goal that was measured: what was advised, its regret, and that of fixed choices."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for path in sorted(out.glob("truth-*.json")):
        row = json.loads(path.read_text())
        found.setdefault((row["set"], row["kind"]), {})[row["label"]] = row
    made = []
    for path in sorted(out.glob("advice-*.json")):
        said = json.loads(path.read_text())
        brief = path.with_name(path.name.replace("advice-", "short-", 1))
        goal, noise = GOALS[said["goal"]], said["noise"]
        rows = found.get((said["set"], f"{goal.model} {noise}".strip()), {})
        labels = [said["advised"], said["without_pilot"]]
        if brief.exists():
            labels.append(json.loads(brief.read_text())["advised"])
        if not rows or not brief.exists() or not {*labels, *said.get("candidates", ())} <= set(rows):
            continue  # the best of some would flatter
        measure = MEASURED[goal.name]
        if measure not in next(iter(rows.values()))["measures"]:
            measure = "moved"
        values = {label: row["measures"][measure] for label, row in rows.items()}
        allowed = [label for label, row in rows.items() if goal.decoders or not row["decoder"]]
        made.append({
            "set": said["set"], "pilot_seconds": said["pilot_seconds"],
            "goal": goal.name, "noise": noise, "measure": measure, "tried": len(allowed),
            "conclusive": said["conclusive"], **{key: next(iter(rows.values()))[key] for key in ("train", "test", "laps")},
            "advised": outcome(values, labels[0], allowed), "without": outcome(values, labels[1], allowed),
            "short": outcome(values, labels[2], allowed),
            "fixed": {label: outcome(values, label, allowed)["within"] for label in FIXED if label in values},
        })  # fmt: skip
    place = {name: at for at, name in enumerate(SETS)}
    return sorted(made, key=lambda row: (list(GOALS).index(row["goal"]), row["noise"], place[row["set"]]))


def cpu_minutes(out: Path) -> float:
    """What all trainings and pilots took, on one core."""
    files = [path for kind in ("truth", "advice", "short") for path in out.glob(f"{kind}-*.json")]
    return sum(json.loads(path.read_text())["seconds"] for path in files) / 60


def _real_lines(rows: Sequence[dict[str, Any]], minutes: float) -> list[str]:
    lines = [
        "## Regret on real images",
        "",
        f"Budget: each set is cut to at most {MOST:,} images that the advice sees and up to {KEPT} that it does not. "
        f"Models have a hidden layer of {HIDDEN[0]} ({HIDDEN[1]} from {LARGE} values an image on) and are trained by "
        f"Adam at {LR:g}, a rate chosen by how far losses get on digits and MNIST, not by the answers. The advice "
        f"comes from a pilot of about {PILOT_STEPS:,} steps with halving (these took {_took(rows)} on two cores; the "
        f"default budget is 60), from one of about {SHORT_STEPS}, and from the facts alone. Then every "
        f"candidate - not only those of the pilot - is trained for about {FULL_STEPS:,} steps (batches of 64, of 16 "
        f"below 500 images) from {REAL_SEEDS} other seeds, nothing ends early, and is measured on the images kept "
        f"back. All that took {minutes:.3g} CPU minutes. So the long pilot trains as long as what judges it, on three "
        "quarters of the images and from other seeds, and the short one half as long: what a pilot says holds for about "
        "its own length, as some losses begin slowly.",
        "",
        "Regret: the advised loss's value of the goal's measure minus that of the best of all, which was picked on the same "
        "figures and so flatters itself; in brackets the 95 % interval of the paired difference over seeds. Within: the "
        "interval reaches 0. One interval in forty would miss by chance.",
        "",
    ]
    for goal, noise in dict.fromkeys((row["goal"], row["noise"]) for row in rows):
        mine = [row for row in rows if (row["goal"], row["noise"]) == (goal, noise)]
        title = goal + (f", {noise} noise" if noise else "")
        told = dict.fromkeys(f"{TOLD[row['measure']]}" for row in mine)
        lines += [
            f"### {title}",
            "",
            f"{GOALS[goal].title[:1].upper()}{GOALS[goal].title[1:]}. Measured: {'; '.join(told)}. Lower is better.",
            "",
            "| set | best | advised | regret | within | from facts alone | regret | within |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for row in mine:
            first = row["advised"]
            cells = [row["set"], f"{first['best']} ({first['value']:.4g})"]
            for key in ("advised", "without"):
                fate = row[key]
                none = fate["loss"] == fate["best"]
                interval = "0" if none else f"{fate['regret']:.2g} [{fate['low']:.2g}, {fate['high']:.2g}]"
                cells += [fate["loss"], interval, "yes" if fate["within"] else "**no**"]
            lines.append("| " + " | ".join(cells) + " |")
        missing = [name for name in SETS if name not in {row["set"] for row in mine}]
        fixed = {label: sum(row["fixed"].get(label, False) for row in mine) for label in FIXED}
        lines += [
            "",
            f"Within the seeds' interval: advised {_of(mine, 'advised')}, from facts alone {_of(mine, 'without')} (goal: "
            f"5 of 6), by the pilot half as long {_of(mine, 'short')}. Always the same loss: "
            + ", ".join(f"{label} {n}" for label, n in fixed.items())
            + "."
            + (f" Not measured yet: {', '.join(missing)}." if missing else ""),
            "",
        ]
    absent = [name for name in GOALS if name not in {row["goal"] for row in rows}]
    if absent:
        lines += [f"Goals not measured on real images yet: {', '.join(absent)}.", ""]
    return lines


def _took(rows: Sequence[dict[str, Any]]) -> str:
    """Least, middle and most seconds of the long pilots on the wall."""
    seconds = [row["pilot_seconds"] for row in rows]
    return f"{min(seconds):.0f} to {max(seconds):.0f} s, half of them below {np.median(seconds):.0f} s,"


def _of(rows: Sequence[dict[str, Any]], key: str) -> str:
    return f"{sum(row[key]['within'] for row in rows)} of {len(rows)}"


def _constants(known: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in known.items())


def page(out: Path) -> str:
    """docs/advice.md from the measurements."""
    drawn = [json.loads(p.read_text()) for p in sorted(out.glob("synthetic-*.json"))]
    real = results(out)
    lines = [
        "# How good is the advice?",
        "",
        "<!-- written by benchmarks/advice.py; do not edit -->",
        "",
        "`lossproof advise` on data whose right answer is known by construction, and on real images, misses included.",
        "",
        "## Draws with a known answer",
        "",
        "Smooth images of 15 directions (12, 16 or 20 pixels a side, 500 to 1,200 of them), with pixels drawn from a",
        "known law; half of the noisy sets are stored as bytes, half as floats that may leave [0, 1]. Advice without a",
        "pilot. Right means: for Bernoulli pixels exp(-loss) is Bernoulli's mass; for Gaussian and Laplace noise the loss",
        "is a multiple of the square, of the absolute value; for salt and pepper and for heavy tails (Student's t, 1 to 3",
        "degrees of freedom) the loss's slope at a residual of 0.5 is at most twice that at 0.05. Where a decoder is",
        "advised for sampling, it is right if its law, fitted to the noise, comes within 0.005 nats of the Gaussian or the",
        "Laplace law, or by the same slopes.",
        "",
        "| pixels | draws | " + " | ".join(LAW_GOALS) + " | advised |",
        "| --- | ---: | " + " | ".join("---:" for _ in LAW_GOALS) + " | --- |",
    ]
    good = total = 0
    for kind in KINDS:
        rows = [row for row in drawn if row["kind"] == kind]
        if not rows:
            continue
        counts = [sum(row["right"][goal] for row in rows) for goal in LAW_GOALS]
        good, total = good + sum(counts), total + len(rows) * len(LAW_GOALS)
        families: dict[str, int] = {}
        for row in rows:
            for loss in row["advised"].values():
                name = find(loss).id
                families[name] = families.get(name, 0) + 1
        said = ", ".join(f"{name} {n}" for name, n in sorted(families.items(), key=lambda item: -item[1]))
        lines.append(f"| {kind} | {len(rows)} | " + " | ".join(map(str, counts)) + f" | {said} |")
    whole = sum(all(row["right"].values()) for row in drawn)
    if drawn:
        lines += [
            "",
            f"{whole} of {len(drawn)} draws are right for every goal: {100 * whole / len(drawn):.1f} % (goal: 90 %); "
            f"{good} of {total} answers. Without a pilot the goals share their facts, so that the answers to one draw are",
            "hardly independent. Seeds below 100 were looked at while the rules were written; these start at 100.",
            "",
        ]
    wrong = [(row, goal) for row in drawn for goal in LAW_GOALS if not row["right"][goal]]
    if wrong:
        lines += ["Misses:", ""]
        lines += [f"- {row['kind']}, draw {row['seed']}, {goal}: {row['advised'][goal]} ({_constants(row['known'])})"
                  for row, goal in wrong] + [""]  # fmt: skip
    if real:
        lines += _real_lines(real, cpu_minutes(out))
    return "\n".join(lines) + "\n"
