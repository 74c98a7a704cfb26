"""benchmarks/stack.py runs, both ways do the same work, and its section leaves the rest of the page alone."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("stack", FOLDER / "stack.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "stack", module)
    spec.loader.exec_module(module)
    return module


def test_a_section_is_written_between_its_markers(benchmark, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("# Performance\n\nbefore\n\n<!-- stack -->\nold\n<!-- /stack -->\n\nafter\n")
    options = ["--model", "16-8-2", "--threads", "1", "--pairs", "2", "--steps", "2", "--out", str(page)]
    assert benchmark.main(options) == 0
    text = page.read_text()
    assert text.startswith("# Performance\n\nbefore\n\n<!-- stack -->\n## Members side by side\n")
    assert text.endswith("<!-- /stack -->\n\nafter\n")
    assert "old" not in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| 16-8-2")]
    assert [row[2] for row in rows] == ["cpu", "wall"]
    assert all(float(row[3]) > 0 and float(row[4]) > 0 for row in rows)
    # the stack and the members by themselves end at the same weights, up to float32's rounding
    assert float(re.search(r"16-8-2 (\d\.\de-\d+)\.", text)[1]) < 1e-5
    assert benchmark.main(options) == 0
    assert page.read_text().count("<!-- stack -->") == 1


def test_the_bound_has_the_products_of_a_step(benchmark):
    made = benchmark.Products(benchmark.Sizes.parse("16-8-2"), 3)
    work = sum(2 * a.shape[1] * a.shape[2] * b.shape[2] for a, b, _ in made.calls)
    weights = 16 * 8 + 8 * 4 + 2 * 8 + 8 * 16
    assert work == 2 * 64 * (3 * weights - 16 * 8)  # there, to the weights, and back to all but the images
    made.run(1)
    a, b, out = made.calls[0]
    assert bool((out == a @ b).all())
