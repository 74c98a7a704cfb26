"""The benchmarks run and show what they say they show. No time is asserted: the machine may be busy."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"
#: modules that import each other by their bare names, as when one of them is run
NAMES = ("pages", "plots", "products", "training", "peers", "stack", "large", "starts", "whole", "scaling")
SMALL, CONV = "64-16-4", "conv-64-3-4-2"
MACHINE = {"cpu": "a", "cores": 2, "torch": "2", "python": "3", "load": 1.0}


@pytest.fixture
def bench(monkeypatch):
    """A benchmark as a module; its folder on the path, as when it is run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def made(module, folder, *options):
    """The figures of a quick run, and its section."""
    figures, page = folder / "figures.json", folder / "page.md"
    assert module.main(["--quick", "--json", str(figures), "--out", str(page), *options]) == 0
    return json.loads(figures.read_text()), page.read_text()


def test_ways_take_turns_and_the_first_round_does_not_count(bench):
    pages, called = bench("pages"), []
    found = pages.in_turns({name: lambda n, name=name: called.append((name, n)) for name in "ab"}, 2, first=5)
    assert called == [("a", 5), ("b", 5), ("a", 6), ("b", 6), ("a", 7), ("b", 7)]
    assert {name: len(costs) for name, costs in found.items()} == {"a": 2, "b": 2}


def test_the_ratio_is_taken_within_a_round(bench):
    pages = bench("pages")
    slow, fast = [(2.0, 1.0), (20.0, 9.0), (6.0, 4.0)], [(1.0, 1.0), (10.0, 3.0), (2.0, 2.0)]
    assert pages.ratio(slow, fast) == (2.0, 2.0)
    assert pages.median(slow) == (6.0, 4.0)


@pytest.mark.parametrize(("load", "value"), [(1.0, 4.0), (9.0, 3.0)])
def test_on_a_busy_machine_goals_are_held_against_cpu_time(bench, load, value):
    pages = bench("pages")
    found = {"before": MACHINE, "after": MACHINE | {"load": load}}
    assert pages.judged(pages.Cost(wall=4.0, cpu=3.0), found) == value
    assert ("busy" in pages.words(found)) == (load > 2)


def test_goals_are_met_from_the_right_side(bench):
    met = bench("pages").met
    assert (met(1.3, 1.3), met(1.31, 1.3)) == ("<= 1.3: yes", "<= 1.3: no")
    assert (met(2.0, 2.0, least=True), met(1.99, 2.0, least=True)) == (">= 2: yes", ">= 2: no")


def test_a_section_leaves_the_rest_of_the_page_alone(bench, tmp_path):
    write, page = bench("pages").write_section, tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- a -->\nold\n<!-- /a -->\n\n<!-- b -->\nb\n<!-- /b -->\n")
    write("a", "new\n\n", page)
    write("c", "c", page)
    assert page.read_text() == (
        "# Page\n\n<!-- a -->\nnew\n<!-- /a -->\n\n<!-- b -->\nb\n<!-- /b -->\n\n<!-- c -->\nc\n<!-- /c -->\n"
    )


def test_every_loss_and_model_has_a_line_and_both_loops_did_the_same(bench, tmp_path):
    training = bench("training")
    found, page = made(training, tmp_path, "--model", SMALL, "--model", CONV)
    assert {"cpu", "cores", "torch", "load"} <= found["before"].keys() & found["after"].keys()
    expected = [(m, loss) for m in (SMALL, CONV) for loss in ("bce", "mse", "mae", "logcosh")]
    assert [(row["model"], row["loss"]) for row in found["rows"]] == expected
    for row in found["rows"]:
        assert {name: len(costs) for name, costs in row["costs"].items()} == dict.fromkeys(
            ("member", "bare loop", "products"), 2
        )
        # the same weights after an epoch, up to float32's rounding: the bare loop is the member's equal
        assert 0 <= row["weights_apart"] < 1e-4, row
    lines = [line for line in page.splitlines() if line.startswith((f"| {SMALL}, 64 |", f"| {CONV}, 64 |"))]
    assert [tuple(line.split(" | ")[:2]) for line in lines] == [(f"| {m}, 64", loss) for m, loss in expected]
    # figures that were kept make the same page again, without measuring
    again = tmp_path / "again.md"
    assert training.main(["--read", str(tmp_path / "figures.json"), "--out", str(again)]) == 0
    assert again.read_text() == page


