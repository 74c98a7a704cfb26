"""Advice on the user's own data: which loss, why a logged value looks odd, which common claims hold."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.advise.advice import Advice as Advice
    from lossproof.advise.advice import advise as advise
    from lossproof.advise.goals import GOALS as GOALS
    from lossproof.advise.symptoms import Explanation as Explanation
    from lossproof.advise.symptoms import explain as explain

_PUBLIC = {
    "Advice": "lossproof.advise.advice",
    "Explanation": "lossproof.advise.symptoms",
    "GOALS": "lossproof.advise.goals",
    "advise": "lossproof.advise.advice",
    "explain": "lossproof.advise.symptoms",
}

__all__ = ["GOALS", "Advice", "Explanation", "advise", "explain"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(
            f"module 'lossproof.advise' has no attribute {name!r}; it has: {', '.join(_PUBLIC)}"
        )
    return getattr(import_module(_PUBLIC[name]), name)
