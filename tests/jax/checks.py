"""What must hold in JAX; run as a script, prints one JSON line. ``x64`` as the argument switches float64 on.

In a process of its own: JAX's precision is chosen once a process, and its threads do not mix with forks.
"""

import json
import sys
import time
import traceback
import warnings

import numpy as np

OWN = "(y-p)**2/(p*(1-p))"
LOGITS = [0.0, *(s * m for m in (1e-8, 1, 16, 17, 88, 89, 104, 1e4) for s in (1, -1))]
TARGETS = [0.0, 1 / 255, 0.5, 1.0]

if __name__ == "__main__":  # pytest looks for doctests here too
    import jax
    import jax.numpy as jnp
    import optax

    X64 = "x64" in sys.argv
    jax.config.update("jax_enable_x64", X64)
    import lossproof.jax
    from lossproof.catalogue import CATALOGUE
    from lossproof.formula import LossproofError
    from lossproof.lower import function

    DTYPE = "float64" if X64 else "float32"
FIGURES: dict[str, object] = {}
#: float64 gives the same text another dtype: what depends on that
IN_FLOAT64 = ("corners", "agree", "second", "excess", "half", "own_formula")


def corners():
    return tuple(a.ravel().astype(DTYPE) for a in np.meshgrid(TARGETS, LOGITS))


def images(shape=(3, 4, 5, 1), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, shape) / 255).astype(DTYPE), (rng.normal(size=shape) * 3).astype(DTYPE)


def raises(match, f, *args, **kwargs):
    import re

    try:
        f(*args, **kwargs)
    except LossproofError as error:
        assert re.search(match, str(error)), f"expected {match!r}, got {error}"  # noqa: PT017 - pytest is not loaded here
    else:
        raise AssertionError(f"no error; expected {match!r}")


def check_value_and_gradient_at_the_corners_are_within_4_ulp():
    y, z = corners()
    eps = np.finfo(DTYPE).eps
    scale = np.maximum(1, np.abs(y * z))
    # where p rounds to y every slope between both sides' is right
    at_kink = np.abs(function("mse").value_logits(y, z)) < eps**2
    worst = {}
    for name in CATALOGUE:
        f = lossproof.jax.loss(name)
        (_, value), gradient = jax.jit(
            jax.value_and_grad(lambda v, f=f: (lambda r: (r.sum(), r))(f(v, y)), has_aux=True)  # noqa: PLC3002
        )(z)
        assert value.dtype == gradient.dtype == DTYPE
        for kind, got in (("value_logits", value), ("gradient_logits", gradient)):
            want = getattr(function(name), kind)(y.astype("float64"), z.astype("float64"))
            error = np.abs(got - want) / np.maximum(scale, np.abs(want)) / eps
            error = np.where((got == want) | (at_kink & (kind == "gradient_logits")), 0, error)
            worst[name, kind] = float(error.max())
            assert error.max() <= 4, (name, kind, y[error.argmax()], z[error.argmax()], error.max())
    FIGURES["worst_ulp"] = max((v, "/".join(k)) for k, v in worst.items())


def check_forward_reverse_and_vmap_agree():
    y, z = images()
    for name in ("bce", "huber(delta=0.1)", "continuous_bernoulli", OWN):
        f = lossproof.jax.loss(name)
        want = function(name).gradient_logits(y, z)
        tolerance = {"rtol": 1e-10 if X64 else 2e-4, "atol": 1e-12 if X64 else 2e-5}
        backward, (_, forward), one_by_one = jax.jit(
            lambda v, f=f: (
                jax.grad(lambda u: f(u, y).sum())(v),
                jax.jvp(lambda u: f(u, y), (v,), (jnp.ones_like(v),)),
                jax.vmap(jax.vmap(jax.grad(f)))(v.reshape(3, 20), y.reshape(3, 20)),
            )
        )(z)
        for got in (backward, forward, one_by_one.reshape(z.shape)):
            np.testing.assert_allclose(got, want, **tolerance)
        np.testing.assert_allclose(jax.vmap(f)(z, y), f(z, y), rtol=1e-5, atol=1e-6)


def check_the_gradient_is_the_derived_one():
    f = lossproof.jax.loss("mae", from_logits=False)
    at_kink = jax.grad(lambda p: f(p, np.array([0.5, 0.25, 1.0])).sum())(jnp.array([0.5, 0.25, 0.5]))
    assert at_kink.tolist() == [0, 0, -1]
    text = str(jax.make_jaxpr(jax.grad(lossproof.jax.loss("bce")))(1.0, 0.5))
    # the value's softplus leaves no trace in the derived gradient
    assert text.count("logistic") == 1, text
    saturated = jax.grad(lambda v: lossproof.jax.loss("bce")(v, jnp.ones(2)).sum())(jnp.array([-104.0, -1e4]))
    assert saturated.tolist() == [-1, -1]
    got = lossproof.jax.logit_gradient("bce")(np.zeros(2), np.array([0.5, 1.0]))
    assert got.tolist() == [0, -0.5]


