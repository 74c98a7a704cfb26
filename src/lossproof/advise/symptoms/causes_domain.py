"""Values that no target of the domain can give: targets outside it, densities, and outputs that cannot reach."""

import math
from collections.abc import Iterator

import numpy as np

from lossproof.advise.symptoms import reach
from lossproof.advise.symptoms.case import Case
from lossproof.advise.symptoms.records import Cause, Finding, RuledOut, percent, short
from lossproof.advise.symptoms.targets import Targets
from lossproof.catalogue import CATALOGUE
from lossproof.data.levels import Levels
from lossproof.formula import REALS, LossproofError
from lossproof.lower import LossFunction, function

OUTSIDE = "targets outside the loss's domain"
FIX = "bring the targets to [0, 1] before the loss; uint8 images: x = x / 255"
_FAR = Levels(np.array([-1.0, 2.0, 255.0]), np.array([1, 1, 1]), 3)
CHECK = "print target.min(), target.max() on the line before the loss: the file may be right and the transform not"


def outside(case: Case) -> Iterator[Finding | str]:
    """Targets outside the loss's domain: seen in the data, or proved by a value below every floor."""
    if case.loss is None:
        if case.finite and case.value is not None and case.value < 0:
            yield from _unnamed(case.value)
        return
    domain = case.loss.definition.target
    if case.outside and case.targets is not None:
        yield _seen(case, case.targets)
        return
    lowest = reach.bottom(case.loss)
    if (
        case.finite
        and case.value is not None
        and math.isfinite(lowest)
        and case.value < min(lowest, 0) - 1e-9
    ):
        yield from _proved(case, case.value, lowest)
    elif case.targets is not None and case.legal and not domain.covers(REALS):
        yield RuledOut(
            "outside", OUTSIDE, f"all {case.targets.levels.total:,} target values given lie in {domain}"
        )


def density(case: Case) -> Iterator[Finding | str]:
    """A loss that may be negative by right: the negative log of a density."""
    if case.loss is None or not case.finite or case.value is None or case.value >= 0:
        return
    lowest = reach.bottom(case.loss)
    if lowest >= -1e-9:
        return
    where = "has no lower bound" if math.isinf(lowest) else f"goes down to {short(lowest)} per value"
    yield Cause(
        "density",
        "the negative log of a density may be negative",
        "shown",
        (
            f"over targets in [0, 1] {case.loss.definition.label} {where}; a density above 1 has a negative -log",
        ),
        "nothing to fix; compare bits per pixel on a lattice, not this number",
        "lossproof.loss(...).likelihood(): bits per pixel of the same model",
        normal=True,
    )


def unreachable(case: Case) -> Iterator[Finding | str]:
    """Targets that are legal for the loss but lie where a sigmoid cannot go."""
    t = case.targets
    if case.loss is None or t is None or not case.legal or (t.low >= 0 and t.high <= 1):
        return
    bound = reach.least(case.loss, t.levels, -reach.CLIPS[1].logit, reach.CLIPS[1].logit)
    beyond = t.levels.share((t.levels.values < 0) | (t.levels.values > 1))
    lines = [
        f"{percent(beyond)} of the target values lie outside [0, 1] ({short(t.low)} .. {short(t.high)})",
        f"the best that predictions in [0, 1] can do on them is {short(bound)} per value"
        + (f", {short(bound * t.pixels)} per image" if t.pixels > 1 else ""),
    ]
    title = "the output cannot reach the targets"
    p = None if case.tensors is None else case.tensors.predictions
    fix = t.fix or "scale the targets to the range of the output activation"
    check = "compare target.min(), target.max() with the range of the output activation"
    if p is not None and np.isfinite(p).all():
        if p.min() < 0 or p.max() > 1:
            yield RuledOut("unreachable", title, f"predictions span [{short(p.min())}, {short(p.max())}]")
            return
        lines.append(f"the predictions given lie in [{short(p.min())}, {short(p.max())}]")
        yield Cause("unreachable", title, "shown", tuple(lines), fix, check, weight=1 + beyond)
        return
    if case.finite and all(case.per_value(r) < bound * (1 - 1e-6) for r in case.readings):
        yield RuledOut("unreachable", title, f"the logged value is below {short(bound)} per value")
        return
    near = case.finite and any(abs(case.per_value(r) / bound - 1) < 0.2 for r in case.readings)
    yield Cause(
        "unreachable", title, "fits" if near else "possible", tuple(lines), fix, check, weight=1 + beyond
    )


