"""lossproof certify, called as the program calls it."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lossproof.catalogue import CATALOGUE
from lossproof.cli import app, main
from lossproof.cli.certify import judge
from lossproof.formula import LossproofError
from lossproof.prove import Certificate
from lossproof.prove.committed import certificate_of

ROOT = Path(__file__).parent.parent.parent


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["certify", *map(str, arguments)], env={"COLUMNS": "80"})
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["certify", *map(str, arguments)])
    assert isinstance(result.exception, LossproofError), result.output
    return str(result.exception)


def row(text: str, question: str) -> str:
    """The verdict of a question's row."""
    found = re.search(rf"^\|{re.escape(question)} *\|.*\| *(\w+) *\|$", text, flags=re.M)
    assert found, text
    return found[1]


def test_the_table_in_80_plain_columns():
    text = run("weighted_bce", "--only", "minimum,convex")
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert "\x1b" not in text
    assert row(text, "is p = y a minimum?") == "Refuted"
    assert row(text, "convex in p?") == "Proved"
    assert "with: pos_weight = 3.0" in text
    assert "for every: y in [0, 1], p in (0, 1)" in text
    assert re.search(r"loss\(0\.5, [\d.]+\) = [\d.]+ < 1\.38629436112 = loss\(0\.5, 0\.5\)", text)
    assert "Refuted: by a counterexample" in text
    assert "Certified:" not in text  # only the words that occur are explained


def test_parameters_are_given_left_open_and_read_as_decimals():
    text = run("charbonnier", "--param", "delta=0.5", "--only", "minimum")
    assert "with: delta = 0.5" in text
    text = run("charbonnier", "--symbolic", "delta", "--only", "minimum", "--budget", "60")
    assert "delta in (0, inf)" in text
    assert row(text, "is p = y a minimum?") == "Proved"
    text = run("c*(y - p)**2", "--symbolic", "c=(0, inf)", "--only", "minimum")
    assert "c in (0, inf)" in text
    assert row(text, "is p = y a minimum?") == "Proved"
    assert "k in (-inf, inf)" in run("(y - p)**2 + k**2", "--symbolic", "all", "--only", "minimum")
    assert "decimals as written" in run("0.1*(y - p)**2", "--decimal", "--only", "minimum")
    assert "exact binary" in run("0.1*(y - p)**2", "--only", "minimum")


def test_the_domain_is_what_was_asked_for():
    text = run("(y - p)**2", "--target", "[-1, 1]", "--prediction", "[-1, 1]", "--only", "minimum")
    assert "y in [-1, 1], p in (-1, 1)" in text or "y in [-1, 1], p in [-1, 1]" in text


def test_a_function_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_losses.py").write_text("def square(y, p):\n    return (y - p)**2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text = run("own_losses:square", "--only", "minimum")
    assert row(text, "is p = y a minimum?") == "Proved"
    assert "traced: function: own_losses:square" in text


def test_the_proof_is_printed_and_checked_again():
    text = run("bce", "--proof", "--only", "minimum,unique,curvature")
    assert "dl/dp = ---------" in text
    assert re.search(r"Checked again by code that shares nothing with the prover: \d+ claims at \d+\npoints|"
                     r"Checked again by code that shares nothing with the prover: \d+ claims at \d+ points", text)  # fmt: skip
    assert "nothing wrong" in text


def test_json_and_latex_go_to_files_or_to_the_output(tmp_path: Path):
    options = ("mse", "--only", "minimum")
    text = run(*options, "--json", "-")
    certificate = Certificate.from_json(text)
    assert certificate.holds("minimum") == "holds"
    run(*options, "--json", tmp_path / "c.json", "--latex", tmp_path / "c.tex")
    assert Certificate.from_json((tmp_path / "c.json").read_text()).formula == CATALOGUE["mse"].formula
    assert (tmp_path / "c.tex").read_text().startswith("\\documentclass")
    snippet = run(*options, "--latex", "-", "--snippet")
    assert snippet.startswith("\\section*")
    assert "documentclass" not in snippet


def test_the_page_is_written(tmp_path: Path):
    page = tmp_path / "page.html"
    run(
        "charbonnier",
        "--symbolic",
        "all",
        "--only",
        "minimum",
        "--budget",
        "60",
        "--html",
        page,
        "--beside",
        "mse",
    )
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "at delta = 1" in text
    assert "Checked again by code" in text


@pytest.mark.parametrize(
    ("loss", "require", "status", "said"),
    [
        ("mse", "minimum,unique", 0, "require minimum: holds\nrequire unique: holds"),
        ("mse", "median", 1, "require median: refuted - "),
        ("weighted_bce", "minimum,convex", 1, "require minimum: refuted - "),
    ],
)
def test_the_exit_status_says_what_holds(loss, require, status, said):
    assert said in run(loss, "--require", require, "--only", "minimum", status=status)


def test_the_legend_speaks_of_the_domain_of_the_row():
    text = " ".join(run("mse", "--only", "minimum").split())
    assert "Proved: by symbolic steps, for every point of the domain that the row names." in text


