"""The caller's side of the prover's process: start it, take its messages until the limits, end it."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from lossproof.formula import LossproofError

Message = dict[str, Any]
#: the caller's search path goes along with the request: the prover is the same lossproof, and finds the user's module
_START = (
    "import sys, json; request = json.loads(sys.stdin.readline()); sys.path[:] = request['path']; "
    "from lossproof.prove.run import serve; serve(request)"
)
_OVERRUN = 1.0  # seconds past its share after which a section that looks at no clock is ended


class Ended(Exception):
    """The process ended, or was ended, before it was done: "time", "memory", or how."""


class Prover:
    """One process, as a context: ended when the block is left, whatever happens."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        if not sys.executable:
            raise LossproofError(
                "certify: expected a Python interpreter at sys.executable, got none. Give in_process=True."
            )
        path = [entry or os.getcwd() for entry in sys.path]
        text = json.dumps({**request, "path": path}).encode("ascii") + b"\n"
        # one seed for hashes: SymPy orders terms by them, and a certificate is to be the same text every time
        env = os.environ | {"PYTHONHASHSEED": "0"} | dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
        )  # fmt: skip
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=env,
            start_new_session=os.name == "posix",  # Ctrl-C reaches the caller alone; the group ends as one
        )
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        try:
            self._reader.start()
            with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # type: ignore[union-attr]
                pipe.write(text)
        except BaseException:
            self.end()
            raise

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:  # type: ignore[union-attr]
                self._queue.put(line)
        self._queue.put(None)

    def __enter__(self) -> "Prover":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def messages(self, deadline: float) -> Iterator[Message]:
        """Messages until {"done"}. Raises ``Ended`` at the deadline (of ``time.monotonic``), or if it died."""
        end = deadline
        while True:
            try:
                line = self._queue.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                raise Ended("time") from None
            if line is None or not line.endswith(b"\n"):
                raise Ended(self._how())
            message = json.loads(line)
            if "begin" in message:
                end = min(deadline, time.monotonic() + message["seconds"] + _OVERRUN)
            yield message
            if not message.keys().isdisjoint(("done", "error", "broken")):
                return

    def _how(self) -> str:
        """How the process ended, and the last thing it said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        code = self._process.returncode
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 4000))
        said = [
            row.strip() for row in self._errors.read().decode("utf-8", "replace").splitlines() if row.strip()
        ]
        last = said[-1][:200] if said else ""
        if "MemoryError" in last or "memory" in last.lower():
            return "memory"
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            return "time" if name == "SIGXCPU" else f"signal {name}"
        return last or f"exit status {code}"

    def end(self) -> None:
        """End the process and its children, and wait until they are gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        if self._reader.ident is not None:
            self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()
