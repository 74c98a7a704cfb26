"""The Keras room on every backend: tests/keras/checks.py runs once a backend, in processes of their own."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHECKS = [
    node.name
    for node in ast.parse((HERE / "checks.py").read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
]
BACKENDS = ("tensorflow", "jax", "torch")
_RUNNING: dict[str, "subprocess.Popen[str]"] = {}
_DONE: dict[str, dict] = {}


def installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # tests/keras itself looks like a package without one


def environment(backend: str) -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    return {**os.environ, **one, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "",
            "JAX_PLATFORMS": "cpu", "TF_ENABLE_ONEDNN_OPTS": "0"}  # fmt: skip


def results(backend: str) -> dict:
    for name in ("keras", backend):
        if not installed(name):
            pytest.skip(f"{name} is not installed")
    for name in filter(installed, BACKENDS):  # all at once: most of their time is spent loading
        if name not in _RUNNING:
            _RUNNING[name] = subprocess.Popen(
                [sys.executable, str(HERE / "checks.py")], env=environment(name), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
    if backend not in _DONE:
        out, err = _RUNNING[backend].communicate(timeout=300)
        assert _RUNNING[backend].returncode == 0, err[-3000:]
        _DONE[backend] = json.loads(out.strip().splitlines()[-1])
    return _DONE[backend]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_backend(backend, check):
    found = results(backend)
    assert found["backend"] == backend
    assert found["results"][check] == "ok", found["results"][check]


def run(code: str, backend: str = "jax") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], env=environment(backend), capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not (installed("keras") and installed("jax")), reason="keras or jax is not installed")
def test_import_and_a_committed_kernel_load_neither_sympy_nor_another_backend():
    code = (
        "import sys, lossproof.keras as k; k.ReconstructionLoss('bce'); k.elementwise('mae'); "
        "print([m for m in ('sympy', 'torch', 'tensorflow') if m in sys.modules])"
    )
    done = run(code)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("keras", r'lossproof.keras needs keras and a backend of it: pip install "lossproof[keras]"'),
        ("jax", "No module named 'jax'" if installed("keras") else "needs keras"),
    ],
)
def test_what_is_missing_is_named(missing, message):
    code = f"""
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import lossproof.keras
"""
    done = run(code)
    assert done.returncode == 1
    assert message in done.stderr.strip().splitlines()[-1], done.stderr[-2000:]


@pytest.mark.skipif(not installed("keras"), reason="keras is not installed")
def test_values_on_the_numpy_backend_which_has_no_gradients():
    code = """
import numpy as np
from lossproof.keras import ReconstructionLoss, elementwise
from lossproof.lower import function
y, z = np.array([[0.0, 0.5]]), np.array([[3.0, -1e4]])
print(abs(elementwise("bce")(y, z) - function("bce").value_logits(y, z)).max() < 1e-6, float(ReconstructionLoss("bce")(y, z)))
"""
    done = run(code, "numpy")
    assert done.stdout.split() == ["True", "5003.048828125"], done.stderr[-2000:]
