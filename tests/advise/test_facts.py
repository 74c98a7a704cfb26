"""Facts from one streamed pass, against the same computed from the whole array, scipy-free and by hand."""

import gzip
import math
import struct
from dataclasses import replace

import numpy as np
import pytest

from lossproof.advise import advise
from lossproof.data import check
from lossproof.data.facts_counts import Counter, PixelHistograms
from lossproof.data.facts_history import FEW, NORMALISATIONS, gamma_of
from lossproof.data.facts_noise import linear_reference, noise_of
from lossproof.data.facts_order import OrderPass, thumbnails
from lossproof.data.facts_spectrum import SpectrumPass
from lossproof.data.facts_stream import describe, gather
from lossproof.data.levels import MOST
from lossproof.data.stream import open_stream
from lossproof.formula import LossproofError
from lossproof.likelihood import histogram_bits


def smooth(count: int = 300, side: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    g = np.linspace(0, np.pi, side)
    waves = np.stack([np.cos(i * g)[:, None] * np.cos(j * g) for i in range(3) for j in range(3) if i + j])
    return 0.5 + 0.08 * np.tensordot(rng.standard_normal((count, 8)), waves, (1, 0)).clip(-5, 5)


def facts_of(data, **options):
    return gather(open_stream(data, **options))


def test_bytes_are_described_as_the_whole_array_describes_itself():
    x = np.random.default_rng(0).integers(0, 256, (90, 1, 6, 5)).astype(np.uint8)
    x[:, 0, 0, :3] = 0
    facts, v = facts_of(x), x / 255
    assert (facts.low, facts.high, facts.grid) == (v.min(), v.max(), 256)
    assert facts.at_zero == pytest.approx((x == 0).mean())
    assert facts.at_one == pytest.approx((x == 255).mean())
    assert facts.mean == pytest.approx(v.mean())
    assert facts.std == pytest.approx(v.std())
    assert facts.constant_pixels == pytest.approx(3 / 30)
    covariance = np.cov(v.reshape(90, -1).T, bias=True)
    assert facts.spectrum.exact
    assert np.allclose(facts.spectrum.values, np.linalg.eigvalsh(covariance)[::-1], atol=1e-12)
    assert facts.spectrum.total == pytest.approx(np.trace(covariance))


def test_histogram_bits_are_those_of_the_likelihood_room():
    x = np.random.default_rng(1).integers(0, 256, (400, 1, 4, 4)).astype(np.uint8)
    x[:, 0, 0] //= 16
    facts = facts_of(x)
    known = histogram_bits(x.reshape(400, -1) / 255, x.reshape(400, -1) / 255, 256)
    assert facts.histogram_bits is not None
    assert facts.histogram_bits[0] == pytest.approx(
        known.everywhere, abs=2e-3
    )  # the smoothing differs by 1/2 a level
    assert facts.histogram_bits[1] == pytest.approx(known.each_pixel, rel=0.02)


def test_histogram_bits_of_floats_on_few_levels_and_of_none():
    x = np.random.default_rng(1).integers(0, 17, (400, 1, 4, 4))
    x[:, 0, 0] //= 4
    steps, known = facts_of((x / 16).astype(np.float32)), facts_of(x.astype(np.uint8)).histogram_bits
    assert steps.histogram_bits == pytest.approx(known, rel=1e-12)
    moved = facts_of(((x / 16 - 0.3) / 0.25).astype(np.float32))  # z-scored: the levels are as many
    assert moved.histogram_bits == pytest.approx(known, rel=1e-12)
    x[0, 0, 3, 3] = 90  # now 64 bins hold two levels each
    assert facts_of((x / 90).astype(np.float32)).histogram_bits is None
    assert facts_of(np.random.default_rng(1).random((40, 1, 4, 4))).histogram_bits is None
    late = (x / 90).astype(np.float32)
    passing = PixelHistograms(np.dtype(np.float32), 16)
    passing.feed(late[1:].reshape(399, 16))
    assert passing.separates(np.unique(late[1:]).astype(np.float64))
    assert not passing.separates(np.array([0.0, 1.0]))  # beyond the first block's ends


def test_the_sketch_bounds_the_leading_eigenvalues_from_below():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 1100)) + 0.01 * rng.standard_normal(
        (200, 1100)
    )
    passing = SpectrumPass(1100)
    for part in np.array_split(x, 7):
        passing.feed(part)
    found = passing.result(np.full(1100, 0.5))
    exact = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / 200 * 0.25
    assert not found.exact
    assert np.allclose(found.values[:12], exact[:12], rtol=1e-3)
    assert (found.values[:12] <= exact[:12] * (1 + 1e-9)).all()
    assert found.above(exact[3] * 1.01) == 3


