"""The symbols that formulas are written in."""

from functools import cache
from typing import Any

import sympy

Y = sympy.Symbol("y", real=True)  # target
P = sympy.Symbol("p", real=True)  # prediction, after the link
Z = sympy.Symbol("z", real=True)  # logits, before the link


@cache
def parameter(name: str, *, positive: bool | None = None, nonnegative: bool | None = None) -> Any:
    """The real symbol of a named parameter, with what its range says of its sign.

    >>> parameter("delta") is parameter("delta")
    True
    """
    return sympy.Symbol(name, real=True, positive=positive, nonnegative=nonnegative)
