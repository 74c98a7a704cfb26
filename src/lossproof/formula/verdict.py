"""Answers to "is it true?": proved, certified, refuted or unknown - never a bool - with what a checker needs."""

from dataclasses import dataclass
from typing import NoReturn, TypeAlias

#: variable -> range, as in ("y", "(0, 1)")
Ranges: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement that a machine can check again: ``left relation right`` for all values in ``where``.

    ``left`` and ``right`` are formula strings; ``relation`` is one of = < <= > >= != or, for a limit, -> with one of
    ``given`` saying how, as in "p -> 0+" ("oo" and "-oo" are allowed as ``right`` there). ``where`` gives each
    variable's range, ``given`` further conditions between them, as in "y < p".

    >>> print(Claim("(p - y)/(p*(1 - p))", ">", "0", (("y", "(0, 1)"), ("p", "(0, 1)")), ("y < p",)))
    (p - y)/(p*(1 - p)) > 0 for y in (0, 1), p in (0, 1), y < p
    """

    left: str
    relation: str
    right: str
    where: Ranges = ()
    given: tuple[str, ...] = ()

    def __str__(self) -> str:
        domain = ", ".join([f"{name} in {span}" for name, span in self.where] + list(self.given))
        return f"{self.left} {self.relation} {self.right}" + (f" for {domain}" if domain else "")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a proof: the sentence, and what of it a machine can check (None for a named theorem)."""

    text: str
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A box - variable, low, high - and the statement that an enclosure shows on all of it."""

    box: tuple[tuple[str, float, float], ...]
    left: str
    relation: str
    right: str = "0"


class _Verdict:
    """A verdict has no truth value: an unknown must not read as yes or as no."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"verdict: expected a comparison with a class, got a truth test of {type(self).__name__}. "
            "Write isinstance(verdict, Proved)."
        )


@dataclass(frozen=True, slots=True)
class Proved(_Verdict):
    """True for every point of the domain, by symbolic steps that can be read.

    >>> isinstance(Proved("sign of the derivative", "y in [0, 1], p in (0, 1)"), Proved)
    True
    """

    method: str
    domain: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Certified(_Verdict):
    """True on the named domain, by rigorous enclosures on boxes that cover it."""

    method: str
    domain: str
    steps: tuple[Step, ...] = ()
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuted(_Verdict):
    """False, with exact values that anyone can check with a calculator.

    ``witness`` holds exact rationals as strings; ``claim`` is what holds at the witness and contradicts the
    statement; ``gap`` encloses the amount.
    """

    witness: tuple[tuple[str, str], ...]
    claim: Claim
    gap: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown(_Verdict):
    """Neither shown nor refuted, with the reason, and the box where the search got stuck."""

    reason: str
    worst: tuple[tuple[str, float, float], ...] = ()


Verdict: TypeAlias = Proved | Certified | Refuted | Unknown
