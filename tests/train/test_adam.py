"""The project's Adam beside torch's: the same bits."""

import torch

from lossproof.train.adam import Adam

SHAPES = ((40, 9), (9,), (), (1,))


def test_it_takes_the_steps_of_torchs_own():
    generator = torch.Generator().manual_seed(3)
    ours, theirs = (
        [torch.ones(shape).requires_grad_() for shape in SHAPES],
        [torch.ones(shape).requires_grad_() for shape in SHAPES],
    )
    adam = Adam([{"params": ours[:2]}, {"params": ours[2:], "lr": 0.3}], lr=0.01)
    torchs = torch.optim.Adam(
        [{"params": theirs[:2]}, {"params": theirs[2:], "lr": 0.3}], lr=0.01, fused=True
    )
    for step in range(7):
        for group in (*adam.param_groups, *torchs.param_groups):
            group["lr"] *= 0.9  # as a schedule does it
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        if step < 2:
            ours[1].grad = theirs[1].grad = None  # begins to move later
        adam.step()
        torchs.step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
        assert adam.state[one].keys() == torchs.state[other].keys()
        assert all(torch.equal(adam.state[one][key], torchs.state[other][key]) for key in adam.state[one])
    assert adam.state[ours[1]]["step"].item() == 5
    adam.zero_grad()
    assert all(parameter.grad is None for parameter in ours)
    before = [parameter.detach().clone() for parameter in ours]
    adam.step()
    assert all(torch.equal(a, b) for a, b in zip(before, ours, strict=True))
