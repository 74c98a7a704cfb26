"""Models that do nothing: one picture for every image, one grey for every pixel, a code without information."""

import math
from collections.abc import Iterator

import numpy as np

from lossproof.advise.symptoms import reach
from lossproof.advise.symptoms.case import NEAR, Case
from lossproof.advise.symptoms.readings import Reading
from lossproof.advise.symptoms.records import Cause, Finding, RuledOut, percent, short
from lossproof.lower import LossFunction
from lossproof.lower.watch import DEAD_GRADIENT, largest_slope

COLLAPSED = 0.1  # nats per image: less than a seventh of a bit, as in the report of a comparison
COLLAPSE = "collapse: every image gets the same picture"
STEPS = 60  # of the power iteration
H = 1e-4
SHARE = 0.03  # two losses this near, as a share of their distance from the floor, are one symptom


def collapse(case: Case) -> Iterator[Finding | str]:
    """A code without information: rate near 0, equal predictions, or the loss of the best fixed picture."""
    lines: list[str] = []
    against = ""
    if case.rate is not None:
        if case.rate < COLLAPSED:
            lines.append(f"rate {short(case.rate)} nats per image: the code tells less than {COLLAPSED} nats")
        else:
            against = f"the rate is {short(case.rate)} nats per image: the code tells images apart"
    same = _same_pictures(case)
    shown = bool(lines)
    if same is not None:
        share, said = same
        if share < NEAR:
            lines.append(said)
            shown = True
        else:
            against = against or said
    near = _near_flat(case)
    if near is not None:
        lines.append(near)
    elif case.flat is not None and case.finite and case.plausible and not shown:
        per, flat = max(case.per_value(r) for r in case.plausible), case.flat[0]
        if per < flat and not case.same(per, flat, SHARE):
            against = against or f"{short(per)} per value is below {short(flat)}, the {case.flat[1]}'s loss"
    if against and not shown:
        yield RuledOut("collapse", COLLAPSE, against)
        return
    if not lines:
        return
    yield Cause(
        "collapse",
        COLLAPSE,
        "shown" if shown else "fits",
        tuple(lines),
        "weigh the KL less (sum the reconstruction over pixels, warm the KL up), or let the decoder see the code",
        "draw the decodings of ten images side by side; log the KL in nats per image",
        weight=1.8,
    )
    if not shown and case.rate is None:
        yield (
            "collapse, or a decoder that has not started to use its code: both draw the mean image; the rate "
            "(--rate) tells, an autoencoder without KL cannot collapse this way"
        )


def _near_flat(case: Case) -> str | None:
    if case.flat is None or not case.finite:
        return None
    flat, name = case.flat
    for reading in case.readings:
        per = case.per_value(reading)
        if case.same(per, flat, SHARE):
            return f"{short(per)} per value ({reading.words}) is the loss of the {name} for every image, {short(flat)}"
    return None


def _same_pictures(case: Case) -> tuple[float, str] | None:
    """The spread of predictions over images, as a share of the targets'."""
    if case.tensors is None or len(case.tensors.targets) < 4:
        return None
    p = case.tensors.predictions if case.tensors.predictions is not None else case.tensors.logits
    assert p is not None
    y = case.tensors.targets
    if not (np.isfinite(p).all() and np.isfinite(y).all()) or float(y.var(axis=0).mean()) == 0:
        return None
    if case.tensors.predictions is None:
        p = 1 / (1 + np.exp(-np.clip(p, -700, 700)))
    share = float(p.var(axis=0).mean() / y.var(axis=0).mean())
    return share, f"over the images, predictions vary by {percent(share)} of the targets' variance"


