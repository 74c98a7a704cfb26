"""Every loss of the catalogue: an independent reference, the oracle, its declared minimum, its sources."""

import re

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special as sp
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F

from lossproof.catalogue import CATALOGUE
from lossproof.lower import function, oracle
from lossproof.lower.search import least_value

IDS = sorted(CATALOGUE)
POINTS = [(y, p) for y in (0.0, 0.1, 0.5, 0.9, 1.0) for p in (0.001, 0.2, 0.5, 0.77, 0.999)]
Y, P = (np.array(c) for c in zip(*POINTS, strict=True))
TY, TP = torch.tensor(Y), torch.tensor(P)
R = Y - P


def jensen_shannon(y, p):
    return np.array(
        [scipy.spatial.distance.jensenshannon([a, 1 - a], [b, 1 - b]) ** 2 for a, b in zip(y, p, strict=True)]
    )


def each(metric):
    return np.array([metric([a], [b]) for a, b in zip(Y, P, strict=True)])


# loss, parameters -> values by code that we did not write
REFERENCES = {
    ("bce", ()): F.binary_cross_entropy(TP, TY, reduction="none").numpy(),
    ("mse", ()): F.mse_loss(TP, TY, reduction="none").numpy(),
    ("mae", ()): F.l1_loss(TP, TY, reduction="none").numpy(),
    ("logcosh", (("a", 1.0),)): np.log(np.cosh(R)),
    ("logcosh", (("a", 10.0),)): np.log(np.cosh(10 * R)) / 10,
    ("huber", (("delta", 1.0),)): F.huber_loss(TP, TY, reduction="none").numpy(),
    ("huber", (("delta", 0.1),)): sp.huber(0.1, R),
    ("charbonnier", (("delta", 0.1),)): sp.pseudo_huber(0.1, R),
    ("pinball", (("tau", 0.3),)): each(lambda y, p: sklearn.metrics.mean_pinball_loss(y, p, alpha=0.3)),
    ("poisson", ()): sp.kl_div(Y, P),
    ("hellinger", ()): 1 - np.sqrt(Y * P) - np.sqrt((1 - Y) * (1 - P)),
    ("jensen_shannon", ()): jensen_shannon(Y, P),
    ("msle", ()): each(sklearn.metrics.mean_squared_log_error),
    ("barron", (("alpha", 2.0), ("c", 0.5))): (R / 0.5) ** 2 / 2,
    ("barron", (("alpha", 1.0), ("c", 0.5))): sp.pseudo_huber(1.0, R / 0.5),
    ("barron", (("alpha", 0.0), ("c", 0.5))):
        scipy.stats.t.logpdf(0, 1) - scipy.stats.t.logpdf(R / 0.5 / np.sqrt(2), 1),  # Cauchy of scale sqrt(2) c
    ("barron", (("alpha", -2.0), ("c", 0.5))): 2 * (R / 0.5) ** 2 / ((R / 0.5) ** 2 + 4),  # Geman-McClure
    ("continuous_bernoulli", ()): -torch.distributions.ContinuousBernoulli(probs=TP).log_prob(TY).numpy(),
    ("focal", (("gamma", 0.0),)): F.binary_cross_entropy(TP, TY, reduction="none").numpy(),
    ("weighted_bce", (("pos_weight", 3.0),)): F.binary_cross_entropy_with_logits(
        torch.logit(TP), TY, pos_weight=torch.tensor(3.0), reduction="none").numpy(),
    ("smoothed_bce", (("eps", 0.1),)): F.cross_entropy(
        torch.stack([torch.log1p(-TP), torch.log(TP)], 1), torch.stack([1 - TY, TY], 1), label_smoothing=0.1,
        reduction="none").numpy(),
}  # fmt: skip


def test_every_loss_has_a_reference_that_we_did_not_write():
    assert {name for name, _ in REFERENCES} == set(CATALOGUE)


@pytest.mark.parametrize(("name", "params"), REFERENCES, ids=lambda v: str(v))
def test_value_agrees_with_the_reference(name, params):
    loss = function(name, **dict(params))
    # torch's continuous Bernoulli switches to a Taylor series near 1/2, good to 1e-8 or so
    tolerance = 1e-7 if name == "continuous_bernoulli" else 1e-12
    np.testing.assert_allclose(loss.value(Y, P), REFERENCES[name, params], rtol=tolerance, atol=tolerance)
    logits = np.log(P) - np.log1p(-P)
    np.testing.assert_allclose(
        loss.value_logits(Y, logits), REFERENCES[name, params], rtol=tolerance, atol=tolerance
    )


def test_focal_on_hard_labels_is_bce_times_the_focusing_factor():
    hard = (Y == 0) | (Y == 1)
    bce = F.binary_cross_entropy(TP, TY, reduction="none").numpy()
    factor = np.where(Y == 1, 1 - P, P) ** 2.0
    np.testing.assert_allclose(function("focal").value(Y, P)[hard], (factor * bce)[hard], rtol=1e-12)


