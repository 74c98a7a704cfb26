"""What must hold on every Keras backend: a script, run in a process a backend (KERAS_BACKEND), prints one JSON line."""

import dataclasses
import json
import sys
import tempfile
import time
import traceback
import warnings
from functools import partial
from pathlib import Path

import numpy as np

OWN = "(y-p)**2/(p*(1-p))"
LOGITS = [0.0, *(s * m for m in (1e-8, 1, 16, 17, 88, 89, 104, 1e4) for s in (1, -1))]
TARGETS, SHAPE = [0.0, 1 / 255, 0.5, 1.0], (3, 4, 5, 1)

if __name__ == "__main__":  # pytest looks for doctests here too, and must not load a backend
    with warnings.catch_warnings(action="ignore"):  # of other people's imports
        import keras
        from keras import ops
    from lossproof.catalogue import CATALOGUE
    from lossproof.formula import REALS, UNIT, Loss, LossproofError, Param
    from lossproof.keras import ReconstructionLoss, elementwise, kernel, logit_gradient
    from lossproof.keras.kernel import apply
    from lossproof.lower import function

    BACKEND = keras.backend.backend()
FIGURES: dict[str, object] = {}


def value_and_gradient(f, x, *, jit=False):
    """f(x) and the gradient of its sum, by the backend's own differentiation, as NumPy arrays."""
    if BACKEND == "jax":
        import jax

        both = jax.value_and_grad(lambda v: (lambda r: (r.sum(), r))(f(v)), has_aux=True)  # noqa: PLC3002
        (_, value), gradient = (jax.jit(both) if jit else both)(jax.numpy.asarray(x))
        return np.asarray(value), np.asarray(gradient)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def both(v):
            with tf.GradientTape() as tape:
                tape.watch(v)
                r = f(v)
            return r, tape.gradient(r, v)

        value, gradient = (tf.function(both, jit_compile=True) if jit else both)(tf.constant(x))
        return value.numpy(), gradient.numpy()
    import torch

    v = torch.tensor(x, requires_grad=True)
    r = f(v)
    return r.detach().numpy(), torch.autograd.grad(r.sum(), v)[0].numpy()


def corners(dtype):
    y, z = (a.ravel().astype(dtype) for a in np.meshgrid(TARGETS, LOGITS))
    return y, z


def images(seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, shape) / 255).astype("float32"), (rng.normal(size=shape) * 3).astype(
        "float32"
    )


def raises(match, f, *args, **kwargs):
    import re

    try:
        f(*args, **kwargs)
    except LossproofError as error:
        assert re.search(match, str(error)), f"expected {match!r}, got {error}"  # noqa: PT017 - pytest is not loaded here
    else:
        raise AssertionError(f"no error; expected {match!r}")


def check_value_and_gradient_at_the_corners_are_within_4_ulp():
    worst = {}
    for dtype in ("float32",) if BACKEND == "jax" else ("float32", "float64"):
        y, z = corners(dtype)
        scale = np.maximum(1, np.abs(y * z))
        # where p rounds to y every slope between both sides' is right
        at_kink = np.abs(function("mse").value_logits(y, z)) < np.finfo(dtype).eps ** 2
        for name in CATALOGUE:
            f = elementwise(name)
            value, gradient = value_and_gradient(
                partial(f, ops.convert_to_tensor(y)), z, jit=dtype == "float32"
            )
            assert value.dtype == gradient.dtype == dtype
            for kind, got in (("value_logits", value), ("gradient_logits", gradient)):
                want = getattr(function(name), kind)(y.astype("float64"), z.astype("float64"))
                with np.errstate(invalid="ignore"):
                    error = np.abs(got - want) / np.maximum(scale, np.abs(want)) / np.finfo(dtype).eps
                error[(got == want) | (at_kink if kind == "gradient_logits" else False)] = 0
                worst[name, dtype, kind] = error.max()
                assert error.max() <= 4, (
                    name,
                    dtype,
                    kind,
                    y[error.argmax()],
                    z[error.argmax()],
                    error.max(),
                )
    FIGURES["worst_ulp"] = max((float(v), "/".join(k)) for k, v in worst.items())


