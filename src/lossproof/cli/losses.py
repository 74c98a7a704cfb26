"""``lossproof losses``: the catalogue."""

import json
from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the losses of the catalogue: id, formula, parameters, where the minimum lies and how that is known.

    Example: lossproof losses
    """
    from lossproof.catalogue import CATALOGUE
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
