"""Look at a data set as a loss sees it: range, levels, entropy floor, baseline, which losses are legal."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.data.facts import DataReport, mean_image_bce, measure
from lossproof.data.images import Array, Images, Raw
from lossproof.data.legality import judge
from lossproof.data.levels import levels_of
from lossproof.data.loading import divide, read
from lossproof.data.scale import Scaling, scaling_of
from lossproof.data.split import Split
from lossproof.formula.errors import LossproofError


def check(
    data: "str | Path | Array | Images",
    *,
    losses: Sequence[object] | None = None,
    size: int | None = None,
    grey: bool | None = None,
    test_fraction: float = 0.2,
    split: Split = "random",
    seed: int = 0,
    key: str | None = None,
) -> DataReport:
    """Report what a data set is to a loss; data that ``load`` refuses is described, and how to repair it.

    ``losses`` (default: the whole catalogue) are ids, formulas or ``Loss`` records; the other options are
    those of ``load``. Floors and the mean-image baseline are in nats per image. Where more than 4096
    distinct values occur, neighbours are merged for the floors (an error of some 1e-8 nats a pixel). Raises
    ``LossproofError`` for data that cannot be read or has no pixels.

    >>> report = check("digits", losses=["bce"])
    >>> report.part("test").levels, report.losses[0].legal, round(report.part("test").bce_floor, 1)
    (17, True, 13.6)
    """
    chosen = [resolve(spec) for spec in losses] if losses is not None else list(CATALOGUE.values())
    raw, scaling = _raw(data, size=size, grey=grey, key=key)
    problem, fix = (scaling.problem.message, scaling.problem.fix) if scaling.problem else ("", "")
    try:
        raw = divide(raw, test_fraction=test_fraction, split=split, seed=seed)
    except LossproofError as e:
        if len(raw.train) > 1:
            raise
        problem = f"{problem} {e}".strip()
    arrays = {"train": raw.train} | ({"test": raw.test} if raw.test is not None else {})
    levels = [levels_of(array, scaling.divisor) for array in arrays.values()]
    parts = [
        measure(name, array, found, _entropy)
        for (name, array), found in zip(arrays.items(), levels, strict=True)
    ]
    if all(part.bce_floor is not None for part in parts):
        parts = [
            replace(part, mean_image=mean_image_bce(raw.train, arrays[part.name], scaling)) for part in parts
        ]
    _, c, h, w = raw.train.shape
    return DataReport(
        name=raw.name,
        source=raw.source,
        scaling=scaling.text,
        dtype=str(raw.train.dtype),
        image_shape=(c, h, w),
        grid=scaling.levels,
        parts=tuple(parts),
        losses=tuple(judge(loss, levels, parts, c * h * w, fix) for loss in chosen),
        notes=raw.notes + scaling.notes,
        problem=problem,
        fix=fix,
    )


def _raw(
    data: "str | Path | Array | Images", *, size: int | None, grey: bool | None, key: str | None
) -> tuple[Raw, Scaling]:
    if isinstance(data, Images):
        raw = Raw(
            data.name,
            data.train,
            data.source,
            data.test,
            data.train_labels,
            data.test_labels,
            None,
            data.notes,
        )
        return raw, Scaling(1, data.scaling, data.levels)
    raw = read(data, size=size, grey=grey, key=key)
    return raw, scaling_of(raw)


def _entropy(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from lossproof.lower import function

    return np.asarray(function("bce").floor(y), np.float64)
