"""The fitted temperature: closed forms, its equation, groups, bounds."""

import numpy as np
import pytest

from lossproof.formula import LossproofError
from lossproof.likelihood import likelihood
from lossproof.likelihood.temperature import fit_temperature


def images(seed=0, shape=(8, 1, 9, 7), spread=2.0):
    return 1 / (1 + np.exp(-np.random.default_rng(seed).normal(0, spread, shape)))


def test_on_the_line_the_variance_is_the_squared_error_and_not_its_root():
    """Rybkin et al. 2021: sigma*^2 = MSE (their Eq. 5 prints sigma* = MSE). T = 2 sigma^2 for (y - p)^2."""
    rng = np.random.default_rng(1)
    p = images()
    y = p + 0.07 * rng.standard_normal(p.shape)
    mse = np.mean((y - p) ** 2)
    assert fit_temperature("mse", y, p, measure="line").temperature == pytest.approx(2 * mse, rel=1e-10)
    assert fit_temperature("(y - p)**2/2", y, p, measure="line").temperature == pytest.approx(mse, rel=1e-10)
    mae = np.mean(np.abs(y - p))
    assert fit_temperature("mae", y, p, measure="line").temperature == pytest.approx(mae, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "measure", "of", "true"),
    [("bce", "levels", "loss", 0.6), ("bce", "levels", "excess", 0.04), ("mse", "interval", "loss", 0.03),
     ("hellinger", "levels", "loss", 0.02), ("huber(delta=0.1)", "levels", "loss", 0.004), ("focal", "levels", "excess", 0.05),
     ("logcosh", "line", "loss", 0.1), ("barron(alpha=0)", "line", "loss", 0.05)],
)  # fmt: skip
def test_the_mean_loss_is_the_expected_one_and_the_true_temperature_comes_back(name, measure, of, true):
    p = images(shape=(40, 1, 9, 7))
    y = likelihood(name, true, measure, of).sample(p, 5)
    fit = fit_temperature(name, y, p, measure=measure, of=of)
    law = likelihood(name, float(fit.temperature), measure, of)
    assert law.expected_loss(p).mean() == pytest.approx(law.observed_loss(y, p).mean(), rel=1e-4)
    assert fit.temperature == pytest.approx(true, rel=0.1)
    assert not fit.bounded


def test_it_is_the_maximum_likelihood_too():
    p = images()
    y = likelihood("mae", 0.1).sample(p, 2)
    t = float(fit_temperature("mae", y, p).temperature)
    fits = [likelihood("mae", t * k).log_prob(y, p).sum() for k in (0.97, 1.0, 1.03)]
    assert fits[1] == max(fits)


def test_groups_agree_with_a_fit_of_their_own():
    p = np.concatenate([images(1, (5, 1, 8, 8)), images(2, (5, 1, 8, 8))], axis=1)
    y = np.concatenate(
        [likelihood("mse", t).sample(p[:, i : i + 1], 4) for i, t in enumerate((0.01, 0.2))], axis=1
    )
    by_channel = fit_temperature("mse", y, p, per="channel")
    assert by_channel.temperature.shape == (2,)
    for i in range(2):
        own = fit_temperature("mse", y[:, i], p[:, i]).temperature
        assert by_channel.temperature[i] == pytest.approx(float(own), rel=1e-4)
    by_image = fit_temperature("mse", y, p, per="image").temperature
    assert by_image.shape == (5,)
    assert by_image[3] == pytest.approx(float(fit_temperature("mse", y[3], p[3]).temperature), rel=1e-4)
    by_pixel = fit_temperature("mse", y, p, per="pixel")
    assert by_pixel.temperature.shape == (2, 8, 8)
    own = fit_temperature("mse", y[:, 1, 2, 3], p[:, 1, 2, 3]).temperature
    assert by_pixel.temperature[1, 2, 3] == pytest.approx(float(own), rel=1e-4)


def test_many_groups_are_solved_a_block_at_a_time(monkeypatch):
    from lossproof.likelihood import temperature

    p = images(1, (6, 2, 5, 5))
    y = likelihood("mse", 0.05).sample(p, 4)
    whole = {per: fit_temperature("mse", y, p, per=per) for per in ("pixel", "image")}
    monkeypatch.setattr(temperature, "_MOST", 7 * temperature._NODES)
    for per, expected in whole.items():
        found = fit_temperature("mse", y, p, per=per)
        assert found.temperature == pytest.approx(expected.temperature, rel=1e-4)
        assert (found.bounded == expected.bounded).all()


def test_shrinking_counts_the_mean_loss_of_all_as_more_values_of_each():
    p = np.full((9, 1, 2, 2), 0.4)
    y = likelihood("mse", 0.05).sample(p, 4)
    y[:, 0, 0, 0] = 102 / 255
    alone, shrunk = (fit_temperature("mse", y, p, per="pixel", shrink=s) for s in (0.0, 1.0))
    assert alone.bounded[0, 0, 0]
    losses = (y - p) ** 2
    expected = (losses.sum(0) + losses.mean()) / 10
    assert shrunk.observed == pytest.approx(expected)
    assert not shrunk.bounded.any()
    at = [float(likelihood("mse", float(t)).expected_loss(0.4)) for t in shrunk.temperature.ravel()]
    assert at == pytest.approx(expected.ravel().tolist(), rel=1e-4)


def test_logits_give_what_predictions_give():
    z = np.random.default_rng(3).normal(0, 3, (6, 50))
    y = likelihood("bce", 0.5).sample(1 / (1 + np.exp(-z)), 1)
    from_z = fit_temperature("bce", y, logits=z).temperature
    assert from_z == pytest.approx(
        float(fit_temperature("bce", y, 1 / (1 + np.exp(-z))).temperature), rel=1e-5
    )


def test_perfect_predictions_are_held_at_the_lower_bound_and_hopeless_ones_at_the_upper():
    y = np.round(images() * 255) / 255
    perfect = fit_temperature("mse", y, y, low=1e-3)
    assert perfect.temperature == 1e-3
    assert perfect.bounded
    p = np.where(y > 0.5, 0.0, 1.0)
    worse = fit_temperature("mse", np.where(y > 0.5, 1.0, 0.0), p, high=50.0)
    assert worse.temperature == 50.0
    assert worse.bounded
    mixed = np.stack([y[0], y[1]])
    off = mixed.copy()
    off[1] = np.clip(off[1] + 0.3, 0, 1)
    each = fit_temperature("mse", mixed, off, per="image", low=1e-3)
    assert each.bounded.tolist() == [True, False]
    assert each.temperature[0] == 1e-3
    assert each.temperature[1] == pytest.approx(
        float(fit_temperature("mse", mixed[1], off[1]).temperature), rel=1e-4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"shrink": -1.0}, "expected shrink as a number of at least 0, got -1.0"),
     ({"per": "row"}, "expected per one of all, image, channel, pixel"), ({"low": 0.0}, "temperature T > 0"),
     ({"low": 2.0, "high": 1.0}, "expected low < high"), ({"per": "channel"}, "images, channels, height, width")],
)  # fmt: skip
def test_guards(options, message):
    with pytest.raises(LossproofError, match=message):
        fit_temperature("mse", np.zeros((2, 3)), np.zeros((2, 3)), **options)


def test_no_values_and_infinite_losses():
    with pytest.raises(LossproofError, match="at least one value"):
        fit_temperature("mse", np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(LossproofError, match="expected finite losses.*give logits"):
        fit_temperature("bce", np.array([0.2]), np.array([0.0]))
