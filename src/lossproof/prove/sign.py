"""The sign of an expression for all values of its symbols, with the steps of a proof; ``?`` where none is found."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import sympy

from lossproof.formula import Step, functions
from lossproof.formula.functions import RealFunction
from lossproof.prove.sign_atoms import BAD, Undecided
from lossproof.prove.sign_points import sign_at
from lossproof.prove.sign_poly import FLIP, TooLarge, cases
from lossproof.prove.sign_prover import RELATION, Prover, claim_of

Expr = Any  # sympy is untyped
Sign = Literal["+", "-", "0", ">=", "<=", "?"]

_MAX_OPERATIONS = 4_000
_MAX_REAL = 2  # symbols of unknown sign that are split into cases
_MAX_KINKS = 2


@dataclass(frozen=True)
class Signed:
    """A sign and the steps that show it; no steps when the sign is ``?``."""

    sign: Sign
    steps: tuple[Step, ...] = ()


def sign(expr: Expr, *, clock: Any = None) -> Signed:
    """Sign of an expression for all values of its symbols where it is defined: + - 0 >= <= or ? (not decided).

    Symbols with ``positive=True`` range over (0, oo) independently, ``nonnegative`` ones over [0, oo), other real
    ones over the line. ``clock.check()`` may raise to end the search.

    >>> a, b = sympy.symbols("a b", positive=True)
    >>> sign(sympy.log(a + b) - sympy.log(a)).sign, sign(a**2 - 2*a*b + b**2).sign, sign(a - b).sign
    ('+', '>=', '?')
    """
    expr = sympy.sympify(expr)
    if not isinstance(expr, sympy.Expr) or expr.has(*BAD) or _operations(expr) > _MAX_OPERATIONS:
        return Signed("?")
    # SymPy would try to compare the numbers when it rebuilds the condition, and not come back
    for condition in expr.atoms(sympy.core.relational.Relational):
        if any(not f.free_symbols for f in condition.atoms(RealFunction)):
            return Signed("?")
    try:
        found, steps = _split(expr, clock, _MAX_REAL, _MAX_KINKS)
    except RecursionError:
        return Signed("?")
    except ValueError as error:
        # SymPy's Max cannot compare some constants; anything else, such as the clock's own error, goes on
        if "not comparable" not in str(error):
            raise
        return Signed("?")
    if found == "?":
        return Signed("?")
    last = claim_of(expr, RELATION[found])
    if not steps or steps[-1].claim != last:
        steps.append(Step(f"so the expression is {_WORDS[found]}", last))
    return Signed(cast(Sign, found), tuple(steps))


_WORDS = {"+": "positive", "-": "negative", "0": "zero", ">=": "not negative", "<=": "not positive"}


def takes_both_signs(expr: Expr) -> bool:
    """Whether enclosures show a positive and a negative value at some exact points: no proof need be sought then."""
    symbols = sorted(expr.free_symbols, key=str)
    seen: set[str] = set()
    for point in product_of_points(len(symbols)):
        seen.add(sign_at(expr, dict(zip(symbols, point, strict=True)), bits=(96,)))
        if {"+", "-"} <= seen:
            return True
    return False


def product_of_points(n: int) -> list[tuple[Expr, ...]]:
    """A few positive rational points: a tie, and patterns of small and large coordinates."""
    values = [sympy.Rational(q) for q in ("1", "1/7", "5", "2/3", "1/100", "60", "3/2")]
    return [tuple(values[(k * (i + 1) + (i * i if k > 6 else 0)) % 7] for i in range(n)) for k in range(14)]


def _operations(expr: Expr) -> int:
    count = 0
    for _ in sympy.preorder_traversal(expr):
        count += 1
        if count > _MAX_OPERATIONS:
            break
    return count


def _split(expr: Expr, clock: Any, reals: int, kinks: int) -> tuple[str, list[Step]]:
    """Cases for the sign of each symbol that is not known to be positive, then for each undecided border."""
    if expr.has(*BAD):
        return "?", []
    found, steps = monotone(expr, clock, reals, kinks)
    if found != "?":
        return found, steps
    for s in sorted(expr.free_symbols, key=str):
        if s.is_positive:
            continue
        if not s.is_real or reals == 0:
            return "?", []
        t = _fresh(s, expr.free_symbols)
        values = [t, sympy.S.Zero] if s.is_nonnegative else [-t] if s.is_negative else [t, sympy.S.Zero, -t]
        return _cases([(f"case {s} = {v}", expr.xreplace({s: v})) for v in values], clock, reals - 1, kinks)
    if takes_both_signs(expr):
        return "?", []
    prover = Prover(clock)
    found = prover.sign(expr)
    if found != "?":
        return found, prover.steps
    if kinks:
        for u in prover.canon.kinks[:3]:
            halves = border(prover, u, expr.free_symbols)
            if halves:
                parts = [(text, expr.xreplace(at)) for text, at in halves]
                found, steps = _cases(parts, clock, reals, kinks - 1)
                if found != "?":
                    return found, steps
    return "?", []


def _cases(parts: list[tuple[str, Expr]], clock: Any, reals: int, kinks: int) -> tuple[str, list[Step]]:
    signs: list[str] = []
    steps: list[Step] = []
    for text, part in parts:
        found, inner = _split(part, clock, reals, kinks)
        signs.append(found)
        if cases(signs) == "?":
            return "?", []
        steps += [Step(text, claim_of(part, RELATION[found])), *inner]
    return cases(signs), steps


#: increasing on the whole line, and defined there
_INCREASING = (sympy.exp, sympy.tanh, sympy.sinh, sympy.atan, sympy.asinh, sympy.erf, functions.expm1, functions.sigmoid,
               functions.softplus, functions.langevin, functions.meanexp, functions.logexprel)  # fmt: skip


def monotone(expr: Expr, clock: Any, reals: int, kinks: int) -> tuple[str, list[Step]]:
    """k f(u) - k f(v) with an increasing f has the sign of k (u - v); so has k f(u) of u where f(0) = 0."""
    terms = sympy.Add.make_args(expr)
    if len(terms) > 2 or reals < _MAX_REAL:
        return "?", []
    parts = [t.as_coeff_Mul() for t in terms]
    if any(type(f) not in _INCREASING for _, f in parts) or len({type(f) for _, f in parts}) != 1:
        return "?", []
    k, f = parts[0]
    if len(parts) == 1:
        if f.func(0) != 0:
            return "?", []
        low: Expr = sympy.S.Zero
    elif parts[1][0] == -k:
        low = parts[1][1].args[0]
    else:
        return "?", []
    found, steps = _split(f.args[0] - low, clock, reals, kinks)
    found = found if k > 0 else FLIP[found]
    if found != "?":
        steps = [*steps, Step(f"{type(f).__name__} increases", claim_of(expr, RELATION[found]))]
    return found, steps


def _fresh(s: Expr, taken: Iterable[Expr]) -> Expr:
    names, name = {str(v) for v in taken}, f"{s.name}_"
    while name in names:
        name += "_"
    return sympy.Symbol(name, positive=True)


def border(prover: Prover, u: Expr, taken: Iterable[Expr]) -> list[tuple[str, dict[Expr, Expr]]]:
    """The three cases u > 0, u = 0, u < 0, where u = 0 can be solved for a symbol x = w with w > 0."""
    for x in sorted(u.free_symbols, key=str):
        canon = Prover(prover.clock).canon
        try:
            ring = canon.ring(canon(u))
            num, _ = ring.ratio(canon(u))
        except (Undecided, TooLarge):
            return []
        text = ring.expr(num)
        if any(s in canon.atoms and canon.atoms[s].meaning.has(x) for s in text.free_symbols):
            continue
        poly = sympy.Poly(text, x)
        if poly.degree() != 1:
            continue
        slope, rest = poly.all_coeffs()
        w = -rest / slope
        if canon.prover.sign(canon.restore(w)) != "+":
            continue
        w = canon.restore(w)
        t = _fresh(x, taken)
        # 0 < x < w is x = w/(1 + t)
        return [(f"case {x} = {v}", {x: v}) for v in (w + t, w, w / (1 + t))]
    return []
