"""What engines cost beside the work: a sweep of small members in this process, in processes, and on Ray.

    python benchmarks/engines.py                     40 members of digits (8 losses x 5 seeds), two workers
    python benchmarks/engines.py --epochs 20 --write docs/sweeps.md

All engines train the same members; their checkpoints are compared. CPU seconds are as Linux counts them. Waiting is
what workers did not spend in a group between their start and their last group's end: the time to hand out groups.
The page's plan follows from these figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lossproof.data import Images, load
from lossproof.train.comparison import (
    intra_op_threads,
    make_members,
    resolve_all,
    useful_threads,
    write_results,
)
from lossproof.train.engines import crew_of, engine_of
from lossproof.train.engines.coordinator import Coordinator, Crew
from lossproof.train.engines.groups import FULL
from lossproof.train.engines.order import make_order
from lossproof.train.loop import train
from lossproof.train.measure import Measurer
from lossproof.train.member import Member
from lossproof.train.settings import Settings, settle
from lossproof.train.table import RESULTS

LOSSES = ("bce", "mse", "mae", "logcosh", "huber(delta=0.1)", "charbonnier", "hellinger", "jensen_shannon")
PLANNED = (10_000, 60)  # members, and epochs: what `compare digits` takes
SETTLING = 40  # seconds
START, END = "<!-- engines -->", "<!-- /engines -->"
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Sweep:
    """The data, the losses and what is decided of their members."""

    images: Images
    settings: Settings
    threads: int

    def members(self, folder: Path) -> list[Member]:
        """All members, with checkpoints in a folder."""
        arms = resolve_all(LOSSES, self.images, self.settings)
        made = make_members(arms, self.images, self.settings)
        folder.mkdir(exist_ok=True)
        for member in made:
            member.checkpoint = folder / member.checkpoint.name
        return made


def in_process(sweep: Sweep, folder: Path) -> dict[str, Any]:
    """The sweep as `compare` trains it without workers."""
    began, used = time.perf_counter(), time.process_time()
    members = sweep.members(folder)
    arms = [member.arm for member in members[:: len(sweep.settings.seeds)]]
    with intra_op_threads(sweep.threads):
        train(
            members,
            torch.from_numpy(sweep.images.train),
            sweep.settings,
            measure=Measurer(sweep.images, arms, sweep.settings),
            checkpoint_seconds=5.0,
            after_member=lambda member, epoch: None,
            stop=lambda: False,
        )
    return {"wall": time.perf_counter() - began, "cpu": time.process_time() - used}


def with_engine(sweep: Sweep, name: str, workers: int, folder: Path) -> dict[str, Any]:
    """The sweep with an engine's workers."""
    engine = engine_of(name, workers)
    began, own = time.perf_counter(), time.process_time()
    members = sweep.members(folder)
    arms = resolve_all(LOSSES, sweep.images, sweep.settings)
    order = make_order(
        sweep.images, LOSSES, arms, sweep.settings, threads=sweep.threads, checkpoint_seconds=5.0
    )
    with crew_of(engine, order, sweep.images, folder) as crew:
        started, start_cpu = time.perf_counter() - began, time.process_time() - own
        time.sleep(SETTLING if name == "ray" else 0)  # Ray's own processes are still starting
        own, servants = time.process_time(), cpu_of_servants()
        coordinator = Coordinator(crew, members, sweep.settings.epochs)
        coordinator.run()
        trained, coordinating = time.perf_counter() - began, time.process_time() - own
        running = cpu_of_servants() - servants
        # fresh members know of no checkpoints: their workers find them at the last epoch
        crew.workers = 1
        idle = idle_groups(crew, sweep.members(folder), sweep.settings.epochs)
    account = coordinator.account
    spent = sum(end - start for start, end in account.spans.values())
    last = max(end for _, end in account.spans.values())
    return {
        "wall": trained,
        "servants_start_cpu": servants,
        "servants_cpu": running,
        "start_wall": started,
        "start_cpu": start_cpu,
        "start_worker_cpu": sum(account.setups) / len(account.setups),
        "groups": len(account.walls),
        "group_wall": sum(account.walls),
        "group_cpu": sum(account.cpus),
        "coordinator_cpu": coordinating,
        "waiting": spent - sum(account.walls),
        "tail": sum(last - end for _, end in account.spans.values()),
        "idle": idle,
    }


def idle_groups(crew: Crew, members: list[Member], epochs: int) -> dict[str, float]:
    """What handing out a group costs: groups whose members are finished, so that there is nothing to train."""
    coordinator = Coordinator(crew, members, epochs)
    coordinator.run()
    account = coordinator.account
    waiting = sum(end - start for start, end in account.spans.values()) - sum(account.walls)
    # the median: a worker's first group finds libraries that are still to be imported
    return {"a_group": statistics.median(account.walls) + waiting / len(account.walls)}


