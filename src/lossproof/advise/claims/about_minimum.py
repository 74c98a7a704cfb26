"""Claims about where a loss is least, how low it gets, and what it estimates."""

import numpy as np

from lossproof.advise.claims.evidence import (
    GRID,
    WORDS,
    at,
    best,
    certificate,
    holds,
    symbolic,
    text,
    why,
    zero,
)
from lossproof.advise.claims.records import Claim, Decision, Line, Plot, Table, decided
from lossproof.formula.symbols import P, Y
from lossproof.lower import function

FOUR = ("bce", "mse", "mae", "logcosh")
#: a grey value that is 0 or 1 by chance: the plainest noise
LAWS: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = (
    ((0.0, 1.0), (0.6, 0.4)),
    ((0.1, 0.5), (0.25, 0.75)),
    ((0.2, 0.3, 0.9), (0.5, 0.3, 0.2)),
)
SHARES = (0.1, 0.3, 0.45, 0.6, 0.9)


def reach_zero() -> Decision:
    """Floors of BCE and others over the target."""
    y = np.array([0.0, 0.1, 0.2, 0.5, 0.8, 1.0])
    floors = {loss: function(loss).floor(y) for loss in FOUR}
    bce = floors["bce"]
    at_zero = bce == 0
    verdict, condition = decided(
        holds=bool(at_zero.any()), fails=bool((~at_zero).any()), condition="every target is 0 or 1"
    )
    details = certificate("bce").lines["floor"].details
    return Decision(
        verdict,
        (
            f"At a target of 1/2 the best prediction, 1/2, costs {text(floors['bce'][3])} = log 2 nats; the floor is 0 "
            f"only at {', '.join(details['minimum']['at'])}.",
            "The floor depends on the target alone, so it has no gradient: nothing is missed by not reaching 0.",
        ),
        Table(("target y", *FOUR), tuple((text(t), *(text(floors[n][i]) for n in FOUR)) for i, t in enumerate(y))),
        Plot("target y", "floor: least loss", (Line("bce", GRID, function("bce").floor(GRID)),
             Line("mse, mae, logcosh", GRID, function("mse").floor(GRID))),
             "The floor of BCE is an arch from 0 over log 2 at 1/2 back to 0; that of the others is 0."),
        (*why("bce", "floor"), f"floor of bce: {details['formula']}"),
        condition,
    )  # fmt: skip


def binary_only() -> Decision:
    """The minimum for soft targets, and the mass over {0, 1}."""
    proved = all(holds("bce", name) for name in ("minimum", "unique"))
    targets = (0.0, 0.1, 0.3, 0.5, 0.9)
    found = [best("bce", [y], [1.0]) for y in targets]
    agrees = all(abs(p - y) < 1e-4 for p, y in zip(found, targets, strict=True))
    verdict, _ = decided(holds=not (proved and agrees), fails=proved and agrees)
    p = np.linspace(0.001, 0.999, 400)
    made = function("bce")
    return Decision(
        verdict,
        (
            "For every target in [0, 1] the only best prediction is p = y, so a grey image is reconstructed as it is.",
            "What is true of it: exp(-BCE) is a probability only over targets 0 and 1 (see the claim on likelihoods).",
        ),
        Table(("target y", "best p, by search"), tuple((text(y), text(q)) for y, q in zip(targets, found, strict=True))),
        Plot("p", "BCE", tuple(Line(f"y = {y}", p, made.value(np.full_like(p, y), p)) for y in (0.1, 0.3, 0.5, 0.9)),
             "BCE over p for four grey targets; each curve is least where p is the target.",
             tuple((y, at("bce", y, y)) for y in (0.1, 0.3, 0.5, 0.9)), (0, 2.5)),
        why("bce", "minimum", "unique"),
    )  # fmt: skip


def keeps_training() -> Decision:
    """The slope at a perfect reconstruction."""
    slope = symbolic("bce").diff(P)
    none = zero(slope.subs(P, Y))
    numbers = [(y, at("bce", y, y), float(function("bce").gradient(y, y))) for y in (0.1, 0.2, 0.5, 0.9)]
    verdict, _ = decided(holds=not none, fails=none and all(abs(g) < 1e-12 for _, _, g in numbers))
    z = np.linspace(-5, 5, 300)
    return Decision(
        verdict,
        ("At p = y the derivative is 0 whatever the loss there: only the excess over the floor pulls.",),
        Table(("target y", "BCE at p = y", "dl/dp at p = y"), tuple((text(y), text(v), text(g)) for y, v, g in numbers)),
        Plot("z, with p = sigmoid(z)", "dl/dz", tuple(
            Line(f"y = {y}", z, function("bce").gradient_logits(np.full_like(z, y), z)) for y in (0.1, 0.5, 0.9)),
            "The gradient in the logit crosses 0 where sigmoid(z) is the target."),
        ("dl/dp at p = y simplifies to 0 for every y in (0, 1)",),
    )  # fmt: skip


