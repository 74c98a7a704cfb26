"""Workers that are processes of this machine. They write their members' checkpoints into the run directory."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lossproof.data.mapped import Mapped
from lossproof.formula.errors import LossproofError
from lossproof.train.engines.coordinator import Crew, Hand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lossproof.data import Images
    from lossproof.train.engines.order import Order
    from lossproof.train.engines.trainer import Entry, Message

PROGRAM = ("-m", "lossproof.train.engines.program")
TAIL = 500  # characters of what a lost worker wrote last


class Processes(Crew):
    """Processes on this machine; pixels are shared through memory-mapped files."""

    def __init__(
        self,
        order: Order,
        images: Images,
        checkpoints: Path,
        *,
        workers: int,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.workers = workers
        self.command = [sys.executable, *program]
        self.threads = order.threads
        self.said: queue.Queue[tuple[Process, Message]] = queue.Queue()
        self.hired = 0
        self.folder = tempfile.TemporaryDirectory(prefix="lossproof-")
        folder = Path(self.folder.name)
        try:
            pixels = {
                name: placed(part, folder, name)
                for name, part in (("train", images.train), ("test", images.test))
            }
        except OSError as error:
            size = (images.train.nbytes + images.test.nbytes) / 2**20
            self.folder.cleanup()
            raise LossproofError(
                f"engine: expected room for {size:.0f} MiB of pixels in {folder.parent}, cannot write there "
                f"({error}). Set TMPDIR to a folder with more."
            ) from error
        told = {"order": order.to_json(), "checkpoints": str(checkpoints.resolve()), "pixels": pixels}
        (folder / "order.json").write_text(json.dumps(told), encoding="utf-8")

    def close(self) -> None:
        """Remove the pixels."""
        self.folder.cleanup()

    def hire(self) -> Process:
        """Start a process."""
        self.hired += 1
        return Process(self, f"worker {self.hired}")

    def hear(self, seconds: float) -> list[tuple[Hand, Message]]:
        """What has been said."""
        found: list[tuple[Hand, Message]] = []
        try:
            found.append(self.said.get(timeout=seconds))
            while True:
                found.append(self.said.get_nowait())
        except queue.Empty:
            return found


def placed(images: NDArray[np.float32] | Mapped, folder: Path, name: str) -> dict[str, Any] | None:
    """Put pixels where workers map them, or say where those are that lie on disk already."""
    if isinstance(images, Mapped):
        return images.to_json(folder, name)
    np.save(folder / f"{name}.npy", images)
    return None


class Process(Hand):
    """A process that reads orders, a JSON line each, from its standard input and writes messages to its output."""

    def __init__(self, crew: Processes, name: str) -> None:
        self.name, self.crew = name, crew
        self.left = False
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        # a process group of its own: Ctrl-C on the terminal is for the coordinator, which asks its workers to stop
        own: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {"creationflags": 0x200}
        self.process = subprocess.Popen(
            [*crew.command, crew.folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | {"OMP_NUM_THREADS": str(crew.threads)},
            **own,
        )
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self) -> None:
        """Pass on what the process says, in a thread of its own, until it says no more."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                break  # a line that was cut short by a kill
            self.crew.said.put((self, message))
        code = self.process.wait()
        if not self.left:
            self.crew.said.put((self, {"kind": "lost", "error": self.reason(code)}))

    def reason(self, code: int) -> str:
        """Why the process ended, in words, with what it wrote last."""
        try:
            why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        except ValueError:
            why = f"signal {-code}"
        self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - TAIL))
        wrote = self.errors.read().decode(errors="replace").strip()
        return f"{why}: {wrote.splitlines()[-1]}" if wrote else why

    def tell(self, what: dict[str, object]) -> None:
        """One order; where the process is gone, `listen` says so."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(json.dumps(what).encode() + b"\n")
            self.process.stdin.flush()

    def begin(self, roster: Sequence[Entry]) -> None:
        """Train a group."""
        self.tell({"do": "train", "roster": list(roster)})

    def stop(self) -> None:
        """Stop after the present epoch."""
        self.tell({"do": "stop"})

    def dismiss(self) -> None:
        """Kill it: what it writes is written whole or not at all."""
        self.left = True
        self.process.kill()
        self.process.wait()
        self.thread.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with suppress(OSError):  # what was to be written cannot be any more
                stream.close()
        self.errors.close()


__all__ = ["PROGRAM", "Process", "Processes"]
