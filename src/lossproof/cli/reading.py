"""A progress bar on the terminal while data are read: gone when it is done, silent in a pipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar() -> Iterator[Callable[[str, float], None]]:
    """Give a function that is told a stage and the share of it that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    shown = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with shown:
        task = shown.add_task("reading", total=1.0)
        yield lambda stage, share: shown.update(task, description=stage, completed=share)


@contextmanager
def reading() -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told how many images were read, of how many."""
    with bar() as say:
        yield lambda done, total: say("reading", done / max(1, total))
