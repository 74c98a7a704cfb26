"""Common claims about reconstruction losses, each with a verdict that is computed, not written down."""

from lossproof.advise.claims.decide import CLAIMS, decide
from lossproof.advise.claims.records import Answer, Claim, Decision

__all__ = ["CLAIMS", "Answer", "Claim", "Decision", "decide"]
