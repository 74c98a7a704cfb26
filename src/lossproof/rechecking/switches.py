"""Places where a formula may change its branch, found in its syntax tree: random points would hardly meet them.

The differences that where, abs, maximum, minimum, sign and clip look at are set to 0, in p and in y: exactly where they
are linear between places already found, else by halving. The constants of the formula are tried as places too.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from flint import arb, fmpq

from lossproof.rechecking.points import Point, Range
from lossproof.rechecking.values import Broken, Undecided, precision, tree, value

#: how far beside a place is looked
_BESIDE = (Fraction(1, 10**12), Fraction(1, 10**6), Fraction(1, 100))
_MOST = 12  # places on one axis
_HALVINGS = 60
_GRID = 8


@lru_cache(maxsize=512)
def switches(text: str) -> tuple[str, ...]:
    """The differences whose sign chooses a branch, inner ones first, as formula strings.

    >>> switches("where(abs(p - 1/3) < 1/10**9, 1, 0)")
    ('p - 1 / 3', 'abs(p - 1 / 3) - 1 / 10 ** 9')
    """
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            visit(child)
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            found.extend(_difference(a, b) for a, b in pairwise(sides))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            first, *rest = node.args
            if node.func.id in ("abs", "sign"):
                found.append(ast.unparse(first))
            elif node.func.id in ("maximum", "minimum", "clip"):
                found.extend(_difference(first, other) for other in rest)

    visit(tree(text))
    return tuple(dict.fromkeys(found))


def _difference(a: ast.expr, b: ast.expr) -> str:
    return ast.unparse(a) if ast.unparse(b) == "0" else ast.unparse(ast.BinOp(a, ast.Sub(), b))


@lru_cache(maxsize=512)
def constants(text: str, decimal: bool) -> tuple[Fraction, ...]:
    """The rational values of the parts of a formula that have no variable.

    >>> [str(x) for x in constants("where(y == 1/3, 2*y, p)", False)]
    ['1/3', '2', '1', '3']
    """
    found: list[Fraction] = []
    for node in ast.walk(tree(text)):
        if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Constant):
            number = _exact(ast.unparse(node), {}, decimal)
            if number is not None:
                found.append(number)
    return tuple(dict.fromkeys(found))


def _exact(text: str, at: Point, decimal: bool) -> Fraction | None:
    """The value where it is a rational number, else the middle of its ball; None without a value."""
    with precision(128):
        try:
            found = value(text, at, decimal=decimal)
        except (Undecided, Broken, ValueError):
            return None
    if isinstance(found, arb):
        if not found.is_finite():
            return None
        man, exp = found.mid().man_exp()
        return Fraction(int(man)) * Fraction(2) ** int(exp) if abs(int(exp)) < 4096 else None
    found = fmpq(found)
    return Fraction(int(found.p), int(found.q))


def _roots(g: Callable[[Fraction], Fraction | None], edges: list[Fraction]) -> Iterator[Fraction]:
    """Zeros of a function between given edges: a linear part exactly, another one by halving."""
    for a, b in pairwise(edges):
        third = (b - a) / 3
        x0, x1, x2 = a + third, a + third * Fraction(3, 2), b - third
        f0, f1, f2 = g(x0), g(x1), g(x2)
        if f0 is None or f1 is None or f2 is None:
            continue
        if f0 + f2 == 2 * f1:
            if f0 != f2:
                yield x0 - f0 * (x2 - x0) / (f2 - f0)
        else:
            yield from _halved(g, a, b)


def _halved(g: Callable[[Fraction], Fraction | None], a: Fraction, b: Fraction) -> Iterator[Fraction]:
    xs = [a + (b - a) * Fraction(2 * i + 1, 2 * _GRID) for i in range(_GRID)]
    for low, high in pairwise(xs):
        at_low, at_high = g(low), g(high)
        if at_low is not None and at_high is not None and at_low * at_high <= 0:
            yield _zero(g, low, high, at_low)


def _zero(
    g: Callable[[Fraction], Fraction | None], low: Fraction, high: Fraction, at_low: Fraction
) -> Fraction:
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = g(middle)
        if found is None:
            break
        if found * at_low > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def places(
    text: str, name: str, span: Range, at: Point, *, decimal: bool, others: Iterable[Fraction] = ()
) -> list[Fraction]:
    """Where a formula may change its branch along one variable, the others fixed: inside the range, zeros first."""
    low, high = _finite_ends(span)
    given = [x for x in dict.fromkeys((*others, *constants(text, decimal))) if x in span and low <= x <= high]
    roots: dict[Fraction, None] = {}
    for g in switches(text):

        def of(x: Fraction, g: str = g) -> Fraction | None:
            return _exact(g, {**at, name: x}, decimal)

        edges = sorted({low, high, *(x for x in (*given[:_MOST], *roots) if low < x < high)})
        roots |= dict.fromkeys(root for root in _roots(of, edges) if root in span)
        if len(roots) >= _MOST:
            break
    return list(dict.fromkeys((*list(roots)[:_MOST], *given)))[: 2 * _MOST]


def _finite_ends(span: Range) -> tuple[Fraction, Fraction]:
    low = span.low if span.low is not None else min(Fraction(-1000), span.high or Fraction(0)) - 1000
    high = span.high if span.high is not None else max(Fraction(1000), low) + 1000
    return low, high


def special(
    text: str, fixed: Mapping[str, Fraction], y: Range, p: Range, at: Point, *, decimal: bool
) -> Iterator[Point]:
    """Targets and predictions at the places of a formula and beside them; none for a formula without branches.

    ``fixed`` are the parameters' values, ``at`` a point that gives all other variables.
    """
    if not switches(text):
        return
    base = {**fixed, **at}
    targets = dict.fromkeys([at["y"]])
    for q in (at["p"], *places(text, "p", p, base, decimal=decimal)[:3]):
        targets |= dict.fromkeys(places(text, "y", y, {**base, "p": q}, decimal=decimal))
    for target in list(targets)[: _MOST + 1]:
        found = places(text, "p", p, {**base, "y": target}, decimal=decimal, others=(target,))
        for place in (*found, at["p"]):
            for prediction in (place, *(place + side * d for d in _BESIDE for side in (1, -1))):
                if prediction in p:
                    yield {**at, "y": target, "p": prediction}
    for target in list(targets)[1 : _MOST + 1]:
        for beside in (target + _BESIDE[0], target - _BESIDE[0]):
            if beside in y:
                yield {**at, "y": beside, "p": at["p"]}


__all__ = ["constants", "places", "special", "switches"]
