"""One self-contained HTML file from a run directory."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lossproof.report import (
    codes,
    equal_rate_section,
    exchange,
    facts,
    figures,
    likelihoods,
    paired,
    pictures,
    tables,
    words,
)
from lossproof.report.run import Run, read
from lossproof.train.store import write_bytes

NAME = "report.html"


def write(directory: str | Path) -> Path:
    """Write report.html into a run directory, from its files alone, and return its path.

    The file needs nothing else: scripts, styles and images are inside it. The write is atomic. Raises
    `LossproofError` when a needed file is missing or broken.
    """
    run = read(directory)
    target = run.directory / NAME
    write_bytes(target, render(run).encode())
    return target


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break after its underscores.

    >>> _breakable("beta_binomial")
    Markup('beta_<wbr>binomial')
    """
    return Markup("_<wbr>").join(escape(part) for part in name.split("_"))


def render(run: Run) -> str:
    """The page as one string."""
    environment = Environment(
        loader=PackageLoader("lossproof.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    scripts = [_script(_plotly()), _script(_text("report.js"))]
    epoch = paired.last_epoch(run.table)
    columns, rows = tables.by_member(run, epoch)
    matrix_columns, matrix = tables.cross(run, epoch)
    pair_columns, pair_rows = tables.pairs(run, epoch)
    plots = {
        "progress": figures.progress(run),
        "rate": codes.rate_distortion(run, epoch),
        "panels": figures.loss_panels(run),
        "dead": figures.dead_pixels(run),
        "latent": codes.latent_maps(run),
        "chooser": figures.chooser(run),
    }
    equal = equal_rate_section.section(run, epoch)
    laws = likelihoods.section(run, epoch)
    drawn = [g.transform for g in laws.groups if g.transform is not None] if laws else []
    return environment.get_template("report.html.j2").render(
        csp=_policy(scripts),
        scripts=scripts,
        css=Markup(_text("report.css")),
        title=facts.title(run),
        headline=facts.headline(run, epoch),
        notices=facts.notices(run, epoch),
        losses=facts.losses(run),
        summary=words.sections(run.table, run.config),
        plateau=words.PLATEAU,
        mean_image_clip=(run.config.get("evaluation") or {}).get("mean_image_clip", ""),
        plots=plots,
        payload=payload(plots, [*(equal.figures if equal else []), *drawn]),
        equal=equal,
        exchange=exchange.section(run),
        likelihoods=laws,
        epoch=epoch,
        seeds=int(run.table["seed"].nunique()),
        reconstructions=pictures.reconstructions(run, epoch),
        samples=pictures.samples(run, epoch),
        by_loss=tables.by_loss(run, epoch),
        labels=run.labels,
        member_columns=columns,
        member_rows=rows,
        matrix_columns=matrix_columns,
        matrix=matrix,
        pair_columns=pair_columns,
        pair_rows=pair_rows,
        stops=facts.stops(run),
        reproduce=facts.reproduce(run),
        data_name=facts.data_of(run.config).get("name", ""),
        width=facts.strip_width(run),
    )


def payload(plots: dict[str, Any], more: Sequence[figures.Figure] = ()) -> Markup:
    """All plots as JSON for the page's script, safe inside a script element."""
    drawn: dict[str, Any] = {}
    listed = [
        plots["progress"],
        plots["rate"],
        plots["dead"],
        *(figure for panel in plots["panels"] for figure in (panel.whole, panel.excess)),
        *plots["latent"],
        *more,
    ]
    for figure in listed:
        if figure is not None:
            drawn[figure.key] = {"data": figure.data, "layout": figure.layout}
    chooser = plots["chooser"]
    return embed({"figures": drawn, "chooser": chooser["values"] if chooser else {}})


def embed(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, nor start a comment or another element.

    >>> print(embed({"a": "</script><!--", "b": float("nan")}))
    {"a":"\\u003c/script\\u003e\\u003c!--","b":null}
    """
    text = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):  # first: nearly all are
        return float(f"{value:.7g}") if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return value


def _script(text: str) -> Markup:
    body = (
        text.replace("\r\n", "\n")
        .replace("\r", "\n")
        .replace("</script", "<\\/script")
        .replace("<!--", "<\\!--")
    )
    return Markup(body)


def _policy(scripts: list[Markup]) -> str:
    """A content policy under which only these scripts run and nothing can be fetched."""
    hashes = " ".join(
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # a second's import, needed only here

    return str(get_plotlyjs())


def _text(name: str) -> str:
    return resources.files("lossproof.report").joinpath("templates", name).read_text(encoding="utf-8")
