"""Each measure against a computation of its own, from the stored weights, in float64 numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from scipy.special import expit, xlogy

from lossproof.train import compare
from lossproof.train.randomness import generator
from lossproof.train.settings import ssim_window

LOSSES = {
    "bce": lambda y, p: -(xlogy(y, p) + xlogy(1 - y, 1 - p)),
    "mse": lambda y, p: (y - p) ** 2,
    "mae": lambda y, p: np.abs(y - p),
}
CLOSE = {"rel": 2e-5, "abs": 1e-6}


def forward(path, x, noise):
    w = {k.removeprefix("model."): v.astype(np.float64) for k, v in load_file(path).items()}
    hidden = np.maximum(x.reshape(len(x), -1) @ w["encoder.0.weight"].T + w["encoder.0.bias"], 0)
    code = hidden @ w["encoder.2.weight"].T + w["encoder.2.bias"]
    mean, logvar = np.split(code, 2, axis=1)
    z = mean + noise * np.exp(logvar / 2)
    hidden = np.maximum(z @ w["decoder.0.weight"].T + w["decoder.0.bias"], 0)
    return (hidden @ w["decoder.2.weight"].T + w["decoder.2.bias"]).reshape(x.shape), mean, logvar


def ssim(p, y, size):
    """Wang et al. 2004, equation 13, over a uniform window with mirrored edges, one image."""
    half = size // 2
    windows = [
        np.lib.stride_tricks.sliding_window_view(np.pad(a[0], half, mode="reflect"), (size, size))
        for a in (p, y)
    ]
    mp, my = (w.mean((-1, -2)) for w in windows)
    vp, vy = (w.var((-1, -2)) for w in windows)
    cov = (windows[0] * windows[1]).mean((-1, -2)) - mp * my
    c1, c2 = 0.01**2, 0.03**2
    return np.mean((2 * mp * my + c1) * (2 * cov + c2) / ((mp**2 + my**2 + c1) * (vp + vy + c2)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng = np.random.default_rng(3)
    from lossproof.data import Images

    pixels = np.clip(rng.normal(0.4, 0.6, (70, 1, 6, 5)), 0, 1).astype(np.float32)
    images = Images("tiny", pixels[:50], pixels[50:], None, None, "", "", None)
    out = tmp_path_factory.mktemp("measure") / "run"
    result = compare(
        images, tuple(LOSSES), hidden=(9,), latent=3, epochs=30, batch_size=8, lr=0.02, beta=0.1, seeds=1,
        out=out,
    )  # fmt: skip
    return images, result


def values(run, loss, split):
    images, result = run
    count = len(images.test)
    chosen = np.linspace(0, 49, count).round().astype(int) if split == "train" else np.arange(count)
    y = (images.train if split == "train" else images.test)[chosen].astype(np.float64)
    noise = torch.randn(count, 3, generator=generator(0, f"measure {split}")).numpy().astype(np.float64)
    path = result.directory / "checkpoints" / f"{loss}-s0.safetensors"
    logits, mean, logvar = forward(path, y, noise)
    t = result.table
    rows = t.loc[(t.loss == loss) & (t.split == split) & (t.epoch == 30)]
    return y, logits, mean, logvar, dict(zip(rows.measure, rows.value, strict=True)), noise


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_measure(run, loss, split):
    y, z, mean, logvar, found, _ = values(run, loss, split)
    p = expit(z)
    n = len(y)
    per_image = {name: f(y, p).sum() / n for name, f in LOSSES.items()}
    floors = {name: f(y, y).sum() / n for name, f in LOSSES.items()}
    assert floors["bce"] > 1
    rate = (0.5 * (mean**2 + np.exp(logvar) - 1 - logvar)).sum() / n
    assert rate > 0.01
    assert found["loss"] == pytest.approx(per_image[loss], **CLOSE)
    assert found["floor"] == pytest.approx(floors[loss], rel=1e-9)
    assert found["excess"] == pytest.approx(per_image[loss] - floors[loss], **CLOSE)
    for name in LOSSES:
        assert found[f"excess:{name}"] == pytest.approx(per_image[name] - floors[name], **CLOSE)
    assert found["rate"] == pytest.approx(rate, **CLOSE)
    assert found["objective"] == pytest.approx(per_image[loss] + 0.1 * rate, **CLOSE)
    mse = ((y - p) ** 2).reshape(n, -1).mean(1)
    assert found["mse"] == pytest.approx(mse.mean(), **CLOSE)
    assert found["mae"] == pytest.approx(np.abs(y - p).mean(), **CLOSE)
    assert found["psnr"] == pytest.approx(np.mean(-10 * np.log10(mse)), **CLOSE)
    assert found["ssim"] == pytest.approx(
        np.mean([ssim(a, b, 3) for a, b in zip(p, y, strict=True)]), rel=1e-4
    )
    assert found["active_units"] == (mean.var(0) > 0.01).sum()
    assert ("seconds" in found) == (split == "train")


@pytest.mark.parametrize("loss", LOSSES)
def test_dead_pixels(run, loss):
    # scaled up until some units saturate: the trained ones rarely do
    result = run[1]
    y, z, *_ = values(run, loss, "test")
    slope = {
        "bce": lambda y, z: expit(z) - y,
        "mse": lambda y, z: 2 * (expit(z) - y) * expit(z) * expit(-z),
        "mae": lambda y, z: np.sign(expit(z) - y) * expit(z) * expit(-z),
    }[loss]
    largest = {"bce": expit(4), "mse": 8 / 27, "mae": 0.25}[loss]
    from lossproof.catalogue import resolve
    from lossproof.lower.watch import largest_slope

    assert largest_slope(resolve(loss)) == pytest.approx(largest, rel=1e-3)
    t = result.table
    found = t.loc[(t.loss == loss) & (t.split == "test") & (t.epoch == 30) & (t.measure == "dead_pixels")]
    dead = (np.abs(slope(y, z)) < 1e-3 * largest) & (np.abs(expit(z) - y) > 0.1)
    assert found.value.item() == pytest.approx(dead.mean(), abs=1e-9)


def test_dead_pixels_are_counted_where_a_loss_saturates(tiny, small, tmp_path, monkeypatch):
    from lossproof.models.dense import Dense
    from lossproof.train import stack_choose

    monkeypatch.setattr(stack_choose, "by_hand", lambda member: False)  # a stack has layers of its own
    decode = Dense.decode
    # every pixel at p = 1 - 4.5e-5 whatever the target: flat for the squared error, not for BCE
    monkeypatch.setattr(Dense, "decode", lambda self, code: decode(self, code) * 0 + 10.0)
    t = compare(tiny, ("bce", "mse"), out=tmp_path / "run", **small).table
    last = t.loc[(t.measure == "dead_pixels") & (t.split == "test") & (t.epoch == 3) & (t.seed == 0)]
    wrong = np.mean(tiny.test < 0.9 - 4.5e-5)
    assert dict(zip(last.loss, last.value, strict=True)) == {"bce": 0.0, "mse": pytest.approx(wrong)}


@pytest.mark.parametrize("split", ["train", "test"])
def test_gradient_norm(run, split):
    y, _, _, _, found, noise = values(run, "mse", split)
    stored = load_file(run[1].directory / "checkpoints" / "mse-s0.safetensors")
    w = {
        k.removeprefix("model."): torch.from_numpy(v).double().requires_grad_()
        for k, v in stored.items()
        if k.startswith("model.")
    }
    x = torch.from_numpy(y).flatten(1)
    hidden = F.relu(F.linear(x, w["encoder.0.weight"], w["encoder.0.bias"]))
    mean, logvar = F.linear(hidden, w["encoder.2.weight"], w["encoder.2.bias"]).chunk(2, 1)
    z = mean + torch.from_numpy(noise) * torch.exp(logvar / 2)
    hidden = F.relu(F.linear(z, w["decoder.0.weight"], w["decoder.0.bias"]))
    p = F.linear(hidden, w["decoder.2.weight"], w["decoder.2.bias"]).sigmoid()
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mean, torch.exp(logvar / 2)), normal(0.0, 1.0))
    (F.mse_loss(p, x, reduction="sum") + 0.1 * kl.sum()).div(len(x)).backward()
    norm = torch.sqrt(sum((v.grad**2).sum() for v in w.values()))
    assert found["gradient_norm"] == pytest.approx(float(norm), rel=1e-4)


def test_mean_image(run):
    images, result = run
    mean = np.clip(images.train.astype(np.float64).mean(0), 0.01, 0.99)
    t = result.table
    assert set(t.loc[t.measure.str.startswith("mean_image"), "epoch"]) == {0}
    for loss, f in LOSSES.items():
        y = images.test.astype(np.float64)
        expected = f(y, np.broadcast_to(mean, y.shape)).sum() / len(y)
        floor = f(y, y).sum() / len(y)
        for measure, value in (("mean_image_loss", expected), ("mean_image_excess", expected - floor)):
            row = t.loc[(t.loss == loss) & (t.measure == measure)]
            assert row.value.item() == pytest.approx(value, rel=1e-9)
            assert row.split.item() == "test"


def test_mean_image_stays_finite_where_a_pixel_never_occurs_in_training(tiny, small, tmp_path):
    from dataclasses import replace

    train, test = tiny.train.copy(), tiny.test.copy()
    train[:, 0, 0, 0], test[:, 0, 0, 0] = 0.0, 1.0
    images = replace(tiny, train=train, test=test)
    t = compare(images, ("bce",), out=tmp_path / "run", **small).table
    assert np.isfinite(t.loc[t.measure == "mean_image_loss", "value"]).all()


@pytest.mark.parametrize("spec", ["(y - p)**2 + 0.001*log(p + 0.1)", "focal", "bce"])
def test_floors_of_many_values_are_those_of_each(spec, monkeypatch):
    from lossproof.catalogue import resolve
    from lossproof.lower import function
    from lossproof.train import measure

    values = np.sort(np.random.default_rng(0).random(1500))
    exact = function(spec).floor(values)
    monkeypatch.setattr(measure, "KNOTS", 1025)
    assert np.allclose(measure.lowest_losses(resolve(spec), values), exact, rtol=0, atol=2e-6)


def test_an_unbounded_floor_among_many_values(monkeypatch):
    from lossproof.catalogue import resolve
    from lossproof.train import measure

    monkeypatch.setattr(measure, "KNOTS", 33)
    values = np.linspace(0, 1, 100)
    assert (measure.lowest_losses(resolve("continuous_bernoulli"), values) == -np.inf).all()


def test_larger_images_use_the_usual_window(tmp_path):
    from torchmetrics.functional.image import structural_similarity_index_measure

    from lossproof.train.similarity import Similarity

    rng = np.random.default_rng(0)
    p, y = rng.random((2, 1, 1, 20, 13))
    # Gaussian window, sigma 1.5, 11 x 11, mirrored edges, computed from its definition
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def blur(a):
        view = np.lib.stride_tricks.sliding_window_view(np.pad(a[0, 0], 5, mode="reflect"), (11, 11))
        return (view * window).sum((-1, -2))

    mp, my = blur(p), blur(y)
    vp, vy, cov = blur(p * p) - mp**2, blur(y * y) - my**2, blur(p * y) - mp * my
    expected = np.mean((2 * mp * my + 1e-4) * (2 * cov + 9e-4) / ((mp**2 + my**2 + 1e-4) * (vp + vy + 9e-4)))
    one, other = torch.from_numpy(p), torch.from_numpy(y)
    assert float(Similarity(ssim_window(20, 13), 20, 13)(one, other)) == pytest.approx(expected)
    # and torchmetrics', of colour images, of several members against the same targets
    for shape in ((11, 14), (8, 6), (2, 9), (4, 4)):
        y = torch.from_numpy(rng.random((6, 3, *shape), dtype=np.float32))
        p = (y + 0.2 * torch.from_numpy(rng.standard_normal((2, 6, 3, *shape), dtype=np.float32))).clamp(0, 1)
        window = ssim_window(*shape)
        uniform = window.startswith("uniform")
        side = int(window.split("x")[-1]) if uniform else 11
        found = Similarity(window, *shape)(p, y)
        for mine, picture in zip(found, p, strict=True):
            theirs = structural_similarity_index_measure(
                picture, y, gaussian_kernel=not uniform, sigma=1.5, kernel_size=side, data_range=1.0,
                reduction="none",
            )  # fmt: skip
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_a_window_that_is_none():
    from lossproof.train.similarity import Similarity

    with pytest.raises(ValueError, match=r"ssim: expected a window as .*, got 'round 5x5'"):
        Similarity("round 5x5", 9, 9)


def test_inner_points_of_a_curve_are_of_a_part_of_the_images(tiny, small, tmp_path, monkeypatch):
    from lossproof.train import settings

    options = small | {"seeds": 1, "epochs": 3}
    whole = compare(tiny, ("bce", "mse"), out=tmp_path / "whole", **options).table
    monkeypatch.setattr(settings, "BETWEEN", 6)
    part = compare(tiny, ("bce", "mse"), out=tmp_path / "part", **options).table
    kept = ["member", "epoch", "split", "measure"]
    assert whole[kept].equals(part[kept])
    other = ~(whole.value.eq(part.value) | whole.value.isna() | (whole.measure == "seconds"))
    assert set(whole.epoch[other]) == {1, 2}  # the ends are of all images
    places = np.linspace(0, 17, 6).round().astype(int)
    floor = part.loc[(part.loss == "bce") & (part.measure == "floor") & (part.split == "test")]
    y = tiny.test[places].astype(np.float64)
    expected = LOSSES["bce"](y, y).sum() / 6
    assert floor.value.iloc[1] == floor.value.iloc[2] == pytest.approx(expected, rel=1e-9)
    assert floor.value.iloc[0] == floor.value.iloc[3] != pytest.approx(expected, rel=1e-3)
    # training is the same, so the last epochs are
    left, right = (
        load_file(tmp_path / name / "checkpoints" / "bce-s0.safetensors") for name in ("whole", "part")
    )
    assert all(np.array_equal(left[key], right[key]) for key in left)


def test_autoencoder_has_no_rate(tiny, small, tmp_path):
    t = compare(tiny, ("bce",), model="ae", beta=5.0, out=tmp_path / "run", **small).table
    assert (t.loc[t.measure == "rate", "value"] == 0).all()
    wide = t.pivot_table(index=["member", "epoch", "split"], columns="measure", values="value")
    assert (wide["objective"] == wide["loss"]).all()
    assert not list((tmp_path / "run" / "images").rglob("samples.png"))


def test_beta_weighs_the_rate(tiny, small, tmp_path):
    rates = {}
    for beta in (0.0, 1.0, 30.0):
        options = small | {"epochs": 25, "lr": 0.02, "seeds": 1}
        t = compare(tiny, ("bce",), beta=beta, out=tmp_path / f"run{beta}", **options).table
        last = t.loc[(t.epoch == 25) & (t.split == "test")].set_index("measure")["value"]
        assert last["objective"] == pytest.approx(last["loss"] + beta * last["rate"])
        rates[beta] = last["rate"]
    assert rates[0.0] > rates[1.0] > rates[30.0]


def test_active_units_are_those_whose_codes_vary_over_these_images(tiny, small):
    """The variance is that of the images measured, with their number below, at the boundary of 0.01."""
    from types import SimpleNamespace

    from lossproof.catalogue import resolve
    from lossproof.torch.criterion import criterion
    from lossproof.train.arm import plain
    from lossproof.train.measure import Measurer
    from lossproof.train.settings import settle

    options = {k: v for k, v in small.items() if k != "progress"}
    settings = settle(
        tiny, model="ae", lr=1e-3, beta=1.0, device="cpu", threads=1, **options | {"seeds": 1}
    )  # fmt: skip
    mse = resolve("mse")
    measurer = Measurer(tiny, [plain(mse)], settings)
    sign = torch.tensor([1.0, -1.0]).repeat(len(tiny.test) // 2)
    # variances 0.0099 and 0.0101 with n below; with n - 1 both would exceed 0.01
    codes = torch.stack([sign * 0.0099**0.5, sign * 0.0101**0.5, sign * 0], 1)
    assert (codes.double().var(0) > 0.01).tolist() == [True, True, False]
    measurer.gradient_norm = lambda member, data: 0.0
    member = SimpleNamespace(
        model=lambda images, noise: (images * 0, codes, None),
        criterion=criterion(mse),
        loss=mse,
        beta=1.0,
        epoch=-1,
        arm=None,
    )
    assert measurer.measure(member, "test")["active_units"] == 1


def test_a_floor_that_is_rounding_is_zero(tiny):
    from lossproof.catalogue import resolve
    from lossproof.train.measure import baseline

    arrays, mean = {"train": tiny.train, "test": tiny.test}, np.full((1, 6, 5), 0.5)
    for formula, expected in (("(y - p)**2 + 1e-20", 0.0), ("(y - p)**2 + 1e-9", 30e-9)):
        found = baseline(resolve(formula), arrays, mean).floors
        assert found == {"train": pytest.approx(expected, rel=1e-4, abs=0)} | {
            "test": pytest.approx(expected, rel=1e-4, abs=0)
        }


def test_an_empty_cell_calls_its_measure_by_its_title(tiny, small):
    from lossproof.train.measure import Baseline, Measurer

    measurer = Measurer.__new__(Measurer)
    measurer.baselines = {"bce": Baseline({"train": 1.0, "test": 1.0}, 2.0)}
    measurer.whole = lambda epoch: True
    reasons = [
        measurer.row(1, "test", name, np.nan, "bce").reason
        for name in ("mean_image_loss", "excess:bce", "gradient_norm")
    ]
    assert reasons == [
        "loss of always predicting the mean image (bce) is nan on these images",
        "excess under bce is nan on these images",
        "gradient norm of the objective (bce) is nan on these images",
    ]


@pytest.mark.parametrize("stack", ["on", "off"])
def test_pictures_are_measured_in_pieces(tiny, small, tmp_path, monkeypatch, stack):
    from dataclasses import replace

    from lossproof.train import comparison, measure
    from lossproof.train.similarity import Similarity

    settle = comparison.settle

    def few_similarities(*given, **named):
        made = settle(*given, **named)
        return replace(made, evaluation=replace(made.evaluation, ssim_images=7))

    monkeypatch.setattr(comparison, "settle", few_similarities)
    losses = ("bce", "mse", "hellinger", "discretised_logistic")
    whole = compare(tiny, losses, out=tmp_path / "whole", stack=stack, **small).table
    # pieces of 3 of the 18 images, of two members at a time
    monkeypatch.setattr(measure, "SEEN", 100)
    monkeypatch.setattr(measure, "VALUES", 200)
    seen, call = [], Similarity.__call__
    monkeypatch.setattr(
        Similarity, "__call__", lambda s, p, y: seen.append(p.shape[0] * len(y)) or call(s, p, y)
    )
    parts = compare(tiny, losses, out=tmp_path / "parts", stack=stack, **small).table
    told = whole.measure != "seconds"
    assert whole[told].drop(columns="value").equals(parts[told].drop(columns="value"))
    np.testing.assert_allclose(parts.value[told], whole.value[told], rtol=2e-5, atol=1e-6)
    assert sum(seen) == 7 * 8 * 2 * 4  # images, members, splits, epochs
    assert measure.pieces(18, 30) == [slice(start, start + 3) for start in range(0, 18, 3)]
