"""Formula strings enclosed on boxes: intervals with float ends, every rounding outwards.

Elementary functions are taken at the ends, where they are monotone, by balls. A pair of NaN stands for "not
defined on all of the box"; nothing follows from it.
"""

import ast
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from flint import arb, fmpq

from lossproof.rechecking.values import Broken, constant, precision, tree

Span = tuple[float, float]
INF = math.inf
NOTHING: Span = (math.nan, math.nan)


def down(x: float) -> float:
    return math.nextafter(x, -INF)


def up(x: float) -> float:
    return math.nextafter(x, INF)


def enclose(text: str, box: Mapping[str, Span]) -> Span:
    """An interval that holds every value of the formula on the box."""
    return _span(tree(text), box)


def _span(node: ast.expr, box: Mapping[str, Span]) -> Span:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            exact = constant(number, decimal=False)
            return _hull_of(arb(fmpq(exact.numerator, exact.denominator)))
        case ast.Name(id="pi"):
            return _hull_of(arb.pi())
        case ast.Name(id=name) if name in box:
            return box[name]
        case ast.UnaryOp(op=ast.USub(), operand=a):
            low, high = _span(a, box)
            return -high, -low
        case ast.BinOp(op=ast.Mult()) if (paired := _with_own_log(node)) is not None:
            made = _xlogx(_span(paired[0], box))
            for factor in paired[1]:
                made = _times(made, _span(factor, box))
            return made
        case ast.BinOp(left=a, op=ast.Div(), right=b) if _same(a, b):
            return NOTHING if _is_nan(_span(a, box)) else (1.0, 1.0)
        case ast.BinOp(left=a, op=op, right=b):
            return _binary(op, a, b, box)
        case ast.Call(func=ast.Name(id="where"), args=[ast.Compare() as condition, a, b]):
            truth = _condition(condition, box)
            if truth is not None:
                return _span(a if truth else b, box)
            return _both(_span(a, box), _span(b, box))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            spans = [_span(a, box) for a in args]
            return NOTHING if any(map(_is_nan, spans)) else _FUNCTIONS[name](*spans)
    raise Broken(f"expected a formula of known names, got {ast.unparse(node)[:60]!r}")


def _same(a: ast.expr, b: ast.expr) -> bool:
    return ast.dump(a) == ast.dump(b)


def _with_own_log(node: ast.expr) -> tuple[ast.expr, list[ast.expr]] | None:
    """x and the other factors, of a product that holds both x and log(x): x log(x) is enclosed as one function."""
    factors: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        factors.append(node.right)
        node = node.left
    factors.append(node)
    for log in factors:
        if isinstance(log, ast.Call) and isinstance(log.func, ast.Name) and log.func.id == "log":
            for x in factors:
                power = _less_one(x, log.args[0])
                if x is not log and power is not None:
                    return log.args[0], [*power, *(f for f in factors if f is not x and f is not log)]
    return None


def _less_one(factor: ast.expr, x: ast.expr) -> list[ast.expr] | None:
    """What is left of a factor x or x**n, n = 2, 3, ..., when one x is taken out; None for other factors."""
    match factor:
        case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int() as n)) if n > 1 and _same(
            base, x
        ):
            return [ast.BinOp(base, ast.Pow(), ast.Constant(n - 1))]
    return [] if _same(factor, x) else None


def _times(a: Span, b: Span) -> Span:
    return NOTHING if _is_nan(a) or _is_nan(b) else _mul(a, b)


def smooth(text: str, box: Mapping[str, Span]) -> bool:
    """Whether no branch and no sign changes on the box, so that the derivative by branches is the derivative."""
    for node in ast.walk(tree(text)):
        match node:
            case ast.Call(func=ast.Name(id="sign"), args=[a]):
                low, high = _span(a, box)
                if not (low > 0 or high < 0):
                    return False
            case ast.Call(func=ast.Name(id="where"), args=[ast.Compare() as condition, _, _]):
                if _condition(condition, box) is None:
                    return False
    return True


