"""Where the members of a comparison are trained: in this process, in several of this machine, or on a Ray cluster.

An engine gets every member's checkpoint to the last epoch; table, pictures and report are made of checkpoints by the
process that was started, in the same way whichever engine trained them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossproof.formula.errors import LossproofError

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.train.arm import Arm
    from lossproof.train.engines.coordinator import Crew
    from lossproof.train.engines.order import Order
    from lossproof.train.member import Member
    from lossproof.train.settings import Settings

STOPPING = "Interrupted: every worker finishes its epoch and writes checkpoints. Ctrl-C again stops at once."


@dataclass(frozen=True)
class Engine:
    """An engine by name, the address of its cluster, and how many workers it may have (None: as many as it has)."""

    name: str
    address: str | None = None
    workers: int | None = None

    @property
    def here(self) -> bool:
        """Whether the members are trained in this very process."""
        return self.name == "local" and (self.workers or 1) == 1

    def threads(self, count: int) -> int:
        """What each worker gets of this machine's threads: its share of them, on a cluster as many."""
        return count if self.name == "ray" else max(1, count // (self.workers or 1))

    def describe(self) -> dict[str, Any]:
        """What config.json says of it; nothing where there is nothing to say."""
        return {} if self.here else {"engine": {"name": self.name, "workers": self.workers}}

    def sample(self, members: Sequence[Member]) -> Sequence[Member]:
        """The members that would be one stack: all of them, or those of a worker's group."""
        if self.here:
            return members
        from lossproof.train.engines.groups import divide

        names = divide(members, self.workers or 1, rounds=1)[0].names
        return [member for member in members if member.name in names]

    def notifier(self, notify: Callable[[str], None]) -> Callable[[str], None]:
        """What the first Ctrl-C is answered with."""
        return notify if self.here else lambda _: notify(STOPPING)


def engine_of(engine: str = "local", workers: int | None = None) -> Engine:
    """The engine that "local", "ray" or "ray:ADDRESS" stands for. Raises `LossproofError` for another, or no workers.

    >>> engine_of("ray:head:6379", workers=4)
    Engine(name='ray', address='head:6379', workers=4)
    """
    name, _, address = engine.partition(":")
    if name not in ("local", "ray") or (name == "local" and address) or (engine.endswith(":")):
        raise LossproofError(f"engine: expected local, ray or ray:ADDRESS, got {engine!r}.")
    if workers is not None and workers < 1:
        raise LossproofError(f"workers: expected at least 1, got {workers}.")
    return Engine(name, address or None, workers)


def train_elsewhere(
    engine: Engine,
    members: Sequence[Member],
    images: Images,
    losses: Sequence[object],
    arms: Sequence[Arm],
    settings: Settings,
    *,
    threads: int,
    checkpoints: Path,
    checkpoint_seconds: float,
    update: Callable[[], None],
    notify: Callable[[str], None],
    stop: Callable[[], bool],
) -> int:
    """Train all members with the engine's workers and return the last epoch that all of them finished.

    Afterwards each is at its last checkpoint.

    Raises `LossproofError` for losses that cannot be sent to a worker, for an exception in one (naming the member),
    and for a group whose workers are lost again and again.
    """
    from lossproof.train.engines.coordinator import Coordinator
    from lossproof.train.engines.groups import ROUNDS, divide
    from lossproof.train.engines.order import make_order

    order = make_order(images, losses, arms, settings, threads=threads, checkpoint_seconds=checkpoint_seconds)
    if all(member.epoch >= settings.epochs for member in members):
        return settings.epochs
    with crew_of(engine, order, images, checkpoints) as crew:
        # members that are trained side by side gain from being many
        groups = divide(members, crew.workers, rounds=1 if settings.stack == "on" else ROUNDS)
        Coordinator(
            crew, members, settings.epochs, groups=groups, update=update, notify=notify, stop=stop
        ).run()
    for member in members:
        if not member.load():
            member.epoch, member.rows = -1, []  # no checkpoint: what was shown of it is lost
    return min(member.epoch for member in members)


def crew_of(engine: Engine, order: Order, images: Images, checkpoints: Path) -> Crew:
    """The engine's workers, none hired yet."""
    if engine.name == "ray":
        from lossproof.train.engines.cluster import Actors

        return Actors(order, images, checkpoints, address=engine.address, workers=engine.workers)
    from lossproof.train.engines.local import Processes

    return Processes(order, images, checkpoints, workers=engine.workers or 1)


__all__ = ["Engine", "crew_of", "engine_of", "train_elsewhere"]
