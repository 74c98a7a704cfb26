"""One member of a comparison: a model trained under one loss from one seed, and its checkpoint file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lossproof.formula.errors import LossproofError
from lossproof.train.adam import Adam
from lossproof.train.store import write_bytes

if TYPE_CHECKING:
    from lossproof.formula.loss import Loss
    from lossproof.models.base import AutoEncoder
    from lossproof.torch.criterion import Criterion
    from lossproof.train.arm import Arm

ADAM = ("step", "exp_avg", "exp_avg_sq")


class Row(NamedTuple):
    """One cell of the results table, without the columns that are the member's own."""

    epoch: int
    split: str
    measure: str
    value: float
    reason: str = ""


@dataclass
class Member:
    """A model, its optimiser and all that is known of its training so far."""

    name: str
    arm: Arm
    seed: int
    beta: float  # weight of the rate in the objective
    model: AutoEncoder
    optimiser: Adam
    criterion: (
        Criterion  # values and derivatives, of (target, raw output); its parameters are this member's own
    )
    checkpoint: Path
    epoch: int = -1  # the last epoch measured; 0 is the untrained model, -1 not even that
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    event: dict[str, Any] | None = None  # why it stopped
    saved: float = 0.0  # monotonic time of the last write
    saving: float = 0.0  # seconds that it took

    @property
    def label(self) -> str:
        """The label of what it is trained under."""
        return self.arm.label

    @property
    def loss(self) -> Loss | None:
        """The loss behind its criterion; None for a decoder's law."""
        return self.arm.loss

    def learned(self, *, own: bool = False) -> Iterator[tuple[str, Tensor]]:
        """All that the optimiser moves, by name: weights (unless `own`), then the criterion's own parameters."""
        if not own:
            yield from self.model.named_parameters()
        for name, parameter in self.criterion.parameters.items():
            yield f"criterion.{name}", parameter

    def state(self, *, own: bool = False) -> dict[str, Tensor]:
        """A copy of the weights, the criterion's parameters and buffers, and Adam's state, flat, by name.

        With `own`, of the criterion's alone.
        """
        tensors = {}
        if not own:
            tensors = {
                f"model.{name}": value.detach().clone() for name, value in self.model.state_dict().items()
            }
        for name, value in (self.criterion.parameters | self.criterion.buffers).items():
            tensors[f"criterion.{name}"] = value.detach().clone()
        for name, parameter in self.learned(own=own):
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{key}"] = value.detach().clone()
        return tensors

    def restore(self, tensors: dict[str, Tensor], *, own: bool = False) -> None:
        """Go back to a state taken by `state`, with the same `own`."""
        if not own:
            self.model.load_state_dict(
                {
                    name.removeprefix("model."): value
                    for name, value in tensors.items()
                    if name.startswith("model.")
                }
            )
        with torch.no_grad():
            for name, value in (self.criterion.parameters | self.criterion.buffers).items():
                value.copy_(tensors[f"criterion.{name}"])
        for name, parameter in self.learned(own=own):
            self.optimiser.state.pop(parameter, None)
            if f"adam.{name}.step" in tensors:
                self.optimiser.state[parameter] = {
                    key: tensors[f"adam.{name}.{key}"].to(parameter.device, copy=True) for key in ADAM
                }

    def save(self) -> None:
        """Write the checkpoint: weights, Adam's state and every row so far, in one file replaced at once."""
        started = time.monotonic()
        progress = {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "event": self.event,
            "rows": [list(column) for column in zip(*self.rows, strict=True)],
        }
        tensors = {name: value.cpu().contiguous() for name, value in self.state().items()}
        write_bytes(self.checkpoint, save(tensors, {"lossproof": json.dumps(progress)}))
        self.saved = time.monotonic()
        self.saving = self.saved - started

    def load(self) -> bool:
        """Take up the state of the checkpoint file; False when there is none yet."""
        if not self.checkpoint.is_file():
            return False
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                progress = json.loads((file.metadata() or {})["lossproof"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            self.restore(tensors)
            columns = progress["rows"]
            self.rows = [Row(*cell) for cell in zip(*columns, strict=True)]
            self.epoch, self.seconds, self.event = progress["epoch"], progress["seconds"], progress["event"]
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
            raise LossproofError(
                f"resume: expected {self.name}'s checkpoint in {self.checkpoint}, cannot read it ({error}). "
                "Delete that file to train this member anew."
            ) from error
        self.saved = time.monotonic()
        return True
