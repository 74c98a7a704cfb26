"""Keras 3: the same text on TensorFlow, JAX and torch."""

from lossproof.lower.targets.spelling import Target, array_functions, array_primitives

_PRIMITIVES = array_primitives("ops")
del _PRIMITIVES["sigmoid"]

KERAS = Target(
    id="keras",
    title="Keras 3",
    header="import math\n\nfrom keras import ops\n",
    functions=array_functions("ops") | {"sigmoid": "ops.sigmoid({0})", "erf": "ops.erf({0})"},
    where="ops.where({0}, {1}, {2})",
    fill="ops.full_like({1}, {0})",
    primitives=_PRIMITIVES,
    joint=(" & ", " | "),
)
