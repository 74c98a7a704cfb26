"""The pilot: paired, repeatable, halving, and honest about what the seeds do not separate."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from lossproof.advise.advice import advise_facts
from lossproof.advise.candidates import Bench, gather_candidates
from lossproof.advise.goals import GOALS, MEASURES
from lossproof.advise.pilot import (
    Row,
    _rows,
    decide,
    gap,
    images_of,
    measure_of,
    run_pilot,
    shared_labels,
    survivors,
    worse,
)
from lossproof.advise.pilot_measure import CORNERS, Judge, energy_distance, hidden, moved_by_a_pixel, patched
from lossproof.advise.ranking import distinct, rank
from lossproof.advise.tried import likeness, tried
from lossproof.data.facts_noise import cut_off, impulse_rates
from lossproof.data.facts_stream import gather
from lossproof.data.stream import open_stream
from lossproof.formula import LossproofError


@pytest.fixture(scope="module")
def facts():
    return gather(open_stream("digits"))


@pytest.fixture(scope="module")
def candidates(facts):
    return gather_candidates(facts, ["bce", "mse", "mae"], bench=Bench(facts))[0]


def test_the_same_laps_give_the_same_numbers_and_pairs_share_their_start(facts, candidates):
    one = run_pilot(candidates, facts, GOALS["reconstruct"], laps=2, seeds=2, halve=False)
    two = run_pilot(list(reversed(candidates)), facts, GOALS["reconstruct"], laps=2, seeds=2, halve=False)
    assert {r.label: r.values for r in one.rows} == {r.label: r.values for r in two.rows}
    assert [r.epochs for r in one.rows] == [2, 2, 2]
    assert one.rows[0].mean == min(r.mean for r in one.rows)
    assert one.measure == "squared"


def test_halving_ends_the_worse_half_early(facts, candidates):
    pilot = run_pilot(candidates, facts, GOALS["denoise"], laps=4, seeds=2)
    epochs = {row.label: row.epochs for row in pilot.rows}
    assert max(epochs.values()) == 4
    for row in pilot.rows:
        if row.epochs < 4:
            assert "ended after epoch" in row.reason
            assert row.separated
    assert pilot.chosen in {row.label for row in pilot.rows}


def test_a_pilot_that_has_learnt_nothing_says_so(facts, candidates):
    pilot = run_pilot(candidates, facts, GOALS["reconstruct"], laps=1, seeds=2)
    assert not pilot.conclusive
    assert "too short to tell" in pilot.words
    assert pilot.chosen == candidates[0].label


def test_a_bound_below_the_histogram_s_has_learnt_something(facts, candidates):
    from dataclasses import replace

    easy = replace(facts, histogram_bits=(9.0, 9.0))
    assert run_pilot(candidates, easy, GOALS["sample"], laps=1, seeds=2).conclusive
    assert not run_pilot(candidates, facts, GOALS["sample"], laps=1, seeds=2).conclusive
    assert not run_pilot(candidates, easy, GOALS["reconstruct"], laps=1, seeds=2).conclusive


def test_the_budget_in_seconds_is_kept(facts, candidates):
    shares: list[float] = []
    pilot = run_pilot(candidates, facts, GOALS["reconstruct"], budget=0.01, seeds=2, progress=shares.append)
    assert max(row.epochs for row in pilot.rows) == 1  # one lap is the least there is
    assert shares[-1] == 1.0


def test_the_interval_is_student_s():
    from scipy import stats

    a, b = np.array([1.0, 1.2, 1.4, 1.1]), np.array([1.0, 1.1, 1.0, 1.05])
    mean, low, high, separated = gap(a, b)
    known = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx(((a - b).mean(), known.low, known.high), abs=1e-4)
    assert not separated
    assert gap(a + 1, b)[3]
    assert gap(np.array([np.nan, 1.0]), np.array([0.0, 0.0]))[3]


def test_survivors_are_the_better_half_and_whatever_is_not_told_from_the_best():
    values = {
        "a": np.array([1.0, 1.1]), "b": np.array([1.0, 1.2]), "c": np.array([1.05, 1.11]), "d": np.array([9.0, 9.1]),
    }  # fmt: skip
    assert survivors(list(values), values) == ["a", "c", "b"]
    values["b"] = np.array([5.0, 5.1])
    assert survivors(list(values), values) == ["a", "c"]


def test_a_tie_goes_to_the_preferred():
    def row(label: str, separated: bool) -> Row:
        return Row(label, (1.0, 1.0), 3, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, separated)

    chosen, words = decide(
        [row("bce", False), row("mse", False), row("mae", True)], {"mae": (0,), "mse": (1,), "bce": (2,)}
    )
    assert chosen == "mse"
    assert words.startswith("no measurable difference on your data between mse and bce; mse is preferred")
    assert decide([row("bce", False), row("mse", True)], {"mse": (0,), "bce": (1,)})[0] == "bce"
    # as little to set: the one that did better
    assert decide([row("bce", False), row("mse", False)], {"mse": (0,), "bce": (0,)})[0] == "bce"


def test_what_another_beats_is_not_as_good_as_the_best():
    """The best one's seeds vary, so that neither interval to it leaves out 0; the second one is told from the third."""
    found = {
        "restless": {"squared": np.array([0.9, 1.1, 0.9, 1.1])},
        "steady": {"squared": np.array([1.01, 1.01, 1.01, 1.01])},
        "worse": {"squared": np.array([1.04, 1.05, 1.04, 1.05])},
    }
    member = SimpleNamespace(epoch=3, event=None)
    arena = SimpleNamespace(
        members={label: [member] for label in found}, step_seconds=lambda label: 0.0, graded=lambda label: 0.0
    )
    rows = _rows(arena, found, "squared")
    assert [(row.label, row.separated, row.beaten_by) for row in rows] == [
        ("restless", False, ""), ("steady", False, ""), ("worse", True, "steady"),
    ]  # fmt: skip
    assert rows[2].low < 0 < rows[2].high
    assert decide(rows, {"worse": (0,), "steady": (1,), "restless": (2,)})[0] == "steady"


