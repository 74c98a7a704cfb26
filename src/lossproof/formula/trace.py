"""From a plain Python function ``loss(y, p, **params)`` to a SymPy expression.

The function is run once with proxy values, which numpy (NEP 13, NEP 18) and torch (``__torch_function__``)
hand every call to; what cannot be a formula is refused with the line it is on. Afterwards function and
expression are compared at random points. The function is code of the user and runs as such.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from lossproof.formula.errors import LossproofError, nearest
from lossproof.formula.symbols import P, Y, Z, parameter
from lossproof.formula.trace_check import Disagreement, free_parameters, worst
from lossproof.formula.trace_proxy import DECIMAL, LEFT, MAX_OPERATIONS, Condition, Proxy, exact, lift
from lossproof.formula.trace_refuse import call_user, line_of, refuse, subject
from lossproof.formula.trace_resolve import resolve_callable

__all__ = ["TOLERANCE", "agreement", "resolve_callable", "trace"]

Params = Mapping[str, Any] | Collection[str] | None

TOLERANCE = 1e-9
_TARGETS = {
    "y", "y_true", "target", "targets", "true", "truth", "label", "labels", "x",
}  # fmt: skip
_PREDICTIONS = {
    "p", "y_pred", "pred", "preds", "prediction", "predictions", "input", "inputs", "output", "outputs",
    "y_hat", "yhat", "x_hat", "recon", "reconstruction", "logits", "z",
}  # fmt: skip
_NOT_NUMBERS = (bool, str, bytes, type(None))


@dataclass(frozen=True)
class _Signature:
    """A function's name, and its parameters beside y and p with their numeric defaults (None: no default)."""

    name: str
    defaults: dict[str, Any]
    open: bool  # takes any keyword


def trace(
    function: Callable[..., Any],
    params: Params = None,
    *,
    decimal: bool = False,
    check: bool = True,
    n: int = 1000,
    seed: int = 0,
) -> Any:
    """Trace an element-wise loss ``loss(y, p, **params)``, target first, into an expression.

    ``params``: a mapping from names to numbers, where None leaves a parameter symbolic; or a collection of
    names that are left symbolic. A parameter that is not named has its default, as an exact number. Floats
    are read as the binary numbers they are; with ``decimal`` as the decimals that print them. With ``check``
    the result is compared with the function at 2n + 24 points.

    Raises ``LossproofError``, with the line, for branches, loops over elements, in-place operations,
    reductions, functions that are not element-wise or not known, array constants, wrong results, and a
    disagreement above 1e-9.

    >>> import numpy as np
    >>> trace(lambda y, p: np.log1p((y - p) ** 2))
    log1p((-p + y)**2)
    >>> def charbonnier(y, p, delta=0.5):
    ...     return np.sqrt((y - p) ** 2 + delta**2) - delta
    >>> trace(charbonnier)
    sqrt((-p + y)**2 + 1/4) - 1/2
    >>> trace(charbonnier, ["delta"])
    -delta + sqrt(delta**2 + (-p + y)**2)
    """
    signature = _read_signature(function)
    asked = _asked(params)
    decimal_token, left_token = DECIMAL.set(decimal), LEFT.set([MAX_OPERATIONS])
    try:
        with subject(signature.name):
            bound = _bind(signature, asked)
            expr = _run(function, bound)
            if check:
                _require_agreement(function, expr, signature, asked, n=n, seed=seed)
            return expr
    finally:
        DECIMAL.reset(decimal_token)
        LEFT.reset(left_token)


