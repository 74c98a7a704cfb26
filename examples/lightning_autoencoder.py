"""An autoencoder in Lightning, its reconstruction loss chosen by one word, its excess in the logs.

python examples/lightning_autoencoder.py --loss mse --data digits --epochs 1
"""

import argparse

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

import lossproof
from lossproof.torch import ReconstructionLoss
from lossproof.torch.lightning import MonitorCallback


class Autoencoder(lightning.LightningModule):
    """Dense, with a narrow code. The decoder ends in logits: no sigmoid, the loss does that."""

    def __init__(self, pixels: int, loss: ReconstructionLoss, hidden: int = 256, latent: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))
        self.loss = loss

    def training_step(self, images, index):
        logits = self.decoder(self.encoder(images)).view_as(images)
        return {"loss": self.loss(logits, images), "logits": logits}

    def validation_step(self, images, index):
        return {"logits": self.decoder(self.encoder(images)).view_as(images)}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Show(lightning.Callback):
    """Print what was logged."""

    def on_validation_epoch_end(self, trainer, module):
        self.line(trainer, "val")

    def on_train_epoch_end(self, trainer, module):
        self.line(trainer, "train")

    def line(self, trainer, stage):
        found = {name.removeprefix(f"{stage}_"): float(value) for name, value in trainer.callback_metrics.items()
                 if name.startswith(f"{stage}_")}  # fmt: skip
        name = f"epoch {trainer.global_step // trainer.num_training_batches} {stage}"
        print(f"{name}: excess {found['excess']:.3f} (loss {found['nats_per_image']:.3f}, floor "
              f"{found['floor']:.3f}) nats per image, dead pixels {found['dead_pixels']:.2%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", default="bce", help="bce, mse, 'huber(delta=0.1)', or a formula in y and p")
    parser.add_argument("--data", default="digits", help="digits, an MNIST folder, a .npy file, ...")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    lightning.seed_everything(args.seed)
    images = lossproof.load(args.data)
    train, test = torch.from_numpy(images.train), torch.from_numpy(images.test)
    model = Autoencoder(train[0].numel(), ReconstructionLoss(args.loss))
    trainer = lightning.Trainer(
        max_epochs=args.epochs,
        callbacks=[MonitorCallback(model.loss), Show()],
        accelerator="auto",
        devices=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    validation = DataLoader(test, batch_size=256)
    trainer.fit(model, DataLoader(train, batch_size=args.batch_size, shuffle=True), validation)


if __name__ == "__main__":
    main()
