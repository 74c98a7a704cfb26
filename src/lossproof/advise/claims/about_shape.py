"""Claims about how losses compare: asymmetry, size, scale."""

import math

import numpy as np

from lossproof.advise.claims.evidence import (
    GRID,
    WORDS,
    at,
    certificate,
    symbolic,
    text,
    unit_sign,
    zero,
)
from lossproof.advise.claims.records import Claim, Decision, Line, Plot, Table, decided
from lossproof.formula.symbols import P, Y
from lossproof.lower import function


def asymmetric() -> Decision:
    """Errors of the same size above and below the target."""
    import sympy

    from lossproof.prove.sign import sign

    loss = symbolic("bce")
    a, b = sympy.symbols("a b", positive=True)
    t = sympy.Symbol("t", positive=True)
    # how the gap loss(y, y + t) - loss(y, y - t) grows with t, for y < 1/2 and t < y
    growth = loss.subs(P, Y + t).diff(t) - loss.subs(P, Y - t).diff(t)
    y = a / (2 * (1 + a))
    found = sign(
        sympy.factor(sympy.together(growth.subs({Y: y, t: y * b / (1 + b)}, simultaneous=True)))
    ).sign
    middle = zero(
        sympy.expand_log(
            (loss.subs(P, Y + t) - loss.subs(P, Y - t)).subs(Y, sympy.Rational(1, 2)), force=True
        )
    )
    rows = [
        (y, d, at("bce", y, y - d), at("bce", y, y + d))
        for y, d in ((0.2, 0.1), (0.5, 0.1), (0.5, 0.4), (0.9, 0.05))
    ]
    differ = found == "-" and abs(rows[0][2] - rows[0][3]) > 1e-3
    verdict, condition = decided(holds=differ, fails=middle, condition="the target is not 1/2")
    made = function("bce")
    e = np.linspace(-0.19, 0.19, 200)
    return Decision(
        verdict,
        (
            f"At y = 0.2 an error of 0.1 costs {text(rows[0][2])} towards black and {text(rows[0][3])} towards 1/2: the "
            "error away from 1/2 is dearer, on both sides.",
            "It treats black and white alike, loss(y, p) = loss(1 - y, 1 - p), and its minimum stays at p = y.",
        ),
        Table(("target y", "error", "loss below", "loss above"), tuple(tuple(text(v) for v in row) for row in rows)),
        Plot("error p - y", "excess of BCE", tuple(
            Line(f"y = {y}", e, made.excess(np.full_like(e, y), y + e)) for y in (0.2, 0.5, 0.8)),
            "Excess of BCE over the error: symmetric at a target of 1/2, steeper away from 1/2 at 0.2 and 0.8."),
        (f"for 0 < t < y < 1/2: d/dt [loss(y, y + t) - loss(y, y - t)] is {WORDS[found]}, and the gap is 0 at t = 0",
         "at y = 1/2 the gap simplifies to 0"),
        condition,
    )  # fmt: skip


def worked_example() -> Decision:
    """The widely copied example at y = 0.2: its numbers, recomputed, and the slip that gives them."""
    y, printed = 0.2, {0.1: 0.2775, 0.3: 0.2285}
    rows, wrong, slips = [], [], []
    for p, said in printed.items():
        nats = at("bce", y, p)
        tens = nats / math.log(10)
        slip = -(y * math.log10(p) + (1 - y) * math.log10(1 - y))
        wrong.append(abs(nats - said) > 1e-3)
        slips.append(abs(slip - said) < 1e-4 or abs(tens - said) < 1e-4)
        rows.append((text(p), f"{said}", text(nats), text(tens), text(slip)))
    floor = float(function("bce").floor(y))
    verdict, _ = decided(holds=not any(wrong), fails=all(wrong) and all(slips))
    grid = np.linspace(0.01, 0.6, 300)
    curve = function("bce").value(np.full_like(grid, y), grid)
    return Decision(
        verdict,
        (
            f"In nats the losses are {rows[0][2]} at p = 0.1 and {rows[1][2]} at p = 0.3, above a floor of {text(floor)}.",
            "The printed numbers are logarithms to base 10, and the first has log(1 - y) in place of log(1 - p). What "
            "the example is told for, that the error towards 1/2 is cheaper, is right.",
        ),
        Table(("p", "printed", "nats", "base 10", "base 10 with log(1 - y)"), tuple(rows)),
        Plot("p", "BCE at y = 0.2", (Line("nats", grid, curve), Line("base 10", grid, curve / math.log(10))),
             "BCE at y = 0.2 over p, in nats and to base 10, with the printed points beside the curves.",
             tuple(printed.items())),
    )  # fmt: skip


