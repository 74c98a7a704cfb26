"""Losses of a Bernoulli (binary) model with soft targets in [0, 1], minimised at p = y."""

from lossproof.formula import Loss, Reference

BCE = Loss(
    id="bce",
    title="binary cross-entropy",
    formula="-(xlogy(y, p) + xlogy(1 - y, 1 - p))",
    references=(
        Reference("Good, Rational decisions, JRSS B 14, 1952", "https://doi.org/10.1111/j.2517-6161.1952.tb00104.x"),
        Reference("Gneiting and Raftery, Strictly proper scoring rules, JASA 102, 2007",
                  "https://doi.org/10.1198/016214506000001437"),
    ),
    note="Not zero at p = y: its floor is the entropy of y. Its excess is the Bernoulli KL divergence.",
)  # fmt: skip

HELLINGER = Loss(
    id="hellinger",
    title="squared Hellinger distance (Bernoulli)",
    formula="((sqrt(p) - sqrt(y))**2 + (sqrt(1 - p) - sqrt(1 - y))**2)/2",
    references=(
        Reference("Liese and Vajda, On divergences and informations in statistics and information theory, "
                  "IEEE Trans. Inf. Theory 52, 2006", "https://doi.org/10.1109/TIT.2006.881731"),
    ),
)  # fmt: skip

JENSEN_SHANNON = Loss(
    id="jensen_shannon",
    title="Jensen-Shannon divergence (Bernoulli)",
    formula=(
        "(xlogy(y, y) - xlogy(y, (y + p)/2) + xlogy(1 - y, 1 - y) - xlogy(1 - y, 1 - (y + p)/2)"
        " + xlogy(p, p) - xlogy(p, (y + p)/2) + xlogy(1 - p, 1 - p) - xlogy(1 - p, 1 - (y + p)/2))/2"
    ),
    references=(
        Reference("Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37, 1991",
                  "https://doi.org/10.1109/18.61115"),
    ),
    note="In nats, at most log 2.",
)  # fmt: skip

LOSSES = (BCE, HELLINGER, JENSEN_SHANNON)
