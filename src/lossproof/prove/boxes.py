"""Branch and bound: boxes that cover a domain, on each of which an enclosure shows the statement.

What is shown holds for the formula in the extended reals on the closed box: at p = 0 a derivative of -inf is below 0.
"""

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lossproof.formula import LossproofError, Piece
from lossproof.formula.functions import to_elementary, xdivy
from lossproof.formula.unparse import unparse
from lossproof.prove import span as spans
from lossproof.prove.clock import Clock
from lossproof.prove.cutting import at_end, cut, end_of, thin
from lossproof.prove.enclose import Box, MeanValue, mean_value
from lossproof.prove.span import Span
from lossproof.prove.special import precision

Expr = Any  # sympy is untyped

UNIT_SQUARE: Box = ((0.0, 1.0), (0.0, 1.0))
SMALLEST = 2.0**-45
MOST = 20_000
_BITS = 64
_RELATIONS = (">", "<", ">=", "<=")


@dataclass
class Cover:
    """Pieces that hold, the boxes that are left, and how many boxes were looked at.

    Nothing left: certified on the whole box. ``stuck`` is a box that cannot be cut off the domain's ends (or None);
    then only the pieces count. ``mode`` says by what argument the pieces join: see ``minimum_cover``.
    """

    root: Box
    pieces: list[Piece] = field(default_factory=list)
    left: list[Box] = field(default_factory=list)
    count: int = 0
    mode: str = "sign"
    stuck: Box | None = None

    @property
    def complete(self) -> bool:
        """Whether the pieces cover the whole box."""
        return not self.left

    def inner(self, smallest: float = SMALLEST) -> Box | None:
        """The root box without the thin slices at its ends that are left; None if what is left is elsewhere.

        >>> Cover(((0.0, 1.0), (0.0, 1.0)), left=[((0.0, 0.5), (0.0, 2**-45))]).inner()
        ((0.0, 1.0), (2.842170943040401e-14, 1.0))
        """
        if self.stuck is not None:
            return None
        sides = [list(side) for side in self.root]
        for box in self.left:
            for axis in reversed(range(len(box))):  # the prediction's axis comes last: narrow it first
                end = end_of(box[axis], self.root[axis], smallest)
                if end == 0:
                    sides[axis][0] = max(sides[axis][0], box[axis][1])
                    break
                if end == 1:
                    sides[axis][1] = min(sides[axis][1], box[axis][0])
                    break
            else:
                return None
        return tuple((a, b) for a, b in sides)


class Bounds(NamedTuple):
    """Enclosures of the least and the largest value over a box, and the boxes where they are."""

    infimum: Span
    supremum: Span
    infimum_at: Box
    supremum_at: Box
    boxes: int


class _Form:
    """An expression with its formula string and both enclosures."""

    def __init__(self, expr: Expr, symbols: Sequence[Expr]) -> None:
        self.text = _text(expr)
        self.expr, self.symbols = expr, symbols
        self._mean: MeanValue | None = None
        self.mean  # compiled at once: a formula that cannot be is refused before any work  # noqa: B018

    @property
    def mean(self) -> MeanValue:
        if self._mean is None:
            self._mean = mean_value(self.expr, self.symbols)
        return self._mean


def _text(expr: Expr) -> str:
    # xdivy has no name in formula strings; x/y differs from it at 0/0 only
    expr = expr.replace(xdivy, lambda x, y: x / y)
    try:
        return unparse(expr)
    except LossproofError:
        return unparse(to_elementary(expr))


def _has(relation: str, a: Span) -> bool:
    if relation == ">":
        return a[0] > 0.0
    if relation == "<":
        return a[1] < 0.0
    return a[0] >= 0.0 if relation == ">=" else a[1] <= 0.0


def _shows(forms: Sequence[_Form], relation: str, box: Box) -> _Form | None:
    """The first form that an enclosure gives the wanted sign: plain ones first, they are cheap."""
    for form in forms:
        if _has(relation, form.mean.plain.over(box)):
            return form
    for form in forms:
        if _has(relation, form.mean.over(box)):
            return form
    return None


