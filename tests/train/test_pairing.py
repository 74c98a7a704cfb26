"""Members of one seed share weights, batches and noise, bit for bit; other seeds do not."""

import numpy as np
import pytest
import torch

from lossproof.train import compare, measure
from lossproof.train.stack import Stack


def recorded(monkeypatch):
    """All that reaches each member in training: its weights at its first batch, and every target and noise after."""
    seen, training = {}, []
    run, pass_batch = Stack.run, Stack.pass_batch

    def running(stack, *given):
        training.append(stack)
        try:
            return run(stack, *given)
        finally:
            training.pop()

    def passing(stack, net, target, noise, *rest):
        parts = target.view(len(stack.seeds), -1, *target.shape[1:])
        for slot, member in enumerate(stack.members if training else []):
            weights = torch.cat([p.detach().flatten().clone() for p in member.model.parameters()])
            mine = seen.setdefault(member.name, {"weights": weights, "targets": [], "noise": []})
            mine["targets"].append(parts[slot % len(parts)].clone())
            mine["noise"].append(noise[slot % len(parts)].clone())
        return pass_batch(stack, net, target, noise, *rest)

    monkeypatch.setattr(Stack, "run", running)
    monkeypatch.setattr(Stack, "pass_batch", passing)
    return seen


def same(one, other):
    return all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("stack", ["on", "off"])
def test_members_of_a_seed_are_paired(tiny, small, tmp_path, monkeypatch, stack):
    seen = recorded(monkeypatch)
    before = torch.get_rng_state()
    compare(tiny, ("bce", "mse", "mae"), out=tmp_path / "run", stack=stack, **small)
    assert torch.equal(before, torch.get_rng_state()), "torch's global generator was used"
    for seed in (0, 1):
        first = seen[f"bce-s{seed}"]
        assert len(first["targets"]) == 3 * 3  # epochs x ceil(42 / 16)
        assert [len(t) for t in first["targets"][:3]] == [16, 16, 10]
        for loss in ("mse", "mae"):
            other = seen[f"{loss}-s{seed}"]
            assert torch.equal(first["weights"], other["weights"])
            assert same(first["targets"], other["targets"])
            assert same(first["noise"], other["noise"])
    assert not torch.equal(seen["bce-s0"]["weights"], seen["bce-s1"]["weights"])
    assert not same(seen["bce-s0"]["targets"], seen["bce-s1"]["targets"])
    assert not same(seen["bce-s0"]["noise"], seen["bce-s1"]["noise"])


def test_each_epoch_shows_every_image_once_in_a_new_order(tiny, small, tmp_path, monkeypatch):
    seen = recorded(monkeypatch)
    compare(tiny, ("bce",), out=tmp_path / "run", **small)
    epochs = [torch.cat(seen["bce-s0"]["targets"][i : i + 3]).numpy() for i in (0, 3, 6)]
    for shown in epochs:
        assert np.array_equal(np.sort(shown, axis=0), np.sort(tiny.train, axis=0))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not torch.equal(seen["bce-s0"]["noise"][0], seen["bce-s0"]["noise"][3])


def test_a_member_does_not_depend_on_its_company(tiny, small, tmp_path):
    alone = compare(tiny, ("mae",), out=tmp_path / "alone", **small).table
    among = compare(tiny, ("bce", "mae", "mse"), out=tmp_path / "among", **small).table
    common = alone.loc[alone.measure != "seconds"].reset_index(drop=True)
    kept = among.loc[
        (among.loss == "mae") & ~among.measure.isin(["seconds", "excess:bce", "excess:mse"])
    ].reset_index(drop=True)
    assert common.equals(kept)


def test_measuring_noise_is_the_same_for_all(tiny, small, tmp_path, monkeypatch):
    seen = []
    original = measure.Measurer.gradient_norm

    def gradient_norm(self, member, data):
        seen.append(data.noise)
        return original(self, member, data)

    monkeypatch.setattr(measure.Measurer, "gradient_norm", gradient_norm)
    compare(tiny, ("bce", "mse"), out=tmp_path / "run", **small)
    train, test = seen[::2], seen[1::2]
    assert all(noise is train[0] for noise in train)
    assert all(noise is test[0] for noise in test)
    assert not torch.equal(train[0], test[0])