def check_second_derivatives():
    y, z = (a.ravel()[:9] for a in images())
    for name in ("bce", "mse", "continuous_bernoulli"):
        f = lossproof.jax.loss(name)
        slope, h = function(name).gradient_logits, 1e-5
        y64, z64 = y.astype("float64"), z.astype("float64")
        want = (slope(y64, z64 + h) - slope(y64, z64 - h)) / (2 * h)
        twice, hessian = jax.jit(
            lambda v, f=f: (jax.vmap(jax.grad(jax.grad(f)))(v, y), jax.hessian(lambda u: f(u, y).sum())(v))
        )(z)
        np.testing.assert_allclose(twice, want, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(jnp.diag(hessian), want, rtol=1e-4, atol=1e-6)


def check_the_targets_gradient():
    y, z = images()
    y = np.clip(y, 0.02, 0.98)
    h = 1e-3
    for name in ("bce", "mse", "huber"):
        f, g = lossproof.jax.loss(name), function(name).value_logits
        y64, z64 = y.astype("float64"), z.astype("float64")
        want = (g(y64 + h, z64) - g(y64 - h, z64)) / (2 * h)
        np.testing.assert_allclose(jax.grad(lambda t, f=f: f(z, t).sum())(y), want, rtol=1e-3, atol=1e-4)


def check_excess():
    y, z = images()
    y = np.clip(y, 0.02, 0.98)
    for name in (
        "bce",
        "weighted_bce",
        "continuous_bernoulli",
        "focal",
        OWN,
    ):  # the last three: searched on the host
        f = function(name)
        excess = lossproof.jax.loss(name, excess=True)
        want = f.value_logits(y, z) - f.floor(y)
        np.testing.assert_allclose(jax.jit(excess)(z, y), want, rtol=1e-4, atol=5e-6)
        np.testing.assert_allclose(jax.vmap(excess)(z, y), want, rtol=1e-4, atol=5e-6)
        plain = lossproof.jax.loss(name)
        assert (jax.grad(lambda v: excess(v, y).sum())(z) == jax.grad(lambda v: plain(v, y).sum())(z)).all()  # noqa: B023


def check_reductions_and_weights():
    y, z = images()
    values = function("bce").value_logits(y, z)
    for shape in (None, y.shape, y.shape[1:]):
        weight = None if shape is None else np.random.default_rng(1).uniform(0, 2, shape)
        weighted = values if weight is None else values * weight
        for reduction, want in {"nats_per_image": weighted.sum() / 3, "mean": weighted.mean(),
                                "sum": weighted.sum(), "none": weighted}.items():  # fmt: skip
            got = jax.jit(lossproof.jax.reconstruction_loss("bce", reduction=reduction))(z, y, weight)
            np.testing.assert_allclose(got, want, rtol=1e-5)
    got = lossproof.jax.reconstruction_loss("mse", from_logits=False)(y, y)
    assert float(got) == 0
    peer = optax.sigmoid_binary_cross_entropy(z, y)
    np.testing.assert_allclose(lossproof.jax.loss("bce")(z, y), peer, rtol=1e-5, atol=1e-6)
    peer = optax.huber_loss(jax.nn.sigmoid(z), y, delta=0.1)
    np.testing.assert_allclose(lossproof.jax.loss("huber", delta=0.1)(z, y), peer, rtol=1e-4, atol=1e-6)


def check_half_precision_is_computed_in_float32():
    y, z = images()
    for dtype in ("bfloat16", "float16"):
        half = jnp.asarray(z, dtype)
        for name in ("bce", "huber", "continuous_bernoulli", OWN) if dtype == "float16" else ("bce", OWN):
            f = lossproof.jax.loss(name)
            (_, value), gradient = jax.jit(
                jax.value_and_grad(lambda v, f=f: (lambda r: (r.sum(), r))(f(v, y)), has_aux=True)  # noqa: PLC3002
            )(half)
            assert value.dtype == "float32"
            want = function(name).value_logits(y.astype("float64"), np.asarray(half, "float64"))
            np.testing.assert_allclose(value, want, rtol=2e-5, atol=2e-6)
            assert gradient.dtype == dtype
            assert jnp.isfinite(gradient).all()


def train(spec, y, start, *, steps, rate=0.03):
    """A small autoencoder in an optax loop; returns the losses and the last logits."""
    f = lossproof.jax.reconstruction_loss(spec)
    sizes = (y.shape[1], 16, 4, 16, y.shape[1])
    keys = jax.random.split(jax.random.key(0), 4)
    weights = [
        jax.random.normal(k, (a, b)) / a**0.5 for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]
    params = [(w, jnp.zeros(w.shape[1])) for w in weights]
    params[-1] = (params[-1][0], jnp.asarray(start, params[-1][0].dtype))
    optimiser = optax.adam(rate)

    def logits(params, x):
        for w, b in params[:-1]:
            x = jnp.tanh(x @ w + b)
        return x @ params[-1][0] + params[-1][1]

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(lambda p: f(logits(p, y), y))(params)
        updates, state = optimiser.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state, losses = optimiser.init(params), []
    for _ in range(steps):
        params, state, value = step(params, state)
        losses.append(float(value))
    return losses, logits(params, y)


def data():
    rng = np.random.default_rng(0)
    return (1 / (1 + np.exp(-rng.normal(size=(64, 2)) @ rng.normal(size=(2, 12)) * 2))).astype(DTYPE)


def check_an_autoencoder_trains_with_optax():
    for spec in ("bce", "mse"):
        losses, _ = train(spec, data(), np.zeros(12), steps=120)
        floor = function(spec).floor(data()).sum(1).mean()
        assert np.isfinite(losses).all()
        assert losses[-1] - floor < (losses[0] - floor) / 3, (spec, losses[0], losses[-1], floor)


def check_a_users_own_formula_trains_from_logits_of_1e4():
    y, start = data(), np.zeros(12)
    y[:, 0], y[:, 1] = 0, 1  # these two start saturated
    start[:2] = -1e4, 1e4
    losses, z = train(OWN, y, start, steps=200, rate=0.01)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0] / 2, (losses[0], losses[-1])
    assert jnp.isfinite(z).all()
    # on the wrong side the exact value, e**10000, is no float: infinite, with the right sign, never NaN
    t, z = corners()
    f = lossproof.jax.loss(OWN)
    for got, want in ((f(z, t), function(OWN).value_logits(t, z)),
                      (jax.grad(lambda v: f(v, t).sum())(z), function(OWN).gradient_logits(t, z))):  # fmt: skip
        assert not np.isnan(got).any()
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(got, want.astype(DTYPE), rtol=3e-5, atol=1e-6)