def _is_nan(a: Span) -> bool:
    return math.isnan(a[0]) or math.isnan(a[1])


def _both(a: Span, b: Span) -> Span:
    return NOTHING if _is_nan(a) or _is_nan(b) else (min(a[0], b[0]), max(a[1], b[1]))


def _condition(node: ast.Compare, box: Mapping[str, Span]) -> bool | None:
    sides = [_span(n, box) for n in (node.left, *node.comparators)]
    found = [meets(type(op).__name__, a, b) for op, a, b in zip(node.ops, sides, sides[1:], strict=False)]
    return False if False in found else None if None in found else True


def meets(relation: str, a: Span, b: Span) -> bool | None:
    """Whether a relation holds for all pairs of values; None where it depends or a value is missing."""
    if _is_nan(a) or _is_nan(b):
        return None
    match relation:
        case "Lt" | "<":
            return True if a[1] < b[0] else False if a[0] >= b[1] else None
        case "LtE" | "<=":
            return True if a[1] <= b[0] else False if a[0] > b[1] else None
        case "Gt" | ">":
            return meets("<", b, a)
        case "GtE" | ">=":
            return meets("<=", b, a)
        case "Eq" | "=":
            apart = a[1] < b[0] or b[1] < a[0]
            return False if apart else True if a[0] == a[1] == b[0] == b[1] else None
        case "NotEq" | "!=":
            equal = meets("=", a, b)
            return None if equal is None else not equal
    raise Broken(f"expected a relation, got {relation!r}")


# ---- arithmetic


def _sum(a: float, b: float, out: Callable[[float], float], worst: float) -> float:
    s = a + b
    if math.isnan(s):
        return worst
    if math.isinf(s):
        return s if math.isinf(a) or math.isinf(b) else out(s)
    v = s - a  # Knuth: the error of the sum, exactly
    return s if (a - (s - v)) + (b - v) == 0 else out(s)


def _add(a: Span, b: Span) -> Span:
    return _sum(a[0], b[0], down, -INF), _sum(a[1], b[1], up, INF)


def _product(a: float, b: float, out: Callable[[float], float]) -> float:
    if a == 0 or b == 0:
        return 0.0
    p = a * b
    if math.isinf(p):
        return p if math.isinf(a) or math.isinf(b) else out(p)
    return p if abs(a) == 1 or abs(b) == 1 or Fraction(a) * Fraction(b) == Fraction(p) else out(p)


def _mul(a: Span, b: Span) -> Span:
    pairs = [(x, z) for x in a for z in b]
    return min(_product(x, z, down) for x, z in pairs), max(_product(x, z, up) for x, z in pairs)


def _inverse(a: Span) -> Span:
    low, high = a
    if low < 0 < high or low == high == 0:
        return NOTHING
    return (-INF if high == 0 else _one_over(high, down)), (INF if low == 0 else _one_over(low, up))


def _one_over(x: float, out: Callable[[float], float]) -> float:
    if math.isinf(x):
        return 0.0
    inverse = 1 / x
    return inverse if not math.isinf(inverse) and Fraction(x) * Fraction(inverse) == 1 else out(inverse)


def _binary(op: ast.operator, left: ast.expr, right: ast.expr, box: Mapping[str, Span]) -> Span:
    a, b = _span(left, box), _span(right, box)
    if _is_nan(a) or _is_nan(b):
        return NOTHING
    match op:
        case ast.Add():
            return _add(a, b)
        case ast.Sub():
            return _add(a, (-b[1], -b[0]))
        case ast.Mult():
            return _square(a) if _same(left, right) else _mul(a, b)
        case ast.Div():
            inverse = _inverse(b)
            return NOTHING if _is_nan(inverse) else _mul(a, inverse)
        case ast.Pow():
            return _power(a, b, right)
    raise Broken(f"expected one of + - * / **, got {type(op).__name__}")


