"""Members trained side by side end where members trained one by one do: to rounding, or bit for bit by slices."""

import copy
import math

import pytest
import torch

from lossproof.models import build
from lossproof.torch.criterion import Graded, LossCriterion
from lossproof.torch.kernel import kernel
from lossproof.train import stack_convolutions
from lossproof.train.arm import Arm
from lossproof.train.comparison import make_members, resolve_all
from lossproof.train.loop import draw, train_epoch
from lossproof.train.settings import settle
from lossproof.train.stack import Stack, Walk
from lossproof.train.stack_layers import Buffers
from lossproof.train.stack_network import network


class Tempered(LossCriterion):
    """A loss over a temperature of its own, that is learned; what it was told to look at is kept in a buffer."""

    pace = 3.0

    def __init__(self):
        super().__init__(kernel("mse"))
        self.label = "tempered"
        self.parameters["log_temperature"] = torch.zeros((), requires_grad=True)
        self.buffers["seen"] = torch.zeros(())

    def grade(self, target, raw):
        found = super().grade(target, raw)
        factor = (-self.parameters["log_temperature"].detach()).exp()
        values = found.values * factor
        return Graded(values, found.slopes * factor, (0.05 * target.numel() - values.sum(),))

    def begin(self, epoch, sample):
        target, raw = sample()
        self.buffers["seen"].copy_((target.sum() + raw.sum()) * epoch)

    def project(self):
        with torch.no_grad():
            self.parameters["log_temperature"].clamp_(max=0.01)


TEMPERED = Arm("tempered", Tempered)


def make(images, losses, small, **options):
    """Members of a comparison as `compare` makes them, and its settings."""
    given = {"model": "vae", "lr": 1e-3, "beta": 1.0, "device": "cpu", "threads": 1} | small | options
    given.pop("progress")
    settings = settle(images, **given)
    return make_members(resolve_all(losses, images), images, settings), settings


def courses(images, settings, epoch):
    pixels = torch.from_numpy(images.train)
    return {seed: draw(pixels, settings, epoch, seed) for seed in settings.seeds}


def one_by_one(members, images, settings, epochs, start=1):
    for epoch in range(start, start + epochs):
        found = courses(images, settings, epoch)
        for member in members:
            if member.event is None and member.epoch < epoch:
                train_epoch(member, epoch, found[member.seed])
            member.epoch = epoch


def stacked(stack, images, settings, epochs, start=1):
    for epoch in range(start, start + epochs):
        stack.train(epoch, courses(images, settings, epoch).__getitem__)
        for member in stack.members:
            member.epoch = max(member.epoch, epoch)


def weights(member):
    return torch.cat([value.detach().flatten().double() for _, value in member.learned()])


