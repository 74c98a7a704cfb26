"""Losses of a stack's batch: each member's values and slopes by its own criterion, into their places in the stack."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from lossproof.torch.criterion import LossCriterion
from lossproof.torch.kernel import PIECE
from lossproof.train.member import Member

LANES = 64  # numbers of a member in multiples of which no vector instruction reaches into the next member's
STEEP = 12.0  # below this largest logit the generated CPU kernels write p (1 - p) in one way, else in another


class Grader:
    """Values, slopes and own gradients of every member of a stack.

    Members under the same plain loss are graded in one call where that cannot make one member's numbers depend on
    another one's: each would take the same kernel by itself, bit for bit. All others are graded one by one.
    `own` holds, of each member, where the gradients of its criterion's own parameters go.
    """

    def __init__(self, members: Sequence[Member], own: Sequence[Sequence[Tensor]]) -> None:
        self.criteria, self.own = [member.criterion for member in members], own
        self.plain: list[tuple[LossCriterion, range]] = []
        self.others: list[int] = []
        for _, group in groupby(range(len(members)), lambda slot: id(members[slot].arm)):
            slots = list(group)
            criterion = self.criteria[slots[0]]
            if type(criterion) is LossCriterion and criterion.kernel.both_logits is not None:
                self.plain.append((criterion, range(slots[0], slots[-1] + 1)))
            else:
                self.others += slots

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
        count, numbers = raw.shape[1], raw[0].numel()
        most = max(1, PIECE // numbers) if numbers % LANES == 0 else 1
        for criterion, group in self.plain:
            for first in range(group.start, group.stop, most):
                last = min(first + most, group.stop)
                alike = last - first == 1 or not raw.is_cpu or bool(raw[first:last].amax() < STEEP)
                for a in range(first, last, last - first if alike else 1):
                    at = slice(a, last if alike else a + 1)
                    values, made = criterion.kernel.both_logits(
                        target[at], raw[at], scale=1.0 / count, out=slopes[at]
                    )
                    if made.data_ptr() != slopes[at].data_ptr():
                        slopes[at].copy_(made)
                    torch.sum(values, (1, 2), out=sums[at])
        for slot in self.others:
            if slot not in moving:
                slopes[slot].zero_()
                sums[slot] = 0.0
                continue
            graded = self.criteria[slot].grade(
                target[slot].view(count, *shape), raw[slot].view(count, -1, *shape[1:])
            )
            torch.div(graded.slopes.reshape(count, -1), count, out=slopes[slot])
            sums[slot] = graded.values.sum()
            for place, slope in zip(self.own[slot], graded.own, strict=True):
                torch.div(slope, count, out=place)

    def project(self, moving: Sequence[int]) -> None:
        """Own parameters back into their bounds, after a step of the optimiser."""
        for slot in moving:
            if self.own[slot]:
                self.criteria[slot].project()


__all__ = ["Grader"]
