"""A loss's functions for a framework: the committed kernel where there is one, else written on the spot."""

import importlib
import linecache
from collections.abc import Callable
from functools import partial
from typing import Any

from lossproof.formula import Loss

NAMES = ("value", "gradient", "value_logits", "gradient_logits", "both_logits", "floor")


def load(loss: Loss, target: str, package: str) -> tuple[dict[str, Callable[..., Any]], str]:
    """Functions by name, with the loss's parameter values bound, and where they come from.

    The second value is the module's name for a committed kernel, else the whole source text.
    """
    module = _committed(loss, package)
    if module is not None:
        given = {p.name: loss.values[p.name] for p in loss.params}
        found: dict[str, Callable[..., Any]] = {
            name: partial(getattr(module, name), **given) for name in NAMES if hasattr(module, name)
        }
        return found, f"{package}.{loss.id}"
    from lossproof.lower.source import source

    text = source(loss, target, bound=True, names=NAMES).text()
    return run(text, f"<lossproof {target} {loss.label}>"), text


def run(text: str, name: str) -> dict[str, Callable[..., Any]]:
    """Execute emitted source; tracebacks show its lines."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {}
    exec(compile(text, name, "exec"), namespace)  # our own emitted text, never a user's
    return {key: namespace[key] for key in NAMES if key in namespace}


def _committed(loss: Loss, package: str) -> Any | None:
    if not loss.id.isidentifier():
        return None
    try:
        module = importlib.import_module(f"{package}.{loss.id}")
    except ModuleNotFoundError as error:
        if error.name != f"{package}.{loss.id}":
            raise
        return None
    # a user's own loss may carry a catalogue id: the definition decides, not the name
    return module if getattr(module, "DEFINITION", None) == loss.hash else None
