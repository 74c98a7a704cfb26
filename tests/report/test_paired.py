"""Intervals and paired differences against scipy's own tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossproof.formula.errors import LossproofError
from lossproof.report import paired

INFINITE = float("inf")
NAN = float("nan")


def table(
    values: Mapping[str, Sequence[float]], measure: str = "mse", reason: str = "", epoch: int = 1
) -> pd.DataFrame:
    rows = []
    for label, numbers in values.items():
        for seed, value in enumerate(numbers):
            why = reason if np.isnan(value) else ""
            for name, number in ((measure, value), ("loss", value)):
                rows.append((f"{label}-s{seed}", label, seed, epoch, "test", name, number, why))
    return pd.DataFrame(rows, columns=list(paired.NEEDED))


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_differences_are_the_paired_t_tests_intervals(level: float, seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    a, b, c = rng.normal(size=(3, seeds)) + rng.normal(size=seeds)
    found = paired.differences(table({"a": a, "b": b, "c": c}), "mse", level=level)
    assert list(zip(found["first"], found["second"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    for row, (x, y) in zip(found.itertuples(), ((a, b), (a, c), (b, c)), strict=True):
        test = stats.ttest_rel(x, y)
        expected = test.confidence_interval(level)
        np.testing.assert_allclose(
            [row.difference, row.low, row.high], [np.mean(x - y), *expected], rtol=1e-12
        )
        assert row.separated == (test.pvalue < 1 - level)
        assert row.seeds == seeds
        assert row.reason == ""


def test_pairing_is_by_seed_not_by_row() -> None:
    shuffled = table({"a": [1.0, 2.0, 3.0], "b": [1.5, 2.5, 3.5]}).sample(frac=1, random_state=3)
    row = paired.differences(shuffled, "mse").iloc[0]
    assert abs(row["difference"]) == 0.5
    assert row["low"] == row["high"] == row["difference"]


def test_only_seeds_of_both_count() -> None:
    row = paired.differences(
        table({"a": [1.0, 2.0, 4.0], "b": [1.5, NAN, 3.0]}, reason="stopped"), "mse"
    ).iloc[0]
    expected = stats.ttest_rel([1.0, 4.0], [1.5, 3.0])
    assert row["seeds"] == 2
    np.testing.assert_allclose([row["low"], row["high"]], expected.confidence_interval(0.95))


def test_one_seed_has_a_difference_and_no_interval() -> None:
    row = paired.differences(table({"a": [1.0], "b": [3.0]}), "mse").iloc[0]
    assert row["difference"] == -2.0
    assert np.isnan(row["low"])
    assert not row["separated"]
    assert row["reason"] == "no interval: one seed"


def test_a_loss_without_values_states_why() -> None:
    row = paired.differences(table({"a": [1.0, 2.0], "b": [NAN, NAN]}, reason="log of 0"), "mse").iloc[0]
    assert (row["seeds"], row["reason"]) == (0, "log of 0")
    cell = paired.intervals(table({"a": [1.0, 2.0], "b": [NAN, NAN]}, reason="log of 0"), "mse").iloc[1]
    assert (cell["seeds"], cell["reason"]) == (0, "log of 0")


def test_infinite_values_separate_nothing() -> None:
    rows = paired.differences(table({"a": [INFINITE, 1.0], "b": [INFINITE, 2.0], "c": [1.0, 2.0]}), "mse")
    assert not rows["separated"].any()
    assert np.isinf(paired.intervals(table({"a": [INFINITE, 1.0], "b": [1.0, 1.0]}), "mse")["mean"].iloc[0])


def test_intervals_are_the_one_sample_t_tests() -> None:
    sample = [1.0, 1.7, 0.4, 2.2]
    row = paired.intervals(table({"a": sample}), "mse").iloc[0]
    expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    np.testing.assert_allclose([row["mean"], row["low"], row["high"]], [np.mean(sample), *expected])


def test_last_epoch_waits_for_every_loss_that_runs() -> None:
    long = pd.concat(
        [table({"a": [1.0], "b": [1.0]}, epoch=e) for e in (0, 1, 2)] + [table({"a": [1.0]}, epoch=3)]
    )
    assert paired.last_epoch(long) == 2


def test_last_epoch_does_not_wait_for_a_stopped_loss() -> None:
    parts = [table({"a": [1.0], "b": [1.0]}, epoch=0)]
    parts += [table({"a": [1.0], "b": [NAN]}, epoch=e, reason="stopped") for e in (1, 2)]
    assert paired.last_epoch(pd.concat(parts)) == 2


def test_last_epoch_when_all_stopped_is_the_last_with_a_value() -> None:
    parts = [table({"a": [1.0]}, epoch=0), table({"a": [NAN]}, epoch=1, reason="stopped")]
    assert paired.last_epoch(pd.concat(parts)) == 0


def test_missing_columns_are_named() -> None:
    with pytest.raises(LossproofError, match="got none named reason"):
        paired.differences(table({"a": [1.0]}).drop(columns="reason"), "mse")


def test_empty_table_is_refused() -> None:
    with pytest.raises(LossproofError, match="expected at least one row, got 0"):
        paired.intervals(table({"a": [1.0]}).iloc[:0], "mse")


def test_unknown_measure_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LossproofError, match=r"expected a measure of the table \(mse, loss\), got 'mes'"):
        paired.differences(table({"a": [1.0], "b": [2.0]}), "mes")


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_level_outside_0_1_is_refused(level: float) -> None:
    with pytest.raises(LossproofError, match=r"expected level in \(0, 1\)"):
        paired.t_interval([1.0, 2.0], level)
