"""Claims about training: saturation, convexity, likelihood, infinite values, reduction."""

import math

import numpy as np

from lossproof.advise.claims.evidence import GRID, holds, symbolic, text, why, zero
from lossproof.advise.claims.records import Claim, Decision, Line, Plot, Table, decided
from lossproof.formula.symbols import P, Y, Z
from lossproof.lower import function

EPS = 1e-7  # keras.config.epsilon()


def undoes_sigmoid() -> Decision:
    """The gradient of BCE at the logit, from logits and from clipped probabilities."""
    import sympy

    behind = symbolic("bce").subs(P, 1 / (1 + sympy.exp(-Z)))
    identity = zero(behind.diff(Z) - (1 / (1 + sympy.exp(-Z)) - Y))
    z = np.array([-2.0, -10.0, -16.0, -17.0, -30.0])
    clipped = np.array([_clipped(1.0, v + 0.25) - _clipped(1.0, v - 0.25) for v in z]) / 0.5
    exact = function("bce").gradient_logits(np.ones_like(z), z)
    dead = bool(np.any((clipped == 0) & (np.abs(exact) > 0.99)))
    verdict, condition = decided(
        holds=identity and holds("bce", "alive"),
        fails=dead,
        condition="the loss is computed from logits, not from clipped probabilities",
    )
    grid = np.linspace(-25, 5, 241)
    slopes = [(_clipped(1.0, v + 0.05) - _clipped(1.0, v - 0.05)) / 0.1 for v in grid]
    return Decision(
        verdict,
        (
            "From logits dl/dz = sigmoid(z) - y, for soft targets too: a wrong pixel always has a gradient.",
            "With p clipped to [1e-7, 1 - 1e-7], as Keras does to probabilities, the gradient of a confidently wrong "
            "pixel is exactly 0.",
        ),
        Table(("z at y = 1", "dl/dz from logits", "dl/dz, p clipped at 1e-7"), tuple(
            (text(v), text(float(e)), text(float(c))) for v, e, c in zip(z, exact, clipped, strict=True))),
        Plot("z at y = 1", "dl/dz", (Line("from logits", grid, function("bce").gradient_logits(np.ones_like(grid), grid)),
             Line("from clipped p", grid, slopes)),
             "From logits the gradient stays at -1 to the left; from clipped probabilities it drops to 0 at z = -16.1."),
        ("dl/dz - (sigmoid(z) - y) simplifies to 0", *why("bce", "alive")),
        condition,
    )  # fmt: skip


def _clipped(y: float, z: float) -> float:
    p = min(max(1 / (1 + math.exp(-z)), EPS), 1 - EPS)
    return -(y * math.log(p) + (1 - y) * math.log1p(-p))


def sigmoid_mse_stalls() -> Decision:
    """The gradient of MSE behind a sigmoid."""
    z = np.array([-2.0, -5.0, -10.0, -20.0])
    slopes = {loss: function(loss).gradient_logits(np.ones_like(z), z) for loss in ("mse", "mae", "bce")}
    last = abs(float(slopes["mse"][-1]))
    stalls = not holds("mse", "alive") and last < 1e-7
    verdict, _ = decided(holds=stalls, fails=not stalls)
    grid = np.linspace(-10, 10, 201)
    return Decision(
        verdict,
        (
            "dl/dz = 2 (p - y) p (1 - p): the factor p (1 - p) goes to 0 also where the pixel is wrong. MAE and log-cosh "
            "have the same factor.",
            "On a linear output MSE has no plateau: there, for classification, Hui and Belkin (arXiv 2006.07322) find it "
            "comparable with cross-entropy.",
        ),
        Table(("z at y = 1", *(f"|dl/dz|, {loss}" for loss in slopes)), tuple(
            (text(v), *(text(abs(float(slopes[loss][i]))) for loss in slopes)) for i, v in enumerate(z))),
        Plot("z at y = 1", "|dl/dz|", tuple(
            Line(loss, grid, np.abs(function(loss).gradient_logits(np.ones_like(grid), grid))) for loss in slopes),
            "The gradient of MSE and MAE vanishes to the left, where the pixel is wrong; that of BCE goes to 1."),
        (*why("mse", "alive"), *why("mae", "alive"), *why("logcosh", "alive")),
    )  # fmt: skip


