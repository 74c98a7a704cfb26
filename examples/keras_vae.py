"""A convolutional variational autoencoder in Keras 3, on any backend, its reconstruction loss chosen by one word.

KERAS_BACKEND=jax python examples/keras_vae.py --loss bce --data digits --epochs 1
"""

import argparse

import keras
from keras import layers, ops

import lossproof
from lossproof.keras import ReconstructionLoss
from lossproof.keras.callback import MonitorCallback


class VAE(keras.Model):
    """Two strided convolutions each way. The decoder ends in logits: no sigmoid, the loss does that."""

    def __init__(self, height: int, width: int, channels: int, latent: int = 8, seed: int = 1) -> None:
        super().__init__()
        small = (height // 4, width // 4, 32)
        self.encoder = keras.Sequential(
            [
                layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
                layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
                layers.Flatten(),
                layers.Dense(2 * latent),
            ]
        )
        self.decoder = keras.Sequential(
            [
                layers.Dense(small[0] * small[1] * small[2], activation="relu"),
                layers.Reshape(small),
                layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
                layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),
                layers.Conv2D(channels, 3, padding="same"),
            ]
        )
        self.noise = keras.random.SeedGenerator(seed)
        self.rate = keras.metrics.Mean(name="rate")

    def call(self, images, training=False):
        """Logits, mean and log-variance of the code; a code is drawn in training, and is the mean otherwise."""
        mean, logvar = ops.split(self.encoder(images), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.noise) if training else 0.0
        return self.decoder(mean + noise * ops.exp(logvar / 2)), mean, logvar

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """What one training step minimises: distortion + rate, in nats per image. The same on every backend."""
        logits, mean, logvar = y_pred
        rate = -0.5 * ops.mean(ops.sum(1 + logvar - mean**2 - ops.exp(logvar), axis=-1))
        self.rate.update_state(rate)
        return self.distortion(y, logits) + rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", default="bce", help="bce, mse, 'huber(delta=0.1)', or a formula in y and p")
    parser.add_argument("--data", default="digits", help="digits, an MNIST folder, a .npy file, ...")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    images = lossproof.load(args.data)
    train, test = (split.transpose(0, 2, 3, 1) for split in (images.train, images.test))
    _, height, width, channels = train.shape
    if height % 4 or width % 4:
        raise SystemExit(f"this small model wants sides that are multiples of 4, got {height} x {width}")

    model = VAE(height, width, channels, seed=args.seed)
    model.distortion = ReconstructionLoss(args.loss)  # nats per image
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    monitor = MonitorCallback(model.distortion, test[:1000], output=lambda model, x: model(x)[0])

    def show(epoch, logs):
        print(f"epoch {epoch} test: excess {logs['excess']:.3f} (floor {logs['floor']:.3f}), "
              f"rate {logs.get('rate', 0.0):.3f} nats per image, dead pixels {logs['dead_pixels']:.2%}")  # fmt: skip

    show(0, monitor.measure(model))
    printer = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: show(epoch + 1, logs))
    model.fit(
        train, train, batch_size=args.batch_size, epochs=args.epochs, callbacks=[monitor, printer], verbose=0
    )


if __name__ == "__main__":
    main()
