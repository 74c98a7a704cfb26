"""``lossproof explain``: why a logged loss reads as it does."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    value: Annotated[str | None, typer.Option(help="The logged loss: a number, nan or inf.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(help='A catalogue id, "id(param=...)", a formula in y and p, or module:function.'),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, an IDX file or folder, .npy, .npz, a folder of pictures, or hub:NAME."),
    ] = None,
    curve: Annotated[
        Path | None,
        typer.Option(help="Logged losses, .csv or .json: columns loss, val_loss, kl where there."),
    ] = None,
    dump: Annotated[
        Path | None,
        typer.Option(help=".npz with targets and predictions or logits, or .npy of both stacked."),
    ] = None,
    reduction: Annotated[
        str | None, typer.Option(help="mean, nats_per_image, sum, channel_mean or channel_sum.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="The KL term, in nats per image.")] = None,
    kl_weight: Annotated[float | None, typer.Option(help="The factor before the KL term.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch.")] = None,
    shape: Annotated[
        str | None, typer.Option(help="Shape of one image without --data, as in 3x64x64.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Resize pictures to SIZE x SIZE pixels.")] = None,
    grey: Annotated[bool | None, typer.Option("--grey/--rgb", help="Force one or three channels.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Array of the .npz file, or column of the hub data set.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Name the likely causes of a logged loss, a curve or a dump, with the arithmetic, a fix and a check.

    Every cause is decided by computation on what is given; what cannot be told apart is said to be so.
    Exit status: 0 if a cause was found, 1 if none was, 2 if something given cannot be read.

    Example: lossproof explain --loss bce --value 0.30 --data digits
    """
    from lossproof.advise.symptoms import explain
    from lossproof.cli.reading import reading

    with reading() as progress:
        found = explain(
            number(value),
            loss=loss,
            data=data,
            curve=curve,
            dump=dump,
            reduction=reduction,
            rate=rate,
            kl_weight=kl_weight,
            batch_size=batch_size,
            shape=sides(shape),
            size=size,
            grey=grey,
            key=key,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        typer.echo(str(found))
    if not found.causes:
        raise typer.Exit(1)


def number(text: str | None) -> float | None:
    """Read a logged number as programs print it.

    >>> number("-5,299,324"), number("nan"), number(None)
    (-5299324.0, nan, None)
    """
    from lossproof.formula.errors import LossproofError

    if text is None:
        return None
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise LossproofError(f"--value: expected a number, nan or inf, got {text!r}.") from None


def sides(text: str | None) -> tuple[int, ...] | None:
    """Read the shape of an image.

    >>> sides("3x64x64"), sides("784")
    ((3, 64, 64), (784,))
    """
    from lossproof.formula.errors import LossproofError

    if text is None:
        return None
    parts = text.lower().replace(",", "x").split("x")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise LossproofError(f"--shape: expected sides as in 3x64x64, got {text!r}.")
    return tuple(int(part) for part in parts)
