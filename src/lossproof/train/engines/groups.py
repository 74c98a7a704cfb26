"""How the members of a comparison are divided among tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.train.member import Member

FULL = 64  # members of one task at most: a full stack
ROUNDS = 3  # tasks for each worker at least, where there are members enough: the last ones fill the gaps


@dataclass
class Group:
    """What one task trains, and how often its worker was lost since its last new checkpoint."""

    names: list[str]
    losses: int = 0

    def __str__(self) -> str:
        more = f" and {len(self.names) - 3} more" if len(self.names) > 3 else ""
        return f"{', '.join(self.names[:3])}{more}"


def divide(members: Sequence[Member], workers: int, *, full: int = FULL, rounds: int = ROUNDS) -> list[Group]:
    """Groups of members, each a block of all its losses times all its seeds, that share batches and noise.

    Seeds are kept apart first, since the members of one seed share what is drawn for it; then losses. At most
    `full` members a group, and groups for `rounds` rounds of work where there are members enough.
    """
    seeds = list(dict.fromkeys(member.seed for member in members))
    kinds = list(dict.fromkeys((member.label, member.beta) for member in members))
    wanted = min(len(members), max(workers * rounds, -(-len(members) // full)))
    by_seed = parts(seeds, min(len(seeds), wanted))
    by_kind = parts(kinds, min(len(kinds), -(-wanted // len(by_seed))))
    names = {(member.label, member.beta, member.seed): member.name for member in members}
    return [
        Group([names[label, beta, seed] for label, beta in some for seed in chosen])
        for chosen in by_seed
        for some in by_kind
    ]


def parts(items: Sequence[Any], count: int) -> list[list[Any]]:
    """Contiguous parts whose lengths differ by at most one, the longer ones first.

    >>> parts("abcdefg", 3)
    [['a', 'b', 'c'], ['d', 'e'], ['f', 'g']]
    """
    size, longer = divmod(len(items), count)
    ends = [part * size + min(part, longer) for part in range(count + 1)]
    return [list(items[start:end]) for start, end in pairwise(ends)]


__all__ = ["FULL", "ROUNDS", "Group", "divide", "parts"]
