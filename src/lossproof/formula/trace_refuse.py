"""Refusals of the tracer: what was expected, what came, on which line of the user's function, what to do."""

import contextlib
import linecache
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from lossproof.formula.errors import LossproofError

#: the user function in work
_SUBJECT: ContextVar[str] = ContextVar("lossproof_trace_subject", default="trace")
_LIBRARIES = {"numpy", "scipy", "torch", "sympy", "functools"}
_BORDER = "call_user"


class TraceAttributeError(LossproofError, AttributeError):
    """A missing attribute of a traced value: also an AttributeError, so that ``hasattr`` answers False."""


@contextlib.contextmanager
def subject(name: str) -> Iterator[None]:
    """Name the function that refusals speak of."""
    token = _SUBJECT.set(name)
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def call_user(function: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Call a user's function; this frame marks where the user's own lines begin."""
    return function(*args, **kwargs)  # type: ignore[operator]


def _place() -> str:
    """The innermost line outside the libraries, where a user's function is being run at all."""
    frame, inner = sys._getframe(1), None
    while frame.f_back is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module == __name__ and frame.f_code.co_name == _BORDER:
            return "" if inner is None else line_of(inner.f_code.co_filename, inner.f_lineno)
        ours = module.startswith("lossproof.formula.trace") or module.split(".", 1)[0] in _LIBRARIES
        if inner is None and not ours:
            inner = frame
        frame = frame.f_back
    return ""


def line_of(filename: str, number: int) -> str:
    """Say which line of the user's code is meant, with its text where it can be read."""
    text = linecache.getline(filename, number).strip()
    quoted = f": {text}" if text else ""
    return f" at line {number} of {Path(filename).name}{quoted}"


def refuse(
    expected: str,
    got: str,
    advice: str = "",
    error: type[LossproofError] = LossproofError,
    place: str | None = None,
) -> LossproofError:
    """Build the error, with the line of the user's function that is being run."""
    where = _place() if place is None else place
    tail = f" -- {advice}" if where else f". {advice}"
    return error(f"{_SUBJECT.get()}: expected {expected}, got {got}{where}{tail if advice else ''}")
