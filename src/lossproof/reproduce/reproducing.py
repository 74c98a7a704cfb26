"""Run one experiment and judge it."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime

from lossproof.formula.errors import LossproofError, nearest
from lossproof.reproduce.bench import Bench
from lossproof.reproduce.experiments import EXPERIMENTS
from lossproof.reproduce.record import Outcome


def reproduce(name: str, bench: Bench) -> Outcome:
    """Run an experiment on a bench's images and return its figures; seconds include the closed forms.

    Raises `LossproofError` for an unknown name, and for a net whose values stop being finite.
    """
    if name not in EXPERIMENTS:
        raise LossproofError(
            f"reproduce: expected one of {', '.join(EXPERIMENTS)}, got {name!r}; {nearest(name, EXPERIMENTS)}"
        )
    experiment = EXPERIMENTS[name]
    clock, processor = time.perf_counter(), time.process_time()
    figures = experiment.run(bench)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - processor
    return Outcome(
        experiment=name,
        data=bench.name,
        published=bench.published,
        quick=bench.quick,
        setting=experiment.setting,
        figures={figure.name: float(figures[figure.name]) for figure in experiment.figures},
        seconds=round(seconds, 1),
        cpu_seconds=round(cpu_seconds, 1),
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, torch {torch_version()}",
    )


def torch_version() -> str:
    import torch

    return str(torch.__version__)
