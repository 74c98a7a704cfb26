"""The report in sentences. Every number in them is read from the results table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lossproof.report import paired, trained
from lossproof.report.measures import Measure, ordered, split_of
from lossproof.report.readable import fixed, listing, number, parts, span
from lossproof.train.table import MEASURES, at_base

PLATEAU = (
    "A pixel is counted as dead when it is clearly wrong and yet sends almost no gradient back "
    "through the sigmoid. "
    "Behind a sigmoid p = σ(z), the squared error's gradient at the logit is 2(p − y)·p(1 − p): the "
    "factor p(1 − p) "
    "vanishes when p is near 0 or 1, also when that is the wrong end. The gradient of binary "
    "cross-entropy is p − y, "
    "with no such factor, so a wrong pixel always keeps its gradient."
)


COLLAPSED = 0.1  # nats per image: less than a seventh of a bit


def summary(table: pd.DataFrame, config: Mapping[str, Any] | None = None) -> list[str]:
    """What a run shows, in plain sentences: floors and excess per loss, then who is lowest under each common
    measure.

    `table` is the long results table; `config` (the run's config.json) adds what cannot be seen in the
    table. Raises `LossproofError` when the table lacks its columns.
    """
    groups = sections(table, config)
    return [*groups["losses"], *groups["measures"]]


def sections(table: pd.DataFrame, config: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """`summary` in two groups: "losses", each on its own scale, and "measures", on which they compare."""
    paired.check_table(table)
    table = at_base(table, config or {})
    table = table.assign(reason=table["reason"].fillna(""))
    epoch, config = paired.last_epoch(table), config or {}
    return {
        "losses": [
            *floors(table, epoch, config),
            *laws(table, epoch, config),
            *elsewhere(config),
            *rates(table, epoch, config),
        ],
        "measures": [
            *wins(table, epoch, config),
            *single(table, epoch, config),
            *lowest(table, epoch, config),
            *dead(table, epoch),
        ],
    }


def finals(table: pd.DataFrame, measure: str, epoch: int) -> dict[str, float]:
    """Mean over seeds of one measure at `epoch`, per loss; a measure stated only at epoch 0 is read there."""
    split = split_of(measure)
    when = 0 if measure.startswith("mean_image") else epoch
    rows = paired.intervals(table, measure, split=split, epoch=when)
    return {str(row.loss): float(row.mean) for row in rows.itertuples(index=False, name="Row")}  # type: ignore[arg-type]


def floors(table: pd.DataFrame, epoch: int, config: Mapping[str, Any]) -> list[str]:
    """One sentence a loss: where it ends, what of that is the floor, and what the mean image costs."""
    values = {name: finals(table, name, epoch) for name in ("loss", "floor", "excess", "mean_image_loss")}
    lines = []
    for label in paired.losses(table):
        loss, floor, excess, mean_image = (values[n].get(label, float("nan")) for n in values)
        if not np.isfinite(loss):
            why = paired.why_empty(table, label, "loss").rstrip(".")
            lines.append(f"{label}: no result at epoch {epoch}: {why}.")
            continue
        total, low, over = parts(loss, floor, excess)
        entry = trained.entry_of(config, label)
        unit = str(entry.get("unit") or "") if entry.get("decoder") else ""
        total += f" {unit if trained.dense(unit) else 'nats'} per image"
        if np.isneginf(floor):
            text = f"{label} ends at {total}; it has no floor on these images (unbounded below)"
        elif not np.isfinite(floor) or not np.isfinite(excess):
            why = paired.why_empty(table, label, "floor").rstrip(".")
            text = f"{label} ends at {total}; no excess: {why}"
        elif abs(floor) < 1e-9:
            text = f"{label} ends at {total}; its floor is 0, so all of it is excess"
        else:
            text = (
                f"{label} ends at {total}, of which {low} are the floor and cannot be trained "
                f"away: excess {over}"
            )
        if np.isfinite(mean_image):
            text += f"; always predicting the mean image costs {number(mean_image)}"
        lines.append(text + ".")
    return lines


def laws(table: pd.DataFrame, epoch: int, config: Mapping[str, Any]) -> list[str]:
    """Of a calibrated run: what the losses were trained under, which is not what the sentences before state."""
    if not config.get("calibrate"):
        return []
    nats, heat = finals(table, "nats", epoch), finals(table, "temperature", epoch)
    shown = []
    for label, value in nats.items():
        if np.isfinite(value) and np.isfinite(heat.get(label, float("nan"))):
            unit = trained.unit_of(config, label)
            unit = f" {unit}" if trained.dense(unit) else ""
            shown.append(f"{label} {number(value)}{unit} (T = {number(heat[label])})")
    if not shown:
        return []
    what = "excess" if config.get("of") == "excess" else "loss"
    return [
        f"Those are values of the losses themselves; each was trained under {what}/T + log Z, its −log likelihood, which "
        f"ends at, in nats per image: {listing(shown)}."
    ]


def elsewhere(config: Mapping[str, Any]) -> list[str]:
    """A warning for every loss whose minimum is not at p = y."""
    labels = [
        str(entry.get("label")) for entry in config.get("losses", []) if entry.get("minimum") == "elsewhere"
    ]
    if not labels:
        return []
    one = len(labels) == 1
    return [
        f"{listing(labels)} {'is' if one else 'are'} not minimised at p = y: "
        f"{'its' if one else 'their'} excess is zero "
        "at another prediction than the target, and a small excess does not mean a close reconstruction."
    ]


def rates(table: pd.DataFrame, epoch: int, config: Mapping[str, Any]) -> list[str]:
    """For a VAE: what each code carries, which carry nothing, and what one beta means for many losses."""
    shown = {k: v for k, v in finals(table, "rate", epoch).items() if np.isfinite(v)}
    if not any(shown.values()):
        return []
    carried = listing([f"{label} {number(rate)}" for label, rate in shown.items()])
    lines = [f"Rate, what the code carries (KL): {carried} nats per image."]
    excess, mean_image = finals(table, "excess", epoch), finals(table, "mean_image_excess", epoch)
    for label, rate in shown.items():
        own, flat = excess.get(label, float("nan")), mean_image.get(label, float("nan"))
        if rate < COLLAPSED:
            place = "above" if own > flat else "hardly below"
            close = f"; its excess, {number(own)}, is {place} the mean image's, {number(flat)}"
            lines.append(
                f"{label} has collapsed: its code carries {number(rate)} nats per image, so it draws nearly the "
                f"same picture for every input{close if own > 0.95 * flat else ''}."
            )
    if len(shown) > 1 and isinstance(config.get("beta"), int | float):
        lines.append(shared_beta([*shown], config))
    return lines


def shared_beta(labels: Sequence[str], config: Mapping[str, Any]) -> str:
    """What one beta means for many losses, by what each was trained under."""
    beta = f"beta = {config['beta']:g}"
    nats = [label for label in labels if trained.as_likelihood(config, label)]
    if len(nats) == len(labels):
        return (
            f"All were trained as likelihoods, so {beta} weighs a nat of rate against a nat of −log likelihood for each. "
            "Differences between losses hold for that beta."
        )
    raw = [label for label in labels if label not in nats]
    if nats:
        kept, whose = ("it is", "its") if len(raw) == 1 else ("they are", "their")
        scale = f" ({listing(nats)} in nats of −log likelihood, {listing(raw)} as {kept})"
        ruled = f"the smaller the numbers of {listing(raw)}, the more the rate rules {whose} objective"
    else:
        scale, ruled = "", "the smaller the numbers of a loss, the more the rate rules its objective"
    return (
        f"All losses share {beta} but not their scale{scale}: {ruled}. Differences between losses hold for that beta; they "
        "are not differences of the losses' shapes alone."
    )


def single(table: pd.DataFrame, epoch: int, config: Mapping[str, Any]) -> list[str]:
    """With one loss there is nothing to rank: its values under the picture measures, in one sentence."""
    labels = paired.losses(table)
    if len(labels) != 1:
        return []
    shown = []
    for measure in ordered(table.loc[table["split"] == "test", "measure"].drop_duplicates()):
        value = finals(table, measure.name, epoch).get(labels[0], float("nan"))
        if (
            measure.common
            and measure.name in MEASURES
            and measure.name != "dead_pixels"
            and np.isfinite(value)
        ):
            unit = trained.in_unit(measure, trained.unit_of(config, labels[0])).suffix
            shown.append(f"{measure.title} {number(value)}{unit}")
    return [f"{labels[0]} reaches {listing(shown)} on the test images."] if shown else []


def contests(
    table: pd.DataFrame, measure: Measure, config: Mapping[str, Any]
) -> list[tuple[pd.DataFrame, Measure]]:
    """The rows that a measure ranks with one another: all losses; as likelihoods, those of one unit at a time."""
    labels = paired.losses(table)
    units = list(dict.fromkeys(trained.unit_of(config, label) for label in labels))
    if not of_law(measure) or not any(units):
        return [(table, measure)]
    found = []
    for unit in units:
        mine = [label for label in labels if trained.unit_of(config, label) == unit]
        shown = trained.in_unit(measure, unit)
        if len(units) > 1:
            shown = replace(shown, title=f"{shown.title}, of the laws in {unit}")
        if len(mine) > 1:
            found.append((table[table["loss"].isin(mine)], shown))
    return found


def of_law(measure: Measure) -> bool:
    """Whether it measures a loss as a likelihood."""
    return measure.name in MEASURES and MEASURES[measure.name].kind == "likelihood"


def lowest(table: pd.DataFrame, epoch: int, config: Mapping[str, Any]) -> list[str]:
    """For every common measure: the best loss, and whether the interval separates it from the next."""
    present = ordered(table.loc[table["split"] == "test", "measure"].drop_duplicates())
    lines = []
    for measure in present:
        if measure.common and measure.name != "dead_pixels":
            lines += [_best(part, shown, epoch) for part, shown in contests(table, measure, config)]
    return [line for line in lines if line]


def wins(table: pd.DataFrame, epoch: int, config: Mapping[str, Any]) -> list[str]:
    """Which losses are best, or not separated from the best, under how many of the common measures.

    Likelihoods count where all losses have one unit; else not every loss could win.
    """
    several = len({trained.unit_of(config, label) for label in paired.losses(table)}) > 1
    measures = [
        m for m in ordered(table["measure"].drop_duplicates()) if m.common and m.name != "dead_pixels"
    ]
    apart = ""
    if several and any(of_law(m) for m in measures):
        measures = [m for m in measures if not of_law(m)]
        apart = " (likelihoods are not counted: they have several units)"
    counted = [rivals(table, measure, epoch) for measure in measures]
    counted = [(best, near) for best, near in counted if best]
    labels = paired.losses(table)
    if len(labels) < 2 or not counted or int(table["seed"].nunique()) < 2:
        return []
    tally = {label: sum(label == best or label in near for best, near in counted) for label in labels}
    order = sorted((label for label in labels if tally[label]), key=lambda label: -tally[label])
    shown = [f"{label} under {tally[label]}" for label in order]
    never = [label for label in labels if not tally[label]]
    text = (
        f"Of {len(counted)} measures{apart}, best or not measurably different from the best: {listing(shown)}"
    )
    return [text + (f"; {listing(never)} under none." if never else ".")]


def ranking(table: pd.DataFrame, measure: Measure, epoch: int) -> list[tuple[str, float]]:
    """(loss, mean) from best to worst, without losses that have no finite value."""
    values = {k: v for k, v in finals(table, measure.name, epoch).items() if np.isfinite(v)}
    return sorted(values.items(), key=lambda pair: pair[1], reverse=measure.better == "higher")


def rivals(table: pd.DataFrame, measure: Measure, epoch: int) -> tuple[str, set[str]]:
    """The best loss ("" if none), and the losses whose paired interval does not separate them from it."""
    order = ranking(table, measure, epoch)
    if not order:
        return "", set()
    best = order[0][0]
    pairs = paired.differences(table, measure.name, split=split_of(measure.name), epoch=epoch)
    near = set()
    for row in pairs.to_dict("records"):
        if best in (row["first"], row["second"]) and row["seeds"] > 0 and not row["separated"]:
            near.add(str(row["second"] if row["first"] == best else row["first"]))
    return best, near


def _best(table: pd.DataFrame, measure: Measure, epoch: int) -> str:
    order = ranking(table, measure, epoch)
    if len(order) < 2:
        return ""
    (best, value), (second, _) = order[:2]
    superlative = "Highest" if measure.better == "higher" else "Lowest"
    comparative = "above" if measure.better == "higher" else "below"
    unit = measure.suffix
    pairs = paired.differences(table, measure.name, epoch=epoch)
    mask = pairs["first"].isin((best, second)) & pairs["second"].isin((best, second))
    pair = pairs[mask].iloc[0]
    sign = 1.0 if pair["first"] == best else -1.0
    ends = sorted((sign * float(pair["low"]), sign * float(pair["high"])))
    delta = sign * float(pair["difference"])
    head = f"{measure.title[0].upper()}{measure.title[1:]}"
    if pair["reason"]:
        why = "one seed, so there is no interval and the order may be chance"
        return f"{superlative} {measure.title}: {best}, {number(value)}{unit}; next {second} ({why})."
    text = span(delta, ends[0], ends[1])
    if not pair["separated"]:
        return (
            f"{head}: no measurable difference between {best} and {second} at the top "
            f"(paired difference {text}{unit}, 95 % interval over {int(pair['seeds'])} seeds holds 0)."
        )
    return (
        f"{superlative} {measure.title}: {best}, {number(value)}{unit}; it is {comparative} the next, "
        f"{second}, by "
        f"{_size(delta, ends)}{unit} (paired 95 % interval over {int(pair['seeds'])} seeds)."
    )


def _size(delta: float, ends: Sequence[float]) -> str:
    low, high = sorted(abs(end) for end in ends)
    return span(abs(delta), low, high)


def dead(table: pd.DataFrame, epoch: int) -> list[str]:
    """The share of dead pixels at the end, per loss, in percent."""
    if "dead_pixels" not in set(table["measure"]):
        return []
    values = {k: v for k, v in finals(table, "dead_pixels", epoch).items() if np.isfinite(v)}
    if not values:
        return []
    shown = [f"{percent(share)} under {label}" for label, share in values.items()]
    return [f"Dead pixels (wrong, yet almost without gradient) at the end: {listing(shown)}."]


def percent(share: float) -> str:
    """A share in percent, with two significant digits.

    >>> percent(0.0), percent(0.0123), percent(0.5)
    ('0 %', '1.2 %', '50 %')
    """
    value = 100 * share
    if value == 0 or not np.isfinite(value):
        return f"{number(value)} %"
    if value < 0.001:
        return "under 0.001 %"
    return f"{fixed(value, max(0, 1 - int(np.floor(np.log10(value)))))} %"
