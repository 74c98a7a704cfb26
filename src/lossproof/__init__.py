"""lossproof tells you what a reconstruction loss really does, before and while you train with it.

The public names are loaded on first use: ``import lossproof`` pulls in neither torch nor sympy nor pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.api import Compiled as Compiled
    from lossproof.api import compare as compare
    from lossproof.api import compile as compile
    from lossproof.api import loss as loss
    from lossproof.catalogue import CATALOGUE as CATALOGUE
    from lossproof.data import check as check
    from lossproof.data import load as load
    from lossproof.formula import Interval as Interval
    from lossproof.formula import Loss as Loss
    from lossproof.formula import LossproofError as LossproofError
    from lossproof.formula import Param as Param
    from lossproof.formula import Reference as Reference
    from lossproof.likelihood import Levels as Levels
    from lossproof.likelihood import Likelihood as Likelihood
    from lossproof.likelihood import fit_temperature as fit_temperature
    from lossproof.lower import LossFunction as LossFunction
    from lossproof.prove import Certificate as Certificate
    from lossproof.prove import certify as certify

__version__ = "0.1.0"

#: public name -> (module, name there)
_PUBLIC = {
    "CATALOGUE": ("lossproof.catalogue", "CATALOGUE"),
    "Certificate": ("lossproof.prove", "Certificate"),
    "Compiled": ("lossproof.api", "Compiled"),
    "Interval": ("lossproof.formula", "Interval"),
    "Levels": ("lossproof.likelihood", "Levels"),
    "Likelihood": ("lossproof.likelihood", "Likelihood"),
    "Loss": ("lossproof.formula", "Loss"),
    "LossFunction": ("lossproof.lower", "LossFunction"),
    "LossproofError": ("lossproof.formula", "LossproofError"),
    "Param": ("lossproof.formula", "Param"),
    "Reference": ("lossproof.formula", "Reference"),
    "certify": ("lossproof.prove", "certify"),
    "check": ("lossproof.data", "check"),
    "compare": ("lossproof.api", "compare"),
    "compile": ("lossproof.api", "compile"),
    "fit_temperature": ("lossproof.likelihood", "fit_temperature"),
    "load": ("lossproof.data", "load"),
    "loss": ("lossproof.api", "loss"),
}

__all__ = [*_PUBLIC, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lossproof' has no attribute {name!r}; it has: {', '.join(_PUBLIC)}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
