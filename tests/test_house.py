"""The shape of the house: floors, light imports, no loss by name, files short enough to read."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lossproof.catalogue import CATALOGUE

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "lossproof"
FLOORS = {
    "formula": 0, "catalogue": 1, "rechecking": 1, "prove": 2, "lower": 2, "likelihood": 3, "torch": 4, "keras": 4,
    "jax": 4, "data": 5, "models": 5, "train": 6, "advise": 7, "report": 7,
    "reproduce": 7, "cli": 8,
}  # fmt: skip
FILES = sorted(SRC.rglob("*.py"))


def rooms_imported(tree: ast.AST) -> set[str]:
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
            names += [f"{node.module}.{a.name}" for a in node.names] if node.module == "lossproof" else []
    return {n.split(".")[1] for n in names if n.startswith("lossproof.") and n.split(".")[1] in FLOORS}


def violations(room: str, text: str) -> set[str]:
    used = rooms_imported(ast.parse(text)) - {room}
    return {other for other in used if FLOORS[other] >= FLOORS[room]}


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != SRC], ids=lambda p: str(p.relative_to(SRC)))
def test_a_room_imports_only_from_floors_below(path):
    room = path.relative_to(SRC).parts[0]
    assert not violations(room, path.read_text()), (
        f"{path.name}: floor {FLOORS[room]} imports from above or beside"
    )


def test_the_contract_sees_an_import_from_above():
    assert violations("formula", "def f():\n    from lossproof.lower import function") == {"lower"}
    assert violations("lower", "import lossproof.catalogue") == set()


def test_no_relative_imports():
    for path in FILES:
        relative = [
            n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level
        ]
        assert not relative, f"{path}: absolute imports only, the contract test reads them"


def ids_in_branches(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare) and "measure" in ast.unparse(node):
            continue  # a column of the results table, such as the measure mse, is no loss
        if isinstance(node, ast.Compare | ast.match_case):
            found |= {n.value for n in ast.walk(node.pattern if isinstance(node, ast.match_case) else node)
                      if isinstance(n, ast.Constant) and isinstance(n.value, str) and n.value in CATALOGUE}  # fmt: skip
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_loss_is_known_by_name_outside_the_catalogue(path):
    if path.relative_to(SRC).parts[0] != "catalogue":
        assert not ids_in_branches(path.read_text())


def test_the_name_test_sees_a_branch_on_a_loss():
    assert ids_in_branches("if loss == 'bce': pass") == {"bce"}
    assert ids_in_branches("match x:\n    case 'mse': pass") == {"mse"}


def loaded_by(statement: str) -> set[str]:
    code = (
        f"import sys, json; {statement}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    return set(
        json.loads(
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        )
    )


HEAVY = {"torch", "sympy", "pandas", "numpy", "plotly", "sklearn", "pyarrow", "jinja2", "mpmath"}


@pytest.mark.parametrize(
    ("statement", "never"),
    [
        ("import lossproof", HEAVY),
        ("import lossproof; lossproof.LossproofError", HEAVY - {"numpy"}),
        ("import lossproof.catalogue", HEAVY - {"numpy"}),
        ("import lossproof.cli", HEAVY),
        ("import lossproof.torch; lossproof.torch.kernel('bce')", {"sympy", "pandas", "plotly", "sklearn"}),
        ("import lossproof.report", {"torch", "sympy"}),
        ("import lossproof.train", {"torch", "sympy"}),
        ("import lossproof.data", {"torch"}),
    ],
)
def test_imports_stay_light(statement, never):
    assert not loaded_by(statement) & never


def test_public_names_resolve_and_unknown_ones_say_what_there_is():
    import lossproof

    for name in lossproof.__all__:
        assert getattr(lossproof, name) is not None
    with pytest.raises(AttributeError, match="it has: .*compare"):
        _ = lossproof.nothing


def test_files_are_short_enough_to_read():
    long = {str(p.relative_to(ROOT)): n for p in [*FILES, *ROOT.glob("tests/**/*.py")]
            if (n := len(p.read_text().splitlines())) > 500}  # fmt: skip
    assert not long


def test_every_test_comparison_is_asserted():
    calls = {"allclose", "isclose", "array_equal", "equal", "array_equiv"}
    for path in ROOT.glob("tests/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Expr):
                bare = isinstance(node.value, ast.Compare) or (
                    isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute)
                    and node.value.func.attr in calls and getattr(node.value.func.value, "id", "") in ("np", "torch")
                )  # fmt: skip
                assert not bare, f"{path.name}:{node.lineno}: a comparison that asserts nothing"
