"""How good is the advice? Draws with a known answer, and regret on real images; writes docs/advice.md.

    python benchmarks/advice.py --part synthetic --draws 8        known answers, no pilot
    python benchmarks/advice.py --part real --data FOLDER         regret of a longer run on real sets
    python benchmarks/advice.py --write                           the page from what was measured

Measurements are kept as JSON beside each other in --out, so that a run that was stopped goes on. A draw is right if the
advised loss is in the set that its construction implies; regret is the advised loss's value of the goal's measure minus
the best one's, both from runs of all candidates in which no loss ends early, on images that the advice did not see.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from lossproof.advise.advice import advise_facts
from lossproof.advise.candidates import Bench, gather_candidates
from lossproof.advise.goals import GOALS
from lossproof.advise.pilot_measure import Judge
from lossproof.advise.pilot_train import Arena
from lossproof.advise.ranking import distinct, rank
from lossproof.catalogue import resolve
from lossproof.catalogue.decoders import DECODERS
from lossproof.data.facts_stream import Facts, gather
from lossproof.data.stream import open_stream
from lossproof.likelihood import Levels
from lossproof.lower import function
from lossproof.torch.decoders import criterion_for
from lossproof.train.comparison import intra_op_threads
from lossproof.train.settings import slug

sys.path.insert(0, str(Path(__file__).parent))
from advice_page import FIRST_SEED, FULL_STEPS, KINDS, LAW_GOALS, PILOT_STEPS, REAL_SEEDS, SHORT_STEPS, page
from advice_sets import NOISES, SETS, Cut, facts_of, images_of, sets, spoilt, unit

Floats = npt.NDArray[np.float64]


def smooth(rng: np.random.Generator, count: int, side: int) -> Floats:
    """Images (count, side, side) in about 0.2..0.8: random sums of low cosines, a set of 15 directions."""
    g = np.linspace(0, 1, side)
    waves = np.stack(
        [np.cos(np.pi * i * g)[:, None] * np.cos(np.pi * j * g) for i in range(4) for j in range(4) if i + j]
    )
    weights = rng.standard_normal((count, len(waves))) / np.sqrt(1 + np.arange(len(waves)))
    x = np.tensordot(weights, waves, (1, 0))
    return np.asarray(0.5 + 0.3 * x / np.abs(x).max(axis=(1, 2), keepdims=True))


def draw(kind: str, seed: int) -> tuple[npt.NDArray[Any], dict[str, float]]:
    """One data set of a kind, as stored, and the constants it was made with."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    side, count = int(rng.choice([12, 16, 20])), int(rng.integers(500, 1200))
    x = smooth(rng, count, side)
    known: dict[str, float] = {"side": side, "images": count}
    if kind == "Bernoulli pixels":
        sharp = float(rng.uniform(2, 8))
        p = 1 / (1 + np.exp(-sharp * (x - 0.5) * 4))
        return (rng.random(x.shape) < p).astype(np.uint8) * np.uint8(255), known | {"sharpness": sharp}
    if kind == "Gaussian noise":
        sigma = float(rng.uniform(0.03, 0.12))
        y, known = x + sigma * rng.standard_normal(x.shape), known | {"sigma": sigma}
    elif kind == "Laplace noise":
        b = float(rng.uniform(0.02, 0.08))
        y, known = x + rng.laplace(0, b, x.shape), known | {"b": b}
    elif kind == "heavy tails":
        nu, scale = float(rng.choice([1, 2, 3])), float(rng.uniform(0.01, 0.04))
        y, known = x + scale * rng.standard_t(nu, x.shape), known | {"nu": nu, "scale": scale}
    else:
        share = float(rng.uniform(0.02, 0.15))
        u = rng.random(x.shape)
        y = np.where(
            u < share / 2, 0.0, np.where(u > 1 - share / 2, 1.0, x + 0.01 * rng.standard_normal(x.shape))
        )
        known |= {"share": share}
    if rng.random() < 0.5 or kind == "salt and pepper":
        return np.rint(255 * np.clip(y, 0, 1)).astype(np.uint8), known | {"stored as bytes": 1}
    return y.astype(np.float32), known | {"stored as bytes": 0}


