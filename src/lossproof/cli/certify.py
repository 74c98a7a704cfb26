"""``lossproof certify``: what holds of a loss, proved, certified, refuted with numbers, or unknown and why."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from lossproof.formula import Loss
    from lossproof.prove.certificate import Certificate
    from lossproof.report.certificate import Witness

STYLES = {"Proved": "green", "Certified": "cyan", "Refuted": "red", "Unknown": "yellow"}
BUDGET = 10.0  # seconds
STATUS = {"holds": 0, "refuted": 1, "unknown": 2}


def command(
    loss: Annotated[
        str, typer.Argument(help='A catalogue id, "id(param=...)", a formula in y and p, or module:function.')
    ],
    param: Annotated[list[str] | None, typer.Option(help="A parameter's value, as in delta=0.1.")] = None,
    symbolic: Annotated[
        list[str] | None,
        typer.Option(
            help="A parameter to leave open: what is proved holds for its whole range; all for all. Of a formula of "
            'your own with its range, as in "c=(0, inf)".'
        ),
    ] = None,
    decimal: Annotated[
        bool, typer.Option("--decimal", help="Read 0.1 as 1/10, not as the binary number nearest to it.")
    ] = False,
    target: Annotated[str | None, typer.Option(help='Range of y, as in "[0, 1]", the default.')] = None,
    prediction: Annotated[str | None, typer.Option(help='Range of p, as in "[0, 1]", the default.')] = None,
    budget: Annotated[float, typer.Option(help="Seconds after which what is left is unknown.")] = BUDGET,
    only: Annotated[
        list[str] | None, typer.Option(help="Lines to make, separated by commas, as in minimum,convex.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(help="What must hold, separated by commas: minimum, unique, mean, convex-logits, ..."),
    ] = None,
    proof: Annotated[
        bool, typer.Option("--proof", help="Print the derivation, and check every step again.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write one page with table, derivation and pictures.")
    ] = None,
    beside: Annotated[
        str | None, typer.Option(help="A second loss in the page's picture of gradients.")
    ] = None,
    latex: Annotated[
        str | None, typer.Option(help="Write the derivation as a LaTeX document; - prints it.")
    ] = None,
    snippet: Annotated[
        bool, typer.Option("--snippet", help="--latex without preamble, to be included.")
    ] = False,
    json: Annotated[str | None, typer.Option(help="Write the certificate, for recheck; - prints it.")] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Prove a catalogue loss anew; else its stored certificate is shown."),
    ] = False,
) -> None:
    """Certify LOSS: where its minimum is, its floor, what it estimates, its shape, its gradient when it is wrong.

    Each line is Proved (symbolic steps), Certified (rigorous enclosures), Refuted (a counterexample that a
    calculator confirms) or Unknown (with the reason), for the formula in real numbers. A loss of the catalogue, as it
    is, has a stored certificate, which is shown.

    Exit status with --require: 0 if all of it holds, 1 if any of it is refuted, 2 if any of it is unknown (and
    none refuted). 2 as well if LOSS cannot be read, with a message that starts with Error. Without --require: 0.

    Example: lossproof certify "huber(delta=0.1)" --require minimum,convex
    """
    from lossproof.catalogue import resolve
    from lossproof.prove import certify

    asked = _required(require)
    _check_options(latex, json, snippet=snippet, html=html, beside=beside)
    second = None if beside is None else resolve(beside)
    keys = _lines_of(_names(only), asked)
    asked_anew = fresh or param or symbolic or decimal or target or prediction or budget != BUDGET
    stored = None if asked_anew else _stored(loss, keys)
    if stored is not None:
        certificate = stored
    else:
        # the table needs it, and it takes half a second to import: meanwhile the prover works in its own process
        Thread(target=import_module, args=("sympy",), daemon=True).start()
        certificate = certify(
            loss,
            symbolic=_open(symbolic),
            decimal=decimal,
            target=target,
            prediction=prediction,
            budget=budget,
            only=keys,
            **_parameters(param),
        )
    if "-" in (latex, json):
        typer.echo(_latex(certificate, snippet).rstrip() if latex == "-" else certificate.to_json().rstrip())
    else:
        show(certificate, proof=proof, stored=stored is not None)
    for path, text in ((latex, lambda: _latex(certificate, snippet)), (json, certificate.to_json)):
        if path not in (None, "-"):
            _write(Path(str(path)), text())
    if html is not None:
        _page(certificate, html, _drawn(loss, param, symbolic, decimal), second)
    if asked:
        raise typer.Exit(judge(certificate, asked, quiet="-" in (latex, json)))


def judge(certificate: Certificate, asked: list[str], *, quiet: bool = False) -> int:
    """Print what of the requirements holds, and give the exit status."""
    answers = {name: certificate.holds(name) for name in asked}
    for name, found in answers.items():
        typer.echo(
            f"require {name}: {found}" + ("" if found == "holds" else f" - {certificate.why(name)}"),
            err=quiet,
        )
    statuses = {STATUS[found] for found in answers.values()}
    return 1 if 1 in statuses else max(statuses)


def _stored(name: str, keys: list[str] | None) -> Certificate | None:
    """The certificate that comes with the package, if the loss is one of the catalogue and ``keys`` are lines of it."""
    from lossproof.catalogue import CATALOGUE
    from lossproof.prove.committed import certificate_of

    loss = CATALOGUE.get(name.strip())
    return None if loss is None else certificate_of(loss, keys)


def show(certificate: Certificate, *, proof: bool, stored: bool = False) -> None:
    """The certificate on the terminal: head, table, counterexamples, and the derivation if asked for."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from lossproof.report.certificate import MEANING, facts, rows, witnesses

    console = Console(highlight=False)
    console.print(Text(certificate.loss, style="bold"))
    for name, text in facts(certificate):
        console.print(Text(f"{name}: {text}"))
    if stored:
        console.print(Text("stored: proved when this version was made; --fresh proves it anew", style="dim"))
    _table(console, certificate)
    found = witnesses(certificate)
    if found:
        console.print(Text("Counterexamples, for a calculator"))
    for text, questions in _by_text(found):
        console.print(Text(f"  {' '.join(questions)}"))
        console.print(Padding(Text(text), (0, 0, 0, 4), expand=False))
    if proof:
        from lossproof.report.proof_text import proof_text

        console.print()
        unicode = console.is_terminal and (console.encoding or "").lower().startswith("utf")
        typer.echo(proof_text(certificate, width=min(console.width, 100), unicode=unicode))
        typer.echo("\n" + checked(certificate))
    else:
        kinds = [kind for kind in MEANING if any(row.verdict == kind for row in rows(certificate))]
        console.print(Text("\n".join(f"{kind}: {MEANING[kind]}." for kind in kinds), style="dim"))


