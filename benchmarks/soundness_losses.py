"""Random losses for the soundness fuzz: a third minimised at p = y, a third far from it, a third barely not.

A case carries the formula (for the prover), the tree (for the oracle), what is known of its truth by
construction, and the places where the disturbance bites. Cases are a function of (seed, index) alone.
"""

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import mpmath
import numpy as np

from soundness_bases import Base, D, base, bernoulli, bregman, inside, signed, some, tiny
from soundness_tree import Node, P, Y, call, floats, node, where

Kind = Literal["true", "far", "near"]
KINDS: tuple[Kind, ...] = ("true", "far", "near")


@dataclass(frozen=True)
class Case:
    """A loss with what its maker knows: ``truth`` of "p = y is a global minimiser" (None: only the oracle can say)."""

    family: str
    kind: Kind
    tree: Node
    truth: bool | None
    ys: tuple[Fraction, ...] = ()
    ps: tuple[Fraction, ...] = ()

    @property
    def formula(self) -> str:
        """What the prover is given."""
        return str(self.tree)


def amplitude(rng: random.Random, kind: Kind) -> Fraction:
    """0 for a true loss, of order one for a far one, 10**-1 to 10**-30 for a barely false one."""
    return {
        "true": lambda: Fraction(0),
        "far": lambda: signed(rng, some(rng)),
        "near": lambda: signed(rng, tiny(rng)),
    }[kind]()


def slopes(rng: random.Random) -> Node:
    """A disturbance whose derivative at p = y is nowhere zero for all y: it moves the minimum of every smooth loss."""
    k, c = some(rng, high=40, parts=1), inside(rng)
    return rng.choice([
        call("sin", k * P), call("cos", k * P), P, P**2, P**3, D, Y * P, P * (1 - P), call("log", P), call("exp", c * P),
        Y * call("sin", k * P), call("sqrt", P), call("log", 1 - P), call("abs", P - c), call("sin", k * D), 1 / (1 + P),
        call("tanh", k * (P - c)), P * Y**2 * (1 - Y),
    ])  # fmt: skip


# The families. Each takes (rng, kind) and returns tree, truth, ys, ps.
Made = tuple[Node, bool | None, tuple[Fraction, ...], tuple[Fraction, ...]]


def proper(rng: random.Random, kind: Kind) -> Made:
    """A proper loss; weighted, smoothed or reparametrised so that it is not."""
    if kind == "true":
        b = base(rng)
        tree = rng.choice((b.tree, some(rng) * b.tree, b.tree + some(rng) * Y**2 - 3, b.tree / some(rng)))
        return tree, True, (), ()
    a = amplitude(rng, kind)
    eps = abs(a)
    g = P + a * P * (1 - P) if kind == "near" else call("clip", P**2, 0, 1)
    tree = rng.choice((
        -((1 + eps) * call("xlogy", Y, P) + call("xlogy", 1 - Y, 1 - P)),
        -(Y * call("log", P + eps) + (1 - Y) * call("log", 1 - P + eps)),
        -(Y * (1 - P) ** eps * call("log", P) + (1 - Y) * P**eps * call("log", 1 - P)),
        base(rng, smooth=True).tree.put(p=g),
        (Y - P) ** 2 + eps * (P - Fraction(1, 2)) ** 2,
        call("logcosh", D + a),
        bernoulli(False).put(y=(1 - eps / 4) * Y + eps / 8) if eps < 4 else D**2 + P,
    ))  # fmt: skip
    return tree, False, (), ()


def disturbed(rng: random.Random, kind: Kind) -> Made:
    """base + A * g(p, y), g with a slope at p = y: false for a smooth base however small A is; true under a kink."""
    if kind == "true":
        b = base(rng, smooth=False)
        k = rng.randint(1, 30)
        g, bound = rng.choice(
            ((call("sin", k * P), Fraction(k)), (P, Fraction(1)), (P**2, Fraction(2)), (Y * P, Fraction(1)))
        )
        return (
            b.tree
            + signed(rng, b.slope / bound * rng.choice((Fraction(1, 2), 1 - tiny(rng, 6), tiny(rng)))) * g,
            True,
            (),
            (),
        )
    return base(rng, smooth=True).tree + amplitude(rng, kind) * slopes(rng), False, (), ()


