"""The answer's sentences: each rests on a fact, a certificate or the pilot, and says what it does not know."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lossproof.advise import GOALS
from lossproof.advise.advice import advise_facts
from lossproof.advise.answer import ASKS, COUNTER, MIXED, changes, reasons, warnings
from lossproof.advise.candidates import gather_candidates
from lossproof.advise.page import looks, render
from lossproof.advise.pilot import Pilot, Row
from lossproof.advise.ranking import needs, rank
from lossproof.advise.traits import Traits
from lossproof.advise.words import fact_rows, floors
from lossproof.data.facts_stream import gather
from lossproof.data.stream import open_stream

FEW = ["bce", "mse", "mae"]


@pytest.fixture(scope="module")
def digits():
    return gather(open_stream("digits"))


@pytest.fixture(scope="module")
def judged(digits):
    return gather_candidates(digits, [*FEW, "discretised_logistic"])


def pilot_of(chosen: str, *, conclusive: bool = True, drawn: dict[str, float] | None = None) -> Pilot:
    rows = tuple(
        Row(
            label,
            (0.1, 0.1),
            9,
            1e-3,
            1e-4,
            0.1,
            0.0,
            0.0,
            0.0,
            False,
            {} if drawn is None else {"drawn": drawn[label]},
        )
        for label in FEW
    )
    return Pilot("squared", "error", rows, chosen, "these words", conclusive, "ae", 900, 300, 2, 1.0)


def said(facts, judged, goal: str, label: str, pilot: Pilot | None) -> list[str]:
    asked, ranked = rank([c for c in judged[0] if not c.decoder or goal == "sample"], facts, GOALS[goal])
    first = next(entry for entry in ranked if entry.candidate.label == label)
    order = [first, *(entry for entry in ranked if entry is not first)]
    return reasons(first, order, asked, facts, pilot, Traits(first.candidate.loss), GOALS[goal])


def test_each_need_has_words(digits):
    bits = gather(open_stream((np.random.default_rng(0).random((60, 6, 6)) < 0.4).astype(np.uint8)))
    for facts in (digits, bits):
        for goal in GOALS.values():
            assert {need.requirement for need in needs(facts, goal)} <= set(ASKS)


def test_what_an_advised_loss_lacks_is_said_and_what_counts_more(digits, judged):
    text = " ".join(said(digits, judged, "reconstruct", "mse", pilot_of("mse")))
    assert "58 % of the values are 0 or 1, where the sigmoid saturates, so the gradient should stay" in text
    assert "mse: no (dl/dz -> 0" in text
    assert "The pilot measured what that costs here, and counts more." in text
    assert "these words" in text
    for pilot in (None, pilot_of("mse", conclusive=False)):
        bare = " ".join(said(digits, judged, "reconstruct", "mse", pilot))
        assert "counts more" not in bare
        assert MIXED in bare
    assert "bce: yes" in " ".join(said(digits, judged, "reconstruct", "bce", pilot_of("bce")))


def test_a_linear_output_saturates_nowhere(digits):
    assert "alive" in {need.requirement for need in needs(digits, GOALS["reconstruct"])}
    loose = replace(digits, outside=0.01)
    assert not loose.unit
    assert "alive" not in {need.requirement for need in needs(loose, GOALS["reconstruct"])}


def test_the_law_is_a_reason_only_where_it_is_one(digits, judged):
    assert not any("As a law" in text for text in said(digits, judged, "reconstruct", "bce", None))
    (text,) = (t for t in said(digits, judged, "sample", "bce", None) if "As a law" in t)
    law = next(c.law for c in judged[0] if c.label == "bce")
    assert f"{law.nats:.3f} nats ({law.nats / np.log(2):.3f} bits)" in text
    assert "discretised_logistic, the best of the others" in text
    (text,) = (t for t in said(digits, judged, "sample", "discretised_logistic", None) if "As a law" in t)
    assert "exp(-loss/T)" not in text


def test_counter_evidence_stands_beside_the_evidence(digits, judged):
    assert COUNTER["sample"] in said(digits, judged, "sample", "discretised_logistic", None)
    assert COUNTER["sample"] not in said(digits, judged, "sample", "bce", None)
    assert COUNTER["represent"] in said(digits, judged, "represent", "bce", None)


def test_drawn_pictures_that_disagree_with_the_bound_are_named(digits, judged):
    apart = pilot_of("bce", drawn={"bce": 0.5, "mse": 0.2, "mae": 0.9})
    text = " ".join(said(digits, judged, "sample", "bce", apart))
    assert "mse comes nearest to held-out images (energy distance 0.2, bce 0.5)" in text
    same = pilot_of("bce", drawn={"bce": 0.1, "mse": 0.2, "mae": 0.9})
    assert "two things" not in " ".join(said(digits, judged, "sample", "bce", same))


def test_warnings_follow_goal_and_loss(digits, judged):
    _, ranked = rank(judged[0], digits, GOALS["sample"])
    first = {entry.candidate.label: entry for entry in ranked}
    assert any(
        "Score images by the excess" in t for t in warnings(digits, first["bce"], None, GOALS["anomaly"])
    )
    assert any(
        "bce does not reach 0 here" in t for t in warnings(digits, first["bce"], None, GOALS["reconstruct"])
    )
    assert any("KL weight: 1, since its scale is learned" in t
               for t in warnings(digits, first["discretised_logistic"], 1.0, GOALS["sample"]))  # fmt: skip
    assert any(
        "at 1 a linear VAE would use" in t for t in warnings(digits, first["bce"], 0.1, GOALS["sample"])
    )
    film = replace(digits, order=replace(digits.order, film=True, equal=0.01, across=3))
    found = warnings(film, first["mse"], None, GOALS["reconstruct"])
    assert any("--split tail" in t for t in found)
    assert any("1.00 % of the images repeat another exactly" in t and "3 of them" in t for t in found)


def test_what_would_change_it_fits_the_answer(digits, judged):
    _, ranked = rank(judged[0], digits, GOALS["sample"])
    first = {entry.candidate.label: entry for entry in ranked}
    for label, there in (("bce", True), ("discretised_logistic", False)):
        found = changes(first[label], ranked, digits, None, GOALS["sample"])
        assert any("linear output" in text for text in found) == there
        assert any("--goal reconstruct is another measure (mean squared error" in text for text in found)
    once = replace(pilot_of("bce"), rows=tuple(replace(row, epochs=1) for row in pilot_of("bce").rows))
    told = changes(first["bce"], ranked, digits, once, GOALS["reconstruct"])
    assert any("from bce with 1 epoch and 2 seeds" in text for text in told)
    told = changes(first["bce"], ranked, digits, pilot_of("bce"), GOALS["reconstruct"])
    assert any("mse, mae could not be told from bce with 9 epochs and 2 seeds" in text for text in told)
    clear = replace(
        pilot_of("bce"), rows=tuple(replace(r, separated=r.label != "bce") for r in pilot_of("bce").rows)
    )
    told = changes(first["bce"], ranked, digits, clear, GOALS["reconstruct"])
    assert told[0].startswith("Training for much longer than the pilot's 9 epochs")
    told = changes(first["bce"], ranked, digits, replace(clear, skipped=("mae",)), GOALS["reconstruct"])
    assert told[0] == "A longer pilot (a larger --budget): mae ended after an epoch for want of time."


def test_facts_in_words(digits):
    rows = dict(fact_rows(digits))
    assert rows["noise"].startswith("none that can be told from content (at most 0.139")
    assert (
        rows["order"]
        == "no order (neighbours at 97 % of the distance of two random images); none repeats another"
    )
    noisy = replace(digits, noise=replace(digits.noise, impulses=0.05))
    assert dict(fact_rows(noisy))["noise"].startswith("found: standard deviation")
    assert "read" not in rows
    assert floors({"mse": 0.0}) == "0 for every loss"


def test_the_page_shows_the_images_as_they_were_read(digits, judged):
    source = looks(digits)
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (8, 10 * 9 - 1, 4)
    assert np.array_equal(pixels[:, :8, 0], np.rint(255 * digits.sample[0, 0]))
    assert np.allclose(pixels[:, 8 * 9 : 8 * 9 + 8, 1], 255 * digits.sample.mean(axis=0)[0], atol=1)
    assert pixels[:, 8, 3].max() == 0  # gaps are transparent
    text = render(advise_facts(digits, "sample", budget=0, judged=judged, prove=False))
    assert source in text
    assert "bce 13.66; 0 for the others (nats per image)" in text


def test_colour_images_keep_their_channels():
    x = np.zeros((9, 3, 4, 5), np.uint8)
    x[:, 1], x[4, 0, 2, 2] = 200, 90
    with Image.open(io.BytesIO(base64.b64decode(looks(gather(open_stream(x))).partition(",")[2]))) as image:
        assert np.asarray(image)[0, 0].tolist() == [0, 200, 0, 255]
