"""Losses that people use as reconstruction losses although their minimum is NOT at p = y."""

from lossproof.formula import NON_NEGATIVE, POSITIVE, Interval, Loss, Param, Reference

CONTINUOUS_BERNOULLI = Loss(
    id="continuous_bernoulli",
    title="continuous Bernoulli negative log-likelihood",
    formula=(
        "-(xlogy(y, p) + xlogy(1 - y, 1 - p))"
        " - where(p == 1/2, log(2), log(2*arctanh(1 - 2*p)/(1 - 2*p)))"
    ),
    minimum="elsewhere",
    references=(Reference("Loaiza-Ganem and Cunningham, The continuous Bernoulli, NeurIPS 2019",
                          "https://arxiv.org/abs/1907.06845"),),
    note="The normalised BCE. Least where the mean of the law is y (y = 0.1: p = 4.6e-5); unbounded below at y in {0, 1}.",
)  # fmt: skip

FOCAL = Loss(
    id="focal",
    title="focal binary cross-entropy",
    formula="-(xlogy(y*(1 - p)**gamma, p) + xlogy((1 - y)*p**gamma, 1 - p))",
    minimum="elsewhere",
    params=(Param("gamma", NON_NEGATIVE, 2.0, "focusing power; 0 is BCE"),),
    references=(Reference("Lin, Goyal, Girshick, He, Dollar, Focal loss for dense object detection, ICCV 2017",
                          "https://arxiv.org/abs/1708.02002"),),
    note="With soft targets it pulls p towards 1/2 (gamma = 2, y = 0.1: p = 0.306).",
)  # fmt: skip

WEIGHTED_BCE = Loss(
    id="weighted_bce",
    title="BCE with a weight on the positive part",
    formula="-(pos_weight*xlogy(y, p) + xlogy(1 - y, 1 - p))",
    minimum="elsewhere",
    minimiser="pos_weight*y/(1 + (pos_weight - 1)*y)",
    params=(Param("pos_weight", POSITIVE, 3.0, "weight of the positive part; 1 is BCE"),),
    references=(Reference("King and Zeng, Logistic regression in rare events data, Political Analysis 9, 2001",
                          "https://doi.org/10.1093/oxfordjournals.pan.a004868"),),
    note="Brightens: y = 0.5 with pos_weight = 3 is best predicted by 0.75.",
)  # fmt: skip

SMOOTHED_BCE = Loss(
    id="smoothed_bce",
    title="label-smoothed BCE",
    formula="-((y*(1 - eps) + eps/2)*log(p) + ((1 - y)*(1 - eps) + eps/2)*log(1 - p))",
    minimum="elsewhere",
    minimiser="y*(1 - eps) + eps/2",
    params=(Param("eps", Interval(0, 1, low_open=True, high_open=True), 0.1, "share of the label given to both classes"),),
    references=(Reference("Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception architecture for "
                          "computer vision, CVPR 2016", "https://arxiv.org/abs/1512.00567"),),
    note="Greys out: black is best predicted by eps/2.",
)  # fmt: skip

LOSSES = (CONTINUOUS_BERNOULLI, FOCAL, WEIGHTED_BCE, SMOOTHED_BCE)
