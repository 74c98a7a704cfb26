"""The rules of the sign calculus for one irreducible factor that holds logarithms, exponentials, powers, ..."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise, product
from math import lcm
from typing import TYPE_CHECKING, Any

import sympy

from lossproof.prove.sign_atoms import EVEN
from lossproof.prove.sign_bounds import FAMILIES, between, options
from lossproof.prove.sign_poly import FLIP, Ring, TooLarge, cases, times

if TYPE_CHECKING:
    from lossproof.prove.sign_prover import Prover

Expr = Any  # sympy is untyped
_MAX_CASES = 27
_MAX_PLANS = 16
Rule = Callable[["Prover", Expr], str]


def atom_sign(prover: "Prover", symbol: Expr) -> str:
    """Sign of an atom by itself."""
    atom = prover.canon.atoms[symbol]
    kind, args = atom.kind, atom.args
    found, text = "?", ""
    if kind in ("exp", "pow"):
        found, text = "+", "exp is positive" if kind == "exp" else "a power of something positive is positive"
    elif kind == "weakpow":
        found, text = (
            (">=", "a root is not negative") if prover.sign_canonical(args[1]) == "+" else ("+", "a root")
        )
    elif kind == "log":
        found, text = prover.sign_canonical(args[0] - 1), "log increases and log 1 = 0"
    elif kind in ("atan", "asinh", "erf"):
        found, text = prover.sign_canonical(args[0]), f"{kind} has the sign of its argument"
    elif kind in EVEN:
        found, text = (
            "+" if prover.sign_canonical(args[0]) in ("+", "-") else ">=",
            f"{kind} is positive except at 0",
        )
    elif kind == "logexprel":
        found, text = (
            prover.sign_canonical(args[0]),
            "(exp(x) - 1)/x is above 1 for x > 0 and below 1 for x < 0",
        )
    elif kind == "meanexp":
        found, text = "+", "a mean of a law on (0, 1) is positive"
    elif kind == "polygamma" and args[0] >= 1:
        found = "+" if args[0] % 2 else "-"
        text = "the trigamma function is positive" if args[0] == 1 else "polygamma has the sign (-1)^(n+1)"
    elif kind.startswith("cases"):
        found, text = _case_sign(prover, symbol), "the same sign in every case"
    if found != "?":
        prover.note(text, symbol, found)
    return found


def _case_sign(prover: "Prover", symbol: Expr) -> str:
    atom = prover.canon.atoms[symbol]
    if atom.kind == "cases:abs":
        return ">="
    signs = [prover.sign_canonical(a) for a in atom.args]
    # the larger of two values is at least each of them
    if atom.kind == "cases:max" and {"+", ">="} & set(signs):
        return "+" if "+" in signs else ">="
    if atom.kind == "cases:min" and {"-", "<="} & set(signs):
        return "-" if "-" in signs else "<="
    return cases(signs)


def factor_sign(prover: "Prover", f: Expr) -> str:
    """Sign of an irreducible polynomial in symbols and atoms: the first rule that decides it."""
    if f.is_Symbol or f.is_Rational:
        return prover.sign_canonical(f)
    return _first(prover, RULES, f)


def _first(prover: "Prover", rules: Iterable[Rule], f: Expr) -> str:
    for rule in rules:
        prover.tick()
        try:
            with prover.frame() as steps:
                found = rule(prover, f)
        except TooLarge:
            continue
        if found != "?":
            prover.extend(steps)
            return found
    return "?"


def atoms_of(prover: "Prover", f: Expr) -> list[Expr]:
    """The placeholders in an expression, oldest first."""
    return sorted((s for s in f.free_symbols if s in prover.canon.atoms), key=lambda s: int(s.dummy_index))


def by_polynomial(prover: "Prover", f: Expr) -> str:
    """All atoms have a known sign, and then the signs of the coefficients decide, or an order of the variables."""
    lookup = {}
    for s in atoms_of(prover, f):
        if prover.canon.atoms[s].constant:
            continue
        t = prover.sign_canonical(s)
        if t not in ("+", "-"):
            return "?"
        if t == "-":
            lookup[s] = -s
    found = polynomial_sign(prover, f.xreplace(lookup))
    if found != "?":
        prover.note(_how(prover, f, found), f, found)
    return found


def _how(prover: "Prover", f: Expr, found: str) -> str:
    ring = prover.canon.ring(f)
    one_sign = len({q > 0 for q in ring.ratio(f)[0].coeffs()}) == 1
    word = "positive" if found in ("+", ">=") else "negative"
    if one_sign:
        return f"all terms are {word}"
    return (
        "a sum of terms that is compared in each order of its variables" if found in RELATIONS else "cancels"
    )


RELATIONS = ("+", "-", ">=", "<=")


def polynomial_sign(prover: "Prover", expr: Expr) -> str:
    """Sign of a rational function in which every symbol but the constants is taken as positive."""
    constants = [s for s in expr.free_symbols if s in prover.canon.atoms and prover.canon.atoms[s].constant]
    meaning = {s: prover.canon.atoms[s].meaning for s in constants}
    variables = sorted(
        expr.free_symbols - set(constants), key=lambda s: (str(s), getattr(s, "dummy_index", 0))
    )
    ring = Ring(tuple(variables), tuple(meaning.values()), prover.clock)
    for s in constants:
        ring.lookup[s] = ring.lookup[meaning[s]]
    num, den = ring.ratio(expr)
    below = ring.sign(den)
    if below == "?":
        return "?"
    below = {">=": "+", "<=": "-"}.get(below, below)  # where it vanishes, the expression is not defined
    return times([ring.sign(num), below])


def by_logs(prover: "Prover", f: Expr) -> str:
    """k log u + k' log v + ...: terms with proportional factors become one logarithm, compared with 0."""
    grouped = grouped_logs(prover, f)
    if grouped is None:
        return "?"
    rest, terms = grouped
    if rest == 0 and len(terms) == 1:
        ((k, x),) = terms
        found = times([prover.sign_canonical(k), prover.sign_canonical(x - 1)])
        if found != "?":
            text = f"log increases, and {prover.canon.restore(x)} {_vs(prover.sign_canonical(x - 1))} 1"
            prover.note(text, f, found)
        return found
    total = rest
    for k, x in terms:
        total += k * prover.canon.intern("log", (x,), sympy.log)
    return _first(prover, (by_polynomial, by_bounds), total)


