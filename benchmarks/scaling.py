"""Time and memory of training against members, pixels, images and workers; writes a section of docs/performance.md.

    python benchmarks/scaling.py

Every point is a process of its own: CPU milliseconds of a step (the least of three turns) and the peak of resident memory.
Members, pixels and images are those of the VAE pixels-400-20 (and 64-128-8) in batches of 128 (64); images lie on disk as a
.npy file of bytes and are streamed. Workers are those of a whole `compare digits`, its start included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pages
from large import measured as command_measured
from lossproof.data import load
from lossproof.train.comparison import intra_op_threads, make_members, resolve_all
from lossproof.train.feed import pixels_of
from lossproof.train.loop import draw
from lossproof.train.stack import Stack
from plots import figure
from training import Plan, Sizes, images_of

NAME, PICTURE = "scaling", "performance-scaling"
MEMBERS, SIDES, IMAGES, WORKERS = (1, 2, 4, 8, 16, 32, 64), (8, 16, 32, 64, 128), (3, 4, 5, 6), (1, 2)
QUICK = {"members": (1, 2), "sides": (8, 16), "images": (3,), "workers": (1,)}
COMPARE = ["compare", "digits", "--losses", "bce,mse,mae,logcosh", "--seeds", "3", "--stack", "off"]
KINDS = ("members 64-128-8", "members 784-400-20", "pixels", "images")


def point(told: dict[str, Any]) -> dict[str, float]:
    """What a point's process does: one number of members on one file or on images made here."""
    sizes = Sizes.parse(told["model"])
    count = told["steps"] * sizes.batch
    images = load(told["file"], stream="on") if "file" in told else images_of(sizes, count, None)
    settings = Plan(images, sizes, 1, 1, seeds=told["members"]).settings()
    before = pages.peak()
    members = make_members(resolve_all(["bce"], images, settings), images, settings)
    stack = Stack(members)
    pixels = pixels_of(images.train, torch.device("cpu"))
    with intra_op_threads(1):
        courses = [draw(pixels, settings, 1, seed) for seed in stack.seeds]
        stack.prepare(1, courses, range(len(members)))
        costs = [
            pages.timed(lambda: stack.run(courses, range(len(members)), told["steps"])) for _ in range(4)
        ]
    return {
        "ms": 1e3 * min(cost.cpu for cost in costs[1:]) / told["steps"],
        "peak": pages.peak(),
        "before": before,
        "parameters": sum(p.numel() for p in members[0].model.parameters()),
    }


