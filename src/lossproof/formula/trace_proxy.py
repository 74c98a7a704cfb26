"""Proxy values that stand for the target, the prediction and the parameters while a function is traced."""

import decimal as decimal_module
import fractions
import math
import numbers
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NoReturn

import numpy as np
import sympy

from lossproof.formula.errors import nearest
from lossproof.formula.trace_names import NOT_ELEMENTWISE, REDUCTIONS, TABLES, apply, is_condition, reduction
from lossproof.formula.trace_refuse import TraceAttributeError, refuse

MAX_OPERATIONS = 20_000
#: of one value, written out as a tree; SymPy walks trees, so p = sin(p) + cos(p) in a loop would not end
MAX_SIZE = 100_000
#: read floats by their shortest decimal, instead of by the exact binary number
DECIMAL: ContextVar[bool] = ContextVar("lossproof_trace_decimal", default=False)
#: operations left for the function in work
LEFT: ContextVar[list[int] | None] = ContextVar("lossproof_trace_left", default=None)

_ATTRIBUTES = {
    "shape", "size", "ndim", "dtype", "device", "T", "mT", "data", "grad", "requires_grad", "is_cuda",
    "nelement", "dim",
}  # fmt: skip
_METHODS = TABLES["numpy"] | TABLES["torch"]


def exact(value: Any) -> Any:
    """A number as an exact SymPy number: a float is the binary number it stands for, or its decimal text.

    Raises ``LossproofError`` for NaN and complex numbers.

    >>> exact(0.5), exact(3)
    (1/2, 3)
    """
    if isinstance(value, sympy.Basic):
        return sympy.Rational(str(value) if DECIMAL.get() else value) if value.is_Float else value
    if isinstance(value, bool | np.bool_ | numbers.Integral):
        return sympy.Integer(int(value))
    if isinstance(value, fractions.Fraction):
        return sympy.Rational(value.numerator, value.denominator)
    if isinstance(value, float | np.floating | decimal_module.Decimal):
        if math.isnan(value):
            raise refuse("finite numbers", "the constant NaN")
        if math.isinf(value):
            return sympy.oo if value > 0 else -sympy.oo
        if DECIMAL.get() or isinstance(value, decimal_module.Decimal):
            return sympy.Rational(str(value))
        ratio = value.as_integer_ratio()
        return sympy.Rational(*ratio)
    raise refuse("real numbers", f"{value!r} of type {type(value).__name__}")


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def lift(value: Any) -> Any:
    """An argument as an expression where it is a number or a proxy; other things stay as they are."""
    if isinstance(value, Proxy):
        return value.traced_
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, numbers.Number | sympy.Number):
        return exact(value)
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype != object:
        return exact(value[()])
    if _is_tensor(value) and value.dim() == 0:
        return exact(value.item())
    if isinstance(value, list | tuple):
        return type(value)([lift(v) for v in value]) if type(value) in (list, tuple) else value
    return value


def _size(value: Any) -> int:
    if isinstance(value, list | tuple):
        return sum(map(_size, value))
    return value.size_ if isinstance(value, Proxy) else 1


