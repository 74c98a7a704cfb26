"""Equal rate: exact on curves that the interpolation can follow, paired, and silent beyond what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossproof import report
from lossproof.formula.errors import LossproofError
from lossproof.report import equal_rate, paired
from lossproof.report.codes import latent_maps
from lossproof.report.equal_rate import at_equal_rate, curves, points, words
from lossproof.report.run import read

MakeRun = Callable[..., Path]
COLUMNS = ["member", "loss", "seed", "epoch", "split", "measure", "value", "reason", "beta"]
BETAS = (0.25, 0.5, 1.0, 2.0, 4.0)
Law = Callable[[float, int], float]


def swept(laws: Mapping[str, Mapping[str, Law]], scale: Mapping[str, float], seeds: int = 3) -> pd.DataFrame:
    """A table in which loss l at beta b has rate scale[l]/b (a little more for later seeds) and these distortions."""
    rows = []
    for label, by_measure in laws.items():
        for seed in range(seeds):
            for beta in BETAS:
                rate = scale[label] / beta * (1 + 0.01 * seed)
                found = {"rate": rate, "loss": 1.0} | {
                    name: law(rate, seed) for name, law in by_measure.items()
                }
                rows += [
                    (f"{label}-b{beta:g}-s{seed}", label, seed, 5, "test", name, value, "", beta)
                    for name, value in found.items()
                ]
    return pd.DataFrame(rows, columns=COLUMNS)


def decay(start: float, noise: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Law:
    return lambda rate, seed: start * float(np.exp(-rate / 20)) * (1 + noise[seed])


TWO = {"a": {"mse": decay(0.08)}, "b": {"mse": decay(0.1)}}


def test_a_logarithmic_curve_is_followed_exactly_between_its_points() -> None:
    frame = at_equal_rate(swept(TWO, {"a": 10.0, "b": 10.0}), rates=[7.3, 22.0])
    wanted = -0.02 * np.exp(-np.array([7.3, 22.0]) / 20)
    assert frame["difference"].to_numpy() == pytest.approx(wanted, rel=1e-9)
    assert frame["first_value"].to_numpy() == pytest.approx(
        0.08 * np.exp(-np.array([7.3, 22.0]) / 20), rel=1e-9
    )
    assert frame["seeds"].tolist() == [3, 3]


def test_linear_measures_are_followed_linearly_and_monotone() -> None:
    laws = {"a": {"ssim": lambda r, s: 0.5 + 0.01 * r}, "b": {"ssim": lambda r, s: 0.6 + 0.01 * r}}
    frame = at_equal_rate(swept(laws, {"a": 10.0, "b": 10.0}), rates=[13.0])
    assert frame["first_value"].iloc[0] == pytest.approx(0.63, abs=1e-12)
    steep = equal_rate.Curve(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 1.0]), False)
    between = steep.at(np.linspace(0, 3, 100))
    assert (np.diff(between) >= 0).all()
    assert between.max() <= 1


def test_intervals_are_those_of_the_paired_t_test() -> None:
    noise = (0.02, -0.03, 0.05)
    laws = {"a": {"mse": decay(0.08, noise)}, "b": {"mse": decay(0.1)}}
    row = at_equal_rate(swept(laws, {"a": 10.0, "b": 10.0}), rates=[12.0]).iloc[0]
    each = np.exp(-12 / 20) * (0.08 * (1 + np.array(noise)) - 0.1)
    known = stats.ttest_1samp(each, 0.0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((known.low, known.high), rel=1e-7)
    assert bool(row["separated"])


def test_seeds_that_move_together_are_paired_and_those_that_do_not_are_not_separated() -> None:
    wide = (0.3, -0.3, 0.1)
    together = {"a": {"mse": decay(0.08, wide)}, "b": {"mse": decay(0.1, wide)}}
    against = {"a": {"mse": decay(0.08, wide)}, "b": {"mse": decay(0.1, wide[::-1])}}
    scale = {"a": 10.0, "b": 10.0}
    assert at_equal_rate(swept(together, scale), rates=[12.0])["separated"].item()
    assert not at_equal_rate(swept(against, scale), rates=[12.0])["separated"].item()


def test_nothing_is_extrapolated() -> None:
    table = swept(TWO, {"a": 10.0, "b": 40.0})  # a: 2.5 to 40; b: 10 to 160
    frame = at_equal_rate(table, rates=[5.0, 20.0, 100.0])
    assert frame["seeds"].tolist() == [0, 3, 0]
    assert frame["difference"].isna().tolist() == [True, False, True]
    assert "outside the shared rates, 10.2 to 40" in frame["reason"].iloc[0]
    chosen = at_equal_rate(table)
    assert chosen["seeds"].min() == 3
    assert chosen["rate"].between(10.2, 40).all()


def test_curves_that_share_no_rate_say_so() -> None:
    frame = at_equal_rate(swept(TWO, {"a": 10.0, "b": 1000.0}))
    assert len(frame) == 1
    assert frame["reason"].item() == (
        "no rate is reached by all seeds of both (those of a share 2.55 to 40.0 nats and those of b share 255 to 4,000 nats)"
    )
    assert words(frame) == [
        "a and b: no rate is reached by all seeds of both (those of a share 2.55 to 40.0 nats and those of b share 255 to 4,000 nats); nothing is said about "
        "equal rate."
    ]


def test_every_overlap_has_a_rate_even_a_narrow_one() -> None:
    laws = {label: {"mse": decay(0.1)} for label in ("a", "b", "c")}
    frame = at_equal_rate(swept(laws, {"a": 1.0, "b": 15.5, "c": 10.0}))
    narrow = frame[(frame["first"] == "a") & (frame["second"] == "b") & (frame["seeds"] > 0)]
    assert narrow["rate"].between(3.875 * 1.02, 4.0).all()
    assert len(narrow)


def test_a_stopped_seed_is_left_out_of_the_pairs() -> None:
    table = swept(TWO, {"a": 10.0, "b": 10.0})
    table.loc[(table["loss"] == "a") & (table["seed"] == 1), ["value", "reason"]] = [np.nan, "NaN in epoch 2"]
    assert at_equal_rate(table, rates=[12.0])["seeds"].item() == 2
    table.loc[table["loss"] == "a", "value"] = np.nan
    frame = at_equal_rate(table, rates=[12.0])
    assert frame["reason"].item() == "a has fewer than two rates"


def test_collapsed_betas_are_one_point() -> None:
    table = swept({"a": {"mse": lambda r, s: 0.07 if r == 0 else 0.01}}, {"a": 10.0})
    flat = (table["beta"] >= 1) & (table["measure"] == "rate")
    table.loc[flat, "value"] = 0.0
    made = curves(points(table, "mse"), "mse")["a"][0]
    assert made.rates.tolist() == [0.0, 20.0, 40.0]


def test_words_follow_the_numbers() -> None:
    laws = {
        "a": {"mse": decay(0.08, (0.01, 0.0, -0.01)), "ssim": lambda r, s: 0.7 + (0.1, -0.1, 0.02)[s]},
        "b": {"mse": decay(0.1), "ssim": lambda r, s: 0.7},
    }
    table = swept(laws, {"a": 10.0, "b": 10.0})
    (line,) = words(at_equal_rate(table, rates=[20.0]))
    size = 0.02 * np.exp(-1)
    assert line.startswith("At a rate of 20 nats per image, a against b: mean squared error lower by 0.00")
    assert float(re.search(r"lower by ([\d.]+)", line).group(1)) == pytest.approx(size, rel=0.02)  # type: ignore[union-attr]
    assert "not separated: structural similarity" in line
    assert line.endswith("(paired 95 % intervals over 3 seeds).")
    (back,) = words(at_equal_rate(table[::-1], rates=[20.0]))
    assert "b against a: mean squared error higher by" in back


def test_words_say_where_the_order_turns() -> None:
    laws = {"a": {"mse": lambda r, s: 0.1 - 0.002 * r}, "b": {"mse": lambda r, s: 0.08 - 0.0005 * r}}
    table = swept(laws, {"a": 10.0, "b": 10.0})
    (line,) = words(at_equal_rate(table, rates=[5.0, 20.0, 30.0]))
    assert "lower by 0.00996" in line
    assert ", the other way round at 5 nats" in line


def test_one_seed_has_no_interval_and_says_so() -> None:
    table = swept(TWO, {"a": 10.0, "b": 10.0}, seeds=1)
    frame = at_equal_rate(table, rates=[12.0])
    assert (frame["reason"].item(), frame["separated"].item()) == (paired.ONE_SEED, False)
    assert words(frame)[0].endswith("(one seed, may be chance).")


def test_tables_without_betas_or_measures_are_refused() -> None:
    table = swept(TWO, {"a": 10.0, "b": 10.0})
    with pytest.raises(LossproofError, match="expected the column beta, got a table without"):
        points(table.drop(columns="beta"), "mse")
    with pytest.raises(
        LossproofError, match="expected the measure psnr in the table, got only rate, loss, mse"
    ):
        points(table, "psnr")
    assert not equal_rate.has_sweep(table.drop(columns="beta"))
    assert not equal_rate.has_sweep(table[table["beta"] == 1])
    assert equal_rate.has_sweep(table)


def with_betas(run: Path, factors: Mapping[float, float]) -> Path:
    """The same run trained at several betas: rates and errors scaled, the members renamed."""
    table = pd.read_parquet(run / "results.parquet")
    parts = []
    for beta, factor in factors.items():
        part = table.assign(beta=beta, member=table["member"] + f"-b{beta:g}" * (beta != 1))
        part.loc[part["measure"] == "rate", "value"] /= factor
        part.loc[part["measure"].isin(["mse", "mae"]), "value"] *= factor**0.5
        part.loc[part["measure"] == "ssim", "value"] -= 0.05 * np.log(factor)
        parts.append(part)
    pd.concat(parts, ignore_index=True).to_parquet(run / "results.parquet")
    config = json.loads((run / "config.json").read_text())
    config["betas"] = list(factors)
    (run / "config.json").write_text(json.dumps(config))
    return run


def test_the_page_has_the_section_and_the_other_tables_keep_to_the_base_beta(make_run: MakeRun) -> None:
    run = make_run(labels=("bce", "mse"), epochs=3)
    before = report.write(run).read_text(encoding="utf-8")
    after = report.write(with_betas(run, {1.0: 1.0, 0.5: 0.6, 4.0: 2.5})).read_text(encoding="utf-8")
    assert 'id="equal-rate"' in after
    assert 'id="equal-rate"' not in before
    assert "trained at 0.5, 1, 4, compared at equal rate below" in after

    def part(html: str, start: str) -> str:
        return re.sub(r"\s+", " ", html.split(start, 1)[1].split("</section>", 1)[0])

    for start in ('id="summary"', 'id="measures"', 'id="pairs"', 'id="pictures"'):
        assert part(after, start) == part(before, start)
    drawn = json.loads(after.split('id="figures">', 1)[1].split("</script>", 1)[0])["figures"]
    assert {"equal-mse", "equal-mae", "equal-ssim"} <= drawn.keys()
    curve = next(t for t in drawn["equal-mse"]["data"] if t["mode"] == "lines" and "fill" not in t)
    assert np.all(np.diff(curve["x"]) > 0)
    assert len(next(t for t in drawn["equal-mse"]["data"] if t["mode"] == "markers")["x"]) == 9
    assert "against mse: " in part(after, 'id="equal-rate"')


def test_the_latent_map_is_that_of_the_base_beta(make_run: MakeRun) -> None:
    run = make_run(labels=("bce", "mse"), epochs=3)
    codes = pd.read_parquet(run / "latent.parquet")
    with_betas(run, {1.0: 1.0, 0.5: 0.6, 4.0: 2.5})
    others = [codes.assign(member=codes["member"] + f"-b{beta:g}", x=codes["x"] + 9) for beta in (0.5, 4.0)]
    pd.concat([others[0], codes, others[1]]).to_parquet(run / "latent.parquet")
    for figure in latent_maps(read(run)):
        assert figure.note == "360 test images"
        assert max(x for trace in figure.data for x in trace["x"]) < 5


def test_mixing_betas_in_a_paired_difference_is_refused_and_the_summary_keeps_to_the_base(
    make_run: MakeRun,
) -> None:
    run = make_run(labels=("bce", "mse"))
    plain = report.summary(pd.read_parquet(run / "results.parquet"))
    table = pd.read_parquet(with_betas(run, {1.0: 1.0, 4.0: 2.5}) / "results.parquet")
    assert report.summary(table) == plain
    with pytest.raises(LossproofError, match="expected the rows of one beta, got 2 betas"):
        paired.differences(table, "mse")