def check_bad_input_is_explained():
    y, z = images()
    f = lossproof.jax.loss("bce")
    raises(
        r"bce: expected input and target of equal shape, got \(3, 4, 5, 1\) and \(3, 4, 5\)", f, z, y[..., 0]
    )
    raises("equal shape", jax.jit(f), z, y[:2])
    raises(
        r"target of a floating dtype, got shape \(3, 4, 5, 1\), uint8\..* / 255",
        f,
        z,
        (y * 255).astype("uint8"),
    )
    raises(r"input of a floating dtype", f, z.astype(int), y)
    raises(r"at least one element, got shape \(0, 4\)", f, np.zeros((0, 4)), np.zeros((0, 4)))
    raises("expected reduction one of nats_per_image, mean, sum, none, got 'avg'",
           lossproof.jax.reconstruction_loss, "bce", reduction="avg")  # fmt: skip
    raises(r"expected weight of shape \(4, 5, 1\) or \(3, 4, 5, 1\), got \(5,\)",
           lossproof.jax.reconstruction_loss("bce"), z, y, np.ones(5))  # fmt: skip
    raises("did you mean bce", lossproof.jax.loss, "bec")


def check_one_spec_is_one_function_and_compiles_once():
    y, z = images()
    count = 0
    f = lossproof.jax.loss("bce")
    assert f is lossproof.jax.loss("bce")
    assert f is not lossproof.jax.loss("bce", excess=True)

    @jax.jit
    def g(a, b):
        nonlocal count
        count += 1
        return lossproof.jax.loss("bce")(a, b)

    g(z, y), g(z + 1, y)
    assert count == 1
    assert f.__name__ == "bce"
    assert lossproof.jax.kernel("bce").source == "lossproof.jax.kernels.bce"
    assert "def value_logits(y, z)" in lossproof.jax.kernel(OWN).source


def check_every_emitted_module_runs_by_itself():
    from lossproof.lower.source import source

    every = ("value", "gradient", "value_logits", "gradient_logits", "floor")
    y, p = np.random.default_rng(0).uniform(0.05, 0.95, (2, 50)).astype(DTYPE)
    z = np.log(p) - np.log1p(-p)
    for spec in [*CATALOGUE, OWN]:
        f, namespace = function(spec), {"__name__": "alone"}
        exec(source(f.definition, "jax").text(), namespace)
        assert set(every[:4]) <= set(namespace)
        names = [n for n in every if n in namespace]
        given = {n: (y,) if n == "floor" else (y, z) if n.endswith("logits") else (y, p) for n in names}
        got = jax.jit(lambda d, space=namespace: {n: space[n](*a) for n, a in d.items()})(given)
        for name in names:
            want = getattr(f, name)(*(a.astype("float64") for a in given[name]))
            tolerance = {"rtol": 1e-9, "atol": 1e-12} if X64 else {"rtol": 2e-3, "atol": 3e-5}
            np.testing.assert_allclose(got[name], want, **tolerance, err_msg=f"{spec} {name}")


def main():
    warnings.simplefilter("error")
    results, started = {}, time.perf_counter()
    for name, check in [(n, f) for n, f in globals().items() if n.startswith("check_")]:
        if X64 and not any(word in name for word in IN_FLOAT64):
            continue
        before = time.perf_counter()
        try:
            check()
            results[name] = "ok"
        except Exception:
            results[name] = traceback.format_exc()
        FIGURES[name] = round(time.perf_counter() - before, 2)
    print(json.dumps({"backend": DTYPE, "results": results, "figures": FIGURES,
                      "seconds": time.perf_counter() - started}))  # fmt: skip


if __name__ == "__main__":
    main()
