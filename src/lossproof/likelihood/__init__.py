"""Losses as likelihoods: exp(-loss/T)/Z on grey levels, on [0, 1] or on the real line."""

from lossproof.likelihood.histogram import Yardsticks, histogram_bits
from lossproof.likelihood.law import Likelihood, likelihood
from lossproof.likelihood.measures import Levels, RealLine, UnitInterval
from lossproof.likelihood.normaliser import Normaliser
from lossproof.likelihood.temperature import Fitted, fit_temperature

__all__ = [
    "Fitted",
    "Levels",
    "Likelihood",
    "Normaliser",
    "RealLine",
    "UnitInterval",
    "Yardsticks",
    "fit_temperature",
    "histogram_bits",
    "likelihood",
]