def test_values_without_end_are_counted_in_bins_of_known_width():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random(MOST + 5000), np.zeros(700), np.ones(300)]).astype(np.float32)
    counter = Counter(x.dtype)
    for part in np.array_split(rng.permutation(x), 5):
        counter.feed(part)
    levels = counter.levels(x.size, 1.0, 0.0)
    assert not levels.exact
    assert int(levels.counts.sum()) == x.size
    assert levels.share(levels.values == 0) == pytest.approx(700 / x.size)
    assert levels.mean(levels.values) == pytest.approx(float(x.mean(dtype=np.float64)), rel=1e-9)

    def entropy(v):
        inside = np.clip(v, 1e-300, 1 - 1e-16)
        return -(inside * np.log(inside) + (1 - inside) * np.log1p(-inside))

    assert levels.mean(entropy(levels.values)) == pytest.approx(
        float(entropy(x.astype(float)).mean()), abs=2e-6
    )


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_z_scored_bytes_betray_their_mean_and_std(name):
    means, stds = (np.reshape(part, (1, -1, 1, 1)) for part in NORMALISATIONS[name])
    x = np.random.default_rng(0).integers(0, 256, (60, means.size, 8, 8))
    x[0, :, 0, :2] = 0, 255
    facts = facts_of(((x / 255 - means) / stds).astype(np.float32))
    assert name in facts.history.text
    assert facts.history.means == NORMALISATIONS[name][0]
    assert facts.problem
    assert facts.unit
    scope = {"x": ((x / 255 - means) / stds).astype(np.float32), "np": np}
    exec(facts.fix, scope)  # the line of Python is to undo it
    assert np.allclose(scope["x"], x / 255, atol=3e-6)
    back = facts.sample[np.argsort(facts.sample_numbers)]
    assert np.allclose(back, x / 255, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 9, 16, 100, 255])
def test_unknown_z_scores_are_undone_by_their_steps(steps):
    whole = np.random.default_rng(0).integers(0, steps + 1, (60, 1, 8, 8))
    unit = whole / (255 if steps > FEW else steps)  # 100 steps are dark bytes, 16 are levels of their own
    made = ((unit - unit.mean()) / unit.std()).astype(np.float32)
    facts = facts_of(made)
    assert facts.history.sure
    assert facts.history.means == pytest.approx([unit.mean()], rel=2e-5)
    assert facts.history.stds == pytest.approx([unit.std()], rel=2e-5)
    back = facts.sample[np.argsort(facts.sample_numbers)]
    assert np.allclose(back, unit, atol=2e-6)
    if steps != 9:  # on a lattice that is known: exactly there
        assert np.array_equal(back, unit.astype(np.float32))
    assert facts.unit
    assert facts.one_bit == (steps == 1)
    assert facts.grid == {1: 2, 9: None, 16: 17, 100: 256, 255: 256}[steps]
    exec(facts.fix, scope := {"x": made})
    assert not gather(open_stream(scope["x"])).problem


def test_decoders_take_z_scored_levels():
    """The sample lies on the levels that were found: a mass on levels has none for what lies between."""
    digits = np.rint(np.random.default_rng(0).random((90, 1, 6, 6)) ** 2 * 16)
    made = ((digits - digits.mean()) / digits.std()).astype(np.float32)
    advice = advise(made, "sample", losses=["discretised_logistic", "mse"], budget=0)
    assert set(advice.ranking) == {"discretised_logistic", "mse"}
    assert math.isfinite(advice.table["discretised_logistic"]["law"].value or math.nan)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda b: (b / 127.5 - 1).astype(np.float32), "[-1, 1]"),
        (lambda b: (b / 255 - 0.5).astype(np.float32), "[-0.5, 0.5]"),
        (lambda b: b.astype(np.float32), "not divided by 255"),
        (lambda b: (b / 255).astype(np.float32), "bytes divided by 255"),
        (lambda b: ((b / 255) ** (1 / 2.2)).astype(np.float64), "raised to 0.4545 (gamma)"),
        (lambda b: np.rint(255 * (b / 255) ** (1 / 2.2)).astype(np.uint8), "raised to 0.4545 (gamma)"),
        (lambda b: b.astype(np.uint8), "nothing: stored as uint8"),
        (lambda b: ((b / 255 - 0.4) / 0.2).astype(np.float32), "std 0.2 if black and white were there"),
    ],
)
def test_what_was_done_is_named(made, said):
    b = np.arange(256).reshape(1, 1, 16, 16) * np.ones((12, 1, 1, 1))
    assert said in facts_of(made(b)).history.text


