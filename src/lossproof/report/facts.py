"""What was compared, on what, how it ended, how to repeat it: from the configuration and the events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lossproof.report import paired, trained
from lossproof.report.readable import listing, number
from lossproof.report.run import Run
from lossproof.report.standing import least_at
from lossproof.train.table import base_beta

LONG_TITLE = 60
#: of the configuration, what `compare` takes under the same name
SETTINGS = (
    "losses", "model", "latent", "hidden", "epochs", "batch_size", "lr", "beta", "seeds", "device", "precision",
    "calibrate", "measure", "of", "per", "likelihood", "samples", "load_options",
)  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One line of the head: a name and what it is."""

    name: str
    text: str


def data_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration's part on the data, whether it stands as a mapping or as a name alone."""
    data = config.get("data", {})
    return dict(data) if isinstance(data, Mapping) else {"name": str(data)}


def title(run: Run) -> str:
    """What was compared on what, as the page's title."""
    name = data_of(run.config).get("name", "unnamed data")
    spelled = f"{listing(run.labels)} on {name}"
    return spelled if len(spelled) <= LONG_TITLE else f"{len(run.labels)} losses on {name}"


def headline(run: Run, epoch: int) -> list[Fact]:
    """The facts a reader needs before any number."""
    config, data = run.config, data_of(run.config)
    shape = data.get("shape") or run.pictures.get("shape") or []
    counts = [f"{int(data[split]):,} {split}" for split in ("train", "test") if data.get(split) is not None]
    images = [" and ".join(counts)] if counts else []
    if len(shape) == 3:
        channels, height, width = (int(size) for size in shape)
        images.append(f"{height} × {width} pixels, {'grey' if channels == 1 else f'{channels} channels'}")
    source = str(data.get("source") or "")
    facts = [
        Fact("Losses", listing(run.labels)),
        Fact("Data", str(data.get("name", "unnamed")) + (f" ({source})" if source else "")),
        Fact("Scaling", str(data.get("scaling") or "")),
        Fact("Images", "; ".join(images)),
        Fact("Notes", " ".join(str(note) for note in data.get("notes") or ())),
        Fact("Model", _model(config)),
        Fact("Training", _training(config, epoch)),
        Fact("Seeds", _seeds(run)),
        Fact("Objective", _objective(run)),
        Fact("Device", str(config.get("device") or "")),
    ]
    return [fact for fact in facts if fact.text]


def _variational(config: Mapping[str, Any]) -> bool:
    return "vae" in str(config.get("model", "")) and isinstance(config.get("beta"), int | float)


def _objective(run: Run) -> str:
    term, temperatures = trained.term(run.config), trained.temperatures(run.config)
    if not _variational(run.config):
        return "; ".join(part for part in (term, temperatures) if part)
    return f"{term} + beta × rate{f'; {temperatures}; ' if temperatures else ', '}{_beta(run)}"


def _beta(run: Run) -> str:
    base = f"beta = {base_beta(run.config):g}"
    if "beta" not in run.sweep.columns or run.sweep["beta"].nunique() < 2:
        return base
    every = ", ".join(f"{beta:g}" for beta in sorted(run.sweep["beta"].unique()))
    return f"{base} in tables and pictures; trained at {every}, compared at equal rate below"


def _model(config: Mapping[str, Any]) -> str:
    if not config.get("model"):
        return ""
    hidden = [str(size) for size in config.get("hidden") or ()]
    layers = f", hidden layers {', '.join(hidden)}" if hidden else ", no hidden layer"
    latent = f", {config['latent']} latent units" if config.get("latent") is not None else ""
    return f"{config['model']}{layers}{latent}; sigmoid output"


def _training(config: Mapping[str, Any], epoch: int) -> str:
    parts = []
    if config.get("epochs") is not None:
        planned = int(config["epochs"])
        parts.append(f"{planned} epochs" if epoch >= planned else f"{epoch} of {planned} epochs")
    if config.get("batch_size") is not None:
        parts.append(f"batch {config['batch_size']}")
    if config.get("lr") is not None:
        parts.append(f"learning rate {config['lr']:g}")
    return ", ".join(parts)


def _seeds(run: Run) -> str:
    seeds = sorted(int(seed) for seed in run.table["seed"].unique())
    shared = "; members of one seed share initial weights, batches and noise"
    return f"{len(seeds)} ({', '.join(map(str, seeds))})" + (shared if len(run.labels) > 1 else "")


@dataclass(frozen=True)
class LossCard:
    """One loss as the configuration states it."""

    label: str
    title: str
    formula: str
    values: str
    minimum: str
    minimiser: str
    note: str
    place: int
    least: str