def right(kind: str, loss: str) -> bool:
    """Whether a loss is what the construction implies, by its formula alone.

    Bernoulli: exp(-loss) is Bernoulli's own mass. Gaussian, Laplace: the loss is a multiple of r^2, of |r|. Salt and
    pepper, heavy tails: its slope at a residual of 0.5 is at most twice that at 0.05, so that no pixel outvotes others.
    A decoder: its law, fitted to a sample of the kind around 0.4, is within 0.005 nats of the noise's own law; its slopes.
    """
    if loss in DECODERS:
        return decoder_right(kind, loss)
    known = function(resolve(loss))
    r = np.array([-0.3, -0.1, -0.02, 0.02, 0.1, 0.3])
    p = np.full_like(r, 0.4)
    if kind == "Bernoulli pixels":
        masses = [math.exp(-float(known.value(float(y), 0.3))) for y in (0, 1)]
        return abs(masses[1] - 0.3) < 1e-9 and abs(masses[0] - 0.7) < 1e-9
    values = np.asarray(known.value(p + r, p))
    if kind in ("Gaussian noise", "Laplace noise"):
        ratio = values / np.abs(r) ** (2 if kind == "Gaussian noise" else 1)
        return bool(np.allclose(ratio, ratio[0], rtol=1e-6))
    slopes = np.abs(known.gradient(np.array([0.45, 0.9]), np.array([0.4, 0.4])))
    return bool(slopes[1] <= 2 * slopes[0])


