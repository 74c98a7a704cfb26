"""Data on other scales than [0, 1]: what is undone, what is only guessed, and that the printed lines run."""

import numpy as np
import pytest
import torch

from lossproof.advise import advise

FEW = ["bce", "mse", "mae"]


def smooth(count=60, side=12, channels=1):
    """Grey images on no lattice of levels, from 0 to 1."""
    rng = np.random.default_rng(3)
    grid = np.linspace(0, 1, side)
    a, b, c = rng.uniform(0.5, 3, (3, count, channels, 1, 1))
    x = np.sin(a * 3 * grid[:, None] + b) * np.cos(c * 3 * grid + a)
    low, high = x.min((2, 3), keepdims=True), x.max((2, 3), keepdims=True)
    return (x - low) / (high - low)


def said(advice):
    return " ".join((*advice.reasons, *advice.changes, *advice.warnings))


@pytest.mark.parametrize("scale", [lambda x: 2 * x - 1, lambda x: (x - x.mean()) / x.std()], ids=["pm1", "z"])
def test_where_black_was_is_a_guess_nothing_is_told_of_undone_values(scale):
    """No lattice of bytes shows what was done: one advice, for the values as they are, and no pilot on cut-off pictures."""
    advice = advise(scale(smooth()).astype(np.float32), losses=FEW, budget=1)
    assert advice.facts.scale_unknown
    assert advice.pilot is None
    assert advice.changes[0].endswith("where a pilot's pictures do not reach: undo the scaling first.")
    assert "If that is so, undo it and ask again: x = " in said(advice)
    assert "The advice is for the values as they are." in said(advice)
    assert "after that line" not in said(advice)
    assert advice.activation.startswith("none")
    assert "first, once" not in advice.code["torch"]
    assert "plateaus behind the sigmoid" not in said(advice)


def test_where_bytes_show_what_was_done_it_is_undone_and_the_line_is_printed():
    bytes_ = np.rint(255 * smooth()) / 255
    advice = advise((2 * bytes_ - 1).astype(np.float32), losses=FEW, budget=0)
    assert advice.facts.undone
    assert "The advice is for the values after that line." in said(advice)
    assert "x = (x + 1) / 2  # first, once" in advice.code["torch"]


def test_the_line_for_several_channels_runs_and_ends_in_the_domain_of_the_loss():
    """ImageNet's constants have three digits: undone, black may lie a little below 0."""
    mean, std = (np.reshape(v, (1, 3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = ((np.rint(255 * smooth(channels=3)) / 255 - mean) / std).astype(np.float32)
    advice = advise(x, losses=FEW, budget=0)
    assert "(ImageNet)" in said(advice)
    known = {"x": torch.from_numpy(x), "decoder": lambda code: torch.zeros(x.shape), "code": None}
    exec(advice.code["torch"], known)
    assert torch.isfinite(known["objective"])
    assert 0 <= known["x"].min() <= known["x"].max() <= 1


@pytest.mark.parametrize("sigma", [0.03, 0.06, 0.1, 0.2])
def test_noise_around_black_is_no_scaling(sigma):
    """Of a black background noise takes half below 0: more than the tenth that resizing leaves there."""
    rng = np.random.default_rng(0)
    x = np.where(smooth() > 0.6, smooth(), 0.0)
    advice = advise(
        (x + sigma * rng.standard_normal(x.shape)).astype(np.float32), "denoise", losses=FEW, budget=0
    )
    assert advice.facts.outside > 0.2
    assert advice.facts.history.text == "noise or resizing beyond black and white"
    assert not advice.facts.scale_unknown


@pytest.mark.parametrize(("scale", "shift"), [(2, -1), (1, -0.5)])
def test_what_lies_on_bytes_once_undone_is_no_noise(scale, shift):
    """Images of little contrast around the middle: a tenth and more of the values are a little below 0."""
    bytes_ = np.rint(118 + 60 * smooth()) / 255
    facts = advise((scale * bytes_ + shift).astype(np.float32), losses=FEW, budget=0).facts
    assert facts.undone
    assert 0 < facts.low < facts.high < 1


@pytest.mark.parametrize("largest", [2.0, 3.03, 100.0])
def test_floats_above_1_that_are_no_bytes_are_not_divided_by_255(largest):
    advice = advise((largest * smooth()).astype(np.float32), losses=FEW, budget=0)
    assert advice.facts.high == pytest.approx(1, abs=1e-4)
    assert "255" not in advice.facts.fix
    assert advise(np.rint(255 * smooth()).astype(np.float32), losses=FEW, budget=0).facts.fix == "x = x / 255"


@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 4095), (np.uint8, 15)])
def test_types_that_hold_more_than_the_values_use_are_asked_about(dtype, top):
    advice = advise(np.rint(top * smooth()).astype(dtype), losses=FEW, budget=0)
    assert f"The largest value is {top} of {np.iinfo(dtype).max} that {np.dtype(dtype)} can hold." in said(
        advice
    )
    full = advise(np.rint(np.iinfo(dtype).max * smooth()).astype(dtype), losses=FEW, budget=0)
    assert "can hold" not in said(full)


def test_why_there_was_no_pilot_is_said():
    few = advise(np.rint(255 * smooth(6)).astype(np.uint8), losses=FEW, budget=60)
    assert few.changes[0] == "6 images are too few for a pilot, which needs 8."
    one = advise(np.rint(255 * smooth()).astype(np.uint8), losses=["mse"], budget=60)
    assert one.changes[0] == "There is one loss to choose from, so a pilot would decide nothing."
    none = advise(np.rint(255 * smooth()).astype(np.uint8), losses=FEW, budget=0)
    assert none.changes[0] == "A pilot (--budget 60) measures what the facts only suggest."


def test_the_weight_of_the_kl_is_1_for_a_likelihood():
    """exp(-BCE) of zeros and ones has mass 1: with another weight the objective bounds something else."""
    advice = advise((smooth(80) > 0.5).astype(np.uint8), "sample", losses=["bce", "mse"], budget=0)
    assert (advice.loss, advice.temperature, advice.beta) == ("bce", 1.0, 1.0)
    grey = advise(np.rint(255 * smooth(80)).astype(np.uint8), "sample", losses=["bce", "mse"], budget=0)
    assert grey.beta < 0.5
