"""Fuzz of the prover: random losses, certified, and judged by an oracle that shares no code with it.

    python benchmarks/soundness.py --count 200                       # prints the table
    python benchmarks/soundness.py --count 2000 --jobs 2 --write     # nightly; writes docs/soundness.md

Exit status 1 if a yes is violated, a refutation cannot be confirmed, the prover crashes, or more than 5 % stay unknown.
"""

import argparse
import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from platform import python_version
from typing import Any

from soundness_losses import FAMILIES, Case, case
from soundness_oracle import LINES, confirm, floor, violation

PAGE = Path(__file__).parent.parent / "docs" / "soundness.md"
UNKNOWN_AT_MOST = 0.05
YES = ("Proved", "Certified")
FLOOR = "floor"  # its statement is a formula
CLASSES = (*YES, "Refuted", "Unknown")
MEMORY = 6 * 2**30  # of one worker
START = 60.0  # seconds for a new worker to import
DIED = "the worker died"
_CRASH = re.compile(r"the prover ended with \w*(Error|Exception)")
Certify = Callable[..., Any]


@dataclass(frozen=True)
class Stated:
    """A verdict on a floor, and the floor's formula, None where there is none in closed form."""

    verdict: Any
    formula: str | None


@dataclass(frozen=True)
class Row:
    """What came of one loss."""

    index: int
    family: str
    kind: str
    formula: str
    seconds: float
    verdicts: dict[str, str] = field(default_factory=dict)  # line -> class of the verdict
    reasons: dict[str, str] = field(default_factory=dict)  # line -> why it is unknown
    violated: tuple[str, ...] = ()  # a yes and a point against it
    unverified: tuple[str, ...] = ()  # a no whose witness does not hold
    crash: str = ""

    @property
    def bad(self) -> tuple[str, ...]:
        return (*self.violated, *self.unverified, *([f"crash: {self.crash}"] if self.crash else []))


def lines_for(index: int, every: int = 3) -> tuple[str, ...]:
    """The minimum and its uniqueness of every loss; the other lines of each third, or other share."""
    return (*LINES, FLOOR) if index % every == 0 else LINES[:2]


def ask(
    subject: Case, only: Sequence[str], certify: Certify, budget: float
) -> tuple[dict[str, Any], str, float]:
    """The verdicts of the prover, what it crashed on, and the seconds it took."""
    from lossproof.formula import LossproofError, Unknown

    start = time.perf_counter()
    asked = tuple(key for key in only if key != "strictly_convex")  # comes along with convex
    try:
        lines = certify(subject.formula, budget=budget, only=asked, in_process=True).lines
        verdicts, crash = {key: lines[key].verdict for key in only if key in lines}, ""
        if FLOOR in verdicts:
            verdicts[FLOOR] = Stated(verdicts[FLOOR], lines[FLOOR].details.get("formula"))
    except LossproofError as error:
        verdicts, crash = {key: Unknown(f"refused: {error}") for key in only}, ""
    except MemoryError:
        verdicts, crash = {key: Unknown("memory") for key in only}, ""
    except Exception as error:
        verdicts, crash = {}, f"{type(error).__name__}: {error}"
    return verdicts, crash, time.perf_counter() - start


def named(domain: str, at: Mapping[str, Fraction]) -> bool:
    """Whether a point lies in the domain that a verdict names: an enclosure may leave out a rim of predictions.

    >>> named("y in [0, 1], p in (0, 1), p in [9.09e-13, 1 - 9.09e-13]", {"p": 1 - Fraction(1, 10**49)})
    False
    """
    rim = re.search(r"p in \[([\d.e-]+), 1 - ([\d.e-]+)\]", domain)
    if rim is None or "p" not in at:
        return True
    low, high = Fraction(rim[1]), 1 - Fraction(rim[2])
    return low <= at["p"] <= high


def judge(
    subject: Case, index: int, verdicts: dict[str, Any], crash: str, seconds: float, *, thorough: bool
) -> Row:
    """Look for points against every yes, and evaluate every witness anew."""
    violated, unverified = [], []
    stated = verdicts.get(FLOOR)
    if isinstance(stated, Stated):
        verdicts = verdicts | {FLOOR: stated.verdict}
    kinds = {line: type(verdict).__name__ for line, verdict in verdicts.items()}
    for line, verdict in verdicts.items():
        if line == FLOOR:
            if kinds[line] in YES and isinstance(stated, Stated) and stated.formula:
                finding = floor(
                    subject, stated.formula, verdict.domain, kinds.get("minimum") in YES, thorough
                )
                if finding is not None:
                    violated.append(f"{kinds[line]}, but {finding}")
        elif kinds[line] in YES:
            finding = violation(subject, line, thorough=thorough)
            if finding is not None and named(verdict.domain, finding.at):
                violated.append(f"{kinds[line]}, but {finding}")
            elif line == "minimum" and subject.truth is False:
                violated.append(f"{kinds[line]}, but minimum is false by construction")
        elif kinds[line] == "Refuted":
            wrong = confirm(subject, line, dict(verdict.witness))
            if wrong:
                unverified.append(f"{line}: {wrong}")
            elif line == "minimum" and subject.truth is True:
                unverified.append(f"{line}: refuted, but true by construction")
    reasons = {line: v.reason for line, v in verdicts.items() if kinds[line] == "Unknown"}
    crash = crash or next((r for r in reasons.values() if _CRASH.search(r)), "")  # a section that fell over
    made = (index, subject.family, subject.kind, subject.formula)
    return Row(*made, seconds, kinds, reasons, tuple(violated), tuple(unverified), crash)


