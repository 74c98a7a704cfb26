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
    law,
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
    rich_markup_mode=None,  # rich's help takes half of the time that --help takes
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("advise", short_help="Which loss for this data and goal, with reasons.")(advise.command)
app.command("certify", short_help="Prove where a loss has its minimum, and more.")(certify.command)
app.command("claims", short_help="Common claims about losses: true, false or when.")(claims.command)
app.command("compare", short_help="Train one model under several losses, one report.")(compare.command)
app.command("check", short_help="What a data set is to a loss: range, levels, floor.")(check.command)
app.command("explain", short_help="Name the likely causes of a logged loss.")(explain.command)
app.command("law", short_help="A loss as a likelihood, and where its minimum moves.")(law.command)
app.command("losses", short_help="List the catalogue of losses.")(losses.command)
app.command("recheck", short_help="Check stored certificates without the prover.")(recheck.command)
app.command("reproduce", short_help="Measure a published number again.")(reproduce.command)
app.command("show", short_help="Print a loss as source for a framework.")(show.command)
app.command("why", short_help="Why two losses give different pictures.")(why.command)


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
