"""Monitor: one line in a training loop of one's own that says how far the loss is from its floor."""

from math import isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lossproof.lower.watch import (
    DEAD_ERROR,
    DEAD_GRADIENT,
    Alarm,
    check_options,
    describe,
    largest_slope,
    sound,
    summary,
)
from lossproof.torch.kernel import Kernel
from lossproof.torch.loss import ReconstructionLoss

LEVELS_AT_ONCE = 4096  # a search looks at some 800 logits for each grey level


class Step(NamedTuple):
    """What one sampled step adds, on the device: four sums, and the first element that is not finite."""

    sums: Tensor  # loss, floor, dead pixels, elements not finite
    first: Tensor  # target, input, value, gradient there; anything where there is none


class Monitor:
    """Collects excess, floor, dead pixels and non-finite values of a reconstruction loss while a loop trains.

    ``loss`` is a ``ReconstructionLoss`` (its kernel, ``from_logits`` and ``weight`` are taken over) or whatever
    names one. ``monitor(input, target)`` takes what the loss takes, equal shapes (batch, ...), adds to sums on
    the input's device and returns nothing. It does not wait for the device, with two exceptions: the first
    call looks at the target's range, as the loss does, and a loss whose floor has no formula has it searched
    on the host. ``every=N`` looks at one call in N, the first of each epoch among them.

    ``compute()`` returns floats: ``loss``, ``floor``, ``excess`` = loss - floor in nats per image; ``dead_pixels``,
    the share of pixels with |p - y| > 0.1 whose |dl/dz| is below 1e-3 of the loss's largest (with
    ``from_logits=False`` the predictions are taken to come from a sigmoid); ``non_finite``, the number of
    elements where input, target, loss or gradient was not finite; ``images``, how many were looked at. If
    something was not finite it warns (or raises ``LossproofError`` with ``alarm="raise"``, or keeps still with
    ``"off"``), naming the first step and the term. ``reset()`` starts the next epoch; steps count on.

    Under DistributedDataParallel, ``compute(reduce=True)`` adds up all processes; every one must call it.
    In a loop under ``torch.compile``, call it outside the compiled function.

    >>> import torch
    >>> monitor = Monitor("bce")
    >>> target = torch.tensor([[0.2, 1.0]])
    >>> monitor(torch.tensor([[0.0, -20.0]]), target)
    >>> found = monitor.compute()
    >>> round(found["loss"], 4), round(found["floor"], 4), found["dead_pixels"], found["images"]
    (20.6931, 0.5004, 0.0, 1.0)
    """

    def __init__(
        self, loss: object, *, from_logits: bool | None = None, every: int = 1, alarm: Alarm = "warn"
    ) -> None:
        if not isinstance(loss, ReconstructionLoss):
            loss = ReconstructionLoss(loss, from_logits=from_logits is not False)
        self.loss: ReconstructionLoss = loss
        self.from_logits = loss.from_logits if from_logits is None else from_logits
        self.kernel: Kernel = loss.kernel
        self.label = loss.label
        check_options(self.label, every, alarm)
        self.every = every
        self.alarm: Alarm = alarm
        self.dead_below = DEAD_GRADIENT * largest_slope(self.kernel.loss, self._slopes)
        self.steps = 0
        self._floors: dict[float, float] = {}
        self.reset()

    def reset(self) -> None:
        """Forget what was collected; ``steps`` goes on counting."""
        self._calls = 0
        self._images = 0
        self._pixels = 0
        self._sums: Tensor | None = None
        self._first: Tensor | None = None  # step (0: none yet), target, input, value, gradient

    def __repr__(self) -> str:
        return f"Monitor({self.label!r}, every={self.every}, alarm={self.alarm!r}, steps={self.steps})"

    def __call__(self, input: Tensor, target: Tensor) -> None:
        """Add one step. ``input`` (logits, or predictions with ``from_logits=False``) and ``target``: equal shapes."""
        self.steps += 1
        self._calls += 1
        if (self._calls - 1) % self.every:
            return
        loss = self.loss
        loss._check_form(input, target)
        if loss.check == "always" or (loss.check == "first" and not loss._checked):
            loss._check_range(input, target)
        with torch.no_grad():
            self._add(self._look(input.detach(), target.detach()))
        self._images += len(input) if input.ndim else 1
        self._pixels += input.numel()

    def compute(self, *, reduce: bool = False) -> dict[str, float]:
        """What was collected since the last reset, as floats; means are NaN where nothing was.

        ``reduce=True`` adds up all processes of ``torch.distributed`` where it is initialised. Warns or raises
        ``LossproofError`` if something was not finite, as ``alarm`` says.
        """
        rows = self._gather() if reduce else [self._row().tolist()]
        total = [sum(column) for column in zip(*(row[:6] for row in rows), strict=True)]
        found = summary(total[:4], images=total[4], pixels=total[5])
        wrong = [(row[6], rank, row[7:]) for rank, row in enumerate(rows) if row[6] > 0]
        if wrong:
            step, rank, (target, input, value, gradient) = min(wrong)
            what = describe(self.kernel.loss, target, input, value, gradient, self.from_logits)
            process = f" of process {rank}" if len(rows) > 1 else ""
            sound(
                self.alarm,
                f"{self.label}: not finite first at step {step:.0f}{process}: {what}; "
                f"{found['non_finite']:.0f} of {total[5]:.0f} elements since the last reset.",
            )
        return found

    def _look(self, input: Tensor, target: Tensor) -> Step:
        wide = torch.promote_types(input.dtype, torch.float32)
        x, y = input.to(wide), target.to(wide)
        if self.from_logits:
            p, value, gradient = (
                x.sigmoid(),
                self.kernel.value_logits(y, x),
                self.kernel.gradient_logits(y, x),
            )
            slope = gradient
        else:
            p, value, gradient = x, self.kernel.value(y, x), self.kernel.gradient(y, x)
            slope = gradient * (x * (1 - x))
        dead = (slope.abs() < self.dead_below) & ((p - y).abs() > DEAD_ERROR)
        # nothing times 0 is NaN but NaN and infinity: a tenth of the time of four isfinite
        probe = value * 0
        for other in (gradient, x, y):
            probe = probe.add_(other, alpha=0)
        wrong = probe.isnan()
        place = wrong.flatten().to(torch.uint8).argmax().reshape(1)  # the first one; no wait for the device
        first = [a.expand_as(x).flatten().gather(0, place) for a in (y, x, value, gradient)]
        floor = self._floor(y)
        if (weight := self.loss.weight) is not None:
            value, floor = value * weight.to(value), floor * weight.to(floor)
        exact = _exact(x.device)
        totals = [value.sum(dtype=exact), floor.sum(dtype=exact)]
        sums = torch.stack(totals + [mask.count_nonzero().to(exact) for mask in (dead, wrong)])
        return Step(sums, torch.cat(first).to(exact))

    def _add(self, step: Step) -> None:
        seen = torch.where(step.sums[3:] > 0, float(self.steps), 0.0).to(step.sums)
        first = torch.cat([seen, step.first])
        if self._sums is None or self._first is None:
            self._sums, self._first = step.sums, first
            return
        # a new tensor each time: one that was made under inference_mode must not be written to outside it
        self._sums = self._sums.to(step.sums.device) + step.sums
        before = self._first.to(step.sums.device)
        self._first = torch.where(before[:1] > 0, before, first)

    def _floor(self, y: Tensor) -> Tensor:
        if self.kernel.floor is not None:
            return self.kernel.floor(y).expand_as(y)
        from lossproof.lower.function import function

        levels, back = torch.unique(y, return_inverse=True)
        known = levels.tolist()
        new = [v for v in known if v not in self._floors and not isnan(v)]  # a NaN keeps its NaN
        for start in range(0, len(new), LEVELS_AT_ONCE):
            part = new[start : start + LEVELS_AT_ONCE]
            self._floors.update(zip(part, function(self.kernel.loss).floor(part).tolist(), strict=True))
        found = torch.tensor([self._floors.get(v, float("nan")) for v in known], dtype=y.dtype)
        return found.to(y.device)[back]

    def _slopes(self, y: Any, z: Any) -> Any:
        return self.kernel.gradient_logits(torch.from_numpy(y), torch.from_numpy(z)).numpy()

    def _row(self) -> Tensor:
        """All that was collected, as one vector of 11: sums, images, pixels, first."""
        if self._sums is None or self._first is None:
            return torch.zeros(11, dtype=torch.float64)
        counts = torch.tensor([self._images, self._pixels]).to(self._sums)
        return torch.cat([self._sums, counts, self._first])

    def _gather(self) -> list[list[float]]:
        """The rows of all processes, in the order of their ranks."""
        distributed = torch.distributed
        row = self._row()
        if not (distributed.is_available() and distributed.is_initialized()):
            return [row.tolist()]
        if distributed.get_backend() == "nccl":  # a process without steps still has its row on the CPU
            row = row.cuda()
        rows = [torch.empty_like(row) for _ in range(distributed.get_world_size())]
        distributed.all_gather(rows, row)
        return [r.tolist() for r in rows]


def _exact(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
