"""The same VAE in other libraries: what an epoch costs, where the test loss stands after each, how much memory it takes.

    python benchmarks/peers.py --data FOLDER         writes the section of docs/performance.md, and its plot

Each peer has a process of its own: Keras reads its backend once, from the environment, and libraries differ in the threads
they start. There it takes turns with a member of lossproof and with the bare loop of training.py. Then all of them train
the same epochs from scratch and are judged by one function on the same test images. The peak of memory
is that of this last process. Absent libraries are named, with the command that installs them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import pages
from lossproof.train.comparison import intra_op_threads
from plots import figure
from training import FUNCTIONALS, Bare, Loop, Member, Plan, Sizes, images_of, kl

NAME = "peers"
MODELS = ("784-400-20", "conv-784-32-64-128-20")
OURS, BARE = "lossproof member", "bare torch loop"
#: how many times as fast as a peer a member shall be
GOALS = {"Keras on JAX": 1.0, "pythae": 2.0, "DataLoader loop": 2.5}
Array = npt.NDArray[np.float32]
TEST = 2000  # images on which all are judged


@dataclass
class Trained:
    """A library's VAE: an epoch, and means, log-variances and logits of flat images (n, pixels) as it is now."""

    title: str
    epoch: Callable[[int], object]
    encode: Callable[[Array], tuple[Array, Array]]
    decode: Callable[[Array], Array]


def lossproof_member(plan: Plan, images: Tensor) -> Trained:
    """What `compare` trains."""
    member = Member(plan, "bce")
    model, shape = member.member.model, images.shape[1:]

    def encode(x: Array) -> tuple[Array, Array]:
        mean, logvar = model.encode(torch.from_numpy(x).view(-1, *shape))
        assert logvar is not None
        return mean.numpy(), logvar.numpy()

    return Trained(
        f"lossproof {version('lossproof')}",
        member.epoch,
        encode,
        lambda code: model.decode(torch.from_numpy(code)).flatten(1).numpy(),
    )


def of_bare(
    model: Bare, plan: Plan
) -> tuple[Callable[[Array], tuple[Array, Array]], Callable[[Array], Array]]:
    """How the VAE written by hand encodes and decodes."""
    shape = (1, plan.sizes.side, plan.sizes.side) if plan.sizes.conv else (plan.sizes.pixels,)

    def encode(x: Array) -> tuple[Array, Array]:
        mean, logvar = model.encoder(torch.from_numpy(x).view(-1, *shape)).chunk(2, 1)
        return mean.numpy(), logvar.numpy()

    return encode, lambda code: model.decoder(torch.from_numpy(code)).flatten(1).numpy()


def bare(plan: Plan, images: Tensor) -> Trained:
    """Tensors in memory, autograd, fused Adam."""
    loop = Loop(plan, "bce", Member(plan, "bce"))
    return Trained(f"torch {torch.__version__} tensors", loop.epoch, *of_bare(loop.model, plan))


def dataloader(plan: Plan, images: Tensor) -> Trained:
    """The textbook loop, as in pytorch/examples: shuffling DataLoader, Adam by default, a look at every loss."""
    rows = images if plan.sizes.conv else images.flatten(1)
    loader = DataLoader(TensorDataset(rows), batch_size=plan.sizes.batch, shuffle=True)
    torch.manual_seed(0)
    model = Bare(plan.sizes)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    functional = FUNCTIONALS["bce"]

    def epoch(number: int) -> None:
        total = 0.0
        for (x,) in loader:
            optimiser.zero_grad()
            logits, mean, logvar = model(x, torch.randn(len(x), plan.sizes.latent))
            objective = (functional(logits, x) + kl(mean, logvar)) / len(x)
            objective.backward()
            total += objective.item()
            optimiser.step()

    return Trained(f"torch {torch.__version__} DataLoader loop", epoch, *of_bare(model, plan))


def pythae(plan: Plan, images: Tensor) -> Trained:
    """`BaseTrainer.train_step` is pythae's epoch; encoder and decoder are given, so that the sizes are equal."""
    from pythae.data.datasets import DatasetOutput
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch.utils.data import Dataset

    sizes = plan.sizes
    torch.manual_seed(0)
    net = Bare(sizes)

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = net.encoder

        def forward(self, x: Tensor) -> Any:
            mean, logvar = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=logvar)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = net.decoder

        def forward(self, code: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(code).sigmoid())  # pythae's bce takes probabilities

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return DatasetOutput(data=images[index] if sizes.conv else images[index].flatten())

    shape = tuple(images.shape[1:]) if sizes.conv else (sizes.pixels,)
    trainer = BaseTrainer(
        VAE(
            VAEConfig(input_dim=shape, latent_dim=sizes.latent, reconstruction_loss="bce"),
            encoder=Encoder(),
            decoder=Decoder(),
        ),
        Rows(),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=sizes.batch,
            learning_rate=1e-3,
            no_cuda=True,
            num_epochs=1,
        ),
    )
    trainer.prepare_training()
    # its progress bar would be timed too
    trainer.callback_handler.callbacks = []
    return Trained(
        f"pythae {version('pythae')}", lambda number: trainer.train_step(number) and None, *of_bare(net, plan)
    )


