"""Eager torch source that reuses its temporaries: value and gradient together, for the fused reductions.

Each fresh intermediate is changed in place by the operation that takes it, so that a step touches less memory; so is
a shared part where it is used for the last time. The arguments are never changed.
"""

import math
import re
import time
from collections.abc import Sequence
from typing import Any

import sympy

from lossproof.formula.functions import RealFunction, maximum, minimum, sigmoid, softplus
from lossproof.formula.symbols import Y, Z
from lossproof.lower.emit import _PRODUCT, Emitter, Named, apart, asks_alike, readable_names, wrapped
from lossproof.lower.rules.engine import TooSlow
from lossproof.lower.targets.torch import TORCH

Expr = Any

_IN_PLACE = {"log", "log1p", "exp", "expm1", "sqrt", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "erf",
             "digamma", "sigmoid", "atan", "asinh", "atanh"}  # fmt: skip


#: elements a thread from which fewer logarithms are worth more operations, each of which wakes the threads
TAILED = 1 << 17
SCALE = sympy.Symbol("scale", real=True)


class slope(RealFunction):
    """x p (1 - p): what the sigmoid makes of a derivative; printed as one fused call that writes over p."""

    nargs = 3  # x, p = sigmoid(z), z


def share_slope(e: Expr) -> Expr:
    """Replace x * sigmoid(z) * sigmoid(-z) by the fused call, unless that product is needed elsewhere too."""
    made = _with_slope(e)
    pq = {sigmoid(Z), sigmoid(-Z)}
    return e if any(pq <= set(m.args) for m in made.atoms(sympy.Mul)) else made


def _with_slope(e: Expr) -> Expr:
    if not e.args:
        return e
    e = e.func(*(_with_slope(a) for a in e.args)) if not e.is_Relational else e
    if e.is_Add:
        slopes = [t for t in e.args if any(isinstance(f, slope) for f in sympy.Mul.make_args(t))]
        if len(slopes) > 1:
            joined = sympy.Add(*(t.replace(slope, lambda x, _p, _z: x) for t in slopes))
            return e - sympy.Add(*slopes) + slope(joined, sigmoid(Z), Z)
    if not e.is_Mul:
        return e
    p, q = sigmoid(Z), sigmoid(-Z)
    if not (p in e.args and q in e.args):
        return e
    scalars = [f for f in e.args if not f.free_symbols & {Y, Z}]
    rest = [f for f in e.args if f not in (p, q) and f not in scalars]
    return sympy.Mul(*scalars, slope(sympy.Mul(*rest), p, Z)) if rest else e


def share_sums(
    exprs: Sequence[Expr], deadline: float = math.inf
) -> tuple[list[tuple[Expr, Expr]], list[Expr]]:
    """Name every sum of tensors that is part of a longer sum, as y - p is of y - p - t/2; common parts miss these."""
    named: list[tuple[Expr, Expr]] = []
    found = list(exprs)
    while True:
        if time.thread_time() > deadline:
            raise TooSlow
        sums = {a for e in (*found, *(e for _, e in named)) for a in e.atoms(sympy.Add) if a.has(Z)}
        ordered = [(a, set(a.args)) for a in sorted(sums, key=str)]
        longer = [(b, a) for a, terms in ordered for b, more in ordered if terms < more]
        if not longer:
            return named, found
        part = longer[0][1]
        symbol = sympy.Symbol(f"_s{len(named)}", real=True)
        new = {part: symbol}
        for b, a in longer:
            if a == part:
                new[b] = symbol + (b - part).xreplace({part: symbol})
        named = [(s, e.xreplace(new)) for s, e in named] + [(symbol, part)]
        found = [e.xreplace(new) for e in found]


