"""`why`: a designed experiment that splits the difference between two losses into its causes.

Every arm is one loss with one thing changed, trained from the same seeds. The split runs along one path, from the
second loss as it is to the first as it is: its weight against the KL, then a link whose gradient does not saturate,
then the other loss's shape, then that loss's own link. The steps add up to the whole difference, exactly.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lossproof.catalogue import resolve
from lossproof.data import Images, load
from lossproof.formula.errors import LossproofError
from lossproof.likelihood.exchange import ERROR, exchange
from lossproof.likelihood.measures import Levels, UnitInterval
from lossproof.models import MODELS
from lossproof.train.arm import Arm, plain
from lossproof.train.comparison import Comparison, compare
from lossproof.train.measure import mean_image
from lossproof.train.settings import settle
from lossproof.train.store import write_json
from lossproof.train.why_arms import (
    Normalised,
    Offset,
    StraightThrough,
    Weighted,
    saturates,
    unsaturated,
    wrong_end,
)

if TYPE_CHECKING:
    from lossproof.formula.loss import Loss

DESIGN = "why.json"
START = 6.0  # logits of the saturated start: p = 0.9975
CLOSE = 0.05  # relative difference of two rates that count as equal
TRIES = 4  # weights that the pilot trains at most
COLLAPSED = 0.1  # nats per image


@dataclass(frozen=True)
class Step:
    """One effect: the sum of some arms' values less that of others, seed by seed. `part` steps add up to the whole."""

    key: str
    title: str
    plus: list[str]
    minus: list[str]
    what: str
    part: bool = False


@dataclass
class Design:
    """The experiment: its arms and steps, the weight of the second loss and how it was found, what was left out."""

    first: str
    second: str
    weight: float
    by: str
    error: float
    exchanged: float
    pilot: list[dict[str, float]] = field(default_factory=list)
    target_rate: float | None = None
    start: float = START
    measure: str = ""
    arms: list[dict[str, Any]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)


def why(
    data: str | Path | Images,
    losses: Sequence[str | Loss | Callable[..., Any]] = ("bce", "mse"),
    *,
    weight: str | float = "rate",
    error: float | None = None,
    start: float = START,
    model: str = "vae",
    seeds: int | Sequence[int] = 3,
    beta: float = 1.0,
    out: str | Path | None = None,
    progress: bool | None = None,
    report: Callable[[Path], Path] | None = None,
    command: str | None = None,
    load_options: dict[str, Any] | None = None,
    **options: Any,
) -> Comparison:
    """Train two losses and the arms between them from the same seeds; write the run directory with its design.

    The second loss is brought to the first's weight against the KL: `weight` "rate" finds the factor at which both
    codes carry the same, by pilot trainings of the first seed; "exchange" takes the exchange rate, the factor at which
    both have the same mean excess at `error` (default: the root mean squared error that the first loss reaches in a
    pilot); a number is taken as it is. `start` is the logit at which the arms with saturated output biases start, at
    the end opposite to each pixel's mean. `options` go to `compare` (latent, hidden, epochs, batch_size, lr, device),
    as do the others; `report` is called with the run directory once its design is written.

    Raises `LossproofError` for other than two losses, a loss that is no loss of y and p, and what `compare` raises.
    """
    images = data if isinstance(data, Images) else load(data, **(load_options or {}))
    if isinstance(losses, str) or len(losses) != 2:
        raise LossproofError(f"why: expected two losses, got {losses!r}. Try --losses bce,mse.")
    first, second = (resolve(loss) for loss in losses)
    if first.label == second.label:
        raise LossproofError(f"why: expected two different losses, got {first.label} twice.")
    if not (isinstance(weight, str) and weight in ("rate", "exchange")) and not _positive(weight):
        raise LossproofError(f"why: expected weight as rate, exchange or a number above 0, got {weight!r}.")
    if model in MODELS and MODELS[model][1] and not _positive(beta):
        raise LossproofError(
            f"why: expected a beta above 0, got {beta:g}: without it nothing weighs against the loss."
        )
    common: dict[str, Any] = {"model": model, "beta": beta, **options}
    if common.get("epochs") is None:
        common["epochs"] = default_epochs(images, common)
    pilot = Pilot(
        images,
        first,
        second,
        [int(s) for s in (range(seeds) if isinstance(seeds, int) else seeds)][:1],
        common,
    )
    design = weigh(pilot, weight, error)
    design.start = start
    arms = build(design, images, first, second, variational=pilot.variational, beta=beta)
    done = compare(images, arms, seeds=seeds, out=out, progress=progress, command=command, **common)
    write_json(done.directory / DESIGN, asdict(design))
    return replace(done, report=report(done.directory)) if report else done


