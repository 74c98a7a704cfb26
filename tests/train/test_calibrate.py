"""Training under calibrated losses and decoders: the objective is theirs, T is part of the state, stops are alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lossproof.formula.errors import LossproofError
from lossproof.likelihood import fit_temperature, likelihood
from lossproof.train import compare, comparison
from lossproof.train.arm import Arm
from lossproof.train.table import read
from runs import StopAfter, same_runs

BOTH = [{"calibrate": "learned"}, {"calibrate": "solved", "of": "excess", "measure": "interval"}]
OWN = [
    {"calibrate": "learned", "per": "pixel"},
    {"calibrate": "solved", "per": "pixel"},
    {"calibrate": "solved", "per": "image"},
]


def last(run, label, split="test"):
    t = run.table
    rows = t.loc[(t.loss == label) & (t.epoch == t.epoch.max()) & (t.split == split) & (t.seed == 0)]
    return rows.set_index("measure")["value"]


@pytest.mark.parametrize("options", BOTH)
def test_the_objective_is_the_likelihoods(tiny, small, tmp_path, options):
    from lossproof.models import build
    from lossproof.train.randomness import generator

    run = compare(
        tiny, ("bce", "mse"), out=tmp_path / "run", beta=0.5, **small | {"lr": 0.01, "epochs": 6} | options
    )
    stored = load_file(run.directory / "checkpoints" / "mse-s0.safetensors")
    model = build("vae", (1, 6, 5), hidden=(9,), latent=3, generator=torch.Generator())
    model.load_state_dict({k.removeprefix("model."): v for k, v in stored.items() if k.startswith("model.")})
    target = torch.from_numpy(tiny.test)
    with torch.no_grad():
        z, _, _ = model(target, torch.randn(18, 3, generator=generator(0, "measure test")))
    t = float(stored["criterion.log_temperature"].double().exp())
    measure = 17 if options.get("measure") is None else "interval"
    law = likelihood("mse", t, measure, options.get("of", "loss"))
    found = last(run, "mse")
    expected = -law.log_prob(tiny.test.astype(np.float64), logits=z.double().numpy()).sum() / 18
    assert found["nats"] == pytest.approx(expected, abs=0.01)
    assert found["temperature"] == pytest.approx(t, rel=1e-6)
    assert found["objective"] == pytest.approx(found["nats"] + 0.5 * found["rate"], rel=1e-6)
    assert found["loss"] == pytest.approx(
        found["mse"] * 30, rel=1e-5
    )  # the plain loss, as without calibration
    assert ("adam.criterion.log_temperature.step" in stored) == (options["calibrate"] == "learned")
    config = json.loads((run.directory / "config.json").read_text())
    assert config["calibrate"] == options["calibrate"]
    assert config["losses"][0]["unit"] == ("nats of mass" if measure == 17 else "nats of density on [0, 1]")


def test_a_learned_temperature_moves_with_its_own_pace(tiny, small, tmp_path):
    run = compare(
        tiny, ("mse",), out=tmp_path / "run", calibrate="learned", **small | {"epochs": 5, "lr": 0.01}
    )
    t = run.table
    path = t.loc[(t.measure == "temperature") & (t.split == "test") & (t.seed == 0), "value"].to_numpy()
    assert len(np.unique(path)) == 6
    assert np.abs(np.diff(np.log(path))).max() > 0.1  # 3 steps of at most 0.01 could not
    steps = compare(tiny, ("mse",), out=tmp_path / "same", calibrate="learned", per="channel", **small).table
    assert np.isfinite(steps.loc[steps.measure == "temperature", "value"]).all()


@pytest.mark.parametrize("options", [*BOTH, OWN[0], OWN[2]])
def test_resumed_runs_end_alike(tiny, small, tmp_path, monkeypatch, options):
    options = small | {"epochs": 5, "likelihood": True, "samples": 4} | options
    losses = ("bce", "mse", "discretised_logistic", "gaussian")
    compare(tiny, losses, out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(StopAfter, "rounds", 2)
        patch.setattr(StopAfter, "asked", 0)
        patch.setattr(comparison, "Interrupt", StopAfter)
        part = compare(tiny, losses, out=tmp_path / "parts", **options)
    assert part.interrupted
    assert "elbo" not in set(part.table.measure)
    compare(tiny, losses, out=tmp_path / "parts", resume=True, **options)
    same_runs(tmp_path / "whole", tmp_path / "parts")
    again = compare(tiny, losses, out=tmp_path / "parts", resume=True, **options).table
    assert again.equals(read(tmp_path / "parts"))


@pytest.mark.parametrize("options", OWN)
def test_temperatures_of_pixels_and_images_train_and_are_the_laws(tiny, small, tmp_path, options):
    from lossproof.models import build
    from lossproof.train.randomness import generator

    options = small | {"lr": 0.02, "epochs": 8, "likelihood": True, "samples": 3} | options
    rng = np.random.default_rng(3)
    off = rng.normal(0, 1, (60, 1, 6, 5)) * np.array([0.05, 0.3])[rng.integers(0, 2, 60)][:, None, None, None]
    pixels = (np.round(np.clip(rng.uniform(0.2, 0.8, (6, 5)) + off, 0, 1) * 16) / 16).astype(np.float32)
    tiny = replace(tiny, train=pixels[:42], test=pixels[42:])  # a picture under little or much noise
    run = compare(tiny, ("mse", "bce"), out=tmp_path / "run", **options)
    stored = load_file(run.directory / "checkpoints" / "mse-s0.safetensors")
    model = build("vae", (1, 6, 5), hidden=(9,), latent=3, generator=torch.Generator())
    model.load_state_dict({k.removeprefix("model."): v for k, v in stored.items() if k.startswith("model.")})
    with torch.no_grad():
        z, _, _ = model(
            torch.from_numpy(tiny.test), torch.randn(18, 3, generator=generator(0, "measure test"))
        )
    y, z, found = tiny.test.astype(np.float64), z.double().numpy(), last(run, "mse")
    if options["per"] == "pixel":
        t = stored["criterion.log_temperature"].double().exp()
        assert t.shape == (1, 6, 5)
        assert t.max() > 1.2 * t.min()
        cost, at = 0.0, [(slice(None), *place) for place in np.ndindex(1, 6, 5)]
        temperatures = t.flatten().tolist()
        assert ("adam.criterion.log_temperature.step" in stored) == (options["calibrate"] == "learned")
    else:
        assert "criterion.log_temperature" not in stored
        assert 0 < stored["criterion.start"] < 1
        fitted = fit_temperature("mse", y, logits=z, measure=17, per="image", low=1e-4, high=1e3).temperature
        assert fitted.max() > 5 * fitted.min()
        cost, at, temperatures = np.log(193), list(range(18)), fitted.tolist()
    nats = -sum(
        float(likelihood("mse", t, 17).log_prob(y[where], logits=z[where]).sum())
        for where, t in zip(at, temperatures, strict=True)
    ) / 18 + cost  # fmt: skip
    assert found["nats"] == pytest.approx(nats, abs=0.03)
    assert found["temperature"] == pytest.approx(np.exp(np.mean(np.log(temperatures))), rel=0.05)
    assert found["bits_per_pixel"] == pytest.approx(
        (found["nll"] + found["likelihood_rate"]) / 30 / np.log(2)
    )
    assert found["nll"] == pytest.approx(found["nats"], rel=0.1)
    assert found["zeros_expected"] > 0
    same = compare(tiny, ("mse", "bce"), out=tmp_path / "stacked", stack="on", **options)
    assert last(same, "mse")["nats"] == pytest.approx(found["nats"], rel=1e-4)


def test_a_loss_trained_as_it_is_gets_temperatures_of_its_own_too(tiny, small, tmp_path):
    bits = {
        per: last(
            compare(tiny, ("mse",), out=tmp_path / per, per=per, likelihood=True, samples=2, **small), "mse"
        )
        for per in ("all", "pixel", "image")
    }
    assert len({round(float(found["bits_per_pixel"]), 6) for found in bits.values()}) == 3
    assert all(
        np.isfinite(found[["bits_per_pixel", "temperature", "pit_deviation"]]).all()
        for found in bits.values()
    )


def test_resume_knows_how_it_was_calibrated(tiny, small, tmp_path):
    compare(tiny, ("mse",), out=tmp_path / "run", calibrate="learned", **small)
    with pytest.raises(LossproofError, match="calibrate learned -> solved; of loss -> excess"):
        compare(tiny, ("mse",), out=tmp_path / "run", calibrate="solved", of="excess", resume=True, **small)
    with pytest.raises(LossproofError, match="calibrate learned -> None"):
        compare(tiny, ("mse",), out=tmp_path / "run", resume=True, **small)


def test_a_lost_temperature_stops_its_member_alone(tiny, small, tmp_path):
    from lossproof.catalogue import resolve
    from lossproof.torch.calibrated import CalibratedCriterion
    from lossproof.torch.criterion import Graded

    class Lost(CalibratedCriterion):
        def grade(self, target, raw):
            found = super().grade(target, raw)
            return Graded(found.values, found.slopes, (found.own[0] * torch.nan,))

    def make():
        return Lost("mse", measure=17)

    run = compare(
        tiny, (Arm("lost", make, resolve("mse")), "bce"), out=tmp_path / "run", **small | {"seeds": 1}
    )
    (event,) = run.events
    assert (event["loss"], event["epoch"], event["step"], event["term"]) == ("lost", 1, 1, "weights")
    assert (
        "the weights criterion.log_temperature became nan though the objective was finite" in event["message"]
    )
    assert np.isfinite(last(run, "bce")["loss"])
    stored = load_file(run.directory / "checkpoints" / "lost-s0.safetensors")
    assert torch.isfinite(stored["criterion.log_temperature"])


def test_a_decoder_beside_a_loss(tiny, small, tmp_path):
    run = compare(tiny, ("bce", "discretised_logistic"), out=tmp_path / "run", **small)
    t, label = run.table, "discretised_logistic"
    found = last(run, label)
    assert found["loss"] == found["nats"] > 0
    assert found["objective"] == pytest.approx(found["loss"] + found["rate"])
    cells = t.loc[(t.loss == label) & t.measure.isin(["floor", "excess", "dead_pixels"])]
    assert cells.value.isna().all()
    assert cells.reason.str.startswith("a decoder's law has no").all()
    assert np.isfinite(found["excess:bce"])
    assert found["mse"] < 0.3
    entry = json.loads((run.directory / "config.json").read_text())["losses"][1]
    assert (entry["decoder"], entry["unit"], entry["label"]) == (True, "nats of mass", label)
    assert (run.directory / "images" / f"{label}-s0" / "samples.png").is_file()
    assert run.summary[-1].startswith(f"{label}-s1: loss ")


def test_where_a_law_loses_a_pixel_it_is_named_with_its_raw_numbers(tiny, small, tmp_path, monkeypatch):
    from lossproof.torch.criterion import Graded
    from lossproof.torch.decoders import DiscretisedLogistic

    original = DiscretisedLogistic.grade

    def grade(self, target, raw):
        found = original(self, target, raw)
        found.slopes[1, 1, 2, 3] = torch.inf  # the second output of the one channel
        return Graded(*found)

    monkeypatch.setattr(DiscretisedLogistic, "grade", grade)
    run = compare(tiny, ("discretised_logistic",), out=tmp_path / "run", **small | {"seeds": 1})
    (event,) = run.events
    assert event["index"] == [0, 2, 3]
    assert len(event["raw"]) == 2
    assert "the gradient dl/dz is inf at training image" in event["message"]
    assert "raw output " in event["message"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibrate": "tuned"}, "calibrate: expected learned or solved, got 'tuned'"),
        ({"measure": "line", "calibrate": "learned"}, "measure: expected levels or interval, got 'line'"),
        ({"of": "rest"}, "of: expected loss or excess, got 'rest'"),
        ({"per": "row"}, "per: expected all, channel, image or pixel, got 'row'"),
        ({"per": "image", "calibrate": "learned"}, "got image: an image's own T cannot be learned"),
        ({"samples": 0}, "samples: expected at least 1, got 0"),
        ({"losses": ("continuous_bernoulli",), "calibrate": "learned", "of": "excess"}, "unbounded below"),
    ],
)
def test_guards(tiny, small, tmp_path, options, message):
    with pytest.raises(LossproofError, match=message):
        compare(tiny, **{"losses": ("mse",), "out": tmp_path / "run"} | small | options)
    assert not (tmp_path / "run").exists()


def test_images_without_levels(tiny, small, tmp_path):
    free = replace(tiny, levels=None, train=tiny.train * np.float32(0.9) + np.float32(0.01))
    for options in ({"calibrate": "learned"}, {"likelihood": True}):
        with pytest.raises(
            LossproofError, match=r"got tiny, whose values lie on no lattice .*Use --measure interval"
        ):
            compare(free, ("mse",), out=tmp_path / "run", **small | options)
        compare(
            free, ("mse",), out=tmp_path / f"{len(options)}{options}", measure="interval", **small | options
        )
    pixels = np.round(tiny.train)
    pixels[2, 0, 3, 1] = 0.3
    nearly = replace(tiny, levels=None, train=pixels, test=np.round(tiny.test))
    with pytest.raises(
        LossproofError,
        match=r"\(3 distinct ones in training\), the first off the 2 levels k/1 being 0\.3 at \[2, 0, 3, 1\] \(train\)\. Use",
    ):
        compare(nearly, ("mse",), out=tmp_path / "run", calibrate="learned", **small)
    test = tiny.test.copy()
    test[1, 0, 0, 4] = 0.71
    nearly = replace(tiny, levels=None, test=test)
    with pytest.raises(
        LossproofError, match=r"off the 17 levels k/16 being 0\.71 at \[1, 0, 0, 4\] \(test\)\. Use"
    ):
        compare(nearly, ("mse",), out=tmp_path / "run", likelihood=True, **small)
    wrong = replace(tiny, levels=2)
    with pytest.raises(LossproofError, match=r"tiny \(train\): expected targets on 2 grey levels"):
        compare(wrong, ("mse",), out=tmp_path / "run", calibrate="learned", **small)
