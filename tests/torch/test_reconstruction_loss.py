"""ReconstructionLoss: values against torch's own, reductions, checks, and what torch can do with it."""

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lossproof.catalogue import CATALOGUE
from lossproof.formula import LossproofError
from lossproof.lower import function
from lossproof.torch import ReconstructionLoss, elementwise, kernel, logit_gradient

IDS = sorted(CATALOGUE)
SHAPE = (4, 1, 6, 5)


def images(seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 256, SHAPE, generator=g).to(dtype) / 255
    y[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    return torch.randn(SHAPE, generator=g).to(dtype) * 3, y


def torchs_own(name: str, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor | None:
    p = torch.sigmoid(z)
    return {
        "bce": lambda: F.binary_cross_entropy_with_logits(z, y, reduction="none"),
        "mse": lambda: F.mse_loss(p, y, reduction="none"),
        "mae": lambda: F.l1_loss(p, y, reduction="none"),
        "huber": lambda: F.huber_loss(p, y, reduction="none"),
        "weighted_bce": lambda: F.binary_cross_entropy_with_logits(
            z, y, pos_weight=torch.tensor(3.0), reduction="none"
        ),
    }.get(name, lambda: None)()


@pytest.mark.parametrize("name", ["bce", "mse", "mae", "huber", "weighted_bce"])
def test_value_and_gradient_agree_with_torchs_own(name):
    z, y = images()
    z.requires_grad_()
    ours, theirs = elementwise(name)(z, y), torchs_own(name, z, y)
    torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6)
    (ours_grad,) = torch.autograd.grad(ours.sum(), z)
    (their_grad,) = torch.autograd.grad(theirs.sum(), z)
    torch.testing.assert_close(ours_grad, their_grad, rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(logit_gradient(name)(z.detach(), y), ours_grad)


@pytest.mark.parametrize("name", IDS)
def test_reductions_and_excess(name):
    z, y = images(dtype=torch.float64)
    y = y.clamp(0.02, 0.98)  # where every loss has a floor
    values = torch.as_tensor(function(name).value_logits(y.numpy(), z.numpy()))
    floor = torch.as_tensor(function(name).floor(y.numpy()))

    def loss(**options):
        return ReconstructionLoss(name, **options)(z, y)

    torch.testing.assert_close(loss(reduction="none"), values, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss(), values.sum() / 4, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss(reduction="mean"), values.mean(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss(reduction="sum"), values.sum(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss(excess=True, reduction="none"), values - floor, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", IDS)
def test_excess_is_never_negative_and_leaves_the_gradient_alone(name):
    z, y = images(dtype=torch.float64)
    y = y.clamp(0.02, 0.98)
    z.requires_grad_()
    plain, excess = (ReconstructionLoss(name, excess=e, reduction="none")(z, y) for e in (False, True))
    assert (excess > -1e-9).all()
    torch.testing.assert_close(torch.autograd.grad(excess.sum(), z), torch.autograd.grad(plain.sum(), z))


@pytest.mark.parametrize("name", IDS)
def test_from_predictions_gives_the_same_value(name):
    z, y = images(dtype=torch.float64)
    p = torch.sigmoid(z)
    torch.testing.assert_close(
        ReconstructionLoss(name, from_logits=False)(p, y),
        ReconstructionLoss(name)(z, y),
        rtol=1e-8,
        atol=1e-8,
    )


@pytest.mark.parametrize("name", IDS)
def test_first_and_second_derivatives_pass_gradcheck(name):
    g = torch.Generator().manual_seed(1)
    z = torch.randn(12, generator=g, dtype=torch.float64).requires_grad_()
    y = torch.rand(12, generator=g, dtype=torch.float64) * 0.9 + 0.05
    f = elementwise(name)
    assert torch.autograd.gradcheck(lambda x: f(x, y), z)
    assert torch.autograd.gradgradcheck(lambda x: f(x, y), z)


@pytest.mark.parametrize("name", ["bce", "mse", "huber", "continuous_bernoulli"])
def test_the_targets_gradient_is_right_when_asked_for(name):
    z, y = images(dtype=torch.float64)
    y = y.clamp(0.02, 0.98).requires_grad_()
    f = elementwise(name)
    assert torch.autograd.gradcheck(lambda t: f(z[:1], t), y[:1].detach().requires_grad_())


def test_torch_func_transforms():
    z, y = images()
    f = ReconstructionLoss("bce", check="never")
    per_image = torch.func.vmap(lambda a, b: f(a[None], b[None]))(z, y)
    torch.testing.assert_close(per_image.mean(), f(z, y))
    torch.testing.assert_close(torch.func.grad(lambda a: f(a, y))(z), (torch.sigmoid(z) - y) / 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", IDS)
def test_half_precision_inputs_are_computed_in_float32(name, dtype):
    z, y = images()
    half = z.to(dtype).requires_grad_()
    loss = ReconstructionLoss(name)
    value = loss(half, y)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(half.detach().float(), y))
    value.backward()
    assert half.grad.dtype == dtype
    assert half.grad.isfinite().all()


@pytest.mark.parametrize("check", ["first", "always", "never"])
def test_vmap_works_before_any_other_call(check):
    z, y = torch.linspace(-3, 3, 12).view(3, 4), torch.linspace(0, 1, 12).view(3, 4)
    f = ReconstructionLoss("bce", reduction="sum", check=check)
    expected = F.binary_cross_entropy_with_logits(z, y, reduction="none").sum(1)
    torch.testing.assert_close(torch.func.vmap(f)(z, y), expected)
    with pytest.raises(LossproofError, match="expected target"):
        ReconstructionLoss("bce")(z, y + 1)  # outside of it the look is had


def test_autocast_changes_nothing():
    z, y = images()
    loss = ReconstructionLoss("bce")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(z, y)
    torch.testing.assert_close(inside, loss(z, y))


@pytest.mark.parametrize("weight_shape", [SHAPE, SHAPE[1:]])
def test_weight_multiplies_element_wise(weight_shape):
    z, y = images()
    weight = torch.rand(weight_shape)
    got = ReconstructionLoss("bce", weight=weight)(z, y)
    torch.testing.assert_close(
        got, F.binary_cross_entropy_with_logits(z, y, weight=weight, reduction="sum") / 4
    )


def test_it_is_a_module_that_copies_pickles_and_prints():
    loss = ReconstructionLoss("huber(delta=0.1)", weight=torch.ones(SHAPE[1:]), excess=True)
    z, y = images()
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        torch.testing.assert_close(other(z, y), loss(z, y))
    assert repr(loss) == "ReconstructionLoss('huber(delta=0.1)', reduction='nats_per_image', excess=True)"
    assert set(loss.state_dict()) == {"weight"}


def test_a_users_own_formula_trains():
    torch.manual_seed(0)
    _, y = images()
    model = torch.nn.Linear(30, 30)
    loss = ReconstructionLoss("(y-p)**2/(p*(1-p))")
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    before = None
    for _ in range(30):
        value = loss(model(y.flatten(1)), y.flatten(1))
        before = before or value.item()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert np.isfinite(value.item())
    assert value.item() < before / 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda y: y * 255, r"bce: expected target in \[0, 1\], got \d+ of 120 values outside, first .* at \[0, 0, 0, 1\] "
                            r"\(shape \(4, 1, 6, 5\), float32\). Divide by 255\?"),
        (lambda y: y * 2 - 1, r"first -1 at \[0, 0, 0, 0\].*Scaled to \[-1, 1\]\? Use \(x \+ 1\)/2"),
        (lambda y: (y - 0.13) / 0.31, r"Standardised\? Undo it"),
        (lambda y: torch.where(y == 1, torch.nan, y), r"expected target without NaN, got \d+ of 120 NaN, first at \[0, 0, 0, 1\]"),
        (lambda y: (y * 255).to(torch.uint8), r"expected target of a floating dtype, got shape \(4, 1, 6, 5\), uint8.*/ 255"),
        (lambda y: y[:, 0], r"expected input and target of equal shape, got \(4, 1, 6, 5\) and \(4, 6, 5\)"),
        (lambda y: y.numpy(), r"expected target as a torch tensor, got ndarray"),
    ],
)  # fmt: skip
def test_a_bad_target_is_explained(target, message):
    z, y = images()
    with pytest.raises(LossproofError, match=message):
        ReconstructionLoss("bce")(z, target(y))


def test_empty_input_wrong_options_and_wrong_weights_are_explained():
    z, y = images()
    with pytest.raises(LossproofError, match=r"expected at least one element, got shape \(0, 3\)"):
        ReconstructionLoss("bce")(torch.zeros(0, 3), torch.zeros(0, 3))
    with pytest.raises(
        LossproofError, match="expected reduction one of nats_per_image, mean, sum, none, got 'avg'"
    ):
        ReconstructionLoss("bce", reduction="avg")
    with pytest.raises(LossproofError, match="expected check one of always, first, never, got 'often'"):
        ReconstructionLoss("bce", check="often")
    with pytest.raises(
        LossproofError, match=r"expected weight of shape \(1, 6, 5\) or \(4, 1, 6, 5\), got \(5,\)"
    ):
        ReconstructionLoss("bce", weight=torch.ones(5))(z, y)
    with pytest.raises(LossproofError, match="expected weight as finite floats"):
        ReconstructionLoss("bce", weight=torch.tensor([1, 2]))
    with pytest.raises(LossproofError, match=r"expected input in \[0, 1\].*Leave from_logits=True"):
        ReconstructionLoss("bce", from_logits=False)(z, y)
    with pytest.raises(LossproofError, match="unbounded below there. Use excess=False"):
        ReconstructionLoss("continuous_bernoulli", excess=True)(z, y)


def test_the_range_is_checked_first_always_or_never():
    z, y = images()
    bad = y * 255
    first, always, never = (ReconstructionLoss("bce", check=c) for c in ("first", "always", "never"))
    never(z, bad)
    first(z, y)
    first(z, bad)  # looked at once only
    always(z, y)
    with pytest.raises(LossproofError, match="Divide by 255"):
        always(z, bad)
    with pytest.raises(LossproofError, match="equal shape"):  # shapes are looked at always
        never(z, y[:2])


def test_no_look_at_values_after_the_first_call(monkeypatch):
    z, y = images()
    loss = ReconstructionLoss("bce")
    loss(z, y)

    def forbidden(*_args, **_kwargs):
        raise AssertionError("a host synchronisation in a step")

    for name in ("item", "cpu", "numpy", "tolist", "__bool__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, forbidden)
    loss(z, y)


def test_a_target_of_another_floating_dtype_is_taken():
    z, y = images()
    torch.testing.assert_close(ReconstructionLoss("bce")(z, y.double()), ReconstructionLoss("bce")(z, y))


def test_the_gradient_never_vanishes_for_bce_and_does_for_mse():
    # the plateau: a white pixel predicted black through a saturated sigmoid
    z, y = torch.tensor([-20.0]), torch.ones(1)
    assert logit_gradient("bce")(z, y).item() == pytest.approx(-1.0)
    assert abs(logit_gradient("mse")(z, y).item()) < 1e-8


def test_kernels_are_named_by_their_source():
    assert kernel("bce").source == "lossproof.torch.kernels.bce"
    assert "def value_logits(y, z)" in kernel("(y - p)**4").source


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_floor_of_half_precision_targets_is_computed_in_float32(dtype):
    _, y = images()
    y = y.to(dtype)
    floor = ReconstructionLoss("bce").floor(y)
    assert floor.dtype == torch.float32
    torch.testing.assert_close(
        floor.double(), torch.as_tensor(function("bce").floor(y.double().numpy())), rtol=1e-5, atol=1e-6
    )


def test_a_weight_that_is_no_tensor_is_refused():
    with pytest.raises(
        LossproofError, match=r"bce: expected weight as a tensor of finite floats, got list\. Use torch"
    ):
        ReconstructionLoss("bce", weight=[1.0, 2.0])


KL = "y*log(y/p) + (1 - y)*log((1 - y)/(1 - p))"


@pytest.mark.parametrize("formula", [KL, "y*(log(y) - log(p)) + (1 - y)*(log1p(-y) - log1p(-p))"])
def test_bernoullis_kl_is_bce_above_its_floor_at_hard_targets_too(formula):
    y = torch.tensor([[0.0, 1.0, 0.3, 0.0, 1.0, 0.5]], dtype=torch.float64)
    z = torch.tensor([[-40.0, -40.0, 0.7, 40.0, 40.0, 0.0]], dtype=torch.float64, requires_grad=True)
    written, named = ReconstructionLoss(formula), ReconstructionLoss("bce", excess=True)
    torch.testing.assert_close(written(z, y), named(z, y))
    torch.testing.assert_close(*(torch.autograd.grad(f(z, y), z)[0] for f in (written, named)))
    again = ReconstructionLoss(formula, excess=True)
    torch.testing.assert_close(again(z, y), named(z, y))


@pytest.mark.parametrize(
    ("convert", "kind"),
    [(torch.Tensor.to_sparse, "sparse_coo"), (lambda x: x.to(torch.float8_e4m3fn), "float8_e4m3fn")],
)
@pytest.mark.parametrize("name", ["input", "target"])
def test_sparse_and_8_bit_tensors_are_refused_in_words(convert, kind, name):
    tensors = {"input": torch.zeros(2, 3), "target": torch.zeros(2, 3)}
    tensors[name] = convert(tensors[name])
    with pytest.raises(
        LossproofError,
        match=rf"bce: expected {name} as a dense tensor of float16.*got {kind} \(shape \(2, 3\)\). Use {name}.to_dense",
    ):
        ReconstructionLoss("bce")(**tensors)
