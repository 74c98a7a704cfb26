"""Look at a data set as a loss sees it: range, levels, entropy floor, baseline, which losses are legal."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.data.facts import DataReport, mean_image_bce, measure
from lossproof.data.images import Array, Images
from lossproof.data.legality import judge
from lossproof.data.scale import Scaling, scaling_from
from lossproof.data.scan import Range, Tally
from lossproof.data.split import Split, how_split, split_indices
from lossproof.data.stream import Stream, of_images, open_stream
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
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Report what a data set is to a loss; data that ``load`` refuses is described, and how to repair it.

    ``losses`` (default: the whole catalogue) are ids, formulas or ``Loss`` records; the other options are
    those of ``load``. The data are read once, in constant memory; a picture that cannot be read is left out and
    counted, unless ``strict``. ``progress`` is told (images read, images expected). Floors and the mean-image baseline
    are in nats per image. Where more than 4096 distinct values occur, neighbours are merged for the floors (an error
    of some 1e-8 nats a pixel). Raises ``LossproofError`` for data that cannot be read or has no pixels.

    >>> report = check("digits", losses=["bce"])
    >>> report.part("test").levels, report.losses[0].legal, round(report.part("test").bce_floor, 1)
    (17, True, 13.6)
    """
    chosen = [resolve(spec) for spec in losses] if losses is not None else list(CATALOGUE.values())
    known = Scaling(1, data.scaling, data.levels) if isinstance(data, Images) else None
    stream = (
        of_images(data)
        if isinstance(data, Images)
        else open_stream(data, size=size, grey=grey, key=key, strict=strict)
    )
    tests, problem = None, ""
    notes: list[str] = []
    if len(stream.parts) == 1:
        try:
            tests = np.zeros(stream.count, bool)
            tests[split_indices(stream.count, test_fraction, split, seed, stream.name)[1]] = True
            notes.append(how_split(int(tests.sum()), stream.count, split, seed))
        except LossproofError as e:
            if stream.count > 1:
                raise
            tests, problem = None, str(e)
    ranges, tallies = scan(stream, tests, progress)
    scaling = known or scaling_from(stream.name, ranges, stream.top)
    fix = scaling.problem.fix if scaling.problem else ""
    problem = " ".join(filter(None, (scaling.problem.message if scaling.problem else "", problem)))
    levels = [tally.levels(scaling.divisor) for tally in tallies.values()]
    parts = [
        measure(name, tally.count, stream.pixels, found, _entropy)
        for (name, tally), found in zip(tallies.items(), levels, strict=True)
    ]
    if all(part.bce_floor is not None for part in parts):
        train = tallies["train"]
        mean = train.mean(scaling.divisor)
        parts = [
            replace(part, mean_image=mean_image_bce(mean, tally.mean(scaling.divisor), train.count))
            for part, tally in zip(parts, tallies.values(), strict=True)
        ]
    if all(tally.equal_channels for tally in tallies.values()):
        notes.append("the three channels are equal everywhere: --grey would store one")
    if stream.skipped_count:
        notes.append(stream.skipped_note())
    return DataReport(
        name=stream.name,
        source=stream.source,
        scaling=scaling.text,
        dtype=str(stream.dtype),
        image_shape=stream.shape,
        grid=scaling.levels,
        parts=tuple(parts),
        losses=tuple(judge(loss, levels, parts, stream.pixels, fix) for loss in chosen),
        notes=(*stream.notes, *notes, *scaling.notes),
        problem=problem,
        fix=fix,
    )


def scan(
    stream: Stream, tests: npt.NDArray[np.bool_] | None, progress: Callable[[int, int], None] | None
) -> tuple[list[Range], dict[str, Tally]]:
    """One pass: the range of each of the source's parts, and the tallies of train and test images.

    ``tests`` marks the test images of a source without a split of its own.
    """
    top = stream.top if stream.top is not None else 1.0 if stream.dtype.kind == "f" else np.inf
    own = [part.name for part in stream.parts]
    ranges = {name: Range(stream.shape, stream.dtype, top) for name in own}
    names = own if tests is None else ["train", "test"]
    tallies = {name: Tally(stream.shape, stream.dtype) for name in names}
    read = 0
    for block in stream.blocks():
        ranges[block.part].feed(block.images, block.numbers - stream.start(block.part))
        if tests is None:
            tallies[block.part].feed(block.images)
        else:
            chosen = tests[block.numbers]
            for name, images in (("train", block.images[~chosen]), ("test", block.images[chosen])):
                if len(images):
                    tallies[name].feed(images)
        read += len(block.images)
        if progress is not None:
            progress(read, stream.count)
    if not read:
        raise LossproofError(
            f"{stream.name}: expected pictures, got none that can be read ({stream.skipped_count} damaged)."
        )
    return list(ranges.values()), tallies


def _entropy(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from lossproof.lower import function

    return np.asarray(function("bce").floor(y), np.float64)