def _square(a: Span) -> Span:
    low, high = _abs(a)
    return _product(low, low, down), _product(high, high, up)


def _abs(a: Span) -> Span:
    low, high = a
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def _power(a: Span, b: Span, exponent: ast.expr) -> Span:
    if b[0] == b[1] and b[0] == int(b[0]) and abs(b[0]) < 1000:
        n = abs(int(b[0]))
        made: Span = (1.0, 1.0)
        for _ in range(n // 2):
            made = _mul(made, _square(a))
        made = _mul(made, a) if n % 2 else made
        return made if b[0] >= 0 else _inverse(made)
    if a[0] < 0:
        return NOTHING
    if a[0] == 0 and b[0] <= 0 <= b[1]:
        return NOTHING
    power: tuple[float, float] = _exp(_mul(b, _log(a)))
    return power


# ---- functions


def _hull_of(x: arb) -> Span:
    """Floats around a ball; the ball's own midpoint where that is exact and a float."""
    if not x.is_finite():
        return NOTHING
    low, high = float(x.lower()), float(x.upper())
    if x.is_exact() and arb(low) == x:
        return low, low
    return down(low), up(high)


def _at(f: Callable[[arb], arb], x: float, limits: Mapping[float, float]) -> Span:
    if x in limits:
        return limits[x], limits[x]
    if math.isinf(x):
        return NOTHING
    with precision(80):
        return _hull_of(f(arb(x)))


def _rising(
    f: Callable[[arb], arb], limits: Mapping[float, float], low: float = -INF, high: float = INF
) -> Any:
    """An increasing function of [low, high] with these values at special ends."""

    def of(a: Span) -> Span:
        if a[0] < low or a[1] > high:
            return NOTHING
        first, last = _at(f, a[0], limits), _at(f, a[1], limits)
        return NOTHING if _is_nan(first) or _is_nan(last) else (first[0], last[1])

    return of


_WIDE = {-INF: -INF, INF: INF}
_log = _rising(lambda x: x.log(), {0.0: -INF, 1.0: 0.0, INF: INF}, low=0.0)
_exp = _rising(lambda x: x.exp(), {-INF: 0.0, 0.0: 1.0, INF: INF})
_cosh = _rising(lambda x: x.cosh(), {0.0: 1.0, INF: INF})
_logcosh = _rising(lambda x: x + (-2 * x).exp().log1p() - arb(2).log(), {0.0: 0.0, INF: INF})
_softplus = _rising(lambda x: x.exp().log1p() if x < 0 else x + (-x).exp().log1p(), {-INF: 0.0, INF: INF})
_LEAST_GAMMALN = (-0.12148629053584962, 1.4616321449683622, 1.4616321449683625)


def _xlogx(a: Span) -> Span:
    """x log x, 0 at 0; least at 1/e."""
    if a[0] < 0:
        return NOTHING
    ends = [_at(lambda x: x * x.log(), x, {0.0: 0.0, 1.0: 0.0, INF: INF}) for x in a]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    return (-0.36787944117144239 if a[0] < 0.3678794411714424 and a[1] > 0.3678794411714423 else low), high


def _gammaln(a: Span) -> Span:
    least, left, right = _LEAST_GAMMALN
    if a[0] < 0:
        return NOTHING
    ends = [_at(lambda x: x.lgamma(), x, {0.0: INF, INF: INF}) for x in a]
    low = min(e[0] for e in ends) if a[1] <= left or a[0] >= right else least
    return low, max(e[1] for e in ends)


def _wave(name: str) -> Callable[[Span], Span]:
    def of(a: Span) -> Span:
        if math.isinf(a[0]) or math.isinf(a[1]):
            return -1.0, 1.0
        with precision(80):
            x = getattr(arb((a[0] + a[1]) / 2, up(up(a[1] - a[0]) / 2 + abs(a[0]) * 1e-15)), name)()
        low, high = _hull_of(x)
        return (max(low, -1.0), min(high, 1.0)) if not math.isnan(low) else (-1.0, 1.0)

    return of


def _sign(a: Span) -> Span:
    return float((a[0] > 0) - (a[0] < 0)), float((a[1] > 0) - (a[1] < 0))


def _larger(a: Span, b: Span) -> Span:
    return max(a[0], b[0]), max(a[1], b[1])


def _smaller(a: Span, b: Span) -> Span:
    return min(a[0], b[0]), min(a[1], b[1])


def _times_log(x: Span, y: Span) -> Span:
    logs = _log(y)
    return (0.0, 0.0) if x == (0.0, 0.0) else NOTHING if _is_nan(logs) else _mul(x, logs)


def _xdivy(x: Span, y: Span) -> Span:
    inverse = _inverse(y)
    return (0.0, 0.0) if x == (0.0, 0.0) else NOTHING if _is_nan(inverse) else _mul(x, inverse)


def _plus_one(a: Span) -> Span:
    return _add((1.0, 1.0), a)


def _polygamma(order: Span, a: Span) -> Span:
    """Rises from -inf for even orders, falls from inf for odd ones."""
    n, sign = int(order[0]), -1 if order[0] % 2 else 1
    rise = _rising(
        (lambda x: x.digamma()) if n == 0 else (lambda x: -arb(n + 1).gamma() * arb(n + 1).zeta(x)),
        {0.0: -INF, INF: INF if n == 0 else 0.0},
        low=0.0,
    )
    low, high = rise(a)
    return (low, high) if sign > 0 or _is_nan((low, high)) else (-high, -low)


_FUNCTIONS: dict[str, Callable[..., Span]] = {
    "log": _log, "log1p": lambda a: _log(_plus_one(a)), "exp": _exp, "softplus": _softplus, "gammaln": _gammaln,
    "log2": _rising(lambda x: x.log() / arb(2).log(), {0.0: -INF, INF: INF}, low=0.0),
    "expm1": _rising(lambda x: x.expm1(), {-INF: -1.0, 0.0: 0.0, INF: INF}),
    "sqrt": _rising(lambda x: x.sqrt(), {0.0: 0.0, 1.0: 1.0, INF: INF}, low=0.0), "abs": _abs, "sign": _sign,
    "sin": _wave("sin"), "cos": _wave("cos"), "sinh": _rising(lambda x: x.sinh(), {**_WIDE, 0.0: 0.0}),
    "cosh": lambda a: _cosh(_abs(a)), "logcosh": lambda a: _logcosh(_abs(a)),
    "tanh": _rising(lambda x: x.tanh(), {-INF: -1.0, 0.0: 0.0, INF: 1.0}),
    "arctan": _rising(lambda x: x.atan(), {-INF: down(-math.pi / 2), 0.0: 0.0, INF: up(math.pi / 2)}),
    "arcsinh": _rising(lambda x: x.asinh(), {**_WIDE, 0.0: 0.0}),
    "arctanh": _rising(lambda x: x.atanh(), {-1.0: -INF, 0.0: 0.0, 1.0: INF}, -1.0, 1.0),
    "erf": _rising(lambda x: x.erf(), {-INF: -1.0, 0.0: 0.0, INF: 1.0}),
    "sigmoid": _rising(lambda x: 1 / (1 + (-x).exp()), {-INF: 0.0, 0.0: 0.5, INF: 1.0}),
    "digamma": _rising(lambda x: x.digamma(), {0.0: -INF, INF: INF}, low=0.0), "polygamma": _polygamma,
    "maximum": _larger, "minimum": _smaller, "clip": lambda x, a, b: _smaller(_larger(x, a), b),
    "xlogy": _times_log, "xlog1py": lambda x, y: _times_log(x, _plus_one(y)), "xdivy": _xdivy,
    "logaddexp": lambda a, b: _both(_add(b, _softplus(_add(a, (-b[1], -b[0])))),
                                    _add(a, _softplus(_add(b, (-a[1], -a[0]))))),
}  # fmt: skip
