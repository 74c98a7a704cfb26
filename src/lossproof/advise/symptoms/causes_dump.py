"""What dumped tensors show: sigmoids, dead pixels, brightness, and whether the logged value belongs to them."""

import math
from collections.abc import Iterator

import numpy as np

from lossproof.advise.symptoms import reach
from lossproof.advise.symptoms.case import Case
from lossproof.advise.symptoms.readings import REDUCTIONS, readings
from lossproof.advise.symptoms.records import Cause, Finding, RuledOut, percent, short
from lossproof.formula import LossproofError
from lossproof.lower import LossFunction
from lossproof.lower.watch import DEAD_ERROR, DEAD_GRADIENT, largest_slope

EXACT = 2e-3  # relative: what float32 sums and logged digits leave
LOWER, UPPER = 0.5, 1 / (1 + math.exp(-1))  # sigmoid of [0, 1]
DOUBLE = "two sigmoids in a row"
MISSING = "no sigmoid: the outputs are logits, and clipping hides it"


def sigmoids(case: Case) -> Iterator[Finding | str]:
    """One sigmoid too many or too few, by what happens to the loss when one is taken away or added."""
    dump = case.tensors
    if dump is None or case.loss is None or not case.legal:
        return
    y = dump.targets
    if dump.logits is not None and np.isfinite(dump.logits).all():
        z = dump.logits
        if z.min() >= 0 and z.max() <= 1 and np.ptp(z) > 0:
            yield from _double(case, case.loss, _sigmoid(z), z, "logits")
            return
    p = dump.predictions
    if p is None or not np.isfinite(p).all():
        return
    if p.min() < 0 or p.max() > 1:
        yield from _missing(case, case.loss, y, p)
    elif p.min() >= LOWER - 1e-6 and p.max() <= UPPER + 1e-6 and np.ptp(p) > 0:
        inner = np.clip(p, LOWER, UPPER)
        yield from _double(case, case.loss, p, np.log(inner / (1 - inner)), "predictions")
    else:
        yield RuledOut("double_sigmoid", DOUBLE, f"predictions span [{short(p.min())}, {short(p.max())}]")


def _double(
    case: Case, loss: LossFunction, p: np.ndarray, q: np.ndarray, name: str
) -> Iterator[Finding | str]:
    assert case.tensors is not None
    y, low = case.tensors.targets, case.floor or 0.0
    now, without = _mean(loss, y, p), _mean(loss, y, q)
    span = (
        "[0, 1]: they have had a sigmoid" if name == "logits" else f"[1/2, {UPPER:.4f}] = sigmoid of [0, 1]"
    )
    below = float(np.mean(y < LOWER))
    lines = (
        f"all {p.size:,} {name} lie in {span}; {percent(below)} of the targets are below 1/2",
        f"excess over the floor per value {short(now - low)}; with one sigmoid taken away {short(without - low)}",
    )
    if without >= now:
        yield "two sigmoids or a network that has hardly begun: taking a sigmoid away does not lower the loss"
    yield Cause(
        "double_sigmoid",
        f"{DOUBLE}: no prediction below 1/2 nor above {UPPER:.3f}",
        "shown" if without - low < 0.9 * (now - low) else "possible",
        lines,
        "give logits to a loss that has its own sigmoid (BCEWithLogits, from_logits=True), or leave one out",
        "print the output before the loss: inside [0, 1] it has had its sigmoid",
        weight=2.2,
    )


def _missing(case: Case, loss: LossFunction, y: np.ndarray, p: np.ndarray) -> Iterator[Finding | str]:
    beyond = float(np.mean((p < 0) | (p > 1)))
    if case.targets is not None and (case.targets.low < 0 or case.targets.high > 1):
        return  # the targets lie outside too: a linear output is right
    own = _mean(loss, y, _sigmoid(p))
    eps = 1e-7
    clipped = _mean(loss, y, np.clip(p, eps, 1 - eps))
    open_domain = not loss.definition.prediction.contains(np.array([-1.0])).any()
    lines = [
        f"{percent(beyond)} of the predictions lie outside [0, 1]: [{short(p.min())}, {short(p.max())}]",
        f"clipped to [1e-7, 1 - 1e-7] their loss is {short(clipped)} per value, and the gradient of those outside "
        "is 0: they cannot come back" if open_domain else f"as they are, their loss is {short(_mean(loss, y, p))}",
        f"through a sigmoid they would cost {short(own)}",
    ]  # fmt: skip
    before = clipped if open_domain else _mean(loss, y, p)
    if not open_domain and own >= 0.5 * before:
        return
    yield Cause(
        "missing_sigmoid",
        MISSING if open_domain else "no sigmoid: logits are compared with the targets",
        "shown" if open_domain or own < 0.5 * before else "fits",
        tuple(lines),
        "add the sigmoid to the last layer, or better: keep logits and use a loss that takes them",
        "prediction.min() >= 0 and prediction.max() <= 1",
        weight=2.3,
    )


