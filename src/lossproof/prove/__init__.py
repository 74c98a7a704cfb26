"""Certificates: what holds of a loss, proved, certified, refuted with a witness, or unknown."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.prove.ask import certify as certify
    from lossproof.prove.certificate import REQUIREMENTS as REQUIREMENTS
    from lossproof.prove.certificate import Certificate as Certificate

# on first use: the prover's process and its sections import this package for its parts
_PUBLIC = {
    "Certificate": "lossproof.prove.certificate",
    "REQUIREMENTS": "lossproof.prove.certificate",
    "certify": "lossproof.prove.ask",
}

__all__ = ["REQUIREMENTS", "Certificate", "certify"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lossproof.prove' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
