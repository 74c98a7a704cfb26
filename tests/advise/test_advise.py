"""Advice: known answers, the traits behind the order, what the sentences rest on, snippets that run."""

import ast
import json
import math
import types
from functools import cache

import numpy as np
import pytest
import torch

from lossproof.advise import GOALS, advise
from lossproof.advise.advice import advise_facts, heavy_tailed
from lossproof.advise.candidates import (
    Bench,
    Candidate,
    Law,
    gather_candidates,
    is_likelihood,
    measure_of,
    scale_parameter,
    variants,
)
from lossproof.advise.criteria import COLUMNS
from lossproof.advise.page import render, write
from lossproof.advise.ranking import distinct, needs, proportional, rank, same
from lossproof.advise.snippets import Recipe, snippets
from lossproof.advise.traits import Traits
from lossproof.catalogue import CATALOGUE, resolve
from lossproof.data.facts_stream import gather
from lossproof.data.stream import open_stream
from lossproof.formula import Loss, LossproofError
from lossproof.likelihood import Levels, likelihood
from lossproof.lower import function
from lossproof.prove import REQUIREMENTS
from lossproof.torch import ReconstructionLoss

FEW = ["bce", "mse", "mae"]


def smooth(count: int = 400, side: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    g = np.linspace(0, np.pi, side)
    waves = np.stack([np.cos(i * g)[:, None] * np.cos(j * g) for i in range(3) for j in range(3) if i + j])
    x = np.tensordot(rng.standard_normal((count, 8)), waves, (1, 0))
    return 0.5 + 0.3 * x / np.abs(x).max(axis=(1, 2), keepdims=True)


def drawn(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    x = smooth()
    if kind == "bits":
        return (rng.random(x.shape) < x).astype(np.uint8)
    noise = {
        "gauss": lambda: 0.06 * rng.standard_normal(x.shape),
        "laplace": lambda: rng.laplace(0, 0.05, x.shape),
        "tails": lambda: 0.02 * rng.standard_t(1.5, x.shape),
    }[kind]()
    return np.rint(255 * np.clip(x + noise, 0, 1)).astype(np.uint8)


@cache
def known(kind: str):
    facts = gather(open_stream(drawn(kind)))
    return facts, gather_candidates(facts, FEW)


@pytest.fixture(scope="module")
def digits():
    return gather(open_stream("digits"))


@pytest.fixture(scope="module")
def judged(digits):
    return gather_candidates(digits, FEW)


@pytest.mark.parametrize(
    ("kind", "loss"), [("bits", "bce"), ("gauss", "mse"), ("laplace", "mae"), ("tails", "mae")]
)
@pytest.mark.parametrize("goal", ["denoise", "sample"])
def test_the_law_that_the_pixels_were_drawn_from_is_advised(kind, loss, goal):
    facts, found = known(kind)
    advice = advise_facts(facts, goal, budget=0, judged=found)
    assert advice.loss == loss
    assert facts.noisy == (kind != "bits")
    assert heavy_tailed(rank(found[0], facts, GOALS[goal])[1], facts) == (kind in ("laplace", "tails"))


def test_data_beyond_the_unit_interval_get_a_linear_output_or_the_line_that_mends_them():
    rng = np.random.default_rng(0)
    x = smooth()
    loose = advise(
        (x * 0.9 + 0.1 * rng.standard_normal(x.shape)).astype(np.float32), "denoise", losses=FEW, budget=0
    )
    assert loose.loss == "mse"
    assert loose.activation.startswith("none")
    assert "from_logits=False" in loose.code["torch"]
    assert [entry.label for entry in loose.excluded] == ["bce"]
    bytes_ = rng.integers(0, 256, (100, 8, 8))
    scored = advise(((bytes_ / 255 - 0.1307) / 0.3081).astype(np.float32), losses=FEW, budget=0)
    assert scored.activation.startswith("sigmoid")
    assert "x = (x * 0.3081 + 0.1307).clip(0, 1)" in scored.code["torch"]
    assert any("MNIST" in text for text in scored.warnings)


def test_the_order_follows_the_certificates_not_the_names(digits):
    stranger = Loss(id="mine", title="", formula="(y - p)**2")
    found, _ = gather_candidates(digits, ["bce", stranger])
    _, ranked = rank(found, digits, GOALS["reconstruct"])
    assert [entry.candidate.label for entry in ranked] == ["bce", "mine"]
    assert ranked[1].met == ("unknown", "unknown")
    # a formula of BCE under another name has no certificate either: unknown is no yes
    other = Loss(id="other", title="", formula=CATALOGUE["bce"].formula)
    assert Traits(other).of("mean").answer == "unknown"
    assert Traits(CATALOGUE["bce"]).of("mean").answer == "holds"


def test_what_the_facts_ask_for_are_requirements_that_certificates_answer(digits):
    for goal in GOALS.values():
        for need in needs(digits, goal):
            assert need.requirement in REQUIREMENTS
    assert [need.requirement for need in needs(digits, GOALS["reconstruct"])] == ["mean", "alive"]
    assert [need.requirement for need in needs(digits, GOALS["sample"])] == ["alive"]


def test_the_law_is_fitted_and_judged_as_by_hand():
    rng = np.random.default_rng(0)
    x = smooth(600)
    facts = gather(open_stream((x + 0.05 * rng.standard_normal(x.shape)).astype(np.float64) * 0.5 + 0.25))
    bench = Bench(facts)
    law = bench.law(resolve("mse"))
    sigma2 = np.mean((bench.y - bench.p)[::2] ** 2)
    residual = (bench.y - bench.p)[1::2]
    nats = 0.5 * np.log(2 * np.pi * sigma2) + residual**2 / (2 * sigma2)
    assert measure_of(facts) == "interval"  # far from both ends it is the line's law
    assert law.temperature == pytest.approx(2 * sigma2, rel=1e-3)
    assert law.nats == pytest.approx(nats.mean(), abs=1e-3)
    assert np.allclose(law.by_image, nats.mean(axis=1), atol=1e-3)
    assert law.deviation == pytest.approx(np.sqrt(sigma2), rel=1e-2)


def test_scales_are_found_by_trying_them():
    found = {name: scale_parameter(loss) for name, loss in CATALOGUE.items() if loss.params}
    assert found["huber"] == found["charbonnier"] == "delta"
    assert found["barron"] == "c"
    assert found["logcosh"] == "a"
    assert all(
        found[name] is None for name in found if name not in ("huber", "charbonnier", "barron", "logcosh")
    )


def test_variants_bend_at_the_size_of_the_residuals(digits):
    bench = Bench(digits)
    sizes = {loss.values["delta"] for loss in variants(CATALOGUE["huber"], bench)} - {1.0}
    assert min(sizes) < bench.middle < max(sizes)
    steep = {loss.values["a"] for loss in variants(CATALOGUE["logcosh"], bench)} - {1.0}
    assert min(steep) < 1 / bench.middle < max(steep)
    assert variants(CATALOGUE["mse"], bench) == [CATALOGUE["mse"]]
    assert {loss.values["alpha"] for loss in variants(CATALOGUE["barron"], bench)} == {0.0, 1.0, 2.0}


def test_which_losses_are_likelihoods_as_they_are():
    two = {
        name
        for name, loss in CATALOGUE.items()
        if loss.minimum == "target" and is_likelihood(loss, Levels(2))
    }
    assert two == {"bce"}
    assert is_likelihood(CATALOGUE["continuous_bernoulli"], "interval")
    assert not is_likelihood(CATALOGUE["mse"], "line")


def test_a_likelihood_whose_mode_is_elsewhere_serves_sampling_alone():
    facts = gather(open_stream(np.random.default_rng(0).random((60, 6, 6))))
    both, left = gather_candidates(facts, ["continuous_bernoulli", "mse"])
    assert not left
    assert rank(both, facts, GOALS["reconstruct"])[1][0].candidate.label == "mse"
    assert "continuous_bernoulli" in [e.candidate.label for e in rank(both, facts, GOALS["sample"])[1]]


def test_losses_without_a_minimum_at_the_target_are_left_out_with_the_reason(digits):
    kept, left = gather_candidates(digits, ["bce", "focal", "weighted_bce"])
    assert [c.label for c in kept] == ["bce"]
    assert {entry.label for entry in left} == {"focal", "weighted_bce"}
    assert all("minimum is not at p = y" in entry.reason for entry in left)


def test_floors_are_sums_over_all_values(digits):
    (bce,) = gather_candidates(digits, ["bce"])[0]
    x = digits.sample.astype(float)
    assert len(x) == digits.count
    assert bce.floor == pytest.approx(float(function("bce").floor(x).sum()) / len(x), rel=1e-5)


def law(nats: float, spread: float = 0.0) -> Law:
    by_image = nats + spread * np.array([1.0, -1.0, 2.0, -2.0])
    return Law(1.0, nats, by_image, 0.1)


def test_laws_that_fit_alike():
    assert same(law(1.0).by_image, law(1.004).by_image)
    assert not same(law(1.0).by_image, law(1.2).by_image)
    assert same(law(1.0).by_image, law(1.2, spread=0.3).by_image)
    assert not same(np.empty(0), np.empty(0))


def test_a_loss_that_is_another_times_a_constant_is_tried_once(digits):
    found, _ = gather_candidates(digits, ["mae", "pinball", "mse"])
    _, ranked = rank(found, digits, GOALS["denoise"])
    assert {c.label for c in distinct(ranked)} == {"mae", "mse"}


def test_the_simpler_has_fewer_parameters_then_a_shorter_formula():
    order = sorted(
        (Candidate(CATALOGUE[name], law(1.0), None) for name in ("huber", "bce", "mse")),
        key=lambda c: c.simplicity,
    )
    assert [c.label for c in order] == ["mse", "bce", "huber"]


def test_every_criterion_has_a_cell_with_a_source(digits, judged):
    advice = advise_facts(digits, "reconstruct", budget=0, judged=judged)
    assert list(advice.table) == list(advice.ranking)
    for row in advice.table.values():
        assert list(row) == [column.key for column in COLUMNS]
    bce, mse = advice.table["bce"], advice.table["mse"]
    assert (bce["alive"].text, mse["alive"].text) == ("alive", "plateau")
    assert bce["minimum"].source == "certificates/bce.json"
    assert bce["floor"].value == pytest.approx(13.66, abs=0.01)
    assert bce["slope"].text == "unbounded"
    assert mse["slope"].value == pytest.approx(2.0)
    assert mse["outliers"].value == pytest.approx(10.0, rel=1e-6)
    assert advice.table["mae"]["outliers"].value == pytest.approx(1.0)
    (law,) = (c.law for c in judged[0] if c.label == "mse")
    plain = likelihood("mse", 1.0, Levels(17), "excess").variance(float(np.mean(Bench(digits).p)))
    assert law.deviation_at_one**2 == pytest.approx(float(plain))
    kept = [int((digits.spectrum.values > v).sum()) for v in (law.deviation**2, float(plain))]
    assert mse["active"].text == f"{kept[0]} of 64 ({kept[1]})"


def test_reasons_changes_and_warnings_say_what_they_rest_on(digits, judged):
    advice = advise_facts(digits, "reconstruct", budget=0, judged=judged)
    assert any("certificates/bce.json" in text for text in advice.reasons)
    assert any("58 % of the values are 0 or 1" in text for text in advice.reasons)
    assert any("A pilot" in text for text in advice.changes)
    assert any("a perfect copy still costs 13.66 nats" in text for text in advice.warnings)
    assert advice.floors == {"bce": pytest.approx(13.66, abs=0.01), "mse": 0, "mae": 0}
    vae = advise_facts(digits, "sample", budget=0, judged=judged)
    assert vae.beta == vae.temperature
    assert any("KL weight" in text for text in vae.warnings)


def test_a_pilot_that_was_too_short_leaves_the_facts_in_charge(digits, judged):
    advice = advise_facts(digits, "reconstruct", laps=1, seeds=2, judged=judged)
    assert advice.pilot is not None
    assert not advice.pilot.conclusive
    assert advice.loss == "bce"
    assert any("too short to tell" in text for text in advice.reasons)


def test_the_advice_is_plain_json(digits, judged):
    advice = advise_facts(digits, "sample", laps=1, seeds=2, judged=judged)
    back = json.loads(json.dumps(advice.to_dict(), allow_nan=False))
    assert back["schema"] == "lossproof advice 1"
    assert back["loss"] == advice.loss
    assert back["facts"]["images"] == 1797
    assert len(back["pilot"]["rows"]) == 3


def test_the_page_holds_the_answer_and_fetches_nothing(digits, judged, tmp_path):
    advice = advise_facts(digits, "reconstruct", laps=1, seeds=2, judged=judged)
    text = write(advice, tmp_path / "a.html").read_text(encoding="utf-8")
    assert f"Train with <code>{advice.loss}</code>" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    for label in advice.ranking:
        assert label in text
    with pytest.raises(LossproofError, match="expected a file that can be written"):
        write(advice, tmp_path / "nowhere" / "a.html")


def test_names_in_the_page_cannot_become_markup(digits, judged):
    from dataclasses import replace

    bad = replace(digits, name="<img src=x>", notes=("<b>bold</b>",))
    text = render(advise_facts(bad, "reconstruct", budget=0, judged=judged))
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text
    assert "<b>bold" not in text


def test_the_torch_lines_run_and_mean_what_they_say():
    torch.manual_seed(0)
    x, z = torch.rand(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    mean, logvar = torch.randn(3, 2), torch.randn(3, 2)
    scope = {"decoder": lambda code: z, "code": None, "x": x, "mean": mean, "logvar": logvar}
    exec(snippets(Recipe("bce", True, 0.25))["torch"], scope)
    kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum() / 3
    bce = torch.nn.functional.binary_cross_entropy_with_logits(z, x, reduction="sum") / 3
    assert scope["objective"].item() == pytest.approx((bce + 0.25 * kl).item(), rel=1e-6)
    exec(snippets(Recipe("mse", False, None, "x = x / 2"))["torch"], scope := {**scope, "x": x})
    assert scope["objective"].item() == pytest.approx(((z - x / 2) ** 2).sum().item() / 3, rel=1e-6)
    assert isinstance(scope["loss"], ReconstructionLoss)


@pytest.mark.parametrize("beta", [None, 0.25])
def test_the_keras_lines_train_a_model(beta):
    keras = pytest.importorskip("keras")
    x = np.random.default_rng(0).random((8, 4, 4, 1)).astype(np.float32)
    lines = snippets(Recipe("bce", True, beta, "x = x / 2"))["keras"].splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("x = "))
    scope: dict = {"x": x}
    exec("\n".join(lines[:at]), scope)  # the lines above the model
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(image)
    mean, logvar = keras.layers.Dense(2)(flat), keras.layers.Dense(2)(flat)
    code = mean if beta is None else scope["Sampling"]()(mean, logvar)
    logits = keras.layers.Reshape((4, 4, 1))(keras.layers.Dense(16)(code))
    scope["model"] = model = keras.Model(image, logits)
    scope["decoder"] = scope["code"] = None
    exec("\n".join(lines[at:]), scope)  # and those below
    assert np.array_equal(scope["x"], x / 2)
    found = model.evaluate(scope["x"], scope["x"], batch_size=8, verbose=0)
    plain = lambda tensor: np.asarray(tensor.detach().tolist())  # noqa: E731 - Keras' own way warns
    m, v = map(plain, keras.Model(image, [mean, logvar])(x / 2))
    kl = 0.5 * (m**2 + np.exp(v) - 1 - v).sum(axis=1).mean()
    z = plain(model(x / 2))
    bce = float(function("bce").value_logits(x / 2, z).sum()) / 8
    if beta is None:
        assert found == pytest.approx(bce, rel=1e-4)
    else:  # the code is drawn, so that the loss varies; the KL does not
        assert float(plain(sum(model.losses))) == pytest.approx(beta * kl, rel=1e-4)
        assert found == pytest.approx(bce + beta * kl, rel=0.3)
    model.fit(scope["x"], scope["x"], epochs=1, verbose=0)


def test_the_keras_and_jax_lines_are_python_and_name_what_there_is():
    from lossproof import jax as ours

    for beta in (None, 0.5):
        code = snippets(Recipe("huber(delta=0.1)", True, beta))
        for text in code.values():
            ast.parse(text)
        assert 'ReconstructionLoss("huber(delta=0.1)")' in code["keras"]
        scope: dict = {"decoder": lambda params, code: code}
        exec(code["jax"], scope)
        assert isinstance(scope["objective"], types.FunctionType)
        x = np.full((2, 3), 0.5, np.float32)
        z = np.zeros((2, 3), np.float32)
        rest = () if beta is None else (np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32))
        assert math.isclose(float(scope["objective"](None, z, *rest, x)), 0.0, abs_tol=1e-6)
    assert ours.reconstruction_loss


def test_a_parameter_fitted_to_the_data_is_certified_on_the_spot(digits):
    fitted = ["mse", "huber(delta=0.022)"]
    without = advise_facts(digits, "reconstruct", losses=fitted, budget=0, prove=False).table[fitted[1]]
    assert {without[key].text for key in ("minimum", "functional", "alive", "slope")} == {"not shown"}
    told: list[tuple[str, float]] = []
    advice = advise_facts(
        digits,
        "reconstruct",
        losses=fitted,
        budget=0,
        progress=lambda stage, share: told.append((stage, share)),
    )
    row = advice.table[fitted[1]]
    cells = [row[key].text for key in ("minimum", "functional", "alive", "convex", "slope")]
    assert cells == ["yes", "M-estimate", "plateau", "no", "0.022"]
    assert row["minimum"].source == "lossproof certify 'huber(delta=0.022)'"
    assert ("certificates", 1.0) in told
    # not at the default value either, whose certificate says "mean" on [0, 1]
    assert Traits(resolve("huber")).functional() == "mean"


def test_functionals_have_plain_names():
    assert Traits(CATALOGUE["hellinger"]).functional() == "neither mean nor median"
    assert Traits(CATALOGUE["mae"]).functional() == "median"
    assert Traits(CATALOGUE["logcosh"]).functional() == "M-estimate"
    assert Traits(resolve("logcosh(a=3)")).functional() == ""


def test_a_tie_goes_to_what_has_least_to_set_and_then_to_what_the_facts_ask_for(digits):
    found, _ = gather_candidates(digits, ["mse", "bce", "huber(delta=0.1)"])
    _, ranked = rank(found, digits, GOALS["reconstruct"])
    order = [entry.candidate.label for entry in sorted(ranked, key=lambda entry: entry.preference)]
    assert order == [
        "bce",
        "mse",
        "huber(delta=0.1)",
    ]  # half of the values are 0 or 1, where mse has a plateau


def test_losses_are_the_same_up_to_a_constant_by_their_formulas_not_their_fit():
    # on 0 and 1 these three are one law, and train in three ways
    assert not proportional(CATALOGUE["mse"], CATALOGUE["mae"])
    assert not proportional(CATALOGUE["mse"], CATALOGUE["bce"])
    assert proportional(CATALOGUE["mse"], Loss(id="twice", title="", formula="2*(y - p)**2 + y"))


def test_wrong_options_say_what_there_is():
    with pytest.raises(
        LossproofError, match="expected one of reconstruct, sample, denoise, anomaly, represent, got 'draw'"
    ):
        advise("digits", "draw")
    with pytest.raises(LossproofError, match="budget: expected seconds, at least 0, got -1"):
        advise("digits", budget=-1)
    with pytest.raises(
        LossproofError, match="expected at least one loss that is legal on the data, got none: focal"
    ):
        advise("digits", losses=["focal"], budget=0)
