"""A variational autoencoder (784-400-20 on MNIST) in plain torch, its reconstruction loss chosen by one word.

python examples/pytorch_vae.py --loss bce --data digits --epochs 1
"""

import argparse

import torch
from torch import nn

import lossproof
from lossproof.torch import Monitor, ReconstructionLoss


class VAE(nn.Module):
    """Dense, with a diagonal Gaussian code. The decoder ends in logits: no sigmoid, the loss does that."""

    def __init__(self, pixels: int, hidden: int = 400, latent: int = 20) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU())
        self.mean = nn.Linear(hidden, latent)
        self.logvar = nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, images):
        features = self.encoder(images)
        mean, logvar = self.mean(features), self.logvar(features)
        code = mean + torch.randn_like(mean) * torch.exp(logvar / 2)
        return self.decoder(code).view_as(images), mean, logvar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", default="bce", help="bce, mse, 'huber(delta=0.1)', or a formula in y and p")
    parser.add_argument("--data", default="digits", help="digits, an MNIST folder, a .npy file, ...")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = lossproof.load(args.data)
    train = torch.from_numpy(images.train).to(device)
    test = torch.from_numpy(images.test).to(device)

    model = VAE(train[0].numel()).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = ReconstructionLoss(args.loss)  # nats per image
    monitor = Monitor(loss)

    def report(name, rate):
        found = monitor.compute()
        monitor.reset()
        print(f"{name}: excess {found['excess']:.3f} (loss {found['loss']:.3f}, floor {found['floor']:.3f}), "
              f"rate {rate:.3f} nats per image, dead pixels {found['dead_pixels']:.2%}")  # fmt: skip

    for epoch in range(args.epochs + 1):
        if epoch > 0:
            model.train()
            for batch in train[torch.randperm(len(train), device=device)].split(args.batch_size):
                logits, mean, logvar = model(batch)
                rate = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum() / len(batch)
                distortion = loss(logits, batch)
                optimizer.zero_grad()
                (distortion + rate).backward()
                optimizer.step()
                monitor(logits, batch)
            report(f"epoch {epoch} train", rate.item())

        model.eval()
        with torch.no_grad():
            logits, mean, logvar = model(test)
            monitor(logits, test)
            rate = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum() / len(test)
        report(f"epoch {epoch} test", rate.item())


if __name__ == "__main__":
    main()
