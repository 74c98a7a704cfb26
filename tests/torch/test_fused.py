"""The fused reductions: same numbers and gradients as the element-wise road, in every way torch may call them."""

import math
import os
import shutil

import pytest
import torch
import torch.nn.functional as F

from lossproof.catalogue import CATALOGUE
from lossproof.torch import ReconstructionLoss, kernel
from lossproof.torch import kernel as kernel_function
from lossproof.torch.kernel import PIECE, total

IDS = sorted(CATALOGUE)
needs_compiler = pytest.mark.skipif(
    not (shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")),
    reason="torch.compile on a CPU needs a C++ compiler",
)
compiles = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)


def pair(
    n: int = 300, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator=g, dtype=torch.float64) * 6
    y = torch.randint(0, 256, (n,), generator=g).double() / 255
    return z.to(dtype).requires_grad_(), y.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", IDS)
def test_total_is_the_sum_and_its_gradient_the_derived_one(name, dtype):
    z, y = pair(dtype=dtype)
    k = kernel(name)
    got = total(k, z, y, 0.5)
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 3e-6, "atol": 2e-6}
    torch.testing.assert_close(got, k.value_logits(y, z.detach()).sum() * 0.5, **tolerance)
    (grad,) = torch.autograd.grad(got, z)
    torch.testing.assert_close(grad, k.gradient_logits(y, z.detach()) * 0.5, **tolerance)


@pytest.mark.parametrize("name", IDS)
def test_the_sum_is_that_of_the_elements(name):
    z, y = (t.detach() for t in pair(5 * 777, torch.float64))
    k = kernel(name)
    value, gradient = k.both_logits(y, z, scale=0.5)
    total_, same = k.both_logits(y, z, scale=0.5, summed=True)
    assert isinstance(total_, float)
    assert total_ == pytest.approx(value.sum().item(), rel=1e-12)
    assert torch.equal(same, gradient)


@pytest.mark.parametrize("name", ["bce", "smoothed_bce"])
@pytest.mark.parametrize("n", [PIECE, PIECE + 1, PIECE + 2, PIECE + 3])
def test_a_sum_with_few_logarithms_is_that_of_the_elements(name, n, one_thread):
    z, y = (t.detach() for t in pair(n, torch.float64))
    k = kernel(name)
    out = torch.empty_like(z)
    got, gradient = k.both_logits(y, z, scale=0.5, out=out, summed=True)
    assert gradient.data_ptr() == out.data_ptr()
    assert got == pytest.approx(k.value_logits(y, z).sum().item(), rel=1e-12)
    torch.testing.assert_close(gradient, k.gradient_logits(y, z) * 0.5, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("logit", [-200.0, -80.0, -40.0, -16.0, -3.0, -0.1, 0.0, 0.1, 3.0, 16.0, 40.0, 200.0])
def test_a_sum_with_few_logarithms_keeps_the_digits_of_small_losses(logit, y, one_thread):
    z, target = torch.full((PIECE,), logit), torch.full((PIECE,), y)
    k = kernel("bce")
    got, _ = k.both_logits(target, z, summed=True)
    exact = k.value_logits(target.double(), z.double()).sum().item()
    # softplus(z) - y z cancels for y = 1 and large z, whichever way it is computed: half a unit of y z
    assert got == pytest.approx(exact, rel=1e-6, abs=PIECE * 2.0**-24 * max(y * logit, 1e-30))


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("outlier", [0.0, 1.5, -1.5, 5.0, math.nan])
def test_a_clamp_is_left_out_only_where_nothing_lies_outside(outlier, delta):
    z, y = (t.detach() for t in pair(300))
    y[7] = outlier
    k = kernel("huber", delta=delta)
    value, gradient = k.both_logits(y, z)
    r = y - torch.sigmoid(z)
    expected = torch.where(r.abs() <= delta, r**2 / 2, delta * (r.abs() - delta / 2))
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14, equal_nan=True)
    torch.testing.assert_close(gradient, k.gradient_logits(y, z), rtol=1e-12, atol=1e-14, equal_nan=True)
    total_, same = k.both_logits(y, z, scale=0.3, summed=True)
    nothing, alone = k.both_logits(y, z, scale=0.3, valued=False)
    assert nothing is None
    assert total_ == pytest.approx(expected.sum().item(), rel=1e-12, nan_ok=True)
    for found in (same, alone):
        torch.testing.assert_close(found, 0.3 * gradient, rtol=1e-12, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-6, 0.3, 1.0, 700.0, 1e20])
