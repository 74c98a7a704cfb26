"""Hard labels: for Y in {0, 1}, is p = P(Y = 1) the minimiser of the expected loss?

The expected loss pi*loss(1, p) + (1 - pi)*loss(0, p) is itself a loss with target pi: its minimum at p = pi is shown
or refuted like any other. Minimised at p = y for every grey y does not imply it: the absolute error is not proper.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import sympy

from lossproof.formula import Certified, Interval, Proved, Refuted, Step, Unknown, Verdict
from lossproof.formula.functions import to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.prove import minimum
from lossproof.prove.clock import Clock
from lossproof.prove.continuity import claim
from lossproof.prove.problem import Line, Problem, undefined_at

Expr = Any
PROPER = "for labels Y in {0, 1}, p = P(Y = 1) minimises E[loss(Y, p)]"


class HardLabels(Problem):
    """The expected loss for labels in {0, 1}, as a loss whose target y is P(Y = 1).

    >>> from lossproof.catalogue import CATALOGUE
    >>> print(HardLabels(CATALOGUE["mse"]).plain)
    p**2*(1 - y) + y*(1 - p)**2
    """

    @cached_property
    def expr(self) -> Expr:
        zero, one = self.labels
        return Y * one + (1 - Y) * zero

    @cached_property
    def labels(self) -> tuple[Expr, Expr]:
        """loss(0, p) and loss(1, p)."""
        whole = Problem.expr.func(self)  # type: ignore[attr-defined]  # the loss itself
        return whole.xreplace({Y: sympy.S.Zero}), whole.xreplace({Y: sympy.S.One})


def lines(problem: Problem, known: Mapping[str, Line], clock: Clock) -> Iterator[Line]:
    """The line "proper"."""
    start = time.monotonic()
    verdict = _from_mean(problem, known)
    if verdict is None:
        verdict = _verdict(problem, clock)
    yield Line("proper", PROPER, verdict, {}, time.monotonic() - start)


def _from_mean(problem: Problem, known: Mapping[str, Line]) -> Verdict | None:
    """Labels in {0, 1} have the mean P(Y = 1): a loss that is least at every mean is proper."""
    line = known.get("mean")
    if line is None or not isinstance(line.verdict, Proved | Certified) or "!=" in line.verdict.domain:
        return None
    if not all(label in problem.target for label in (0, 1)):
        return None
    last = Step("the mean of labels in {0, 1} is P(Y = 1)")
    domain = line.verdict.domain.replace("y in", "P(Y = 1) in")
    made: Proved | Certified = replace(line.verdict, domain=domain, steps=(*line.verdict.steps, last))
    return made


def _verdict(problem: Problem, clock: Clock) -> Verdict:
    for label in (0, 1):
        if label not in problem.target:
            return Unknown(f"y = {label} is outside the targets {problem.target}")
    inside = Interval(max(0.0, problem.prediction.low), min(1.0, problem.prediction.high))
    labels = HardLabels(problem.loss, Interval(0, 1), inside, problem.free, problem.decimal)
    for label in (0, 1):
        if undefined_at(problem.expr, {Y: sympy.Integer(label)}):
            return Unknown(f"infinite at y = {label}")
    line = next(minimum.lines(labels, {}, clock))
    return _in_words(line.verdict, labels)


def _in_words(verdict: Verdict, labels: HardLabels) -> Verdict:
    """The same verdict, said of P(Y = 1)."""
    if isinstance(verdict, Unknown):
        return verdict
    if isinstance(verdict, Refuted):
        return replace(verdict, witness=tuple(("pi" if n == "y" else n, v) for n, v in verdict.witness))
    text = "write y for P(Y = 1) and l(y, p) for the expected loss y*loss(1, p) + (1 - y)*loss(0, p)"
    zero, one = (to_elementary(e) for e in labels.labels)
    first = Step(
        f"{text} = {labels.plain}",
        claim(labels.plain, "=", Y * one + (1 - Y) * zero, (("y", "(0, 1)"), ("p", "(0, 1)"))),
    )
    domain = verdict.domain.replace("y in", "P(Y = 1) in").replace("y !=", "P(Y = 1) !=")
    made: Proved | Certified = replace(verdict, domain=domain, steps=(first, *verdict.steps))
    return made


__all__ = ["HardLabels", "P", "lines"]
