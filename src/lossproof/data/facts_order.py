"""What a random split would leak: equal and nearly equal images, and an order in which neighbours are alike."""

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lossproof.data.images import Array

SIDE = 8  # thumbnails are at most 8 x 8
LAGS = (1, 2, 4, 8, 16)
KEPT = 50_000  # images remembered for the search for duplicates
BLOCK = 500  # of them that are held against all earlier ones at a time
NEAR = (
    0.02  # of the root mean square distance between two images drawn at random, or of contrast like one's own
)
_PRIME = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Order:
    """What the order and the repetitions of the images say.

    ``distances``: lag -> mean squared distance of thumbnails that many places apart, as a share of the distance of two
    images drawn at random (1: no order). ``film``: neighbours are far more alike than images further apart;
    ``sorted``: neighbours are alike, and no less so further on (classes or persons one after the other).
    ``equal`` and ``near`` are shares of the images looked at that repeat an earlier one, exactly or nearly;
    ``across``: how many of those stand in the test part and repeat one of the train part. ``looked_at`` counts them.
    """

    distances: dict[int, float]
    film: bool
    sorted: bool
    equal: float
    near: float
    across: int
    looked_at: int

    @property
    def leaks(self) -> bool:
        """Whether a random split would put nearly the same image into train and test."""
        return self.film or self.equal + self.near > 0.01


