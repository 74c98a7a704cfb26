"""The emitted code against the 50-digit oracle, at the corners and at drawn points, in every target and dtype."""

import math

import numpy as np
import pytest
import sympy
import torch

import lossproof
from lossproof.catalogue import CATALOGUE
from lossproof.formula.functions import maximum
from lossproof.lower import function, oracle
from lossproof.torch import kernel
from tolerance import EPS, ULP, error_in_ulp

IDS = sorted(CATALOGUE)
MAGNITUDES = (1e-8, 0.3, 1.0, 5.9, 6.1, 16.0, 17.0, 39.9, 40.1, 88.0, 89.0, 104.0)
LOGITS = [0.0, *MAGNITUDES, *(-m for m in MAGNITUDES)]
# with float32's exact values, so that both dtypes answer the same question
TARGETS = [
    0.0,
    2.0**-126,
    2.0**-23,
    float(np.float32(1 / 255)),
    0.3125,
    0.5,
    0.5 + 2.0**-23,
    1 - 2.0**-23,
    1.0,
]


def corners(dtype: str) -> list[tuple[float, float]]:
    # the logit that the dtype holds, not the one that was meant
    exact = [float(np.float32(z)) if dtype == "float32" else z for z in LOGITS]
    return [(y, z) for y in TARGETS for z in exact]


def drawn(n: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(0)
    y = rng.choice(np.arange(256), n) / 255
    z = rng.standard_t(1.5, n) * 4
    return [
        (float(np.float32(a)), float(np.float32(np.clip(b, -200, 200)))) for a, b in zip(y, z, strict=True)
    ]


_EXACT: dict[tuple[str, str, float, float], object] = {}


def exact(kind: str, name: str, y: float, z: float) -> object:
    key = (kind, name, y, z)
    if key not in _EXACT:
        f = oracle.loss_at_logits if kind == "value_logits" else oracle.slope_at_logits
        _EXACT[key] = f(CATALOGUE[name], y, z)
    return _EXACT[key]


def worst(
    kind: str, name: str, dtype: str, points: list[tuple[float, float]], compute
) -> tuple[float, object]:
    """Largest error in ulp of the result or of the largest term (1, or |y z| where the formula has it)."""
    got = compute(np.array([y for y, _ in points]), np.array([z for _, z in points]))
    found, place = 0.0, None
    kinked = bool(CATALOGUE[name].expression().atoms(sympy.Abs, maximum))
    for (y, z), value in zip(points, got, strict=True):
        if kinked and kind == "gradient_logits" and abs(1 / (1 + math.exp(-z)) - y) < EPS[dtype]:
            continue  # p rounds to y, or across it: every slope between both sides' is right
        error = error_in_ulp(float(value), exact(kind, name, y, z), dtype, largest_term=max(1.0, abs(y * z)))
        if error > found:
            found, place = error, (y, z, float(value))
    return found, place


@pytest.mark.parametrize("kind", ["value_logits", "gradient_logits"])
@pytest.mark.parametrize("name", IDS)
def test_numpy_float64(name, kind):
    f = getattr(function(name), kind)
    error, place = worst(kind, name, "float64", corners("float64") + drawn(60), f)
    assert error <= ULP, (error, place)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["value_logits", "gradient_logits"])
@pytest.mark.parametrize("way", ["alone", "both", "fused"])
@pytest.mark.parametrize("name", IDS)
def test_torch(name, kind, dtype, way):
    def k(y, z):
        if way == "alone" or (way == "fused" and kernel(name).fused_logits is None):
            return getattr(kernel(name), kind)(y, z)
        if way == "fused":
            return kernel(name).fused_logits(y, z)[kind == "gradient_logits"]
        # in one call for all points, and in the calls for moderate logits, which take another way
        index = 0 if kind == "value_logits" else 1
        tame = z < 12
        got = torch.empty_like(z)
        got[tame] = kernel(name).both_logits(y[tame], z[tame])[index]
        got[~tame] = kernel(name).both_logits(y[~tame], z[~tame])[index]
        return got

    to = getattr(torch, dtype)
    error, place = worst(
        kind,
        name,
        dtype,
        corners(dtype) + drawn(60),
        lambda y, z: k(torch.tensor(y, dtype=to), torch.tensor(z, dtype=to)),
    )
    assert error <= ULP, (error, place)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nothing_is_nan_at_the_ends_of_the_dtype(name, dtype):
    big = torch.finfo(dtype).max
    z = torch.tensor([1e4, big / 4, big], dtype=dtype)
    z = torch.cat([z, -z]).repeat(4)
    y = torch.tensor([0.0, 1.0, 0.5, torch.finfo(dtype).tiny], dtype=dtype).repeat_interleave(6)
    k = kernel(name)
    assert not k.value_logits(y, z).isnan().any()
    assert k.gradient_logits(y, z).isfinite().all()