def cpu_of_servants() -> float:
    """CPU seconds of the processes that descend from this one and are no workers: Ray's own."""
    parents, spent = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            command = (place / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(place.name)] = int(fields[1])
        # workers, the idle ones too, are called ray::something; one just killed has no command line any more
        mine = 0 if command.startswith(b"ray::") or not command else int(fields[11]) + int(fields[12])
        spent[int(place.name)] = mine / TICK
    total, found = 0.0, {os.getpid()}
    while found := {pid for pid, parent in parents.items() if parent in found}:
        total += sum(spent[pid] for pid in found)
    return total


def ending(sweep: Sweep, folder: Path) -> dict[str, float]:
    """What is left to the coordinator when all are trained: reading checkpoints, table, codes and pictures."""
    used = time.process_time()
    members = sweep.members(folder)
    for member in members:
        member.load()
    loaded = time.process_time() - used
    with tempfile.TemporaryDirectory() as run:
        table = write_results(Path(run), sweep.images, members, sweep.settings, sweep.settings.epochs, {})
        size = (Path(run) / RESULTS).stat().st_size
        pictures = sum(path.stat().st_size for path in (Path(run) / "images").rglob("*.png"))
    count = len(members)
    return {
        "load_cpu": loaded / count,
        "write_cpu": (time.process_time() - used - loaded) / count,
        "checkpoint_bytes": sum(member.checkpoint.stat().st_size for member in members) / count,
        "picture_bytes": pictures / count,
        "rows": len(table) / count,
        "row_bytes": size / len(table),
        "row_memory": float(table.memory_usage(deep=True).sum()) / len(table),
    }


def same(sweep: Sweep, one: Path, two: Path) -> bool:
    """Whether two folders hold the same rows, bit for bit, seconds excepted."""
    for left, right in zip(sweep.members(one), sweep.members(two), strict=True):
        left.load()
        right.load()
        rows = [[row for row in member.rows if row.measure != "seconds"] for member in (left, right)]
        if repr(rows[0]) != repr(rows[1]):
            return False
    return True


