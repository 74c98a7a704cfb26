"""Products in bfloat16: what is rounded, what is not, and that a run stays what it was through every engine and resume."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lossproof.formula.errors import LossproofError
from lossproof.torch.criterion import LossCriterion
from lossproof.train import compare, comparison
from lossproof.train.comparison import make_members, resolve_all
from lossproof.train.loop import draw, forward
from lossproof.train.settings import settle
from lossproof.train.stack import Stack
from runs import StopAfter, same_runs

MODELS = [("vae", (9,)), ("conv-vae", (4, 3)), ("ae", (7, 5))]


def make(images, small, **options):
    given = {"model": "vae", "lr": 1e-3, "beta": 1.0, "device": "cpu", "threads": 1} | small | options
    given.pop("progress")
    settings = settle(images, **given)
    return make_members(resolve_all(["bce", "mse"], images), images, settings), settings


def gradients_by_autograd(members, target, noise, precision):
    """Of each member, the gradients of all weights in one vector."""
    found = []
    for member in members:
        passed = forward(member, target, noise, precision)
        roots, known = passed.slopes_of_objective(member.beta)
        slopes = torch.autograd.grad(roots, list(member.model.parameters()), known)
        found.append(torch.cat([slope.flatten() for slope in slopes]))
    return torch.stack(found)


@pytest.mark.parametrize(("model", "hidden"), MODELS)
def test_layers_by_hand_round_what_autocast_does(tiny, small, model, hidden):
    members, settings = make(tiny, small, model=model, hidden=hidden, latent=5, seeds=1)
    target = torch.from_numpy(tiny.train)
    noise = draw(target, settings, 1, 0).noise
    exact, rounded = (
        gradients_by_autograd(members, target, noise, precision) for precision in ("float32", "bfloat16")
    )
    stack = Stack(members, precision="bfloat16")
    losses, rates = torch.zeros(2, 2)
    with torch.no_grad():
        stack.pass_batch(stack.network, target, noise[None], range(2), losses, rates)
    mine = torch.cat([rows.flatten(1) for rows in stack.rows.gradients.values()], 1)
    # float32 differs by a millionth, bfloat16 by some thousandths; more where a ReLU turns over
    for found in (rounded, mine):
        moved = (found - exact).norm(dim=1) / exact.norm(dim=1)
        assert ((moved > 1e-4) & (moved < 0.05)).all()
    # what is measured is the model of the float32 weights
    norms = torch.tensor(stack.gradient_norms(target, noise))
    torch.testing.assert_close(norms, exact.norm(dim=1), rtol=1e-5, atol=1e-6)
    raw, mean, _ = stack.outputs(target, noise)
    for slot, member in enumerate(members):
        ours, code, _ = member.model(target, noise)
        torch.testing.assert_close(raw[slot], ours.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(mean[slot], code.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("model", "hidden"), MODELS[:2])
def test_losses_and_codes_are_float32_inside(tiny, small, monkeypatch, model, hidden):
    members, settings = make(tiny, small, model=model, hidden=hidden, seeds=1)
    grade, seen = LossCriterion.grade, []

    def graded(criterion, target, raw):
        seen.append(raw.dtype)
        return grade(criterion, target, raw)

    monkeypatch.setattr(LossCriterion, "grade", graded)
    target = torch.from_numpy(tiny.train)
    passed = forward(members[0], target, draw(target, settings, 1, 0).noise, "bfloat16")
    assert seen == [torch.float32]
    assert (passed.mean.dtype, passed.logvar.dtype, passed.raw.dtype) == (torch.float32,) * 3
    # and are not bfloat16's numbers written in float32
    assert not torch.equal(passed.rates.detach(), passed.rates.detach().bfloat16().float())


def test_a_run_in_bfloat16(tiny, small, tmp_path, monkeypatch):
    options = small | {"epochs": 4, "precision": "bfloat16"}
    whole = compare(tiny, ("bce", "mae"), out=tmp_path / "whole", **options)
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert config["precision"] == "bfloat16"
    plain = compare(tiny, ("bce", "mae"), out=tmp_path / "plain", **small | {"epochs": 4})
    assert "precision" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    measured = [
        run.table.query("measure == 'loss' and epoch == 4").value.to_numpy() for run in (whole, plain)
    ]
    assert not np.array_equal(*measured)
    assert np.allclose(*measured, rtol=0.02)
    for path in (tmp_path / "whole" / "checkpoints").iterdir():
        assert {value.dtype for value in load_file(path).values()} == {torch.float32}

    with monkeypatch.context() as patch:
        patch.setattr(StopAfter, "rounds", 2)
        patch.setattr(StopAfter, "asked", 0)
        patch.setattr(comparison, "Interrupt", StopAfter)
        assert compare(tiny, ("bce", "mae"), out=tmp_path / "parts", **options).interrupted
    with pytest.raises(LossproofError, match=r"resume: .*precision bfloat16 -> None"):
        compare(tiny, ("bce", "mae"), out=tmp_path / "parts", resume=True, **small | {"epochs": 4})
    # begun in this process, ended in two others
    compare(tiny, ("bce", "mae"), out=tmp_path / "parts", resume=True, workers=2, **options)
    same_runs(tmp_path / "whole", tmp_path / "parts")

    stacked = compare(tiny, ("bce", "mae"), out=tmp_path / "stacked", stack="on", **options).table
    values = [t.query("measure == 'loss' and epoch == 4").value.to_numpy() for t in (whole.table, stacked)]
    assert np.allclose(*values, rtol=1e-3)


def test_a_precision_that_is_none(tiny, small):
    _, settings = make(tiny, small)
    assert replace(settings, precision="bfloat16").to_dict()["precision"] == "bfloat16"
    with pytest.raises(LossproofError, match=r"precision: expected float32 or bfloat16, got 'float16'"):
        compare(tiny, precision="float16", **small)
