"""One of two gloo processes that train a model with ReconstructionLoss inside DistributedDataParallel.

Prints losses, gradients and weights as JSON. Run by test_ddp.py, which trains alone on the whole batch.
"""

import json
import sys

import torch
from torch import Tensor, nn

from lossproof.torch import ReconstructionLoss

LOSSES = ("bce", "huber(delta=0.25)", "continuous_bernoulli")
IMAGES, PIXELS, STEPS = 6, 5, 3


def batches() -> list[Tensor]:
    """The whole batch of every step."""
    return list(torch.rand(STEPS, IMAGES, PIXELS, generator=torch.Generator().manual_seed(3)))


def fresh() -> nn.Module:
    """The same small autoencoder everywhere."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(PIXELS, 3), nn.Tanh(), nn.Linear(3, PIXELS))


class WithLoss(nn.Module):
    """A model that answers with its loss, as it stands inside DistributedDataParallel."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model, self.loss = fresh(), ReconstructionLoss(name)

    def forward(self, y: Tensor) -> Tensor:
        """Nats per image."""
        return self.loss(self.model(y), y)


def train(wrapped: nn.Module, parts: list[Tensor]) -> dict[str, list[list[float]]]:
    """Losses, gradients of the first step and final weights."""
    optimiser = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    losses, gradients = [], []
    for y in parts:
        optimiser.zero_grad()
        loss = wrapped(y)
        loss.backward()
        gradients = gradients or [p.grad.flatten().tolist() for p in wrapped.parameters()]
        optimiser.step()
        losses.append([loss.item()])
    weights = [p.detach().flatten().tolist() for p in wrapped.parameters()]
    return {"losses": losses, "gradients": gradients, "weights": weights}


def main(rank: int, meet: str) -> None:
    """Half of every batch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    half = [y.chunk(2)[rank] for y in batches()]
    answer = {name: train(nn.parallel.DistributedDataParallel(WithLoss(name)), half) for name in LOSSES}
    torch.distributed.destroy_process_group()
    print(json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
