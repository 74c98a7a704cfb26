"""numpy's, scipy.special's and torch's names, each as a formula in the functions of ``formula.functions``.

One list: whatever a formula string may call is here under the same name; aliases and compositions follow.
"""

import inspect
from collections.abc import Callable
from typing import Any

import sympy

from lossproof.formula import functions as fn
from lossproof.formula import trace_torch
from lossproof.formula.errors import LossproofError, nearest
from lossproof.formula.trace_refuse import refuse

Expr = Any
_MAX_POWER = 1000  # of a numeric exponent: 9**(9**9) would run for ever
_HALF = sympy.Rational(1, 2)

_ALIASES = {
    "absolute": "abs", "fabs": "abs", "expit": "sigmoid", "psi": "digamma", "lgamma": "gammaln",
    "loggamma": "gammaln", "atan": "arctan", "asinh": "arcsinh", "atanh": "arctanh", "fmax": "maximum",
    "fmin": "minimum", "sgn": "sign",
}  # fmt: skip

REDUCTIONS = {
    "equal", "allclose", "array_equal",
    "mean", "sum", "nanmean", "nansum", "average", "prod", "nanprod", "max", "min", "amax", "amin",
    "nanmax", "nanmin", "median", "nanmedian", "std", "var", "norm", "logsumexp", "softmax",
    "log_softmax", "quantile", "percentile", "all", "any", "numel", "count_nonzero", "cross_entropy",
}  # fmt: skip
NOT_ELEMENTWISE = {
    "matmul", "dot", "vdot", "inner", "outer", "einsum", "tensordot", "bmm", "mm", "mv", "cumsum",
    "cumprod", "cummax", "cummin", "logcumsumexp", "diff", "gradient", "sort", "argsort", "argmax",
    "argmin", "topk", "unique", "roll", "flip", "flipud", "fliplr", "transpose", "permute", "swapaxes",
    "reshape", "view", "ravel", "flatten", "squeeze", "unsqueeze", "expand", "expand_dims",
    "broadcast_to", "concatenate", "concat", "cat", "stack", "hstack", "vstack", "repeat", "tile", "take",
    "gather", "index_select", "conv1d", "conv2d", "convolve", "avg_pool2d", "max_pool2d", "interpolate",
    "pad", "fft", "trapezoid", "tril", "triu",
}  # fmt: skip


def is_condition(value: Any) -> bool:
    """Tell a comparison from a value; SymPy's symbols count as both."""
    return isinstance(value, sympy.logic.boolalg.Boolean) and not isinstance(value, sympy.Expr)


def choose(condition: Any, a: Any, b: Any) -> Any:
    """``where`` with its & | ^ ~ unfolded into nested choices: a formula has comparisons only.

    >>> from lossproof.formula.symbols import P, Y
    >>> choose((P > 0) & (P < Y), Y, P)
    Piecewise((Piecewise((y, p < y), (p, True)), p > 0), (p, True))
    """
    if isinstance(condition, sympy.Not):
        return choose(condition.args[0], b, a)
    if not isinstance(condition, sympy.And | sympy.Or | sympy.Xor):
        return fn.where(condition, a, b)
    first, rest = condition.args[0], condition.func(*condition.args[1:])
    if isinstance(condition, sympy.And):
        return choose(first, choose(rest, a, b), b)
    if isinstance(condition, sympy.Or):
        return choose(first, a, choose(rest, a, b))
    return choose(first, choose(rest, b, a), choose(rest, a, b))


def number_of(value: Any) -> Any:
    """A traced argument as a real expression: a comparison counts 0 or 1, arrays are refused."""
    if is_condition(value):
        return choose(value, sympy.S.One, sympy.S.Zero)
    if isinstance(value, list | tuple) or (hasattr(value, "shape") and not isinstance(value, type)):
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise refuse(
            "plain numbers beside the target and the prediction",
            f"an array constant ({type(value).__name__}{shape})",
            "A loss is one formula for all pixels; weights go to ReconstructionLoss(weight=...).",
        )
    return value