def effective_beta(case: Case) -> Iterator[Finding | str]:
    """The weight of the KL that a reduction amounts to, beside a reconstruction summed over the image."""
    if case.loss is None or case.pixels is None or (case.rate is None and case.kl_weight is None):
        return
    title = "mean against sum: the KL weighs more than it seems"
    if case.reading is None:
        if len(case.plausible) > 1:
            yield "the effective beta: it depends on the reduction (--reduction)"
        return
    weight = 1.0 if case.kl_weight is None else case.kl_weight
    beta = weight * case.pixels / case.reading.factor
    if abs(beta - 1) < 1e-9:
        yield RuledOut("effective_beta", title, "reconstruction and KL are both sums over an image: beta = 1")
        return
    lines = [
        f"{case.reading.words}, beside a KL in nats per image times {short(weight)}: times {case.pixels} / "
        f"{short(case.reading.factor)} this is sum + beta KL with beta = {short(beta)}"
    ]
    lines += _variance(case, beta)
    if beta < 1:
        title = "mean against sum: the KL weighs less than it seems"
    low = case.rate is not None and case.rate < COLLAPSED
    yield Cause(
        "effective_beta",
        f"{title}, effective beta {short(beta)}",
        "shown",
        tuple(lines),
        f"sum the reconstruction over the image, or weigh the KL by {short(case.reading.factor / case.pixels)}",
        "multiply the whole objective so that the reconstruction is a sum over the image; beta is what stands at the KL",
        weight=1.9 if beta > 1 and low else 1.0,
    )


def _variance(case: Case, beta: float) -> list[str]:
    """For a loss with one curvature everywhere: the Gaussian variance that beta means, against the data's spectrum."""
    assert case.loss is not None
    c = curvature(case.loss)
    if c is None:
        return []
    variance = beta / c
    lines = [
        f"the loss has second derivative {short(c)} everywhere, as a Gaussian of variance beta / {short(c)} = "
        f"{short(variance)} per value"
    ]
    if case.targets is not None and case.targets.count > 2 and not case.targets.not_finite:
        top = top_eigenvalue(case.targets.sample)
        more = variance > top
        lines.append(
            f"largest eigenvalue of the targets' covariance: {short(top)}; "
            + ("a variance above it leaves no direction worth coding: the best linear VAE has rate 0 "
               "(arXiv 1911.02469)" if more else "directions above the variance are worth coding")
        )  # fmt: skip
    return lines


def curvature(loss: LossFunction) -> float | None:
    """Second derivative at p = y where it is the same for all targets, else None.

    >>> from lossproof.lower import function
    >>> curvature(function("mse")), curvature(function("bce")), curvature(function("mae"))
    (2.0, None, None)
    """
    y = np.array([0.2, 0.35, 0.5, 0.8])
    found = [(loss.gradient(y, y + h) - loss.gradient(y, y - h)) / (2 * h) for h in (H, 2 * H)]
    values = np.concatenate(found)
    if not np.isfinite(values).all() or np.ptp(values) > 1e-3 * abs(values[0]):
        return None
    return round(float(values.mean()), 6)


def top_eigenvalue(sample: np.ndarray) -> float:
    """Largest eigenvalue of the covariance of images (n, ...), by power iteration.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(4000, 3)) * [3.0, 1.0, 0.5]
    >>> bool(abs(top_eigenvalue(x) - np.linalg.eigvalsh(np.cov(x.T, bias=True))[-1]) < 1e-6)
    True
    """
    x = sample.reshape(len(sample), -1)
    x = x - x.mean(axis=0)
    direction = np.random.default_rng(0).normal(size=x.shape[1])
    value = 0.0
    for _ in range(STEPS):
        direction = x.T @ (x @ direction) / len(x)
        value = float(np.linalg.norm(direction))
        if value == 0:
            break
        direction /= value
    return value


def constant(case: Case) -> Iterator[Finding | str]:
    """The loss of one grey for every pixel: an output that is dead, saturated, or has not started."""
    if case.loss is None or not case.finite or not case.value:
        return
    for logit, name, what in _greys(case):
        expected = _expected(case, logit)
        if expected is None or expected <= 0:
            continue
        for reading in case.readings:
            if case.same(case.per_value(reading), expected, SHARE / 3):
                yield _constant(case, logit, name, what, expected, reading)
                break