def measure(
    epochs: int | None, workers: int, engines: list[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Every figure."""
    images = load("digits")
    settings = settle(
        images, model="vae", latent=None, hidden=None, epochs=epochs, batch_size=None, lr=1e-3, beta=1.0, seeds=5,
        device="cpu", threads=torch.get_num_threads(),
    )  # fmt: skip
    model = make_members(resolve_all(("bce",), images), images, settings)[0].model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sweep = Sweep(images, settings, useful_threads(parameters, settings.batch_size))
    found: dict[str, Any] = {
        "machine": {
            "cpus": os.cpu_count(),
            "platform": platform.platform(),
            "versions": {name: version(name) for name in ("torch", "ray", "numpy")},
            "python": platform.python_version(),
        },
        "load_before": os.getloadavg()[0],
        "members": len(LOSSES) * len(settings.seeds),
        "epochs": settings.epochs,
        "parameters": parameters,
        "threads": sweep.threads,
        "workers": workers,
        "engines": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        found["in_process"] = in_process(sweep, runs / "in-process")
        say(json.dumps(found["in_process"]))
        for name in engines:
            told = with_engine(sweep, name, workers, runs / name)
            told["same"] = same(sweep, runs / "in-process", runs / name)
            found["engines"][name] = told
            say(json.dumps({name: told}))
        found["ending"] = ending(sweep, runs / "in-process")
    found["load_after"] = os.getloadavg()[0]
    return found


def section(found: dict[str, Any]) -> str:
    """The text between the markers: figures, and the plan that follows from them."""
    machine, ending, base = found["machine"], found["ending"], found["in_process"]
    members, epochs = found["members"], found["epochs"]
    each = base["cpu"] / members / (epochs + 1)
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        f"{members} members of `digits` ({len(LOSSES)} losses x 5 seeds; a VAE with {found['parameters']:,} weights, "
        f"{epochs} epochs, {found['threads']} thread), trained in this process, then by {found['workers']} workers. "
        f"Machine: {machine['cpus']} CPUs, {machine['platform']}, Python {machine['python']}, {versions}; load "
        f"average {found['load_before']:.1f} before and {found['load_after']:.1f} after. "
        + (
            "It was busy with other work: wall-clock times say little, CPU seconds and shares more."
            if max(found["load_before"], found["load_after"]) > machine["cpus"] + 1
            else ""
        ),
        "",
        "CPU seconds; waiting as a share of the time that workers spent in groups:",
        "",
        "| engine | in groups | coordinator | Ray itself | start: coordinator and Ray | start: each worker | groups "
        "| waiting between groups | waiting for the last ones | same rows |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        f"| in process | {base['cpu']:.1f} | | | | | | | | |",
    ]
    for name, told in found["engines"].items():
        lines.append(
            f"| {name} | {told['group_cpu']:.1f} | {told['coordinator_cpu']:.2f} | {told['servants_cpu']:.1f} | "
            f"{told['start_cpu'] + told['servants_start_cpu']:.1f} | {told['start_worker_cpu']:.1f} | {told['groups']} | "
            f"{told['waiting'] / told['group_wall']:.2%} | {told['tail'] / told['group_wall']:.1%} | "
            f"{'yes' if told['same'] else 'NO'} |"
        )
    lines.append("")
    for name, told in found["engines"].items():
        running = (told["coordinator_cpu"] + told["servants_cpu"]) / told["group_cpu"]
        scheduling = told["waiting"] / told["group_wall"] + running
        starting = (
            told["start_cpu"] + told["servants_start_cpu"] + found["workers"] * told["start_worker_cpu"]
        )
        longer = (PLANNED[1] + 1) / (epochs + 1)
        lines.append(
            f"- {name}: scheduling, which is waiting between groups and the CPU time of the coordinator and of Ray's own "
            f"processes, comes to {scheduling:.1%} of this work. {PLANNED[1]} epochs are {longer:.1f} times the work in as "
            f"many groups: {scheduling / longer:.1%}, and starting, once a run, "
            f"{starting / (told['group_cpu'] * longer):.1%}. A group with nothing to do takes "
            f"{told['idle']['a_group'] * 1e3:.0f} ms."
        )
    lines += ["", *plan(found, each), ""]
    lines += [
        f"The coordinator's own work at the end, a member: {ending['load_cpu'] * 1e3:.0f} ms to read its checkpoint, "
        f"{ending['write_cpu'] * 1e3:.0f} ms for its share of table, codes and pictures.",
    ]
    return "\n".join(lines)


def plan(found: dict[str, Any], each: float) -> list[str]:
    """A sweep of many such members: what the figures say it needs. `each` is CPU seconds of a member's epoch."""
    ending, (count, epochs) = found["ending"], PLANNED
    each *= epochs + 1
    told = found["engines"].get("ray") or next(iter(found["engines"].values()))
    rows = count * ending["rows"] * (epochs + 1) / (found["epochs"] + 1)
    lines = [
        f"### {count:,} members of this size, {epochs} epochs each",
        "",
        f"One member takes {each:.2f} CPU seconds ({each / (epochs + 1) * 1e3:.0f} ms an epoch, measuring included), so "
        f"one CPU finishes {1 / each:.2f} members a second.",
        "",
        "| CPUs | training | of it starting workers | members a second |",
        "| --- | --- | --- | --- |",
    ]
    for many in (16, 64, 256):
        start = told["start_worker_cpu"]
        hours = (count * each / many + start) / 3600
        lines.append(f"| {many} | {hours:.2f} h | {start / (hours * 3600):.1%} | {many / each:.0f} |")
    gigabyte = 2**30
    serial = count * (ending["load_cpu"] + ending["write_cpu"]) / 3600
    lines += [
        "",
        f"- Groups: {-(-count // FULL)} of {FULL} members or more of fewer; handing them out takes the coordinator "
        f"{-(-count // FULL) * told['idle']['a_group']:.0f} s in all.",
        f"- Run directory: checkpoints {count * ending['checkpoint_bytes'] / gigabyte:.2f} GiB "
        f"({ending['checkpoint_bytes'] / 1024:.0f} KiB each), table {rows * ending['row_bytes'] / gigabyte:.2f} GiB "
        f"({rows / count:,.0f} rows a member), pictures {count * ending['picture_bytes'] / gigabyte:.2f} GiB.",
        f"- Coordinator: {count * ending['checkpoint_bytes'] / gigabyte:.1f} GiB for the members' weights and Adam's "
        f"averages, {rows * ending['row_memory'] / gigabyte:.1f} GiB for the table, and at the end "
        f"{serial:.2f} h of work that no worker shares.",
    ]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, help="of each member; those of `compare digits` when left out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engines", default="local,ray")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--read", type=Path, help="take the figures from there instead of measuring")
    parser.add_argument("--write", type=Path, help="put the section into this page")
    given = parser.parse_args()
    if given.read:
        found = json.loads(given.read.read_text())
    else:
        found = measure(
            given.epochs, given.workers, given.engines.split(","), lambda text: print(text, file=sys.stderr)
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    text = section(found)
    print(text)
    if given.write:
        page = given.write.read_text(encoding="utf-8")
        before, _, rest = page.partition(START)
        after = rest.partition(END)[2]
        given.write.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
