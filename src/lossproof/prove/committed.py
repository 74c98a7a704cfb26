"""The certificates that come with the package."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from lossproof.formula import Loss

if TYPE_CHECKING:
    from lossproof.prove.certificate import Certificate


@cache
def committed(name: str) -> str | None:
    """The committed certificate of a catalogue id, as JSON text; None where there is none.

    >>> committed("bce") is None, committed("no such loss") is None
    (False, True)
    """
    for folder in _folders() if name.isidentifier() else ():
        path = folder.joinpath(f"{name}.json")
        if path.is_file():
            return path.read_text(encoding="utf-8")
    return None


def certificate_of(loss: Loss, only: Sequence[str] | None = None) -> "Certificate | None":
    """The committed certificate of exactly this formula at these parameter values; None where there is none.

    ``only``: with the lines that ``certify(..., only=...)`` makes; None if it lacks one of them.

    >>> from lossproof.catalogue import resolve
    >>> list(certificate_of(resolve("bce"), ("unique",)).lines)
    ['minimum', 'unique']
    >>> certificate_of(resolve("huber(delta=0.1)")) is None
    True
    """
    found = _read(loss.id)
    if found is None or found.formula != loss.formula or dict(found.params) != dict(loss.values):
        return None
    if only is None:
        return found
    from lossproof.prove.sections import choose

    keys = [key for section in choose(tuple(only)) for key in section.keys]
    if set(only) <= found.lines.keys():
        return replace(found, lines={key: found.lines[key] for key in keys if key in found.lines})
    return None


@cache
def _read(name: str) -> "Certificate | None":
    from lossproof.prove.certificate import Certificate

    text = committed(name)
    return None if text is None else Certificate.from_json(text)


def _folders() -> list[Traversable]:
    """Where certificates may lie: in the installed package, or beside src/ in a checkout."""
    package = resources.files("lossproof")
    found = [package.joinpath("certificates")]
    source = Path(str(package)).parent
    if source.name == "src" and (source.parent / "pyproject.toml").is_file():
        found.append(source.parent / "certificates")
    return found
