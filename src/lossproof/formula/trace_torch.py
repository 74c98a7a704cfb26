"""What ``torch.nn.functional`` computes, as formulas, for the tracer; no torch is needed for it.

Source of each formula: the PyTorch 2.13 documentation of the function of the same name.
"""

from typing import Any

import sympy

from lossproof.formula import functions as fn
from lossproof.formula.trace_refuse import refuse

Expr = Any
_HALF = sympy.Rational(1, 2)
_TWENTY = sympy.Integer(20)
_SLOPE = sympy.Rational(1, 100)
_EPS = sympy.Rational(1, 10**8)


def _elementwise(reduction: object, size_average: object = None, reduce: object = None) -> None:
    if size_average is not None or reduce is not None:
        raise refuse(
            "reduction='none'",
            "size_average or reduce",
            "These arguments are deprecated in torch; leave them out.",
        )
    if reduction != "none":
        raise refuse(
            "the element-wise loss, reduction='none'",
            f"reduction={reduction!r}",
            "Return the element-wise loss; sums and means are taken by lossproof.",
        )


def _weighted(loss: Expr, weight: Expr | None) -> Expr:
    return loss if weight is None else weight * loss


def binary_cross_entropy(
    input: Expr,
    target: Expr,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Expr:
    """Both logarithms are clamped at -100, as torch does."""
    _elementwise(reduction, size_average, reduce)
    low = sympy.Integer(-100)
    loss = -target * fn.maximum(sympy.log(input), low) - (1 - target) * fn.maximum(fn.log1p(-input), low)
    return _weighted(loss, weight)


def binary_cross_entropy_with_logits(
    input: Expr,
    target: Expr,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Expr:
    _elementwise(reduction, size_average, reduce)
    loss = fn.softplus(input) - target * input
    if pos_weight is not None:
        loss = (1 - target) * input + (1 + (pos_weight - 1) * target) * fn.softplus(-input)
    return _weighted(loss, weight)


def mse_loss(
    input: Expr,
    target: Expr,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Expr:
    _elementwise(reduction, size_average, reduce)
    return _weighted((target - input) ** 2, weight)


def l1_loss(
    input: Expr,
    target: Expr,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Expr:
    _elementwise(reduction, size_average, reduce)
    return _weighted(sympy.Abs(target - input), weight)


def _huber(error: Expr, delta: Expr) -> Expr:
    return fn.where(sympy.Le(error, delta), error**2 / 2, delta * (error - delta / 2))


def huber_loss(
    input: Expr, target: Expr, reduction: str = "mean", delta: Expr = sympy.S.One, weight: Any = None
) -> Expr:
    _elementwise(reduction)
    return _weighted(_huber(sympy.Abs(target - input), delta), weight)


def smooth_l1_loss(
    input: Expr,
    target: Expr,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: Expr = sympy.S.One,
) -> Expr:
    _elementwise(reduction, size_average, reduce)
    error = sympy.Abs(target - input)
    if beta == 0:
        return error
    return fn.where(sympy.Lt(error, beta), error**2 / (2 * beta), error - beta / 2)


def kl_div(
    input: Expr,
    target: Expr,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Expr:
    """``input`` is a logarithm; scipy's ``kl_div`` is another function."""
    _elementwise(reduction, size_average, reduce)
    if log_target:
        return sympy.exp(target) * (target - input)
    return fn.xlogy(target, target) - target * input


def poisson_nll_loss(
    input: Expr,
    target: Expr,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: Expr = _EPS,
    reduce: Any = None,
    reduction: str = "mean",
) -> Expr:
    _elementwise(reduction, size_average, reduce)
    loss = sympy.exp(input) - target * input if log_input else input - target * sympy.log(input + eps)
    if full:
        stirling = target * sympy.log(target) - target + sympy.log(2 * sympy.pi * target) / 2
        loss += fn.where(sympy.Gt(target, 1), stirling, sympy.S.Zero)
    return loss


def soft_margin_loss(
    input: Expr, target: Expr, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
) -> Expr:
    _elementwise(reduction, size_average, reduce)
    return fn.softplus(-target * input)


def _not_in_place(inplace: bool) -> None:
    if inplace:
        raise refuse("a function without side effects", "inplace=True", "Leave inplace out.")


def softplus(input: Expr, beta: Expr = sympy.S.One, threshold: Expr = _TWENTY) -> Expr:
    """torch returns its input where beta*x > threshold; from 20 on that differs by 1.1e-10 of it at most."""
    smooth = fn.softplus(beta * input) / beta
    if threshold.is_number and threshold >= 20:
        return smooth
    return fn.where(sympy.Gt(beta * input, threshold), input, smooth)


def relu(input: Expr, inplace: bool = False) -> Expr:
    _not_in_place(inplace)
    return fn.maximum(input, sympy.S.Zero)


def relu6(input: Expr, inplace: bool = False) -> Expr:
    _not_in_place(inplace)
    return fn.clip(input, sympy.S.Zero, sympy.Integer(6))


def leaky_relu(input: Expr, negative_slope: Expr = _SLOPE, inplace: bool = False) -> Expr:
    _not_in_place(inplace)
    return fn.where(sympy.Gt(input, 0), input, negative_slope * input)


def elu(input: Expr, alpha: Expr = sympy.S.One, inplace: bool = False) -> Expr:
    _not_in_place(inplace)
    return fn.where(sympy.Gt(input, 0), input, alpha * fn.expm1(input))


def silu(input: Expr, inplace: bool = False) -> Expr:
    _not_in_place(inplace)
    return input * fn.sigmoid(input)


def gelu(input: Expr, approximate: str = "none") -> Expr:
    if approximate != "none":
        raise refuse("approximate='none'", f"approximate={approximate!r}")
    return input * _HALF * (1 + sympy.erf(input / sympy.sqrt(2)))


def hardtanh(
    input: Expr, min_val: Expr = sympy.S.NegativeOne, max_val: Expr = sympy.S.One, inplace: bool = False
) -> Expr:
    _not_in_place(inplace)
    return fn.clip(input, min_val, max_val)


def softsign(input: Expr) -> Expr:
    return input / (1 + sympy.Abs(input))


FUNCTIONS: dict[str, Any] = {
    f.__name__: f
    for f in (
        binary_cross_entropy, binary_cross_entropy_with_logits, mse_loss, l1_loss, huber_loss, smooth_l1_loss,
        kl_div, poisson_nll_loss, soft_margin_loss, softplus, relu, relu6,
        leaky_relu, elu, silu, gelu, hardtanh,
        softsign,
    )
}  # fmt: skip
