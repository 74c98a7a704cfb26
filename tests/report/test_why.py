"""The page "why they differ" says what the effects say, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lossproof.formula.errors import LossproofError
from lossproof.report import why, why_page
from lossproof.report.why import Design, effects, paragraph

MakeRun = Callable[..., Path]
ARMS = ("bce", "mse", "mse × 4", "mse × 4, no saturation", "bce, saturated start", "mse × 4, saturated start")
# arm -> (mse, rate) a seed
VALUES = {
    "bce": [(0.010, 20.0), (0.011, 21.0), (0.012, 20.5)],
    "mse": [(0.020, 9.0), (0.0212, 9.5), (0.0222, 9.2)],
    "mse × 4": [(0.0130, 19.9), (0.0141, 21.1), (0.0150, 20.4)],
    "mse × 4, no saturation": [(0.0102, 19.0), (0.0109, 19.5), (0.0121, 19.2)],
    "bce, saturated start": [(0.0101, 20.0), (0.0109, 21.0), (0.0121, 20.0)],
    "mse × 4, saturated start": [(0.030, 10.0), (0.031, 11.0), (0.032, 10.5)],
}


def step(key: str, title: str, plus: list[str], minus: list[str], part: bool = False) -> dict[str, Any]:
    return {
        "key": key,
        "title": title,
        "plus": plus,
        "minus": minus,
        "what": f"{plus} less {minus}",
        "part": part,
    }


def design(**changed: Any) -> Design:
    a, b, w, n = ARMS[:4]
    stored = {
        "first": a, "second": b, "weight": 4.0, "by": "rate", "error": 0.11, "exchanged": 5.2,
        "pilot": [{"weight": 5.2, "rate": 23.0}, {"weight": 4.0, "rate": 20.1}], "target_rate": 20.3, "start": 6.0,
        "measure": "17 grey levels k/16", "arms": [{"label": arm, "what": "an arm"} for arm in ARMS], "skipped": [],
        "steps": [
            step("total", "the whole difference", [a], [b]),
            step("weight", "weight against the rate", [w], [b], True),
            step("gradient", "gradient through the sigmoid", [n, a], [w, a], True),
            step("shape", "shape at equal weight", [a], [n], True),
            step("start", f"saturated start, {a}", [f"{a}, saturated start"], [a]),
            step("start", f"saturated start, {w}", [f"{w}, saturated start"], [w]),
        ],
    }  # fmt: skip
    return Design(stored | changed)


def table(values: dict[str, list[tuple[float, float]]] | None = None) -> pd.DataFrame:
    rows = [
        (f"{arm}-s{seed}", arm, 1.0, seed, 4, "test", measure, value, "")
        for arm, by_seed in (values or VALUES).items()
        for seed, pair in enumerate(by_seed)
        for measure, value in (*zip(("mse", "rate"), pair, strict=True), ("loss", 1.0))
    ]
    return pd.DataFrame(
        rows, columns=["member", "loss", "beta", "seed", "epoch", "split", "measure", "value", "reason"]
    )


def test_effects_are_paired_differences_with_students_interval() -> None:
    frame = effects(table(), design())
    row = frame[(frame["key"] == "weight") & (frame["measure"] == "mse")].iloc[0]
    each = np.array([w[0] - b[0] for w, b in zip(VALUES["mse × 4"], VALUES["mse"], strict=True)])
    known = stats.ttest_1samp(each, 0.0).confidence_interval(0.95)
    assert (row["effect"], row["low"], row["high"]) == pytest.approx((each.mean(), known.low, known.high))
    assert row["separated"]
    # an arm added and taken off again has no say
    gradient = frame[(frame["key"] == "gradient") & (frame["measure"] == "mse")].iloc[0]
    assert gradient["effect"] == pytest.approx(-0.00297, abs=1e-5)


def test_the_parts_add_up_to_the_whole() -> None:
    frame = effects(table(), design())
    assert why.adds_up(frame)
    broken = frame.copy()
    broken.loc[broken["key"] == "shape", "effect"] += 1e-3
    assert not why.adds_up(broken)


def test_words_follow_the_numbers() -> None:
    frame = effects(table(), design())
    lines = paragraph(frame, table(), design())
    assert lines[0].startswith(
        "As they are, bce ends at a mean squared error of 0.0110 and mse at 0.0211 per pixel: a difference of −0.0101"
    )
    assert lines[0].endswith("Their codes carry 20.5 and 9.23 nats per image.")
    split = lines[1]
    assert split.index("weight against the rate −0.00710 [−0.00735, −0.00685] (70 % of it)") < split.index(
        "gradient through the sigmoid −0.00297"
    )
    assert "(70 % of it)" in split
    assert "shape at equal weight −0.00007" in split
    assert split.count("not separated from 0") == 1
    assert split.endswith("The largest part is weight against the rate.")
    assert "mse carries as much as bce when it counts 4.00-fold" in lines[2]
    assert "equal mean excess at an error of 0.11, says 5.20" in lines[2]
    assert lines[3].startswith(
        "Starting the output biases at logit ±6, the wrong end for every pixel, shows no change of bce's mean "
        "squared error beyond the seeds' spread (0.00003"
    )
    assert not any("where it was" in line for line in lines)  # not separated is not equal
    assert "raises mse × 4's by 0.01697" in lines[3]


def test_a_part_against_the_whole_has_no_share() -> None:
    turned = VALUES | {"mse × 4": [(0.005, 19.9), (0.0061, 21.1), (0.0070, 20.4)]}
    line = paragraph(effects(table(turned), design()), table(turned), design())[1]
    assert "gradient through the sigmoid 0.0050" in line
    assert line.split("gradient through")[1].startswith(
        " the sigmoid 0.00503 [0.00452, 0.00555] (against it)"
    )


def test_words_change_with_the_numbers() -> None:
    same = VALUES | {"bce": [(0.0200, 9.0), (0.0213, 9.5), (0.0221, 9.2)]}
    frame = effects(table(same), design())
    lines = paragraph(frame, table(same), design())
    assert "no measurable difference" in lines[0]
    assert "(not separated from 0), splits into" in lines[1]
    assert "% of it" not in lines[1]
    assert "against the whole" in lines[1] or "The largest part" in lines[1]
    assert "as asked for" in why.weighed(design(by="given"))
    assert "there is no exchange rate between them" in why.weighed(design(exchanged=0.0))
    assert "An autoencoder has no rate" in why.weighed(design(by="not needed"))


def test_a_step_without_arms_is_zero_by_construction() -> None:
    steps = design()["steps"]
    steps[2] = step("gradient", "gradient through the sigmoid", ["mse × 4", "bce"], ["mse × 4", "bce"], True)
    steps[3] = step("shape", "shape at equal weight", ["bce"], ["mse × 4"], True)
    frame = effects(table(), design(steps=steps))
    row = frame[(frame["key"] == "gradient") & (frame["measure"] == "mse")].iloc[0]
    assert (row["effect"], row["by_construction"]) == (0.0, True)
    assert "gradient through the sigmoid exactly 0" in paragraph(frame, table(), design(steps=steps))[1]
    assert why.adds_up(frame)


def test_one_seed_says_that_it_may_be_chance() -> None:
    one = {arm: values[:1] for arm, values in VALUES.items()}
    lines = paragraph(effects(table(one), design()), table(one), design())
    assert "(one seed, may be chance)" in lines[0]
    assert "largest part" not in lines[1]


def test_a_missing_arm_is_named() -> None:
    with pytest.raises(LossproofError, match="expected the arm mse × 4 in the results, found only bce, mse"):
        effects(table({k: VALUES[k] for k in ("bce", "mse")}), design())


@pytest.fixture
def run_dir(make_run: MakeRun) -> Path:
    run = make_run(labels=ARMS, epochs=4)
    (run / "why.json").write_text(json.dumps(design().stored), encoding="utf-8")
    return run


def test_the_page_holds_every_part(run_dir: Path) -> None:
    path = why_page.write(run_dir)
    html = path.read_text(encoding="utf-8")
    assert path.name == "why.html"
    for part in ("why", "effects", "pictures", "arms", "reproduce"):
        assert f'id="{part}"' in html
    assert "<h1>Why bce and mse differ on digits</h1>" in html
    assert html.count("<tr>") >= 2 + 6 + 6 + 2
    assert "How the weight was found" in html
    assert "http://" not in html.split("<script", 1)[0]
    drawn = json.loads(html.split('id="figures">', 1)[1].split("</script>", 1)[0])["figures"]
    assert set(drawn) == {"why-0", "why-1", "why-2"}
    main = drawn["why-0"]["data"][0]
    assert len(main["x"]) == len(main["y"]) == len(main["error_x"]["array"]) == 4
    assert drawn["why-0"]["layout"]["yaxis"]["categoryarray"][-1] == "the whole difference"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected why.json in .*found none"),
        ("{", "expected JSON in"),
        ('{"first": "a"}', "expected second, weight, .*, steps in .*found none"),
    ],
)
def test_a_missing_or_broken_design_is_named(run_dir: Path, content: str | None, message: str) -> None:
    path = run_dir / "why.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(LossproofError, match=message):
        why_page.write(run_dir)