def default_epochs(images: Images, common: dict[str, Any]) -> int:
    """Two thirds of what a comparison takes by default, where that is above ten: many arms are to be trained."""
    settled = settle(
        images,
        model=common["model"],
        latent=common.get("latent"),
        hidden=common.get("hidden"),
        epochs=None,
        batch_size=common.get("batch_size"),
        lr=common.get("lr", 1e-3),
        beta=common["beta"],
        seeds=1,
        device="cpu",
        threads=1,
    ).epochs
    return max(min(settled, 10), round(2 * settled / 3))


class Pilot:
    """Short questions to the experiment: one arm, the first seed, trained as in the experiment itself."""

    def __init__(
        self, images: Images, first: Loss, second: Loss, seeds: Sequence[int], common: dict[str, Any]
    ) -> None:
        self.images, self.first, self.second, self.seeds, self.common = images, first, second, seeds, common
        self.variational = MODELS.get(str(common["model"]), (False, False))[1]

    def __call__(self, arm: Arm) -> dict[str, float]:
        """Rate and mse of the arm at the end, on the test images."""
        with tempfile.TemporaryDirectory() as folder:
            done = compare(
                self.images,
                [arm],
                seeds=self.seeds,
                out=Path(folder) / "pilot",
                progress=False,
                **self.common,
            )
        if done.interrupted:
            raise KeyboardInterrupt
        last = done.table[
            (done.table["split"] == "test") & (done.table["epoch"] == done.table["epoch"].max())
        ]
        return {name: float(last.loc[last["measure"] == name, "value"].iloc[0]) for name in ("rate", "mse")}


def weigh(pilot: Pilot, weight: str | float, error: float | None) -> Design:
    """The factor of the second loss, and how it was found."""
    first, second = pilot.first, pilot.second
    found = pilot(plain(first)) if pilot.variational and (weight == "rate" or error is None) else None
    if error is None:
        reached = math.sqrt(found["mse"]) if found and math.isfinite(found["mse"]) else ERROR
        error = float(f"{min(max(reached, 0.01), 0.4):.2g}")
    values, counts = np.unique(pilot.images.train, return_counts=True)
    exchanged = exchange([first, second], values, counts, error=error)
    k = [w.at_error for w in exchanged.weights]
    factor = k[0] / k[1] if all(_positive(one) for one in k) else math.nan
    design = Design(first.label, second.label, 1.0, "", error, factor if _positive(factor) else 0.0)
    if not pilot.variational:
        design.by = "not needed: an autoencoder has no rate to weigh against"
    elif not isinstance(weight, str):
        design.weight, design.by = float(weight), "given"
    elif weight == "exchange":
        if not _positive(factor):
            raise LossproofError(
                f"why: expected losses that weigh small errors, got {first.label} and {second.label}, of which one is not "
                "least at p = y on this data. Use weight='rate' or a number."
            )
        design.weight, design.by = factor, "exchange"
    else:
        assert found is not None
        match(pilot, design, found["rate"])
    return design


def match(pilot: Pilot, design: Design, wanted: float) -> None:
    """Find the weight at which the second loss's rate is the wanted one: secant steps in the logarithms of both."""
    design.target_rate = wanted
    factor = design.exchanged or 1.0
    if not (math.isfinite(wanted) and wanted > COLLAPSED):
        design.weight, design.by = factor, "exchange"
        design.skipped.append(
            {"key": "match", "reason": f"{design.first} carries {wanted:.3g} nats: there is no rate to match"}
        )
        return
    tried: list[tuple[float, float]] = []
    for _ in range(TRIES):
        rate = pilot(weighted(pilot.second, factor))["rate"]
        design.pilot.append({"weight": factor, "rate": rate})
        if not math.isfinite(rate):
            break
        tried.append((math.log(factor), math.log(max(rate, 1e-3))))
        if abs(rate / wanted - 1) < CLOSE:
            break
        factor = math.exp(secant(tried, math.log(wanted)))
    if not tried:
        design.weight, design.by = factor, "exchange"
        return
    best = min(tried, key=lambda pair: abs(pair[1] - math.log(wanted)))
    design.weight, design.by = math.exp(best[0]), "rate"


def secant(tried: Sequence[tuple[float, float]], wanted: float) -> float:
    """The next place to look at, from pairs (place, height): on the line through the two nearest, at most 3 away.

    >>> secant([(0.0, 1.0), (2.0, 2.0)], 1.25)
    0.5
    """
    nearest = sorted(tried, key=lambda pair: abs(pair[1] - wanted))[:2]
    slope = 0.5  # what rate against weight rises by, in logarithms, until two points say better
    if len(nearest) == 2 and nearest[0][0] != nearest[1][0]:
        found = (nearest[0][1] - nearest[1][1]) / (nearest[0][0] - nearest[1][0])
        slope = found if found > 0.05 else slope
    return nearest[0][0] + max(-3.0, min(3.0, (wanted - nearest[0][1]) / slope))


def weighted(loss: Loss, factor: float) -> Arm:
    """The arm of a loss times a factor; of the loss as it is where that is 1."""
    if factor == 1.0:
        return plain(loss)
    return Arm(f"{loss.label} × {factor:.3g}", lambda: Weighted(loss, factor), loss, {"weight": factor})