def penalises_more() -> Decision:
    """The excess of BCE against the squared error: Pinsker's inequality for one pixel, proved by signs."""
    excess = symbolic("bce") - symbolic("bce").subs(P, Y)
    # f(p) = excess - 2 (y - p)^2 is 0 at p = y; f' has the sign of p - y if f'/(p - y) is positive
    ratio = (excess - 2 * (Y - P) ** 2).diff(P) / (P - Y)
    import sympy

    found, where = unit_sign(sympy.cancel(sympy.together(ratio)))
    y, p = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 41), GRID[::40]))
    measured = function("bce").excess(y, p) - 2 * (y - p) ** 2
    verdict, _ = decided(
        holds=found in ("+", ">=") and bool(measured.min() > -1e-12), fails=bool(measured.min() < -1e-9)
    )
    points = ((1.0, 0.5), (1.0, 0.1), (1.0, 0.01), (0.5, 0.4), (0.2, 0.1))
    q = GRID[10:-10]
    return Decision(
        verdict,
        (
            "What BCE pays above its floor is at least twice the squared error, for every target and prediction "
            "(Pinsker's inequality); near black and white it is far more.",
            "In the gradient at the logit the ratio is 1/(2 p (1 - p)), also at least 2: behind a sigmoid BCE pulls harder.",
        ),
        Table(("target y", "p", "excess of BCE", "squared error", "ratio"), tuple(
            (text(t), text(r), text(float(function("bce").excess(t, r))), text((t - r) ** 2),
             text(float(function("bce").excess(t, r)) / (t - r) ** 2)) for t, r in points)),
        Plot("p", "cost at y = 1", (Line("bce", q, function("bce").excess(np.ones_like(q), q)),
             Line("mse", q, (1 - q) ** 2), Line("2 mse", q, 2 * (1 - q) ** 2)),
             "At a target of 1, BCE lies above twice the squared error and goes to infinity at p = 0.", (), (0, 5)),
        (f"d/dp [excess - 2 (y - p)^2] / (p - y) is {WORDS[found]} for y, p in (0, 1) ({where})",),
    )  # fmt: skip


def same_scale() -> Decision:
    """The ratio of the excess of BCE to the squared error."""
    points = ((0.5, 0.49), (0.5, 0.1), (0.1, 0.11), (0.01, 0.011), (0.01, 0.2), (0.99, 0.5))
    ratios = [float(function("bce").excess(y, p)) / (y - p) ** 2 for y, p in points]
    spread = max(ratios) / min(ratios)
    verdict, _ = decided(holds=spread < 1.01, fails=spread > 2)
    first, second = _reversed_pair()
    y = np.linspace(0.01, 0.99, 200)
    return Decision(
        verdict,
        (
            f"The ratio of excess to squared error runs from {text(min(ratios))} to {text(max(ratios))} over these few "
            "points. Only near one target, to second order, is it a number: 1/(2 y (1 - y)).",
            f"They even order predictions differently: at y = {text(first[0])}, p = {text(first[1])} is better than "
            f"p = {text(second[1])} by BCE and worse by MSE.",
        ),
        Table(("target y", "p", "excess / squared error"), tuple(
            (text(t), text(q), text(r)) for (t, q), r in zip(points, ratios, strict=True))),
        Plot("target y", "local exchange rate 1/(2 y (1 - y))", (Line("bce / mse", y, 1 / (2 * y * (1 - y))),),
             "The local ratio of BCE to MSE is 2 at grey and grows without bound towards black and white."),
        tuple(f"{loss}: second derivative in p at p = y: {certificate(loss).lines['curvature'].details['formula']} "
              f"({certificate(loss).lines['curvature'].verdict.__class__.__name__.lower()})" for loss in ("bce", "mse")),
    )  # fmt: skip


def _reversed_pair() -> tuple[tuple[float, float], tuple[float, float]]:
    """A target with two predictions that BCE and MSE order differently, by search."""
    made = function("bce")
    for y in (0.1, 0.2, 0.3):
        for below in np.arange(0.01, y, 0.01):
            for above in np.arange(y + 0.01, 2 * y, 0.01):
                nearer = abs(above - y) > abs(below - y) * 1.05
                if nearer and made.value(y, float(above)) < made.value(y, float(below)) - 1e-3:
                    return (y, round(float(above), 2)), (y, round(float(below), 2))
    raise AssertionError("no pair found")


def smaller_is_better() -> Decision:
    """Numbers of different losses side by side."""
    y = 0.5
    perfect, worse = at("bce", y, 0.5), at("mse", y, 0.3)
    counter = perfect > worse
    verdict, _ = decided(holds=not counter, fails=counter)
    p = GRID
    return Decision(
        verdict,
        (
            f"At y = 1/2 a perfect reconstruction has BCE {text(perfect)}, and one that is off by 0.2 has MSE "
            f"{text(worse)}.",
            "Compare under one measure: excess over the floor of one loss, squared error, or bits per pixel.",
        ),
        Table(("prediction", "loss", "value", "excess"), (
            ("0.5, perfect", "bce", text(perfect), text(float(function("bce").excess(y, 0.5)))),
            ("0.3", "mse", text(worse), text(worse)),
            ("0.3", "bce", text(at("bce", y, 0.3)), text(float(function("bce").excess(y, 0.3)))))),
        Plot("p", "loss at y = 1/2", (Line("bce", p, function("bce").value(np.full_like(p, y), p)),
             Line("mse", p, (p - y) ** 2)), "At y = 1/2 all of BCE lies above all of MSE.", (), (0, 2)),
    )  # fmt: skip


CLAIMS = (
    Claim("asymmetric", "BCE is asymmetric: over- and undershooting a pixel by the same amount cost differently.",
          asymmetric, ("stats.stackexchange 443237", "stats.stackexchange 394582")),
    Claim("worked-example", "For y = 0.2 the BCE is 0.2775 at p = 0.1 and 0.2285 at p = 0.3.", worked_example,
          ("stats.stackexchange 394582, and copies",)),
    Claim("penalises-more", "BCE penalises a wrong pixel more than MSE does.", penalises_more,
          ("stats.stackexchange 262972",)),
    Claim("same-scale", "MSE and BCE are the same up to scale.", same_scale),
    Claim("smaller-number", "The loss with the smaller number reconstructs better, also between BCE and MSE.",
          smaller_is_better),
)  # fmt: skip
