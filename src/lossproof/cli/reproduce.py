"""``lossproof reproduce``: published numbers, measured again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lossproof.reproduce.record import Experiment, Outcome

FOLDER = Path("docs")


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="linear-vae, pytorch-vae, keras-ae, continuous-bernoulli-vae, beta-binomial-vae or sigma-vae."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All six, one after the other.")] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Images: a folder of IDX files or what compare takes; ./data/mnist when left out."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A cut of seconds, on scikit-learn's digits unless --data is given."),
    ] = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="Write reproductions.md and .json into --out, as each one is done."),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the written page.")] = FOLDER,
) -> None:
    """Measure a published number again: what was printed, what came out here, what differs, whether the goal is met.

    Exit status: 0 if every goal that applies to the images is met, 1 if not.

    Example: lossproof reproduce linear-vae --data mnist
    """
    from lossproof.formula.errors import LossproofError
    from lossproof.reproduce import EXPERIMENTS, prepare, reproduce
    from lossproof.reproduce.page import PAGE, read_store
    from lossproof.reproduce.page import write as write_page
    from lossproof.reproduce.record import passed

    if all_ == (name is not None):
        raise LossproofError(
            f"reproduce: expected a NAME or --all, got {'both' if all_ else 'neither'}. Names: {', '.join(EXPERIMENTS)}."
        )
    if write and quick:
        raise LossproofError(
            f"reproduce: expected a full run for {PAGE}, got a quick cut. Leave out --quick or --write."
        )
    if write:
        read_store(out)  # a store that cannot be read is known before the training, not after it
    bench = prepare(data, quick=quick, say=lambda line: typer.echo(line, err=True))
    failed = False
    for each in EXPERIMENTS if name is None else (name,):
        made = reproduce(each, bench)
        for line in lines(EXPERIMENTS[each], made):
            typer.echo(line)
        if write:
            write_page(out, made, EXPERIMENTS)
        failed |= passed(EXPERIMENTS[each], made) is False
    if write:
        typer.echo(f"page: {out / PAGE}")
    if failed:
        raise typer.Exit(1)


def lines(experiment: Experiment, made: Outcome) -> list[str]:
    """What the terminal shows of an outcome: a line a figure, then what it says."""
    from lossproof.reproduce.page import rows

    cut = ", quick cut" if made.quick else ""
    shown = [f"{experiment.name} on {made.data}{cut}: {experiment.title} ({made.seconds:.0f} s)"]
    for title, printed, here, goal, met in rows(experiment, made):
        was = f"; printed {printed}" if printed != "-" else ""
        asked = "" if goal == "-" else f"; goal {goal}: {'met' if met == 'yes' else 'NOT MET'}"
        shown.append(f"  {title}: {here}{was}{asked}")
    if experiment.remark is not None:
        shown.append(f"  {experiment.remark(made.figures)}")
    return [*shown, ""]
