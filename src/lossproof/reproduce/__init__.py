"""Published numbers, reproduced: six experiments, each with what was printed, what came out here and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.reproduce.bench import Bench, prepare
    from lossproof.reproduce.experiments import EXPERIMENTS
    from lossproof.reproduce.reproducing import reproduce

__all__ = ["EXPERIMENTS", "Bench", "prepare", "reproduce"]

_ROOMS = {"Bench": "bench", "prepare": "bench", "EXPERIMENTS": "experiments", "reproduce": "reproducing"}


def __getattr__(name: str) -> Any:
    # torch is imported when an experiment is asked for, not before
    if name in _ROOMS:
        from importlib import import_module

        return getattr(import_module(f"lossproof.reproduce.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
