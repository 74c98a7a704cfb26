"""A Lightning callback that logs excess, floor, dead pixels and non-finite values of each epoch."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from lossproof.formula import LossproofError
from lossproof.lower.watch import Alarm
from lossproof.torch.monitor import Monitor

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:  # pragma: no cover - needs an environment without lightning
    try:
        from pytorch_lightning import Callback
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "lossproof.torch.lightning needs Lightning: pip install lightning"
        ) from error

NAMES = {"loss": "nats_per_image", "excess": "excess", "floor": "floor", "dead_pixels": "dead_pixels",
         "non_finite": "non_finite"}  # fmt: skip


class MonitorCallback(Callback):
    """Logs, at the end of each epoch, what a ``Monitor`` collected in its training and validation steps.

    ``MonitorCallback(loss)``: ``training_step`` returns ``{"loss": ..., "logits": ...}`` (``outputs`` names the key,
    or is a function of what the step returned), and ``target(batch)`` gives the images; by default the batch, or
    its first part where the batch is a tuple or list. ``validation_step`` is watched too if it returns the key.

    ``MonitorCallback()``: the module makes ``self.monitor = Monitor(loss)`` and calls ``self.monitor(logits, target)``
    in its ``training_step``; the callback logs and resets it.

    Logged are ``train_nats_per_image`` (the loss), ``train_excess``, ``train_floor``, ``train_dead_pixels``,
    ``train_non_finite``, and the same with ``val_``, over all processes; ``Monitor`` says what they mean.

    Raises ``LossproofError`` where the logits are not to be had from the training step.
    """

    def __init__(
        self,
        loss: object = None,
        *,
        target: Callable[[Any], Tensor] | None = None,
        outputs: str | Callable[[Any], Tensor] = "logits",
        every: int = 1,
        alarm: Alarm = "warn",
    ) -> None:
        super().__init__()
        self.target = target or _images
        self.outputs = outputs
        self.monitors: dict[str, Monitor] = {}
        if loss is not None:
            self.monitors = {stage: Monitor(loss, every=every, alarm=alarm) for stage in ("train", "val")}

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a training step."""
        if self.monitors:
            self.monitors["train"](self._logits(outputs), self.target(batch))

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add a validation step, if it returned the logits."""
        if not self.monitors or trainer.sanity_checking or outputs is None:
            return
        if isinstance(self.outputs, str) and not (isinstance(outputs, dict) and self.outputs in outputs):
            return
        self.monitors["val"](self._logits(outputs), self.target(batch))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the training steps of the epoch."""
        monitor = self.monitors.get("train") or getattr(pl_module, "monitor", None)
        if not isinstance(monitor, Monitor):
            raise LossproofError(
                f"MonitorCallback: expected a loss, or {type(pl_module).__name__}.monitor as a Monitor, got "
                f"{type(monitor).__name__}. Write MonitorCallback(loss), or self.monitor = Monitor(loss) in __init__."
            )
        _log(pl_module, "train", monitor)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the validation steps, if there were any to look at."""
        if self.monitors:  # every process asks: whether there was anything is known only together
            _log(pl_module, "val", self.monitors["val"])

    def _logits(self, outputs: Any) -> Tensor:
        if callable(self.outputs):
            return self.outputs(outputs)
        if isinstance(outputs, dict) and isinstance(outputs.get(self.outputs), Tensor):
            return outputs[self.outputs]
        got = (
            f"a dict of {', '.join(map(str, outputs))}"
            if isinstance(outputs, dict)
            else type(outputs).__name__
        )
        raise LossproofError(
            f"MonitorCallback: expected the step to return a dict with a tensor {self.outputs!r}, got {got}. "
            f'Return {{"loss": loss, "{self.outputs}": logits}}, or call self.monitor(logits, target) in the step.'
        )


def _images(batch: Any) -> Tensor:
    return batch[0] if isinstance(batch, list | tuple) else batch


def _log(module: Any, stage: str, monitor: Monitor) -> None:
    found = monitor.compute(reduce=True)
    monitor.reset()
    if found["images"]:
        module.log_dict({f"{stage}_{name}": found[key] for key, name in NAMES.items()}, sync_dist=True)