def tangent(rng: random.Random, kind: Kind) -> Made:
    """excess * (1 + A * wave): flat at p = y, false once A > 1, at the wave's troughs alone."""
    b, k = base(rng, excess=True), rng.randint(5, 40)
    a = {
        "true": 1 - rng.choice((tiny(rng, 6), Fraction(1, 2), Fraction(99, 100))),
        "far": 1 + some(rng),
        "near": 1 + tiny(rng, 9),
    }[kind]
    with mpmath.workprec(400):
        at = [
            Fraction(int(mpmath.floor((2 * m - mpmath.mpf(1) / 2) * mpmath.pi / k * 2**300)), 2**300)
            for m in range(1, k)
        ]
    return b.tree * (1 + a * call("sin", k * P)), kind == "true", (), tuple(x for x in at if 0 < x < 1)[:3]


def wells(rng: random.Random, kind: Kind) -> Made:
    """bend (p - y)^2 taken away in a narrow well: true up to depth 1, false beyond; without the factor false at once."""
    w, c = Fraction(rng.choice((1, 3, 5)), 10 ** rng.randint(1, 6)), inside(rng)
    shape = rng.choice(
        (
            call("exp", -(((P - c) / w) ** 2)),
            1 / (1 + ((P - c) / w) ** 2),
            call("maximum", 0, 1 - call("abs", P - c) / w),
        )
    )
    near_c = tuple(x for x in (c + w, c - w, c + w / 10, c - w / 100) if 0 < x < 1)
    if kind != "true" and rng.random() < 0.4:
        b = base(rng)
        depth = some(rng) if kind == "far" else Fraction(1, 10 ** rng.randint(2, 12))
        return b.tree - depth * shape, None, near_c, (c, *near_c)
    excess = rng.choice((D**2, D**2, D**2 / 2, call("logcosh", D), call("abs", D), 1 - call("exp", -(D**2))))
    depth = {
        "true": 1 - rng.choice((Fraction(1, 10), tiny(rng, 3))),
        "far": 1 + some(rng),
        "near": 1 + tiny(rng, 6),
    }[kind]
    tree = excess * (1 - depth * shape)
    if rng.random() < 0.3 and excess == D**2:
        tree = rng.choice((bernoulli(False), D**2 / (P * (1 - P)))) + D**2 - depth * D**2 * shape
        return tree, True if kind == "true" else None, near_c, (c, *near_c)
    return tree, kind == "true", near_c, (c, *near_c)


def kinked(rng: random.Random, kind: Kind) -> Made:
    """Absolute values, maxima, clips and flat bands."""
    c, eps = inside(rng), Fraction(1, 10 ** rng.randint(1, 8))
    b, e = base(rng, smooth=False), base(rng, excess=True)
    if kind == "true":
        slope = b.slope * rng.choice((Fraction(1, 2), 1 - tiny(rng, 6), Fraction(1)))
        return rng.choice((
            b.tree + signed(rng, slope) * call("abs", P - c),
            call("maximum", e.tree, base(rng, excess=True).tree),
            call("maximum", e.tree - eps, 0),
            call("minimum", e.tree, some(rng)),
            call("maximum", call("abs", D) - eps, 0) ** rng.choice((1, 2)),
            bernoulli(False).put(p=call("clip", P, eps, 1 - eps)),
            e.tree + call("abs", D) * some(rng),
            call("abs", D) ** rng.choice((Fraction(3, 2), Fraction(1, 2), Fraction(3))),
        )), True, (c, eps / 2), (c, eps)  # fmt: skip
    over = some(rng) if kind == "far" else tiny(rng, 20)
    smooth = base(rng, smooth=True, excess=True)
    tree = rng.choice((
        (b.tree + (b.slope + over) * call("abs", P - c), None),
        (smooth.tree + over * call("abs", P - c), False),
        (smooth.tree + over * call("maximum", P - c, 0), False),
        (call("maximum", smooth.tree, over * P), None),
        (smooth.tree - call("minimum", over, over * P), False),
        (smooth.tree.put(p=call("maximum", P, min(over, c))), None),
        (smooth.tree + over * call("clip", P, 0, c), False),
        (call("abs", D - min(over, Fraction(1, 5))), False),
    ))  # fmt: skip
    return *tree, (c,), (c, min(over, c))


