"""``certify``: from what a user asks to a certificate, within limits of time and memory."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lossproof.formula import Interval, LossproofError, Unknown
from lossproof.prove.certificate import REQUIREMENTS, Certificate, requirement_line
from lossproof.prove.deadline import Late, limited
from lossproof.prove.problem import Line, Problem
from lossproof.prove.process import Ended, Prover
from lossproof.prove.reading import Reading, range_text, read, symbolic_of
from lossproof.prove.record import line_of, span_text
from lossproof.prove.run import messages
from lossproof.prove.sections import STATEMENTS, Section, choose

_LEAST_MB = 256  # SymPy alone takes 150


def certify(
    loss: object,
    /,
    *,
    symbolic: "bool | str | Sequence[str] | Mapping[str, object]" = False,
    decimal: bool = False,
    target: "str | Interval | tuple[float, float] | None" = None,
    prediction: "str | Interval | tuple[float, float] | None" = None,
    budget: float = 10.0,
    memory_mb: float = 2048,
    only: "str | Sequence[str] | None" = None,
    in_process: bool = False,
    **params: float,
) -> Certificate:
    """What holds of a loss for all targets and predictions in a domain: each line proved, certified, refuted or unknown.

    ``loss``: a catalogue id, "id(param=...)", a formula in y and p, "module:function", a function loss(y, p) of plain
    NumPy or torch code, or a ``Loss``. ``params`` are values; ``symbolic`` leaves parameters open (True: all that
    have no value here; names; or names with ranges, as in {"delta": "(0, inf)"}). Numbers with a point are read as
    the binary numbers they are, or as written if ``decimal``. ``target`` and ``prediction`` are ranges, [0, 1] by
    default. ``only``: the lines to make, such as ("minimum", "convex").

    The prover runs in a process of its own, ended after ``budget`` seconds (wall clock) or at ``memory_mb`` megabytes;
    lines that it did not reach are Unknown. A function that is passed itself is run once in this process to read
    its formula, under the same time limit; ``in_process`` runs everything here, where only time is limited (seconds of
    this thread's work), and only between steps. Raises ``LossproofError`` for a loss that cannot be read.

    >>> certificate = certify("(y - p)**2", only="minimum")
    >>> certificate.formula, certificate.domain
    ('(y - p)**2', 'y in [0, 1], p in (0, 1)')
    """
    began = time.monotonic()
    _check_limits(budget, memory_mb)
    wanted = choose(_keys(only))
    request: dict[str, Any] = {
        "params": {name: _number(name, value) for name, value in params.items()},
        "symbolic": symbolic_of(symbolic),
        "decimal": bool(decimal),
        "target": None if target is None else range_text(target),
        "prediction": None if prediction is None else range_text(prediction),
        "memory_mb": memory_mb,
    }
    if isinstance(loss, str):
        request["spec"] = loss
    else:
        request |= _read_here(loss, request, budget)
    run = _Run(wanted, began, budget, memory_mb)
    run.here(request) if in_process else run.elsewhere(request)
    return run.certificate()


def _read_here(loss: object, request: Mapping[str, Any], budget: float) -> dict[str, Any]:
    """A live object cannot be sent to another process: its formula is read in this one."""
    asked = {k: request[k] for k in ("decimal", "target", "prediction")}
    try:
        with limited(budget):
            return read(loss, request["params"], request["symbolic"], **asked).request()
    except Late:
        name = getattr(loss, "__name__", type(loss).__name__)
        raise _too_slow(name, budget) from None


def _too_slow(name: str, budget: float) -> LossproofError:
    shown = name if len(name) <= 80 else name[:80] + "..."
    return LossproofError(
        f"certify: expected {shown} to be read within {budget:g} s, got no formula. Raise the budget; does it loop for ever?"
    )


class _Run:
    """The lines of one certificate as they come, and why others did not."""

    def __init__(self, wanted: Sequence[Section], began: float, budget: float, memory_mb: float) -> None:
        self.wanted, self.budget, self.memory_mb = wanted, budget, memory_mb
        self.deadline = began + budget
        self.head: dict[str, Any] = {}
        self.records: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}  # section -> how the prover ended in it
        self.said: dict[str, str] = {}  # section -> why the prover did not begin it
        self.finished: set[str] = set()
        self.current = ""

    def here(self, request: dict[str, Any]) -> None:
        self.take(messages(self.asked(request)), str(request.get("spec", "the loss")))

    def elsewhere(self, request: dict[str, Any]) -> None:
        """In a process; one that a section brought down is started again for the sections after it."""
        name = str(request.get("spec", "the loss"))
        while True:
            try:
                with Prover(self.asked(request)) as prover:
                    self.take(prover.messages(self.deadline), name)
                return
            except Ended as end:
                why = str(end)
                if not self.head:
                    if why == "time":
                        raise _too_slow(name, self.budget) from None
                    raise LossproofError(
                        f"certify: expected {name[:80]} to be read, got the prover's end: {self.sentence(why)}."
                    ) from None
                if self.current:
                    self.reasons[self.current] = why
                    self.finished.add(self.current)
                if not self.left() or time.monotonic() > self.deadline - 0.5 or not self.current:
                    self.reasons |= {
                        s: why if why == "time" else self.reasons.get(s, why) for s in self.left()
                    }
                    return
                self.current = ""
                request = {**self.head, "memory_mb": request["memory_mb"]}

    def left(self) -> list[str]:
        return [s.module for s in self.wanted if s.module not in self.finished]

    def asked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        seconds = max(self.deadline - time.monotonic() - 0.05, 0.05)
        return {**request, "sections": self.left(), "known": self.records, "seconds": seconds}

    def take(self, stream: Iterator[Mapping[str, Any]], name: str) -> None:
        for message in stream:
            match message:
                case {"head": head}:
                    self.head = dict(head)
                case {"begin": section}:
                    self.current = section
                case {"line": key, "record": record}:
                    self.records[key] = record
                case {"failed": section, "reason": why}:
                    self.reasons[section] = why
                    self.finished.add(section)
                case {"passed": section, "reason": why}:
                    self.said[section] = why
                    self.finished.add(section)
                case {"end": section}:
                    self.finished.add(section)
                case {"error": text}:
                    raise LossproofError(text)
                case {"broken": text}:
                    why = self.sentence("memory") if text.startswith("MemoryError") else text
                    raise LossproofError(f"certify: expected {name[:80]} to be read, got {why}.")

    def sentence(self, why: str) -> str:
        return {
            "time": f"time limit of {self.budget:g} s",
            "memory": f"memory limit of {self.memory_mb:g} MB",
        }.get(why, f"the prover ended with {why}")

    def certificate(self) -> Certificate:
        problem: Problem = Reading.again(self.head).problem
        lines: dict[str, Line] = {}
        for section in self.wanted:
            for key in section.keys:
                if key in self.records:
                    lines[key] = line_of(key, self.records[key])
                elif section.module in self.said or section.module in self.reasons:
                    why = self.said.get(section.module) or self.sentence(self.reasons[section.module])
                    lines[key] = Line(key, STATEMENTS[key], Unknown(why))
        free = {p.name: span_text(p.interval) for p in problem.free}
        span = problem.prediction
        inside = Interval(span.low, span.high, low_open=True, high_open=True)
        return Certificate(
            loss=_label(problem),
            formula=problem.loss.formula,
            params={name: value for name, value in problem.loss.values.items() if name not in free},
            free=free,
            target=span_text(problem.target),
            prediction=span_text(inside),
            constants="decimal" if problem.decimal else "binary",
            lines=lines,
            versions=self.head["versions"],
            agreement=self.head["agreement"],
        )


def _label(problem: Problem) -> str:
    """The loss's label, with the ranges of what was left symbolic."""
    free = {p.name for p in problem.free}
    if not free:
        return problem.loss.label
    said = [f"{p.name} in {p.interval}" for p in problem.free]
    said += [
        f"{p.name}={problem.loss.values[p.name]:g}"
        for p in problem.loss.params
        if p.name not in free and problem.loss.values[p.name] != p.default
    ]
    return f"{problem.loss.id}({', '.join(said)})"


def _keys(only: "str | Sequence[str] | None") -> tuple[str, ...] | None:
    if only is None:
        return None
    names = [only] if isinstance(only, str) else list(only)
    return tuple(name if name in STATEMENTS else requirement_line(name) for name in names)


def _check_limits(budget: float, memory_mb: float) -> None:
    if not isinstance(budget, int | float) or not 0 < budget < math.inf:
        raise LossproofError(f"certify: expected a budget in seconds above 0, got {budget!r}.")
    if not isinstance(memory_mb, int | float) or not _LEAST_MB <= memory_mb < math.inf:
        raise LossproofError(f"certify: expected memory_mb of {_LEAST_MB} or more, got {memory_mb!r}.")


def _number(name: str, value: object) -> int | float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    if not good:
        shown = f"{value!r}" if not isinstance(value, int) else "an integer that is too large"
        raise LossproofError(f"certify: expected a finite number below 1e300 for {name}, got {shown}.")
    return int(value) if isinstance(value, int) else float(value)  # type: ignore[arg-type]


__all__ = ["REQUIREMENTS", "certify"]