def _seen(case: Case, t: Targets) -> Cause:
    assert case.loss is not None
    domain = case.loss.definition.target
    lines = [
        f"{case.outside:,} of {t.levels.total:,} target values ({percent(case.outside / t.levels.total)}) lie outside "
        f"{domain}: {short(t.low)} .. {short(t.high)}"
    ]
    for name, low in _reached(case, t.levels):
        lines.append(
            f"with such targets the loss can fall to {short(low)} per value, {_image(case, low)} ({name})"
        )
    if _unbounded(case.loss, t.levels):
        lines.append("from logits, with no clip, it has no lower bound on them")
    if case.value is not None and math.isnan(case.value):
        lines.append(
            "a loss without a lower bound drives the weights to infinity, and infinity - infinity is NaN"
        )
    return Cause(
        "outside",
        f"{OUTSIDE}{': ' + t.cause.rstrip(':?') + '?' if t.cause else ''}",
        "shown",
        tuple(lines),
        t.fix or FIX,
        CHECK,
        weight=2.0,
    )


def _image(case: Case, value: float) -> str:
    return f"{short(value * (case.pixels or 1))} per image"


def _reached(case: Case, levels: Levels) -> list[tuple[str, float]]:
    """The least mean loss per value on targets of any size, under each framework's bound; only where below 0."""
    assert case.loss is not None
    return _below(case.loss, levels)


def _unbounded(loss: LossFunction, levels: Levels) -> bool:
    """Whether the loss keeps falling in the logit: ten times the logit, ten times the depth."""
    near, far = (reach.least(loss, levels, -z, z) for z in (1e3, 1e4))
    return far < 0 and far < 5 * near


def _below(loss: LossFunction, levels: Levels) -> list[tuple[str, float]]:
    found = [(clip.name, reach.least(loss, levels, -clip.logit, clip.logit)) for clip in reach.CLIPS]
    return [(name, low) for name, low in found if low < 0]


def _proved(case: Case, value: float, lowest: float) -> Iterator[Finding | str]:
    assert case.loss is not None
    label, domain = case.loss.definition.label, case.loss.definition.target
    if not _reached(case, _FAR):
        yield Cause(
            "quantity",
            "the logged value is not this loss",
            "shown",
            (f"{label} is never below {short(lowest)}, whatever the target; logged: {short(value)}",),
            "look at what is logged: a log-likelihood has the other sign; other terms may be added",
            "print the loss of one batch beside the logged number",
            weight=2.0,
        )
        return
    lines = [
        f"{label} is at least {short(lowest)} for every target in {domain} and every prediction; "
        f"logged: {short(value)}"
    ]
    if _unbounded(case.loss, _FAR):
        lines.append("from logits, with no clip, it has no lower bound on such targets")
    if case.targets is None:
        lines += _needed(case, value)
        yield Cause("outside", OUTSIDE, "shown", tuple(lines), FIX, CHECK, weight=2.0)
        yield (
            "a loss of another name, such as a density: the number alone does not say that it is "
            f"{label} (its sign says that {label} on legal targets it is not)"
        )
        return
    fits: list[tuple[str, str]] = []
    not_fits: list[tuple[str, str]] = []
    for name, levels in _transforms(case.targets):
        low = min((low for _, low in _reached(case, levels)), default=0.0)
        reached = any(case.per_value(r) >= low for r in case.readings)
        said = f"{name}: the loss can fall to {short(low)} per value, {_image(case, low)}"
        (fits if reached else not_fits).append((name, said))
    lines.append(
        f"the file holds legal targets ({case.targets.scaling}), so what reached the loss was not they:"
    )
    lines += [said for _, said in fits] + [f"not enough: {said}" for _, said in not_fits]
    yield Cause("outside", OUTSIDE, "shown", tuple(lines), FIX, CHECK, weight=2.0)
    if len(fits) > 1:
        yield f"{' or '.join(name for name, _ in fits)}: the value alone does not say which; print target.max()"


