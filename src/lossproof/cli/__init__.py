"""The command line: one typer command a file, mounted here."""

import sys

import typer

from lossproof.cli import (
    advise,
    certify,
    check,
    claims,
    compare,
    explain,
    losses,
    recheck,
    reproduce,
    show,
    why,
)

app = typer.Typer(
    name="lossproof",
    help="What a reconstruction loss really does: its floor, its gradient, and a paired comparison on your images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("advise")(advise.command)
app.command("certify")(certify.command)
app.command("claims")(claims.command)
app.command("compare")(compare.command)
app.command("check")(check.command)
app.command("explain")(explain.command)
app.command("losses")(losses.command)
app.command("recheck")(recheck.command)
app.command("reproduce")(reproduce.command)
app.command("show")(show.command)
app.command("why")(why.command)


def _version(wanted: bool) -> None:
    if wanted:
        from lossproof import __version__

        typer.echo(f"lossproof {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Entry point: errors of ours print as one message, exit status 2; a missing extra says how to install it."""
    try:
        app()
    except ValueError as error:
        from lossproof.formula.errors import LossproofError  # brings numpy, which --help can do without

        if not isinstance(error, LossproofError):
            raise
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "lossproof":
            raise
        typer.echo(f'Error: this command needs {error.name}: pip install "lossproof[torch]"', err=True)
        sys.exit(2)
