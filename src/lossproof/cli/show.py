"""``lossproof show``: a loss as source text."""

from typing import Annotated

import typer


def command(
    loss: Annotated[
        str, typer.Argument(help='A catalogue id, "id(param=...)", a formula in y and p, or module:function.')
    ],
    target: Annotated[
        str, typer.Option("--as", help="torch, keras, jax, numpy, javascript, mpmath, latex or formula.")
    ] = "torch",
    naive: Annotated[bool, typer.Option("--naive", help="As the formula says, with no rewriting.")] = False,
    gradient: Annotated[
        bool, typer.Option("--gradient", help="Only the gradients, and the second derivative.")
    ] = False,
    steps: Annotated[bool, typer.Option("--steps", help="Show the rewriting steps as comments.")] = False,
    param: Annotated[list[str] | None, typer.Option(help="A formula's parameter, as in delta=0.1.")] = None,
) -> None:
    """Print a loss as paste-ready source: value, gradients and floor, stable behind a sigmoid.

    Example: lossproof show "huber(delta=0.1)" --as numpy
    """
    from lossproof.catalogue import resolve
    from lossproof.lower import source as lowering
    from lossproof.lower.corners import wrong_corner
    from lossproof.lower.kernels import is_committed

    definition = resolve(loss, **parameters(param))
    if target == "latex":
        from lossproof.lower.latex import latex_source

        typer.echo(latex_source(definition).rstrip())
        return
    wanted = ("gradient", "gradient_logits", "curvature_logits") if gradient else lowering.NAMES
    made = lowering.source(definition, "numpy" if target == "formula" else target, naive=naive, names=wanted)
    comment = "//" if target == "javascript" else "#"
    head = [
        f"{definition.label}: {definition.title}",
        f"loss(y, p) = {definition.formula}",
        f"loss(y, sigmoid(z)) = {lowering.readable(made.lowered.value_logits)}",
        f"d/dz = {lowering.readable(made.lowered.gradient_logits)}",
    ]
    if not naive and not is_committed(definition):
        wrong = wrong_corner(definition)
        head += [f"Warning: {wrong}"] if wrong else []
    if steps:
        head += [f"  {step.rule}: {step.before}  ->  {step.after}" for step in made.lowered.steps]
    if target == "formula":
        typer.echo("\n".join(head))
        return
    typer.echo("\n".join(f"{comment} {line}" for line in head))
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
