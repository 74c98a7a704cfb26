"""The likelihood columns against a computation of their own: exact laws, a loop over samples, histograms."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from lossproof.likelihood import Levels, fit_temperature, likelihood
from lossproof.models import build
from lossproof.torch.calibrated import CalibratedCriterion
from lossproof.torch.decoders import criterion_for
from lossproof.train import compare
from lossproof.train.likelihood import (
    BOUNDS,
    CALIBRATED,
    HISTOGRAM,
    NATS,
    calibration,
    distance_from_uniform,
)
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
    transform = (below + v * (mass * at).sum(-1)).ravel()
    pit = stats.kstest(transform, "uniform").statistic
    assert found["pit_deviation"] == pytest.approx(pit, abs=1e-4)
    shares = np.histogram(transform, 10, (0, 1))[0] / transform.size
    assert found[list(HISTOGRAM)].to_numpy() == pytest.approx(shares, abs=2 / transform.size)
    assert found["zeros_expected"] == pytest.approx(mass[..., 0].mean(), rel=1e-3)
    assert found["ones_expected"] == pytest.approx(mass[..., 16].mean(), rel=1e-3)
    assert found["zeros_observed"] == (images.test == 0).mean()
    assert found["ones_observed"] == (images.test == 1).mean()
    assert found["nll_expected"] == pytest.approx(-(mass * np.log(mass)).sum() / 18, rel=1e-3)
    assert found["nll_observed"] == pytest.approx(-np.log((mass * at).sum(-1)).sum() / 18, rel=1e-3)


def test_where_a_target_is_most_likely_is_stated_with_the_law(run):
    found, _ = finals(run, "bce")
    level = 2 / 16  # the one of 17 that is nearest to 0.1
    law = likelihood("bce", found["temperature"], Levels(17))
    assert found[f"law:likely/{level}"] == pytest.approx(law.most_likely_p(level), rel=1e-3)
    for name in ("mean", "mode", "median"):
        assert found[f"law:{name}/{level}"] == pytest.approx(getattr(law, name)(level), rel=1e-3)
    assert found["law:likely/0.5"] == pytest.approx(0.5, abs=1e-3)
    assert not any(str(name).startswith("law:") for name in finals(run, "discretised_logistic")[0].index)


def test_a_decoder_on_levels_stands_beside_losses(run):
    found, _ = finals(run, "discretised_logistic")
    assert set(found.index) >= {*BOUNDS, *CALIBRATED, "temperature"}
    assert np.isfinite(found[[*BOUNDS, *CALIBRATED]]).all()
    assert found["elbo"] == pytest.approx(-found["nll"] - found["likelihood_rate"])
    # one sample of the same codes gives the loss
    assert found["nll"] == pytest.approx(found["loss"], rel=0.1)


def test_a_density_is_never_put_beside_a_mass(run):
    found, reason = finals(run, "gaussian")
    assert found[[*BOUNDS, *NATS]].isna().all()
    assert "not put beside each other" in reason["nll_expected"]
    assert reason["bits_per_pixel"].startswith("no bits: nats of density on the real line is no mass")
    assert "not put beside each other" in reason["nll"]
    assert found["density_elbo"] == pytest.approx(-found["density_nll"] - found["density_likelihood_rate"])
    assert found["density_iw_bound"] >= found["density_elbo"]


def test_calibration_of_a_density_against_scipys_normal_law(run):
    images, _ = run
    found, _ = finals(run, "gaussian")
    stored = load_file(run[1].directory / "checkpoints" / "gaussian-s0.safetensors")
    law = criterion_for("gaussian", (1, 6, 5), 17)
    with torch.no_grad():
        law.parameters["log_sigma"].copy_(stored["criterion.log_sigma"])
    made, y = model(run, "gaussian"), torch.from_numpy(images.test).double()
    with torch.no_grad():
        raw, _, _ = made(y, torch.randn(18, 3, generator=generator(0, "measure test")).double())
        heads = law.heads(raw)
    normal = stats.norm(law.centre(heads).numpy(), heads["log_sigma"].exp().item())
    transform = normal.cdf(y.numpy()).ravel()
    assert found["pit_deviation"] == pytest.approx(stats.kstest(transform, "uniform").statistic, abs=1e-4)
    shares = np.histogram(transform, 10, (0, 1))[0] / transform.size
    assert found[list(HISTOGRAM)].to_numpy() == pytest.approx(shares, abs=2 / transform.size)
    assert found["density_nll_expected"] == pytest.approx(
        np.broadcast_to(normal.entropy(), y.shape).sum() / 18, rel=1e-4
    )
    assert found["density_nll_observed"] == pytest.approx(-normal.logpdf(y.numpy()).sum() / 18, rel=1e-4)
    assert (found["zeros_expected"], found["ones_expected"]) == (0, 0)  # a density has no mass at a point
    assert found["zeros_observed"] == (images.test == 0).mean()


def calibration_of(law, target, raw):
    """The measures of these values under a law whose network says ``raw``."""
    images = SimpleNamespace(images=torch.from_numpy(target).float(), noise=torch.zeros(len(target), 1))
    member = SimpleNamespace(label="x", model=lambda y, noise: (torch.from_numpy(raw).float(), None, None))
    with torch.inference_mode():
        return calibration(member, law, SimpleNamespace(splits={"test": images}))


P, T = 0.3, 0.02  # mse at T: a normal law of sigma 0.1, cut to [0, 1]


def drawn(rng, width):
    """Targets from a cut normal law ``width`` times as wide as what is predicted, and that prediction's logits."""
    shape, sigma = (64, 1, 8, 16), width * math.sqrt(T / 2)
    y = stats.truncnorm.rvs(-P / sigma, (1 - P) / sigma, P, sigma, shape, random_state=rng)
    return y, np.full(shape, math.log(P / (1 - P)))


