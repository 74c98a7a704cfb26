"""NumPy."""

from lossproof.lower.targets.spelling import Target, array_functions, array_primitives

_PRIMITIVES = array_primitives("np")
del _PRIMITIVES["softplus"]

NUMPY = Target(
    id="numpy",
    title="NumPy",
    header="import math\n\nimport numpy as np\nfrom scipy import special\n",
    functions=array_functions("np")
    | {
        "softplus": "np.logaddexp(0, {0})",
        # what NumPy itself lacks
        "erf": "special.erf({0})",
        "loggamma": "special.gammaln({0})",
        "digamma": "special.digamma({0})",
        "trigamma": "special.polygamma(1, {0})",
        "polygamma": "special.polygamma({args})",
    },
    where="np.where({0}, {1}, {2})",
    fill="np.full_like({1}, {0})",
    primitives=_PRIMITIVES,
)