class OrderPass:
    """Feeds on blocks in the source's order."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.recent: deque[npt.NDArray[np.float64]] = deque(maxlen=LAGS[-1])
        self.squares = dict.fromkeys(LAGS, 0.0)
        self.pairs = dict.fromkeys(LAGS, 0)
        self.count = 0
        self.mean: npt.NDArray[np.float64] | None = None
        self.scatter = 0.0
        self.keep = np.uint64(0)  # images are remembered while hash & keep == 0
        self.exact: dict[int, tuple[bool, int]] = {}  # bytes -> test part, look
        self.looks: list[
            tuple[npt.NDArray[np.float32], bool, int]
        ] = []  # thumbnail, test part, hash of the look
        self.equal = self.across = self.looked_at = 0

    def feed(self, images: Array, part: str) -> None:
        """Take images (n, c, h, w), finite, as stored."""
        thumbs = thumbnails(images)
        for lag in LAGS:
            before = list(self.recent)[-lag:]
            joined = np.concatenate([np.array(before).reshape(len(before), thumbs.shape[1]), thumbs])
            if len(joined) > lag:
                self.squares[lag] += float(((joined[lag:] - joined[:-lag]) ** 2).sum())
                self.pairs[lag] += len(joined) - lag
        self.recent.extend(thumbs[-LAGS[-1] :].copy())
        self._moments(thumbs)
        self._repeats(images, thumbs, part == "test")

    def _moments(self, thumbs: npt.NDArray[np.float64]) -> None:
        n, mean = len(thumbs), thumbs.mean(axis=0)
        scatter = float(((thumbs - mean) ** 2).sum())
        if self.mean is None:
            self.mean, self.scatter, self.count = mean, scatter, n
            return
        gap = mean - self.mean
        total = self.count + n
        self.scatter += scatter + float((gap**2).sum()) * self.count * n / total
        self.mean = self.mean + gap * n / total
        self.count = total

    def _repeats(self, images: Array, thumbs: npt.NDArray[np.float64], test: bool) -> None:
        exact = _hash_rows(np.ascontiguousarray(images).reshape(len(images), -1))
        alike = _hash_bits(thumbs)
        for i in range(len(images)):
            if alike[i] & self.keep:
                continue
            self.looked_at += 1
            one, key = int(exact[i]), int(alike[i])
            if one in self.exact:
                self.equal += 1
                self.across += test and not self.exact[one][0]
                continue
            self.exact[one] = (test, key)
            self.looks.append((thumbs[i].astype(np.float32), test, key))  # a view would keep the whole block
            if len(self.exact) > KEPT:
                self._thin()

    def _thin(self) -> None:
        """Remember every other image from here on, chosen by its look: repetitions of one keep together."""
        self.keep = (self.keep << np.uint64(1)) | np.uint64(1)
        keep = int(self.keep)
        self.looks = [look for look in self.looks if not look[2] & keep]
        self.exact = {one: value for one, value in self.exact.items() if not value[1] & keep}

    def result(self) -> Order:
        """What was found; distances are NaN for fewer than two images or equal ones."""
        random = 2 * self.scatter / max(1, self.count - 1)
        distances = {
            lag: self.squares[lag] / self.pairs[lag] / random
            for lag in LAGS
            if self.pairs[lag] >= 8 and random > 0
        }
        near, across = self._near(random)
        first, last = distances.get(1, np.nan), distances.get(LAGS[-1], distances.get(8, np.nan))
        film = bool(first < 0.5 and first < 0.7 * last)
        looked_at = max(1, self.looked_at)
        return Order(
            distances,
            film=film,
            sorted=bool(first < 0.85 and not film),
            equal=self.equal / looked_at,
            near=near / looked_at,
            across=self.across + across,
            looked_at=self.looked_at,
        )

    def _near(self, random: float) -> tuple[int, int]:
        """How many remembered images are near an earlier one, and how many of those across parts.

        ``random``: the mean squared distance of two images. As near counts a small part of that, and of the image's own
        contrast.
        """
        if not self.looks:
            return 0, 0
        thumbs = np.stack([thumb for thumb, _, _ in self.looks])
        thumbs -= np.median(thumbs, axis=0)  # float32 keeps the digits of what is usual
        # an image of little contrast is close to any other such one
        own = 2 * np.square(thumbs - thumbs.mean(1, keepdims=True)).sum(1)
        least = -0.5 * NEAR**2 * np.minimum(own, random)
        test = np.array([test for _, test, _ in self.looks])
        half, one = -0.5 * (thumbs**2).sum(1, keepdims=True), np.ones((len(thumbs), 1), np.float32)
        left, right = np.hstack([thumbs, half, one]), np.hstack([thumbs, one, half])
        near = across = 0
        for start in range(0, len(thumbs), BLOCK):
            mine = slice(start, start + BLOCK)
            # minus half the squared distances
            found = left[mine] @ right[: start + BLOCK].T > least[mine, None]
            found[:, start:] = np.tril(found[:, start:], -1)  # earlier ones alone
            rows = found.any(1)
            near += int(rows.sum())
            if (rows & test[mine]).any():
                across += int((found[:, ~test[: start + BLOCK]].any(1) & test[mine]).sum())
        return near, across


def thumbnails(images: Array) -> npt.NDArray[np.float64]:
    """Images (n, c, h, w) as means over at most 8 x 8 cells and all channels: (n, cells).

    >>> thumbnails(np.ones((2, 3, 16, 4))).shape
    (2, 32)
    """
    grey = images.mean(axis=1, dtype=np.float64)
    for axis in (1, 2):
        length = grey.shape[axis]
        edges = np.unique(np.linspace(0, length, min(SIDE, length) + 1).astype(int))
        sums = np.add.reduceat(grey, edges[:-1], axis=axis)
        widths = np.diff(edges).reshape((-1, 1) if axis == 1 else (-1,))
        grey = sums / widths
    return np.asarray(grey.reshape(len(images), -1))


def _hash_rows(rows: Array) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row's bytes: equal rows, equal hashes."""
    data = rows.view(np.uint8).reshape(len(rows), -1)
    width = -(-data.shape[1] // 8) * 8
    padded = np.zeros((len(rows), width), np.uint8)
    padded[:, : data.shape[1]] = data
    words = padded.view(np.uint64)
    # an odd multiplier a place: words that change place change the sum
    factors = (np.arange(1, words.shape[1] + 1, dtype=np.uint64) * _PRIME) | np.uint64(1)
    mixed = (words ^ (words >> np.uint64(29))) * factors
    mixed ^= mixed >> np.uint64(32)
    total: npt.NDArray[np.uint64] = (mixed * _PRIME).sum(axis=1, dtype=np.uint64)
    return total


def _hash_bits(thumbs: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """64 bits of a thumbnail's look: which of its cells are above its mean (images nearly alike share them mostly)."""
    bits = thumbs > thumbs.mean(axis=1, keepdims=True)
    weights = np.uint64(1) << (np.arange(bits.shape[1], dtype=np.uint64) % np.uint64(64))
    packed = (bits * weights).sum(axis=1, dtype=np.uint64)
    # spread, so that thinning by the lowest bits takes no account of the look
    mixed: npt.NDArray[np.uint64] = packed * _PRIME
    return mixed ^ (mixed >> np.uint64(31))