def _vs(s: str) -> str:
    return {"+": ">", "-": "<", "0": "="}.get(s, s)


def grouped_logs(prover: "Prover", f: Expr) -> tuple[Expr, list[tuple[Expr, Expr]]] | None:
    """f = rest + sum of k log x, with as few logarithms as proportional factors allow; None if not linear in them."""
    canon = prover.canon
    logs = [s for s in atoms_of(prover, f) if canon.atoms[s].kind == "log"]
    if len(logs) < 2:
        return None
    poly = sympy.Poly(f, *logs)
    if poly.total_degree() > 1:
        return None
    rest = sympy.S.Zero
    groups: dict[Expr, list[tuple[Expr, Expr]]] = {}
    for powers, k in poly.terms():
        if not any(powers):
            rest = k
            continue
        s = logs[powers.index(1)]
        content, factors = canon.factored(k)
        base = sympy.Mul(*(g**m for g, m in factors))
        groups.setdefault(base, []).append((content, canon.atoms[s].args[0]))
    terms = []
    for base, members in groups.items():
        scale = lcm(*(int(q.q) for q, _ in members))
        powers_ = [int(q * scale) for q, _ in members]
        if sum(abs(n) for n in powers_) > 24:
            return None
        x = sympy.Mul(*(u**n for n, (_, u) in zip(powers_, members, strict=True)))
        terms.append((base / scale, canon.normal(x)))
    return rest, terms


