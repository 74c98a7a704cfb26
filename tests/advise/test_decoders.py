"""Decoders among the candidates: where they are, where not and why, how their laws are fitted, what the lines do."""

from copy import copy

import numpy as np
import pytest
import torch
from scipy import stats

from lossproof.advise import GOALS
from lossproof.advise.advice import advise_facts
from lossproof.advise.candidates import Bench, gather_candidates, is_likelihood, lattice_of, measure_of
from lossproof.advise.decoders import decoder_law, not_for, why_not
from lossproof.advise.pilot_train import Arena
from lossproof.advise.ranking import rank
from lossproof.advise.snippets import Law, Recipe, snippets
from lossproof.advise.traits import Traits
from lossproof.catalogue import CATALOGUE
from lossproof.catalogue.decoders import DECODERS, find
from lossproof.data.facts_stream import gather
from lossproof.data.stream import open_stream
from lossproof.torch.decoders import criterion_for

FEW = ["bce", "mse", "discretised_logistic"]


@pytest.fixture(scope="module")
def digits():
    return gather(open_stream("digits"))


@pytest.fixture(scope="module")
def bench(digits):
    return Bench(digits)


def test_each_decoder_is_a_candidate_or_says_why_not(digits, bench):
    reasons = {name: why_not(decoder, digits, bench.measure) for name, decoder in DECODERS.items()}
    assert {name for name, reason in reasons.items() if not reason} == {
        "discretised_gaussian", "discretised_logistic", "discretised_student_t", "beta_binomial",
    }  # fmt: skip
    for name in ("gaussian", "student_t", "continuous_bernoulli_density"):
        assert "a density, whose nats do not compare" in reasons[name]
    assert "it needs 17 outputs a value" in reasons["categorical"]
    assert not why_not(DECODERS["categorical"], digits, bench.measure, named=True)


def test_decoders_of_bits_of_values_without_levels_and_beyond_the_unit():
    rng = np.random.default_rng(0)
    bits = gather(open_stream((rng.random((60, 6, 6)) < 0.4).astype(np.uint8)))
    assert "one number p says all" in why_not(DECODERS["beta_binomial"], bits, measure_of(bits))
    grey = gather(open_stream(rng.random((60, 6, 6))))
    assert "a mass on grey levels" in why_not(DECODERS["beta_binomial"], grey, measure_of(grey))
    assert not why_not(DECODERS["gaussian"], grey, measure_of(grey))
    loose = gather(open_stream(rng.normal(0.5, 0.4, (60, 6, 6)).clip(-1.1, 2.2)))
    assert not loose.unit
    assert "beyond [0, 1]" in why_not(DECODERS["gaussian"], loose, measure_of(loose))
    odd = gather(open_stream(rng.choice([0.0, 0.13, 1.0], (60, 6, 6))))
    assert "expected levels 0, 1/n" in why_not(DECODERS["beta_binomial"], odd, measure_of(odd))


def test_values_between_levels_give_no_law_but_a_reason(bench):
    moved = copy(bench)
    moved.y = bench.y + 0.3 / 16
    law = decoder_law(DECODERS["discretised_logistic"], moved)
    assert "values between levels" in law.reason
    assert law.nats == np.inf


def test_goals_of_pictures_leave_them_out_with_a_reason(digits):
    found = gather_candidates(digits, FEW)
    for name in ("reconstruct", "sample", "represent"):
        goal = GOALS[name]
        advice = advise_facts(digits, name, budget=0, judged=found, prove=False)
        left = {entry.label: entry.reason for entry in advice.excluded}
        inside = "discretised_logistic" in advice.ranking
        assert inside == goal.decoders == (name in ("sample", "represent"))
        if not inside:
            assert left["discretised_logistic"] == not_for(goal)
            assert "--goal sample" in not_for(goal)
    named = advise_facts(digits, "reconstruct", losses=FEW, budget=0, prove=False)
    assert "discretised_logistic" in named.ranking  # what is named is taken


