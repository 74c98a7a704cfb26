"""``module:function`` from the user's own directory."""

import sys

import pytest

from lossproof.formula.errors import LossproofError
from lossproof.formula.trace import resolve_callable, trace


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {
        "lp_losses.py": "import numpy as np\nNUMBER = 3\n\n"
        "def charbonnier(y, p):\n    return np.sqrt((y - p)**2 + 1)\n"
        "\nclass Loss:\n    @staticmethod\n    def of(y, p):\n        return y - p\n",
        "lp_broken.py": "def f(:\n",
        "lp_exits.py": "raise SystemExit(3)\n",
        "lp_needs.py": "import lp_not_there\n",
        "lp_empty.py": "",
    }
    for name, text in names.items():
        (tmp_path / name).write_text(text)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_of_the_current_directory(directory):
    path = list(sys.path)
    assert str(trace(resolve_callable("lp_losses:charbonnier"))) == "sqrt((-p + y)**2 + 1)"
    assert str(trace(resolve_callable("lp_losses:Loss.of"))) == "-p + y"
    assert sys.path == path


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "lp_losses:charbonier",
            "expected a function of module lp_losses, got no 'charbonier' there; did you mean charbonnier",
        ),
        (
            "lp_losses:Loss.off",
            "expected a function of object lp_losses.Loss, got no 'off' there; did you mean of",
        ),
        ("lp_losses:NUMBER", "expected a function, got lp_losses.NUMBER of type int"),
        ("lp_losses:Loss", "expected a function, got the class lp_losses.Loss"),
        ("lp_empty:f", "got no 'f' there, which has no functions"),
        ("lp_lossess:f", "got no module 'lp_lossess'; did you mean lp_losses"),
        ("numpy.lynalg:f", "got no module 'numpy.lynalg'; did you mean linalg"),
        ("lp_broken:f", "expected module lp_broken to import, got SyntaxError"),
        ("lp_exits:f", "expected module lp_exits to import, got SystemExit: 3"),
        ("lp_needs:f", "got no module 'lp_not_there', which it needs"),
        ("lp_losses.py:f", r"got no module|Write lp_losses:f"),
        (
            "dir/lp_losses.py:f",
            "expected module:function with a dotted module name, .* Write dir.lp_losses:f",
        ),
        ("lp_losses", "expected module:function .* Write lp_losses:loss"),
        (":f", "Write my_losses:charbonnier"),
        ("lp_losses:", "Write lp_losses:loss"),
    ],
)
def test_clear_errors(directory, spec, message):
    with pytest.raises(LossproofError, match=message):
        resolve_callable(spec)
