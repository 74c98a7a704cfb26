"""Does an expression say what a function computes? Both are evaluated at many points and compared."""

import functools
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import sympy

from lossproof.formula import functions as fn
from lossproof.formula.errors import LossproofError
from lossproof.formula.symbols import P, Y, Z
from lossproof.formula.trace_refuse import call_user, refuse

Array = npt.NDArray[np.float64]
_Pairs = tuple[Array, Array]


def _by_element(f: Callable[[float], Any]) -> Callable[..., Any]:
    def safe(x: float) -> float:
        try:
            return float(f(x))
        except (ValueError, OverflowError, ZeroDivisionError, TypeError):
            return math.inf if x == math.inf else math.nan

    return lambda x: np.asarray(np.frompyfunc(safe, 1, 1)(x), dtype=np.float64)


def _xlogy(x: Any, y: Any) -> Any:
    return np.where((x == 0) & ~np.isnan(y), 0.0, x * np.log(y))


def _softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


def _logcosh(x: Any) -> Any:
    # cosh(x) = 1 + 2 sinh(x/2)^2 keeps small values; the other form keeps large ones
    a = np.abs(x)
    near = np.log1p(2 * np.sinh(np.minimum(a, 1.0) / 2) ** 2)
    return np.where(a < 1, near, a + np.log1p(np.exp(-2 * a)) - math.log(2))


_RULES: dict[Any, Callable[..., Any]] = {
    sympy.Add: lambda *a: functools.reduce(np.add, a),
    sympy.Mul: lambda *a: functools.reduce(np.multiply, a),
    sympy.Pow: np.power, sympy.exp: np.exp, sympy.log: np.log, sympy.Abs: np.abs, sympy.sign: np.sign,
    sympy.sin: np.sin, sympy.cos: np.cos, sympy.tan: np.tan, sympy.atan: np.arctan,
    sympy.sinh: np.sinh, sympy.cosh: np.cosh, sympy.tanh: np.tanh,
    sympy.asinh: np.arcsinh, sympy.atanh: np.arctanh,
    sympy.loggamma: _by_element(math.lgamma),
    sympy.polygamma: lambda order, x: _by_element(lambda v: mpmath.polygamma(int(order), v))(x),
    sympy.erf: _by_element(math.erf),
    sympy.Max: lambda *a: functools.reduce(np.maximum, a),
    sympy.Min: lambda *a: functools.reduce(np.minimum, a),
    sympy.Gt: np.greater, sympy.Ge: np.greater_equal, sympy.Lt: np.less, sympy.Le: np.less_equal,
    sympy.Eq: np.equal, sympy.Ne: np.not_equal, sympy.Not: np.logical_not,
    sympy.And: lambda *a: functools.reduce(np.logical_and, a),
    sympy.Or: lambda *a: functools.reduce(np.logical_or, a),
    sympy.Xor: lambda *a: functools.reduce(np.logical_xor, a),
    fn.xlogy: _xlogy, fn.xlog1py: lambda x, y: np.where((x == 0) & ~np.isnan(y), 0.0, x * np.log1p(y)),
    fn.log1p: np.log1p, fn.expm1: np.expm1, fn.maximum: np.maximum, fn.minimum: np.minimum,
    fn.sigmoid: lambda x: np.exp(-np.logaddexp(0.0, -x)), fn.softplus: _softplus,
    fn.logaddexp: np.logaddexp, fn.logcosh: _logcosh,
}  # fmt: skip


def evaluate(expr: Any, values: Mapping[Any, Any]) -> Array:
    """Evaluate an expression in float64; ``values`` gives each symbol an array or a number.

    NaN where the expression has no real value. Raises ``LossproofError`` for a symbol without a value and for
    functions that a formula does not have.

    >>> evaluate(fn.xlogy(Y, P), {Y: np.array([0.0, 1.0]), P: np.array([0.0, 1.0])}).tolist()
    [0.0, 0.0]
    """
    known: dict[Any, Any] = {symbol: np.asarray(value, dtype=np.float64) for symbol, value in values.items()}
    shape = np.broadcast_shapes(*(np.shape(v) for v in known.values()))
    stack = [expr]
    with np.errstate(all="ignore"):
        while stack:
            node = stack[-1]
            if node in known:
                stack.pop()
                continue
            missing = [child for child in _children(node) if child not in known]
            if missing:
                stack.extend(missing)
                continue
            known[node] = _value(node, [known[child] for child in _children(node)])
            stack.pop()
    return np.array(np.broadcast_to(known[expr], shape), dtype=np.float64)


def _children(node: Any) -> tuple[Any, ...]:
    if isinstance(node, sympy.Piecewise):
        return tuple(part for pair in node.args for part in pair.args)
    return () if node.is_Number or node.is_Symbol else tuple(node.args)