def one(
    seed: int, index: int, certify: Certify, *, budget: float = 10.0, thorough: bool = False, every: int = 3
) -> Row:
    """Make a loss, ask, judge."""
    subject = case(seed, index)
    verdicts, crash, seconds = ask(subject, lines_for(index, every), certify, budget)
    return judge(subject, index, verdicts, crash, seconds, thorough=thorough)


def work(pipe: Connection, seed: int, budget: float, thorough: bool, every: int) -> None:
    """A worker: takes indices, says when the prover is done, sends the row."""
    from lossproof.prove import certify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while (index := pipe.recv()) is not None:
        subject = case(seed, index)
        verdicts, crash, seconds = ask(subject, lines_for(index, every), certify, budget)
        pipe.send(None)
        pipe.send(judge(subject, index, verdicts, crash, seconds, thorough=thorough))


class Worker:
    """A process that can be ended when the prover does not come back."""

    def __init__(self, settings: tuple[int, float, bool, int], limit: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, *settings), daemon=True)
        self.process.start()
        theirs.close()
        self.limit = limit
        self.index: int | None = None
        self.deadline: float | None = None

    def give(self, index: int, slack: float = 0.0) -> None:
        self.index, self.deadline = index, time.monotonic() + self.limit + slack
        self.pipe.send(index)

    def answer(self) -> Row | None:
        """The row, if it is there."""
        try:
            while self.pipe.poll():
                if (row := self.pipe.recv()) is not None:
                    return row
                self.deadline = None  # the prover is done; the oracle takes its time
        except (EOFError, OSError):
            return self.lost(0, "")
        return None

    def lost(self, seed: int, late: str) -> Row:
        """The row of a loss on which the worker died, or was too late."""
        assert self.index is not None
        subject = case(seed, self.index)
        made = (self.index, subject.family, subject.kind, subject.formula, self.limit)
        return Row(*made, {"minimum": "Unknown"}, {"minimum": late}) if late else Row(*made, crash=DIED)

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def run(
    count: int, *, seed: int, jobs: int, budget: float, limit: float, thorough: bool, every: int = 3
) -> Iterator[Row]:
    """The rows of a fuzz, as they come."""
    settings = (seed, budget, thorough, every)
    waiting = iter(range(count))
    busy: list[Worker] = []

    def employ(worker: Worker, slack: float = 0.0) -> None:
        index = next(waiting, None)
        if index is None:
            worker.end()
        else:
            worker.give(index, slack)
            busy.append(worker)

    for _ in range(min(jobs, count)):
        employ(Worker(settings, limit), slack=START)  # imports
    while busy:
        wait([w.pipe for w in busy], timeout=0.5)
        for worker in list(busy):
            row = worker.answer()
            late = worker.deadline is not None and time.monotonic() > worker.deadline
            if row is None and not late:
                continue
            busy.remove(worker)
            if row is None or row.crash == DIED:
                worker.end()
                employ(Worker(settings, limit), slack=START)
                yield worker.lost(seed, "" if row else f"no answer within {limit:g} s")
            else:
                employ(worker)
                yield row


def share(rows: Sequence[Row], line: str = "minimum") -> float:
    """Unknown among those asked."""
    asked = [r for r in rows if line in r.verdicts]
    return sum(r.verdicts[line] == "Unknown" for r in asked) / len(asked) if asked else 0.0


def passed(rows: Sequence[Row]) -> bool:
    """Nothing violated, unverified or crashed, few unknown."""
    return bool(rows) and not any(r.bad for r in rows) and share(rows) <= UNKNOWN_AT_MOST


def seconds_of(rows: Sequence[Row]) -> str:
    times = sorted(r.seconds for r in rows)
    at95 = times[min(len(times) - 1, int(0.95 * len(times)))]
    return f"{statistics.median(times):.2f} | {at95:.2f} | {times[-1]:.1f}"