@pytest.mark.parametrize(("width", "shape"), [(1.0, "flat"), (2.5, "ends"), (0.3, "middle")])
@pytest.mark.parametrize(
    "kind", ["density of a loss", "mass of a loss", "density of a decoder", "mass of a decoder"]
)
def test_the_transform_is_uniform_only_where_the_law_is_right(kind, width, shape):
    y, z = drawn(np.random.default_rng(3), width)
    if kind == "density of a loss":
        law = CalibratedCriterion("mse", measure="interval", temperature=T)
    elif kind == "mass of a loss":
        law = CalibratedCriterion("mse", measure=Levels(256), temperature=T)
        y = np.round(y * 255) / 255
    else:
        name = "gaussian" if "density" in kind else "discretised_gaussian"
        law = criterion_for(f"{name}(sigma=0.1)", (1, 8, 16), 256)
        y = P + stats.norm(0, 0.1 * width).rvs(y.shape, random_state=3)
        z = np.full(y.shape, P)
        if "mass" in kind:
            y = np.clip(np.round(y * 255), 0, 255) / 255
    found = calibration_of(law, y, z)
    heights = np.array([found[name] for name in HISTOGRAM]) * 10
    assert heights.sum() == pytest.approx(10)
    if shape == "flat":
        # 8192 values: each height has a standard deviation of 0.033, Kolmogorov's distance a 1e-6 quantile of 0.03
        assert np.abs(heights - 1).max() < 0.2
        assert found["pit_deviation"] < 0.03
        assert found["nll_observed"] == pytest.approx(found["nll_expected"], rel=0.05)
    else:
        ends, middle = heights[[0, -1]], heights[4:6]
        high, low = (ends, middle) if shape == "ends" else (middle, ends)
        assert high.min() > 1.8
        assert low.max() < 0.6
        assert found["pit_deviation"] > 0.1


def test_expected_nats_of_a_loss_on_the_interval_are_the_laws_entropy():
    y, z = drawn(np.random.default_rng(5), 1.0)
    for per in ("all", "pixel"):
        law = CalibratedCriterion("mse", measure="interval", temperature=T, per=per, image_shape=(1, 8, 16))
        if per == "pixel":  # one pixel with another law
            with torch.no_grad():
                law.parameters["log_temperature"].view(-1)[5] = math.log(2 * 0.3**2)
        found = calibration_of(law, y, z)
        sigmas = np.full(128, 0.1)
        if per == "pixel":
            sigmas[5] = 0.3
        cut = stats.truncnorm(-P / sigmas, (1 - P) / sigmas, P, sigmas)
        assert found["nll_expected"] == pytest.approx(cut.entropy().sum(), rel=1e-4)
        assert found["nll_observed"] == pytest.approx(-cut.logpdf(y.reshape(64, 128)).sum() / 64, rel=1e-3)
        transform = cut.cdf(y.reshape(64, 128)).ravel()
        assert found["pit_deviation"] == pytest.approx(stats.kstest(transform, "uniform").statistic, abs=1e-4)


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
    u = np.random.default_rng(0).beta(2, 3, 500)
    assert distance_from_uniform(u) == pytest.approx(stats.kstest(u, "uniform").statistic)
