"""One-sided limits at the ends of the predictions: an exact expansion, and a second look by ball arithmetic.

SymPy's ``limit`` is silently wrong for piecewise and symbolic arguments; it is asked only where the expansion has
no rule, and what it says counts as checked, not as proved. No limit is given that the values at p = 2**-k
(or 1 - 2**-k) contradict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import sympy

from lossproof.formula import Claim, LossproofError
from lossproof.formula.functions import derivative, to_elementary
from lossproof.formula.symbols import P, Y
from lossproof.formula.unparse import unparse
from lossproof.prove.ball import ball
from lossproof.prove.clock import Clock
from lossproof.prove.expansion import Expansion, Undecided
from lossproof.prove.problem import Problem
from lossproof.prove.refute import sample_parameters
from lossproof.prove.regions import A, B, parameter_cases, together
from lossproof.prove.sign import sign

Expr = Any

#: targets at which limits with y inside are looked at again by balls
SAMPLES = (Fraction(1, 10), Fraction(1, 4), Fraction(1, 2), Fraction(3, 4), Fraction(9, 10))
_DEPTHS = (10, 20, 40, 80, 160, 300)
_BITS = 1024
_NO_NUMBER = (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo, sympy.I)


@dataclass(frozen=True)
class End:
    """An end of the predictions: p -> 0+ or p -> 1-."""

    at: Any
    side: int

    def __str__(self) -> str:
        return f"p -> {self.at}{'+' if self.side > 0 else '-'}"

    def near(self, k: int) -> Any:
        """The exact point at distance 2**-k."""
        return self.at + self.side * sympy.Rational(1, 2**k)


LOW = End(sympy.S.Zero, 1)
HIGH = End(sympy.S.One, -1)


@dataclass(frozen=True)
class Limit:
    """A limit: an exact value (in y where the target is inside), oo or -oo.

    ``proved`` is False where only SymPy and the values near the end say so; ``claim`` is None where the expression
    has no formula string.
    """

    value: Expr
    end: End
    proved: bool
    claim: Claim | None

    @property
    def infinite(self) -> bool:
        """Whether it is oo or -oo."""
        return self.value in (sympy.oo, -sympy.oo)

    @property
    def text(self) -> str:
        """The value as a formula string, oo or -oo."""
        return written(self.value) or str(self.value)


Within = tuple[Fraction, Fraction]
INSIDE: Within = (Fraction(0), Fraction(1))


@dataclass(frozen=True)
class Free:
    """Parameters that are left symbolic: their ranges as cases in positive symbols, values to try, and in words."""

    cases: tuple[Mapping[Expr, Expr], ...] = ({},)
    samples: tuple[Mapping[Expr, Any], ...] = ({},)
    ranges: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, problem: Problem) -> "Free":
        """Those of a problem."""
        if not problem.free:
            return cls()
        cases = tuple(dict(case) for case in parameter_cases(problem))
        return cls(
            cases,
            tuple(sample_parameters(problem)),
            tuple((p.name, str(p.interval)) for p in problem.free),
        )

    def sign(self, c: Expr, clock: Clock, within: Within = INSIDE) -> int | None:
        """The sign that an expression has for all values of the parameters; None if it is not shown to have one."""
        found = {coefficient_sign(c.xreplace(dict(case)), clock, within) for case in self.cases}
        return found.pop() if len(found) == 1 else None


NONE = Free()


def limit(expr: Expr, end: End, clock: Clock, within: Within = INSIDE, free: Free = NONE) -> Limit | None:
    """Limit of an expression in p, and in y for all y in an open interval at once; None where it is not shown.

    Parameters that are ``free`` stay in it: it then holds for all their values.

    >>> from lossproof.prove.clock import Clock
    >>> limit(-Y*sympy.log(P), LOW, Clock.for_ever()).value
    oo
    >>> print(limit(P*(1 - P)*(P - Y)/(P*(1 - P)), HIGH, Clock.for_ever()).claim)
    p - y -> 1 - y for y in (0, 1), p -> 1-
    >>> limit(sympy.sin(1/P), LOW, Clock.for_ever()) is None
    True
    """
    expr = to_elementary(expr)
    if expr.has(*_NO_NUMBER) or expr.free_symbols - {Y, P, *free.cases[0]}:
        return None
    value = _expanded(expr, end, clock, within, free)
    proved = value is not None
    if value is None and not expr.free_symbols - {P}:
        value = _gruntz(expr, end)
    low, high = within
    targets = [{Y: low + (high - low) * s} for s in SAMPLES] if expr.has(Y) else [{}]
    samples = [{**target, **given} for target in targets for given in free.samples]
    if value is None or not all(agrees(expr, value, end, at) for at in samples):
        return None
    return Limit(value, end, proved, _claim(expr, value, end, within, free))


def _expanded(expr: Expr, end: End, clock: Clock, within: Within, free: Free) -> Expr | None:
    def decide(c: Expr) -> int | None:
        return free.sign(c, clock, within)

    for size in (3, 6, 12):
        clock.check()
        try:
            value = Expansion(P, end.at, end.side, decide, size).limit(expr)
        except Undecided:
            continue
        return value if value in (sympy.oo, -sympy.oo) else _tidy(value)
    return None


def _tidy(value: Expr) -> Expr:
    if value.is_Rational or value.count_ops() > 40:
        return value
    forms = [value]
    if value.is_rational_function(Y):
        forms += [sympy.cancel(value), sympy.factor(value)]
    elif not value.free_symbols:
        forms.append(sympy.expand_log(value))
    return min(forms, key=lambda e: e.count_ops())


def coefficient_sign(c: Expr, clock: Clock, within: Within = INSIDE) -> int | None:
    """Sign of a number, or of an expression in y for all y in an open interval; None if not shown.

    >>> coefficient_sign(sympy.log(2) - sympy.Rational(7, 10), Clock.for_ever())
    -1
    """
    if not c.free_symbols:
        for bits in (64, 256, 1024):
            value = ball(c, {}, bits=bits)
            if value > 0:
                return 1
            if value < 0:
                return -1
        small = c.count_ops() < 80
        return 0 if small and 0 in (sympy.expand(sympy.expand_log(c)), sympy.simplify(c)) else None
    low, high = (sympy.Rational(x.numerator, x.denominator) for x in within)
    inside = (high * A + low * B) / (A + B)
    signed = sign(together(c.xreplace({Y: inside})), clock=clock).sign
    return {"+": 1, "-": -1, "0": 0}.get(signed)


def _gruntz(expr: Expr, end: End) -> Expr | None:
    plain = not expr.has(sympy.Piecewise, sympy.Abs, sympy.sign, sympy.Max, sympy.Min, sympy.polygamma)
    if not plain or expr.count_ops() > 40:
        return None
    t = sympy.Dummy("t", positive=True)
    try:
        value = sympy.limit(expr.xreplace({P: end.at + end.side * t}), t, 0, "+")
    except (NotImplementedError, ValueError, TypeError, AttributeError, RecursionError, sympy.PoleError):
        return None
    if value in (sympy.oo, -sympy.oo):
        return value
    known = not value.free_symbols and not value.has(*_NO_NUMBER, sympy.Limit, sympy.AccumBounds)
    return value if known else None


def agrees(expr: Expr, value: Expr, end: End, at: Mapping[Expr, Any]) -> bool:
    """Whether enclosed values at distance 2**-10 to 2**-300 approach a claimed limit, or grow beyond every bound.

    >>> agrees(sympy.log(P), -sympy.oo, LOW, {}), agrees(sympy.log(P), sympy.oo, LOW, {}), agrees(P, P - P, HIGH, {})
    (True, False, False)
    """
    values = [_value(expr, {**at, P: end.near(k)}) for k in _DEPTHS]
    if not all(v.is_finite() for v in values):
        return False
    if value in (sympy.oo, -sympy.oo):
        heights = [v if value == sympy.oo else -v for v in values[3:]]
        return bool(heights[0] > 0 and all(b > a + 0.2 for a, b in pairwise(heights)))
    target = ball(value, dict(at), bits=_BITS)
    early, late = abs(values[3] - target), abs(values[-1] - target)
    return bool(late.upper() < 1e-9 or late.upper() < 0.7 * early.lower())


def _value(expr: Expr, at: Mapping[Expr, Any]) -> Any:
    # differences of nearly equal numbers lose digits: then once more with many
    found = ball(expr, at, bits=_BITS)
    lost = not found.is_finite() or (not found.is_exact() and found.rel_accuracy_bits() < 40)
    return ball(expr, at, bits=8 * _BITS) if lost else found


def _claim(expr: Expr, value: Expr, end: End, within: Within, free: Free) -> Claim | None:
    left, right = written(expr), written(value)
    if left is None or right is None:
        return None
    span = f"({', '.join(str(x) if x.denominator == 1 else repr(float(x)) for x in within)})"
    names = {s.name for s in expr.free_symbols}
    ranges = tuple(pair for pair in free.ranges if pair[0] in names)
    return Claim(left, "->", right, ((("y", span),) if expr.has(Y) else ()) + ranges, (str(end),))


def written(expr: Expr) -> str | None:
    """The formula string of an expression; None if it has none."""
    if expr in (sympy.oo, -sympy.oo):
        return str(expr)
    try:
        return unparse(expr)
    except LossproofError:
        return None


def by_target(problem: Problem) -> dict[str, tuple[Expr, Expr]]:
    """Loss and dl/dp for y = 0, y inside and y = 1, in textbook form; left out where the loss is no real number.

    At an end the target is put in before the derivative is taken: 0 log 0 is settled first.

    >>> from lossproof.catalogue import CATALOGUE
    >>> by_target(Problem(CATALOGUE["bce"]))["y = 1"]
    (-log(p), -1/p)
    """
    made = {}
    cases = {"y = 0": {Y: sympy.S.Zero}, "y inside": {}, "y = 1": {Y: sympy.S.One}}
    for name, at in cases.items():
        if at and float(at[Y]) not in problem.target:
            continue
        loss = problem.expr.xreplace(at)
        if loss.has(*_NO_NUMBER) or to_elementary(loss).has(*_NO_NUMBER):
            continue
        slope = to_elementary(derivative(loss, P))
        if not slope.has(*_NO_NUMBER):
            made[name] = (to_elementary(loss), slope)
    return made


def cuts(expr: Expr, end: End) -> list[Fraction]:
    """Targets in (0, 1) at which a branch or a kink of the expression comes to lie at the end.

    >>> cuts(sympy.Abs(sympy.Abs(Y - P) - sympy.Rational(1, 4)), LOW)
    [Fraction(1, 4)]
    """
    found = set()
    sides = [a.args[0] for a in expr.atoms(sympy.Abs, sympy.sign)]
    sides += [c.lhs - c.rhs for c in expr.atoms(sympy.core.relational.Relational)]
    for side in sides:
        for turned in (1, -1):
            g = side.replace(sympy.Abs, lambda a, turned=turned: turned * a).xreplace({P: end.at})
            if g.is_polynomial(Y) and sympy.degree(g, Y) == 1:
                root = -g.subs(Y, 0) / sympy.diff(g, Y)
                if root.is_Rational and 0 < root < 1:
                    found.add(Fraction(int(root.p), int(root.q)))
    return sorted(found)
