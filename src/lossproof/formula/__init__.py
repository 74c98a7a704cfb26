"""What a loss is: intervals, links, the Loss record, formulas as strings and as traced Python functions, verdicts."""

from lossproof.formula.errors import LossproofError
from lossproof.formula.interval import NON_NEGATIVE, OPEN_UNIT, POSITIVE, REALS, UNIT, Interval
from lossproof.formula.link import IDENTITY, LINKS, SIGMOID, Link, get_link
from lossproof.formula.loss import Loss, Param, Reference
from lossproof.formula.verdict import Certified, Claim, Piece, Proved, Refuted, Step, Unknown, Verdict

__all__ = [
    "IDENTITY",
    "LINKS",
    "NON_NEGATIVE",
    "OPEN_UNIT",
    "POSITIVE",
    "REALS",
    "SIGMOID",
    "UNIT",
    "Certified",
    "Claim",
    "Interval",
    "Link",
    "Loss",
    "LossproofError",
    "Param",
    "Piece",
    "Proved",
    "Reference",
    "Refuted",
    "Step",
    "Unknown",
    "Verdict",
    "get_link",
]
