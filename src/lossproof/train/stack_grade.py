"""Losses of a stack's batch: members under the same plain loss are graded together, others each by its own criterion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import prod

import torch
from torch import Tensor

from lossproof.torch.criterion import Criterion, LossCriterion
from lossproof.torch.kernel import PIECE
from lossproof.train.member import Member


class Grader:
    """Values, slopes and own gradients of every member of a stack.

    `own` holds, of each member, where the gradients of its criterion's own parameters go.
    """

    def __init__(self, members: Sequence[Member], own: Sequence[Sequence[Tensor]]) -> None:
        self.members, self.own = members, own
        self.together: list[range] = []
        self.alone: list[int] = []
        slots = range(len(members))
        for _, found in groupby(
            slots, lambda slot: (id(members[slot].arm), stateless(members[slot].criterion))
        ):
            group = list(found)
            if stateless(members[group[0]].criterion):
                self.together.append(range(group[0], group[-1] + 1))
            else:
                self.alone += group

    def grade(
        self,
        target: Tensor,
        raw: Tensor,
        slopes: Tensor,
        sums: Tensor,
        moving: Sequence[int],
        shape: tuple[int, ...],
    ) -> None:
        """Slopes of the mean over the batch into `slopes`, summed values of each member into `sums` (members,).

        `target` is (members, n, c * h * w), `raw` and `slopes` (members, n, outputs * c * h * w), `shape` is (c, h, w).
        Members that are not `moving` are left out where that saves something.
        """
        count = raw.shape[1]
        each = max(1, PIECE // prod(raw.shape[1:]))  # members whose temporaries stay in a CPU's cache
        for group in self.together:
            for first in range(group.start, group.stop, each):
                at = slice(first, min(first + each, group.stop))
                values = self.stateless(self.members[first].criterion, target[at], raw[at], slopes[at], shape)
                torch.sum(values.reshape(at.stop - at.start, -1), 1, out=sums[at])
        for slot in self.alone:
            if slot not in moving:
                slopes[slot].zero_()
                sums[slot] = 0.0
                continue
            criterion = self.members[slot].criterion
            graded = criterion.grade(target[slot].view(count, *shape), raw[slot].view(count, -1, *shape[1:]))
            torch.div(graded.slopes.reshape(count, -1), count, out=slopes[slot])
            sums[slot] = graded.values.sum()
            for place, slope in zip(self.own[slot], graded.own, strict=True):
                torch.div(slope, count, out=place)

    def stateless(
        self, criterion: Criterion, target: Tensor, raw: Tensor, slopes: Tensor, shape: tuple[int, ...]
    ) -> Tensor:
        """One call for several members: the values; the slopes go into their place."""
        count = raw.shape[1]
        if type(criterion) is LossCriterion and criterion.kernel.both_logits is not None:
            values, made = criterion.kernel.both_logits(target, raw, scale=1.0 / count, out=slopes)
            if made is not slopes:
                slopes.copy_(made)
            return values
        graded = criterion.grade(
            target.reshape(-1, *shape), raw.reshape(target.shape[0] * count, -1, *shape[1:])
        )
        torch.div(graded.slopes.view(slopes.shape), count, out=slopes)
        return graded.values

    def project(self, moving: Sequence[int]) -> None:
        """Own parameters back into their bounds, after a step of the optimiser."""
        for slot in self.alone:
            if slot in moving and self.own[slot]:
                self.members[slot].criterion.project()


def stateless(criterion: Criterion) -> bool:
    """Whether all criteria made by one arm are the same function at every time."""
    return (
        not criterion.parameters
        and not criterion.buffers
        and type(criterion).begin is Criterion.begin
        and type(criterion).project is Criterion.project
    )
