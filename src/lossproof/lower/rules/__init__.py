"""The rewriting rules that make a loss stable: each has a name, a reason and a test."""

from lossproof.lower.rules import finish, hyperbolic, residual, sigmoid  # noqa: F401 - importing them registers the rules
from lossproof.lower.rules.engine import RULES, Rule, Step, TooSlow, rewrite

#: the rules that are safe before a derivative is taken
STRUCTURE = [rule for rule in RULES if not rule.last]

__all__ = ["RULES", "STRUCTURE", "Rule", "Step", "TooSlow", "rewrite"]
