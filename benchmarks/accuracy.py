"""The error of every loss in every target, in units in the last place; writes docs/accuracy.md.

    python benchmarks/accuracy.py             all targets that are installed; writes docs/accuracy.md
    python benchmarks/accuracy.py --check     NumPy and torch at fewer points; writes nothing, fails if worse than the page
    python benchmarks/accuracy.py --points N  that many drawn points (half of them shared by all dtypes)

Exact answers come from the 50-digit oracle and are kept in --cache, as they depend on nothing else.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import accuracy_exact as exact
import accuracy_reasons as reasons
import accuracy_targets as target
from accuracy_exact import EPS, KINDS, Array, Exact, Points
from lossproof.catalogue import CATALOGUE
from lossproof.lower import function

GOAL = 4.0
PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
MASS_AT = (0.0, 1.0, -1.0, 50.0, -50.0, 100.0, -100.0, 1e3, -1e3, 1e4, -1e4)
BERNOULLI = "continuous_bernoulli"
Columns = Mapping[str, tuple["str | None", target.Compute, str, str]]


@dataclass(frozen=True)
class Cell:
    """Worst error of one kind of answer of one loss in one target, and where; infinite for NaN or a false infinity."""

    loss: str
    title: str
    kind: str
    ulp: float
    y: float
    x: float
    got: float
    exact: float
    at_ends: int = 0  # NaN (value) or non-finite (gradient) answers at the largest logits

    def __str__(self) -> str:
        if not np.isfinite(self.ulp):
            return "NaN" if np.isnan(self.got) else "inf"
        return f"{self.ulp:.2g}".replace("e+0", "e").replace("e+", "e")

    @property
    def where(self) -> str:
        """The worst point in words."""
        return f"y = {self.y!r}, {self.x!r}: got {self.got:.9g}, exact {self.exact:.9g}"


def jumps(name: str) -> bool:
    """Whether the slope in p jumps at p = y.

    >>> jumps("mae"), jumps("huber")
    (True, False)
    """
    f = function(name)
    return bool(abs(f.gradient(0.5, 0.5 + 1e-9) - f.gradient(0.5, 0.5 - 1e-9)) > 1e-3)


def worst(
    title: str, name: str, kind: str, points: Points, got: Array, answers: tuple[Array, Array], eps: float,
    skip: Array, terms: Array, largest: float,
) -> Cell:  # fmt: skip
    """The largest error over points, in eps of the larger of the result and the largest term."""
    high, low = answers
    with np.errstate(all="ignore"):
        error = np.abs((got - high) - low) / np.maximum(np.abs(high), terms) / eps
    right = (got == high) | ((np.abs(high) > largest) & (got == np.copysign(np.inf, high)))
    error = np.where(np.isfinite(got), error, np.where(right, 0.0, np.inf))
    error = np.where(skip, 0.0, error)
    i = int(np.argmax(error))
    return Cell(
        name,
        title,
        kind,
        float(error[i]),
        float(points.y[i]),
        float(points.x[i]),
        float(got[i]),
        float(high[i]),
    )


def measure(
    columns: Columns, losses: Sequence[str], store: Exact, n: int, others: Mapping[str, target.Both], *,
    processes: int = 1, ends: bool = True, half_output: bool = False,
) -> list[Cell]:  # fmt: skip
    """Behind the sigmoid: a cell for every column, loss and kind that there is."""
    cells = []
    for title, (_, _, dtype, inside) in columns.items():
        points, far = logit_points(dtype, n), exact.end_points(dtype)
        count = len(points.y)
        p = 1 / (1 + np.exp(-np.clip(points.x, -700, 700)))
        terms = np.maximum(1.0, np.abs(points.y * points.x))
        for name in losses:
            found = others.get(f"{title}|{name}")
            if found is None:
                continue
            near = jumps(name) & (np.abs(p - points.y) < EPS[inside])
            for kind, got in zip(KINDS, found, strict=True):
                eps = EPS[inside if kind == "value" or half_output else dtype]
                skip = near if kind == "gradient" else np.zeros(count, bool)
                answers = store.get(name, kind, points, processes=processes)
                cell = worst(
                    title, name, kind, points, got[:count], answers, eps, skip, terms, exact.LARGEST[dtype]
                )
                tail = got[count:]
                bad = np.isnan(tail) if kind == "value" else ~np.isfinite(tail)
                cells.append(Cell(**{**vars(cell), "at_ends": int(bad.sum()) if ends and len(far.y) else 0}))
    return cells


def measure_predictions(
    columns: Columns, losses: Sequence[str], store: Exact, n: int, processes: int = 1
) -> list[Cell]:
    """On predictions inside (0, 1)."""
    cells = []
    for title, (_, compute, dtype, inside) in columns.items():
        points = exact.prediction_points(dtype, n)
        terms = np.maximum.reduce(
            [np.ones_like(points.y), points.y / points.x, (1 - points.y) / (1 - points.x)]
        )
        for name in losses:
            found = compute(name, points.y, points.x, dtype)
            if found is None:
                continue
            skip = jumps(name) & (np.abs(points.x - points.y) < EPS[inside])
            for kind, got in zip(KINDS, found, strict=True):
                answers = store.get(name, kind, points, logits=False, processes=processes)
                no = skip if kind == "gradient" else np.zeros(len(points.y), bool)
                size = np.ones_like(terms) if kind == "value" else terms
                cells.append(
                    worst(title, name, kind, points, got, answers, EPS[dtype], no, size, exact.LARGEST[dtype])
                )
    return cells


def logit_points(dtype: str, n: int) -> Points:
    """Corners and drawn points."""
    return exact.join(exact.corner_points(dtype), exact.drawn_points(dtype, n // 2))


def given_points(dtypes: Iterable[str], n: int) -> dict[str, tuple[Array, Array]]:
    """What every target computes: the judged points, then the ends of the dtype."""
    joined = {d: exact.join(logit_points(d, n), exact.end_points(d)) for d in sorted(set(dtypes))}
    return {d: (p.y, p.x) for d, p in joined.items()}


def mass_nodes(logit: float) -> tuple[Array, Array]:
    """Nodes y in [0, 1] and weights of Gauss-Legendre quadrature, panels finer where the density has its peak."""
    node, weight = np.polynomial.legendre.leggauss(48)
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-24, 1)])
    half = np.diff(edges)[:, None] / 2
    u, w = (edges[:-1, None] + half * (node + 1)).ravel(), (half * weight).ravel()
    return (1 - u if logit > 0 else u), w


def mass(value: Callable[[Array, Array], Array], logit: float) -> float:
    """Integral over y in [0, 1] of exp(-loss): 1 for a normalised density."""
    y, w = mass_nodes(logit)
    return float((w * np.exp(-value(y, np.full_like(y, logit)))).sum())


def group_masses(group: str, titles: Sequence[str], at: Sequence[float]) -> dict[str, list[float]]:
    """The masses of the continuous Bernoulli in columns of a group, at each logit; empty if it is not installed."""
    y = np.concatenate([mass_nodes(logit)[0] for logit in at])
    z = np.repeat(np.asarray(at, np.float64), len(y) // len(at))
    points = {target.OURS[title][2]: (y, z) for title in titles}
    with tempfile.TemporaryDirectory() as folder:
        found = target.in_group(group, [BERNOULLI], points, Path(folder))
    rows = {}
    for title in titles:
        both = found.get(f"ours|{title}|{BERNOULLI}")
        if both is not None:
            parts = np.split(both[0], len(at))
            rows[title] = [
                mass(lambda *_, part=part: part, logit) for logit, part in zip(at, parts, strict=True)
            ]
    return rows


def masses() -> list[tuple[str, list[float]]]:
    """The total mass of the continuous Bernoulli at each logit, ours and torch's."""
    rows = []
    for title, compute, dtype in (
        ("lossproof, numpy float64", target.numpy_ours, "float64"),
        ("lossproof, torch float64", target.torch_ours, "float64"),
        ("lossproof, torch float32", target.torch_ours, "float32"),
        ("torch.distributions, float64", target.torch_theirs, "float64"),
        ("torch.distributions, float32", target.torch_theirs, "float32"),
    ):  # fmt: skip

        def value(y: Array, z: Array, compute: target.Compute = compute, dtype: str = dtype) -> Array:
            both = compute(BERNOULLI, y, z, dtype)
            assert both is not None
            return both[0]

        rows.append((title, [mass(value, z) for z in MASS_AT]))
    others = {f"lossproof, {t}": row for t, row in group_masses("jax", ["jax float32"], MASS_AT).items()}
    return [*rows[:3], *others.items(), *rows[3:]]


