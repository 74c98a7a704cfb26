"""What one logged number says: its floor, its reduction, another quantity than the loss."""

import math
from collections.abc import Iterator

import numpy as np

from lossproof.advise.symptoms import reach
from lossproof.advise.symptoms.case import NEAR, Case
from lossproof.advise.symptoms.readings import REDUCTIONS, Reading, channels_of, readings
from lossproof.advise.symptoms.records import Cause, Finding, RuledOut, Standing, short
from lossproof.advise.symptoms.targets import Targets
from lossproof.data.levels import Levels

FLOOR = "the floor: a perfect reconstruction does not reach 0"
REDUCTION = "another reduction than thought: mean against sum"
COMPLETE = 0.998  # explained: above it a model is nearly perfect, or the number is of another reduction


def floor(case: Case) -> Iterator[Finding | str]:
    """A loss whose least value is not 0 on these targets, and how far the logged value is above it."""
    if case.loss is None or not case.finite or case.value is None or case.value < 0:
        return
    if case.targets is None:
        yield from _floor_unknown(case)
        return
    low = case.floor
    if low is None or not math.isfinite(low):
        return
    if low < 1e-9:
        yield RuledOut("floor", FLOOR, "the floor on these targets is 0: all of the loss is error")
        return
    for reading in case.plausible:
        per = case.per_value(reading)
        if case.flat is not None and per > case.flat[0] and not case.same(per, case.flat[0], NEAR):
            yield _worse(case, per, reading)
            continue
        excess = max(per - low, 0.0)
        lines = [
            f"{short(case.value)} as {reading.words}: {short(per)} per value = {short(low)} floor + "
            f"{short(excess)} excess; {short(100 * low / per)} % of it cannot be trained away"
        ]
        if case.flat is not None:
            flat, name = case.flat
            share = 1 - excess / (flat - low) if flat > low else math.nan
            lines.append(
                f"the {name} for every image costs {short(flat)}: 1 - {short(excess)} / {short(flat - low)} = "
                f"{short(share)} of what can be explained is explained"
            )
        sure = case.reading is not None
        yield Cause(
            "floor",
            FLOOR,
            "shown" if sure else "fits",
            tuple(lines),
            "nothing to fix; log the excess, which is 0 for a perfect reconstruction: "
            f"lossproof.torch.ReconstructionLoss({case.loss.definition.label!r}, excess=True)",
            f"lossproof.loss({case.loss.definition.label!r}).value(y, y).mean() on your own targets is the floor",
            normal=True,
            weight=low / per,
        )


def _worse(case: Case, per: float, reading: Reading) -> Cause:
    """A loss above that of one fixed picture: whatever the floor, nothing was learned."""
    assert case.flat is not None
    flat, name = case.flat
    return Cause(
        "above_flat",
        "worse than one fixed picture: nothing of the images has been learned yet",
        "shown" if case.reading is not None else "fits",
        (
            f"{short(per)} per value ({reading.words}); the {name} for every image costs {short(flat)}, and a bias in "
            "the last layer alone can learn it",
        ),
        "train on; if the loss stands still, look at the learning rate, the gradients and the output activation",
        "the loss of the first hundred steps: it should pass this number within them",
        weight=0.5,
    )


def _floor_unknown(case: Case) -> Iterator[Finding | str]:
    assert case.loss is not None
    high = reach.top_floor(case.loss)
    if high < 1e-9:
        yield RuledOut(
            "floor", FLOOR, "the floor of this loss is 0 for every target: all of the loss is error"
        )
        return
    low, most = reach.bottom(case.loss), reach.even(case.loss)
    if math.isfinite(low) and any(case.per_value(r) <= most for r in case.readings):
        yield Cause(
            "floor",
            FLOOR,
            "possible",
            (
                f"over targets in [0, 1] the floor lies between {short(low)} and {short(high)} per value, "
                "depending on the targets alone",
            ),
            "give the data (--data): the floor is then a number",
            "lossproof check DATA",
            normal=True,
        )


