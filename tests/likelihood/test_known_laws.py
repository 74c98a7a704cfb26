"""Laws that scipy has, published values, and what mean, mode, median and samples must be."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from lossproof.formula import LossproofError
from lossproof.likelihood import Levels, likelihood

Y, P = np.linspace(-3, 3, 25), np.full(25, 0.4)


def laplace_asymmetric(tau, t, p=0.4):
    """scipy's: exp(-x kappa/scale) right of 0, exp(x/(kappa scale)) left of it."""
    return stats.laplace_asymmetric(np.sqrt(tau / (1 - tau)), p, t / np.sqrt(tau * (1 - tau)))


ON_THE_LINE = [
    ("mse", 0.5, stats.norm(0.4, 0.5)),
    ("(y - p)**2/2", 0.09, stats.norm(0.4, 0.3)),
    ("mae", 0.2, stats.laplace(0.4, 0.2)),
    ("logcosh", 1.0, stats.hypsecant(0.4)),
    ("logcosh(a=4)", 0.25, stats.hypsecant(0.4, 1 / 4)),
    ("charbonnier", 0.3, stats.genhyperbolic(1, 1 / 0.3, 0, 0.4)),
    ("charbonnier(delta=0.5)", 0.3, stats.genhyperbolic(1, 0.25 / 0.3, 0, 0.4, 0.5)),
    ("barron(alpha=0)", 0.25, stats.t(7, 0.4, np.sqrt(2 / 7))),
    ("pinball(tau=0.2)", 0.1, laplace_asymmetric(0.2, 0.1)),
    (
        "softplus(2*(y - p)) - (y - p)",
        1.0,
        stats.hypsecant(0.4),
    ),  # log-cosh in another writing, by quadrature
]


@pytest.mark.parametrize(
    ("loss", "temperature", "law"), ON_THE_LINE, ids=lambda v: v if isinstance(v, str) else ""
)
def test_laws_on_the_line_agree_with_scipy(loss, temperature, law):
    ours = likelihood(loss, temperature, "line")
    assert np.allclose(ours.log_prob(Y, P), law.logpdf(Y), rtol=0, atol=1e-8)
    assert np.allclose(ours.cdf(Y, P), law.cdf(Y), rtol=0, atol=1e-8)
    assert np.allclose(ours.quantile([0.02, 0.5, 0.9], P[:3]), law.ppf([0.02, 0.5, 0.9]), atol=1e-6)
    assert ours.mean(0.4) == pytest.approx(law.mean(), abs=1e-6)
    assert ours.variance(0.4) == pytest.approx(law.var(), rel=1e-6)


def test_huber_on_the_line_has_the_published_normaliser():
    """sqrt(2 pi T) erf(delta/sqrt(2T)) + (2T/delta) exp(-delta^2/(2T))."""
    from scipy.special import erf

    for delta in (0.1, 1.0):
        for t in (0.01, 0.1, 1.0, 10.0):
            z = np.sqrt(2 * np.pi * t) * erf(delta / np.sqrt(2 * t)) + 2 * t / delta * np.exp(
                -(delta**2) / (2 * t)
            )
            got = likelihood(f"huber(delta={delta})", t, "line").normaliser.log_z(0.3)
            assert got == pytest.approx(np.log(z), abs=1e-12)


@pytest.mark.parametrize(("p", "sigma"), [(0.0, 0.1), (0.4, 0.03), (1.0, 2.0), (0.5, 50.0), (-3.0, 0.2)])
def test_truncated_gaussian_and_laplace_on_the_interval(p, sigma):
    y = np.linspace(0, 1, 21)
    at = np.full(y.shape, p)
    gauss = stats.truncnorm((0 - p) / sigma, (1 - p) / sigma, p, sigma)
    ours = likelihood("mse", 2 * sigma**2, "interval")
    assert np.allclose(ours.log_prob(y, at), gauss.logpdf(y), atol=1e-8, rtol=1e-9)
    assert np.allclose(ours.cdf(y, at), gauss.cdf(y), atol=1e-8)
    assert ours.mean(p) == pytest.approx(gauss.mean(), abs=1e-7)
    laplace = stats.laplace(p, sigma)
    inside = np.log(laplace.cdf(1) - laplace.cdf(0)) if p >= 0 else np.log(laplace.sf(0) - laplace.sf(1))
    assert np.allclose(
        likelihood("mae", sigma, "interval").log_prob(y, at), laplace.logpdf(y) - inside, atol=1e-8
    )


TRUNCATED = [
    ("mse", 0.02, lambda p: stats.norm(p, 0.1)),
    ("mae", 0.05, lambda p: stats.laplace(p, 0.05)),
    ("logcosh", 1.0, stats.hypsecant),
    ("logcosh(a=30)", 1 / 30, lambda p: stats.hypsecant(p, 1 / 30)),
    ("barron(alpha=0)", 0.1, lambda p: stats.t(19, p, np.sqrt(2 / 19))),
    ("barron(alpha=0, c=0.1)", 0.25, lambda p: stats.t(7, p, np.sqrt(0.02 / 7))),
    ("pinball(tau=0.2)", 0.1, lambda p: laplace_asymmetric(0.2, 0.1, p)),
]


