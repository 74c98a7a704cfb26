"""lossproof recheck, called as the program calls it."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lossproof.cli import app
from lossproof.formula import LossproofError


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificates") / "bce.json"
    result = CliRunner().invoke(app, ["certify", "bce", "--only", "minimum,unique", "--json", str(path)])
    assert result.exit_code == 0, result.output
    return path


def run(*arguments: object, status: int) -> str:
    result = CliRunner().invoke(app, ["recheck", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def test_it_says_how_much_was_looked_at(stored: Path):
    text = run(stored, status=0)
    assert f"{stored}: bce\n" in text
    found = re.search(r"(\d+) claims at (\d+) points; nothing wrong\.", text)
    assert found, text
    assert int(found[2]) > int(found[1]) > 5


def test_a_tampered_certificate_fails_and_is_named(stored: Path, tmp_path: Path):
    bad = tmp_path / "bad.json"
    bad.write_text(stored.read_text().replace('"relation": ">"', '"relation": "<"'))
    text = run(stored, bad, status=1)
    assert "2 certificates, 1 of them wrong" in text
    after = text.split(f"{bad}: bce\n")[1]
    assert re.search(r"\d+ wrong:\n    \w+: ", after)
    assert "nothing wrong" not in after


def test_text_that_is_no_certificate_is_wrong(tmp_path: Path):
    (tmp_path / "x.json").write_text("{")
    assert "expected JSON" in run(tmp_path / "x.json", status=1)


def test_a_missing_file_is_an_error(tmp_path: Path):
    result = CliRunner().invoke(app, ["recheck", str(tmp_path / "none.json")])
    assert isinstance(result.exception, LossproofError)
    assert "expected a certificate's JSON file" in str(result.exception)