def _greys(case: Case) -> list[tuple[float, str, str]]:
    made = [(0.0, "1/2", "untrained")]
    for clip in reach.CLIPS:
        made += [(-clip.logit, f"0 ({clip.name})", "black"), (clip.logit, f"1 ({clip.name})", "white")]
    if case.targets is not None and case.legal and 0 < case.targets.mean < 1:
        mean = case.targets.mean
        made.append((math.log(mean / (1 - mean)), f"{short(mean)}, the mean of all targets", "grey"))
    return made


def _expected(case: Case, logit: float) -> float | None:
    assert case.loss is not None
    if case.targets is not None:
        return reach.at(case.loss, case.targets.levels, logit) if case.legal else None
    y = np.linspace(0, 1, 21)
    y = y[case.loss.definition.target.contains(y)]
    values = case.loss.value_logits(y, np.full(y.shape, logit))
    return float(values[0]) if np.ptp(values) < 1e-9 else None  # the same for all targets, or not to be told


def _constant(case: Case, logit: float, name: str, what: str, expected: float, reading: Reading) -> Cause:
    assert case.loss is not None
    lines = [
        f"predicting {name} for every value costs {short(expected)} per value; logged as {reading.words}: "
        f"{short(case.per_value(reading))}"
    ]
    saturated = what in ("black", "white")
    if saturated:
        wrong = np.array([1.0 if what == "black" else 0.0])
        slope = abs(float(case.loss.gradient_logits(wrong, np.array([logit]))[0]))
        largest = largest_slope(case.loss.definition, case.loss.gradient_logits)
        alive = slope >= DEAD_GRADIENT * largest
        lines.append(
            f"there, a wrong pixel has |dl/dz| = {short(slope)} (largest elsewhere: {short(largest)}): "
            + (
                "alive if computed from logits; computed from p, the clip makes it 0"
                if alive
                else "a plateau"
            )
        )
    title = {
        "untrained": "every prediction is 1/2: training has not begun, or the output does not depend on its input",
        "black": "saturation: every prediction is 0 (black)",
        "white": "saturation: every prediction is 1 (white)",
        "grey": "one grey for every pixel: the output does not depend on its place or input",
    }[what]
    return Cause(
        "saturation" if saturated else "constant",
        title,
        "fits",
        tuple(lines),
        "compute the loss from logits with a loss that does not saturate; lower the learning rate; look at the "
        "initial bias"
        if saturated
        else "look at the gradients of the last layer; check that the optimiser has its weights",
        "print prediction.min(), prediction.max(), prediction.std()",
        weight=1.6 if saturated else 1.4,
    )


def double_sigmoid_bound(case: Case) -> Iterator[Finding | str]:
    """Two sigmoids leave predictions in [1/2, 0.7311]: the least loss that allows."""
    if (
        case.loss is None
        or not case.finite
        or case.targets is None
        or not case.legal
        or case.tensors is not None
    ):
        return
    title = "two sigmoids in a row: no prediction below 1/2 nor above 0.731"
    bound = reach.least(case.loss, case.targets.levels, 0.0, 1.0)
    if not case.plausible or case.value is None:
        return
    per = [case.per_value(reading) for reading in case.plausible]
    said = f"predictions in [1/2, 0.7311] cost at least {short(bound)} per value"
    if all(one < bound * (1 - 1e-6) for one in per):
        yield RuledOut("double_sigmoid", title, f"{said}; logged: {short(max(per))}")
    elif case.reading is not None and bound > 0 and case.same(per[0], bound, SHARE):
        yield Cause(
            "double_sigmoid",
            title,
            "fits",
            (f"{said}; logged: {short(min(per))}, just above",),
            "give logits to a loss that has its own sigmoid (BCEWithLogits, from_logits=True), or leave one out",
            "print prediction.min(): below 1/2 there is only one sigmoid",
            weight=1.3,
        )
