"""What a whole comparison takes, and how much of that is not training; writes a section of docs/performance.md.

    python benchmarks/whole.py --data FOLDER      digits with 8 losses x 5 seeds; FOLDER's images with 4 losses x 3 seeds

Each comparison is a process of its own that does what `lossproof compare` does, from its start to the written report.
Training is what passes in a stack's or a member's epoch; all else is the rest: starting, choosing, measuring after each
epoch, pictures, table, report.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pages

NAME = "whole"
LOSSES = ("bce", "mse", "mae", "logcosh", "huber(delta=0.1)", "charbonnier", "hellinger", "jensen_shannon")
FULL = 20  # epochs of which the page speaks, whether as many were trained or fewer
GOALS = {"digits": 60.0, "rest": 0.15}  # seconds of the whole on two cores; the share of what is not training


class Clock:
    """Time spent in some functions, wall and CPU; what they call of each other counts once."""

    def __init__(self) -> None:
        self.spent, self.inside = [0.0, 0.0], False

    def around(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self.inside:
                return work(*arguments, **named)
            self.inside, before = True, (time.perf_counter(), time.process_time())
            try:
                return work(*arguments, **named)
            finally:
                self.inside = False
                self.spent[0] += time.perf_counter() - before[0]
                self.spent[1] += time.process_time() - before[1]

        return timed


def one(told: dict[str, Any]) -> dict[str, Any]:
    """What a comparison's process does."""
    from lossproof.report import write
    from lossproof.train import comparison, loop, stack, stack_measure

    clock, ends, between = Clock(), Clock(), Clock()
    with_stacks = stack_measure.with_stacks

    def measuring(measurer: Any, stacks: Any) -> Callable[..., Any]:
        work = with_stacks(measurer, stacks)
        at_ends, in_between = ends.around(work), between.around(work)
        return lambda member: (at_ends if measurer.whole(member.epoch + 1) else in_between)(member)

    stack_measure.with_stacks = measuring
    for place, name in ((stack.Stack, "train"), (stack, "walk_together"), (loop, "train_epoch")):
        setattr(place, name, clock.around(getattr(place, name)))
    with tempfile.TemporaryDirectory() as folder:
        run = comparison.compare(
            told["data"], told["losses"], seeds=told["seeds"], epochs=told["epochs"], out=folder, report=write,
            progress=False,
        )  # fmt: skip
        assert run.report is not None
        assert not run.events, run.events
        config = json.loads((run.directory / "config.json").read_text())
    return {
        "training": clock.spent,
        "measuring": {"ends": ends.spent, "between": between.spent},
        "epochs": int(run.table.epoch.max()),
        "stack": config["stack"]["used"],
        "threads": config["threads"],
        "parameters": config["parameters"],
    }


def measured(told: dict[str, Any]) -> dict[str, Any]:
    """A comparison in its own process: its costs from start to end, and what it says of itself."""
    began, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps(told)], check=True, stdout=subprocess.PIPE, text=True
    )
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return told | json.loads(done.stdout.splitlines()[-1]) | {"all": [time.perf_counter() - began, cpu]}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Both comparisons; quickly: the last, small."""
    asked: list[dict[str, Any]] = [{"data": "digits", "losses": LOSSES, "seeds": 5, "epochs": None}]
    if given.data:
        asked.append({"data": given.data, "losses": LOSSES[:4], "seeds": 3, "epochs": given.epochs})
    if given.quick:
        asked = [told | {"losses": LOSSES[:2], "seeds": 1, "epochs": 2} for told in asked[-1:]]
    runs = []
    for told in asked:
        runs.append(measured(told) | {"name": Path(told["data"]).name})
        print(runs[-1], file=sys.stderr, flush=True)
    return {"runs": runs}


def section(found: dict[str, Any]) -> str:
    """The text between the markers."""
    rows, far = [], []
    for run in found["runs"]:
        whole, training = pages.Cost(*run["all"]), pages.Cost(*run["training"])
        rest = pages.Cost(1 - training.wall / whole.wall, 1 - training.cpu / whole.cpu)
        if run["name"] == "digits":
            goal = pages.met(pages.judged(whole, found), GOALS["digits"]).replace(":", " s:")
        else:
            epochs, ends, between = run["epochs"], *(run["measuring"][k][1] for k in ("ends", "between"))
            once = whole.cpu - training.cpu - ends - between
            # without an inner epoch, the outer ones are what is known of it: they measure more images
            inner = between / (epochs - 1) if epochs > 1 else ends / 2
            training_full, rest_full = training.cpu * FULL / epochs, once + ends + inner * (FULL - 1)
            share = rest_full / (training_full + rest_full)
            goal = f"rest of {FULL} epochs {pages.met(share, GOALS['rest'])}"
            far.append(
                f"{run['name']}, CPU seconds: {training.cpu / epochs:.0f} an epoch of training, "
                f"{inner:.1f} measuring after it, {ends:.1f} measuring all images before the first and after the last, "
                f"{once:.0f} once. For {FULL} epochs that makes {training_full + rest_full:.0f}, of which "
                f"{share:.0%} are not training."
            )
        rows.append(
            [
                run["name"], f"{len(run['losses'])} x {run['seeds']}", run["epochs"], run["stack"], run["threads"],
                f"{whole.wall:.0f} ({whole.cpu:.0f})", f"{training.wall:.0f} ({training.cpu:.0f})",
                f"{rest.wall:.0%} ({rest.cpu:.0%})", goal,
            ]
        )  # fmt: skip
    head = [
        "data",
        "losses x seeds",
        "epochs",
        "stack",
        "threads",
        "whole, s",
        "training, s",
        "the rest",
        "goal",
    ]
    lines = ["## A whole comparison", "", INTRODUCTION, "", pages.words(found), "", *pages.table(head, rows)]
    return "\n".join([*lines, *(line for text in far for line in ("", text))])


INTRODUCTION = """Written by `benchmarks/whole.py` (`make bench-whole`). `compare` with its report, in a process of
its own from start to end, on the wall (in brackets: CPU time). The rest is all that is not a training step: starting
Python and torch, choosing whether to stack, measuring every member after every epoch, pictures, table and report."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", help="more data for lossproof.load, such as a folder with MNIST")
    made.add_argument("--epochs", type=int, default=20, help="of the comparison on --data (20)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    return pages.run(NAME, measure, section, parser(), arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(json.loads(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main())
