"""``explain``: from a logged value, a curve or a dump to its likely causes, each decided by computation."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossproof.advise.symptoms import causes_domain, causes_dump, causes_flat, causes_nan, causes_value
from lossproof.advise.symptoms.case import Case, value_of
from lossproof.advise.symptoms.files import Tensors, read_curve, read_tensors
from lossproof.advise.symptoms.readings import check_reduction
from lossproof.advise.symptoms.records import Cause, Explanation, Finding, ranked
from lossproof.advise.symptoms.targets import of_array, of_data
from lossproof.formula import LossproofError
from lossproof.lower import function

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.data.images import Array

DETECTORS: tuple[Callable[[Case], Iterator[Finding | str]], ...] = (
    causes_nan.not_finite,
    causes_domain.outside,
    causes_domain.density,
    causes_domain.unreachable,
    causes_dump.sigmoids,
    causes_dump.logged,
    causes_value.reduction,
    causes_value.curve_pair,
    causes_flat.effective_beta,
    causes_flat.collapse,
    causes_flat.constant,
    causes_dump.dead,
    causes_dump.relu,
    causes_flat.double_sigmoid_bound,
    causes_dump.brightness,
    causes_value.floor,
    causes_value.total,
)


def explain(
    value: float | None = None,
    *,
    loss: object = None,
    data: "str | Path | Array | Images | None" = None,
    curve: "str | Path | Iterable[float] | Mapping[str, Any] | None" = None,
    dump: "str | Path | tuple[Any, Any] | Mapping[str, Any] | None" = None,
    reduction: str | None = None,
    rate: float | None = None,
    kl_weight: float | None = None,
    batch_size: int | None = None,
    shape: tuple[int, ...] | None = None,
    size: int | None = None,
    grey: bool | None = None,
    key: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Explanation:
    """Name the likely causes of a logged loss, ranked, each with its arithmetic, a fix and a check.

    ``value`` is the logged number; ``curve`` all of them (a list, a mapping as Keras' ``history.history``, or a .csv
    or .json file); ``dump`` targets with predictions or logits of one batch (a pair, a mapping, a .npz or .npy);
    ``data`` the images as ``load`` takes them, or ``shape`` of one image without them. ``reduction`` is "mean",
    "nats_per_image", "sum", "channel_mean" or "channel_sum"; ``rate`` the KL in nats per image and ``kl_weight`` its
    factor. ``data`` are read once, in constant memory; ``progress`` is told (images read, images expected). Raises
    ``LossproofError`` where nothing is given to explain, or something given cannot be read.

    >>> found = explain(0.30, loss="bce", data="digits")
    >>> found.causes[0].id, found.causes[0].standing, found.causes[0].normal
    ('floor', 'shown', True)
    >>> [cause.id for cause in explain(-5299324, loss="bce").causes]
    ['outside']
    """
    if value is None and curve is None and dump is None:
        raise LossproofError(
            "explain: expected a value, a curve or a dump, got none of them. Give the logged loss: --value 0.10."
        )
    check_reduction(reduction)
    for name, number in (("batch_size", batch_size), ("kl_weight", kl_weight)):
        if number is not None and not number > 0:
            raise LossproofError(f"explain: expected {name} above 0, got {number!r}.")
    if rate is not None and not rate >= 0:
        raise LossproofError(f"explain: expected rate as a KL of at least 0 nats per image, got {rate!r}.")
    series = None if curve is None else read_curve(curve)
    tensors = None if dump is None else read_tensors(dump)
    targets = None
    if data is not None:
        targets = of_data(data, size=size, grey=grey, key=key, progress=progress)
    elif tensors is not None:
        targets = of_array(tensors.targets, "dump")
    case = Case(
        loss=None if loss is None else function(loss),
        value=value_of(None if value is None else float(value), series),
        curve=series,
        reduction=reduction,
        rate=rate if rate is not None or series is None else series.rate,
        kl_weight=kl_weight,
        batch=batch_size,
        targets=targets,
        tensors=tensors,
        shape=shape,
    )
    return diagnose(_filled(case, tensors))


def _filled(case: Case, tensors: Tensors | None) -> Case:
    """A dump without a value is its own value: the mean loss per value."""
    if case.value is None and tensors is not None and (mean := causes_dump.dump_mean(case)) is not None:
        return replace(case, value=mean, reduction="mean", computed=True)
    return case


def diagnose(case: Case) -> Explanation:
    """Run every detector on a case and rank what they say."""
    findings: list[Finding] = []
    apart: list[str] = []
    for detector in DETECTORS:
        for one in detector(case):
            if isinstance(one, str):
                apart.append(one)
            else:
                findings.append(one)
    causes, ruled_out = ranked(_once(findings))
    found = {cause.id for cause in causes}
    return Explanation(
        loss=None if case.loss is None else case.loss.definition.label,
        value=case.value,
        facts=case.facts(),
        causes=causes,
        ruled_out=tuple(one for one in ruled_out if one.id not in found),
        apart=tuple(dict.fromkeys(apart)),
    )


def _once(findings: list[Finding]) -> list[Finding]:
    """Two detectors may name one cause: the surer one stands."""
    best: dict[str, Cause] = {}
    for one in ranked(findings)[0]:
        best.setdefault(one.id, one)
    return [*best.values(), *(one for one in findings if not isinstance(one, Cause))]
