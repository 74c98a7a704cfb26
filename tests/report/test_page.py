"""The page: complete, self-contained, escaped, and honest about what is missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lossproof import report
from lossproof.formula.errors import LossproofError
from lossproof.report.page import embed

MakeRun = Callable[..., Path]
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Tags with attributes, texts of scripts, and all text outside script and style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += " ".join(data.split()) + " "

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_holds_every_part(plain_page: Path) -> None:
    assert plain_page.name == "report.html"
    assert (plain_page.parent / "results.parquet").is_file()
    page = Page(plain_page)
    assert page.open == []
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"summary", "curves", "pictures", "measures", "pairs", "latent", "dead", "reproduce"} <= ids
    for words in (
        "bce, mse, mae and logcosh on digits",
        "1,437 train and 360 test",
        "0..16 / 16",
        "beta = 1",
        "lossproof compare digits --losses bce,mse,mae,logcosh --seeds 3",
        'losses=["bce", "mse", "mae", "logcosh"]',
        "2(p − y)·p(1 − p)",
    ):
        assert words in page.text
    targets = {
        (attributes["href"] or "")[1:] for attributes in page.of("a") if attributes["href"] != "data:,"
    }
    assert targets <= ids


def test_nothing_is_loaded_from_elsewhere(plain_page: Path) -> None:
    page = Page(plain_page)
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:60])


def test_styles_import_nothing() -> None:
    css = Path(report.__file__).parent.joinpath("templates", "report.css").read_text(encoding="utf-8")
    assert "url(" not in css
    assert "@import" not in css


def test_every_image_has_a_text_and_every_plot_a_label(plain_page: Path) -> None:
    page = Page(plain_page)
    images = page.of("img")
    assert len(images) == 3 * (1 + 4) + 3 * 4  # per seed: the originals, four reconstructions, four samples
    assert all(image["alt"] and len(image["alt"]) > 15 for image in images)
    plots = [attributes for attributes in page.of("div") if attributes.get("class") == "plot"]
    assert len(plots) == 2 + 2 * 4 + 1 + 4 + 1
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)


def test_the_policy_allows_exactly_the_pages_scripts(plain_page: Path) -> None:
    page = Page(plain_page)
    policy = next(
        m["content"] or "" for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy"
    )
    kinds = [attributes.get("type") for attributes in page.of("script")]
    run = [text for text, kind in zip(page.scripts, kinds, strict=True) if kind != "application/json"]
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert len(hashes) == 2
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_names_are_escaped_everywhere(make_run: MakeRun) -> None:
    evil = "<script>alert('loss')</script>"
    data = "</script><script>alert('data')</script>"
    label = "<script>alert('label')</script>"
    message = "</title><script>alert('message')</script>"
    run = make_run(labels=("bce", evil), data=data, classes=("a", label), stopped=evil, message=message)
    config = json.loads((run / "config.json").read_text())
    config["command"] = "<script>alert('command')</script>"
    config["losses"][1] |= {"title": evil, "formula": evil, "note": evil}
    (run / "config.json").write_text(json.dumps(config))
    path = report.write(run)
    page = Page(path)
    assert len(page.scripts) == 3
    assert "<script>alert" not in path.read_text(encoding="utf-8")
    for text in (evil, data, message, config["command"]):
        assert text in page.text
    payload = page.scripts[0]
    assert "<" not in payload
    assert "&lt;script&gt;alert('label')" in json.dumps(json.loads(payload)["figures"]["latent-0"])


def test_embedded_json_survives_the_round_trip() -> None:
    value = {"a": "</script><!--\u2028&", "b": [1.5, None, True], "c": {"d": "é"}}
    text = str(embed(value))
    assert json.loads(text) == value
    assert not set("<>&\u2028") & set(text)
    assert json.loads(str(embed([float("inf"), float("nan")]))) == [None, None]


def test_no_torch_is_imported(make_run: MakeRun) -> None:
    code = (
        "import sys; from lossproof import report; report.write(sys.argv[1]); "
        "print(sorted(name for name in ('torch', 'sympy', 'sklearn') if name in sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(make_run())], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_best_marks_and_intervals_are_those_of_the_table(plain_page: Path) -> None:
    table = pd.read_parquet(plain_page.parent / "results.parquet")
    last = table[(table["epoch"] == 20) & (table["split"] == "test") & (table["measure"] == "mse")]
    best = last.groupby("loss")["value"].mean().idxmin()
    html = plain_page.read_text(encoding="utf-8")
    row = re.search(r'<th scope="row">mean squared error.*?</tr>', html, re.S)
    assert row
    cells = re.findall(r"<td.*?</td>", row.group(), re.S)
    marked = [index for index, cell in enumerate(cells) if "★" in cell]
    assert marked == [["bce", "mse", "mae", "logcosh"].index(best)]
    assert "best: " in cells[marked[0]]
    sample = last[last["loss"] == best]["value"]
    half = 4.302652729911275 * sample.std() / np.sqrt(3)  # Student's t, 2 degrees of freedom, 97.5 %
    assert f"{sample.mean():.5f} ± {half:.5f}" in cells[marked[0]]


def test_an_exact_tie_has_two_best(make_run: MakeRun) -> None:
    run = make_run(labels=("bce", "mse", "mae"))
    table = pd.read_parquet(run / "results.parquet")
    table.loc[(table["measure"] == "dead_pixels") & (table["loss"] != "mae"), "value"] = 0.0
    table.to_parquet(run / "results.parquet")
    html = report.write(run).read_text(encoding="utf-8")
    row = re.search(r'<th scope="row">dead pixels.*?</tr>', html, re.S)
    assert row
    assert ["★" in cell for cell in re.findall(r"<td.*?</td>", row.group(), re.S)] == [True, True, False]


def test_a_stopped_member_leaves_its_reason(make_run: MakeRun) -> None:
    message = "mae stopped in epoch 3, step 41: the reconstruction loss is nan at training image 3."
    page = Page(report.write(make_run(stopped="mae", message=message)))
    assert "3 members stopped early: m2-s0, m2-s1 and m2-s2" in page.text
    assert page.text.count("no value: stopped in epoch 3") > 10
    assert message in page.text


def test_one_stopped_seed_is_counted_not_hidden(make_run: MakeRun) -> None:
    run = make_run()
    table = pd.read_parquet(run / "results.parquet")
    gone = (table["member"] == "m0-s1") & (table["epoch"] > 4)
    table.loc[gone, "value"] = np.nan
    table.loc[gone, "reason"] = "NaN in epoch 5"
    table.to_parquet(run / "results.parquet")
    page = Page(report.write(run))
    assert "(2 of 3 seeds)" in page.text
    assert "NaN in epoch 5" in page.text


def test_an_interrupted_run_says_so(make_run: MakeRun) -> None:
    page = Page(report.write(make_run(interrupted=True)))
    assert "This run was interrupted: the tables show epoch 20 of 30." in page.text
    assert "--resume" in page.text


def test_one_seed_says_there_is_no_interval(make_run: MakeRun) -> None:
    page = Page(report.write(make_run(seeds=1)))
    assert "No interval: one seed" in page.text
    assert "±" not in page.text.split("Every loss under every measure")[1].replace("± half", "")


def test_minimum_elsewhere_is_labelled(make_run: MakeRun) -> None:
    page = Page(report.write(make_run(labels=("bce", "mse"), elsewhere=("mse",))))
    assert page.text.count("not at p = y") == 1
    assert "mse is not minimised at p = y" in page.text


def test_a_plain_autoencoder_without_labels_has_no_samples(make_run: MakeRun) -> None:
    page = Page(report.write(make_run(model="ae", classes=None)))
    assert "Samples" not in page.text
    assert "beta" not in page.text.split("How to reproduce")[0]
    assert "rate (KL" not in page.text


def test_a_run_with_table_and_configuration_alone_is_enough(make_run: MakeRun) -> None:
    run = make_run()
    for path in sorted(run.rglob("*"), reverse=True):
        if path.name not in {"config.json", "results.parquet"}:
            path.rmdir() if path.is_dir() else path.unlink()
    page = Page(report.write(run))
    assert page.of("img") == []
    assert "Every loss under every measure" in page.text


def test_writing_twice_replaces_the_page_and_leaves_nothing_beside_it(make_run: MakeRun) -> None:
    run = make_run(labels=("bce",), seeds=1)
    before = {path.name for path in run.iterdir()}
    first = report.write(run).read_bytes()
    assert report.write(run).read_bytes() == first
    assert {path.name for path in run.iterdir()} - before == {"report.html"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "expected config.json in .*found none"),
        ("config.json", b"{", "expected JSON in config.json"),
        ("config.json", b"[]", "expected a JSON object in config.json, got list"),
        ("events.json", b"{}", "expected a JSON list in events.json, got dict"),
        ("results.parquet", None, "expected results.parquet"),
        ("results.parquet", b"PAR1", "expected a parquet table in results.parquet"),
    ],
)
def test_missing_and_broken_files_are_named(
    make_run: MakeRun, name: str, content: bytes | None, message: str
) -> None:
    run = make_run(labels=("bce",), seeds=1)
    (run / name).unlink() if content is None else (run / name).write_bytes(content)
    with pytest.raises(LossproofError, match=message):
        report.write(run)
    assert not list(run.glob("*.html"))


def test_latent_without_its_columns_is_refused(make_run: MakeRun) -> None:
    run = make_run(labels=("bce",), seeds=1)
    pd.DataFrame({"x": [1.0]}).to_parquet(run / "latent.parquet")
    with pytest.raises(LossproofError, match=r"expected the columns .* in latent.parquet, got x"):
        report.write(run)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LossproofError, match="which is no folder"):
        report.write(tmp_path / "nothing")


def test_a_clipped_mean_image_is_said_to_be_clipped_and_a_library_call_has_no_command(
    make_run: MakeRun,
) -> None:
    run = make_run()
    config = json.loads((run / "config.json").read_text())
    config |= {"command": "", "evaluation": {"mean_image_clip": "[1/(2n), 1 - 1/(2n)], n training images"}}
    (run / "config.json").write_text(json.dumps(config))
    text = " ".join(Page(report.write(run)).text.split())
    assert "the mean image (the mean of the training images, pixels kept in [1/(2n), 1 - 1/(2n)], n" in text
    assert "How to reproduce The same in Python" in text
