"""``lossproof claims``: common claims about reconstruction losses, decided."""

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lossproof.advise.claims import Answer


def command(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[CLAIM]...", help="Ids of claims; default: all.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write all of it as one page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Decide common claims about BCE, MSE, MAE and log-cosh on images: true, false, or true under a condition.

    Each verdict is computed when the command runs, from certificates and from the formulas. Claims that are
    named are shown with their numbers and what is proved.

    Example: lossproof claims dims reach-zero
    """
    from lossproof.advise.claims import decide

    answers = list(decide(ids or ()))
    if page is not None:
        from importlib import resources

        from lossproof.advise.claims.page import write

        style = (
            resources.files("lossproof.report")
            .joinpath("templates", "report.css")
            .read_text(encoding="utf-8")
        )
        typer.echo(f"wrote {write(answers, page, style=style)}", err=as_json)
    if as_json:
        typer.echo(json.dumps([answer.to_dict() for answer in answers], indent=2))
    elif page is None:
        typer.echo("\n".join(line for answer in answers for line in said(answer, full=bool(ids))).rstrip())


def said(answer: "Answer", *, full: bool, width: int = 80) -> list[str]:
    """An answer as lines of plain text: the verdict and the first reason, or everything."""
    made = answer.decision
    verdict = made.verdict.upper() + (f": {made.condition}" if made.condition else "")
    lines = [*textwrap.wrap(f"{answer.id}: {answer.text}", width), *_indented(verdict, width)]
    for sentence in made.because if full else made.because[:1]:
        lines += _indented(sentence, width)
    if full:
        rows = [made.table.head, *made.table.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(made.table.head))]
        lines += [
            "",
            *("  " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows),
            "",
        ]
        for line in made.evidence:
            lines += _indented(f"- {line}", width)
    return [*lines, ""]


def _indented(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