def table(rows: Sequence[Row]) -> list[str]:
    """The minimum, by family."""
    text = [
        "| family | losses | Proved | Certified | Refuted | Unknown | violated | unverified | median s | 95 % s | most s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    groups = [(name, [r for r in rows if r.family == name]) for name in FAMILIES]
    for name, group in [*((n, g) for n, g in groups if g), ("**all**", list(rows))]:
        found = Counter(r.verdicts.get("minimum", "") for r in group)
        counts = " | ".join(str(found[c]) for c in CLASSES)
        bad = [
            sum(any("minimum" in x for x in finding(r)) for r in group)
            for finding in (_violated, _unverified)
        ]
        text.append(f"| {name} | {len(group)} | {counts} | {bad[0]} | {bad[1]} | {seconds_of(group)} |")
    return text


def _violated(row: Row) -> tuple[str, ...]:
    return row.violated


def _unverified(row: Row) -> tuple[str, ...]:
    return row.unverified


def by_line(rows: Sequence[Row]) -> list[str]:
    """All lines, over all families."""
    text = ["| line | asked | Proved | Certified | Refuted | Unknown | violated | unverified |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for line in (*LINES, FLOOR):
        found = Counter(r.verdicts[line] for r in rows if line in r.verdicts)
        violated = sum(f"but {line}" in x for r in rows for x in r.violated)
        unverified = sum(x.startswith(f"{line}:") for r in rows for x in r.unverified)
        counts = " | ".join(str(found[c]) for c in CLASSES)
        text.append(f"| {line} | {found.total()} | {counts} | {violated} | {unverified} |")
    return text


def by_kind(rows: Sequence[Row]) -> list[str]:
    """What the maker of the losses aimed at, and what the prover said."""
    text = [
        "| aimed at | losses | Proved or Certified | Refuted | Unknown |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    aims = {"true": "minimised at p = y", "far": "false by a lot", "near": "barely false, or barely true"}
    for kind, words in aims.items():
        found = Counter(r.verdicts.get("minimum", "") for r in rows if r.kind == kind)
        counts = (found.total(), found["Proved"] + found["Certified"], found["Refuted"], found["Unknown"])
        text.append(f"| {words} | {' | '.join(map(str, counts))} |")
    return text


def page(rows: Sequence[Row], seed: int, command: str) -> str:
    """docs/soundness.md."""
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("lossproof", "sympy", "python-flint", "mpmath")
    )
    judged = "met" if passed(rows) else "NOT met"
    return "\n".join([
        "# Soundness of the certificates",
        "",
        "Written by `benchmarks/soundness.py`; do not edit. Random losses are certified, and every answer is judged by",
        "an oracle that shares no code with the prover: its own expression trees, exact rational points, enclosures of",
        "500 bits. A Proved or Certified that a point contradicts is *violated*; a Refuted whose witness does not hold",
        "when it is evaluated anew is *unverified*. The oracle looks at a grid of targets from 1e-40 to 1 - 1e-12 and",
        "both ends, and for each at p beside y (1e-1 to 1e-40), at the lowest points of a scan, at a step of Newton's",
        "method, and at the places where the maker of the loss put its disturbance. It can miss what none of these",
        "finds: the table is evidence, not proof.",
        "",
        "Required: nothing violated, nothing unverified, no crash, at most"
        f" {UNKNOWN_AT_MOST:.0%} unknown for the minimum: **{judged}**",
        f"({sum(bool(r.violated) for r in rows)} violated, {sum(bool(r.unverified) for r in rows)} unverified,"
        f" {sum(bool(r.crash) for r in rows)} crashed, {share(rows):.1%} unknown).",
        "",
        f"`{command}` (seed {seed}), Python {python_version()}, {versions}.",
        "",
        "## Minimum at p = y",
        "",
        *table(rows),
        "",
        "A third of the losses is made to be true, a third false by a lot, a third barely false (down to 1e-30):",
        "",
        *by_kind(rows),
        "",
        "## All lines",
        "",
        "Convexity, properness and the floor's formula are asked of every third loss; a floor refuted because p = y is no",
        "minimum has that line's witness.",
        "",
        *by_line(rows),
        "",
    ])  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Fuzz of the prover, judged by an oracle that shares no code with it."
    )
    parser.add_argument("--count", type=int, default=200, help="number of losses")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds given to the prover for a loss")
    parser.add_argument(
        "--limit", type=float, default=30.0, help="seconds after which a process that hangs is ended"
    )
    parser.add_argument("--quick", action="store_true", help="the oracle's short search")
    parser.add_argument("--write", action="store_true", help="write docs/soundness.md")
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    start = time.monotonic()
    options = {"seed": given.seed, "jobs": given.jobs, "budget": given.budget, "limit": given.limit}
    for row in run(given.count, **options, thorough=not given.quick):
        rows.append(row)
        for text in row.bad:
            print(f"BAD {row.index} [{row.family}, {row.kind}] {row.formula}: {text}", flush=True)
        if row.verdicts.get("minimum") == "Unknown":
            reason = row.reasons.get("minimum", "")
            print(
                f"unknown {row.index} [{row.family}, {row.kind}] {row.formula[:200]}: {reason[:160]}",
                flush=True,
            )
        if len(rows) % 50 == 0:
            print(
                f"{len(rows)} of {given.count}, {time.monotonic() - start:.0f} s, {share(rows):.1%} unknown",
                flush=True,
            )
    rows.sort(key=lambda r: r.index)
    command = f"python benchmarks/soundness.py --count {given.count} --jobs {given.jobs} --seed {given.seed}"
    print("\n".join([*table(rows), "", *by_kind(rows), "", *by_line(rows)]))
    if given.write:
        PAGE.write_text(page(rows, given.seed, command))
    print("passed" if passed(rows) else "NOT passed")
    return 0 if passed(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