# inf - inf: the entropy term and the normaliser are both infinite there; behind the sigmoid neither is
@pytest.mark.parametrize("name", [i for i in IDS if i != "continuous_bernoulli"])
def test_values_at_the_border_of_p_are_the_limits(name):
    loss = function(name)
    for y, p in ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.5, 0.0), (0.5, 1.0)):
        near = [float(oracle.loss_at(loss.definition, y, abs(p - step))) for step in (1e-30, 1e-60)]
        value = loss.value(y, p)
        grows = abs(near[1]) > abs(near[0]) + 1e-3
        assert not math.isnan(value)
        assert math.isinf(value) if grows else value == pytest.approx(near[1], abs=1e-9)


@pytest.mark.parametrize("name", IDS)
def test_torch_and_numpy_agree_on_everything(name):
    k, f = kernel(name), function(name)
    rng = np.random.default_rng(1)
    y, p = rng.uniform(0.01, 0.99, (2, 200))
    z = rng.normal(0, 4, 200)
    ty, tp, tz = (torch.tensor(a) for a in (y, p, z))
    for ours, theirs in (
        (f.value(y, p), k.value(ty, tp)), (f.gradient(y, p), k.gradient(ty, tp)),
        (f.value_logits(y, z), k.value_logits(ty, tz)), (f.gradient_logits(y, z), k.gradient_logits(ty, tz)),
    ):  # fmt: skip
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-11, atol=1e-14)
    if k.floor is not None:
        np.testing.assert_allclose(k.floor(ty).numpy(), f.floor(y), rtol=1e-12, atol=1e-15)


def test_the_error_measure_sees_an_error():
    assert error_in_ulp(1.0 + 8 * EPS["float64"], 1.0, "float64") == pytest.approx(8)
    assert error_in_ulp(math.nan, 1.0, "float64") == math.inf
    assert error_in_ulp(math.inf, math.inf, "float64") == 0


def test_the_naive_form_fails_where_ours_holds():
    # what the rewriting is for: naive float32 BCE of a confidently wrong pixel is infinite
    z = torch.tensor([-200.0])
    p = torch.sigmoid(z)
    assert (-torch.log(p)).isinf().all()
    assert kernel("bce").value_logits(torch.ones(1), z).item() == 200.0


@pytest.mark.parametrize(
    ("formula", "y", "z", "value", "slope"),
    [
        ("-log(1 - p**2)*y - (1 - y)*log(1 - p)", 0.0, 40.0, 40.0, 1.0),
        ("-log(1 - p**2)*y - (1 - y)*log(1 - p)", 1.0, 40.0, 40 - math.log(2), 1.0),
        ("-log(1 - (y - p)**2)", 0.0, 40.0, 40 - math.log(2), 1.0),
        ("-log(1 - (y - p)**2)", 1.0, -40.0, 40 - math.log(2), -1.0),
        ("y*log(y/p) + (1 - y)*log((1 - y)/(1 - p))", 0.0, 1e4, 1e4, 1.0),
    ],
)
def test_a_formula_of_ones_own_is_finite_where_it_is(formula, y, z, value, slope):
    made = lossproof.loss(formula)
    assert float(made.value_logits(y, z)) == pytest.approx(value, rel=1e-14)
    assert float(made.gradient_logits(y, z)) == pytest.approx(slope, rel=1e-14)


def test_what_is_made_of_parameters_alone_does_not_overflow():
    source = lossproof.compile(
        "softplus(b)*(y - p)**2 + sigmoid(a)*abs(y - p) + logcosh(b)", a=-1e3, b=1e3
    ).source("numpy")
    space = {}
    exec(source, space)
    assert space["value"](0.25, 0.75) == pytest.approx(1250 - math.log(2), rel=1e-14)
    assert space["value"](0.25, 0.75, a=2.0, b=1e-5) == pytest.approx(
        0.25 * math.log1p(math.exp(1e-5)) + 0.5 / (1 + math.exp(-2)) + 5e-11, rel=1e-12
    )
