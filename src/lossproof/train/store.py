"""Files of a run directory, each written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lossproof.formula.errors import LossproofError

CONFIG, EVENTS, CHECKPOINTS, TEMPORARY = "config.json", "events.json", "checkpoints", ".writing-"
EXCHANGE = "exchange.json"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, even after a kill, sees the old content or the new, never a part."""
    temporary = path.parent / f"{TEMPORARY}{path.name}"
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # the rename itself is on disk only when the folder is; Windows cannot open folders and does without
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented; NaN and infinities are refused, since other readers would not take them."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode())


def read_config(directory: Path) -> dict[str, Any]:
    """The configuration of a run directory; raises `LossproofError` when there is none to read."""
    path = directory / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LossproofError(
            f"resume: expected {CONFIG} in {directory}, found none: this is no run directory. "
            "Leave --resume out and give an empty --out."
        ) from None
    except (OSError, ValueError) as error:
        raise LossproofError(f"resume: expected JSON in {path}, cannot read it ({error}).") from error
    if not isinstance(config, dict):
        raise LossproofError(f"resume: expected a JSON object in {path}, got {type(config).__name__}.")
    return config


def open_directory(directory: Path, *, resume: bool) -> bool:
    """Make the run directory ready; True when it holds a run to resume, False when it is fresh.

    Raises `LossproofError` when it cannot be written, or holds files and `resume` was not asked for.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f"{TEMPORARY}probe"
        probe.write_bytes(b"")
        probe.unlink()
        # a run killed before its first file was whole leaves nothing but temporary names: that is still fresh
        found = sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith(TEMPORARY))
    except OSError as error:
        raise LossproofError(
            f"out: expected a folder that can be written, got {directory} ({error.strerror}). "
            "Give another --out."
        ) from error
    if found and not resume:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise LossproofError(
            f"out: expected an empty or new folder, got {directory} with {', '.join(found[:3])}{more}. "
            "Give another --out, or --resume to go on with the run in it."
        )
    return bool(found)
