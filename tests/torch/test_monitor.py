"""Monitor: numbers against scipy and by hand, no wait for the device, alarms, several processes."""

import copy
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, xlogy

from lossproof.formula import LossproofError
from lossproof.lower import function
from lossproof.lower.watch import DEAD_ERROR, DEAD_GRADIENT, largest_slope, summary
from lossproof.torch import ReconstructionLoss, kernel
from lossproof.torch.monitor import Monitor

NAN, INF = float("nan"), float("inf")


def batch(count: int, seed: int, scale: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 1, 4, 3, generator=g) * scale
    return z, torch.rand(z.shape, generator=g)


def bce(y, p):
    return -(xlogy(y, p) + xlogy(1 - y, 1 - p))


def test_loss_floor_and_excess_are_means_over_all_images():
    monitor = Monitor("bce")
    parts = [batch(5, 0), batch(3, 1)]
    for z, y in parts:
        assert monitor(z, y) is None
    z, y = (torch.cat(a).double().numpy() for a in zip(*parts, strict=True))
    found = monitor.compute()
    assert list(found) == ["loss", "floor", "excess", "dead_pixels", "non_finite", "images"]
    assert all(type(v) is float for v in found.values())
    assert found["loss"] == pytest.approx(bce(y, expit(z)).sum() / 8, rel=1e-6)
    assert found["floor"] == pytest.approx(bce(y, y).sum() / 8, rel=1e-6)
    assert found["excess"] == pytest.approx(found["loss"] - found["floor"])
    assert found["images"] == 8
    assert found["non_finite"] == 0


def test_dead_pixels_are_wrong_by_a_tenth_and_hardly_pulled():
    z = torch.tensor([[-20.0, -20.0, 0.0, -2.0]])
    y = torch.tensor([[1.0, 0.05, 0.9, 0.0]])
    monitor = Monitor("mse")
    monitor(z, y)  # only the first is far off with a gradient of 2e-9
    assert monitor.compute()["dead_pixels"] == 0.25
    monitor = Monitor("bce")
    monitor(z, y)  # behind its own link the gradient is p - y
    assert monitor.compute()["dead_pixels"] == 0.0


def test_dead_pixels_by_the_definition():
    z, y = batch(50, 2, scale=12.0)
    p = expit(z.double().numpy())
    slope = 2 * (p - y.numpy()) * p * (1 - p)
    limit = 1e-3 * 8 / 27  # the largest slope of (y - p)^2 is at y = 1, p = 1/3
    expected = ((np.abs(slope) < limit) & (np.abs(p - y.numpy()) > 0.1)).mean()
    monitor = Monitor("mse")
    monitor(z, y)
    assert 0.1 < expected < 0.9
    assert monitor.compute()["dead_pixels"] == pytest.approx(expected, abs=2 / z.numel())
    behind = Monitor("mse", from_logits=False)
    behind(z.double().sigmoid(), y.double())
    assert behind.compute()["dead_pixels"] == pytest.approx(expected, abs=2 / z.numel())


def test_the_definition_of_dead_is_that_of_the_comparison():
    from lossproof.train.settings import Evaluation

    fields = Evaluation.__dataclass_fields__
    assert (fields["dead_error"].default, fields["dead_gradient"].default) == (DEAD_ERROR, DEAD_GRADIENT)
    for spec in ("bce", "mae", "focal"):
        assert Monitor(spec).dead_below == pytest.approx(1e-3 * largest_slope(kernel(spec).loss), rel=1e-9)


def test_takes_over_a_loss_of_ones_own():
    weight = torch.tensor([[[1.0, 2.0, 0.0]] * 4])
    loss = ReconstructionLoss("bce", from_logits=False, weight=weight, reduction="mean", excess=True)
    monitor = Monitor(loss)
    assert monitor.kernel is loss.kernel
    z, y = batch(6, 3)
    p = z.sigmoid()
    monitor(p, y)
    found = monitor.compute()
    mean = loss(p, y).item()  # loss - floor, weighted, over all elements
    assert found["excess"] == pytest.approx(mean * 12, rel=1e-5)
    value = (bce(y.double().numpy(), p.double().numpy()) * weight.numpy()).sum() / 6
    assert found["loss"] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(dtype):
    z, y = (a.to(dtype) for a in batch(4, 4))
    monitor = Monitor("bce")
    monitor(z, y)
    expected = bce(y.double().numpy(), expit(z.double().numpy())).sum() / 4
    assert monitor.compute()["loss"] == pytest.approx(expected, rel=1e-6)


def test_every_takes_the_first_call_of_each_epoch():
    monitor = Monitor("mse", every=3)
    for _ in range(2):
        for step in range(5):
            monitor(*batch(step + 1, step))  # of 1, 2, 3, 4, 5 images, 1 and 4 are looked at
        assert monitor.compute()["images"] == 5
        monitor.reset()
    assert monitor.steps == 10


def test_nothing_collected_is_nan():
    found = Monitor("mse").compute(reduce=True)
    assert np.isnan([found["loss"], found["excess"], found["dead_pixels"]]).all()
    assert found["images"] == found["non_finite"] == 0
    assert np.isnan(summary([0, 0, 0, 0], images=0, pixels=0)["floor"])


@pytest.mark.parametrize("spec", ["bce", "mse", "mae", "huber(delta=0.1)", "poisson"])
def test_steps_do_not_wait_for_the_device(spec):
    monitor = Monitor(ReconstructionLoss(spec, check="never"))
    z, y = (a.to("meta") for a in batch(4, 5))  # holds no values: whoever asks for one fails
    for _ in range(3):
        monitor(z, y)
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        monitor.compute()


