"""Answers to "is it true?": proved, certified, refuted or unknown - never a bool."""

from dataclasses import dataclass
from typing import NoReturn, TypeAlias


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

    >>> isinstance(Proved(method="sign of the derivative", steps=("dl/dp = (p - y)/(p*(1 - p))",)), Proved)
    True
    """

    method: str
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Certified(_Verdict):
    """True on the named domain, by a rigorous enclosure."""

    method: str
    domain: str


@dataclass(frozen=True, slots=True)
class Refuted(_Verdict):
    """False, with exact values that anyone can check with a calculator."""

    witness: tuple[tuple[str, str], ...]
    gap: str


@dataclass(frozen=True, slots=True)
class Unknown(_Verdict):
    """Neither shown nor refuted, with the reason."""

    reason: str


Verdict: TypeAlias = Proved | Certified | Refuted | Unknown
