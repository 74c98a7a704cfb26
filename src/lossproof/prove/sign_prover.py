"""One proof of a sign: which rules are tried in which order, what they may cost, and the steps that they leave."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sympy

from lossproof.formula import Claim, LossproofError, Step
from lossproof.formula.functions import softplus, to_elementary, xdivy, xtimes
from lossproof.formula.unparse import unparse
from lossproof.prove import sign_rules
from lossproof.prove.sign_atoms import BAD, Canon, Undecided
from lossproof.prove.sign_poly import TooLarge, constant_sign, plus, power_sign, times

Expr = Any  # sympy is untyped

_DEPTH = 12  # nested questions about signs
_QUESTIONS = 4_000  # of one proof
RELATION = {"+": ">", "-": "<", "0": "=", ">=": ">=", "<=": "<="}


class Prover:
    """Answers questions about signs, remembers the answers, and collects the steps in order."""

    def __init__(self, clock: Any = None) -> None:
        self.clock = clock
        self.canon = Canon(self)
        self.steps: list[Step] = []
        self._known: dict[Expr, tuple[str, tuple[Step, ...]]] = {}
        self._active: list[Expr] = []
        self._questions = 0

    def tick(self) -> None:
        """Count a question; raises ``Undecided`` beyond the limit, and whatever the clock raises when time is over."""
        if self.clock is not None:
            self.clock.check()
        self._questions += 1
        if self._questions > _QUESTIONS:
            raise Undecided("too many questions")

    @contextmanager
    def frame(self) -> Iterator[list[Step]]:
        """Collect steps apart; the caller decides whether they belong to the proof."""
        outer, self.steps = self.steps, []
        try:
            yield self.steps
        finally:
            self.steps = outer

    def note(self, text: str, expr: Expr = None, sign: str = "?", *, restored: bool = False) -> None:
        """Add a step: a sentence and, where the expression can be written as a formula, its claim."""
        claim = None
        if expr is not None and sign in RELATION:
            claim = claim_of(expr if restored else self.canon.restore(expr), RELATION[sign])
        step = Step(text, claim)
        if step not in self.steps:
            self.steps.append(step)

    def extend(self, steps: Any) -> None:
        """Add steps of a part of the proof, each once."""
        for step in steps:
            if step not in self.steps:
                self.steps.append(step)

    def sign_canonical(self, expr: Expr) -> str:
        """Sign of a rational function of positive symbols and placeholders."""
        if expr.is_Rational:
            return "+" if expr > 0 else "-" if expr < 0 else "0"
        if expr.is_Symbol and expr not in self.canon.atoms:
            return "+"
        if expr in self._known:
            found, steps = self._known[expr]
            self.extend(steps)
            return found
        if expr in self._active or len(self._active) > _DEPTH:
            return "?"
        self.tick()
        self._active.append(expr)
        collected: list[Step] = []
        try:
            with self.frame() as collected:
                found = self._sign_canonical(expr)
        except TooLarge:
            found = "?"
        finally:
            self._active.pop()
        kept = tuple(collected) if found != "?" else ()
        if found != "?" or not self._active:
            self._known[expr] = (found, kept)
        self.extend(kept)
        return found

    def _sign_canonical(self, expr: Expr) -> str:
        meaning = self.canon.restore(expr)
        if not meaning.free_symbols:
            found = constant_sign(meaning)
            if found == "?" and self.canon.factored(expr)[0] == 0:
                found = "0"
            if found != "?":
                self.note("a number", meaning, found, restored=True)
                return found
        if expr.is_Symbol:
            return sign_rules.atom_sign(self, expr)
        content, factors = self.canon.factored(expr)
        signs = ["+" if content > 0 else "-" if content < 0 else "0"]
        for f, m in factors:
            with self.frame() as steps:
                found = sign_rules.factor_sign(self, f)
            signs.append(power_sign(found, m))
            if times(signs) == "?":
                return "?"
            self.extend(steps)
        found = times(signs)
        if len(factors) > 1:
            self.note("product of factors of known sign", expr, found)
        elif found == "0":
            self.note("all terms cancel", expr, found)
        return found

    def sign(self, expr: Expr) -> str:
        """Sign of an expression in positive symbols."""
        try:
            with self.frame() as steps:
                found = self._structural(expr, 0)
        except (Undecided, TooLarge):
            found = "?"
        if found != "?":
            self.extend(steps)
        return found

    def _structural(self, expr: Expr, depth: int) -> str:
        """Products factor by factor without multiplying out; else the sum as a whole, else term by term."""
        if expr.is_Mul and depth < 8:
            signs = []
            for a in expr.args:
                signs.append(self._structural(a, depth + 1))
                if signs[-1] == "?":
                    break
            found = times(signs)
            if found != "?":
                if sum(not a.is_Rational and not a.is_Symbol for a in expr.args) > 1:
                    self.note("product of factors of known sign", expr, found, restored=True)
                return found
        if isinstance(expr, sympy.Pow) and expr.args[1].is_Integer and depth < 8:
            found = power_sign(self._structural(expr.args[0], depth + 1), int(expr.args[1]))
            if found in ("+", "-", "0"):
                return found
        if isinstance(expr, softplus):
            self.canon(expr.args[0])  # refuses what it has no rule for
            self.note("log(1 + exp(x)) > log 1 = 0", expr, "+", restored=True)
            return "+"
        with self.frame() as steps:
            try:
                found = self.sign_canonical(self.canon(expr))
            except TooLarge:
                found = "?"
        if found != "?":
            self.extend(steps)
            return found
        if expr.is_Add and depth < 8:
            with self.frame() as steps:
                signs = [self._structural(a, depth + 1) for a in expr.args]
                found = plus(signs)
                if found != "?":
                    self.note("sum of terms of equal sign", expr, found, restored=True)
            if found != "?":
                self.extend(steps)
        return found


def claim_of(expr: Expr, relation: str) -> Claim | None:
    """The claim ``expr relation 0`` for all positive values of its symbols; None where it has no formula."""
    # the derivative of xlogy has no name in formulas; its textbook form has the same values where it is defined
    while extra := expr.atoms(xdivy, xtimes):
        expr = expr.xreplace({e: e.elementary() for e in extra})
    if expr.has(*BAD):
        return None
    try:
        text = unparse(expr)
    except (LossproofError, AttributeError):  # AttributeError: a condition that is no plain comparison
        try:
            text = unparse(to_elementary(expr))
        except (LossproofError, AttributeError):
            return None
    if len(text) > 4000:
        return None
    where = tuple(
        (str(s), "(0, inf)" if s.is_positive else "(-inf, inf)") for s in sorted(expr.free_symbols, key=str)
    )
    return Claim(text, relation, "0", where)