def logged(case: Case) -> Iterator[Finding | str]:
    """Whether the logged value is the loss of the dumped tensors, under which reduction, or what else it is."""
    dump = case.tensors
    if (
        dump is None
        or case.loss is None
        or case.computed
        or not case.finite
        or case.value is None
        or not case.legal
    ):
        return
    mean = dump_mean(case)
    if mean is None or mean == 0:
        return
    every = readings(tuple(dump.targets.shape[1:]), len(dump.targets))
    fits = [r for r in every if abs(case.value / (r.factor * mean) - 1) < EXACT]
    title = "another reduction than thought: mean against sum"
    if fits:
        said = f"the dump's loss is {short(mean)} per value, times {short(fits[0].factor)} = {short(mean * fits[0].factor)}"
        if case.reduction not in (None, fits[0].id):
            yield Cause(
                "reduction",
                title,
                "shown",
                (
                    f"{said}: the logged value is the {fits[0].words}, not the {REDUCTIONS[case.reduction or 'mean']}",
                ),
                "say the reduction by its axes: sum over pixels and channels, mean over the batch",
                "compute the loss of this dump by hand",
                weight=2.1,
            )
        else:
            yield RuledOut("quantity", "another quantity is logged", f"{said} ({fits[0].words}), as logged")
        return
    yield from _something_else(case, mean)


def _something_else(case: Case, mean: float) -> Iterator[Finding | str]:
    assert case.loss is not None
    assert case.value is not None
    assert case.tensors is not None
    every = readings(tuple(case.tensors.targets.shape[1:]), len(case.tensors.targets))
    low = case.floor if case.floor is not None else math.nan
    others = {
        "in logarithms to base 10": mean / math.log(10),
        "in bits": mean / math.log(2),
        "less its floor (the excess)": mean - low,
        "halved": mean / 2,
        "under a root": math.sqrt(mean) if mean > 0 else math.nan,
    }
    pairs = [(f"{name}, {r.words}", other * r.factor) for name, other in others.items() for r in every]
    if case.rate is not None:
        weight = 1.0 if case.kl_weight is None else case.kl_weight
        pairs += [
            (f"{r.words}, plus {short(weight)} x rate", mean * r.factor + weight * case.rate) for r in every
        ]
    found = [(n, v) for n, v in pairs if math.isfinite(v) and v and abs(case.value / v - 1) < EXACT]
    if found:
        yield Cause(
            "quantity",
            "another quantity is logged than this loss in nats",
            "shown" if len(found) == 1 else "fits",
            tuple(f"the dump's loss {name}: {short(v)}; logged: {short(case.value)}" for name, v in found),
            "log the loss itself, in nats",
            "compute the loss of this dump by hand",
            weight=2.0,
        )
        return
    yield from _mass(case, mean)


def _mass(case: Case, mean: float) -> Iterator[Finding | str]:
    """A density whose logged -log is above the exact one: its implementation has lost mass."""
    assert case.loss is not None
    assert case.value is not None
    assert case.tensors is not None
    every = readings(tuple(case.tensors.targets.shape[1:]), len(case.tensors.targets))
    stated = [r for r in every if r.id == (case.reduction or "mean")] or every[:1]
    gap = case.value / stated[0].factor - mean
    if normalised(case.loss) and gap > 0:
        yield Cause(
            "lost_mass",
            "loss of mass: the logged likelihood does not add up to 1",
            "fits",
            (
                f"exact -log density of the dump: {short(mean)} per value; logged ({stated[0].words}): "
                f"{short(mean + gap)}; exp(-{short(gap)}) = {short(math.exp(-gap))}: what a density that is too small "
                "by this factor everywhere would add up to",
                "a normaliser computed from clipped probabilities, beside a loss computed from logits, does this",
            ),
            "use a normaliser in the logit: lossproof.torch.ReconstructionLoss("
            f"{case.loss.definition.label!r}) from logits",
            "integrate exp(-loss) over targets in [0, 1] at one large logit",
            weight=2.0,
        )
        return
    yield Cause(
        "quantity",
        "the logged value is not the loss of these tensors",
        "fits",
        (f"the dump's loss is {short(mean)} per value; no reduction of it gives {short(case.value)}",),
        "dump and log the same batch, in evaluation mode",
        "compute the loss of this dump by hand",
        weight=1.0,
    )