def convex() -> Decision:
    """Convexity in the logits."""
    right = holds("bce", "convex_logits") and not holds("mse", "convex_logits")
    verdict, _ = decided(holds=right, fails=not right)
    z = np.linspace(-8, 8, 201)
    points = (-6.0, -3.0, 0.0)
    middle = {loss: function(loss).value_logits(np.ones(3), np.array(points)) for loss in ("bce", "mse")}
    return Decision(
        verdict,
        ("In the logit BCE is convex for every target. Behind a sigmoid MSE is not: it bends the other way where the "
         "prediction is wrong, and lies above a chord there. In p itself both are convex.",),
        Table(("loss at y = 1", "z = -6", "z = -3", "z = 0", "chord at z = -3"), tuple(
            (loss, *(text(float(v)) for v in values), text(float(values[0] + values[2]) / 2))
            for loss, values in middle.items())),
        Plot("z", "loss at y = 1", tuple(Line(loss, z, function(loss).value_logits(np.ones_like(z), z))
                                         for loss in ("bce", "mse")),
             "BCE over the logit is convex; MSE is an S that flattens to the left.", (), (0, 5)),
        (*why("bce", "convex_logits", "convex"), *why("mse", "convex_logits", "convex")),
    )  # fmt: skip


def likelihood() -> Decision:
    """What exp(-BCE) adds up to over the targets."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    y = (nodes + 1) / 2
    grey = np.arange(256) / 255
    made = function("bce")
    rows, binary, other = [], [], []
    for p in (0.05, 0.2, 0.5):
        two = float(np.exp(-made.value(np.array([0.0, 1.0]), np.full(2, p))).sum())
        line = float(weights @ np.exp(-made.value(y, np.full_like(y, p)))) / 2
        bytes_ = float(np.exp(-made.value(grey, np.full_like(grey, p))).sum())
        binary.append(abs(two - 1) < 1e-12)
        other.append(abs(line - 1) > 0.05 and abs(bytes_ - 1) > 0.05)
        rows.append((text(p), text(two), text(line), text(bytes_)))
    verdict, condition = decided(
        holds=all(binary), fails=all(other), condition="the targets are 0 or 1 and nothing else"
    )
    coarse = GRID[::20]
    mass = [float(weights @ np.exp(-made.value(y, np.full_like(y, q)))) / 2 for q in coarse]
    return Decision(
        verdict,
        (
            "Over {0, 1} exp(-BCE) adds up to 1 and is Bernoulli's law. Over grey values it does not: the normaliser "
            "depends on p, and leaving it out moves the optimum (the continuous Bernoulli is BCE with it).",
            "As a loss BCE needs no such reading; as an ELBO on grey data it is not one, and its bits per pixel mean "
            "nothing.",
        ),
        Table(("p", "sum over {0, 1}", "integral over [0, 1]", "sum over 256 levels"), tuple(rows)),
        Plot("p", "integral of exp(-BCE) over [0, 1]", (Line("mass", coarse, mass), Line("1", coarse, np.ones_like(coarse))),
             "The integral of exp(-BCE) over targets in [0, 1] lies below 1 and depends on p."),
        why("bce", "proper"),
        condition,
    )  # fmt: skip


def infinite() -> Decision:
    """The cost of a pixel that is wholly wrong."""
    z = np.array([-5.0, -20.0, -100.0, -1000.0])
    from_logits = function("bce").value_logits(np.ones_like(z), z)
    with np.errstate(all="ignore"):
        p = (1 / (1 + np.exp(-z.astype(np.float32)))).astype(np.float32)
        naive = -np.log(p)
    verdict, condition = decided(
        holds=bool(np.isinf(naive).any()),
        fails=bool(np.isfinite(from_logits).all()),
        condition="the prediction is rounded to exactly 0 or 1 before the logarithm",
    )
    grid = np.linspace(-40, 5, 200)
    return Decision(
        verdict,
        ("From logits a wrong pixel costs about |z|, a line: at z = -100 it is 100 nats. Only a probability that was "
         "rounded to 0 makes it infinite, or NaN where it is multiplied by 0.",),
        Table(("z at y = 1", "from logits", "-log(sigmoid(z)) in float32"), tuple(
            (text(v), text(float(a)), text(float(b))) for v, a, b in zip(z, from_logits, naive, strict=True))),
        Plot("z at y = 1", "BCE", (Line("bce", grid, function("bce").value_logits(np.ones_like(grid), grid)),),
             "BCE at y = 1 over the logit: a line of slope -1 to the left, 0 to the right."),
        (),
        condition,
    )  # fmt: skip


def reduction() -> Decision:
    """Mean against sum, with and without another term: where a one-pixel objective is least."""
    pixels, y = 784, 0.9
    z = np.linspace(-6, 6, 4001)
    loss = function("bce").value_logits(np.full_like(z, y), z)
    least = {
        (name, other): float(z[int(np.argmin(weight * loss + (z**2 / 2 if other else 0)))])
        for name, weight in (("sum", 1.0), ("mean", 1 / pixels))
        for other in (False, True)
    }
    alone = abs(least["sum", False] - least["mean", False]) < 1e-9
    beside = abs(least["sum", True] - least["mean", True]) > 0.1
    verdict, condition = decided(
        holds=alone, fails=beside, condition="no other term stands beside it (no KL, no weight decay)"
    )
    draw = {name: 1 / (1 + math.exp(-least[name, True])) for name in ("sum", "mean")}
    return Decision(
        verdict,
        (
            "Alone, a factor moves no minimum (plain SGD needs another learning rate, Adam does not).",
            f"Beside a KL term the mean over {pixels} values weighs the KL {pixels} times as much: with z^2/2, the "
            f"KL of N(z, 1) from N(0, 1), the target {y} is then drawn as {text(draw['mean'])} in place of "
            f"{text(draw['sum'])}.",
        ),
        Table(("reduction", "best p, alone", "best p, beside z^2/2"), tuple(
            (name, text(1 / (1 + math.exp(-least[name, False]))), text(draw[name])) for name in ("sum", "mean"))),
        Plot("z", "objective - its least value", tuple(
            Line(f"{name} + z^2/2", z, _lowered(weight * loss + z**2 / 2))
            for name, weight in (("sum", 1.0), ("mean", 1 / pixels))),
            "Beside the same z^2/2 the summed loss is least on the way to the target's logit, the averaged one at 0.",
             (), (0, 2)),
        (),
        condition,
    )  # fmt: skip


def _lowered(values: np.ndarray) -> np.ndarray:
    return values - values.min()


CLAIMS = (
    Claim("log-undoes-sigmoid", "The logarithm in BCE undoes the saturation of the sigmoid.", undoes_sigmoid,
          ("Goodfellow, Bengio, Courville, Deep Learning, 6.2.2.2",)),
    Claim("sigmoid-mse", "Behind a sigmoid, MSE gets stuck at pixels that are confidently wrong.", sigmoid_mse_stalls,
          ("stats.stackexchange 208918",)),
    Claim("convex", "BCE is convex in the logits; MSE behind a sigmoid is not.", convex),
    Claim("likelihood", "BCE is the negative log-likelihood of the pixels.", likelihood,
          ("clementchadebec/benchmark_VAE 123",)),
    Claim("infinite", "BCE is infinite where a pixel is wholly wrong.", infinite),
    Claim("reduction", "Mean or sum over the pixels: it only changes the scale.", reduction,
          ("pytorch/examples 234", "keras-team/keras 3373")),
)  # fmt: skip
