"""Every command and every piece of Python in README.md runs, as a newcomer would run it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
COMMANDS = [
    line for block in re.findall(r"```console\n(.*?)```", TEXT, flags=re.S) for line in block.splitlines()
    if line.startswith("lossproof ") and line != "lossproof compare digits"  # make demo runs that one
]  # fmt: skip
ENVIRONMENT = {**os.environ, "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def test_there_is_something_to_run():
    assert len(PYTHON) >= 3
    assert len(COMMANDS) >= 5


def test_the_python_runs(tmp_path):
    for block in PYTHON:
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"


def test_the_commands_run(tmp_path):
    program = "import sys; from lossproof.cli import main; main()"
    for line in COMMANDS:
        arguments = shlex.split(line)[1:]
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), line
    assert (tmp_path / "my-run" / "report.html").exists()


def test_files_that_it_names_exist():
    for name in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / name).exists(), name


def test_every_command_is_documented():
    from typer.main import get_command

    from lossproof.cli import app

    reference = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        assert f"## `lossproof {name}`" in reference
        assert command.help, name
        for option in command.params:
            assert any(f"`{flag}" in reference or f" {flag}" in reference for flag in option.opts), (
                name,
                option.opts,
            )


@pytest.mark.parametrize("word", ["index-url", "find-links", "/home/", "/tmp/"])
def test_no_document_names_a_machine_or_an_index(word):
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "Makefile", ROOT / "constraints.txt"]:
        assert word not in path.read_text(encoding="utf-8"), path.name
