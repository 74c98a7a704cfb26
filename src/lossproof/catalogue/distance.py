"""Losses of the residual y - p alone, minimised at p = y for any real target."""

import math

from lossproof.formula import OPEN_UNIT, POSITIVE, REALS, Interval, Loss, Param, Reference

MSE = Loss(
    id="mse",
    title="squared error",
    formula="(y - p)**2",
    target=REALS,
    prediction=REALS,
    references=(Reference("Gneiting, Making and evaluating point forecasts, JASA 106, 2011",
                          "https://doi.org/10.1198/jasa.2011.r10138"),),
    note="No factor 1/2.",
)  # fmt: skip

MAE = Loss(
    id="mae",
    title="absolute error",
    formula="abs(y - p)",
    target=REALS,
    prediction=REALS,
    references=(Reference("Gneiting, Making and evaluating point forecasts, JASA 106, 2011",
                          "https://doi.org/10.1198/jasa.2011.r10138"),),
)  # fmt: skip

LOGCOSH = Loss(
    id="logcosh",
    title="log-cosh",
    formula="logcosh(a*(y - p))/a",
    target=REALS,
    prediction=REALS,
    params=(Param("a", POSITIVE, 1.0, "steepness; large a approaches the absolute error"),),
    references=(Reference("Saleh and Saleh, Statistical properties of the log-cosh loss function used in machine "
                          "learning, 2022", "https://arxiv.org/abs/2208.04564"),),
)  # fmt: skip

HUBER = Loss(
    id="huber",
    title="Huber loss",
    formula="where(abs(y - p) <= delta, (y - p)**2/2, delta*(abs(y - p) - delta/2))",
    target=REALS,
    prediction=REALS,
    params=(Param("delta", POSITIVE, 1.0, "residual at which the square becomes a line"),),
    references=(Reference("Huber, Robust estimation of a location parameter, Ann. Math. Stat. 35, 1964",
                          "https://doi.org/10.1214/aoms/1177703732"),),
)  # fmt: skip

CHARBONNIER = Loss(
    id="charbonnier",
    title="Charbonnier (pseudo-Huber) loss",
    formula="delta**2*(sqrt(1 + ((y - p)/delta)**2) - 1)",
    target=REALS,
    prediction=REALS,
    params=(Param("delta", POSITIVE, 1.0, "residual at which the square turns into a line"),),
    references=(Reference("Charbonnier, Blanc-Feraud, Aubert, Barlaud, Two deterministic half-quadratic "
                          "regularization algorithms for computed imaging, ICIP 1994",
                          "https://doi.org/10.1109/ICIP.1994.413553"),),
)  # fmt: skip

PINBALL = Loss(
    id="pinball",
    title="pinball (quantile) loss",
    formula="tau*maximum(y - p, 0) + (1 - tau)*maximum(p - y, 0)",
    target=REALS,
    prediction=REALS,
    params=(Param("tau", OPEN_UNIT, 0.5, "level of the quantile"),),
    references=(Reference("Koenker and Bassett, Regression quantiles, Econometrica 46, 1978",
                          "https://doi.org/10.2307/1913643"),),
)  # fmt: skip

BARRON = Loss(
    id="barron",
    title="general robust loss (Barron)",
    formula=(
        "where(alpha == 2, ((y - p)/c)**2/2, where(alpha == 0, log1p(((y - p)/c)**2/2),"
        " abs(alpha - 2)/alpha*((((y - p)/c)**2/abs(alpha - 2) + 1)**(alpha/2) - 1)))"
    ),
    target=REALS,
    prediction=REALS,
    params=(
        Param("alpha", Interval(-math.inf, 2, low_open=True), 1.0, "shape: 2 square, 1 Charbonnier, 0 Cauchy"),
        Param("c", POSITIVE, 1.0, "scale of the residual"),
    ),
    references=(Reference("Barron, A general and adaptive robust loss function, CVPR 2019",
                          "https://arxiv.org/abs/1701.03077"),),
)  # fmt: skip

LOSSES = (MSE, MAE, LOGCOSH, HUBER, CHARBONNIER, PINBALL, BARRON)