def test_the_law_is_that_of_affine_heads(digits, bench):
    found = decoder_law(find("discretised_gaussian(sigma=shared)"), bench)
    assert (found.temperature, found.reason) == (1.0, "")
    # by hand: the best location a + b p and sigma on every other image, judged on the rest, without logit p's share
    y, p, step = bench.y, bench.p, 1 / 32

    def nats(rows, a, b, sigma):
        m = a + b * p[rows]
        high = np.where(y[rows] == 1, np.inf, (y[rows] + step - m) / sigma)
        low = np.where(y[rows] == 0, -np.inf, (y[rows] - step - m) / sigma)
        return -np.log(stats.norm.cdf(high) - stats.norm.cdf(low) + 1e-300)

    grid = [(a, b, s) for a in (-0.1, -0.05, 0) for b in (1.0, 1.1, 1.2) for s in (0.1, 0.15, 0.2, 0.3)]
    best = min(grid, key=lambda way: nats(slice(0, None, 2), *way).mean())
    judged = nats(slice(1, None, 2), *best).mean()
    assert judged - 0.2 < found.nats < judged + 0.02
    assert found.by_image.mean() == pytest.approx(found.nats)
    assert len(found.by_image) == len(y) // 2


def test_a_decoder_s_law_is_judged_on_other_images_than_it_was_fitted_to(digits):
    bench = Bench(digits)
    before = decoder_law(DECODERS["discretised_logistic"], bench)
    bench.y = bench.y.copy()
    bench.y[1::2] = np.random.default_rng(0).permutation(bench.y[1::2].ravel()).reshape(bench.y[1::2].shape)
    assert decoder_law(DECODERS["discretised_logistic"], bench).nats > before.nats + 1


def test_a_law_with_a_scale_of_its_own_wins_where_the_noise_grows_with_the_value():
    rng = np.random.default_rng(0)
    g = np.linspace(0, np.pi, 12)
    waves = np.stack([np.cos(i * g)[:, None] * np.cos(j * g) for i in range(3) for j in range(3) if i + j])
    x = np.tensordot(rng.standard_normal((600, 8)), waves, (1, 0))
    x = 0.5 + 0.3 * x / np.abs(x).max(axis=(1, 2), keepdims=True)
    y = np.rint(255 * np.clip(x + (0.01 + 0.15 * x) * rng.standard_normal(x.shape), 0, 1)).astype(np.uint8)
    facts = gather(open_stream(y))
    found, _ = gather_candidates(facts, ["mse", "mae", "discretised_gaussian(sigma=pixel)"])
    _, ranked = rank(found, facts, GOALS["sample"])
    assert ranked[0].candidate.decoder
    assert ranked[0].candidate.law.nats < ranked[1].candidate.law.nats - 0.02


def test_among_equals_a_loss_is_simpler_than_a_decoder(digits):
    mse, logistic = (gather_candidates(digits, [name])[0][0] for name in ("mse", "discretised_logistic"))
    assert mse.to_set < logistic.to_set
    assert (logistic.outputs, logistic.weight, logistic.floor) == (2, 1.0, None)
    shared = gather_candidates(digits, ["discretised_gaussian"])[0][0]
    assert shared.outputs == 1
    assert mse.to_set < shared.to_set


@pytest.mark.parametrize("name", ["discretised_gaussian", "discretised_logistic", "beta_binomial"])
def test_alive_means_a_slope_where_the_law_is_sure_and_wrong(name):
    assert Traits(DECODERS[name]).of("alive").answer == "holds"
    law = criterion_for(name, (1, 1, 1), levels=256)
    for y, direction in ((1.0, -1.0), (0.0, 1.0)):
        target = torch.full((1, 1, 1, 1), y, dtype=torch.float64)
        raw = torch.zeros(1, law.outputs, 1, 1, dtype=torch.float64)
        raw[0, 0] = 30 * direction  # as sure as can be, and wrong
        if law.outputs > 1 and name == "beta_binomial":
            raw[0, 1] = -30 * direction
        assert law.grade(target, raw).slopes.abs().max() > 0.1


