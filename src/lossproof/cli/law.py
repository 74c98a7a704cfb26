"""``lossproof law``: a loss as a likelihood, and where normalising moves its minimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy.typing as npt

    from lossproof.likelihood import Likelihood

PREDICTIONS = (0.1, 0.25, 0.5, 0.75, 0.9)


def command(
    loss: Annotated[
        str, typer.Argument(help='A catalogue id, "id(param=...)", a formula in y and p, or module:function.')
    ],
    temperature: Annotated[
        float, typer.Option(help="T of exp(-loss/T)/Z; beta times T weighs the KL term.")
    ] = 1.0,
    measure: Annotated[
        str, typer.Option(help="levels (256 grey levels), a number of levels, interval ([0, 1]) or line.")
    ] = "levels",
    excess: Annotated[
        bool, typer.Option("--excess", help="Normalise the excess over the floor, not the loss itself.")
    ] = False,
    at: Annotated[
        str, typer.Option(help="Predictions, and targets, from 0 to 1, separated by commas.")
    ] = ",".join(map(str, PREDICTIONS)),
    param: Annotated[list[str] | None, typer.Option(help="A formula's parameter, as in delta=0.1.")] = None,
) -> None:
    """Show the law exp(-LOSS/T)/Z: its mean, mode, median and spread, and which prediction makes a target most likely.

    Normalising moves the minimum: what is most likely need not be p = y.

    Example: lossproof law bce --measure interval
    """
    import numpy as np
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lossproof.catalogue import resolve
    from lossproof.cli.show import parameters
    from lossproof.likelihood import Levels, likelihood

    places = _places(at)
    law = likelihood(
        resolve(loss, **parameters(param)),
        temperature,
        int(measure) if measure.isdigit() else measure,
        "excess" if excess else "loss",
    )
    targets = law.measure.nearest(places) if isinstance(law.measure, Levels) else places
    console = Console(highlight=False)
    of = "the excess over the floor of " if excess else ""
    console.print(
        f"exp(-loss/T)/Z of {of}{law.loss.label}, T = {temperature:g}, on {law.measure}", markup=False
    )
    console.print(f"unit of log q: {law.unit}", markup=False)
    style = box.SIMPLE_HEAD if console.is_terminal else box.ASCII2
    table = Table(title="The law of a prediction", title_justify="left", box=style)
    for head in ("p", "mean", "mode", "median", "standard deviation"):
        table.add_column(head, justify="right")
    mode, median = law.mode(places), law.median(places)
    mean, variance = _moment(law.mean, places), _moment(law.variance, places)
    for row in zip(places, mean, mode, median, np.sqrt(variance), strict=True):
        table.add_row(*map(_number, row))
    console.print(table)
    if np.isnan(mean).any() or np.isnan(variance).any():
        console.print("-: none, the tails are too thick")
    table = Table(title="The prediction under which a target is most likely", title_justify="left", box=style)
    for head in ("y", "most likely p", "log q there", "log q at p = y"):
        table.add_column(head, justify="right")
    best = law.most_likely_p(targets)
    for y, p in zip(targets, best, strict=True):
        table.add_row(
            _number(y), _prediction(p), _number(_log_prob(law, y, p)), _number(_log_prob(law, y, y))
        )
    console.print(table)


def _moment(of: Callable[[Any], Any], places: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A moment at each prediction; nan where the tails are too thick to have one."""
    import numpy as np

    from lossproof.formula import LossproofError

    try:
        return np.asarray(of(places))
    except LossproofError:
        return places * float("nan")


def _log_prob(law: Likelihood, y: float, p: float) -> float:
    """log q(y | p); nan at a p of 0 or 1 at which the law is a single point."""
    from lossproof.formula import LossproofError

    try:
        return float(law.log_prob(y, p))
    except LossproofError:
        return float("nan")


def _number(value: float) -> str:
    """A number in five digits; what is only rounding error is 0."""
    return "-" if math.isnan(value) else f"{round(value, 12) + 0.0:.5g}"


def _prediction(p: float) -> str:
    """A prediction in four digits; one close to 1 by its distance.

    >>> _prediction(0.02677), _prediction(1 - 4.561e-05), _prediction(1.0)
    ('0.02677', '1 - 4.561e-05', '1')
    """
    return f"1 - {1 - p:.4g}" if 0.999 < p < 1 else f"{p:.4g}"


def _places(text: str) -> npt.NDArray[Any]:
    import numpy as np

    from lossproof.formula import LossproofError

    try:
        found = np.array([float(part) for part in text.split(",")])
    except ValueError:
        found = np.array([np.nan])
    if not ((found >= 0) & (found <= 1)).all():
        raise LossproofError(f"--at: expected numbers from 0 to 1, as in --at 0.1,0.5, got {text!r}.")
    return found