@pytest.mark.parametrize("name", ["mse", "huber", "msle"])
def test_a_residual_scaled_as_it_is_made_keeps_its_digits(name, scale):
    """Also where the sigmoid saturates, on tensors that are not contiguous, and into a tensor that is given."""
    z, y = (t.detach().view(20, 15).t() for t in pair(300, torch.float32))
    z[0, 0], z[1, 1] = 30.0, -30.0
    k = kernel(name)
    slope = scale * k.gradient_logits(y.double(), z.double())
    out = torch.empty(15, 20)
    got, gradient = k.both_logits(y, z, scale=scale, out=out, summed=True)
    assert gradient.data_ptr() == out.data_ptr()
    assert got == pytest.approx(k.value_logits(y.double(), z.double()).sum().item(), rel=1e-6)
    torch.testing.assert_close(gradient.double(), slope, rtol=2e-6, atol=1e-7 * scale)


@pytest.mark.parametrize("name", ["mse", "huber", "msle", "barron(alpha=2, c=0.5)"])
def test_a_sum_of_many_keeps_its_digits_however_they_lie(name):
    """Tensors that are not contiguous are not done in pieces."""
    z, y = (t.detach().view(32, 64, 512).transpose(1, 2) for t in pair(1 << 20, torch.float32))
    k = kernel(name)
    exact = k.value_logits(y.double(), z.double()).sum().item()
    assert total(k, z.requires_grad_(), y, 1.0).item() == pytest.approx(exact, rel=5e-7)


@pytest.mark.parametrize("name", IDS)
def test_a_target_is_broadcast_to_the_predictions_of_several_models(name):
    z, y = pair(60, torch.float32)
    z, y = z.detach().view(5, 4, 3), y[:12].view(1, 4, 3)
    k = kernel(name)
    for function, x in ((k.value_logits, z), (k.gradient_logits, z), (k.value, z.sigmoid())):
        kept = x.clone(), y.clone()
        torch.testing.assert_close(function(y, x), function(y.expand_as(x).contiguous(), x))
        assert torch.equal(x, kept[0])
        assert torch.equal(y, kept[1])


@pytest.mark.parametrize("name", ["bce", "huber", "focal"])
def test_large_tensors_are_done_in_pieces_with_the_same_result(name):
    z, y = pair(2 * PIECE + 17, torch.float32)
    k = kernel(name)
    (grad,) = torch.autograd.grad(total(k, z, y, 1.0), z)
    torch.testing.assert_close(grad, k.gradient_logits(y, z.detach()), rtol=3e-6, atol=2e-6)
    torch.testing.assert_close(total(k, z, y, 1.0).double(), k.value_logits(y.double(), z.detach().double()).sum(), rtol=1e-6,
                               atol=0.0)  # fmt: skip


def test_non_contiguous_and_zero_dimensional_tensors():
    z, y = pair(2 * PIECE, torch.float32)
    z2, y2 = z.detach().view(2, PIECE).t().requires_grad_(), y.view(2, PIECE).t()
    (grad,) = torch.autograd.grad(ReconstructionLoss("bce", reduction="sum")(z2, y2), z2)
    torch.testing.assert_close(grad, torch.sigmoid(z2.detach()) - y2)
    scalar = torch.tensor(0.5, requires_grad=True)
    ReconstructionLoss("bce")(scalar, torch.tensor(1.0)).backward()
    assert scalar.grad.item() == pytest.approx(torch.sigmoid(torch.tensor(0.5)).item() - 1)


