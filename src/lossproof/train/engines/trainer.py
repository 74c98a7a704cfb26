"""A worker's side, whatever it runs on: build the members of a group, train them, say how it goes.

What it says are dictionaries: "epoch" (for the display), "saved" (a checkpoint was written), and at the end of a
group "done", "stopped" or "failed".
"""

from __future__ import annotations

import json
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossproof.formula.errors import LossproofError
from lossproof.train.comparison import intra_op_threads, make_members, resolve_all
from lossproof.train.feed import pixels_of
from lossproof.train.loop import train
from lossproof.train.measure import Measurer
from lossproof.train.member import Member

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.train.engines.order import Order

Message = dict[str, Any]
#: of a member: its name, the label of its loss, its beta and its seed
Entry = Sequence[Any]
SHOWN_SECONDS = 1.0  # between two messages on the epochs of a member, which are for the display alone


class Trainer:
    """Everything that groups of one run share: the arms, the images on the device, and what is measured with."""

    def __init__(self, order: Order, images: Images) -> None:
        self.order, self.images = order, images
        with intra_op_threads(order.threads):
            self.arms = resolve_all(order.losses, images, order.settings)
            here = json.loads(json.dumps([arm.describe() for arm in self.arms]))
            if here != json.loads(json.dumps(order.described)):
                raise LossproofError(
                    "engine: expected the losses as the coordinator describes them, got other definitions on "
                    "this machine. Install the same version everywhere."
                )
            self.measurer = Measurer(images, self.arms, order.settings)
            with warnings.catch_warnings():
                # arrays out of shared memory cannot be written, and nothing here writes them
                warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
                self.pixels = pixels_of(images.train, order.settings.device)

    def members(self, roster: Sequence[Entry], folder: Path) -> list[Member]:
        """The members of a group, in the order of the roster, each at its checkpoint in the folder."""
        wanted = {(label, beta, seed): name for name, label, beta, seed in roster}
        settings = self.order.settings
        part = replace(settings, seeds=tuple(dict.fromkeys(seed for *_, seed in roster)))
        if settings.betas:
            part = replace(part, betas=tuple(dict.fromkeys(beta for _, _, beta, _ in roster)))
        labels = {label for _, label, _, _ in roster}
        made = {}
        for member in make_members([arm for arm in self.arms if arm.label in labels], self.images, part):
            # alone, a loss may get a shorter file name than among all losses
            if name := wanted.get((member.label, member.beta, member.seed)):
                member.name, member.checkpoint = name, folder / f"{name}.safetensors"
                made[name] = member
        members = [made[name] for name, *_ in roster]
        for member in members:
            member.load()
        return members

    def train(
        self,
        roster: Sequence[Entry],
        folder: Path,
        tell: Callable[[Message], None],
        stop: Callable[[], bool],
    ) -> None:
        """Train a group to the last epoch, or to the end of the present one when asked to stop; tell how it ended."""
        members: list[Member] = []
        began, used = time.perf_counter(), time.process_time()
        try:
            with intra_op_threads(self.order.threads):
                members = self.members(roster, folder)
                teller = Teller(tell, members)
                done = train(
                    members,
                    self.pixels,
                    self.order.settings,
                    measure=self.measurer,
                    checkpoint_seconds=self.order.checkpoint_seconds,
                    after_member=teller.after,
                    stop=stop,
                )
                for member in members:
                    teller.saved(member)
        except Exception as error:
            settings = self.order.settings
            alone = settings.stack == "off" and settings.lanes == 1
            others = 0 if alone or not members else len(members) - 1
            tell(failure(error, at_work(members, settings.seeds)) | {"beside": others})
            return
        tell(
            {
                "kind": "done" if done == self.order.settings.epochs else "stopped",
                "wall": time.perf_counter() - began,
                "cpu": time.process_time() - used,
            }
        )


class Teller:
    """Says what became of members: every checkpoint, and of the epochs as many as a display has use for."""

    def __init__(self, tell: Callable[[Message], None], members: Sequence[Member]) -> None:
        self.tell = tell
        self.known = {member.name: member.saved for member in members}
        self.told = dict.fromkeys(self.known, 0.0)

    def after(self, member: Member, epoch: int) -> None:
        """Called after each epoch of each member."""
        if time.monotonic() - self.told[member.name] >= SHOWN_SECONDS:
            rows = [list(row) for row in member.rows if row.epoch == epoch]
            self.tell(
                {"kind": "epoch", "member": member.name, "epoch": epoch, "rows": rows, "event": member.event}
            )
            self.told[member.name] = time.monotonic()
        self.saved(member)

    def saved(self, member: Member) -> None:
        """Tell of a checkpoint that was not told of."""
        if member.saved > self.known[member.name]:
            self.known[member.name] = member.saved
            self.tell({"kind": "saved", "member": member.name, "epoch": member.epoch})


def at_work(members: Sequence[Member], seeds: Sequence[int]) -> Member | None:
    """The member whose turn it is: the first one, seed after seed, of those that are furthest behind."""
    turns = sorted(members, key=lambda member: (member.epoch, seeds.index(member.seed)))
    return turns[0] if turns else None


def failure(error: BaseException, member: Member | None = None) -> Message:
    """An exception as a message: what was raised, in which member's turn, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    text = str(error) if isinstance(error, LossproofError) else f"{type(error).__name__}: {error} ({place})"
    return {
        "kind": "failed",
        "member": None if member is None else member.name,
        "epoch": None if member is None else member.epoch + 1,
        "beside": 0,  # that member, of which one may be meant as well
        "error": text,
    }


__all__ = ["Entry", "Message", "Teller", "Trainer", "at_work", "failure"]
