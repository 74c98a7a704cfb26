"""Signs of polynomials and rational functions where all variables are positive."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import flint
import sympy
from flint import Ordering, fmpq, fmpq_mpoly_ctx

from lossproof.prove.sign_points import enclose, sign_of_ball

Expr = Any  # sympy is untyped
Poly = Any  # flint.fmpq_mpoly

MAX_TERMS = 1500
MAX_DEGREE = 60
MAX_BITS = 20_000
_SPLITS = 40  # nodes of the search over orders of the variables
_POINTS = (1, 2, 3, 5, 7, 11, 13, 17, 19, 23)

FLIP = {"+": "-", "-": "+", ">=": "<=", "<=": ">=", "0": "0", "?": "?"}


class TooLarge(Exception):
    """The expression is not a rational function of the given generators, or exceeds the limits."""


def times(signs: Iterable[str]) -> str:
    """Sign of a product.

    >>> times(["-", ">=", "-"]), times(["?", "0"])
    ('>=', '0')
    """
    result = "+"
    for s in signs:
        if s == "0":
            return "0"
        if "?" in (s, result):
            result = "?"
        elif s in ("-", "<="):
            result = FLIP[result]
        if s in (">=", "<=") and result in ("+", "-"):
            result = ">=" if result == "+" else "<="
    return result


def plus(signs: Iterable[str]) -> str:
    """Sign of a sum, as far as the signs of its terms tell.

    >>> plus([">=", "+"]), plus(["+", "-"])
    ('+', '?')
    """
    seen = set(signs) - {"0"}
    if not seen:
        return "0"
    if seen <= {"+", ">="}:
        return "+" if "+" in seen else ">="
    if seen <= {"-", "<="}:
        return "-" if "-" in seen else "<="
    return "?"


def cases(signs: Iterable[str]) -> str:
    """Sign that holds in every one of several cases.

    >>> cases(["+", "0"]), cases(["+", "-"])
    ('>=', '?')
    """
    seen = set(signs)
    if len(seen) == 1:
        return seen.pop()
    if seen <= {"+", ">=", "0"}:
        return ">="
    return "<=" if seen <= {"-", "<=", "0"} else "?"


def power_sign(s: str, n: int) -> str:
    """Sign of an integer power, where it is defined."""
    if n == 0:
        return "+"
    if n % 2:
        return s if n > 0 or s not in (">=", "<=") else ("+" if s == ">=" else "-")
    if s in ("+", "-"):
        return "+"
    return s if s == "0" else ">=" if n > 0 else "+"


@dataclass
class Ring:
    """Polynomials over the rationals in positive variables and in constants such as log(2)."""

    variables: tuple[Expr, ...]
    constants: tuple[Expr, ...] = ()
    clock: Any = None
    splits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        names = [f"x{i}" for i in range(len(self.variables))] + ["h"]
        names += [f"c{i}" for i in range(len(self.constants))]
        self.context = fmpq_mpoly_ctx.get(names, Ordering.degrevlex)
        self.gens = self.context.gens()
        self.one = self.context.constant(1)
        k = len(self.variables)
        self.lookup = dict(zip(self.variables, self.gens[:k], strict=True))
        self.lookup |= dict(zip(self.constants, self.gens[k + 1 :], strict=True))

    def check(self, p: Poly) -> Poly:
        """The polynomial itself, if it is within the limits."""
        if len(p) > MAX_TERMS or p.total_degree() > MAX_DEGREE:
            raise TooLarge
        if self.clock is not None:
            self.clock.check()
        return p

    def ratio(self, expr: Expr) -> tuple[Poly, Poly]:
        """Numerator and denominator in lowest terms."""
        if expr in self.lookup:
            return self.lookup[expr], self.one
        if expr.is_Rational:
            if max(int(expr.p).bit_length(), int(expr.q).bit_length()) > MAX_BITS:
                raise TooLarge
            return self.context.constant(fmpq(int(expr.p), int(expr.q))), self.one
        if expr.is_Add:
            num, den = self.context.constant(0), self.one
            for a in expr.args:
                n, d = self.ratio(a)
                if d == den:
                    num = self.check(num + n)
                else:
                    g = d.gcd(den)
                    left, right = d / g, den / g
                    num = self._product(num, left) + self._product(n, right)
                    den = self._product(den, left)
            return self.lowest(num, den)
        if expr.is_Mul:
            num = den = self.one
            for a in expr.args:
                n, d = self.ratio(a)
                num, den = self.lowest(self._product(num, n), self._product(den, d))
            return num, den
        if isinstance(expr, sympy.Pow) and expr.args[1].is_Integer:
            n, d = self.ratio(expr.args[0])
            k = int(expr.args[1])
            if k < 0:
                n, d, k = d, n, -k
            if k > MAX_DEGREE or max(n.total_degree(), d.total_degree()) * k > MAX_DEGREE:
                raise TooLarge
            if d.is_zero() or (max(len(n), len(d)) > 12 and k > 8) or max(len(n), len(d)) ** k > 10**7:
                raise TooLarge
            return self.check(n**k), self.check(d**k)
        raise TooLarge

    def _product(self, a: Poly, b: Poly) -> Poly:
        if len(a) * len(b) > 100 * MAX_TERMS:
            raise TooLarge
        return self.check(a * b)

    def lowest(self, num: Poly, den: Poly) -> tuple[Poly, Poly]:
        """Numerator and denominator without common factors."""
        if den.is_zero():
            raise TooLarge
        if num.is_zero():
            return num, self.one
        if den.is_constant():
            return num / den, self.one
        g = num.gcd(den)
        return num / g, den / g

    def reduced(self, p: Poly, root: Expr, order: int, base: Expr) -> Poly:
        """A polynomial with ``root**order`` replaced by ``base``."""
        i = self.variables.index(root)
        if p.degrees()[i] < order:
            return p
        value, den = self.ratio(base)
        if not den.is_one():
            return p
        total = self.context.constant(0)
        for k, part in _in_powers(self, p, i).items():
            total += self._product(part * self.gens[i] ** (k % order), value ** (k // order))
        return self.check(total)

    def factors(self, p: Poly) -> tuple[Any, list[tuple[Poly, int]]]:
        """Rational content and irreducible factors with multiplicity; the polynomial itself where it is too large."""
        if len(p) > 400 or p.total_degree() > 30:
            return fmpq(1), [(p, 1)]
        content, found = p.factor()
        return content, [(f, int(m)) for f, m in found]

    def expr(self, p: Poly) -> Expr:
        """A polynomial as a SymPy expression (the homogenising variable stands for 1)."""
        k = len(self.variables)
        names = (*self.variables, sympy.S.One, *self.constants)
        terms = []
        for powers, q in p.to_dict().items():
            factors = [names[i] ** int(e) for i, e in enumerate(powers) if e and i != k]
            terms.append(sympy.Mul(sympy.Rational(int(q.p), int(q.q)), *factors))
        return sympy.Add(*terms)

    def coefficient_signs(self, p: Poly) -> list[str]:
        """Signs of the coefficients of the monomials in the variables, constants evaluated rigorously."""
        if not self.constants:
            return ["+" if q > 0 else "-" for q in p.coeffs()]
        k = len(self.variables) + 1
        groups: dict[tuple[int, ...], list[Expr]] = {}
        for powers, q in p.to_dict().items():
            factors = [c ** int(e) for c, e in zip(self.constants, powers[k:], strict=True)]
            term = sympy.Mul(sympy.Rational(int(q.p), int(q.q)), *factors)
            groups.setdefault(tuple(powers[:k]), []).append(term)
        result = []
        for terms in groups.values():
            total = sympy.Add(*terms)
            result.append("0" if total == 0 else constant_sign(total))
        return result

    def sign(self, p: Poly, depth: int = 6) -> str:
        """Sign of a polynomial for all positive values of the variables."""
        if p.is_zero():
            return "0"
        direct = plus(self.coefficient_signs(p))
        if direct != "?":
            return direct
        content, found = self.factors(p)
        if len(found) == 1 and found[0][1] == 1:
            return times(["+" if content > 0 else "-", self._irreducible(found[0][0], depth)])
        signs = ["+" if content > 0 else "-"]
        for f, m in found:
            one = plus(self.coefficient_signs(f))
            if one == "?":
                one = ">=" if m % 2 == 0 else self._irreducible(f, depth)
                if one == ">=" and m % 2 == 0 and self._irreducible(f, depth) in ("+", "-"):
                    one = "+"
            signs.append(power_sign(one, m))
        return times(signs)

    def _irreducible(self, p: Poly, depth: int) -> str:
        direct = plus(self.coefficient_signs(p))
        if direct != "?":
            return direct
        if self.two_signs(p):
            return "?"
        for rule in (by_discriminant, by_order):
            found = rule(self, p, depth)
            if found != "?":
                return found
        return "?"

    def two_signs(self, p: Poly) -> bool:
        """Whether the polynomial takes both signs at some exact points."""
        k, seen = len(self.variables), set()
        with flint.ctx.workprec(128):
            constants = [enclose(c, {}, {}) for c in self.constants]
        for shift in range(24):
            point = [_coordinate(i, shift) for i in range(k)]
            if self.constants:
                with flint.ctx.workprec(128):
                    total = flint.arb(0)
                    for powers, q in p.to_dict().items():
                        term = flint.arb(q)
                        for x, e in zip((*point, fmpq(1), *constants), powers, strict=True):
                            term *= flint.arb(x) ** int(e)
                        total += term
                    seen.add(sign_of_ball(total))
            else:
                value = p(*point, fmpq(1))
                seen.add("+" if value > 0 else "-" if value < 0 else "0")
            if {"+", "-"} <= seen:
                return True
        return False


def _coordinate(i: int, shift: int) -> fmpq:
    """Small and large positive rationals, a different pattern for each shift; the first is a tie of all variables."""
    if shift == 0:
        return fmpq(1)
    q = fmpq(_POINTS[(3 * i + shift) % 10], _POINTS[(7 * i + 5 * shift + i * shift) % 10])
    if shift > 12:
        q = q**4 if (i + shift) % 3 else 1 / q**3
    return q


def constant_sign(expr: Expr) -> str:
    """Sign of a constant expression, proved by enclosures of growing precision; never 0 unless it is exactly 0."""
    for precision in (64, 256, 1024, 4096):
        with flint.ctx.workprec(precision):
            s = sign_of_ball(enclose(expr, {}, {}))
        if s in ("+", "-"):
            return s
    return "0" if expr == 0 else "?"


def by_discriminant(ring: Ring, p: Poly, depth: int) -> str:
    """A x^2 + B x + C with B^2 < 4 A C has the sign of A."""
    if depth <= 0 or len(p) > 150:
        return "?"
    for i in range(len(ring.variables)):
        if p.degrees()[i] != 2:
            continue
        parts = _in_powers(ring, p, i)
        a, b, c = (parts.get(k, ring.context.constant(0)) for k in (2, 1, 0))
        lead = plus(ring.coefficient_signs(a))
        if lead not in ("+", "-"):
            continue
        found = ring.sign(ring.check(b * b - 4 * a * c), min(depth, 2) - 1)
        if found == "-":
            return lead
        if found in ("<=", "0"):
            return ">=" if lead == "+" else "<="
    return "?"


def _in_powers(ring: Ring, p: Poly, i: int) -> dict[int, Poly]:
    parts: dict[int, dict[tuple[int, ...], Any]] = {}
    for powers, q in p.to_dict().items():
        rest = tuple(0 if j == i else int(e) for j, e in enumerate(powers))
        parts.setdefault(int(powers[i]), {})[rest] = q
    return {k: ring.context.from_dict(d) for k, d in parts.items()}


def by_order(ring: Ring, p: Poly, depth: int) -> str:
    """Cases x = y + t, x = y, y = x + t for a pair of variables, until all coefficients have one sign."""
    if depth <= 0 or len(p) > 150:
        return "?"
    if ring.splits >= _SPLITS:
        return "?"
    ring.splits += 1
    k = len(ring.variables)
    p = _homogeneous(ring, p, k)
    present = [i for i in range(k + 1) if p.degrees()[i] > 0]
    best: tuple[int, Poly, Poly, Poly] | None = None
    for i, j in ((i, j) for n, i in enumerate(present) for j in present[n + 1 :]):
        larger, smaller = _shifted(ring, p, i, j), _shifted(ring, p, j, i)
        if max(len(larger), len(smaller)) > 4 * MAX_TERMS // 10:
            continue
        score = _mixed(ring, larger) + _mixed(ring, smaller)
        if best is None or score < best[0]:
            best = (score, larger, smaller, _equal(ring, p, i, j))
            if score == 0:
                break
    if best is None:
        return "?"
    signs = []
    for child in best[1:]:
        signs.append(ring.sign(child, depth - 1))
        if cases(signs) == "?":
            return "?"
    return cases(signs)


def _homogeneous(ring: Ring, p: Poly, k: int) -> Poly:
    terms = p.to_dict()
    degree = max(sum(e[: k + 1]) for e in terms)
    return ring.context.from_dict(
        {(*e[:k], e[k] + degree - sum(e[: k + 1]), *e[k + 1 :]): q for e, q in terms.items()}
    )


def _shifted(ring: Ring, p: Poly, i: int, j: int) -> Poly:
    gens = list(ring.gens)
    gens[i] = gens[i] + gens[j]
    return ring.check(p.compose(*gens, ctx=ring.context))


def _equal(ring: Ring, p: Poly, i: int, j: int) -> Poly:
    gens = list(ring.gens)
    gens[i] = gens[j]
    return p.compose(*gens, ctx=ring.context)


def _mixed(ring: Ring, p: Poly) -> int:
    signs = ring.coefficient_signs(p)
    plus_count = sum(s == "+" for s in signs)
    return min(plus_count, len(signs) - plus_count)
