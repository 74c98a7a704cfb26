"""lossproof claims, called as the program calls it."""

import json

from typer.testing import CliRunner

from lossproof.cli import app
from lossproof.formula import LossproofError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["claims", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_named_claims_come_with_numbers_and_proof():
    text = run("worked-example", "reach-zero")
    assert text.startswith("worked-example: For y = 0.2")
    assert "0.5448" in text
    assert "TRUE UNDER A CONDITION: every target is 0 or 1" in text
    assert "proved for y in [0, 1]" in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()


def test_json_and_page_together(tmp_path):
    found = json.loads(run("mae-mean", "--json", "--html", tmp_path / "claims.html"))
    assert [(one["id"], one["verdict"]) for one in found] == [("mae-mean", "false")]
    assert "plot" not in found[0]
    page = (tmp_path / "claims.html").read_text()
    assert "--loss-0" in page.split("</style>")[0]  # the house's colours
    assert "wrote" in run("mae-mean", "--html", tmp_path / "claims.html")


def test_an_unknown_claim_is_an_error():
    result = CliRunner().invoke(app, ["claims", "dimms"])
    assert isinstance(result.exception, LossproofError)
    assert "did you mean dims" in str(result.exception)
