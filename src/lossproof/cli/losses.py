"""``lossproof losses``: the catalogue."""

import json
from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the catalogue: losses with formula, parameters and where the minimum lies; decoders, which compare takes too.

    Example: lossproof losses
    """
    from lossproof.catalogue import CATALOGUE
    from lossproof.catalogue.decoders import DECODERS
    from lossproof.report.standing import of_loss

    if as_json:
        rows = [
            {"id": loss.id, "title": loss.title, "formula": loss.formula, "minimum": loss.minimum,
             "minimiser": loss.minimiser, "least_at": of_loss(loss),
             "target": str(loss.target), "prediction": str(loss.prediction),
             "params": {p.name: {"default": p.default, "range": str(p.interval), "title": p.title} for p in loss.params},
             "references": [{"text": r.text, "url": r.url} for r in loss.references], "note": loss.note}
            for loss in CATALOGUE.values()
        ]  # fmt: skip
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for minimum, head in (("target", "Least at p = y"), ("elsewhere", "Least NOT at p = y")):
        table = Table(
            title=head, title_justify="left", box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2
        )
        table.add_column("id", no_wrap=True)
        table.add_column("target")
        table.add_column("loss(y, p)", overflow="fold")
        for loss in CATALOGUE.values():
            if loss.minimum == minimum:
                params = ", ".join(f"{p.name}={p.default:g} in {p.interval}" for p in loss.params)
                name = f"{loss.title} ({params})" if params else loss.title
                said = Text(f"{name}\n{loss.formula}\nleast: {of_loss(loss)}")
                table.add_row(Text(loss.id), str(loss.target), said)
        console.print(table)
    table = Table(
        title="Decoders: laws with several outputs per pixel, for compare --losses",
        title_justify="left",
        box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2,
    )
    table.add_column("id", no_wrap=True)
    table.add_column("targets on")
    table.add_column("log q(y | ...)", overflow="fold")
    for decoder in DECODERS.values():
        settings = ", ".join(f"{s.name}={s.default}" for s in decoder.settings)
        name = f"{decoder.title} ({settings})" if settings else decoder.title
        table.add_row(Text(decoder.id), decoder.measure, Text(f"{name}\n{decoder.formula}"))
    console.print(table)
