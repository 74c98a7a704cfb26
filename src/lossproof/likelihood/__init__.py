"""Losses as likelihoods: exp(-loss/T)/Z on grey levels, on [0, 1] or on the real line."""

from lossproof.likelihood.law import Likelihood, likelihood
from lossproof.likelihood.measures import Levels, RealLine, UnitInterval
from lossproof.likelihood.normaliser import Normaliser

__all__ = ["Levels", "Likelihood", "Normaliser", "RealLine", "UnitInterval", "likelihood"]
