"""A loss written in the logits, and convexity by composition: a sum of convex functions of affine arguments."""

from typing import Any

import sympy

from lossproof.formula import Step
from lossproof.formula.functions import logcosh, logexprel, logsinhc, sigmoid, softplus, to_elementary
from lossproof.formula.symbols import P, Z
from lossproof.prove.clock import Clock
from lossproof.prove.continuity import claim
from lossproof.prove.identity import zero_at_points
from lossproof.prove.problem import Problem
from lossproof.prove.regions import regions
from lossproof.prove.sign import sign

Expr = Any
#: even or shifted log-partition functions: analytic on the whole line, second derivative positive
CONVEX = (logcosh, logsinhc, logexprel, softplus)


def logit_form(expr: Expr) -> Expr:
    """loss(y, sigmoid(z)) by exact rules for the logs and inverse hyperbolic functions of p; p must be gone after.

    >>> from lossproof.catalogue import CATALOGUE
    >>> print(logit_form(Problem(CATALOGUE["continuous_bernoulli"]).plain))
    -y*z + z/2 + logsinhc(z/2)
    """
    return sympy.expand(_walk(expr))


def _walk(e: Expr) -> Expr:
    half = sympy.S.Half
    if e == P:
        return sigmoid(Z)
    if not e.has(P):
        return e
    if isinstance(e, sympy.Piecewise):
        return _removable(e) or sympy.Piecewise(*((_walk(v), c) for v, c in e.args))
    if isinstance(e, sympy.log):
        u = e.args[0]
        if u in (P, 1 - P):
            # log sigmoid(+-z) = +-z/2 - log 2 - log cosh(z/2)
            return (Z if u == P else -Z) / 2 - sympy.log(2) - logcosh(Z / 2)
    if isinstance(e, sympy.atanh) and sympy.expand(e.args[0] - (1 - 2 * P)) == 0:
        return -Z / 2
    if isinstance(e, sympy.atanh) and sympy.expand(e.args[0] + (1 - 2 * P)) == 0:
        return Z / 2
    if e.is_Add and sympy.expand(e - (1 - 2 * P)) == 0:
        return -sympy.tanh(Z * half)
    return e.func(*(_walk(a) for a in e.args))


def _removable(e: Expr) -> Expr | None:
    """where(p == 1/2, log(2), log(z/tanh(z/2))) = log(2) + logcosh(z/2) - logsinhc(z/2), at 0 by continuity."""
    if len(e.args) != 2 or not isinstance(e.args[0][1], sympy.Eq):
        return None
    (value, condition), (rest, _) = e.args
    if sympy.expand(condition.lhs - condition.rhs - (P - sympy.S.Half)) != 0 and sympy.expand(
        condition.rhs - condition.lhs - (P - sympy.S.Half)
    ):
        return None
    walked = _walk(rest)
    ratio = sympy.log(Z / sympy.tanh(Z / 2))
    if value == sympy.log(2) and walked == ratio:
        return sympy.log(2) + logcosh(Z / 2) - logsinhc(Z / 2)
    return None


def convex_by_composition(problem: Problem, clock: Clock) -> tuple[Step, ...] | None:
    """The steps that show z -> loss(y, sigmoid(z)) convex as a sum of convex functions; None where it is not one."""
    form = logit_form(problem.plain)
    if form.has(P, sigmoid):
        return None
    rest, terms = form, []
    for atom in sorted(form.atoms(*CONVEX), key=str):
        factor = form.coeff(atom)
        if (
            factor.has(Z)
            or sympy.degree(atom.args[0], Z) != 1
            or sign_of(problem, factor, clock) not in ("+", ">=")
        ):
            return None
        terms.append((factor, atom))
        rest -= factor * atom
    rest = sympy.expand(rest)
    if not terms or rest.has(*CONVEX) or sympy.expand(sympy.diff(rest, Z, 2)) != 0:
        return None
    back = to_elementary(form).xreplace({Z: sympy.log(P) - sympy.log(1 - P)})
    generic = problem.plain.replace(lambda e: isinstance(e, sympy.Piecewise), lambda e: e.args[-1][0])
    if not zero_at_points(
        back.replace(lambda e: isinstance(e, sympy.Piecewise), lambda e: e.args[0][0]) - generic
    ):
        return None
    at_z = generic.xreplace({P: to_elementary(sigmoid(Z))})
    where = (("y", "(0, 1)"), ("z", "(-40, 40)"))
    return (
        Step(f"with p = sigmoid(z) the loss is {form}", claim(at_z, "=", to_elementary(form), where)),
        *(Step(f"{atom} is convex in z, and its factor {factor} is not negative") for factor, atom in terms),
        Step(f"the rest, {rest}, is affine in z; a sum of convex functions is convex"),
    )


def sign_of(problem: Problem, factor: Expr, clock: Clock) -> str:
    """Sign of a factor that depends on the target alone, over its whole domain."""
    if factor.is_number:
        return "+" if factor.is_positive else "-" if factor.is_negative else "?"
    signs = {sign(region.put(factor), clock=clock).sign for region in regions(problem)}
    return "+" if signs == {"+"} else ">=" if signs <= {"+", ">=", "0"} else "?"


__all__ = ["convex_by_composition", "logit_form", "sign_of"]
