"""Where a decision's facts come from: certificates, the prover of signs, and the losses themselves."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.formula import LossproofError, Refuted
from lossproof.formula.symbols import P, Y
from lossproof.lower import LossFunction, function
from lossproof.prove import Certificate, certify
from lossproof.prove.certificate import requirement_line
from lossproof.prove.committed import certificate_of

Expr = Any  # sympy is untyped
WORDS = {
    "+": "positive",
    "-": "negative",
    ">=": "at least 0",
    "<=": "at most 0",
    "0": "0",
    "?": "of unknown sign",
}
Floats = npt.NDArray[np.float64]
GRID = np.linspace(0.0005, 0.9995, 1999)


@cache
def certificate(loss: str) -> Certificate:
    """The committed certificate of a catalogue loss; proved anew where there is none or it is of another formula."""
    known = function(loss).definition
    stored = certificate_of(known)
    return certify(loss) if stored is None else stored


def holds(loss: str, requirement: str) -> bool:
    """Whether a requirement holds, by the certificate. Raises ``LossproofError`` where it does not say.

    >>> holds("bce", "mean"), holds("mae", "mean")
    (True, False)
    """
    answer = certificate(loss).holds(requirement)
    if answer == "unknown":
        raise LossproofError(
            f"claims: expected a certificate of {loss} that decides {requirement}, got unknown."
        )
    return answer == "holds"


def why(loss: str, *requirements: str) -> tuple[str, ...]:
    """The certificate's lines behind these answers, one sentence each; a witness is rounded where it is long."""
    return tuple(f"{loss}: {_why(certificate(loss), requirement)}" for requirement in requirements)


def _why(found: Certificate, requirement: str) -> str:
    line = found.lines[requirement_line(requirement)]
    if not isinstance(line.verdict, Refuted):
        return found.why(requirement)
    at = ", ".join(
        f"{name} = {value if len(value) < 12 else _decimal(value)}" for name, value in line.verdict.witness
    )
    return f"{line.statement}: refuted at {at}"


def _decimal(fraction: str) -> str:
    return f"{float(Fraction(fraction)):.6g}..."


def symbolic(loss: str) -> Expr:
    """The formula in the functions of school, y and p inside (0, 1)."""
    from lossproof.formula.functions import to_elementary

    return to_elementary(function(loss).definition.expression())


def unit_sign(expr: Expr) -> tuple[str, str]:
    """The sign of an expression for all y and p in (0, 1), with the substitution that the prover was given.

    >>> unit_sign(Y*(1 - Y) - Y)[0]
    '-'
    """
    import sympy

    from lossproof.prove.sign import sign

    a, b = sympy.symbols("a b", positive=True)
    inside = expr.subs({Y: a / (1 + a), P: b / (1 + b)}, simultaneous=True)
    found = sign(sympy.factor(sympy.together(inside)))
    return found.sign, "y = a/(1 + a), p = b/(1 + b) with a, b > 0"


def zero(expr: Expr) -> bool:
    """Whether an expression is 0 for all values, by simplification."""
    import sympy

    return bool(sympy.simplify(expr) == 0)


def best(loss: str, values: Sequence[float], weights: Sequence[float]) -> float:
    """The prediction with the least expected loss when Y takes these values with these probabilities.

    >>> round(best("bce", [0, 1], [0.7, 0.3]), 3), round(best("mae", [0, 1], [0.7, 0.3]), 3)
    (0.3, 0.0)
    """
    made = function(loss)
    grid = np.concatenate([[0.0], GRID, [1.0]])
    for _ in range(3):
        with np.errstate(all="ignore"):
            total = sum(
                w * made.value(np.full_like(grid, v), grid) for v, w in zip(values, weights, strict=True)
            )
        total = np.where(np.isfinite(total), total, np.inf)
        place = int(np.argmin(total))
        low, high = grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)]
        grid = np.unique(np.concatenate([np.linspace(low, high, 401), [grid[place]]]))
    return float(grid[int(np.argmin(_expected(made, values, weights, grid)))])


def _expected(made: LossFunction, values: Sequence[float], weights: Sequence[float], grid: Floats) -> Floats:
    with np.errstate(all="ignore"):
        total = sum(w * made.value(np.full_like(grid, v), grid) for v, w in zip(values, weights, strict=True))
    return np.where(np.isfinite(total), total, np.inf)


def at(loss: str, y: float, p: float) -> float:
    """One value of a loss."""
    return float(function(loss).value(y, p))


def text(value: float, digits: int = 4) -> str:
    """A number for a table.

    >>> text(0.500402), text(float("inf")), text(4.5e-05), text(0.0)
    ('0.5004', 'inf', '4.5e-05', '0')
    """
    if not np.isfinite(value):
        return "inf" if value > 0 else "-inf" if value < 0 else "nan"
    return f"{value:.{digits}g}" if value else "0"