def in_float64(member):
    """The same member with float64 weights, for a reference without float32's rounding."""
    other = copy.copy(member)
    other.model = copy.deepcopy(member.model).double()
    other.criterion = copy.deepcopy(member.criterion)
    own = other.criterion.parameters
    for name, value in own.items():
        own[name] = value.detach().double().requires_grad_()
    groups = [
        {key: group[key] for key in ("lr",)} | {"params": list(values)}
        for group, values in zip(
            member.optimiser.param_groups, (other.model.parameters(), own.values()), strict=False
        )
    ]
    other.optimiser = torch.optim.Adam(groups, fused=True)
    return other


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model": "ae", "hidden": (12, 7)},
        {"hidden": (), "latent": 1, "beta": (0.5, 4.0)},
        {"hidden": (40,), "latent": 20, "batch_size": 42},
        {"model": "conv-vae", "hidden": (4, 7)},
        {"model": "conv-ae", "hidden": (3,), "seeds": 1},
    ],
    ids=["vae", "ae, deep", "no hidden layer, betas", "one batch", "convolutions", "one convolution"],
)
def test_stacked_and_one_by_one_differ_by_rounding(tiny, small, options):
    losses = ["bce", "logcosh", TEMPERED]
    members, settings = make(tiny, losses, small, **options)
    others, _ = make(tiny, losses, small, **options)
    exact = [in_float64(member) for member in members]
    start = [weights(member) for member in members]
    one_by_one(members, tiny, settings, 4)
    stacked(Stack(others), tiny, settings, 4)
    wide = courses(tiny, settings, 1)[settings.seeds[0]].images.double()
    for epoch in range(1, 5):
        for member in exact:
            course = courses(tiny, settings, epoch)[member.seed]
            train_epoch(member, epoch, course._replace(images=wide, noise=course.noise.double()))
    for one, other, reference, first in zip(members, others, exact, start, strict=True):
        # float32's own rounding, seen against float64, is the measure: Adam divides gradients by their size, so
        # that a gradient near 0, which rounding may turn, moves a weight as far as any other
        rounding = (weights(one) - weights(reference)).norm()
        assert (weights(one) - weights(other)).norm() < 4 * rounding + 1e-7, one.name
        assert (weights(other) - weights(reference)).norm() < 4 * rounding + 1e-7, one.name
        assert (weights(reference) - first).norm() > 100 * rounding, "the test measures nothing"
        assert one.state().keys() == other.state().keys()
        assert torch.equal(
            one.state()["adam.encoder.0.weight.step"], other.state()["adam.encoder.0.weight.step"]
        )


def test_by_slices_every_bit_is_the_same(tiny, small):
    losses = ["bce", "mae", TEMPERED]
    members, settings = make(tiny, losses, small, beta=(0.5, 2.0))
    others, _ = make(tiny, losses, small, beta=(0.5, 2.0))
    one_by_one(members, tiny, settings, 3)
    stacked(Stack(others, by_slices=True), tiny, settings, 3)
    for one, other in zip(members, others, strict=True):
        left, right = one.state(), other.state()
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), one.name


def layers_of(models):
    """Stacked weights and room for gradients of each layer of the models, as a stack has them, and what they are."""
    names = {id(module): name for name, module in models[0].named_modules()}
    made = {}
    for module in models[0].modules():
        if own := list(module.named_parameters(recurse=False)):
            parts = [f"{names[id(module)]}.{part}" for part, _ in own]
            values = [torch.stack([m.get_parameter(name).detach() for m in models]) for name in parts]
            made[id(module)] = (parts, values, [torch.full_like(v, torch.nan) for v in values])
    return made


