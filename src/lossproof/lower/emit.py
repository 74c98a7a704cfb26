"""Expression -> source text of a function, for any target that spells the functions out."""

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

import sympy
from sympy.core.function import Function

from lossproof.formula import LossproofError
from lossproof.formula.functions import sigmoid
from lossproof.formula.symbols import P, Y, Z
from lossproof.lower.rules.engine import TooSlow
from lossproof.lower.targets.spelling import Target

Expr = Any
Named = tuple[Any, Any]  # a symbol and what it stands for
_SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(1, 6)


# what SymPy calls otherwise than formulas do
_WRITTEN = {"loggamma": "gammaln", "Abs": "abs", "atan": "arctan", "asinh": "arcsinh", "atanh": "arctanh"}


def _float(e: Expr) -> float:
    """A number as float64; refused where that would be 0 or infinite."""
    try:
        value = float(e)
    except OverflowError:
        value = math.inf
    if math.isinf(value) or (value == 0 and e != 0):
        size = sympy.log(abs(e), 10).evalf(3)
        raise LossproofError(
            f"lower: expected numbers that float64 holds, got one of about 10**{float(size):.0f}. Scale the formula: a "
            "constant factor moves no minimum."
        )
    return value


class Emitter:
    """Writes functions for one target; remembers which primitives they use.

    Raises ``TooSlow`` past ``deadline`` (of ``time.thread_time()``); with ``share=False`` it looks for no common parts,
    which is what takes long.
    """

    def __init__(
        self,
        target: Target,
        tensors: Iterable[Expr] = (Y, P, Z),
        *,
        deadline: float = math.inf,
        share: bool = True,
    ) -> None:
        self.deadline = deadline
        self.share = share
        self.target = target
        self.tensors = set(tensors)
        self.used: set[str] = set()
        self.given: Sequence[Named] = ()
        self._texts: dict[Expr, str] = {}

    def function(
        self,
        name: str,
        args: Sequence[Expr],
        signature: str,
        expr: Expr,
        doc: str,
        given: Sequence[Named] = (),
    ) -> str:
        """Source of a function of that name and signature which returns the expression, or each of a tuple of them.

        ``given`` are symbols in the expression with what they stand for: statements of their own, in this order.
        """
        syntax = self.target.syntax
        lines = [syntax.define.format(name=name, args=signature), syntax.indent + syntax.doc.format(doc=doc)]
        self.given = given
        lines += self._branches(expr, args[-1], depth=1)
        return "\n".join([*lines, *([syntax.close] if syntax.close else [])]) + "\n"

    def _branches(self, expr: Expr, like: Expr, depth: int) -> list[str]:
        # a choice between parameter values is an if: the branch not taken may divide by zero
        syntax = self.target.syntax
        pad = syntax.indent * depth
        choices = sorted(expr.atoms(sympy.Piecewise), key=lambda e: (e.count_ops(), str(e)), reverse=True)
        for choice in choices:
            if all(c == sympy.true or self.is_scalar(c) for _, c in choice.args):
                lines: list[str] = []
                for i, (_, condition) in enumerate(choice.args):
                    taken = expr.xreplace({c: c.args[i][0] for c in choices if asks_alike(c, choice)})
                    if condition == sympy.true:
                        return lines + self._branches(taken, like, depth)
                    lines.append(pad + syntax.when.format(condition=self.condition(condition)))
                    lines += self._branches(taken, like, depth + 1)
                    lines += [pad + syntax.otherwise.format()] if syntax.otherwise else []
                return lines
        return self._statements(expr, like, pad)

    def _statements(self, expr: Expr, like: Expr, pad: str) -> list[str]:
        given = list(self.given)
        taken = {s for e in (expr, *(e for _, e in given)) for s in e.free_symbols}
        names = readable_names({str(s) for s in taken - {s for s, _ in given}} | {"y", "z"})
        complements, exprs = apart(*(expr if isinstance(expr, sympy.Tuple) else (expr,)))
        symbols = (sympy.Symbol(f"_c{i}", real=True) for i in range(10_000))
        shared, results = sympy.cse(exprs, symbols=symbols, order="none") if self.share else ([], exprs)
        renamed: dict[Expr, Expr] = {}
        lines = []
        scalars_before = set(self.tensors)
        for symbol, value in [*given, *complements, *shared]:
            plain = value.xreplace(renamed)
            if plain.is_Symbol or plain.is_Relational or (-plain).is_Symbol:  # a sign is no work to share
                renamed[symbol] = plain
                continue
            new = sympy.Symbol(names(plain), real=True)
            renamed[symbol] = new
            if not self.is_scalar(plain):
                self.tensors.add(new)
            lines += wrapped(self.target.syntax.assign.format(name=new, value="{}"), self(plain), pad)
        results = [e.xreplace(renamed) for e in results]
        texts = [
            self.target.fill.format(self(e), self(like)) if self.is_scalar(e) else self(e) for e in results
        ]
        if len(texts) > 1:
            for i, text in enumerate(texts):
                lines += wrapped(self.target.syntax.assign.format(name=f"result{i}", value="{}"), text, pad)
            texts = [", ".join(f"result{i}" for i in range(len(texts)))]
        text = texts[0]
        self.tensors = scalars_before
        return [*lines, *wrapped(self.target.syntax.give.format(value="{}"), text, pad)]

    def is_scalar(self, e: Expr) -> bool:
        """True for what is known without the arrays: numbers and parameters."""
        return not (e.free_symbols & self.tensors)

    def __call__(self, e: Expr, precedence: int = 0) -> str:
        if time.thread_time() > self.deadline:
            raise TooSlow
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
        if e.is_Integer and abs(e) < 2**53:
            return str(int(e)), _ATOM if e >= 0 else _UNARY
        if self.target.rational and e.is_Rational:
            return self.target.rational.format(e.p, e.q), _ATOM
        held = _float(e)
        return repr(held), _ATOM if held >= 0 else _UNARY

    def _sum(self, e: Expr) -> str:
        # numbers, then what needs no logits, then the rest: 1/2 - y/2 + small keeps the small part
        ordered = sorted(
            e.args, key=lambda t: (bool(t.free_symbols), t.has(sigmoid) or t.has(Z), self._in_text(t))
        )
        lead = next((t for t in ordered if not t.could_extract_minus_sign()), ordered[0])
        rest = [t for t in ordered if t is not lead]
        text = self(lead, _SUM)
        for term in rest:
            negative = term.could_extract_minus_sign()
            text += f" - {self(-term, _PRODUCT)}" if negative else f" + {self(term, _SUM)}"
        return text

    def _in_text(self, e: Expr) -> str:
        """SymPy's text, made once: sorting long sums by it takes most of the time of printing them."""
        if e not in self._texts:
            self._texts[e] = str(e)
        return self._texts[e]

    def _product(self, e: Expr) -> tuple[str, int]:
        coefficient, rest = e.as_coeff_Mul()
        factors = list(sympy.Mul.make_args(rest))
        if coefficient.is_negative:
            flip = next((i for i, f in enumerate(factors) if f.is_Add and len(f.args) == 2), None)
            if flip is None:
                return f"-{self(-e, _PRODUCT)}", _SUM
            factors[flip], coefficient = -factors[flip], -coefficient
        if not self.target.rational and max(coefficient.p, coefficient.q) >= 2**53:
            factors, coefficient = [sympy.Float(coefficient), *factors], sympy.S.One
        above: list[Expr] = []
        below: list[Expr] = []
        for f in factors:
            power = sympy.S.One if isinstance(f, sympy.exp) else f.as_base_exp()[1]
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
            return f"1 / {self(base**-power, _UNARY)}", _PRODUCT
        spelling = self.target.syntax.power
        called = spelling.endswith(")")  # Math.pow(a, b) brings its own parentheses
        inner = 0 if called else _ATOM
        return spelling.format(self(base, inner), self(power, inner)), _ATOM if called else _POWER

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
        syntax = self.target.syntax
        if isinstance(c, sympy.And | sympy.Or):
            plain, arrays = (syntax.both, syntax.either), self.target.joint
            joint = (plain if self.is_scalar(c) else arrays)[isinstance(c, sympy.Or)]
            return joint.join(f"({self.condition(part)})" for part in c.args)
        if not c.is_Relational:
            raise LossproofError(f"lower: expected a comparison, got {c}.")
        sign = {"==": syntax.equal, "!=": syntax.unequal}.get(c.rel_op, c.rel_op)
        return f"{self(c.lhs, _SUM)} {sign} {self(c.rhs, _SUM)}"

    def _call(self, e: Expr) -> str:
        name = type(e).__name__
        if name == "polygamma" and e.args[0] in (0, 1):
            return self._spell("digamma" if e.args[0] == 0 else "trigamma", e.args[1:])
        return self._spell(name, e.args)

    def _spell(self, name: str, args: Sequence[Expr]) -> str:
        texts = [self(a) for a in args]
        if all(self.is_scalar(a) for a in args) and self.target.numbers:
            exact = _rebuild(name, args) if all(a.is_number for a in args) else None
            if exact is not None:
                return repr(_float(exact))
            if name in self.target.numbers:
                return self.target.numbers[name].format(*texts, args=", ".join(texts))
        if name in self.target.with_scalar and any(self.is_scalar(a) for a in args):
            ordered = sorted(args, key=self.is_scalar)  # these functions are symmetric
            return self.target.with_scalar[name].format(*(self(a) for a in ordered))
        if name in self.target.primitives:
            self.used.add(name)
        elif name not in self.target.functions:
            written = _WRITTEN.get(name, name)
            raise LossproofError(
                f"lower: expected functions that {self.target.title} has, got {written}. Choose another target."
            )
        return self.target.functions.get(name, name + "({args})").format(*texts, args=", ".join(texts))


