"""What a loss costs, forward and backward, beside torch, Keras, optax and the memory's own speed.

    python benchmarks/losses.py                  every size; writes the losses section of docs/performance.md
    python benchmarks/losses.py --rounds 5 --sizes 128x784 --out FILE

Contenders take turns in one process, in an order drawn anew every round, after turns that are not counted. A ratio
is the median over
rounds of torch's own eager time in a round over the contender's time in the same round, so that a busy machine slows
both. Above 1 the contender is faster than torch's eager functional.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "KERAS_BACKEND", "torch"
)  # before Keras is imported: the backend of the other contenders

import torch
import torch.nn.functional as F
from torch import Tensor

import pages
from lossproof.torch import ReconstructionLoss

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
SIZES = ("128x784", "4096x784", "64x3x256x256")
LOSSES = ("bce", "mse", "mae", "huber", "logcosh")
START, END = "<!-- losses -->", "<!-- /losses -->"
REFERENCE = "torch eager"
COMPILE_ALL_BELOW = (
    4_000_000  # elements; in other tables what is compiled is measured for the first loss alone
)
Step = Callable[[], object]


def _log_cosh(z: Tensor, y: Tensor) -> Tensor:
    return (torch.sigmoid(z) - y).cosh().log().mean()


#: what one calls without lossproof; torch has no log-cosh, so the formula by hand
FUNCTIONALS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": F.binary_cross_entropy_with_logits,
    "mse": lambda z, y: F.mse_loss(torch.sigmoid(z), y),
    "mae": lambda z, y: F.l1_loss(torch.sigmoid(z), y),
    "huber": lambda z, y: F.huber_loss(torch.sigmoid(z), y),
    "logcosh": _log_cosh,
}


@dataclass(frozen=True)
class Row:
    """A contender's time for one loss, size and dtype."""

    size: str
    dtype: str
    loss: str
    contender: str
    milliseconds: float
    ratio: float
    extra: float | None  # peak extra memory in input tensors; None where it was not measured


def torch_step(f: Callable[[Tensor, Tensor], Tensor], z: Tensor, y: Tensor) -> Step:
    """Forward and backward, the gradient thrown away before."""

    def step() -> None:
        z.grad = None
        f(z, y).backward()

    return step


def keras_step(name: str, z: Tensor, y: Tensor) -> Step | None:
    """Keras's own loss, on the torch backend."""
    if importlib.util.find_spec("keras") is None:
        return None
    import keras

    losses = keras.losses
    known: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "bce": losses.BinaryCrossentropy(from_logits=True)
    }
    for id_, made in (("mse", losses.MeanSquaredError()), ("mae", losses.MeanAbsoluteError()),
                      ("huber", losses.Huber()), ("logcosh", losses.LogCosh())):  # fmt: skip
        known[id_] = lambda b, a, made=made: made(b, torch.sigmoid(a))
    f = known[name]
    return torch_step(lambda a, b: f(b, a), z, y)


def optax_step(name: str, z: Tensor, y: Tensor) -> Step | None:
    """optax under jit, value and gradient, on the same numbers."""
    if importlib.util.find_spec("optax") is None:
        return None
    import jax
    import jax.numpy as jnp
    import optax

    known = {
        "bce": optax.sigmoid_binary_cross_entropy,
        "mse": lambda a, b: optax.squared_error(jax.nn.sigmoid(a), b),
        "mae": lambda a, b: jnp.abs(jax.nn.sigmoid(a) - b),
        "huber": lambda a, b: optax.huber_loss(jax.nn.sigmoid(a), b),
        "logcosh": lambda a, b: optax.log_cosh(jax.nn.sigmoid(a), b),
    }
    f = known[name]
    both = jax.jit(jax.value_and_grad(lambda a, b: f(a, b).mean()))
    dtype = str(z.dtype).removeprefix("torch.")
    a, b = (jnp.asarray(t.detach().float().numpy(), dtype=dtype) for t in (z, y))
    return lambda: jax.block_until_ready(both(a, b))