def test_one_seed_that_went_astray_does_not_make_a_loss_as_good_as_the_best():
    found = {
        "charbonnier": {"squared": np.array([0.0167, 0.0167, 0.0171, 0.0167])},
        "mae": {"squared": np.array([0.113, 0.042, 0.040, 0.039])},
    }
    arena = SimpleNamespace(
        members={label: [SimpleNamespace(epoch=3, event=None)] for label in found},
        step_seconds=lambda label: 0.0,
        graded=lambda label: 0.0,
    )
    rows = _rows(arena, found, "squared")
    assert rows[1].low < 0, "the interval of the differences holds 0"
    assert (rows[1].separated, rows[1].beaten_by) == (True, "charbonnier")
    assert decide(rows, {"mae": (0,), "charbonnier": (1,)})[0] == "charbonnier"
    values = {label: found[label]["squared"] for label in found} | {
        "c": found["charbonnier"]["squared"] + 1e-4
    }
    assert survivors(["mae", "charbonnier", "c"], values) == ["charbonnier", "c"]


@pytest.mark.parametrize(
    ("values", "best", "told"),
    [
        (
            [0.011, 0.10, 0.0101, 0.2],
            [0.010, 0.011, 0.010, 0.010],
            True,
        ),  # two seeds astray, behind with every one
        ([0.009, 0.10, 0.0101, 0.2], [0.010, 0.011, 0.010, 0.010], False),  # ahead with one
        ([-1.0, -1.5, -1.5, 3.0], [-2.0, -2.0, -2.0, -2.0], True),  # bounds of a density
        ([-1.9, -1.5, -1.5, 3.0], [-2.0, -2.0, -1.8, -2.0], False),  # behind by less than the best one varies
    ],
)
def test_behind_with_every_seed_is_behind(values, best, told):
    assert not gap(np.array(values), np.array(best))[3]
    assert worse(np.array(values), np.array(best)) == told


def test_what_the_budget_had_no_time_for_is_said(facts, candidates):
    pilot = run_pilot(candidates, facts, GOALS["reconstruct"], budget=1e-6, seeds=2)
    assert len(pilot.skipped) == len(candidates) - 3
    ended = {row.label: row.reason for row in pilot.rows if row.label in pilot.skipped}
    assert set(ended.values()) <= {"", "ended after epoch 1: the budget is short"}
    rows = [Row("bce", (1.0, 1.0), 9, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, False)]
    _, words = decide(rows, {"bce": (0,)}, ("mae", "huber"))
    assert words.endswith("beyond the spread of the seeds; there was no time to train mae, huber")


