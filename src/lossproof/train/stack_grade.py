"""Losses of a stack's batch: each member's values and slopes by its own criterion, into their places in the stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from lossproof.torch.criterion import LossCriterion
from lossproof.torch.kernel import PIECE
from lossproof.train.member import Member
from lossproof.train.sure import EXTREME, finite

LANES = 64  # numbers of a member in multiples of which no vector instruction reaches into the next member's
STEEP = 12.0  # below this largest logit the generated CPU kernels write p (1 - p) in one way, else in another


class Plain(NamedTuple):
    """Members next to each other under the same plain loss; `sure` where it is known to be finite below EXTREME."""

    criterion: LossCriterion
    slots: range
    sure: bool


class Grader:
    """Values, slopes and own gradients of every member of a stack.

    Members under the same plain loss are graded in one call where that cannot make one member's numbers depend on
    another one's: each would take the same kernel by itself, bit for bit. All others are graded one by one.
    `own` holds, of each member, where the gradients of its criterion's own parameters go.

    Training needs a value for nothing but to see whether it is finite. Where the loss is known to be, and a look at
    the logits costs no waiting for the device, the value is left out.
    """

    def __init__(self, members: Sequence[Member], own: Sequence[Sequence[Tensor]]) -> None:
        self.criteria, self.own = [member.criterion for member in members], own
        self.plain: list[Plain] = []
        self.others: list[int] = []
        for _, group in groupby(range(len(members)), lambda slot: id(members[slot].arm)):
            slots = list(group)
            criterion = self.criteria[slots[0]]
            if type(criterion) is LossCriterion and criterion.kernel.both_logits is not None:
                sure = finite(criterion.kernel.loss)
                self.plain.append(Plain(criterion, range(slots[0], slots[-1] + 1), sure))
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
        A value that is known to be finite counts as 0. Members that are not `moving` are left out where that saves
        something.
        """
        count = raw.shape[1]
        sums.zero_()
        for criterion, at, valued in self.calls(raw):
            values, made = criterion.kernel.both_logits(
                target[at], raw[at], scale=1.0 / count, out=slopes[at], valued=valued
            )
            if made.data_ptr() != slopes[at].data_ptr():
                slopes[at].copy_(made)
            if valued:
                torch.sum(values, (1, 2), out=sums[at])
        for slot in self.others:
            if slot not in moving:
                slopes[slot].zero_()
                continue
            graded = self.criteria[slot].grade(
                target[slot].view(count, *shape), raw[slot].view(count, -1, *shape[1:])
            )
            torch.div(graded.slopes.reshape(count, -1), count, out=slopes[slot])
            sums[slot] = graded.values.sum()
            for place, slope in zip(self.own[slot], graded.own, strict=True):
                torch.div(slope, count, out=place)

    def calls(self, raw: Tensor) -> Iterator[tuple[LossCriterion, slice, bool]]:
        """The calls that grade the members under plain losses: the loss, which of them, and whether it is valued."""
        numbers = raw[0].numel()
        most = max(1, PIECE // numbers) if numbers % LANES == 0 else 1
        if not raw.is_cpu:  # a look would cost a wait, and kernels there do not look either
            yield from ((c, slice(s.start, s.stop), True) for c, s, _ in self.plain)
            return
        if not self.plain:
            return
        highest, lowest = raw.amax((1, 2)).tolist(), raw.amin((1, 2)).tolist()
        for criterion, slots, sure in self.plain:
            valued = [not (sure and lowest[s] > -EXTREME and highest[s] < EXTREME) for s in slots]
            flat = [highest[s] < STEEP for s in slots]
            for first in range(0, len(slots), most):
                part = slice(first, first + most)
                alike = all(flat[part]) and len(set(valued[part])) == 1
                size = len(valued[part]) if alike else 1
                for a in range(first, first + len(valued[part]), size):
                    yield criterion, slice(slots[a], slots[a] + size), valued[a]

    def project(self, moving: Sequence[int]) -> None:
        """Own parameters back into their bounds, after a step of the optimiser."""
        for slot in moving:
            if self.own[slot]:
                self.criteria[slot].project()


__all__ = ["Grader"]
