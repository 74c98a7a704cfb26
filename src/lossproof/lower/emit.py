"""Expression -> source text of a function, for any target that spells the functions out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy
from sympy.core.function import Function

from lossproof.formula import LossproofError
from lossproof.formula.functions import sigmoid
from lossproof.formula.symbols import P, Y, Z

Expr = Any
_SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(1, 6)


@dataclass(frozen=True)
class Target:
    """How a language or framework spells things. ``primitives`` are helper functions it lacks: name -> source."""

    id: str
    header: str
    functions: Mapping[str, str]
    where: str
    fill: str  # an array of one number, shaped as another array
    primitives: Mapping[str, str] = field(default_factory=dict)
    with_scalar: Mapping[str, str] = field(default_factory=dict)  # spelling when the 2nd argument is a number


_SCALAR = {
    "log": "math.log({0})", "log1p": "math.log1p({0})", "exp": "math.exp({0})", "expm1": "math.expm1({0})",
    "sqrt": "math.sqrt({0})", "Abs": "abs({0})", "sign": "math.copysign(1.0, {0})", "sin": "math.sin({0})",
    "cos": "math.cos({0})", "tan": "math.tan({0})", "atan": "math.atan({0})", "sinh": "math.sinh({0})",
    "cosh": "math.cosh({0})", "tanh": "math.tanh({0})", "asinh": "math.asinh({0})", "atanh": "math.atanh({0})",
    "maximum": "max({0}, {1})", "minimum": "min({0}, {1})", "erf": "math.erf({0})", "loggamma": "math.lgamma({0})",
    "xlogy": "({0} * math.log({1}) if {0} else 0.0)", "xdivy": "({0} / {1} if {0} else 0.0)",
}  # fmt: skip


class Emitter:
    """Writes functions for one target; remembers which primitives they use."""

    def __init__(self, target: Target, tensors: Iterable[Expr] = (Y, P, Z)) -> None:
        self.target = target
        self.tensors = set(tensors)
        self.used: set[str] = set()

    def function(self, name: str, args: Sequence[Expr], signature: str, expr: Expr, doc: str) -> str:
        """Source of ``def name(signature)`` that returns the expression."""
        lines = [f"def {name}({signature}):", f'    """{doc}"""']
        lines += self._branches(expr, args[-1], indent=1)
        return "\n".join(lines) + "\n"

    def _branches(self, expr: Expr, like: Expr, indent: int) -> list[str]:
        # a choice between parameter values is an if: the branch not taken may divide by zero
        pad = "    " * indent
        for choice in sorted(expr.atoms(sympy.Piecewise), key=lambda e: (e.count_ops(), str(e)), reverse=True):
            if all(c == sympy.true or self.is_scalar(c) for _, c in choice.args):
                lines = []
                for branch, condition in choice.args:
                    taken = expr.xreplace({choice: branch})
                    if condition == sympy.true:
                        return lines + self._branches(taken, like, indent)
                    lines.append(f"{pad}if {self.condition(condition)}:")
                    lines += self._branches(taken, like, indent + 1)
                return lines
        return self._statements(expr, like, pad)

    def _statements(self, expr: Expr, like: Expr, pad: str) -> list[str]:
        names = _readable_names({str(s) for s in expr.free_symbols} | {"y", "z"})
        shared, (result,) = sympy.cse([expr], symbols=(sympy.Symbol(f"_c{i}", real=True) for i in range(10_000)),
                                      order="none")  # fmt: skip
        renamed: dict[Expr, Expr] = {}
        lines = []
        scalars_before = set(self.tensors)
        for symbol, value in shared:
            plain = value.xreplace(renamed)
            if plain.is_Symbol or (-plain).is_Symbol:  # a sign is no work to share
                renamed[symbol] = plain
                continue
            new = sympy.Symbol(names(plain), real=True)
            renamed[symbol] = new
            if not self.is_scalar(plain):
                self.tensors.add(new)
            lines += _wrapped(f"{pad}{new} = ", self(plain), pad)
        result = result.xreplace(renamed)
        text = self.target.fill.format(self(result), self(like)) if self.is_scalar(result) else self(result)
        self.tensors = scalars_before
        return [*lines, *_wrapped(f"{pad}return ", text, pad)]

    def is_scalar(self, e: Expr) -> bool:
        """True for what is known without the arrays: numbers and parameters."""
        return not (e.free_symbols & self.tensors)

    def __call__(self, e: Expr, precedence: int = 0) -> str:
        text, own = self._print(e)
        return f"({text})" if own < precedence else text

    def _print(self, e: Expr) -> tuple[str, int]:
        if e.is_Symbol:
            return str(e), _ATOM
        if e.is_number and not e.has(Function):
            return self._number(e)
        if e.is_Add:
            return self._sum(e), _SUM
        if e.is_Mul:
            return self._product(e)
        if e.is_Pow and not isinstance(e, sympy.exp):
            return self._power(e)
        if isinstance(e, sympy.Piecewise):
            return self._where(e), _ATOM
        return self._call(e), _ATOM

    def _number(self, e: Expr) -> tuple[str, int]:
        if e.is_Integer:
            return str(int(e)), _ATOM if e >= 0 else _UNARY
        value = repr(float(e))
        return value, _ATOM if float(e) >= 0 else _UNARY

    def _sum(self, e: Expr) -> str:
        # numbers, then what needs no logits, then the rest: 1/2 - y/2 + small keeps the small part
        ordered = sorted(e.args, key=lambda t: (bool(t.free_symbols), t.has(sigmoid) or t.has(Z), str(t)))
        lead = next((t for t in ordered if not t.could_extract_minus_sign()), ordered[0])
        rest = [t for t in ordered if t is not lead]
        text = self(lead, _SUM)
        for term in rest:
            negative = term.could_extract_minus_sign()
            text += f" - {self(-term, _PRODUCT)}" if negative else f" + {self(term, _SUM)}"
        return text

    def _product(self, e: Expr) -> tuple[str, int]:
        coefficient, rest = e.as_coeff_Mul()
        factors = list(sympy.Mul.make_args(rest))
        if coefficient.is_negative:
            flip = next((i for i, f in enumerate(factors) if f.is_Add and len(f.args) == 2), None)
            if flip is None:
                return f"-{self(-e, _PRODUCT)}", _SUM
            factors[flip], coefficient = -factors[flip], -coefficient
        above, below = [], []
        for f in factors:
            base, power = f.as_base_exp() if not isinstance(f, sympy.exp) else (f, sympy.S.One)
            (below if power.is_number and power.is_negative else above).append(f)
        top = [self(sympy.Integer(coefficient.p), _PRODUCT)] if coefficient.p != 1 or not above else []
        scalars = [f for f in above if self.is_scalar(f)]
        top += [self(f, _UNARY) for f in (*scalars, *(f for f in above if f not in scalars))]
        text = " * ".join(top)
        bottom = [*([sympy.Integer(coefficient.q)] if coefficient.q != 1 else []), *(1 / f for f in below)]
        if bottom:
            text += " / " + (self(bottom[0], _UNARY) if len(bottom) == 1 else
                             "(" + " * ".join(self(b, _UNARY) for b in bottom) + ")")  # fmt: skip
        return text, _PRODUCT

    def _power(self, e: Expr) -> tuple[str, int]:
        base, power = e.args
        if power == sympy.Rational(1, 2):
            return self._spell("sqrt", (base,)), _ATOM
        if power.is_number and power.is_negative:
            return f"1 / {self(base ** -power, _UNARY)}", _PRODUCT
        return f"{self(base, _ATOM)}**{self(power, _ATOM)}", _POWER

    def _where(self, e: Expr) -> str:
        *branches, (last, _) = e.args
        text, scalar = self(last), self.is_scalar(last)
        for value, condition in reversed(branches):
            first = self(value)
            if scalar and self.is_scalar(value):
                like = next(iter(sorted(condition.free_symbols & self.tensors, key=str)))
                first = self.target.fill.format(first, like)
            text, scalar = self.target.where.format(self.condition(condition), first, text), False
        return text

    def condition(self, c: Expr) -> str:
        """A comparison, or several joined."""
        if isinstance(c, sympy.And | sympy.Or):
            joint = (" and " if isinstance(c, sympy.And) else " or ") if self.is_scalar(c) else (
                " & " if isinstance(c, sympy.And) else " | ")  # fmt: skip
            return joint.join(f"({self.condition(part)})" for part in c.args)
        if not c.is_Relational:
            raise LossproofError(f"lower: expected a comparison, got {c}.")
        return f"{self(c.lhs, _SUM)} {c.rel_op} {self(c.rhs, _SUM)}"

    def _call(self, e: Expr) -> str:
        name = type(e).__name__
        if name == "polygamma" and e.args[0] in (0, 1):
            return self._spell("digamma" if e.args[0] == 0 else "trigamma", e.args[1:])
        return self._spell(name, e.args)

    def _spell(self, name: str, args: Sequence[Expr]) -> str:
        texts = [self(a) for a in args]
        if all(self.is_scalar(a) for a in args) and name in _SCALAR:
            if all(a.is_number for a in args):
                function = sympy.sqrt if name == "sqrt" else None
                exact = function(*args) if function else _rebuild(name, args)
                if exact is not None:
                    return repr(float(exact))
            return _SCALAR[name].format(*texts)
        if name in self.target.with_scalar and any(self.is_scalar(a) for a in args):
            ordered = sorted(args, key=self.is_scalar)  # these functions are symmetric
            return self.target.with_scalar[name].format(*(self(a) for a in ordered))
        if name in self.target.primitives:
            self.used.add(name)
        elif name not in self.target.functions:
            raise LossproofError(f"lower: expected a function that {self.target.id} has, got {name}.")
        if name == "where":
            return self.target.where.format(*texts)
        return self.target.functions.get(name, name + "({args})").format(*texts, args=", ".join(texts))


def _rebuild(name: str, args: Sequence[Expr]) -> Expr | None:
    from lossproof.formula import functions

    maker = getattr(sympy, name, None) or getattr(functions, name, None)
    value = maker(*args) if maker else None
    return functions.to_elementary(value).evalf(30) if value is not None else None


class _readable_names:
    """Names for shared parts: p and q for sigmoid(z) and sigmoid(-z), r for the residual, else t1, t2..."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.count = 0
        self.taken = set(taken)

    def __call__(self, e: Expr) -> str:
        known = {sigmoid(Z): "p", sigmoid(-Z): "q", Y - sigmoid(Z): "r", Y - sympy.Symbol("p", real=True): "r"}
        name = known.get(e, "")
        if not name or name in self.taken:
            while not name or name in self.taken:
                self.count += 1
                name = f"t{self.count}"
        self.taken.add(name)
        return name


def _wrapped(head: str, text: str, pad: str, width: int = 100) -> list[str]:
    """A statement on one line, or one term of its sum a line where that is too long."""
    if len(head) + len(text) <= width:
        return [head + text]
    terms, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if depth == 0 and text[i : i + 3] in (" + ", " - ") and i > start:
            terms.append(text[start:i].strip())
            start = i + 1
    terms.append(text[start:].strip())
    if len(terms) == 1:
        return [head + text]
    return [head + "(", *(f"{pad}    {term}" for term in terms), f"{pad})"]