def check_eager_and_compiled_agree():
    y, z = corners("float32")
    for name in ("bce", "huber", "continuous_bernoulli", OWN):
        f = elementwise(name)
        eager, compiled = (
            value_and_gradient(partial(f, ops.convert_to_tensor(y)), z, jit=j) for j in (False, True)
        )
        for a, b in zip(eager, compiled, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def check_the_gradient_is_the_derived_one():
    marked = dataclasses.replace(kernel("mae"), gradient_logits=lambda y, z: 0 * z + 42)
    y, z = corners("float32")
    for jit in (False, True):
        _, gradient = value_and_gradient(lambda v: apply(marked, ops.convert_to_tensor(y), v), z, jit=jit)
        assert (gradient == 42).all()
    loss = ReconstructionLoss("mae")
    loss.kernel = marked
    bias = keras.layers.Dense(2, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((3,)), bias])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss=loss)
    model.fit(np.ones((4, 3), "float32"), np.full((4, 2), 0.5, "float32"), batch_size=4, verbose=0)
    np.testing.assert_allclose(ops.convert_to_numpy(bias.bias), -42)


def check_the_kink_and_the_plateau():
    y = ops.convert_to_tensor(np.array([0.5, 0.25, 1.0], "float32"))
    _, at_kink = value_and_gradient(
        lambda p: elementwise("mae", from_logits=False)(y, p), np.array([0.5, 0.25, 0.5], "float32")
    )
    assert at_kink.tolist() == [0, 0, -1]
    # autodiff of sqrt(abs) is infinite or NaN there
    y, z = np.zeros(2, "float32"), np.array([-200.0, 200.0], "float32")
    _, plateau = value_and_gradient(lambda v: elementwise("hellinger")(ops.convert_to_tensor(y), v), z)
    assert np.isfinite(plateau).all()
    _, bce = value_and_gradient(
        lambda v: elementwise("bce")(ops.ones(2), v), np.array([-104.0, -1e4], "float32")
    )
    assert bce.tolist() == [-1, -1]
    got = logit_gradient("bce")(ops.ones(2), ops.zeros(2))
    assert ops.convert_to_numpy(got).tolist() == [-0.5, -0.5]


def check_reductions_and_sample_weights():
    y, z = images()
    values = function("bce").value_logits(y.astype("float64"), z.astype("float64"))
    rng = np.random.default_rng(1)
    b, h, w, c = SHAPE
    weights = {shape: rng.uniform(0, 2, shape).astype("float32")
               for shape in ((), (b,), (b, 1), (b, 1, 1, 1), (b, h, w, c), (b, h, w), (1, h, w, 1), (b, h, 1, 1))}  # fmt: skip
    for shape, weight in {None: None, **weights}.items():
        full = np.ones(SHAPE) if weight is None else weight.astype("float64")
        if shape in ((b,), (b, 1)):
            full = full.reshape(b, 1, 1, 1)
        if shape == (b, h, w):
            full = full[..., None]
        full = np.broadcast_to(full, SHAPE)
        weighted = values * full
        for reduction, want in {
            "nats_per_image": weighted.sum() / b, "mean": weighted.mean(), "sum_over_batch_size": weighted.mean(),
            "sum": weighted.sum(), "none": weighted, None: weighted,
            "mean_with_sample_weight": weighted.sum() / full.sum(),
        }.items():  # fmt: skip
            got = ReconstructionLoss("bce", reduction=reduction)(y, z, sample_weight=weight)
            np.testing.assert_allclose(
                ops.convert_to_numpy(got), want, rtol=2e-5, err_msg=f"{shape} {reduction}"
            )
    # Keras's own, where it has the loss
    y, z = images(shape=(6, 5))
    p = (1 / (1 + np.exp(-z.astype("float64")))).astype("float32")
    weight = rng.uniform(0, 2, 6).astype("float32")
    ours = ReconstructionLoss("bce", reduction="mean")
    for sample_weight in (None, weight, weight[:, None]):
        theirs = keras.losses.BinaryCrossentropy(from_logits=True)(y, z, sample_weight=sample_weight)
        np.testing.assert_allclose(float(ours(y, z, sample_weight=sample_weight)), float(theirs), rtol=1e-5)
    theirs = keras.losses.MeanSquaredError()(y, p, sample_weight=weight)
    from_p = ReconstructionLoss("mse", from_logits=False, reduction="mean")
    np.testing.assert_allclose(float(from_p(y, p, sample_weight=weight)), float(theirs), rtol=1e-5)


