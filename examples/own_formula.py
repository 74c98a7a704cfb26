"""A loss of one's own, given as a formula, trained from logits in torch: its floor and its source are shown.

python examples/own_formula.py --loss "(y-p)**2/(p*(1-p))" --epochs 1
"""

import argparse

import numpy as np
import torch
from torch import nn

import lossproof
from lossproof.torch import Monitor, ReconstructionLoss, kernel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--loss", default="(y-p)**2/(p*(1-p))", help="a formula in the target y and prediction p"
    )
    parser.add_argument("--data", default="digits", help="digits, an MNIST folder, a .npy file, ...")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    print(f"loss(y, p) = {args.loss}, as torch runs it:\n\n{kernel(args.loss).source}")
    targets = np.array([0.0, 0.25, 0.5, 1.0])
    for y, floor in zip(targets, lossproof.loss(args.loss).floor(targets), strict=True):
        print(f"floor at y = {y:g}: {floor:.6g}")
    loss = ReconstructionLoss(args.loss)  # takes logits, nats per image

    torch.manual_seed(args.seed)
    images = lossproof.load(args.data)
    train = torch.from_numpy(images.train).flatten(1)
    test = torch.from_numpy(images.test).flatten(1)
    pixels = train.shape[1]
    model = nn.Sequential(
        nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 16), nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, pixels)
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    monitor = Monitor(loss)

    for epoch in range(args.epochs + 1):
        if epoch > 0:
            for batch in train[torch.randperm(len(train))].split(args.batch_size):
                optimizer.zero_grad()
                loss(model(batch), batch).backward()
                optimizer.step()
        with torch.no_grad():
            monitor(model(test), test)
        found = monitor.compute()
        monitor.reset()
        print(f"epoch {epoch} test: excess {found['excess']:.3f} (loss {found['loss']:.3f}, floor "
              f"{found['floor']:.3f}) nats per image, not finite {found['non_finite']:.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
