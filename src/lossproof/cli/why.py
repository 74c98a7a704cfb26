"""`lossproof why`: why two losses give different pictures, by a designed experiment."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lossproof.cli.compare import INTERRUPTED, introduction, parse_hidden, split_losses


def command(
    data: Annotated[
        str,
        typer.Argument(
            help="digits, an IDX, .npy or .npz file, a folder of images or of IDX files, hub:NAME."
        ),
    ],
    losses: Annotated[str, typer.Option(help="Two losses, separated by a comma.")] = "bce,mse",
    weight: Annotated[
        str,
        typer.Option(
            help="How the second loss is brought to the first's weight against the rate: rate (equal rates, by "
            "pilot trainings), exchange (equal excess of small errors), or a number."
        ),
    ] = "rate",
    error: Annotated[
        float | None,
        typer.Option(
            help="Error at which the exchange rate is taken.", show_default="what the first reaches"
        ),
    ] = None,
    start: Annotated[
        float, typer.Option(help="Logit at which the arms with a saturated start begin, at the wrong end.")
    ] = 6.0,
    model: Annotated[str, typer.Option(help="vae, conv-vae, ae or conv-ae.")] = "vae",
    latent: Annotated[int | None, typer.Option(help="Width of the code.")] = None,
    hidden: Annotated[
        str | None, typer.Option(help='Widths of the layers between: "400", "512,256", "" for none.')
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    lr: Annotated[float, typer.Option(help="Adam's learning rate.")] = 1e-3,
    beta: Annotated[float, typer.Option(help="Weight of the rate (KL) in the objective.")] = 1.0,
    seeds: Annotated[int, typer.Option(help="Number of seeds; each trains every arm.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Run directory; a new one below lossproof-runs when left out.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Resize an image folder's images to SIZE x SIZE.")] = None,
    grey: Annotated[
        bool | None,
        typer.Option("--grey/--rgb", help="Load images in grey or in colour; as they are when left out."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Name of the array in a .npz file, or column of a hub set.")
    ] = None,
) -> None:
    """Split the difference between two losses into weight, gradient, shape and normaliser, and show each.

    Example: lossproof why digits --losses bce,mse
    """
    from lossproof.data import load
    from lossproof.report.why_page import write
    from lossproof.train.why import why

    images = load(data, size=size, grey=grey, key=key)
    for line in introduction(images):
        typer.echo(line)
    try:
        result = why(
            images,
            split_losses(losses),
            weight=parse_weight(weight),
            error=error,
            start=start,
            model=model,
            latent=latent,
            hidden=None if hidden is None else parse_hidden(hidden),
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            beta=beta,
            seeds=seeds,
            device=device,
            out=out,
            report=write,
            command=shlex.join(["lossproof", *sys.argv[1:]]),
        )
    except KeyboardInterrupt:
        typer.echo("stopped; nothing is kept of the pilot trainings.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    for line in answer(result.directory):
        typer.echo(line)
    typer.echo(f"report: {result.report}")
    if result.interrupted:
        typer.echo("interrupted: the page is partial.")
        raise typer.Exit(INTERRUPTED)


def answer(directory: Path) -> list[str]:
    """The page's sentences, for the terminal."""
    from lossproof.report import why
    from lossproof.report.run import read

    table, design = read(directory).table, why.read_design(directory)
    return why.paragraph(why.effects(table, design), table, design)


def parse_weight(text: str) -> Any:
    """The option as a number where it is one; else as it stands, for the experiment to judge.

    >>> parse_weight("3.5"), parse_weight("rate")
    (3.5, 'rate')
    """
    try:
        return float(text)
    except ValueError:
        return text
