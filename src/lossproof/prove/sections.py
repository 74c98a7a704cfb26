"""The sections of a certificate, in order: which module writes which lines, and what those say."""

from collections.abc import Mapping
from dataclasses import dataclass

from lossproof.formula import LossproofError
from lossproof.formula.errors import nearest


@dataclass(frozen=True)
class Section:
    """A module with ``lines(problem, known, clock)``: the keys of its lines, and keys it wants made before."""

    module: str
    keys: tuple[str, ...]
    needs: tuple[str, ...] = ()


SECTIONS = (
    Section("lossproof.prove.minimum", ("minimum", "unique")),
    Section("lossproof.prove.consistency", ("consistency", "mean", "median"), ("minimum", "unique")),
    Section("lossproof.prove.minimiser", ("minimiser",), ("minimum", "unique", "consistency")),
    Section("lossproof.prove.floor", ("floor",), ("minimum", "minimiser")),
    Section("lossproof.prove.proper", ("proper",), ("minimum", "consistency")),
    Section("lossproof.prove.shape", ("convex", "strictly_convex", "convex_logits"), ("minimum",)),
    Section("lossproof.prove.smooth", ("twice_differentiable", "curvature", "strongly_convex"), ("minimum",)),
    Section("lossproof.prove.lipschitz", ("lipschitz", "lipschitz_logits")),
    Section("lossproof.prove.saturation", ("saturation",)),
    Section("lossproof.prove.borders", ("borders",)),
)

#: key -> what the line states, for lines that could not be made
STATEMENTS: Mapping[str, str] = {
    "minimum": "p = y is a global minimiser of p -> loss(y, p)",
    "unique": "p = y is the only global minimiser of p -> loss(y, p)",
    "minimiser": "where p -> loss(y, p) is least",
    "floor": "what loss(y, y) is",
    "consistency": "what minimises E[loss(Y, p)]",
    "mean": "E[loss(Y, p)] is least at p = E[Y]",
    "median": "E[loss(Y, p)] is least where p is a median of Y",
    "proper": "for labels Y in {0, 1}, p = P(Y = 1) minimises E[loss(Y, p)]",
    "convex": "p -> loss(y, p) is convex",
    "convex_logits": "z -> loss(y, sigmoid(z)) is convex",
    "strictly_convex": "p -> loss(y, p) is strictly convex",
    "twice_differentiable": "p -> loss(y, p) has a continuous second derivative",
    "curvature": "what the second derivative of p -> loss(y, p) is at p = y",
    "strongly_convex": "p -> loss(y, p) is strongly convex",
    "lipschitz": "what the largest |d loss/d p| is",
    "lipschitz_logits": "what the largest |d loss/d z| is, p = sigmoid(z)",
    "saturation": "what d loss/d z tends to for large |z|",
    "borders": "what loss and derivative are as p -> 0 and p -> 1",
}


def choose(only: "tuple[str, ...] | None") -> tuple[Section, ...]:
    """The sections that write these lines, and those they need, in order; all for None.

    >>> {"lossproof.prove.minimum"} <= {s.module for s in choose(("unique",))}
    True
    """
    if only is None:
        return SECTIONS
    wanted: set[str] = set()
    open_keys = list(only)
    while open_keys:
        key = open_keys.pop()
        if key not in STATEMENTS:
            raise LossproofError(f"certify: expected names of lines, got {key!r}; {nearest(key, STATEMENTS)}")
        section = next((s for s in SECTIONS if key in s.keys), None)
        if section is not None and section.module not in wanted:
            wanted.add(section.module)
            open_keys += section.needs
    return tuple(s for s in SECTIONS if s.module in wanted)