def in_its_own_process(told: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps(told)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = told | json.loads(done.stdout.splitlines()[-1])
    print({key: found[key] for key in ("model", "members", "ms", "peak")}, file=sys.stderr, flush=True)
    return found


def write_images(path: Path, count: int) -> None:
    """A .npy file of bytes (count, 28, 28), block by block."""
    some = (images_of(Sizes.parse("784-400-20"), 1000, None).train[:, 0] * 255).astype(np.uint8)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, len(some)):
            file.write(np.roll(some, start // len(some) % 28, axis=2)[: count - start].tobytes())


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All points of all four."""
    chosen = (
        QUICK if given.quick else {"members": MEMBERS, "sides": SIDES, "images": IMAGES, "workers": WORKERS}
    )
    found: dict[str, Any] = {kind: [] for kind in KINDS}
    for count in chosen["members"]:
        found[KINDS[0]].append(in_its_own_process({"model": "64-128-8", "members": count, "steps": 20}))
        few = 2 if count > 8 else 4
        found[KINDS[1]].append(in_its_own_process({"model": "784-400-20", "members": count, "steps": few}))
    for side in chosen["sides"]:
        told = {"model": f"{side * side}-400-20", "members": 1, "steps": 4, "side": side}
        found["pixels"].append(in_its_own_process(told))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "images.npy"
        for power in chosen["images"]:
            write_images(path, 10**power)
            told = {"model": "784-400-20", "members": 1, "steps": 7, "file": str(path), "images": 10**power}
            found["images"].append(in_its_own_process(told))
    found["workers"] = []
    for count in chosen["workers"]:
        with tempfile.TemporaryDirectory() as folder:
            epochs = ["--epochs", "1" if given.quick else "10"]
            peak, cpu, wall, status, _ = command_measured(
                [*COMPARE, *epochs, "--workers", str(count), "--out", str(Path(folder) / "run")]
            )
            assert status == 0, status
        found["workers"].append({"workers": count, "peak": peak, "cpu": cpu, "wall": wall})
    return found


def bends(found: dict[str, Any]) -> list[str]:
    """Where each line bends, in figures that were measured."""
    said = []
    for kind in KINDS[:2]:
        rows = found[kind]
        each = [row["ms"] / row["members"] for row in rows]
        best = min(range(len(rows)), key=lambda i: each[i])
        growth = (rows[-1]["peak"] - rows[0]["peak"]) / max(1, rows[-1]["members"] - rows[0]["members"])
        weights = 7 * 4 * rows[0]["parameters"] / 2**20
        said.append(
            f"- {kind}: a member's share of a step is {each[0]:.2f} ms alone, least with {rows[best]['members']} members "
            f"({each[best]:.2f}) and {each[-1]:.2f} with {rows[-1]['members']}. Memory grows by {growth:.1f} MiB a member; "
            f"{weights:.1f} of them are its weights, gradients, Adam's averages and the copies to go back to."
        )
    rows = found["pixels"]
    per = ", ".join(f"{1e3 * row['ms'] / row['side'] ** 2:.1f}" for row in rows)
    sides = ", ".join(str(row["side"]) for row in rows)
    said.append(
        f"- pixels: at sides {sides} a step costs {per} microseconds a pixel: what does not depend on the pixels (the code, "
        "the calls) weighs until the products with the images, which grow as the pixels do, are nearly all."
    )
    rows = found["images"]
    counts, steps = (
        ", ".join(part) for part in zip(*((f"{r['images']:,}", f"{r['ms']:.1f}") for r in rows), strict=True)
    )
    growth = ", ".join(f"{row['peak'] - rows[0]['peak']:+.0f}" for row in rows)
    drawn = rows[-1]["images"] * (4 * 20 + 8) / 2**20
    said.append(
        f"- images: a step costs {steps} ms with {counts} images on disk; memory differs by {growth} MiB. An epoch's noise "
        f"and order, drawn at once, are {drawn:.0f} of them at the last; pages of the file "
        f"({rows[-1]['images'] * 784 / 2**20:.0f} MiB) count once they are read, until memory is short."
    )
    rows = found["workers"]
    if len(rows) > 1:
        said.append(
            f"- workers: two take {rows[1]['cpu'] / rows[0]['cpu']:.2f} times the CPU time of one and "
            f"{rows[1]['wall'] / rows[0]['wall']:.2f} times its time on the wall; each starts its own Python and torch. "
            "The peak is that of the largest process."
        )
    return said


def section(found: dict[str, Any]) -> str:
    """The text between the markers."""
    rows = []
    for kind in KINDS:
        label = kind if kind.startswith("members") else f"{kind}, 1 member"
        for row in found[kind]:
            at = {"pixels": f"{row.get('side')} x {row.get('side')}", "images": f"{row.get('images', 0):,}"}
            rows.append([label, at.get(kind, row["members"]), f"{row['ms']:.2f}", f"{row['peak']:.0f}"])
    head = ["against", "", "CPU ms a step", "peak, MiB"]
    workers = [
        [row["workers"], f"{row['cpu']:.0f}", f"{row['wall']:.0f}", f"{row['peak']:.0f}"]
        for row in found["workers"]
    ]
    lines = ["## Scaling", "", INTRODUCTION, "", pages.words(found), "", *pages.table(head, rows), ""]
    lines += pages.table(["workers", "CPU s", "wall s", "peak, MiB"], workers)
    lines += ["", f"![Time and memory against members, pixels and images]({PICTURE}.svg)", "", *bends(found)]
    return "\n".join(lines)


def pictures(found: dict[str, Any], folder: Path) -> None:
    """CPU time and memory against members, pixels and images, beside the page."""
    xs = {kind: [row["members"] for row in found[kind]] for kind in KINDS[:2]}
    both = list(KINDS[:2])
    panels = [
        {
            "lines": {kind[8:]: (xs[kind], [row[what] for row in found[kind]]) for kind in both},
            "x": "members", "y": name, "xscale": "log", "yscale": "log",
        }
        for what, name in (("ms", "CPU ms a step"), ("peak", "peak memory, MiB"))
    ]  # fmt: skip
    for kind, key, name in (
        ("pixels", "side", "side of an image, pixels"),
        ("images", "images", "images on disk"),
    ):
        at = [row[key] for row in found[kind]]
        panels += [
            {"lines": {kind: (at, [row[what] for row in found[kind]])}, "x": name, "y": said, "xscale": "log",
             "yscale": "log"}
            for what, said in (("ms", "CPU ms a step"), ("peak", "peak memory, MiB"))
        ]  # fmt: skip
    figure(PICTURE, panels, folder, columns=2)


INTRODUCTION = """Written by `benchmarks/scaling.py` (`make bench-scaling`). Every point is a process of its own
with one thread. A step is a training step of all members of a stack, binary cross-entropy, in batches of 128
(64-128-8: 64), CPU time, the least of three turns; memory is the peak of the whole process, Python and torch
included. Pixels: a VAE with 400 hidden units and a code of 20. Images: 28 x 28 bytes in a .npy file, streamed from
disk, 784-400-20. Workers: `compare digits` with 4 losses x 3 seeds, 10 epochs, `--stack off`, from start to end."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="holds 0.8 GB of images"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    return pages.run(NAME, measure, section, parser(), arguments, pictures=pictures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(point(json.loads(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main())