def test_bytes_with_few_gaps_were_not_raised_to_a_power():
    assert gamma_of(np.setdiff1d(np.arange(256), [3, 77])) is None


def test_noise_is_told_from_structure_and_impulses_from_noise():
    rng = np.random.default_rng(0)
    x = smooth(200, 20)
    quiet, noisy = noise_of(x[:, None]), noise_of((x + 0.07 * rng.standard_normal(x.shape))[:, None])
    assert quiet.sigma < 0.02
    assert noisy.sigma == pytest.approx(0.07, rel=0.05)
    hit = rng.random(x.shape) < 0.04
    salted = noise_of(np.where(hit, 1.0, x)[:, None])
    assert salted.impulsive
    assert not noisy.impulsive
    assert 0.02 < salted.impulses < 0.04


def test_the_linear_reference_leaves_the_noise():
    rng = np.random.default_rng(0)
    x = smooth(600, 12)
    y = (x + 0.05 * rng.standard_normal(x.shape)).reshape(600, -1)
    left = linear_reference(y, (1, 12, 12), robust=False)
    assert left.rank == 8
    assert left.scale == pytest.approx(0.05, rel=0.06)
    assert abs(left.kurtosis) < 0.1
    assert abs(left.neighbours) < 0.1
    cauchy = (x + 0.02 * rng.standard_cauchy(x.shape)).reshape(600, -1)
    robust = linear_reference(cauchy, (1, 12, 12), robust=True)
    assert robust.scale == pytest.approx(
        0.02 * 1.4826, rel=0.15
    )  # the Cauchy law's median distance is its scale
    assert linear_reference(cauchy, (1, 12, 12), robust=False).scale > 2 * robust.scale


def test_film_sorted_and_shuffled_images_differ():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.standard_normal((400, 8)), axis=0)
    film = np.tensordot(walk, rng.standard_normal((8, 10, 10)), (1, 0))
    film = (film - film.min()) / (film.max() - film.min())
    order = facts_of(film).order
    assert order.film
    assert order.leaks
    shuffled = facts_of(rng.permutation(film)).order
    assert not shuffled.film
    assert not shuffled.sorted
    assert shuffled.distances[1] == pytest.approx(1, abs=0.15)
    groups = np.repeat(rng.random((20, 10, 10)), 20, axis=0) + 1.5 * rng.random((400, 10, 10))
    assert facts_of(groups / 2.5).order.sorted


def test_random_pairs_are_measured_exactly():
    x = np.random.default_rng(0).random((50, 1, 9, 9))
    passing = OrderPass((1, 9, 9))
    for part in np.array_split(x, 6):
        passing.feed(part, "train")
    t = thumbnails(x)
    pairs = ((t[:, None] - t[None]) ** 2).sum(-1)[np.triu_indices(50, 1)].mean()
    step = ((t[2:] - t[:-2]) ** 2).sum(-1).mean()
    assert passing.result().distances[2] == pytest.approx(step / pairs, rel=1e-9)


def test_repetitions_are_counted_also_across_the_split():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (200, 1, 12, 12)).astype(np.uint8)
    near = x[10:30].copy()
    near[:, 0, 0, 0] ^= 1
    passing = OrderPass((1, 12, 12))
    passing.feed(x, "train")
    passing.feed(np.concatenate([x[:5], near]), "test")
    order = passing.result()
    assert order.equal == pytest.approx(5 / 225)
    assert order.near == pytest.approx(20 / 225)
    assert order.across == 25


