"""Why a logged loss reads as it does: causes found by computation on what was given."""

from lossproof.advise.symptoms.explain import explain
from lossproof.advise.symptoms.records import Cause, Explanation, RuledOut

__all__ = ["Cause", "Explanation", "RuledOut", "explain"]