def _condition(value: Any, what: str) -> Any:
    if isinstance(value, bool):
        return sympy.true if value else sympy.false
    if is_condition(value):
        return value
    raise refuse(
        f"a comparison {what}", f"the value {_short(value)}", "Write for example np.where(p > y, a, b)."
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "..."


# ---- arithmetic


def _power(a: Expr, b: Expr) -> Expr:
    if b.is_number and b.is_real and abs(b) > _MAX_POWER:
        raise refuse(
            f"an exponent of at most {_MAX_POWER} in size", str(_short(b)), "Use exp and log for such powers."
        )
    return a**b


def _add(a: Expr, b: Expr, alpha: Expr = sympy.S.One) -> Expr:
    return a + alpha * b


def _subtract(a: Expr, b: Expr, alpha: Expr = sympy.S.One) -> Expr:
    return a - alpha * b


def _divide(a: Expr, b: Expr, rounding_mode: Any = None) -> Expr:
    if rounding_mode is not None:
        raise refuse(
            "a true division", f"rounding_mode={rounding_mode!r}", "Rounding has no derivative; leave it out."
        )
    if b == 0:
        raise refuse("a divisor other than 0", "0")
    return a / b


def _multiply(a: Expr, b: Expr) -> Expr:
    return a * b


# ---- comparisons and choices


def _relation(relation: Any) -> Callable[..., Any]:
    def compare(a: Expr, b: Expr) -> Any:
        return relation(a, b)

    return compare


def _where(condition: Any, input: Any = None, other: Any = None) -> Expr:
    if input is None or other is None:
        raise refuse(
            "where(condition, a, b)", "where with one argument", "Positions are not element-wise values."
        )
    return choose(_condition(condition, "as the first argument of where"), number_of(input), number_of(other))


def _select(condlist: Any, choicelist: Any, default: Any = sympy.S.Zero) -> Expr:
    if len(condlist) != len(choicelist):
        raise refuse("as many conditions as choices", f"{len(condlist)} and {len(choicelist)}")
    result = number_of(default)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = _where(condition, choice, result)
    return result


def _logical(operation: Any) -> Callable[..., Any]:
    def combine(*conditions: Any) -> Any:
        return operation(*(_condition(c, "on each side of & | ^ ~") for c in conditions))

    return combine


def _heaviside(x: Expr, values: Expr) -> Expr:
    return fn.where(sympy.Lt(x, 0), sympy.S.Zero, fn.where(sympy.Gt(x, 0), sympy.S.One, values))


def _clip(
    x: Expr,
    low: Expr = None,
    high: Expr = None,
    *,
    min: Expr = None,
    max: Expr = None,
    a_min: Expr = None,
    a_max: Expr = None,
) -> Expr:
    lows = [b for b in (low, min, a_min) if b is not None and b != -sympy.oo]
    highs = [b for b in (high, max, a_max) if b is not None and b != sympy.oo]
    for bound in lows:
        x = fn.maximum(x, bound)
    for bound in highs:
        x = fn.minimum(x, bound)
    return x


def _extreme(name: str) -> Callable[..., Expr]:
    """torch.max(a, b) is element-wise, torch.max(a) is not."""

    def choose(a: Expr, b: Expr = None) -> Expr:
        if b is None:
            raise reduction(name)
        return fn.NAMES[f"{name}imum"][0](a, b)

    return choose


# ---- compositions


def _rel_entr(x: Expr, y: Expr) -> Expr:
    """x log(x/y), from scipy.special."""
    return fn.xlogy(x, x / y)


def _logit(x: Expr, eps: Any = None) -> Expr:
    if eps is not None:
        x = _clip(x, eps, 1 - eps)
    return sympy.log(x / (1 - x))


def _boxcox(x: Expr, power: Expr) -> Expr:
    return sympy.log(x) if power == 0 else (_power(x, power) - 1) / power


def _scipy_huber(delta: Expr, r: Expr) -> Expr:
    return fn.where(sympy.Le(sympy.Abs(r), delta), r**2 / 2, delta * (sympy.Abs(r) - delta / 2))


def _pseudo_huber(delta: Expr, r: Expr) -> Expr:
    return delta**2 * (sympy.sqrt(1 + (r / delta) ** 2) - 1)


def _same(x: Expr) -> Expr:
    return x


def _cast(x: Expr, kind: Any = "float", **options: Any) -> Expr:
    """A cast to a floating type leaves the real value alone."""
    if not any(word in str(kind) for word in ("float", "double")):
        raise refuse("a cast to a floating type", f"a cast to {kind}", "Other casts round; leave them out.")
    return x


def _constant(value: int) -> Callable[..., Expr]:
    def like(x: Expr, **options: Any) -> Expr:
        return sympy.Integer(value)

    return like


def _full_like(x: Expr, fill_value: Expr, **options: Any) -> Expr:
    return fill_value


_COMPOSED: dict[str, Callable[..., Any]] = {
    "add": _add, "subtract": _subtract, "sub": _subtract, "multiply": _multiply, "mul": _multiply,
    "divide": _divide, "true_divide": _divide, "div": _divide,
    "pow": _power, "power": _power, "float_power": _power,
    "rsub": lambda a, b, alpha=sympy.S.One: b - alpha * a,
    "negative": lambda x: -x, "neg": lambda x: -x, "positive": _same, "square": lambda x: x**2,
    "reciprocal": lambda x: _divide(sympy.S.One, x), "rsqrt": lambda x: 1 / sympy.sqrt(x),
    "cbrt": lambda x: sympy.sign(x) * sympy.Abs(x) ** sympy.Rational(1, 3),
    "hypot": lambda a, b: sympy.sqrt(a**2 + b**2), "lerp": lambda a, b, weight: a + weight * (b - a),
    "exp2": lambda x: sympy.Integer(2) ** x, "log10": lambda x: sympy.log(x) / sympy.log(10),
    "greater": _relation(sympy.Gt), "gt": _relation(sympy.Gt),
    "less": _relation(sympy.Lt), "lt": _relation(sympy.Lt),
    "greater_equal": _relation(sympy.Ge), "ge": _relation(sympy.Ge), "less_equal": _relation(sympy.Le),
    "le": _relation(sympy.Le), "equal": _relation(sympy.Eq), "eq": _relation(sympy.Eq),
    "not_equal": _relation(sympy.Ne), "ne": _relation(sympy.Ne),
    "logical_and": _logical(sympy.And), "bitwise_and": _logical(sympy.And),
    "logical_or": _logical(sympy.Or), "bitwise_or": _logical(sympy.Or),
    "logical_xor": _logical(sympy.Xor), "bitwise_xor": _logical(sympy.Xor),
    "logical_not": _logical(sympy.Not), "bitwise_not": _logical(sympy.Not), "invert": _logical(sympy.Not),
    "where": _where, "select": _select, "heaviside": _heaviside,
    "clip": _clip, "clamp": _clip, "clamp_min": fn.maximum,
    "clamp_max": fn.minimum, "max": _extreme("max"), "min": _extreme("min"),
    "logit": _logit, "log_expit": lambda x: -fn.softplus(-x), "logsigmoid": lambda x: -fn.softplus(-x),
    "log_sigmoid": lambda x: -fn.softplus(-x),
    "entr": lambda x: -fn.xlogy(x, x), "rel_entr": _rel_entr, "erfc": lambda x: 1 - sympy.erf(x),
    "boxcox": _boxcox, "boxcox1p": lambda x, power: _boxcox(1 + x, power),
    "betaln": lambda a, b: sympy.loggamma(a) + sympy.loggamma(b) - sympy.loggamma(a + b),
    "zeros_like": _constant(0), "ones_like": _constant(1), "full_like": _full_like,
    "clone": _same, "copy": _same, "contiguous": _same, "real": _same, "real_if_close": _same,
    "double": _same, "float": _same, "astype": _cast, "to": _cast, "type": _cast,
}  # fmt: skip


def _moderate(x: Expr) -> Expr:
    """SymPy would write out the factorial of a large integer."""
    if x.is_Integer and x > _MAX_POWER:
        raise refuse(f"whole constants up to {_MAX_POWER} in gammaln and digamma", str(_short(x)))
    return x


def _formula_name(name: str) -> Callable[..., Expr]:
    function, arity = fn.NAMES[name]
    if name in ("gammaln", "digamma"):
        return lambda x: function(_moderate(x))
    if arity == 1:
        return lambda x: function(x)  # noqa: PLW0108 - the arity is what a call is checked against
    if arity == 2:
        return lambda a, b: function(a, b)  # noqa: PLW0108
    return lambda a, b, c: function(a, b, c)  # noqa: PLW0108


_COMMON = {name: _formula_name(name) for name in fn.NAMES}
_COMMON |= {alias: _COMMON[name] for alias, name in _ALIASES.items()}
_COMMON |= _COMPOSED

#: library -> name -> formula; scipy's and torch's huber and kl_div differ
TABLES: dict[str, dict[str, Callable[..., Any]]] = {
    "numpy": _COMMON
    | {
        "huber": _scipy_huber,
        "pseudo_huber": _pseudo_huber,
        "kl_div": lambda x, y: _rel_entr(x, y) - x + y,
    },
    # torch.equal compares whole tensors
    "torch": {k: v for k, v in _COMMON.items() if k != "equal"} | trace_torch.FUNCTIONS,
}
_RAW = {
    _where,
    _select,
    *(f for name, f in _COMPOSED.items() if name.startswith(("logical_", "bitwise_", "invert"))),
}
_BOTH_BOOLEAN = {"add", "subtract", "sub", "negative", "neg"}  # numpy and torch differ or refuse here


def reduction(name: str) -> LossproofError:
    """The refusal of a function over the whole array."""
    return refuse(
        "an element-wise loss",
        f"{name}(...), which reduces over pixels or images",
        "Return the element-wise loss; lossproof sums over pixels and takes the mean over images itself.",
    )


def _drop_float_type(name: str, options: dict[str, Any]) -> None:
    kind = options.pop("dtype", None)
    if kind is not None:
        _cast(None, kind)


def apply(library: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Apply a function of numpy, scipy or torch, by its name, to expressions or comparisons.

    Raises ``LossproofError`` for unknown names, reductions and arguments that no formula has.
    """
    plain = name.removeprefix("special_").strip("_")
    table = TABLES[library]
    if kwargs.pop("out", None) is not None:
        raise refuse("a function without side effects", f"{plain}(..., out=...)", "Leave out= away.")
    if plain in REDUCTIONS and (plain not in table or len(args) < 2):
        raise reduction(plain)
    if plain in NOT_ELEMENTWISE:
        raise refuse(
            "element-wise functions only",
            plain,
            "Each pixel's loss may depend on that pixel's target and prediction alone.",
        )
    if plain not in table:
        raise refuse(f"a function that a formula may use, from {library}", repr(plain), nearest(plain, table))
    function = table[plain]
    if function not in _RAW:
        booleans = [is_condition(a) for a in args]
        if plain in _BOTH_BOOLEAN and all(booleans):
            raise refuse(
                "numbers", f"{plain} of comparisons", "Combine comparisons with & | ~, choose with where."
            )
        args = tuple(number_of(a) for a in args)
        kwargs = {key: number_of(value) for key, value in kwargs.items()}
    _drop_float_type(plain, kwargs)
    if not args and "input" in kwargs:  # torch's own name of a first argument
        args = (kwargs.pop("input"),)
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        shown = str(error).removeprefix("got ").replace("missing a required argument", "a missing argument")
        raise refuse(f"arguments of {plain} that a formula has", shown, "Leave the others out.") from None
    try:
        return function(*bound.args, **bound.kwargs)
    except TypeError as error:
        raise refuse(f"real numbers in {plain}", f"{_short(error)}") from None
