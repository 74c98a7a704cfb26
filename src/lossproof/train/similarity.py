"""Structural similarity of images, its two-dimensional window taken as two products of matrices."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from lossproof.formula.errors import LossproofError

C1, C2 = 0.01**2, 0.03**2  # of Wang et al., for values in [0, 1]
SMALL = 144  # pixels of an image that is averaged by one product


class Similarity:
    """SSIM (Wang et al. 2004, DOI 10.1109/TIP.2003.819861) of images in [0, 1], over a window, with mirrored edges.

    `window` is "gaussian KxK, sigma S" or "uniform KxK". Both are products of a column and a row, so the window's
    mean of every place is A X B with band matrices A and B: a hundredth of the work of a convolution with K x K.

    >>> similar = Similarity("uniform 3x3", 4, 5)
    >>> similar(torch.ones(2, 1, 4, 5), torch.ones(2, 1, 4, 5)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, window: str, height: int, width: int) -> None:
        found = re.fullmatch(r"(gaussian|uniform) (\d+)x\2(?:, sigma ([\d.]+))?", window)
        if found is None:
            raise LossproofError(
                f"ssim: expected a window as 'gaussian 11x11, sigma 1.5' or 'uniform 5x5', got {window!r}."
            )
        side, sigma = int(found[2]), float(found[3] or 1)
        line = torch.ones(side, dtype=torch.float64)
        if found[1] == "gaussian":
            line = torch.exp(-0.5 * ((torch.arange(side, dtype=line.dtype) - side // 2) / sigma) ** 2)
        line = line / line.sum()
        down, along = band(line, height), band(line, width)
        self.bands = down, along.T.contiguous()
        # of a small image, all of it at once is quicker than many small products
        self.whole = torch.kron(down, along).T.contiguous() if height * width <= SMALL else None

    def blurred(self, images: Tensor) -> Tensor:
        """The window's mean at every place, (..., h, w), in memory of its own."""
        if self.whole is not None:
            return (images.flatten(-2) @ self.whole.to(images)).view(images.shape)
        down, along = self.bands
        return down.to(images) @ (images @ along.to(images))

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean over places and channels: (..., c, h, w), `target` broadcast -> (...,)."""
        p, y = self.blurred(prediction), self.blurred(target)
        both = p * y
        covariance = self.blurred(prediction * target).sub_(both)
        squares = p.square_().add_(y.square())
        variances = self.blurred(prediction.square().add_(target.square())).sub_(squares)
        above = both.mul_(2).add_(C1).mul_(covariance.mul_(2).add_(C2))
        below = squares.add_(C1).mul_(variances.add_(C2))
        return above.div_(below).mean((-3, -2, -1))


def band(line: Tensor, size: int) -> Tensor:
    """The matrix (size, size) that takes the mean around each place, with mirrored ends.

    >>> band(torch.tensor([0.25, 0.5, 0.25]), 3).tolist()
    [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [0.0, 0.5, 0.5]]
    """
    made = torch.zeros(size, size, dtype=torch.float64)
    for place in range(size):
        for offset, weight in enumerate(line.tolist(), start=place - len(line) // 2):
            made[place, size - 1 - abs(size - 1 - abs(offset))] += weight
    return made


__all__ = ["Similarity"]