def reduction(case: Case) -> Iterator[Finding | str]:
    """A value that the stated reduction cannot give, or none, or several can."""
    if case.loss is None or not case.finite or case.value is None or case.value < 0:
        return
    if case.targets is not None and not case.legal:
        return
    every = [r for r in readings(case.image_shape, case.batch) if _within(case, r)]
    if case.plausible:
        if case.reduction is None and len(case.plausible) > 1:
            yield _several(case)
        elif case.reduction is None and len(readings(case.image_shape, case.batch)) > 1:
            yield RuledOut("reduction", REDUCTION, _only(case))
        yield from _too_good(case, every)
        if case.reading is not None and case.reading.id == "channel_mean":
            yield from _channels(case, every, "shown")
        elif case.reduction == "nats_per_image" and case.tensors is None:
            yield from (_sum_or_mean(case, r) for r in every if r.id == "channel_mean")
        return
    low, high = case.bounds
    if not case.readings:
        return
    stated = case.readings[0]
    per = case.per_value(stated)
    if per < low:
        lines = [
            f"as {stated.words}, {short(per)} per value is below the floor, {short(low)}: no prediction gives it"
        ]
    else:
        lines = [
            f"as {stated.words}, {short(per)} per value is above {short(high)}, the loss of predicting 1/2 everywhere"
        ]
    fitting = [r for r in every if r.id != stated.id]
    lines += [f"as {r.words}: {short(case.value / r.factor)} per value, between {short(low)} and {short(high)}"
              for r in fitting]  # fmt: skip
    lines += _batches(case, per, stated)
    proved = per < low and len(fitting) == 1 and case.targets is not None
    standing: Standing = "shown" if proved and not _other(case, per) else "fits"
    if [r.id for r in fitting] == ["channel_mean"]:
        yield from _channels(case, fitting, standing)
    elif len(lines) > 1:
        yield Cause(
            "reduction",
            REDUCTION,
            standing,
            tuple(lines),
            "say the reduction by its axes: sum over pixels and channels, mean over the batch "
            "(ReconstructionLoss's default, nats_per_image)",
            "print loss.item() for one batch and for the same batch twice: a sum doubles, a mean does not",
            weight=1.5,
        )
        yield from _channels(case, fitting, "fits")
    if not fitting and per < low and case.targets is not None:
        yield _below(case, case.targets, low)
    yield from _quantity(case, per)


def _below(case: Case, targets: Targets, low: float) -> Cause:
    """A value that no prediction reaches on these targets, whatever the reduction."""
    assert case.loss is not None
    lines = [
        f"as {reading.words}: {short(case.per_value(reading))} per value, below the floor of these targets, {short(low)}"
        for reading in case.readings
    ]
    v, n = targets.levels.values, targets.levels.counts
    ones = int(n[v > 0.5].sum())
    rounded = Levels(np.array([0.0, 1.0]), np.array([int(n.sum()) - ones, ones]), int(n.sum()))
    if not np.isin(v, (0.0, 1.0)).all() and case.loss.definition.target.contains(rounded.values).all():
        least = reach.floor(case.loss, rounded)
        fits = [r for r in case.readings if case.per_value(r) >= least - 1e-12]
        if fits:
            lines.append(
                f"rounded to 0 and 1 the targets have the floor {short(least)}: were they binarised before the loss?"
            )
    return Cause(
        "below_floor",
        "below the floor: the loss did not see these targets as they are, or another quantity is logged",
        "shown",
        tuple(lines),
        "compute the loss of one batch by hand beside the logged number, with the targets that it gets",
        "print target.unique() on the line before the loss, and compare it with the file",
        weight=1.8,
    )


def _within(case: Case, reading: Reading) -> bool:
    low, high = case.bounds
    return low * (1 - 1e-3) - 1e-9 <= case.per_value(reading) <= high * 1.01 + 1e-9


def _several(case: Case) -> str:
    both = "; ".join(f"{r.words}: {short(case.per_value(r))} per value" for r in case.plausible)
    return f"the reduction ({both}): all lie between the floor and a blind guess; give --reduction"


def _too_good(case: Case, every: list[Reading]) -> Iterator[Finding]:
    """A stated reduction under which nearly nothing is left to explain, where another leaves something."""
    if case.reduction is None or case.reading is None or case.flat is None or case.tensors is not None:
        return
    low, flat = case.bounds[0], case.flat[0]
    if not (math.isfinite(low) and flat > low):
        return
    explained = {r.words: 1 - (case.per_value(r) - low) / (flat - low) for r in (case.reading, *every)}
    own = explained[case.reading.words]
    others = [f"as {words}: {short(share)}" for words, share in explained.items() if 0 < share < COMPLETE]
    if own > COMPLETE and others:
        yield Cause(
            "reduction",
            REDUCTION,
            "possible",
            (
                f"as {case.reading.words}, {short(own)} of what the {case.flat[1]} leaves is explained, which few models "
                "reach",
                *others,
            ),
            "say the reduction by its axes: sum over pixels and channels, mean over the batch",
            "print loss.item() beside the mean over all values, computed by hand",
        )


def _sum_or_mean(case: Case, reading: Reading) -> str:
    return (
        f"sum or mean over the channels: {reading.words} ({short(case.per_value(reading))} per value) fits too; look at "
        "the loss's shape before its last sum"
    )


def _only(case: Case) -> str:
    low, high = case.bounds
    reading = case.plausible[0]
    return f"only {reading.words} puts the value between {short(low)} and {short(high)} per value"


