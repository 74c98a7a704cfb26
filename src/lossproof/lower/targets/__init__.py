"""The targets: data that says how each language or framework spells an expression."""

from lossproof.lower.targets.formula import FORMULA
from lossproof.lower.targets.javascript import JAVASCRIPT
from lossproof.lower.targets.jax import JAX
from lossproof.lower.targets.keras import KERAS
from lossproof.lower.targets.mpmath import MPMATH
from lossproof.lower.targets.numpy import NUMPY
from lossproof.lower.targets.spelling import Target
from lossproof.lower.targets.torch import TORCH

#: targets whose source text is a module of functions
TARGETS: dict[str, Target] = {t.id: t for t in (TORCH, KERAS, JAX, NUMPY, JAVASCRIPT, MPMATH)}

__all__ = ["FORMULA", "TARGETS", "Target"]
