"""From ``"module:function"`` to the function."""

import contextlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lossproof.formula.errors import LossproofError, nearest


@contextlib.contextmanager
def _current_directory_first() -> Iterator[None]:
    """A command's user has the module beside them; ``python -m`` looks there first too."""
    before, here = list(sys.path), str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if sys.path == [here, *before]:
            sys.path[:] = before
        else:  # the module changed the path itself: take away only what was added here
            sys.path.remove(here)


def resolve_callable(spec: str) -> Callable[..., Any]:
    """Import the function that ``"module:function"`` names, with the current directory on the path.

    The module's top-level code runs. Raises ``LossproofError`` for a malformed name, a missing module or
    function (with the nearest names), a module that fails on import, and for what is not a function.

    >>> resolve_callable("math:hypot")(3, 4)
    5.0
    >>> resolve_callable("math:hypotenuse")
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: math:hypotenuse: expected a function of module math, got no
    'hypotenuse' there; did you mean hypot...
    """
    module_name, colon, attribute = spec.partition(":")
    if (
        not colon
        or not attribute
        or not module_name
        or not all(map(str.isidentifier, module_name.split(".")))
    ):
        as_module = module_name.removesuffix(".py").replace("/", ".").strip(".")
        advice = f"Write {as_module}:{attribute or 'loss'}." if as_module else "Write my_losses:charbonnier."
        raise LossproofError(
            f"{spec}: expected module:function with a dotted module name, got {spec!r}. {advice}"
        )
    value: Any = _import(spec, module_name)
    path = module_name
    for part in attribute.split("."):
        if not hasattr(value, part):
            kind = "module" if isinstance(value, ModuleType) else "object"
            known = [n for n in dir(value) if not n.startswith("_") and callable(getattr(value, n, None))]
            hint = f"; {nearest(part, known)}" if len(known) > 0 else ", which has no functions."
            raise LossproofError(f"{spec}: expected a function of {kind} {path}, got no {part!r} there{hint}")
        value, path = getattr(value, part), f"{path}.{part}"
    if inspect.isclass(value):
        raise LossproofError(
            f"{spec}: expected a function, got the class {path}. Name a function that calls an instance."
        )
    if not callable(value):
        raise LossproofError(f"{spec}: expected a function, got {path} of type {type(value).__name__}.")
    function: Callable[..., Any] = value
    return function


def _import(spec: str, module_name: str) -> ModuleType:
    importlib.invalidate_caches()
    with _current_directory_first():
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if module_name != missing and not module_name.startswith(f"{missing}."):
                raise LossproofError(
                    f"{spec}: expected module {module_name} to import, got no module {missing!r}, "
                    "which it needs."
                ) from error
            raise LossproofError(
                f"{spec}: expected a module that can be imported from here, got no module {missing!r}"
                f"{_near_modules(missing)}"
            ) from None
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise LossproofError(f"{spec}: expected module {module_name} to import, got {reason}") from error


def _near_modules(name: str) -> str:
    parent, _, last = name.rpartition(".")
    package = sys.modules.get(parent) if parent else None
    where = list(getattr(package, "__path__", [])) if package else [str(Path.cwd())]
    known = [m.name for m in pkgutil.iter_modules(where)]
    return f"; {nearest(last, known)}" if known else ". Is the current directory the one with your module?"
