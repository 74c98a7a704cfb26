"""The page "why they differ": the effects of a designed experiment, read from its run directory alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossproof.formula.errors import LossproofError
from lossproof.report import paired
from lossproof.report.measures import Measure, describe
from lossproof.report.readable import listing, number, span
from lossproof.report.words import percent

DESIGN = "why.json"
SHOWN = ("mse", "ssim", "rate")
EFFECT = (
    *("key", "title", "part", "measure", "seeds", "effect", "low", "high", "separated", "reason", "what"),
    "by_construction",
)


@dataclass(frozen=True)
class Design:
    """The experiment's design as it is stored: losses, weight, arms, steps, what was left out."""

    stored: dict[str, Any]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Effects, each with the labels of the arms added and taken off."""
        return list(self.stored["steps"])

    @property
    def arms(self) -> list[tuple[str, str]]:
        """Label of each arm, and what it is."""
        return [(str(arm["label"]), str(arm["what"])) for arm in self.stored["arms"]]

    def __getitem__(self, name: str) -> Any:
        return self.stored[name]


def read_design(directory: str | Path) -> Design:
    """The design in a run directory; `LossproofError` when there is none, or a part of it is missing."""
    path = Path(directory) / DESIGN
    if not path.is_file():
        raise LossproofError(
            f"why: expected {DESIGN} in {path.parent}, found none. Run `lossproof why` to make one."
        )
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        needed = (
            "first",
            "second",
            "weight",
            "by",
            "error",
            "exchanged",
            "start",
            "measure",
            "arms",
            "steps",
        )
        missing = [name for name in needed if name not in stored]
    except (ValueError, TypeError) as error:
        raise LossproofError(f"why: expected JSON in {path}, got {error}. Run it again.") from error
    if missing:
        raise LossproofError(f"why: expected {', '.join(missing)} in {path}, found none. Run it again.")
    return Design(stored)


def measures(table: pd.DataFrame) -> list[Measure]:
    """The measures that effects are stated in, as far as the table has them; no rate where it is 0 throughout."""
    rows = table[(table["split"] == "test") & np.isfinite(table["value"])]
    names = [n for n in SHOWN if (rows["measure"] == n).any()]
    return [
        describe(n) for n in names if n != "rate" or (rows.loc[rows["measure"] == "rate", "value"] != 0).any()
    ]


def effects(
    table: pd.DataFrame, design: Design, names: Sequence[str] | None = None, *, level: float = 0.95
) -> pd.DataFrame:
    """Every step of the design under every measure: mean over seeds of (sum of plus) - (sum of minus), t interval.

    Columns: key, title, part, measure, seeds, effect, low, high, separated, reason, what, by_construction (True where
    the step's arms cancel, and the effect is exactly 0).
    """
    epoch = paired.last_epoch(table)
    rows = []
    for name in names if names is not None else [m.name for m in measures(table)]:
        wide = paired.at(table, name, epoch=epoch)
        for step in design.steps:
            plus, minus = list(step["plus"]), list(step["minus"])
            for label in [*plus]:
                if label in minus:
                    plus.remove(label)
                    minus.remove(label)
            head = (step["key"], step["title"], bool(step["part"]), name)
            if not plus and not minus:
                rows.append((*head, len(wide), 0.0, 0.0, 0.0, False, "", step["what"], True))
                continue
            if unknown := [label for label in (*plus, *minus) if label not in wide.columns]:
                raise LossproofError(
                    f"why: expected the arm {unknown[0]} in the results, found only {', '.join(map(str, wide.columns))}."
                )
            whole = wide[[*plus, *minus]].dropna()
            sample = (whole[plus].sum(axis=1) - whole[minus].sum(axis=1)).to_numpy()
            mean, low, high = paired.t_interval(sample, level)
            reason = paired.ONE_SEED if sample.size == 1 else ""
            if sample.size == 0:
                empty = next(label for label in (*plus, *minus) if wide[label].isna().any())
                reason = paired.why_empty(table, empty, name)
            apart = bool(low > 0 or high < 0)
            rows.append((*head, int(sample.size), mean, low, high, apart, reason, step["what"], False))
    return pd.DataFrame(rows, columns=list(EFFECT))


def paragraph(frame: pd.DataFrame, table: pd.DataFrame, design: Design) -> list[str]:
    """What the experiment shows, in sentences that follow from the effects."""
    names = [m.name for m in measures(table) if m.name in set(frame["measure"])]
    lines = [line for name in names[:1] for line in whole(frame, table, design, name)]
    lines += [line for name in names if name != "rate" for line in [parts(frame, name)] if line]
    lines += [weighed(design)]
    for key, opening in (
        (
            "start",
            f"Starting the output biases at logit ±{design['start']:g}, the wrong end for every pixel,",
        ),
        ("through", "Replacing only the factor p(1 − p) in the gradient by 1/4"),
        ("normaliser", f"Adding the normaliser T log Z on {design['measure']} at the same T"),
    ):
        for name in names[:1]:
            if line := side(
                frame[(frame["key"] == key) & (frame["measure"] == name)], describe(name), opening
            ):
                lines.append(line)
    lines += [f"Left out: {entry['reason']}" for entry in design.stored.get("skipped", [])]
    return lines


def whole(frame: pd.DataFrame, table: pd.DataFrame, design: Design, name: str) -> list[str]:
    """The difference as it is, with both losses' values and rates."""
    epoch = paired.last_epoch(table)
    row = one(frame, "total", name)
    first, second = design["first"], design["second"]
    values = paired.at(table, name, epoch=epoch).mean()
    measure = describe(name)
    if not row["seeds"]:
        return [f"{first} and {second} share no seed that ended: {row['reason']}."]
    text = (
        f"As they are, {first} ends at a {measure.title} of {number(values[first])} and {second} at "
        f"{number(values[second])}{measure.suffix}: {_difference(row)}"
    )
    if "rate" in set(frame["measure"]):
        rates = paired.at(table, "rate", epoch=epoch).mean()
        text += f". Their codes carry {number(rates[first])} and {number(rates[second])} nats per image"
    return [text + "."]


def parts(frame: pd.DataFrame, name: str) -> str:
    """How the whole difference in one measure splits, largest part first."""
    total = one(frame, "total", name)
    mine = frame[(frame["measure"] == name) & frame["part"] & (frame["seeds"] > 0)]
    if mine.empty or not total["seeds"]:
        return ""
    measure = describe(name)
    ordered = mine.reindex(mine["effect"].abs().sort_values(ascending=False, kind="stable").index)
    texts = []
    for row in ordered.to_dict("records"):
        if row["by_construction"]:
            texts.append(f"{row['title']} exactly 0 ({row['what']})")
            continue
        share = ""
        if total["separated"] and row["separated"]:
            ratio = row["effect"] / total["effect"]
            share = f" ({percent(ratio)} of it)" if ratio > 0 else " (against it)"
        note = "" if row["separated"] or row["seeds"] == 1 else ", not separated from 0"
        texts.append(f"{row['title']} {span(row['effect'], row['low'], row['high'])}{share}{note}")
    start = f"The difference in {measure.title}, {span(total['effect'], total['low'], total['high'])}{measure.suffix}"
    if not total["separated"] and total["seeds"] > 1:
        start += " (not separated from 0)"
    leading = ordered.iloc[0]
    ending = ""
    if leading["separated"]:
        same = np.sign(leading["effect"]) == np.sign(total["effect"])
        ending = f" The largest part is {leading['title']}" + ("." if same else ", against the whole.")
    return f"{start}, splits into {listing(texts)}.{ending}"


def weighed(design: Design) -> str:
    """How the weight was found, and what the exchange rate says of it."""
    first, second, factor = design["first"], design["second"], number(float(design["weight"]))
    predicted = (
        f"the exchange rate, equal mean excess at an error of {design['error']:g}, says {number(float(design['exchanged']))}"
        if design["exchanged"]
        else "there is no exchange rate between them"
    )
    if design["by"] == "rate":
        return (
            f"{second} carries as much as {first} when it counts {factor}-fold (found by pilot trainings of the first "
            f"seed); {predicted}."
        )
    if design["by"] == "exchange":
        return f"{second} is counted {factor}-fold, the exchange rate: equal mean excess at an error of {design['error']:g}."
    if design["by"] == "given":
        return f"{second} is counted {factor}-fold, as asked for; {predicted}."
    return "An autoencoder has no rate: its losses have no weight to be split off."


def side(rows: pd.DataFrame, measure: Measure, opening: str) -> str:
    """Effects beside the split, such as a saturated start of each loss, in one sentence."""
    texts: list[str] = []
    for row in rows[rows["seeds"] > 0].to_dict("records"):
        whose = f"{str(row['title']).partition(', ')[2]}'s" + (f" {measure.title}" if not texts else "")
        if row["separated"] or row["seeds"] == 1:
            verb = "raises" if row["effect"] > 0 else "lowers"
            low, high = sorted((abs(row["low"]), abs(row["high"])))
            texts.append(f"{verb} {whose} by {span(abs(row['effect']), low, high)}{measure.suffix}")
        else:
            text = span(row["effect"], row["low"], row["high"])
            texts.append(f"shows no change of {whose} beyond the seeds' spread ({text})")
    return f"{opening} {listing(texts)}." if texts else ""


def one(frame: pd.DataFrame, key: str, name: str) -> dict[str, Any]:
    """The row of one step under one measure."""
    found = frame[(frame["key"] == key) & (frame["measure"] == name)]
    return {str(k): v for k, v in found.iloc[0].to_dict().items()}


def _difference(row: Mapping[str, Any]) -> str:
    text = span(row["effect"], row["low"], row["high"])
    if row["seeds"] == 1:
        return f"a difference of {text} (one seed, may be chance)"
    if not row["separated"]:
        return f"no measurable difference ({text}, 95 % interval over {row['seeds']} seeds)"
    return f"a difference of {text} (paired 95 % interval over {row['seeds']} seeds)"


def adds_up(frame: pd.DataFrame) -> bool:
    """Whether the parts' effects sum to the whole difference in every measure, as the design promises."""
    for name in frame["measure"].drop_duplicates():
        mine = frame[frame["measure"] == name]
        total = float(mine.loc[mine["key"] == "total", "effect"].iloc[0])
        sum_ = float(mine.loc[mine["part"], "effect"].sum())
        if math.isfinite(total) and abs(sum_ - total) > 1e-9 * max(1.0, abs(total)):
            return False
    return True
