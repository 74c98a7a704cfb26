"""Every member measured as a likelihood after training: nats, bounds, bits per pixel, calibration.

All members see the same test images and the same noise. A loss that was trained as it is gets the temperature that fits
its predictions of training images; a calibrated loss and a decoder's law are measured as they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lossproof.formula.errors import LossproofError
from lossproof.likelihood import Levels, Likelihood, Normaliser, histogram_bits
from lossproof.likelihood.surface import ladder
from lossproof.torch.calibrated import HIGH, LOW, CalibratedCriterion
from lossproof.torch.decoders import Law
from lossproof.train.arm import reference
from lossproof.train.loop import SAMPLE, rate_per_image
from lossproof.train.measure import log_temperature
from lossproof.train.member import Row
from lossproof.train.randomness import generator
from lossproof.train.table import OF_LAW, TRANSFORM

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.torch.criterion import Criterion
    from lossproof.train.measure import Measurer
    from lossproof.train.member import Member
    from lossproof.train.settings import Settings

IMAGES = 2000  # test images of the bounds, at most: the same for every member
CALIBRATION = 64  # test images of the calibration measures, at most
INTEGRATED = 1 << 13  # values of them, at most, where a law on [0, 1] may have to be integrated
VALUES = 1 << 22  # at a time
BOUNDS = ("nll", "likelihood_rate", "elbo", "iw_bound", "bits_per_pixel")
BINS = 10  # of the transform's histogram
HISTOGRAM = tuple(f"{TRANSFORM}{k}/{BINS}" for k in range(BINS))
CALIBRATED = (
    *HISTOGRAM, "pit_deviation", "zeros_expected", "zeros_observed", "ones_expected", "ones_observed",
    *(NATS := ("nll_expected", "nll_observed")),
)  # fmt: skip
#: targets whose most likely prediction is stated; at the first, what its law holds too
PLACES = (0.1, 0.5, 0.9)
NO_RATE = "an autoencoder has no rate: its nats and bits are those given the code"


def describe(images: Images, settings: Settings) -> dict[str, Any]:
    """What config.json says of the likelihood columns: their measure, images, samples, and the two yardsticks.

    The yardsticks are bits per pixel of the test images under histograms of the training images: one of all values,
    and one for each pixel. A model above them knows less than none. A density has none.
    """
    measure = reference(images, settings.measure)
    found: dict[str, Any] = {
        "measure": str(measure),
        "unit": measure.unit,
        "of": settings.of,
        "samples": settings.samples,
        "images": min(IMAGES, settings.evaluation.images),
    }
    if settings.per == "image":
        found["rungs"] = len(ladder(LOW, HIGH))
    if isinstance(measure, Levels):
        bits = histogram_bits(images.train, images.test, measure)
        found["yardsticks"] = {"everywhere": bits.everywhere, "each_pixel": bits.each_pixel}
    return found


def likelihood_rows(
    member: Member, measurer: Measurer, images: Images, settings: Settings, *, calibrated: bool = True
) -> list[Row]:
    """The likelihood measures of a member as it is now, on test images; an empty cell says why it is empty.

    ``calibrated=False`` leaves out how the images sit in their laws: of a mass it costs a look at each of its levels.
    """
    epoch = member.epoch
    if member.event is not None:
        return _empty(epoch, ("temperature", *BOUNDS, *CALIBRATED), member.event["message"])
    measure = reference(images, settings.measure)
    member.model.eval()
    with torch.inference_mode():
        try:
            law = law_of(member, measurer, images, settings)
        except LossproofError as error:
            return _empty(epoch, ("temperature", *BOUNDS, *CALIBRATED), str(error))
        rows = []
        bounds = measure_bounds(member, law, measurer, settings.samples)
        if law is member.criterion and isinstance(law, CalibratedCriterion):
            pass  # measured after each epoch
        elif isinstance(law, CalibratedCriterion):
            rows.append(_row(epoch, "temperature", bounds["temperature"]))
        else:
            rows += _empty(epoch, ("temperature",), "a decoder's law has no temperature")
        comparable = law.unit == measure.unit
        why = f"{law.unit}, while this table is in {measure.unit}: not put beside each other"
        for name in BOUNDS[:-1]:
            value = bounds[name]
            if not comparable:
                rows += _empty(epoch, (name,), why)
                if not isinstance(value, str):
                    rows.append(_row(epoch, f"density_{name}", value))
            else:
                rows.append(_row(epoch, name, value))
        rows.append(_row(epoch, "bits_per_pixel", bits(law, bounds, images) if comparable else _no_bits(law)))
        if calibrated and isinstance(law, CalibratedCriterion):
            found = places(law, float(np.exp(law.log_temperature.double().mean().item())))
            rows += [_row(epoch, name, value) for name, value in found.items()]
        for name, value in calibration(member, law, measurer).items() if calibrated else ():
            own = name not in NATS or comparable
            rows.append(_row(epoch, name if own else f"density_{name}", value))
            if not own:
                rows += _empty(epoch, (name,), why)
    return rows


def law_of(member: Member, measurer: Measurer, images: Images, settings: Settings) -> Criterion:
    """The likelihood of a member: its criterion, or its loss at the temperature that fits training images."""
    trained = member.criterion
    if trained.unit is not None:
        return trained
    if member.loss is None:
        raise LossproofError(
            f"{member.label}: a criterion that is no likelihood, without a loss to normalise"
        )
    data = measurer.splits["train"]
    target = data.images[:SAMPLE]
    raw, _, _ = member.model(target, data.noise[:SAMPLE])
    made = CalibratedCriterion(
        member.loss,
        measure=reference(images, settings.measure),
        of=settings.of,
        how="solved",
        per=settings.per,
        image_shape=images.image_shape,
    )
    made.to(settings.device)
    made.fit(target, raw)
    return made


def measure_bounds(
    member: Member, law: Criterion, measurer: Measurer, samples: int
) -> dict[str, float | str]:
    """Nats per image: reconstruction, rate, ELBO, and the importance-weighted bound of Burda et al., arXiv 1509.00519.

    All on the same images with the same ``samples`` draws of the code; of an autoencoder the reconstruction, given
    its code, is all there is. The sum over samples is taken in float64.
    """
    data = measurer.splits["test"].images[:IMAGES]
    variational = member.model.variational
    draws = samples if variational else 1
    noise = generator(0, "likelihood")
    step = max(1, VALUES // (draws * data[0].numel()))
    nll, rate, bound, log_t = [], [], [], []
    for target in data.split(step):
        mean, logvar = member.model.encode(target)
        if logvar is None:
            nll.append(_nats(law, target, member.model.decode(mean)))
            log_t.append(log_temperature(law).double().expand(len(target)))
            continue
        drawn = torch.randn(draws, *mean.shape, generator=noise).to(mean)
        code = mean + drawn * (0.5 * logvar).exp()
        raw = member.model.decode(code.flatten(0, 1))
        repeated = target.expand(draws, *target.shape).reshape(-1, *target.shape[1:])
        distortion = _nats(law, repeated, raw).view(draws, -1)
        log_t.append(log_temperature(law).double().expand(len(target)))
        # log p(z) - log q(z | x); the constants of the two normal laws cancel
        ratio = 0.5 * (drawn.double().square() + logvar.double() - code.double().square()).sum(-1)
        nll.append(distortion.mean(0))
        rate.append(rate_per_image(mean, logvar).double())
        bound.append((ratio - distortion).logsumexp(0) - math.log(draws))
    found: dict[str, float | str] = {"nll": float(torch.cat(nll).mean())}
    found["temperature"] = math.exp(float(torch.cat(log_t).mean()))
    if not variational:
        return found | {"likelihood_rate": NO_RATE, "elbo": NO_RATE, "iw_bound": NO_RATE}
    found["likelihood_rate"] = float(torch.cat(rate).mean())
    found["elbo"] = -float((torch.cat(nll) + torch.cat(rate)).mean())
    found["iw_bound"] = float(torch.cat(bound).mean())
    return found


def bits(law: Criterion, bounds: dict[str, float | str], images: Images) -> float | str:
    """Bits per pixel and channel: of the ELBO, or given the code where there is no rate; of a mass only."""
    if not isinstance(law_measure(law), Levels):
        return _no_bits(law)
    nats = bounds["nll"] if isinstance(bounds["elbo"], str) else -bounds["elbo"]
    assert isinstance(nats, float)
    return nats / (math.prod(images.train.shape[1:]) * math.log(2))


def law_measure(law: Criterion) -> object:
    """What a law is spread over."""
    return getattr(law, "measure", None)


def calibration(member: Member, law: Criterion, measurer: Measurer) -> dict[str, float]:
    """How the data sit in their laws: the probability integral transform, zeros and ones, expected and observed nats.

    The transform, F(y) of a density and F(y-) + v q(y) of a mass, v uniform, is uniform where the law is right (Czado,
    Gneiting and Held, DOI 10.1111/j.1541-0420.2009.01191.x): its histogram, and its largest distance from uniform, which
    is Kolmogorov's. A density expects no exact zeros and ones.
    """
    data = measurer.splits["test"]
    target, noise = data.images[:CALIBRATION], data.noise[:CALIBRATION]
    raw, _, _ = member.model(target, noise)
    if isinstance(law_measure(law), Levels):
        transform, expected, nats, ends = _of_mass(law.given(target, raw), target, raw, member.label)
    else:
        few = max(1, INTEGRATED // target[0].numel())
        if isinstance(law, CalibratedCriterion):
            target, raw = target[:few], raw[:few]
        transform, expected = _of_density(law, target, raw)
        nats, ends = law.values(target, raw).double().cpu(), (0.0, 0.0)
    shares, _ = np.histogram(np.clip(transform.flatten().numpy(), 0, 1), BINS, (0, 1))
    count = len(target)
    return dict(zip(HISTOGRAM, (shares / transform.numel()).tolist(), strict=True)) | {
        "pit_deviation": distance_from_uniform(transform.flatten().numpy()),
        "zeros_expected": ends[0],
        "zeros_observed": float((target == 0).double().mean()),
        "ones_expected": ends[1],
        "ones_observed": float((target == 1).double().mean()),
        "nll_expected": float(expected.sum()) / count,
        "nll_observed": float(nats.sum()) / count,
    }


def places(law: CalibratedCriterion, temperature: float) -> dict[str, float | str]:
    """Where normalising moves the minimum: the predictions under which some targets are most likely, at one temperature.

    And, for a prediction that is the first of these targets, the law's mean, mode and median. On levels each is the
    nearest level.
    """
    exact = Likelihood(Normaliser(law.loss, temperature, law.measure, law.of))
    at = np.array(PLACES)
    if isinstance(law.measure, Levels):
        at = np.unique(law.measure.nearest(at))
    found: dict[str, float | str] = {}
    for y, p in zip(at, exact.most_likely_p(at), strict=True):
        found[f"{OF_LAW}likely/{y:.3g}"] = float(y if abs(p - y) < 1e-6 else p)  # the search's own error
    for name in ("mean", "mode", "median"):
        try:
            found[f"{OF_LAW}{name}/{at[0]:.3g}"] = float(getattr(exact, name)(at[:1])[0])
        except LossproofError as error:
            found[f"{OF_LAW}{name}/{at[0]:.3g}"] = str(error)
    return found


def _of_mass(
    law: Criterion, target: Tensor, raw: Tensor, label: str
) -> tuple[Tensor, Tensor, Tensor, tuple[float, float]]:
    """Transform, expected and observed nats of each value, and the mean masses of the first and the last level.

    One level after another: no tensor holds all of them.
    """
    measure = law_measure(law)
    assert isinstance(measure, Levels)
    level = torch.from_numpy(measure.index(target.cpu().numpy(), label))
    below, here, entropy = (torch.zeros(target.shape, dtype=torch.float64) for _ in range(3))
    ends = []
    for k, value in enumerate(measure.values):
        log_mass = law.log_prob(torch.full_like(target, float(value)), raw).double().cpu()
        mass = log_mass.exp()
        below += torch.where(level > k, mass, 0.0)
        here = torch.where(level == k, mass, here)
        entropy -= torch.where(mass > 0, mass * log_mass, 0.0)
        if k in (0, measure.count - 1):
            ends.append(float(mass.mean()))
    v = torch.rand(target.shape, generator=generator(0, "transform"), dtype=torch.float64)
    return below + v * here, entropy, -here.log(), (ends[0], ends[1])


def _of_density(law: Criterion, target: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """F(y) and expected nats of each value, of a decoder's density or of a loss on [0, 1]."""
    if isinstance(law, Law):
        return law.cdf(target, raw).double().cpu(), law.entropy(raw).double().cpu()
    assert isinstance(law, CalibratedCriterion)
    below, expected = (torch.zeros(target.shape, dtype=torch.float64) for _ in range(2))
    for mask, exact in law.exact(target, raw):
        y, z = (part.cpu()[mask].double().numpy() for part in (target, raw))
        below[mask] = torch.from_numpy(exact.cdf(y, logits=z))
        nats = exact.expected_loss(logits=z) / exact.temperature + exact.normaliser.log_z(logits=z)
        expected[mask] = torch.from_numpy(nats)
    return below, expected


