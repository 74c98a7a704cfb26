"""Losses of a stack's batch: each member's values and slopes by its own criterion, into their places in the stack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lossproof.torch.criterion import LossCriterion
from lossproof.train.member import Member


class Grader:
    """Values, slopes and own gradients of every member of a stack.

    Members under the same loss are graded one by one all the same: a kernel may choose between two ways of writing
    a formula by the largest logit it is given, and no member's numbers shall depend on another one's logits.
    `own` holds, of each member, where the gradients of its criterion's own parameters go.
    """

    def __init__(self, members: Sequence[Member], own: Sequence[Sequence[Tensor]]) -> None:
        self.criteria, self.own = [member.criterion for member in members], own

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
        Members that are not `moving` get slopes of 0.
        """
        count = raw.shape[1]
        for slot, (criterion, y, z, place) in enumerate(zip(self.criteria, target, raw, slopes, strict=True)):
            if slot not in moving:
                place.zero_()
                sums[slot] = 0.0
            elif type(criterion) is LossCriterion and criterion.kernel.both_logits is not None:
                values, made = criterion.kernel.both_logits(y, z, scale=1.0 / count, out=place)
                if made is not place:
                    place.copy_(made)
                torch.sum(values, (0, 1), out=sums[slot])
            else:
                graded = criterion.grade(y.view(count, *shape), z.view(count, -1, *shape[1:]))
                torch.div(graded.slopes.reshape(count, -1), count, out=place)
                torch.sum(graded.values, (0, 1, 2, 3), out=sums[slot])
                for gradient, slope in zip(self.own[slot], graded.own, strict=True):
                    torch.div(slope, count, out=gradient)

    def project(self, moving: Sequence[int]) -> None:
        """Own parameters back into their bounds, after a step of the optimiser."""
        for slot in moving:
            if self.own[slot]:
                self.criteria[slot].project()


__all__ = ["Grader"]
