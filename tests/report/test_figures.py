"""Plots: valid for plotly, true to the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from lossproof import report
from lossproof.report import codes, figures
from lossproof.report.pictures import clear_gaps
from lossproof.report.run import read

MakeRun = Callable[..., Path]


def every(run: figures.Run) -> list[figures.Figure]:
    whole = [figure for panel in figures.loss_panels(run) for figure in (panel.whole, panel.excess)]
    return [
        f
        for f in (figures.progress(run), codes.rate_distortion(run, 20), *whole, *codes.latent_maps(run))
        if f
    ]


def test_plotly_accepts_every_figure(make_run: MakeRun) -> None:
    run = read(make_run(stopped="mae"))
    drawn = every(run)
    assert len(drawn) == 2 + 8 + 4
    for figure in drawn:
        notes = [
            {k: v for k, v in note.items() if k != "boxed"} for note in figure.layout.get("annotations", [])
        ]
        go.Figure({"data": figure.data, "layout": {**figure.layout, "annotations": notes}})
    chooser = figures.chooser(run)
    assert chooser
    for entry in chooser["values"].values():
        go.Figure(entry)


def test_the_thick_line_is_the_mean_of_the_thin_ones(make_run: MakeRun) -> None:
    run = read(make_run())
    panel = figures.loss_panels(run)[0].excess
    assert panel
    traces = panel.data
    assert [trace["line"]["width"] for trace in traces] == [1, 1, 1, 2.6]
    np.testing.assert_allclose(traces[3]["y"], np.mean([trace["y"] for trace in traces[:3]], axis=0))
    rows = run.table[
        (run.table["loss"] == "bce") & (run.table["measure"] == "excess") & (run.table["split"] == "test")
    ]
    np.testing.assert_allclose(traces[3]["y"], rows.groupby("epoch")["value"].mean())


def test_progress_is_in_percent_of_the_mean_images_excess(make_run: MakeRun) -> None:
    figure = figures.progress(read(make_run(labels=("bce",), seeds=1)))
    assert figure
    assert figure.data[0]["y"][0] == pytest.approx(100 * 22.0 / (31.6 - 22.4))


def test_the_floor_is_drawn_at_the_floor(make_run: MakeRun) -> None:
    whole = figures.loss_panels(read(make_run()))[0].whole
    assert whole
    floor = next(trace for trace in whole.data if trace["name"] == "floor")
    assert floor["y"] == pytest.approx([22.4, 22.4])
    assert floor["line"]["dash"] == "dot"


def test_no_two_of_twelve_losses_look_alike() -> None:
    assert len({(figures.tone(i), figures.dash(i)) for i in range(12)}) == 12
    assert len({figures.dash(i) for i in range(6)}) == 6
    assert "dot" not in figures.DASHES  # the floor's own


def test_rate_and_distortion_are_one_point_a_member(make_run: MakeRun) -> None:
    run = read(make_run())
    figure = codes.rate_distortion(run, 20)
    assert figure
    assert [len(trace["x"]) for trace in figure.data] == [3, 3, 3, 3]
    rows = run.table[(run.table["member"] == "m1-s2") & (run.table["epoch"] == 20)]
    values = rows[rows["split"] == "test"].set_index("measure")["value"]
    assert (figure.data[1]["x"][2], figure.data[1]["y"][2]) == (values["rate"], values["mse"])


def test_a_plain_autoencoder_has_no_rate_plot(make_run: MakeRun) -> None:
    assert codes.rate_distortion(read(make_run(model="ae")), 20) is None


def test_a_stopped_member_leaves_a_gap(make_run: MakeRun) -> None:
    run = read(make_run(stopped="mae", seeds=1))
    excess = figures.loss_panels(run)[2].excess
    assert excess
    values = excess.data[-1]["y"]
    assert values[2] is not None
    assert values[3:] == [None] * 18


def test_one_epoch_is_no_excess_curve(make_run: MakeRun) -> None:
    path = make_run(labels=("bce",), seeds=1)
    table = pd.read_parquet(path / "results.parquet")
    gone = table["epoch"] > 0
    table.loc[gone, ["value", "reason"]] = [np.nan, "NaN in epoch 1"]
    table.to_parquet(path / "results.parquet")
    panel = figures.loss_panels(read(path))[0]
    assert (panel.whole, panel.excess, panel.why) == (None, None, "NaN in epoch 1")


def test_nothing_to_draw_is_said(make_run: MakeRun) -> None:
    path = make_run(labels=("bce", "cb"), seeds=1)
    table = pd.read_parquet(path / "results.parquet")
    unbounded = (table["loss"] == "cb") & table["measure"].isin(["floor", "excess"])
    table.loc[unbounded, "value"] = np.nan
    table.loc[unbounded, "reason"] = "the floor of cb on these images is -inf"
    table.to_parquet(path / "results.parquet")
    panel = figures.loss_panels(read(path))[1]
    assert panel.whole
    assert panel.excess is None
    assert panel.why == "the floor of cb on these images is -inf"
    html = report.write(path).read_text(encoding="utf-8")
    assert "Nothing to draw: the floor of cb on these images is -inf." in html
    assert "no excess: the floor of cb on these images is -inf" in html


def test_latent_points_are_coloured_and_named_by_label(make_run: MakeRun) -> None:
    figure = codes.latent_maps(read(make_run()))[0]
    assert [trace["name"] for trace in figure.data] == [str(digit) for digit in range(10)]
    assert len({(t["meta"]["tone"], t["marker"]["symbol"]) for t in figure.data}) == 10
    assert sum(len(trace["x"]) for trace in figure.data) == 360


def test_latent_map_without_labels_is_one_colour(make_run: MakeRun) -> None:
    figure = codes.latent_maps(read(make_run(classes=None)))[0]
    assert len(figure.data) == 1
    assert "label" not in figure.alt


def test_many_points_are_thinned_and_said_so(make_run: MakeRun) -> None:
    path = make_run(labels=("bce",), seeds=1)
    points = pd.read_parquet(path / "latent.parquet")
    pd.concat([points] * 10).to_parquet(path / "latent.parquet")
    figure = codes.latent_maps(read(path))[0]
    assert sum(len(trace["x"]) for trace in figure.data) == codes.LATENT_POINTS
    assert figure.note == "1200 of 3600 test images"


def test_a_strip_of_another_width_is_left_alone(make_run: MakeRun) -> None:
    run = read(make_run(labels=("bce",), seeds=1))
    source = run.picture("originals.png")
    assert source
    assert clear_gaps(source, run) != source
    run.pictures["count"] = 9
    assert clear_gaps(source, run) == source


def test_pictures_outside_the_folder_are_not_read(make_run: MakeRun) -> None:
    run = read(make_run(labels=("bce",), seeds=1))
    assert run.picture("..", "config.json") is None