def _by_text(found: list[Witness]) -> list[tuple[str, list[str]]]:
    """Counterexamples with the questions that they answer; one that answers two is printed once."""
    made: dict[str, list[str]] = {}
    for witness in found:
        made.setdefault(witness.text, []).append(witness.question)
    return list(made.items())


def _table(console: Console, certificate: Certificate) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lossproof.report.certificate import rows

    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.ASCII2, pad_edge=False)
    table.add_column("question", no_wrap=True)
    table.add_column("answer", overflow="fold", ratio=1)
    table.add_column("verdict", no_wrap=True)
    for row in rows(certificate):
        table.add_row(Text(row.question), Text(row.answer), Text(row.verdict, style=STYLES[row.verdict]))
    console.print(table)


def checked(certificate: Certificate) -> str:
    """What the independent checker says of the certificate, in one sentence."""
    from lossproof.report.certificate import summary_of

    return summary_of(certificate.check())


def _latex(certificate: Certificate, snippet: bool) -> str:
    from lossproof.report.proof_latex import proof_latex

    return proof_latex(certificate, document=not snippet)


def _page(certificate: Certificate, path: Path, drawn: Loss, beside: Loss | None) -> None:
    from lossproof.report.certificate_page import write

    written = write(certificate, path, loss=drawn, beside=beside, checked=checked(certificate))
    typer.echo(f"page: {written}", err=True)


def _drawn(loss: str, param: list[str] | None, symbolic: list[str] | None, decimal: bool) -> Loss:
    """The loss that the pictures show: parameters that are left open have some value of their range."""
    from lossproof.prove.reading import read

    return read(
        loss, _parameters(param), _open(symbolic), decimal=decimal, target=None, prediction=None
    ).problem.loss


def _write(path: Path, text: str) -> None:
    from lossproof.formula import LossproofError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LossproofError(f"{path}: expected a file that can be written, got {error.strerror}.") from None
    typer.echo(f"written: {path}", err=True)


def _check_options(
    latex: str | None, json: str | None, *, snippet: bool, html: Path | None, beside: str | None
) -> None:
    from lossproof.formula import LossproofError

    if latex == json == "-":
        raise LossproofError(
            "--latex: expected one text on the standard output, got --latex - and --json -. Name a file."
        )
    if snippet and latex is None:
        raise LossproofError("--snippet: expected --latex FILE or --latex -, got none.")
    if beside is not None and html is None:
        raise LossproofError("--beside: expected --html FILE, got none. The second loss is drawn there.")


def _names(given: list[str] | None) -> list[str]:
    # a comma inside a range separates nothing
    names = [name for text in given or [] for name in re.split(r",(?![^\[(]*[\])])", text)]
    return [name.strip() for name in names if name.strip()]


def _required(given: list[str] | None) -> list[str]:
    """The requirements; an empty one, such as that of an unset variable, is an error and no success."""
    from lossproof.formula import LossproofError

    for text in given or []:
        if not _names([text]):
            raise LossproofError(f"--require: expected names such as minimum,convex, got {text!r}.")
    return _names(given)


def _lines_of(only: list[str], asked: list[str]) -> list[str] | None:
    """The lines to make: those named, and those that the requirements need; None for all."""
    from lossproof.prove.certificate import requirement_line

    needed = [requirement_line(name) for name in asked]  # a misspelt one is refused before the prover starts
    return [*(name.replace("-", "_") for name in only), *needed] if only else None


def _open(given: list[str] | None) -> bool | dict[str, str | None]:
    """Which parameters are left open: all, none, or names, each with the range it is given.

    >>> _open(["all"]), _open(["tau, delta=(0, inf)"])
    (True, {'tau': None, 'delta': '(0, inf)'})
    """
    from lossproof.prove.reading import range_text

    names = _names(given)
    if "all" in names:
        return True
    pairs = [name.partition("=") for name in names]
    return {
        name.strip(): range_text(span.strip()) if equals else None for name, equals, span in pairs
    } or False


def _parameters(pairs: list[str] | None) -> dict[str, Any]:
    """The values of --param; a name that is an option of ``certify`` cannot be passed beside it."""
    import inspect

    from lossproof.cli.show import parameters
    from lossproof.formula import LossproofError
    from lossproof.prove import certify

    values = parameters(pairs)
    taken = sorted(values.keys() & (inspect.signature(certify).parameters.keys() - {"params"}))
    if taken:
        raise LossproofError(
            f"--param: expected a name that is no option, got {taken[0]!r}. Rename it in the formula."
        )
    return dict(values)


__all__ = ["command", "judge", "show"]