def agreement(
    function: Callable[..., Any],
    expr: Any,
    n: int = 1000,
    seed: int = 0,
    *,
    params: Mapping[str, float] | None = None,
) -> float:
    """Largest relative disagreement between a function, run on float64 arrays, and an expression.

    n random points in the unit square, n in [-4, 4], and its corners and diagonal. Differences are relative
    to the larger of both values and the median of the function's; where inside the unit square one side alone
    is finite, inf. ``params`` gives the values of the parameters; others have the function's defaults, or a
    random value in (0.1, 0.9). Raises ``LossproofError`` where the function does not run or nothing can be
    compared.

    >>> from lossproof.formula.symbols import P, Y
    >>> agreement(lambda y, p: (y - p) ** 2, (Y - P) ** 2) < 1e-12
    True
    >>> agreement(lambda y, p: (y - p) ** 2, Y - P) > 0.1
    True
    """
    signature = _read_signature(function)
    with subject(signature.name):
        return _compare(function, expr, signature, dict(params or {}), n=n, seed=seed).size


# ---- the signature


def _read_signature(function: Callable[..., Any]) -> _Signature:
    name = getattr(function, "__name__", type(function).__name__)
    if inspect.isclass(function) or not callable(function):
        kind = "the class " + name if inspect.isclass(function) else type(function).__name__
        raise LossproofError(f"trace: expected a function loss(y, p), got {kind}.")
    try:  # a torch module's own signature is (*args, **kwargs)
        listed = list(inspect.signature(getattr(function, "forward", function)).parameters.values())
    except (ValueError, TypeError):  # a compiled function tells nothing
        return _Signature(name, {}, open=False)
    positional = [q for q in listed if q.kind in (q.POSITIONAL_ONLY, q.POSITIONAL_OR_KEYWORD)]
    anything = any(q.kind is q.VAR_POSITIONAL for q in listed)
    if len(positional) < 2 and not anything:
        got = ", ".join(str(q) for q in listed)
        raise LossproofError(
            f"{name}: expected a function of target and prediction, loss(y, p), got {name}({got})."
        )
    first, second = (q.name for q in positional[:2]) if len(positional) >= 2 else ("y", "p")
    if first.lower() in _PREDICTIONS and second.lower() in _TARGETS:
        raise LossproofError(
            f"{name}: expected the target first, loss(y, p), got {name}({first}, {second}), which reads "
            f"as the prediction first. Wrap it: def loss(y, p): return {name}(p, y)."
        )
    rest = [*positional[2:], *(q for q in listed if q.kind is q.KEYWORD_ONLY)]
    defaults: dict[str, Any] = {}
    for q in rest:
        if q.default is inspect.Parameter.empty:
            defaults[q.name] = None
        elif not isinstance(q.default, _NOT_NUMBERS) and _is_number(q.default):
            defaults[q.name] = q.default
    return _Signature(name, defaults, open=any(q.kind is q.VAR_KEYWORD for q in listed))


def _is_number(value: Any) -> bool:
    return isinstance(lift(value), sympy.Expr)


def _asked(params: Params) -> dict[str, Any]:
    if params is None:
        return {}
    if isinstance(params, Mapping):
        return dict(params)
    names = [params] if isinstance(params, str) else list(params)
    return dict.fromkeys(names)


