"""claims: each verdict against a computation of its own (SciPy, torch, hand values), and verdicts that can change."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, special, stats
from torch.nn import functional

from lossproof.advise.claims import CLAIMS, about_minimum, about_shape, decide, evidence
from lossproof.advise.claims.page import render, write
from lossproof.advise.claims.picture import svg, ticks
from lossproof.advise.claims.records import Line, Plot, decided
from lossproof.formula import LossproofError

TRUE, FALSE, CONDITION = "true", "false", "true under a condition"


@pytest.fixture(scope="module")
def answers():
    return {answer.id: answer for answer in decide()}


def minimiser(loss, weights=((0.0, 0.7), (1.0, 0.3))):
    """The best prediction for a law of Y, by SciPy on functions written here."""
    written = {
        "bce": lambda y, p: -(special.xlogy(y, p) + special.xlogy(1 - y, 1 - p)),
        "mse": lambda y, p: (y - p) ** 2,
        "mae": lambda y, p: abs(y - p),
        "logcosh": lambda y, p: math.log(math.cosh(y - p)),
    }[loss]
    return optimize.minimize_scalar(
        lambda p: sum(w * written(y, p) for y, w in weights),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-9},
    ).x


def bce(y, p):
    return functional.binary_cross_entropy(
        torch.tensor(p, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)
    ).item()


def slope(loss, y, z):
    at = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    target = torch.tensor(y, dtype=torch.float64)
    value = (functional.binary_cross_entropy_with_logits(at, target) if loss == "bce"
             else functional.mse_loss(at.sigmoid(), target))  # fmt: skip
    return torch.autograd.grad(value, at)[0].item()


def verdict(for_, against):
    """The verdict of a claim for which a case was found, and against which one was."""
    assert for_ or against
    return CONDITION if for_ and against else TRUE if for_ else FALSE


def clipped_slope_is_zero():
    z = torch.tensor(-20.0, dtype=torch.float64, requires_grad=True)
    p = z.sigmoid().clamp(1e-7, 1 - 1e-7)
    return torch.autograd.grad(-torch.log(p), z)[0].item() == 0


def exp_bce_total(p):
    return integrate.quad(lambda y: math.exp(-bce(y, p)), 0, 1)[0]


def excess_is_twice_the_square():
    y, p = np.meshgrid(np.linspace(0.001, 0.999, 60), np.linspace(0.001, 0.999, 61))
    kl = special.rel_entr(y, p) + special.rel_entr(1 - y, 1 - p)
    return bool((kl >= 2 * (y - p) ** 2 - 1e-12).all())


def convexity(loss):
    z = np.linspace(-9, 9, 301)
    p = special.expit(z)
    values = -np.log(p) if loss == "bce" else (1 - p) ** 2
    return bool((np.diff(values, 2) > -1e-9).all())


def cb_mode(y):
    law = torch.distributions.ContinuousBernoulli
    found = optimize.minimize_scalar(
        lambda z: -law(logits=torch.tensor(z, dtype=torch.float64), validate_args=False)
        .log_prob(torch.tensor(y, dtype=torch.float64)).item(), bounds=(-14, 14), method="bounded")  # fmt: skip
    return special.expit(found.x)


#: id -> (a case for the claim, a case against it), each found without lossproof
CASES = {
    "reach-zero": lambda: (bce(1.0, 1.0) == 0, stats.entropy([0.5, 0.5]) > 0),
    "binary-only": lambda: (False, abs(minimiser("bce", ((0.3, 1.0),)) - 0.3) < 1e-5),
    "keeps-training": lambda: (False, abs(slope("bce", 0.2, special.logit(0.2))) < 1e-12),
    "dims": lambda: (False, abs(minimiser("bce") - 0.3) < 1e-5),
    "mean-seeking": lambda: (abs(minimiser("bce") - 0.3) < 1e-5, False),
    "mse-mean": lambda: (False, abs(minimiser("mse") - minimiser("bce")) < 1e-5),
    "mae-mean": lambda: (False, minimiser("mae") < 0.01),
    "logcosh-median": lambda: (False, minimiser("logcosh") > 0.2),
    "same-minimum": lambda: (
        all(abs(minimiser(loss, ((0.3, 1.0),)) - 0.3) < 1e-4 for loss in ("bce", "mse", "mae", "logcosh")),
        abs(minimiser("mae") - minimiser("mse")) > 0.1,
    ),
    "outliers": lambda: (
        abs(minimiser("mae", ((0.2, 0.99), (1.0, 0.01))) - 0.2) < 1e-4
        and minimiser("mse", ((0.2, 0.99), (1.0, 0.01))) > 0.207,
        False,
    ),
    "smoothing": lambda: (False, bce(0.05 + 0.9 * 0.1, 0.14) < bce(0.05 + 0.9 * 0.1, 0.1)),
    "continuous-bernoulli": lambda: (False, cb_mode(0.3) < 0.1),
    "outside": lambda: (False, -(2 * math.log(1 - 1e-9) - math.log(1e-9)) < -15),
    "asymmetric": lambda: (abs(bce(0.2, 0.1) - bce(0.2, 0.3)) > 0.01, abs(bce(0.5, 0.4) - bce(0.5, 0.6)) < 1e-12),
    "worked-example": lambda: (False, abs(bce(0.2, 0.1) - 0.2775) > 0.1),
    "penalises-more": lambda: (excess_is_twice_the_square(), False),
    "same-scale": lambda: (False, (bce(0.0, 0.1) / 0.01) / (bce(0.0, 0.9) / 0.81) > 2),
    "smaller-number": lambda: (False, bce(0.5, 0.5) > (0.5 - 0.3) ** 2),
    "log-undoes-sigmoid": lambda: (abs(slope("bce", 1.0, -30.0) + 1) < 1e-9, clipped_slope_is_zero()),
    "sigmoid-mse": lambda: (abs(slope("mse", 1.0, -30.0)) < 1e-9, False),
    "convex": lambda: (convexity("bce") and not convexity("mse"), False),
    "likelihood": lambda: (
        math.exp(-bce(0.0, 0.2)) + math.exp(-bce(1.0, 0.2)) == pytest.approx(1), abs(exp_bce_total(0.2) - 1) > 0.1
    ),
    "infinite": lambda: (
        math.isinf(-torch.log(torch.sigmoid(torch.tensor(-200.0))).item()),
        math.isfinite(functional.binary_cross_entropy_with_logits(torch.tensor(-200.0), torch.tensor(1.0)).item()),
    ),
    "reduction": lambda: (
        slope("bce", 0.9, special.logit(0.9)) == pytest.approx(slope("bce", 0.9, special.logit(0.9)) / 784, abs=1e-12),
        abs(slope("bce", 0.9, 0.3206) + 0.3206) < 1e-3 and abs(slope("bce", 0.9, 0.3206) / 784 + 0.3206) > 0.1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_verdict_is_that_of_an_independent_computation(claim, answers):
    made = answers[claim.id].decision
    assert made.verdict == verdict(*CASES[claim.id]())
    assert bool(made.condition) == (made.verdict == CONDITION)
    assert made.because
    assert len({len(row) for row in (made.table.head, *made.table.rows)}) == 1


def test_ids_are_distinct_and_every_claim_has_its_check():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert {claim.id for claim in CLAIMS} == set(CASES)


def test_the_worked_example_is_recomputed(answers):
    rows = answers["worked-example"].decision.table.rows
    assert [row[2] for row in rows] == ["0.5448", "0.5261"]
    assert float(rows[0][2]) == pytest.approx(bce(0.2, 0.1), abs=5e-5)
    assert rows[0][4] == "0.2775"  # the slip gives the printed number
    assert rows[1][3] == "0.2285"  # and base 10 the other


def test_tables_of_estimates_are_those_of_scipy(answers):
    table = answers["dims"].decision.table
    row = next(row for row in table.rows if row[0] == "0.3")
    found = dict(zip(table.head[1:], map(float, row[1:]), strict=True))
    for loss in ("bce", "mse", "mae", "logcosh"):
        assert found[f"best p, {loss}"] == pytest.approx(minimiser(loss), abs=2e-4)


def test_a_pair_that_bce_and_mse_order_differently_is_one(answers):
    (y, better), (_, worse) = about_shape._reversed_pair()
    assert bce(y, better) < bce(y, worse)
    assert (y - better) ** 2 > (y - worse) ** 2
    assert f"p = {better:g} is better than p = {worse:g} by BCE" in " ".join(
        answers["same-scale"].decision.because
    )


@pytest.mark.parametrize(
    ("decide_one", "name", "value", "expected"),
    [
        (about_minimum.mae_mean, "holds", lambda *_: True, TRUE),
        (about_minimum.bce_dims, "best", lambda *_: 0.05, TRUE),
        (about_minimum.same_minimum, "best", lambda *_: 0.3, TRUE),
        (about_minimum.smoothing_harmless, "holds", lambda *_: True, TRUE),
        (about_minimum.continuous_bernoulli, "holds", lambda *_: True, TRUE),
    ],
    ids=["mae-mean", "dims", "same-minimum", "smoothing", "continuous-bernoulli"],
)
def test_a_verdict_follows_what_is_found(decide_one, name, value, expected, monkeypatch):
    monkeypatch.setattr(about_minimum, name, value)
    assert decide_one().verdict == expected


def test_a_verdict_needs_a_case_for_or_against():
    with pytest.raises(LossproofError, match="for or against, got neither"):
        decided(holds=False, fails=False)


def test_an_unknown_claim_is_refused_with_the_nearest():
    with pytest.raises(LossproofError, match="got 'dim'; did you mean dims"):
        list(decide(["dim"]))


def test_an_open_question_of_a_certificate_is_no_answer():
    with pytest.raises(LossproofError, match="decides curvature, got unknown"):
        evidence.holds("mae", "curvature")


def test_certificates_are_the_committed_ones_or_made_anew(monkeypatch):
    assert evidence.certificate("bce").holds("minimum") == "holds"
    made = []
    monkeypatch.setattr(evidence, "certify", lambda loss: made.append(loss))
    evidence.certificate.__wrapped__("huber(delta=0.1)")
    assert made == ["huber(delta=0.1)"]


def test_signs_are_proved_not_sampled():
    from lossproof.formula.symbols import P, Y

    assert evidence.unit_sign((Y - P) ** 2 + Y)[0] == "+"
    assert evidence.unit_sign(Y - P)[0] == "?"


def test_ticks_are_round():
    assert ticks(-5, 5) == [-4.0, -2.0, 0.0, 2.0, 4.0]
    assert ticks(0, 0.72)[-1] == 0.6
    assert ticks(3, 3) == [3]


def test_a_picture_breaks_at_what_is_not_finite():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    drawn = svg(Plot("x<y", "y", (Line("a", x, np.array([0.0, np.inf, 1.0, 2.0])),), "a & b", ((1.0, 1.0),)))
    path = re.search(r' d="([^"]*)"', drawn)[1]
    assert path.count("M") == 2
    assert "x&lt;y" in drawn
    assert 'aria-label="a &amp; b"' in drawn
    assert drawn.count("<circle") == 1


def test_the_page_is_whole_and_fetches_nothing(answers, tmp_path):
    text = render(list(answers.values()), style=":root { --line: #ccc }")
    assert "--line: #ccc" in text
    assert "script" not in text.split("</style>")[1]
    assert not re.search(r'(?:src|href)="(?!#|data:,)', text)
    assert text.count('<section class="claim"') == len(CLAIMS) == text.count('<svg viewBox="0 0 360 240"')
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert not re.search(r' d="[^"]*(?:nan|inf)', text)
    path = write([answers["dims"]], tmp_path / "page.html")
    assert "BCE dims images." in path.read_text()
    with pytest.raises(LossproofError, match="expected a file that can be written"):
        write([answers["dims"]], tmp_path / "no" / "page.html")