def _value(node: Any, args: list[Any]) -> Any:
    if node in (sympy.true, sympy.false):
        return np.asarray(bool(node))
    if not node.args:
        if not node.is_number:
            raise LossproofError(f"evaluate: expected a value for {node}, got none. Give it in values.")
        try:
            return np.float64(node)
        except OverflowError:
            return np.float64(math.inf if node > 0 else -math.inf)
    if isinstance(node, sympy.Piecewise):
        result: Any = np.float64(math.nan)
        for value, condition in reversed(list(zip(args[::2], args[1::2], strict=True))):
            result = np.where(condition, value, result)
        return result
    rule = _RULES.get(node.func)
    if rule is None:
        raise LossproofError(
            f"evaluate: expected functions that a formula has, got {node.func.__name__} in {node}."
        )
    return rule(*args)


# ---- the comparison


@dataclass(frozen=True)
class Disagreement:
    """The worst point: relative difference, and what both sides say there. ``compared`` counts the points."""

    size: float
    y: float
    p: float
    function: float
    expression: float
    compared: int


def _points(n: int, rng: np.random.Generator) -> list[tuple[str, Array, Array]]:
    """Points inside the unit square; its corners, edges and diagonal; points around zero outside it."""
    ticks = np.array([0.0, 0.25, 0.5, 1.0])
    grid_y, grid_p = (a.ravel() for a in np.meshgrid(ticks, ticks))
    same = rng.uniform(0, 1, 8)
    edge_y, edge_p = np.concatenate([grid_y, same]), np.concatenate([grid_p, same])
    return [
        ("inside", rng.uniform(0, 1, n), rng.uniform(0, 1, n)),
        ("edges", edge_y, edge_p),
        ("outside", rng.uniform(-4, 4, n), rng.uniform(-4, 4, n)),
    ]


def _run(function: Callable[..., Any], y: Array, p: Array, params: Mapping[str, Any]) -> Array:
    """The function's own values: on NumPy arrays, or on tensors where it is written for torch."""
    torch = sys.modules.get("torch")
    failures = []
    for wrap in (np.array, torch.tensor) if torch is not None else (np.array,):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                result = call_user(function, (wrap(y), wrap(p)), dict(params))
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
            continue
        if torch is not None and isinstance(result, torch.Tensor):
            result = result.detach().numpy()
        if not isinstance(result, np.ndarray) or result.shape != y.shape:
            got = (
                f"shape {result.shape}"
                if isinstance(result, np.ndarray | np.generic)
                else type(result).__name__
            )
            raise refuse(
                f"the element-wise loss, an array of shape {y.shape}", got, "Return the loss of each element."
            )
        if np.iscomplexobj(result):
            return np.where(result.imag == 0, result.real, math.nan)
        return result.astype(np.float64)
    raise refuse("a function that runs on float64 arrays", " / ".join(dict.fromkeys(failures)), place="")


def worst(
    function: Callable[..., Any],
    expr: Any,
    params: Mapping[Any, float],
    passed: Mapping[str, Any],
    *,
    n: int,
    seed: int,
) -> Disagreement:
    """Compare at 2n + 24 points; ``params`` are the symbols' values, ``passed`` the function's arguments."""
    rng = np.random.default_rng(seed)
    found = Disagreement(0.0, math.nan, math.nan, math.nan, math.nan, 0)
    for region, y, p in _points(n, rng):
        try:
            ours = evaluate(expr, {Y: y, P: p, **params})
            theirs = _run(function, y, p, passed)
        except LossproofError:
            if region == "inside":
                raise
            continue  # a function may refuse points that are outside its domain
        both = np.isfinite(ours) & np.isfinite(theirs)
        # borders aside, a value that only one side has is a disagreement
        lost = (np.isfinite(ours) != np.isfinite(theirs)) & (region == "inside")
        scale = float(np.median(np.abs(theirs[both]))) if both.any() else 1.0
        with np.errstate(all="ignore"):
            size = np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), scale)
            relative = np.where(both, np.abs(ours - theirs) / np.where(size > 0, size, 1.0), 0.0)
        relative[lost] = math.inf
        at = int(np.argmax(relative))
        compared = found.compared + int(both.sum())
        if relative[at] > found.size:
            found = Disagreement(
                float(relative[at]), float(y[at]), float(p[at]), float(theirs[at]), float(ours[at]), compared
            )
        else:
            found = Disagreement(found.size, found.y, found.p, found.function, found.expression, compared)
    return found


def free_parameters(expr: Any) -> list[Any]:
    """The expression's symbols other than y, p and z, by name."""
    symbols: Iterable[Any] = expr.free_symbols - {Y, P, Z}
    return sorted(symbols, key=lambda s: str(s.name))
