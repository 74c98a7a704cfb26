"""A loss's functions for a framework: the committed kernel where there is one, else written on the spot."""

import importlib
import linecache
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from lossproof.formula import Loss

NAMES = ("value", "gradient", "value_logits", "gradient_logits", "both_logits", "fused_logits", "floor")


@dataclass(frozen=True)
class Kernel:
    """Functions of a loss at its parameter values for one framework; all take the target first.

    ``floor`` is None where the place of the minimum has no closed form. ``both_logits`` (torch only) gives value
    and gradient together, with what they share computed once, or the gradient alone (``valued=False``), or the sum of
    the loss in the value's place (``summed=True``); it is for eager use without a graph. ``fused_logits`` (torch only,
    None where nothing is to share) gives both for a compiler that makes one loop of them.
    ``source`` is the text the functions were made from, or the module they were committed in.
    """

    loss: Loss
    target: str
    source: str
    value: Callable[..., Any]
    gradient: Callable[..., Any]
    value_logits: Callable[..., Any]
    gradient_logits: Callable[..., Any]
    both_logits: Any = None
    fused_logits: Any = None
    floor: Callable[..., Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (kernel_of, (self.loss, self.target))

    def __deepcopy__(self, memo: object) -> "Kernel":
        return self


@lru_cache(maxsize=256)
def kernel_of(loss: Loss, target: str) -> Kernel:
    """The functions of a loss for torch, keras or jax, made or found once."""
    functions, source = load(loss, target)
    return Kernel(loss, target, source, **functions)


def load(loss: Loss, target: str) -> tuple[dict[str, Callable[..., Any]], str]:
    """Functions by name, with the loss's parameter values bound, and where they come from.

    The second value is the module's name for a committed kernel, else the whole source text.
    """
    package = f"lossproof.{target}.kernels"
    module = _committed(loss, package)
    if module is not None:
        given = {p.name: loss.values[p.name] for p in loss.params}
        found: dict[str, Callable[..., Any]] = {
            name: partial(getattr(module, name), **given) if given else getattr(module, name)
            for name in NAMES
            if hasattr(module, name)
        }
        return found, f"{package}.{loss.id}"
    from lossproof.lower.corners import warn_of_corners
    from lossproof.lower.source import source

    warn_of_corners(loss)
    text = source(loss, target, bound=True, names=NAMES).text()
    return run(text, f"<lossproof {target} {loss.label}>"), text


def run(text: str, name: str) -> dict[str, Callable[..., Any]]:
    """Execute emitted source; tracebacks show its lines."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {}
    exec(compile(text, name, "exec"), namespace)  # our own emitted text, never a user's
    return {key: namespace[key] for key in NAMES if key in namespace}


def is_committed(loss: Loss) -> bool:
    """True for a loss of the catalogue, whose code is measured in docs/accuracy.md."""
    from lossproof.catalogue import CATALOGUE

    return loss.id in CATALOGUE and CATALOGUE[loss.id].hash == loss.hash


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