def check_excess():
    y, z = images()
    for name in ("bce", "huber(delta=0.1)", "jensen_shannon", "weighted_bce"):
        f = function(name)
        want = f.value_logits(y, z) - f.floor(y)
        got = ReconstructionLoss(name, excess=True, reduction="none")(y, z)
        np.testing.assert_allclose(ops.convert_to_numpy(got), want, rtol=1e-4, atol=2e-6)
    plain, excess = (
        value_and_gradient(lambda v, e=e: ReconstructionLoss("bce", excess=e, check="never")(y, v), z)[1]
        for e in (False, True)
    )
    assert (plain == excess).all()


def check_excess_by_search():
    y, z = images()
    y = np.clip(y, 0.02, 0.98).astype("float32")
    for name in ("continuous_bernoulli", "focal", OWN):
        f, loss = function(name), ReconstructionLoss(name, excess=True, reduction="none")
        assert loss.kernel.floor is None
        want = f.value_logits(y, z) - f.floor(y)
        np.testing.assert_allclose(ops.convert_to_numpy(loss(y, z)), want, rtol=1e-4, atol=5e-6)
    model, traced = autoencoder(), keras.backend.backend() == "tensorflow"
    flat = y.reshape(-1, 12)
    model.compile(optimizer="sgd", loss=ReconstructionLoss("focal", excess=True), run_eagerly=traced)
    history = model.fit(flat, flat, epochs=1, verbose=0)
    assert 0 < history.history["loss"][0] < 100
    if traced:
        model.compile(optimizer="sgd", loss=ReconstructionLoss("focal", excess=True))
        raises(r"focal: expected values of y_true for excess=True, got a traced tensor.*run_eagerly=True",
               model.fit, flat, flat, verbose=0)  # fmt: skip
    raises(r"expected a finite floor, got -inf at target .*unbounded below there. Use excess=False",
           ReconstructionLoss("y*log(p)", excess=True), y, z)  # fmt: skip


