"""JAX."""

from lossproof.lower.targets.spelling import Target, array_functions, array_primitives

_PRIMITIVES = array_primitives("jnp")
for _name in ("sigmoid", "softplus", "xlogy", "xlog1py"):
    del _PRIMITIVES[_name]

JAX = Target(
    id="jax",
    title="JAX",
    header="import math\n\nimport jax\nimport jax.numpy as jnp\n",
    functions=array_functions("jnp")
    | {
        "sigmoid": "jax.nn.sigmoid({0})",
        "softplus": "jax.nn.softplus({0})",
        "xlogy": "jax.scipy.special.xlogy({args})",
        "xlog1py": "jax.scipy.special.xlog1py({args})",
        "erf": "jax.scipy.special.erf({0})",
        "loggamma": "jax.scipy.special.gammaln({0})",
        "digamma": "jax.scipy.special.digamma({0})",
        "trigamma": "jax.scipy.special.polygamma(1, {0})",
    },
    where="jnp.where({0}, {1}, {2})",
    fill="jnp.full_like({1}, {0})",
    primitives=_PRIMITIVES,
)