def jumps(rng: random.Random, kind: Kind) -> Made:
    """Discontinuous: a jump up or down, two jumps, another value at one point."""
    c, q, b = inside(rng), inside(rng), base(rng, excess=True)
    h = {"true": some(rng), "far": some(rng), "near": tiny(rng, 20)}[kind]
    if kind == "true":
        return rng.choice((
            b.tree + where(">", P, Y, h, 0),
            b.tree + where(">", call("abs", D), c, h, 0),
            b.tree + where(">", Y, c, h, 0),
            where("<", P, Y, b.tree, base(rng, excess=True).tree),
            where("<", P, c, b.tree, b.tree * (1 + h)),
            b.tree * where(">", P, c, 1, 2),
            where("==", P, Y, b.tree - h, b.tree),
            where("<", Y, c, b.tree, base(rng).tree),
        )), True, (c,), (c,)  # fmt: skip
    low, high = min(c, q), max(c, q)
    return rng.choice((
        b.tree + where(">", P, c, -h, 0),
        b.tree + where(">=", P, c, h, 0),
        b.tree + where("<", P, c, 0, h) - where("<", P, q, 0, h) if c != q else b.tree + where("<", P, c, h, 0),
        where("==", P, c, b.tree - h, b.tree),
        where("==", P, c, b.tree + h, b.tree),
        where("==", P, Y, b.tree + h, b.tree),
        where("==", Y, c, b.tree + h * P, b.tree) if b.slope == 0 else where("==", Y, c, P, b.tree),
        b.tree + where(">", call("abs", P - low), (high - low) / 2, 0, h),
    )), False, (c, q, (c + q) / 2, (c + 1) / 2, c / 2), (c, q)  # fmt: skip


def poles(rng: random.Random, kind: Kind) -> Made:
    """1/(p - c)^2, 1/(p - c), log|p - c| with c inside (0, 1); outside it they are harmless factors."""
    c, b = inside(rng), base(rng, excess=True)
    if kind == "true":
        out = rng.choice((-Fraction(1, 10), -tiny(rng, 9), -some(rng)))
        return rng.choice((
            b.tree * (1 + 1 / (P - out) ** 2), (D / (P - out)) ** 2, call("abs", D) / (P - out), b.tree - 1 / (Y - out),
            D**2 * (1 + 1 / call("abs", P - out)), D**2 / (P * (1 - P)) ** 2,
        )), True, (), ()  # fmt: skip
    pole = rng.choice(
        (1 / (P - c) ** 2, 1 / (P - c), call("log", call("abs", P - c)), 1 / call("abs", P - c))
    )
    tree = b.tree + amplitude(rng, kind) * pole / rng.choice((node(1), Y + 1))
    beside = tuple(c + sign * Fraction(1, 10**k) for k in (3, 9, 15, 32, 34) for sign in (1, -1))
    return tree, None if b.slope else False, (c + (1 - c) / 100, c / 2), beside


def borders(rng: random.Random, kind: Kind) -> Made:
    """Disturbed only as p goes to 0 or 1."""
    far = kind == "far"
    eps = Fraction(1, 10 ** (1 if far else rng.randint(2, 9)))
    b = base(rng, excess=True)
    if kind == "true":
        out = bernoulli(False)
        return rng.choice((
            b.tree + D**2 / P, b.tree * (1 + 1 / P), out + some(rng) * D**2 / (1 - P), b.tree * (2 - P**8),
            b.tree / (P + eps), out + eps * call("abs", D), out.put(p=call("clip", P, eps, 1 - eps)),
            b.tree * (1 - call("log", P)),
        )), True, (eps, eps / 2), (eps, eps / 2)  # fmt: skip
    a = some(rng) if far else tiny(rng, 20)
    unless_kinked = None if b.slope else False
    tree = rng.choice((
        (b.tree - a * call("log", P), unless_kinked), (b.tree + a / P, unless_kinked),
        (b.tree + a * call("log", 1 - P), unless_kinked), (b.tree - where("<", P, eps, 3, 0), False),
        (b.tree + a * call("maximum", eps - P, 0) - a * eps, unless_kinked),
        (bernoulli(False).put(p=P + eps * (1 - 2 * P)), False), (b.tree - a * P**40, unless_kinked),
        (b.tree - a * call("exp", -P / eps), unless_kinked),
        (-(Y * call("maximum", call("log", P), -3) + (1 - Y) * call("maximum", call("log", 1 - P), -3)), False),
    ))  # fmt: skip
    return *tree, (eps, eps / 2, 1 - eps / 2, Fraction(1, 1000)), (eps, eps / 2, eps**2, 1 - eps / 3)


