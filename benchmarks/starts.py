"""How long the program takes to start, and to prove what it says of each loss; writes a section of docs/performance.md.

    python benchmarks/starts.py

Each command is a process of its own; all take turns with `python -c pass`. CPU time is the kernel's figure for the process
and all that it started.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pages

NAME = "starts"
PROGRAM = str(Path(sys.executable).parent / "lossproof")
BARE = "python -c pass"
COMMANDS = {
    BARE: [sys.executable, "-c", "pass"],
    "import lossproof": [sys.executable, "-c", "import lossproof"],
    "lossproof --help": [PROGRAM, "--help"],
    "lossproof certify bce": [PROGRAM, "certify", "bce"],
}
FRESH = "lossproof certify {} --fresh"
PROVED = 3  # turns of each loss's proof that count
PATIENT = {"continuous_bernoulli": 10.0}  # seconds; of the others 2, of all together 60
GOALS = {"import lossproof": 0.1, "lossproof --help": 0.3, "lossproof certify bce": 2.0}  # seconds


def started(command: Sequence[str]) -> pages.Cost:
    """What a process costs, from its start to its end. Raises `CalledProcessError` where it fails."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # in microseconds, where os.times counts hundredths
    spent = sum(getattr(after, kind) - getattr(before, kind) for kind in ("ru_utime", "ru_stime"))
    return pages.Cost(time.perf_counter() - began, spent)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All commands in turns, after a turn that fills the disk's cache."""
    rounds = 2 if given.quick else given.rounds
    ways = {name: partial(started, command) for name, command in COMMANDS.items()}
    costs: pages.Costs = {name: [] for name in ways}
    for turn in range(1 + rounds):
        for name, way in ways.items():
            cost = way()
            if turn > 0:
                costs[name].append(cost)
    from lossproof.catalogue import CATALOGUE

    for _ in range(1 if given.quick else PROVED):
        for name in ["bce"] if given.quick else CATALOGUE:
            command = FRESH.format(name)
            costs.setdefault(command, []).append(started([PROGRAM, *command.split()[1:]]))
    return {"costs": costs}


def section(found: dict[str, Any]) -> str:
    """The text between the markers."""
    rows = []
    proved = {n: c for n, c in found["costs"].items() if n.endswith("--fresh")}
    for name, costs in found["costs"].items():
        if name in proved:
            continue
        middle, ratio = pages.median(costs), pages.ratio(costs, found["costs"][BARE])
        goal = GOALS.get(name)
        rows.append(
            [
                f"`{name}`",
                f"{middle.wall:.3f}",
                f"{middle.cpu:.2f}",
                f"{ratio.wall:.1f} ({ratio.cpu:.1f})",
                "" if goal is None else pages.met(pages.judged(middle, found), goal),
            ]
        )
    return "\n".join(
        [
            "## Start",
            "",
            INTRODUCTION,
            "",
            pages.words(found),
            "",
            *pages.table(["command", "seconds", "CPU s", f"in `{BARE}`", "goal, seconds"], rows),
            *_proofs(proved, found),
        ]
    )


def _proofs(proved: pages.Costs, found: dict[str, Any]) -> list[str]:
    """What proving each loss anew takes, in one process with one thread."""
    rows, total = [], pages.Cost(0.0, 0.0)
    for name, costs in proved.items():
        middle = pages.median(costs)
        total = pages.Cost(total.wall + middle.wall, total.cpu + middle.cpu)
        goal = PATIENT.get(name.split()[2], 2.0)
        rows.append(
            [
                f"`{name}`",
                f"{middle.wall:.2f}",
                f"{middle.cpu:.2f}",
                pages.met(pages.judged(middle, found), goal),
            ]
        )
    if len(rows) > 1:
        rows.append(
            ["all", f"{total.wall:.1f}", f"{total.cpu:.1f}", pages.met(pages.judged(total, found), 60.0)]
        )
    return ["", *pages.table(["every line proved anew", "seconds", "CPU s", "goal, seconds"], rows)]


INTRODUCTION = """Written by `benchmarks/starts.py` (`make bench-starts`). A process from its start to its end,
medians of turns; ratios are taken within a turn, in brackets those of CPU time. Without `--fresh`, `certify` shows the
certificate that comes with the package."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=11, help="turns that count (11)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    return pages.run(NAME, measure, section, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
