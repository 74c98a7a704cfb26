"""Workers that are actors of a Ray cluster. Pixels go there once, checkpoints come back as bytes.

No shared file system is needed: a worker keeps the checkpoints of its group in a temporary folder of its machine, and
the coordinator writes each one into the run directory when it arrives.
"""

from __future__ import annotations

import json
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossproof.formula.errors import LossproofError
from lossproof.train.engines.coordinator import Crew, Hand
from lossproof.train.store import write_bytes

if TYPE_CHECKING:
    from lossproof.data import Images
    from lossproof.train.engines.order import Order
    from lossproof.train.engines.trainer import Entry, Message
    from lossproof.train.member import Member

STARTS = 3  # of a cluster on this machine, at most
POLL = 1.0  # seconds that a worker waits for something to say


class Worker:
    """The actor: trains in a thread of its own, and says what happened when it is asked.

    Its methods are called side by side: an order does not wait until somebody who asks has been answered.
    """

    def __init__(self, order: str, train: Any, test: Any) -> None:
        self.said: queue.Queue[Message] = queue.Queue()
        self.asked = threading.Event()
        self.orders: queue.Queue[tuple[list[Entry], dict[str, bytes]]] = queue.Queue()
        threading.Thread(target=self.serve, args=(order, train, test), daemon=True).start()

    def serve(self, order: str, train: Any, test: Any) -> None:
        """Get ready, then train group after group."""
        from lossproof.data.mapped import Mapped
        from lossproof.train.engines.order import Order
        from lossproof.train.engines.trainer import Trainer, failure

        try:
            told = Order.from_json(json.loads(order))
            train, test = (
                Mapped.from_json(json.loads(p)) if isinstance(p, str) else p for p in (train, test)
            )
            trainer = Trainer(told, told.with_pixels(train, test))
        except Exception as error:
            self.said.put(failure(error))
            return
        self.said.put({"kind": "ready", "cpu": time.process_time()})
        while True:
            roster, checkpoints = self.orders.get()
            with tempfile.TemporaryDirectory(prefix="lossproof-") as folder:
                for name, content in checkpoints.items():
                    (Path(folder) / f"{name}.safetensors").write_bytes(content)
                trainer.train(
                    roster, Path(folder), lambda message: self.say(message, folder), self.asked.is_set
                )

    def say(self, message: Message, folder: str) -> None:
        """Keep a message until it is asked for; a checkpoint's bytes go with it."""
        if message["kind"] == "saved":
            content = (Path(folder) / f"{message['member']}.safetensors").read_bytes()
            message = {**message, "content": content}
        self.said.put(message)

    def begin(self, roster: list[Entry], checkpoints: dict[str, bytes]) -> None:
        """Train a group, from these checkpoints."""
        self.orders.put((roster, checkpoints))

    def stop(self) -> None:
        """Stop after the present epoch."""
        self.asked.set()

    def poll(self) -> list[Message]:
        """What there is to say, waiting a while for the first of it."""
        found: list[Message] = []
        with suppress(queue.Empty):
            found.append(self.said.get(timeout=POLL))
            while True:
                found.append(self.said.get_nowait())
        return found

    def process(self) -> int:
        """The number of its process, for those who look after the machine."""
        return os.getpid()


