"""What a run directory holds, read once and checked; the report knows nothing else."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lossproof.formula.errors import LossproofError
from lossproof.report.paired import check_table, losses
from lossproof.train.store import EXCHANGE
from lossproof.train.table import at_base


@dataclass(frozen=True)
class Run:
    """One run directory: its configuration, results table, events, latent codes (or None) and pictures.

    `table` and `latent` are those of the base beta alone, `sweep` is the table of all betas; `exchange` is what the data
    say of the losses' weights, empty in older runs.
    """

    directory: Path
    config: dict[str, Any]
    table: pd.DataFrame
    events: list[dict[str, Any]]
    latent: pd.DataFrame | None
    pictures: dict[str, Any]
    sweep: pd.DataFrame
    exchange: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """Loss labels, in the order of the configuration, then of the table."""
        stated = [str(entry["label"]) for entry in self.config.get("losses", []) if entry.get("label")]
        present = losses(self.table)
        return [label for label in stated if label in present] + [
            label for label in present if label not in stated
        ]

    def members(self, label: str) -> list[tuple[str, int]]:
        """(member, seed) of every member of a loss, by seed."""
        rows = self.table.loc[self.table["loss"] == label, ["member", "seed"]].drop_duplicates()
        return sorted(((str(m), int(s)) for m, s in rows.itertuples(index=False)), key=lambda pair: pair[1])

    def picture(self, *parts: str) -> str | None:
        """A PNG below images/ as a data: address, or None when there is none."""
        path = self.directory / "images"
        path = path.joinpath(*parts)
        if not path.is_file() or not path.resolve().is_relative_to((self.directory / "images").resolve()):
            return None
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def read(directory: str | Path) -> Run:
    """Read a run directory; `LossproofError` says which file is missing or broken."""
    root = Path(directory)
    if not root.is_dir():
        raise LossproofError(
            f"report: expected a run directory, got {str(root)!r}, which is no folder. Give --out's value."
        )
    config = _json(root / "config.json", dict, needed=True)
    results = root / "results.parquet"
    if not results.is_file():
        raise LossproofError(
            f"report: expected {results.name} in {root}, found none. Did the run write one epoch?"
        )
    table = _parquet(results)
    check_table(table, where=results.name)
    table = table.assign(reason=table["reason"].fillna(""), loss=table["loss"].astype(str))
    latent_path = root / "latent.parquet"
    latent = _parquet(latent_path) if latent_path.is_file() else None
    if latent is not None and not {"member", "loss", "seed", "label", "x", "y"} <= set(latent.columns):
        raise LossproofError(
            f"report: expected the columns member, loss, seed, label, x, y in {latent_path.name}, "
            f"got {', '.join(map(str, latent.columns))}."
        )
    events = _json(root / "events.json", list, needed=False)
    pictures = _json(root / "images" / "index.json", dict, needed=False)
    exchange = _json(root / EXCHANGE, dict, needed=False)
    base = at_base(table, config)
    if latent is not None:  # members of other betas are other models: their codes are no one cloud
        latent = latent[latent["member"].isin(base["member"].unique())]
    return Run(root, config, base, events, latent, pictures, table, exchange)


def brief(run: Run, reason: str) -> str:
    """A reason that fits into a cell: of a stopped member only when; its message has a section."""
    for event in run.events:
        if event.get("member") and event.get("message") == reason:
            return f"stopped in epoch {event.get('epoch')}"
    return reason


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise LossproofError(
            f"report: expected a parquet table in {path.name}, got a file that cannot be read ({error}). "
            "Run the comparison again with --resume."
        ) from error


def _json(path: Path, kind: type, *, needed: bool) -> Any:
    if not path.is_file():
        if needed:
            raise LossproofError(
                f"report: expected {path.name} in {path.parent}, found none. Is this the run "
                "directory of a comparison?"
            )
        return kind()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LossproofError(
            f"report: expected JSON in {path.name}, got {error}. Run the comparison again with --resume."
        ) from error
    if not isinstance(value, kind):
        raise LossproofError(
            f"report: expected a JSON {'object' if kind is dict else 'list'} in {path.name}, got "
            f"{type(value).__name__}."
        )
    return value