def test_the_weights_tell_a_loop_that_does_something_else(bench, monkeypatch, tmp_path):
    training = bench("training")
    monkeypatch.setitem(training.FUNCTIONALS, "bce", training.FUNCTIONALS["mse"])
    found, _ = made(training, tmp_path, "--model", SMALL, "--losses", "bce")
    assert found["rows"][0]["weights_apart"] > 1e-3


def test_the_bound_has_every_product_of_a_dense_step(bench):
    training, products = bench("training"), bench("products")
    sizes = training.Sizes.parse(SMALL)
    plan = training.Plan(training.images_of(sizes, 64, None), sizes, 1, 1)
    member = training.Member(plan, "bce")
    bound = products.Bound(member.stack, [member.course(1)])
    weights = 64 * 16 + 16 * 8 + 4 * 16 + 16 * 64
    # forward, by the weights and by the input; images need no gradient
    assert bound.flops == 2 * 64 * (3 * weights - 64 * 16)
    bound.run(2)


def test_own_data_are_measured(bench, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8))
    found, _ = made(bench("training"), tmp_path, "--data", str(path), "--model", SMALL, "--losses", "mse")
    assert [(row["data"], row["steps"]) for row in found["rows"]] == [("images.npy", 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--model", "784-400"],
            "expected PIXELS-HIDDEN-LATENT as 784-400-20 or conv-784-32-64-20, got '784-400'",
        ),
        (["--model", "65-4-2"], "expected a square number of pixels of at least 16, got 65"),
        (["--data", "digits", "--model", "784-400-20"], "expected 64 pixels as in digits, got 784"),
        (["--losses", "bce,huber"], "expected some of bce,mse,mae,logcosh, got huber"),
    ],
)
def test_wrong_options_are_refused(bench, capsys, tmp_path, options, message):
    assert bench("training").main(["--out", str(tmp_path / "page.md"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()


def test_twelve_members_do_what_each_does_alone(bench, tmp_path):
    found, page = made(bench("stack"), tmp_path, "--model", SMALL, "--model", CONV)
    assert [row["model"] for row in found["rows"]] == [SMALL, CONV]
    for row in found["rows"]:
        assert 0 <= row["weights_apart"] < 1e-5, row
        assert row["costs"].keys() == {"whole", "stacked", "singles", "4 alone", "products"}
    assert "## Members side by side" in page
    assert f"| {SMALL}, 64 | 1 |" in page


def test_peers_are_measured_or_named_as_absent(bench, monkeypatch, tmp_path):
    peers = bench("peers")
    monkeypatch.setitem(peers.PEERS, "nobody", (peers.keras, ("no_such_library",), "no-such-library", ""))
    only = [word for name in ("DataLoader loop", "nobody") for word in ("--only", name)]
    found, page = made(peers, tmp_path, "--model", SMALL, "--threads", "1", *only)
    entry = found["models"][SMALL]
    curve = entry["curves"]["DataLoader loop"]
    assert curve["losses"][1] < curve["losses"][0]
    assert curve["peak"] >= curve["before"] > 1
    assert entry["costs"]["DataLoader loop|1"]["costs"].keys() == {"DataLoader loop", peers.OURS, peers.BARE}
    assert f"torch {torch.__version__} DataLoader loop" in page
    assert "| nobody | 1 | not installed; python -m pip install no-such-library |" in page
    svg = (tmp_path / f"performance-peers-{SMALL}.svg").read_text()
    assert "</svg>" in svg
    assert "Date" not in svg, "the same figures make the same picture"


def test_a_peer_that_fails_says_why(bench, monkeypatch, tmp_path):
    peers = bench("peers")
    broken = tmp_path / "broken.py"
    broken.write_text("import sys; sys.exit('keras: no such layer')")
    monkeypatch.setattr(peers, "__file__", str(broken))
    found = peers.in_its_own_process("costs", "DataLoader loop", {"threads": 1})
    assert found == {"missing": "failed: keras: no such layer"}


def test_results_of_single_processes_are_kept(bench, monkeypatch, tmp_path):
    peers, asked = bench("peers"), []
    monkeypatch.setattr(peers, "in_its_own_process", lambda *told: asked.append(told) or {"peak": 1.0})
    kept, told = peers.Kept(tmp_path), {"model": SMALL, "images": 1, "rounds": 1, "threads": 1, "data": None}
    assert kept("memory", "pythae", told) == kept("memory", "pythae", told) == {"peak": 1.0}
    assert len(asked) == 1
    kept("memory", "pythae", told | {"data": "digits"})
    assert len(asked) == 2


def test_peaks_of_commands_on_large_data(bench, tmp_path, monkeypatch):
    large = bench("large")
    monkeypatch.setattr(large, "COMMANDS", {"check": large.COMMANDS["check"]})
    monkeypatch.setattr(large, "NOTHING", ["--help"])
    monkeypatch.setattr(large, "BATCH", 16)
    found, page = made(large, tmp_path, "--folder", str(tmp_path))
    assert [run["status"] for run in found["runs"]] == [0] * 4
    assert all(run["megabytes"] > 10 for run in found["runs"])
    assert "floor" in page


def test_a_folder_that_is_too_small_is_refused(bench, tmp_path, capsys):
    assert (
        bench("large").main(["--gigabytes", "1e9", "--folder", str(tmp_path), "--out", str(tmp_path / "p")])
        == 2
    )
    assert "GB free for the data" in capsys.readouterr().err


def test_starts_are_held_against_python_alone(bench, tmp_path, monkeypatch):
    starts = bench("starts")
    monkeypatch.setattr(
        starts, "COMMANDS", {name: starts.COMMANDS[name] for name in (starts.BARE, "lossproof --help")}
    )
    found, page = made(starts, tmp_path)
    fresh = found["costs"].pop("lossproof certify bce --fresh")
    assert all(len(costs) == 2 and min(map(min, costs)) > 0 for costs in found["costs"].values())
    assert len(fresh) == 1
    assert "| `lossproof certify bce --fresh` |" in page
    assert "| `lossproof --help` |" in page
    assert page.count("<= 0.3: ") == 1


def test_a_command_that_fails_is_no_start(bench):
    with pytest.raises(subprocess.CalledProcessError):
        bench("starts").started([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_whole_comparison_and_what_of_it_is_training(bench, tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8))
    whole = bench("whole")
    found, page = made(whole, tmp_path, "--data", str(path))
    (run,) = found["runs"]
    parts = [run["training"][1], *(cpu for _, cpu in run["measuring"].values())]
    assert min(parts) > 0
    assert sum(parts) < run["all"][1]
    assert "| images.npy | 2 x 1 | 2 |" in page
    # 20 epochs of 60, 19 of 2 in between, 10 at the ends, 23 once
    run |= {
        "epochs": 3,
        "all": [217.0, 217.0],
        "training": [0.0, 180.0],
        "measuring": {"ends": [0.0, 10.0], "between": [0.0, 4.0]},
    }
    assert "For 20 epochs that makes 1271, of which 6% are not training" in whole.section(found)
    run["epochs"], run["measuring"]["between"] = 1, [0.0, 0.0]  # inner epochs as dear as the outer ones
    assert "For 20 epochs that makes 3732, of which 4% are not training" in whole.section(found)
    run["name"], run["all"] = "digits", [59.0, 59.0]
    assert "| <= 60 s: yes |" in whole.section(found)


def test_time_in_nested_calls_counts_once(bench):
    clock = bench("whole").Clock()
    inner = clock.around(lambda: sum(range(1000)))
    outer = clock.around(lambda: [inner(), *clock.spent][1:])
    assert outer() == [0.0, 0.0], "the inner call added nothing before the outer one ended"
    assert min(clock.spent) >= 0
    assert clock.spent[0] > 0


def test_scaling_has_a_point_of_each_kind_and_says_where_it_bends(bench, tmp_path, monkeypatch):
    scaling = bench("scaling")
    monkeypatch.setattr(scaling, "QUICK", {"members": (1,), "sides": (8,), "images": (3,), "workers": ()})
    found, page = made(scaling, tmp_path, "--folder", str(tmp_path))
    assert [len(found[kind]) for kind in scaling.KINDS] == [1, 1, 1, 1]
    assert all(
        row["ms"] > 0 and row["peak"] > row["before"] > 0 for kind in scaling.KINDS for row in found[kind]
    )
    assert (tmp_path / f"{scaling.PICTURE}.svg").stat().st_size > 1000
    assert "| images, 1 member | 1,000 |" in page
    two = [{"workers": n, "peak": 500.0, "cpu": 10.0 + n, "wall": 12.0 / n} for n in (1, 2)]
    assert "two take 1.09 times the CPU time of one and 0.50 times" in scaling.section(
        found | {"workers": two}
    )


def test_images_are_written_block_by_block(bench, tmp_path):
    path = tmp_path / "images.npy"
    bench("scaling").write_images(path, 2500)
    assert np.load(path).shape == (2500, 28, 28)