def by_order(prover: "Prover", f: Expr) -> str:
    """The same monotone function at arguments of known order: the larger value is the smaller one plus t > 0."""
    canon = prover.canon
    families: dict[Any, list[Expr]] = {}
    for s in atoms_of(prover, f):
        atom = canon.atoms[s]
        if atom.kind in FAMILIES and not atom.constant:
            families.setdefault(FAMILIES[atom.kind](atom)[0], []).append(s)
    lookup: dict[Expr, Expr] = {}
    for members in families.values():
        if 2 <= len(members) <= 5:
            lookup |= _chain(prover, members)
    if not lookup:
        return "?"
    return _substituted(prover, f, lookup)


def _chain(prover: "Prover", members: list[Expr]) -> dict[Expr, Expr]:
    """Replacements that write each member as the next smaller one plus something positive."""
    canon = prover.canon
    lookup: dict[Expr, Expr] = {}
    chain: list[Expr] = []
    first = ""
    for s in members:
        atom = canon.atoms[s]
        _, u, direction = FAMILIES[atom.kind](atom)
        rising = direction if isinstance(direction, str) else prover.sign_canonical(direction)
        first = first or rising
        if rising not in ("+", "-") or rising != first:
            continue
        position = 0
        for other in chain:
            v = FAMILIES[canon.atoms[other].kind](canon.atoms[other])[1]
            order = times([prover.sign_canonical(u - v), rising])
            if order not in ("+", "-"):
                break
            position += order == "+"
        else:
            chain.insert(position, s)
    for low, high in pairwise(chain):
        prover.note(
            f"{canon.atoms[low].kind} is monotone, so its values keep the order of the arguments",
            high - low,
            "+",
        )
        lookup[high] = low + sympy.Dummy("t", positive=True)
    return lookup


def _substituted(prover: "Prover", f: Expr, lookup: dict[Expr, Expr]) -> str:
    expr = f
    for _ in range(8):
        if not set(lookup) & expr.free_symbols:
            break
        expr = expr.xreplace(lookup)
    negative = {}
    for s in atoms_of(prover, expr):
        if not prover.canon.atoms[s].constant:
            t = prover.sign_canonical(s)
            if t not in ("+", "-"):
                # its sign is open: any real number, in three cases
                signs = [_substituted(prover, expr.xreplace({s: v}), {}) for v in _real()]
                return cases(signs)
            if t == "-":
                negative[s] = -s
    found = polynomial_sign(prover, expr.xreplace(negative))
    if found != "?":
        prover.note("with these differences written as t > 0, all terms have one sign", f, found)
    return found


def _real() -> tuple[Expr, Expr, Expr]:
    t = sympy.Dummy("t", positive=True)
    return t, sympy.S.Zero, -t


def by_bounds(prover: "Prover", f: Expr) -> str:
    """Each atom lies between two bounds, and the sign is the same for every value between them."""
    canon = prover.canon
    closed: list[Expr] = []
    pending = atoms_of(prover, f)
    while pending:
        s = pending.pop()
        if s in closed or canon.atoms[s].constant:
            continue
        closed.append(s)
        choices = options(prover, s)
        pending += [a for o in choices for e in o.values for a in atoms_of(prover, e)]
    if not closed or len(closed) > 8:
        return "?"
    table = {s: options(prover, s) for s in closed}
    if any(not o for o in table.values()):
        return "?"
    classes = sorted({canon.atoms[s].kind for s in closed})
    for plan in _plans([max(len(table[s]) for s in closed if canon.atoms[s].kind == c) for c in classes]):
        level = dict(zip(classes, plan, strict=True))
        chosen = {s: o[min(level[canon.atoms[s].kind], len(o) - 1)] for s, o in table.items()}
        prover.tick()
        try:
            found = _all_cases(prover, f, {s: o.values for s, o in chosen.items()})
        except TooLarge:
            continue
        if found != "?":
            for s in sorted(chosen, key=lambda s: int(s.dummy_index)):
                if chosen[s].text:
                    prover.note(chosen[s].text.format(canon.atoms[s].meaning), None)
            prover.note("with these bounds the sign is the same for every value between them", f, found)
            return found
    return "?"


