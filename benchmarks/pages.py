"""What the benchmarks of docs/performance.md share: turns, the machine in words, a section between its markers."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lossproof.formula.errors import LossproofError

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"


class Cost(NamedTuple):
    """Seconds: on the wall, and of the processor, all threads together."""

    wall: float
    cpu: float


Costs = dict[str, list[Cost]]


def timed(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def in_turns(ways: Mapping[str, Callable[[int], object]], rounds: int, first: int = 1) -> Costs:
    """What each way costs, round by round: A B C A B C ..., after a round that is not counted.

    A way is called with the number of its round, from `first` on. Times on a shared machine drift; the ratio of two
    ways within a round drifts less.
    """
    found: Costs = {name: [] for name in ways}
    for turn in range(1 + rounds):
        for name, way in ways.items():
            cost = timed(partial(way, first + turn))
            if turn > 0:
                found[name].append(cost)
    return found


def median(costs: Sequence[Sequence[float]]) -> Cost:
    """The median of each; costs that were read from a file are lists."""
    return Cost(*(statistics.median(part) for part in zip(*costs, strict=True)))


def ratio(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> Cost:
    """The median over the rounds of one way's cost in another's."""
    return Cost(
        *(
            statistics.median(
                a[i] / b[i] if b[i] else float("nan") for a, b in zip(some, others, strict=True)
            )
            for i in (0, 1)
        )
    )


def peak() -> float:
    """The most memory this process has had resident so far, MiB, as Linux counts it since the program was loaded."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].partition(":")[2].strip() if lines else name
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float("nan"),
    }


def busy(found: Mapping[str, Any]) -> bool:
    """Whether other work ran beside the benchmark, so that times on the wall say little."""
    before, after = found["before"], found["after"]
    return bool(max(before["load"], after["load"]) > (before["cores"] or 1) + 0.5)


def judged(cost: Cost, found: Mapping[str, Any]) -> float:
    """The ratio that a goal is held against: on the wall, on a busy machine that of CPU time."""
    return cost.cpu if busy(found) else cost.wall


def words(found: Mapping[str, Any]) -> str:
    """The machine in a sentence, and how busy it was."""
    before, after = found["before"], found["after"]
    return (
        f"Machine: {before['cpu']}, {before['cores']} cores, torch {before['torch']}, Python {before['python']}; load "
        f"{before['load']:.1f} before, {after['load']:.1f} at the end."
        + (
            " It was busy with other work: times on the wall say little, and goals are held against CPU time."
            if busy(found)
            else ""
        )
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> list[str]:
    """A Markdown table, the first columns to the left."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "|".join("---" if i < left else "---:" for i in range(len(head))) + "|")
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def met(value: float, goal: float, *, least: bool = False) -> str:
    """A goal and whether it is met.

    >>> met(0.9, 1.0), met(1.9, 2.0, least=True)
    ('<= 1: yes', '>= 2: no')
    """
    return f"{'>=' if least else '<='} {goal:g}: {'yes' if (value >= goal if least else value <= goal) else 'no'}"


def write_section(name: str, text: str, path: Path) -> None:
    """Put a section between its markers, whatever else is in the file; at its end where it has none yet."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    replace_section(start, end, f"{start}\n{text.rstrip()}\n{end}\n", path)


def replace_section(start: str, end: str, made: str, path: Path) -> None:
    """The same of a section that holds its markers already."""
    old = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    if start in old and end in old:
        before, rest = old.split(start, 1)
        later = rest.split(end, 1)[1].lstrip("\n")
        new = before + made + ("\n" + later if later else "")
    else:
        new = old.rstrip("\n") + "\n\n" + made
    temporary = path.with_suffix(".tmp")
    temporary.write_text(new, encoding="utf-8")
    os.replace(temporary, path)


def run(
    name: str,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    section: Callable[[dict[str, Any]], str],
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
    *,
    pictures: Callable[[dict[str, Any], Path], None] | None = None,
) -> int:
    """A benchmark's command: measure, or read what was measured, and write the section, and pictures beside it."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="take the figures from there instead of measuring"
    )
    parser.add_argument("--out", type=Path, default=PAGE, help="the page whose section is written")
    parser.add_argument(
        "--quick", action="store_true", help="few rounds on little data, to see that it works"
    )
    given = parser.parse_args(arguments)
    try:
        if given.read:
            found = json.loads(given.read.read_text())
        else:
            before = machine()
            found = measure(given) | {"before": before, "after": machine()}
    except LossproofError as error:
        print(error, file=sys.stderr)
        return 2
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        temporary = given.json.with_suffix(".tmp")
        temporary.write_text(json.dumps(found, indent=1) + "\n")
        os.replace(temporary, given.json)  # whole or not at all: it says that this section is done
    if pictures is not None:
        pictures(found, given.out.parent)
    write_section(name, section(found), given.out)
    print(f"{name}: wrote {given.out}", file=sys.stderr)
    return 0
