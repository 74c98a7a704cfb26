"""Decoders' laws against SciPy, torch, finite differences and the traps of published code."""

import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from lossproof.likelihood import Levels
from lossproof.torch.decoders import criterion_for

ONE = (1, 1, 1)
ON_LEVELS = [
    "discretised_gaussian(sigma=pixel)", "discretised_gaussian(sigma=0.01, link=sigmoid)", "discretised_logistic",
    "discretised_logistic(scale=shared, link=sigmoid)", "discretised_logistic(lowest=-12)", "beta_binomial",
    "discretised_student_t", "discretised_student_t(nu=1, scale=0.01, link=sigmoid)", "discretised_student_t(nu=0.4)",
]  # fmt: skip
DENSITIES = [
    "gaussian", "gaussian(sigma=pixel, link=sigmoid)", "gaussian(sigma=0.1)", "student_t", "student_t(nu=4, scale=0.1)",
    "student_t(nu=pixel, link=sigmoid, scale=shared)", "continuous_bernoulli_density",
    "continuous_bernoulli_density(clip=1e-4)",
]  # fmt: skip
EVERY = [*ON_LEVELS, "categorical", *DENSITIES]
VALUES = [-1e3, -60.0, -9.0, -3.0, -0.2, 0.0, 0.01, 0.5, 1.0, 2.5, 7.0, 40.0, 1e3]


def law_of(text, shape=ONE, levels=256):
    return criterion_for(text, shape, levels)


def corners(law, dtype=torch.float64, values=VALUES):
    """Every combination of some raw outputs, as a batch of images of one pixel."""
    axis = torch.tensor(values, dtype=dtype)
    if law.outputs > 3:
        return axis[torch.arange(40)[:, None] * torch.arange(3, law.outputs + 3) % len(values)][
            :, :, None, None
        ]
    parts = torch.meshgrid(*[axis] * law.outputs, indexing="ij")
    return torch.stack([p.flatten() for p in parts], 1)[:, :, None, None]


def column(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, len(values), 1, 1)


def raw_for(law, **heads):
    """The output under which the pixel heads have these values, where no bound is near."""
    parts = [torch.as_tensor(heads[h.name], dtype=torch.float64) - h.initial for h in law.decoder.heads]
    return torch.stack(torch.broadcast_tensors(*parts), -1).reshape(-1, len(parts), 1, 1)


def targets_for(law, raw, seed=0):
    y = torch.rand(raw.shape[0], law.channels, *raw.shape[2:], dtype=raw.dtype,
                   generator=torch.Generator().manual_seed(seed))  # fmt: skip
    return (y * law.n).round() / law.n if law.n else y


# mass


@pytest.mark.parametrize("levels", [2, 16, 256])
@pytest.mark.parametrize("text", [*ON_LEVELS, "categorical"])
def test_mass_sums_to_one_on_a_grid_and_at_the_corners(text, levels):
    law = law_of(text, levels=levels)
    drawn = torch.randn(100, law.outputs, 1, 1, generator=torch.Generator().manual_seed(0)) * 3 + 0.5
    for dtype, most in ((torch.float64, 2e-8), (torch.float32, 1e-6)):
        for raw in (corners(law, dtype), drawn.to(dtype)):
            total = law.mass(raw).sum(-1, dtype=torch.float64)
            assert (total - 1).abs().max() < most


def test_categorical_on_uneven_levels():
    law = law_of("categorical", levels=Levels.of([0.0, 0.1, 1.0]))
    raw = column(1.0, 2.0, 0.5)
    expected = torch.softmax(raw.flatten(), 0)
    for k, value in enumerate((0.0, 0.1, 1.0)):
        assert law.log_prob(column(value), raw).exp().item() == pytest.approx(expected[k].item(), rel=1e-12)
    assert law.mean(raw).item() == pytest.approx(
        (expected * torch.tensor([0, 0.1, 1])).sum().item(), rel=1e-6
    )


@pytest.mark.parametrize("text", DENSITIES)
def test_density_integrates_to_one(text):
    law = law_of(text)
    raw = corners(law, values=[-3.0, 0.2, 1.5][: 5 - law.outputs])
    on_interval = law.unit == "nats of density on [0, 1]"
    # on the line through y = 0.4 + sinh(t): the tails of Student's t reach far
    t = (
        torch.linspace(0, 1, 40001, dtype=torch.float64)
        if on_interval
        else torch.linspace(-40, 40, 40001, dtype=torch.float64)
    )
    for one in raw:
        many = one.expand(1, -1, t.numel(), 1)
        y = t if on_interval else 0.4 + torch.sinh(t) * 1e-3
        weight = torch.ones_like(t) if on_interval else torch.cosh(t) * 1e-3
        with torch.no_grad():
            density = law.log_prob(y.reshape(1, 1, -1, 1), many).flatten().exp()
        assert torch.trapezoid(density * weight, t).item() == pytest.approx(1, abs=1e-5)


