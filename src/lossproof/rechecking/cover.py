"""Boxes of a certificate: that each statement holds on its box, and that together they leave no gap."""

import contextlib
import math
from collections import deque
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from flint import fmpq

from lossproof.rechecking.claims import relation_at
from lossproof.rechecking.spans import INF, Span, enclose, meets, smooth
from lossproof.rechecking.values import Broken, value

Box = tuple[Span, ...]
Boxes = tuple[str, str, str, tuple[str, ...], list[Box]]  # left, relation, right, variables
MOST = 3000  # parts of one box


def holds_on(left: str, relation: str, right: str, box: Mapping[str, Span], *, most: int = MOST) -> bool:
    """Whether left relation right is shown on a box by intervals, on ever smaller parts of it."""
    names = tuple(box)
    difference = left if right.strip() == "0" else f"({left}) - ({right})"
    parts: deque[Box] = deque([tuple(box.values())])
    count = 0
    while parts:
        part = parts.popleft()
        count += 1
        at = dict(zip(names, part, strict=True))
        if meets(relation, enclose(difference, at), (0.0, 0.0)) or _by_slopes(relation, difference, at):
            continue
        axis = max(range(len(part)), key=lambda i: part[i][1] - part[i][0])
        low, high = part[axis]
        middle = low + (high - low) / 2
        if count > most or not low < middle < high or high == INF or low == -INF:
            return False
        parts += [(*part[:axis], side, *part[axis + 1 :]) for side in ((low, middle), (middle, high))]
    return True


@lru_cache(maxsize=256)
def _slopes(text: str, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The partial derivatives as formula strings; None where one has no name."""
    from lossproof.formula import LossproofError
    from lossproof.formula.functions import derivative
    from lossproof.formula.parse import parse
    from lossproof.formula.symbols import P, Y
    from lossproof.formula.unparse import unparse

    known = {"y": Y, "p": P}
    if not set(names) <= known.keys():
        return None
    with contextlib.suppress(LossproofError, AttributeError):
        return tuple(unparse(derivative(parse(text), known[name])) for name in names)
    return None


def _by_slopes(relation: str, text: str, box: Mapping[str, Span]) -> bool | None:
    """The relation to 0 by the mean value f(middle) + f'(box) (box - middle), or at the corner where f is extreme."""
    slopes = _slopes(text, tuple(box))
    if slopes is None or any(math.isinf(b - a) for a, b in box.values()) or not smooth(text, box):
        return None
    middle = {name: a + (b - a) / 2 for name, (a, b) in box.items()}
    terms = {"f": enclose(text, {name: (m, m) for name, m in middle.items()})}
    sum_text = "f"
    corner: dict[str, Fraction] = {}
    for i, (name, slope) in enumerate(zip(box, slopes, strict=True)):
        low, high = terms[f"d{i}"] = enclose(slope, box)
        terms |= {f"x{i}": box[name], f"m{i}": (middle[name], middle[name])}
        sum_text += f" + d{i}*(x{i} - m{i})"
        if low >= 0 or high <= 0:  # monotone: least or largest at an end, taken exactly there
            corner[name] = Fraction(box[name][(low >= 0) == (relation[0] == "<")])
    if len(corner) == len(box):
        return relation_at(relation, lambda: (value(text, corner), fmpq(0))) == "true"
    return meets(relation, enclose(sum_text, terms), (0.0, 0.0))


def gap(root: Box, boxes: Sequence[Box]) -> Box | None:
    """A part of the root box that no box covers, or None: by cutting along the boxes' own edges, exactly."""
    stack: list[tuple[Box, list[Box]]] = [(root, list(boxes))]
    while stack:
        part, near = stack.pop()
        near = [b for b in near if all(x[0] < r[1] and x[1] > r[0] for x, r in zip(b, part, strict=True))]
        if any(all(x[0] <= r[0] and x[1] >= r[1] for x, r in zip(b, part, strict=True)) for b in near):
            continue
        cuts = [
            sorted({e for b in near for e in b[i] if part[i][0] < e < part[i][1]}) for i in range(len(part))
        ]
        axis = max(range(len(part)), key=lambda i: len(cuts[i]))
        if not cuts[axis]:
            return part
        at = cuts[axis][len(cuts[axis]) // 2]
        low, high = part[axis]
        stack += [((*part[:axis], side, *part[axis + 1 :]), near) for side in ((low, at), (at, high))]
    return None


def read_pieces(records: object) -> list[Boxes]:
    """Groups of boxes as a certificate writes them: left, relation, right, variables, boxes. Raises ``Broken``."""
    made: list[Boxes] = []
    try:
        for group in records:  # type: ignore[attr-defined]
            names = tuple(group["variables"])
            boxes = []
            for ends in group["boxes"]:
                numbers = [float(x) for x in ends]
                box = tuple(zip(numbers[::2], numbers[1::2], strict=True))
                if len(box) != len(names) or not all(a <= b for a, b in box):
                    raise Broken(f"expected a box of {', '.join(names)} with low <= high, got {ends}")
                boxes.append(box)
            if group["relation"] not in ("<", "<=", ">", ">="):
                raise Broken(f"expected an inequality on boxes, got {group['relation']!r}")
            made.append((group["left"], group["relation"], group["right"], names, boxes))
    except (KeyError, TypeError, ValueError) as error:
        raise Broken(f"expected boxes with left, relation, right, variables, boxes, got {error}") from None
    return made
