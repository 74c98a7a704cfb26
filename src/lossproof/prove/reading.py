"""From what a user asks to a Problem: the loss, the parameters left symbolic, the domain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lossproof.formula import REALS, UNIT, Interval, Loss, LossproofError, Param
from lossproof.formula.errors import nearest
from lossproof.prove.problem import Problem
from lossproof.prove.record import loss_of, loss_record, span_of, span_text

#: True: all; names, each with a range or None for the declared one
Symbolic = bool | Mapping[str, str | None]


@dataclass(frozen=True)
class Reading:
    """A problem, and for a traced function how well the formula agrees with it."""

    problem: Problem
    agreement: Mapping[str, Any] | None = None

    def request(self) -> dict[str, Any]:
        """The same in JSON values, for another process."""
        return {
            "record": loss_record(self.problem.loss),
            "free": [p.name for p in self.problem.free],
            "target": span_text(self.problem.target),
            "prediction": span_text(self.problem.prediction),
            "decimal": self.problem.decimal,
            "agreement": self.agreement,
        }

    @classmethod
    def again(cls, record: Mapping[str, Any]) -> "Reading":
        """What ``request`` said."""
        loss = loss_of(record["record"])
        free = tuple(p for p in loss.params if p.name in record["free"])
        spans = span_of(record["target"]), span_of(record["prediction"])
        return cls(Problem(loss, *spans, free=free, decimal=record["decimal"]), record["agreement"])


def read(
    spec: object,
    params: Mapping[str, float],
    symbolic: Symbolic,
    *,
    decimal: bool,
    target: str | None,
    prediction: str | None,
) -> Reading:
    """The problem of a catalogue id, formula, "module:function", function or ``Loss``; runs a function's code."""
    from lossproof.catalogue import CATALOGUE
    from lossproof.catalogue.resolve import _MODULE_FUNCTION, resolve_in

    spec = getattr(spec, "definition", spec)
    twice = sorted(set(params) & set({} if isinstance(symbolic, bool) else symbolic))
    if twice:
        raise LossproofError(
            f"certify: expected a value for {twice[0]} or {twice[0]} left symbolic, got both. Leave one out."
        )
    agreement = None
    name = spec.strip() if isinstance(spec, str) else ""
    if _MODULE_FUNCTION.fullmatch(name) or (callable(spec) and not isinstance(spec, Loss)):
        loss, agreement = _traced(spec, name, params, symbolic, decimal)
    elif isinstance(spec, str):
        loss = resolve_in(CATALOGUE, spec, {**_undeclared(name, params, symbolic), **params})
    else:
        loss = resolve_in(CATALOGUE, spec, params)
    loss, free = _freed(loss, params, symbolic)
    spans = _span("target", target, loss.target, loss), _span("prediction", prediction, loss.prediction, loss)
    return Reading(Problem(loss, *spans, free=free, decimal=decimal), agreement)


def _undeclared(text: str, params: Mapping[str, float], symbolic: Symbolic) -> dict[str, float]:
    """Names of a formula that are left symbolic, each with some value of its range: a Loss wants values."""
    from lossproof.catalogue import CATALOGUE
    from lossproof.formula.parse import free_names

    if text in CATALOGUE or symbolic is False:
        return {}
    names = [n for n in free_names(text) if n not in params and n not in CATALOGUE]
    if symbolic is True:
        return {n: _inside(REALS) for n in names if _has_y_and_p(text)}
    return {n: _inside(_range(symbolic[n])) for n in names if n in symbolic}


def _has_y_and_p(text: str) -> bool:
    from lossproof.catalogue.resolve import _mentions_y_or_p

    return _mentions_y_or_p(text)


def _traced(
    spec: object, name: str, params: Mapping[str, float], symbolic: Symbolic, decimal: bool
) -> tuple[Loss, dict[str, Any]]:
    from lossproof.catalogue.resolve import from_formula
    from lossproof.formula.trace import agreement, resolve_callable, trace
    from lossproof.formula.trace_check import free_parameters
    from lossproof.formula.unparse import unparse

    function: Any = resolve_callable(name) if name else spec
    own = getattr(function, "__qualname__", type(function).__name__)
    if symbolic is True:
        asked: dict[str, Any] = {**dict.fromkeys(_numeric(function)), **params}
    else:
        asked = {**dict.fromkeys(symbolic or {}), **params}
    expr = trace(function, asked or None, decimal=decimal)
    left = [s.name for s in free_parameters(expr)]
    ranges = {n: _range(None if isinstance(symbolic, bool) else symbolic.get(n)) for n in left}
    loss = from_formula(unparse(expr), {n: _inside(span) for n, span in ranges.items()})
    loss = replace(
        loss, id=name or str(getattr(function, "__name__", "function")), title=f"traced from {own}"
    )
    size = agreement(function, expr, n=1000, seed=1, params={**loss.values, **params})
    return loss, {"function": name or own, "points": 2024, "disagreement": float(f"{size:.1e}")}


