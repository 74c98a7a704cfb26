"""The members of a pilot: trained side by side from the same weights, batches and noise."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from lossproof.advise.candidates import Candidate
from lossproof.train.comparison import make_members, resolve_all
from lossproof.train.lanes import train_at_once
from lossproof.train.loop import draw, train_epoch
from lossproof.train.settings import Settings, settle
from lossproof.train.stack_choose import make_stacks

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.train.member import Member
    from lossproof.train.stack import Stack

LARGE = 400  # values of an image from which on the hidden layer is wider
HIDDEN = (128, 200)  # its width below and from there: a pilot is to see many epochs
LR = 3e-3  # of Adam: 300 steps on digits get as far as 700 at 1e-3, and no loss diverged there (MAE on MNIST did worse)
GRADED = 3  # times a criterion is timed on one batch, the fastest counts


class Arena:
    """Candidates in training: members by label, one a seed; ``lap`` trains all that are left for an epoch.

    ``lanes``: threads that each train a part of them.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        images: Images,
        model: str,
        seeds: Sequence[int],
        *,
        lanes: int = 1,
    ) -> None:
        made_for = settle(
            images, model=model, latent=None, hidden=(HIDDEN[images.train[0].size >= LARGE],), epochs=1,
            batch_size=None, lr=LR, beta=1.0, seeds=seeds, device="cpu", threads=1,
        )  # fmt: skip
        self.settings: Settings = replace(made_for, stack="on", lanes=lanes)
        made = make_members(resolve_all([c.loss for c in candidates], images), images, self.settings)
        self.members: dict[str, list[Member]] = {}
        for member in made:
            self.members.setdefault(member.label, []).append(member)
        if model == "vae":  # the loss over T plus the rate is, times T, the loss plus T times the rate
            for candidate in candidates:
                for member in self.members[candidate.label]:
                    member.beta = candidate.weight if math.isfinite(candidate.weight) else 1.0
        self.train = torch.from_numpy(np.ascontiguousarray(images.train))
        self.alive: list[str] = list(self.members)
        self.epoch = 0
        self._stacks: list[Stack] = []
        self._stacked: list[str] = []

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(len(self.train) / self.settings.batch_size)

    def lap(self) -> None:
        """Train what is left through the next epoch."""
        self._stack()
        self.epoch += 1
        course = cache(partial(draw, self.train, self.settings, self.epoch))
        trained = train_at_once(self._stacks, self.epoch, course, self.settings.seeds, self.settings.lanes)
        for member in self._left():
            if member.event is None:
                if member.name not in trained:
                    train_epoch(member, self.epoch, course(member.seed))
                member.epoch = self.epoch

    def _left(self) -> list[Member]:
        return [member for label in self.alive for member in self.members[label]]

    def _stack(self) -> None:
        if self._stacked == self.alive:
            return
        for stack in self._stacks:
            stack.release()
        self._stacks = make_stacks([member for member in self._left() if member.event is None], self.settings)
        self._stacked = list(self.alive)

    def graded(self, label: str) -> float:
        """Seconds that the loss and its slope take for one batch."""
        member = self.members[label][0]
        target = self.train[: self.settings.batch_size]
        with torch.no_grad():
            raw, _, _ = member.model(target, None)
        best = math.inf
        for _ in range(GRADED):
            started = time.perf_counter()
            member.criterion.grade(target, raw)
            best = min(best, time.perf_counter() - started)
        return best

    def step_seconds(self, label: str) -> float:
        """Seconds of a training step of one member, its share of those it was trained beside."""
        mine = self.members[label]
        steps = self.steps * sum(max(0, member.epoch) for member in mine)
        return sum(member.seconds for member in mine) / max(1, steps)


__all__ = ["Arena"]
