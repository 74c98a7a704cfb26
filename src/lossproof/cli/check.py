"""``lossproof check``: what a data set is to a reconstruction loss."""

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lossproof.data import DataReport, Part, Verdict


def command(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="digits, an IDX file or folder, .npy, .npz, a folder of pictures, or hub:NAME.",
        ),
    ],
    size: Annotated[int | None, typer.Option(help="Resize pictures to SIZE x SIZE pixels.")] = None,
    grey: Annotated[bool | None, typer.Option("--grey/--rgb", help="Force one or three channels.")] = None,
    loss: Annotated[
        list[str] | None, typer.Option(help="A loss to judge (repeatable); default: the whole catalogue.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Array of the .npz file, or column of the hub data set.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a picture that cannot be read; default: skip and count.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what DATA is to a loss: range, levels, entropy floor of BCE, baseline, legal losses.

    The data are read once, in constant memory.

    Exit status: 0 if the data can be trained on as they are, 1 if not (or if a loss named with --loss
    is not legal on them), 2 if they cannot be read.

    Example: lossproof check digits --loss bce --loss "huber(delta=0.1)"
    """
    from lossproof.cli.reading import reading
    from lossproof.data import check

    with reading() as progress:
        report = check(
            data, losses=loss or None, size=size, grey=grey, key=key, strict=strict, progress=progress
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, allow_nan=False))
    else:
        _show(report)
    if not report.legal or (loss and not all(verdict.legal for verdict in report.losses)):
        raise typer.Exit(1)


def _show(report: "DataReport") -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(report.name, style="bold"), Text(f"({report.source})"))
    for note in report.notes:
        console.print(Text(f"note: {note}"))
    console.print()
    _facts(console, report)
    console.print()
    _verdicts(console, report)
    if report.problem:
        console.print()
        console.print(Text(f"Not ready for training. {report.problem}", style="bold red"))
    if report.fix:
        console.print(Text(f"Fix: {report.fix}"), soft_wrap=True)  # one line, to be copied


def _table(console: "Console") -> "Table":
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2)  # ASCII when piped


def _facts(console: "Console", report: "DataReport") -> None:
    c, h, w = report.image_shape
    table = _table(console)
    table.add_column("")
    for part in report.parts:
        table.add_column(part.name, justify="right")
    grid = f", {report.grid} grey levels possible" if report.grid else ""
    for title, values in _rows(report.parts, report.pixels):
        table.add_row(title, *values)
    console.print(f"{c} x {h} x {w} = {report.pixels} values an image; stored as {report.dtype}{grid}")
    console.print(f"scaling: {report.scaling}", markup=False)
    console.print(table)
    if any(part.mean_image is not None for part in report.parts):
        n = report.parts[0].count
        console.print(
            f"clipped mean image: mean of the train images, pixels kept in [1/{2 * n}, 1 - 1/{2 * n}]",
            markup=False,
        )


def _rows(parts: "tuple[Part, ...]", pixels: int) -> list[tuple[str, list[str]]]:
    rows = [
        ("images", [f"{part.count}" for part in parts]),
        ("smallest .. largest value", [f"{part.low:.4g} .. {part.high:.4g}" for part in parts]),
        ("distinct values", ["> 65536" if part.levels is None else f"{part.levels}" for part in parts]),
        ("pixels at 0", [_percent(part.at_zero) for part in parts]),
        ("pixels at 1", [_percent(part.at_one) for part in parts]),
        ("pixels between", [_percent(part.between) for part in parts]),
    ]
    if any(part.outside for part in parts):
        rows.append(("pixels outside [0, 1]", [_percent(part.outside) for part in parts]))
    if any(part.not_finite for part in parts):
        rows.append(("NaN or infinite", [_percent(part.not_finite) for part in parts]))
    if all(part.bce_floor is None for part in parts):
        return rows
    rows += [
        ("BCE floor, nats per image", [_nats(part.bce_floor) for part in parts]),
        ("BCE floor, nats per pixel", [_nats(part.bce_floor, pixels) for part in parts]),
        ("BCE of the clipped mean image", [_nats(part.mean_image) for part in parts]),
        ("  the same, nats per pixel", [_nats(part.mean_image, pixels) for part in parts]),
    ]
    return rows


def _verdicts(console: "Console", report: "DataReport") -> None:
    from rich.text import Text

    short = all(len(v.loss) <= 24 for v in report.losses)
    table = _table(console)
    table.add_column("loss", no_wrap=short, overflow="fold")
    table.add_column("legal")
    table.add_column("floor, nats/image\ntrain / test", justify="right")
    table.add_column("why, and what to do", overflow="fold", ratio=1)
    for v in report.losses:
        if v.legal:
            reasons = [_elsewhere(v.loss)] if v.minimum == "elsewhere" else []
            why = "; ".join([*reasons, v.floor_reason] if v.floor_reason else reasons)
            cells = (v.loss, "yes", _floors(v), why)
        else:
            # the line that repairs the data for all losses stands once, below the table
            why = v.reason if v.fix == report.fix else f"{v.reason}: {v.fix}"
            cells = (v.loss, "no", "-", why)
        table.add_row(*map(Text, cells), style="" if v.legal else "red")
    console.print(table)


def _elsewhere(loss: str) -> str:
    from lossproof.catalogue import resolve
    from lossproof.report.standing import CLAIMED, of_loss

    known = "shown by a counterexample" if "(refuted)" in of_loss(resolve(loss)) else CLAIMED
    return f"its minimum is not at p = y ({known})"


def _floors(v: "Verdict") -> str:
    both = [f for f in (v.train_floor, v.test_floor) if f is not None]
    if not both:
        return "none"
    if all(math.isinf(f) for f in both):
        return "-inf"
    return " / ".join(_nats(f) for f in both)


def _percent(share: float) -> str:
    """Show a share; one that is small but not zero does not read as zero."""
    return f"{100 * share:.2f} %" if share == 0 or share >= 5e-5 else f"{100 * share:.1g} %"


def _nats(value: float | None, divisor: int = 1) -> str:
    if value is None:
        return "-"
    value /= divisor
    value = round(value, 3 if divisor == 1 else 6) + 0.0  # no -0.000
    return f"{value:.3f}" if divisor == 1 else f"{value:.6f}"