def autoencoder(n=12, code=4):
    return keras.Sequential([keras.Input((n,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(code, "relu"),
                             keras.layers.Dense(16, "relu"), keras.layers.Dense(n)])  # fmt: skip


def data(n=12):
    rng = np.random.default_rng(0)
    return (1 / (1 + np.exp(-rng.normal(size=(64, 2)) @ rng.normal(size=(2, n)) * 2))).astype("float32")


def check_fit_and_evaluate():
    keras.utils.set_random_seed(0)
    model, y = autoencoder(), data()
    model.compile(optimizer=keras.optimizers.Adam(0.03), loss=ReconstructionLoss("bce", excess=True))
    history = model.fit(y, y, batch_size=16, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0] / 2
    f = function("bce")
    z = model.predict(y, verbose=0)
    want = (f.value_logits(y, z) - f.floor(y)).sum(1).mean()
    np.testing.assert_allclose(model.evaluate(y, y, verbose=0), want, rtol=1e-4)
    weight = np.linspace(0, 2, 64).astype("float32")
    want = ((f.value_logits(y, z) - f.floor(y)).sum(1) * weight).mean()
    np.testing.assert_allclose(model.evaluate(y, y, sample_weight=weight, verbose=0), want, rtol=1e-4)
    model.fit(y, y, sample_weight=np.broadcast_to(weight[:, None], y.shape), batch_size=16, verbose=0)
    assert np.isfinite(model.evaluate(y, y, verbose=0))


def check_a_users_own_formula_trains_from_logits_of_1e4():
    keras.utils.set_random_seed(0)
    y = data()
    y[:, 0], y[:, 1] = 0, 1  # these two start saturated
    start = np.zeros(12, "float32")
    start[:2] = -1e4, 1e4
    model = autoencoder()
    model.layers[-1].bias.assign(start)
    model.compile(optimizer=keras.optimizers.Adam(0.03), loss=ReconstructionLoss(OWN))
    history = model.fit(y, y, batch_size=16, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < history[0] / 2
    assert np.isfinite(model.predict(y, verbose=0)).all()
    # on the wrong side the exact value, e**10000, is no float32: infinite, with the right sign, never NaN
    t, z = corners("float32")
    value, gradient = value_and_gradient(lambda v: elementwise(OWN)(ops.convert_to_tensor(t), v), z)
    assert not np.isnan(value).any()
    assert not np.isnan(gradient).any()
    f = function(OWN)
    y64, z64 = t.astype("float64"), z.astype("float64")
    want = {"value": f.value_logits(y64, z64), "gradient": f.gradient_logits(y64, z64)}
    for kind, got in (("value", value), ("gradient", gradient)):
        small = np.abs(want[kind]) < 1e38
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(got, want[kind].astype("float32"), rtol=3e-5, atol=1e-6)
        assert np.isfinite(got[small]).all()


def check_saving_and_loading():
    y = data()
    keras.utils.set_random_seed(0)
    mine = Loss(id="mine", title="mine", formula="abs(y - p)**q", target=UNIT, prediction=REALS,
                params=(Param("q", UNIT, 0.5, "power"),), values={"q": 0.75})  # fmt: skip
    for spec in ("huber(delta=0.1234567890123)", lambda y, p: (y - p) ** 4):
        loss = ReconstructionLoss(spec, excess=not callable(spec), from_logits=False, dtype="float64")
        again = keras.losses.deserialize(keras.losses.serialize(loss))
        assert again.kernel.loss == loss.kernel.loss
        assert again.get_config() == loss.get_config()
    for spec in (OWN, mine):
        model = autoencoder()
        loss = ReconstructionLoss(spec, reduction="mean", check="never", name="own")
        model.compile(optimizer="adam", loss=loss)
        model.fit(y, y, batch_size=32, verbose=0)
        before = model.evaluate(y, y, verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            model.save(path)
            loaded = keras.saving.load_model(path)
        np.testing.assert_allclose(loaded.evaluate(y, y, verbose=0), before, rtol=1e-6)
        assert type(loaded.loss) is ReconstructionLoss
        assert loaded.loss.kernel.loss == loss.kernel.loss
        assert loaded.loss.get_config() == loss.get_config()
        json.dumps(loss.get_config(), allow_nan=False)
        loaded.fit(y, y, batch_size=32, verbose=0)
    raises(
        "expected the configuration of a lossproof loss",
        ReconstructionLoss.from_config,
        {"loss": {"id": "bce"}},
    )


def check_half_precision_is_computed_in_float32():
    y, z = images()
    for dtype in ("float16", "bfloat16"):
        half = ops.cast(z, dtype)
        want = float(ReconstructionLoss("bce")(y, ops.cast(half, "float32")))
        for option in ({}, {"dtype": dtype}, {"dtype": f"mixed_{dtype}"}):
            loss = ReconstructionLoss("bce", **option)
            assert loss.dtype == "float32"
            np.testing.assert_allclose(float(loss(y, half)), want, rtol=1e-6)
        assert keras.backend.standardize_dtype(elementwise("bce")(y, half).dtype) == "float32"
    if BACKEND != "jax":
        y, z = y.astype("float64"), z.astype("float64")
        loss = ReconstructionLoss("bce", dtype="float64")
        want = function("bce").value_logits(y, z)
        # Keras's own division by the batch goes through float32 on torch
        np.testing.assert_allclose(
            float(loss(y, z)), want.sum() / SHAPE[0], rtol=1e-7 if BACKEND == "torch" else 1e-14
        )
        per_image = ops.convert_to_numpy(loss.call(*map(ops.convert_to_tensor, (y, z))))
        np.testing.assert_allclose(per_image, want.sum((1, 2, 3)), rtol=1e-14)


def check_mixed_precision_trains():
    keras.utils.set_random_seed(0)
    y = data()
    for policy in ("mixed_bfloat16", "mixed_float16"):
        keras.mixed_precision.set_global_policy(policy)
        try:
            model = autoencoder()
            model.compile(optimizer=keras.optimizers.Adam(0.03), loss=ReconstructionLoss("bce", excess=True))
            history = model.fit(y, y, batch_size=16, epochs=8, verbose=0).history["loss"]
        finally:
            keras.mixed_precision.set_global_policy("float32")
        assert np.isfinite(history).all(), history
        assert history[-1] < history[0], history


def check_second_derivative():
    y, z = (a.ravel()[:7].astype("float32") for a in images())
    p = 1 / (1 + np.exp(-z.astype("float64")))
    if BACKEND == "jax":
        import jax

        f = elementwise("bce")
        got = jax.vmap(jax.grad(jax.grad(lambda v, t: f(t, v))))(z, y)
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        v = tf.constant(z)
        with tf.GradientTape() as outer:
            outer.watch(v)
            with tf.GradientTape() as inner:
                inner.watch(v)
                r = elementwise("bce")(y, v)
            first = inner.gradient(r, v)
        got = outer.gradient(first, v)
    else:
        import torch

        v = torch.tensor(z, requires_grad=True)
        (first,) = torch.autograd.grad(elementwise("bce")(y, v).sum(), v, create_graph=True)
        (got,) = torch.autograd.grad(first.sum(), v)
    np.testing.assert_allclose(np.asarray(got), p * (1 - p), rtol=1e-4, atol=1e-7)


def check_no_gradient_flows_to_the_target():
    y, z = images()
    _, got = value_and_gradient(lambda t: elementwise("bce")(t, ops.convert_to_tensor(z)) + 0 * t, y)
    assert (got == 0).all()


def check_bad_input_is_explained():
    y, z = images()
    loss = ReconstructionLoss("bce")
    raises(r"bce: expected y_true in \[0, 1\], got \d+ of 60 values outside, first [\d.]+ at \[0, 0, 0, 0\] "
           r"\(shape \(3, 4, 5, 1\), float32\). Divide by 255\?", loss, y * 255, z)  # fmt: skip
    raises("Divide by 255", loss, (y * 255).astype("uint8"), z)
    raises(r"Use \(x \+ 1\)/2", loss, y * 2 - 1, z)
    raises(
        r"without NaN, got 1 of 60 NaN, first at \[0, 0, 1, 0\]",
        loss,
        np.where(np.arange(60).reshape(SHAPE) == 1, np.nan, y),
        z,
    )
    raises(r"equal shape, got \(3, 4, 5\) and \(3, 4, 5, 1\)", loss, y[..., 0], z)
    raises(r"at least one element, got shape \(0, 4\)", loss, np.zeros((0, 4)), np.zeros((0, 4)))
    raises("Leave from_logits=True", ReconstructionLoss("bce", from_logits=False), y, z)
    raises(
        r"sample_weight of shape \(3,\), \(3, 4, 5\) or \(3, 4, 5, 1\), got \(5,\)", loss, y, z, np.ones(5)
    )
    raises("expected y_true as one tensor, got a dict", loss, {"a": y}, z)
    raises(
        "expected reduction one of nats_per_image, mean, .*got 'avg'",
        ReconstructionLoss,
        "bce",
        reduction="avg",
    )
    raises(
        "expected check one of always, first, never, got 'often'", ReconstructionLoss, "bce", check="often"
    )
    raises("did you mean bce", ReconstructionLoss, "bec")
    masked = keras.layers.Masking()(np.ones((2, 3, 4), "float32"))
    raises(
        r"expected y_pred without a Keras mask, got one of shape \(2, 3\)",
        ReconstructionLoss("bce"),
        np.ones((2, 3, 4)),
        masked,
    )


def check_the_range_is_looked_at_once_and_never_while_traced():
    y, z = images()
    first, always, never = (ReconstructionLoss("bce", check=c) for c in ("first", "always", "never"))
    never(y * 255, z)
    first(y, z)
    first(y * 255, z)
    always(y, z)
    raises("Divide by 255", always, y * 255, z)
    traced = ReconstructionLoss("bce", check="always")
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(12)])
    model.compile(optimizer="sgd", loss=traced)
    if BACKEND == "torch":  # fit is eager there
        raises("Divide by 255", model.fit, data(), data() * 255, verbose=0)
    else:
        model.fit(data(), data() * 255, verbose=0)
        assert not traced._checked
    if BACKEND == "tensorflow":  # on JAX a step is differentiated, that is traced, even so
        model.compile(optimizer="sgd", loss=ReconstructionLoss("bce"), run_eagerly=True)
        raises("Divide by 255", model.fit, data(), data() * 255, verbose=0)


def check_every_emitted_module_runs_by_itself():
    from lossproof.lower.source import source

    every = ("value", "gradient", "value_logits", "gradient_logits", "floor")

    y, p = np.random.default_rng(0).uniform(0.05, 0.95, (2, 50)).astype("float32")
    z = np.log(p) - np.log1p(-p)
    for spec in [*CATALOGUE, OWN]:
        f = function(spec)
        for target in ("keras", "jax") if BACKEND == "jax" else ("keras",):
            namespace: dict = {"__name__": "alone"}
            exec(source(f.definition, target).text(), namespace)
            found = [name for name in every if name in namespace]
            assert set(every[:4]) <= set(found)
            for name in found:
                arguments = (y,) if name == "floor" else (y, z) if name.endswith("logits") else (y, p)
                got = namespace[name](*map(ops.convert_to_tensor, arguments))
                want = getattr(f, name)(*(a.astype("float64") for a in arguments))
                np.testing.assert_allclose(
                    ops.convert_to_numpy(got), want, rtol=2e-3, atol=3e-5, err_msg=f"{spec} {name}"
                )


def check_dynamic_batch_and_last_partial_batch():
    keras.utils.set_random_seed(0)
    model, y = autoencoder(), data()[:21]
    model.compile(optimizer="sgd", loss=ReconstructionLoss("mse"))
    model.fit(y, y, batch_size=8, sample_weight=np.ones(21, "float32"), verbose=0)
    z = model.predict(y, verbose=0)
    want = function("mse").value_logits(y, z).sum(1).mean()
    np.testing.assert_allclose(model.evaluate(y, y, batch_size=8, verbose=0), want, rtol=1e-5)


def main():
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy keyword")
    results = {}
    for name in [n for n in globals() if n.startswith("check_")]:
        before, results[name] = time.perf_counter(), "ok"
        try:
            globals()[name]()
        except Exception:
            results[name] = traceback.format_exc()
        FIGURES[name] = round(time.perf_counter() - before, 2)
    modules = sorted({m.split(".")[0] for m in sys.modules})
    report = {"backend": BACKEND, "results": results, "figures": FIGURES, "modules": modules}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