def distance_from_uniform(values: np.ndarray[Any, Any]) -> float:
    """Largest distance between the distribution function of these values and that of the uniform law on [0, 1].

    >>> distance_from_uniform(np.array([0.25, 0.75])), distance_from_uniform(np.array([1.0, 1.0]))
    (0.25, 1.0)
    """
    u = np.sort(np.clip(values, 0, 1))
    steps = np.arange(u.size + 1) / u.size
    return float(np.maximum(np.abs(u - steps[1:]), np.abs(u - steps[:-1])).max())


def _nats(law: Criterion, target: Tensor, raw: Tensor) -> Tensor:
    return -law.log_prob(target, raw).sum((1, 2, 3), dtype=torch.float64)


def _no_bits(law: Criterion) -> str:
    return f"no bits: {law.unit} is no mass, and its bits would depend on the unit of the pixels"


def _row(epoch: int, name: str, value: float | str) -> Row:
    if isinstance(value, str):
        return Row(epoch, "test", name, math.nan, value)
    reason = "" if math.isfinite(value) else f"{name} is {value:g} on these images"
    return Row(epoch, "test", name, value if math.isfinite(value) else math.nan, reason)


def _empty(epoch: int, names: tuple[str, ...], reason: str) -> list[Row]:
    return [Row(epoch, "test", name, math.nan, reason) for name in names]
