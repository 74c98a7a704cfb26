"""What a calibrated run, a decoder or a density says of itself: the words follow what was trained."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lossproof import report
from lossproof.cli.compare import run as run_command
from lossproof.cli.compare import with_parameters
from lossproof.likelihood.exchange import record
from lossproof.report import exchange, facts, tables, words
from lossproof.report.facts import python_call
from lossproof.report.run import EXCHANGE, Run, read
from lossproof.train import compare

MakeRun = Callable[..., Path]
UNIT = "nats of density on [0, 1]"
LINE = "nats of density on the real line"


def calibrated(run: Path, decoders: tuple[str, ...] = (), **more: object) -> Path:
    """The same run as if trained over a temperature: nats = 100 + loss, T = 0.2; `decoders` have none."""
    table = pd.read_parquet(run / "results.parquet")
    last = int(table["epoch"].max())
    rows = table[(table["measure"] == "loss") & (table["split"] == "test") & (table["epoch"] == last)]
    nats = rows.assign(measure="nats", value=rows["value"] + 100)
    heat = rows[~rows["loss"].isin(decoders)].assign(measure="temperature", value=0.2)
    pd.concat([table, nats, heat], ignore_index=True).to_parquet(run / "results.parquet")
    config = json.loads((run / "config.json").read_text())
    for entry in config["losses"]:
        of_decoder = {"decoder": True, "unit": LINE}
        entry.update(of_decoder if entry["label"] in decoders else {"unit": "nats of mass"})
    (run / "config.json").write_text(json.dumps(config | {"calibrate": "learned", "of": "loss"} | more))
    return run


def objective(run: Run) -> str:
    return next(fact.text for fact in facts.headline(run, 20) if fact.name == "Objective")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "loss/T + log Z + beta × rate; T learned beside the weights; beta = 1"),
        ({"of": "excess", "calibrate": "solved", "per": "pixel"},
         "excess/T + log Z + beta × rate; T one for each pixel, solved before each epoch; beta = 1"),
        ({"per": "image"}, "loss/T + log Z + beta × rate; T one for each image, solved as it comes and paid for; beta = 1"),
        ({"model": "ae"}, "loss/T + log Z; T learned beside the weights"),
        ({"calibrate": None}, "loss + beta × rate, beta = 1"),
    ],
)  # fmt: skip
def test_the_head_states_what_was_trained_under(make_run: MakeRun, more: dict[str, Any], text: str) -> None:
    assert objective(read(calibrated(make_run(labels=("bce", "mse")), **more))) == text


def test_a_decoder_is_trained_under_its_likelihood(make_run: MakeRun) -> None:
    run = read(calibrated(make_run(labels=("bce", "mae")), decoders=("mae",)))
    assert objective(run).startswith("loss/T + log Z (of a decoder: −log likelihood) + beta × rate; T")
    mixed = replace(run, config={**run.config, "calibrate": None})
    assert objective(mixed) == "loss (of a decoder: −log likelihood) + beta × rate, beta = 1"
    titles = [m.title for m in tables.measured(mixed) if m.name in ("objective", "loss")]
    assert titles == [
        "reconstruction loss",
        "objective (loss, or -log likelihood of the law trained under, + beta rate)",
    ]
    lines = words.summary(mixed.table, mixed.config)
    assert any(re.match(rf"mae ends at [\d.]+ {LINE} per image", line) for line in lines)
    assert any(re.match(r"bce ends at [\d.]+ nats per image", line) for line in lines)
    assert any(
        line.startswith(
            "All losses share beta = 1 but not their scale (mae in nats of −log likelihood, bce as it is): the smaller the numbers of bce,"
        )
        for line in lines
    )


def test_the_tables_terms_add_up_in_words(make_run: MakeRun) -> None:
    run = read(calibrated(make_run(labels=("bce", "mse"))))
    titles = {m.name: m.title for m in tables.measured(run)}
    assert titles["objective"] == "objective (-log likelihood of the law trained under + beta rate)"
    assert titles["nats"] in titles["objective"]
    assert titles["loss"] == "reconstruction loss (as it is, without T and log Z)"
    names = [m.name for m in tables.measured(run)]
    assert names.index("nats") < names.index("rate") < names.index("objective")
    plain = {m.name: m.title for m in tables.measured(replace(run, config={}))}
    assert plain["objective"] == "objective (loss + beta rate)"


def test_a_loss_as_it_is_is_no_density(make_run: MakeRun) -> None:
    run = calibrated(make_run(labels=("bce", "mse")))
    config = json.loads((run / "config.json").read_text())
    for entry in config["losses"]:
        entry["unit"] = UNIT
    (run / "config.json").write_text(json.dumps(config))
    cells = {row.measure.name: row.cells for row in tables.by_loss(read(run), 20) if row.measure}
    assert not any("density" in cell.text for cell in cells["loss"])
    assert all("(density)" in cell.text for cell in cells["nats"])


def test_the_summary_says_in_what_all_were_trained(make_run: MakeRun) -> None:
    run = read(calibrated(make_run(labels=("bce", "mse"))))
    lines = words.summary(run.table, run.config)
    nats = run.table[(run.table["measure"] == "nats")].groupby("loss")["value"].mean()
    assert (
        "Those are values of the losses themselves; each was trained under loss/T + log Z, its −log likelihood, which ends at, in "
        f"nats per image: bce {nats['bce']:.0f} (T = 0.200) and mse {nats['mse']:.0f} (T = 0.200)." in lines
    )
    assert not any("scale" in line for line in lines)
    assert any(line.startswith("All were trained as likelihoods, so beta = 1 weighs a nat") for line in lines)


def test_effective_sigmas_are_those_of_losses_as_they_are_alone(make_run: MakeRun) -> None:
    run = make_run(labels=("bce", "mse"), seeds=1, epochs=2)
    images = np.random.default_rng(0).integers(0, 17, (20, 1, 4, 4)) / 16
    (run / EXCHANGE).write_text(json.dumps(record(["bce", "mse"], images)))
    plain = exchange.section(read(run))
    assert plain is not None
    assert any("sigma² = beta/curvature" in line for line in plain.words)
    found = exchange.section(read(calibrated(run)))
    assert found is not None
    assert found.words[0] == exchange.AS_THEY_ARE
    assert not any("sigma" in line for line in (*found.words, *found.warnings))
    assert [len(row.cells) for row in found.weights] == [2, 2]
    assert found.rates == plain.rates
    html = report.write(run).read_text(encoding="utf-8")
    assert "How each loss weighs small errors" in html
    assert "σ²" not in html
    assert "What one beta means" not in html


def with_likelihoods(
    run: Path, units: Mapping[str, str], values: Mapping[str, Mapping[str, tuple[float, ...]]]
) -> Run:
    """A run with likelihood measures (measure -> loss -> value a seed) in these units."""
    table = pd.read_parquet(run / "results.parquet")
    members = table[["member", "loss", "seed"]].drop_duplicates()
    last = int(table["epoch"].max())
    rows = [
        (member, label, seed, last, "test", measure, by_loss[label][seed], "")
        for measure, by_loss in values.items()
        for member, label, seed in members.itertuples(index=False)
        if label in by_loss
    ]
    more = pd.DataFrame(rows, columns=table.columns)
    pd.concat([table, more], ignore_index=True).to_parquet(run / "results.parquet")
    config = json.loads((run / "config.json").read_text())
    config["likelihood"] = {"unit": units["run"], "samples": 64}
    for entry in config["losses"]:
        if entry["label"] in units:
            entry |= {"unit": units[entry["label"]], "decoder": True}
    (run / "config.json").write_text(json.dumps(config))
    return read(run)


def test_a_density_is_not_ranked_against_a_mass(make_run: MakeRun) -> None:
    labels = ("bce", "mse", "gaussian", "laplace")
    pit = {label: (0.1 * k, 0.1 * k + 0.01) for k, label in enumerate(reversed(labels), start=1)}
    run = with_likelihoods(
        make_run(labels=labels, seeds=2),
        {"run": "nats of mass", "gaussian": LINE, "laplace": LINE},
        {"pit_deviation": pit, "nll": {"bce": (100.0, 101.0), "mse": (120.0, 121.5)}},
    )
    lines = words.summary(run.table, run.config)
    ranked = [line for line in lines if "probability integral" in line]
    assert len(ranked) == 2
    assert "of the laws in nats of mass: " in ranked[0]
    assert re.search(r": mse, .* the next, bce, by", ranked[0]) or "between mse and bce" in ranked[0]
    assert f"of the laws in {LINE}: " in ranked[1]
    assert not any("gaussian" in ranked[0] or "mse" in line for line in ranked[1:])
    tally = next(line for line in lines if line.startswith("Of "))
    counted = len([m for m in ("mse", "mae", "psnr", "ssim", *labels)])  # excess under each loss
    assert tally.startswith(f"Of {counted} measures (likelihoods are not counted: they have several units), ")


def test_likelihoods_of_one_unit_count(make_run: MakeRun) -> None:
    run = with_likelihoods(
        make_run(labels=("bce", "mse"), seeds=2),
        {"run": "nats of mass"},
        {"nll": {"bce": (100.0, 101.0), "mse": (120.0, 121.5)}},
    )
    lines = words.summary(run.table, run.config)
    assert any(line.startswith("Of 7 measures, best") for line in lines)
    line = next(line for line in lines if "-log q" in line)
    assert line.startswith("Lowest reconstruction as a likelihood, -log q(x | z): bce, 100 nats per image;")


@pytest.mark.parametrize("labels", [("bce", "mse"), ("bce",)])
def test_nats_of_a_density_are_called_so(make_run: MakeRun, labels: tuple[str, ...]) -> None:
    bounds = {
        "nll": {"bce": (-57.7, -57.8), "mse": (-20.0, -20.2)},
        "elbo": {"bce": (55.9, 56.0), "mse": (18.0, 18.3)},
    }
    run = with_likelihoods(make_run(labels=labels, seeds=2), {"run": UNIT}, bounds)
    lines = " ".join(words.sections(run.table, run.config)["measures"])
    kinds = ("reconstruction as a likelihood, -log q(x | z)", "evidence lower bound")
    between = ": bce," if len(labels) > 1 else ""
    for kind, value in zip(kinds, ("−57.8", "56.0"), strict=True):
        assert f"{kind}{between} {value} {UNIT} per image" in lines
    named = lines.count(f"{UNIT} per image")
    assert named == 4 if len(labels) > 1 else 2  # the differences too


def arguments(call: str) -> dict[str, Any]:
    """The arguments of the printed call, evaluated; the first stands under "data"."""
    tree = ast.parse(call).body[-1]
    assert isinstance(tree, ast.Expr)
    assert isinstance(tree.value, ast.Call)
    found = {str(word.arg): ast.literal_eval(word.value) for word in tree.value.keywords}
    return {"data": ast.literal_eval(tree.value.args[0])} | found


def test_the_printed_call_repeats_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a file is printed by its name
    np.save("tiny.npy", np.random.default_rng(0).integers(0, 256, (20, 3, 3), dtype=np.uint8))
    given: dict[str, Any] = {
        "model": "vae", "hidden": (3,), "latent": 2, "epochs": 1, "batch_size": 8, "lr": 2e-3, "seeds": (3, 5),
        "beta": (0.5, 1.0, 2.0), "calibrate": "learned", "measure": "interval", "of": "excess", "per": "channel",
        "likelihood": True, "samples": 2, "stack": "off", "precision": "bfloat16", "device": "cpu",
    }  # fmt: skip
    options = {"size": None, "grey": True, "key": None, "stream": "on"}
    losses = with_parameters(["mse", "huber"], ["delta=0.1"])
    run_command("tiny.npy", losses, out=tmp_path / "a", load_options=options, **given)
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    found = arguments(python_call(config))
    wanted = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    assert found == wanted | {
        "data": "tiny.npy",
        "losses": ["mse", "huber(delta=0.1)"],
        "load_options": {"grey": True, "stream": "on"},
    }
    compare(found.pop("data"), out=tmp_path / "b", progress=False, **found)
    again = json.loads((tmp_path / "b" / "config.json").read_text())
    for name in ("created", "command"):
        del config[name], again[name]
    assert again == config


def test_the_printed_call_names_engine_and_stack() -> None:
    config = {"engine": {"name": "local", "workers": 2}, "stack": {"asked": "auto", "used": "on"}}
    found = arguments(python_call(config))
    assert (found["engine"], found["workers"], found["stack"]) == ("local", 2, "on")
    assert (found["likelihood"], found["calibrate"], found["precision"]) == (False, None, "float32")
