"""The JAX room: tests/jax/checks.py runs once in float32 and once in float64, in processes of their own."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TREE = ast.parse((HERE / "checks.py").read_text())
CHECKS = [n.name for n in TREE.body if isinstance(n, ast.FunctionDef) and n.name.startswith("check_")]
WORDS = next(
    ast.literal_eval(n.value)
    for n in TREE.body
    if isinstance(n, ast.Assign) and n.targets[0].id == "IN_FLOAT64"
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
_RUNNING: dict[str, "subprocess.Popen[str]"] = {}
_DONE: dict[str, dict] = {}


def installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None  # tests/jax itself looks like a package without one


def results(mode: str) -> dict:
    for name in ("jax", "optax"):
        if not installed(name):
            pytest.skip(f"{name} is not installed")
    for option in ("float32", "x64"):  # both at once: most of their time is compiling
        if option not in _RUNNING:
            _RUNNING[option] = subprocess.Popen(
                [sys.executable, str(HERE / "checks.py"), option], env=ENVIRONMENT, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
    if mode not in _DONE:
        out, err = _RUNNING[mode].communicate(timeout=300)
        assert _RUNNING[mode].returncode == 0, err[-3000:]
        _DONE[mode] = json.loads(out.strip().splitlines()[-1])
    return _DONE[mode]


@pytest.mark.parametrize("check", CHECKS)
def test_float32(check):
    found = results("float32")
    assert found["results"][check] == "ok", found["results"][check]


@pytest.mark.parametrize("check", [c for c in CHECKS if any(word in c for word in WORDS)])
def test_float64(check):
    found = results("x64")
    assert found["backend"] == "float64"
    assert found["results"][check] == "ok", found["results"][check]


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not installed("jax"), reason="jax is not installed")
def test_import_and_a_committed_kernel_load_neither_sympy_nor_another_framework():
    code = (
        "import sys, lossproof.jax as j; j.loss('bce')(0.0, 1.0); j.reconstruction_loss('mae'); "
        "print([m for m in ('sympy', 'torch', 'tensorflow', 'keras', 'pandas') if m in sys.modules])"
    )
    done = run(code)
    assert done.stdout.strip() == "[]", done.stderr[-2000:]


def test_a_missing_jax_is_named():
    code = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "jax":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import lossproof.jax
"""
    done = run(code)
    assert done.returncode == 1
    assert 'lossproof.jax needs jax: pip install "lossproof[jax]"' in done.stderr.strip().splitlines()[-1]