def test_goals_and_their_measures(facts):
    def measure(goal, *, heavy=False, bounded=True, labels=True):
        return measure_of(GOALS[goal], heavy=heavy, bounded=bounded, labels=labels)

    assert measure("reconstruct", heavy=True) == "absolute"
    assert measure("denoise", heavy=True) == "hidden_squared"
    assert measure("denoise", heavy=True, bounded=False) == "hidden_absolute"
    assert measure("represent", labels=False) == "moved"
    assert measure("represent") == "neighbours"
    assert measure("sample") == "bound"
    assert {measure(goal) for goal in GOALS} <= MEASURES.keys()


def noisy(share, rng=0, count=300):
    """Smooth bytes with a share of the pixels black or white by chance."""
    rng = np.random.default_rng(rng)
    g = np.linspace(0, 1, 16)
    waves = np.stack(
        [np.cos(np.pi * i * g)[:, None] * np.cos(np.pi * j * g) for i in range(3) for j in range(3)]
    )
    x = 0.5 + 0.1 * np.tensordot(rng.standard_normal((count, 9)), waves, (1, 0))
    u = rng.random(x.shape)
    x = np.where(u < share / 2, 0.0, np.where(u > 1 - share / 2, 1.0, x))
    return np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8)


def test_pixels_that_are_not_shown():
    images = torch.rand(3, 2, 9, 7)
    shown, places = hidden(images, (1, 2))
    assert places.nonzero().tolist() == [[r, c] for r in (1, 5) for c in (2, 6)]
    assert torch.equal(shown[..., ~places], images[..., ~places])
    around = images[..., 0, 2] + images[..., 2, 2] + images[..., 1, 1] + images[..., 1, 3]
    assert torch.allclose(shown[..., 1, 2], around / 4)
    edge = images[..., 4, 6] + images[..., 6, 6] + images[..., 5, 5]
    assert torch.allclose(shown[..., 5, 6], edge / 3), "a pixel at the edge does not show itself"
    line = torch.rand(2, 1, 1, 5)
    assert torch.allclose(hidden(line, (0, 0))[0][..., 0, 4], line[..., 0, 3])
    assert hidden(torch.rand(2, 1, 1, 1), (0, 0))[0].tolist() == [[[[0.0]]], [[[0.0]]]]


def test_a_model_that_copies_does_not_see_the_noise_of_hidden_pixels():
    """The error there is that of the neighbours' mean; where a pixel is shown a copy has none at all."""
    facts = gather(open_stream(noisy(0.2, count=1500)))
    images = images_of(facts)
    judge = Judge(images, facts, ("hidden_squared",), laws=False)

    class Copy(torch.nn.Module):
        latent = 1

        def forward(self, x, noise):
            return x, torch.zeros(len(x), 1), None

    class Plain:
        loss = None
        model = Copy()

        class criterion:
            picture = staticmethod(lambda raw: raw)

    found = judge.measures([Plain()])
    assert found["squared"][0] == 0
    # that of the neighbours' mean to the clean picture: the pixel's own noise is taken off, though it is never seen
    clean = images_of(gather(open_stream(noisy(0.0, count=1500)))).test
    of_means = [
        np.square(shown.numpy() - clean)[..., places.numpy()].mean()
        for shown, places in (hidden(torch.from_numpy(images.test), corner) for corner in CORNERS)
    ]
    assert found["hidden_squared"][0] == pytest.approx(np.mean(of_means), rel=0.1)


