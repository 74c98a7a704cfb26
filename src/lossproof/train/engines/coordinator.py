"""The coordinator of a sweep: hands out groups of members, hears what workers say, tries a lost group again.

A member's whole state, its rows of the table included, is in its checkpoint. So nothing is lost with a worker but
the epochs since its members' last checkpoints, and nothing can be counted twice: the table is made of checkpoints.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lossproof.formula.errors import LossproofError
from lossproof.train.engines.groups import Group, divide
from lossproof.train.member import Row

if TYPE_CHECKING:
    from lossproof.train.engines.trainer import Entry, Message
    from lossproof.train.member import Member

RETRIES = 2  # of a group whose worker was lost, without a new checkpoint in between
PATIENCE = 60.0  # seconds without any worker before it says what it is waiting for
HEARING = 0.1  # seconds of waiting for a message before looking whether a stop was asked for


class Hand(ABC):
    """One worker, as the coordinator sees it."""

    name: str

    @abstractmethod
    def begin(self, roster: Sequence[Entry]) -> None:
        """Train a group."""

    @abstractmethod
    def stop(self) -> None:
        """Stop after the present epoch, with checkpoints."""

    @abstractmethod
    def dismiss(self) -> None:
        """End at once; returns when it can write no more."""


class Crew(ABC):
    """Where workers come from. A context manager: what it holds is given back at the end."""

    workers: int  # at a time
    needs = "a process"  # each of them

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what it holds; all workers have been dismissed."""
        return

    @abstractmethod
    def hire(self) -> Hand:
        """Start a worker; it says "ready" when it can take a group."""

    @abstractmethod
    def hear(self, seconds: float) -> list[tuple[Hand, Message]]:
        """What workers said, waiting at most so long; a worker that is gone says "lost", with the reason, once."""

    def take(self, member: Member, message: Message) -> None:
        """Put a checkpoint that a worker wrote where the member's checkpoint is; nothing to do where it is the same."""
        return


@dataclass
class Account:
    """What became of the workers' time: seconds, and groups."""

    setups: list[float] = field(default_factory=list)  # of each worker, until it was ready: CPU
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)  # from then to its last group's end
    walls: list[float] = field(default_factory=list)  # of each group
    cpus: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # reasons


class Coordinator:
    """Gets the checkpoints of all members to the last epoch."""

    def __init__(
        self,
        crew: Crew,
        members: Sequence[Member],
        epochs: int,
        *,
        groups: Sequence[Group] | None = None,
        retries: int = RETRIES,
        update: Callable[[], None] = lambda: None,
        notify: Callable[[str], None] = lambda text: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.crew, self.epochs, self.retries = crew, epochs, retries
        self.members = {member.name: member for member in members}
        self.update, self.notify, self.stop = update, notify, stop
        self.account = Account()
        unfinished = [member for member in members if member.epoch < epochs]
        made = divide(members, crew.workers) if groups is None else groups
        names = {member.name for member in unfinished}
        self.waiting = deque(group for group in made if names & set(group.names))
        self.coming: set[Hand] = set()  # hired, not ready
        self.busy: dict[Hand, Group] = {}
        self.false_starts = 0  # in a row
        self.stopping = False

    def run(self) -> None:
        """Train until all groups are done, or until a stop was asked for and every worker has come to one."""
        since, said = time.monotonic(), False
        try:
            while self.busy or (self.waiting and not self.stopping):
                self.hire()
                for hand, message in self.crew.hear(HEARING):
                    self.handle(hand, message)
                if not (self.busy or said) and time.monotonic() - since >= PATIENCE:
                    self.notify(f"Still waiting for a first worker: is there room for {self.crew.needs}?")
                    said = True
                if self.stop() and not self.stopping:
                    self.stopping = True
                    for hand in self.busy:
                        hand.stop()
        finally:
            for hand in [*self.coming, *self.busy]:
                hand.dismiss()

    def hire(self) -> None:
        """As many workers as there are groups for."""
        while not self.stopping and len(self.coming) + len(self.busy) < self.crew.workers:
            if len(self.coming) >= len(self.waiting):
                break
            self.coming.add(self.crew.hire())

    def handle(self, hand: Hand, message: Message) -> None:
        """Act on one message."""
        if hand not in self.busy and hand not in self.coming:
            return  # what a worker that was let go had still to say
        kind = message["kind"]
        if kind == "lost":
            self.lose(hand, message["error"])
        elif kind == "failed":
            raise self.failed(message)
        elif kind == "ready":
            self.coming.discard(hand)
            self.false_starts = 0
            self.account.setups.append(message["cpu"])
            self.account.spans[hand.name] = (time.perf_counter(), time.perf_counter())
            self.give(hand)
        elif kind == "epoch":
            member = self.members[message["member"]]
            # for the display; the rows that count are read from the checkpoint
            member.epoch, member.rows = message["epoch"], [Row(*cells) for cells in message["rows"]]
            member.event = message["event"]
            self.update()
        elif kind == "saved":
            self.crew.take(self.members[message["member"]], message)
            self.busy[hand].losses = 0
        elif kind in ("done", "stopped"):
            self.account.spans[hand.name] = (self.account.spans[hand.name][0], time.perf_counter())
            self.account.walls.append(message["wall"])
            self.account.cpus.append(message["cpu"])
            group = self.busy.pop(hand)
            if kind == "stopped" and not self.stopping:
                self.waiting.append(group)
            self.give(hand)

    def give(self, hand: Hand) -> None:
        """The next group for a worker that is free, or its leave."""
        if self.stopping or not self.waiting:
            hand.dismiss()
            return
        group = self.waiting.popleft()
        self.busy[hand] = group
        hand.begin([entry(self.members[name]) for name in group.names])

    def lose(self, hand: Hand, reason: str) -> None:
        """A worker is gone: its group goes on elsewhere, unless that has been tried often enough."""
        hand.dismiss()
        self.account.lost.append(reason)
        if hand in self.coming:
            self.coming.discard(hand)
            self.false_starts += 1
            if self.false_starts > self.retries:
                raise LossproofError(
                    f"engine: expected a worker to start, {self.false_starts} were lost before they could "
                    f"({reason}). Run one with engine local, without workers, to see whether it works there."
                )
            return
        group = self.busy.pop(hand)
        group.losses += 1
        if group.losses > self.retries:
            raise LossproofError(
                f"engine: expected a worker to train {group}, {group.losses} were lost without a new checkpoint, "
                f"the last by: {reason}. Is there memory enough for its members? --resume goes on."
            )
        self.notify(
            f"{hand.name} was lost ({reason}): {group} go on from their checkpoints, "
            f"try {group.losses + 1} of {self.retries + 1}."
        )
        if not self.stopping:
            self.waiting.appendleft(group)

    def failed(self, message: Message) -> LossproofError:
        """The error of an exception in a worker, which another worker would raise again."""
        if message["member"] is None:
            return LossproofError(f"engine: expected a worker to start, it failed: {message['error']}")
        member, others = message["member"], message["beside"]
        near = f" (or one of {others} beside it)" if others else ""
        return LossproofError(
            f"engine: expected {member}{near} to be trained, its worker failed in epoch {message['epoch']}: "
            f"{message['error']}. The checkpoints of all members are kept: --resume goes on from them."
        )


def entry(member: Member) -> list[Any]:
    """A member as a worker has to know it."""
    return [member.name, member.label, member.beta, member.seed]


__all__ = ["RETRIES", "Account", "Coordinator", "Crew", "Hand", "entry"]