def normalised(loss: LossFunction) -> bool:
    """Whether exp(-loss) adds up to 1 over targets in [0, 1] at three predictions, by Gauss-Legendre quadrature.

    >>> from lossproof.lower import function
    >>> normalised(function("continuous_bernoulli")), normalised(function("bce"))
    (True, False)
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    y = (nodes + 1) / 2
    try:
        masses = [float(weights @ np.exp(-loss.value(y, np.full_like(y, p)))) / 2 for p in (0.2, 0.4, 0.7)]
    except LossproofError:
        return False
    return all(abs(mass - 1) < 1e-6 for mass in masses)


def dead(case: Case) -> Iterator[Finding | str]:
    """Pixels that are wrong and get almost no gradient through the sigmoid."""
    dump = case.tensors
    if dump is None or case.loss is None or not case.legal or not least_at_target(case.loss):
        return
    z = dump.logits
    if (
        z is None
        and dump.predictions is not None
        and 0 <= dump.predictions.min() <= dump.predictions.max() <= 1
    ):
        if _cut_at_zero(dump.predictions) and dump.targets[dump.predictions == 0].max() > DEAD_ERROR:
            return  # no sigmoid: see relu
        with np.errstate(all="ignore"):
            z = np.clip(np.log(dump.predictions) - np.log1p(-dump.predictions), -1e3, 1e3)
    if z is None or not np.isfinite(z).all():
        return
    p = _sigmoid(z)
    slope = np.abs(case.loss.gradient_logits(dump.targets, z))
    largest = largest_slope(case.loss.definition, case.loss.gradient_logits)
    wrong = np.abs(p - dump.targets) > DEAD_ERROR
    stuck = wrong & (slope < DEAD_GRADIENT * largest)
    share = float(stuck.mean())
    ends = (p < 1e-6) | (p > 1 - 1e-6)
    clipped = float(np.mean(wrong & ends))
    title = "saturation: pixels that are wrong and get no gradient"
    if share < 1e-3 and clipped < 1e-3:
        yield RuledOut(
            "saturation",
            title,
            f"{percent(share)} of the pixels are off by more than {DEAD_ERROR} without a gradient",
        )
        return
    lines = [
        f"{percent(share)} of the pixels are off by more than {DEAD_ERROR} and have |dl/dz| below {DEAD_GRADIENT} of "
        f"the loss's largest, {short(largest)}"
    ]
    if clipped >= 1e-3 and share < 1e-3:
        lines.append(
            f"{percent(clipped)} are wrong with p within 1e-6 of 0 or 1: from logits the gradient is alive, from "
            "probabilities clipped at 1e-7 it is 0"
        )
    yield Cause(
        "saturation",
        title,
        "shown" if share >= 1e-3 else "fits",
        tuple(lines),
        "use a loss whose gradient survives the sigmoid, computed from logits: lossproof certify LOSS --require alive",
        "lossproof.torch.Monitor: dead_pixels in every epoch",
        weight=1.7 + share,
    )


def relu(case: Case) -> Iterator[Finding | str]:
    """Outputs that are exactly 0 where the target is not: a ReLU or a clip at the end, without a gradient there."""
    dump = case.tensors
    if (
        dump is None
        or dump.predictions is None
        or dump.logits is not None
        or not np.isfinite(dump.predictions).all()
    ):
        return
    p, y = dump.predictions, dump.targets
    zero = p == 0
    share = float(np.mean(zero & (y > DEAD_ERROR)))
    if share < 1e-3 or not _cut_at_zero(p):
        return
    yield Cause(
        "dead_relu",
        "outputs cut off at exactly 0, as by a ReLU: no gradient comes back from there",
        "shown",
        (
            f"{percent(float(zero.mean()))} of the predictions are exactly 0 and none lies in (0, 1e-6), as a sigmoid's "
            f"would; largest {short(float(p.max()))}",
            f"{percent(share)} are 0 where the target is above {DEAD_ERROR}: they cannot come back",
        ),
        "end in a sigmoid with a loss from logits, or in a linear layer",
        "(prediction == 0).float().mean()",
        weight=1.9,
    )


def _cut_at_zero(p: np.ndarray) -> bool:
    """Whether predictions are cut off at 0: a sigmoid on its way to an exact 0 leaves tiny values too."""
    return bool(p.min() == 0 and p.max() > 0 and not np.any((p > 0) & (p < 1e-6)))


def brightness(case: Case) -> Iterator[Finding | str]:
    """Pictures darker or brighter than their targets: a bias of training, or what the loss estimates."""
    dump = case.tensors
    if dump is None or case.loss is None or not case.legal or dump.targets.mean() == 0:
        return
    if dump.targets.min() < 0 or dump.targets.max() > 1 or not least_at_target(case.loss):
        return
    p = dump.predictions if dump.predictions is not None else _sigmoid(dump.logits)  # type: ignore[arg-type]
    if not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
        return
    y = dump.targets
    ratio = float(p.mean() / y.mean())
    spread = (
        float((p - y).reshape(len(y), -1).mean(axis=1).std() / math.sqrt(len(y)) / y.mean())
        if len(y) > 1
        else 0.0
    )
    title = (
        "loss of mass: the pictures are " + ("darker" if ratio < 1 else "brighter") + " than their targets"
    )
    if abs(ratio - 1) < max(0.05, 3 * spread):
        title = "loss of mass: pictures darker or brighter than their targets"
        yield RuledOut("brightness", title, f"mean prediction / mean target = {short(ratio)}")
        return
    grey = best_grey(case)
    why = (
        f"the best single grey for this loss on these targets is {short(grey)}, their mean is {short(float(y.mean()))}: "
        + ("the loss keeps the mean, so this is training, not the loss" if abs(grey - y.mean()) < 0.02
           else "the loss does not estimate the mean")
    )  # fmt: skip
    yield Cause(
        "brightness",
        title,
        "shown",
        (
            f"mean prediction {short(float(p.mean()))} / mean target {short(float(y.mean()))} = {short(ratio)}",
            why,
        ),
        "train longer, or look for a clip or an activation after the loss"
        if abs(grey - y.mean()) < 0.02
        else "to keep brightness under noise use a loss that is consistent for the mean: lossproof certify LOSS "
        "--require mean",
        "prediction.mean() beside target.mean(), by epoch",
        weight=1.1,
    )


def least_at_target(loss: LossFunction) -> bool:
    """Whether p = y is best at three targets; where it is not, a prediction beside its target is no fault.

    >>> from lossproof.lower import function
    >>> least_at_target(function("bce")), least_at_target(function("continuous_bernoulli"))
    (True, False)
    """
    y = np.array([0.1, 0.3, 0.8])
    return bool(np.all(loss.value(y, y) <= loss.floor(y) + 1e-9))


def best_grey(case: Case) -> float:
    """The one prediction with the least mean loss over all targets of the case."""
    assert case.loss is not None
    assert case.targets is not None
    grid = np.linspace(-12, 12, 481)
    return _sigmoid(grid[int(np.argmin([reach.at(case.loss, case.targets.levels, z) for z in grid]))]).item()


def dump_mean(case: Case) -> float | None:
    """Mean loss per value of the dumped tensors: from logits where there are any."""
    dump = case.tensors
    if dump is None or case.loss is None:
        return None
    try:
        if dump.logits is not None:
            return float(np.mean(case.loss.value_logits(dump.targets, dump.logits)))
        found = float(np.mean(case.loss.value(dump.targets, dump.predictions)))  # type: ignore[arg-type]
    except LossproofError:
        return None
    return found if math.isfinite(found) else None


def _mean(loss: LossFunction, y: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean(loss.value(y, np.clip(p, 1e-7, 1 - 1e-7) if 0 <= p.min() <= p.max() <= 1 else p)))


def _sigmoid(z: "np.ndarray | float") -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(z, -700, 700))))
