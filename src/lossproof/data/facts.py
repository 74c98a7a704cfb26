"""The measured facts of one part (train or test) of a data set, and the record of all of them."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lossproof.data.levels import Levels

Floats = npt.NDArray[np.float64]
Floor = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Part:
    """What was measured on the train or the test images, after scaling.

    ``low``, ``high``: the smallest and largest finite value; ``levels``: distinct values (None: more than
    65536); ``at_zero``, ``at_one``, ``between``, ``outside`` and ``not_finite`` are shares of all values and
    add up to 1. ``bce_floor`` is the mean entropy of the targets and ``mean_image`` the BCE of always
    predicting the train mean image, both in nats per image; None where BCE is not defined on the data.
    """

    name: str
    count: int
    low: float
    high: float
    levels: int | None
    at_zero: float
    at_one: float
    between: float
    outside: float
    not_finite: float
    bce_floor: float | None
    mean_image: float | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one loss may be used on the data, why not, and the line of Python that makes it legal.

    ``train_floor`` and ``test_floor`` are in nats per image; where one is None or minus infinity,
    ``floor_reason`` says why.
    """

    loss: str
    title: str
    target: str
    minimum: str
    legal: bool
    reason: str
    fix: str
    train_floor: float | None
    test_floor: float | None
    floor_reason: str


@dataclass(frozen=True, slots=True)
class DataReport:
    """All that ``check`` found. ``problem`` is empty when the data can be trained on as it is."""

    name: str
    source: str
    scaling: str
    dtype: str
    image_shape: tuple[int, int, int]
    grid: int | None
    parts: tuple[Part, ...]
    losses: tuple[Verdict, ...]
    notes: tuple[str, ...]
    problem: str = ""
    fix: str = ""

    @property
    def pixels(self) -> int:
        """Values an image has: channels x height x width."""
        return math.prod(self.image_shape)

    @property
    def legal(self) -> bool:
        """Tell whether the data can be trained on as it is."""
        return not self.problem

    def part(self, name: str) -> Part | None:
        """Give the facts of "train" or "test"."""
        return next((part for part in self.parts if part.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain values for JSON; infinities become the strings "inf" and "-inf"."""
        plain: dict[str, Any] = {"legal": self.legal, "pixels": self.pixels, **_plain(asdict(self))}
        for part in plain["parts"]:
            for key in ("bce_floor", "mean_image"):
                value = part[key]
                part[f"{key}_per_pixel"] = value / self.pixels if isinstance(value, float) else value
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def measure(name: str, count: int, pixels: int, levels: Levels, entropy: Floor) -> Part:
    """Measure one part but for its baseline. ``entropy`` is BCE's floor of a target, element-wise."""
    v, finite = levels.values, int(levels.counts.sum())
    inside = (v >= 0) & (v <= 1)
    usable = finite == levels.total and bool(inside.all())
    return Part(
        name=name,
        count=count,
        low=float(v[0]) if v.size else math.nan,
        high=float(v[-1]) if v.size else math.nan,
        levels=v.size if levels.exact else None,
        at_zero=levels.share(v == 0),
        at_one=levels.share(v == 1),
        between=levels.share((v > 0) & (v < 1)),
        outside=levels.share(~inside),
        not_finite=1 - finite / levels.total,
        bce_floor=levels.mean(entropy(v)) * pixels if usable else None,
        mean_image=None,
    )


def mean_image_bce(train: Floats, test: Floats, count: int) -> float:
    """BCE, in nats per image, of predicting the mean of ``count`` train images for images of mean ``test``.

    The prediction is kept in [1/(2n), 1 - 1/(2n)], n train images: a pixel that is 0 in all of them says no
    more. BCE is linear in the target: the mean image stands for all of them.
    """
    edge = 1 / (2 * count)
    p = np.clip(train, edge, 1 - edge)
    return float(-(test * np.log(p) + (1 - test) * np.log1p(-p)).sum())