def test_near_repetitions_are_found_whichever_cells_they_move():
    """A hash of the look would part those of which one cell crosses the mean."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.repeat(rng.integers(0, 256, (1200, 1, 4, 4)), 3, axis=2), 3, axis=3)
    copies = np.clip(x[:300] + rng.integers(-1, 2, (300, 1, 12, 12)), 0, 255)
    passing = OrderPass((1, 12, 12))
    for part in np.array_split(x.astype(np.uint8), 4):
        passing.feed(part, "train")
    passing.feed(copies.astype(np.uint8), "test")
    order = passing.result()
    assert (order.near, order.across) == (pytest.approx(300 / 1500), 300)
    alone = OrderPass((1, 12, 12))
    alone.feed(x.astype(np.uint8), "train")
    assert alone.result().near == 0


def test_dark_images_are_no_near_repetitions_of_each_other():
    """Brightness that varies by orders of magnitude: next to the bright ones all dark ones are close."""
    rng = np.random.default_rng(0)
    x = rng.random((600, 1, 8, 8)) * np.exp(2 * rng.standard_normal((600, 1, 1, 1)))
    passing = OrderPass((1, 8, 8))
    passing.feed(x.astype(np.float32), "train")
    assert passing.result().near == 0


def test_the_sample_is_drawn_from_the_whole_stream(monkeypatch):
    monkeypatch.setattr("lossproof.data.facts_stream.SAMPLE_IMAGES", 40)
    x = np.arange(2000, dtype=np.float32).reshape(-1, 1, 1, 1) / 2000 * np.ones((1, 1, 2, 2), np.float32)
    facts = facts_of(x)
    assert len(facts.sample) == 40
    assert np.allclose(facts.sample[:, 0, 0, 0], facts.sample_numbers / 2000)
    assert abs(facts.sample_numbers.mean() - 1000) < 4 * 577 / np.sqrt(40)


def test_files_of_arrays_are_read_in_blocks(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (37, 6, 7)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.savez_compressed(
        tmp_path / "x.npz", x_train=x[:30], x_test=x[30:], y_train=np.arange(30), y_test=np.arange(7)
    )
    head = struct.pack(">BBBB3I", 0, 0, 8, 3, 37, 6, 7)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + x.tobytes()))
    for name in ("x.npy", "x.npz", "t10k-images-idx3-ubyte.gz"):
        stream = open_stream(tmp_path / name)
        blocks = list(stream.blocks(values=100))
        assert max(len(block.images) for block in blocks) == 2
        assert np.array_equal(np.concatenate([block.images for block in blocks])[:, 0], x)
        assert np.concatenate([block.numbers for block in blocks]).tolist() == list(range(37))
        assert stream.streamed
    labels = open_stream(tmp_path / "x.npz").labels
    assert labels is not None
    assert labels.tolist() == [*range(30), *range(7)]


def test_the_stream_agrees_with_check(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 7)).astype(np.uint8)
    report, facts = check(x), facts_of(x)
    parts = report.parts
    total = sum(part.count * part.bce_floor for part in parts) / 40
    v = facts.levels.values
    inner = np.clip(v, 1e-12, 1 - 1e-12)
    entropy = np.where((v > 0) & (v < 1), -(inner * np.log(inner) + (1 - inner) * np.log1p(-inner)), 0)
    assert facts.levels.mean(entropy) * 42 == pytest.approx(total, rel=1e-9)


def test_facts_are_plain_json(tmp_path):
    import json

    text = json.dumps(describe(facts_of(smooth(30)[:, None].astype(np.float32))), allow_nan=False)
    assert json.loads(text)["images"] == 30


def test_noise_needs_two_witnesses():
    rng = np.random.default_rng(0)
    x = smooth(300, 12)
    noisy = facts_of(np.clip(x + 0.06 * rng.standard_normal(x.shape), 0, 1))
    assert noisy.noisy
    # the same pixel noise in single images, but neighbours' residuals alike: image content
    alike = replace(noisy, reference=replace(noisy.reference, neighbours=0.5))
    assert not alike.noisy
    assert not facts_of((rng.random((200, 10, 10)) < 0.4).astype(np.uint8)).noisy


def test_of_very_many_images_the_spectrum_is_that_of_every_kth(monkeypatch):
    monkeypatch.setattr("lossproof.data.facts_stream.SPREAD", 50)
    x = 60 * np.random.default_rng(0).integers(0, 5, (151, 1, 4, 4)).astype(np.uint8)
    facts, third = facts_of(x), x[::3] / 255
    covariance = np.cov(third.reshape(len(third), -1).T, bias=True)
    assert np.allclose(facts.spectrum.values, np.linalg.eigvalsh(covariance)[::-1], atol=1e-12)
    assert facts.mean == pytest.approx((x / 255).mean())  # and everything else of all
    assert facts.histogram_bits == facts_of(x[::3]).histogram_bits
    gone = x[:120].astype(np.float32) / 255
    gone[::2] = np.nan  # none of every second one is left
    assert facts_of(gone).spectrum.total > 0


def test_an_unknown_kind_of_data_is_refused():
    with pytest.raises(LossproofError, match="expected a name, a path or a NumPy array, got list"):
        open_stream([1, 2])
