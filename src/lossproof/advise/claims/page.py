"""The claims as one self-contained HTML page: no script, nothing fetched."""

from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lossproof.advise.claims.picture import DASHES, svg
from lossproof.advise.claims.records import Answer, Plot
from lossproof.formula import LossproofError
from lossproof.train.store import write_bytes

_MARKS = {"true": "is-true", "false": "is-false", "true under a condition": "is-condition"}


def write(answers: Sequence[Answer], path: str | Path, *, style: str = "") -> Path:
    """Write the page and return its path; the write is atomic. ``style`` is the house's style sheet, put before ours.

    Raises ``LossproofError`` where the file cannot be written.
    """
    target = Path(path)
    try:
        write_bytes(target, render(answers, style=style).encode())
    except OSError as error:
        raise LossproofError(
            f"{target}: expected a file that can be written, got {error.strerror}. Check the folder."
        ) from None
    return target


def render(answers: Sequence[Answer], *, style: str = "") -> str:
    """The page as one string."""
    environment = Environment(
        loader=PackageLoader("lossproof.advise.claims", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"svg": _picture, "mark": _MARKS.__getitem__}
    own = (
        resources.files("lossproof.advise.claims")
        .joinpath("templates", "claims.css")
        .read_text(encoding="utf-8")
    )
    count = Counter(answer.decision.verdict for answer in answers)
    return environment.get_template("claims.html.j2").render(
        css=Markup(style + own),
        answers=answers,
        dashes=DASHES,
        counts=", ".join(f"{number} {verdict}" for verdict, number in count.most_common()),
    )


def _picture(plot: Plot, key: str) -> Markup:
    return Markup(svg(plot, key))
