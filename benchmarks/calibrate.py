"""What a calibrated loss costs: a training step with `--calibrate` over one with the plain loss; prints a table.

    python benchmarks/calibrate.py --data FOLDER      FOLDER holds IDX files, such as MNIST's; digits without it

Members of one loss take turns, an epoch each, in one process and on one thread. The ratios are of CPU time, taken within
a turn; asked is at most 1.3. The figures are the medians of the turns, with the least and the largest.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from lossproof.data import Images, load
from lossproof.train.comparison import intra_op_threads, make_members, resolve_all
from lossproof.train.loop import draw, train_epoch
from lossproof.train.settings import settle

LOSSES = ("bce", "mse", "mae")
WAYS = (None, "learned", "solved")
GOAL = 1.3


def ratios(
    images: Images, loss: str, *, model: str, hidden: int, turns: int
) -> tuple[float, dict[str, list[float]]]:
    """Milliseconds of CPU time of a plain step, median, and the calibrated steps over it, turn by turn."""
    runs = {}
    for way in WAYS:
        settings = settle(
            images, model=model, latent=20, hidden=(hidden,), epochs=1, batch_size=128, lr=1e-3, beta=1.0, seeds=1,
            device="cpu", threads=1, calibrate=way,
        )  # fmt: skip
        (member,) = make_members(resolve_all([loss], images, settings), images, settings)
        runs[way] = partial(train_epoch, member, 1, draw(torch.from_numpy(images.train), settings, 1, 0))
    found: dict[str | None, list[float]] = {way: [] for way in WAYS}
    for turn in range(1 + turns):
        for way, run in runs.items():
            started = time.process_time()
            run()
            if turn:  # the first one warms up
                found[way].append(time.process_time() - started)
    plain = found[None]
    steps = -(-len(images.train) // 128)
    over = {way: [a / b for a, b in zip(found[way], plain, strict=True)] for way in WAYS if way is not None}
    return 1e3 * statistics.median(plain) / steps, over


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits")
    parser.add_argument("--images", type=int, default=2560, help="training images of an epoch, at most")
    parser.add_argument("--hidden", type=int, default=400)
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args(arguments)
    images = load(given.data)
    images = replace(
        images, train=np.ascontiguousarray(images.train[: given.images]), train_labels=None, test_labels=None
    )
    pixels = images.train[0].size
    print(
        f"{pixels}-{given.hidden}-20, batch 128, one thread, CPU time, {given.turns} turns; asked: at most {GOAL}\n"
    )
    print("| model | loss | plain, ms a step | learned T | solved T |\n| --- | --- | ---: | ---: | ---: |")
    with intra_op_threads(1):
        for model in ("vae", "ae"):
            for loss in LOSSES:
                plain, over = ratios(images, loss, model=model, hidden=given.hidden, turns=given.turns)
                cells = [f"{statistics.median(r):.2f}x ({min(r):.2f} to {max(r):.2f})" for r in over.values()]
                print(f"| {model} | {loss} | {plain:.2f} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
