"""The prover's own process: reads one request, writes one JSON message a line as its findings come.

Messages: {"head": the problem}, {"begin": section, "seconds": its share}, {"line": key, ...}, {"end": section},
{"failed": section, "reason": why}, {"passed": section, "reason":
why it was not begun}, {"error": message of a LossproofError}, {"broken": any other error}, {"done": true}.
"""

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from types import FrameType
from typing import Any

Message = dict[str, Any]
SHARE = 0.6  # of the time that is left, for one section
_GRACE = 0.3  # seconds for a section to answer "unknown" itself


class _SectionLate(BaseException):
    """A section overran its share inside a call that looks at no clock; no ``except Exception`` stops it."""


def messages(request: Mapping[str, Any], *, alarm: bool = False) -> Iterator[Message]:
    """Read the loss, run the sections within so many seconds of this thread's work.

    ``alarm``, where this process's signals are ours: seconds on the wall, and a section that overruns is interrupted.
    """
    from lossproof.formula import LossproofError
    from lossproof.prove.regions import parameter_cases

    now = time.monotonic if alarm else time.thread_time
    budget, began = float(request["seconds"]), now()
    try:
        reading = _reading(request)
        problem = reading.problem
        # reads formula and ranges here: what is wrong with them is the user's error
        parameter_cases(problem)
    except LossproofError as error:
        yield {"error": str(error)}
        return
    except (Exception, SystemExit) as error:
        yield {"broken": _said(error)}
        return
    yield {"head": reading.request() | {"versions": versions()}}

    from lossproof.prove.cancelled import forgotten
    from lossproof.prove.clock import Clock
    from lossproof.prove.record import line_of, line_record
    from lossproof.prove.written import without_value

    known = {key: line_of(key, record) for key, record in request["known"].items()}
    try:
        with _interrupted_after(SHARE * budget, alarm):
            unvalued = without_value(problem) or forgotten(problem)
    except _SectionLate:
        unvalued = "out of time while its divisors, logarithms and roots were looked at"
    for section in request["sections"] if unvalued is None else ():
        left = budget - (now() - began)
        share = SHARE * left
        yield {"begin": section, "seconds": share}
        try:
            with _interrupted_after(share + _GRACE, alarm):
                clock = Clock(share, until=time.monotonic() + share if alarm else math.inf)
                last = time.monotonic()
                for line in import_module(section).lines(problem, dict(known), clock):
                    timed = replace(line, seconds=line.seconds or time.monotonic() - last)
                    known[line.key], last = timed, time.monotonic()
                    yield {"line": line.key, "record": line_record(timed, seconds=True)}
        except (Exception, _SectionLate) as error:
            yield {"failed": section, "reason": _reason(error)}
        else:
            yield {"end": section}
    if unvalued is not None:
        for section in request["sections"]:
            yield {"begin": section, "seconds": 0.0}
            yield {"passed": section, "reason": unvalued}
    yield {"done": True}


def _reading(request: Mapping[str, Any]) -> Any:
    from lossproof.prove.reading import Reading, read

    if "record" in request:
        return Reading.again(request)
    asked = {k: request[k] for k in ("decimal", "target", "prediction")}
    return read(request["spec"], request["params"], request["symbolic"], **asked)


@contextlib.contextmanager
def _interrupted_after(seconds: float, alarm: bool) -> Iterator[None]:
    if not alarm or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _SectionLate

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _reason(error: BaseException) -> str:
    """Why a section ended: a word that the parent turns into a sentence, or the error itself."""
    from lossproof.prove.clock import OutOfTime

    if isinstance(error, _SectionLate | OutOfTime):
        return "time"
    return "memory" if isinstance(error, MemoryError) else _said(error)


def _said(error: BaseException) -> str:
    from lossproof.formula import LossproofError

    if isinstance(error, LossproofError):
        return f"no answer: {error}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def versions() -> dict[str, str]:
    """Of what made a certificate."""
    from lossproof import __version__

    others = {name: importlib.metadata.version(name) for name in ("sympy", "python-flint")}
    return {"lossproof": __version__, **others, "python": platform.python_version()}


def serve(request: Mapping[str, Any]) -> None:
    """The child's whole life: limits, then messages on what was standard output; a module's prints go nowhere."""
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    limit(request["memory_mb"], request["seconds"])
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, and ends this process
    for message in messages(request, alarm=True):
        out.write(json.dumps(message, ensure_ascii=True) + "\n")
        out.flush()
    out.close()
    os._exit(0)  # no clean-up that could hang or fail


def limit(memory_mb: float, seconds: float) -> None:
    """Limit this process's memory, and its processor time in case nobody is left to end it."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        size = int(memory_mb * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        # twice: threads of a library may count together
        cpu = int(2 * seconds) + 5
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    serve(json.loads(sys.stdin.readline()))
