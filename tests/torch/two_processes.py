"""One of two gloo processes; prints what its Monitor found, as JSON. Run by test_monitor.py."""

import json
import sys
import warnings

import torch

from lossproof.torch.monitor import Monitor


def batch(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 1, 4, 3, generator=g) * 4.0
    return z, torch.rand(z.shape, generator=g)


def main(rank: int, meet: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)
    monitor = Monitor("mse")
    monitor(*batch(4 + 2 * rank, rank))
    answer = {"reduced": monitor.compute(reduce=True), "local": monitor.compute()}

    z, y = batch(2, 9)
    if rank == 1:
        z[0, 0, 0, 0] = float("inf")
    monitor(z, y)
    monitor(torch.full_like(z, float("nan")), y)  # later, and on both: not the first
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monitor.compute(reduce=True)
    answer["message"] = str(caught[0].message)

    silent = Monitor("mse")
    if rank == 0:
        silent(*batch(3, 5))
    answer["one_silent"] = silent.compute(reduce=True)
    torch.distributed.destroy_process_group()
    print(json.dumps(answer))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
