"""The Loss record: a loss is data - a formula, its domain, its parameters, its sources."""

import hashlib
import json
import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

from lossproof.formula.errors import LossproofError, nearest
from lossproof.formula.interval import REALS, UNIT, Interval


@dataclass(frozen=True, slots=True)
class Param:
    """A named parameter of a loss: its range, its default, what it means."""

    name: str
    interval: Interval
    default: float
    title: str

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or keyword.iskeyword(self.name) or self.name in _TAKEN | _JAVASCRIPT:
            raise LossproofError(
                "parameter: expected a parameter name that formulas and the code made from them do not use for "
                f"something else, got {self.name!r}. Rename it in the formula."
            )


# what formulas, and the source texts made from them, call their own
_TAKEN = frozenset(
    {"y", "p", "z", "pi", "math", "np", "torch", "keras", "ops", "jax", "jnp", "mpmath", "mp", "Math"}
)
_JAVASCRIPT = frozenset({
    "await", "break", "case", "catch", "class", "const", "continue", "debugger", "default", "delete", "do",
    "else", "enum", "export", "extends", "false", "finally", "for", "function", "if", "implements", "import",
    "in", "instanceof", "interface", "let", "new", "null", "package", "private", "protected", "public",
    "return", "static", "super", "switch", "this", "throw", "true", "try", "typeof", "var", "void", "while",
    "with", "yield", "arguments", "eval",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a formula is printed; ``url`` is a DOI or arXiv address."""

    text: str
    url: str = ""


@dataclass(frozen=True)
class Loss:
    """A reconstruction loss loss(y, p) of one target y and one prediction p, as data.

    ``formula`` is a string in y, p and the parameters. ``minimum`` says where p -> loss(y, p) is least:
    "target" (at p = y) or "elsewhere"; it is a declaration, labelled as such until it is certified.
    ``minimiser`` is the formula of that place when it is elsewhere and has a closed form.
    ``values`` are the parameters' values; every parameter has one (its default unless bound).

    >>> loss = Loss(id="power", title="power loss", formula="abs(y - p)**q", target=REALS, prediction=REALS,
    ...             params=(Param("q", Interval(0, 9, low_open=True), 2.0, "power"),))
    >>> loss.bind(q=3).label
    'power(q=3)'
    """

    id: str
    title: str
    formula: str
    target: Interval = UNIT
    prediction: Interval = UNIT
    params: tuple[Param, ...] = ()
    references: tuple[Reference, ...] = ()
    minimum: Literal["target", "elsewhere", "undeclared"] = "target"
    minimiser: str | None = None
    note: str = ""
    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {p.name: p.default for p in self.params} | dict(self.values)
        by_name = {p.name: p for p in self.params}
        for name, value in given.items():
            if name not in by_name:
                advice = nearest(name, by_name) if by_name else "it takes none."
                raise LossproofError(f"{self.id}: expected a known parameter, got {name!r}; {advice}")
            if not isinstance(value, int | float) or value not in by_name[name].interval:
                raise LossproofError(
                    f"{self.id}: expected {name} in {by_name[name].interval}, got {value!r}. "
                    f"{name} is the {by_name[name].title}; its default is {by_name[name].default:g}."
                )
        object.__setattr__(self, "values", MappingProxyType(given))

    def __hash__(self) -> int:
        return hash((self.hash, tuple(self.values.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        plain = (self.id, self.title, self.formula, self.target, self.prediction, self.params, self.references,
                 self.minimum, self.minimiser, self.note, dict(self.values))  # fmt: skip
        return (Loss, plain)

    def bind(self, **values: float) -> "Loss":
        """The same loss with other parameter values. Raises ``LossproofError`` outside their ranges."""
        return replace(self, values={**self.values, **values})

    @property
    def label(self) -> str:
        """Short name for tables: the id, with the values that differ from the defaults.

        >>> Loss(id="bce", title="", formula="y*p").label
        'bce'
        """
        changed = [
            f"{p.name}={self.values[p.name]:g}" for p in self.params if self.values[p.name] != p.default
        ]
        return f"{self.id}({', '.join(changed)})" if changed else self.id

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what the definition says (not of titles, notes or bound values)."""
        content = {
            "formula": self.formula,
            "target": str(self.target),
            "prediction": str(self.prediction),
            "params": [[p.name, str(p.interval)] for p in self.params],
            "minimum": self.minimum,
            "minimiser": self.minimiser,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def expression(self, *, bound: bool = True) -> Any:
        """The formula as a SymPy expression; parameters as exact numbers, or as symbols if not ``bound``."""
        return self._parse(self.formula, bound=bound)

    def minimiser_expression(self, *, bound: bool = True) -> Any | None:
        """Where p -> loss(y, p) is least, as a SymPy expression in y; None if no closed form is declared."""
        if self.minimum == "target":
            from lossproof.formula.symbols import Y

            return Y
        return None if self.minimiser is None else self._parse(self.minimiser, bound=bound)

    def _parse(self, text: str, *, bound: bool) -> Any:
        from lossproof.formula.conventions import zero_log_zero
        from lossproof.formula.parse import parse
        from lossproof.formula.symbols import parameter

        symbols = {
            p.name: parameter(p.name, positive=p.interval.low > 0 or (p.interval.low == 0 and p.interval.low_open) or None,
                              nonnegative=p.interval.low >= 0 or None)
            for p in self.params
        }  # fmt: skip
        return zero_log_zero(parse(text, params=symbols, values=self.values if bound else None))


__all__ = ["REALS", "UNIT", "Loss", "Param", "Reference"]
