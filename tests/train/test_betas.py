"""Several betas in one run: each a member of its own, the tables of one beta as if it had run alone."""

import json

import numpy as np
import pandas as pd
import pytest

from lossproof.formula.errors import LossproofError
from lossproof.train import compare
from lossproof.train.table import COLUMNS, at_base, base_beta, read


def test_each_beta_is_the_run_that_it_would_be_alone(tiny, small, tmp_path):
    options = small | {"epochs": 4, "lr": 0.02}
    run = compare(tiny, ("bce", "mse"), beta=(0.25, 1.0, 4.0), out=tmp_path / "all", **options)
    t = read(run.directory)
    assert set(t.member) == {
        f"{n}-b{b}-s{s}" for n in ("bce", "mse") for b in ("0.25", "1", "4") for s in (0, 1)
    }
    assert set(t.loc[t.member == "bce-b0.25-s1", "beta"]) == {0.25}
    for beta in (0.25, 4.0):
        alone = compare(tiny, ("bce", "mse"), beta=beta, out=tmp_path / f"b{beta}", **options).table
        mine = t.loc[t.beta == beta].drop(columns="member")
        keep = [
            frame.loc[frame.measure != "seconds"].reset_index(drop=True)
            for frame in (mine, alone.drop(columns="member"))
        ]
        assert keep[0].equals(keep[1])
    last = t.loc[(t.epoch == 4) & (t.split == "test") & (t.seed == 0) & (t.loss == "bce")]
    wide = last.pivot(index="beta", columns="measure", values="value")
    assert np.allclose(wide.objective, wide.loss + wide.index * wide.rate)


def test_the_base_beta(tiny, small, tmp_path):
    run = compare(tiny, ("bce",), beta=(0.5, 1.0), out=tmp_path / "run", **small)
    config = json.loads((run.directory / "config.json").read_text())
    assert (config["beta"], config["betas"]) == (1.0, [0.5, 1.0])
    base = at_base(run.table, config)
    assert set(base.member) == {"bce-b1-s0", "bce-b1-s1"}
    assert base.index.equals(pd.RangeIndex(len(base)))
    assert base_beta({"beta": 2.0, "betas": [2.0, 4.0]}) == 2.0
    assert "betas" not in json.loads(
        (
            compare(tiny, ("bce",), beta=(3.0,), out=tmp_path / "one", **small).directory / "config.json"
        ).read_text()
    )


def test_a_run_from_before_betas_reads_still(tiny, small, tmp_path):
    run = compare(tiny, ("bce",), beta=0.5, out=tmp_path / "run", **small)
    run.table.drop(columns="beta").to_parquet(run.directory / "results.parquet")
    t = read(run.directory)
    assert tuple(t.columns) == COLUMNS
    assert set(t.beta) == {0.5}
    assert at_base(run.table.drop(columns="beta"), {}).shape == (len(t), len(COLUMNS) - 1)


def test_resume_knows_the_betas(tiny, small, tmp_path):
    compare(tiny, ("bce",), beta=(0.5, 1.0), out=tmp_path / "run", **small)
    with pytest.raises(LossproofError, match=r"betas \[0.5, 1.0\] -> \[0.5, 1.0, 2.0\]"):
        compare(tiny, ("bce",), beta=(0.5, 1.0, 2.0), out=tmp_path / "run", resume=True, **small)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": (1.0, 1.0)}, r"beta: expected at least one, all different, got \[1.0, 1.0\]"),
        ({"beta": ()}, r"beta: expected at least one, all different, got \[\]"),
        ({"beta": (1.0, -2.0)}, "beta: expected a number of at least 0, got -2.0"),
        ({"beta": (1.0, 2.0), "model": "ae"}, "beta: expected one, got 2: ae has no rate for beta to weigh"),
    ],
)
def test_guards(tiny, small, tmp_path, options, message):
    with pytest.raises(LossproofError, match=message):
        compare(tiny, ("bce",), out=tmp_path / "run", **small | options)
