"""One expression -> stable source text for each framework, NumPy functions, and the 50-digit oracle."""

from lossproof.lower.autopsy import autopsy
from lossproof.lower.function import LossFunction, function

__all__ = ["LossFunction", "autopsy", "function"]
