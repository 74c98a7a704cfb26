"""``lossproof recheck``: look again at stored certificates, without the prover."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE.json...", help="Certificates, from certify --json.")
    ],
) -> None:
    """Check stored certificates again: every claim at exact random points, every box, every witness.

    The checker shares no code with the prover. It finds what is wrong or was tampered with; it is no second proof.

    Exit status: 0 if nothing is wrong in any of them, 1 if something is, 2 if a file cannot be read.

    Example: lossproof recheck bce.json
    """
    from lossproof.recheck import recheck
    from lossproof.report.certificate import summary_of

    wrong = 0
    for path in files:
        report = recheck(path)
        typer.echo(f"{path}: {report.loss}")
        typer.echo(f"  {summary_of(report)}".replace("\n", "\n  "))
        wrong += not report.ok
    if len(files) > 1:
        typer.echo(f"{len(files)} certificates, {wrong} of them wrong")
    if wrong:
        raise typer.Exit(1)