def _never(forms: Sequence[_Form], relation: str, box: Box) -> bool:
    """Whether a form has the wanted sign nowhere on the box: then no cutting will help."""
    for form in forms:
        a = form.mean.plain.over(box)
        if (a[1] <= 0.0) if relation == ">" else (a[0] >= 0.0):
            return a[0] <= a[1]
    return False


@dataclass
class _Search:
    """One depth-first search: ``close`` gives the pieces of a box, or None; ``doomed`` ends a vain search."""

    root: Box
    clock: Clock
    most: int
    smallest: float

    def run(
        self,
        close: Callable[[Box], Piece | None],
        doomed: Callable[[Box], bool] = lambda box: False,
        mode: str = "sign",
    ) -> Cover:
        cover = Cover(self.root, mode=mode)
        stack = [self.root]
        with precision(_BITS):
            while stack:
                self.clock.check()
                box = stack.pop()
                cover.count += 1
                piece = close(box)
                if piece is not None:
                    cover.pieces.append(piece)
                    continue
                small = thin(box, self.root, self.smallest)
                edge = small and at_end(box, self.root, self.smallest)
                if (small and not edge) or cover.count >= self.most or doomed(box):
                    cover.stuck = box
                    cover.left += [box, *stack]
                    break
                if edge:
                    cover.left.append(box)
                else:
                    stack += cut(box, self.root)
        return cover


def _names(symbols: Sequence[Expr], box: Box) -> tuple[tuple[str, float, float], ...]:
    return tuple((str(s), a, b) for s, (a, b) in zip(symbols, box, strict=True))


def sign_cover(
    forms: Sequence[Expr],
    relation: str,
    symbols: Sequence[Expr],
    box: Box,
    *,
    clock: Clock | None = None,
    most: int = MOST,
    smallest: float = SMALLEST,
) -> Cover:
    """Cover a box by pieces on which one of the forms, all of equal sign, stands in a relation to 0.

    Boxes thinner than ``smallest`` at the ends of the domain are left out (``Cover.inner``); elsewhere the search
    ends there. Raises ``LossproofError`` for another relation or a formula that has no enclosure, ``OutOfTime``.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P
    >>> cover = sign_cover([parse("p**2 - p + 1")], ">", [P], ((0.0, 1.0),))
    >>> cover.complete, cover.pieces[0].left, cover.pieces[0].relation
    (True, 'p**2 - p + 1', '>')
    """
    if relation not in _RELATIONS:
        raise LossproofError(f"boxes: expected one of {' '.join(_RELATIONS)}, got {relation!r}.")
    compiled = [_Form(f, symbols) for f in forms]
    strict = relation if len(relation) == 1 else None

    def close(b: Box) -> Piece | None:
        form = _shows(compiled, relation, b)
        return Piece(_names(symbols, b), form.text, relation) if form else None

    def doomed(b: Box) -> bool:
        return strict is not None and _never(compiled, strict, b)

    return _Search(box, clock or Clock.for_ever(), most, smallest).run(close, doomed)


