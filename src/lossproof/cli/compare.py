"""`lossproof compare`: train the same model under each loss and write one report."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lossproof.catalogue.decoder import Decoder
    from lossproof.data import Images
    from lossproof.formula.loss import Loss

DEFAULT = "bce,mse,mae,logcosh"
INTERRUPTED = 130  # what a shell reports for a command ended by SIGINT


def command(
    data: Annotated[
        str,
        typer.Argument(
            help="digits, an IDX, .npy or .npz file, a folder of images or of IDX files, hub:NAME."
        ),
    ],
    losses: Annotated[
        str | None,
        typer.Option(
            help="Losses, separated by commas: ids, id(param=...), formulas or module:function.",
            show_default=DEFAULT,
        ),
    ] = None,
    loss: Annotated[
        list[str] | None, typer.Option(help="One loss; may be given several times, instead of --losses.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER, a parameter of every loss that has one of this name."),
    ] = None,
    model: Annotated[str, typer.Option(help="ae, vae, conv-ae or conv-vae.")] = "vae",
    latent: Annotated[int | None, typer.Option(help="Width of the code.")] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            help='Widths of the layers between, or channels of a conv model: "400", "512,256", "" for none.'
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    lr: Annotated[float, typer.Option(help="Adam's learning rate.")] = 1e-3,
    beta: Annotated[
        str,
        typer.Option(
            help="Weight of the rate (KL) in the objective of a VAE; several, as 0.25,1,4, for a curve."
        ),
    ] = "1",
    seeds: Annotated[int, typer.Option(help="Number of seeds; each trains one member a loss.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Run directory; a new one below lossproof-runs when left out.")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Train each loss as a likelihood, over a temperature that is learned beside the weights, or solved "
            "before each epoch: learned or solved.",
        ),
    ] = None,
    measure: Annotated[
        str,
        typer.Option(
            help="What likelihoods are spread over: the data's grey levels (masses), or interval, [0, 1] (densities)."
        ),
    ] = "levels",
    of: Annotated[
        str, typer.Option(help="What is normalised: loss, or its excess over the floor; two different laws.")
    ] = "loss",
    per: Annotated[
        str,
        typer.Option(
            help="What shares a temperature: all values, or those of a channel, a pixel or an image. An image's own is "
            "solved as the image comes, and its cost is counted."
        ),
    ] = "all",
    likelihood: Annotated[
        bool,
        typer.Option(
            "--likelihood",
            help="Measure each member as a likelihood too: nats, ELBO, importance-weighted bound, bits per pixel.",
        ),
    ] = False,
    samples: Annotated[int, typer.Option(help="Samples of the importance-weighted bound.")] = 64,
    engine: Annotated[
        str,
        typer.Option(
            help="Where members are trained: local (this machine), ray or ray:ADDRESS (a Ray cluster)."
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that train side by side; engine local trains in its own when left out, ray takes what "
            "the cluster offers."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    stack: Annotated[
        str,
        typer.Option(
            help="auto, on or off: train the members side by side as one model, or one by one; auto takes the faster."
        ),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="float32 or bfloat16: of matrix products in training; weights and losses are float32 either way."
        ),
    ] = "float32",
    stream: Annotated[
        str,
        typer.Option(
            help="on leaves the images on disk and reads each batch ahead; auto does so where they would take more than "
            "half of the free memory, off never."
        ),
    ] = "auto",
    size: Annotated[int | None, typer.Option(help="Resize an image folder's images to SIZE x SIZE.")] = None,
    grey: Annotated[
        bool | None,
        typer.Option("--grey/--rgb", help="Load images in grey or in colour; as they are when left out."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Name of the array in a .npz file, or column of a hub set.")
    ] = None,
) -> None:
    """Train one model under several losses from the same start, and report what differs."""
    from lossproof.formula.errors import LossproofError

    if loss and losses is not None:
        raise LossproofError(
            f"losses: expected --losses or --loss, got both (--losses {shlex.quote(losses)} and "
            f"{' '.join(f'--loss {shlex.quote(part)}' for part in loss)}). Put them all into one of the two."
        )
    specs = [part.strip() for part in loss] if loss else split_losses(DEFAULT if losses is None else losses)
    if resume and out is None:
        raise LossproofError("resume: expected --out with the run directory to go on with, got none.")
    interrupted = run(
        data,
        with_parameters(specs, param or []),
        out=out,
        model=model,
        latent=latent,
        hidden=None if hidden is None else parse_hidden(hidden),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        beta=parse_betas(beta),
        seeds=seeds,
        device=device,
        resume=resume,
        stack=stack,
        precision=precision,
        calibrate=calibrate,
        measure=measure,
        of=of,
        per=per,
        likelihood=likelihood,
        samples=samples,
        engine=engine,
        workers=workers,
        load_options={"size": size, "grey": grey, "key": key, "stream": stream},
    )
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def run(data: str, losses: list[Loss | Decoder], *, load_options: dict[str, Any], **options: Any) -> bool:
    """Compare, print where the report is, and say whether it was interrupted."""
    from lossproof.data import load
    from lossproof.report import write
    from lossproof.train import compare

    images = load(data, **load_options)
    for line in introduction(images):
        typer.echo(line)
    out = options.get("out")
    if options.get("resume") and out is not None and not (out.is_dir() and any(out.iterdir())):
        typer.echo(f"note: nothing to resume in {out}: this is a new run")
    command_line = shlex.join(["lossproof", *sys.argv[1:]])
    try:
        result = compare(
            images, losses, report=write, command=command_line, load_options=load_options, **options
        )
    except KeyboardInterrupt:
        typer.echo("stopped at once; --resume goes on from the last checkpoints.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not sys.stderr.isatty():  # on a terminal the live table is still in sight
        for line in result.summary:
            typer.echo(line)
    if result.interrupted:
        partial = "the report is partial" if result.report else "no report: members stand at different epochs"
        typer.echo(f"interrupted: {partial}; --resume with the same options goes on.")
    if result.report:
        typer.echo(f"report: {result.report}")
    return result.interrupted


def introduction(images: Images) -> list[str]:
    """What the data are, and what was done to them."""
    channels, height, width = images.image_shape
    return [
        f"{images.name}: {len(images.train)} training and {len(images.test)} test images, "
        f"{height} x {width} pixels, {channels} channel{'s' * (channels > 1)}; scaling: {images.scaling}",
        *(f"note: {note}" for note in images.notes),
    ]


def split_losses(text: str) -> list[str]:
    """Split at the commas that stand outside parentheses.

    >>> split_losses("bce, huber(delta=0.1),where(y > p, 1, 2)*(y - p)**2")
    ['bce', 'huber(delta=0.1)', 'where(y > p, 1, 2)*(y - p)**2']
    """
    from lossproof.formula.errors import LossproofError

    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    stripped = [part.strip() for part in parts]
    if not all(stripped):
        raise LossproofError(f"losses: expected losses separated by commas, got {text!r}. Try bce,mse.")
    return stripped


def parse_hidden(text: str) -> tuple[int, ...]:
    """Layer widths from "400" or "512,256"; "" is no layer.

    >>> parse_hidden("512, 256"), parse_hidden("")
    ((512, 256), ())
    """
    from lossproof.formula.errors import LossproofError

    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise LossproofError(
            f'hidden: expected whole numbers separated by commas, or "", got {text!r}.'
        ) from None


def parse_betas(text: str) -> float | tuple[float, ...]:
    """One weight of the rate, or several.

    >>> parse_betas("0.5"), parse_betas("0.25, 1,4")
    (0.5, (0.25, 1.0, 4.0))
    """
    from lossproof.formula.errors import LossproofError

    try:
        betas = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise LossproofError(
            f"beta: expected numbers separated by commas, got {text!r}. Try 0.25,1,4."
        ) from None
    return betas if len(betas) > 1 else betas[0]


def with_parameters(specs: list[str], given: list[str]) -> list[Loss | Decoder]:
    """The losses and decoders, each with those of the NAME=NUMBER parameters that it has."""
    from lossproof.catalogue import CATALOGUE, resolve
    from lossproof.catalogue.decoders import decoder_named, find
    from lossproof.formula.errors import LossproofError

    values = {}
    for text in given:
        name, _, number = text.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError:
            raise LossproofError(f"param: expected NAME=NUMBER, got {text!r}.") from None
    used: set[str] = set()
    resolved: list[Loss | Decoder] = []
    for spec in specs:
        if (decoder := decoder_named(spec)) is not None:
            chosen = {s.name: values[s.name] for s in decoder.settings if s.name in values}
            used |= chosen.keys()
            resolved.append(decoder.bind(**chosen))
            continue
        catalogued = CATALOGUE.get(spec.partition("(")[0].strip())
        known = {p.name for p in catalogued.params} if catalogued else set(re.findall(r"[A-Za-z_]\w*", spec))
        mine = {name: value for name, value in values.items() if name in known}
        used |= mine.keys()
        resolved.append(resolve(spec, **mine) if mine else find(spec))
    if unused := sorted(values.keys() - used):
        raise LossproofError(f"param: expected parameters of {', '.join(specs)}, got {', '.join(unused)}.")
    return resolved