def test_errors_where_pixels_are_black_or_white_by_chance_are_those_to_the_clean_picture():
    """More black than white, and a picture that the noise pulls towards 0 must not win."""
    rng = np.random.default_rng(0)
    clean = noisy(0.0, count=800) / 255
    u = rng.random(clean.shape)
    salted = np.where(u < 0.15, 0.0, np.where(u > 0.95, 1.0, clean))
    facts = gather(open_stream(np.rint(255 * salted).astype(np.uint8)))
    judge = Judge(images_of(facts), facts, ("hidden_squared",), laws=False)
    assert judge.black == pytest.approx(0.15, abs=0.01)
    assert judge.white == pytest.approx(0.05, abs=0.01)
    target = torch.from_numpy(salted)
    for off, pulled in ((0.05, 0.0), (0.0, 0.3), (-0.1, 0.1)):
        picture = torch.from_numpy((1 - pulled) * clean + off)
        squared, absolute = judge.errors(picture, target)
        gap = picture.numpy() - clean
        assert squared == pytest.approx((gap**2).mean(), abs=4e-3)
        assert absolute == pytest.approx(np.abs(gap).mean(), abs=8e-3)
        plain = float(((picture - target) ** 2).mean())
        assert plain > 0.05, "by itself, the noise would decide"
    # the mean of noisy values is nearer to them than the clean picture is, and is not preferred
    mean = torch.from_numpy(0.8 * clean + 0.05)
    truth = torch.from_numpy(clean)
    assert ((mean - target) ** 2).mean() < ((truth - target) ** 2).mean()
    assert judge.errors(truth, target)[0] < judge.errors(mean, target)[0]


def test_nothing_is_taken_off_where_pixels_do_not_stand_out_or_values_leave_0_to_1():
    facts = gather(open_stream(noisy(0.0)))
    judge = Judge(images_of(facts), facts, ("hidden_squared",), laws=False)
    assert (judge.black, judge.white) == (0, 0)
    assert impulse_rates(np.full((2, 1, 5, 5), 0.1)) == (0.0, 0.0)
    assert impulse_rates(np.ones((9, 1, 2, 2))) == (0.0, 0.0)


def test_what_noise_lost_at_black_and_white_is_put_back_up_to_the_border():
    """A white square on black with noise of 0.1: the mean error at black is that of no noise, at the border too."""
    rng = np.random.default_rng(0)
    clean = np.zeros((400, 1, 24, 24))
    clean[:, :, 6:18, 6:18] = 1.0
    restored = cut_off(np.clip(clean + 0.1 * rng.standard_normal(clean.shape), 0, 1))
    error = (restored - clean)[:, 0]
    border = np.concatenate([error[:, 0], error[:, -1], error[:, :, 0], error[:, :, -1]], axis=1)
    black, white = error[:, clean[0, 0] == 0], error[:, clean[0, 0] == 1]
    assert abs(border.mean()) < 4e-3, "one in thirty has fewer than two black neighbours"
    assert abs(black.mean()) < 4e-3
    assert abs(white.mean()) < 6e-3, "its edges have few white neighbours"


def test_nothing_is_put_back_where_nothing_was_cut_off():
    rng = np.random.default_rng(0)
    for images in (
        np.where(rng.random((50, 1, 12, 12)) < 0.9, 0.0, 0.05),  # far more black than noise leaves
        np.clip(0.5 + 0.1 * rng.standard_normal((50, 1, 12, 12)), 0, 1),  # noise that reaches neither end
        np.zeros((1, 1, 8, 8)),
        np.where(np.arange(16).reshape(1, 1, 4, 4) % 2, 0.05, 0.0),  # too few to tell anything
    ):
        assert np.array_equal(cut_off(images), images)


NAMES = ["bce", "mse", "mae", "logcosh", "hellinger", "huber", "charbonnier", "barron(alpha=0, c=0.02)"]


@pytest.fixture(scope="module")
def salted():
    facts = gather(open_stream(noisy(0.1)))
    candidates, _ = gather_candidates(facts, NAMES)
    return facts, rank(candidates, facts, GOALS["denoise"])[1]


def test_a_loss_for_the_mean_is_tried_even_where_the_facts_speak_for_others(salted):
    facts, ranked = salted
    assert not {"bce", "mse"} <= {e.candidate.label for e in ranked[:4]}
    taken = [c.label for c in tried(ranked, facts, 4)]
    assert len(taken) == 4
    assert taken[0] == ranked[0].candidate.label, "what the facts ask for leads"
    best = min(ranked, key=lambda e: e.candidate.law.nats).candidate.label
    assert best in taken[:2], "the best law is tried"
    assert {"bce", "mse"} <= set(taken)
    assert not {"bce", "mse"} <= {c.label for c in tried(ranked, facts, 3, means=False)}
    assert tried([], facts) == []


