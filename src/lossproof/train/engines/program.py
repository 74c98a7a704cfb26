"""What a worker process runs: `python -m lossproof.train.engines.program FOLDER`, FOLDER as `Processes` makes it.

It reads orders from standard input and writes messages to standard output, a JSON line each. When its input ends,
its coordinator has ended, and so does it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: str) -> None:
    """Serve until the input ends."""
    # what others print must not stand between the messages
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(message: dict[str, Any]) -> None:
        with lock:
            out.write(json.dumps(message) + "\n")
            out.flush()

    asked = threading.Event()
    orders = Orders(asked)
    from lossproof.train.engines.trainer import Trainer, failure

    try:
        trainer, checkpoints = open_folder(Path(folder), Trainer)
    except Exception as error:
        tell(failure(error))
        return
    tell({"kind": "ready", "cpu": time.process_time()})
    for order in orders:
        trainer.train(order["roster"], checkpoints, tell, asked.is_set)


def open_folder(folder: Path, make: Callable[..., Any]) -> tuple[Any, Path]:
    """The trainer, and where checkpoints are."""
    from lossproof.data.mapped import Mapped
    from lossproof.train.engines.order import Order

    told = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    order = Order.from_json(told["order"])
    # copy on write: the pages are shared by all workers as long as nobody writes, and nobody does
    train, test = (
        np.load(folder / f"{split}.npy", mmap_mode="c") if place is None else Mapped.from_json(place)
        for split, place in told["pixels"].items()
    )
    return make(order, order.with_pixels(train, test)), Path(told["checkpoints"])


class Orders:
    """The groups to train, one after the other; a stop sets `asked`, also in the middle of a group."""

    def __init__(self, asked: threading.Event) -> None:
        self.asked = asked
        self.lines: list[dict[str, Any]] = []
        self.more = threading.Semaphore(0)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        """Read orders in a thread of its own."""
        for line in sys.stdin.buffer:
            order = json.loads(line)
            if order["do"] == "stop":
                self.asked.set()
            else:
                self.lines.append(order)
                self.more.release()
        os._exit(0)  # the coordinator is gone: checkpoints are whole at any moment

    def __iter__(self) -> Orders:
        return self

    def __next__(self) -> dict[str, Any]:
        self.more.acquire()
        return self.lines.pop(0)


if __name__ == "__main__":
    main(sys.argv[1])
