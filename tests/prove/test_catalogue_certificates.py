"""The committed certificates: complete, true by the checker, and what the generator says of changed ones."""

import json
from pathlib import Path

import pytest

from lossproof.catalogue import CATALOGUE
from lossproof.prove import Certificate
from lossproof.prove.catalogue_certificates import content, stale, text_of, write
from lossproof.prove.generate import main
from lossproof.recheck import recheck

FOLDER = Path(__file__).parent.parent.parent / "certificates"


def test_every_loss_has_one():
    assert {p.stem for p in FOLDER.glob("*.json")} == set(CATALOGUE)


@pytest.mark.parametrize("loss", CATALOGUE)
def test_it_passes_the_check(loss):
    report = recheck(FOLDER / f"{loss}.json")
    assert report.ok, str(report)
    assert report.counts["claims"] > 10


@pytest.mark.parametrize("loss", CATALOGUE)
def test_it_is_about_the_catalogues_formula_and_says_what_the_catalogue_declares(loss):
    found = Certificate.from_json((FOLDER / f"{loss}.json").read_text(encoding="utf-8"))
    declared = CATALOGUE[loss]
    assert found.formula == declared.formula
    assert found.params == dict(declared.values)
    assert "seconds" not in (FOLDER / f"{loss}.json").read_text(encoding="utf-8")
    assert found.holds("minimum") == {"target": "holds", "elsewhere": "refuted"}[declared.minimum]


def test_the_generator_writes_what_changed_only(tmp_path, capsys):
    assert list(write(tmp_path, ["mse"])) == ["mse"]
    path = tmp_path / "mse.json"
    record = json.loads(path.read_text())
    record["versions"]["python"] = "4.0"
    path.write_text(json.dumps(record))
    assert list(write(tmp_path, ["mse"])) == []  # another Python is no change
    assert "sha256" in dict(stale(tmp_path, ["mse"]))["mse"]  # but the text was changed
    del record["sha256"], record["lines"]["unique"]
    path.write_text(json.dumps(record))
    assert dict(stale(tmp_path, ["mse", "mae"])) == {
        "mse": "the prover says something else now", "mae": "no certificate",
    }  # fmt: skip
    (tmp_path / "other.json").write_text("{}")
    assert main(["--check", "--folder", str(tmp_path), "mae"]) == 1
    assert "mae: no certificate\nother: no loss of the catalogue\nRun python -m" in capsys.readouterr().err
    (tmp_path / "other.json").unlink()
    assert main(["--folder", str(tmp_path), "mse"]) == 0
    assert main(["--check", "--folder", str(tmp_path), "mse"]) == 0
    with pytest.raises(SystemExit):
        main(["--check", "msee"])
    assert "expected ids of the catalogue, got msee" in capsys.readouterr().err


def test_the_text_is_the_same_every_time():
    assert content(text_of("huber")) == content(text_of("huber"))