def keras(plan: Plan, images: Tensor) -> Trained:
    """`fit` of a Keras 3 model with a sampling step and the KL added to the loss, on the backend chosen."""
    import keras
    from keras import layers, ops

    sizes = plan.sizes
    keras.utils.set_random_seed(0)
    x = images.flatten(1).numpy()
    side = sizes.side

    def chains() -> tuple[list[Any], list[Any]]:
        if not sizes.conv:
            up = [layers.Dense(width, activation="relu") for width in reversed(sizes.hidden)]
            return [layers.Dense(width, activation="relu") for width in sizes.hidden], [
                *up,
                layers.Dense(sizes.pixels),
            ]
        down = [layers.Reshape((side, side, 1))]
        sides = [side]
        for width in sizes.hidden:
            down.append(layers.Conv2D(width, 3, strides=2, padding="same", activation="relu"))
            sides.append(-(-sides[-1] // 2))
        up = [
            layers.Dense(sizes.hidden[-1] * sides[-1] ** 2, activation="relu"),
            layers.Reshape((sides[-1], sides[-1], sizes.hidden[-1])),
        ]
        for width, rows in zip((*sizes.hidden[-2::-1], 1), sides[-2::-1], strict=True):
            up.append(
                layers.Conv2DTranspose(
                    width, 3, strides=2, padding="same", activation=None if width == 1 else "relu"
                )
            )
            if rows % 2:  # a transposed convolution here always doubles
                up.append(layers.Cropping2D(((0, 1), (0, 1))))
        return [*down, layers.Flatten()], [*up, layers.Flatten()]

    down, up = chains()

    class Vae(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = keras.Sequential([*down, layers.Dense(2 * sizes.latent)])
            self.decoder = keras.Sequential(up)
            self.draws = keras.random.SeedGenerator(0)

        def call(self, inputs: Any) -> Any:
            mean, logvar = ops.split(self.encoder(inputs), 2, axis=1)
            noise = keras.random.normal(ops.shape(mean), seed=self.draws)
            rate = -0.5 * ops.sum(1 + logvar - ops.square(mean) - ops.exp(logvar), axis=1)
            self.add_loss(ops.mean(rate))
            return self.decoder(mean + noise * ops.exp(0.5 * logvar))

    def nats(y: Any, z: Any) -> Any:
        return ops.sum(ops.binary_crossentropy(y, z, from_logits=True), axis=1)

    model = Vae()
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=nats)
    name = (
        f"Keras {keras.__version__} on {keras.backend.backend()} {version(BACKENDS[keras.backend.backend()])}"
    )

    def encode(part: Array) -> tuple[Array, Array]:
        both = np.asarray(model.encoder.predict(part, verbose=0, batch_size=500))
        return both[:, : sizes.latent], both[:, sizes.latent :]

    return Trained(
        name,
        lambda number: model.fit(x, x, batch_size=sizes.batch, verbose=0) and None,
        encode,
        lambda code: np.asarray(model.decoder.predict(code, verbose=0, batch_size=500)),
    )


BACKENDS = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow-cpu"}
Maker = Callable[[Plan, Tensor], Trained]
#: what is shown: its maker, the modules it needs, what installs it, the Keras backend
PEERS: dict[str, tuple[Maker, tuple[str, ...], str, str]] = {
    OURS: (lossproof_member, ("torch",), "torch", ""),
    BARE: (bare, ("torch",), "torch", ""),
    "Keras on JAX": (keras, ("keras", "jax"), "keras jax", "jax"),
    "pythae": (pythae, ("pythae",), "pythae", ""),
    "DataLoader loop": (dataloader, ("torch",), "torch", ""),
    "Keras on TensorFlow": (keras, ("keras", "tensorflow"), "keras tensorflow-cpu", "tensorflow"),
    "Keras on torch": (keras, ("keras", "torch"), "keras torch", "torch"),
}


def test_loss(made: Trained, images: Array) -> float:
    """BCE + KL in nats per image, one draw of the code each, the same noise for all: computed here, in float64."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(images), 500):
            x = images[start : start + 500]
            mean, logvar = (np.asarray(part) for part in made.encode(x))
            drawn = np.random.default_rng(start).standard_normal(mean.shape, dtype=np.float32)
            logits = torch.from_numpy(np.array(made.decode(mean + drawn * np.exp(0.5 * logvar)))).double()
            bce = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(x).double(), reduction="sum")
            total += float(bce) + float(
                kl(torch.from_numpy(mean).double(), torch.from_numpy(logvar).double())
            )
    return total / len(images)


def costs_of(name: str, plan: Plan) -> dict[str, Any]:
    """A peer, a member and the bare loop in turns."""
    images = torch.from_numpy(np.ascontiguousarray(plan.images.train))
    threads = plan.threads or 1
    if hasattr(os, "sched_setaffinity"):  # JAX and TensorFlow do not ask torch how many threads to start
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    with intra_op_threads(threads):
        ways = dict.fromkeys((name, OURS, BARE))
        made = {way: PEERS[way][0](plan, images) for way in ways}
        for one in made.values():
            one.epoch(1)
        costs = pages.in_turns({way: one.epoch for way, one in made.items()}, plan.rounds, first=2)
    return {"title": made[name].title, "threads": threads, "steps": plan.steps, "costs": costs}


def curve_of(name: str, plan: Plan) -> dict[str, Any]:
    """Where the test loss stands after each epoch; MiB at the peak, and before anything of the model was made."""
    images = torch.from_numpy(np.ascontiguousarray(plan.images.train))
    before = pages.peak()
    test = plan.images.test[:TEST].reshape(-1, plan.sizes.pixels)
    with intra_op_threads(plan.threads or 1):
        made = PEERS[name][0](plan, images)
        losses = [test_loss(made, test)]
        for number in range(1, plan.rounds + 1):
            made.epoch(number)
            losses.append(test_loss(made, test))
    return {
        "losses": losses,
        "data": plan.images.name,
        "before": before,
        "peak": pages.peak(),
    }


KINDS = {"costs": costs_of, "curve": curve_of}


def in_its_own_process(kind: str, name: str, told: dict[str, Any]) -> dict[str, Any]:
    """Run this file for one peer; its last line is what it found, or under "missing" why there is nothing."""
    _, modules, packages, backend = PEERS[name]
    if any(importlib.util.find_spec(module) is None for module in modules):
        return {"missing": f"not installed; python -m pip install {packages}"}
    threads = str(told["threads"])
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": threads,
    }
    if backend:
        environment["KERAS_BACKEND"] = backend
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps({"kind": kind, "name": name} | told)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"missing": f"failed: {last[:200]}"}
    return found


def one(told: dict[str, Any]) -> dict[str, Any]:
    """What a peer's process does."""
    sizes = Sizes.parse(told["model"])
    plan = Plan(images_of(sizes, told["images"], told["data"]), sizes, told["rounds"], told["threads"])
    return KINDS[told["kind"]](told["name"], plan)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All peers and both models; what a process found is kept, so that a run that was ended goes on."""
    kept = Kept(given.keep)
    found: dict[str, Any] = {"models": {}, "peers": [n for n in PEERS if not given.only or n in given.only]}
    for model in given.model or MODELS:
        conv = model.startswith("conv-")
        base: dict[str, Any] = {"model": model, "data": given.data}
        turn = base | {"images": 256 if given.quick else 1024 if conv else given.images}
        whole = base | {"images": 256 if given.quick else 2 * turn["images"]}
        entry: dict[str, Any] = {"costs": {}, "curves": {}}
        for name in found["peers"]:
            rounds = 2 if given.quick else given.rounds
            for threads in given.threads.split(","):
                if name not in (OURS, BARE):
                    key = f"{name}|{threads}"
                    entry["costs"][key] = kept(
                        "costs", name, turn | {"rounds": rounds, "threads": int(threads)}
                    )
            epochs = 1 if given.quick else given.epochs
            entry["curves"][name] = kept("curve", name, whole | {"rounds": epochs, "threads": 1})
        found["models"][model] = entry | {"images": whole["images"]}
    return found


class Kept:
    """Results of single processes, in a folder by what they were asked."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def __call__(self, kind: str, name: str, told: dict[str, Any]) -> dict[str, Any]:
        data = Path(told["data"] or "made").name
        words = "-".join([data, *(str(told[key]) for key in ("model", "images", "rounds", "threads"))])
        path = None if self.folder is None else self.folder / f"{kind}-{name.replace(' ', '-')}-{words}.json"
        if path is not None and path.is_file():
            return dict(json.loads(path.read_text()))
        found = in_its_own_process(kind, name, told)
        print(f"{kind} of {name}, {words}: {found.get('missing', 'done')}", file=sys.stderr, flush=True)
        if path is not None and "missing" not in found:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found) + "\n")
        return found


