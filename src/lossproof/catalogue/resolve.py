"""What a user may write for a loss, and how it becomes a Loss record."""

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from lossproof.formula import REALS, Loss, LossproofError, Param
from lossproof.formula.errors import nearest
from lossproof.formula.syntax import syntax

#: what people call a loss elsewhere; for suggestions only
ALIASES = {
    "binary_crossentropy": "bce", "binary_cross_entropy": "bce", "cross_entropy": "bce", "crossentropy": "bce",
    "log_loss": "bce", "logloss": "bce", "bernoulli": "bce", "l2": "mse", "mean_squared_error": "mse", "gaussian": "mse",
    "squared_error": "mse", "l1": "mae", "mean_absolute_error": "mae", "laplace": "mae", "absolute_error": "mae",
    "log_cosh": "logcosh", "smooth_l1": "huber", "pseudo_huber": "charbonnier", "quantile": "pinball",
    "kl": "bce", "cb": "continuous_bernoulli", "cbernoulli": "continuous_bernoulli", "js": "jensen_shannon",
}  # fmt: skip
_MODULE_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def resolve_in(catalogue: Mapping[str, Loss], spec: object, params: Mapping[str, float]) -> Loss:
    """Resolve against a given catalogue; see ``lossproof.catalogue.resolve``."""
    spec = getattr(spec, "definition", spec)  # a compiled loss, or its NumPy functions
    _no_decoder(spec)
    if isinstance(spec, Loss):
        return spec.bind(**params) if params else spec
    if callable(spec):
        return from_callable(spec, params)
    if not isinstance(spec, str) or not spec.strip():
        raise LossproofError(
            f"loss: expected a catalogue id, a formula in y and p, 'module:function' or a function, got {spec!r}."
        )
    text = spec.strip()
    if _MODULE_FUNCTION.fullmatch(text):
        from lossproof.formula.trace import resolve_callable

        return from_callable(resolve_callable(text), params, name=text)
    called = _as_call(text, catalogue)
    if called is not None:
        return catalogue[called[0]].bind(**{**called[1], **params})
    head = re.match(r"([A-Za-z_]\w*)(\(|$)", text)
    if head and not _mentions_y_or_p(text) and head[1] not in ("y", "p"):
        known = {alias: name for alias, name in ALIASES.items() if name in catalogue}
        advice = (
            f"did you mean {known[head[1].lower()]}?"
            if head[1].lower() in known
            else nearest(head[1], catalogue)
        )
        raise LossproofError(
            f"loss: expected a catalogue id, a formula in y and p, or 'module:function', got {text!r}; {advice}"
        )
    return from_formula(text, params)


def _no_decoder(spec: object) -> None:
    """Refuse a decoder, or the text of one, where a loss is asked for."""
    from lossproof.catalogue.decoder import Decoder
    from lossproof.catalogue.decoders import DECODERS

    head = re.match(r"\s*([A-Za-z_]\w*)\s*(\(|$)", spec) if isinstance(spec, str) else None
    known = spec if isinstance(spec, Decoder) else DECODERS.get(head[1]) if head else None
    if known is None or (isinstance(spec, str) and _mentions_y_or_p(spec.strip())):
        return
    near = f" The loss near to it is {ALIASES[known.id]}." if known.id in ALIASES else ""
    raise LossproofError(
        f"loss: expected a loss(y, p) of one prediction, got the decoder {known.id}, a law with parameters of its own. "
        f"Decoders may stand in `lossproof compare --losses` and in lossproof.torch.decoders.criterion_for.{near}"
    )


