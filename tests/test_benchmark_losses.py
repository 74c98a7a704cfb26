"""The benchmark of the losses runs and writes its section. No time is asserted: the machine may be busy."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def losses(monkeypatch):
    """benchmarks/losses.py as a module."""
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module("losses")


def row(losses, contender, ratio, extra=1.0, size="4096x784"):
    return losses.Row(size, "float32", "bce", contender, 1.0, ratio, extra)


def test_the_contenders_compute_the_same_gradient(losses):
    z, y = torch.randn(4, 6, requires_grad=True), torch.rand(4, 6)
    for name in losses.LOSSES:
        found = {}
        for title, step in losses.contenders(name, z, y, with_compile=False).items():
            if title.startswith("optax"):
                continue  # its gradient stays in JAX
            step()
            scale = z.shape[0] / z.numel() if "nats per image" in title else 1.0
            found[title] = z.grad * scale
        for title, gradient in found.items():
            torch.testing.assert_close(
                gradient, found[losses.REFERENCE], msg=lambda m, t=title, n=name: f"{n} {t}: {m}"
            )


def test_extra_memory_counts_what_is_alive_at_once(losses):
    z = torch.zeros(1000, requires_grad=True)

    def two_at_once():
        a = z.detach() + 1
        b = a + 1
        del a, b
        c = z.detach() + 1
        del c

    assert losses.extra_memory(two_at_once, z) == pytest.approx(2.0, abs=0.1)


def test_goals_are_judged_by_the_measured_ratio(losses):
    rows = [
        row(losses, "torch eager", 1.0),
        row(losses, "lossproof, mean", 1.3, 1.6),
        row(losses, "lossproof compiled", 2.0),
        row(losses, "torch compiled", 2.1),
    ]
    text = "\n".join(losses.goals(rows))
    assert "at least 1.25 times as fast as torch eager | 1.30 | yes" in text
    assert "(the gradient), and 5 % for a piece | 1.60 | no" in text
    assert "within 1.1 times the best peer | 1.05 (torch compiled) | yes" in text


def test_the_section_replaces_its_own_text_alone(losses, tmp_path):
    page = tmp_path / "performance.md"
    losses.write_section(losses.section([row(losses, "torch eager", 1.0)], 1, {"4096x784": 3}), page)
    assert page.read_text().count(losses.START) == 1
    page.write_text("# Performance\n\nbefore\n\n" + page.read_text() + "\n## After\n")
    losses.write_section(f"{losses.START}\nnew\n{losses.END}\n", page)
    text = page.read_text()
    assert "before" in text
    assert "## After" in text
    assert "new" in text
    assert "bandwidth" not in text


def test_a_small_run_is_written(losses, tmp_path, capsys):
    page, threads = tmp_path / "performance.md", torch.get_num_threads()
    try:
        assert (
            losses.main(
                [
                    "--sizes",
                    "8x16",
                    "--losses",
                    "bce,mae",
                    "--rounds",
                    "2",
                    "--threads",
                    "1",
                    "--no-compile",
                    "--out",
                    str(page),
                ]
            )
            == 0
        )
    finally:
        torch.set_num_threads(threads)
    text = page.read_text()
    assert "### 8x16, float32" in text
    assert "### 8x16, bfloat16" in text
    assert "| lossproof, mean |" in text
    assert "| memory bandwidth bound |" in text