def losses(run: Run) -> list[LossCard]:
    """Label, title, formula and where the minimum is, for every loss of the run."""
    stated = {str(entry.get("label")): entry for entry in run.config.get("losses", [])}
    cards = []
    for place, label in enumerate(run.labels):
        entry = stated.get(label, {})
        cards.append(
            LossCard(
                label,
                str(entry.get("title") or ""),
                str(entry.get("formula") or ""),
                ", ".join(f"{name} = {value}" for name, value in (entry.get("values") or {}).items()),
                str(entry.get("minimum") or ""),
                str(entry.get("minimiser") or ""),
                str(entry.get("note") or ""),
                place,
                least_at(
                    str(entry.get("id") or ""),
                    str(entry.get("formula") or ""),
                    entry.get("values") or {},
                    str(entry.get("minimum") or ""),
                    str(entry.get("minimiser") or ""),
                ),
            )
        )
    return cards


def notices(run: Run, epoch: int) -> list[str]:
    """What a reader must know before trusting the numbers: interruption, stopped members, too few seeds."""
    lines = []
    if any(event.get("interrupted") for event in run.events):
        planned = run.config.get("epochs")
        of = f" of {planned}" if planned is not None else ""
        lines.append(
            f"This run was interrupted: the tables show epoch {epoch}{of}. "
            "The same command with --resume finishes it and writes this report anew."
        )
    stopped = [str(event["member"]) for event in run.events if event.get("member")]
    if stopped:
        verb = "member stopped" if len(stopped) == 1 else "members stopped"
        lines.append(
            f"{len(stopped)} {verb} early: {listing(stopped)}. The reasons are below, under “Stopped "
            "members”."
        )
    if int(run.table["seed"].nunique()) == 1:
        lines.append(
            "One seed: there are no intervals, and differences may be chance. Use --seeds 3 or more."
        )
    return lines


def stops(run: Run) -> list[dict[str, str]]:
    """One row for every member that stopped: who, when, and the message."""
    rows = []
    for event in run.events:
        if event.get("member"):
            rows.append(
                {
                    "member": str(event["member"]),
                    "loss": str(event.get("loss", "")),
                    "epoch": _text(event.get("epoch")),
                    "step": _text(event.get("step")),
                    "term": _text(event.get("term")),
                    "message": str(event.get("message", "")),
                }
            )
    return rows


def _text(value: object) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else str(value)


def reproduce(run: Run) -> dict[str, Any]:
    """Command, versions, seeds and the whole configuration."""
    config = run.config
    command = config.get("command") or ""
    if not isinstance(command, str):
        command = " ".join(str(part) for part in command)
    versions = config.get("versions") or {}
    return {
        "command": command,
        "python": python_call(config),
        "versions": [(str(name), str(version)) for name, version in versions.items()],
        "config": json.dumps(config, indent=2, ensure_ascii=False, default=str),
        "seeds": ", ".join(str(seed) for seed in sorted(int(seed) for seed in run.table["seed"].unique())),
        "epoch": paired.last_epoch(run.table),
    }


def python_call(config: Mapping[str, Any]) -> str:
    """The comparison as a call of the library, with every setting that decides its numbers written out.

    >>> config = {"data": {"name": "digits"}, "losses": [{"label": "bce"}], "epochs": 5, "hidden": [32]}
    >>> print(python_call(config))
    import lossproof
    lossproof.compare(
        "digits",
        losses=["bce"],
        hidden=[32],
        epochs=5,
        precision="float32",
        calibrate=None,
        likelihood=False,
    )
    """
    # what the configuration leaves out is at its default
    every = {"precision": "float32", "calibrate": None, **config, "likelihood": bool(config.get("samples"))}
    every["losses"] = [str(entry.get("label")) for entry in config.get("losses", [])]
    if config.get("betas"):
        every["beta"] = config["betas"]
    settings: dict[str, Any] = {name: every[name] for name in SETTINGS if name in every}
    if engine := config.get("engine"):
        settings |= {"engine": engine["name"], "workers": engine["workers"]}
    if stack := config.get("stack"):
        settings["stack"] = stack["used"]
    lines = [f"    {name}={literal(value)}," for name, value in settings.items()]
    data = literal(str(data_of(config).get("name", "")))
    return "\n".join(["import lossproof", "lossproof.compare(", f"    {data},", *lines, ")"])


def literal(value: Any) -> str:
    """A setting as Python writes it, strings in double quotes.

    >>> print(literal({"grey": True, "losses": ['a "b"'], "size": None}))
    {"grey": True, "losses": ["a \\"b\\""], "size": None}
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(part) for part in value) + "]"
    return repr(value)


def strip_width(run: Run) -> int:
    """CSS width of a picture strip in pixels: small images are enlarged by a whole factor, large ones kept.

    A strip holds `count` images side by side with one pixel between them.
    """
    shape = run.pictures.get("shape") or data_of(run.config).get("shape") or [1, 28, 28]
    count = max(1, int(run.pictures.get("count", 10)))
    side = int(shape[-1])
    factor = max(1, round(72 / side))
    return (count * side + count - 1) * factor
