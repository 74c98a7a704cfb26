"""Pages and texts from results: a comparison's report, and how a certificate reads.

    report.write(run_dir) -> Path          the page of a comparison, from the run directory's files alone
    report.summary(table, config) -> list  the same in plain sentences
    report.paired.differences(table, ...)  paired differences between losses, with intervals over seeds
    report.certificate, report.proof       a certificate as table rows, its derivation as text and LaTeX

Nothing here imports torch; names are loaded on first use, so that a certificate needs no pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossproof.report import paired as paired
    from lossproof.report.page import write as write
    from lossproof.report.words import summary as summary

_PUBLIC = {"summary": ("lossproof.report.words", "summary"), "write": ("lossproof.report.page", "write")}

__all__ = ["paired", "summary", "write"]


def __getattr__(name: str) -> Any:
    if name == "paired":
        return import_module("lossproof.report.paired")
    if name not in _PUBLIC:
        raise AttributeError(
            f"module 'lossproof.report' has no attribute {name!r}; it has: {', '.join(__all__)}"
        )
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)
