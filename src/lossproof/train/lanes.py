"""Lanes: stacks that are trained at the same time, each on a thread of its own.

Operations let go of Python's lock while they compute. Two threads that each take half of the members through all
operations meet once an epoch; two threads inside every operation meet at its end, some sixty times a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from lossproof.train.loop import Course
    from lossproof.train.stack import Stack

T = TypeVar("T")
LANES = 8  # at most: between operations they wait for Python's lock


def at_once(tasks: Sequence[Callable[[], T]], lanes: int) -> list[T]:
    """The tasks' results, as many computed at once as there are lanes, each with its share of the caller's threads inside.

    All tasks are over when this returns; if some failed, the first one's error is raised.
    """
    lanes = min(lanes, len(tasks))
    if lanes < 2:
        return [task() for task in tasks]
    threads = torch.get_num_threads()
    share = max(1, threads // lanes)

    def lane(task: Callable[[], T]) -> T:
        torch.set_num_threads(share)  # of this thread, as OpenMP counts
        return task()

    try:
        with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
            running = [pool.submit(lane, task) for task in tasks]
            wait(running)
            return [done.result() for done in running]
    finally:
        torch.set_num_threads(threads)


def train_at_once(
    stacks: Sequence[Stack], epoch: int, course: Callable[[int], Course], seeds: Sequence[int], lanes: int
) -> set[str]:
    """Train stacks through an epoch in lanes; the names of the members trained. `course` keeps what it has drawn."""
    for seed in seeds if stacks else ():  # before several lanes ask
        course(seed)
    return set().union(*at_once([partial(stack.train, epoch, course) for stack in stacks], lanes))


def shares(kinds: Sequence[T], seeds: Sequence[int], lanes: int) -> list[tuple[list[T], list[int]]]:
    """Members by kind and seed dealt out to at most so many lanes: by seed, unless by kind the largest share is smaller.

    >>> shares(["bce", "mse"], [0, 1, 2], 2)
    [(['bce'], [0, 1, 2]), (['mse'], [0, 1, 2])]
    >>> shares(["bce", "mse", "mae"], [0, 1], 2)
    [(['bce', 'mse', 'mae'], [0]), (['bce', 'mse', 'mae'], [1])]
    """
    by_seed = -(-len(seeds) // lanes) * len(kinds)
    by_kind = -(-len(kinds) // lanes) * len(seeds)
    if by_seed <= by_kind:
        return [(list(kinds), list(seeds[i::lanes])) for i in range(min(lanes, len(seeds)))]
    return [(list(kinds[i::lanes]), list(seeds)) for i in range(min(lanes, len(kinds)))]


__all__ = ["LANES", "at_once", "shares", "train_at_once"]
