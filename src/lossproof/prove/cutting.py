"""Where to cut a box, and when it is too small for it."""

import math

from lossproof.prove.enclose import Box
from lossproof.prove.span import Span


def cut(box: Box, root: Box) -> tuple[Box, Box]:
    """Halve a box across its relatively longest side; a side at an end of the domain near that end.

    >>> cut(((0.0, 0.5), (0.25, 0.5)), ((0.0, 1.0), (0.0, 1.0)))
    (((0.0, 0.0625), (0.25, 0.5)), ((0.0625, 0.5), (0.25, 0.5)))
    """
    axis = longest(box, root)
    (a, b), (low, high) = box[axis], root[axis]
    at_low, at_high = a == low and not math.isinf(a), b == high and not math.isinf(b)
    if math.isinf(a) or math.isinf(b):
        middle = 0.0 if a < 0.0 < b else 2 * a + 1.0 if math.isinf(b) else 2 * b - 1.0
    elif at_low != at_high:
        middle = a + (b - a) / 8 if at_low else b - (b - a) / 8
    else:
        middle = a + (b - a) / 2
    first, second = list(box), list(box)
    first[axis], second[axis] = (a, middle), (middle, b)
    return tuple(first), tuple(second)


def longest(box: Box, root: Box) -> int:
    """The axis that matters most: relative to the distance from the domain's ends."""
    return max(range(len(box)), key=lambda i: _length(box[i], root[i]))


def _length(side: Span, root: Span) -> float:
    a, b = side
    if math.isinf(b - a):
        return math.inf
    # how much the side matters: relative to its distance from the domain's ends, and, less, as it is
    reach = min(b - root[0], root[1] - a)
    return (b - a) / reach * (b - a) ** 0.125 if reach > 0 else 0.0


def thin(box: Box, root: Box, smallest: float) -> bool:
    """Whether the side that would be cut is too short for it."""
    a, b = box[longest(box, root)]
    return b - a <= smallest


_NEAR = 16  # widths from the domain's end that still count as its border


def end_of(side: Span, root: Span, smallest: float) -> int | None:
    """0 for a side at the lower border of the root's side, 1 at the upper, None elsewhere."""
    if root[0] == root[1]:
        return None
    return (
        0 if side[1] <= root[0] + _NEAR * smallest else 1 if side[0] >= root[1] - _NEAR * smallest else None
    )


def at_end(box: Box, root: Box, smallest: float) -> bool:
    """Whether a box lies at the border of its domain, where a slice can be cut off."""
    return any(end_of(a, b, smallest) is not None for a, b in zip(box, root, strict=True))
