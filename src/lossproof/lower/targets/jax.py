"""JAX."""

from lossproof.lower.targets.spelling import Target, array_functions, array_primitives

_PRIMITIVES = array_primitives("jnp")
for _name in ("sigmoid", "softplus", "xlogy"):
    del _PRIMITIVES[_name]
_PRIMITIVES["xlog1py"] = '''def xlog1py(x, y):
    """x log(1 + y), and 0 where x = 0; XLA's log1p is 40 ulp off in float64 beyond 1/4, its log is not."""
    zero = jnp.equal(x, 0)
    y = jnp.where(zero, 0.0, y)
    far = jnp.abs(y) > 0.25
    log = jnp.where(far, jnp.log(1 + jnp.where(far, y, 0.0)), jnp.log1p(jnp.where(far, 0.0, y)))
    return jnp.where(zero, 0.0, x * log)
'''

JAX = Target(
    id="jax",
    title="JAX",
    header="import math\n\nimport jax\nimport jax.numpy as jnp\n",
    functions=array_functions("jnp")
    | {
        "sigmoid": "jax.nn.sigmoid({0})",
        "softplus": "jax.nn.softplus({0})",
        "xlogy": "jax.scipy.special.xlogy({args})",
        "erf": "jax.scipy.special.erf({0})",
        "loggamma": "jax.scipy.special.gammaln({0})",
        "digamma": "jax.scipy.special.digamma({0})",
        "trigamma": "jax.scipy.special.polygamma(1, {0})",
        "polygamma": "jax.scipy.special.polygamma({args})",
    },
    where="jnp.where({0}, {1}, {2})",
    fill="jnp.full_like({1}, {0})",
    primitives=_PRIMITIVES,
)
