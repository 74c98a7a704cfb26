"""The long results table: its columns, its measures and how to read it. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossproof.formula.errors import LossproofError

if TYPE_CHECKING:
    import pandas as pd

RESULTS = "results.parquet"
COLUMNS = ("member", "loss", "beta", "seed", "epoch", "split", "measure", "value", "reason")
SPLITS = ("train", "test")
EXCESS_UNDER, TRANSFORM, OF_LAW = "excess:", "transform:", "law:"


@dataclass(frozen=True)
class Measure:
    """What a measure is called, its unit, which direction is better ("lower", "higher", "") and its kind."""

    title: str
    unit: str
    better: str
    kind: str


MEASURES: dict[str, Measure] = {
    "loss": Measure("reconstruction loss", "nats per image", "lower", "own loss"),
    "floor": Measure("floor of the loss on this data", "nats per image", "", "own loss"),
    "excess": Measure("excess over the floor", "nats per image", "lower", "own loss"),
    "rate": Measure("rate (KL to the prior)", "nats per image", "", "own loss"),
    "objective": Measure("objective (loss + beta rate)", "nats per image", "lower", "own loss"),
    "mse": Measure("mean squared error", "per pixel", "lower", "picture"),
    "mae": Measure("mean absolute error", "per pixel", "lower", "picture"),
    "psnr": Measure("peak signal-to-noise ratio", "dB, mean over images", "higher", "picture"),
    "ssim": Measure("structural similarity", "mean over images", "higher", "picture"),
    "dead_pixels": Measure(
        "dead pixels (wrong by > 0.1, no gradient)", "share of pixels", "lower", "training"
    ),
    "gradient_norm": Measure("gradient norm of the objective", "nats per image", "", "training"),
    "active_units": Measure("active latent units", "units", "", "training"),
    "seconds": Measure("training time so far", "seconds", "lower", "training"),
    "mean_image_loss": Measure("loss of always predicting the mean image", "nats per image", "", "baseline"),
    "mean_image_excess": Measure(
        "excess of always predicting the mean image", "nats per image", "", "baseline"
    ),
    "nats": Measure("-log likelihood of the law trained under", "nats per image", "", "own loss"),
    "temperature": Measure(
        "temperature T of the loss as a likelihood (geometric mean of several)", "", "", "own loss"
    ),
    "nll": Measure("reconstruction as a likelihood, -log q(x | z)", "nats per image", "lower", "likelihood"),
    "likelihood_rate": Measure("rate on the images of the likelihood", "nats per image", "", "likelihood"),
    "elbo": Measure("evidence lower bound", "nats per image", "higher", "likelihood"),
    "iw_bound": Measure("importance-weighted bound", "nats per image", "higher", "likelihood"),
    "bits_per_pixel": Measure(
        "bits per pixel (of the ELBO; given the code in an autoencoder)",
        "bits per pixel",
        "lower",
        "likelihood",
    ),
    "density_nll": Measure(
        "reconstruction as a density, -log q(x | z)", "nats of density per image", "", "density"
    ),
    "density_likelihood_rate": Measure(
        "rate on the images of the likelihood, beside a density", "nats per image", "", "density"
    ),
    "density_elbo": Measure("evidence lower bound of a density", "nats of density per image", "", "density"),
    "density_iw_bound": Measure(
        "importance-weighted bound of a density", "nats of density per image", "", "density"
    ),
    "pit_deviation": Measure(
        "largest distance of the probability integral transform from uniform",
        "share of values",
        "lower",
        "likelihood",
    ),
    "density_nll_expected": Measure(
        "reconstruction expected under the density", "nats of density per image", "", "density"
    ),
    "density_nll_observed": Measure(
        "reconstruction observed on the same images, as a density", "nats of density per image", "", "density"
    ),
    "zeros_expected": Measure("exact zeros expected under the law", "share of values", "", "calibration"),
    "zeros_observed": Measure("exact zeros in the images", "share of values", "", "calibration"),
    "ones_expected": Measure("exact ones expected under the law", "share of values", "", "calibration"),
    "ones_observed": Measure("exact ones in the images", "share of values", "", "calibration"),
    "nll_expected": Measure("reconstruction expected under the law", "nats per image", "", "calibration"),
    "nll_observed": Measure(
        "reconstruction observed on the same images", "nats per image", "", "calibration"
    ),
}


def describe(measure: str) -> Measure:
    """The description of a measure, also of "excess:<loss>", a member's excess under any compared loss, and of
    "transform:<k>/<n>", the share of values whose probability integral transform lies in the k-th of n equal parts, and of
    "law:<likely, mean, mode or median>/<x>", the prediction under which a target x is most likely, or what the law holds
    for a prediction x.

    >>> describe("excess:bce").title, describe("transform:3/10").title
    ('excess under bce', 'probability integral transform from 0.3 to 0.4')
    """
    if measure.startswith(EXCESS_UNDER):
        return Measure(
            f"excess under {measure.removeprefix(EXCESS_UNDER)}", "nats per image", "lower", "every loss"
        )
    if measure.startswith(TRANSFORM):
        part, _, parts = measure.removeprefix(TRANSFORM).partition("/")
        ends = f"{int(part) / int(parts):g} to {(int(part) + 1) / int(parts):g}"
        return Measure(f"probability integral transform from {ends}", "share of values", "", "transform")
    if measure.startswith(OF_LAW):
        name, _, at = measure.removeprefix(OF_LAW).partition("/")
        title = (
            f"most likely prediction for y = {at}" if name == "likely" else f"{name} of the law at p = {at}"
        )
        return Measure(title, "", "", "of the law")
    if measure not in MEASURES:
        raise LossproofError(
            f"measure: expected one of {', '.join(MEASURES)} or {EXCESS_UNDER}<loss>, got {measure!r}."
        )
    return MEASURES[measure]


def read(run_dir: str | Path) -> pd.DataFrame:
    """The results table of a run: a row a (member, epoch, split, measure), an empty value with its reason.

    Raises `LossproofError` when there is no table or a column is missing.
    """
    import pandas as pd

    path = Path(run_dir) / RESULTS
    if not path.is_file():
        raise LossproofError(f"run: expected {RESULTS} in {run_dir}, found none. Is it a finished run?")
    table = pd.read_parquet(path)
    missing = [name for name in COLUMNS if name not in table.columns and name != "beta"]
    if missing:
        raise LossproofError(
            f"run: expected columns {', '.join(COLUMNS)} in {path}, missing {', '.join(missing)}."
        )
    if (
        "beta" not in table.columns
    ):  # a run from before betas were swept: its one beta is in its configuration
        table = table.assign(beta=_beta_of(Path(run_dir)))
    return table.loc[:, list(COLUMNS)]


def base_beta(config: Mapping[str, Any]) -> float:
    """The beta at which losses are compared where several were trained: 1 if it is among them, else the first.

    >>> base_beta({"beta": 0.5}), base_beta({"beta": 1.0, "betas": [0.25, 1.0, 4.0]})
    (0.5, 1.0)
    """
    betas = config.get("betas") or [config.get("beta", 1.0)]
    return 1.0 if 1.0 in betas else float(betas[0])


def at_base(table: pd.DataFrame, config: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of the base beta alone; a table without the column, or with one beta, as it is."""
    if "beta" not in table.columns or table["beta"].nunique() < 2:
        return table
    return table.loc[table["beta"] == base_beta(config)].reset_index(drop=True)


def _beta_of(run_dir: Path) -> float:
    try:
        return float(json.loads((run_dir / "config.json").read_text(encoding="utf-8"))["beta"])
    except (OSError, ValueError, KeyError, TypeError):
        return 1.0


def final(table: pd.DataFrame, split: str = "test") -> pd.DataFrame:
    """The rows of each member's last epoch on one split, without the baselines of epoch 0."""
    rows = table.loc[(table["split"] == split) & ~table["measure"].str.startswith("mean_image")]
    last = rows.groupby("member")["epoch"].transform("max")
    return rows.loc[rows["epoch"] == last].reset_index(drop=True)
