"""The Decoder record: a law of the target with one or several parameters per pixel, as data."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from lossproof.formula import Interval, LossproofError, Reference
from lossproof.formula.errors import nearest

Value: TypeAlias = float | str


@dataclass(frozen=True, slots=True)
class Setting:
    """What a user may choose about a decoder: one of some words, a number of an interval, or either.

    >>> Setting("sigma", "standard deviation", "shared", ("shared", "pixel"), Interval(0, 9, low_open=True)).choices
    'a number in (0, 9], shared or pixel'
    """

    name: str
    title: str
    default: Value
    words: tuple[str, ...] = ()
    interval: Interval | None = None

    @property
    def choices(self) -> str:
        """The values it takes, in words."""
        numbers = [] if self.interval is None else [f"a number in {self.interval}"]
        *first, last = [*numbers, *self.words]
        return f"{', '.join(first)} or {last}" if first else last

    def takes(self, value: object) -> bool:
        """Whether a value is one of them."""
        if isinstance(value, str):
            return value in self.words
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return number and self.interval is not None and value in self.interval  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Head:
    """One parameter of a decoder's law, as the real number that is learned: a mean, the log of a scale, logits.

    ``place`` is "pixel" (an output of the model for each value of an image), or the name of the setting that says so:
    "pixel", "shared" (one number, learned beside the weights), or a number, which is then the parameter itself: the
    head is its logarithm. ``initial`` is added to the model's output, so that it is the head's value at an output of 0.
    ``lowest`` names the setting with the head's lower bound b, kept softly: b + softplus(head - b).
    ``count`` is the number of outputs: 1, or "levels" for one a grey level.
    """

    name: str
    title: str
    initial: float = 0.0
    place: str = "pixel"
    lowest: str = ""
    count: Literal[1, "levels"] = 1


@dataclass(frozen=True)
class Decoder:
    """A law q(y | parameters) of one target y, as data; the parameters, its heads, come from the model or beside it.

    ``formula`` is text, in y and the heads; ``h`` is half a step between levels, ``n`` the number of levels less 1.
    ``measure`` says what the law is spread over: "levels" (a mass, so bits per pixel), "interval" or "line" (densities).
    ``values`` are the settings' values; every setting has one. Raises ``LossproofError`` for values that it does not take.

    >>> spread = Setting("sigma", "standard deviation", "shared", ("shared", "pixel"), Interval(0, 9, low_open=True))
    >>> made = Decoder(id="normal", title="", formula="", measure="line", settings=(spread,),
    ...                heads=(Head("mean", "mean"), Head("log_sigma", "log of sigma", place="sigma")))
    >>> made.label, made.outputs(), made.bind(sigma="pixel").outputs(), made.bind(sigma=0.5).label
    ('normal', 1, 2, 'normal(sigma=0.5)')
    """

    id: str
    title: str
    formula: str
    measure: Literal["levels", "interval", "line"]
    heads: tuple[Head, ...]
    settings: tuple[Setting, ...] = ()
    references: tuple[Reference, ...] = ()
    note: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {s.name: s.default for s in self.settings} | dict(self.values)
        by_name = {s.name: s for s in self.settings}
        for name, value in given.items():
            if name not in by_name:
                advice = nearest(name, by_name) if by_name else "it takes none."
                raise LossproofError(f"{self.id}: expected a known setting, got {name!r}; {advice}")
            if not by_name[name].takes(value):
                known = by_name[name]
                raise LossproofError(
                    f"{self.id}: expected {name} as {known.choices}, got {value!r}. "
                    f"{name} is the {known.title}; its default is {_said(known.default)}."
                )
        object.__setattr__(self, "values", MappingProxyType(given))

    def __hash__(self) -> int:
        return hash((self.hash, tuple(self.values.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        plain = (self.id, self.title, self.formula, self.measure, self.heads, self.settings, self.references,
                 self.note, dict(self.values))  # fmt: skip
        return (Decoder, plain)

    def bind(self, **values: Value) -> "Decoder":
        """The same decoder with other values of its settings. Raises ``LossproofError`` for values it does not take."""
        return replace(self, values={**self.values, **values})

    @property
    def label(self) -> str:
        """Short name for tables: the id, with the values that differ from the defaults."""
        changed = [
            f"{s.name}={_said(self.values[s.name])}"
            for s in self.settings
            if self.values[s.name] != s.default
        ]
        return f"{self.id}({', '.join(changed)})" if changed else self.id

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what the declaration says (not of titles, notes or bound values)."""
        content = {
            "formula": self.formula,
            "measure": self.measure,
            "heads": [[h.name, h.initial, h.place, h.lowest, h.count] for h in self.heads],
            "settings": [[s.name, list(s.words), str(s.interval)] for s in self.settings],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def place(self, head: Head) -> Value:
        """Where a head's value comes from: "pixel", "shared", or the number that the user gave."""
        return head.place if head.place == "pixel" else self.values[head.place]

    def number(self, setting: str) -> float:
        """The value of a setting that is a number. Raises ``LossproofError`` where it is a word."""
        value = self.values[setting]
        if isinstance(value, str):
            raise LossproofError(f"{self.id}: expected {setting} to be a number, got {value!r}.")
        return float(value)

    def outputs(self, levels: int | None = None) -> int:
        """Raw numbers that the model is to give for each value of an image; ``levels`` is the data's number of levels.

        Raises ``LossproofError`` where the declaration counts levels and none are given.
        """
        total = 0
        for head in self.heads:
            if self.place(head) != "pixel":
                continue
            if head.count == "levels" and levels is None:
                raise LossproofError(
                    f"{self.id}: expected the number of levels, one output each, got none. Give levels, such as 256."
                )
            total += levels if head.count == "levels" and levels is not None else 1
        return total


def _said(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


__all__ = ["Decoder", "Head", "Setting", "Value"]
