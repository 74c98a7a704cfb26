"""Adam by torch's fused step, for members and for stacks of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

BETAS, EPS = (0.9, 0.999), 1e-8


class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980), number for number that of `torch.optim.Adam(..., fused=True)`.

    torch's own brings in the compiler when it is made, more than a second of every start, and looks through all
    parameters at each step. Groups and state are laid out as torch's are: `param_groups` are dictionaries with `params`
    and `lr`, `state` holds `step`, `exp_avg` and `exp_avg_sq` of each parameter that has moved.

    >>> weight = torch.zeros(2, requires_grad=True)
    >>> adam = Adam([{"params": [weight]}], lr=0.1)
    >>> weight.grad = torch.tensor([3.0, -1.0])
    >>> adam.step()
    >>> weight.detach()
    tensor([-0.1000,  0.1000])
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]], lr: float) -> None:
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self.param_groups = [
            {"lr": lr, "betas": BETAS, "eps": EPS, "weight_decay": 0.0, **group} for group in groups
        ]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            states = [self.state.get(parameter) or self.begin(parameter) for parameter in moved]
            fused_step(
                group,
                [parameter.detach() for parameter in moved],
                [parameter.grad for parameter in moved],
                *([state[key] for state in states] for key in ("exp_avg", "exp_avg_sq", "step")),
            )

    def begin(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter that has not moved yet."""
        self.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
        }
        return self.state[parameter]


def fused_step(
    group: Mapping[str, Any],
    parameters: list[Tensor],
    gradients: list[Tensor],
    averages: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    """One step with the settings of a parameter group, on these tensors, none of which asks for a gradient."""
    beta1, beta2 = group["betas"]
    torch._foreach_add_(steps, 1)
    # what torch.optim.adam.adam calls after sorting tensors by device, which takes as long as a small step
    torch._fused_adam_(
        parameters, gradients, averages, squares, [], steps,
        amsgrad=False, maximize=False, beta1=beta1, beta2=beta2,
        lr=group["lr"], weight_decay=group["weight_decay"], eps=group["eps"],
    )  # fmt: skip


__all__ = ["Adam", "fused_step"]
