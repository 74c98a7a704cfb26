"""Links: the map from a decoder's raw output z (the logits) to its prediction p."""

from dataclasses import dataclass

from lossproof.formula.errors import LossproofError, nearest
from lossproof.formula.interval import OPEN_UNIT, REALS, Interval


@dataclass(frozen=True, slots=True)
class Link:
    """A link p = forward(z), stated as formulas; ``range`` is where its predictions lie.

    >>> LINKS["sigmoid"].forward, str(LINKS["sigmoid"].range)
    ('sigmoid(z)', '(0, 1)')
    """

    id: str
    title: str
    forward: str
    inverse: str
    range: Interval


IDENTITY = Link("identity", "identity", forward="z", inverse="p", range=REALS)
SIGMOID = Link("sigmoid", "logistic sigmoid", forward="sigmoid(z)", inverse="log(p/(1 - p))", range=OPEN_UNIT)

LINKS: dict[str, Link] = {link.id: link for link in (IDENTITY, SIGMOID)}


def get_link(name: str) -> Link:
    """Find a link by its id. Raises ``LossproofError`` with the nearest names.

    >>> get_link("identity").title
    'identity'
    """
    if name not in LINKS:
        raise LossproofError(
            f"link: expected one of {', '.join(LINKS)}, got {name!r}; {nearest(name, LINKS)}"
        )
    return LINKS[name]