@pytest.mark.parametrize("name", IDS)
def test_value_and_gradients_agree_with_the_oracle(name):
    loss = function(name)
    for y, p in POINTS:
        z = float(np.log(p) - np.log1p(-p))
        assert loss.value(y, p) == pytest.approx(
            float(oracle.loss_at(loss.definition, y, p)), rel=1e-11, abs=1e-14
        )
        if p != 0.5 or name != "continuous_bernoulli":  # there the formula is patched: no difference quotient
            slope = float(oracle.slope_at(loss.definition, y, p))
            assert loss.gradient(y, p) == pytest.approx(slope, rel=1e-9, abs=1e-13)
        assert loss.gradient_logits(y, z) == pytest.approx(
            float(oracle.slope_at_logits(loss.definition, y, z)), rel=1e-9, abs=1e-13
        )


@pytest.mark.parametrize("name", IDS)
def test_the_declared_minimum_is_where_a_search_finds_it(name):
    loss = function(name)
    y = np.linspace(0.05, 0.95, 19)
    grid = np.linspace(-25, 25, 20_001)
    values = loss.value_logits(np.repeat(y, grid.size), np.tile(grid, y.size)).reshape(y.size, grid.size)
    place = scipy.special.expit(grid[values.argmin(axis=1)])
    if loss.definition.minimum == "target":
        np.testing.assert_allclose(place, y, atol=7e-4)
        np.testing.assert_allclose(loss.floor(y), loss.value(y, y), rtol=1e-12, atol=1e-15)
    else:
        assert np.abs(place - y).max() > 0.01, "labelled as minimised elsewhere"
    assert (loss.floor(y) <= values.min(axis=1) + 1e-12).all()
    np.testing.assert_allclose(loss.floor(y), values.min(axis=1), atol=7e-4)


@pytest.mark.parametrize("name", [i for i in IDS if CATALOGUE[i].minimiser])
def test_a_declared_minimiser_formula_gives_the_floor_that_a_search_finds(name):
    loss = function(name)
    y = np.linspace(0, 1, 11)
    searched = least_value(lambda a, z: loss.value_logits(a, z), y)
    np.testing.assert_allclose(loss.floor(y), searched, rtol=1e-9, atol=1e-12)


def test_known_minimisers():
    # certify.md, measured there with 12 digits
    y = np.array([0.1, 0.2, 0.3, 0.7])
    cb = function("continuous_bernoulli")
    at = np.array([4.56052945264e-5, 0.00815441812837, 0.0646396500751, 0.935360349925])
    np.testing.assert_allclose(cb.floor(y), cb.value(y, at), rtol=1e-9)
    focal = function("focal")
    np.testing.assert_allclose(
        focal.floor(y[:2]), focal.value(y[:2], np.array([0.305787194910, 0.373385172733])), rtol=1e-10
    )


def test_the_continuous_bernoulli_has_no_floor_at_hard_targets():
    assert function("continuous_bernoulli").floor(np.array([0.0, 1.0])).tolist() == [-np.inf, -np.inf]


def test_the_worked_example_that_is_copied_wrongly():
    # y = 0.2: p = 0.1 and 0.3 give 0.5448 and 0.5261 nats, the floor is 0.5004 (peers.md)
    bce = function("bce")
    np.testing.assert_allclose(bce.value([0.2, 0.2], [0.1, 0.3]), [0.5448, 0.5261], atol=5e-5)
    assert bce.floor(0.2) == pytest.approx(0.5004, abs=5e-5)


@pytest.mark.parametrize("loss", CATALOGUE.values(), ids=lambda loss: loss.id)
def test_a_definition_is_complete(loss):
    assert loss.title
    assert loss.references
    for reference in loss.references:
        assert re.match(r"https://(doi\.org/10\.|arxiv\.org/abs/\d)", reference.url), reference
    assert loss.minimum in ("target", "elsewhere")
    assert loss.note or loss.minimum == "target", "a loss minimised elsewhere says so in its note"
    names = {str(s) for s in loss.expression(bound=False).free_symbols} - {"y", "p"}
    assert names == {p.name for p in loss.params}


def test_hashes_are_distinct_and_follow_the_definition():
    hashes = {loss.hash for loss in CATALOGUE.values()}
    assert len(hashes) == len(CATALOGUE)
    huber = CATALOGUE["huber"]
    assert huber.bind(delta=0.1).hash == huber.hash


@pytest.mark.parametrize("name", IDS)
def test_closed_domains_are_taken_and_what_lies_outside_is_refused(name):
    from lossproof.formula import LossproofError

    loss = function(name)
    with pytest.raises(
        LossproofError, match=rf"{name}.*expected target without NaN, got 1 of 2 NaN, first at \[1\]"
    ):
        loss.value([0.5, np.nan], [0.5, 0.5])
    if loss.definition.target.low == 0:
        with pytest.raises(
            LossproofError,
            match=rf"{name}: expected target in .*got 1 of 2 values outside, first -1 at \[1\]",
        ):
            loss.value([0.5, -1.0], [0.5, 0.5])
    with pytest.raises(LossproofError, match=r"expected equal shapes, got \(2,\) and \(3,\)"):
        loss.value([0.5, 0.5], [0.5] * 3)
    with pytest.raises(LossproofError, match="expected target as numbers, got str"):
        loss.value("half", 0.5)