def _needed(case: Case, value: float) -> list[str]:
    """How large targets must be for the value, under each reduction and each framework's bound."""
    assert case.loss is not None
    lines = []
    for reading in case.readings:
        sizes = {clip.name: _solve(case, clip.logit, value / reading.factor) for clip in reach.CLIPS}
        found = {name: y for name, y in sizes.items() if y is not None}
        if found:
            said = " or ".join(f"{short(y)} ({name})" for name, y in found.items())
            least = min(found.values())
            holds = next(
                (f", which {bits}-bit images hold" for bits in (8, 16) if least < 2**bits), ", beyond 16 bits"
            )
            lines.append(f"{reading.words}: needs targets of about {said} on average{holds}")
    return lines


def _solve(case: Case, logit: float, wanted: float) -> float | None:
    """The size of target at which the loss can fall to the wanted value per value; None where none does."""
    assert case.loss is not None

    def low(y: float) -> float:
        return reach.least(case.loss, Levels(np.array([y]), np.array([1]), 1), -logit, logit)  # type: ignore[arg-type]

    one, two = 1.0, 2.0
    while low(two) > wanted:
        one, two = two, two * 2
        if two > 1e12:
            return None
    for _ in range(60):
        middle = (one + two) / 2
        one, two = (middle, two) if low(middle) > wanted else (one, middle)
    return two


def _transforms(t: Targets) -> list[tuple[str, Levels]]:
    """What is often done to images before a loss, applied to these."""
    made = []
    if t.stored.values[-1] > 1:
        made.append((f"not divided by {short(t.stored.values[-1] / t.levels.values[-1])}", t.stored))
    v, n, total = t.levels.values, t.levels.counts, t.levels.total
    made.append(("scaled to [-1, 1]", Levels(2 * v - 1, n, total)))
    if t.std > 0:
        made.append((f"z-scored, (x - {t.mean:.4f}) / {t.std:.4f}", Levels((v - t.mean) / t.std, n, total)))
    return made


def _unnamed(value: float) -> Iterator[Finding | str]:
    """A negative value of a loss that was not named: which of the catalogue can be negative, and on what targets."""
    never: list[str] = []
    abroad: list[str] = []
    at_home: list[str] = []
    for loss in CATALOGUE.values():
        made = function(loss)
        try:
            low = reach.bottom(made)
        except LossproofError:
            continue
        (at_home if low < -1e-9 else abroad if _below(made, _FAR) else never).append(loss.label)
    yield Cause(
        "outside",
        f"{OUTSIDE}, if it is one of: {', '.join(abroad)}",
        "fits",
        (
            f"never below 0 on targets of their domain, but below 0 on targets such as 255: {', '.join(abroad)}",
            f"never below 0 on any target, so it is none of these: {', '.join(never)}",
        ),
        FIX,
        CHECK,
        weight=1.0,
    )
    yield Cause(
        "density",
        "the negative log of a density may be negative",
        "fits",
        (
            f"below 0 on legal targets: {', '.join(at_home) or 'none of the catalogue'}; a Gaussian with learned sigma too",
        ),
        "nothing to fix; compare bits per pixel on a lattice, not this number",
        "name the loss: --loss",
        normal=True,
    )
    yield "targets outside the domain or a density: name the loss (--loss) and give the data (--data)"