class Actors(Crew):
    """Workers on a Ray cluster: that at an address, the one this process is in already, or a new one on this machine.

    Each takes as many CPUs as a member has threads, and a GPU where members are trained on one. Raises
    `LossproofError` where Ray is not installed or the cluster cannot be reached.
    """

    def __init__(
        self, order: Order, images: Images, checkpoints: Path, *, address: str | None, workers: int | None
    ) -> None:
        try:
            import ray
        except ImportError:
            raise LossproofError(
                "engine: expected Ray for engine ray, it is not installed. Install lossproof[ray], "
                "or use engine local with workers."
            ) from None
        self.ray, self.checkpoints = ray, checkpoints
        self.started = False
        if not ray.is_initialized():
            connect(ray, address, None if workers is None else workers * order.threads)
            self.started = True
        self.gpus = 1 if order.settings.device.startswith("cuda") else 0
        offered = ray.cluster_resources()
        fitting = int(offered.get("CPU", 0) // order.threads)
        if self.gpus:
            fitting = min(fitting, int(offered.get("GPU", 0)))
        # a cluster that grows on demand offers more once it is asked for more
        self.workers = max(1, fitting if workers is None else workers)
        self.needs = f"a worker with {order.threads} CPUs and {self.gpus} GPUs on one machine of the cluster"
        self.options = {
            "num_cpus": order.threads,
            "num_gpus": self.gpus,
            "max_restarts": 0,
            "max_concurrency": 2,
        }
        self.folder = tempfile.TemporaryDirectory(prefix="lossproof-")
        self.told = (
            ray.put(json.dumps(order.to_json())),
            ray.put(self.sent(images.train, "train")),
            ray.put(self.sent(images.test, "test")),
        )
        self.polls: dict[Any, Actor] = {}
        self.hired = 0

    def sent(self, images: Any, name: str) -> Any:
        """Pixels, for the object store; of those that stay on disk where they are, for workers that see that file."""
        from lossproof.data.mapped import Mapped

        if isinstance(images, Mapped):
            return json.dumps(images.to_json(Path(self.folder.name), name))
        return images

    def hire(self) -> Actor:
        """Ask the cluster for an actor; it is there once the cluster has room."""
        self.hired += 1
        actor = Actor(self, f"worker {self.hired}")
        self.polls[actor.handle.poll.remote()] = actor
        return actor

    def hear(self, seconds: float) -> list[tuple[Hand, Message]]:
        """What the actors said when they were asked; they are asked again at once."""
        found: list[tuple[Hand, Message]] = []
        if not self.polls:
            return found
        ready, _ = self.ray.wait(list(self.polls), num_returns=1, timeout=seconds)
        if ready:  # and what else is there
            ready, _ = self.ray.wait(list(self.polls), num_returns=len(self.polls), timeout=0)
        for poll in ready:
            actor = self.polls.pop(poll)
            try:
                said = self.ray.get(poll)
            except self.ray.exceptions.RayError as error:
                found.append((actor, {"kind": "lost", "error": why(error)}))
                continue
            self.polls[actor.handle.poll.remote()] = actor
            found += [(actor, message) for message in said]
        return found

    def take(self, member: Member, message: Message) -> None:
        """Write a checkpoint that arrived."""
        write_bytes(member.checkpoint, message["content"])

    def forget(self, actor: Actor) -> None:
        """Listen no more to an actor."""
        self.polls = {poll: other for poll, other in self.polls.items() if other is not actor}

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self.polls.clear()
        self.told = ()  # type: ignore[assignment]
        self.folder.cleanup()
        if self.started:
            self.ray.shutdown()


class Actor(Hand):
    """An actor, as the coordinator sees it."""

    def __init__(self, crew: Actors, name: str) -> None:
        self.crew, self.name = crew, name
        self.handle = crew.ray.remote(Worker).options(**crew.options).remote(*crew.told)

    def begin(self, roster: Sequence[Entry]) -> None:
        """Train a group, from the checkpoints in the run directory."""
        checkpoints = {}
        for name, *_ in roster:
            path = self.crew.checkpoints / f"{name}.safetensors"
            if path.is_file():
                checkpoints[name] = path.read_bytes()
        self.handle.begin.remote(list(roster), checkpoints)

    def stop(self) -> None:
        """Stop after the present epoch."""
        self.handle.stop.remote()

    def dismiss(self) -> None:
        """End it; what it may still say is not listened to."""
        self.crew.forget(self)
        with suppress(self.crew.ray.exceptions.RayError):
            self.crew.ray.kill(self.handle)


def connect(ray: Any, address: str | None, cpus: int | None) -> None:
    """Join the cluster at an address, or start one on this machine."""
    where: dict[str, Any] = (
        {"num_cpus": cpus, "include_dashboard": False} if address is None else {"address": address}
    )
    # Ray gives a new cluster half a minute, which is too little on a machine busy with other work
    for left in reversed(range(STARTS if address is None else 1)):
        try:
            with unreported():
                ray.init(log_to_driver=False, configure_logging=False, **where)
            return
        except Exception as error:
            if left:
                ray.shutdown()
                continue
            raise LossproofError(
                f"engine: expected a Ray cluster at {address or 'this machine'}, got none "
                f"({type(error).__name__}: {error}). Start one with `ray start --head`, or give its address."
            ) from error


@contextmanager
def unreported() -> Iterator[None]:
    """Ray reports its use to its makers unless it is told not to when it starts."""
    name = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def why(error: Exception) -> str:
    """The first line of what Ray says of a lost actor that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


__all__ = ["Actor", "Actors", "Worker"]