def bce_dims() -> Decision:
    """What BCE estimates when the grey value is noisy."""
    rows, right = [], []
    for share in SHARES:
        found = {loss: best(loss, [0, 1], [1 - share, share]) for loss in FOUR}
        miss = abs(found["bce"] - share)
        right.append(miss < 1e-3)
        rows.append((text(share), *(text(round(found[loss], 4)) for loss in FOUR)))
    dims = not all(right) or not holds("bce", "mean")
    verdict, _ = decided(holds=dims, fails=not dims)
    return Decision(
        verdict,
        (
            "The prediction with the least expected BCE is the mean of the target: no darker, no brighter.",
            "Its asymmetry (an error away from 1/2 costs more) does not move the minimum. In a model that cannot reach "
            "the mean (too few steps, an output that is clipped) pictures can be dark under any loss.",
        ),
        Table(("mean of Y (0 or 1)", *(f"best p, {loss}" for loss in FOUR)), tuple(rows)),
        _estimates(),
        why("bce", "mean"),
    )


def mean_seeking() -> Decision:
    """Mean and mode of a noisy grey value against what BCE estimates."""
    rows, means, modes = [], [], []
    for values, weights in LAWS:
        mean = sum(v * w for v, w in zip(values, weights, strict=True))
        mode = values[int(np.argmax(weights))]
        found = best("bce", values, weights)
        means.append(abs(found - mean))
        modes.append(abs(found - mode))
        rows.append((_law(values, weights), text(mean), text(mode), text(round(found, 4))))
    right = holds("bce", "mean")
    verdict, _ = decided(holds=right and max(means) < 1e-3 < min(modes), fails=not right)
    return Decision(
        verdict,
        ("It seeks the mean, not the likeliest value: where images that share a code differ, it draws their average. "
         "So does MSE.",),
        Table(("Y", "mean", "mode", "best p, bce"), tuple(rows)),
        _estimates(("bce", "mse", "mae")),
        why("bce", "mean"),
    )  # fmt: skip


def _law(values: tuple[float, ...], weights: tuple[float, ...]) -> str:
    return ", ".join(f"{v:g} ({100 * w:.0f} %)" for v, w in zip(values, weights, strict=True))


def mse_mean_bce_not() -> Decision:
    """Whether MSE and BCE differ in what they estimate."""
    both = {loss: holds(loss, "mean") for loss in ("bce", "mse")}
    rows, same = [], []
    for values, weights in (
        ((0.0, 1.0), (0.6, 0.4)),
        ((0.1, 0.5), (0.25, 0.75)),
        ((0.2, 0.3, 0.9), (0.5, 0.3, 0.2)),
    ):
        mean = sum(v * w for v, w in zip(values, weights, strict=True))
        found = [best(loss, values, weights) for loss in ("bce", "mse")]
        same.append(max(abs(one - mean) for one in found) < 1e-3)
        rows.append((_law(values, weights), text(mean), *(text(one) for one in found)))
    claim = both["mse"] and not both["bce"]
    verdict, _ = decided(holds=claim, fails=all(both.values()) and all(same))
    return Decision(
        verdict,
        ("Both are least in expectation at the mean of the target, so both blur alike where the code leaves doubt. "
         "What differs is how steeply an error is paid for beside it.",),
        Table(("Y", "mean", "best p, bce", "best p, mse"), tuple(rows)),
        _estimates(("bce", "mse")),
        (*why("bce", "mean"), *why("mse", "mean")),
    )  # fmt: skip


def mae_mean() -> Decision:
    """What MAE estimates."""
    return _estimator("mae", "mean", "MAE is least in expectation at the median: below one half, rare white pixels "
                      "are drawn black.")  # fmt: skip


def logcosh_median() -> Decision:
    """What log-cosh estimates."""
    extra = (
        ""
        if holds("logcosh", "mean")
        else " It is not the mean either: log-cosh estimates something between."
    )
    return _estimator("logcosh", "median", "For errors within [0, 1] log-cosh is nearly a parabola: its best prediction "
                      "lies near the mean, not at the median." + extra, "mean")  # fmt: skip


def _estimator(loss: str, wanted: str, reason: str, *beside: str) -> Decision:
    """A claim that a loss is consistent for the mean or the median, by its certificate and by search."""
    rows, misses = [], []
    for share in SHARES:
        mean, median = share, float(share > 0.5)
        found = best(loss, [0, 1], [1 - share, share])
        misses.append(abs(found - (mean if wanted == "mean" else median)) > 1e-2)
        rows.append((text(mean), text(median), text(round(found, 4))))
    verdict, _ = decided(holds=holds(loss, wanted), fails=not holds(loss, wanted) and any(misses))
    return Decision(
        verdict,
        (reason,),
        Table(("mean of Y (0 or 1)", "median of Y", f"best p, {loss}"), tuple(rows)),
        _estimates(tuple(dict.fromkeys(("mse", "mae", loss)))),
        why(loss, wanted, *beside),
    )