def test_a_second_way_back_gives_the_same_gradient():
    z, y = pair()
    value = ReconstructionLoss("mse", reduction="sum")(z, y)
    (first,) = torch.autograd.grad(value, z, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(value * 3, z, retain_graph=True)
    torch.testing.assert_close(first, kept)
    torch.testing.assert_close(second, 3 * kept)


@pytest.mark.parametrize("name", ["bce", "mse", "continuous_bernoulli"])
def test_double_backward_of_a_reduction(name):
    z, y = pair(20)
    f = ReconstructionLoss(name, reduction="sum", check="never")
    assert torch.autograd.gradgradcheck(lambda x: f(x, y), z)


def test_the_upstream_gradient_is_applied():
    z, y = pair()
    (grad,) = torch.autograd.grad(ReconstructionLoss("bce")(z, y) * -2.5, z)
    torch.testing.assert_close(grad, -2.5 * (torch.sigmoid(z.detach()) - y) / 300)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gradients_have_the_inputs_dtype(dtype):
    z, y = pair(2 * PIECE, dtype)
    value = ReconstructionLoss("bce", reduction="mean")(z, y)
    assert value.dtype == torch.float32
    value.backward()
    assert z.grad.dtype == dtype
    exact = (torch.sigmoid(z.detach().float()) - y.float()) / z.numel()
    torch.testing.assert_close(z.grad.float(), exact.to(dtype).float(), rtol=1e-2, atol=1e-7)


def test_what_is_kept_between_the_ways_is_two_inputs_and_one_gradient():
    z, y = pair(1000, torch.float32)
    value = ReconstructionLoss("mse", reduction="sum")(z, y)
    kept = [t for t in value.grad_fn.next_functions[0][0].saved_tensors] if hasattr(
        value.grad_fn.next_functions[0][0], "saved_tensors") else list(value.grad_fn.saved_tensors)  # fmt: skip
    assert {t.data_ptr() for t in kept} <= {z.data_ptr(), y.data_ptr()}


def test_no_gradient_is_computed_when_none_is_asked_for(monkeypatch):
    z, y = pair()
    k = kernel("bce")
    object.__setattr__(k, "both_logits", None)  # would fail if it were called
    try:
        with torch.no_grad():
            total(k, z, y, 1.0)
        total(k, z.detach(), y, 1.0)
    finally:
        kernel_function.__globals__["_kernel"].cache_clear()


@needs_compiler
@compiles
@pytest.mark.parametrize("name", ["bce", "huber", "continuous_bernoulli"])
def test_compiled_pairs_give_the_same_numbers(name):
    z, y = pair(500, torch.float32)
    plain, compiled = (ReconstructionLoss(name, compile=c, check="never") for c in (False, True))
    assert "compile=True" in repr(compiled)
    a, b = plain(z, y), compiled(z, y)
    torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(b, z), torch.autograd.grad(a, z), rtol=1e-5, atol=1e-6)
    z2, y2 = pair(
        321, torch.float32, seed=1
    )  # another batch size: compiled anew or for any size, still right
    torch.testing.assert_close(compiled(z2, y2), plain(z2, y2), rtol=1e-5, atol=1e-5)


@needs_compiler
@compiles
@pytest.mark.parametrize("name", ["bce", "mae", "barron(alpha=0)"])
def test_no_graph_break_inside_a_users_compiled_step(name):
    loss = ReconstructionLoss(name)

    @torch.compile(fullgraph=True)
    def step(z, y):
        return loss(z * 2, y)

    z, y = pair(64, torch.float32)
    value = step(z, y)
    torch.testing.assert_close(value, loss(z * 2, y), rtol=1e-5, atol=1e-5)
    (grad,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(grad, torch.autograd.grad(loss(z * 2, y), z)[0], rtol=1e-5, atol=1e-6)


@compiles
def test_export():
    program = torch.export.export(ReconstructionLoss("bce"), pair(12, torch.float32))
    z, y = pair(12, torch.float32, seed=3)
    torch.testing.assert_close(program.module()(z, y), ReconstructionLoss("bce")(z, y))


def test_functional_call_and_deterministic_mode():
    z, y = pair(64, torch.float32)
    loss = ReconstructionLoss("bce", weight=torch.rand(64))
    doubled = torch.func.functional_call(loss, {"weight": loss.weight * 2}, (z, y))
    torch.testing.assert_close(doubled, 2 * loss(z, y))
    torch.use_deterministic_algorithms(True)
    try:
        for name in IDS:
            first, second = (ReconstructionLoss(name, check="never")(z, y) for _ in range(2))
            assert torch.equal(first, second)
            first.backward()
    finally:
        torch.use_deterministic_algorithms(False)


@compiles
def test_gradients_of_functional_transforms_take_the_plain_road():
    z, y = pair(32)
    f = ReconstructionLoss("mse", check="never")
    per_pixel = torch.func.vmap(torch.func.grad(lambda a, b: f(a[None], b[None])))(z.detach(), y)
    torch.testing.assert_close(per_pixel, kernel("mse").gradient_logits(y, z.detach()))
    hessian = torch.func.hessian(lambda a: f(a, y))(z.detach())
    assert hessian.shape == (32, 32)


def test_it_trains_as_torchs_own():
    torch.manual_seed(0)
    y = torch.rand(64, 30)
    ours, theirs = torch.nn.Linear(30, 30), torch.nn.Linear(30, 30)
    theirs.load_state_dict(ours.state_dict())
    loss = ReconstructionLoss("bce")
    for model, f in (
        (ours, loss),
        (theirs, lambda z, t: F.binary_cross_entropy_with_logits(z, t, reduction="sum") / 64),
    ):
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            optimiser.zero_grad()
            f(model(y), y).backward()
            optimiser.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-4, atol=1e-5)
