"""The likelihood columns against a computation of their own: exact laws, a loop over samples, histograms."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lossproof.likelihood import fit_temperature, likelihood
from lossproof.models import build
from lossproof.train import compare
from lossproof.train.likelihood import BOUNDS, CALIBRATED, distance_from_uniform
from lossproof.train.randomness import generator

LOSSES = ("bce", "discretised_logistic", "gaussian")
SAMPLES = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from lossproof.data import Images

    rng = np.random.default_rng(7)
    pixels = (np.round(np.clip(rng.normal(0.4, 0.5, (60, 1, 6, 5)), 0, 1) * 16) / 16).astype(np.float32)
    images = Images("tiny", pixels[:42], pixels[42:], None, None, "", "", 17)
    options = {
        "hidden": (9,),
        "latent": 3,
        "epochs": 30,
        "batch_size": 8,
        "lr": 0.01,
        "seeds": 1,
        "progress": False,
    }
    out = tmp_path_factory.mktemp("likelihood") / "run"
    return images, compare(images, LOSSES, out=out, likelihood=True, samples=SAMPLES, **options)


def finals(run, label):
    t = run[1].table
    rows = t.loc[(t.loss == label) & (t.epoch == 30) & (t.split == "test")].set_index("measure")
    return rows["value"], rows["reason"]


def model(run, label, outputs=1):
    stored = load_file(run[1].directory / "checkpoints" / f"{label}-s0.safetensors")
    made = build("vae", (1, 6, 5), hidden=(9,), latent=3, outputs=outputs, generator=torch.Generator())
    made.load_state_dict({k.removeprefix("model."): v for k, v in stored.items() if k.startswith("model.")})
    return made.double()


def test_bounds_of_a_loss_against_its_law_sample_by_sample(run):
    images, _ = run
    made, (found, _) = model(run, "bce"), finals(run, "bce")
    train = torch.from_numpy(images.train[np.linspace(0, 41, 18).round().astype(int)]).double()
    with torch.no_grad():
        z, _, _ = made(train, torch.randn(18, 3, generator=generator(0, "measure train")).double())
    t = float(fit_temperature("bce", train.numpy(), logits=z.numpy(), measure=17).temperature)
    assert found["temperature"] == pytest.approx(t, rel=1e-4)
    law, y = likelihood("bce", t, 17), torch.from_numpy(images.test).double()
    with torch.no_grad():
        mean, logvar = made.encode(y)
    q = torch.distributions.Normal(mean, (logvar / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    noise = torch.randn(SAMPLES, 18, 3, generator=generator(0, "likelihood")).double()
    logs, nats = [], []
    for drawn in noise:
        code = mean + drawn * (logvar / 2).exp()
        with torch.no_grad():
            logits = made.decode(code).numpy()
        log_x = torch.from_numpy(law.log_prob(y.numpy(), logits=logits).sum((1, 2, 3)))
        nats.append(-log_x)
        logs.append(log_x + prior.log_prob(code).sum(1) - q.log_prob(code).sum(1))
    bound = (torch.stack(logs).logsumexp(0) - math.log(SAMPLES)).mean()
    rate = torch.distributions.kl_divergence(q, prior).sum(1).mean()
    nll = torch.stack(nats).mean()
    assert found["nll"] == pytest.approx(nll.item(), abs=2e-3)
    assert found["likelihood_rate"] == pytest.approx(rate.item(), rel=1e-4)
    assert found["elbo"] == pytest.approx(-(nll + rate).item(), abs=2e-3)
    assert found["iw_bound"] == pytest.approx(bound.item(), abs=2e-3)
    assert found["bits_per_pixel"] == pytest.approx((nll + rate).item() / 30 / math.log(2), rel=1e-4)
    assert found["iw_bound"] > found["elbo"]


def test_calibration_against_the_whole_mass_at_once(run):
    images, _ = run
    made, (found, _) = model(run, "bce"), finals(run, "bce")
    law, y = likelihood("bce", found["temperature"], 17), torch.from_numpy(images.test).double()
    with torch.no_grad():
        z, _, _ = made(y, torch.randn(18, 3, generator=generator(0, "measure test")).double())
    z = z.numpy()[..., None]
    levels = np.broadcast_to(np.arange(17) / 16, (*z.shape[:-1], 17))
    mass = np.exp(law.log_prob(levels, logits=np.broadcast_to(z, levels.shape)))
    assert mass.sum(-1) == pytest.approx(1)
    at = (np.arange(17) / 16 == images.test.astype(float)[..., None]).astype(float)
    v = torch.rand(images.test.shape, generator=generator(0, "transform"), dtype=torch.float64).numpy()
    below = (mass * (np.cumsum(at[..., ::-1], -1)[..., ::-1] - at)).sum(-1)
    from scipy import stats

    pit = stats.kstest((below + v * (mass * at).sum(-1)).ravel(), "uniform").statistic
    assert found["pit_deviation"] == pytest.approx(pit, abs=1e-4)
    assert found["zeros_expected"] == pytest.approx(mass[..., 0].mean(), rel=1e-3)
    assert found["ones_expected"] == pytest.approx(mass[..., 16].mean(), rel=1e-3)
    assert found["zeros_observed"] == (images.test == 0).mean()
    assert found["ones_observed"] == (images.test == 1).mean()
    assert found["nll_expected"] == pytest.approx(-(mass * np.log(mass)).sum() / 18, rel=1e-3)
    assert found["nll_observed"] == pytest.approx(-np.log((mass * at).sum(-1)).sum() / 18, rel=1e-3)


def test_a_decoder_on_levels_stands_beside_losses(run):
    found, _ = finals(run, "discretised_logistic")
    assert set(found.index) >= {*BOUNDS, *CALIBRATED, "temperature"}
    assert np.isfinite(found[[*BOUNDS, *CALIBRATED]]).all()
    assert found["elbo"] == pytest.approx(-found["nll"] - found["likelihood_rate"])
    # one sample of the same codes gives the loss
    assert found["nll"] == pytest.approx(found["loss"], rel=0.1)


def test_a_density_is_never_put_beside_a_mass(run):
    found, reason = finals(run, "gaussian")
    assert found[list(BOUNDS)].isna().all()
    assert found[list(CALIBRATED)].isna().all()
    assert reason["bits_per_pixel"].startswith("no bits: nats of density on the real line is no mass")
    assert "not put beside each other" in reason["nll"]
    assert found["density_elbo"] == pytest.approx(-found["density_nll"] - found["density_likelihood_rate"])
    assert found["density_iw_bound"] >= found["density_elbo"]


def test_the_yardsticks(run):
    images, result = run
    config = json.loads((result.directory / "config.json").read_text())["likelihood"]
    assert (config["measure"], config["unit"], config["samples"], config["images"]) == (
        "17 grey levels k/16", "nats of mass", SAMPLES, 18,
    )  # fmt: skip
    counts = np.bincount((images.train * 16).round().astype(int).ravel(), minlength=17) + 0.5
    mass = np.log2(counts / counts.sum())
    assert config["yardsticks"]["everywhere"] == pytest.approx(
        -mass[(images.test * 16).round().astype(int)].mean()
    )
    assert config["yardsticks"]["each_pixel"] > 0


def test_on_the_interval_nothing_has_bits(tiny, small, tmp_path):
    run = compare(tiny, ("bce", "discretised_logistic"), measure="interval", likelihood=True, samples=3,
                  out=tmp_path / "run", **small)  # fmt: skip
    t = run.table
    last = t.loc[(t.epoch == 3) & (t.split == "test") & (t.seed == 0)]
    cells = last.loc[last.measure == "bits_per_pixel"]
    assert cells.value.isna().all()
    assert cells.reason.tolist()[0].startswith("no bits: nats of density on [0, 1]")
    nll = last.loc[last.measure == "nll"].set_index("loss")
    assert np.isfinite(nll.value["bce"])
    assert np.isnan(nll.value["discretised_logistic"])  # a mass, beside densities
    assert "yardsticks" not in json.loads((run.directory / "config.json").read_text())["likelihood"]


def test_an_autoencoder_has_nats_and_bits_given_its_code(tiny, small, tmp_path):
    run = compare(tiny, ("mse",), model="ae", likelihood=True, out=tmp_path / "run", **small)
    t = run.table
    last = t.loc[(t.epoch == 3) & (t.split == "test") & (t.seed == 0)].set_index("measure")
    for name in ("likelihood_rate", "elbo", "iw_bound"):
        assert last.reason[name] == "an autoencoder has no rate: its nats and bits are those given the code"
    assert last.value["bits_per_pixel"] == pytest.approx(last.value["nll"] / 30 / math.log(2))


def test_a_stopped_member_and_a_loss_without_a_law_have_empty_cells(tiny, small, tmp_path):
    spoilt = "(y - p)**2 + 0.001*log(p - 0.1)"
    run = compare(
        tiny,
        (spoilt,),
        likelihood=True,
        out=tmp_path / "run",
        **small | {"epochs": 12, "lr": 0.05, "seeds": 1},
    )
    cells = run.table.loc[run.table.measure.isin([*BOUNDS, *CALIBRATED, "temperature"])]
    assert len(cells) == len(BOUNDS) + len(CALIBRATED) + 1
    assert cells.value.isna().all()
    assert set(cells.reason) == {run.events[0]["message"]}


def test_distance_from_uniform_is_kolmogorovs():
    from scipy import stats

    u = np.random.default_rng(0).beta(2, 3, 500)
    assert distance_from_uniform(u) == pytest.approx(stats.kstest(u, "uniform").statistic)
