"""The same VAE in other libraries, each in turns with the bare loop of training.py, in a process of its own.

Keras reads its backend once, from the environment, and libraries differ in the threads they start: hence a
process each. Absent libraries are named, with the command that installs them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lossproof.train.comparison import intra_op_threads, useful_threads
from training import FUNCTIONALS, Bare, Loop, Member, Plan, against_bare, arguments, in_turns, kl, plans

Epoch = Callable[[int], None]  # one epoch by its number


def dataloader(plan: Plan, images: Tensor) -> tuple[str, Epoch]:
    """The textbook loop, as in pytorch/examples: shuffling DataLoader, Adam by default, a look at every loss."""
    loader = DataLoader(TensorDataset(images.flatten(1)), batch_size=plan.sizes.batch, shuffle=True)
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

    return f"torch {torch.__version__} DataLoader loop", epoch


def pythae(plan: Plan, images: Tensor) -> tuple[str, Epoch]:
    """`BaseTrainer.train_step` is pythae's epoch; encoder and decoder are given, so that the sizes are equal."""
    from importlib.metadata import version

    from pythae.data.datasets import DatasetOutput
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch import nn
    from torch.utils.data import Dataset

    sizes = plan.sizes

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(sizes.pixels, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, 2 * sizes.latent)
            )

        def forward(self, x: Tensor) -> Any:
            mean, logvar = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=logvar)

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(sizes.latent, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, sizes.pixels)
            )

        def forward(self, code: Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(code).sigmoid())  # pythae's bce takes probabilities

    class Rows(Dataset[Any]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:
            return DatasetOutput(data=images[index].flatten())

    folder = tempfile.mkdtemp()
    trainer = BaseTrainer(
        VAE(
            VAEConfig(input_dim=(sizes.pixels,), latent_dim=sizes.latent, reconstruction_loss="bce"),
            encoder=Encoder(),
            decoder=Decoder(),
        ),
        Rows(),
        training_config=BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=sizes.batch,
            learning_rate=1e-3,
            no_cuda=True,
            num_epochs=1,
        ),
    )
    trainer.prepare_training()
    # its progress bar would be timed too
    trainer.callback_handler.callbacks = []
    return f"pythae {version('pythae')}", lambda number: trainer.train_step(number) and None


def keras(plan: Plan, images: Tensor) -> tuple[str, Epoch]:
    """`fit` of a Keras 3 model with a sampling step and the KL added to the loss, on the backend chosen."""
    import keras
    from keras import ops

    sizes = plan.sizes
    x = images.flatten(1).numpy()

    class Vae(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder = keras.Sequential(
                [keras.layers.Dense(sizes.hidden, activation="relu"), keras.layers.Dense(2 * sizes.latent)]
            )
            self.decoder = keras.Sequential(
                [keras.layers.Dense(sizes.hidden, activation="relu"), keras.layers.Dense(sizes.pixels)]
            )
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
    name = f"Keras {keras.__version__} on {keras.backend.backend()}"
    return name, lambda number: model.fit(x, x, batch_size=sizes.batch, verbose=0) and None


#: what --peers shows: its maker, the modules it needs, what installs it, the Keras backend
PEERS: dict[str, tuple[Callable[[Plan, Tensor], tuple[str, Epoch]], tuple[str, ...], str, str]] = {
    "DataLoader loop": (dataloader, ("torch",), "torch", ""),
    "pythae": (pythae, ("pythae",), "pythae", ""),
    "Keras on torch": (keras, ("keras", "torch"), "keras torch", "torch"),
    "Keras on JAX": (keras, ("keras", "jax"), "keras jax", "jax"),
    "Keras on TensorFlow": (keras, ("keras", "tensorflow"), "keras tensorflow", "tensorflow"),
}


def measure_all(plan: Plan, argv: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each peer: its times, or under "missing" why there are none. On the CPU, in turns with B.

    `argv` is what `training.py` was called with; each peer's process makes the same plan from it.
    """
    rows = []
    for name, (_, modules, packages, backend) in PEERS.items():
        row: dict[str, Any] = {"name": name, "model": str(plan.sizes)}
        if plan.device != "cpu":
            row["missing"] = "measured on the CPU only"
        elif any(importlib.util.find_spec(module) is None for module in modules):
            row["missing"] = f"not installed; python -m pip install {packages}"
        else:
            row |= in_its_own_process(name, argv, backend)
        rows.append(row)
    return rows


def in_its_own_process(name: str, argv: Sequence[str], backend: str) -> dict[str, Any]:
    """Run this file for one peer; its last line is the row."""
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    if backend:
        environment["KERAS_BACKEND"] = backend
    done = subprocess.run(
        [sys.executable, __file__, name, *argv], env=environment, capture_output=True, text=True, check=False
    )
    try:
        row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"missing": f"failed: {last[:200]}"}
    return row


def measure(name: str, plan: Plan) -> dict[str, Any]:
    """One peer in turns with the bare loop, after an epoch of each that is not counted."""
    member = Member(plan, "bce")
    threads = plan.threads or useful_threads(member.parameters, plan.sizes.batch)
    if hasattr(os, "sched_setaffinity"):  # JAX and TensorFlow do not ask torch how many threads to start
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    with intra_op_threads(threads):
        loop = Loop(plan, "bce", member)
        title, epoch = PEERS[name][0](plan, member.images)
        epoch(1)
        loop.epoch(1)
        seconds, bare = in_turns(epoch, loop.epoch, plan)
    return against_bare(title, seconds, bare) | {"threads": threads}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], plans(arguments(sys.argv[2:]))[0])))