@cache
def decoder_right(kind: str, name: str) -> bool:
    """The same of a decoder's law: its parameters are fitted to 20,000 values around 0.4 with the noise of the kind."""
    rng, count, centre = np.random.default_rng(0), 20_000, 0.4
    own: Any = {"Gaussian noise": stats.norm(centre, 0.05), "Laplace noise": stats.laplace(centre, 0.03)}.get(
        kind
    )
    if own is not None:
        y = own.rvs(count, random_state=rng)
    elif kind == "heavy tails":
        y = centre + 0.02 * rng.standard_t(2, count)
    else:
        y = np.where(
            rng.random(count) < 0.1, rng.integers(0, 2, count), centre + 0.01 * rng.standard_normal(count)
        )
    y = np.clip(y, 0, 1)
    mass = DECODERS[name].measure == "levels"
    if mass:
        y = np.rint(255 * y) / 255
    made = criterion_for(DECODERS[name], (1, 1, 1), Levels(256) if mass else None)
    raw = torch.zeros(made.outputs, dtype=torch.float64)
    learned = {key: value.detach().double() for key, value in made.parameters.items()}
    made.parameters = learned
    for tensor in (raw, *learned.values()):
        tensor.requires_grad_(True)

    def nats(values: Any) -> torch.Tensor:
        target = torch.as_tensor(values, dtype=torch.float64).reshape(-1, 1, 1, 1)
        return made.values(target, raw.reshape(1, -1, 1, 1).expand(len(target), -1, 1, 1)).flatten()

    search = torch.optim.LBFGS([raw, *learned.values()], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = nats(y).mean()
        loss.backward()
        return loss

    search.step(closure)
    if own is not None:
        best = -np.log(own.cdf(y + 1 / 510) - own.cdf(y - 1 / 510)) if mass else -own.logpdf(y)
        return bool(float(nats(y).mean().detach()) < best.mean() + 0.005)
    with torch.no_grad():
        ends = nats(np.rint(255 * (centre + np.array([0.04, 0.06, 0.49, 0.51]))) / 255).numpy()
    return bool(ends[3] - ends[2] <= 2 * (ends[1] - ends[0]))


def synthetic(first: int, draws: int, out: Path) -> None:
    """Advice without a pilot for draws of every kind."""
    for seed in range(first, first + draws):
        for kind in KINDS:
            path = out / f"synthetic-{KINDS.index(kind)}-{seed}.json"
            if path.exists():
                continue
            started = time.process_time()
            images, known = draw(kind, seed)
            facts = gather(open_stream(images))
            judged = gather_candidates(facts)
            said = {
                goal: advise_facts(facts, goal, budget=0, judged=judged, prove=False).loss
                for goal in LAW_GOALS
            }
            row = {
                "kind": kind, "seed": seed, "known": known, "advised": said, "noisy": facts.noisy,
                "right": {goal: right(kind, loss) for goal, loss in said.items()},
                "seconds": time.process_time() - started,
            }  # fmt: skip
            path.write_text(json.dumps(row))
            print(kind, seed, said, row["right"], flush=True)


def settings_of(steps: int, images: int) -> int:
    """Epochs of about so many steps: batches of 64, of 16 for fewer than 500 images."""
    return math.ceil(steps / math.ceil(images / (64 if images >= 500 else 16)))


def measured(path: Path, laps: int) -> dict[str, Any] | None:
    """What a file holds, if it was measured with as many epochs."""
    row = dict(json.loads(path.read_text())) if path.exists() else {}
    return row if row.get("laps") == laps else None


def truth(case: Case, labels: Sequence[str], out: Path) -> None:
    """Train losses for the whole run, no one ends early, and measure them on what was kept back; a file a loss."""
    laps = settings_of(FULL_STEPS, len(case.facts.sample))
    todo = [label for label in labels if measured(case.truth_file(out, label), laps) is None]
    if not todo:
        return
    images = images_of(case.cut, case.facts)
    wanted = ("anomaly", "moved", *(["neighbours"] if images.test_labels is not None else []))
    clean = None if case.clean is None else unit(case.clean)[:, None].astype(np.float32)
    by_label = {c.label: c for c in case.judged[0]}
    with intra_op_threads(1):
        vae = case.model == "vae"  # whose bound decides, and takes most of the time of measuring
        judge = Judge(images, case.facts, () if vae else wanted, clean, laws=vae)
        for label in todo:
            started = time.process_time()
            arena = Arena([by_label[label]], images, case.model, range(FIRST_SEED, FIRST_SEED + REAL_SEEDS))
            for _ in range(laps):
                arena.lap()
            values = judge.measures(arena.members[label])
            row = {
                "set": case.name, "kind": case.kind, "label": label, "decoder": by_label[label].decoder,
                "measures": {name: [float(v) for v in seeds] for name, seeds in values.items()},
                "train": len(images.train), "test": len(images.test), "laps": laps, "seeds": REAL_SEEDS,
                "mean_image": judge.mean_image, "seconds": time.process_time() - started,
            }  # fmt: skip
            case.truth_file(out, label).write_text(json.dumps(row))
            print(case.name, case.kind, label, f"{row['seconds']:.0f} s", flush=True)


def advised(case: Case, goal: str, out: Path, *, short: bool = False) -> dict[str, Any]:
    """What is advised for a goal, with a pilot (or a short one) and without one, from what the user has alone."""
    path, steps = case.advice_file(out, goal, short=short), SHORT_STEPS if short else PILOT_STEPS
    count = len(case.facts.sample)
    laps = settings_of(steps, count - min(400, count // 4))
    kept = measured(path, laps)
    if kept is not None:
        return kept
    started = time.process_time()
    known = advise_facts(case.facts, goal, laps=laps, judged=case.judged, prove=False)
    bare = advise_facts(case.facts, goal, budget=0, judged=case.judged, prove=False)
    assert known.pilot is not None
    row = {
        "set": case.name, "noise": case.noise, "goal": goal, "advised": known.loss, "without_pilot": bare.loss,
        "candidates": [c.label for c in case.candidates() if GOALS[goal].decoders or not c.decoder],
        "pilot_seconds": known.pilot.seconds,
        "conclusive": known.pilot.conclusive, "words": known.pilot.words, "noisy": case.facts.noisy, "laps": laps,
        "tried": {r.label: [r.mean, r.epochs] for r in known.pilot.rows}, "seconds": time.process_time() - started,
    }  # fmt: skip
    path.write_text(json.dumps(row))
    print(case.name, case.noise, goal, steps, known.loss, "| without a pilot", bare.loss, flush=True)
    return row


def real_sets(folder: Path, goals: Sequence[str], names: Sequence[str], out: Path, *, only: str) -> None:
    """Advice and truth, goal by goal for every set: for denoising on the set with noise, for all other goals as it is."""
    read = sets(folder)
    case_of = cache(lambda name, noise: Case.of(name, read[name](), noise))
    for goal, name in product(goals, names):
        model, decoders = GOALS[goal].model, GOALS[goal].decoders
        for noise in NOISES if goal == "denoise" else ("",):
            case = replace(case_of(name, noise), model=model)
            labels = (
                [c.label for c in case.candidates() if decoders or not c.decoder] if only != "advice" else []
            )
            if only != "truth":
                said, brief = advised(case, goal, out), advised(case, goal, out, short=True)
                named = [said["advised"], said["without_pilot"], brief["advised"]]
                labels += named if only != "advice" else []
            truth(case, list(dict.fromkeys(labels)), out)


@dataclass(frozen=True)
class Case:
    """A set as it is, or with noise; ``clean`` are the images kept back before it. ``model`` is ae or vae."""

    name: str
    cut: Cut
    facts: Facts
    judged: Any
    noise: str = ""
    clean: npt.NDArray[Any] | None = None
    model: str = "ae"

    @classmethod
    def of(cls, name: str, cut: Cut, noise: str = "") -> Case:
        told, clean = name, None
        if noise:
            told, clean = f"{name} with {noise} noise", cut.kept
            cut = replace(cut, has=spoilt(cut.has, noise, 1), kept=spoilt(cut.kept, noise, 2))
        facts = facts_of(cut, told)
        return cls(name, cut, facts, gather_candidates(facts, bench=Bench(facts)), noise, clean)

    @property
    def kind(self) -> str:
        return f"{self.model} {self.noise}".strip()

    def candidates(self) -> list[Any]:
        """Candidates whose laws differ: of those that are another times a constant, the simplest."""
        ranked = rank(self.judged[0], self.facts, GOALS["sample"])[1]
        return distinct(ranked)

    def truth_file(self, out: Path, label: str) -> Path:
        return out / f"truth-{slug(f'{self.name} {self.kind} {label}')}.json"

    def advice_file(self, out: Path, goal: str, *, short: bool) -> Path:
        return out / f"{'short' if short else 'advice'}-{slug(f'{self.name} {self.noise} {goal}')}.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--part", choices=("synthetic", "real", "both"), default="both")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument(
        "--first", type=int, default=100, help="first seed; below 100 were looked at while it was written"
    )
    parser.add_argument("--data", type=Path, help="folder that holds mnist/, frey-faces/ and the like")
    parser.add_argument("--goals", default=",".join(GOALS))
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument(
        "--only", choices=("truth", "advice", "both"), default="both", help="half of the real part"
    )
    parser.add_argument("--out", type=Path, default=Path("build/advice"), help="where measurements are kept")
    parser.add_argument(
        "--write", action="store_true", help="write docs/advice.md from what was measured, measure nothing"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.write:
        Path("docs/advice.md").write_text(page(options.out), encoding="utf-8")
        print("docs/advice.md")
        return 0
    if options.part != "real":
        synthetic(options.first, options.draws, options.out)
    if options.part != "synthetic":
        if options.data is None:
            parser.error("the real sets need --data; --part synthetic goes without")
        goals, names = options.goals.split(","), options.sets.split(",")
        real_sets(options.data, goals, names, options.out, only=options.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