def asks_alike(one: Expr, other: Expr) -> bool:
    """True for two choices with the same conditions in the same order."""
    return [c for _, c in one.args] == [c for _, c in other.args]


def apart(*exprs: Expr) -> tuple[list[tuple[Expr, Expr]], list[Expr]]:
    """Write c - k y, which cancels near y = 1 where c is little more than k, as (c - k) + k (1 - y).

    Returns the names given to 1 - y and 1 - p, and the expressions in them: SymPy would multiply k (1 - y) out.

    >>> apart(sympy.Rational(19, 20) - sympy.Rational(9, 10) * Y)
    ([(_from_y, 1 - y)], [9*_from_y/10 + 1/20])
    """
    named = {x: sympy.Symbol(f"_from_{x}", real=True) for x in (Y, P)}
    new = {}
    for total in {a for e in exprs for a in e.atoms(sympy.Add)}:
        c, rest = total.as_coeff_Add()
        k, x = rest.as_coeff_Mul()
        exact = abs(k) == 1 and sympy.Rational(float(c)) == c  # then the difference is exact near 1
        if x in named and 0 < -c / k - 1 < sympy.Rational(1, 4) and not exact:
            new[total] = c + k - k * named[x]
    made = [e.xreplace(new) for e in exprs]
    used = {s for e in made for s in e.free_symbols}
    return [(s, 1 - x) for x, s in named.items() if s in used], made