def test_the_first_call_looks_at_the_targets_and_no_other():
    monitor = Monitor("bce")
    z, y = batch(4, 5)
    with pytest.raises(LossproofError, match=r"expected target in \[0, 1\].*Divide by 255"):
        monitor(z, y * 255)
    monitor(z, y)
    monitor(z, y * 255)
    with pytest.raises(LossproofError, match="Divide by 255"):
        Monitor(ReconstructionLoss("bce", check="always"))(z, y * 255)


def test_keeps_no_graph_and_survives_inference_mode():
    z, y = batch(4, 6)
    z.requires_grad_()
    monitor = Monitor("bce")
    with torch.inference_mode():
        monitor(z, y)
    monitor(z, y)
    assert not monitor._sums.requires_grad
    other = copy.deepcopy(monitor)
    other(z, y)
    assert (monitor.compute()["images"], other.compute()["images"]) == (8, 12)


@pytest.mark.parametrize("alarm", ["warn", "raise", "off"])
def test_alarm_names_the_first_step_and_the_term(alarm, recwarn):
    monitor = Monitor("bce", alarm=alarm)
    for step in range(1, 6):
        z, y = batch(2, step)
        if step >= 3:
            z[1, 0, 2, 1] = NAN
            y[1, 0, 2, 1] = step / 10
        monitor(z, y)
    message = r"bce: not finite first at step 3: the logit is nan \(target 0.3\); 3 of 120 elements"
    if alarm == "raise":
        with pytest.raises(LossproofError, match=message):
            monitor.compute()
    elif alarm == "warn":
        with pytest.warns(RuntimeWarning, match=message) as caught:
            assert monitor.compute()["non_finite"] == 3
        assert caught[0].filename == __file__
    else:
        found = monitor.compute()
        assert np.isnan(found["excess"])
        assert not recwarn
    monitor.reset()
    monitor(*batch(2, 0))
    assert monitor.compute()["non_finite"] == 0


def test_alarm_says_which_part_of_the_formula():
    monitor = Monitor("bce", from_logits=False)
    monitor(torch.tensor([[0.5, 0.0]]), torch.tensor([[0.5, 1.0]]))
    with pytest.warns(
        RuntimeWarning, match=r"step 1: the loss is inf at target 1, prediction 0; xlogy\(y, p\) is -inf"
    ):
        monitor.compute()
    monitor = Monitor("(y-p)**2/(p*(1-p))")  # truly e^100: more than float32 holds
    monitor(torch.tensor([[100.0]]), torch.tensor([[0.0]]))
    with pytest.warns(RuntimeWarning, match=r"the loss is inf at target 0, logit 100"):
        monitor.compute()


def test_alarm_for_a_gradient_of_a_finite_loss():
    monitor = Monitor("sqrt(p)*(1 - y) + y", from_logits=False)
    monitor(torch.tensor([[0.0, 0.5]]), torch.tensor([[0.0, 0.5]]))
    with pytest.warns(RuntimeWarning, match="the gradient dl/dp is inf at target 0, prediction 0"):
        assert np.isfinite(monitor.compute()["loss"])


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("which", [0, 1])
def test_every_kind_of_non_finite_is_counted(value, which):
    for spec in ("bce", "mse"):  # mse of an infinite logit is finite: the logit itself is the fault
        monitor = Monitor(ReconstructionLoss(spec, check="never"))
        pair = batch(3, 7)
        pair[which][1, 0, 1, 1] = value
        monitor(*pair)
        with pytest.warns(RuntimeWarning, match=f"the {['logit', 'target'][which]} is {value:g}"):
            assert monitor.compute()["non_finite"] == 1


def test_a_floor_without_a_formula_is_searched_once_a_level():
    monitor = Monitor("focal")
    assert monitor.kernel.floor is None
    z, y = batch(3, 8)
    y = (y * 4).round() / 4
    monitor(z, y)
    expected = function("focal").floor(y.numpy()).sum() / 3
    assert monitor.compute()["floor"] == pytest.approx(expected, rel=1e-6)
    assert sorted(monitor._floors) == [0, 0.25, 0.5, 0.75, 1]
    boundless = Monitor("continuous_bernoulli")
    boundless(z, y)
    found = boundless.compute()  # a fact about the loss, no accident: no alarm
    assert (found["floor"], found["excess"]) == (-INF, INF)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "bce: expected every as a whole number of at least 1, got 0"),
        ({"every": 2.5}, "whole number"),
        ({"alarm": "loud"}, "expected alarm one of raise, warn, off, got 'loud'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(LossproofError, match=message):
        Monitor("bce", **options)


def test_wrong_tensors():
    monitor = Monitor("bce")
    with pytest.raises(LossproofError, match=r"equal shape, got \(2, 3\) and \(2, 4\)"):
        monitor(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(LossproofError, match="floating dtype"):
        monitor(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.uint8))


def test_two_processes_add_up(tmp_path):
    script = Path(__file__).parent / "two_processes.py"
    command = [sys.executable, str(script)]
    with ExitStack() as stack:
        started = []
        for rank in range(2):
            process = subprocess.Popen([*command, str(rank), str(tmp_path / "meet")], stdout=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.kill)  # one alone would wait for the other for ever
            started.append(process)
        outputs = [process.communicate(timeout=120)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    answers = [json.loads(output.splitlines()[-1]) for output in outputs]
    assert answers[0]["reduced"] == answers[1]["reduced"]
    alone = Monitor("mse")
    for z, y in (batch(4, 0), batch(6, 1)):
        alone(z, y)
    expected = alone.compute()
    reduced = answers[0]["reduced"]
    assert reduced == pytest.approx(expected)
    assert [a["local"]["images"] for a in answers] == [4, 6]
    for answer in answers:
        assert "not finite first at step 2 of process 1: the logit is inf" in answer["message"]
        assert answer["one_silent"]["images"] == 3
