"""Expressions as rational functions of positive symbols and of atoms: logarithms, exponentials, powers, ..."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sympy

from lossproof.formula import functions as F
from lossproof.prove.sign_points import holds_by_sign
from lossproof.prove.sign_poly import Ring

if TYPE_CHECKING:
    from lossproof.prove.sign_prover import Prover

Expr = Any  # sympy is untyped

_LARGEST = 10**9  # integer that is factored into primes under a logarithm
_SPLIT = 4  # terms of an exponent that are separated
_STEEP = 12  # power of an exponential that is written as a power of an atom
#: atoms, by kind, that are 0 at 0 and positive elsewhere
EVEN = frozenset(f.__name__ for f in (F.logcosh, F.logsinhc))
BAD = (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo, sympy.I)


class Undecided(Exception):
    """The expression holds something that the calculus has no rule for."""


@dataclass(frozen=True)
class Atom:
    """What a placeholder symbol stands for: ``kind(args)``, with rational functions of placeholders as args."""

    kind: str
    args: tuple[Expr, ...]
    meaning: Expr  # in the original symbols
    constant: bool


class Canon:
    """Rewrites expressions for one prover, which it asks for the signs of arguments."""

    def __init__(self, prover: "Prover") -> None:
        self.prover = prover
        self.atoms: dict[Expr, Atom] = {}
        self.kinks: list[Expr] = []  # places, in the original symbols, where an undecided case begins
        self._interned: dict[Any, Expr] = {}
        self._cache: dict[Expr, Expr] = {}

    def intern(
        self, kind: str, args: tuple[Expr, ...], build: Callable[..., Expr], *, own: Expr = None
    ) -> Expr:
        """The placeholder of an atom; ``own`` tells atoms apart that share kind and args."""
        key = (kind, args, own)
        if key not in self._interned:
            meaning = build(*(self.restore(a) for a in args))
            symbol = sympy.Dummy(f"{kind}{len(self.atoms)}", real=True)
            self.atoms[symbol] = Atom(kind, args, meaning, not meaning.free_symbols)
            self._interned[key] = symbol
        return self._interned[key]

    def restore(self, expr: Expr) -> Expr:
        """A rational function of placeholders in the original symbols."""
        return expr.xreplace({s: self.atoms[s].meaning for s in expr.free_symbols if s in self.atoms})

    def ring(self, *exprs: Expr) -> Ring:
        """A ring that holds expressions: placeholders of constants apart."""
        free = set().union(*(e.free_symbols for e in exprs), *(e.atoms(sympy.NumberSymbol) for e in exprs))
        ordered = sorted(free, key=lambda s: (s in self.atoms, str(s), getattr(s, "dummy_index", 0)))
        return Ring(tuple(ordered), (), self.prover.clock)

    def normal(self, expr: Expr) -> Expr:
        """Numerator over denominator in lowest terms, a form that equal rational functions share."""
        if expr.is_Symbol or expr.is_Rational:
            return expr
        ring, num, den = self.ratio(expr)
        return ring.expr(num) / ring.expr(den)

    def ratio(self, expr: Expr) -> tuple[Ring, Any, Any]:
        """A ring, numerator and denominator in lowest terms, roots reduced: sqrt(u)^2 = u."""
        ring = self.ring(expr)
        roots = [s for s in ring.variables if s in self.atoms and self.atoms[s].kind == "pow"]
        roots = [s for s in roots if self.atoms[s].args[1].is_Rational]
        if not roots:
            return ring, *ring.ratio(expr)
        ring = self.ring(expr, *(self.atoms[s].args[0] for s in roots))
        num, den = ring.ratio(expr)
        for s in roots:
            base, power = self.atoms[s].args
            num, den = (ring.reduced(p, s, int(power.q), base) for p in (num, den))
        return ring, *ring.lowest(num, den)

    def factored(self, expr: Expr) -> tuple[Expr, list[tuple[Expr, int]]]:
        """Rational content and irreducible factors with (negative, for the denominator) multiplicity."""
        ring, num, den = self.ratio(expr)
        if num.is_zero():
            return sympy.S.Zero, []
        q, above = ring.factors(num)
        r, below = ring.factors(den)
        c = q / r
        found = [(ring.expr(f), m) for f, m in above] + [(ring.expr(f), -m) for f, m in below]
        return sympy.Rational(int(c.p), int(c.q)), found

    def __call__(self, expr: Expr) -> Expr:
        if expr not in self._cache:
            self.prover.tick()
            self._cache[expr] = self._canon(expr)
        return self._cache[expr]

    def _canon(self, expr: Expr) -> Expr:
        if expr.is_Symbol or expr.is_Rational:
            return expr
        if expr.is_Float:
            return sympy.Rational(expr)
        if expr in (sympy.pi, sympy.E):
            return self.intern("constant", (), lambda: expr)
        if expr in BAD:
            raise Undecided(f"it contains {expr}")
        if isinstance(expr, sympy.exp):
            return self.exp(self(expr.args[0]))
        if expr.is_Add or expr.is_Mul:
            return expr.func(*(self(a) for a in expr.args))
        if isinstance(expr, sympy.Pow):
            base, power = expr.args
            if base is sympy.E:
                return self.exp(self(power))
            if power.is_Integer:
                return self(base) ** power
            return self.power(self(base), self(power))
        if isinstance(expr, sympy.Piecewise):
            return self.piecewise(expr)
        rule = _REWRITES.get(type(expr).__name__)
        if rule is None:
            raise Undecided(f"no rule for {type(expr).__name__}")
        return rule(self, expr)

    def sign(self, canonical: Expr) -> str:
        """Sign of a canonical expression."""
        return self.prover.sign_canonical(canonical)

    def exp(self, u: Expr) -> Expr:
        """exp of a rational function: logarithms come out as powers, terms as factors."""
        if u == 0:
            return sympy.S.One
        ring = self.ring(u)
        num, den = ring.ratio(u)
        below = ring.expr(den)
        result, rest = sympy.S.One, []
        for term in sympy.Add.make_args(ring.expr(num)):
            logs = [s for s in term.free_symbols if s in self.atoms and self.atoms[s].kind == "log"]
            if (
                len(logs) == 1
                and logs[0] not in below.free_symbols
                and (term / logs[0]).is_polynomial(logs[0])
            ):
                k = self.normal(term / logs[0] / below)
                if logs[0] not in k.free_symbols:
                    result *= self.power(self.atoms[logs[0]].args[0], k)
                    continue
            rest.append(term)
        if not rest:
            return result
        definite = len(rest) > 1 and self.sign(sympy.Add(*rest) / below) in ("+", "-", ">=", "<=")
        mixed = len({t.could_extract_minus_sign() for t in rest}) > 1
        if len(rest) > _SPLIT or (definite and mixed):
            rest = [sympy.Add(*rest)]
        for term in rest:
            q, m = self.normal(term / below).as_coeff_Mul()
            n = int(q.p)
            if abs(n) > _STEEP or m == 1:
                m, n = abs(q) * m, (1 if q > 0 else -1)
            else:
                m = m / q.q
            if self.sign(m) in ("-", "<="):
                m, n = self.normal(-m), -n
            result *= self.intern("exp", (m,), sympy.exp) ** n
        return result

    def power(self, base: Expr, power: Expr) -> Expr:
        """A power with an exponent that is not an integer: of each positive factor of the base."""
        power = self.normal(power)
        if power.is_Integer:
            return base**power
        if base == 0:
            if self.sign(power) != "+":
                raise Undecided("a power of 0")
            return sympy.S.Zero
        if base.is_Rational and base > 0:
            return self._numeric_power(base, power)
        content, factors = self._positive_factors(base)
        result = self._numeric_power(content, power)
        for f, m, positive in factors:
            result *= self._factor_power(f, m * power) if positive else self._weak_power(f**m, power)
        return result

    def _numeric_power(self, q: Expr, power: Expr) -> Expr:
        if q == 1:
            return sympy.S.One
        if q.is_Integer and q < _LARGEST:
            return sympy.Mul(
                *(self._factor_power(sympy.Integer(r), m * power) for r, m in sympy.factorint(q).items())
            )
        if q.p != 1 and q.q != 1:
            return self._numeric_power(sympy.Integer(q.p), power) * self._numeric_power(
                sympy.Rational(1, q.q), power
            )
        if q.p == 1 and q.q != 1:
            return self._numeric_power(sympy.Integer(q.q), -power)
        return self._factor_power(q, power)

    def _weak_power(self, base: Expr, power: Expr) -> Expr:
        """A power of something that may vanish; where it is real at all, the base is not negative."""
        if self.sign(base) in ("-", "<="):
            raise Undecided("a fractional power of something negative")
        return self.intern("weakpow", (self.normal(base), power), sympy.Pow)

    def _factor_power(self, f: Expr, power: Expr) -> Expr:
        atom = self.atoms.get(f)
        if atom and atom.kind == "exp":
            return self.exp(atom.args[0] * power)
        if atom and atom.kind == "pow":
            return self.power(atom.args[0], atom.args[1] * power)
        terms = self._exponents(power)
        result = sympy.S.One
        for term in terms:
            c, m = term.as_coeff_Mul()
            n = sympy.floor(c) if m == 1 else c.p
            if m == 1:
                result *= f**n
                c = c - n
                if c == 0:
                    continue
                m, n = sympy.Rational(1, c.q), c.p
            else:
                m = m / c.q
            result *= self.intern("pow", (f, m), sympy.Pow) ** n
        return result

    def _exponents(self, power: Expr) -> list[Expr]:
        """An exponent as a constant plus terms, so that exponents that differ by a constant share their terms."""
        ring, num, den = self.ratio(power)
        first = den.monoms()[0]
        constant = num.to_dict().get(first, 0) / den.coeffs()[0]
        rest = ring.expr(num - constant * den)
        below = ring.expr(den)
        terms = [t / below for t in sympy.Add.make_args(rest) if t != 0]
        return [*terms, sympy.Rational(int(constant.p), int(constant.q))] if constant else terms

    def _positive_factors(self, u: Expr) -> tuple[Expr, list[tuple[Expr, int, bool]]]:
        """Positive content and factors; those of unknown sign gathered into one, marked False."""
        content, factors = self.factored(u)
        found: list[tuple[Expr, int, bool]] = []
        unknown = sympy.S.One
        for f, m in factors:
            s = self.sign(f)
            if s == "+":
                found.append((f, m, True))
            elif s == "-":
                found.append((self.normal(-f), m, True))
                content = -content if m % 2 else content
            else:
                unknown *= f**m
        if unknown != 1:
            found.append((unknown if content > 0 else -unknown, 1, False))
        elif content <= 0:
            raise Undecided("a logarithm or fractional power of something that is not positive")
        return abs(content), found

    def log(self, u: Expr) -> Expr:
        """log of a rational function as a sum of logs of its positive factors."""
        content, factors = self._positive_factors(u)
        total = self._numeric_log(content)
        for f, m, positive in factors:
            atom = self.atoms.get(f)
            if positive and atom and atom.kind == "exp":
                total += m * atom.args[0]
            elif positive and atom and atom.kind == "pow":
                total += m * atom.args[1] * self.log(atom.args[0])
            elif positive and f.is_Rational:
                total += m * self._numeric_log(f)
            else:
                total += m * self.intern("log", (self.normal(f),), sympy.log)
        return total

    def _numeric_log(self, q: Expr) -> Expr:
        total = sympy.S.Zero
        for n, s in ((q.p, 1), (q.q, -1)):
            if n == 1:
                continue
            parts = sympy.factorint(n) if n < _LARGEST else {n: 1}
            for r, m in parts.items():
                total += s * m * self.intern("log", (sympy.Integer(r),), sympy.log)
        return total

    def piecewise(self, expr: Expr) -> Expr:
        """The branch whose condition is decided; otherwise an atom with every branch that is possible."""
        possible = []
        for value, condition in expr.args:
            holds = self.holds(condition)
            if holds is False:
                continue
            possible.append(self(value))
            if holds:
                break
        if len(set(possible)) == 1:
            return possible[0]
        if not possible:
            raise Undecided("a where without a branch")
        return self.intern("cases:where", tuple(possible), lambda *_: expr, own=expr)

    def holds(self, condition: Expr) -> bool | None:
        """Whether a condition holds for all values of the symbols, or for none, or neither (None)."""
        if condition in (sympy.true, sympy.false):
            return bool(condition)
        if isinstance(condition, sympy.And | sympy.Or):
            parts = [self.holds(c) for c in condition.args]
            absorbing = isinstance(condition, sympy.Or)
            return absorbing if absorbing in parts else None if None in parts else not absorbing
        if isinstance(condition, sympy.Not):
            inner = self.holds(condition.args[0])
            return None if inner is None else not inner
        if not hasattr(condition, "rel_op"):
            raise Undecided(f"no rule for the condition {condition}")
        return holds_by_sign(condition.rel_op, self.decide(self(condition.lhs) - self(condition.rhs)))

    def decide(self, u: Expr) -> str:
        """Sign of u, which is noted as the border of two cases when it is not known."""
        s = self.sign(u)
        if s not in ("+", "-", "0"):
            raw = self.restore(u)
            if raw not in self.kinks:
                self.kinks.append(raw)
        return s


def _absolute(canon: Canon, expr: Expr) -> Expr:
    u = canon(expr.args[0])
    s = canon.decide(u)
    if s in ("+", ">=", "0"):
        return u
    return (
        -u
        if s in ("-", "<=")
        else canon.intern("cases:abs", (canon.normal(u), canon.normal(-u)), lambda a, _: sympy.Abs(a))
    )


def _sign(canon: Canon, expr: Expr) -> Expr:
    u = canon(expr.args[0])
    table = {"+": (1,), "-": (-1,), "0": (0,), ">=": (0, 1), "<=": (-1, 0), "?": (-1, 0, 1)}[canon.decide(u)]
    if type(expr).__name__ == "Heaviside":
        if 0 in table:
            raise Undecided("a step at 0")
        return sympy.Integer(max(table[0], 0))
    if len(table) == 1:
        return sympy.Integer(table[0])
    values = tuple(sympy.Integer(v) for v in table)
    return canon.intern("cases:sign", values, lambda *_: sympy.sign(canon.restore(u)), own=canon.normal(u))


def _extreme(canon: Canon, expr: Expr) -> Expr:
    larger = type(expr).__name__ in ("maximum", "Max")
    best, *others = (canon(a) for a in expr.args)
    for v in others:
        s = canon.decide(best - v)
        if s in ("+", ">=", "0"):
            best = best if larger else v
        elif s in ("-", "<="):
            best = v if larger else best
        else:
            kind = "cases:max" if larger else "cases:min"
            best = canon.intern(
                kind, (canon.normal(best), canon.normal(v)), F.maximum if larger else F.minimum
            )
    return best


def _product_with_zero(canon: Canon, expr: Expr) -> Expr:
    """xlogy and its relatives are 0 where their first argument is 0, whatever the second; elsewhere a product."""
    x = canon(expr.args[0])
    s = canon.sign(x)
    if s == "0":
        return sympy.S.Zero
    if s not in ("+", "-"):
        name, second = type(expr).__name__, expr.args[1]
        # where x may be 0 the textbook form must be finite there, else the two differ
        inner = canon(1 + second if name == "xlog1py" else second)
        if name == "xtimes" or canon.sign(inner) != "+":
            raise Undecided(f"{name} where both arguments may be 0")
    return canon(expr.elementary())


def _odd(canon: Canon, expr: Expr) -> Expr:
    u = canon.normal(canon(expr.args[0]))
    if u == 0:
        return sympy.S.Zero
    flip = canon.sign(u) in ("-", "<=") or (canon.sign(u) == "?" and u.could_extract_minus_sign())
    build = expr.func
    atom = canon.intern(build.__name__, (canon.normal(-u) if flip else u,), build)
    return -atom if flip else atom


def _even(canon: Canon, expr: Expr) -> Expr:
    u = canon.normal(canon(expr.args[0]))
    s = canon.sign(u)
    flip = s in ("-", "<=") or (s not in ("+", ">=") and u.could_extract_minus_sign())
    return canon.intern(type(expr).__name__, (canon.normal(-u) if flip else u,), expr.func)


def _kept(canon: Canon, expr: Expr) -> Expr:
    args = tuple(canon.normal(canon(a)) for a in expr.args)
    return canon.intern(type(expr).__name__, args, expr.func)


def _with_hole(canon: Canon, expr: Expr) -> Expr:
    """langevin and meanexp: the textbook form away from 0."""
    u = canon(expr.args[0])
    if canon.sign(u) not in ("+", "-"):
        canon.decide(u)
        return _kept(canon, expr)
    if isinstance(expr, F.langevin):
        e = canon.exp(u) ** 2
        return (e + 1) / (e - 1) - 1 / u
    e = canon.exp(u / 2) ** 2  # the half argument, as in the derivative
    return e / (e - 1) - 1 / u


def _hyperbolic(canon: Canon, expr: Expr) -> Expr:
    u = canon(expr.args[0])
    name = type(expr).__name__
    if name == "tanh":
        e = canon.exp(u) ** 2
        return (e - 1) / (e + 1)
    e = canon.exp(u)
    return (e - 1 / e) / 2 if name == "sinh" else (e + 1 / e) / 2


def _elementary(canon: Canon, expr: Expr) -> Expr:
    return canon(expr.elementary())


def _atanh(canon: Canon, expr: Expr) -> Expr:
    u = canon(expr.args[0])
    return (canon.log(1 + u) - canon.log(1 - u)) / 2


def _log(canon: Canon, expr: Expr) -> Expr:
    return canon.log(canon(expr.args[0]))


def _polygamma(canon: Canon, expr: Expr) -> Expr:
    if not (expr.args[0].is_Integer and expr.args[0] >= 0) or canon.sign(canon(expr.args[1])) != "+":
        raise Undecided("polygamma outside (0, oo)")
    return _kept(canon, expr)


_REWRITES: dict[str, Callable[[Canon, Expr], Expr]] = {
    "Abs": _absolute, "sign": _sign, "Heaviside": _sign, "maximum": _extreme, "minimum": _extreme, "Max": _extreme,
    "Min": _extreme, "xlogy": _product_with_zero, "xlog1py": _product_with_zero, "xdivy": _product_with_zero,
    "xtimes": _product_with_zero, "log1p": _elementary, "expm1": _elementary, "sigmoid": _elementary,
    "softplus": _elementary, "logaddexp": _elementary, "log": _log, "tanh": _hyperbolic, "sinh": _hyperbolic,
    "cosh": _hyperbolic, "atanh": _atanh, "atan": _odd, "asinh": _odd, "erf": _odd, "sin": _kept, "cos": _kept,
    "tan": _kept, "loggamma": _kept, "polygamma": _polygamma, "logcosh": _even, "logsinhc": _even,
    "langevin": _with_hole, "meanexp": _with_hole, "logexprel": _kept,
}  # fmt: skip
