"""The measures of the results table as a reader meets them: order, heads, which stand on one scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lossproof.train.table import EXCESS_UNDER, MEASURES, OF_LAW
from lossproof.train.table import describe as describe_measure

ORDER = (
    "loss", "floor", "excess", "mean_image_loss", "mean_image_excess", "nats", "temperature", "rate",
    "objective", "mse", "mae", "psnr", "ssim", "dead_pixels", "gradient_norm", "active_units", "seconds",
    "nll", "likelihood_rate", "elbo", "iw_bound", "bits_per_pixel", "pit_deviation", "zeros_expected", "zeros_observed",
    "ones_expected", "ones_observed", "nll_expected", "nll_observed",
    "density_nll", "density_likelihood_rate", "density_elbo", "density_iw_bound",
)  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """One measure. `common` says whether its values under different training losses stand on one scale."""

    name: str
    title: str
    unit: str
    better: str = ""
    common: bool = False

    @property
    def head(self) -> str:
        """Title with unit, as it stands in a table's head."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def suffix(self) -> str:
        """Unit as it follows a number in a sentence; a scale without a unit gives nothing."""
        unit = self.unit.split(", mean")[0].strip()
        return "" if not unit or unit.startswith("mean over") else f" {unit}"


def describe(name: str) -> Measure:
    """The measure of that name; a name the report does not know is shown as it is, without a unit.

    >>> describe("psnr").suffix, describe("excess:bce").head, describe("new thing").head
    (' dB', 'excess under bce (nats per image)', 'new thing')
    """
    if name not in MEASURES and not name.startswith((EXCESS_UNDER, OF_LAW)):
        return Measure(name, name, "")
    known = describe_measure(name)
    common = bool(known.better) and (
        known.kind in {"picture", "every loss", "likelihood"} or name == "dead_pixels"
    )
    return Measure(name, known.title, known.unit, known.better, common)


def ordered(names: Iterable[str]) -> list[Measure]:
    """Measures of a table in the reader's order: the fixed ones, excess under each loss, then the unknown.

    >>> [m.name for m in ordered(["zeta", "excess:mse", "psnr", "loss"])]
    ['loss', 'psnr', 'excess:mse', 'zeta']
    """
    present = list(dict.fromkeys(names))
    first = [name for name in ORDER if name in present]
    under = [name for name in present if name.startswith(EXCESS_UNDER)]
    return [
        describe(name)
        for name in [*first, *under, *(n for n in present if n not in first and n not in under)]
    ]


def split_of(name: str) -> str:
    """The split a final value is read from: training time exists only for the training split."""
    return "train" if name == "seconds" else "test"
