"""What every test may use."""

import os
import sys
from pathlib import Path

import pytest

# doctests run in this process: Keras is not to load TensorFlow into it
os.environ.setdefault("KERAS_BACKEND", "torch")
sys.path.insert(0, str(Path(__file__).parent))  # tests import tests/tolerance.py


#: files of a few long tests, begun first: at the end one process would run them while the other has nothing left
LONG = (
    "test_soundness.py",
    "test_readme.py",
    "test_keras.py",
    "test_jax.py",
    "test_resume.py",
    "test_engines.py",
    "test_certify.py",
    "test_benchmarks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, in their order; all others as they come."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def data_folder() -> Path | None:
    """Where real data sets lie: LOSSPROOF_DATA, or shared/data beside the checkout; None if neither is there."""
    candidates = [os.environ.get("LOSSPROOF_DATA"), Path(__file__).parent.parent.parent / "shared" / "data"]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = data_folder()
    if folder is None:
        pytest.skip(
            "real data sets are not here; set LOSSPROOF_DATA to a folder that holds mnist/ and the like"
        )
    return folder