def versions() -> str:
    """What was measured, by name and version."""
    names = ("numpy", "torch", "jax", "keras", "tensorflow-cpu", "tensorflow", "optax", "mpmath")
    parts = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            parts.append(f"{name} {importlib.metadata.version(name).split('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            continue
    node = shutil.which("node") or shutil.which("nodejs")
    if node:
        parts.append(
            f"node {subprocess.run([node, '--version'], capture_output=True, text=True, check=True).stdout.strip()[1:]}"
        )
    return ", ".join(parts)


def table(cells: Sequence[Cell], losses: Sequence[str], columns: Sequence[str]) -> str:
    """Markdown: a row a loss, a column a target, "value / gradient"."""
    known = {(c.title, c.loss, c.kind): c for c in cells}
    columns = [t for t in columns if any(c.title == t for c in cells)]
    rows = [["loss", *columns], ["---", *("---:" for _ in columns)]]
    for name in losses:
        if not any(c.loss == name for c in cells):
            continue
        row = [f"`{name}`"]
        for t in columns:
            both = [known.get((t, name, kind)) for kind in KINDS]
            row.append(
                " / ".join(("**{}**" if c.ulp > GOAL else "{}").format(c) if c else "" for c in both)
                if both[0]
                else "-"
            )
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


#: part of the page -> what its points are called
PARTS = {"ours": "z", "predictions": "p", "raw": "z"}


def failures(cells: Sequence[Cell], space: str, part: str = "") -> list[str]:
    """A line for every cell beyond the goal, worst first, with its reason, and for every bad answer at the ends."""
    over = sorted((c for c in cells if c.ulp > GOAL), key=lambda c: -c.ulp)
    lines = [
        f"- `{c.loss}` {c.kind}, {c.title}: {c} ulp at {c.where.replace(', ', f', {space} = ', 1)}"
        + (f". Why: {why}." if (why := reasons.reason(part, c.loss, c.kind, c.title)) else "")
        for c in over
    ]
    what = {"value": "NaN", "gradient": "not finite"}
    lines += [
        f"- `{c.loss}` {c.kind}, {c.title}: {c.at_ends} answers {what[c.kind]} at the largest logits"
        for c in cells
        if c.at_ends
    ]
    return lines


def compute_all(losses: Sequence[str], n: int, store: Exact, processes: int) -> dict[str, list[Cell]]:
    """Every table of the page."""
    points = given_points(EPS, n)
    ours = target.in_process(target.OURS, list(losses), points)
    theirs = target.in_process(target.THEIRS, list(losses), points)
    raw = target.in_process(target.RAW, list(losses), points)
    with tempfile.TemporaryDirectory() as folder:
        for group in target.GROUPS:
            for key, both in target.in_group(group, list(losses), points, Path(folder)).items():
                which, _, rest = key.partition("|")
                (ours if which == "ours" else theirs)[rest] = both
    result = {
        "ours": measure(target.OURS, losses, store, n, ours, processes=processes),
        "raw": measure(target.RAW, losses, store, n, raw, processes=processes, half_output=True),
        "theirs": measure(target.THEIRS, losses, store, n, theirs, processes=processes, half_output=True),
        "predictions": measure_predictions(target.PREDICTIONS, losses, store, n // 4, processes),
    }
    store.save()
    return result


def page(
    cells: Mapping[str, list[Cell]], rows: list[tuple[str, list[float]]], losses: Sequence[str], n: int
) -> str:
    """docs/accuracy.md."""
    over, prediction_over, raw_over = (
        failures(cells[part], PARTS[part], part) for part in ("ours", "predictions", "raw")
    )
    met = (
        f"Every cell of the table is within {GOAL:g} ulp, no value is NaN and no gradient is infinite."
        if not over
        else f"{len(over)} cells miss the goal of {GOAL:g} ulp:\n\n" + "\n".join(over)
    )
    mass_head = "| | " + " | ".join(f"{z:g}" for z in MASS_AT) + " |\n|---|" + "---:|" * len(MASS_AT)
    mass_rows = "\n".join(
        f"| {title} | " + " | ".join(_from_one(v) for v in values) + " |" for title, values in rows
    )
    jumping = ", ".join(f"`{name}`" for name in losses if jumps(name))
    none = "None."
    peers_bad = [c for c in cells["theirs"] if c.at_ends]
    peers = "; ".join(f"{c.title} `{c.loss}` {c.kind} ({c.at_ends})" for c in peers_bad) or "none"
    at_100, at_1e4 = (f"{last_place(z):.0e}" for z in (100, 1e4))
    return f"""# Accuracy

<!-- written by benchmarks/accuracy.py (make accuracy); do not edit -->

Error of every loss of the catalogue in every target, against the same formula in 50 digits
(`lossproof.lower.oracle`: the formula as stated, no rewriting). Each cell is the largest error over all points,
**value / gradient**, in units in the last place (ulp) of the larger of the result and the largest term that is
added up, max(1, |y z|). An error of 0.5 is correct rounding. The goal is at most {GOAL:g} ulp, no NaN, and no
infinite gradient; what misses it is in bold.

Points: all pairs of y in {{0, smallest normal number, eps, 1/255, 1/2 and both neighbours, 1 - eps, 1}} and logits
in ±{{0, 1e-8, 1, 16, 17, 88, 89, 104}} of the dtype, four of these y with ±1e4, and drawn grey levels with
heavy-tailed logits up to ±200: {n // 2} points that every dtype holds exactly, and as many of float32's for float32 and
float64. At the largest number of the dtype and a quarter of it, where no number of digits is enough for the
oracle, answers are looked at for NaN and for infinite gradients.

Measured with {versions()}. Other versions, and processors with other vector instructions, can differ in the second
digit of an ulp.

## Behind the sigmoid: loss(y, sigmoid(z)) and its derivative in z

{table(cells["ours"], losses, list(target.OURS))}

Half types: `lossproof.torch`, `lossproof.keras` and `lossproof.jax` compute half-precision inputs in float32 and return
float32; the gradient is then rounded to the input's dtype. So the value is in ulp of float32, the gradient in ulp of
the half type.

{met}

Left out: for {jumping}, the gradient where sigmoid(z) is within eps of y. There p rounds to y or across it, and
every slope between the two sides' is right. The one at p = y exactly is their mean.

### The emitted functions run in a half type

What `lossproof show LOSS --as torch` prints, given bfloat16 or float16 tensors: every intermediate is rounded to the half
type. Ulp of the half type. Losses that go on to divide or subtract such intermediates cannot hold the goal; this is why
`ReconstructionLoss` computes in float32.

{table(cells["raw"], losses, list(target.RAW))}

Beyond the goal:

{chr(10).join(raw_over) or none}

## On predictions: loss(y, p) and its derivative in p

p in {{eps, 1/255, 1/2 and both neighbours, 1 - eps}} and drawn in (0, 1). The largest term is 1 for values, and
max(1, y/p, (1 - y)/(1 - p)) for gradients.

{table(cells["predictions"], losses, list(target.PREDICTIONS))}

Beyond the goal:

{chr(10).join(prediction_over) or none}

Left out: p = 0 and p = 1. There a loss that is infinite answers inf. `continuous_bernoulli` gives NaN at p = 0 for
y > 0 and at p = 1 for y < 1: its normaliser's -log(-log p) is -inf there and its -y log p is +inf. The limit is +inf,
since log p outgrows log(-log p); at p = y = 0 and p = y = 1 it is -inf, which is what comes out. No rewriting rule
joins the two terms before they become infinite; from logits both are finite at every finite logit.
Near p = 0 and p = 1 a prediction has lost digits that the logit still had: prefer logits.

## The same for torch, Keras and optax

The frameworks' own functions on the same points, behind the framework's sigmoid where they take predictions. Torch in
bfloat16 computes in bfloat16. Largest term and goal as above: a function that adds larger terms, as torch's
cross-entropy adds (1 - y) z and log sigmoid(z), shows the digits that it loses when they cancel.

{table(cells["theirs"], losses, list(target.THEIRS))}

NaN values or infinite gradients at the largest logits (count of {len(exact.end_points("float32").y)}): {peers}.

## Continuous Bernoulli: total mass

Integral over y of exp(-loss) minus 1, at each logit, by Gauss-Legendre quadrature: 0 for a normalised density. The goal
is 1e-6 at every logit. In float32, log((exp(z) - 1)/z) - y z would be the difference of two numbers near z, each known
to half of z's last place: {at_100} at z = 100 and {at_1e4} at z = 1e4. The rule `logexprel_minus_part` writes it as
(1 - y) z + log((1 - exp(-z))/z) for z > 0, where 1 - y is exact for y near 1. What is left at z = 1e4 is mostly the
rounding of y to float32.

{mass_head}
{mass_rows}
"""


def last_place(z: float) -> float:
    """Half of the distance from z to the next float32.

    >>> last_place(1e4)
    0.00048828125
    """
    return float(np.spacing(np.float32(z))) / 2


def _from_one(value: float) -> str:
    off = value - 1
    return "0" if abs(off) < 1e-9 else f"{off:.1e}"


def check(losses: Sequence[str], store: Exact) -> list[str]:
    """NumPy and torch at few points: what is worse than the page says, by more than the second digit."""
    columns = {t: c for t, c in target.OURS.items() if t.startswith(("numpy", "torch"))}
    found = measure(
        columns, losses, store, 60, target.in_process(columns, list(losses), given_points(EPS, 60))
    )
    text = PAGE.read_text(encoding="utf-8")
    absent = [f"`{name}` is not on the page" for name in losses if f"| `{name}` |" not in text]
    admitted = set(re.findall(r"^- (`\w+` \w+, [^:]+):", text, re.MULTILINE))
    return absent + [line for line in failures(found, "z") if line[2:].split(":")[0] not in admitted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 if --check finds something."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; compare a cheap part with the page"
    )
    parser.add_argument("--points", type=int, default=2000, help="drawn points (default 2000)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="for exact answers")
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lossproof" / "exact.json"
    parser.add_argument("--cache", type=Path, default=default, help="where exact answers are kept")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    store, losses = Exact(given.cache), list(CATALOGUE)
    if given.check:
        lines = check(losses, store)
        store.save()
        print("\n".join(lines) or "accuracy: as the page says, or better")
        return int(bool(lines))
    cells = compute_all(losses, given.points, store, given.processes)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page(cells, masses(), losses, given.points), encoding="utf-8")
    for part, space in PARTS.items():
        print(f"{part}: beyond {GOAL:g} ulp", *(failures(cells[part], space, part) or ["- none"]), sep="\n")
    print(f"accuracy: wrote {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