def _call(library: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Proxy":
    left = LEFT.get()
    if left is not None:
        left[0] -= 1
        if left[0] < 0:
            raise refuse(f"at most {MAX_OPERATIONS} operations", "more", "Is there a loop that does not end?")
    size = 1 + sum(_size(a) for a in (*args, *kwargs.values()))
    if size > MAX_SIZE:
        raise refuse(
            f"a formula of at most {MAX_SIZE} terms when written out", f"{size}", "Does a loop nest a sum?"
        )
    result = apply(library, name, tuple(map(lift, args)), {key: lift(v) for key, v in kwargs.items()})
    if result is sympy.nan or result is sympy.zoo:
        raise refuse("a finite value", f"{name}(...), which divides by zero or has no value here")
    return (Condition if is_condition(result) else Proxy)(result, size)


def _operator(name: str, reflected: bool = False) -> Callable[["Proxy", Any], Any]:
    def operate(self: "Proxy", other: Any) -> Any:
        if isinstance(other, str | bytes | dict | set) or other is None:
            raise refuse("numbers", f"{name} with {type(other).__name__} {other!r}")
        return _call("numpy", name, (other, self) if reflected else (self, other), {})

    return operate


def _coercion(what: str, advice: str) -> Callable[..., Any]:
    def coerce(self: "Proxy", *args: Any) -> Any:
        raise refuse("element-wise formulas of y and p", what, advice)

    return coerce


_MATH = "Python's float and math functions take one number; use numpy's or torch's functions (np.log, ...)."
_IN_PLACE = "Write x = x + ... instead of changing an array in place."
_INDEX = "Each pixel's loss may depend on that pixel's target and prediction alone."


class Proxy:
    """A traced real value; operators, numpy's, scipy's and torch's functions on it build an expression.

    >>> from lossproof.formula.symbols import P, Y
    >>> (np.log1p(Proxy(Y)) * 2 - Proxy(P)).traced_
    -p + 2*log1p(y)
    """

    __slots__ = ("size_", "traced_")
    __array_priority__ = 1000
    __hash__ = object.__hash__

    def __init__(self, expr: Any, size: int = 1) -> None:
        self.traced_ = expr
        self.size_ = size

    def __repr__(self) -> str:
        return f"traced({self.traced_})"

    # ---- the three protocols

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        name = ufunc.__name__
        if method in ("outer", "accumulate", "at"):
            raise refuse("element-wise functions only", f"{name}.{method}", _INDEX)
        if method != "__call__":
            raise reduction(f"{name}.{method}")
        special = sys.modules.get("scipy.special")
        if getattr(np, name, None) is not ufunc and getattr(special, name, None) is not ufunc:
            raise refuse("ufuncs of numpy or scipy.special", f"the ufunc {name!r} of another library")
        return _call("numpy", name, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _call("numpy", func.__name__, args, kwargs)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _call("torch", func.__name__, args, dict(kwargs or {}))

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise refuse(
            "functions of the traced values",
            "np.asarray or np.array",
            "y and p come as arrays; leave it out.",
        )

    # ---- operators

    __add__, __radd__ = _operator("add"), _operator("add", True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", True)
    __pow__, __rpow__ = _operator("power"), _operator("power", True)
    __matmul__, __rmatmul__ = _operator("matmul"), _operator("matmul", True)
    __floordiv__, __rfloordiv__ = _operator("floor_divide"), _operator("floor_divide", True)
    __mod__, __rmod__ = _operator("remainder"), _operator("remainder", True)
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")
    __and__, __rand__ = _operator("logical_and"), _operator("logical_and", True)
    __or__, __ror__ = _operator("logical_or"), _operator("logical_or", True)
    __xor__, __rxor__ = _operator("logical_xor"), _operator("logical_xor", True)

    def __neg__(self) -> Any:
        return _call("numpy", "negative", (self,), {})

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return _call("numpy", "abs", (self,), {})

    def __invert__(self) -> Any:
        return _call("numpy", "logical_not", (self,), {})

    # ---- what a formula cannot have

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = _coercion("an in-place operation", _IN_PLACE)
    __iand__ = __ior__ = __ixor__ = __imatmul__ = __ifloordiv__ = __imod__ = __iadd__
    __setitem__ = __delitem__ = _coercion("an assignment to items", "Use where(condition, a, b).")
    __getitem__ = _coercion("indexing", _INDEX)
    __len__ = __iter__ = _coercion("a loop over elements or their count", _INDEX)
    __contains__ = _coercion("a membership test", "Use comparisons inside where.")
    __round__ = __floor__ = __ceil__ = __trunc__ = __divmod__ = __rdivmod__ = _coercion(
        "rounding", "A rounded loss has derivative 0 and no formula here."
    )
    __complex__ = _coercion("complex(...)", _MATH)

    def __bool__(self) -> bool:
        if self.traced_.is_number:
            return bool(self.traced_ != 0)
        raise refuse(
            "a formula without branches",
            "a truth test of a traced value",
            "Write np.where(condition, a, b) instead of if.",
        )

    def _constant(self, what: str) -> Any:
        if not self.traced_.is_number:
            raise refuse("element-wise formulas of y and p", f"{what} of a traced value", _MATH)
        return self.traced_

    def __float__(self) -> float:
        return float(self._constant("float(...)"))

    def __int__(self) -> int:
        return int(self._constant("int(...)"))

    def __index__(self) -> int:
        value = self._constant("an integer")
        if not value.is_Integer:
            raise TypeError(f"expected an integer, got {value}")
        return int(value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith("_"):
            raise refuse("a function without side effects", f".{name}(...)", _IN_PLACE, TraceAttributeError)
        if name in _ATTRIBUTES:
            raise refuse(
                "a formula of values",
                f".{name}",
                "A loss may not depend on shapes or types.",
                TraceAttributeError,
            )
        if name in REDUCTIONS and name not in _METHODS:
            raise TraceAttributeError(str(reduction(name)))
        if name in _METHODS or name in NOT_ELEMENTWISE:
            return _method(self, name)
        if name in ("detach", "item", "numpy", "cpu", "tolist"):
            raise refuse("a differentiable formula", f".{name}()", "Leave it out.", TraceAttributeError)
        raise refuse("methods that a formula may use", f".{name}", _near(name), TraceAttributeError)


class Condition(Proxy):
    """A traced comparison: for where, & | ~, and as 0 or 1 in products."""

    __slots__ = ()

    def __bool__(self) -> bool:
        if self.traced_ in (sympy.true, sympy.false):
            return bool(self.traced_)
        raise refuse(
            "a formula without branches",
            f"a truth test of ({self.traced_})",
            "Write np.where(condition, a, b) instead of if, np.minimum/np.maximum instead of min/max, & | ~ "
            "instead of and, or, not and chains such as 0 < p < 1.",
        )


def _near(name: str) -> str:
    return nearest(name, _METHODS)


def _method(self: Proxy, name: str) -> Callable[..., Any]:
    library = "torch" if name in TABLES["torch"] else "numpy"

    def call(*args: Any, **kwargs: Any) -> Any:
        if name == "where":  # Tensor.where: x.where(condition, other)
            return _call(library, name, (*args[:1], self, *args[1:]), kwargs)
        return _call(library, name, (self, *args), kwargs)

    return call
