"""The stored outcomes and the page made of them: docs/reproductions.json and docs/reproductions.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lossproof.formula.errors import LossproofError
from lossproof.reproduce.bench import PAPERS
from lossproof.reproduce.record import Experiment, Figure, Goal, Outcome, passed, verdict

PAGE = "reproductions.md"
STORE = "reproductions.json"
MET = {True: "yes", False: "**no**", None: "-"}

HEAD = """# Published numbers, reproduced

Written by `lossproof reproduce --all --data FOLDER --write` from `reproductions.json`, which the same command keeps.
One number alone: `lossproof reproduce NAME --data FOLDER`; FOLDER holds MNIST's four IDX files, or other images, whose
figures are put below, as ours. A minute's cut of all on scikit-learn's digits: `lossproof reproduce --all --quick`.

"Printed" is what the source states, "here" what this program measured, "goal" what was asked of it before it ran.
Every figure is of the test images unless it says otherwise. An ELBO is a mean log-density or log-mass less the rate
(KL), in nats per image, with one code drawn for each image; negative ELBOs are printed where the source prints them.
One seed each. "CPU s" is processor time, which on an idle machine is what the clock says."""

OURS = """The same experiments on other images, with the same settings. Nothing was published for them, so nothing is
reproduced: these are our own numbers, and only goals set by a closed form or a bound on these very images are judged."""


def read_store(folder: Path) -> list[Outcome]:
    """All stored outcomes of a folder; none where it has no store. `LossproofError` for a broken file."""
    path = folder / STORE
    if not path.is_file():
        return []
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return [Outcome.read(entry) for entry in stored]
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise LossproofError(
            f"reproductions: expected a list of outcomes in {path}, got {error}. Delete the file to start anew."
        ) from error


def write(folder: Path, made: Outcome, experiments: Mapping[str, Experiment]) -> None:
    """Put one outcome beside the stored ones, in place of an earlier one of its kind, and write the page anew.

    Raises `LossproofError` for a quick cut, whose figures are no reproduction.
    """
    if made.quick:
        raise LossproofError(
            f"{made.experiment}: expected a full run for {PAGE}, got a quick cut. Leave out --quick or --write."
        )
    key = (made.experiment, made.data)
    kept = [old for old in read_store(folder) if (old.experiment, old.data) != key]
    order = list(experiments)
    outcomes = sorted(
        [*kept, made], key=lambda one: (not one.published, one.data, order.index(one.experiment))
    )
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(one) for one in outcomes], indent=2, allow_nan=False) + "\n"
    (folder / STORE).write_text(text, encoding="utf-8")
    (folder / PAGE).write_text(render(outcomes, experiments), encoding="utf-8")


def render(outcomes: Sequence[Outcome], experiments: Mapping[str, Experiment]) -> str:
    """The page: tables of the papers' own images, a section for each experiment, then tables of other images."""
    parts = [HEAD]
    by_data: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_data.setdefault(one.data, []).append(one)
    if published := by_data.pop(PAPERS, []):
        parts += ["", "## All at a glance", "", *table(published, experiments)]
        for one in published:
            parts += section(experiments[one.experiment], one)
    if by_data:
        parts += ["", "## Other images: ours", "", OURS]
    for name, ours in by_data.items():
        parts += ["", f"### {name}", "", *table(ours, experiments)]
        if missing := [f"`{one}`" for one in experiments if one not in {made.experiment for made in ours}]:
            parts += ["", f"Not run on these images: {', '.join(missing)}."]
        for one in ours:
            experiment = experiments[one.experiment]
            if experiment.remark is not None:
                parts += ["", f"**{experiment.title}.** {experiment.remark(one.figures)}"]
    return "\n".join(parts) + "\n"


def table(outcomes: Sequence[Outcome], experiments: Mapping[str, Experiment]) -> list[str]:
    """A Markdown table, one row a figure, the experiment's name and seconds on its first.

    Of images for which nothing was printed it has no column for that.
    """
    printed = any(one.published for one in outcomes)
    lines = [
        f"| experiment | figure |{' printed |' if printed else ''} here | goal | met | CPU s |",
        f"| --- | --- |{' ---: |' if printed else ''} ---: | --- | --- | ---: |",
    ]
    for one in outcomes:
        for index, (title, was, *others) in enumerate(rows(experiments[one.experiment], one)):
            name, seconds = (f"`{one.experiment}`", f"{one.cpu_seconds:.0f}") if index == 0 else ("", "")
            cells = [name, title, *([was] if printed else []), *others, seconds]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def rows(experiment: Experiment, outcome: Outcome) -> list[tuple[str, str, str, str, str]]:
    """Title, printed number, number here, goal and verdict of each figure."""
    found = []
    for figure in experiment.figures:
        goals = [goal for goal in figure.goals if outcome.published or isinstance(goal.of, str)]
        found.append(
            (
                figure.title,
                (figure.printed if outcome.published else "") or "-",
                f"{outcome.figures[figure.name]:.{figure.digits}f}",
                " and ".join(goal_text(goal, figure, experiment, outcome) for goal in goals) or "-",
                MET[verdict(figure, outcome)],
            )
        )
    return found


def goal_text(goal: Goal, figure: Figure, experiment: Experiment, outcome: Outcome) -> str:
    """A goal in words, with the number it comes to."""
    sign = {"within": 0.0, "at least": -1.0, "at most": 1.0}[goal.kind]
    number = f"{goal.limit(outcome.figures) + sign * goal.by:.{figure.digits}f}"
    if isinstance(goal.of, str):
        titles = {one.name: one.title for one in experiment.figures}
        beyond = f" {'+' if sign > 0 else '-'} {goal.by:g}" if sign and goal.by else ""
        number += f" ({titles[goal.of].partition(',')[0]}{beyond})"
    return f"within {goal.by:g} of {number}" if goal.kind == "within" else f"{goal.kind} {number}"


def section(experiment: Experiment, outcome: Outcome) -> list[str]:
    """What one experiment is, on the paper's images."""
    state = {True: "met", False: "**not met**", None: "not judged"}[passed(experiment, outcome)]
    lines = [
        "",
        f"## {experiment.title}",
        "",
        f"`lossproof reproduce {experiment.name}`: {state}. {outcome.seconds:.0f} seconds by the clock, "
        f"{outcome.cpu_seconds:.0f} of processor time ({outcome.machine}, {outcome.date}).",
        "",
        f"- Source: {experiment.source}",
        f"- Setting here: {outcome.setting}",
        f"- What differs: {experiment.differs}",
    ]
    if experiment.remark is not None:
        lines += ["", experiment.remark(outcome.figures)]
    return lines
