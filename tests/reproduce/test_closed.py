"""Closed forms against SciPy, scikit-learn and torch."""

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from lossproof.formula.errors import LossproofError
from lossproof.reproduce.bench import prepare
from lossproof.reproduce.closed import (
    clip_ceiling,
    continuous_bernoulli_log_density,
    continuous_bernoulli_mean,
    linear_optimum,
    projection_error,
    spectrum,
)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(300, 6)) * [3, 2, 1, 0.3, 0.2, 0.1] @ rng.normal(size=(6, 6)) + 1
    return mixed.reshape(300, 1, 2, 3).astype(np.float32)


def test_the_learned_optimum_is_scikit_learns_probabilistic_pca(images):
    flat = images.reshape(300, 6).astype(np.float64)
    pca = PCA(2, svd_solver="full").fit(flat)
    # scikit-learn divides by n - 1, maximum likelihood by n; both its parts scale alike
    covariance = pca.get_covariance() * 299 / 300
    found = linear_optimum(spectrum(images), 2)
    expected = multivariate_normal(flat.mean(0), covariance).logpdf(flat).mean()
    assert found.log_likelihood(images) == pytest.approx(expected, abs=1e-6)
    assert found.variance == pytest.approx(pca.noise_variance_ * 299 / 300, rel=1e-6)


def test_it_is_the_best_linear_decoder_that_an_optimiser_finds(images):
    flat = torch.from_numpy(images.reshape(300, 6)).double()
    weights = torch.randn(
        6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    log_sigma = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, log_sigma], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        covariance = weights @ weights.T + (2 * log_sigma).exp() * torch.eye(6, dtype=torch.float64)
        value = -torch.distributions.MultivariateNormal(flat.mean(0), covariance).log_prob(flat).mean()
        value.backward()
        return value

    optimiser.step(loss)
    assert linear_optimum(spectrum(images), 2).log_likelihood(images) == pytest.approx(
        -loss().item(), abs=1e-5
    )


@pytest.mark.parametrize("variance", [0.05, 1.0, 1e3])
def test_with_a_given_variance_only_larger_eigenvalues_are_in_use(images, variance):
    found = linear_optimum(spectrum(images), 4, variance)
    values, vectors = np.linalg.eigh(np.cov(images.reshape(300, 6).T.astype(np.float64), bias=True))
    kept = np.maximum(values, variance)
    kept[:2] = variance  # the two smallest have no code
    covariance = vectors * kept @ vectors.T
    law = multivariate_normal(images.reshape(300, 6).mean(0), covariance)
    assert found.log_likelihood(images[:50]) == pytest.approx(
        law.logpdf(images[:50].reshape(50, 6)).mean(), abs=1e-5
    )


def test_more_codes_than_components_have_no_optimum():
    flat = np.zeros((10, 1, 1, 3), dtype=np.float32)
    flat[:, 0, 0, 0] = np.arange(10)
    with pytest.raises(
        LossproofError, match="fewer codes than components that vary, got 1 codes and 1 components"
    ):
        linear_optimum(spectrum(flat), 1)


def test_the_projection_error_is_scikit_learns():
    images = prepare(quick=True).images
    flat, test = (part.reshape(len(part), -1).astype(np.float64) for part in (images.train, images.test))
    pca = PCA(10, svd_solver="full").fit(flat)
    expected = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1).mean()
    assert projection_error(spectrum(images.train), images.test, 10) == pytest.approx(expected, rel=1e-6)


def test_the_continuous_bernoulli_is_torchs():
    eta = torch.tensor([-8.0, -1.0, -0.2, 0.3, 2.0, 8.0], dtype=torch.float64)
    x = torch.tensor([0.0, 0.1, 0.5, 0.6, 0.9, 1.0], dtype=torch.float64)
    law = torch.distributions.ContinuousBernoulli(logits=eta)
    np.testing.assert_allclose(
        continuous_bernoulli_log_density(eta.numpy(), x.numpy()), law.log_prob(x), atol=1e-6
    )
    np.testing.assert_allclose(continuous_bernoulli_mean(eta.numpy()), law.mean, atol=1e-6)
    near = np.array([-1e-9, 0.0, 1e-9, 9.99e-4, 1.001e-3, 2000.0])
    np.testing.assert_allclose(
        continuous_bernoulli_mean(near),
        [0.5, 0.5, 0.5, 0.5 + 9.99e-4 / 12, 0.5 + 1.001e-3 / 12, 1 - 1 / 2000],
        atol=1e-9,
    )
    assert continuous_bernoulli_log_density(np.array([2000.0]), np.array([1.0]))[0] == pytest.approx(
        np.log(2000)
    )


@pytest.mark.parametrize("x", [0.0, 0.004, 0.1, 0.45, 0.8, 1.0])
def test_the_ceiling_of_a_pixel_is_the_best_lambda_inside_the_clip(x):
    clip = 1e-3

    def nats(lam):  # the paper's own formula, by another road than eta
        c = 2 * np.arctanh(1 - 2 * lam) / (1 - 2 * lam)
        return -(np.log(c) + x * np.log(lam) + (1 - x) * np.log1p(-lam))

    grid = np.linspace(clip, 1 - clip, 2002)  # an even number: 1/2 is not on it
    start = grid[np.argmin(nats(grid))]
    best = optimize.minimize_scalar(
        nats,
        bounds=(max(clip, start - 1e-3), min(1 - clip, start + 1e-3)),
        method="bounded",
        options={"xatol": 1e-12},
    )
    expected = -min(best.fun, nats(clip), nats(1 - clip))
    assert clip_ceiling(np.full((1, 1), x, dtype=np.float32), clip) == pytest.approx(expected, abs=1e-6)


def test_a_clip_beyond_one_half_is_refused():
    with pytest.raises(LossproofError, match=r"expected a clip in \(0, 0.5\), got 0.5"):
        clip_ceiling(np.zeros((1, 1), dtype=np.float32), 0.5)


def test_mnists_closed_forms_are_those_printed(real_data):
    bench = prepare(real_data / "mnist")
    assert bench.published
    test = bench.images.test
    found = spectrum(bench.images.train)
    best = linear_optimum(found, 20)
    assert best.log_likelihood(test) == pytest.approx(306.549, abs=1e-3)
    assert linear_optimum(found, 20, 1.0).log_likelihood(test) == pytest.approx(-743.10, abs=1e-2)
    assert projection_error(found, test, 30) == pytest.approx(13.866, abs=1e-3)
    assert clip_ceiling(bench.dequantised("test"), 1e-4) == pytest.approx(1590.1, abs=0.05)
