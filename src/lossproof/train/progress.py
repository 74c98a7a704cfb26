"""One live table, a row a member, with its excess beside the numbers it has to be read with."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lossproof.train.member import Member

if TYPE_CHECKING:
    from lossproof.train.measure import Baseline


def standing(member: Member, baselines: dict[str, Baseline]) -> str:
    """Where a member stands on the test images: "excess 16.6 (floor 45.5 | loss 62.1 | mean image 206)"."""
    if member.event is not None:
        return str(member.event["message"])
    if not member.rows:
        return "waiting"
    now = {row.measure: row.value for row in member.rows if row.epoch == member.epoch and row.split == "test"}
    rate = f" + rate {number(now['rate'])}" if member.model.variational else ""
    if member.loss is None:
        return f"loss {number(now['loss'])}{rate}"
    parts = [
        f"floor {number(now['floor'])}",
        f"loss {number(now['loss'])}",
        f"mean image {number(baselines[member.loss.label].mean_image)}",
    ]
    return f"excess {number(now['excess'])}{rate} ({' | '.join(parts)})"


def number(value: float) -> str:
    """Three figures, as in a table.

    >>> number(16.62), number(206.4), number(0.01234)
    ('16.6', '206', '0.0123')
    """
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


class Progress:
    """The live display on a terminal, or nothing at all. A context manager."""

    def __init__(
        self, members: Sequence[Member], epochs: int, baselines: dict[str, Baseline], *, shown: bool | None
    ) -> None:
        self.members, self.epochs, self.baselines = members, epochs, baselines
        self.console = Console(stderr=True)
        shown = self.console.is_terminal if shown is None else shown
        # drawn by hand after each member, so that no thread of rich's takes a core from the training
        self.live = Live(console=self.console, auto_refresh=False) if shown else None
        self.drawn = 0.0

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.update(self.table(), refresh=True)
            self.live.stop()

    def update(self) -> None:
        """Draw again, at most five times a second."""
        if self.live and time.monotonic() - self.drawn > 0.2:
            self.live.update(self.table(), refresh=True)
            self.drawn = time.monotonic()

    def notify(self, message: str) -> None:
        """A line above the table, or on standard error where no table is drawn."""
        if self.live:
            self.live.console.print(Text(message))
        else:
            print(message, file=sys.stderr, flush=True)

    def table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for head in ("member", "epoch", "test images, nats per image"):
            table.add_column(head)
        for member in self.members:
            text = standing(member, self.baselines)
            # Text: a label such as "[0, 1]" must not be read as markup
            table.add_row(Text(member.name), f"{max(member.epoch, 0)}/{self.epochs}", Text(text))
        return table