def same_minimum() -> Decision:
    """Whether four losses with one minimum can be exchanged."""
    alike = all(holds(loss, "minimum") for loss in FOUR)
    found = {loss: best(loss, [0, 1], [0.7, 0.3]) for loss in FOUR}
    differ = max(found.values()) - min(found.values()) > 0.01
    verdict, condition = decided(
        holds=alike, fails=differ, condition="the code determines the pixel, and the network reaches p = y"
    )
    return Decision(
        verdict,
        (
            "Without doubt about the pixel all four are least at p = y.",
            f"Where a pixel is 1 in 30 % of the images that share a code, the best predictions are "
            f"{', '.join(f'{loss} {text(round(p, 3))}' for loss, p in found.items())}: other pictures.",
            "Short of the minimum they differ too: slopes, plateaus behind a sigmoid, and the weight against a KL term.",
        ),
        Table(("loss", "best p, no noise (y = 0.3)", "best p, Y = 1 in 30 %"), tuple(
            (loss, text(round(best(loss, [0.3], [1.0]), 4)), text(round(found[loss], 4))) for loss in FOUR)),
        _estimates(),
        tuple(line for loss in FOUR for line in why(loss, "minimum")),
        condition,
    )  # fmt: skip


def outliers() -> Decision:
    """One outlier among a hundred values."""
    values, weights = (0.2, 1.0), (0.99, 0.01)
    found = {loss: best(loss, values, weights) for loss in FOUR}
    median, *means = (abs(found[loss] - 0.2) for loss in ("mae", "mse", "bce"))
    verdict, _ = decided(
        holds=median < 1e-4 and min(means) > 1e-3,
        fails=median >= 1e-4 or min(means) <= 1e-3,
    )
    share = np.linspace(0, 0.49, 40)
    lines = tuple(
        Line(loss, share, [best(loss, values, (1 - s, s)) for s in share]) for loss in ("bce", "mae")
    )
    return Decision(
        verdict,
        ("The median does not move until half of the values are outliers; the mean moves with the first. On targets in "
         "[0, 1] an outlier is bounded, and so is what it does to the mean.",),
        Table(("loss", "best p: 99 values of 0.2, one of 1"), tuple((loss, text(p, 5)) for loss, p in found.items())),
        Plot("share of outliers at 1, the rest at 0.2", "best p", lines,
             "The best prediction of BCE rises with the share of outliers; that of MAE stays at 0.2."),
        (*why("mae", "median"), *why("bce", "mean")),
    )  # fmt: skip


def smoothing_harmless() -> Decision:
    """Where label-smoothed and weighted BCE are least."""
    names = ("smoothed_bce", "weighted_bce", "focal")
    moved = {loss: not holds(loss, "minimum") for loss in names}
    targets = (0.0, 0.1, 0.5, 0.9)
    verdict, _ = decided(holds=not any(moved.values()), fails=all(moved.values()))
    y = np.linspace(0.01, 0.99, 60)
    return Decision(
        verdict,
        ("Label smoothing turns black into grey, a weight on the positive part brightens, focal loss pulls to 1/2.",),
        Table(("target y", *(f"best p, {loss}" for loss in names)), tuple(
            (text(t), *(text(round(best(loss, [t], [1.0]), 4)) for loss in names)) for t in targets)),
        Plot("target y", "best p", tuple(Line(loss, y, [best(loss, [t], [1.0]) for t in y]) for loss in ("bce", *names)),
             "The best prediction over the target: the diagonal for BCE, other curves for its variants."),
        tuple(line for loss in names for line in why(loss, "minimum")),
    )  # fmt: skip


def continuous_bernoulli() -> Decision:
    """Where the continuous Bernoulli loss is least."""
    name = "continuous_bernoulli"
    right = holds(name, "minimum")
    targets = (0.1, 0.3, 0.5, 0.7, 0.9)
    verdict, _ = decided(holds=right, fails=not right)
    y = np.linspace(0.02, 0.98, 60)
    found = [_best_logit(name, t) for t in targets]
    return Decision(
        verdict,
        ("Its output is a parameter, not the picture: the mean of the law at that parameter is y. Draw the mean.",),
        Table(("target y", "best p"), tuple((text(t), text(p)) for t, p in zip(targets, found, strict=True))),
        Plot("target y", "best p", (Line("bce", y, y), Line(name, y, [_best_logit(name, t) for t in y])),
             "The best parameter of the continuous Bernoulli over the target is a steep S beside the diagonal."),
        why(name, "minimum"),
    )  # fmt: skip