def y_window(rng: random.Random, kind: Kind) -> Made:
    """Disturbed only for y in a small interval."""
    c, w = inside(rng), Fraction(1, 10 ** rng.randint(1, 6))
    b = base(rng, smooth=True)
    a = some(rng) if kind == "far" else tiny(rng)
    window = rng.choice(
        (call("maximum", 0, 1 - call("abs", Y - c) / w), where("<", call("abs", Y - c), w, 1, 0))
    )
    bite = rng.choice((P, -P, P * (1 - P), call("abs", P - c / 2)))
    if kind == "true":
        return b.tree + some(rng) * window * rng.choice((D**2, call("abs", D), node(1))), True, (c,), ()
    return (
        b.tree + a * window * bite,
        False,
        tuple(x for x in (c, c + w / 2, c - w / 2, c + w / 3) if 0 < x < 1),
        (),
    )


def mixtures(rng: random.Random, kind: Kind) -> Made:
    """Weighted sums of losses, with one weight negative; both arguments through one map, or through two."""
    one, two = base(rng), base(rng)
    if kind == "true":
        k = rng.randint(1, 3)
        same = rng.choice(
            (lambda x: (x + 1) / 2, lambda x: x**k, lambda x: (x + k) / (k + 1), lambda x: call("sqrt", x))
        )
        return rng.choice((
            some(rng) * one.tree + some(rng) * two.tree,
            one.tree + tiny(rng) * two.tree,
            one.tree.put(y=same(Y), p=same(P)),
            call("log1p", base(rng, excess=True).tree),
            call("sqrt", base(rng, excess=True).tree + some(rng)),
            base(rng, excess=True).tree * (1 + base(rng, excess=True).tree),
        )), True, (), ()  # fmt: skip
    a = some(rng) if kind == "far" else tiny(rng, 12)
    smooth = base(rng, smooth=True)
    tree = rng.choice((
        (one.tree - a * two.tree, None),
        (smooth.tree + a * base(rng, smooth=True).tree.put(y=Y**2), False),
        (smooth.tree + a * base(rng, smooth=True).tree.put(y=Fraction(1, 3)), False),
        (D**2 - (1 + a) * call("log1p", D**2), False),
        (bregman(rng, flaw=a), None),
        (call("abs", D) - (1 + a) * call("tanh", call("abs", D)), False),
    ))  # fmt: skip
    return *tree, (), ()


def random_trees(rng: random.Random, kind: Kind) -> Made:
    """Anything; with a squared residual in front, so that some are true."""

    def grow(depth: int) -> Node:
        if depth == 0 or rng.random() < 0.15:
            return rng.choice((Y, P, D, node(some(rng)), P, Y))
        a, b = grow(depth - 1), grow(depth - 1)
        return rng.choice((
            a + b, a - b, a * b, a * b, a / (1 + b**2), a**2, call("abs", a), call("maximum", a, b),
            call("minimum", a, b), call("sin", a), call("exp", -(a**2)), call("tanh", a), call("log1p", a**2),
            call("sqrt", a**2 + 1), call("log", P) * a,
        ))  # fmt: skip

    tree = grow(rng.randint(1, 3))
    if kind == "true":
        return D**2 * (tree**2 + rng.choice((0, 1))) + rng.choice((node(0), Y)), True, (), ()
    if kind == "near":
        return base(rng).tree + tiny(rng, 12) * tree, None, (), ()
    return (tree + P * Y if not {"y", "p"} <= names(tree) else tree), None, (), ()


