"""A data set small enough to train on in a moment, with pixels at 0, at 1 and between."""

import numpy as np
import pytest

from lossproof.data import Images

WITHOUT_SECONDS = "measure != 'seconds'"


@pytest.fixture
def tiny():
    rng = np.random.default_rng(7)
    grid = np.clip(rng.normal(0.4, 0.5, (60, 1, 6, 5)), 0, 1)
    pixels = (np.round(grid * 16) / 16).astype(np.float32)
    labels = np.arange(60) % 3
    return Images(
        name="tiny",
        train=pixels[:42],
        test=pixels[42:],
        train_labels=labels[:42],
        test_labels=labels[42:],
        source="numpy's generator, seed 7",
        scaling="sixteenths",
        levels=17,
        notes=("made for tests",),
    )


@pytest.fixture
def small():
    """Options of a run that takes a fraction of a second."""
    return {"hidden": (9,), "latent": 3, "epochs": 3, "batch_size": 16, "seeds": 2, "progress": False}
