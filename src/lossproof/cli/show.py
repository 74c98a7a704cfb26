"""``lossproof show``: a loss as source text."""

from typing import Annotated

import typer


def command(
    loss: Annotated[
        str, typer.Argument(help='A catalogue id, "id(param=...)", a formula in y and p, or module:function.')
    ],
    target: Annotated[str, typer.Option("--as", help="torch or numpy.")] = "torch",
    param: Annotated[
        list[str] | None, typer.Option(help="Value of a formula's parameter, as in delta=0.1.")
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show the rewriting steps as comments.")] = False,
) -> None:
    """Print a loss as paste-ready source: value, gradients and floor, stable behind a sigmoid.

    Example: lossproof show "huber(delta=0.1)" --as numpy
    """
    from lossproof.catalogue import resolve
    from lossproof.lower.source import readable, source

    definition = resolve(loss, **parameters(param))
    made = source(definition, target)
    typer.echo(f"# {definition.label}: {definition.title}")
    typer.echo(f"# loss(y, p) = {definition.formula}")
    typer.echo(f"# loss(y, sigmoid(z)) = {readable(made.lowered.value_logits)}")
    if steps:
        for step in made.lowered.steps:
            typer.echo(f"#   {step.rule}: {step.before}  ->  {step.after}")
    typer.echo(made.text().rstrip())


def parameters(pairs: list[str] | None) -> dict[str, float]:
    """Read ``--param name=number`` options.

    >>> parameters(["delta=0.1"])
    {'delta': 0.1}
    """
    from lossproof.formula.errors import LossproofError

    values = {}
    for pair in pairs or []:
        name, _, text = pair.partition("=")
        try:
            values[name.strip()] = float(text)
        except ValueError:
            raise LossproofError(
                f"--param: expected NAME=NUMBER, got {pair!r}, as in --param delta=0.1."
            ) from None
    return values