def section(found: dict[str, Any]) -> str:
    """The text between the markers."""
    lines = [
        "## The same VAE in other libraries",
        "",
        INTRODUCTION,
        "",
        pages.words(found),
    ]
    titles: dict[str, str] = {}
    for model, entry in found["models"].items():
        rows = []
        for key, row in entry["costs"].items():
            name, _, threads = key.partition("|")
            if "missing" in row:
                rows.append([name, threads, row["missing"], "", "", "", ""])
                continue
            titles[name] = row["title"]
            costs = row["costs"]
            times = {way: 1e3 * pages.median(costs[way]).wall / row["steps"] for way in costs}
            faster = pages.ratio(costs[name], costs[OURS])
            goal = pages.met(pages.judged(faster, found), GOALS[name], least=True) if name in GOALS else ""
            rows.append(
                [name, threads, f"{times[name]:.2f}", f"{times[OURS]:.2f}", f"{times[BARE]:.2f}",
                 f"{faster.wall:.2f} ({faster.cpu:.2f})", goal]
            )  # fmt: skip
        head = ["library", "threads", "its step, ms", "member", "bare loop", "member is faster by", "goal"]
        lines += ["", f"### {model}", "", *pages.table(head, rows, left=1)]
        epochs = max((len(c["losses"]) for c in entry["curves"].values() if "losses" in c), default=1)
        data = " and ".join({c["data"] for c in entry["curves"].values() if "data" in c})
        curves = [
            [name, *(f"{loss:.2f}" for loss in c["losses"])]
            for name, c in entry["curves"].items()
            if "losses" in c
        ]
        lines += [
            "",
            f"Test loss, nats per image, after so many epochs of {entry['images']:,} images of {data}:",
            "",
        ]
        lines += pages.table(["library", *map(str, range(epochs))], curves)
        memory = [
            [name, f"{m['peak']:.0f}", f"{m['peak'] - m['before']:.0f}"]
            for name, m in entry["curves"].items()
            if "peak" in m
        ]
        lines += [
            "",
            "Peak of resident memory in that process, MiB, and what model and training added to it:",
            "",
        ]
        lines += pages.table(["library", "peak", "added"], memory)
        lines += ["", f"![Test loss over epochs, {model}]({picture(model)}.svg)"]
    named = "; ".join(f"{name}: {title}" for name, title in titles.items())
    rounds = {
        len(costs)
        for e in found["models"].values()
        for r in e["costs"].values()
        for costs in r.get("costs", {}).values()
    }
    left = [model for model in MODELS if model not in found["models"]]
    lines += ["", f"Versions: {named}. Rounds that count: {', '.join(map(str, sorted(rounds)))}."]
    return "\n".join(lines + ([f"Not measured in this run: {', '.join(left)}."] if left else []))


