"""Eager torch source that reuses its temporaries: value and gradient together, for the fused reductions.

Each fresh intermediate is changed in place by the operation that takes it, so that a step touches less memory. What
has a name (the arguments, shared parts) is never changed.
"""

from collections.abc import Sequence
from typing import Any

import sympy

from lossproof.formula.functions import RealFunction, maximum, minimum, sigmoid
from lossproof.formula.symbols import Y, Z
from lossproof.lower.emit import Emitter, readable_names, wrapped
from lossproof.lower.targets.torch import TORCH

Expr = Any

_IN_PLACE = {"log", "log1p", "exp", "expm1", "sqrt", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "erf",
             "digamma", "sigmoid", "atan", "asinh", "atanh"}  # fmt: skip


SCALE = sympy.Symbol("scale", real=True)


class slope(RealFunction):
    """x p (1 - p): what the sigmoid makes of a derivative; printed as one fused call."""

    nargs = 3  # x, p = sigmoid(z), z


def share_slope(e: Expr) -> Expr:
    """Replace x * sigmoid(z) * sigmoid(-z) by the fused call wherever x is an array."""
    if not e.args:
        return e
    e = e.func(*(share_slope(a) for a in e.args)) if not e.is_Relational else e
    if not e.is_Mul:
        return e
    p, q = sigmoid(Z), sigmoid(-Z)
    if not (p in e.args and q in e.args):
        return e
    scalars = [f for f in e.args if not f.free_symbols & {Y, Z}]
    rest = [f for f in e.args if f not in (p, q) and f not in scalars]
    return sympy.Mul(*scalars, slope(sympy.Mul(*rest), p, Z)) if rest else e


