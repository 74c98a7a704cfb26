"""Large products by oneDNN where that is faster: the same numbers, for one member as for many, and none elsewhere."""

import types

import pytest
import torch

from lossproof.train import routines, stack_layers
from lossproof.train.routines import LARGE, faster, routine
from lossproof.train.stack_layers import Buffers, Products

SHAPE = (3, 128, 256, 144)


@pytest.fixture(autouse=True)
def fresh():
    faster.cache_clear()
    yield
    faster.cache_clear()


def onednn(monkeypatch):
    """oneDNN's routine whether or not it is the faster one here."""
    monkeypatch.setattr(routines, "CLEAR", 0.0)
    found = faster()
    if found is None:
        pytest.skip("this torch has no oneDNN")
    return found


def factors(flipped):
    members, m, k, n = SHAPE
    generator = torch.Generator().manual_seed(0)
    a = torch.randn((members, k, m) if flipped else (members, m, k), generator=generator)
    b = torch.randn((members, n, k) if flipped else (members, k, n), generator=generator)
    return (a.mT, b.mT) if flipped else (a, b)


@pytest.mark.parametrize("flipped", [False, True])
def test_products_and_sums_of_every_member(monkeypatch, flipped):
    onednn(monkeypatch)
    members, m, _, n = SHAPE
    a, b = factors(flipped)
    assert routine(a, b) is not None
    bias = torch.randn(members, 1, n)
    exact = a.double() @ b.double()
    products = Products(Buffers(torch.device("cpu")))
    out = torch.empty(members, m, n)
    torch.testing.assert_close(products(a, b, out).double(), exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(products(a, b, out, bias).double(), exact + bias, rtol=1e-5, atol=1e-4)
    products.add(a, b, out)
    torch.testing.assert_close(out.double(), 2 * exact + bias, rtol=1e-5, atol=1e-4)


def test_a_member_has_the_same_bits_alone_as_beside_others(monkeypatch):
    onednn(monkeypatch)
    a, b = factors(False)
    products = Products(Buffers(torch.device("cpu")))
    every = products(a, b, torch.empty(3, 128, 144)).clone()
    for i in range(3):
        alone = products(a[i : i + 1], b[i : i + 1], torch.empty(1, 128, 144))
        assert torch.equal(alone[0], every[i])


def test_small_products_and_those_off_a_cpu_are_torchs_own(monkeypatch):
    monkeypatch.setattr(routines, "faster", lambda: pytest.fail("asked"))
    side = round(LARGE ** (1 / 3)) - 1
    assert routine(torch.empty(1, side, side), torch.empty(1, side, side)) is None
    assert routine(torch.empty(1, 512, 512, device="meta"), torch.empty(1, 512, 512, device="meta")) is None


def test_the_blas_is_kept_unless_the_other_is_clearly_faster(monkeypatch):
    monkeypatch.setattr(routines, "CLEAR", 1e9)
    assert faster() is None


@pytest.mark.parametrize("operator", [types.SimpleNamespace(), types.SimpleNamespace(_linear_pointwise=None)])
def test_a_torch_without_it(monkeypatch, operator):
    def refuses(*_):
        raise NotImplementedError

    if hasattr(operator, "_linear_pointwise"):
        operator._linear_pointwise = refuses
    monkeypatch.setattr(torch.ops, "mkldnn", operator, raising=False)
    assert faster() is None


def test_rounded_products_are_not_touched(monkeypatch):
    monkeypatch.setattr(stack_layers, "routine", lambda a, b: pytest.fail("asked"))
    a, b = (t.bfloat16() for t in factors(False))
    products = Products(Buffers(torch.device("cpu")), rounded=True)
    assert torch.isfinite(products(a, b, torch.empty(3, 128, 144))).all()
