"""The whole of a comparison: its table, its files, its defaults, its errors."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lossproof.formula.errors import LossproofError
from lossproof.train import compare
from lossproof.train.progress import standing
from lossproof.train.settings import settle, slug, slugs
from lossproof.train.table import COLUMNS, MEASURES, describe, final, read

BOTH = {
    "loss", "floor", "excess", "rate", "objective", "excess:bce", "excess:huber(delta=0.1)", "mse", "mae",
    "psnr", "ssim", "dead_pixels", "gradient_norm", "active_units",
}  # fmt: skip


@pytest.fixture
def result(tiny, small, tmp_path):
    return compare(tiny, ("bce", "huber(delta=0.1)"), out=tmp_path / "run", **small)


def test_the_table(result):
    t = read(result.directory)
    assert tuple(t.columns) == COLUMNS
    assert t.equals(result.table)
    assert t.value.dtype == np.float64
    assert t.seed.dtype == t.epoch.dtype == np.int64
    assert not t.duplicated(["member", "epoch", "split", "measure"]).any()
    assert set(t.member) == {f"{name}-s{seed}" for name in ("bce", "huber-delta-0.1") for seed in (0, 1)}
    assert set(t.loss) == {"bce", "huber(delta=0.1)"}
    for (_, epoch, split), rows in t.groupby(["member", "epoch", "split"]):
        extra = {"seconds"} if split == "train" else set()
        if split == "test" and epoch == 0:
            extra = {"mean_image_loss", "mean_image_excess"}
        assert set(rows.measure) == BOTH | extra
    assert set(t.epoch) == {0, 1, 2, 3}
    assert np.isfinite(t.value).all()
    assert (t.reason == "").all()
    assert (t.loc[(t.measure == "seconds") & (t.epoch == 0), "value"] == 0).all()
    for measure in t.measure.unique():
        assert describe(measure).title
    last = final(t)
    assert set(last.epoch) == {3}
    assert set(last.split) == {"test"}


def test_training_lowers_the_objective(tiny, small, tmp_path):
    t = compare(tiny, ("bce", "mse"), out=tmp_path / "run", **small | {"epochs": 20, "lr": 0.01}).table
    curve = t.loc[(t.split == "train") & (t.measure == "objective")].pivot(
        index="epoch", columns="member", values="value"
    )
    assert (curve.loc[20] < curve.loc[0] - 0.05).all()


def test_the_configuration(result, tiny):
    config = json.loads((result.directory / "config.json").read_text())
    assert config["data"]["name"] == "tiny"
    assert config["data"]["shape"] == [1, 6, 5]
    assert (config["data"]["train"], config["data"]["test"]) == (42, 18)
    assert [loss["label"] for loss in config["losses"]] == ["bce", "huber(delta=0.1)"]
    assert config["losses"][1]["values"] == {"delta": 0.1}
    assert config["hidden"] == [9]
    assert config["seeds"] == [0, 1]
    assert config["evaluation"]["ssim_window"] == "uniform 3x3"
    assert config["evaluation"]["images"] == 18
    assert config["versions"]["torch"] == torch.__version__
    assert config["command"] == ""  # called from Python: there is no command to repeat


def read_png(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_the_pictures(result, tiny):
    images = result.directory / "images"
    index = json.loads((images / "index.json").read_text())
    assert index["count"] == 10
    assert index["indices"][:3] == [0, 1, 2]  # the first of each label
    strip = read_png(images / "originals.png")
    assert strip.shape == (6, 10 * 6 - 1)
    assert (strip[:, 5::6] == 255).all()
    for place, number in enumerate(index["indices"]):
        expected = np.round(tiny.test[number, 0] * 255)
        assert np.array_equal(strip[:, place * 6 : place * 6 + 5], expected)
    for files in index["members"].values():
        assert set(files) == {"reconstructions", "samples"}
        for name in files.values():
            with Image.open(images / name) as picture:
                assert picture.size == (59, 6)
    assert set(index["members"]) == set(result.table.member)


def test_colour_pictures(small, tmp_path):
    from lossproof.data import Images

    pixels = np.random.default_rng(0).random((30, 3, 5, 7)).astype(np.float32)
    images = Images("colour", pixels[:20], pixels[20:], None, None, "", "", None)
    options = small | {"hidden": (4, 6), "epochs": 1}
    run = compare(images, ("bce",), model="conv-vae", out=tmp_path / "run", **options)
    strip = read_png(tmp_path / "run" / "images" / "originals.png")
    assert np.array_equal(strip[:, :7], np.round(pixels[20].transpose(1, 2, 0) * 255))
    assert pd.read_parquet(run.directory / "latent.parquet").label.isna().all()


def test_the_map_of_codes(result, tiny, small, tmp_path):
    codes = pd.read_parquet(result.directory / "latent.parquet")
    assert list(codes.columns) == ["member", "loss", "seed", "index", "label", "x", "y"]
    mine = codes.loc[codes.member == "bce-s0"]
    assert mine.label.tolist() == tiny.test_labels.tolist()
    # principal components: centred, uncorrelated, the first the larger
    assert abs(np.corrcoef(mine.x, mine.y)[0, 1]) < 1e-6
    assert mine.x.var() >= mine.y.var() > 0
    assert mine[["x", "y"]].mean().abs().max() < 1e-9


@pytest.mark.parametrize("latent", [1, 2])
def test_a_narrow_code_is_its_own_map(tiny, small, tmp_path, latent):
    from safetensors.torch import load_file

    from lossproof.models import build

    run = compare(tiny, ("bce",), out=tmp_path / "run", **small | {"latent": latent, "seeds": 1})
    codes = pd.read_parquet(run.directory / "latent.parquet")
    model = build("vae", (1, 6, 5), hidden=(9,), latent=latent, generator=torch.Generator())
    stored = load_file(run.directory / "checkpoints" / "bce-s0.safetensors")
    model.load_state_dict({k.removeprefix("model."): v for k, v in stored.items() if k.startswith("model.")})
    with torch.no_grad():
        mean = model.encode(torch.from_numpy(tiny.test))[0].numpy()
    assert np.allclose(codes.x, mean[:, 0], atol=1e-6)
    assert np.allclose(codes.y, mean[:, 1] if latent == 2 else 0, atol=1e-6)


def test_standing_reads_as_promised(result):
    assert result.summary[0].startswith("bce-s0: excess ")
    t = result.table.loc[result.table.member == "bce-s0"]
    value = t.loc[(t.epoch == 3) & (t.split == "test") & (t.measure == "excess"), "value"].item()
    assert f"excess {value:.3g} + rate " in result.summary[0]
    assert "| mean image " in result.summary[0]
    assert callable(standing)


def test_progress_is_quiet_without_a_terminal_and_live_with_one(tiny, small, tmp_path, capsys, monkeypatch):
    compare(tiny, ("bce",), out=tmp_path / "quiet", **small | {"progress": None})
    assert capsys.readouterr() == ("", "")
    from rich.console import Console

    from lossproof.train import progress

    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **options: Console(file=screen, force_terminal=True, width=160)
    )
    compare(tiny, ("bce", "(y - p)**2"), out=tmp_path / "live", **small | {"progress": None})
    shown = screen.getvalue()
    assert "bce-s1" in shown
    assert "3/3" in shown
    assert "| mean image " in shown


def test_threads_are_put_back(tiny, small, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        compare(tiny, ("bce",), out=tmp_path / "run", **small)
        assert torch.get_num_threads() == 2
        assert json.loads((tmp_path / "run" / "config.json").read_text())["threads"] == 1
    finally:
        torch.set_num_threads(before)


def shaped(count, side):
    from lossproof.data import Images

    pixels = np.broadcast_to(np.float32(0), (count, 1, side, side))
    return Images("x", pixels, pixels[:100], None, None, "", "", None)


@pytest.mark.parametrize(
    ("images", "model", "expected"),
    [
        (shaped(60_000, 28), "vae", (20, (400,), 10, 128)),
        (shaped(1_438, 8), "vae", (8, (128,), 60, 64)),
        (shaped(60_000, 28), "conv-ae", (20, (32, 64), 10, 128)),
    ],
)
def test_defaults_follow_the_data(images, model, expected):
    settings = settle(
        images, model=model, latent=None, hidden=None, epochs=None, batch_size=None, lr=1e-3, beta=1.0,
        seeds=3, device="cpu", threads=1,
    )  # fmt: skip
    assert (settings.latent, settings.hidden, settings.epochs, settings.batch_size) == expected
    assert settings.seeds == (0, 1, 2)


def test_names_of_files():
    from lossproof.catalogue import resolve

    assert slug("(y-p)**2/(p*(1-p))") == "y-p-2-p-1-p"
    assert slug("**") == "loss"
    names = slugs([resolve(spec).label for spec in ("(y - p)**2", "(y + p)**2", "bce")])
    assert len(set(names)) == 3
    assert names[2] == "bce"
    assert names[0].startswith("y-p-2-")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"losses": ()}, "losses: expected at least one, got none"),
        ({"losses": ("bce", "mse", "bce")}, "losses: expected different ones, got bce more than once"),
        ({"losses": ("bec",)}, "did you mean bce"),
        ({"model": "gan"}, "model: expected one of ae, vae, conv-ae, conv-vae, got 'gan'"),
        ({"latent": 0}, "latent: expected at least 1, got 0"),
        ({"hidden": (4, -1)}, "hidden: expected at least 1, got -1"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch-size: expected at least 1, got 0"),
        ({"lr": float("nan")}, "lr: expected a positive number, got nan"),
        ({"beta": -1.0}, "beta: expected a number of at least 0, got -1"),
        ({"seeds": 0}, "seeds: expected at least one, all different and none negative, got \\[\\]"),
        ({"seeds": (1, 1)}, "seeds: .* got \\[1, 1\\]"),
        ({"device": "tpu9"}, "device: expected one that is here \\(auto, cpu.*\\), got 'tpu9'"),
        ({"data": "no-such-set"}, "no-such-set"),
    ],
)
def test_wrong_options(tiny, small, tmp_path, options, message):
    arguments = {"data": tiny, "losses": ("bce",), "out": tmp_path / "run"} | small | options
    with pytest.raises(LossproofError, match=message):
        compare(**arguments)
    assert not (tmp_path / "run").exists()


def test_data_outside_a_losss_domain(tiny, small, tmp_path):
    scaled = replace(tiny, train=tiny.train * 255)
    with pytest.raises(
        LossproofError, match=r"bce: expected target in \[0, 1\], got \d+ of \d+ distinct values"
    ):
        compare(scaled, ("mse", "bce"), out=tmp_path / "run", **small)
    with pytest.raises(LossproofError, match=r"expected train images as float32 \(n, c, h, w\)"):
        compare(replace(tiny, train=tiny.train.astype(np.float64)), ("bce",), out=tmp_path / "run", **small)


def test_a_folder_that_is_not_empty(tiny, small, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(LossproofError, match=r"expected an empty or new folder, got .*run with thesis.tex"):
        compare(tiny, ("bce",), out=tmp_path / "run", **small)
    with pytest.raises(LossproofError, match=r"expected config.json in .*run, found none"):
        compare(tiny, ("bce",), out=tmp_path / "run", resume=True, **small)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_written(tiny, small, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(LossproofError, match=r"out: expected a folder that can be written, got .*file"):
            compare(tiny, ("bce",), out=out, **small)


def test_resume_of_nothing_starts_afresh(tiny, small, tmp_path):
    # what a run leaves that was killed while it wrote its first file
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".writing-config.json").write_text("{")
    run = compare(tiny, ("bce",), out=tmp_path / "run", resume=True, **small)
    assert run.table.epoch.max() == 3
    assert not list((tmp_path / "run").glob(".writing-*"))
    assert "DataFrame" not in repr(run)


def test_a_configuration_that_cannot_be_read(tiny, small, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(LossproofError, match=r"resume: expected JSON in .*config.json"):
        compare(tiny, ("bce",), out=tmp_path, resume=True, **small)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(LossproofError, match=r"expected a JSON object in .*, got list"):
        compare(tiny, ("bce",), out=tmp_path, resume=True, **small)


def test_a_default_folder_is_new_each_time(tiny, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = small | {"epochs": 1}
    one, two = (compare(tiny, ("bce",), **options).directory for _ in range(2))
    assert one != two
    assert one.parent.name == "lossproof-runs"
    assert one.name.startswith("tiny-")


def test_reading_what_is_no_run(tmp_path):
    with pytest.raises(LossproofError, match=r"expected results.parquet in .*, found none"):
        read(tmp_path)
    pd.DataFrame({"member": ["a"]}).to_parquet(tmp_path / "results.parquet")
    with pytest.raises(LossproofError, match=r"missing loss, seed, epoch"):
        read(tmp_path)
    with pytest.raises(LossproofError, match=r"measure: expected one of loss, .*, got 'beauty'"):
        describe("beauty")
    assert describe("excess:bce").better == MEASURES["excess"].better == "lower"


def test_importing_the_room_loads_neither_torch_nor_pandas():
    import subprocess
    import sys

    program = (
        "import sys, lossproof.train, lossproof.train.table, lossproof.models, lossproof.cli.compare;"
        "print([name for name in ('torch', 'pandas', 'sympy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