def _rebuild(name: str, args: Sequence[Expr]) -> Expr | None:
    from lossproof.formula import functions

    maker = getattr(functions, name, None) or getattr(sympy, name, None)
    value = functions.to_elementary(maker(*args)).evalf(30) if maker else None
    return value if value is not None and value.is_Float else None


class readable_names:
    """Names for shared parts: p and q for sigmoid(z) and sigmoid(-z), r for the residual, else t1, t2..."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.count = 0
        self.taken = set(taken)

    def __call__(self, e: Expr) -> str:
        known = {
            sigmoid(Z): "p",
            sigmoid(-Z): "q",
            Y - sigmoid(Z): "r",
            Y - sympy.Symbol("p", real=True): "r",
        }
        name = known.get(e, "")
        if not name or name in self.taken:
            while not name or name in self.taken:
                self.count += 1
                name = f"t{self.count}"
        self.taken.add(name)
        return name


def wrapped(statement: str, text: str, pad: str, width: int = 100) -> list[str]:
    """A statement on one line, or one term of its sum a line where that is too long."""
    if len(pad) + len(statement) + len(text) <= width:
        return [pad + statement.format(text)]
    terms, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if depth == 0 and text[i : i + 3] in (" + ", " - ") and i > start:
            terms.append(text[start:i].strip())
            start = i + 1
    terms.append(text[start:].strip())
    if len(terms) == 1:
        return [pad + statement.format(text)]
    head, tail = statement.split("{}")
    return [pad + head + "(", *(f"{pad}    {term}" for term in terms), pad + ")" + tail]