def _plans(levels: list[int]) -> Iterator[tuple[int, ...]]:
    """Levels of the kinds of atoms, simple ones first."""
    plans = sorted(product(*(range(n) for n in levels)), key=lambda p: (sum(p), max(p)))
    yield from plans[:_MAX_PLANS]


def _all_cases(prover: "Prover", f: Expr, values: dict[Expr, tuple[Expr, ...]]) -> str:
    names = list(values)
    total = 1
    for s in names:
        total *= len(values[s])
    if total > _MAX_CASES:
        return "?"
    signs: list[str] = []
    for choice in product(*(values[s] for s in names)):
        lookup = dict(zip(names, choice, strict=True))
        expr = f
        for _ in range(8):
            if not set(lookup) & expr.free_symbols:
                break
            expr = expr.xreplace(lookup)
        if set(lookup) & expr.free_symbols:
            return "?"
        signs.append(polynomial_sign(prover, expr))
        if cases(signs) == "?":
            return "?"
    return cases(signs)


def by_inverse(prover: "Prover", f: Expr) -> str:
    """E = exp(q x) with a symbol x > 0: x is log(E)/q, and so lies between bounds in E."""
    canon = prover.canon
    for s in atoms_of(prover, f):
        atom = canon.atoms[s]
        if atom.kind != "exp":
            continue
        q, x = atom.args[0].as_coeff_Mul()
        if not x.is_Symbol or x in canon.atoms or not q.is_Rational or q <= 0:
            continue
        e = 1 + sympy.Dummy("t", positive=True)
        for low, high in ((1 - 1 / e, e - 1), (2 * (e - 1) / (e + 1), (e - 1 / e) / 2)):
            found = _substituted(prover, f, {s: e, x: between(low, high) / q})
            if found != "?":
                prover.note(
                    f"with E = {atom.meaning}: {q} {x} = log E lies between {_in(low, e)} and {_in(high, e)}"
                )
                prover.note("the sign is the same for every value between them", f, found)
                return found
    return "?"


def _in(bound: Expr, e: Expr) -> str:
    return str(bound.subs(e, sympy.Symbol("E")))


def by_squares(prover: "Prover", f: Expr) -> str:
    """A + B sqrt(w): where A and B differ in sign, compare A^2 with B^2 w."""
    canon = prover.canon
    for s in atoms_of(prover, f):
        atom = canon.atoms[s]
        if atom.kind != "pow" or atom.args[1] != sympy.Rational(1, 2):
            continue
        a = b = sympy.S.Zero
        for (n,), k in sympy.Poly(f, s).terms():
            part = k * atom.args[0] ** (n // 2)
            a, b = (a, b + part) if n % 2 else (a + part, b)
        left, right = prover.sign_canonical(a), prover.sign_canonical(b)
        if "?" in (left, right) or b == 0:
            continue
        if {left, right} <= {"+", ">=", "0"} or {left, right} <= {"-", "<=", "0"}:
            found = cases([left]) if left in ("+", "-") else right
            prover.note("both terms have one sign", f, found)
            return found
        if {left, right} == {"+", "-"}:
            larger = prover.sign_canonical(a**2 - b**2 * atom.args[0])
            found = larger if left == "+" else FLIP[larger]
            if found != "?":
                prover.note("the terms have opposite signs, so their squares are compared", f, found)
                return found
    return "?"


#: tried in this order on each irreducible factor
RULES: list[Rule] = [
    by_polynomial,
    by_logs,
    by_order,
    by_squares,
    by_bounds,
    by_inverse,
]