def _batches(case: Case, per: float, stated: Reading) -> list[str]:
    """A sum over a batch of unknown size: which sizes fit."""
    assert case.value is not None
    low, high = case.bounds
    if (
        case.batch is not None
        or case.pixels is None
        or per <= high
        or case.reduction in ("mean", "channel_mean")
    ):
        return []
    least = case.value / (case.pixels * high)
    if least <= 1:
        return []
    most = case.value / (case.pixels * low) if low > 0 else math.inf
    upper = f" and at most {most:,.0f}" if math.isfinite(most) else ""
    return [
        f"as {REDUCTIONS['sum']}: {short(case.value)} / {case.pixels} values fits a batch of at least "
        f"{math.ceil(least):,}{upper} images"
    ]


def _channels(case: Case, fitting: list[Reading], standing: Standing) -> Iterator[Finding | str]:
    """The mean over the channels: a third of the loss an image of three channels has."""
    shape = case.image_shape
    if shape is None or channels_of(shape) == 1:
        return
    title = "the mean over the RGB channels in place of their sum"
    chosen = next((r for r in fitting if r.id == "channel_mean"), None)
    if chosen is None or case.reduction not in (None, "nats_per_image", "channel_mean"):
        return
    c = channels_of(shape)
    assert case.value is not None
    yield Cause(
        "channel_mean",
        title,
        standing,
        (
            f"{short(case.value)} x {c} = {short(case.value * c)} nats per image as a sum over all "
            f"{case.pixels} values, {short(case.value / chosen.factor)} per value",
            f"the KL, a sum, then weighs {c} times as much as in the ELBO",
        ),
        f"multiply the reconstruction by {c}, or sum over the channels: Keras' binary_crossentropy averages over "
        "the last axis",
        "keras.losses.binary_crossentropy(x, p).shape: the channel axis is gone",
        weight=1.6,
    )


def _other(case: Case, per: float) -> list[str]:
    """Quantities other than the loss in nats that make the value plausible."""
    low, high = case.bounds
    found = []
    for name, factor in (
        ("a logarithm to base 10", math.log(10)),
        ("a logarithm to base 2 (bits)", math.log(2)),
    ):
        if low * (1 - 1e-3) <= per * factor <= high * 1.01 and not low <= per <= high:
            found.append(f"{name}: {short(per)} x {factor:.4f} = {short(per * factor)} nats per value")
    if 0 < low <= per + low <= high:
        found.append(
            f"the excess, with the floor taken off: {short(per)} + {short(low)} = {short(per + low)}"
        )
    return found


def _quantity(case: Case, per: float) -> Iterator[Finding | str]:
    found = _other(case, per)
    if not found:
        return
    yield Cause(
        "quantity",
        "another quantity is logged than this loss in nats",
        "possible",
        tuple(found),
        "log the loss itself, in nats",
        "compute the loss of one batch by hand beside the logged number",
    )


def total(case: Case) -> Iterator[Finding | str]:
    """Whether the logged number holds the KL too."""
    if case.loss is None or case.value is None or not case.rate or case.reading is None or case.computed:
        return
    weight = 1.0 if case.kl_weight is None else case.kl_weight
    rest = case.value - weight * case.rate
    low = case.bounds[0] * case.reading.factor
    if weight * case.rate > NEAR * abs(case.value) and rest >= low:
        yield (
            f"the reconstruction, or the whole objective: if {short(case.value)} holds the KL ({short(weight)} x "
            f"{short(case.rate)}), the reconstruction is {short(rest)} as {case.reading.words}"
        )


def curve_pair(case: Case) -> Iterator[Finding | str]:
    """Training and validation losses that differ by a constant factor: they are not computed alike."""
    curve = case.curve
    if curve is None or curve.valid is None or not curve.train.size:
        return
    n = min(curve.train.size, curve.valid.size)
    train, valid = curve.train[-n:], curve.valid[-n:]
    good = np.isfinite(train) & np.isfinite(valid) & (train > 0) & (valid > 0)
    if not good.any():
        return
    ratios = valid[good] / train[good]
    ratio, wobble = float(np.median(ratios)), float(np.log(ratios).std())
    if 1 / 5 < ratio < 5 or wobble > 0.3:
        return
    big = max(ratio, 1 / ratio)
    lines = [f"validation / training = {short(ratio)}, nearly the same at all {int(good.sum())} points"]
    every = readings(case.image_shape, case.batch)
    for one in every:
        for other in every:
            if one.factor > other.factor and abs(one.factor / other.factor / big - 1) < 0.1:
                lines.append(
                    f"{one.words} against {other.words} is a factor of {short(one.factor / other.factor)}"
                )
    yield Cause(
        "reduction",
        "training and validation losses are not computed alike",
        "fits",
        (
            *lines,
            "overfitting makes a gap that grows; a constant factor is another reduction or another KL weight",
        ),
        "compute both by one function, with the same reduction and the same KL weight",
        "run the training loss on a validation batch in evaluation mode",
        weight=1.5,
    )