def _bind(signature: _Signature, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of the traced call."""
    for name in asked:
        if name not in signature.defaults and not signature.open:
            raise refuse("known parameters", f"{name!r}", _known(name, signature))
    bound: dict[str, Any] = {}
    for name, default in (
        {**signature.defaults, **{k: None for k in asked if k not in signature.defaults}}
    ).items():
        value = asked.get(name, default)
        if name in asked and value is None:
            if parameter(name) in (Y, P, Z):
                raise refuse(
                    "parameters with names other than y, p and z", f"the symbol {name!r}", "Rename it."
                )
            bound[name] = Proxy(parameter(name))
        elif value is None:
            raise refuse(f"a value for parameter {name!r}", "none", f"Give it, as in --param {name}=0.1.")
        elif not _is_number(value) or isinstance(value, _NOT_NUMBERS):
            raise refuse(f"a number for parameter {name!r}", f"{value!r}")
        else:
            number = exact(value)
            if number in (sympy.oo, -sympy.oo):
                raise refuse(f"a finite number for parameter {name!r}", f"{value!r}")
            bound[name] = Proxy(number)
    return bound


def _known(name: str, signature: _Signature) -> str:
    return nearest(name, signature.defaults) if signature.defaults else f"{signature.name} has none."


# ---- the run


def _run(function: Callable[..., Any], bound: dict[str, Any]) -> Any:
    try:
        result = call_user(function, (Proxy(Y), Proxy(P)), bound)
    except LossproofError:
        raise
    except RecursionError as error:
        raise refuse(
            "a formula of moderate depth",
            "RecursionError",
            "The function calls itself without end, or nests too many operations.",
            place=_line(error),
        ) from None
    except Exception as error:
        raise refuse(
            "an element-wise formula of y and p",
            f"{type(error).__name__}: {error}",
            "The function is run once with symbols in place of arrays.",
            place=_line(error),
        ) from error
    return _read_result(result)


def _line(error: Exception) -> str:
    """The innermost line of the user's own code in a traceback."""
    place, step = "", error.__traceback__
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        if not module.startswith("lossproof.formula.trace"):
            place = place or line_of(step.tb_frame.f_code.co_filename, step.tb_lineno)
        step = step.tb_next
    return place


def _read_result(result: Any) -> Any:
    wanted = "the element-wise loss as the result"
    if isinstance(result, Condition):
        raise refuse(wanted, "a comparison", "Write where(condition, a, b).")
    if result is None:
        raise refuse(wanted, "None", "Does a return statement miss?")
    if not isinstance(result, Proxy):
        if isinstance(result, tuple | list | dict):
            raise refuse(wanted, f"a {type(result).__name__} of {len(result)}", "Return one value.")
        if _is_number(result):
            raise refuse(wanted, f"the constant {result!r}, which depends on neither y nor p")
        raise refuse(wanted, f"{type(result).__name__}", "Return what is computed from y and p.")
    expr = result.traced_
    if expr.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        raise refuse("finite constants", f"{expr}", "Infinity and 1/0 cannot be in a formula.")
    if expr.has(sympy.I):
        raise refuse("a real formula", f"{expr}", "A logarithm or root of a negative constant is not real.")
    return expr


# ---- the agreement


def _compare(
    function: Callable[..., Any],
    expr: Any,
    signature: _Signature,
    given: Mapping[str, Any],
    *,
    n: int,
    seed: int,
) -> Disagreement:
    rng = np.random.default_rng([seed, 1])
    values = {k: v for k, v in {**signature.defaults, **given}.items() if v is not None}
    symbols = {}
    for symbol in free_parameters(expr):
        values.setdefault(symbol.name, float(rng.uniform(0.1, 0.9)))
        symbols[symbol] = float(values[symbol.name])
    passed = {  # whole numbers stay whole: they may count a loop's turns
        k: v if isinstance(v, int) else float(v)
        for k, v in values.items()
        if k in signature.defaults or signature.open
    }
    found = worst(function, expr, symbols, passed, n=n, seed=seed)
    if found.compared == 0:
        raise refuse("finite values at some points", f"none in [-4, 4] x [-4, 4] (n = {n})", place="")
    return found


def _require_agreement(
    function: Callable[..., Any],
    expr: Any,
    signature: _Signature,
    asked: Mapping[str, Any],
    *,
    n: int,
    seed: int,
) -> None:
    given = {k: v for k, v in asked.items() if v is not None}
    found = _compare(function, expr, signature, given, n=n, seed=seed)
    if found.size > TOLERANCE:
        raise refuse(
            f"the traced formula to agree with the function within {TOLERANCE:g}",
            f"{found.function!r} from the function and {found.expression!r} from {expr} "
            f"at y = {found.y!r}, p = {found.p!r}",
            "Does the function use random numbers, state, types or shapes?",
            place="",
        )
