"""The images of each batch: taken from a tensor on the device, or read ahead from data larger than the memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lossproof.data.mapped import Mapped

if TYPE_CHECKING:
    from numpy.typing import NDArray

READERS = 2  # threads that wait for the disk
AHEAD = 8  # batches that are read before they are asked for


class Streamed:
    """Images (n, c, h, w) on disk, as a tensor where the training looks at one: its device, its shape, rows by number."""

    def __init__(self, images: Mapped, device: torch.device | str) -> None:
        self.images, self.device = images, torch.device(device)
        self.shape = images.shape

    def __len__(self) -> int:
        return len(self.images)

    def read(self, numbers: NDArray[np.int64]) -> Tensor:
        """The images of these numbers, on the CPU."""
        return torch.from_numpy(self.images[numbers])

    def index_select(self, dim: int, numbers: Tensor) -> Tensor:
        """The images of these numbers, read now; `dim` is 0."""
        assert dim == 0
        return self.read(numbers.cpu().numpy()).to(self.device)

    def ahead(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """The images of these numbers, batch after batch, read in threads while the batches before are worked on."""
        coming: deque[Future[Tensor]] = deque()
        with ThreadPoolExecutor(READERS, thread_name_prefix="lossproof-reader") as readers:
            try:
                for numbers in indices:
                    coming.append(readers.submit(self.read, numbers.cpu().numpy()))
                    if len(coming) > AHEAD:
                        yield coming.popleft().result().to(self.device)
                while coming:
                    yield coming.popleft().result().to(self.device)
            finally:  # whoever stops in the middle waits for no more than what is being read
                for batch in coming:
                    batch.cancel()


Pixels: TypeAlias = Tensor | Streamed


def pixels_of(images: NDArray[np.float32] | Mapped, device: torch.device | str) -> Pixels:
    """The images on the device; those that stay on disk, by a name for it."""
    if isinstance(images, Mapped):
        return Streamed(images, device)
    return torch.from_numpy(np.ascontiguousarray(images)).to(device)


def shown(
    images: Pixels, indices: Iterable[Tensor], room: Callable[..., Tensor] | None = None
) -> Iterator[Tensor]:
    """The images of these numbers, batch after batch: (n, c, h, w) on the device.

    `room` gives a tensor of a shape that may be written over by the next batch.
    """
    if isinstance(images, Streamed):
        yield from images.ahead(indices)
        return
    for numbers in indices:
        if room is None:
            yield images.index_select(0, numbers)
        else:
            yield torch.index_select(images, 0, numbers, out=room(len(numbers), *images.shape[1:]))


__all__ = ["Pixels", "Streamed", "pixels_of", "shown"]