# log_prob against other people's laws


def test_gaussian_against_scipy():
    law = law_of("gaussian(sigma=pixel)")
    m, s, y = np.array([0.2, -1, 0.5, 3]), np.array([0.1, 0.5, 2, 0.03]), np.array([0.25, 0.5, 0.5, 1])
    low = law.decoder.number("lowest")
    over = np.log(np.expm1(np.log(s) - low))  # undoes the soft bound
    raw = raw_for(law, location=m, log_sigma=over + low)
    found = law.log_prob(torch.tensor(y).reshape(-1, 1, 1, 1), raw).flatten().numpy()
    np.testing.assert_allclose(found, st.norm(m, s).logpdf(y), rtol=1e-10)
    fixed = law_of("gaussian(sigma=0.1, link=sigmoid)")
    expected = st.norm(0.5, 0.1).logpdf(0.25)
    assert fixed.log_prob(column(0.25), column(0.0)).item() == pytest.approx(expected, rel=1e-12)


def test_student_t_against_scipy_and_the_normal_law():
    for nu in (0.3, 1.0, 4.0, 100.0, 1e6):
        law = law_of(f"student_t(nu={nu}, scale=0.1)")
        y = torch.tensor([-3.0, 0.2, 0.5, 7.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
        raw = torch.full_like(y, 0.3)
        expected = st.t(nu, 0.3, 0.1).logpdf(y.flatten().numpy())
        np.testing.assert_allclose(law.log_prob(y, raw).flatten().numpy(), expected, rtol=1e-9)
        np.testing.assert_allclose(
            law.cdf(y, raw).flatten().numpy(), st.t(nu, 0.3, 0.1).cdf(y.flatten().numpy()), rtol=1e-9
        )
    far = law_of("student_t(nu=1e15, scale=0.1)").log_prob(column(0.5), column(0.3)).item()
    assert far == pytest.approx(st.norm(0.3, 0.1).logpdf(0.5), rel=1e-12)
    single = law_of("student_t(nu=1e9, scale=0.1)").log_prob(column(0.5).float(), column(0.3).float()).item()
    assert single == pytest.approx(st.norm(0.3, 0.1).logpdf(0.5), rel=1e-5)


@pytest.mark.parametrize(
    ("text", "name"),
    [("discretised_logistic(scale=pixel", st.logistic), ("discretised_gaussian(sigma=pixel", st.norm)],
)
def test_discretised_laws_against_scipy(text, name):
    law = law_of(text + ", lowest=-30)")
    rng = np.random.default_rng(0)
    m, log_s = rng.uniform(-0.5, 1.5, 400), rng.uniform(-7, 4, 400)
    k = rng.integers(0, 256, 400)
    k[:40], k[40:80] = 0, 255
    raw = raw_for(law, **dict(zip((h.name for h in law.decoder.heads), (m, log_s), strict=True)))
    found = law.log_prob(torch.tensor(k / 255).reshape(-1, 1, 1, 1), raw).flatten().numpy()
    s = np.exp(log_s)
    low, high = np.where(k == 0, -np.inf, (k - 0.5) / 255), np.where(k == 255, np.inf, (k + 0.5) / 255)
    turn = k / 255 > m  # SciPy keeps its digits in the lower tail alone
    a, b = np.where(turn, (m - high) / s, (low - m) / s), np.where(turn, (m - low) / s, (high - m) / s)
    with np.errstate(under="ignore", divide="ignore"):
        expected = np.log(name.cdf(b) - name.cdf(a))
    seen = np.isfinite(expected) & (expected > -600)
    assert seen.sum() > 150
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-6, atol=1e-7)
    edge = torch.tensor(k / 255).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(
        law.cdf(edge, raw).flatten().numpy(),
        name.cdf(np.where(k == 255, np.inf, (k + 0.5) / 255), m, s),
        atol=1e-9,
    )


@pytest.mark.parametrize("nu", [0.1, 0.7, 1.0, 2.5, 30.0, 1e3])
def test_discretised_student_t_against_scipy(nu):
    law = law_of(f"discretised_student_t(nu={nu}, lowest=-30)")
    rng = np.random.default_rng(0)
    m, log_s = rng.uniform(-0.5, 1.5, 500), rng.uniform(-9, 12, 500)
    k = rng.integers(0, 256, 500)
    k[:50], k[50:100] = 0, 255
    raw = raw_for(law, location=m, log_scale=log_s, log_nu=0)[:, :2]
    y = torch.tensor(k / 255).reshape(-1, 1, 1, 1)
    found = law.log_prob(y, raw).flatten().numpy()
    s, name = np.exp(log_s), st.t(nu)
    low, high = np.where(k == 0, -np.inf, (k - 0.5) / 255), np.where(k == 255, np.inf, (k + 0.5) / 255)
    a, b = (low - m) / s, (high - m) / s
    a, b = (
        np.where(a + b > 0, -b, a),
        np.where(a + b > 0, -a, b),
    )  # SciPy keeps its digits in the lower tail alone
    near = b - a < 1e-4  # and loses them where both ends are near
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(near, name.logpdf((a + b) / 2) + np.log(b - a), np.log(name.cdf(b) - name.cdf(a)))
    seen = expected > -600
    assert seen.sum() > 200
    np.testing.assert_allclose(found[seen], expected[seen], rtol=1e-8, atol=1e-8)
    below = name.cdf(np.where(k == 255, np.inf, ((k + 0.5) / 255 - m) / s))
    np.testing.assert_allclose(law.cdf(y, raw).flatten().numpy(), below, atol=1e-8)


def test_many_degrees_of_freedom_are_the_discretised_gaussian():
    raw = column(0.3, -2.0).reshape(1, 2, 1, 1)
    many, normal = law_of("discretised_student_t(nu=1000)"), law_of("discretised_gaussian(sigma=pixel)")
    torch.testing.assert_close(
        many.mass(raw), normal.mass(raw + torch.tensor([0, -0.8]).view(1, 2, 1, 1)), rtol=0, atol=5e-5
    )


def test_far_tails_of_the_discretised_gaussian_against_50_digits():
    import mpmath

    law = law_of("discretised_gaussian(sigma=pixel, lowest=-30)")
    with mpmath.workdps(50):
        for m, s, k in [
            (3.0, 0.01, 20),
            (-40.0, 0.5, 128),
            (0.5, 1e3, 77),
            (20.0, 1.0, 3),
            (5.0, 0.02, 0),
            (-2.0, 0.01, 255),
        ]:
            a, b = ((mpmath.mpf(k) + d) / 255 - mpmath.mpf(m) for d in (-0.5, 0.5))
            a, b = a / mpmath.mpf(s), b / mpmath.mpf(s)
            upper = mpmath.erfc(a / mpmath.sqrt(2)) / 2 if k else mpmath.mpf(1)
            beyond = mpmath.erfc(b / mpmath.sqrt(2)) / 2 if k < 255 else mpmath.mpf(0)
            lower = mpmath.erfc(-b / mpmath.sqrt(2)) / 2 - (mpmath.erfc(-a / mpmath.sqrt(2)) / 2 if k else 0)
            expected = float(mpmath.log(upper - beyond if a > 0 else lower))
            raw = raw_for(law, location=m, log_sigma=math.log(s))
            assert law.log_prob(column(k / 255), raw).item() == pytest.approx(expected, rel=1e-9)


def test_beta_binomial_against_scipy():
    law = law_of("beta_binomial")
    a, b = np.meshgrid([0.02, 0.5, 1, 3, 40, 900], [0.01, 1, 2.5, 300])
    raw = raw_for(law, log_alpha=np.log(a.ravel()), log_beta=np.log(b.ravel()))
    for k in (0, 1, 100, 254, 255):
        found = law.log_prob(torch.full((raw.shape[0], 1, 1, 1), k / 255, dtype=torch.float64), raw).flatten()
        np.testing.assert_allclose(
            found.numpy(), st.betabinom(255, a.ravel(), b.ravel()).logpmf(k), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("text", EVERY)
def test_expected_nats_are_those_of_the_law(text):
    """Against sums over the mass, scipy's entropies, and an integral of the continuous Bernoulli's density."""
    law = law_of(text)
    raw = torch.randn(5, law.outputs, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        found, heads = law.entropy(raw).flatten(), law.heads(raw)
    if law.n:
        mass = law.mass(raw)
        expected = -torch.xlogy(mass, mass).sum(-1).flatten().numpy()
    elif "log_sigma" in heads:
        expected = st.norm(scale=heads["log_sigma"].exp().numpy()).entropy()
    elif "log_nu" in heads:
        expected = st.t(heads["log_nu"].exp().numpy(), scale=heads["log_scale"].exp().numpy()).entropy()
    else:
        y = torch.linspace(0, 1, 20001, dtype=torch.float64)
        density = law.log_prob(y.expand(5, 1, 1, -1), raw.expand(-1, -1, 1, 20001)).squeeze()
        expected = -torch.trapezoid(density.exp() * density, y).numpy()
    np.testing.assert_allclose(found.numpy(), np.broadcast_to(np.ravel(expected), 5), rtol=1e-6, atol=1e-9)


def test_categorical_against_torch():
    law = law_of("categorical", shape=(3, 2, 2), levels=16)
    raw = torch.randn(5, 48, 2, 2, generator=torch.Generator().manual_seed(0))
    k = torch.randint(16, (5, 3, 2, 2), generator=torch.Generator().manual_seed(1))
    expected = torch.nn.functional.cross_entropy(raw.unflatten(1, (16, 3)), k, reduction="none")
    torch.testing.assert_close(law.values(k / 15, raw), expected)


def test_continuous_bernoulli_against_torch_where_torch_is_right():
    law = law_of("continuous_bernoulli_density")
    z = torch.tensor([-6.0, -1.0, 0.3, 2.0, 6.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
    y = torch.tensor([0.0, 0.3, 0.5, 0.9, 1.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
    theirs = torch.distributions.ContinuousBernoulli(logits=z)
    torch.testing.assert_close(law.log_prob(y, z), theirs.log_prob(y), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(law.mean(z), theirs.mean, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(law.cdf(y, z), theirs.cdf(y), rtol=1e-7, atol=1e-9)


# slopes


@pytest.mark.parametrize("text", EVERY)
def test_slopes_against_finite_differences(text):
    law = law_of(text, shape=(2, 1, 2), levels=6)
    for name, value in law.parameters.items():
        law.parameters[name] = value.detach().double().requires_grad_()
    gen = torch.Generator().manual_seed(3)
    raw = torch.randn(6, law.outputs * 2, 1, 2, dtype=torch.float64, generator=gen) * 1.5
    y = targets_for(law, raw)
    y[0], y[1] = 0, 1
    shared = tuple(law.parameters.values())

    def values(raw, *_shared):
        return law.values(y, raw)

    # gradcheck moves the parameters in place, and the law sees them move
    assert torch.autograd.gradcheck(values, (raw.requires_grad_(), *shared), eps=1e-6, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "discretised_gaussian(sigma=pixel)",
        "discretised_logistic",
        "discretised_student_t",
        "beta_binomial",
        "student_t(nu=pixel)",
        "gaussian(sigma=pixel)",
    ],
)
def test_slopes_in_every_regime(text):
    """Scales from far below to far above a step, location on and off the target, tails and inside."""
    law = law_of(text)
    raw = corners(law, values=[-12.0, -4.0, -1.0, 0.3, 0.9, 3.0, 12.0])
    for k in (0, 77, 255):
        y = torch.full((raw.shape[0], 1, 1, 1), k / 255, dtype=torch.float64)
        slopes = law.grade(y, raw).slopes
        for i in range(law.outputs):
            step = torch.zeros_like(raw)
            step[:, i] = 1e-6
            with torch.no_grad():
                numeric = (law.values(y, raw + step) - law.values(y, raw - step)).squeeze(1) / 2e-6
                size = law.values(y, raw).abs().squeeze(1)
            off = (slopes[:, i] - numeric).abs() / (1e-6 + 1e-5 * numeric.abs() + 1e-8 * size)
            assert off.max() < 1, (k, i, raw[off.argmax()].flatten())


@pytest.mark.parametrize("text", EVERY)
def test_grade_and_autograd_agree(text):
    law = law_of(text, shape=(3, 4, 4), levels=16)
    raw = torch.randn(
        2, law.outputs * 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    y = targets_for(law, raw)
    graded = law.grade(y, raw)
    values = law.values(y, raw)
    values.sum().backward()
    torch.testing.assert_close(graded.values, values.detach())
    torch.testing.assert_close(graded.slopes, raw.grad)
    assert len(graded.own) == len(law.parameters)
    for own, parameter in zip(graded.own, law.parameters.values(), strict=True):
        torch.testing.assert_close(own, parameter.grad)
    assert graded.values.shape == y.shape
    assert not graded.values.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(law.values(y, raw), graded.values)
        torch.testing.assert_close(law.log_prob(y, raw), -graded.values)


@pytest.mark.parametrize("text", EVERY)
def test_channels_come_after_outputs(text):
    law, single = law_of(text, shape=(3, 2, 2), levels=4), law_of(text, shape=(1, 2, 2), levels=4)
    # float64: in float32 the last bit of a sigmoid depends on its place in memory, and narrow laws multiply it
    raw = torch.randn(
        2, law.outputs * 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    y = targets_for(law, raw)
    graded = law.grade(y, raw)
    for c in range(3):
        alone = single.grade(y[:, c : c + 1], raw[:, c::3])
        # a narrow law makes much of the last bit of a sigmoid, which hangs on the place in the vector
        close = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(graded.values[:, c : c + 1], alone.values, **close)
        torch.testing.assert_close(graded.slopes[:, c::3], alone.slopes, **close)
        torch.testing.assert_close(law.picture(raw)[:, c : c + 1], single.picture(raw[:, c::3]))


@pytest.mark.parametrize(
    "text",
    [
        *EVERY, "gaussian(sigma=1e-12)", "gaussian(sigma=pixel, lowest=-30)", "student_t(scale=1e-12, nu=1e-3)",
        "student_t(lowest=-30, lowest_nu=-6, nu=pixel)", "discretised_gaussian(sigma=1e-12)",
        "discretised_logistic(lowest=-30)", "gaussian(sigma=1e12)", "discretised_gaussian(sigma=1e12)",
        "discretised_student_t(lowest=-30, lowest_nu=-6)", "discretised_student_t(nu=1000, scale=1e12)",
    ],
)  # fmt: skip
def test_extreme_outputs_stay_finite_in_float32(text):
    law = law_of(text, levels=16)
    raw = corners(law, torch.float32, [*VALUES, -200.0, 100.0, 1e-30])
    for k in (0, 7, 15):
        y = torch.full((raw.shape[0], 1, 1, 1), k / 15)
        for bound in (None, -1e3, 1e3) if law.parameters else (None,):
            for parameter in law.parameters.values():
                if bound is not None:
                    parameter.data.fill_(bound)
            graded = law.grade(y, raw)
            assert torch.isfinite(graded.values).all()
            assert torch.isfinite(graded.slopes).all()
            assert all(torch.isfinite(own).all() for own in graded.own)
            if law.n:
                assert (graded.values > -1e-4).all()
    shown, drawn, below = law.picture(raw), law.sample(raw, torch.Generator().manual_seed(0)), law.cdf(y, raw)
    assert ((shown >= 0) & (shown <= 1)).all()
    assert torch.isfinite(drawn).all()
    assert ((below >= 0) & (below <= 1)).all()


# means, samples, distribution functions


@pytest.mark.parametrize("text", [*ON_LEVELS, "categorical"])
def test_picture_is_the_mean_of_the_mass(text):
    law = law_of(text, levels=64)
    raw = corners(law, values=[-9.0, -3.0, -0.2, 0.0, 0.3, 0.51, 0.99, 2.5, 9.0])
    exact = (law.mass(raw) * torch.arange(64) / 63).sum(-1)
    half = 0.5 / 63 if "discretised" in text else 1e-9  # those show the mean before rounding
    assert (law.picture(raw) - exact).abs().max() <= half + 1e-9
    wide = (
        (law.heads(raw)["log_sigma"] > -3).expand_as(exact)
        if "gaussian" in text
        else torch.zeros(1, dtype=bool)
    )
    if "pixel" in text:  # a law much wider than a step: rounding leaves its mean
        assert (law.picture(raw) - exact).abs()[wide].max() < 1e-4


@pytest.mark.parametrize("text", EVERY)
def test_samples_follow_the_law(text):
    law = law_of(text, shape=(1, 40, 100), levels=16)
    gen = torch.Generator().manual_seed(0)
    raw = torch.randn(3, law.outputs, 1, 1, generator=gen, dtype=torch.float64).expand(
        3, law.outputs, 40, 100
    )
    drawn = law.sample(raw, torch.Generator().manual_seed(1))
    assert drawn.shape == (3, 1, 40, 100)
    again = law.sample(raw, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)
    upper = law.cdf(drawn, raw)
    mass = law.log_prob(drawn, raw).detach().exp() if law.n else 0.0
    # the randomised probability integral transform is uniform
    pit = upper - mass * torch.rand(drawn.shape, generator=gen, dtype=torch.float64)
    for image in pit:
        assert st.kstest(image.flatten().numpy(), "uniform").pvalue > 1e-4
    if not text.startswith(("student_t", "discretised")):
        spread = drawn.flatten(1).std(1) / math.sqrt(4000)
        off = (drawn.flatten(1).mean(1) - law.mean(raw).detach()[:, 0, 0, 0]).abs()
        assert (off < 5 * spread + 1e-9).all()
