"""Decoders' laws: the traps of published code, what is learned beside the model, and wrong inputs."""

import math

import numpy as np
import pytest
import scipy.stats as st
import torch

from lossproof.catalogue.decoders import DECODERS
from lossproof.formula import LossproofError
from lossproof.likelihood import Levels
from lossproof.torch.decoders import LAWS, criterion_for
from lossproof.torch.decoders.special import log1mexp

ONE = (1, 1, 1)


def law_of(text, shape=ONE, levels=256):
    return criterion_for(text, shape, levels)


def column(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, len(values), 1, 1)


# traps in published code


def test_tails_belong_to_the_first_and_last_level():
    """Without them (IAF's and VampPrior's code) the mass does not sum to 1."""
    law = law_of("discretised_logistic(lowest=-30)")
    m, s = 0.02, 0.05
    raw = column(m, math.log(s) - law.decoder.heads[1].initial)
    k = np.arange(256)
    without = st.logistic.sf((k - 0.5) / 255, m, s) - st.logistic.sf((k + 0.5) / 255, m, s)
    assert without.sum() < 0.65
    found = law.mass(raw).flatten().numpy()
    assert found.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found[1:-1], without[1:-1], rtol=1e-8)


@pytest.mark.parametrize("logit", [-1e3, -100.0, -50.0, -20.0, 20.0, 100.0])
def test_normaliser_of_the_continuous_bernoulli_follows_the_logit(logit):
    """torch clamps its probs: total mass 0.80 at -20, 0.16 at -100 (pytorch issue 72525)."""
    law = law_of("continuous_bernoulli_density")
    t = torch.linspace(-60, math.log(0.5), 40001, dtype=torch.float64)
    y = torch.exp(t)
    total = 0.0
    for side in (y, 1 - y):
        raw = torch.full((1, 1, t.numel(), 1), logit, dtype=torch.float64)
        density = law.log_prob(side.reshape(1, 1, -1, 1), raw).flatten().exp()
        total += torch.trapezoid(density * y, t).item()
    assert total == pytest.approx(1, abs=1e-4)


def test_the_clip_bounds_what_a_decoder_can_reach():
    clipped, free = law_of("continuous_bernoulli_density(clip=1e-4)"), law_of("continuous_bernoulli_density")
    raw, y = column(-1e3), column(0.0)
    ceiling = math.log(2 * math.atanh(1 - 2e-4) / (1 - 2e-4)) + math.log1p(-1e-4)
    assert clipped.log_prob(y, raw).item() == pytest.approx(ceiling, rel=1e-9)
    assert clipped.grade(y, raw).slopes.item() == 0
    assert free.log_prob(y, raw).item() == pytest.approx(math.log(1e3), rel=1e-9)
    inside = column(-9.0)
    assert clipped.log_prob(y, inside).item() == free.log_prob(y, inside).item()
    assert clipped.grade(y, inside).slopes.item() == free.grade(y, inside).slopes.item() != 0


def test_the_best_shared_sigma_is_the_root_of_the_mean_squared_error():
    """Not the mean squared error itself, as an equation of the sigma-VAE paper has it."""
    law = law_of("gaussian(lowest=-30)", shape=(1, 8, 8))
    gen = torch.Generator().manual_seed(0)
    raw, y = torch.randn(4, 1, 8, 8, generator=gen) * 0.1, torch.rand(4, 1, 8, 8, generator=gen)
    mse = ((y - raw) ** 2).mean()
    law.parameters["log_sigma"].data.fill_(0.5 * mse.log().item())
    assert law.grade(y, raw).own[0].item() == pytest.approx(0, abs=1e-2)
    law.parameters["log_sigma"].data.fill_(mse.log().item())
    assert abs(law.grade(y, raw).own[0].item()) > 100


def test_an_inner_level_has_at_most_the_mass_of_a_binomial():
    """Level 128 of a beta-binomial costs 4.32 bits at least."""
    law = law_of("beta_binomial")
    bound = -st.binom(255, 128 / 255).logpmf(128) / math.log(2)
    assert bound == pytest.approx(4.32, abs=0.01)
    axis = torch.linspace(-3, 25, 300, dtype=torch.float64)
    for offset in torch.linspace(-0.2, 0.2, 21, dtype=torch.float64):
        raw = torch.stack((axis + offset, axis), 1)[:, :, None, None]
        bits = law.values(torch.full((300, 1, 1, 1), 128 / 255, dtype=torch.float64), raw) / math.log(2)
        assert bits.min() > bound - 1e-6
    at = column(25 + math.log(128 / 127), 25.0)
    assert law.values(column(128 / 255), at).item() / math.log(2) == pytest.approx(bound, abs=1e-6)