def test_losses_that_train_alike_are_not_tried_side_by_side(salted):
    """Log-cosh and Charbonnier of scale 1 are all but MSE where residuals are below 1."""
    facts, ranked = salted
    every = distinct(ranked)
    alike = likeness(every, facts)
    at = [c.label for c in every].index
    assert alike[at("mse"), at("logcosh")] > 0.99
    assert alike[at("mse"), at("charbonnier")] > 0.99
    assert alike[at("mse"), at("mae")] < 0.9
    assert np.allclose(np.diag(alike), 1)
    assert np.array_equal(alike, alike.T)
    taken = {c.label for c in tried(ranked, facts, 5)}
    assert {"bce", "mse", "mae", "barron(alpha=0, c=0.02)"} <= taken
    assert not taken & {"logcosh", "charbonnier"}


def test_a_decoder_is_alike_to_itself_alone():
    facts = gather(open_stream(noisy(0.1)))
    candidates, _ = gather_candidates(facts, ["mse", "discretised_logistic", "beta_binomial"])
    assert np.array_equal(likeness(candidates, facts), np.eye(3))


def test_a_loss_that_had_learnt_nothing_does_not_stand_for_a_short_pilot():
    facts = gather(open_stream(noisy(0.1)))
    losses = ["bce", "barron(alpha=0, c=0.001)"]
    candidates, _ = gather_candidates(facts, losses)
    asked = sorted(candidates, key=lambda c: c.label == "bce")  # the robust one first, as the facts have it
    pilot = run_pilot(asked, facts, GOALS["denoise"], laps=2, seeds=2)
    assert not pilot.conclusive
    assert pilot.chosen == "bce"
    assert "barron(alpha=0, c=0.001), which the facts ask for, had learnt nothing" in pilot.words
    advice = advise_facts(facts, "denoise", losses=losses, laps=4, seeds=2, prove=False)
    assert advice.loss == "bce"


def member_of(candidates, facts, model):
    from lossproof.train.comparison import make_members, resolve_all
    from lossproof.train.settings import settle

    images = images_of(facts)
    settings = settle(images, model=model, latent=4, hidden=None, epochs=1, batch_size=None, lr=1e-3, beta=1.0,
                      seeds=1, device="cpu", threads=1)  # fmt: skip
    return images, make_members(resolve_all([candidates[0].loss], images), images, settings)[0]


@pytest.mark.parametrize(("lap_takes", "kept"), [(1 / 16, 5), (1 / 10, 3), (1 / 4, 3)])
def test_fewer_losses_are_tried_where_the_budget_is_short(facts, monkeypatch, lap_takes, kept):
    """Of five, as many as are trained for 15 epochs, but never fewer than three."""
    candidates, _ = gather_candidates(facts, ["bce", "mse", "mae", "logcosh", "hellinger"])
    now = iter(np.arange(1000) * lap_takes)
    clock = SimpleNamespace(monotonic=lambda: next(now))
    monkeypatch.setattr("lossproof.advise.pilot.time", clock)
    pilot = run_pilot(candidates, facts, GOALS["reconstruct"], budget=1.0, seeds=2)
    assert sum(row.epochs > 1 for row in pilot.rows) == kept
    assert {row.label for row in pilot.rows if row.epochs > 1} >= {c.label for c in candidates[:3]}


def test_labels_that_no_training_image_has_do_not_decide():
    """Ten pictures of each person, one person after another: the split is at the end, and its persons are new."""
    sample = noisy(0.0, count=200)
    facts = gather(open_stream(sample))
    ordered = replace(
        facts, sample_labels=np.arange(200) // 10, order=replace(facts.order, sorted=True, film=False)
    )
    assert not shared_labels(images_of(ordered))
    mixed = replace(facts, sample_labels=np.arange(200) % 10)
    assert shared_labels(images_of(mixed))
    assert not shared_labels(images_of(facts))
    candidates, _ = gather_candidates(facts, ["mse", "mae"])
    pilot = run_pilot(candidates, ordered, GOALS["represent"], laps=1, seeds=2)
    assert pilot.measure == "moved"