def _numeric(function: Any) -> list[str]:
    """The parameters of a function that have numeric defaults."""
    from lossproof.formula.trace import _read_signature

    return list(_read_signature(function).defaults)


def _freed(loss: Loss, params: Mapping[str, float], symbolic: Symbolic) -> tuple[Loss, tuple[Param, ...]]:
    """The loss with its free parameters' ranges narrowed as asked, and those parameters."""
    declared = {p.name: p for p in loss.params}
    if isinstance(symbolic, bool):
        wanted: Mapping[str, str | None] = {n: None for n in declared if n not in params} if symbolic else {}
    else:
        wanted = symbolic
    made, values = {}, dict(loss.values)
    for name, text in wanted.items():
        if name not in declared:
            advice = nearest(name, declared) if declared else "it takes none."
            raise LossproofError(f"certify: expected parameters of {loss.id}, got {name!r}; {advice}")
        span = declared[name].interval if text is None else _range(text)
        if not declared[name].interval.covers(span):
            raise LossproofError(
                f"certify: expected {name} within {declared[name].interval}, got {span}. It is the "
                f"{declared[name].title} of {loss.id}."
            )
        values[name] = values[name] if values[name] in span else _inside(span)
        made[name] = replace(declared[name], interval=span, default=values[name])
    renewed = tuple(made.get(p.name, p) for p in loss.params)
    return replace(loss, params=renewed, values=values), tuple(p for p in renewed if p.name in made)


def _range(text: str | None) -> Interval:
    return REALS if text is None else span_of(text)


def _inside(span: Interval) -> float:
    """Some value of an interval."""
    if abs(span.low) < float("inf"):
        return (span.low + span.high) / 2 if span.high < float("inf") else span.low + 1.0
    return span.high - 1.0 if span.high < float("inf") else 0.5


def _span(what: str, asked: str | None, own: Interval, loss: Loss) -> Interval:
    """The range that was asked for, else what of [0, 1] the loss allows."""
    if asked is not None:
        span = span_of(asked)
        if not own.covers(span) or span.low == span.high:
            raise LossproofError(
                f"certify: expected {what} in {own}, where {loss.id} is defined, got {span}."
            )
        return span
    if own.covers(UNIT) or own.low >= 1 or own.high <= 0:
        return UNIT if own.covers(UNIT) else own
    low = max((own.low, own.low_open), (0.0, False))
    high = min((own.high, not own.high_open), (1.0, True))
    return Interval(low[0], high[0], low_open=low[1], high_open=not high[1])


def symbolic_of(symbolic: object) -> Symbolic:
    """What ``certify``'s option says, in one form. Raises ``LossproofError`` for anything else."""
    if isinstance(symbolic, bool):
        return symbolic
    if isinstance(symbolic, str):
        return {symbolic: None}
    if isinstance(symbolic, Mapping):
        return {str(name): None if span is None else range_text(span) for name, span in symbolic.items()}
    if isinstance(symbolic, Sequence) and all(isinstance(name, str) for name in symbolic):
        return dict.fromkeys(symbolic)
    raise LossproofError(
        f"certify: expected symbolic to be True, False, names, or names with ranges, got {symbolic!r}. "
        "Write symbolic=['delta'] or symbolic={'delta': '(0, inf)'}."
    )


def range_text(span: object) -> str:
    """A range as "[0, 1]" from such a text, an ``Interval`` or a pair of numbers."""
    if isinstance(span, str):
        return span_text(span_of(span))
    if isinstance(span, Interval):
        return span_text(span)
    if isinstance(span, Sequence) and len(span) == 2:
        low, high = (float(x) for x in span)
        return span_text(Interval(low, high, low_open=low == -float("inf"), high_open=high == float("inf")))
    raise LossproofError(f"certify: expected a range such as '[0, 1]', (0, 1) or an Interval, got {span!r}.")
