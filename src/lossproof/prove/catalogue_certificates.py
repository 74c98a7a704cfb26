"""The certificates of the catalogue's losses, as they are committed in ``certificates/``."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lossproof.catalogue import CATALOGUE
from lossproof.prove.ask import certify
from lossproof.prove.record import dumps

BUDGET = 120.0  # seconds: no line may depend on how fast the machine is
MEMORY_MB = 4096


def text_of(loss: str, *, budget: float = BUDGET) -> str:
    """The committed text of a catalogue loss's certificate: no seconds, and no versions of Python's."""
    return dumps(certify(loss, budget=budget, memory_mb=MEMORY_MB).record())


def content(text: str) -> Any:
    """What a certificate says, without the versions that made it."""
    record = json.loads(text)
    return {key: value for key, value in record.items() if key not in ("versions", "sha256")}


def write(folder: Path, ids: Iterable[str] = ()) -> Iterator[str]:
    """Write certificates whose content is new or changed; yield the ids written. Others stay as they are, to the byte."""
    folder.mkdir(parents=True, exist_ok=True)
    for loss in ids or CATALOGUE:
        text, path = text_of(loss), folder / f"{loss}.json"
        if not path.is_file() or content(path.read_text(encoding="utf-8")) != content(text):
            path.write_text(text, encoding="utf-8")
            yield loss


def stale(folder: Path, ids: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Losses whose committed certificate is missing, is not what the prover says now, or does not pass the check."""
    from lossproof.recheck import recheck

    for loss in ids or CATALOGUE:
        path = folder / f"{loss}.json"
        if not path.is_file():
            yield loss, "no certificate"
            continue
        report = recheck(path)
        if not report.ok:
            yield loss, str(report)
        elif content(path.read_text(encoding="utf-8")) != content(text_of(loss)):
            yield loss, "the prover says something else now"
    known = {f"{loss}.json" for loss in CATALOGUE}
    for path in sorted(folder.glob("*.json")):
        if path.name not in known:
            yield path.stem, "no loss of the catalogue"
