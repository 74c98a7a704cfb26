"""The section on exchange rates says what the record says, and warns where everything would collapse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lossproof import report
from lossproof.likelihood.exchange import Spectrum, effective, record, weight
from lossproof.report import exchange
from lossproof.report.run import EXCHANGE, read

MakeRun = Callable[..., Path]


@pytest.fixture
def run_dir(make_run: MakeRun) -> Path:
    run = make_run(labels=("bce", "mse", "mae"), seeds=1, epochs=2)
    rng = np.random.default_rng(3)
    shade = rng.random((60, 1))  # one strong direction, the rest weak
    images = np.clip(0.5 * shade + 0.02 * rng.standard_normal((60, 64)), 0, 1).reshape(60, 1, 8, 8)
    images[0, 0, 0, 0] = 0.0
    (run / EXCHANGE).write_text(json.dumps(record(["bce", "mse", "mae"], images)))
    return run


def test_the_section_holds_the_numbers_of_the_record(run_dir: Path) -> None:
    found = exchange.section(read(run_dir))
    assert found is not None
    by_label = {row.head: [c.text or c.reason for c in row.cells] for row in found.weights}
    assert by_label["mse"][:3] == ["2.00", "2.00", "0.500"]
    assert by_label["mse"][4] == "32.0"  # averaged over 64 pixels: beta 64/2
    assert by_label["mae"][:2] == ["infinite", "20.0"]  # e = k e^2/2 at e = 0.1
    assert by_label["bce"][0] == "infinite"
    rates = {row.head: [c.text for c in row.cells] for row in found.rates}
    assert rates["mse"][1:] == ["1.00", "0.100 *"]
    assert rates["mse"][0].endswith(" *")
    assert float(rates["mse"][0][:-2]) == pytest.approx(2 / float(by_label["bce"][1]), rel=0.01)
    assert rates["mae"][1] == "10.0 *"
    assert found.excess_used
    assert "no curvature at any value" in " ".join(found.words)


def test_mean_reduction_is_warned_of_and_a_sum_that_keeps_something_is_not(run_dir: Path) -> None:
    found = exchange.section(read(run_dir))
    assert found is not None
    (line,) = found.warnings
    assert line.startswith("Averaged over the 64 values of an image instead of summed")
    assert "32.0 (sigma 5.66) for mse" in line
    data = Spectrum(np.array([5.1168, 3.7413, *([0.0] * 782)]), 60_000, 784)
    pair = exchange.amounts(weight("mse", [0.5]), data, 1.0)
    assert pair is not None
    (text,) = exchange.warnings([pair], data)
    assert "sigma² would be 392 (sigma 19.8) for mse, above the data's largest eigenvalue 5.12." in text
    # a beta too large collapses the sum itself, and the stated limit is where it stops doing so
    high = exchange.amounts(weight("mse", [0.5]), data, 11.0)
    assert high is not None
    assert exchange.warnings([high], data)[0].endswith(
        "a linear VAE collapses totally. Lower beta below 10.2."
    )
    assert effective(weight("mse", [0.5]), data, beta=10.24).collapsed
    assert not effective(weight("mse", [0.5]), data, beta=10.22).collapsed


def test_the_page_shows_it_for_a_vae_with_a_record_alone(run_dir: Path) -> None:
    html = report.write(run_dir).read_text(encoding="utf-8")
    assert 'id="exchange"' in html
    assert "What one beta means for each loss" in html
    config = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps(config | {"model": "ae"}))
    assert exchange.section(read(run_dir)) is None
    (run_dir / "config.json").write_text(json.dumps(config))
    (run_dir / EXCHANGE).unlink()
    assert exchange.section(read(run_dir)) is None


def test_losses_without_a_weight_are_named_with_the_reason(make_run: MakeRun) -> None:
    run = make_run(labels=("mse", "weighted_bce"), seeds=1, epochs=2)
    images = np.random.default_rng(0).integers(0, 3, (20, 1, 2, 2)) / 2
    (run / EXCHANGE).write_text(json.dumps(record(["mse", "weighted_bce"], images)))
    found = exchange.section(read(run))
    assert found is not None
    assert any(line.startswith("weighted_bce is not least at p = y at ") for line in found.words)
    assert found.weights[1].cells[0].reason == "not least at p = y"
    assert found.rates[1].cells[0].reason == "no rate"
