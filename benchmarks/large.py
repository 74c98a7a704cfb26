"""Memory and time of advise, check and explain on data larger than memory; writes a section of docs/performance.md.

    python benchmarks/large.py                      20 GB as a .npy file, and 100,000 pictures in a folder; a tenth of both
    python benchmarks/large.py --gigabytes 1 --pictures 5000

The data are made below --folder (it must hold them) and deleted afterwards. Each command runs in a process of its own;
its peak of resident memory and its CPU time are the kernel's figures (wait4). What is read is real content: smooth
images with two bits of noise, so that nothing is sparse.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pages
from lossproof.formula.errors import LossproofError

NAME = "large"
SIDE, BATCH = 64, 4096
COMMANDS = {
    "advise": ["advise", "DATA", "--budget", "0", "--json"],
    "check": ["check", "DATA", "--json"],
    "explain": ["explain", "--loss", "bce", "--value", "0.66", "--data", "DATA", "--json"],
}


NOTHING = ["advise", "digits", "--budget", "0", "--json"]


@dataclass(frozen=True)
class Run:
    """One command on one set: peak of resident memory in MB, CPU seconds, and what came out."""

    data: str
    images: int
    gigabytes: float
    command: str
    megabytes: float
    cpu: float
    wall: float
    status: int
    said: str


def base(seed: int = 0) -> np.ndarray:
    """Smooth grey images (BATCH, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    g = np.linspace(0, np.pi, SIDE)
    waves = np.stack([np.cos(i * g)[:, None] * np.cos(j * g) for i in range(4) for j in range(4) if i + j])
    x = np.tensordot(rng.standard_normal((BATCH, len(waves))), waves, (1, 0))
    return np.uint8(255 * (0.5 + 0.45 * x / np.abs(x).max(axis=(1, 2), keepdims=True)))


def write_array(path: Path, gigabytes: float) -> int:
    """A .npy file of bytes (n, SIDE, SIDE), written block by block."""
    images, rng = base(), np.random.default_rng(1)
    count = max(BATCH, int(gigabytes * 1e9) // (SIDE * SIDE))
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, SIDE, SIDE)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, BATCH):
            noise = np.frombuffer(rng.bytes(images.size), np.uint8).reshape(images.shape) & 3
            block = np.roll(images, int(rng.integers(SIDE)), axis=2) ^ noise
            file.write(block[: count - start].tobytes())
    return count


def write_pictures(folder: Path, count: int) -> int:
    """PNG files of 32 x 32 colour pixels in ten folders; the one in the middle is damaged."""
    from PIL import Image

    images = base()[:, ::2, ::2]
    for name in range(10):
        (folder / f"class{name}").mkdir(parents=True)
    for i in range(count):
        colour = np.stack([images[(i * k + i // BATCH) % BATCH] for k in (1, 3, 7)], axis=-1)
        path = folder / f"class{i % 10}" / f"{i:06}.png"
        Image.fromarray(colour).save(path, compress_level=1)
        if i == count // 2:
            path.write_bytes(path.read_bytes()[:200])
    return count


#: a small process that starts the command and waits for it: a child's peak counts its parent's memory at the start
WAIT = """
import json, os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], dict(os.environ))
_, status, usage = os.wait4(child, 0)
found = [usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status)]
print(json.dumps(found), file=sys.stderr)
"""


def measured(arguments: Sequence[str]) -> tuple[float, float, float, int, str]:
    """Run lossproof with these arguments: MB at the peak, CPU seconds, wall seconds, exit status, standard output."""
    program = str(Path(sys.executable).parent / "lossproof")
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-S", "-c", WAIT, program, *arguments],
        capture_output=True, text=True, check=True, env=dict(os.environ) | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    peak, cpu, status = json.loads(done.stderr.splitlines()[-1])
    return peak, cpu, time.monotonic() - started, status, done.stdout


def runs(path: str, data: str, images: int, gigabytes: float) -> list[Run]:
    found = []
    for name, words in COMMANDS.items():
        peak, cpu, wall, status, text = measured([path if word == "DATA" else word for word in words])
        found.append(Run(data, images, gigabytes, name, peak, cpu, wall, status, said(name, text)))
        print(
            f"{data}, {images:,} images: {name} {peak:.0f} MB, {cpu:.0f} s CPU, exit status {status}: {found[-1].said}",
            flush=True,
        )
    return found


def said(command: str, text: str) -> str:
    """What came out, in few words, so that a figure of a failed run cannot pass for one."""
    try:
        out = json.loads(text)
    except ValueError:
        return "no answer"
    if command == "advise":
        left = out["facts"]["skipped"]
        return f"{out['loss']}; {out['facts']['images']:,} images read" + (
            f", {left} left out" if left else ""
        )
    if command == "check":
        return f"floor {out['parts'][0]['bce_floor']:.4g} nats; {sum(part['count'] for part in out['parts']):,} images read"
    return str(out["causes"][0]["id"]) if out["causes"] else "no cause"


def section(found: dict[str, Any]) -> str:
    """The text between the markers."""
    rows = [
        [run["data"], f"{run['images']:,}", f"{run['gigabytes']:.2g}", run["command"], f"{run['megabytes']:.0f}",
         f"{run['cpu']:.0f}", run["said"]]
        for run in found["runs"]
    ]  # fmt: skip
    return "\n".join(
        [
            "## Data larger than memory",
            "",
            INTRODUCTION.format(nothing=found["nothing"]),
            "",
            pages.words(found),
            "",
            *pages.table(["data", "images", "GB", "command", "peak, MB", "CPU s", "answer"], rows),
        ]
    )


INTRODUCTION = f"""Written by `benchmarks/large.py` (`make bench-large`). Peak of resident memory and CPU time of a
whole command, the program's start included; on digits, which are next to nothing, `advise` takes {{nothing:.0f}} MB.
The arrays are .npy files of bytes, {SIDE} x {SIDE} pixels an image; the folders hold colour PNGs of 32 x 32 pixels,
one of them damaged. `advise` without a pilot: it reads all images, and a pilot sees a sample of fixed size."""


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """A tenth of the data and all of them, as a file and as a folder."""
    gigabytes, pictures = (0.02, 200) if given.quick else (given.gigabytes, given.pictures)
    free = shutil.disk_usage(given.folder).free / 1e9
    if free < (needed := 1.2 * gigabytes + pictures * 6e-6):
        raise LossproofError(
            f"--folder: expected {needed:.0f} GB free for the data, got {free:.0f} in {given.folder}. "
            "Give another --folder, or fewer --gigabytes."
        )
    found: list[Run] = []
    for part in (0.1, 1.0):
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="large-") as name:
            path = Path(name) / "images.npy"
            count = write_array(path, gigabytes * part)
            found += runs(str(path), ".npy file", count, path.stat().st_size / 1e9)
    for part in (0.1, 1.0):
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="large-") as name:
            count = write_pictures(Path(name), int(pictures * part))
            size = sum(path.stat().st_size for path in Path(name).rglob("*.png")) / 1e9
            found += runs(name, "folder of PNGs", count, size)
    nothing = measured(NOTHING)[0]
    return {"runs": [asdict(run) for run in found], "nothing": nothing}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--gigabytes", type=float, default=20.0)
    made.add_argument("--pictures", type=int, default=100_000)
    made.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    return pages.run(NAME, measure, section, parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