def test_unknown_is_status_2_and_refuted_outweighs_it(capsys: pytest.CaptureFixture[str]):
    known = Certificate.from_json(run("weighted_bce", "--only", "minimum", "--json", "-"))
    assert judge(known, ["convex"]) == 2  # a line that was not made is not known
    assert judge(known, ["convex", "minimum"]) == 1
    assert "require convex: unknown - convex: not in this certificate" in capsys.readouterr().out


def test_a_catalogue_loss_has_a_stored_certificate(monkeypatch: pytest.MonkeyPatch):
    import lossproof.prove

    asked = []
    stored = certificate_of(CATALOGUE["mse"], ("minimum",))

    def seen(loss, **options):
        asked.append(loss)
        return stored

    monkeypatch.setattr(lossproof.prove, "certify", seen, raising=False)
    text = run("mse", "--only", "unique")
    assert not asked
    assert "stored: proved when this version was made; --fresh proves it anew" in text
    assert text.count("| Proved") == 2
    assert [*json.loads(run("mse", "--only", "unique", "--json", "-"))["lines"]] == ["minimum", "unique"]
    for arguments in (("mse", "--fresh"), ("charbonnier", "--param", "delta=0.5"), ("mse", "--target", "[0, 1]"),
                      ("(y - p)**2",), ("mse", "--budget", "30"), ("charbonnier(delta=0.5)",), ("0.5*(y - p)**2", "--decimal")):  # fmt: skip
        assert "stored:" not in run(*arguments, "--only", "minimum")
        assert asked.pop() == arguments[0]


def test_what_was_not_reached_is_unknown_with_its_reason(monkeypatch: pytest.MonkeyPatch):
    import lossproof.prove

    record = json.loads(run("mse", "--only", "minimum", "--json", "-"))
    record["lines"]["convex_logits"] = {
        "statement": "z -> loss(y, sigmoid(z)) is convex for every y",
        "verdict": {"kind": "Unknown", "reason": "time limit of 10 s", "worst": []},
        "details": {},
    }
    late = Certificate.from_json(json.dumps(record))
    monkeypatch.setattr(lossproof.prove, "certify", lambda *_, **__: late, raising=False)
    text = run("mse", "--fresh", "--require", "minimum,convex-logits", status=2)
    assert row(text, "convex in z?") == "Unknown"
    assert "not settled: time limit of 10 s" in text
    assert "require minimum: holds" in text
    assert "require convex-logits: unknown - " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bec"], "did you mean bce"),
        (["mse", "--require", "minimun"], "did you mean minimum"),
        (["mse", "--require", ""], "--require: expected names such as minimum,convex, got ''"),
        (["mse", "--require", " , ,"], "--require: expected names such as minimum,convex, got ' , ,'"),
        (["mse", "--require", "minimum", "--require", ""], "--require: expected names"),
        (["mse", "--only", "convexity"], "got 'convexity'"),
        (["budget*(y - p)**2", "--param", "budget=2"], "expected a name that is no option, got 'budget'"),
        (["mse", "--param", "delta"], "--param: expected NAME=NUMBER"),
        (["mse", "--param", "delta=1"], "got 'delta'"),
        (["c*(y - p)**2", "--symbolic", "c=(0, inf"], "expected text such as '[0, 1]'"),
        (["huber", "--symbolic", "epsilon"], "expected parameters of huber, got 'epsilon'"),
        (["huber", "--symbolic", "delta", "--param", "delta=1"], "got both"),
        (["mse", "--target", "0..1"], "0..1"),
        (["mse", "--budget", "-1"], "budget"),
        (["mse", "--json", "-", "--latex", "-"], "got --latex - and --json -"),
        (["mse", "--snippet"], "--snippet: expected --latex"),
        (["mse", "--beside", "mae"], "--beside: expected --html"),
        (["mse", "--html", "x.html", "--beside", "bec"], "did you mean bce"),
        (["mse", "--only", "minimum", "--json", "nowhere/c.json"], "expected a file that can be written"),
        (["mse", "--only", "minimum", "--html", "nowhere/c.html"], "expected a file that can be written"),
    ],
)
def test_errors_say_what_to_do(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_an_error_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["lossproof", "certify", "bec"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("Error: loss: expected a catalogue id")


def test_losses_say_how_their_minimum_is_known():
    result = CliRunner().invoke(app, ["losses", "--json"])
    said = {loss["id"]: loss["least_at"] for loss in json.loads(result.stdout)}
    assert said.keys() == CATALOGUE.keys()
    for name, text in said.items():
        assert re.search(r"\((proved|certified|refuted|claimed, not proved)\)", text), (name, text)


def test_the_guide_s_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import shlex

    text = (ROOT / "docs" / "certify.md").read_text(encoding="utf-8")
    commands = [
        c for block in re.findall(r"```console\n(.*?)```", text, flags=re.S) for c in block.splitlines()
    ]
    assert len(commands) >= 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mylosses.py").write_text("def square(y, p):\n    return (y - p)**2\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for command in commands:
        line, _, wanted = command.partition("  # exit status ")
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == int(wanted or 0), (command, result.output, result.exception)
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        exec(compile(block, "docs/certify.md", "exec"), {})
