"""Keras 3: the same text on TensorFlow, JAX and torch."""

import re

from lossproof.lower.targets.spelling import Target, array_functions, array_primitives

# ops.maximum and ops.minimum with a number turn float64 into float32 on Keras's torch backend; these do not
_KEEPS_DTYPE = (
    (re.compile(r"ops\.maximum\(([^(),]+), 0\.0\)"), r"ops.relu(\1)"),
    (re.compile(r"ops\.minimum\(([^(),]+), ([\d.]+)\)"), r"ops.clip(\1, -math.inf, \2)"),
)


def _primitives() -> dict[str, str]:
    texts = array_primitives("ops")
    del texts["sigmoid"]
    for old, new in _KEEPS_DTYPE:
        texts = {name: old.sub(new, text) for name, text in texts.items()}
    return texts


KERAS = Target(
    id="keras",
    title="Keras 3",
    header="import math\n\nfrom keras import ops\n",
    functions=array_functions("ops") | {"sigmoid": "ops.sigmoid({0})", "erf": "ops.erf({0})"},
    where="ops.where({0}, {1}, {2})",
    fill="ops.full_like({1}, {0})",
    primitives=_primitives(),
    with_scalar={"maximum": "ops.clip({0}, {1}, math.inf)", "minimum": "ops.clip({0}, -math.inf, {1})"},
    joint=(" & ", " | "),
)