def compiled(f: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """torch.compile, for the one shape that is measured."""
    return torch.compile(f, dynamic=False)


def ours(name: str, *, compile_it: bool, reduction: Any = "mean") -> Callable[[Tensor, Tensor], Tensor]:
    """ReconstructionLoss; compiled by its own option."""
    if compile_it:
        return ReconstructionLoss(name, reduction=reduction, check="never", compile=True)
    return ReconstructionLoss(name, reduction=reduction, check="never")


def contenders(name: str, z: Tensor, y: Tensor, *, with_compile: bool) -> dict[str, Step]:
    """Everything that computes this loss here, by title; torch's eager functional first."""
    steps: dict[str, Step | None] = {
        REFERENCE: torch_step(FUNCTIONALS[name], z, y),
        "lossproof, mean": torch_step(ours(name, compile_it=False), z, y),
        "lossproof, nats per image": torch_step(
            ours(name, compile_it=False, reduction="nats_per_image"), z, y
        ),
        "Keras (torch backend)": keras_step(name, z, y),
        "optax under jit": optax_step(name, z, y),
    }
    if with_compile:
        steps["torch compiled"] = torch_step(compiled(FUNCTIONALS[name]), z, y)
        steps["lossproof compiled"] = torch_step(ours(name, compile_it=True), z, y)
    return {title: step for title, step in steps.items() if step is not None}


def take_turns(steps: dict[str, Step], rounds: int, warm: int = 2) -> dict[str, list[float]]:
    """Seconds of every step in every round."""
    for step in steps.values():
        for _ in range(warm):
            step()
    seconds: dict[str, list[float]] = {title: [] for title in steps}
    order, shuffled = list(steps), random.Random(0)
    for _ in range(rounds):
        shuffled.shuffle(order)  # what ran just before leaves its memory and caches behind
        for title in order:
            start = time.perf_counter()
            steps[title]()
            seconds[title].append(time.perf_counter() - start)
    return seconds


def extra_memory(step: Step, z: Tensor) -> float:
    """Peak of what a step allocates beyond what lived before it, in units of z; from torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    z.grad = None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        step()
    now = peak = 0
    for event in run.profiler.kineto_results.events():  # the public tables have sums, no course in time
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    z.grad = None
    return peak / (z.numel() * z.element_size())


def bound(z: Tensor, y: Tensor, rounds: int) -> float:
    """Seconds to read logits and target and write a gradient, at the measured rate of a copy."""
    a, b = torch.empty_like(z), z.detach()
    seconds = []
    for _ in range(max(rounds, 5)):
        start = time.perf_counter()
        a.copy_(b)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 3 / 2  # a copy moves two tensors, a loss three


def measure(size: str, dtype: str, losses: Sequence[str], rounds: int, *, with_compile: bool) -> list[Row]:
    """All rows of a size and dtype."""
    shape = tuple(int(n) for n in size.split("x"))
    generator = torch.Generator().manual_seed(0)
    to = getattr(torch, dtype)
    z = (2 * torch.randn(shape, generator=generator)).to(to).requires_grad_()
    y = torch.rand(shape, generator=generator).to(to)
    rows = []
    for name in losses:
        everywhere = (
            dtype == "float32" and z.numel() < COMPILE_ALL_BELOW
        )  # compiling takes most of a run's time
        steps = contenders(name, z, y, with_compile=with_compile and (everywhere or name == losses[0]))
        seconds = take_turns(steps, rounds)
        for title, step in steps.items():
            ratios = [a / b for a, b in zip(seconds[REFERENCE], seconds[title], strict=True)]
            # the profiler sees torch's allocations alone
            extra = None if title.startswith("optax") else extra_memory(step, z)
            rows.append(
                Row(
                    size,
                    dtype,
                    name,
                    title,
                    1e3 * statistics.median(seconds[title]),
                    statistics.median(ratios),
                    extra,
                )
            )
        least = bound(z, y, rounds)
        reference = statistics.median(seconds[REFERENCE])
        rows.append(Row(size, dtype, name, "memory bandwidth bound", 1e3 * least, reference / least, None))
        torch.compiler.reset()
        for row in rows:
            if row.loss == name:
                print(f"{size:14} {dtype:9} {name:8} {row.contender:26} {_cell(row)}", flush=True)
    return rows


def section(rows: Sequence[Row], threads: int, rounds: dict[str, int]) -> str:
    """The text between the markers."""
    titles = list(dict.fromkeys(row.contender for row in rows))
    parts = [START, "## Losses", "", _INTRODUCTION.format(machine=machine(), threads=threads,
             rounds=", ".join(f"{n} at {size}" for size, n in rounds.items()), every=f"{COMPILE_ALL_BELOW:,}")]  # fmt: skip
    for size, dtype in dict.fromkeys((row.size, row.dtype) for row in rows):
        here = {(r.loss, r.contender): r for r in rows if (r.size, r.dtype) == (size, dtype)}
        losses = list(dict.fromkeys(loss for loss, _ in here))
        parts += [
            "",
            f"### {size}, {dtype}",
            "",
            "| | " + " | ".join(losses) + " |",
            "|---|" + "---:|" * len(losses),
        ]
        for title in titles:
            cells = [_cell(here.get((loss, title))) for loss in losses]
            if any(cells):
                parts.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join([*parts, "", *goals(rows), END, ""])


_INTRODUCTION = """Written by `benchmarks/losses.py` (`make bench-losses`). Forward and backward of one loss of logits,
mean over elements; milliseconds (median), and in brackets how many times faster than torch's own eager functional
(median over rounds of
the ratio within a round), then the peak of extra memory in input tensors (the logits' gradient is 1 of them; torch's
profiler, allocations of torch only). Rounds: {rounds}. torch has no log-cosh: there the formula by hand stands in.
The bound is the time to read logits and target and write the gradient at the rate of `Tensor.copy_`; a copy's own
tensors stay in the cache where they fit, so at small sizes it is the cache's rate. What is compiled is measured for
every loss in float32 below {every} elements, elsewhere for the first. Beyond 131,072 elements the eager path works in
pieces: its peak is the gradient and the temporaries of one piece; below, a whole tensor is one piece.

Machine: {machine}; torch has {threads} of its threads, JAX takes what it finds."""


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    extra = "" if row.extra is None else f", {row.extra:.1f}"
    return f"{row.milliseconds:.3g} ({row.ratio:.2f}x{extra})"


def goals(rows: Sequence[Row]) -> list[str]:
    """The goals on a CPU, each with what was measured."""
    at = {(r.size, r.dtype, r.loss, r.contender): r for r in rows}
    lines = ["### Goals on a CPU, float32", "", "| goal | measured | met |", "|---|---|---|"]

    def line(goal: str, text: str, met: bool) -> None:
        lines.append(f"| {goal} | {text} | {'yes' if met else 'no'} |")

    key = ("4096x784", "float32", "bce")
    eager, built = at.get((*key, "lossproof, mean")), at.get((*key, "lossproof compiled"))
    if eager:
        line(
            "bce eager at 4096x784 at least 1.25 times as fast as torch eager",
            f"{eager.ratio:.2f}",
            eager.ratio >= 1.25,
        )
        if eager.extra is not None:
            line(
                "its peak extra memory at most one input tensor (the gradient), and 5 % for a piece",
                f"{eager.extra:.2f}",
                eager.extra <= 1.05,
            )
    if built:
        line(
            "bce compiled at 4096x784 at least 1.7 times as fast as torch eager",
            f"{built.ratio:.2f}",
            built.ratio >= 1.7,
        )
        peers = [
            r
            for r in rows
            if (r.size, r.dtype, r.loss) == key and not r.contender.startswith(("lossproof", "memory"))
        ]
        best = max(peers, key=lambda r: r.ratio)
        line(
            "and within 1.1 times the best peer",
            f"{best.ratio / built.ratio:.2f} ({best.contender})",
            best.ratio / built.ratio <= 1.1,
        )
    small = [
        r
        for r in rows
        if (r.size, r.dtype, r.contender) == ("128x784", "float32", "lossproof, mean") and r.loss != "logcosh"
    ]
    if small:
        text = ", ".join(f"{r.loss} {r.ratio:.2f}" for r in small)
        line("eager at 128x784 never slower than torch eager", text, all(r.ratio >= 1 for r in small))
    return lines


def machine() -> str:
    """The processor and the versions, in words."""
    name = pages.machine()["cpu"]
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return (
        f"{name}, {os.cpu_count()} cores{load}, torch {torch.__version__}, Python {platform.python_version()}"
    )


def write_section(text: str, path: Path) -> None:
    """Put the section between its markers, whatever else is in the file; make the file if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pages.replace_section(START, END, text, path)


def rounds_for(size: str, rounds: int | None) -> int:
    """Many short rounds, few long ones."""
    elements = 1
    for n in size.split("x"):
        elements *= int(n)
    return rounds or max(7, min(200, 40_000_000 // elements))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--losses", default=",".join(LOSSES))
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=None, help="the same for every size")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-compile", action="store_true", help="leave out what torch.compile makes")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    rows: list[Row] = []
    used = {size: rounds_for(size, given.rounds) for size in given.sizes.split(",")}
    for size, n in used.items():
        for dtype in given.dtypes.split(","):
            rows += measure(size, dtype, given.losses.split(","), n, with_compile=not given.no_compile)
    write_section(section(rows, given.threads, used), given.out)
    print(f"losses: wrote {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