def minimum_cover(
    loss: Expr,
    dp: Expr,
    dpp: Expr,
    y: Expr,
    p: Expr,
    box: Box = UNIT_SQUARE,
    *,
    stationary: bool,
    floor: Expr | None = None,
    dp_forms: Sequence[Expr] = (),
    dpp_forms: Sequence[Expr] = (),
    slopes: Sequence[Expr] = (),
    ratios: Sequence[Expr] = (),
    clock: Clock | None = None,
    most: int = MOST,
    smallest: float = SMALLEST,
) -> Cover:
    """Cover y x p by pieces that make p = y the only minimum of a loss that is continuous in p.

    Mode "sign": on every piece dp > 0 for p right of y and dp < 0 left of it; or dpp > 0 between y and p, which says
    the same where dp(y, y) = 0. The caller vouches for that identity by ``stationary``; without it dpp is not used.
    Mode "value" (tried next, needs ``floor`` = loss(y, y)): loss - floor > 0 away from y, or dpp > 0 between y and p.
    Further forms: ``dp_forms`` and ``dpp_forms`` of the same sign as dp and dpp for p inside the domain, ``slopes`` of
    the same sign as dp/(p - y) and ``ratios`` as loss - floor, both for p other than y: these close boxes across
    the diagonal. Raises ``OutOfTime``, and ``LossproofError`` for a formula that has no enclosure.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P, Y
    >>> parts = [parse(t) for t in ("(y - p)**2", "2*(p - y)", "2")]
    >>> minimum_cover(*parts, Y, P, stationary=True).pieces
    [Piece(box=(('y', 0.0, 1.0), ('p', 0.0, 1.0)), left='2', relation='>', right='0')]
    """
    symbols = (y, p)
    signs = [_Form(f, symbols) for f in (dp, *dp_forms)]
    hulls = [_Form(f, symbols) for f in (dpp, *dpp_forms)] if stationary else []
    across = [_Form(f, symbols) for f in slopes]
    search = _Search(box, clock or Clock.for_ever(), most, smallest)

    def convex(b: Box) -> Piece | None:
        (y0, y1), (p0, p1) = b
        wide = (min(y0, p0), max(y1, p1))
        # far from the diagonal the hull says little about the box
        if not hulls or wide[1] - wide[0] > 4 * max(y1 - y0, p1 - p0):
            return None
        form = _shows(hulls, ">", ((y0, y1), wide))
        return Piece(_names(symbols, ((y0, y1), wide)), form.text, ">") if form else None

    def by_sign(b: Box) -> Piece | None:
        relation = _side(b)
        form = _shows(signs, relation, b) if relation else None
        if form is not None and relation is not None:
            return Piece(_names(symbols, b), form.text, relation)
        form = _shows(across, ">", b)
        return Piece(_names(symbols, b), form.text, ">") if form else convex(b)

    def wrong_sign(b: Box) -> bool:
        relation = _apart(b)
        return relation is not None and _never(signs, relation, b)

    possible = bool(hulls or across)  # nothing else closes a box across the diagonal
    first = search.run(by_sign, wrong_sign, "sign") if possible else Cover(box, left=[box], stuck=box)
    if first.stuck is None or floor is None or not (hulls or ratios):
        return first

    values = [_Form(loss - floor, symbols)]
    quotients = [_Form(f, symbols) for f in ratios]

    def by_value(b: Box) -> Piece | None:
        form = _shows(values, ">", b) if _apart(b) else None
        form = form or _shows(quotients, ">", b)
        return Piece(_names(symbols, b), form.text, ">") if form else convex(b)

    def too_low(b: Box) -> bool:
        return _apart(b) is not None and _never(values, ">", b)

    second = search.run(by_value, too_low, "value")
    return second if second.complete or (first.stuck and not second.stuck) else first


def _side(box: Box) -> str | None:
    """The sign that dp must have: ">" where p >= y on the box, "<" where p <= y, None on both sides."""
    (y0, y1), (p0, p1) = box
    return ">" if p0 >= y1 else "<" if p1 <= y0 else None


def _apart(box: Box) -> str | None:
    """The same for boxes that do not touch the diagonal."""
    (y0, y1), (p0, p1) = box
    return ">" if p0 > y1 else "<" if p1 < y0 else None