class InPlaceEmitter(Emitter):
    """Prints expressions as chains of in-place operations on fresh tensors."""

    def __init__(self) -> None:
        super().__init__(TORCH)

    def pair(self, name: str, signature: str, value: Expr, gradient: Expr) -> str:
        """Source of a function that returns value and gradient, what they share computed once."""
        lines = [
            f"def {name}({signature}, scale=1.0):",
            '    """Loss, and scale times its derivative with respect to z, together."""',
        ]
        return "\n".join([*lines, *self._pair(value, share_slope(SCALE * gradient), 1)]) + "\n"

    def _pair(self, value: Expr, gradient: Expr, depth: int) -> list[str]:
        pad = "    " * depth
        choices = [c for e in (value, gradient) for c in e.atoms(sympy.Piecewise)
                   if all(k == sympy.true or self.is_scalar(k) for _, k in c.args)]  # fmt: skip
        if choices:
            conditions = next(c for c in sorted(choices, key=lambda c: (-c.count_ops(), str(c)))).args
            lines: list[str] = []
            for _, condition in conditions:
                taken = [_choose(e, condition) for e in (value, gradient)]
                if condition == sympy.true:
                    return lines + self._pair(taken[0], taken[1], depth)
                lines.append(f"{pad}if {self.condition(condition)}:")
                lines += self._pair(taken[0], taken[1], depth + 1)
        return self._steps(value, gradient, pad)

    def _steps(self, value: Expr, gradient: Expr, pad: str) -> list[str]:
        names = readable_names({str(s) for e in (value, gradient) for s in e.free_symbols} | {"y", "z"})
        shared, results = sympy.cse(
            [value, gradient], symbols=sympy.numbered_symbols("_c", real=True), order="none"
        )
        renamed: dict[Expr, Expr] = {}
        lines: list[str] = []
        before = set(self.tensors)
        for symbol, part in shared:
            plain = part.xreplace(renamed)
            if plain.is_Symbol or plain.is_Relational or (-plain).is_Symbol:
                renamed[symbol] = plain
                continue
            new = sympy.Symbol(names(plain), real=True)
            renamed[symbol] = new
            if not self.is_scalar(plain):
                self.tensors.add(new)
            lines += wrapped(f"{new} = {{}}", self(plain), pad)
        texts = []
        for result in results:
            plain = result.xreplace(renamed)
            text = self(plain)
            texts.append(f"torch.full_like(z, {text})" if self.is_scalar(plain) else text)
        self.tensors = before
        if len(pad) + sum(map(len, texts)) < 95:
            return [*lines, f"{pad}return {texts[0]}, {texts[1]}"]
        return [*lines, *wrapped("value = {}", texts[0], pad), *wrapped("return value, {}", texts[1], pad)]

    def _fresh(self, e: Expr) -> bool:
        """True for what printing e creates anew, and nobody else holds."""
        return not (e.is_Symbol or self.is_scalar(e))

    def _atom(self, e: Expr) -> str:
        return self(e, 5)

    def _sum(self, e: Expr) -> str:
        terms = sorted(e.args, key=lambda t: (t.could_extract_minus_sign(), t.has(sigmoid), str(t)))
        base = next((t for t in terms if self._fresh(t) and not t.could_extract_minus_sign()), None)
        if base is None:
            return super()._sum(e)
        text = self._atom(base)
        for term in terms:
            if term is not base:
                text += self._added(term)
        return text

    def _added(self, term: Expr) -> str:
        negative = term.could_extract_minus_sign()
        plain = -term if negative else term
        if self.is_scalar(plain) or plain.is_Symbol:
            return f".{'sub' if negative else 'add'}_({self(plain)})"
        factors = sympy.Mul.make_args(plain)
        scalars = [f for f in factors if self.is_scalar(f)]
        arrays = [f for f in factors if not self.is_scalar(f)]
        plain_powers = all(f.as_base_exp()[1] == 1 for f in arrays)
        value = sympy.Mul(*scalars) * (-1 if negative else 1)
        if len(arrays) == 2 and plain_powers:
            extra = "" if value == 1 else f", value={self(value)}"
            return f".addcmul_({self(arrays[0])}, {self(arrays[1])}{extra})"
        if len(arrays) == 1 and plain_powers and value not in (1, -1):
            return f".add_({self(arrays[0])}, alpha={self(value)})"
        return f".{'sub' if negative else 'add'}_({self(plain)})"

    def _product(self, e: Expr) -> tuple[str, int]:
        scalars = [f for f in e.args if self.is_scalar(f)]
        arrays = [f for f in e.args if not self.is_scalar(f)]
        if not arrays:
            return super()._product(e)
        above = [f for f in arrays if not f.as_base_exp()[1].is_negative or isinstance(f, sympy.exp)]
        below = [1 / f for f in arrays if f not in above]
        scale = sympy.Mul(*scalars)
        if not above:
            return super()._product(e)
        base = next((f for f in above if self._fresh(f)), None)
        if base is None and len(above) == 1 and not below:
            return super()._product(e)
        if base is None:
            first, *rest = above
            other = rest.pop(0) if rest else below.pop(0)
            sign = "*" if len(above) > 1 else "/"
            text = f"({self(first, 3)} {sign} {self(other, 3)})"
        else:
            text, rest = self._atom(base), [f for f in above if f is not base]
        text += "".join(f".mul_({self(f)})" for f in rest) + "".join(f".div_({self(f)})" for f in below)
        if scale == -1:
            text += ".neg_()"
        elif scale != 1:
            text += f".mul_({self(scale)})"
        return text, 5

    def _power(self, e: Expr) -> tuple[str, int]:
        base, power = e.args
        if self.is_scalar(e) or power.is_negative or not self.is_scalar(power):
            return super()._power(e)
        fresh = self._fresh(base)
        if power == 2:
            return (f"{self._atom(base)}.square_()" if fresh else f"{self._atom(base)}.square()"), 5
        if power == sympy.Rational(1, 2):
            return (f"{self._atom(base)}.sqrt_()" if fresh else f"torch.sqrt({self(base)})"), 5
        return (f"{self._atom(base)}.pow_({self(power)})", 5) if fresh else super()._power(e)

    def _call(self, e: Expr) -> str:
        name = type(e).__name__
        if isinstance(e, slope):
            self.used.add("slope")
            return f"slope({self(e.args[0])}, {self(e.args[1])}, z)"
        if isinstance(e, minimum) and isinstance(e.args[0], maximum) and self.is_scalar(e.args[1]):
            x, low = sorted(e.args[0].args, key=self.is_scalar)
            if self.is_scalar(low):
                bounds = f"{self(low)}, {self(e.args[1])}"
                return (
                    f"{self._atom(x)}.clamp_({bounds})"
                    if self._fresh(x)
                    else f"torch.clamp({self(x)}, {bounds})"
                )
        if isinstance(e, minimum | maximum) and any(self.is_scalar(a) for a in e.args):
            array, bound = sorted(e.args, key=self.is_scalar)
            inner = "min" if isinstance(e, maximum) else "max"
            if self._fresh(array):
                return f"{self._atom(array)}.clamp_({inner}={self(bound)})"
            return f"torch.clamp({self(array)}, {inner}={self(bound)})"
        if name in _IN_PLACE and len(e.args) == 1 and self._fresh(e.args[0]):
            spelt = {"atan": "arctan", "asinh": "arcsinh", "atanh": "arctanh"}.get(name, name)
            return f"{self._atom(e.args[0])}.{spelt}_()"
        if isinstance(e, sympy.Abs) and self._fresh(e.args[0]):
            return f"{self._atom(e.args[0])}.abs_()"
        return super()._call(e)


def _choose(e: Expr, condition: Expr) -> Expr:
    """The expression where a condition on the parameters holds (the last branch for ``True``)."""
    found = {}
    for choice in e.atoms(sympy.Piecewise):
        for value, c in choice.args:
            if c == condition:
                found[choice] = value
    return e.xreplace(found)


def both_logits(value: Expr, gradient: Expr, signature: str) -> tuple[str, Sequence[str]]:
    """Source of ``both_logits(y, z, ...)`` for torch, and the primitives it calls."""
    emitter = InPlaceEmitter()
    text = emitter.pair("both_logits", signature, value, gradient)
    return text, sorted(emitter.used)