def test_measures_against_sklearn(facts, candidates):
    images, member = member_of(candidates, facts, "ae")
    judge = Judge(images, facts, ("anomaly",))
    found = judge.measures([member])
    with torch.no_grad():
        target = torch.from_numpy(images.test)
        raw, codes, _ = member.model(target)
        picture = member.criterion.picture(raw)
        odd = torch.from_numpy(patched(images.test, np.random.default_rng(1)))
    assert found["squared"][0] == pytest.approx(float(((picture - target) ** 2).mean()), rel=1e-5)
    scores = judge._auroc(member, raw)
    assert 1 - found["anomaly"][0] == pytest.approx(scores)
    judge.odd = odd
    with torch.no_grad():
        odd_raw, _, _ = member.model(odd)
        usual, strange = (
            member.criterion.values(t, z).flatten(1).sum(1).double().numpy()
            for t, z in ((target, raw), (odd, odd_raw))
        )
    known = roc_auc_score([0] * len(usual) + [1] * len(strange), np.concatenate([usual, strange]))
    assert judge._auroc(member, raw) == pytest.approx(known)  # candidates[0] is mse: its floor is 0

    labelled = Judge(images, facts, ("neighbours",)).measures([member])["neighbours"][0]
    with torch.no_grad():
        train_codes, _ = member.model.encode(torch.from_numpy(images.train))
    knn = KNeighborsClassifier(5).fit(train_codes.numpy(), images.train_labels)
    assert labelled == pytest.approx(
        1 - knn.score(codes.numpy(), images.test_labels), abs=0.02
    )  # ties are broken apart


def test_a_code_is_looked_for_after_a_move_by_a_pixel(facts, candidates):
    images, member = member_of(candidates, facts, "ae")
    found = Judge(images, facts, ("moved",)).measures([member])["moved"][0]
    x = images.test
    moved = np.pad(x, ((0, 0), (0, 0), (1, 0), (1, 0)), mode="edge")[:, :, :-1, :-1]
    assert np.array_equal(moved_by_a_pixel(torch.from_numpy(x)).numpy(), moved)
    with torch.no_grad():
        codes, there = (member.model.encode(torch.from_numpy(a))[0].numpy() for a in (x, moved))
    near = ((there[:, None] - codes[None]) ** 2).sum(-1).argmin(1)
    assert found == pytest.approx((near != np.arange(len(x))).mean(), abs=0.01)


def test_the_energy_distance_is_that_of_its_definition():
    from scipy.spatial.distance import cdist, pdist

    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (40, 5)), rng.normal(0.5, 1, (30, 5))
    known = 2 * cdist(a, b).mean() - pdist(a).mean() - pdist(b).mean()
    assert energy_distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(known, rel=1e-6)


def test_a_vae_is_measured_by_its_draws_and_a_clean_set_by_its_error(facts, candidates):
    images, member = member_of(candidates, facts, "vae")
    judge = Judge(images, facts, (), clean=np.zeros_like(images.test))
    found = judge.measures([member])
    assert found["bound"][0] == pytest.approx(found["law"][0] + found["rate"][0])
    assert found["drawn"][0] > 0
    with torch.no_grad():
        raw, _, _ = member.model(
            torch.from_numpy(images.test), torch.zeros(len(images.test), member.model.latent)
        )
        near = float(member.criterion.picture(raw).square().mean())
    assert found["clean"][0] == pytest.approx(near, rel=0.1)  # the judge draws the code


def test_patches_come_from_another_image():
    x = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 9, 9), np.float32)
    y = patched(x, np.random.default_rng(0))
    changed = (y != x).sum(axis=(1, 2, 3))
    assert changed.tolist() == [9] * 5
    assert y[1].min() == 0.0


def test_too_few_images_or_seeds_are_refused(facts, candidates):
    few = gather(open_stream(np.random.default_rng(0).random((5, 4, 4))))
    with pytest.raises(LossproofError, match="expected at least 8 images, got 5"):
        run_pilot(candidates, few, GOALS["reconstruct"], laps=1)
    with pytest.raises(LossproofError, match="expected 2 to 8 seeds, got 1"):
        run_pilot(candidates, facts, GOALS["reconstruct"], laps=1, seeds=1)