def from_formula(text: str, params: Mapping[str, float]) -> Loss:
    """A Loss from a user's formula string; its domain is unknown, so it is taken as the real line."""
    from lossproof.formula.parse import parse

    # the caller's keyword is the declaration of a parameter: any finite value is allowed
    declared = tuple(
        Param(name, REALS, float(value), "parameter of the formula") for name, value in params.items()
    )
    loss = Loss(
        id=text,
        title="formula",
        formula=text,
        target=REALS,
        prediction=REALS,
        params=declared,
        minimum="undeclared",
    )
    parsed = parse(text, params=tuple(params))
    names = {str(s) for s in parsed.free_symbols}
    missing = [name for name in ("y", "p") if name not in names]
    if missing:
        raise LossproofError(
            f"formula: expected a formula in y (target) and p (prediction), got {text!r} without {' and '.join(missing)}."
        )
    _must_be_real(text, parsed, params)
    unused = sorted(set(params) - names)
    if unused:
        raise LossproofError(
            f"formula: expected parameters that occur in {text!r}, got {', '.join(unused)}. Remove them."
        )
    return loss


def _must_be_real(text: str, expr: Any, params: Mapping[str, float]) -> None:
    """Refuse a formula that has no real, finite value anywhere: not in the unit square, and not around it."""
    import numpy as np
    import sympy

    from lossproof.formula.symbols import P, Y, parameter
    from lossproof.formula.trace_check import evaluate

    found = (
        "a complex constant"
        if expr.has(sympy.I)
        else "no finite value"
        if expr.has(sympy.zoo, sympy.nan)
        else ""
    )
    if not found:
        inner, wide = np.linspace(0.02, 0.98, 25), np.linspace(-4.0, 9.0, 27)
        for axis in (inner, wide):
            y, p = (a.ravel() for a in np.meshgrid(axis, axis + 1e-3))
            at = {Y: y, P: p} | {parameter(name): np.full_like(y, value) for name, value in params.items()}
            with np.errstate(all="ignore"):
                if np.isfinite(evaluate(expr, at)).any():
                    return
        found = "none at 1354 points in and around [0, 1]"
        if any(abs(q) >= 2**1024 for q in expr.atoms(sympy.Rational)):
            found += ", for want of a float64 that holds its numbers (scale it)"
    raise LossproofError(
        f"formula: expected real, finite values, got {found}: {text!r}. Look at its logs and roots."
    )


def from_callable(
    function: Callable[..., Any], params: Mapping[str, float], *, name: str | None = None
) -> Loss:
    """A Loss from a plain Python function loss(y, p, **params), traced once."""
    from lossproof.formula.trace import trace
    from lossproof.formula.unparse import unparse

    formula = unparse(trace(function, params=dict(params) or None))
    loss = from_formula(formula, {})
    title = f"traced from {name or getattr(function, '__qualname__', type(function).__name__)}"
    return Loss(
        id=name or str(getattr(function, "__name__", "function")),
        title=title,
        formula=loss.formula,
        target=REALS,
        prediction=REALS,
        minimum="undeclared",
    )


def _as_call(text: str, catalogue: Mapping[str, Loss]) -> tuple[str, dict[str, float]] | None:
    """Read ``id`` or ``id(name=number, ...)`` of a catalogue loss; None for anything else, such as a formula."""
    try:
        node = syntax(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if isinstance(node, ast.Name) and node.id in catalogue:
        return node.id, {}
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in catalogue):
        return None
    if _mentions_y_or_p(text):  # logcosh(y - p) is the function of formulas, not the loss
        return None
    loss = catalogue[node.func.id]
    known = ", ".join(f"{p.name}={p.default:g}" for p in loss.params) or "no parameters"
    values: dict[str, float] = {}
    for keyword in node.keywords:
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):
            value = None
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if keyword.arg is None or not number:
            raise LossproofError(
                f"{loss.id}: expected a finite number for {keyword.arg}, got {ast.unparse(keyword)} in {text!r}. "
                f"It takes {known}."
            )
        values[keyword.arg] = value
    if node.args:
        raise LossproofError(
            f"{loss.id}: expected NAME=NUMBER, got {ast.unparse(node.args[0])} in {text!r}. It takes {known}."
        )
    return loss.id, values


def _mentions_y_or_p(text: str) -> bool:
    try:
        tree = syntax(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True  # a malformed formula: the parser of formulas says where
    return any(isinstance(n, ast.Name) and n.id in ("y", "p") for n in ast.walk(tree))
