"""Ctrl-C once: finish the round and write what there is. Ctrl-C twice: stop now."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class Interrupt:
    """While entered, the first SIGINT sets `requested`; the second raises `KeyboardInterrupt` as usual.

    Handlers can only be set in the main thread; elsewhere this does nothing, and SIGINT keeps its meaning.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.requested = False
        self.notify = notify
        self._previous: object = None
        self._installed = False

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            # None: a handler that was not set from Python, which Python cannot put back
            signal.signal(signal.SIGINT, signal.SIG_DFL if self._previous is None else self._previous)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # the signal may arrive inside a write to the same stream, which cannot be entered twice
        with contextlib.suppress(RuntimeError):
            self.notify(
                "Interrupted: finishing this epoch, then the partial report. Ctrl-C again stops at once."
            )
