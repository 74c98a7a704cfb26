"""The certificates that come with the package, as text."""

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path


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


def _folders() -> list[Traversable]:
    """Where certificates may lie: in the installed package, or beside src/ in a checkout."""
    package = resources.files("lossproof")
    found = [package.joinpath("certificates")]
    source = Path(str(package)).parent
    if source.name == "src" and (source.parent / "pyproject.toml").is_file():
        found.append(source.parent / "certificates")
    return found