def compositions(rng: random.Random, kind: Kind) -> Made:
    """Functions of an excess, and excess times a factor that turns negative, often only at a border."""
    e, c, k = base(rng, excess=True).tree, inside(rng), rng.randint(5, 250)
    if kind == "true":
        return rng.choice((
            call("tanh", e), e / (1 + e), call("exp", e), call("sqrt", e), -1 / (1 + e), e + e**2, 1 - call("exp", -e),
            call("softplus", e), e * (2 + call("sin", k * e)), e * call("exp", -e), e * (1 - P * Y), e * (1 - P**k),
            e * (1 - call("log", P) / k), e - call("minimum", e, c), call("maximum", e, 2 * e - c),
        )), True, (), ()  # fmt: skip
    if kind == "far":
        return *rng.choice((
            (e * (1 - 2 * P), False), (e * (P - c), False), (-e, False), (e * (Y - c), False), (e - 5 * e**2, None),
            (call("sin", 30 * e), None), (call("cos", e), False), ((e - c) ** 2, None), (1 / (1 + e), False),
            (e * call("sin", k * P), None), (e * (c - P * Y), False),
        )), (c, c / 2), (c, c / 2)  # fmt: skip
    eps = tiny(rng, 12)
    with mpmath.workprec(600):
        deep = Fraction(int(mpmath.exp(-k - 1) * mpmath.mpf(2) ** 500), 2**500)
    factor, y, p = rng.choice((
        (1 + call("log", P) / k, c, deep), (1 + call("log", 1 - P) / k, c, 1 - deep), (1 + call("log", Y) / k, deep, c),
        (1 - eps / P, c, eps / 2), (1 - eps / Y, eps / 2, c), (1 - (1 + eps) * P, c, 1 - eps / 4),
        (1 - (1 + eps) * P * Y, 1 - eps / 8, 1 - eps / 4), (P**2 - eps, c, eps / 2), (Y - eps, eps / 2, c),
    ))  # fmt: skip
    if rng.random() < 0.25:
        return (
            rng.choice((e**2 - eps * e, e - eps * call("sqrt", e), call("tanh", e) - (1 + eps) * e)),
            None,
            (c,),
            (c,),
        )
    return e * factor, False, (y,), (p,)


def moving_jumps(rng: random.Random, kind: Kind) -> Made:
    """Jumps on a curve in y and p: beside p = y, across it, or away from it."""
    b, c = base(rng, excess=True), inside(rng)
    h = tiny(rng, 20) if kind == "near" else some(rng)
    if kind == "true":
        return rng.choice((
            b.tree + where(">", P, (Y + 1) / 2, h, 0), b.tree + where("<", P, Y / 2, h, 0),
            b.tree + where(">", D**2, c**2, h, 0), b.tree + where(">=", P, Y, 0, h), b.tree + where("!=", P, Y, h, 0),
            b.tree + where(">", P, Y, h, 0) * where(">", Y, c, 1, 2), b.tree + where("<", P, Y - c / 9, h * Y, 0),
            where("<", P, Y, b.tree, b.tree + h * D), b.tree * where(">", P * Y, c, h, 1),
        )), True, (c,), (c,)  # fmt: skip
    half = Fraction(1, 2)
    near_one = tuple(1 - Fraction(1, 10**k) for k in (1, 3, 6, 12, 25, 35))
    near_half = tuple(half + sign * Fraction(1, 10**k) for k in (2, 6, 12, 25) for sign in (1, -1))
    beside = tuple(c + sign * Fraction(1, 10**k) for k in (3, 8, 14, 25) for sign in (1, -1))
    found = rng.choice((
        (b.tree + where(">", P, (Y + 1) / 2, -h, 0), None, near_one),
        (b.tree + where("<", P, Y / 2, -h, 0), None, near_one),
        (b.tree + where(">", P, 1 - Y, h, 0), False, near_half),
        (b.tree + where(">", P, Y**2, h, 0), False, near_one),
        (b.tree + where(">=", P, Y, h, 0), False, ()),
        (b.tree + where("<=", P, Y, h, 0), False, ()),
        (b.tree + where(">", P, c, h * (Y - c), 0), None if b.slope else False, beside),
        (b.tree + where(">", P * Y, c**2, h, 0), False, beside),
        (b.tree - where(">", D, c / 9, h, 0), None, ()),
    ))  # fmt: skip
    tree, truth, at = found
    at = tuple(x for x in at if 0 < x < 1)
    return tree, truth, at, (*at, *(1 - (1 - x) * 2 for x in at), *(1 - (1 - x) / 3 for x in at))


