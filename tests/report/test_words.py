"""The plain-words summary says what the table says, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossproof import report
from lossproof.formula.errors import LossproofError
from lossproof.report import words

MakeRun = Callable[..., Path]
COLUMNS = ["member", "loss", "seed", "epoch", "split", "measure", "value", "reason"]


def small(**values: dict[str, list[float]]) -> pd.DataFrame:
    """A table of one epoch: measure -> loss -> value a seed."""
    rows = [
        (
            f"{label}-s{seed}",
            label,
            seed,
            int(not measure.startswith("mean_image")),
            "test",
            measure,
            value,
            "",
        )
        for measure, by_loss in values.items()
        for label, numbers in by_loss.items()
        for seed, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_floor_sentence_of_the_issue() -> None:
    table = small(
        loss={"bce": [62.0, 62.2]}, floor={"bce": [45.5, 45.5]}, excess={"bce": [16.5, 16.7]},
        mean_image_loss={"bce": [206.4, 206.4]},
    )  # fmt: skip
    assert report.summary(table)[0] == (
        "bce ends at 62.1 nats per image, of which 45.5 are the floor and cannot be trained away: excess "
        "16.6; always predicting the mean image costs 206."
    )


def test_a_floor_of_zero_and_no_floor_are_said_as_such() -> None:
    table = small(
        loss={"mse": [2.0], "cb": [-300.0]},
        floor={"mse": [0.0], "cb": [float("-inf")]},
        excess={"mse": [2.0], "cb": [float("inf")]},
    )
    lines = report.summary(table)
    assert "its floor is 0, so all of it is excess" in lines[0]
    assert "no floor on these images (unbounded below)" in lines[1]
    assert "excess" not in lines[1]


def test_separated_losses_are_ranked_with_the_paired_interval() -> None:
    a, b = np.array([0.010, 0.012, 0.011]), np.array([0.020, 0.0225, 0.021])
    table = small(loss={"a": [1.0] * 3, "b": [1.0] * 3}, mse={"b": list(b), "a": list(a)})
    line = next(line for line in report.summary(table) if "squared error" in line)
    assert line.startswith("Lowest mean squared error: a, 0.0110 per pixel; it is below the next, b, by ")
    interval = stats.ttest_rel(b, a).confidence_interval(0.95)
    numbers = [float(text) for text in re.findall(r"\d\.\d+", line.split(" by ")[1])]
    np.testing.assert_allclose(numbers, [np.mean(b - a), *interval], atol=5e-5)


def test_losses_that_are_not_separated_show_no_measurable_difference() -> None:
    table = small(
        loss={"a": [1.0] * 3, "b": [1.0] * 3}, psnr={"a": [20.0, 21.0, 22.0], "b": [20.4, 20.9, 21.6]}
    )
    line = next(line for line in report.summary(table) if "signal-to-noise" in line)
    assert line.startswith("Peak signal-to-noise ratio: no measurable difference between a and b")
    assert "holds 0" in line


def test_higher_is_better_for_psnr() -> None:
    table = small(
        loss={"a": [1.0] * 3, "b": [1.0] * 3}, psnr={"a": [20.0, 21.0, 22.0], "b": [30.0, 31.1, 32.0]}
    )
    line = next(line for line in report.summary(table) if "signal-to-noise" in line)
    assert line.startswith("Highest peak signal-to-noise ratio: b, 31.0 dB; it is above the next, a, by 10.0")


def test_one_seed_claims_no_difference() -> None:
    table = small(loss={"a": [1.0], "b": [1.0]}, mse={"a": [0.1], "b": [0.2]})
    lines = report.summary(table)
    assert any("one seed, so there is no interval and the order may be chance" in line for line in lines)
    assert not any("interval over" in line or "best or not" in line for line in lines)


def test_one_loss_is_described_not_ranked(make_run: MakeRun) -> None:
    run = make_run(labels=("bce",))
    lines = report.summary(pd.read_parquet(run / "results.parquet"))
    assert any(line.startswith("bce reaches mean squared error 0.0238 per pixel") for line in lines)
    assert not any(word in line for line in lines for word in ("Lowest", "Highest", "best"))


def test_tally_counts_best_and_not_separated() -> None:
    same = {"a": [1.0, 2.0, 3.0], "b": [1.1, 1.9, 3.0]}
    apart = {"a": [1.0, 2.0, 3.0], "b": [5.0, 6.1, 7.0]}
    table = small(loss=same, mse=same, mae=apart)
    line = next(line for line in report.summary(table) if line.startswith("Of 2 measures"))
    assert line.endswith("a under 2 and b under 1.")


def test_losses_with_their_minimum_elsewhere_are_labelled(make_run: MakeRun) -> None:
    table = pd.read_parquet(make_run(labels=("bce", "focal")) / "results.parquet")
    config = {"losses": [{"label": "bce", "minimum": "target"}, {"label": "focal", "minimum": "elsewhere"}]}
    assert any(line.startswith("focal is not minimised at p = y") for line in report.summary(table, config))
    assert not any("not minimised" in line for line in report.summary(table, {}))


def test_a_stopped_loss_gives_its_reason_in_place_of_numbers(make_run: MakeRun) -> None:
    table = pd.read_parquet(
        make_run(stopped="mae", message="mae stopped in epoch 3: it was NaN.") / "results.parquet"
    )
    assert "mae: no result at epoch 20: mae stopped in epoch 3: it was NaN." in report.summary(table)


def test_every_number_of_the_summary_is_in_the_table(make_run: MakeRun) -> None:
    """Each printed number must be a mean, or an end of a paired interval, of some measure, rounded."""
    table = pd.read_parquet(make_run() / "results.parquet")
    final = table[(table["epoch"] == 20) | table["measure"].str.startswith("mean_image")]
    allowed: list[float] = [0.0, 20.0, 3.0, 95.0]
    wides = [rows.pivot(index="seed", columns="loss", values="value") for _, rows in
             final[final["split"] == "test"].groupby("measure")]  # fmt: skip
    for wide in wides:
        allowed += list(wide.mean()) + list(100 * wide.mean())
        for first in wide:
            for second in wide:
                delta = wide[first] - wide[second]
                if delta.std() > 0:
                    ends = stats.t.interval(0.95, 2, delta.mean(), delta.std() / np.sqrt(3))
                    allowed += [delta.mean(), *ends]
    known = np.abs(np.array(allowed))
    lines = [line for line in report.summary(table) if not line.startswith("Of ")]
    assert len(lines) >= 12
    for line in lines:
        for text in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", line):
            places = len(text.partition(".")[2])
            assert np.min(np.abs(known - float(text))) <= 0.5000001 * 10.0**-places, (text, line)


def test_rate_and_collapse_are_told_for_a_vae() -> None:
    table = small(
        loss={"a": [3.0] * 2, "b": [2.0] * 2},
        excess={"a": [3.0] * 2, "b": [2.0] * 2},
        mean_image_excess={"a": [9.0] * 2, "b": [2.01] * 2},
        rate={"a": [4.0, 4.2], "b": [0.004, 0.006]},
    )
    lines = report.summary(table, {"beta": 2.0})
    assert "Rate, what the code carries (KL): a 4.10 and b 0.00500 nats per image." in lines
    collapsed = [line for line in lines if "collapsed" in line]
    assert collapsed == [
        "b has collapsed: its code carries 0.00500 nats per image, so it draws nearly the same picture for every "
        "input; its excess, 2.00, is hardly below the mean image's, 2.01."
    ]
    assert any(line.startswith("All losses share beta = 2") for line in lines)


@pytest.mark.parametrize(
    ("excess", "ending"),
    [
        (5.56, "every input; its excess, 5.56, is above the mean image's, 4.75."),
        (4.70, "every input; its excess, 4.70, is hardly below the mean image's, 4.75."),
        (4.00, "every input."),
    ],
)
def test_a_collapsed_code_is_put_on_the_right_side_of_the_mean_image(excess: float, ending: str) -> None:
    table = small(
        loss={"a": [excess] * 2},
        excess={"a": [excess] * 2},
        mean_image_excess={"a": [4.75] * 2},
        rate={"a": [0.004, 0.006]},
    )
    (line,) = [line for line in report.summary(table, {"beta": 1.0}) if "collapsed" in line]
    assert line.endswith(ending)


def test_a_plain_autoencoder_has_no_rate_to_tell() -> None:
    table = small(loss={"a": [3.0] * 2, "b": [2.0] * 2}, rate={"a": [0.0, 0.0], "b": [0.0, 0.0]})
    assert not any("Rate" in line or "beta" in line for line in report.summary(table, {"beta": 1.0}))


def test_a_table_without_its_columns_is_refused() -> None:
    with pytest.raises(LossproofError, match="expected the columns"):
        report.summary(pd.DataFrame({"loss": ["bce"]}))


def test_small_shares_are_not_called_zero() -> None:
    assert words.percent(1e-7) == "under 0.001 %"
    assert words.percent(0.00034) == "0.034 %"