INTRODUCTION = """Written by `benchmarks/peers.py` (`make bench-peers`). Every library has a process of its own, in
which it takes turns with a member of lossproof and with the bare torch loop; a process is held to as many cores as
threads. Times are medians on the wall, ratios are taken within a round, in brackets those of CPU time. Test losses
are computed by one function from each library's codes and logits. What is measured of memory is the whole process,
the libraries' own code included. The bare loop starts from the member's weights and sees its batches and noise; the
others draw their own. What a library added to memory includes importing it."""


def picture(model: str) -> str:
    return f"performance-peers-{model}"


def pictures(found: dict[str, Any], folder: Path) -> None:
    """Test losses of each model over epochs, beside the page."""
    for model, entry in found["models"].items():
        curves = {name: c for name, c in entry["curves"].items() if "losses" in c}
        lines = {label: (range(1, len(c["losses"])), c["losses"][1:]) for label, c in curves.items()}
        panel = {"lines": lines, "x": "epochs", "y": "test loss, nats per image"}
        figure(picture(model), [panel], folder, columns=1, size=(6.0, 3.6))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", help="data for lossproof.load; images made here when left out")
    made.add_argument("--model", action="append", help=f"default {', '.join(MODELS)}")
    made.add_argument("--only", action="append", help=f"of {', '.join(PEERS)}")
    made.add_argument("--rounds", type=int, default=9, help="turns of each that count (9)")
    made.add_argument(
        "--images", type=int, default=12_800, help="of a turn, dense models (12800); twice in curves"
    )
    made.add_argument("--epochs", type=int, default=5, help="of the curves (5)")
    made.add_argument("--threads", default="1,2", help="numbers of threads (1,2)")
    made.add_argument("--keep", type=Path, help="folder for what single processes found, to go on from")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    return pages.run(NAME, measure, section, parser(), arguments, pictures=pictures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(json.loads(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main())
