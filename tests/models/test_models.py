"""The models: shapes, weights from the given generator alone, torch's own initial laws."""

import math

import pytest
import torch
from torch import nn

from lossproof.formula.errors import LossproofError
from lossproof.models import MODELS, build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


SHAPES = [(1, 4, 4), (1, 8, 8), (1, 28, 28), (3, 9, 14), (1, 28, 20), (3, 5, 4), (1, 31, 7)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_have_the_images_size(name, shape):
    hidden = (5, 7, 6) if name.startswith("conv") else (11,)
    model = build(name, shape, hidden=hidden, latent=3, generator=generator())
    mean, logvar = model.encode(torch.rand(2, *shape))
    assert mean.shape == (2, 3)
    assert model.decode(mean).shape == (2, *shape)
    assert model.variational == name.endswith("vae")
    if model.variational:
        assert logvar.shape == (2, 3)
    else:
        assert logvar is None


def test_known_sizes():
    keras = build("ae", (1, 28, 28), hidden=(), latent=32, generator=generator())
    assert sum(p.numel() for p in keras.parameters()) == 784 * 32 + 32 + 32 * 784 + 784
    example = build("vae", (1, 28, 28), hidden=(400,), latent=20, generator=generator())
    # fc1, fc21, fc22, fc3 and fc4 of pytorch/examples/vae
    assert sum(p.numel() for p in example.parameters()) == sum(
        (i + 1) * o for i, o in ((784, 400), (400, 20), (400, 20), (20, 400), (400, 784))
    )


@pytest.mark.parametrize("name", MODELS)
def test_weights_come_from_the_generator_alone(name):
    before = torch.get_rng_state()
    one, two, other = (
        build(name, (1, 8, 8), hidden=(6,), latent=2, generator=generator(seed)).state_dict()
        for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda m: m.encoder[0], lambda: nn.Conv2d(3, 40, 3)),
        (lambda m: m.decoder[1], lambda: nn.ConvTranspose2d(50, 40, 3)),
        (lambda m: m.decoder_input, lambda: nn.Linear(16, 200)),
    ],
)
def test_initial_law_is_torchs(ours, theirs):
    model = build("conv-ae", (3, 8, 8), hidden=(40, 50), latent=16, generator=generator())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference = theirs()
    for name in ("weight", "bias"):
        mine, default = getattr(ours(model), name).detach(), getattr(reference, name).detach()
        # a uniform law is known by its end and its variance
        assert math.isclose(mine.abs().max(), default.abs().max(), rel_tol=0.1), name
        assert math.isclose(mine.std(), default.std(), rel_tol=0.25), name


def test_reparametrisation():
    model = build("vae", (1, 4, 4), hidden=(), latent=2, generator=generator())
    x, noise = torch.rand(3, 1, 4, 4), torch.randn(3, 2, generator=generator())
    logits, mean, logvar = model(x, noise)
    assert torch.equal(logits, model.decode(mean + noise * torch.exp(0.5 * logvar)))
    assert torch.equal(model(x)[0], model.decode(mean))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gan", (1, 8, 8), (4,), 2), r"model: expected one of ae, vae, conv-ae, conv-vae, got 'gan'"),
        (("ae", (1, 8, 8), (4,), 0), r"ae: expected widths of at least 1, got latent 0"),
        (("ae", (1, 8, 8), (4, 0), 1), r"expected widths of at least 1, got latent 1 and hidden \(4, 0\)"),
        (("ae", (8, 8), (4,), 1), r"expected an image shape \(channels, height, width\), .* got \(8, 8\)"),
        (("conv-ae", (1, 3, 8), (4,), 1), r"at least 4 x 4 pixels, got 3 x 8\. Use the dense model"),
        (("conv-vae", (1, 8, 8), (), 1), r"at least one convolution in hidden, got none"),
    ],
)
def test_errors(arguments, message):
    name, shape, hidden, latent = arguments
    with pytest.raises(LossproofError, match=message):
        build(name, shape, hidden=hidden, latent=latent, generator=generator())