class InPlaceEmitter(Emitter):
    """Prints expressions as chains of in-place operations on fresh tensors."""

    def __init__(self, deadline: float = math.inf) -> None:
        super().__init__(TORCH, deadline=deadline)
        self.dying: set[Expr] = set()  # shared parts that the statement being printed uses last, and once
        self.ending: set[Expr] = set()  # those that its slope, and nothing after, uses

    def pair(self, name: str, signature: str, value: Expr, gradient: Expr) -> str:
        """Source of a function that returns value and gradient, what they share computed once, or the gradient alone."""
        lines = [
            f"def {name}({signature}, scale=1.0, out=None, valued=True, summed=False):",
            '    """Loss (None unless valued), and scale times its derivative with respect to z (into out, if given).',
            "",
            "    summed: the sum of the loss instead, as a number.",
            '    """',
        ]
        return "\n".join([*lines, *self._pair(value, share_slope(gradient), 1)]) + "\n"

    def _pair(self, value: Expr, gradient: Expr, depth: int) -> list[str]:
        pad = "    " * depth
        choices = [c for e in (value, gradient) for c in e.atoms(sympy.Piecewise)
                   if all(k == sympy.true or self.is_scalar(k) for _, k in c.args)]  # fmt: skip
        if choices:
            choice = next(c for c in sorted(choices, key=lambda c: (-c.count_ops(), str(c))))
            lines: list[str] = []
            for i, (_, condition) in enumerate(choice.args):
                found = {c: c.args[i][0] for c in choices if asks_alike(c, choice)}
                taken = [e.xreplace(found) for e in (value, gradient)]
                if condition == sympy.true:
                    return lines + self._pair(taken[0], taken[1], depth)
                lines.append(f"{pad}if {self.condition(condition)}:")
                lines += self._pair(taken[0], taken[1], depth + 1)
        return self._looked(value, gradient, pad)

    def _looked(self, value: Expr, gradient: Expr, pad: str) -> list[str]:
        """The steps; before a clamp of a residual by 1 or more, which changes nothing as a rule, those without it."""
        if not self.is_scalar(value) and (tailed := self._tailed(value, gradient, pad)):
            return [*tailed, *self._steps(value, gradient, pad)]
        general = self._steps(value, gradient, pad)
        if squared := self._squared(value, gradient, general, pad):
            return [general[0], *squared, *general[1:]]
        clamps = {c for e in (value, gradient) for c in e.atoms(minimum) if isinstance(c.args[0], maximum)}
        found = re.search(r"torch\.clamp\((\w+), ", "\n".join(general))
        if len(clamps) != 1 or not found or value.count_ops() > 100:
            return general
        (clamp,) = clamps
        x, low = sorted(clamp.args[0].args, key=self.is_scalar)
        high = clamp.args[1]
        if not self.is_scalar(low) or low != -high or (high.is_number and high < 1):
            return general
        line, bend = sympy.factor(value.xreplace({clamp: x})), share_slope(gradient.xreplace({clamp: x}))
        plain = self._steps(line, bend, pad)
        same = next((i for i, (a, b) in enumerate(zip(plain, general, strict=False)) if a != b), 0)
        if not any(line.startswith(f"{pad}{found[1]} = ") for line in general[:same]):
            return general
        self.used.add("inside")
        # a residual of grey values lies in [-1, 1]: below a bound of 1 the look would mostly be in vain
        worth = "" if high.is_number else f"{self(high)} >= 1 and "
        look = f"{pad}if {worth}inside({found[1]}, {self(low)}, {self(high)}):"
        squared = self._squared(line, bend, plain, pad, worth, high)
        lines = [*general[:same], look, *("    " + line for line in plain[same:]), *general[same:]]
        return [lines[0], *squared, *lines[1:]]

    def _squared(
        self,
        value: Expr,
        gradient: Expr,
        steps: Sequence[str],
        pad: str,
        worth: str = "",
        bound: Expr | None = None,
    ) -> list[str]:
        """For k (y - p)^2 behind the sigmoid, on a CPU, where its sum will do: the residual is scaled as it is made.

        ``steps``: the general lines. With a bound, only where that is ``worth`` a look, which then finds no residual beyond
        it. To follow p's own line.
        """
        k, square = value.as_independent(Y, Z, as_Add=False)
        c, made = gradient.as_independent(Y, Z, as_Add=False)
        residual = square.base if square.is_Pow and square.exp == 2 else None
        if residual not in (Y - sigmoid(Z), sigmoid(Z) - Y) or not isinstance(made, slope):
            return []
        if made.args[0] not in (residual, -residual) or not (self.is_scalar(k) and self.is_scalar(c)):
            return []
        factor = c * SCALE if made.args[0] == sigmoid(Z) - Y else -c * SCALE
        if steps[0] != f"{pad}p = torch.sigmoid(z, out=out)":
            return []
        self.used |= {"difference", "multiplied", "slope"}
        look = f"{pad}    if inside(r, {self(-bound * factor)}, {self(bound * factor)}):" if bound else ""
        deep = pad + ("        " if look else "    ")
        return [
            f"{pad}if {worth}1e-9 < scale < 1e9 and z.is_cpu and (summed or not valued):",
            f"{pad}    r = difference(p, y, {self(factor)})",
            *([look] if look else []),
            f"{deep}gradient = slope(r, p, z)",
            f"{deep}return multiplied(r, r, {self(k / factor**2)}, True) if valued else None, gradient",
        ]

    def _tailed(self, value: Expr, gradient: Expr, pad: str) -> list[str]:
        """For sums with softplus(z) as a term: its line apart, and of its tail, which has the logarithms, the sum alone."""
        terms = {
            t: t.as_independent(softplus, as_Add=False) for t in sympy.Add.make_args(value) if t.has(softplus)
        }
        lines = {softplus(Z): maximum(Z, 0), softplus(-Z): maximum(-Z, 0)}
        if not terms or not all(self.is_scalar(c) and s in lines for c, s in terms.values()):
            return []
        p = sympy.Symbol("_p", real=True)
        new = gradient.xreplace({sigmoid(Z): p})
        if p not in new.free_symbols or new.has(slope):
            return []
        total = sympy.Add(*(c for c, _ in terms.values()))
        inner = self._steps(value.xreplace(lines), new, pad + "    ", [(p, sigmoid(Z))])
        start = next((i for i, line in enumerate(inner) if line.endswith(" = torch.sigmoid(z)")), None)
        if start is None:
            return []
        name = inner[start].split()[0]
        inner[start] = inner[start].replace("(z)", "(z, out=out)")
        if not any(line.strip().startswith(f"gradient = scaled({name}.") for line in inner):
            return []
        times = "" if total == 1 else f"{self(total, _PRODUCT)} * "
        inner.insert(start + 1, f"{pad}    tails = {times}softplus_tails({name})")
        inner = [line for line in inner if "valued" not in line and "return None" not in line]
        found = re.fullmatch(r"(\s*return )(.*), gradient", inner[-1])
        if not found:
            return []
        self.used.add("softplus_tails")
        return [
            f"{pad}if summed and z.numel() >= {TAILED} * torch.get_num_threads():",
            *inner[:-1],
            f"{found[1]}{found[2]} + tails, gradient",
        ]

    def _named(
        self, value: Expr, gradient: Expr, given: Sequence[Named]
    ) -> tuple[list[Named], list[tuple[str, Expr]]]:
        """Shared parts under readable names, and all statements in order: the gradient's, itself, the value's, itself."""
        names = readable_names(
            {str(s) for e in (value, gradient) for s in e.free_symbols - {s for s, _ in given}} | {"y", "z"}
        )
        complements, exprs = apart(gradient, value)
        sums, roots = share_sums(exprs, self.deadline)
        shared, results = sympy.cse(
            [*(e for _, e in sums), *roots], symbols=sympy.numbered_symbols("_c", real=True), order="none"
        )
        named = in_order([*given, *complements, *shared, *zip((s for s, _ in sums), results, strict=False)])
        renamed: dict[Expr, Expr] = {}
        parts: list[tuple[Expr, Expr]] = []
        for symbol, part in named:
            plain = part.xreplace(renamed)
            if plain.is_Symbol or plain.is_Relational or (-plain).is_Symbol:
                renamed[symbol] = plain
                continue
            new = sympy.Symbol(names(plain), real=True)
            renamed[symbol] = new
            if not self.is_scalar(plain):
                self.tensors.add(new)
            parts.append((new, plain))
        last_gradient, last_value = (e.xreplace(renamed) for e in results[-2:])
        needed = set(last_gradient.free_symbols)
        for new, plain in reversed(parts):
            needed |= plain.free_symbols if new in needed else set()
        first = [(str(new), plain) for new, plain in parts if new in needed]
        then = [(str(new), plain) for new, plain in parts if new not in needed]
        steps = [*first, ("gradient", last_gradient), *then, ("value", last_value)]
        return parts, steps

    def _steps(self, value: Expr, gradient: Expr, pad: str, given: Sequence[Named] = ()) -> list[str]:
        """The gradient first: what it needs no more, the value may overwrite."""
        before = set(self.tensors)
        parts, steps = self._named(value, gradient, given)
        lines: list[str] = []
        for i, (name, plain) in enumerate(steps):
            later = {s for _, e in steps[i + 1 :] for s in e.free_symbols}
            owned = {new for new, _ in parts if new in self.tensors} - later
            if name == "gradient":
                factors = sympy.Mul.make_args(plain)
                factor = sympy.Mul(SCALE, *(f for f in factors if self.is_scalar(f)))
                rest = sympy.Mul(*(f for f in factors if not self.is_scalar(f)))
                text = self._last_use(rest, owned)
                # a chain that begins with the sigmoid may begin in the tensor where the gradient shall end
                begin = "p = torch.sigmoid(z)" if text.startswith("slope(") else ""
                if begin and "p.clone()" not in text:
                    lines = [f"{pad}p = torch.sigmoid(z, out=out)" if x == pad + begin else x for x in lines]
                if text.startswith("torch.sigmoid(z)."):
                    text = text.replace("torch.sigmoid(z)", "torch.sigmoid(z, out=out)", 1)
                lines += wrapped("gradient = {}", self._scaled(rest, text, factor, owned), pad)
                lines += [f"{pad}if not valued:", f"{pad}    return None, gradient"]
            elif name == "value":
                factors = sympy.Mul.make_args(plain)
                factor = sympy.Mul(*(f for f in factors if self.is_scalar(f)))
                rest = sympy.Mul(*(f for f in factors if not self.is_scalar(f)))
                if self.is_scalar(plain) or (rest.is_Symbol and rest not in owned):  # nothing to write over
                    factor, rest = sympy.S.One, plain
                text = self._last_use(rest, owned)
                text = f"torch.full_like(z, {text})" if self.is_scalar(rest) else text
                text = self._finished(text, self(factor))
                if len(pad) + len(text) > 80:
                    lines += wrapped("value = {}", text, pad)
                    text = "value"
                lines.append(f"{pad}return {text}, gradient")
            else:
                lines += wrapped(f"{name} = {{}}", self._last_use(plain, owned), pad)
        self.tensors = before
        return lines

    def _finished(self, text: str, factor: str) -> str:
        """The value from the text of its tensor; the sum of a product of two needs no tensor of products."""
        found = re.fullmatch(r"(?P<x>\w+)\.square_\(\)", text) or re.fullmatch(
            r"(?P<x>.+)\.mul_\((?P<w>\w+)\)", text
        )
        if found and found["x"].count("(") == found["x"].count(")"):
            self.used.add("multiplied")
            parts = found.groupdict()
            return f"multiplied({parts['x']}, {parts.get('w', parts['x'])}, {factor}, summed)"
        self.used.add("finished")
        return f"finished({text}, {factor}, summed)"

    def _last_use(self, e: Expr, owned: set[Expr]) -> str:
        """The text of an expression that may overwrite the owned symbols which it mentions once."""
        nodes = list(sympy.preorder_traversal(e))
        self.dying = {s for s in owned if nodes.count(s) == 1}
        # a slope writes over its p when all else in it is computed
        calls = [n for n in nodes if isinstance(n, slope)]
        inside = list(sympy.preorder_traversal(calls[0])) if len(calls) == 1 else []
        self.ending = {
            s for s in owned if inside and s is inside[0].args[1] and nodes.count(s) == inside.count(s)
        }
        text = self(e)
        if any(
            len(re.findall(rf"\b{s}\b", text)) > 1 for s in self.dying
        ):  # a spelling that repeats its argument
            self.dying = set()
            text = self(e)
        self.dying, self.ending = set(), set()
        return text

    def _scaled(self, e: Expr, text: str, factor: Expr, owned: set[Expr]) -> str:
        if self.is_scalar(e):
            text = f"torch.full_like(z, {text})"
        elif e.is_Symbol and e not in owned:
            return f"torch.mul({text}, {self(factor)}, out=out)"
        self.used.add("scaled")
        return f"scaled({text}, {self(factor)}, out)"

    def _fresh(self, e: Expr) -> bool:
        """True for what printing e creates anew, or that nobody needs later."""
        return e in self.dying or not (e.is_Symbol or self.is_scalar(e))

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
            x, p = self(e.args[0]), self(e.args[1])
            own = e.args[1] in self.ending or self._fresh(e.args[1])
            return f"slope({x}, {p}, z)" if own else f"slope({x}, {p}.clone(), z)"
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


def in_order(parts: Sequence[tuple[Expr, Expr]]) -> list[tuple[Expr, Expr]]:
    """Named parts, each after those that it mentions."""
    left, done = list(parts), []
    while left:
        waiting = {name for name, _ in left}
        ready = next(part for part in left if not part[1].free_symbols & waiting)
        left.remove(ready)
        done.append(ready)
    return done


def both_logits(
    value: Expr, gradient: Expr, signature: str, deadline: float = math.inf
) -> tuple[str, Sequence[str]]:
    """Source of ``both_logits(y, z, ...)`` for torch, and the primitives it calls."""
    emitter = InPlaceEmitter(deadline)
    text = emitter.pair("both_logits", signature, value, gradient)
    return text, sorted(emitter.used)
