"""Losses for non-negative targets (intensities, counts), minimised at p = y."""

from lossproof.formula import NON_NEGATIVE, Loss, Reference

POISSON = Loss(
    id="poisson",
    title="Poisson deviance (half)",
    formula="xlogy(y, y) - xlogy(y, p) - y + p",
    target=NON_NEGATIVE,
    prediction=NON_NEGATIVE,
    references=(Reference("McCullagh and Nelder, Generalized Linear Models, 1989, section 2.3",
                          "https://doi.org/10.1201/9780203753736"),),
    note="Half the deviance, as a negative log-likelihood minus that of a perfect fit; zero at p = y.",
)  # fmt: skip

MSLE = Loss(
    id="msle",
    title="squared logarithmic error",
    formula="(log1p(y) - log1p(p))**2",
    target=NON_NEGATIVE,
    prediction=NON_NEGATIVE,
    references=(Reference("Tofallis, A better measure of relative prediction accuracy for model selection and model "
                          "estimation, J. Oper. Res. Soc. 66, 2015", "https://doi.org/10.1057/jors.2014.103"),),
)  # fmt: skip

LOSSES = (POISSON, MSLE)
