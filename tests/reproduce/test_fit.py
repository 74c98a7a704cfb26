"""The shared runner: schedule, measuring, and what happens when a value is lost."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lossproof.formula.errors import LossproofError
from lossproof.reproduce.bench import prepare
from lossproof.reproduce.fit import Plan, fit, floor, measure
from lossproof.reproduce.keras_ae import BlogNet
from lossproof.torch.criterion import criterion
from lossproof.torch.decoders import criterion_for


@pytest.fixture(scope="module")
def bench():
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    return prepare(images)


def test_the_rate_falls_along_a_cosine_and_is_kept_without_an_end():
    plan = Plan("vae", 2, (), 5, 8, lr=1.0, last=0.0)
    expected = [0.5 * (1 + np.cos(np.pi * k / 4)) for k in range(5)]
    assert [plan.rate(epoch) for epoch in range(1, 6)] == pytest.approx(expected)
    assert Plan("vae", 2, (), 5, 8, lr=0.3).rate(5) == 0.3
    assert Plan("vae", 2, (), 1, 8, lr=0.3, last=0.1).rate(1) == 0.3


def test_training_lowers_the_objective_and_the_last_epochs_rate_is_used(bench):
    rates = []
    plan = Plan("vae", 2, (8,), 4, 8, lr=1e-2, last=1e-3)
    before = measure(
        fit(bench, bench.images.train, criterion("bce"), Plan("vae", 2, (8,), 1, 8, lr=1e-9)),
        bench.images.test,
    )
    member = fit(bench, bench.images.train, criterion("bce"), plan)
    rates = [group["lr"] for group in member.optimiser.param_groups]
    assert rates == pytest.approx([1e-3])
    assert measure(member, bench.images.test).objective < before.objective


def test_measured_is_the_mean_over_all_images_of_loss_and_rate(bench):
    member = fit(bench, bench.images.train, criterion("bce"), Plan("ae", 2, (8,), 1, 8))
    test = torch.from_numpy(bench.images.test)
    with torch.inference_mode():
        raw, _, _ = member.model(test)
        expected = F.binary_cross_entropy_with_logits(raw, test, reduction="sum").item() / len(test)
    found = measure(member, bench.images.test)
    assert found.reconstruction == pytest.approx(expected, rel=1e-5)
    assert found.rate == 0
    assert measure(member, bench.images.test, criterion("mse")).objective < found.objective


def test_a_learned_parameter_is_trained_beside_the_weights(bench):
    law = criterion_for("gaussian(sigma=shared)", bench.images.image_shape)
    start = law.parameters["log_sigma"].item()
    member = fit(bench, bench.images.train, law, Plan("vae", 2, (), 2, 8, lr=1e-2))
    assert member.criterion.parameters["log_sigma"].item() != start


def test_a_value_that_is_lost_ends_the_run_with_its_place(bench):
    with pytest.raises(LossproofError, match=r"stopped in epoch 1, step \d+"):
        fit(bench, bench.images.train, criterion("bce"), Plan("vae", 2, (8,), 1, 8, lr=1e30))


def test_the_floor_is_the_entropy_of_the_targets(bench):
    y = torch.from_numpy(bench.images.test).double()
    entropy = F.binary_cross_entropy(y, y, reduction="sum").item() / len(y)
    lowest, mean = floor(bench, "bce")
    assert lowest == pytest.approx(entropy, rel=1e-9)
    assert mean > lowest


def test_the_blogs_net_has_its_relu_on_the_code_and_its_initial_weights():
    net = BlogNet((1, 28, 28), 32, torch.Generator().manual_seed(0))
    code, logvar = net.encode(torch.rand(4, 1, 28, 28))
    assert logvar is None
    assert code.min() == 0
    weight = net.encoder[0].weight
    bound = (6 / (784 + 32)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert net.decoder[0].bias.abs().max() == 0
