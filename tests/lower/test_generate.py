"""Committed kernels are what their definitions say; breaking one is seen."""

from pathlib import Path

import pytest

from lossproof.catalogue import CATALOGUE, resolve
from lossproof.formula import LossproofError
from lossproof.lower import generate
from lossproof.lower.source import source
from lossproof.torch import kernel


def test_the_committed_kernels_are_not_stale():
    assert generate.stale() == []
    assert generate.main(["--check"]) == 0


def test_a_changed_missing_or_left_over_kernel_is_seen(tmp_path, monkeypatch, capsys):
    assert len(generate.write(tmp_path)) == 3 * (len(CATALOGUE) + 1)
    assert generate.write(tmp_path) == []
    folder = tmp_path / "torch" / "kernels"
    broken = folder / "bce.py"
    broken.write_text(broken.read_text().replace("- y * z", "+ y * z"))
    (folder / "mse.py").unlink()
    (folder / "old.py").write_text("")
    assert generate.stale(tmp_path) == [f"torch/kernels/{name}.py" for name in ("bce", "mse", "old")]
    monkeypatch.setattr(generate, "stale", lambda: ["bce.py"])
    assert generate.main(["--check"]) == 1
    assert "bce.py stale. Run make generate." in capsys.readouterr().err
    monkeypatch.undo()
    generate.write(tmp_path)
    assert generate.stale(tmp_path) == []


@pytest.mark.parametrize("loss", CATALOGUE.values(), ids=lambda loss: loss.id)
def test_a_catalogue_loss_uses_its_committed_kernel_and_a_namesake_does_not(loss):
    assert kernel(loss).source == f"lossproof.torch.kernels.{loss.id}"
    from dataclasses import replace

    assert (
        "def value"
        in kernel(replace(loss, formula="(y - p)**4", params=(), values={}, minimiser=None)).source
    )


def test_every_emitted_module_runs_by_itself():
    for loss in CATALOGUE.values():
        for target in ("numpy", "torch"):  # keras and jax: in their own rooms' tests
            namespace: dict = {}
            exec(source(loss, target).text(), namespace)
            assert {"value", "gradient", "value_logits", "gradient_logits"} <= set(namespace)


def test_unknown_target():
    with pytest.raises(LossproofError, match="expected a target, got 'cobol'; known: .*torch"):
        source(resolve("bce"), "cobol")


def test_kernels_name_no_path_of_a_machine():
    for path in Path(generate.ROOT).glob("*/kernels/*.py"):
        assert "/home" not in path.read_text()


def test_a_broken_printer_line_is_seen(monkeypatch):
    from lossproof.lower.targets import TARGETS

    monkeypatch.setitem(TARGETS["torch"].functions, "sigmoid", "torch.tanh({0})")
    assert "torch/kernels/bce.py" in generate.stale()
    assert not any(name.startswith("jax/") for name in generate.stale())


def test_a_broken_rule_is_seen(monkeypatch):
    from dataclasses import replace

    from lossproof.formula.functions import softplus
    from lossproof.lower import rules, stable

    # the log of a sigmoid with the wrong sign, as a slip would have it
    broken = [
        replace(r, apply=lambda e, good=r.apply: None if (new := good(e)) is None else new.replace(softplus, lambda u: softplus(-u)))
        if r.name == "log_of_sigmoid" else r for r in rules.RULES
    ]  # fmt: skip
    monkeypatch.setattr(rules.engine, "RULES", broken)
    monkeypatch.setattr(stable, "STRUCTURE", [r for r in broken if not r.last])
    stable._in_time.cache_clear()
    try:
        assert "torch/kernels/bce.py" in generate.stale()
    finally:
        stable._in_time.cache_clear()
