"""A fit with the monitoring callback on the backend of the environment; prints what came out as JSON.

Run by test_callback.py: a process has one backend.
"""

import csv
import json
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from lossproof.keras import ReconstructionLoss
from lossproof.keras.callback import MonitorCallback

PIXELS = 6


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, PIXELS)).astype("float32")


def constant_model(bias: np.ndarray) -> keras.Model:
    """Logits that do not depend on the input: the numbers are known."""
    model = keras.Sequential([keras.Input((PIXELS,)), keras.layers.Dense(PIXELS)])
    model.layers[-1].set_weights([np.zeros((PIXELS, PIXELS)), bias])
    model.compile(keras.optimizers.SGD(0.0), loss=ReconstructionLoss("mse"))
    return model


def main(folder: Path) -> None:
    x = images(10)
    bias = np.array([-20.0, -9.0, -1.0, 0.0, 9.0, 20.0])
    answer = {"backend": keras.backend.backend()}

    model = constant_model(bias)
    monitor = MonitorCallback(model.loss, x, batch_size=4)
    callbacks = [monitor, keras.callbacks.CSVLogger(str(folder / "log.csv"))]
    if keras.backend.backend() == "tensorflow" and find_spec("tensorboard"):
        callbacks.append(keras.callbacks.TensorBoard(str(folder / "board")))
    history = model.fit(x, x, epochs=2, callbacks=callbacks, verbose=0)
    answer["history"] = {name: [float(v) for v in values] for name, values in history.history.items()}
    answer["csv"] = list(csv.DictReader((folder / "log.csv").read_text().splitlines()))
    answer["board"] = tags(folder / "board")
    answer["measure"] = monitor.measure(model)

    trained = constant_model(np.zeros(PIXELS))
    trained.compile(keras.optimizers.Adam(0.1), loss=ReconstructionLoss("bce"))
    after = MonitorCallback("bce", x, prefix="val_")
    history = trained.fit(x, x, epochs=3, callbacks=[after], verbose=0)
    answer["falls"] = [float(v) for v in history.history["val_excess"]]
    answer["now"] = after.measure(trained)["excess"]  # of the weights that the last epoch left

    odd = MonitorCallback(
        "mse", x, output=lambda model, x: keras.ops.sigmoid(model(x)), from_logits=False, every=2
    )
    history = model.fit(x, x, epochs=3, callbacks=[odd], verbose=0)
    answer["sigmoid"] = {name: [float(v) for v in values] for name, values in history.history.items()}

    bias[1] = np.nan
    broken = constant_model(bias)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = broken.fit(x, x, epochs=2, callbacks=[MonitorCallback("mse", x)], verbose=0)
    answer["messages"] = [str(w.message) for w in caught if "not finite" in str(w.message)]
    answer["non_finite"] = [float(v) for v in history.history["non_finite"]]
    print(json.dumps(answer))


def tags(folder: Path) -> list[str]:
    """The names of the scalars in TensorBoard's files."""
    if not folder.exists():
        return []
    import tensorflow as tf

    files = [str(path) for path in folder.rglob("events*")]
    events = [event for file in files for event in tf.compat.v1.train.summary_iterator(file)]
    return sorted({value.tag for event in events for value in event.summary.value})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