def build(
    design: Design, images: Images, first: Loss, second: Loss, *, variational: bool, beta: float
) -> list[Arm]:
    """All arms of the experiment, with the steps they make noted in its design."""
    a, b, w = plain(first), plain(second), weighted(second, design.weight)
    arms: list[Arm] = [a, b]
    design.arms = [_entry(a, "as it is"), _entry(b, "as it is")]

    def add(arm: Arm, what: str) -> str:
        if arm.label not in [known.label for known in arms]:
            arms.append(arm)
            design.arms.append(_entry(arm, what))
        return arm.label

    if variational:
        add(w, f"times {design.weight:.3g}: at the weight against the rate that {a.label} has")
    values = np.unique(images.train).astype(np.float64)
    free, how = {}, {}
    for arm, loss, times in ((a, first, 1.0), (w, second, design.weight)):
        free[arm.label] = arm.label
        if saturates(loss, values):
            how[arm.label] = unsaturated(loss, times)[1]
            free[arm.label] = add(
                Arm(f"{arm.label}, no saturation", _maker(loss, times), None), f"trained {how[arm.label]}"
            )
    fa, fw = free[a.label], free[w.label]
    design.steps = [
        Step("total", "the whole difference", [a.label], [b.label], f"{a.label} less {b.label}, each as it is"),
        Step(
            "weight", "weight against the rate", [w.label], [b.label],
            f"{b.label} times {design.weight:.3g} less {b.label}: the same loss, weighed as {a.label} is", True,
        ),
        Step(
            "gradient", "gradient through the sigmoid", [fw, a.label], [w.label, fa],
            _gradient(a.label, w.label, how), True,
        ),
        Step(
            "shape", "shape at equal weight", [fa], [fw],
            f"{fa} less {fw}: two losses of equal weight, neither behind a gradient that saturates", True,
        ),
    ]  # fmt: skip
    offset = wrong_end(mean_image(images.train), design.start)
    for arm, loss, times in ((a, first, 1.0), (w, second, design.weight)):
        moved = add(
            Arm(f"{arm.label}, saturated start", _maker_offset(loss, times, offset), None),
            f"output biases start at logit ±{design.start:g}, at the end opposite to each pixel's mean",
        )
        design.steps.append(
            Step("start", f"saturated start, {arm.label}", [moved], [arm.label], f"{moved} less {arm.label}")
        )
    if (
        w.label in how
        and fw.endswith("no saturation")
        and isinstance(unsaturated(second, 1.0)[0], Weighted) is False
    ):
        through = add(
            Arm(f"{w.label}, straight-through", lambda: StraightThrough(second, design.weight), second),
            "behind the sigmoid, its gradient dl/dp × p(1 − p) replaced by dl/dp × 1/4",
        )
        design.steps.append(
            Step(
                "through", f"straight-through gradient, {w.label}", [through], [w.label],
                f"{through} less {w.label}: only the factor p(1 − p) of the gradient is replaced, by 1/4",
            )
        )  # fmt: skip
    measure = Levels(images.levels) if images.levels else UnitInterval()
    design.measure = str(measure)
    for arm, loss, times in ((a, first, 1.0), (w, second, design.weight)):
        try:
            Normalised(loss, times, measure, beta)
        except LossproofError as refused:
            design.skipped.append({"key": "normaliser", "reason": str(refused)})
            continue
        normed = add(
            Arm(f"{arm.label}, normalised", _maker_normalised(loss, times, measure, beta), None),
            f"plus T log Z(p, T), T = {beta / times:.3g}, on {measure}; the picture is the law's mean",
        )
        design.steps.append(
            Step(
                "normaliser", f"normaliser, {arm.label}", [normed], [arm.label], f"{normed} less {arm.label}"
            )
        )
    return arms


def _gradient(a: str, w: str, how: dict[str, str]) -> str:
    if not how:
        return "neither loss's gradient saturates behind the sigmoid: nothing to change"
    parts = [f"{label} {how[label]}" for label in (w, a) if label in how]
    still = [label for label in (a, w) if label not in how]
    text = f"{' and '.join(parts)}, against the sigmoid"
    return text + (f"; {still[0]}'s gradient does not saturate" if still else "")


def _maker(loss: Loss, times: float) -> Callable[[], Any]:
    return lambda: unsaturated(loss, times)[0]


def _maker_offset(loss: Loss, times: float, offset: Any) -> Callable[[], Any]:
    return lambda: Offset(Weighted(loss, times), offset.clone())


def _maker_normalised(loss: Loss, times: float, measure: Any, beta: float) -> Callable[[], Any]:
    return lambda: Normalised(loss, times, measure, beta)


def _entry(arm: Arm, what: str) -> dict[str, Any]:
    return {"label": arm.label, "what": what}


def _positive(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )
