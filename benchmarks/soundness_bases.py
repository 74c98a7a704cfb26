"""Losses minimised at p = y, and random numbers: what the families of the soundness fuzz disturb."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from soundness_tree import Node, P, Y, call, where

D = P - Y  # the residual


@dataclass(frozen=True)
class Base:
    """A loss minimised at p = y. ``excess``: it is zero there. ``slope``: of its kink, 0 if smooth."""

    tree: Node
    excess: bool = True
    slope: Fraction = Fraction(0)


def bernoulli(kl: bool) -> Node:
    """-(y log p + (1 - y) log(1 - p)), less its floor if ``kl``."""
    cross = -(call("xlogy", Y, P) + call("xlogy", 1 - Y, 1 - P))
    return cross + call("xlogy", Y, Y) + call("xlogy", 1 - Y, 1 - Y) if kl else cross


def some(rng: random.Random, low: int = 1, high: int = 9, parts: int = 10) -> Fraction:
    """A short positive fraction."""
    return Fraction(rng.randint(low, high * parts // 2), rng.choice((1, 2, 3, parts)))


def inside(rng: random.Random) -> Fraction:
    """A point of (0, 1), mostly round."""
    return rng.choice((Fraction(1, 2), Fraction(1, 3), Fraction(9, 10), Fraction(rng.randint(1, 99), 100),
                       Fraction(rng.randint(1, 2**20 - 1), 2**20), Fraction(rng.random() or 0.5)))  # fmt: skip


def tiny(rng: random.Random, deepest: int = 30) -> Fraction:
    """10**-k, or a multiple."""
    return Fraction(rng.choice((1, 1, 1, 3, 7)), 10 ** rng.randint(1, deepest))


def signed(rng: random.Random, x: Fraction) -> Fraction:
    return x if rng.random() < 0.5 else -x


def base(rng: random.Random, *, smooth: bool | None = None, excess: bool = False) -> Base:
    """A proper base; ``smooth`` asks for one with or without a kink at p = y, ``excess`` for one that is zero there."""
    c, tau = some(rng), Fraction(rng.randint(1, 19), 20)
    r = D / c
    smooth_ones: list[Callable[[], Base]] = [
        lambda: Base(bernoulli(False), excess=False),
        lambda: Base(-(Y * call("log", P) + (1 - Y) * call("log", 1 - P)), excess=False),
        lambda: Base(bernoulli(True)),
        lambda: Base(D**2),
        lambda: Base((Y - P) ** 2 / 2),
        lambda: Base(P - call("xlogy", Y, P), excess=False),
        lambda: Base(call("xlogy", Y, Y) - call("xlogy", Y, P) - Y + P),
        lambda: Base(beta_divergence(rng.choice((Fraction(3, 2), Fraction(5, 2), Fraction(3))))),
        lambda: Base(Y / P - call("log", Y / P) - 1),
        lambda: Base(-(Y * P + (1 - Y) * (1 - P)) / call("sqrt", P**2 + (1 - P) ** 2), excess=False),
        lambda: Base(call("logcosh", c * D) / c),
        lambda: Base(where("<=", call("abs", D), c / 10, D**2 / 2, c / 10 * (call("abs", D) - c / 20))),
        lambda: Base(call("sqrt", 1 + r**2) - 1),
        lambda: Base((call("sqrt", P) - call("sqrt", Y)) ** 2),
        lambda: Base((call("sqrt", P) - call("sqrt", Y)) ** 2 + (call("sqrt", 1 - P) - call("sqrt", 1 - Y)) ** 2),
        lambda: Base(jensen_shannon()),
        lambda: Base((call("log1p", Y) - call("log1p", P)) ** 2),
        lambda: Base(D**4),
        lambda: Base(call("log1p", r**2)),
        lambda: Base(1 - call("exp", -(r**2))),
        lambda: Base(r**2 / (1 + r**2)),
        lambda: Base(D**2 / (P * (1 - P))),
        lambda: Base(bregman(rng)),
    ]  # fmt: skip
    kinked_ones: list[Callable[[], Base]] = [
        lambda: Base(call("abs", D), slope=Fraction(1)),
        lambda: Base(tau * call("maximum", Y - P, 0) + (1 - tau) * call("maximum", P - Y, 0), slope=min(tau, 1 - tau)),
        lambda: Base(where("<", P, Y, tau * (Y - P), (1 - tau) * (P - Y)), slope=min(tau, 1 - tau)),
        lambda: Base(call("abs", D) + c * D**2, slope=Fraction(1)),
        lambda: Base(call("maximum", D, Y - P), slope=Fraction(1)),
    ]  # fmt: skip
    if smooth is None:
        smooth = rng.random() < 0.75
    found = rng.choice(smooth_ones if smooth else kinked_ones)()
    return base(rng, smooth=smooth, excess=True) if excess and not found.excess else found


def beta_divergence(b: Fraction) -> Node:
    return (Y**b + (b - 1) * P**b - b * Y * P ** (b - 1)) / (b * (b - 1))


def jensen_shannon() -> Node:
    def half(a: Node, b: Node) -> Node:
        m = (a + b) / 2
        return call("xlogy", a, a) - call("xlogy", a, m) + call("xlogy", b, b) - call("xlogy", b, m)

    return (half(Y, P) + half(1 - Y, 1 - P)) / 2


def bregman(rng: random.Random, flaw: Fraction = Fraction(0)) -> Node:
    """phi(y) - phi(p) - phi'(p)(y - p) of a random convex phi; ``flaw`` takes flaw x^2 from it."""
    c, k = some(rng), some(rng, high=2)
    parts: list[tuple[Callable[[Node], Node], Callable[[Node], Node]]] = [
        (lambda x: x**2, lambda x: 2 * x),
        (lambda x: x**4, lambda x: 4 * x**3),
        (lambda x: call("exp", k * x), lambda x: k * call("exp", k * x)),
        (lambda x: -call("log", x + c), lambda x: -1 / (x + c)),
        (lambda x: call("xlogy", x + c, x + c), lambda x: call("log", x + c) + 1),
        (lambda x: 1 / (x + c), lambda x: -1 / (x + c) ** 2),
        (lambda x: -call("sqrt", x + c), lambda x: -1 / (2 * call("sqrt", x + c))),
        (lambda x: call("softplus", c * x), lambda x: c * (1 + call("tanh", c * x / 2)) / 2),
    ]  # fmt: skip
    chosen = [(w, f) for f in rng.sample(parts, rng.randint(1, 3)) for w in [some(rng)]]

    def phi(x: Node) -> Node:
        terms = [w * f[0](x) for w, f in chosen] + ([-flaw * x**2] if flaw else [])
        return sum(terms[1:], terms[0])

    terms = [w * f[1](P) for w, f in chosen] + ([-flaw * 2 * P] if flaw else [])
    return phi(Y) - phi(P) - sum(terms[1:], terms[0]) * (Y - P)