def _best_logit(loss: str, y: float) -> float:
    z = np.linspace(-60, 60, 24001)
    place = z[int(np.argmin(function(loss).value_logits(np.full_like(z, y), z)))]
    return float(1 / (1 + np.exp(-place)))


def outside_works() -> Decision:
    """BCE at targets outside [0, 1]: the slope has one sign, so there is no minimum."""
    import sympy

    from lossproof.advise.claims.evidence import Expr
    from lossproof.prove.sign import sign

    slope: Expr = symbolic("bce").diff(P)
    a, b = sympy.symbols("a b", positive=True)
    above = sign(sympy.factor(sympy.together(slope.subs({Y: 1 + a, P: b / (1 + b)}, simultaneous=True)))).sign
    below = sign(sympy.factor(sympy.together(slope.subs({Y: -a, P: b / (1 + b)}, simultaneous=True)))).sign
    p = np.array([0.5, 0.9, 0.99, 0.999, 1 - 1e-7])
    value = {y: -(y * np.log(p) + (1 - y) * np.log1p(-p)) for y in (2.0, -0.5)}
    falls = above == "-" and below == "+"
    verdict, _ = decided(holds=not falls, fails=falls and bool(value[2.0][-1] < -10))
    grid = 1 - np.geomspace(1e-6, 0.5, 200)
    return Decision(
        verdict,
        (
            "For a target above 1 the loss falls all the way to p = 1 and below every bound; for a target below 0, to "
            "p = 0. There is no best prediction, and training drives the logits to infinity.",
        ),
        Table(("p", "loss at y = 2", "loss at y = -0.5, at 1 - p"), tuple(
            (f"{q:.7g}", text(v), text(w)) for q, v, w in zip(p, value[2.0], -(-0.5 * np.log1p(-p) + 1.5 * np.log(p)),
                                                             strict=True))),
        Plot("p", "BCE formula", (Line("y = 2", grid, -(2 * np.log(grid) - np.log1p(-grid))),
                                  Line("y = 1", grid, -np.log(grid))),
             "At y = 2 the formula falls without bound as p goes to 1; at y = 1 it falls to 0."),
        (f"for y = 1 + a, a > 0: dl/dp is {WORDS[above]} for every p in (0, 1)", f"for y = -a: dl/dp is {WORDS[below]}"),
    )  # fmt: skip


def _estimates(losses: tuple[str, ...] = FOUR) -> Plot:
    share = np.linspace(0.01, 0.99, 99)
    lines = tuple(Line(loss, share, [best(loss, [0, 1], [1 - s, s]) for s in share]) for loss in losses)
    return Plot("share of images in which the pixel is 1 (else 0)", "best p", lines,
                "The best prediction over the mean of a pixel that is 0 or 1: the diagonal for BCE and MSE, a step for "
                "MAE, between them for log-cosh.")  # fmt: skip


CLAIMS = (
    Claim("reach-zero", "With BCE the loss of a perfect reconstruction is 0.", reach_zero,
          ("stats.stackexchange 479349", "stats.stackexchange 262972")),
    Claim("binary-only", "BCE may only be used where the targets are 0 or 1.", binary_only,
          ("stats.stackexchange 394582", "keras-team/keras 2143")),
    Claim("keeps-training", "As BCE is above 0 at a perfect reconstruction, it goes on pulling there.", keeps_training),
    Claim("dims", "BCE dims images.", bce_dims, ("stats.stackexchange 443237",)),
    Claim("mean-seeking", "BCE is mean-seeking.", mean_seeking),
    Claim("mse-mean", "MSE converges to the mean, BCE does not.", mse_mean_bce_not, ("stackoverflow 59587385",)),
    Claim("mae-mean", "MAE, too, gives the mean of what a pixel may be.", mae_mean),
    Claim("logcosh-median", "Log-cosh estimates the median, as MAE does.", logcosh_median),
    Claim("same-minimum", "BCE, MSE, MAE and log-cosh all have their minimum at p = y, so the choice does not matter.",
          same_minimum, ("yunjey/pytorch-tutorial 104",)),
    Claim("outliers", "MAE ignores a few outliers, MSE and BCE do not.", outliers),
    Claim("smoothing", "Label smoothing, positive weights and focal loss leave the best prediction where it was.",
          smoothing_harmless),
    Claim("continuous-bernoulli", "The continuous Bernoulli loss has its minimum at p = y.", continuous_bernoulli),
    Claim("outside", "BCE works on targets in [-1, 1] or 0 to 255, only its numbers look odd.", outside_works,
          ("keras-team/keras 1917", "Lasagne/Recipes 54")),
)  # fmt: skip