@pytest.mark.parametrize("piece", [1 << 18, 100], ids=["whole", "in pieces"])
@pytest.mark.parametrize(
    ("name", "shape", "hidden", "outputs"),
    [
        ("vae", (2, 3, 4), (17, 9), 2),
        ("conv-vae", (2, 9, 6), (3, 5), 2),
        ("conv-ae", (1, 8, 8), (4,), 2),
        ("conv-vae", (3, 7, 13), (4, 3, 6), 2),
        ("conv-vae", (1, 9, 6), (17, 5), 1),  # products of few columns
    ],
)
def test_all_gradients_of_a_batch_are_autograds(name, shape, hidden, outputs, piece, monkeypatch):
    monkeypatch.setattr(stack_convolutions, "PIECE", piece)
    models = [
        build(
            name,
            shape,
            hidden=hidden,
            latent=5,
            outputs=outputs,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(3)
    ]
    generator, pixels = torch.Generator().manual_seed(9), math.prod(shape)
    made = layers_of(models)
    net = network(models[0], lambda layer: made[id(layer)][1:], Buffers(torch.device("cpu")))
    weight = torch.tensor([0.5, 1.0, 2.0]) / 18
    for _ in range(2):  # the second batch finds the buffers of the first
        x, noise = torch.rand(3, 18, pixels, generator=generator), torch.randn(3, 18, 5, generator=generator)
        slopes = torch.randn(3, 18, outputs * pixels, generator=generator)
        raw = net.forward(x, noise)
        rates = torch.empty(3)
        net.rates(rates)
        net.backward(slopes.clone(), weight.view(-1, 1, 1))
    for slot, model in enumerate(models):
        out, mean, logvar = model(x[slot].view(18, *shape), noise[slot])
        rate = torch.zeros(())
        if logvar is not None:
            rate = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).sum()
            torch.testing.assert_close(net.logvar[slot], logvar.detach(), rtol=1e-5, atol=1e-6)
        ((out.flatten(1) * slopes[slot]).sum() + weight[slot] * rate).backward()
        torch.testing.assert_close(net.mean[slot], mean.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(raw[slot], out.flatten(1).detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(0.5 * rates[slot], rate.detach(), rtol=1e-5, atol=1e-5)
        for parts, _, gradients in made.values():
            for part, gradient in zip(parts, gradients, strict=True):
                torch.testing.assert_close(
                    gradient[slot], model.get_parameter(part).grad, rtol=2e-5, atol=2e-5, msg=part
                )


# finite while p > 1/10, which the black pixels leave after a while
LATER = "(y - p)**2 + 0.001*log(p - 0.1)"


def test_a_member_that_diverges_stops_alone_as_it_does_without_a_stack(tiny, small):
    options = small | {"lr": 0.05}
    alone, settings = make(tiny, ["bce", LATER, "mae"], options)
    among, _ = make(tiny, ["bce", LATER, "mae"], options)
    company, _ = make(tiny, ["bce", "mse", "mae"], options)
    one_by_one(alone, tiny, settings, 10)
    stacked(Stack(among), tiny, settings, 10)
    stacked(Stack(company), tiny, settings, 10)
    for one, other in zip(alone, among, strict=True):
        assert (one.event is None) == (other.event is None)
        if one.event is not None:
            assert 1 < one.event["epoch"] < 10
            assert {key: other.event[key] for key in ("epoch", "step", "term", "image", "index")} == {
                key: one.event[key] for key in ("epoch", "step", "term", "image", "index")
            }
            assert float(other.state()["adam.encoder.0.weight.step"]) == 3 * (one.event["epoch"] - 1)
            assert all(value.isfinite().all() for value in other.state().values())
    for one, other in zip(among, company, strict=True):
        if one.label == other.label:  # whoever sat beside it
            assert all(torch.equal(other.state()[key], value) for key, value in one.state().items())


@pytest.mark.parametrize("batch", [16, 32])  # of 30 pixels: members graded one by one, and in one call
@pytest.mark.parametrize("logit", [20.0, torch.nan])
def test_no_number_depends_on_another_members_logits(tiny, small, batch, logit):
    options = small | {"batch_size": batch}
    members, settings = make(tiny, ["mae", "huber"], options)
    others, _ = make(tiny, ["mae", "huber"], options)
    with torch.no_grad():
        others[1].model.decoder[-1].bias += logit  # above 12 the kernel writes p (1 - p) in another way
    pixels = torch.from_numpy(tiny.train)
    stacks = Stack(members), Stack(others)
    for epoch in (1, 2):
        given = {seed: draw(pixels, settings, epoch, seed) for seed in settings.seeds}
        for stack in stacks:
            stack.run([given[seed] for seed in stack.seeds], range(4))
    for slot in (0, 2, 3):
        assert all(torch.equal(others[slot].state()[k], v) for k, v in members[slot].state().items())
    assert not torch.equal(weights(members[1]), weights(others[1]))


@pytest.mark.parametrize("lost", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_lost_in_the_last_step_is_seen(tiny, small, monkeypatch, lost):
    members, settings = make(tiny, ["bce", "mse"], small)
    others, _ = make(tiny, ["bce", "mse"], small)
    stack, end = Stack(members), Walk.end

    def losing(walk):
        stack.rows.weights["encoder.2.weight"][1, 2, 3] = lost
        return end(walk)

    monkeypatch.setattr(Walk, "end", losing)
    stacked(stack, tiny, settings, 1)
    one_by_one(others, tiny, settings, 1)
    assert [member.event for member in members] == [None] * 4
    assert torch.equal(weights(members[1]), weights(others[1]))  # trained anew, alone
    assert all(weights(member).isfinite().all() for member in members)


def test_what_goes_wrong_in_the_stack_alone_goes_on_from_the_members_own_epoch(tiny, small, monkeypatch):
    members, settings = make(tiny, ["bce", "mse"], small)
    others, _ = make(tiny, ["bce", "mse"], small)
    stack, run = Stack(members), Stack.run
    monkeypatch.setattr(Stack, "run", lambda *given: [slot != 2 for slot in range(len(run(*given)))])
    stacked(stack, tiny, settings, 1)
    one_by_one(others, tiny, settings, 1)
    assert [member.event for member in members] == [None] * 4
    assert all(torch.equal(others[2].state()[key], value) for key, value in members[2].state().items())
    assert not torch.equal(weights(members[0]), torch.zeros_like(weights(members[0])))
    monkeypatch.undo()
    stacked(stack, tiny, settings, 1, start=2)  # and is in the stack again
    one_by_one(others, tiny, settings, 1, start=2)
    torch.testing.assert_close(weights(members[2]), weights(others[2]), rtol=1e-4, atol=1e-4)


def test_members_that_are_ahead_wait_and_the_others_do_not_notice(tiny, small):
    whole, settings = make(tiny, ["bce", "mse", TEMPERED], small)
    parts, _ = make(tiny, ["bce", "mse", TEMPERED], small)
    states = {}
    stack = Stack(whole)
    for epoch in (1, 2, 3, 4):
        stacked(stack, tiny, settings, 1, start=epoch)
        states[epoch] = [member.state() for member in whole]
    reached = [3, 1, 3, 3, 1, 1]  # as after a kill between two checkpoints
    for slot, (member, epoch) in enumerate(zip(parts, reached, strict=True)):
        member.restore(states[epoch][slot])
        member.epoch = epoch
    again = Stack(parts)
    for epoch in (2, 3, 4):
        names = again.train(epoch, courses(tiny, settings, epoch).__getitem__)
        assert names == {m.name for m, at in zip(parts, reached, strict=True) if at < epoch}
        for member in parts:
            member.epoch = max(member.epoch, epoch)
    for member, state in zip(parts, states[4], strict=True):
        assert all(torch.equal(member.state()[key], value) for key, value in state.items()), member.name


def test_a_stack_that_is_half_empty_is_left(tiny, small):
    members, _ = make(tiny, ["bce", "mse"], small)
    stack = Stack(members)
    for member in members[:2]:
        member.epoch, member.event = 7, {"epoch": 5}
    assert stack.moving(6) == [2, 3]
    members[2].event = {"epoch": 6}
    members[2].epoch = 7
    assert stack.moving(6) == [3]
    assert stack.moving(7) == []


def test_released_members_share_nothing(tiny, small):
    members, settings = make(tiny, ["bce", "mse"], small)
    stack = Stack(members)
    stacked(stack, tiny, settings, 1)
    before = [member.state() for member in members]
    stack.release()
    stack.numbers.fill_(7.0)
    for member, state in zip(members, before, strict=True):
        assert all(torch.equal(member.state()[key], value) for key, value in state.items())
    one_by_one(members, tiny, settings, 1, start=2)


def test_time_is_shared_out(tiny, small):
    members, settings = make(tiny, ["bce", "mse"], small)
    stacked(Stack(members), tiny, settings, 1)
    assert members[0].seconds > 0
    assert len({member.seconds for member in members}) == 1


def test_a_model_without_stacked_layers_is_trained_by_its_own(tiny, small):
    members, settings = make(tiny, ["bce"], small)
    others, _ = make(tiny, ["bce"], small)
    for member in (*members, *others):
        member.model.encoder[1] = torch.nn.Tanh()
    stack = Stack(members)
    assert stack.network is None
    stacked(stack, tiny, settings, 1)
    one_by_one(others, tiny, settings, 1)
    assert all(torch.equal(weights(one), weights(other)) for one, other in zip(members, others, strict=True))
