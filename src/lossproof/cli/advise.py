"""``lossproof advise``: which loss for these images and this goal, and why."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from lossproof.advise import Advice


def command(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="digits, an IDX file or folder, .npy, .npz, a folder of pictures, or hub:NAME.",
        ),
    ],
    goal: Annotated[
        str, typer.Option(help="reconstruct, sample, denoise, anomaly or represent.")
    ] = "reconstruct",
    loss: Annotated[
        list[str] | None, typer.Option(help="A loss to consider (repeatable); default: the whole catalogue.")
    ] = None,
    budget: Annotated[float, typer.Option(help="Seconds for the pilot trainings; 0 for none.")] = 60.0,
    seeds: Annotated[int, typer.Option(help="Seeds of the pilot.")] = 4,
    size: Annotated[int | None, typer.Option(help="Resize pictures to SIZE x SIZE pixels.")] = None,
    grey: Annotated[bool | None, typer.Option("--grey/--rgb", help="Force one or three channels.")] = None,
    key: Annotated[
        str | None, typer.Option(help="Array of the .npz file, or column of the hub data set.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a picture that cannot be read; default: skip and count.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the advice as one page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say which loss to train with on DATA, with what output and KL weight, why, and what would change this.

    The data are read once, in constant memory. A pilot trains the candidates side by side within the budget; where it
    does not tell two apart, the simpler one is advised. Reasons name their sources: certificates, the data, the pilot.

    Exit status: 0 with advice, 2 if the data cannot be read or no loss is legal on them.

    Example: lossproof advise digits --goal sample --budget 20 --html advice.html
    """
    from lossproof.advise import advise
    from lossproof.advise.goals import goal_of
    from lossproof.cli.reading import bar

    goal_of(goal)  # before anything is read
    with bar() as say:
        advice = advise(
            data, goal, losses=loss or None, budget=budget, seeds=seeds, size=size, grey=grey, key=key, strict=strict,
            progress=say,
        )  # fmt: skip
    if html is not None:
        from lossproof.advise.page import write

        path = write(advice, html)
        if not as_json:
            typer.echo(f"page: {path}")
    if as_json:
        typer.echo(json.dumps(advice.to_dict(), indent=2, allow_nan=False))
    else:
        _show(advice)


def _show(advice: "Advice") -> None:
    from rich import box
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from lossproof.advise.words import fact_rows, floors

    console = Console(highlight=False)
    facts = advice.facts
    console.print(Text(f"{facts.name}: {advice.goal.title}", style="bold"))
    console.print()
    rows = [("loss", advice.loss), ("output", advice.activation), ("reduction", advice.reduction)]
    if advice.beta is not None:
        rows.append(("KL weight", f"{advice.beta:.3g}, with losses and rate summed over an image"))
    else:
        known = math.isfinite(advice.temperature)
        told = f"{advice.temperature:.3g}" if known else "not known: predictions left nothing over"
        rows.append(("temperature", f"{told} (the KL weight, if the model has a KL term)"))
    rows.append(("next best", ", ".join(advice.ranking[1:5])))
    console.print(_grid(rows, bold=True))
    for head, sentences in (
        ("Why", advice.reasons),
        ("Look out for", advice.warnings),
        ("What would change this", advice.changes),
    ):
        if sentences:
            console.print()
            console.print(Text(head, style="bold"))
        for sentence in sentences:
            console.print(Padding(Text(f"- {sentence}"), (0, 0, 0, 1)))
    console.print()
    console.print(Text("Facts", style="bold"))
    console.print(_grid([*fact_rows(facts), ("floors", f"{floors(advice.floors)} (nats per image)")]))
    console.print()
    shown = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2)
    shown.add_column("loss", no_wrap=True)
    for head, width in (("p = y", 5), ("predicts", 11), ("sigmoid", 7), ("law", 6), ("pilot", 7)):
        shown.add_column(head, overflow="fold", min_width=width)
    for label, row in advice.table.items():
        keys = ("minimum", "functional", "alive", "law", "pilot")
        shown.add_row(*map(Text, (label, *(row[key].text or "-" for key in keys))))
    console.print(shown)
    console.print(
        Text(
            "p = y: is it the minimum. predicts: what it estimates. sigmoid: whether its gradient lives where a saturated "
            "pixel is wrong (certificates). law: nats a value as a law of held-out values. pilot: the deciding measure."
        )
    )
    if advice.excluded:
        console.print()
        console.print(Text("Left out", style="bold"))
    reasons: dict[str, list[str]] = {}
    for entry in advice.excluded:
        reasons.setdefault(entry.reason, []).append(entry.label)
    for reason, labels in reasons.items():
        console.print(Padding(Text(f"- {', '.join(labels)}: {reason}"), (0, 0, 0, 1)))
    console.print()
    console.print(Text("PyTorch (Keras, JAX: --json or --html)", style="bold"))
    console.print(Text(advice.code["torch"]), soft_wrap=True)  # to be copied


def _grid(rows: "Sequence[tuple[str, str]]", *, bold: bool = False) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name, style="bold" if bold else ""), Text(text))
    return table