@pytest.mark.parametrize(("loss", "t", "law"), TRUNCATED, ids=lambda v: v if isinstance(v, str) else "")
def test_laws_cut_to_the_interval_are_slices_of_scipys(loss, t, law):
    """scipy's law on the line, between 0 and 1: density, distribution function, quantiles; and in closed form."""
    y, ours = np.linspace(0, 1, 15), likelihood(loss, t, "interval")
    assert ours.normaliser.method.startswith("closed form")
    assert "truncated" in ours.normaliser.method
    for p in (0.0, 0.3, 0.97):
        at, whole = np.full(y.shape, p), law(p)
        mass = whole.cdf(1) - whole.cdf(0)
        assert np.allclose(ours.log_prob(y, at), whole.logpdf(y) - np.log(mass), rtol=0, atol=1e-9)
        below = (whole.cdf(y) - whole.cdf(0)) / mass
        assert np.allclose(ours.cdf(y, at), below, rtol=0, atol=1e-9)
        assert np.allclose(
            ours.cdf(ours.quantile([0.1, 0.5, 0.99], at[:3]), at[:3]), [0.1, 0.5, 0.99], atol=1e-9
        )


@pytest.mark.parametrize("delta", [0.1, 0.4])
@pytest.mark.parametrize("t", [1e-3, 0.1, 1e4])
def test_huber_on_the_interval_against_scipys_integrals(delta, t):
    ours = likelihood(f"huber(delta={delta})", t, "interval")
    assert ours.normaliser.method == "closed form: Gaussian and Laplace pieces, truncated"
    for p in (0.0, 0.3, 1.0):

        def density(y, p=p):
            r = abs(y - p)
            return np.exp(-(r * r / 2 if r <= delta else delta * (r - delta / 2)) / t)

        cuts = sorted({c for c in (p - delta, p, p + delta) if 0 < c < 1})
        exact = sum(
            integrate.quad(density, a, b, epsabs=0, epsrel=1e-12)[0] for a, b in pairwise([0, *cuts, 1])
        )
        assert ours.normaliser.log_z(p) == pytest.approx(np.log(exact), abs=1e-10)


@pytest.mark.parametrize(("loss", "most"), [("logcosh", 1e12), ("barron(alpha=0)", 1.9)])
def test_where_a_slice_keeps_too_few_digits_it_is_integrated(loss, most):
    for t in (1e-3, most):
        law = likelihood(loss, t, "interval")
        for p in (0.0, 0.4):
            exact = integrate.quad(
                lambda y, law=law, p=p: np.exp(-float(law.observed_loss(y, p)) / law.temperature), 0, 1,
                points=[p] if p else None, epsabs=0, epsrel=1e-12,
            )[0]  # fmt: skip
            assert law.normaliser.log_z(p) == pytest.approx(np.log(exact), abs=1e-9)
    far, y = likelihood(loss, 1e-3, "interval"), np.linspace(0, 1, 6)
    assert far.cdf([0.001, 0.01], [1.0, 1.0]).tolist() == pytest.approx([0, 0], abs=1e-12)
    steep = far.log_prob(y, np.full(6, -3.0))  # the whole interval in one far tail
    assert np.isfinite(steep).all()
    assert far.cdf(y, np.full(6, -3.0))[1:].tolist() == pytest.approx([1] * 5)


def test_a_very_wide_gaussian_keeps_its_digits_on_the_interval():
    """log Z = log of the integral of exp(-(y - p)^2/T) = -m2/T + (m4 - m2^2)/(2 T^2) - ..., by moments of y - p."""
    p = 0.3
    m2, m4 = ((1 - p) ** 3 + p**3) / 3, ((1 - p) ** 5 + p**5) / 5
    for t in (1e5, 1e8, 1e12):
        got = likelihood("mse", t, "interval").normaliser.log_z(p)
        assert got == pytest.approx(-m2 / t + (m4 - m2**2) / (2 * t**2), abs=1e-14, rel=1e-9)


def test_tempered_bce_is_the_continuous_bernoulli_with_natural_parameter_over_t():
    """Loaiza-Ganem and Cunningham, arXiv:1907.06845; the natural parameter is logit(p)/T."""
    y = np.linspace(0, 1, 11)
    for p in (0.05, 0.3, 0.5, 0.98):
        for t in (0.5, 1.0, 4.0):
            eta = np.log(p / (1 - p)) / t
            a = np.log(np.expm1(eta) / eta) if eta else 0.0
            law = likelihood("bce", t, "interval")
            assert np.allclose(law.log_prob(y, np.full(y.shape, p)), eta * y - a, atol=1e-12)
            mean = 1 / (1 - np.exp(-eta)) - 1 / eta if eta else 0.5
            assert law.mean(p) == pytest.approx(mean, abs=1e-9)