def quotients(rng: random.Random, kind: Kind) -> Made:
    """An excess over a denominator that vanishes at p = y: there 0/0, at single targets or at the ends."""
    c = inside(rng)
    e = rng.choice(
        (base(rng, excess=True), base(rng, excess=True), Base(D**2), Base(call("abs", D), slope=Fraction(1)))
    )
    at_a_target = ((Y - c) ** 2 + (P - c) ** 2, (Y - c) ** 2 + D**2, call("abs", 1 - Y - P) + call("abs", D))
    at_an_end = (Y + P, 2 - Y - P, Y**2 + P**2, call("sqrt", Y + P), call("maximum", Y, P), 1 - Y * P, Y + P - Y * P,
                 call("log1p", Y + P), P * (1 - Y) + Y * (1 - P))  # fmt: skip
    under = rng.choice(at_a_target if rng.random() < 0.2 else at_an_end)
    spots = (c, Fraction(1, 2))
    if kind == "true":
        # over what is positive for y inside it is; what it is at the spots, and at the ends, the oracle says
        return rng.choice((e.tree / under, e.tree / under + some(rng) * Y, e.tree**2 / under, 1 - under / (under + e.tree),
                           call("log1p", e.tree / under))), None, spots, (c,)  # fmt: skip
    a = some(rng) if kind == "far" else tiny(rng, 12)
    smooth = base(rng, smooth=True, excess=True).tree
    over_an_end = rng.choice(at_an_end[:4])  # positive, and smooth inside: the slope decides
    tree, truth = rng.choice((
        ((smooth + signed(rng, a) * D) / over_an_end, False), (smooth / over_an_end + signed(rng, a) * P, False),
        ((e.tree - a * call("abs", D)) / under, None), (e.tree / (under - min(a, c)), None), (e.tree / under - a * P, None),
        (e.tree * (1 - a / under), None), ((e.tree - a * D**2) / under, None),
    ))  # fmt: skip
    return tree, truth, spots, (c,)


def depends(tree: Node) -> bool:
    """Both variables matter: ((p - y) - p) is no loss in p."""
    grid = (np.arange(16) + 0.37) / 16
    y, p = (a.ravel() for a in np.meshgrid(grid, grid, indexing="ij"))
    found = floats(tree, y, p).reshape(16, 16)
    found = np.where(np.isfinite(found), found, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns without a number
        ranges = [np.nanmax(np.nanmax(found, axis=a) - np.nanmin(found, axis=a)) for a in (0, 1)]
    return all(r > 0 for r in ranges)


def names(tree: Node) -> set[str]:
    """The variables of a tree."""
    return (
        {tree.args[0]}
        if tree.op == "var"
        else set().union(*(names(a) for a in tree.args if isinstance(a, Node)), set())
    )


FAMILIES: dict[str, Callable[[random.Random, Kind], Made]] = {
    "proper and weighted": proper, "disturbed": disturbed, "tangent": tangent, "wells": wells, "kinked": kinked,
    "jumps": jumps, "poles": poles, "borders": borders, "window in y": y_window, "mixtures": mixtures,
    "random trees": random_trees, "compositions": compositions, "moving jumps": moving_jumps, "quotients": quotients,
}  # fmt: skip


def case(seed: int, index: int) -> Case:
    """The case number ``index`` of a seed: families and kinds in turn."""
    rng = random.Random(f"{seed}/{index}")
    family = list(FAMILIES)[index % len(FAMILIES)]
    kind = KINDS[index // len(FAMILIES) % 3]
    while True:
        tree, truth, ys, ps = FAMILIES[family](rng, kind)
        if {"y", "p"} <= names(tree) and depends(tree):
            return Case(family, kind, tree, truth, ys, tuple(p for p in ps if 0 < p < 1))