@pytest.mark.parametrize("size", [15.0, 25.0, 29.9, 30.1, 60.0, 900.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_log_gamma_cancels_at_large_alpha_and_beta(size, dtype):
    law = law_of("beta_binomial")
    raw = torch.tensor([[size + 1.0, size]], dtype=dtype)[:, :, None, None]
    share = 1 / (1 + math.exp(-1.0))
    for k in (0, 3, 186, 255):
        found = law.values(torch.full((1, 1, 1, 1), k / 255, dtype=dtype), raw).item()
        expected = (
            -st.betabinom(255, math.exp(15) * math.e, math.exp(15)).logpmf(k)
            if size == 15
            else -st.binom(255, share).logpmf(k)
        )
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_one_minus_exp_keeps_its_digits():
    import mpmath

    with mpmath.workdps(40):
        for size in (1e-300, 1e-9, 9.9e-4, 1.1e-3, 0.7, 40.0):
            d = torch.tensor(size, dtype=torch.float64)
            expected = float(mpmath.log(-mpmath.expm1(-mpmath.mpf(size))))
            assert log1mexp(d, d.log()).item() == pytest.approx(expected, rel=1e-13, abs=1e-17)


@pytest.mark.parametrize("law", [st.norm, st.logistic], ids=["gaussian", "logistic"])
def test_the_mean_is_that_of_the_law_kept_inside(law):
    """The integral of 1 - F over [0, 1]; by quadrature, for scales from narrow to endless."""
    name, scale = ("discretised_gaussian", "sigma") if law is st.norm else ("discretised_logistic", "scale")
    for m, s in [
        (0.3, 0.01),
        (-0.2, 0.3),
        (0.9, 2.0),
        (1.5, 9.9),
        (1.5, 10.1),
        (-40.0, 60.0),
        (0.5, 1e6),
        (3.0, 0.064),
    ]:
        found = law_of(f"{name}({scale}={s!r})").mean(column(m)).item()
        edges = np.linspace(0, 1, 200001)
        expected = np.trapezoid(law.sf(edges, m, s), edges)
        assert found == pytest.approx(expected, rel=2e-6, abs=1e-9)


# declarations and guards


def test_every_declaration_has_a_law_and_its_unit():
    assert set(LAWS) == set(DECODERS)
    units = {
        "levels": "nats of mass",
        "interval": "nats of density on [0, 1]",
        "line": "nats of density on the real line",
    }
    for name, decoder in DECODERS.items():
        law = criterion_for(decoder, (1, 4, 4), 8)
        assert law.unit == units[decoder.measure]
        assert law.label == name
        assert law.outputs == decoder.outputs(8)
        shared = {h.name: h.initial for h in decoder.heads if decoder.place(h) == "shared"}
        assert {n: p.item() for n, p in law.parameters.items()} == pytest.approx(shared)
        assert all(
            p.requires_grad and p.is_leaf and p.dtype == torch.float32 for p in law.parameters.values()
        )


def test_an_output_of_zero_gives_the_initial_heads():
    law = law_of("student_t(nu=pixel, lowest=-30, lowest_nu=-6)")
    found = law.heads(torch.zeros(1, 3, 1, 1))
    assert {n: round(v.item(), 2) for n, v in found.items()} == {h.name: h.initial for h in law.decoder.heads}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_scales_are_bounded_softly_from_below(sign):
    law = law_of("gaussian(sigma=pixel, lowest=-6)")
    found = law.heads(column(0.0, sign * 100.0))["log_sigma"].item()
    assert found == pytest.approx(-6 if sign < 0 else 100 - 1.2)


def test_wrong_levels_and_targets_say_what_to_do():
    with pytest.raises(
        LossproofError, match="beta_binomial: expected the data's levels, got none.*give 256 for bytes"
    ):
        criterion_for("beta_binomial", ONE)
    with pytest.raises(LossproofError, match="expected levels, got the interval"):
        criterion_for("categorical", ONE, "interval")
    with pytest.raises(
        LossproofError,
        match="discretised_logistic: expected levels 0, 1/n, ..., 1 in equal steps, got 3 levels",
    ):
        criterion_for("discretised_logistic", ONE, Levels.of([0, 0.1, 1]))
    for text in ("beta_binomial", "categorical"):
        law = law_of(text, levels=2)
        raw = torch.zeros(1, law.outputs, 1, 1)
        with pytest.raises(
            LossproofError, match=rf"{text}: expected targets on 2 grey levels k/1, got 1 of 1 .* first 0.3"
        ):
            law.values(torch.full((1, 1, 1, 1), 0.3), raw)
        with pytest.raises(LossproofError, match=r"Divide by 255\?"):
            law.cdf(torch.full((1, 1, 1, 1), 255.0), raw)
        with pytest.raises(LossproofError, match="got 1 of 2"):
            law.values(torch.tensor([[[[math.nan, 1.0]]]]), torch.zeros(1, law.outputs, 1, 2))
    with pytest.raises(
        LossproofError,
        match=r"expected target in \[0, 1\], got 1 of 1 values outside, first 12 at \[0, 0, 0, 0\] \(shape \(1, 1, 1, 1\), float32\). Divide by 255",
    ):
        law_of("continuous_bernoulli_density").values(torch.full((1, 1, 1, 1), 12.0), torch.zeros(1, 1, 1, 1))


def test_wrong_outputs_and_names_say_what_to_do():
    law = law_of("beta_binomial", shape=(3, 4, 4))
    with pytest.raises(
        LossproofError,
        match=r"expected an output of shape \(n, 6, h, w\), 2 for each of 3 channels, got \(1, 3, 4, 4\)",
    ):
        law.grade(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(LossproofError, match="decoder: expected one of gaussian, .* got mse"):
        criterion_for("mse", ONE)
    with pytest.raises(LossproofError, match="expected a law on levels, got one on the real line"):
        law_of("gaussian").mass(torch.zeros(1, 1, 1, 1))


def test_the_learned_parameters_learn():
    """Sigma and nu, beside a fixed prediction, come to those of the data."""
    law = law_of("student_t(scale=shared)", shape=(1, 40, 40))
    rng = np.random.default_rng(0)
    y = torch.as_tensor(st.t(3, 0.5, 0.1).rvs((4, 1, 40, 40), rng)).float()
    raw = torch.full((4, 1, 40, 40), 0.5)
    optimiser = torch.optim.Adam(law.parameters.values(), lr=0.1)
    for _ in range(60):
        for parameter, own in zip(law.parameters.values(), law.grade(y, raw).own, strict=True):
            parameter.grad = own / y.numel()
        optimiser.step()
    heads = law.heads(raw)
    assert heads["log_scale"].exp().item() == pytest.approx(0.1, rel=0.05)
    assert heads["log_nu"].exp().item() == pytest.approx(3, rel=0.25)