def test_raw_bce_and_its_excess_are_different_laws():
    raw, excess = likelihood("bce", 0.1, "interval"), likelihood("bce", 0.1, "interval", of="excess")
    assert raw.mode(0.4) == 0.0  # the continuous Bernoulli's mode is never inside
    assert raw.mode(0.7) == 1.0
    assert excess.mode(0.4) == pytest.approx(0.4, abs=1e-6)
    assert "excess" in repr(excess)
    assert "exp(-loss/T)" in repr(raw)


def test_normalising_moves_the_minimum_as_published():
    """papers: y = 0.1 gives p = 4.56e-5 for the continuous Bernoulli (its mean is then y)."""
    law = likelihood("bce", 1.0, "interval")
    assert law.most_likely_p(0.1) == pytest.approx(4.56e-5, rel=2e-3)
    assert law.mean(law.most_likely_p(0.1)) == pytest.approx(0.1, abs=1e-6)
    assert law.most_likely_p([0.0, 0.5, 1.0]).tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert likelihood("mse", 0.02, "line").most_likely_p([-2.0, 0.3]).tolist() == pytest.approx([-2.0, 0.3])
    # T = 1: on levels and the interval the Gaussian's tails are cut, and the best p overshoots
    assert likelihood("mse", 0.2, "interval").most_likely_p(0.8) > 0.85


def test_the_most_likely_prediction_of_a_law_that_narrows_at_black_and_white():
    """A Gaussian of variance p(1 - p)/2: scipy minimises its density over p."""
    law = likelihood("(y - p)**2/(p*(1 - p))", 1.0, "line")
    for y in (0.1, 0.6):
        best = optimize.minimize_scalar(
            lambda p, y=y: -stats.norm.logpdf(y, p, np.sqrt(p * (1 - p) / 2)), bounds=(1e-6, 1 - 1e-6), method="bounded",
            options={"xatol": 1e-10},
        ).x  # fmt: skip
        assert law.most_likely_p(y) == pytest.approx(best, abs=1e-6)
    with pytest.raises(LossproofError, match="whose law has a width, got p = 1: there the law is narrower"):
        law.log_prob(1.0, 1.0)


def test_bits_per_pixel_of_a_flat_law_and_of_a_sure_one():
    assert likelihood("mse", 1e9).bits_per_pixel([0.0, 1.0], [0.5, 0.5]) == pytest.approx(8.0, abs=1e-6)
    assert likelihood("mse", 1e-7).bits_per_pixel([0.2], [0.2]) == pytest.approx(0.0, abs=1e-9)
    assert likelihood("bce", 1.0, Levels(2)).bits_per_pixel([1.0], [0.25]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("name", "measure", "of"),
    [("bce", "levels", "loss"), ("bce", "interval", "loss"), ("bce", "interval", "excess"), ("mse", "line", "loss"),
     ("mae", "levels", "loss"), ("logcosh", "line", "loss"), ("hellinger", "interval", "loss"), ("huber", "interval", "loss"),
     ("focal", "levels", "excess"), ("poisson", "levels", "loss"), ("barron(alpha=0)", "line", "loss")],
)  # fmt: skip
def test_samples_have_the_expected_loss_and_fill_the_cdf(name, measure, of):
    law = likelihood(name, 0.2, measure, of)
    for p in (0.1, 0.6):
        drawn = law.sample(p, np.random.default_rng(3), size=20_000)
        loss = law.observed_loss(drawn, np.full(drawn.shape, p))
        assert abs(loss.mean() - law.expected_loss(p)) < 4.5 * loss.std() / np.sqrt(drawn.size)
        assert abs(drawn.mean() - law.mean(p)) < 4.5 * drawn.std() / np.sqrt(drawn.size)
        for share in (0.2, 0.5, 0.8):
            cut = law.quantile(share, p)
            reached = law.cdf(cut, p)
            assert abs((drawn <= cut + 1e-12).mean() - reached) < 4.5 * np.sqrt(0.25 / drawn.size)
            if measure != "levels":
                assert reached == pytest.approx(share, abs=1e-7)
        assert law.median(p) == law.quantile(0.5, p)


def test_sampling_has_a_seed_and_a_shape():
    law = likelihood("bce", 0.1, of="excess")
    p = np.full((3, 4), 0.3)
    assert law.sample(p, 7).shape == (3, 4)
    assert np.array_equal(law.sample(p, 7, size=2), law.sample(p, 7, size=2))
    assert law.sample(p, 7, size=2).shape == (2, 3, 4)


def test_a_mode_on_the_line_shifts_with_the_prediction():
    assert likelihood("huber", 1.0, "line").mode([-1.0, 2.5]).tolist() == pytest.approx([-1.0, 2.5])
    # a loss whose least value is not at p = y
    assert likelihood("(y - p - 1)**2", 1.0, "line").mode(0.0) == pytest.approx(1.0, abs=1e-6)