def bounds(
    expr: Expr,
    symbols: Sequence[Expr],
    box: Box,
    *,
    clock: Clock | None = None,
    rel: float = 1e-3,
    most: int = MOST,
    smallest: float = SMALLEST,
) -> Bounds:
    """Enclose infimum and supremum of an expression over a box, best box first, each to a relative width of ``rel``.

    An infinite end means that boundedness is not shown. Raises ``OutOfTime``, and ``LossproofError`` for a formula that
    has no enclosure.

    >>> from lossproof.formula.parse import parse
    >>> from lossproof.formula.symbols import P
    >>> low, high, *_ = bounds(parse("p*(1 - p)"), [P], ((0.0, 1.0),))
    >>> low[0] <= 0 <= low[1] < 1e-3, high[0] <= 0.25 <= high[1] < 0.2503
    (True, True)
    """
    clock = clock or Clock.for_ever()
    # a variable that does not occur is not worth a cut
    occurs = [s in expr.free_symbols for s in symbols]
    root = tuple(side if used else _inside(side) for side, used in zip(box, occurs, strict=True))
    with precision(_BITS):
        up = mean_value(expr, symbols)
        below, low_at, n = _least(up.over, root, clock, rel, most, smallest)
        above, high_at, m = _least(lambda b: spans.neg(up.over(b)), root, clock, rel, most, smallest)
    places = (
        tuple(a if used else side for a, side, used in zip(at, box, occurs, strict=True))
        for at in (low_at, high_at)
    )
    return Bounds(below, spans.neg(above), next(places), next(places), n + m)


def _least(
    over: Callable[[Box], Span], root: Box, clock: Clock, rel: float, most: int, smallest: float
) -> tuple[Span, Box, int]:
    """Enclose the infimum: no box holds less than the lowest lower bound, a point holds the upper bound."""
    order = _counter()
    settled = math.inf  # the least lower bound among boxes too thin to cut
    settled_at = root
    best, best_at = math.inf, root
    heap: list[tuple[float, int, Box]] = []

    def add(b: Box) -> None:
        nonlocal best, best_at
        low = over(b)[0]
        centre = tuple(_inside(side) for side in b)
        for point in {centre, tuple(map(_border, b, root))}:
            value = over(point)[1]
            if value < best:
                best, best_at = value, point
        heapq.heappush(heap, (-math.inf if math.isnan(low) else low, next(order), b))

    add(root)
    count = 1
    while heap:
        clock.check()
        low, _, b = heap[0]
        goal = min(low, settled)
        if goal == -math.inf == settled or count >= most:
            break
        if best - goal <= rel * max(abs(best), abs(goal)) or (best == goal):
            break
        heapq.heappop(heap)
        if low > best:
            continue
        if max(side[1] - side[0] for side in b) <= smallest or thin(b, root, smallest):
            if low < settled:
                settled, settled_at = low, b
            continue
        for part in _halves(b, root) if low > -math.inf else cut(b, root):
            count += 1
            add(part)
    floor = min(settled, heap[0][0] if heap else math.inf)
    near = best - floor <= rel * max(abs(best), abs(floor)) or best == floor
    at = best_at if near else settled_at if settled <= (heap[0][0] if heap else math.inf) else heap[0][2]
    return (min(floor, best), best), (at if floor < math.inf else best_at), count


def _border(side: Span, root: Span) -> Span:
    x = side[0] if side[0] == root[0] else side[1]
    return (x, x) if x in root and not math.isinf(x) else _inside(side)


def _halves(box: Box, root: Box) -> tuple[Box, Box]:
    # where values are bounded, the ends of the domain are nothing special
    if any(math.isinf(b - a) for a, b in root):
        return cut(box, root)
    shares = [
        (b - a) / (high - low) if high > low else 0.0 for (a, b), (low, high) in zip(box, root, strict=True)
    ]
    axis = shares.index(max(shares))
    a, b = box[axis]
    middle = a + (b - a) / 2
    return (*box[:axis], (a, middle), *box[axis + 1 :]), (*box[:axis], (middle, b), *box[axis + 1 :])


def _counter() -> Iterator[int]:
    n = 0
    while True:
        yield n
        n += 1


def _inside(side: Span) -> Span:
    a, b = side
    x = (
        0.0
        if math.isinf(a) and math.isinf(b)
        else a
        if math.isinf(b)
        else b
        if math.isinf(a)
        else a + (b - a) / 2
    )
    return x, x
