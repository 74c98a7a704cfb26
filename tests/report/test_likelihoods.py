"""Likelihoods in the report: bits against the histograms, and no density beside a mass."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from lossproof import report
from lossproof.report import likelihoods
from lossproof.report.run import read

MakeRun = Callable[..., Path]
DENSITY = "nats of density on the real line"
SHARES = ([0.3, *[0.05] * 8, 0.3], [0.2, *[0.075] * 8, 0.2])  # of even and of odd seeds
BITS = {"bce": (2.1, 2.12, 2.09), "mse": (1.50, 1.52, 1.49), "mae": (1.51, 1.505, 1.5)}


def measured(
    run: Path, bits: Mapping[str, tuple[float, ...]], density: str | None = None, unit: str = "nats of mass"
) -> Path:
    """A run whose members were measured as likelihoods in `unit`: bits for masses; `density` is one in another unit."""
    table = pd.read_parquet(run / "results.parquet")
    last = int(table["epoch"].max())
    rows = []
    for (member, label, seed), _ in table.groupby(["member", "loss", "seed"]):
        value = bits.get(str(label), (3.0, 3.0, 3.0))[int(seed)]
        nll = value * 64 * np.log(2) if label != density else -70.0 - int(seed)
        other = label == density
        bounds = {"nll": nll, "likelihood_rate": 9.0, "elbo": -nll - 9, "iw_bound": -nll - 8}
        found = {f"density_{name}" if other else name: (number, "") for name, number in bounds.items()}
        found |= {name: (np.nan, "in another unit") for name in bounds if other}
        found["bits_per_pixel"] = (np.nan, "a density") if other or unit != "nats of mass" else (value, "")
        found["temperature"] = (0.5, "")
        if not other:
            found |= {"zeros_expected": (0.48, ""), "zeros_observed": (0.5, ""), "pit_deviation": (0.02, "")}
        found |= {f"transform:{k}/10": (share, "") for k, share in enumerate(SHARES[int(seed) % 2])}
        if not other:
            found |= {"law:likely/0.102": (0.05, ""), "law:median/0.102": (np.nan, "no median")}
        rows += [(member, label, seed, last, "test", name, *pair) for name, pair in found.items()]
    more = pd.DataFrame(rows, columns=table.columns)
    pd.concat([table, more], ignore_index=True).to_parquet(run / "results.parquet")
    config = json.loads((run / "config.json").read_text())
    config["likelihood"] = {"unit": unit, "samples": 64}
    if unit == "nats of mass":
        config["likelihood"]["yardsticks"] = {"everywhere": 1.966, "each_pixel": 1.689}
    for entry in config["losses"]:
        if entry["label"] == density:
            entry |= {"unit": DENSITY, "decoder": True}
    (run / "config.json").write_text(json.dumps(config))
    return run


def section_of(run: Path) -> likelihoods.Section:
    found = likelihoods.section(read(run), 20)
    assert found is not None
    return found


def test_bits_stand_against_the_yardsticks(make_run: MakeRun) -> None:
    found = section_of(measured(make_run(labels=("bce", "mse", "mae")), BITS))
    (masses,) = found.groups
    assert masses.mass
    assert masses.yardsticks == [("histogram of all values", "1.966"), ("histogram of each pixel", "1.689")]
    lines = " ".join(found.words)
    assert re.search(
        r"bce needs 2\.103 \[2\.065, 2\.141\] bits per pixel, above the histogram of all values \(1\.966\) and above the "
        r"histogram of each pixel \(1\.689\): it knows less of the images than a histogram does\.",
        lines,
    )
    assert (
        "mse needs 1.503 [1.465, 1.541] bits per pixel, below the histogram of all values (1.966) and below"
        in lines
    )
    assert "Fewest bits: mse, not separated from mae." in lines


def test_only_separated_losses_are_left_out_of_the_ties(make_run: MakeRun) -> None:
    clear = {"bce": (2.0, 2.0, 2.01), "mse": (1.40, 1.41, 1.42), "mae": (1.50, 1.51, 1.52)}
    found = section_of(measured(make_run(labels=("bce", "mse", "mae")), clear))
    assert "Fewest bits: mse." in found.words
    column = [m.name for m in found.groups[0].columns].index("bits_per_pixel")
    assert [row.cells[column].mark for row in found.groups[0].rows] == ["", "best", ""]
    columns, rows = found.groups[0].calibration
    assert [m.name for m in columns] == ["pit_deviation", "zeros_expected", "zeros_observed"]
    assert [c.text for c in rows[0].cells] == ["0.02000", "0.4800", "0.5000"]
    columns, rows = found.groups[0].moved
    assert [m.title for m in columns] == ["most likely prediction for y = 0.102"]
    assert [[c.text for c in row.cells] for row in rows] == [["0.05000"]] * 3


def test_a_density_is_never_beside_a_mass(make_run: MakeRun) -> None:
    run = measured(make_run(labels=("bce", "mse", "mae")), BITS, density="mae")
    found = section_of(run)
    assert [(g.unit, [row.head for row in g.rows]) for g in found.groups] == [
        ("nats of mass", ["bce", "mse"]),
        (DENSITY, ["mae"]),
    ]
    column = [m.name for m in found.groups[1].columns].index("bits_per_pixel")
    assert found.groups[1].rows[0].cells[column].reason == "no bits: a density"
    assert found.groups[1].yardsticks == []
    assert [row.head for row in found.groups[0].moved[1]] == ["bce", "mse"]
    assert found.groups[1].moved == ([], [])
    assert any(
        line.startswith("mae: no bits: a density. Nats of density on the real line can be")
        for line in found.words
    )
    assert not any("mae needs" in line for line in found.words)
    html = report.write(run).read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", html, re.S)
    naming = [
        t for t in tables if "bits per pixel" in t or "importance" in t or "negative log" in t or "nll" in t
    ]
    assert len(naming) == 2
    assert not any('scope="row">mae' in t and 'scope="row">bce' in t for t in naming)
    assert 'id="likelihoods"' in html
    # where each loss is on its own scale, a density says that it is one
    own = next(r for r in re.findall(r"<tr>.*?</tr>", html, re.S) if ">reconstruction loss " in r)
    assert [("(density)" in cell) for cell in re.findall(r"<td.*?</td>", own, re.S)] == [False, False, True]


def test_the_transform_is_drawn_for_each_unit_by_itself(make_run: MakeRun) -> None:
    run = measured(make_run(labels=("bce", "mse", "mae")), BITS, density="mae")
    masses, densities = (group.transform for group in section_of(run).groups)
    assert masses is not None
    assert densities is not None
    assert [t["name"] for t in masses.data] == ["bce", "mse", "uniform"]
    assert [t["name"] for t in densities.data] == ["mae", "uniform"]
    assert (masses.key, densities.key) == (
        "transform-nats-of-mass",
        "transform-nats-of-density-on-the-real-line",
    )
    for figure in (masses, densities):
        go.Figure({"data": figure.data, "layout": figure.layout})  # plotly accepts it
        *laws, uniform = figure.data
        assert (uniform["x"], uniform["y"]) == ([0, 1], [1, 1])
        for law in laws:
            assert law["x"] == pytest.approx(np.linspace(0, 1, 11))
            ends, between = (
                (2 * 3 + 2) / 3,
                (2 * 0.5 + 0.75) / 3,
            )  # seeds 0, 1, 2, as densities: shares times 10
            assert law["y"] == pytest.approx([ends, *[between] * 8, ends, ends])
            assert law["line"]["shape"] == "hv"
    html = report.write(run).read_text(encoding="utf-8")
    assert html.count("were the law right, all shares would be equally frequent") == 2
    for figure in (masses, densities):
        assert f'data-figure="{figure.key}"' in html
        assert f'"{figure.key}":' in html  # what is drawn is on the page


def test_a_law_without_a_transform_has_no_line(make_run: MakeRun) -> None:
    run = measured(make_run(labels=("bce", "mse")), BITS)
    table = pd.read_parquet(run / "results.parquet")
    transform = table["measure"].str.startswith("transform:")
    table.loc[transform & (table["loss"] == "bce"), "value"] = np.nan
    table.to_parquet(run / "results.parquet")
    figure = section_of(run).groups[0].transform
    assert figure is not None
    assert [t["name"] for t in figure.data] == ["mse", "uniform"]
    table.loc[~transform].to_parquet(run / "results.parquet")
    assert section_of(run).groups[0].transform is None
    assert "equally frequent" not in report.write(run).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("laws", "config", "words"),
    [
        (
            {"of": "loss", "measure": "256 grey levels k/255"},
            {},
            "What is normalised is the loss itself, not its excess over its floor, on 256 grey levels k/255; "
            "T is fitted on the training images after training.",
        ),
        (
            {"of": "excess"},
            {"calibrate": "solved"},
            "the excess over its floor, on a reference measure; T is solved",
        ),
        ({}, {"calibrate": "learned"}, "T is learned beside the weights."),
        (
            {},
            {"calibrate": "learned", "per": "pixel"},
            "T is one for each pixel, learned beside the weights.",
        ),
        (
            {"rungs": 193},
            {"calibrate": "solved", "per": "image"},
            "T is one for each image, solved as it comes: of 193 temperatures that under which it is most likely, and "
            "log(193) = 5.3 nats an image are added for telling which.",
        ),
    ],
)
def test_what_is_normalised_is_stated(
    make_run: MakeRun, laws: dict[str, object], config: dict[str, object], words: str
) -> None:
    run = measured(make_run(labels=("bce", "mse"), seeds=1, epochs=2), BITS)
    found = json.loads((run / "config.json").read_text())
    found["likelihood"] |= laws
    (run / "config.json").write_text(json.dumps(found | config))
    section = likelihoods.section(read(run), 2)
    assert section is not None
    assert words in section.words[0]
    for entry in found["losses"]:
        entry["decoder"] = True  # whose laws are their own: there is no loss to normalise
    (run / "config.json").write_text(json.dumps(found | config))
    section = likelihoods.section(read(run), 2)
    assert section is not None
    assert not any(line.startswith("What is normalised") for line in section.words)


def test_an_interval_makes_all_losses_densities(make_run: MakeRun) -> None:
    found = section_of(measured(make_run(labels=("bce", "mse")), BITS, unit="nats of density on [0, 1]"))
    assert [g.unit for g in found.groups] == ["nats of density on [0, 1]"]
    assert "so they stand in a table of their own" not in " ".join(found.words)


def test_an_autoencoder_counts_no_code(make_run: MakeRun) -> None:
    found = section_of(measured(make_run(labels=("bce", "mse"), model="ae"), BITS))
    assert any("bits of an image given its code" in line for line in found.words)
    assert "elbo" not in [m.name for m in found.groups[0].columns]


def test_without_likelihood_columns_there_is_no_section(make_run: MakeRun) -> None:
    run = make_run(labels=("bce",), seeds=1, epochs=2)
    assert likelihoods.section(read(run), 2) is None


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.5, 1.6, "below the histogram of each pixel (1.689)."),
        (1.6, 1.8, "not separated from the histogram of each pixel (1.689)."),
        (
            1.8,
            1.9,
            "above the histogram of each pixel (1.689): it knows less of the images than a histogram does.",
        ),
        (float("nan"), float("nan"), "above the histogram of each pixel (1.689): it knows less"),
    ],
)
def test_the_interval_decides_where_there_is_one(low: float, high: float, words: str) -> None:
    assert words in likelihoods.against("x", 1.7, low, high, {"each_pixel": 1.689})