def test_a_decoder_behind_a_sigmoid_is_not_called_alive():
    assert Traits(find("discretised_logistic(link=sigmoid)")).of("alive").answer == "unknown"
    assert Traits(DECODERS["beta_binomial"]).of("mean").answer == "unknown"
    assert is_likelihood(DECODERS["beta_binomial"], "levels")
    assert is_likelihood(CATALOGUE["mse"], "interval") is False


def test_advice_for_a_decoder_is_complete(digits):
    advice = advise_facts(digits, "sample", losses=FEW, budget=0, prove=False)
    assert advice.loss == "discretised_logistic"
    assert advice.activation.startswith("none: 2 outputs a value")
    assert (advice.beta, advice.temperature) == (1.0, 1.0)
    row = advice.table["discretised_logistic"]
    assert row["minimum"].text == ""
    assert row["likelihood"].text == "yes"
    assert float(row["law"].text) < float(advice.table["bce"]["law"].text)
    assert "bce" in advice.code["keras"]
    assert "torch only" in advice.code["jax"]
    advice.to_dict()


def test_the_torch_lines_of_a_decoder_run():
    torch.manual_seed(0)
    x = torch.randint(0, 17, (3, 1, 4, 4)) / 16
    raw = torch.randn(3, 2, 4, 4, requires_grad=True)
    mean, logvar = torch.randn(3, 2), torch.randn(3, 2)
    recipe = Recipe(
        "discretised_logistic", True, 1.0, law=Law((1, 4, 4), 17), instead=Recipe("bce", True, 0.2)
    )
    scope = {"decoder": lambda code: raw, "code": None, "x": x, "mean": mean, "logvar": logvar}
    code = snippets(recipe)
    exec(code["torch"], scope)
    law = criterion_for("discretised_logistic", (1, 4, 4), levels=17)
    kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum() / 3
    assert scope["objective"].item() == pytest.approx((-law.log_prob(x, raw).sum() / 3 + kl).item(), rel=1e-5)
    scope["objective"].backward()
    assert raw.grad.isfinite().all()
    assert 'ReconstructionLoss("bce")' in code["keras"]
    alone = snippets(Recipe("gaussian", True, None, law=Law((1, 4, 4), None)))
    assert alone["keras"] == "# gaussian is there for torch only"
    exec(
        alone["torch"].replace('"gaussian"', '"gaussian(sigma=0.1)"'),
        scope := {**scope, "decoder": lambda code: x},
    )
    assert scope["objective"].item() == pytest.approx(16 * (np.log(0.1) + 0.5 * np.log(2 * np.pi)), rel=1e-4)


def test_a_pilot_trains_losses_and_decoders_side_by_side(digits):
    found, _ = gather_candidates(digits, [*FEW, "discretised_gaussian"])
    from lossproof.advise.pilot import images_of

    images = images_of(digits)
    assert images.levels == lattice_of(digits) == 17
    arena = Arena(found, images, "vae", range(2))
    weights = {label: members[0].beta for label, members in arena.members.items()}
    assert weights["discretised_logistic"] == 1.0
    assert weights["bce"] == next(c.law.temperature for c in found if c.label == "bce")
    start = arena.members["bce"][0].model.state_dict()["encoder.0.weight"].clone()
    arena.lap()
    assert {m.epoch for members in arena.members.values() for m in members} == {1}
    assert not torch.equal(arena.members["bce"][0].model.state_dict()["encoder.0.weight"], start)
    arena.alive = ["bce", "discretised_logistic"]
    arena.lap()
    epochs = {label: members[0].epoch for label, members in arena.members.items()}
    assert epochs == {"bce": 2, "discretised_logistic": 2, "mse": 1, "discretised_gaussian": 1}
    assert arena.graded("bce") > 0
    assert arena.step_seconds("bce") > 0
